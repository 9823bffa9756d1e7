//! Browsers: SELECT PROTOCOL `webrtc`, the handshake, what ends it.
#![allow(clippy::unwrap_used)]

mod support;

use client_wire::fragment::{Fingerprint, ServerFragment};
use client_wire::voice::{ClientFrame, MODES, SelectProtocol, ServerFrame, Version};
use sfu_wire::Srtp;
use support::{World, user};
use voice_core::{ConnId, Event};

/// As Chromium's offer leaves it, in the form that a page sends.
const FRAGMENT: &str = "a=extmap-allow-mixed\na=ice-ufrag:9WZo\na=ice-pwd:vcfFowC3gQI1KHu0Fm5ZTXum\na=ice-options:trickle\n\
    a=fingerprint:sha-256 71:20:00:FF:AA:0B:0C:0D:0E:0F:10:11:12:13:14:15:16:17:18:19:1A:1B:1C:1D:1E:1F:20:21:22:23:24:25\n\
    a=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level\na=extmap:4 urn:ietf:params:rtp-hdrext:sdes:mid\n\
    a=rtpmap:111 opus/48000/2\na=rtpmap:63 red/48000/2";

fn srtp() -> Srtp {
    Srtp { profile: "SRTP_AEAD_AES_128_GCM".into(), keying_material: vec![3; 56] }
}

fn select(world: &mut World, conn: ConnId, fragment: &str) {
    let select = SelectProtocol {
        protocol: "webrtc".into(),
        data: None,
        sdp: Some(fragment.to_owned()),
        codecs: None,
    };
    world.send_frame(conn, &ClientFrame::SelectProtocol(select));
}

fn joined(world: &mut World, n: u64) -> ConnId {
    let conn = world.identified(user(n), Version::V8);
    select(world, conn, FRAGMENT);
    conn
}

/// The engine of the connection's leg says that it is done.
fn finish(world: &mut World, conn: ConnId) {
    let leg = world.leg(conn).unwrap().id;
    let (shard, ufrag, _) = world.engines[&leg].clone();
    world.core.handle_dtls_done(shard, leg, &ufrag, srtp());
    world.drain();
}

#[test]
fn facts_travel_and_nothing_else() {
    let mut world = World::new();
    let conn = joined(&mut world, 1);
    let frames = world.frames(conn);
    let Some(ServerFrame::WebRtcDescription(description)) = frames.last() else { panic!("{frames:?}") };
    let ours = ServerFragment::parse(&description.sdp).unwrap();
    assert_eq!((ours.address, ours.tcp_port), ("127.0.0.1:50001".parse().unwrap(), Some(8_443)));
    assert_eq!(ours.fingerprint, Fingerprint([1; 32]));
    let leg = world.leg(conn).unwrap();
    let webrtc = leg.webrtc.clone().unwrap();
    assert_eq!((&webrtc.ufrag, &webrtc.pwd), (&ours.ufrag, &ours.pwd));
    assert_eq!((webrtc.remote_ufrag.as_str(), webrtc.opus_payload_type), ("9WZo", 111));
    assert_eq!((webrtc.red_payload_type, webrtc.ext_audio_level), (63, 1));
    assert_eq!((leg.native, webrtc.srtp), (None, None));
    let (shard, ufrag, fingerprint) = &world.engines[&leg.id];
    assert_eq!((*shard, ufrag), (0, &ours.ufrag));
    assert_eq!(fingerprint.0[..4], [0x71, 0x20, 0, 0xFF]);

    finish(&mut world, conn);
    assert_eq!(world.leg(conn).unwrap().webrtc.unwrap().srtp, Some(srtp()));
    let leg = leg.id;
    world.relay_says(0, support::connected(leg));
    assert!(world.events.iter().any(|event| matches!(event, Event::Connected { .. })));
}

#[test]
fn a_browser_is_announced_like_anybody() {
    let mut world = World::new();
    let first = world.joined(user(1), Version::V8);
    world.clear();
    let second = joined(&mut world, 2);
    assert!(matches!(&world.frames(first)[..], [ServerFrame::ClientsConnect(c)] if c.user_ids == [user(2)]));
    assert!(
        world
            .frames(second)
            .iter()
            .any(|frame| matches!(frame, ServerFrame::Speaking(s) if s.user_id == user(1)))
    );
}

#[test]
fn every_selection_is_a_transport_of_its_own() {
    let mut world = World::new();
    let conn = joined(&mut world, 1);
    let leg = world.leg(conn).unwrap().id;
    let first = world.engines[&leg].1.clone();
    select(&mut world, conn, FRAGMENT);
    let second = world.engines[&leg].1.clone();
    assert_ne!(first, second);
    assert!(world.core.ice(&first).is_none(), "nobody comes over TCP for a transport that is no more");
    // Word of the first comes late.
    world.core.handle_dtls_done(0, leg, &first, srtp());
    world.core.handle_dtls_failed(0, leg, &first);
    world.drain();
    assert_eq!((world.leg(conn).unwrap().webrtc.unwrap().srtp, world.close_of(conn)), (None, None));
    finish(&mut world, conn);
    // Nor does a handshake fail that has succeeded.
    world.core.handle_dtls_failed(0, leg, &second);
    world.drain();
    assert_eq!(world.close_of(conn), None);
    world.select(conn, MODES[0]);
    let leg = world.leg(conn).unwrap();
    assert!(leg.native.is_some() && leg.webrtc.is_none());
    assert!(world.core.ice(&second).is_none());
}

#[test]
fn a_transport_is_found_by_its_name_for_as_long_as_there_is_one() {
    let mut world = World::with_shards(3);
    let conns: Vec<ConnId> = (1..=3).map(|n| joined(&mut world, n)).collect();
    let leg = world.leg(conns[1]).unwrap();
    let webrtc = leg.webrtc.unwrap();
    let found = world.core.ice(&webrtc.ufrag).unwrap();
    assert_eq!((found.leg, &found.pwd, &found.remote_ufrag), (leg.id, &webrtc.pwd, &webrtc.remote_ufrag));
    assert!(world.shards[found.shard as usize].contains_key(&leg.id));
    assert!(!format!("{found:?}").contains(&webrtc.pwd));
    assert_eq!(world.core.ice("nobody"), None);
    world.lose(conns[1], Some(1_000));
    assert_eq!(world.core.ice(&webrtc.ufrag), None);
}

#[test]
fn a_handshake_that_fails_sends_the_client_to_join_anew() {
    let mut world = World::new();
    let conn = joined(&mut world, 1);
    let leg = world.leg(conn).unwrap().id;
    let (shard, ufrag, _) = world.engines[&leg].clone();
    world.core.handle_dtls_failed(shard, leg, &ufrag);
    world.drain();
    assert_eq!(world.close_of(conn), Some(4009));
    assert!(world.engines.is_empty());
    assert!(world.events.contains(&Event::HandshakeFailed));
}

#[test]
fn a_fragment_that_says_too_little_is_refused() {
    for line in ["a=ice-ufrag", "a=ice-pwd", "a=fingerprint", "a=rtpmap:111"] {
        let mut world = World::new();
        let conn = world.identified(user(1), Version::V8);
        let without: Vec<&str> = FRAGMENT.lines().filter(|l| !l.starts_with(line)).collect();
        select(&mut world, conn, &without.join("\n"));
        assert_eq!(world.close_of(conn), Some(4002), "{line}");
    }
}
