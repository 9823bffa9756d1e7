//! Where voice servers make themselves known, and where the ownership of guilds is claimed.
//!
//! Owns: the records of voice servers under leases, the stream of their changes, fencing numbers of guilds.
//! Deliberately does not: choose a server for a guild, judge health, move anything.
//!
//! The memory registry serves roles that share one process. Every call is async and can fail, because the same facts
//! are to be kept in etcd for many machines:
//!
//! | key | value | lease |
//! |---|---|---|
//! | `servers/<region>/<id>` | a [`ServerRecord`] | the voice server's, renewed by [`Registration::update`] |
//! | `guilds/<id>` | owner and fencing number (etcd's revision of the claim) | the owner's |
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod limits;
mod memory;

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
pub struct Registry {
    memory: memory::Memory,
}

impl Registry {
    /// For roles that share this process. Needs no runtime until something is published.
    pub fn memory(ttl: Duration) -> Self {
        Self { memory: memory::Memory::new(ttl) }
    }

    /// Makes a server known. The record stays while the registration lives and [`Registration::update`] is called
    /// at least once a TTL: a server that hangs disappears like one that died.
    pub async fn publish(&self, record: ServerRecord) -> Result<Registration, RegistryError> {
        Ok(Registration { memory: self.memory.publish(record)? })
    }

    /// Every record there is, then every change, in order and without a gap.
    pub async fn watch(&self) -> Result<Watch, RegistryError> {
        Ok(Watch { memory: self.memory.watch() })
    }

    /// Takes a guild for `node`, whoever had it, and returns a fencing number higher than all before it: orders that
    /// carry a lower one are refused from the moment somebody has seen this one.
    pub async fn claim_guild(&self, guild: GuildId, node: &str) -> Result<u64, RegistryError> {
        Ok(self.memory.claim_guild(guild, node))
    }
}

/// A server's place in the registry. Dropping it removes the record at once.
#[derive(Debug)]
pub struct Registration {
    memory: memory::Registration,
}

impl Registration {
    /// Renews the lease; watchers are told if the record changed.
    ///
    /// # Panics
    /// If the record is another server's.
    pub async fn update(&mut self, record: ServerRecord) -> Result<(), RegistryError> {
        self.memory.update(record)
    }
}

/// The voice servers as they were when the watch began, and what has changed since.
#[derive(Debug)]
pub struct Watch {
    memory: memory::Watch,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    Put(ServerRecord),
    Gone(ServerId),
}

impl Watch {
    /// The records as they were when the watch began, by id. Empty when asked for again.
    pub fn snapshot(&mut self) -> Vec<ServerRecord> {
        self.memory.snapshot()
    }

    /// The next change since then. Cancel safe. After an error the watch is over: begin another.
    pub async fn next(&mut self) -> Result<Change, RegistryError> {
        self.memory.next().await
    }
}
