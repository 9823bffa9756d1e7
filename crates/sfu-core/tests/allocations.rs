//! Forwarding allocates nothing: counted by the allocator itself.
#![allow(unsafe_code, clippy::unwrap_used)]

mod net;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::net::SocketAddr;
use std::time::Duration;

use net::{VOICE, World};
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
