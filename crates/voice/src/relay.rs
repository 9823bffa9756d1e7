//! The media relay's process: started with the sockets this process holds, started again whenever it ends, replaced by another program on request.
//!
//! The UDP sockets stay open here, so packets wait in the kernel while no relay runs, and so does the memory in which a relay writes what its
//! successor must know. Each process gets new control streams; the hub
//! tells a new one everything before anything else.

use std::ffi::OsString;
use std::io;
use std::net::UdpSocket;
use std::pin::{Pin, pin};
use std::time::Duration;

use cluster_wire::record::{RelayStatus, ServerRecord, UpgradeOutcome};
use sfu_wire::FromSfu;
use tokio::io::AsyncReadExt as _;
use tokio::process::Child;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::hub::Input;
use crate::limits::{RELAY_BACKOFF_FIRST, RELAY_BACKOFF_LAST, RELAY_RETIRE_TIMEOUT, RELAY_STABLE};
use crate::link::Link;
use crate::memories::{Blamed, Memories};
use crate::process::{Ended, Process, READ_BYTES, Refused, Stream};

pub struct Relay {
    /// The program and its first arguments.
    pub command: Vec<OsString>,
    /// What any other program is given as well.
    pub arguments: Vec<OsString>,
    /// A socket a shard.
    pub sockets: Vec<UdpSocket>,
    /// As many.
    pub memories: Memories,
    pub inputs: mpsc::Sender<Input>,
    /// The running process, for whoever asks.
    pub pid: watch::Sender<Option<u32>>,
    /// The process that hangs and must be replaced.
    pub hung: watch::Receiver<Option<Hung>>,
    /// Where what becomes of the relay is told.
    pub record: watch::Sender<ServerRecord>,
    pub stop: CancellationToken,
}

/// A relay's process takes no orders or says nothing any more, because of these shards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hung {
    pub generation: u64,
    pub shards: Vec<u32>,
}

/// How a program is started as the relay.
pub fn command_of(program: OsString, arguments: &[OsString]) -> Vec<OsString> {
    [&[program, "sfu".into()], arguments].concat()
}

/// The operator's wish for another program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    pub number: u64,
    /// The same as now if not given, of which there may be a new version.
    pub program: Option<OsString>,
}

/// A process that waits to be told to start.
struct Successor {
    command: Vec<OsString>,
    process: Process,
}

/// What came of one process.
// It is passed on once in a process's life.
#[allow(clippy::large_enum_variant)]
enum Outcome {
    Stopped,
    Ended {
        ended: Ended,
        lived: Duration,
        blamed: Vec<Blamed>,
        /// It had replaced another, and did not get as far as to start.
        is_no_good: bool,
    },
    Replaced(Successor),
}

/// What is to run after a program.
#[allow(clippy::large_enum_variant)]
enum Next {
    Nothing,
    Successor(Successor),
    /// The program before.
    Before,
}

impl Relay {
    pub fn spawn(&self) -> io::Result<Process> {
        Process::spawn(&self.command, &self.sockets, &self.memories)
    }

    /// Keeps a relay running until told to stop, of one program after the other.
    pub async fn run(self, first: Process, mut wishes: mpsc::Receiver<Wish>) {
        let (mut command, mut before, mut process) = (self.command.clone(), None, Some(first));
        let mut generation = 0;
        loop {
            let next = {
                let successor = pin!(self.successor(&command, &mut wishes));
                self.keep_running(&command, process.take(), &mut generation, successor).await
            };
            match next {
                Next::Nothing => return,
                Next::Successor(next) => {
                    before = Some(std::mem::replace(&mut command, next.command));
                    process = Some(next.process);
                }
                Next::Before => command = before.take().expect("what is no good has replaced something"),
            }
        }
    }

    /// Keeps one program running, the first time in a process that is there already, until there is a successor, which replaces it, or until told to stop.
    async fn keep_running(
        &self,
        command: &[OsString],
        mut next: Option<Process>,
        generation: &mut u64,
        mut successor: Pin<&mut impl Future<Output = Successor>>,
    ) -> Next {
        let mut backoff = Backoff::default();
        loop {
            let process = match next.take() {
                Some(process) => Ok(process),
                None => Process::spawn(command, &self.sockets, &self.memories),
            };
            *generation += 1;
            let lived = match process {
                Ok(process) => match self.attend(process, *generation, successor.as_mut()).await {
                    Outcome::Stopped => return Next::Nothing,
                    Outcome::Replaced(successor) => return Next::Successor(successor),
                    Outcome::Ended { ended, lived, blamed, is_no_good } => {
                        self.note_end(describe(&ended, backoff.next_in_a_row(lived), &blamed));
                        if is_no_good {
                            return Next::Before;
                        }
                        lived
                    }
                },
                Err(error) => {
                    tracing::error!(%error, "the media relay could not be started");
                    self.note_end(format!("it could not be started: {error}"));
                    Duration::ZERO
                }
            };
            metrics::counter!("guildhall_voice_relay_restarts_total").increment(1);
            let wait = backoff.after(lived);
            self.note_wait(wait);
            let successor = tokio::select! {
                () = tokio::time::sleep(wait) => None,
                successor = successor.as_mut() => Some(successor),
                () = self.stop.cancelled() => return Next::Nothing,
            };
            self.note_wait(Duration::ZERO);
            if let Some(successor) = successor {
                return Next::Successor(successor);
            }
        }
    }

    /// Serves one process until it ends or is replaced, or we are to stop.
    async fn attend(
        &self,
        process: Process,
        generation: u64,
        successor: Pin<&mut impl Future<Output = Successor>>,
    ) -> Outcome {
        let Process { mut child, streams, since, wish } = process;
        self.pid.send_replace(child.id());
        tracing::info!(pid = child.id(), generation, "the media relay was started");
        self.unshield();
        let (mut links, mut writers, mut readers) = (Vec::new(), JoinSet::new(), JoinSet::new());
        for (shard, Stream { stream, deframer }) in (0..).zip(streams) {
            let (read, write) = stream.into_split();
            let (link, go_on) = Link::new(write);
            links.push(link);
            writers.spawn(go_on);
            readers.spawn(read_all(read, deframer, shard, generation, self.inputs.clone()));
        }
        let _ = self.inputs.send(Input::RelayUp { generation, links, wish }).await;
        let (ended, successor) = tokio::select! {
            status = child.wait() => (Ended::of(status), None),
            hung = self.hangs(generation) => {
                tracing::error!(generation, ?hung, "the media relay hangs and is replaced");
                // It may be stopped, and then hears no other signal.
                let _ = child.kill().await;
                (Ended::Hung(hung), None)
            }
            successor = successor => (self.retire(&mut child, generation, &mut readers).await, Some(successor)),
            () = self.stop.cancelled() => {
                let _ = child.kill().await;
                self.pid.send_replace(None);
                let _ = self.inputs.send(Input::RelayDown { generation, blamed: Vec::new() }).await;
                return Outcome::Stopped;
            }
        };
        self.pid.send_replace(None);
        drop((readers, writers));
        let (blamed, lived) = (self.blamed(&ended), since.elapsed());
        metrics::counter!("guildhall_voice_relay_ends_total", "reason" => ended.reason()).increment(1);
        if ended == Ended::Retired {
            tracing::info!(generation, ?lived, "the media relay has retired");
        } else {
            tracing::warn!(reason = ended.reason(), ?lived, "the media relay ended");
            let _ = self.inputs.send(Input::RelayDown { generation, blamed: blamed.clone() }).await;
        }
        let is_no_good = wish.is_some_and(|wish| self.record.borrow().relay.is_underway(wish));
        if let Some(wish) = wish {
            let why = format!(
                "it took over and {} before it had started; the one before is started again",
                ended.reason()
            );
            self.note(|relay| relay.answer(wish, UpgradeOutcome::Failed(why)));
        }
        match successor {
            Some(successor) => {
                self.note_replaced(&ended);
                Outcome::Replaced(successor)
            }
            None => Outcome::Ended { ended, lived, blamed, is_no_good },
        }
    }

    /// What a predecessor's program in the kernel knows grows old, and a relay of before there was any would not replace it.
    fn unshield(&self) {
        for socket in &self.sockets {
            if let Err(error) = udp_io::unshield(socket) {
                tracing::warn!(%error, "what the last relay put before its socket cannot be taken off");
            }
        }
    }

    /// Ends a process whose successor waits. It is gone afterwards, and what it said has been passed on.
    async fn retire(&self, child: &mut Child, generation: u64, readers: &mut JoinSet<bool>) -> Ended {
        let _ = self.inputs.send(Input::RelayRetires { generation }).await;
        let Ok(status) = timeout(RELAY_RETIRE_TIMEOUT, child.wait()).await else {
            tracing::warn!(generation, "the media relay does not retire and is killed");
            let _ = child.kill().await;
            return Ended::Overdue;
        };
        let ended = Ended::of(status);
        let mut have_retired = true;
        // Its ends of the streams are closed, so that they end.
        while let Some(has_retired) = readers.join_next().await {
            have_retired &= has_retired.unwrap_or(false);
        }
        if ended == Ended::Exited(0) && have_retired { Ended::Retired } else { ended }
    }

    /// The first program wished for that can take over. What cannot changes nothing.
    async fn successor(&self, current: &[OsString], wishes: &mut mpsc::Receiver<Wish>) -> Successor {
        while let Some(Wish { number, program }) = wishes.recv().await {
            let command = match program {
                Some(program) => command_of(program, &self.arguments),
                None => current.to_vec(),
            };
            tracing::info!(?command, "a media relay is tried out");
            match Process::try_out(number, &command, &self.sockets, &self.memories).await {
                Ok(process) => return Successor { command, process },
                Err(refused) => self.refuse(number, &command, &refused),
            }
        }
        // Without a hub nobody wishes any more.
        std::future::pending().await
    }

    fn refuse(&self, wish: u64, command: &[OsString], refused: &Refused) {
        metrics::counter!("guildhall_voice_relay_replacements_total", "outcome" => "refused").increment(1);
        tracing::warn!(?command, %refused, "another media relay was refused");
        let program = command.first().map(|program| program.display().to_string()).unwrap_or_default();
        self.note(|relay| relay.answer(wish, UpgradeOutcome::Failed(format!("{program}: {refused}"))));
    }

    fn note_replaced(&self, predecessor: &Ended) {
        metrics::counter!("guildhall_voice_relay_replacements_total", "outcome" => "done").increment(1);
        if *predecessor != Ended::Retired {
            let end = format!("{}, when it was replaced", predecessor.reason());
            self.note(|relay| relay.last_end = Some(end));
        }
    }

    fn note_end(&self, end: String) {
        self.note(|relay| {
            relay.restarts = relay.restarts.saturating_add(1);
            relay.last_end = Some(end);
        });
    }

    fn note_wait(&self, wait: Duration) {
        metrics::gauge!("guildhall_voice_relay_backoff_seconds").set(wait.as_secs_f64());
        let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        self.note(|relay| relay.next_start_in_ms = (wait_ms > 0).then_some(wait_ms));
    }

    fn note(&self, change: impl FnOnce(&mut RelayStatus)) {
        self.record.send_modify(|record| change(&mut record.relay));
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

/// For the operator.
fn describe(ended: &Ended, in_a_row: u32, blamed: &[Blamed]) -> String {
    let mut text = ended.reason().to_owned();
    if in_a_row > 1 {
        text += &format!(", {in_a_row} times in a row");
    }
    for Blamed { shard, leg, work } in blamed {
        text += &format!("; shard {shard} was busy with {work} of leg {leg}");
    }
    text
}

/// How long to wait before the next start.
#[derive(Debug, Default)]
struct Backoff {
    last: Duration,
    in_a_row: u32,
}

impl Backoff {
    fn after(&mut self, lived: Duration) -> Duration {
        if lived >= RELAY_STABLE {
            (self.last, self.in_a_row) = (Duration::ZERO, 0);
            return Duration::ZERO;
        }
        let wait = self.last;
        self.last = (self.last * 2).clamp(RELAY_BACKOFF_FIRST, RELAY_BACKOFF_LAST);
        self.in_a_row += 1;
        wait
    }

    /// How many ended early one after the other, with one that lived so long.
    fn next_in_a_row(&self, lived: Duration) -> u32 {
        if lived >= RELAY_STABLE { 1 } else { self.in_a_row + 1 }
    }
}

/// Passes on what a shard says until its stream ends. True if its last word was that it retires.
async fn read_all(
    mut stream: tokio::net::unix::OwnedReadHalf,
    mut deframer: sfu_wire::Deframer,
    shard: u32,
    generation: u64,
    inputs: mpsc::Sender<Input>,
) -> bool {
    let mut buffer = vec![0; READ_BYTES];
    let mut has_retired = false;
    loop {
        loop {
            match deframer.next_message::<FromSfu>() {
                Ok(Some(message)) => {
                    has_retired = matches!(message, FromSfu::Retired(_));
                    if inputs.send(Input::Relay { generation, shard, message }).await.is_err() {
                        return has_retired;
                    }
                }
                Ok(None) => break,
                Err(error) => {
                    tracing::error!(shard, %error, "the media relay speaks nonsense");
                    return false;
                }
            }
        }
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => return has_retired,
            Ok(read) => deframer.push(&buffer[..read]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sfu_wire::page::Work;

    #[test]
    fn a_crash_loop_is_slowed_and_a_stable_relay_forgiven() {
        let mut backoff = Backoff::default();
        let short = Duration::from_secs(1);
        let waits: Vec<u128> = (0..9).map(|_| backoff.after(short).as_millis()).collect();
        assert_eq!(waits, [0, 100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000]);
        assert_eq!(backoff.next_in_a_row(short), 10);
        assert_eq!(backoff.after(RELAY_STABLE), Duration::ZERO);
        assert_eq!(backoff.next_in_a_row(short), 1);
        assert_eq!(backoff.after(short), Duration::ZERO);
        assert_eq!(backoff.after(short), RELAY_BACKOFF_FIRST);
    }

    #[test]
    fn the_operator_reads_how_a_relay_ended_and_what_it_was_busy_with() {
        let blamed = Blamed { shard: 1, leg: 17, work: Work::Rtp };
        let ended = Ended::Killed(crate::process::Signal::Abort);
        let text = "aborted, 3 times in a row; shard 1 was busy with rtp of leg 17";
        assert_eq!(describe(&ended, 3, &[blamed]), text);
        assert_eq!(describe(&Ended::Exited(0), 1, &[]), "exited");
    }
}
