//! One client's socket, as far as the protocol is concerned.

use std::time::{Duration, Instant};

use client_wire::gateway::FromClient;
use model::SessionId;

use crate::limits::{EARLY_FRAMES_MAX, IDENTIFY_PATIENCE, MESSAGE_EVERY, MESSAGES_BURST};
use crate::rate::Rate;

/// Numbers connections in the order they came; never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(pub u64);

/// Where a connection is in its life. A closed one is forgotten at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// HELLO is sent; IDENTIFY or RESUME is awaited.
    Greeted,
    /// Guilds is asked whose token it is.
    Identifying,
    /// The same, for a session that exists.
    Resuming,
    /// Bound to a session.
    Live,
    Closed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    Identify,
    Resume,
    /// The token was right and the session is there.
    Accept,
    /// The session cannot be resumed; the client may identify instead.
    Refuse,
    Close,
}

impl Phase {
    /// The phase after a step, or None where the step has no place.
    pub fn after(self, step: Step) -> Option<Self> {
        use {Phase::*, Step::*};
        match (self, step) {
            (Greeted, Identify) => Some(Identifying),
            (Greeted, Resume) => Some(Resuming),
            (Identifying | Resuming, Accept) => Some(Live),
            (Resuming, Refuse) => Some(Greeted),
            (Greeted | Identifying | Resuming | Live, Close) => Some(Closed),
            _ => None,
        }
    }
}

#[derive(Debug)]
pub struct Connection {
    pub phase: Phase,
    /// Set while live.
    pub session: Option<SessionId>,
    /// Where the client is told to come back to.
    pub resume_url: String,
    pub messages: Rate,
    /// Silent until then, it is dead.
    pub deadline: Instant,
    /// Sent between IDENTIFY and its answer, to be acted upon after it.
    pub early: Vec<FromClient>,
}

impl Connection {
    pub fn new(now: Instant, resume_url: String, patience: Duration) -> Self {
        Self {
            phase: Phase::Greeted,
            session: None,
            resume_url,
            messages: Rate::new(MESSAGES_BURST, MESSAGE_EVERY),
            deadline: now + patience.min(IDENTIFY_PATIENCE),
            early: Vec::new(),
        }
    }

    /// Moves on; the caller has checked that the step has a place.
    pub fn step(&mut self, step: Step) {
        self.phase = self.phase.after(step).expect("the caller checked the phase before taking the step");
    }

    pub fn heard(&mut self, now: Instant, patience: Duration) {
        self.deadline = self.deadline.max(now + patience);
    }

    /// False when there are too many already.
    pub fn hold(&mut self, frame: FromClient) -> bool {
        let fits = self.early.len() < EARLY_FRAMES_MAX;
        if fits {
            self.early.push(frame);
        }
        fits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_table() {
        use {Phase::*, Step::*};
        let steps = [Identify, Resume, Accept, Refuse, Close];
        let check = |phase: Phase, expect: [Option<Phase>; 5]| {
            assert_eq!(steps.map(|step| phase.after(step)), expect, "{phase:?}");
        };
        check(Greeted, [Some(Identifying), Some(Resuming), None, None, Some(Closed)]);
        check(Identifying, [None, None, Some(Live), None, Some(Closed)]);
        check(Resuming, [None, None, Some(Live), Some(Greeted), Some(Closed)]);
        check(Live, [None, None, None, None, Some(Closed)]);
        check(Closed, [None, None, None, None, None]);
    }
}
