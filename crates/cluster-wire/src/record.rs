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
