//! Everyone joins the way any native client does: gateway, op 4, voice gateway, IP discovery, SELECT PROTOCOL.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use engine::{
    Gateway, GatewayConfig, GatewayEvent, GatewayEvents, Token, Trust, VoiceConfig, VoiceEvent, VoiceEvents,
    VoiceSignalling, gateway_url,
};
use engine_core::Discovery;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use model::{ChannelId, GuildId};
use rtp_wire::Ssrc;
use tokio::net::UdpSocket;
use tokio::task::JoinHandle;
use tokio::time::{timeout, timeout_at};
use transport::{Key, Mode, NonceCounter, Session};

use crate::Options;
use crate::limits::{JOIN_TIMEOUT, JOINING_MAX, RECEIVE_BYTES};
use crate::people::People;

/// The media side of one participant.
pub struct Participant {
    pub socket: std::net::UdpSocket,
    pub relay: SocketAddr,
    pub ssrc: Ssrc,
    pub session: Session,
}

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
    pub join_ms: Vec<f64>,
}

pub async fn everyone(options: &Options, people: People) -> anyhow::Result<Joined> {
    let trust = match &options.ca {
        Some(ca) => Trust::only(ca)?,
        None => Trust::system(),
    };
    let url = gateway_url(&options.server, &trust).await?;
    let shape = options.workload.shape(options.participants, options.speakers)?;
    let joins = people.tokens.iter().enumerate().map(|(n, token)| {
        let place = (people.guild, people.channels[shape.room_of(n)]);
        let config = GatewayConfig {
            url: url.clone(),
            token: token.clone(),
            trust: trust.clone(),
            all_dispatches: false,
        };
        let speaks = n < shape.speakers;
        async move {
            let joining = join(config, place, options.mode, speaks);
            timeout(JOIN_TIMEOUT, joining)
                .await
                .context("no answer in time")
                .and_then(|joined| joined)
                .with_context(|| format!("participant {n}"))
        }
    });
    let all: Vec<(Participant, Connection, Duration)> =
        stream::iter(joins).buffered(JOINING_MAX).try_collect().await?;
    let mut joined =
        Joined { participants: Vec::new(), connections: Connections(Vec::new()), join_ms: Vec::new() };
    for (participant, connection, took) in all {
        joined.participants.push(participant);
        joined.connections.0.push(connection);
        joined.join_ms.push(took.as_secs_f64() * 1_000.0);
    }
    Ok(joined)
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

/// From a live gateway session to a session key; the time is that from op 4 on, as a user clicks.
async fn join(
    config: GatewayConfig,
    (guild, channel): (GuildId, ChannelId),
    mode: Mode,
    speaks: bool,
) -> anyhow::Result<(Participant, Connection, Duration)> {
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
    let relay = SocketAddr::from((ready.ip, ready.port));
    let ssrc = Ssrc(ready.ssrc);
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let (address, port) = discover(&socket, relay, ssrc).await?;
    voice.select_protocol(address, port, mode).await;
    let description = until_voice(&mut voice_events, |event| match event {
        VoiceEvent::Description(description) => Some(description),
        _ => None,
    })
    .await?;
    let took = clicked.elapsed();
    let key = Key::new(description.secret_key.0);
    let session = Session::new(mode, &key, NonceCounter::client(rand::random()), rand::random());
    if speaks {
        voice.speaking(1, ssrc.0).await;
    }
    let socket = socket.into_std()?;
    udp_io::set_buffers(&socket, RECEIVE_BYTES, RECEIVE_BYTES)?;
    let listener = tokio::spawn(async move {
        // The events must be read, or the connections would stall; what they say does not matter here.
        loop {
            tokio::select! {
                Some(_) = events.recv() => {}
                Some(_) = voice_events.recv() => {}
                else => return,
            }
        }
    });
    Ok((Participant { socket, relay, ssrc, session }, Connection { gateway, voice, listener }, took))
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

async fn discover(socket: &UdpSocket, relay: SocketAddr, ssrc: Ssrc) -> anyhow::Result<(String, u16)> {
    let mut discovery = Discovery::new(Instant::now(), ssrc);
    let mut buffer = [0; 128];
    loop {
        if let Some(request) = discovery.poll_transmit(Instant::now()) {
            socket.send_to(&request, relay).await?;
        }
        let (again, _) = discovery.poll_timeout().context("discovery goes on until it is answered")?;
        if let Ok(received) = timeout_at(again.into(), socket.recv_from(&mut buffer)).await {
            let (length, _) = received?;
            if let Some(answer) = discovery.handle_datagram(&buffer[..length]) {
                return Ok((answer.ip.to_string(), answer.port));
            }
        }
    }
}
