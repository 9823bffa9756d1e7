//! Which guilds node a call goes to.
//!
//! Once a node has answered for a guild, it is asked; before, the first call asks whose the guild is, and the others wait behind it, so that the order of a
//! guild's calls is kept. Until somebody knows, the node is asked that rendezvous hashing names, which is the same everywhere.

use std::collections::{BTreeMap, VecDeque};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::Instant;

use client_wire::error::ApiError;
use cluster_wire::envelope::Said;
use cluster_wire::guilds::{Call, CallResult, Event, Reply};
use model::GuildId;

use crate::limits::{CALL_PATIENCE, WAITING_MAX};

/// A stream of a node's, as far as calls go.
pub trait Way {
    /// Whether it takes another call now. One whose stream has broken, which is about to be told, takes none.
    fn has_room(&self) -> bool;
    /// False when it does not take it.
    fn take(&mut self, id: u64, call: &Call) -> bool;
}

/// Which node, and which stream to it: what an earlier one says late is void.
pub type From = (String, u64);

/// `R` is the caller's own, to know what is answered.
#[derive(Debug)]
pub enum Output<R> {
    Answer(R, CallResult),
    Event(Event),
}

#[derive(Debug)]
struct Asked<R> {
    call: Call,
    reply: R,
    until: Instant,
    /// Nodes that could not find out whose the guild is, because they do not reach the registry.
    unknown_at: Vec<String>,
}

/// Calls by the order in which they came.
type Waiting<R> = BTreeMap<u64, Asked<R>>;

#[derive(Debug)]
pub struct Routes<W, R> {
    up: BTreeMap<String, Stream<W, R>>,
    guilds: BTreeMap<GuildId, Route<R>>,
    /// Calls for no guild that could go nowhere, or whose guild is not known here and has no owner yet.
    others: VecDeque<(Option<String>, Asked<R>)>,
    outputs: VecDeque<Output<R>>,
    next_call: u64,
    waiting: usize,
    turn: usize,
}

#[derive(Debug)]
struct Stream<W, R> {
    number: u64,
    way: W,
    /// What it has not answered.
    asked: Waiting<R>,
}

#[derive(Debug)]
struct Route<R> {
    /// Who said so, or is said to be it.
    owner: Option<String>,
    /// It has answered for the guild.
    is_sure: bool,
    /// The call that is on its way to find the owner, for those that wait.
    asking: Option<u64>,
    waiting: Waiting<R>,
}

impl<R> Default for Route<R> {
    fn default() -> Self {
        Self { owner: None, is_sure: false, asking: None, waiting: Waiting::new() }
    }
}

impl<W, R> Default for Routes<W, R> {
    fn default() -> Self {
        Self {
            up: BTreeMap::new(),
            guilds: BTreeMap::new(),
            others: VecDeque::new(),
            outputs: VecDeque::new(),
            next_call: 0,
            waiting: 0,
            turn: 0,
        }
    }
}

impl<W: Way, R> Routes<W, R> {
    pub fn poll_output(&mut self) -> Option<Output<R>> {
        self.outputs.pop_front()
    }

    pub fn handle_call(&mut self, now: Instant, call: Call, reply: R) {
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

    fn call_guild(&mut self, id: u64, guild: GuildId, asked: Asked<R>) {
        let route = self.guilds.entry(guild).or_default();
        if let (true, true, Some(owner)) = (route.is_sure, route.waiting.is_empty(), route.owner.clone()) {
            return self.send(&owner, id, asked);
        }
        if needs_session(&asked.call) && !route.is_sure {
            return self.refuse(asked, "The guild has no owner at the moment.");
        }
        if self.waiting >= WAITING_MAX {
            return self.refuse(asked, "Overloaded. Try again soon.");
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
            if !self.up[&node].way.has_room() {
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
    fn call_any(&mut self, id: u64, node: Option<String>, asked: Asked<R>) {
        let named = node.clone().filter(|node| self.up.contains_key(node));
        self.turn = self.turn.wrapping_add(1);
        let in_turn = || self.up.keys().nth(self.turn % self.up.len().max(1)).cloned();
        match named.or_else(in_turn) {
            Some(node) => self.send(&node, id, asked),
            None => self.others.push_back((node, asked)),
        }
    }

    /// What a node does not take now waits.
    fn send(&mut self, node: &str, id: u64, asked: Asked<R>) {
        if let Some(stream) = self.up.get_mut(node)
            && stream.way.take(id, &asked.call)
        {
            stream.asked.insert(id, asked);
        } else {
            self.wait(id, asked);
        }
    }

    fn wait(&mut self, id: u64, asked: Asked<R>) {
        let Some(guild) = asked.call.guild() else { return self.others.push_back((None, asked)) };
        let route = self.guilds.entry(guild).or_default();
        if route.asking == Some(id) {
            route.asking = None;
        }
        route.waiting.insert(id, asked);
        self.waiting += 1;
    }

    /// Nobody waits for what comes of it.
    fn tell_all(&mut self, asked: &Asked<R>) {
        for stream in self.up.values_mut() {
            // One that cannot be told is about to be lost, and knows less with that.
            let _ = stream.way.take(self.next_call, &asked.call);
            self.next_call += 1;
        }
    }

    /// A node answers, and takes calls by this way.
    pub fn handle_up(&mut self, (node, number): From, way: W) {
        self.up.insert(node, Stream { number, way, asked: Waiting::new() });
        self.ask_all();
    }

    pub fn handle_said(&mut self, now: Instant, (node, number): &From, said: Said) {
        let Some(stream) = self.up.get_mut(node).filter(|stream| stream.number == *number) else { return };
        match said {
            Said::Reply(id, result) => {
                if let Some(asked) = stream.asked.remove(&id) {
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

    fn replied(&mut self, now: Instant, node: &str, id: u64, asked: Asked<R>, result: CallResult) {
        let guild = asked.call.guild();
        let (of, owner) = match result {
            Ok(Reply::NotHere { guild, owner: Some(owner) }) => (guild, owner),
            Ok(Reply::NotHere { guild, owner: None }) => return self.unknown_at(node, guild, id, asked),
            result => {
                if let Some(guild) = guild {
                    self.answered(guild, node, id, &result);
                }
                return self.outputs.push_back(Output::Answer(asked.reply, result));
            }
        };
        if now >= asked.until {
            if let Some(route) = self.guilds.get_mut(&of).filter(|route| route.asking == Some(id)) {
                route.asking = None;
            }
            self.lose(of, node);
            return self.refuse(asked, "The guild has no owner at the moment. Try again soon.");
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
    fn unknown_at(&mut self, node: &str, guild: GuildId, id: u64, mut asked: Asked<R>) {
        self.lose(guild, node);
        if let Some(route) = self.guilds.get_mut(&guild).filter(|route| route.asking == Some(id)) {
            route.asking = None;
        }
        asked.unknown_at.push(node.to_owned());
        let left = self.up.keys().filter(|name| !asked.unknown_at.contains(name));
        let Some(next) = rendezvous(left, guild) else {
            self.refuse(asked, "The guild cannot be claimed while the registry is away. Try again soon.");
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
            let waiting = std::mem::take(&mut route.waiting).into_iter();
            let (void, waiting): (Waiting<R>, Waiting<R>) =
                waiting.partition(|(_, asked)| needs_session(&asked.call));
            route.waiting = waiting;
            self.waiting -= void.len();
            for asked in void.into_values() {
                self.refuse(asked, "The guild has no owner at the moment.");
            }
            self.tell(Event::OwnerLost { guild });
        }
    }

    fn tell(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }

    fn refuse(&mut self, asked: Asked<R>, why: &str) {
        let result = Err(ApiError::new(503, 0, why));
        self.outputs.push_back(Output::Answer(asked.reply, result));
    }

    /// This stream has ended: whatever it had not answered will never be.
    pub fn handle_down(&mut self, (node, number): &From) {
        if self.up.get(node).is_some_and(|stream| stream.number == *number) {
            self.handle_gone(node);
        }
    }

    /// The node is none of the cluster's any more, or is elsewhere.
    pub fn handle_gone(&mut self, node: &str) {
        let Some(stream) = self.up.remove(node) else { return };
        for (id, asked) in stream.asked {
            self.interrupted(id, asked);
        }
        let theirs = self.guilds.iter().filter(|(_, route)| route.owner.as_deref() == Some(node));
        for guild in theirs.map(|(guild, _)| *guild).collect::<Vec<_>>() {
            self.lose(guild, node);
        }
        self.ask_all();
    }

    /// Nobody knows whether it was done. What may be done twice is asked again.
    fn interrupted(&mut self, id: u64, asked: Asked<R>) {
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
            _ => self.refuse(asked, "The server was interrupted, and whether this was done is not known."),
        }
    }

    fn ask_all(&mut self) {
        let waiting = self.guilds.iter().filter(|(_, route)| !route.waiting.is_empty());
        for guild in waiting.map(|(guild, _)| *guild).collect::<Vec<_>>() {
            self.ask(guild);
        }
    }

    /// Whatever had no owner may have one by now, or has waited for too long. To be called every [`ASK_AGAIN`].
    pub fn handle_turn(&mut self, now: Instant) {
        for (node, asked) in std::mem::take(&mut self.others) {
            if asked.until <= now {
                self.refuse(asked, "No guilds node answers. Try again soon.");
                continue;
            }
            let id = self.next_call;
            self.next_call += 1;
            self.call_any(id, node, asked);
        }
        let mut late = Vec::new();
        for route in self.guilds.values_mut() {
            while let Some(first) = route.waiting.first_entry().filter(|first| first.get().until <= now) {
                late.push(first.remove());
            }
        }
        self.waiting -= late.len();
        for asked in late {
            self.refuse(asked, "The guild has no owner at the moment. Try again soon.");
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
