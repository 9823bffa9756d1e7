//! What is said: one frame of 20 ms after the other.

use std::f32::consts::TAU;
use std::sync::Arc;

use engine_core::{FRAME_SAMPLES, Frame, SAMPLE_RATE_HZ, SILENCE};

use super::Microphone;
use crate::Play;

/// 10 dB below full scale: loud enough to measure, and room for others in the mix.
const TONE_VOLUME: f32 = 0.3;

pub(crate) enum Source {
    Nothing,
    Samples { samples: Arc<[f32]>, at: usize, again: bool },
    Tone { phase: f32, step: f32 },
    Microphone(Microphone),
}

impl Source {
    pub(crate) fn new(play: Play) -> Self {
        match play {
            Play::Nothing => Self::Nothing,
            Play::Samples(samples) => Self::Samples { samples, at: 0, again: false },
            Play::Again(samples) => Self::Samples { samples, at: 0, again: true },
            Play::Tone { hz } => Self::Tone { phase: 0.0, step: hz / SAMPLE_RATE_HZ as f32 },
            Play::Microphone(microphone) => Self::Microphone(microphone),
        }
    }

    /// Whether everything that will ever come has come.
    pub(crate) fn has_ended(&self) -> bool {
        matches!(self, Self::Samples { samples, at, again: false } if *at >= samples.len())
    }

    pub(crate) fn next(&mut self) -> Frame {
        let mut frame = SILENCE;
        match self {
            Self::Nothing => {}
            Self::Samples { samples, at, again } => {
                if *again && *at >= samples.len() {
                    *at = 0;
                }
                let rest = &samples[(*at).min(samples.len())..];
                let take = rest.len().min(FRAME_SAMPLES);
                frame[..take].copy_from_slice(&rest[..take]);
                *at += FRAME_SAMPLES;
            }
            Self::Tone { phase, step } => {
                for sample in &mut frame {
                    *sample = TONE_VOLUME * (TAU * *phase).sin();
                    *phase = (*phase + *step).fract();
                }
            }
            Self::Microphone(microphone) => microphone.read(&mut frame),
        }
        frame
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_said_once_or_again_and_again_from_whole_frames() {
        let samples: Arc<[f32]> = (1..=FRAME_SAMPLES as u16 + 2).map(f32::from).collect();
        let firsts = |play| {
            let mut source = Source::new(play);
            let firsts: Vec<f32> = (0..4).map(|_| source.next()[0]).collect();
            (firsts, source.has_ended())
        };
        let second = FRAME_SAMPLES as f32 + 1.0;
        assert_eq!(firsts(Play::Samples(Arc::clone(&samples))), (vec![1.0, second, 0.0, 0.0], true));
        assert_eq!(firsts(Play::Again(samples)), (vec![1.0, second, 1.0, second], false));
        assert_eq!(firsts(Play::Again(Arc::from([]))), (vec![0.0; 4], false));
    }
}
