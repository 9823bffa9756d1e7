//! A guilds node: the actors' cores, and around them what `guilds` does in its shell: whose a guild is, who is told events, where a person is
//! in voice.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use client_wire::error::ApiError;
use cluster_wire::envelope::Said;
use cluster_wire::guilds::{Account, Call, CallResult, Event as Told, GatewayId, Op, Reply, TokenMark};
use cluster_wire::voice::Report;
use guilds_core::{Effect, Elsewhere, Entered, Facts, GuildCore, Moment, Outcome, Whereabouts};
use model::{GuildId, SnowflakeGenerator, UnixMs, User, UserId};
use serde_json::value::RawValue;

use crate::event::{Event, Input, Review, Sleeper};
use crate::fleet::Fleet;
use crate::limits::{
    GATEWAY_KEEP, RENEW_EVERY, ROUTER_TURN, SERVERS_HEARD_WITHIN, SWEEP_EVERY, WAYS_LOOKED_AT_EVERY,
    WAYS_WITHIN,
};
use crate::random::Random;
use crate::registry::{Answer, Wish};
use crate::router::{Life, Process, Router, name_of};
use crate::time::{At, ms};
use crate::world::World;

pub struct Node {
    pub is_alive: bool,
    /// Counts how often it was started.
    pub life: u64,
    pub router: Router,
    pub fleet: Fleet,
    /// Under which it owns guilds.
    lease: Option<u64>,
    actors: BTreeMap<GuildId, Actor>,
    /// Streams of callers; those of gateways are told events.
    streams: BTreeMap<u64, Option<GatewayId>>,
    /// Gateways that have listened, and since when those are away that are.
    gateways: BTreeMap<GatewayId, Option<At>>,
    whereabouts: Whereabouts,
    started_at: At,
    /// The registry has said once which voice servers there are.
    pub knows_servers: bool,
    ids: SnowflakeGenerator,
    random: Random,
}

struct Actor {
    /// None while the guild is claimed.
    core: Option<Box<GuildCore>>,
    /// Has heard what voice servers hold, or waited for it.
    acts: bool,
    /// Told apart by it, should it end before it is answered.
    number: u64,
    waiting: VecDeque<Input>,
}

impl Node {
    pub fn new(seed: u64, number: usize) -> Self {
        Self {
            is_alive: false,
            life: 0,
            router: Router::default(),
            fleet: Fleet::default(),
            lease: None,
            actors: BTreeMap::new(),
            streams: BTreeMap::new(),
            gateways: BTreeMap::new(),
            whereabouts: Whereabouts::default(),
            started_at: At::default(),
            knows_servers: false,
            ids: SnowflakeGenerator::new(number as u8, 1),
            random: Random::new(seed, &format!("node {number}")),
        }
    }

    /// Guilds with an actor.
    pub fn active(&self) -> Vec<GuildId> {
        self.actors.keys().copied().collect()
    }

    pub fn owns(&self, guild: GuildId) -> Option<u64> {
        self.actors.get(&guild).and_then(|actor| actor.core.as_ref()).map(|core| core.fencing())
    }
}

pub fn user(id: UserId) -> User {
    User { id, name: format!("user{}", id.0), display_name: None, bot: false }
}

impl World {
    pub fn node_lives(&self, node: usize, life: u64) -> bool {
        self.nodes[node].is_alive && self.nodes[node].life == life
    }

    // Its life.

    pub fn node_starts(&mut self, node: usize) {
        if self.nodes[node].is_alive {
            return;
        }
        let this = &mut self.nodes[node];
        (this.is_alive, this.life, this.lease) = (true, this.life + 1, None);
        (this.router, this.fleet) = (Router::default(), Fleet::default());
        (this.started_at, this.knows_servers) = (self.now, false);
        let life = this.life;
        self.trace.note(self.now, || format!("node-{node} starts, life {life}"));
        let who = (Process::Node(node), life);
        self.watch(who);
        self.after(ROUTER_TURN, Event::RouterTurn(who));
        self.after(SWEEP_EVERY, Event::Sweep { node, life });
        self.ask_registry(node, life, Wish::Join, 0);
    }

    pub fn node_joins(&mut self, node: usize, life: u64) {
        if self.node_lives(node, life) {
            self.ask_registry(node, life, Wish::Join, 0);
        }
    }

    /// The process is gone, and with it its connections.
    pub fn node_dies(&mut self, node: usize) {
        let this = &mut self.nodes[node];
        if !this.is_alive {
            return;
        }
        this.is_alive = false;
        this.actors.clear();
        this.streams.clear();
        this.gateways.clear();
        this.whereabouts = Whereabouts::default();
        let life = this.life;
        self.trace.note(self.now, || format!("node-{node} dies"));
        self.frozen.remove(&Process::Node(node));
        let who = Process::Node(node);
        for id in self.streams_of(|s| (s.node, s.node_life) == (node, life) || s.caller == (who, life)) {
            self.break_stream(id);
        }
    }

    pub fn renew(&mut self, node: usize, life: u64) {
        if self.node_lives(node, life)
            && let Some(lease) = self.nodes[node].lease
        {
            self.ask_registry(node, life, Wish::Renew(lease), 0);
        }
    }

    pub fn registry_answers(&mut self, node: usize, life: u64, wish: &Wish, number: u64, answer: &Answer) {
        if !self.node_lives(node, life) {
            return;
        }
        match (wish, answer) {
            (Wish::Claim(_, guild), answer) => self.claimed(node, *guild, number, answer),
            (Wish::Join, Answer::Joined(lease)) => {
                self.nodes[node].lease = Some(*lease);
                self.after(RENEW_EVERY, Event::Renew { node, life });
            }
            (Wish::Join, _) => self.after(RENEW_EVERY, Event::Joins { node, life }),
            (Wish::Renew(_), Answer::Lapsed) => {
                self.trace.note(self.now, || format!("node-{node} has lost its lease"));
                self.nodes[node].lease = None;
                for guild in self.nodes[node].active() {
                    let delay = self.net.random().between(1, 200);
                    self.after(delay, Event::Guild { node, life, guild, input: Input::Lose });
                }
                self.after(ms(1), Event::Joins { node, life });
            }
            (Wish::Renew(_), _) => self.after(RENEW_EVERY, Event::Renew { node, life }),
        }
    }

    // Callers.

    pub fn stream_begins(&mut self, node: usize, id: u64, (who, _): Life) {
        let gateway = match who {
            Process::Gateway(gateway) => Some(self.gateways[gateway].id),
            Process::Node(_) => None,
        };
        self.nodes[node].streams.insert(id, gateway);
        if let Some(gateway) = gateway {
            self.nodes[node].gateways.insert(gateway, None);
        }
    }

    pub fn stream_ends(&mut self, node: usize, id: u64) {
        self.nodes[node].streams.remove(&id);
    }

    pub fn call_arrives(&mut self, node: usize, life: u64, stream: u64, id: u64, call: Call) {
        if !self.node_lives(node, life) {
            return;
        }
        // What has arrived is begun, whether or not its caller is there still.
        let guild = match &call {
            Call::Authenticate { token } => {
                let reply = self.authenticate(token);
                return self.reply(node, (stream, id), reply);
            }
            Call::LeaveElsewhere { user, guild, since } => {
                let (user, guild, since) = (*user, *guild, *since);
                self.entered_voice_elsewhere(node, user, guild, since);
                return self.reply(node, (stream, id), Ok(Reply::Done));
            }
            Call::Rest { op, .. } => op.guild().or_else(|| self.guild_of(op)),
            call => call.guild(),
        };
        let Some(guild) = guild else {
            let error = ApiError::not_found(client_wire::error::code::UNKNOWN_CHANNEL, "Channel");
            return self.reply(node, (stream, id), Err(error));
        };
        self.guild_input(node, life, guild, Input::Call((stream, id), call));
    }

    /// As the database has it.
    fn guild_of(&self, op: &Op) -> Option<GuildId> {
        let (Op::PutOverwrite { channel, .. }
        | Op::DeleteOverwrite { channel, .. }
        | Op::DeleteChannel(channel)) = op
        else {
            return None;
        };
        self.database.guild_of(*channel)
    }

    fn authenticate(&mut self, token: &str) -> CallResult {
        let user = token.strip_prefix("token-").and_then(|id| id.parse().ok()).map(UserId);
        let user = user.ok_or_else(ApiError::unauthorized)?;
        let json = RawValue::from_string(format!(r#"{{"id":"{user}"}}"#)).expect("the text is JSON");
        Ok(Reply::Account(Account {
            user,
            bot: false,
            operator: false,
            token: TokenMark(user.0.to_be_bytes()),
            json: json.into(),
            guilds: self.database.guilds_of(user),
        }))
    }

    /// Replies come by themselves, each when it likes.
    fn reply(&mut self, node: usize, (stream, id): (u64, u64), reply: CallResult) {
        let (life, delay) = (self.nodes[node].life, self.net.random().between(1, 500));
        self.after(delay, Event::Answers { node, life, stream, id, reply });
    }

    pub fn answers(&mut self, node: usize, life: u64, stream: u64, id: u64, reply: CallResult) {
        if self.node_lives(node, life) {
            self.say_to_caller(stream, Said::Reply(id, reply), None);
        }
    }

    fn tell(&mut self, node: usize, event: &Told, fencing: Option<u64>) {
        let listening = self.nodes[node].streams.iter().filter(|(_, gateway)| gateway.is_some());
        for stream in listening.map(|(stream, _)| *stream).collect::<Vec<_>>() {
            self.say_to_caller(stream, Said::Event(event.clone()), fencing);
        }
    }

    /// Ends the sessions of gateways that are gone for good.
    pub fn sweep(&mut self, node: usize, life: u64) {
        if !self.node_lives(node, life) {
            return;
        }
        let now = self.now;
        let this = &mut self.nodes[node];
        let here: BTreeSet<GatewayId> = this.streams.values().flatten().copied().collect();
        for (gateway, away) in &mut this.gateways {
            *away = if here.contains(gateway) { None } else { Some(away.unwrap_or(now)) };
        }
        let is_over = |away: &Option<At>| away.is_some_and(|since| now.since(since) >= GATEWAY_KEEP);
        let gone: Vec<GatewayId> =
            this.gateways.iter().filter(|(_, away)| is_over(away)).map(|(gateway, _)| *gateway).collect();
        for gateway in gone {
            self.nodes[node].gateways.remove(&gateway);
            self.trace.note(now, || format!("node-{node} gives up {gateway:?}"));
            self.review(node, &Review::GatewayGone(gateway));
        }
        self.after(SWEEP_EVERY, Event::Sweep { node, life });
    }

    // Guilds.

    pub fn guild_input(&mut self, node: usize, life: u64, guild: GuildId, input: Input) {
        if !self.node_lives(node, life) {
            return;
        }
        match self.nodes[node].actors.get_mut(&guild) {
            Some(Actor { core: Some(_), acts: false, .. })
                if matches!(input, Input::Report(_) | Input::Review(_)) =>
            {
                self.take(node, guild, input);
                self.acts_if_all_are_heard(node, guild);
            }
            Some(Actor { acts: false, waiting, .. }) => waiting.push_back(input),
            Some(_) => self.take(node, guild, input),
            None if matches!(input, Input::Call(..)) => {
                self.tasks_made += 1;
                let number = self.tasks_made;
                let actor = Actor { core: None, acts: false, number, waiting: VecDeque::from([input]) };
                self.nodes[node].actors.insert(guild, actor);
                self.claim(node, guild, number);
            }
            // It concerns nobody.
            None => {}
        }
    }

    /// Not before the voice servers that there are can be reached, or have been waited for.
    pub fn claim(&mut self, node: usize, guild: GuildId, number: u64) {
        let life = self.nodes[node].life;
        let has_waited = self.now.since(self.nodes[node].started_at) >= WAYS_WITHIN;
        let this = &self.nodes[node];
        let may_claim = has_waited || this.knows_servers && this.fleet.has_ways();
        if !may_claim {
            return self.after(WAYS_LOOKED_AT_EVERY, Event::Claims { node, life, guild, number });
        }
        match self.nodes[node].lease {
            Some(lease) => self.ask_registry(node, life, Wish::Claim(lease, guild), number),
            None => {
                let (wish, answer) = (Wish::Claim(0, guild), Answer::Unavailable);
                self.after(ms(1), Event::Answered { node, life, wish, guild_number: number, answer });
            }
        }
    }

    fn claimed(&mut self, node: usize, guild: GuildId, number: u64, answer: &Answer) {
        let this = &mut self.nodes[node];
        if this.actors.get(&guild).is_none_or(|actor| actor.number != number) {
            return;
        }
        let refusal = match answer {
            Answer::Ours(fencing) if self.database.own(guild, *fencing) => {
                let found = self.database.guild(guild).clone();
                self.trace.note(self.now, || format!("guild {guild} is node-{node}'s, #{fencing}"));
                self.begin_ownership(guild, *fencing, &found);
                let users = found.members.keys().map(|id| user(*id)).collect();
                let core = Box::new(GuildCore::new(found, users, *fencing, self.token_key.clone()));
                let actor = self.nodes[node].actors.get_mut(&guild).expect("it was just there");
                actor.core = Some(core);
                let outcome = self.decide(node, guild, GuildCore::handle_claimed);
                self.carry_out(node, guild, outcome);
                let life = self.nodes[node].life;
                self.after(SERVERS_HEARD_WITHIN, Event::Heard { node, life, guild, number });
                return self.acts_if_all_are_heard(node, guild);
            }
            Answer::Others(owner) => Ok(Reply::NotHere { guild, owner: Some(name_of(*owner)) }),
            _ => Err(ApiError::new(503, 0, "The guild cannot be claimed while the registry is away.")),
        };
        self.end_actor(node, guild, &refusal);
    }

    fn acts_if_all_are_heard(&mut self, node: usize, guild: GuildId) {
        if let Some(actor) = self.nodes[node].actors.get(&guild)
            && actor.core.as_ref().is_some_and(|core| !core.awaits_servers())
        {
            self.begins_to_act(node, self.nodes[node].life, guild, actor.number);
        }
    }

    /// What has come meanwhile is acted upon, in its order.
    pub fn begins_to_act(&mut self, node: usize, life: u64, guild: GuildId, number: u64) {
        let is_it = |actor: &&mut Actor| actor.number == number && !actor.acts;
        let is_alive = self.node_lives(node, life);
        let Some(actor) = self.nodes[node].actors.get_mut(&guild).filter(is_it).filter(|_| is_alive) else {
            return;
        };
        actor.acts = true;
        while let Some(input) =
            self.nodes[node].actors.get_mut(&guild).and_then(|actor| actor.waiting.pop_front())
        {
            self.take(node, guild, input);
        }
    }

    fn end_actor(&mut self, node: usize, guild: GuildId, refusal: &CallResult) {
        let Some(actor) = self.nodes[node].actors.remove(&guild) else { return };
        for input in actor.waiting {
            if let Input::Call(from, _) = input {
                self.reply(node, from, refusal.clone());
            }
        }
    }

    fn take(&mut self, node: usize, guild: GuildId, input: Input) {
        match input {
            Input::Call(from, call) => self.guild_call(node, guild, from, call),
            Input::Report(Report::Held(held)) => {
                self.trace.note(self.now, || format!("guild {guild} of node-{node}: {held:?}"));
                let core = self.core(node, guild);
                let fencing = core.fencing();
                if held.claim == fencing && core.awaits(&held.server) {
                    self.hear_held(guild, fencing, &held);
                }
                let outcome = self.decide(node, guild, |core, moment| core.handle_held(moment, &held));
                self.carry_out(node, guild, outcome);
            }
            Input::Report(report) => {
                let wall = self.clock.wall(self.now);
                self.trace.note(self.now, || format!("guild {guild} of node-{node}: {report:?}"));
                self.core(node, guild).handle_report(wall, &report);
            }
            Input::Review(review) => {
                self.trace.note(self.now, || format!("guild {guild} of node-{node}: review {review:?}"));
                if let Review::GatewayGone(gateway) = &review {
                    let fencing = self.core(node, guild).fencing();
                    self.reference.gateway_gone(self.now, guild, fencing, *gateway);
                }
                let outcome = self.decide(node, guild, |core, moment| match &review {
                    Review::Look => core.handle_servers(moment, None),
                    Review::Lost(server) => core.handle_servers(moment, Some(server)),
                    Review::Missed(server) => core.handle_missed_orders(moment, server),
                    Review::Reconnected(server) => core.handle_reconnected(moment, server),
                    Review::GatewayGone(gateway) => core.handle_gateway_gone(moment, *gateway),
                });
                self.carry_out(node, guild, outcome);
            }
            Input::LeaveVoice(user) => {
                if !self.nodes[node].whereabouts.is_at(user, guild) {
                    let fencing = self.core(node, guild).fencing();
                    self.reference.leave(self.now, guild, fencing, user);
                    let outcome =
                        self.decide(node, guild, |core, moment| core.handle_leave_voice(moment, user));
                    self.carry_out(node, guild, outcome);
                }
            }
            Input::Lose => return self.lose(node, guild),
        }
        self.guild_settled(node, guild);
    }

    /// Whoever owns it next knows the rest.
    fn lose(&mut self, node: usize, guild: GuildId) {
        self.trace.note(self.now, || format!("guild {guild} is node-{node}'s no more"));
        self.nodes[node].whereabouts.forget_guild(guild);
        self.tell(node, &Told::OwnerLost { guild }, None);
        self.end_actor(node, guild, &Err(changes_owner()));
    }

    fn guild_call(&mut self, node: usize, guild: GuildId, from: (u64, u64), call: Call) {
        let mut facts = Facts::default();
        if let Call::Rest { op: Op::AdminAddMember(_, id), .. } = &call {
            facts.users.push(user(*id));
        }
        let fencing = self.core(node, guild).fencing();
        self.trace.note(self.now, || format!("guild {guild} of node-{node}, #{fencing}: {}", brief(&call)));
        let outcome = self.decide(node, guild, |core, moment| core.handle_call(moment, facts, call.clone()));
        self.trace.note(self.now, || format!("    {:?}", outcome.reply));
        let mut outcome = outcome;
        let writes = std::mem::take(&mut outcome.writes);
        if !writes.is_empty() && !self.database.apply_as(guild, fencing, writes) {
            self.trace.note(self.now, || format!("guild {guild} of node-{node}: another owns it"));
            self.reply(node, from, Err(changes_owner()));
            return self.lose(node, guild);
        }
        if let Err(why) = self.reference.hear(self.now, guild, fencing, &call, &outcome.reply) {
            self.fail(format!("guild {guild} answered {} with {:?}: {why}", brief(&call), outcome.reply));
        }
        let reply = outcome.reply.clone();
        self.carry_out(node, guild, outcome);
        self.reply(node, from, reply);
    }

    pub fn guild_wakes(&mut self, node: usize, life: u64, guild: GuildId) {
        if !self.node_lives(node, life) || self.nodes[node].owns(guild).is_none() {
            return;
        }
        let outcome = self.decide(node, guild, GuildCore::handle_timeout);
        for effect in &outcome.effects {
            if let Effect::LeftVoice(user) = effect {
                self.check_absence(guild, *user);
                let fencing = self.core(node, guild).fencing();
                self.reference.leave(self.now, guild, fencing, *user);
            }
        }
        self.carry_out(node, guild, outcome);
        self.guild_settled(node, guild);
    }

    fn guild_settled(&mut self, node: usize, guild: GuildId) {
        let Some(fencing) = self.nodes[node].owns(guild) else { return };
        self.check_guild(guild, fencing);
        if let Some((at, _)) = self.core(node, guild).poll_timeout() {
            let (at, life) = (self.clock.at_wall(at), self.nodes[node].life);
            self.wake(Sleeper::Guild { node, life, guild }, at);
        }
    }

    fn core(&mut self, node: usize, guild: GuildId) -> &mut GuildCore {
        let actor = self.nodes[node].actors.get_mut(&guild).expect("the caller has looked");
        actor.core.as_mut().expect("the caller has looked")
    }

    fn decide(
        &mut self,
        node: usize,
        guild: GuildId,
        input: impl FnOnce(&mut GuildCore, Moment<'_>) -> Outcome,
    ) -> Outcome {
        let wall = self.clock.wall(self.now);
        let Node { actors, ids, random, fleet, .. } = &mut self.nodes[node];
        let mut next_id = || ids.next(wall);
        let moment =
            Moment { now: wall, next_id: &mut next_id, random: random.next(), servers: &fleet.usable };
        let actor = actors.get_mut(&guild).expect("the caller has looked");
        input(actor.core.as_mut().expect("the caller has looked"), moment)
    }

    fn carry_out(&mut self, node: usize, guild: GuildId, outcome: Outcome) {
        let fencing = self.core(node, guild).fencing();
        for effect in outcome.effects {
            match effect {
                Effect::Dispatch(dispatch) => {
                    self.trace.mix(self.now, 1, dispatch.d.get().as_bytes());
                    self.hear_dispatch(guild, fencing, &dispatch);
                    self.tell(node, &Told::Dispatch { guild, dispatch }, Some(fencing));
                }
                Effect::Joined(user) => self.tell(node, &Told::Joined { guild, user }, None),
                Effect::Left(user) => self.tell(node, &Told::Left { guild, user }, None),
                Effect::Order { server, order } => self.order(node, &server, order),
                Effect::Placed { server, participants } => {
                    self.trace.note(self.now, || format!("guild {guild}: placed on {server}"));
                    if let Some(record) = self.nodes[node].fleet.usable.get_mut(&server) {
                        record.load.guilds += 1;
                        record.load.participants += participants;
                    }
                }
                Effect::EnteredVoice { user, since, .. } => self.entered_voice(node, user, guild, since),
                Effect::LeftVoice(user) => self.nodes[node].whereabouts.left(user, guild),
                Effect::Deleted => unreachable!("no guild is ever deleted here"),
            }
        }
    }

    fn entered_voice(&mut self, node: usize, user: UserId, guild: GuildId, since: UnixMs) {
        let entered = self.nodes[node].whereabouts.entered(user, guild, since);
        let left = match entered {
            Entered::Late => Some(guild),
            Entered::Here { leaves } => {
                self.tell_peers(node, user, guild, since);
                leaves
            }
        };
        if let Some(guild) = left {
            let (life, delay) = (self.nodes[node].life, self.link_delay());
            self.after(delay, Event::Guild { node, life, guild, input: Input::LeaveVoice(user) });
        }
    }

    fn tell_peers(&mut self, node: usize, user: UserId, guild: GuildId, since: UnixMs) {
        let life = self.nodes[node].life;
        self.route((Process::Node(node), life), None, Call::LeaveElsewhere { user, guild, since });
    }

    fn entered_voice_elsewhere(&mut self, node: usize, user: UserId, guild: GuildId, since: UnixMs) {
        match self.nodes[node].whereabouts.entered_elsewhere(user, guild, since) {
            Elsewhere::Unknown => {}
            Elsewhere::Here { guild, since } => self.tell_peers(node, user, guild, since),
            Elsewhere::Leaves(guild) => {
                let (life, delay) = (self.nodes[node].life, self.net.random().between(1, 500));
                self.after(delay, Event::Guild { node, life, guild, input: Input::LeaveVoice(user) });
            }
        }
    }
}

fn changes_owner() -> ApiError {
    ApiError::new(503, 0, "The guild is changing its owner. Try again soon.")
}

pub fn brief(call: &Call) -> String {
    match call {
        Call::Rest { op, .. } => format!("{op:?}"),
        call => format!("{call:?}"),
    }
}
