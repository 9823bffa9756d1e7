//! Who may do what: permissions and the hierarchy of roles.

use std::cmp::Reverse;

use client_wire::error::{ApiError, code};
use model::{
    Channel, ChannelId, Member, Permissions, Role, RoleId, UnixMs, UserId, channel_permissions,
    guild_permissions,
};

use crate::GuildCore;

/// Who asks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Who {
    /// None only for an operator's key, which belongs to no user.
    pub user: Option<UserId>,
    /// Passes every check of permission and rank.
    pub operator: bool,
}

impl Who {
    pub fn user(user: UserId) -> Self {
        Self { user: Some(user), operator: false }
    }

    /// For what only a user can do, such as to write a message.
    pub fn require_user(self) -> Result<UserId, ApiError> {
        self.user.ok_or_else(|| {
            ApiError::new(403, code::UNAUTHORIZED, "This needs a user; an operator's key has none")
        })
    }
}

/// Height in the hierarchy. Roles of one position: the older, that is the lower id, is the higher.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Rank {
    Everyone,
    Role(u16, Reverse<RoleId>),
    Owner,
    Operator,
}

impl Rank {
    pub fn of_role(role: &Role) -> Self {
        Self::Role(role.position, Reverse(role.id))
    }
}

impl GuildCore {
    /// A member, or the error for naming somebody who is none.
    pub(crate) fn known_member(&self, user: UserId) -> Result<&Member, ApiError> {
        self.guild.member(user).ok_or_else(|| ApiError::not_found(code::UNKNOWN_MEMBER, "Member"))
    }

    pub(crate) fn known_role(&self, role: RoleId) -> Result<&Role, ApiError> {
        self.guild.role(role).ok_or_else(|| ApiError::not_found(code::UNKNOWN_ROLE, "Role"))
    }

    pub(crate) fn known_channel(&self, channel: ChannelId) -> Result<&Channel, ApiError> {
        self.guild.channel(channel).ok_or_else(|| ApiError::not_found(code::UNKNOWN_CHANNEL, "Channel"))
    }

    /// What `who` may do in the guild at large; not a member: missing access.
    pub(crate) fn permissions(&self, who: Who, now: UnixMs) -> Result<Permissions, ApiError> {
        if who.operator {
            return Ok(Permissions::all());
        }
        let member =
            who.user.and_then(|user| self.guild.member(user)).ok_or_else(ApiError::missing_access)?;
        Ok(guild_permissions(&self.guild, member, now))
    }

    pub(crate) fn require(&self, who: Who, wanted: Permissions, now: UnixMs) -> Result<(), ApiError> {
        match self.permissions(who, now)?.contains(wanted) {
            true => Ok(()),
            false => Err(ApiError::missing_permissions()),
        }
    }

    /// What `who` may do in the channel; one it cannot see is missing access.
    pub(crate) fn permissions_in(
        &self,
        who: Who,
        channel: &Channel,
        now: UnixMs,
    ) -> Result<Permissions, ApiError> {
        if who.operator {
            return Ok(Permissions::all());
        }
        let member =
            who.user.and_then(|user| self.guild.member(user)).ok_or_else(ApiError::missing_access)?;
        let permissions = channel_permissions(&self.guild, member, &channel.overwrites, now);
        match permissions.contains(Permissions::VIEW_CHANNEL) {
            true => Ok(permissions),
            false => Err(ApiError::missing_access()),
        }
    }

    /// The channel, if it is there, seen, and all of `wanted` is allowed in it.
    pub(crate) fn require_in(
        &self,
        who: Who,
        channel: ChannelId,
        wanted: Permissions,
        now: UnixMs,
    ) -> Result<&Channel, ApiError> {
        let channel = self.known_channel(channel)?;
        match self.permissions_in(who, channel, now)?.contains(wanted) {
            true => Ok(channel),
            false => Err(ApiError::missing_permissions()),
        }
    }

    /// What a member may do in a channel, for decisions about that member rather than about who asks.
    pub(crate) fn member_permissions_in(&self, user: UserId, channel: ChannelId, now: UnixMs) -> Permissions {
        match (self.guild.member(user), self.guild.channel(channel)) {
            (Some(member), Some(channel)) => {
                channel_permissions(&self.guild, member, &channel.overwrites, now)
            }
            _ => Permissions::empty(),
        }
    }

    pub(crate) fn can_see(&self, user: UserId, channel: &Channel, now: UnixMs) -> bool {
        self.guild.member(user).is_some_and(|member| {
            channel_permissions(&self.guild, member, &channel.overwrites, now)
                .contains(Permissions::VIEW_CHANNEL)
        })
    }

    pub(crate) fn rank(&self, who: Who) -> Rank {
        if who.operator {
            return Rank::Operator;
        }
        who.user.map_or(Rank::Everyone, |user| self.member_rank(user))
    }

    fn member_rank(&self, user: UserId) -> Rank {
        if user == self.guild.owner {
            return Rank::Owner;
        }
        let Some(member) = self.guild.member(user) else { return Rank::Everyone };
        let held = self.guild.roles.iter().filter(|role| member.roles.contains(&role.id));
        held.map(Rank::of_role).max().unwrap_or(Rank::Everyone)
    }

    /// Moderation reaches only those below.
    pub(crate) fn require_above(&self, who: Who, target: UserId) -> Result<(), ApiError> {
        match self.rank(who) > self.member_rank(target) {
            true => Ok(()),
            false => Err(ApiError::missing_permissions()),
        }
    }

    /// One can manage and hand out only roles below one's own highest.
    pub(crate) fn require_above_role(&self, who: Who, role: &Role) -> Result<(), ApiError> {
        match self.rank(who) > Rank::of_role(role) {
            true => Ok(()),
            false => Err(ApiError::missing_permissions()),
        }
    }
}
