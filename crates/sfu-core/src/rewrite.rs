//! One stream's numbers, from what its sender wrote to what every listener reads.
//!
//! Owns the promise that only loss in the network looks like loss: packets that we kept back, and restarts of
//! the sender, leave no gap; lost ones do; reordered ones keep their order. Timestamps go on across all of
//! it. Does not know listeners: one who was away meanwhile is corrected by [`crate::absence`].

use std::time::Instant;

use rtp_wire::{RtpTime, SAMPLE_RATE_HZ, SeqNo};

use crate::limits::{FRAME_SAMPLES, RESTART_GAP};

/// How the next packet's place is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Input {
    /// Its number and time mean nothing to us yet.
    #[default]
    Fresh,
    /// Its number does, but something of ours came between: its time must not go back.
    Cut,
    /// It follows its predecessor.
    Flowing,
}

#[derive(Debug, Clone)]
pub struct Rewriter {
    input: Input,
    /// `out = anchor_out + (in - anchor_in)` for every number above `anchor_in`; the others are spent.
    anchor_in: SeqNo,
    anchor_out: SeqNo,
    highest_in: SeqNo,
    highest_out: SeqNo,
    time_offset: u32,
    /// Time and arrival of `highest_out`; nothing until the first packet.
    last: Option<(RtpTime, Instant)>,
}

/// What must be written down of it to go on in another process. How long ago its last packet was is not known there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct RewriterState {
    pub input: Input,
    pub anchor_in: SeqNo,
    pub anchor_out: SeqNo,
    pub highest_in: SeqNo,
    pub highest_out: SeqNo,
    pub time_offset: u32,
    pub last_time: Option<RtpTime>,
}

impl Default for Rewriter {
    /// A stream that begins with its sender's own number, and falls behind it by what is kept back. So a relay that has lost
    /// its memory goes on a little ahead of what its listeners have seen, which to them is loss and never a replay.
    fn default() -> Self {
        Self {
            input: Input::Fresh,
            anchor_in: SeqNo(0),
            anchor_out: SeqNo(0),
            highest_in: SeqNo(0),
            highest_out: SeqNo(0),
            time_offset: 0,
            last: None,
        }
    }
}

impl Rewriter {
    #[must_use]
    pub fn state(&self) -> RewriterState {
        let Self { input, anchor_in, anchor_out, highest_in, highest_out, time_offset, last } = *self;
        let last_time = last.map(|(time, _)| time);
        RewriterState { input, anchor_in, anchor_out, highest_in, highest_out, time_offset, last_time }
    }

    #[must_use]
    pub fn from_state(now: Instant, state: &RewriterState) -> Self {
        let RewriterState { input, anchor_in, anchor_out, highest_in, highest_out, time_offset, last_time } =
            *state;
        let last = last_time.map(|time| (time, now));
        Self { input, anchor_in, anchor_out, highest_in, highest_out, time_offset, last }
    }

    /// The highest number that a listener may have seen; nothing while the stream has sent nothing.
    #[must_use]
    pub fn highest_out(&self) -> Option<SeqNo> {
        self.last.map(|_| self.highest_out)
    }

    /// The same with its time.
    #[must_use]
    pub fn last_out(&self) -> Option<(SeqNo, RtpTime)> {
        self.last.map(|(time, _)| (self.highest_out, time))
    }

    /// Places a packet that is to be forwarded, or `None` when its number is spent.
    pub fn forward(&mut self, now: Instant, seq: SeqNo, time: RtpTime) -> Option<(SeqNo, RtpTime)> {
        if self.input == Input::Fresh || seq.0 > self.highest_in.0 + RESTART_GAP {
            self.restart_at(now, seq, time);
        }
        if seq <= self.anchor_in {
            return None;
        }
        if self.input == Input::Cut {
            self.keep_time_going(time);
        }
        self.input = Input::Flowing;
        let out = SeqNo(self.anchor_out.0 + (seq.0 - self.anchor_in.0));
        let out_time = time.wrapping_add(self.time_offset);
        if seq > self.highest_in {
            self.highest_in = seq;
            self.highest_out = out;
            self.last = Some((out_time, now));
        }
        Some((out, out_time))
    }

    /// A packet that we keep back. The numbers up to it are spent, and the next one follows what was last
    /// sent.
    pub fn keep_back(&mut self, seq: SeqNo) {
        if self.input == Input::Fresh || seq <= self.highest_in {
            return;
        }
        self.highest_in = seq;
        self.cut();
    }

    /// The place of a frame of our own behind everything sent so far; nothing while the stream has sent
    /// nothing.
    pub fn inject(&mut self, now: Instant) -> Option<(SeqNo, RtpTime)> {
        let (time, _) = self.last?;
        self.highest_out = self.highest_out.next();
        let time = time.wrapping_add(FRAME_SAMPLES);
        self.last = Some((time, now));
        if self.input != Input::Fresh {
            self.cut();
        }
        Some((self.highest_out, time))
    }

    /// The sender begins anew, with numbers that have nothing to do with the ones before.
    pub fn restart(&mut self) {
        self.input = Input::Fresh;
    }

    fn cut(&mut self) {
        self.anchor_in = self.highest_in;
        self.anchor_out = self.highest_out;
        self.input = Input::Cut;
    }

    fn restart_at(&mut self, now: Instant, seq: SeqNo, time: RtpTime) {
        self.highest_in = SeqNo(seq.0.saturating_sub(1));
        if self.last.is_none() {
            self.highest_out = self.highest_in;
        }
        self.cut();
        if let Some((last_time, last_at)) = self.last {
            let away_ms = now.saturating_duration_since(last_at).as_millis();
            // The clock wraps, and so may the time somebody was away.
            let away_samples = (away_ms * u128::from(SAMPLE_RATE_HZ / 1000)) as u32;
            let next = last_time.wrapping_add(away_samples.max(FRAME_SAMPLES));
            self.time_offset = next.0.wrapping_sub(time.0);
        }
        self.input = Input::Flowing;
    }

    fn keep_time_going(&mut self, time: RtpTime) {
        let Some((last_time, _)) = self.last else { return };
        if time.wrapping_add(self.time_offset).since(last_time) <= 0 {
            self.time_offset = last_time.wrapping_add(FRAME_SAMPLES).0.wrapping_sub(time.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    /// One step of a stream: what happens and what a listener reads of it, relative to the start.
    enum Step {
        Send(u64, u32, Option<(u64, u32)>),
        Back(u64),
        Inject(u64, u32),
        Restart,
        Wait(u64),
    }
    use Step::{Back, Inject, Restart, Send, Wait};

    #[track_caller]
    fn check(steps: &[Step]) {
        let mut now = Instant::now();
        let mut rewriter = Rewriter::default();
        let Send(first, ..) = steps[0] else { panic!("a stream begins with a packet") };
        let relative = |(seq, time): (SeqNo, RtpTime)| (seq.0 + 1 - first, time.0);
        for (index, step) in steps.iter().enumerate() {
            match *step {
                Send(seq, time, expect) => {
                    let got = rewriter.forward(now, SeqNo(seq), RtpTime(time)).map(relative);
                    assert_eq!(got, expect, "step {index}");
                }
                Back(seq) => rewriter.keep_back(SeqNo(seq)),
                Inject(seq, time) => {
                    assert_eq!(rewriter.inject(now).map(relative), Some((seq, time)), "step {index}");
                }
                Restart => rewriter.restart(),
                Wait(ms) => now += Duration::from_millis(ms),
            }
        }
    }

    #[test]
    fn loss_and_reordering_are_passed_on() {
        check(&[
            Send(7000, 10, Some((1, 10))),
            Send(7001, 970, Some((2, 970))),
            Send(7005, 4810, Some((6, 4810))),
            Send(7004, 3850, Some((5, 3850))),
            Send(7006, 5770, Some((7, 5770))),
        ]);
    }

    #[test]
    fn what_we_keep_back_leaves_no_gap() {
        check(&[
            Send(10, 0, Some((1, 0))),
            Back(11),
            Back(12),
            // 13 is lost in the network while we keep things back, which nobody needs to know.
            Back(14),
            Send(15, 4800, Some((2, 4800))),
            Send(12, 1920, None),
            Send(16, 5760, Some((3, 5760))),
            Back(15),
            Send(17, 6720, Some((4, 6720))),
        ]);
    }

    #[test]
    fn our_own_frames_go_between() {
        check(&[
            Send(10, 0, Some((1, 0))),
            Inject(2, 960),
            Back(11),
            Inject(3, 1920),
            // The sender's clock stood still meanwhile.
            Send(12, 960, Some((4, 2880))),
            Send(13, 1920, Some((5, 3840))),
            Inject(6, 4800),
            // Or it ran.
            Send(14, 9600, Some((7, 11_520))),
        ]);
    }

    #[test]
    fn a_restarted_sender_goes_on() {
        check(&[
            Send(10, 5000, Some((1, 5000))),
            Restart,
            Wait(100),
            Send(40_000, 77, Some((2, 9800))),
            Send(40_001, 1037, Some((3, 10_760))),
            // A jump too wide to be loss is a restart as well.
            Wait(20),
            Send(40_001 + RESTART_GAP + 1, 3, Some((4, 11_720))),
            Send(40_001 + 2 * RESTART_GAP + 1, 3, Some((4 + RESTART_GAP, 11_720))),
        ]);
    }

    #[test]
    fn before_the_first_packet_there_is_nothing_to_go_on_from() {
        let mut rewriter = Rewriter::default();
        assert_eq!(rewriter.highest_out(), None);
        assert_eq!(rewriter.inject(Instant::now()), None);
        rewriter.keep_back(SeqNo(5));
        let first = rewriter.forward(Instant::now(), SeqNo(4), RtpTime(1));
        assert_eq!(first.map(|(seq, _)| seq), Some(SeqNo(4)), "a stream begins with its sender's own number");
        assert!(rewriter.highest_out().is_some());
    }
}
