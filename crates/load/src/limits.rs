//! Bounds and fixed quantities of the generator.

use std::time::Duration;

/// A speaker's packet rate: one Opus frame of 20 ms each.
pub const FRAME: Duration = Duration::from_millis(20);
/// Samples in a frame at 48 kHz.
pub const FRAME_SAMPLES: u32 = 960;
/// Bytes of an Opus-like payload.
pub const PAYLOAD: usize = 100;
/// How often sockets are drained. Nobody sleeps on them, so the server is not charged for waking receivers.
pub const TICK: Duration = Duration::from_millis(1);
/// Native clients show that they live with an empty receiver report this often.
pub const KEEPALIVE: Duration = Duration::from_secs(5);
/// One packet in so many has its delay measured. Native listeners open only these, which proves the path; browsers open everything.
pub const OPEN_EVERY: u64 = 16;
/// Bytes of the longest packet, sealed.
pub const PACKET_MAX: usize = rtp_wire::FIXED_HEADER_LEN + PAYLOAD + transport::Mode::OVERHEAD_MAX;
/// Bytes of the longest datagram that is taken while joining; handshakes keep within 1,200.
pub const DATAGRAM_MAX: usize = 2_048;
/// Everyone only listens for so long before the first packet. A handshake is over for the client a moment before the server has heard the end
/// of it, and what is said within that moment is lost to a browser too.
pub const LEAD: Duration = Duration::from_millis(200);
/// Packets still under way when the last one was sent.
pub const TAIL: Duration = Duration::from_millis(500);
/// Joins under way at once: enough to be quick, few enough to be those of a machine of this size.
pub const JOINING_MAX: usize = 16;
/// A participant who is not in by then never will be.
pub const JOIN_TIMEOUT: Duration = Duration::from_secs(30);
/// Without an answer over UDP by then there is no path: the server answers at once.
pub const PATH_TIMEOUT: Duration = Duration::from_secs(10);
/// Accounts being made at once.
pub const MAKING_MAX: usize = 8;
/// A participant's receive buffer: half a second of the busiest workload.
pub const RECEIVE_BYTES: usize = 1 << 20;
/// The floor needs no longer than this to be known.
pub const FLOOR_MAX: Duration = Duration::from_secs(10);
/// Whoever could not join on another server asks for its place again after this.
pub const ASK_AGAIN_AFTER: Duration = Duration::from_millis(500);
/// How long one of those who take turns speaks.
pub const TURN: Duration = Duration::from_secs(1);
/// Gateway sessions being opened at once: fewer than may wait to be accepted.
pub const SESSIONS_OPENING_MAX: usize = 128;
/// What is read of a session at once: a guild of hundreds fits.
pub const SESSION_READ_BYTES: usize = 256 << 10;
/// Between two looks at gateway sessions that have nothing more to say.
pub const SESSIONS_TICK: Duration = Duration::from_micros(500);
/// Looks in a row that find something, of a few dozen sessions each, before anything else is done.
pub const SESSION_PASSES_MAX: usize = 1_024;
/// All of a crowd are in by then, or the server is out of order.
pub const SESSIONS_IN_WITHIN: Duration = Duration::from_secs(120);
/// One silent session's heartbeats: well within what HELLO asks for, which is 41 s.
pub const HEARTBEATS_EVERY: Duration = Duration::from_secs(25);
/// Between two changes of one voice state. The gateway acts upon two a second.
pub const CHANGE_EVERY: Duration = Duration::from_millis(600);
/// Whoever is not told of a change by then never will be.
pub const CHANGE_PATIENCE: Duration = Duration::from_secs(10);
/// What a server frees a moment after everybody has come is not what a session costs.
pub const CROWD_SETTLES: Duration = Duration::from_secs(2);
/// One in so many compressed sessions is really read.
pub const CROWD_LOOKED_AT: usize = 100;
/// Between two visits of a socket whose first packet was heard: less than its buffer holds.
pub const HEARD_TICKS: u32 = 10;
/// The speakers talk for so long before anybody clicks.
pub const TALKING_FIRST: Duration = Duration::from_millis(500);
/// Somebody who joined and is not audible by then has failed.
pub const AUDIBLE_WITHIN: Duration = Duration::from_secs(20);
