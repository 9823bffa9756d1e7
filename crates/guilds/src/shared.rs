//! What every task of the service shares.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use client_wire::error::{ApiError, code};
use cluster_wire::guilds::{Call, CallResult, Reply as CallReply};
use cluster_wire::link::{GuildsLink, VoiceLink};
use cluster_wire::token::TokenKey;
use cluster_wire::voice::{Order, OrderKind};
use guilds_core::{Elsewhere, Entered, Whereabouts};
use model::{ChannelId, GuildId, ServerId, SnowflakeGenerator, UnixMs, UserId};
use registry::{Membership, Registry, RegistryError};
use store::{Store, StoreError};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::GuildsConfig;
use crate::actor::{self, Input};
pub(crate) use crate::clock::now;
use crate::fleet::{Delivery, Fleet, Review};
use crate::gateways::Gateways;
use crate::limits::{ACTOR_INPUTS_MAX, CHANNELS_KNOWN_MAX, GLOBAL_CALLS_MAX};
use crate::passwords::Passwords;
use crate::throttle::Throttle;

pub(crate) type Reply = oneshot::Sender<CallResult>;

pub(crate) struct Shared {
    pub config: GuildsConfig,
    pub store: Store,
    pub registry: Registry,
    /// Under which this node owns guilds. Another one after a lease that has ended.
    membership: RwLock<Arc<Membership>>,
    /// It answered last that the lease goes on.
    pub is_registered: AtomicBool,
    /// The way to the other guilds nodes, where there are any.
    pub peers: Option<GuildsLink>,
    pub token_key: TokenKey,
    pub gateways: Gateways,
    pub fleet: Fleet,
    pub passwords: Passwords,
    pub throttle: Mutex<Throttle>,
    pub global_calls: Arc<Semaphore>,
    pub tasks: TaskTracker,
    pub stopping: CancellationToken,
    ids: Mutex<SnowflakeGenerator>,
    /// Guilds that are in memory, which those at rest are not.
    in_memory: AtomicUsize,
    /// The guilds that are active or at rest, by their actors' queues.
    actors: Mutex<HashMap<GuildId, mpsc::Sender<Input>>>,
    /// Where a person (not a bot) is in voice.
    whereabouts: Mutex<Whereabouts>,
    channels: Mutex<HashMap<ChannelId, GuildId>>,
}

impl Shared {
    pub fn new(
        config: GuildsConfig,
        store: Store,
        (registry, membership): (Registry, Membership),
        peers: Option<GuildsLink>,
        token_key: TokenKey,
    ) -> Arc<Self> {
        Arc::new(Self {
            passwords: Passwords::new(config.password_cost, config.passwords_parallel),
            ids: Mutex::new(SnowflakeGenerator::new(membership.worker(), 0)),
            membership: RwLock::new(Arc::new(membership)),
            is_registered: AtomicBool::new(true),
            peers,
            config,
            store,
            registry,
            token_key,
            gateways: Gateways::default(),
            fleet: Fleet::default(),
            throttle: Mutex::default(),
            global_calls: Arc::new(Semaphore::new(GLOBAL_CALLS_MAX)),
            tasks: TaskTracker::new(),
            stopping: CancellationToken::new(),
            in_memory: AtomicUsize::new(0),
            actors: Mutex::default(),
            whereabouts: Mutex::default(),
            channels: Mutex::default(),
        })
    }

    pub fn membership(&self) -> Arc<Membership> {
        Arc::clone(&self.membership.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub fn join_anew(&self, membership: Membership) {
        *lock(&self.ids) = SnowflakeGenerator::new(membership.worker(), 0);
        *self.membership.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(membership);
    }

    /// Every guild is another node's by now, or may be.
    pub async fn lose_everything(&self) {
        for actor in self.active_actors() {
            // An actor that has ended owns nothing.
            let _ = actor.send(Input::Lose).await;
        }
    }

    /// Gives up this node's place in the registry.
    pub async fn leave(&self) -> Result<(), RegistryError> {
        self.membership().leave().await
    }

    pub fn next_id(&self) -> u64 {
        lock(&self.ids).next(now())
    }

    /// Counts a guild as being in memory for as long as what is returned lives.
    pub fn guild_in_memory(self: &Arc<Self>) -> InMemory {
        self.in_memory.fetch_add(1, Ordering::Relaxed);
        metrics::gauge!("guildhall_guilds_active").increment(1);
        InMemory(Arc::clone(self))
    }

    pub fn guilds_in_memory(&self) -> usize {
        self.in_memory.load(Ordering::Relaxed)
    }

    /// The queue of a guild's actor, which begins with its first use.
    pub fn actor(self: &Arc<Self>, guild: GuildId) -> mpsc::Sender<Input> {
        let mut actors = lock(&self.actors);
        if let Some(sender) = actors.get(&guild).filter(|sender| !sender.is_closed()) {
            return sender.clone();
        }
        let (sender, inputs) = mpsc::channel(ACTOR_INPUTS_MAX);
        actors.insert(guild, sender.clone());
        self.tasks.spawn(actor::run(Arc::clone(self), guild, inputs));
        sender
    }

    pub fn active_actor(&self, guild: GuildId) -> Option<mpsc::Sender<Input>> {
        lock(&self.actors).get(&guild).cloned()
    }

    pub fn active_actors(&self) -> Vec<mpsc::Sender<Input>> {
        lock(&self.actors).values().cloned().collect()
    }

    /// An actor has ended and closed its queue; a newer one of the same guild stays.
    pub fn forget_actor(&self, guild: GuildId) {
        let mut actors = lock(&self.actors);
        if actors.get(&guild).is_some_and(mpsc::Sender::is_closed) {
            actors.remove(&guild);
        }
    }

    /// Hands a call to its guild's actor.
    pub fn send_call(self: &Arc<Self>, guild: GuildId, call: Call, reply: Reply) {
        let must_arrive = matches!(call, Call::Detach { .. });
        let mut input = Input::Call(call, reply);
        loop {
            match self.actor(guild).try_send(input) {
                Ok(()) => return,
                // It ended since it was found, and the next one begins.
                Err(mpsc::error::TrySendError::Closed(back)) => input = back,
                Err(mpsc::error::TrySendError::Full(back)) if must_arrive => {
                    let shared = Arc::clone(self);
                    // An actor that ended meanwhile is begun anew; it knows no session, so nothing is left to detach there.
                    self.tasks.spawn(async move { shared.actor(guild).send(back).await });
                    return;
                }
                Err(mpsc::error::TrySendError::Full(back)) => {
                    if let Input::Call(_, reply) = back {
                        // A caller that has gone away needs no answer.
                        let _ = reply.send(Err(ApiError::new(
                            503,
                            0,
                            "The guild is overloaded. Try again soon.",
                        )));
                    }
                    return;
                }
            }
        }
    }

    /// The same, awaiting the answer.
    pub async fn call_here(self: &Arc<Self>, guild: GuildId, call: Call) -> CallResult {
        let (reply, answer) = oneshot::channel();
        self.send_call(guild, call, reply);
        answer.await.unwrap_or_else(|_| Err(ApiError::internal()))
    }

    /// The same from the node that owns the guild, if that is another.
    pub async fn call(self: &Arc<Self>, guild: GuildId, call: Call) -> CallResult {
        let again = self.peers.clone().map(|peers| (peers, call.clone()));
        match (self.call_here(guild, call).await, again) {
            (Ok(CallReply::NotHere { .. }), Some((peers, call))) => peers.call(call).await,
            (result, _) => result,
        }
    }

    /// Tells every active guild of a change of the fleet.
    pub async fn review(&self, review: Review) {
        for actor in self.active_actors() {
            // An actor that has ended has nobody in voice.
            let _ = actor.send(Input::Fleet(review.clone())).await;
        }
    }

    /// The same from where one cannot wait.
    pub fn spawn_review(self: &Arc<Self>, review: Option<Review>) {
        if let Some(review) = review {
            let shared = Arc::clone(self);
            self.tasks.spawn(async move { shared.review(review).await });
        }
    }

    /// An order to a voice server. One that falls behind is told the whole truth once it has caught up; one that is gone is left.
    pub fn order(self: &Arc<Self>, server: &ServerId, order: Order) {
        match self.fleet.send(server, order) {
            Delivery::Done => {}
            Delivery::FellBehind(link) => {
                tracing::warn!(%server, "a voice server has fallen behind its orders");
                metrics::counter!("guildhall_guilds_voice_servers_behind_total").increment(1);
                self.spawn_review(Some(Review::Look));
                self.tasks.spawn(Arc::clone(self).catch_up(server.clone(), link));
            }
            Delivery::Gone => self.give_up(server),
        }
    }

    fn give_up(self: &Arc<Self>, server: &ServerId) {
        let review = self.fleet.unlink(server);
        if review.is_some() {
            tracing::warn!(%server, "a voice server takes no orders and is given up");
        }
        self.spawn_review(review);
    }

    /// Waits for the voice server, then has every guild concerned repeat what it was not told.
    async fn catch_up(self: Arc<Self>, server: ServerId, link: VoiceLink) {
        match self.stopping.run_until_cancelled(link.caught_up()).await {
            None => return,
            Some(false) => return self.give_up(&server),
            Some(true) => {}
        }
        tracing::info!(%server, "a voice server has caught up with its orders");
        for (guild, fencing) in self.fleet.caught_up(&server) {
            let missed = Input::Fleet(Review::Missed(server.clone()));
            let told = match self.active_actor(guild) {
                Some(actor) => actor.send(missed).await.is_ok(),
                None => false,
            };
            if !told {
                // Of a guild that is not active nobody is in voice.
                self.order(&server, Order { guild, fencing, kind: OrderKind::Drop });
            }
        }
        // Guilds that await a server may come here again.
        self.review(Review::Look).await;
    }

    /// A person entered voice in `guild`; it leaves wherever else it was.
    pub fn entered_voice(self: &Arc<Self>, user: UserId, guild: GuildId, since: UnixMs) {
        let entered = lock(&self.whereabouts).entered(user, guild, since);
        let left = match entered {
            Entered::Late => Some(guild),
            Entered::Here { leaves } => {
                self.tell_peers(user, guild, since);
                leaves
            }
        };
        let Some(actor) = left.and_then(|left| self.active_actor(left)) else { return };
        // Two guilds that wait for room in each other's queue would wait for ever, so a task waits instead.
        self.tasks.spawn(async move { actor.send(Input::LeaveVoice(user)).await });
    }

    fn tell_peers(&self, user: UserId, guild: GuildId, since: UnixMs) {
        if let Some(peers) = self.peers.clone() {
            self.tasks.spawn(async move { peers.call(Call::LeaveElsewhere { user, guild, since }).await });
        }
    }

    /// The same, in a guild of another node's.
    pub async fn entered_voice_elsewhere(&self, user: UserId, guild: GuildId, since: UnixMs) {
        let elsewhere = lock(&self.whereabouts).entered_elsewhere(user, guild, since);
        match elsewhere {
            Elsewhere::Unknown => {}
            Elsewhere::Here { guild, since } => self.tell_peers(user, guild, since),
            Elsewhere::Leaves(old) => {
                if let Some(actor) = self.active_actor(old) {
                    // An actor that has ended has nobody in voice.
                    let _ = actor.send(Input::LeaveVoice(user)).await;
                }
            }
        }
    }

    /// The guild is another node's by now, and so are its voice states.
    pub fn forget_voice_of(&self, guild: GuildId) {
        lock(&self.whereabouts).forget_guild(guild);
    }

    pub fn left_voice(&self, user: UserId, guild: GuildId) {
        lock(&self.whereabouts).left(user, guild);
    }

    /// Is this where the person belongs by now? Then an older order to leave is void.
    pub fn is_in_voice_at(&self, user: UserId, guild: GuildId) -> bool {
        lock(&self.whereabouts).is_at(user, guild)
    }

    pub fn known_channel(&self, channel: ChannelId) -> Option<GuildId> {
        lock(&self.channels).get(&channel).copied()
    }

    /// A channel never changes its guild, so what is remembered stays true until the channel is gone.
    pub async fn channel_guild(&self, channel: ChannelId) -> Result<Option<GuildId>, StoreError> {
        let guild = self.store.channel_guild(channel).await?;
        if let Some(guild) = guild {
            let mut channels = lock(&self.channels);
            if channels.len() >= CHANNELS_KNOWN_MAX {
                channels.clear();
            }
            channels.insert(channel, guild);
        }
        Ok(guild)
    }
}

pub(crate) struct InMemory(Arc<Shared>);

impl Drop for InMemory {
    fn drop(&mut self) {
        self.0.in_memory.fetch_sub(1, Ordering::Relaxed);
        metrics::gauge!("guildhall_guilds_active").decrement(1);
    }
}

/// Every critical section here leaves its data whole, so a panic elsewhere does not spoil it.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the database refused or could not do, as a client sees it.
pub(crate) fn storage(error: StoreError) -> ApiError {
    metrics::counter!("guildhall_guilds_store_failures_total").increment(1);
    match &error {
        // It was said when it began.
        StoreError::Silent => tracing::debug!(%error),
        _ => tracing::error!(%error, "the database failed"),
    }
    match error {
        StoreError::Silent | StoreError::Unavailable(_) => without_database(),
        _ => ApiError::internal(),
    }
}

pub(crate) fn without_database() -> ApiError {
    ApiError::new(503, code::GENERAL, "The database cannot be used at the moment. Try again soon.")
}
