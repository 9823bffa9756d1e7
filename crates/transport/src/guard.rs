//! Which of the peer's counters have been seen.

use rtp_wire::SeqNo;

use crate::replay::{ReplayWindow, Replayed, WindowState};

/// Counters nearer to each other than this belong to one run. A server that moves its counter away from its client's goes
/// further (see [`crate::NonceCounter`]).
const RUN: u32 = 1 << 28;

/// Takes each counter once.
///
/// A client counts in one run. A server may move once, in the middle of a session, so a client follows two runs: packets
/// of the earlier one may still be under way when the first of the later one arrives.
#[derive(Debug, Clone)]
pub(crate) struct CounterGuard {
    newest: ReplayWindow,
    earlier: Option<ReplayWindow>,
    peer_may_move: bool,
}

/// Where a counter belongs, once its packet has authenticated.
pub(crate) enum Place {
    Newest(SeqNo),
    Earlier(SeqNo),
    NewRun,
}

impl CounterGuard {
    pub fn new(peer_may_move: bool) -> Self {
        Self { newest: ReplayWindow::new(), earlier: None, peer_may_move }
    }

    /// The windows of the newest run and of the one before.
    pub fn state(&self) -> [Option<WindowState>; 2] {
        [self.newest.state(), self.earlier.as_ref().and_then(ReplayWindow::state)]
    }

    pub fn restore(&mut self, [newest, earlier]: [Option<WindowState>; 2]) {
        self.newest = newest.map(ReplayWindow::from_state).unwrap_or_default();
        self.earlier = earlier.map(ReplayWindow::from_state);
    }

    pub fn check(&self, counter: u32) -> Result<Place, Replayed> {
        if !self.peer_may_move || near(&self.newest, counter) {
            let seq = self.newest.extend_counter(counter);
            return self.newest.check(seq).map(|()| Place::Newest(seq));
        }
        match &self.earlier {
            Some(earlier) if near(earlier, counter) => {
                let seq = earlier.extend_counter(counter);
                earlier.check(seq).map(|()| Place::Earlier(seq))
            }
            Some(_) => Err(Replayed),
            None => Ok(Place::NewRun),
        }
    }

    /// Only for a packet that authenticated.
    pub fn commit(&mut self, counter: u32, place: Place) {
        match place {
            Place::Newest(seq) => self.newest.commit(seq),
            Place::Earlier(seq) => self.earlier.get_or_insert_default().commit(seq),
            Place::NewRun => {
                self.earlier = Some(std::mem::take(&mut self.newest));
                self.newest.commit(self.newest.extend_counter(counter));
            }
        }
    }
}

/// An empty window is near to everything.
fn near(window: &ReplayWindow, counter: u32) -> bool {
    window.highest().is_none_or(|highest| {
        let distance = counter.wrapping_sub((highest.0 & 0xFFFF_FFFF) as u32).cast_signed();
        distance.unsigned_abs() < RUN
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(guard: &mut CounterGuard, counter: u32) -> bool {
        match guard.check(counter) {
            Ok(place) => {
                guard.commit(counter, place);
                true
            }
            Err(Replayed) => false,
        }
    }

    #[test]
    fn a_move_in_any_direction_is_followed_once_and_late_packets_still_count_once() {
        for jump in [1_u32 << 29, 1 << 30, 1 << 31, (1 << 31) + 1, 3 << 30] {
            let mut guard = CounterGuard::new(true);
            assert!(take(&mut guard, 1_000) && take(&mut guard, 1_002));
            assert!(take(&mut guard, jump.wrapping_add(1_000)), "jump of {jump}");
            assert!(take(&mut guard, 1_001), "a late packet of the earlier run, after a jump of {jump}");
            assert!(
                !take(&mut guard, 1_001)
                    && !take(&mut guard, 1_002)
                    && !take(&mut guard, jump.wrapping_add(1_000))
            );
            assert!(take(&mut guard, jump.wrapping_add(1_001)));
        }
    }

    #[test]
    fn a_client_does_not_move() {
        let mut guard = CounterGuard::new(false);
        assert!(take(&mut guard, 1 << 31));
        assert!(!take(&mut guard, 1_000), "far behind is a replay");
        assert!(take(&mut guard, (1 << 31) + (1 << 30)), "packets get lost, however many");
    }
}
