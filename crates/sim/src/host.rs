//! A voice server: signalling's core, and what `voice` does around it: its record, its relay's supervision, its connections.

use std::collections::{BTreeMap, VecDeque};
use std::net::{Ipv4Addr, SocketAddr};

use client_wire::fragment::Fingerprint;
use client_wire::voice::{MODES, Version};
use cluster_wire::record::{Health, RelayStatus, ServerLoad, ServerRecord};
use cluster_wire::voice::{Order, ToVoice};
use model::{GuildId, RegionId, ServerId};
use sfu_core::Memory;
use sfu_wire::{FromSfu, PROTOCOL, Start, ToSfu};
use voice_core::{Config, ConnId, Output, VoiceCore};

use crate::event::{Event, Sleeper};
use crate::limits::{PUBLISH_EVERY, SOCKET_MAX};
use crate::net::{Down, ServerEnd, SocketId, Up, in_order};
use crate::random::Random;
use crate::relay::Process;
use crate::time::{At, ms, secs};
use crate::world::World;

pub struct Host {
    pub id: ServerId,
    pub endpoint: String,
    pub ip: Ipv4Addr,
    pub shards: usize,
    /// Counts how often it was started.
    pub life: u64,
    pub core: Option<VoiceCore>,
    pub record: ServerRecord,
    /// The relay as signalling knows it: the process's number, and which shards have answered.
    relay: Option<(u64, Vec<bool>)>,
    pub process: Option<Process>,
    generations: u64,
    backoff: u64,
    /// What outlives a relay, for each shard.
    pub memories: Vec<Memory>,
    /// What waits in the system's sockets.
    pub inbox: Vec<VecDeque<(SocketAddr, Vec<u8>)>>,
    /// By guilds node.
    last_report: BTreeMap<usize, At>,
    /// The newest ownership of each guild that it has heard of in this life.
    newest: BTreeMap<GuildId, u64>,
    pub last_from_relay: At,
    pub stalled_until: At,
    pub flooded_until: At,
    pub partitioned_until: At,
    /// The registry has lost sight of it: it is not told that it was left.
    pub is_unseen: bool,
    /// While it is dead, its system says that nothing listens.
    pub refuses: bool,
    /// Until then somebody may be served here by what was true before.
    pub lagging_until: At,
    pub random: Random,
}

pub const PORT: u16 = 50_000;

impl Host {
    pub fn new(seed: u64, number: usize, shards: usize) -> Self {
        let id = ServerId(format!("voice-{number}"));
        let region = RegionId(if number.is_multiple_of(2) { "east" } else { "west" }.to_owned());
        let endpoint = format!("{id}:443");
        let record = ServerRecord {
            id: id.clone(),
            region,
            endpoint: endpoint.clone(),
            health: Health::NoRelay,
            load: ServerLoad::default(),
            capacity: 100,
            version: String::new(),
            draining: false,
            cluster: None,
            relay: RelayStatus::default(),
        };
        Self {
            id,
            endpoint,
            ip: Ipv4Addr::new(10, 1, 0, u8::try_from(number).expect("hosts are few")),
            shards,
            life: 0,
            core: None,
            record,
            relay: None,
            process: None,
            generations: 0,
            backoff: 0,
            memories: Vec::new(),
            inbox: vec![VecDeque::new(); shards],
            last_report: BTreeMap::new(),
            newest: BTreeMap::new(),
            last_from_relay: At::default(),
            stalled_until: At::default(),
            flooded_until: At::default(),
            partitioned_until: At::default(),
            is_unseen: false,
            refuses: false,
            lagging_until: At::default(),
            random: Random::new(seed, &format!("host {number}")),
        }
    }

    pub fn lives(&self, life: u64) -> bool {
        self.core.is_some() && self.life == life
    }
}

impl World {
    pub fn host_starts(&mut self, host: usize) {
        if self.hosts[host].core.is_some() {
            return;
        }
        let memories = (0..self.hosts[host].shards).map(|_| self.memories.take()).collect();
        let key = self.token_key.clone();
        let this = &mut self.hosts[host];
        this.life += 1;
        let (life, mut random) = (this.life, Random::new(this.random.next(), "signalling"));
        let ports = (0..this.shards).map(|shard| PORT + shard as u16).collect();
        let config = Config {
            server: this.id.clone(),
            token_key: key,
            media_ip: this.ip,
            media_ports: ports,
            ice_tcp_port: None,
            modes: MODES.iter().map(ToString::to_string).collect(),
            fingerprint: Fingerprint([1; 32]),
            version: "0.0.0".to_owned(),
        };
        this.core = Some(VoiceCore::new(config, Box::new(move |bytes| random.fill(bytes))));
        (this.relay, this.process, this.backoff) = (None, None, 0);
        this.memories = memories;
        this.newest.clear();
        let this = &mut self.hosts[host];
        this.record.draining = false;
        this.record.health = Health::NoRelay;
        this.inbox.iter_mut().for_each(VecDeque::clear);
        self.trace.note(self.now, || format!("voice-{host} starts, life {life}"));
        self.after(ms(20), Event::RelayStarts { host, life });
        self.after(PUBLISH_EVERY, Event::Second { host, life });
        self.publish(host, true);
    }

    /// The process is gone, and with it its connections; its relay goes on for a while, or is gone with the whole machine.
    pub fn host_dies(&mut self, host: usize) {
        let this = &mut self.hosts[host];
        if this.core.take().is_none() {
            return;
        }
        let life = this.life;
        let (leaves_relay, is_noticed) = (this.random.chance(500), this.random.chance(700));
        let noticed_after = this.random.between(ms(1), ms(300));
        let again_after = this.random.between(ms(300), secs(8));
        let ends = leaves_relay && this.process.is_some();
        self.trace.note(self.now, || format!("voice-{host} dies; its relay goes on: {ends}"));
        match &mut this.process {
            Some(process) if leaves_relay => process.is_orphan = true,
            process => *process = None,
        }
        if ends {
            this.lagging_until = this.lagging_until.max(self.now.plus(again_after + secs(1)));
        }
        for id in self.net.open_sockets(|socket| socket.end == ServerEnd::Voice { host, life }) {
            self.reset_socket(id);
        }
        self.hosts[host].refuses = is_noticed;
        // A machine that has lost its power is missed when it does not answer pings.
        let noticed_after = if is_noticed { noticed_after } else { noticed_after + secs(2) };
        for (node, life, task) in self.ways_to(host) {
            self.after(noticed_after, Event::LinkBreaks { node, life, host, task });
        }
        self.after(again_after, Event::HostStarts(host));
    }

    // Connections.

    pub fn voice_hears(&mut self, host: usize, life: u64, id: SocketId, up: &Up) {
        let now = self.clock.voice(self.now);
        if !self.hosts[host].lives(life) {
            return self.reset_socket(id);
        }
        let core = self.voice_core(host);
        let conn = ConnId(id.0 as u64);
        match up {
            Up::Open => core.handle_open(now, conn, Some(Version::V8)),
            Up::Text(text) => core.handle_text(now, conn, text),
            Up::Closed(code) => core.handle_close(now, conn, *code),
        }
        self.voice_flush(host);
    }

    pub fn voice_wakes(&mut self, host: usize, life: u64) {
        if self.hosts[host].lives(life) {
            let now = self.clock.voice(self.now);
            self.voice_core(host).handle_timeout(now);
            self.voice_flush(host);
        }
    }

    pub fn order_arrives(&mut self, node: usize, life: u64, host: usize, task: u64) {
        let stalled_until = self.hosts[host].stalled_until;
        if stalled_until > self.now {
            return self.at(stalled_until, Event::Order { node, life, host, task });
        }
        if self.hosts[host].core.is_none() {
            return;
        }
        match self.take_order(node, life, host, task) {
            Some(ToVoice::Order(order)) => self.obey(host, order),
            Some(ToVoice::SetDraining(draining)) => {
                self.hosts[host].record.draining = draining;
                self.publish(host, true);
            }
            // A relay's replacement is a matter of processes, of which there are none here.
            Some(ToVoice::UpgradeRelay { .. }) | None => {}
        }
    }

    /// Who is an owner no more is not obeyed.
    fn obey(&mut self, host: usize, order: Order) {
        let (guild, fencing) = (order.guild, order.fencing);
        let newest = self.hosts[host].newest.entry(guild).or_default();
        let is_stale = fencing < *newest;
        *newest = fencing.max(*newest);
        let before = is_stale.then(|| self.legs_of(host));
        let now = self.clock.voice(self.now);
        self.voice_core(host).handle_order(now, order);
        self.voice_flush(host);
        if before.is_some_and(|before| before != self.legs_of(host)) {
            self.fail(format!("voice-{host} obeys #{fencing} of guild {guild} after a newer owner's orders"));
        }
    }

    fn legs_of(&self, host: usize) -> Vec<sfu_wire::Snapshot> {
        let core = self.hosts[host].core.as_ref().expect("the caller has looked");
        (0..self.hosts[host].shards as u32).map(|shard| core.snapshot(shard)).collect()
    }

    fn voice_core(&mut self, host: usize) -> &mut VoiceCore {
        self.hosts[host].core.as_mut().expect("the caller has looked")
    }

    fn voice_flush(&mut self, host: usize) {
        while let Some(output) = self.voice_core(host).poll_output() {
            match output {
                Output::Send { conn, text } => {
                    self.trace.mix(self.now, 2, text.as_bytes());
                    self.down(SocketId(conn.0 as usize), Down::Text(text));
                }
                Output::Close { conn, code } => {
                    self.trace.note(self.now, || format!("voice-{host} closes {conn:?} with {code:?}"));
                    self.down(SocketId(conn.0 as usize), Down::Closed(Some(code.number())));
                }
                Output::ToSfu { shard, message } => self.tell_relay(host, shard as usize, message),
                Output::Report(report) => {
                    for (node, life, _) in self.ways_to(host) {
                        let at = self.now.plus(self.link_delay());
                        let at = in_order(self.hosts[host].last_report.entry(node).or_default(), at);
                        self.at(at, Event::Report { node, life, report: report.clone() });
                    }
                }
                Output::Event(event) => self.trace.note(self.now, || format!("voice-{host}: {event:?}")),
                Output::Authenticated { .. } => {}
                Output::BeginDtls { .. } | Output::EndDtls { .. } => {}
            }
        }
        let life = self.hosts[host].life;
        if let Some((at, _)) = self.voice_core(host).poll_timeout() {
            let at = self.clock.at(at);
            self.wake(Sleeper::Voice { host, life }, at);
        }
    }

    // The relay.

    pub fn relay_starts(&mut self, host: usize, life: u64) {
        if !self.hosts[host].lives(life) || self.hosts[host].process.is_some() {
            return;
        }
        self.voice_flush(host);
        let this = &mut self.hosts[host];
        this.generations += 1;
        let generation = this.generations;
        this.process = Some(Process::new(generation, this.shards, self.now));
        this.relay = Some((generation, vec![false; this.shards]));
        self.trace.note(self.now, || format!("voice-{host}: relay {generation} starts"));
        for shard in 0..self.hosts[host].shards {
            let mut seed = [0; 32];
            self.hosts[host].random.fill(&mut seed);
            let number = u32::try_from(shard).expect("shards are few");
            let start = Start {
                protocol: PROTOCOL,
                shard: number,
                seed: seed.to_vec(),
                sender_packets_per_s_max: 420,
                protocol_oldest: PROTOCOL,
            };
            let snapshot = self.voice_core(host).snapshot(number);
            self.tell_relay(host, shard, ToSfu::Start(start));
            self.tell_relay(host, shard, ToSfu::Snapshot(snapshot));
        }
    }

    /// Without a relay nothing is lost: its successor is told all of it.
    fn tell_relay(&mut self, host: usize, shard: usize, message: ToSfu) {
        let delay = self.hosts[host].random.between(10, ms(2));
        let Some((generation, _)) = self.hosts[host].relay else { return };
        let process = self.hosts[host].process.as_mut().filter(|process| process.generation == generation);
        // It may be dead without that being known.
        let Some(process) = process else { return };
        process.tell(shard, message);
        self.after(delay, Event::RelayReads { host, shard, generation });
    }

    pub fn relay_is_down(&mut self, host: usize, life: u64, generation: u64, blamed: &[(u32, u64)]) {
        if !self.hosts[host].lives(life) {
            return;
        }
        if self.hosts[host].relay.as_ref().is_some_and(|(running, _)| *running == generation) {
            self.hosts[host].relay = None;
            self.publish(host, false);
        }
        let now = self.clock.voice(self.now);
        for (shard, leg) in blamed {
            self.trace.note(self.now, || format!("voice-{host}: leg {leg} of shard {shard} is blamed"));
            self.voice_core(host).handle_relay_blames(now, *shard, *leg);
        }
        self.voice_flush(host);
    }

    pub fn relay_says(&mut self, host: usize, life: u64, generation: u64, shard: u32, message: &FromSfu) {
        if !self.hosts[host].lives(life) {
            return;
        }
        let Some((_, started)) = self.hosts[host].relay.as_mut().filter(|(g, _)| *g == generation) else {
            return;
        };
        if let FromSfu::Started(_) = message {
            started[shard as usize] = true;
            self.publish(host, false);
        }
        let now = self.clock.voice(self.now);
        self.voice_core(host).handle_sfu(now, shard, message);
        self.voice_flush(host);
    }

    /// As `voice` waits between two starts.
    pub fn relay_backoff(&mut self, host: usize, lived: u64) -> u64 {
        let this = &mut self.hosts[host];
        if lived >= secs(10) {
            this.backoff = 0;
            return 0;
        }
        let wait = this.backoff;
        this.backoff = (wait * 2).clamp(ms(100), secs(5));
        wait
    }

    // The record.

    pub fn second(&mut self, host: usize, life: u64) {
        if self.hosts[host].lives(life) {
            self.publish(host, true);
            self.after(PUBLISH_EVERY, Event::Second { host, life });
        }
    }

    pub fn publish(&mut self, host: usize, anyway: bool) {
        let now = self.now;
        let this = &mut self.hosts[host];
        let Some(core) = &this.core else { return };
        let stats = core.stats();
        let whole = |n: usize| u32::try_from(n).expect("worlds are small");
        let load = ServerLoad {
            guilds: whole(stats.guilds),
            participants: whole(stats.participants),
            ..ServerLoad::default()
        };
        let running = this.relay.as_ref().is_some_and(|(_, started)| started.iter().all(|started| *started));
        let health = match running {
            false => Health::NoRelay,
            true if this.flooded_until > now => Health::Flooded,
            true => Health::Ok,
        };
        let changed = this.record.load != load || this.record.health != health;
        (this.record.load, this.record.health) = (load, health);
        if (changed || anyway) && this.partitioned_until <= now && self.registry.gone_until <= now {
            let this = &self.hosts[host];
            let (life, record) = (this.life, this.record.clone());
            let delay = self.link_delay();
            self.after(delay, Event::Published(life, record));
        }
    }

    /// What the system's socket takes; a full one drops the newest.
    pub fn udp_arrives(&mut self, from: SocketAddr, to: SocketAddr, bytes: Vec<u8>) {
        let Some(host) = self.hosts.iter().position(|host| to.ip() == host.ip) else { return };
        let shard = usize::from(to.port() - PORT);
        let this = &mut self.hosts[host];
        if this.core.is_none() && this.process.is_none() {
            return;
        }
        if this.inbox[shard].len() < SOCKET_MAX {
            this.inbox[shard].push_back((from, bytes));
        }
        self.relay_runs(host, shard);
    }
}
