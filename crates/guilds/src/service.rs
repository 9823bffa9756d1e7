//! Starting, wiring and stopping the service.

use std::sync::Arc;
use std::time::Duration;

use cluster_wire::link::{CALLS_MAX, EventSender, GuildsLink, ReportReceiver, ReportSender, VoiceLink};
use cluster_wire::token::TokenKey;
use cluster_wire::voice::Report;
use model::ServerId;
use registry::{Change, Registry, RegistryError, Watch};
use store::Store;
use tokio::sync::mpsc;

use crate::actor::Input;
use crate::fleet::Review;
use crate::limits::{GUILD_REST, REGISTRY_RETRY, REPORTS_MAX};
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
    /// This node's name, as other nodes see it in the registry.
    pub node: String,
    /// Distinguishes the ids this node makes; unique among nodes, 0 to 31.
    pub worker: u8,
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
}

impl Default for GuildsConfig {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            node: "local".to_owned(),
            worker: 0,
            operator_key: None,
            registration: Registration::default(),
            password_cost: PasswordCost::default(),
            // Half the machine, so that a rush of logins does not stall the guilds.
            passwords_parallel: cores.div_ceil(2),
            voice_absence: Duration::from_millis(guilds_core::limits::ABSENCE_MS),
            guild_rest: GUILD_REST,
        }
    }
}

impl std::fmt::Debug for GuildsConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The operator's key stays out of logs.
        f.debug_struct("GuildsConfig")
            .field("node", &self.node)
            .field("worker", &self.worker)
            .field("operator_key", &self.operator_key.as_ref().map(|_| "…"))
            .field("registration", &self.registration)
            .field("password_cost", &self.password_cost)
            .field("passwords_parallel", &self.passwords_parallel)
            .field("voice_absence", &self.voice_absence)
            .field("guild_rest", &self.guild_rest)
            .finish()
    }
}

pub struct Guilds;

impl Guilds {
    /// Begins to serve. Needs a running tokio runtime.
    pub fn start(
        config: GuildsConfig,
        store: Store,
        registry: Registry,
        token_key: TokenKey,
    ) -> GuildsHandle {
        let shared = Shared::new(config, store, registry, token_key);
        let (calls, calls_in) = mpsc::channel(CALLS_MAX);
        let (reports, reports_in) = mpsc::channel(REPORTS_MAX);
        shared.tasks.spawn(router::run(Arc::clone(&shared), calls_in));
        shared.tasks.spawn(route_reports(Arc::clone(&shared), reports_in));
        shared.tasks.spawn(follow_registry(Arc::clone(&shared)));
        tracing::info!(config = ?shared.config, "guilds serves");
        GuildsHandle { shared, link: GuildsLink::new(calls), reports }
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

    /// From now on this gateway is told every event. If its queue fills up it is cut off: its receiver ends.
    pub fn add_gateway(&self, events: EventSender) {
        self.shared.gateways.add(events);
    }

    /// A way to a voice server. A new link to a server that had one means that the server began anew.
    pub fn add_voice(&self, server: ServerId, link: VoiceLink) {
        self.shared.spawn_review(self.shared.fleet.link(server, link));
    }

    /// The voice server is gone: its guilds are placed anew.
    pub fn remove_voice(&self, server: &ServerId) {
        self.shared.spawn_review(self.shared.fleet.unlink(server));
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
        tracing::info!("guilds has stopped");
    }
}

/// A report about a guild that is not active concerns nobody.
async fn route_reports(shared: Arc<Shared>, mut reports: ReportReceiver) {
    while let Some(Some(report)) = shared.stopping.run_until_cancelled(reports.recv()).await {
        let (Report::Live { guild, .. } | Report::Gone { guild, .. }) = report;
        if let Some(actor) = shared.active_actor(guild) {
            // An actor that has ended has nobody in voice.
            let _ = actor.send(Input::Report(report)).await;
        }
    }
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
    loop {
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

async fn review(shared: &Arc<Shared>, review: Option<Review>) {
    if let Some(review) = review {
        shared.review(review).await;
    }
}
