//! Random batches of writes, applied to a store and to a reference in plain maps, which must then agree: on what is
//! refused, and on everything that can be read.

use std::collections::BTreeMap;

use model::{
    Ban, Channel, ChannelId, ChannelKind, Guild, GuildId, Invite, Member, Message, MessageId, Overwrite,
    OverwriteTarget, Permissions, RegionId, Role, RoleId, UnixMs, UserId, Write,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngSeed, TestRunner};
use store::{Store, StoreError};

use crate::suite::add_ann_and_bob;

const BATCHES: usize = 300;
const SEED_VARIABLE: &str = "STORE_TEST_SEED";

// Few ids, so that writes meet; the last user and guild do not exist at first, so that references fail.
fn user() -> impl Strategy<Value = UserId> {
    prop_oneof![20 => 1..=2_u64, 1 => Just(3)].prop_map(UserId)
}
fn guild() -> impl Strategy<Value = GuildId> {
    prop_oneof![20 => Just(10_u64), 3 => Just(11)].prop_map(GuildId)
}
fn role() -> impl Strategy<Value = RoleId> {
    (10..=13_u64).prop_map(RoleId)
}
fn channel_id() -> impl Strategy<Value = ChannelId> {
    (20..=23_u64).prop_map(ChannelId)
}
fn message_id() -> impl Strategy<Value = MessageId> {
    (30..=35_u64).prop_map(MessageId)
}
fn code() -> impl Strategy<Value = String> {
    "[ab]"
}
fn text() -> impl Strategy<Value = String> {
    "[^\0]{0,5}"
}
fn time() -> impl Strategy<Value = UnixMs> {
    any::<u64>().prop_map(UnixMs)
}
fn permissions() -> impl Strategy<Value = Permissions> {
    any::<u64>().prop_map(Permissions::from_bits_retain)
}
fn region() -> impl Strategy<Value = Option<RegionId>> {
    option::of(text().prop_map(RegionId))
}

fn overwrite() -> impl Strategy<Value = Overwrite> {
    let target =
        prop_oneof![role().prop_map(OverwriteTarget::Role), user().prop_map(OverwriteTarget::Member)];
    (target, permissions(), permissions()).prop_map(|(target, allow, deny)| Overwrite { target, allow, deny })
}

fn put_channel() -> impl Strategy<Value = Write> {
    let kind = prop_oneof![
        Just(ChannelKind::Text),
        Just(ChannelKind::Voice),
        Just(ChannelKind::Category),
        Just(ChannelKind::Stage)
    ];
    let ids = (guild(), channel_id(), option::of(channel_id()), option::of(message_id()));
    let rest = (kind, text(), option::of(text()), any::<(u16, u32, u16)>(), vec(overwrite(), 0..3), region());
    (ids, rest).prop_map(|((guild, id, parent, last_message), rest)| {
        let (kind, name, topic, (position, bitrate, user_limit), overwrites, region) = rest;
        let numbers = Channel { position, bitrate, user_limit, ..Channel::new(id, kind, &name) };
        Write::PutChannel(guild, Channel { topic, parent, overwrites, region, last_message, ..numbers })
    })
}

fn put_role() -> impl Strategy<Value = Write> {
    (guild(), role(), text(), permissions(), any::<(u16, u32, bool, bool)>()).prop_map(
        |(guild, id, name, permissions, (position, color, hoist, mentionable))| {
            Write::PutRole(guild, Role { id, name, permissions, position, color, hoist, mentionable })
        },
    )
}

fn put_member() -> impl Strategy<Value = Write> {
    (
        guild(),
        user(),
        option::of(text()),
        vec(role(), 0..3),
        time(),
        any::<(bool, bool)>(),
        option::of(time()),
    )
        .prop_map(|(guild, user, nick, roles, joined_at, (mute, deaf), timed_out_until)| {
            Write::PutMember(guild, Member { user, nick, roles, joined_at, mute, deaf, timed_out_until })
        })
}

fn put_message() -> impl Strategy<Value = Write> {
    (message_id(), channel_id(), user(), text(), option::of(time())).prop_map(
        |(id, channel, author, content, edited_at)| {
            Write::PutMessage(Message { id, channel, author, content, edited_at })
        },
    )
}

fn put_invite() -> impl Strategy<Value = Write> {
    (code(), guild(), channel_id(), user(), 0..9_u64, option::of(time()), any::<(u32, u32)>()).prop_map(
        |(code, guild, channel, inviter, created_at, expires_at, (uses, max_uses))| {
            let created_at = UnixMs(created_at);
            Write::PutInvite(Invite { code, guild, channel, inviter, created_at, expires_at, uses, max_uses })
        },
    )
}

fn write() -> impl Strategy<Value = Write> {
    let put_guild = (guild(), text(), user(), region())
        .prop_map(|(id, name, owner, region)| Write::PutGuild { id, name, owner, region });
    let put_ban = (guild(), user(), option::of(text()))
        .prop_map(|(guild, user, reason)| Write::PutBan(guild, Ban { user, reason }));
    prop_oneof![
        6 => put_guild,
        1 => guild().prop_map(Write::DeleteGuild),
        8 => put_channel(),
        2 => channel_id().prop_map(Write::DeleteChannel),
        8 => put_role(),
        2 => role().prop_map(Write::DeleteRole),
        8 => put_member(),
        2 => (guild(), user()).prop_map(|(guild, user)| Write::DeleteMember(guild, user)),
        8 => put_message(),
        2 => message_id().prop_map(Write::DeleteMessage),
        4 => put_invite(),
        2 => code().prop_map(Write::DeleteInvite),
        4 => put_ban,
        2 => (guild(), user()).prop_map(|(guild, user)| Write::DeleteBan(guild, user)),
    ]
}

/// The same facts in plain maps.
#[derive(Debug, Clone, Default, PartialEq)]
struct Reference {
    guilds: BTreeMap<GuildId, (String, UserId, Option<RegionId>)>,
    roles: BTreeMap<RoleId, (GuildId, Role)>,
    channels: BTreeMap<ChannelId, (GuildId, Channel)>,
    members: BTreeMap<(GuildId, UserId), Member>,
    messages: BTreeMap<MessageId, Message>,
    invites: BTreeMap<String, Invite>,
    bans: BTreeMap<(GuildId, UserId), Ban>,
}

impl Reference {
    fn apply(&mut self, write: &Write) {
        match write.clone() {
            Write::PutGuild { id, name, owner, region } => {
                drop(self.guilds.insert(id, (name, owner, region)))
            }
            Write::DeleteGuild(id) => self.delete_guild(id),
            Write::PutChannel(guild, channel) => drop(self.channels.insert(channel.id, (guild, channel))),
            Write::DeleteChannel(id) => self.delete_channel(id),
            Write::PutRole(guild, role) => drop(self.roles.insert(role.id, (guild, role))),
            Write::DeleteRole(id) => self.delete_role(id),
            Write::PutMember(guild, member) => drop(self.members.insert((guild, member.user), member)),
            Write::DeleteMember(guild, user) => drop(self.members.remove(&(guild, user))),
            Write::PutMessage(message) => drop(self.messages.insert(message.id, message)),
            Write::DeleteMessage(id) => drop(self.messages.remove(&id)),
            Write::PutInvite(invite) => drop(self.invites.insert(invite.code.clone(), invite)),
            Write::DeleteInvite(code) => drop(self.invites.remove(&code)),
            Write::PutBan(guild, ban) => drop(self.bans.insert((guild, ban.user), ban)),
            Write::DeleteBan(guild, user) => drop(self.bans.remove(&(guild, user))),
        }
    }

    fn delete_guild(&mut self, id: GuildId) {
        if self.guilds.remove(&id).is_none() {
            return;
        }
        let channels: Vec<_> =
            self.channels.values().filter(|(guild, _)| *guild == id).map(|(_, c)| c.id).collect();
        channels.into_iter().for_each(|channel| self.delete_channel(channel));
        // Overwrites for a role name it without referring to it, so they outlive a role that goes with its guild.
        let roles: Vec<_> =
            self.roles.values().filter(|(guild, _)| *guild == id).map(|(_, r)| r.id).collect();
        roles.into_iter().for_each(|role| self.remove_role(role));
        self.members.retain(|(guild, _), _| *guild != id);
        self.invites.retain(|_, invite| invite.guild != id);
        self.bans.retain(|(guild, _), _| *guild != id);
    }

    fn delete_channel(&mut self, id: ChannelId) {
        if self.channels.remove(&id).is_none() {
            return;
        }
        for (_, channel) in self.channels.values_mut() {
            channel.parent = channel.parent.filter(|parent| *parent != id);
        }
        self.messages.retain(|_, message| message.channel != id);
        self.invites.retain(|_, invite| invite.channel != id);
    }

    fn delete_role(&mut self, id: RoleId) {
        self.remove_role(id);
        for (_, channel) in self.channels.values_mut() {
            channel.overwrites.retain(|overwrite| overwrite.target != OverwriteTarget::Role(id));
        }
    }

    fn remove_role(&mut self, id: RoleId) {
        if self.roles.remove(&id).is_some() {
            self.members.values_mut().for_each(|member| member.roles.retain(|role| *role != id));
        }
    }

    /// Does everything that is referred to exist?
    fn is_consistent(&self) -> bool {
        let user = |id: &UserId| id.0 <= 2;
        let guild = |id: &GuildId| self.guilds.contains_key(id);
        let channel = |id: &ChannelId| self.channels.contains_key(id);
        self.guilds.values().all(|(_, owner, _)| user(owner))
            && self.roles.values().all(|(of, _)| guild(of))
            && self.channels.values().all(|(of, c)| guild(of) && c.parent.iter().all(channel))
            && self.members.iter().all(|((of, id), _)| guild(of) && user(id))
            && self.members.values().all(|m| m.roles.iter().all(|role| self.roles.contains_key(role)))
            && self.messages.values().all(|m| channel(&m.channel) && user(&m.author))
            && self.invites.values().all(|i| guild(&i.guild) && channel(&i.channel) && user(&i.inviter))
            && self.bans.keys().all(|(of, id)| guild(of) && user(id))
    }

    fn guild(&self, id: GuildId) -> Option<Guild> {
        let (name, owner, region) = self.guilds.get(&id)?.clone();
        let mut roles: Vec<_> =
            self.roles.values().filter(|(of, _)| *of == id).map(|(_, r)| r.clone()).collect();
        roles.sort_by_key(|role| role.id != id.everyone());
        let channels = self.channels.values().filter(|(of, _)| *of == id).map(|(_, c)| c.clone()).collect();
        let members = self.members.iter().filter(|((of, _), _)| *of == id);
        let members = members.map(|((_, user), member)| (*user, member.clone())).collect();
        Some(Guild { id, name, owner, region, roles, channels, members })
    }
}

async fn check(store: &Store, reference: &Reference) -> store::Result<()> {
    let ids: Vec<_> = reference.guilds.keys().copied().collect();
    assert_eq!(store.guild_ids().await?, ids);
    for id in [10, 11].map(GuildId) {
        assert_eq!(store.load_guild(id).await?, reference.guild(id));
        let mut invites: Vec<_> = reference.invites.values().filter(|i| i.guild == id).cloned().collect();
        invites.sort_by_key(|invite| std::cmp::Reverse(invite.created_at));
        assert_eq!(store.invites(id).await?, invites);
        let bans: Vec<_> =
            reference.bans.iter().filter(|((of, _), _)| *of == id).map(|(_, b)| b.clone()).collect();
        assert_eq!(store.bans(id).await?, bans);
    }
    for id in (20..=23).map(ChannelId) {
        let messages =
            reference.messages.values().rev().filter(|m| m.channel == id).cloned().collect::<Vec<_>>();
        assert_eq!(store.messages(id, 100, None, None).await?, messages);
    }
    Ok(())
}

pub async fn random_writes_equal_the_reference(store: &Store) {
    add_ann_and_bob(store).await;
    let seed = std::env::var(SEED_VARIABLE).map_or(1, |seed| seed.parse().expect("the seed is a number"));
    println!("replay: {SEED_VARIABLE}={seed} cargo nextest run -p store random_writes postgres");
    let mut runner = TestRunner::new(Config { rng_seed: RngSeed::Fixed(seed), ..Config::default() });
    let batches = vec(write(), 1..6);
    let mut reference = Reference::default();
    let (mut accepted, mut refused) = (0, 0);
    for n in 0..BATCHES {
        let batch = batches.new_tree(&mut runner).unwrap().current();
        let mut next = reference.clone();
        batch.iter().for_each(|write| next.apply(write));
        let result = store.apply(&batch).await;
        match (next.is_consistent(), &result) {
            (true, Ok(())) => (reference, accepted) = (next, accepted + 1),
            (false, Err(StoreError::Refused(_))) => refused += 1,
            (consistent, _) => {
                panic!("batch {n}: {result:?} where consistency is {consistent}\n{batch:#?}\n{reference:#?}")
            }
        }
        check(store, &reference).await.unwrap();
    }
    // The test means something only while both happen often.
    assert!(accepted > BATCHES / 10 && refused > BATCHES / 10, "{accepted} accepted, {refused} refused");
}
