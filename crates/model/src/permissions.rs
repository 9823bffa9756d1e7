//! Permissions and how they combine: owner, roles, channel overwrites, time-outs.

use std::fmt;

use bitflags::bitflags;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::{Guild, Member, Overwrite, OverwriteTarget, RoleId, UnixMs};

bitflags! {
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
    pub struct Permissions: u64 {
        const CREATE_INSTANT_INVITE = 1 << 0;
        const KICK_MEMBERS = 1 << 1;
        const BAN_MEMBERS = 1 << 2;
        const ADMINISTRATOR = 1 << 3;
        const MANAGE_CHANNELS = 1 << 4;
        const MANAGE_GUILD = 1 << 5;
        const ADD_REACTIONS = 1 << 6;
        const VIEW_AUDIT_LOG = 1 << 7;
        const PRIORITY_SPEAKER = 1 << 8;
        /// Camera and screen sharing.
        const STREAM = 1 << 9;
        const VIEW_CHANNEL = 1 << 10;
        const SEND_MESSAGES = 1 << 11;
        const MANAGE_MESSAGES = 1 << 13;
        const EMBED_LINKS = 1 << 14;
        const ATTACH_FILES = 1 << 15;
        const READ_MESSAGE_HISTORY = 1 << 16;
        const MENTION_EVERYONE = 1 << 17;
        const CONNECT = 1 << 20;
        const SPEAK = 1 << 21;
        const MUTE_MEMBERS = 1 << 22;
        const DEAFEN_MEMBERS = 1 << 23;
        const MOVE_MEMBERS = 1 << 24;
        /// Voice activity detection; enforced by clients, who otherwise offer push to talk only.
        const USE_VAD = 1 << 25;
        const CHANGE_NICKNAME = 1 << 26;
        const MANAGE_NICKNAMES = 1 << 27;
        const MANAGE_ROLES = 1 << 28;
        const REQUEST_TO_SPEAK = 1 << 32;
        const USE_EMBEDDED_ACTIVITIES = 1 << 39;
        const MODERATE_MEMBERS = 1 << 40;
        const USE_SOUNDBOARD = 1 << 42;
        const USE_EXTERNAL_SOUNDS = 1 << 45;
        const SET_VOICE_CHANNEL_STATUS = 1 << 48;
        /// Bits this server gives no meaning to are kept as they are.
        const _ = !0;
    }
}

impl Permissions {
    /// What the role of everyone grants in a new guild.
    pub const DEFAULT_EVERYONE: Permissions = Permissions::CREATE_INSTANT_INVITE
        .union(Permissions::ADD_REACTIONS)
        .union(Permissions::STREAM)
        .union(Permissions::VIEW_CHANNEL)
        .union(Permissions::SEND_MESSAGES)
        .union(Permissions::EMBED_LINKS)
        .union(Permissions::ATTACH_FILES)
        .union(Permissions::READ_MESSAGE_HISTORY)
        .union(Permissions::CONNECT)
        .union(Permissions::SPEAK)
        .union(Permissions::USE_VAD)
        .union(Permissions::CHANGE_NICKNAME)
        .union(Permissions::REQUEST_TO_SPEAK)
        .union(Permissions::USE_SOUNDBOARD)
        .union(Permissions::USE_EXTERNAL_SOUNDS)
        .union(Permissions::SET_VOICE_CHANNEL_STATUS);
}

/// What a member who may not CONNECT to a voice channel loses there.
pub const VOICE_PERMISSIONS: Permissions = Permissions::PRIORITY_SPEAKER
    .union(Permissions::STREAM)
    .union(Permissions::SPEAK)
    .union(Permissions::MUTE_MEMBERS)
    .union(Permissions::DEAFEN_MEMBERS)
    .union(Permissions::MOVE_MEMBERS)
    .union(Permissions::USE_VAD)
    .union(Permissions::REQUEST_TO_SPEAK)
    .union(Permissions::USE_EMBEDDED_ACTIVITIES)
    .union(Permissions::USE_SOUNDBOARD)
    .union(Permissions::USE_EXTERNAL_SOUNDS)
    .union(Permissions::SET_VOICE_CHANNEL_STATUS);

impl fmt::Display for Permissions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.bits().fmt(f)
    }
}

impl Serialize for Permissions {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(&self.bits())
    }
}

struct BitsVisitor;

impl de::Visitor<'_> for BitsVisitor {
    type Value = u64;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("permissions as a decimal string or an unsigned integer")
    }
    fn visit_u64<E: de::Error>(self, v: u64) -> Result<u64, E> {
        Ok(v)
    }
    fn visit_str<E: de::Error>(self, v: &str) -> Result<u64, E> {
        v.parse().map_err(E::custom)
    }
}

impl<'de> Deserialize<'de> for Permissions {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_any(BitsVisitor).map(Permissions::from_bits_retain)
    }
}

/// What `member` may do in the guild at large.
pub fn guild_permissions(guild: &Guild, member: &Member, now: UnixMs) -> Permissions {
    if guild.owner == member.user {
        return Permissions::all();
    }
    let everyone = guild.id.everyone();
    let granted = guild
        .roles
        .iter()
        .filter(|role| role.id == everyone || member.roles.contains(&role.id))
        .fold(Permissions::empty(), |sum, role| sum | role.permissions);
    if granted.contains(Permissions::ADMINISTRATOR) {
        return Permissions::all();
    }
    timed_out(granted, member, now)
}

/// What `member` may do in a channel with these overwrites. Nothing without VIEW_CHANNEL; no voice permission
/// without CONNECT.
pub fn channel_permissions(
    guild: &Guild,
    member: &Member,
    overwrites: &[Overwrite],
    now: UnixMs,
) -> Permissions {
    let base = guild_permissions(guild, member, now);
    if base == Permissions::all() {
        return base;
    }
    let everyone = guild.id.everyone();
    let apply = |p: Permissions, deny: Permissions, allow: Permissions| p.difference(deny) | allow;
    let role_overwrites = |wanted: &dyn Fn(RoleId) -> bool| {
        overwrites.iter().fold((Permissions::empty(), Permissions::empty()), |(deny, allow), o| {
            match o.target {
                OverwriteTarget::Role(id) if wanted(id) => (deny | o.deny, allow | o.allow),
                _ => (deny, allow),
            }
        })
    };
    let (deny, allow) = role_overwrites(&|id| id == everyone);
    let p = apply(base, deny, allow);
    let (deny, allow) = role_overwrites(&|id| id != everyone && member.roles.contains(&id));
    let mut p = apply(p, deny, allow);
    for o in overwrites {
        if o.target == OverwriteTarget::Member(member.user) {
            p = apply(p, o.deny, o.allow);
        }
    }
    p = timed_out(p, member, now);
    if !p.contains(Permissions::VIEW_CHANNEL) {
        return Permissions::empty();
    }
    if !p.contains(Permissions::CONNECT) {
        p = p.difference(VOICE_PERMISSIONS);
    }
    p
}

fn timed_out(p: Permissions, member: &Member, now: UnixMs) -> Permissions {
    match member.timed_out_until {
        Some(until) if until > now => p & (Permissions::VIEW_CHANNEL | Permissions::READ_MESSAGE_HISTORY),
        _ => p,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{GuildId, Role, UserId};

    const OWNER: UserId = UserId(1);
    const BOB: UserId = UserId(2);
    const GUEST: RoleId = RoleId(20);
    const MODERATOR: RoleId = RoleId(21);
    const NOW: UnixMs = UnixMs(1_000);

    fn guild() -> Guild {
        let mut guild = Guild::new(GuildId(10), "g", OWNER);
        guild.roles.push(Role::new(GUEST, "guest", Permissions::empty()));
        guild.roles.push(Role::new(MODERATOR, "mod", Permissions::MUTE_MEMBERS));
        guild
    }

    fn overwrite(target: OverwriteTarget, allow: Permissions, deny: Permissions) -> Overwrite {
        Overwrite { target, allow, deny }
    }

    #[test]
    fn overwrites_apply_everyone_then_roles_then_member() {
        use OverwriteTarget::{Member as M, Role as R};
        let none = Permissions::empty();
        let speak = Permissions::SPEAK;
        let everyone = R(RoleId(10));
        let check = |roles: &[RoleId], overwrites: &[Overwrite], asked: Permissions, expect: bool| {
            let mut bob = Member::new(BOB, NOW);
            bob.roles = roles.to_vec();
            let got = channel_permissions(&guild(), &bob, overwrites, NOW);
            assert_eq!(got.contains(asked), expect, "{roles:?} {overwrites:?} {asked:?}");
        };
        check(&[], &[], speak, true);
        check(&[], &[overwrite(everyone, none, speak)], speak, false);
        check(&[GUEST], &[overwrite(everyone, none, speak), overwrite(R(GUEST), speak, none)], speak, true);
        // Between roles an allow wins over a deny, whatever their order.
        let pair = [overwrite(R(GUEST), speak, none), overwrite(R(MODERATOR), none, speak)];
        check(&[GUEST, MODERATOR], &pair, speak, true);
        check(&[GUEST], &[overwrite(R(GUEST), speak, none), overwrite(M(BOB), none, speak)], speak, false);
        // A role one does not have does nothing.
        check(&[], &[overwrite(R(GUEST), none, speak)], speak, true);
        // No CONNECT: no voice permission, but the text stays.
        check(&[], &[overwrite(everyone, none, Permissions::CONNECT)], speak, false);
        check(&[], &[overwrite(everyone, none, Permissions::CONNECT)], Permissions::SEND_MESSAGES, true);
        // No VIEW_CHANNEL: nothing at all.
        check(
            &[],
            &[overwrite(everyone, none, Permissions::VIEW_CHANNEL)],
            Permissions::SEND_MESSAGES,
            false,
        );
    }

    #[test]
    fn owner_and_administrator_pass_everything_and_a_time_out_leaves_reading() {
        let deny_all =
            [overwrite(OverwriteTarget::Role(RoleId(10)), Permissions::empty(), Permissions::all())];
        let mut guild = guild();
        let owner = Member::new(OWNER, NOW);
        assert_eq!(channel_permissions(&guild, &owner, &deny_all, NOW), Permissions::all());

        let mut bob = Member::new(BOB, NOW);
        bob.timed_out_until = Some(UnixMs(2_000));
        let left = Permissions::VIEW_CHANNEL | Permissions::READ_MESSAGE_HISTORY;
        assert_eq!(channel_permissions(&guild, &bob, &[], NOW), left);
        assert!(channel_permissions(&guild, &bob, &[], UnixMs(2_000)).contains(Permissions::SPEAK));

        guild.roles[1].permissions = Permissions::ADMINISTRATOR;
        bob.roles = vec![GUEST];
        assert_eq!(channel_permissions(&guild, &bob, &deny_all, NOW), Permissions::all());
    }
}
