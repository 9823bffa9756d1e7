//! The voice servers as guilds can reach them: those the registry knows and a link leads to.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use cluster_wire::guilds::GatewayId;
use cluster_wire::link::{Undelivered, VoiceLink};
use cluster_wire::record::{Health, ServerRecord};
use cluster_wire::voice::Order;
use guilds_core::{Servers, Usable};
use model::{GuildId, RegionId, ServerId};
use tokio::sync::watch;

/// What guilds must do because the fleet changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Review {
    /// Look whether there is something better.
    Look,
    /// This server's participants are gone.
    Lost(ServerId),
    /// This server was not told everything, and takes orders again.
    Missed(ServerId),
    /// The way to this server was interrupted, and it is the same that it was.
    Reconnected(ServerId),
    /// This gateway will not come back.
    GatewayGone(GatewayId),
}

/// What became of an order.
#[derive(Debug)]
pub(crate) enum Delivery {
    /// It is on its way, or what it says is repeated when the server has caught up.
    Done,
    /// The same, and the server fell behind with this one: it is to be waited for.
    FellBehind(VoiceLink),
    /// The server is dead, or was never there.
    Gone,
}

#[derive(Debug, Default)]
pub(crate) struct Fleet {
    state: RwLock<State>,
    has_ways: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct State {
    /// The registry has said once which servers there are.
    knows_all: bool,
    records: BTreeMap<ServerId, ServerRecord>,
    links: BTreeMap<ServerId, Link>,
    /// Those with a link that the registry knows, or has known.
    usable: Usable,
}

#[derive(Debug)]
struct Link {
    way: VoiceLink,
    /// While the server is behind: the guilds of which it was not told something, with their newest fencing number. No more than have
    /// ever been on it.
    missed: Option<BTreeMap<GuildId, u64>>,
}

impl Fleet {
    pub fn servers(&self) -> Arc<Servers> {
        Arc::clone(self.read().usable.servers())
    }

    /// Every record, reachable or not.
    pub fn records(&self) -> Vec<ServerRecord> {
        self.read().records.values().cloned().collect()
    }

    /// By what servers said of themselves, without what was placed on them since. See [`guilds_core::headroom`].
    pub fn headroom(&self) -> BTreeMap<RegionId, i64> {
        let state = self.read();
        let usable = state.usable.servers();
        guilds_core::headroom(state.records.values().filter(|record| usable.contains_key(&record.id)))
    }

    pub fn regions(&self) -> Vec<RegionId> {
        let mut regions: Vec<_> =
            self.read().usable.servers().values().map(|record| record.region.clone()).collect();
        regions.sort_unstable();
        regions.dedup();
        regions
    }

    /// Waits, after the start, until the voice servers that the registry knows can be reached, or have been waited for for long enough. A guild
    /// that is taken over before would be placed anew, away from where its people are.
    pub async fn has_ways(&self) {
        self.has_ways.subscribe().wait_for(|has| *has).await.expect("the fleet keeps the sender");
    }

    /// Those that cannot be reached by now are not waited for any more.
    pub fn wait_no_more(&self) {
        self.has_ways.send_replace(true);
    }

    /// All records are known.
    pub fn knows_all(&self) {
        self.write().knows_all = true;
        self.look_at_ways();
    }

    fn look_at_ways(&self) {
        let state = self.read();
        let has_ways = state.knows_all && state.records.keys().all(|id| state.links.contains_key(id));
        drop(state);
        if has_ways {
            self.wait_no_more();
        }
    }

    pub fn put(&self, record: ServerRecord) -> Option<Review> {
        let mut state = self.write();
        let id = record.id.clone();
        state.records.insert(id.clone(), record);
        state.refresh(&id).then_some(Review::Look)
    }

    /// Its record is no more. While there is a way to the server it is only to be left: that it cannot reach the registry ends no call.
    pub fn gone(&self, id: &ServerId) -> Option<Review> {
        let mut state = self.write();
        state.records.remove(id)?;
        match state.links.contains_key(id) {
            true => state.usable.unseen(id).then_some(Review::Look),
            false => state.usable.remove(id).then(|| Review::Lost(id.clone())),
        }
    }

    /// A new link to a server that had one: the old one's participants are gone.
    pub fn link(&self, id: ServerId, link: VoiceLink) -> Option<Review> {
        let review = self.linked(id, link);
        self.look_at_ways();
        review
    }

    fn linked(&self, id: ServerId, link: VoiceLink) -> Option<Review> {
        let mut state = self.write();
        let replaced = state.links.insert(id.clone(), Link { way: link, missed: None }).is_some();
        state.refresh(&id);
        state.usable.servers().get(&id)?;
        Some(if replaced { Review::Lost(id) } else { Review::Look })
    }

    pub fn unlink(&self, id: &ServerId) -> Option<Review> {
        let mut state = self.write();
        state.links.remove(id)?;
        state.usable.remove(id).then(|| Review::Lost(id.clone()))
    }

    /// Tells a server to take no new guilds, or to take some again. False when there is none of that name that takes orders.
    pub fn set_draining(&self, id: &ServerId, draining: bool) -> bool {
        self.read().links.get(id).is_some_and(|link| link.way.set_draining(draining).is_ok())
    }

    /// Tells a server which program its relay shall be; what came of it will be in its record under this number. False when there is none of that name that takes orders.
    pub fn upgrade_relay(&self, id: &ServerId, number: u64, program: Option<String>) -> bool {
        let state = self.read();
        state.links.get(id).is_some_and(|link| link.way.upgrade_relay(number, program).is_ok())
    }

    pub fn record(&self, id: &ServerId) -> Option<ServerRecord> {
        self.read().records.get(id).cloned()
    }

    pub fn placed(&self, id: &ServerId, participants: u32) {
        self.write().usable.placed(id, participants);
    }

    /// See [`Usable::time_passes`].
    pub fn time_passes(&self) {
        self.write().usable.time_passes();
    }

    /// So many guilds nodes place guilds by the same records.
    pub fn nodes_are(&self, nodes: NonZeroU32) {
        self.write().usable.nodes_are(nodes);
    }

    /// To a server that is behind nothing is sent, for it would be the middle of a story.
    pub fn send(&self, id: &ServerId, order: Order) -> Delivery {
        let (guild, fencing) = (order.guild, order.fencing);
        let undelivered = {
            let state = self.read();
            let Some(link) = state.links.get(id) else { return Delivery::Gone };
            match link.missed {
                None => link.way.send(order).err(),
                Some(_) => Some(Undelivered::Behind),
            }
        };
        match undelivered {
            None => Delivery::Done,
            Some(Undelivered::Gone) => Delivery::Gone,
            Some(Undelivered::Behind) => self.note_missed(id, guild, fencing),
        }
    }

    fn note_missed(&self, id: &ServerId, guild: GuildId, fencing: u64) -> Delivery {
        let mut state = self.write();
        let Some(link) = state.links.get_mut(id) else { return Delivery::Gone };
        let (fell_behind, way) = (link.missed.is_none(), link.way.clone());
        link.missed.get_or_insert_default().insert(guild, fencing);
        if !fell_behind {
            return Delivery::Done;
        }
        state.refresh(id);
        Delivery::FellBehind(way)
    }

    /// The server takes orders again. These are the guilds that must repeat theirs, each with its newest fencing number.
    pub fn caught_up(&self, id: &ServerId) -> BTreeMap<GuildId, u64> {
        let mut state = self.write();
        let missed = state.links.get_mut(id).and_then(|link| link.missed.take());
        state.refresh(id);
        missed.unwrap_or_default()
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Brings what is known of a usable server in line with its record and its link. One that is behind its orders is not chosen, and
    /// left where there is another. Whether that may move a guild.
    fn refresh(&mut self, id: &ServerId) -> bool {
        let Some(link) = self.links.get(id) else {
            self.usable.remove(id);
            return false;
        };
        // The registry has lost one that stays as it was left, if it was known at all.
        let Some(record) = self.records.get(id) else { return false };
        let health = if link.missed.is_some() { Health::Flooded } else { record.health };
        self.usable.report(record, health)
    }
}

#[cfg(test)]
mod tests {
    use cluster_wire::record::{RelayStatus, ServerLoad};
    use futures_util::FutureExt as _;
    use tokio::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn nothing_is_taken_over_before_the_servers_there_are_can_be_reached() {
        let fleet = Fleet::default();
        let id = ServerId("a".to_owned());
        assert_eq!(fleet.has_ways().now_or_never(), None, "nobody has said which there are");
        fleet.put(record("a"));
        fleet.knows_all();
        assert_eq!(fleet.has_ways().now_or_never(), None);
        fleet.link(id.clone(), VoiceLink::new(mpsc::channel(1).0));
        assert_eq!(fleet.has_ways().now_or_never(), Some(()));
        fleet.unlink(&id);
        assert_eq!(fleet.has_ways().now_or_never(), Some(()), "what comes after the start is another matter");

        let without = Fleet::default();
        without.put(record("a"));
        without.knows_all();
        without.wait_no_more();
        assert_eq!(
            without.has_ways().now_or_never(),
            Some(()),
            "one that is dead is not waited for for ever"
        );
    }

    #[test]
    fn only_what_can_move_a_guild_makes_guilds_look() {
        let fleet = Fleet::default();
        let id = ServerId("a".to_owned());
        let record = record("a");
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
        // The registry alone has lost it.
        assert_eq!(fleet.gone(&id), Some(Review::Look));
        assert!(!fleet.servers()[&id].is_eligible());
        assert_eq!(fleet.gone(&id), None);
        assert_eq!(fleet.caught_up(&id), BTreeMap::new());
        assert!(!fleet.servers()[&id].is_eligible());
        assert_eq!(fleet.put(record.clone()), Some(Review::Look));
        assert!(fleet.servers()[&id].is_eligible());
        assert_eq!(fleet.gone(&id), Some(Review::Look));
        assert_eq!(fleet.unlink(&id), Some(Review::Lost(id.clone())));
        assert!(fleet.servers().is_empty());
        assert_eq!((fleet.put(record), fleet.gone(&id)), (None, None));
    }

    #[test]
    fn a_server_that_was_full_is_full_until_it_is_clearly_not() {
        let fleet = Fleet::default();
        let id = ServerId("a".to_owned());
        fleet.link(id.clone(), VoiceLink::new(mpsc::channel(1).0));
        let takes = |participants: u32, expect: bool| {
            let load = ServerLoad { participants, ..ServerLoad::default() };
            fleet.put(ServerRecord { load, capacity: 100, ..record("a") });
            assert_eq!(fleet.servers()[&id].is_eligible(), expect, "{participants}");
        };
        takes(99, true);
        takes(100, false);
        takes(99, false);
        takes(90, false);
        takes(89, true);
        takes(95, true);
        let id = ServerId("b".to_owned());
        fleet.link(id.clone(), VoiceLink::new(mpsc::channel(1).0));
        for (participants, expect) in [(1, false), (0, true)] {
            let load = ServerLoad { participants, ..ServerLoad::default() };
            fleet.put(ServerRecord { load, capacity: 1, ..record("b") });
            assert_eq!(fleet.servers()[&id].is_eligible(), expect, "a server for one, {participants}");
        }
    }

    fn record(id: &str) -> ServerRecord {
        ServerRecord {
            id: ServerId(id.to_owned()),
            region: RegionId("local".to_owned()),
            endpoint: format!("{id}:1"),
            health: Health::Ok,
            load: ServerLoad::default(),
            capacity: 10,
            version: String::new(),
            draining: false,
            cluster: None,
            relay: RelayStatus::default(),
        }
    }

    #[test]
    fn headroom_is_by_what_servers_say() {
        let fleet = Fleet::default();
        for id in ["a", "b"] {
            fleet.link(ServerId(id.to_owned()), VoiceLink::new(mpsc::channel(1).0));
            fleet.put(record(id));
        }
        fleet.put(record("cannot be reached"));
        let local = RegionId("local".to_owned());
        let expect = BTreeMap::from([(local, 10)]);
        assert_eq!(fleet.headroom(), expect);
        fleet.nodes_are(NonZeroU32::new(3).unwrap());
        fleet.placed(&ServerId("a".to_owned()), 1);
        assert_eq!(fleet.servers()[&ServerId("a".to_owned())].load.participants, 6);
        assert_eq!(fleet.headroom(), expect, "what was placed counts for choosing alone");
    }

    #[test]
    fn regions_are_those_of_servers_that_can_be_reached() {
        let fleet = Fleet::default();
        fleet.put(record("a"));
        assert_eq!(fleet.regions(), []);
    }
}
