//! Roles, and who has them.

use client_wire::error::{ApiError, code};
use client_wire::gateway::Intents;
use client_wire::object;
use client_wire::rest::RoleBody;
use cluster_wire::guilds::{Audience, CallResult, Reply};
use model::{OverwriteTarget, Permissions, Role, RoleId, UnixMs, UserId, Write};

use crate::access::Who;
use crate::limits::{NAME_CHARS_MAX, ROLES_MAX};
use crate::turn::{Turn, ok};
use crate::visibility::Scope;
use crate::{GuildCore, forms};

const COLOR_MAX: u32 = 0xff_ffff;

impl GuildCore {
    pub(crate) fn list_roles(&self, who: Who, now: UnixMs) -> CallResult {
        self.permissions(who, now)?;
        ok(&self.guild.roles.iter().map(object::Role::from).collect::<Vec<_>>())
    }

    pub(crate) fn get_role(&self, who: Who, id: RoleId, now: UnixMs) -> CallResult {
        self.permissions(who, now)?;
        ok(&object::Role::from(self.known_role(id)?))
    }

    /// A new role is the lowest: above everyone's, and below the older ones of its position.
    pub(crate) fn create_role(&mut self, turn: &mut Turn<'_>, who: Who, body: RoleBody) -> CallResult {
        self.require(who, Permissions::MANAGE_ROLES, turn.now)?;
        if self.guild.roles.len() >= ROLES_MAX {
            return Err(ApiError::new(400, code::TOO_MANY_ROLES, "Maximum number of guild roles reached"));
        }
        let everyone = self.known_role(self.guild.id.everyone())?.permissions;
        let mut role = Role::new(RoleId(turn.next_id()), "new role", Permissions::empty());
        let wanted = body.permissions.unwrap_or(everyone);
        self.fill_role(turn, who, &mut role, RoleBody { permissions: Some(wanted), ..body })?;
        self.guild.roles.push(role.clone());
        turn.write(Write::PutRole(self.guild.id, role.clone()));
        let event = object::RoleEvent { guild_id: self.guild.id, role: (&role).into() };
        turn.tell("GUILD_ROLE_CREATE", Intents::GUILDS, Audience::Guild, &event);
        ok(&event.role)
    }

    pub(crate) fn modify_role(
        &mut self,
        turn: &mut Turn<'_>,
        who: Who,
        id: RoleId,
        body: RoleBody,
    ) -> CallResult {
        self.require(who, Permissions::MANAGE_ROLES, turn.now)?;
        let mut role = self.known_role(id)?.clone();
        let is_everyone = id == self.guild.id.everyone();
        if !is_everyone {
            self.require_above_role(who, &role)?;
        }
        let old = role.permissions;
        // The name and looks of everyone's role are not for changing.
        let body = if is_everyone {
            RoleBody { permissions: body.permissions, ..RoleBody::default() }
        } else {
            body
        };
        self.fill_role(turn, who, &mut role, body)?;
        let before = (role.permissions != old).then(|| self.sight(Scope::Everything, turn.now));
        let slot = self.guild.roles.iter_mut().find(|slot| slot.id == id).expect("found above");
        *slot = role.clone();
        turn.write(Write::PutRole(self.guild.id, role.clone()));
        let event = object::RoleEvent { guild_id: self.guild.id, role: (&role).into() };
        turn.tell("GUILD_ROLE_UPDATE", Intents::GUILDS, Audience::Guild, &event);
        if let Some(before) = before {
            self.after_change(turn, Scope::Everything, before);
        }
        ok(&event.role)
    }

    pub(crate) fn delete_role(&mut self, turn: &mut Turn<'_>, who: Who, id: RoleId) -> CallResult {
        self.require(who, Permissions::MANAGE_ROLES, turn.now)?;
        let role = self.known_role(id)?;
        if id == self.guild.id.everyone() {
            return Err(ApiError::new(400, code::INVALID_ROLE, "Invalid role"));
        }
        self.require_above_role(who, role)?;
        let before = self.sight(Scope::Everything, turn.now);
        self.guild.roles.retain(|role| role.id != id);
        // The database deletes these along with the role, and clients do so at GUILD_ROLE_DELETE: a role of 100,000 members
        // is one write and one event.
        for channel in &mut self.guild.channels {
            channel.overwrites.retain(|overwrite| overwrite.target != OverwriteTarget::Role(id));
        }
        for member in self.guild.members.values_mut() {
            member.roles.retain(|role| *role != id);
        }
        turn.write(Write::DeleteRole(id));
        let event = object::RoleDelete { guild_id: self.guild.id, role_id: id };
        turn.tell("GUILD_ROLE_DELETE", Intents::GUILDS, Audience::Guild, &event);
        self.after_change(turn, Scope::Everything, before);
        Ok(Reply::Empty)
    }

    pub(crate) fn set_member_role(
        &mut self,
        turn: &mut Turn<'_>,
        who: Who,
        user: UserId,
        role: RoleId,
        has: bool,
    ) -> CallResult {
        self.require(who, Permissions::MANAGE_ROLES, turn.now)?;
        let mut member = self.known_member(user)?.clone();
        self.require_assignable(who, role)?;
        if member.roles.contains(&role) == has {
            return Ok(Reply::Empty);
        }
        match has {
            true => member.roles.push(role),
            false => member.roles.retain(|other| *other != role),
        }
        let before = self.sight(Scope::Member(user), turn.now);
        self.put_member(turn, member);
        self.after_change(turn, Scope::Member(user), before);
        Ok(Reply::Empty)
    }

    /// A role that one may give and take: not everyone's, and below one's own.
    pub(crate) fn require_assignable(&self, who: Who, role: RoleId) -> Result<(), ApiError> {
        let found = self.known_role(role)?;
        if role == self.guild.id.everyone() {
            return Err(ApiError::new(400, code::INVALID_ROLE, "Invalid role"));
        }
        self.require_above_role(who, found)
    }

    /// One can put into a role only what one may do oneself.
    fn fill_role(&self, turn: &Turn<'_>, who: Who, role: &mut Role, body: RoleBody) -> Result<(), ApiError> {
        if let Some(wanted) = body.permissions {
            let changed = wanted ^ role.permissions;
            if !self.permissions(who, turn.now)?.contains(changed) {
                return Err(ApiError::missing_permissions());
            }
            role.permissions = wanted;
        }
        if let Some(name) = &body.name {
            role.name = forms::text("name", name, 1..=NAME_CHARS_MAX)?;
        }
        if let Some(color) = body.color {
            role.color = forms::number("color", color, 0..=COLOR_MAX)?;
        }
        role.hoist = body.hoist.unwrap_or(role.hoist);
        role.mentionable = body.mentionable.unwrap_or(role.mentionable);
        Ok(())
    }
}
