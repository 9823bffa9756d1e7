//! From where a browser has lately sent checks that were answered.
//!
//! Owns those addresses, each with when it was first checked. Deliberately does not: know which of them is the leg's (`path`), or find a leg by
//! one (the shard).

use std::net::SocketAddr;
use std::time::Instant;

use crate::limits::{ADDRESS_HOLD, CHECKED_MAX, CONSENT};

#[derive(Debug, Default)]
pub struct Checked {
    checks: [Option<Check>; CHECKED_MAX],
}

#[derive(Debug, Clone, Copy)]
struct Check {
    from: SocketAddr,
    first_at: Instant,
    last_at: Instant,
}

impl Checked {
    /// Takes in a check. Says when the first one came from there, and which address is forgotten for it.
    pub fn note(&mut self, now: Instant, from: SocketAddr) -> (Instant, Option<SocketAddr>) {
        let known = self.checks.iter_mut().flatten().find(|check| check.from == from);
        if let Some(check) = known {
            // Whoever was silent for so long is there anew.
            if now >= check.last_at + CONSENT {
                check.first_at = now;
            }
            check.last_at = now;
            return (check.first_at, None);
        }
        let oldest = self.checks.iter_mut().min_by_key(|check| check.map(|check| check.last_at));
        let forgotten = oldest.and_then(|place| place.replace(Check { from, first_at: now, last_at: now }));
        (now, forgotten.map(|check| check.from))
    }

    /// Whether a check came from there a short while ago, so that the address is not another's.
    #[must_use]
    pub fn is_held(&self, now: Instant, from: SocketAddr) -> bool {
        self.checks.iter().flatten().any(|check| check.from == from && now < check.last_at + ADDRESS_HOLD)
    }

    pub fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.checks.iter().flatten().map(|check| check.from)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn address(port: usize) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, 1], port as u16))
    }

    #[test]
    fn an_address_is_as_old_as_its_first_check() {
        let now = Instant::now();
        let mut checked = Checked::default();
        assert_eq!(checked.note(now, address(1)), (now, None));
        let later = now + Duration::from_secs(20);
        assert_eq!(checked.note(later, address(2)), (later, None));
        assert!(!checked.is_held(later, address(1)));
        assert_eq!(checked.note(later, address(1)), (now, None));
        assert!(checked.is_held(later, address(1)));
        let much_later = later + CONSENT;
        assert_eq!(checked.note(much_later, address(1)), (much_later, None));
        assert_eq!(checked.addresses().collect::<Vec<_>>(), [address(1), address(2)]);
    }

    #[test]
    fn the_one_that_was_silent_for_longest_is_forgotten() {
        let now = Instant::now();
        let at = |n: usize| now + Duration::from_millis(n as u64);
        let mut checked = Checked::default();
        for n in 0..CHECKED_MAX {
            assert_eq!(checked.note(at(n), address(n)), (at(n), None));
        }
        let next = at(CHECKED_MAX);
        checked.note(next, address(0));
        assert_eq!(checked.note(next, address(99)), (next, Some(address(1))));
        assert_eq!(checked.addresses().count(), CHECKED_MAX);
    }
}
