//! The media formats on the wire: RTP, RTCP, STUN, IP discovery, pings, and how to tell them apart.
//!
//! Everything here is a view over `&[u8]` or a builder into `&mut [u8]`: nothing allocates, nothing keeps
//! state but [`SeqUnwrapper`], and no input makes it panic (see [`fuzz`]). Raw integers stop here: what
//! leaves is [`Ssrc`], [`SeqNo`], [`RtpTime`], [`PayloadType`].
//!
//! Absent on purpose: encryption (crate `transport`), sockets (crate `udp-io`), and any opinion about what a
//! packet means for a room.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod bytes;
mod classify;
mod control;
mod ext;
pub mod fuzz;
mod ids;
mod opus;
pub mod red;
pub mod rtcp;
mod rtp;
pub mod stun;

pub use classify::{Kind, STUN_COOKIE, classify};
pub use control::{
    DISCOVERY_LEN, DiscoveryRequest, DiscoveryResponse, PING_LEN, Ping, parse_ping, write_ping, write_pong,
};
pub use ext::{AudioLevel, Extension, ExtensionForm, ExtensionIter, ExtensionWriter, Extensions};
pub use ids::{PayloadType, RtpTime, SeqNo, SeqUnwrapper, Ssrc};
pub use opus::{
    MAX_PACKET_SAMPLES, OPUS_PAYLOAD_TYPE, SAMPLE_RATE_HZ, SILENCE_FRAME, is_silence, packet_samples,
};
pub use rtp::{FIXED_HEADER_LEN, Packet, RtpError, RtpHeader};

/// The buffer given to a builder is too small for what it should hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the buffer is too small")]
pub struct NoRoom;
