//! A page's way from READY to packets: SELECT PROTOCOL with its fragment, ICE checks, a DTLS handshake.

use std::net::SocketAddr;
use std::time::Instant;

use anyhow::{Context as _, bail};
use client_wire::fragment::ServerFragment;
use engine::{VoiceEvent, VoiceEvents, VoiceSignalling};
use rtp_wire::Ssrc;
use tokio::net::UdpSocket;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{timeout, timeout_at};

use super::until_voice;
use crate::browser::Browser;
use crate::limits::{DATAGRAM_MAX, PATH_TIMEOUT};

/// Returns where media goes and the name of its own stream beside the transport.
pub async fn join(
    socket: UdpSocket,
    voice: &VoiceSignalling,
    events: &mut VoiceEvents,
) -> anyhow::Result<(SocketAddr, Ssrc, Parked)> {
    let mut browser = Browser::new(Instant::now(), socket.local_addr()?)?;
    voice.select_webrtc(&browser.fragment()?).await;
    let description = until_voice(events, |event| match event {
        VoiceEvent::WebRtcDescription(description) => Some(description),
        _ => None,
    })
    .await?;
    let server = ServerFragment::parse(&description.sdp).context("the server's fragment")?;
    let relay = SocketAddr::from(server.address);
    browser.describe(&server)?;
    let mut link = Link { socket, relay, browser };
    if let Ok(shaken) = timeout(PATH_TIMEOUT, link.shake_hands()).await {
        shaken.with_context(|| format!("the DTLS handshake with {relay}"))?;
    } else if link.browser.is_reached() {
        bail!("{relay} answers ICE checks, but the DTLS handshake was not done within {PATH_TIMEOUT:?}");
    } else {
        bail!("{relay} does not answer over UDP: no ICE check succeeded within {PATH_TIMEOUT:?}");
    }
    let own_name = link.browser.ssrc();
    Ok((relay, own_name, Parked::new(link)))
}

/// A browser with its socket.
struct Link {
    socket: UdpSocket,
    relay: SocketAddr,
    browser: Browser,
}

impl Link {
    async fn shake_hands(&mut self) -> anyhow::Result<()> {
        while !self.browser.is_connected() {
            self.step().await?;
        }
        Ok(())
    }

    /// Waits for the next datagram or for what is due; may be dropped without losing anything.
    async fn step(&mut self) -> anyhow::Result<()> {
        let Self { socket, relay, browser } = self;
        let mut buffer = [0; DATAGRAM_MAX];
        let received = timeout_at(browser.due().into(), socket.recv_from(&mut buffer)).await;
        let now = Instant::now();
        let mut send = |datagram: &[u8]| socket.try_send_to(datagram, *relay).is_ok();
        match received {
            Ok(received) => browser.receive(now, &buffer[..received?.0], &mut send).map(|_| ()),
            Err(_) => browser.wake(now, &mut send),
        }
    }
}

/// A browser whose others are not in yet: it goes on answering and checking, or the server would take it for gone.
pub struct Parked {
    stop: oneshot::Sender<()>,
    task: JoinHandle<anyhow::Result<Link>>,
}

impl Parked {
    fn new(mut link: Link) -> Self {
        let (stop, mut stopped) = oneshot::channel();
        let task = tokio::spawn(async move {
            loop {
                tokio::select! {
                    stepped = link.step() => stepped?,
                    _ = &mut stopped => return Ok(link),
                }
            }
        });
        Self { stop, task }
    }

    pub async fn take(self) -> anyhow::Result<(std::net::UdpSocket, Browser)> {
        // It is told by the other end's being gone.
        drop(self.stop);
        let link = self.task.await.context("a waiting browser's task broke")??;
        Ok((link.socket.into_std()?, link.browser))
    }
}
