//! The loop around the node: inputs in, outputs out, nothing decided.

use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Instant;

use client_wire::gateway::{FrameError, FromClient};
use cluster_wire::guilds::{Call, CallResult, Event};
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
    is_over: bool,
}

/// Runs until told to shut down.
pub async fn run(
    config: GatewayConfig,
    mut inputs: mpsc::Receiver<Input>,
    mut events: EventReceiver,
    guilds: GuildsLink,
    voice: Option<Arc<VoiceDoor>>,
) {
    let core =
        NodeConfig { heartbeat_interval: config.heartbeat_interval, session_keep: config.session_keep };
    let mut shell = Shell {
        node: Node::new(core, rand::random()),
        writers: HashMap::new(),
        guilds,
        voice,
        answers: FuturesUnordered::new(),
        is_over: false,
    };
    let (mut some_inputs, mut some_events) = (Vec::with_capacity(BATCH_MAX), Vec::with_capacity(BATCH_MAX));
    let mut has_events = true;
    while !shell.is_over {
        let due = shell.node.poll_timeout().map(|(at, _)| at);
        tokio::select! {
            n = events.recv_many(&mut some_events, BATCH_MAX), if has_events => {
                has_events = n > 0;
                if !has_events {
                    shell.lose_guilds();
                }
                some_events.drain(..).for_each(|event| shell.event(event));
            }
            n = inputs.recv_many(&mut some_inputs, BATCH_MAX), if shell.answers.len() < CALLS_IN_FLIGHT_MAX => {
                shell.is_over |= n == 0;
                some_inputs.drain(..).for_each(|input| shell.input(input));
            }
            Some((id, reply)) = shell.answers.next(), if !shell.answers.is_empty() => {
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

    /// Without events no session is worth anything: all end, and their clients look for another node.
    fn lose_guilds(&mut self) {
        tracing::warn!("guilds has ended the stream of events");
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
        if let (Some(door), Output::Frame(Frame::Dispatch { t: "VOICE_SERVER_UPDATE", d, .. })) =
            (&self.voice, &output)
        {
            door.told(d.get());
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
        let mut answer: Answer = Box::pin(async move { (id, guilds.call(call).await) });
        match poll_fn(|cx| Poll::Ready(answer.as_mut().poll(cx))).await {
            Poll::Ready((id, reply)) => self.node.handle_reply(Instant::now(), id, reply),
            Poll::Pending => self.answers.push(answer),
        }
    }
}
