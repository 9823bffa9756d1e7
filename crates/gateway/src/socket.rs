//! One client's WebSocket: frames in, frames out, one task.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use client_wire::gateway::{CLIENT_FRAME_BYTES_MAX, CloseCode, FrameError, FromClient};
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt as _, StreamExt as _};
use gateway_core::{ConnId, Output};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinError;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::compress::{Compression, Encoder};
use crate::limits::{
    BATCH_MAX, CLOSE_PATIENCE, LONG_WRITE_BYTES, SOCKET_FRAMES_MAX, SOCKET_WRITE_BYTES, WRITE_PATIENCE,
};
use crate::node::{Input, Writer};
use crate::observe;
use crate::upgrade::{Io, Socket};
use crate::wire::Kind;

/// What a client has said with its upgrade.
pub struct Upgrade {
    pub compression: Compression,
    pub resume_url: String,
}

/// How a connection ended.
enum End {
    /// We close it.
    Close(CloseCode),
    /// The client has gone, with the number of its close frame if it sent one.
    Gone(Option<u16>),
}

pub async fn run(mut socket: Socket, upgrade: Upgrade, inputs: mpsc::Sender<Input>) {
    let (outputs, queue) = mpsc::channel(SOCKET_FRAMES_MAX);
    let waiting_bytes = Arc::new(AtomicUsize::new(0));
    let too_slow = CancellationToken::new();
    let writer = Writer { outputs, waiting_bytes: waiting_bytes.clone(), too_slow: too_slow.clone() };
    let (id, answer) = oneshot::channel();
    let connected = Input::Connected { resume_url: upgrade.resume_url, writer, id };
    let conn = match inputs.send(connected).await {
        Ok(()) => answer.await.ok(),
        Err(_) => None,
    };
    // Without a node the process is shutting down.
    let Some(conn) = conn else { return close(&mut socket, CloseCode::ServiceRestart).await };

    let wire = socket.get_ref().clone();
    let (sink, stream) = socket.split();
    let encoder = Encoder::new(upgrade.compression);
    let outbound = Outbound { sink, wire, queue, encoder, waiting_bytes, counters: observe::Counters::new() };
    let inbound = Inbound { stream, conn, inputs: inputs.clone() };
    let (sink, mut stream, end) = converse(outbound, inbound, too_slow).await;

    match end {
        End::Close(code) => {
            if let Some(mut sink) = sink {
                let _ = tokio::time::timeout(WRITE_PATIENCE, sink.send(close_message(code))).await;
            }
            drain(&mut stream).await;
        }
        End::Gone(number) => {
            // The node ends only in shutdown, and then needs no word of this.
            let _ = inputs.send(Input::Disconnected(conn, number)).await;
        }
    }
}

type Sink = SplitSink<Socket, Message>;
type Stream = SplitStream<Socket>;

/// Both directions at once, so that a client that does not read is still heard, until one of them ends. Each is a task: what is told to thousands wakes
/// the one that writes, and leaves alone the one that waits for their clients to say something.
async fn converse(
    outbound: Outbound,
    mut inbound: Inbound,
    too_slow: CancellationToken,
) -> (Option<Sink>, Stream, End) {
    let (conn, inputs) = (inbound.conn, inbound.inputs.clone());
    let mut write = AbortOnDropHandle::new(tokio::spawn(outbound.run(conn, inputs, too_slow)));
    let written = tokio::select! {
        written = &mut write => written,
        end = inbound.run() => match end {
            // What the client did wrong is the node's to answer, through the queue.
            ReadEnd::Refused => write.await,
            ReadEnd::Gone(number) => return (None, inbound.stream, End::Gone(number)),
        },
    };
    match written.map_err(JoinError::try_into_panic) {
        Ok((sink, end)) => (Some(sink), inbound.stream, end),
        Err(Ok(panic)) => std::panic::resume_unwind(panic),
        // The runtime ends.
        Err(Err(_)) => (None, inbound.stream, End::Close(CloseCode::ServiceRestart)),
    }
}

struct Inbound {
    stream: Stream,
    conn: ConnId,
    inputs: mpsc::Sender<Input>,
}

enum ReadEnd {
    /// The node was told of a frame that it will close the connection for.
    Refused,
    Gone(Option<u16>),
}

impl Inbound {
    async fn run(&mut self) -> ReadEnd {
        loop {
            let frame = match self.stream.next().await {
                Some(Ok(Message::Text(text))) => parse(text.as_bytes()),
                // Some libraries send JSON in binary frames.
                Some(Ok(Message::Binary(bytes))) => parse(&bytes),
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => continue,
                Some(Ok(Message::Close(frame))) => {
                    return ReadEnd::Gone(frame.map(|frame| frame.code.into()));
                }
                Some(Err(error)) if is_clients_fault(&error) => Err(FrameError::Decode),
                Some(Err(_)) | None => return ReadEnd::Gone(None),
            };
            observe::frame_received();
            let (input, is_refused) = match frame {
                Ok(frame) => (Input::Frame(self.conn, frame), false),
                Err(error) => (Input::Malformed(self.conn, error), true),
            };
            if self.inputs.send(input).await.is_err() {
                return ReadEnd::Gone(None);
            }
            if is_refused {
                return ReadEnd::Refused;
            }
        }
    }
}

fn parse(bytes: &[u8]) -> Result<FromClient, FrameError> {
    if bytes.len() > CLIENT_FRAME_BYTES_MAX {
        return Err(FrameError::Decode);
    }
    FromClient::parse(bytes)
}

/// Too long, or text that is none; all else is the network's doing.
fn is_clients_fault(error: &tungstenite::Error) -> bool {
    matches!(error, tungstenite::Error::Capacity(_) | tungstenite::Error::Utf8(_))
}

struct Outbound {
    sink: Sink,
    /// Beneath the sink, for what is long.
    wire: Io,
    queue: mpsc::Receiver<Output>,
    encoder: Encoder,
    waiting_bytes: Arc<AtomicUsize>,
    counters: observe::Counters,
}

impl Outbound {
    /// Gives the sink back with the reason, for the close.
    async fn run(
        mut self,
        conn: ConnId,
        inputs: mpsc::Sender<Input>,
        too_slow: CancellationToken,
    ) -> (Sink, End) {
        loop {
            // The node lets go of a queue only after a close, when its client was too slow for it, or when it ends itself.
            let Some(first) = self.queue.recv().await else {
                let code = match too_slow.is_cancelled() {
                    // It may resume once it has caught up.
                    true => CloseCode::UnknownError,
                    false => CloseCode::ServiceRestart,
                };
                return (self.sink, End::Close(code));
            };
            let mut written = Written::default();
            let end = tokio::select! {
                biased;
                end = self.write(first, &mut written) => end,
                // Looked at only where a write has to wait.
                () = too_slow.cancelled() => Some(End::Close(CloseCode::UnknownError)),
            };
            if let Some(end) = end {
                return (self.sink, end);
            }
            self.waiting_bytes.fetch_sub(written.waiting_bytes, Ordering::Relaxed);
            self.counters.written(written.dispatches, written.bytes);
            for _ in 0..written.guilds {
                if inputs.send(Input::GuildWritten(conn)).await.is_err() {
                    return (self.sink, End::Close(CloseCode::ServiceRestart));
                }
            }
        }
    }

    /// What waits, in one go; without a list of its own, for most sockets are idle most of the time.
    async fn write(&mut self, first: Output, written: &mut Written) -> Option<End> {
        let mut output = first;
        for left in (0..BATCH_MAX).rev() {
            match output {
                Output::Close(code) => return Some(End::Close(code)),
                Output::Frame(frame) => {
                    let message = self.encoder.encode(frame.encode());
                    written.count(&frame, &message);
                    if !self.send(message).await {
                        return Some(End::Gone(None));
                    }
                }
            }
            let next = if left > 0 { self.queue.try_recv().ok() } else { None };
            let Some(next) = next else { break };
            output = next;
        }
        (!in_time(self.sink.flush()).await).then_some(End::Gone(None))
    }

    /// Whether the client took it in time. What is long goes past the library.
    async fn send(&mut self, message: Message) -> bool {
        let kind = match message {
            _ if message.len() <= SOCKET_WRITE_BYTES => None,
            Message::Text(_) => Some(Kind::Text),
            Message::Binary(_) => Some(Kind::Binary),
            _ => None,
        };
        let Some(kind) = kind else { return in_time(self.sink.feed(message)).await };
        let mut ours = loop {
            if !in_time(self.sink.flush()).await {
                return false;
            }
            match self.wire.begin() {
                Some(ours) => break ours,
                None => tokio::task::yield_now().await,
            }
        };
        let bytes = message.into_data();
        if !in_time(ours.head(kind, bytes.len())).await {
            return false;
        }
        for piece in bytes.chunks(LONG_WRITE_BYTES) {
            if !in_time(ours.write(piece)).await {
                return false;
            }
        }
        in_time(ours.end()).await
    }
}

#[derive(Default)]
struct Written {
    dispatches: u64,
    guilds: u64,
    bytes: u64,
    waiting_bytes: usize,
}

impl Written {
    fn count(&mut self, frame: &gateway_core::Frame, message: &Message) {
        self.dispatches += u64::from(matches!(frame, gateway_core::Frame::Dispatch { .. }));
        self.guilds += u64::from(frame.is_guild());
        self.waiting_bytes += frame.bytes();
        self.bytes += match message {
            Message::Text(text) => text.len() as u64,
            Message::Binary(bytes) => bytes.len() as u64,
            _ => 0,
        };
    }
}

/// Whether a write went through before the client had tried our patience.
async fn in_time<E>(write: impl Future<Output = Result<(), E>>) -> bool {
    matches!(tokio::time::timeout(WRITE_PATIENCE, write).await, Ok(Ok(())))
}

fn close_message(code: CloseCode) -> Message {
    Message::Close(Some(CloseFrame { code: code.number().into(), reason: code.reason().into() }))
}

/// Says why, and goes when the client has taken note or does not want to.
pub async fn close(socket: &mut Socket, code: CloseCode) {
    observe::closed(code);
    let _ = tokio::time::timeout(WRITE_PATIENCE, socket.send(close_message(code))).await;
    drain(socket).await;
}

/// Reads on until the client answers the close. Going at once would reset the connection while the client
/// still writes, and the close frame would be lost with it.
async fn drain(stream: &mut (impl futures_util::Stream<Item = tungstenite::Result<Message>> + Unpin)) {
    let answered = async {
        loop {
            match stream.next().await {
                Some(Ok(_)) => {}
                // What is too long to be read is not taken from the socket either: only time tells.
                Some(Err(error)) if is_clients_fault(&error) => std::future::pending::<()>().await,
                Some(Err(_)) | None => return,
            }
        }
    };
    let _ = tokio::time::timeout(CLOSE_PATIENCE, answered).await;
}
