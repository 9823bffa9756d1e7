//! Which guilds node a call goes to, as a machine.
//!
//! # Owns
//! What is known of who owns which guild, and every call that has not been answered.
//!
//! # Inputs
//! [`Routes::handle_call`] from the role that calls; [`Routes::handle_up`], [`Routes::handle_said`] and [`Routes::handle_down`] from streams;
//! [`Routes::handle_gone`] from the registry; [`Routes::handle_turn`] from the clock.
//!
//! # Outputs
//! Calls by each stream's [`Way`], since whether one takes them decides what is done next. After every input, until it answers `None`:
//! [`Routes::poll_output`].
//!
//! # Invariants
//! * Every call is answered once, if the clock goes on; [`cluster_wire::guilds::Call::LeaveElsewhere`], which nobody waits for, never.
//! * Calls of one guild reach its owner in the order in which they came.
//! * Of a guild whose owner is known nothing is told that another node said of it.
//!
//! # Absent
//! Streams, clocks, the registry, what calls mean.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod limits;
mod routes;

pub use routes::{From, Output, Routes, Way};
