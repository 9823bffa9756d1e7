//! A rate limit that needs one instant of memory (the generic cell rate algorithm).

use std::time::{Duration, Instant};

/// `burst` at once, then one every `every`.
#[derive(Debug, Clone, Copy)]
pub struct Rate {
    every: Duration,
    tolerance: Duration,
    /// When the credit will be whole again.
    whole_at: Option<Instant>,
}

impl Rate {
    pub fn new(burst: u32, every: Duration) -> Self {
        Self { every, tolerance: every * burst.saturating_sub(1), whole_at: None }
    }

    /// Takes one if there is one; else says when there will be.
    pub fn take(&mut self, now: Instant) -> Result<(), Instant> {
        let whole_at = self.whole_at.map_or(now, |at| at.max(now));
        if whole_at > now + self.tolerance {
            return Err(whole_at - self.tolerance);
        }
        self.whole_at = Some(whole_at + self.every);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_then_one_at_a_time() {
        let t0 = Instant::now();
        let mut rate = Rate::new(3, Duration::from_secs(10));
        for _ in 0..3 {
            assert_eq!(rate.take(t0), Ok(()));
        }
        assert_eq!(rate.take(t0), Err(t0 + Duration::from_secs(10)));
        assert_eq!(rate.take(t0 + Duration::from_secs(10)), Ok(()));
        assert!(rate.take(t0 + Duration::from_secs(19)).is_err());
        let later = t0 + Duration::from_secs(1_000);
        for _ in 0..3 {
            assert_eq!(rate.take(later), Ok(()));
        }
        assert!(rate.take(later).is_err());
    }
}
