//! What strangers and unruly clients send, and that it costs nobody else anything.
#![allow(clippy::unwrap_used)]

mod net;

use std::net::SocketAddr;

use net::{VOICE, World, assert_continuous};
use rtp_wire::{DiscoveryRequest, PayloadType, RtpHeader, RtpTime, Ssrc, write_ping};
use sfu_core::DropReason;
use sfu_core::limits::{ADDRESS_CHANGE_INTERVAL, ADDRESS_HOLD};
use transport::Mode;

const STRANGER: &str = "192.0.2.66:6666";

fn stranger() -> SocketAddr {
    STRANGER.parse().unwrap()
}

fn wait_for_change(world: &mut World) {
    world.wait(ADDRESS_CHANGE_INTERVAL.as_millis() as u64);
}

fn discovery(ssrc: u32) -> [u8; 74] {
    let mut datagram = [0; 74];
    DiscoveryRequest { ssrc: Ssrc(ssrc) }.write(&mut datagram).unwrap();
    datagram
}

#[test]
fn discovery_is_answered_for_legs_only_and_every_time() {
    let mut world = World::default();
    let a = world.arrive(1, Mode::Aes256GcmRtpsize);
    for _ in 0..3 {
        world.clients[a].discovered = None;
        world.discover(a);
        let seen = world.clients[a].discovered.unwrap();
        assert_eq!(SocketAddr::new(seen.ip, seen.port), world.clients[a].address);
        assert_eq!(seen.ssrc.0, world.clients[a].leg.ssrc);
    }
    world.send(stranger(), &discovery(4_000_000));
    assert_eq!(world.shard.counters().sent, 3);
    assert_eq!(world.dropped(DropReason::UnknownSource), 1);
}

#[test]
fn nobody_unauthenticated_provokes_more_than_they_send() {
    let mut world = World::default();
    let (a, b) = (world.join(1), world.join(1));
    let ssrc = world.clients[a].leg.ssrc;
    let from_a = world.clients[a].address;
    let mut datagrams: Vec<Vec<u8>> = (0..200).map(|len| vec![0; len]).collect();
    datagrams.extend(
        (0..200).map(|len| [&[0x80, 120, 0, 1, 0, 0, 0, 1], &ssrc.to_be_bytes()[..], &vec![1; len]].concat()),
    );
    datagrams
        .extend((0..200).map(|len| [&[0x80, 201, 0, 1], &ssrc.to_be_bytes()[..], &vec![1; len]].concat()));
    datagrams.push(discovery(ssrc).to_vec());
    let mut ping = [0; 8];
    write_ping(1, &mut ping).unwrap();
    datagrams.push(ping.to_vec());
    for from in [stranger(), from_a] {
        for datagram in &datagrams {
            let mut wire = net::Wire::default();
            world.shard.handle_datagram(world.now, from, &mut datagram.clone(), &mut wire);
            let out: usize = wire.sent.iter().map(|(_, reply)| reply.len()).sum();
            assert!(out <= datagram.len(), "{} bytes for {}", out, datagram.len());
            assert!(wire.sent.iter().all(|(to, _)| *to == from));
        }
    }
    world.wait(10_000);
    assert_eq!(world.heard(b), []);
}

#[test]
fn pings_are_answered_at_known_addresses_only() {
    let mut world = World::default();
    let a = world.join(1);
    let mut ping = [0; 8];
    write_ping(9, &mut ping).unwrap();
    world.send(world.clients[a].address, &ping);
    assert_eq!(world.clients[a].pongs, 1);
    let sent = world.shard.counters().sent;
    world.send(stranger(), &ping);
    world.send(world.clients[a].address, &[1, 0, 0, 0]);
    world.send(world.clients[a].address, &[1, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(world.shard.counters().sent, sent);
    assert_eq!(world.shard.counters().consumed, 1 + 1 + 2);
}

#[test]
fn an_address_that_was_only_claimed_is_not_sent_to() {
    let mut world = World::default();
    let (a, b) = (world.join(1), world.arrive(1, Mode::Aes256GcmRtpsize));
    world.select(b, STRANGER);
    let sent = world.shard.counters().sent;
    world.talk_for(a, 5);
    assert_eq!(world.shard.counters().sent, sent);
    // The first authenticated packet says where it is, whatever was claimed.
    world.talk(b);
    world.talk(a);
    assert_eq!(world.heard(b).len(), 1);
}

#[test]
fn discovery_after_selection_proves_the_claim() {
    let mut world = World::default();
    let (a, b) = (world.join(1), world.arrive(1, Mode::Aes256GcmRtpsize));
    world.select(b, &world.clients[b].address.to_string());
    world.discover(b);
    world.talk(a);
    assert_eq!(world.heard(b).len(), 1);
}

#[test]
fn a_changed_network_is_followed_and_a_thief_is_not() {
    let mut world = World::default();
    let (a, b) = (world.join(1), world.join(1));
    let home = world.clients[b].address;
    wait_for_change(&mut world);

    // A packet of b's, caught and sent again from elsewhere.
    let caught = world.frame(b, VOICE);
    world.send(home, &caught);
    world.send(stranger(), &caught);
    assert_eq!(world.dropped(DropReason::Replayed), 1);
    // A forged one.
    let mut forged = world.frame(b, VOICE);
    *forged.last_mut().unwrap() ^= 1;
    world.send(stranger(), &forged);
    assert_eq!(world.dropped(DropReason::Unauthenticated), 1);
    // Discovery for its SSRC, keepalives.
    world.send(stranger(), &discovery(world.clients[b].leg.ssrc));
    world.send(stranger(), &world.clients[b].leg.ssrc.to_be_bytes());
    // One caught and held back, so that the client's own later packet overtook it.
    let held = world.frame(b, VOICE);
    world.talk(b);
    world.send(stranger(), &held);
    world.heard(b);
    world.talk(a);
    assert_eq!(world.heard(b).len(), 1, "still at home");

    // b itself, on another network.
    world.clients[b].address = "198.51.100.7:7".parse().unwrap();
    world.talk(b);
    world.talk(a);
    assert_eq!(world.heard(b).len(), 1);
    assert_continuous(&world.heard(a)[..1]);
}

#[test]
fn an_address_does_not_flap() {
    let mut world = World::default();
    let (a, b) = (world.join(1), world.join(1));
    wait_for_change(&mut world);
    let (one, two) = (world.clients[b].address, stranger());
    for _ in 0..50 {
        for from in [two, one] {
            let frame = world.frame(b, VOICE);
            world.send(from, &frame);
        }
    }
    // It went to the second once and stayed, for a while.
    world.clients[b].address = two;
    world.heard(b);
    world.talk(a);
    assert_eq!(world.heard(b).len(), 1);
    assert_eq!(world.heard(a).len(), 100);
}

#[test]
fn an_address_is_taken_from_another_leg_only_when_nobody_is_heard_there() {
    let mut world = World::default();
    let (a, b, c) = (world.join(1), world.join(1), world.join(1));
    wait_for_change(&mut world);
    let taken = world.clients[b].address;
    let frame = world.frame(c, VOICE);
    world.send(taken, &frame);
    world.talk(a);
    assert_eq!(world.heard(b).len(), 2);
    assert_eq!(world.heard(c).len(), 1, "c stays where it was");

    // b's client is gone, and c has its address now.
    world.wait(ADDRESS_HOLD.as_millis() as u64);
    world.clients[b].address = stranger();
    world.clients[c].address = taken;
    world.talk(c);
    world.talk(a);
    assert_eq!(world.heard(c).len(), 1);
    assert_eq!(world.heard(b), []);
    // And b comes back elsewhere, without a gap in a's numbers but for what was lost on the way to nobody.
    world.talk(b);
    world.talk(a);
    assert_eq!(world.heard(b).len(), 1);
}

#[test]
fn a_sender_above_its_rate_is_trimmed_without_a_gap() {
    let mut world = World::with_rate(100);
    let (a, b, c) = (world.join(1), world.join(1), world.join(1));
    for _ in 0..1000 {
        world.talk(a);
    }
    world.talk(c);
    assert_eq!(world.dropped(DropReason::TooFast), 900);
    world.wait(1000);
    world.talk(a);
    let mut heard = world.heard(b);
    let of_c = heard.remove(100);
    assert_eq!(of_c.ssrc.0, world.clients[c].leg.ssrc, "nobody else is concerned");
    assert_eq!(heard.len(), 101);
    assert_continuous(&heard);
}

#[test]
fn what_is_not_the_legs_own_opus_is_dropped() {
    let mut world = World::default();
    let (a, b) = (world.join(1), world.join(1));
    let address = world.clients[a].address;
    let ssrc = Ssrc(world.clients[a].leg.ssrc);
    let send = |world: &mut World, payload_type, ssrc, seq, payload: &[u8]| {
        let header = RtpHeader {
            payload_type: PayloadType(payload_type),
            ssrc,
            seq,
            time: RtpTime(seq.into()),
            ..RtpHeader::default()
        };
        let mut buf = vec![0; 2000];
        let at = header.write(&[], &mut buf).unwrap();
        buf[at..at + payload.len()].copy_from_slice(payload);
        let len = world.clients[a].session.seal_rtp(&mut buf, at + payload.len()).unwrap();
        world.send(address, &buf[..len]);
    };
    send(&mut world, 120, ssrc, 1, VOICE);
    send(&mut world, 101, ssrc, 2, VOICE);
    send(&mut world, 120, Ssrc(ssrc.0 + 1), 3, VOICE);
    send(&mut world, 120, ssrc, 4, &[1; 1401]);
    send(&mut world, 120, ssrc, 5, &[]);
    send(&mut world, 120, ssrc, 6, &[1; 1400]);
    assert_eq!(world.dropped(DropReason::Unsupported), 1);
    assert_eq!(world.dropped(DropReason::ForeignStream), 1);
    assert_eq!(world.dropped(DropReason::TooLong), 1);
    assert_eq!(world.dropped(DropReason::Malformed), 1);
    let heard = world.heard(b);
    assert_eq!(heard.len(), 2);
    assert_continuous(&heard);
}

#[test]
fn without_a_key_nothing_is_opened() {
    let mut world = World::default();
    let a = world.arrive(1, Mode::Aes256GcmRtpsize);
    world.talk(a);
    assert_eq!(world.dropped(DropReason::NoKey), 1);
}

#[test]
fn our_own_packets_sent_back_are_not_forwarded() {
    let mut world = World::default();
    let (a, b) = (world.join(1), world.join(1));
    let b_address = world.clients[b].address;
    let mut wire = net::Wire::default();
    let mut frame = world.frame(a, VOICE);
    let from = world.clients[a].address;
    world.shard.handle_datagram(world.now, from, &mut frame, &mut wire);
    let (to, reflected) = wire.sent.remove(0);
    assert_eq!(to, b_address);
    world.send(stranger(), &reflected);
    world.send(b_address, &reflected);
    assert_eq!(world.heard(a), []);
    assert_eq!(world.shard.counters().forwarded_in, 1);
}
