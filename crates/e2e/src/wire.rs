//! HTTP and WebSockets by hand, from an address of choice, with everything received written down.
//!
//! Owns: one connection and its record. Deliberately does not: know what any message means, or behave: whatever a test wants to
//! send is sent, however wrong.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, SocketAddrV4, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::Value;
use socket2::{Domain, Socket, Type};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, Message, Utf8Bytes, WebSocket, client};

use crate::Server;

/// How long any one answer may take on a busy machine.
pub const WITHIN: Duration = Duration::from_secs(20);

/// Connects from this address, so that the server sees it.
pub fn connect(from: Ipv4Addr, to: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("sockets are to be had");
    socket.bind(&SocketAddrV4::new(from, 0).into()).expect("every 127/8 address is this machine's");
    socket.connect_timeout(&to.into(), WITHIN).unwrap_or_else(|e| panic!("{to} does not accept: {e}"));
    socket.set_tcp_nodelay(true).expect("a connected socket takes options");
    socket.into()
}

/// The host and port of an address that may have a scheme before it and a path behind it.
pub fn authority(url: &str) -> SocketAddr {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let host = rest.split(['/', '?']).next().unwrap_or_default();
    host.parse().unwrap_or_else(|e| panic!("{url} names no address: {e}"))
}

/// A client's side of TLS that trusts this server's own authority and no other.
pub fn tls(server: &Server) -> Arc<ClientConfig> {
    // Whoever was first has installed the same.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(server.ca()).expect("the server wrote its authority") {
        roots.add(certificate.expect("it is PEM")).expect("it is a certificate");
    }
    Arc::new(ClientConfig::builder().with_root_certificates(roots).with_no_client_auth())
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Stream {
    fn tcp(&self) -> &TcpStream {
        match self {
            Self::Plain(tcp) => tcp,
            Self::Tls(tls) => tls.get_ref(),
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Self::Plain(tcp) => tcp.read(buf),
            Self::Tls(tls) => tls.read(buf),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, buf: &[u8]) -> std::io::Result<usize> {
        match self {
            Self::Plain(tcp) => tcp.write(buf),
            Self::Tls(tls) => tls.write(buf),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        match self {
            Self::Plain(tcp) => tcp.flush(),
            Self::Tls(tls) => tls.flush(),
        }
    }
}

/// What came over a WebSocket.
#[derive(Debug, Clone, PartialEq)]
pub enum Heard {
    Text(Value),
    /// With the code of the close frame, if there was one.
    Closed(Option<u16>),
}

/// A WebSocket and everything that was said on it.
pub struct Wire {
    ws: WebSocket<Stream>,
    pub sent: Vec<String>,
    pub received: Vec<String>,
}

impl Wire {
    /// `ws://` as it is; `wss://` with the given trust.
    pub fn open(url: &str, from: Ipv4Addr, tls: Option<&Arc<ClientConfig>>) -> Self {
        let to = authority(url);
        let tcp = connect(from, to);
        let stream = match tls {
            None => Stream::Plain(tcp),
            Some(config) => {
                let name = ServerName::IpAddress(to.ip().into());
                let connection = ClientConnection::new(Arc::clone(config), name).expect("the trust is whole");
                Stream::Tls(Box::new(StreamOwned::new(connection, tcp)))
            }
        };
        stream.tcp().set_read_timeout(Some(WITHIN)).expect("a connected socket takes options");
        let (ws, _) = client(url, stream).unwrap_or_else(|e| panic!("{url} does not upgrade: {e}"));
        Self { ws, sent: Vec::new(), received: Vec::new() }
    }

    pub fn send(&mut self, value: &Value) {
        self.send_text(&value.to_string());
    }

    pub fn send_text(&mut self, text: &str) {
        self.sent.push(text.to_owned());
        self.send_message(Message::text(text));
    }

    pub fn send_binary(&mut self, bytes: &[u8]) {
        self.send_message(Message::binary(bytes.to_vec()));
    }

    fn send_message(&mut self, message: Message) {
        // A server that has closed already says why in what it sent.
        let _ = self.ws.send(message);
    }

    /// Bytes as they are, without a frame around them.
    pub fn send_raw(&mut self, bytes: &[u8]) {
        let stream = self.ws.get_mut();
        let _ = stream.write_all(bytes).and_then(|()| stream.flush());
    }

    /// The next thing heard, if it comes in time.
    pub fn next(&mut self, within: Duration) -> Option<Heard> {
        let deadline = Instant::now() + within;
        loop {
            let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
            self.ws.get_ref().tcp().set_read_timeout(Some(left)).ok()?;
            match self.ws.read() {
                Ok(Message::Text(text)) => {
                    self.received.push(text.to_string());
                    return Some(Heard::Text(serde_json::from_str(&text).expect("servers send JSON")));
                }
                Ok(Message::Close(frame)) => return Some(Heard::Closed(frame.map(|f| f.code.into()))),
                Ok(Message::Binary(bytes)) => panic!("{} bytes that nobody asked for", bytes.len()),
                Ok(_) => {}
                Err(Error::Io(e)) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    if Instant::now() >= deadline {
                        return None;
                    }
                }
                Err(_) => return Some(Heard::Closed(None)),
            }
        }
    }

    /// The next message that satisfies the condition; those before it are passed over.
    pub fn until(&mut self, what: &str, mut wanted: impl FnMut(&Value) -> bool) -> Value {
        let deadline = Instant::now() + WITHIN;
        loop {
            match self.next(deadline.saturating_duration_since(Instant::now())) {
                Some(Heard::Text(value)) if wanted(&value) => return value,
                Some(Heard::Text(_)) => {}
                other => panic!("waited for {what}, came {other:?}; so far:\n{}", self.received.join("\n")),
            }
        }
    }

    /// The payload of the next message with this opcode.
    pub fn op(&mut self, op: u64) -> Value {
        self.until(&format!("op {op}"), |v| v["op"] == op)["d"].take()
    }

    /// The payload of the next dispatch of this name.
    pub fn dispatch(&mut self, name: &str) -> Value {
        self.until(name, |v| v["t"] == name)["d"].take()
    }

    /// Reads on to the end of the connection and returns the close code.
    pub fn close_code(&mut self) -> Option<u16> {
        let deadline = Instant::now() + WITHIN;
        loop {
            match self.next(deadline.saturating_duration_since(Instant::now())) {
                Some(Heard::Text(_)) => {}
                Some(Heard::Closed(code)) => return code,
                None => panic!("the connection stays open; so far:\n{}", self.received.join("\n")),
            }
        }
    }

    /// Cuts the connection as a network does, without a word.
    pub fn cut(&mut self) {
        let _ = self.ws.get_ref().tcp().shutdown(Shutdown::Both);
    }

    /// Says goodbye.
    pub fn close(&mut self, code: u16) {
        let reason = Utf8Bytes::from_static("");
        let _ = self.ws.close(Some(CloseFrame { code: CloseCode::from(code), reason }));
        // What still comes before the answer to it is written down too.
        while let Some(Heard::Text(_)) = self.next(WITHIN) {}
    }

    /// Payload bytes of both directions.
    pub fn bytes(&self) -> usize {
        self.sent.iter().chain(&self.received).map(String::len).sum()
    }
}

/// An HTTP response.
#[derive(Debug)]
pub struct Response {
    pub status: u16,
    head: String,
    pub body: Value,
    /// All of it as it came.
    pub text: String,
}

impl Response {
    fn read(text: String) -> Self {
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let status = head.split(' ').nth(1).and_then(|s| s.parse().ok());
        let status = status.unwrap_or_else(|| panic!("no HTTP response: {text:?}"));
        // Only JSON with a length is ever asked for here, so the body is the rest.
        let body = serde_json::from_str(body).unwrap_or(Value::Null);
        Self { status, head: head.to_ascii_lowercase(), body, text }
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }
}

/// One request on a connection of its own; `token` and `body` may be wrong in any way.
pub fn http(
    server: &Server,
    from: Ipv4Addr,
    token: Option<&str>,
    request: &str,
    body: Option<&[u8]>,
) -> Response {
    let mut head = format!("{request} HTTP/1.1\r\nHost: guildhall\r\nConnection: close\r\n");
    if let Some(token) = token {
        head += &format!("Authorization: {token}\r\n");
    }
    if let Some(body) = body {
        head += &format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len());
    }
    let bytes = [head.as_bytes(), b"\r\n", body.unwrap_or_default()].concat();
    Response::read(exchange(server, from, &bytes))
}

/// Sends bytes to the HTTP port and returns whatever comes back until the end.
pub fn exchange(server: &Server, from: Ipv4Addr, bytes: &[u8]) -> String {
    let mut tcp = connect(from, authority(server.http()));
    tcp.set_read_timeout(Some(WITHIN)).expect("a connected socket takes options");
    // A server that has heard enough answers and goes before everything is written.
    let _ = tcp.write_all(bytes);
    let mut answer = Vec::new();
    let mut buf = [0; 4096];
    loop {
        match tcp.read(&mut buf) {
            Ok(0) | Err(_) => return String::from_utf8_lossy(&answer).into_owned(),
            Ok(len) => answer.extend_from_slice(&buf[..len]),
        }
    }
}
