//! What people do. Nobody publishes how large calls are and how long people stay; what is assumed stands here.

use std::f64::consts::TAU;

use crate::random::Random;

/// People of a guild that are in voice together: `s` of them in a share of cases that falls as `s` to the power of this. Because groups of people are of that kind, and with
/// 2.5 of a hundred calls 85 have two to five people, two in a thousand have a hundred or more, and these have a ninth of all people.
const SIZE_POWER: f64 = 2.5;
const SIZE_MIN: u32 = 2;
/// Because a stage of so many is an event that is announced beforehand.
const SIZE_MAX: u32 = 5_000;

/// How long one stays: half of all for longer than this, with a wide spread (log-normal), so 41 minutes in the mean. Because a short visit and a whole evening are both common.
const STAY_MEDIAN_S: f64 = 1_500.0;
const STAY_SIGMA: f64 = 1.0;

/// How long after the first the others come, in the mean (exponential).
const DELAY_MEAN_S: f64 = 300.0;

pub struct Habits {
    /// For each size, in how many cases of all it is that or less.
    sizes: Vec<f64>,
    size_mean: f64,
}

impl Default for Habits {
    fn default() -> Self {
        let weights: Vec<f64> = (SIZE_MIN..=SIZE_MAX).map(|s| f64::from(s).powf(-SIZE_POWER)).collect();
        let all: f64 = weights.iter().sum();
        let mean = (SIZE_MIN..).zip(&weights).map(|(s, weight)| f64::from(s) * weight).sum::<f64>() / all;
        let mut sum = 0.0;
        let sizes = weights.iter().map(|weight| {
            sum += weight / all;
            sum
        });
        Self { sizes: sizes.collect(), size_mean: mean }
    }
}

impl Habits {
    pub fn size_mean(&self) -> f64 {
        self.size_mean
    }

    pub fn size(&self, random: &mut Random) -> u32 {
        let share = unit(random);
        let found = self.sizes.partition_point(|upto| *upto < share);
        SIZE_MIN + (found.min(self.sizes.len() - 1)) as u32
    }

    pub fn stay_s(&self, random: &mut Random) -> f64 {
        STAY_MEDIAN_S * (STAY_SIGMA * normal(random)).exp()
    }

    /// Of somebody who is met in a call: long stays are met more often, at any moment of theirs.
    pub fn rest_of_stay_s(&self, random: &mut Random) -> f64 {
        let whole = STAY_MEDIAN_S * (STAY_SIGMA * (normal(random) + STAY_SIGMA)).exp();
        whole * unit(random)
    }

    pub fn delay_s(&self, random: &mut Random) -> f64 {
        -DELAY_MEAN_S * unit(random).ln()
    }

    /// Of all its people together, in the mean.
    pub fn user_seconds_of_a_call(&self) -> f64 {
        self.size_mean * STAY_MEDIAN_S * (STAY_SIGMA * STAY_SIGMA / 2.0).exp()
    }

    /// Of something that happens so often in the mean, and at no time rather than another (Poisson).
    pub fn how_many(&self, mean: f64, random: &mut Random) -> u32 {
        let (floor, mut product, mut count) = ((-mean).exp(), unit(random), 0);
        while product > floor {
            product *= unit(random);
            count += 1;
        }
        count
    }
}

/// Above 0, up to 1.
fn unit(random: &mut Random) -> f64 {
    ((random.next() >> 11) + 1) as f64 / (1_u64 << 53) as f64
}

fn normal(random: &mut Random) -> f64 {
    (-2.0 * unit(random).ln()).sqrt() * (TAU * unit(random)).cos()
}
