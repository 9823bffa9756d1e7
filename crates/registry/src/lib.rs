//! Where voice servers make themselves known, and where the ownership of guilds is leased.
//!
//! Owns: the records of voice servers under leases, the stream of their changes, fencing numbers of guilds.
//! Deliberately does not: choose a server for a guild, judge health, move anything.
//!
//! The memory registry serves roles that share one process. An etcd registry keeps the same facts for many machines:
//!
//! | key | value | lease |
//! |---|---|---|
//! | `servers/<region>/<id>` | a [`ServerRecord`] | the voice server's, renewed by [`Registration::update`] |
//! | `guilds/<id>` | owner and fencing number (the key's own revision at the claim) | the owner's |
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

use std::time::Duration;

use cluster_wire::record::ServerRecord;
use model::{GuildId, ServerId};

/// How long a record outlives its server's last word, unless told otherwise.
pub const DEFAULT_TTL: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RegistryError {
    /// Another live registration holds this server's id.
    IdInUse(ServerId),
    /// The lease lapsed; publish again.
    Lapsed(ServerId),
    /// The registry cannot be reached. Everything that needs no new fact goes on.
    Unavailable(String),
}

/// A handle on the registry. Clones see the same records.
#[derive(Debug, Clone)]
pub struct Registry {}

impl Registry {
    /// For roles that share this process.
    pub fn memory(_ttl: Duration) -> Self {
        todo!()
    }

    /// Makes a server known. The record stays while the registration lives and [`Registration::update`] is called
    /// at least once a TTL: a server that hangs disappears like one that died.
    pub async fn publish(&self, _record: ServerRecord) -> Result<Registration, RegistryError> {
        todo!()
    }

    /// Every record there is, then every change, in order and without a gap.
    pub async fn watch(&self) -> Result<Watch, RegistryError> {
        todo!()
    }

    /// Takes a guild for `node` and returns a fencing number higher than all before it.
    pub async fn claim_guild(&self, _guild: GuildId, _node: &str) -> Result<u64, RegistryError> {
        todo!()
    }
}

/// A server's place in the registry. Dropping it removes the record at once.
#[derive(Debug)]
pub struct Registration {}

impl Registration {
    /// Renews the lease and replaces the record if it changed. A record of another id is a bug of the caller.
    pub async fn update(&mut self, _record: ServerRecord) -> Result<(), RegistryError> {
        todo!()
    }
}

/// A consistent view of the voice servers that follows their changes.
#[derive(Debug)]
pub struct Watch {}

#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    Put(ServerRecord),
    Gone(ServerId),
}

impl Watch {
    /// The records as they were when the watch began, each once.
    pub fn snapshot(&mut self) -> Vec<ServerRecord> {
        todo!()
    }

    /// The next change after the snapshot. Cancel safe. Err ends the watch: begin another.
    pub async fn next(&mut self) -> Result<Change, RegistryError> {
        todo!()
    }
}
