//! Scenarios: a guild with an owner (1), members 2 to 5, text and voice channels, and voice servers that come and go.
//!
//! Outcomes are read as traces, one short line an effect, so that order and receivers are compared as a whole.

mod absence;
mod gatherings;
mod members;
mod messages;
mod order;
mod placement;
mod property;
mod rules;
mod sessions;
mod stage_instances;
mod takeover;
mod testimony;
mod voice;
mod zones;

use std::collections::{BTreeMap, BTreeSet};

use client_wire::error::ApiError;
use client_wire::rest;
use cluster_wire::guilds::{Audience, Call, Dispatch, GatewayId, Note, Op, Reply, Seat, Terms};
use cluster_wire::record::{Health, RelayStatus, ServerLoad, ServerRecord};
use cluster_wire::token::{TokenKey, VoiceToken};
use cluster_wire::voice::{ChannelMemo, Held, Order, OrderKind, Participant, Report};
use model::{
    Channel, ChannelId, ChannelKind, Guild, GuildId, Member, Overwrite, OverwriteTarget, Permissions,
    RegionId, Role, RoleId, ServerId, SessionId, UnixMs, User, UserId, VoiceFlags, Write,
};

use crate::{Effect, Facts, GuildCore, Moment, Outcome, Servers};

pub const GUILD: GuildId = GuildId(100);
pub const EVERYONE: RoleId = RoleId(100);
pub const OWNER: UserId = UserId(1);
pub const ANN: UserId = UserId(2);
pub const BOB: UserId = UserId(3);
pub const CARL: UserId = UserId(4);
/// A bot.
pub const DOT: UserId = UserId(5);

pub const TEXT: ChannelId = ChannelId(201);
pub const LOBBY: ChannelId = ChannelId(202);
pub const ROOM: ChannelId = ChannelId(203);
pub const STAGE: ChannelId = ChannelId(204);

pub const LOW: RoleId = RoleId(301);
pub const HIGH: RoleId = RoleId(302);

pub const ALL_INTENTS: u64 = u64::MAX;
pub const START: UnixMs = UnixMs(1_800_000_000_000);

pub struct World {
    pub core: GuildCore,
    pub now: UnixMs,
    pub servers: Servers,
    /// What voice servers would hold, had they obeyed every order.
    pub obeyed: BTreeMap<ServerId, BTreeMap<(UserId, SessionId), Participant>>,
    /// Whom they serve a moment longer, as they were told of them last.
    pub released: BTreeMap<ServerId, BTreeMap<(UserId, SessionId), Participant>>,
    /// What they would keep of channels.
    pub kept: BTreeMap<ServerId, BTreeMap<ChannelId, ChannelMemo>>,
    /// What gateways would say of their sessions' voice.
    pub seats: BTreeMap<SessionId, Seat>,
    pub key: TokenKey,
    next_id: u64,
}

pub fn user(id: UserId) -> User {
    User { id, name: format!("user{}", id.0), display_name: None, bot: id == DOT }
}

pub fn guild() -> Guild {
    let mut guild = Guild::new(GUILD, "guild", OWNER);
    for (position, id) in [(1, LOW), (2, HIGH)] {
        guild.roles.push(Role { position, ..Role::new(id, "role", Permissions::empty()) });
    }
    let kinds = [(TEXT, ChannelKind::Text), (LOBBY, ChannelKind::Voice), (ROOM, ChannelKind::Voice)];
    for (id, kind) in kinds.into_iter().chain([(STAGE, ChannelKind::Stage)]) {
        guild.channels.push(Channel::new(id, kind, "channel"));
    }
    for id in [OWNER, ANN, BOB, CARL, DOT] {
        guild.members.insert(id, Member::new(id, START));
    }
    guild
}

pub fn server(id: &str) -> ServerRecord {
    ServerRecord {
        id: ServerId(id.to_owned()),
        region: RegionId("local".to_owned()),
        endpoint: format!("{id}:443"),
        health: Health::Ok,
        load: ServerLoad::default(),
        capacity: 100,
        version: String::new(),
        draining: false,
        cluster: None,
        relay: RelayStatus::default(),
    }
}

pub const GATEWAY: GatewayId = GatewayId(1);

/// The session of a user in these tests: its first.
pub fn session(user: UserId) -> SessionId {
    SessionId(u128::from(user.0))
}

impl World {
    /// Nobody attached, one voice server.
    pub fn new(guild: Guild) -> Self {
        let users = guild.members.keys().map(|id| user(*id)).collect();
        let key = TokenKey::new(b"secret");
        let mut world = Self {
            core: GuildCore::new(guild, users, 7, key.clone()),
            now: START,
            servers: Servers::new(),
            obeyed: BTreeMap::new(),
            released: BTreeMap::new(),
            kept: BTreeMap::new(),
            seats: BTreeMap::new(),
            key,
            next_id: 10_000,
        };
        world.add_server(server("a"));
        world
    }

    /// Everyone attached, one voice server.
    pub fn attached() -> Self {
        Self::attached_to(guild())
    }

    pub fn attached_to(guild: Guild) -> Self {
        let mut world = Self::new(guild);
        let members: Vec<UserId> = world.core.guild.members.keys().copied().collect();
        for user in members {
            world.attach(user, session(user), ALL_INTENTS);
        }
        world
    }

    pub fn attach(&mut self, user: UserId, session: SessionId, intents: u64) -> Outcome {
        self.attach_from(GATEWAY, user, session, intents, None)
    }

    pub fn attach_from(
        &mut self,
        gateway: GatewayId,
        user: UserId,
        session: SessionId,
        intents: u64,
        seat: Option<Seat>,
    ) -> Outcome {
        let terms = Terms { intents, shard: (0, 1), status: model::PresenceStatus::Online };
        self.call(Call::Attach {
            guild: GUILD,
            user,
            session,
            gateway,
            is_live: true,
            terms,
            seat: seat.map(Box::new),
            knows_seat: true,
        })
    }

    pub fn call(&mut self, call: Call) -> Outcome {
        self.call_knowing(Facts::default(), call)
    }

    pub fn call_knowing(&mut self, facts: Facts, call: Call) -> Outcome {
        self.input(|core, moment| core.handle_call(moment, facts, call))
    }

    pub fn rest(&mut self, actor: UserId, op: Op) -> Outcome {
        self.call(rest_call(actor, op))
    }

    pub fn join(&mut self, user: UserId, channel: ChannelId) -> Outcome {
        self.update(user, session(user), Some(channel), VoiceFlags::default())
    }

    pub fn leave(&mut self, user: UserId) -> Outcome {
        self.update(user, session(user), None, VoiceFlags::default())
    }

    pub fn update(
        &mut self,
        user: UserId,
        session: SessionId,
        channel: Option<ChannelId>,
        flags: VoiceFlags,
    ) -> Outcome {
        self.call(Call::UpdateVoice { guild: GUILD, user, session, channel, flags })
    }

    pub fn modify(&mut self, actor: UserId, target: UserId, body: rest::ModifyMember) -> Outcome {
        self.rest(actor, Op::ModifyMember(GUILD, target, body))
    }

    /// Gives everyone, or a role, permissions: quietly, as if it had always been so.
    pub fn grant(&mut self, role: RoleId, permissions: Permissions) {
        let role = self.core.guild.roles.iter_mut().find(|found| found.id == role).unwrap();
        role.permissions |= permissions;
        self.core.hidden.clear();
    }

    pub fn give_role(&mut self, user: UserId, role: RoleId) {
        self.core.guild.members.get_mut(&user).unwrap().roles.push(role);
        self.core.hidden.clear();
    }

    /// An overwrite that was always there.
    pub fn deny(&mut self, channel: ChannelId, target: OverwriteTarget, deny: Permissions) {
        let channel = self.core.guild.channels.iter_mut().find(|found| found.id == channel).unwrap();
        channel.overwrites.push(Overwrite { target, allow: Permissions::empty(), deny });
        self.core.hidden.clear();
    }

    pub fn channel(&mut self, id: ChannelId) -> &mut Channel {
        self.core.guild.channels.iter_mut().find(|found| found.id == id).unwrap()
    }

    pub fn live(&mut self, user: UserId) {
        self.report(user, |server, guild, user, session| Report::Live { server, guild, user, session });
    }

    pub fn gone(&mut self, user: UserId) {
        self.report(user, |server, guild, user, session| Report::Gone { server, guild, user, session });
    }

    fn report(&mut self, user: UserId, report: impl Fn(ServerId, GuildId, UserId, SessionId) -> Report) {
        let server = self.core.server_of(user).unwrap().clone();
        let held_by = self.core.voice[&user].state.session;
        self.core.handle_report(self.now, &report(server, GUILD, user, held_by));
    }

    /// Time passes, and the machine is woken whenever it asked to be.
    pub fn pass_ms(&mut self, ms: u64) -> Vec<String> {
        let end = UnixMs(self.now.0 + ms);
        let mut lines = Vec::new();
        while let Some((at, _)) = self.core.poll_timeout().filter(|(at, _)| *at <= end) {
            self.now = self.now.max(at);
            let outcome = self.input(GuildCore::handle_timeout);
            assert!(outcome.reply.is_ok() && outcome.writes.is_empty());
            lines.extend(trace(&outcome));
        }
        self.now = end;
        self.check_invariants();
        lines
    }

    pub fn add_server(&mut self, record: ServerRecord) -> Outcome {
        self.servers.insert(record.id.clone(), record);
        self.input(|core, moment| core.handle_servers(moment, None))
    }

    pub fn lose_server(&mut self, id: &str) -> Outcome {
        let id = ServerId(id.to_owned());
        self.servers.remove(&id);
        self.obeyed.remove(&id);
        self.released.remove(&id);
        self.input(|core, moment| core.handle_servers(moment, Some(&id)))
    }

    pub fn input(&mut self, input: impl FnOnce(&mut GuildCore, Moment<'_>) -> Outcome) -> Outcome {
        let next_id = &mut self.next_id;
        let mut next_id = || {
            *next_id += 1;
            *next_id
        };
        let moment = Moment { now: self.now, next_id: &mut next_id, random: 42, servers: &self.servers };
        let outcome = input(&mut self.core, moment);
        for effect in &outcome.effects {
            match effect {
                Effect::Order { server, order } => self.obey(server.clone(), order.clone()),
                Effect::Dispatch(Dispatch { note: Some(note), .. }) => self.keep(note),
                _ => {}
            }
        }
        outcome
    }

    /// As the gateway of the session concerned does.
    fn keep(&mut self, note: &Note) {
        match note {
            Note::In(state) => {
                let server = self.seats.get(&state.session).and_then(|seat| seat.server.clone());
                self.seats.insert(state.session, Seat { state: state.clone(), server });
            }
            Note::Out(session) => drop(self.seats.remove(session)),
            Note::Seated(seat) => drop(self.seats.insert(seat.state.session, seat.clone())),
            Note::Server(session, server) => {
                self.seats.get_mut(session).expect("told of its state first").server = server.clone();
            }
        }
    }

    fn obey(&mut self, server: ServerId, order: Order) {
        assert_eq!((order.guild, order.fencing), (GUILD, self.core.fencing()));
        let held = self.obeyed.entry(server.clone()).or_default();
        let kept = self.kept.entry(server.clone()).or_default();
        let released = self.released.entry(server.clone()).or_default();
        match &order.kind {
            OrderKind::Push(_) | OrderKind::Drop => released.clear(),
            OrderKind::Put(p) => drop(released.remove(&(p.user, p.session))),
            OrderKind::Remove { user, session } => drop(released.remove(&(*user, *session))),
            OrderKind::Release(_) | OrderKind::Channel(_) | OrderKind::Claim => {}
        }
        match order.kind {
            OrderKind::Push(participants) => {
                kept.clear();
                *held = participants.into_iter().map(|p| ((p.user, p.session), p)).collect()
            }
            OrderKind::Put(participant) => {
                held.insert((participant.user, participant.session), participant);
            }
            OrderKind::Remove { user, session } => {
                held.remove(&(user, session));
            }
            OrderKind::Drop => {
                self.obeyed.remove(&server);
                kept.clear();
            }
            OrderKind::Release(gone) => {
                released.extend(gone.iter().filter_map(|who| Some((*who, held.remove(who)?))));
            }
            OrderKind::Channel(memo) if memo.is_empty() => drop(kept.remove(&memo.channel)),
            OrderKind::Channel(memo) => drop(kept.insert(memo.channel, memo)),
            OrderKind::Claim => {}
        }
    }

    /// Everything that must hold at any time.
    pub fn check_invariants(&self) {
        let core = &self.core;
        for (server, released) in &self.released {
            for ((user, session), as_it_was) in released {
                let entry = core.voice.get(user).filter(|entry| entry.state.session == *session);
                let now = entry.map(|entry| (entry.state.channel, entry.rights));
                let then = (as_it_was.channel, as_it_was.rights);
                assert_eq!(now, Some(then), "{user:?} is still served by {server:?} as it was");
            }
        }
        for (user, entry) in &core.voice {
            assert_eq!(*user, entry.state.user);
            assert!(core.guild.member(*user).is_some(), "{user:?} is in voice and no member");
            let channel = core.guild.channel(entry.state.channel).expect("in a channel that is there");
            assert!(channel.kind.is_voice());
            let is_attached = core.sessions.contains_key(&entry.state.session);
            assert!(is_attached != entry.is_hearsay, "{user:?} is in voice with no session");
        }
        let zones =
            core.voice.values().map(|entry| core.zone_of(entry.state.channel)).collect::<BTreeSet<_>>();
        assert_eq!(core.placements.zones(), zones.into_iter().collect::<Vec<_>>(), "placed where people are");
        assert!(core.voice.values().all(|entry| entry.zone == core.zone_of(entry.state.channel)));
        let told: BTreeSet<_> =
            self.obeyed.iter().filter(|(_, held)| !held.is_empty()).map(|(id, _)| id).collect();
        let right = core.placements.servers().collect::<BTreeSet<_>>();
        assert_eq!(told, right, "participants are on the guild's servers and nowhere else");
        for server in right {
            let truth = core
                .on_server(server)
                .map(|entry| ((entry.state.user, entry.state.session), entry.participant()));
            let truth: BTreeMap<(UserId, SessionId), Participant> = truth.collect();
            assert_eq!(self.obeyed[server], truth, "orders add up to the guild's own voice states");
            for channel in &core.guild.channels {
                let is_here = core.placements.server(&core.zone_of(channel.id)) == Some(server);
                let stage = core.stages.get(&channel.id).filter(|_| is_here);
                let gathering = core.gatherings.get(&channel.id).filter(|_| is_here);
                let memo = self.kept.get(server).and_then(|kept| kept.get(&channel.id));
                assert_eq!(memo.and_then(|memo| memo.since), gathering.and_then(|gathering| gathering.since));
                let status = gathering.and_then(|gathering| gathering.status.clone());
                assert_eq!(memo.and_then(|memo| memo.status.clone()), status);
                let topics =
                    (memo.and_then(|memo| memo.stage.as_ref()).map(|s| &s.topic), stage.map(|s| &s.topic));
                assert_eq!(topics.0, topics.1, "what is on is kept");
            }
        }
        self.check_gatherings();
        for (user, sessions) in &core.attached {
            assert!(!sessions.is_empty() && core.guild.member(*user).is_some());
            assert!(sessions.iter().all(|session| core.sessions[session].user == *user));
        }
        assert_eq!(core.attached.values().map(BTreeSet::len).sum::<usize>(), core.sessions.len());
        for (channel, hidden) in &core.hidden {
            let found = core.guild.channel(*channel).expect("nothing is kept of deleted channels");
            for user in core.attached.keys() {
                assert_eq!(
                    hidden.contains(user),
                    !core.can_see(*user, found, self.now),
                    "{user:?} in {channel:?}"
                );
            }
        }
    }
}

impl World {
    fn check_gatherings(&self) {
        let core = &self.core;
        let people = |id| core.voice.values().filter(|entry| entry.state.channel == id).count();
        for channel in &core.guild.channels {
            let gathering = core.gatherings.get(&channel.id);
            assert_eq!(gathering.map_or(0, |gathering| gathering.people), people(channel.id));
        }
        for (id, gathering) in &core.gatherings {
            assert!(core.guild.channel(*id).is_some_and(|channel| channel.kind.is_voice()));
            assert_eq!(gathering.since.is_some(), gathering.people > 0);
            assert!(gathering.people > 0 || gathering.status.is_some(), "nothing is kept for nothing");
        }
        for (id, stage) in &core.stages {
            assert!(core.guild.channel(*id).is_some_and(|channel| channel.kind == ChannelKind::Stage));
            let mut inside = core.voice.values().filter(|entry| entry.state.channel == *id);
            let speaks = inside.any(|entry| !entry.state.suppress);
            assert_eq!(stage.speakerless_since.is_none(), speaks, "a stage without speakers ends in time");
        }
    }
}

pub fn rest_call(actor: UserId, op: Op) -> Call {
    Call::Rest { actor: Some(actor), operator: false, reason: None, op }
}

/// One line an effect. When channels begin and cease to have people in them is told so often that it is left out; see `gatherings`. What voice
/// servers are to keep of channels is left out everywhere, and compared as a whole.
pub fn trace(outcome: &Outcome) -> Vec<String> {
    whole_trace(outcome).into_iter().filter(|line| !line.starts_with("START")).collect()
}

pub fn whole_trace(outcome: &Outcome) -> Vec<String> {
    outcome.effects.iter().map(line).filter(|line| !line.contains(": keep ")).collect()
}

fn line(effect: &Effect) -> String {
    match effect {
        Effect::Dispatch(dispatch) => dispatch_line(dispatch),
        Effect::Joined(user) => format!("joined {}", user.0),
        Effect::Left(user) => format!("left {}", user.0),
        Effect::Order { server, order } => format!("order {server}: {}", order_line(&order.kind)),
        Effect::Placed { server, .. } => format!("placed {server}"),
        Effect::EnteredVoice { user, .. } => format!("entered {}", user.0),
        Effect::LeftVoice(user) => format!("left voice {}", user.0),
        Effect::Deleted => "deleted".to_owned(),
    }
}

fn order_line(kind: &OrderKind) -> String {
    match kind {
        OrderKind::Push(participants) => {
            let users: Vec<u64> = participants.iter().map(|participant| participant.user.0).collect();
            format!("push {users:?}")
        }
        OrderKind::Put(p) => {
            let rights = [
                (p.rights.speak, 's'),
                (p.rights.hear, 'h'),
                (p.rights.video, 'v'),
                (p.rights.priority, 'p'),
            ];
            let rights: String = rights.iter().filter(|(has, _)| *has).map(|(_, letter)| letter).collect();
            format!("put {} in {} may {rights}", p.user.0, p.channel.0)
        }
        OrderKind::Remove { user, session } => format!("remove {}/{}", user.0, session.0),
        OrderKind::Drop => "drop".to_owned(),
        OrderKind::Release(released) => {
            let users: Vec<u64> = released.iter().map(|(user, _)| user.0).collect();
            format!("release {users:?}")
        }
        OrderKind::Channel(memo) => format!("keep {memo:?}"),
        OrderKind::Claim => "claim".to_owned(),
    }
}

fn dispatch_line(dispatch: &Dispatch) -> String {
    let d: serde_json::Value = serde_json::from_str(dispatch.d.get()).unwrap();
    let what = match dispatch.t {
        "VOICE_STATE_UPDATE" => format!("STATE {} in {}", text(&d["user_id"]), text(&d["channel_id"])),
        "VOICE_SERVER_UPDATE" => format!("SERVER {}", text(&d["endpoint"])),
        "VOICE_CHANNEL_STATUS_UPDATE" => format!("STATUS {} of {}", text(&d["status"]), text(&d["id"])),
        "VOICE_CHANNEL_START_TIME_UPDATE" => {
            format!("START {} of {}", text(&d["voice_start_time"]), text(&d["id"]))
        }
        other => other.to_owned(),
    };
    let to = match &dispatch.audience {
        Audience::Guild => String::new(),
        Audience::GuildExcept(users) => format!(" but {:?}", numbers(users.iter())),
        Audience::Users(users) => format!(" to {:?}", numbers(users.iter())),
        Audience::Session(session) => format!(" to session {}", session.0),
    };
    what + &to
}

fn numbers<'a>(users: impl Iterator<Item = &'a UserId>) -> BTreeSet<u64> {
    users.map(|user| user.0).collect()
}

fn text(value: &serde_json::Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// The effects as expected, and not refused.
pub fn expect(outcome: &Outcome, lines: &[&str]) {
    assert!(outcome.reply.is_ok(), "{:?}", outcome.reply);
    assert_eq!(trace(outcome), lines);
}

pub fn refusal(outcome: &Outcome) -> Option<&'static str> {
    assert!(outcome.effects.is_empty() && outcome.writes.is_empty());
    match &outcome.reply {
        Ok(Reply::Refused(why)) => Some(why),
        _ => None,
    }
}

pub fn error(outcome: &Outcome) -> (u16, u32) {
    let error: &ApiError = outcome.reply.as_ref().expect_err("it is refused");
    assert!(outcome.effects.is_empty() && outcome.writes.is_empty(), "a refused call changes nothing");
    (error.status, error.code)
}

pub fn body(outcome: &Outcome) -> serde_json::Value {
    match outcome.reply.as_ref().unwrap() {
        Reply::Json(_, json) => serde_json::from_str(json.get()).unwrap(),
        other => panic!("no body: {other:?}"),
    }
}

/// The payloads of all dispatches of this name.
pub fn payloads(outcome: &Outcome, t: &str) -> Vec<serde_json::Value> {
    let dispatches = outcome.effects.iter().filter_map(|effect| match effect {
        Effect::Dispatch(dispatch) if dispatch.t == t => {
            Some(serde_json::from_str(dispatch.d.get()).unwrap())
        }
        _ => None,
    });
    dispatches.collect()
}

pub fn token(world: &World, outcome: &Outcome) -> VoiceToken {
    let update = outcome.effects.iter().rev().find_map(|effect| match effect {
        Effect::Dispatch(dispatch) if dispatch.t == "VOICE_SERVER_UPDATE" => Some(dispatch),
        _ => None,
    });
    let update = update.expect("a server update");
    let Audience::Session(session) = update.audience else { panic!("told to {:?}", update.audience) };
    let payload: serde_json::Value = serde_json::from_str(update.d.get()).unwrap();
    VoiceToken::verify(payload["token"].as_str().unwrap(), &world.key, world.now, GUILD, session).unwrap()
}

pub fn writes_of(outcome: &Outcome, wanted: impl Fn(&Write) -> bool) -> usize {
    outcome.writes.iter().filter(|write| wanted(write)).count()
}
