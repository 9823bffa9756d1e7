//! Signalling's and a native client's ends of a relay, over real sockets.
#![allow(dead_code, clippy::unwrap_used)]

pub mod page;

use std::collections::{HashMap, HashSet};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, UdpSocket};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rtp_wire::{
    DiscoveryRequest, DiscoveryResponse, Kind, OPUS_PAYLOAD_TYPE, RtpHeader, SeqNo, Ssrc, classify,
};
use sfu_wire::{Deframer, Framed as _, FromSfu, Hello, Leg, Native, Report, Start, ToSfu};
use transport::{Key, Mode, NonceCounter, ReplayWindow, Session};

/// Nothing here takes long; a test that waits longer for something has failed.
pub const PATIENCE: Duration = Duration::from_secs(20);
pub const VOICE: &[u8] = b"\x78 twenty milliseconds of somebody's voice";

/// What signalling holds of a shard.
pub struct Signalling {
    pub stream: UnixStream,
    pub deframer: Deframer,
}

impl Signalling {
    pub fn pair() -> (Self, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_read_timeout(Some(PATIENCE)).unwrap();
        (Self { stream: ours, deframer: Deframer::default() }, theirs)
    }

    pub fn tell(&mut self, message: ToSfu) {
        let mut bytes = Vec::new();
        message.append_to(&mut bytes);
        self.stream.write_all(&bytes).unwrap();
    }

    pub fn start(&mut self) {
        self.tell(ToSfu::Start(Start {
            protocol: 1,
            shard: 2,
            seed: vec![9; 32],
            sender_packets_per_s_max: 0,
            ..Start::default()
        }));
    }

    /// What comes after the hello.
    pub fn hear(&mut self) -> FromSfu {
        loop {
            match self.hear_all() {
                FromSfu::Hello(_) => {}
                event => return event,
            }
        }
    }

    pub fn hear_hello(&mut self) -> Hello {
        match self.hear_all() {
            FromSfu::Hello(hello) => hello,
            other => panic!("{other:?} before a hello"),
        }
    }

    fn hear_all(&mut self) -> FromSfu {
        loop {
            if let Some(event) = self.deframer.next_message().unwrap() {
                return event;
            }
            let mut chunk = [0; 4096];
            let len = self.stream.read(&mut chunk).unwrap();
            assert!(len > 0, "the relay is gone");
            self.deframer.push(&chunk[..len]);
        }
    }

    pub fn hear_report(&mut self) -> Report {
        loop {
            if let FromSfu::Report(report) = self.hear() {
                return report;
            }
        }
    }

    pub fn await_connected(&mut self, expect: u64) {
        while !matches!(self.hear(), FromSfu::LegConnected(connected) if connected.id == expect) {}
    }
}

pub struct Client {
    pub id: u64,
    pub socket: UdpSocket,
    relay: SocketAddr,
    session: Session,
    pub seq: u16,
    pub windows: HashMap<Ssrc, ReplayWindow>,
    /// Every nonce that was used under its key, in either direction.
    nonces: HashSet<[u8; 4]>,
}

impl Client {
    pub fn new(id: u64, relay: SocketAddr) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let session =
            Session::new(Mode::Aes256GcmRtpsize, &Key::new([id as u8; 32]), NonceCounter::client(1), [0; 16]);
        Self { id, socket, relay, session, seq: 7, windows: HashMap::new(), nonces: HashSet::new() }
    }

    pub fn ssrc(&self) -> Ssrc {
        Ssrc(100 + self.id as u32)
    }

    pub fn leg(&self) -> Leg {
        let native = Native {
            mode: Mode::Aes256GcmRtpsize.name().into(),
            key: vec![self.id as u8; 32],
            claimed_address: self.socket.local_addr().unwrap().to_string(),
        };
        Leg {
            id: self.id,
            room: 1,
            ssrc: self.ssrc().0,
            speak: true,
            hear: true,
            native: Some(native),
            ..Leg::default()
        }
    }

    pub fn discover(&self) {
        let mut request = [0; 74];
        DiscoveryRequest { ssrc: self.ssrc() }.write(&mut request).unwrap();
        self.socket.send_to(&request, self.relay).unwrap();
        let mut answer = [0; 100];
        let (len, _) = self.socket.recv_from(&mut answer).unwrap();
        let seen = DiscoveryResponse::parse(&answer[..len]).unwrap();
        assert_eq!(SocketAddr::new(seen.ip, seen.port), self.socket.local_addr().unwrap());
    }

    pub fn talk(&mut self) {
        self.say(VOICE);
    }

    pub fn say(&mut self, payload: &[u8]) {
        self.seq += 1;
        let header = RtpHeader {
            payload_type: OPUS_PAYLOAD_TYPE,
            seq: self.seq,
            ssrc: self.ssrc(),
            ..RtpHeader::default()
        };
        let mut buf = [0; 200];
        let at = header.write(&[], &mut buf).unwrap();
        buf[at..at + payload.len()].copy_from_slice(payload);
        let len = self.session.seal_rtp(&mut buf, at + payload.len()).unwrap();
        self.tap(&buf[..len]);
        self.socket.send_to(&buf[..len], self.relay).unwrap();
    }

    pub fn hear(&mut self) -> (Ssrc, Vec<u8>) {
        let until = Instant::now() + PATIENCE;
        loop {
            // What keeps the path open goes on coming.
            assert!(Instant::now() < until, "nothing is heard");
            if let Some((ssrc, _, payload)) = self.receive() {
                return (ssrc, payload);
            }
        }
    }

    /// The next packet: its stream, its number and what is in it; nothing of one that only keeps the path open.
    pub fn receive(&mut self) -> Option<(Ssrc, SeqNo, Vec<u8>)> {
        let mut buf = [0; 2048];
        let (len, from) = self.socket.recv_from(&mut buf).unwrap();
        assert_eq!(from, self.relay);
        self.tap(&buf[..len]);
        if classify(&buf[..len]) != Kind::Rtp {
            self.session.open_rtcp(&mut buf[..len]).unwrap();
            return None;
        }
        let ssrc = RtpHeader::peek_ssrc(&buf[..len]).unwrap();
        let opened = self.session.open_rtp(&mut buf[..len], self.windows.entry(ssrc).or_default()).unwrap();
        Some((ssrc, opened.seq, buf[opened.body].to_vec()))
    }

    fn tap(&mut self, sealed: &[u8]) {
        let nonce = *sealed.last_chunk().unwrap();
        assert!(self.nonces.insert(nonce), "a nonce was used twice: {nonce:?}");
    }
}

pub fn relay() -> (UdpSocket, SocketAddr) {
    let udp = udp_io::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = udp.local_addr().unwrap();
    (udp, address)
}
