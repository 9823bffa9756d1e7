//! Everyone joins the way any client does: gateway, op 4, voice gateway, and from there the way of their kind of leg.

mod again;
mod browser;
mod native;

use std::collections::BTreeSet;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use engine::{
    Gateway, GatewayConfig, GatewayEvent, GatewayEvents, Token, Trust, VoiceConfig, VoiceEvent, VoiceEvents,
    VoiceSignalling, gateway_url,
};
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use model::{ChannelId, GuildId, UserId};
use rtp_wire::Ssrc;
use tokio::net::UdpSocket;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use transport::Mode;

use crate::Options;
use crate::limits::{JOIN_TIMEOUT, JOINING_MAX, RECEIVE_BYTES};
use crate::media::Moved;
use crate::participant::{Kind, Media, Participant};
use crate::people::People;
pub use again::Counts;
use again::Follower;
use browser::Parked;

/// The signalling side of everyone: kept open for the run.
pub struct Connections(Vec<Connection>);

struct Connection {
    go: oneshot::Sender<()>,
    follower: JoinHandle<()>,
}

/// The streams that a server has announced to one participant.
type Announced = BTreeSet<Ssrc>;

pub struct Joined {
    pub participants: Vec<Participant>,
    pub connections: Connections,
    pub counts: Arc<Counts>,
    /// Those who joined on another server meanwhile.
    pub moved: mpsc::Receiver<Moved>,
    /// From a user's click to where packets can be sent.
    pub join_ms: Vec<(Kind, f64)>,
}

/// What one join needs to know.
struct Joining {
    number: usize,
    config: GatewayConfig,
    guild: GuildId,
    channel: ChannelId,
    kind: Kind,
    mode: Mode,
    speaks: bool,
    moved: mpsc::Sender<Moved>,
    counts: Arc<Counts>,
}

/// What a participant's every voice connection is made from.
#[derive(Clone)]
struct Way {
    trust: Trust,
    guild: GuildId,
    channel: ChannelId,
    user: UserId,
    session: String,
    kind: Kind,
    mode: Mode,
    speaks: bool,
}

/// At a voice server, where packets can be sent.
struct Entered {
    voice: VoiceSignalling,
    events: VoiceEvents,
    ssrc: Ssrc,
    relay: SocketAddr,
    transport: Transport,
}

/// Somebody who is in, while others still come.
struct Seat {
    ssrc: Ssrc,
    relay: SocketAddr,
    transport: Transport,
    announced: watch::Receiver<Announced>,
    connection: Connection,
    took: Duration,
}

enum Transport {
    Native(std::net::UdpSocket, Box<crate::native::Native>),
    Browser(Parked),
}

pub async fn everyone(options: &Options, people: People) -> anyhow::Result<Joined> {
    let trust = match &options.ca {
        Some(ca) => Trust::only(ca)?,
        None => Trust::system(),
    };
    let url = gateway_url(&options.server, &trust).await?;
    let shape = options.workload.shape(options.numbers)?;
    let counts = Arc::new(Counts::default());
    let (move_on, moved) = mpsc::channel();
    let joins = people.tokens.iter().enumerate().map(|(n, token)| {
        let joining = Joining {
            number: n,
            config: GatewayConfig {
                url: url.clone(),
                token: token.clone(),
                trust: trust.clone(),
                all_dispatches: false,
            },
            guild: people.guild,
            channel: people.channels[shape.room_of(n)],
            kind: options.transport.kind_of(n),
            mode: options.mode,
            speaks: shape.speakers.contains(&n),
            moved: move_on.clone(),
            counts: Arc::clone(&counts),
        };
        async move { within_time(join(joining)).await.with_context(|| format!("participant {n}")) }
    });
    let seats: Vec<Seat> = stream::iter(joins).buffered(JOINING_MAX).try_collect().await?;

    let ssrcs: Vec<Ssrc> = seats.iter().map(|seat| seat.ssrc).collect();
    let mut joined = Joined {
        participants: Vec::new(),
        connections: Connections(Vec::new()),
        counts,
        moved,
        join_ms: Vec::new(),
    };
    for (n, seat) in seats.into_iter().enumerate() {
        let heard = shape.speakers_in_room_of(n).filter(|speaker| *speaker != n).map(|s| ssrcs[s]).collect();
        let took = seat.took.as_secs_f64() * 1_000.0;
        let (participant, connection) =
            within_time(settle(seat, heard)).await.with_context(|| format!("participant {n}"))?;
        joined.join_ms.push((participant.kind(), took));
        joined.participants.push(participant);
        joined.connections.0.push(connection);
    }
    Ok(joined)
}

async fn within_time<T>(joining: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    timeout(JOIN_TIMEOUT, joining).await.context("no answer in time").and_then(|joined| joined)
}

impl Connections {
    pub async fn close(self) {
        stream::iter(self.0)
            .for_each_concurrent(JOINING_MAX, |Connection { go, follower }| async move {
                // It has ended by itself where both its connections had.
                let _ = go.send(());
                let _ = follower.await;
            })
            .await;
    }
}

/// From a live gateway session to where packets can be sent; the time is that from op 4 on, as a user clicks.
async fn join(joining: Joining) -> anyhow::Result<Seat> {
    let Joining { number, config, guild, channel, kind, mode, speaks, moved, counts } = joining;
    let trust = config.trust.clone();
    let (gateway, mut events) = Gateway::connect(config);
    let (user, session) = until(&mut events, |event| match event {
        GatewayEvent::Ready { user, session } => Some((user, session)),
        _ => None,
    })
    .await?;
    let clicked = Instant::now();
    gateway.set_voice_state(guild, Some(channel), false, false).await;
    let (token, endpoint): (Token, String) = until(&mut events, |event| match event {
        GatewayEvent::VoiceServer { token, endpoint: Some(endpoint), .. } => Some((token, endpoint)),
        _ => None,
    })
    .await?;
    let way = Way { trust, guild, channel, user, session, kind, mode, speaks };
    let Entered { voice, events: voice_events, ssrc, relay, transport } =
        enter(&way, endpoint, token).await?;
    let took = clicked.elapsed();
    let (announce, announced) = watch::channel(Announced::new());
    let follower = Follower { number, way, gateway, events, voice, voice_events, announce, moved, counts };
    let (go, gone) = oneshot::channel();
    let connection = Connection { go, follower: tokio::spawn(follower.run(gone)) };
    Ok(Seat { ssrc, relay, transport, announced, connection, took })
}

async fn enter(way: &Way, endpoint: String, token: Token) -> anyhow::Result<Entered> {
    let Way { trust, guild, channel, user, session, .. } = way.clone();
    let channel = Some(channel);
    let config = VoiceConfig { endpoint, guild, channel, user, session, token, trust, retired_modes: false };
    let (voice, mut events) = VoiceSignalling::connect(config);
    let ready = until_voice(&mut events, |event| match event {
        VoiceEvent::Ready(ready) => Some(ready),
        _ => None,
    })
    .await?;
    let ssrc = Ssrc(ready.ssrc);
    let relay = SocketAddr::from((ready.ip, ready.port));
    let socket = socket_towards(relay).await?;
    let (relay, own_name, transport) = match way.kind {
        Kind::Native => {
            let (socket, native) = native::join(socket, &voice, &mut events, relay, ssrc, way.mode).await?;
            (relay, ssrc, Transport::Native(socket, Box::new(native)))
        }
        Kind::Browser => {
            let (relay, own_name, parked) = browser::join(socket, &voice, &mut events).await?;
            (relay, own_name, Transport::Browser(parked))
        }
    };
    if way.speaks {
        voice.speaking(1, own_name.0).await;
    }
    Ok(Entered { voice, events, ssrc, relay, transport })
}

impl Transport {
    /// As the media loop takes it.
    async fn ready(self) -> anyhow::Result<(std::net::UdpSocket, Media)> {
        let (socket, media) = match self {
            Self::Native(socket, native) => (socket, Media::Native(native)),
            Self::Browser(parked) => {
                let (socket, browser) = parked.take().await?;
                (socket, Media::Browser(Box::new(browser)))
            }
        };
        udp_io::set_buffers(&socket, RECEIVE_BYTES, RECEIVE_BYTES)?;
        Ok((socket, media))
    }
}

/// A port at the address that this machine sends from on its way to the relay.
async fn socket_towards(relay: SocketAddr) -> io::Result<UdpSocket> {
    let way = std::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    // Sends nothing.
    way.connect(relay)?;
    UdpSocket::bind((way.local_addr()?.ip(), 0)).await
}

/// Everyone is in; nobody speaks before all who hear it were told of the stream.
async fn settle(mut seat: Seat, heard: BTreeSet<Ssrc>) -> anyhow::Result<(Participant, Connection)> {
    let told = seat.announced.wait_for(|announced| announced.is_superset(&heard)).await;
    drop(told.context("the voice connection ended before the speakers' streams were announced")?);
    let (socket, mut media) = seat.transport.ready().await?;
    if let Media::Browser(browser) = &mut media {
        heard.into_iter().for_each(|ssrc| browser.expect(ssrc));
    }
    let participant = Participant { socket, relay: seat.relay, ssrc: seat.ssrc, media };
    Ok((participant, seat.connection))
}

async fn until<T>(
    events: &mut GatewayEvents,
    mut wanted: impl FnMut(GatewayEvent) -> Option<T>,
) -> anyhow::Result<T> {
    while let Some(event) = events.recv().await {
        if let GatewayEvent::Failed(error) = &event {
            bail!("gateway: {error}");
        }
        if let Some(found) = wanted(event) {
            return Ok(found);
        }
    }
    bail!("the gateway connection ended");
}

async fn until_voice<T>(
    events: &mut VoiceEvents,
    mut wanted: impl FnMut(VoiceEvent) -> Option<T>,
) -> anyhow::Result<T> {
    while let Some(event) = events.recv().await {
        if let VoiceEvent::Ended(end) = &event {
            bail!("voice gateway: {end:?}");
        }
        if let Some(found) = wanted(event) {
            return Ok(found);
        }
    }
    bail!("the voice connection ended");
}
