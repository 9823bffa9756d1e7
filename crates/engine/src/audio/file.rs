//! Audio files: WAV and Ogg Opus in, of any rate and number of channels; WAV out.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use engine_core::SAMPLE_RATE_HZ;
use rubato::audioadapter_buffers::direct::InterleavedSlice;
use rubato::{Fft, FixedSync, Resampler};

#[derive(Debug, thiserror::Error)]
pub enum AudioError {
    #[error("{path} cannot be read: {source}")]
    Unreadable { path: String, source: std::io::Error },
    #[error("{path} cannot be written: {source}")]
    Unwritable { path: String, source: std::io::Error },
    #[error("{path} is neither a WAV nor an Ogg Opus file")]
    UnknownFormat { path: String },
    #[error("{path} is damaged or of a kind that is not supported: {reason}")]
    Unsupported { path: String, reason: String },
}

/// The sound of a file, mixed to one channel, at 48 kHz.
pub fn load(path: &Path) -> Result<Vec<f32>, AudioError> {
    let shown = path.display().to_string();
    let unreadable = |source| AudioError::Unreadable { path: shown.clone(), source };
    let mut reader = BufReader::new(File::open(path).map_err(unreadable)?);
    let mut magic = [0; 4];
    let recognised = reader.read_exact(&mut magic).is_ok();
    reader.seek(SeekFrom::Start(0)).map_err(unreadable)?;
    let samples = match &magic {
        b"RIFF" if recognised => wav(reader),
        b"OggS" if recognised => ogg_opus(reader),
        _ => return Err(AudioError::UnknownFormat { path: shown }),
    };
    samples.map_err(|reason| AudioError::Unsupported { path: shown, reason })
}

/// Writes 48 kHz mono, 16 bits.
pub fn write_wav(path: &Path, samples: &[f32]) -> Result<(), AudioError> {
    let unwritable =
        |error| AudioError::Unwritable { path: path.display().to_string(), source: io_error(error) };
    let mut writer = hound::WavWriter::create(path, WAV_SPEC).map_err(unwritable)?;
    for sample in samples {
        writer.write_sample(to_i16(*sample)).map_err(unwritable)?;
    }
    writer.finalize().map_err(unwritable)
}

pub(crate) const WAV_SPEC: hound::WavSpec = hound::WavSpec {
    channels: 1,
    sample_rate: SAMPLE_RATE_HZ,
    bits_per_sample: 16,
    sample_format: hound::SampleFormat::Int,
};

pub(crate) fn to_i16(sample: f32) -> i16 {
    (sample.clamp(-1.0, 1.0) * f32::from(i16::MAX)).round() as i16
}

pub(crate) fn io_error(error: hound::Error) -> std::io::Error {
    match error {
        hound::Error::IoError(error) => error,
        other => std::io::Error::other(other),
    }
}

fn wav(reader: impl Read) -> Result<Vec<f32>, String> {
    let mut wav = hound::WavReader::new(reader).map_err(|error| error.to_string())?;
    let spec = wav.spec();
    let interleaved: Result<Vec<f32>, hound::Error> = match spec.sample_format {
        hound::SampleFormat::Float => wav.samples::<f32>().collect(),
        hound::SampleFormat::Int => {
            let full_scale = (1_i64 << (spec.bits_per_sample - 1)) as f32;
            wav.samples::<i32>().map(|sample| sample.map(|s| s as f32 / full_scale)).collect()
        }
    };
    let interleaved = interleaved.map_err(|error| error.to_string())?;
    resample(&to_mono(&interleaved, usize::from(spec.channels)), spec.sample_rate)
}

fn to_mono(interleaved: &[f32], channels: usize) -> Vec<f32> {
    interleaved
        .chunks_exact(channels.max(1))
        .map(|frame| frame.iter().sum::<f32>() / frame.len() as f32)
        .collect()
}

fn resample(samples: &[f32], rate: u32) -> Result<Vec<f32>, String> {
    if rate == SAMPLE_RATE_HZ || samples.is_empty() {
        return Ok(samples.to_vec());
    }
    let mut resampler = Fft::<f32>::new(rate as usize, SAMPLE_RATE_HZ as usize, 1024, 1, FixedSync::Both)
        .map_err(|error| error.to_string())?;
    let input = InterleavedSlice::new(samples, 1, samples.len()).map_err(|error| error.to_string())?;
    let output = resampler.process_all(&input, samples.len(), None).map_err(|error| error.to_string())?;
    Ok(output.take_data())
}

/// RFC 7845: a header packet, a comment packet, then Opus.
fn ogg_opus(reader: impl Read + Seek) -> Result<Vec<f32>, String> {
    let mut packets = ogg::PacketReader::new(reader);
    let mut next = || packets.read_packet().map_err(|error| error.to_string());
    let head = next()?.ok_or("it is empty")?;
    let head = OpusHead::parse(&head.data)?;
    next()?.ok_or("its comments are missing")?;
    let mut decoder =
        opus::Decoder::new(SAMPLE_RATE_HZ, opus::Channels::Mono).map_err(|error| error.to_string())?;
    decoder.set_gain(i32::from(head.gain)).map_err(|error| error.to_string())?;
    let mut samples = Vec::new();
    let mut decoded = [0.0; rtp_wire::MAX_PACKET_SAMPLES as usize];
    let mut end = None;
    while let Some(packet) = next()? {
        let len =
            decoder.decode_float(&packet.data, &mut decoded, false).map_err(|error| error.to_string())?;
        samples.extend_from_slice(&decoded[..len]);
        if packet.last_in_stream() {
            end = usize::try_from(packet.absgp_page()).ok();
            break;
        }
    }
    // The last page says how much of the last packet is meant (RFC 7845 section 4.4).
    samples.truncate(end.unwrap_or(samples.len()));
    samples.drain(..head.pre_skip.min(samples.len()));
    Ok(samples)
}

struct OpusHead {
    pre_skip: usize,
    /// In 256ths of a decibel.
    gain: i16,
}

impl OpusHead {
    fn parse(data: &[u8]) -> Result<Self, String> {
        let head = data.first_chunk::<19>().filter(|head| head.starts_with(b"OpusHead"));
        let head = head.ok_or("it holds something else than Opus")?;
        if head[18] != 0 {
            return Err("it has more than two channels".to_owned());
        }
        let pre_skip = usize::from(u16::from_le_bytes([head[10], head[11]]));
        Ok(Self { pre_skip, gain: i16::from_le_bytes([head[16], head[17]]) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine_core::analysis::strongest_tones;

    fn tone(hz: f32, rate: u32, seconds: f32) -> Vec<f32> {
        let samples = (rate as f32 * seconds) as usize;
        (0..samples).map(|i| 0.4 * (std::f32::consts::TAU * hz * i as f32 / rate as f32).sin()).collect()
    }

    #[track_caller]
    fn check(path: &Path, seconds: f32, hz: f32) {
        let samples = load(path).unwrap();
        let length = samples.len() as f32 / SAMPLE_RATE_HZ as f32;
        assert!((length - seconds).abs() < 0.002, "{length} seconds");
        let found = strongest_tones(&samples, 1)[0];
        assert!((found.hz - hz).abs() < 2.0 && (found.level_db + 8.0).abs() < 1.5, "{found:?}");
    }

    #[test]
    fn wav_files_of_every_rate_and_shape_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.wav");
        for (rate, channels) in [(8_000, 1), (16_000, 2), (22_050, 1), (44_100, 2), (48_000, 1), (96_000, 2)]
        {
            let spec = hound::WavSpec { channels, sample_rate: rate, ..WAV_SPEC };
            let mut writer = hound::WavWriter::create(&path, spec).unwrap();
            for sample in tone(440.0, rate, 1.0) {
                (0..channels).for_each(|_| writer.write_sample(to_i16(sample)).unwrap());
            }
            writer.finalize().unwrap();
            check(&path, 1.0, 440.0);
        }
    }

    #[test]
    fn ogg_opus_files_are_read_to_the_sample() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.opus");
        let mut writer = ogg::PacketWriter::new(File::create(&path).unwrap());
        let mut head = b"OpusHead\x01\x01\x38\x01\x80\xBB\x00\x00\x00\x00\x00".to_vec();
        assert_eq!(head.len(), 19);
        writer.write_packet(std::mem::take(&mut head), 7, ogg::PacketWriteEndInfo::EndPage, 0).unwrap();
        writer
            .write_packet(b"OpusTags\0\0\0\0\0\0\0\0".to_vec(), 7, ogg::PacketWriteEndInfo::EndPage, 0)
            .unwrap();
        let mut encoder = opus::Encoder::new(48_000, opus::Channels::Mono, opus::Application::Audio).unwrap();
        let sound = tone(440.0, 48_000, 1.02);
        let frames: Vec<&[f32]> = sound.chunks_exact(960).collect();
        for (i, frame) in frames.iter().enumerate() {
            let last = i + 1 == frames.len();
            let info =
                if last { ogg::PacketWriteEndInfo::EndStream } else { ogg::PacketWriteEndInfo::NormalPacket };
            let end = if last { 48_000 + 312 } else { 960 * (i as u64 + 1) };
            writer.write_packet(encoder.encode_vec_float(frame, 1275).unwrap(), 7, info, end).unwrap();
        }
        drop(writer);
        check(&path, 1.0, 440.0);
    }

    #[test]
    fn what_is_no_sound_is_refused_with_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let check = |name: &str, content: &[u8], expect: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, content).unwrap();
            let error = load(&path).unwrap_err().to_string();
            assert!(error.contains(name) && error.contains(expect), "{error}");
        };
        check("empty", b"", "neither");
        check("text.wav", b"hello, world", "neither");
        check("short.wav", b"RIFF", "damaged");
        check("short.ogg", b"OggS", "damaged");
        assert!(load(&dir.path().join("missing")).unwrap_err().to_string().contains("cannot be read"));
    }
}
