//! Every bound of this crate, each with its reason.

use std::time::Duration;

/// How long a record outlives its server's last word, unless told otherwise. Because voice servers speak every two
/// seconds, and a pause of their host for a few seconds should not move every call away from them.
pub const DEFAULT_TTL: Duration = Duration::from_secs(10);

/// How long etcd may take to answer. Because it answers within milliseconds or is in trouble, and a join may be waiting.
pub const ANSWER_WITHIN: Duration = Duration::from_secs(3);

/// A connection to etcd on which nothing happens is tried this often. Because a watch would wait for ever on one that is dead.
pub const KEEPALIVE_EVERY: Duration = Duration::from_secs(5);

/// A record of which nothing but the load changed is written at most this often. Because the load is another one each second, etcd keeps every
/// version until it is told to forget, and whoever places a guild compares shares of a machine that change less in this time than a guild
/// brings. Whether a server takes guilds at all is never late.
pub const LOAD_EVERY: Duration = Duration::from_secs(5);

/// Voice servers known at once; more are refused. Because every watcher holds all records, and a fleet of this size
/// would have been split by region long before.
pub const MAX_SERVERS: usize = 10_000;

/// Changes a watch may lag behind before it ends with [`crate::RegistryError::Lagged`] and its holder begins another.
/// Because a watcher that reads nothing for this long gains nothing from the changes in between.
pub const MAX_WATCH_BACKLOG: usize = 4_096;

/// How long a guilds node's ownership outlives its last word. Because what its guilds' members want of it waits for that long, and a node speaks
/// every second.
pub const NODE_TTL: Duration = Duration::from_secs(3);

/// The highest number of a node in snowflakes, which have five bits for it.
pub const WORKER_MAX: u8 = 31;
