//! Adds the speakers up without ever exceeding full scale.

use crate::{FRAME_SAMPLES, Frame};

/// Loudest the mix gets.
const CEILING: f32 = 0.98;
/// How fast the volume comes back after a loud moment: to the half in about a second.
const RECOVERY: f32 = 0.02;
/// When it has to go down it does so within this, 2.5 ms.
const ATTACK_SAMPLES: usize = 120;

/// Turns the whole mix down while it would be too loud, which is heard less than clipping.
#[derive(Debug)]
pub(crate) struct Limiter {
    gain: f32,
}

impl Default for Limiter {
    fn default() -> Self {
        Self { gain: 1.0 }
    }
}

impl Limiter {
    pub(crate) fn run(&mut self, frame: &mut Frame) {
        let peak = frame.iter().fold(0.0_f32, |peak, s| peak.max(s.abs()));
        let allowed = if peak > CEILING { CEILING / peak } else { 1.0 };
        let next = if allowed < self.gain {
            allowed
        } else {
            (self.gain + (1.0 - self.gain) * RECOVERY).min(allowed)
        };
        if self.gain == 1.0 && next == 1.0 {
            return;
        }
        let ramp = if next < self.gain { ATTACK_SAMPLES } else { FRAME_SAMPLES };
        for (i, sample) in frame.iter_mut().enumerate() {
            let along = (i as f32 / ramp as f32).min(1.0);
            // During the attack a sample may still be too loud; the ceiling holds for it all the same.
            *sample = (*sample * (self.gain + (next - self.gain) * along)).clamp(-CEILING, CEILING);
        }
        self.gain = if next > 0.9999 { 1.0 } else { next };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quiet_mixes_pass_unchanged_and_loud_ones_stay_below_full_scale() {
        let mut limiter = Limiter::default();
        let tone = |volume: f32| -> Frame { std::array::from_fn(|i| volume * (i as f32 * 0.05).sin()) };
        let mut quiet = tone(0.5);
        limiter.run(&mut quiet);
        assert_eq!(quiet, tone(0.5));
        for _ in 0..3 {
            let mut loud = tone(3.0);
            limiter.run(&mut loud);
            assert!(loud.iter().all(|s| s.abs() <= CEILING));
        }
        let mut after = tone(0.5);
        limiter.run(&mut after);
        assert!(after[500].abs() < tone(0.5)[500].abs() * 0.5, "the volume comes back slowly");
        for _ in 0..600 {
            limiter.run(&mut tone(0.5));
        }
        let mut later = tone(0.5);
        limiter.run(&mut later);
        assert_eq!(later, tone(0.5));
    }
}
