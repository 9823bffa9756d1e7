//! The registry of many machines, in etcd (v3 API; tried with 3.4).
//!
//! | key | value | lease |
//! |---|---|---|
//! | `<prefix>servers/<id>` | a voice server's record, JSON | the server's, renewed by each update |
//! | `<prefix>nodes/<name>` | a guilds node's record, JSON | the node's |
//! | `<prefix>workers/<n>` | the name of the node whose snowflakes carry this number | the node's |
//! | `<prefix>guilds/<id>` | the name of the node that owns the guild; the revision of that write, with the epoch before it, is the fencing number | the node's |
//! | `<prefix>epoch` | minutes since 1970 when the first node came; an etcd that was emptied gets a later one, so that its low revisions are higher numbers all the same | none |
//!
//! A server's key carries no region, because it must be one server's wherever that is. Nothing here retries: whoever calls knows how long
//! its fact may wait, and every call ends within [`ANSWER_WITHIN`].

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cluster_wire::record::{NodeRecord, ServerRecord};
use etcd_client::{
    Certificate, Client, Compare, CompareOp, ConnectOptions, EventType, GetOptions, Identity, PutOptions,
    TlsOptions, Txn, TxnOp, WatchOptions, WatchStream,
};
use model::{GuildId, ServerId};
use tokio::time::{Instant, timeout};

use crate::limits::{ANSWER_WITHIN, KEEPALIVE_EVERY, LOAD_EVERY, MAX_SERVERS, NODE_TTL, WORKER_MAX};
use crate::stored::{Stored, StoredNode};
use crate::{Change, Claim, EtcdTls, RegistryError};

#[derive(Clone)]
pub struct Etcd {
    client: Client,
    prefix: Arc<str>,
    ttl: Duration,
}

/// Revisions have these many bits of a fencing number, the epoch those above. Because: a hundred writes a second fill them in 87 years, and minutes the
/// rest by 2097.
const REVISION_BITS: u32 = 38;

impl std::fmt::Debug for Etcd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Etcd").field("prefix", &self.prefix).field("ttl", &self.ttl).finish_non_exhaustive()
    }
}

impl Etcd {
    /// Asks for something once, so that a wrong address is noticed by whoever gave it.
    pub async fn connect(
        endpoints: &[String],
        prefix: &str,
        ttl: Duration,
        tls: Option<EtcdTls>,
    ) -> Result<Self, RegistryError> {
        let mut options = ConnectOptions::new()
            .with_connect_timeout(ANSWER_WITHIN)
            // A member that has lost the others knows nothing new, and must not look as if nothing happened.
            .with_require_leader(true)
            .with_keep_alive(KEEPALIVE_EVERY, ANSWER_WITHIN)
            .with_keep_alive_while_idle(true);
        if let Some(EtcdTls { ca, identity }) = tls {
            let mut tls = TlsOptions::new().ca_certificate(Certificate::from_pem(ca));
            if let Some((certificate, key)) = identity {
                tls = tls.identity(Identity::from_pem(certificate, key));
            }
            options = options.with_tls(tls);
        }
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
        // Whoever was there before at the endpoint that is ours now is dead, and its lease would have ended soon.
        let is_dead = |there: &[u8]| {
            Stored::read(there).is_some_and(|there| there.endpoint == registration.record.endpoint)
        };
        let text = Stored::from(&registration.record).text();
        if let Taken::By(_) = take(&mut client, lease, key, text, is_dead).await? {
            return Err(RegistryError::IdInUse(id));
        }
        tracing::info!(server = %id, "voice server registered");
        Ok(registration)
    }

    pub async fn watch(&self) -> Result<Watch, RegistryError> {
        let (keys, first) = Keys::watch(&self.client, self.servers()).await?;
        let read = |(_, value): (String, Vec<u8>)| Stored::read(&value).map(Into::into);
        Ok(Watch { snapshot: first.into_iter().filter_map(read).collect(), keys })
    }

    pub async fn watch_nodes(&self) -> Result<NodeWatch, RegistryError> {
        let (keys, first) = Keys::watch(&self.client, self.nodes()).await?;
        let nodes = first.into_iter().filter_map(|(name, value)| Some((name, StoredNode::read(&value)?)));
        Ok(NodeWatch { nodes: nodes.collect(), keys, is_told: false })
    }

    fn nodes(&self) -> String {
        format!("{}nodes/", self.prefix)
    }

    pub async fn join(&self, record: NodeRecord) -> Result<Membership, RegistryError> {
        let mut client = self.client.clone();
        let epoch = epoch(&mut client, format!("{}epoch", self.prefix)).await?;
        let ttl = i64::try_from(NODE_TTL.as_secs()).expect("a lease of seconds");
        let lease = within(client.lease_grant(ttl, None)).await?.id();
        let NodeRecord { name, address } = record;
        // From here on a failure takes the lease back.
        let mut membership = Membership {
            client,
            lease,
            name: name.clone(),
            prefix: Arc::clone(&self.prefix),
            worker: 0,
            epoch,
        };
        let text = StoredNode { name: name.clone(), address: address.clone() }.text();
        let key = format!("{}{name}", self.nodes());
        let is_ours = |value: &[u8]| StoredNode::read(value).is_some_and(|there| there.address == address);
        if let Taken::By(_) = membership.take(key, text, is_ours).await? {
            return Err(RegistryError::IdInUse(ServerId(name)));
        }
        for worker in 0..=WORKER_MAX {
            let key = format!("{}workers/{worker}", self.prefix);
            if let Taken::At(_) = membership.take(key, name.clone(), |there| there == name.as_bytes()).await?
            {
                membership.worker = worker;
                tracing::info!(node = %name, worker, "guilds node registered");
                return Ok(membership);
            }
        }
        Err(RegistryError::Full)
    }
}

/// A guilds node's lease, and what is held under it.
pub struct Membership {
    client: Client,
    lease: i64,
    name: String,
    prefix: Arc<str>,
    worker: u8,
    epoch: u64,
}

impl std::fmt::Debug for Membership {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Membership")
            .field("name", &self.name)
            .field("lease", &self.lease)
            .finish_non_exhaustive()
    }
}

/// What became of an attempt to hold a key under our lease.
enum Taken {
    /// The revision since which we hold it.
    At(u64),
    /// The value of whoever holds it.
    By(Vec<u8>),
}

impl Membership {
    pub fn worker(&self) -> u8 {
        self.worker
    }

    pub async fn renew(&self) -> Result<(), RegistryError> {
        keep_alive(&mut self.client.clone(), self.lease, &self.name).await
    }

    pub async fn claim(&self, guild: GuildId) -> Result<Claim, RegistryError> {
        let key = format!("{}guilds/{guild}", self.prefix);
        // Who had it under our name is a dead process of ours.
        match self.take(key, self.name.clone(), |there| there == self.name.as_bytes()).await? {
            Taken::At(revision) => {
                let fencing = (self.epoch << REVISION_BITS) + revision;
                tracing::debug!(%guild, node = self.name, fencing, "guild claimed");
                Ok(Claim::Ours(fencing))
            }
            Taken::By(owner) => Ok(Claim::Others(String::from_utf8_lossy(&owner).into_owned())),
        }
    }

    pub async fn release(&self, guild: GuildId) -> Result<(), RegistryError> {
        let key = format!("{}guilds/{guild}", self.prefix);
        let ours = Compare::lease(key.clone(), CompareOp::Equal, self.lease);
        let delete = Txn::new().when([ours]).and_then([TxnOp::delete(key, None)]);
        within(self.client.clone().txn(delete)).await.map(drop)
    }

    pub async fn leave(&self) -> Result<(), RegistryError> {
        within(self.client.clone().lease_revoke(self.lease)).await.map(drop)
    }

    async fn take(
        &self,
        key: String,
        value: String,
        gives_way: impl Fn(&[u8]) -> bool,
    ) -> Result<Taken, RegistryError> {
        take(&mut self.client.clone(), self.lease, key, value, gives_way).await
    }
}

/// Writes the key under a lease if nobody holds it, or if who holds it is to give way.
async fn take(
    client: &mut Client,
    lease: i64,
    key: String,
    value: String,
    gives_way: impl Fn(&[u8]) -> bool,
) -> Result<Taken, RegistryError> {
    let put = TxnOp::put(key.clone(), value, Some(PutOptions::new().with_lease(lease)));
    let free = Compare::create_revision(key.clone(), CompareOp::Equal, 0);
    let first = Txn::new().when([free]).and_then([put.clone()]).or_else([TxnOp::get(key.clone(), None)]);
    let mut answer = within(client.txn(first)).await?;
    if !answer.succeeded() {
        let there = answer.op_responses().into_iter().find_map(|response| match response {
            etcd_client::TxnOpResponse::Get(get) => get.kvs().first().cloned(),
            _ => None,
        });
        let there = there.ok_or_else(|| unavailable("an answer without the key that it is about"))?;
        if there.lease() != lease && !gives_way(there.value()) {
            return Ok(Taken::By(there.value().to_vec()));
        }
        let unchanged = Compare::mod_revision(key, CompareOp::Equal, there.mod_revision());
        answer = within(client.txn(Txn::new().when([unchanged]).and_then([put]))).await?;
        if !answer.succeeded() {
            return Ok(Taken::By(there.value().to_vec()));
        }
    }
    let revision = answer.header().map(|header| header.revision()).and_then(|n| u64::try_from(n).ok());
    revision.map(Taken::At).ok_or_else(|| unavailable("an answer without a revision"))
}

impl Drop for Membership {
    fn drop(&mut self) {
        revoke(&self.client, self.lease, self.name.clone());
    }
}

/// A lease that is not needed any more.
fn revoke(client: &Client, lease: i64, name: String) {
    let mut client = client.clone();
    // Without a runtime the process is ending, and the lease ends by itself.
    let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
    runtime.spawn(async move {
        match within(client.lease_revoke(lease)).await {
            Ok(_) => tracing::info!(%name, "left the registry"),
            Err(error) => tracing::debug!(%name, %error, "the lease is left to its end"),
        }
    });
}

/// As it is written; now, if it is not yet.
async fn epoch(client: &mut Client, key: String) -> Result<u64, RegistryError> {
    let minutes = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() / 60);
    let free = Compare::create_revision(key.clone(), CompareOp::Equal, 0);
    let put = TxnOp::put(key.clone(), minutes.to_string(), None);
    within(client.txn(Txn::new().when([free]).and_then([put]))).await?;
    let written = within(client.get(key, None)).await?;
    let text = written.kvs().first().and_then(|kv| std::str::from_utf8(kv.value()).ok());
    let epoch =
        text.and_then(|text| text.parse().ok()).filter(|epoch| *epoch < 1 << (u64::BITS - REVISION_BITS));
    epoch.ok_or_else(|| unavailable("the epoch in etcd is no number of minutes"))
}

async fn keep_alive(client: &mut Client, lease: i64, name: &str) -> Result<(), RegistryError> {
    let Err(error) = within(client.lease_keep_alive(lease)).await else { return Ok(()) };
    // A lease that has ended is an error like any other here, so it is asked for.
    let left = within(client.lease_time_to_live(lease, None)).await?.ttl();
    Err(if left < 0 { RegistryError::Lapsed(ServerId(name.to_owned())) } else { error })
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
    pub async fn leave(&self) -> Result<(), RegistryError> {
        within(self.client.clone().lease_revoke(self.lease)).await.map(drop)
    }

    fn put(&self) -> TxnOp {
        let options = PutOptions::new().with_lease(self.lease);
        TxnOp::put(self.key.clone(), Stored::from(&self.record).text(), Some(options))
    }

    pub async fn update(&mut self, record: ServerRecord) -> Result<(), RegistryError> {
        assert_eq!(record.id, self.id, "a registration is one server's");
        keep_alive(&mut self.client, self.lease, &self.id.0).await?;
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
        revoke(&self.client, self.lease, self.id.0.clone());
    }
}

/// The keys below a prefix as they change.
struct Keys {
    stream: WatchStream,
    prefix: String,
    waiting: VecDeque<KeyChange>,
}

/// The key without the prefix, and its new value, or none if it is gone.
type KeyChange = (String, Option<Vec<u8>>);

impl Keys {
    /// With those that are there already.
    async fn watch(client: &Client, prefix: String) -> Result<(Self, Vec<(String, Vec<u8>)>), RegistryError> {
        let mut client = client.clone();
        let all = within(client.get(prefix.clone(), Some(GetOptions::new().with_prefix()))).await?;
        let revision = all.header().map_or(0, |header| header.revision());
        let options = WatchOptions::new().with_prefix().with_start_revision(revision + 1);
        let stream = within(client.watch(prefix.clone(), Some(options))).await?;
        let keys = Self { stream, prefix, waiting: VecDeque::new() };
        let first = all.kvs().iter().filter_map(|kv| Some((keys.name(kv.key())?, kv.value().to_vec())));
        let first = first.collect();
        Ok((keys, first))
    }

    fn name(&self, key: &[u8]) -> Option<String> {
        std::str::from_utf8(key).ok()?.strip_prefix(&self.prefix).map(str::to_owned)
    }

    async fn next(&mut self) -> Result<KeyChange, RegistryError> {
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
                let Some(name) = self.name(kv.key()) else { continue };
                let is_put = event.event_type() == EventType::Put;
                self.waiting.push_back((name, is_put.then(|| kv.value().to_vec())));
            }
        }
    }
}

pub struct Watch {
    snapshot: Vec<ServerRecord>,
    keys: Keys,
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watch").field("waiting", &self.keys.waiting.len()).finish_non_exhaustive()
    }
}

impl Watch {
    pub fn snapshot(&mut self) -> Vec<ServerRecord> {
        std::mem::take(&mut self.snapshot)
    }

    pub async fn next(&mut self) -> Result<Change, RegistryError> {
        loop {
            match self.keys.next().await? {
                (_, Some(value)) => {
                    if let Some(stored) = Stored::read(&value) {
                        return Ok(Change::Put(stored.into()));
                    }
                }
                (id, None) => return Ok(Change::Gone(ServerId(id))),
            }
        }
    }
}

pub struct NodeWatch {
    nodes: BTreeMap<String, NodeRecord>,
    keys: Keys,
    is_told: bool,
}

impl std::fmt::Debug for NodeWatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NodeWatch").field("nodes", &self.nodes).finish_non_exhaustive()
    }
}

impl NodeWatch {
    pub async fn next(&mut self) -> Result<Vec<NodeRecord>, RegistryError> {
        if std::mem::replace(&mut self.is_told, true) {
            match self.keys.next().await? {
                (name, Some(value)) => {
                    if let Some(node) = StoredNode::read(&value) {
                        self.nodes.insert(name, node);
                    }
                }
                (name, None) => drop(self.nodes.remove(&name)),
            }
        }
        Ok(self.nodes.values().cloned().collect())
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
