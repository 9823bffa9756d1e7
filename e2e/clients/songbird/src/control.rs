//! The control protocol: commands read from standard input, events written to standard output, one JSON object a line.
//! `e2e/clients/README.md` describes it for all bots.

use std::io::Write;
use std::sync::LazyLock;
use std::time::Instant;

use serde::{Deserialize, Serialize};

#[derive(Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum Command {
    Join { channel: Id },
    Leave,
    Tone { hz: f32, on: bool },
    Hear { seconds: f64 },
    CutVoiceWs,
    CutGatewayWs,
    State,
    Quit,
}

/// Ids travel as decimal strings, as in the public protocol.
#[derive(Deserialize)]
#[serde(try_from = "String")]
pub struct Id(pub u64);

impl TryFrom<String> for Id {
    type Error = std::num::ParseIntError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse().map(Self)
    }
}

#[derive(Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    Ready { user: String },
    Guild { id: String, channels: usize, members: usize },
    Joined { channel: String, mode: Option<&'static str> },
    Moved { channel: String, mode: Option<&'static str> },
    VoiceState { user: String, channel: Option<String>, mute: bool, deaf: bool },
    Speaking { user: Option<String>, ssrc: u32 },
    Disconnected { code: Option<u16> },
    VoiceResumed,
    VoiceReconnected,
    Resumed,
    State { channel: Option<String>, connected: bool, mode: Option<&'static str> },
    Heard { streams: Vec<HeardStream> },
    Error { message: String },
}

#[derive(Serialize)]
pub struct HeardStream {
    pub ssrc: u32,
    pub user: Option<String>,
    pub packets: usize,
    pub lost: u64,
    pub seq_first: Option<u16>,
    pub seq_last: Option<u16>,
    pub peaks_hz: Vec<u32>,
    pub rms: f64,
    pub longest_gap_ms: u64,
    pub last_packet_at_ms: f64,
    pub lost_ever: u64,
}

/// When something was told, by the bot's own clock.
#[derive(Serialize)]
struct Stamped<'a> {
    #[serde(flatten)]
    event: &'a Event,
    at_ms: f64,
}

/// The bot's clock; it starts with its first use.
pub fn at_ms(moment: Instant) -> f64 {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    moment.saturating_duration_since(*START).as_secs_f64() * 1_000.0
}

pub fn emit(event: &Event) {
    let stamped = Stamped { event, at_ms: at_ms(Instant::now()) };
    let mut line = serde_json::to_string(&stamped).expect("events have only string keys");
    line.push('\n');
    // A test that is gone takes its bot with it.
    if std::io::stdout().lock().write_all(line.as_bytes()).is_err() {
        std::process::exit(0);
    }
}
