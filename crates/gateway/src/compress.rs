//! Transport compression: one context a connection, one flushed message a frame.

use tokio_tungstenite::tungstenite::Message;
use zlib_rs::{Deflate, DeflateConfig, DeflateFlush};
use zstd::stream::raw::{CParameter, Encoder as ZstdEncoder, InBuffer, Operation as _, OutBuffer};

/// What a client has asked for in its URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    None,
    ZlibStream,
    ZstdStream,
}

impl Compression {
    /// An unknown name is no compression: every library reads uncompressed text frames too.
    pub fn from_query(name: Option<&str>) -> Self {
        match name {
            Some("zlib-stream") => Self::ZlibStream,
            Some("zstd-stream") => Self::ZstdStream,
            _ => Self::None,
        }
    }
}

/// Small windows, because memory is what compression costs: events are short and alike.
const ZLIB_WINDOW_BITS: i32 = 12;
const ZLIB_MEMORY_LEVEL: i32 = 3;
const ZLIB_LEVEL: i32 = 6;
const ZSTD_LEVEL: i32 = 1;
const ZSTD_WINDOW_LOG: u32 = 15;
const ZSTD_TABLE_LOG: u32 = 12;
/// A context has room for all that may come of a block several times over, so blocks are not longer than most events.
const ZSTD_BLOCK_BYTES: u32 = 2_048;
const CHUNK_BYTES: usize = 4_096;

pub enum Encoder {
    None,
    Zlib(Box<Deflate>),
    Zstd(Box<ZstdEncoder<'static>>),
}

impl Encoder {
    pub fn new(compression: Compression) -> Self {
        match compression {
            Compression::None => Self::None,
            Compression::ZlibStream => Self::Zlib(Box::new(Deflate::new_with_config(DeflateConfig {
                level: ZLIB_LEVEL,
                window_bits: ZLIB_WINDOW_BITS,
                mem_level: ZLIB_MEMORY_LEVEL,
                ..DeflateConfig::default()
            }))),
            Compression::ZstdStream => {
                let mut encoder = ZstdEncoder::new(ZSTD_LEVEL).expect("the level exists");
                for parameter in [
                    CParameter::WindowLog(ZSTD_WINDOW_LOG),
                    CParameter::HashLog(ZSTD_TABLE_LOG),
                    CParameter::MaxBlockSize(ZSTD_BLOCK_BYTES),
                ] {
                    encoder.set_parameter(parameter).expect("the value is in the parameter's range");
                }
                Self::Zstd(Box::new(encoder))
            }
        }
    }

    /// The WebSocket message that carries a frame's text.
    pub fn encode(&mut self, text: String) -> Message {
        match self {
            Self::None => Message::Text(text.into()),
            Self::Zlib(deflate) => Message::Binary(zlib_message(deflate, text.as_bytes()).into()),
            Self::Zstd(encoder) => Message::Binary(zstd_message(encoder, text.as_bytes()).into()),
        }
    }
}

/// Ends with the empty block `00 00 FF FF`, by which clients know that the message is whole.
fn zlib_message(deflate: &mut Deflate, mut input: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(input.len() / 4 + 64);
    let mut chunk = [0_u8; CHUNK_BYTES];
    loop {
        let (read, written) = (deflate.total_in(), deflate.total_out());
        deflate
            .compress(input, &mut chunk, DeflateFlush::SyncFlush)
            .expect("a flush cannot fail on a stream never finished");
        let took = usize::try_from(deflate.total_in() - read).expect("no more than was given");
        let gave = usize::try_from(deflate.total_out() - written).expect("no more than there was room for");
        input = &input[took..];
        out.extend_from_slice(&chunk[..gave]);
        // Room left over means that nothing waits to be written.
        if gave < chunk.len() {
            return out;
        }
    }
}

fn zstd_message(encoder: &mut ZstdEncoder<'static>, input: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(input.len() / 4 + 64);
    let mut chunk = [0_u8; CHUNK_BYTES];
    let mut input = InBuffer::around(input);
    loop {
        let mut buffer = OutBuffer::around(&mut chunk[..]);
        let is_read = input.pos() == input.src.len();
        let left = if is_read {
            encoder.flush(&mut buffer).expect("a flush cannot fail on a stream never finished")
        } else {
            encoder.run(&mut input, &mut buffer).expect("compression takes any bytes");
            1
        };
        out.extend_from_slice(buffer.as_slice());
        if is_read && left == 0 {
            return out;
        }
    }
}

#[cfg(test)]
mod tests {
    use zlib_rs::{Inflate, InflateFlush};
    use zstd::stream::raw::Decoder;

    use super::*;

    /// Short and alike, incompressible, long, and short again: one stream.
    fn texts() -> Vec<String> {
        let noise: String = (0..20_000_u64)
            .map(|i| char::from(b' ' + u8::try_from(i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 58).unwrap()))
            .collect();
        vec!["{}".into(), "{\"op\":11}".repeat(3), noise, "abc".repeat(100_000), "{}".into()]
    }

    fn binary(message: Message) -> Vec<u8> {
        match message {
            Message::Binary(bytes) => bytes.to_vec(),
            other => panic!("compressed messages are binary: {other:?}"),
        }
    }

    #[test]
    fn zlib_messages_inflate_one_by_one() {
        let mut encoder = Encoder::new(Compression::ZlibStream);
        // A smaller window than the default on the other side would not do; the default is what libraries
        // use.
        let mut inflate = Inflate::new(true, 15);
        for text in texts() {
            let message = binary(encoder.encode(text.clone()));
            assert!(message.ends_with(&[0, 0, 0xff, 0xff]));
            let mut out = vec![0; text.len() + 64];
            let before = inflate.total_out();
            inflate.decompress(&message, &mut out, InflateFlush::SyncFlush).unwrap();
            out.truncate(usize::try_from(inflate.total_out() - before).unwrap());
            assert_eq!(String::from_utf8(out).unwrap(), text);
        }
    }

    #[test]
    fn zstd_messages_decompress_one_by_one() {
        let mut encoder = Encoder::new(Compression::ZstdStream);
        let mut decoder = Decoder::new().unwrap();
        for text in texts() {
            let message = binary(encoder.encode(text.clone()));
            let mut out = vec![0; text.len() + 64];
            let mut input = InBuffer::around(&message);
            let mut output = OutBuffer::around(&mut out[..]);
            while input.pos() < message.len() {
                decoder.run(&mut input, &mut output).unwrap();
            }
            decoder.flush(&mut output).unwrap();
            assert_eq!(std::str::from_utf8(output.as_slice()).unwrap(), text);
        }
    }

    #[test]
    fn repetition_costs_little() {
        for compression in [Compression::ZlibStream, Compression::ZstdStream] {
            let mut encoder = Encoder::new(compression);
            let text = r#"{"op":0,"s":1,"t":"VOICE_STATE_UPDATE","d":{"guild_id":"175928847299117063","self_mute":false}}"#;
            let first = binary(encoder.encode(text.to_owned())).len();
            let second = binary(encoder.encode(text.to_owned())).len();
            assert!(second * 3 < first, "{compression:?}: {first} then {second}");
        }
    }

    #[test]
    fn the_query_names_the_compression() {
        let check = |name, expect| assert_eq!(Compression::from_query(name), expect);
        check(None, Compression::None);
        check(Some("zlib-stream"), Compression::ZlibStream);
        check(Some("zstd-stream"), Compression::ZstdStream);
        check(Some("lzma"), Compression::None);
    }
}
