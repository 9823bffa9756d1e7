//! A gateway: its node, what carries its frames, calls and events, and its end.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use client_wire::gateway::FromClient;
use cluster_wire::guilds::{CallResult, Event as Told, GatewayId};
use gateway_core::{CallId, ConnId, Node, NodeConfig, Notice, Output, Transmit};

use crate::event::{Event, Sleeper};
use crate::limits::ROUTER_TURN;
use crate::net::{Down, ServerEnd, SocketId, Up, in_order};
use crate::random::Random;
use crate::router::{Process, Router};
use crate::time::{At, ms};
use crate::world::World;

/// Shorter than real ones, so that whoever vanishes is missed within a run.
pub const HEARTBEAT: Duration = Duration::from_secs(4);
pub const SESSION_KEEP: Duration = Duration::from_secs(12);

pub struct Gateway {
    pub is_alive: bool,
    /// Counts how often it was started.
    pub life: u64,
    /// Of this life.
    pub id: GatewayId,
    pub node: Node,
    pub router: Router,
    conns: BTreeMap<ConnId, SocketId>,
    sockets: BTreeMap<SocketId, ConnId>,
    /// The queue of events that is read; none while its router is asked for one.
    feed: Option<u64>,
    /// Whether the router still writes into it.
    feed_open: bool,
    /// What clients say while there is none.
    held: VecDeque<(SocketId, Up)>,
    last_call: At,
    last_told: At,
    last_answer: At,
    random: Random,
}

impl Gateway {
    pub fn new(seed: u64, number: usize) -> Self {
        let mut random = Random::new(seed, &format!("gateway {number}"));
        Self {
            is_alive: false,
            life: 0,
            id: GatewayId(0),
            node: begin(&mut random).1,
            router: Router::default(),
            conns: BTreeMap::new(),
            sockets: BTreeMap::new(),
            feed: None,
            feed_open: false,
            held: VecDeque::new(),
            last_call: At::default(),
            last_told: At::default(),
            last_answer: At::default(),
            random,
        }
    }
}

fn begin(random: &mut Random) -> (GatewayId, Node) {
    let mut bytes = [0; 32];
    random.fill(&mut bytes);
    let id = GatewayId(random.next());
    let config = NodeConfig {
        heartbeat_interval: HEARTBEAT,
        session_keep: SESSION_KEEP,
        gateway: id,
        is_one_of_many: true,
    };
    (id, Node::new(config, bytes))
}

impl World {
    // Its life.

    pub fn gateway_starts(&mut self, gateway: usize) {
        let this = &mut self.gateways[gateway];
        if this.is_alive {
            return;
        }
        this.is_alive = true;
        this.life += 1;
        (this.id, this.node) = begin(&mut this.random);
        this.router = Router::default();
        let (life, id) = (this.life, this.id);
        self.trace.note(self.now, || format!("gateway {gateway} starts as {id:?}"));
        self.feed_begins(gateway);
        let who = (Process::Gateway(gateway), life);
        self.watch(who);
        self.after(ROUTER_TURN, Event::RouterTurn(who));
    }

    /// The process is gone, and with it its connections.
    pub fn gateway_dies(&mut self, gateway: usize) {
        let this = &mut self.gateways[gateway];
        if !this.is_alive {
            return;
        }
        this.is_alive = false;
        this.feed = None;
        this.conns.clear();
        this.sockets.clear();
        this.held.clear();
        let life = this.life;
        let says_so = this.random.chance(700);
        self.trace.note(self.now, || format!("gateway {gateway} dies, its system says so: {says_so}"));
        let who = Process::Gateway(gateway);
        self.frozen.remove(&who);
        for id in self.streams_of(|stream| stream.caller == (who, life)) {
            self.break_stream(id);
        }
        for id in self.net.open_sockets(|socket| socket.end == ServerEnd::Gateway(gateway)) {
            if says_so {
                self.reset_socket(id);
            } else {
                self.break_socket(id);
            }
        }
    }

    fn feed_begins(&mut self, gateway: usize) {
        self.tasks_made += 1;
        let this = &mut self.gateways[gateway];
        (this.feed, this.feed_open) = (Some(self.tasks_made), true);
    }

    // Clients.

    pub fn gateway_hears(&mut self, gateway: usize, id: SocketId, up: Up) {
        let at = self.clock.instant(self.now);
        let node = &mut self.gateways[gateway];
        if !node.is_alive {
            return self.reset_socket(id);
        }
        // Whoever came in without events would wait for its guilds in vain.
        if node.feed.is_none() {
            node.held.push_back((id, up));
            return;
        }
        match (up, node.sockets.get(&id).copied()) {
            (Up::Open, _) => {
                let conn = node.node.handle_connected(at, "wss://gateway".to_owned());
                node.conns.insert(conn, id);
                node.sockets.insert(id, conn);
            }
            (Up::Text(text), Some(conn)) => match FromClient::parse(text.as_bytes()) {
                Ok(frame) => node.node.handle_frame(at, conn, frame),
                Err(error) => node.node.handle_malformed(at, conn, error),
            },
            (Up::Closed(code), Some(conn)) => {
                node.conns.remove(&conn);
                node.sockets.remove(&id);
                node.node.handle_disconnected(at, conn, code);
            }
            // Of an earlier life.
            (_, None) => self.reset_socket(id),
        }
        self.gateway_flush(gateway);
    }

    pub fn gateway_wakes(&mut self, gateway: usize) {
        if !self.gateways[gateway].is_alive {
            return;
        }
        let at = self.clock.instant(self.now);
        self.gateways[gateway].node.handle_timeout(at);
        self.gateway_flush(gateway);
    }

    pub fn guild_written(&mut self, gateway: usize, life: u64, conn: ConnId) {
        if !self.lives((Process::Gateway(gateway), life)) {
            return;
        }
        let at = self.clock.instant(self.now);
        self.gateways[gateway].node.handle_guild_written(at, conn);
        self.gateway_flush(gateway);
    }

    // Guilds.

    pub fn answer_gateway(&mut self, gateway: usize, id: CallId, reply: CallResult) {
        let at = self.now.plus(self.net.random().between(1, 200));
        let this = &mut self.gateways[gateway];
        let (life, at) = (this.life, in_order(&mut this.last_answer, at));
        self.at(at, Event::Reply { gateway, life, id, reply });
    }

    pub fn tell_gateway(&mut self, gateway: usize, event: Told) {
        let at = self.now.plus(self.net.random().between(1, 200));
        let this = &mut self.gateways[gateway];
        let Some(feed) = this.feed.filter(|_| this.feed_open) else { return };
        let at = in_order(&mut this.last_told, at);
        self.at(at, Event::Told { gateway, feed, event });
    }

    pub fn gateway_answered(&mut self, gateway: usize, life: u64, id: CallId, reply: CallResult) {
        if !self.lives((Process::Gateway(gateway), life)) {
            return;
        }
        let at = self.clock.instant(self.now);
        self.gateways[gateway].node.handle_reply(at, id, reply);
        self.gateway_flush(gateway);
    }

    pub fn gateway_told(&mut self, gateway: usize, feed: u64, event: Told) {
        if self.gateways[gateway].feed != Some(feed) {
            return;
        }
        let at = self.clock.instant(self.now);
        self.gateways[gateway].node.handle_event(at, event);
        self.gateway_flush(gateway);
    }

    /// The gateway does not keep up: it reads what waits, and then that there is no more.
    pub fn cut_off(&mut self, gateway: usize) {
        let this = &mut self.gateways[gateway];
        let Some(feed) = this.feed.filter(|_| std::mem::take(&mut this.feed_open)) else { return };
        let at = in_order(&mut this.last_told, self.now);
        self.at(at, Event::CutOff { gateway, feed });
    }

    /// Events were missed.
    pub fn gateway_cut_off(&mut self, gateway: usize, feed: u64) {
        if self.gateways[gateway].feed != Some(feed) {
            return;
        }
        self.trace.note(self.now, || format!("gateway {gateway} is cut off from events"));
        let at = self.clock.instant(self.now);
        self.gateways[gateway].feed = None;
        self.gateways[gateway].node.handle_cut_off(at);
        self.gateway_flush(gateway);
        let at = self.now.plus(self.net.random().between(1, 200));
        let this = &mut self.gateways[gateway];
        let (life, at) = (this.life, in_order(&mut this.last_call, at));
        self.at(at, Event::Listen { gateway, life });
    }

    pub fn gateway_listens(&mut self, gateway: usize, life: u64) {
        if !self.lives((Process::Gateway(gateway), life)) {
            return;
        }
        self.feed_begins(gateway);
        for (id, up) in std::mem::take(&mut self.gateways[gateway].held) {
            self.gateway_hears(gateway, id, up);
        }
    }

    fn gateway_flush(&mut self, gateway: usize) {
        loop {
            let node = &mut self.gateways[gateway];
            if let Some(Transmit { conn, output }) = node.node.poll_transmit() {
                let Some(id) = node.conns.get(&conn).copied() else { continue };
                match output {
                    Output::Frame(frame) => {
                        if frame.is_guild() {
                            let life = node.life;
                            self.after(ms(2), Event::GuildWritten { gateway, life, conn });
                        }
                        self.down(id, Down::Text(frame.encode()));
                    }
                    Output::Close(code) => {
                        node.conns.remove(&conn);
                        node.sockets.remove(&id);
                        self.down(id, Down::Closed(Some(code.number())));
                    }
                }
            } else if let Some((id, call)) = node.node.poll_call() {
                let at = self.now.plus(self.net.random().between(1, 200));
                let this = &mut self.gateways[gateway];
                let (life, at) = (this.life, in_order(&mut this.last_call, at));
                self.at(at, Event::Call { gateway, life, id, call });
            } else if let Some(notice) = node.node.poll_notice() {
                if !matches!(notice, Notice::VoiceDelayed(_)) {
                    self.trace.note(self.now, || format!("gateway {gateway}: {notice:?}"));
                }
            } else {
                break;
            }
        }
        if let Some((at, _)) = self.gateways[gateway].node.poll_timeout() {
            let at = self.clock.at(at);
            self.wake(Sleeper::Gateway(gateway), at);
        }
    }
}
