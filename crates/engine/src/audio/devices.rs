//! Microphone and speakers, by the operating system's sound interface.
//!
//! Its callbacks run on real-time threads that must not wait, so samples pass through wait-free queues. The device's
//! clock and ours drift apart; the queues are kept short by leaving out or filling in a little when they drift too far.

use cpal::traits::{DeviceTrait, HostTrait, StreamTrait};
use engine_core::{FRAME_SAMPLES, Frame, SAMPLE_RATE_HZ};
use rtrb::{Consumer, Producer, RingBuffer};

use super::DeviceError;

/// A tenth of a second: more is delay that everybody hears.
const QUEUE_SAMPLES: usize = SAMPLE_RATE_HZ as usize / 10;
/// What a microphone may be ahead by before old samples are left out.
const AHEAD_SAMPLES: usize = 3 * FRAME_SAMPLES;

/// Keeps a device running until it is dropped.
pub struct DeviceStream {
    _stream: cpal::Stream,
}

pub struct Microphone {
    samples: Consumer<f32>,
}

impl Microphone {
    /// What has been captured; silence where the device was not fast enough.
    pub(crate) fn read(&mut self, frame: &mut Frame) {
        while self.samples.slots() > AHEAD_SAMPLES {
            let _ = self.samples.pop();
        }
        for sample in frame {
            *sample = self.samples.pop().unwrap_or(0.0);
        }
    }
}

pub struct Output {
    samples: Producer<f32>,
}

impl Output {
    /// A device that does not keep up loses what does not fit.
    pub(crate) fn write(&mut self, frame: &Frame) {
        for sample in frame {
            let _ = self.samples.push(*sample);
        }
    }
}

/// The default input, at 48 kHz.
pub fn open_microphone() -> Result<(Microphone, DeviceStream), DeviceError> {
    let device = cpal::default_host().default_input_device().ok_or(DeviceError::Missing("microphone"))?;
    let channels = device.default_input_config().map_err(|error| unusable("microphone", error))?.channels();
    let (mut producer, samples) = RingBuffer::new(QUEUE_SAMPLES);
    let stream = device
        .build_input_stream(
            stream_config(channels),
            move |input: &[f32], _: &cpal::InputCallbackInfo| {
                for frame in input.chunks_exact(usize::from(channels)) {
                    let _ = producer.push(frame.iter().sum::<f32>() / frame.len() as f32);
                }
            },
            |error| tracing::warn!(%error, "microphone"),
            None,
        )
        .map_err(|error| unusable("microphone", error))?;
    stream.play().map_err(|error| unusable("microphone", error))?;
    Ok((Microphone { samples }, DeviceStream { _stream: stream }))
}

/// The default output, at 48 kHz.
pub fn open_speakers() -> Result<(Output, DeviceStream), DeviceError> {
    let device = cpal::default_host().default_output_device().ok_or(DeviceError::Missing("loudspeaker"))?;
    let channels = device.default_output_config().map_err(|error| unusable("loudspeaker", error))?.channels();
    let (samples, mut consumer) = RingBuffer::new(QUEUE_SAMPLES);
    let stream = device
        .build_output_stream(
            stream_config(channels),
            move |output: &mut [f32], _: &cpal::OutputCallbackInfo| {
                for frame in output.chunks_exact_mut(usize::from(channels)) {
                    frame.fill(consumer.pop().unwrap_or(0.0));
                }
            },
            |error| tracing::warn!(%error, "speakers"),
            None,
        )
        .map_err(|error| unusable("loudspeaker", error))?;
    stream.play().map_err(|error| unusable("loudspeaker", error))?;
    Ok((Output { samples }, DeviceStream { _stream: stream }))
}

fn stream_config(channels: u16) -> cpal::StreamConfig {
    cpal::StreamConfig { channels, sample_rate: SAMPLE_RATE_HZ, buffer_size: cpal::BufferSize::Default }
}

fn unusable(device: &'static str, error: impl std::fmt::Display) -> DeviceError {
    DeviceError::Unusable { device, reason: error.to_string() }
}
