//! Where nobody speaks, a shard that is woken often waits a moment before it looks again, and takes in together what came meanwhile: a wake costs more than ten times what a
//! keepalive does, and five thousand idle people send a thousand a second.

use std::time::{Duration, Instant};

use crate::limits::{NAP, QUIET_AFTER};

#[derive(Debug)]
pub struct Naps {
    /// Packets that were forwarded when the shard was last looked at.
    forwarded: u64,
    spoken_at: Instant,
    /// When datagrams last were a reason to wake.
    woken_at: Option<Instant>,
}

impl Naps {
    pub fn new(now: Instant) -> Self {
        Self { forwarded: 0, spoken_at: now, woken_at: None }
    }

    /// How long to do nothing, after a turn that ended now and that datagrams were a reason for.
    pub fn after(&mut self, now: Instant, forwarded: u64) -> Option<Duration> {
        if forwarded != self.forwarded {
            (self.forwarded, self.spoken_at) = (forwarded, now);
        }
        let before = self.woken_at.replace(now)?;
        let is_quiet = now.saturating_duration_since(self.spoken_at) >= QUIET_AFTER;
        let is_often = now.saturating_duration_since(before) < 2 * NAP;
        (is_quiet && is_often).then_some(NAP)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_naps_when_it_is_woken_often_for_nothing_that_is_heard() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut naps = Naps::new(start);
        assert_eq!([naps.after(at(10), 0), naps.after(at(11), 0)], [None, None], "it has just begun");
        assert_eq!(naps.after(at(500), 0), None, "after a pause");
        assert_eq!([naps.after(at(501), 0), naps.after(at(504), 0)], [Some(NAP), Some(NAP)]);
        assert_eq!(naps.after(at(504) + 2 * NAP, 0), None, "seldom");
        assert_eq!([naps.after(at(515), 1), naps.after(at(516), 1)], [None, None], "somebody speaks");
        assert_eq!([naps.after(at(590), 1), naps.after(at(591), 1)], [None, None], "and may go on");
        assert_eq!([naps.after(at(700), 1), naps.after(at(701), 1)], [None, Some(NAP)]);
    }
}
