//! A node, a guilds that answers at once, and clients whose frames are written down in short.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::{Duration, Instant};

use client_wire::error::ApiError;
use client_wire::gateway::{FromClient, Identify, Resume, VoiceStateUpdate};
use cluster_wire::guilds::{
    Account, Audience, Call, CallResult, Dispatch, Event, GatewayId, Json, Reply, Terms, TokenMark,
};
use model::{ChannelId, GuildId, SessionId, UserId};
use serde_json::value::RawValue;

use crate::{ConnId, Frame, Node, NodeConfig, Notice, Output, Transmit};

pub const VOICE: u64 = 1 << 7;

pub struct World {
    pub node: Node,
    pub now: Instant,
    /// By token: user id, whether a bot, guilds.
    pub accounts: HashMap<&'static str, (u64, bool, Vec<u64>)>,
    /// Guilds that cannot answer an attach, with the status they give.
    pub broken: BTreeMap<u64, u16>,
    /// Whether GUILD_CREATEs are reported as written.
    pub writes_guilds: bool,
    /// Whether Authenticate is answered, or kept for [`World::answer_authentication`].
    pub authenticates: bool,
    /// Sessions of other gateways that guilds knows, with their users.
    pub elsewhere: HashMap<SessionId, (UserId, Terms)>,
    /// Whether voice state updates and the ends of sessions find an owner of their guild.
    pub has_owner: bool,
    kept: VecDeque<(crate::CallId, Call)>,
    /// What each connection was sent since it was last looked at.
    pub sent: BTreeMap<ConnId, Vec<String>>,
    /// Full texts, for those who need payloads.
    pub texts: BTreeMap<ConnId, Vec<String>>,
    /// Calls since they were last looked at.
    pub calls: Vec<Call>,
    pub notices: Vec<Notice>,
}

pub fn json(text: &str) -> Json {
    RawValue::from_string(text.to_owned()).unwrap().into()
}

/// The mark of a token.
pub fn mark(token: &str) -> TokenMark {
    let mut mark = [0; 8];
    mark[..token.len().min(8)].copy_from_slice(&token.as_bytes()[..token.len().min(8)]);
    TokenMark(mark)
}

pub fn dispatch(t: &'static str, text: &str, audience: Audience) -> Dispatch {
    Dispatch { t, d: json(text), without_content: None, intents: 0, audience, always: None, note: None }
}

pub fn voice_update(guild: u64, channel: Option<u64>) -> FromClient {
    FromClient::VoiceStateUpdate(VoiceStateUpdate {
        guild_id: Some(GuildId(guild)),
        channel_id: channel.map(ChannelId),
        self_mute: false,
        self_deaf: false,
        self_video: false,
    })
}

impl World {
    pub fn new() -> Self {
        Self::with(NodeConfig::default())
    }

    /// A gateway beside others.
    pub fn one_of_many() -> Self {
        Self::with(NodeConfig { is_one_of_many: true, gateway: GatewayId(5), ..NodeConfig::default() })
    }

    fn with(config: NodeConfig) -> Self {
        Self {
            node: Node::new(config, [7; 32]),
            now: Instant::now(),
            accounts: HashMap::from([
                ("alice", (1, false, vec![10])),
                ("bot", (2, true, vec![10, 11 << 22])),
                ("operator", (0, false, vec![])),
            ]),
            broken: BTreeMap::new(),
            writes_guilds: true,
            authenticates: true,
            elsewhere: HashMap::new(),
            has_owner: true,
            kept: VecDeque::new(),
            sent: BTreeMap::new(),
            texts: BTreeMap::new(),
            calls: Vec::new(),
            notices: Vec::new(),
        }
    }

    pub fn connect(&mut self) -> ConnId {
        let conn = self.node.handle_connected(self.now, "ws://here".to_owned());
        self.pump();
        conn
    }

    pub fn frame(&mut self, conn: ConnId, frame: FromClient) {
        self.node.handle_frame(self.now, conn, frame);
        self.pump();
    }

    pub fn frame_text(&mut self, conn: ConnId, text: &str) {
        self.frame(conn, FromClient::parse(text.as_bytes()).unwrap());
    }

    pub fn identify(&mut self, conn: ConnId, token: &str, intents: Option<u64>) {
        let text = format!(
            r#"{{"op":2,"d":{{"token":"{token}","intents":{intents}}}}}"#,
            intents = match intents {
                Some(bits) => bits.to_string(),
                None => "null".to_owned(),
            }
        );
        self.frame_text(conn, &text);
    }

    /// A client that is live and has been told so.
    pub fn live(&mut self, token: &str, intents: u64) -> (ConnId, SessionId) {
        let conn = self.connect();
        self.identify(conn, token, Some(intents));
        let session = self.node.connections[&conn].session.expect("the client is live");
        self.take(conn);
        (conn, session)
    }

    pub fn resume(&mut self, token: &str, session: &str, seq: u64) -> ConnId {
        let conn = self.connect();
        self.take(conn);
        self.frame(conn, FromClient::Resume(Resume { token: token.into(), session_id: session.into(), seq }));
        conn
    }

    pub fn event(&mut self, event: Event) {
        self.node.handle_event(self.now, event);
        self.pump();
    }

    pub fn dispatch(&mut self, guild: u64, dispatch: Dispatch) {
        self.event(Event::Dispatch { guild: GuildId(guild), dispatch });
    }

    pub fn disconnect(&mut self, conn: ConnId, close: Option<u16>) {
        self.node.handle_disconnected(self.now, conn, close);
        self.pump();
    }

    /// Lets time pass, waking the node whenever it wants to be.
    pub fn wait(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some((at, _)) = self.node.poll_timeout().filter(|(at, _)| *at <= end) {
            self.now = self.now.max(at);
            self.node.handle_timeout(self.now);
            self.pump();
        }
        self.now = end;
    }

    /// What a connection was sent since the last look.
    pub fn take(&mut self, conn: ConnId) -> Vec<String> {
        self.texts.remove(&conn);
        self.sent.remove(&conn).unwrap_or_default()
    }

    pub fn take_calls(&mut self) -> Vec<Call> {
        std::mem::take(&mut self.calls)
    }

    #[track_caller]
    pub fn expect(&mut self, conn: ConnId, expect: &[&str]) {
        assert_eq!(self.take(conn), expect);
    }

    pub fn answer_authentication(&mut self) {
        let (id, call) = self.kept.pop_front().expect("somebody is being authenticated");
        let reply = self.reply(&call);
        self.node.handle_reply(self.now, id, reply);
        self.pump();
    }

    pub fn pump(&mut self) {
        loop {
            if let Some(Transmit { conn, output }) = self.node.poll_transmit() {
                self.transmit(conn, output);
            } else if let Some((id, call)) = self.node.poll_call() {
                self.call(id, call);
            } else {
                break;
            }
        }
        while let Some(notice) = self.node.poll_notice() {
            self.notices.push(notice);
        }
        self.node.check_invariants();
    }

    fn transmit(&mut self, conn: ConnId, output: Output) {
        let short = match &output {
            Output::Close(code) => format!("close {}", code.number()),
            Output::Frame(Frame::Dispatch { seq, body }) => format!("{seq} {}", body.t),
            Output::Frame(Frame::Control(frame)) => {
                let text = frame.encode();
                text.strip_suffix(r#","s":null,"t":null}"#).unwrap_or(&text).replace(['{', '"'], "")
            }
        };
        self.sent.entry(conn).or_default().push(short);
        if let Output::Frame(frame) = output {
            self.texts.entry(conn).or_default().push(frame.encode());
            if frame.is_guild() && self.writes_guilds {
                self.node.handle_guild_written(self.now, conn);
            }
        }
    }

    fn call(&mut self, id: crate::CallId, call: Call) {
        self.calls.push(call.clone());
        if matches!(call, Call::Authenticate { .. }) && !self.authenticates {
            return self.kept.push_back((id, call));
        }
        let reply = self.reply(&call);
        let is_attached = reply.is_ok();
        self.node.handle_reply(self.now, id, reply);
        if let Call::Attach { guild, session, .. } = call
            && is_attached
        {
            let text = format!(r#"{{"id":"{guild}"}}"#);
            let dispatch = dispatch("GUILD_CREATE", &text, Audience::Session(session));
            self.node.handle_event(self.now, Event::Dispatch { guild, dispatch });
        }
    }

    fn reply(&self, call: &Call) -> CallResult {
        match call {
            Call::Authenticate { token } => match self.accounts.get(token.as_str()) {
                Some((user, bot, guilds)) => Ok(Reply::Account(Account {
                    user: UserId(*user),
                    bot: *bot,
                    operator: *user == 0,
                    token: mark(token),
                    json: json(&format!(r#"{{"id":"{user}"}}"#)),
                    guilds: guilds.iter().copied().map(GuildId).collect(),
                })),
                None if token == "outage" => Err(ApiError::internal()),
                None => Err(ApiError::unauthorized()),
            },
            Call::Attach { guild, .. } => match self.broken.get(&guild.0) {
                Some(status) => Err(ApiError::new(*status, 0, "broken")),
                None => Ok(Reply::Done),
            },
            Call::FindSession { user, session, .. } => match self.elsewhere.get(session) {
                Some((owner, terms)) if owner == user => Ok(Reply::Terms(*terms)),
                _ => Err(ApiError::new(404, 0, "unknown")),
            },
            Call::UpdateVoice { .. } | Call::Detach { .. } if !self.has_owner => {
                Err(ApiError::new(503, 0, "no owner"))
            }
            _ => Ok(Reply::Done),
        }
    }
}

pub fn identify_frame(token: &str, shard: Option<(u64, u64)>) -> FromClient {
    let text = match shard {
        Some((id, count)) => {
            format!(r#"{{"op":2,"d":{{"token":"{token}","intents":1,"shard":[{id},{count}]}}}}"#)
        }
        None => format!(r#"{{"op":2,"d":{{"token":"{token}","intents":1}}}}"#),
    };
    let frame = FromClient::parse(text.as_bytes()).unwrap();
    assert!(matches!(&frame, FromClient::Identify(identify) if matches!(**identify, Identify { .. })));
    frame
}
