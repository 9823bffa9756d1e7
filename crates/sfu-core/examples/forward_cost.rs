//! What forwarding costs without sockets: CPU time a copy, for rooms of several sizes.
//!
//! `cargo run -p sfu-core --example forward_cost [MODE]`, a mode being an encryption mode or `browsers`. The least of many short rounds,
//! because neighbours on the machine only ever add to it. With `--count MODE PEOPLE` one round for a tool that counts instructions within
//! [`counted`]; it prints how many copies were made there.
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

/// Those who speak, and all who listen to them, in one room.
fn crowd(people: usize, listeners: Listeners) -> World {
    let mut world = World::with_rate(u32::MAX);
    for n in 0..people {
        match listeners {
            Listeners::Browsers if n >= SPEAKERS.min(people - 1) => {
                drop(Browser::join(&mut world, 5_000 + n as u64, 1))
            }
            Listeners::Browsers => _ = world.join(1),
            Listeners::Native(mode) => _ = world.join_as(1, mode),
        }
    }
    world
}

impl Batch {
    fn new() -> Self {
        Self { slots: vec![[0; DATAGRAM_BYTES_MAX]; SLOTS], next: 0, sent: 0 }
    }
}

fn frames(world: &mut World, speakers: usize) -> Vec<(SocketAddr, Vec<u8>)> {
    (0..FRAMES).map(|n| (world.clients[n % speakers].address, world.frame(n % speakers, &PAYLOAD))).collect()
}

/// What is measured, and nothing else.
#[inline(never)]
fn counted(world: &mut World, frames: &mut [(SocketAddr, Vec<u8>)], batch: &mut Batch) {
    for (from, frame) in frames {
        world.shard.handle_datagram(world.now, *from, frame, batch);
    }
}

fn count(people: usize, listeners: Listeners) -> u64 {
    let mut world = crowd(people, listeners);
    let mut batch = Batch::new();
    let speakers = SPEAKERS.min(people - 1);
    // What the first packets of a stream set up is not counted.
    for (from, mut frame) in frames(&mut world, speakers) {
        world.shard.handle_datagram(world.now, from, &mut frame, &mut batch);
    }
    let (before, mut frames) = (batch.sent, frames(&mut world, speakers));
    counted(&mut world, &mut frames, &mut batch);
    batch.sent - before
}

fn measure(people: usize, listeners: Listeners) -> u128 {
    let mut world = crowd(people, listeners);
    let mut batch = Batch::new();
    let mut best = u128::MAX;
    for _ in 0..ROUNDS {
        let mut frames = frames(&mut world, SPEAKERS);
        let sent = batch.sent;
        let before = cpu();
        counted(&mut world, &mut frames, &mut batch);
        let spent = cpu() - before;
        let copies = batch.sent - sent;
        assert_eq!(copies, (FRAMES * (people - 1)) as u64, "everything was forwarded");
        best = best.min(spent.as_nanos() / u128::from(copies));
    }
    best
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let [flag, name, people] = &args[..]
        && flag == "--count"
    {
        let listeners =
            if name == "browsers" { Listeners::Browsers } else { Listeners::Native(name.parse().unwrap()) };
        return println!("{}", count(people.parse().unwrap(), listeners));
    }
    println!(
        "{:<34} {:>8} {:>8} {:>8}  ns CPU a copy, payload of {} bytes",
        "mode",
        10,
        200,
        1000,
        PAYLOAD.len()
    );
    let only = args.first();
    let natives = Mode::ALL.into_iter().map(|mode| (mode.name(), Listeners::Native(mode)));
    for (name, listeners) in natives.chain([("browsers", Listeners::Browsers)]) {
        if only.is_none_or(|only| only == name) {
            let costs = [10, 200, 1000].map(|people| measure(people, listeners));
            println!("{name:<34} {:>8} {:>8} {:>8}", costs[0], costs[1], costs[2]);
        }
    }
}
