//! Channels, overwrites, and who sees what.

use client_wire::rest::{ChannelBody, ModifyGuild, OverwriteBody, OverwriteEntry, Patch};

use super::*;
use crate::limits::CHANNELS_MAX;

fn named(name: &str, kind: u8) -> ChannelBody {
    ChannelBody { name: Some(name.to_owned()), kind: Some(kind), ..ChannelBody::default() }
}

#[test]
fn forms_of_channels_are_checked() {
    let voice = || named("v", 2);
    let check = |body: ChannelBody, expect: Result<(), (u16, u32)>| {
        let mut world = World::attached();
        let shown = format!("{body:?}");
        let outcome = world.rest(OWNER, Op::CreateChannel(GUILD, body));
        match expect {
            Ok(()) => assert_eq!(trace(&outcome), ["CHANNEL_CREATE"], "{shown}"),
            Err(expect) => assert_eq!(error(&outcome), expect, "{shown}"),
        }
    };
    let form = Err((400, 50035));
    check(named("a", 0), Ok(()));
    check(named("a", 13), Ok(()));
    check(named("a", 1), form);
    check(named("", 0), form);
    check(named("   ", 0), form);
    check(named(&"x".repeat(100), 0), Ok(()));
    check(named(&"x".repeat(101), 0), form);
    check(ChannelBody { name: None, ..voice() }, form);
    check(ChannelBody { bitrate: Some(7_999), ..voice() }, form);
    check(ChannelBody { bitrate: Some(8_000), user_limit: Some(99), ..voice() }, Ok(()));
    check(ChannelBody { user_limit: Some(100), ..voice() }, form);
    check(ChannelBody { user_limit: Some(10_000), ..named("s", 13) }, Ok(()));
    check(ChannelBody { parent_id: Patch::Set(TEXT), ..voice() }, form);
    check(ChannelBody { rtc_region: Patch::Set("local".to_owned()), ..voice() }, Ok(()));
    check(ChannelBody { rtc_region: Patch::Set("moon".to_owned()), ..voice() }, form);
    check(ChannelBody { video_quality_mode: Patch::Set(3), ..voice() }, form);
    check(ChannelBody { topic: Patch::Set("t".repeat(1_025)), ..voice() }, form);
    let entry = |id| OverwriteEntry { id, kind: 0, allow: Permissions::empty(), deny: Permissions::SPEAK };
    check(ChannelBody { permission_overwrites: Some(vec![entry(EVERYONE)]), ..voice() }, Ok(()));
    check(
        ChannelBody { permission_overwrites: Some(vec![entry(EVERYONE), entry(EVERYONE)]), ..voice() },
        form,
    );
    check(ChannelBody { permission_overwrites: Some(vec![entry(RoleId(9))]), ..voice() }, Err((404, 10011)));
}

#[test]
fn the_quality_of_video_is_a_channels_own() {
    let mut world = World::attached();
    let mut set = |mode| {
        let form = ChannelBody { video_quality_mode: mode, ..ChannelBody::default() };
        body(&world.rest(OWNER, Op::ModifyChannel(LOBBY, form)))["video_quality_mode"].clone()
    };
    assert_eq!([set(Patch::Set(2)), set(Patch::Keep), set(Patch::Clear)], [2, 2, 1]);
}

#[test]
fn a_region_where_no_voice_server_is_is_named_by_its_field() {
    let mut world = World::attached();
    let moon = || Patch::Set("moon".to_owned());
    let channel = ChannelBody { rtc_region: moon(), ..ChannelBody::default() };
    let guild = ModifyGuild { region: moon(), ..ModifyGuild::default() };
    for (op, field) in
        [(Op::ModifyChannel(LOBBY, channel), "rtc_region"), (Op::ModifyGuild(GUILD, guild), "region")]
    {
        let refused = world.rest(OWNER, op).reply.unwrap_err();
        assert_eq!(refused.errors.keys().collect::<Vec<_>>(), [field]);
    }
}

#[test]
fn a_guild_has_a_most_of_channels() {
    let mut world = World::attached();
    while world.core.guild.channels.len() < CHANNELS_MAX {
        let id = ChannelId(5_000 + world.core.guild.channels.len() as u64);
        world.core.guild.channels.push(Channel::new(id, ChannelKind::Text, "c"));
    }
    assert_eq!(error(&world.rest(OWNER, Op::CreateChannel(GUILD, named("one more", 0)))), (400, 30013));
}

#[test]
fn managing_channels_needs_the_permission_there() {
    let mut world = World::attached();
    let rename = || ChannelBody { name: Some("n".to_owned()), ..ChannelBody::default() };
    assert_eq!(error(&world.rest(ANN, Op::CreateChannel(GUILD, named("a", 0)))), (403, 50013));
    assert_eq!(error(&world.rest(ANN, Op::ModifyChannel(TEXT, rename()))), (403, 50013));
    assert_eq!(error(&world.rest(ANN, Op::ModifyChannel(ChannelId(9), rename()))), (404, 10003));
    world.grant(EVERYONE, Permissions::MANAGE_CHANNELS);
    expect(&world.rest(ANN, Op::ModifyChannel(TEXT, rename())), &["CHANNEL_UPDATE"]);
    world.deny(TEXT, OverwriteTarget::Member(ANN), Permissions::MANAGE_CHANNELS);
    assert_eq!(error(&world.rest(ANN, Op::ModifyChannel(TEXT, rename()))), (403, 50013));
    assert_eq!(error(&world.rest(UserId(50), Op::ListChannels(GUILD))), (403, 50001));
}

#[test]
fn a_deleted_channel_lets_go_of_whom_and_what_it_held() {
    let mut world = World::attached();
    let category = body(&world.rest(OWNER, Op::CreateChannel(GUILD, named("c", 4))));
    let category: ChannelId = category["id"].as_str().unwrap().parse().unwrap();
    let child = ChannelBody { parent_id: Patch::Set(category), ..ChannelBody::default() };
    assert!(world.rest(OWNER, Op::ModifyChannel(TEXT, child)).reply.is_ok());
    let deleted = world.rest(OWNER, Op::DeleteChannel(category));
    expect(&deleted, &["CHANNEL_DELETE", "CHANNEL_UPDATE"]);
    assert_eq!(world.core.guild.channel(TEXT).unwrap().parent, None);

    world.join(ANN, LOBBY);
    let deleted = world.rest(OWNER, Op::DeleteChannel(LOBBY));
    expect(
        &deleted,
        &["STATE 2 in null", "left voice 2", "order a: remove 2/2", "order a: drop", "CHANNEL_DELETE"],
    );
    world.check_invariants();
}

#[test]
fn hidden_channels_are_not_told_of_and_appear_when_they_may_be_seen() {
    let mut world = World::attached();
    world.deny(TEXT, OverwriteTarget::Role(EVERYONE), Permissions::VIEW_CHANNEL);
    assert_eq!(error(&world.rest(ANN, Op::GetChannel(TEXT))), (403, 50001));
    let rename = ChannelBody { name: Some("n".to_owned()), ..ChannelBody::default() };
    expect(&world.rest(OWNER, Op::ModifyChannel(TEXT, rename)), &["CHANNEL_UPDATE but {2, 3, 4, 5}"]);
    let list = body(&world.rest(ANN, Op::ListChannels(GUILD)));
    assert_eq!(list.as_array().unwrap().len(), 3);

    // By an overwrite of one's own, by a role, and back.
    let allow =
        OverwriteBody { id: None, kind: 1, allow: Permissions::VIEW_CHANNEL, deny: Permissions::empty() };
    let allowed = world.rest(OWNER, Op::PutOverwrite { channel: TEXT, id: ANN.0, body: allow });
    expect(&allowed, &["CHANNEL_UPDATE but {3, 4, 5}", "CHANNEL_CREATE to {2}"]);
    let role =
        OverwriteBody { id: None, kind: 0, allow: Permissions::VIEW_CHANNEL, deny: Permissions::empty() };
    expect(
        &world.rest(OWNER, Op::PutOverwrite { channel: TEXT, id: LOW.0, body: role }),
        &["CHANNEL_UPDATE but {3, 4, 5}"],
    );
    let given = world.rest(OWNER, Op::AddMemberRole(GUILD, BOB, LOW));
    expect(&given, &["GUILD_MEMBER_UPDATE", "CHANNEL_CREATE to {3}"]);
    let taken = world.rest(OWNER, Op::RemoveMemberRole(GUILD, BOB, LOW));
    expect(&taken, &["GUILD_MEMBER_UPDATE", "CHANNEL_DELETE to {3}"]);
    let withdrawn = world.rest(OWNER, Op::DeleteOverwrite { channel: TEXT, id: ANN.0 });
    expect(&withdrawn, &["CHANNEL_UPDATE but {2, 3, 4, 5}", "CHANNEL_DELETE to {2}"]);
    assert_eq!(error(&world.rest(OWNER, Op::DeleteOverwrite { channel: TEXT, id: ANN.0 })), (404, 10009));
    // A new owner sees everything.
    let handed = ModifyGuild { owner_id: Some(CARL), ..ModifyGuild::default() };
    expect(
        &world.rest(OWNER, Op::ModifyGuild(GUILD, handed)),
        &["GUILD_UPDATE", "CHANNEL_DELETE to {1}", "CHANNEL_CREATE to {4}"],
    );
    world.check_invariants();
}

#[test]
fn a_voice_channel_that_appears_comes_with_who_is_in_it() {
    let mut world = World::attached();
    world.deny(ROOM, OverwriteTarget::Member(BOB), Permissions::VIEW_CHANNEL);
    world.join(ANN, ROOM);
    let shown = world.rest(OWNER, Op::DeleteOverwrite { channel: ROOM, id: BOB.0 });
    expect(&shown, &["CHANNEL_UPDATE", "CHANNEL_CREATE to {3}", "STATE 2 in 203 to {3}"]);
}

#[test]
fn overwrites_grant_only_what_one_has() {
    let mut world = World::attached();
    world.grant(EVERYONE, Permissions::MANAGE_ROLES);
    let put = |allow, deny| Op::PutOverwrite {
        channel: TEXT,
        id: EVERYONE.0,
        body: OverwriteBody { id: None, kind: 0, allow, deny },
    };
    let none = Permissions::empty();
    assert_eq!(error(&world.rest(ANN, put(Permissions::BAN_MEMBERS, none))), (403, 50013));
    assert_eq!(error(&world.rest(ANN, put(none, Permissions::MANAGE_GUILD))), (403, 50013));
    assert!(world.rest(ANN, put(Permissions::SPEAK, none)).reply.is_ok());
    // Denying and allowing at once is denying.
    assert!(world.rest(ANN, put(Permissions::SPEAK, Permissions::SPEAK)).reply.is_ok());
    assert_eq!(world.core.guild.channel(TEXT).unwrap().overwrites[0].allow, none);
    let kind = OverwriteBody { id: None, kind: 7, allow: none, deny: none };
    assert_eq!(error(&world.rest(ANN, Op::PutOverwrite { channel: TEXT, id: 1, body: kind })), (400, 50035));
}
