//! A client made by hand: it does what a test tells it, right or wrong, and writes down everything that it receives.
//!
//! Owns: a gateway session, a voice session and a media socket from one address of choice. Deliberately does not: beat, reconnect or
//! resume; a test is over before it would have to.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use rtp_wire::{
    DISCOVERY_LEN, DiscoveryRequest, DiscoveryResponse, Kind, OPUS_PAYLOAD_TYPE, RtpHeader, Ssrc, classify,
};
use serde_json::{Value, json};
use transport::{Key, Mode, NonceCounter, ReplayWindow, Session};

use crate::wire::{WITHIN, Wire, tls};
use crate::{Server, User};

/// The kernel lets what comes in somebody's name through again after a tenth of a second or two.
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(300);
/// GUILDS and GUILD_VOICE_STATES, members' and channels' messages.
const INTENTS: u32 = 1 | 1 << 7 | 1 << 9 | 1 << 15;

/// A gateway session.
pub struct Raw {
    pub user: User,
    pub from: Ipv4Addr,
    pub guild: String,
    pub session: String,
    pub gateway: Wire,
}

/// What the gateway gives for a voice connection.
#[derive(Debug, Clone)]
pub struct Ticket {
    pub endpoint: String,
    pub token: String,
}

/// Something that came over the media socket.
#[derive(Debug, Clone)]
pub struct Datagram {
    pub raw: Vec<u8>,
    /// Decrypted, where it was encrypted.
    pub opened: Option<Vec<u8>>,
    pub kind: Kind,
}

impl Raw {
    /// Connects and identifies.
    pub fn connect(server: &Server, user: &User, from: Ipv4Addr) -> Self {
        let mut gateway = Wire::open(&format!("{}/?v=10&encoding=json", server.gateway()), from, None);
        gateway.op(10);
        gateway.send(&identify(&user.token));
        let ready = gateway.dispatch("READY");
        let session = ready["session_id"].as_str().expect("READY names the session").to_owned();
        gateway.dispatch("GUILD_CREATE");
        Self { user: user.clone(), from, guild: server.guild().to_owned(), session, gateway }
    }

    /// Asks to be in a channel, or in none.
    pub fn state(&mut self, channel: Option<&str>, mute: bool) {
        let d = json!({
            "guild_id": self.guild, "channel_id": channel, "self_mute": mute, "self_deaf": false,
        });
        self.gateway.send(&json!({"op": 4, "d": d}));
    }

    /// Asks to be in a channel and waits for the way there.
    pub fn ticket(&mut self, channel: &str) -> Ticket {
        self.state(Some(channel), false);
        self.next_ticket()
    }

    pub fn next_ticket(&mut self) -> Ticket {
        let d = self.gateway.dispatch("VOICE_SERVER_UPDATE");
        let text = |key: &str| d[key].as_str().expect("a voice server is up").to_owned();
        Ticket { endpoint: text("endpoint"), token: text("token") }
    }

    /// Waits until somebody's voice state satisfies the condition.
    pub fn until_state(&mut self, user: &User, what: &str, wanted: impl Fn(&Value) -> bool) {
        self.gateway.until(what, |v| {
            v["t"] == "VOICE_STATE_UPDATE" && v["d"]["user_id"] == user.id.as_str() && wanted(&v["d"])
        });
    }

    /// What IDENTIFY on the voice gateway says.
    pub fn voice_identify(&self, ticket: &Ticket) -> Value {
        json!({"op": 0, "d": {
            "server_id": self.guild, "user_id": self.user.id, "session_id": self.session, "token": ticket.token,
        }})
    }

    /// A channel, from asking for it to the first key.
    pub fn join(&mut self, server: &Server, channel: &str) -> Voice {
        let ticket = self.ticket(channel);
        self.follow(server, &ticket)
    }

    pub fn follow(&mut self, server: &Server, ticket: &Ticket) -> Voice {
        let mut wire = voice_wire(server, ticket, self.from, 8);
        wire.send(&self.voice_identify(ticket));
        Voice::establish(wire, self.from)
    }
}

/// IDENTIFY on the main gateway.
pub fn identify(token: &str) -> Value {
    let properties = json!({"os": "linux", "browser": "raw", "device": "raw"});
    json!({"op": 2, "d": {"token": token, "intents": INTENTS, "properties": properties}})
}

/// A voice WebSocket that has been opened and nothing more.
pub fn voice_wire(server: &Server, ticket: &Ticket, from: Ipv4Addr, version: u8) -> Wire {
    let url = format!("wss://{}/?v={version}", ticket.endpoint);
    Wire::open(&url, from, Some(&tls(server)))
}

/// A voice session with its media socket.
pub struct Voice {
    pub wire: Wire,
    pub ssrc: Ssrc,
    pub media: SocketAddr,
    /// Bound to the client's own address and not connected, so that nothing that anybody sends here is hidden.
    pub socket: UdpSocket,
    /// Where discovery says that we are.
    pub seen_as: DiscoveryResponse,
    pub datagrams: Vec<Datagram>,
    security: Session,
    windows: std::collections::BTreeMap<Ssrc, ReplayWindow>,
    seq: u16,
}

impl Voice {
    /// From READY to the key, by way of IP discovery.
    fn establish(mut wire: Wire, from: Ipv4Addr) -> Self {
        let ready = wire.op(2);
        let number = |key: &str| ready[key].as_u64().expect("READY is whole");
        let ssrc = Ssrc(u32::try_from(number("ssrc")).expect("an SSRC has 32 bits"));
        let port = u16::try_from(number("port")).expect("a port has 16 bits");
        let ip: Ipv4Addr = ready["ip"].as_str().and_then(|ip| ip.parse().ok()).expect("an IPv4 literal");
        let media = SocketAddr::from((ip, port));
        let socket = UdpSocket::bind((from, 0)).expect("every 127/8 address is this machine's");
        let mut datagrams = Vec::new();
        let seen_as = discover(&socket, media, ssrc, &mut datagrams);
        let mode = Mode::Aes256GcmRtpsize;
        let data = json!({"address": seen_as.ip.to_string(), "port": seen_as.port, "mode": mode.name()});
        wire.send(&json!({"op": 1, "d": {"protocol": "udp", "data": data}}));
        let description = wire.op(4);
        let key: Vec<u8> = serde_json::from_value(description["secret_key"].clone()).expect("32 bytes");
        let key = Key::new(key.try_into().expect("32 bytes"));
        let security = Session::new(mode, &key, NonceCounter::client(rand::random()), rand::random());
        Self {
            wire,
            ssrc,
            media,
            socket,
            seen_as,
            datagrams,
            security,
            windows: Default::default(),
            seq: rand::random(),
        }
    }

    /// Announces speech, as has to be done before the first packet.
    pub fn speaking(&mut self) {
        self.wire.send(&json!({"op": 5, "d": {"speaking": 1, "delay": 0, "ssrc": self.ssrc.0}}));
    }

    /// The next packet of our stream, encrypted, not sent.
    pub fn packet(&mut self, payload: &[u8]) -> Vec<u8> {
        self.seq = self.seq.wrapping_add(1);
        self.packet_of(self.ssrc, self.seq, payload)
    }

    /// A packet that names a stream and number of choice, encrypted with our key.
    pub fn packet_of(&mut self, ssrc: Ssrc, seq: u16, payload: &[u8]) -> Vec<u8> {
        let header = RtpHeader {
            payload_type: OPUS_PAYLOAD_TYPE,
            seq,
            time: rtp_wire::RtpTime(u32::from(seq).wrapping_mul(960)),
            ssrc,
            ..Default::default()
        };
        let mut buf = vec![0; rtp_wire::FIXED_HEADER_LEN + payload.len() + Mode::OVERHEAD_MAX];
        let at = header.write(&[], &mut buf).expect("the buffer is long enough");
        buf[at..at + payload.len()].copy_from_slice(payload);
        let len = self.security.seal_rtp(&mut buf, at + payload.len()).expect("nonces are left");
        buf.truncate(len);
        buf
    }

    pub fn send(&self, datagram: &[u8]) {
        self.socket.send_to(datagram, self.media).expect("loopback takes datagrams");
    }

    /// Asks where we are and takes in everything that arrives until the answer: whatever the relay had for us by then is here.
    pub fn fence(&mut self) {
        let before = self.datagrams.len();
        discover(&self.socket, self.media, self.ssrc, &mut self.datagrams);
        for datagram in &mut self.datagrams[before..] {
            datagram.opened = open(&mut self.security, &mut self.windows, &datagram.raw);
        }
    }

    /// Takes in what arrives until `wanted` is satisfied.
    pub fn hear(&mut self, what: &str, mut wanted: impl FnMut(&[Datagram]) -> bool) {
        let deadline = Instant::now() + WITHIN;
        let mut buf = [0; 2048];
        while !wanted(&self.datagrams) {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "waited for {what}; {} datagrams came", self.datagrams.len());
            if let Some(raw) = receive(&self.socket, left, &mut buf) {
                let opened = open(&mut self.security, &mut self.windows, &raw);
                self.datagrams.push(Datagram { kind: classify(&raw), raw, opened });
            }
        }
    }

    /// Takes in what has arrived by now.
    pub fn drain(&mut self) {
        let mut buf = [0; 2048];
        self.socket.set_nonblocking(true).expect("a socket takes options");
        while let Ok((len, _)) = self.socket.recv_from(&mut buf) {
            let raw = buf[..len].to_vec();
            let opened = open(&mut self.security, &mut self.windows, &raw);
            self.datagrams.push(Datagram { kind: classify(&raw), raw, opened });
        }
        self.socket.set_nonblocking(false).expect("a socket takes options");
    }

    /// How many packets of this stream came and could be decrypted.
    pub fn heard_of(&self, ssrc: Ssrc) -> usize {
        count(&self.datagrams, ssrc)
    }
}

/// The audio packets of one stream among these that could be decrypted.
pub fn count(datagrams: &[Datagram], ssrc: Ssrc) -> usize {
    let is_of = |d: &&Datagram| {
        d.opened.is_some() && RtpHeader::parse(&d.raw).is_ok_and(|header| header.ssrc == ssrc)
    };
    datagrams.iter().filter(|d| d.kind == Kind::Rtp).filter(is_of).count()
}

fn open(
    security: &mut Session,
    windows: &mut std::collections::BTreeMap<Ssrc, ReplayWindow>,
    raw: &[u8],
) -> Option<Vec<u8>> {
    let mut buf = raw.to_vec();
    let len = match classify(raw) {
        Kind::Rtp => {
            let ssrc = RtpHeader::parse(raw).ok()?.ssrc;
            security.open_rtp(&mut buf, windows.entry(ssrc).or_default()).ok()?.len
        }
        Kind::Rtcp => security.open_rtcp(&mut buf).ok()?,
        _ => return None,
    };
    buf.truncate(len);
    Some(buf)
}

/// Asks where we are; every datagram up to the answer, the answer with it, is written down. What came before is taken first: a socket whose
/// buffer is full would lose the answer.
pub fn discover(
    socket: &UdpSocket,
    media: SocketAddr,
    ssrc: Ssrc,
    datagrams: &mut Vec<Datagram>,
) -> DiscoveryResponse {
    ask(socket, media, ssrc, datagrams, WITHIN)
}

/// The same about a stream in whose name others flood, so that a stranger's question may be dropped with theirs: asks again until it is answered.
pub fn discover_in_a_flood(
    socket: &UdpSocket,
    media: SocketAddr,
    ssrc: Ssrc,
    datagrams: &mut Vec<Datagram>,
) -> DiscoveryResponse {
    ask(socket, media, ssrc, datagrams, ASK_AGAIN_AFTER)
}

fn ask(
    socket: &UdpSocket,
    media: SocketAddr,
    ssrc: Ssrc,
    datagrams: &mut Vec<Datagram>,
    again_after: Duration,
) -> DiscoveryResponse {
    let mut request = [0; DISCOVERY_LEN];
    DiscoveryRequest { ssrc }.write(&mut request).expect("the buffer is long enough");
    let deadline = Instant::now() + WITHIN;
    let mut buf = [0; 2048];
    socket.set_nonblocking(true).expect("a socket takes options");
    while let Ok((len, _)) = socket.recv_from(&mut buf) {
        let raw = buf[..len].to_vec();
        datagrams.push(Datagram { kind: classify(&raw), raw, opened: None });
    }
    socket.set_nonblocking(false).expect("a socket takes options");
    loop {
        socket.send_to(&request, media).expect("loopback takes datagrams");
        if let Some(response) = answer(socket, ssrc, datagrams, Instant::now() + again_after) {
            return response;
        }
        assert!(Instant::now() < deadline, "discovery was not answered");
    }
}

fn answer(
    socket: &UdpSocket,
    ssrc: Ssrc,
    datagrams: &mut Vec<Datagram>,
    until: Instant,
) -> Option<DiscoveryResponse> {
    let mut buf = [0; 2048];
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return None;
        }
        let Some(raw) = receive(socket, left, &mut buf) else { continue };
        let response = DiscoveryResponse::parse(&raw);
        datagrams.push(Datagram { kind: classify(&raw), raw, opened: None });
        if let Some(response) = response.filter(|r| r.ssrc == ssrc) {
            return Some(response);
        }
    }
}

fn receive(socket: &UdpSocket, within: Duration, buf: &mut [u8]) -> Option<Vec<u8>> {
    socket.set_read_timeout(Some(within.max(Duration::from_millis(1)))).expect("a socket takes options");
    match socket.recv_from(buf) {
        Ok((len, _)) => Some(buf[..len].to_vec()),
        Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => None,
        Err(e) => panic!("the media socket fails: {e}"),
    }
}
