//! Signalling <-> SFU: one stream of length-prefixed messages a shard, over a Unix socket.
//!
//! Owns: these messages, their framing and their version. Deliberately does not: interpret them.
//!
//! Signalling says what must be true, never what to do: a [`Leg`] describes one participant's transport whole, so that the same
//! message creates it, changes it and rebuilds it in a new process. [`ToSfu::Snapshot`] is every leg of the shard and is the first thing
//! a new SFU process hears after [`Start`]; changes follow on the same stream, in order. Nothing waits for an answer.
//!
//! Before that a relay says [`Hello`], unasked, so that signalling can tell whether one that is to replace another is what it should be; the other one is then
//! told to [`Retire`], and its last word is [`Retired`].
//!
//! The encoding is Protocol Buffers (proto3): fields are only ever added, unknown ones are skipped, so version N talks to N-1.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod page;

use prost::Message as _;

/// Raised when a message gains a meaning that the other side must understand. 1: no [`Hello`] and no [`Retire`].
pub const PROTOCOL: u32 = 2;
/// What this version of the program speaks.
pub const PROTOCOLS: Versions = Versions { oldest: 1, newest: PROTOCOL };

/// All versions of something from one to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Versions {
    pub oldest: u32,
    pub newest: u32,
}

impl Versions {
    /// What is said of versions: the newest, and the oldest, which is the same where it is not given.
    #[must_use]
    pub fn said(newest: u32, oldest: u32) -> Self {
        Self { oldest: if oldest == 0 { newest } else { oldest }, newest }
    }

    /// The newest version that both know.
    #[must_use]
    pub fn agree(self, other: Self) -> Option<u32> {
        let newest = self.newest.min(other.newest);
        (newest >= self.oldest.max(other.oldest)).then_some(newest)
    }
}

impl std::fmt::Display for Versions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.oldest == self.newest {
            true => write!(f, "{}", self.newest),
            false => write!(f, "{} to {}", self.oldest, self.newest),
        }
    }
}

/// A frame longer than this is a broken peer. A snapshot of 20,000 legs stays below it.
pub const FRAME_BYTES_MAX: usize = 8 << 20;

/// The file descriptor arguments and messages of a shard: one UDP socket, one Unix stream socket.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Start {
    #[prost(uint32, tag = "1")]
    pub protocol: u32,
    #[prost(uint32, tag = "2")]
    pub shard: u32,
    /// Seed for nonce starting points and sequence offsets; the core itself has no randomness.
    #[prost(bytes = "vec", tag = "3")]
    pub seed: Vec<u8>,
    /// RTP packets a second that one sender may send before the rest is dropped.
    #[prost(uint32, tag = "4")]
    pub sender_packets_per_s_max: u32,
    /// The oldest version that signalling understands, `protocol` being the newest; the same if not given.
    #[prost(uint32, tag = "5")]
    pub protocol_oldest: u32,
}

impl Start {
    #[must_use]
    pub fn protocols(&self) -> Versions {
        Versions::said(self.protocol, self.protocol_oldest)
    }
}

/// One participant's transport and place, whole.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Leg {
    /// Unique for the life of the voice server; never used again for another participant.
    #[prost(fixed64, tag = "1")]
    pub id: u64,
    /// Legs with the same room hear each other. A room lives on one shard.
    #[prost(fixed64, tag = "2")]
    pub room: u64,
    /// The audio stream this leg sends, as every receiver sees it. Unique on the shard.
    #[prost(fixed32, tag = "3")]
    pub ssrc: u32,
    /// Its audio is forwarded to others.
    #[prost(bool, tag = "4")]
    pub speak: bool,
    /// Others' audio is forwarded to it.
    #[prost(bool, tag = "5")]
    pub hear: bool,
    /// Its speaking flags may carry priority. Signalling strips the flag from what it passes on; the relay, which passes on no header
    /// extension that could carry it, has no use for this yet.
    #[prost(bool, tag = "6")]
    pub priority: bool,
    /// Absent until the client has selected a protocol: until then only IP discovery is answered.
    #[prost(message, optional, tag = "7")]
    pub native: Option<Native>,
    /// Instead of `native` for a browser.
    #[prost(message, optional, tag = "8")]
    pub webrtc: Option<WebRtc>,
}

/// The security of a native leg.
// Debug is written by hand below: a key must not reach a log.
#[derive(Clone, PartialEq, prost::Message)]
#[prost(skip_debug)]
pub struct Native {
    /// The encryption mode's name in the public protocol.
    #[prost(string, tag = "1")]
    pub mode: String,
    /// 32 bytes. A changed key is a new session key: counters start anew.
    #[prost(bytes = "vec", tag = "2")]
    pub key: Vec<u8>,
    /// Where the client says it is (`ip:port`), told over its authenticated connection. Used only if IP discovery was answered to that
    /// very address, which proves that the client receives there; otherwise the first authenticated packet decides.
    #[prost(string, tag = "3")]
    pub claimed_address: String,
}

impl std::fmt::Debug for Native {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Native").field("mode", &self.mode).finish_non_exhaustive()
    }
}

/// The security of a browser's leg, and what it calls things.
// Debug is written by hand below: a password must not reach a log.
#[derive(Clone, PartialEq, Eq, prost::Message)]
#[prost(skip_debug)]
pub struct WebRtc {
    /// Our ICE user name fragment, unique on the shard; checks for it are answered with `pwd`. A changed one is a new transport.
    #[prost(string, tag = "1")]
    pub ufrag: String,
    #[prost(string, tag = "2")]
    pub pwd: String,
    #[prost(string, tag = "3")]
    pub remote_ufrag: String,
    /// The payload type of Opus in both directions.
    #[prost(uint32, tag = "4")]
    pub opus_payload_type: u32,
    /// The payload type of RED (RFC 2198) that it may send, 0 for none.
    #[prost(uint32, tag = "5")]
    pub red_payload_type: u32,
    /// The identifier of the audio level extension (RFC 6464), 0 for none.
    #[prost(uint32, tag = "6")]
    pub ext_audio_level: u32,
    /// Absent until the DTLS handshake is done.
    #[prost(message, optional, tag = "7")]
    pub srtp: Option<Srtp>,
}

impl std::fmt::Debug for WebRtc {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WebRtc").field("ufrag", &self.ufrag).field("srtp", &self.srtp).finish_non_exhaustive()
    }
}

/// What a DTLS handshake agreed upon (RFC 5764), we being the server.
#[derive(Clone, PartialEq, Eq, prost::Message)]
#[prost(skip_debug)]
pub struct Srtp {
    /// The profile's name as RFC 5764 and RFC 7714 write it with underscores: `SRTP_AEAD_AES_128_GCM`.
    #[prost(string, tag = "1")]
    pub profile: String,
    /// Client's key, server's key, client's salt, server's salt.
    #[prost(bytes = "vec", tag = "2")]
    pub keying_material: Vec<u8>,
}

impl std::fmt::Debug for Srtp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Srtp").field("profile", &self.profile).finish_non_exhaustive()
    }
}

/// A datagram of a leg's DTLS association: from the relay it came from the leg's address, to the relay it is to go there. Either side
/// may lose one, as the network may.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Dtls {
    #[prost(fixed64, tag = "1")]
    pub id: u64,
    #[prost(bytes = "vec", tag = "2")]
    pub datagram: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Snapshot {
    #[prost(message, repeated, tag = "1")]
    pub legs: Vec<Leg>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct RemoveLeg {
    #[prost(fixed64, tag = "1")]
    pub id: u64,
}

/// The shard's work is another process's from now on: it takes no further datagram, sends what it has, tells what it has to tell, and ends with [`Retired`].
#[derive(Clone, PartialEq, prost::Message)]
pub struct Retire {}

#[derive(Clone, PartialEq, prost::Oneof)]
pub enum ToSfu {
    #[prost(message, tag = "1")]
    Start(Start),
    #[prost(message, tag = "2")]
    Snapshot(Snapshot),
    #[prost(message, tag = "3")]
    PutLeg(Leg),
    #[prost(message, tag = "4")]
    RemoveLeg(RemoveLeg),
    #[prost(message, tag = "5")]
    Dtls(Dtls),
    #[prost(message, tag = "6")]
    Retire(Retire),
}

/// A relay that has been started and does nothing until it is told to.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Hello {
    /// The newest version of this protocol that it understands, and the oldest.
    #[prost(uint32, tag = "1")]
    pub protocol: u32,
    #[prost(uint32, tag = "2")]
    pub protocol_oldest: u32,
    /// The newest layout of the memory that it can go on from, which is the one that it writes, and the oldest.
    #[prost(uint32, tag = "3")]
    pub page: u32,
    #[prost(uint32, tag = "4")]
    pub page_oldest: u32,
    /// The program's.
    #[prost(string, tag = "5")]
    pub version: String,
}

impl Hello {
    #[must_use]
    pub fn of_this_version() -> Self {
        Self {
            protocol: PROTOCOLS.newest,
            protocol_oldest: PROTOCOLS.oldest,
            page: page::VERSION.into(),
            page_oldest: page::VERSION.into(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }

    #[must_use]
    pub fn protocols(&self) -> Versions {
        Versions::said(self.protocol, self.protocol_oldest)
    }

    #[must_use]
    pub fn pages(&self) -> Versions {
        Versions::said(self.page, self.page_oldest)
    }
}

/// The shard's last word: nothing of it is under way any more.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Retired {}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Started {
    /// That which is spoken from now on.
    #[prost(uint32, tag = "1")]
    pub protocol: u32,
    #[prost(uint32, tag = "2")]
    pub shard: u32,
    #[prost(string, tag = "3")]
    pub version: String,
}

/// The leg's address is known and its transport works: "voice connected".
#[derive(Clone, PartialEq, prost::Message)]
pub struct LegConnected {
    #[prost(fixed64, tag = "1")]
    pub id: u64,
}

/// The leg began or stopped sending audio.
#[derive(Clone, PartialEq, prost::Message)]
pub struct LegSpeaking {
    #[prost(fixed64, tag = "1")]
    pub id: u64,
    #[prost(bool, tag = "2")]
    pub speaking: bool,
}

/// The leg's two directions, which share one key, will soon have used up the nonces between them: it needs a new key.
#[derive(Clone, PartialEq, prost::Message)]
pub struct KeySpent {
    #[prost(fixed64, tag = "1")]
    pub id: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct DropCount {
    /// The name of the reason.
    #[prost(string, tag = "1")]
    pub reason: String,
    #[prost(uint64, tag = "2")]
    pub packets: u64,
}

/// A shard's counters since it started, told about once a second.
/// received = forwarded_in + consumed + sum(drops).
#[derive(Clone, PartialEq, prost::Message)]
pub struct Report {
    #[prost(uint64, tag = "1")]
    pub received: u64,
    /// Packets taken in that were forwarded to at least zero listeners (a speaker alone in a room forwards to nobody).
    #[prost(uint64, tag = "2")]
    pub forwarded_in: u64,
    /// Discovery, keepalives, pings and RTCP.
    #[prost(uint64, tag = "3")]
    pub consumed: u64,
    #[prost(message, repeated, tag = "4")]
    pub drops: Vec<DropCount>,
    #[prost(uint64, tag = "5")]
    pub sent: u64,
    /// Datagrams the kernel would not take.
    #[prost(uint64, tag = "6")]
    pub send_failed: u64,
    /// Datagrams that overflowed the socket's receive buffer.
    #[prost(uint64, tag = "7")]
    pub receive_overflow: u64,
    #[prost(uint32, tag = "8")]
    pub legs: u32,
    #[prost(uint32, tag = "9")]
    pub rooms: u32,
    /// CPU time of the shard's thread, user and system.
    #[prost(uint64, tag = "10")]
    pub cpu_ns: u64,
    /// Wall time since the shard started.
    #[prost(uint64, tag = "11")]
    pub uptime_ns: u64,
    /// Frames lost on their way to us and found in a later packet: forwarded without having been received.
    #[prost(uint64, tag = "12")]
    pub recovered: u64,
    /// Packets that browsers were asked to send once more.
    #[prost(uint64, tag = "13")]
    pub asked: u64,
    /// Packets that browsers were sent once more; part of `sent`.
    #[prost(uint64, tag = "14")]
    pub resent: u64,
    /// Packets that browsers asked for in vain.
    #[prost(uint64, tag = "15")]
    pub not_resent: u64,
    /// Legs and streams that the page had no place for, so that a successor cannot go on with them.
    #[prost(uint64, tag = "16")]
    pub unwritten: u64,
    /// Legs that another process began, gone on with by this one.
    #[prost(uint64, tag = "17")]
    pub restored: u64,
    /// Packets that went past the kernel's IP stack; part of `sent`.
    #[prost(uint64, tag = "18")]
    pub sent_directly: u64,
    /// Datagrams that the kernel dropped before anybody was woken, by reason; not received.
    #[prost(message, repeated, tag = "19")]
    pub shielded: Vec<DropCount>,
    /// Whether the kernel looks at what comes.
    #[prost(bool, tag = "20")]
    pub is_shielded: bool,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub enum FromSfu {
    #[prost(message, tag = "1")]
    Started(Started),
    #[prost(message, tag = "2")]
    LegConnected(LegConnected),
    #[prost(message, tag = "3")]
    LegSpeaking(LegSpeaking),
    #[prost(message, tag = "4")]
    Report(Report),
    #[prost(message, tag = "5")]
    Dtls(Dtls),
    #[prost(message, tag = "6")]
    KeySpent(KeySpent),
    #[prost(message, tag = "7")]
    Hello(Hello),
    #[prost(message, tag = "8")]
    Retired(Retired),
}

#[derive(Clone, PartialEq, prost::Message)]
struct ToSfuFrame {
    #[prost(oneof = "ToSfu", tags = "1, 2, 3, 4, 5, 6")]
    message: Option<ToSfu>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct FromSfuFrame {
    #[prost(oneof = "FromSfu", tags = "1, 2, 3, 4, 5, 6, 7, 8")]
    message: Option<FromSfu>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    #[error("a frame of {0} bytes is longer than {FRAME_BYTES_MAX}")]
    TooLong(usize),
    #[error("a frame does not decode: {0}")]
    Malformed(String),
}

/// A message that can be framed: little-endian u32 length, then the encoding.
pub trait Framed: Sized {
    fn append_to(self, out: &mut Vec<u8>);
    /// `Ok(None)` is a message of a later version, to be skipped.
    fn decode(body: &[u8]) -> Result<Option<Self>, WireError>;
}

fn append<M: prost::Message>(frame: &M, out: &mut Vec<u8>) {
    let length = u32::try_from(frame.encoded_len()).expect("no message reaches four gigabytes");
    out.extend_from_slice(&length.to_le_bytes());
    frame.encode(out).expect("a Vec grows as needed");
}

impl Framed for ToSfu {
    fn append_to(self, out: &mut Vec<u8>) {
        append(&ToSfuFrame { message: Some(self) }, out);
    }

    fn decode(body: &[u8]) -> Result<Option<Self>, WireError> {
        ToSfuFrame::decode(body).map(|f| f.message).map_err(|e| WireError::Malformed(e.to_string()))
    }
}

impl Framed for FromSfu {
    fn append_to(self, out: &mut Vec<u8>) {
        append(&FromSfuFrame { message: Some(self) }, out);
    }

    fn decode(body: &[u8]) -> Result<Option<Self>, WireError> {
        FromSfuFrame::decode(body).map(|f| f.message).map_err(|e| WireError::Malformed(e.to_string()))
    }
}

/// Cuts a byte stream into messages.
#[derive(Debug, Default)]
pub struct Deframer {
    buffer: Vec<u8>,
    read: usize,
}

impl Deframer {
    pub fn push(&mut self, bytes: &[u8]) {
        if self.read > 0 {
            self.buffer.drain(..self.read);
            self.read = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole message, or `None` until more bytes have come. Messages of a later version are passed over.
    pub fn next_message<M: Framed>(&mut self) -> Result<Option<M>, WireError> {
        loop {
            let rest = &self.buffer[self.read..];
            let Some((head, body)) = rest.split_first_chunk::<4>() else { return Ok(None) };
            let length = u32::from_le_bytes(*head) as usize;
            if length > FRAME_BYTES_MAX {
                return Err(WireError::TooLong(length));
            }
            let Some(body) = body.get(..length) else { return Ok(None) };
            let message = M::decode(body)?;
            self.read += 4 + length;
            if message.is_some() {
                return Ok(message);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leg() -> Leg {
        let native = Native {
            mode: "aead_aes256_gcm_rtpsize".into(),
            key: vec![7; 32],
            claimed_address: "1.2.3.4:5".into(),
        };
        Leg { id: 1, room: 2, ssrc: 3, speak: true, hear: true, native: Some(native), ..Leg::default() }
    }

    fn browser() -> Leg {
        let srtp = Srtp { profile: "SRTP_AEAD_AES_128_GCM".into(), keying_material: vec![7; 56] };
        let webrtc = WebRtc {
            ufrag: "abcd".into(),
            pwd: "secret".into(),
            remote_ufrag: "efgh".into(),
            opus_payload_type: 111,
            red_payload_type: 63,
            ext_audio_level: 1,
            srtp: Some(srtp),
        };
        Leg { id: 2, room: 2, ssrc: 4, speak: true, hear: true, webrtc: Some(webrtc), ..Leg::default() }
    }

    #[test]
    fn no_secret_is_written_out() {
        let text = format!("{:?} {:?}", leg(), browser());
        assert!(!text.contains("secret") && !text.contains("7, 7"), "{text}");
    }

    #[test]
    fn messages_survive_any_cutting_of_the_stream() {
        let messages = [
            ToSfu::Start(Start {
                protocol: PROTOCOL,
                shard: 1,
                seed: vec![1; 32],
                sender_packets_per_s_max: 100,
                protocol_oldest: 1,
            }),
            ToSfu::Snapshot(Snapshot { legs: vec![leg(), browser()] }),
            ToSfu::PutLeg(leg()),
            ToSfu::RemoveLeg(RemoveLeg { id: 1 }),
            ToSfu::Dtls(Dtls { id: 2, datagram: vec![22; 100] }),
            ToSfu::Retire(Retire {}),
        ];
        let mut stream = Vec::new();
        for message in messages.clone() {
            message.append_to(&mut stream);
        }
        for step in [1, 2, 3, 7, 64, stream.len()] {
            let mut deframer = Deframer::default();
            let mut got = Vec::new();
            for chunk in stream.chunks(step) {
                deframer.push(chunk);
                while let Some(message) = deframer.next_message::<ToSfu>().unwrap() {
                    got.push(message);
                }
            }
            assert_eq!(got, messages, "in steps of {step}");
        }
    }

    #[test]
    fn the_newest_version_that_both_know_is_spoken() {
        let check = |ours: (u32, u32), theirs: (u32, u32), expect: Option<u32>| {
            let [ours, theirs] = [ours, theirs].map(|(oldest, newest)| Versions { oldest, newest });
            assert_eq!((ours.agree(theirs), theirs.agree(ours)), (expect, expect), "{ours} and {theirs}");
        };
        check((1, 1), (1, 1), Some(1));
        check((1, 2), (1, 1), Some(1));
        check((1, 2), (2, 3), Some(2));
        check((1, 4), (2, 3), Some(3));
        check((1, 2), (3, 4), None);
        assert_eq!(Versions::said(3, 0), Versions { oldest: 3, newest: 3 }, "of before there was a range");
        // Of a start of before there was a range, by its bytes.
        let start = Start::decode(&[8, 1][..]).unwrap();
        assert_eq!(start.protocols().agree(PROTOCOLS), Some(1));
    }

    #[test]
    fn a_later_versions_message_is_passed_over_and_nonsense_is_an_error() {
        // Field 15, a length-delimited message this version does not know.
        let mut stream = vec![4, 0, 0, 0, 0x7a, 2, 8, 1];
        ToSfu::RemoveLeg(RemoveLeg { id: 9 }).append_to(&mut stream);
        let mut deframer = Deframer::default();
        deframer.push(&stream);
        assert_eq!(deframer.next_message::<ToSfu>(), Ok(Some(ToSfu::RemoveLeg(RemoveLeg { id: 9 }))));

        let mut deframer = Deframer::default();
        deframer.push(&[1, 0, 0, 0, 0xff]);
        assert!(matches!(deframer.next_message::<ToSfu>(), Err(WireError::Malformed(_))));
        let mut deframer = Deframer::default();
        deframer.push(&[0xff; 4]);
        assert_eq!(deframer.next_message::<ToSfu>(), Err(WireError::TooLong(u32::MAX as usize)));
    }
}
