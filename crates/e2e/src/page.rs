//! A browser's voice made by hand: its fragment, its checks, its handshake, its packets, right or wrong, over UDP or over TCP.
//!
//! Owns: one voice session of `webrtc` and its transport. Deliberately does not: do anything by itself. A test says when a check is sent and
//! whether it is a good one.

use std::collections::{BTreeMap, VecDeque};
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_lc_rs::digest;
use client_wire::fragment::{Fingerprint, ServerFragment};
use dimpl::{Dtls, DtlsCertificate, Output};
use hmac::{Hmac, KeyInit as _, Mac as _};
use rtp_wire::stun::{StunBuilder, StunMessage};
use rtp_wire::{Kind, PayloadType, RtpHeader, RtpTime, SeqNo, Ssrc, classify};
use serde_json::json;
use sha1::Sha1;
use transport::{DtlsRole, ReplayWindow, Srtp, SrtpProfile};

use crate::Server;
use crate::raw::{Raw, Ticket, voice_wire};
use crate::wire::{Heard, WITHIN, Wire, connect};

const UFRAG: &str = "page";
const PWD: &str = "thePasswordOfAPageMadeByHand";
const OPUS: u8 = 111;

/// The certificate of a page.
pub struct Identity {
    pub certificate: DtlsCertificate,
    pub fingerprint: Fingerprint,
}

impl Identity {
    pub fn generate() -> Self {
        let key = rcgen::KeyPair::generate().expect("there is randomness");
        let params = rcgen::CertificateParams::default();
        let der = params.self_signed(&key).expect("nothing about it is odd").der().to_vec();
        let hash = digest::digest(&digest::SHA256, &der);
        let fingerprint = Fingerprint(hash.as_ref().try_into().expect("SHA-256 has 32 bytes"));
        Self {
            certificate: DtlsCertificate { certificate: der, private_key: key.serialize_der() },
            fingerprint,
        }
    }
}

/// What carries packets.
pub enum Link {
    Udp(UdpSocket),
    Tcp { stream: TcpStream, unread: Vec<u8> },
}

impl Link {
    pub fn udp(from: Ipv4Addr, to: SocketAddr) -> Self {
        let socket = UdpSocket::bind((from, 0)).expect("every 127/8 address is this machine's");
        socket.connect(to).expect("loopback goes everywhere");
        Self::Udp(socket)
    }

    pub fn tcp(from: Ipv4Addr, to: SocketAddr) -> Self {
        Self::Tcp { stream: connect(from, to), unread: Vec::new() }
    }

    /// False when the connection has ended.
    pub fn send(&mut self, packet: &[u8]) -> bool {
        match self {
            Self::Udp(socket) => socket.send(packet).is_ok(),
            Self::Tcp { stream, .. } => {
                let len = u16::try_from(packet.len()).expect("tests send no longer packets");
                stream.write_all(&[&len.to_be_bytes(), packet].concat()).is_ok()
            }
        }
    }

    /// The next packet, if it comes in time and the connection lasts.
    pub fn receive(&mut self, within: Duration) -> Option<Vec<u8>> {
        let deadline = Instant::now() + within;
        let mut buf = [0; 4_096];
        loop {
            let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
            let read = match self {
                Self::Udp(socket) => {
                    socket.set_read_timeout(Some(left)).expect("a socket takes options");
                    socket.recv(&mut buf)
                }
                Self::Tcp { stream, unread } => {
                    if let Some((len, rest)) = unread.split_first_chunk::<2>()
                        && let Some(packet) = rest.get(..usize::from(u16::from_be_bytes(*len)))
                    {
                        let packet = packet.to_vec();
                        unread.drain(..2 + packet.len());
                        return Some(packet);
                    }
                    stream.set_read_timeout(Some(left)).expect("a socket takes options");
                    stream.read(&mut buf)
                }
            };
            match (read, &mut *self) {
                (Ok(len), Self::Udp(_)) => return Some(buf[..len].to_vec()),
                (Ok(0), Self::Tcp { .. }) => return None,
                (Ok(len), Self::Tcp { unread, .. }) => unread.extend_from_slice(&buf[..len]),
                (Err(e), _) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    if Instant::now() >= deadline {
                        return None;
                    }
                }
                (Err(_), _) => return None,
            }
        }
    }
}

/// A packet of somebody's stream that could be decrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame {
    pub ssrc: Ssrc,
    pub seq: SeqNo,
    pub time: RtpTime,
}

/// A voice session of `webrtc`.
pub struct Page {
    pub wire: Wire,
    pub from: Ipv4Addr,
    identity: Identity,
    /// What the server said of its end, last.
    pub server: ServerFragment,
    pub link: Link,
    srtp: Option<Srtp>,
    windows: BTreeMap<Ssrc, ReplayWindow>,
    pub ssrc: Ssrc,
    seq: SeqNo,
    time: RtpTime,
    /// Checks that were answered.
    pub answers: usize,
    pub heard: VecDeque<Frame>,
    /// Sealed reports that came.
    pub reports: usize,
    checks: u32,
}

impl Page {
    /// Joins and selects, over UDP until told otherwise.
    pub fn join(server: &Server, raw: &mut Raw, channel: &str) -> Self {
        let ticket = raw.ticket(channel);
        Self::follow(server, raw, &ticket, None)
    }

    /// `named` is the certificate that it says it has, if not its own.
    pub fn follow(server: &Server, raw: &Raw, ticket: &Ticket, named: Option<Fingerprint>) -> Self {
        let mut wire = voice_wire(server, ticket, raw.from, 8);
        wire.send(&raw.voice_identify(ticket));
        wire.op(2);
        let identity = Identity::generate();
        let ours = try_select(&mut wire, named.unwrap_or(identity.fingerprint)).expect("a session has begun");
        let link = Link::udp(raw.from, ours.address.into());
        Self {
            wire,
            from: raw.from,
            identity,
            server: ours,
            link,
            srtp: None,
            windows: BTreeMap::new(),
            ssrc: Ssrc(rand::random()),
            seq: SeqNo(1_000),
            time: RtpTime(5),
            answers: 0,
            heard: VecDeque::new(),
            reports: 0,
            checks: 0,
        }
    }

    /// Another transport for the same session. False when the server has ended the session meanwhile.
    pub fn select_again(&mut self) -> bool {
        let Some(ours) = try_select(&mut self.wire, self.identity.fingerprint) else { return false };
        self.server = ours;
        self.srtp = None;
        true
    }

    /// From now on over TCP.
    pub fn connect_tcp(&mut self) {
        self.link = Link::tcp(self.from, self.tcp_address());
    }

    pub fn tcp_address(&self) -> SocketAddr {
        let port = self.server.tcp_port.expect("the server offers TCP");
        SocketAddr::from((*self.server.address.ip(), port))
    }

    /// A binding request with this password.
    pub fn check_with(&mut self, pwd: &str) -> Vec<u8> {
        self.checks += 1;
        let mut transaction = [7; 12];
        transaction[..4].copy_from_slice(&self.checks.to_be_bytes());
        let mut buf = [0; 200];
        let mut request = StunBuilder::request(transaction, &mut buf).expect("it fits");
        let written = (|| {
            request.username(&format!("{}:{UFRAG}", self.server.ufrag))?;
            request.priority(1)?;
            request.controlling(5)?;
            request.use_candidate()?;
            request.integrity(|header, body| {
                let mut mac = Hmac::<Sha1>::new_from_slice(pwd.as_bytes()).expect("any key will do");
                mac.update(header);
                mac.update(body);
                mac.finalize().into_bytes().into()
            })?;
            request.fingerprint()
        })();
        written.expect("it fits");
        let len = request.finish();
        buf[..len].to_vec()
    }

    pub fn check(&mut self) -> Vec<u8> {
        let pwd = self.server.pwd.clone();
        self.check_with(&pwd)
    }

    /// Proves that the path works.
    pub fn establish(&mut self) {
        let deadline = Instant::now() + WITHIN;
        let before = self.answers;
        // The relay may hear of the leg a moment after the client: as browsers do, it asks again.
        while self.answers == before {
            assert!(Instant::now() < deadline, "no check was answered");
            let check = self.check();
            assert!(self.link.send(&check), "the connection was ended");
            self.take_in(Duration::from_millis(200));
        }
    }

    /// The handshake, from its first flight to the keys.
    pub fn shake_hands(&mut self) {
        assert!(self.try_hands(WITHIN), "the handshake does not end");
    }

    /// The first flight of a handshake.
    pub fn hello(&self) -> Vec<u8> {
        let mut dtls = self.client();
        let mut buffer = vec![0; 4_096];
        dtls.handle_timeout(Instant::now()).expect("it is in time");
        loop {
            match dtls.poll_output(&mut buffer) {
                Output::Packet(packet) => return packet.to_vec(),
                Output::Timeout(_) => panic!("a client speaks first"),
                _ => {}
            }
        }
    }

    fn client(&self) -> Dtls {
        let config = Arc::new(dimpl::Config::default());
        let mut dtls = Dtls::new_12(config, self.identity.certificate.clone(), Instant::now());
        dtls.set_active(true);
        dtls
    }

    /// False when the server has not shaken hands by then.
    pub fn try_hands(&mut self, within: Duration) -> bool {
        let mut dtls = self.client();
        let deadline = Instant::now() + within;
        let mut buffer = vec![0; 4_096];
        let mut keys = None;
        let mut is_done = false;
        while !is_done {
            if Instant::now() >= deadline {
                return false;
            }
            dtls.handle_timeout(Instant::now()).expect("it is in time");
            loop {
                match dtls.poll_output(&mut buffer) {
                    Output::Packet(packet) => drop(self.link.send(packet)),
                    Output::KeyingMaterial(material, profile) => {
                        let profile = SrtpProfile::from_name(&profile.to_string()).expect("one of ours");
                        keys = Srtp::new(profile, &material, DtlsRole::Client).ok();
                    }
                    Output::Connected => is_done = true,
                    Output::Timeout(_) => break,
                    _ => {}
                }
            }
            if !is_done && let Some(packet) = self.link.receive(Duration::from_millis(50)) {
                match classify(&packet) {
                    Kind::Dtls => dtls.handle_packet(&packet).expect("the server's handshake is sound"),
                    _ => self.take(packet),
                }
            }
        }
        self.srtp = Some(keys.expect("a handshake makes keys"));
        true
    }

    /// All the way to media.
    pub fn connect(&mut self) {
        self.establish();
        self.shake_hands();
        self.wire.send(&json!({"op": 5, "d": {"speaking": 1, "delay": 0, "ssrc": self.ssrc.0}}));
    }

    /// The next packet of our stream, sealed.
    pub fn packet(&mut self, payload: &[u8]) -> Vec<u8> {
        self.seq = self.seq.next();
        self.time = self.time.wrapping_add(960);
        let header = RtpHeader {
            payload_type: PayloadType(OPUS),
            seq: self.seq.wire(),
            time: self.time,
            ssrc: self.ssrc,
            ..RtpHeader::default()
        };
        let mut buf = vec![0; payload.len() + 100];
        let at = header.write(&[], &mut buf).expect("it fits");
        buf[at..at + payload.len()].copy_from_slice(payload);
        let srtp = self.srtp.as_mut().expect("the handshake is done");
        let len = srtp.seal_rtp(&mut buf, at + payload.len(), self.seq).expect("it can be sealed");
        buf.truncate(len);
        buf
    }

    pub fn say(&mut self, payload: &[u8]) {
        let packet = self.packet(payload);
        assert!(self.link.send(&packet), "the connection was ended");
    }

    /// A compound of reports, sealed.
    pub fn report(&mut self, plain: &[u8]) -> Vec<u8> {
        let mut buf = plain.to_vec();
        buf.resize(plain.len() + 100, 0);
        let srtp = self.srtp.as_mut().expect("the handshake is done");
        let len = srtp.seal_rtcp(&mut buf, plain.len()).expect("it can be sealed");
        buf.truncate(len);
        buf
    }

    /// Takes in the next packet. False when none came.
    pub fn take_in(&mut self, within: Duration) -> bool {
        let Some(packet) = self.link.receive(within) else { return false };
        self.take(packet);
        true
    }

    /// Takes in what comes until `wanted` is satisfied.
    pub fn hear(&mut self, what: &str, mut wanted: impl FnMut(&Self) -> bool) {
        let deadline = Instant::now() + WITHIN;
        while !wanted(self) {
            assert!(Instant::now() < deadline, "waited for {what}; heard {} frames", self.heard.len());
            self.take_in(Duration::from_millis(100));
        }
    }

    fn take(&mut self, mut packet: Vec<u8>) {
        match (classify(&packet), &mut self.srtp) {
            (Kind::Stun, _) => {
                let answer = StunMessage::parse(&packet).expect("the relay speaks STUN");
                assert!(answer.is_binding_success(), "{answer:?}");
                self.answers += 1;
            }
            (Kind::Rtp, Some(srtp)) => {
                let ssrc = RtpHeader::peek_ssrc(&packet).expect("it is RTP");
                let window = self.windows.entry(ssrc).or_default();
                let opened = srtp.open_rtp(&mut packet, window).expect("what comes is for us and new");
                self.heard.push_back(Frame { ssrc, seq: opened.seq, time: opened.header.time });
            }
            (Kind::Rtcp, Some(srtp)) => {
                srtp.open_rtcp(&mut packet).expect("what comes is for us and new");
                self.reports += 1;
            }
            // The server repeats the end of a handshake where it thinks that it was lost.
            _ => {}
        }
    }
}

/// What a page says in SELECT PROTOCOL.
pub fn fragment(fingerprint: Fingerprint) -> String {
    format!(
        "a=extmap-allow-mixed\na=ice-ufrag:{UFRAG}\na=ice-pwd:{PWD}\na=ice-options:trickle\na=fingerprint:sha-256 {fingerprint}\n\
         a=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level\na=rtpmap:{OPUS} opus/48000/2"
    )
}

fn try_select(wire: &mut Wire, fingerprint: Fingerprint) -> Option<ServerFragment> {
    let fragment = fragment(fingerprint);
    wire.send(&json!({"op": 1, "d": {"protocol": "webrtc", "data": fragment}}));
    loop {
        match wire.next(WITHIN) {
            Some(Heard::Text(frame)) if frame["op"] == 4 => {
                let sdp = frame["d"]["sdp"].as_str().expect("a browser is told a fragment");
                return Some(ServerFragment::parse(sdp).expect("the server's fragment is whole"));
            }
            Some(Heard::Text(_)) => {}
            Some(Heard::Closed(_)) => return None,
            None => panic!("a selection is not answered; so far:\n{}", wire.received.join("\n")),
        }
    }
}
