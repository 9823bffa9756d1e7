//! Calls of gateways and guilds nodes to guilds nodes: the streams, and around what decides which node is asked.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use cluster_core::{Output, Routes, Way};
use cluster_wire::envelope::Said;
use cluster_wire::guilds::{Call, Event as Told};
use gateway_core::CallId;

use crate::event::Event;
use crate::limits::{
    HELLO_WITHIN, PING_FIRST, PING_LAST, REDIAL_FIRST, REDIAL_LAST, ROUTER_TURN, STREAM_PLACES,
};
use crate::net::in_order;
use crate::time::{At, ms};
use crate::world::World;

/// What may hang: its system answers for it, and what comes to it waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Process {
    Gateway(usize),
    Node(usize),
}

/// A process in one of its lives.
pub type Life = (Process, u64);

/// What waits for one stream.
#[derive(Debug, Clone, Default)]
pub struct Outbox(Rc<RefCell<Waiting>>);

#[derive(Debug, Default)]
struct Waiting {
    calls: VecDeque<(u64, Call)>,
    is_closed: bool,
}

impl Way for Outbox {
    fn has_room(&self) -> bool {
        let waiting = self.0.borrow();
        !waiting.is_closed && waiting.calls.len() < STREAM_PLACES
    }

    fn take(&mut self, id: u64, call: &Call) -> bool {
        let has_room = self.has_room();
        if has_room {
            self.0.borrow_mut().calls.push_back((id, call.clone()));
        }
        has_room
    }
}

pub struct Stream {
    pub caller: Life,
    pub node: usize,
    pub node_life: u64,
    out: Outbox,
    is_pumped: bool,
    last_to: At,
    last_from: At,
    /// Whether each end still takes it for alive.
    caller_open: bool,
    pub node_open: bool,
    is_broken: bool,
}

#[derive(Default)]
pub struct Router {
    pub routes: Routes<Outbox, Option<CallId>>,
    /// The nodes that it knows.
    dialled: BTreeMap<usize, Dialled>,
}

#[derive(Default)]
struct Dialled {
    /// What an earlier attempt comes to is void.
    task: u64,
    attempts: u32,
    stream: Option<u64>,
}

pub fn name_of(node: usize) -> String {
    format!("node-{node}")
}

impl World {
    fn router(&mut self, who: Process) -> &mut Router {
        match who {
            Process::Gateway(gateway) => &mut self.gateways[gateway].router,
            Process::Node(node) => &mut self.nodes[node].router,
        }
    }

    pub fn lives(&self, (who, life): Life) -> bool {
        match who {
            Process::Gateway(gateway) => {
                self.gateways[gateway].is_alive && self.gateways[gateway].life == life
            }
            Process::Node(node) => self.nodes[node].is_alive && self.nodes[node].life == life,
        }
    }

    pub fn is_hung(&self, who: Process) -> bool {
        self.frozen.contains_key(&who)
    }

    // Which nodes there are.

    /// As the registry has it.
    pub fn nodes_change(&mut self, caller: Life, known: &[usize]) {
        if !self.lives(caller) {
            return;
        }
        let (who, _) = caller;
        let gone: Vec<usize> =
            self.router(who).dialled.keys().filter(|node| !known.contains(node)).copied().collect();
        for node in gone {
            let dialled = self.router(who).dialled.remove(&node).expect("it was just there");
            if let Some(stream) = dialled.stream {
                self.leave_stream(stream);
            }
            self.trace.note(self.now, || format!("{who:?} lets go of node-{node}"));
            self.router(who).routes.handle_gone(&name_of(node));
            self.flush_routes(who, None);
        }
        for node in known.iter().copied().filter(|node| who != Process::Node(*node)) {
            let mut is_new = false;
            self.router(who).dialled.entry(node).or_insert_with(|| {
                is_new = true;
                Dialled::default()
            });
            if is_new {
                self.redial(caller, node, 0);
            }
        }
    }

    fn redial(&mut self, caller: Life, node: usize, wait: u64) {
        self.tasks_made += 1;
        let task = self.tasks_made;
        let Some(dialled) = self.router(caller.0).dialled.get_mut(&node) else { return };
        (dialled.task, dialled.stream) = (task, None);
        let wait = wait + self.link_delay();
        self.after(wait, Event::Dial { caller, node, task });
    }

    pub fn dial(&mut self, caller: Life, node: usize, task: u64) {
        let who = caller.0;
        if !self.lives(caller) || self.router(who).dialled.get(&node).is_none_or(|d| d.task != task) {
            return;
        }
        let is_alive = self.nodes[node].is_alive;
        if !is_alive || self.is_hung(Process::Node(node)) {
            let dialled = self.router(who).dialled.get_mut(&node).expect("it was just there");
            let pause = (REDIAL_FIRST << dialled.attempts.min(10)).min(REDIAL_LAST);
            dialled.attempts += 1;
            let patience = if is_alive { HELLO_WITHIN } else { 0 };
            return self.redial(caller, node, pause + patience);
        }
        self.tasks_made += 1;
        let (id, node_life, now) = (self.tasks_made, self.nodes[node].life, self.now);
        let out = Outbox::default();
        self.streams.insert(
            id,
            Stream {
                caller,
                node,
                node_life,
                out,
                is_pumped: false,
                last_to: now,
                last_from: now,
                caller_open: true,
                node_open: true,
                is_broken: false,
            },
        );
        self.stream_begins(node, id, caller);
        self.say_to_caller(id, Said::Hello(Default::default()), None);
        let dialled = self.router(who).dialled.get_mut(&node).expect("it was just there");
        (dialled.stream, dialled.attempts) = (Some(id), 0);
    }

    // Streams.

    /// Something a node says to a caller, with the number of the ownership it says it by.
    pub fn say_to_caller(&mut self, id: u64, said: Said, fencing: Option<u64>) {
        let at = self.now.plus(self.link_delay());
        let Some(stream) = self.streams.get_mut(&id).filter(|s| s.node_open && !s.is_broken) else { return };
        let at = in_order(&mut stream.last_from, at);
        let caller = stream.caller;
        self.at(at, Event::FromNode { caller, stream: id, said: Box::new(said), fencing });
    }

    pub fn node_says(&mut self, id: u64, said: Said, fencing: Option<u64>) {
        let Some(stream) = self.streams.get(&id).filter(|s| s.caller_open && !s.is_broken) else { return };
        let (caller, node, out) = (stream.caller, stream.node, stream.out.clone());
        let (who, from) = (caller.0, (name_of(node), id));
        if !self.lives(caller) || self.router(who).dialled.get(&node).is_none_or(|d| d.stream != Some(id)) {
            return;
        }
        let now = self.clock.instant(self.now);
        match said {
            Said::Hello(_) => {
                self.trace.note(self.now, || format!("{who:?} has a way to node-{node}, {id}"));
                self.router(who).routes.handle_up(from, out);
            }
            said => self.router(who).routes.handle_said(now, &from, said),
        }
        self.flush_routes(who, fencing);
    }

    pub fn pump(&mut self, id: u64) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        stream.is_pumped = false;
        let calls = std::mem::take(&mut stream.out.0.borrow_mut().calls);
        if stream.is_broken || !stream.caller_open {
            return;
        }
        for (call_id, call) in calls {
            let at = self.now.plus(self.link_delay());
            let stream = self.streams.get_mut(&id).expect("it was just there");
            let at = in_order(&mut stream.last_to, at);
            let (node, life) = (stream.node, stream.node_life);
            self.at(at, Event::ToNode { node, life, stream: id, id: call_id, call: Box::new(call) });
        }
    }

    /// A way is interrupted; each end notices some time later.
    pub fn break_stream(&mut self, id: u64) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        stream.is_broken = true;
        let (caller, node) = (stream.caller, Process::Node(stream.node));
        let (first, second) = (self.notice_delay(), self.notice_delay());
        self.after(first, Event::StreamDown { who: caller.0, stream: id, is_told: false });
        self.after(second, Event::StreamDown { who: node, stream: id, is_told: true });
    }

    /// At once, because the system of whoever died says so, or when a ping is missed.
    fn notice_delay(&mut self) -> u64 {
        let random = self.net.random();
        if random.chance(700) { random.between(100, ms(20)) } else { random.between(PING_FIRST, PING_LAST) }
    }

    /// The caller has no use for it any more.
    fn leave_stream(&mut self, id: u64) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        stream.caller_open = false;
        stream.out.0.borrow_mut().is_closed = true;
        let node = Process::Node(stream.node);
        let delay = self.link_delay();
        self.after(delay, Event::StreamDown { who: node, stream: id, is_told: true });
    }

    /// One end learns that it is over. `is_told`: what writes knows it a moment before what reads.
    pub fn stream_down(&mut self, who: Process, id: u64, is_told: bool) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        stream.is_broken = true;
        if who != stream.caller.0 {
            let (node, life) = (stream.node, stream.node_life);
            let was_open = std::mem::replace(&mut stream.node_open, false);
            if was_open && self.lives((who, life)) {
                self.stream_ends(node, id);
            }
            return;
        }
        if !is_told {
            stream.out.0.borrow_mut().is_closed = true;
            let delay = self.net.random().between(0, ms(1));
            return self.after(delay, Event::StreamDown { who, stream: id, is_told: true });
        }
        let (caller, node) = (stream.caller, stream.node);
        if !std::mem::replace(&mut stream.caller_open, false) || !self.lives(caller) {
            return;
        }
        self.trace.note(self.now, || format!("{who:?} has lost its way to node-{node}, {id}"));
        self.router(who).routes.handle_down(&(name_of(node), id));
        self.flush_routes(who, None);
        if self.router(who).dialled.get(&node).is_some_and(|dialled| dialled.stream == Some(id)) {
            self.redial(caller, node, REDIAL_FIRST);
        }
    }

    pub fn streams_of(&self, wanted: impl Fn(&Stream) -> bool) -> Vec<u64> {
        let open = |stream: &Stream| (stream.caller_open || stream.node_open) && !stream.is_broken;
        self.streams.iter().filter(|(_, s)| open(s) && wanted(s)).map(|(id, _)| *id).collect()
    }

    /// Whoever is at the other end of what hangs misses its pings.
    pub fn pings_are_missed(&mut self, who: Process) {
        let streams = self.streams_of(|s| s.caller.0 == who || Process::Node(s.node) == who);
        for id in streams {
            let after = self.net.random().between(PING_FIRST, PING_LAST);
            self.after(after, Event::PingMissed { who, stream: id });
        }
    }

    pub fn ping_missed(&mut self, who: Process, id: u64) {
        if self.is_hung(who) {
            let Some(stream) = self.streams.get(&id) else { return };
            let (caller, node) = (stream.caller.0, Process::Node(stream.node));
            self.stream_down(if caller == who { node } else { caller }, id, true);
            self.after(0, Event::StreamDown { who, stream: id, is_told: true });
        }
    }

    // What decides.

    pub fn route(&mut self, caller: Life, id: Option<CallId>, call: Call) {
        if self.lives(caller) {
            let now = self.clock.instant(self.now);
            self.router(caller.0).routes.handle_call(now, call, id);
            self.flush_routes(caller.0, None);
        }
    }

    pub fn router_turn(&mut self, caller: Life) {
        if self.lives(caller) {
            let now = self.clock.instant(self.now);
            self.router(caller.0).routes.handle_turn(now);
            self.flush_routes(caller.0, None);
            self.after(ROUTER_TURN, Event::RouterTurn(caller));
        }
    }

    fn flush_routes(&mut self, who: Process, fencing: Option<u64>) {
        while let Some(output) = self.router(who).routes.poll_output() {
            let Process::Gateway(gateway) = who else { continue };
            match output {
                Output::Answer(Some(id), reply) => self.answer_gateway(gateway, id, reply),
                Output::Answer(None, _) => {}
                Output::Event(event) => {
                    if let (Told::Dispatch { guild, .. }, Some(fencing)) = (&event, fencing) {
                        self.check_owner(gateway, *guild, fencing);
                    }
                    self.tell_gateway(gateway, event);
                }
            }
        }
        let streams: Vec<u64> = self.router(who).dialled.values().filter_map(|d| d.stream).collect();
        for id in streams {
            let delay = self.net.random().between(10, 300);
            let Some(stream) = self.streams.get_mut(&id) else { continue };
            if !stream.is_pumped && !stream.out.0.borrow().calls.is_empty() {
                stream.is_pumped = true;
                self.after(delay, Event::Pump(id));
            }
        }
    }
}
