//! Members: listing, joining, leaving, and changing one.

use client_wire::error::{ApiError, code};
use client_wire::gateway::Intents;
use client_wire::object;
use client_wire::rest::{ModifyMember, Patch};
use cluster_wire::guilds::{Audience, CallResult, Dispatch};
use model::{ChannelId, Member, Permissions, RoleId, UnixMs, User, UserId, Write};

use crate::access::Who;
use crate::limits::{MEMBERS_MAX, MEMBERS_PAGE_MAX, NICK_CHARS_MAX, TIME_OUT_MAX_MS};
use crate::timestamp::parse_iso8601;
use crate::turn::{Effect, Turn, created, json, ok};
use crate::visibility::Scope;
use crate::voice::Entrance;
use crate::{GuildCore, forms};

impl GuildCore {
    pub(crate) fn list_members(&self, who: Who, limit: u32, after: UserId, now: UnixMs) -> CallResult {
        self.permissions(who, now)?;
        let later = self.guild.members.range((std::ops::Bound::Excluded(after), std::ops::Bound::Unbounded));
        let page = later.take(limit.clamp(1, MEMBERS_PAGE_MAX) as usize);
        ok(&page.map(|(_, member)| self.member_object(member)).collect::<Vec<_>>())
    }

    pub(crate) fn search_members(&self, who: Who, query: &str, limit: u32, now: UnixMs) -> CallResult {
        self.permissions(who, now)?;
        let page = self.members_beginning(query).take(limit.clamp(1, MEMBERS_PAGE_MAX) as usize);
        ok(&page.map(|member| self.member_object(member)).collect::<Vec<_>>())
    }

    pub(crate) fn get_member(&self, who: Who, user: UserId, now: UnixMs) -> CallResult {
        self.permissions(who, now)?;
        ok(&self.member_object(self.known_member(user)?))
    }

    /// By the operator, or a bot by whoever manages the guild.
    pub(crate) fn add_member(&mut self, turn: &mut Turn<'_>, who: Who, user: UserId) -> CallResult {
        let found = turn.facts.users.iter().find(|found| found.id == user).cloned();
        let found = found.ok_or_else(|| ApiError::not_found(code::UNKNOWN_USER, "User"))?;
        if !who.operator {
            self.require(who, Permissions::MANAGE_GUILD, turn.now)?;
            if !found.bot {
                return Err(ApiError::missing_permissions());
            }
        }
        if self.guild.member(user).is_none() {
            self.join(turn, found)?;
        }
        created(&self.member_object(self.known_member(user)?))
    }

    /// Makes the user a member.
    pub(crate) fn join(&mut self, turn: &mut Turn<'_>, user: User) -> Result<(), ApiError> {
        if self.guild.members.len() >= MEMBERS_MAX {
            return Err(ApiError::new(403, code::GENERAL, "The guild is full"));
        }
        let id = user.id;
        let member = Member::new(id, turn.now);
        self.users.insert(id, user);
        self.guild.members.insert(id, member.clone());
        turn.write(Write::PutMember(self.guild.id, member.clone()));
        let event = object::MemberEvent { guild_id: self.guild.id, member: self.member_object(&member) };
        turn.tell("GUILD_MEMBER_ADD", Intents::GUILD_MEMBERS, Audience::Guild, &event);
        turn.effect(Effect::Joined(id));
        Ok(())
    }

    /// Ends a membership, by whatever means it was decided. Not of the owner.
    pub(crate) fn part(&mut self, turn: &mut Turn<'_>, user: UserId) {
        self.drop_stranger(turn, user);
        self.guild.members.remove(&user);
        turn.write(Write::DeleteMember(self.guild.id, user));
        if let Some(user) = self.users.remove(&user) {
            let event = object::UserEvent { guild_id: self.guild.id, user: (&user).into() };
            turn.tell("GUILD_MEMBER_REMOVE", Intents::GUILD_MEMBERS, Audience::Guild, &event);
        }
        turn.effect(Effect::Left(user));
    }

    /// Replaces a member, makes it durable and tells of it. Its own sessions are always told.
    pub(crate) fn put_member(&mut self, turn: &mut Turn<'_>, member: Member) {
        let user = member.user;
        turn.write(Write::PutMember(self.guild.id, member.clone()));
        let event = object::MemberEvent { guild_id: self.guild.id, member: self.member_object(&member) };
        self.guild.members.insert(user, member);
        turn.dispatch(Dispatch {
            t: "GUILD_MEMBER_UPDATE",
            d: json(&event),
            without_content: None,
            intents: Intents::GUILD_MEMBERS.bits(),
            audience: Audience::Guild,
            always: Some(user),
            note: None,
        });
    }

    /// Everything is checked before anything is changed.
    pub(crate) fn modify_member(
        &mut self,
        turn: &mut Turn<'_>,
        who: Who,
        user: UserId,
        body: ModifyMember,
    ) -> CallResult {
        self.permissions(who, turn.now)?;
        let old = self.known_member(user)?.clone();
        let mut member = old.clone();
        self.change_nick(turn, who, &mut member, body.nick)?;
        self.change_roles(turn, who, &mut member, body.roles)?;
        self.change_mutes(turn, who, &mut member, body.mute, body.deaf)?;
        self.change_time_out(turn, who, &mut member, body.communication_disabled_until)?;
        self.check_move(turn, who, user, body.channel_id)?;

        if member != old {
            let before = self.sight(Scope::Member(user), turn.now);
            self.put_member(turn, member);
            self.after_change(turn, Scope::Member(user), before);
        }
        self.do_move(turn, user, body.channel_id);
        ok(&self.member_object(self.known_member(user)?))
    }

    fn change_nick(
        &self,
        turn: &Turn<'_>,
        who: Who,
        member: &mut Member,
        nick: Patch<String>,
    ) -> Result<(), ApiError> {
        if nick.is_keep() {
            return Ok(());
        }
        if who.user == Some(member.user) {
            let permissions = self.permissions(who, turn.now)?;
            if !permissions.intersects(Permissions::CHANGE_NICKNAME | Permissions::MANAGE_NICKNAMES) {
                return Err(ApiError::missing_permissions());
            }
        } else {
            self.require(who, Permissions::MANAGE_NICKNAMES, turn.now)?;
            self.require_above(who, member.user)?;
        }
        member.nick = forms::patch_text("nick", nick, NICK_CHARS_MAX)?.apply(member.nick.take());
        Ok(())
    }

    fn change_roles(
        &self,
        turn: &Turn<'_>,
        who: Who,
        member: &mut Member,
        roles: Option<Vec<RoleId>>,
    ) -> Result<(), ApiError> {
        let Some(mut roles) = roles else { return Ok(()) };
        self.require(who, Permissions::MANAGE_ROLES, turn.now)?;
        roles.sort_unstable();
        roles.dedup();
        let added = roles.iter().filter(|role| !member.roles.contains(role));
        let removed = member.roles.iter().filter(|role| !roles.contains(role));
        for role in added.chain(removed) {
            self.require_assignable(who, *role)?;
        }
        // The order they have is kept, so that naming the same roles changes nothing.
        member.roles.retain(|role| roles.contains(role));
        roles.retain(|role| !member.roles.contains(role));
        member.roles.extend(roles);
        Ok(())
    }

    /// Muting and deafening reach whoever is in voice, of any rank: it is the channel that is moderated.
    fn change_mutes(
        &self,
        turn: &Turn<'_>,
        who: Who,
        member: &mut Member,
        mute: Option<bool>,
        deaf: Option<bool>,
    ) -> Result<(), ApiError> {
        if mute.is_none() && deaf.is_none() {
            return Ok(());
        }
        let needed = [(mute, Permissions::MUTE_MEMBERS), (deaf, Permissions::DEAFEN_MEMBERS)];
        let needed = needed
            .into_iter()
            .filter(|(asked, _)| asked.is_some())
            .fold(Permissions::empty(), |p, (_, n)| p | n);
        let entry = self.voice.get(&member.user);
        match entry {
            Some(entry) => drop(self.require_in(who, entry.state.channel, needed, turn.now)?),
            None => {
                self.require(who, needed, turn.now)?;
                return Err(not_in_voice());
            }
        }
        member.mute = mute.unwrap_or(member.mute);
        member.deaf = deaf.unwrap_or(member.deaf);
        Ok(())
    }

    fn change_time_out(
        &self,
        turn: &Turn<'_>,
        who: Who,
        member: &mut Member,
        until: Patch<String>,
    ) -> Result<(), ApiError> {
        const FIELD: &str = "communication_disabled_until";
        if until.is_keep() {
            return Ok(());
        }
        self.require(who, Permissions::MODERATE_MEMBERS, turn.now)?;
        self.require_above(who, member.user)?;
        member.timed_out_until = match until {
            Patch::Set(text) => {
                let until = parse_iso8601(&text).ok_or_else(|| {
                    ApiError::field(FIELD, "DATE_TIME_TYPE_PARSE", "Must be an ISO 8601 timestamp.")
                })?;
                if until.0 > turn.now.0 + TIME_OUT_MAX_MS {
                    return Err(ApiError::field(FIELD, "DATE_TIME_TOO_FAR", "At most 28 days from now."));
                }
                Some(until)
            }
            Patch::Clear | Patch::Keep => None,
        };
        Ok(())
    }

    /// The mover needs MOVE_MEMBERS where the member is, and must be able to connect where it sends it. A full channel takes
    /// whom such a mover sends.
    fn check_move(
        &self,
        turn: &Turn<'_>,
        who: Who,
        user: UserId,
        to: Patch<ChannelId>,
    ) -> Result<(), ApiError> {
        if to.is_keep() {
            return Ok(());
        }
        let Some(entry) = self.voice.get(&user) else {
            self.require(who, Permissions::MOVE_MEMBERS, turn.now)?;
            return Err(not_in_voice());
        };
        self.require_in(who, entry.state.channel, Permissions::MOVE_MEMBERS, turn.now)?;
        let Patch::Set(to) = to else { return Ok(()) };
        let target = self.require_in(who, to, Permissions::CONNECT | Permissions::MOVE_MEMBERS, turn.now)?;
        match target.kind.is_voice() {
            true => Ok(()),
            false => Err(ApiError::wrong_channel_type()),
        }
    }

    fn do_move(&mut self, turn: &mut Turn<'_>, user: UserId, to: Patch<ChannelId>) {
        // A time-out in the same form may have ended the stay already.
        let Some(state) = self.voice.get(&user).map(|entry| entry.state.clone()) else { return };
        match to {
            Patch::Keep => {}
            Patch::Clear => self.leave_voice(turn, user),
            Patch::Set(channel) if channel == state.channel => {}
            Patch::Set(channel) => {
                let (session, flags) = (state.session, state.flags);
                self.enter(turn, Entrance { user, session, channel, flags });
            }
        }
    }
}

fn not_in_voice() -> ApiError {
    ApiError::new(400, code::NOT_IN_VOICE, "Target user is not connected to voice.")
}
