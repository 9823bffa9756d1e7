//! One shard of the relay, as a machine without I/O.
//!
//! # Owns
//! The legs and rooms of its shard; each leg's security and address; what every stream's packets are
//! numbered; who is speaking; what became of every datagram.
//!
//! # Inputs
//! [`Shard::handle_datagram`], or for a batch [`Shard::take_datagram`] and at its end [`Shard::finish`]; [`Shard::handle_message`], [`Shard::handle_timeout`]; time comes in as an
//! argument, and all that looks random comes from the seed in [`sfu_wire::Start`].
//!
//! # Outputs
//! Datagrams, written straight into the caller's [`Sink`] while a `handle_*` runs; [`Shard::poll_event`], to
//! be asked after each of them or whenever there is room, because events are differences of state and merge
//! while nobody asks; [`Shard::poll_timeout`], to be asked after each of them; [`Shard::poll_known`], for whoever has said that it is. What another process must know to
//! go on is written into a [`Memory`] before anything leaves that follows from it.
//!
//! # Invariants
//! received = forwarded in + consumed + dropped for one reason each. No datagram provokes a longer one before
//! its sender has authenticated. Audio goes only to legs of the sender's room. Forwarding allocates nothing.
//! Whatever a client sends costs that client alone.
//!
//! # Absent
//! Users, guilds, SDP, JSON; sockets, clocks, threads; decoding of audio.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod absence;
mod browser;
mod checked;
mod control;
mod counters;
mod forward;
pub mod fuzz;
mod known;
mod leg;
pub mod limits;
mod loss;
mod media;
mod missing;
mod outgoing;
mod pace;
mod page;
mod path;
mod pending;
mod recent;
mod reception;
mod resend;
mod restore;
mod retired;
mod rewrite;
mod room;
mod security;
mod seed;
mod shard;
mod sink;
mod speech;
mod state;
mod timers;
mod uplink;
mod webrtc;
mod written;

pub use control::Refused;
pub use counters::{Counters, DropReason};
pub use known::Known;
pub use page::Memory;
pub use shard::Shard;
pub use sink::Sink;
pub use timers::Reason;
