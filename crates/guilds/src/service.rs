//! Starting, wiring and stopping the service.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use cluster_wire::link::{CALLS_MAX, GuildsLink, ReportReceiver, ReportSender, VoiceLink};
use cluster_wire::record::NodeRecord;
use cluster_wire::token::TokenKey;
use model::{RegionId, ServerId};
use registry::limits::NODE_TTL;
use registry::{Change, Membership, Registry, RegistryError, Watch};
use store::Store;
use tokio::sync::mpsc;

use crate::actor::Input;
use crate::fleet::Review;
use crate::limits::{
    GATEWAY_KEEP, GATEWAYS_SWEPT_EVERY, GUILD_REST, REGISTRY_RETRY, RENEW_EVERY, REPORTS_MAX,
    SERVERS_HEARD_WITHIN, WAYS_WITHIN,
};
use crate::passwords::PasswordCost;
use crate::router;
use crate::shared::Shared;

/// Who may make an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Registration {
    #[default]
    Open,
    /// Whoever holds an invite to a guild.
    Invited,
    /// Nobody but the operator.
    Closed,
}

#[derive(Clone)]
pub struct GuildsConfig {
    /// This node, as others see it in the registry.
    pub node: NodeRecord,
    /// Authenticates as the operator. None: nobody does.
    pub operator_key: Option<String>,
    pub registration: Registration,
    /// Must be valid by [`PasswordCost::is_valid`].
    pub password_cost: PasswordCost,
    /// Passwords hashed at once.
    pub passwords_parallel: usize,
    /// A participant whose client is not at its voice server for this long has left.
    pub voice_absence: Duration,
    /// A guild that nobody has made use of for this long leaves memory.
    pub guild_rest: Duration,
    /// How long voice servers may take to say what they hold of a guild that was claimed.
    pub servers_heard_within: Duration,
    /// Other nodes write into the same database: each write of a guild is good only while this one owns it.
    pub is_one_of_many: bool,
}

impl Default for GuildsConfig {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            node: NodeRecord { name: "local".to_owned(), address: String::new() },
            operator_key: None,
            registration: Registration::default(),
            password_cost: PasswordCost::default(),
            // Half the machine, so that a rush of logins does not stall the guilds.
            passwords_parallel: cores.div_ceil(2),
            voice_absence: Duration::from_millis(guilds_core::limits::ABSENCE_MS),
            guild_rest: GUILD_REST,
            servers_heard_within: SERVERS_HEARD_WITHIN,
            is_one_of_many: false,
        }
    }
}

impl std::fmt::Debug for GuildsConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The operator's key stays out of logs.
        f.debug_struct("GuildsConfig")
            .field("node", &self.node)
            .field("operator_key", &self.operator_key.as_ref().map(|_| "…"))
            .field("registration", &self.registration)
            .field("password_cost", &self.password_cost)
            .field("passwords_parallel", &self.passwords_parallel)
            .field("voice_absence", &self.voice_absence)
            .field("guild_rest", &self.guild_rest)
            .field("servers_heard_within", &self.servers_heard_within)
            .field("is_one_of_many", &self.is_one_of_many)
            .finish()
    }
}

pub struct Guilds;

impl Guilds {
    /// Takes this node's place in the registry and begins to serve. Needs a running tokio runtime. `peers` leads to the other guilds nodes, where there are any.
    pub async fn start(
        config: GuildsConfig,
        store: Store,
        registry: Registry,
        peers: Option<GuildsLink>,
        token_key: TokenKey,
    ) -> Result<GuildsHandle, RegistryError> {
        let membership = join(&registry, &config.node).await?;
        let shared = Shared::new(config, store, (registry, membership), peers, token_key);
        let (calls, calls_in) = mpsc::channel(CALLS_MAX);
        let (reports, reports_in) = mpsc::channel(REPORTS_MAX);
        shared.tasks.spawn(router::run(Arc::clone(&shared), calls_in));
        shared.tasks.spawn(route_reports(Arc::clone(&shared), reports_in));
        shared.tasks.spawn(follow_registry(Arc::clone(&shared)));
        shared.tasks.spawn(follow_nodes(Arc::clone(&shared)));
        shared.tasks.spawn(forget_placed(Arc::clone(&shared)));
        shared.tasks.spawn(stay_member(Arc::clone(&shared)));
        shared.tasks.spawn(wait_for_ways(Arc::clone(&shared)));
        shared.tasks.spawn(sweep_gateways(Arc::clone(&shared)));
        tracing::info!(config = ?shared.config, "guilds serves");
        Ok(GuildsHandle { shared, link: GuildsLink::new(calls), reports })
    }
}

/// A process of this name that has just died, at another address, keeps the name until its lease ends.
async fn join(registry: &Registry, node: &NodeRecord) -> Result<Membership, RegistryError> {
    let until = Instant::now() + NODE_TTL + RENEW_EVERY;
    loop {
        match registry.join(node.clone()).await {
            Err(RegistryError::IdInUse(_)) if Instant::now() < until => {
                tracing::info!(
                    name = node.name,
                    "waiting for the lease of the last node of this name to end"
                );
                tokio::time::sleep(RENEW_EVERY).await;
            }
            outcome => return outcome,
        }
    }
}

/// Dropping it does not stop the service; [`GuildsHandle::shutdown`] does.
#[derive(Clone)]
pub struct GuildsHandle {
    shared: Arc<Shared>,
    link: GuildsLink,
    reports: ReportSender,
}

impl GuildsHandle {
    /// A gateway's way to guilds.
    pub fn link(&self) -> GuildsLink {
        self.link.clone()
    }

    /// Where voice servers report.
    pub fn reports(&self) -> ReportSender {
        self.reports.clone()
    }

    /// With a queue of the test's own for events.
    #[cfg(test)]
    pub(crate) fn add_gateway(
        &self,
        gateway: cluster_wire::guilds::GatewayId,
        events: cluster_wire::link::EventSender,
    ) {
        self.shared.gateways.add(gateway, events);
    }

    /// A way to a voice server. A new link to a server that had one means that the server began anew.
    pub fn add_voice(&self, server: ServerId, link: VoiceLink) {
        self.shared.spawn_review(self.shared.fleet.link(server, link));
    }

    /// The way to this voice server was interrupted, and leads to the same process as before: what it may have missed is said again.
    pub fn voice_reconnected(&self, server: ServerId) {
        self.shared.spawn_review(Some(Review::Reconnected(server)));
    }

    /// The voice server is gone: its guilds are placed anew.
    pub fn remove_voice(&self, server: &ServerId) {
        self.shared.spawn_review(self.shared.fleet.unlink(server));
    }

    /// The registry answered last that this node's lease goes on: guilds that have no owner can be claimed.
    pub fn is_registered(&self) -> bool {
        self.shared.is_registered.load(Ordering::Relaxed)
    }

    /// How many guilds are in memory; the others are read when somebody asks for them.
    pub fn guilds_in_memory(&self) -> usize {
        self.shared.guilds_in_memory()
    }

    /// Ends every task after the input it is at. Calls still waiting are answered with an error.
    pub async fn shutdown(&self) {
        self.shared.stopping.cancel();
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
        // Others take over at once, instead of when the lease ends.
        if let Err(error) = self.shared.leave().await {
            tracing::warn!(%error, "the registry could not be told that this node ends");
        }
        tracing::info!("guilds has stopped");
    }
}

/// A report about a guild that is not active concerns nobody.
async fn route_reports(shared: Arc<Shared>, mut reports: ReportReceiver) {
    while let Some(Some(report)) = shared.stopping.run_until_cancelled(reports.recv()).await {
        if let Some(actor) = shared.active_actor(report.guild()) {
            // An actor that has ended has nobody in voice.
            let _ = actor.send(Input::Report(report)).await;
        }
    }
}

async fn wait_for_ways(shared: Arc<Shared>) {
    let ready = tokio::time::timeout(WAYS_WITHIN, shared.fleet.has_ways());
    match shared.stopping.run_until_cancelled(ready).await {
        Some(Ok(())) => return,
        Some(Err(_)) => tracing::warn!("not every voice server of the registry can be reached"),
        // Or whoever waits for them would keep this node from ending.
        None => {}
    }
    shared.fleet.wait_no_more();
}

/// Keeps this node's lease. When it has ended all the same, others may own what was this node's: everything is given up.
async fn stay_member(shared: Arc<Shared>) {
    let work = async {
        let mut is_well = true;
        loop {
            tokio::time::sleep(RENEW_EVERY).await;
            let outcome = shared.membership().renew().await;
            let was_well = std::mem::replace(&mut is_well, outcome.is_ok());
            shared.is_registered.store(outcome.is_ok(), Ordering::Relaxed);
            match outcome {
                Ok(()) if was_well => {}
                Ok(()) => tracing::info!("the registry answers again"),
                Err(RegistryError::Lapsed(_)) => {
                    tracing::error!("this node's lease has ended: its guilds are given up");
                    metrics::counter!("guildhall_guilds_leases_lost_total").increment(1);
                    shared.lose_everything().await;
                    join_again(&shared).await;
                    is_well = true;
                    shared.is_registered.store(true, Ordering::Relaxed);
                }
                Err(error) if was_well => {
                    tracing::warn!(%error, "the registry does not answer; what is owned here is served on");
                }
                Err(_) => {}
            }
        }
    };
    shared.stopping.run_until_cancelled(work).await;
}

async fn join_again(shared: &Shared) {
    loop {
        match shared.registry.join(shared.config.node.clone()).await {
            Ok(membership) => return shared.join_anew(membership),
            Err(error) => tracing::warn!(%error, "this node cannot join again yet"),
        }
        tokio::time::sleep(RENEW_EVERY).await;
    }
}

/// Ends the sessions of gateways that are gone for good.
async fn sweep_gateways(shared: Arc<Shared>) {
    let work = async {
        loop {
            tokio::time::sleep(GATEWAYS_SWEPT_EVERY).await;
            for gateway in shared.gateways.gone(Instant::now(), GATEWAY_KEEP) {
                tracing::warn!(
                    ?gateway,
                    "a gateway is gone, and with it the sessions that nobody has taken over"
                );
                shared.review(Review::GatewayGone(gateway)).await;
            }
        }
    };
    shared.stopping.run_until_cancelled(work).await;
}

/// Keeps the fleet as the registry tells it. While the registry cannot be reached, what is known stays.
async fn follow_registry(shared: Arc<Shared>) {
    let work = async {
        loop {
            match shared.registry.watch().await {
                Ok(watch) => {
                    let error = follow(&shared, watch).await;
                    tracing::warn!(?error, "lost sight of the registry");
                }
                Err(error) => tracing::warn!(?error, "the registry cannot be watched"),
            }
            tokio::time::sleep(REGISTRY_RETRY).await;
        }
    };
    shared.stopping.run_until_cancelled(work).await;
}

/// Keeps count of the guilds nodes, this one among them.
async fn follow_nodes(shared: Arc<Shared>) {
    let work = async {
        loop {
            if let Ok(mut watch) = shared.registry.watch_nodes().await {
                while let Ok(nodes) = watch.next().await {
                    let nodes = u32::try_from(nodes.len()).ok().and_then(NonZeroU32::new);
                    shared.fleet.nodes_are(nodes.unwrap_or(NonZeroU32::MIN));
                }
            }
            // That the registry cannot be watched is said by whoever watches voice servers.
            tokio::time::sleep(REGISTRY_RETRY).await;
        }
    };
    shared.stopping.run_until_cancelled(work).await;
}

/// What was placed on a server counts until its record has it, or could have had it.
async fn forget_placed(shared: Arc<Shared>) {
    let work = async {
        loop {
            tokio::time::sleep(registry::limits::LOAD_EVERY).await;
            shared.fleet.time_passes();
        }
    };
    shared.stopping.run_until_cancelled(work).await;
}

async fn follow(shared: &Arc<Shared>, mut watch: Watch) -> RegistryError {
    let records = watch.snapshot();
    for known in shared.fleet.records() {
        if !records.iter().any(|record| record.id == known.id) {
            review(shared, shared.fleet.gone(&known.id)).await;
        }
    }
    for record in records {
        review(shared, shared.fleet.put(record)).await;
    }
    shared.fleet.knows_all();
    let mut short = BTreeSet::new();
    loop {
        note_headroom(shared.fleet.headroom(), &mut short);
        match watch.next().await {
            Ok(Change::Put(record)) => {
                let server = record.id.clone();
                let news = shared.fleet.put(record);
                tracing::debug!(%server, "a voice server told of itself");
                review(shared, news).await;
            }
            Ok(Change::Gone(server)) => {
                tracing::info!(%server, "a voice server is gone from the registry");
                review(shared, shared.fleet.gone(&server)).await;
            }
            Err(error) => return error,
        }
    }
}

/// Says when a region begins, or ceases, to lack the room that it needs to lose a server.
fn note_headroom(headroom: BTreeMap<RegionId, i64>, short: &mut BTreeSet<RegionId>) {
    for (region, participants) in headroom {
        metrics::gauge!("guildhall_guilds_region_headroom", "region" => region.0.clone())
            .set(participants as f64);
        if participants < 0 && short.insert(region.clone()) {
            tracing::warn!(
                region = region.0,
                participants,
                "if the region's fullest voice server dies, there is no room for all of its participants"
            );
        } else if participants >= 0 && short.remove(&region) {
            tracing::info!(
                region = region.0,
                participants,
                "the region has room for the loss of a voice server again"
            );
        }
    }
}

async fn review(shared: &Arc<Shared>, review: Option<Review>) {
    if let Some(review) = review {
        shared.review(review).await;
    }
}
