//! Everything that can happen, and the order in which it does.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use cluster_wire::guilds::{Call, CallResult, Event as Told};
use cluster_wire::record::ServerRecord;
use cluster_wire::voice::Report;
use gateway_core::{CallId, ConnId};
use model::{GuildId, ServerId, UserId};
use sfu_wire::FromSfu;

use crate::faults::Heal;
use crate::net::{Down, SocketId, Up};
use crate::time::At;

#[derive(Debug)]
pub enum Event {
    Up(SocketId, Up),
    Down(SocketId, Down),

    /// A core wants to be called.
    Wake(Sleeper),
    /// A GUILD_CREATE is on the wire.
    GuildWritten(usize, ConnId),
    Call {
        gateway: usize,
        id: CallId,
        call: Call,
    },
    Reply {
        gateway: usize,
        id: CallId,
        reply: CallResult,
    },
    Told {
        gateway: usize,
        stream: u64,
        event: Told,
    },
    /// The gateway has read the end of its stream of events.
    CutOff {
        gateway: usize,
        stream: u64,
    },
    /// A gateway asks for a new one,
    Listen {
        gateway: usize,
    },
    /// and hears that it has it.
    Listening {
        gateway: usize,
        stream: u64,
    },
    Guild(GuildId, Input),

    /// Guilds has a way to a voice server, or loses it.
    LinkUp {
        host: usize,
        life: u64,
    },
    LinkDown {
        host: usize,
        life: u64,
    },
    /// The next order that waits for a voice server is taken.
    Order {
        host: usize,
        life: u64,
    },
    CaughtUp {
        host: usize,
        life: u64,
    },
    Published(u64, ServerRecord),
    LeaseEnds(ServerId, u64),
    Registry(Change),

    HostStarts(usize),
    Second {
        host: usize,
        life: u64,
    },
    /// The relay looks at what signalling says.
    RelayReads {
        host: usize,
        shard: usize,
        generation: u64,
    },
    RelayStarts {
        host: usize,
        life: u64,
    },
    RelayDown {
        host: usize,
        life: u64,
        generation: u64,
        blamed: Vec<(u32, u64)>,
    },
    FromRelay {
        host: usize,
        life: u64,
        generation: u64,
        shard: u32,
        message: FromSfu,
    },
    UdpUp {
        from: SocketAddr,
        to: SocketAddr,
        bytes: Vec<u8>,
    },
    UdpDown {
        host: usize,
        to: SocketAddr,
        bytes: Vec<u8>,
    },

    /// A timer of a client's. It has no meaning any more when the client counts further by now.
    Client(usize, Timer, u64),
    Fault,
    Heal(Heal),
    Look,
    Calm,
    WindowBegins,
    End,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sleeper {
    Gateway(usize),
    Guild(GuildId),
    Voice { host: usize, life: u64 },
    Relay { host: usize, shard: usize, generation: u64 },
}

#[derive(Debug)]
pub enum Input {
    Call(Option<(usize, CallId)>, Call),
    Report(Report),
    Review(Review),
    LeaveVoice(UserId),
}

/// As the shell of guilds has it.
#[derive(Debug, Clone)]
pub enum Review {
    Look,
    Lost(ServerId),
    Missed(ServerId),
}

#[derive(Debug)]
pub enum Change {
    Put(Box<ServerRecord>),
    Gone(ServerId),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Timer {
    GatewayConnect,
    GatewayBeat,
    VoiceConnect,
    VoiceBeat,
    /// Asks for its place again, or gives up.
    Deadline,
    Discover,
    Talk,
    Keepalive,
}

/// What happens next; what is to happen at the same moment happens in the order in which it was said.
#[derive(Debug, Default)]
pub struct Queue {
    events: BTreeMap<(At, u64), Event>,
    said: u64,
}

impl Queue {
    pub fn push(&mut self, at: At, event: Event) {
        self.said += 1;
        self.events.insert((at, self.said), event);
    }

    pub fn pop(&mut self) -> Option<(At, Event)> {
        self.events.pop_first().map(|((at, _), event)| (at, event))
    }
}
