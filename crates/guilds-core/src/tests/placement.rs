//! Where the guild is, and what happens when that server goes.

use client_wire::rest::{ModifyGuild, Patch};

use super::*;

#[test]
fn without_a_server_the_guild_awaits_one_and_tells_when_it_comes() {
    let mut world = World::new(guild());
    for user in [ANN, BOB] {
        world.attach(user, session(user), ALL_INTENTS);
    }
    world.lose_server("a");
    expect(&world.join(ANN, LOBBY), &["entered 2", "STATE 2 in 202", "SERVER null to session 2"]);
    expect(&world.join(BOB, ROOM), &["entered 3", "STATE 3 in 203", "SERVER null to session 3"]);
    assert!(world.core.is_awaiting());
    let came = world.add_server(server("b"));
    expect(
        &came,
        &["placed b", "order b: push [2, 3]", "SERVER b:443 to session 2", "SERVER b:443 to session 3"],
    );
    assert_eq!(token(&world, &came).server.0, "b");
    world.check_invariants();
}

#[test]
fn who_leaves_while_awaiting_leaves_nothing_behind() {
    let mut world = World::attached();
    world.lose_server("a");
    world.join(ANN, LOBBY);
    expect(&world.leave(ANN), &["STATE 2 in null", "left voice 2"]);
    expect(&world.add_server(server("b")), &[]);
    world.check_invariants();
}

#[test]
fn a_server_that_dies_is_replaced_and_everyone_told() {
    let mut world = World::attached();
    world.join(ANN, LOBBY);
    world.join(BOB, ROOM);
    world.live(ANN);
    world.add_server(server("b"));
    let lost = world.lose_server("a");
    let told = ["placed b", "order b: push [2, 3]", "SERVER b:443 to session 2", "SERVER b:443 to session 3"];
    // Perhaps it lives, and only the registry has lost sight of it.
    expect(&lost, &[&told[..], &["order a: drop"]].concat());
    world.check_invariants();
    // The same server again is as new as another.
    world.servers.remove(&ServerId("b".to_owned()));
    world.obeyed.clear();
    world.servers.insert(ServerId("b".to_owned()), server("b"));
    let again = world.input(|core, moment| core.handle_servers(moment, Some(&ServerId("b".to_owned()))));
    expect(&again, &told);
    // And if there is no other, everyone waits.
    let lost = world.lose_server("b");
    expect(&lost, &["SERVER null to session 2", "SERVER null to session 3", "order b: drop"]);
    world.check_invariants();
}

#[test]
fn a_change_that_moves_nobody_says_nothing() {
    let mut world = World::attached();
    world.join(ANN, LOBBY);
    let mut busy = server("a");
    busy.load.participants = 99;
    expect(&world.add_server(busy), &[]);
    expect(&world.add_server(server("b")), &[]);
    expect(&world.lose_server("b"), &[]);
    // A relay that crashed comes back by itself.
    expect(&world.add_server(ServerRecord { health: Health::NoRelay, ..server("a") }), &[]);
    // Draining with nowhere to go: stay.
    expect(&world.add_server(ServerRecord { draining: true, ..server("a") }), &[]);
}

#[test]
fn a_draining_flooded_or_silent_server_is_left_and_closed_last() {
    for (bad, closed) in [
        (ServerRecord { draining: true, ..server("a") }, "order a: release [2]"),
        (ServerRecord { health: Health::Flooded, ..server("a") }, "order a: release [2]"),
        (ServerRecord { health: Health::RelayLost, ..server("a") }, "order a: release [2]"),
        // It is not the same any more.
        (ServerRecord { endpoint: "a:444".to_owned(), ..server("a") }, "order a: drop"),
    ] {
        let mut world = World::attached();
        world.join(ANN, LOBBY);
        world.add_server(ServerRecord { capacity: 1_000, ..server("b") });
        world.servers.get_mut(&ServerId("a".to_owned())).unwrap().load.participants = 1;
        let moved = world.add_server(ServerRecord {
            load: ServerLoad { participants: 1, ..ServerLoad::default() },
            ..bad
        });
        expect(&moved, &["placed b", "order b: push [2]", "SERVER b:443 to session 2", closed]);
    }
}

#[test]
fn a_change_of_region_is_the_same_move() {
    let mut world = World::attached();
    let far = ServerRecord { region: RegionId("far".to_owned()), ..server("f") };
    world.add_server(far);
    world.join(ANN, LOBBY);
    let region =
        |region: &str| ModifyGuild { region: Patch::Set(region.to_owned()), ..ModifyGuild::default() };
    assert_eq!(error(&world.rest(ANN, Op::ModifyGuild(GUILD, region("far")))), (403, 50013));
    assert_eq!(error(&world.rest(OWNER, Op::ModifyGuild(GUILD, region("moon")))), (400, 50035));
    let moved = world.rest(OWNER, Op::ModifyGuild(GUILD, region("far")));
    expect(
        &moved,
        &[
            "GUILD_UPDATE",
            "placed f",
            "order f: push [2]",
            "SERVER f:443 to session 2",
            "order a: release [2]",
        ],
    );
    world.check_invariants();
    // Of that region there is no other server: everyone waits for one.
    expect(&world.lose_server("f"), &["SERVER null to session 2", "order f: drop"]);
    world.check_invariants();
}
