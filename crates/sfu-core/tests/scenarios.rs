//! What people in rooms hear and do not hear.
#![allow(clippy::unwrap_used)]

mod net;

use net::{VOICE, World, assert_continuous};
use rtp_wire::{RtpTime, SILENCE_FRAME};
use sfu_core::DropReason;
use sfu_core::limits::PEERS_NONCES_SPENT;
use sfu_wire::{FromSfu, KeySpent, LegConnected, LegSpeaking, Snapshot, ToSfu};
use transport::{Key, Mode, NonceCounter, Session};

fn speaking(id: u64, speaking: bool) -> FromSfu {
    FromSfu::LegSpeaking(LegSpeaking { id, speaking })
}

fn without_reports(events: Vec<FromSfu>) -> Vec<FromSfu> {
    events.into_iter().filter(|event| !matches!(event, FromSfu::Report(_))).collect()
}

#[test]
fn everybody_in_the_room_hears_and_nobody_else() {
    let mut world = World::default();
    for mode in Mode::ALL {
        world.join_as(1, mode);
    }
    let elsewhere = world.join(2);
    for speaker in 0..Mode::ALL.len() {
        world.talk_for(speaker, 3);
        for listener in 0..Mode::ALL.len() {
            let heard = world.heard(listener);
            if listener == speaker {
                assert_eq!(heard, []);
                continue;
            }
            assert_eq!(heard.len(), 3);
            assert_continuous(&heard);
            assert!(heard.iter().all(|frame| frame.payload == VOICE));
        }
    }
    assert_eq!(world.heard(elsewhere), []);
    assert_eq!(world.shard.counters().forwarded_in, 3 * Mode::ALL.len() as u64);
}

#[test]
fn alone_in_a_room_counts_as_forwarded() {
    let mut world = World::default();
    let alone = world.join(1);
    world.talk(alone);
    assert_eq!(world.shard.counters().forwarded_in, 1);
}

#[test]
fn signalling_hears_who_is_connected_and_who_speaks() {
    let mut world = World::default();
    let a = world.join(1);
    let events = world.events();
    assert!(matches!(events[0], FromSfu::Started(ref started) if started.shard == 3), "{events:?}");
    assert_eq!(events[1..], [FromSfu::LegConnected(LegConnected { id: 0 })]);
    world.talk_for(a, 50);
    assert_eq!(without_reports(world.events()), [speaking(0, true)]);
    for _ in 0..5 {
        world.say(a, &SILENCE_FRAME);
        world.wait(20);
    }
    assert_eq!(without_reports(world.events()), [speaking(0, false)]);
    world.talk(a);
    world.wait(249);
    assert_eq!(without_reports(world.events()), [speaking(0, true)]);
    world.wait(1);
    assert_eq!(without_reports(world.events()), [speaking(0, false)]);
}

#[test]
fn a_report_comes_each_second_and_adds_up() {
    let mut world = World::default();
    let a = world.join(1);
    world.join(1);
    world.talk_for(a, 150);
    world.send(world.clients[a].address, b"nonsense that is nothing at all");
    world.wait(1000);
    let reports: Vec<_> = world
        .events()
        .into_iter()
        .filter_map(|event| if let FromSfu::Report(report) = event { Some(report) } else { None })
        .collect();
    assert_eq!(reports.len(), 4);
    let last = reports.last().unwrap();
    let dropped: u64 = last.drops.iter().map(|drop| drop.packets).sum();
    assert_eq!(last.received, last.forwarded_in + last.consumed + dropped);
    assert_eq!((last.forwarded_in, last.consumed, dropped), (150, 2, 1));
    assert_eq!((last.legs, last.rooms), (2, 1));
    // Forwarded copies, discovery, and the packets that keep paths open.
    assert_eq!(last.sent, 150 + 2 + world.clients.iter().map(|client| client.rtcp as u64).sum::<u64>());
}

#[test]
fn muted_mid_word_ends_in_silence_and_leaves_no_gap() {
    let mut world = World::default();
    let (a, b) = (world.join(1), world.join(1));
    world.talk_for(a, 10);
    world.events();
    world.set(a, |leg| leg.speak = false);
    assert_eq!(world.events(), [speaking(0, false)]);
    // The client goes on sending.
    world.talk_for(a, 20);
    assert_eq!(world.dropped(DropReason::Muted), 20);
    world.set(a, |leg| leg.speak = true);
    world.talk_for(a, 5);
    let heard = world.heard(b);
    assert_continuous(&heard);
    let silent = |frame: &net::Heard| frame.payload == SILENCE_FRAME;
    assert_eq!(heard.len(), 10 + 5 + 5);
    assert!(heard[10..15].iter().all(silent));
    assert!(!heard[..10].iter().chain(&heard[15..]).any(silent));
    // The time of the mute has passed for the listener too.
    assert_eq!(heard[15].time.since(heard[9].time), 21 * 960);
}

#[test]
fn muted_between_words_sends_nothing() {
    let mut world = World::default();
    let (a, b) = (world.join(1), world.join(1));
    world.talk_for(a, 3);
    world.say(a, &SILENCE_FRAME);
    world.heard(b);
    world.set(a, |leg| leg.speak = false);
    world.wait(1000);
    assert_eq!(world.heard(b), []);

    world.set(a, |leg| leg.speak = true);
    world.talk(a);
    world.wait(201);
    world.heard(b);
    world.set(a, |leg| leg.speak = false);
    world.wait(1000);
    assert_eq!(world.heard(b), []);
}

#[test]
fn unmuted_while_silence_is_being_sent() {
    let mut world = World::default();
    let (a, b) = (world.join(1), world.join(1));
    world.talk_for(a, 2);
    world.set(a, |leg| leg.speak = false);
    world.wait(50);
    world.set(a, |leg| leg.speak = true);
    world.talk_for(a, 30);
    let heard = world.heard(b);
    assert_continuous(&heard);
    assert_eq!(heard.len(), 2 + 2 + 30);
    assert!(heard[4..].iter().all(|frame| frame.payload == VOICE));
}

#[test]
fn a_deafened_listener_finds_the_numbers_where_it_left_them() {
    let mut world = World::default();
    let (a, b, c) = (world.join(1), world.join(1), world.join(1));
    world.talk_for(a, 5);
    world.talk_for(c, 5);
    world.set(b, |leg| leg.hear = false);
    world.talk_for(a, 7);
    let heard = world.heard(b);
    assert_eq!(heard.len(), 10);
    world.set(b, |leg| leg.hear = true);
    world.talk_for(a, 3);
    world.talk_for(c, 3);
    let again = world.heard(b);
    assert_continuous(&[&heard[..5], &again[..3]].concat());
    assert_continuous(&[&heard[5..], &again[3..]].concat());
    // Nobody else is concerned.
    assert_continuous(&world.heard(c));
}

#[test]
fn a_sender_that_left_and_came_back_goes_on_in_its_numbers() {
    let mut world = World::default();
    let (a, b) = (world.join(1), world.join(1));
    world.talk_for(a, 5);
    world.remove(a);
    world.talk(a);
    assert_eq!(world.dropped(DropReason::UnknownSource), 1);
    world.wait(3000);

    let key = Key::new([99; 32]);
    let client = &mut world.clients[a];
    client.leg.id = 77;
    client.session = Session::new(Mode::Aes256GcmRtpsize, &key, NonceCounter::client(5), [1; 16]);
    client.key = key;
    (client.seq, client.time) = (60_000, 12);
    client.leg.native = None;
    world.select(a, "");
    world.talk_for(a, 5);
    let heard = world.heard(b);
    assert_eq!(heard.len(), 10);
    assert_continuous(&heard);
    assert!(heard[5].time.since(heard[4].time) > 3 * 48_000);
}

#[test]
fn loss_stays_visible_and_reordering_stays_reordered() {
    let mut world = World::default();
    let (a, b) = (world.join(1), world.join(1));
    for seq in [10, 11, 14, 13, 15] {
        let frame = world.frame_at(a, seq, RtpTime(u32::from(seq) * 960), VOICE);
        world.send(world.clients[a].address, &frame);
    }
    let heard = world.heard(b);
    let relative: Vec<u64> = heard.iter().map(|frame| frame.seq.0 - heard[0].seq.0).collect();
    assert_eq!(relative, [0, 1, 4, 3, 5]);
}

#[test]
fn a_leg_that_moves_is_heard_in_its_new_room_only() {
    let mut world = World::default();
    let (a, b, c) = (world.join(1), world.join(1), world.join(2));
    world.set(a, |leg| leg.room = 2);
    world.talk_for(a, 2);
    assert_eq!(world.heard(b), []);
    assert_eq!(world.heard(c).len(), 2);
    world.talk_for(c, 2);
    assert_eq!(world.heard(a).len(), 2);
}

#[test]
fn a_snapshot_is_everything() {
    let mut world = World::default();
    let (a, b, c) = (world.join(1), world.join(1), world.join(1));
    world.talk(a);
    let before = world.clients[b].heard.len();
    let legs = [a, b].map(|n| world.clients[n].leg.clone()).to_vec();
    world.tell(ToSfu::Snapshot(Snapshot { legs }));
    world.talk(a);
    assert_eq!(world.clients[b].heard.len(), before + 1);
    assert_eq!(world.clients[c].heard.len(), before);
    // What stayed was not begun anew.
    assert_continuous(&world.heard(b));
}

#[test]
fn the_same_key_goes_on_and_a_new_key_begins_anew() {
    let mut world = World::default();
    let (a, b) = (world.join(1), world.join(1));
    let replayed = world.frame(a, VOICE);
    let address = world.clients[a].address;
    world.send(address, &replayed);
    world.put(a);
    world.send(address, &replayed);
    assert_eq!(world.dropped(DropReason::Replayed), 1);
    world.heard(b);
    world.events();

    let key = Key::new([42; 32]);
    world.clients[b].session = Session::new(Mode::Aes256GcmRtpsize, &key, NonceCounter::client(0), [2; 16]);
    world.clients[b].key = key;
    world.select(b, "");
    world.talk(a);
    assert_eq!(world.heard(b), [], "the path has to be proven again");
    world.talk(b);
    world.talk(a);
    assert_eq!(world.heard(b).len(), 1);
    let connected = FromSfu::LegConnected(LegConnected { id: b as u64 });
    assert_eq!(world.events().iter().filter(|event| **event == connected).count(), 1);
}

#[test]
fn a_key_is_told_to_be_spent_long_before_its_counters_meet() {
    for mode in [Mode::Aes256GcmRtpsize, Mode::XChaCha20Poly1305Rtpsize] {
        let mut world = World::default();
        let a = world.join_as(1, mode);
        let key = world.clients[a].key.clone();
        let spent = FromSfu::KeySpent(KeySpent { id: a as u64 });
        // The client goes on where our counter is half a circle away, in two steps, for a longer one would be a step back.
        world.talk(a);
        world.wait(10_000);
        let server = world.clients[a].last_nonce.expect("its path is kept open");
        for ahead in [1 << 30, 2 * PEERS_NONCES_SPENT] {
            let counter = NonceCounter::client(server.wrapping_sub(ahead));
            world.clients[a].session = Session::new(mode, &key, counter, [3; 16]);
            world.talk(a);
            world.wait(10_000);
            assert!(!world.events().contains(&spent), "{ahead} are left");
        }
        world.clients[a].session =
            Session::new(mode, &key, NonceCounter::client(server.wrapping_sub(PEERS_NONCES_SPENT)), [3; 16]);
        world.talk(a);
        world.wait(60_000);
        assert_eq!(world.events().iter().filter(|event| **event == spent).count(), 1, "told, and once");

        let key = Key::new([42; 32]);
        world.clients[a].session = Session::new(mode, &key, NonceCounter::client(0), [4; 16]);
        world.clients[a].key = key;
        world.select(a, "");
        world.talk(a);
        world.wait(60_000);
        assert!(!world.events().contains(&spent), "a new key has all its nonces before it");
    }
}

#[test]
fn every_path_is_kept_open() {
    let mut world = World::default();
    let a = world.join(1);
    world.wait(299);
    assert_eq!(world.clients[a].rtcp, 0);
    world.wait(1);
    assert_eq!(world.clients[a].rtcp, 1);
    world.wait(60_000);
    assert!((12..=16).contains(&world.clients[a].rtcp), "{}", world.clients[a].rtcp);
    world.remove(a);
    let before = world.clients[a].rtcp;
    world.wait(10_000);
    assert_eq!(world.clients[a].rtcp, before);
}

#[test]
fn a_room_of_a_thousand_fills_and_empties() {
    let mut world = World::default();
    let first = world.join(1);
    for n in 1..1000 {
        let joined = world.join(1);
        if n % 100 == 0 {
            world.talk(first);
            assert_eq!(world.heard(joined).len(), 1);
        }
    }
    world.talk(first);
    assert!((1..1000).all(|n| !world.clients[n].heard.is_empty()));
    for n in 1..1000 {
        world.remove(n);
    }
    world.talk(first);
    assert_eq!(world.shard.counters().forwarded_in, 11);
}
