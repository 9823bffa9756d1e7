//! TLS over a TCP stream, without buffers of a connection's own.
//!
//! An idle connection holds its keys and nothing else: what comes is read into room that the thread's connections share, and decrypted there. rustls's
//! usual interface keeps 4 KB for each connection from its first byte on. The protocol is rustls's; owned here is only what waits: a record that has come in part, text that
//! nobody has read yet, records that the network has not taken.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustls::ServerConfig;
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncodeTlsData, EncryptError, UnbufferedStatus, WriteTraffic,
};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};

/// The longest record: its header, 2^14 bytes, and what encryption adds (RFC 8446 section 5.2).
const RECORD_BYTES_MAX: usize = 5 + (1 << 14) + 256;
/// What waits of a handshake's messages, or of records that are not whole: a greeting is of some hundred bytes.
const INCOMING_BYTES_MAX: usize = 32 << 10;
/// Text of one record.
const TEXT_BYTES_MAX: usize = 1 << 14;

thread_local! {
    /// Nobody's between two calls.
    static ROOM: RefCell<Box<[u8]>> = RefCell::new(vec![0; RECORD_BYTES_MAX].into_boxed_slice());
}

/// A server's end. Whoever splits it keeps both halves in one task: reading may have to send.
pub struct TlsStream<T> {
    io: T,
    session: Box<UnbufferedServerConnection>,
    /// Records that are not whole yet.
    incoming: Vec<u8>,
    /// Decrypted, and where what nobody has read begins.
    text: Vec<u8>,
    text_at: usize,
    /// To be sent before anything else is written, and where what is not sent begins.
    outgoing: Vec<u8>,
    outgoing_at: usize,
    state: State,
    /// We have said that we send no more.
    is_closed: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Handshake,
    Open,
    /// The peer will send no more.
    PeerClosed,
    /// What came was no TLS, and nothing that comes is looked at any more.
    Failed,
}

impl<T: AsyncRead + AsyncWrite + Unpin> TlsStream<T> {
    /// The handshake, from the client's first byte on.
    pub async fn accept(io: T, config: Arc<ServerConfig>) -> io::Result<Self> {
        let session = UnbufferedServerConnection::new(config).map_err(io::Error::other)?;
        let mut stream = Self {
            io,
            session: Box::new(session),
            incoming: Vec::new(),
            text: Vec::new(),
            text_at: 0,
            outgoing: Vec::new(),
            outgoing_at: 0,
            state: State::Handshake,
            is_closed: false,
        };
        let mut room = vec![0; 2 << 10];
        loop {
            let processed = stream.process();
            let sent = stream.send_all().await;
            // An alert says more than that it could not be sent.
            processed?;
            sent?;
            match stream.state {
                // Who has said all at once and no more to come is still heard.
                State::Open | State::PeerClosed => return Ok(stream),
                State::Handshake => {}
                State::Failed => return Err(io::ErrorKind::UnexpectedEof.into()),
            }
            match stream.io.read(&mut room).await? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                read => stream.incoming.extend_from_slice(&room[..read]),
            }
        }
    }

    async fn send_all(&mut self) -> io::Result<()> {
        let outgoing = std::mem::take(&mut self.outgoing);
        self.io.write_all(&outgoing).await?;
        self.io.flush().await
    }

    /// Takes in what records are whole of those that wait, and leaves the rest.
    fn process(&mut self) -> io::Result<()> {
        let mut incoming = std::mem::take(&mut self.incoming);
        let mut done = 0;
        let outcome = self.process_slice(&mut incoming, &mut done);
        match done {
            // Of a record that comes in small pieces it goes on growing where it is.
            0 => self.incoming = incoming,
            _ => self.keep(&incoming[done..]),
        }
        // Records without text can be such that the library wants to see them again with what follows, without end.
        if self.incoming.len() > INCOMING_BYTES_MAX {
            self.state = State::Failed;
            return Err(invalid("records that come to no end"));
        }
        outcome
    }

    /// What is left of what has come. Nothing, nearly always.
    fn keep(&mut self, rest: &[u8]) {
        self.incoming = rest.to_vec();
    }

    /// Takes in records of which the first `done` bytes are of no more use then.
    fn process_slice(&mut self, incoming: &mut [u8], done: &mut usize) -> io::Result<()> {
        let outcome = self.try_process(incoming, done);
        if outcome.is_err() {
            self.state = State::Failed;
            self.take_alert();
        }
        outcome
    }

    fn try_process(&mut self, incoming: &mut [u8], done: &mut usize) -> io::Result<()> {
        loop {
            let UnbufferedStatus { discard, state } =
                self.session.process_tls_records(&mut incoming[*done..]);
            *done += discard;
            match state {
                Ok(ConnectionState::EncodeTlsData(data)) => encode(data, &mut self.outgoing)?,
                // It waits in `outgoing`, before all that comes later.
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record.map_err(invalid)?;
                        self.text.extend_from_slice(record.payload);
                        *done += record.discard;
                    }
                }
                Ok(ConnectionState::WriteTraffic(_)) => {
                    self.state = State::Open;
                    return Ok(());
                }
                Ok(ConnectionState::BlockedHandshake) => return Ok(()),
                Ok(ConnectionState::PeerClosed | ConnectionState::Closed) => {
                    self.state = State::PeerClosed;
                    return Ok(());
                }
                // Early data is not taken, and no other state is known to this version of the library.
                Ok(other) => return Err(io::Error::other(format!("an unexpected state: {other:?}"))),
                Err(error) => return Err(invalid(error)),
            }
        }
    }

    /// What is to be said of an error. The library must not look at what came before once more.
    fn take_alert(&mut self) {
        while self.session.wants_write() {
            let UnbufferedStatus { state, .. } = self.session.process_tls_records(&mut []);
            let Ok(ConnectionState::EncodeTlsData(data)) = state else { return };
            if encode(data, &mut self.outgoing).is_err() {
                return;
            }
        }
    }

    /// Decrypts what has come, until there is text, or no more comes now.
    fn poll_text(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.text.is_empty() {
            match self.state {
                State::Open | State::Handshake => {}
                State::PeerClosed => break,
                State::Failed => return Poll::Ready(Err(invalid("it has failed before"))),
            }
            let outcome = ready!(ROOM.with_borrow_mut(|room| {
                let mut buffer = ReadBuf::new(room);
                ready!(Pin::new(&mut self.io).poll_read(cx, &mut buffer))?;
                let came = buffer.filled_mut();
                if came.is_empty() {
                    // Not said by the peer's TLS, so that it may be another's doing.
                    self.state = State::Failed;
                    return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
                }
                if !self.incoming.is_empty() {
                    self.incoming.extend_from_slice(came);
                    return Poll::Ready(self.process());
                }
                let mut done = 0;
                let outcome = self.process_slice(came, &mut done);
                // No more than one record fits into the room.
                self.keep(&came[done..]);
                Poll::Ready(outcome)
            }));
            // What was said before the error comes before it.
            if self.text.is_empty() {
                outcome?;
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Sends what waits to be.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.outgoing_at < self.outgoing.len() {
            let sent = ready!(Pin::new(&mut self.io).poll_write(cx, &self.outgoing[self.outgoing_at..]))?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.outgoing_at += sent;
        }
        (self.outgoing, self.outgoing_at) = (Vec::new(), 0);
        Poll::Ready(Ok(()))
    }

    /// What can be done with the session once its handshake is over.
    fn write_with(
        &mut self,
        write: impl FnOnce(WriteTraffic<'_, ServerConnectionData>, &mut [u8]) -> Result<usize, EncryptError>,
    ) -> io::Result<()> {
        if self.state == State::Failed {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        // The library counts on finding what it has looked at already.
        let mut incoming = std::mem::take(&mut self.incoming);
        let mut done = 0;
        let outcome = loop {
            let UnbufferedStatus { discard, state } = self.session.process_tls_records(&mut incoming[done..]);
            done += discard;
            match state {
                Ok(ConnectionState::EncodeTlsData(data)) => match encode(data, &mut self.outgoing) {
                    Ok(()) => {}
                    Err(error) => break Err(error),
                },
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(ConnectionState::WriteTraffic(traffic)) => {
                    break ROOM.with_borrow_mut(|room| {
                        let len = write(traffic, room).map_err(io::Error::other)?;
                        self.outgoing.extend_from_slice(&room[..len]);
                        Ok(())
                    });
                }
                // Its end is seen where it is read.
                Ok(ConnectionState::PeerClosed) => self.state = State::PeerClosed,
                Ok(_) => break Err(io::ErrorKind::BrokenPipe.into()),
                Err(error) => {
                    self.state = State::Failed;
                    break Err(invalid(error));
                }
            }
        };
        match done {
            0 => self.incoming = incoming,
            _ => self.keep(&incoming[done..]),
        }
        outcome
    }
}

fn invalid(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

fn encode(mut data: EncodeTlsData<'_, ServerConnectionData>, outgoing: &mut Vec<u8>) -> io::Result<()> {
    let at = outgoing.len();
    let mut room = 512;
    loop {
        outgoing.resize(at + room, 0);
        match data.encode(&mut outgoing[at..]) {
            Ok(len) => {
                outgoing.truncate(at + len);
                return Ok(());
            }
            Err(EncodeError::InsufficientSize(needed)) => room = needed.required_size,
            Err(error) => return Err(io::Error::other(error)),
        }
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncRead for TlsStream<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let outcome = this.poll_text(cx);
        // Answers to what was read: of keys that are to be renewed, alerts.
        if this.outgoing_at < this.outgoing.len()
            && let Poll::Ready(Err(error)) = this.poll_send(cx)
            && outcome.is_pending()
        {
            return Poll::Ready(Err(error));
        }
        ready!(outcome)?;
        let text = &this.text[this.text_at..];
        let len = text.len().min(buffer.remaining());
        buffer.put_slice(&text[..len]);
        this.text_at += len;
        if this.text_at == this.text.len() {
            (this.text, this.text_at) = (Vec::new(), 0);
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for TlsStream<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_send(cx))?;
        let bytes = &bytes[..bytes.len().min(TEXT_BYTES_MAX)];
        self.write_with(|mut traffic, room| traffic.encrypt(bytes, room))?;
        // As much as the network takes now; what it does not waits, and counts as written.
        match self.poll_send(cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Ready(Ok(bytes.len())),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_send(cx))?;
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.is_closed {
            self.is_closed = true;
            // Where nothing can be said any more the end is silent.
            let _ = self.write_with(|mut traffic, room| traffic.queue_close_notify(room));
        }
        ready!(self.poll_send(cx))?;
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use rustls::crypto::aws_lc_rs::default_provider;
    use rustls::pki_types::{PrivateKeyDer, ServerName};
    use rustls::version::{TLS12, TLS13};
    use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
    use tokio::io::DuplexStream;
    use tokio_rustls::TlsConnector;
    use tokio_rustls::client::TlsStream as ClientStream;

    use super::*;

    type Client = ClientStream<DuplexStream>;
    type Server = TlsStream<DuplexStream>;

    struct Ends {
        server: Arc<ServerConfig>,
        client: TlsConnector,
    }

    impl Ends {
        fn new(version: &'static SupportedProtocolVersion) -> Self {
            let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
            let (certificate, key) = (made.cert.der().clone(), made.signing_key.serialize_der());
            let builder = || ServerConfig::builder_with_provider(Arc::new(default_provider()));
            let mut server = builder()
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_no_client_auth()
                .with_single_cert(vec![certificate.clone()], PrivateKeyDer::try_from(key).unwrap())
                .unwrap();
            server.send_tls13_tickets = 0;
            let mut roots = RootCertStore::empty();
            roots.add(certificate).unwrap();
            let client = ClientConfig::builder_with_provider(Arc::new(default_provider()))
                .with_protocol_versions(&[version])
                .unwrap()
                .with_root_certificates(roots)
                .with_no_client_auth();
            Self { server: Arc::new(server), client: TlsConnector::from(Arc::new(client)) }
        }

        /// Over a wire that holds so many bytes at a time.
        async fn connect(&self, wire_bytes: usize) -> (Client, Server) {
            let (near, far) = tokio::io::duplex(wire_bytes);
            let name = ServerName::try_from("localhost").unwrap();
            let (client, server) = tokio::join!(
                self.client.connect(name, near),
                TlsStream::accept(far, Arc::clone(&self.server))
            );
            (client.unwrap(), server.unwrap())
        }
    }

    fn bytes(len: usize) -> Vec<u8> {
        (0..len).map(|n| (n * 7 + len) as u8).collect()
    }

    async fn pass(from: &mut (impl AsyncWrite + Unpin), to: &mut (impl AsyncRead + Unpin), len: usize) {
        let sent = bytes(len);
        let mut came = vec![0; len];
        let write = async {
            from.write_all(&sent).await.unwrap();
            from.flush().await.unwrap();
        };
        let ((), read) = tokio::join!(write, to.read_exact(&mut came));
        read.unwrap();
        assert_eq!(came, sent);
    }

    #[tokio::test]
    async fn all_that_is_said_arrives_however_the_network_cuts_it_up() {
        for version in [&TLS12, &TLS13] {
            let ends = Ends::new(version);
            // A client may say two things before it listens again, of six bytes each.
            for wire_bytes in [16, 100, 4_096, 1 << 20] {
                let (mut client, mut server) = ends.connect(wire_bytes).await;
                for len in [1, 2, 300, TEXT_BYTES_MAX - 1, TEXT_BYTES_MAX, TEXT_BYTES_MAX + 1, 50_000] {
                    pass(&mut client, &mut server, len).await;
                    pass(&mut server, &mut client, len).await;
                }
                // Both at once.
                let (mut client_reads, mut client_writes) = tokio::io::split(client);
                let (mut server_reads, mut server_writes) = tokio::io::split(server);
                tokio::join!(
                    pass(&mut client_writes, &mut server_reads, 100_000),
                    pass(&mut server_writes, &mut client_reads, 100_000)
                );
            }
        }
    }

    #[tokio::test]
    async fn who_is_idle_holds_no_buffer() {
        let (mut client, mut server) = Ends::new(&TLS13).connect(1 << 16).await;
        pass(&mut client, &mut server, 5_000).await;
        pass(&mut server, &mut client, 5_000).await;
        let Server { incoming, text, outgoing, .. } = &server;
        assert_eq!((incoming.capacity(), text.capacity(), outgoing.capacity()), (0, 0, 0));
    }

    #[tokio::test]
    async fn each_side_hears_the_other_end() {
        for version in [&TLS12, &TLS13] {
            let ends = Ends::new(version);
            let (mut client, mut server) = ends.connect(1 << 16).await;
            client.shutdown().await.unwrap();
            assert_eq!(server.read(&mut [0; 9]).await.unwrap(), 0);
            pass(&mut server, &mut client, 500).await;
            server.shutdown().await.unwrap();
            assert_eq!(client.read(&mut [0; 9]).await.unwrap(), 0);

            // Cut off is no end.
            let (client, mut server) = ends.connect(1 << 16).await;
            drop(client.into_inner());
            assert_eq!(server.read(&mut [0; 9]).await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        }
    }

    /// All in one piece, as a busy network delivers it.
    #[tokio::test]
    async fn what_is_said_before_an_end_is_heard_before_it() {
        for version in [&TLS12, &TLS13] {
            let ends = Ends::new(version);
            let (near, far) = tokio::io::duplex(1 << 16);
            let all_at_once = async {
                let name = ServerName::try_from("localhost").unwrap();
                let mut client = ends.client.connect(name, near).await.unwrap();
                client.write_all(&bytes(9)).await.unwrap();
                client.shutdown().await.unwrap();
                client
            };
            let (_client, server) =
                tokio::join!(all_at_once, TlsStream::accept(far, Arc::clone(&ends.server)));
            let mut heard = Vec::new();
            server.unwrap().read_to_end(&mut heard).await.unwrap();
            assert_eq!(heard, bytes(9));

            let (mut client, mut server) = ends.connect(1 << 16).await;
            client.write_all(&bytes(9)).await.unwrap();
            client.flush().await.unwrap();
            let (mut wire, _) = client.into_inner();
            wire.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
            let mut heard = [0; 99];
            assert_eq!(server.read(&mut heard).await.unwrap(), 9);
            assert_eq!(heard[..9], bytes(9));
            assert_eq!(server.read(&mut heard).await.unwrap_err().kind(), io::ErrorKind::InvalidData);
        }
    }

    #[tokio::test]
    async fn a_client_may_renew_its_keys() {
        let (mut client, mut server) = Ends::new(&TLS13).connect(1 << 16).await;
        for _ in 0..3 {
            client.get_mut().1.refresh_traffic_keys().unwrap();
            pass(&mut client, &mut server, 300).await;
            pass(&mut server, &mut client, 300).await;
        }
    }

    #[tokio::test]
    async fn what_is_no_tls_is_refused_with_an_alert() {
        let ends = Ends::new(&TLS13);
        for said in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0x16, 3, 1, 0, 5, 1, 0, 0, 1, 0]] {
            let (mut near, far) = tokio::io::duplex(1 << 16);
            near.write_all(said).await.unwrap();
            let refused = TlsStream::accept(far, Arc::clone(&ends.server)).await.map(drop).unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::InvalidData);
            let mut answer = Vec::new();
            near.read_to_end(&mut answer).await.unwrap();
            assert_eq!(answer.first(), Some(&21), "{refused}: {answer:?}");
        }
        // A message's header without the message, and others after it.
        let torn: [&[u8]; 3] = [
            &[0x16, 3, 1, 0, 4, 1, 1, 0, 0],
            &[0x16, 3, 1, 0, 1, 1, 0x16, 3, 1, 0, 0],
            &[0x16, 3, 1, 0, 10, 11, 0, 0, 1, 0, 11, 0, 0, 1, 0],
        ];
        for said in torn {
            let (mut near, far) = tokio::io::duplex(1 << 16);
            near.write_all(said).await.unwrap();
            near.shutdown().await.unwrap();
            assert!(TlsStream::accept(far, Arc::clone(&ends.server)).await.is_err(), "{said:?}");
        }
        // Half a greeting, and nobody any more.
        let (mut near, far) = tokio::io::duplex(1 << 16);
        near.write_all(&[0x16, 3, 1, 1, 0, 1]).await.unwrap();
        drop(near);
        let refused = TlsStream::accept(far, ends.server).await.map(drop).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::UnexpectedEof);

        // A record that nobody sealed ends a connection that is open.
        let (client, mut server) = Ends::new(&TLS13).connect(1 << 16).await;
        let (mut wire, _) = client.into_inner();
        wire.write_all(&[
            23, 3, 3, 0, 20, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20,
        ])
        .await
        .unwrap();
        assert_eq!(server.read(&mut [0; 9]).await.unwrap_err().kind(), io::ErrorKind::InvalidData);
        let mut answer = [0; 5];
        wire.read_exact(&mut answer).await.unwrap();
        // And stays ended, for both directions.
        assert_eq!(server.read(&mut [0; 9]).await.unwrap_err().kind(), io::ErrorKind::InvalidData);
        assert_eq!(server.write(&[1]).await.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        server.shutdown().await.unwrap();
    }

    /// A message of 64 KB, a byte a record.
    #[tokio::test]
    async fn what_comes_to_no_end_is_not_kept_for_ever() {
        let ends = Ends::new(&TLS13);
        let (mut near, far) = tokio::io::duplex(1 << 16);
        let accept = tokio::spawn(TlsStream::accept(far, ends.server));
        let mut sent = near.write_all(&[0x16, 3, 1, 0, 4, 1, 0, 0xff, 0xff]).await;
        for _ in 0..INCOMING_BYTES_MAX {
            sent = sent.and(near.write_all(&[0x16, 3, 1, 0, 1, 0]).await);
        }
        drop(near);
        assert_eq!(
            accept.await.unwrap().map(drop).unwrap_err().kind(),
            io::ErrorKind::InvalidData,
            "{sent:?}"
        );
    }
}
