//! A body for fuzzers: arbitrary frames from two clients, one of them live. It may not panic, whatever the
//! bytes; the committed corpus under `corpus/clients/` is replayed by an ordinary test.

use std::time::{Duration, Instant};

use client_wire::error::ApiError;
use client_wire::gateway::{CLIENT_FRAME_BYTES_MAX, FromClient, FromServer};
use cluster_wire::guilds::{Account, Audience, Call, Dispatch, Event, Reply, TokenMark};
use model::{GuildId, UserId};
use serde_json::value::RawValue;

use crate::{ConnId, Node, NodeConfig, Output, Transmit};

/// Each line of `data` is a frame: of a stranger if it begins with a space, else of a client that is live. A
/// `$` in it stands for the live client's session id. Whoever is closed comes again as a stranger.
pub fn fuzz_clients(data: &[u8]) {
    let mut world = World::new();
    let mut live = world.connect();
    world.frame(live, br#"{"op":2,"d":{"token":"t","intents":1}}"#);
    let mut stranger = world.connect();
    for line in data.split(|byte| *byte == b'\n') {
        world.now += Duration::from_millis(200);
        match line.split_first() {
            Some((b' ', frame)) => world.frame(stranger, frame),
            _ => world.frame(live, line),
        }
        world.node.handle_timeout(world.now);
        world.pump();
        for conn in [&mut live, &mut stranger] {
            if world.closed.contains(conn) {
                *conn = world.connect();
            }
        }
    }
    world.now += Duration::from_secs(3_600);
    world.node.handle_timeout(world.now);
    world.node.handle_timeout(world.now + Duration::from_secs(3_600));
    world.pump();
    assert_eq!((world.node.connections(), world.node.sessions()), (0, 0), "silence ends everything");
}

struct World {
    node: Node,
    now: Instant,
    closed: Vec<ConnId>,
    session: String,
}

impl World {
    fn new() -> Self {
        let node = Node::new(NodeConfig::default(), [1; 32]);
        Self { node, now: Instant::now(), closed: Vec::new(), session: String::new() }
    }

    fn connect(&mut self) -> ConnId {
        let conn = self.node.handle_connected(self.now, "ws://here".to_owned());
        self.pump();
        conn
    }

    fn frame(&mut self, conn: ConnId, bytes: &[u8]) {
        let bytes = String::from_utf8_lossy(bytes).replace('$', &self.session);
        if bytes.len() > CLIENT_FRAME_BYTES_MAX {
            return;
        }
        match FromClient::parse(bytes.as_bytes()) {
            Ok(frame) => {
                // What a client of ours would write of it must mean the same.
                assert_eq!(FromClient::parse(frame.encode().as_bytes()).as_ref(), Ok(&frame));
                self.node.handle_frame(self.now, conn, frame);
            }
            Err(error) => self.node.handle_malformed(self.now, conn, error),
        }
        self.pump();
    }

    fn pump(&mut self) {
        loop {
            if let Some(Transmit { conn, output }) = self.node.poll_transmit() {
                self.check(conn, &output);
            } else if let Some((id, call)) = self.node.poll_call() {
                let reply = match &call {
                    Call::Authenticate { token } if token == "t" => Ok(Reply::Account(account())),
                    Call::Authenticate { .. } => Err(ApiError::unauthorized()),
                    _ => Ok(Reply::Done),
                };
                self.node.handle_reply(self.now, id, reply);
                if let Call::Attach { guild, session, .. } = call {
                    let d = json("{}");
                    let audience = Audience::Session(session);
                    let dispatch = Dispatch {
                        t: "GUILD_CREATE",
                        d,
                        without_content: None,
                        intents: 0,
                        audience,
                        always: None,
                        note: None,
                    };
                    self.node.handle_event(self.now, Event::Dispatch { guild, dispatch });
                }
            } else {
                break;
            }
        }
        while self.node.poll_notice().is_some() {}
    }

    fn check(&mut self, conn: ConnId, output: &Output) {
        match output {
            Output::Close(_) => self.closed.push(conn),
            Output::Frame(frame) => {
                let text = frame.encode();
                let read = FromServer::parse(text.as_bytes()).expect("what is sent can be read");
                if let FromServer::Dispatch { t, d, .. } = read
                    && t == "READY"
                {
                    let ready: client_wire::gateway::Ready =
                        serde_json::from_str(d.get()).expect("READY can be read");
                    self.session = ready.session_id;
                }
            }
        }
    }
}

fn account() -> Account {
    Account {
        user: UserId(1),
        bot: true,
        operator: false,
        token: TokenMark([1; 8]),
        json: json(r#"{"id":"1"}"#),
        guilds: vec![GuildId(10)],
    }
}

fn json(text: &str) -> cluster_wire::guilds::Json {
    RawValue::from_string(text.to_owned()).expect("the text is JSON").into()
}
