//! Deadlines. They are never taken back: whoever is woken looks whether the deadline still stands.

use std::collections::BTreeMap;
use std::time::Instant;

use crate::{ConnId, SessionKey};

/// Why `handle_timeout` wants to be called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// A connection should have identified by now.
    Identify(ConnId),
    /// A connection should have sent a heartbeat by now.
    Heartbeat(ConnId),
    /// A session's client should have come back by now. `leg` says which presence of the session is meant.
    Resume { key: SessionKey, leg: u64 },
    /// Guilds should have placed a session by now.
    Confirm { key: SessionKey, leg: u64 },
    /// A session that goes to another server should be there by now.
    Release { key: SessionKey },
}

#[derive(Debug, Default)]
pub struct Timers {
    /// The number keeps deadlines of one instant apart and in order.
    deadlines: BTreeMap<(Instant, u64), Reason>,
    armed: u64,
}

impl Timers {
    pub fn arm(&mut self, at: Instant, reason: Reason) {
        self.armed += 1;
        self.deadlines.insert((at, self.armed), reason);
    }

    pub fn next(&self) -> Option<(Instant, Reason)> {
        self.deadlines.first_key_value().map(|((at, _), reason)| (*at, *reason))
    }

    pub fn pop_due(&mut self, now: Instant) -> Option<Reason> {
        let entry = self.deadlines.first_entry().filter(|entry| entry.key().0 <= now)?;
        Some(entry.remove())
    }
}
