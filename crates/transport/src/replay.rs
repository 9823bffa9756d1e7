//! Which packets of a stream have been seen, so that none is taken twice (as in RFC 3711 section 3.3.2).

use rtp_wire::SeqNo;

/// A packet that was seen before, or is so old that this cannot be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[error("seen before, or too old to tell")]
pub struct Replayed;

/// The last 128 numbers of one stream.
///
/// A jump forwards, of up to half the 16-bit circle, is taken, because packets get lost. A jump backwards
/// further than the window is a replay: a stream never begins again under the same key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReplayWindow {
    highest: Option<SeqNo>,
    /// Bit n stands for `highest - n`.
    seen: u128,
}

/// What a window knows, for writing it down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WindowState {
    pub highest: SeqNo,
    /// Bit n stands for `highest - n`.
    pub seen: u128,
}

impl ReplayWindow {
    pub const WIDTH: u64 = u128::BITS as u64;

    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Goes on after a restart. Nothing up to `highest` is taken any more, because which of those were seen
    /// is forgotten.
    #[must_use]
    pub fn resume(highest: SeqNo) -> Self {
        Self { highest: Some(highest), seen: u128::MAX }
    }

    /// Goes on exactly where another one stopped: nothing that it took is taken again, and what it missed may still come.
    #[must_use]
    pub fn from_state(state: WindowState) -> Self {
        Self { highest: Some(state.highest), seen: state.seen | 1 }
    }

    /// Everything it knows; nothing before the first packet.
    #[must_use]
    pub fn state(&self) -> Option<WindowState> {
        self.highest.map(|highest| WindowState { highest, seen: self.seen })
    }

    /// The highest number taken: what must be written down to go on after a restart.
    #[must_use]
    pub fn highest(&self) -> Option<SeqNo> {
        self.highest
    }

    /// The lowest number that could still be taken.
    #[must_use]
    pub fn floor(&self) -> SeqNo {
        self.highest.map_or(SeqNo(0), |highest| SeqNo(highest.0.saturating_sub(Self::WIDTH - 1)))
    }

    /// Extends a number from the wire. The first lands in the second cycle, as with
    /// [`rtp_wire::SeqUnwrapper`].
    #[must_use]
    pub fn extend(&self, wire: u16) -> SeqNo {
        match self.highest {
            Some(highest) => highest.nearest(wire),
            None => SeqNo(0x1_0000 + u64::from(wire)),
        }
    }

    /// The same for numbers whose rollovers are counted from zero: the first lands in the first cycle.
    pub(crate) fn extend_from_zero(&self, wire: u16) -> SeqNo {
        self.highest.map_or(SeqNo(u64::from(wire)), |highest| highest.nearest(wire))
    }

    /// The same for a 32-bit counter.
    pub(crate) fn extend_counter(&self, wire: u32) -> SeqNo {
        let Some(highest) = self.highest else { return SeqNo(1 << 32 | u64::from(wire)) };
        let distance = wire.wrapping_sub((highest.0 & 0xFFFF_FFFF) as u32).cast_signed();
        SeqNo(highest.0.saturating_add_signed(i64::from(distance)))
    }

    pub fn check(&self, seq: SeqNo) -> Result<(), Replayed> {
        let Some(highest) = self.highest else { return Ok(()) };
        let Some(age) = highest.0.checked_sub(seq.0) else { return Ok(()) };
        if age >= Self::WIDTH || self.seen >> age & 1 == 1 { Err(Replayed) } else { Ok(()) }
    }

    /// Marks a number as seen. Call it only for a packet that authenticated, or a forger could shut a stream
    /// up.
    pub fn commit(&mut self, seq: SeqNo) {
        match self.highest {
            Some(highest) if seq <= highest => {
                let age = highest.0 - seq.0;
                if age < Self::WIDTH {
                    self.seen |= 1 << age;
                }
            }
            Some(highest) => {
                let ahead = u32::try_from(seq.0 - highest.0).unwrap_or(u32::MAX);
                self.seen = self.seen.checked_shl(ahead).unwrap_or(0) | 1;
                self.highest = Some(seq);
            }
            None => {
                self.seen = 1;
                self.highest = Some(seq);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;

    #[track_caller]
    fn check(wire: &[u16], expect: &[bool]) {
        let mut window = ReplayWindow::new();
        let got: Vec<bool> = wire
            .iter()
            .map(|wire| {
                let seq = window.extend(*wire);
                let fresh = window.check(seq).is_ok();
                if fresh {
                    window.commit(seq);
                }
                fresh
            })
            .collect();
        assert_eq!(got, expect);
    }

    #[test]
    fn each_number_is_taken_once() {
        check(&[5, 5, 6, 4, 6, 4], &[true, false, true, true, false, false]);
        check(&[0xFFFF, 0, 0xFFFF, 0], &[true, true, false, false]);
        check(&[0, 0xFFFF, 0xFFFF], &[true, true, false]);
    }

    #[test]
    fn the_window_has_an_end() {
        check(&[1000, 1000 - 127, 1000 - 128], &[true, true, false]);
        check(&[1000, 1127, 1000, 999, 1001], &[true, true, false, false, true]);
        check(&[1000, 1128, 1000, 1001], &[true, true, false, true]);
    }

    #[test]
    fn a_stream_may_jump_forwards_only() {
        check(&[0, 0x7FFF, 0xFFFE, 0x7FFF], &[true, true, true, false]);
        check(&[1000, 1000 + 0x8000], &[true, false]);
    }

    #[test]
    fn what_was_before_a_restart_is_not_taken_again() {
        let window = ReplayWindow::resume(SeqNo(70_000));
        assert_eq!(window.floor(), SeqNo(69_873));
        assert_eq!(window.check(SeqNo(70_000)), Err(Replayed));
        assert_eq!(window.check(SeqNo(69_900)), Err(Replayed));
        assert_eq!(window.check(SeqNo(70_001)), Ok(()));
    }

    #[test]
    fn a_window_written_down_goes_on_exactly() {
        assert_eq!(ReplayWindow::new().state(), None);
        let mut window = ReplayWindow::new();
        for seq in [70_000, 70_003, 69_990] {
            window.commit(SeqNo(seq));
        }
        let state = window.state().unwrap();
        assert_eq!((state.highest, state.seen), (SeqNo(70_003), 1 | 1 << 3 | 1 << 13));
        assert_eq!(ReplayWindow::from_state(state), window);
        let broken = ReplayWindow::from_state(WindowState { seen: 0, ..state });
        assert_eq!(
            broken.check(state.highest),
            Err(Replayed),
            "the highest number was seen, whatever is written"
        );
    }

    #[test]
    fn rollovers_are_counted_from_zero() {
        let mut window = ReplayWindow::new();
        for (wire, expect) in [(0xFFFE, 0xFFFE), (0, 0x1_0000), (0xFFFF, 0xFFFF), (1, 0x1_0001)] {
            let seq = window.extend_from_zero(wire);
            assert_eq!(seq, SeqNo(expect));
            window.commit(seq);
        }
    }

    #[test]
    fn counters_of_32_bits() {
        let mut window = ReplayWindow::new();
        let first = window.extend_counter(u32::MAX);
        window.commit(first);
        assert_eq!(window.extend_counter(0), SeqNo(first.0 + 1));
        assert_eq!(window.extend_counter(u32::MAX - 1), SeqNo(first.0 - 1));
    }

    proptest! {
        /// Against the plain meaning: a set of everything ever taken.
        #[test]
        fn it_agrees_with_a_set(steps in proptest::collection::vec(-200i64..200, 1..300)) {
            let mut window = ReplayWindow::new();
            let mut taken = HashSet::new();
            let mut at = 1_000_000i64;
            let mut highest = i64::MIN;
            for step in steps {
                at += step;
                let seq = SeqNo(at.cast_unsigned());
                let fresh = !taken.contains(&at) && (highest == i64::MIN || highest - at < 128);
                prop_assert_eq!(window.check(seq).is_ok(), fresh);
                if fresh {
                    window.commit(seq);
                    taken.insert(at);
                    highest = highest.max(at);
                }
            }
        }
    }
}
