//! What a store promises, whatever the database.

use model::{
    Ban, Channel, ChannelId, ChannelKind, Guild, GuildId, Invite, Member, Message, MessageId, Overwrite,
    OverwriteTarget, Permissions, RegionId, Role, RoleId, UnixMs, User, UserId, VideoQuality, Write,
};
use store::{CreateUserError, Fence, Store, StoreError};

pub const ANN: UserId = UserId(1);
pub const BOB: UserId = UserId(2);
pub const GUILD: GuildId = GuildId(100);
const CATEGORY: ChannelId = ChannelId(200);
const TEXT: ChannelId = ChannelId(201);
const VOICE: ChannelId = ChannelId(202);
const MODERATOR: RoleId = RoleId(300);
const GUEST: RoleId = RoleId(301);
const NOW: UnixMs = UnixMs(1_795_381_607_123);

pub fn person(id: UserId, name: &str) -> User {
    User { id, name: name.to_owned(), display_name: None, bot: false }
}

pub async fn add_ann_and_bob(store: &Store) {
    store.create_user(&person(ANN, "ann"), Some("hash of ann's"), None).await.unwrap();
    store.create_user(&person(BOB, "bob"), Some("hash of bob's"), None).await.unwrap();
}

/// Every field of every part says something, in the order in which a store returns parts.
fn guild() -> Guild {
    let mut guild = Guild::new(GUILD, "Café ☕", ANN);
    guild.region = Some(RegionId("eu-west".to_owned()));
    let mut moderator = Role::new(MODERATOR, "mod", Permissions::MUTE_MEMBERS | Permissions::MOVE_MEMBERS);
    (moderator.position, moderator.color, moderator.hoist, moderator.mentionable) =
        (7, 0xff_8800, true, true);
    guild.roles.extend([moderator, Role::new(GUEST, "guest", Permissions::empty())]);

    let mut text = Channel::new(TEXT, ChannelKind::Text, "general");
    (text.topic, text.parent, text.last_message) =
        (Some("all of it".to_owned()), Some(CATEGORY), Some(MessageId(9)));
    let mut voice = Channel::new(VOICE, ChannelKind::Voice, "lounge");
    (voice.position, voice.bitrate, voice.user_limit) = (3, 96_000, 5);
    voice.region = Some(RegionId("local".to_owned()));
    voice.video_quality = VideoQuality::Full;
    let overwrite = |target, allow, deny| Overwrite { target, allow, deny };
    let none = Permissions::empty();
    voice.overwrites = vec![
        overwrite(OverwriteTarget::Role(GUEST), none, Permissions::SPEAK),
        overwrite(OverwriteTarget::Member(BOB), Permissions::SPEAK, none),
        overwrite(OverwriteTarget::Role(GUILD.everyone()), none, Permissions::CONNECT),
    ];
    guild.channels = vec![Channel::new(CATEGORY, ChannelKind::Category, "rooms"), text, voice];

    let mut bob = Member::new(BOB, UnixMs(5));
    (bob.nick, bob.roles) = (Some("Bobby".to_owned()), vec![GUEST, MODERATOR]);
    (bob.mute, bob.deaf, bob.timed_out_until) = (true, true, Some(UnixMs(6)));
    guild.members = [(ANN, Member::new(ANN, NOW)), (BOB, bob)].into();
    guild
}

pub fn writes_of(guild: &Guild) -> Vec<Write> {
    let (id, name, owner) = (guild.id, guild.name.clone(), guild.owner);
    let mut writes = vec![Write::PutGuild { id, name, owner, region: guild.region.clone() }];
    writes.extend(guild.roles.iter().map(|role| Write::PutRole(id, role.clone())));
    writes.extend(guild.channels.iter().map(|channel| Write::PutChannel(id, channel.clone())));
    writes.extend(guild.members.values().map(|member| Write::PutMember(id, member.clone())));
    writes
}

fn message(id: u64) -> Message {
    Message {
        id: MessageId(id),
        channel: TEXT,
        author: BOB,
        content: format!("message {id}"),
        edited_at: None,
    }
}

fn invite(code: &str, created_at: u64) -> Invite {
    Invite {
        code: code.to_owned(),
        guild: GUILD,
        channel: TEXT,
        inviter: ANN,
        created_at: UnixMs(created_at),
        expires_at: None,
        uses: 0,
        max_uses: 0,
    }
}

pub async fn add_guild(store: &Store) -> Guild {
    add_ann_and_bob(store).await;
    store.apply(&writes_of(&guild())).await.unwrap();
    guild()
}

#[track_caller]
fn assert_refused(result: store::Result<()>) {
    assert!(matches!(result, Err(StoreError::Refused(_))), "{result:?}");
}

pub async fn a_guild_comes_back_as_it_was_written(store: &Store) {
    assert_eq!(store.load_guild(GUILD).await.unwrap(), None);
    add_guild(store).await;
    assert_eq!(store.load_guild(GUILD).await.unwrap(), Some(guild()));
    assert_eq!(store.load_guild(GuildId(101)).await.unwrap(), None);
    // An empty batch is no transaction and no error.
    store.apply(&[]).await.unwrap();
}

pub async fn writes_change_what_is_there(store: &Store) {
    let mut guild = add_guild(store).await;
    (guild.name, guild.owner, guild.region) = ("renamed".to_owned(), BOB, None);
    guild.roles[2].permissions = Permissions::all();
    guild.channels[1].parent = None;
    guild.channels[2].overwrites.remove(1);
    guild.channels[2].overwrites.reverse();
    let bob = guild.members.get_mut(&BOB).unwrap();
    (bob.nick, bob.timed_out_until, bob.mute) = (None, None, false);
    bob.roles.reverse();
    store.apply(&writes_of(&guild)).await.unwrap();
    assert_eq!(store.load_guild(GUILD).await.unwrap(), Some(guild));

    let mut edited = message(10);
    store.apply(&[Write::PutMessage(edited.clone())]).await.unwrap();
    (edited.content, edited.edited_at) = ("better".to_owned(), Some(NOW));
    store.apply(&[Write::PutMessage(edited.clone())]).await.unwrap();
    assert_eq!(store.message(edited.id).await.unwrap(), Some(edited));
}

pub async fn deleting_takes_along_what_belongs_to_it(store: &Store) {
    let mut guild = add_guild(store).await;
    let parts = [Write::PutMessage(message(10)), Write::PutInvite(invite("abc", 1))];
    store.apply(&parts).await.unwrap();
    let ban = Ban { user: BOB, reason: None };
    store.apply(&[Write::PutBan(GUILD, ban)]).await.unwrap();

    // A role leaves its members and the overwrites for it.
    store.apply(&[Write::DeleteRole(GUEST)]).await.unwrap();
    guild.roles.pop();
    guild.channels[2].overwrites.remove(0);
    guild.members.get_mut(&BOB).unwrap().roles = vec![MODERATOR];
    assert_eq!(store.load_guild(GUILD).await.unwrap().as_ref(), Some(&guild));

    // A category leaves its channels without a parent.
    store.apply(&[Write::DeleteChannel(CATEGORY)]).await.unwrap();
    guild.channels.remove(0);
    guild.channels[0].parent = None;
    assert_eq!(store.load_guild(GUILD).await.unwrap().as_ref(), Some(&guild));

    // A member's overwrites wait for its return.
    store.apply(&[Write::DeleteMember(GUILD, BOB)]).await.unwrap();
    guild.members.remove(&BOB);
    assert_eq!(store.load_guild(GUILD).await.unwrap().as_ref(), Some(&guild));

    store.apply(&[Write::DeleteChannel(TEXT)]).await.unwrap();
    assert_eq!(store.message(MessageId(10)).await.unwrap(), None);
    assert_eq!(store.invite("abc").await.unwrap(), None);

    store.apply(&[Write::DeleteGuild(GUILD)]).await.unwrap();
    assert_eq!(store.load_guild(GUILD).await.unwrap(), None);
    assert_eq!(store.bans(GUILD).await.unwrap(), []);
    assert_eq!(store.channel_guild(VOICE).await.unwrap(), None);
    assert_eq!(store.guilds_of(ANN).await.unwrap(), []);
    // What is not there is deleted already.
    store.apply(&[Write::DeleteGuild(GUILD), Write::DeleteMessage(MessageId(10))]).await.unwrap();
}

pub async fn a_batch_that_contradicts_itself_changes_nothing(store: &Store) {
    let guild = add_guild(store).await;
    let renamed = Write::PutGuild { id: GUILD, name: "renamed".to_owned(), owner: ANN, region: None };
    let stranger = Member::new(UserId(99), NOW);
    assert_refused(store.apply(&[renamed.clone(), Write::PutMember(GUILD, stranger)]).await);
    let mut dangling = Member::new(BOB, NOW);
    dangling.roles = vec![RoleId(999)];
    assert_refused(store.apply(&[renamed.clone(), Write::PutMember(GUILD, dangling)]).await);
    let nowhere = Message { channel: ChannelId(999), ..message(10) };
    assert_refused(store.apply(&[renamed, Write::PutMessage(nowhere)]).await);
    assert_eq!(store.load_guild(GUILD).await.unwrap(), Some(guild));
    // And the connection is fit for the next batch.
    store.apply(&[Write::PutMessage(message(10))]).await.unwrap();
}

fn fence(fencing: u64) -> Fence {
    Fence { guild: GUILD, fencing }
}

fn rename(name: &str) -> [Write; 1] {
    let region = guild().region;
    [Write::PutGuild { id: GUILD, name: name.to_owned(), owner: ANN, region }]
}

#[track_caller]
fn assert_fenced(result: store::Result<()>) {
    assert!(matches!(result, Err(StoreError::Fenced)), "{result:?}");
}

pub async fn an_earlier_owner_writes_nothing_more(store: &Store) {
    let name = async || store.load_guild(GUILD).await.unwrap().unwrap().name;
    store.own(fence(1)).await.unwrap();
    add_guild(store).await;
    assert_fenced(store.apply_as(fence(1), &rename("nobody's")).await);
    // The last of them do not fit into a signed number.
    for (newer, older) in [(2, 1), (3, 2), ((1 << 63) - 1, 3), (1 << 63, (1 << 63) - 1), (u64::MAX, 1 << 63)]
    {
        store.own(fence(newer)).await.unwrap();
        store.own(fence(newer)).await.unwrap();
        store.apply_as(fence(newer), &rename(&newer.to_string())).await.unwrap();
        assert_fenced(store.apply_as(fence(older), &rename("older")).await);
        assert_fenced(store.own(fence(older)).await);
        assert_eq!(name().await, newer.to_string());
    }
    // Where there is one owner only, it needs no number.
    store.apply(&rename("anybody's")).await.unwrap();
    assert_eq!(name().await, "anybody's");
}

/// What a new owner reads is what it will be.
pub async fn an_earlier_owners_last_write_is_there_when_the_next_begins(store: &Store) {
    add_guild(store).await;
    store.own(fence(1)).await.unwrap();
    let writers: Vec<_> = (0..4)
        .map(|writer| {
            let store = store.clone();
            tokio::spawn(async move {
                for n in 0.. {
                    match store.apply_as(fence(1), &rename(&format!("{writer} {n}"))).await {
                        Ok(()) => {}
                        Err(StoreError::Fenced) => return n,
                        Err(error) => panic!("{error}"),
                    }
                }
                unreachable!("it is fenced some day")
            })
        })
        .collect();
    while store.load_guild(GUILD).await.unwrap() == Some(guild()) {}
    store.own(fence(2)).await.unwrap();
    let found = store.load_guild(GUILD).await.unwrap();
    for writer in writers {
        writer.await.unwrap();
    }
    assert_eq!(store.load_guild(GUILD).await.unwrap(), found);
}

pub async fn references_may_point_forward(store: &Store) {
    add_ann_and_bob(store).await;
    let mut writes = writes_of(&guild());
    writes.push(Write::PutMessage(message(10)));
    writes.reverse();
    store.apply(&writes).await.unwrap();
    assert_eq!(store.load_guild(GUILD).await.unwrap(), Some(guild()));
    assert_eq!(store.message(MessageId(10)).await.unwrap(), Some(message(10)));
}

pub async fn a_large_batch_is_one_transaction(store: &Store) {
    const MESSAGES: u64 = store::limits::MAX_BINDS as u64;
    add_guild(store).await;
    let mut writes: Vec<_> = (1..=MESSAGES).map(|id| Write::PutMessage(message(id))).collect();
    writes.push(Write::PutMessage(Message { author: UserId(99), ..message(MESSAGES + 1) }));
    assert_refused(store.apply(&writes).await);
    assert_eq!(store.messages(TEXT, 1, None, None).await.unwrap(), []);
    writes.pop();
    store.apply(&writes).await.unwrap();
    assert_eq!(store.messages(TEXT, 1, None, None).await.unwrap(), [message(MESSAGES)]);
    assert_eq!(store.messages(TEXT, 1, None, Some(MessageId(0))).await.unwrap(), [message(1)]);
    let deletions: Vec<_> = (1..=MESSAGES).map(|id| Write::DeleteMessage(MessageId(id))).collect();
    store.apply(&deletions).await.unwrap();
    assert_eq!(store.messages(TEXT, 1, None, None).await.unwrap(), []);
}

pub async fn extreme_values_survive(store: &Store) {
    let mut guild = add_guild(store).await;
    guild.roles[0].permissions = Permissions::from_bits_retain(u64::MAX);
    (guild.roles[1].position, guild.roles[1].color) = (u16::MAX, u32::MAX);
    let voice = &mut guild.channels[2];
    (voice.bitrate, voice.user_limit, voice.position) = (u32::MAX, u16::MAX, u16::MAX);
    voice.last_message = Some(MessageId(u64::MAX));
    voice.overwrites[0].deny = Permissions::from_bits_retain(1 << 63);
    guild.members.get_mut(&BOB).unwrap().timed_out_until = Some(UnixMs(u64::MAX));
    store.apply(&writes_of(&guild)).await.unwrap();
    assert_eq!(store.load_guild(GUILD).await.unwrap(), Some(guild));
    let most = Invite { uses: u32::MAX, max_uses: u32::MAX, expires_at: Some(NOW), ..invite("x", u64::MAX) };
    store.apply(&[Write::PutInvite(most.clone())]).await.unwrap();
    assert_eq!(store.invite("x").await.unwrap(), Some(most));
}

pub async fn text_loses_only_the_null_character(store: &Store) {
    add_guild(store).await;
    let check = async |id: u64, content: &str, expect: &str| {
        let sent = Message { content: content.to_owned(), ..message(id) };
        store.apply(&[Write::PutMessage(sent)]).await.unwrap();
        assert_eq!(store.message(MessageId(id)).await.unwrap().unwrap().content, expect);
    };
    check(10, "", "").await;
    check(11, "'; DROP TABLE messages; --", "'; DROP TABLE messages; --").await;
    check(12, "👩‍👩‍👧 \u{202e}\r\n\t\u{1}", "👩‍👩‍👧 \u{202e}\r\n\t\u{1}").await;
    check(13, "a\0b\0", "a\u{fffd}b\u{fffd}").await;
    store.create_user(&person(UserId(3), "nu\0ll"), None, None).await.unwrap();
    assert_eq!(store.user_by_name("nu\0ll").await.unwrap().unwrap().id, UserId(3));
    assert_eq!(store.invite("\0").await.unwrap(), None);
}

pub async fn members_know_their_guilds_and_channels_theirs(store: &Store) {
    add_guild(store).await;
    let mut second = Guild::new(GuildId(50), "second", BOB);
    second.members.insert(BOB, Member::new(BOB, NOW));
    store.apply(&writes_of(&second)).await.unwrap();
    assert_eq!(store.guild_ids().await.unwrap(), [GuildId(50), GUILD]);
    assert_eq!(store.guilds_of(ANN).await.unwrap(), [GUILD]);
    assert_eq!(store.guilds_of(BOB).await.unwrap(), [GuildId(50), GUILD]);
    assert_eq!(store.guilds_of(UserId(99)).await.unwrap(), []);
    assert_eq!(store.channel_guild(VOICE).await.unwrap(), Some(GUILD));
    assert_eq!(store.channel_guild(ChannelId(999)).await.unwrap(), None);
}

pub async fn pages_of_messages(store: &Store) {
    add_guild(store).await;
    let elsewhere = Message { channel: VOICE, ..message(13) };
    let mut writes: Vec<_> =
        (10..20).filter(|id| *id != 13).map(|id| Write::PutMessage(message(id))).collect();
    writes.push(Write::PutMessage(elsewhere));
    store.apply(&writes).await.unwrap();
    let check = async |limit, before: Option<u64>, after: Option<u64>, expect: &[u64]| {
        let found = store.messages(TEXT, limit, before.map(MessageId), after.map(MessageId)).await.unwrap();
        let ids: Vec<_> = found.iter().map(|m| m.id.0).collect();
        assert_eq!(ids, expect, "limit {limit}, before {before:?}, after {after:?}");
    };
    check(3, None, None, &[19, 18, 17]).await;
    check(50, None, None, &[19, 18, 17, 16, 15, 14, 12, 11, 10]).await;
    check(0, None, None, &[]).await;
    check(3, Some(15), None, &[14, 12, 11]).await;
    check(3, None, Some(12), &[16, 15, 14]).await;
    check(2, Some(17), Some(11), &[16, 15]).await;
    check(3, Some(10), None, &[]).await;
    check(3, None, Some(19), &[]).await;
    check(3, Some(12), Some(16), &[]).await;
    // The ends of the range of ids, which clients use for "first" and "last".
    check(1, Some(0), None, &[]).await;
    check(1, None, Some(0), &[10]).await;
    check(1, Some(u64::MAX), None, &[19]).await;
    check(1, None, Some(u64::MAX), &[]).await;
    check(1, Some(1 << 63), None, &[19]).await;
    check(1, None, Some(1 << 63), &[]).await;
    assert_eq!(store.messages(ChannelId(999), 5, None, None).await.unwrap(), []);
    let newest = store.newest_messages(GUILD).await.unwrap();
    assert_eq!(newest, [(TEXT, MessageId(19)), (VOICE, MessageId(13))].into());
}

pub async fn invites_and_bans(store: &Store) {
    add_guild(store).await;
    let (mut first, second) = (invite("AbC", 1), invite("abc", 2));
    store.apply(&[Write::PutInvite(first.clone()), Write::PutInvite(second.clone())]).await.unwrap();
    assert_eq!(store.invites(GUILD).await.unwrap(), [second.clone(), first.clone()]);
    first.uses = 1;
    store.apply(&[Write::PutInvite(first.clone()), Write::DeleteInvite("abc".to_owned())]).await.unwrap();
    assert_eq!(store.invite("AbC").await.unwrap(), Some(first));
    assert_eq!(store.invite("abc").await.unwrap(), None);

    let ban = |user, reason: Option<&str>| Ban { user, reason: reason.map(str::to_owned) };
    let bans = [Write::PutBan(GUILD, ban(BOB, Some("noise"))), Write::PutBan(GUILD, ban(ANN, None))];
    store.apply(&bans).await.unwrap();
    assert_eq!(store.bans(GUILD).await.unwrap(), [ban(ANN, None), ban(BOB, Some("noise"))]);
    assert_eq!(store.ban(GUILD, BOB).await.unwrap(), Some(ban(BOB, Some("noise"))));
    store.apply(&[Write::DeleteBan(GUILD, BOB)]).await.unwrap();
    assert_eq!(store.ban(GUILD, BOB).await.unwrap(), None);
    assert_eq!(store.ban(GuildId(50), ANN).await.unwrap(), None);
}

pub async fn accounts(store: &Store) {
    add_ann_and_bob(store).await;
    let display_name = Some("Robot".to_owned());
    let bot = User { id: UserId(3), name: "robot".to_owned(), display_name, bot: true };
    store.create_user(&bot, None, Some(BOB)).await.unwrap();
    assert_eq!(store.user(ANN).await.unwrap(), Some(person(ANN, "ann")));
    assert_eq!(store.user(UserId(99)).await.unwrap(), None);
    assert_eq!(store.password_hash("Ann").await.unwrap(), Some((ANN, "hash of ann's".to_owned())));
    assert_eq!(store.password_hash("robot").await.unwrap(), None);
    assert_eq!(store.password_hash("nobody").await.unwrap(), None);
    assert_eq!(store.bot_owner(UserId(3)).await.unwrap(), Some(BOB));
    assert_eq!(store.bot_owner(ANN).await.unwrap(), None);

    let mut found = store.users(&[UserId(3), UserId(99), ANN, ANN]).await.unwrap();
    found.sort_by_key(|user| user.id);
    assert_eq!(found, [person(ANN, "ann"), bot]);
    assert_eq!(store.users(&[]).await.unwrap(), []);
    let many: Vec<_> = (1..20_000).map(UserId).collect();
    assert_eq!(store.users(&many).await.unwrap().len(), 3);
}

pub async fn names_are_unique_whatever_their_case(store: &Store) {
    add_ann_and_bob(store).await;
    store.create_user(&person(UserId(3), "Žofie"), None, None).await.unwrap();
    for taken in ["ann", "ANN", "žOFIE"] {
        let again = store.create_user(&person(UserId(4), taken), None, None).await;
        assert!(matches!(again, Err(CreateUserError::NameTaken)), "{taken}: {again:?}");
    }
    let same_id = store.create_user(&person(ANN, "carla"), None, None).await;
    assert!(matches!(same_id, Err(CreateUserError::IdTaken(ANN))), "{same_id:?}");
    let no_owner = store.create_user(&person(UserId(4), "carla"), None, Some(UserId(99))).await;
    assert!(matches!(no_owner, Err(CreateUserError::Store(StoreError::Refused(_)))), "{no_owner:?}");
    assert_eq!(store.user_by_name("ŽOFIE").await.unwrap(), Some(person(UserId(3), "Žofie")));
    assert_eq!(store.user_by_name("zofie").await.unwrap(), None);
    assert_eq!(store.user_by_name("carla").await.unwrap(), None);
}

pub async fn pages_of_users(store: &Store) {
    for id in [3, 1, 2, 5] {
        store.create_user(&person(UserId(id), &format!("user {id}")), None, None).await.unwrap();
    }
    let check = async |after: Option<u64>, limit, expect: &[u64]| {
        let ids: Vec<_> =
            store.list_users(after.map(UserId), limit).await.unwrap().iter().map(|u| u.id.0).collect();
        assert_eq!(ids, expect, "after {after:?}, limit {limit}");
    };
    check(None, 10, &[1, 2, 3, 5]).await;
    check(None, 2, &[1, 2]).await;
    check(Some(2), 2, &[3, 5]).await;
    check(Some(5), 2, &[]).await;
    check(Some(u64::MAX), 2, &[]).await;
    check(None, u32::MAX, &[1, 2, 3, 5]).await;
}

pub async fn tokens(store: &Store) {
    add_ann_and_bob(store).await;
    let (a, b, c) = ([0; 32], [0xff; 32], [7; 32]);
    store.put_token(a, ANN, NOW).await.unwrap();
    store.put_token(b, ANN, NOW).await.unwrap();
    store.put_token(c, BOB, NOW).await.unwrap();
    store.put_token(c, BOB, NOW).await.unwrap();
    assert_refused(store.put_token([8; 32], UserId(99), NOW).await);
    assert_eq!(store.token(a).await.unwrap(), Some((ANN, NOW)));
    assert_eq!(store.token(c).await.unwrap(), Some((BOB, NOW)));
    assert_eq!(store.token([8; 32]).await.unwrap(), None);
    store.delete_tokens(ANN).await.unwrap();
    assert_eq!(store.token(a).await.unwrap(), None);
    assert_eq!(store.token(b).await.unwrap(), None);
    assert_eq!(store.token(c).await.unwrap(), Some((BOB, NOW)));
}

pub async fn tokens_end_one_by_one_and_the_longest_unused_first(store: &Store) {
    add_ann_and_bob(store).await;
    let later = |ms: u64| UnixMs(NOW.0 + ms);
    let token = |n: u8| [n; 32];
    for n in 1..=4 {
        store.put_token(token(n), ANN, later(u64::from(n))).await.unwrap();
    }
    store.put_token(token(5), BOB, NOW).await.unwrap();
    store.use_token(token(1), later(9)).await.unwrap();
    assert_eq!(store.token(token(1)).await.unwrap(), Some((ANN, later(9))));
    assert_eq!(store.tokens_beyond(ANN, 2).await.unwrap(), [[3; 8], [2; 8]]);
    assert_eq!(store.tokens_beyond(ANN, 4).await.unwrap(), [[0; 8]; 0]);
    store.delete_token(BOB, [3; 8]).await.unwrap();
    assert!(store.token(token(3)).await.unwrap().is_some(), "another's token");
    store.delete_token(ANN, [3; 8]).await.unwrap();
    assert_eq!(store.token(token(3)).await.unwrap(), None);
    assert_eq!(store.tokens_beyond(ANN, 0).await.unwrap(), [[1; 8], [4; 8], [2; 8]]);
    // What has ended is not revived by somebody who was still using it.
    store.use_token(token(3), later(10)).await.unwrap();
    assert_eq!(store.token(token(3)).await.unwrap(), None);
}

pub async fn the_first_meta_value_wins(store: &Store) {
    assert_eq!(store.meta_get("secret").await.unwrap(), None);
    let values: Vec<_> = (0..8).map(|n| n.to_string()).collect();
    let results = together(values.iter().map(|value| store.meta_put_if_absent("secret", value))).await;
    let winner = results[0].as_ref().unwrap().clone();
    assert!(values.contains(&winner), "{winner}");
    for result in results {
        assert_eq!(result.unwrap(), winner);
    }
    assert_eq!(store.meta_get("secret").await.unwrap(), Some(winner));
}

/// More calls than there are connections: they wait for each other and none fails.
pub async fn calls_may_run_at_once(store: &Store) {
    add_guild(store).await;
    let calls = (10..110).map(async |id| {
        store.apply(&[Write::PutMessage(message(id))]).await?;
        assert_eq!(
            store.message(MessageId(id)).await?,
            Some(message(id)),
            "a call sees what the one before it did"
        );
        assert!(store.load_guild(GUILD).await?.is_some());
        store.put_token([id as u8; 32], ANN, NOW).await
    });
    for result in together(calls).await {
        result.unwrap();
    }
    assert_eq!(store.messages(TEXT, 200, None, None).await.unwrap().len(), 100);
}

async fn together<F: Future>(futures: impl Iterator<Item = F>) -> Vec<F::Output> {
    futures_util::future::join_all(futures).await
}
