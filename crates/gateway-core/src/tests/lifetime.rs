//! Silence, floods, goodbyes, draining and the end.

use std::time::Duration;

use client_wire::gateway::FromClient;
use cluster_wire::guilds::{Audience, Call};
use model::GuildId;

use super::world::{World, dispatch, identify_frame};
use crate::NodeConfig;
use crate::limits::{DRAIN_AT_ONCE, DRAIN_EVERY, IDENTIFY_PATIENCE, REPLAY_DISPATCHES_MAX, SESSION_KEEP};

const MS: Duration = Duration::from_millis(1);

#[test]
fn a_silent_connection_is_closed_and_a_beating_one_is_not() {
    let mut world = World::new();
    let patience = NodeConfig::default().patience();
    let (alice, _) = world.live("alice", 1);
    for _ in 0..5 {
        world.wait(NodeConfig::default().heartbeat_interval);
        world.frame(alice, FromClient::Heartbeat(Some(2)));
        world.expect(alice, &["op:11,d:null"]);
    }
    world.wait(patience - MS);
    world.expect(alice, &[]);
    world.wait(MS);
    world.expect(alice, &["close 4009"]);
    assert_eq!(world.node.sessions(), 1, "the session waits for a resume");
}

#[test]
fn a_connection_that_does_not_identify_is_closed_however_it_beats() {
    let mut world = World::new();
    let conn = world.connect();
    world.take(conn);
    world.wait(IDENTIFY_PATIENCE - MS);
    world.frame(conn, FromClient::Heartbeat(None));
    world.wait(MS);
    world.expect(conn, &["op:11,d:null", "close 4009"]);
}

#[test]
fn a_flood_closes_and_honest_use_does_not() {
    let mut world = World::new();
    let (alice, _) = world.live("alice", 1);
    // IDENTIFY was one of the hundred and twenty.
    for _ in 0..119 {
        world.frame(alice, FromClient::Heartbeat(None));
    }
    assert_eq!(world.take(alice).len(), 119);
    world.frame(alice, FromClient::Heartbeat(None));
    world.expect(alice, &["close 4008"]);

    let (alice, _) = world.live("alice", 1);
    for _ in 0..600 {
        world.wait(500 * MS);
        world.frame(alice, FromClient::Heartbeat(None));
    }
    assert_eq!(world.take(alice).len(), 600);
}

#[test]
fn a_session_waits_for_its_client_and_then_ends() {
    let mut world = World::new();
    let (alice, _) = world.live("alice", 1);
    world.take_calls();
    world.disconnect(alice, Some(4000));
    world.wait(SESSION_KEEP - MS);
    assert!(world.take_calls().is_empty());
    world.wait(MS);
    assert!(matches!(world.take_calls()[..], [Call::Detach { guild: GuildId(10), .. }]));
    assert_eq!(world.node.sessions(), 0);
}

#[test]
fn a_goodbye_ends_the_session_at_once() {
    for goodbye in [1000, 1001] {
        let mut world = World::new();
        let (alice, _) = world.live("alice", 1);
        world.take_calls();
        world.disconnect(alice, Some(goodbye));
        assert!(matches!(world.take_calls()[..], [Call::Detach { .. }]));
        assert_eq!((world.node.sessions(), world.node.connections()), (0, 0));
    }
}

#[test]
fn a_session_that_missed_too_much_does_not_wait() {
    let mut world = World::new();
    let (alice, _) = world.live("alice", 1);
    world.disconnect(alice, None);
    for _ in 0..REPLAY_DISPATCHES_MAX {
        world.dispatch(10, dispatch("X", "{}", Audience::Guild));
    }
    assert_eq!(world.node.sessions(), 1);
    world.take_calls();
    world.dispatch(10, dispatch("X", "{}", Audience::Guild));
    assert_eq!(world.node.sessions(), 0);
    assert!(matches!(world.take_calls()[..], [Call::Detach { .. }]));
}

#[test]
fn draining_sends_clients_away_a_few_at_a_time_and_lets_none_in() {
    let mut world = World::new();
    let conns: Vec<_> = (0..DRAIN_AT_ONCE + 1).map(|_| world.connect()).collect();
    conns.iter().for_each(|conn| drop(world.take(*conn)));
    world.node.handle_drain(world.now);
    world.wait(Duration::ZERO);
    world.expect(conns[0], &["op:7,d:null"]);
    world.expect(conns[DRAIN_AT_ONCE], &[]);
    world.wait(DRAIN_EVERY);
    world.expect(conns[DRAIN_AT_ONCE], &["op:7,d:null"]);
    let conn = world.connect();
    world.frame(conn, identify_frame("alice", None));
    world.expect(conn, &["op:10,d:heartbeat_interval:41250}", "op:7,d:null", "close 1012"]);
}

#[test]
fn the_end_is_told_to_guilds_and_to_clients() {
    let mut world = World::new();
    let (alice, _) = world.live("alice", 1);
    let (bot, _) = world.live("bot", 1);
    let stranger = world.connect();
    world.take(stranger);
    world.disconnect(bot, None);
    world.take_calls();
    world.node.handle_shutdown(world.now);
    world.pump();
    world.expect(alice, &["close 1012"]);
    world.expect(stranger, &["close 1012"]);
    let calls = world.take_calls();
    assert_eq!(calls.len(), 3, "one guild of alice's and two of the bot's: {calls:?}");
    assert!(calls.iter().all(|call| matches!(call, Call::Detach { .. })));
    assert_eq!((world.node.sessions(), world.node.live(), world.node.connections()), (0, 0, 0));
}
