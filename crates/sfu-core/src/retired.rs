//! The numbering of streams whose leg is gone, for the leg that comes back.

use std::collections::{HashMap, VecDeque};
use std::time::Instant;

use rtp_wire::Ssrc;

use crate::limits::{RETIRED_FOR, RETIRED_STREAMS_MAX};
use crate::rewrite::Rewriter;

#[derive(Debug)]
struct Stream {
    since: Instant,
    /// The room it was last heard in.
    room: u64,
    rewriter: Rewriter,
}

#[derive(Debug, Default)]
pub struct Retired {
    streams: HashMap<Ssrc, Stream>,
    /// In order of retirement; may name streams that have come back since.
    order: VecDeque<(Instant, Ssrc)>,
}

impl Retired {
    pub fn put(&mut self, now: Instant, ssrc: Ssrc, room: u64, rewriter: Rewriter) {
        if rewriter.highest_out().is_none() {
            return;
        }
        self.forget_old(now);
        self.streams.insert(ssrc, Stream { since: now, room, rewriter });
        self.order.push_back((now, ssrc));
    }

    pub fn take(&mut self, now: Instant, ssrc: Ssrc) -> Option<Rewriter> {
        self.forget_old(now);
        self.streams.remove(&ssrc).map(|stream| stream.rewriter)
    }

    #[must_use]
    pub fn get(&self, ssrc: Ssrc) -> Option<&Rewriter> {
        self.streams.get(&ssrc).map(|stream| &stream.rewriter)
    }

    /// The streams that may come back to a room, in no order.
    pub fn of_room(&self, room: u64) -> impl Iterator<Item = (Ssrc, &Rewriter)> {
        let here = self.streams.iter().filter(move |(_, stream)| stream.room == room);
        here.map(|(ssrc, stream)| (*ssrc, &stream.rewriter))
    }

    fn forget_old(&mut self, now: Instant) {
        while let Some(&(at, ssrc)) = self.order.front()
            && (now >= at + RETIRED_FOR || self.order.len() >= RETIRED_STREAMS_MAX)
        {
            self.order.pop_front();
            if self.streams.get(&ssrc).is_some_and(|stream| stream.since == at) {
                self.streams.remove(&ssrc);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rtp_wire::{RtpTime, SeqNo};
    use std::time::Duration;

    fn rewriter() -> Rewriter {
        let mut rewriter = Rewriter::default();
        rewriter.forward(Instant::now(), SeqNo(70_000), RtpTime(0)).unwrap();
        rewriter
    }

    #[test]
    fn kept_for_a_while_and_taken_once() {
        let now = Instant::now();
        let mut retired = Retired::default();
        retired.put(now, Ssrc(1), 7, rewriter());
        retired.put(now, Ssrc(2), 7, rewriter());
        retired.put(now, Ssrc(3), 7, Rewriter::default());
        assert_eq!(retired.of_room(7).count(), 2);
        assert_eq!(retired.of_room(8).count(), 0);
        assert!(retired.take(now, Ssrc(1)).is_some());
        assert!(retired.take(now, Ssrc(1)).is_none());
        assert!(retired.take(now, Ssrc(3)).is_none(), "it had sent nothing");
        assert!(retired.take(now + RETIRED_FOR, Ssrc(2)).is_none());
    }

    #[test]
    fn the_oldest_is_forgotten_when_there_are_too_many() {
        let start = Instant::now();
        let mut retired = Retired::default();
        for n in 0..=RETIRED_STREAMS_MAX as u32 {
            retired.put(start + Duration::from_millis(u64::from(n)), Ssrc(n), 7, rewriter());
        }
        assert!(retired.get(Ssrc(0)).is_none());
        assert!(retired.get(Ssrc(RETIRED_STREAMS_MAX as u32)).is_some());
        assert!(retired.streams.len() <= RETIRED_STREAMS_MAX);
        assert!(retired.order.len() <= RETIRED_STREAMS_MAX);
    }
}
