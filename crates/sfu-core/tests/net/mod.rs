//! A network in memory: clients with the transport's own keys on one side, one shard on the other, virtual
//! time.
#![allow(dead_code, clippy::unwrap_used)]

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use rtp_wire::{
    DiscoveryRequest, DiscoveryResponse, Kind, OPUS_PAYLOAD_TYPE, RtpHeader, RtpTime, SeqNo, Ssrc, classify,
};
use sfu_core::limits::DATAGRAM_BYTES_MAX;
use sfu_core::{DropReason, Memory, Shard, Sink};
use sfu_wire::{FromSfu, Leg, Native, RemoveLeg, Snapshot, Start, ToSfu};
use transport::{Key, Mode, NonceCounter, ReplayWindow, Session};

pub const VOICE: &[u8] = b"\x78 twenty milliseconds of somebody's voice";

/// The sink: whatever is committed is on the wire.
pub struct Wire {
    slot: Vec<u8>,
    pub sent: Vec<(SocketAddr, Vec<u8>)>,
}

impl Default for Wire {
    fn default() -> Self {
        Self { slot: vec![0xAA; DATAGRAM_BYTES_MAX], sent: Vec::new() }
    }
}

impl Sink for Wire {
    fn slot(&mut self) -> &mut [u8] {
        &mut self.slot
    }

    fn commit(&mut self, to: SocketAddr, len: usize) {
        self.sent.push((to, self.slot[..len].to_vec()));
    }
}

/// One frame as a listener reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heard {
    pub ssrc: Ssrc,
    pub seq: SeqNo,
    pub time: RtpTime,
    pub payload: Vec<u8>,
}

pub struct Client {
    pub leg: Leg,
    pub address: SocketAddr,
    pub key: Key,
    pub session: Session,
    pub seq: u16,
    pub time: u32,
    pub windows: HashMap<Ssrc, ReplayWindow>,
    pub heard: Vec<Heard>,
    pub rtcp: usize,
    /// The relay's counter in the last report that it sent.
    pub last_nonce: Option<u32>,
    pub discovered: Option<DiscoveryResponse>,
    pub pongs: usize,
}

/// Memory for so many legs. It stays, as that of a relay does.
pub fn memory(legs: usize) -> Memory {
    (0..16 + legs * 248).map(|_| AtomicU64::new(0)).collect::<Vec<_>>().leak()
}

pub struct World {
    pub now: Instant,
    pub shard: Shard,
    /// Where the shard writes what its successor must know.
    pub memory: Memory,
    pub wire: Wire,
    pub clients: Vec<Client>,
    pub events: Vec<FromSfu>,
    /// What went to addresses that are no native client's.
    pub elsewhere: Vec<(SocketAddr, Vec<u8>)>,
    /// Every nonce ever seen under a key, in either direction.
    nonces: HashSet<([u8; 32], u32)>,
}

impl Default for World {
    fn default() -> Self {
        Self::with_rate(0)
    }
}

impl World {
    pub fn with_rate(sender_packets_per_s_max: u32) -> Self {
        let now = Instant::now();
        let start =
            Start { protocol: 1, shard: 3, seed: vec![5; 32], sender_packets_per_s_max, ..Start::default() };
        let memory = memory(60);
        let mut shard = Shard::with_memory(now, &start, memory);
        shard.handle_message(now, ToSfu::Snapshot(Snapshot::default()), &mut Wire::default()).unwrap();
        Self {
            now,
            shard,
            memory,
            wire: Wire::default(),
            clients: Vec::new(),
            events: Vec::new(),
            elsewhere: Vec::new(),
            nonces: HashSet::new(),
        }
    }

    pub fn tell(&mut self, message: ToSfu) {
        self.shard.handle_message(self.now, message, &mut self.wire).unwrap();
        self.settle();
    }

    /// A client that exists for signalling but has not selected a protocol.
    pub fn arrive(&mut self, room: u64, mode: Mode) -> usize {
        let n = self.clients.len();
        let ssrc = 1000 + 5 * n as u32;
        let mut key = [7; 32];
        key[..8].copy_from_slice(&(n as u64).to_be_bytes());
        let key = Key::new(key);
        let leg = Leg { id: n as u64, room, ssrc, speak: true, hear: true, ..Leg::default() };
        self.clients.push(Client {
            leg,
            address: SocketAddr::from(([10, 0, (n >> 8) as u8, n as u8], 5000)),
            session: Session::new(mode, &key, NonceCounter::client(n as u32 % 3), [n as u8; 16]),
            key,
            seq: (n as u16).wrapping_mul(40_503),
            time: (n as u32).wrapping_mul(2_654_435_761),
            windows: HashMap::new(),
            heard: Vec::new(),
            rtcp: 0,
            last_nonce: None,
            discovered: None,
            pongs: 0,
        });
        self.put(n);
        n
    }

    pub fn put(&mut self, n: usize) {
        self.tell(ToSfu::PutLeg(self.clients[n].leg.clone()));
    }

    pub fn remove(&mut self, n: usize) {
        self.tell(ToSfu::RemoveLeg(RemoveLeg { id: self.clients[n].leg.id }));
    }

    pub fn native(&self, n: usize, claimed: &str) -> Native {
        let client = &self.clients[n];
        Native {
            mode: client.session.mode().name().to_owned(),
            key: client.key.expose().to_vec(),
            claimed_address: claimed.to_owned(),
        }
    }

    /// Everything that a client does before its first frame.
    pub fn join_as(&mut self, room: u64, mode: Mode) -> usize {
        let n = self.arrive(room, mode);
        self.discover(n);
        let seen = self.clients[n].discovered.unwrap();
        self.select(n, &format!("{}:{}", seen.ip, seen.port));
        n
    }

    pub fn join(&mut self, room: u64) -> usize {
        self.join_as(room, Mode::ALL[self.clients.len() % 3])
    }

    pub fn discover(&mut self, n: usize) {
        let mut datagram = [0; 74];
        DiscoveryRequest { ssrc: Ssrc(self.clients[n].leg.ssrc) }.write(&mut datagram).unwrap();
        self.send(self.clients[n].address, &datagram);
    }

    pub fn select(&mut self, n: usize, claimed: &str) {
        self.clients[n].leg.native = Some(self.native(n, claimed));
        self.put(n);
    }

    pub fn set(&mut self, n: usize, change: impl FnOnce(&mut Leg)) {
        change(&mut self.clients[n].leg);
        self.put(n);
    }

    /// A sealed frame of a client, numbered one on.
    pub fn frame(&mut self, n: usize, payload: &[u8]) -> Vec<u8> {
        let client = &mut self.clients[n];
        client.seq = client.seq.wrapping_add(1);
        client.time = client.time.wrapping_add(960);
        let (seq, time) = (client.seq, RtpTime(client.time));
        self.frame_at(n, seq, time, payload)
    }

    pub fn frame_at(&mut self, n: usize, seq: u16, time: RtpTime, payload: &[u8]) -> Vec<u8> {
        let client = &mut self.clients[n];
        let ssrc = Ssrc(client.leg.ssrc);
        let mut buf = vec![0; 2000];
        let header = RtpHeader { payload_type: OPUS_PAYLOAD_TYPE, seq, time, ssrc, ..RtpHeader::default() };
        let at = header.write(&[], &mut buf).unwrap();
        buf[at..at + payload.len()].copy_from_slice(payload);
        let len = client.session.seal_rtp(&mut buf, at + payload.len()).unwrap();
        buf.truncate(len);
        tap(&mut self.nonces, &self.clients[n], &buf);
        buf
    }

    pub fn talk(&mut self, n: usize) {
        self.say(n, VOICE);
    }

    pub fn say(&mut self, n: usize, payload: &[u8]) {
        let frame = self.frame(n, payload);
        self.send(self.clients[n].address, &frame);
    }

    /// Frames 20 ms apart, the shard's timers running meanwhile.
    pub fn talk_for(&mut self, n: usize, frames: usize) {
        for _ in 0..frames {
            self.talk(n);
            self.wait(20);
        }
    }

    /// One datagram to the shard, and whatever that leads to.
    pub fn send(&mut self, from: SocketAddr, datagram: &[u8]) {
        let mut datagram = datagram.to_vec();
        self.shard.handle_datagram(self.now, from, &mut datagram, &mut self.wire);
        self.settle();
    }

    pub fn wait(&mut self, ms: u64) {
        let until = self.now + Duration::from_millis(ms);
        while let Some((at, _)) = self.shard.poll_timeout()
            && at <= until
        {
            self.now = self.now.max(at);
            self.shard.handle_timeout(self.now, &mut self.wire);
            self.settle();
        }
        self.now = until;
    }

    /// Delivers what is on the wire and hears what the shard has to tell.
    pub fn settle(&mut self) {
        for (to, datagram) in std::mem::take(&mut self.wire.sent) {
            if let Some(n) = self.clients.iter().position(|client| client.address == to) {
                tap(&mut self.nonces, &self.clients[n], &datagram);
                self.clients[n].receive(datagram);
            } else {
                self.elsewhere.push((to, datagram));
            }
        }
        while let Some(event) = self.shard.poll_event() {
            self.events.push(event);
        }
        assert!(self.shard.counters().conserved());
    }

    pub fn dropped(&self, reason: DropReason) -> u64 {
        self.shard.counters().dropped(reason)
    }

    /// What a client has heard since it was last asked.
    pub fn heard(&mut self, n: usize) -> Vec<Heard> {
        std::mem::take(&mut self.clients[n].heard)
    }

    pub fn events(&mut self) -> Vec<FromSfu> {
        std::mem::take(&mut self.events)
    }
}

/// Fails when a nonce is used a second time under one key, by whichever side.
fn tap(nonces: &mut HashSet<([u8; 32], u32)>, client: &Client, datagram: &[u8]) {
    let has_counter = !matches!(client.session.mode(), Mode::XSalsa20Poly1305 | Mode::XSalsa20Poly1305Suffix);
    if has_counter && matches!(classify(datagram), Kind::Rtp | Kind::Rtcp) {
        let nonce = u32::from_be_bytes(*datagram.last_chunk().unwrap());
        assert!(nonces.insert((*client.key.expose(), nonce)), "a nonce was used twice");
    }
}

impl Client {
    /// As the client libraries do it: numbers are remembered for each stream, the server's counter is not.
    fn receive(&mut self, mut datagram: Vec<u8>) {
        let mut session = Session::new(self.session.mode(), &self.key, NonceCounter::client(0), [0; 16]);
        match classify(&datagram) {
            Kind::Rtp => {
                let ssrc = RtpHeader::peek_ssrc(&datagram).unwrap();
                let window = self.windows.entry(ssrc).or_default();
                let opened = session.open_rtp(&mut datagram, window).expect("sealed for this client");
                assert_eq!(opened.header_len, 12, "the plainest header");
                assert_eq!(opened.header.payload_type, OPUS_PAYLOAD_TYPE);
                assert!(!opened.header.marker);
                let payload = datagram[opened.body].to_vec();
                self.heard.push(Heard { ssrc, seq: opened.seq, time: opened.header.time, payload });
            }
            Kind::Rtcp => {
                self.last_nonce = datagram.last_chunk().copied().map(u32::from_be_bytes);
                assert_eq!(session.open_rtcp(&mut datagram), Ok(8));
                self.rtcp += 1;
            }
            _ if datagram.len() == 8 => self.pongs += 1,
            _ => self.discovered = Some(DiscoveryResponse::parse(&datagram).expect("nothing else is sent")),
        }
    }
}

/// Numbers that follow one another, and times that never go back.
#[track_caller]
pub fn assert_continuous(heard: &[Heard]) {
    for pair in heard.windows(2) {
        assert_eq!(pair[1].seq, pair[0].seq.next());
        assert!(pair[1].time.since(pair[0].time) > 0);
    }
}
