//! The bounds of this crate.

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

const _: () = assert!(PASSED_FDS <= 253, "the kernel refuses more");
const _: () = assert!(BATCH <= 1024, "the kernel cuts longer batches (UIO_MAXIOV)");
