//! Everything that can happen, and the order in which it does.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use cluster_wire::envelope::Said;
use cluster_wire::guilds::{Call, CallResult, Event as Told, GatewayId};
use cluster_wire::record::ServerRecord;
use cluster_wire::voice::Report;
use gateway_core::{CallId, ConnId};
use model::{GuildId, ServerId, UserId};
use sfu_wire::FromSfu;

use crate::faults::Heal;
use crate::net::{Down, SocketId, Up};
use crate::registry::{Answer, Wish};
use crate::router::{Life, Process};
use crate::time::At;

#[derive(Debug)]
pub enum Event {
    Up(SocketId, Up),
    Down(SocketId, Down),

    /// A core wants to be called.
    Wake(Sleeper),
    /// A GUILD_CREATE is on the wire.
    GuildWritten {
        gateway: usize,
        life: u64,
        conn: ConnId,
    },
    /// A gateway's router takes a call of it,
    Call {
        gateway: usize,
        life: u64,
        id: CallId,
        call: Call,
    },
    /// and answers it,
    Reply {
        gateway: usize,
        life: u64,
        id: CallId,
        reply: CallResult,
    },
    /// and tells it what guilds nodes say.
    Told {
        gateway: usize,
        feed: u64,
        event: Told,
    },
    /// The gateway has read the end of its queue of events.
    CutOff {
        gateway: usize,
        feed: u64,
    },
    /// It has asked for a new one.
    Listen {
        gateway: usize,
        life: u64,
    },
    GatewayStarts(usize),

    // Between callers and guilds nodes.
    Dial {
        caller: Life,
        node: usize,
        task: u64,
    },
    Pump(u64),
    ToNode {
        node: usize,
        life: u64,
        stream: u64,
        id: u64,
        call: Box<Call>,
    },
    FromNode {
        caller: Life,
        stream: u64,
        said: Box<Said>,
        fencing: Option<u64>,
    },
    StreamDown {
        who: Process,
        stream: u64,
        is_told: bool,
    },
    PingMissed {
        who: Process,
        stream: u64,
    },
    RouterTurn(Life),

    NodeStarts(usize),
    /// An answer is there to be sent.
    Answers {
        node: usize,
        life: u64,
        stream: u64,
        id: u64,
        reply: CallResult,
    },
    Guild {
        node: usize,
        life: u64,
        guild: GuildId,
        input: Input,
    },
    /// A guild is to be claimed.
    Claims {
        node: usize,
        life: u64,
        guild: GuildId,
        number: u64,
    },
    /// Its voice servers have been waited for long enough.
    Heard {
        node: usize,
        life: u64,
        guild: GuildId,
        number: u64,
    },
    Sweep {
        node: usize,
        life: u64,
    },
    Renew {
        node: usize,
        life: u64,
    },
    Joins {
        node: usize,
        life: u64,
    },

    // The registry.
    Asked {
        node: usize,
        life: u64,
        wish: Wish,
        guild_number: u64,
        back: u64,
    },
    Answered {
        node: usize,
        life: u64,
        wish: Wish,
        guild_number: u64,
        answer: Answer,
    },
    Published(u64, ServerRecord),
    LeaseEnds(ServerId, u64),
    NodeLeaseEnds(u64),
    Watch(Life),
    NodesAre(Life, Vec<usize>),
    ServersAre {
        node: usize,
        life: u64,
        records: Vec<ServerRecord>,
    },
    Registry {
        node: usize,
        life: u64,
        change: Change,
    },

    // Between guilds nodes and voice servers.
    DialVoice {
        node: usize,
        life: u64,
        host: usize,
        task: u64,
    },
    LinkUp {
        node: usize,
        life: u64,
        host: usize,
        task: u64,
        host_life: u64,
    },
    LinkBreaks {
        node: usize,
        life: u64,
        host: usize,
        task: u64,
    },
    /// The next order that waits for a voice server is taken.
    Order {
        node: usize,
        life: u64,
        host: usize,
        task: u64,
    },
    CaughtUp {
        node: usize,
        life: u64,
        host: usize,
        task: u64,
    },
    Report {
        node: usize,
        life: u64,
        report: Report,
    },

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
    Guild { node: usize, life: u64, guild: GuildId },
    Voice { host: usize, life: u64 },
    Relay { host: usize, shard: usize, generation: u64 },
}

#[derive(Debug)]
pub enum Input {
    /// With the stream that it came by, and its number there.
    Call((u64, u64), Call),
    Report(Report),
    Review(Review),
    LeaveVoice(UserId),
    /// This node's ownership has ended.
    Lose,
}

/// As the shell of guilds has it.
#[derive(Debug, Clone)]
pub enum Review {
    Look,
    Lost(ServerId),
    Missed(ServerId),
    Reconnected(ServerId),
    GatewayGone(GatewayId),
}

#[derive(Debug, Clone)]
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

impl Event {
    /// The process that this is for, if it is one that may hang.
    pub fn process(&self, ends: impl Fn(SocketId) -> Option<usize>) -> Option<Process> {
        match self {
            Self::Up(id, _) => ends(*id).map(Process::Gateway),
            Self::Wake(Sleeper::Gateway(gateway))
            | Self::GuildWritten { gateway, .. }
            | Self::Call { gateway, .. }
            | Self::Reply { gateway, .. }
            | Self::Told { gateway, .. }
            | Self::CutOff { gateway, .. }
            | Self::Listen { gateway, .. } => Some(Process::Gateway(*gateway)),
            Self::Dial { caller: (who, _), .. }
            | Self::FromNode { caller: (who, _), .. }
            | Self::StreamDown { who, .. }
            | Self::RouterTurn((who, _))
            | Self::Watch((who, _))
            | Self::NodesAre((who, _), _) => Some(*who),
            Self::Wake(Sleeper::Guild { node, .. })
            | Self::ToNode { node, .. }
            | Self::Answers { node, .. }
            | Self::Guild { node, .. }
            | Self::Claims { node, .. }
            | Self::Heard { node, .. }
            | Self::Sweep { node, .. }
            | Self::Renew { node, .. }
            | Self::Joins { node, .. }
            | Self::Answered { node, .. }
            | Self::ServersAre { node, .. }
            | Self::Registry { node, .. }
            | Self::DialVoice { node, .. }
            | Self::LinkUp { node, .. }
            | Self::LinkBreaks { node, .. }
            | Self::CaughtUp { node, .. }
            | Self::Report { node, .. } => Some(Process::Node(*node)),
            _ => None,
        }
    }
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
