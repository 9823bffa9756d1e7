//! The numbers of every stream as one browser is sent it.
//!
//! Owns SRTP's index of each packet (RFC 3711 section 3.3.1): the rollover counter above the number that stands in the header. It belongs
//! to the pair of listener and stream: the browser begins it at zero with the first packet of the stream it is sent, and so do
//! we. An index never comes twice, because the packet's nonce is made of it.

use std::time::Instant;

use rtp_wire::rtcp::SenderInfo;
use rtp_wire::{RtpTime, SAMPLE_RATE_HZ, SeqNo, Ssrc};

use crate::limits::{OUTGOING_STREAMS_MAX, REORDER_MAX, RESTART_GAP};

#[derive(Debug, Clone, Default)]
pub struct Outgoing {
    /// In order of SSRC. None is forgotten while the transport lives, because the browser does not forget either.
    streams: Vec<Stream>,
}

#[derive(Debug, Clone)]
struct Stream {
    ssrc: Ssrc,
    /// What is added to a number to make it an index; wraps, because the stream may lie on either side.
    offset: u64,
    /// Below it are the numbers of an earlier beginning.
    lowest: u64,
    highest: SeqNo,
    packets: u32,
    octets: u32,
    /// Time and departure of the highest.
    last: (RtpTime, Instant),
    /// It has been sent since the last report.
    fresh: bool,
}

impl Outgoing {
    /// The index under which this listener is sent a packet of a stream; nothing for one that it must not see.
    #[inline]
    pub fn place(
        &mut self,
        now: Instant,
        ssrc: Ssrc,
        seq: SeqNo,
        time: RtpTime,
        octets: usize,
    ) -> Option<SeqNo> {
        let at = match self.streams.binary_search_by_key(&ssrc, |stream| stream.ssrc) {
            Ok(at) => at,
            Err(at) => self.begin(now, at, ssrc, seq, time)?,
        };
        let stream = &mut self.streams[at];
        let ahead = seq.0.wrapping_add(stream.offset).wrapping_sub(stream.highest.0).cast_signed();
        let index = if ahead.unsigned_abs() > RESTART_GAP {
            // A number from another beginning of the stream, which means nothing here.
            stream.lowest = stream.highest.0 + 1;
            stream.offset = stream.lowest.wrapping_sub(seq.0);
            stream.lowest
        } else if ahead >= -REORDER_MAX && (ahead != 0 || stream.packets == 0) {
            stream.highest.0.checked_add_signed(ahead).filter(|index| *index >= stream.lowest)?
        } else {
            return None;
        };
        if index >= stream.highest.0 {
            stream.highest = SeqNo(index);
            stream.last = (time, now);
        }
        stream.packets = stream.packets.wrapping_add(1);
        stream.octets = stream.octets.wrapping_add(octets as u32);
        stream.fresh = true;
        Some(SeqNo(index))
    }

    fn begin(&mut self, now: Instant, at: usize, ssrc: Ssrc, seq: SeqNo, time: RtpTime) -> Option<usize> {
        if self.streams.len() >= OUTGOING_STREAMS_MAX {
            return None;
        }
        let first = u64::from(seq.wire());
        let stream = Stream {
            ssrc,
            offset: first.wrapping_sub(seq.0),
            lowest: 0,
            highest: SeqNo(first),
            packets: 0,
            octets: 0,
            last: (time, now),
            fresh: false,
        };
        self.streams.insert(at, stream);
        Some(at)
    }

    /// What is to be reported of each stream that was sent since the last time; `ntp` is now on the reports' clock.
    pub fn reports(&mut self, now: Instant, ntp: u64) -> impl Iterator<Item = (Ssrc, SenderInfo)> + '_ {
        self.streams.iter_mut().filter(|stream| stream.fresh).map(move |stream| {
            stream.fresh = false;
            let (time, at) = stream.last;
            let since_ms = now.saturating_duration_since(at).as_millis() as u32;
            let info = SenderInfo {
                ntp,
                time: time.wrapping_add(since_ms.wrapping_mul(SAMPLE_RATE_HZ / 1000)),
                packets: stream.packets,
                octets: stream.octets,
            };
            (stream.ssrc, info)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;
    use std::time::Duration;

    const A: Ssrc = Ssrc(7);

    #[track_caller]
    fn check(steps: &[(u64, Option<u64>)]) {
        let mut outgoing = Outgoing::default();
        for (seq, expect) in steps {
            let got = outgoing.place(Instant::now(), A, SeqNo(*seq), RtpTime(0), 10);
            assert_eq!(got, expect.map(SeqNo), "{seq}");
        }
    }

    #[test]
    fn the_rollover_counter_begins_at_zero_wherever_the_stream_is() {
        check(&[
            (5 << 16 | 65_534, Some(65_534)),
            (5 << 16 | 65_535, Some(65_535)),
            (6 << 16, Some(65_536)),
            (6 << 16 | 1, Some(65_537)),
        ]);
    }

    #[test]
    fn reordering_is_passed_on_but_not_from_before_the_beginning() {
        check(&[(0x1_0005, Some(5)), (0x1_0004, Some(4)), (0x1_0008, Some(8)), (0x1_0006, Some(6))]);
        check(&[(0x2_0001, Some(1)), (0x1_FFFF, None), (0x2_0002, Some(2))]);
    }

    #[test]
    fn a_stream_that_begins_anew_goes_on_behind_what_was_sent() {
        check(&[
            (0x1_9000, Some(0x9000)),
            (0x1_9001, Some(0x9001)),
            (0x1_0001, Some(0x9002)),
            (0x1_0002, Some(0x9003)),
            (0x1_0003, Some(0x9004)),
        ]);
        check(&[(0x1_0001, Some(1)), (0x9_0000, Some(2)), (0x9_0001, Some(3))]);
    }

    #[test]
    fn no_index_comes_twice() {
        let mut outgoing = Outgoing::default();
        let mut seen = HashSet::new();
        let mut seq = 70_000_u64;
        for n in 0..50_000_u64 {
            // Restarts at odd places, duplicates of the last, losses.
            seq = match n % 977 {
                0 => 65_536 + n * 7_919 % 300_000,
                5 => seq,
                n => seq + 1 + u64::from(n % 31 == 0) * 3,
            };
            if let Some(index) = outgoing.place(Instant::now(), A, SeqNo(seq), RtpTime(0), 10) {
                assert!(seen.insert(index), "{index} at step {n}");
            }
        }
    }

    #[test]
    fn a_report_says_where_the_stream_is_now_and_only_if_it_was_sent() {
        let start = Instant::now();
        let mut outgoing = Outgoing::default();
        outgoing.place(start, A, SeqNo(0x1_0001), RtpTime(1_000), 100);
        outgoing.place(start, A, SeqNo(0x1_0002), RtpTime(1_960), 50);
        let (ssrc, info) = outgoing.reports(start + Duration::from_millis(500), 9).next().unwrap();
        assert_eq!((ssrc, info.ntp, info.time), (A, 9, RtpTime(1_960 + 24_000)));
        assert_eq!((info.packets, info.octets), (2, 150));
        assert_eq!(outgoing.reports(start, 9).count(), 0);
    }
}
