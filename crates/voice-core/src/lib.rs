//! Voice signalling as a machine without I/O: the voice gateway's sessions, rooms and what the media relay must do.
//!
//! # Owns
//! Voice connections from HELLO to close, voice sessions with their replay buffers, rooms and the shard each is on, stream ids, session
//! keys, and the whole wanted state of every shard of the relay.
//!
//! # Inputs
//! `handle_open`, `handle_text`, `handle_binary`, `handle_close` (clients), `handle_order` (guilds), `handle_sfu` and
//! `handle_relay_blames` (the relay), `handle_dtls_done` and `handle_dtls_failed` (the DTLS engines of browsers' legs),
//! `handle_timeout` and `handle_shutdown`. Each is told the time. Randomness is a function given at the start.
//!
//! # Outputs
//! [`VoiceCore::poll_output`]: texts and closes for connections, messages for shards, reports for guilds, events for metrics.
//! [`VoiceCore::ice`]: by what a check that came over TCP is verified. [`VoiceCore::poll_timeout`]: when `handle_timeout` wants to be called next. [`VoiceCore::snapshot`]: everything a shard must know.
//!
//! # Invariants
//! * A participant that guilds has not placed in the channel of its token neither speaks nor hears, sees nobody and is seen by
//!   nobody; it is closed when the placement does not come. So a token alone never outlives its owner's removal.
//! * A session keeps its stream id for life; no two sessions of the server share one.
//! * READY precedes every CLIENTS CONNECT; nobody is told a stream id before the stream's owner has spoken, but the newcomer, who is
//!   told everyone's.
//! * A browser's transport is found by its user name fragment exactly as long as its leg has that transport.
//! * Every leg the relay was told to put and not to remove is in the snapshot of its shard, and no other.
//! * A message that a client may miss is numbered and kept until it is acknowledged; a resume replays all of what was missed or fails.
//!
//! # Absent
//! Sockets, TLS, tasks, clocks, processes, the registry, permissions (guilds sends what follows from them), media.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod blame;
mod clients;
mod conn;
mod core;
pub mod fuzz;
pub mod limits;
mod orders;
mod outbox;
mod rooms;
mod session;
mod speaking;
mod ssrc;
mod timers;
mod webrtc;

use std::fmt;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use client_wire::fragment::Fingerprint;
use client_wire::voice::CloseCode;
use cluster_wire::token::TokenKey;
use cluster_wire::voice::Report;
use model::{GuildId, ServerId, SessionId, UnixMs};
use sfu_wire::ToSfu;

pub use crate::core::{Random, VoiceCore};
pub use crate::timers::Reason;

/// A voice connection, numbered by the shell; never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(pub u64);

/// Both of the shell's clocks: deadlines go by the first, tokens expire by the second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    pub instant: Instant,
    pub wall: UnixMs,
}

#[derive(Debug, Clone)]
pub struct Config {
    pub server: ServerId,
    pub token_key: TokenKey,
    /// Where clients send media: one address, a port a shard.
    pub media_ip: Ipv4Addr,
    pub media_ports: Vec<u16>,
    /// Where media is taken over TCP, at the same address, from browsers whose network lets no UDP through.
    pub ice_tcp_port: Option<u16>,
    /// The encryption modes on offer, in the order of the offer.
    pub modes: Vec<String>,
    /// Of the certificate that browsers are shown.
    pub fingerprint: Fingerprint,
    /// Told to clients that ask for the version of the backend.
    pub version: String,
}

/// One voice session: a gateway session's participation in one guild.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionKey {
    pub guild: GuildId,
    pub session: SessionId,
}

/// What an ICE check of a browser's transport is verified by, and where it belongs.
#[derive(Clone, PartialEq, Eq)]
pub struct Ice {
    pub shard: u32,
    pub leg: u64,
    pub ufrag: String,
    pub pwd: String,
    pub remote_ufrag: String,
}

/// Never shows the password.
impl fmt::Debug for Ice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ice").field("shard", &self.shard).field("leg", &self.leg).finish_non_exhaustive()
    }
}

#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    Send {
        conn: ConnId,
        text: String,
    },
    /// The connection is forgotten; texts sent to it before are delivered first.
    Close {
        conn: ConnId,
        code: CloseCode,
    },
    /// The connection's client has shown who it is.
    Authenticated {
        conn: ConnId,
    },
    ToSfu {
        shard: u32,
        message: ToSfu,
    },
    /// A browser's leg begins a transport, for which a DTLS engine is needed from now on. An earlier one of the leg is of no use any more.
    BeginDtls {
        shard: u32,
        leg: u64,
        /// Ours; it tells this transport from others of the leg.
        ufrag: String,
        /// The certificate that the browser must show.
        fingerprint: Fingerprint,
    },
    /// The leg is gone, and its engine may go.
    EndDtls {
        leg: u64,
    },
    Report(Report),
    Event(Event),
}

/// Something worth counting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// SESSION DESCRIPTION was sent, so long after IDENTIFY.
    Described {
        after: Duration,
    },
    /// The first media of a session was authenticated, so long after IDENTIFY.
    Connected {
        after: Duration,
    },
    Resumed,
    /// A resume named no session of ours, or its messages were no longer all there.
    ResumeRefused,
    /// An order of a former owner of the guild was refused.
    StaleOrder,
    /// A browser's handshake failed: another certificate than the one it had named, or no common ground.
    HandshakeFailed,
    /// The nonces of a session's key were running out, and its client was sent to join anew.
    KeySpent,
    /// A relay died while it was busy with a leg.
    Blamed,
    /// It was the second one that died with this leg, which no relay is told of any more.
    LeftOut,
    /// A token outran guilds' placement and was never confirmed.
    Unconfirmed,
}

/// How much there is of everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stats {
    pub connections: usize,
    /// Clients present: identified, resumable or both.
    pub sessions: usize,
    /// Participants guilds has placed here, whether or not their clients have come yet, and clients not yet placed.
    pub participants: usize,
    pub guilds: usize,
    pub rooms: usize,
}
