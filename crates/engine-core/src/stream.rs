//! One remote speaker: jitter buffer, decoder, and the numbers that are reported.

use std::time::{Duration, Instant};

use model::UserId;
use rtp_wire::{RtpTime, Ssrc};

use crate::jitter::{JitterBuffer, Pull};
use crate::limits::DECODER_IDLE;
use crate::{FRAME_SAMPLES, Frame, SAMPLE_RATE_HZ};

/// The longest Opus packet, 120 ms.
const PACKET_SAMPLES_MAX: usize = rtp_wire::MAX_PACKET_SAMPLES as usize;

/// How well one stream came through.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StreamStats {
    pub ssrc: Ssrc,
    /// Unknown until the server has said whose stream it is.
    pub user: Option<UserId>,
    pub received: u64,
    /// Numbers of the extended sequence that never came.
    pub lost: u64,
    pub late: u64,
    pub duplicates: u64,
    pub discarded: u64,
    pub silence: u64,
    /// Frames that were invented.
    pub concealed: u64,
    /// Frames that were rebuilt from in-band error correction.
    pub fec_recovered: u64,
    /// The longest time between two packets within speech.
    pub longest_gap: Duration,
    pub jitter: Duration,
    /// What the jitter buffer aims at now.
    pub target_delay: Duration,
}

pub(crate) struct Stream {
    pub(crate) user: Option<UserId>,
    ssrc: Ssrc,
    buffer: JitterBuffer,
    decoder: Option<opus::Decoder>,
    /// Decoded and not yet played; packets need not be as long as frames.
    decoded: Vec<f32>,
}

impl Stream {
    pub(crate) fn new(now: Instant, ssrc: Ssrc, user: Option<UserId>) -> Self {
        Self { user, ssrc, buffer: JitterBuffer::new(now), decoder: None, decoded: Vec::new() }
    }

    pub(crate) fn restart(&mut self) {
        self.buffer.restart();
    }

    pub(crate) fn has_begun(&self, now: Instant) -> bool {
        self.buffer.has_begun(now)
    }

    pub(crate) fn handle_packet(&mut self, now: Instant, seq: u16, time: RtpTime, payload: &[u8]) {
        self.buffer.handle_packet(now, seq, time, payload);
    }

    /// The next 20 ms, if there is anything to hear.
    pub(crate) fn play(&mut self, now: Instant, frame: &mut Frame) -> bool {
        while self.decoded.len() < FRAME_SAMPLES {
            let before = self.decoded.len();
            match self.buffer.pull(now) {
                Pull::Nothing => break,
                Pull::Play(packet) => {
                    decode(&mut self.decoder, &mut self.decoded, &packet.payload, packet.samples, false)
                }
                Pull::Recover { samples, from } => {
                    decode(&mut self.decoder, &mut self.decoded, from, samples, true)
                }
                Pull::Conceal { samples } => {
                    decode(&mut self.decoder, &mut self.decoded, &[], samples, false)
                }
                Pull::Blend(packet) => {
                    decode(&mut self.decoder, &mut self.decoded, &packet.payload, packet.samples, false);
                    if let Pull::Play(follower) = self.buffer.pull(now) {
                        let middle = self.decoded.len();
                        decode(
                            &mut self.decoder,
                            &mut self.decoded,
                            &follower.payload,
                            follower.samples,
                            false,
                        );
                        blend(&mut self.decoded, before, middle);
                    }
                }
            }
        }
        self.give_back_decoder(now);
        if self.decoded.is_empty() {
            return false;
        }
        let take = self.decoded.len().min(FRAME_SAMPLES);
        frame.fill(0.0);
        frame[..take].copy_from_slice(&self.decoded[..take]);
        self.decoded.drain(..take);
        true
    }

    pub(crate) fn stats(&self) -> StreamStats {
        let counts = self.buffer.counts();
        StreamStats {
            ssrc: self.ssrc,
            user: self.user,
            received: counts.received,
            lost: self.buffer.lost(),
            late: counts.late,
            duplicates: counts.duplicates,
            discarded: counts.discarded,
            silence: counts.silence,
            concealed: counts.concealed,
            fec_recovered: counts.recovered,
            longest_gap: counts.longest_gap,
            jitter: Duration::from_secs_f32(counts.jitter / SAMPLE_RATE_HZ as f32),
            target_delay: self.buffer.target_delay(),
        }
    }

    fn give_back_decoder(&mut self, now: Instant) {
        let idle =
            self.buffer.last_arrival().is_none_or(|last| now.saturating_duration_since(last) > DECODER_IDLE);
        if idle && self.decoded.is_empty() {
            self.decoder = None;
        }
    }
}

/// Appends `samples` decoded ones; what cannot be decoded is concealed, because only this speaker suffers from it.
fn decode(decoder: &mut Option<opus::Decoder>, out: &mut Vec<f32>, payload: &[u8], samples: u32, fec: bool) {
    let decoder = decoder.get_or_insert_with(|| {
        opus::Decoder::new(SAMPLE_RATE_HZ, opus::Channels::Mono)
            .expect("48 kHz mono is a rate and layout of Opus")
    });
    let at = out.len();
    let samples = (samples as usize).min(PACKET_SAMPLES_MAX);
    // A packet must be given room for all of itself; a missing one is as long as its room.
    let room = if payload.is_empty() || fec { samples } else { PACKET_SAMPLES_MAX };
    out.resize(at + room, 0.0);
    let decoded = decoder
        .decode_float(payload, &mut out[at..], fec)
        .or_else(|_| decoder.decode_float(&[], &mut out[at..at + samples], false))
        .unwrap_or(0);
    out.truncate(at + decoded);
}

/// Lays the samples from `middle` on over those from `start`, fading from one to the other.
fn blend(samples: &mut Vec<f32>, start: usize, middle: usize) {
    let len = (middle - start).min(samples.len() - middle);
    for i in 0..len {
        let later = i as f32 / len as f32;
        samples[start + i] = samples[start + i] * (1.0 - later) + samples[middle + i] * later;
    }
    samples.drain(start + len..middle + len);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blending_keeps_the_beginning_of_one_and_the_end_of_the_other() {
        let mut samples = vec![9.0, 1.0, 1.0, 1.0, 1.0, 3.0, 3.0, 3.0, 3.0];
        blend(&mut samples, 1, 5);
        assert_eq!(samples, [9.0, 1.0, 1.5, 2.0, 2.5]);
    }

    #[test]
    fn what_is_not_opus_costs_a_frame_and_no_more() {
        let start = Instant::now();
        let mut stream = Stream::new(start, Ssrc(1), None);
        for i in 0..20_u16 {
            stream.handle_packet(start, i, RtpTime(u32::from(i) * 960), &[0xFF, 0xFF, 0xFF]);
        }
        let mut frame = [1.0; FRAME_SAMPLES];
        let played = (0..60).filter(|i| stream.play(start + crate::FRAME * *i, &mut frame)).count();
        assert!((20..=40).contains(&played), "{played}");
        assert!(frame.iter().all(|s| s.is_finite()));
    }
}
