//! Turns a WAV file into Ogg Opus at 24 kbit/s: `to_opus IN.wav OUT.opus`. The speech that the tests play was made by
//! it from what espeak-ng says.

use std::fs::File;
use std::path::Path;

use ogg::PacketWriteEndInfo::{EndPage, EndStream, NormalPacket};

/// What the encoder needs to get going, and what a player therefore leaves out, in samples.
const PRE_SKIP: u16 = 312;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [from, to] = arguments.as_slice() else { return Err("usage: to_opus IN.wav OUT.opus".into()) };
    let mut samples = engine::audio::load(Path::new(from))?;
    let end = samples.len() as u64 + u64::from(PRE_SKIP);
    samples.resize((end as usize).next_multiple_of(960), 0.0);

    let mut writer = ogg::PacketWriter::new(File::create(to)?);
    let mut head = b"OpusHead\x01\x01".to_vec();
    head.extend(PRE_SKIP.to_le_bytes());
    head.extend(48_000_u32.to_le_bytes());
    head.extend([0, 0, 0]);
    writer.write_packet(head, 1, EndPage, 0)?;
    writer.write_packet(b"OpusTags\0\0\0\0\0\0\0\0".to_vec(), 1, EndPage, 0)?;
    let mut encoder = opus::Encoder::new(48_000, opus::Channels::Mono, opus::Application::Audio)?;
    encoder.set_bitrate(opus::Bitrate::Bits(24_000))?;
    let frames = samples.len() / 960;
    for (i, frame) in samples.chunks_exact(960).enumerate() {
        let packet = encoder.encode_vec_float(frame, 1275)?;
        let (info, at) =
            if i + 1 == frames { (EndStream, end) } else { (NormalPacket, 960 * (i as u64 + 1)) };
        writer.write_packet(packet, 1, info, at)?;
    }
    Ok(())
}
