//! Coming back.

use std::collections::VecDeque;
use std::time::Duration;

use client_wire::gateway::FromServer;
use cluster_wire::guilds::{Audience, Call, Event};
use model::UserId;
use proptest::prelude::*;

use super::world::{World, dispatch, mark, voice_update};
use crate::ConnId;
use crate::limits::REPLAY_DISPATCHES_MAX;

#[test]
fn what_was_missed_is_replayed_under_its_first_numbers() {
    let mut world = World::new();
    let (alice, session) = world.live("alice", 1);
    world.dispatch(10, dispatch("A", r#"{"n":1}"#, Audience::Guild));
    world.disconnect(alice, None);
    world.dispatch(10, dispatch("B", r#"{"n":2}"#, Audience::Guild));
    let conn = world.resume("Bot alice", &session.to_string(), 2);
    assert_eq!(world.texts[&conn].last().unwrap(), r#"{"op":0,"s":5,"t":"RESUMED","d":{"_trace":[]}}"#);
    world.expect(conn, &["3 A", "4 B", "5 RESUMED"]);
    world.dispatch(10, dispatch("C", "{}", Audience::Guild));
    world.expect(conn, &["6 C"]);
    assert_eq!((world.node.sessions(), world.node.live()), (1, 1));
}

#[test]
fn what_cannot_be_resumed_is_refused() {
    let mut world = World::new();
    let (alice, session) = world.live("alice", 1);
    world.disconnect(alice, None);
    let session = session.to_string();
    let mut check = |token, session: &str, seq, expect: &[&str]| {
        let conn = world.resume(token, session, seq);
        assert_eq!(world.take(conn), expect, "{token} {seq}");
        conn
    };
    check("nobody", &session, 2, &["close 4004"]);
    check("outage", &session, 2, &["close 4000"]);
    check("alice", "no session at all", 2, &["op:9,d:false"]);
    check("alice", &"0".repeat(32), 2, &["op:9,d:false"]);
    check("alice", &session, 3, &["close 4007"]);
    let refused = check("bot", &session, 2, &["op:9,d:false"]);
    // Whoever is refused may identify on the same connection.
    world.identify(refused, "bot", Some(1));
    assert_eq!(world.take(refused)[0], "1 READY");
    let conn = world.resume("alice", &session, 2);
    world.expect(conn, &["3 RESUMED"]);
}

#[test]
fn a_resume_that_comes_too_late_for_its_buffer_ends_the_session() {
    let mut world = World::new();
    let (_, session) = world.live("alice", 1);
    for _ in 0..=REPLAY_DISPATCHES_MAX {
        world.dispatch(10, dispatch("A", "{}", Audience::Guild));
    }
    world.take_calls();
    let conn = world.resume("alice", &session.to_string(), 2);
    world.expect(conn, &["op:9,d:false"]);
    assert!(world.take_calls().iter().any(|call| matches!(call, Call::Detach { user: UserId(1), .. })));
    assert_eq!(world.node.sessions(), 0);
}

#[test]
fn a_resume_takes_over_from_a_connection_that_still_looks_alive() {
    let mut world = World::new();
    let (old, session) = world.live("alice", 1);
    let new = world.resume("alice", &session.to_string(), 2);
    world.expect(old, &["close 4009"]);
    world.expect(new, &["3 RESUMED"]);
    // The old one's end means nothing any more.
    world.disconnect(old, Some(1000));
    assert_eq!(world.node.live(), 1);
    world.take_calls();
    world.frame(new, voice_update(10, Some(5)));
    assert_eq!(world.take_calls().len(), 1);
}

#[test]
fn a_session_that_ends_while_its_client_is_authenticated_is_refused() {
    let mut world = World::new();
    let (alice, session) = world.live("alice", 1);
    world.disconnect(alice, None);
    world.authenticates = false;
    let conn = world.resume("alice", &session.to_string(), 2);
    world.event(Event::TokensRevoked { user: UserId(1), token: None });
    // Once for the token that may have ended, and once for the session that has.
    world.answer_authentication();
    world.answer_authentication();
    world.expect(conn, &["op:9,d:false"]);
}

/// A client at the end of a wire that loses what is on it when it is cut.
struct Client {
    conn: Option<ConnId>,
    session: Option<String>,
    seen: u64,
    /// The last event of the guild that was seen; None before the first since READY.
    last_event: Option<u64>,
    wire: VecDeque<String>,
}

impl Client {
    fn new() -> Self {
        Self { conn: None, session: None, seen: 0, last_event: None, wire: VecDeque::new() }
    }

    fn collect(&mut self, world: &mut World) {
        if let Some(conn) = self.conn {
            self.wire.extend(world.texts.remove(&conn).unwrap_or_default());
        }
    }

    fn connect(&mut self, world: &mut World) {
        self.cut(world);
        self.conn = Some(match &self.session {
            Some(session) => world.resume("alice", session, self.seen),
            None => {
                let conn = world.connect();
                world.identify(conn, "alice", None);
                conn
            }
        });
        self.collect(world);
    }

    fn cut(&mut self, world: &mut World) {
        if let Some(conn) = self.conn.take() {
            world.disconnect(conn, None);
        }
        self.wire.clear();
    }

    /// Reads some frames and checks what must hold of each.
    fn read(&mut self, world: &mut World, frames: usize) {
        self.collect(world);
        for _ in 0..frames {
            let Some(text) = self.wire.pop_front() else { return };
            match FromServer::parse(text.as_bytes()).unwrap() {
                FromServer::Dispatch { seq, t, d } => {
                    assert_eq!(seq, self.seen + 1, "numbers follow each other");
                    self.seen = seq;
                    self.dispatch(&t, d.get());
                }
                FromServer::InvalidSession { may_resume } => {
                    assert!(!may_resume);
                    *self = Self { conn: self.conn, ..Self::new() };
                    world.identify(self.conn.expect("it is connected"), "alice", None);
                    self.collect(world);
                }
                FromServer::Hello { .. } => {}
                other => panic!("{other:?}"),
            }
        }
    }

    fn dispatch(&mut self, t: &str, d: &str) {
        match t {
            "READY" => {
                let ready: client_wire::gateway::Ready = serde_json::from_str(d).unwrap();
                self.session = Some(ready.session_id);
            }
            "EVENT" => {
                let n = d.parse().unwrap();
                assert!(
                    self.last_event.is_none_or(|last| n == last + 1),
                    "event {n} after {:?}",
                    self.last_event
                );
                self.last_event = Some(n);
            }
            _ => {}
        }
    }
}

#[derive(Debug, Clone)]
enum Act {
    Events(usize),
    Read(usize),
    Cut,
    Connect,
    Wait(u64),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => (1..20_usize).prop_map(Act::Events),
        1 => (1..REPLAY_DISPATCHES_MAX * 2).prop_map(Act::Events),
        4 => (1..40_usize).prop_map(Act::Read),
        2 => Just(Act::Cut),
        3 => Just(Act::Connect),
        1 => (1..200_u64).prop_map(Act::Wait),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    /// However a client is cut off and comes back, it sees every event once and in order, or is told that it
    /// cannot.
    #[test]
    fn a_client_misses_nothing_unless_it_is_told_so(acts in proptest::collection::vec(act(), 1..60)) {
        let mut world = World::new();
        let mut client = Client::new();
        let mut events = 0;
        for act in acts {
            match act {
                Act::Events(n) => for _ in 0..n {
                    events += 1;
                    world.dispatch(10, dispatch("EVENT", &events.to_string(), Audience::Guild));
                },
                Act::Read(n) => client.read(&mut world, n),
                Act::Cut => client.cut(&mut world),
                Act::Connect => client.connect(&mut world),
                Act::Wait(seconds) => {
                    world.wait(Duration::from_secs(seconds));
                    // A connection that was closed for its silence is lost with what was on it.
                    if client.conn.is_some_and(|conn| !world.node.connections.contains_key(&conn)) {
                        client.cut(&mut world);
                    }
                }
            }
        }
        client.connect(&mut world);
        client.read(&mut world, usize::MAX);
        events += 1;
        world.dispatch(10, dispatch("EVENT", &events.to_string(), Audience::Guild));
        client.read(&mut world, usize::MAX);
        prop_assert_eq!(client.last_event, Some(events));
    }
}

#[test]
fn one_token_ends_the_sessions_that_began_with_it_or_were_resumed_with_it() {
    let mut world = World::new();
    world.accounts.insert("phone", (1, false, vec![10]));
    let (desk, _) = world.live("alice", 1);
    let (phone, _) = world.live("phone", 1);
    let (moved, id) = world.live("alice", 1);
    world.disconnect(moved, None);
    let moved = world.resume("phone", &id.to_string(), 2);
    world.take(moved);
    world.event(Event::TokensRevoked { user: UserId(1), token: Some(mark("phone")) });
    world.expect(phone, &["close 4004"]);
    world.expect(moved, &["close 4004"]);
    world.expect(desk, &[]);
    assert_eq!(world.node.sessions(), 1);
}

#[test]
fn a_token_that_ends_while_it_is_used_to_resume_resumes_nothing() {
    let mut world = World::new();
    world.accounts.insert("phone", (1, false, vec![10]));
    let (conn, id) = world.live("alice", 1);
    world.disconnect(conn, None);
    world.authenticates = false;
    let conn = world.resume("phone", &id.to_string(), 2);
    world.event(Event::TokensRevoked { user: UserId(1), token: Some(mark("phone")) });
    world.answer_authentication();
    world.accounts.remove("phone");
    world.answer_authentication();
    world.expect(conn, &["close 4004"]);
    assert_eq!((world.node.sessions(), world.node.live()), (1, 0));
}
