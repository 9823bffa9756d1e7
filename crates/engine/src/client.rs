//! A participant: the gateway, the voice server and the media thread together, and the upper rungs of the ladder.
//!
//! What a voice connection cannot mend by itself is mended by asking the gateway again, which may name another server.
//! A new server is connected to while the old one still carries sound.

use std::net::SocketAddr;
use std::time::Duration;

use client_wire::voice::{Ready, SessionDescription, speaking};
use model::{ChannelId, GuildId, UserId};
use rtp_wire::Ssrc;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};
use transport::{Key, Mode};

use crate::limits::{COMMANDS_MAX, EVENTS_MAX, MOVE_TIMEOUT};
use crate::media::{Command as MediaCommand, Media, MediaEvent};
use crate::retry::Retry;
use crate::{
    Gateway, GatewayConfig, GatewayError, GatewayEvent, GatewayEvents, MediaConfig, MediaReport,
    OwnVoiceState, Token, VoiceConfig, VoiceEnd, VoiceEvent, VoiceEvents, VoiceSignalling,
};

/// What a person is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectionState {
    /// In no channel.
    Disconnected,
    /// The guild has no voice server at the moment; one is being chosen.
    AwaitingEndpoint,
    Connecting,
    /// UDP has been exchanged both ways.
    Connected,
    /// Was connected and will be again.
    Reconnecting,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    #[error(transparent)]
    Gateway(#[from] GatewayError),
    #[error("the channel does not exist or you may not join it (no answer in {} s)", .0.as_secs())]
    NoAnswer(Duration),
    #[error("you were disconnected from the channel")]
    Kicked,
    #[error("the server does not offer the encryption {wanted}; it offers {offered}")]
    EncryptionNotOffered { wanted: &'static str, offered: String },
    #[error("the connection to the gateway ended")]
    GatewayGone,
    #[error("no thread for media: {0}")]
    Media(String),
}

pub struct ClientConfig {
    pub gateway: GatewayConfig,
    pub guild: GuildId,
    pub channel: ChannelId,
    /// None: the first the server offers that we know.
    pub encryption: Option<Mode>,
    pub self_mute: bool,
    pub self_deaf: bool,
    /// How long an answer may take: the gateway's to the wish to join, and the voice server's until there is sound.
    pub patience: Duration,
    pub media: MediaConfig,
}

#[derive(Debug, Clone)]
pub enum ClientEvent {
    State(ConnectionState),
    /// The first connection stands; the durations are from the wish to join, and the bytes those of the voice
    /// WebSocket so far.
    Joined {
        after: Duration,
        mode: Mode,
        voice_bytes: u64,
    },
    Speaking {
        user: UserId,
        flags: u8,
    },
    /// Where a moderator has put us.
    Moved(ChannelId),
    SourceEnded,
    /// Nothing follows.
    Failed(ClientError),
}

/// What a whole stay comes to.
#[derive(Debug)]
pub struct Stay {
    pub media: MediaReport,
    /// Connections that replaced or resumed an earlier one.
    pub reconnects: u32,
}

enum Command {
    Mute { mute: bool, deaf: bool },
    PushToTalk(bool),
    Volume { user: UserId, volume: f32 },
    Move(ChannelId),
    Leave(oneshot::Sender<Stay>),
}

/// Leaves without goodbye when dropped.
pub struct Client {
    commands: mpsc::Sender<Command>,
    task: JoinHandle<()>,
}

impl Client {
    /// Starts to join, and says by events how that goes.
    pub fn join(config: ClientConfig) -> Result<(Self, mpsc::Receiver<ClientEvent>), ClientError> {
        let (media, media_events) =
            Media::start(config.media).map_err(|e| ClientError::Media(e.to_string()))?;
        let (gateway, gateway_events) = Gateway::connect(config.gateway.clone());
        let (commands, received) = mpsc::channel(COMMANDS_MAX);
        let (events, reported) = mpsc::channel(EVENTS_MAX);
        let driver = Driver {
            guild: config.guild,
            channel: config.channel,
            encryption: config.encryption,
            self_mute: config.self_mute,
            self_deaf: config.self_deaf,
            patience: config.patience,
            gateway_config: config.gateway,
            gateway,
            media,
            events,
            state: ConnectionState::Disconnected,
            user: None,
            session: None,
            voice: None,
            voice_at: None,
            former: None,
            stream: None,
            ready: false,
            admitted: false,
            suspects: false,
            asked_at: None,
            deadline: None,
            retry: Retry::default(),
            joined: false,
            reconnects: 0,
        };
        let task = tokio::spawn(driver.run(received, gateway_events, media_events));
        Ok((Self { commands, task }, reported))
    }

    pub async fn set_self_mute(&self, mute: bool, deaf: bool) {
        let _ = self.commands.send(Command::Mute { mute, deaf }).await;
    }

    pub async fn set_push_to_talk(&self, down: bool) {
        let _ = self.commands.send(Command::PushToTalk(down)).await;
    }

    pub async fn set_volume(&self, user: UserId, volume: f32) {
        let _ = self.commands.send(Command::Volume { user, volume }).await;
    }

    pub async fn move_to(&self, channel: ChannelId) {
        let _ = self.commands.send(Command::Move(channel)).await;
    }

    /// Leaves the channel, ends the session, completes recordings. None if the client had failed in a way that left
    /// nothing to report.
    pub async fn leave(self) -> Option<Stay> {
        let (reply, stay) = oneshot::channel();
        self.commands.send(Command::Leave(reply)).await.ok()?;
        stay.await.ok()
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Driver {
    guild: GuildId,
    channel: ChannelId,
    encryption: Option<Mode>,
    self_mute: bool,
    self_deaf: bool,
    patience: Duration,
    gateway_config: GatewayConfig,
    gateway: Gateway,
    media: Media,
    events: mpsc::Sender<ClientEvent>,
    state: ConnectionState,
    user: Option<UserId>,
    /// The id that the voice server knows us by, from our own voice state.
    session: Option<String>,
    voice: Option<(VoiceSignalling, VoiceEvents)>,
    /// Where it is, and the channel that it is for.
    voice_at: Option<(String, ChannelId)>,
    /// To the voice server before, which serves us until we are at the current one.
    former: Option<Former>,
    /// Our stream on the voice server that is current, and how it is encrypted.
    stream: Option<(Ssrc, Mode)>,
    /// READY has come and the session description that answers it has not.
    ready: bool,
    /// Our voice state was seen in a channel, so whatever is missing, it is not permission.
    admitted: bool,
    /// The gateway was asked for our voice server last, and not for our place.
    suspects: bool,
    /// When the wish to join was sent first.
    asked_at: Option<Instant>,
    /// When to ask again, or to give up.
    deadline: Option<Instant>,
    retry: Retry,
    joined: bool,
    reconnects: u32,
}

enum Next {
    GoOn,
    Fail(ClientError),
    Leave(oneshot::Sender<Stay>),
}

impl Driver {
    async fn run(
        mut self,
        mut commands: mpsc::Receiver<Command>,
        mut gateway: GatewayEvents,
        mut media: mpsc::UnboundedReceiver<MediaEvent>,
    ) {
        let mut failed = false;
        loop {
            let next = tokio::select! {
                event = gateway.recv(), if !failed => match event {
                    Some(event) => self.handle_gateway(event).await,
                    None => Next::Fail(ClientError::GatewayGone),
                },
                event = next_voice_event(&mut self.voice), if !failed => self.handle_voice(event).await,
                event = next_former_event(&mut self.former) => self.handle_former(event),
                Some(event) = media.recv() => self.handle_media(event).await,
                () = sleep_until(self.deadline.unwrap_or_else(far_away)), if !failed => self.handle_deadline().await,
                command = commands.recv() => match command {
                    Some(command) => self.handle_command(command).await,
                    None => return,
                },
            };
            match next {
                Next::GoOn => {}
                Next::Fail(error) => {
                    failed = true;
                    (self.voice, self.former) = (None, None);
                    self.set_state(ConnectionState::Disconnected).await;
                    self.tell(ClientEvent::Failed(error)).await;
                }
                Next::Leave(reply) => {
                    let _ = reply.send(self.leave().await);
                    return;
                }
            }
        }
    }

    async fn handle_gateway(&mut self, event: GatewayEvent) -> Next {
        match event {
            GatewayEvent::Ready { user, session } => {
                self.user = Some(user);
                self.session = Some(session);
                // What the old session was granted is void.
                self.admitted = false;
                self.ask().await;
            }
            // Nothing says whether a wish sent just before the interruption was heard.
            GatewayEvent::Resumed if self.voice.is_none() => self.ask_again().await,
            GatewayEvent::Resumed | GatewayEvent::Interrupted | GatewayEvent::Dispatch { .. } => {}
            GatewayEvent::VoiceState(state) => return self.handle_own_state(state).await,
            GatewayEvent::VoiceServer { guild, .. } if guild != self.guild => {}
            GatewayEvent::VoiceServer { endpoint: None, .. } => {
                self.voice = None;
                self.deadline = None;
                self.set_state(ConnectionState::AwaitingEndpoint).await;
            }
            GatewayEvent::VoiceServer { endpoint: Some(endpoint), token, .. } => {
                self.suspects = false;
                self.connect_voice(endpoint, token).await;
            }
            GatewayEvent::Failed(error) => return Next::Fail(error.into()),
        }
        Next::GoOn
    }

    async fn handle_own_state(&mut self, state: OwnVoiceState) -> Next {
        if state.guild != Some(self.guild) {
            return Next::GoOn;
        }
        match state.channel {
            // An earlier session of ours has ended, which says nothing of this one.
            None if self.session.as_ref() != Some(&state.session) => Next::GoOn,
            Some(channel) => {
                self.session = Some(state.session);
                self.admitted = true;
                if channel != self.channel {
                    self.channel = channel;
                    self.tell(ClientEvent::Moved(channel)).await;
                }
                Next::GoOn
            }
            // We say so ourselves only when leaving, and then nobody listens any more.
            None if self.joined || self.voice.is_some() => Next::Fail(ClientError::Kicked),
            None => Next::GoOn,
        }
    }

    async fn connect_voice(&mut self, endpoint: String, token: Token) {
        let (Some(user), Some(session)) = (self.user, self.session.clone()) else { return };
        let was_connected = self.state == ConnectionState::Connected;
        let state = if self.joined { ConnectionState::Reconnecting } else { ConnectionState::Connecting };
        self.set_state(state).await;
        let config = VoiceConfig {
            endpoint,
            guild: self.guild,
            channel: Some(self.channel),
            user,
            session,
            token,
            trust: self.gateway_config.trust.clone(),
            // Whoever wants a certain mode wants to see all there are.
            retired_modes: self.encryption.is_some(),
        };
        self.deadline = Some(Instant::now() + self.patience);
        let at = (config.endpoint.clone(), self.channel);
        let before = self.voice.replace(VoiceSignalling::connect(config));
        let before_at = self.voice_at.replace(at.clone());
        // Another channel is heard from its server alone.
        let goes_on = before_at.is_some_and(|(endpoint, channel)| endpoint != at.0 && channel == at.1);
        match (before, self.stream) {
            (Some((voice, events)), Some((ssrc, _))) if was_connected && goes_on => {
                self.former = Some(Former { ssrc, events, _voice: voice });
            }
            _ if goes_on => {}
            _ => self.former = None,
        }
    }

    fn handle_former(&mut self, event: Option<VoiceEvent>) -> Next {
        match event {
            Some(VoiceEvent::Speaking(said)) => {
                self.media.send(MediaCommand::Speaker { ssrc: Ssrc(said.ssrc), user: said.user_id });
            }
            // It is not mended: there is another.
            Some(VoiceEvent::Ended(_) | VoiceEvent::Interrupted) | None => self.former = None,
            Some(_) => {}
        }
        Next::GoOn
    }

    async fn handle_voice(&mut self, event: Option<VoiceEvent>) -> Next {
        match event {
            None => self.voice = None,
            Some(VoiceEvent::Ready(ready)) => return self.handle_ready(&ready),
            Some(VoiceEvent::Description(description)) => self.handle_description(&description).await,
            Some(VoiceEvent::Speaking(said)) => {
                self.media.send(MediaCommand::Speaker { ssrc: Ssrc(said.ssrc), user: said.user_id });
                self.tell(ClientEvent::Speaking { user: said.user_id, flags: said.speaking }).await;
            }
            // Of a browser's transport: never asked for.
            Some(VoiceEvent::WebRtcDescription(_)) => {}
            Some(VoiceEvent::Opened | VoiceEvent::Joined(_) | VoiceEvent::Left(_)) => {}
            Some(VoiceEvent::Interrupted) if self.joined => {
                self.set_state(ConnectionState::Reconnecting).await
            }
            Some(VoiceEvent::Interrupted) => {}
            Some(VoiceEvent::Resumed) => {
                self.reconnects += 1;
                self.set_state(ConnectionState::Connected).await;
            }
            Some(VoiceEvent::Ended(end)) => {
                tracing::info!(?end, "voice connection ended");
                self.voice = None;
                if self.joined {
                    self.set_state(ConnectionState::Reconnecting).await;
                }
                let wait = match end {
                    VoiceEnd::Disconnected => MOVE_TIMEOUT,
                    VoiceEnd::Lost { .. } => self.retry.next(),
                };
                self.deadline = Some(Instant::now() + wait);
            }
        }
        Next::GoOn
    }

    fn handle_ready(&mut self, ready: &Ready) -> Next {
        let offered = || ready.modes.iter().filter_map(|name| name.parse::<Mode>().ok());
        let chosen = match self.encryption {
            Some(wanted) => offered().find(|mode| *mode == wanted),
            None => offered().next(),
        };
        let Some(mode) = chosen else {
            let wanted = self.encryption.map_or("of any kind known here", Mode::name);
            return Next::Fail(ClientError::EncryptionNotOffered { wanted, offered: ready.modes.join(", ") });
        };
        self.stream = Some((Ssrc(ready.ssrc), mode));
        self.ready = true;
        let server = SocketAddr::from((ready.ip, ready.port));
        let takes_over = self.former.is_some();
        self.media.send(MediaCommand::Connect { ssrc: Ssrc(ready.ssrc), server, takes_over });
        Next::GoOn
    }

    async fn handle_description(&mut self, description: &SessionDescription) {
        let (Some((ssrc, _)), Ok(mode)) = (self.stream, description.mode.parse::<Mode>()) else {
            tracing::warn!(mode = description.mode, "a session description that nobody asked for");
            return;
        };
        let key = Key::new(description.secret_key.0);
        self.media.send(MediaCommand::Keys { ssrc, mode, key });
        self.deadline = None;
        self.retry.reset();
        // Without a READY before it this is only a new key.
        let new_connection = std::mem::take(&mut self.ready);
        if self.joined {
            self.reconnects += u32::from(new_connection);
        } else {
            self.joined = true;
            let after = self.asked_at.map(|at| at.elapsed()).unwrap_or_default();
            let voice_bytes = self.voice.as_ref().map_or(0, |(voice, _)| voice.bytes());
            self.tell(ClientEvent::Joined { after, mode, voice_bytes }).await;
        }
        // IP discovery has gone there and back, or the server would not have been told our address.
        self.set_state(ConnectionState::Connected).await;
    }

    async fn handle_media(&mut self, event: MediaEvent) -> Next {
        match (event, &self.voice, self.stream) {
            (MediaEvent::Discovered { ssrc, ip, port }, Some((voice, _)), Some((current, mode)))
                if ssrc == current =>
            {
                voice.select_protocol(ip.to_string(), port, mode).await;
            }
            (MediaEvent::Speaking(on), Some((voice, _)), Some((ssrc, _))) => {
                voice.speaking(if on { speaking::VOICE } else { 0 }, ssrc.0).await;
            }
            (MediaEvent::FormerEnded(ssrc), ..) => {
                self.former.take_if(|former| former.ssrc == ssrc);
            }
            (MediaEvent::SourceEnded, ..) => self.tell(ClientEvent::SourceEnded).await,
            (MediaEvent::Discovered { .. } | MediaEvent::Speaking(_) | MediaEvent::Connected, ..) => {}
        }
        Next::GoOn
    }

    async fn handle_deadline(&mut self) -> Next {
        if !self.joined && !self.admitted && self.voice.is_none() {
            return Next::Fail(ClientError::NoAnswer(self.patience));
        }
        self.voice = None;
        self.ask_again().await;
        Next::GoOn
    }

    async fn handle_command(&mut self, command: Command) -> Next {
        match command {
            Command::Mute { mute, deaf } => {
                (self.self_mute, self.self_deaf) = (mute, deaf);
                self.media.send(MediaCommand::Mute(mute));
                self.gateway.set_voice_state(self.guild, Some(self.channel), mute, deaf).await;
            }
            Command::PushToTalk(down) => self.media.send(MediaCommand::PushToTalk(down)),
            Command::Volume { user, volume } => self.media.send(MediaCommand::Volume { user, volume }),
            Command::Move(channel) => {
                self.channel = channel;
                self.gateway.set_voice_state(self.guild, Some(channel), self.self_mute, self.self_deaf).await;
            }
            Command::Leave(reply) => return Next::Leave(reply),
        }
        Next::GoOn
    }

    /// We are in the channel, but not at a voice server. To a wish that is fulfilled the gateway says nothing for as long as the voice server
    /// waits for us, which is a minute; so the server is what we ask for. If that is not answered, perhaps we are in the channel no more.
    async fn ask_again(&mut self) {
        self.suspects = self.admitted && !self.suspects;
        if !self.suspects {
            return self.ask().await;
        }
        self.deadline = Some(Instant::now() + self.patience);
        self.gateway.suspect_voice_server(self.guild).await;
    }

    /// Asks the gateway for a place in the channel, and waits for the answer for a while.
    async fn ask(&mut self) {
        let now = Instant::now();
        self.asked_at.get_or_insert(now);
        self.deadline = Some(now + self.patience);
        self.gateway.set_voice_state(self.guild, Some(self.channel), self.self_mute, self.self_deaf).await;
    }

    async fn leave(self) -> Stay {
        self.gateway.set_voice_state(self.guild, None, false, false).await;
        if let Some((voice, _)) = self.voice {
            voice.close().await;
        }
        let media = self.media.stop().await;
        self.gateway.close().await;
        Stay { media, reconnects: self.reconnects }
    }

    async fn set_state(&mut self, state: ConnectionState) {
        if self.state != state {
            self.state = state;
            self.tell(ClientEvent::State(state)).await;
        }
    }

    async fn tell(&self, event: ClientEvent) {
        // Nobody listens any more: the handle is about to be dropped too.
        let _ = self.events.send(event).await;
    }
}

/// The connection to the voice server before.
struct Former {
    /// Our stream there.
    ssrc: Ssrc,
    events: VoiceEvents,
    /// Keeps it open.
    _voice: VoiceSignalling,
}

async fn next_former_event(former: &mut Option<Former>) -> Option<VoiceEvent> {
    match former {
        Some(former) => former.events.recv().await,
        None => std::future::pending().await,
    }
}

async fn next_voice_event(voice: &mut Option<(VoiceSignalling, VoiceEvents)>) -> Option<VoiceEvent> {
    match voice {
        Some((_, events)) => events.recv().await,
        None => std::future::pending().await,
    }
}

/// A day: for a timer that is not set.
fn far_away() -> Instant {
    Instant::now() + Duration::from_secs(86_400)
}
