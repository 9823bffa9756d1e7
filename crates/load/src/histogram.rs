//! Delays, kept as they are: a run has few enough samples to sort them.

use std::time::Duration;

#[derive(Debug, Clone, Default)]
pub struct Histogram {
    samples_us: Vec<u32>,
}

impl Histogram {
    pub fn record(&mut self, value: Duration) {
        self.samples_us.push(u32::try_from(value.as_micros()).unwrap_or(u32::MAX));
    }

    pub fn add(&mut self, other: &Self) {
        self.samples_us.extend_from_slice(&other.samples_us);
    }

    /// The value below which this share of the samples lies, in milliseconds; 0 without samples.
    pub fn quantile_ms(&self, share: f64) -> f64 {
        let mut sorted = self.samples_us.clone();
        sorted.sort_unstable();
        let at = (share * sorted.len() as f64) as usize;
        sorted.get(at.min(sorted.len().saturating_sub(1))).map_or(0.0, |us| f64::from(*us) / 1_000.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_the_sorted_samples() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.quantile_ms(0.5), 0.0);
        for ms in (1..=100).rev() {
            histogram.record(Duration::from_millis(ms));
        }
        assert_eq!(histogram.quantile_ms(0.5), 51.0);
        assert_eq!(histogram.quantile_ms(0.99), 100.0);
        assert_eq!(histogram.quantile_ms(1.0), 100.0);
    }
}
