//! Invites: how people get into a guild.

use std::collections::HashSet;

use client_wire::error::{ApiError, code};
use client_wire::gateway::Intents;
use client_wire::object;
use client_wire::rest::InviteBody;
use cluster_wire::guilds::CallResult;
use model::{ChannelId, Invite, Permissions, UnixMs, UserId, Write};

use crate::access::Who;
use crate::limits::{INVITE_AGE_DEFAULT_S, INVITE_AGE_MAX_S, INVITE_USES_MAX, INVITES_MAX};
use crate::turn::{Turn, ok};
use crate::{GuildCore, forms};

impl GuildCore {
    pub(crate) fn create_invite(
        &mut self,
        turn: &mut Turn<'_>,
        who: Who,
        channel: ChannelId,
        body: &InviteBody,
    ) -> CallResult {
        let inviter = who.user.unwrap_or(self.guild.owner);
        self.require_in(who, channel, Permissions::CREATE_INSTANT_INVITE, turn.now)?;
        let max_age =
            forms::number("max_age", body.max_age.unwrap_or(INVITE_AGE_DEFAULT_S), 0..=INVITE_AGE_MAX_S)?;
        let max_uses = forms::number("max_uses", body.max_uses.unwrap_or(0), 0..=INVITE_USES_MAX)?;
        let (alive, spent): (Vec<&Invite>, Vec<&Invite>) =
            turn.facts.invites.iter().partition(|invite| is_alive(invite, turn.now));
        if alive.len() >= INVITES_MAX {
            return Err(ApiError::new(400, code::TOO_MANY_INVITES, "Maximum number of invites reached"));
        }
        let spent: Vec<Write> =
            spent.into_iter().map(|invite| Write::DeleteInvite(invite.code.clone())).collect();
        spent.into_iter().for_each(|write| turn.write(write));
        let invite = Invite {
            code: invite_code(turn.random),
            guild: self.guild.id,
            channel,
            inviter,
            created_at: turn.now,
            expires_at: (max_age != 0).then(|| UnixMs(turn.now.0 + u64::from(max_age) * 1000)),
            uses: 0,
            max_uses,
        };
        turn.write(Write::PutInvite(invite.clone()));
        let object = self.invite_object(turn, &invite)?;
        let event = object::InviteCreate {
            guild_id: self.guild.id,
            channel_id: channel,
            code: object.code.clone(),
            inviter: object.inviter.clone(),
            created_at: object.created_at.clone(),
            expires_at: object.expires_at.clone(),
            max_age: object.max_age,
            max_uses,
            temporary: false,
            uses: 0,
            kind: 0,
        };
        let users = self.managers_of(channel, turn.now);
        turn.tell_users("INVITE_CREATE", Intents::GUILD_INVITES, users, &event);
        ok(&object)
    }

    pub(crate) fn list_invites(&self, turn: &Turn<'_>, who: Who) -> CallResult {
        self.require(who, Permissions::MANAGE_GUILD, turn.now)?;
        let alive = turn.facts.invites.iter().filter(|invite| is_alive(invite, turn.now));
        ok(&alive.filter_map(|invite| self.invite_object(turn, invite).ok()).collect::<Vec<_>>())
    }

    /// Whoever knows the code may look.
    pub(crate) fn get_invite(&self, turn: &Turn<'_>, code: &str) -> CallResult {
        ok(&self.invite_object(turn, self.known_invite(turn, code)?)?)
    }

    pub(crate) fn accept_invite(&mut self, turn: &mut Turn<'_>, who: Who, code: &str) -> CallResult {
        let user = who.require_user()?;
        let mut invite = self.known_invite(turn, code)?.clone();
        let object = self.invite_object(turn, &invite)?;
        if turn.facts.bans.iter().any(|ban| ban.user == user) {
            return Err(ApiError::new(403, code::BANNED, "The user is banned from this guild."));
        }
        if self.guild.member(user).is_some() {
            return ok(&object);
        }
        let joining = turn.facts.users.iter().find(|known| known.id == user).cloned();
        self.join(turn, joining.ok_or_else(|| ApiError::not_found(code::UNKNOWN_USER, "User"))?)?;
        invite.uses += 1;
        if is_alive(&invite, turn.now) {
            turn.write(Write::PutInvite(invite));
        } else {
            self.end_invite(turn, &invite);
        }
        ok(&object)
    }

    /// By whoever manages the channel or the guild.
    pub(crate) fn delete_invite(&mut self, turn: &mut Turn<'_>, who: Who, code: &str) -> CallResult {
        let invite = self.known_invite(turn, code)?.clone();
        let in_channel =
            self.require_in(who, invite.channel, Permissions::MANAGE_CHANNELS, turn.now).map(drop);
        in_channel.or_else(|_| self.require(who, Permissions::MANAGE_GUILD, turn.now))?;
        let object = self.invite_object(turn, &invite)?;
        self.end_invite(turn, &invite);
        ok(&object)
    }

    fn end_invite(&self, turn: &mut Turn<'_>, invite: &Invite) {
        turn.write(Write::DeleteInvite(invite.code.clone()));
        let event = object::InviteDelete {
            guild_id: self.guild.id,
            channel_id: invite.channel,
            code: invite.code.clone(),
        };
        let users = self.managers_of(invite.channel, turn.now);
        turn.tell_users("INVITE_DELETE", Intents::GUILD_INVITES, users, &event);
    }

    fn known_invite<'a>(&self, turn: &'a Turn<'_>, code: &str) -> Result<&'a Invite, ApiError> {
        let ours = |invite: &&Invite| invite.code == code && invite.guild == self.guild.id;
        let found = turn.facts.invites.iter().find(ours).filter(|invite| is_alive(invite, turn.now));
        found.ok_or_else(unknown_invite)
    }

    fn invite_object(&self, turn: &Turn<'_>, invite: &Invite) -> Result<object::Invite, ApiError> {
        let channel = self.guild.channel(invite.channel).ok_or_else(unknown_invite)?;
        let mut object = object::Invite::new(invite, &self.guild, channel, None);
        object.inviter = Some(self.user_object(turn, invite.inviter));
        object.approximate_presence_count = self.presences.len() as u32;
        Ok(object)
    }

    /// Attached users who manage the channel.
    fn managers_of(&self, channel: ChannelId, now: UnixMs) -> HashSet<UserId> {
        let manages = |user: &UserId| {
            self.member_permissions_in(*user, channel, now).contains(Permissions::MANAGE_CHANNELS)
        };
        self.attached.keys().copied().filter(manages).collect()
    }
}

fn unknown_invite() -> ApiError {
    ApiError::not_found(code::UNKNOWN_INVITE, "Invite")
}

fn is_alive(invite: &Invite, now: UnixMs) -> bool {
    invite.expires_at.is_none_or(|at| at > now) && (invite.max_uses == 0 || invite.uses < invite.max_uses)
}

/// Ten characters without look-alikes: 57 bits that nobody guesses.
fn invite_code(random: u64) -> String {
    const ALPHABET: &[u8] = b"abcdefghjkmnpqrstuvwxyzABCDEFGHJKMNPQRSTUVWXYZ23456789";
    let mut rest = random;
    let digit = |_| {
        let digit = ALPHABET[(rest % ALPHABET.len() as u64) as usize];
        rest /= ALPHABET.len() as u64;
        char::from(digit)
    };
    (0..10).map(digit).collect()
}
