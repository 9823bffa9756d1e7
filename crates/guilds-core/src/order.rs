//! Putting roles and channels into another order, many at once.

use std::collections::BTreeSet;

use client_wire::error::{ApiError, code};
use client_wire::gateway::Intents;
use client_wire::object;
use client_wire::rest::{ChannelBody, ChannelPosition, OverwriteEntry, RolePosition};
use cluster_wire::guilds::{Audience, CallResult, Reply};
use model::{Channel, Permissions, Role, RoleId, Write};

use crate::GuildCore;
use crate::access::{Rank, Who};
use crate::overwrites::entry_of;
use crate::turn::Turn;
use crate::visibility::Scope;

impl GuildCore {
    /// Puts the named roles where they are wanted, and numbers all of them from below, so that no two share a position.
    pub(crate) fn reorder_roles(
        &mut self,
        turn: &mut Turn<'_>,
        who: Who,
        wanted: &[RolePosition],
    ) -> CallResult {
        self.require(who, Permissions::MANAGE_ROLES, turn.now)?;
        let order = self.wanted_order(wanted)?;
        self.require_only_below_moves(who, &order)?;
        for (position, id) in (1..).zip(order) {
            let role = self.guild.roles.iter_mut().find(|role| role.id == id);
            let role = role.expect("the order is of the guild's own roles");
            if role.position == position {
                continue;
            }
            role.position = position;
            let role = role.clone();
            let event = object::RoleEvent { guild_id: self.guild.id, role: (&role).into() };
            turn.write(Write::PutRole(self.guild.id, role));
            turn.tell("GUILD_ROLE_UPDATE", Intents::GUILDS, Audience::Guild, &event);
        }
        self.list_roles(who, turn.now)
    }

    /// All roles but everyone's, from the lowest: the named ones at the positions named (the lowest is 1), the others around them as they
    /// are.
    fn wanted_order(&self, wanted: &[RolePosition]) -> Result<Vec<RoleId>, ApiError> {
        require_distinct(wanted.iter().map(|entry| entry.id))?;
        let mut named = Vec::new();
        for entry in wanted {
            let role = self.known_role(entry.id)?;
            match entry.position {
                // Libraries name all roles, everyone's too, where it is.
                _ if role.id == self.guild.id.everyone() => match entry.position.unwrap_or(0) {
                    0 => {}
                    _ => return Err(ApiError::new(400, code::INVALID_ROLE, "Invalid role")),
                },
                None => {}
                Some(position) => named.push((position, Rank::of_role(role), role.id)),
            }
        }
        named.sort_unstable();
        let is_named = |role: &Role| named.iter().any(|(_, _, id)| *id == role.id);
        let mut order: Vec<RoleId> =
            self.roles_from_below().into_iter().filter(|role| !is_named(role)).map(|role| role.id).collect();
        for (position, _, id) in named {
            let at = usize::from(position).saturating_sub(1).min(order.len());
            order.insert(at, id);
        }
        Ok(order)
    }

    /// One's own highest role and those above it stay as they are among themselves, with nothing new between them.
    fn require_only_below_moves(&self, who: Who, order: &[RoleId]) -> Result<(), ApiError> {
        for (old, new) in self.roles_from_below().into_iter().zip(order) {
            if old.id != *new {
                self.require_above_role(who, old)?;
                self.require_above_role(who, self.known_role(*new)?)?;
            }
        }
        Ok(())
    }

    fn roles_from_below(&self) -> Vec<&Role> {
        let everyone = self.guild.id.everyone();
        let mut roles: Vec<&Role> = self.guild.roles.iter().filter(|role| role.id != everyone).collect();
        roles.sort_unstable_by_key(|role| Rank::of_role(role));
        roles
    }

    /// Everything is checked before anything is changed.
    pub(crate) fn reorder_channels(
        &mut self,
        turn: &mut Turn<'_>,
        who: Who,
        wanted: Vec<ChannelPosition>,
    ) -> CallResult {
        self.require(who, Permissions::MANAGE_CHANNELS, turn.now)?;
        require_distinct(wanted.iter().map(|entry| entry.id))?;
        let mut changed = Vec::new();
        let mut overwrites_change = false;
        for entry in wanted {
            let old = self.require_in(who, entry.id, Permissions::MANAGE_CHANNELS, turn.now)?;
            let mut channel = old.clone();
            self.fill_channel(turn, who, &mut channel, self.position_form(old, &entry))?;
            overwrites_change |= channel.overwrites != old.overwrites;
            if channel != *old {
                changed.push(channel);
            }
        }
        let before = overwrites_change.then(|| self.sight(Scope::Everything, turn.now));
        for channel in changed {
            self.put_channel(turn, channel);
        }
        if let Some(before) = before {
            self.after_change(turn, Scope::Everything, before);
        }
        Ok(Reply::Empty)
    }

    fn position_form(&self, channel: &Channel, entry: &ChannelPosition) -> ChannelBody {
        let parent = entry.parent_id.apply(channel.parent).filter(|_| entry.lock_permissions == Some(true));
        let parent = parent.and_then(|parent| self.guild.channel(parent));
        let overwrites =
            parent.map(|parent| parent.overwrites.iter().map(entry_of).collect::<Vec<OverwriteEntry>>());
        ChannelBody {
            position: entry.position,
            parent_id: entry.parent_id,
            permission_overwrites: overwrites,
            ..ChannelBody::default()
        }
    }
}

fn require_distinct<T: Ord>(ids: impl Iterator<Item = T>) -> Result<(), ApiError> {
    let mut seen = BTreeSet::new();
    for id in ids {
        if !seen.insert(id) {
            return Err(ApiError::field("id", "DUPLICATE", "Each one once."));
        }
    }
    Ok(())
}
