//! The node: its inputs, its outputs, and the tables of connections and sessions they work on.
//!
//! How a client comes in is in `identify`, what it asks for in `requests`, what guilds tells us in `events`.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use client_wire::gateway::{CloseCode, FrameError, FromClient, FromServer, encode_dispatch};
use cluster_wire::guilds::{Call, CallResult, Event, GatewayId};
use model::{GuildId, SessionId, UserId};
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use slab::Slab;

use crate::adopt::Search;
use crate::body::Body;
use crate::connection::{ConnId, Connection, Phase as ConnPhase, Step};
use crate::fanout::{Fanout, Key, Variant};
use crate::identify::{Changes, Waiting};
use crate::limits::{
    DRAIN_AT_ONCE, DRAIN_EVERY, HEARTBEAT_INTERVAL, HEARTBEAT_PATIENCE_QUARTERS, SESSION_KEEP,
};
use crate::replay::Kept;
use crate::session::{Follow, Phase, Session};
use crate::timers::{Reason, Timers};

#[derive(Debug, Clone)]
pub struct NodeConfig {
    pub heartbeat_interval: Duration,
    /// How long a session waits for a lost client.
    pub session_keep: Duration,
    /// Who this is, for guilds.
    pub gateway: GatewayId,
    /// There are other gateways: sessions may come from them, and go on there after a shutdown.
    pub is_one_of_many: bool,
}

impl Default for NodeConfig {
    fn default() -> Self {
        Self {
            heartbeat_interval: HEARTBEAT_INTERVAL,
            session_keep: SESSION_KEEP,
            gateway: GatewayId::default(),
            is_one_of_many: false,
        }
    }
}

impl NodeConfig {
    /// How long a connection may be silent.
    pub fn patience(&self) -> Duration {
        self.heartbeat_interval * HEARTBEAT_PATIENCE_QUARTERS / 4
    }
}

/// Something for one connection.
#[derive(Debug, Clone)]
pub struct Transmit {
    pub conn: ConnId,
    pub output: Output,
}

#[derive(Debug, Clone)]
pub enum Output {
    Frame(Frame),
    /// The last output of a connection. The node has forgotten it already.
    Close(CloseCode),
}

/// A frame that gets its number where it is written, so that the body of a dispatch stays shared until then.
#[derive(Debug, Clone)]
pub enum Frame {
    /// In a box, for they are few, and every queue has room for its largest kind.
    Control(Box<FromServer>),
    Dispatch {
        seq: u64,
        body: Arc<Body>,
    },
}

impl Frame {
    pub(crate) fn control(frame: FromServer) -> Self {
        Self::Control(Box::new(frame))
    }

    pub fn encode(&self) -> String {
        match self {
            Self::Control(frame) => frame.encode(),
            Self::Dispatch { seq, body } => encode_dispatch(*seq, body.t, &body.d),
        }
    }

    /// Whoever writes a frame tells the node after one of these, and it attaches the session's next guild.
    pub fn is_guild(&self) -> bool {
        matches!(self, Self::Dispatch { body, .. } if body.t == "GUILD_CREATE")
    }

    /// The payload's length, for bounds on what waits to be written.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Control(_) => 64,
            Self::Dispatch { body, .. } => body.payload_bytes() + 64,
        }
    }
}

impl From<Kept> for Frame {
    fn from(Kept { seq, body }: Kept) -> Self {
        Self::Dispatch { seq, body }
    }
}

/// Pairs a call with its reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallId(u64);

/// Why a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionEnd {
    /// Its client said goodbye.
    Goodbye,
    /// Its client did not come back in time.
    Expired,
    /// It missed more than can be replayed.
    Forgotten,
    TokensRevoked,
    /// Its user opened too many others.
    Crowded,
    /// Guilds cut off the events.
    CutOff,
    Shutdown,
}

/// What metrics and logs want to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notice {
    SessionStarted(SessionId),
    SessionDetached(SessionId),
    SessionEnded(SessionId, SessionEnd),
    Resumed(SessionId, /* replayed */ usize),
    /// It began at another gateway.
    Adopted(SessionId),
    /// With the outcome's name.
    ResumeRefused(&'static str),
    VoiceDelayed(SessionId),
    VoiceDropped(SessionId),
    /// Guilds did not act upon a voice state update, and why.
    VoiceRefused(SessionId, &'static str),
    /// Guilds could not answer; the HTTP status it gave.
    CallFailed(u16),
}

pub struct Node {
    pub(crate) config: NodeConfig,
    pub(crate) rng: StdRng,
    pub(crate) connections: HashMap<ConnId, Connection>,
    next_conn: u64,
    pub(crate) sessions: Slab<Session>,
    pub(crate) by_id: HashMap<SessionId, Key>,
    pub(crate) by_user: HashMap<UserId, Vec<Key>>,
    pub(crate) fanout: Fanout,
    /// Those that wait for a guild's GUILD_CREATE.
    pub(crate) attaching: BTreeSet<(GuildId, Key)>,
    pub(crate) timers: Timers,
    waiting: HashMap<CallId, Waiting>,
    /// Connections whose session is asked for at guilds.
    pub(crate) searches: HashMap<ConnId, Search>,
    next_call: u64,
    pub(crate) changes: Changes,
    /// Clients still to be sent away; None while the node takes new ones.
    draining: Option<VecDeque<ConnId>>,
    /// Connections that are bound to a session.
    pub(crate) live: usize,
    transmits: VecDeque<Transmit>,
    calls: VecDeque<(CallId, Call)>,
    notices: VecDeque<Notice>,
    /// Kept between events for its memory alone.
    pub(crate) receivers: Vec<(Key, Variant)>,
}

impl Node {
    /// Session ids come from `seed`, which must not be guessable.
    pub fn new(config: NodeConfig, seed: [u8; 32]) -> Self {
        Self {
            config,
            rng: StdRng::from_seed(seed),
            connections: HashMap::new(),
            next_conn: 0,
            sessions: Slab::new(),
            by_id: HashMap::new(),
            by_user: HashMap::new(),
            fanout: Fanout::default(),
            attaching: BTreeSet::new(),
            timers: Timers::default(),
            waiting: HashMap::new(),
            searches: HashMap::new(),
            next_call: 0,
            changes: Changes::default(),
            draining: None,
            live: 0,
            transmits: VecDeque::new(),
            calls: VecDeque::new(),
            notices: VecDeque::new(),
            receivers: Vec::new(),
        }
    }

    // Inputs from sockets.

    /// A WebSocket was opened. `resume_url` is where its client is told to come back to.
    pub fn handle_connected(&mut self, now: Instant, resume_url: String) -> ConnId {
        let id = ConnId(self.next_conn);
        self.next_conn += 1;
        let connection = Connection::new(now, resume_url, self.config.patience());
        self.timers.set(connection.deadline, Reason::Silence(id));
        self.connections.insert(id, connection);
        let interval = u64::try_from(self.config.heartbeat_interval.as_millis())
            .expect("an interval of minutes at most");
        self.send(id, Frame::control(FromServer::Hello { heartbeat_interval_ms: interval }));
        if self.is_draining() {
            self.send(id, Frame::control(FromServer::Reconnect));
        }
        id
    }

    pub fn handle_frame(&mut self, now: Instant, id: ConnId, frame: FromClient) {
        let patience = self.config.patience();
        let Some(connection) = self.connections.get_mut(&id) else { return };
        // Voice state updates have a limit of their own, which delays.
        if !matches!(frame, FromClient::VoiceStateUpdate(_)) && connection.messages.take(now).is_err() {
            return self.close(now, id, CloseCode::RateLimited);
        }
        match (connection.phase, frame) {
            (phase, FromClient::Heartbeat(seen)) => {
                if phase != ConnPhase::Greeted {
                    connection.heard(now, patience);
                }
                if let (Some(seq), Some(key)) = (seen, self.live_session(id)) {
                    self.sessions[key].replay.acknowledge(seq);
                }
                self.send(id, Frame::control(FromServer::HeartbeatAck));
            }
            (ConnPhase::Greeted, FromClient::Identify(identify)) => self.identify(now, id, *identify),
            (ConnPhase::Greeted, FromClient::Resume(resume)) => self.resume(now, id, resume),
            (_, FromClient::Identify(_) | FromClient::Resume(_)) => {
                self.close(now, id, CloseCode::AlreadyAuthenticated);
            }
            (ConnPhase::Greeted, _) => self.close(now, id, CloseCode::NotAuthenticated),
            (ConnPhase::Identifying | ConnPhase::Resuming, frame) => {
                if !connection.hold(frame) {
                    self.close(now, id, CloseCode::RateLimited);
                }
            }
            (ConnPhase::Live, frame) => self.request(now, id, frame),
            (ConnPhase::Closed, _) => unreachable!("closed connections are forgotten"),
        }
    }

    /// A frame that could not be read.
    pub fn handle_malformed(&mut self, now: Instant, id: ConnId, error: FrameError) {
        self.close(now, id, error.close_code());
    }

    /// A GUILD_CREATE is on the wire.
    pub fn handle_guild_written(&mut self, _now: Instant, id: ConnId) {
        let session = self.connections.get(&id).and_then(|connection| connection.session);
        if let Some(key) = session.and_then(|session| self.by_id.get(&session).copied()) {
            self.guild_arrived(key);
        }
    }

    /// A socket is gone; `close` is the number its client closed with, if it did so properly.
    pub fn handle_disconnected(&mut self, now: Instant, id: ConnId, close: Option<u16>) {
        let Some(connection) = self.connections.remove(&id) else { return };
        self.searches.remove(&id);
        let Some(key) = connection.session.map(|session| self.by_id[&session]) else { return };
        self.live -= 1;
        if CloseCode::ends_session(close) {
            self.end_session(key, SessionEnd::Goodbye);
        } else {
            self.detach(now, key);
        }
    }

    // Inputs from guilds.

    pub fn handle_reply(&mut self, now: Instant, id: CallId, reply: CallResult) {
        let Some(waiting) = self.waiting.remove(&id) else { return };
        self.answered(now, waiting, reply);
    }

    pub fn handle_event(&mut self, now: Instant, event: Event) {
        match event {
            Event::Dispatch { guild, dispatch } => self.dispatched(guild, dispatch),
            Event::Joined { guild, user } => self.joined(guild, user),
            Event::Left { guild, user } => self.left(guild, user),
            Event::TokensRevoked { user, token } => self.tokens_revoked(now, user, token),
            Event::OwnerLost { guild } => self.owner_lost(guild),
        }
    }

    // Inputs from the process.

    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(reason) = self.timers.pop_due(now) {
            match reason {
                Reason::Silence(conn) => self.check_silence(now, conn),
                Reason::Expiry(session) => self.check_expiry(now, session),
                Reason::VoiceUpdate(session) => self.release_voice_updates(now, session),
                Reason::AttachAgain(session, guild) => self.attach_again(session, guild),
                Reason::DetachAgain(session, guild, user) => self.detach_again(session, guild, user),
                Reason::Drain => self.drain_some(now),
            }
        }
    }

    /// Sends clients away, a few at a time, and takes no new ones.
    pub fn handle_drain(&mut self, now: Instant) {
        if !self.is_draining() {
            let mut all: Vec<ConnId> = self.connections.keys().copied().collect();
            all.sort_unstable();
            self.draining = Some(all.into());
            self.timers.set(now, Reason::Drain);
        }
    }

    /// Ends everything: sessions first, so that guilds hears of it.
    pub fn handle_shutdown(&mut self, now: Instant) {
        self.draining.get_or_insert_default();
        self.end_all(now, SessionEnd::Shutdown);
    }

    /// Events were missed, so no session is what its client was promised: all end, and clients that come back begin anew.
    pub fn handle_cut_off(&mut self, now: Instant) {
        self.end_all(now, SessionEnd::CutOff);
    }

    fn end_all(&mut self, now: Instant, end: SessionEnd) {
        let mut all: Vec<ConnId> = self.connections.keys().copied().collect();
        all.sort_unstable();
        for id in all {
            self.close(now, id, CloseCode::ServiceRestart);
        }
        let keys: Vec<Key> = self.sessions.iter().map(|(key, _)| key).collect();
        for key in keys {
            self.end_session(key, end);
        }
    }

    // Outputs.

    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.transmits.pop_front()
    }

    pub fn poll_call(&mut self) -> Option<(CallId, Call)> {
        self.calls.pop_front()
    }

    pub fn poll_notice(&mut self) -> Option<Notice> {
        self.notices.pop_front()
    }

    pub fn poll_timeout(&self) -> Option<(Instant, Reason)> {
        self.timers.next()
    }

    // Getters.

    pub fn is_draining(&self) -> bool {
        self.draining.is_some()
    }

    pub fn connections(&self) -> usize {
        self.connections.len()
    }

    /// Live and detached.
    pub fn sessions(&self) -> usize {
        self.sessions.len()
    }

    pub fn live(&self) -> usize {
        self.live
    }

    // What the other files build upon.

    pub(crate) fn send(&mut self, conn: ConnId, frame: Frame) {
        self.transmits.push_back(Transmit { conn, output: Output::Frame(frame) });
    }

    pub(crate) fn call(&mut self, call: Call, waiting: Waiting) {
        let id = CallId(self.next_call);
        self.next_call += 1;
        self.waiting.insert(id, waiting);
        self.calls.push_back((id, call));
    }

    pub(crate) fn notice(&mut self, notice: Notice) {
        self.notices.push_back(notice);
    }

    /// Closes a connection from our side. Its session, if it has one, waits for a resume.
    pub(crate) fn close(&mut self, now: Instant, id: ConnId, code: CloseCode) {
        let Some(mut connection) = self.connections.remove(&id) else { return };
        self.searches.remove(&id);
        connection.step(Step::Close);
        self.transmits.push_back(Transmit { conn: id, output: Output::Close(code) });
        if let Some(session) = connection.session {
            self.live -= 1;
            self.detach(now, self.by_id[&session]);
        }
    }

    pub(crate) fn live_session(&self, id: ConnId) -> Option<Key> {
        let session = self.connections.get(&id)?.session?;
        self.by_id.get(&session).copied()
    }

    fn detach(&mut self, now: Instant, key: Key) {
        let session = &mut self.sessions[key];
        let until = now + self.config.session_keep;
        session.phase = Phase::Detached { until, sent: session.replay.last() };
        session.on_the_way = 0;
        let id = session.id;
        self.timers.set(until, Reason::Expiry(id));
        self.notice(Notice::SessionDetached(id));
    }

    /// Forgets a session and tells guilds. A connection it still has is the caller's to close.
    pub(crate) fn end_session(&mut self, key: Key, end: SessionEnd) {
        let session = self.sessions.remove(key);
        self.by_id.remove(&session.id);
        let siblings = self.by_user.get_mut(&session.user).expect("every session is listed under its user");
        siblings.retain(|sibling| *sibling != key);
        if siblings.is_empty() {
            self.by_user.remove(&session.user);
        }
        for (&guild, &follow) in &session.guilds {
            match follow {
                Follow::Following => self.fanout.unfollow(guild, key),
                Follow::Attaching => drop(self.attaching.remove(&(guild, key))),
                Follow::Waiting | Follow::Unavailable => {}
            }
            // Another gateway may go on with it, or guilds will miss this one.
            let goes_on = end == SessionEnd::Shutdown && self.config.is_one_of_many;
            // An owner that could not be reached knows it still, and may be the owner yet.
            let may_be_known = follow.is_attached() || session.stale.contains(&guild);
            if may_be_known && !goes_on {
                self.say_detached(session.id, guild, session.user);
            }
        }
        self.notice(Notice::SessionEnded(session.id, end));
    }

    /// Nobody else would say it: it is said until it is heard.
    fn say_detached(&mut self, session: SessionId, guild: GuildId, user: UserId) {
        let gateway = self.config.gateway;
        let call = Call::Detach { guild, user, session, gateway };
        self.call(call, Waiting::Detach { session, guild, user });
    }

    fn detach_again(&mut self, session: SessionId, guild: GuildId, user: UserId) {
        // It may have come back by way of another gateway.
        if !self.by_id.contains_key(&session) {
            self.say_detached(session, guild, user);
        }
    }

    /// Gives a session its next dispatch. False when it can now never be resumed, and should end.
    #[must_use]
    pub(crate) fn deliver(&mut self, key: Key, body: Arc<Body>) -> bool {
        let session = &mut self.sessions[key];
        let (conn, kept) = session.dispatch(body);
        let keep = session.is_resumable();
        if let Some(conn) = conn {
            self.send(conn, kept.into());
        }
        keep
    }

    /// A GUILD_CREATE is on the wire or will never be: the next guild may follow.
    pub(crate) fn guild_arrived(&mut self, key: Key) {
        let session = &mut self.sessions[key];
        session.on_the_way = session.on_the_way.saturating_sub(1);
        self.attach_more(key);
    }

    /// Attaches to as many guilds as may be on the way at once.
    pub(crate) fn attach_more(&mut self, key: Key) {
        while let Some(guild) = self.sessions[key].next_attach() {
            self.attach(key, guild);
        }
    }

    pub(crate) fn attach(&mut self, key: Key, guild: GuildId) {
        let session = &self.sessions[key];
        let (user, id, terms, status) = (session.user, session.id, session.terms(), session.status);
        let seat = session.seats.get(&guild).cloned().map(Box::new);
        let knows_seat = !session.unsure.contains(&guild);
        let waiting = Waiting::Attach { session: id, guild };
        self.attaching.insert((guild, key));
        let (gateway, is_live) = (self.config.gateway, session.conn().is_some());
        let attach = Call::Attach { guild, user, session: id, gateway, is_live, terms, seat, knows_seat };
        self.call(attach, waiting);
        if status != model::PresenceStatus::Online {
            self.call(Call::UpdatePresence { guild, user, status }, Waiting::Told);
        }
    }

    fn check_silence(&mut self, now: Instant, id: ConnId) {
        let Some(connection) = self.connections.get(&id) else { return };
        if connection.deadline > now {
            self.timers.set(connection.deadline, Reason::Silence(id));
        } else {
            self.close(now, id, CloseCode::SessionTimedOut);
        }
    }

    fn check_expiry(&mut self, now: Instant, id: SessionId) {
        let Some(&key) = self.by_id.get(&id) else { return };
        if matches!(self.sessions[key].phase, Phase::Detached { until, .. } if until <= now) {
            self.end_session(key, SessionEnd::Expired);
        }
    }

    fn drain_some(&mut self, now: Instant) {
        let Some(queue) = &mut self.draining else { return };
        let some: Vec<ConnId> = queue.drain(..queue.len().min(DRAIN_AT_ONCE)).collect();
        if !queue.is_empty() {
            self.timers.set(now + DRAIN_EVERY, Reason::Drain);
        }
        for id in some {
            if self.connections.contains_key(&id) {
                self.send(id, Frame::control(FromServer::Reconnect));
            }
        }
    }

    #[cfg(test)]
    pub(crate) fn check_invariants(&self) {
        assert_eq!(self.by_id.len(), self.sessions.len());
        assert_eq!(self.by_user.values().map(Vec::len).sum::<usize>(), self.sessions.len());
        let attaching = |(key, session): (Key, &Session)| {
            let guilds = session.guilds.iter().filter(|(_, follow)| **follow == Follow::Attaching);
            guilds.map(|(guild, _)| (*guild, key)).collect::<Vec<_>>()
        };
        assert_eq!(self.sessions.iter().flat_map(attaching).collect::<BTreeSet<_>>(), self.attaching);
        for (key, session) in &self.sessions {
            assert_eq!(self.by_id[&session.id], key);
            assert!(self.by_user[&session.user].contains(&key));
            if let Some(conn) = session.conn() {
                assert_eq!(self.connections[&conn].session, Some(session.id));
            }
        }
        assert_eq!(self.live, self.connections.values().filter(|c| c.phase == ConnPhase::Live).count());
        for (id, connection) in &self.connections {
            assert_eq!(connection.session.is_some(), connection.phase == ConnPhase::Live, "{id:?}");
            if let Some(session) = connection.session {
                assert_eq!(self.sessions[self.by_id[&session]].conn(), Some(*id));
            }
        }
    }
}
