//! Frames that were taken in and are not copied to anybody yet.
//!
//! Those that come in one batch go out together, so that a listener's keys are fetched once for all of them, and what it is sent can pass the
//! kernel as one. Owns their payloads, in room that is allocated once. Nothing waits here longer than for the end of its batch.

use std::cmp::Reverse;

use rtp_wire::{FIXED_HEADER_LEN, RtpTime, Ssrc};

use crate::browser::Frame;
use crate::leg::LegIndex;
use crate::limits::{PAYLOAD_BYTES_MAX, TOGETHER_MAX};
use crate::outgoing::Source;
use crate::recent::Recent;
use crate::room::RoomIndex;

pub(crate) struct Pending {
    frames: Vec<Placed>,
    bytes: Box<[u8]>,
}

/// A frame, with its place in its sender's stream.
#[derive(Clone, Copy)]
pub(crate) struct Waiting {
    pub sender: LegIndex,
    /// The sender's, by which signalling knows it.
    pub id: u64,
    pub room: RoomIndex,
    pub ssrc: Ssrc,
    pub source: Source,
    pub time: RtpTime,
    /// As everybody is sent it, but for the number.
    pub header: [u8; FIXED_HEADER_LEN],
}

/// With the place of its payload, and what browsers need beside it.
struct Placed {
    frame: Waiting,
    at: usize,
    len: usize,
    /// What its sender sent last, while it is taken out; of two frames of one sender the first has it.
    recent: Option<Box<Recent>>,
    /// How far in front of it that one stands.
    recent_before: usize,
    /// Bytes of its payload together with its predecessor's, if they go together.
    pair_octets: Option<usize>,
}

/// Frames of one room.
pub(crate) struct Lot<'a> {
    frames: &'a mut [Placed],
    bytes: &'a [u8],
}

impl Pending {
    pub fn new() -> Self {
        Self {
            frames: Vec::with_capacity(TOGETHER_MAX),
            bytes: vec![0; TOGETHER_MAX * PAYLOAD_BYTES_MAX].into_boxed_slice(),
        }
    }

    /// Stands for itself while the frames are taken out.
    pub fn none() -> Self {
        Self { frames: Vec::new(), bytes: Box::default() }
    }

    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    pub fn is_full(&self) -> bool {
        self.frames.len() == TOGETHER_MAX
    }

    /// Adds a frame, whose payload is [`PAYLOAD_BYTES_MAX`] long at most.
    pub fn push(&mut self, frame: Waiting, payload: &[u8]) {
        let at = self.frames.last().map_or(0, |last| last.at + last.len);
        let len = payload.len();
        self.bytes[at..at + len].copy_from_slice(payload);
        self.frames.push(Placed { frame, at, len, recent: None, recent_before: 0, pair_octets: None });
    }

    /// The frames of each room in its turn, in the order in which they came; but where nobody has sent two of them, the longer ones first, because what
    /// goes out behind a longer one can go with it.
    pub fn by_room(&mut self) -> impl Iterator<Item = Lot<'_>> {
        let Self { frames, bytes } = self;
        // There are few, and nearly always only one.
        frames.sort_unstable_by_key(|placed| (placed.frame.room, placed.at));
        let same_room = |a: &Placed, b: &Placed| a.frame.room == b.frame.room;
        for room in frames.chunk_by_mut(same_room).filter(|room| room.len() > 1) {
            let twice = |n: usize| room[..n].iter().any(|before| before.frame.sender == room[n].frame.sender);
            if !(1..room.len()).any(twice) {
                room.sort_unstable_by_key(|placed| (Reverse(placed.len), placed.at));
            }
        }
        frames.chunk_by_mut(same_room).map(|frames| Lot { frames, bytes })
    }

    pub fn clear(&mut self) {
        self.frames.clear();
    }
}

impl Lot<'_> {
    pub fn room(&self) -> RoomIndex {
        self.frames[0].frame.room
    }

    pub fn len(&self) -> usize {
        self.frames.len()
    }

    #[inline]
    pub fn get(&self, n: usize) -> (&Waiting, &[u8]) {
        let placed = &self.frames[n];
        (&placed.frame, &self.bytes[placed.at..placed.at + placed.len])
    }

    /// As a browser is sent it, and what its sender has sent before; once they were [kept](Self::keep).
    #[inline]
    pub fn for_browser(&self, n: usize) -> (Frame<'_>, &Recent) {
        let (frame, payload) = self.get(n);
        let Waiting { ssrc, source, time, .. } = *frame;
        let placed = &self.frames[n];
        let recent = self.frames[n - placed.recent_before].recent.as_ref().expect("it was kept for browsers");
        (Frame { ssrc, source, time, payload, pair_octets: placed.pair_octets }, recent)
    }

    /// Keeps the frames for browsers, because they ask for what they lost, with what their senders have kept before: `take` gets it.
    #[inline(never)]
    pub fn keep(&mut self, mut take: impl FnMut(LegIndex) -> Option<Box<Recent>>) {
        for n in 0..self.frames.len() {
            let sender = self.frames[n].frame.sender;
            let first = self.frames[..n].iter().position(|before| before.frame.sender == sender).unwrap_or(n);
            let mut recent = match first == n {
                true => take(sender).unwrap_or_else(|| Box::new(Recent::new())),
                false => self.frames[first].recent.take().expect("it is put back for each frame"),
            };
            let placed = &mut self.frames[n];
            let payload = &self.bytes[placed.at..placed.at + placed.len];
            placed.pair_octets = recent.put(placed.frame.source.seq, placed.frame.time, payload);
            placed.recent_before = n - first;
            self.frames[first].recent = Some(recent);
        }
    }

    /// Gives back what was taken to keep them with.
    pub fn put_back(&mut self, mut put: impl FnMut(LegIndex, Box<Recent>)) {
        for placed in &mut *self.frames {
            if let Some(recent) = placed.recent.take() {
                put(placed.frame.sender, recent);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rtp_wire::SeqNo;

    use super::*;
    use crate::leg::LegKey;

    /// Frames by sender, room and length; their numbers and all their bytes are their places.
    fn pending(frames: &[(u32, u32, usize)]) -> Pending {
        let mut pending = Pending::new();
        for (n, (sender, room, len)) in frames.iter().enumerate() {
            let sender = LegIndex(*sender);
            let frame = Waiting {
                sender,
                id: 0,
                room: RoomIndex::test(*room),
                ssrc: Ssrc(sender.0),
                source: Source { leg: LegKey { index: sender, generation: 0 }, seq: SeqNo(n as u64) },
                time: RtpTime(960 * n as u32),
                header: [0; FIXED_HEADER_LEN],
            };
            pending.push(frame, &vec![n as u8; *len]);
        }
        pending
    }

    #[track_caller]
    fn check(frames: &[(u32, u32, usize)], expect: &[&[u64]]) {
        let mut pending = pending(frames);
        let mut got: Vec<Vec<u64>> = Vec::new();
        for lot in pending.by_room() {
            got.push(Vec::new());
            for n in 0..lot.len() {
                let (frame, payload) = lot.get(n);
                let number = frame.source.seq.0;
                assert!(payload.iter().all(|byte| u64::from(*byte) == number), "{number} has its payload");
                assert_eq!(payload.len(), frames[number as usize].2);
                got.last_mut().unwrap().push(number);
            }
        }
        assert_eq!(got, expect, "{frames:?}");
    }

    #[test]
    fn rooms_are_kept_apart_and_the_longer_ones_go_first() {
        check(&[(1, 1, 10)], &[&[0]]);
        check(&[(1, 1, 10), (2, 2, 10), (3, 1, 30), (4, 2, 5)], &[&[2, 0], &[1, 3]]);
        check(&[(1, 1, 10), (2, 1, 10), (3, 1, 20)], &[&[2, 0, 1]]);
        check(&[(1, 3, 3), (2, 2, PAYLOAD_BYTES_MAX), (3, 1, 7)], &[&[2], &[1], &[0]]);
    }

    #[test]
    fn what_one_sender_sent_stays_in_order() {
        check(&[(1, 1, 10), (2, 1, 30), (1, 1, 20)], &[&[0, 1, 2]]);
    }

    #[test]
    fn what_a_sender_sent_last_is_shared_by_its_frames_and_given_back() {
        let mut pending = pending(&[(1, 1, 10), (2, 1, 10), (1, 1, 10)]);
        let mut lot = pending.by_room().next().unwrap();
        let mut taken = Vec::new();
        lot.keep(|sender| {
            taken.push(sender.0);
            None
        });
        assert_eq!(taken, [1, 2]);
        let (frame, recent) = lot.for_browser(2);
        assert!(
            recent.get(SeqNo(0)).is_some()
                && recent.get(SeqNo(2)).is_some()
                && recent.get(SeqNo(1)).is_none()
        );
        assert_eq!((frame.ssrc, frame.payload.len()), (Ssrc(1), 10));
        assert!(lot.for_browser(1).1.get(SeqNo(1)).is_some());
        let mut back = Vec::new();
        lot.put_back(|sender, _| back.push(sender.0));
        assert_eq!(back, [1, 2]);
    }
}
