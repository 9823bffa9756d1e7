//! Spectra: of 20 ms on a mel scale, and of a whole recording for its tones.

use std::sync::Arc;

use rustfft::num_complex::Complex;
use rustfft::{Fft, FftPlanner};

use crate::SAMPLE_RATE_HZ;

pub(super) const BANDS: usize = 40;
/// Longer than a frame, so that neighbouring windows overlap by half: 43 ms.
const WINDOW: usize = 2048;
const LOWEST_HZ: f32 = 100.0;
const HIGHEST_HZ: f32 = 8_000.0;
/// Differences below -70 dB of full scale are heard by nobody.
const POWER_FLOOR: f32 = 1e-7;

pub(super) struct MelSpectrum {
    fft: Arc<dyn Fft<f32>>,
    window: Vec<f32>,
    /// The edges of the bands, in bins.
    edges: [f32; BANDS + 2],
}

impl MelSpectrum {
    pub(super) fn new() -> Self {
        let mel = |hz: f32| 2595.0 * (1.0 + hz / 700.0).log10();
        let hertz = |mel: f32| 700.0 * (10.0_f32.powf(mel / 2595.0) - 1.0);
        let step = (mel(HIGHEST_HZ) - mel(LOWEST_HZ)) / (BANDS + 1) as f32;
        let edges = std::array::from_fn(|i| {
            hertz(mel(LOWEST_HZ) + step * i as f32) * WINDOW as f32 / SAMPLE_RATE_HZ as f32
        });
        Self { fft: FftPlanner::new().plan_fft_forward(WINDOW), window: hann(WINDOW), edges }
    }

    /// The logarithm of the power in each band, of the window around the 20 ms that begin at `start`.
    pub(super) fn log_bands(&mut self, samples: &[f32], start: i64) -> [f32; BANDS] {
        let from = start - (WINDOW - crate::FRAME_SAMPLES) as i64 / 2;
        let mut buffer: Vec<Complex<f32>> = (0..WINDOW)
            .map(|i| Complex::new(sample_at(samples, from + i as i64) * self.window[i], 0.0))
            .collect();
        self.fft.process(&mut buffer);
        std::array::from_fn(|band| {
            let [low, middle, high] = [self.edges[band], self.edges[band + 1], self.edges[band + 2]];
            let power: f32 = (low.floor() as usize..=high.ceil() as usize)
                .map(|bin| {
                    let at = bin as f32;
                    let weight = ((at - low) / (middle - low)).min((high - at) / (high - middle)).max(0.0);
                    weight * buffer[bin].norm_sqr() / (WINDOW as f32 * WINDOW as f32 / 16.0)
                })
                .sum();
            (power + POWER_FLOOR).ln()
        })
    }
}

/// A tone in a recording.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tone {
    pub hz: f32,
    /// Relative to a tone of full scale.
    pub level_db: f32,
}

/// The strongest tones, loudest first, at most `count`, none closer than 30 Hz to a stronger one.
#[must_use]
pub fn strongest_tones(samples: &[f32], count: usize) -> Vec<Tone> {
    /// 171 ms: bins of 5.9 Hz.
    const LEN: usize = 8192;
    const APART_BINS: usize = 6;
    let fft = FftPlanner::new().plan_fft_forward(LEN);
    let window = hann(LEN);
    let mut power = vec![0.0_f32; LEN / 2];
    let starts = (0..samples.len().saturating_sub(LEN - 1)).step_by(LEN / 2);
    let windows = starts.len().max(1) as f32;
    for start in starts {
        let mut buffer: Vec<Complex<f32>> =
            samples[start..start + LEN].iter().zip(&window).map(|(s, w)| Complex::new(s * w, 0.0)).collect();
        fft.process(&mut buffer);
        // A Hann window halves the amplitude, and a real tone has half of it at negative frequencies.
        let scale = LEN as f32 / 4.0;
        power.iter_mut().zip(&buffer).for_each(|(p, c)| *p += c.norm_sqr() / (scale * scale) / windows);
    }
    let mut peaks: Vec<usize> =
        (2..power.len() - 1).filter(|i| power[*i] > power[i - 1] && power[*i] >= power[i + 1]).collect();
    peaks.sort_by(|a, b| power[*b].total_cmp(&power[*a]));
    let mut tones: Vec<(usize, Tone)> = Vec::new();
    for bin in peaks {
        if tones.len() == count {
            break;
        }
        if power[bin] > 1e-9 && tones.iter().all(|(other, _)| other.abs_diff(bin) >= APART_BINS) {
            let hz = (bin as f32 + between_bins(&power, bin)) * SAMPLE_RATE_HZ as f32 / LEN as f32;
            tones.push((bin, Tone { hz, level_db: 10.0 * power[bin].log10() }));
        }
    }
    tones.into_iter().map(|(_, tone)| tone).collect()
}

/// Where the top of the parabola through three logarithmic bins lies, from -0.5 to 0.5.
fn between_bins(power: &[f32], bin: usize) -> f32 {
    let [a, b, c] = [power[bin - 1].max(1e-20).ln(), power[bin].ln(), power[bin + 1].max(1e-20).ln()];
    let curve = a - 2.0 * b + c;
    if curve == 0.0 { 0.0 } else { (0.5 * (a - c) / curve).clamp(-0.5, 0.5) }
}

/// Outside of a recording there is silence.
pub(super) fn sample_at(samples: &[f32], at: i64) -> f32 {
    usize::try_from(at).ok().and_then(|at| samples.get(at)).copied().unwrap_or(0.0)
}

fn hann(len: usize) -> Vec<f32> {
    (0..len).map(|i| 0.5 - 0.5 * (std::f32::consts::TAU * i as f32 / len as f32).cos()).collect()
}
