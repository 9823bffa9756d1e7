//! Where voice servers make themselves known, and where the ownership of guilds is claimed.
//!
//! Owns: the records of voice servers and guilds nodes under leases, the streams of their changes, who owns which guild.
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

use cluster_wire::record::{NodeRecord, ServerRecord};
use model::{GuildId, ServerId};

pub use limits::DEFAULT_TTL;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RegistryError {
    #[error("another one is registered as {0}")]
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

/// How etcd is spoken to over TLS.
#[derive(Clone)]
pub struct EtcdTls {
    /// The authority of its certificate, PEM.
    pub ca: Vec<u8>,
    /// Our own certificate and its key, PEM, where it asks for one.
    pub identity: Option<(Vec<u8>, Vec<u8>)>,
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

    /// In etcd, at any of these addresses (`http://host:port`, with `tls` `https://host:port`), under keys that begin with `prefix`. Leases are
    /// of whole seconds.
    pub async fn etcd(
        endpoints: &[String],
        prefix: &str,
        ttl: Duration,
        tls: Option<EtcdTls>,
    ) -> Result<Self, RegistryError> {
        let etcd = etcd::Etcd::connect(endpoints, prefix, ttl, tls).await?;
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

    /// Makes a guilds node known, and gives it a lease under which it owns guilds and a number for its snowflakes. It lasts while the
    /// membership lives and [`Membership::renew`] is called every second.
    pub async fn join(&self, record: NodeRecord) -> Result<Membership, RegistryError> {
        Ok(Membership(match &self.0 {
            Kind::Memory(memory) => MembershipKind::Memory(memory.join(record)?),
            Kind::Etcd(etcd) => MembershipKind::Etcd(Box::new(etcd.join(record).await?)),
        }))
    }

    /// The guilds nodes there are, and again whenever that changes.
    pub async fn watch_nodes(&self) -> Result<NodeWatch, RegistryError> {
        Ok(NodeWatch(match &self.0 {
            Kind::Memory(memory) => NodeWatchKind::Memory(memory.watch_nodes()),
            Kind::Etcd(etcd) => NodeWatchKind::Etcd(Box::new(etcd.watch_nodes().await?)),
        }))
    }
}

/// Whose a guild is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claim {
    /// Ours, with a fencing number higher than all before it: orders that carry a lower one are refused from the moment somebody has seen
    /// this one.
    Ours(u64),
    /// The node of this name owns it.
    Others(String),
}

/// A guilds node's place in the registry. Dropping it gives up everything, at once or as soon as the registry can be told.
#[derive(Debug)]
pub struct Membership(MembershipKind);

#[derive(Debug)]
enum MembershipKind {
    Memory(memory::Membership),
    Etcd(Box<etcd::Membership>),
}

impl Membership {
    /// Unique among the nodes that live, 0 to 31.
    pub fn worker(&self) -> u8 {
        match &self.0 {
            MembershipKind::Memory(memory) => memory.worker(),
            MembershipKind::Etcd(etcd) => etcd.worker(),
        }
    }

    /// After [`RegistryError::Lapsed`] everything is given up: join anew. After [`RegistryError::Unavailable`] that is not known: what is
    /// held is held on, and whoever has seen a newer owner's number refuses us.
    pub async fn renew(&self) -> Result<(), RegistryError> {
        match &self.0 {
            MembershipKind::Memory(_) => Ok(()),
            MembershipKind::Etcd(etcd) => etcd.renew().await,
        }
    }

    /// Takes a guild that no living node owns. Claimed again, an own one gets a new number.
    pub async fn claim(&self, guild: GuildId) -> Result<Claim, RegistryError> {
        match &self.0 {
            MembershipKind::Memory(memory) => Ok(memory.claim(guild)),
            MembershipKind::Etcd(etcd) => etcd.claim(guild).await,
        }
    }

    /// Gives a guild up, if it is ours.
    pub async fn release(&self, guild: GuildId) -> Result<(), RegistryError> {
        match &self.0 {
            MembershipKind::Memory(memory) => {
                memory.release(guild);
                Ok(())
            }
            MembershipKind::Etcd(etcd) => etcd.release(guild).await,
        }
    }

    /// Gives everything up, and waits until the registry knows.
    pub async fn leave(&self) -> Result<(), RegistryError> {
        match &self.0 {
            MembershipKind::Memory(memory) => {
                memory.leave();
                Ok(())
            }
            MembershipKind::Etcd(etcd) => etcd.leave().await,
        }
    }
}

#[derive(Debug)]
pub struct NodeWatch(NodeWatchKind);

#[derive(Debug)]
enum NodeWatchKind {
    Memory(memory::NodeWatch),
    Etcd(Box<etcd::NodeWatch>),
}

impl NodeWatch {
    /// All nodes by name: at once when asked first, then with the next change. Cancel safe. After an error the watch is over.
    pub async fn next(&mut self) -> Result<Vec<NodeRecord>, RegistryError> {
        match &mut self.0 {
            NodeWatchKind::Memory(memory) => Ok(memory.next().await),
            NodeWatchKind::Etcd(etcd) => etcd.next().await,
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
    /// Renews the lease; watchers are told if the record changed. A change of load alone may wait for one of the next calls
    /// ([`limits::LOAD_EVERY`]). After [`RegistryError::Unavailable`] the registration stands until its lease
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

    /// Removes the record, and waits until the registry knows: whoever looks for a server does not find this one any more.
    pub async fn leave(self) -> Result<(), RegistryError> {
        match self.0 {
            RegistrationKind::Memory(memory) => drop(memory),
            RegistrationKind::Etcd(etcd) => etcd.leave().await?,
        }
        Ok(())
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
