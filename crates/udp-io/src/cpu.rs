//! How much processor time was used: the measure of the media path that neighbours on the machine cannot
//! spoil.

use std::io;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// By the calling thread.
#[must_use]
pub fn thread_cpu() -> Duration {
    duration(clock_gettime(ClockId::ThreadCPUTime))
}

/// By this process, all its threads together.
#[must_use]
pub fn process_cpu() -> Duration {
    duration(clock_gettime(ClockId::ProcessCPUTime))
}

/// By another process of this machine, without its children.
pub fn process_cpu_of(pid: u32) -> io::Result<Duration> {
    let pid = libc::pid_t::try_from(pid).map_err(|_| io::ErrorKind::InvalidInput)?;
    let mut clock: libc::clockid_t = 0;
    // SAFETY: the kernel writes one clock number to a local.
    let code = unsafe { libc::clock_getcpuclockid(pid, &raw mut clock) };
    if code != 0 {
        return Err(io::Error::from_raw_os_error(code));
    }
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the clock number is the one just given, and the kernel writes one timespec to a local.
    if unsafe { libc::clock_gettime(clock, &raw mut time) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(duration(rustix::time::Timespec { tv_sec: time.tv_sec, tv_nsec: time.tv_nsec }))
}

fn duration(time: rustix::time::Timespec) -> Duration {
    let seconds = u64::try_from(time.tv_sec).expect("processor time is not negative");
    let nanos = u32::try_from(time.tv_nsec).expect("a second has fewer nanoseconds than fit");
    Duration::new(seconds, nanos)
}
