//! What browsers lose and get all the same: packets sent once more, frames found in others.
#![allow(clippy::unwrap_used)]

mod browser;
mod net;

use browser::{Browser, OPUS, RED};
use net::{VOICE, World, assert_continuous};
use proptest::prelude::*;
use rtp_wire::{PayloadType, SeqNo, Ssrc, red, rtcp};
use sfu_core::DropReason;
use sfu_core::limits::{
    MISSING_FOR, NACK_NUMBERS_MAX, RECENT_PACKETS, RED_LOSS, RED_LOSS_OVER, RED_REPORTS, RED_REPORTS_OVER,
    RESEND_INTERVAL, RESENDS_PER_S,
};
use sfu_wire::{FromSfu, ToSfu};

const WORDS: &[u8] = &[0x78, 1, 2, 3, 4, 5, 6];

fn stream_of(world: &World, n: usize) -> Ssrc {
    Ssrc(world.clients[n].leg.ssrc)
}

/// A native client and a browser that has heard the first of its packets. The number of that one is known.
fn pair() -> (World, usize, Browser, u16) {
    let mut world = World::default();
    let native = world.join(1);
    let mut browser = Browser::join(&mut world, 71, 1);
    world.talk(native);
    let heard = browser.heard(&mut world);
    let number = heard[0].1.wire();
    (world, native, browser, number)
}

fn numbers(heard: &[(Ssrc, SeqNo, PayloadType, Vec<u8>)]) -> Vec<u64> {
    heard.iter().map(|(_, seq, ..)| seq.0).collect()
}

#[test]
fn a_lost_packet_is_sent_once_more_and_is_the_very_same() {
    let (mut world, native, mut browser, first) = pair();
    let mut lost = Vec::new();
    for n in 0..10 {
        world.talk(native);
        if n % 3 == 1 {
            lost.append(&mut world.elsewhere);
        }
        browser.receive(&mut world);
        world.wait(20);
    }
    world.elsewhere.clear();
    let stream = stream_of(&world, native);
    let sent = world.shard.counters().sent;
    browser.nack(&mut world, stream, &[first + 2, first + 5, first + 8]);
    assert_eq!(world.elsewhere, lost);
    assert_eq!((world.shard.counters().resent, world.shard.counters().sent - sent), (3, 3));
    browser.nack(&mut world, stream, &[first + 50]);
    world.wait(1_000);
    let reported = world.events().into_iter().rev().find_map(|event| match event {
        FromSfu::Report(report) => Some((report.resent, report.not_resent)),
        _ => None,
    });
    assert_eq!(reported, Some((3, 1)));
    let mut heard = numbers(&browser.heard(&mut world));
    heard.sort_unstable();
    assert!(heard.windows(2).all(|pair| pair[1] == pair[0] + 1), "{heard:?}");
    assert_eq!((heard.len(), browser.again), (10, 0));
}

#[test]
fn two_listeners_are_sent_their_own_packets_of_one_stream() {
    let mut world = World::default();
    let native = world.join(1);
    let mut early = Browser::join(&mut world, 71, 1);
    world.talk_for(native, 5);
    early.receive(&mut world);
    // Another beginning of the numbers for the one that has been away.
    early.leg.hear = false;
    early.put(&mut world);
    world.talk_for(native, 5);
    early.leg.hear = true;
    early.put(&mut world);
    let mut late = Browser::join(&mut world, 72, 1);
    early.receive(&mut world);
    world.say(native, b"what both lose");
    world.elsewhere.clear();
    let stream = stream_of(&world, native);
    for browser in [&mut early, &mut late] {
        world.say(native, b"what both hear");
        let newest = browser.heard(&mut world).last().map(|(_, seq, ..)| *seq).unwrap();
        let behind = if browser.leg.id == 71 { 1 } else { 2 };
        browser.nack(&mut world, stream, &[SeqNo(newest.0 - behind).wire()]);
        let heard = browser.heard(&mut world);
        assert_eq!(heard.len(), 1);
        assert_eq!(heard[0].3, b"what both lose");
    }
}

#[test]
fn what_was_not_sent_to_this_listener_is_not_sent_on_request() {
    let (mut world, native, mut browser, first) = pair();
    let stream = stream_of(&world, native);
    let elsewhere = world.join(2);
    let mut other = Browser::join(&mut world, 72, 2);
    world.talk_for(native, 3);
    world.talk_for(elsewhere, 3);
    other.say(&mut world, WORDS);
    other.receive(&mut world);
    browser.receive(&mut world);
    let in_other_room = stream_of(&world, elsewhere);
    let sent = world.shard.counters().sent;
    let around: Vec<u16> = (0..30).map(|n| first.wrapping_add(4 + n * 1000)).collect();
    let (own, of_other) = (browser.ssrc, Ssrc(other.leg.ssrc));
    for (media, numbers) in [
        (stream, &around[..]),
        (stream, &[first.wrapping_sub(1)]),
        (in_other_room, &[world.clients[elsewhere].seq, 0, 1]),
        (of_other, &[other.seq.wire()]),
        (own, &[browser.seq.wire()]),
        (Ssrc(99), &[1, 2, 3]),
    ] {
        let numbers: Vec<u16> = numbers.to_vec();
        let before = world.shard.counters().not_resent;
        browser.nack(&mut world, media, &numbers);
        assert_eq!(world.shard.counters().not_resent - before, numbers.len() as u64, "{media}");
    }
    // The last that it was sent, once more, until it is deafened or has gone.
    browser.nack(&mut world, stream, &[first + 3]);
    assert_eq!(world.shard.counters().sent, sent + 1);
    world.wait(30);
    browser.leg.hear = false;
    browser.put(&mut world);
    browser.nack(&mut world, stream, &[first + 3]);
    browser.leg.hear = true;
    browser.put(&mut world);
    world.remove(native);
    browser.nack(&mut world, stream, &[first + 3]);
    assert_eq!(world.shard.counters().resent, 1);
    // A native client has nothing of the kind; its reports were never read.
    assert_eq!(world.elsewhere.len(), 1);
}

#[test]
fn requests_are_no_amplifier() {
    let (mut world, native, mut browser, first) = pair();
    let stream = stream_of(&world, native);
    world.talk_for(native, RECENT_PACKETS - 1);
    browser.receive(&mut world);
    let all: Vec<u16> = (0..RECENT_PACKETS as u16).map(|n| first + n).collect();
    let seconds = 5;
    for _ in 0..seconds * 1000 {
        browser.nack(&mut world, stream, &all);
        world.wait(1);
    }
    let resent = world.shard.counters().resent;
    assert!(resent <= u64::from(RESENDS_PER_S) * (seconds + 1) + 1, "{resent}");
    assert!(resent >= u64::from(RESENDS_PER_S) * seconds, "{resent}");

    // One number by itself, as often as it likes.
    world.wait(5_000);
    world.talk(native);
    let before = world.shard.counters().resent;
    for _ in 0..200 {
        browser.nack(&mut world, stream, &[first + RECENT_PACKETS as u16]);
        world.wait(1);
    }
    assert_eq!(u128::from(world.shard.counters().resent - before), 200 / RESEND_INTERVAL.as_millis());
}

#[test]
fn of_a_huge_request_only_so_much_is_looked_at() {
    let (mut world, native, mut browser, _) = pair();
    let stream = stream_of(&world, native);
    let mut plain = [0xFF; 1_400];
    let len = 12 + 340 * 4;
    plain[..4].copy_from_slice(&[0x81, 205, 0, 0]);
    plain[2..4].copy_from_slice(&((len / 4 - 1) as u16).to_be_bytes());
    plain[4..8].copy_from_slice(&browser.ssrc.0.to_be_bytes());
    plain[8..12].copy_from_slice(&stream.0.to_be_bytes());
    browser.send_rtcp(&mut world, &plain[..len]);
    let counters = world.shard.counters();
    assert_eq!(counters.resent + counters.not_resent, NACK_NUMBERS_MAX as u64);
}

#[test]
fn a_browser_is_asked_for_what_it_sent_in_vain_and_it_is_heard_in_its_place() {
    let mut world = World::default();
    let native = world.join(1);
    let mut listener = Browser::join(&mut world, 72, 1);
    let mut browser = Browser::join(&mut world, 71, 1);
    let mut lost = Vec::new();
    for n in 0..20 {
        let frame = browser.frame(OPUS, &[0x78, n], 20);
        if n == 7 || n == 8 {
            lost.push((browser.seq.wire(), frame));
        } else {
            world.send(browser.address, &frame);
        }
        browser.receive(&mut world);
        if n == 11 {
            assert_eq!(browser.asked, [lost[0].0, lost[1].0]);
            world.send(browser.address, &lost[0].1);
        }
        world.wait(20);
    }
    // The one that did not come is asked for again, until it would come too late.
    let of_second = browser.asked.iter().filter(|number| **number == lost[1].0).count();
    assert_eq!((browser.asked.len(), of_second), (4, 3));
    assert_eq!(world.shard.counters().asked, 4);
    let expect: Vec<u8> = (0..20).filter(|n| *n != 8).collect();
    let by_number = |heard: Vec<(u64, u8)>| {
        let mut heard = heard;
        assert_eq!(heard.iter().position(|(_, n)| *n == 7), Some(10), "when it came");
        heard.sort_unstable();
        assert_eq!(heard.iter().map(|(_, n)| *n).collect::<Vec<_>>(), expect);
        assert_eq!(heard[18].0 - heard[0].0, 19);
    };
    by_number(world.heard(native).iter().map(|frame| (frame.seq.0, frame.payload[1])).collect());
    by_number(listener.heard(&mut world).iter().map(|(_, seq, _, payload)| (seq.0, payload[1])).collect());
    // Twice is once.
    world.send(browser.address, &lost[0].1);
    assert_eq!(world.dropped(DropReason::Replayed), 1);
}

#[test]
fn whoever_may_not_speak_is_not_asked() {
    let mut world = World::default();
    let mut browser = Browser::join(&mut world, 71, 1);
    browser.say(&mut world, WORDS);
    browser.leg.speak = false;
    browser.put(&mut world);
    for _ in 0..10 {
        browser.frame(OPUS, WORDS, 20);
        browser.say(&mut world, WORDS);
        world.wait(20);
    }
    browser.receive(&mut world);
    assert_eq!(browser.asked, []);
}

/// The payload of a packet with redundancy, `offsets` older than it.
fn redundant(blocks: &[(u16, &[u8])], own: &[u8]) -> Vec<u8> {
    let mut payload = Vec::new();
    for (offset, data) in blocks {
        let word = 1 << 31 | OPUS << 24 | u32::from(*offset) << 10 | data.len() as u32;
        payload.extend(word.to_be_bytes());
    }
    payload.push(OPUS as u8);
    blocks.iter().for_each(|(_, data)| payload.extend(*data));
    payload.extend(own);
    payload
}

#[test]
fn a_lost_frame_is_found_in_the_packet_behind_it() {
    let mut world = World::default();
    let native = world.join(1);
    let mut browser = Browser::join(&mut world, 71, 1);
    let mut lost = Vec::new();
    for n in 0..20_u8 {
        let (two, one, own) = ([0x78, n.wrapping_sub(2)], [0x78, n.wrapping_sub(1)], [0x78, n]);
        let payload = redundant(&[(1920, &two), (960, &one)], &own);
        let frame = browser.frame(RED, &payload, 20);
        // One is lost, two in a row are, and three, of which one is too old to be found.
        if [3, 6, 7, 11, 12, 13].contains(&n) {
            lost.push(frame);
        } else {
            world.send(browser.address, &frame);
        }
        world.wait(20);
    }
    let heard = world.heard(native);
    let expect: Vec<u8> = (0..20).filter(|n| *n != 11).collect();
    assert_eq!(heard.iter().map(|frame| frame.payload[1]).collect::<Vec<_>>(), expect, "in order");
    assert_continuous(&heard[..11]);
    assert_continuous(&heard[11..]);
    assert_eq!(heard[11].seq.0 - heard[10].seq.0, 2);
    assert!(
        heard
            .windows(2)
            .all(|two| two[1].time.since(two[0].time) == 960 * (two[1].seq.0 - two[0].seq.0) as i32)
    );
    let counters = world.shard.counters();
    assert_eq!((counters.recovered, counters.forwarded_in), (5, 14));
    browser.receive(&mut world);
    assert_eq!(browser.asked.iter().filter(|number| **number != browser.asked[0]).count(), 0);
    // What was found is not taken a second time; what was not may still come.
    for frame in &lost {
        world.send(browser.address, frame);
    }
    assert_eq!(world.dropped(DropReason::Replayed), 5);
    assert_eq!(world.heard(native).len(), 1);
}

#[test]
fn blocks_that_contradict_what_arrived_are_not_believed() {
    let mut world = World::default();
    let native = world.join(1);
    let mut browser = Browser::join(&mut world, 71, 1);
    let mut sent = 1;
    browser.say(&mut world, WORDS);
    let mut check = |world: &mut World, blocks: &[(u16, &[u8])], expect: u64| {
        let before = world.shard.counters().recovered;
        browser.frame(OPUS, WORDS, 20);
        let payload = redundant(blocks, WORDS);
        let frame = browser.frame(RED, &payload, 20);
        world.send(browser.address, &frame);
        world.wait(500);
        sent += 1;
        assert_eq!(world.shard.counters().recovered - before, expect, "{blocks:?}");
    };
    check(&mut world, &[(960, WORDS)], 1);
    check(&mut world, &[(0, WORDS)], 0);
    // As old as the packet before the lost one, or older.
    check(&mut world, &[(1920, WORDS)], 0);
    check(&mut world, &[(16_000, WORDS)], 0);
    check(&mut world, &[(960, &[])], 0);
    // Not older than the one in front of it.
    check(&mut world, &[(960, WORDS), (960, WORDS)], 0);
    // More than anybody sends: the last ones count.
    let many: Vec<(u16, &[u8])> = (1..=12).rev().map(|n| (n * 960, WORDS)).collect();
    // It finds the one that was not found the last time, too.
    check(&mut world, &many, 2);
    assert_eq!(world.heard(native).len(), sent + 3);
}

#[test]
fn frames_that_are_found_count_in_their_senders_rate() {
    let mut world = World::with_rate(50);
    world.join(1);
    let mut browser = Browser::join(&mut world, 71, 1);
    for _ in 0..100 {
        for _ in 0..3 {
            browser.frame(OPUS, WORDS, 20);
        }
        let payload = redundant(&[(2880, WORDS), (1920, WORDS), (960, WORDS)], WORDS);
        let frame = browser.frame(RED, &payload, 20);
        world.send(browser.address, &frame);
    }
    let counters = world.shard.counters();
    assert!(counters.forwarded_in + counters.recovered <= 50, "{counters:?}");
}

#[test]
fn who_loses_much_is_sent_every_frame_twice_until_it_does_not() {
    let (mut world, native, mut browser, _) = pair();
    let second_native = world.join(1);
    let stream = stream_of(&world, native);
    let says = |world: &mut World, browser: &mut Browser, words: &[u8]| {
        world.say(native, words);
        world.wait(20);
        let (_, _, payload_type, payload) = browser.heard(world).pop().unwrap();
        let of_native = world.heard(second_native);
        assert_eq!(of_native[0].payload, words, "never to a native client");
        let blocks: Vec<_> = red::blocks(&payload).map(|block| block.data.to_vec()).collect();
        if payload_type == PayloadType(RED as u8) { blocks } else { vec![payload] }
    };
    assert_eq!(says(&mut world, &mut browser, b"one"), [b"one"]);
    for _ in 0..RED_REPORTS {
        browser.report_loss(&mut world, stream, RED_LOSS);
    }
    assert_eq!(says(&mut world, &mut browser, b"two"), [b"one", b"two"]);
    // Without the one before there is nothing to add.
    let lost = world.frame(native, b"lost");
    assert_eq!(says(&mut world, &mut browser, b"four"), [b"four"]);
    world.send(world.clients[native].address, &lost);
    browser.receive(&mut world);
    world.heard(second_native);
    assert_eq!(says(&mut world, &mut browser, b"five"), [&b"four"[..], b"five"]);
    for _ in 0..RED_REPORTS_OVER {
        browser.report_loss(&mut world, stream, RED_LOSS_OVER - 1);
    }
    assert_eq!(says(&mut world, &mut browser, b"six"), [b"six"]);
}

#[test]
fn a_browser_that_knows_no_redundancy_is_sent_none_and_another_stream_is_not_concerned() {
    let mut world = World::default();
    let (a, b) = (world.join(1), world.join(1));
    let mut knows = Browser::join(&mut world, 71, 1);
    let mut plain = Browser::arrive(&mut world, 72, 1);
    plain.leg.webrtc.as_mut().unwrap().red_payload_type = 0;
    plain.put(&mut world);
    plain.check(&mut world, true);
    plain.take_keys(&mut world);
    let stream = stream_of(&world, a);
    for n in 0..4 {
        world.talk(a);
        world.talk(b);
        for browser in [&mut knows, &mut plain] {
            for (ssrc, _, payload_type, _) in browser.heard(&mut world) {
                let red = browser.leg.id == 71 && ssrc == stream && n > 0;
                assert_eq!(payload_type.0 == RED as u8, red, "{n} {ssrc} of {}", browser.leg.id);
            }
            for _ in 0..RED_REPORTS {
                browser.report_loss(&mut world, stream, 255);
            }
        }
    }
}

#[test]
fn what_was_sent_with_redundancy_is_sent_again_with_it() {
    let (mut world, native, mut browser, first) = pair();
    let stream = stream_of(&world, native);
    for _ in 0..RED_REPORTS {
        browser.report_loss(&mut world, stream, 100);
    }
    world.talk(native);
    let lost = std::mem::take(&mut world.elsewhere);
    for _ in 0..RED_REPORTS_OVER {
        browser.report_loss(&mut world, stream, 0);
    }
    world.talk(native);
    browser.heard(&mut world);
    browser.nack(&mut world, stream, &[first + 1]);
    assert_eq!(world.elsewhere, lost);
    let heard = browser.heard(&mut world);
    assert_eq!(heard[0].2, PayloadType(RED as u8));
    // Once the frame before it is gone, so is the packet.
    world.talk_for(native, RECENT_PACKETS - 2);
    browser.receive(&mut world);
    assert_eq!(RECENT_PACKETS, 64, "as many as there are bits for what was sent");
    browser.nack(&mut world, stream, &[first + 1]);
    assert_eq!(world.shard.counters().resent, 1);
}

#[test]
fn how_long_answers_take_is_taken_from_reports() {
    let (mut world, native, mut browser, _) = pair();
    // The relay reports; 400 ms later it hears of it.
    while browser.sender_reports.is_empty() {
        world.talk_for(native, 1);
        browser.receive(&mut world);
    }
    let (ssrc, info) = browser.sender_reports[0];
    world.wait(400);
    let block = rtcp::ReportBlock {
        ssrc,
        last_sr: (info.ntp >> 16) as u32,
        delay_since_sr: 65_536 / 8,
        ..Default::default()
    };
    let mut plain = [0; 100];
    let len = rtcp::write_receiver_report(browser.ssrc, &[block], &mut plain).unwrap();
    browser.send_rtcp(&mut world, &plain[..len]);
    // Of which its delay is an eighth of a second, and so the path takes longer than anything is worth waiting for.
    browser.say(&mut world, WORDS);
    browser.frame(OPUS, WORDS, 20);
    browser.say(&mut world, WORDS);
    browser.receive(&mut world);
    assert!(MISSING_FOR.as_millis() < 275);
    assert_eq!(browser.asked, []);
}

#[derive(Debug, Clone)]
enum Act {
    Talk(usize),
    Lose(usize),
    Skip(usize, u16),
    Nack(usize, u16),
    Hear(bool),
    Room(u64),
    Move(usize, u64),
    Return(usize),
    Loss(usize, u8),
    Wait(u64),
}

fn act() -> impl Strategy<Value = Act> {
    let who = 0..2_usize;
    prop_oneof![
        10 => who.clone().prop_map(Act::Talk),
        3 => who.clone().prop_map(Act::Lose),
        1 => (who.clone(), 1u16..600).prop_map(|(n, by)| Act::Skip(n, by)),
        8 => (who.clone(), 0u16..70).prop_map(|(n, back)| Act::Nack(n, back)),
        1 => any::<bool>().prop_map(Act::Hear),
        1 => (1u64..3).prop_map(Act::Room),
        1 => (who.clone(), 1u64..3).prop_map(|(n, room)| Act::Move(n, room)),
        1 => who.clone().prop_map(Act::Return),
        3 => (who, prop_oneof![Just(0u8), Just(50u8)]).prop_map(|(n, loss)| Act::Loss(n, loss)),
        2 => (1u64..200).prop_map(Act::Wait),
    ]
}

proptest! {
    /// Whatever happens to a room: under one number a listener never sees two packets. The browser's end fails when it does, because it
    /// takes each number once and what comes again must be the same bytes.
    #[test]
    fn a_number_is_one_packet(acts in proptest::collection::vec(act(), 1..200)) {
        let mut world = World::with_rate(10_000);
        let natives = [world.join(1), world.join(1)];
        // Away from a rollover: who loses every packet before one cannot know of it.
        natives.iter().for_each(|n| world.clients[*n].seq = 10_000);
        let mut browser = Browser::join(&mut world, 71, 1);
        // Another browser, so that streams are kept even while this one does not listen.
        let _other = Browser::join(&mut world, 72, 1);
        let mut lost = std::collections::HashMap::new();
        for (step, act) in acts.into_iter().enumerate() {
            match act {
                Act::Talk(n) => world.say(natives[n], &[VOICE, &step.to_be_bytes()].concat()),
                Act::Lose(n) => {
                    world.say(natives[n], &[VOICE, &step.to_be_bytes()].concat());
                    for (to, datagram) in std::mem::take(&mut world.elsewhere) {
                        if to == browser.address {
                            let key: [u8; 10] = [&datagram[2..4], &datagram[4..12]].concat().try_into().unwrap();
                            lost.insert(key, datagram);
                        }
                    }
                }
                Act::Skip(n, by) => world.clients[natives[n]].seq = world.clients[natives[n]].seq.wrapping_add(by),
                Act::Nack(n, back) => {
                    let stream = stream_of(&world, natives[n]);
                    let newest = browser.windows.get(&stream).and_then(|window| window.highest());
                    let wire = newest.map_or(0, SeqNo::wire).wrapping_add(2).wrapping_sub(back);
                    browser.nack(&mut world, stream, &[wire]);
                }
                Act::Hear(hear) => {
                    browser.leg.hear = hear;
                    browser.put(&mut world);
                }
                Act::Room(room) => {
                    browser.leg.room = room;
                    browser.put(&mut world);
                }
                Act::Move(n, room) => world.set(natives[n], |leg| leg.room = room),
                Act::Return(n) => {
                    // A new leg under the same SSRC; its numbers begin anywhere, its key is the same.
                    let client = &mut world.clients[natives[n]];
                    client.leg.id += 100;
                    client.seq = client.seq.wrapping_sub(30);
                    let address = client.address.to_string();
                    world.put(natives[n]);
                    world.discover(natives[n]);
                    world.select(natives[n], &address);
                }
                Act::Loss(n, loss) => {
                    let stream = stream_of(&world, natives[n]);
                    browser.report_loss(&mut world, stream, loss);
                }
                Act::Wait(ms) => world.wait(ms),
            }
            for (to, datagram) in &world.elsewhere {
                if *to == browser.address
                    && rtp_wire::classify(datagram) == rtp_wire::Kind::Rtp
                    && let Some(before) = lost.get(&[&datagram[2..4], &datagram[4..12]].concat()[..])
                {
                    prop_assert_eq!(before, datagram, "a lost packet comes as it was");
                }
            }
            browser.receive(&mut world);
        }
        world.tell(ToSfu::Snapshot(sfu_wire::Snapshot::default()));
    }
}
