//! The relay's process: one thread a shard, each with its own UDP socket and its own control stream, nothing
//! shared.
//!
//! Owns: the loop around [`sfu_core::Shard`], the framing of the control stream, what happens when signalling
//! is gone. Deliberately does not: decide anything about packets or legs; open sockets (signalling hands them
//! over and keeps them open, so that packets wait in the kernel while a new process starts; the memory in which a shard writes what its
//! successor must know it gives in the same way); configuration
//! files, async runtimes, TLS, JSON.
//!
//! A process that has been started says hello and does nothing until it is told to start, since another may be at work with the same sockets and memory; one that is told to retire
//! leaves all that is still to come to its successor.
//!
//! Exit codes: 0 when it has retired, or signalling is gone and its calls have had their time; 1 when the environment failed (a
//! socket unusable, a control stream that does not parse); 2 for wrong arguments; killed by SIGABRT (134 to a
//! shell) when an invariant broke. Whoever started the process starts it again with the same sockets and a
//! snapshot.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod args;
mod control;
mod egress;
pub mod limits;
mod log;
mod nap;
mod serve;
mod shield;

use std::cell::Cell;
use std::io;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::sync::mpsc;

use sfu_core::Memory;
use sfu_wire::page::FAILED_AT;
use udp_io::{Backend, Frames};

use crate::args::{Args, Wanted};

pub use args::WrongArgument;
pub use serve::{Failure, serve};

/// Runs `guildhall sfu` with the arguments behind those two words: `--shard UDP_FD,CONTROL_FD,MEMORY_FD`, once a shard,
/// `--egress kernel|xdp` and `--shield auto|off`.
pub fn run(args: impl IntoIterator<Item = String>) -> ExitCode {
    let Args { shards, egress, is_shielded } = match args::parse(args) {
        Ok(args) => args,
        Err(error) => {
            log::line(log::ERROR, "arguments", format_args!("error={error:?}"));
            return ExitCode::from(2);
        }
    };
    abort_on_panic();
    let backend = match backend(egress, shards.len()) {
        Ok(backend) => backend,
        Err(error) => {
            log::line(log::ERROR, "memory", format_args!("error={error:?}"));
            return ExitCode::FAILURE;
        }
    };
    let (ended, ends) = mpsc::channel();
    for (number, fds) in shards.into_iter().enumerate() {
        let (ended, backend) = (ended.clone(), backend.clone());
        let started = std::thread::Builder::new().name(format!("shard-{number}")).spawn(move || {
            // Nobody listens any more when another shard's failure has ended the process.
            let _ = ended.send(serve_fds(fds, &backend, is_shielded));
        });
        if let Err(error) = started {
            log::line(log::ERROR, "thread", format_args!("error={error:?}"));
            return ExitCode::FAILURE;
        }
    }
    drop(ended);
    // One failed shard ends the process: it is started again whole, and signalling tells each shard its state
    // anew.
    match ends.iter().find_map(Result::err) {
        None => ExitCode::SUCCESS,
        Some(failure) => {
            log::line(log::ERROR, "shard_failed", format_args!("error={failure:?}"));
            ExitCode::FAILURE
        }
    }
}

fn backend(wanted: Wanted, shards: usize) -> io::Result<Backend> {
    Ok(match wanted {
        Wanted::Kernel => Backend::Kernel,
        Wanted::Xdp => Backend::Xdp(Frames::for_shards(shards)?),
    })
}

thread_local! {
    /// That of the thread's shard.
    static MEMORY: Cell<Option<Memory>> = const { Cell::new(None) };
}

fn serve_fds(fds: args::ShardFds, backend: &Backend, is_shielded: bool) -> Result<(), Failure> {
    let udp = udp_io::adopt_udp(fds.udp).map_err(Failure::Socket)?;
    let control = UnixStream::from(udp_io::adopt_fd(fds.control).map_err(Failure::Control)?);
    let map = |fd| udp_io::map_memory(&udp_io::adopt_fd(fd)?);
    let memory = fds.memory.map(map).transpose().map_err(Failure::Memory)?;
    serve(udp, control, memory, limits::ORPHAN_GRACE, backend, is_shielded)
}

/// From now on the memory is this shard's alone: only now may its failure be written into it.
fn owns(memory: Option<Memory>) {
    MEMORY.set(memory);
}

/// A broken invariant ends the whole process at once, before it can send anything wrong. What must not be forgotten is written down by then, and
/// the rest signalling knows.
fn abort_on_panic() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if let Some(failed) = MEMORY.get().and_then(|memory| memory.get(FAILED_AT)) {
            failed.store(1, Ordering::Release);
        }
        report(info);
        std::process::abort();
    }));
}
