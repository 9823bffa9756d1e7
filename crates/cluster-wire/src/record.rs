//! What a voice server says of itself in the registry.

use model::{RegionId, ServerId};

#[derive(Debug, Clone, PartialEq)]
pub struct ServerRecord {
    pub id: ServerId,
    pub region: RegionId,
    /// `host:port` of the voice WebSocket, as clients are told.
    pub endpoint: String,
    pub health: Health,
    pub load: ServerLoad,
    /// Participants this server is willing to hold.
    pub capacity: u32,
    pub version: String,
    /// Asked by the operator to take no new guilds.
    pub draining: bool,
    /// `host:port` where guilds nodes reach it; None where it shares their process.
    pub cluster: Option<String>,
    pub relay: RelayStatus,
}

/// A guilds node, as gateways and other guilds nodes see it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct NodeRecord {
    pub name: String,
    /// `host:port` of its cluster port.
    pub address: String,
}

/// What is to be known of a server's relay.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RelayStatus {
    /// The program's; empty while none has started.
    pub version: String,
    /// How often it ended without having been asked to, since the server was started.
    pub restarts: u32,
    /// How it did so last, in words for the operator.
    pub last_end: Option<String>,
    /// While the next start is waited with, because it ended too often: for how long in all.
    pub next_start_in_ms: Option<u64>,
    /// Legs that are kept from it, because two relays died with them.
    pub legs_left_out: u32,
    /// What came of the operator's last wish for another program.
    pub upgrade: Option<Upgrade>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upgrade {
    /// By which whoever wished knows the answer.
    pub number: u64,
    pub outcome: UpgradeOutcome,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UpgradeOutcome {
    Underway,
    Done,
    /// The relay that ran still does. Why, in words for the operator.
    Failed(String),
}

impl RelayStatus {
    /// What came of a wish, unless that is known already or there was a later one.
    pub fn answer(&mut self, number: u64, outcome: UpgradeOutcome) {
        if self.is_underway(number) {
            self.upgrade = Some(Upgrade { number, outcome });
        }
    }

    /// Whether this wish is the last, and nothing has come of it yet.
    #[must_use]
    pub fn is_underway(&self, number: u64) -> bool {
        self.upgrade == Some(Upgrade { number, outcome: UpgradeOutcome::Underway })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Health {
    #[default]
    Ok,
    /// The relay process is down; signalling still answers.
    NoRelay,
    /// It has been down for so long, or so often, that guilds should leave.
    RelayLost,
    Flooded,
}

#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct ServerLoad {
    pub guilds: u32,
    pub participants: u32,
    pub packets_in_per_s: u64,
    pub packets_out_per_s: u64,
    /// Share of one core the busiest shard uses, 0 to 1.
    pub busiest_shard: f32,
}

impl ServerRecord {
    /// May a guild be placed here?
    pub fn is_eligible(&self) -> bool {
        self.health == Health::Ok && !self.draining && self.load.participants < self.capacity
    }
}
