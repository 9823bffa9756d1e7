//! Every bound of the media machine, and why it is what it is.

use std::time::Duration;

/// Below this a receiver on a busy machine plays later than its thread is woken. Because of the 20 ms grid of playout
/// a packet waits up to one frame longer.
pub const DELAY_MIN: Duration = Duration::from_millis(40);
/// What is assumed of a path before anything was measured on it.
pub const DELAY_INITIAL: Duration = Duration::from_millis(60);
/// A conversation becomes a radio exchange above this; more jitter is heard as loss instead.
pub const DELAY_MAX: Duration = Duration::from_millis(240);

/// Packets a jitter buffer holds; the oldest is dropped when it is full. More than [`DELAY_MAX`] of the shortest
/// packets in common use (10 ms), twice over.
pub const JITTER_PACKETS_MAX: usize = 64;

/// Frames that are concealed one after the other when nothing arrives. After this the speaker is held to have
/// stopped without saying so; libopus has faded its concealment to nothing by then.
pub const CONCEAL_FRAMES_MAX: u32 = 10;

/// A jump of sequence numbers beyond this is a stream that began anew, not loss: three seconds of packets.
pub const SEQ_JUMP_MAX: u64 = 150;

/// Frames from before the voice was detected that are sent along, so that the beginnings of words are not cut.
/// Not more than [`DELAY_MIN`] and a frame, so that a receiver can absorb the burst without more delay.
pub const PRE_ROLL_FRAMES: usize = 3;
/// Frames for which a pause is still speech: shorter pauses than this are within sentences.
pub const HANGOVER_FRAMES: u32 = 15;
/// Silence frames that end a burst of speech, so that receivers do not conceal it as loss.
pub const CLOSING_FRAMES: u32 = 5;

/// Streams of others; packets of further ones are dropped and counted. A channel holds a thousand people, and each
/// may come back once under a new number before its old one is forgotten.
pub const STREAMS_MAX: usize = 2048;
/// A stream that was silent for this long gives its decoder (about 30 KB) back.
pub const DECODER_IDLE: Duration = Duration::from_secs(30);

/// Datagrams waiting to be sent; a frame makes at most [`PRE_ROLL_FRAMES`] + 1, and the shell drains after each.
pub const TRANSMIT_QUEUE_MAX: usize = 16;
/// The longest datagram the machine makes: an Opus frame at 510 kbit/s is 1275 bytes (RFC 6716 section 3.2.1).
pub const DATAGRAM_MAX: usize = 1400;

/// The empty receiver report that keeps address translations open; their shortest common timeout is 30 s.
pub const KEEPALIVE: Duration = Duration::from_secs(5);

/// IP discovery is asked again after this, doubling each time up to [`DISCOVERY_RETRY_MAX`].
pub const DISCOVERY_RETRY: Duration = Duration::from_millis(200);
pub const DISCOVERY_RETRY_MAX: Duration = Duration::from_secs(2);

const _: () = assert!(PRE_ROLL_FRAMES < TRANSMIT_QUEUE_MAX);
const _: () = assert!(20 * (PRE_ROLL_FRAMES as u128) <= DELAY_MIN.as_millis() + 20);
const _: () = assert!(JITTER_PACKETS_MAX as u128 * 10 >= 2 * DELAY_MAX.as_millis());
const _: () = assert!(DELAY_MIN.as_millis() <= DELAY_INITIAL.as_millis());
const _: () = assert!(DELAY_INITIAL.as_millis() < DELAY_MAX.as_millis());
