//! Channels that name a region of their own.

use client_wire::rest::{ChannelBody, ModifyGuild, ModifyMember, Patch};

use super::*;

fn far(id: &str) -> ServerRecord {
    ServerRecord { region: RegionId("far".to_owned()), ..server(id) }
}

pub fn names(channel: ChannelId, region: Option<&str>) -> Op {
    let rtc_region = region.map_or(Patch::Clear, |region| Patch::Set(region.to_owned()));
    Op::ModifyChannel(channel, ChannelBody { rtc_region, ..ChannelBody::default() })
}

pub fn of_guild(region: Option<&str>) -> Op {
    let region = region.map_or(Patch::Clear, |region| Patch::Set(region.to_owned()));
    Op::ModifyGuild(GUILD, ModifyGuild { region, ..ModifyGuild::default() })
}

/// Ann in the lobby, Bob in a room of the far region.
fn apart() -> World {
    let mut world = World::attached();
    world.rest(OWNER, of_guild(Some("local")));
    world.add_server(far("f"));
    expect(&world.rest(OWNER, names(ROOM, Some("far"))), &["CHANNEL_UPDATE"]);
    world.join(ANN, LOBBY);
    expect(
        &world.join(BOB, ROOM),
        &["placed f", "order f: push [3]", "entered 3", "STATE 3 in 203", "SERVER f:443 to session 3"],
    );
    world.live(ANN);
    world.live(BOB);
    world.check_invariants();
    world
}

#[test]
fn who_goes_from_one_region_to_the_other_leaves_the_first_server_last() {
    let mut world = apart();
    expect(
        &world.join(CARL, LOBBY),
        &["order a: put 4 in 202 may shv", "entered 4", "STATE 4 in 202", "SERVER a:443 to session 4"],
    );
    expect(
        &world.join(CARL, ROOM),
        &[
            "order f: put 4 in 203 may shv",
            "STATE 4 in 203",
            "SERVER f:443 to session 4",
            "order a: remove 4/4",
        ],
    );
    world.check_invariants();
    expect(
        &world.join(BOB, LOBBY),
        &[
            "order a: put 3 in 202 may shv",
            "STATE 3 in 202",
            "SERVER a:443 to session 3",
            "order f: remove 3/3",
        ],
    );
    expect(&world.leave(CARL), &["STATE 4 in null", "left voice 4", "order f: remove 4/4", "order f: drop"]);
    world.check_invariants();
}

#[test]
fn a_server_that_dies_takes_only_its_own_with_it() {
    let mut world = apart();
    world.add_server(far("g"));
    expect(
        &world.lose_server("f"),
        &["placed g", "order g: push [3]", "SERVER g:443 to session 3", "order f: drop"],
    );
    world.check_invariants();
    expect(&world.lose_server("g"), &["SERVER null to session 3", "order g: drop"]);
    assert!(world.core.is_awaiting());
    // Whoever waits is not taken to have left, and whoever has a server is.
    world.gone(ANN);
    let passed = world.pass_ms(crate::limits::ABSENCE_MS + 1);
    assert!(
        passed.contains(&"left voice 2".to_owned()) && !passed.contains(&"left voice 3".to_owned()),
        "{passed:?}"
    );
    expect(&world.add_server(far("f")), &["placed f", "order f: push [3]", "SERVER f:443 to session 3"]);
    world.check_invariants();
}

#[test]
fn who_leaves_a_region_that_awaits_a_server_leaves_nothing_behind() {
    let mut world = apart();
    world.lose_server("f");
    expect(
        &world.join(BOB, LOBBY),
        &["order a: put 3 in 202 may shv", "STATE 3 in 202", "SERVER a:443 to session 3"],
    );
    assert!(!world.core.is_awaiting());
    world.check_invariants();
}

#[test]
fn a_channel_that_names_another_region_moves_and_the_others_stay() {
    let mut world = apart();
    expect(
        &world.rest(OWNER, names(LOBBY, Some("far"))),
        &["CHANNEL_UPDATE", "order f: push [2, 3]", "SERVER f:443 to session 2", "order a: release [2]"],
    );
    world.check_invariants();
    expect(
        &world.rest(OWNER, names(ROOM, None)),
        &[
            "CHANNEL_UPDATE",
            "placed a",
            "order a: push [3]",
            "SERVER a:443 to session 3",
            "order f: release [3]",
        ],
    );
    world.check_invariants();
    // Where it is already.
    expect(&world.rest(OWNER, names(ROOM, Some("local"))), &["CHANNEL_UPDATE"]);
    world.check_invariants();
}

#[test]
fn a_guild_that_names_the_region_of_a_channel_is_together_again() {
    let mut world = apart();
    expect(
        &world.rest(OWNER, of_guild(Some("far"))),
        &["GUILD_UPDATE", "order f: push [2, 3]", "SERVER f:443 to session 2", "order a: release [2]"],
    );
    world.check_invariants();
    // Anywhere will do, and where they are is somewhere.
    expect(&world.rest(OWNER, of_guild(None)), &["GUILD_UPDATE"]);
    world.check_invariants();
}

#[test]
fn regions_that_share_a_server_are_told_it_together() {
    let mut world = World::attached();
    world.join(ANN, LOBBY);
    // The guild is there anyway.
    expect(&world.rest(OWNER, names(ROOM, Some("local"))), &["CHANNEL_UPDATE"]);
    let joined = world.join(BOB, ROOM);
    expect(&joined, &["order a: push [2, 3]", "entered 3", "STATE 3 in 203", "SERVER a:443 to session 3"]);
    world.check_invariants();
    expect(&world.leave(ANN), &["STATE 2 in null", "left voice 2", "order a: remove 2/2"]);
    world.check_invariants();
}

#[test]
fn whoever_may_do_something_else_now_is_served_by_its_former_server_no_more() {
    let moved = || {
        let mut world = World::attached();
        for user in [ANN, BOB, CARL] {
            world.join(user, LOBBY);
            world.live(user);
        }
        world.add_server(far("f"));
        let moved = trace(&world.rest(OWNER, of_guild(Some("far"))));
        assert_eq!(moved.last().map(String::as_str), Some("order a: release [2, 3, 4]"), "{moved:?}");
        world.check_invariants();
        world
    };
    // Mutes and deafens itself, is muted by a moderator, goes to another channel, leaves.
    let mut world = moved();
    let deaf = VoiceFlags { self_mute: true, self_deaf: true, ..VoiceFlags::default() };
    let mute = ModifyMember { mute: Some(true), ..ModifyMember::default() };
    let deafened = world.update(ANN, session(ANN), Some(LOBBY), deaf);
    world.check_invariants();
    let muted = world.modify(OWNER, BOB, mute);
    world.check_invariants();
    let elsewhere = world.join(CARL, ROOM);
    world.check_invariants();
    for (lines, ended) in [
        (deafened, "order a: remove 2/2"),
        (muted, "order a: remove 3/3"),
        (elsewhere, "order a: remove 4/4"),
    ] {
        let lines = trace(&lines);
        assert!(lines.iter().any(|line| line == ended), "{lines:?}");
    }
    let mut world = moved();
    let left = trace(&world.leave(BOB));
    assert!(left.iter().any(|line| line == "order a: remove 3/3"), "{left:?}");
    // A third server: the first has served them for long enough.
    let farther = ServerRecord { region: RegionId("farther".to_owned()), ..server("g") };
    world.add_server(farther);
    let on = trace(&world.rest(OWNER, of_guild(Some("farther"))));
    assert_eq!(
        on[on.len() - 3..],
        ["order a: remove 2/2", "order a: remove 4/4", "order f: release [2, 4]"],
        "{on:?}"
    );
    world.check_invariants();
    // And back to where they still are.
    let back = trace(&world.rest(OWNER, of_guild(Some("far"))));
    assert_eq!(back.last().map(String::as_str), Some("order g: release [2, 4]"), "{back:?}");
    let muted = trace(&world.update(ANN, session(ANN), Some(LOBBY), deaf));
    assert!(muted.iter().any(|line| line == "order g: remove 2/2"), "{muted:?}");
    assert!(!muted.iter().any(|line| line == "order f: remove 2/2"), "{muted:?}");
    world.check_invariants();
}

#[test]
fn whoever_is_back_where_it_was_is_released_there_like_anybody() {
    let mut world = World::attached();
    world.join(ANN, LOBBY);
    world.add_server(far("f"));
    world.rest(OWNER, of_guild(Some("far")));
    // Back to the first one without a word to the other, which is dead.
    world.rest(OWNER, of_guild(None));
    let back = trace(&world.lose_server("f"));
    assert_eq!(back.last().map(String::as_str), Some("order f: drop"), "{back:?}");
    world.check_invariants();
    world.add_server(server("b"));
    let away = trace(&world.add_server(ServerRecord { draining: true, ..server("a") }));
    assert_eq!(away.last().map(String::as_str), Some("order a: release [2]"), "{away:?}");
    assert!(!away.contains(&"order a: remove 2/2".to_owned()), "{away:?}");
    world.check_invariants();
    let deleted = trace(&world.rest(OWNER, Op::DeleteGuild(GUILD)));
    assert!(deleted.contains(&"order a: remove 2/2".to_owned()), "{deleted:?}");
    world.check_invariants();
}
