//! The registry: records of voice servers and guilds nodes under leases, the ownership of guilds, and those who watch.

use std::collections::{BTreeMap, BTreeSet};

use cluster_wire::record::ServerRecord;
use model::{GuildId, ServerId};

use crate::event::{Change, Event};
use crate::limits::{ANSWER_WITHIN, LEASE, NODE_LEASE, UNSEEN_LAG, WATCH_RETRY};
use crate::net::in_order;
use crate::router::{Life, Process};
use crate::time::{At, ms};
use crate::world::World;

#[derive(Default)]
pub struct Registry {
    /// By server: which life of it holds the lease, until when, and what it said last.
    leases: BTreeMap<ServerId, (u64, At, ServerRecord)>,
    /// By guilds node: the lease that its record is under.
    nodes: BTreeMap<usize, u64>,
    /// Of guilds nodes, with their ends.
    node_leases: BTreeMap<u64, (usize, At)>,
    /// Which node owns a guild, and under which lease.
    owners: BTreeMap<GuildId, (usize, u64)>,
    /// Counts writes: the numbers of ownerships.
    revision: u64,
    /// When each watcher was told last. Those that cannot be reached are not in here, and begin anew.
    watchers: BTreeMap<Life, At>,
    /// It answers nobody until then.
    pub gone_until: At,
    /// Those that cannot reach it.
    pub cut_off_until: BTreeMap<Process, At>,
}

/// What a guilds node asks.
#[derive(Debug, Clone)]
pub enum Wish {
    Join,
    Renew(u64),
    /// Under this lease.
    Claim(u64, GuildId),
}

#[derive(Debug, Clone)]
pub enum Answer {
    Unavailable,
    Joined(u64),
    Renewed,
    /// The lease has ended.
    Lapsed,
    Ours(u64),
    Others(usize),
}

impl World {
    pub fn reaches_registry(&self, who: Process) -> bool {
        let cut_off = self.registry.cut_off_until.get(&who).is_some_and(|until| *until > self.now);
        self.registry.gone_until <= self.now && !cut_off
    }

    // Voice servers.

    /// A server that is started anew waits until the lease of its former life has ended.
    pub fn published(&mut self, life: u64, record: ServerRecord) {
        let id = record.id.clone();
        let known = self.registry.leases.get(&id);
        if self.registry.gone_until > self.now || known.is_some_and(|(holder, ..)| *holder != life) {
            return;
        }
        let is_news = known.is_none_or(|(.., said)| *said != record);
        let host = self.host_of(&id);
        if std::mem::take(&mut self.hosts[host].is_unseen) {
            self.hosts[host].lagging_until = self.now.plus(UNSEEN_LAG);
        }
        let until = self.now.plus(LEASE);
        self.registry.leases.insert(id.clone(), (life, until, record.clone()));
        self.at(until, Event::LeaseEnds(id, life));
        if is_news {
            self.tell_of_server(&Change::Put(Box::new(record)));
        }
    }

    pub fn lease_ends(&mut self, id: ServerId, life: u64) {
        let now = self.now;
        if self.registry.leases.get(&id).is_some_and(|(holder, until, _)| *holder == life && *until <= now) {
            self.trace.note(now, || format!("the lease of {id} ends"));
            self.registry.leases.remove(&id);
            let host = self.host_of(&id);
            self.hosts[host].is_unseen = true;
            self.tell_of_server(&Change::Gone(id));
        }
    }

    // Guilds nodes.

    pub fn ask_registry(&mut self, node: usize, life: u64, wish: Wish, guild_number: u64) {
        let (there, back) = (self.link_delay(), self.link_delay());
        if !self.reaches_registry(Process::Node(node)) {
            let wait = self.net.random().between(ms(1), ANSWER_WITHIN);
            let answer = Answer::Unavailable;
            return self.after(wait, Event::Answered { node, life, wish, guild_number, answer });
        }
        self.after(there, Event::Asked { node, life, wish, guild_number, back });
    }

    pub fn registry_asked(&mut self, node: usize, life: u64, wish: Wish, guild_number: u64, back: u64) {
        let answer = match self.registry.gone_until > self.now {
            true => Answer::Unavailable,
            false => self.grant(node, &wish),
        };
        self.after(back, Event::Answered { node, life, wish, guild_number, answer });
    }

    fn grant(&mut self, node: usize, wish: &Wish) -> Answer {
        let registry = &mut self.registry;
        match *wish {
            Wish::Join => {
                registry.revision += 1;
                let lease = registry.revision;
                let until = self.now.plus(NODE_LEASE);
                registry.node_leases.insert(lease, (node, until));
                // Who was there before at the address that is this one's now is dead.
                let is_news = registry.nodes.insert(node, lease).is_none();
                self.at(until, Event::NodeLeaseEnds(lease));
                if is_news {
                    self.tell_of_nodes();
                }
                Answer::Joined(lease)
            }
            Wish::Renew(lease) => {
                let until = self.now.plus(NODE_LEASE);
                let Some((_, end)) = registry.node_leases.get_mut(&lease) else { return Answer::Lapsed };
                *end = until;
                self.at(until, Event::NodeLeaseEnds(lease));
                Answer::Renewed
            }
            Wish::Claim(lease, guild) => {
                if !registry.node_leases.contains_key(&lease) {
                    return Answer::Unavailable;
                }
                if let Some((owner, _)) = registry.owners.get(&guild).filter(|(owner, _)| *owner != node) {
                    return Answer::Others(*owner);
                }
                registry.revision += 1;
                registry.owners.insert(guild, (node, lease));
                Answer::Ours(registry.revision)
            }
        }
    }

    pub fn node_lease_ends(&mut self, lease: u64) {
        if self.registry.node_leases.get(&lease).is_none_or(|(_, until)| *until > self.now) {
            return;
        }
        let (node, _) = self.registry.node_leases.remove(&lease).expect("it was just there");
        self.trace.note(self.now, || format!("the lease of node-{node} ends"));
        self.registry.owners.retain(|_, (_, under)| *under != lease);
        if self.registry.nodes.get(&node) == Some(&lease) {
            self.registry.nodes.remove(&node);
            self.tell_of_nodes();
        }
    }

    // Watchers.

    fn known_nodes(&self) -> Vec<usize> {
        self.registry.nodes.keys().copied().collect()
    }

    /// Everything there is, and then every change.
    pub fn watch(&mut self, who: Life) {
        if !self.lives(who) || self.registry.watchers.contains_key(&who) {
            return;
        }
        if !self.reaches_registry(who.0) {
            return self.after(WATCH_RETRY, Event::Watch(who));
        }
        let at = self.now.plus(self.link_delay());
        self.registry.watchers.insert(who, at);
        self.at(at, Event::NodesAre(who, self.known_nodes()));
        if let (Process::Node(node), life) = who {
            let records: Vec<ServerRecord> =
                self.registry.leases.values().map(|(.., record)| record.clone()).collect();
            self.at(at, Event::ServersAre { node, life, records });
        }
    }

    /// Whoever cannot be reached has lost its watch, and begins another.
    fn reached(&mut self) -> Vec<(Life, At)> {
        let all: Vec<Life> = self.registry.watchers.keys().copied().collect();
        let mut reached = Vec::new();
        for who in all {
            if !self.lives(who) {
                self.registry.watchers.remove(&who);
            } else if self.reaches_registry(who.0) {
                let at = self.now.plus(self.link_delay());
                let last = self.registry.watchers.get_mut(&who).expect("it was just there");
                reached.push((who, in_order(last, at)));
            } else {
                self.loses_watch(who);
            }
        }
        reached
    }

    fn loses_watch(&mut self, who: Life) {
        self.registry.watchers.remove(&who);
        self.after(WATCH_RETRY, Event::Watch(who));
    }

    fn tell_of_nodes(&mut self) {
        let known = self.known_nodes();
        for (who, at) in self.reached() {
            self.at(at, Event::NodesAre(who, known.clone()));
        }
    }

    fn tell_of_server(&mut self, change: &Change) {
        for (who, at) in self.reached() {
            if let (Process::Node(node), life) = who {
                self.at(at, Event::Registry { node, life, change: change.clone() });
            }
        }
    }

    // What happens to it.

    /// Leases that stand go on for their whole time when it is back.
    pub fn registry_is_gone(&mut self, until: At) {
        self.trace.note(self.now, || format!("etcd is gone until {until}"));
        self.registry.gone_until = until;
        let watchers: BTreeSet<Life> = self.registry.watchers.keys().copied().collect();
        watchers.into_iter().for_each(|who| self.loses_watch(who));
        for (id, (life, end, _)) in &mut self.registry.leases.clone() {
            *end = until.plus(LEASE);
            self.registry.leases.get_mut(id).expect("it is the same").1 = *end;
            self.at(*end, Event::LeaseEnds(id.clone(), *life));
        }
        for lease in self.registry.node_leases.keys().copied().collect::<Vec<_>>() {
            let end = until.plus(NODE_LEASE);
            self.registry.node_leases.get_mut(&lease).expect("it was just there").1 = end;
            self.at(end, Event::NodeLeaseEnds(lease));
        }
    }

    pub fn registry_is_cut_off(&mut self, who: Life, until: At) {
        self.trace.note(self.now, || format!("{:?} cannot reach etcd until {until}", who.0));
        self.registry.cut_off_until.insert(who.0, until);
        if self.registry.watchers.contains_key(&who) {
            self.loses_watch(who);
        }
    }
}
