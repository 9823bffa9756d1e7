//! The bounds of the relay's process, each with its because.

use std::time::Duration;

/// How long calls go on after signalling has gone. Because it restarts within seconds and clients take a new
/// voice connection within a minute; longer would be forwarding for people that nobody can mute.
pub const ORPHAN_GRACE: Duration = Duration::from_secs(60);

/// How long signalling may take to hear the last words of a relay that retires. Because nobody is heard until it has. Exceeded: the process ends without them.
pub const LAST_WORDS: Duration = Duration::from_millis(500);

/// Batches of datagrams taken in before control and timers have their turn again. Because four full batches
/// are a few milliseconds of forwarding to a large room. The rest waits in the kernel.
pub const RECEIVE_BATCHES_A_WAKE: usize = 4;

/// What a shard that is woken often waits before it looks again, where nobody speaks. Because it is nothing to a keepalive, and little to the first word after a silence of all.
pub const NAP: Duration = Duration::from_millis(5);
/// Nobody speaks when nothing was forwarded for so long: five frames.
pub const QUIET_AFTER: Duration = Duration::from_millis(100);

/// Bytes a read from the control stream, and reads before datagrams have their turn again. Because a megabyte
/// is a snapshot of several thousand legs, and taking it in costs a few milliseconds. The rest waits in the
/// kernel.
pub const CONTROL_READ_BYTES: usize = 64 << 10;
pub const CONTROL_READS_A_WAKE: usize = 16;

/// Bytes waiting to be written to signalling, beyond which the shard is asked for no more events. Because
/// events merge while they wait in the shard, so that nothing is lost but time. One event more may be added
/// at the bound.
pub const CONTROL_WRITE_BYTES: usize = 256 << 10;

/// The socket's buffers, as far as the system allows, unless it has more. Because while a new process starts, for half a second
/// say, the packets of a hundred speakers wait there, a kilobyte of kernel memory each.
pub const SOCKET_BUFFER_BYTES: usize = 4 << 20;

const _: () =
    assert!(udp_io::limits::SLOT >= sfu_core::limits::DATAGRAM_BYTES_MAX, "a slot holds any packet");

/// How long after the kernel would not be told of somebody it is asked to keep strangers away again. Because a map is full for longer than a moment.
pub const SHIELD_AGAIN_AFTER: Duration = Duration::from_secs(60);
