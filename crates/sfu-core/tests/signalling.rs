//! What signalling may ask for, and what is refused.
#![allow(clippy::unwrap_used)]

mod net;

use net::World;
use sfu_core::Refused;
use sfu_core::limits::LEGS_MAX;
use sfu_wire::{FromSfu, Leg, LegConnected, RemoveLeg, Snapshot, Start, ToSfu};
use transport::Mode;

fn bare(id: u64) -> Leg {
    Leg { id, room: id % 10, ssrc: 10_000 + id as u32, speak: true, hear: true, ..Leg::default() }
}

#[test]
fn a_leg_that_cannot_be_is_refused_and_the_others_of_a_snapshot_are_not() {
    let mut world = World::default();
    let a = world.join(1);
    let good = world.clients[a].leg.clone();
    let with = |id, change: fn(&mut sfu_wire::Native)| {
        let mut leg = Leg { native: good.native.clone(), ..bare(id) };
        change(leg.native.as_mut().unwrap());
        leg
    };
    let short = with(8, |native| native.key.truncate(31));
    let unknown = with(9, |native| native.mode = "rot13".into());
    let nonsense = with(10, |native| native.claimed_address = "localhost".into());
    let now = world.now;
    let mut tell = |message| world.shard.handle_message(now, message, &mut world.wire);
    assert_eq!(tell(ToSfu::PutLeg(short.clone())), Err(Refused::KeyLength(8, 31)));
    assert_eq!(tell(ToSfu::PutLeg(unknown.clone())), Err(Refused::UnknownMode(9)));
    // What a client claims is not signalling's fault.
    assert_eq!(tell(ToSfu::PutLeg(nonsense)), Ok(()));
    let legs = vec![short, bare(11), unknown, good];
    assert_eq!(tell(ToSfu::Snapshot(Snapshot { legs })), Err(Refused::KeyLength(8, 31)));
    assert_eq!(world.shard.legs(), 2);
}

#[test]
fn a_full_shard_refuses_new_legs_only() {
    let mut world = World::default();
    let now = world.now;
    let full = Snapshot { legs: (0..LEGS_MAX as u64).map(bare).collect() };
    let mut tell = |message| world.shard.handle_message(now, message, &mut world.wire);
    assert_eq!(tell(ToSfu::Snapshot(full)), Ok(()));
    let one_more = LEGS_MAX as u64;
    assert_eq!(tell(ToSfu::PutLeg(bare(one_more))), Err(Refused::TooManyLegs(one_more)));
    assert_eq!(tell(ToSfu::PutLeg(Leg { hear: false, ..bare(5) })), Ok(()));
    assert_eq!(tell(ToSfu::RemoveLeg(RemoveLeg { id: 5 })), Ok(()));
    assert_eq!(tell(ToSfu::PutLeg(bare(one_more))), Ok(()));
    assert_eq!(world.shard.legs(), LEGS_MAX);
}

#[test]
fn unknown_legs_are_removed_already() {
    let mut world = World::default();
    world.tell(ToSfu::RemoveLeg(RemoveLeg { id: 99 }));
    assert_eq!(world.shard.legs(), 0);
}

#[test]
fn whoever_comes_back_under_its_ssrc_takes_over() {
    let mut world = World::default();
    let (a, b) = (world.join(1), world.join(1));
    world.talk(a);
    let before = world.clients[a].leg.clone();
    world.clients[a].leg = Leg { id: 50, native: None, ..before.clone() };
    world.put(a);
    assert_eq!(world.shard.legs(), 2);
    // The removal of the leg that was left comes too late to matter.
    world.tell(ToSfu::RemoveLeg(RemoveLeg { id: before.id }));
    assert_eq!(world.shard.legs(), 2);
    world.discover(a);
    let address = world.clients[a].address.to_string();
    world.select(a, &address);
    assert!(world.events().contains(&FromSfu::LegConnected(LegConnected { id: 50 })));
    world.talk(a);
    net::assert_continuous(&world.heard(b));
}

#[test]
fn a_leg_may_change_its_ssrc() {
    let mut world = World::default();
    let (a, b) = (world.join(1), world.join(1));
    world.set(a, |leg| leg.ssrc = 77);
    world.talk(a);
    assert_eq!(world.heard(b)[0].ssrc.0, 77);
    world.discover(a);
    assert_eq!(world.clients[a].discovered.unwrap().ssrc.0, 77);
}

#[test]
fn a_later_start_changes_the_rate() {
    let mut world = World::default();
    world.tell(ToSfu::Start(Start { sender_packets_per_s_max: 10, ..Start::default() }));
    let (a, b) = (world.join_as(1, Mode::Aes256GcmRtpsize), world.join(1));
    for _ in 0..50 {
        world.talk(a);
    }
    assert_eq!(world.heard(b).len(), 10);
}

#[test]
fn events_merge_while_nobody_asks() {
    let mut world = World::default();
    let a = world.join(1);
    world.events();
    for _ in 0..1000 {
        let mut frame = world.frame(a, net::VOICE);
        let from = world.clients[a].address;
        world.shard.handle_datagram(world.now, from, &mut frame, &mut world.wire);
        world.now += std::time::Duration::from_secs(1);
        world.shard.handle_timeout(world.now, &mut world.wire);
    }
    let events: Vec<_> = std::iter::from_fn(|| world.shard.poll_event()).collect();
    assert!(matches!(events[..], [FromSfu::Report(_)]), "{events:?}");
}
