//! A relay's process ends and another one goes on, with what it wrote down of its legs: no client notices more than lost packets.
#![allow(clippy::unwrap_used)]

mod browser;
mod net;

use std::net::{SocketAddr, SocketAddrV6};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use browser::{Browser, OPUS, RED};
use net::{VOICE, Wire, World, assert_continuous};
use rtp_wire::rtcp;
use rtp_wire::{SeqNo, Ssrc};
use sfu_core::limits::{RED_REPORTS, STREAMS_PER_LEG};
use sfu_core::{DropReason, Memory, Shard, Sink};
use sfu_wire::page::{HEAD_AT, HEAD_WORDS, Work, busy_with};
use sfu_wire::{FromSfu, KeySpent, Leg, LegConnected, RemoveLeg, Snapshot, Start, ToSfu};
use transport::{Key, Mode};

const WORDS: &[u8] = &[0x78, 1, 2, 3, 4, 5, 6];

/// Another relay, with what signalling says and what is in the memory.
fn relay(world: &World, browsers: &[&Browser], memory: Memory) -> Shard {
    // Another seed than the first relay's, as signalling gives each its own.
    let start =
        Start { protocol: 1, shard: 3, seed: vec![6; 32], sender_packets_per_s_max: 0, ..Start::default() };
    let mut shard = Shard::with_memory(world.now, &start, memory);
    let natives = world.clients.iter().map(|client| client.leg.clone());
    let legs = natives.chain(browsers.iter().map(|browser| browser.leg.clone())).collect();
    let snapshot = ToSfu::Snapshot(Snapshot { legs });
    shard.handle_message(world.now, snapshot, &mut Wire::default()).unwrap();
    shard
}

/// The relay ends and another takes its place, some time later.
fn restart(world: &mut World, browsers: &[&Browser]) {
    world.now += Duration::from_millis(700);
    world.shard = relay(world, browsers, world.memory);
    let legs = world.clients.len() + browsers.len();
    assert_eq!(world.shard.counters().restored, legs as u64);
    world.events.clear();
}

fn numbers(browser: &mut Browser, world: &mut World, of: Ssrc) -> Vec<u64> {
    browser.heard(world).iter().filter(|(ssrc, ..)| *ssrc == of).map(|(_, seq, ..)| seq.0).collect()
}

/// Two natives and two browsers who have all heard each other, the first browser across a rollover.
fn room() -> (World, [usize; 2], [Browser; 2]) {
    let mut world = World::default();
    let natives = [world.join_as(1, Mode::Aes256GcmRtpsize), world.join_as(1, Mode::XSalsa20Poly1305Suffix)];
    world.clients[natives[0]].seq = 65_300;
    let mut browsers = [Browser::join(&mut world, 71, 1), Browser::join(&mut world, 72, 1)];
    browsers[1].seq = SeqNo(65_300);
    for round in 0..400 {
        // What is kept back leaves listeners' numbers behind the sender's.
        if matches!(round, 100 | 120) {
            world.set(natives[0], |leg| leg.speak = round == 120);
        }
        natives.iter().for_each(|n| world.talk(*n));
        browsers.iter_mut().for_each(|browser| browser.say(&mut world, WORDS));
        world.wait(20);
        browsers.iter_mut().for_each(|browser| browser.receive(&mut world));
    }
    natives.iter().for_each(|n| drop(world.heard(*n)));
    browsers.iter_mut().for_each(|browser| browser.heard.clear());
    (world, natives, browsers)
}

#[test]
fn everybody_goes_on_with_another_relay_as_if_nothing_had_been() {
    let (mut world, natives, mut browsers) = room();
    let old = browsers[1].frame(OPUS, WORDS, 20);
    world.send(browsers[1].address, &old);
    let old_rtcp = {
        let mut plain = [0; 64];
        let len = rtcp::write_receiver_report(browsers[1].ssrc, &[], &mut plain).unwrap();
        browsers[1].sealed_rtcp(&plain[..len])
    };
    world.send(browsers[1].address, &old_rtcp);
    let old_native = world.frame(natives[0], VOICE);
    world.send(world.clients[natives[0]].address, &old_native);
    for n in natives {
        world.heard(n);
    }
    browsers.iter_mut().for_each(|browser| drop(browser.heard(&mut world)));
    let last = browsers.iter().map(|browser| browser.windows.clone()).collect::<Vec<_>>();

    restart(&mut world, &[&browsers[0], &browsers[1]]);
    for id in [0, 1, 71, 72] {
        let connected = FromSfu::LegConnected(LegConnected { id });
        assert!(std::iter::from_fn(|| world.shard.poll_event()).take(3).any(|event| event == connected));
    }
    // What was sent before is not taken again.
    for (from, datagram) in [
        (browsers[1].address, &old),
        (browsers[1].address, &old_rtcp),
        (world.clients[natives[0]].address, &old_native),
    ] {
        world.send(from, datagram);
    }
    assert_eq!(world.dropped(DropReason::Replayed), 3);

    // The clients' windows refuse what comes twice, and the world's tap every nonce that does.
    for _ in 0..300 {
        natives.iter().for_each(|n| world.talk(*n));
        browsers.iter_mut().for_each(|browser| browser.say(&mut world, WORDS));
        world.wait(20);
        browsers.iter_mut().for_each(|browser| browser.receive(&mut world));
    }
    for n in natives {
        let heard = world.heard(n);
        assert_eq!(heard.len(), 3 * 300);
        for speaker in [world.clients[natives[0]].leg.ssrc, 1_000_071, 1_000_072] {
            let of_speaker: Vec<_> = heard.iter().filter(|frame| frame.ssrc.0 == speaker).cloned().collect();
            assert_continuous(&of_speaker);
        }
    }
    for (browser, last) in browsers.iter_mut().zip(last) {
        assert!(!browser.sender_reports.is_empty());
        let of_native = Ssrc(world.clients[natives[0]].leg.ssrc);
        let numbers = numbers(browser, &mut world, of_native);
        let before = last[&of_native].highest().unwrap();
        assert_eq!((numbers.len(), numbers[0]), (300, before.0 + 1), "it goes on where it stopped");
        assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1));
    }
}

#[test]
fn reports_go_on_where_they_stopped() {
    let (mut world, _, mut browsers) = room();
    world.wait(60_000 / 4);
    let (before, after) = browsers.split_at_mut(1);
    let browser = &mut before[0];
    browser.receive(&mut world);
    browser.blocks.clear();
    browser.check(&mut world, false);
    restart(&mut world, &[browser, &after[0]]);
    world.wait(10_000);
    // Every one of these was opened, so each had a new index.
    browser.receive(&mut world);
    assert!(browser.blocks.len() >= 4, "{}", browser.blocks.len());
}

#[test]
fn nothing_that_another_relay_sent_is_sent_again_on_request() {
    let (mut world, natives, mut browsers) = room();
    let stream = Ssrc(world.clients[natives[0]].leg.ssrc);
    let newest = browsers[0].windows[&stream].highest().unwrap().wire();
    restart(&mut world, &[&browsers[0], &browsers[1]]);
    browsers[0].nack(&mut world, stream, &[newest, newest.wrapping_sub(1)]);
    assert_eq!(world.shard.counters().resent, 0);
    world.talk(natives[0]);
    browsers[0].nack(&mut world, stream, &[newest, newest.wrapping_add(1)]);
    browsers[0].receive(&mut world);
    assert_eq!((world.shard.counters().resent, browsers[0].again), (1, 1));
    for _ in 0..RED_REPORTS {
        browsers[0].report_loss(&mut world, stream, 255);
    }
    world.talk(natives[0]);
    assert_eq!(browsers[0].heard(&mut world).last().unwrap().2.0 as u32, RED);
}

#[test]
fn who_was_away_is_still_away_and_comes_back_without_a_gap() {
    let (mut world, natives, browsers) = room();
    let [mut browser, other] = browsers;
    let stream = Ssrc(world.clients[natives[0]].leg.ssrc);
    let away = |world: &mut World, browser: &mut Browser, hear: bool| {
        world.set(natives[1], |leg| leg.hear = hear);
        browser.leg.hear = hear;
        browser.put(world);
    };
    // Once before, and while the relay changes.
    away(&mut world, &mut browser, false);
    world.talk_for(natives[0], 30);
    away(&mut world, &mut browser, true);
    world.talk_for(natives[0], 5);
    away(&mut world, &mut browser, false);
    world.talk_for(natives[0], 7);
    let mut at_native = world.heard(natives[1]);
    let mut at_browser = numbers(&mut browser, &mut world, stream);
    restart(&mut world, &[&browser, &other]);
    world.talk_for(natives[0], 7);
    away(&mut world, &mut browser, true);
    world.talk_for(natives[0], 5);
    at_native.append(&mut world.heard(natives[1]));
    at_browser.append(&mut numbers(&mut browser, &mut world, stream));
    assert_eq!((at_native.len(), at_browser.len()), (10, 10));
    assert_continuous(&at_native);
    assert!(at_browser.windows(2).all(|pair| pair[1] == pair[0] + 1), "{at_browser:?}");
}

#[test]
fn who_is_deafened_while_no_relay_runs_comes_back_without_a_gap() {
    let (mut world, natives, browsers) = room();
    let [mut browser, other] = browsers;
    let stream = Ssrc(world.clients[natives[0]].leg.ssrc);
    world.talk_for(natives[0], 5);
    let mut at_native = world.heard(natives[1]);
    let mut at_browser = numbers(&mut browser, &mut world, stream);
    for hear in [false, true] {
        world.clients[natives[1]].leg.hear = hear;
        browser.leg.hear = hear;
        restart(&mut world, &[&browser, &other]);
        world.talk_for(natives[0], 7);
        at_native.append(&mut world.heard(natives[1]));
        at_browser.append(&mut numbers(&mut browser, &mut world, stream));
    }
    assert_eq!((at_native.len(), at_browser.len()), (12, 12));
    assert_continuous(&at_native);
    assert!(at_browser.windows(2).all(|pair| pair[1] == pair[0] + 1), "{at_browser:?}");
}

#[test]
fn who_is_on_a_link_of_its_own_is_found_there_again() {
    let (mut world, natives, browsers) = room();
    world.clients[natives[1]].address = SocketAddrV6::new("fe80::7".parse().unwrap(), 5_000, 0, 3).into();
    world.talk(natives[1]);
    restart(&mut world, &[&browsers[0], &browsers[1]]);
    world.talk(natives[0]);
    assert_eq!(world.heard(natives[1]).len(), 1);
}

#[test]
fn who_has_other_keys_or_another_stream_begins_anew() {
    let (mut world, natives, mut browsers) = room();
    // Meanwhile one native client has a new key, one browser a new transport, the other no keys yet, and one leg another stream.
    world.clients[natives[0]].key = Key::new([9; 32]);
    let native = world.native(natives[0], "");
    world.clients[natives[0]].leg.native = Some(native);
    world.clients[natives[1]].leg.ssrc += 1;
    browsers[0].leg.webrtc.as_mut().unwrap().ufrag = "anew".into();
    browsers[1].leg.webrtc.as_mut().unwrap().srtp = None;
    let mut shard = relay(&world, &[&browsers[0], &browsers[1]], world.memory);
    assert_eq!(shard.counters().restored, 0);
    let events: Vec<_> = std::iter::from_fn(|| shard.poll_event()).collect();
    assert!(matches!(events[..], [FromSfu::Started(_)]), "nobody is connected, no key is spent: {events:?}");
}

/// Listeners would take what begins anew for what they have heard already.
#[test]
fn who_comes_back_to_another_relay_as_another_leg_goes_on_with_its_numbers() {
    let (mut world, natives, browsers) = room();
    let both = [&browsers[0], &browsers[1]];
    let [speaker, listener] = natives;
    world.talk(speaker);
    let before = world.heard(listener).last().unwrap().seq;
    // Its leg ended while no relay ran, and once more a relay dies before it is back.
    let leg = world.clients[speaker].leg.clone();
    world.clients[speaker].leg.ssrc = 1;
    for _ in 0..2 {
        world.shard = relay(&world, &both, world.memory);
    }
    // What comes back has no keys yet when the next relay dies, then other ones, and begins to count somewhere else.
    world.clients[speaker].leg = Leg { id: 99, native: None, ..leg };
    world.put(speaker);
    for _ in 0..2 {
        world.shard = relay(&world, &both, world.memory);
    }
    world.clients[speaker].key = Key::new([9; 32]);
    let mode = world.clients[speaker].session.mode();
    world.clients[speaker].session =
        transport::Session::new(mode, &Key::new([9; 32]), transport::NonceCounter::client(0), [9; 16]);
    world.clients[speaker].leg.native = Some(world.native(speaker, ""));
    world.clients[speaker].seq = world.clients[speaker].seq.wrapping_sub(10_000);
    world.put(speaker);
    world.talk(speaker);
    let heard = world.heard(listener);
    assert_eq!((heard.len(), heard[0].seq), (1, before.next()));
}

/// A sink whose process dies with a packet of its choice.
struct Dying<'a> {
    wire: &'a mut Wire,
    left: usize,
}

impl Sink for Dying<'_> {
    fn slot(&mut self) -> &mut [u8] {
        self.wire.slot()
    }

    fn commit(&mut self, to: SocketAddr, len: usize) {
        self.wire.commit(to, len);
        self.left = self.left.checked_sub(1).expect("it dies here");
    }
}

/// Every nonce is looked at by the world's tap, every index by the browsers' windows.
#[test]
fn a_relay_that_dies_between_two_copies_of_a_frame_uses_no_nonce_twice() {
    std::panic::set_hook(Box::new(|_| {}));
    let (mut world, natives, mut browsers) = room();
    let listeners = 3;
    for round in 0..40 {
        let n = natives[round % 2];
        let frame = world.frame(n, VOICE);
        let (from, now) = (world.clients[n].address, world.now);
        let World { shard, wire, .. } = &mut world;
        let mut sink = Dying { wire, left: round % listeners };
        let died = catch_unwind(AssertUnwindSafe(|| {
            shard.handle_datagram(now, from, &mut frame.clone(), &mut sink);
        }));
        assert!(died.is_err());
        world.settle();
        restart(&mut world, &[&browsers[0], &browsers[1]]);
        // What was under way is not taken again; some have heard it, the others lost it.
        world.send(from, &frame);
        assert_eq!(world.dropped(DropReason::Replayed), 1);
        for _ in 0..3 {
            natives.iter().for_each(|n| world.talk(*n));
            browsers.iter_mut().for_each(|browser| browser.say(&mut world, WORDS));
            world.wait(20);
            browsers.iter_mut().for_each(|browser| browser.receive(&mut world));
        }
    }
    let _ = std::panic::take_hook();
    for n in natives {
        let other = world.clients[natives[usize::from(n == natives[0])]].leg.ssrc;
        let heard = world.heard(n);
        let numbers: Vec<u64> = heard.iter().filter(|f| f.ssrc.0 == other).map(|f| f.seq.0).collect();
        // 40 rounds of three, and at most one more in each that was lost to this listener or not.
        assert!(numbers.len() >= 120 && numbers[numbers.len() - 1] - numbers[0] < 160, "{numbers:?}");
        assert!(numbers.is_sorted_by(|a, b| a < b));
    }
}

#[test]
fn memory_of_another_version_is_begun_anew_and_keys_that_may_have_been_used_are_not() {
    let (mut world, natives, mut browsers) = room();
    let head = world.memory[HEAD_AT].load(Relaxed);
    world.memory[HEAD_AT].store(head + 1, Relaxed);
    let both = [&browsers[0], &browsers[1]];
    world.shard = relay(&world, &both, world.memory);
    assert_eq!(world.shard.counters().restored, 0);
    let events: Vec<_> = std::iter::from_fn(|| world.shard.poll_event()).collect();
    for id in [71, 72] {
        assert!(events.contains(&FromSfu::KeySpent(KeySpent { id })), "{events:?}");
    }
    // Not even when they check, or signalling says the same once more.
    for browser in &mut browsers {
        browser.check(&mut world, true);
        browser.put(&mut world);
        assert_eq!(browser.answers, 2);
    }
    natives.iter().for_each(|n| world.talk(*n));
    world.wait(10_000);
    browsers.iter_mut().for_each(|browser| assert!(browser.heard(&mut world).is_empty()));
    // Native ones begin at another random point.
    world.talk(natives[0]);
    assert_eq!(world.shard.counters().dropped(DropReason::Reflected), 0);
    assert!(!world.heard(natives[1]).is_empty());

    // And from here on it is this version's.
    world.shard = relay(&world, &[&browsers[0], &browsers[1]], world.memory);
    assert_eq!(world.shard.counters().restored, 2, "the native ones");
    let events: Vec<_> = std::iter::from_fn(|| world.shard.poll_event()).collect();
    assert!(events.contains(&FromSfu::KeySpent(KeySpent { id: 71 })), "still not: {events:?}");
    // Until its client has joined anew.
    world.tell(ToSfu::RemoveLeg(RemoveLeg { id: 71 }));
    let mut anew = Browser::join(&mut world, 71, 1);
    world.talk(natives[0]);
    assert!(!anew.heard(&mut world).is_empty());
}

#[test]
fn a_leg_that_found_no_place_is_counted_and_a_browser_gets_new_keys() {
    let mut world = World::default();
    let small = net::memory(2);
    let start =
        Start { protocol: 1, shard: 3, seed: vec![5; 32], sender_packets_per_s_max: 0, ..Start::default() };
    world.shard = Shard::with_memory(world.now, &start, small);
    world.tell(ToSfu::Snapshot(Snapshot::default()));
    let natives = [world.join(1), world.join(1)];
    let mut browser = Browser::join(&mut world, 71, 1);
    world.talk(natives[0]);
    assert_eq!(browser.heard(&mut world).len(), 1, "calls do not suffer");
    world.wait(1_000);
    let report = world.events.iter().rev().find_map(|event| match event {
        FromSfu::Report(report) => Some(report),
        _ => None,
    });
    assert_eq!(report.unwrap().unwritten, 1);
    let mut shard = relay(&world, &[&browser], small);
    assert_eq!(shard.counters().restored, 2);
    let events: Vec<_> = std::iter::from_fn(|| shard.poll_event()).collect();
    assert!(events.contains(&FromSfu::KeySpent(KeySpent { id: 71 })), "{events:?}");
    // A place that becomes free is used again.
    world.remove(natives[0]);
    let again = world.join(1);
    world.clients.swap(natives[0], again);
    world.clients.pop();
    let shard = relay(&world, &[&browser], small);
    assert_eq!(shard.counters().restored, 2);
}

#[test]
fn a_browser_that_was_sent_more_streams_than_there_are_places_gets_new_keys() {
    let mut world = World::default();
    let small = net::memory(2);
    let start =
        Start { protocol: 1, shard: 3, seed: vec![5; 32], sender_packets_per_s_max: 0, ..Start::default() };
    world.shard = Shard::with_memory(world.now, &start, small);
    world.tell(ToSfu::Snapshot(Snapshot::default()));
    let mut browser = Browser::join(&mut world, 71, 1);
    let places = 2 * STREAMS_PER_LEG;
    for count in [places, places + 1] {
        while world.clients.len() < count {
            let n = world.join(1);
            world.talk(n);
        }
        assert_eq!(browser.heard(&mut world).len(), if count == places { places } else { 1 });
        let mut shard = relay(&world, &[&browser], small);
        let is_spent = count > places;
        // The browser and the first native client have found a place.
        assert_eq!(shard.counters().restored, if is_spent { 1 } else { 2 });
        let spent = FromSfu::KeySpent(KeySpent { id: 71 });
        assert_eq!(std::iter::from_fn(|| shard.poll_event()).any(|event| event == spent), is_spent);
        world.shard = shard;
    }
}

#[test]
fn what_a_spent_browser_held_is_given_to_others_once() {
    let mut world = World::default();
    let small = net::memory(2);
    world.shard = relay(&world, &[], small);
    let mut browser = Browser::join(&mut world, 71, 1);
    while world.clients.len() <= 2 * STREAMS_PER_LEG {
        let n = world.join(1);
        // Most have no place, and begin anew with each of these relays, which all have one seed.
        world.set(n, |leg| leg.hear = false);
        world.talk(n);
    }
    browser.receive(&mut world);
    // Two browsers one after the other hear more than there are places. Were those of the first free twice, the second would seem to find enough.
    for id in [71, 72] {
        world.shard = relay(&world, &[&browser], small);
        let spent = FromSfu::KeySpent(KeySpent { id });
        assert!(std::iter::from_fn(|| world.shard.poll_event()).any(|event| event == spent), "{id}");
        world.tell(ToSfu::RemoveLeg(RemoveLeg { id }));
        browser = Browser::join(&mut world, id + 1, 1);
        (0..world.clients.len()).for_each(|n| world.talk(n));
        assert_eq!(browser.heard(&mut world).len(), world.clients.len());
    }
}

/// A sink that looks at what the memory says whenever something is sent.
struct Looking(Wire, Memory, Vec<(u64, Work)>);

impl Sink for Looking {
    fn slot(&mut self) -> &mut [u8] {
        self.0.slot()
    }

    fn commit(&mut self, _to: SocketAddr, _len: usize) {
        self.2.extend(busy(self.1));
    }
}

fn busy(memory: Memory) -> Option<(u64, Work)> {
    busy_with(&std::array::from_fn::<_, HEAD_WORDS, _>(|at| memory[at].load(Relaxed)))
}

#[test]
fn the_memory_says_whose_packet_is_under_way() {
    let (mut world, natives, _) = room();
    let mut looking = Looking(Wire::default(), world.memory, Vec::new());
    let mut frame = world.frame(natives[1], VOICE);
    assert_eq!(busy(world.memory), None);
    world.shard.handle_datagram(world.now, world.clients[natives[1]].address, &mut frame, &mut looking);
    assert_eq!(looking.2, [(1, Work::Rtp); 3]);
    assert_eq!(busy(world.memory), None);
    looking.2.clear();
    world.shard.handle_timeout(world.now + Duration::from_secs(7), &mut looking);
    assert!(
        looking.2.contains(&(71, Work::Timer)) && looking.2.contains(&(0, Work::Timer)),
        "{:?}",
        looking.2
    );
    assert_eq!(busy(world.memory), None);
}
