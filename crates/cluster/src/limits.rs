//! Every bound of this crate, each with its reason.

use std::time::Duration;

/// How long a connection may take to come about. Because nodes are near each other, and others wait.
pub const CONNECT_WITHIN: Duration = Duration::from_secs(1);
/// How long the other end may take to say who it is.
pub const HELLO_WITHIN: Duration = Duration::from_secs(2);
/// A connection is tried this often, and is dead when no answer comes for [`PING_PATIENCE`]. Because a machine that has lost its power
/// says nothing, and calls wait for its successor.
pub const PING_EVERY: Duration = Duration::from_secs(1);
pub const PING_PATIENCE: Duration = Duration::from_secs(2);
/// Bytes on the way that one end has not read yet. Because a guild of thousands is a message of megabytes, and a gateway gets many at once.
pub const WINDOW_BYTES: u32 = 4 << 20;
/// Messages waiting for one stream. Because behind them wait the roles' own queues, which know what to do when they are full.
pub const STREAM_QUEUE: usize = 1_024;

/// The first pause before dialling again, doubled up to the last. Because whoever restarts is back within a second, and whoever is gone stays gone.
pub const REDIAL_FIRST: Duration = Duration::from_millis(100);
pub const REDIAL_LAST: Duration = Duration::from_secs(1);
/// Attempts in vain before it is said aloud. Because who is just starting, or has just died, is no news.
pub const ATTEMPTS_IN_SILENCE: u32 = 5;
/// Refusals in a row after which a voice server's process is known to be dead. Because a full listening queue refuses, too, but not for so long.
pub const REFUSALS_OF_THE_DEAD: u32 = 3;

/// How long to wait before watching an unreachable registry again.
pub const WATCH_RETRY: Duration = Duration::from_secs(1);
