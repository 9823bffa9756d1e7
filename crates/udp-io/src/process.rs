//! Ending another process.

use std::io;

use rustix::process::{Pid, Signal, kill_process};

/// At once, without asking it (SIGKILL).
pub fn kill(pid: u32) -> io::Result<()> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::InvalidInput)?;
    Ok(kill_process(pid, Signal::KILL)?)
}
