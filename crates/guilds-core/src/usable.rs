//! The voice servers that a guilds node can use, as it sees them.

use std::collections::BTreeSet;
use std::sync::Arc;

use cluster_wire::record::{Health, ServerRecord};
use model::ServerId;

use crate::Servers;

/// Of its capacity, what a server that was full must be below to take guilds again.
const NOT_FULL_PERCENT: u64 = 90;

/// Each as it said of itself last, and with what was placed there since.
#[derive(Debug, Default)]
pub struct Usable {
    servers: Arc<Servers>,
    /// Those that have had as many participants as they are for, until they are clearly below that again.
    full: BTreeSet<ServerId>,
}

impl Usable {
    pub fn servers(&self) -> &Arc<Servers> {
        &self.servers
    }

    /// A server says this of itself, but for its health, of which its guilds node may know better. Whether that may move a guild.
    pub fn report(&mut self, record: &ServerRecord, health: Health) -> bool {
        let id = &record.id;
        // One that was full is taken for a little smaller than it is, so that the next to leave does not call the next guild in.
        let clearly_below = (u64::from(record.capacity) * NOT_FULL_PERCENT).div_ceil(100) as u32;
        let capacity = if self.full.contains(id) { clearly_below } else { record.capacity };
        let capacity = match record.load.participants >= capacity {
            true => {
                self.full.insert(id.clone());
                clearly_below
            }
            false => {
                self.full.remove(id);
                record.capacity
            }
        };
        let new = ServerRecord { health, capacity, ..record.clone() };
        let old = self.servers.get(id);
        let is_news = old.is_none_or(|old| matters(old, &new));
        Arc::make_mut(&mut self.servers).insert(id.clone(), new);
        is_news
    }

    /// The registry has lost it, which is a reason to leave it. Whether there was one.
    pub fn unseen(&mut self, id: &ServerId) -> bool {
        self.full.remove(id);
        let found = Arc::make_mut(&mut self.servers).get_mut(id);
        found.map(|record| record.health = Health::RelayLost).is_some()
    }

    /// It cannot be reached any more. Whether it could.
    pub fn remove(&mut self, id: &ServerId) -> bool {
        self.full.remove(id);
        self.servers.contains_key(id) && Arc::make_mut(&mut self.servers).remove(id).is_some()
    }

    /// A guild was placed on it: it counts as busier until it says so itself, or a burst of first joins between two of its
    /// records would all choose the same server.
    pub fn placed(&mut self, id: &ServerId) {
        if let Some(record) = Arc::make_mut(&mut self.servers).get_mut(id) {
            record.load.guilds += 1;
            record.load.participants += 1;
        }
    }
}

/// Load comes with every record and moves nobody; the rest may.
fn matters(old: &ServerRecord, new: &ServerRecord) -> bool {
    let fixed =
        |r: &ServerRecord| (r.region.clone(), r.endpoint.clone(), r.health, r.draining, r.is_eligible());
    fixed(old) != fixed(new)
}
