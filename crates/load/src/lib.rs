//! Synthetic participants by the hundred: real sessions, real voice connections, real encrypted packets, no codec.
//!
//! Owns: making accounts and a guild to meet in, joining everyone, sending and receiving on a strict schedule, the floor relay that says what
//! the bare system calls cost, the report. Deliberately does not: reuse anything of the server's inside; it is a client. Those who come as
//! browsers do have their ICE, DTLS and SRTP from a WebRTC library that knows nothing of our server.
//!
//! The schedule is open: a late generator sends at once and says how late it was, it never slows down for the server.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod browser;
mod crowd;
mod ear;
mod floor;
mod histogram;
mod join;
mod joins;
pub mod limits;
mod media;
mod native;
mod participant;
mod people;
mod processes;
mod report;
mod sessions;
mod spread;
mod tally;
mod workload;

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use transport::Mode;

pub use crowd::{CrowdOptions, CrowdReport, crowd};
pub use joins::{JoinOptions, JoinReport, joins};
pub use processes::Processes;
pub use report::{Delay, Part, Report};
pub use sessions::Compression;
pub use workload::{Numbers, Transport, Workload};

#[derive(Debug, Clone)]
pub struct Options {
    /// `http://host:port`.
    pub server: String,
    pub operator_key: String,
    /// The authority that signed the voice server's certificate.
    pub ca: Option<PathBuf>,
    pub workload: Workload,
    pub numbers: Numbers,
    pub duration: Duration,
    pub transport: Transport,
    /// Of native participants.
    pub mode: Mode,
    /// Whose processor time and memory is counted.
    pub processes: Processes,
    /// The relay's, and nobody else's, during the run; and then the floor's.
    pub relay_core: Option<usize>,
    /// Also measure the floor: a relay that does nothing but receive and send.
    pub floor: bool,
}

/// Runs a workload to its end.
pub async fn run(options: Options) -> anyhow::Result<Report> {
    let shape = options.workload.shape(options.numbers)?;
    let on_core = options.relay_core.map(|core| options.processes.on_core(core)).transpose();
    let on_core = on_core.context("giving the relay a core of its own")?;
    let people =
        people::make(&options.server, &options.operator_key, &shape).await.context("making accounts")?;
    let memory = options.processes.memory();
    let joined = join::everyone(&options, people).await.context("joining")?;
    let join_ms = joined.join_ms;
    tracing::info!(participants = joined.participants.len(), "everyone is in");

    // The media loop is a thread of its own: it must not share its time with the WebSockets' tasks.
    let settings = media::Settings {
        shape: shape.clone(),
        duration: options.duration,
        processes: options.processes.clone(),
    };
    let (participants, measured) = media::run_on_thread(joined.participants, settings, joined.moved).await?;
    let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
    let memory = options.processes.memory().a_head(memory, shape.participants);
    let (lost, rejoins) = (count(&joined.counts.lost), count(&joined.counts.rejoins));
    let floor = match options.floor && !shape.speakers.is_empty() {
        true => {
            let duration = floor::duration(options.duration);
            let opening = measured.opening_of_a_packet();
            Some(floor::measure(participants, &shape, duration, options.relay_core, opening).await?)
        }
        false => None,
    };
    joined.connections.close().await;
    drop(on_core);
    Ok(report::make(&options, &shape, &join_ms, &measured, floor.as_ref(), memory, (lost, rejoins)))
}
