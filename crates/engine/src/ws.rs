//! A WebSocket as both gateways use it: text in, text out, and a close code at the end.

use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message, Utf8Bytes};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async_tls_with_config};

use crate::Trust;
use crate::limits::{CONNECT_TIMEOUT, GOODBYE_TIMEOUT, MESSAGE_MAX, READ_BUFFER};

pub(crate) struct Ws {
    stream: WebSocketStream<MaybeTlsStream<TcpStream>>,
    /// Payload bytes of both directions.
    bytes: u64,
}

pub(crate) enum Incoming {
    Text(Utf8Bytes),
    /// With the close code, if the server gave one.
    Closed(Option<u16>),
}

impl Ws {
    pub(crate) async fn connect(url: &str, trust: &Trust) -> Result<Self, Error> {
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER)
            .write_buffer_size(0)
            .max_message_size(Some(MESSAGE_MAX))
            .max_frame_size(Some(MESSAGE_MAX));
        let connecting = connect_async_tls_with_config(url, Some(config), true, trust.connector());
        let timed_out = |_| Error::Io(std::io::ErrorKind::TimedOut.into());
        let (stream, _) = timeout(CONNECT_TIMEOUT, connecting).await.map_err(timed_out)??;
        Ok(Self { stream, bytes: 0 })
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The next text; may be dropped without losing anything.
    pub(crate) async fn next(&mut self) -> Incoming {
        loop {
            match self.stream.next().await {
                Some(Ok(Message::Text(text))) => {
                    self.bytes += text.len() as u64;
                    return Incoming::Text(text);
                }
                Some(Ok(Message::Close(frame))) => return Incoming::Closed(frame.map(|f| f.code.into())),
                // Binary is compressed or end-to-end encryption, neither of which we asked for.
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Incoming::Closed(None),
            }
        }
    }

    pub(crate) async fn send(&mut self, text: String) -> Result<(), Error> {
        self.bytes += text.len() as u64;
        self.stream.send(Message::text(text)).await
    }

    /// Says goodbye and waits a moment for the answer.
    pub(crate) async fn close(mut self, code: u16) {
        let frame = CloseFrame { code: CloseCode::from(code), reason: Utf8Bytes::from_static("") };
        let farewell = async {
            if self.stream.close(Some(frame)).await.is_ok() {
                while let Some(Ok(_)) = self.stream.next().await {}
            }
        };
        let _ = timeout(GOODBYE_TIMEOUT, farewell).await;
    }
}

/// Returns once the flag is set, or nobody is left who could set it.
pub(crate) async fn asked_to_close(flag: &mut watch::Receiver<bool>) {
    let _ = flag.wait_for(|asked| *asked).await;
}
