//! The voice gateway, versions 4 to 9: frames, opcodes, close codes.
//!
//! Both directions can be read and written: a server reads [`ClientFrame`] and writes [`ServerFrame`], our native client does the
//! opposite. The version of a connection governs framing, so every writer is told it: before version 8 a frame has the keys
//! `op` and `d` and no other, and heartbeats are bare integers.

use std::fmt;
use std::net::Ipv4Addr;

use model::{ChannelId, GuildId, UserId};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use serde_json::{Number, Value, json};

/// What HELLO asks for. Libraries count missed beats against exactly this value.
pub const HEARTBEAT_INTERVAL_MS: u64 = 13_750;

/// The encryption modes, in the order a server offers them: clients take the first one they know.
pub const MODES: [&str; 6] = [
    "aead_aes256_gcm_rtpsize",
    "aead_xchacha20_poly1305_rtpsize",
    "xsalsa20_poly1305_lite_rtpsize",
    "xsalsa20_poly1305_lite",
    "xsalsa20_poly1305_suffix",
    "xsalsa20_poly1305",
];

/// How many of [`MODES`] every client knows that has learnt end-to-end encryption: it came after the others were retired.
pub const CURRENT_MODES: usize = 2;

/// SPEAKING's bits.
pub mod speaking {
    pub const VOICE: u8 = 1;
    pub const SOUNDSHARE: u8 = 2;
    pub const PRIORITY: u8 = 4;
}

/// The version a client asked for in the query of its WebSocket request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(u8);

impl Version {
    pub const V4: Self = Self(4);
    pub const V8: Self = Self(8);
    pub const V9: Self = Self(9);

    /// `None` for a missing, unreadable or unsupported version.
    pub fn from_query(query: &str) -> Option<Self> {
        let value = query.split('&').find_map(|pair| pair.strip_prefix("v="))?;
        value.parse().ok().filter(|v| (4..=9).contains(v)).map(Self)
    }

    pub fn number(self) -> u8 {
        self.0
    }

    /// Server messages are numbered, heartbeats are objects, and a resume replays.
    pub fn is_numbered(self) -> bool {
        self.0 >= 8
    }
}

macro_rules! numbers {
    ($(#[$doc:meta])* $name:ident: $int:ty { $($(#[$vdoc:meta])* $variant:ident = $value:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            $($(#[$vdoc])* $variant = $value,)*
        }

        impl $name {
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            pub fn number(self) -> $int {
                self as $int
            }

            pub fn from_number(number: $int) -> Option<Self> {
                match number {
                    $($value => Some(Self::$variant),)*
                    _ => None,
                }
            }
        }
    };
}

numbers! {
    Op: u8 {
        Identify = 0,
        SelectProtocol = 1,
        Ready = 2,
        Heartbeat = 3,
        SessionDescription = 4,
        Speaking = 5,
        HeartbeatAck = 6,
        Resume = 7,
        Hello = 8,
        Resumed = 9,
        ClientsConnect = 11,
        Video = 12,
        ClientDisconnect = 13,
        SessionUpdate = 14,
        MediaSinkWants = 15,
        BackendVersion = 16,
        ChannelOptionsUpdate = 17,
        ClientFlags = 18,
        SpeedTest = 19,
        ClientPlatform = 20,
        DavePrepareTransition = 21,
        DaveExecuteTransition = 22,
        DaveTransitionReady = 23,
        DavePrepareEpoch = 24,
        DaveExternalSender = 25,
        DaveKeyPackage = 26,
        DaveProposals = 27,
        DaveCommitWelcome = 28,
        DaveAnnounceCommit = 29,
        DaveWelcome = 30,
        DaveInvalidCommitWelcome = 31,
        NoRoute = 32,
    }
}

impl Op {
    /// A message of this kind takes a sequence number and is replayed when the client resumes.
    pub fn is_replayable(self) -> bool {
        matches!(
            self,
            Self::SessionDescription
                | Self::Speaking
                | Self::ClientsConnect
                | Self::Video
                | Self::ClientDisconnect
                | Self::SessionUpdate
                | Self::MediaSinkWants
                | Self::ClientFlags
                | Self::ClientPlatform
        )
    }
}

numbers! {
    /// Why a voice connection is closed.
    CloseCode: u16 {
        Normal = 1000,
        /// A planned restart: every known client comes back by itself.
        GoingAway = 1001,
        UnknownOpcode = 4001,
        DecodeError = 4002,
        NotAuthenticated = 4003,
        AuthenticationFailed = 4004,
        AlreadyAuthenticated = 4005,
        SessionInvalid = 4006,
        SessionTimeout = 4009,
        ServerNotFound = 4011,
        UnknownProtocol = 4012,
        RelayCrashed = 4013,
        /// Kicked, moved, or the call went to another server: the main gateway says what comes next.
        Disconnected = 4014,
        ServerCrashed = 4015,
        UnknownMode = 4016,
        DaveRequired = 4017,
        BadRequest = 4020,
        RateLimited = 4021,
        CallTerminated = 4022,
    }
}

impl CloseCode {
    /// The text of the close frame.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Normal => "Closed.",
            Self::GoingAway => "The server is restarting.",
            Self::UnknownOpcode => "You sent an invalid opcode.",
            Self::DecodeError => "You sent an invalid payload.",
            Self::NotAuthenticated => "You sent a payload before identifying.",
            Self::AuthenticationFailed => "The token you sent is incorrect.",
            Self::AlreadyAuthenticated => "You sent more than one identify payload.",
            Self::SessionInvalid => "Your session is no longer valid.",
            Self::SessionTimeout => "Your session has timed out.",
            Self::ServerNotFound => "This is not the server you were sent to.",
            Self::UnknownProtocol => "Unknown protocol.",
            Self::RelayCrashed => "The media relay crashed.",
            Self::Disconnected => "Disconnected.",
            Self::ServerCrashed => "The server crashed.",
            Self::UnknownMode => "Unknown encryption mode.",
            Self::DaveRequired => "End-to-end encryption is required.",
            Self::BadRequest => "Bad request.",
            Self::RateLimited => "You are being rate limited.",
            Self::CallTerminated => "The call has ended.",
        }
    }
}

/// Why a frame could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameError {
    /// Not JSON, no `op`, or a `d` that does not fit it.
    Malformed,
    /// No opcode of ours, or one that this side never sends.
    UnknownOp,
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "the frame does not decode",
            Self::UnknownOp => "the opcode is unknown here",
        })
    }
}

impl std::error::Error for FrameError {}

#[derive(Deserialize)]
struct Envelope<'a> {
    op: i64,
    #[serde(borrow, default)]
    d: Option<&'a RawValue>,
    #[serde(default)]
    seq: Option<u16>,
}

impl<'a> Envelope<'a> {
    fn read(text: &'a str) -> Result<(Op, Self), FrameError> {
        let envelope: Self = serde_json::from_str(text).map_err(|_| FrameError::Malformed)?;
        let op = u8::try_from(envelope.op).ok().and_then(Op::from_number).ok_or(FrameError::UnknownOp)?;
        Ok((op, envelope))
    }

    fn data<T: DeserializeOwned>(&self) -> Result<T, FrameError> {
        let data = self.d.ok_or(FrameError::Malformed)?;
        serde_json::from_str(data.get()).map_err(|_| FrameError::Malformed)
    }
}

/// Joins an already encoded payload to a frame of this version: `seq` only where the version has it.
pub fn frame_text(op: Op, data: &str, version: Version, seq: Option<u16>) -> String {
    let op = op.number();
    match seq.filter(|_| version.is_numbered()) {
        Some(seq) => format!("{{\"op\":{op},\"d\":{data},\"seq\":{seq}}}"),
        None => format!("{{\"op\":{op},\"d\":{data}}}"),
    }
}

fn encode<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("these types hold nothing that JSON cannot")
}

/// A field that a client may leave out, send as null, or send in a form we do not read: all the same to us.
fn lenient<'de, D: Deserializer<'de>, T: DeserializeOwned>(d: D) -> Result<Option<T>, D::Error> {
    Ok(serde_json::from_value(Value::deserialize(d)?).ok())
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identify {
    pub server_id: GuildId,
    pub user_id: UserId,
    pub session_id: String,
    pub token: String,
    #[serde(default, deserialize_with = "lenient", skip_serializing_if = "Option::is_none")]
    pub channel_id: Option<ChannelId>,
    /// The newest version of end-to-end encryption the client knows, 0 for none; a client that does not say is of an older time.
    #[serde(default, deserialize_with = "lenient", skip_serializing_if = "Option::is_none")]
    pub max_dave_protocol_version: Option<u16>,
}

impl fmt::Debug for Identify {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identify")
            .field("server_id", &self.server_id)
            .field("user_id", &self.user_id)
            .finish_non_exhaustive()
    }
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resume {
    pub server_id: GuildId,
    pub session_id: String,
    pub token: String,
    #[serde(default, deserialize_with = "lenient", skip_serializing_if = "Option::is_none")]
    pub channel_id: Option<ChannelId>,
    /// The last number received; absent or negative means none.
    #[serde(default, deserialize_with = "lenient", skip_serializing_if = "Option::is_none")]
    pub seq_ack: Option<i64>,
}

impl fmt::Debug for Resume {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resume")
            .field("server_id", &self.server_id)
            .field("seq_ack", &self.seq_ack)
            .finish_non_exhaustive()
    }
}

/// SELECT PROTOCOL.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "SelectForm")]
pub struct SelectProtocol {
    pub protocol: String,
    /// Of `udp`.
    pub data: Option<UdpData>,
    /// Of `webrtc`: the client's fragment (see [`crate::fragment`]), which clients write as `data`, as `sdp`, or as both.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sdp: Option<String>,
    /// What the client can encode and decode. Bots leave it out: they speak Opus and know no video.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub codecs: Option<Vec<Value>>,
}

impl SelectProtocol {
    /// The payload type that the list of codecs gives Opus.
    pub fn opus(&self) -> Option<u8> {
        let is_opus =
            |codec: &&Value| codec["name"].as_str().is_some_and(|name| name.eq_ignore_ascii_case("opus"));
        let opus = self.codecs.as_deref()?.iter().find(is_opus)?;
        u8::try_from(opus["payload_type"].as_u64()?).ok()
    }
}

#[derive(Deserialize)]
struct SelectForm {
    protocol: String,
    #[serde(default, deserialize_with = "lenient")]
    data: Option<SelectData>,
    #[serde(default, deserialize_with = "lenient")]
    sdp: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    codecs: Option<Vec<Value>>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum SelectData {
    Udp(UdpData),
    Fragment(String),
}

impl From<SelectForm> for SelectProtocol {
    fn from(form: SelectForm) -> Self {
        let (data, fragment) = match form.data {
            Some(SelectData::Udp(data)) => (Some(data), None),
            Some(SelectData::Fragment(text)) => (None, Some(text)),
            None => (None, None),
        };
        Self { protocol: form.protocol, data, sdp: fragment.or(form.sdp), codecs: form.codecs }
    }
}

impl fmt::Debug for SelectProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SelectProtocol").field("protocol", &self.protocol).finish_non_exhaustive()
    }
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UdpData {
    /// Where the client believes it is reached: a hint only.
    #[serde(default)]
    pub address: String,
    #[serde(default)]
    pub port: u16,
    pub mode: String,
}

/// HEARTBEAT and its acknowledgement carry a number of the client's choice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heartbeat {
    pub nonce: Number,
    pub seq_ack: Option<i64>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum HeartbeatForm {
    Bare(Number),
    Object {
        t: Number,
        #[serde(default, deserialize_with = "lenient")]
        seq_ack: Option<i64>,
    },
}

/// SPEAKING, as a client says it of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientSpeaking {
    pub speaking: u8,
    /// The stream it is about; clients that own one stream may leave it out.
    pub ssrc: Option<u32>,
}

#[derive(Deserialize)]
struct ClientSpeakingForm {
    speaking: SpeakingForm,
    #[serde(default, deserialize_with = "lenient")]
    ssrc: Option<u32>,
}

/// Clients older than the bit mask say true or false.
#[derive(Deserialize)]
#[serde(untagged)]
enum SpeakingForm {
    Bits(u8),
    Flag(bool),
}

/// What a client sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientFrame {
    Identify(Identify),
    SelectProtocol(SelectProtocol),
    Heartbeat(Heartbeat),
    Speaking(ClientSpeaking),
    Resume(Resume),
    BackendVersion,
    /// Understood to be legitimate, without effect here: video, sink wants, codecs, flags, platform, end-to-end encryption.
    Other(Op),
}

impl ClientFrame {
    pub fn read(text: &str) -> Result<Self, FrameError> {
        let (op, envelope) = Envelope::read(text)?;
        match op {
            Op::Identify => envelope.data().map(Self::Identify),
            Op::SelectProtocol => envelope.data().map(Self::SelectProtocol),
            Op::Heartbeat => envelope.data().map(|form| {
                Self::Heartbeat(match form {
                    HeartbeatForm::Bare(nonce) => Heartbeat { nonce, seq_ack: None },
                    HeartbeatForm::Object { t, seq_ack } => Heartbeat { nonce: t, seq_ack },
                })
            }),
            Op::Speaking => envelope.data().map(|form: ClientSpeakingForm| {
                let speaking = match form.speaking {
                    SpeakingForm::Bits(bits) => bits,
                    SpeakingForm::Flag(flag) => u8::from(flag),
                };
                Self::Speaking(ClientSpeaking { speaking, ssrc: form.ssrc })
            }),
            Op::Resume => envelope.data().map(Self::Resume),
            Op::BackendVersion => Ok(Self::BackendVersion),
            Op::Video
            | Op::SessionUpdate
            | Op::MediaSinkWants
            | Op::ClientFlags
            | Op::ClientPlatform
            | Op::DavePrepareTransition
            | Op::DaveExecuteTransition
            | Op::DaveTransitionReady
            | Op::DavePrepareEpoch
            | Op::DaveKeyPackage
            | Op::DaveCommitWelcome
            | Op::DaveInvalidCommitWelcome
            | Op::NoRoute => Ok(Self::Other(op)),
            _ => Err(FrameError::UnknownOp),
        }
    }

    pub fn op(&self) -> Op {
        match self {
            Self::Identify(_) => Op::Identify,
            Self::SelectProtocol(_) => Op::SelectProtocol,
            Self::Heartbeat(_) => Op::Heartbeat,
            Self::Speaking(_) => Op::Speaking,
            Self::Resume(_) => Op::Resume,
            Self::BackendVersion => Op::BackendVersion,
            Self::Other(op) => *op,
        }
    }

    pub fn text(&self, version: Version) -> String {
        let data = match self {
            Self::Identify(d) => encode(d),
            Self::SelectProtocol(d) => encode(d),
            Self::Heartbeat(d) if version.is_numbered() => {
                encode(&json!({ "t": d.nonce, "seq_ack": d.seq_ack.unwrap_or(-1) }))
            }
            Self::Heartbeat(d) => d.nonce.to_string(),
            Self::Speaking(d) => {
                encode(&json!({ "speaking": d.speaking, "delay": 0, "ssrc": d.ssrc.unwrap_or(0) }))
            }
            Self::Resume(d) => encode(d),
            Self::BackendVersion | Self::Other(_) => "{}".to_owned(),
        };
        frame_text(self.op(), &data, version, None)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    #[serde(default)]
    pub v: u8,
    /// Milliseconds; some servers write a real number.
    #[serde(deserialize_with = "whole_ms")]
    pub heartbeat_interval: u64,
}

fn whole_ms<'de, D: Deserializer<'de>>(d: D) -> Result<u64, D::Error> {
    f64::deserialize(d).map(|ms| ms as u64)
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ready {
    pub ssrc: u32,
    /// An IPv4 literal: every library parses it as one.
    pub ip: Ipv4Addr,
    pub port: u16,
    pub modes: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub experiments: Vec<Value>,
    /// For clients that announced streams.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub streams: Vec<Value>,
}

/// A session key. Its Debug says nothing.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SecretKey(pub [u8; 32]);

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey(…)")
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionDescription {
    pub mode: String,
    pub secret_key: SecretKey,
    #[serde(default)]
    pub audio_codec: Option<String>,
    /// For clients that named their codecs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub video_codec: Option<String>,
    /// For clients that named their codecs: their telemetry is filed under it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_session_id: Option<String>,
    /// Always written: libraries hang without it.
    pub dave_protocol_version: u16,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerSpeaking {
    pub speaking: u8,
    pub ssrc: u32,
    pub user_id: UserId,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientsConnect {
    pub user_ids: Vec<UserId>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientDisconnect {
    pub user_id: UserId,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackendVersion {
    pub voice: String,
    pub rtc_worker: String,
}

/// SESSION DESCRIPTION to a browser: no key, because the handshake makes it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebRtcDescription {
    /// All but the fragment is for clients that named their codecs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audio_codec: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub video_codec: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_session_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dave_protocol_version: Option<u16>,
    /// The server's fragment.
    pub sdp: String,
}

impl fmt::Debug for WebRtcDescription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebRtcDescription").field("audio_codec", &self.audio_codec).finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum DescriptionForm {
    Native(SessionDescription),
    WebRtc(WebRtcDescription),
}

/// What a server sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServerFrame {
    Hello(Hello),
    Ready(Ready),
    SessionDescription(SessionDescription),
    WebRtcDescription(WebRtcDescription),
    Speaking(ServerSpeaking),
    HeartbeatAck(Number),
    Resumed,
    ClientsConnect(ClientsConnect),
    ClientDisconnect(ClientDisconnect),
    BackendVersion(BackendVersion),
    /// Of no use to a client of ours yet.
    Other(Op),
}

impl ServerFrame {
    /// The frame and, from version 8 on, its number. Opcodes of later versions are [`FrameError::UnknownOp`], to be ignored.
    pub fn read(text: &str) -> Result<(Self, Option<u16>), FrameError> {
        let (op, envelope) = Envelope::read(text)?;
        let frame = match op {
            Op::Hello => Self::Hello(envelope.data()?),
            Op::Ready => Self::Ready(envelope.data()?),
            Op::SessionDescription => match envelope.data()? {
                DescriptionForm::Native(description) => Self::SessionDescription(description),
                DescriptionForm::WebRtc(description) => Self::WebRtcDescription(description),
            },
            Op::Speaking => Self::Speaking(envelope.data()?),
            Op::HeartbeatAck => match envelope.data()? {
                HeartbeatForm::Bare(nonce) | HeartbeatForm::Object { t: nonce, .. } => {
                    Self::HeartbeatAck(nonce)
                }
            },
            Op::Resumed => Self::Resumed,
            Op::ClientsConnect => Self::ClientsConnect(envelope.data()?),
            Op::ClientDisconnect => Self::ClientDisconnect(envelope.data()?),
            Op::BackendVersion => Self::BackendVersion(envelope.data()?),
            _ => Self::Other(op),
        };
        Ok((frame, envelope.seq))
    }

    pub fn op(&self) -> Op {
        match self {
            Self::Hello(_) => Op::Hello,
            Self::Ready(_) => Op::Ready,
            Self::SessionDescription(_) | Self::WebRtcDescription(_) => Op::SessionDescription,
            Self::Speaking(_) => Op::Speaking,
            Self::HeartbeatAck(_) => Op::HeartbeatAck,
            Self::Resumed => Op::Resumed,
            Self::ClientsConnect(_) => Op::ClientsConnect,
            Self::ClientDisconnect(_) => Op::ClientDisconnect,
            Self::BackendVersion(_) => Op::BackendVersion,
            Self::Other(op) => *op,
        }
    }

    /// The payload alone, so that it is encoded once however many connections it goes to.
    pub fn data(&self, version: Version) -> String {
        match self {
            Self::Hello(d) => encode(d),
            Self::Ready(d) => encode(d),
            Self::SessionDescription(d) => encode(d),
            Self::WebRtcDescription(d) => encode(d),
            Self::Speaking(d) => encode(d),
            Self::HeartbeatAck(nonce) if version.is_numbered() => format!("{{\"t\":{nonce}}}"),
            Self::HeartbeatAck(nonce) => nonce.to_string(),
            Self::Resumed => "null".to_owned(),
            Self::ClientsConnect(d) => encode(d),
            Self::ClientDisconnect(d) => encode(d),
            Self::BackendVersion(d) => encode(d),
            Self::Other(_) => "{}".to_owned(),
        }
    }

    pub fn text(&self, version: Version, seq: Option<u16>) -> String {
        frame_text(self.op(), &self.data(version), version, seq)
    }
}

#[cfg(test)]
mod tests;
