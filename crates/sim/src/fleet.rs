//! The voice servers as a guilds node can reach them, and the orders that wait for each: what `guilds::fleet` and `cluster::voice` keep.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use cluster_wire::record::{Health, ServerRecord};
use cluster_wire::voice::{Order, OrderKind, ToVoice};
use guilds_core::Servers;
use model::{GuildId, ServerId};

use crate::event::{Change, Event, Input, Review};
use crate::limits::{ORDERS_MAX, REDIAL_FIRST, REDIAL_LAST, REFUSALS_OF_THE_DEAD, UNSEEN_LAG};
use crate::net::in_order;
use crate::time::{At, ms};
use crate::world::World;

#[derive(Default)]
pub struct Fleet {
    records: BTreeMap<ServerId, ServerRecord>,
    links: BTreeMap<ServerId, Link>,
    /// Servers with a record and a link.
    pub usable: Servers,
    /// By host: who attends to it, from the first record until the last.
    ways: BTreeMap<usize, Way>,
}

/// What dials a voice server, again and again.
#[derive(Default)]
struct Way {
    task: u64,
    attempts: u32,
    refusals: u32,
    /// Its stream stands.
    is_up: bool,
    /// The registry has a record of it.
    is_recorded: bool,
    /// The life of the server that it leads or led to.
    known: Option<u64>,
}

struct Link {
    waiting: VecDeque<ToVoice>,
    last: At,
    /// The guilds of which it was not told something.
    missed: Option<BTreeMap<GuildId, u64>>,
}

impl Fleet {
    /// One that is behind its orders is not chosen, and left where there is another.
    fn refresh(&mut self, id: &ServerId) {
        let Some(link) = self.links.get(id) else {
            self.usable.remove(id);
            return;
        };
        // The registry has lost one that stays as it was left, if it was known at all.
        let Some(record) = self.records.get(id) else { return };
        let health = if link.missed.is_some() { Health::Flooded } else { record.health };
        self.usable.insert(id.clone(), ServerRecord { health, ..record.clone() });
    }

    /// To every server that the registry knows.
    pub fn has_ways(&self) -> bool {
        self.records.keys().all(|id| self.links.contains_key(id))
    }

    pub fn regions(&self) -> BTreeSet<String> {
        self.usable.values().map(|record| record.region.0.clone()).collect()
    }
}

fn matters(old: &ServerRecord, new: &ServerRecord) -> bool {
    let fixed =
        |r: &ServerRecord| (r.region.clone(), r.endpoint.clone(), r.health, r.draining, r.is_eligible());
    fixed(old) != fixed(new)
}

impl World {
    // The registry.

    pub fn servers_are(&mut self, node: usize, life: u64, records: Vec<ServerRecord>) {
        if !self.node_lives(node, life) {
            return;
        }
        let known: Vec<ServerId> = self.nodes[node].fleet.records.keys().cloned().collect();
        for id in known.into_iter().filter(|id| records.iter().all(|record| record.id != *id)) {
            self.registry_says(node, life, Change::Gone(id));
        }
        for record in records {
            self.registry_says(node, life, Change::Put(Box::new(record)));
        }
        self.nodes[node].knows_servers = true;
    }

    pub fn registry_says(&mut self, node: usize, life: u64, change: Change) {
        if !self.node_lives(node, life) {
            return;
        }
        match change {
            Change::Put(record) => {
                let id = record.id.clone();
                let fleet = &mut self.nodes[node].fleet;
                let old = fleet.usable.get(&id).cloned();
                fleet.records.insert(id.clone(), *record);
                fleet.refresh(&id);
                let matters =
                    fleet.usable.get(&id).is_some_and(|new| old.is_none_or(|old| matters(&old, new)));
                if matters {
                    self.review(node, &Review::Look);
                }
                let host = self.host_of(&id);
                let is_new = !self.nodes[node].fleet.ways.contains_key(&host);
                self.nodes[node].fleet.ways.entry(host).or_default().is_recorded = true;
                if is_new {
                    self.redial_voice(node, host, 0);
                }
            }
            // While there is a way to the server it is only to be left.
            Change::Gone(id) => {
                let host = self.host_of(&id);
                let fleet = &mut self.nodes[node].fleet;
                if fleet.records.remove(&id).is_none() {
                    return;
                }
                let is_up = fleet.ways.get_mut(&host).is_some_and(|way| {
                    way.is_recorded = false;
                    way.is_up
                });
                if !is_up {
                    // This is the last attempt.
                    self.redial_voice(node, host, 0);
                }
                let fleet = &mut self.nodes[node].fleet;
                if !fleet.links.contains_key(&id) {
                    fleet.usable.remove(&id);
                } else if let Some(known) = fleet.usable.get_mut(&id) {
                    known.health = Health::RelayLost;
                    self.review(node, &Review::Look);
                }
            }
        }
    }

    pub fn host_of(&self, id: &ServerId) -> usize {
        self.hosts.iter().position(|host| host.id == *id).expect("records are of hosts")
    }

    // Ways.

    fn redial_voice(&mut self, node: usize, host: usize, wait: u64) {
        self.tasks_made += 1;
        let (task, life) = (self.tasks_made, self.nodes[node].life);
        let Some(way) = self.nodes[node].fleet.ways.get_mut(&host) else { return };
        (way.task, way.is_up) = (task, false);
        let wait = wait + self.link_delay();
        self.after(wait, Event::DialVoice { node, life, host, task });
    }

    fn is_way(&self, node: usize, life: u64, host: usize, task: u64) -> bool {
        self.node_lives(node, life) && self.nodes[node].fleet.ways.get(&host).is_some_and(|w| w.task == task)
    }

    pub fn dial_voice(&mut self, node: usize, life: u64, host: usize, task: u64) {
        if !self.is_way(node, life, host, task) {
            return;
        }
        let is_alive = self.hosts[host].core.is_some();
        let host_life = self.hosts[host].life;
        if is_alive {
            let delay = self.link_delay();
            return self.after(delay, Event::LinkUp { node, life, host, task, host_life });
        }
        let says_so = self.hosts[host].refuses;
        let way = self.nodes[node].fleet.ways.get_mut(&host).expect("it was just there");
        let pause = (REDIAL_FIRST << way.attempts.min(10)).min(REDIAL_LAST);
        way.attempts += 1;
        let is_dead = says_so && way.known.is_some() && {
            way.refusals += 1;
            way.refusals >= REFUSALS_OF_THE_DEAD
        };
        // Without a record it is not waited for.
        let is_given_up = !way.is_recorded;
        if is_dead || is_given_up && way.known.is_some() {
            way.known = None;
            let id = self.hosts[host].id.clone();
            self.trace.note(self.now, || format!("node-{node} takes {id} for dead"));
            self.unlink(node, &id);
        }
        if is_given_up {
            self.nodes[node].fleet.ways.remove(&host);
        } else {
            self.redial_voice(node, host, pause);
        }
    }

    pub fn link_up(&mut self, node: usize, life: u64, host: usize, task: u64, host_life: u64) {
        if !self.is_way(node, life, host, task) {
            return;
        }
        if !self.hosts[host].lives(host_life) {
            return self.redial_voice(node, host, REDIAL_FIRST);
        }
        let id = self.hosts[host].id.clone();
        let now = self.now;
        let fleet = &mut self.nodes[node].fleet;
        let way = fleet.ways.get_mut(&host).expect("it was just there");
        (way.is_up, way.attempts, way.refusals) = (true, 0, 0);
        let is_same = way.known.replace(host_life) == Some(host_life);
        let lagging_until = now.plus(UNSEEN_LAG);
        self.trace.note(now, || format!("node-{node} has a way to {id}, the same: {is_same}"));
        if !is_same {
            self.hosts[host].lagging_until = self.hosts[host].lagging_until.max(lagging_until);
        }
        let fleet = &mut self.nodes[node].fleet;
        if is_same && let Some(link) = fleet.links.get_mut(&id) {
            link.last = now;
            for _ in 0..link.waiting.len() {
                let delay = self.link_delay();
                let link = self.nodes[node].fleet.links.get_mut(&id).expect("it was just there");
                let at = in_order(&mut link.last, now.plus(delay));
                self.at(at, Event::Order { node, life, host, task });
            }
            return self.review(node, &Review::Reconnected(id));
        }
        let link = Link { waiting: VecDeque::new(), last: now, missed: None };
        let replaced = fleet.links.insert(id.clone(), link).is_some();
        self.forget_orders(node, &id);
        self.nodes[node].fleet.refresh(&id);
        if self.nodes[node].fleet.usable.contains_key(&id) {
            self.review(node, &if replaced { Review::Lost(id) } else { Review::Look });
        }
    }

    /// The stream is over, which says nothing of the server yet. What was on its way is lost.
    pub fn link_breaks(&mut self, node: usize, life: u64, host: usize, task: u64) {
        if !self.is_way(node, life, host, task) || !self.nodes[node].fleet.ways[&host].is_up {
            return;
        }
        let id = self.hosts[host].id.clone();
        self.trace.note(self.now, || format!("node-{node} has lost its way to {id}"));
        let random = self.net.random();
        if let Some(link) = self.nodes[node].fleet.links.get_mut(&id) {
            let lost = random.between(0, link.waiting.len() as u64) as usize;
            link.waiting.drain(..lost);
        }
        self.redial_voice(node, host, 0);
    }

    /// Every way to this host, with its task.
    pub fn ways_to(&self, host: usize) -> Vec<(usize, u64, u64)> {
        let nodes = self.nodes.iter().enumerate().filter(|(_, node)| node.is_alive);
        let up = nodes.filter_map(|(number, node)| {
            node.fleet.ways.get(&host).filter(|way| way.is_up).map(|way| (number, node.life, way.task))
        });
        up.collect()
    }

    fn unlink(&mut self, node: usize, id: &ServerId) {
        self.forget_orders(node, id);
        let fleet = &mut self.nodes[node].fleet;
        if fleet.links.remove(id).is_some() && fleet.usable.remove(id).is_some() {
            self.review(node, &Review::Lost(id.clone()));
        }
    }

    /// Every guild is told by a task of its own.
    pub fn review(&mut self, node: usize, review: &Review) {
        let life = self.nodes[node].life;
        for guild in self.nodes[node].active() {
            let delay = self.link_delay();
            let input = Input::Review(review.clone());
            self.after(delay, Event::Guild { node, life, guild, input });
        }
    }

    // Orders.

    pub fn order(&mut self, node: usize, id: &ServerId, order: Order) {
        self.trace.note(self.now, || {
            format!("guild {} of node-{node} to {id}: {}", order.guild, brief_order(&order))
        });
        self.hear_order(id, &order);
        let (guild, fencing) = (order.guild, order.fencing);
        let host = self.host_of(id);
        let Some(link) = self.nodes[node].fleet.links.get_mut(id) else { return };
        if link.missed.is_none() && link.waiting.len() < ORDERS_MAX {
            return self.wait_for_voice(node, host, ToVoice::Order(order));
        }
        let fell_behind = link.missed.is_none();
        link.missed.get_or_insert_default().insert(guild, fencing);
        if fell_behind {
            self.trace.note(self.now, || format!("{id} has fallen behind its orders"));
            self.nodes[node].fleet.refresh(id);
            self.review(node, &Review::Look);
        }
    }

    fn wait_for_voice(&mut self, node: usize, host: usize, message: ToVoice) {
        let (id, life) = (self.hosts[host].id.clone(), self.nodes[node].life);
        let delay = self.link_delay();
        let fleet = &mut self.nodes[node].fleet;
        let Some(link) = fleet.links.get_mut(&id) else { return };
        link.waiting.push_back(message);
        if let Some(way) = fleet.ways.get(&host).filter(|way| way.is_up) {
            let (task, at) = (way.task, in_order(&mut link.last, self.now.plus(delay)));
            self.at(at, Event::Order { node, life, host, task });
        }
    }

    /// What the operator says to a voice server, by any node that has a way to it. False where none has.
    pub fn tell_voice(&mut self, host: usize, message: ToVoice) -> bool {
        let id = &self.hosts[host].id;
        let node = self.nodes.iter().position(|node| node.is_alive && node.fleet.links.contains_key(id));
        if let Some(node) = node {
            self.wait_for_voice(node, host, message);
        }
        node.is_some()
    }

    /// The next order that waits, unless the voice server takes none.
    pub fn take_order(&mut self, node: usize, life: u64, host: usize, task: u64) -> Option<ToVoice> {
        let leads_here = |way: &Way| way.is_up && way.known == Some(self.hosts[host].life);
        if !self.is_way(node, life, host, task) || !leads_here(&self.nodes[node].fleet.ways[&host]) {
            return None;
        }
        let id = self.hosts[host].id.clone();
        let link = self.nodes[node].fleet.links.get_mut(&id)?;
        let order = link.waiting.pop_front();
        if link.waiting.is_empty() && link.missed.is_some() {
            self.after(ms(1), Event::CaughtUp { node, life, host, task });
        }
        order
    }

    pub fn caught_up(&mut self, node: usize, life: u64, host: usize, task: u64) {
        if !self.is_way(node, life, host, task) {
            return;
        }
        let id = self.hosts[host].id.clone();
        let Some(link) = self.nodes[node].fleet.links.get_mut(&id) else { return };
        if !link.waiting.is_empty() {
            return;
        }
        let Some(missed) = link.missed.take() else { return };
        self.trace.note(self.now, || format!("{id} has caught up with node-{node}"));
        self.nodes[node].fleet.refresh(&id);
        for (guild, fencing) in missed {
            if self.nodes[node].active().contains(&guild) {
                let input = Input::Review(Review::Missed(id.clone()));
                self.after(ms(1), Event::Guild { node, life, guild, input });
            } else {
                self.order(node, &id, Order { guild, fencing, kind: OrderKind::Drop });
            }
        }
        self.review(node, &Review::Look);
    }
}

fn brief_order(order: &Order) -> String {
    let kind = match &order.kind {
        OrderKind::Push(all) => format!("push {:?}", all.iter().map(brief_participant).collect::<Vec<_>>()),
        OrderKind::Put(one) => format!("put {}", brief_participant(one)),
        OrderKind::Remove { user, session } => format!("remove {user} {session:?}"),
        OrderKind::Drop => "drop".to_owned(),
        OrderKind::Release(released) => format!("release {released:?}"),
        OrderKind::Channel(memo) => format!("keep {memo:?}"),
        OrderKind::Claim => "claim".to_owned(),
    };
    format!("#{} {kind}", order.fencing)
}

fn brief_participant(of: &cluster_wire::voice::Participant) -> String {
    let (speak, hear) = (of.rights.speak, of.rights.hear);
    format!("{} {:?} in {} speak={speak} hear={hear}", of.user, of.session, of.channel)
}
