//! Arguments of `guildhall load joins`, `storm` and `crowd`: signalling under load.

use std::time::Duration;

use anyhow::{Context as _, bail};
use load::{Compression, CrowdOptions, JoinOptions, Transport};
use transport::Mode;

use crate::load_args::server_pid;
use crate::server_args::Server;

#[derive(Debug, clap::Subcommand)]
pub enum Program {
    /// People who join and leave on a schedule: how long from the click to the first packet that is heard
    Joins(Joins),
    /// Many who come at once, to those who are in already
    Storm(Storm),
    /// Gateway sessions of one guild: what one costs, and how long a change takes to reach them all
    Crowd(Crowd),
}

#[derive(Debug, clap::Args)]
pub struct Joins {
    #[command(flatten)]
    scene: Scene,
    #[arg(long, value_name = "N", default_value_t = 100)]
    per_second: u32,
    #[arg(long, value_name = "S", default_value_t = 20)]
    seconds: u64,
    /// Who come, in turn
    #[arg(long, value_name = "N", default_value_t = 200)]
    people: usize,
    /// How long one stays
    #[arg(long, value_name = "MS", default_value_t = 1_000)]
    stay_ms: u64,
    /// Are in before, and only listen
    #[arg(long, value_name = "N", default_value_t = 0)]
    listeners: usize,
}

#[derive(Debug, clap::Args)]
pub struct Storm {
    #[command(flatten)]
    scene: Scene,
    /// Who come
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    people: usize,
    /// Within which they come
    #[arg(long, value_name = "S", default_value_t = 5)]
    seconds: u64,
    /// How long the speakers go on after that
    #[arg(long, value_name = "S", default_value_t = 15)]
    after_seconds: u64,
    /// Are in before, and only listen
    #[arg(long, value_name = "N", default_value_t = 20)]
    listeners: usize,
}

#[derive(Debug, clap::Args)]
struct Scene {
    #[command(flatten)]
    server: Server,
    /// Are in before, and talk
    #[arg(long, value_name = "N", default_value_t = 5)]
    speakers: usize,
    /// native, webrtc or mixed
    #[arg(long, default_value = "native", value_parser = clap::builder::PossibleValuesParser::new(Transport::NAMES))]
    transport: String,
    /// Of native participants
    #[arg(long, value_name = "MODE", default_value = "aead_aes256_gcm_rtpsize")]
    encryption: Mode,
    /// The authority that signed the voice server's certificate; with --data it is found
    #[arg(long, value_name = "FILE", env = "GUILDHALL_CA")]
    ca: Option<std::path::PathBuf>,
}

#[derive(Debug, clap::Args)]
pub struct Crowd {
    #[command(flatten)]
    server: Server,
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    sessions: usize,
    /// How the gateway compresses
    #[arg(long, default_value = "none", value_parser = clap::builder::PossibleValuesParser::new(Compression::NAMES))]
    compress: String,
    /// Joins and leaves of one member, by turns
    #[arg(long, value_name = "N", default_value_t = 20)]
    changes: usize,
}

impl Program {
    pub async fn run(self) -> anyhow::Result<()> {
        crate::descriptors::raise();
        match self {
            Self::Joins(joins) => print(&load::joins(joins.options()?).await?),
            Self::Storm(storm) => print(&load::joins(storm.options()?).await?),
            Self::Crowd(crowd) => print(&load::crowd(crowd.options()?).await?),
        }
    }
}

fn print(report: &impl serde::Serialize) -> anyhow::Result<()> {
    println!("{}", serde_json::to_string(report)?);
    Ok(())
}

impl Joins {
    fn options(self) -> anyhow::Result<JoinOptions> {
        let clicks = u64::from(self.per_second) * self.seconds;
        Ok(JoinOptions {
            program: "joins",
            clicks: clicks.try_into()?,
            rate_per_s: f64::from(self.per_second),
            people: self.people,
            stay: Some(Duration::from_millis(self.stay_ms)),
            listeners: self.listeners,
            after: Duration::from_secs(2),
            ..self.scene.options()?
        })
    }
}

impl Storm {
    fn options(self) -> anyhow::Result<JoinOptions> {
        if self.seconds == 0 {
            bail!("--seconds must be at least 1");
        }
        Ok(JoinOptions {
            program: "storm",
            clicks: self.people,
            rate_per_s: self.people as f64 / self.seconds as f64,
            people: self.people,
            stay: None,
            listeners: self.listeners,
            after: Duration::from_secs(self.after_seconds),
            ..self.scene.options()?
        })
    }
}

impl Scene {
    /// But for who comes when.
    fn options(self) -> anyhow::Result<JoinOptions> {
        let folder_ca = self.server.data().join("ca.pem");
        Ok(JoinOptions {
            program: "",
            server: self.server.url()?,
            operator_key: self.server.token()?,
            server_pid: server_pid(self.server.data()).ok(),
            ca: self.ca.or_else(|| folder_ca.is_file().then_some(folder_ca)),
            transport: self.transport.parse()?,
            mode: self.encryption,
            clicks: 0,
            rate_per_s: 0.0,
            people: 0,
            stay: None,
            speakers: self.speakers,
            listeners: 0,
            after: Duration::ZERO,
        })
    }
}

impl Crowd {
    fn options(self) -> anyhow::Result<CrowdOptions> {
        Ok(CrowdOptions {
            server: self.server.url()?,
            operator_key: self.server.token()?,
            server_pid: server_pid(self.server.data()).ok(),
            sessions: self.sessions,
            compression: Compression::from_name(&self.compress).context("one of the names above")?,
            changes: self.changes,
        })
    }
}
