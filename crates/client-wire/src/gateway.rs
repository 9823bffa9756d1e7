//! The main gateway, version 10: what the two ends of its WebSocket say to each other.
//!
//! Owns: frames in both directions, opcodes, intents, close codes. Deliberately does not: know what a
//! dispatch's payload means (the objects live in [`crate::object`]) or what either end does next.

mod from_client;
mod from_server;
mod numbers;

pub use from_client::{
    ChannelFields, FromClient, Identify, PresenceUpdate, RequestChannelInfo, RequestGuildMembers, Resume,
    VoiceStateUpdate,
};
pub use from_server::{Application, FromServer, Ready, UnavailableGuild, encode_dispatch};
pub use numbers::{CloseCode, Intents, Opcode};

/// The versions of the gateway this server speaks; they differ in nothing it sends.
pub const VERSIONS: std::ops::RangeInclusive<u8> = 9..=10;

/// A client's frame may not be longer; a longer one closes the connection with [`CloseCode::DecodeError`].
pub const CLIENT_FRAME_BYTES_MAX: usize = 15 * 1024;

/// Why a frame could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameError {
    /// Not JSON, or not of the shape its opcode asks for.
    Decode,
    /// An opcode nobody knows, or one that the other end alone may send.
    UnknownOpcode,
}

impl std::fmt::Display for FrameError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Decode => "the frame is not of the form its opcode asks for",
            Self::UnknownOpcode => "the frame has an unknown opcode",
        })
    }
}

impl std::error::Error for FrameError {}

impl FrameError {
    /// How a server answers it.
    pub fn close_code(self) -> CloseCode {
        match self {
            Self::Decode => CloseCode::DecodeError,
            Self::UnknownOpcode => CloseCode::UnknownOpcode,
        }
    }
}
