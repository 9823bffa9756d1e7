//! Gateway sessions by the thousand: one thread, plain TCP, a few hundred bytes each, nothing parsed that nobody asked for.
//!
//! Owns: the sockets, the upgrade, frames both ways. Deliberately does not: know what a message means beyond the upgrade, or resume.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs as _};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use client_wire::gateway::{FromClient, Identify, Intents};
use engine::Token;
use udp_io::Poller;

use crate::limits::{SESSION_PASSES_MAX, SESSION_READ_BYTES, SESSIONS_OPENING_MAX, SESSIONS_TICK};

/// How the gateway is to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    Plain,
    Zstd,
}

impl Compression {
    pub const NAMES: &[&str] = &["none", "zstd-stream"];

    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "none" => Some(Self::Plain),
            "zstd-stream" => Some(Self::Zstd),
            _ => None,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "none",
            Self::Zstd => "zstd-stream",
        }
    }
}

/// Where the gateway is.
#[derive(Debug, Clone)]
pub struct Gateway {
    host: String,
    address: SocketAddr,
}

impl Gateway {
    /// `http://host:port`.
    pub fn at(server: &str) -> anyhow::Result<Self> {
        let host =
            server.strip_prefix("http://").context("sessions by the thousand speak no TLS: http:// only")?;
        let host = host.trim_end_matches('/').to_owned();
        let address = host.to_socket_addrs().with_context(|| host.clone())?.next();
        Ok(Self { address: address.with_context(|| format!("{host} has no address"))?, host })
    }
}

/// A session's socket, to be written to from anywhere.
#[derive(Clone)]
pub struct Line(Arc<TcpStream>);

impl Line {
    pub fn say(&self, frame: &FromClient) -> anyhow::Result<()> {
        let bytes = client_frame(&frame.encode());
        // What does not fit the socket's buffer would be of a gateway that reads nothing any more.
        let written = (&*self.0).write(&bytes).context("a gateway session cannot be written to")?;
        ensure!(written == bytes.len(), "a gateway session takes nothing any more");
        Ok(())
    }
}

/// A message as it came.
pub enum Said<'a> {
    Text(&'a [u8]),
    Compressed(&'a [u8]),
}

struct Session {
    line: Line,
    /// Said once the upgrade is through.
    identify: Option<FromClient>,
    /// The beginning of what is not whole yet.
    begun: Vec<u8>,
}

pub struct Sessions {
    gateway: Gateway,
    compression: Compression,
    poller: Poller,
    sessions: Vec<Session>,
    buffer: Box<[u8]>,
    ready: Vec<usize>,
}

impl Sessions {
    pub fn new(gateway: Gateway, compression: Compression) -> anyhow::Result<Self> {
        Ok(Self {
            gateway,
            compression,
            poller: Poller::new()?,
            sessions: Vec::new(),
            buffer: vec![0; SESSION_READ_BYTES].into(),
            ready: Vec::new(),
        })
    }

    pub fn len(&self) -> usize {
        self.sessions.len()
    }

    pub fn line(&self, session: usize) -> Line {
        self.sessions[session].line.clone()
    }

    pub fn beat(&self) -> anyhow::Result<()> {
        self.sessions.iter().try_for_each(|session| session.line.say(&FromClient::Heartbeat(None)))
    }

    /// Connects and sends what begins a session; the rest happens in [`Self::pump`].
    pub fn open(&mut self, token: &Token) -> anyhow::Result<()> {
        let stream = TcpStream::connect(self.gateway.address).context("the gateway takes no connection")?;
        stream.set_nodelay(true)?;
        let compress = match self.compression {
            Compression::Plain => "",
            Compression::Zstd => "&compress=zstd-stream",
        };
        let request = format!(
            "GET /?v=10&encoding=json{compress} HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n",
            self.gateway.host
        );
        (&stream).write_all(request.as_bytes())?;
        stream.set_nonblocking(true)?;
        self.poller.add(&stream, self.sessions.len() as u64)?;
        let identify = Identify {
            token: token.expose().to_owned(),
            intents: Some((Intents::GUILDS | Intents::GUILD_VOICE_STATES).bits()),
            shard: None,
            presence: None,
            properties: Default::default(),
        };
        self.sessions.push(Session {
            line: Line(Arc::new(stream)),
            identify: Some(FromClient::Identify(Box::new(identify))),
            begun: Vec::new(),
        });
        Ok(())
    }

    /// Opens one for each token, a few at a time, until `is_in` has been true of each of them.
    pub fn open_all(
        &mut self,
        tokens: &[Token],
        within: Duration,
        mut is_in: impl FnMut(usize, Said<'_>) -> anyhow::Result<bool>,
    ) -> anyhow::Result<()> {
        let deadline = Instant::now() + within;
        let (first, mut opened, mut inside) = (self.len(), 0, 0);
        while inside < tokens.len() {
            while opened < tokens.len() && opened - inside < SESSIONS_OPENING_MAX {
                self.open(&tokens[opened])?;
                opened += 1;
            }
            self.pump(|session, _, said| {
                inside += usize::from(session >= first && is_in(session, said)?);
                Ok(())
            })?;
            ensure!(
                Instant::now() < deadline,
                "{inside} of {} sessions were in within {within:?}",
                tokens.len()
            );
        }
        Ok(())
    }

    /// Hands over all that has come, with the time that it was read, until nothing more is there; then it pauses for a moment. It never sleeps on
    /// the sockets, or whoever writes would be charged for waking it.
    pub fn pump(
        &mut self,
        mut take: impl FnMut(usize, Instant, Said<'_>) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        for _ in 0..SESSION_PASSES_MAX {
            if !self.read_some(&mut take)? {
                break;
            }
        }
        std::thread::sleep(SESSIONS_TICK);
        Ok(())
    }

    fn read_some(
        &mut self,
        take: &mut impl FnMut(usize, Instant, Said<'_>) -> anyhow::Result<()>,
    ) -> anyhow::Result<bool> {
        self.ready.clear();
        self.ready.extend(self.poller.wait(Some(Duration::ZERO))?.map(|ready| ready.token as usize));
        for &number in &self.ready {
            let session = &mut self.sessions[number];
            let read = match (&*session.line.0).read(&mut self.buffer) {
                Ok(0) => bail!("the gateway closed session {number}"),
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
                Err(error) => return Err(error).with_context(|| format!("session {number}")),
            };
            let now = Instant::now();
            if session.begun.is_empty() {
                let used = session.parse(&self.buffer[..read], |said| take(number, now, said));
                session.begun.extend_from_slice(&self.buffer[used?..read]);
            } else {
                let mut whole = std::mem::take(&mut session.begun);
                whole.extend_from_slice(&self.buffer[..read]);
                let used = session.parse(&whole, |said| take(number, now, said))?;
                session.begun.extend_from_slice(&whole[used..]);
            }
        }
        Ok(!self.ready.is_empty())
    }
}

impl Session {
    /// Returns how many bytes it has taken.
    fn parse(
        &mut self,
        bytes: &[u8],
        mut take: impl FnMut(Said<'_>) -> anyhow::Result<()>,
    ) -> anyhow::Result<usize> {
        let mut used = 0;
        if let Some(identify) = &self.identify {
            let Some(end) = bytes.windows(4).position(|w| w == b"\r\n\r\n") else { return Ok(0) };
            ensure!(bytes.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&bytes[..end]));
            self.line.say(identify)?;
            self.identify = None;
            used = end + 4;
        }
        while let Some((kind, payload, after)) = server_frame(&bytes[used..]) {
            match kind {
                TEXT => take(Said::Text(payload))?,
                BINARY => take(Said::Compressed(payload))?,
                CLOSE => bail!("the gateway closes a session: {}", String::from_utf8_lossy(payload)),
                _ => {}
            }
            used += after;
        }
        Ok(used)
    }
}

/// Whether a text is a dispatch of this name, which stands near its beginning.
pub fn is(text: &[u8], name: &str) -> bool {
    let head = &text[..text.len().min(96)];
    let quoted = format!("\"t\":\"{name}\"");
    head.windows(quoted.len()).any(|window| window == quoted.as_bytes())
}

const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;

/// What it is, what is in it, and where the next begins; none while it is not whole. A server masks nothing (RFC 6455 section 5.1).
fn server_frame(bytes: &[u8]) -> Option<(u8, &[u8], usize)> {
    let (&[first, length], rest) = bytes.split_first_chunk()?;
    let (length, rest) = match length {
        126 => rest.split_first_chunk().map(|(length, rest)| (u16::from_be_bytes(*length).into(), rest))?,
        127 => rest.split_first_chunk().map(|(length, rest)| (u64::from_be_bytes(*length) as usize, rest))?,
        short => (short.into(), rest),
    };
    let payload = rest.get(..length)?;
    Some((first & 15, payload, bytes.len() - rest.len() + length))
}

/// A text, masked with nothing, which is a mask as any other.
fn client_frame(text: &str) -> Vec<u8> {
    let mut frame = vec![0x80 | TEXT];
    match text.len() {
        short @ ..126 => frame.push(0x80 | short as u8),
        long => {
            frame.push(0x80 | 126);
            frame.extend(u16::try_from(long).expect("a client's frames are short").to_be_bytes());
        }
    }
    frame.extend([0; 4]);
    frame.extend(text.as_bytes());
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_servers_frame_is_taken_when_it_is_whole() {
        let check = |head: &[u8], length: usize| {
            let mut bytes = [head, &vec![b'x'; length]].concat();
            for cut in [0, 1, head.len(), bytes.len() - 1] {
                assert!(server_frame(&bytes[..cut]).is_none(), "{length} cut at {cut}");
            }
            let whole = bytes.len();
            bytes.extend(b"next");
            let (kind, payload, after) = server_frame(&bytes).unwrap();
            assert_eq!((kind, payload.len(), after), (TEXT, length, whole));
        };
        check(&[0x81, 5], 5);
        check(&[0x81, 126, 1, 0], 256);
        check(&[0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0], 65_536);
    }

    #[test]
    fn a_clients_frame_says_how_long_it_is() {
        assert_eq!(client_frame("ab"), [0x81, 0x82, 0, 0, 0, 0, b'a', b'b']);
        assert_eq!(client_frame(&"x".repeat(300))[..4], [0x81, 0xfe, 1, 44]);
    }

    #[test]
    fn only_a_plain_server_is_spoken_to() {
        assert!(Gateway::at("https://example.org").is_err());
        assert_eq!(Gateway::at("http://127.0.0.1:80/").unwrap().host, "127.0.0.1:80");
    }
}
