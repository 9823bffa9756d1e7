//! `guildhall talk`: one participant without a window. Says a file, a tone or the microphone, records what it hears,
//! and reports its numbers.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use engine_core::{CaptureMode, StreamStats};
use model::{ChannelId, GuildId, UserId};
use serde::Serialize;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use transport::Mode;

use crate::audio::{self, AudioError, DeviceError, DeviceStream, Recorder};
use crate::limits::JOIN_TIMEOUT;
use crate::{
    Client, ClientConfig, ClientError, ClientEvent, ConnectionState, GatewayConfig, MediaConfig, Play,
    RestError, Stay, Token, Trust, TrustError,
};

/// What is to be said.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum TalkSource {
    #[default]
    Nothing,
    File(PathBuf),
    Tone {
        hz: f32,
    },
    Microphone,
}

#[derive(Debug, Clone)]
pub struct TalkOptions {
    /// Base of the REST interface, such as `http://127.0.0.1:8080`.
    pub server: String,
    pub token: Token,
    pub guild: GuildId,
    pub channel: ChannelId,
    pub source: TalkSource,
    /// Send everything but digital silence, instead of what is held to be voice.
    pub always_send: bool,
    /// The file is said again and again, and does not end the run.
    pub again: bool,
    /// A WAV file for each speaker, and the mix.
    pub record: Option<PathBuf>,
    /// Play the mix on the default output.
    pub speakers: bool,
    pub volume: f32,
    /// Counted from having joined. None: until the file has been said, or until stopped.
    pub seconds: Option<f32>,
    pub encryption: Option<Mode>,
    /// Whose certificates to believe instead of the system's authorities.
    pub ca: Option<PathBuf>,
    pub bits_per_second: u32,
    /// How long an answer may take before it counts as a refusal.
    pub patience: Duration,
    /// Told every change of the connection's state, for whoever shows it.
    pub states: Option<mpsc::UnboundedSender<ConnectionState>>,
}

impl TalkOptions {
    #[must_use]
    pub fn new(server: impl Into<String>, token: Token, guild: GuildId, channel: ChannelId) -> Self {
        Self {
            server: server.into(),
            token,
            guild,
            channel,
            source: TalkSource::Nothing,
            always_send: false,
            again: false,
            record: None,
            speakers: false,
            volume: 1.0,
            seconds: None,
            encryption: None,
            ca: None,
            bits_per_second: 64_000,
            patience: JOIN_TIMEOUT,
            states: None,
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum TalkError {
    #[error(transparent)]
    Rest(#[from] RestError),
    #[error(transparent)]
    Trust(#[from] TrustError),
    #[error(transparent)]
    Audio(#[from] AudioError),
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(transparent)]
    Device(#[from] DeviceError),
}

/// The numbers of one run. Fields are added, never changed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TalkReport {
    /// From the wish to join to the voice connection.
    pub joined_ms: f64,
    /// RTP packets sent, the silence frames that end speech included.
    pub sent: u64,
    pub streams: Vec<StreamReport>,
    pub reconnects: u32,
    /// The encryption.
    pub mode: &'static str,
    pub silence_packets: u64,
    /// How often speech began.
    pub bursts: u64,
    /// Everything: speech, keepalives, discovery.
    pub sent_datagrams: u64,
    pub received_datagrams: u64,
    /// Datagrams received that were not taken, for any reason.
    pub dropped_datagrams: u64,
    /// Payload of the voice WebSocket, both ways, up to the voice connection.
    pub join_bytes: u64,
    pub unrecorded_frames: u64,
}

/// What was heard of one user.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StreamReport {
    /// None when the server never said whose stream it was.
    pub user: Option<UserId>,
    pub received: u64,
    /// By the extended sequence number.
    pub lost: u64,
    /// Between two packets, within speech.
    pub longest_gap_ms: f64,
    pub late: u64,
    pub concealed: u64,
    pub fec_recovered: u64,
    pub duplicates: u64,
    pub discarded: u64,
    pub silence_packets: u64,
    pub jitter_ms: f64,
    pub target_delay_ms: f64,
}

/// Runs until `stop` says so, the file has been said, or the time is over. Whatever was recorded is complete when this
/// returns, after an error too.
pub async fn run(options: TalkOptions, stop: impl Future<Output = ()>) -> Result<TalkReport, TalkError> {
    let trust = match &options.ca {
        Some(path) => Trust::only(path)?,
        None => Trust::system(),
    };
    let (media, _devices) = media_config(&options)?;
    let url = crate::gateway_url(&options.server, &trust).await?;
    let config = ClientConfig {
        gateway: GatewayConfig { url, token: options.token.clone(), trust, all_dispatches: false },
        guild: options.guild,
        channel: options.channel,
        encryption: options.encryption,
        self_mute: false,
        self_deaf: false,
        patience: options.patience,
        media,
    };
    let (client, events) = Client::join(config)?;
    let mut progress = Progress::default();
    let ended = tokio::select! {
        ended = progress.follow(&options, events) => ended,
        () = stop => Ok(()),
    };
    let stay = client.leave().await;
    ended?;
    let stay = stay.ok_or(ClientError::GatewayGone)?;
    progress.report(stay)
}

/// The same, until Ctrl-C.
pub async fn run_until_interrupted(options: TalkOptions) -> Result<TalkReport, TalkError> {
    run(options, async {
        // Without a signal handler the process simply ends as any other does.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    })
    .await
}

#[derive(Default)]
struct Progress {
    joined: Option<(Duration, Mode, u64)>,
}

impl Progress {
    async fn follow(
        &mut self,
        options: &TalkOptions,
        mut events: mpsc::Receiver<ClientEvent>,
    ) -> Result<(), TalkError> {
        let mut end_at: Option<Instant> = None;
        let ends_with_file =
            options.seconds.is_none() && !options.again && matches!(options.source, TalkSource::File(_));
        loop {
            let event = tokio::select! {
                event = events.recv() => event,
                () = sleep_until(end_at.unwrap_or_else(Instant::now)), if end_at.is_some() => return Ok(()),
            };
            match event {
                None => return Err(ClientError::GatewayGone.into()),
                Some(ClientEvent::Failed(error)) => return Err(error.into()),
                Some(ClientEvent::Joined { after, mode, voice_bytes }) => {
                    tracing::info!(?after, %mode, "voice connected");
                    self.joined = Some((after, mode, voice_bytes));
                    let length = options.seconds.map(|s| Duration::from_secs_f32(s.max(0.0)));
                    end_at = length.map(|length| Instant::now() + length);
                }
                Some(ClientEvent::SourceEnded) if ends_with_file => return Ok(()),
                Some(ClientEvent::State(state)) => {
                    tracing::info!(?state, "connection");
                    if let Some(states) = &options.states {
                        // Nobody has to listen.
                        let _ = states.send(state);
                    }
                }
                Some(ClientEvent::Moved(channel)) => tracing::info!(%channel, "moved"),
                Some(ClientEvent::Speaking { user, flags }) => tracing::debug!(%user, flags, "speaking"),
                Some(ClientEvent::SourceEnded) => {}
            }
        }
    }

    fn report(self, stay: Stay) -> Result<TalkReport, TalkError> {
        let Stay { media, reconnects } = stay;
        if let Some(error) = media.recording_error {
            return Err(error.into());
        }
        let (after, mode, join_bytes) =
            self.joined.map_or((Duration::ZERO, "", 0), |(a, m, b)| (a, m.name(), b));
        let d = media.dropped;
        let dropped_datagrams = d.not_media
            + d.too_short
            + d.replayed
            + d.not_authentic
            + d.reflected
            + d.malformed
            + d.other_payload
            + d.too_many_streams;
        Ok(TalkReport {
            joined_ms: milliseconds(after),
            sent: media.sender.packets,
            streams: by_user(&media.streams),
            reconnects,
            mode,
            silence_packets: media.sender.silence_packets,
            bursts: media.sender.bursts,
            sent_datagrams: media.datagrams_sent,
            received_datagrams: media.datagrams_received,
            dropped_datagrams,
            join_bytes,
            unrecorded_frames: media.unrecorded_frames,
        })
    }
}

/// A user who came back under another stream id is still one user.
fn by_user(streams: &[StreamStats]) -> Vec<StreamReport> {
    let mut known: BTreeMap<UserId, StreamReport> = BTreeMap::new();
    let mut unknown = Vec::new();
    for stats in streams {
        let report = StreamReport::from(stats);
        match stats.user {
            Some(user) => {
                known.entry(user).and_modify(|sum| sum.add(&report)).or_insert(report);
            }
            None => unknown.push(report),
        }
    }
    known.into_values().chain(unknown).collect()
}

impl From<&StreamStats> for StreamReport {
    fn from(stats: &StreamStats) -> Self {
        Self {
            user: stats.user,
            received: stats.received,
            lost: stats.lost,
            longest_gap_ms: milliseconds(stats.longest_gap),
            late: stats.late,
            concealed: stats.concealed,
            fec_recovered: stats.fec_recovered,
            duplicates: stats.duplicates,
            discarded: stats.discarded,
            silence_packets: stats.silence,
            jitter_ms: milliseconds(stats.jitter),
            target_delay_ms: milliseconds(stats.target_delay),
        }
    }
}

impl StreamReport {
    fn add(&mut self, other: &Self) {
        self.received += other.received;
        self.lost += other.lost;
        self.longest_gap_ms = self.longest_gap_ms.max(other.longest_gap_ms);
        self.late += other.late;
        self.concealed += other.concealed;
        self.fec_recovered += other.fec_recovered;
        self.duplicates += other.duplicates;
        self.discarded += other.discarded;
        self.silence_packets += other.silence_packets;
        self.jitter_ms = self.jitter_ms.max(other.jitter_ms);
        self.target_delay_ms = self.target_delay_ms.max(other.target_delay_ms);
    }
}

/// Rounded to microseconds, which is more than can be measured.
fn milliseconds(duration: Duration) -> f64 {
    duration.as_micros() as f64 / 1_000.0
}

/// The second part has to live as long as sound is wanted.
fn media_config(options: &TalkOptions) -> Result<(MediaConfig, Vec<DeviceStream>), TalkError> {
    let mut devices = Vec::new();
    let play = match &options.source {
        TalkSource::Nothing => Play::Nothing,
        TalkSource::File(path) => {
            let samples = Arc::from(audio::load(path)?);
            if options.again { Play::Again(samples) } else { Play::Samples(samples) }
        }
        TalkSource::Tone { hz } => Play::Tone { hz: *hz },
        TalkSource::Microphone => {
            let (microphone, stream) = audio::open_microphone()?;
            devices.push(stream);
            Play::Microphone(microphone)
        }
    };
    let output = if options.speakers {
        let (output, stream) = audio::open_speakers()?;
        devices.push(stream);
        Some(output)
    } else {
        None
    };
    // A tone is no voice to a voice detector.
    let always = options.always_send || matches!(options.source, TalkSource::Tone { .. });
    let media = MediaConfig {
        capture: if always { CaptureMode::Always } else { CaptureMode::VoiceActivity },
        bits_per_second: options.bits_per_second,
        play,
        recorder: options.record.as_deref().map(Recorder::create).transpose()?,
        output,
        volume: options.volume,
        ..MediaConfig::default()
    };
    Ok((media, devices))
}
