//! Losing the connection and coming back.
#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use client_wire::voice::{ServerFrame, Version};
use cluster_wire::voice::Report;
use sfu_wire::{FromSfu, KeySpent};
use support::{ALL, GUILD, ROOM, World, session_of, user};
use voice_core::limits::{HEARTBEAT_TIMEOUT, MEDIA_GRACE, OUTBOX_MESSAGES_MAX};
use voice_core::{ConnId, Event};

fn resume(world: &mut World, version: Version, token: &str, seq_ack: &str) -> ConnId {
    let conn = world.open(version);
    let session = session_of(user(1));
    let text = format!(
        r#"{{"op":7,"d":{{"server_id":"{GUILD}","session_id":"{session}","token":"{token}","seq_ack":{seq_ack}}}}}"#
    );
    world.send(conn, &text);
    conn
}

/// One participant with its token, described, beside another.
fn talking(version: Version) -> (World, ConnId, ConnId, String) {
    let mut world = World::new();
    let other = world.joined(user(2), version);
    let token = world.token(user(1), ROOM);
    world.put(user(1), ROOM, ALL);
    let conn = world.open(version);
    world.identify_with(conn, user(1), token.clone());
    world.select(conn, client_wire::voice::MODES[0]);
    (world, conn, other, token)
}

/// The other says it speaks and stops, `n` changes in all.
fn changes(world: &mut World, other: ConnId, n: usize) {
    for i in 0..n {
        world.advance(Duration::from_millis(210));
        let flag = (i + 1) % 2;
        world.send(other, &format!(r#"{{"op":5,"d":{{"speaking":{flag},"delay":0,"ssrc":0}}}}"#));
        world.send(other, r#"{"op":3,"d":{"t":1}}"#);
    }
}

#[test]
fn version_8_replays_what_was_missed_with_its_numbers() {
    let (mut world, conn, other, token) = talking(Version::V8);
    // Numbers 1 and 2 were CLIENTS CONNECT and SESSION DESCRIPTION, 3 the other's SPEAKING.
    let leg = world.leg(conn).unwrap();
    world.lose(conn, None);
    changes(&mut world, other, 3);
    assert_eq!(world.leg(conn), Some(leg), "media goes on");
    let back = resume(&mut world, Version::V8, &token, "2");
    let texts = world.take(back);
    let me = user(2);
    let ssrc = world.ssrcs[&other];
    let speaking = |flags: u8, seq: u16| {
        format!(r#"{{"op":5,"d":{{"speaking":{flags},"ssrc":{ssrc},"user_id":"{me}"}},"seq":{seq}}}"#)
    };
    let expected = [
        r#"{"op":8,"d":{"v":8,"heartbeat_interval":13750}}"#.to_owned(),
        r#"{"op":9,"d":null}"#.to_owned(),
        speaking(0, 3),
        speaking(1, 4),
        speaking(0, 5),
        speaking(1, 6),
    ];
    assert_eq!(texts, expected);
    assert_eq!(world.events.last(), Some(&Event::Resumed));
    changes(&mut world, other, 1);
    world.send(other, r#"{"op":5,"d":{"speaking":0,"ssrc":0}}"#);
    assert_eq!(world.take(back), [speaking(0, 7)], "numbers go on");
}

#[test]
fn version_4_replays_nothing() {
    let (mut world, conn, other, token) = talking(Version::V4);
    world.lose(conn, None);
    changes(&mut world, other, 3);
    let back = resume(&mut world, Version::V4, &token, "null");
    assert_eq!(
        world.take(back),
        [r#"{"op":8,"d":{"v":4,"heartbeat_interval":13750}}"#, r#"{"op":9,"d":null}"#]
    );
}

#[test]
fn what_cannot_be_replayed_whole_is_refused() {
    let check = |ack: &str, changed: usize, expect: Option<u16>| {
        let (mut world, conn, other, token) = talking(Version::V8);
        world.lose(conn, None);
        changes(&mut world, other, changed);
        let back = resume(&mut world, Version::V8, &token, ack);
        assert_eq!(world.close_of(back), expect, "after {ack} with {changed} changes");
    };
    check("3", 5, None);
    check("-1", 5, None);
    check("null", 5, None);
    check("0", 5, None);
    check("9", 5, Some(4006));
    check("70000", 5, Some(4006));
    check("3", OUTBOX_MESSAGES_MAX, None);
    check("3", OUTBOX_MESSAGES_MAX + 1, Some(4006));
}

#[test]
fn a_refused_resume_leaves_nothing_behind_that_could_end_the_next_call() {
    let (mut world, half_open, _, token) = talking(Version::V8);
    // The first connection is dead, but nobody here knows it yet.
    let refused = resume(&mut world, Version::V8, &token, "9");
    assert_eq!(world.close_of(refused), Some(4006));
    assert_eq!(world.close_of(half_open), Some(4006), "it spoke for the session that ended");
    let again = world.open(Version::V8);
    world.identify_with(again, user(1), token.clone());
    world.select(again, client_wire::voice::MODES[0]);
    let leg = world.leg(again).unwrap();
    world.lose(half_open, Some(1000));
    assert_eq!(world.leg(again), Some(leg), "the new call goes on");
    assert_eq!(world.close_of(again), None);
}

#[test]
fn acknowledged_messages_are_let_go() {
    let (mut world, conn, _, token) = talking(Version::V8);
    world.send(conn, r#"{"op":3,"d":{"t":1,"seq_ack":3}}"#);
    world.send(conn, r#"{"op":3,"d":{"t":1,"seq_ack":40000}}"#);
    world.lose(conn, None);
    let back = resume(&mut world, Version::V8, &token, "3");
    assert_eq!(world.close_of(back), None);
    world.lose(back, None);
    let back = resume(&mut world, Version::V8, &token, "1");
    assert_eq!(world.close_of(back), Some(4006));
}

#[test]
fn the_wait_for_a_resume_ends() {
    let (mut world, conn, other, token) = talking(Version::V8);
    world.lose(conn, None);
    world.clear();
    let beat = |world: &mut World, by: Duration| {
        for _ in 0..6 {
            world.send(other, r#"{"op":3,"d":{"t":1}}"#);
            world.advance(by / 6);
        }
    };
    beat(&mut world, MEDIA_GRACE - Duration::from_millis(6));
    assert!(world.leg(conn).is_some());
    beat(&mut world, Duration::from_millis(6));
    assert_eq!(world.leg(conn), None);
    assert!(
        world
            .frames(other)
            .iter()
            .any(|f| matches!(f, ServerFrame::ClientDisconnect(d) if d.user_id == user(1)))
    );
    assert!(matches!(world.reports[..], [Report::Gone { .. }]));
    let back = resume(&mut world, Version::V8, &token, "3");
    assert_eq!(world.close_of(back), Some(4006));
    assert_eq!(world.events.last(), Some(&Event::ResumeRefused));
    // With the same token it may begin anew.
    let anew = world.open(Version::V8);
    world.identify_with(anew, user(1), token);
    assert_eq!(world.close_of(anew), None);
}

#[test]
fn a_missed_heartbeat_tells_guilds_but_may_still_be_resumed() {
    let (mut world, conn, other, token) = talking(Version::V8);
    world.clear();
    for _ in 0..4 {
        world.send(other, r#"{"op":3,"d":{"t":1}}"#);
        world.advance(HEARTBEAT_TIMEOUT / 4);
    }
    assert_eq!(world.close_of(conn), Some(4009));
    assert!(matches!(world.reports[..], [Report::Gone { .. }]));
    world.clear();
    let back = resume(&mut world, Version::V8, &token, "3");
    assert_eq!(world.close_of(back), None);
    assert!(matches!(world.reports[..], [Report::Live { .. }]));
    assert!(world.leg(conn).is_some());
}

#[test]
fn a_resume_takes_over_from_a_connection_that_seems_alive() {
    let (mut world, conn, _, token) = talking(Version::V8);
    let back = resume(&mut world, Version::V8, &token, "3");
    assert_eq!((world.close_of(conn), world.close_of(back)), (Some(4006), None));
    world.lose(conn, None);
    world.send(back, r#"{"op":3,"d":{"t":5}}"#);
    assert_eq!(world.take(back).last().map(String::as_str), Some(r#"{"op":6,"d":{"t":5}}"#));
}

#[test]
fn another_guilds_or_users_token_resumes_nothing() {
    let (mut world, conn, _, _) = talking(Version::V8);
    world.lose(conn, None);
    let theirs = world.token(user(2), ROOM);
    let back = resume(&mut world, Version::V8, &theirs, "3");
    assert_eq!(world.close_of(back), Some(4004));
    let back = resume(&mut world, Version::V8, "nonsense", "3");
    assert_eq!(world.close_of(back), Some(4004));
}

#[test]
fn a_spent_key_ends_the_session_and_the_client_joins_anew_under_another() {
    let (mut world, conn, other, token) = talking(Version::V8);
    let before = world.leg(conn).unwrap();
    world.clear();
    world.relay_says(0, FromSfu::KeySpent(KeySpent { id: before.id }));
    assert_eq!(world.close_of(conn), Some(4009));
    assert_eq!(world.leg(conn), None);
    assert!(matches!(world.reports[..], [Report::Gone { .. }]), "one library asks guilds for a new token");
    assert_eq!(world.events, [Event::KeySpent]);
    let resumed = resume(&mut world, Version::V8, &token, "-1");
    assert_eq!(world.close_of(resumed), Some(4006));

    let anew = world.open(Version::V8);
    world.identify_with(anew, user(1), token);
    world.select(anew, client_wire::voice::MODES[0]);
    let after = world.leg(anew).unwrap();
    assert_eq!(after.ssrc, before.ssrc, "to the others it is the same stream");
    assert_ne!(after.native.unwrap().key, before.native.unwrap().key);
    // What the relay says of a leg that is gone concerns nobody.
    world.relay_says(0, FromSfu::KeySpent(KeySpent { id: before.id }));
    assert_eq!((world.close_of(anew), world.close_of(other)), (None, None));
}
