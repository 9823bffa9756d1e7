//! The world: all roles, all clients, and the loop that lets one thing happen after the other.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use cluster_wire::token::TokenKey;
use model::{Channel, ChannelId, ChannelKind, Guild, GuildId, Member, UserId};
use transport::Mode;

use crate::checks::Taps;
use crate::client::Client;
use crate::database::Database;
use crate::event::{Event, Input, Queue, Sleeper, Timer};
use crate::gateway::Gateway;
use crate::host::Host;
use crate::limits::{EVENTS_MAX, WINDOW};
use crate::net::{Net, ServerEnd};
use crate::node::Node;
use crate::random::Random;
use crate::reference::Reference;
use crate::registry::Registry;
use crate::relay::Memories;
use crate::router::{Process, Stream};
use crate::settings::Settings;
use crate::time::{At, Clock, ms};
use crate::trace::{Lines, Trace};

pub struct World {
    pub now: At,
    pub clock: Clock,
    pub settings: Settings,
    pub trace: Trace,
    pub chaos: Random,
    pub net: Net,
    queue: Queue,
    /// When each core is to be called next.
    wakes: BTreeMap<Sleeper, At>,
    pub gateways: Vec<Gateway>,
    pub nodes: Vec<Node>,
    pub database: Database,
    /// Of callers to guilds nodes, by number.
    pub streams: BTreeMap<u64, Stream>,
    /// Numbers streams, tasks and queues.
    pub tasks_made: u64,
    /// Processes that hang, and what has come to them since.
    pub frozen: BTreeMap<Process, Vec<Event>>,
    pub hosts: Vec<Host>,
    pub registry: Registry,
    pub clients: Vec<Client>,
    pub reference: Reference,
    pub taps: Taps,
    pub memories: Memories,
    pub token_key: TokenKey,
    /// Whose packets go to and come from an address: the number of the way, and how they are sealed.
    pub paths: BTreeMap<SocketAddr, (u64, Mode)>,
    pub paths_made: u64,
    pub addresses_made: u32,
    /// Of each guild, those that are gone included.
    pub all_channels: BTreeMap<GuildId, BTreeSet<ChannelId>>,
    failure: Option<String>,
    is_over: bool,
}

/// What a run comes to when nothing is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    pub trace: u64,
    pub events: u64,
    /// Frames that somebody heard.
    pub heard: u64,
}

fn guild(number: u64, settings: &Settings) -> Guild {
    let id = GuildId(1_000 * number);
    let owner = UserId(1);
    let mut guild = Guild::new(id, "guild", owner);
    for channel in 1..=settings.channels as u64 {
        guild.channels.push(Channel::new(ChannelId(id.0 + channel), ChannelKind::Voice, "channel"));
    }
    for user in 1..=settings.clients as u64 {
        guild.members.insert(UserId(user), Member::new(UserId(user), model::UnixMs(0)));
    }
    guild
}

impl World {
    pub fn new(seed: u64, settings: Settings, lines: Option<Lines>) -> Self {
        let token_key = TokenKey::new(b"the secret of this cluster");
        let guilds: Vec<Guild> =
            (1..=settings.guilds as u64).map(|number| guild(number, &settings)).collect();
        let ids: Vec<GuildId> = guilds.iter().map(|guild| guild.id).collect();
        let channels = |guild: &Guild| (guild.id, guild.channels.iter().map(|channel| channel.id).collect());
        let home = |client: usize| ids[client % ids.len()];
        let mut world = Self {
            now: At::default(),
            clock: Clock::new(),
            trace: Trace::new(lines),
            chaos: Random::new(seed, "chaos"),
            net: Net::new(seed),
            queue: Queue::default(),
            wakes: BTreeMap::new(),
            gateways: (0..settings.gateways).map(|number| Gateway::new(seed, number)).collect(),
            hosts: (0..settings.hosts).map(|number| Host::new(seed, number, settings.shards)).collect(),
            registry: Registry::default(),
            clients: (0..settings.clients).map(|number| Client::new(seed, number, home(number))).collect(),
            reference: Reference::new(&guilds),
            all_channels: guilds.iter().map(channels).collect(),
            nodes: (0..settings.nodes).map(|number| Node::new(seed, number)).collect(),
            database: Database::new(guilds),
            streams: BTreeMap::new(),
            tasks_made: 0,
            frozen: BTreeMap::new(),
            taps: Taps::default(),
            memories: Memories::default(),
            token_key,
            paths: BTreeMap::new(),
            paths_made: 0,
            addresses_made: 0,
            failure: None,
            is_over: false,
            settings,
        };
        world.begin();
        world
    }

    fn begin(&mut self) {
        self.trace.note(self.now, || format!("{:#?}", self.settings));
        for host in 0..self.hosts.len() {
            self.host_starts(host);
        }
        (0..self.nodes.len()).for_each(|node| self.node_starts(node));
        (0..self.gateways.len()).for_each(|gateway| self.gateway_starts(gateway));
        for client in 0..self.clients.len() {
            let wait = self.clients[client].random.between(ms(10), ms(1_500));
            self.arm(client, Timer::GatewayConnect, wait);
            self.arm(client, Timer::Talk, wait);
            self.go_somewhere(client);
        }
        let (calm, bound) =
            (At(self.settings.calm_at), At(self.settings.calm_at + self.settings.calm_bound()));
        self.at(At(ms(3_000)), Event::Fault);
        self.at(At(ms(250)), Event::Look);
        self.at(calm, Event::Calm);
        self.at(bound, Event::WindowBegins);
        self.at(bound.plus(WINDOW), Event::End);
    }

    pub fn at(&mut self, at: At, event: Event) {
        self.queue.push(at.max(self.now), event);
    }

    pub fn after(&mut self, delay: u64, event: Event) {
        self.queue.push(self.now.plus(delay), event);
    }

    /// A core wants to be called at this time; a call before that does no harm.
    pub fn wake(&mut self, who: Sleeper, at: At) {
        let at = at.max(self.now);
        if self.wakes.get(&who).is_none_or(|due| at < *due || *due < self.now) {
            self.wakes.insert(who, at);
            self.at(at, Event::Wake(who));
        }
    }

    /// The first thing that is wrong ends the run.
    pub fn fail(&mut self, message: String) {
        let now = self.now;
        self.failure.get_or_insert_with(|| format!("at {now}: {message}"));
    }

    pub fn is_out(&self, client: usize) -> bool {
        self.clients[client].outage.is_some_and(|outage| self.now < outage.until)
    }

    pub fn run(&mut self) -> Result<Summary, String> {
        let mut events = 0;
        while let Some((at, event)) = self.queue.pop() {
            (self.now, events) = (at, events + 1);
            self.handle(event);
            if let Some(failure) = self.failure.take() {
                return Err(failure);
            }
            if events > EVENTS_MAX {
                return Err(format!("at {at}: the world goes in circles"));
            }
            if self.is_over {
                break;
            }
        }
        Ok(Summary { trace: self.trace.hash(), events, heard: self.taps.heard_ever })
    }

    /// None for what hangs: it waits.
    fn unless_hung(&mut self, event: Event) -> Option<Event> {
        if self.frozen.is_empty() {
            return Some(event);
        }
        let gateway = |id| match self.net.socket(id).end {
            ServerEnd::Gateway(gateway) => Some(gateway),
            ServerEnd::Voice { .. } => None,
        };
        let who = match &event {
            Event::Pump(stream) => self.streams.get(stream).map(|stream| stream.caller.0),
            event => event.process(gateway),
        };
        match who.and_then(|who| self.frozen.get_mut(&who)) {
            Some(frozen) => {
                frozen.push(event);
                None
            }
            None => Some(event),
        }
    }

    pub fn hang(&mut self, who: Process) {
        self.trace.note(self.now, || format!("{who:?} hangs"));
        self.frozen.entry(who).or_default();
        self.pings_are_missed(who);
    }

    pub fn wake_up(&mut self, who: Process) {
        let Some(frozen) = self.frozen.remove(&who) else { return };
        self.trace.note(self.now, || format!("{who:?} goes on"));
        frozen.into_iter().for_each(|event| self.at(self.now, event));
    }

    fn handle(&mut self, event: Event) {
        let Some(event) = self.unless_hung(event) else { return };
        match event {
            Event::Up(id, up) => {
                if self.arrives_up(id, &up) {
                    match self.net.socket(id).end {
                        ServerEnd::Gateway(gateway) => self.gateway_hears(gateway, id, up),
                        ServerEnd::Voice { host, life } => self.voice_hears(host, life, id, &up),
                    }
                }
            }
            Event::Down(id, down) => {
                if self.arrives_down(id, &down) {
                    self.client_hears(self.net.socket(id).client, id, down);
                }
            }
            Event::Wake(who) => self.wakes_up(who),
            Event::GuildWritten { gateway, life, conn } => self.guild_written(gateway, life, conn),
            Event::Call { gateway, life, id, call } => {
                self.route((Process::Gateway(gateway), life), Some(id), call);
            }
            Event::Reply { gateway, life, id, reply } => self.gateway_answered(gateway, life, id, reply),
            Event::Told { gateway, feed, event } => self.gateway_told(gateway, feed, event),
            Event::CutOff { gateway, feed } => self.gateway_cut_off(gateway, feed),
            Event::Listen { gateway, life } => self.gateway_listens(gateway, life),
            Event::GatewayStarts(gateway) => self.gateway_starts(gateway),
            Event::Dial { caller, node, task } => self.dial(caller, node, task),
            Event::Pump(stream) => self.pump(stream),
            Event::ToNode { node, life, stream, id, call } => {
                self.call_arrives(node, life, stream, id, *call);
            }
            Event::FromNode { stream, said, fencing, .. } => self.node_says(stream, *said, fencing),
            Event::StreamDown { who, stream, is_told } => self.stream_down(who, stream, is_told),
            Event::PingMissed { who, stream } => self.ping_missed(who, stream),
            Event::RouterTurn(caller) => self.router_turn(caller),
            Event::NodeStarts(node) => self.node_starts(node),
            Event::Answers { node, life, stream, id, reply } => self.answers(node, life, stream, id, reply),
            Event::Guild { node, life, guild, input } => self.guild_input(node, life, guild, input),
            Event::Claims { node, life, guild, number } => {
                if self.node_lives(node, life) {
                    self.claim(node, guild, number);
                }
            }
            Event::Heard { node, life, guild, number } => self.begins_to_act(node, life, guild, number),
            Event::Sweep { node, life } => self.sweep(node, life),
            Event::Renew { node, life } => self.renew(node, life),
            Event::Joins { node, life } => self.node_joins(node, life),
            Event::Asked { node, life, wish, guild_number, back } => {
                self.registry_asked(node, life, wish, guild_number, back);
            }
            Event::Answered { node, life, wish, guild_number, answer } => {
                self.registry_answers(node, life, &wish, guild_number, &answer);
            }
            Event::Published(life, record) => self.published(life, record),
            Event::LeaseEnds(id, life) => self.lease_ends(id, life),
            Event::NodeLeaseEnds(lease) => self.node_lease_ends(lease),
            Event::Watch(who) => self.watch(who),
            Event::NodesAre(who, known) => self.nodes_change(who, &known),
            Event::ServersAre { node, life, records } => self.servers_are(node, life, records),
            Event::Registry { node, life, change } => self.registry_says(node, life, change),
            Event::DialVoice { node, life, host, task } => self.dial_voice(node, life, host, task),
            Event::LinkUp { node, life, host, task, host_life } => {
                self.link_up(node, life, host, task, host_life);
            }
            Event::LinkBreaks { node, life, host, task } => self.link_breaks(node, life, host, task),
            Event::Order { node, life, host, task } => self.order_arrives(node, life, host, task),
            Event::CaughtUp { node, life, host, task } => self.caught_up(node, life, host, task),
            Event::Report { node, life, report } => {
                self.guild_input(node, life, report.guild(), Input::Report(report));
            }
            Event::HostStarts(host) => self.host_starts(host),
            Event::Second { host, life } => self.second(host, life),
            Event::RelayReads { host, shard, generation } => self.relay_reads(host, shard, generation),
            Event::RelayStarts { host, life } => self.relay_starts(host, life),
            Event::RelayDown { host, life, generation, blamed } => {
                self.relay_is_down(host, life, generation, &blamed);
            }
            Event::FromRelay { host, life, generation, shard, message } => {
                self.relay_says(host, life, generation, shard, &message);
            }
            Event::UdpUp { from, to, bytes } => self.udp_arrives(from, to, bytes),
            Event::UdpDown { host, to, bytes } => self.media_arrives(host, to, bytes),
            Event::Client(client, timer, count) => self.client_wakes(client, timer, count),
            Event::Fault => self.fault(),
            Event::Heal(heal) => self.heal(heal),
            Event::Look => {
                self.look();
                self.after(ms(250), Event::Look);
            }
            Event::Calm => self.calm(),
            Event::WindowBegins => self.window_begins(),
            Event::End => {
                self.check_rest();
                self.is_over = true;
            }
        }
    }

    fn wakes_up(&mut self, who: Sleeper) {
        if self.wakes.get(&who).is_some_and(|due| *due <= self.now) {
            self.wakes.remove(&who);
        }
        match who {
            Sleeper::Gateway(gateway) => self.gateway_wakes(gateway),
            Sleeper::Guild { node, life, guild } => self.guild_wakes(node, life, guild),
            Sleeper::Voice { host, life } => self.voice_wakes(host, life),
            Sleeper::Relay { host, shard, generation } => self.relay_reads(host, shard, generation),
        }
    }
}
