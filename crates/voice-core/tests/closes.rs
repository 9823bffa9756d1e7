//! Every close code that the server sends, and what brings it about.
#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use client_wire::voice::{MODES, Version};
use cluster_wire::token::TokenKey;
use cluster_wire::voice::OrderKind;
use model::{GuildId, ServerId, UnixMs, UserId};
use support::{ALL, GUILD, OTHER_ROOM, ROOM, World, session_of, user};
use voice_core::limits::{HEARTBEAT_TIMEOUT, IDENTIFY_TIMEOUT, INBOUND_BURST, MESSAGE_BYTES_MAX};
use voice_core::{ConnId, Event};

/// Where a connection stands when the input comes.
#[derive(Debug, Clone, Copy)]
enum At {
    Open,
    Identified,
    Described,
}

/// What `input` on a connection in this state leads to.
fn check(at: At, name: &str, input: impl Fn(&mut World, ConnId), expect: Option<u16>) {
    let mut world = World::new();
    let other = world.joined(user(9), Version::V8);
    let conn = match at {
        At::Open => world.open(Version::V8),
        At::Identified => world.identified(user(1), Version::V8),
        At::Described => world.joined(user(1), Version::V8),
    };
    input(&mut world, conn);
    assert_eq!(world.close_of(conn), expect, "{name} at {at:?}");
    assert_eq!(world.close_of(other), None, "{name} at {at:?} reached another connection");
}

fn text(text: &'static str) -> impl Fn(&mut World, ConnId) {
    move |world, conn| world.send(conn, text)
}

#[test]
fn opcodes_and_payloads() {
    use At::{Described, Identified, Open};
    for at in [Open, Identified, Described] {
        check(at, "an unknown opcode", text(r#"{"op":77,"d":null}"#), Some(4001));
        check(at, "a server's opcode", text(r#"{"op":2,"d":{}}"#), Some(4001));
        check(at, "no JSON", text("hello"), Some(4002));
        check(at, "an identify without its fields", text(r#"{"op":0,"d":{}}"#), Some(4002));
        check(at, "a message too long", |w, c| w.send(c, &"x".repeat(MESSAGE_BYTES_MAX + 1)), Some(4002));
        check(
            at,
            "a message the shell found too long",
            |w, c| {
                w.core.handle_oversize(c);
                w.drain();
            },
            Some(4002),
        );
        check(
            at,
            "no binary message",
            |w, c| {
                w.core.handle_binary(w.now, c, &[]);
                w.drain();
            },
            Some(4002),
        );
        check(
            at,
            "an unknown binary message",
            |w, c| {
                w.core.handle_binary(w.now, c, &[200]);
                w.drain();
            },
            Some(4001),
        );
    }
    check(Open, "speaking", text(r#"{"op":5,"d":{"speaking":1,"ssrc":1}}"#), Some(4003));
    check(Open, "a version question", text(r#"{"op":16,"d":{}}"#), Some(4003));
    check(
        Open,
        "a key package",
        |w, c| {
            w.core.handle_binary(w.now, c, &[26, 1]);
            w.drain();
        },
        Some(4003),
    );
    check(Open, "a heartbeat", text(r#"{"op":3,"d":{"t":1}}"#), None);
    for op in [12, 14, 15, 16, 18, 20, 23, 31, 32] {
        check(Described, "a tolerated opcode", |w, c| w.send(c, &format!(r#"{{"op":{op},"d":{{}}}}"#)), None);
    }
    check(
        Described,
        "a key package",
        |w, c| {
            w.core.handle_binary(w.now, c, &[26, 1]);
            w.drain();
        },
        None,
    );
}

#[test]
fn tokens() {
    let identify = |change: fn(&mut World) -> (UserId, String)| {
        move |world: &mut World, conn: ConnId| {
            let (user, token) = change(world);
            world.identify_with(conn, user, token);
        }
    };
    let with = |edit: fn(&mut cluster_wire::token::VoiceToken)| {
        move |world: &mut World, conn: ConnId| {
            let mut claims = world.claims(user(1), ROOM);
            edit(&mut claims);
            world.identify_with(conn, user(1), claims.sign(&support::key()));
        }
    };
    check(At::Open, "the right token", with(|_| {}), None);
    check(At::Open, "no token", identify(|_| (user(1), String::new())), Some(4004));
    check(At::Open, "a token of nonsense", identify(|_| (user(1), "A".repeat(300))), Some(4004));
    check(At::Open, "another's token", identify(|w| (user(1), w.token(user(2), ROOM))), Some(4004));
    check(
        At::Open,
        "a foreign key",
        identify(|w| (user(1), w.claims(user(1), ROOM).sign(&TokenKey::new(b"x")))),
        Some(4004),
    );
    check(At::Open, "another session", with(|t| t.session = session_of(user(2))), Some(4004));
    check(At::Open, "another guild", with(|t| t.guild = GuildId(5)), Some(4004));
    check(
        At::Open,
        "an expired token",
        with(|t| t.expires_at = UnixMs(t.expires_at.0 - support::DAY)),
        Some(4004),
    );
    check(At::Open, "another server's token", with(|t| t.server = ServerId("voice-2".into())), Some(4011));
}

#[test]
fn an_expired_token_is_good_while_the_session_lives() {
    let mut world = World::new();
    let token = world.token(user(1), ROOM);
    world.put(user(1), ROOM, ALL);
    world.now.wall.0 += 2 * support::DAY;
    let conn = world.open(Version::V8);
    world.identify_with(conn, user(1), token.clone());
    assert_eq!(world.close_of(conn), None);
    world.remove(user(1));
    let again = world.open(Version::V8);
    world.identify_with(again, user(1), token);
    assert_eq!(world.close_of(again), Some(4004));
}

#[test]
fn twice() {
    let again = |world: &mut World, conn: ConnId| {
        let token = world.token(user(1), ROOM);
        world.identify_with(conn, user(1), token);
    };
    check(At::Identified, "a second identify", again, Some(4005));
    check(At::Described, "a second identify", again, Some(4005));
    let resume = |world: &mut World, conn: ConnId| {
        let token = world.token(user(1), ROOM);
        let session = session_of(user(1));
        let resume =
            format!(r#"{{"op":7,"d":{{"server_id":"{GUILD}","session_id":"{session}","token":"{token}"}}}}"#);
        world.send(conn, &resume);
    };
    check(At::Described, "a resume", resume, Some(4005));
    check(At::Open, "a resume of nothing", resume, Some(4006));
}

#[test]
fn protocols_and_modes() {
    check(
        At::Identified,
        "rtc",
        text(r#"{"op":1,"d":{"protocol":"quic","data":"a=","sdp":"a="}}"#),
        Some(4012),
    );
    check(At::Identified, "no data", text(r#"{"op":1,"d":{"protocol":"udp"}}"#), Some(4002));
    check(At::Identified, "a plain mode", |w, c| w.select(c, "plain"), Some(4016));
    for mode in MODES {
        check(At::Identified, mode, |w, c| w.select(c, mode), None);
        check(At::Described, mode, |w, c| w.select(c, mode), None);
    }
    let strange = r#"{"op":1,"d":{"protocol":"udp","data":{"address":"::1 or so","port":0,"mode":"aead_aes256_gcm_rtpsize"}}}"#;
    check(At::Identified, "an address that is none", text(strange), None);
}

#[test]
fn versions() {
    let mut world = World::new();
    let conn = world.open_raw(None);
    assert_eq!(world.close_of(conn), Some(4020));
    assert_eq!(world.take(conn), [""; 0], "not even a hello");
}

#[test]
fn silence() {
    check(At::Open, "no identify", |w, _| w.advance(IDENTIFY_TIMEOUT), Some(4009));
    check(At::Open, "no identify yet", |w, _| w.advance(IDENTIFY_TIMEOUT - Duration::from_millis(1)), None);
    for at in [At::Identified, At::Described] {
        let beat = |world: &mut World, conn: ConnId, by: Duration| {
            // The other connection keeps beating.
            let other = ConnId(1);
            for _ in 0..4 {
                world.send(other, r#"{"op":3,"d":{"t":1}}"#);
                world.advance(by / 4);
            }
            let _ = conn;
        };
        check(at, "no heartbeat", |w, c| beat(w, c, HEARTBEAT_TIMEOUT), Some(4009));
        check(
            at,
            "a late heartbeat",
            |w, c| {
                beat(w, c, HEARTBEAT_TIMEOUT - Duration::from_millis(4));
                w.send(c, r#"{"op":3,"d":{"t":1}}"#);
                beat(w, c, HEARTBEAT_TIMEOUT - Duration::from_millis(4));
            },
            None,
        );
    }
}

#[test]
fn orders() {
    for at in [At::Identified, At::Described] {
        check(at, "removed", |w, _| w.remove(user(1)), Some(4014));
        check(at, "moved", |w, _| w.put(user(1), OTHER_ROOM, ALL), Some(4014));
        check(at, "changed", |w, _| w.put(user(1), ROOM, cluster_wire::voice::Rights::default()), None);
        check(at, "put again", |w, _| w.put(user(1), ROOM, ALL), None);
        check(at, "another removed", |w, _| w.remove(user(2)), None);
    }
    let mut world = World::new();
    let conns = [world.joined(user(1), Version::V8), world.identified(user(2), Version::V4)];
    world.order(OrderKind::Drop);
    assert_eq!(conns.map(|conn| world.close_of(conn)), [Some(4014); 2]);
}

#[test]
fn floods() {
    let flood = |world: &mut World, conn: ConnId| {
        for _ in 0..=INBOUND_BURST {
            world.send(conn, r#"{"op":3,"d":{"t":1}}"#);
        }
    };
    for at in [At::Open, At::Identified, At::Described] {
        check(at, "a flood", flood, Some(4021));
    }
}

#[test]
fn a_planned_restart() {
    let mut world = World::new();
    let conns =
        [world.open(Version::V4), world.identified(user(1), Version::V8), world.joined(user(2), Version::V8)];
    world.core.handle_shutdown();
    world.drain();
    assert_eq!(conns.map(|conn| world.close_of(conn)), [Some(1001); 3]);
}

#[test]
fn a_leg_that_relays_die_with_is_left_out_the_second_time_and_nobody_else_is() {
    let mut world = World::new();
    let other = world.joined(user(9), Version::V8);
    let conn = world.joined(user(1), Version::V8);
    let leg = world.leg(conn).unwrap().id;
    let blame = |world: &mut World, leg: u64| {
        let now = world.now;
        let judged = world.core.handle_relay_blames(now, 0, leg);
        world.drain();
        judged
    };
    assert!(!blame(&mut world, leg) && !blame(&mut world, 77), "once, and a leg that is gone");
    assert_eq!(world.close_of(conn), None);
    assert!(blame(&mut world, leg));
    assert_eq!((world.close_of(conn), world.close_of(other)), (Some(4014), None));
    assert!(!world.core.snapshot(0).legs.iter().any(|left| left.id == leg));
    assert_eq!(world.core.snapshot(0).legs.len(), 1);
    assert_eq!(world.events.iter().filter(|event| **event == Event::Blamed).count(), 2);
    assert!(world.events.contains(&Event::LeftOut));
}
