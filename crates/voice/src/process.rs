//! One process of the media relay: how it is started, what it says of itself first, how it ended.

use std::ffi::OsString;
use std::io;
use std::net::UdpSocket;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{ExitStatus, Stdio};
use std::time::Instant;

use sfu_wire::{Deframer, FromSfu, Hello, PROTOCOLS, Versions, WireError};
use tokio::io::AsyncReadExt as _;
use tokio::net::UnixStream;
use tokio::process::{Child, Command};

use crate::limits::RELAY_HELLO_TIMEOUT;
use crate::memories::Memories;

/// The first descriptor a relay process is given; those below are its standard streams.
const FIRST_FD: i32 = 3;
/// Bytes read from a control stream at a time.
pub const READ_BYTES: usize = 16 << 10;

/// A process and our ends of its control streams, one a shard.
pub struct Process {
    pub child: Child,
    pub streams: Vec<Stream>,
    pub since: Instant,
    /// It is to replace another, has said who it is, and waits to be told to start. The number of the wish for it.
    pub wish: Option<u64>,
}

pub struct Stream {
    pub stream: UnixStream,
    pub deframer: Deframer,
}

/// Why a program does not become the relay.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    #[error("it cannot be started: {0}")]
    CannotStart(io::Error),
    #[error("it ended before it said what it is: {0}")]
    Ended(String),
    #[error(
        "it said nothing for {} s: it hangs, or is no relay, or one of before relays could be replaced",
        RELAY_HELLO_TIMEOUT.as_secs()
    )]
    Silent,
    #[error("what it says is not what a relay says: {0}")]
    Nonsense(WireError),
    #[error("it speaks version {0} of the control protocol, and this voice server {PROTOCOLS}")]
    Protocol(Versions),
    #[error(
        "it cannot go on from the memory of the one that runs, which is of version {found}, but of {theirs}: browsers would have to join anew; \
         drain the server and start it anew instead"
    )]
    Memory { found: u16, theirs: Versions },
    #[error("the memory of the one that runs cannot be read: {0}")]
    Unreadable(io::Error),
}

impl Process {
    /// Starts one with these sockets and this memory. It dies with us when we end in order; killed outright we leave it to forward on until its own grace ends.
    pub fn spawn(command: &[OsString], sockets: &[UdpSocket], memories: &Memories) -> io::Result<Self> {
        let (program, first) = command.split_first().ok_or(io::ErrorKind::InvalidInput)?;
        let mut command = std::process::Command::new(program);
        command.args(first).stdin(Stdio::null()).stdout(Stdio::null());
        // Of its own group, so that an interrupt at the terminal reaches only us, who end things in order.
        command.process_group(0);
        let mut fds: Vec<(OwnedFd, i32)> = Vec::new();
        let mut streams = Vec::new();
        let mut next = FIRST_FD;
        for (shard, socket) in sockets.iter().enumerate() {
            let (ours, theirs) = StdUnixStream::pair()?;
            theirs.set_nonblocking(true)?;
            ours.set_nonblocking(true)?;
            streams.push(Stream { stream: UnixStream::from_std(ours)?, deframer: Deframer::default() });
            command.arg("--shard").arg(format!("{next},{},{}", next + 1, next + 2));
            fds.push((socket.try_clone()?.into(), next));
            fds.push((theirs.into(), next + 1));
            fds.push((memories.of_shard(shard)?, next + 2));
            next += 3;
        }
        udp_io::inherit_fds(&mut command, fds)?;
        let child = Command::from(command).kill_on_drop(true).spawn()?;
        Ok(Self { child, streams, since: Instant::now(), wish: None })
    }

    /// Starts one that is to replace another, and hears what it says of itself. Until it is told to start it does nothing. Dropped, it is killed.
    pub async fn try_out(
        wish: u64,
        command: &[OsString],
        sockets: &[UdpSocket],
        memories: &Memories,
    ) -> Result<Self, Refused> {
        let mut process = Self::spawn(command, sockets, memories).map_err(Refused::CannotStart)?;
        let hello = process.hello().await?;
        hello.protocols().agree(PROTOCOLS).ok_or(Refused::Protocol(hello.protocols()))?;
        let (found, theirs) = (memories.version().map_err(Refused::Unreadable)?, hello.pages());
        match found {
            Some(found) if !(theirs.oldest..=theirs.newest).contains(&found.into()) => {
                return Err(Refused::Memory { found, theirs });
            }
            _ => process.wish = Some(wish),
        }
        Ok(process)
    }

    /// Of every shard, which all say the same.
    async fn hello(&mut self) -> Result<Hello, Refused> {
        let Self { child, streams, .. } = self;
        let all = async {
            let mut said = None;
            for stream in streams {
                said = Some(stream.hello().await?);
            }
            Ok(said.expect("a relay has at least one shard"))
        };
        tokio::select! {
            status = child.wait() => Err(Refused::Ended(status.map_or_else(|e| e.to_string(), |s| s.to_string()))),
            said = tokio::time::timeout(RELAY_HELLO_TIMEOUT, all) => said.unwrap_or(Err(Refused::Silent)),
        }
    }
}

impl Stream {
    async fn hello(&mut self) -> Result<Hello, Refused> {
        let mut buffer = vec![0; READ_BYTES];
        loop {
            match self.deframer.next_message().map_err(Refused::Nonsense)? {
                Some(FromSfu::Hello(hello)) => return Ok(hello),
                Some(_) => continue,
                None => {}
            }
            match self.stream.read(&mut buffer).await {
                // It is ending, and whoever waits for that knows how.
                Ok(0) | Err(_) => std::future::pending::<()>().await,
                Ok(read) => self.deframer.push(&buffer[..read]),
            }
        }
    }
}

/// How a process ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// It was asked to, and left everything in order.
    Retired,
    /// It was asked to, and had to be killed.
    Overdue,
    /// By itself, with a code.
    Exited(i32),
    Killed(Signal),
    /// It took no orders or said nothing, because of these shards, so we killed it.
    Hung(Vec<u32>),
    Unknown,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// An invariant broke.
    Abort,
    /// It did what no program may.
    Fault,
    /// Somebody else's doing: an operator's, or of a system short of memory.
    Other,
}

impl Ended {
    pub fn of(status: io::Result<ExitStatus>) -> Self {
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
    pub fn is_doing_of(&self, shard: u32) -> bool {
        match self {
            Self::Killed(Signal::Abort | Signal::Fault) => true,
            Self::Hung(shards) => shards.contains(&shard),
            Self::Killed(Signal::Other) | Self::Exited(_) | Self::Retired | Self::Overdue | Self::Unknown => {
                false
            }
        }
    }

    /// The name in metrics and logs.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Retired => "retired",
            Self::Overdue => "overdue",
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
