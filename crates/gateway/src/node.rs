//! The loop around the node: inputs in, outputs out, nothing decided.

use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Instant;

use client_wire::gateway::{FrameError, FromClient};
use cluster_wire::guilds::{Call, CallResult, Event, GatewayId};
use cluster_wire::link::{EventReceiver, GuildsLink};
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use gateway_core::{CallId, ConnId, Frame, Node, NodeConfig, Output, Transmit};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::limits::{BATCH_MAX, CALLS_IN_FLIGHT_MAX, SHUTDOWN_PATIENCE, SOCKET_BYTES_MAX};
use crate::voice::VoiceDoor;
use crate::{GatewayConfig, observe};

/// What reaches the node from the rest of the process.
pub enum Input {
    Connected {
        resume_url: String,
        writer: Writer,
        id: oneshot::Sender<ConnId>,
    },
    Frame(ConnId, FromClient),
    Malformed(ConnId, FrameError),
    /// A GUILD_CREATE is on the wire.
    GuildWritten(ConnId),
    /// With the number of the client's close frame, if there was one.
    Disconnected(ConnId, Option<u16>),
    Drain,
    Shutdown,
}

/// The node's end of a socket's queue.
pub struct Writer {
    pub outputs: mpsc::Sender<Output>,
    /// Payload bytes in the queue; the socket takes off what it has written.
    pub waiting_bytes: Arc<AtomicUsize>,
    /// Cancelled when the socket is too slow for its queue.
    pub too_slow: CancellationToken,
}

impl Writer {
    /// False when the queue is full.
    fn push(&self, output: Output) -> bool {
        if let Output::Frame(frame) = &output {
            let bytes = frame.bytes();
            let before = self.waiting_bytes.fetch_add(bytes, Ordering::Relaxed);
            if before > 0 && before + bytes > SOCKET_BYTES_MAX {
                return false;
            }
        }
        self.outputs.try_send(output).is_ok()
    }
}

type Answer = Pin<Box<dyn Future<Output = (CallId, CallResult)> + Send>>;

struct Shell {
    node: Node,
    writers: HashMap<ConnId, Writer>,
    guilds: GuildsLink,
    voice: Option<Arc<VoiceDoor>>,
    answers: FuturesUnordered<Answer>,
    /// Of attachments, which wait for their guild's owner.
    attached: FuturesUnordered<Answer>,
    gateway: GatewayId,
    is_over: bool,
}

/// Runs until told to shut down.
pub async fn run(
    config: GatewayConfig,
    mut inputs: mpsc::Receiver<Input>,
    events: EventReceiver,
    guilds: GuildsLink,
    voice: Option<Arc<VoiceDoor>>,
) {
    let core = NodeConfig {
        heartbeat_interval: config.heartbeat_interval,
        session_keep: config.session_keep,
        gateway: config.gateway,
        is_one_of_many: config.is_one_of_many,
    };
    let mut shell = Shell {
        node: Node::new(core, rand::random()),
        writers: HashMap::new(),
        guilds,
        voice,
        answers: FuturesUnordered::new(),
        attached: FuturesUnordered::new(),
        gateway: config.gateway,
        is_over: false,
    };
    let (mut some_inputs, mut some_events) = (Vec::with_capacity(BATCH_MAX), Vec::with_capacity(BATCH_MAX));
    let mut feed = Feed::Open(events);
    while !shell.is_over {
        let due = shell.node.poll_timeout().map(|(at, _)| at);
        tokio::select! {
            news = feed.next(&mut some_events) => match news {
                News::Events => some_events.drain(..).for_each(|event| shell.event(event)),
                News::CutOff => feed = shell.listen_again(),
                News::Again => tracing::info!("events come again"),
                News::Over => shell.lose_guilds(),
            },
            // Whoever came in without events would wait for its guilds in vain.
            n = inputs.recv_many(&mut some_inputs, BATCH_MAX),
                if shell.answers.len() < CALLS_IN_FLIGHT_MAX && !feed.is_asked_for() =>
            {
                shell.is_over |= n == 0;
                some_inputs.drain(..).for_each(|input| shell.input(input));
            }
            Some((id, reply)) = shell.answers.next(), if !shell.answers.is_empty() => {
                shell.node.handle_reply(Instant::now(), id, reply);
            }
            Some((id, reply)) = shell.attached.next(), if !shell.attached.is_empty() => {
                shell.node.handle_reply(Instant::now(), id, reply);
            }
            () = sleep_until(due) => shell.node.handle_timeout(Instant::now()),
        }
        shell.flush().await;
    }
    // Guilds is to hear that the sessions are over; their replies say nothing more.
    let rest = async { while shell.answers.next().await.is_some() {} };
    if tokio::time::timeout(SHUTDOWN_PATIENCE, rest).await.is_err() {
        tracing::warn!("guilds did not answer while the gateway shut down");
    }
}

/// Where events come from.
enum Feed {
    Open(EventReceiver),
    /// The last one was cut off, and guilds was asked for another.
    AskedFor(Pin<Box<dyn Future<Output = Option<EventReceiver>> + Send>>),
    /// Guilds is gone.
    Over,
}

enum News {
    Events,
    CutOff,
    Again,
    Over,
}

impl Feed {
    /// Loses nothing when it is dropped before it is done.
    async fn next(&mut self, events: &mut Vec<Event>) -> News {
        match self {
            Self::Open(receiver) => match receiver.recv_many(events, BATCH_MAX).await {
                0 => News::CutOff,
                _ => News::Events,
            },
            Self::AskedFor(answer) => match answer.await {
                Some(receiver) => {
                    *self = Self::Open(receiver);
                    News::Again
                }
                None => {
                    *self = Self::Over;
                    News::Over
                }
            },
            Self::Over => std::future::pending().await,
        }
    }

    fn is_asked_for(&self) -> bool {
        matches!(self, Self::AskedFor(_))
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

impl Shell {
    fn input(&mut self, input: Input) {
        let now = Instant::now();
        match input {
            Input::Connected { resume_url, writer, id } => {
                let conn = self.node.handle_connected(now, resume_url);
                self.writers.insert(conn, writer);
                if id.send(conn).is_err() {
                    self.writers.remove(&conn);
                    self.node.handle_disconnected(now, conn, None);
                }
            }
            Input::Frame(conn, frame) => self.node.handle_frame(now, conn, frame),
            Input::Malformed(conn, error) => self.node.handle_malformed(now, conn, error),
            Input::GuildWritten(conn) => self.node.handle_guild_written(now, conn),
            Input::Disconnected(conn, close) => {
                self.writers.remove(&conn);
                self.node.handle_disconnected(now, conn, close);
            }
            Input::Drain => self.node.handle_drain(now),
            Input::Shutdown => {
                self.node.handle_shutdown(now);
                self.is_over = true;
            }
        }
    }

    fn event(&mut self, event: Event) {
        self.node.handle_event(Instant::now(), event);
    }

    /// Events were missed. The sessions end, and who comes back is told everything by the stream that is asked for here.
    fn listen_again(&mut self) -> Feed {
        tracing::warn!("guilds has ended the stream of events");
        self.node.handle_cut_off(Instant::now());
        Feed::AskedFor(Box::pin(self.guilds.clone().listen(self.gateway)))
    }

    /// Without guilds no session is worth anything: all end, and their clients look for another node.
    fn lose_guilds(&mut self) {
        tracing::warn!("guilds is gone");
        self.node.handle_shutdown(Instant::now());
    }

    /// Carries out everything the node has decided.
    async fn flush(&mut self) {
        // A full queue or an immediate reply makes the node decide more.
        loop {
            if let Some(transmit) = self.node.poll_transmit() {
                self.transmit(transmit);
            } else if let Some((id, call)) = self.node.poll_call() {
                self.call(id, call).await;
            } else {
                break;
            }
        }
        while let Some(notice) = self.node.poll_notice() {
            observe::notice(notice);
        }
        let (sessions, live) = (self.node.sessions(), self.node.live());
        observe::population(self.node.connections(), live, sessions - live);
    }

    fn transmit(&mut self, Transmit { conn, output }: Transmit) {
        let Some(writer) = self.writers.get(&conn) else { return };
        if let (Some(door), Output::Frame(Frame::Dispatch { body, .. })) = (&self.voice, &output)
            && body.t == "VOICE_SERVER_UPDATE"
        {
            door.told(body.d.get());
        }
        let close = if let Output::Close(code) = &output { Some(*code) } else { None };
        if let Some(code) = close {
            observe::closed(code);
        }
        if !writer.push(output) {
            observe::slow_client();
            writer.too_slow.cancel();
            self.writers.remove(&conn);
            self.node.handle_disconnected(Instant::now(), conn, None);
        } else if close.is_some() {
            self.writers.remove(&conn);
        }
    }

    /// Starts a call. Its first poll happens here and now, so that calls reach guilds in the order in which
    /// they were decided.
    async fn call(&mut self, id: CallId, call: Call) {
        let guilds = self.guilds.clone();
        let waits_for_owner = matches!(call, Call::Attach { .. });
        let mut answer: Answer = Box::pin(async move { (id, guilds.call(call).await) });
        match poll_fn(|cx| Poll::Ready(answer.as_mut().poll(cx))).await {
            Poll::Ready((id, reply)) => self.node.handle_reply(Instant::now(), id, reply),
            Poll::Pending if waits_for_owner => self.attached.push(answer),
            Poll::Pending => self.answers.push(answer),
        }
    }
}
