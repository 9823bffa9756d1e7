//! A gateway: its node, and what carries its frames, calls and events.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use client_wire::gateway::FromClient;
use gateway_core::{ConnId, Node, NodeConfig, Notice, Output, Transmit};

use crate::event::{Event, Sleeper};
use crate::net::{Down, SocketId, Up, in_order};
use crate::random::Random;
use crate::time::{At, ms};
use crate::world::World;

/// Shorter than real ones, so that whoever vanishes is missed within a run.
pub const HEARTBEAT: Duration = Duration::from_secs(4);
pub const SESSION_KEEP: Duration = Duration::from_secs(12);

pub struct Gateway {
    pub node: Node,
    conns: BTreeMap<ConnId, SocketId>,
    sockets: BTreeMap<SocketId, ConnId>,
    /// The stream of events that is read; none while guilds is asked for one.
    stream: Option<u64>,
    /// What clients say while it has none.
    held: VecDeque<(SocketId, Up)>,
    last_call: At,
}

impl Gateway {
    pub fn new(seed: u64, number: usize) -> Self {
        let mut bytes = [0; 32];
        Random::new(seed, &format!("gateway {number}")).fill(&mut bytes);
        let config =
            NodeConfig { heartbeat_interval: HEARTBEAT, session_keep: SESSION_KEEP, ..NodeConfig::default() };
        Self {
            node: Node::new(config, bytes),
            conns: BTreeMap::new(),
            sockets: BTreeMap::new(),
            stream: None,
            held: VecDeque::new(),
            last_call: At::default(),
        }
    }
}

impl World {
    pub fn gateway_hears(&mut self, gateway: usize, id: SocketId, up: Up) {
        let at = self.clock.instant(self.now);
        let node = &mut self.gateways[gateway];
        // Whoever came in without events would wait for its guilds in vain.
        if node.stream.is_none() {
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
            (_, None) => {}
        }
        self.gateway_flush(gateway);
    }

    pub fn gateway_wakes(&mut self, gateway: usize) {
        let at = self.clock.instant(self.now);
        self.gateways[gateway].node.handle_timeout(at);
        self.gateway_flush(gateway);
    }

    pub fn guild_written(&mut self, gateway: usize, conn: ConnId) {
        let at = self.clock.instant(self.now);
        self.gateways[gateway].node.handle_guild_written(at, conn);
        self.gateway_flush(gateway);
    }

    pub fn gateway_answered(
        &mut self,
        gateway: usize,
        id: gateway_core::CallId,
        reply: cluster_wire::guilds::CallResult,
    ) {
        let at = self.clock.instant(self.now);
        self.gateways[gateway].node.handle_reply(at, id, reply);
        self.gateway_flush(gateway);
    }

    pub fn gateway_told(&mut self, gateway: usize, stream: u64, event: cluster_wire::guilds::Event) {
        if self.gateways[gateway].stream != Some(stream) {
            return;
        }
        let at = self.clock.instant(self.now);
        self.gateways[gateway].node.handle_event(at, event);
        self.gateway_flush(gateway);
    }

    /// Events were missed.
    pub fn gateway_cut_off(&mut self, gateway: usize, stream: u64) {
        if self.gateways[gateway].stream != Some(stream) {
            return;
        }
        self.trace.note(self.now, || format!("gateway {gateway} is cut off from events"));
        let at = self.clock.instant(self.now);
        self.gateways[gateway].stream = None;
        self.gateways[gateway].node.handle_cut_off(at);
        self.gateway_flush(gateway);
        let at = self.now.plus(self.link_delay());
        let at = in_order(&mut self.gateways[gateway].last_call, at);
        self.at(at, Event::Listen { gateway });
    }

    pub fn gateway_listens(&mut self, gateway: usize, stream: u64) {
        self.gateways[gateway].stream = Some(stream);
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
                            self.after(ms(2), Event::GuildWritten(gateway, conn));
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
                let at = self.now.plus(self.link_delay());
                let at = in_order(&mut self.gateways[gateway].last_call, at);
                self.at(at, Event::Call { gateway, id, call });
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
