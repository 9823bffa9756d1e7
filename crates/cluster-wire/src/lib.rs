//! What gateway, guilds and voice say to each other, the token a client carries from one to the other, and what a
//! voice server says of itself in the registry.
//!
//! Owns: these messages and the in-process link that carries them. Deliberately does not: act on any of them.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod guilds;
pub mod link;
pub mod record;
pub mod token;
pub mod voice;
