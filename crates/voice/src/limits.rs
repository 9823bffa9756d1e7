//! The bounds of what the shell holds, and how long it waits.

use std::time::Duration;

/// Inputs waiting for the core. Because: a second of a thousand clients' messages. Full: connections wait, each slowing its own client.
pub const INPUTS_MAX: usize = 16_384;

/// Inputs handled before what came of them is sent. Because: long enough to share the cost of a wake, short enough that nobody waits.
pub const INPUTS_PER_WAKE: usize = 256;

/// Messages waiting for one client. Because: a channel of a thousand may fill up at once, and each of them is announced. Full: the
/// connection is dropped, and its client may resume.
pub const WRITE_QUEUE_MAX: usize = 2_048;

/// Messages waiting for one shard of the relay. Because: more than a channel of ten thousand costs. Full: the relay hangs; it is
/// killed, and its successor is told everything.
pub const RELAY_QUEUE_MAX: usize = 65_536;

/// Connections that have not shown who they are, in all and from one address. Because: a handshake holds some tens of kilobytes, and a
/// school or a company behind one address joins at once. Full: the newest is dropped.
pub const UNAUTHENTICATED_MAX: usize = 4_096;
pub const UNAUTHENTICATED_PER_ADDRESS_MAX: u32 = 512;

/// TLS and WebSocket handshakes together. Exceeded: the connection is dropped.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// A client that takes nothing for so long is gone. Exceeded: the connection is dropped, and its client may resume.
pub const WRITE_TIMEOUT: Duration = Duration::from_secs(15);

/// How long a client may take to answer our close.
pub const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// Read and write buffers of a WebSocket. Because: messages are some hundred bytes, and idle connections are many.
pub const READ_BUFFER_BYTES: usize = 1_024;
pub const WRITE_BUFFER_BYTES_MAX: usize = 256 << 10;

/// The media sockets' buffers. Because: while a new relay process starts, packets wait in them: half a second of 100,000 small
/// packets a second.
pub const MEDIA_RECEIVE_BYTES: usize = 32 << 20;
pub const MEDIA_SEND_BYTES: usize = 8 << 20;

/// A relay that lived this long has not crashed in a loop: its successor starts at once.
pub const RELAY_STABLE: Duration = Duration::from_secs(10);
/// Waits between starts of a relay that keeps dying: none, then from the first to the last, doubling.
pub const RELAY_BACKOFF_FIRST: Duration = Duration::from_millis(100);
pub const RELAY_BACKOFF_LAST: Duration = Duration::from_secs(5);

/// RTP packets a second that one sender may send. Because: 20 ms frames are 50, the shortest Opus frames of 2.5 ms are 400.
pub const SENDER_PACKETS_PER_S_MAX: u32 = 420;

/// How often the registry hears from us; several times its time to live.
pub const PUBLISH_INTERVAL: Duration = Duration::from_secs(2);

/// How long a planned end may take.
pub const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(4);

/// Orders that wait for the DTLS engines' task. Because it works through thousands a second. Full: a datagram is dropped, a beginning refused.
pub const DTLS_ORDERS_MAX: usize = 4_096;
/// Because a browser begins at once, and gives up after about as long. Exceeded: the engine goes.
pub const DTLS_HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(20);
/// How long an engine stays after its handshake. Because a browser that missed the last message asks for it again within seconds.
pub const DTLS_LINGER: Duration = Duration::from_secs(20);
/// Bytes of a DTLS datagram of ours. Because it fits every path that WebRTC is used on (RFC 8831 section 5 has 1,200).
pub const DTLS_MTU_BYTES: usize = 1_150;
