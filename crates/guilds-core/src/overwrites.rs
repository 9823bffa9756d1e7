//! Permission overwrites of channels.

use client_wire::error::{ApiError, code};
use client_wire::rest::{OverwriteBody, OverwriteEntry};
use cluster_wire::guilds::{CallResult, Reply};
use model::{Channel, ChannelId, Overwrite, OverwriteTarget, Permissions, RoleId, UserId};

use crate::GuildCore;
use crate::access::Who;
use crate::limits::OVERWRITES_MAX;
use crate::turn::Turn;
use crate::visibility::Scope;

impl GuildCore {
    pub(crate) fn put_overwrite(
        &mut self,
        turn: &mut Turn<'_>,
        who: Who,
        id: ChannelId,
        target: u64,
        body: &OverwriteBody,
    ) -> CallResult {
        let mut channel = self.require_in(who, id, Permissions::MANAGE_ROLES, turn.now)?.clone();
        let target = self.overwrite_target(target, body.kind)?;
        let overwrite = Overwrite { target, allow: body.allow.difference(body.deny), deny: body.deny };
        let old = channel.overwrites.iter().position(|overwrite| overwrite.target == target);
        self.require_own_bits(turn, who, &channel, old.map(|at| &channel.overwrites[at]), Some(&overwrite))?;
        match old {
            Some(at) => channel.overwrites[at] = overwrite,
            None if channel.overwrites.len() >= OVERWRITES_MAX => return Err(too_many()),
            None => channel.overwrites.push(overwrite),
        }
        self.replace_overwrites(turn, channel)
    }

    pub(crate) fn delete_overwrite(
        &mut self,
        turn: &mut Turn<'_>,
        who: Who,
        id: ChannelId,
        target: u64,
    ) -> CallResult {
        let mut channel = self.require_in(who, id, Permissions::MANAGE_ROLES, turn.now)?.clone();
        let at = channel.overwrites.iter().position(|overwrite| raw_id(overwrite.target) == target);
        let at = at.ok_or_else(|| ApiError::not_found(code::UNKNOWN_OVERWRITE, "Overwrite"))?;
        self.require_own_bits(turn, who, &channel, Some(&channel.overwrites[at]), None)?;
        channel.overwrites.remove(at);
        self.replace_overwrites(turn, channel)
    }

    fn replace_overwrites(&mut self, turn: &mut Turn<'_>, channel: Channel) -> CallResult {
        let scope = Scope::Channel(channel.id);
        let before = self.sight(scope, turn.now);
        self.put_channel(turn, channel);
        self.after_change(turn, scope, before);
        Ok(Reply::Empty)
    }

    /// The overwrites of a channel form, for a channel that is made or changed.
    pub(crate) fn checked_overwrites(
        &self,
        turn: &Turn<'_>,
        who: Who,
        channel: &Channel,
        entries: &[OverwriteEntry],
    ) -> Result<Vec<Overwrite>, ApiError> {
        if entries.len() > OVERWRITES_MAX {
            return Err(too_many());
        }
        let mut overwrites: Vec<Overwrite> = Vec::with_capacity(entries.len());
        for entry in entries {
            let target = self.overwrite_target(entry.id.0, entry.kind)?;
            if overwrites.iter().any(|known| known.target == target) {
                return Err(ApiError::field(
                    "permission_overwrites",
                    "DUPLICATE",
                    "One overwrite for each target.",
                ));
            }
            overwrites.push(Overwrite {
                target,
                allow: entry.allow.difference(entry.deny),
                deny: entry.deny,
            });
        }
        for overwrite in &overwrites {
            let old = channel.overwrites.iter().find(|old| old.target == overwrite.target);
            if old != Some(overwrite) {
                self.require_own_bits(turn, who, channel, old, Some(overwrite))?;
            }
        }
        let removed = |old: &&Overwrite| !overwrites.iter().any(|new| new.target == old.target);
        for old in channel.overwrites.iter().filter(removed) {
            self.require_own_bits(turn, who, channel, Some(old), None)?;
        }
        Ok(overwrites)
    }

    /// One can grant, deny or take back only what one may do oneself, and only with MANAGE_ROLES.
    fn require_own_bits(
        &self,
        turn: &Turn<'_>,
        who: Who,
        channel: &Channel,
        old: Option<&Overwrite>,
        new: Option<&Overwrite>,
    ) -> Result<(), ApiError> {
        let bits = |overwrite: Option<&Overwrite>| {
            overwrite.map_or((Permissions::empty(), Permissions::empty()), |o| (o.allow, o.deny))
        };
        let ((old_allow, old_deny), (new_allow, new_deny)) = (bits(old), bits(new));
        let changed = (old_allow ^ new_allow) | (old_deny ^ new_deny);
        let own = match self.guild.channel(channel.id) {
            Some(existing) => self.permissions_in(who, existing, turn.now)?,
            None => self.permissions(who, turn.now)?,
        };
        match own.contains(changed | Permissions::MANAGE_ROLES) {
            true => Ok(()),
            false => Err(ApiError::missing_permissions()),
        }
    }

    fn overwrite_target(&self, id: u64, kind: u8) -> Result<OverwriteTarget, ApiError> {
        match kind {
            0 => self.known_role(RoleId(id)).map(|role| OverwriteTarget::Role(role.id)),
            1 => self.known_member(UserId(id)).map(|member| OverwriteTarget::Member(member.user)),
            _ => Err(ApiError::field("type", "BASE_TYPE_CHOICES", "0 is a role, 1 is a member.")),
        }
    }
}

/// An overwrite as a form would name it.
pub(crate) fn entry_of(overwrite: &Overwrite) -> OverwriteEntry {
    let kind = match overwrite.target {
        OverwriteTarget::Role(_) => 0,
        OverwriteTarget::Member(_) => 1,
    };
    let Overwrite { target, allow, deny } = *overwrite;
    OverwriteEntry { id: RoleId(raw_id(target)), kind, allow, deny }
}

fn raw_id(target: OverwriteTarget) -> u64 {
    match target {
        OverwriteTarget::Role(id) => id.0,
        OverwriteTarget::Member(id) => id.0,
    }
}

fn too_many() -> ApiError {
    ApiError::new(400, code::TOO_MANY_OVERWRITES, "Maximum number of channel permission overwrites reached")
}
