//! What is in a recording.

use std::f64::consts::TAU;
use std::path::Path;

/// Which of these tones is strongest in a WAV file.
pub fn strongest_tone(wav: &Path, tones: &[u32]) -> u32 {
    let mut reader = hound::WavReader::open(wav).unwrap_or_else(|e| panic!("{}: {e}", wav.display()));
    let spec = reader.spec();
    let samples: Vec<f64> = match spec.sample_format {
        hound::SampleFormat::Int => reader.samples::<i32>().flatten().map(f64::from).collect(),
        hound::SampleFormat::Float => reader.samples::<f32>().flatten().map(f64::from).collect(),
    };
    let mono: Vec<f64> = samples.chunks(spec.channels.into()).map(|frame| frame.iter().sum()).collect();
    let power = |hz: u32| {
        let step = TAU * f64::from(hz) / f64::from(spec.sample_rate);
        let phases = mono.iter().enumerate().map(|(n, s)| (s, step * n as f64));
        let (re, im) = phases.fold((0.0, 0.0), |(re, im), (s, p)| (re + s * p.cos(), im + s * p.sin()));
        re.hypot(im)
    };
    *tones.iter().max_by(|a, b| power(**a).total_cmp(&power(**b))).expect("there are tones to choose from")
}
