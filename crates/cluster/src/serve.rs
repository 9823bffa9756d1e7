//! The cluster's port of a guilds node or a voice server.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use client_wire::error::ApiError;
use cluster_wire::envelope::{FromCaller, Hello, MESSAGE_BYTES_MAX, ToCaller, VoiceMessage};
use cluster_wire::guilds::CallResult;
use cluster_wire::link::{EventReceiver, GuildsLink, ReportReceiver};
use cluster_wire::voice::ToVoice;
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use tonic::transport::server::{Router, TcpIncoming};
use tonic::{Request, Response, Status, Streaming};

use crate::ClusterKey;
use crate::limits::{HELLO_WITHIN, PING_EVERY, PING_PATIENCE, STREAM_QUEUE, WINDOW_BYTES};
use crate::services::guilds::guilds_server::{Guilds, GuildsServer};
use crate::services::voice::voice_server::{Voice, VoiceServer};
use crate::tls::Credentials;

/// The cluster's port, bound.
#[derive(Debug)]
pub struct Listener(TcpListener);

impl Listener {
    pub async fn bind(address: SocketAddr) -> io::Result<Self> {
        TcpListener::bind(address).await.map(Self)
    }

    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    /// Until told to stop, after which streams that are open end soon.
    async fn serve(self, router: Router, stop: CancellationToken) {
        let incoming = TcpIncoming::from(self.0).with_nodelay(Some(true));
        if let Err(error) = router.serve_with_incoming_shutdown(incoming, stop.cancelled()).await {
            tracing::error!(%error, "the cluster's port is closed");
        }
    }
}

fn server(key: &ClusterKey) -> Server {
    Server::builder()
        .tls_config(Credentials::new(key).server())
        .expect("our own certificates are good")
        .http2_keepalive_interval(Some(PING_EVERY))
        .http2_keepalive_timeout(Some(PING_PATIENCE))
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
}

/// Lets gateways and other guilds nodes call this one.
pub async fn serve_guilds(
    listener: Listener,
    key: &ClusterKey,
    me: Hello,
    link: GuildsLink,
    stop: CancellationToken,
) {
    let service = GuildsServer::new(Calls { me, link, stop: stop.clone() })
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX);
    listener.serve(server(key).add_service(service), stop).await;
}

/// Lets guilds nodes give orders to this voice server, and tells each of them every report.
pub async fn serve_voice(
    listener: Listener,
    key: &ClusterKey,
    me: Hello,
    orders: mpsc::Sender<ToVoice>,
    reports: ReportReceiver,
    stop: CancellationToken,
) {
    let listeners = Listeners::default();
    let telling = tokio::spawn(listeners.clone().tell_all(reports));
    let service = VoiceServer::new(Orders { me, orders, listeners, stop: stop.clone() })
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX);
    listener.serve(server(key).add_service(service), stop).await;
    telling.abort();
}

/// The first message of a stream says who is there.
async fn greeting<T: Send + 'static>(
    incoming: &mut Streaming<T>,
    hello: impl Fn(&T) -> Option<Hello>,
) -> Result<Hello, Status> {
    let first = tokio::time::timeout(HELLO_WITHIN, incoming.message()).await;
    let first = first.map_err(|_| Status::deadline_exceeded("no hello came"))??;
    let hello = first.as_ref().and_then(hello);
    let hello = hello.ok_or_else(|| Status::invalid_argument("a stream begins with a hello"))?;
    match hello.is_understood() {
        true => Ok(hello),
        false => Err(Status::failed_precondition(hello.strangeness())),
    }
}

type Out<T> = mpsc::Sender<Result<T, Status>>;

/// What `attend` says until it is done, or until this process is to end.
fn serve_stream<T, F>(
    stop: CancellationToken,
    attend: impl FnOnce(Out<T>) -> F,
) -> ReceiverStream<Result<T, Status>>
where
    T: Send + 'static,
    F: Future<Output = Result<(), Status>> + Send + 'static,
{
    let (out, stream) = mpsc::channel(STREAM_QUEUE);
    let attending = attend(out.clone());
    tokio::spawn(async move {
        let status = match stop.run_until_cancelled(attending).await {
            None => Status::unavailable("this node ends"),
            Some(Err(status)) => status,
            Some(Ok(())) => return,
        };
        // Whoever is gone needs no reason.
        let _ = out.send(Err(status)).await;
    });
    ReceiverStream::new(stream)
}

type Answer = BoxFuture<'static, (u64, CallResult)>;

#[derive(Clone)]
struct Calls {
    me: Hello,
    link: GuildsLink,
    stop: CancellationToken,
}

#[tonic::async_trait]
impl Guilds for Calls {
    type ServeStream = ReceiverStream<Result<ToCaller, Status>>;

    async fn serve(
        &self,
        request: Request<Streaming<FromCaller>>,
    ) -> Result<Response<Self::ServeStream>, Status> {
        let (calls, incoming) = (self.clone(), request.into_inner());
        let attend = |out| async move { calls.attend(incoming, &out).await };
        Ok(Response::new(serve_stream(self.stop.clone(), attend)))
    }
}

impl Calls {
    /// One caller's stream. Its calls are begun in the order in which they come.
    async fn attend(&self, mut incoming: Streaming<FromCaller>, out: &Out<ToCaller>) -> Result<(), Status> {
        let hello = greeting(&mut incoming, |first: &FromCaller| first.hello.clone()).await?;
        tracing::info!(caller = hello.name, "is connected");
        let gone = |_| Status::cancelled("the caller is gone");
        let mut events = match hello.listens {
            true => Some(self.listen(&hello).await?),
            false => None,
        };
        out.send(Ok(ToCaller::hello(self.me.clone()))).await.map_err(gone)?;
        let mut answers: FuturesUnordered<Answer> = FuturesUnordered::new();
        loop {
            let said = tokio::select! {
                message = incoming.message() => {
                    let Some(message) = message? else { return Ok(()) };
                    let begun = self.begin(message).await;
                    answers.push(begun);
                    continue;
                }
                Some((id, result)) = answers.next(), if !answers.is_empty() => ToCaller::reply(id, &result),
                event = next(&mut events) => match event {
                    Some(event) => ToCaller::event(&event),
                    None => return Err(Status::resource_exhausted("events were not read in time")),
                },
            };
            out.send(Ok(said)).await.map_err(gone)?;
        }
    }

    async fn listen(&self, hello: &Hello) -> Result<EventReceiver, Status> {
        let events = self.link.clone().listen(hello.gateway()).await;
        events.ok_or_else(|| Status::unavailable("this node ends"))
    }

    async fn begin(&self, message: FromCaller) -> Answer {
        let id = message.call;
        match message.read() {
            Ok(call) => {
                let answer = self.link.begin(call).await;
                Box::pin(async move { (id, answer.await) })
            }
            Err(error) => {
                tracing::warn!(%error, "a call of another version");
                let result = Err(ApiError::new(501, 0, "This node does not know how to do that yet."));
                Box::pin(std::future::ready((id, result)))
            }
        }
    }
}

async fn next(events: &mut Option<EventReceiver>) -> Option<cluster_wire::guilds::Event> {
    match events {
        Some(events) => events.recv().await,
        None => std::future::pending().await,
    }
}

/// A guilds node: the version of the protocol that it speaks, and its stream.
type Told = (u32, mpsc::Sender<VoiceMessage>);

/// Those that are told what happens at this voice server.
#[derive(Clone, Default)]
struct Listeners(Arc<Mutex<Vec<Told>>>);

impl Listeners {
    fn add(&self, protocol: u32) -> mpsc::Receiver<VoiceMessage> {
        let (sender, receiver) = mpsc::channel(cluster_wire::link::ORDERS_MAX);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push((protocol, sender));
        receiver
    }

    /// One that does not keep up is cut off; it comes again, and is told everything anew.
    async fn tell_all(self, mut reports: ReportReceiver) {
        while let Some(report) = reports.recv().await {
            let message = VoiceMessage::report(&report);
            let mut listeners = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            listeners.retain(|(protocol, listener)| {
                *protocol < report.protocol() || listener.try_send(message.clone()).is_ok()
            });
        }
    }
}

#[derive(Clone)]
struct Orders {
    me: Hello,
    orders: mpsc::Sender<ToVoice>,
    listeners: Listeners,
    stop: CancellationToken,
}

#[tonic::async_trait]
impl Voice for Orders {
    type ServeStream = ReceiverStream<Result<VoiceMessage, Status>>;

    async fn serve(
        &self,
        request: Request<Streaming<VoiceMessage>>,
    ) -> Result<Response<Self::ServeStream>, Status> {
        let (orders, incoming) = (self.clone(), request.into_inner());
        let attend = |out| async move { orders.attend(incoming, &out).await };
        Ok(Response::new(serve_stream(self.stop.clone(), attend)))
    }
}

impl Orders {
    async fn attend(
        &self,
        mut incoming: Streaming<VoiceMessage>,
        out: &Out<VoiceMessage>,
    ) -> Result<(), Status> {
        let hello = greeting(&mut incoming, |first: &VoiceMessage| first.hello.clone()).await?;
        tracing::info!(guilds = hello.name, "a guilds node is connected");
        let mut reports = self.listeners.add(hello.protocol);
        let gone = |_| Status::cancelled("the guilds node is gone");
        out.send(Ok(VoiceMessage::hello(self.me.clone()))).await.map_err(gone)?;
        loop {
            tokio::select! {
                message = incoming.message() => {
                    let Some(message) = message? else { return Ok(()) };
                    match message.read_order() {
                        Ok(order) => {
                            let taken = self.orders.send(order).await;
                            taken.map_err(|_| Status::unavailable("this voice server ends"))?;
                        }
                        Err(error) => tracing::warn!(%error, "an order of another version"),
                    }
                }
                report = reports.recv() => {
                    let report = report.ok_or_else(|| Status::resource_exhausted("reports were not read in time"))?;
                    out.send(Ok(report)).await.map_err(gone)?;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use cluster_wire::envelope::PROTOCOL;
    use cluster_wire::voice::{Held, Report};
    use model::{GuildId, ServerId, SessionId, UserId};

    use super::*;

    #[tokio::test]
    async fn a_node_of_the_version_before_is_told_what_it_knows() {
        let listeners = Listeners::default();
        let (mut old, mut new) = (listeners.add(1), listeners.add(PROTOCOL));
        let (reports, reported) = mpsc::channel(2);
        let (server, guild) = (ServerId("eu-0".to_owned()), GuildId(1));
        let (participants, live, channels) = (Vec::new(), std::collections::BTreeSet::new(), Vec::new());
        let held = Held { server: server.clone(), guild, claim: 1, fencing: 0, participants, live, channels };
        let held = Report::Held(Box::new(held));
        let gone = Report::Gone { server, guild, user: UserId(1), session: SessionId(1) };
        for report in [&held, &gone] {
            reports.send(report.clone()).await.unwrap();
        }
        drop(reports);
        listeners.tell_all(reported).await;
        let told = |listener: &mut mpsc::Receiver<VoiceMessage>| {
            std::iter::from_fn(|| listener.try_recv().ok()?.read_report().ok()).collect::<Vec<_>>()
        };
        assert_eq!(told(&mut new), [held, gone.clone()]);
        assert_eq!(told(&mut old), [gone]);
    }
}
