//! One stream's packets on their way from the network to the decoder: put into order, held until their time, and
//! missed when they do not come.
//!
//! Playout goes burst by burst. A burst begins when its first packet has waited for the target delay; within it
//! packets are played one after the other; after silence frames the next packet belongs to a new burst, so that the
//! delay grows and shrinks where nothing is heard of it. Senders whose timestamps stand still in silence and senders
//! that stop without silence frames are both seen in the wild, so neither is relied upon.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rtp_wire::{RtpTime, SeqNo, SeqUnwrapper};

use crate::FRAME;
use crate::delay::Delay;
use crate::limits::{CONCEAL_FRAMES_MAX, DELAY_MAX, JITTER_PACKETS_MAX, SEQ_JUMP_MAX};

/// A packet this late is worth catching up for, in silence where that costs nothing...
const CATCH_UP_SILENT_US: i64 = 30_000;
/// ...and in speech, where one frame is blended into the next.
const CATCH_UP_SPEAKING_US: i64 = 70_000;
/// Blending in every frame would be heard.
const CATCH_UP_EVERY: u32 = 4;
/// What is left is caught up with at leisure, twice a second, so that a delay goes with its reason though the speaker
/// never pauses. A frame can wait for two beats without being late: less is nothing to catch up with.
const CATCH_UP_LEISURELY_US: i64 = 40_000;
const CATCH_UP_LEISURELY_EVERY: u32 = 25;

#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Counts {
    /// All that came, but duplicates.
    pub received: u64,
    pub duplicates: u64,
    pub played: u64,
    /// Came after their time.
    pub late: u64,
    /// Came in time and were left out to catch up, or because the buffer was full or the stream began anew.
    pub discarded: u64,
    pub silence: u64,
    /// Frames invented by the decoder.
    pub concealed: u64,
    /// Frames rebuilt from the error correction data of the packet after them.
    pub recovered: u64,
    pub longest_gap: Duration,
    /// RFC 3550 section 6.4.1, in samples.
    pub jitter: f32,
    lost_before: u64,
}

pub(crate) struct Packet {
    pub payload: Vec<u8>,
    pub samples: u32,
    pub silence: bool,
    time: i64,
    arrived: Instant,
}

/// What the decoder is to do next.
pub(crate) enum Pull<'a> {
    /// Nothing is being said.
    Nothing,
    Play(Packet),
    /// Decode this, and blend it into the one that follows at once.
    Blend(Packet),
    /// The missing frame can be rebuilt from this packet, which is played afterwards.
    Recover {
        samples: u32,
        from: &'a [u8],
    },
    Conceal {
        samples: u32,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Playout {
    /// Nothing is buffered.
    Idle,
    /// Something is buffered, and its time has not come.
    Waiting,
    Playing {
        after_silence: bool,
        starved: u32,
    },
}

/// The newest packet in sequence, against which the next one is measured.
#[derive(Clone, Copy)]
struct Newest {
    seq: SeqNo,
    wire_time: RtpTime,
    time: i64,
    samples: u32,
    silence: bool,
    arrived: Instant,
}

/// A stretch of contiguous numbering; a stream that begins anew begins a new one.
#[derive(Clone, Copy)]
struct Segment {
    first: SeqNo,
    received: u64,
}

pub(crate) struct JitterBuffer {
    packets: BTreeMap<SeqNo, Packet>,
    playout: Playout,
    /// The number that is played next; everything below it is late.
    next: Option<SeqNo>,
    /// The timestamp that is expected of it.
    due: i64,
    samples: u32,
    since_blend: u32,
    delay: Delay,
    unwrapper: SeqUnwrapper,
    newest: Option<Newest>,
    segment: Option<Segment>,
    counts: Counts,
}

impl JitterBuffer {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            packets: BTreeMap::new(),
            playout: Playout::Idle,
            next: None,
            due: 0,
            samples: crate::FRAME_SAMPLES as u32,
            since_blend: 0,
            delay: Delay::new(now),
            unwrapper: SeqUnwrapper::default(),
            newest: None,
            segment: None,
            counts: Counts::default(),
        }
    }

    pub(crate) fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Numbers that never came, by the extended sequence.
    pub(crate) fn lost(&self) -> u64 {
        self.counts.lost_before + self.lost_in_segment()
    }

    pub(crate) fn target_delay(&self) -> Duration {
        self.delay.target()
    }

    pub(crate) fn last_arrival(&self) -> Option<Instant> {
        self.newest.map(|newest| newest.arrived)
    }

    /// The next packet may have any number: the server, and with it the numbering, has changed.
    pub(crate) fn restart(&mut self) {
        self.counts.lost_before = self.lost();
        self.counts.discarded += self.packets.len() as u64;
        self.packets.clear();
        (self.playout, self.next, self.segment) = (Playout::Idle, None, None);
        self.unwrapper = SeqUnwrapper::default();
    }

    pub(crate) fn handle_packet(&mut self, now: Instant, wire_seq: u16, wire_time: RtpTime, payload: &[u8]) {
        let mut seq = self.unwrapper.peek(wire_seq);
        if self.newest.is_some_and(|newest| newest.seq.0.abs_diff(seq.0) > SEQ_JUMP_MAX)
            && self.segment.is_some()
        {
            self.restart();
            seq = self.unwrapper.peek(wire_seq);
        }
        if self.packets.contains_key(&seq) {
            self.counts.duplicates += 1;
            return;
        }
        self.unwrapper.unwrap(wire_seq);
        let samples = rtp_wire::packet_samples(payload).unwrap_or(self.samples);
        let silence = rtp_wire::is_silence(payload);
        let time = self.newest.map_or(0, |newest| newest.time + i64::from(wire_time.since(newest.wire_time)));
        self.count(seq, silence);
        self.delay.handle_arrival(now, time, self.playout == Playout::Idle);
        self.measure(Newest { seq, wire_time, time, samples, silence, arrived: now });
        if self.next.is_some_and(|next| seq < next) {
            self.counts.late += 1;
            return;
        }
        self.packets.insert(seq, Packet { payload: payload.to_vec(), samples, silence, time, arrived: now });
        if self.packets.len() > JITTER_PACKETS_MAX {
            self.packets.pop_first();
            self.counts.discarded += 1;
        }
        if self.playout == Playout::Idle {
            self.playout = Playout::Waiting;
        }
    }

    /// Whether something is played at `now`.
    pub(crate) fn has_begun(&self, now: Instant) -> bool {
        match self.playout {
            Playout::Idle => false,
            Playout::Waiting => now >= self.burst_begins(),
            Playout::Playing { .. } => true,
        }
    }

    /// What is played at `now`. Called until a frame is full.
    pub(crate) fn pull(&mut self, now: Instant) -> Pull<'_> {
        loop {
            match self.playout {
                Playout::Idle => return Pull::Nothing,
                Playout::Waiting if now < self.burst_begins() => return Pull::Nothing,
                Playout::Waiting => self.begin_burst(),
                Playout::Playing { .. } if self.packets.is_empty() => return self.starve(),
                Playout::Playing { after_silence, .. } => {
                    self.settle_starvation();
                    if self.is_missing() {
                        if !after_silence && self.catch_up_us(now) < CATCH_UP_SPEAKING_US {
                            return self.conceal();
                        }
                        self.playout = Playout::Waiting;
                    } else if after_silence && self.front().time != self.due {
                        self.playout = Playout::Waiting;
                    } else if self.front().silence && self.stretch_or_skip(now) {
                        return Pull::Nothing;
                    } else if let Some(packet) = self.take_front() {
                        return self.play(now, packet);
                    }
                }
            }
        }
    }

    fn lost_in_segment(&self) -> u64 {
        match (self.segment, self.unwrapper.highest()) {
            (Some(segment), Some(highest)) => {
                (highest.0 + 1 - segment.first.0).saturating_sub(segment.received)
            }
            _ => 0,
        }
    }

    fn count(&mut self, seq: SeqNo, silence: bool) {
        self.counts.received += 1;
        self.counts.silence += u64::from(silence);
        let segment = self.segment.get_or_insert(Segment { first: seq, received: 0 });
        segment.first = segment.first.min(seq);
        segment.received += 1;
    }

    /// Gap and jitter, where the packet continues what was being said.
    fn measure(&mut self, packet: Newest) {
        let Some(last) = self.newest else {
            self.newest = Some(packet);
            return;
        };
        // After a restart numbers do not compare, and the packet simply is the newest.
        if self.segment.is_some_and(|segment| segment.received > 1) && packet.seq < last.seq {
            return;
        }
        let numbers = packet.seq.0.saturating_sub(last.seq.0) as i64;
        let continuous = packet.time - last.time <= (numbers + 1) * i64::from(last.samples);
        if !last.silence && continuous {
            let gap = packet.arrived.saturating_duration_since(last.arrived);
            self.counts.longest_gap = self.counts.longest_gap.max(gap);
            let arrived = gap.as_secs_f32() * crate::SAMPLE_RATE_HZ as f32;
            let deviation = (arrived - (packet.time - last.time) as f32).abs();
            self.counts.jitter += (deviation - self.counts.jitter) / 16.0;
        }
        self.newest = Some(packet);
    }

    fn front(&self) -> &Packet {
        self.packets.first_key_value().expect("the caller has seen that something is buffered").1
    }

    fn front_seq(&self) -> SeqNo {
        *self.packets.first_key_value().expect("the caller has seen that something is buffered").0
    }

    fn take_front(&mut self) -> Option<Packet> {
        let (seq, packet) = self.packets.pop_first()?;
        self.next = Some(seq.next());
        self.due = packet.time + i64::from(packet.samples);
        self.samples = packet.samples;
        Some(packet)
    }

    fn is_missing(&self) -> bool {
        self.next.is_some_and(|next| self.front_seq() > next)
    }

    fn burst_begins(&self) -> Instant {
        let front = self.front();
        self.delay.playout_at(front.time).clamp(front.arrived, front.arrived + DELAY_MAX)
    }

    fn begin_burst(&mut self) {
        self.next = Some(self.front_seq());
        self.due = self.front().time;
        self.playout = Playout::Playing { after_silence: false, starved: 0 };
    }

    /// How much later than wanted the front packet is, when it is played now.
    fn catch_up_us(&self, now: Instant) -> i64 {
        let missing = (self.front_seq().0 - self.next.unwrap_or_default().0) as i64 * i64::from(self.samples);
        self.delay.lateness_us(now, self.front().time - missing)
    }

    fn play(&mut self, now: Instant, packet: Packet) -> Pull<'_> {
        self.counts.played += 1;
        self.playout = Playout::Playing { after_silence: packet.silence, starved: 0 };
        self.since_blend += 1;
        let lateness = self.delay.lateness_us(now, packet.time);
        let follows = self
            .next
            .is_some_and(|next| self.packets.get(&next).is_some_and(|p| p.samples == packet.samples));
        let is_due = (lateness > CATCH_UP_SPEAKING_US && self.since_blend >= CATCH_UP_EVERY)
            || (lateness > CATCH_UP_LEISURELY_US && self.since_blend >= CATCH_UP_LEISURELY_EVERY);
        if !packet.silence && follows && is_due {
            self.since_blend = 0;
            return Pull::Blend(packet);
        }
        Pull::Play(packet)
    }

    /// The front is a silence frame: the moment to lengthen the delay (true: play nothing now) or to shorten it.
    fn stretch_or_skip(&mut self, now: Instant) -> bool {
        let lateness = self.delay.lateness_us(now, self.front().time);
        if lateness < -(FRAME.as_micros() as i64) {
            return true;
        }
        if lateness > CATCH_UP_SILENT_US && self.packets.len() > 1 {
            self.take_front();
            self.counts.discarded += 1;
            self.playout = Playout::Playing { after_silence: true, starved: 0 };
        }
        false
    }

    /// Nothing is there. A speaker who said goodbye is silent; another is waited for a while.
    fn starve(&mut self) -> Pull<'_> {
        match self.playout {
            Playout::Playing { after_silence: false, starved } if starved < CONCEAL_FRAMES_MAX => {
                self.playout = Playout::Playing { after_silence: false, starved: starved + 1 };
                Pull::Conceal { samples: self.samples }
            }
            _ => {
                self.playout = Playout::Idle;
                Pull::Nothing
            }
        }
    }

    /// Something came after frames had to be invented: those stood for the packets that are missing in front of it,
    /// and where none is missing the delay has become longer by them.
    fn settle_starvation(&mut self) {
        let Playout::Playing { after_silence, starved } = self.playout else { return };
        if starved == 0 {
            return;
        }
        self.counts.concealed += u64::from(starved);
        let next = self.next.unwrap_or_default();
        let passed = u64::from(starved).min(self.front_seq().0.saturating_sub(next.0));
        self.next = Some(SeqNo(next.0 + passed));
        self.due += passed as i64 * i64::from(self.samples);
        self.playout = Playout::Playing { after_silence, starved: 0 };
    }

    fn conceal(&mut self) -> Pull<'_> {
        let next = self.next.unwrap_or_default().next();
        self.next = Some(next);
        self.due += i64::from(self.samples);
        let samples = self.samples;
        let front = self.packets.first_key_value().expect("something is buffered behind the missing packet");
        if *front.0 == next && front.1.samples == samples && has_error_correction(&front.1.payload) {
            self.counts.recovered += 1;
            return Pull::Recover { samples, from: &front.1.payload };
        }
        self.counts.concealed += 1;
        Pull::Conceal { samples }
    }
}

/// Whether an Opus packet carries the frame before it a second time, at a lower rate (RFC 6716 section 4.2.4).
fn has_error_correction(payload: &[u8]) -> bool {
    let Some(&toc) = payload.first() else { return false };
    let celt_only = toc & 0x80 != 0;
    // Configurations 2, 3, 6, 7, 10, 11 are 40 and 60 ms, with one voice flag for each 20 ms before the bit we want.
    let frames = match (toc >> 3, (toc >> 3) & 3) {
        (0..=11, 2) => 2,
        (0..=11, 3) => 3,
        _ => 1,
    };
    let Ok(packet) = opus::packet::parse(payload) else { return false };
    let Some(first) = packet.frames.first().and_then(|frame| frame.first()) else { return false };
    !celt_only && (first >> (7 - frames)) & 1 == 1
}

#[cfg(test)]
#[path = "jitter_tests.rs"]
mod tests;
