//! The registry of one process: a map behind a lock, and a broadcast of its changes.
//!
//! A change is sent while the lock is held, and a watch takes its snapshot under the same lock, so nothing falls between
//! a snapshot and the changes after it. Leases end by a timer task of each registration, on tokio's clock.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use cluster_wire::record::{NodeRecord, ServerRecord};
use model::{GuildId, ServerId};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, watch};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::limits::{MAX_SERVERS, MAX_WATCH_BACKLOG, WORKER_MAX};
use crate::{Change, Claim, RegistryError};

#[derive(Debug, Clone)]
pub struct Memory {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    ttl: Duration,
    facts: Mutex<Facts>,
    changes: broadcast::Sender<Change>,
    nodes: watch::Sender<BTreeMap<String, (NodeRecord, u8)>>,
}

#[derive(Debug, Default)]
struct Facts {
    servers: BTreeMap<ServerId, Entry>,
    owners: BTreeMap<GuildId, String>,
    /// One counter for registrations and claims, as etcd has one revision for everything.
    revision: u64,
}

#[derive(Debug)]
struct Entry {
    record: ServerRecord,
    /// Tells this registration from an earlier one of the same server.
    lease: u64,
}

impl Memory {
    pub fn new(ttl: Duration) -> Self {
        let (changes, _) = broadcast::channel(MAX_WATCH_BACKLOG);
        let nodes = watch::Sender::default();
        Self { shared: Arc::new(Shared { ttl, facts: Mutex::default(), changes, nodes }) }
    }

    pub fn publish(&self, record: ServerRecord) -> Result<Registration, RegistryError> {
        let id = record.id.clone();
        let mut facts = self.shared.facts();
        if facts.servers.contains_key(&id) {
            return Err(RegistryError::IdInUse(id));
        }
        if facts.servers.len() >= MAX_SERVERS {
            return Err(RegistryError::Full);
        }
        let lease = facts.next_revision();
        facts.servers.insert(id.clone(), Entry { record: record.clone(), lease });
        self.shared.tell(&facts, Change::Put(record));
        drop(facts);
        tracing::info!(server = %id, "voice server registered");

        let (deadline, deadlines) = watch::channel(Instant::now() + self.shared.ttl);
        let expiry = tokio::spawn(expire(self.shared.clone(), id.clone(), lease, deadlines)).abort_handle();
        Ok(Registration { shared: self.shared.clone(), id, lease, deadline, expiry })
    }

    pub fn watch(&self) -> Watch {
        let facts = self.shared.facts();
        let changes = self.shared.changes.subscribe();
        let snapshot = facts.servers.values().map(|entry| entry.record.clone()).collect();
        // The registry is kept alive so that a watch never ends because everyone else let go of it.
        Watch { _shared: self.shared.clone(), snapshot, changes }
    }

    pub fn join(&self, record: NodeRecord) -> Result<Membership, RegistryError> {
        let name = record.name.clone();
        let mut joined = Err(RegistryError::IdInUse(ServerId(name.clone())));
        self.shared.nodes.send_if_modified(|nodes| {
            if nodes.contains_key(&name) {
                return false;
            }
            let free = (0..=WORKER_MAX).find(|n| nodes.values().all(|(_, taken)| taken != n));
            joined = free.ok_or(RegistryError::Full);
            joined.as_ref().is_ok_and(|worker| nodes.insert(name.clone(), (record, *worker)).is_none())
        });
        Ok(Membership { shared: self.shared.clone(), name, worker: joined? })
    }

    pub fn watch_nodes(&self) -> NodeWatch {
        let mut nodes = self.shared.nodes.subscribe();
        nodes.mark_changed();
        NodeWatch { _shared: self.shared.clone(), nodes }
    }
}

/// Lives as long as its node: one in this process cannot die alone.
#[derive(Debug)]
pub struct Membership {
    shared: Arc<Shared>,
    name: String,
    worker: u8,
}

impl Membership {
    pub fn worker(&self) -> u8 {
        self.worker
    }

    pub fn claim(&self, guild: GuildId) -> Claim {
        let mut facts = self.shared.facts();
        match facts.owners.get(&guild) {
            Some(owner) if *owner != self.name => Claim::Others(owner.clone()),
            _ => {
                facts.owners.insert(guild, self.name.clone());
                Claim::Ours(facts.next_revision())
            }
        }
    }

    pub fn leave(&self) {
        self.shared.facts().owners.retain(|_, owner| *owner != self.name);
        self.shared.nodes.send_modify(|nodes| drop(nodes.remove(&self.name)));
    }

    pub fn release(&self, guild: GuildId) {
        let mut facts = self.shared.facts();
        if facts.owners.get(&guild) == Some(&self.name) {
            facts.owners.remove(&guild);
        }
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.leave();
    }
}

#[derive(Debug)]
pub struct NodeWatch {
    _shared: Arc<Shared>,
    nodes: watch::Receiver<BTreeMap<String, (NodeRecord, u8)>>,
}

impl NodeWatch {
    pub async fn next(&mut self) -> Vec<NodeRecord> {
        self.nodes.changed().await.expect("the watch itself keeps the sender");
        self.nodes.borrow_and_update().values().map(|(record, _)| record.clone()).collect()
    }
}

impl Shared {
    fn facts(&self) -> MutexGuard<'_, Facts> {
        self.facts.lock().expect("nothing panics while it changes the facts")
    }

    /// `_facts` proves that the lock is held. Nobody listening is no error.
    fn tell(&self, _facts: &MutexGuard<'_, Facts>, change: Change) {
        let _ = self.changes.send(change);
    }

    /// Removes a server if this lease still holds its place.
    fn remove(&self, id: &ServerId, lease: u64) -> bool {
        let mut facts = self.facts();
        if facts.servers.get(id).is_none_or(|entry| entry.lease != lease) {
            return false;
        }
        facts.servers.remove(id);
        self.tell(&facts, Change::Gone(id.clone()));
        true
    }
}

impl Facts {
    fn next_revision(&mut self) -> u64 {
        self.revision += 1;
        self.revision
    }
}

/// Ends a lease when its deadline passes without having been moved.
async fn expire(shared: Arc<Shared>, id: ServerId, lease: u64, deadlines: watch::Receiver<Instant>) {
    loop {
        let deadline = *deadlines.borrow();
        tokio::time::sleep_until(deadline).await;
        if *deadlines.borrow() == deadline {
            break;
        }
    }
    if shared.remove(&id, lease) {
        tracing::warn!(server = %id, "voice server was silent for too long and is no longer registered");
    }
}

#[derive(Debug)]
pub struct Registration {
    shared: Arc<Shared>,
    id: ServerId,
    lease: u64,
    deadline: watch::Sender<Instant>,
    expiry: AbortHandle,
}

impl Registration {
    pub fn update(&mut self, record: ServerRecord) -> Result<(), RegistryError> {
        assert_eq!(record.id, self.id, "a registration is one server's");
        let mut facts = self.shared.facts();
        let lease = self.lease;
        let Some(entry) = facts.servers.get_mut(&self.id).filter(|entry| entry.lease == lease) else {
            return Err(RegistryError::Lapsed(self.id.clone()));
        };
        self.deadline.send_replace(Instant::now() + self.shared.ttl);
        if entry.record != record {
            entry.record = record.clone();
            self.shared.tell(&facts, Change::Put(record));
        }
        Ok(())
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.expiry.abort();
        if self.shared.remove(&self.id, self.lease) {
            tracing::info!(server = %self.id, "voice server left");
        }
    }
}

#[derive(Debug)]
pub struct Watch {
    _shared: Arc<Shared>,
    snapshot: Vec<ServerRecord>,
    changes: broadcast::Receiver<Change>,
}

impl Watch {
    pub fn snapshot(&mut self) -> Vec<ServerRecord> {
        std::mem::take(&mut self.snapshot)
    }

    pub async fn next(&mut self) -> Result<Change, RegistryError> {
        self.changes.recv().await.map_err(|error| match error {
            RecvError::Lagged(_) => RegistryError::Lagged,
            RecvError::Closed => unreachable!("the watch itself holds the sender"),
        })
    }
}
