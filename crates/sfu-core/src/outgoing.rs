//! The numbers of every stream as one browser is sent it.
//!
//! Owns SRTP's index of each packet (RFC 3711 section 3.3.1): the rollover counter above the number that stands in the header. It belongs
//! to the pair of listener and stream: the browser begins it at zero with the first packet of the stream it is sent, and so do
//! we. An index never comes twice for two different packets, because the packet's nonce is made of it; so what is needed to send the very
//! same packet once more is owned here as well, and what the browser says of its losses.

use std::time::Instant;

use rtp_wire::rtcp::SenderInfo;
use rtp_wire::{RtpTime, SAMPLE_RATE_HZ, SeqNo, Ssrc};

use crate::leg::LegKey;
use crate::limits::{OUTGOING_STREAMS_MAX, REORDER_MAX, RESTART_GAP};
use crate::loss::Loss;

#[derive(Debug, Clone, Default)]
pub struct Outgoing {
    /// In order of SSRC. None is forgotten while the transport lives, because the browser does not forget either.
    streams: Vec<Stream>,
}

/// A packet as its sender's stream has it, before any listener's own numbering. None has two payloads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Source {
    pub leg: LegKey,
    pub seq: SeqNo,
}

/// A packet that a listener is to be sent.
#[derive(Debug, Clone, Copy)]
pub struct Outbound {
    pub source: Source,
    /// Its number for this listener, which differs from the source's for one that was away.
    pub seq: SeqNo,
    pub time: RtpTime,
    /// Bytes of its payload,
    pub octets: usize,
    /// and of the one with its predecessor, if it may be sent so: then it is when the listener loses much.
    pub pair_octets: Option<usize>,
}

/// A packet as one listener is sent it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placed {
    pub index: SeqNo,
    /// Together with its predecessor.
    pub redundant: bool,
}

#[derive(Debug, Clone)]
struct Stream {
    ssrc: Ssrc,
    /// What is added to a number to make it an index; wraps, because the stream may lie on either side.
    offset: u64,
    /// Below it are the indices of an earlier beginning, or of packets that come from elsewhere.
    lowest: u64,
    highest: SeqNo,
    /// Whose packets the indices from `lowest` on are; unknown after this relay has taken over from another.
    leg: Option<LegKey>,
    /// What is added to one of these indices to make it the number in the sender's stream.
    to_source: u64,
    /// Bit n stands for `highest - n`, from `lowest` on: it was sent,
    sent: u64,
    /// and with redundancy.
    redundant: u64,
    loss: Loss,
    packets: u32,
    octets: u32,
    /// Time and departure of the highest.
    last: (RtpTime, Instant),
    /// It has been sent since the last report.
    fresh: bool,
}

const _: () = assert!(REORDER_MAX <= u64::BITS as u64, "each packet that may still come has its bit");

impl Outgoing {
    /// The index under which this listener is sent a packet of a stream; nothing for one that it must not see.
    #[inline]
    pub fn place(&mut self, now: Instant, ssrc: Ssrc, packet: &Outbound) -> Option<Placed> {
        let at = match self.streams.binary_search_by_key(&ssrc, |stream| stream.ssrc) {
            Ok(at) => at,
            Err(at) => self.begin(now, at, ssrc, packet)?,
        };
        let stream = &mut self.streams[at];
        let index = stream.place(packet.source, packet.seq)?;
        if index == stream.highest {
            stream.last = (packet.time, now);
        }
        let pair = packet.pair_octets.filter(|_| stream.loss.is_high());
        stream.redundant |= u64::from(pair.is_some()) << (stream.highest.0 - index.0);
        stream.packets = stream.packets.wrapping_add(1);
        stream.octets = stream.octets.wrapping_add(pair.unwrap_or(packet.octets) as u32);
        stream.fresh = true;
        Some(Placed { index, redundant: pair.is_some() })
    }

    fn find(&mut self, ssrc: Ssrc) -> Option<&mut Stream> {
        let at = self.streams.binary_search_by_key(&ssrc, |stream| stream.ssrc).ok()?;
        Some(&mut self.streams[at])
    }

    /// Which packet this listener was sent under the number `wire`, and how; nothing when it was sent none that `leg` still knows.
    #[must_use]
    pub fn sent(&self, ssrc: Ssrc, leg: LegKey, wire: u16) -> Option<(Source, Placed)> {
        let at = self.streams.binary_search_by_key(&ssrc, |stream| stream.ssrc).ok()?;
        let stream = &self.streams[at];
        let index = stream.highest.nearest(wire);
        let age = stream.highest.0.checked_sub(index.0).filter(|age| *age < u64::from(u64::BITS))?;
        if stream.leg != Some(leg) || stream.sent >> age & 1 == 0 {
            return None;
        }
        let source = Source { leg, seq: SeqNo(index.0.wrapping_add(stream.to_source)) };
        Some((source, Placed { index, redundant: stream.redundant >> age & 1 == 1 }))
    }

    /// The browser says how much of a stream it lost, in 256ths.
    pub fn lost(&mut self, ssrc: Ssrc, fraction: u8) {
        if let Some(stream) = self.find(ssrc) {
            stream.loss.report(fraction);
        }
    }

    fn begin(&mut self, now: Instant, at: usize, ssrc: Ssrc, packet: &Outbound) -> Option<usize> {
        let Outbound { source, seq, time, .. } = *packet;
        if self.streams.len() >= OUTGOING_STREAMS_MAX {
            return None;
        }
        // Just below a rollover a listener that loses the first packets would never know of it, so there it begins behind.
        let first = u64::from(seq.wire());
        let first = if first + REORDER_MAX > u64::from(u16::MAX) { 0 } else { first };
        let stream = Stream {
            ssrc,
            offset: first.wrapping_sub(seq.0),
            lowest: 0,
            highest: SeqNo(first),
            leg: Some(source.leg),
            to_source: source.seq.0.wrapping_sub(first),
            sent: 0,
            redundant: 0,
            loss: Loss::default(),
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

impl Stream {
    fn place(&mut self, source: Source, seq: SeqNo) -> Option<SeqNo> {
        let mut ahead = seq.0.wrapping_add(self.offset).wrapping_sub(self.highest.0).cast_signed();
        let another_leg = self.leg != Some(source.leg);
        if ahead.unsigned_abs() > RESTART_GAP || (another_leg && ahead <= 0) {
            // A number from another beginning of the stream, which means nothing here.
            ahead = 1;
            self.offset = (self.highest.0 + 1).wrapping_sub(seq.0);
        }
        let index = self.highest.0.checked_add_signed(ahead)?;
        let to_source = source.seq.0.wrapping_sub(index);
        let continues = !another_leg && to_source == self.to_source;
        if ahead > 0 {
            self.go_on(index, continues);
            (self.leg, self.to_source) = (Some(source.leg), to_source);
        } else if !continues || index < self.lowest || self.highest.0 - index >= REORDER_MAX {
            return None;
        }
        let bit = 1 << (self.highest.0 - index);
        let is_new = self.sent & bit == 0;
        self.sent |= bit;
        is_new.then_some(SeqNo(index))
    }

    /// There is a new highest index. Unless it `continues` what was before it, what was sent under earlier ones cannot be told any more.
    fn go_on(&mut self, index: u64, continues: bool) {
        if continues {
            let ahead = u32::try_from(index - self.highest.0).unwrap_or(u32::MAX);
            self.sent = self.sent.checked_shl(ahead).unwrap_or(0);
            self.redundant = self.redundant.checked_shl(ahead).unwrap_or(0);
        } else {
            self.lowest = self.highest.0 + 1;
            (self.sent, self.redundant) = (0, 0);
        }
        self.highest = SeqNo(index);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::leg::LegIndex;
    use crate::limits::{RED_LOSS, RED_REPORTS};
    use std::collections::HashSet;
    use std::time::Duration;

    const A: Ssrc = Ssrc(7);
    const LEG: LegKey = LegKey { index: LegIndex(3), generation: 1 };

    fn source(seq: u64) -> Source {
        Source { leg: LEG, seq: SeqNo(seq) }
    }

    fn packet(seq: u64, source: Source) -> Outbound {
        Outbound { source, seq: SeqNo(seq), time: RtpTime(0), octets: 10, pair_octets: None }
    }

    /// As for a listener that was never away.
    fn place(outgoing: &mut Outgoing, seq: u64) -> Option<u64> {
        let placed = outgoing.place(Instant::now(), A, &packet(seq, source(seq)));
        placed.map(|placed| placed.index.0)
    }

    #[track_caller]
    fn check(steps: &[(u64, Option<u64>)]) {
        let mut outgoing = Outgoing::default();
        for (seq, expect) in steps {
            assert_eq!(place(&mut outgoing, *seq), *expect, "{seq}");
        }
    }

    #[test]
    fn the_rollover_counter_begins_at_zero_wherever_the_stream_is() {
        check(&[
            (5 << 16 | 65_471, Some(65_471)),
            (5 << 16 | 65_534, Some(65_534)),
            (5 << 16 | 65_535, Some(65_535)),
            (6 << 16, Some(65_536)),
            (6 << 16 | 1, Some(65_537)),
        ]);
        check(&[(5 << 16 | 65_472, Some(0)), (6 << 16, Some(64)), (5 << 16 | 65_471, None)]);
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
            if let Some(index) = place(&mut outgoing, seq) {
                assert!(seen.insert(index), "{index} at step {n}");
            }
        }
    }

    #[test]
    fn a_report_says_where_the_stream_is_now_and_only_if_it_was_sent() {
        let start = Instant::now();
        let mut outgoing = Outgoing::default();
        for (seq, time, octets) in [(0x1_0001, 1_000, 100), (0x1_0002, 1_960, 50)] {
            let packet = Outbound { time: RtpTime(time), octets, ..packet(seq, source(seq)) };
            outgoing.place(start, A, &packet).unwrap();
        }
        let (ssrc, info) = outgoing.reports(start + Duration::from_millis(500), 9).next().unwrap();
        assert_eq!((ssrc, info.ntp, info.time), (A, 9, RtpTime(1_960 + 24_000)));
        assert_eq!((info.packets, info.octets), (2, 150));
        assert_eq!(outgoing.reports(start, 9).count(), 0);
    }

    #[track_caller]
    fn check_sent(outgoing: &Outgoing, wire: u16, expect: Option<u64>) {
        let got = outgoing.sent(A, LEG, wire);
        assert_eq!(got.map(|(source, _)| source.seq.0), expect, "{wire}");
        assert!(got.is_none_or(|(_, placed)| placed.index.wire() == wire));
    }

    #[test]
    fn what_was_sent_is_known_again_and_nothing_else_is() {
        let mut outgoing = Outgoing::default();
        check_sent(&outgoing, 5, None);
        for seq in [0x5_FF00, 0x5_FFFE, 0x5_FFFF, 0x6_0001] {
            place(&mut outgoing, seq).unwrap();
        }
        check_sent(&outgoing, 0xFFFD, None);
        check_sent(&outgoing, 0xFFFE, Some(0x5_FFFE));
        check_sent(&outgoing, 0xFFFF, Some(0x5_FFFF));
        check_sent(&outgoing, 0, None);
        check_sent(&outgoing, 1, Some(0x6_0001));
        check_sent(&outgoing, 2, None);
        check_sent(&outgoing, 0x8000, None);
        assert_eq!(place(&mut outgoing, 0x6_0000), Some(0x1_0000));
        check_sent(&outgoing, 0, Some(0x6_0000));
        place(&mut outgoing, 0x6_0000 + 63).unwrap();
        check_sent(&outgoing, 0, Some(0x6_0000));
        check_sent(&outgoing, 0xFFFF, None);
        assert_eq!(outgoing.sent(Ssrc(8), LEG, 0), None);
    }

    #[test]
    fn a_packet_comes_once() {
        check(&[
            (0x1_0005, Some(5)),
            (0x1_0007, Some(7)),
            (0x1_0005, None),
            (0x1_0006, Some(6)),
            (0x1_0006, None),
        ]);
        check(&[(0x1_0100, Some(256)), (0x1_0140, Some(320)), (0x1_0101, Some(257)), (0x1_0100, None)]);
    }

    #[test]
    fn numbers_that_mean_other_packets_are_not_mixed_up() {
        let mut outgoing = Outgoing::default();
        let mut place = |seq: u64, source: Source| {
            let placed = outgoing.place(Instant::now(), A, &packet(seq, source));
            (placed.map(|placed| placed.index.0), outgoing.clone())
        };
        place(0x1_0100, source(0x1_0100));
        place(0x1_0101, source(0x1_0101));
        // It was away for ten numbers, and so 0x102 is the source's 0x10c.
        let (index, sent) = place(0x1_0102, source(0x1_010C));
        assert_eq!(index, Some(0x102));
        check_sent(&sent, 0x102, Some(0x1_010C));
        check_sent(&sent, 0x101, None);
        // Its absences are forgotten, as in another room: a jump, and nothing from before it.
        let (index, sent) = place(0x1_010E, source(0x1_010E));
        assert_eq!(index, Some(0x10E));
        check_sent(&sent, 0x10E, Some(0x1_010E));
        check_sent(&sent, 0x102, None);
        assert_eq!(place(0x1_0102, source(0x1_0102)).0, None);
        assert_eq!(place(0x1_010D, source(0x1_010D)).0, Some(0x10D), "a late one from behind the jump");
        // Another leg's stream under the same name, a little behind where this one was.
        let other = LegKey { generation: 2, ..LEG };
        let (index, sent) = place(0x1_0105, Source { leg: other, seq: SeqNo(0x1_0105) });
        assert_eq!(index, Some(0x10F));
        check_sent(&sent, 0x10F, None);
        check_sent(&sent, 0x10E, None);
        let again = sent.sent(A, other, 0x10F).map(|(source, _)| source.seq);
        assert_eq!(again, Some(SeqNo(0x1_0105)));
        let (index, _) = place(0x1_0107, Source { leg: other, seq: SeqNo(0x1_0107) });
        assert_eq!(index, Some(0x111));
    }

    #[test]
    fn who_loses_much_is_sent_it_twice_where_that_may_be() {
        let mut outgoing = Outgoing::default();
        let place = |outgoing: &mut Outgoing, seq, may: bool| {
            let packet = Outbound { pair_octets: may.then_some(25), ..packet(seq, source(seq)) };
            outgoing.place(Instant::now(), A, &packet).unwrap().redundant
        };
        assert!(!place(&mut outgoing, 0x1_0001, true));
        for _ in 0..RED_REPORTS {
            outgoing.lost(A, RED_LOSS);
        }
        outgoing.lost(Ssrc(99), RED_LOSS);
        assert!(place(&mut outgoing, 0x1_0002, true));
        assert!(!place(&mut outgoing, 0x1_0003, false));
        assert!(place(&mut outgoing, 0x1_0004, true));
        let how = |wire| outgoing.sent(A, LEG, wire).unwrap().1.redundant;
        assert_eq!([1, 2, 3, 4].map(how), [false, true, false, true]);
        let (_, info) = outgoing.reports(Instant::now(), 9).next().unwrap();
        assert_eq!((info.packets, info.octets), (4, 2 * 10 + 2 * 25));
    }
}
