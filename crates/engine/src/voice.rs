//! The connection to a voice server: identifies, beats, resumes, and carries what sets up media.
//!
//! A task owns the socket and climbs the lower rungs of the ladder by itself: resume, then identify again with the
//! same token. When neither helps it ends, and the gateway has to be asked for another server.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use client_wire::fragment::ClientFragment;
use client_wire::voice::{
    ClientFrame, ClientSpeaking, CloseCode, FrameError, Heartbeat, Identify, Ready, Resume, SelectProtocol,
    ServerFrame, ServerSpeaking, SessionDescription, UdpData, Version, WebRtcDescription,
};
use model::{ChannelId, GuildId, UserId};
use serde_json::json;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::limits::{COMMANDS_MAX, EVENTS_MAX, GOODBYE_TIMEOUT, HELLO_TIMEOUT, VOICE_ATTEMPTS};
use crate::retry::Retry;
use crate::ws::{Incoming, Ws, asked_to_close};
use crate::{Token, Trust};

const VERSION: Version = Version::V8;

/// Everything here comes from the gateway's two events.
#[derive(Clone)]
pub struct VoiceConfig {
    /// Host and port, without a scheme.
    pub endpoint: String,
    pub guild: GuildId,
    pub channel: Option<ChannelId>,
    pub user: UserId,
    pub session: String,
    pub token: Token,
    pub trust: Trust,
    /// Ask for the retired encryption modes too, of which servers spare clients that do not need them.
    pub retired_modes: bool,
}

#[derive(Debug, Clone)]
pub enum VoiceEvent {
    /// The WebSocket is there, and we have said who we are.
    Opened,
    /// Where media goes. Comes again when the session could not be resumed.
    Ready(Ready),
    Description(SessionDescription),
    /// The answer to [`VoiceSignalling::select_webrtc`].
    WebRtcDescription(WebRtcDescription),
    Speaking(ServerSpeaking),
    Joined(Vec<UserId>),
    Left(UserId),
    /// The WebSocket is gone; media goes on meanwhile.
    Interrupted,
    Resumed,
    /// Nothing follows.
    Ended(VoiceEnd),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VoiceEnd {
    /// Kicked, moved, or the server hands us on: the gateway says which.
    Disconnected,
    /// This server does not take us, or is gone: the gateway has to be asked again.
    Lost { code: Option<u16> },
}

enum Command {
    Select(SelectProtocol),
    Speaking(ClientSpeaking),
}

/// The task ends when this is dropped.
pub struct VoiceSignalling {
    commands: mpsc::Sender<Command>,
    closing: watch::Sender<bool>,
    bytes: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

/// What [`VoiceSignalling::connect`] gives beside the handle.
pub type VoiceEvents = mpsc::Receiver<VoiceEvent>;

impl VoiceSignalling {
    /// Starts to connect, and says by events how that goes.
    #[must_use]
    pub fn connect(config: VoiceConfig) -> (Self, VoiceEvents) {
        let (commands, received) = mpsc::channel(COMMANDS_MAX);
        let (events, reported) = mpsc::channel(EVENTS_MAX);
        let (closing, closed) = watch::channel(false);
        let bytes = Arc::new(AtomicU64::new(0));
        let driver = Driver {
            config,
            commands: received,
            events,
            closing: closed,
            bytes: Arc::clone(&bytes),
            phase: Phase::Fresh,
            has_begun_again: false,
            seq_ack: None,
            speaking: None,
            retry: Retry::default(),
        };
        let task = tokio::spawn(driver.run());
        (Self { commands, closing, bytes, task }, reported)
    }

    /// The answer to [`VoiceEvent::Ready`], with the address that IP discovery found.
    pub async fn select_protocol(&self, address: String, port: u16, mode: transport::Mode) {
        let data = UdpData { address, port, mode: mode.name().to_owned() };
        let protocol = "udp".to_owned();
        let select = SelectProtocol { protocol, data: Some(data), sdp: None, codecs: None };
        let _ = self.commands.send(Command::Select(select)).await;
    }

    /// The answer to [`VoiceEvent::Ready`] as a browser gives it, for those who test servers with browsers' transports.
    pub async fn select_webrtc(&self, fragment: &ClientFragment) {
        let opus =
            json!({ "name": "opus", "type": "audio", "priority": 1000, "payload_type": fragment.opus });
        let protocol = "webrtc".to_owned();
        let sdp = Some(fragment.to_string());
        let select = SelectProtocol { protocol, data: None, sdp, codecs: Some(vec![opus]) };
        let _ = self.commands.send(Command::Select(select)).await;
    }

    /// Has to be said before the first packet of speech. `flags` are the bits of [`client_wire::voice::speaking`].
    pub async fn speaking(&self, flags: u8, ssrc: u32) {
        let _ =
            self.commands.send(Command::Speaking(ClientSpeaking { speaking: flags, ssrc: Some(ssrc) })).await;
    }

    /// Payload of the WebSocket so far, both ways, over all its connections.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    pub async fn close(mut self) {
        let _ = self.closing.send(true);
        let _ = timeout(2 * GOODBYE_TIMEOUT, &mut self.task).await;
    }
}

impl Drop for VoiceSignalling {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// How the next connection introduces itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Never identified.
    Fresh,
    /// A session exists here.
    Established,
    /// Its session was refused; it is tried once more from the beginning.
    Again,
}

struct Driver {
    config: VoiceConfig,
    commands: mpsc::Receiver<Command>,
    events: mpsc::Sender<VoiceEvent>,
    closing: watch::Receiver<bool>,
    bytes: Arc<AtomicU64>,
    phase: Phase,
    /// Once is enough: a voice server that lets us in and sends us away again waits in vain for guilds to say that we are to be there.
    has_begun_again: bool,
    /// The last number received, told to the server so that it can forget what came before.
    seq_ack: Option<i64>,
    /// What was last said; a server that was restarted has to hear it again.
    speaking: Option<ClientSpeaking>,
    retry: Retry,
}

enum End {
    Closed,
    Ended(VoiceEnd),
    /// Worth another attempt.
    Broken {
        code: Option<u16>,
    },
}

impl Driver {
    async fn run(mut self) {
        loop {
            let mut closing = self.closing.clone();
            let code = match self.connection().await {
                End::Closed => return,
                End::Ended(end) => return self.tell(VoiceEvent::Ended(end)).await,
                End::Broken { code } => code,
            };
            tracing::debug!(?code, phase = ?self.phase, attempts = self.retry.attempts(), "voice connection lost");
            if self.retry.attempts() >= VOICE_ATTEMPTS {
                return self.tell(VoiceEvent::Ended(VoiceEnd::Lost { code })).await;
            }
            if self.retry.attempts() == 0 {
                self.tell(VoiceEvent::Interrupted).await;
            }
            let wait = self.retry.next();
            tokio::select! {
                () = sleep(wait) => {}
                () = asked_to_close(&mut closing) => return,
            }
        }
    }

    async fn connection(&mut self) -> End {
        let mut closing = self.closing.clone();
        let opened = tokio::select! {
            opened = self.open() => opened,
            () = asked_to_close(&mut closing) => return End::Closed,
        };
        let Ok(mut ws) = opened else { return End::Broken { code: None } };
        self.tell(VoiceEvent::Opened).await;
        let mut counted = 0;
        // Until HELLO says how often to beat, its time limit takes the place of the beat.
        let mut beat_at = Instant::now() + HELLO_TIMEOUT;
        let mut interval: Option<Duration> = None;
        let mut beats = 0_u32;
        let mut unacknowledged = 0_u32;
        loop {
            self.bytes.fetch_add(ws.bytes() - counted, Ordering::Relaxed);
            counted = ws.bytes();
            let sent = tokio::select! {
                incoming = ws.next() => match incoming {
                    Incoming::Closed(code) => return self.closed(code),
                    Incoming::Text(text) => match self.frame(&text) {
                        Some(ServerFrame::Hello(hello)) => {
                            let every = Duration::from_millis(hello.heartbeat_interval.max(100));
                            interval = Some(every);
                            beat_at = Instant::now() + every;
                            Ok(())
                        }
                        Some(ServerFrame::HeartbeatAck(_)) => { unacknowledged = 0; Ok(()) }
                        Some(frame) => self.handle(&mut ws, frame).await,
                        None => Ok(()),
                    },
                },
                () = sleep_until(beat_at) => {
                    let Some(interval) = interval else { return End::Broken { code: None } };
                    if unacknowledged == 2 {
                        return End::Broken { code: None };
                    }
                    unacknowledged += 1;
                    beat_at += interval;
                    beats += 1;
                    let nonce = beats.into();
                    ws.send(ClientFrame::Heartbeat(Heartbeat { nonce, seq_ack: self.seq_ack }).text(VERSION)).await
                }
                command = self.commands.recv() => match command {
                    Some(Command::Select(select)) => {
                        ws.send(ClientFrame::SelectProtocol(select).text(VERSION)).await
                    }
                    Some(Command::Speaking(speaking)) => {
                        self.speaking = Some(speaking);
                        ws.send(ClientFrame::Speaking(speaking).text(VERSION)).await
                    }
                    None => return End::Closed,
                },
                () = asked_to_close(&mut closing) => {
                    ws.close(CloseCode::Normal.number()).await;
                    return End::Closed;
                }
            };
            if sent.is_err() {
                return End::Broken { code: None };
            }
        }
    }

    /// Connects and introduces itself at once, without waiting for the greeting: that saves a round trip.
    async fn open(&self) -> Result<Ws, tokio_tungstenite::tungstenite::Error> {
        let VoiceConfig { endpoint, guild, channel, user, session, token, trust, retired_modes } =
            &self.config;
        // The channel is named from version 9 on; before, the server knows it from the token.
        let channel = channel.filter(|_| VERSION >= Version::V9);
        let url = format!("wss://{}/?v={}", endpoint.trim_end_matches('/'), VERSION.number());
        let mut ws = Ws::connect(&url, trust).await?;
        let token = token.expose().to_owned();
        let hello = match self.phase {
            Phase::Established => ClientFrame::Resume(Resume {
                server_id: *guild,
                session_id: session.clone(),
                token,
                channel_id: channel,
                seq_ack: self.seq_ack,
            }),
            Phase::Fresh | Phase::Again => ClientFrame::Identify(Identify {
                server_id: *guild,
                user_id: *user,
                session_id: session.clone(),
                token,
                channel_id: channel,
                // "None", said by one who knows what it is.
                max_dave_protocol_version: (!retired_modes).then_some(0),
            }),
        };
        ws.send(hello.text(VERSION)).await?;
        Ok(ws)
    }

    /// Reads a frame and takes note of its number; what we do not know is ignored.
    fn frame(&mut self, text: &str) -> Option<ServerFrame> {
        match ServerFrame::read(text) {
            Ok((frame, seq)) => {
                self.seq_ack = seq.map(i64::from).or(self.seq_ack);
                Some(frame)
            }
            Err(FrameError::UnknownOp) => None,
            Err(error) => {
                tracing::warn!(%error, "voice frame ignored");
                None
            }
        }
    }

    async fn handle(
        &mut self,
        ws: &mut Ws,
        frame: ServerFrame,
    ) -> Result<(), tokio_tungstenite::tungstenite::Error> {
        let event = match frame {
            ServerFrame::Ready(ready) => {
                self.established();
                VoiceEvent::Ready(ready)
            }
            ServerFrame::Resumed => {
                self.established();
                if let Some(speaking) = self.speaking {
                    ws.send(ClientFrame::Speaking(speaking).text(VERSION)).await?;
                }
                VoiceEvent::Resumed
            }
            ServerFrame::SessionDescription(description) => VoiceEvent::Description(description),
            ServerFrame::WebRtcDescription(description) => VoiceEvent::WebRtcDescription(description),
            ServerFrame::Speaking(speaking) => VoiceEvent::Speaking(speaking),
            ServerFrame::ClientsConnect(connect) => VoiceEvent::Joined(connect.user_ids),
            ServerFrame::ClientDisconnect(disconnect) => VoiceEvent::Left(disconnect.user_id),
            ServerFrame::Hello(_)
            | ServerFrame::HeartbeatAck(_)
            | ServerFrame::BackendVersion(_)
            | ServerFrame::Other(_) => return Ok(()),
        };
        self.tell(event).await;
        Ok(())
    }

    fn established(&mut self) {
        self.phase = Phase::Established;
        self.retry.reset();
    }

    fn closed(&mut self, code: Option<u16>) -> End {
        let lost = End::Ended(VoiceEnd::Lost { code });
        match code.and_then(CloseCode::from_number) {
            Some(CloseCode::Disconnected | CloseCode::CallTerminated) => End::Ended(VoiceEnd::Disconnected),
            // The session is unknown there: perhaps the server was restarted. The token is good for a new one.
            Some(CloseCode::SessionInvalid) if self.phase == Phase::Established && !self.has_begun_again => {
                (self.phase, self.seq_ack, self.has_begun_again) = (Phase::Again, None, true);
                End::Broken { code }
            }
            Some(
                CloseCode::SessionInvalid
                | CloseCode::Normal
                | CloseCode::NotAuthenticated
                | CloseCode::AuthenticationFailed
                | CloseCode::AlreadyAuthenticated
                | CloseCode::ServerNotFound
                | CloseCode::UnknownProtocol
                | CloseCode::UnknownMode
                | CloseCode::DaveRequired
                | CloseCode::BadRequest
                | CloseCode::RateLimited,
            ) => lost,
            Some(
                CloseCode::GoingAway
                | CloseCode::UnknownOpcode
                | CloseCode::DecodeError
                | CloseCode::SessionTimeout
                | CloseCode::RelayCrashed
                | CloseCode::ServerCrashed,
            )
            | None => End::Broken { code },
        }
    }

    async fn tell(&self, event: VoiceEvent) {
        // Nobody listens any more: the handle is about to be dropped too.
        let _ = self.events.send(event).await;
    }
}
