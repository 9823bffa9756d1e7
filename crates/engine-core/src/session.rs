//! One voice connection's media: what the shell talks to.

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use model::UserId;
use rtp_wire::{Kind, Packet, RtpHeader, Ssrc, rtcp};
use transport::{OpenError, ReplayWindow};

use crate::limits::{DATAGRAM_MAX, KEEPALIVE, STREAMS_MAX, TRANSMIT_QUEUE_MAX};
use crate::receiver::{Receiver, Source};
use crate::sender::{Sender, Sent};
use crate::{Frame, SenderConfig, SenderStats, StreamStats};

#[derive(Debug, Clone, Default)]
pub struct SessionConfig {
    pub sender: SenderConfig,
}

/// What SESSION DESCRIPTION and READY gave: our stream id and the sealed path. A new one for every new connection.
pub struct Keys {
    pub ssrc: Ssrc,
    pub security: transport::Session,
}

/// What the shell has to tell the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// Speech began or ended: op 5 of the voice gateway.
    Speaking(bool),
    /// The first authentic packet arrived: both ways are open.
    Connected,
}

/// Why the machine wants to be called again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeoutReason {
    Keepalive,
}

/// Datagrams and packets that went no further, by reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Dropped {
    pub not_media: u64,
    pub too_short: u64,
    pub replayed: u64,
    pub not_authentic: u64,
    /// Carried our own stream id, or a nonce of ours.
    pub reflected: u64,
    pub malformed: u64,
    /// RTP of something else than Opus.
    pub other_payload: u64,
    pub too_many_streams: u64,
    /// Made by us, and the queue was full.
    pub not_sent: u64,
}

/// The sealed path to one server, and where its streams are.
struct Path {
    keys: Keys,
    windows: BTreeMap<Ssrc, ReplayWindow>,
}

pub struct Session {
    path: Path,
    /// To the server before, which sends us on and serves us until we are there.
    former: Option<Path>,
    former_transmit: VecDeque<Vec<u8>>,
    sender: Sender,
    receiver: Receiver,
    transmit: VecDeque<Vec<u8>>,
    events: VecDeque<Event>,
    keepalive_at: Instant,
    connected: bool,
    dropped: Dropped,
    /// RTCP packets and keepalives received; they are authentic, and nothing else follows from them.
    control: u64,
}

impl Session {
    #[must_use]
    pub fn new(now: Instant, config: &SessionConfig, keys: Keys) -> Self {
        Self {
            sender: Sender::new(&config.sender, keys.ssrc),
            path: Path { keys, windows: BTreeMap::new() },
            former: None,
            former_transmit: VecDeque::new(),
            receiver: Receiver::new(),
            transmit: VecDeque::with_capacity(TRANSMIT_QUEUE_MAX),
            events: VecDeque::new(),
            keepalive_at: now,
            connected: false,
            dropped: Dropped::default(),
            control: 0,
        }
    }

    /// Goes on over another connection: what is being said and the numbers survive, keys and stream ids do not.
    pub fn replace_keys(&mut self, now: Instant, keys: Keys) {
        self.end_former();
        self.receiver.restart();
        self.begin(now, keys);
    }

    /// The same, while the connection before goes on as well: what is said goes over both, and everybody is heard by the one before until the new one brings them.
    pub fn take_over(&mut self, now: Instant, keys: Keys) {
        self.end_former();
        self.former = Some(self.begin(now, keys));
    }

    /// The connection before is over.
    pub fn end_former(&mut self) {
        self.former_transmit.clear();
        if let Some(former) = self.former.take() {
            former.windows.into_keys().for_each(|ssrc| self.receiver.end(ssrc));
        }
    }

    /// The path that there was.
    fn begin(&mut self, now: Instant, keys: Keys) -> Path {
        self.sender.set_ssrc(keys.ssrc);
        let before = std::mem::replace(&mut self.path, Path { keys, windows: BTreeMap::new() });
        self.transmit.clear();
        self.keepalive_at = now;
        self.connected = false;
        // The new server has to be told what the old one knew.
        if !self.sender.is_silent() {
            self.events.push_back(Event::Speaking(true));
        }
        before
    }

    /// A new key for the same connection: nothing else changes.
    pub fn rekey(&mut self, now: Instant, security: transport::Session) {
        self.path.keys.security = security;
        // Lets the server see the new key at once, also from those who are silent.
        self.keepalive_at = now;
    }

    /// The next 20 ms from the microphone or file. Silence has to be given too: timestamps are counted here.
    pub fn handle_capture(&mut self, frame: &Frame) {
        let Self { sender, path, former, transmit, former_transmit, events, dropped, .. } = self;
        let mut seal =
            |keys: &mut Keys, header: &RtpHeader, payload: &[u8], queue: &mut VecDeque<Vec<u8>>| {
                let mut buf = vec![0; DATAGRAM_MAX + transport::Mode::OVERHEAD_MAX];
                let header = RtpHeader { ssrc: keys.ssrc, ..*header };
                let at = header.write(&[], &mut buf).expect("the buffer is longer than a header");
                buf[at..at + payload.len()].copy_from_slice(payload);
                match keys.security.seal_rtp(&mut buf, at + payload.len()) {
                    Ok(len) => enqueue(queue, dropped, buf, len),
                    Err(_) => dropped.not_sent += 1,
                }
            };
        sender.handle_frame(frame, |sent| match sent {
            Sent::Speaking(on) => events.push_back(Event::Speaking(on)),
            Sent::Packet(header, payload) => {
                seal(&mut path.keys, &header, payload, transmit);
                if let Some(former) = former {
                    seal(&mut former.keys, &header, payload, former_transmit);
                }
            }
        });
    }

    pub fn handle_datagram(&mut self, now: Instant, datagram: &mut [u8]) {
        match rtp_wire::classify(datagram) {
            Kind::Rtp => self.handle_rtp(now, datagram),
            Kind::Rtcp => match self.path.keys.security.open_rtcp(datagram) {
                Ok(_) => {
                    self.control += 1;
                    self.handle_authentic();
                }
                Err(error) => self.dropped.count(error),
            },
            Kind::Ping | Kind::Keepalive => self.control += 1,
            Kind::Discovery | Kind::Stun | Kind::Dtls | Kind::Unknown => self.dropped.not_media += 1,
        }
    }

    /// From the server before.
    pub fn handle_former_datagram(&mut self, now: Instant, datagram: &mut [u8]) {
        let Some(former) = self.former.as_mut().filter(|_| rtp_wire::classify(datagram) == Kind::Rtp) else {
            return;
        };
        match former.open(datagram) {
            Ok((ssrc, len)) => {
                let user = self.receiver.user(ssrc);
                let same = |other: &&Ssrc| user.is_some() && self.receiver.user(**other) == user;
                if let Some(new) = self.path.windows.keys().find(same) {
                    self.receiver.succeed(ssrc, *new);
                }
                if !self.receiver.is_succeeded(now, ssrc) {
                    self.play(now, ssrc, &datagram[..len]);
                }
            }
            Err(refused) => self.dropped.count(refused),
        }
    }

    pub fn handle_timeout(&mut self, now: Instant) {
        if now < self.keepalive_at {
            return;
        }
        self.keepalive_at = now + KEEPALIVE;
        let mut buf = vec![0; 8 + transport::Mode::OVERHEAD_MAX];
        let len = rtcp::write_receiver_report(self.path.keys.ssrc, &[], &mut buf)
            .expect("an empty report has eight bytes");
        match self.path.keys.security.seal_rtcp(&mut buf, len) {
            Ok(len) => enqueue(&mut self.transmit, &mut self.dropped, buf, len),
            Err(_) => self.dropped.not_sent += 1,
        }
    }

    /// The server says whose stream `ssrc` is (op 5).
    pub fn set_speaker(&mut self, ssrc: Ssrc, user: UserId) {
        self.receiver.set_speaker(ssrc, user);
    }

    /// 1.0 is as it was sent; only what we hear changes.
    pub fn set_volume(&mut self, user: UserId, volume: f32) {
        self.receiver.set_volume(user, volume);
    }

    pub fn set_master_volume(&mut self, volume: f32) {
        self.receiver.set_master_volume(volume);
    }

    pub fn set_muted(&mut self, muted: bool) {
        self.sender.set_muted(muted);
    }

    pub fn set_push_to_talk(&mut self, down: bool) {
        self.sender.set_key_down(down);
    }

    /// Plays the next 20 ms; `each` is shown every speaker's own sound, before any volume is applied.
    pub fn mix(&mut self, now: Instant, mix: &mut Frame, each: impl FnMut(Source, &Frame)) {
        self.receiver.mix(now, mix, each);
    }

    pub fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        self.transmit.pop_front()
    }

    /// For the server before.
    pub fn poll_former_transmit(&mut self) -> Option<Vec<u8>> {
        self.former_transmit.pop_front()
    }

    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    #[must_use]
    pub fn poll_timeout(&self) -> Option<(Instant, TimeoutReason)> {
        Some((self.keepalive_at, TimeoutReason::Keepalive))
    }

    /// Whether a burst of speech is under way.
    #[must_use]
    pub fn is_speaking(&self) -> bool {
        !self.sender.is_silent()
    }

    #[must_use]
    pub fn sender_stats(&self) -> SenderStats {
        self.sender.stats()
    }

    pub fn stream_stats(&self) -> impl Iterator<Item = StreamStats> {
        self.receiver.stats()
    }

    #[must_use]
    pub fn dropped(&self) -> Dropped {
        self.dropped
    }

    fn handle_rtp(&mut self, now: Instant, datagram: &mut [u8]) {
        match self.path.open(datagram) {
            Ok((ssrc, len)) => {
                self.handle_authentic();
                self.play(now, ssrc, &datagram[..len]);
            }
            Err(refused) => self.dropped.count(refused),
        }
    }

    fn play(&mut self, now: Instant, ssrc: Ssrc, packet: &[u8]) {
        let Ok(packet) = Packet::parse(packet) else {
            self.dropped.malformed += 1;
            return;
        };
        if packet.header.payload_type != rtp_wire::OPUS_PAYLOAD_TYPE {
            self.dropped.other_payload += 1;
            return;
        }
        let header = packet.header;
        if self.receiver.handle_packet(now, ssrc, header.seq, header.time, packet.payload()).is_err() {
            self.dropped.too_many_streams += 1;
        }
    }

    fn handle_authentic(&mut self) {
        if !self.connected {
            self.connected = true;
            self.events.push_back(Event::Connected);
        }
    }
}

impl Path {
    /// Whose packet it is, and how long it is once opened.
    fn open(&mut self, datagram: &mut [u8]) -> Result<(Ssrc, usize), OpenError> {
        let ssrc = RtpHeader::peek_ssrc(datagram).ok_or(OpenError::TooShort)?;
        if ssrc == self.keys.ssrc {
            return Err(OpenError::Reflected);
        }
        let mut window = self.windows.get(&ssrc).copied().unwrap_or_default();
        let opened = self.keys.security.open_rtp(datagram, &mut window)?;
        if self.windows.len() < STREAMS_MAX || self.windows.contains_key(&ssrc) {
            self.windows.insert(ssrc, window);
        }
        Ok((ssrc, opened.len))
    }
}

impl Dropped {
    fn count(&mut self, error: OpenError) {
        let counter = match error {
            OpenError::TooShort => &mut self.too_short,
            OpenError::Version => &mut self.not_media,
            OpenError::Replay => &mut self.replayed,
            OpenError::Reflected => &mut self.reflected,
            OpenError::Auth => &mut self.not_authentic,
            OpenError::Malformed => &mut self.malformed,
        };
        *counter += 1;
    }
}

/// The newest is dropped when the shell does not drain: what waits is older, but receivers can play it in order.
fn enqueue(queue: &mut VecDeque<Vec<u8>>, dropped: &mut Dropped, mut buf: Vec<u8>, len: usize) {
    if queue.len() == TRANSMIT_QUEUE_MAX {
        dropped.not_sent += 1;
        return;
    }
    buf.truncate(len);
    queue.push_back(buf);
}
