//! What a stream carried last, for listeners that lost some of it.
//!
//! Owns the payloads of a stream's latest packets under the numbers that the stream has for everyone, in room that is allocated once. Shared by
//! all listeners; which of them was sent what, and under which number, is theirs ([`crate::outgoing`]). What is kept never changes until it
//! is forgotten, because a packet that is sent again must be the very same one.

use rtp_wire::{RtpTime, SeqNo, red};

use crate::limits::{PAYLOAD_BYTES_MAX, RECENT_BYTES, RECENT_PACKETS};

pub struct Recent {
    entries: [Option<Entry>; RECENT_PACKETS],
    bytes: Box<[u8; RECENT_BYTES]>,
    /// Bytes ever written, those that were left unused at the end included: where the next payload goes.
    written: usize,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    seq: SeqNo,
    time: RtpTime,
    /// Where its payload stands, counted as `written` is.
    at: usize,
    len: usize,
    /// Its predecessor was there when it came and fits into one packet with it. Decided once, so that a packet with redundancy looks the same
    /// whenever it is made.
    pair: bool,
}

/// One packet as everybody is sent it, but for the listener's own number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept<'a> {
    pub time: RtpTime,
    pub payload: &'a [u8],
}

/// The packet before one that may be carried along with it, and how much older it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Earlier<'a> {
    pub time_offset: u32,
    pub payload: &'a [u8],
}

impl Recent {
    #[must_use]
    pub fn new() -> Self {
        let bytes = vec![0; RECENT_BYTES].into_boxed_slice();
        let bytes = bytes.try_into().expect("it was made with this length");
        Self { entries: [None; RECENT_PACKETS], bytes, written: 0 }
    }

    /// Keeps a packet, and says how long its payload is together with its predecessor's if they go together. One that is older than what has its
    /// place is not kept.
    pub fn put(&mut self, seq: SeqNo, time: RtpTime, payload: &[u8]) -> Option<usize> {
        let place = place(seq);
        if payload.len() > PAYLOAD_BYTES_MAX || self.entries[place].is_some_and(|entry| entry.seq >= seq) {
            return None;
        }
        let room_left = RECENT_BYTES - self.written % RECENT_BYTES;
        let at = if room_left < payload.len() { self.written + room_left } else { self.written };
        let start = at % RECENT_BYTES;
        self.bytes[start..start + payload.len()].copy_from_slice(payload);
        self.written = at + payload.len();
        let pair_len = self.find(before(seq)).and_then(|(earlier, kept)| {
            let offset = u32::try_from(time.since(earlier.time)).ok()?;
            let len = red::PAIR_HEADERS_LEN + kept.payload.len() + payload.len();
            let fits = offset <= red::TIME_OFFSET_MAX
                && kept.payload.len() <= red::REDUNDANT_BYTES_MAX
                && len <= PAYLOAD_BYTES_MAX;
            fits.then_some(len)
        });
        self.entries[place] = Some(Entry { seq, time, at, len: payload.len(), pair: pair_len.is_some() });
        pair_len
    }

    #[must_use]
    pub fn get(&self, seq: SeqNo) -> Option<Kept<'_>> {
        self.find(seq).map(|(_, kept)| kept)
    }

    /// What goes along with a packet where redundancy is wanted; nothing when its predecessor was not there, or no longer is.
    #[must_use]
    pub fn earlier(&self, seq: SeqNo) -> Option<Earlier<'_>> {
        let (entry, kept) = self.find(seq)?;
        if !entry.pair {
            return None;
        }
        let (_, earlier) = self.find(before(seq))?;
        Some(Earlier { time_offset: kept.time.since(earlier.time).cast_unsigned(), payload: earlier.payload })
    }

    fn find(&self, seq: SeqNo) -> Option<(Entry, Kept<'_>)> {
        let entry = self.entries[place(seq)].filter(|entry| entry.seq == seq)?;
        // Overwritten once as much as there is room for has been written behind its beginning.
        if self.written - entry.at > RECENT_BYTES {
            return None;
        }
        let start = entry.at % RECENT_BYTES;
        Some((entry, Kept { time: entry.time, payload: &self.bytes[start..start + entry.len] }))
    }
}

fn place(seq: SeqNo) -> usize {
    (seq.0 % RECENT_PACKETS as u64) as usize
}

fn before(seq: SeqNo) -> SeqNo {
    SeqNo(seq.0.wrapping_sub(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(n: u64, len: usize) -> Vec<u8> {
        vec![n as u8; len]
    }

    /// Payloads of one length, one number after the other; says how many of the latest are kept.
    #[track_caller]
    fn check(len: usize, expect_kept: usize) {
        let mut recent = Recent::new();
        for n in 1000..2000_u64 {
            recent.put(SeqNo(n), RtpTime(n as u32 * 960), &payload(n, len));
            let kept = (1000..=n).rev().take_while(|n| recent.get(SeqNo(*n)).is_some()).count();
            for n in (1000..=n).rev().take(kept) {
                let expect = Kept { time: RtpTime(n as u32 * 960), payload: &payload(n, len) };
                assert_eq!(recent.get(SeqNo(n)), Some(expect));
            }
            assert!((1000..=n).rev().skip(kept).all(|n| recent.get(SeqNo(n)).is_none()));
            assert_eq!(kept, expect_kept.min((n - 999) as usize), "at {n}");
            assert_eq!(recent.get(SeqNo(n + 1)), None);
        }
    }

    #[test]
    fn the_latest_are_kept_and_nothing_else() {
        check(100, RECENT_PACKETS);
        check(0, RECENT_PACKETS);
        check(RECENT_BYTES / 32, 32);
    }

    #[test]
    fn long_payloads_leave_fewer_but_never_broken_ones() {
        let mut recent = Recent::new();
        for n in 0..500_u64 {
            let len = 1 + (n as usize * 7_919) % PAYLOAD_BYTES_MAX;
            recent.put(SeqNo(n), RtpTime(0), &payload(n, len));
            for n in 0..=n {
                let len = 1 + (n as usize * 7_919) % PAYLOAD_BYTES_MAX;
                assert!(recent.get(SeqNo(n)).is_none_or(|kept| kept.payload == payload(n, len)), "{n}");
            }
            assert!((n.saturating_sub(9)..=n).all(|n| recent.get(SeqNo(n)).is_some()));
        }
        recent.put(SeqNo(500), RtpTime(0), &[0; PAYLOAD_BYTES_MAX + 1]);
        assert_eq!(recent.get(SeqNo(500)), None);
    }

    #[test]
    fn what_comes_late_is_kept_and_changes_nothing() {
        let mut recent = Recent::new();
        recent.put(SeqNo(100), RtpTime(9600), &[1]);
        recent.put(SeqNo(102), RtpTime(11_520), &[3]);
        assert_eq!(recent.earlier(SeqNo(102)), None);
        recent.put(SeqNo(101), RtpTime(10_560), &[2]);
        assert_eq!(recent.earlier(SeqNo(101)), Some(Earlier { time_offset: 960, payload: &[1] }));
        assert_eq!(recent.earlier(SeqNo(102)), None, "it went out without its predecessor");
        recent.put(SeqNo(101), RtpTime(0), &[7]);
        recent.put(SeqNo(100 - RECENT_PACKETS as u64), RtpTime(0), &[8]);
        assert_eq!(recent.get(SeqNo(101)).map(|kept| kept.payload), Some(&[2][..]));
        assert_eq!(recent.get(SeqNo(100)).map(|kept| kept.payload), Some(&[1][..]));
    }

    #[test]
    fn a_predecessor_goes_along_only_where_it_fits() {
        let pair = |earlier_len: usize, len: usize, samples: u32| {
            let mut recent = Recent::new();
            recent.put(SeqNo(1), RtpTime(5), &payload(1, earlier_len));
            recent.put(SeqNo(2), RtpTime(5).wrapping_add(samples), &payload(2, len));
            recent.earlier(SeqNo(2)).is_some()
        };
        assert!(pair(100, 100, 960));
        assert!(pair(100, 100, red::TIME_OFFSET_MAX));
        assert!(!pair(100, 100, red::TIME_OFFSET_MAX + 1));
        assert!(!pair(100, 100, 0_u32.wrapping_sub(960)), "time that goes back");
        assert!(!pair(1024, 10, 960));
        assert!(pair(1000, PAYLOAD_BYTES_MAX - 1005, 960));
        assert!(!pair(1000, PAYLOAD_BYTES_MAX - 1004, 960));
    }

    #[test]
    fn a_predecessor_that_is_gone_is_not_made_up() {
        let mut recent = Recent::new();
        for n in 0..RECENT_PACKETS as u64 {
            recent.put(SeqNo(n), RtpTime(n as u32 * 960), &[n as u8]);
        }
        assert!(recent.earlier(SeqNo(1)).is_some());
        recent.put(SeqNo(RECENT_PACKETS as u64), RtpTime(0), &[9]);
        assert_eq!(recent.earlier(SeqNo(1)), None);
        assert!(recent.get(SeqNo(1)).is_some());
    }
}
