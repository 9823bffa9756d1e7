//! Arguments of `guildhall talk` and `guildhall compare`.

use std::path::PathBuf;

use anyhow::{Context as _, bail};
use engine::talk::{TalkOptions, TalkReport, TalkSource};
use engine::{ConnectionState, Token};
use serde_json::{Value, json};
use transport::Mode;

/// Joins a voice channel without a window: plays a file, a tone or the microphone, records what it hears
#[derive(Debug, clap::Args)]
pub struct Talk {
    /// `http://host:port` of the server
    #[arg(long, value_name = "URL", env = "GUILDHALL_SERVER", required_unless_present = "demo")]
    server: Option<String>,
    /// The account's token
    #[arg(
        long,
        value_name = "T",
        env = "GUILDHALL_TOKEN",
        hide_env_values = true,
        required_unless_present = "demo"
    )]
    token: Option<String>,
    #[arg(long, value_name = "G", required_unless_present = "demo")]
    guild: Option<u64>,
    #[arg(long, value_name = "C", required_unless_present = "demo")]
    channel: Option<u64>,
    /// A server's data folder on this machine with a demonstration in it: everything above is read from it
    #[arg(long, value_name = "DIR")]
    demo: Option<PathBuf>,
    /// With --demo: the account with this number, from 0
    #[arg(long = "as", value_name = "N", default_value_t = 0, requires = "demo")]
    account: usize,
    /// A WAV or Ogg Opus file to say
    #[arg(long, value_name = "FILE", group = "source")]
    play: Option<PathBuf>,
    /// Say the file again and again
    #[arg(long, requires = "play")]
    again: bool,
    /// A sine tone to send
    #[arg(long, value_name = "HZ", group = "source")]
    tone: Option<f32>,
    /// The microphone
    #[arg(long, group = "source")]
    mic: bool,
    /// What is heard is played on the default output
    #[arg(long)]
    speakers: bool,
    /// Everything heard goes into this folder: USER.wav for each speaker, mix.wav for all
    #[arg(long, value_name = "DIR")]
    record: Option<PathBuf>,
    /// Leave after so long; otherwise when the file has been said, or at Ctrl-C
    #[arg(long, value_name = "S")]
    seconds: Option<f32>,
    /// Encryption mode; otherwise the first the server offers
    #[arg(long, value_name = "MODE")]
    encryption: Option<Mode>,
    /// Send everything but digital silence, instead of what is held to be voice (a tone always does)
    #[arg(long)]
    always_send: bool,
    /// Loudness of everything heard
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0)]
    volume: f32,
    /// The authority that signed the voice server's certificate, if it is none of the system's
    #[arg(long, value_name = "FILE", env = "GUILDHALL_CA")]
    ca: Option<PathBuf>,
    /// Print the report, and a line when the voice connection stands, as JSON
    #[arg(long)]
    json: bool,
}

/// Where to and as whom.
struct Place {
    server: String,
    token: String,
    guild: u64,
    channel: u64,
    ca: Option<PathBuf>,
}

impl Talk {
    pub async fn run(self) -> anyhow::Result<()> {
        let place = self.place()?;
        let mut options = TalkOptions::new(
            place.server,
            Token::new(place.token),
            model::GuildId(place.guild),
            model::ChannelId(place.channel),
        );
        options.ca = place.ca;
        options.again = self.again;
        options.always_send = self.always_send || self.tone.is_some();
        options.record = self.record;
        options.speakers = self.speakers;
        options.volume = self.volume;
        options.seconds = self.seconds;
        options.encryption = self.encryption;
        options.source = match (self.play, self.tone, self.mic) {
            (Some(file), ..) => TalkSource::File(file),
            (_, Some(hz), _) => TalkSource::Tone { hz },
            (_, _, true) => TalkSource::Microphone,
            _ => TalkSource::Nothing,
        };
        let as_json = self.json;
        let (states, mut changes) = tokio::sync::mpsc::unbounded_channel();
        options.states = Some(states);
        let told = tokio::spawn(async move {
            while let Some(state) = changes.recv().await {
                match as_json {
                    true => println!("{}", json!({"event": name(state)})),
                    false => eprintln!("{}", name(state).replace('_', " ")),
                }
            }
        });
        let report = engine::talk::run_until_interrupted(options).await?;
        // The sender is gone with the run, so this ends; the report comes last.
        told.await?;
        match as_json {
            true => println!("{}", serde_json::to_string(&report)?),
            false => print!("{}", in_words(&report)),
        }
        Ok(())
    }

    fn place(&self) -> anyhow::Result<Place> {
        let Some(folder) = &self.demo else {
            // The argument parser has seen to it that these are there.
            let missing = "one of --server, --token, --guild, --channel is missing";
            return Ok(Place {
                server: self.server.clone().context(missing)?,
                token: self.token.clone().context(missing)?,
                guild: self.guild.context(missing)?,
                channel: self.channel.context(missing)?,
                ca: self.ca.clone(),
            });
        };
        let file = folder.join("demo.json");
        let text = std::fs::read_to_string(&file)
            .with_context(|| format!("no {}: start the server with --demo 3", file.display()))?;
        let demo: Value =
            serde_json::from_str(&text).with_context(|| format!("{} is damaged", file.display()))?;
        let Some(user) = demo["users"].get(self.account) else {
            bail!(
                "the demonstration has {} accounts, from 0 on",
                demo["users"].as_array().map_or(0, Vec::len)
            );
        };
        let channels = demo["channels"].as_array().context("demo.json lists no channels")?;
        let voice =
            channels.iter().find(|c| c["type"] == 2).context("the demonstration has no voice channel")?;
        let id =
            |value: &Value| value.as_str().and_then(|s| s.parse().ok()).context("demo.json has a wrong id");
        Ok(Place {
            server: operator::running_server(folder)?,
            token: operator::text(user, "token")?,
            guild: self.guild.map_or_else(|| id(&demo["guild"]), Ok)?,
            channel: self.channel.map_or_else(|| id(&voice["id"]), Ok)?,
            ca: Some(folder.join("ca.pem")),
        })
    }
}

/// The protocol's words for how a connection stands.
fn name(state: ConnectionState) -> &'static str {
    match state {
        ConnectionState::Disconnected => "disconnected",
        ConnectionState::AwaitingEndpoint => "awaiting_endpoint",
        ConnectionState::Connecting => "connecting",
        ConnectionState::Connected => "connected",
        ConnectionState::Reconnecting => "reconnecting",
    }
}

fn in_words(report: &TalkReport) -> String {
    let mut text = format!(
        "joined in {:.0} ms ({}), sent {} packets, reconnected {} times\n",
        report.joined_ms, report.mode, report.sent, report.reconnects
    );
    for stream in &report.streams {
        let who = stream.user.map_or_else(|| "somebody".to_owned(), |user| user.to_string());
        text += &format!(
            "heard {who}: {} packets, {} lost, longest gap {:.0} ms\n",
            stream.received, stream.lost, stream.longest_gap_ms
        );
    }
    text
}

/// How much of one recording is in another: aligned in time, frame by frame
#[derive(Debug, clap::Args)]
pub struct Compare {
    /// What was said
    original: PathBuf,
    /// What was heard
    heard: PathBuf,
}

impl Compare {
    pub fn run(self) -> anyhow::Result<()> {
        let original =
            engine::audio::load(&self.original).with_context(|| self.original.display().to_string())?;
        let heard = engine::audio::load(&self.heard).with_context(|| self.heard.display().to_string())?;
        let likeness = engine::analysis::compare(&original, &heard);
        let result = json!({
            "frames": likeness.frames,
            "matched": likeness.matched,
            "fraction": likeness.fraction,
            "mean_correlation": likeness.mean_correlation,
            "lag_ms": likeness.lag_samples as f64 / 48.0,
        });
        println!("{result}");
        Ok(())
    }
}
