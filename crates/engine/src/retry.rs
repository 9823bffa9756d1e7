//! How long to wait before the next attempt.

use std::time::Duration;

use crate::limits::{RETRY_FIRST, RETRY_LAST};

/// Doubles with every attempt, and differs between clients, so that those who lost a server together do not come back
/// together.
#[derive(Debug, Default)]
pub(crate) struct Retry {
    attempts: u32,
}

impl Retry {
    pub(crate) fn attempts(&self) -> u32 {
        self.attempts
    }

    pub(crate) fn reset(&mut self) {
        self.attempts = 0;
    }

    /// Counts an attempt and says how long to wait before it.
    pub(crate) fn next(&mut self) -> Duration {
        let full = RETRY_FIRST.saturating_mul(1 << self.attempts.min(10)).min(RETRY_LAST);
        self.attempts += 1;
        full.mul_f32(0.5 + 0.5 * rand::random::<f32>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_bound_and_start_over() {
        let mut retry = Retry::default();
        assert!(retry.next() <= RETRY_FIRST);
        let waits: Vec<Duration> = (0..20).map(|_| retry.next()).collect();
        assert!(waits.iter().all(|wait| *wait <= RETRY_LAST) && waits[19] >= RETRY_LAST / 2);
        retry.reset();
        assert!(retry.next() <= RETRY_FIRST);
    }
}
