//! One sender's packet rate: a bucket that fills with time and empties with packets.

use std::time::{Duration, Instant};

#[derive(Debug, Clone)]
pub struct Pace {
    interval: Duration,
    burst: Duration,
    /// When the bucket will be full again (the theoretical arrival time of GCRA).
    full_at: Instant,
}

impl Pace {
    #[must_use]
    pub fn new(now: Instant, packets_per_s: u32, burst_s: u32) -> Self {
        let interval = Duration::from_secs(1) / packets_per_s.max(1);
        Self { interval, burst: Duration::from_secs(u64::from(burst_s)), full_at: now }
    }

    /// Takes one packet's worth, or says that there is none.
    pub fn admit(&mut self, now: Instant) -> bool {
        let next = self.full_at.max(now) + self.interval;
        if next.saturating_duration_since(now) > self.burst {
            return false;
        }
        self.full_at = next;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_then_the_rate() {
        let start = Instant::now();
        let mut pace = Pace::new(start, 100, 1);
        let admitted =
            |pace: &mut Pace, at: Instant, tries: u32| (0..tries).filter(|_| pace.admit(at)).count();
        assert_eq!(admitted(&mut pace, start, 1_000), 100);
        assert_eq!(admitted(&mut pace, start + Duration::from_millis(500), 1_000), 50);
        assert_eq!(admitted(&mut pace, start + Duration::from_secs(60), 1_000), 100);
    }

    #[test]
    fn a_steady_sender_is_never_refused() {
        let start = Instant::now();
        let mut pace = Pace::new(start, 50, 1);
        assert!((0..10_000).all(|n| pace.admit(start + Duration::from_millis(20) * n)));
    }
}
