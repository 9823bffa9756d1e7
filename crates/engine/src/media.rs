//! The media thread: one UDP socket, the 20 ms beat, and [`engine_core::Session`] between them.
//!
//! It has a thread and a timer of its own, so that nothing else the process does delays a packet. The beat is a
//! schedule of absolute times: what comes late does not move what follows.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use engine_core::{
    CaptureMode, Discovery, Dropped, Event, FRAME, Keys, SILENCE, SenderConfig, SenderStats, Session,
    SessionConfig, StreamStats,
};
use model::UserId;
use rtp_wire::Ssrc;
use tokio::net::UdpSocket;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use transport::{Key, Mode, NonceCounter};

use crate::audio::{AudioError, Microphone, Output, Recorder, Source};
use crate::limits::{CATCH_UP_FRAMES, FORMER_FOR};

/// What is said.
#[derive(Default)]
pub enum Play {
    #[default]
    Nothing,
    /// 48 kHz mono, once.
    Samples(Arc<[f32]>),
    /// The same again and again; what does not fill the last frame of it is silence.
    Again(Arc<[f32]>),
    Tone {
        hz: f32,
    },
    Microphone(Microphone),
}

pub struct MediaConfig {
    pub capture: CaptureMode,
    pub bits_per_second: u32,
    pub expected_loss_percent: u8,
    pub play: Play,
    pub recorder: Option<Recorder>,
    pub output: Option<Output>,
    pub muted: bool,
    /// Of everything that is heard; 1.0 is as it was sent.
    pub volume: f32,
}

impl Default for MediaConfig {
    fn default() -> Self {
        let sender = SenderConfig::default();
        Self {
            capture: sender.mode,
            bits_per_second: sender.bits_per_second,
            expected_loss_percent: sender.expected_loss_percent,
            play: Play::Nothing,
            recorder: None,
            output: None,
            muted: false,
            volume: 1.0,
        }
    }
}

/// The numbers at the end.
#[derive(Debug)]
pub struct MediaReport {
    pub sender: SenderStats,
    pub streams: Vec<StreamStats>,
    pub dropped: Dropped,
    /// Everything: speech, keepalives, discovery.
    pub datagrams_sent: u64,
    pub datagrams_received: u64,
    /// Frames that are silent in the recording because the disk was too slow.
    pub unrecorded_frames: u64,
    pub recording_error: Option<AudioError>,
}

pub(crate) enum Command {
    /// A voice server is ready for us at this address.
    Connect {
        ssrc: Ssrc,
        server: SocketAddr,
        /// From one that serves us until we are there.
        takes_over: bool,
    },
    Keys {
        ssrc: Ssrc,
        mode: Mode,
        key: Key,
    },
    Speaker {
        ssrc: Ssrc,
        user: UserId,
    },
    Volume {
        user: UserId,
        volume: f32,
    },
    Mute(bool),
    PushToTalk(bool),
    Stop,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum MediaEvent {
    Discovered {
        ssrc: Ssrc,
        ip: IpAddr,
        port: u16,
    },
    /// The first authentic packet arrived.
    Connected,
    /// The server where our stream was this one is not listened to any more.
    FormerEnded(Ssrc),
    Speaking(bool),
    /// Everything there was to say has been said, the silence frames after it too.
    SourceEnded,
}

pub(crate) struct Media {
    commands: UnboundedSender<Command>,
    thread: JoinHandle<MediaReport>,
}

impl Media {
    /// Neither queue can grow without bound: commands and events come from a person's clicks, the server's few
    /// messages and changes of speech, and both sides take them at once.
    pub(crate) fn start(config: MediaConfig) -> std::io::Result<(Self, UnboundedReceiver<MediaEvent>)> {
        let (commands, received) = unbounded_channel();
        let (events, reported) = unbounded_channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let thread = std::thread::Builder::new()
            .name("media".to_owned())
            .spawn(move || runtime.block_on(Shell::new(config, events).run(received)))?;
        Ok((Self { commands, thread }, reported))
    }

    pub(crate) fn send(&self, command: Command) {
        // The thread ends only by being told to.
        let _ = self.commands.send(command);
    }

    pub(crate) async fn stop(self) -> MediaReport {
        self.send(Command::Stop);
        let joined = tokio::task::spawn_blocking(move || self.thread.join()).await;
        joined.expect("joining a thread does not panic").expect("the media thread does not panic")
    }
}

/// A connection that is being made, while an older one may still carry sound.
struct Pending {
    ssrc: Ssrc,
    takes_over: bool,
    socket: UdpSocket,
    discovery: Discovery,
}

struct Former {
    ssrc: Ssrc,
    socket: UdpSocket,
    until: Instant,
}

struct Shell {
    /// Of the current server.
    ssrc: Option<Ssrc>,
    sender: SenderConfig,
    volume: f32,
    volumes: BTreeMap<UserId, f32>,
    muted: bool,
    key_down: bool,
    source: Source,
    recorder: Option<Recorder>,
    output: Option<Output>,
    events: UnboundedSender<MediaEvent>,
    session: Option<Session>,
    socket: Option<UdpSocket>,
    pending: Option<Pending>,
    /// To the server before.
    former: Option<Former>,
    /// Once there is a session, the schedule of frames.
    beat_at: Option<Instant>,
    source_ended: bool,
    datagrams_sent: u64,
    datagrams_received: u64,
}

impl Shell {
    fn new(config: MediaConfig, events: UnboundedSender<MediaEvent>) -> Self {
        Self {
            ssrc: None,
            sender: SenderConfig {
                mode: config.capture,
                bits_per_second: config.bits_per_second,
                expected_loss_percent: config.expected_loss_percent,
                first_seq: rand::random(),
                first_time: rand::random(),
            },
            volume: config.volume,
            volumes: BTreeMap::new(),
            muted: config.muted,
            key_down: false,
            source: Source::new(config.play),
            recorder: config.recorder,
            output: config.output,
            events,
            session: None,
            socket: None,
            pending: None,
            former: None,
            beat_at: None,
            source_ended: false,
            datagrams_sent: 0,
            datagrams_received: 0,
        }
    }

    async fn run(mut self, mut commands: UnboundedReceiver<Command>) -> MediaReport {
        let mut buf = [0; 2048];
        let mut pending_buf = [0; 2048];
        let mut former_buf = [0; 2048];
        loop {
            let wake_at = self.wake_at();
            tokio::select! {
                received = receive(self.socket.as_ref(), &mut buf) => {
                    // An error is an ICMP message about an earlier packet: the server may be back already.
                    if let Ok(len) = received {
                        self.handle_datagram(&mut buf[..len]);
                    }
                }
                received = receive(self.pending.as_ref().map(|p| &p.socket), &mut pending_buf) => {
                    if let Ok(len) = received {
                        self.handle_discovery(&pending_buf[..len]);
                    }
                }
                received = receive(self.former.as_ref().map(|former| &former.socket), &mut former_buf) => {
                    if let Ok(len) = received {
                        self.handle_former_datagram(&mut former_buf[..len]);
                    }
                }
                command = commands.recv() => match command {
                    None | Some(Command::Stop) => return self.report(),
                    Some(command) => self.handle_command(command),
                },
                () = sleep_until(wake_at) => self.handle_time(&mut buf),
            }
            self.flush();
        }
    }

    fn wake_at(&self) -> Option<Instant> {
        let keepalive = self.session.as_ref().and_then(Session::poll_timeout).map(|(at, _)| at);
        let discovery = self.pending.as_ref().and_then(|p| p.discovery.poll_timeout()).map(|(at, _)| at);
        let former = self.former.as_ref().map(|former| former.until);
        [self.beat_at, keepalive, discovery, former].into_iter().flatten().min()
    }

    fn handle_command(&mut self, command: Command) {
        match command {
            Command::Connect { ssrc, server, takes_over } => self.connect(ssrc, server, takes_over),
            Command::Keys { ssrc, mode, key } => self.install(ssrc, mode, &key),
            Command::Stop => {}
            Command::Speaker { ssrc, user } => self.with_session(|session| session.set_speaker(ssrc, user)),
            Command::Volume { user, volume } => {
                self.volumes.insert(user, volume);
                self.with_session(|session| session.set_volume(user, volume));
            }
            Command::Mute(muted) => {
                self.muted = muted;
                self.with_session(|session| session.set_muted(muted));
            }
            Command::PushToTalk(down) => {
                self.key_down = down;
                self.with_session(|session| session.set_push_to_talk(down));
            }
        }
    }

    fn with_session(&mut self, act: impl FnOnce(&mut Session)) {
        if let Some(session) = &mut self.session {
            act(session);
        }
    }

    fn connect(&mut self, ssrc: Ssrc, server: SocketAddr, takes_over: bool) {
        match open_socket(server) {
            Ok(socket) => {
                let discovery = Discovery::new(Instant::now(), ssrc);
                self.pending = Some(Pending { ssrc, takes_over, socket, discovery });
            }
            Err(error) => tracing::warn!(%error, "no socket for media"),
        }
    }

    fn install(&mut self, ssrc: Ssrc, mode: Mode, key: &Key) {
        let now = Instant::now();
        let security =
            transport::Session::new(mode, key, NonceCounter::client(rand::random()), rand::random());
        let Some(pending) = self.pending.take_if(|pending| pending.ssrc == ssrc) else {
            // The server thinks it is time for a new key for the connection there is.
            return self.with_session(|session| session.rekey(now, security));
        };
        self.end_former();
        let before = self.ssrc.replace(ssrc).zip(self.socket.replace(pending.socket));
        let former = before.filter(|_| pending.takes_over);
        let keys = Keys { ssrc, security };
        match (&mut self.session, former) {
            (Some(session), Some((ssrc, socket))) => {
                session.take_over(now, keys);
                self.former = Some(Former { ssrc, socket, until: now + FORMER_FOR });
            }
            (Some(session), None) => session.replace_keys(now, keys),
            (None, _) => {
                self.session = Some(self.first_session(now, keys));
                self.beat_at = Some(now);
            }
        }
    }

    /// With everything that was set while there was none.
    fn first_session(&self, now: Instant, keys: Keys) -> Session {
        let mut session = Session::new(now, &SessionConfig { sender: self.sender.clone() }, keys);
        session.set_master_volume(self.volume);
        session.set_muted(self.muted);
        session.set_push_to_talk(self.key_down);
        self.volumes.iter().for_each(|(user, volume)| session.set_volume(*user, *volume));
        session
    }

    fn handle_datagram(&mut self, datagram: &mut [u8]) {
        self.datagrams_received += 1;
        self.with_session(|session| session.handle_datagram(Instant::now(), datagram));
    }

    fn handle_former_datagram(&mut self, datagram: &mut [u8]) {
        self.datagrams_received += 1;
        self.with_session(|session| session.handle_former_datagram(Instant::now(), datagram));
    }

    fn end_former(&mut self) {
        if let Some(Former { ssrc, .. }) = self.former.take() {
            self.with_session(Session::end_former);
            let _ = self.events.send(MediaEvent::FormerEnded(ssrc));
        }
    }

    fn handle_discovery(&mut self, datagram: &[u8]) {
        self.datagrams_received += 1;
        let Some(pending) = &mut self.pending else { return };
        if let Some(answer) = pending.discovery.handle_datagram(datagram) {
            let event = MediaEvent::Discovered { ssrc: pending.ssrc, ip: answer.ip, port: answer.port };
            let _ = self.events.send(event);
        }
    }

    fn handle_time(&mut self, buf: &mut [u8]) {
        let now = Instant::now();
        if let Some(pending) = &mut self.pending
            && let Some(request) = pending.discovery.poll_transmit(now)
            && pending.socket.try_send(&request).is_ok()
        {
            self.datagrams_sent += 1;
        }
        self.with_session(|session| session.handle_timeout(now));
        if self.former.as_ref().is_some_and(|former| former.until <= now) {
            self.end_former();
        }
        let Some(due) = self.beat_at.filter(|at| *at <= now) else { return };
        // What has arrived is heard in this frame, however late we were woken for it.
        while let Some(len) = self.socket.as_ref().and_then(|socket| socket.try_recv(buf).ok()) {
            self.handle_datagram(&mut buf[..len]);
        }
        let behind = (now - due).as_nanos() / FRAME.as_nanos();
        let frames = u32::try_from(behind + 1).unwrap_or(u32::MAX);
        if frames > CATCH_UP_FRAMES {
            // The machine slept. There is nothing to make up for.
            self.beat_at = Some(now + FRAME);
            return self.beat(now);
        }
        (0..frames).for_each(|_| self.beat(now));
        self.beat_at = Some(due + FRAME * frames);
    }

    /// One frame of what we say and one of what we hear.
    fn beat(&mut self, now: Instant) {
        let Some(session) = &mut self.session else { return };
        session.handle_capture(&self.source.next());
        let mut mix = SILENCE;
        let recorder = &mut self.recorder;
        session.mix(now, &mut mix, |source, frame| {
            if let Some(recorder) = recorder {
                recorder.speaker(source, frame);
            }
        });
        if let Some(recorder) = &mut self.recorder {
            recorder.mix(&mix);
        }
        if let Some(output) = &mut self.output {
            output.write(&mix);
        }
        if !self.source_ended && self.source.has_ended() && !session.is_speaking() {
            self.source_ended = true;
            let _ = self.events.send(MediaEvent::SourceEnded);
        }
    }

    /// Sends what the machine has made. Speech that does not fit into the socket's buffer is lost, as on the way.
    fn flush(&mut self) {
        let (Some(session), Some(socket)) = (&mut self.session, &self.socket) else { return };
        while let Some(datagram) = session.poll_transmit() {
            self.datagrams_sent += u64::from(socket.try_send(&datagram).is_ok());
        }
        while let (Some(datagram), Some(former)) = (session.poll_former_transmit(), &self.former) {
            self.datagrams_sent += u64::from(former.socket.try_send(&datagram).is_ok());
        }
        while let Some(event) = session.poll_event() {
            let event = match event {
                Event::Speaking(on) => MediaEvent::Speaking(on),
                Event::Connected => MediaEvent::Connected,
            };
            let _ = self.events.send(event);
        }
    }

    fn report(self) -> MediaReport {
        let finished = self.recorder.map_or(Ok(0), Recorder::finish);
        let (unrecorded_frames, recording_error) = match finished {
            Ok(dropped) => (dropped, None),
            Err(error) => (0, Some(error)),
        };
        let session = self.session.as_ref();
        MediaReport {
            sender: session.map(Session::sender_stats).unwrap_or_default(),
            streams: session.map(|s| s.stream_stats().collect()).unwrap_or_default(),
            dropped: session.map(Session::dropped).unwrap_or_default(),
            datagrams_sent: self.datagrams_sent,
            datagrams_received: self.datagrams_received,
            unrecorded_frames,
            recording_error,
        }
    }
}

fn open_socket(server: SocketAddr) -> std::io::Result<UdpSocket> {
    let any: IpAddr = match server {
        SocketAddr::V4(_) => std::net::Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => std::net::Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = std::net::UdpSocket::bind((any, 0))?;
    // Only the server's packets reach a connected socket, and its absence is reported.
    socket.connect(server)?;
    socket.set_nonblocking(true)?;
    UdpSocket::from_std(socket)
}

async fn receive(socket: Option<&UdpSocket>, buf: &mut [u8]) -> std::io::Result<usize> {
    match socket {
        Some(socket) => socket.recv(buf).await,
        None => std::future::pending().await,
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => tokio::time::sleep(Duration::MAX).await,
    }
}
