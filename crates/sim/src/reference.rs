//! The reference model: who is in which channel, and who may hear whom. It is told each call when a guild acts upon it, and knows nothing
//! of servers, connections or packets.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use client_wire::rest::Patch;
use cluster_wire::guilds::{Call, CallResult, GatewayId, Op, Reply, Seat};
use cluster_wire::voice::Held;
use model::{
    ChannelId, Guild, GuildId, Overwrite, OverwriteTarget, Permissions, SessionId, UserId, VOICE_PERMISSIONS,
    VoiceFlags,
};

use crate::time::At;

const TO_ENTER: Permissions = Permissions::VIEW_CHANNEL.union(Permissions::CONNECT);

#[derive(Clone, PartialEq, Eq)]
pub struct State {
    pub channel: ChannelId,
    pub session: SessionId,
    pub flags: VoiceFlags,
    pub mute: bool,
    pub deaf: bool,
    pub suppress: bool,
    admitted_by: Permissions,
}

/// On one line, because there are many in a message.
impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} in {}", self.session, self.channel)?;
        let is = [self.mute, self.deaf, self.suppress, self.flags.self_mute, self.flags.self_deaf];
        let names = ["mute", "deaf", "suppress", "self_mute", "self_deaf"];
        is.into_iter().zip(names).filter(|(is, _)| *is).try_for_each(|(_, name)| write!(f, " {name}"))
    }
}

impl State {
    pub fn speaks(&self) -> bool {
        !self.mute && !self.suppress
    }

    pub fn hears(&self) -> bool {
        !self.deaf && !self.flags.self_deaf
    }
}

impl State {
    fn may_be_heard(&self, listener: &Self) -> bool {
        self.channel == listener.channel && self.speaks() && listener.hears()
    }
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Channel {
    /// What is granted and denied to everyone, and to some.
    everyone: (Permissions, Permissions),
    members: BTreeMap<UserId, (Permissions, Permissions)>,
}

#[derive(Debug, Clone, Copy)]
struct Attached {
    user: UserId,
    gateway: GatewayId,
    /// What a voice server says of it is older than what is known.
    has_seat_known: bool,
}

/// A guild as one owner has it.
#[derive(Debug)]
pub struct RefGuild {
    /// Of the ownership.
    pub fencing: u64,
    owner: UserId,
    /// Muted and deafened by moderators.
    members: BTreeMap<UserId, (bool, bool)>,
    channels: BTreeMap<ChannelId, Channel>,
    sessions: BTreeMap<SessionId, Attached>,
    pub voice: BTreeMap<UserId, State>,
    /// Those of whom a voice server has said so, and nobody else yet.
    hearsay: BTreeSet<UserId>,
    /// Whatever is said of them later is from before.
    departed: BTreeSet<SessionId>,
    /// The highest fencing number of an earlier owner that a voice server has named.
    predecessor: u64,
    /// Who has been said to be in voice here since the ownership began.
    said: BTreeSet<UserId>,
    /// Where a voice server may have had each when the ownership began.
    carried: BTreeMap<UserId, Vec<State>>,
    /// The voice server was told everything.
    is_settled: bool,
}

impl RefGuild {
    /// As the database has it.
    fn new(guild: &Guild, fencing: u64) -> Self {
        let channel = |channel: &model::Channel| {
            let mut found = Channel::default();
            for Overwrite { target, allow, deny } in &channel.overwrites {
                match target {
                    OverwriteTarget::Role(_) => found.everyone = (*allow, *deny),
                    OverwriteTarget::Member(user) => drop(found.members.insert(*user, (*allow, *deny))),
                }
            }
            (channel.id, found)
        };
        Self {
            fencing,
            owner: guild.owner,
            members: guild.members.values().map(|m| (m.user, (m.mute, m.deaf))).collect(),
            channels: guild.channels.iter().map(channel).collect(),
            sessions: BTreeMap::new(),
            voice: BTreeMap::new(),
            hearsay: BTreeSet::new(),
            departed: BTreeSet::new(),
            predecessor: 0,
            said: BTreeSet::new(),
            carried: BTreeMap::new(),
            is_settled: false,
        }
    }

    /// The rights of everybody, without what is in memory alone.
    fn has_same_facts(&self, other: &Self) -> bool {
        (&self.members, &self.channels) == (&other.members, &other.channels)
    }

    pub fn permissions(&self, user: UserId, channel: ChannelId) -> Permissions {
        let Some(found) = self.channels.get(&channel) else { return Permissions::empty() };
        if !self.members.contains_key(&user) {
            return Permissions::empty();
        }
        if user == self.owner {
            return Permissions::all();
        }
        let apply = |p: Permissions, (allow, deny): (Permissions, Permissions)| p.difference(deny) | allow;
        let mut permissions = apply(Permissions::DEFAULT_EVERYONE, found.everyone);
        if let Some(own) = found.members.get(&user) {
            permissions = apply(permissions, *own);
        }
        if !permissions.contains(Permissions::VIEW_CHANNEL) {
            return Permissions::empty();
        }
        match permissions.contains(Permissions::CONNECT) {
            true => permissions,
            false => permissions.difference(VOICE_PERMISSIONS),
        }
    }

    pub fn may_enter(&self, user: UserId, channel: ChannelId) -> bool {
        self.permissions(user, channel).contains(TO_ENTER)
    }

    pub fn sees(&self, user: UserId, channel: ChannelId) -> bool {
        self.permissions(user, channel).contains(Permissions::VIEW_CHANNEL)
    }

    pub fn channels(&self) -> Vec<ChannelId> {
        self.channels.keys().copied().collect()
    }

    pub fn members(&self) -> Vec<UserId> {
        self.members.keys().copied().collect()
    }

    pub fn may_be_heard(&self, speaker: UserId, listener: UserId) -> bool {
        let (Some(from), Some(to)) = (self.voice.get(&speaker), self.voice.get(&listener)) else {
            return false;
        };
        speaker != listener && from.may_be_heard(to)
    }

    /// Who may be heard by whom.
    fn pairs(&self) -> Vec<(UserId, UserId)> {
        let pairs = self.voice.keys().flat_map(|from| self.voice.keys().map(move |to| (*from, *to)));
        pairs.filter(|(from, to)| self.may_be_heard(*from, *to)).collect()
    }

    fn enter(&mut self, user: UserId, session: SessionId, channel: ChannelId, flags: VoiceFlags) {
        let admitted_by = self.permissions(user, channel) & TO_ENTER;
        let state = State { channel, session, flags, mute: false, deaf: false, suppress: false, admitted_by };
        self.voice.insert(user, state);
        self.hearsay.remove(&user);
        self.said.insert(user);
        self.judge(user);
    }

    fn leave(&mut self, user: UserId) {
        let Some(state) = self.voice.remove(&user) else { return };
        self.hearsay.remove(&user);
        self.departed.insert(state.session);
        self.sessions.entry(state.session).and_modify(|attached| attached.has_seat_known = true);
    }

    /// A voice server's word is all that there is of it.
    pub fn is_hearsay(&self, user: UserId) -> bool {
        self.hearsay.contains(&user)
    }

    fn judge(&mut self, user: UserId) {
        let Some(state) = self.voice.get(&user) else { return };
        let permissions = self.permissions(user, state.channel);
        let (mute, deaf) = self.members.get(&user).copied().unwrap_or_default();
        let state = self.voice.get_mut(&user).expect("it was just there");
        state.suppress = !permissions.contains(Permissions::SPEAK);
        (state.mute, state.deaf) = (mute, deaf);
        if !permissions.contains(Permissions::STREAM) {
            (state.flags.self_video, state.flags.self_stream) = (false, false);
        }
    }

    /// Whoever has lost what it entered by leaves.
    fn reconcile(&mut self) {
        for user in self.voice.keys().copied().collect::<Vec<_>>() {
            let state = &self.voice[&user];
            let permissions = self.permissions(user, state.channel);
            let stays = self.channels.contains_key(&state.channel) && self.members.contains_key(&user);
            if stays && permissions.contains(state.admitted_by) {
                self.voice.get_mut(&user).expect("it is there").admitted_by |= permissions & TO_ENTER;
                self.judge(user);
            } else {
                self.leave(user);
            }
        }
    }

    fn update_voice(
        &mut self,
        user: UserId,
        session: SessionId,
        channel: Option<ChannelId>,
        flags: VoiceFlags,
    ) -> bool {
        if self.sessions.get(&session).is_none_or(|attached| attached.user != user) {
            return false;
        }
        let at = self.voice.get(&user).map(|state| (state.channel, state.session));
        let Some(channel) = channel else {
            let is_its = |(_, holder)| holder == session || !self.sessions.contains_key(&holder);
            let may = at.is_some_and(is_its);
            if may {
                self.leave(user);
            }
            return may;
        };
        if at == Some((channel, session)) {
            self.voice.get_mut(&user).expect("it is there").flags = flags;
            self.judge(user);
            return true;
        }
        let may = self.may_enter(user, channel);
        if may {
            self.enter(user, session, channel, flags);
        }
        may
    }

    fn attach(&mut self, session: SessionId, new: Attached, is_live: bool, seat: Option<&Seat>) {
        let before = self.sessions.get(&session).copied();
        let gateway = before.map(|before| before.gateway).filter(|_| !is_live).unwrap_or(new.gateway);
        let has_seat_known = new.has_seat_known || before.is_some_and(|before| before.has_seat_known);
        self.sessions.insert(session, Attached { gateway, has_seat_known, ..new });
        let is_news = before.is_none_or(|before| !before.has_seat_known);
        let seat = seat.filter(|seat| is_news && seat.state.session == session);
        match seat {
            Some(seat) if seat.state.user == new.user => self.take_seat(seat),
            None if is_news && has_seat_known => self.forget_hearsay(new.user, session),
            _ => {}
        }
        if self.voice.get(&new.user).is_some_and(|state| state.session == session) {
            self.hearsay.remove(&new.user);
        }
    }

    /// An earlier owner's voice state, as a gateway has it.
    fn take_seat(&mut self, seat: &Seat) {
        let state = &seat.state;
        let is_free = !self.voice.contains_key(&state.user) || self.hearsay.contains(&state.user);
        if self.sees(state.user, state.channel) && is_free {
            self.enter(state.user, state.session, state.channel, state.flags);
        }
    }

    /// The same, as a voice server has it.
    fn take_held(&mut self, held: &Held) {
        if held.fencing < self.predecessor || held.participants.is_empty() && held.channels.is_empty() {
            return;
        }
        if held.fencing < self.fencing {
            self.predecessor = held.fencing;
        }
        for one in &held.participants {
            let is_known = self.sessions.get(&one.session).is_some_and(|attached| attached.has_seat_known);
            let has_left = is_known || self.departed.contains(&one.session);
            if self.voice.contains_key(&one.user) || has_left || !self.sees(one.user, one.channel) {
                continue;
            }
            let flags = one.memo.expect("every owner says it").flags;
            self.enter(one.user, one.session, one.channel, flags);
            if !self.sessions.contains_key(&one.session) {
                self.hearsay.insert(one.user);
            }
        }
    }

    fn forget_hearsay(&mut self, user: UserId, session: SessionId) {
        let is_its = self.voice.get(&user).is_some_and(|state| state.session == session);
        if is_its && self.hearsay.contains(&user) {
            self.leave(user);
        }
    }

    fn detach(&mut self, session: SessionId, gateway: GatewayId) {
        let attached = self.sessions.get(&session).copied().filter(|attached| attached.gateway == gateway);
        let Some(Attached { user, .. }) = attached else { return };
        self.sessions.remove(&session);
        if self.voice.get(&user).is_some_and(|state| state.session == session) {
            self.leave(user);
        }
    }

    fn rest(&mut self, op: &Op) {
        match op {
            Op::ModifyMember(_, user, body) => {
                if let Some((mute, deaf)) = self.members.get_mut(user) {
                    *mute = body.mute.unwrap_or(*mute);
                    *deaf = body.deaf.unwrap_or(*deaf);
                }
                self.judge(*user);
                match (body.channel_id, self.voice.get(user).cloned()) {
                    (Patch::Clear, _) => self.leave(*user),
                    (Patch::Set(channel), Some(state)) if channel != state.channel => {
                        self.enter(*user, state.session, channel, state.flags);
                    }
                    _ => {}
                }
            }
            Op::PutOverwrite { channel, id, body } => {
                let Some(found) = self.channels.get_mut(channel) else { return };
                let both = (body.allow.difference(body.deny), body.deny);
                match body.kind {
                    0 => found.everyone = both,
                    _ => drop(found.members.insert(UserId(*id), both)),
                }
                self.reconcile();
            }
            Op::DeleteOverwrite { channel, id } => {
                let Some(found) = self.channels.get_mut(channel) else { return };
                if found.members.remove(&UserId(*id)).is_none() {
                    found.everyone = Default::default();
                }
                self.reconcile();
            }
            Op::DeleteChannel(channel) => {
                self.channels.remove(channel);
                self.reconcile();
            }
            Op::RemoveMember(_, user) => {
                self.members.remove(user);
                self.leave(*user);
                self.sessions.retain(|_, attached| attached.user != *user);
            }
            Op::AdminAddMember(_, user) => drop(self.members.entry(*user).or_default()),
            _ => {}
        }
    }
}

#[derive(Debug, Default)]
pub struct Reference {
    /// As their owners have them.
    pub guilds: BTreeMap<GuildId, RefGuild>,
    /// As earlier owners have them, of which some may not know yet that they are it no more.
    earlier: BTreeMap<GuildId, Vec<RefGuild>>,
    /// Until when the first could be heard by the second, for those who could once and cannot now.
    until: BTreeMap<(UserId, UserId), At>,
    /// Who must be heard by whom,
    audible: BTreeSet<(UserId, UserId)>,
    /// and who may be.
    tolerated: BTreeSet<(UserId, UserId)>,
}

impl Reference {
    pub fn new(guilds: &[Guild]) -> Self {
        Self { guilds: guilds.iter().map(|g| (g.id, RefGuild::new(g, 0))).collect(), ..Self::default() }
    }

    /// A new owner has read the guild. An error is something that the one before had promised and that is not there.
    pub fn begin_ownership(
        &mut self,
        now: At,
        id: GuildId,
        fencing: u64,
        facts: &Guild,
    ) -> Result<(), String> {
        let mut new = RefGuild::new(facts, fencing);
        let users: Vec<UserId> =
            self.guilds.values().flat_map(|guild| guild.members.keys().copied()).collect();
        new.carried = users
            .into_iter()
            .map(|user| (user, self.places(id, user).into_iter().cloned().collect()))
            .collect();
        let old = self.guilds.remove(&id).expect("every guild is known");
        if old.fencing >= fencing {
            return Err(format!("#{fencing} follows #{}", old.fencing));
        }
        let is_kept = old.has_same_facts(&new);
        self.guilds.insert(id, new);
        self.earlier.entry(id).or_default().push(old);
        self.settle(now);
        if is_kept { Ok(()) } else { Err("what an owner acted upon is not in the database".to_owned()) }
    }

    fn of(&mut self, id: GuildId, fencing: u64) -> &mut RefGuild {
        let current = self.guilds.get_mut(&id).expect("every guild is known");
        if current.fencing == fencing {
            return current;
        }
        let earlier = self.earlier.get_mut(&id).expect("it has been owned before");
        earlier.iter_mut().find(|guild| guild.fencing == fencing).expect("nobody acts without having begun")
    }

    pub fn is_current(&self, id: GuildId, fencing: u64) -> bool {
        self.guilds[&id].fencing == fencing
    }

    /// A guild has acted upon a call. An error is a decision that the model does not share.
    pub fn hear(
        &mut self,
        now: At,
        id: GuildId,
        fencing: u64,
        call: &Call,
        reply: &CallResult,
    ) -> Result<(), String> {
        let guild = self.of(id, fencing);
        let accepts = matches!(reply, Ok(reply) if !matches!(reply, Reply::Refused(_)));
        match call {
            Call::Attach { user, session, gateway, is_live, seat, knows_seat, .. } => {
                let expected = guild.members.contains_key(user);
                if expected != accepts {
                    return Err(format!("expected {expected}"));
                }
                if accepts {
                    let has_seat_known = *knows_seat || seat.is_some();
                    let new = Attached { user: *user, gateway: *gateway, has_seat_known };
                    guild.attach(*session, new, *is_live, seat.as_deref());
                }
            }
            Call::Detach { user, session, gateway, .. } => {
                guild.detach(*session, *gateway);
                guild.forget_hearsay(*user, *session);
                if !guild.sessions.contains_key(session) {
                    guild.departed.insert(*session);
                }
            }
            Call::UpdateVoice { user, session, channel, flags, .. } => {
                let expected = guild.update_voice(*user, *session, *channel, *flags);
                if expected != accepts {
                    return Err(format!("expected {expected}"));
                }
            }
            Call::Rest { op, .. } if accepts => guild.rest(op),
            _ => {}
        }
        self.settle(now);
        self.was_obeyed(now, id, fencing);
        Ok(())
    }

    pub fn leave(&mut self, now: At, id: GuildId, fencing: u64, user: UserId) {
        self.of(id, fencing).leave(user);
        self.settle(now);
        self.was_obeyed(now, id, fencing);
    }

    pub fn gateway_gone(&mut self, now: At, id: GuildId, fencing: u64, gateway: GatewayId) {
        let guild = self.of(id, fencing);
        for session in guild.sessions.keys().copied().collect::<Vec<_>>() {
            guild.detach(session, gateway);
        }
        self.settle(now);
    }

    /// The owner was told what a voice server holds.
    pub fn held(&mut self, now: At, id: GuildId, fencing: u64, held: &Held) {
        self.of(id, fencing).take_held(held);
        self.settle(now);
        self.was_obeyed(now, id, fencing);
    }

    /// A voice server was told everything by the owner.
    pub fn is_whole(&mut self, now: At, id: GuildId, fencing: u64) {
        self.of(id, fencing).is_settled = true;
        self.settle(now);
    }

    /// Where a voice server may have the user: as the owner has said, or as it was when the ownership began, or as an earlier owner
    /// goes on.
    fn places(&self, id: GuildId, user: UserId) -> Vec<&State> {
        let current = &self.guilds[&id];
        if current.said.contains(&user) || current.is_settled {
            return current.voice.get(&user).into_iter().collect();
        }
        let earlier = self.earlier.get(&id).into_iter().flatten().rev();
        let said = earlier.clone().find(|guild| guild.said.contains(&user) || guild.is_settled);
        current
            .carried
            .get(&user)
            .into_iter()
            .flatten()
            .chain(said.and_then(|guild| guild.voice.get(&user)))
            .collect()
    }

    fn settle(&mut self, now: At) {
        let mut audible = BTreeSet::new();
        let mut tolerated = BTreeSet::new();
        for (id, guild) in &self.guilds {
            audible.extend(guild.pairs());
            if guild.is_settled {
                continue;
            }
            let users: BTreeSet<UserId> = guild.carried.keys().chain(guild.voice.keys()).copied().collect();
            let places: Vec<(UserId, &State)> = users
                .iter()
                .flat_map(|user| self.places(*id, *user).into_iter().map(|state| (*user, state)))
                .collect();
            for (from, speaker) in &places {
                let hearing =
                    places.iter().filter(|(to, listener)| from != to && speaker.may_be_heard(listener));
                tolerated.extend(hearing.map(|(to, _)| (*from, *to)));
            }
        }
        tolerated.extend(audible.iter().copied());
        for pair in self.tolerated.difference(&tolerated) {
            self.until.insert(*pair, now);
        }
        (self.audible, self.tolerated) = (audible, tolerated);
    }

    /// An owner that is it no more has acted, and a voice server that has heard of no newer one may have obeyed.
    fn was_obeyed(&mut self, now: At, id: GuildId, fencing: u64) {
        let earlier = self.earlier.get(&id).into_iter().flatten().find(|guild| guild.fencing == fencing);
        for pair in earlier.map(RefGuild::pairs).unwrap_or_default() {
            self.until.insert(pair, now);
        }
    }

    /// Since when the first may not be heard by the second any more; `Err` if it never could, `Ok(None)` if it may.
    pub fn silent_since(&self, from: UserId, to: UserId) -> Result<Option<At>, ()> {
        if self.tolerated.contains(&(from, to)) {
            return Ok(None);
        }
        self.until.get(&(from, to)).copied().map(Some).ok_or(())
    }

    pub fn audible(&self) -> &BTreeSet<(UserId, UserId)> {
        &self.audible
    }

    pub fn participants(&self) -> usize {
        self.guilds.values().map(|guild| guild.voice.len()).sum()
    }
}
