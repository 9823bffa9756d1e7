//! What forwarding costs without sockets: CPU time a copy, for rooms of several sizes.
//!
//! `cargo run -p sfu-core --example forward_cost [MODE]`, a mode being an encryption mode or `browsers`. The least of many short rounds,
//! because neighbours on the machine only ever add to it.
#![allow(clippy::unwrap_used)]

#[path = "../tests/browser/mod.rs"]
mod browser;
#[path = "../tests/net/mod.rs"]
mod net;

use std::net::SocketAddr;
use std::time::Duration;

use browser::Browser;
use net::World;
use rustix::time::{ClockId, clock_gettime};
use sfu_core::Sink;
use sfu_core::limits::DATAGRAM_BYTES_MAX;
use transport::Mode;

const PAYLOAD: [u8; 100] = [0x78; 100];
const SPEAKERS: usize = 5;
const FRAMES: usize = 20;
const ROUNDS: usize = 30;
const SLOTS: usize = 64;

/// The memory of a socket's batch, without the socket.
struct Batch {
    slots: Vec<[u8; DATAGRAM_BYTES_MAX]>,
    next: usize,
    sent: u64,
}

impl Sink for Batch {
    fn slot(&mut self) -> &mut [u8] {
        &mut self.slots[self.next]
    }

    fn commit(&mut self, _to: SocketAddr, _len: usize) {
        self.next = (self.next + 1) % SLOTS;
        self.sent += 1;
    }
}

fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Who listens; speakers are native.
#[derive(Clone, Copy)]
enum Listeners {
    Native(Mode),
    Browsers,
}

fn measure(people: usize, listeners: Listeners) -> u128 {
    let mut world = World::with_rate(u32::MAX);
    for n in 0..people {
        match listeners {
            Listeners::Browsers if n >= SPEAKERS => drop(Browser::join(&mut world, 5_000 + n as u64, 1)),
            Listeners::Browsers => _ = world.join(1),
            Listeners::Native(mode) => _ = world.join_as(1, mode),
        }
    }
    let mut batch = Batch { slots: vec![[0; DATAGRAM_BYTES_MAX]; SLOTS], next: 0, sent: 0 };
    let mut best = u128::MAX;
    for _ in 0..ROUNDS {
        let mut frames: Vec<(SocketAddr, Vec<u8>)> = (0..FRAMES)
            .map(|n| (world.clients[n % SPEAKERS].address, world.frame(n % SPEAKERS, &PAYLOAD)))
            .collect();
        let sent = batch.sent;
        let before = cpu();
        for (from, frame) in &mut frames {
            world.shard.handle_datagram(world.now, *from, frame, &mut batch);
        }
        let spent = cpu() - before;
        let copies = batch.sent - sent;
        assert_eq!(copies, (FRAMES * (people - 1)) as u64, "everything was forwarded");
        best = best.min(spent.as_nanos() / u128::from(copies));
    }
    best
}

fn main() {
    println!(
        "{:<34} {:>8} {:>8} {:>8}  ns CPU a copy, payload of {} bytes",
        "mode",
        10,
        200,
        1000,
        PAYLOAD.len()
    );
    let only = std::env::args().nth(1);
    let natives = Mode::ALL.into_iter().map(|mode| (mode.name(), Listeners::Native(mode)));
    for (name, listeners) in natives.chain([("browsers", Listeners::Browsers)]) {
        if only.as_deref().is_none_or(|only| only == name) {
            let costs = [10, 200, 1000].map(|people| measure(people, listeners));
            println!("{name:<34} {:>8} {:>8} {:>8}", costs[0], costs[1], costs[2]);
        }
    }
}
