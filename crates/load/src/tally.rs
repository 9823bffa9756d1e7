//! What a run showed, by the kind of the listener.

use std::time::{Duration, Instant};

use rtp_wire::{SeqNo, SeqUnwrapper};

use crate::histogram::Histogram;
use crate::participant::Kind;

#[derive(Debug, Clone, Default)]
pub struct Measured {
    pub native: Tally,
    pub browser: Tally,
    pub longest_gap: Duration,
    /// Packets that the generator's own sockets refused.
    pub generator_dropped: u64,
    /// How late a packet was sent at the worst.
    pub generator_late: Duration,
    /// CPU time of the generator's own media loop.
    pub generator_cpu: Duration,
    pub sfu_cpu: Duration,
    pub elapsed: Duration,
    /// Packets that did not open: must be none.
    pub unopened: u64,
}

/// What listeners of one kind should have got, and did.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    pub expected: u64,
    pub received: u64,
    pub duplicates: u64,
    pub delay: Histogram,
}

impl Measured {
    pub fn of(&self, kind: Kind) -> &Tally {
        match kind {
            Kind::Native => &self.native,
            Kind::Browser => &self.browser,
        }
    }

    pub fn of_mut(&mut self, kind: Kind) -> &mut Tally {
        match kind {
            Kind::Native => &mut self.native,
            Kind::Browser => &mut self.browser,
        }
    }

    pub fn all(&self) -> Tally {
        let (native, browser) = (&self.native, &self.browser);
        let mut delay = native.delay.clone();
        delay.add(&browser.delay);
        Tally {
            expected: native.expected + browser.expected,
            received: native.received + browser.received,
            duplicates: native.duplicates + browser.duplicates,
            delay,
        }
    }
}

/// One listener's view of one speaker.
#[derive(Default)]
pub struct Heard {
    unwrapper: SeqUnwrapper,
    highest: Option<SeqNo>,
    last: Option<Instant>,
    pub received: u64,
}

impl Heard {
    /// Whether this is the first packet of this number. Nothing overtakes anything between two sockets of one machine.
    pub fn is_new(&mut self, wire: u16) -> bool {
        let seq = self.unwrapper.unwrap(wire);
        let is_new = self.highest.is_none_or(|highest| seq > highest);
        if is_new {
            self.highest = Some(seq);
        }
        is_new
    }

    /// A packet was taken; returns how long there was none before it.
    pub fn take(&mut self, now: Instant) -> Duration {
        self.received += 1;
        self.last.replace(now).map_or(Duration::ZERO, |last| now.duration_since(last))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_counts_once_also_where_numbers_begin_anew() {
        let mut heard = Heard::default();
        for (wire, expect) in [(65_534, true), (65_535, true), (65_535, false), (1, true), (0, false)] {
            assert_eq!(heard.is_new(wire), expect, "{wire}");
        }
    }

    #[test]
    fn both_kinds_add_up() {
        let mut measured = Measured::default();
        for (kind, packets) in [(Kind::Native, 2), (Kind::Browser, 3)] {
            let tally = measured.of_mut(kind);
            (tally.expected, tally.received, tally.duplicates) = (packets + 1, packets, 1);
            tally.delay.record(Duration::from_millis(packets));
        }
        let all = measured.all();
        assert_eq!((all.expected, all.received, all.duplicates), (7, 5, 2));
        assert_eq!((all.delay.quantile_ms(0.0), all.delay.quantile_ms(1.0)), (2.0, 3.0));
    }
}
