//! Arguments of `guildhall load`.

use std::time::Duration;

use anyhow::{Context as _, bail};
use load::{Numbers, Processes, Transport, Workload};
use transport::Mode;

use crate::server_args::Server;

/// Synthetic participants by the hundred, with what they received and what that cost
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Load {
    #[command(subcommand)]
    program: Option<crate::signal_args::Program>,
    #[command(flatten)]
    server: Server,
    /// raid: one channel, 200 participants, 5 speak. town-hall: 1,000 participants, 5 speak. guild-night: 200 channels of 5, one speaks in each. turn-taking: one channel of 1,000,
    /// every second another of 60 speaks. idle: 5,000 connected and silent, in channels of 50
    #[arg(long, default_value = "raid", value_parser = clap::builder::PossibleValuesParser::new(Workload::NAMES))]
    workload: String,
    /// Instead of the workload's own number
    #[arg(long, value_name = "N")]
    participants: Option<usize>,
    /// Instead of the workload's own number
    #[arg(long, value_name = "S")]
    speakers: Option<usize>,
    /// Participants a channel, instead of the workload's own number
    #[arg(long, value_name = "N")]
    room: Option<usize>,
    #[arg(long, value_name = "S", default_value_t = 10)]
    seconds: u64,
    /// native: encrypted UDP, as libraries speak it. webrtc: ICE, DTLS and SRTP, as browsers do. mixed: half each
    #[arg(long, default_value = "native", value_parser = clap::builder::PossibleValuesParser::new(Transport::NAMES))]
    transport: String,
    /// Of native participants
    #[arg(long, value_name = "MODE", default_value = "aead_aes256_gcm_rtpsize")]
    encryption: Mode,
    /// A relay process whose CPU time is counted; with --data they are found
    #[arg(long, value_name = "PID")]
    sfu_pid: Vec<u32>,
    /// A core that the relay has for itself while it is measured, and after it the floor; everything else runs on the others
    #[arg(long, value_name = "N")]
    relay_core: Option<usize>,
    /// Do not measure the floor
    #[arg(long)]
    no_floor: bool,
    /// The authority that signed the voice server's certificate; with --data it is found
    #[arg(long, value_name = "FILE", env = "GUILDHALL_CA")]
    ca: Option<std::path::PathBuf>,
    /// Print the report as JSON (it always is)
    #[arg(long)]
    json: bool,
}

impl Load {
    pub async fn run(self) -> anyhow::Result<()> {
        if let Some(program) = self.program {
            return program.run().await;
        }
        crate::descriptors::raise();
        let workload: Workload = self.workload.parse()?;
        let folder_ca = self.server.data().join("ca.pem");
        let processes = match self.sfu_pid.is_empty() {
            true => processes_of(self.server.data()).unwrap_or_default(),
            false => Processes { relays: self.sfu_pid.clone(), signalling: Vec::new() },
        };
        if self.seconds == 0 {
            bail!("--seconds must be at least 1");
        }
        let options = load::Options {
            server: self.server.url()?,
            operator_key: self.server.token()?,
            ca: self.ca.clone().or_else(|| folder_ca.is_file().then_some(folder_ca)),
            workload,
            numbers: Numbers { participants: self.participants, speakers: self.speakers, room: self.room },
            duration: Duration::from_secs(self.seconds),
            transport: self.transport.parse()?,
            mode: self.encryption,
            processes,
            relay_core: self.relay_core,
            floor: !self.no_floor,
        };
        let report = load::run(options).await?;
        println!("{}", serde_json::to_string(&report)?);
        Ok(())
    }
}

/// The server that runs with this data folder.
pub fn server_pid(data: &std::path::Path) -> anyhow::Result<u32> {
    let text = std::fs::read_to_string(data.join(operator::ADDRESS_FILE))?;
    let server: serde_json::Value = serde_json::from_str(&text)?;
    let pid = server["pid"].as_u64().context("the server's address file names no process")?;
    Ok(pid.try_into()?)
}

/// The same with its relays: its children called `sfu`.
fn processes_of(data: &std::path::Path) -> anyhow::Result<Processes> {
    let server = server_pid(data)?;
    let mut relays = Vec::new();
    for entry in std::fs::read_dir("/proc")?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let read = |file: &str| std::fs::read_to_string(entry.path().join(file)).unwrap_or_default();
        let child = read("stat")
            .rsplit(')')
            .next()
            .and_then(|rest| rest.split_whitespace().nth(1)?.parse::<u32>().ok());
        if child == Some(server) && read("cmdline").split('\0').nth(1) == Some("sfu") {
            relays.push(pid);
        }
    }
    Ok(Processes { relays, signalling: vec![server] })
}
