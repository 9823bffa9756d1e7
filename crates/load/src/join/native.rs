//! A native client's way from READY to a session key: IP discovery, SELECT PROTOCOL.

use std::net::SocketAddr;
use std::time::Instant;

use anyhow::Context as _;
use engine::{VoiceEvent, VoiceEvents, VoiceSignalling};
use engine_core::Discovery;
use rtp_wire::Ssrc;
use tokio::net::UdpSocket;
use tokio::time::{timeout, timeout_at};
use transport::{Key, Mode, NonceCounter, Session};

use super::until_voice;
use crate::limits::PATH_TIMEOUT;
use crate::native::Native;

pub async fn join(
    socket: UdpSocket,
    voice: &VoiceSignalling,
    events: &mut VoiceEvents,
    relay: SocketAddr,
    ssrc: Ssrc,
    mode: Mode,
) -> anyhow::Result<(std::net::UdpSocket, Native)> {
    let (address, port) =
        timeout(PATH_TIMEOUT, discover(&socket, relay, ssrc)).await.with_context(|| {
            format!("{relay} does not answer over UDP: no IP discovery in {PATH_TIMEOUT:?}")
        })??;
    voice.select_protocol(address, port, mode).await;
    let description = until_voice(events, |event| match event {
        VoiceEvent::Description(description) => Some(description),
        _ => None,
    })
    .await?;
    let key = Key::new(description.secret_key.0);
    let session = Session::new(mode, &key, NonceCounter::client(rand::random()), rand::random());
    Ok((socket.into_std()?, Native::new(session)))
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
