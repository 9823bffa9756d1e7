//! The numbering of streams whose leg is gone, for the leg that comes back.

use std::collections::{HashMap, VecDeque};
use std::time::Instant;

use rtp_wire::{RtpTime, SeqNo, Ssrc};

use crate::limits::{RETIRED_FOR, RETIRED_STREAMS_MAX};
use crate::page::{Page, RecordAt};
use crate::rewrite::{Rewriter, RewriterState};
use crate::state::LegState;

/// No channel's.
const NOWHERE: u64 = 0;

#[derive(Debug)]
struct Stream {
    since: Instant,
    /// The room it was last heard in.
    room: u64,
    rewriter: Rewriter,
    /// Where it is written down.
    record: Option<RecordAt>,
}

/// What must be written down of it to go on in another process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RetiredState {
    pub ssrc: Ssrc,
    pub room: u64,
    pub highest_out: SeqNo,
    pub last_time: RtpTime,
    pub record: RecordAt,
}

#[derive(Debug, Default)]
pub struct Retired {
    streams: HashMap<Ssrc, Stream>,
    /// In order of retirement; may name streams that have come back since.
    order: VecDeque<(Instant, Ssrc)>,
}

impl Retired {
    pub fn put(&mut self, now: Instant, ssrc: Ssrc, room: u64, rewriter: Rewriter, page: &mut Page) {
        let Some((highest_out, last_time)) = rewriter.last_out() else { return };
        self.forget_old(now, page);
        let record = page.retired(ssrc, room, highest_out, last_time);
        self.insert(ssrc, Stream { since: now, room, rewriter, record }, page);
        self.order.push_back((now, ssrc));
    }

    /// The numbering, and where it is written down until it is somewhere else.
    pub fn take(
        &mut self,
        now: Instant,
        ssrc: Ssrc,
        page: &mut Page,
    ) -> Option<(Rewriter, Option<RecordAt>)> {
        self.forget_old(now, page);
        let stream = self.streams.remove(&ssrc)?;
        Some((stream.rewriter, stream.record))
    }

    /// Goes on with what another process wrote down. How long they have been away is not known; they are kept as if it had been no time.
    pub fn restore(&mut self, now: Instant, states: &[RetiredState]) {
        for &RetiredState { ssrc, room, highest_out, last_time, record } in
            states.iter().take(RETIRED_STREAMS_MAX)
        {
            let state = RewriterState { highest_out, last_time: Some(last_time), ..RewriterState::default() };
            let rewriter = Rewriter::from_state(now, &state);
            self.streams.insert(ssrc, Stream { since: now, room, rewriter, record: Some(record) });
            self.order.push_back((now, ssrc));
        }
    }

    /// Legs that another process had. Those that come no more are to be found here, and those that come with other keys or under another name go
    /// on with their numbers. Which rooms they were in is not known.
    pub fn restore_legs<'a>(&mut self, now: Instant, legs: impl Iterator<Item = &'a LegState>) {
        for LegState { ssrc, rewriter, .. } in legs.filter(|leg| leg.rewriter.last_time.is_some()) {
            let rewriter = Rewriter::from_state(now, rewriter);
            self.streams.insert(*ssrc, Stream { since: now, room: NOWHERE, rewriter, record: None });
            self.order.push_back((now, *ssrc));
        }
    }

    /// Writes down what is not yet.
    pub fn write(&mut self, page: &mut Page) {
        for (ssrc, stream) in self.streams.iter_mut().filter(|(_, stream)| stream.record.is_none()) {
            if let Some((highest_out, last_time)) = stream.rewriter.last_out() {
                stream.record = page.retired(*ssrc, stream.room, highest_out, last_time);
            }
        }
    }

    pub fn records(&self) -> impl Iterator<Item = RecordAt> {
        self.streams.values().filter_map(|stream| stream.record)
    }

    fn insert(&mut self, ssrc: Ssrc, stream: Stream, page: &mut Page) {
        let before = self.streams.insert(ssrc, stream);
        before.and_then(|stream| stream.record).into_iter().for_each(|record| page.free_record(record));
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

    fn forget_old(&mut self, now: Instant, page: &mut Page) {
        while let Some(&(at, ssrc)) = self.order.front()
            && (now >= at + RETIRED_FOR || self.order.len() >= RETIRED_STREAMS_MAX)
        {
            self.order.pop_front();
            if self.streams.get(&ssrc).is_some_and(|stream| stream.since == at) {
                let gone = self.streams.remove(&ssrc);
                gone.and_then(|stream| stream.record).into_iter().for_each(|record| page.free_record(record));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
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
        retired.put(now, Ssrc(1), 7, rewriter(), &mut Page::none());
        retired.put(now, Ssrc(2), 7, rewriter(), &mut Page::none());
        retired.put(now, Ssrc(3), 7, Rewriter::default(), &mut Page::none());
        assert_eq!(retired.of_room(7).count(), 2);
        assert_eq!(retired.of_room(8).count(), 0);
        assert!(retired.take(now, Ssrc(1), &mut Page::none()).is_some());
        assert!(retired.take(now, Ssrc(1), &mut Page::none()).is_none());
        assert!(retired.take(now, Ssrc(3), &mut Page::none()).is_none(), "it had sent nothing");
        assert!(retired.take(now + RETIRED_FOR, Ssrc(2), &mut Page::none()).is_none());
    }

    #[test]
    fn the_oldest_is_forgotten_when_there_are_too_many() {
        let start = Instant::now();
        let mut retired = Retired::default();
        for n in 0..=RETIRED_STREAMS_MAX as u32 {
            retired.put(
                start + Duration::from_millis(u64::from(n)),
                Ssrc(n),
                7,
                rewriter(),
                &mut Page::none(),
            );
        }
        assert!(retired.get(Ssrc(0)).is_none());
        assert!(retired.get(Ssrc(RETIRED_STREAMS_MAX as u32)).is_some());
        assert!(retired.streams.len() <= RETIRED_STREAMS_MAX);
        assert!(retired.order.len() <= RETIRED_STREAMS_MAX);
    }
}
