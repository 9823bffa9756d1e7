//! Where in one recording the sound of another lies: the peak of their cross-correlation.

use rustfft::FftPlanner;
use rustfft::num_complex::Complex;

/// Playout delays change between utterances by no more than this, 300 ms.
const LOCAL_RANGE: i64 = 14_400;

/// How many samples later than in `reference` the same sound is in `other`.
pub(super) fn global_lag(reference: &[f32], other: &[f32]) -> i64 {
    if reference.is_empty() || other.is_empty() {
        return 0;
    }
    let correlation = cross_correlation(reference, other);
    let peak = peak(&correlation);
    // Lags below zero wrap around to the end.
    if peak < other.len() { peak as i64 } else { peak as i64 - correlation.len() as i64 }
}

/// Where `piece` begins in `other`, looked for around `expected`.
pub(super) fn local_lag(piece: &[f32], other: &[f32], expected: i64) -> i64 {
    let from = expected - LOCAL_RANGE;
    let window: Vec<f32> = (from..expected + LOCAL_RANGE + piece.len() as i64)
        .map(|i| super::spectrum::sample_at(other, i))
        .collect();
    let correlation = cross_correlation(piece, &window);
    from + peak(&correlation[..2 * LOCAL_RANGE as usize]) as i64
}

fn peak(correlation: &[f32]) -> usize {
    correlation.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).map_or(0, |(at, _)| at)
}

/// For each lag the sum of products, by way of the spectrum.
fn cross_correlation(one: &[f32], two: &[f32]) -> Vec<f32> {
    let len = (one.len() + two.len()).next_power_of_two();
    let mut planner = FftPlanner::new();
    let forward = planner.plan_fft_forward(len);
    let transform = |samples: &[f32]| {
        let mut buffer: Vec<Complex<f32>> = samples.iter().map(|s| Complex::new(*s, 0.0)).collect();
        buffer.resize(len, Complex::default());
        forward.process(&mut buffer);
        buffer
    };
    let mut product = transform(two);
    product.iter_mut().zip(transform(one)).for_each(|(b, a)| *b *= a.conj());
    planner.plan_fft_inverse(len).process(&mut product);
    product.iter().map(|c| c.re).collect()
}
