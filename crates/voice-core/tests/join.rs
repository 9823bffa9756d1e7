//! The way into a room: order, bytes, size.
#![allow(clippy::unwrap_used)]

mod support;

use client_wire::voice::{MODES, ServerFrame, Version};
use support::{ALL, ROOM, World, user};
use voice_core::Event;

/// A second client's way in beside one that is there: everything each of them receives.
fn transcript(version: Version) -> String {
    let mut world = World::new();
    let first = world.joined(user(1), version);
    let leg = world.leg(first).unwrap();
    world.relay_says(0, support::connected(leg.id));
    world.send(first, r#"{"op":5,"d":{"speaking":1,"delay":0,"ssrc":1}}"#);
    let second = world.joined(user(2), version);
    world.send(second, r#"{"op":5,"d":{"speaking":1,"delay":0,"ssrc":1}}"#);
    world.send(second, r#"{"op":3,"d":1}"#);
    world.send(second, r#"{"op":16,"d":{}}"#);
    world.remove(user(2));
    let mut lines = Vec::new();
    for (name, conn) in [("first", first), ("second", second)] {
        lines.extend(world.take(conn).into_iter().map(|text| format!("{name}: {text}")));
        lines.extend(world.close_of(conn).map(|code| format!("{name}: closed {code}")));
    }
    lines.join("\n")
}

#[test]
fn version_4_bytes() {
    insta::assert_snapshot!(transcript(Version::V4));
}

#[test]
fn version_8_bytes() {
    insta::assert_snapshot!(transcript(Version::V8));
}

#[test]
fn a_newcomer_is_announced_once_described_and_its_stream_once_it_speaks() {
    let mut world = World::new();
    let first = world.joined(user(1), Version::V8);
    world.clear();
    let second = world.identified(user(2), Version::V8);
    assert_eq!(world.frames(first), [], "not before its transport is agreed upon");
    world.select(second, MODES[0]);
    assert!(matches!(&world.frames(first)[..], [ServerFrame::ClientsConnect(c)] if c.user_ids == [user(2)]));
    world.clear();
    // The relay hears it before it says SPEAKING; saying the same afterwards is no news.
    let leg = world.leg(second).unwrap();
    world.relay_says(0, support::speaking(leg.id));
    world.send(second, r#"{"op":5,"d":{"speaking":1,"delay":0,"ssrc":0}}"#);
    world.relay_says(0, support::speaking(leg.id));
    let frames = world.frames(first);
    assert!(
        matches!(&frames[..], [ServerFrame::Speaking(s)] if s.ssrc == leg.ssrc && s.user_id == user(2) && s.speaking == 1)
    );
}

#[test]
fn speaking_before_the_transport_is_agreed_upon_is_kept_for_later() {
    let mut world = World::new();
    let first = world.joined(user(1), Version::V8);
    let second = world.identified(user(2), Version::V8);
    world.send(second, r#"{"op":5,"d":{"speaking":1,"delay":0,"ssrc":0}}"#);
    world.clear();
    world.select(second, MODES[0]);
    let frames = world.frames(first);
    assert!(
        matches!(&frames[..], [ServerFrame::ClientsConnect(_), ServerFrame::Speaking(s)] if s.speaking == 1),
        "{frames:?}"
    );
}

#[test]
fn the_relay_learns_the_leg_with_ready_and_its_key_with_the_description() {
    let mut world = World::with_shards(2);
    let conn = world.identified(user(1), Version::V8);
    let leg = world.leg(conn).unwrap();
    assert_eq!((leg.room, leg.speak, leg.hear, leg.native), (ROOM.0, true, true, None));
    world.select(conn, MODES[1]);
    let native = world.leg(conn).unwrap().native.unwrap();
    assert_eq!((native.mode.as_str(), native.claimed_address.as_str()), (MODES[1], "127.0.0.1:60000"));
    let description = world.frames(conn).into_iter().find_map(|frame| match frame {
        ServerFrame::SessionDescription(description) => Some(description),
        _ => None,
    });
    assert_eq!(description.unwrap().secret_key.0.to_vec(), native.key);
    // Another selection is another key on the same leg.
    world.select(conn, MODES[0]);
    let again = world.leg(conn).unwrap();
    assert_eq!(again.id, leg.id);
    assert_ne!(again.native.unwrap().key, native.key);
}

#[test]
fn every_room_has_the_port_of_its_shard() {
    let mut world = World::with_shards(2);
    let mut ports = Vec::new();
    for (n, channel) in [(1, ROOM), (2, support::OTHER_ROOM), (3, ROOM)] {
        let token = world.token(user(n), channel);
        world.put(user(n), channel, ALL);
        let conn = world.open(Version::V8);
        world.identify_with(conn, user(n), token);
        let ready = world.frames(conn).into_iter().find_map(|frame| match frame {
            ServerFrame::Ready(ready) => Some(ready),
            _ => None,
        });
        ports.push(ready.unwrap().port);
    }
    assert_eq!(ports, [50_001, 50_002, 50_001]);
}

#[test]
fn join_times_are_told_once() {
    let mut world = World::new();
    let conn = world.identified(user(1), Version::V8);
    world.advance(std::time::Duration::from_millis(20));
    world.select(conn, MODES[0]);
    world.advance(std::time::Duration::from_millis(5));
    let id = world.leg(conn).unwrap().id;
    world.relay_says(0, support::connected(id));
    world.relay_says(0, support::connected(id));
    let ms = std::time::Duration::from_millis;
    assert_eq!(world.events, [Event::Described { after: ms(20) }, Event::Connected { after: ms(25) }]);
}

/// What songbird sends and receives to join beside one other participant, up to its first heartbeat, with ids, token and ports of
/// the longest realistic form.
#[test]
fn a_native_join_stays_within_a_thousand_bytes() {
    let mut world = World::new();
    let first = world.joined(user(1), Version::V4);
    world.send(first, r#"{"op":5,"d":{"speaking":1,"delay":0,"ssrc":1}}"#);
    let me = user(2);
    let token = world.token(me, ROOM);
    world.put(me, ROOM, ALL);
    let conn = world.open(Version::V4);
    let session = support::session_of(me);
    let sent = [
        format!(
            r#"{{"d":{{"max_dave_protocol_version":1,"server_id":"{}","session_id":"{session}","token":"{token}","user_id":"{me}"}},"op":0}}"#,
            support::GUILD,
        ),
        format!(
            r#"{{"d":{{"data":{{"address":"127.0.0.1","mode":"{}","port":50123}},"protocol":"udp"}},"op":1}}"#,
            MODES[0]
        ),
        r#"{"d":1795381607123,"op":3}"#.to_owned(),
    ];
    for text in &sent {
        world.send(conn, text);
    }
    let received = world.take(conn);
    assert_eq!(world.close_of(conn), None);
    assert_eq!(received.len(), 6, "{received:#?}");
    let bytes = |texts: &[String]| texts.iter().map(String::len).sum::<usize>();
    let total = bytes(&sent) + bytes(&received);
    assert!(
        total <= 1_000,
        "{total} bytes: {} out, {} in\n{sent:#?}\n{received:#?}",
        bytes(&sent),
        bytes(&received)
    );
}
