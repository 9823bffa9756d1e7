//! Everyone joins the way any client does: gateway, op 4, voice gateway, and from there the way of their kind of leg.

mod browser;
mod native;

use std::collections::BTreeSet;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use engine::{
    Gateway, GatewayConfig, GatewayEvent, GatewayEvents, Token, Trust, VoiceConfig, VoiceEvent, VoiceEvents,
    VoiceSignalling, gateway_url,
};
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use model::{ChannelId, GuildId};
use rtp_wire::Ssrc;
use tokio::net::UdpSocket;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use transport::Mode;

use crate::Options;
use crate::limits::{JOIN_TIMEOUT, JOINING_MAX, RECEIVE_BYTES};
use crate::participant::{Kind, Media, Participant};
use crate::people::People;
use browser::Parked;

/// The signalling side of everyone: kept open for the run.
pub struct Connections(Vec<Connection>);

struct Connection {
    gateway: Gateway,
    voice: VoiceSignalling,
    listener: JoinHandle<()>,
}

pub struct Joined {
    pub participants: Vec<Participant>,
    pub connections: Connections,
    /// Voice connections that broke or were ended by the server: whoever had one is not in any more, since nobody joins anew.
    pub connections_lost: Arc<AtomicU64>,
    /// From a user's click to where packets can be sent.
    pub join_ms: Vec<(Kind, f64)>,
}

/// What one join needs to know.
struct Joining {
    config: GatewayConfig,
    guild: GuildId,
    channel: ChannelId,
    kind: Kind,
    mode: Mode,
    speaks: bool,
    connections_lost: Arc<AtomicU64>,
}

/// Somebody who is in, while others still come.
struct Seat {
    ssrc: Ssrc,
    relay: SocketAddr,
    transport: Transport,
    /// The streams that the server has announced to it.
    announced: watch::Receiver<BTreeSet<Ssrc>>,
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
    let shape = options.workload.shape(options.participants, options.speakers)?;
    let connections_lost = Arc::new(AtomicU64::new(0));
    let joins = people.tokens.iter().enumerate().map(|(n, token)| {
        let joining = Joining {
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
            speaks: n < shape.speakers,
            connections_lost: Arc::clone(&connections_lost),
        };
        async move { within_time(join(joining)).await.with_context(|| format!("participant {n}")) }
    });
    let seats: Vec<Seat> = stream::iter(joins).buffered(JOINING_MAX).try_collect().await?;

    let ssrcs: Vec<Ssrc> = seats.iter().map(|seat| seat.ssrc).collect();
    let mut joined = Joined {
        participants: Vec::new(),
        connections: Connections(Vec::new()),
        connections_lost,
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
            .for_each_concurrent(JOINING_MAX, |connection| async move {
                connection.voice.close().await;
                connection.gateway.close().await;
                // Listened to the end: whoever stops reading before it has left is a slow client to the server.
                connection.listener.abort();
            })
            .await;
    }
}

/// From a live gateway session to where packets can be sent; the time is that from op 4 on, as a user clicks.
async fn join(joining: Joining) -> anyhow::Result<Seat> {
    let Joining { config, guild, channel, kind, mode, speaks, connections_lost } = joining;
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
    let channel = Some(channel);
    let config = VoiceConfig { endpoint, guild, channel, user, session, token, trust, retired_modes: false };
    let (voice, mut voice_events) = VoiceSignalling::connect(config);
    let ready = until_voice(&mut voice_events, |event| match event {
        VoiceEvent::Ready(ready) => Some(ready),
        _ => None,
    })
    .await?;
    let ssrc = Ssrc(ready.ssrc);
    let relay = SocketAddr::from((ready.ip, ready.port));
    let socket = socket_towards(relay).await?;
    let (relay, own_name, transport) = match kind {
        Kind::Native => {
            let (socket, native) = native::join(socket, &voice, &mut voice_events, relay, ssrc, mode).await?;
            (relay, ssrc, Transport::Native(socket, Box::new(native)))
        }
        Kind::Browser => {
            let (relay, own_name, parked) = browser::join(socket, &voice, &mut voice_events).await?;
            (relay, own_name, Transport::Browser(parked))
        }
    };
    let took = clicked.elapsed();
    if speaks {
        voice.speaking(1, own_name.0).await;
    }
    let (announce, announced) = watch::channel(BTreeSet::new());
    let listener = tokio::spawn(listen(events, voice_events, announce, connections_lost));
    Ok(Seat { ssrc, relay, transport, announced, connection: Connection { gateway, voice, listener }, took })
}

/// A port at the address that this machine sends from on its way to the relay.
async fn socket_towards(relay: SocketAddr) -> io::Result<UdpSocket> {
    let way = std::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    // Sends nothing.
    way.connect(relay)?;
    UdpSocket::bind((way.local_addr()?.ip(), 0)).await
}

/// The events must be read, or the connections would stall; what matters of them is whose streams there are, and whether we are still in.
async fn listen(
    mut events: GatewayEvents,
    mut voice: VoiceEvents,
    announce: watch::Sender<BTreeSet<Ssrc>>,
    lost: Arc<AtomicU64>,
) {
    let mut is_in = true;
    loop {
        tokio::select! {
            Some(_) = events.recv() => {}
            Some(event) = voice.recv() => match event {
                VoiceEvent::Speaking(speaking) => {
                    announce.send_if_modified(|streams| streams.insert(Ssrc(speaking.ssrc)));
                }
                VoiceEvent::Interrupted | VoiceEvent::Ended(_) if is_in => {
                    is_in = false;
                    lost.fetch_add(1, Ordering::Relaxed);
                }
                _ => {}
            },
            else => return,
        }
    }
}

/// Everyone is in; nobody speaks before all who hear it were told of the stream.
async fn settle(mut seat: Seat, heard: BTreeSet<Ssrc>) -> anyhow::Result<(Participant, Connection)> {
    let told = seat.announced.wait_for(|announced| announced.is_superset(&heard)).await;
    drop(told.context("the voice connection ended before the speakers' streams were announced")?);
    let (socket, media) = match seat.transport {
        Transport::Native(socket, native) => (socket, Media::Native(native)),
        Transport::Browser(parked) => {
            let (socket, mut browser) = parked.take().await?;
            heard.into_iter().for_each(|ssrc| browser.expect(ssrc));
            (socket, Media::Browser(Box::new(browser)))
        }
    };
    udp_io::set_buffers(&socket, RECEIVE_BYTES, RECEIVE_BYTES)?;
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
