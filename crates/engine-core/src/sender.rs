//! From captured frames to RTP packets: the gate, what was held back before it opened, and Opus.

use std::collections::VecDeque;

use rtp_wire::{OPUS_PAYLOAD_TYPE, RtpHeader, RtpTime, SILENCE_FRAME, SeqNo, Ssrc};

use crate::gate::{Do, Gate, Heard};
use crate::limits::{DATAGRAM_MAX, PRE_ROLL_FRAMES};
use crate::{Activity, FRAME_SAMPLES, Frame, VoiceActivity};

/// What decides that a frame is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CaptureMode {
    /// Voice in the sound itself.
    #[default]
    VoiceActivity,
    /// A key held down: [`crate::Session::set_push_to_talk`].
    PushToTalk,
    /// Everything but digital silence: music and test tones.
    Always,
}

#[derive(Debug, Clone)]
pub struct SenderConfig {
    pub mode: CaptureMode,
    pub bits_per_second: u32,
    /// How much loss the encoder prepares for with in-band error correction; 0 turns it off.
    pub expected_loss_percent: u8,
    /// Random starting points, so that neither can be guessed (RFC 3550 section 5.1).
    pub first_seq: u16,
    pub first_time: u32,
}

impl Default for SenderConfig {
    fn default() -> Self {
        Self {
            mode: CaptureMode::default(),
            bits_per_second: 64_000,
            expected_loss_percent: 10,
            first_seq: 0,
            first_time: 0,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SenderStats {
    /// RTP packets, silence frames included.
    pub packets: u64,
    pub silence_packets: u64,
    /// How often speech began.
    pub bursts: u64,
}

/// What the sender wants done, in order.
pub(crate) enum Sent<'a> {
    Speaking(bool),
    Packet(RtpHeader, &'a [u8]),
}

pub(crate) struct Sender {
    mode: CaptureMode,
    encoder: opus::Encoder,
    activity: VoiceActivity,
    gate: Gate,
    held_back: VecDeque<Frame>,
    ssrc: Ssrc,
    next: SeqNo,
    /// The timestamp of the frame that is captured next.
    time: RtpTime,
    muted: bool,
    key_down: bool,
    stats: SenderStats,
}

impl Sender {
    pub(crate) fn new(config: &SenderConfig, ssrc: Ssrc) -> Self {
        Self {
            mode: config.mode,
            encoder: encoder(config),
            activity: VoiceActivity::default(),
            gate: Gate::default(),
            held_back: VecDeque::with_capacity(PRE_ROLL_FRAMES),
            ssrc,
            next: SeqNo(u64::from(config.first_seq)),
            time: RtpTime(config.first_time),
            muted: false,
            key_down: false,
            stats: SenderStats::default(),
        }
    }

    pub(crate) fn stats(&self) -> SenderStats {
        self.stats
    }

    pub(crate) fn set_muted(&mut self, muted: bool) {
        self.muted = muted;
    }

    pub(crate) fn set_key_down(&mut self, down: bool) {
        self.key_down = down;
    }

    /// Goes on under another stream id; numbers and timestamps carry on.
    pub(crate) fn set_ssrc(&mut self, ssrc: Ssrc) {
        self.ssrc = ssrc;
    }

    pub(crate) fn is_silent(&self) -> bool {
        self.gate.is_shut()
    }

    pub(crate) fn handle_frame(&mut self, frame: &Frame, mut out: impl FnMut(Sent<'_>)) {
        let heard = self.hear(frame);
        match self.gate.handle(heard) {
            Do::Nothing => self.hold_back(frame),
            Do::Begin => self.begin(frame, &mut out),
            Do::Send => self.encode(frame, self.time, &mut out),
            Do::Close => self.silence(&mut out),
            Do::End => {
                self.silence(&mut out);
                out(Sent::Speaking(false));
            }
        }
        self.time = self.time.wrapping_add(FRAME_SAMPLES as u32);
    }

    fn hear(&mut self, frame: &Frame) -> Heard {
        // The detector hears every frame, or its memory would have holes.
        let activity = (self.mode == CaptureMode::VoiceActivity).then(|| self.activity.handle_frame(frame));
        match self.mode {
            _ if self.muted => Heard::Stop,
            CaptureMode::VoiceActivity if activity == Some(Activity::Voice) => Heard::Voice,
            CaptureMode::VoiceActivity if activity == Some(Activity::Sound) => Heard::Sound,
            CaptureMode::PushToTalk if self.key_down => Heard::Voice,
            CaptureMode::PushToTalk => Heard::Stop,
            CaptureMode::Always if frame.iter().any(|s| *s != 0.0) => Heard::Voice,
            CaptureMode::VoiceActivity | CaptureMode::Always => Heard::Pause,
        }
    }

    /// Keeps a frame that may turn out to be the beginning of a word. A pressed key and music begin when they begin,
    /// and nothing said while muted is ever sent.
    fn hold_back(&mut self, frame: &Frame) {
        if self.mode != CaptureMode::VoiceActivity || self.muted {
            self.held_back.clear();
            return;
        }
        if self.held_back.len() == PRE_ROLL_FRAMES {
            self.held_back.pop_front();
        }
        self.held_back.push_back(*frame);
    }

    fn begin(&mut self, frame: &Frame, out: &mut impl FnMut(Sent<'_>)) {
        self.stats.bursts += 1;
        // The silence frames that ended the last burst did not come from the encoder, so it must not predict from
        // what it said before them.
        self.encoder.reset_state().expect("resetting an encoder has no way to fail");
        out(Sent::Speaking(true));
        let behind = self.held_back.len() * FRAME_SAMPLES;
        let mut time = RtpTime(self.time.0.wrapping_sub(behind as u32));
        while let Some(held) = self.held_back.pop_front() {
            self.encode(&held, time, out);
            time = time.wrapping_add(FRAME_SAMPLES as u32);
        }
        self.encode(frame, self.time, out);
    }

    fn encode(&mut self, frame: &Frame, time: RtpTime, out: &mut impl FnMut(Sent<'_>)) {
        let mut payload = [0; DATAGRAM_MAX];
        let len =
            self.encoder.encode_float(frame, &mut payload).expect("a frame of 20 ms fits any Opus packet");
        self.packet(time, &payload[..len], out);
    }

    fn silence(&mut self, out: &mut impl FnMut(Sent<'_>)) {
        self.stats.silence_packets += 1;
        self.packet(self.time, &SILENCE_FRAME, out);
    }

    fn packet(&mut self, time: RtpTime, payload: &[u8], out: &mut impl FnMut(Sent<'_>)) {
        let header = RtpHeader {
            payload_type: OPUS_PAYLOAD_TYPE,
            seq: self.next.wire(),
            time,
            ssrc: self.ssrc,
            ..RtpHeader::default()
        };
        self.next = self.next.next();
        self.stats.packets += 1;
        out(Sent::Packet(header, payload));
    }
}

fn encoder(config: &SenderConfig) -> opus::Encoder {
    let music = config.mode == CaptureMode::Always;
    let application = if music { opus::Application::Audio } else { opus::Application::Voip };
    let configured = || -> opus::Result<opus::Encoder> {
        let mut encoder = opus::Encoder::new(crate::SAMPLE_RATE_HZ, opus::Channels::Mono, application)?;
        encoder
            .set_bitrate(opus::Bitrate::Bits(config.bits_per_second.clamp(6_000, 510_000).cast_signed()))?;
        encoder.set_signal(if music { opus::Signal::Music } else { opus::Signal::Voice })?;
        let loss = i32::from(config.expected_loss_percent.min(100));
        encoder.set_inband_fec(loss > 0 && !music)?;
        encoder.set_packet_loss_perc(loss)?;
        // In silence nothing is sent at all, so the codec's own way of sending little is not wanted.
        encoder.set_dtx(false)?;
        Ok(encoder)
    };
    configured().expect("libopus takes every setting within its documented range")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SILENCE;

    fn tone(frame: usize) -> Frame {
        std::array::from_fn(|i| {
            0.3 * (std::f32::consts::TAU * 440.0 * (frame * FRAME_SAMPLES + i) as f32 / 48_000.0).sin()
        })
    }

    /// Runs frames through a sender and gives what came out: speaking flags, and (seq, time, silence) of packets.
    fn run(sender: &mut Sender, frames: &[Frame]) -> (Vec<bool>, Vec<(u16, u32, bool)>) {
        let (mut speaking, mut packets) = (Vec::new(), Vec::new());
        for frame in frames {
            sender.handle_frame(frame, |sent| match sent {
                Sent::Speaking(on) => speaking.push(on),
                Sent::Packet(header, payload) => {
                    assert!(!header.marker && header.payload_type == OPUS_PAYLOAD_TYPE);
                    packets.push((header.seq, header.time.0, rtp_wire::is_silence(payload)));
                }
            });
        }
        (speaking, packets)
    }

    #[test]
    fn numbers_are_contiguous_over_silence_while_timestamps_advance() {
        let config = SenderConfig {
            mode: CaptureMode::Always,
            first_seq: u16::MAX - 3,
            first_time: u32::MAX - 5_000,
            ..SenderConfig::default()
        };
        let mut sender = Sender::new(&config, Ssrc(1));
        let mut frames: Vec<Frame> = (0..10).map(tone).collect();
        frames.extend(std::iter::repeat_n(SILENCE, 50));
        frames.extend((60..70).map(tone));
        frames.extend(std::iter::repeat_n(SILENCE, 50));
        let (speaking, packets) = run(&mut sender, &frames);
        assert_eq!(speaking, [true, false, true, false]);
        assert_eq!(packets.len(), 2 * (10 + crate::limits::HANGOVER_FRAMES as usize + 5));
        for (i, (seq, _, _)) in packets.iter().enumerate() {
            assert_eq!(*seq, (u16::MAX - 3).wrapping_add(i as u16));
        }
        let half = packets.len() / 2;
        assert!(packets[half - 5..half].iter().all(|p| p.2) && !packets[half - 6].2 && !packets[half].2);
        let second_burst = packets[half].1.wrapping_sub(packets[0].1);
        assert_eq!(second_burst, 60 * FRAME_SAMPLES as u32);
        assert_eq!(sender.stats().silence_packets, 10);
    }

    #[test]
    fn the_key_decides_in_push_to_talk_and_mute_over_everything() {
        let config = SenderConfig { mode: CaptureMode::PushToTalk, ..SenderConfig::default() };
        let mut sender = Sender::new(&config, Ssrc(1));
        let frames: Vec<Frame> = (0..3).map(tone).collect();
        assert_eq!(run(&mut sender, &frames).1.len(), 0);
        sender.set_key_down(true);
        assert_eq!(run(&mut sender, &frames).1.len(), 3);
        sender.set_muted(true);
        let (speaking, packets) = run(&mut sender, &[tone(0); 8]);
        assert_eq!(speaking, [false]);
        assert!(packets.len() == 5 && packets.iter().all(|p| p.2));
    }

    #[test]
    fn digital_silence_is_never_sent() {
        for mode in [CaptureMode::Always, CaptureMode::VoiceActivity, CaptureMode::PushToTalk] {
            let mut sender = Sender::new(&SenderConfig { mode, ..SenderConfig::default() }, Ssrc(1));
            assert_eq!(run(&mut sender, &[SILENCE; 100]), (vec![], vec![]));
        }
    }
}
