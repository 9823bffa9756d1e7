//! The simulation's own bounds, each with a because.

use crate::time::{ms, secs};

/// How long after a change somebody may still be heard. Because the order to the voice server, its word to the relay and the last packets
/// sent before are on their way: two of the slowest links, the slowest network and its jitter.
pub const GRACE: u64 = ms(500);

/// How long after the last fault everyone must hear everyone. Because the slowest way there is the lease of a voice server (10 s) that died
/// with it and whose link says nothing, the waits of a client that asks again (see [`crate::client`]), and a join.
pub const CALM_BOUND: u64 = secs(15);
/// How much longer where an owner may have died last. Because its lease has to end (3 s), its successor waits for everybody to be said again
/// ([`guilds_core::limits::SETTLE_MS`], 15 s), and whoever was not said is sent away then, waits for its move (5 s) and asks, with a pause of up to
/// ten seconds for an attach that failed.
pub const TAKEOVER: u64 = secs(30);
/// And for how long that is looked at.
pub const WINDOW: u64 = secs(2);
/// How long two voice servers may have people of one guild. Because those who are moved are told first, and the old server is told to close
/// after that.
pub const SPLIT_MAX: u64 = secs(2);

/// How long a server that the registry had lost sight of may go on as before when it is back. Because guilds nodes have to watch, dial and tell it.
pub const UNSEEN_LAG: u64 = secs(1);

/// Of a voice server's record, as `registry` has it.
pub const LEASE: u64 = secs(10);
/// A record of which only the load has changed is written so often, as `registry` does in etcd.
pub const LOAD_EVERY: u64 = secs(5);
/// As `voice` publishes.
pub const PUBLISH_EVERY: u64 = secs(2);

/// Orders that wait for one voice server. Because the real bound is never met by so few people; what is to be met is what lies behind it.
pub const ORDERS_MAX: usize = 6;
/// Datagrams that wait for a relay. Because some seconds of a small world fit.
pub const SOCKET_MAX: usize = 1_000;

/// Legs that a shard's memory has places for. Because a world has few clients, each with at most a few legs that are not gone yet.
pub const LEGS_MAX: usize = 40;

/// Events of one run. Because a world that goes on like this goes in circles.
pub const EVENTS_MAX: u64 = 2_000_000;

/// As `registry` has a guilds node's lease, and how often it is renewed.
pub const NODE_LEASE: u64 = secs(3);
pub const RENEW_EVERY: u64 = secs(1);
/// How long etcd may take to answer, and how long it is waited before it is watched again.
pub const ANSWER_WITHIN: u64 = secs(3);
pub const WATCH_RETRY: u64 = secs(1);

/// As `guilds` waits for ways to voice servers when it starts; it is looked at often enough.
pub const WAYS_WITHIN: u64 = secs(2);
pub const WAYS_LOOKED_AT_EVERY: u64 = ms(10);
/// As `guilds` waits for what voice servers hold of a guild that it has claimed.
pub const SERVERS_HEARD_WITHIN: u64 = secs(1);

/// As `cluster` has them.
pub const HELLO_WITHIN: u64 = secs(2);
pub const PING_FIRST: u64 = secs(2);
pub const PING_LAST: u64 = secs(3);
pub const REDIAL_FIRST: u64 = ms(100);
pub const REDIAL_LAST: u64 = secs(1);
pub const ROUTER_TURN: u64 = cluster_core::limits::ASK_AGAIN.as_micros() as u64;
/// Calls that wait for one stream. Because the real bound is never met by so few people.
pub const STREAM_PLACES: usize = 4;
/// Refusals in a row after which a voice server is known to be dead.
pub const REFUSALS_OF_THE_DEAD: u32 = 3;

/// How long guilds waits for a gateway to come back, and how often it looks. Shorter than in `guilds`, as [`crate::gateway::SESSION_KEEP`] is.
pub const GATEWAY_KEEP: u64 = secs(12);
pub const SWEEP_EVERY: u64 = secs(3);
