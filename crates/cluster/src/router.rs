//! Which guilds node a call goes to.
//!
//! Once a node has answered for a guild, it is asked; before, the first call asks whose the guild is, and the others wait behind it, so that the order of a
//! guild's calls is kept. Until somebody knows, the node is asked that rendezvous hashing names, which is the same everywhere.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::{Duration, Instant};

use client_wire::error::ApiError;
use cluster_wire::envelope::{FromCaller, Hello, Said};
use cluster_wire::guilds::{Call, CallResult, Event, Reply};
use cluster_wire::link::{CALLS_MAX, EventSender, GuildsLink, ToGuilds};
use cluster_wire::record::NodeRecord;
use model::GuildId;
use registry::{NodeWatch, Registry};
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;

use crate::ClusterKey;
use crate::limits::{ASK_AGAIN, CALL_PATIENCE, STREAM_QUEUE, WAITING_MAX, WATCH_RETRY};
use crate::node::{self, From, News};
use crate::tls::Credentials;

/// Who calls.
#[derive(Debug, Clone)]
pub enum Caller {
    /// A gateway, which is told events.
    Gateway(Hello),
    /// A guilds node, which calls the others and not itself.
    Node(Hello),
}

/// Finds the guilds nodes in the registry and carries calls to them. Ends when the link is dropped.
pub fn route_calls(registry: Registry, key: &ClusterKey, caller: Caller) -> GuildsLink {
    let (calls, incoming) = mpsc::channel(CALLS_MAX);
    let (news, from_nodes) = mpsc::channel(STREAM_QUEUE);
    let (me, but) = match caller {
        Caller::Gateway(hello) => (Hello { listens: true, ..hello }, None),
        Caller::Node(hello) => (hello.clone(), Some(hello.name)),
    };
    let nodes = Nodes { credentials: Credentials::new(key), me, but, news, known: BTreeMap::new() };
    tokio::spawn(run(registry, nodes, incoming, from_nodes));
    GuildsLink::new(calls)
}

/// The nodes that are dialled.
struct Nodes {
    credentials: Credentials,
    me: Hello,
    /// Ourselves.
    but: Option<String>,
    news: mpsc::Sender<(From, News)>,
    known: BTreeMap<String, (NodeRecord, AbortHandle)>,
}

impl Nodes {
    /// Those that are gone, or are elsewhere by now.
    fn update(&mut self, records: Vec<NodeRecord>) -> Vec<String> {
        let is_known = |record: &NodeRecord| records.contains(record);
        let gone: Vec<String> = self
            .known
            .iter()
            .filter(|(_, (record, _))| !is_known(record))
            .map(|(name, _)| name.clone())
            .collect();
        for name in &gone {
            if let Some((_, task)) = self.known.remove(name) {
                task.abort();
            }
        }
        for record in records {
            if self.but.as_ref() != Some(&record.name) && !self.known.contains_key(&record.name) {
                let keep =
                    node::keep(record.clone(), self.credentials.clone(), self.me.clone(), self.news.clone());
                let task = tokio::spawn(keep).abort_handle();
                self.known.insert(record.name.clone(), (record, task));
            }
        }
        gone
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        self.known.values().for_each(|(_, task)| task.abort());
    }
}

async fn run(
    registry: Registry,
    mut nodes: Nodes,
    mut incoming: mpsc::Receiver<ToGuilds>,
    mut from_nodes: mpsc::Receiver<(From, News)>,
) {
    let mut routes = Routes::default();
    let mut watch: Option<NodeWatch> = None;
    let mut again = tokio::time::interval(ASK_AGAIN);
    again.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    // Lives over turns of the loop, or whatever else happens would end it before etcd has answered.
    let mut begun = Box::pin(begin(registry.clone(), Duration::ZERO));
    loop {
        tokio::select! {
            message = incoming.recv() => match message {
                None => return,
                Some(ToGuilds::Call(call, reply)) => routes.call(Instant::now(), call, reply),
                Some(ToGuilds::Listen(_, events)) => routes.events = Some(events),
            },
            Some((from, news)) = from_nodes.recv() => match news {
                News::Up(out) => routes.up(from, out),
                News::Said(said) => routes.said(Instant::now(), &from, said),
                News::Down => routes.down(&from),
            },
            changed = changed(&mut watch) => match changed {
                Ok(records) => {
                    for gone in nodes.update(records) {
                        routes.gone(&gone);
                    }
                }
                Err(error) => {
                    // What is known stays.
                    tracing::warn!(%error, "guilds nodes cannot be watched");
                    watch = None;
                    begun = Box::pin(begin(registry.clone(), WATCH_RETRY));
                }
            },
            began = &mut begun, if watch.is_none() => match began {
                Ok(began) => watch = Some(began),
                Err(error) => {
                    tracing::warn!(%error, "guilds nodes cannot be watched");
                    begun = Box::pin(begin(registry.clone(), WATCH_RETRY));
                }
            },
            _ = again.tick() => routes.ask_again(Instant::now()),
        }
    }
}

async fn begin(registry: Registry, after: Duration) -> Result<NodeWatch, registry::RegistryError> {
    tokio::time::sleep(after).await;
    registry.watch_nodes().await
}

async fn changed(watch: &mut Option<NodeWatch>) -> Result<Vec<NodeRecord>, registry::RegistryError> {
    match watch {
        Some(watch) => watch.next().await,
        None => std::future::pending().await,
    }
}

type Answer = oneshot::Sender<CallResult>;

struct Asked {
    call: Call,
    reply: Answer,
    until: Instant,
    /// Nodes that could not find out whose the guild is, because they do not reach the registry.
    unknown_at: Vec<String>,
}

/// Calls by the order in which they came.
type Waiting = BTreeMap<u64, Asked>;

#[derive(Default)]
struct Routes {
    up: BTreeMap<String, Way>,
    guilds: HashMap<GuildId, Route>,
    /// Calls for no guild that could go nowhere, or whose guild is not known here and has no owner yet.
    others: VecDeque<(Option<String>, Asked)>,
    events: Option<EventSender>,
    next_call: u64,
    waiting: usize,
    turn: usize,
}

struct Way {
    stream: u64,
    out: mpsc::Sender<FromCaller>,
    /// What it has not answered.
    asked: Waiting,
}

#[derive(Default)]
struct Route {
    /// Who said so, or is said to be it.
    owner: Option<String>,
    /// It has answered for the guild.
    is_sure: bool,
    /// The call that is on its way to find the owner, for those that wait.
    asking: Option<u64>,
    waiting: Waiting,
}

impl Routes {
    fn call(&mut self, now: Instant, call: Call, reply: Answer) {
        let asked = Asked { call, reply, until: now + CALL_PATIENCE, unknown_at: Vec::new() };
        let id = self.next_call;
        self.next_call += 1;
        if matches!(asked.call, Call::LeaveElsewhere { .. }) {
            return self.tell_all(&asked);
        }
        match asked.call.guild() {
            Some(guild) => self.call_guild(id, guild, asked),
            None => self.call_any(id, None, asked),
        }
    }

    fn call_guild(&mut self, id: u64, guild: GuildId, asked: Asked) {
        let route = self.guilds.entry(guild).or_default();
        if let (true, true, Some(owner)) = (route.is_sure, route.waiting.is_empty(), route.owner.clone()) {
            return self.send(&owner, id, asked);
        }
        if needs_session(&asked.call) && !route.is_sure {
            return refuse(asked, "The guild has no owner at the moment.");
        }
        if self.waiting >= WAITING_MAX {
            return refuse(asked, "Overloaded. Try again soon.");
        }
        self.waiting += 1;
        route.waiting.insert(id, asked);
        self.ask(guild);
    }

    /// Sends what waits: all of it to who is known to be the owner, else the first call, to find out.
    fn ask(&mut self, guild: GuildId) {
        loop {
            let Some(route) = self.guilds.get_mut(&guild).filter(|route| route.asking.is_none()) else {
                return;
            };
            let Some((_, first)) = route.waiting.first_key_value() else { return };
            let may_know = |node: &&String| !first.unknown_at.contains(node);
            let owner = route.owner.clone().filter(|owner| self.up.contains_key(owner));
            let in_turn = || rendezvous(self.up.keys().filter(may_know), guild);
            let Some(node) = owner.filter(|owner| may_know(&owner)).or_else(in_turn) else { return };
            // One that takes no more now is asked again at the next turn, and one whose stream has broken is about to be gone.
            let out = &self.up[&node].out;
            if out.is_closed() || out.capacity() == 0 {
                return;
            }
            let Some((id, asked)) = route.waiting.pop_first() else { return };
            self.waiting -= 1;
            if !route.is_sure {
                route.asking = Some(id);
            }
            self.send(&node, id, asked);
        }
    }

    /// To a node by name, or to each in turn.
    fn call_any(&mut self, id: u64, node: Option<String>, asked: Asked) {
        let named = node.clone().filter(|node| self.up.contains_key(node));
        self.turn = self.turn.wrapping_add(1);
        let in_turn = || self.up.keys().nth(self.turn % self.up.len().max(1)).cloned();
        match named.or_else(in_turn) {
            Some(node) => self.send(&node, id, asked),
            None => self.others.push_back((node, asked)),
        }
    }

    /// What a node does not take now waits.
    fn send(&mut self, node: &str, id: u64, asked: Asked) {
        let taken = self.up.get_mut(node).filter(|way| {
            let message = FromCaller::call(id, &asked.call);
            way.out.try_send(message).is_ok()
        });
        match taken {
            Some(way) => drop(way.asked.insert(id, asked)),
            None => self.wait(id, asked),
        }
    }

    fn wait(&mut self, id: u64, asked: Asked) {
        let Some(guild) = asked.call.guild() else { return self.others.push_back((None, asked)) };
        let route = self.guilds.entry(guild).or_default();
        if route.asking == Some(id) {
            route.asking = None;
        }
        route.waiting.insert(id, asked);
        self.waiting += 1;
    }

    /// Nobody waits for what comes of it.
    fn tell_all(&mut self, asked: &Asked) {
        for way in self.up.values() {
            // One that cannot be told is about to be lost, and knows less with that.
            let _ = way.out.try_send(FromCaller::call(self.next_call, &asked.call));
            self.next_call += 1;
        }
    }

    fn up(&mut self, (node, stream): From, out: mpsc::Sender<FromCaller>) {
        self.up.insert(node, Way { stream, out, asked: Waiting::new() });
        self.ask_all();
    }

    fn said(&mut self, now: Instant, (node, stream): &From, said: Said) {
        let Some(way) = self.up.get_mut(node).filter(|way| way.stream == *stream) else { return };
        match said {
            Said::Reply(id, result) => {
                if let Some(asked) = way.asked.remove(&id) {
                    self.replied(now, node, id, asked, result);
                }
            }
            Said::Event(Event::OwnerLost { guild }) => self.lose(guild, node),
            // One that is the owner no more, and does not know it.
            Said::Event(Event::Dispatch { guild, .. }) if self.is_anothers(guild, node) => {}
            Said::Event(event) => self.tell(event),
            Said::Hello(_) => {}
        }
    }

    fn is_anothers(&self, guild: GuildId, node: &str) -> bool {
        self.guilds.get(&guild).is_some_and(|route| route.is_sure && route.owner.as_deref() != Some(node))
    }

    fn replied(&mut self, now: Instant, node: &str, id: u64, asked: Asked, result: CallResult) {
        let guild = asked.call.guild();
        let (of, owner) = match result {
            Ok(Reply::NotHere { guild, owner: Some(owner) }) => (guild, owner),
            Ok(Reply::NotHere { guild, owner: None }) => return self.unknown_at(node, guild, id, asked),
            result => {
                if let Some(guild) = guild {
                    self.answered(guild, node, id, &result);
                }
                // Whoever asked may have gone.
                let _ = asked.reply.send(result);
                return;
            }
        };
        if now >= asked.until {
            if let Some(route) = self.guilds.get_mut(&of).filter(|route| route.asking == Some(id)) {
                route.asking = None;
            }
            self.lose(of, node);
            return refuse(asked, "The guild has no owner at the moment. Try again soon.");
        }
        if guild.is_none() {
            return self.others.push_back((Some(owner), asked));
        }
        let route = self.guilds.entry(of).or_default();
        let decides = route.asking == Some(id) || (route.is_sure && route.owner.as_deref() == Some(node));
        if !decides {
            // Made when this node was the owner still. Another call finds out who is by now, or has.
            route.waiting.insert(id, asked);
            self.waiting += 1;
            return self.ask(of);
        }
        self.lose(of, node);
        let route = self.guilds.entry(of).or_default();
        // A name that is not up, or the node's own, is that of a dead process, whose lease has to end.
        let is_of_use = owner != node && self.up.contains_key(&owner);
        route.owner = is_of_use.then_some(owner);
        route.asking = None;
        route.waiting.insert(id, asked);
        self.waiting += 1;
        if is_of_use {
            self.ask(of);
        }
    }

    /// Another one is asked: the guild's owner knows that it is its own, with the registry or without.
    fn unknown_at(&mut self, node: &str, guild: GuildId, id: u64, mut asked: Asked) {
        self.lose(guild, node);
        if let Some(route) = self.guilds.get_mut(&guild).filter(|route| route.asking == Some(id)) {
            route.asking = None;
        }
        asked.unknown_at.push(node.to_owned());
        let left = self.up.keys().filter(|name| !asked.unknown_at.contains(name));
        let Some(next) = rendezvous(left, guild) else {
            refuse(asked, "The guild cannot be claimed while the registry is away. Try again soon.");
            return self.ask(guild);
        };
        if asked.call.guild().is_none() {
            return self.others.push_back((Some(next), asked));
        }
        self.guilds.entry(guild).or_default().waiting.insert(id, asked);
        self.waiting += 1;
        self.ask(guild);
    }

    /// A node has answered for a guild.
    fn answered(&mut self, guild: GuildId, node: &str, id: u64, result: &CallResult) {
        let Some(route) = self.guilds.get_mut(&guild) else { return };
        let is_owner = route.is_sure && route.owner.as_deref() == Some(node);
        if route.asking == Some(id) {
            route.asking = None;
        } else if !is_owner {
            // An answer from before its ownership ended.
            return;
        }
        // It could not claim the guild, or read it, and may not be the one that can.
        if result.as_ref().is_err_and(|error| error.status >= 500) {
            return;
        }
        // There is nothing to own, and whoever asks for one that is not there must not fill our memory.
        if route.waiting.is_empty() && result.as_ref().is_err_and(|error| error.status == 404) && !is_owner {
            self.guilds.remove(&guild);
            return;
        }
        (route.owner, route.is_sure) = (Some(node.to_owned()), true);
        self.ask(guild);
    }

    /// Nobody has answered for the guild any more, if it was this node that had.
    fn lose(&mut self, guild: GuildId, node: &str) {
        let Some(route) = self.guilds.get_mut(&guild) else { return };
        if route.owner.as_deref() != Some(node) {
            return;
        }
        route.owner = None;
        if std::mem::take(&mut route.is_sure) {
            let (void, waiting) = std::mem::take(&mut route.waiting)
                .into_iter()
                .partition(|(_, asked)| needs_session(&asked.call));
            route.waiting = waiting;
            let void: Waiting = void;
            self.waiting -= void.len();
            void.into_values().for_each(|asked| refuse(asked, "The guild has no owner at the moment."));
            self.tell(Event::OwnerLost { guild });
        }
    }

    fn tell(&mut self, event: Event) {
        if let Some(events) = &self.events
            && let Err(error) = events.try_send(event)
        {
            // It will ask for events again.
            tracing::warn!(%error, "the gateway does not keep up with events");
            self.events = None;
        }
    }

    fn down(&mut self, (node, stream): &From) {
        if self.up.get(node).is_some_and(|way| way.stream == *stream) {
            self.gone(node);
        }
    }

    fn gone(&mut self, node: &str) {
        let Some(way) = self.up.remove(node) else { return };
        for (id, asked) in way.asked {
            self.interrupted(id, asked);
        }
        let theirs = self.guilds.iter().filter(|(_, route)| route.owner.as_deref() == Some(node));
        let mut theirs: Vec<GuildId> = theirs.map(|(guild, _)| *guild).collect();
        theirs.sort_unstable();
        for guild in theirs {
            self.lose(guild, node);
        }
        self.ask_all();
    }

    /// Nobody knows whether it was done. What may be done twice is asked again.
    fn interrupted(&mut self, id: u64, asked: Asked) {
        let guild = asked.call.guild();
        if let Some(route) = guild.and_then(|guild| self.guilds.get_mut(&guild))
            && route.asking == Some(id)
        {
            route.asking = None;
        }
        match (&asked.call, guild) {
            (Call::Authenticate { .. }, _) => self.others.push_back((None, asked)),
            (
                Call::Attach { .. }
                | Call::Detach { .. }
                | Call::FindSession { .. }
                | Call::DescribeTo { .. }
                | Call::UpdatePresence { .. }
                | Call::RequestMembers { .. }
                | Call::RequestChannelInfo { .. },
                Some(guild),
            ) => {
                self.waiting += 1;
                self.guilds.entry(guild).or_default().waiting.insert(id, asked);
            }
            _ => refuse(asked, "The server was interrupted, and whether this was done is not known."),
        }
    }

    fn ask_all(&mut self) {
        let waiting = self.guilds.iter().filter(|(_, route)| !route.waiting.is_empty());
        for guild in waiting.map(|(guild, _)| *guild).collect::<Vec<_>>() {
            self.ask(guild);
        }
    }

    /// Whatever had no owner may have one by now, or has waited for too long.
    fn ask_again(&mut self, now: Instant) {
        for (node, asked) in std::mem::take(&mut self.others) {
            if asked.until <= now {
                refuse(asked, "No guilds node answers. Try again soon.");
                continue;
            }
            let id = self.next_call;
            self.next_call += 1;
            self.call_any(id, node, asked);
        }
        for route in self.guilds.values_mut() {
            while let Some(first) = route.waiting.first_entry().filter(|first| first.get().until <= now) {
                self.waiting -= 1;
                refuse(first.remove(), "The guild has no owner at the moment. Try again soon.");
            }
        }
        self.guilds
            .retain(|_, route| route.owner.is_some() || route.asking.is_some() || !route.waiting.is_empty());
        self.ask_all();
    }
}

/// Whoever owns the guild next knows no session yet, and would refuse this for that. The gateway says it again when the session is attached.
fn needs_session(call: &Call) -> bool {
    matches!(call, Call::UpdateVoice { .. } | Call::VoiceServerPing { .. })
}

fn refuse(asked: Asked, why: &str) {
    // Whoever asked may have gone.
    let _ = asked.reply.send(Err(ApiError::new(503, 0, why)));
}

/// The node with the highest hash of its name and the guild (highest random weight): a node that comes or goes changes nothing for the
/// guilds of others.
fn rendezvous<'a>(nodes: impl Iterator<Item = &'a String>, guild: GuildId) -> Option<String> {
    let weight = |node: &&String| {
        let mut hasher = DefaultHasher::new();
        (node.as_str(), guild.0).hash(&mut hasher);
        hasher.finish()
    };
    nodes.max_by_key(weight).cloned()
}

#[cfg(test)]
mod tests;
