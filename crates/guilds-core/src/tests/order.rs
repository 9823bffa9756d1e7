//! Roles and channels in another order.

use client_wire::rest::{ChannelPosition, Patch, RolePosition};

use super::*;

const MIDDLE: RoleId = RoleId(303);

fn to(id: RoleId, position: u16) -> RolePosition {
    RolePosition { id, position: Some(position) }
}

/// LOW, MIDDLE and HIGH, in this order.
fn world() -> World {
    let mut guild = guild();
    guild.roles.push(Role { position: 2, ..Role::new(MIDDLE, "role", Permissions::empty()) });
    guild.roles.iter_mut().find(|role| role.id == HIGH).unwrap().position = 5;
    World::attached_to(guild)
}

/// As clients see it: from the lowest, everyone's first.
fn order(world: &World) -> Vec<(u64, u16)> {
    let mut roles: Vec<_> = world.core.guild.roles.iter().map(|role| (role.id.0, role.position)).collect();
    roles.sort_unstable_by_key(|(id, position)| (*position, std::cmp::Reverse(*id)));
    roles
}

#[test]
fn roles_go_where_they_are_wanted_and_the_others_make_room() {
    let (low, middle, high) = (LOW.0, MIDDLE.0, HIGH.0);
    let check = |wanted: &[RolePosition], expect: [u64; 3]| {
        let mut world = world();
        let outcome = world.rest(OWNER, Op::ReorderRoles(GUILD, wanted.to_vec()));
        assert!(outcome.reply.is_ok(), "{:?}", outcome.reply);
        let [first, second, third] = expect;
        assert_eq!(order(&world), [(100, 0), (first, 1), (second, 2), (third, 3)], "{wanted:?}");
    };
    check(&[to(LOW, 3)], [middle, high, low]);
    check(&[to(HIGH, 1)], [high, low, middle]);
    check(&[to(HIGH, 0)], [high, low, middle]);
    check(&[to(LOW, u16::MAX)], [middle, high, low]);
    check(&[to(HIGH, 1), to(LOW, 2), to(MIDDLE, 3)], [high, low, middle]);
    check(&[to(EVERYONE, 0), to(MIDDLE, 1), to(LOW, 2), to(HIGH, 3)], [middle, low, high]);
    check(&[RolePosition { id: LOW, position: None }], [low, middle, high]);
}

#[test]
fn each_role_that_changed_is_written_and_told_and_the_answer_has_all() {
    let mut world = world();
    let changed = world.rest(OWNER, Op::ReorderRoles(GUILD, vec![to(MIDDLE, 1)]));
    // LOW was 1, MIDDLE 2, HIGH 5.
    expect(&changed, &["GUILD_ROLE_UPDATE", "GUILD_ROLE_UPDATE", "GUILD_ROLE_UPDATE"]);
    assert_eq!(writes_of(&changed, |write| matches!(write, Write::PutRole(..))), 3);
    let event = &payloads(&changed, "GUILD_ROLE_UPDATE")[0];
    assert_eq!((&event["role"]["id"], &event["role"]["position"]), (&"303".into(), &1.into()));
    let roles = body(&changed);
    let positions: BTreeMap<&str, u64> = roles
        .as_array()
        .unwrap()
        .iter()
        .map(|role| (role["id"].as_str().unwrap(), role["position"].as_u64().unwrap()))
        .collect();
    assert_eq!(positions, BTreeMap::from([("100", 0), ("303", 1), ("301", 2), ("302", 3)]));
    assert_eq!(body(&world.rest(ANN, Op::GetRole(GUILD, MIDDLE)))["position"], 1);
    assert_eq!(error(&world.rest(ANN, Op::GetRole(GUILD, RoleId(9)))), (404, 10011));
    assert_eq!(error(&world.rest(UserId(50), Op::GetRole(GUILD, MIDDLE))), (403, 50001));
    let swapped = world.rest(OWNER, Op::ReorderRoles(GUILD, vec![to(MIDDLE, 2)]));
    expect(&swapped, &["GUILD_ROLE_UPDATE", "GUILD_ROLE_UPDATE"]);
    expect(&world.rest(OWNER, Op::ReorderRoles(GUILD, vec![to(MIDDLE, 2)])), &[]);
}

#[test]
fn only_roles_below_ones_own_move_and_they_stay_below() {
    let check = |wanted: &[RolePosition], expect: Option<(u16, u32)>| {
        let mut world = world();
        world.give_role(ANN, HIGH);
        world.grant(HIGH, Permissions::MANAGE_ROLES);
        let outcome = world.rest(ANN, Op::ReorderRoles(GUILD, wanted.to_vec()));
        match expect {
            None => assert!(outcome.reply.is_ok(), "{wanted:?}: {:?}", outcome.reply),
            Some(expect) => assert_eq!(error(&outcome), expect, "{wanted:?}"),
        }
    };
    let refused = Some((403, 50013));
    check(&[to(LOW, 2)], None);
    check(&[to(LOW, 3)], refused);
    check(&[to(HIGH, 1)], refused);
    check(&[to(HIGH, 3), to(MIDDLE, 1), to(LOW, 2)], None);
    check(&[to(EVERYONE, 1)], Some((400, 50028)));
    check(&[to(RoleId(9), 1)], Some((404, 10011)));
    check(&[to(LOW, 1), to(LOW, 2)], Some((400, 50035)));
    let mut world = world();
    assert_eq!(error(&world.rest(ANN, Op::ReorderRoles(GUILD, vec![to(LOW, 2)]))), (403, 50013));
}

fn place(id: ChannelId, position: u16) -> ChannelPosition {
    ChannelPosition { id, position: Some(position), parent_id: Patch::Keep, lock_permissions: None }
}

#[test]
fn channels_are_placed_at_once_and_each_that_changed_is_told() {
    let mut world = World::attached();
    let placed = world.rest(OWNER, Op::ReorderChannels(GUILD, vec![place(LOBBY, 1), place(ROOM, 0)]));
    expect(&placed, &["CHANNEL_UPDATE"]);
    assert!(matches!(placed.reply, Ok(Reply::Empty)));
    assert_eq!(payloads(&placed, "CHANNEL_UPDATE")[0]["position"], 1);
    assert_eq!(writes_of(&placed, |write| matches!(write, Write::PutChannel(..))), 1);
}

#[test]
fn a_channel_goes_into_a_category_and_takes_its_overwrites_over() {
    let mut world = World::attached();
    let category = ChannelId(210);
    world.core.guild.channels.push(Channel::new(category, ChannelKind::Category, "category"));
    world.deny(category, OverwriteTarget::Member(BOB), Permissions::VIEW_CHANNEL);
    world.join(BOB, ROOM);
    let into = |lock| ChannelPosition {
        id: ROOM,
        position: None,
        parent_id: Patch::Set(category),
        lock_permissions: Some(lock),
    };
    expect(&world.rest(OWNER, Op::ReorderChannels(GUILD, vec![into(false)])), &["CHANNEL_UPDATE"]);
    assert!(world.core.guild.channel(ROOM).unwrap().overwrites.is_empty());
    let locked = world.rest(OWNER, Op::ReorderChannels(GUILD, vec![into(true)]));
    let told = ["CHANNEL_UPDATE but {3}", "CHANNEL_DELETE to {3}", "STATE 3 in null but {3}"];
    assert_eq!(trace(&locked)[..2], told[..2]);
    assert!(!world.core.voice.contains_key(&BOB), "who cannot see it any more does not stay");
    world.check_invariants();
    let out = ChannelPosition { parent_id: Patch::Clear, ..place(ROOM, 0) };
    expect(&world.rest(OWNER, Op::ReorderChannels(GUILD, vec![out])), &["CHANNEL_UPDATE but {3}"]);
    assert_eq!(world.core.guild.channel(ROOM).unwrap().parent, None);
}

#[test]
fn placing_channels_is_checked_whole_before_anything_moves() {
    let check = |granted: Permissions, wanted: Vec<ChannelPosition>, expect: (u16, u32)| {
        let mut world = World::attached();
        world.grant(EVERYONE, granted);
        world.deny(ROOM, OverwriteTarget::Member(ANN), Permissions::MANAGE_CHANNELS);
        let mut all = vec![place(LOBBY, 7)];
        all.extend(wanted);
        assert_eq!(error(&world.rest(ANN, Op::ReorderChannels(GUILD, all))), expect);
        assert_eq!(world.core.guild.channel(LOBBY).unwrap().position, 0);
    };
    let manage = Permissions::MANAGE_CHANNELS;
    check(Permissions::empty(), vec![], (403, 50013));
    check(manage, vec![place(ROOM, 1)], (403, 50013));
    check(manage, vec![place(ChannelId(9), 1)], (404, 10003));
    check(manage, vec![place(LOBBY, 1)], (400, 50035));
    let bad_parent = ChannelPosition { parent_id: Patch::Set(TEXT), ..place(STAGE, 1) };
    check(manage, vec![bad_parent], (400, 50035));
}
