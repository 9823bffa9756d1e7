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
use crate::page::{Page, RecordAt, SlotAt};

#[derive(Debug, Clone, Default)]
pub struct Outgoing {
    /// In order. They stand apart, so that a stream is found without looking at others.
    ssrcs: Vec<Ssrc>,
    /// Of each of these. None is forgotten while the transport lives, because the browser does not forget either.
    streams: Vec<Stream>,
    /// The leg's place in the page, where every new index is written before its packet can leave.
    slot: Option<SlotAt>,
}

/// What must be written down of a stream to go on with it in another process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OutgoingState {
    pub ssrc: Ssrc,
    pub offset: u64,
    pub highest: SeqNo,
    pub packets: u32,
    pub octets: u32,
    /// Where it is written down.
    pub record: Option<RecordAt>,
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

/// In two cache lines.
#[derive(Debug, Clone)]
#[repr(align(64))]
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
    /// Where it is written down.
    record: Option<RecordAt>,
}

const _: () = assert!(REORDER_MAX <= u64::BITS as u64, "each packet that may still come has its bit");

impl Outgoing {
    /// The index under which this listener is sent a packet of a stream; nothing for one that it must not see.
    #[inline]
    pub fn place(&mut self, now: Instant, ssrc: Ssrc, packet: &Outbound, page: &mut Page) -> Option<Placed> {
        let at = match self.ssrcs.binary_search(&ssrc) {
            Ok(at) => at,
            Err(at) => self.begin(now, at, ssrc, packet, page)?,
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
        if let Some(record) = stream.record {
            page.outgoing(record, &stream.state());
        }
        Some(Placed { index, redundant: pair.is_some() })
    }

    /// Reads what [`Self::place`] will read, so that it is at hand by then. The result means nothing.
    #[inline]
    #[must_use]
    pub fn touch(&self, ssrc: Ssrc, page: &Page) -> u64 {
        let Ok(at) = self.ssrcs.binary_search(&ssrc) else { return 0 };
        let stream = &self.streams[at];
        let record = stream.record.map_or(0, |record| page.touch_record(record));
        record ^ stream.offset ^ u64::from(stream.fresh) ^ u64::from(stream.packets)
    }

    fn find(&mut self, ssrc: Ssrc) -> Option<&mut Stream> {
        let at = self.ssrcs.binary_search(&ssrc).ok()?;
        Some(&mut self.streams[at])
    }

    /// Which packet this listener was sent under the number `wire`, and how; nothing when it was sent none that `leg` still knows.
    #[must_use]
    pub fn sent(&self, ssrc: Ssrc, leg: LegKey, wire: u16) -> Option<(Source, Placed)> {
        let at = self.ssrcs.binary_search(&ssrc).ok()?;
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

    fn begin(
        &mut self,
        now: Instant,
        at: usize,
        ssrc: Ssrc,
        packet: &Outbound,
        page: &mut Page,
    ) -> Option<usize> {
        let Outbound { source, seq, time, .. } = *packet;
        if self.streams.len() >= OUTGOING_STREAMS_MAX {
            return None;
        }
        // Just below a rollover a listener that loses the first packets would never know of it, so there it begins behind.
        let first = u64::from(seq.wire());
        let first = if first + REORDER_MAX > u64::from(u16::MAX) { 0 } else { first };
        let mut stream = Stream {
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
            record: None,
        };
        stream.record = self.slot.and_then(|slot| page.begin_outgoing(slot, &stream.state()));
        self.ssrcs.insert(at, ssrc);
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

impl Outgoing {
    #[must_use]
    pub fn state(&self) -> Vec<OutgoingState> {
        self.streams.iter().map(Stream::state).collect()
    }

    /// From now on it is written down there. What it has by now is written at once, as far as it has no place yet.
    pub fn write(&mut self, page: &mut Page, slot: SlotAt) {
        self.slot = Some(slot);
        for stream in self.streams.iter_mut().filter(|stream| stream.record.is_none()) {
            stream.record = page.begin_outgoing(slot, &stream.state());
        }
    }

    /// The leg's place in the page goes, and everything of it.
    pub fn unwrite(&mut self, page: &mut Page) {
        self.slot = None;
        self.streams
            .iter_mut()
            .filter_map(|stream| stream.record.take())
            .for_each(|record| page.free_record(record));
    }

    /// Goes on behind what another relay sent. What that was is not known here and so not sent again.
    pub fn restore(&mut self, now: Instant, states: &[OutgoingState]) {
        let stream = |state: &OutgoingState| {
            let OutgoingState { ssrc, offset, highest, packets, octets, record } = *state;
            Stream {
                ssrc,
                offset,
                lowest: highest.0 + 1,
                highest,
                leg: None,
                to_source: 0,
                sent: 0,
                redundant: 0,
                loss: Loss::default(),
                packets,
                octets,
                last: (RtpTime(0), now),
                fresh: false,
                record,
            }
        };
        self.ssrcs = states.iter().map(|state| state.ssrc).collect();
        self.streams = states.iter().map(stream).collect();
    }
}

impl Stream {
    #[inline]
    fn state(&self) -> OutgoingState {
        let Self { ssrc, offset, highest, packets, octets, record, .. } = *self;
        OutgoingState { ssrc, offset, highest, packets, octets, record }
    }

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
mod tests;
