//! The media machine of one participant in a voice channel, without I/O, clock or randomness.
//!
//! # Owns
//! The way of a microphone's frame to a sealed datagram (voice activity, Opus, RTP) and the way back (jitter buffer,
//! loss concealment, decoding, volumes, mixing), the numbers that tell how well it went, and the measures by which
//! tests compare what was heard with what was said.
//!
//! # Inputs
//! `handle_capture`, `handle_datagram`, `handle_timeout` and the commands of [`Session`]; each takes `now`. Random
//! starting points (sequence number, timestamp, nonce) come in with the configuration.
//!
//! # Outputs
//! Drained after every input: [`Session::poll_transmit`] (datagrams), [`Session::poll_event`] (speaking on and off),
//! [`Session::poll_timeout`] (when to call again, and why). [`Session::mix`] gives the next 20 ms of sound.
//!
//! # Invariants
//! Sequence numbers are contiguous over silence; timestamps advance with the captured frames whether sent or not.
//! In silence nothing but the keepalive is sent. Every packet received is played, late, a duplicate, or discarded
//! for a counted reason. The playout delay stays within [`limits`].
//!
//! # Absent
//! Sockets, threads, sound devices, files, the gateway's and voice gateway's messages: crate `engine`.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod analysis;
mod delay;
mod discovery;
mod gate;
mod jitter;
pub mod limits;
mod mixer;
#[cfg(test)]
mod network_tests;
mod receiver;
mod sender;
mod session;
#[cfg(test)]
mod speech;
mod stream;
mod vad;

pub use discovery::{Discovery, DiscoveryReason};
pub use receiver::Source;
pub use sender::{CaptureMode, SenderConfig, SenderStats};
pub use session::{Dropped, Event, Keys, Session, SessionConfig, TimeoutReason};
pub use stream::StreamStats;
pub use vad::{Activity, VoiceActivity};

/// Everything runs at this rate; files and devices are converted at the edge.
pub const SAMPLE_RATE_HZ: u32 = rtp_wire::SAMPLE_RATE_HZ;
/// Samples in one frame: 20 ms.
pub const FRAME_SAMPLES: usize = 960;
/// One frame of sound lasts this long.
pub const FRAME: std::time::Duration = std::time::Duration::from_millis(20);

/// 20 ms of mono sound; full scale is 1.0.
pub type Frame = [f32; FRAME_SAMPLES];

/// A frame in which nothing is heard.
pub const SILENCE: Frame = [0.0; FRAME_SAMPLES];

/// Root mean square level in decibels below full scale; digital silence is -120.
#[must_use]
pub fn level_dbfs(samples: &[f32]) -> f32 {
    let power = samples.iter().map(|s| s * s).sum::<f32>() / samples.len().max(1) as f32;
    (10.0 * power.max(1e-12).log10()).max(-120.0)
}
