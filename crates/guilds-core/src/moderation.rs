//! Kicks and bans.

use std::collections::HashSet;

use client_wire::error::{ApiError, code};
use client_wire::gateway::Intents;
use client_wire::object;
use cluster_wire::guilds::{CallResult, Reply};
use model::{Ban, Permissions, UserId, Write, guild_permissions};

use crate::GuildCore;
use crate::access::Who;
use crate::limits::REASON_CHARS_MAX;
use crate::turn::{Turn, ok};

impl GuildCore {
    /// Kick, or of oneself: leave. The owner can do neither to itself: it hands the guild on first.
    pub(crate) fn remove_member(&mut self, turn: &mut Turn<'_>, who: Who, user: UserId) -> CallResult {
        self.permissions(who, turn.now)?;
        self.known_member(user)?;
        if user == self.guild.owner {
            return Err(ApiError::new(400, code::INVALID_GUILD, "The owner of a guild cannot leave it"));
        }
        if who.user != Some(user) {
            self.require(who, Permissions::KICK_MEMBERS, turn.now)?;
            self.require_above(who, user)?;
        }
        self.part(turn, user);
        Ok(Reply::Empty)
    }

    pub(crate) fn list_bans(&self, turn: &Turn<'_>, who: Who) -> CallResult {
        self.require(who, Permissions::BAN_MEMBERS, turn.now)?;
        ok(&turn.facts.bans.iter().map(|ban| self.ban_object(turn, ban)).collect::<Vec<_>>())
    }

    pub(crate) fn get_ban(&self, turn: &Turn<'_>, who: Who, user: UserId) -> CallResult {
        self.require(who, Permissions::BAN_MEMBERS, turn.now)?;
        let ban = turn.facts.bans.iter().find(|ban| ban.user == user);
        ok(&self.ban_object(turn, ban.ok_or_else(unknown_ban)?))
    }

    fn ban_object(&self, turn: &Turn<'_>, ban: &Ban) -> object::Ban {
        object::Ban { reason: ban.reason.clone(), user: self.user_object(turn, ban.user) }
    }

    /// Also of somebody who is no member (any more).
    pub(crate) fn ban(
        &mut self,
        turn: &mut Turn<'_>,
        who: Who,
        user: UserId,
        reason: Option<String>,
    ) -> CallResult {
        self.require(who, Permissions::BAN_MEMBERS, turn.now)?;
        let found = turn.facts.users.iter().find(|found| found.id == user);
        let found = object::User::from(found.ok_or_else(|| ApiError::not_found(code::UNKNOWN_USER, "User"))?);
        if user == self.guild.owner || who.user == Some(user) {
            return Err(ApiError::missing_permissions());
        }
        if self.guild.member(user).is_some() {
            self.require_above(who, user)?;
            self.part(turn, user);
        }
        let reason = reason.map(|reason| reason.chars().take(REASON_CHARS_MAX).collect());
        turn.write(Write::PutBan(self.guild.id, Ban { user, reason }));
        self.tell_moderators(turn, "GUILD_BAN_ADD", found);
        Ok(Reply::Empty)
    }

    pub(crate) fn unban(&mut self, turn: &mut Turn<'_>, who: Who, user: UserId) -> CallResult {
        self.require(who, Permissions::BAN_MEMBERS, turn.now)?;
        if !turn.facts.bans.iter().any(|ban| ban.user == user) {
            return Err(unknown_ban());
        }
        turn.write(Write::DeleteBan(self.guild.id, user));
        let object = self.user_object(turn, user);
        self.tell_moderators(turn, "GUILD_BAN_REMOVE", object);
        Ok(Reply::Empty)
    }

    fn tell_moderators(&self, turn: &mut Turn<'_>, t: &'static str, user: object::User) {
        let users = self.attached_with(Permissions::BAN_MEMBERS, turn);
        let event = object::UserEvent { guild_id: self.guild.id, user };
        turn.tell_users(t, Intents::GUILD_MODERATION, users, &event);
    }

    /// Attached users with this permission in the guild at large.
    pub(crate) fn attached_with(&self, wanted: Permissions, turn: &Turn<'_>) -> HashSet<UserId> {
        let attached = self.attached.keys().filter_map(|user| self.guild.member(*user));
        let able =
            attached.filter(|member| guild_permissions(&self.guild, member, turn.now).contains(wanted));
        able.map(|member| member.user).collect()
    }
}

fn unknown_ban() -> ApiError {
    ApiError::not_found(code::UNKNOWN_BAN, "Ban")
}
