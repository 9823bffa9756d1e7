//! The connection to the main gateway: identifies, beats, resumes, and says what concerns voice.
//!
//! A task owns the socket. It reconnects by itself for as long as that can help, so that whoever uses it sees one
//! session with interruptions.

use std::time::Duration;

use client_wire::gateway::{CloseCode, FromClient, FromServer, Identify, Intents, Resume, VoiceStateUpdate};
use model::{ChannelId, GuildId, UserId};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::limits::{COMMANDS_MAX, EVENTS_MAX, FIRST_CONNECT_ATTEMPTS, GOODBYE_TIMEOUT, HELLO_TIMEOUT};
use crate::retry::Retry;
use crate::ws::{Incoming, Ws, asked_to_close};
use crate::{Token, Trust};

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GatewayError {
    #[error("the gateway at {url} cannot be reached: {reason}")]
    Unreachable { url: String, reason: String },
    #[error("the server refused the token")]
    TokenRefused,
    #[error("the server refused the connection: {reason} (code {code})")]
    Refused { code: u16, reason: &'static str },
}

#[derive(Clone)]
pub struct GatewayConfig {
    /// As the REST interface says it.
    pub url: String,
    pub token: Token,
    pub trust: Trust,
    /// Also report dispatches that have nothing to do with our own voice.
    pub all_dispatches: bool,
}

/// Where the server says we are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnVoiceState {
    pub guild: Option<GuildId>,
    /// None: in no channel.
    pub channel: Option<ChannelId>,
    pub session: String,
    /// Muted by a moderator, or not allowed to speak.
    pub muted: bool,
    pub deafened: bool,
}

#[derive(Debug, Clone)]
pub enum GatewayEvent {
    /// A new session; what was asked for in an earlier one has to be asked for again.
    Ready {
        user: UserId,
        session: String,
    },
    /// The connection was lost; what follows is either `Resumed`, `Ready` or `Failed`.
    Interrupted,
    Resumed,
    VoiceState(OwnVoiceState),
    /// No endpoint: no voice server is there at the moment, and another update follows when one is.
    VoiceServer {
        guild: GuildId,
        token: Token,
        endpoint: Option<String>,
    },
    /// Anything else, when the configuration asks for it.
    Dispatch {
        t: String,
        d: Box<RawValue>,
    },
    /// Trying again does not help. Nothing follows.
    Failed(GatewayError),
}

/// The task ends when this is dropped.
pub struct Gateway {
    commands: mpsc::Sender<FromClient>,
    closing: watch::Sender<bool>,
    task: JoinHandle<()>,
}

/// What [`Gateway::connect`] gives beside the handle.
pub type GatewayEvents = mpsc::Receiver<GatewayEvent>;

impl Gateway {
    /// Starts to connect, and says by events how that goes.
    #[must_use]
    pub fn connect(config: GatewayConfig) -> (Self, GatewayEvents) {
        let (commands, received) = mpsc::channel(COMMANDS_MAX);
        let (events, reported) = mpsc::channel(EVENTS_MAX);
        let (closing, closed) = watch::channel(false);
        let driver = Driver {
            config,
            commands: received,
            events,
            closing: closed,
            session: None,
            user: None,
            greeted: false,
            retry: Retry::default(),
        };
        let task = tokio::spawn(driver.run());
        (Self { commands, closing, task }, reported)
    }

    /// Joins a channel, moves there, or with none leaves. Waits its turn while the connection is down.
    pub async fn set_voice_state(
        &self,
        guild: GuildId,
        channel: Option<ChannelId>,
        self_mute: bool,
        self_deaf: bool,
    ) {
        let update = VoiceStateUpdate {
            guild_id: Some(guild),
            channel_id: channel,
            self_mute,
            self_deaf,
            self_video: false,
        };
        self.say(FromClient::VoiceStateUpdate(update)).await;
    }

    /// The voice server is of no use any more; the answer names it once more, or another one.
    pub async fn suspect_voice_server(&self, guild: GuildId) {
        self.say(FromClient::VoiceServerPing(Some(guild))).await;
    }

    async fn say(&self, frame: FromClient) {
        // When the task has ended there is nobody to tell, and its last event said why.
        let _ = self.commands.send(frame).await;
    }

    /// Sends what is still waiting, ends the session, and waits for that.
    pub async fn close(mut self) {
        let _ = self.closing.send(true);
        let _ = timeout(2 * GOODBYE_TIMEOUT, &mut self.task).await;
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What a resume needs.
struct Session {
    id: String,
    url: String,
    seq: u64,
}

struct Driver {
    config: GatewayConfig,
    commands: mpsc::Receiver<FromClient>,
    events: mpsc::Sender<GatewayEvent>,
    closing: watch::Receiver<bool>,
    session: Option<Session>,
    user: Option<UserId>,
    /// Whether a session was ever established: before that, a failure is the user's to see.
    greeted: bool,
    retry: Retry,
}

/// How a connection ended.
enum End {
    Closed,
    Failed(GatewayError),
    /// Worth another attempt, after this long.
    Lost {
        reason: String,
        wait: Duration,
    },
}

impl Driver {
    async fn run(mut self) {
        loop {
            let mut closing = self.closing.clone();
            let end = self.connection().await;
            let wait = match end {
                End::Closed => return,
                End::Failed(error) => return self.tell(GatewayEvent::Failed(error)).await,
                End::Lost { reason, wait } => {
                    tracing::debug!(reason, attempts = self.retry.attempts(), "gateway connection lost");
                    if !self.greeted && self.retry.attempts() + 1 >= FIRST_CONNECT_ATTEMPTS {
                        let url = self.config.url.clone();
                        return self
                            .tell(GatewayEvent::Failed(GatewayError::Unreachable { url, reason }))
                            .await;
                    }
                    if self.greeted && self.retry.attempts() == 0 {
                        self.tell(GatewayEvent::Interrupted).await;
                    }
                    wait + self.retry.next()
                }
            };
            tokio::select! {
                () = sleep(wait) => {}
                () = asked_to_close(&mut closing) => return,
            }
        }
    }

    /// One connection, from the handshake to its end.
    async fn connection(&mut self) -> End {
        let mut closing = self.closing.clone();
        let opened = tokio::select! {
            opened = self.open() => opened,
            () = asked_to_close(&mut closing) => return End::Closed,
        };
        let (mut ws, interval) = match opened {
            Ok(opened) => opened,
            Err(end) => return end,
        };
        // The first beat comes at a random moment, so that clients who came together do not beat together.
        let mut beat_at = Instant::now() + interval.mul_f32(rand::random::<f32>());
        let mut acknowledged = true;
        let mut ready = false;
        loop {
            let sent = tokio::select! {
                incoming = ws.next() => match incoming {
                    Incoming::Closed(code) => return self.closed(code),
                    Incoming::Text(text) => match FromServer::parse(text.as_bytes()) {
                        Ok(FromServer::Heartbeat) => ws.send(self.beat()).await,
                        Ok(FromServer::HeartbeatAck) => { acknowledged = true; Ok(()) }
                        Ok(FromServer::Reconnect) => return lost("the server asked for it"),
                        Ok(FromServer::InvalidSession { may_resume }) => return self.invalid_session(may_resume),
                        Ok(FromServer::Dispatch { seq, t, d }) => {
                            ready |= matches!(t.as_str(), "READY" | "RESUMED");
                            self.dispatch(seq, t, d).await;
                            Ok(())
                        }
                        Ok(FromServer::Hello { .. }) => Ok(()),
                        // A server may know more than we do.
                        Err(error) => { tracing::debug!(%error, "gateway frame ignored"); Ok(()) }
                    },
                },
                () = sleep_until(beat_at) => {
                    if !std::mem::take(&mut acknowledged) {
                        return lost("the last heartbeat was not acknowledged");
                    }
                    beat_at += interval;
                    ws.send(self.beat()).await
                }
                command = self.commands.recv(), if ready => match command {
                    Some(frame) => ws.send(frame.encode()).await,
                    None => return self.goodbye(ws).await,
                },
                () = asked_to_close(&mut closing) => return self.goodbye(ws).await,
            };
            if let Err(error) = sent {
                return lost(&error.to_string());
            }
        }
    }

    /// Connects, is greeted, and identifies or resumes.
    async fn open(&mut self) -> Result<(Ws, Duration), End> {
        let base = self.session.as_ref().map_or(&self.config.url, |session| &session.url);
        let url = format!("{}/?v=10&encoding=json", base.trim_end_matches('/'));
        let mut ws = Ws::connect(&url, &self.config.trust).await.map_err(|error| lost(&error.to_string()))?;
        let interval = match timeout(HELLO_TIMEOUT, ws.next()).await {
            Ok(Incoming::Text(text)) => match FromServer::parse(text.as_bytes()) {
                Ok(FromServer::Hello { heartbeat_interval_ms }) => {
                    Duration::from_millis(heartbeat_interval_ms.max(100))
                }
                _ => return Err(lost("the server did not greet")),
            },
            Ok(Incoming::Closed(code)) => return Err(self.closed(code)),
            Err(_) => return Err(lost("the server did not greet in time")),
        };
        let token = self.config.token.expose().to_owned();
        let hello = match &self.session {
            Some(session) => {
                FromClient::Resume(Resume { token, session_id: session.id.clone(), seq: session.seq })
            }
            None => FromClient::Identify(Box::new(Identify {
                token,
                intents: Some((Intents::GUILDS | Intents::GUILD_VOICE_STATES).bits()),
                shard: None,
                presence: None,
                properties: Default::default(),
            })),
        };
        ws.send(hello.encode()).await.map_err(|error| lost(&error.to_string()))?;
        Ok((ws, interval))
    }

    fn beat(&self) -> String {
        FromClient::Heartbeat(self.session.as_ref().map(|session| session.seq)).encode()
    }

    fn closed(&mut self, code: Option<u16>) -> End {
        let Some(number) = code else { return lost("the connection broke") };
        let known = CloseCode::from_number(number);
        match known {
            Some(CloseCode::AuthenticationFailed) => return End::Failed(GatewayError::TokenRefused),
            Some(code) if code.is_fatal() => {
                return End::Failed(GatewayError::Refused { code: number, reason: code.reason() });
            }
            // These say that the session is gone, or that what we remember of it is wrong.
            Some(
                CloseCode::Normal
                | CloseCode::NotAuthenticated
                | CloseCode::AlreadyAuthenticated
                | CloseCode::InvalidSeq
                | CloseCode::SessionTimedOut,
            ) => self.session = None,
            _ => {}
        }
        lost(known.map_or("closed with an unknown code", CloseCode::reason))
    }

    fn invalid_session(&mut self, may_resume: bool) -> End {
        if !may_resume {
            self.session = None;
        }
        // The protocol asks for a pause of one to five seconds.
        let wait = Duration::from_secs(1).mul_f32(1.0 + 4.0 * rand::random::<f32>());
        End::Lost { reason: "the session is invalid".to_owned(), wait }
    }

    async fn goodbye(&mut self, mut ws: Ws) -> End {
        while let Ok(frame) = self.commands.try_recv() {
            if ws.send(frame.encode()).await.is_err() {
                return End::Closed;
            }
        }
        ws.close(CloseCode::Normal.number()).await;
        End::Closed
    }

    async fn dispatch(&mut self, seq: u64, t: String, d: Box<RawValue>) {
        if let Some(session) = &mut self.session {
            session.seq = seq;
        }
        let event = match t.as_str() {
            "READY" => self.ready(seq, &d),
            "RESUMED" => {
                self.retry.reset();
                Some(GatewayEvent::Resumed)
            }
            "VOICE_STATE_UPDATE" => self.voice_state(&d),
            "VOICE_SERVER_UPDATE" => voice_server(&d),
            _ => None,
        };
        if let Some(event) = event {
            self.tell(event).await;
        }
        if self.config.all_dispatches {
            self.tell(GatewayEvent::Dispatch { t, d }).await;
        }
    }

    fn ready(&mut self, seq: u64, d: &RawValue) -> Option<GatewayEvent> {
        let ready: Ready = read("READY", d)?;
        self.retry.reset();
        self.greeted = true;
        self.user = Some(ready.user.id);
        let url = ready.resume_gateway_url.unwrap_or_else(|| self.config.url.clone());
        self.session = Some(Session { id: ready.session_id.clone(), url, seq });
        Some(GatewayEvent::Ready { user: ready.user.id, session: ready.session_id })
    }

    fn voice_state(&self, d: &RawValue) -> Option<GatewayEvent> {
        let state: VoiceState = read("VOICE_STATE_UPDATE", d)?;
        if Some(state.user_id) != self.user {
            return None;
        }
        Some(GatewayEvent::VoiceState(OwnVoiceState {
            guild: state.guild_id,
            channel: state.channel_id,
            session: state.session_id,
            muted: state.mute || state.suppress,
            deafened: state.deaf,
        }))
    }

    async fn tell(&self, event: GatewayEvent) {
        // Nobody listens any more: the handle is about to be dropped too.
        let _ = self.events.send(event).await;
    }
}

fn voice_server(d: &RawValue) -> Option<GatewayEvent> {
    let server: VoiceServer = read("VOICE_SERVER_UPDATE", d)?;
    let endpoint = server.endpoint.filter(|endpoint| !endpoint.is_empty());
    Some(GatewayEvent::VoiceServer { guild: server.guild_id, token: Token::new(server.token), endpoint })
}

fn read<T: for<'de> Deserialize<'de>>(event: &str, d: &RawValue) -> Option<T> {
    serde_json::from_str(d.get()).inspect_err(|error| tracing::warn!(event, %error, "dispatch ignored")).ok()
}

fn lost(reason: &str) -> End {
    End::Lost { reason: reason.to_owned(), wait: Duration::ZERO }
}

// Of the objects in dispatches a voice client needs a few fields, and reads no more than those, so that it gets along
// with every server.

#[derive(Deserialize)]
struct Ready {
    user: UserOnly,
    session_id: String,
    #[serde(default)]
    resume_gateway_url: Option<String>,
}

#[derive(Deserialize)]
struct UserOnly {
    id: UserId,
}

#[derive(Deserialize)]
struct VoiceState {
    #[serde(default)]
    guild_id: Option<GuildId>,
    #[serde(default)]
    channel_id: Option<ChannelId>,
    user_id: UserId,
    session_id: String,
    #[serde(default)]
    mute: bool,
    #[serde(default)]
    deaf: bool,
    #[serde(default)]
    suppress: bool,
}

#[derive(Deserialize)]
struct VoiceServer {
    token: String,
    guild_id: GuildId,
    #[serde(default)]
    endpoint: Option<String>,
}
