//! The server's processes: what they use, and where they may run.

use std::io;
use std::time::Duration;

/// By their numbers; a kind that is not known has none.
#[derive(Debug, Clone, Default)]
pub struct Processes {
    pub relays: Vec<u32>,
    /// The rest of the server.
    pub signalling: Vec<u32>,
}

/// Of each kind; none where it is not known, or one of them is no more: a relay may be killed while others talk on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Each<T> {
    pub relays: Option<T>,
    pub signalling: Option<T>,
}

/// Processor time.
pub type Used = Each<Duration>;
/// Bytes of memory that are resident.
pub type Held = Each<u64>;

impl Processes {
    pub fn cpu(&self) -> Used {
        self.each(udp_io::process_cpu_of)
    }

    pub fn memory(&self) -> Held {
        self.each(udp_io::resident_of)
    }

    fn each<T: std::iter::Sum>(&self, of: impl Fn(u32) -> io::Result<T>) -> Each<T> {
        let sum =
            |pids: &[u32]| (!pids.is_empty()).then(|| pids.iter().map(|pid| of(*pid).ok()).sum()).flatten();
        Each { relays: sum(&self.relays), signalling: sum(&self.signalling) }
    }

    /// Gives a core to the relays alone, until the guard is dropped. The rest of the server and this process have the others.
    pub fn on_core(&self, core: usize) -> io::Result<OnCore> {
        let others: Vec<usize> = udp_io::cores()?.into_iter().filter(|other| *other != core).collect();
        if others.is_empty() {
            return Err(io::Error::other("the relay can have a core of its own only where there are two"));
        }
        let guard = OnCore { pids: [&self.relays[..], &self.signalling, &[std::process::id()]].concat() };
        self.relays.iter().try_for_each(|pid| udp_io::run_on(*pid, &[core]))?;
        guard.pids[self.relays.len()..].iter().try_for_each(|pid| udp_io::run_on(*pid, &others))?;
        Ok(guard)
    }
}

/// While it is there, everything runs where it was put.
pub struct OnCore {
    pids: Vec<u32>,
}

impl Drop for OnCore {
    fn drop(&mut self) {
        for pid in &self.pids {
            // Whoever is gone runs nowhere.
            let _ = udp_io::cores().and_then(|cores| udp_io::run_on(*pid, &cores));
        }
    }
}

impl Used {
    #[must_use]
    pub fn since(self, then: Self) -> Self {
        let spent = |now: Option<Duration>, then: Option<Duration>| Some(now?.saturating_sub(then?));
        Self { relays: spent(self.relays, then.relays), signalling: spent(self.signalling, then.signalling) }
    }
}

impl Held {
    /// What each of so many people takes.
    #[must_use]
    pub fn a_head(self, then: Self, people: usize) -> Self {
        let grown =
            |now: Option<u64>, then: Option<u64>| Some(now?.saturating_sub(then?) / people.max(1) as u64);
        Self { relays: grown(self.relays, then.relays), signalling: grown(self.signalling, then.signalling) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_is_not_nothing() {
        let here = Processes { relays: vec![std::process::id()], signalling: Vec::new() };
        let (cpu, memory) = (here.cpu(), here.memory());
        assert!(
            cpu.relays.is_some() && memory.relays.is_some_and(|bytes| bytes > 100_000),
            "{cpu:?} {memory:?}"
        );
        assert_eq!((cpu.signalling, memory.signalling), (None, None));
        let mut ended = std::process::Command::new("true").spawn().unwrap();
        ended.wait().unwrap();
        let gone = Processes { relays: vec![std::process::id(), ended.id()], signalling: Vec::new() };
        assert_eq!(gone.memory(), Held::default());
        assert_eq!(cpu.since(gone.cpu()), Used::default());
    }

    #[test]
    fn memory_is_what_was_added_for_each() {
        let held = |relays| Held { relays: Some(relays), signalling: None };
        assert_eq!(held(1_500).a_head(held(500), 10), held(100));
        assert_eq!(held(1_500).a_head(held(2_500), 10), held(0));
    }
}
