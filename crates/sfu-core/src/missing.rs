//! What is missing from a browser's stream, and when to ask for it (RFC 4585 section 6.2.1).
//!
//! Owns which numbers were passed over, for as long as it is any use to have them. Driven by the packets that arrive: while none do, there is
//! nothing that could be known to be missing.

use std::time::{Duration, Instant};

use rtp_wire::SeqNo;

use crate::limits::{ASK_INTERVAL, ASKS_MAX, MISSING_FOR, MISSING_MAX};

#[derive(Debug, Clone, Default)]
pub struct Missing {
    newest: Option<SeqNo>,
    /// In order of numbers.
    holes: [Option<Hole>; MISSING_MAX],
}

#[derive(Debug, Clone, Copy)]
struct Hole {
    seq: SeqNo,
    since: Instant,
    asked_at: Option<Instant>,
    asks: u8,
}

/// Numbers to ask for, as they stand on the wire and in order.
#[derive(Debug, Clone, Copy, Default)]
pub struct Asks {
    numbers: [u16; MISSING_MAX],
    len: usize,
}

impl Asks {
    #[must_use]
    pub fn numbers(&self) -> &[u16] {
        &self.numbers[..self.len]
    }
}

impl Missing {
    /// A packet arrived, or its frame was found in another.
    pub fn found(&mut self, now: Instant, seq: SeqNo) {
        let Some(newest) = self.newest else {
            self.newest = Some(seq);
            return;
        };
        self.retain(|hole| hole.seq != seq);
        if seq <= newest {
            return;
        }
        self.newest = Some(seq);
        // Of a long gap only the end can still come in time.
        let first = (newest.0 + 1).max(seq.0.saturating_sub(MISSING_MAX as u64));
        for missing in first..seq.0 {
            self.add(Hole { seq: SeqNo(missing), since: now, asked_at: None, asks: 0 });
        }
    }

    /// What to ask for now, when an answer takes `round_trip`.
    pub fn asks(&mut self, now: Instant, round_trip: Duration) -> Asks {
        self.retain(|hole| now < hole.since + MISSING_FOR);
        let mut asks = Asks::default();
        for hole in self.holes.iter_mut().flatten() {
            let due = hole.asked_at.is_none_or(|asked| now >= asked + round_trip.max(ASK_INTERVAL));
            if due && hole.asks < ASKS_MAX && now + round_trip <= hole.since + MISSING_FOR {
                (hole.asked_at, hole.asks) = (Some(now), hole.asks + 1);
                asks.numbers[asks.len] = hole.seq.wire();
                asks.len += 1;
            }
        }
        asks
    }

    fn add(&mut self, hole: Hole) {
        let at = match self.holes.iter().position(Option::is_none) {
            Some(at) => at,
            None => {
                self.holes.rotate_left(1);
                MISSING_MAX - 1
            }
        };
        self.holes[at] = Some(hole);
    }

    /// Keeps the others without a gap between them.
    fn retain(&mut self, keep: impl Fn(&Hole) -> bool) {
        let mut kept = 0;
        for at in 0..MISSING_MAX {
            if let Some(hole) = self.holes[at].take()
                && keep(&hole)
            {
                self.holes[kept] = Some(hole);
                kept += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUND_TRIP: Duration = Duration::from_millis(50);

    /// A packet 20 ms after the one before, and what is then asked for.
    #[track_caller]
    fn check(steps: &[(u64, &[u16])]) {
        let mut now = Instant::now();
        let mut missing = Missing::default();
        for (step, (seq, expect)) in steps.iter().enumerate() {
            missing.found(now, SeqNo(*seq));
            assert_eq!(missing.asks(now, ROUND_TRIP).numbers(), *expect, "step {step}");
            now += Duration::from_millis(20);
        }
    }

    #[test]
    fn what_is_missing_is_asked_for_until_it_comes_or_comes_too_late() {
        check(&[(7, &[]), (8, &[]), (9, &[])]);
        check(&[(7, &[]), (9, &[8]), (8, &[]), (10, &[]), (11, &[]), (12, &[])]);
        check(&[
            (65_535, &[]),
            (65_538, &[0, 1]),
            (65_539, &[]),
            (65_536, &[]),
            (65_540, &[1]),
            (65_541, &[]),
            (65_542, &[]),
            (65_543, &[1]),
            (65_544, &[]),
            (65_545, &[]),
            // A fourth time would be one too many.
            (65_546, &[]),
        ]);
        // Before the first there is nothing.
        check(&[(7, &[]), (5, &[]), (8, &[])]);
    }

    #[test]
    fn of_a_long_gap_the_end_is_asked_for() {
        let expect: Vec<u16> = (1000 - MISSING_MAX as u16..1000).collect();
        check(&[(7, &[]), (1000, &expect), (1002, &[1001])]);
    }

    #[test]
    fn the_oldest_is_given_up() {
        let now = Instant::now();
        let mut missing = Missing::default();
        for n in 0..=2 * (MISSING_MAX as u64 + 3) {
            missing.found(now, SeqNo(n * 2));
        }
        let asks = missing.asks(now, ROUND_TRIP);
        assert_eq!(asks.numbers().len(), MISSING_MAX);
        assert!(asks.numbers().is_sorted());
        assert_eq!(asks.numbers().last(), Some(&(4 * (MISSING_MAX as u16 + 3) - 1)));
    }

    #[test]
    fn what_would_come_too_late_is_not_asked_for() {
        let now = Instant::now();
        let mut missing = Missing::default();
        missing.found(now, SeqNo(1));
        missing.found(now, SeqNo(3));
        assert_eq!(missing.asks(now, MISSING_FOR + Duration::from_millis(1)).numbers(), []);
        assert_eq!(missing.asks(now + MISSING_FOR, Duration::ZERO).numbers(), []);
        missing.found(now, SeqNo(5));
        assert_eq!(missing.asks(now, MISSING_FOR).numbers(), [4], "2 was given up");
    }
}
