//! Forwarding allocates nothing: counted by the allocator itself.
#![allow(unsafe_code, clippy::unwrap_used)]

mod browser;
mod net;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::net::SocketAddr;
use std::time::Duration;

use browser::{Browser, OPUS, RED};
use net::{VOICE, World};
use rtp_wire::Ssrc;
use sfu_core::Sink;
use sfu_core::limits::DATAGRAM_BYTES_MAX;

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: everything is passed on to the system's allocator; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller keeps the promises of this very function.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// A sink that only counts.
struct Void {
    slot: [u8; DATAGRAM_BYTES_MAX],
    sent: u64,
}

impl Sink for Void {
    fn slot(&mut self) -> &mut [u8] {
        &mut self.slot
    }

    fn commit(&mut self, _to: SocketAddr, _len: usize) {
        self.sent += 1;
    }
}

#[test]
fn a_talking_room_allocates_nothing() {
    let mut world = World::with_rate(10_000);
    for _ in 0..50 {
        world.join(1);
    }
    // A listener with numbers of its own, and everybody's first words.
    for speaker in 0..5 {
        world.talk(speaker);
    }
    world.set(7, |leg| leg.hear = false);
    world.talk_for(0, 3);
    world.set(7, |leg| leg.hear = true);
    let mut frames: Vec<(SocketAddr, Vec<u8>)> = Vec::new();
    for n in 0..500 {
        frames.push((world.clients[n % 5].address, world.frame(n % 5, VOICE)));
    }
    let mut void = Void { slot: [0; DATAGRAM_BYTES_MAX], sent: 0 };
    let before = ALLOCATIONS.with(Cell::get);
    for (from, frame) in &mut frames {
        world.now += Duration::from_millis(4);
        world.shard.handle_datagram(world.now, *from, frame, &mut void);
        world.shard.handle_timeout(world.now, &mut void);
    }
    let allocations = ALLOCATIONS.with(Cell::get) - before;
    assert!(void.sent >= 500 * 49);
    assert_eq!(allocations, 0);

    let before = ALLOCATIONS.with(Cell::get);
    drop(std::hint::black_box(vec![1_u8; 100]));
    assert_eq!(ALLOCATIONS.with(Cell::get) - before, 1, "the counter counts");
}

/// Streams of both kinds, to browsers with and without redundancy, with losses that are asked for on either side.
#[test]
fn a_room_of_browsers_that_lose_much_allocates_nothing() {
    let mut world = World::with_rate(10_000);
    let native = world.join(1);
    let of_native = Ssrc(world.clients[native].leg.ssrc);
    let mut browsers: Vec<_> = (0..10).map(|n| Browser::join(&mut world, 70 + n, 1)).collect();
    let mut datagrams: Vec<(SocketAddr, Vec<u8>)> = Vec::new();
    // The first of everything makes room for the rest.
    for round in 0..300_u32 {
        datagrams.push((world.clients[native].address, world.frame(native, VOICE)));
        let number = world.clients[native].seq;
        let speaker = &mut browsers[(round % 2) as usize];
        let payload = [&[0x80 | OPUS as u8, 0x0F, 0, 1, OPUS as u8, 7][..], b"words"].concat();
        let frame = speaker.frame(RED, &payload, 20);
        // Two in a row are lost, of which one is found in the packet behind and the other is asked for.
        if !matches!(round % 10, 0 | 2) {
            datagrams.push((speaker.address, frame));
        }
        let listener = &mut browsers[(2 + round % 8) as usize];
        let mut plain = [0; 100];
        let mut len = rtp_wire::rtcp::write_nack(listener.ssrc, of_native, &[number], &mut plain).unwrap();
        let block = rtp_wire::rtcp::ReportBlock { ssrc: of_native, fraction_lost: 99, ..Default::default() };
        len += rtp_wire::rtcp::write_receiver_report(listener.ssrc, &[block], &mut plain[len..]).unwrap();
        datagrams.push((listener.address, listener.sealed_rtcp(&plain[..len])));
    }
    let mut void = Void { slot: [0; DATAGRAM_BYTES_MAX], sent: 0 };
    let mut before = 0;
    let count = datagrams.len();
    for (n, (from, datagram)) in datagrams.iter_mut().enumerate() {
        if n == count / 4 {
            before = ALLOCATIONS.with(Cell::get);
        }
        world.now += Duration::from_millis(6);
        world.shard.handle_datagram(world.now, *from, datagram, &mut void);
        world.shard.handle_timeout(world.now, &mut void);
    }
    let allocations = ALLOCATIONS.with(Cell::get) - before;
    let counters = world.shard.counters();
    assert!(counters.resent > 100 && counters.recovered > 10 && counters.asked > 0, "{counters:?}");
    assert_eq!(allocations, 0);
}
