//! Guilds' streams to the voice servers, and when one of those counts as dead.
//!
//! A stream that breaks says little. It is dialled again at once: a refusal means that no process listens there any more; the same process answering
//! means that only the stream was broken; no answer leaves it to the server's lease. And a lease that has ended says that the server cannot reach the registry: it is dead only
//! if it cannot be reached from here either.

use std::collections::{BTreeMap, BTreeSet};

use cluster_wire::envelope::{Hello, MESSAGE_BYTES_MAX, VoiceMessage};
use cluster_wire::link::{ORDERS_MAX, ReportSender, VoiceLink};
use cluster_wire::record::ServerRecord;
use cluster_wire::voice::{Held, Order, OrderKind, Report, ToVoice};
use model::ServerId;
use registry::{Change, Registry, RegistryError};
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use crate::ClusterKey;
use crate::dial::{Redial, Unreachable, dial};
use crate::limits::{ATTEMPTS_IN_SILENCE, HELLO_WITHIN, REFUSALS_OF_THE_DEAD, STREAM_QUEUE, WATCH_RETRY};
use crate::services::voice::voice_client::VoiceClient;
use crate::tls::Credentials;

/// What became of the way to a voice server.
#[derive(Debug)]
pub enum VoiceNews {
    /// It takes orders; whatever an earlier process of it knew is gone.
    Up(ServerId, VoiceLink),
    /// The way was interrupted and leads to the same process again. Orders may be lost.
    Again(ServerId),
    /// It is dead.
    Down(ServerId),
}

/// Keeps a stream to each voice server of the registry. Ends when nobody takes its news.
pub fn attend_voice_servers(
    registry: Registry,
    key: &ClusterKey,
    me: Hello,
    reports: ReportSender,
) -> mpsc::Receiver<VoiceNews> {
    let (news, receiver) = mpsc::channel(STREAM_QUEUE);
    let ways = Ways { credentials: Credentials::new(key), me, reports, news, servers: BTreeMap::new() };
    tokio::spawn(ways.follow(registry));
    receiver
}

struct Ways {
    credentials: Credentials,
    me: Hello,
    reports: ReportSender,
    news: mpsc::Sender<VoiceNews>,
    servers: BTreeMap<ServerId, Attended>,
}

/// A server whose way is kept.
struct Attended {
    address: String,
    /// Whether the registry has a record of it.
    is_recorded: watch::Sender<bool>,
    /// Ends by itself when the server counts as dead and has no record.
    task: AbortHandle,
}

impl Ways {
    /// While the registry cannot be watched, what is known stays.
    async fn follow(mut self, registry: Registry) {
        while !self.news.is_closed() {
            if let Err(error) = self.follow_once(&registry).await {
                tracing::warn!(%error, "voice servers cannot be watched");
            }
            tokio::time::sleep(WATCH_RETRY).await;
        }
        self.servers.values().for_each(|server| server.task.abort());
    }

    async fn follow_once(&mut self, registry: &Registry) -> Result<(), RegistryError> {
        let mut watch = registry.watch().await?;
        let records = watch.snapshot();
        let is_gone = |id: &&ServerId| records.iter().all(|record| record.id != **id);
        let gone: Vec<ServerId> = self.servers.keys().filter(is_gone).cloned().collect();
        for id in gone {
            self.lapse(&id);
        }
        records.into_iter().for_each(|record| self.put(record));
        loop {
            let change = tokio::select! {
                change = watch.next() => change?,
                () = self.news.closed() => return Ok(()),
            };
            match change {
                Change::Put(record) => self.put(record),
                Change::Gone(id) => self.lapse(&id),
            }
        }
    }

    fn put(&mut self, record: ServerRecord) {
        let Some(address) = record.cluster else { return };
        let known = self.servers.get(&record.id);
        if let Some(known) = known.filter(|known| known.address == address && !known.task.is_finished()) {
            known.is_recorded.send_replace(true);
            return;
        }
        let (is_recorded, recorded) = watch::channel(true);
        let way = Way {
            id: record.id.clone(),
            address: address.clone(),
            credentials: self.credentials.clone(),
            me: self.me.clone(),
            reports: self.reports.clone(),
            news: self.news.clone(),
            recorded,
        };
        let task = tokio::spawn(way.keep()).abort_handle();
        if let Some(before) = self.servers.insert(record.id, Attended { address, is_recorded, task }) {
            before.task.abort();
        }
    }

    /// Its lease has ended.
    fn lapse(&mut self, id: &ServerId) {
        self.servers.retain(|_, server| !server.task.is_finished());
        if let Some(server) = self.servers.get(id) {
            server.is_recorded.send_replace(false);
        }
    }
}

struct Way {
    id: ServerId,
    address: String,
    credentials: Credentials,
    me: Hello,
    reports: ReportSender,
    news: mpsc::Sender<VoiceNews>,
    recorded: watch::Receiver<bool>,
}

/// The process at the other end, and the orders that wait for it.
struct Known {
    instance: u64,
    /// Which it speaks.
    protocol: u32,
    orders: mpsc::Receiver<ToVoice>,
}

impl Way {
    async fn keep(mut self) {
        let mut redial = Redial::default();
        let (mut known, mut refusals, mut attempts) = (None, 0, 0);
        loop {
            match self.open().await {
                Ok((hello, out, incoming)) => {
                    (refusals, attempts, redial) = (0, 0, Redial::default());
                    let mut served = match self.greet(known.take(), &hello).await {
                        Some(served) => served,
                        None => return,
                    };
                    let why = self.pump(&mut served, &out, incoming).await;
                    tracing::warn!(server = %self.id, why, "the way to a voice server is interrupted");
                    known = Some(served);
                    continue;
                }
                Err(Unreachable { is_refused: true, .. }) if known.is_some() => {
                    refusals += 1;
                    // Its clients ask where to go within half a second.
                    redial.reset();
                    if refusals >= REFUSALS_OF_THE_DEAD {
                        tracing::warn!(server = %self.id, "a voice server is dead: nothing listens where it was");
                        known = None;
                        if self.news.send(VoiceNews::Down(self.id.clone())).await.is_err() {
                            return;
                        }
                    }
                }
                Err(error) => {
                    attempts += 1;
                    let address = &self.address;
                    if attempts == ATTEMPTS_IN_SILENCE {
                        tracing::warn!(server = %self.id, address, %error, "a voice server cannot be reached");
                    } else {
                        tracing::debug!(server = %self.id, %error, "a voice server cannot be reached");
                    }
                }
            }
            if !*self.recorded.borrow_and_update() {
                tracing::warn!(server = %self.id, "a voice server without a record cannot be reached");
                if known.is_some() {
                    // Whoever takes no news needs none.
                    let _ = self.news.send(VoiceNews::Down(self.id.clone())).await;
                }
                return;
            }
            tokio::select! {
                () = redial.pause() => {}
                // If it is the record that has gone, this is the last attempt.
                _ = self.recorded.changed() => {}
            }
        }
    }

    async fn greet(&self, known: Option<Known>, hello: &Hello) -> Option<Known> {
        let (instance, protocol) = (hello.instance, hello.protocol);
        if let Some(known) = known.filter(|known| known.instance == instance && !known.orders.is_closed()) {
            tracing::info!(server = %self.id, "the way to a voice server leads there again");
            self.news.send(VoiceNews::Again(self.id.clone())).await.ok()?;
            return Some(known);
        }
        tracing::info!(server = %self.id, "a voice server is connected");
        let (sender, orders) = mpsc::channel(ORDERS_MAX);
        self.news.send(VoiceNews::Up(self.id.clone(), VoiceLink::new(sender))).await.ok()?;
        Some(Known { instance, protocol, orders })
    }

    async fn open(
        &self,
    ) -> Result<(Hello, mpsc::Sender<VoiceMessage>, Streaming<VoiceMessage>), Unreachable> {
        let channel = dial(&self.address, &self.credentials).await?;
        let mut client = VoiceClient::new(channel)
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        let (out, waiting) = mpsc::channel(STREAM_QUEUE);
        let _ = out.try_send(VoiceMessage::hello(self.me.clone()));
        let opening = async {
            let mut incoming = client.serve(ReceiverStream::new(waiting)).await?.into_inner();
            let first = incoming.message().await?.and_then(|first| first.hello);
            let hello = first.ok_or_else(|| Status::aborted("something else came before a hello"))?;
            if !hello.is_understood() {
                return Err(Status::failed_precondition(hello.strangeness()));
            }
            if hello.name != self.id.0 {
                return Err(Status::aborted(format!("{} answered at its address", hello.name)));
            }
            Ok((hello, out, incoming))
        };
        match tokio::time::timeout(HELLO_WITHIN, opening).await {
            Ok(opened) => opened.map_err(|status: Status| Unreachable::silent(status.message())),
            Err(_) => Err(Unreachable::silent("no hello came")),
        }
    }

    /// Carries messages until the stream breaks; says why.
    async fn pump(
        &self,
        known: &mut Known,
        out: &mpsc::Sender<VoiceMessage>,
        mut incoming: Streaming<VoiceMessage>,
    ) -> String {
        loop {
            tokio::select! {
                order = known.orders.recv() => {
                    // None when guilds has given it up.
                    let Some(order) = order else { return "nobody has orders for it".to_owned() };
                    if order.protocol() > known.protocol
                        && let Some(held) = self.nothing_held(&order)
                    {
                        drop(self.reports.send(held).await);
                    }
                    for order in order.in_version(known.protocol) {
                        if out.send(VoiceMessage::order(&order)).await.is_err() {
                            return "it takes no orders".to_owned();
                        }
                    }
                }
                message = incoming.message() => if let Err(why) = self.hear(message).await { return why },
            }
        }
    }

    /// A server of the version before cannot be asked, and is not to be waited for.
    fn nothing_held(&self, order: &ToVoice) -> Option<Report> {
        let ToVoice::Order(Order { guild, fencing, kind: OrderKind::Claim }) = *order else { return None };
        let (server, participants, live, channels) =
            (self.id.clone(), Vec::new(), BTreeSet::new(), Vec::new());
        let held = Held { server, guild, claim: fencing, fencing: 0, participants, live, channels };
        Some(Report::Held(Box::new(held)))
    }

    async fn hear(&self, message: Result<Option<VoiceMessage>, Status>) -> Result<(), String> {
        let message = message.map_err(|status| status.message().to_owned())?;
        let message = message.ok_or("it ended the stream")?;
        match message.read_report() {
            // Without guilds nobody wants to know.
            Ok(report) => drop(self.reports.send(report).await),
            Err(error) => tracing::warn!(server = %self.id, %error, "a report of another version"),
        }
        Ok(())
    }
}
