//! The simulation's own bounds, each with a because.

use crate::time::{ms, secs};

/// How long after a change somebody may still be heard. Because the order to the voice server, its word to the relay and the last packets
/// sent before are on their way: two of the slowest links, the slowest network and its jitter.
pub const GRACE: u64 = ms(500);

/// How long after the last fault everyone must hear everyone. Because the slowest way there is the lease of a voice server (10 s) that died
/// with it and whose link says nothing, the waits of a client that asks again (see [`crate::client`]), and a join.
pub const CALM_BOUND: u64 = secs(15);
/// And for how long that is looked at.
pub const WINDOW: u64 = secs(2);
/// How long two voice servers may have people of one guild. Because those who are moved are told first, and the old server is told to close
/// after that.
pub const SPLIT_MAX: u64 = secs(2);

/// Of a voice server's record, as `registry` has it.
pub const LEASE: u64 = secs(10);
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
