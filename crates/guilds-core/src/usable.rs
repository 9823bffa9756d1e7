//! The voice servers that a guilds node can use, as it sees them.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;

use cluster_wire::record::{Health, ServerRecord};
use model::ServerId;

use crate::Servers;
use crate::placement::has_room;

/// Of its capacity, what a server that was full must be below to take guilds again.
const NOT_FULL_PERCENT: u64 = 90;

/// Each as it said of itself last, and busier by what was placed there since.
#[derive(Debug)]
pub struct Usable {
    servers: Arc<Servers>,
    known: BTreeMap<ServerId, Known>,
    nodes: NonZeroU32,
}

#[derive(Debug)]
struct Known {
    /// As it came.
    record: ServerRecord,
    /// It has had as many participants as it is for, and has not been clearly below that again.
    is_full: bool,
    /// What was placed on it and is not in its record, as far as is known: of late, and before that.
    placed: [Guess; 2],
}

#[derive(Debug, Clone, Copy, Default)]
struct Guess {
    guilds: u32,
    participants: u32,
}

impl Default for Usable {
    fn default() -> Self {
        Self { servers: Arc::default(), known: BTreeMap::new(), nodes: NonZeroU32::MIN }
    }
}

impl Usable {
    pub fn servers(&self) -> &Arc<Servers> {
        &self.servers
    }

    /// A server says this of itself, but for its health, of which its guilds node may know better. Whether that may move a guild.
    ///
    /// What was placed there is in it, unless it is what the server has said before.
    pub fn report(&mut self, record: &ServerRecord, health: Health) -> bool {
        let id = &record.id;
        let known = self.known.get(id);
        let was_full = known.is_some_and(|known| known.is_full);
        let placed =
            known.filter(|known| known.record == *record).map(|known| known.placed).unwrap_or_default();
        // One that was full is taken for a little smaller than it is, so that the next to leave does not call the next guild in.
        let clearly_below = (u64::from(record.capacity) * NOT_FULL_PERCENT).div_ceil(100) as u32;
        let is_full = record.load.participants >= if was_full { clearly_below } else { record.capacity };
        let capacity = if is_full { clearly_below } else { record.capacity };
        let new = ServerRecord { health, capacity, ..record.clone() };
        let old = Arc::make_mut(&mut self.servers).insert(id.clone(), new);
        self.known.insert(id.clone(), Known { record: record.clone(), is_full, placed });
        self.reckon(id);
        old.is_none_or(|old| matters(&old, &self.servers[id]))
    }

    /// The registry has lost it, which is a reason to leave it. Whether there was one.
    pub fn unseen(&mut self, id: &ServerId) -> bool {
        let found = Arc::make_mut(&mut self.servers).get_mut(id);
        found.map(|record| record.health = Health::RelayLost).is_some()
    }

    /// It cannot be reached any more. Whether it could.
    pub fn remove(&mut self, id: &ServerId) -> bool {
        self.known.remove(id);
        self.servers.contains_key(id) && Arc::make_mut(&mut self.servers).remove(id).is_some()
    }

    /// A guild of so many participants was placed on it: it counts as busier until it says so itself, or a while has passed. And as if the other guilds nodes had placed as
    /// many, which they may have done by the same records: when a server dies each of them moves its share of the guilds in the same moment.
    pub fn placed(&mut self, id: &ServerId, participants: u32) {
        let weight = match self.nodes.get() {
            1 => 1,
            // Twice, because the last guild that each of them has room for may be a large one.
            nodes => nodes.saturating_mul(2),
        };
        let Some(known) = self.known.get_mut(id) else { return };
        let [of_late, _] = &mut known.placed;
        of_late.guilds = of_late.guilds.saturating_add(weight);
        of_late.participants = of_late.participants.saturating_add(participants.saturating_mul(weight));
        self.reckon(id);
    }

    /// As long has passed as servers take to say what has changed. Who was placed twice as long ago and is in no record has left again, or the registry
    /// says nothing.
    pub fn time_passes(&mut self) {
        let guessed = |known: &Known| known.placed.iter().any(|placed| placed.guilds > 0);
        let ids: Vec<_> =
            self.known.iter().filter(|(_, known)| guessed(known)).map(|(id, _)| id.clone()).collect();
        for id in ids {
            if let Some(known) = self.known.get_mut(&id) {
                known.placed = [Guess::default(), known.placed[0]];
            }
            self.reckon(&id);
        }
    }

    /// So many guilds nodes place guilds.
    pub fn nodes_are(&mut self, nodes: NonZeroU32) {
        self.nodes = nodes;
    }

    /// What is guessed makes a server the last to be chosen, and full for calls that can wait; never for one that begins.
    fn reckon(&mut self, id: &ServerId) {
        let (Some(known), Some(server)) = (self.known.get(id), Arc::make_mut(&mut self.servers).get_mut(id))
        else {
            return;
        };
        let said = known.record.load;
        let sum = |of: fn(&Guess) -> u32| {
            known.placed.iter().fold(0_u32, |sum, placed| sum.saturating_add(of(placed)))
        };
        server.load.guilds = said.guilds.saturating_add(sum(|placed| placed.guilds));
        server.load.participants = said
            .participants
            .saturating_add(sum(|placed| placed.participants))
            .min(server.capacity.saturating_sub(1))
            .max(said.participants);
    }
}

/// Load comes with every record and moves nobody, but that there is room for those who wait; the rest may.
fn matters(old: &ServerRecord, new: &ServerRecord) -> bool {
    let fixed = |r: &ServerRecord| {
        (r.region.clone(), r.endpoint.clone(), r.health, r.draining, r.is_eligible(), has_room(r))
    };
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
        assert_eq!(usable.servers()[&id].load.participants, 99, "all nodes together may have filled it");
        assert!(usable.servers()[&id].is_eligible(), "and who begins a call is taken all the same");
        assert!(!usable.report(&record(10), Health::Ok), "what it has said before says nothing");
        assert_eq!(usable.servers()[&id].load.participants, 99);
        assert!(usable.report(&record(35), Health::Ok), "whoever waits may come");
        assert_eq!(usable.servers()[&id].load.participants, 35);
    }

    #[test]
    fn who_is_in_no_record_after_a_while_has_left_again() {
        let mut usable = Usable::default();
        let id = record(0).id;
        usable.report(&record(10), Health::Ok);
        let participants = |usable: &Usable| usable.servers()[&id].load.participants;
        usable.placed(&id, 5);
        usable.time_passes();
        usable.placed(&id, 7);
        assert_eq!(participants(&usable), 22);
        usable.time_passes();
        assert_eq!(participants(&usable), 17);
        usable.time_passes();
        assert_eq!((participants(&usable), usable.servers()[&id].load.guilds), (10, 0));
    }

    #[test]
    fn a_server_that_was_full_before_the_registry_lost_it_is_full_when_it_is_back() {
        let mut usable = Usable::default();
        let id = record(0).id;
        usable.report(&record(100), Health::Ok);
        assert!(usable.unseen(&id));
        usable.report(&record(95), Health::Ok);
        assert!(!usable.servers()[&id].is_eligible());
    }
}
