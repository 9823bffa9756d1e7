//! The owner of guilds, as a service: one actor task a guild around `guilds-core`, accounts, and the links to gateways and
//! voice servers.
//!
//! Owns: routing of calls, durability (nothing of an outcome is let out before its writes are in the database), accounts
//! and their tokens, the fleet as guilds can reach it, who is in voice where.
//! Deliberately does not: decide anything about one guild (`guilds-core` does), speak to clients (gateways do), know media.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod accounts;
mod actor;
mod clock;
mod fleet;
mod gateways;
mod global;
pub mod limits;
mod passwords;
mod router;
mod service;
mod shared;
mod throttle;
mod tokens;

#[cfg(test)]
mod tests;

pub use passwords::PasswordCost;
pub use service::{Guilds, GuildsConfig, GuildsHandle, Registration};
