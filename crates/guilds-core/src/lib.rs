//! One guild as a machine without I/O.
//!
//! # Owns
//! Everything true of one guild while it is active: what the database holds of it (name, roles, channels, members), and
//! what no database holds: attached sessions, presences, voice states, what is on in voice channels, the voice server it is placed
//! on.
//!
//! # Inputs
//! [`GuildCore::handle_call`] (a gateway's call), [`GuildCore::handle_report`] (a voice server's), [`GuildCore::handle_servers`]
//! (the fleet changed), [`GuildCore::handle_claimed`] and [`GuildCore::handle_held`] (the guild is taken over from an earlier owner), [`GuildCore::handle_missed_orders`] (a server takes orders again), [`GuildCore::handle_leave_voice`] (the user joined voice elsewhere), [`GuildCore::handle_reload`],
//! [`GuildCore::handle_timeout`] (when [`GuildCore::poll_timeout`] says so). Time, new
//! ids, randomness and the fleet come in with each as a [`Moment`]; what a call needs from the database comes in as [`Facts`],
//! asked for beforehand by [`needs`].
//!
//! # Outputs
//! An [`Outcome`]: the reply, the [`model::Write`]s that must be durable before anything else of it is let out, and
//! [`Effect`]s in the order in which they must take place.
//!
//! # Invariants
//! - A user has at most one voice state, in an existing voice channel, while a member, and while its client is at the voice server
//!   or has reason to be on its way there.
//! - All voice states of the guild are on one voice server, or the guild is awaiting one; those in channels that name another region have one there.
//! - What is said of a voice channel's people (since when, their status) is forgotten when the last of them has left, and what is on
//!   on a stage when it has had no speaker for a while.
//! - Nobody enters a full channel without MOVE_MEMBERS, its own or its mover's.
//! - Orders, applied in order, leave the voice server with exactly this guild's participants and rights.
//! - A refused call changes nothing: it has neither writes nor effects.
//! - A client is told VOICE_STATE_UPDATE before VOICE_SERVER_UPDATE, and its old voice connection is closed after both.
//!
//! # Absent
//! Sockets, tasks, clocks, randomness, the database, media, and other guilds. Accounts belong to the shell.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod access;
mod channels;
mod forms;
mod gatherings;
mod guild;
mod invites;
pub mod limits;
mod members;
mod messages;
mod moderation;
mod needs;
mod order;
mod overwrites;
mod placement;
mod roles;
mod seats;
mod sessions;
mod stage;
mod stage_instances;
mod takeover;
mod timestamp;
mod turn;
mod usable;
mod view;
mod visibility;
mod voice;
mod whereabouts;
mod zones;

#[cfg(test)]
mod tests;

pub use guild::{GuildCore, Reason, found_guild};
pub use needs::{Facts, Need, needs};
pub use placement::{Urgency, headroom, place};
pub use turn::{Effect, Moment, Outcome, Servers};
pub use usable::Usable;
pub use whereabouts::{Elsewhere, Entered, Whereabouts};
