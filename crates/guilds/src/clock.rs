//! The time that guilds go by: the machine's, without its jumps.
//!
//! When the machine's clock is set, deadlines that were given by the old one would be over at once, or not for an hour, and ids would not grow with
//! time. So this one walks on, a little faster or slower, until both agree.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use model::UnixMs;
use rustix::time::{ClockId, clock_gettime};

use crate::limits::{CLOCK_FOLLOWS_AT_ONCE, CLOCK_SLACK, CLOCK_WALKS_OFF};

pub(crate) fn now() -> UnixMs {
    static CLOCK: Mutex<Option<Clock>> = Mutex::new(None);
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is set later than 1970");
    let mut clock = CLOCK.lock().unwrap_or_else(PoisonError::into_inner);
    clock.get_or_insert_with(|| Clock::new(since_boot(), since)).read(since_boot(), since)
}

/// While the machine sleeps as well, which `Instant` does not count.
fn since_boot() -> Duration {
    let time = clock_gettime(ClockId::Boottime);
    Duration::new(time.tv_sec.cast_unsigned(), time.tv_nsec as u32)
}

struct Clock {
    /// Since the machine was started.
    at: Duration,
    /// What it showed then.
    shown: Duration,
    is_off: bool,
}

impl Clock {
    fn new(at: Duration, machine: Duration) -> Self {
        Self { at, shown: machine, is_off: false }
    }

    fn read(&mut self, at: Duration, machine: Duration) -> UnixMs {
        let passed = at.saturating_sub(self.at);
        let on = self.shown + passed;
        let off = on.abs_diff(machine);
        let was_off = std::mem::replace(&mut self.is_off, off > CLOCK_SLACK);
        if self.is_off && !was_off {
            tracing::warn!(?off, "the machine's clock was set: it is followed slowly");
        }
        let step = match off {
            off if off >= CLOCK_FOLLOWS_AT_ONCE || off <= CLOCK_SLACK => off,
            off => off.min(passed / CLOCK_WALKS_OFF),
        };
        let shown = if machine > on { on + step } else { on - step };
        // What is within the slack may be a little back, which nobody is to see.
        self.shown = if off >= CLOCK_FOLLOWS_AT_ONCE { shown } else { shown.max(self.shown) };
        self.at = at;
        UnixMs(self.shown.as_millis() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);
    const HOUR: Duration = Duration::from_secs(3_600);
    const NOW: Duration = Duration::from_secs(1_795_381_607);

    /// After the machine's clock was set so far ahead (or back), what is shown each second, as the difference to the time that really passed.
    fn shown(ahead: Option<Duration>, back: Option<Duration>, seconds: u32) -> Vec<i64> {
        let began = HOUR;
        let mut clock = Clock::new(began, NOW);
        let after = (1..=seconds).map(|s| {
            let machine = NOW + S * s + ahead.unwrap_or_default() - back.unwrap_or_default();
            clock.read(began + S * s, machine).0 as i64 - (NOW + S * s).as_millis() as i64
        });
        after.collect()
    }

    #[test]
    fn a_jump_is_walked_off() {
        assert_eq!(shown(Some(HOUR), None, 3), [100, 200, 300]);
        assert_eq!(shown(None, Some(HOUR), 3), [-100, -200, -300]);
        assert_eq!(shown(None, Some(3 * S), 60).last(), Some(&-3_000));
        assert_eq!(shown(Some(3 * S), None, 60).last(), Some(&3_000));
    }

    #[test]
    fn what_clocks_are_always_corrected_by_is_followed() {
        assert_eq!(shown(Some(S / 100), None, 2), [10, 10]);
        assert_eq!(shown(None, Some(S / 100), 2), [-10, -10]);
        let began = HOUR;
        let mut clock = Clock::new(began, NOW);
        assert_eq!(clock.read(began, NOW - S / 100).0, NOW.as_millis() as u64, "it never goes back");
    }

    #[test]
    fn a_clock_that_was_not_set_at_all_is_followed_at_once() {
        assert_eq!(shown(Some(HOUR * 24 * 365), None, 1), [365 * 24 * 3_600_000]);
    }
}
