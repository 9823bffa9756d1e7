//! Calls to guilds nodes: streams to those that the registry names, and around them what decides which one is asked.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use cluster_core::limits::ASK_AGAIN;
use cluster_core::{From, Output, Routes, Way};
use cluster_wire::envelope::{FromCaller, Hello};
use cluster_wire::guilds::{Call, CallResult};
use cluster_wire::link::{CALLS_MAX, EventSender, GuildsLink, ToGuilds};
use cluster_wire::record::NodeRecord;
use registry::{NodeWatch, Registry};
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;

use crate::ClusterKey;
use crate::limits::{STREAM_QUEUE, WATCH_RETRY};
use crate::node::{self, News};
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
    let mut routes: Routes<Stream, Answer> = Routes::default();
    let mut events = None;
    let mut watch: Option<NodeWatch> = None;
    let mut again = tokio::time::interval(ASK_AGAIN);
    again.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    // Lives over turns of the loop, or whatever else happens would end it before etcd has answered.
    let mut begun = Box::pin(begin(registry.clone(), Duration::ZERO));
    loop {
        tokio::select! {
            message = incoming.recv() => match message {
                None => return,
                Some(ToGuilds::Call(call, reply)) => routes.handle_call(Instant::now(), call, reply),
                Some(ToGuilds::Listen(_, sender)) => events = Some(sender),
            },
            Some((from, news)) = from_nodes.recv() => match news {
                News::Up(out) => routes.handle_up(from, Stream(out)),
                News::Said(said) => routes.handle_said(Instant::now(), &from, said),
                News::Down => routes.handle_down(&from),
            },
            changed = changed(&mut watch) => match changed {
                Ok(records) => {
                    for gone in nodes.update(records) {
                        routes.handle_gone(&gone);
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
            _ = again.tick() => routes.handle_turn(Instant::now()),
        }
        while let Some(output) = routes.poll_output() {
            carry_out(output, &mut events);
        }
    }
}

type Answer = oneshot::Sender<CallResult>;

fn carry_out(output: Output<Answer>, events: &mut Option<EventSender>) {
    match output {
        // Whoever asked may have gone.
        Output::Answer(reply, result) => drop(reply.send(result)),
        Output::Event(event) => {
            if let Some(sender) = events.as_ref()
                && let Err(error) = sender.try_send(event)
            {
                // It will ask for events again.
                tracing::warn!(%error, "the gateway does not keep up with events");
                *events = None;
            }
        }
    }
}

struct Stream(mpsc::Sender<FromCaller>);

impl Way for Stream {
    fn has_room(&self) -> bool {
        !self.0.is_closed() && self.0.capacity() > 0
    }

    fn take(&mut self, id: u64, call: &Call) -> bool {
        self.0.try_send(FromCaller::call(id, call)).is_ok()
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
