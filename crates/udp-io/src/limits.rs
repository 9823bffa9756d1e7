//! The bounds of this crate.

use std::time::Duration;

/// Datagrams a system call. Beyond 64 nothing is gained, because the cost is in the kernel's path of each
/// datagram; below, the call itself begins to count.
pub const BATCH: usize = 64;

/// Datagrams to one address that pass the kernel together. Because that is what every kernel that knows of it takes (UDP_MAX_SEGMENTS); the next begins
/// another train.
pub const TRAIN: usize = 64;

/// Bytes a datagram. No client sends more than an Ethernet frame holds; a longer one is dropped and counted.
pub const DATAGRAM: usize = 2048;

/// File descriptors a message between processes: a socket a shard and some spare; the kernel's own limit is
/// 253.
pub const PASSED_FDS: usize = 64;

/// Events a wake: a shard waits on its socket and a few channels.
pub const EVENTS: usize = 32;

/// Bytes of a slot, whichever way what is in it goes. Because headers stand before it in its frame.
pub const SLOT: usize = FRAME_BYTES - 64;

/// Bytes of a frame of the memory that is shared with network devices. Because the kernel takes this or 4,096.
pub const FRAME_BYTES: usize = 2048;

/// Frames of a shard. Because a card says up to 0.1 ms late what it has sent, in which a core makes some 100 packets, and a burst to a large room is
/// a thousand. When all are on their way, datagrams go by the kernel's sockets.
pub const FRAMES: usize = 512;

/// Packets that a device is given at a time. Because the kernel takes 32 a call.
pub const DIRECT_BATCH: usize = 32;

/// Datagrams to one destination that wait to be known to be all. Because the kernel passes no more on together.
pub const RUN_MAX: usize = TRAIN;

/// So many datagrams in a row to one destination go by the kernel's sockets. Because it passes them on together, which costs less than one by one past it
/// (`docs/adr/0016-egress.md`).
pub const TRAIN_MIN: usize = 3;

/// Queues of a device that are tried. Because no machine has more cores that would each have one.
pub const QUEUES: u32 = 256;

/// Bytes of packets that may be between us and a device. Because each takes a kilobyte of the kernel's bookkeeping beside its own.
pub const XDP_SEND_BYTES: usize = 2 << 20;

/// Destinations whose way is known at a time. Because a voice server takes 10,000 participants; beyond, those that were asked about longest ago are asked
/// about again, a few a turn, and go by the kernel's sockets meanwhile.
pub const DESTINATIONS: usize = 16_384;

/// Next hops. Because routers are few, and a local network seldom has more hosts than the kernel keeps neighbours by default (1,024). When there are more
/// all are forgotten and asked about anew.
pub const NEXT_HOPS: usize = 4_096;

/// Network devices that are sent by. Further ones are left to the kernel's sockets.
pub const DEVICES: usize = 16;

/// Destinations that are asked about in a turn. Because each takes the kernel some 20 µs, and packets of others wait meanwhile. Those that are not known yet
/// go by the kernel's sockets. In a long turn one more is for every so many datagrams.
pub const QUESTIONS_A_TURN: usize = 4;
pub const DATAGRAMS_A_QUESTION: usize = 32;

/// Datagrams of news that are taken in before packets have their turn again. The rest waits in the kernel.
pub const NEWS_A_TURN: usize = 64;

/// Bytes of one answer or of news. Because the kernel's are of one page, or two.
pub const NETLINK_BYTES: usize = 32 << 10;

/// Seconds for which a way is believed without being told of a change. Because the kernel does not tell when it learns of a path's MTU, or gets an IPsec
/// policy.
pub const KNOWN_S: u32 = 10;

/// Seconds after which a datagram to a next hop goes by the kernel, which then asks whether it is still there if it has not heard of it for long. Because a
/// neighbour that nobody uses is forgotten, and one that is gone should be noticed about as soon as by the kernel's own sockets (5 s and three questions).
pub const CONFIRM_S: u32 = 1;

/// How long after one change of routes the next is taken notice of. Because after each every destination is asked about anew, and a router's table may change
/// all the time.
pub const RENEW_AFTER: Duration = Duration::from_secs(1);

/// How long after a device refused to be sent by directly it is tried again. Because another process may still be leaving it.
pub const REOPEN_AFTER: Duration = Duration::from_secs(1);

/// Addresses whose datagrams the shield lets through unseen. Because a relay takes 20,000 legs, a browser checks up to eight addresses beside its own, and the kernel
/// takes memory for those only that there are.
pub const SHIELD_ADDRESSES: u32 = 262_144;

/// Streams of clients that may turn up at another address, and names by which browsers call us. Because a relay takes 20,000 legs.
pub const SHIELD_STREAMS: u32 = 32_768;
pub const SHIELD_NAMES: u32 = 32_768;

/// Requests a second (for IP discovery, a browser's checks) that name nobody who is known. Because the first may be there before the shard was told of its sender. Each
/// costs the shard some 2 µs.
pub const SHIELD_INTRODUCTIONS_PER_S: u64 = 2_000;

/// Packets a second from nobody who is known, for the same reason.
pub const SHIELD_STRANGERS_PER_S: u64 = 2_000;

/// Packets a second in the name of somebody who is known, from another address. Because a client may be there since a moment ago, and what it said in a second or two comes
/// at once where its network was gone.
pub const SHIELD_ELSEWHERE_PER_S: u64 = 1_000;

const _: () = assert!(RUN_MAX < FRAMES && TRAIN_MIN <= RUN_MAX, "there is always a frame to be written");
const _: () = assert!(PASSED_FDS <= 253, "the kernel refuses more");
const _: () = assert!(BATCH <= 1024, "the kernel cuts longer batches (UIO_MAXIOV)");
