//! What a run showed, by the kind of the listener.

use std::time::{Duration, Instant};

use rtp_wire::{SeqNo, SeqUnwrapper, Ssrc};

use crate::histogram::Histogram;
use crate::participant::Kind;
use crate::processes::Used;

#[derive(Debug, Clone, Default)]
pub struct Measured {
    pub native: Tally,
    pub browser: Tally,
    /// The longest time without a packet, of each listener and each speaker that it hears.
    pub longest_gaps: Histogram,
    /// Packets that the generator's own sockets refused.
    pub generator_dropped: u64,
    /// How late a packet was sent at the worst.
    pub generator_late: Duration,
    /// How long browsers were busy with the packets that they received.
    pub opening: Duration,
    /// CPU time of the generator's own media loop.
    pub generator_cpu: Duration,
    pub cpu: Used,
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

    pub fn opening_of_a_packet(&self) -> Duration {
        let packets = u32::try_from(self.browser.received).unwrap_or(u32::MAX).max(1);
        self.opening / packets
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
    /// By which it is heard: another one where the speaker is on another server.
    ssrc: Option<Ssrc>,
    unwrapper: SeqUnwrapper,
    highest: Option<SeqNo>,
    pub gap: Gap,
    pub received: u64,
}

/// Times without a packet.
#[derive(Debug, Clone, Default)]
pub struct Gap {
    last: Option<Instant>,
    longest: Duration,
}

impl Heard {
    /// Whether this is the first packet of this number. Nothing overtakes anything between two sockets of one machine.
    pub fn is_new(&mut self, ssrc: Ssrc, wire: u16) -> bool {
        if self.ssrc.replace(ssrc) != Some(ssrc) {
            (self.unwrapper, self.highest) = (SeqUnwrapper::default(), None);
        }
        let seq = self.unwrapper.unwrap(wire);
        let is_new = self.highest.is_none_or(|highest| seq > highest);
        if is_new {
            self.highest = Some(seq);
        }
        is_new
    }
}

impl Gap {
    pub fn take(&mut self, now: Instant) {
        if let Some(last) = self.last.replace(now) {
            self.longest = self.longest.max(now.duration_since(last));
        }
    }

    /// The longest one, until the speaker ended; none where nothing was ever heard.
    pub fn longest(&self, end: Instant) -> Option<Duration> {
        self.last.map(|last| self.longest.max(end.saturating_duration_since(last)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_counts_once_also_where_numbers_begin_anew() {
        let mut heard = Heard::default();
        for (wire, expect) in [(65_534, true), (65_535, true), (65_535, false), (1, true), (0, false)] {
            assert_eq!(heard.is_new(Ssrc(1), wire), expect, "{wire}");
        }
        for (wire, expect) in [(0, true), (0, false), (1, true)] {
            assert_eq!(heard.is_new(Ssrc(2), wire), expect, "{wire} of another stream");
        }
    }

    #[test]
    fn the_longest_gap_is_between_packets_or_at_the_end() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut gap = Gap::default();
        assert_eq!(gap.longest(at(500)), None);
        for ms in [0, 20, 140, 160] {
            gap.take(at(ms));
        }
        assert_eq!(gap.longest(at(180)), Some(Duration::from_millis(120)));
        assert_eq!(gap.longest(at(400)), Some(Duration::from_millis(240)));
        assert_eq!(gap.longest(at(150)), Some(Duration::from_millis(120)));
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
