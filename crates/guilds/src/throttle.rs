//! Slows down guessing of one account's password, where the guesses come from before everywhere. No clock: time comes in.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

use cluster_wire::guilds::Origin;

use crate::limits::{
    LOGIN_FAILURES_FREE, LOGIN_FAILURES_FREE_ANYWHERE, LOGIN_MEMORY, LOGIN_NAMES_MAX, LOGIN_WAIT_FIRST,
    LOGIN_WAIT_MAX, LOGIN_WAIT_MAX_ANYWHERE,
};

#[derive(Debug)]
pub(crate) struct Throttle {
    /// A name at a network.
    there: Counts<(String, Origin)>,
    /// A name, wherever.
    anywhere: Counts<String>,
}

impl Default for Throttle {
    fn default() -> Self {
        Self {
            there: Counts::new(LOGIN_FAILURES_FREE, LOGIN_WAIT_MAX),
            anywhere: Counts::new(LOGIN_FAILURES_FREE_ANYWHERE, LOGIN_WAIT_MAX_ANYWHERE),
        }
    }
}

impl Throttle {
    /// Counts an attempt as failed, or says how long this name must still wait.
    pub fn attempt(&mut self, now: Instant, name: &str, origin: Origin) -> Result<(), Duration> {
        let name = key(name);
        let there = (name, origin);
        if let Some(wait) = self.there.must_wait(now, &there).max(self.anywhere.must_wait(now, &there.0)) {
            return Err(wait);
        }
        self.anywhere.failed(now, there.0.clone());
        self.there.failed(now, there);
        Ok(())
    }

    /// The attempt was none at guessing. What others failed at elsewhere stays counted.
    pub fn succeeded(&mut self, name: &str, origin: Origin) {
        let name = key(name);
        self.anywhere.take_back(&name);
        self.there.failures.remove(&(name, origin));
    }
}

/// Names are one account whatever the letters' case; a name too long to exist is cut, so that keys stay small.
fn key(name: &str) -> String {
    name.chars().take(64).flat_map(char::to_lowercase).collect()
}

/// Failures by whatever is to wait for them.
#[derive(Debug)]
struct Counts<K> {
    failures: HashMap<K, Failures>,
    free: u32,
    wait_max: Duration,
}

#[derive(Debug, Clone, Copy)]
struct Failures {
    count: u32,
    last: Instant,
}

impl<K: Hash + Eq + Clone> Counts<K> {
    fn new(free: u32, wait_max: Duration) -> Self {
        Self { failures: HashMap::new(), free, wait_max }
    }

    /// `None` if it need not.
    fn must_wait(&self, now: Instant, key: &K) -> Option<Duration> {
        let failures = self.failures.get(key)?;
        let wait = match failures.count.checked_sub(self.free) {
            None => Duration::ZERO,
            Some(beyond) => LOGIN_WAIT_FIRST.saturating_mul(1 << beyond.min(16)).min(self.wait_max),
        };
        let left = (failures.last + wait).saturating_duration_since(now);
        (!left.is_zero()).then_some(left)
    }

    fn failed(&mut self, now: Instant, key: K) {
        if self.failures.len() >= LOGIN_NAMES_MAX && !self.failures.contains_key(&key) {
            self.forget(now);
        }
        let failures = self.failures.entry(key).or_insert(Failures { count: 0, last: now });
        let is_old = now.saturating_duration_since(failures.last) > LOGIN_MEMORY;
        failures.count = if is_old { 1 } else { failures.count + 1 };
        failures.last = now;
    }

    fn take_back(&mut self, key: &K) {
        if let Some(failures) = self.failures.get_mut(key) {
            failures.count = failures.count.saturating_sub(1);
        }
    }

    /// Makes room: everything old, or else the oldest.
    fn forget(&mut self, now: Instant) {
        self.failures.retain(|_, failures| now.saturating_duration_since(failures.last) <= LOGIN_MEMORY);
        if self.failures.len() >= LOGIN_NAMES_MAX {
            let oldest =
                self.failures.iter().min_by_key(|(_, failures)| failures.last).map(|(key, _)| key.clone());
            oldest.and_then(|key| self.failures.remove(&key));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

    use super::*;

    fn network(n: u8) -> Origin {
        Origin::of([10, 0, n, 1].into())
    }

    /// How long the name must wait there.
    fn wait(throttle: &Throttle, now: Instant, name: &str, origin: Origin) -> Option<Duration> {
        throttle.there.must_wait(now, &(key(name), origin)).max(throttle.anywhere.must_wait(now, &key(name)))
    }

    #[test]
    fn waits_begin_after_the_free_failures_and_double() {
        let (mut counts, start) = (Counts::new(LOGIN_FAILURES_FREE, LOGIN_WAIT_MAX), Instant::now());
        for _ in 1..LOGIN_FAILURES_FREE {
            counts.failed(start, 1);
            assert_eq!(counts.must_wait(start, &1), None);
        }
        for doubling in 0..4 {
            counts.failed(start, 1);
            assert_eq!(counts.must_wait(start, &1), Some(LOGIN_WAIT_FIRST * (1 << doubling)));
        }
        assert_eq!(counts.must_wait(start, &2), None);
        for _ in 0..40 {
            counts.failed(start, 1);
        }
        assert_eq!(counts.must_wait(start, &1), Some(LOGIN_WAIT_MAX));
        assert_eq!(counts.must_wait(start + LOGIN_WAIT_MAX, &1), None);
    }

    #[test]
    fn attempts_made_at_once_are_counted_before_any_has_failed() {
        let (mut throttle, start) = (Throttle::default(), Instant::now());
        let admitted = (0..100).filter(|_| throttle.attempt(start, "Bob", network(1)).is_ok()).count();
        assert_eq!(admitted, LOGIN_FAILURES_FREE as usize);
        assert!(throttle.attempt(start, "BOB", network(1)).is_err());
        throttle.succeeded("bob", network(1));
        assert_eq!(throttle.attempt(start, "bob", network(1)), Ok(()));
    }

    #[test]
    fn who_guesses_elsewhere_makes_nobody_wait_until_it_is_too_much() {
        let (mut throttle, start) = (Throttle::default(), Instant::now());
        let home = network(255);
        let mut guesses = 0;
        for n in 0..255 {
            while throttle.attempt(start, "bob", network(n)).is_ok() {
                guesses += 1;
            }
            let owner_waits = wait(&throttle, start, "bob", home);
            assert_eq!(owner_waits.is_some(), guesses >= LOGIN_FAILURES_FREE_ANYWHERE, "after {guesses}");
        }
        assert_eq!(guesses, LOGIN_FAILURES_FREE_ANYWHERE);
        assert_eq!(wait(&throttle, start, "alice", home), None);
        // However long it goes on, the owner waits a minute at the most.
        for minute in 1..20 {
            let now = start + LOGIN_WAIT_MAX_ANYWHERE * minute;
            let _ = throttle.attempt(now, "bob", network(1));
            assert!(wait(&throttle, now, "bob", home) <= Some(LOGIN_WAIT_MAX_ANYWHERE));
        }
    }

    #[test]
    fn signing_in_is_no_guess_and_forgives_none_made_elsewhere() {
        let (mut throttle, start) = (Throttle::default(), Instant::now());
        for _ in 0..10 * LOGIN_FAILURES_FREE_ANYWHERE {
            assert_eq!(throttle.attempt(start, "bob", network(1)), Ok(()));
            throttle.succeeded("bob", network(1));
        }
        while throttle.attempt(start, "bob", network(2)).is_ok() {}
        assert_eq!(throttle.attempt(start, "bob", network(1)), Ok(()));
        throttle.succeeded("bob", network(1));
        assert!(throttle.attempt(start, "bob", network(2)).is_err());
    }

    #[test]
    fn networks_are_what_one_customer_has() {
        let v6 = |text: &str| Origin::of(IpAddr::V6(text.parse::<Ipv6Addr>().unwrap()));
        let v4 = |text: &str| Origin::of(IpAddr::V4(text.parse::<Ipv4Addr>().unwrap()));
        assert_eq!(v6("2001:db8:0:11::1"), v6("2001:db8:0:22:3::4"));
        assert_ne!(v6("2001:db8:0:111::1"), v6("2001:db8:0:222::1"));
        assert_eq!(v6("::ffff:192.0.2.1"), v4("192.0.2.200"));
        assert_ne!(v4("192.0.2.1"), v4("192.0.3.1"));
    }

    #[test]
    fn full_counts_forget_the_oldest() {
        let (mut counts, start) = (Counts::new(LOGIN_FAILURES_FREE, LOGIN_WAIT_MAX), Instant::now());
        for i in 0..LOGIN_NAMES_MAX + 10 {
            for _ in 0..LOGIN_FAILURES_FREE {
                counts.failed(start + Duration::from_millis(i as u64), i);
            }
        }
        assert_eq!(counts.failures.len(), LOGIN_NAMES_MAX);
        let now = start + Duration::from_millis(LOGIN_NAMES_MAX as u64 + 10);
        assert_eq!(counts.must_wait(start, &0), None);
        assert!(counts.must_wait(now - LOGIN_WAIT_FIRST, &(LOGIN_NAMES_MAX + 9)).is_some());
    }
}
