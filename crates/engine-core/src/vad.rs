//! Is somebody speaking in this frame? Level above the noise and a speech classifier have to agree: the level alone
//! opens for every door, the classifier alone now and then for noise.

use crate::{Frame, level_dbfs};

/// The classifier's window: 16 ms at 16 kHz.
const WINDOW: usize = 256;
const DECIMATION: usize = 3;
const TAPS: usize = 33;

/// Nothing below this is a voice into a microphone.
const LEVEL_MIN_DBFS: f32 = -55.0;
/// How far a voice stands above the noise.
const ABOVE_NOISE_DB: f32 = 9.0;
/// The noise estimate falls at once and rises slowly, so that speech does not become noise.
const NOISE_RISE_DB: f32 = 0.03;
const NOISE_RANGE_DBFS: (f32, f32) = (-90.0, -45.0);

/// The classifier's score that begins speech, and the lower one that continues it.
const SCORE_OPEN: f32 = 0.5;
const SCORE_HOLD: f32 = 0.3;

/// What a frame holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activity {
    Quiet,
    /// Something is heard that is not, or not yet, known to be a voice.
    Sound,
    Voice,
}

/// Decides frame by frame; keeps the noise level and the classifier's memory.
pub struct VoiceActivity {
    detector: Box<earshot::Detector>,
    decimator: Decimator,
    window: Vec<f32>,
    score: f32,
    noise_dbfs: f32,
    active: bool,
}

impl Default for VoiceActivity {
    fn default() -> Self {
        Self {
            detector: earshot::Detector::default_boxed(),
            decimator: Decimator::new(),
            window: Vec::with_capacity(WINDOW),
            score: 0.0,
            noise_dbfs: -60.0,
            active: false,
        }
    }
}

impl VoiceActivity {
    /// What is in `frame`. Frames have to be given without gaps.
    pub fn handle_frame(&mut self, frame: &Frame) -> Activity {
        let level = level_dbfs(frame);
        self.classify(frame);
        let loud = level > LEVEL_MIN_DBFS.max(self.noise_dbfs + ABOVE_NOISE_DB);
        let threshold = if self.active { SCORE_HOLD } else { SCORE_OPEN };
        self.active = loud && self.score >= threshold;
        self.track_noise(level);
        match (loud, self.active) {
            (_, true) => Activity::Voice,
            (true, false) => Activity::Sound,
            (false, false) => Activity::Quiet,
        }
    }

    /// Keeps the highest score of the windows that ended in this frame, or the last one if none did.
    fn classify(&mut self, frame: &Frame) {
        let mut highest: Option<f32> = None;
        for sample in self.decimator.run(frame) {
            self.window.push(sample);
            if self.window.len() == WINDOW {
                let score = self.detector.predict_f32(&self.window);
                highest = Some(highest.map_or(score, |h| h.max(score)));
                self.window.clear();
            }
        }
        self.score = highest.unwrap_or(self.score);
    }

    fn track_noise(&mut self, level: f32) {
        let (lowest, highest) = NOISE_RANGE_DBFS;
        let next = if level < self.noise_dbfs { level } else { self.noise_dbfs + NOISE_RISE_DB };
        self.noise_dbfs = next.clamp(lowest, highest);
    }
}

/// 48 kHz to 16 kHz through a windowed-sinc low pass.
struct Decimator {
    taps: [f32; TAPS],
    history: [f32; TAPS],
    at: usize,
    phase: usize,
}

impl Decimator {
    fn new() -> Self {
        let mut taps = [0.0; TAPS];
        let middle = (TAPS - 1) as f32 / 2.0;
        // A little below the new Nyquist frequency, to leave the filter room to fall.
        let cutoff = 0.9 / DECIMATION as f32;
        for (i, tap) in taps.iter_mut().enumerate() {
            let x = i as f32 - middle;
            let sinc = if x == 0.0 {
                cutoff
            } else {
                (std::f32::consts::PI * cutoff * x).sin() / (std::f32::consts::PI * x)
            };
            let hann = 0.5 - 0.5 * (std::f32::consts::TAU * (i as f32 + 0.5) / TAPS as f32).cos();
            *tap = sinc * hann;
        }
        Self { taps, history: [0.0; TAPS], at: 0, phase: 0 }
    }

    fn run<'a>(&'a mut self, frame: &'a Frame) -> impl Iterator<Item = f32> + 'a {
        frame.iter().filter_map(move |sample| {
            self.history[self.at] = *sample;
            self.at = (self.at + 1) % TAPS;
            self.phase = (self.phase + 1) % DECIMATION;
            (self.phase == 0).then(|| {
                let (newer, older) = self.history.split_at(self.at);
                older.iter().chain(newer).zip(&self.taps).map(|(s, t)| s * t).sum()
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{FRAME_SAMPLES, SILENCE};

    fn active_frames(frames: impl Iterator<Item = Frame>) -> usize {
        let mut vad = VoiceActivity::default();
        frames.filter(|frame| vad.handle_frame(frame) == Activity::Voice).count()
    }

    #[test]
    fn silence_and_faint_noise_are_not_voice() {
        assert_eq!(active_frames((0..200).map(|_| SILENCE)), 0);
        let mut seed = 7_u32;
        let faint = (0..500).map(|_| {
            std::array::from_fn(|_| {
                seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (seed.cast_signed() as f32 / i32::MAX as f32) * 0.002
            })
        });
        assert_eq!(active_frames(faint), 0);
    }

    #[test]
    fn the_decimator_keeps_speech_and_removes_what_would_fold() {
        let level_of = |hz: f32| {
            let mut decimator = Decimator::new();
            let frame: Frame =
                std::array::from_fn(|i| (std::f32::consts::TAU * hz * i as f32 / 48_000.0).sin());
            let out: Vec<f32> = decimator.run(&frame).collect();
            assert_eq!(out.len(), FRAME_SAMPLES / DECIMATION);
            level_dbfs(&out[20..])
        };
        assert!(level_of(1_000.0) > -3.5);
        assert!(level_of(12_000.0) < -35.0);
    }
}
