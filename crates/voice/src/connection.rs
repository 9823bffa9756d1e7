//! One client's connection: TLS, WebSocket, and the way between it and the hub.

use std::net::IpAddr;
use std::sync::Arc;

use client_wire::voice::{CloseCode, Version};
use futures_util::{SinkExt as _, StreamExt as _};
use rustls::ServerConfig;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode as WsCloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error as WsError, Message, Utf8Bytes};
use tokio_tungstenite::{WebSocketStream, accept_hdr_async_with_config};
use voice_core::ConnId;
use voice_core::limits::MESSAGE_BYTES_MAX;

use crate::gate::Pass;
use crate::hub::Input;
use crate::limits::{
    CLOSE_TIMEOUT, READ_BUFFER_BYTES, WRITE_BUFFER_BYTES, WRITE_BUFFER_BYTES_MAX, WRITE_QUEUE_MAX,
    WRITE_TIMEOUT, WRITES_PER_WAKE,
};
use crate::tls::TlsStream;

type Socket = WebSocketStream<TlsStream<TcpStream>>;

/// What the hub has for one client.
#[derive(Debug)]
pub enum Outgoing {
    Text(String),
    /// The client has shown who it is: it no longer counts as a stranger.
    Authenticated,
    Close(CloseCode),
}

/// Serves a connection from its first byte to its last. Until the deadline it must be a WebSocket.
pub async fn serve(
    tcp: TcpStream,
    tls: Arc<ServerConfig>,
    conn: ConnId,
    inputs: mpsc::Sender<Input>,
    pass: Pass<IpAddr>,
    deadline: Instant,
) {
    // In a box, which goes with it: it takes more than all that follows.
    let (mut socket, version) = match timeout_at(deadline, Box::pin(handshake(tcp, tls))).await {
        Ok(Ok(opened)) => opened,
        Ok(Err(error)) => return tracing::debug!(?conn, %error, "a handshake failed"),
        Err(_) => return tracing::debug!(?conn, "a handshake took too long"),
    };
    let (out, queue) = mpsc::channel(WRITE_QUEUE_MAX);
    if inputs.send(Input::Opened { conn, version, out }).await.is_err() {
        return;
    }
    let code = exchange(&mut socket, conn, &inputs, queue, pass).await;
    // The hub may be gone already; then so is everything that this would tell it.
    let _ = inputs.send(Input::Closed { conn, code }).await;
}

async fn handshake(tcp: TcpStream, tls: Arc<ServerConfig>) -> Result<(Socket, Option<Version>), WsError> {
    tcp.set_nodelay(true)?;
    let stream = TlsStream::accept(tcp, tls).await?;
    let mut version = None;
    // The type of the refusal is the library's.
    #[allow(clippy::result_large_err)]
    let read_query = |request: &Request, response: Response| -> Result<Response, ErrorResponse> {
        version = request.uri().query().and_then(Version::from_query);
        Ok(response)
    };
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(WRITE_BUFFER_BYTES)
        .max_write_buffer_size(WRITE_BUFFER_BYTES_MAX)
        .max_message_size(Some(MESSAGE_BYTES_MAX))
        .max_frame_size(Some(MESSAGE_BYTES_MAX));
    let socket = accept_hdr_async_with_config(stream, read_query, Some(config)).await?;
    Ok((socket, version))
}

/// Carries messages both ways until one side ends; returns the close code of the client's, if it sent one.
async fn exchange(
    socket: &mut Socket,
    conn: ConnId,
    inputs: &mpsc::Sender<Input>,
    mut queue: mpsc::Receiver<Outgoing>,
    pass: Pass<IpAddr>,
) -> Option<u16> {
    let mut pass = Some(pass);
    loop {
        tokio::select! {
            received = socket.next() => {
                let input = match received {
                    Some(Ok(Message::Text(text))) => Input::Text { conn, text },
                    Some(Ok(Message::Binary(bytes))) => Input::Binary { conn, bytes },
                    Some(Ok(Message::Close(frame))) => return frame.map(|frame| frame.code.into()),
                    // Pings are answered by the library.
                    Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => continue,
                    Some(Err(WsError::Capacity(_))) => {
                        let _ = inputs.send(Input::Oversize { conn }).await;
                        // Nothing after it can be read, but the reason can still be told.
                        say_goodbye(socket, &mut queue).await;
                        return None;
                    }
                    Some(Err(WsError::Utf8(_))) | None | Some(Err(_)) => return None,
                };
                if inputs.send(input).await.is_err() {
                    return None;
                }
            }
            out = queue.recv() => match out {
                Some(out) => match write(socket, out, &mut queue, &mut pass).await {
                    Written::All => {}
                    Written::UntilClose(code) => {
                        close(socket, code).await;
                        return None;
                    }
                    Written::TooSlowly => return None,
                },
                // The hub dropped a client that does not read.
                None => return None,
            },
        }
    }
}

/// Waits for the close that the hub answers with, and sends it to a client whose messages can no longer be told apart: what it still
/// sends is thrown away unread, for a connection that ends before it would be reset, and the close with it.
async fn say_goodbye(socket: &mut Socket, queue: &mut mpsc::Receiver<Outgoing>) {
    while let Ok(Some(out)) = timeout(CLOSE_TIMEOUT, queue.recv()).await {
        if let Outgoing::Close(code) = out {
            let farewell = async {
                if socket.send(close_message(code)).await.is_ok() {
                    let mut unread = [0; READ_BUFFER_BYTES];
                    while matches!(socket.get_mut().read(&mut unread).await, Ok(1..)) {}
                }
            };
            let _: Result<(), _> = timeout(CLOSE_TIMEOUT, farewell).await;
            return;
        }
    }
}

fn close_message(code: CloseCode) -> Message {
    let frame =
        CloseFrame { code: WsCloseCode::from(code.number()), reason: Utf8Bytes::from_static(code.reason()) };
    Message::Close(Some(frame))
}

enum Written {
    All,
    /// What came after it was not looked at.
    UntilClose(CloseCode),
    TooSlowly,
}

/// Writes what waits in one go: where many come at once each is told of all the others, and a record and a system call for each would be most
/// of the cost.
async fn write(
    socket: &mut Socket,
    first: Outgoing,
    queue: &mut mpsc::Receiver<Outgoing>,
    pass: &mut Option<Pass<IpAddr>>,
) -> Written {
    let writing = async {
        let mut out = first;
        for left in (0..WRITES_PER_WAKE).rev() {
            match out {
                Outgoing::Text(text) => socket.feed(Message::Text(text.into())).await?,
                Outgoing::Authenticated => drop(pass.take()),
                // The close has less time to leave than what was said before it.
                Outgoing::Close(code) => {
                    socket.flush().await?;
                    return Ok(Written::UntilClose(code));
                }
            }
            let next = if left > 0 { queue.try_recv().ok() } else { None };
            let Some(next) = next else { break };
            out = next;
        }
        socket.flush().await?;
        Ok::<_, WsError>(Written::All)
    };
    match timeout(WRITE_TIMEOUT, writing).await {
        Ok(Ok(written)) => written,
        Ok(Err(_)) | Err(_) => Written::TooSlowly,
    }
}

/// Sends our close and reads on until the client's comes, for otherwise the kernel would cut off what is still on its way.
async fn close(socket: &mut Socket, code: CloseCode) {
    let farewell = async {
        if socket.send(close_message(code)).await.is_ok() {
            while let Some(Ok(_)) = socket.next().await {}
        }
    };
    let _: Result<(), _> = timeout(CLOSE_TIMEOUT, farewell).await;
}
