//! Every bound of this crate, each with its reason.

use std::time::Duration;

/// Values bound by one statement; a longer batch becomes several statements of the same transaction. Because SQLite
/// takes 32,766 and PostgreSQL 65,535, and a statement of this size already costs far more than its round trip.
pub const MAX_BINDS: usize = 8_192;

/// Rows of one answer to a listing; a larger `limit` is lowered to it. Because an answer is held in memory whole.
pub const MAX_PAGE_ROWS: u32 = 1_000;

/// Connections that read from one SQLite file. Because reads are short, and each connection is a thread with a cache.
pub const SQLITE_READERS: u32 = 4;

/// Connections of one node to PostgreSQL. Because a server allows 100 unless told otherwise, for all nodes together.
pub const POSTGRES_CONNECTIONS: u32 = 12;

/// How long a call waits for a connection, or for another process that holds SQLite's write lock, before it fails as
/// unavailable. Because a user waits behind it; when every connection is busy, calls queue in order of arrival.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// How long PostgreSQL has for a call before it fails as unavailable, and its connection is given up. Because a guild's owner does nothing else
/// meanwhile, and reading a guild takes fourteen round trips, which at 500 ms each is to succeed.
pub const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// A database that did not answer is asked this often whether it does again; it has this long to say so.
pub const PROBE_EVERY: Duration = Duration::from_millis(250);
pub const PROBE_WITHIN: Duration = Duration::from_secs(2);

const _: () = assert!(MAX_BINDS >= crate::plan::MAX_COLUMNS, "a statement holds at least one row");
