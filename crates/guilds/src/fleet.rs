//! The voice servers as guilds can reach them: those the registry knows and a link leads to.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use cluster_wire::link::VoiceLink;
use cluster_wire::record::ServerRecord;
use cluster_wire::voice::Order;
use guilds_core::Servers;
use model::{RegionId, ServerId};

/// What guilds must do because the fleet changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Review {
    /// Look whether there is something better.
    Look,
    /// This server's participants are gone.
    Lost(ServerId),
}

#[derive(Debug, Default)]
pub(crate) struct Fleet {
    state: RwLock<State>,
}

#[derive(Debug, Default)]
struct State {
    records: BTreeMap<ServerId, ServerRecord>,
    links: BTreeMap<ServerId, VoiceLink>,
    /// Those with both.
    usable: Arc<Servers>,
}

impl Fleet {
    pub fn servers(&self) -> Arc<Servers> {
        Arc::clone(&self.read().usable)
    }

    /// Every record, reachable or not.
    pub fn records(&self) -> Vec<ServerRecord> {
        self.read().records.values().cloned().collect()
    }

    pub fn regions(&self) -> Vec<RegionId> {
        let mut regions: Vec<_> = self.read().usable.values().map(|record| record.region.clone()).collect();
        regions.sort_unstable();
        regions.dedup();
        regions
    }

    pub fn put(&self, record: ServerRecord) -> Option<Review> {
        let mut state = self.write();
        let (id, reachable) = (record.id.clone(), state.links.contains_key(&record.id));
        let review = match state.usable.get(&id) {
            Some(old) => (reachable && matters(old, &record)).then_some(Review::Look),
            None => reachable.then_some(Review::Look),
        };
        state.records.insert(id.clone(), record.clone());
        if reachable {
            Arc::make_mut(&mut state.usable).insert(id, record);
        }
        review
    }

    pub fn gone(&self, id: &ServerId) -> Option<Review> {
        let mut state = self.write();
        state.records.remove(id);
        Arc::make_mut(&mut state.usable).remove(id).map(|_| Review::Lost(id.clone()))
    }

    /// A new link to a server that had one: the old one's participants are gone.
    pub fn link(&self, id: ServerId, link: VoiceLink) -> Option<Review> {
        let mut state = self.write();
        let replaced = state.links.insert(id.clone(), link).is_some();
        let record = state.records.get(&id)?.clone();
        Arc::make_mut(&mut state.usable).insert(id.clone(), record);
        Some(if replaced { Review::Lost(id) } else { Review::Look })
    }

    pub fn unlink(&self, id: &ServerId) -> Option<Review> {
        let mut state = self.write();
        state.links.remove(id)?;
        Arc::make_mut(&mut state.usable).remove(id).map(|_| Review::Lost(id.clone()))
    }

    /// A guild was placed on it: it counts as busier until it says so itself, or a burst of first joins between two of its
    /// records would all choose the same server.
    pub fn placed(&self, id: &ServerId) {
        if let Some(record) = Arc::make_mut(&mut self.write().usable).get_mut(id) {
            record.load.guilds += 1;
            record.load.participants += 1;
        }
    }

    /// False if the order did not get through: the server is as good as dead.
    pub fn send(&self, id: &ServerId, order: Order) -> bool {
        self.read().links.get(id).is_some_and(|link| link.send(order))
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
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
    use cluster_wire::record::{Health, ServerLoad};
    use tokio::sync::mpsc;

    use super::*;

    #[test]
    fn only_what_can_move_a_guild_makes_guilds_look() {
        let fleet = Fleet::default();
        let id = ServerId("a".to_owned());
        let record = ServerRecord {
            id: id.clone(),
            region: RegionId("local".to_owned()),
            endpoint: "a:1".to_owned(),
            health: Health::Ok,
            load: ServerLoad::default(),
            capacity: 10,
            version: String::new(),
            draining: false,
        };
        let link = || VoiceLink::new(mpsc::channel(1).0);
        assert_eq!(fleet.put(record.clone()), None, "not reachable yet");
        assert_eq!(fleet.link(id.clone(), link()), Some(Review::Look));
        let busier =
            ServerRecord { load: ServerLoad { participants: 5, ..ServerLoad::default() }, ..record.clone() };
        assert_eq!(fleet.put(busier), None);
        let full =
            ServerRecord { load: ServerLoad { participants: 10, ..ServerLoad::default() }, ..record.clone() };
        assert_eq!(fleet.put(full), Some(Review::Look));
        assert_eq!(fleet.put(ServerRecord { draining: true, ..record.clone() }), Some(Review::Look));
        assert_eq!(fleet.link(id.clone(), link()), Some(Review::Lost(id.clone())));
        assert_eq!(fleet.gone(&id), Some(Review::Lost(id.clone())));
        assert_eq!(fleet.gone(&id), None);
        assert_eq!(fleet.put(record), Some(Review::Look));
        assert_eq!(fleet.unlink(&id), Some(Review::Lost(id.clone())));
        assert!(fleet.servers().is_empty());
        assert_eq!(fleet.regions(), []);
    }
}
