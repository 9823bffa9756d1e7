//! A fleet of voice servers by numbers: calls begin, grow and end, servers report, and guilds nodes place by the real code.
//!
//! Owns: how many people are where, what each guilds node knows of it and since when, and what is measured of it. Deliberately does not: run any core but placement,
//! know a client or a packet. What is assumed of people stands in [`calls`] and [`regions`], what is left out in `docs/adr/0017-fleet.md`.

mod calls;
mod measures;
mod regions;
mod story;

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;

use cluster_wire::record::{Health, RelayStatus, ServerLoad, ServerRecord};
use guilds_core::{Servers, Urgency, Usable, place};
use model::{RegionId, ServerId};

use crate::limits::{LEASE, LOAD_EVERY};
use crate::random::Random;
use crate::time::{ms, secs};
use calls::Habits;
use measures::Arrivals;
pub use measures::{Balance, Watched};
use regions::Regions;
pub use story::{Moved, Report, run};

#[derive(Debug, Clone)]
pub struct Settings {
    pub seed: u64,
    /// In voice at once, in the fleet's busiest hour.
    pub users: u32,
    pub servers: usize,
    /// Guilds nodes.
    pub nodes: usize,
    /// Participants of a voice server.
    pub capacity: u32,
    /// Of a thousand calls, those of guilds that name no region.
    pub anywhere: u64,
    /// Before anything is measured, and for how long it is then.
    pub settle_s: u64,
    pub steady_s: u64,
}

impl Default for Settings {
    /// The published fleet.
    fn default() -> Self {
        Self {
            seed: 1,
            users: 2_600_000,
            servers: 850,
            nodes: 32,
            capacity: 5_000,
            anywhere: 200,
            settle_s: 3_600,
            steady_s: 1_800,
        }
    }
}

/// The model's clock, in microseconds as everywhere here. What happens within a tick happens in the order of its events.
const TICK: u64 = ms(100);
const TICKS_PER_S: u64 = secs(1) / TICK;
/// From being told of a voice server until its client's connection reaches it: a round trip or two, and clients that look before they leap.
const CLIENT_TICKS: (u64, u64) = (1, 5);

struct Server {
    /// As it is now.
    record: ServerRecord,
    region: usize,
    is_up: bool,
    /// What it wrote last into the registry said that it takes guilds.
    said_eligible: bool,
    /// When in its interval it writes.
    phase: u64,
    /// Since it wrote last.
    placed: Placed,
    written: Option<ServerRecord>,
    arrivals: Arrivals,
}

#[derive(Debug, Clone, Copy, Default)]
struct Placed {
    guilds: u32,
    people: u32,
}

/// The people of one guild that are in voice.
struct Call {
    /// Places are used again.
    id: u64,
    region: usize,
    /// Its guild names the region.
    is_named: bool,
    node: usize,
    server: Option<usize>,
    people: u32,
    /// Who has yet to join.
    coming: u32,
}

#[derive(Default)]
struct Node {
    usable: Usable,
    /// Calls without a server.
    awaiting: BTreeSet<usize>,
}

enum Event {
    Join {
        call: usize,
    },
    Leave {
        call: usize,
    },
    /// The client of somebody who was moved.
    Arrive {
        server: usize,
    },
    /// The registry has lost the server's record.
    LeaseEnds {
        server: usize,
    },
    /// A server that died is started again.
    Back {
        server: usize,
    },
}

pub struct Fleet {
    settings: Settings,
    random: Random,
    habits: Habits,
    regions: Regions,
    region_ids: Vec<RegionId>,
    tick: u64,
    servers: Vec<Server>,
    by_id: BTreeMap<ServerId, usize>,
    nodes: Vec<Node>,
    calls: Vec<Call>,
    begun: u64,
    /// Places of calls that are over.
    free: Vec<usize>,
    events: BTreeMap<u64, Vec<Event>>,
    /// Records on their way from the registry to every guilds node.
    written: Vec<ServerRecord>,
    watched: Watched,
}

/// Others whose speech somebody in voice is sent, if in every call one speaks at any time.
pub fn heard_in_the_mean() -> f64 {
    let size = Habits::default().size_mean();
    (size - 1.0) / size
}

impl Fleet {
    /// Servers that everybody knows, and nobody in voice.
    pub fn new(settings: Settings) -> Self {
        let mut random = Random::new(settings.seed, "fleet");
        let regions = Regions::new(settings.users);
        let mut servers = Vec::new();
        for (region, count) in regions.servers(settings.servers).into_iter().enumerate() {
            for number in 0..count {
                servers.push(Server::new(region, number, &settings, &mut random));
            }
        }
        let by_id = servers.iter().enumerate().map(|(n, server)| (server.record.id.clone(), n)).collect();
        let mut nodes: Vec<Node> = (0..settings.nodes).map(|_| Node::default()).collect();
        let count = u32::try_from(settings.nodes).ok().and_then(NonZeroU32::new);
        for node in &mut nodes {
            node.usable.nodes_are(count.expect("there are guilds nodes, and few"));
            for server in &servers {
                node.usable.report(&server.record, Health::Ok);
            }
        }
        Self {
            random,
            habits: Habits::default(),
            region_ids: regions.ids(),
            regions,
            tick: 0,
            servers,
            by_id,
            nodes,
            calls: Vec::new(),
            begun: 0,
            free: Vec::new(),
            events: BTreeMap::new(),
            written: Vec::new(),
            watched: Watched::default(),
            settings,
        }
    }

    /// What the first guilds node knows of the fleet now.
    pub fn as_seen(&self) -> &Servers {
        self.nodes[0].usable.servers()
    }

    /// Everybody joins at once, as when every guilds node and voice server was started anew. How many calls that are.
    pub fn fill(&mut self) -> usize {
        let mut begun = 0;
        for region in 0..self.region_ids.len() {
            let wanted = self.regions.users(region, self.seconds());
            let mut there = 0;
            while there < wanted {
                let size = self.habits.size(&mut self.random);
                there += size;
                begun += 1;
                let call = self.begin(region, size);
                self.calls[call].people = size;
                self.calls[call].coming = 0;
                for _ in 0..size {
                    let left = self.habits.rest_of_stay_s(&mut self.random);
                    self.later(left, Event::Leave { call });
                }
                self.place(call);
            }
        }
        begun
    }

    fn run_for(&mut self, seconds: u64) {
        for _ in 0..seconds * TICKS_PER_S {
            self.step();
        }
    }

    fn step(&mut self) {
        self.tick += 1;
        for record in std::mem::take(&mut self.written) {
            self.tell(&record);
        }
        for event in self.events.remove(&self.tick).unwrap_or_default() {
            self.handle(&event);
        }
        self.begin_calls();
        self.write_records();
        if self.tick.is_multiple_of(LOAD_EVERY / TICK) {
            self.nodes.iter_mut().for_each(|node| node.usable.time_passes());
        }
    }

    fn handle(&mut self, event: &Event) {
        match *event {
            Event::Join { call } => self.join(call),
            Event::Leave { call } => self.leave(call),
            Event::Arrive { server } => self.arrives(server),
            Event::LeaseEnds { server } => self.lose_record(server),
            Event::Back { server } => self.come_back(server),
        }
    }

    // Calls.

    fn begin_calls(&mut self) {
        for region in 0..self.region_ids.len() {
            let users = f64::from(self.regions.users(region, self.seconds()));
            let per_tick = users / self.habits.user_seconds_of_a_call() / TICKS_PER_S as f64;
            for _ in 0..self.habits.how_many(per_tick, &mut self.random) {
                let size = self.habits.size(&mut self.random);
                let call = self.begin(region, size);
                for _ in 1..size {
                    let delay = self.habits.delay_s(&mut self.random);
                    self.later(delay, Event::Join { call });
                }
                self.join(call);
            }
        }
    }

    fn begin(&mut self, region: usize, size: u32) -> usize {
        self.begun += 1;
        let call = Call {
            id: self.begun,
            region,
            is_named: !self.random.chance(self.settings.anywhere),
            node: self.random.below(self.nodes.len() as u64) as usize,
            server: None,
            people: 0,
            coming: size,
        };
        match self.free.pop() {
            Some(place) => {
                self.calls[place] = call;
                place
            }
            None => {
                self.calls.push(call);
                self.calls.len() - 1
            }
        }
    }

    fn join(&mut self, number: usize) {
        let call = &mut self.calls[number];
        call.people += 1;
        call.coming -= 1;
        match call.server {
            Some(server) => self.servers[server].record.load.participants += 1,
            None => self.place(number),
        }
        if let Some(server) = self.calls[number].server {
            self.arrives(server);
        }
        let stay = self.habits.stay_s(&mut self.random);
        self.later(stay, Event::Leave { call: number });
    }

    fn leave(&mut self, number: usize) {
        let call = &mut self.calls[number];
        call.people -= 1;
        let is_last = call.people == 0;
        if let Some(server) = call.server {
            let load = &mut self.servers[server].record.load;
            load.participants -= 1;
            load.guilds -= u32::from(is_last);
        }
        if is_last {
            call.server = None;
            self.nodes[call.node].awaiting.remove(&number);
            if call.coming == 0 {
                self.free.push(number);
            }
        }
    }

    /// As a guild's actor does: by what its node knows.
    fn place(&mut self, number: usize) {
        let call = &mut self.calls[number];
        let node = &mut self.nodes[call.node];
        let region = call.is_named.then(|| &self.region_ids[call.region]);
        let urgency = match node.awaiting.contains(&number) {
            true => Urgency::Waiting,
            false => Urgency::Joining,
        };
        let Some(id) = place(node.usable.servers().values(), region, urgency, self.random.next()) else {
            node.awaiting.insert(number);
            return;
        };
        node.awaiting.remove(&number);
        node.usable.placed(&id, call.people);
        let at = self.by_id[&id];
        call.server = Some(at);
        let server = &mut self.servers[at];
        server.record.load.guilds += 1;
        server.record.load.participants += call.people;
        // Whoever is placed on a dead one is nobody's load.
        if server.is_up {
            server.placed.guilds += 1;
            server.placed.people += call.people;
            self.watched.placed(server.placed.guilds, server.placed.people);
        }
    }

    /// To wherever there is room, with everybody in it.
    fn relocate(&mut self, number: usize) {
        let call = &mut self.calls[number];
        call.server = None;
        self.nodes[call.node].awaiting.insert(number);
        self.place(number);
        let Some(server) = self.calls[number].server else { return };
        for _ in 0..self.calls[number].people {
            let ticks = self.random.between(CLIENT_TICKS.0, CLIENT_TICKS.1);
            self.events.entry(self.tick + ticks).or_default().push(Event::Arrive { server });
        }
    }

    fn arrives(&mut self, server: usize) {
        let server = &mut self.servers[server];
        if server.is_up {
            let per_second = server.arrivals.one_at(self.tick);
            self.watched.arrived(per_second, &server.record);
        }
    }

    // Servers.

    /// Load at its interval; whether it takes guilds, at the next second.
    fn write_records(&mut self) {
        for server in self.servers.iter_mut().filter(|server| server.is_up) {
            let at = self.tick + server.phase;
            let is_eligible = server.record.is_eligible();
            let is_news = at.is_multiple_of(TICKS_PER_S) && is_eligible != server.said_eligible;
            if at.is_multiple_of(LOAD_EVERY / TICK) || is_news {
                server.said_eligible = is_eligible;
                server.placed = Placed::default();
                // What it has said before is not written.
                if server.written.as_ref() != Some(&server.record) {
                    server.written = Some(server.record.clone());
                    self.written.push(server.record.clone());
                }
            }
        }
    }

    fn tell(&mut self, record: &ServerRecord) {
        for node in 0..self.nodes.len() {
            if self.nodes[node].usable.report(record, record.health) {
                self.look_again(node);
            }
        }
    }

    /// Whether those who wait find a server now. Where one of a region finds none no other does.
    fn look_again(&mut self, node: usize) {
        let mut hopeless = BTreeSet::new();
        for number in self.nodes[node].awaiting.iter().copied().collect::<Vec<_>>() {
            let Call { region, is_named, .. } = self.calls[number];
            let kind = is_named.then_some(region);
            if hopeless.contains(&kind) {
                continue;
            }
            self.relocate(number);
            if self.calls[number].server.is_none() {
                hopeless.insert(kind);
            }
        }
    }

    /// Its machine is gone without a word.
    fn kill(&mut self, server: usize) {
        self.servers[server].is_up = false;
        // It renewed its lease within the second.
        let end = self.tick + LEASE / TICK - self.random.below(TICKS_PER_S);
        self.events.entry(end).or_default().push(Event::LeaseEnds { server });
    }

    fn lose_record(&mut self, server: usize) {
        let id = self.servers[server].record.id.clone();
        for node in &mut self.nodes {
            node.usable.remove(&id);
        }
        for number in 0..self.calls.len() {
            if self.calls[number].server == Some(server) {
                self.relocate(number);
            }
        }
        self.servers[server].record.load = ServerLoad::default();
    }

    fn come_back(&mut self, server: usize) {
        let server = &mut self.servers[server];
        server.is_up = true;
        server.said_eligible = true;
        server.written = Some(server.record.clone());
        self.written.push(server.record.clone());
    }

    fn seconds(&self) -> u64 {
        self.tick / TICKS_PER_S
    }

    fn later(&mut self, seconds: f64, event: Event) {
        let ticks = (seconds * TICKS_PER_S as f64).ceil().max(1.0) as u64;
        self.events.entry(self.tick + ticks).or_default().push(event);
    }
}

impl Server {
    fn new(region: usize, number: usize, settings: &Settings, random: &mut Random) -> Self {
        let region_id = regions::id(region);
        let id = format!("{}-{number:03}", region_id.0);
        Self {
            record: ServerRecord {
                endpoint: format!("{id}.voice.example.org:443"),
                cluster: Some(format!("{id}.voice.example.org:7000")),
                id: ServerId(id),
                region: region_id,
                health: Health::Ok,
                load: ServerLoad::default(),
                capacity: settings.capacity,
                version: "1.0.0".to_owned(),
                draining: false,
                relay: RelayStatus::default(),
            },
            region,
            is_up: true,
            said_eligible: true,
            phase: random.below(LOAD_EVERY / TICK),
            placed: Placed::default(),
            written: None,
            arrivals: Arrivals::default(),
        }
    }
}
