//! Other processes: ending them, where they run, what they hold.

use std::{fs, io};

use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{CpuSet, sched_setaffinity};

/// At once, without asking it (SIGKILL).
pub fn kill(pid: u32) -> io::Result<()> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::InvalidInput)?;
    Ok(kill_process(pid, Signal::KILL)?)
}

/// The cores of this machine.
pub fn cores() -> io::Result<Vec<usize>> {
    let online = fs::read_to_string("/sys/devices/system/cpu/online")?;
    let range = |range: &str| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        Some(first.parse().ok()?..=last.parse().ok()?)
    };
    let ranges: Option<Vec<_>> = online.trim().split(',').map(range).collect();
    Ok(ranges.ok_or(io::ErrorKind::InvalidData)?.into_iter().flatten().collect())
}

/// Lets all threads that a process has now, and those that they will start, run on these cores only.
pub fn run_on(pid: u32, cores: &[usize]) -> io::Result<()> {
    let mut set = CpuSet::new();
    cores.iter().for_each(|core| set.set(*core));
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let thread = task?.file_name().to_str().and_then(|name| Pid::from_raw(name.parse().ok()?));
        // A thread may have ended since.
        match sched_setaffinity(thread, &set) {
            Err(rustix::io::Errno::SRCH) => {}
            done => done?,
        }
    }
    Ok(())
}

/// The same for this thread.
pub fn run_thread_on(cores: &[usize]) -> io::Result<()> {
    let mut set = CpuSet::new();
    cores.iter().for_each(|core| set.set(*core));
    Ok(sched_setaffinity(None, &set)?)
}

/// Bytes of memory that another process holds now (resident set).
pub fn resident_of(pid: u32) -> io::Result<u64> {
    let pages = fs::read_to_string(format!("/proc/{pid}/statm"))?;
    let resident: Option<u64> = pages.split_whitespace().nth(1).and_then(|pages| pages.parse().ok());
    Ok(resident.ok_or(io::ErrorKind::InvalidData)? * rustix::param::page_size() as u64)
}

#[cfg(test)]
mod tests {
    use rustix::thread::sched_getaffinity;

    use super::*;

    #[test]
    fn a_thread_runs_where_it_is_put() {
        let cores = cores().unwrap();
        let last = *cores.last().unwrap();
        run_thread_on(&[last]).unwrap();
        let set = sched_getaffinity(None).unwrap();
        assert_eq!((set.count(), set.is_set(last)), (1, true));
        run_thread_on(&cores).unwrap();
        assert!(run_on(u32::MAX >> 1, &cores).is_err());
    }
}
