//! What gateway, guilds and voice say to each other, the token a client carries from one to the other, and what a
//! voice server says of itself in the registry.
//!
//! Owns: these messages, the in-process links that carry them, and their form between processes. Deliberately does not: act on any of them.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod envelope;
pub mod guilds;
pub mod link;
mod name;
pub mod record;
pub mod token;
pub mod voice;
