//! The voice servers that a guilds node can use, as it sees them.

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::sync::Arc;

use cluster_wire::record::{Health, ServerRecord};
use model::ServerId;

use crate::Servers;

/// Of its capacity, what a server that was full must be below to take guilds again.
const NOT_FULL_PERCENT: u64 = 90;

/// Each as it said of itself last, and with what was placed there since.
#[derive(Debug)]
pub struct Usable {
    servers: Arc<Servers>,
    /// Those that have had as many participants as they are for, until they are clearly below that again.
    full: BTreeSet<ServerId>,
    nodes: NonZeroU32,
}

impl Default for Usable {
    fn default() -> Self {
        Self { servers: Arc::default(), full: BTreeSet::new(), nodes: NonZeroU32::MIN }
    }
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

    /// A guild of so many participants was placed on it: it counts as busier until it says so itself. And as if the other guilds nodes had placed as many, which they may have
    /// done by the same records: when a server dies each of them moves its share of the guilds in the same moment.
    pub fn placed(&mut self, id: &ServerId, participants: u32) {
        let weight = match self.nodes.get() {
            1 => 1,
            // Twice, because the last guild that each of them has room for may be a large one.
            nodes => nodes.saturating_mul(2),
        };
        if let Some(record) = Arc::make_mut(&mut self.servers).get_mut(id) {
            let load = &mut record.load;
            load.guilds = load.guilds.saturating_add(weight);
            load.participants = load.participants.saturating_add(participants.saturating_mul(weight));
        }
    }

    /// So many guilds nodes place guilds.
    pub fn nodes_are(&mut self, nodes: NonZeroU32) {
        self.nodes = nodes;
    }
}

/// Load comes with every record and moves nobody; the rest may.
fn matters(old: &ServerRecord, new: &ServerRecord) -> bool {
    let fixed =
        |r: &ServerRecord| (r.region.clone(), r.endpoint.clone(), r.health, r.draining, r.is_eligible());
    fixed(old) != fixed(new)
}

#[cfg(test)]
mod tests {
    use cluster_wire::record::{RelayStatus, ServerLoad};
    use model::RegionId;

    use super::*;

    fn record(participants: u32) -> ServerRecord {
        ServerRecord {
            id: ServerId("a".to_owned()),
            region: RegionId("eu".to_owned()),
            endpoint: "a:443".to_owned(),
            health: Health::Ok,
            load: ServerLoad { participants, ..ServerLoad::default() },
            capacity: 100,
            version: String::new(),
            draining: false,
            cluster: None,
            relay: RelayStatus::default(),
        }
    }

    #[test]
    fn what_is_placed_counts_for_every_node_until_the_server_says_more() {
        let mut usable = Usable::default();
        let id = record(0).id;
        assert!(usable.report(&record(10), Health::Ok));
        usable.placed(&id, 5);
        assert_eq!(usable.servers()[&id].load.participants, 15);
        usable.nodes_are(NonZeroU32::new(4).unwrap());
        usable.placed(&id, 5);
        assert_eq!(usable.servers()[&id].load.participants, 55);
        assert_eq!(usable.servers()[&id].load.guilds, 9);
        usable.placed(&id, 20);
        assert!(!usable.servers()[&id].is_eligible(), "all nodes together may have filled it");
        assert!(usable.report(&record(35), Health::Ok), "whoever waits may come");
        assert_eq!(usable.servers()[&id].load.participants, 35);
    }
}
