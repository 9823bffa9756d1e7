//! One voice connection: its version, whom it is bound to, and how much it may send.

use std::time::{Duration, Instant};

use client_wire::voice::Version;

use crate::SessionKey;
use crate::limits::{INBOUND_BURST, INBOUND_PER_S};

#[derive(Debug)]
pub struct Conn {
    pub version: Version,
    /// `None` until IDENTIFY or RESUME.
    pub session: Option<SessionKey>,
    pub last_heartbeat: Instant,
    allowance: Allowance,
}

impl Conn {
    pub fn new(now: Instant, version: Version) -> Self {
        Self { version, session: None, last_heartbeat: now, allowance: Allowance::new(now) }
    }

    /// Counts a message. False when the client sends too many.
    pub fn admit(&mut self, now: Instant) -> bool {
        self.allowance.take(now)
    }
}

/// A token bucket in units of time: each message costs a share of a second, and time earns it back.
#[derive(Debug)]
struct Allowance {
    /// The instant up to which the past is spent. Never more than a burst behind now.
    spent_until: Instant,
}

const COST: Duration = Duration::from_nanos(1_000_000_000 / INBOUND_PER_S as u64);
const BURST: Duration = COST.saturating_mul(INBOUND_BURST);

impl Allowance {
    fn new(now: Instant) -> Self {
        Self { spent_until: now.checked_sub(BURST).unwrap_or(now) }
    }

    fn take(&mut self, now: Instant) -> bool {
        let floor = now.checked_sub(BURST).unwrap_or(self.spent_until);
        let next = self.spent_until.max(floor) + COST;
        if next > now {
            return false;
        }
        self.spent_until = next;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_allowed_and_then_a_steady_rate() {
        let start = Instant::now() + Duration::from_secs(3_600);
        let mut allowance = Allowance::new(start);
        let taken = |allowance: &mut Allowance, now| (0..1_000).take_while(|_| allowance.take(now)).count();
        assert_eq!(taken(&mut allowance, start), INBOUND_BURST as usize);
        assert_eq!(taken(&mut allowance, start + Duration::from_secs(1)), INBOUND_PER_S as usize);
        assert_eq!(taken(&mut allowance, start + Duration::from_secs(3_600)), INBOUND_BURST as usize);
    }
}
