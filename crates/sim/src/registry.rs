//! The registry: records under leases, and one watcher.

use std::collections::BTreeMap;

use cluster_wire::record::ServerRecord;
use model::ServerId;

use crate::event::{Change, Event};
use crate::limits::LEASE;
use crate::net::in_order;
use crate::time::At;
use crate::world::World;

#[derive(Default)]
pub struct Registry {
    /// By server: which life of it holds the lease, until when, and what it said last.
    leases: BTreeMap<ServerId, (u64, At, ServerRecord)>,
    last_told: At,
}

impl World {
    /// A server that is started anew waits until the lease of its former life has ended.
    pub fn published(&mut self, life: u64, record: ServerRecord) {
        let id = record.id.clone();
        let known = self.registry.leases.get(&id);
        if known.is_some_and(|(holder, ..)| *holder != life) {
            return;
        }
        let is_news = known.is_none_or(|(.., said)| *said != record);
        let until = self.now.plus(LEASE);
        self.registry.leases.insert(id.clone(), (life, until, record.clone()));
        self.at(until, Event::LeaseEnds(id, life));
        if is_news {
            self.tell_watcher(Change::Put(Box::new(record)));
        }
    }

    pub fn lease_ends(&mut self, id: ServerId, life: u64) {
        let now = self.now;
        if self.registry.leases.get(&id).is_some_and(|(holder, until, _)| *holder == life && *until <= now) {
            self.trace.note(now, || format!("the lease of {id} ends"));
            self.registry.leases.remove(&id);
            self.tell_watcher(Change::Gone(id));
        }
    }

    fn tell_watcher(&mut self, change: Change) {
        let at = self.now.plus(self.link_delay());
        let at = in_order(&mut self.registry.last_told, at);
        self.at(at, Event::Registry(change));
    }
}
