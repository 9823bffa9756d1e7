//! A relay's process: its shards, and how it ends, be it between a store into its memory and the packet that follows.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use sfu_core::limits::DATAGRAM_BYTES_MAX;
use sfu_core::{Memory, Shard, Sink};
use sfu_wire::page::{FAILED_AT, HEAD_WORDS, LEG_AT, busy_with};
use sfu_wire::{FromSfu, ToSfu};

use crate::event::{Event, Sleeper};
use crate::limits::LEGS_MAX;
use crate::net::in_order;
use crate::time::{At, ms};
use crate::world::World;

pub struct Process {
    pub generation: u64,
    since: At,
    shards: Vec<Running>,
    egress: Egress,
    pub is_hung: bool,
    /// Signalling is gone.
    pub is_orphan: bool,
}

#[derive(Default)]
struct Running {
    /// None before the start message.
    shard: Option<Shard>,
    control: VecDeque<ToSfu>,
    /// It knows its legs, and takes packets from now on.
    is_told: bool,
}

impl Process {
    pub fn new(generation: u64, shards: usize, since: At) -> Self {
        Self {
            generation,
            since,
            shards: (0..shards).map(|_| Running::default()).collect(),
            egress: Egress::default(),
            is_hung: false,
            is_orphan: false,
        }
    }

    pub fn tell(&mut self, shard: usize, message: ToSfu) {
        self.shards[shard].control.push_back(message);
    }

    /// Of all its shards.
    pub fn legs(&self) -> usize {
        self.shards.iter().filter_map(|running| running.shard.as_ref()).map(Shard::legs).sum()
    }

    /// It dies with this many packets from now.
    pub fn doom(&mut self, packets: usize) {
        self.egress.left = Some(packets);
    }

    pub fn spare(&mut self) {
        self.egress.left = None;
    }
}

/// What leaves in one turn, and what the memory was when the process died in the middle of it.
#[derive(Default)]
struct Egress {
    slot: Vec<u8>,
    batch: Vec<(SocketAddr, Vec<u8>)>,
    left: Option<usize>,
    memory: Option<Memory>,
    left_behind: Option<Vec<u64>>,
}

impl Sink for Egress {
    fn slot(&mut self) -> &mut [u8] {
        self.slot.resize(DATAGRAM_BYTES_MAX, 0);
        &mut self.slot
    }

    fn commit(&mut self, to: SocketAddr, len: usize) {
        if self.left_behind.is_some() {
            return;
        }
        self.batch.push((to, self.slot[..len].to_vec()));
        let Some(left) = &mut self.left else { return };
        match left.checked_sub(1) {
            Some(fewer) => *left = fewer,
            None => {
                self.left_behind = self.memory.map(|memory| memory.iter().map(|w| w.load(Relaxed)).collect())
            }
        }
    }
}

impl World {
    pub fn relay_reads(&mut self, host: usize, shard: usize, generation: u64) {
        if self.hosts[host].process.as_ref().is_some_and(|process| process.generation == generation) {
            self.relay_runs(host, shard);
        }
    }

    /// One turn: what signalling says, then packets, then timers, as `sfu` does it.
    pub fn relay_runs(&mut self, host: usize, shard: usize) {
        let now = self.clock.instant(self.now);
        let this = &mut self.hosts[host];
        let Some(process) = this.process.as_mut().filter(|process| !process.is_hung) else { return };
        let Process { shards, egress, .. } = process;
        let running = &mut shards[shard];
        let memory = this.memories[shard];
        egress.memory = Some(memory);
        if !process.is_orphan {
            while let Some(message) = running.control.pop_front() {
                match (message, &mut running.shard) {
                    (ToSfu::Start(start), none @ None) => {
                        *none = Some(Shard::with_memory(now, &start, memory))
                    }
                    (message, Some(shard)) => {
                        running.is_told |= matches!(message, ToSfu::Snapshot(_));
                        if let Err(refused) = shard.handle_message(now, message, egress) {
                            return self.fail(format!("the relay of voice-{host} refuses: {refused}"));
                        }
                    }
                    (message, None) => unreachable!("nothing comes before the start: {message:?}"),
                }
            }
        }
        let Some(core) = running.shard.as_mut() else { return };
        if running.is_told {
            while let Some((from, mut datagram)) = this.inbox[shard].pop_front() {
                core.handle_datagram(now, from, &mut datagram, egress);
                if egress.left_behind.is_some() {
                    break;
                }
            }
        }
        if egress.left_behind.is_none() {
            core.handle_timeout(now, egress);
        }
        let is_conserved = core.counters().conserved();
        let due = core.poll_timeout().map(|(at, _)| at);
        let mut events = Vec::new();
        if !process.is_orphan {
            events.extend(std::iter::from_fn(|| core.poll_event()));
        }
        let (batch, died) = (std::mem::take(&mut egress.batch), egress.left_behind.take());
        let generation = process.generation;
        if !is_conserved {
            return self
                .fail(format!("the relay of voice-{host} does not know what became of every datagram"));
        }
        if let Some(words) = died {
            return self.relay_dies_within(host, shard, &words, batch);
        }
        self.relay_sends(host, batch);
        self.relay_tells(host, shard, events);
        if let Some(at) = due {
            let at = self.clock.at(at);
            self.wake(Sleeper::Relay { host, shard, generation }, at);
        }
    }

    fn relay_sends(&mut self, host: usize, batch: Vec<(SocketAddr, Vec<u8>)>) {
        for (to, bytes) in batch {
            self.trace.mix(self.now, 3, &bytes);
            self.tap(to, &bytes);
            self.tap_number(to, &bytes);
            self.datagram_to(host, to, bytes);
        }
    }

    fn relay_tells(&mut self, host: usize, shard: usize, events: Vec<FromSfu>) {
        let life = self.hosts[host].life;
        let generation = self.hosts[host].process.as_ref().expect("it has just run").generation;
        for message in events {
            let at = self.now.plus(self.hosts[host].random.between(10, ms(2)));
            let at = in_order(&mut self.hosts[host].last_from_relay, at);
            let shard = u32::try_from(shard).expect("shards are few");
            self.at(at, Event::FromRelay { host, life, generation, shard, message });
        }
    }

    /// The memory stays as it was at that packet; of the batch some have left, or none.
    fn relay_dies_within(
        &mut self,
        host: usize,
        shard: usize,
        words: &[u64],
        mut batch: Vec<(SocketAddr, Vec<u8>)>,
    ) {
        for (cell, word) in self.hosts[host].memories[shard].iter().zip(words) {
            cell.store(*word, Relaxed);
        }
        let sent = self.hosts[host].random.between(0, batch.len() as u64) as usize;
        batch.truncate(sent);
        self.trace
            .note(self.now, || format!("voice-{host}: a packet kills the relay, {sent} of its batch left"));
        self.relay_sends(host, batch);
        let is_own_doing = self.hosts[host].random.chance(300);
        if is_own_doing {
            self.hosts[host].memories[shard][FAILED_AT].store(1, Relaxed);
        }
        self.relay_dies(host, is_own_doing);
    }

    /// `is_own_doing`: it aborted, or hung, and so signalling looks at what it was busy with.
    pub fn relay_dies(&mut self, host: usize, is_own_doing: bool) {
        let this = &mut self.hosts[host];
        let Some(process) = this.process.take() else { return };
        let (life, generation) = (this.life, process.generation);
        let blamed = if is_own_doing { blamed(&this.memories) } else { Vec::new() };
        self.trace.note(self.now, || format!("voice-{host}: relay {generation} dies"));
        if !self.hosts[host].lives(life) {
            return;
        }
        let delay = self.hosts[host].random.between(10, ms(5));
        self.after(delay, Event::RelayDown { host, life, generation, blamed });
        // Some systems take their time.
        let slowest = if self.hosts[host].random.chance(300) { ms(1_500) } else { ms(60) };
        let spawn = self.hosts[host].random.between(ms(5), slowest);
        let wait = self.relay_backoff(host, self.now.since(process.since));
        self.after(delay + wait + spawn, Event::RelayStarts { host, life });
    }
}

/// As `voice` reads it from the memories of a process that has crashed.
fn blamed(memories: &[Memory]) -> Vec<(u32, u64)> {
    let heads = memories.iter().map(|memory| std::array::from_fn(|at| memory[at].load(Relaxed)));
    let heads: Vec<[u64; HEAD_WORDS]> = heads.collect();
    let one_says_so = heads.iter().any(sfu_wire::page::has_failed);
    let mut blamed = Vec::new();
    for ((shard, head), memory) in (0..).zip(&heads).zip(memories) {
        let counts = sfu_wire::page::has_failed(head) || !one_says_so;
        if let Some((leg, _)) = busy_with(head).filter(|(leg, _)| counts && *leg != 0) {
            blamed.push((shard, leg));
        }
        memory[LEG_AT..HEAD_WORDS].iter().for_each(|word| word.store(0, Relaxed));
    }
    blamed
}

thread_local! {
    /// Memories of earlier worlds of this thread. They live for ever, so they are used again.
    static SPARE: RefCell<Vec<Memory>> = const { RefCell::new(Vec::new()) };
}

/// Where memories come from, and go back to with the world.
#[derive(Default)]
pub struct Memories(Vec<Memory>);

impl Memories {
    pub fn take(&mut self) -> Memory {
        let words = HEAD_WORDS + LEGS_MAX * 248;
        let spare = SPARE.with_borrow_mut(Vec::pop);
        let memory =
            spare.unwrap_or_else(|| (0..words).map(|_| AtomicU64::new(0)).collect::<Vec<_>>().leak());
        memory.iter().for_each(|word| word.store(0, Relaxed));
        self.0.push(memory);
        memory
    }
}

impl Drop for Memories {
    fn drop(&mut self) {
        SPARE.with_borrow_mut(|spare| spare.append(&mut self.0));
    }
}
