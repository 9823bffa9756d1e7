//! What people and misfortune do, until there is calm.

use client_wire::rest;
use cluster_wire::guilds::{Call, Op};
use cluster_wire::voice::ToVoice;
use model::{ChannelId, GuildId, Permissions, UserId};

use crate::client::Outage;
use crate::event::Event;
use crate::net::ServerEnd;
use crate::router::Process;
use crate::settings::Kind;
use crate::time::{At, ms, secs};
use crate::world::World;

/// What ends by itself.
#[derive(Debug, Clone, Copy)]
pub enum Heal {
    /// The relay that hung is replaced.
    Relay {
        host: usize,
        generation: u64,
    },
    Drained(usize),
    /// What hung goes on.
    Process(Process),
    /// A record says something else by now.
    Record(usize),
}

impl World {
    /// Something happens, and then something else after a while.
    pub fn fault(&mut self) {
        if self.now.0 >= self.settings.calm_at {
            return;
        }
        let kinds = self.settings.kinds.clone();
        let kind = *self.chaos.pick(&kinds).expect("a world has kinds");
        self.happen(kind);
        let every = self.settings.fault_every;
        let wait = self.chaos.between(every / 4, every * 2);
        self.after(wait, Event::Fault);
    }

    /// Long enough to matter, and over when there is calm.
    fn until(&mut self, shortest: u64, longest: u64) -> At {
        let length = self.chaos.between(shortest, longest);
        self.now.plus(length).min(At(self.settings.calm_at))
    }

    fn some_host(&mut self) -> usize {
        self.chaos.below(self.hosts.len() as u64) as usize
    }

    fn some_client(&mut self) -> usize {
        self.chaos.below(self.clients.len() as u64) as usize
    }

    fn some_guild(&mut self) -> GuildId {
        let guilds: Vec<GuildId> = self.reference.guilds.keys().copied().collect();
        *self.chaos.pick(&guilds).expect("there is a guild")
    }

    fn some_channel(&mut self, guild: GuildId) -> Option<ChannelId> {
        let channels = self.reference.guilds[&guild].channels();
        self.chaos.pick(&channels).copied()
    }

    fn some_participant(&mut self, guild: GuildId) -> Option<UserId> {
        let users: Vec<UserId> = self.reference.guilds[&guild].voice.keys().copied().collect();
        self.chaos.pick(&users).copied()
    }

    fn happen(&mut self, kind: Kind) {
        match kind {
            Kind::Wander => self.wander(),
            Kind::Mute | Kind::Move | Kind::Kick | Kind::Permission | Kind::DeleteChannel | Kind::Region => {
                self.moderate_somehow(kind);
            }
            Kind::RelayKill | Kind::RelayDoom | Kind::RelayHang => self.hurt_relay(kind),
            Kind::VoiceKill | Kind::Drain | Kind::Flood | Kind::Partition | Kind::Stall => {
                self.hurt_host(kind)
            }
            Kind::GatewayKill
            | Kind::GatewayHang
            | Kind::NodeKill
            | Kind::NodeHang
            | Kind::NodePartition
            | Kind::EtcdGone
            | Kind::StreamBreak => self.hurt_cluster(kind),
            Kind::CutOff => {
                let gateway = self.chaos.below(self.gateways.len() as u64) as usize;
                self.cut_off(gateway);
            }
            Kind::GatewayBreak | Kind::VoiceBreak => {
                let client = self.some_client();
                let is_meant =
                    |end: &ServerEnd| matches!(end, ServerEnd::Gateway(_)) == (kind == Kind::GatewayBreak);
                let sockets =
                    self.net.open_sockets(|s| s.client == client && s.client_open && is_meant(&s.end));
                if let Some(id) = self.chaos.pick(&sockets).copied() {
                    self.trace.note(self.now, || format!("{kind:?} of client {client}"));
                    self.break_socket(id);
                }
            }
            Kind::Outage => {
                let client = self.some_client();
                let outage =
                    Outage { until: self.until(ms(200), secs(8)), is_gentle: self.chaos.chance(500) };
                self.trace.note(self.now, || format!("client {client} reaches nobody: {outage:?}"));
                self.clients[client].outage = Some(outage);
            }
            Kind::Vanish => {
                let client = self.some_client();
                let left = self.clients.iter().filter(|client| !client.has_vanished).count();
                // Who is not missed in time would be taken for one of the others.
                let in_time = self.now.0 + secs(15) < self.settings.calm_at;
                if left > 2 && in_time && self.chaos.chance(400) {
                    self.trace.note(self.now, || format!("client {client} vanishes"));
                    self.clients[client].has_vanished = true;
                }
            }
            Kind::Rebind => {
                let client = self.some_client();
                self.rebind(client);
            }
        }
    }

    // People.

    fn wander(&mut self) {
        let client = self.some_client();
        if self.clients[client].has_vanished {
            return;
        }
        match self.chaos.below(10) {
            0 if self.clients[client].wants.is_some() => {
                let guild = self.clients[client].guild;
                self.want(client, guild, None);
            }
            1 | 2 => {
                let (mute, deaf) = (self.chaos.chance(500), self.chaos.chance(300));
                let this = &mut self.clients[client];
                (this.mute, this.deaf) = (mute, deaf);
                if this.wants.is_some() {
                    self.say_wish(client);
                }
            }
            _ => self.go_somewhere(client),
        }
    }

    pub fn go_somewhere(&mut self, client: usize) {
        // People go where people are.
        let other = self.some_client();
        let (guild, channel) = (self.clients[other].guild, self.clients[other].wants);
        if other != client && channel.is_some() && self.chaos.chance(600) {
            return self.want(client, guild, channel);
        }
        let guild = match self.clients[client].wants {
            Some(_) if self.chaos.chance(800) => self.clients[client].guild,
            _ => self.some_guild(),
        };
        if let Some(channel) = self.some_channel(guild) {
            self.want(client, guild, Some(channel));
        }
    }

    fn moderate_somehow(&mut self, kind: Kind) {
        let guild = self.some_guild();
        let op = match kind {
            Kind::Mute => self.some_mute(guild),
            Kind::Move => self.some_move(guild),
            Kind::Kick => self.some_kick(guild),
            Kind::Permission => self.some_permission(guild),
            Kind::DeleteChannel => {
                let is_left = self.reference.guilds[&guild].channels().len() > 1;
                self.some_channel(guild).filter(|_| is_left).map(Op::DeleteChannel)
            }
            _ => self.some_region(guild),
        };
        if let Some(op) = op {
            self.moderate(op);
        }
    }

    fn some_mute(&mut self, guild: GuildId) -> Option<Op> {
        let user = self.some_participant(guild)?;
        let mut body = rest::ModifyMember::default();
        match self.chaos.below(3) {
            0 => body.deaf = Some(self.chaos.chance(400)),
            _ => body.mute = Some(self.chaos.chance(500)),
        }
        Some(Op::ModifyMember(guild, user, body))
    }

    fn some_move(&mut self, guild: GuildId) -> Option<Op> {
        let user = self.some_participant(guild)?;
        let channel_id = match self.chaos.chance(250) {
            true => rest::Patch::Clear,
            false => rest::Patch::Set(self.some_channel(guild)?),
        };
        Some(Op::ModifyMember(
            guild,
            user,
            rest::ModifyMember { channel_id, ..rest::ModifyMember::default() },
        ))
    }

    fn some_kick(&mut self, guild: GuildId) -> Option<Op> {
        let client = self.some_client();
        // The first is the owner.
        let user = self.clients[client.max(1)].user;
        match self.reference.guilds[&guild].members().contains(&user) {
            true if self.chaos.chance(400) => Some(Op::RemoveMember(guild, user)),
            true => None,
            false => Some(Op::AdminAddMember(guild, user)),
        }
    }

    fn some_permission(&mut self, guild: GuildId) -> Option<Op> {
        let channel = self.some_channel(guild)?;
        let (kind, id) = match self.chaos.chance(400) {
            true => (0, guild.0),
            false => {
                let client = self.some_client();
                (1, self.clients[client].user.0)
            }
        };
        if self.chaos.chance(400) {
            return Some(Op::DeleteOverwrite { channel, id });
        }
        let of = [Permissions::SPEAK, Permissions::CONNECT, Permissions::VIEW_CHANNEL];
        let deny = *self.chaos.pick(&of).expect("there are three");
        let allow = if self.chaos.chance(300) { Permissions::SPEAK } else { Permissions::empty() };
        let body = rest::OverwriteBody { id: None, kind, allow, deny };
        Some(Op::PutOverwrite { channel, id, body })
    }

    fn some_region(&mut self, guild: GuildId) -> Option<Op> {
        let node = self.some_node();
        let regions: Vec<String> = self.nodes[node].fleet.regions().into_iter().collect();
        let region = match self.chaos.pick(&regions).cloned() {
            Some(region) if self.chaos.chance(800) => rest::Patch::Set(region),
            _ => rest::Patch::Clear,
        };
        Some(Op::ModifyGuild(guild, rest::ModifyGuild { name: None, region, owner_id: None }))
    }

    /// By a gateway's REST interface, where nobody waits for the answer.
    pub fn moderate(&mut self, op: Op) {
        let call = Call::Rest { actor: None, operator: true, reason: None, op };
        let gateway = self.some_gateway();
        let who = Process::Gateway(gateway);
        if !self.is_hung(who) {
            self.route((who, self.gateways[gateway].life), None, call);
        }
    }

    // Gateways, guilds nodes and etcd.

    fn some_gateway(&mut self) -> usize {
        self.chaos.below(self.gateways.len() as u64) as usize
    }

    fn some_node(&mut self) -> usize {
        self.chaos.below(self.nodes.len() as u64) as usize
    }

    fn hurt_cluster(&mut self, kind: Kind) {
        let (gateway, node) = (self.some_gateway(), self.some_node());
        let calm = At(self.settings.calm_at);
        match kind {
            Kind::GatewayKill => {
                let again = self.until(ms(300), secs(8));
                self.gateway_dies(gateway);
                self.at(again, Event::GatewayStarts(gateway));
            }
            Kind::NodeKill => {
                let again = self.until(ms(100), secs(8));
                self.node_dies(node);
                self.at(again, Event::NodeStarts(node));
            }
            Kind::GatewayHang | Kind::NodeHang => {
                let who =
                    if kind == Kind::NodeHang { Process::Node(node) } else { Process::Gateway(gateway) };
                let until = self.until(ms(500), secs(9));
                self.hang(who);
                self.at(until, Event::Heal(Heal::Process(who)));
            }
            Kind::NodePartition => {
                let until = self.until(secs(1), secs(12));
                let life = match self.chaos.chance(700) {
                    true => (Process::Node(node), self.nodes[node].life),
                    false => (Process::Gateway(gateway), self.gateways[gateway].life),
                };
                self.registry_is_cut_off(life, until);
            }
            Kind::EtcdGone => {
                let until = self.until(secs(1), secs(12));
                if self.registry.gone_until < self.now {
                    self.registry_is_gone(until);
                }
            }
            _ => self.break_some_stream(),
        }
        assert!(self.now <= calm, "no fault after calm");
    }

    fn break_some_stream(&mut self) {
        if self.chaos.chance(600) {
            let all = self.streams_of(|_| true);
            if let Some(id) = self.chaos.pick(&all).copied() {
                self.trace.note(self.now, || format!("stream {id} breaks"));
                self.break_stream(id);
            }
            return;
        }
        let host = self.some_host();
        let ways = self.ways_to(host);
        if let Some((node, life, task)) = self.chaos.pick(&ways).copied() {
            self.at(self.now, Event::LinkBreaks { node, life, host, task });
        }
    }

    // Servers.

    fn hurt_relay(&mut self, kind: Kind) {
        let host = self.some_host();
        let after = self.chaos.between(ms(200), secs(4));
        let packets = self.chaos.below(12) as usize;
        let is_own_doing = self.chaos.chance(200);
        let Some(process) = self.hosts[host].process.as_mut().filter(|process| !process.is_orphan) else {
            return;
        };
        let generation = process.generation;
        self.trace.note(self.now, || format!("{kind:?} of voice-{host}"));
        match kind {
            Kind::RelayKill => self.relay_dies(host, is_own_doing),
            Kind::RelayDoom => process.doom(packets),
            _ => {
                process.is_hung = true;
                let at = self.now.plus(after).min(At(self.settings.calm_at));
                self.at(at, Event::Heal(Heal::Relay { host, generation }));
            }
        }
    }

    fn hurt_host(&mut self, kind: Kind) {
        let host = self.some_host();
        self.trace.note(self.now, || format!("{kind:?} of voice-{host}"));
        match kind {
            Kind::VoiceKill => self.host_dies(host),
            Kind::Drain => {
                if self.tell_voice(host, ToVoice::SetDraining(true)) {
                    let until = self.until(secs(1), secs(10)).plus(secs(1));
                    self.at(until, Event::Heal(Heal::Drained(host)));
                }
            }
            Kind::Flood => {
                let until = self.until(secs(1), secs(8));
                self.hosts[host].flooded_until = until;
                self.publish(host, false);
                self.at(until, Event::Heal(Heal::Record(host)));
            }
            Kind::Partition => {
                let until = self.until(secs(2), secs(20));
                self.hosts[host].partitioned_until = until;
                self.at(until, Event::Heal(Heal::Record(host)));
            }
            _ => {
                let until = self.until(ms(200), secs(5));
                let this = &mut self.hosts[host];
                this.stalled_until = until;
                // What waited is taken at once, and what was missed is said again after that.
                this.lagging_until = this.lagging_until.max(until.plus(ms(200)));
            }
        }
    }

    pub fn heal(&mut self, heal: Heal) {
        match heal {
            Heal::Relay { host, generation } => {
                if self.hosts[host].process.as_ref().is_some_and(|process| process.generation == generation) {
                    self.relay_dies(host, true);
                }
            }
            Heal::Process(who) => self.wake_up(who),
            Heal::Drained(host) => {
                if self.hosts[host].record.draining && !self.tell_voice(host, ToVoice::SetDraining(false)) {
                    self.after(secs(1), Event::Heal(Heal::Drained(host)));
                }
            }
            Heal::Record(host) => self.publish(host, true),
        }
    }

    /// No fault from here on; whoever is in no channel by now goes to one.
    pub fn calm(&mut self) {
        self.trace.note(self.now, || "calm".to_owned());
        self.end_broken_sockets();
        (0..self.nodes.len()).for_each(|node| self.node_starts(node));
        (0..self.gateways.len()).for_each(|gateway| self.gateway_starts(gateway));
        for host in 0..self.hosts.len() {
            self.host_starts(host);
            self.publish(host, true);
            if let Some(process) = &mut self.hosts[host].process {
                process.spare();
            }
        }
        for client in 0..self.clients.len() {
            let this = &mut self.clients[client];
            this.mute = false;
            if this.has_vanished {
                continue;
            }
            self.try_gateway_at_once(client);
            match self.clients[client].wants {
                None => self.go_somewhere(client),
                Some(_) => self.say_wish(client),
            }
        }
    }
}
