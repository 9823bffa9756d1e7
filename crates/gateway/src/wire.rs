//! The connection beneath a WebSocket: the library's, and for a message that is too long for it, ours.
//!
//! The library copies a frame into a buffer of its own, which keeps the size of the longest that it ever held; and a connection is told of a whole guild once. To cut such a message
//! into frames would do (RFC 6455 section 5.4), but some clients' libraries do not put them together again. So it is written past the library, in between two frames of its.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf};

/// Text or binary, as frames name them (RFC 6455 section 11.8).
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    Text = 1,
    Binary = 2,
}

pub struct Wire<T>(Arc<Mutex<Shared<T>>>);

struct Shared<T> {
    io: T,
    /// What the library wrote last has gone out whole.
    is_whole: bool,
    ours: Ours,
    /// The library, which waits for the end of ours.
    waiting: Option<Waker>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ours {
    None,
    Underway,
    /// It was given up in the middle, after which nothing can follow.
    Broken,
}

impl<T> Clone for Wire<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Wire<T> {
    pub fn new(io: T) -> Self {
        Self(Arc::new(Mutex::new(Shared { io, is_whole: true, ours: Ours::None, waiting: None })))
    }

    fn lock(&self) -> MutexGuard<'_, Shared<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> Wire<T> {
    /// Begins a message of ours. None while a frame of the library's is half written, which a flush of it ends.
    pub fn begin(&self) -> Option<Message<T>> {
        let mut shared = self.lock();
        (shared.is_whole && shared.ours == Ours::None).then(|| {
            shared.ours = Ours::Underway;
            Message { wire: self.clone(), is_whole: false }
        })
    }
}

/// A message that is being written. One that is dropped before its end takes the connection with it.
pub struct Message<T: AsyncRead + AsyncWrite + Unpin> {
    wire: Wire<T>,
    is_whole: bool,
}

impl<T: AsyncRead + AsyncWrite + Unpin> Message<T> {
    /// One frame, masked with nothing.
    pub async fn head(&mut self, kind: Kind, len: usize) -> io::Result<()> {
        let mut head = vec![0x80 | kind as u8];
        match u16::try_from(len) {
            Ok(len @ ..126) => head.push(len as u8),
            Ok(len) => {
                head.push(126);
                head.extend_from_slice(&len.to_be_bytes());
            }
            Err(_) => {
                head.push(127);
                head.extend_from_slice(&(len as u64).to_be_bytes());
            }
        }
        self.write(&head).await
    }

    pub async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        Direct(&self.wire).write_all(bytes).await
    }

    pub async fn end(mut self) -> io::Result<()> {
        Direct(&self.wire).flush().await?;
        self.is_whole = true;
        Ok(())
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> Drop for Message<T> {
    fn drop(&mut self) {
        let mut shared = self.wire.lock();
        shared.ours = if self.is_whole { Ours::None } else { Ours::Broken };
        if let Some(waiting) = shared.waiting.take() {
            waiting.wake();
        }
    }
}

/// Writes whatever the library may not.
struct Direct<'a, T>(&'a Wire<T>);

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Direct<'_, T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0.lock().io).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0.lock().io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0.lock().io).poll_shutdown(cx)
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Wire<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.lock().io).poll_read(cx, buffer)
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Wire<T> {
    /// The library gives all that it has, which ends with the end of a frame.
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut shared = self.lock();
        match shared.ours {
            Ours::None => {}
            Ours::Underway => {
                shared.waiting = Some(cx.waker().clone());
                return Poll::Pending;
            }
            Ours::Broken => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
        let written = Pin::new(&mut shared.io).poll_write(cx, bytes);
        shared.is_whole = match &written {
            Poll::Ready(Ok(written)) => *written == bytes.len(),
            Poll::Ready(Err(_)) | Poll::Pending => bytes.is_empty(),
        };
        written
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.lock().io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.lock().io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{SinkExt as _, StreamExt as _};
    use tokio::io::{DuplexStream, duplex};
    use tokio_tungstenite::WebSocketStream;
    use tokio_tungstenite::tungstenite::protocol::Role;
    use tokio_tungstenite::tungstenite::{self, Bytes};

    use super::*;

    async fn pair() -> (WebSocketStream<Wire<DuplexStream>>, WebSocketStream<DuplexStream>) {
        let (server, client) = duplex(64);
        let server = WebSocketStream::from_raw_socket(Wire::new(server), Role::Server, None).await;
        (server, WebSocketStream::from_raw_socket(client, Role::Client, None).await)
    }

    /// Through a pipe of 64 bytes, while the client's pings are answered by the library.
    #[tokio::test]
    async fn long_messages_are_written_between_those_of_the_library() {
        let (mut server, mut client) = pair().await;
        let wire = server.get_ref().clone();
        let lens = [0, 125, 126, 65_535, 65_536, 200_000];
        let serving = async move {
            for len in lens {
                let text = "x".repeat(len);
                server.send(tungstenite::Message::text(format!("{len}"))).await.unwrap();
                let mut ours = loop {
                    match wire.begin() {
                        Some(ours) => break ours,
                        None => server.flush().await.unwrap(),
                    }
                };
                let writing = async {
                    ours.head(Kind::Text, len).await.unwrap();
                    ours.write(text.as_bytes()).await.unwrap();
                    ours.end().await.unwrap();
                };
                let reading = async { while server.next().await.is_some() {} };
                tokio::select! { () = writing => {}, () = reading => panic!("the client has gone") }
            }
            server.close(None).await.unwrap();
        };
        let reading = async {
            let (mut texts, mut pongs) = (Vec::new(), 0);
            client.send(tungstenite::Message::Ping(Bytes::from_static(b"ping"))).await.unwrap();
            while let Some(Ok(message)) = client.next().await {
                match message {
                    tungstenite::Message::Text(text) => texts.push(text.to_string()),
                    tungstenite::Message::Pong(payload) => {
                        assert_eq!(&payload[..], b"ping");
                        pongs += 1;
                    }
                    tungstenite::Message::Close(_) => break,
                    other => panic!("{other:?}"),
                }
                // The server may have closed by then.
                let _ = client.send(tungstenite::Message::Ping(Bytes::from_static(b"ping"))).await;
            }
            (texts, pongs)
        };
        let ((), (texts, pongs)) = tokio::join!(serving, reading);
        let expected: Vec<String> = lens.iter().flat_map(|len| [len.to_string(), "x".repeat(*len)]).collect();
        assert!(texts == expected, "{:?}", texts.iter().map(String::len).collect::<Vec<_>>());
        assert!(pongs > 0);
    }

    #[tokio::test]
    async fn a_message_that_is_given_up_ends_the_connection() {
        let (mut server, _client) = pair().await;
        let wire = server.get_ref().clone();
        let mut ours = wire.begin().unwrap();
        assert!(wire.begin().is_none(), "one at a time");
        ours.head(Kind::Binary, 10).await.unwrap();
        drop(ours);
        assert!(wire.begin().is_none());
        server.send(tungstenite::Message::text("x")).await.unwrap_err();
    }
}
