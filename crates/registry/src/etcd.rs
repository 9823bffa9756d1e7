//! The registry of many machines, in etcd (v3 API; tried with 3.4).
//!
//! | key | value | lease |
//! |---|---|---|
//! | `<prefix>servers/<id>` | a voice server's record, JSON | the server's, renewed by each update |
//! | `<prefix>guilds/<id>` | the node that claimed the guild last; the revision of that write is the fencing number | none |
//!
//! A server's key carries no region, because it must be one server's wherever that is. Nothing here retries: whoever calls knows how long
//! its fact may wait, and every call ends within [`ANSWER_WITHIN`].

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use cluster_wire::record::ServerRecord;
use etcd_client::{
    Client, Compare, CompareOp, ConnectOptions, EventType, GetOptions, PutOptions, Txn, TxnOp, WatchOptions,
    WatchStream,
};
use model::{GuildId, ServerId};
use tokio::time::{Instant, timeout};

use crate::limits::{ANSWER_WITHIN, KEEPALIVE_EVERY, LOAD_EVERY, MAX_SERVERS};
use crate::stored::Stored;
use crate::{Change, RegistryError};

#[derive(Clone)]
pub struct Etcd {
    client: Client,
    prefix: Arc<str>,
    ttl: Duration,
}

impl std::fmt::Debug for Etcd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Etcd").field("prefix", &self.prefix).field("ttl", &self.ttl).finish_non_exhaustive()
    }
}

impl Etcd {
    /// Asks for something once, so that a wrong address is noticed by whoever gave it.
    pub async fn connect(endpoints: &[String], prefix: &str, ttl: Duration) -> Result<Self, RegistryError> {
        let options = ConnectOptions::new()
            .with_connect_timeout(ANSWER_WITHIN)
            // A member that has lost the others knows nothing new, and must not look as if nothing happened.
            .with_require_leader(true)
            .with_keep_alive(KEEPALIVE_EVERY, ANSWER_WITHIN)
            .with_keep_alive_while_idle(true);
        let mut client = within(Client::connect(endpoints, Some(options))).await?;
        let any = GetOptions::new().with_prefix().with_limit(1).with_keys_only();
        within(client.get(prefix, Some(any))).await?;
        Ok(Self { client, prefix: prefix.into(), ttl })
    }

    fn servers(&self) -> String {
        format!("{}servers/", self.prefix)
    }

    pub async fn publish(&self, record: ServerRecord) -> Result<Registration, RegistryError> {
        let mut client = self.client.clone();
        let id = record.id.clone();
        let count = GetOptions::new().with_prefix().with_count_only();
        if within(client.get(self.servers(), Some(count))).await?.count() >= MAX_SERVERS as i64 {
            return Err(RegistryError::Full);
        }
        let ttl = i64::try_from(self.ttl.as_secs().max(1)).unwrap_or(i64::MAX);
        let lease = within(client.lease_grant(ttl, None)).await?.id();
        let key = format!("{}{id}", self.servers());
        // From here on a failure takes the lease back.
        let registration = Registration {
            client: client.clone(),
            key: key.clone(),
            id: id.clone(),
            lease,
            record,
            written_at: Instant::now(),
        };
        let put = registration.put();
        let free = Compare::create_revision(key.clone(), CompareOp::Equal, 0);
        let first = Txn::new().when([free]).and_then([put.clone()]).or_else([TxnOp::get(key.clone(), None)]);
        let answer = within(client.txn(first)).await?;
        if !answer.succeeded() {
            let there = answer.op_responses().into_iter().find_map(|response| match response {
                etcd_client::TxnOpResponse::Get(get) => get.kvs().first().cloned(),
                _ => None,
            });
            // Whoever was there before at the endpoint that is ours now is dead, and its lease would have ended soon.
            let there = there.filter(|kv| {
                Stored::read(kv.value()).is_some_and(|there| there.endpoint == registration.record.endpoint)
            });
            let Some(there) = there else { return Err(RegistryError::IdInUse(id)) };
            let unchanged = Compare::mod_revision(key, CompareOp::Equal, there.mod_revision());
            let second = Txn::new().when([unchanged]).and_then([put]);
            if !within(client.txn(second)).await?.succeeded() {
                return Err(RegistryError::IdInUse(id));
            }
        }
        tracing::info!(server = %id, "voice server registered");
        Ok(registration)
    }

    pub async fn watch(&self) -> Result<Watch, RegistryError> {
        let mut client = self.client.clone();
        let servers = self.servers();
        let all = within(client.get(servers.clone(), Some(GetOptions::new().with_prefix()))).await?;
        let revision = all.header().map_or(0, |header| header.revision());
        let snapshot = all.kvs().iter().filter_map(|kv| Stored::read(kv.value())).map(Into::into).collect();
        let options = WatchOptions::new().with_prefix().with_start_revision(revision + 1);
        let stream = within(client.watch(servers.clone(), Some(options))).await?;
        Ok(Watch { snapshot, stream, servers, waiting: VecDeque::new() })
    }

    pub async fn claim_guild(&self, guild: GuildId, node: &str) -> Result<u64, RegistryError> {
        let mut client = self.client.clone();
        let put = within(client.put(format!("{}guilds/{guild}", self.prefix), node, None)).await?;
        let revision = put.header().map(|header| header.revision()).and_then(|n| u64::try_from(n).ok());
        let fencing = revision.ok_or_else(|| unavailable("an answer without a revision"))?;
        tracing::debug!(%guild, node, fencing, "guild claimed");
        Ok(fencing)
    }
}

pub struct Registration {
    client: Client,
    key: String,
    id: ServerId,
    lease: i64,
    /// As it stands in the registry.
    record: ServerRecord,
    written_at: Instant,
}

impl std::fmt::Debug for Registration {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registration")
            .field("id", &self.id)
            .field("lease", &self.lease)
            .finish_non_exhaustive()
    }
}

impl Registration {
    fn put(&self) -> TxnOp {
        let options = PutOptions::new().with_lease(self.lease);
        TxnOp::put(self.key.clone(), Stored::from(&self.record).text(), Some(options))
    }

    pub async fn update(&mut self, record: ServerRecord) -> Result<(), RegistryError> {
        assert_eq!(record.id, self.id, "a registration is one server's");
        if let Err(error) = within(self.client.lease_keep_alive(self.lease)).await {
            // A lease that has ended is an error like any other here, so it is asked for.
            let left = within(self.client.lease_time_to_live(self.lease, None)).await?.ttl();
            return Err(if left < 0 { RegistryError::Lapsed(self.id.clone()) } else { error });
        }
        let is_due = self.written_at.elapsed() >= LOAD_EVERY;
        if record == self.record || (!is_due && differs_in_load_alone(&self.record, &record)) {
            return Ok(());
        }
        let before = std::mem::replace(&mut self.record, record);
        let ours = Compare::lease(self.key.clone(), CompareOp::Equal, self.lease);
        let written = within(self.client.txn(Txn::new().when([ours]).and_then([self.put()]))).await;
        match written {
            Ok(answer) if answer.succeeded() => {
                self.written_at = Instant::now();
                Ok(())
            }
            Ok(_) => Err(RegistryError::Lapsed(self.id.clone())),
            Err(error) => {
                // Perhaps written, perhaps not: the next update writes it again.
                self.record = before;
                Err(error)
            }
        }
    }
}

/// A load at which a server begins or ceases to take guilds is more than load.
fn differs_in_load_alone(one: &ServerRecord, other: &ServerRecord) -> bool {
    let same_but_for_load = ServerRecord { load: one.load, ..other.clone() } == *one;
    same_but_for_load && one.is_eligible() == other.is_eligible()
}

impl Drop for Registration {
    fn drop(&mut self) {
        let (mut client, id, lease) = (self.client.clone(), self.id.clone(), self.lease);
        // Without a runtime the process is ending, and the lease ends by itself.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        runtime.spawn(async move {
            match within(client.lease_revoke(lease)).await {
                Ok(_) => tracing::info!(server = %id, "voice server left"),
                Err(error) => tracing::debug!(server = %id, %error, "the lease is left to its end"),
            }
        });
    }
}

pub struct Watch {
    snapshot: Vec<ServerRecord>,
    stream: WatchStream,
    servers: String,
    waiting: VecDeque<Change>,
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watch").field("waiting", &self.waiting.len()).finish_non_exhaustive()
    }
}

impl Watch {
    pub fn snapshot(&mut self) -> Vec<ServerRecord> {
        std::mem::take(&mut self.snapshot)
    }

    pub async fn next(&mut self) -> Result<Change, RegistryError> {
        loop {
            if let Some(change) = self.waiting.pop_front() {
                return Ok(change);
            }
            let answer = self.stream.message().await.map_err(unavailable)?;
            let answer = answer.ok_or_else(|| unavailable("the watch ended"))?;
            if answer.canceled() {
                // What was to come next has been compacted away.
                return Err(match answer.compact_revision() {
                    0 => unavailable(answer.cancel_reason()),
                    _ => RegistryError::Lagged,
                });
            }
            for event in answer.events() {
                let Some(kv) = event.kv() else { continue };
                let change = match event.event_type() {
                    EventType::Put => Stored::read(kv.value()).map(|stored| Change::Put(stored.into())),
                    EventType::Delete => {
                        let key = std::str::from_utf8(kv.key()).ok();
                        let id = key.and_then(|key| key.strip_prefix(&self.servers));
                        id.map(|id| Change::Gone(ServerId(id.to_owned())))
                    }
                };
                self.waiting.extend(change);
            }
        }
    }
}

async fn within<T>(answer: impl Future<Output = Result<T, etcd_client::Error>>) -> Result<T, RegistryError> {
    match timeout(ANSWER_WITHIN, answer).await {
        Ok(answer) => answer.map_err(unavailable),
        Err(_) => Err(RegistryError::Unavailable(format!("no answer in {ANSWER_WITHIN:?}"))),
    }
}

fn unavailable(error: impl std::fmt::Display) -> RegistryError {
    RegistryError::Unavailable(error.to_string())
}
