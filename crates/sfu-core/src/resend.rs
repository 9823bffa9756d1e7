//! How much is sent to one browser once more.
//!
//! Owns the bound: a request costs a few bytes and would be answered with whole packets, so there is a budget, and the same packet does not
//! go out again while the last answer may still be on its way.

use std::time::Instant;

use rtp_wire::{SeqNo, Ssrc};

use crate::limits::{RESEND_INTERVAL, RESENDS_BURST_S, RESENDS_PER_S};
use crate::pace::Pace;

/// So many can have gone out within [`RESEND_INTERVAL`], whatever was asked for.
const REMEMBERED: usize = (RESENDS_PER_S * RESENDS_BURST_S) as usize + 2;
const _: () =
    assert!(RESENDS_PER_S as u128 * RESEND_INTERVAL.as_millis() <= 1000, "none is forgotten too early");

#[derive(Debug, Clone)]
pub struct Resends {
    pace: Pace,
    /// The latest ones, in a ring. Room for them is made with the first request.
    latest: Vec<(Ssrc, SeqNo, Instant)>,
    next: usize,
}

impl Resends {
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self { pace: Pace::new(now, RESENDS_PER_S, RESENDS_BURST_S), latest: Vec::new(), next: 0 }
    }

    /// Whether this packet may go out again now; then it counts.
    pub fn admit(&mut self, now: Instant, ssrc: Ssrc, index: SeqNo) -> bool {
        let same = |(of, at, when): &(Ssrc, SeqNo, Instant)| {
            (*of, *at) == (ssrc, index) && now < *when + RESEND_INTERVAL
        };
        if self.latest.iter().any(same) || !self.pace.admit(now) {
            return false;
        }
        if self.latest.len() < REMEMBERED {
            self.latest.reserve_exact(REMEMBERED - self.latest.len());
            self.latest.push((ssrc, index, now));
        } else {
            self.latest[self.next] = (ssrc, index, now);
            self.next = (self.next + 1) % REMEMBERED;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const A: Ssrc = Ssrc(7);

    #[test]
    fn the_same_packet_waits_and_others_do_not() {
        let now = Instant::now();
        let mut resends = Resends::new(now);
        assert!(resends.admit(now, A, SeqNo(1)));
        assert!(!resends.admit(now, A, SeqNo(1)));
        assert!(resends.admit(now, A, SeqNo(2)) && resends.admit(now, Ssrc(8), SeqNo(1)));
        assert!(!resends.admit(now + RESEND_INTERVAL - Duration::from_millis(1), A, SeqNo(1)));
        assert!(resends.admit(now + RESEND_INTERVAL, A, SeqNo(1)));
    }

    #[test]
    fn a_flood_is_answered_at_the_rate_of_one_stream() {
        let start = Instant::now();
        let mut resends = Resends::new(start);
        let mut last: Vec<Option<Instant>> = vec![None; 1000];
        let mut sent = 0;
        for ms in 0..10_000_u64 {
            let now = start + Duration::from_millis(ms);
            for n in (0..100).map(|n| (ms * 31 + n * 7) as usize % 1000) {
                if resends.admit(now, A, SeqNo(n as u64)) {
                    sent += 1;
                    let before = last[n].replace(now);
                    assert!(before.is_none_or(|before| now >= before + RESEND_INTERVAL));
                }
            }
        }
        assert!((10 * RESENDS_PER_S..=11 * RESENDS_PER_S).contains(&sent), "{sent}");
        assert!(resends.latest.len() <= REMEMBERED && resends.latest.capacity() == REMEMBERED);
    }
}
