//! An endless sine, handed to songbird as raw samples, which its mixer turns into Opus.

use std::f32::consts::TAU;
use std::io::{Error, ErrorKind, Read, Result, Seek, SeekFrom};

use songbird::input::core::io::MediaSource;
use songbird::input::{Input, RawAdapter};

const RATE_HZ: u32 = 48_000;
const CHANNELS: u32 = 2;
/// Loud enough to stand far above the codec's noise, with room for the mixer.
const AMPLITUDE: f32 = 0.5;

pub fn endless(hz: f32) -> Input {
    RawAdapter::new(Sine { step: hz / RATE_HZ as f32, turn: 0.0 }, RATE_HZ, CHANNELS).into()
}

struct Sine {
    /// Turns a sample.
    step: f32,
    turn: f32,
}

impl Read for Sine {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let mut frames = buffer.chunks_exact_mut(size_of::<f32>() * CHANNELS as usize);
        let mut written = 0;
        for frame in &mut frames {
            let sample = (AMPLITUDE * (TAU * self.turn).sin()).to_le_bytes();
            frame.copy_from_slice([sample, sample].as_flattened());
            written += frame.len();
            self.turn = (self.turn + self.step).fract();
        }
        if written == 0 && !buffer.is_empty() {
            return Err(Error::new(ErrorKind::InvalidInput, "a read shorter than one frame"));
        }
        Ok(written)
    }
}

impl Seek for Sine {
    fn seek(&mut self, _: SeekFrom) -> Result<u64> {
        Err(ErrorKind::Unsupported.into())
    }
}

impl MediaSource for Sine {
    fn is_seekable(&self) -> bool {
        false
    }

    fn byte_len(&self) -> Option<u64> {
        None
    }
}
