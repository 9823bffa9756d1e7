//! Where voice servers make themselves known, and where the ownership of guilds is claimed.
//!
//! Owns: the records of voice servers under leases, the stream of their changes, fencing numbers of guilds.
//! Deliberately does not: choose a server for a guild, judge health, move anything.
//!
//! The memory registry serves roles that share one process, the one in etcd those of many machines. Both behave alike; see
//! `tests/registry.rs`, which holds both to the same.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod etcd;
pub mod limits;
mod memory;
mod stored;

use std::sync::Arc;
use std::time::Duration;

use cluster_wire::record::ServerRecord;
use model::{GuildId, ServerId};

pub use limits::DEFAULT_TTL;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RegistryError {
    #[error("another server is registered as {0}")]
    IdInUse(ServerId),
    /// The server was silent for longer than its TTL and is gone from the registry: publish again.
    #[error("the registration of {0} has lapsed")]
    Lapsed(ServerId),
    #[error("the registry is full")]
    Full,
    /// The watch was read too slowly and has lost changes: begin another.
    #[error("the watch fell behind")]
    Lagged,
    /// Whatever needs no new fact from the registry goes on.
    #[error("the registry is unavailable: {0}")]
    Unavailable(String),
}

/// A handle on the registry. Clones see the same records.
#[derive(Debug, Clone)]
pub struct Registry(Kind);

#[derive(Debug, Clone)]
enum Kind {
    Memory(memory::Memory),
    Etcd(Arc<etcd::Etcd>),
}

impl Registry {
    /// For roles that share this process. Needs no runtime until something is published.
    pub fn memory(ttl: Duration) -> Self {
        Self(Kind::Memory(memory::Memory::new(ttl)))
    }

    /// In etcd, at any of these addresses (`http://host:port`), under keys that begin with `prefix`. Leases are of whole seconds.
    pub async fn etcd(endpoints: &[String], prefix: &str, ttl: Duration) -> Result<Self, RegistryError> {
        let etcd = etcd::Etcd::connect(endpoints, prefix, ttl).await?;
        Ok(Self(Kind::Etcd(Arc::new(etcd))))
    }

    /// Makes a server known. The record stays while the registration lives and [`Registration::update`] is called
    /// at least once a TTL: a server that hangs disappears like one that died.
    pub async fn publish(&self, record: ServerRecord) -> Result<Registration, RegistryError> {
        Ok(Registration(match &self.0 {
            Kind::Memory(memory) => RegistrationKind::Memory(memory.publish(record)?),
            Kind::Etcd(etcd) => RegistrationKind::Etcd(Box::new(etcd.publish(record).await?)),
        }))
    }

    /// Every record there is, then every change, in order and without a gap.
    pub async fn watch(&self) -> Result<Watch, RegistryError> {
        Ok(Watch(match &self.0 {
            Kind::Memory(memory) => WatchKind::Memory(memory.watch()),
            Kind::Etcd(etcd) => WatchKind::Etcd(Box::new(etcd.watch().await?)),
        }))
    }

    /// Takes a guild for `node`, whoever had it, and returns a fencing number higher than all before it: orders that
    /// carry a lower one are refused from the moment somebody has seen this one.
    pub async fn claim_guild(&self, guild: GuildId, node: &str) -> Result<u64, RegistryError> {
        match &self.0 {
            Kind::Memory(memory) => Ok(memory.claim_guild(guild, node)),
            Kind::Etcd(etcd) => etcd.claim_guild(guild, node).await,
        }
    }
}

/// A server's place in the registry. Dropping it removes the record at once, or as soon as the registry can be told.
#[derive(Debug)]
pub struct Registration(RegistrationKind);

#[derive(Debug)]
enum RegistrationKind {
    Memory(memory::Registration),
    Etcd(Box<etcd::Registration>),
}

impl Registration {
    /// Renews the lease; watchers are told if the record changed. After [`RegistryError::Unavailable`] the registration stands until its lease
    /// ends: update it again.
    ///
    /// # Panics
    /// If the record is another server's.
    pub async fn update(&mut self, record: ServerRecord) -> Result<(), RegistryError> {
        match &mut self.0 {
            RegistrationKind::Memory(memory) => memory.update(record),
            RegistrationKind::Etcd(etcd) => etcd.update(record).await,
        }
    }
}

/// The voice servers as they were when the watch began, and what has changed since.
#[derive(Debug)]
pub struct Watch(WatchKind);

#[derive(Debug)]
enum WatchKind {
    Memory(memory::Watch),
    Etcd(Box<etcd::Watch>),
}

// Each is taken apart as soon as it is there.
#[allow(clippy::large_enum_variant)]
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    Put(ServerRecord),
    Gone(ServerId),
}

impl Watch {
    /// The records as they were when the watch began, by id. Empty when asked for again.
    pub fn snapshot(&mut self) -> Vec<ServerRecord> {
        match &mut self.0 {
            WatchKind::Memory(memory) => memory.snapshot(),
            WatchKind::Etcd(etcd) => etcd.snapshot(),
        }
    }

    /// The next change since then. Cancel safe. After an error the watch is over: begin another.
    pub async fn next(&mut self) -> Result<Change, RegistryError> {
        match &mut self.0 {
            WatchKind::Memory(memory) => memory.next().await,
            WatchKind::Etcd(etcd) => etcd.next().await,
        }
    }
}
