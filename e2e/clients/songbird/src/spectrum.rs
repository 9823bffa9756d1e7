//! Which tones are in a piece of sound: Goertzel's filter on a grid of 10 Hz, averaged over blocks of 100 ms.

use std::f64::consts::TAU;

/// 48 kHz is brought down to 8 kHz first: the tones of the tests lie far below.
const DECIMATION: usize = 6;
const RATE_HZ: f64 = 48_000.0 / DECIMATION as f64;
/// With blocks of 100 ms each step of the grid is exactly one bin, so no tone falls between two of them.
const BLOCK_SAMPLES: usize = 800;
const LOWEST_HZ: u32 = 100;
const HIGHEST_HZ: u32 = 2_000;
const STEP_HZ: u32 = 10;
const PEAKS_MAX: usize = 3;
/// A peak 20 dB under the strongest is a by-product of the codec, not a tone someone plays.
const PEAK_FLOOR: f64 = 0.01;
/// Below this loudness there is no tone but the codec's own noise.
const SILENCE_RMS: f64 = 0.001;

pub fn rms(samples: &[i16]) -> f64 {
    if samples.is_empty() {
        return 0.0;
    }
    let energy: f64 = samples.iter().map(|sample| (f64::from(*sample) / 32_768.0).powi(2)).sum();
    (energy / samples.len() as f64).sqrt()
}

/// The strongest tones, the strongest first.
pub fn peaks_hz(samples: &[i16]) -> Vec<u32> {
    if rms(samples) < SILENCE_RMS {
        return Vec::new();
    }
    let slow: Vec<f64> = samples
        .chunks_exact(DECIMATION)
        .map(|chunk| chunk.iter().map(|sample| f64::from(*sample)).sum::<f64>() / DECIMATION as f64)
        .collect();
    let grid: Vec<(u32, f64)> = (LOWEST_HZ..=HIGHEST_HZ)
        .step_by(STEP_HZ as usize)
        .map(|hz| (hz, power(&slow, f64::from(hz))))
        .collect();
    let strongest = grid.iter().map(|(_, power)| *power).fold(0.0, f64::max);
    let mut peaks: Vec<_> = grid
        .windows(3)
        .filter(|around| around[1].1 > around[0].1 && around[1].1 >= around[2].1)
        .map(|around| around[1])
        .filter(|(_, power)| *power > strongest * PEAK_FLOOR)
        .collect();
    peaks.sort_by(|left, right| right.1.total_cmp(&left.1));
    peaks.into_iter().take(PEAKS_MAX).map(|(hz, _)| hz).collect()
}

fn power(samples: &[f64], hz: f64) -> f64 {
    let coefficient = 2.0 * (TAU * hz / RATE_HZ).cos();
    samples.chunks_exact(BLOCK_SAMPLES).map(|block| block_power(block, coefficient)).sum()
}

fn block_power(block: &[f64], coefficient: f64) -> f64 {
    let (mut before, mut last) = (0.0, 0.0);
    for (index, sample) in block.iter().enumerate() {
        // Hann's window keeps a strong tone from hiding weaker ones beside it.
        let window = 0.5 - 0.5 * (TAU * index as f64 / block.len() as f64).cos();
        let next = sample * window + coefficient * last - before;
        (before, last) = (last, next);
    }
    before * before + last * last - coefficient * before * last
}
