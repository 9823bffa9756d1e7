//! The gateway as a machine: connections, sessions, and who is told what.
//!
//! # Owns
//! Connections from HELLO to close, sessions from READY to their end, sequence numbers, replay
//! buffers, and which session follows which guild.
//!
//! # Inputs
//! [`Node::handle_connected`], [`Node::handle_frame`], [`Node::handle_malformed`],
//! [`Node::handle_guild_written`], [`Node::handle_disconnected`] from sockets; [`Node::handle_reply`] and
//! [`Node::handle_event`] from guilds; [`Node::handle_timeout`], [`Node::handle_drain`] and
//! [`Node::handle_shutdown`] from the process around it.
//!
//! # Outputs
//! After every input, until each answers `None`: [`Node::poll_transmit`] (frames and closes),
//! [`Node::poll_call`] (calls to guilds, to be started in this order), [`Node::poll_notice`] (what metrics
//! and logs want to know). Then [`Node::poll_timeout`] says when to come back.
//!
//! # Invariants
//! * A session's dispatches are numbered 1, 2, 3 … without a gap, and what is replayed carries its first
//!   number.
//! * A session has at most one connection, and a live connection exactly one session.
//! * All who are sent an event share it, and so does what they keep of it.
//! * No event of a guild reaches a session before the guild's GUILD_CREATE has.
//! * Every guild a session was attached to is detached exactly once when the session ends, unless guilds has
//!   said first that its user left.
//!
//! # Absent
//! Sockets, clocks, JSON of payloads (they are passed on as they came), permissions, voice.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod adopt;
mod body;
mod connection;
mod events;
mod fanout;
pub mod fuzz;
mod identify;
pub mod limits;
mod node;
mod rate;
mod replay;
mod requests;
mod session;
#[cfg(test)]
mod tests;
mod timers;

pub use body::Body;
pub use connection::ConnId;
pub use node::{CallId, Frame, Node, NodeConfig, Notice, Output, SessionEnd, Transmit};
pub use timers::Reason;
