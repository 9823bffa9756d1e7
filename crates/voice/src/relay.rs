//! The media relay's process: started with the sockets this process holds, started again whenever it ends.
//!
//! The UDP sockets stay open here, so packets wait in the kernel while no relay runs, and so does the memory in which a relay writes what its
//! successor must know. Each process gets new control streams; the hub
//! tells a new one everything before anything else.

use std::ffi::OsString;
use std::io;
use std::net::UdpSocket;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use sfu_wire::{Deframer, FromSfu};
use tokio::io::AsyncReadExt as _;
use tokio::net::UnixStream;
use tokio::net::unix::OwnedReadHalf;
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::hub::Input;
use crate::limits::{RELAY_BACKOFF_FIRST, RELAY_BACKOFF_LAST, RELAY_STABLE};
use crate::link::Link;
use crate::memories::{Blamed, Memories};

/// The first descriptor a relay process is given; those below are its standard streams.
const FIRST_FD: i32 = 3;

pub struct Relay {
    /// The program and its first arguments.
    pub command: Vec<OsString>,
    /// A socket a shard.
    pub sockets: Vec<UdpSocket>,
    /// As many.
    pub memories: Memories,
    pub inputs: mpsc::Sender<Input>,
    /// The running process, for whoever asks.
    pub pid: watch::Sender<Option<u32>>,
    /// The process that hangs and must be replaced.
    pub hung: watch::Receiver<Option<Hung>>,
    pub stop: CancellationToken,
}

/// A relay's process takes no orders or says nothing any more, because of these shards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hung {
    pub generation: u64,
    pub shards: Vec<u32>,
}

/// A process and our ends of its control streams.
pub struct Running {
    child: Child,
    streams: Vec<UnixStream>,
    since: Instant,
}

impl Relay {
    /// Starts a process. It dies with us when we end in order; killed outright we leave it to forward on until its own grace ends.
    pub fn spawn(&self) -> io::Result<Running> {
        let (program, first) = self.command.split_first().ok_or(io::ErrorKind::InvalidInput)?;
        let mut command = std::process::Command::new(program);
        command.args(first).stdin(Stdio::null()).stdout(Stdio::null());
        // Of its own group, so that an interrupt at the terminal reaches only us, who end things in order.
        command.process_group(0);
        let mut fds: Vec<(OwnedFd, i32)> = Vec::new();
        let mut streams = Vec::new();
        let mut next = FIRST_FD;
        for (shard, socket) in self.sockets.iter().enumerate() {
            let (ours, theirs) = StdUnixStream::pair()?;
            theirs.set_nonblocking(true)?;
            ours.set_nonblocking(true)?;
            streams.push(UnixStream::from_std(ours)?);
            command.arg("--shard").arg(format!("{next},{},{}", next + 1, next + 2));
            fds.push((socket.try_clone()?.into(), next));
            fds.push((theirs.into(), next + 1));
            fds.push((self.memories.of_shard(shard)?, next + 2));
            next += 3;
        }
        udp_io::inherit_fds(&mut command, fds)?;
        let child = Command::from(command).kill_on_drop(true).spawn()?;
        Ok(Running { child, streams, since: Instant::now() })
    }

    /// Keeps a relay running until told to stop.
    pub async fn run(self, first: Running) {
        let mut running = Some(first);
        let mut backoff = Backoff::default();
        for generation in 1_u64.. {
            let lived = match running.take().map_or_else(|| self.spawn(), Ok) {
                Ok(process) => match self.attend(process, generation).await {
                    Some(lived) => lived,
                    None => return,
                },
                Err(error) => {
                    tracing::error!(%error, "the media relay could not be started");
                    Duration::ZERO
                }
            };
            metrics::counter!("guildhall_voice_relay_restarts_total").increment(1);
            let wait = backoff.after(lived);
            metrics::gauge!("guildhall_voice_relay_backoff_seconds").set(wait.as_secs_f64());
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.stop.cancelled() => return,
            }
        }
    }

    /// Serves one process until it ends; says how long it lived, or `None` when we are to stop.
    async fn attend(&self, process: Running, generation: u64) -> Option<Duration> {
        let Running { mut child, streams, since } = process;
        self.pid.send_replace(child.id());
        tracing::info!(pid = child.id(), generation, "the media relay was started");
        let mut links = Vec::new();
        let mut tasks = tokio::task::JoinSet::new();
        for (shard, stream) in streams.into_iter().enumerate() {
            let (read, write) = stream.into_split();
            let (link, go_on) = Link::new(write);
            links.push(link);
            tasks.spawn(go_on);
            tasks.spawn(read_all(
                read,
                u32::try_from(shard).expect("shards are few"),
                generation,
                self.inputs.clone(),
            ));
        }
        let _ = self.inputs.send(Input::RelayUp { generation, links }).await;
        let ended = tokio::select! {
            status = child.wait() => Some(Ended::of(status)),
            hung = self.hangs(generation) => {
                tracing::error!(generation, ?hung, "the media relay hangs and is replaced");
                // It may be stopped, and then hears no other signal.
                let _ = child.kill().await;
                Some(Ended::Hung(hung))
            }
            () = self.stop.cancelled() => {
                let _ = child.kill().await;
                None
            }
        };
        self.pid.send_replace(None);
        drop(tasks);
        let blamed = ended.as_ref().map(|ended| self.blamed(ended)).unwrap_or_default();
        let _ = self.inputs.send(Input::RelayDown { generation, blamed }).await;
        let ended = ended?;
        let lived = since.elapsed();
        metrics::counter!("guildhall_voice_relay_ends_total", "reason" => ended.reason()).increment(1);
        tracing::warn!(reason = ended.reason(), ?lived, "the media relay ended");
        Some(lived)
    }

    /// Until this process hangs; then its shards that do.
    async fn hangs(&self, generation: u64) -> Vec<u32> {
        let mut hung = self.hung.clone();
        let this = |hung: &Option<Hung>| hung.as_ref().is_some_and(|hung| hung.generation == generation);
        let shards = hung.wait_for(this).await.ok().and_then(|hung| Some(hung.as_ref()?.shards.clone()));
        match shards {
            Some(shards) => shards,
            // Without a hub nobody looks any more.
            None => std::future::pending().await,
        }
    }

    /// The legs that it may have been which ended the process.
    fn blamed(&self, ended: &Ended) -> Vec<Blamed> {
        let blamed = self.memories.blamed();
        let blamed = blamed.inspect_err(|error| tracing::error!(%error, "a shard's memory cannot be read"));
        let mut blamed = blamed.unwrap_or_default();
        blamed.retain(|blamed| ended.is_doing_of(blamed.shard));
        blamed
    }
}

/// How a process ended.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Ended {
    /// By itself, with a code.
    Exited(i32),
    Killed(Signal),
    /// It took no orders or said nothing, because of these shards, so we killed it.
    Hung(Vec<u32>),
    Unknown,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Signal {
    /// An invariant broke.
    Abort,
    /// It did what no program may.
    Fault,
    /// Somebody else's doing: an operator's, or of a system short of memory.
    Other,
}

impl Ended {
    fn of(status: io::Result<ExitStatus>) -> Self {
        let Ok(status) = status else { return Self::Unknown };
        match (status.code(), status.signal()) {
            (Some(code), _) => Self::Exited(code),
            (None, Some(signals::ABORT)) => Self::Killed(Signal::Abort),
            (None, Some(signal)) if signals::FAULTS.contains(&signal) => Self::Killed(Signal::Fault),
            (None, Some(_)) => Self::Killed(Signal::Other),
            (None, None) => Self::Unknown,
        }
    }

    /// Whether what a shard was busy with may be the cause.
    fn is_doing_of(&self, shard: u32) -> bool {
        match self {
            Self::Killed(Signal::Abort | Signal::Fault) => true,
            Self::Hung(shards) => shards.contains(&shard),
            Self::Killed(Signal::Other) | Self::Exited(_) | Self::Unknown => false,
        }
    }

    /// The name in metrics and logs.
    fn reason(&self) -> &'static str {
        match self {
            Self::Exited(0) => "exited",
            Self::Exited(_) => "failed",
            Self::Killed(Signal::Abort) => "aborted",
            Self::Killed(Signal::Fault) => "fault",
            Self::Killed(Signal::Other) => "killed",
            Self::Hung(_) => "hung",
            Self::Unknown => "unknown",
        }
    }
}

/// Numbers of signals on Linux (signal(7)).
mod signals {
    pub const ABORT: i32 = 6;
    /// Illegal instruction, trap, bus error, arithmetic, segmentation, bad system call.
    pub const FAULTS: [i32; 6] = [4, 5, 7, 8, 11, 31];
}

/// How long to wait before the next start.
#[derive(Debug, Default)]
struct Backoff {
    last: Duration,
}

impl Backoff {
    fn after(&mut self, lived: Duration) -> Duration {
        if lived >= RELAY_STABLE {
            self.last = Duration::ZERO;
            return Duration::ZERO;
        }
        let wait = self.last;
        self.last = (self.last * 2).clamp(RELAY_BACKOFF_FIRST, RELAY_BACKOFF_LAST);
        wait
    }
}

async fn read_all(mut stream: OwnedReadHalf, shard: u32, generation: u64, inputs: mpsc::Sender<Input>) {
    let mut deframer = Deframer::default();
    let mut buffer = vec![0; 16 << 10];
    loop {
        let read = match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(read) => read,
        };
        deframer.push(&buffer[..read]);
        loop {
            match deframer.next_message::<FromSfu>() {
                Ok(Some(message)) => {
                    if inputs.send(Input::Relay { generation, shard, message }).await.is_err() {
                        return;
                    }
                }
                Ok(None) => break,
                Err(error) => {
                    tracing::error!(shard, %error, "the media relay speaks nonsense");
                    return;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crash_loop_is_slowed_and_a_stable_relay_forgiven() {
        let mut backoff = Backoff::default();
        let short = Duration::from_secs(1);
        let waits: Vec<u128> = (0..9).map(|_| backoff.after(short).as_millis()).collect();
        assert_eq!(waits, [0, 100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000]);
        assert_eq!(backoff.after(RELAY_STABLE), Duration::ZERO);
        assert_eq!(backoff.after(short), Duration::ZERO);
        assert_eq!(backoff.after(short), RELAY_BACKOFF_FIRST);
    }
}
