//! Where one leg's client is.
//!
//! Owns the rules by which an address becomes a leg's. It is told by the client over its voice connection and
//! has been answered there by IP discovery, or an authenticated packet came from it; afterwards it follows
//! the newest authenticated packet, and a browser's also what that chose of the addresses that it proved.
//! Nothing else ever moves it. Does not know other legs: who wins when two want one address is the shard's to say.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::limits::{ADDRESS_CHANGE_INTERVAL, ADDRESS_HOLD, ANSWERED_MAX, CHOICE_HOLD};

#[derive(Debug, Clone, Default)]
pub struct Path {
    current: Option<Current>,
    claimed: Option<SocketAddr>,
    answered: [Option<SocketAddr>; ANSWERED_MAX],
    answered_next: usize,
}

#[derive(Debug, Clone, Copy)]
struct Current {
    address: SocketAddr,
    since: Instant,
    heard_at: Instant,
}

impl Path {
    #[inline]
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        self.current.map(|current| current.address)
    }

    /// Whether someone was there a short while ago, so that the address is not up for taking.
    #[must_use]
    pub fn is_held(&self, now: Instant) -> bool {
        self.heard_within(now, ADDRESS_HOLD)
    }

    /// Whether something came from the address in the last `period`.
    #[must_use]
    pub fn heard_within(&self, now: Instant, period: Duration) -> bool {
        self.current.is_some_and(|current| now < current.heard_at + period)
    }

    /// Any datagram at all came from the current address.
    pub fn heard(&mut self, now: Instant) {
        if let Some(current) = &mut self.current {
            current.heard_at = now;
        }
    }

    pub fn set(&mut self, now: Instant, address: SocketAddr) {
        self.current = Some(Current { address, since: now, heard_at: now });
    }

    pub fn lose(&mut self) {
        self.current = None;
    }

    /// The client's claim, as it was told. Says where to go when it is a new one, or the leg is nowhere yet,
    /// and discovery was answered there.
    pub fn claim(&mut self, claimed: Option<SocketAddr>) -> Option<SocketAddr> {
        let news = self.claimed != claimed;
        self.claimed = claimed;
        let claimed = claimed.filter(|_| news || self.current.is_none())?;
        self.answered.iter().flatten().copied().find(|answered| same(*answered, claimed))
    }

    /// Discovery was answered to `to`. True when the leg claims to be there and is nowhere yet.
    pub fn answered(&mut self, to: SocketAddr) -> bool {
        if !self.answered.contains(&Some(to)) {
            self.answered[self.answered_next] = Some(to);
            self.answered_next = (self.answered_next + 1) % ANSWERED_MAX;
        }
        self.current.is_none() && self.claimed.is_some_and(|claimed| same(claimed, to))
    }

    /// Whether an authenticated packet from `from` moves the leg there; `newest` says that none was newer.
    #[must_use]
    pub fn follows(&self, now: Instant, from: SocketAddr, newest: bool) -> bool {
        match self.current {
            None => true,
            Some(current) if current.address == from => false,
            Some(current) => newest && now >= current.since + ADDRESS_CHANGE_INTERVAL,
        }
    }

    /// Whether a browser's check that says to choose `from`, which was checked first at `first_at`, moves the leg there. Some browsers say so with every
    /// check of every path, whether or not our answers arrive. So one that was there to be chosen before is not a choice while the present
    /// one is in use: what the browser sends over its path besides checks tells better.
    #[must_use]
    pub fn is_choice(&self, now: Instant, from: SocketAddr, first_at: Instant) -> bool {
        let is_new = self.current.is_none_or(|current| first_at > current.since);
        self.follows(now, from, true) && (is_new || !self.heard_within(now, CHOICE_HOLD))
    }
}

/// A socket for both families shows IPv4 addresses as IPv6 ones; the client writes what it was told.
fn same(a: SocketAddr, b: SocketAddr) -> bool {
    a.port() == b.port() && a.ip().to_canonical() == b.ip().to_canonical()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_claim_counts_only_where_discovery_was_answered() {
        let mut path = Path::default();
        assert_eq!(path.claim(Some(address("10.0.0.1:5"))), None);
        assert!(!path.answered(address("10.0.0.2:5")));
        assert!(path.answered(address("[::ffff:10.0.0.1]:5")));

        let mut path = Path::default();
        assert!(!path.answered(address("[::ffff:10.0.0.1]:5")));
        assert_eq!(path.claim(Some(address("10.0.0.1:6"))), None);
        assert_eq!(path.claim(Some(address("10.0.0.1:5"))), Some(address("[::ffff:10.0.0.1]:5")));
    }

    #[test]
    fn a_known_address_is_left_only_for_a_new_claim() {
        let now = Instant::now();
        let mut path = Path::default();
        path.answered(address("10.0.0.1:5"));
        assert!(path.claim(Some(address("10.0.0.1:5"))).is_some());
        path.set(now, address("10.0.0.9:9"));
        assert_eq!(path.claim(Some(address("10.0.0.1:5"))), None, "the same claim again");
        assert!(!path.answered(address("10.0.0.1:5")));
        path.answered(address("10.0.0.1:6"));
        assert!(path.claim(Some(address("10.0.0.1:6"))).is_some());
    }

    #[test]
    fn the_oldest_answer_is_forgotten_and_duplicates_take_no_room() {
        let mut path = Path::default();
        for port in 1..=ANSWERED_MAX as u16 {
            for _ in 0..10 {
                path.answered(SocketAddr::from(([10, 0, 0, 1], port)));
            }
        }
        assert!(path.clone().claim(Some(address("10.0.0.1:1"))).is_some());
        path.answered(address("10.0.0.1:1000"));
        assert_eq!(path.clone().claim(Some(address("10.0.0.1:1"))), None);
        assert!(path.claim(Some(address("10.0.0.1:2"))).is_some());
    }

    #[test]
    fn follows_the_newest_and_not_too_often() {
        let now = Instant::now();
        let later = now + ADDRESS_CHANGE_INTERVAL;
        let (here, there) = (address("10.0.0.1:5"), address("10.0.0.2:5"));
        let mut path = Path::default();
        assert!(path.follows(now, here, false));
        path.set(now, here);
        assert!(!path.follows(later, here, true));
        assert!(!path.follows(later, there, false));
        assert!(!path.follows(later - Duration::from_millis(1), there, true));
        assert!(path.follows(later, there, true));
    }

    #[test]
    fn a_check_chooses_what_is_new_or_what_is_left() {
        let now = Instant::now();
        let at = |millis| now + Duration::from_millis(millis);
        let (here, there) = (address("10.0.0.1:5"), address("10.0.0.2:5"));
        let mut path = Path::default();
        assert!(path.is_choice(now, there, now));
        path.set(at(100), here);
        assert!(!path.is_choice(at(200), there, at(200)), "too soon");
        assert!(path.is_choice(at(900), there, at(200)));
        assert!(!path.is_choice(at(900), there, at(50)), "it was there to be chosen before");
        assert!(!path.is_choice(at(900), there, at(100)));
        path.heard(at(1_000));
        assert!(!path.is_choice(at(7_900), there, at(50)));
        assert!(path.is_choice(at(8_000), there, at(50)), "nothing came from here for a while");
    }

    #[test]
    fn an_address_is_held_while_someone_is_heard_there() {
        let now = Instant::now();
        let mut path = Path::default();
        assert!(!path.is_held(now));
        path.set(now, address("10.0.0.1:5"));
        path.heard(now + Duration::from_secs(5));
        assert!(path.is_held(now + ADDRESS_HOLD));
        assert!(!path.is_held(now + ADDRESS_HOLD + Duration::from_secs(5)));
    }
}
