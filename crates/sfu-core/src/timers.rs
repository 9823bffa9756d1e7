//! What is to happen when, each with its reason.
//!
//! A leg arms each of its timers at most once at a time; an entry whose leg is gone fires into nothing.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

use crate::leg::LegKey;
use crate::limits::PATH_KEEP_SLACK;

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

    /// The earliest that is due by `now`; or, in the company of one that was, that may as well be done now.
    pub fn pop(&mut self, now: Instant, in_company: bool) -> Option<Due> {
        let Reverse(due) = *self.heap.peek()?;
        let may_be_early = in_company && due.reason == Reason::PathKeep;
        let slack = if may_be_early { PATH_KEEP_SLACK } else { Duration::ZERO };
        if due.at > now + slack {
            return None;
        }
        self.heap.pop();
        Some(due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_keeps_paths_open_goes_early_and_in_company() {
        let now = Instant::now();
        let at = |ms| now + Duration::from_millis(ms);
        let mut timers = Timers::default();
        timers.arm(at(40), Reason::PathKeep, None);
        timers.arm(at(20), Reason::PathKeep, None);
        timers.arm(at(45), Reason::Silence, None);
        timers.arm(at(50), Reason::PathKeep, None);
        assert_eq!(timers.next(), Some((at(20), Reason::PathKeep)));
        assert_eq!(timers.pop(at(19), false), None, "a packet that comes before is no reason");
        assert_eq!(timers.pop(at(20), false).map(|due| due.at), Some(at(20)));
        assert_eq!(timers.pop(at(20), true).map(|due| due.at), Some(at(40)));
        assert_eq!(timers.pop(at(44), true), None);
        assert_eq!(timers.pop(at(45), false).map(|due| due.reason), Some(Reason::Silence));
        assert_eq!(timers.pop(at(45), true).map(|due| due.at), Some(at(50)));
        assert_eq!(timers.next(), None);
    }
}
