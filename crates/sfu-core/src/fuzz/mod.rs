//! A body for fuzzers: bytes as a little programme for one shard, its network and its signalling. It may
//! never panic, every datagram meets one fate, nobody unknown is answered with more than they sent, the shard's
//! books agree with each other, and browsers can open whatever they are sent.

mod end;

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rtp_wire::{OPUS_PAYLOAD_TYPE, RtpHeader, RtpTime, Ssrc};
use sfu_wire::{Leg, Native, RemoveLeg, Snapshot, Start, ToSfu};
use transport::{Key, Mode, NonceCounter, Session};

use self::end::End;
use crate::known::Known;
use crate::limits::DATAGRAM_BYTES_MAX;
use crate::page::Memory;
use crate::shard::Shard;
use crate::sink::Sink;

const LEGS: u8 = 6;
/// Browsers, whose ids are behind those of the legs.
const BROWSERS: u8 = 2;

/// One instruction a byte, its operands behind it; the programme ends where they do.
pub fn fuzz_shard(data: &[u8]) {
    fuzz_dying_shard(data, usize::MAX);
}

/// The same, with a relay that ends after every so many instructions, and another that goes on.
pub fn fuzz_dying_shard(data: &[u8], every: usize) {
    let mut machine = Machine::new();
    let mut program = Program { rest: data };
    for step in 1.. {
        if machine.step(&mut program).is_none() {
            return;
        }
        if step % every == 0 {
            machine.die();
        }
        assert!(machine.shard.counters.conserved());
        machine.shard.assert_consistent();
        machine.assert_known();
        while machine.shard.poll_event().is_some() {}
    }
}

struct Program<'a> {
    rest: &'a [u8],
}

impl<'a> Program<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let len = usize::from(self.byte()?);
        let (bytes, rest) = self.rest.split_at_checked(len)?;
        self.rest = rest;
        Some(bytes)
    }
}

#[derive(Default)]
struct Out {
    slot: Vec<u8>,
    bytes: usize,
    /// What went to browsers.
    to_browsers: Vec<(SocketAddr, Vec<u8>)>,
}

impl Sink for Out {
    fn slot(&mut self) -> &mut [u8] {
        self.slot.resize(DATAGRAM_BYTES_MAX, 0);
        &mut self.slot
    }

    fn commit(&mut self, to: SocketAddr, len: usize) {
        assert!(len <= DATAGRAM_BYTES_MAX);
        self.bytes += len;
        if to.port() == end::PORT {
            self.to_browsers.push((to, self.slot[..len].to_vec()));
        }
    }
}

thread_local! {
    /// Where the shards of a thread's programmes write, one after the other, with a place for fewer legs than may be there.
    static MEMORY: Memory = (0..1_600).map(|_| AtomicU64::new(0)).collect::<Vec<_>>().leak();
}

fn start() -> Start {
    Start { protocol: 1, shard: 0, seed: vec![1], sender_packets_per_s_max: 20, ..Start::default() }
}

struct Machine {
    now: Instant,
    shard: Shard,
    memory: Memory,
    out: Out,
    /// The clients' ends, so that some of what comes authenticates. By leg and key.
    sessions: Vec<Session>,
    legs: Vec<Leg>,
    browsers: Vec<End>,
    /// What a filter before the shard would let through.
    known: HashSet<Known>,
}

/// Instructions from here on.
const DIE: u8 = 250;

const KEYS: u8 = 3;

fn key(leg: u8, key: u8) -> [u8; Key::LEN] {
    [leg * KEYS + key; Key::LEN]
}

fn address(of: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, of % 8], 1000))
}

impl Machine {
    fn new() -> Self {
        let now = Instant::now();
        let sessions = (0..LEGS)
            .flat_map(|leg| (0..KEYS).map(move |version| (leg, version)))
            .map(|(leg, version)| {
                let mode = Mode::ALL[usize::from(leg)];
                Session::new(mode, &Key::new(key(leg, version)), NonceCounter::client(0), [leg; 16])
            })
            .collect();
        let memory = MEMORY.with(|memory| *memory);
        memory.iter().for_each(|word| word.store(0, Ordering::Relaxed));
        let mut machine = Self {
            now,
            shard: Shard::with_memory(now, &start(), memory),
            memory,
            out: Out::default(),
            sessions,
            legs: Vec::new(),
            browsers: (0..BROWSERS).map(End::new).collect(),
            known: HashSet::new(),
        };
        machine.shard.watch_known();
        for leg in 0..LEGS {
            machine.legs.push(wanted(leg, leg % 2, 3, 1));
        }
        machine.tell(ToSfu::Snapshot(Snapshot::default()));
        machine
    }

    fn step(&mut self, program: &mut Program<'_>) -> Option<()> {
        let what = program.byte()?;
        if what >= DIE {
            self.die();
            return Some(());
        }
        match what % 10 {
            0 => {
                let from = program.byte()? % (8 + BROWSERS);
                let from = match from.checked_sub(8) {
                    Some(which) => self.browsers[usize::from(which)].address(),
                    None => address(from),
                };
                let mut datagram = program.bytes()?.to_vec();
                self.receive(from, &mut datagram);
            }
            1 => self.speak(program)?,
            2 => {
                let (leg, room, flags, version) =
                    (program.byte()? % LEGS, program.byte()? % 3, program.byte()?, program.byte()?);
                self.legs[usize::from(leg)] = wanted(leg, room, flags, version);
                self.tell(ToSfu::PutLeg(self.legs[usize::from(leg)].clone()));
            }
            3 => self.tell(ToSfu::RemoveLeg(RemoveLeg { id: u64::from(program.byte()? % LEGS) })),
            4 => {
                let mask = program.byte()?;
                let legs = self.legs.iter().enumerate().filter(|(index, _)| mask >> index & 1 == 1);
                let legs = legs.map(|(_, leg)| leg.clone()).collect();
                self.tell(ToSfu::Snapshot(Snapshot { legs }));
            }
            5 => {
                let mut datagram = [0; 74];
                let ssrc = ssrc(program.byte()? % LEGS);
                rtp_wire::DiscoveryRequest { ssrc }.write(&mut datagram).expect("it has 74 bytes");
                self.receive(address(program.byte()?), &mut datagram);
            }
            6 => {
                self.now += Duration::from_millis(u64::from(program.byte()?) * 4);
                self.shard.handle_timeout(self.now, &mut self.out);
            }
            7 => {
                let (which, payload_type) = (self.browser(program)?, program.byte()?);
                let seq = u16::from_be_bytes([program.byte()?, program.byte()?]);
                let mut frame = self.browsers[which].frame(payload_type, seq, program.bytes()?);
                let from = self.browsers[which].address();
                self.shard.handle_datagram(self.now, from, &mut frame, &mut self.out);
            }
            8 => {
                let which = self.browser(program)?;
                let from = self.browsers[which].address();
                if let Some(mut sealed) = self.browsers[which].rtcp(program.bytes()?) {
                    self.shard.handle_datagram(self.now, from, &mut sealed, &mut self.out);
                }
            }
            _ => {
                let which = self.browser(program)?;
                let (room, mut flags) = (program.byte()? % 3, program.byte()?);
                // Signalling never gives keys to two legs, one after the other.
                if !self.shard.by_id.contains_key(&self.browsers[which].id()) {
                    flags |= end::NEW_TRANSPORT;
                }
                let leg = self.browsers[which].wanted(room, flags);
                let id = leg.id;
                self.tell(ToSfu::PutLeg(leg));
                // As if a check had been answered.
                if flags & end::ARRIVED != 0 {
                    let index = self.shard.by_id[&id];
                    self.shard.take_address(self.now, index, self.browsers[which].address());
                }
            }
        }
        for (to, datagram) in std::mem::take(&mut self.out.to_browsers) {
            let browser = self.browsers.iter_mut().find(|browser| browser.address() == to);
            browser.expect("nobody else has its port").receive(datagram);
        }
        Some(())
    }

    /// The relay's process ends, and another one goes on with what it wrote.
    fn die(&mut self) {
        let legs = self.shard.legs.iter().map(|(_, leg)| leg.id);
        let legs = legs.map(|id| match usize::try_from(id).expect("ids are small") {
            native if native < self.legs.len() => self.legs[native].clone(),
            browser => self.browsers[browser - self.legs.len()].leg(),
        });
        let legs = legs.collect();
        self.shard = Shard::with_memory(self.now, &start(), self.memory);
        self.known.clear();
        self.shard.watch_known();
        self.tell(ToSfu::Snapshot(Snapshot { legs }));
    }

    fn browser(&self, program: &mut Program<'_>) -> Option<usize> {
        Some(usize::from(program.byte()? % BROWSERS))
    }

    /// A filter that follows what it is told knows whom the shard does.
    fn assert_known(&mut self) {
        while let Some(known) = self.shard.poll_known() {
            let (known, is_known) = match known {
                Known::Address(address, is_known) => (Known::Address(address, true), is_known),
                Known::Stream(ssrc, is_known) => (Known::Stream(ssrc, true), is_known),
                Known::Name(name, is_known) => (Known::Name(name, true), is_known),
            };
            if is_known {
                self.known.insert(known)
            } else {
                self.known.remove(&known)
            };
        }
        let Shard { by_address, by_check, by_ssrc, by_ufrag, .. } = &self.shard;
        let addresses =
            by_address.keys().chain(by_check.keys()).map(|address| Known::Address(*address, true));
        let streams = by_ssrc.keys().map(|ssrc| Known::Stream(*ssrc, true));
        let names = by_ufrag.keys().map(|name| Known::Name(name.clone(), true));
        assert_eq!(self.known, addresses.chain(streams).chain(names).collect());
    }

    /// A datagram of which nothing is known.
    fn receive(&mut self, from: SocketAddr, datagram: &mut [u8]) {
        self.out.bytes = 0;
        let forwarded = self.shard.counters.forwarded_in;
        self.shard.handle_datagram(self.now, from, datagram, &mut self.out);
        if self.shard.counters.forwarded_in == forwarded {
            assert!(self.out.bytes <= datagram.len(), "answered with more than was sent");
        }
    }

    /// A datagram that its leg's client may have sent.
    fn speak(&mut self, program: &mut Program<'_>) -> Option<()> {
        let (leg, version, from) = (program.byte()? % LEGS, program.byte()? % KEYS, program.byte()?);
        let seq = u16::from_be_bytes([program.byte()?, program.byte()?]);
        let payload = program.bytes()?;
        let header = RtpHeader {
            payload_type: OPUS_PAYLOAD_TYPE,
            seq,
            time: RtpTime(u32::from(seq) * 960),
            ssrc: ssrc(leg),
            ..RtpHeader::default()
        };
        let mut buf = [0; 400];
        let at = header.write(&[], &mut buf).expect("there is room");
        buf[at..at + payload.len()].copy_from_slice(payload);
        let session = &mut self.sessions[usize::from(leg * KEYS + version)];
        let len = session.seal_rtp(&mut buf, at + payload.len()).expect("there is room");
        self.shard.handle_datagram(self.now, address(from), &mut buf[..len], &mut self.out);
        Some(())
    }

    fn tell(&mut self, message: ToSfu) {
        self.shard.handle_message(self.now, message, &mut self.out).expect("nothing here is beyond a limit");
    }
}

fn ssrc(leg: u8) -> Ssrc {
    // Two legs share one, so that streams change hands.
    Ssrc(1000 + u32::from(leg.min(LEGS - 2)))
}

fn wanted(leg: u8, room: u8, flags: u8, version: u8) -> Leg {
    let native = Native {
        mode: Mode::ALL[usize::from(leg)].name().to_owned(),
        key: key(leg, version % KEYS).to_vec(),
        claimed_address: address(version).to_string(),
    };
    Leg {
        id: u64::from(leg),
        room: u64::from(room),
        ssrc: ssrc(leg).0,
        speak: flags & 1 != 0,
        hear: flags & 2 != 0,
        native: (flags & 4 == 0).then_some(native),
        ..Leg::default()
    }
}

impl Shard {
    /// Every index leads where it says, and back.
    fn assert_consistent(&self) {
        let mut members = 0;
        let mut addresses = 0;
        let mut browsers = 0;
        let mut checks = 0;
        for (index, leg) in self.legs.iter() {
            assert_eq!(self.by_id.get(&leg.id), Some(&index));
            assert_eq!(self.by_ssrc.get(&leg.ssrc), Some(&index));
            if let Some(address) = leg.path.address() {
                assert_eq!(self.by_address.get(&address), Some(&index));
                addresses += 1;
            }
            let room = self.rooms.get(leg.room);
            assert_eq!(room.members()[leg.member_at], index);
            let listens = leg.hear && leg.is_ready() && leg.path.address().is_some();
            assert_eq!(leg.route_at.map(|at| room.routes()[at]), listens.then_some(index));
            assert!(room.routes().len() <= room.members().len());
            members += 1;
            if let Some(browser) = leg.browser() {
                assert_eq!(self.by_ufrag.get(browser.ufrag()), Some(&index));
                let checked =
                    browser.checked.addresses().filter(|from| self.by_check.get(from) == Some(&index));
                checks += checked.count();
                browsers += 1;
            }
        }
        assert_eq!((self.by_id.len(), self.by_ssrc.len()), (members, members));
        assert_eq!(self.by_address.len(), addresses);
        assert_eq!(self.by_ufrag.len(), browsers);
        assert_eq!(self.by_check.len(), checks);
        assert_eq!(self.legs.len(), members);
        self.assert_written();
    }

    /// Another process would know of each leg what this one does.
    fn assert_written(&self) {
        let written = self.page.read().legs;
        for (_, leg) in self.legs.iter() {
            let found = written.iter().find(|found| Some(found.slot) == leg.slot);
            match (leg.state(), found) {
                (Some(state), Some(found)) if !found.is_incomplete => assert_eq!(found.state, state),
                _ => assert_eq!(leg.slot, found.map(|found| found.slot)),
            }
        }
        assert_eq!(written.len(), self.legs.iter().filter(|(_, leg)| leg.slot.is_some()).count());
    }
}
