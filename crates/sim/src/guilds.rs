//! Guilds: the actors' cores, and around them what `guilds` does in its shell: who is told events, where a person is in voice, and the
//! fleet with the orders that voice servers missed.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use client_wire::error::ApiError;
use cluster_wire::guilds::{Account, Call, CallResult, Event as Told, Op, Reply, TokenMark};
use cluster_wire::record::{Health, ServerRecord};
use cluster_wire::token::TokenKey;
use cluster_wire::voice::{Order, OrderKind, ToVoice};
use gateway_core::CallId;
use guilds_core::{Effect, Facts, GuildCore, Moment, Outcome, Servers};
use model::{GuildId, ServerId, SnowflakeGenerator, User, UserId};
use serde_json::value::RawValue;

use crate::event::{Change, Event, Input, Review, Sleeper};
use crate::limits::ORDERS_MAX;
use crate::net::in_order;
use crate::random::Random;
use crate::time::{At, ms};
use crate::world::World;

pub struct Guilds {
    pub cores: BTreeMap<GuildId, GuildCore>,
    /// What the database says: who is in which guild.
    members: BTreeMap<GuildId, BTreeSet<UserId>>,
    records: BTreeMap<ServerId, ServerRecord>,
    links: BTreeMap<ServerId, Link>,
    /// Servers with a record and a link.
    usable: Servers,
    /// By gateway: the number of its stream of events, and when the last one arrives.
    streams: BTreeMap<usize, (u64, At)>,
    streams_made: u64,
    voice_index: BTreeMap<UserId, GuildId>,
    ids: SnowflakeGenerator,
    random: Random,
}

struct Link {
    host: usize,
    life: u64,
    waiting: VecDeque<ToVoice>,
    last: At,
    /// The guilds of which it was not told something.
    missed: Option<BTreeMap<GuildId, u64>>,
}

impl Guilds {
    pub fn new(seed: u64, guilds: Vec<model::Guild>, key: &TokenKey) -> Self {
        let members =
            guilds.iter().map(|guild| (guild.id, guild.members.keys().copied().collect())).collect();
        let core = |guild: model::Guild| {
            let users = guild.members.keys().map(|id| user(*id)).collect();
            (guild.id, GuildCore::new(guild, users, 1, key.clone()))
        };
        Self {
            cores: guilds.into_iter().map(core).collect(),
            members,
            records: BTreeMap::new(),
            links: BTreeMap::new(),
            usable: Servers::new(),
            streams: BTreeMap::new(),
            streams_made: 0,
            voice_index: BTreeMap::new(),
            ids: SnowflakeGenerator::new(1, 1),
            random: Random::new(seed, "guilds"),
        }
    }

    /// One that is behind its orders is not chosen, and left where there is another.
    fn refresh(&mut self, id: &ServerId) {
        let (Some(record), Some(link)) = (self.records.get(id), self.links.get(id)) else {
            self.usable.remove(id);
            return;
        };
        let health = if link.missed.is_some() { Health::Flooded } else { record.health };
        self.usable.insert(id.clone(), ServerRecord { health, ..record.clone() });
    }

    pub fn regions(&self) -> BTreeSet<String> {
        self.usable.values().map(|record| record.region.0.clone()).collect()
    }
}

pub fn user(id: UserId) -> User {
    User { id, name: format!("user{}", id.0), display_name: None, bot: false }
}

fn matters(old: &ServerRecord, new: &ServerRecord) -> bool {
    let fixed =
        |r: &ServerRecord| (r.region.clone(), r.endpoint.clone(), r.health, r.draining, r.is_eligible());
    fixed(old) != fixed(new)
}

impl World {
    pub fn call_arrives(&mut self, gateway: usize, id: CallId, call: Call) {
        let guild = match &call {
            Call::Authenticate { token } => {
                let reply = self.authenticate(token);
                return self.reply(gateway, id, reply);
            }
            call => call.guild().expect("moderators do not come through the node"),
        };
        self.guild_input(guild, Input::Call(Some((gateway, id)), call));
    }

    fn authenticate(&mut self, token: &str) -> CallResult {
        let user = token.strip_prefix("token-").and_then(|id| id.parse().ok()).map(UserId);
        let user = user.ok_or_else(ApiError::unauthorized)?;
        let of_user = self.guilds.members.iter().filter(|(_, members)| members.contains(&user));
        let json = RawValue::from_string(format!(r#"{{"id":"{user}"}}"#)).expect("the text is JSON");
        Ok(Reply::Account(Account {
            user,
            bot: false,
            operator: false,
            token: TokenMark(user.0.to_be_bytes()),
            json: json.into(),
            guilds: of_user.map(|(guild, _)| *guild).collect(),
        }))
    }

    /// Replies come by themselves, each when it likes.
    fn reply(&mut self, gateway: usize, id: CallId, reply: CallResult) {
        let delay = self.link_delay();
        self.after(delay, Event::Reply { gateway, id, reply });
    }

    pub fn guild_input(&mut self, guild: GuildId, input: Input) {
        match input {
            Input::Call(from, call) => self.guild_call(guild, from, call),
            Input::Report(report) => {
                let wall = self.clock.wall(self.now);
                self.trace.note(self.now, || format!("guild {guild}: {report:?}"));
                self.core(guild).handle_report(wall, &report);
            }
            Input::Review(review) => {
                self.trace.note(self.now, || format!("guild {guild}: review {review:?}"));
                let outcome = self.decide(guild, |core, moment| match &review {
                    Review::Look => core.handle_servers(moment, None),
                    Review::Lost(server) => core.handle_servers(moment, Some(server)),
                    Review::Missed(server) => core.handle_missed_orders(moment, server),
                });
                self.carry_out(guild, outcome.effects);
            }
            Input::LeaveVoice(user) => {
                if self.guilds.voice_index.get(&user) != Some(&guild) {
                    self.reference.leave(self.now, guild, user);
                    let outcome = self.decide(guild, |core, moment| core.handle_leave_voice(moment, user));
                    self.carry_out(guild, outcome.effects);
                }
            }
        }
        self.guild_settled(guild);
    }

    fn guild_call(&mut self, guild: GuildId, from: Option<(usize, CallId)>, call: Call) {
        let mut facts = Facts::default();
        if let Call::Rest { op: Op::AdminAddMember(_, id), .. } = &call {
            facts.users.push(user(*id));
        }
        self.trace.note(self.now, || format!("guild {guild}: {}", brief(&call)));
        let outcome = self.decide(guild, |core, moment| core.handle_call(moment, facts, call.clone()));
        if let Err(why) = self.reference.hear(self.now, guild, &call, &outcome.reply) {
            self.fail(format!("guild {guild} answered {} with {:?}: {why}", brief(&call), outcome.reply));
        }
        let Outcome { reply, effects, .. } = outcome;
        self.carry_out(guild, effects);
        if let Some((gateway, id)) = from {
            self.reply(gateway, id, reply);
        }
    }

    pub fn guild_wakes(&mut self, guild: GuildId) {
        let outcome = self.decide(guild, GuildCore::handle_timeout);
        for effect in &outcome.effects {
            if let Effect::LeftVoice(user) = effect {
                self.check_absence(guild, *user);
                self.reference.leave(self.now, guild, *user);
            }
        }
        self.carry_out(guild, outcome.effects);
        self.guild_settled(guild);
    }

    fn guild_settled(&mut self, guild: GuildId) {
        self.check_guild(guild);
        if let Some((at, _)) = self.core(guild).poll_timeout() {
            let at = self.clock.at_wall(at);
            self.wake(Sleeper::Guild(guild), at);
        }
    }

    fn core(&mut self, guild: GuildId) -> &mut GuildCore {
        self.guilds.cores.get_mut(&guild).expect("no guild is ever deleted here")
    }

    fn decide(
        &mut self,
        guild: GuildId,
        input: impl FnOnce(&mut GuildCore, Moment<'_>) -> Outcome,
    ) -> Outcome {
        let wall = self.clock.wall(self.now);
        let Guilds { cores, ids, random, usable, .. } = &mut self.guilds;
        let mut next_id = || ids.next(wall);
        let moment = Moment { now: wall, next_id: &mut next_id, random: random.next(), servers: usable };
        input(cores.get_mut(&guild).expect("no guild is ever deleted here"), moment)
    }

    fn carry_out(&mut self, guild: GuildId, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Dispatch(dispatch) => {
                    self.trace.mix(self.now, 1, dispatch.d.get().as_bytes());
                    self.hear_dispatch(guild, &dispatch);
                    self.tell(Told::Dispatch { guild, dispatch });
                }
                Effect::Joined(user) => {
                    self.guilds.members.entry(guild).or_default().insert(user);
                    self.tell(Told::Joined { guild, user });
                }
                Effect::Left(user) => {
                    self.guilds.members.entry(guild).or_default().remove(&user);
                    self.tell(Told::Left { guild, user });
                }
                Effect::Order { server, order } => self.order(&server, order),
                Effect::Placed(server) => {
                    self.trace.note(self.now, || format!("guild {guild}: placed on {server}"));
                    if let Some(record) = self.guilds.usable.get_mut(&server) {
                        record.load.guilds += 1;
                        record.load.participants += 1;
                    }
                }
                Effect::EnteredVoice { user, .. } => {
                    let old = self.guilds.voice_index.insert(user, guild).filter(|old| *old != guild);
                    if let Some(old) = old {
                        let delay = self.link_delay();
                        self.after(delay, Event::Guild(old, Input::LeaveVoice(user)));
                    }
                }
                Effect::LeftVoice(user) => {
                    if self.guilds.voice_index.get(&user) == Some(&guild) {
                        self.guilds.voice_index.remove(&user);
                    }
                }
                Effect::Deleted => unreachable!("no guild is ever deleted here"),
            }
        }
    }

    // Gateways.

    fn tell(&mut self, event: Told) {
        let gateways: Vec<usize> = self.guilds.streams.keys().copied().collect();
        for gateway in gateways {
            let at = self.now.plus(self.link_delay());
            let (stream, last) = self.guilds.streams.get_mut(&gateway).expect("it was just listed");
            let (stream, at) = (*stream, in_order(last, at));
            self.at(at, Event::Told { gateway, stream, event: event.clone() });
        }
    }

    /// The gateway does not keep up: it reads what it was sent, and then that there is no more.
    pub fn cut_off(&mut self, gateway: usize) {
        let Some((stream, last)) = self.guilds.streams.remove(&gateway) else { return };
        let at = self.now.plus(self.link_delay()).max(last);
        self.at(at, Event::CutOff { gateway, stream });
    }

    pub fn listen(&mut self, gateway: usize) {
        self.guilds.streams_made += 1;
        let stream = self.guilds.streams_made;
        let at = self.now.plus(self.link_delay());
        self.guilds.streams.insert(gateway, (stream, at));
        self.at(at, Event::Listening { gateway, stream });
    }

    // The fleet.

    pub fn registry_says(&mut self, change: Change) {
        match change {
            Change::Put(record) => {
                let id = record.id.clone();
                let old = self.guilds.usable.get(&id).cloned();
                self.guilds.records.insert(id.clone(), *record);
                self.guilds.refresh(&id);
                let Some(new) = self.guilds.usable.get(&id) else { return };
                if old.is_none_or(|old| matters(&old, new)) {
                    self.review(&Review::Look);
                }
            }
            Change::Gone(id) => {
                self.guilds.records.remove(&id);
                if self.guilds.usable.remove(&id).is_some() {
                    self.review(&Review::Lost(id));
                }
            }
        }
    }

    pub fn link_up(&mut self, host: usize, life: u64) {
        if !self.hosts[host].lives(life) {
            return;
        }
        let id = self.hosts[host].id.clone();
        let link = Link { host, life, waiting: VecDeque::new(), last: self.now, missed: None };
        let replaced = self.guilds.links.insert(id.clone(), link).is_some();
        self.forget_orders(&id);
        self.guilds.refresh(&id);
        if self.guilds.usable.contains_key(&id) {
            self.review(&if replaced { Review::Lost(id) } else { Review::Look });
        }
    }

    pub fn link_down(&mut self, host: usize, life: u64) {
        let id = self.hosts[host].id.clone();
        if self.guilds.links.get(&id).is_some_and(|link| link.life == life) {
            self.unlink(&id);
        }
    }

    fn unlink(&mut self, id: &ServerId) {
        self.forget_orders(id);
        if self.guilds.links.remove(id).is_some() && self.guilds.usable.remove(id).is_some() {
            self.review(&Review::Lost(id.clone()));
        }
    }

    /// Every guild is told by a task of its own.
    fn review(&mut self, review: &Review) {
        let guilds: Vec<GuildId> = self.guilds.cores.keys().copied().collect();
        for guild in guilds {
            let delay = self.link_delay();
            self.after(delay, Event::Guild(guild, Input::Review(review.clone())));
        }
    }

    fn order(&mut self, id: &ServerId, order: Order) {
        self.trace.note(self.now, || format!("guild {} to {id}: {}", order.guild, brief_order(&order)));
        self.hear_order(id, &order);
        let (guild, fencing) = (order.guild, order.fencing);
        let delay = self.link_delay();
        let Some(link) = self.guilds.links.get_mut(id) else { return };
        if link.missed.is_none() && link.waiting.len() < ORDERS_MAX {
            link.waiting.push_back(ToVoice::Order(order));
            let (host, life) = (link.host, link.life);
            let at = in_order(&mut link.last, self.now.plus(delay));
            return self.at(at, Event::Order { host, life });
        }
        let fell_behind = link.missed.is_none();
        link.missed.get_or_insert_default().insert(guild, fencing);
        if fell_behind {
            self.trace.note(self.now, || format!("{id} has fallen behind its orders"));
            self.guilds.refresh(id);
            self.review(&Review::Look);
        }
    }

    pub fn tell_voice(&mut self, host: usize, message: ToVoice) {
        let id = self.hosts[host].id.clone();
        let delay = self.link_delay();
        let Some(link) = self.guilds.links.get_mut(&id) else { return };
        link.waiting.push_back(message);
        let life = link.life;
        let at = in_order(&mut link.last, self.now.plus(delay));
        self.at(at, Event::Order { host, life });
    }

    /// The next order that waits, unless the voice server takes none.
    pub fn take_order(&mut self, host: usize, life: u64) -> Option<ToVoice> {
        let id = self.hosts[host].id.clone();
        let link = self.guilds.links.get_mut(&id).filter(|link| link.life == life)?;
        let order = link.waiting.pop_front();
        if link.waiting.is_empty() && link.missed.is_some() {
            self.after(ms(1), Event::CaughtUp { host, life });
        }
        order
    }

    pub fn caught_up(&mut self, host: usize, life: u64) {
        let id = self.hosts[host].id.clone();
        let Some(link) = self.guilds.links.get_mut(&id).filter(|link| link.life == life) else { return };
        if !link.waiting.is_empty() {
            return;
        }
        let Some(missed) = link.missed.take() else { return };
        self.trace.note(self.now, || format!("{id} has caught up"));
        self.guilds.refresh(&id);
        for guild in missed.into_keys() {
            self.after(ms(1), Event::Guild(guild, Input::Review(Review::Missed(id.clone()))));
        }
        self.after(
            ms(1),
            Event::Guild(
                *self.guilds.cores.keys().next().expect("there is a guild"),
                Input::Review(Review::Look),
            ),
        );
    }
}

fn brief_order(order: &Order) -> String {
    match &order.kind {
        OrderKind::Push(all) => format!("push {:?}", all.iter().map(brief_participant).collect::<Vec<_>>()),
        OrderKind::Put(one) => format!("put {}", brief_participant(one)),
        OrderKind::Remove { user, session } => format!("remove {user} {session:?}"),
        OrderKind::Drop => "drop".to_owned(),
    }
}

fn brief_participant(of: &cluster_wire::voice::Participant) -> String {
    let (speak, hear) = (of.rights.speak, of.rights.hear);
    format!("{} {:?} in {} speak={speak} hear={hear}", of.user, of.session, of.channel)
}

pub fn brief(call: &Call) -> String {
    match call {
        Call::Rest { op, .. } => format!("{op:?}"),
        call => format!("{call:?}"),
    }
}
