//! Browsers and strangers that mean harm, while others talk: nobody loses anything by it, memory stays where it was, and every datagram is
//! accounted for.
#![allow(unsafe_code, clippy::unwrap_used)]

mod browser;
mod net;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::net::SocketAddr;
use std::time::Duration;

use browser::{Browser, OPUS, RED};
use net::{World, assert_continuous};
use rtp_wire::rtcp::{self, ReportBlock, SenderInfo};
use rtp_wire::stun::StunBuilder;
use rtp_wire::{RtpTime, SeqNo, Ssrc};
use sfu_core::limits::{BROWSER_STREAMS_MAX, CHECKED_MAX, DTLS_BURST_S, DTLS_PER_S, DTLS_WAITING_MAX};
use sfu_core::{Counters, DropReason, Sink};
use sfu_wire::FromSfu;

struct Counting;

thread_local! {
    /// Bytes that are allocated now.
    static HELD: Cell<i64> = const { Cell::new(0) };
}

// SAFETY: everything is passed on to the system's allocator; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        HELD.with(|held| held.set(held.get() + layout.size() as i64));
        // SAFETY: the caller keeps the promises of this very function.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        HELD.with(|held| held.set(held.get() - layout.size() as i64));
        // SAFETY: as above.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// A sink that keeps nothing and counts bytes.
struct Void {
    slot: Vec<u8>,
    bytes: usize,
    last_to: Option<SocketAddr>,
}

impl Sink for Void {
    fn slot(&mut self) -> &mut [u8] {
        &mut self.slot
    }

    fn commit(&mut self, to: SocketAddr, len: usize) {
        self.bytes += len;
        self.last_to = Some(to);
    }
}

/// A room with a native client and two browsers. The native one and the first browser talk while the second browser, or somebody who is no
/// one, does harm.
struct Scene {
    world: World,
    native: usize,
    browser: Browser,
    hostile: Browser,
    void: Void,
    /// Frames that the two who talk have said so far.
    said: usize,
    before: Counters,
    /// Bytes that the shard holds more since the attack began.
    grown: i64,
}

const STRANGER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 66)), 6);

impl Scene {
    fn new() -> Self {
        let mut world = World::default();
        let native = world.join(1);
        let browser = Browser::join(&mut world, 71, 1);
        let hostile = Browser::join(&mut world, 72, 1);
        let void = Void { slot: vec![0; 2_000], bytes: 0, last_to: None };
        let before = world.shard.counters().clone();
        let mut scene = Self { world, native, browser, hostile, void, said: 0, before, grown: 0 };
        // Whatever is allocated with a first packet is so by now.
        scene.talk();
        scene.hostile.say(&mut scene.world, b"hello");
        scene.listen();
        scene.before = scene.world.shard.counters().clone();
        scene.said = 0;
        scene
    }

    /// A datagram of the attack. What is sent because of it goes nowhere.
    fn attack(&mut self, from: SocketAddr, datagram: &[u8]) {
        let mut datagram = datagram.to_vec();
        let before = HELD.with(Cell::get);
        self.world.shard.handle_datagram(self.world.now, from, &mut datagram, &mut self.void);
        self.grown += HELD.with(Cell::get) - before;
    }

    fn talk(&mut self) {
        self.world.talk(self.native);
        self.browser.say(&mut self.world, b"browser");
        self.said += 1;
    }

    /// What the native client has heard, and the numbers of its stream that the browser has.
    fn listen(&mut self) -> (Vec<net::Heard>, Vec<u64>) {
        self.hostile.heard(&mut self.world);
        let of_native = Ssrc(self.world.clients[self.native].leg.ssrc);
        let at_browser = self.browser.heard(&mut self.world).into_iter();
        let numbers = at_browser.filter(|(ssrc, ..)| *ssrc == of_native).map(|(_, seq, ..)| seq.0);
        (self.world.heard(self.native), numbers.collect())
    }

    /// `rounds` times the attack, 20 ms apart, while both talk: each hears the other whole, and memory does not grow by more than `bytes`.
    #[track_caller]
    fn undisturbed(&mut self, rounds: usize, bytes: i64, mut attack: impl FnMut(&mut Self, usize)) {
        let hostile_name = Ssrc(self.hostile.leg.ssrc);
        self.listen();
        self.said = 0;
        self.grown = 0;
        for round in 0..rounds {
            attack(self, round);
            self.talk();
            self.world.now += Duration::from_millis(20);
            self.world.shard.handle_timeout(self.world.now, &mut self.world.wire);
        }
        assert!(self.grown <= bytes, "{} bytes more than before", self.grown);
        let (mut at_native, numbers) = self.listen();
        at_native.retain(|frame| frame.ssrc != hostile_name);
        assert_eq!(at_native.len(), self.said);
        assert_continuous(&at_native);
        assert!(at_native.iter().all(|frame| frame.payload == b"browser"));
        assert_eq!(numbers.len(), self.said);
        assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1), "{numbers:?}");
        assert!(self.world.shard.counters().conserved());
    }

    /// How many were dropped for a reason since the scene began.
    fn dropped(&self, reason: DropReason) -> u64 {
        self.world.shard.counters().dropped(reason) - self.before.dropped(reason)
    }

    fn received(&self) -> u64 {
        self.world.shard.counters().received - self.before.received - 2 * self.said as u64
    }
}

fn hello(len: usize) -> Vec<u8> {
    let mut record = vec![22, 0xFE, 0xFD];
    record.resize(len, 9);
    record
}

#[test]
fn checks_of_strangers_are_not_answered_however_many_come() {
    let mut scene = Scene::new();
    let wrong = scene.browser.check_with("not the password", true);
    let mut unknown = [0; 200];
    let mut request = StunBuilder::request([1; 12], &mut unknown).unwrap();
    request.username("nobody:theirs71").unwrap();
    request.integrity(|_, _| [7; 20]).unwrap();
    request.fingerprint().unwrap();
    let len = request.finish();
    let unknown = unknown[..len].to_vec();
    scene.undisturbed(50, 0, |scene, round| {
        for n in 0..100_u16 {
            let from = SocketAddr::from(([192, 0, 2, round as u8], 1_000 + n));
            let mut datagram = if n % 2 == 0 { wrong.clone() } else { unknown.clone() };
            // Some are broken in addition.
            if n % 10 == 0 {
                datagram.truncate(20 + usize::from(n) % wrong.len().saturating_sub(20));
            }
            scene.attack(from, &datagram);
        }
        // In the place of those who are known, too.
        let (native, browser) = (scene.world.clients[scene.native].address, scene.browser.address);
        scene.attack(native, &wrong);
        scene.attack(browser, &wrong);
    });
    assert_eq!(scene.void.bytes, 0);
    let counted = [DropReason::Unauthenticated, DropReason::UnknownSource, DropReason::Malformed]
        .map(|reason| scene.dropped(reason));
    assert!(counted.iter().all(|count| *count > 0), "{counted:?}");
    let unsupported = scene.dropped(DropReason::Unsupported);
    assert_eq!(counted.iter().sum::<u64>() + unsupported, scene.received());
    assert_eq!(scene.received(), 50 * 102);
}

#[test]
fn right_checks_are_answered_where_they_come_from_and_with_no_more_than_they_bring() {
    let mut scene = Scene::new();
    let pwd = scene.hostile.leg.webrtc.as_ref().unwrap().pwd.clone();
    let check = scene.hostile.check_with(&pwd, false);
    // Where they came from is remembered of a few.
    scene.undisturbed(20, CHECKED_MAX as i64 * 200, |scene, _| {
        for n in 0..200_u16 {
            let from = SocketAddr::from(([192, 0, 2, 7], 1_000 + n));
            scene.void.bytes = 0;
            scene.attack(from, &check);
            assert!(scene.void.bytes <= check.len());
            assert_eq!(scene.void.last_to, Some(from));
        }
    });
    // A password moves its own leg only, and not into somebody's place.
    let nominating = scene.hostile.check_with(&pwd, true);
    let (native, browser) = (scene.world.clients[scene.native].address, scene.browser.address);
    scene.undisturbed(100, 0, |scene, _| {
        scene.attack(native, &nominating);
        scene.attack(browser, &nominating);
    });
}

#[test]
fn handshakes_of_strangers_are_dropped_and_those_of_browsers_bounded() {
    let mut scene = Scene::new();
    scene.undisturbed(50, 0, |scene, round| {
        for n in 0..100 {
            scene.attack(STRANGER, &hello(13 + (round * 100 + n) % 1_400));
        }
        scene.attack(scene.world.clients[scene.native].address, &hello(100));
    });
    assert_eq!(scene.dropped(DropReason::UnknownSource), 50 * 100);
    assert_eq!(scene.dropped(DropReason::Unsupported), 50);

    // With a check answered, a leg has its budget and no more; longer ones are none.
    let handshakes = (DTLS_PER_S * DTLS_BURST_S) as i64 + DTLS_PER_S as i64;
    scene.undisturbed(50, handshakes * 200, |scene, _| {
        for _ in 0..100 {
            scene.attack(scene.hostile.address, &hello(100));
        }
        scene.attack(scene.hostile.address, &hello(1_501));
    });
    assert_eq!(scene.dropped(DropReason::TooLong), 50);
    let carried = scene.world.events().iter().filter(|event| matches!(event, FromSfu::Dtls(_))).count();
    assert!(carried as i64 <= handshakes, "{carried}");
    assert_eq!(scene.dropped(DropReason::TooFast), 50 * 100 - carried as u64);
    assert!(scene.world.shard.counters().conserved());
}

#[test]
fn handshakes_wait_in_a_bounded_queue_while_signalling_is_behind() {
    let mut world = World::default();
    let many: Vec<Browser> = (0..20).map(|n| Browser::join(&mut world, 100 + n, n)).collect();
    let mut void = Void { slot: vec![0; 2_000], bytes: 0, last_to: None };
    for browser in &many {
        for _ in 0..40 {
            world.shard.handle_datagram(world.now, browser.address, &mut hello(100), &mut void);
        }
    }
    let carried = std::iter::from_fn(|| world.shard.poll_event()).filter(|e| matches!(e, FromSfu::Dtls(_)));
    assert_eq!(carried.count(), DTLS_WAITING_MAX);
    assert_eq!(world.dropped(DropReason::TooFast), 20 * 40 - DTLS_WAITING_MAX as u64);
}

#[test]
fn packets_played_again_cut_short_or_forged_change_nothing() {
    let mut scene = Scene::new();
    let mut old: Vec<Vec<u8>> = Vec::new();
    scene.undisturbed(60, 0, |scene, round| {
        // The victim's own packet of this round, in every broken form, from everywhere, before the real one.
        let frame = scene.browser.frame(OPUS, b"browser", 20);
        scene.browser.seq = SeqNo(scene.browser.seq.0 - 1);
        scene.browser.time = scene.browser.time.wrapping_add(960_u32.wrapping_neg());
        let rtcp = {
            let mut plain = [0; 64];
            let len = rtcp::write_receiver_report(scene.browser.ssrc, &[], &mut plain).unwrap();
            scene.browser.srtp.seal_rtcp(&mut plain, len).map(|len| plain[..len].to_vec()).unwrap()
        };
        let at = scene.browser.address;
        for datagram in [&frame, &rtcp] {
            for len in 0..datagram.len() {
                scene.attack(at, &datagram[..len]);
            }
            let mut forged = datagram.clone();
            let place = round % forged.len();
            forged[place] ^= 1 << (round % 8);
            // Told from a keepalive by its length and from the other kinds by its first bytes.
            scene.attack(at, &forged);
        }
        scene.attack(STRANGER, &frame);
        scene.attack(scene.hostile.address, &frame);
        for again in &old {
            scene.attack(at, again);
        }
        if round % 10 == 0 {
            // The real one of this round is this very packet, and so it can be caught beforehand.
            old.push(frame);
        }
    });
    assert!(scene.dropped(DropReason::Unauthenticated) > 60 * 7);
    assert!(scene.dropped(DropReason::Replayed) > 100 && scene.dropped(DropReason::Malformed) > 60 * 10);
}

#[test]
fn a_packet_of_ones_own_counts_once() {
    let mut scene = Scene::new();
    let frames: Vec<_> = (0..10).map(|_| scene.hostile.frame(OPUS, b"again", 20)).collect();
    let forwarded = scene.world.shard.counters().forwarded_in;
    scene.undisturbed(20, 0, |scene, _| {
        for frame in &frames {
            scene.attack(scene.hostile.address, frame);
        }
    });
    let forwarded = scene.world.shard.counters().forwarded_in - forwarded - 2 * 20;
    assert_eq!((forwarded, scene.dropped(DropReason::Replayed)), (10, 10 * 19));
}

#[test]
fn names_of_others_streams_are_worth_nothing() {
    let mut scene = Scene::new();
    let names = [
        scene.browser.ssrc,
        Ssrc(scene.browser.leg.ssrc),
        Ssrc(scene.world.clients[scene.native].leg.ssrc),
        // The relay's own, in its reports.
        Ssrc(1),
    ];
    // A name that it had is remembered, in four bytes.
    scene.undisturbed(40, 4 * names.len() as i64, |scene, round| {
        if round % 10 == 0 {
            scene.hostile.ssrc = names[round / 10];
        }
        let frame = scene.hostile.frame(OPUS, b"not the one whose name it is", 20);
        scene.attack(scene.hostile.address, &frame);
        // From the places of those whose names they are it authenticates even less.
        scene.attack(scene.browser.address, &frame);
        scene.attack(scene.world.clients[scene.native].address, &frame);
        // Goodbyes and reports in others' names.
        let mut plain = [0; 300];
        let ssrc = scene.hostile.ssrc;
        let mut len = rtcp::write_receiver_report(ssrc, &[], &mut plain).unwrap();
        len += rtcp::write_bye(&names, &mut plain[len..]).unwrap();
        let info = SenderInfo { ntp: u64::MAX, time: RtpTime(0), packets: u32::MAX, octets: u32::MAX };
        len += rtcp::write_sender_report(ssrc, &info, &[], &mut plain[len..]).unwrap();
        len += rtcp::write_sdes_cname(ssrc, b"somebody else", &mut plain[len..]).unwrap();
        let sealed = scene.hostile.sealed_rtcp(&plain[..len]);
        scene.attack(scene.hostile.address, &sealed);
        scene.attack(scene.browser.address, &sealed);
    });
    // Its own stream goes on under the one name that signalling gave it, whatever it calls itself.
    let reasons = [DropReason::Unauthenticated, DropReason::ForeignStream, DropReason::Replayed];
    assert_eq!(reasons.map(|reason| scene.dropped(reason)).iter().sum::<u64>(), 40 * 3);
    let forwarded = scene.world.shard.counters().forwarded_in - scene.before.forwarded_in - 2 * 40;
    assert_eq!(forwarded, 40);
}

#[test]
fn streams_under_ever_new_names_come_to_an_end() {
    let mut scene = Scene::new();
    // A name is four bytes.
    scene.undisturbed(100, 4 * 2 * BROWSER_STREAMS_MAX as i64, |scene, round| {
        for n in 0..10 {
            scene.hostile.ssrc = Ssrc(7_000 + round as u32 * 10 + n);
            for payload_type in [OPUS, RED, 96] {
                let frame = scene.hostile.frame(payload_type, &[111, 1, 2, 3], 20);
                scene.attack(scene.hostile.address, &frame);
            }
        }
    });
    let forwarded = scene.world.shard.counters().forwarded_in - scene.before.forwarded_in - 2 * 100;
    assert_eq!(forwarded, 2 * (BROWSER_STREAMS_MAX as u64), "the one it began with is one of them");
    assert_eq!(scene.received(), 100 * 10 * 3);
    assert_eq!(
        scene.dropped(DropReason::ForeignStream) + scene.dropped(DropReason::Unsupported),
        3_000 - forwarded
    );
}

#[test]
fn reports_about_everything_at_once_are_read_and_forgotten() {
    let mut scene = Scene::new();
    let worst = |n: u32| ReportBlock {
        ssrc: Ssrc(n),
        fraction_lost: 255,
        lost: -0x80_0000,
        highest_seq: u32::MAX,
        jitter: u32::MAX,
        last_sr: u32::MAX.wrapping_sub(n),
        delay_since_sr: n.wrapping_mul(0x9E37_79B9),
    };
    let of_native = scene.world.clients[scene.native].leg.ssrc;
    let of_browser = scene.browser.leg.ssrc;
    scene.undisturbed(50, 0, |scene, round| {
        let mut plain = [0; 1_900];
        let mut len = 0;
        for n in 0..2 {
            let mut blocks: Vec<_> = (0..31).map(|at| worst(at * 77 + n + round as u32)).collect();
            (blocks[0].ssrc, blocks[1].ssrc) = (Ssrc(of_native), Ssrc(of_browser));
            len += rtcp::write_receiver_report(scene.hostile.ssrc, &blocks, &mut plain[len..]).unwrap();
        }
        let info = SenderInfo { ntp: u64::MAX, time: RtpTime(u32::MAX), packets: 0, octets: 0 };
        len += rtcp::write_remb(scene.hostile.ssrc, u64::MAX, &[Ssrc(1); 20], &mut plain[len..]).unwrap();
        len += rtcp::write_sender_report(scene.hostile.ssrc, &info, &[], &mut plain[len..]).unwrap();
        for _ in 0..100 {
            let sealed = scene.hostile.sealed_rtcp(&plain[..len]);
            scene.attack(scene.hostile.address, &sealed);
        }
        // One that ends in the middle, and one that lies about its length.
        let cut = scene.hostile.sealed_rtcp(&plain[..len - 3]);
        scene.attack(scene.hostile.address, &cut);
        plain[2] = 0xFF;
        let lie = scene.hostile.sealed_rtcp(&plain[..len]);
        scene.attack(scene.hostile.address, &lie);
    });
    assert_eq!(scene.void.bytes, 0);
    assert_eq!(scene.received(), 50 * 102);
    assert_eq!(scene.world.shard.counters().consumed - scene.before.consumed, 50 * 102);
    // It is believed to lose everything, and so is sent everything twice; nobody else is.
    scene.undisturbed(10, 0, |_, _| {});
}

#[test]
fn requests_for_everything_are_answered_to_the_one_who_asks_and_only_so_often() {
    let mut scene = Scene::new();
    let streams = [Ssrc(scene.world.clients[scene.native].leg.ssrc), Ssrc(scene.browser.leg.ssrc), Ssrc(9)];
    // Room for the numbers that were asked for, once.
    scene.undisturbed(100, 2_048, |scene, round| {
        for n in 0..50_u16 {
            let mut plain = [0; 1_400];
            let mut len = rtcp::write_receiver_report(scene.hostile.ssrc, &[], &mut plain).unwrap();
            let numbers: Vec<u16> =
                (0..600).map(|at| (n + round as u16 * 50).wrapping_mul(77).wrapping_add(at)).collect();
            for stream in streams {
                len += rtcp::write_nack(scene.hostile.ssrc, stream, &numbers, &mut plain[len..]).unwrap();
            }
            let sealed = scene.hostile.sealed_rtcp(&plain[..len]);
            scene.void.last_to = None;
            scene.attack(scene.hostile.address, &sealed);
            assert!(scene.void.last_to.is_none_or(|to| to == scene.hostile.address));
        }
    });
    let resent = scene.world.shard.counters().resent;
    assert!(resent <= 150, "{resent} in two seconds");
    assert!(scene.void.bytes <= 150 * 1_500);
}

#[test]
fn redundancy_that_is_none_is_not_believed_and_costs_only_its_sender() {
    let mut scene = Scene::new();
    scene.undisturbed(100, 0, |scene, round| {
        // Blocks of any shape, among them more of them and longer ones than the packet holds.
        let payload: Vec<u8> = (0..round * 13 % 900).map(|n| (n * 73 + round * 31) as u8 | 0x80).collect();
        let frame = scene.hostile.frame(RED, &payload, 20);
        scene.attack(scene.hostile.address, &frame);
        let many = [&[0x80 | OPUS as u8, 0x0F, 0, 1].repeat(200)[..], &[OPUS as u8], &[1; 201]].concat();
        scene.hostile.frame(OPUS, b"lost", 20);
        let frame = scene.hostile.frame(RED, &many, 20);
        scene.attack(scene.hostile.address, &frame);
    });
    assert_eq!(scene.received(), 200);
}
