//! How long packets of one stream have to wait so that almost all of them are there when they are played.
//!
//! A packet's transit is its arrival minus its timestamp, on a scale whose zero means nothing. The smallest transit
//! of the last seconds is the path without queues; how far the others lie above it is the jitter.

use std::time::{Duration, Instant};

use crate::limits::{DELAY_INITIAL, DELAY_MAX, DELAY_MIN};

/// Four seconds of packets: enough to see rare queues, short enough to follow clocks that drift apart.
const WINDOW: usize = 200;
/// Before as many were seen, the initial delay is kept at least.
const WARM_UP: usize = 50;
/// The largest of a full window that are allowed to be late.
const OUTLIERS: usize = 4;
/// Room for the thread that plays to be woken late.
const MARGIN_US: i64 = 10_000;
/// A transit this far from the others at the beginning of a burst is a timestamp that did not advance over the
/// silence (several clients do that), not jitter.
const DISCONTINUITY_US: i64 = 400_000;

pub(crate) struct Delay {
    epoch: Instant,
    transits_us: Vec<i64>,
    at: usize,
    base_us: i64,
    target: Duration,
}

impl Delay {
    pub(crate) fn new(epoch: Instant) -> Self {
        Self { epoch, transits_us: Vec::with_capacity(WINDOW), at: 0, base_us: 0, target: DELAY_INITIAL }
    }

    pub(crate) fn target(&self) -> Duration {
        self.target
    }

    /// Takes note of a packet's arrival; `time` is its extended timestamp in samples.
    pub(crate) fn handle_arrival(&mut self, now: Instant, time: i64, first_of_burst: bool) {
        let transit = self.micros(now) - samples_to_micros(time);
        if !self.transits_us.is_empty() {
            let off = transit - self.base_us;
            let apart = off.abs() > DISCONTINUITY_US;
            if apart && (first_of_burst || off.abs() > 4 * DISCONTINUITY_US) {
                // The shape of the window is still what is known of the path, so only its position moves.
                self.transits_us.iter_mut().for_each(|t| *t += off);
            }
        }
        self.remember(transit);
        self.measure();
    }

    /// When a packet with this timestamp should begin to play.
    pub(crate) fn playout_at(&self, time: i64) -> Instant {
        let us = self.base_us + samples_to_micros(time) + self.target.as_micros() as i64;
        self.epoch + Duration::from_micros(us.max(0).cast_unsigned())
    }

    /// How much later than wanted a packet is played at `now`, in microseconds; negative when it is early.
    pub(crate) fn lateness_us(&self, now: Instant, time: i64) -> i64 {
        self.micros(now) - (self.base_us + samples_to_micros(time) + self.target.as_micros() as i64)
    }

    fn micros(&self, now: Instant) -> i64 {
        now.saturating_duration_since(self.epoch).as_micros() as i64
    }

    fn remember(&mut self, transit: i64) {
        if self.transits_us.len() < WINDOW {
            self.transits_us.push(transit);
        } else {
            self.transits_us[self.at] = transit;
            self.at = (self.at + 1) % WINDOW;
        }
    }

    fn measure(&mut self) {
        let mut sorted = [0; WINDOW];
        let sorted = &mut sorted[..self.transits_us.len()];
        sorted.copy_from_slice(&self.transits_us);
        let allowed_late = OUTLIERS * sorted.len() / WINDOW;
        let at = sorted.len() - 1 - allowed_late;
        let (below, high, _) = sorted.select_nth_unstable(at);
        let high = *high;
        self.base_us = below.iter().copied().min().unwrap_or(high);
        let spread = Duration::from_micros((high - self.base_us + MARGIN_US).cast_unsigned());
        let least = if self.transits_us.len() < WARM_UP { DELAY_INITIAL } else { DELAY_MIN };
        self.target = spread.clamp(least, DELAY_MAX);
    }
}

fn samples_to_micros(samples: i64) -> i64 {
    samples * 1_000_000 / i64::from(crate::SAMPLE_RATE_HZ)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Packets 20 ms apart whose delays are given in milliseconds, repeated until the window is full.
    fn target_after(delays_ms: &[u64]) -> Duration {
        let epoch = Instant::now();
        let mut delay = Delay::new(epoch);
        for (i, ms) in delays_ms.iter().cycle().take(2 * WINDOW).enumerate() {
            let sent = Duration::from_millis(20 * i as u64);
            delay.handle_arrival(epoch + sent + Duration::from_millis(*ms), 960 * i as i64 + 5_000, i == 0);
        }
        delay.target()
    }

    #[test]
    fn the_target_follows_the_jitter_within_its_bounds() {
        assert_eq!(target_after(&[30]), DELAY_MIN);
        assert_eq!(target_after(&[30, 100]), Duration::from_millis(80));
        assert_eq!(target_after(&[30, 900]), DELAY_MAX);
        // One in a hundred may be late.
        let mut rare = [30; 100];
        rare[7] = 200;
        assert_eq!(target_after(&rare), DELAY_MIN);
    }

    #[test]
    fn timestamps_that_stood_still_in_silence_are_no_jitter() {
        let epoch = Instant::now();
        let mut delay = Delay::new(epoch);
        for i in 0..300_u64 {
            // A pause of five seconds in the middle over which the timestamps go on as if it had not been.
            let pause = if i < 150 { 0 } else { 5_000 };
            let now = epoch + Duration::from_millis(20 * i + pause);
            delay.handle_arrival(now, 960 * i as i64, i == 0 || i == 150);
            assert!(delay.target() <= DELAY_INITIAL);
            assert!(delay.lateness_us(now, 960 * i as i64) <= 0);
        }
        assert_eq!(delay.target(), DELAY_MIN);
    }
}
