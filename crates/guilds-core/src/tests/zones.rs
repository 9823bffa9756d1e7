//! Channels that name a region of their own.

use client_wire::rest::{ChannelBody, ModifyGuild, Patch};

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
        &[
            "CHANNEL_UPDATE",
            "order f: push [2, 3]",
            "SERVER f:443 to session 2",
            "order a: remove 2/2",
            "order a: drop",
        ],
    );
    world.check_invariants();
    expect(
        &world.rest(OWNER, names(ROOM, None)),
        &[
            "CHANNEL_UPDATE",
            "placed a",
            "order a: push [3]",
            "SERVER a:443 to session 3",
            "order f: remove 3/3",
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
        &["GUILD_UPDATE", "order f: push [2, 3]", "SERVER f:443 to session 2", "order a: drop"],
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
