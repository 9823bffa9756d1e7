//! ICE-TCP (RFC 6544): the voice port takes media too, from browsers whose network lets no UDP through.
//!
//! Each connection is carried over a local UDP socket of its own to the UDP port of its leg's shard, packet by packet, both ways. The relay
//! sees one more address, and dies and comes back without the connection's noticing (docs/adr/0006-ice-tcp.md).
//!
//! Owns: the check that opens a connection, how many there may be, what becomes of one that is slow or silent. Deliberately does not: answer
//! checks, read media (the relay does), or know whose leg it is.

pub mod frames;
mod line;
mod queue;

use std::io;
use std::net::{IpAddr, SocketAddr};

use rtp_wire::stun::StunMessage;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use transport::{IceAgent, IceCredentials, ice};
use voice_core::Ice;

use crate::gate::{Gate, Pass};
use crate::hub::Input;
use crate::ice_tcp::frames::Frames;
use crate::ice_tcp::line::Line;
use crate::limits::{ICE_TCP_MAX, ICE_TCP_PER_ADDRESS_MAX, ICE_TCP_PER_LEG_MAX};

/// Why a connection was not taken. Nobody is told: who does not know a password learns nothing here.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error("no check came in time")]
    TooSlow,
    #[error("the first frame is no check")]
    NoCheck,
    #[error("a check of no transport of ours")]
    Unknown,
    #[error("a check that does not authenticate")]
    Unauthenticated,
    #[error("there are too many already")]
    Full,
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Refused {
    /// Its name among the metrics.
    fn reason(&self) -> &'static str {
        match self {
            Self::TooSlow => "too_slow",
            Self::NoCheck => "no_check",
            Self::Unknown => "unknown",
            Self::Unauthenticated => "unauthenticated",
            Self::Full => "full",
            Self::Io(_) => "io",
        }
    }
}

/// Takes connections.
pub struct Carriers {
    hub: mpsc::Sender<Input>,
    /// Where each shard is reached from here.
    shards: Vec<SocketAddr>,
    addresses: Gate<IpAddr>,
    legs: Gate<u64>,
    stop: CancellationToken,
}

/// What a connection holds while it lasts.
struct Places {
    _address: Pass<IpAddr>,
    _leg: Pass<u64>,
}

impl Carriers {
    pub fn new(hub: mpsc::Sender<Input>, shards: Vec<SocketAddr>, stop: CancellationToken) -> Self {
        let addresses = Gate::new(ICE_TCP_MAX, ICE_TCP_PER_ADDRESS_MAX);
        Self { hub, shards, addresses, legs: Gate::new(ICE_TCP_MAX, ICE_TCP_PER_LEG_MAX), stop }
    }

    /// Serves a connection to its end. It keeps its place among the strangers until a check has authenticated.
    pub async fn serve(&self, tcp: TcpStream, from: IpAddr, pass: Pass<IpAddr>, deadline: Instant) {
        let opened = timeout_at(deadline, self.open(tcp, from)).await.unwrap_or(Err(Refused::TooSlow));
        let (line, _places) = match opened {
            Ok(opened) => opened,
            Err(refused) => {
                tracing::debug!(%refused, "a connection for media was refused");
                let reason = refused.reason();
                metrics::counter!("guildhall_voice_ice_tcp_refused_total", "reason" => reason).increment(1);
                return;
            }
        };
        drop(pass);
        let connections = metrics::gauge!("guildhall_voice_ice_tcp_connections");
        connections.increment(1.0);
        let end = line.carry(self.stop.clone()).await;
        connections.decrement(1.0);
        tracing::debug!(%end, "a connection for media ended");
    }

    /// Reads the first check, finds the leg that it is for and verifies that it comes from whom the password was given to.
    async fn open(&self, tcp: TcpStream, from: IpAddr) -> Result<(Line, Places), Refused> {
        let mut incoming = Frames::default();
        let check = first_frame(&tcp, &mut incoming).await?;
        let message = StunMessage::parse(&check).map_err(|_| Refused::NoCheck)?;
        let ufrag = ice::local_ufrag(&message).ok_or(Refused::NoCheck)?;
        let transport = self.find(ufrag).await.ok_or(Refused::Unknown)?;
        verify(&message, &transport)?;
        let places = Places {
            _address: self.addresses.enter(from).ok_or(Refused::Full)?,
            _leg: self.legs.enter(transport.leg).ok_or(Refused::Full)?,
        };
        let line = Line::open(tcp, self.shards[transport.shard as usize], incoming).await?;
        line.tell_relay(&check);
        Ok((line, places))
    }

    async fn find(&self, ufrag: &str) -> Option<Ice> {
        let (answer, answered) = oneshot::channel();
        self.hub.send(Input::FindTransport { ufrag: ufrag.to_owned(), answer }).await.ok()?;
        answered.await.ok()?
    }
}

async fn first_frame(tcp: &TcpStream, incoming: &mut Frames) -> Result<Vec<u8>, Refused> {
    loop {
        if let Some(frame) = incoming.next().map_err(|_| Refused::NoCheck)? {
            return Ok(frame.to_vec());
        }
        tcp.readable().await?;
        match tcp.try_read(incoming.space()) {
            Ok(0) => return Err(Refused::NoCheck),
            Ok(len) => incoming.filled(len),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// What is authentic and wrong in another way is for the relay to answer.
fn verify(check: &StunMessage<'_>, transport: &Ice) -> Result<(), Refused> {
    let Ice { ufrag, pwd, remote_ufrag, .. } = transport;
    let local = IceCredentials { ufrag: ufrag.clone(), pwd: pwd.clone() };
    match IceAgent::new(&local, remote_ufrag).verify(check) {
        Err(reject) if reject.answer().is_none() => Err(Refused::Unauthenticated),
        _ => Ok(()),
    }
}
