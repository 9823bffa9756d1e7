//! Participants whose clients do not come to their voice server, or do not come back.

use super::*;
use crate::limits::ABSENCE_MS;

#[test]
fn whoever_never_comes_leaves_and_whoever_came_stays() {
    let mut world = World::attached();
    world.join(ANN, LOBBY);
    assert_eq!(world.pass_ms(1_000), [""; 0]);
    world.join(BOB, LOBBY);
    world.join(CARL, LOBBY);
    world.live(CARL);
    assert_eq!(world.pass_ms(ABSENCE_MS - 1_001), [""; 0]);
    let ann_leaves = ["STATE 2 in null", "left voice 2", "order a: remove 2/2"];
    assert_eq!(world.pass_ms(1), ann_leaves, "after her own time and not before");
    assert_eq!(world.pass_ms(999), [""; 0]);
    assert_eq!(world.pass_ms(1), ["STATE 3 in null", "left voice 3", "order a: remove 3/3"]);
    assert_eq!(world.pass_ms(100 * ABSENCE_MS), [""; 0]);
    assert_eq!(world.core.poll_timeout(), None, "nobody is awaited");
    // Who left so can come again as anybody else.
    assert!(trace(&world.join(ANN, LOBBY)).contains(&"SERVER a:443 to session 2".to_owned()));
}

#[test]
fn whoever_is_lost_may_come_back_in_time() {
    let mut world = World::attached();
    world.join(ANN, LOBBY);
    world.live(ANN);
    world.pass_ms(10 * ABSENCE_MS);
    world.gone(ANN);
    assert_eq!(world.pass_ms(ABSENCE_MS - 1), [""; 0]);
    world.live(ANN);
    assert_eq!(world.pass_ms(ABSENCE_MS), [""; 0]);
    world.gone(ANN);
    assert_eq!(world.pass_ms(ABSENCE_MS - 1), [""; 0]);
    // Asked again where to connect, it has all the time anew.
    world.join(ANN, LOBBY);
    assert_eq!(world.pass_ms(ABSENCE_MS - 1), [""; 0]);
    assert_eq!(world.pass_ms(1), ["STATE 2 in null", "left voice 2", "order a: remove 2/2", "order a: drop"]);
}

#[test]
fn nobody_is_absent_from_a_server_that_is_awaited() {
    let mut world = World::attached();
    world.join(ANN, LOBBY);
    world.lose_server("a");
    world.join(BOB, LOBBY);
    assert_eq!(world.pass_ms(10 * ABSENCE_MS), [""; 0]);
    world.add_server(server("b"));
    assert_eq!(world.pass_ms(ABSENCE_MS - 1), [""; 0]);
    world.live(BOB);
    assert_eq!(world.pass_ms(ABSENCE_MS), ["STATE 2 in null", "left voice 2", "order b: remove 2/2"]);
}

#[test]
fn a_client_that_suspects_its_server_and_stays_there_is_not_absent() {
    let mut world = World::attached();
    world.join(ANN, LOBBY);
    world.live(ANN);
    let ping = Call::VoiceServerPing { guild: GUILD, user: ANN, session: session(ANN) };
    expect(&world.call(ping), &["SERVER a:443 to session 2"]);
    assert_eq!(world.pass_ms(10 * ABSENCE_MS), [""; 0]);
}

#[test]
fn a_server_that_missed_orders_is_told_the_whole_truth() {
    let mut world = World::attached();
    world.join(ANN, LOBBY);
    world.join(BOB, ROOM);
    let missed = |world: &mut World| {
        world.input(|core, moment| core.handle_missed_orders(moment, &ServerId("a".to_owned())))
    };
    expect(&missed(&mut world), &["order a: push [2, 3]"]);
    world.add_server(server("b"));
    world.lose_server("a");
    expect(&missed(&mut world), &["order a: drop"]);
    world.check_invariants();
}
