//! The shards of the running relay, as the hub knows them: the way to each, whether it has answered, and for how long it has said nothing.

use sfu_wire::{Retire, ToSfu};

use crate::limits::{RELAY_LOST_S, RELAY_SILENT_S, RELAY_START_S, RELAY_WELL_S};
use crate::link::{Hangs, Link};

#[derive(Debug)]
pub struct Shards {
    /// Which of the relay's processes it is.
    pub generation: u64,
    shards: Vec<Shard>,
    /// The operator's, if that is how it came to be.
    wish: Option<u64>,
    retires: bool,
}

#[derive(Debug)]
struct Shard {
    link: Link,
    has_started: bool,
    silent_s: u32,
}

impl Shards {
    pub fn new(generation: u64, links: Vec<Link>, wish: Option<u64>) -> Self {
        let shard = |link| Shard { link, has_started: false, silent_s: 0 };
        Self { generation, shards: links.into_iter().map(shard).collect(), wish, retires: false }
    }

    /// Nothing is told to a shard that there is not, and to none that is to go: its successor will be told.
    pub fn tell(&self, shard: u32, message: ToSfu) -> Result<(), Hangs> {
        let shard = self.shards.get(shard as usize).filter(|_| !self.retires);
        shard.map_or(Ok(()), |shard| shard.link.tell(message))
    }

    /// The last that they are told. What they have still to say is heard.
    pub fn retire(&mut self) {
        for shard in &self.shards {
            // One that takes no orders any more will be killed for not going.
            let _ = shard.link.tell(ToSfu::Retire(Retire {}));
        }
        self.retires = true;
    }

    /// It said something.
    pub fn heard(&mut self, shard: u32) {
        if let Some(shard) = self.shards.get_mut(shard as usize) {
            shard.silent_s = 0;
        }
    }

    /// Returns the wish that is fulfilled with that.
    pub fn started(&mut self, shard: u32) -> Option<u64> {
        if let Some(shard) = self.shards.get_mut(shard as usize) {
            shard.has_started = true;
        }
        self.wish.filter(|_| self.shards.iter().all(|shard| shard.has_started))
    }

    /// One that replaces another was heard of before that had gone: there was always one.
    #[must_use]
    pub fn are_there(&self) -> bool {
        self.wish.is_some() || self.shards.iter().all(|shard| shard.has_started)
    }

    /// Another second in which we listened. Returns the shards that must be taken to hang. What counts is how often we looked, not the time, so that nobody is
    /// blamed for a moment in which this process itself did not run.
    pub fn second(&mut self) -> Vec<u32> {
        let mut hang = Vec::new();
        for (number, shard) in (0..).zip(&mut self.shards) {
            shard.silent_s += 1;
            if shard.silent_s > if shard.has_started { RELAY_SILENT_S } else { RELAY_START_S } {
                hang.push(number);
            }
        }
        hang
    }
}

/// For how long the relay has been missed, over all its deaths that lie close together.
#[derive(Debug, Default)]
pub struct Outage {
    without_s: u32,
    well_s: u32,
}

impl Outage {
    pub fn second(&mut self, is_running: bool) {
        match is_running {
            true => self.well_s += 1,
            false => (self.well_s, self.without_s) = (0, self.without_s.saturating_add(1)),
        }
        if self.well_s >= RELAY_WELL_S {
            self.without_s = 0;
        }
    }

    /// It was there, and did nothing.
    pub fn hung(&mut self) {
        (self.well_s, self.without_s) = (0, self.without_s.saturating_add(RELAY_SILENT_S));
    }

    #[must_use]
    pub fn lasts(&self) -> bool {
        self.without_s > RELAY_LOST_S
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relay_that_keeps_dying_or_hanging_is_lost_and_one_that_died_once_is_not() {
        let mut outage = Outage::default();
        let seconds =
            |outage: &mut Outage, n: u32, is_running| (0..n).for_each(|_| outage.second(is_running));
        seconds(&mut outage, RELAY_LOST_S, false);
        assert!(!outage.lasts());
        seconds(&mut outage, RELAY_WELL_S, true);
        seconds(&mut outage, RELAY_LOST_S, false);
        assert!(!outage.lasts(), "the first time is forgiven");
        seconds(&mut outage, RELAY_WELL_S - 1, true);
        seconds(&mut outage, 1, false);
        assert!(outage.lasts(), "it comes and goes");
        seconds(&mut outage, RELAY_WELL_S - 1, true);
        assert!(outage.lasts());
        seconds(&mut outage, 1, true);
        assert!(!outage.lasts());
        outage.hung();
        assert!(!outage.lasts(), "once may be chance");
        (0..2).for_each(|_| outage.hung());
        assert!(outage.lasts());
    }
}
