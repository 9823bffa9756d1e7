//! What has to happen later.
//!
//! Entries are never removed early: whoever set one checks, when it comes, whether it still means anything. A
//! heartbeat thus costs a store into the connection instead of a walk through the heap.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Instant;

use model::{GuildId, SessionId, UserId};

use crate::connection::ConnId;

/// Why the node wants to be woken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// A connection may have gone silent, or has not identified.
    Silence(ConnId),
    /// A session may have waited long enough for its client.
    Expiry(SessionId),
    /// A delayed voice state update may go.
    VoiceUpdate(SessionId),
    /// Guilds could not be reached for an attach.
    AttachAgain(SessionId, GuildId),
    /// Guilds could not be told of a session's end.
    DetachAgain(SessionId, GuildId, UserId),
    /// The next clients are sent away.
    Drain,
}

#[derive(Debug, Default)]
pub struct Timers(BinaryHeap<Reverse<(Instant, Reason)>>);

impl Timers {
    pub fn set(&mut self, at: Instant, reason: Reason) {
        self.0.push(Reverse((at, reason)));
    }

    pub fn next(&self) -> Option<(Instant, Reason)> {
        self.0.peek().map(|Reverse(entry)| *entry)
    }

    pub fn pop_due(&mut self, now: Instant) -> Option<Reason> {
        let (at, reason) = self.next()?;
        if at > now {
            return None;
        }
        self.0.pop();
        Some(reason)
    }
}
