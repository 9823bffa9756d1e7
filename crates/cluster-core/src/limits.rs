//! Every bound of this crate, each with its reason.

use std::time::Duration;

/// How long a call waits for its guild to have an owner. Because an owner's lease ends after three seconds, and clients give up after some more.
pub const CALL_PATIENCE: Duration = Duration::from_secs(10);
/// How soon an owner that was not there is asked for again.
pub const ASK_AGAIN: Duration = Duration::from_millis(200);
/// Calls waiting for an owner. Full: refused. Because a cluster without guilds nodes must not fill the memory of its gateways.
pub const WAITING_MAX: usize = 100_000;
