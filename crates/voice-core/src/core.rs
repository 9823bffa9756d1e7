//! The machine's state, and the few operations that every input is made of.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use client_wire::voice::{CloseCode, HEARTBEAT_INTERVAL_MS, Hello, ServerFrame, Version, frame_text};
use cluster_wire::voice::{ChannelMemo, Report};
use model::{ChannelId, GuildId, SessionId, UserId};
use sfu_wire::{FromSfu, RemoveLeg, Snapshot, ToSfu};

use crate::blame::Blames;
use crate::conn::Conn;
use crate::limits::{HEARTBEAT_TIMEOUT, IDENTIFY_TIMEOUT, MEDIA_GRACE};
use crate::outbox::Payload;
use crate::rooms::Rooms;
use crate::session::{Link, Presence, Session, Stage};
use crate::ssrc::Ssrcs;
use crate::timers::{Reason, Timers};
use crate::{Config, ConnId, Event, Now, Output, SessionKey, Stats};

/// Fills a buffer with random bytes; keys are made of them.
pub type Random = Box<dyn FnMut(&mut [u8]) + Send>;

pub struct VoiceCore {
    pub(crate) config: Config,
    pub(crate) random: Random,
    pub(crate) conns: BTreeMap<ConnId, Conn>,
    pub(crate) guilds: HashMap<GuildId, Guild>,
    pub(crate) rooms: Rooms,
    pub(crate) ssrcs: Ssrcs,
    /// The legs of each shard: what a snapshot is made of.
    pub(crate) legs: Vec<BTreeMap<u64, SessionKey>>,
    /// Whose transport each of our user name fragments names.
    pub(crate) ufrags: BTreeMap<String, SessionKey>,
    pub(crate) last_leg: u64,
    pub(crate) timers: Timers,
    pub(crate) blames: Blames,
    pub(crate) outputs: VecDeque<Output>,
}

#[derive(Debug, Default)]
pub(crate) struct Guild {
    /// The highest fencing number seen.
    pub fencing: u64,
    /// That of the last order, which a claim is not.
    pub ordered: u64,
    pub sessions: BTreeMap<SessionId, Session>,
    /// The one session of each user that guilds has placed.
    pub placed: BTreeMap<UserId, SessionId>,
    /// What is kept of its channels for its next owner.
    pub channels: BTreeMap<ChannelId, ChannelMemo>,
}

impl fmt::Debug for VoiceCore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VoiceCore")
            .field("server", &self.config.server)
            .field("stats", &self.stats())
            .finish()
    }
}

impl VoiceCore {
    pub fn new(config: Config, random: Random) -> Self {
        let shards = config.media_ports.len();
        assert!(shards > 0, "a voice server has at least one shard");
        Self {
            config,
            random,
            conns: BTreeMap::new(),
            guilds: HashMap::new(),
            rooms: Rooms::new(shards),
            ssrcs: Ssrcs::default(),
            legs: vec![BTreeMap::new(); shards],
            ufrags: BTreeMap::new(),
            last_leg: 0,
            timers: Timers::default(),
            blames: Blames::default(),
            outputs: VecDeque::new(),
        }
    }

    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    pub fn poll_timeout(&self) -> Option<(Instant, Reason)> {
        self.timers.next()
    }

    /// Every leg of a shard, whole: what a new relay process must be told first.
    pub fn snapshot(&self, shard: u32) -> Snapshot {
        let keys = self.legs[shard as usize].values();
        let legs =
            keys.map(|key| self.session(*key).and_then(Session::leg).expect("a listed leg has a presence"));
        Snapshot { legs: legs.collect() }
    }

    pub fn stats(&self) -> Stats {
        let guilds = self.guilds.values().filter(|guild| !guild.sessions.is_empty());
        let (guilds, participants) =
            guilds.fold((0, 0), |(guilds, sessions), guild| (guilds + 1, sessions + guild.sessions.len()));
        let sessions = self.legs.iter().map(BTreeMap::len).sum();
        Stats { connections: self.conns.len(), sessions, participants, guilds, rooms: self.rooms.len() }
    }

    /// A WebSocket was opened. `version` is `None` when its query names none that we speak.
    pub fn handle_open(&mut self, now: Now, conn: ConnId, version: Option<Version>) {
        let Some(version) = version else {
            self.outputs.push_back(Output::Close { conn, code: CloseCode::BadRequest });
            return;
        };
        self.conns.insert(conn, Conn::new(now.instant, version));
        self.timers.arm(now.instant + IDENTIFY_TIMEOUT, Reason::Identify(conn));
        self.timers.arm(now.instant + HEARTBEAT_TIMEOUT, Reason::Heartbeat(conn));
        let hello = Hello { v: version.number(), heartbeat_interval: HEARTBEAT_INTERVAL_MS };
        self.send(conn, &ServerFrame::Hello(hello));
    }

    /// A WebSocket is gone. A client that closed it with 1000 has left; any other may come back.
    pub fn handle_close(&mut self, now: Now, conn: ConnId, code: Option<u16>) {
        let Some(key) = self.conns.remove(&conn).and_then(|conn| conn.session) else { return };
        if !self.is_attached(key, conn) {
            // Another connection speaks for the session by now.
            return;
        }
        if code == Some(CloseCode::Normal.number()) {
            self.end_presence(key, None);
        } else {
            self.detach(now, key);
        }
    }

    pub fn handle_sfu(&mut self, now: Now, shard: u32, message: &FromSfu) {
        let id = match message {
            FromSfu::LegConnected(connected) => connected.id,
            FromSfu::LegSpeaking(speaking) if speaking.speaking => speaking.id,
            FromSfu::KeySpent(spent) => spent.id,
            // What belongs to a DTLS engine goes there without us.
            FromSfu::LegSpeaking(_) | FromSfu::Report(_) | FromSfu::Dtls(_) => return,
            // Of its process, which is another's business.
            FromSfu::Hello(_) | FromSfu::Started(_) | FromSfu::Retired(_) => return,
        };
        // A leg that is gone by now, or that never was: nothing to do either way.
        let Some(key) = self.legs.get(shard as usize).and_then(|legs| legs.get(&id)).copied() else { return };
        match message {
            FromSfu::LegConnected(_) => self.connected(now, key),
            FromSfu::KeySpent(_) => self.replace_key(key),
            _ => self.audio_heard(key),
        }
    }

    /// No library takes another key in the middle of a session, but every one joins anew after this close, and gets one. The session ends
    /// with it: one that resumed would go on under the old key.
    fn replace_key(&mut self, key: SessionKey) {
        self.event(Event::KeySpent);
        self.end_presence(key, Some(CloseCode::SessionTimeout));
    }

    fn connected(&mut self, now: Now, key: SessionKey) {
        let Some(presence) = self.presence_mut(key) else { return };
        if presence.stage == Stage::Described {
            presence.stage = Stage::Connected;
            let after = now.instant.saturating_duration_since(presence.identified_at);
            self.outputs.push_back(Output::Event(Event::Connected { after }));
        }
    }

    pub fn handle_timeout(&mut self, now: Now) {
        while let Some(reason) = self.timers.pop_due(now.instant) {
            match reason {
                Reason::Identify(conn) => {
                    if self.conns.get(&conn).is_some_and(|conn| conn.session.is_none()) {
                        self.close(conn, CloseCode::SessionTimeout);
                    }
                }
                Reason::Heartbeat(conn) => self.check_heartbeat(now, conn),
                Reason::Resume { key, leg } => {
                    let away = |p: &Presence| {
                        p.leg == leg && matches!(p.link, Link::Away { until } if until <= now.instant)
                    };
                    if self.presence(key).is_some_and(away) {
                        self.end_presence(key, None);
                    }
                }
                Reason::Confirm { key, leg } => {
                    let unconfirmed =
                        |s: &Session| !s.is_confirmed() && s.presence.as_ref().is_some_and(|p| p.leg == leg);
                    if self.session(key).is_some_and(unconfirmed) {
                        self.outputs.push_back(Output::Event(Event::Unconfirmed));
                        self.end_presence(key, Some(CloseCode::SessionInvalid));
                    }
                }
                Reason::Release { key } => {
                    let due = self.session(key).and_then(|session| session.released);
                    if due.is_some_and(|due| due <= now.instant) {
                        self.remove(key);
                    }
                }
            }
        }
    }

    fn check_heartbeat(&mut self, now: Now, id: ConnId) {
        let Some(conn) = self.conns.get(&id) else { return };
        let due = conn.last_heartbeat + HEARTBEAT_TIMEOUT;
        if due > now.instant {
            self.timers.arm(due, Reason::Heartbeat(id));
            return;
        }
        let session = conn.session.filter(|key| self.is_attached(*key, id));
        self.close(id, CloseCode::SessionTimeout);
        if let Some(key) = session {
            self.detach(now, key);
            // Some libraries answer this close by joining anew, which guilds honours only if it knows that nobody is here.
            self.report_gone(key);
        }
    }

    /// A planned restart: everyone is asked to come back.
    pub fn handle_shutdown(&mut self) {
        let conns: Vec<ConnId> = self.conns.keys().copied().collect();
        for conn in conns {
            self.close(conn, CloseCode::GoingAway);
        }
    }

    // What the inputs are made of.

    pub(crate) fn session(&self, key: SessionKey) -> Option<&Session> {
        self.guilds.get(&key.guild)?.sessions.get(&key.session)
    }

    pub(crate) fn session_mut(&mut self, key: SessionKey) -> Option<&mut Session> {
        self.guilds.get_mut(&key.guild)?.sessions.get_mut(&key.session)
    }

    pub(crate) fn presence(&self, key: SessionKey) -> Option<&Presence> {
        self.session(key)?.presence.as_ref()
    }

    pub(crate) fn presence_mut(&mut self, key: SessionKey) -> Option<&mut Presence> {
        self.session_mut(key)?.presence.as_mut()
    }

    pub(crate) fn event(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }

    pub(crate) fn authenticated(&mut self, conn: ConnId) {
        self.outputs.push_back(Output::Authenticated { conn });
    }

    /// An unnumbered message on a connection.
    pub(crate) fn send(&mut self, conn: ConnId, frame: &ServerFrame) {
        let Some(state) = self.conns.get(&conn) else { return };
        let text = frame.text(state.version, None);
        self.outputs.push_back(Output::Send { conn, text });
    }

    /// A numbered message to a session; kept for its resume, and sent at once if its client is connected.
    pub(crate) fn tell(&mut self, key: SessionKey, payload: Payload) {
        let Some(presence) = self.presence_mut(key) else { return };
        let seq = presence.outbox.push(payload.clone());
        if let Link::Attached(conn) = presence.link {
            self.send_numbered(conn, seq, &payload);
        }
    }

    pub(crate) fn send_numbered(&mut self, conn: ConnId, seq: u16, payload: &Payload) {
        let Some(state) = self.conns.get(&conn) else { return };
        let text = frame_text(payload.op, &payload.data, state.version, Some(seq));
        self.outputs.push_back(Output::Send { conn, text });
    }

    /// A numbered message to everyone in the session's room but itself, encoded once.
    pub(crate) fn tell_others(&mut self, key: SessionKey, frame: &ServerFrame) {
        let Some(channel) = self.presence(key).map(|p| p.channel) else { return };
        let payload = payload(frame);
        for other in self.rooms.others(channel, key) {
            self.tell(other, payload.clone());
        }
    }

    pub(crate) fn close(&mut self, conn: ConnId, code: CloseCode) {
        if self.conns.remove(&conn).is_some() {
            self.outputs.push_back(Output::Close { conn, code });
        }
    }

    /// Is this the connection that speaks for the session?
    fn is_attached(&self, key: SessionKey, conn: ConnId) -> bool {
        let presence = self.session(key).and_then(|session| session.presence.as_ref());
        presence.is_some_and(|presence| matches!(presence.link, Link::Attached(attached) if attached == conn))
    }

    /// The connection is gone but the client may resume: media goes on for a while.
    fn detach(&mut self, now: Now, key: SessionKey) {
        let until = now.instant + MEDIA_GRACE;
        let Some(presence) = self.presence_mut(key) else { return };
        presence.link = Link::Away { until };
        let leg = presence.leg;
        self.timers.arm(until, Reason::Resume { key, leg });
    }

    /// Tells the relay what is true of a session's leg now.
    pub(crate) fn put_leg(&mut self, key: SessionKey) {
        let Some(session) = self.session(key) else { return };
        let (Some(leg), Some(presence)) = (session.leg(), &session.presence) else { return };
        let shard = presence.shard;
        self.outputs.push_back(Output::ToSfu { shard, message: ToSfu::PutLeg(leg) });
    }

    /// The client has left, or is made to: its connection, leg and place in the room go. What guilds says of it stays.
    pub(crate) fn end_presence(&mut self, key: SessionKey, code: Option<CloseCode>) {
        self.withdraw(key, code);
        self.report_gone(key);
        self.forget_if_idle(key);
    }

    /// As [`Self::end_presence`], but guilds is not told, because the client is coming back at once.
    pub(crate) fn withdraw(&mut self, key: SessionKey, code: Option<CloseCode>) {
        let Some(session) = self.session(key) else { return };
        let (visible, user) = (session.is_visible(), session.user);
        if visible {
            self.tell_others(
                key,
                &ServerFrame::ClientDisconnect(client_wire::voice::ClientDisconnect { user_id: user }),
            );
        }
        let Some(presence) = self.session_mut(key).and_then(|s| s.presence.take()) else { return };
        self.rooms.remove_leg(presence.channel, key);
        self.legs[presence.shard as usize].remove(&presence.leg);
        if let Some(webrtc) = &presence.webrtc {
            self.ufrags.remove(&webrtc.ufrag);
            self.outputs.push_back(Output::EndDtls { leg: presence.leg });
        }
        let message = ToSfu::RemoveLeg(RemoveLeg { id: presence.leg });
        self.outputs.push_back(Output::ToSfu { shard: presence.shard, message });
        if let (Link::Attached(conn), Some(code)) = (presence.link, code) {
            self.close(conn, code);
        }
    }

    pub(crate) fn report_live(&mut self, key: SessionKey) {
        let server = self.config.server.clone();
        let Some(session) = self.session_mut(key).filter(|s| !s.reported_live) else { return };
        session.reported_live = true;
        let user = session.user;
        let report = Report::Live { server, guild: key.guild, user, session: key.session };
        self.outputs.push_back(Output::Report(report));
    }

    pub(crate) fn report_again(&mut self, key: SessionKey) {
        if let Some(session) = self.session_mut(key) {
            let was_reported = std::mem::take(&mut session.reported_live);
            if was_reported {
                self.report_live(key);
            }
        }
    }

    fn report_gone(&mut self, key: SessionKey) {
        let server = self.config.server.clone();
        let Some(session) = self.session_mut(key).filter(|s| s.reported_live) else { return };
        session.reported_live = false;
        let user = session.user;
        let report = Report::Gone { server, guild: key.guild, user, session: key.session };
        self.outputs.push_back(Output::Report(report));
    }

    /// A session that neither guilds nor a client speaks for is no more.
    pub(crate) fn forget_if_idle(&mut self, key: SessionKey) {
        let idle = |s: &Session| s.placed.is_none() && s.presence.is_none();
        if !self.session(key).is_some_and(idle) {
            return;
        }
        let session = self.guilds.get_mut(&key.guild).and_then(|guild| guild.sessions.remove(&key.session));
        if let Some(ssrc) = session.and_then(|s| s.ssrc) {
            self.ssrcs.release(ssrc);
        }
    }
}

/// Encodes a numbered message. Their payloads are the same in every version.
pub(crate) fn payload(frame: &ServerFrame) -> Payload {
    Payload { op: frame.op(), data: Arc::from(frame.data(Version::V8)) }
}
