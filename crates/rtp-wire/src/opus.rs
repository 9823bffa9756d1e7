//! The little that a relay and a jitter buffer need to know of Opus: its payload type, its silence, its
//! durations.

use crate::PayloadType;

/// The payload type that native clients use for Opus; several accept no other.
pub const OPUS_PAYLOAD_TYPE: PayloadType = PayloadType(120);
/// The RTP clock of Opus, whatever it encodes (RFC 7587 section 4.1).
pub const SAMPLE_RATE_HZ: u32 = 48_000;
/// Twenty milliseconds of stereo silence; five of these end a burst of speech.
pub const SILENCE_FRAME: [u8; 3] = [0xF8, 0xFF, 0xFE];
/// No packet is longer than 120 ms (RFC 6716 section 3.2, requirement R5).
pub const MAX_PACKET_SAMPLES: u32 = 5760;

#[must_use]
pub fn is_silence(payload: &[u8]) -> bool {
    payload == SILENCE_FRAME
}

/// How many samples at 48 kHz a packet lasts; nothing when it breaks RFC 6716 section 3.4.
#[must_use]
pub fn packet_samples(packet: &[u8]) -> Option<u32> {
    let toc = *packet.first()?;
    let frames = match toc & 3 {
        0 => 1,
        1 | 2 => 2,
        _ => u32::from(*packet.get(1)? & 0x3F),
    };
    let samples = frames * frame_samples(toc >> 3);
    (1..=MAX_PACKET_SAMPLES).contains(&samples).then_some(samples)
}

/// Frame lengths by configuration number: table 2 of RFC 6716 section 3.1.
fn frame_samples(config: u8) -> u32 {
    match config {
        // SILK: 10, 20, 40, 60 ms
        0..=11 => [480, 960, 1920, 2880][usize::from(config & 3)],
        // Hybrid: 10, 20 ms
        12..=15 => [480, 960][usize::from(config & 1)],
        // CELT: 2.5, 5, 10, 20 ms
        _ => [120, 240, 480, 960][usize::from(config & 3)],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(packet: &[u8], expect: Option<u32>) {
        assert_eq!(packet_samples(packet), expect, "{packet:02x?}");
    }

    #[test]
    fn durations() {
        check(&SILENCE_FRAME, Some(960));
        check(&[], None);
        check(&[0 << 3], Some(480));
        check(&[3 << 3], Some(2880));
        check(&[3 << 3 | 1], Some(5760));
        check(&[3 << 3 | 3, 3], None);
        check(&[12 << 3], Some(480));
        check(&[15 << 3], Some(960));
        check(&[16 << 3], Some(120));
        check(&[31 << 3 | 2], Some(1920));
        check(&[31 << 3 | 3], None);
        check(&[31 << 3 | 3, 0], None);
        check(&[31 << 3 | 3, 6], Some(5760));
        check(&[31 << 3 | 3, 7], None);
        check(&[16 << 3 | 3, 0xC0 | 48], Some(5760));
    }
}
