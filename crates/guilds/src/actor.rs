//! One guild: a task that feeds its inputs to the machine, makes its writes durable and carries out its effects.
//!
//! A guild of which nobody has made use for a while is at rest: the machine is dropped, and the task and its queue stay, so that an input
//! can neither be lost nor overtake another while the guild leaves memory or is read back. What the machine knew is in the database, or
//! was of sessions and voice states that are no more.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use client_wire::error::{ApiError, code};
use cluster_wire::guilds::{Call, CallResult, Event};
use cluster_wire::voice::{Order, OrderKind, Report};
use guilds_core::{Effect, Facts, GuildCore, Moment, Need, Outcome, Servers, needs};
use model::{Guild, GuildId, UnixMs, User, UserId};
use registry::Claim;
use store::{Fence, StoreError};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::fleet::Review;
use crate::limits::ACTOR_INPUTS_MAX;
use crate::shared::{Reply, Shared, now, storage, without_database};
use crate::tokens::random;

/// Everything that can happen to a guild.
pub(crate) enum Input {
    Call(Call, Reply),
    Report(Report),
    Fleet(Review),
    /// The user entered voice in another guild.
    LeaveVoice(UserId),
    /// This node's ownership has ended.
    Lose,
}

/// Why a guild cannot be served here.
#[derive(Debug, Clone)]
enum Refusal {
    Error(ApiError),
    /// By the node of this name it can, or perhaps by any other.
    NotHere(Option<String>),
}

impl From<ApiError> for Refusal {
    fn from(error: ApiError) -> Self {
        Self::Error(error)
    }
}

impl Refusal {
    fn result(&self, guild: GuildId) -> CallResult {
        match self {
            Self::Error(error) => Err(error.clone()),
            Self::NotHere(owner) => Ok(cluster_wire::guilds::Reply::NotHere { guild, owner: owner.clone() }),
        }
    }
}

pub(crate) async fn run(shared: Arc<Shared>, guild: GuildId, mut inputs: mpsc::Receiver<Input>) {
    let refusal = live_and_rest(&shared, guild, &mut inputs).await;
    inputs.close();
    shared.forget_actor(guild);
    while let Some(input) = inputs.recv().await {
        refuse(guild, input, &refusal);
    }
}

/// Until the guild or the service is over; the error is for whoever comes after that.
async fn live_and_rest(shared: &Arc<Shared>, guild: GuildId, inputs: &mut mpsc::Receiver<Input>) -> Refusal {
    let mut waiting = VecDeque::new();
    let mut is_taken_over = true;
    loop {
        let loaded = Actor::load(shared, guild).await;
        let mut actor = match loaded.and_then(|found| found.ok_or_else(|| unknown_guild().into())) {
            Ok(actor) => Box::new(actor),
            Err(refusal) => {
                waiting.into_iter().for_each(|input| refuse(guild, input, &refusal));
                return refusal;
            }
        };
        let in_memory = shared.guild_in_memory();
        // Of one that comes back from rest nobody else was the owner.
        if std::mem::take(&mut is_taken_over) {
            actor.take_over(inputs, &mut waiting).await;
        }
        let end = actor.live(std::mem::take(&mut waiting), inputs).await;
        actor.count();
        let fencing = actor.core.fencing();
        drop((actor, in_memory));
        match end {
            End::Over => return over(shared).into(),
            End::Lost => return lose(shared, guild),
            End::Rest => tracing::debug!(%guild, "at rest"),
        }
        match rest(shared, guild, fencing, inputs).await {
            None => return over(shared).into(),
            Some(Input::Lose) => return lose(shared, guild),
            Some(first) => waiting.push_back(first),
        }
    }
}

/// The guild is deleted, or this node ends, and another will own it.
fn over(shared: &Shared) -> ApiError {
    match shared.stopping.is_cancelled() {
        true => changes_owner(),
        false => unknown_guild(),
    }
}

fn changes_owner() -> ApiError {
    ApiError::new(503, code::GENERAL, "The guild is changing its owner. Try again soon.")
}

/// Its sessions attach to whoever owns it next; until then calls are to be made again.
fn lose(shared: &Shared, guild: GuildId) -> Refusal {
    shared.forget_voice_of(guild);
    shared.gateways.tell(Event::OwnerLost { guild });
    lost()
}

fn lost() -> Refusal {
    changes_owner().into()
}

/// Waits for an input that needs the guild; None when the service ends. Nobody follows a guild at rest and nobody is in voice there,
/// which answers all others.
async fn rest(
    shared: &Arc<Shared>,
    guild: GuildId,
    fencing: u64,
    inputs: &mut mpsc::Receiver<Input>,
) -> Option<Input> {
    loop {
        match shared.stopping.run_until_cancelled(inputs.recv()).await?? {
            Input::Call(call @ Call::Detach { .. }, reply) => {
                answer(call_kind(&call), Ok(cluster_wire::guilds::Reply::Done), reply);
            }
            Input::Call(call @ Call::FindSession { .. }, reply) => {
                answer(call_kind(&call), Err(ApiError::new(404, code::GENERAL, "Unknown session")), reply);
            }
            Input::Fleet(Review::Missed(server)) => {
                shared.order(&server, Order { guild, fencing, kind: OrderKind::Drop });
            }
            Input::Report(_) | Input::Fleet(_) | Input::LeaveVoice(_) => {}
            input @ (Input::Call(..) | Input::Lose) => return Some(input),
        }
    }
}

fn refuse(guild: GuildId, input: Input, refusal: &Refusal) {
    if let Input::Call(_, reply) = input {
        let _ = reply.send(refusal.result(guild));
    }
}

fn answer(kind: &'static str, result: CallResult, reply: Reply) {
    metrics::counter!("guildhall_guilds_calls_total", "kind" => kind, "outcome" => outcome(&result))
        .increment(1);
    // A caller that has gone away needs no answer.
    let _ = reply.send(result);
}

/// Why an actor lives no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// Nobody has made use of the guild for a while.
    Rest,
    /// The guild is deleted, or the service ends.
    Over,
    /// Another node may own it.
    Lost,
}

async fn sleep_until(at: Option<UnixMs>) {
    match at {
        Some(at) => tokio::time::sleep(Duration::from_millis(at.0.saturating_sub(now().0))).await,
        None => std::future::pending().await,
    }
}

struct Actor {
    shared: Arc<Shared>,
    core: GuildCore,
    /// Where there are other nodes that could own the guild.
    fence: Option<Fence>,
    /// Another node has written that it owns the guild.
    is_lost: bool,
    /// A write failed and the database could not be read since: the machine may be ahead of it.
    is_stale: bool,
    /// Whose membership ended by writes that failed, until the database has been read again.
    parted: BTreeSet<UserId>,
    is_deleted: bool,
    /// When somebody last called, or followed the guild, or was in voice.
    used_at: Instant,
    /// As the gauges were told.
    counted: Counted,
}

#[derive(Default, Clone, Copy)]
struct Counted {
    voice_states: usize,
    awaiting: usize,
}

impl Actor {
    /// Owned before it is read, so that what another owner wrote last is in it.
    async fn load(shared: &Arc<Shared>, guild: GuildId) -> Result<Option<Self>, Refusal> {
        shared.fleet.has_ways().await;
        let membership = shared.membership();
        let fencing = match membership.claim(guild).await {
            Ok(Claim::Ours(fencing)) => fencing,
            Ok(Claim::Others(owner)) => return Err(Refusal::NotHere(Some(owner))),
            Err(error) => {
                tracing::warn!(%guild, %error, "the guild could not be claimed");
                if shared.peers.is_some() {
                    return Err(Refusal::NotHere(None));
                }
                let message = "The guild cannot be claimed while the registry is away. Try again soon.";
                return Err(ApiError::new(503, code::GENERAL, message).into());
            }
        };
        let fence = shared.config.is_one_of_many.then_some(Fence { guild, fencing });
        if let Some(fence) = fence {
            match shared.store.own(fence).await {
                Ok(()) => {}
                Err(StoreError::Fenced) => {
                    tracing::error!(%guild, fencing, "the database knows a later owner than the registry: do two registries share it?");
                    return Err(changes_owner().into());
                }
                Err(error) => return Err(storage(error).into()),
            }
        }
        let found = fetch_guild(shared, guild).await.map_err(storage);
        let (found, users) = match found {
            Ok(Some(found)) => found,
            nothing => {
                // There is nothing to own. A claim that cannot be given up now goes with the node's lease.
                let _ = membership.release(guild).await;
                return nothing.map(|_| None).map_err(Refusal::from);
            }
        };
        let core = GuildCore::new(found, users, fencing, shared.token_key.clone())
            .with_absence_ms(shared.config.voice_absence.as_millis() as u64);
        Ok(Some(Self {
            shared: Arc::clone(shared),
            core,
            fence,
            is_lost: false,
            is_stale: false,
            parted: BTreeSet::new(),
            is_deleted: false,
            used_at: Instant::now(),
            counted: Counted::default(),
        }))
    }

    /// Hears what voice servers hold of the guild before it acts upon anything else, or the first to join would be put elsewhere than those who
    /// are in voice. What comes meanwhile waits, in its order.
    async fn take_over(&mut self, inputs: &mut mpsc::Receiver<Input>, waiting: &mut VecDeque<Input>) {
        let shared = Arc::clone(&self.shared);
        let outcome = self.decide(GuildCore::handle_claimed);
        self.carry_out(outcome.effects);
        let until = Instant::now() + shared.config.servers_heard_within;
        while self.core.awaits_servers() && waiting.len() < ACTOR_INPUTS_MAX {
            let input = tokio::select! {
                () = shared.stopping.cancelled() => return,
                () = tokio::time::sleep_until(until) => {
                    return tracing::warn!(guild = %self.core.id(), "a voice server does not say what it holds");
                }
                input = inputs.recv() => input,
            };
            match input {
                None => return,
                Some(input @ (Input::Report(_) | Input::Fleet(_))) => self.handle(input).await,
                Some(input) => waiting.push_back(input),
            }
        }
    }

    /// `first` are inputs that came before those that wait.
    async fn live(&mut self, first: VecDeque<Input>, inputs: &mut mpsc::Receiver<Input>) -> End {
        let shared = Arc::clone(&self.shared);
        let mut first = first.into_iter();
        while let Some(input) = first.next() {
            match input {
                Input::Lose => {
                    first.for_each(|input| refuse(self.core.id(), input, &lost()));
                    return End::Lost;
                }
                input => self.take(input).await,
            }
            let is_over = self.is_deleted || shared.stopping.is_cancelled();
            if self.is_lost || is_over {
                let why = if self.is_lost { lost() } else { over(&shared).into() };
                first.for_each(|input| refuse(self.core.id(), input, &why));
                return if self.is_lost { End::Lost } else { End::Over };
            }
        }
        while !self.is_deleted && !self.is_lost {
            let rest_at = self.used_at + shared.config.guild_rest;
            let input = tokio::select! {
                biased;
                () = shared.stopping.cancelled() => return End::Over,
                input = inputs.recv() => input,
                () = sleep_until(self.core.poll_timeout().map(|(at, _)| at)) => {
                    let outcome = self.decide(GuildCore::handle_timeout);
                    self.carry_out(outcome.effects);
                    self.count();
                    continue;
                }
                () = tokio::time::sleep_until(rest_at), if self.may_rest() => return End::Rest,
            };
            match input {
                None => return End::Over,
                Some(Input::Lose) => return End::Lost,
                Some(input) => self.take(input).await,
            }
        }
        if self.is_lost { End::Lost } else { End::Over }
    }

    async fn take(&mut self, input: Input) {
        let is_use = matches!(input, Input::Call(..));
        let was_needed = !self.may_rest();
        self.handle(input).await;
        if is_use || was_needed || !self.may_rest() {
            self.used_at = Instant::now();
        }
        self.count();
    }

    /// All that there is of the guild is in the database as well.
    fn may_rest(&self) -> bool {
        self.core.is_at_rest() && !self.is_stale
    }

    async fn handle(&mut self, input: Input) {
        match input {
            Input::Call(call, reply) => {
                let kind = call_kind(&call);
                answer(kind, self.call(call).await, reply);
            }
            Input::Report(Report::Held(held)) => {
                let outcome = self.decide(|core, moment| core.handle_held(moment, &held));
                self.carry_out(outcome.effects);
            }
            Input::Report(report) => self.core.handle_report(now(), &report),
            Input::Fleet(review) => {
                let outcome = self.decide(|core, moment| match &review {
                    Review::Look => core.handle_servers(moment, None),
                    Review::Lost(server) => core.handle_servers(moment, Some(server)),
                    Review::Missed(server) => core.handle_missed_orders(moment, server),
                    Review::Reconnected(server) => core.handle_reconnected(moment, server),
                    Review::GatewayGone(gateway) => core.handle_gateway_gone(moment, *gateway),
                });
                self.carry_out(outcome.effects);
            }
            Input::LeaveVoice(user) => {
                if !self.shared.is_in_voice_at(user, self.core.id()) {
                    let outcome = self.decide(|core, moment| core.handle_leave_voice(moment, user));
                    self.carry_out(outcome.effects);
                }
            }
            Input::Lose => unreachable!("it ends the loop that calls this"),
        }
    }

    async fn call(&mut self, call: Call) -> CallResult {
        if matches!(call, Call::Rest { .. }) && self.shared.store.is_silent() {
            // It would be decided here before it could not be written.
            return Err(without_database());
        }
        if self.is_stale && matches!(call, Call::Rest { .. }) {
            self.reload().await?;
        }
        let facts = self.fetch(&call).await.map_err(storage)?;
        let outcome = self.decide(|core, moment| core.handle_call(moment, facts, call));
        if outcome.writes.is_empty() {
            self.carry_out(outcome.effects);
            return outcome.reply;
        }
        let written = match self.fence {
            Some(fence) => self.shared.store.apply_as(fence, &outcome.writes).await,
            None => self.shared.store.apply(&outcome.writes).await,
        };
        match written {
            Ok(()) => {
                self.carry_out(outcome.effects);
                outcome.reply
            }
            Err(StoreError::Fenced) => {
                tracing::warn!(guild = %self.core.id(), "another node owns the guild");
                self.is_lost = true;
                Err(changes_owner())
            }
            Err(error) => {
                self.parted.extend(outcome.parted());
                let outcome = outcome.after_failed_write();
                self.carry_out(outcome.effects);
                let reloaded = self.reload().await;
                tracing::warn!(guild = %self.core.id(), is_reloaded = reloaded.is_ok(), "a write failed");
                Err(storage(error))
            }
        }
    }

    /// The database's truth again; voice states stay.
    async fn reload(&mut self) -> Result<(), ApiError> {
        self.is_stale = true;
        if let Some(fence) = self.fence {
            // What we gave up on may still be done; it holds the row that this takes.
            match self.shared.store.own(fence).await {
                Ok(()) => {}
                Err(StoreError::Fenced) => {
                    self.is_lost = true;
                    return Err(changes_owner());
                }
                Err(error) => return Err(storage(error)),
            }
        }
        let found = fetch_guild(&self.shared, self.core.id()).await.map_err(storage)?;
        let Some((guild, users)) = found else {
            self.is_deleted = true;
            return Err(unknown_guild());
        };
        let parted = std::mem::take(&mut self.parted);
        let outcome = self.decide(|core, moment| core.handle_reload(moment, guild, users, &parted));
        self.carry_out(outcome.effects);
        self.is_stale = false;
        Ok(())
    }

    fn decide(&mut self, input: impl FnOnce(&mut GuildCore, Moment<'_>) -> Outcome) -> Outcome {
        let servers: Arc<Servers> = self.shared.fleet.servers();
        let shared = Arc::clone(&self.shared);
        let mut next_id = || shared.next_id();
        let random = u64::from_le_bytes(random());
        input(&mut self.core, Moment { now: now(), next_id: &mut next_id, random, servers: &servers })
    }

    fn carry_out(&mut self, effects: Vec<Effect>) {
        let (shared, guild) = (&self.shared, self.core.id());
        for effect in effects {
            match effect {
                Effect::Dispatch(dispatch) => shared.gateways.tell(Event::Dispatch { guild, dispatch }),
                Effect::Joined(user) => shared.gateways.tell(Event::Joined { guild, user }),
                Effect::Left(user) => shared.gateways.tell(Event::Left { guild, user }),
                Effect::Placed { server, participants } => {
                    tracing::debug!(%guild, %server, "placed");
                    metrics::counter!("guildhall_guilds_placements_total").increment(1);
                    shared.fleet.placed(&server, participants);
                }
                Effect::Order { server, order } => shared.order(&server, order),
                Effect::EnteredVoice { user, bot: false, since } => shared.entered_voice(user, guild, since),
                Effect::EnteredVoice { bot: true, .. } => {}
                Effect::LeftVoice(user) => shared.left_voice(user, guild),
                Effect::Deleted => self.is_deleted = true,
            }
        }
    }

    async fn fetch(&self, call: &Call) -> Result<Facts, StoreError> {
        let (store, guild) = (&self.shared.store, self.core.id());
        let mut facts = Facts::default();
        let mut people: Vec<UserId> = Vec::new();
        for need in needs(call) {
            match need {
                Need::Messages { channel, limit, before, after } => {
                    facts.messages = store.messages(channel, limit, before, after).await?;
                }
                Need::MessagesById(ids) => {
                    for id in ids {
                        facts.messages.extend(store.message(id).await?);
                    }
                }
                Need::Bans => facts.bans = store.bans(guild).await?,
                Need::Ban(user) => facts.bans.extend(store.ban(guild, user).await?),
                Need::Invites => facts.invites = store.invites(guild).await?,
                Need::Invite(code) => facts.invites.extend(store.invite(&code).await?),
                Need::User(user) => people.push(user),
            }
        }
        people.extend(facts.messages.iter().map(|message| message.author));
        people.extend(facts.bans.iter().map(|ban| ban.user));
        people.extend(facts.invites.iter().map(|invite| invite.inviter));
        people.sort_unstable();
        people.dedup();
        if !people.is_empty() {
            facts.users = store.users(&people).await?;
        }
        Ok(facts)
    }

    /// Brings the gauges up to date; an actor that has ended counts nothing.
    fn count(&mut self) {
        let ended = self.is_deleted || self.shared.stopping.is_cancelled();
        let counted = match ended {
            true => Counted::default(),
            false => Counted {
                voice_states: self.core.voice_states_len(),
                awaiting: usize::from(self.core.is_awaiting()),
            },
        };
        let old = std::mem::replace(&mut self.counted, counted);
        for (name, old, new) in [
            ("guildhall_guilds_voice_states", old.voice_states, counted.voice_states),
            ("guildhall_guilds_awaiting_endpoint", old.awaiting, counted.awaiting),
        ] {
            if old != new {
                metrics::gauge!(name).increment(new as f64 - old as f64);
            }
        }
    }
}

async fn fetch_guild(shared: &Shared, guild: GuildId) -> Result<Option<(Guild, Vec<User>)>, StoreError> {
    let Some(mut found) = shared.store.load_guild(guild).await? else { return Ok(None) };
    // A channel's newest message is not written with every message: it follows from them.
    let newest = shared.store.newest_messages(guild).await?;
    for channel in &mut found.channels {
        channel.last_message = newest.get(&channel.id).copied().or(channel.last_message);
    }
    let ids: Vec<UserId> = found.members.keys().copied().collect();
    let users = shared.store.users(&ids).await?;
    Ok(Some((found, users)))
}

fn unknown_guild() -> ApiError {
    ApiError::not_found(code::UNKNOWN_GUILD, "Guild")
}

fn call_kind(call: &Call) -> &'static str {
    match call {
        Call::Authenticate { .. } => "authenticate",
        Call::FindSession { .. } => "find_session",
        Call::LeaveElsewhere { .. } => "leave_elsewhere",
        Call::DescribeTo { .. } => "describe_to",
        Call::Attach { .. } => "attach",
        Call::Detach { .. } => "detach",
        Call::UpdateVoice { .. } => "update_voice",
        Call::VoiceServerPing { .. } => "voice_server_ping",
        Call::UpdatePresence { .. } => "update_presence",
        Call::RequestMembers { .. } => "request_members",
        Call::RequestChannelInfo { .. } => "request_channel_info",
        Call::Rest { .. } => "rest",
    }
}

fn outcome(result: &CallResult) -> &'static str {
    match result {
        Ok(cluster_wire::guilds::Reply::Refused(_)) => "refused",
        Ok(_) => "ok",
        Err(error) if error.status >= 500 => "failed",
        Err(_) => "rejected",
    }
}
