//! The native client: gateway and voice gateway connections, the media thread, files and devices around
//! [`engine_core`], and the whole of `guildhall talk`.
//!
//! Owns: sockets, timers, threads and randomness of a participant; the ladder of reconnection (resume, identify again,
//! ask the gateway again). [`Gateway`] and [`VoiceSignalling`] stand alone, so that a load generator can use them for
//! thousands of participants without a single decoder.
//!
//! Deliberately does not: decide what a packet means or when speech begins (`engine-core`), define frames
//! (`client-wire`), or encrypt (`transport`).
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod audio;
mod client;
mod gateway;
pub mod limits;
mod media;
mod rest;
mod retry;
pub mod talk;
mod token;
mod trust;
mod voice;
mod ws;

pub use client::{Client, ClientConfig, ClientError, ClientEvent, ConnectionState, Stay};
pub use engine_core::analysis;
pub use gateway::{Gateway, GatewayConfig, GatewayError, GatewayEvent, GatewayEvents, OwnVoiceState};
pub use media::{MediaConfig, MediaReport, Play};
pub use rest::{RestError, gateway_url};
pub use token::Token;
pub use trust::{Trust, TrustError};
pub use voice::{VoiceConfig, VoiceEnd, VoiceEvent, VoiceEvents, VoiceSignalling};
