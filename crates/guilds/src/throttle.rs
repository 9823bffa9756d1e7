//! Slows down guessing of one account's password. No clock: time comes in.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::limits::{LOGIN_FAILURES_FREE, LOGIN_MEMORY, LOGIN_NAMES_MAX, LOGIN_WAIT_FIRST, LOGIN_WAIT_MAX};

#[derive(Debug, Default)]
pub(crate) struct Throttle {
    names: HashMap<String, Failures>,
}

#[derive(Debug, Clone, Copy)]
struct Failures {
    count: u32,
    last: Instant,
}

impl Failures {
    fn wait(self) -> Duration {
        match self.count.checked_sub(LOGIN_FAILURES_FREE) {
            None => Duration::ZERO,
            Some(beyond) => LOGIN_WAIT_FIRST.saturating_mul(1 << beyond.min(16)).min(LOGIN_WAIT_MAX),
        }
    }
}

impl Throttle {
    /// Counts an attempt as failed, or says how long this name must still wait.
    pub fn attempt(&mut self, now: Instant, name: &str) -> Result<(), Duration> {
        match self.must_wait(now, name) {
            Some(wait) => Err(wait),
            None => {
                self.failed(now, name);
                Ok(())
            }
        }
    }

    /// `None` if it need not.
    fn must_wait(&self, now: Instant, name: &str) -> Option<Duration> {
        let failures = self.names.get(&key(name))?;
        let left = (failures.last + failures.wait()).saturating_duration_since(now);
        (!left.is_zero()).then_some(left)
    }

    fn failed(&mut self, now: Instant, name: &str) {
        let key = key(name);
        if self.names.len() >= LOGIN_NAMES_MAX && !self.names.contains_key(&key) {
            self.forget(now);
        }
        let failures = self.names.entry(key).or_insert(Failures { count: 0, last: now });
        let is_old = now.saturating_duration_since(failures.last) > LOGIN_MEMORY;
        failures.count = if is_old { 1 } else { failures.count + 1 };
        failures.last = now;
    }

    pub fn succeeded(&mut self, name: &str) {
        self.names.remove(&key(name));
    }

    /// Makes room: everything old, or else the oldest.
    fn forget(&mut self, now: Instant) {
        self.names.retain(|_, failures| now.saturating_duration_since(failures.last) <= LOGIN_MEMORY);
        if self.names.len() >= LOGIN_NAMES_MAX {
            let oldest =
                self.names.iter().min_by_key(|(_, failures)| failures.last).map(|(name, _)| name.clone());
            oldest.and_then(|name| self.names.remove(&name));
        }
    }
}

/// Names are one account whatever the letters' case; a name too long to exist is cut, so that keys stay small.
fn key(name: &str) -> String {
    name.chars().take(64).flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_begin_after_the_free_failures_and_double() {
        let (mut throttle, start) = (Throttle::default(), Instant::now());
        for _ in 1..LOGIN_FAILURES_FREE {
            throttle.failed(start, "Bob");
            assert_eq!(throttle.must_wait(start, "bob"), None);
        }
        for doubling in 0..4 {
            throttle.failed(start, "BOB");
            assert_eq!(throttle.must_wait(start, "bob"), Some(LOGIN_WAIT_FIRST * (1 << doubling)));
        }
        assert_eq!(throttle.must_wait(start, "alice"), None);
        for _ in 0..40 {
            throttle.failed(start, "bob");
        }
        assert_eq!(throttle.must_wait(start, "bob"), Some(LOGIN_WAIT_MAX));
        assert_eq!(throttle.must_wait(start + LOGIN_WAIT_MAX, "bob"), None);
        throttle.succeeded("bob");
        throttle.failed(start, "bob");
        assert_eq!(throttle.must_wait(start, "bob"), None);
    }

    #[test]
    fn attempts_made_at_once_are_counted_before_any_has_failed() {
        let (mut throttle, start) = (Throttle::default(), Instant::now());
        let admitted = (0..100).filter(|_| throttle.attempt(start, "bob").is_ok()).count();
        assert_eq!(admitted, LOGIN_FAILURES_FREE as usize);
        throttle.succeeded("bob");
        assert_eq!(throttle.attempt(start, "bob"), Ok(()));
    }

    #[test]
    fn a_full_map_forgets_the_oldest_name() {
        let (mut throttle, start) = (Throttle::default(), Instant::now());
        for i in 0..LOGIN_NAMES_MAX + 10 {
            for _ in 0..LOGIN_FAILURES_FREE {
                throttle.failed(start + Duration::from_millis(i as u64), &format!("name{i}"));
            }
        }
        assert_eq!(throttle.names.len(), LOGIN_NAMES_MAX);
        let now = start + Duration::from_millis(LOGIN_NAMES_MAX as u64 + 10);
        assert_eq!(throttle.must_wait(start, "name0"), None);
        assert!(
            throttle.must_wait(now - LOGIN_WAIT_FIRST, &format!("name{}", LOGIN_NAMES_MAX + 9)).is_some()
        );
    }
}
