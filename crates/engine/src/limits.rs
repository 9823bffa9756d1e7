//! Every bound of the client's shell, and why it is what it is.

use std::time::Duration;

/// TCP, TLS and the WebSocket handshake together. A server that needs longer is down for a human.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The server greets at once; without its greeting there is no heartbeat to notice anything by.
pub const HELLO_TIMEOUT: Duration = Duration::from_secs(10);
/// An unanswered wish to join means no: the protocol has no refusal.
pub const JOIN_TIMEOUT: Duration = Duration::from_secs(10);
/// After being disconnected for a move, the new server is told within this or asked for.
pub const MOVE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the server before is spoken to and heard once there is sound at the new one. Because others are on their way there as well, which takes a browser a third of a
/// second; the server itself ends it a second after it sent us on.
pub const FORMER_FOR: Duration = Duration::from_secs(1);
/// Saying goodbye must not keep anybody from leaving.
pub const GOODBYE_TIMEOUT: Duration = Duration::from_secs(1);

/// A gateway that was never reached is tried this often before the user is told.
pub const FIRST_CONNECT_ATTEMPTS: u32 = 3;
/// A voice server that does not let us back in after this many attempts has gone: the gateway knows of another.
pub const VOICE_ATTEMPTS: u32 = 3;

/// Waits between attempts double from the first to the last of these.
pub const RETRY_FIRST: Duration = Duration::from_millis(250);
pub const RETRY_LAST: Duration = Duration::from_secs(15);

/// Commands waiting for a connection; the caller waits when it is full. Nobody mutes this often while offline.
pub const COMMANDS_MAX: usize = 64;
/// Events nobody has read yet; the connection waits when it is full, and its socket with it.
pub const EVENTS_MAX: usize = 1024;

/// The largest message taken from a server. A guild's whole state comes in one, with up to thousands of members.
pub const MESSAGE_MAX: usize = 32 << 20;
/// The WebSocket library's own buffer a connection; its default of 128 KB would be most of a synthetic client.
pub const READ_BUFFER: usize = 4 << 10;

/// Frames of 20 ms the media thread makes up for when it was held up; beyond a second it starts afresh.
pub const CATCH_UP_FRAMES: u32 = 50;
/// Frames waiting to be written to disk, ten seconds of five speakers. Dropped ones become silence in the file.
pub const RECORDER_QUEUE: usize = 2_500;
