//! A relay's process ends and another one goes on, with what it wrote down of its legs: no client notices more than lost packets.
#![allow(clippy::unwrap_used)]

mod browser;
mod net;

use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use browser::{Browser, OPUS, RED};
use net::{VOICE, Wire, World, assert_continuous};
use rtp_wire::rtcp;
use rtp_wire::{SeqNo, Ssrc};
use sfu_core::limits::RED_REPORTS;
use sfu_core::{DropReason, LegState, NotRestored, Shard};
use sfu_wire::{Deframer, Framed, FromSfu, LegConnected, Snapshot, Start, ToSfu};
use transport::{Key, Mode};

const WORDS: &[u8] = &[0x78, 1, 2, 3, 4, 5, 6];

/// What signalling says to any relay of this world, in its own encoding.
fn control(world: &World, browsers: &[&Browser]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let start = Start { protocol: 1, shard: 3, seed: vec![5; 32], sender_packets_per_s_max: 0 };
    let natives = world.clients.iter().map(|client| client.leg.clone());
    let legs = natives.chain(browsers.iter().map(|browser| browser.leg.clone())).collect();
    ToSfu::Start(start).append_to(&mut bytes);
    ToSfu::Snapshot(Snapshot { legs }).append_to(&mut bytes);
    bytes
}

fn states(world: &World) -> Vec<Vec<u8>> {
    let ids = (0..200).filter_map(|id| world.shard.export_leg(id));
    ids.map(|state| state.to_bytes()).collect()
}

/// Another relay, from what signalling says and what was written down.
fn relay(now: Instant, control: &[u8], states: &[Vec<u8>]) -> (Shard, Vec<NotRestored>) {
    let mut deframer = Deframer::default();
    deframer.push(control);
    let Some(ToSfu::Start(start)) = deframer.next_message().unwrap() else { panic!("it begins so") };
    let mut shard = Shard::new(now, &start);
    while let Some(message) = deframer.next_message::<ToSfu>().unwrap() {
        shard.handle_message(now, message, &mut Wire::default()).unwrap();
    }
    let states: Vec<LegState> = states.iter().map(|bytes| LegState::from_bytes(bytes).unwrap()).collect();
    let refused = shard.restore_legs(now, &states);
    (shard, refused)
}

/// The relay ends and another takes its place, some time later.
fn restart(world: &mut World, browsers: &[&Browser]) {
    let (control, states) = (control(world, browsers), states(world));
    world.now += Duration::from_millis(700);
    let (shard, refused) = relay(world.now, &control, &states);
    assert_eq!(refused, []);
    world.shard = shard;
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
fn a_state_from_a_while_before_is_moved_on_beyond_what_may_have_been_sent() {
    let (mut world, natives, mut browsers) = room();
    let stream = Ssrc(world.clients[natives[0]].leg.ssrc);
    let states = states(&world);
    let control = control(&world, &[&browsers[0], &browsers[1]]);
    // Nobody wrote down what came then.
    for _ in 0..20 {
        natives.iter().for_each(|n| world.talk(*n));
        world.wait(200);
    }
    let before = numbers(&mut browsers[0], &mut world, stream);
    let sent = world.shard.counters().sent;
    let moved: Vec<Vec<u8>> = states
        .iter()
        .map(|bytes| {
            let mut state = LegState::from_bytes(bytes).unwrap();
            state.move_on(sent as u16);
            state.to_bytes()
        })
        .collect();
    let (shard, refused) = relay(world.now, &control, &moved);
    assert_eq!(refused, []);
    world.shard = shard;
    natives.iter().for_each(|n| drop(world.heard(*n)));
    for _ in 0..100 {
        natives.iter().for_each(|n| world.talk(*n));
        world.wait(20);
    }
    let after = numbers(&mut browsers[0], &mut world, stream);
    assert_eq!((after.len(), world.heard(natives[1]).len()), (100, 100));
    assert!(after[0] > *before.last().unwrap());
    assert!(after.windows(2).all(|pair| pair[1] == pair[0] + 1));
}

#[test]
fn a_state_that_is_not_this_legs_is_refused_and_the_leg_begins_anew() {
    let (mut world, natives, mut browsers) = room();
    let states = states(&world);
    // Meanwhile one native client has a new key, one browser a new transport, the other no keys yet, and one leg another stream.
    world.clients[natives[0]].key = Key::new([9; 32]);
    let native = world.native(natives[0], "");
    world.clients[natives[0]].leg.native = Some(native);
    world.clients[natives[1]].leg.ssrc += 1;
    browsers[0].leg.webrtc.as_mut().unwrap().ufrag = "anew".into();
    browsers[1].leg.webrtc.as_mut().unwrap().srtp = None;
    let control = control(&world, &[&browsers[0], &browsers[1]]);
    let (mut shard, mut refused) = relay(world.now, &control, &states);
    refused.sort_by_key(|reason| match reason {
        NotRestored::Unknown(id) | NotRestored::OtherKeys(id) | NotRestored::InUse(id) => *id,
    });
    let expect = [
        NotRestored::OtherKeys(0),
        NotRestored::Unknown(1),
        NotRestored::OtherKeys(71),
        NotRestored::OtherKeys(72),
    ];
    assert_eq!(refused, expect);
    assert!((0..100).all(|id| shard.export_leg(id).is_none_or(|state| state.id < 72)));
    assert!(
        !std::iter::from_fn(|| shard.poll_event()).any(|event| matches!(event, FromSfu::LegConnected(_)))
    );
}

#[test]
fn a_leg_that_has_been_sent_to_is_not_wound_back() {
    let (mut world, ..) = room();
    let states: Vec<LegState> = (0..100).filter_map(|id| world.shard.export_leg(id)).collect();
    let refused = world.shard.restore_legs(world.now, &states);
    assert_eq!(refused, [0, 1, 71, 72].map(NotRestored::InUse));
}

/// The child of the next test: a process that knows nothing but what it reads, and answers with what it would send.
#[test]
fn a_relay_in_a_process_of_its_own() {
    if std::env::var_os("RELAY_THAT_GOES_ON").is_none() {
        return;
    }
    let mut input = Vec::new();
    std::io::stdin().read_to_end(&mut input).unwrap();
    let mut parts = Parts(&input);
    let control = parts.next().unwrap().to_vec();
    let count = parts.next().unwrap()[0];
    let states: Vec<_> = (0..count).map(|_| parts.next().unwrap().to_vec()).collect();
    let mut now = Instant::now();
    let (mut shard, refused) = relay(now, &control, &states);
    assert_eq!(refused, []);
    let mut wire = Wire::default();
    while let (Some(from), Some(datagram)) = (parts.next(), parts.next()) {
        let from: SocketAddr = std::str::from_utf8(from).unwrap().parse().unwrap();
        shard.handle_datagram(now, from, &mut datagram.to_vec(), &mut wire);
        now += Duration::from_millis(20);
        shard.handle_timeout(now, &mut wire);
    }
    let mut output = Vec::new();
    for (to, datagram) in &wire.sent {
        put(&mut output, to.to_string().as_bytes());
        put(&mut output, datagram);
    }
    put(&mut output, &shard.counters().dropped(DropReason::Replayed).to_le_bytes());
    std::io::stdout().write_all(&output).unwrap();
}

/// Length and bytes, one after the other; the harness' own words around them are skipped by a mark.
struct Parts<'a>(&'a [u8]);

const MARK: &[u8; 4] = b"\0\x01\xFF\0";

fn put(out: &mut Vec<u8>, part: &[u8]) {
    out.extend(MARK);
    out.extend((part.len() as u32).to_le_bytes());
    out.extend(part);
}

impl<'a> Iterator for Parts<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let at = self.0.windows(4).position(|window| window == MARK)?;
        let (len, rest) = self.0[at + 4..].split_first_chunk::<4>()?;
        let (part, rest) = rest.split_at_checked(u32::from_le_bytes(*len) as usize)?;
        self.0 = rest;
        Some(part)
    }
}

#[test]
fn another_process_goes_on() {
    let (mut world, natives, mut browsers) = room();
    let old = browsers[1].frame(OPUS, WORDS, 20);
    world.send(browsers[1].address, &old);
    let old_native = world.frame(natives[1], VOICE);
    world.send(world.clients[natives[1]].address, &old_native);
    browsers.iter_mut().for_each(|browser| drop(browser.heard(&mut world)));
    natives.iter().for_each(|n| drop(world.heard(*n)));

    let mut input = Vec::new();
    put(&mut input, &control(&world, &[&browsers[0], &browsers[1]]));
    let states = states(&world);
    put(&mut input, &[states.len() as u8]);
    states.iter().for_each(|state| put(&mut input, state));
    let mut datagrams = vec![(browsers[1].address, old), (world.clients[natives[1]].address, old_native)];
    for _ in 0..150 {
        for n in natives {
            let frame = world.frame(n, VOICE);
            datagrams.push((world.clients[n].address, frame));
        }
        for browser in &mut browsers {
            datagrams.push((browser.address, browser.frame(OPUS, WORDS, 20)));
        }
    }
    for (from, datagram) in &datagrams {
        put(&mut input, from.to_string().as_bytes());
        put(&mut input, datagram);
    }
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_relay_in_a_process_of_its_own", "--nocapture"])
        .env("RELAY_THAT_GOES_ON", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let writer = std::thread::spawn(move || stdin.write_all(&input).unwrap());
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    assert!(output.status.success());

    let mut parts: Vec<&[u8]> = Parts(&output.stdout).collect();
    assert_eq!(parts.pop().unwrap(), 2_u64.to_le_bytes(), "what was sent before is not taken again");
    // Nothing on the wire is what was there before: each is new to who gets it, or it would not open.
    let mut seen = HashSet::new();
    for part in parts.chunks_exact(2) {
        let to: SocketAddr = std::str::from_utf8(part[0]).unwrap().parse().unwrap();
        assert!(seen.insert((to, part[1])));
        world.wire.sent.push((to, part[1].to_vec()));
    }
    world.settle();
    for n in natives {
        assert_eq!(world.heard(n).len(), 3 * 150);
        assert!(world.clients[n].rtcp > 0);
    }
    for browser in &mut browsers {
        browser.sender_reports.clear();
        assert_eq!(browser.heard(&mut world).len(), 3 * 150);
        assert!(!browser.sender_reports.is_empty());
    }
}
