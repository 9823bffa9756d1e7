//! What kind of world a seed makes.

use crate::limits::{CALM_BOUND, TAKEOVER};
use crate::random::Random;
use crate::time::{ms, secs};

/// Kinds of fault and of everyday event. A world has some of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// People change channels, leave and come back, mute and deafen themselves.
    Wander,
    /// Moderators mute and deafen.
    Mute,
    /// Moderators move people, and put them out of channels.
    Move,
    /// Members are put out of the guild, and come back.
    Kick,
    /// What people may do in a channel changes.
    Permission,
    /// A channel is deleted.
    DeleteChannel,
    /// The guild goes to another region.
    Region,
    /// A relay is killed between two events.
    RelayKill,
    /// A relay is killed in the middle of one, with a packet of its choice.
    RelayDoom,
    /// A relay hangs for a while, and is replaced.
    RelayHang,
    /// A voice server dies, and another is started in its place.
    VoiceKill,
    /// A voice server is drained, and taken back.
    Drain,
    /// A voice server says that it is flooded, for a while.
    Flood,
    /// A voice server cannot reach the registry for a while.
    Partition,
    /// A voice server takes no orders for a while.
    Stall,
    /// A gateway misses events and is cut off.
    CutOff,
    /// A gateway dies, and is started again.
    GatewayKill,
    /// A gateway hangs for a while.
    GatewayHang,
    /// A guilds node dies, and is started again.
    NodeKill,
    /// A guilds node hangs for a while, most often for longer than its lease.
    NodeHang,
    /// A guilds node or a gateway cannot reach etcd for a while, most often for longer than a lease.
    NodePartition,
    /// Nobody reaches etcd for a while.
    EtcdGone,
    /// A stream between a caller and a guilds node, or between that and a voice server, breaks.
    StreamBreak,
    /// A client's connection to its gateway breaks.
    GatewayBreak,
    /// A client's connection to its voice server breaks.
    VoiceBreak,
    /// A client reaches nobody for a while.
    Outage,
    /// A client is never heard of again.
    Vanish,
    /// A client's packets come from another address.
    Rebind,
}

impl Kind {
    pub const ALL: [Self; 28] = [
        Self::Wander,
        Self::Mute,
        Self::Move,
        Self::Kick,
        Self::Permission,
        Self::DeleteChannel,
        Self::Region,
        Self::RelayKill,
        Self::RelayDoom,
        Self::RelayHang,
        Self::VoiceKill,
        Self::Drain,
        Self::Flood,
        Self::Partition,
        Self::Stall,
        Self::CutOff,
        Self::GatewayKill,
        Self::GatewayHang,
        Self::NodeKill,
        Self::NodeHang,
        Self::NodePartition,
        Self::EtcdGone,
        Self::StreamBreak,
        Self::GatewayBreak,
        Self::VoiceBreak,
        Self::Outage,
        Self::Vanish,
        Self::Rebind,
    ];
}

#[derive(Debug, Clone)]
pub struct Settings {
    pub clients: usize,
    pub gateways: usize,
    /// Guilds nodes.
    pub nodes: usize,
    pub guilds: usize,
    /// Voice channels of each guild.
    pub channels: usize,
    /// Voice servers, which are in two regions in turn.
    pub hosts: usize,
    pub shards: usize,
    pub kinds: Vec<Kind>,
    /// Between two faults, on average.
    pub fault_every: u64,
    /// No fault after this.
    pub calm_at: u64,
    /// Between two packets of one client.
    pub talk_every: u64,
    /// Of a thousand datagrams.
    pub loss: u64,
    pub duplicates: u64,
    /// One way, between a client and a server.
    pub delay_max: u64,
    /// One way, between two roles.
    pub link_delay_max: u64,
}

impl Settings {
    const STORM: [Kind; 6] =
        [Kind::Wander, Kind::Move, Kind::RelayKill, Kind::RelayDoom, Kind::RelayHang, Kind::VoiceBreak];

    pub fn of(seed: u64) -> Self {
        let mut random = Random::new(seed, "settings");
        let wanted = random.between(2, 7) as usize;
        let mut kinds = vec![Kind::Wander];
        while kinds.len() < wanted {
            let kind = *random.pick(&Kind::ALL).expect("there are kinds");
            if !kinds.contains(&kind) {
                kinds.push(kind);
            }
        }
        // What a relay must not forget is met only where much happens while none runs.
        let is_storm = random.chance(200);
        if is_storm {
            kinds = Self::STORM.to_vec();
        }
        Self {
            clients: random.between(3, 7) as usize,
            gateways: random.between(1, 2) as usize,
            nodes: random.between(1, 3) as usize,
            guilds: if random.chance(250) { 2 } else { 1 },
            channels: random.between(2, 3) as usize,
            hosts: random.between(2, 4) as usize,
            shards: random.between(1, 2) as usize,
            kinds,
            fault_every: if is_storm { ms(250) } else { random.between(ms(300), ms(2_500)) },
            calm_at: random.between(secs(15), secs(40)),
            talk_every: random.between(ms(80), ms(200)),
            loss: if random.chance(500) { random.below(80) } else { 0 },
            duplicates: if random.chance(500) { random.below(50) } else { 0 },
            delay_max: random.between(ms(5), ms(120)),
            link_delay_max: random.between(ms(1), ms(40)),
        }
    }

    /// How long after the last fault everyone must hear everyone.
    pub fn calm_bound(&self) -> u64 {
        let of_owners = [
            Kind::GatewayKill,
            Kind::GatewayHang,
            Kind::NodeKill,
            Kind::NodeHang,
            Kind::NodePartition,
            Kind::EtcdGone,
            Kind::StreamBreak,
        ];
        match of_owners.into_iter().any(|kind| self.has(kind)) {
            true => CALM_BOUND + TAKEOVER,
            false => CALM_BOUND,
        }
    }

    pub fn has(&self, kind: Kind) -> bool {
        self.kinds.contains(&kind)
    }
}
