//! The machine itself: its state, its inputs, and what concerns the guild as a whole.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use client_wire::error::{ApiError, code};
use client_wire::gateway::Intents;
use client_wire::{object, rest};
use cluster_wire::guilds::{Audience, Call, CallResult, GatewayId, Op, Reply, Terms};
use cluster_wire::token::TokenKey;
use cluster_wire::voice::{OrderKind, Report};
use model::{
    Channel, ChannelId, ChannelKind, Guild, GuildId, Member, Permissions, PresenceStatus, RegionId, ServerId,
    SessionId, UnixMs, User, UserId, Write,
};

use crate::access::Who;
use crate::gatherings::Gathering;
use crate::limits::{ABSENCE_MS, GUILD_NAME_CHARS_MIN, MEMBERS_MAX, NAME_CHARS_MAX, VIDEO_USERS_MAX};
use crate::placement::{Placement, Placements};
use crate::stage_instances::Stage;
use crate::takeover::Answer;
use crate::turn::{Effect, Moment, Outcome, Turn, ok};
use crate::visibility::Scope;
use crate::voice::{Life, VoiceEntry};
use crate::{Facts, forms};

/// A gateway session that follows the guild.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Session {
    pub user: UserId,
    /// The gateway that attached it last.
    pub gateway: GatewayId,
    pub terms: Terms,
    /// Where it is in voice its gateway has said, or was told.
    pub has_seat_known: bool,
}

impl Session {
    pub fn intents(&self) -> Intents {
        Intents::from_bits_retain(self.terms.intents)
    }
}

/// Why `handle_timeout` wants to be called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// A participant may have been away from its voice server for too long.
    Absence,
    /// A stage may have had no speaker for too long.
    SpeakerlessStage,
    /// Every gateway had time to say who is in voice.
    Settled,
}

pub struct GuildCore {
    pub(crate) guild: Guild,
    /// The users behind the members; every member has one here.
    pub(crate) users: BTreeMap<UserId, User>,
    /// Of this ownership; every order carries it.
    pub(crate) fencing: u64,
    pub(crate) token_key: TokenKey,
    /// Of the last voice token.
    pub(crate) serial: u64,
    pub(crate) sessions: BTreeMap<SessionId, Session>,
    /// The same sessions by user; a user without one is not in here.
    pub(crate) attached: BTreeMap<UserId, BTreeSet<SessionId>>,
    /// Of attached users.
    pub(crate) presences: BTreeMap<UserId, PresenceStatus>,
    pub(crate) voice: BTreeMap<UserId, VoiceEntry>,
    /// Of each voice channel that has people in it, or a status.
    pub(crate) gatherings: BTreeMap<ChannelId, Gathering>,
    /// What is on on the guild's stages.
    pub(crate) stages: BTreeMap<ChannelId, Stage>,
    pub(crate) placements: Placements,
    /// How long a client may be away from its voice server before it has left.
    pub(crate) absence_ms: u64,
    /// No participant has been away for too long before this; somebody may have been then.
    pub(crate) absence_due: Option<UnixMs>,
    /// After an earlier owner's end: when everybody who is in voice should be known again.
    pub(crate) settled_at: Option<UnixMs>,
    /// The voice servers that were asked what they hold of the guild. None while nobody was the owner before.
    pub(crate) asked: Option<BTreeMap<ServerId, Answer>>,
    pub(crate) claimed_at: Option<UnixMs>,
    /// Those that have ended or left voice since, while what a voice server answers may be from before.
    pub(crate) departed: BTreeSet<SessionId>,
    /// The highest fencing number of an earlier owner that is known of.
    pub(crate) predecessor: u64,
    /// For each voice channel of which something is kept at a voice server, at which.
    pub(crate) kept_at: BTreeMap<ChannelId, ServerId>,
    /// For each channel that was asked about, the attached users who cannot see it.
    pub(crate) hidden: BTreeMap<ChannelId, Arc<HashSet<UserId>>>,
}

impl GuildCore {
    /// `users` are those behind the guild's members; a member without one is left out.
    pub fn new(mut guild: Guild, users: Vec<User>, fencing: u64, token_key: TokenKey) -> Self {
        let users: BTreeMap<UserId, User> = users.into_iter().map(|user| (user.id, user)).collect();
        guild.members.retain(|id, _| users.contains_key(id));
        Self {
            guild,
            users,
            fencing,
            token_key,
            serial: 0,
            sessions: BTreeMap::new(),
            attached: BTreeMap::new(),
            presences: BTreeMap::new(),
            voice: BTreeMap::new(),
            gatherings: BTreeMap::new(),
            stages: BTreeMap::new(),
            placements: Placements::default(),
            absence_ms: ABSENCE_MS,
            absence_due: None,
            settled_at: None,
            asked: None,
            claimed_at: None,
            departed: BTreeSet::new(),
            predecessor: 0,
            kept_at: BTreeMap::new(),
            hidden: BTreeMap::new(),
        }
    }

    /// With another patience than [`ABSENCE_MS`] for clients that are away from their voice server.
    #[must_use]
    pub fn with_absence_ms(mut self, absence_ms: u64) -> Self {
        self.absence_ms = absence_ms;
        self
    }

    pub fn id(&self) -> GuildId {
        self.guild.id
    }

    /// The user's permissions in the guild at large; none of a stranger's.
    pub fn permissions_of(&self, user: UserId, now: UnixMs) -> Option<Permissions> {
        self.permissions(Who::user(user), now).ok()
    }

    pub fn entry_for(&self, user: UserId, now: UnixMs) -> Option<object::GuildEntry> {
        Some(object::GuildEntry {
            id: self.guild.id,
            name: self.guild.name.clone(),
            icon: None,
            owner: self.guild.owner == user,
            permissions: self.permissions_of(user, now)?,
            features: Vec::new(),
        })
    }

    /// Of this ownership.
    pub fn fencing(&self) -> u64 {
        self.fencing
    }

    /// Whether another machine that begins with what the database holds would be the same as this one: nobody follows the guild, nobody
    /// is in voice, nothing is said of its voice channels.
    pub fn is_at_rest(&self) -> bool {
        self.sessions.is_empty()
            && self.voice.is_empty()
            && self.gatherings.is_empty()
            && self.stages.is_empty()
    }

    pub fn voice_states_len(&self) -> usize {
        self.voice.len()
    }

    pub fn is_awaiting(&self) -> bool {
        self.placements.is_awaiting()
    }

    /// `facts` are what [`crate::needs`] asked for.
    pub fn handle_call(&mut self, moment: Moment<'_>, facts: Facts, call: Call) -> Outcome {
        let mut turn = Turn::new(moment, facts);
        let reply = self.call(&mut turn, call);
        turn.finish(reply)
    }

    pub fn handle_report(&mut self, now: UnixMs, report: &Report) {
        self.note_report(now, report);
    }

    /// When [`Self::handle_timeout`] wants to be called.
    pub fn poll_timeout(&self) -> Option<(UnixMs, Reason)> {
        let absence = self.absence_due.map(|at| (at, Reason::Absence));
        let speakerless = self.speakerless_stage_due().map(|at| (at, Reason::SpeakerlessStage));
        let settled = self.settled_at.map(|at| (at, Reason::Settled));
        absence.into_iter().chain(speakerless).chain(settled).min_by_key(|(at, _)| *at)
    }

    pub fn handle_timeout(&mut self, moment: Moment<'_>) -> Outcome {
        let mut turn = Turn::new(moment, Facts::default());
        self.end_absences(&mut turn);
        self.end_speakerless_stages(&mut turn);
        self.settle(&mut turn);
        turn.finish(Ok(Reply::Done))
    }

    /// The fleet changed. `lost` names a server whose participants are gone even if it is there (again).
    pub fn handle_servers(&mut self, moment: Moment<'_>, lost: Option<&ServerId>) -> Outcome {
        let mut turn = Turn::new(moment, Facts::default());
        self.ask_servers(&mut turn, lost);
        self.review_placement(&mut turn, lost);
        turn.finish(Ok(Reply::Done))
    }

    /// Orders to this server were left out while it was behind, and it takes orders again: it is told the whole truth.
    pub fn handle_missed_orders(&mut self, moment: Moment<'_>, server: &ServerId) -> Outcome {
        let mut turn = Turn::new(moment, Facts::default());
        if !self.ask_again(&mut turn, server) {
            self.repeat_orders(&mut turn, server);
        }
        turn.finish(Ok(Reply::Done))
    }

    /// The server is the same that it was, but may have missed orders: if the guild is there, it is told the whole truth, and if it was there, that it is not.
    pub fn handle_reconnected(&mut self, moment: Moment<'_>, server: &ServerId) -> Outcome {
        let mut turn = Turn::new(moment, Facts::default());
        let is_asked = self.ask_again(&mut turn, server);
        let was_here = |entry: &VoiceEntry| entry.former.as_ref() == Some(server);
        let is_known = self.placements.servers().any(|here| here == server);
        if !is_asked && (is_known || self.voice.values().any(was_here)) {
            // Who is there is said again; who is not may have left unheard.
            let here = self.on_server(server).filter(|entry| entry.life == Life::Live);
            for user in here.map(|entry| entry.state.user).collect::<Vec<_>>() {
                self.set_life(user, Life::Pending { since: turn.now });
            }
            self.repeat_orders(&mut turn, server);
        }
        turn.finish(Ok(Reply::Done))
    }

    /// A gateway is gone for good: its sessions are over, but for those that another has attached since.
    pub fn handle_gateway_gone(&mut self, moment: Moment<'_>, gateway: GatewayId) -> Outcome {
        let mut turn = Turn::new(moment, Facts::default());
        let theirs = self.sessions.iter().filter(|(_, session)| session.gateway == gateway);
        for session in theirs.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.detach(&mut turn, session, gateway);
        }
        turn.finish(Ok(Reply::Done))
    }

    /// The user has entered voice in another guild.
    pub fn handle_leave_voice(&mut self, moment: Moment<'_>, user: UserId) -> Outcome {
        let mut turn = Turn::new(moment, Facts::default());
        self.leave_voice(&mut turn, user);
        turn.finish(Ok(Reply::Done))
    }

    /// The database's truth after failed writes. Sessions, presences and voice states stay, as far as they still can. `parted` are
    /// those whose membership these writes should have ended: they are members still, and must be attached anew.
    pub fn handle_reload(
        &mut self,
        moment: Moment<'_>,
        guild: Guild,
        users: Vec<User>,
        parted: &BTreeSet<UserId>,
    ) -> Outcome {
        let mut turn = Turn::new(moment, Facts::default());
        let fresh = Self::new(guild, users, self.fencing, self.token_key.clone());
        (self.guild, self.users) = (fresh.guild, fresh.users);
        self.hidden.clear();
        let strangers: Vec<UserId> = self
            .attached
            .keys()
            .chain(self.voice.keys())
            .filter(|u| !self.guild.members.contains_key(u))
            .copied()
            .collect();
        for user in strangers {
            self.drop_stranger(&mut turn, user);
        }
        self.reconcile_voice(&mut turn, Scope::Everything);
        self.forget_lost_channels(&mut turn);
        self.review_placement(&mut turn, None);
        for user in parted.iter().filter(|user| self.guild.members.contains_key(user)) {
            turn.effect(Effect::Joined(*user));
        }
        turn.finish(Ok(Reply::Done))
    }

    fn call(&mut self, turn: &mut Turn<'_>, call: Call) -> CallResult {
        match call {
            Call::Attach { user, session, gateway, is_live, terms, seat, knows_seat, .. } => {
                let has_seat_known = knows_seat || seat.is_some();
                let following = Session { user, gateway, terms, has_seat_known };
                self.attach(turn, session, following, is_live, seat.map(|seat| *seat))
            }
            Call::Detach { user, session, gateway, .. } => {
                self.detach(turn, session, gateway);
                self.forget_hearsay(turn, user, session);
                if !self.sessions.contains_key(&session) {
                    self.note_departed(turn.now, session);
                }
                Ok(Reply::Done)
            }
            Call::FindSession { user, session, .. } => self.find_session(user, session),
            Call::DescribeTo { user, .. } => match self.entry_for(user, turn.now) {
                Some(entry) => ok(&entry),
                None => Ok(Reply::Empty),
            },
            Call::UpdateVoice { user, session, channel, flags, .. } => {
                Ok(self.update_voice(turn, user, session, channel, flags))
            }
            Call::VoiceServerPing { user, session, .. } => Ok(self.voice_server_ping(turn, user, session)),
            Call::UpdatePresence { user, status, .. } => self.update_presence(turn, user, status),
            Call::RequestMembers { user, session, query, .. } => {
                self.request_members(turn, user, session, query)
            }
            Call::RequestChannelInfo { user, session, fields, .. } => {
                self.request_channel_info(turn, user, session, fields)
            }
            Call::Rest { actor, operator, reason, op } => {
                self.rest(turn, Who { user: actor, operator }, reason, op)
            }
            Call::Authenticate { .. } | Call::LeaveElsewhere { .. } => Err(not_here()),
        }
    }

    fn rest(&mut self, turn: &mut Turn<'_>, who: Who, reason: Option<String>, op: Op) -> CallResult {
        match op {
            Op::GetGuild(_) => self.permissions(who, turn.now).and_then(|_| ok(&self.guild_object())),
            Op::ModifyGuild(_, body) => self.modify_guild(turn, who, body),
            Op::DeleteGuild(_) => self.delete_guild(turn, who),
            Op::ListChannels(_) => self.list_channels(who, turn.now),
            Op::CreateChannel(_, body) => self.create_channel(turn, who, body),
            Op::ReorderChannels(_, wanted) => self.reorder_channels(turn, who, wanted),
            Op::GetChannel(channel) => self.get_channel(who, channel, turn.now),
            Op::ModifyChannel(channel, body) => self.modify_channel(turn, who, channel, body),
            Op::DeleteChannel(channel) => self.delete_channel(turn, who, channel),
            Op::PutOverwrite { channel, id, body } => self.put_overwrite(turn, who, channel, id, &body),
            Op::DeleteOverwrite { channel, id } => self.delete_overwrite(turn, who, channel, id),
            Op::ListRoles(_) => self.list_roles(who, turn.now),
            Op::GetRole(_, role) => self.get_role(who, role, turn.now),
            Op::CreateRole(_, body) => self.create_role(turn, who, body),
            Op::ReorderRoles(_, wanted) => self.reorder_roles(turn, who, &wanted),
            Op::ModifyRole(_, role, body) => self.modify_role(turn, who, role, body),
            Op::DeleteRole(_, role) => self.delete_role(turn, who, role),
            Op::AddMemberRole(_, user, role) => self.set_member_role(turn, who, user, role, true),
            Op::RemoveMemberRole(_, user, role) => self.set_member_role(turn, who, user, role, false),
            Op::ListMembers { limit, after, .. } => self.list_members(who, limit, after, turn.now),
            Op::SearchMembers { query, limit, .. } => self.search_members(who, &query, limit, turn.now),
            Op::GetMember(_, user) => self.get_member(who, user, turn.now),
            Op::ModifyMember(_, user, body) => self.modify_member(turn, who, user, body),
            Op::RemoveMember(_, user) => self.remove_member(turn, who, user),
            Op::AdminAddMember(_, user) => self.add_member(turn, who, user),
            Op::ListBans(_) => self.list_bans(turn, who),
            Op::GetBan(_, user) => self.get_ban(turn, who, user),
            Op::Ban(_, user, body) => self.ban(turn, who, user, body.reason.or(reason)),
            Op::Unban(_, user) => self.unban(turn, who, user),
            Op::GetVoiceState(_, user) => self.get_voice_state(who, user, turn.now),
            Op::ModifyVoiceState(_, user, body) => self.modify_voice_state(turn, who, user, body),
            Op::CreateStageInstance(channel, body) => self.create_stage_instance(turn, who, channel, body),
            Op::GetStageInstance(channel) => self.get_stage_instance(who, channel, turn.now),
            Op::ModifyStageInstance(channel, body) => self.modify_stage_instance(turn, who, channel, body),
            Op::DeleteStageInstance(channel) => self.delete_stage_instance(turn, who, channel),
            Op::SetVoiceStatus(channel, body) => self.set_voice_status(turn, who, channel, body),
            Op::ListMessages { channel, .. } => self.list_messages(turn, who, channel),
            Op::GetMessage(channel, id) => self.get_message(turn, who, channel, id),
            Op::CreateMessage(channel, body) => self.create_message(turn, who, channel, body),
            Op::EditMessage(channel, id, body) => self.edit_message(turn, who, channel, id, body),
            Op::DeleteMessage(channel, id) => self.delete_message(turn, who, channel, id),
            Op::BulkDeleteMessages(channel, ids) => self.bulk_delete(turn, who, channel, &ids),
            Op::Typing(channel) => self.typing(turn, who, channel),
            Op::CreateInvite(channel, body) => self.create_invite(turn, who, channel, &body),
            Op::ListInvites(_) => self.list_invites(turn, who),
            Op::GetInvite(code) => self.get_invite(turn, &code),
            Op::AcceptInvite(code) => self.accept_invite(turn, who, &code),
            Op::DeleteInvite(code) => self.delete_invite(turn, who, &code),
            Op::Register(_)
            | Op::Login(..)
            | Op::Logout(_)
            | Op::GetUser(_)
            | Op::CreateBot(_)
            | Op::ResetToken(_)
            | Op::ListGuilds
            | Op::CreateGuild(_)
            | Op::ListRegions
            | Op::AdminCreateUser(_)
            | Op::AdminListUsers
            | Op::AdminServers
            | Op::AdminModifyServer(..) => Err(not_here()),
        }
    }

    fn modify_guild(&mut self, turn: &mut Turn<'_>, who: Who, body: rest::ModifyGuild) -> CallResult {
        self.require(who, Permissions::MANAGE_GUILD, turn.now)?;
        let name = match &body.name {
            Some(name) => forms::text("name", name, GUILD_NAME_CHARS_MIN..=NAME_CHARS_MAX)?,
            None => self.guild.name.clone(),
        };
        if let rest::Patch::Set(region) = &body.region {
            require_region(turn, "region", region)?;
        }
        let region =
            body.region.apply(self.guild.region.as_ref().map(|region| region.0.clone())).map(RegionId);
        let owner = body.owner_id.unwrap_or(self.guild.owner);
        if owner != self.guild.owner {
            if !who.operator && who.user != Some(self.guild.owner) {
                return Err(ApiError::missing_permissions());
            }
            self.known_member(owner)?;
        }
        let before = self.sight(Scope::Everything, turn.now);
        (self.guild.name, self.guild.region, self.guild.owner) = (name, region, owner);
        turn.write(self.put_guild());
        turn.tell("GUILD_UPDATE", Intents::GUILDS, Audience::Guild, &self.guild_object());
        self.after_change(turn, Scope::Everything, before);
        self.review_placement(turn, None);
        ok(&self.guild_object())
    }

    fn put_guild(&self) -> Write {
        let Guild { id, name, owner, region, .. } = &self.guild;
        Write::PutGuild { id: *id, name: name.clone(), owner: *owner, region: region.clone() }
    }

    fn delete_guild(&mut self, turn: &mut Turn<'_>, who: Who) -> CallResult {
        self.permissions(who, turn.now)?;
        if !who.operator && who.user != Some(self.guild.owner) {
            return Err(ApiError::missing_permissions());
        }
        turn.write(Write::DeleteGuild(self.guild.id));
        for (user, entry) in std::mem::take(&mut self.voice) {
            self.end_release(turn, &entry);
            turn.effect(Effect::LeftVoice(user));
        }
        for zone in self.placements.zones() {
            if let Placement::On { server, .. } = self.placements.set(&zone, Placement::Idle) {
                self.order(turn, &server, OrderKind::Drop);
            }
        }
        self.gatherings.clear();
        self.stages.clear();
        self.sessions.clear();
        for user in std::mem::take(&mut self.attached).into_keys() {
            turn.effect(Effect::Left(user));
        }
        turn.effect(Effect::Deleted);
        Ok(Reply::Empty)
    }

    pub(crate) fn guild_object(&self) -> object::Guild {
        let limits = object::GuildLimits { members: MEMBERS_MAX as u32, video_users: VIDEO_USERS_MAX };
        object::Guild::new(&self.guild, limits)
    }
}

/// A new guild with what every guild begins with, and the writes that make it durable.
pub fn found_guild(
    name: &str,
    region: Option<RegionId>,
    owner: UserId,
    now: UnixMs,
    mut next_id: impl FnMut() -> u64,
) -> Result<(Guild, Vec<Write>), ApiError> {
    let name = forms::text("name", name, GUILD_NAME_CHARS_MIN..=NAME_CHARS_MAX)?;
    let mut guild = Guild::new(GuildId(next_id()), &name, owner);
    guild.region = region;
    for (kind, name) in [(ChannelKind::Text, "general"), (ChannelKind::Voice, "General")] {
        guild.channels.push(Channel::new(ChannelId(next_id()), kind, name));
    }
    guild.members.insert(owner, Member::new(owner, now));
    let id = guild.id;
    let mut writes = vec![Write::PutGuild { id, name, owner, region: guild.region.clone() }];
    writes.extend(guild.roles.iter().map(|role| Write::PutRole(id, role.clone())));
    writes.extend(guild.channels.iter().map(|channel| Write::PutChannel(id, channel.clone())));
    writes.extend(guild.members.values().map(|member| Write::PutMember(id, member.clone())));
    Ok((guild, writes))
}

/// A region that some voice server has said it is in.
pub(crate) fn require_region(turn: &Turn<'_>, field: &str, region: &str) -> Result<(), ApiError> {
    match turn.servers.values().any(|server| server.region.0 == region) {
        true => Ok(()),
        false => Err(ApiError::field(field, "REGION_UNKNOWN", "No voice server is in this region.")),
    }
}

/// The shell answers these itself; one that comes here was routed wrongly.
fn not_here() -> ApiError {
    ApiError::new(404, code::GENERAL, "404: Not Found")
}
