//! What is to happen when, each with its reason.
//!
//! A leg arms each of its timers at most once at a time; an entry whose leg is gone fires into nothing.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Instant;

use crate::leg::LegKey;

/// Why a shard wants to be woken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// The counters are due.
    Report,
    /// A silence frame for someone who was cut off is due.
    Silence,
    /// Someone may have stopped speaking.
    SpeechEnd,
    /// A leg's path is to be kept open.
    PathKeep,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Due {
    pub at: Instant,
    pub reason: Reason,
    /// Nothing for what concerns the whole shard.
    pub leg: Option<LegKey>,
}

#[derive(Debug, Default)]
pub struct Timers {
    heap: BinaryHeap<Reverse<Due>>,
}

impl Timers {
    pub fn arm(&mut self, at: Instant, reason: Reason, leg: Option<LegKey>) {
        self.heap.push(Reverse(Due { at, reason, leg }));
    }

    #[must_use]
    pub fn next(&self) -> Option<(Instant, Reason)> {
        self.heap.peek().map(|Reverse(due)| (due.at, due.reason))
    }

    /// The earliest that is due by `now`.
    pub fn pop(&mut self, now: Instant) -> Option<Due> {
        let Reverse(due) = *self.heap.peek()?;
        if due.at > now {
            return None;
        }
        self.heap.pop();
        Some(due)
    }
}
