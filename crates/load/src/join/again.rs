//! Whoever is in and is told of another voice server joins there, as any client does, and takes its place in the media loop from there.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Sender;

use engine::{Gateway, GatewayEvent, GatewayEvents, Token, VoiceEvent, VoiceEvents, VoiceSignalling};
use futures_util::future::{BoxFuture, FutureExt as _};
use tokio::sync::{oneshot, watch};
use tokio::time::sleep;

use super::{Announced, Entered, Way, enter, within_time};
use crate::limits::ASK_AGAIN_AFTER;
use crate::media::Moved;
use crate::participant::Participant;

/// What became of everybody's voice connections.
#[derive(Debug, Default)]
pub struct Counts {
    /// Broken or ended by the server, and not mended yet.
    pub lost: AtomicU64,
    pub rejoins: AtomicU64,
}

/// A participant's signalling, from when it is in until it is told to go.
pub struct Follower {
    pub number: usize,
    pub way: Way,
    pub gateway: Gateway,
    pub events: GatewayEvents,
    pub voice: VoiceSignalling,
    pub voice_events: VoiceEvents,
    pub announce: watch::Sender<Announced>,
    pub moved: Sender<Moved>,
    pub counts: Arc<Counts>,
}

type Entering = BoxFuture<'static, anyhow::Result<Entered>>;

impl Follower {
    /// The events must be read, or the connections would stall.
    pub async fn run(mut self, mut go: oneshot::Receiver<()>) {
        let mut is_in = true;
        let mut entering: Option<Entering> = None;
        loop {
            tokio::select! {
                _ = &mut go => break,
                Some(event) = self.events.recv() => match event {
                    GatewayEvent::VoiceServer { guild, token, endpoint } if guild == self.way.guild => {
                        entering = endpoint.map(|endpoint| self.enter(endpoint, token));
                    }
                    GatewayEvent::Ready { session, .. } => {
                        self.way.session = session;
                        self.ask().await;
                    }
                    _ => {}
                },
                Some(event) = self.voice_events.recv() => match event {
                    VoiceEvent::Speaking(speaking) => self.announce.send_modify(|streams| {
                        streams.insert(rtp_wire::Ssrc(speaking.ssrc));
                    }),
                    VoiceEvent::Interrupted | VoiceEvent::Ended(_) if is_in => {
                        is_in = false;
                        self.counts.lost.fetch_add(1, Ordering::Relaxed);
                    }
                    VoiceEvent::Resumed if !is_in => {
                        is_in = true;
                        self.counts.lost.fetch_sub(1, Ordering::Relaxed);
                    }
                    _ => {}
                },
                entered = next(&mut entering) => {
                    entering = None;
                    match self.take(entered).await {
                        Ok(()) if is_in => {}
                        Ok(()) => {
                            is_in = true;
                            self.counts.lost.fetch_sub(1, Ordering::Relaxed);
                        }
                        Err(error) => {
                            tracing::warn!(participant = self.number, %error, "not in again yet");
                            sleep(ASK_AGAIN_AFTER).await;
                            self.ask().await;
                        }
                    }
                }
                else => break,
            }
        }
        self.leave().await;
    }

    fn enter(&self, endpoint: String, token: Token) -> Entering {
        let way = self.way.clone();
        async move { within_time(enter(&way, endpoint, token)).await }.boxed()
    }

    async fn ask(&self) {
        self.gateway.set_voice_state(self.way.guild, Some(self.way.channel), false, false).await;
    }

    async fn take(&mut self, entered: anyhow::Result<Entered>) -> anyhow::Result<()> {
        let Entered { voice, events, ssrc, relay, transport, .. } = entered?;
        let (socket, media) = transport.ready().await?;
        (self.voice, self.voice_events) = (voice, events);
        self.counts.rejoins.fetch_add(1, Ordering::Relaxed);
        // Where nobody listens any more the run is over.
        let participant = Participant { socket, relay, ssrc, media };
        let _ = self.moved.send(Moved { number: self.number, participant });
        Ok(())
    }

    /// Listened to the end: whoever stops reading before it has left is a slow client to the server.
    async fn leave(self) {
        let Self { gateway, mut events, voice, mut voice_events, .. } = self;
        let left = async {
            voice.close().await;
            gateway.close().await;
        };
        tokio::pin!(left);
        loop {
            tokio::select! {
                () = &mut left => return,
                Some(_) = events.recv() => {}
                Some(_) = voice_events.recv() => {}
            }
        }
    }
}

async fn next(entering: &mut Option<Entering>) -> anyhow::Result<Entered> {
    match entering {
        Some(entering) => entering.await,
        None => std::future::pending().await,
    }
}
