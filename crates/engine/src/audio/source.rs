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
    Samples { samples: Arc<[f32]>, at: usize },
    Tone { phase: f32, step: f32 },
    Microphone(Microphone),
}

impl Source {
    pub(crate) fn new(play: Play) -> Self {
        match play {
            Play::Nothing => Self::Nothing,
            Play::Samples(samples) => Self::Samples { samples, at: 0 },
            Play::Tone { hz } => Self::Tone { phase: 0.0, step: hz / SAMPLE_RATE_HZ as f32 },
            Play::Microphone(microphone) => Self::Microphone(microphone),
        }
    }

    /// Whether everything that will ever come has come.
    pub(crate) fn has_ended(&self) -> bool {
        matches!(self, Self::Samples { samples, at } if *at >= samples.len())
    }

    pub(crate) fn next(&mut self) -> Frame {
        let mut frame = SILENCE;
        match self {
            Self::Nothing => {}
            Self::Samples { samples, at } => {
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
