//! What a session has been sent, kept for a while in case it was lost on the way.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::body::Body;
use crate::limits::{REPLAY_BYTES_MAX, REPLAY_DISPATCHES_MAX};

#[derive(Debug, Clone)]
pub struct Kept {
    pub seq: u64,
    pub body: Arc<Body>,
}

#[derive(Debug, Default)]
pub struct Replay {
    /// Up to the newest, without a gap: a number follows from the place. One pointer each, because whoever hears much keeps a thousand.
    kept: VecDeque<Arc<Body>>,
    bytes: usize,
    /// The number of the newest dispatch; 0 before the first.
    last: u64,
    /// What the client said last that it had seen.
    seen: u64,
}

/// Why a resume cannot be served from here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplayError {
    /// The client says it has seen what was never sent.
    Ahead,
    /// What the client has missed is not kept any more.
    Forgotten,
}

impl Replay {
    /// Of a session that has been sent this many elsewhere.
    pub fn after_another(last: u64) -> Self {
        Self { last, ..Self::default() }
    }

    /// Numbers a dispatch and keeps it; the oldest go when there are too many or too large ones.
    pub fn push(&mut self, body: Arc<Body>) -> Kept {
        self.last += 1;
        // Before the new one comes, or the memory for one more than is ever kept would be twice as much.
        if self.kept.len() == REPLAY_DISPATCHES_MAX {
            self.forget_oldest();
        }
        self.bytes += body.payload_bytes();
        self.kept.push_back(Arc::clone(&body));
        while self.bytes > REPLAY_BYTES_MAX {
            self.forget_oldest();
        }
        Kept { seq: self.last, body }
    }

    /// The client says by a heartbeat what it has seen, and never comes back to what was before: that is given up with its next one, for clients that are started anew with
    /// what they wrote down a moment before.
    pub fn acknowledge(&mut self, seq: u64) {
        let first = self.last + 1 - self.kept.len() as u64;
        for _ in first..=self.seen.min(self.last) {
            self.forget_oldest();
        }
        // A number that was never sent is another session's.
        if seq <= self.last {
            self.seen = self.seen.max(seq);
        }
        if self.kept.is_empty() {
            self.kept = VecDeque::new();
        }
    }

    /// The client has come back, perhaps to less than it had said.
    pub fn resumed_from(&mut self, seq: u64) {
        self.seen = seq;
    }

    fn forget_oldest(&mut self) {
        let oldest = self.kept.pop_front().expect("a buffer at its bound is not empty");
        self.bytes -= oldest.payload_bytes();
    }

    pub fn last(&self) -> u64 {
        self.last
    }

    /// What follows `seq`, which the client has seen.
    pub fn after(&self, seq: u64) -> Result<impl Iterator<Item = Kept> + '_, ReplayError> {
        if seq > self.last {
            return Err(ReplayError::Ahead);
        }
        let missed = usize::try_from(self.last - seq).map_err(|_| ReplayError::Forgotten)?;
        let skip = self.kept.len().checked_sub(missed).ok_or(ReplayError::Forgotten)?;
        let first = seq + 1;
        Ok((first..).zip(self.kept.iter().skip(skip)).map(|(seq, body)| Kept { seq, body: Arc::clone(body) }))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::value::RawValue;

    use super::*;

    fn body(bytes: usize) -> Arc<Body> {
        Body::new("X", RawValue::from_string(format!("\"{}\"", "x".repeat(bytes - 2))).unwrap())
    }

    fn numbers(replay: &Replay, seq: u64) -> Result<Vec<u64>, ReplayError> {
        replay.after(seq).map(|kept| kept.map(|k| k.seq).collect())
    }

    #[test]
    fn what_follows_a_number_is_replayed_under_its_own_numbers() {
        let mut replay = Replay::default();
        assert_eq!(numbers(&replay, 0), Ok(vec![]));
        assert_eq!(numbers(&replay, 1), Err(ReplayError::Ahead));
        for _ in 0..5 {
            replay.push(body(2));
        }
        assert_eq!(numbers(&replay, 0), Ok(vec![1, 2, 3, 4, 5]));
        assert_eq!(numbers(&replay, 3), Ok(vec![4, 5]));
        assert_eq!(numbers(&replay, 5), Ok(vec![]));
        assert_eq!(numbers(&replay, 6), Err(ReplayError::Ahead));
    }

    #[test]
    fn what_was_seen_two_heartbeats_ago_is_given_up() {
        let mut replay = Replay::default();
        replay.acknowledge(7);
        assert_eq!(numbers(&replay, 0), Ok(vec![]), "a client that makes numbers up harms itself only");
        let mut replay = Replay::default();
        (0..5).for_each(|_| drop(replay.push(body(2))));
        replay.acknowledge(3);
        assert_eq!(numbers(&replay, 0).map(|n| n.len()), Ok(5));
        replay.push(body(2));
        replay.acknowledge(3);
        assert_eq!(numbers(&replay, 2), Err(ReplayError::Forgotten));
        assert_eq!(numbers(&replay, 3), Ok(vec![4, 5, 6]));
        // One that fell behind, or lies, brings nothing back and takes nothing more.
        replay.acknowledge(1);
        replay.acknowledge(6);
        assert_eq!(numbers(&replay, 3), Ok(vec![4, 5, 6]));
        replay.acknowledge(6);
        assert_eq!((numbers(&replay, 6), replay.bytes, replay.kept.capacity()), (Ok(vec![]), 0, 0));
        replay.push(body(2));
        assert_eq!(numbers(&replay, 6), Ok(vec![7]));
        // Whoever comes back to less loses nothing of it by saying so.
        (0..5).for_each(|_| drop(replay.push(body(2))));
        replay.acknowledge(9);
        replay.resumed_from(7);
        replay.acknowledge(7);
        assert_eq!(numbers(&replay, 7), Ok(vec![8, 9, 10, 11, 12]));
        replay.acknowledge(5_000);
        replay.acknowledge(8);
        assert_eq!(numbers(&replay, 7), Ok(vec![8, 9, 10, 11, 12]));
    }

    #[test]
    fn too_many_dispatches_push_out_the_oldest() {
        let mut replay = Replay::default();
        for _ in 0..REPLAY_DISPATCHES_MAX + 3 {
            replay.push(body(2));
        }
        assert_eq!(numbers(&replay, 2), Err(ReplayError::Forgotten));
        assert_eq!(numbers(&replay, 3).map(|n| n.len()), Ok(REPLAY_DISPATCHES_MAX));
    }

    #[test]
    fn too_large_dispatches_push_out_the_oldest() {
        let mut replay = Replay::default();
        for _ in 0..3 {
            replay.push(body(REPLAY_BYTES_MAX / 2));
        }
        assert_eq!(numbers(&replay, 0), Err(ReplayError::Forgotten));
        assert_eq!(numbers(&replay, 1), Ok(vec![2, 3]));
        // One that is larger than the whole buffer is sent but cannot be kept.
        replay.push(body(REPLAY_BYTES_MAX + 1));
        assert_eq!(numbers(&replay, 3), Err(ReplayError::Forgotten));
        assert_eq!(numbers(&replay, 4), Ok(vec![]));
        assert_eq!(replay.bytes, 0);
    }
}
