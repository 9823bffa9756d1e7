//! The bounds of what the shell holds, and how long it waits.

use std::time::Duration;

/// Inputs waiting for the core. Because: a second of a thousand clients' messages. Full: connections wait, each slowing its own client.
pub const INPUTS_MAX: usize = 16_384;

/// Inputs handled before what came of them is sent. Because: long enough to share the cost of a wake, short enough that nobody waits.
pub const INPUTS_PER_WAKE: usize = 256;

/// Messages waiting for one client. Because: a channel of a thousand may fill up at once, and each of them is announced. Full: the
/// connection is dropped, and its client may resume.
pub const WRITE_QUEUE_MAX: usize = 2_048;

/// Unwanted packets a second that make a flood, at least. Because: they cost a shard 1.5 % of a core (20,000 were measured at 6 %), and no network
/// of clients in good faith sends so many to the wrong place.
pub const FLOOD_PACKETS_PER_S: u64 = 5_000;
/// They also have to be so many times the wanted ones. Because: to a busy server a few wrong ones are nothing to move guilds for.
pub const FLOOD_SHARE: u64 = 4;
/// For so many seconds in a row. Because: one may be a relay that was restarted, and moving everyone costs them a moment of silence.
pub const FLOOD_S: u32 = 2;
/// It is over after so many seconds with less than half. Because: floods come in waves.
pub const FLOOD_OVER_S: u32 = 10;

/// Bytes waiting for one shard of the relay. Because: more than four snapshots of as many legs as it takes. Full: the relay hangs; it is
/// killed, and its successor is told everything.
pub const RELAY_WAITING_BYTES_MAX: usize = 4 * sfu_wire::FRAME_BYTES_MAX;

/// Connections that have not shown who they are, in all and from one address. Because: a handshake holds some tens of kilobytes, and a
/// school or a company behind one address joins at once. Full: the newest is dropped.
pub const UNAUTHENTICATED_MAX: usize = 4_096;
pub const UNAUTHENTICATED_PER_ADDRESS_MAX: u32 = 512;

/// TLS and WebSocket handshakes together, or the first check of an ICE-TCP connection. Exceeded: the connection is dropped.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Messages written to one client before it is listened to again. Because: what it says must not wait for all that is said around it.
pub const WRITES_PER_WAKE: usize = 64;

/// A client that takes nothing for so long is gone. Exceeded: the connection is dropped, and its client may resume.
pub const WRITE_TIMEOUT: Duration = Duration::from_secs(15);

/// How long a client may take to answer our close.
pub const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// Read and write buffers of a WebSocket. Because: messages are some hundred bytes, and idle connections are many.
pub const READ_BUFFER_BYTES: usize = 512;
/// Bytes gathered for one write when several messages wait. What was once gathered a connection holds for good.
pub const WRITE_BUFFER_BYTES: usize = 512;
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

/// Seconds in a row in which a shard that runs may say nothing. Because: it reports once a second, and the longest turn of a shard, a snapshot of as many legs as
/// it takes, is over in less than one; whoever waits longer is not heard for longer. Exceeded: the relay hangs, and is killed and started again.
pub const RELAY_SILENT_S: u32 = 4;
/// The same for one that has just been started. Because: the program has yet to be read from a disk, which may be slow.
pub const RELAY_START_S: u32 = 10;
/// Seconds that a server may be without its relay, in all of its deaths that lie close together, before guilds should leave it. Because: one that died is started
/// again within a tenth of a second, and one that was slowed for the longest of its waits within six; people who hear nothing for longer are better off
/// elsewhere, for all that a move costs.
pub const RELAY_LOST_S: u32 = 8;
const _: () = assert!(RELAY_LOST_S as u64 > RELAY_BACKOFF_LAST.as_secs(), "a wait alone moves nobody");
/// So many seconds in a row with a relay make up for those without.
pub const RELAY_WELL_S: u32 = RELAY_STABLE.as_secs() as u32;

/// How long a relay that is to replace another may take to say what it is. Because: the program has yet to be read from a disk, and nothing waits for it. Exceeded: it is
/// refused.
pub const RELAY_HELLO_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a relay may take to retire. Because: it is a matter of milliseconds, and nobody is heard meanwhile. Exceeded: it is killed, and its successor goes on as after a
/// crash.
pub const RELAY_RETIRE_TIMEOUT: Duration = Duration::from_secs(2);
/// Wishes for another program that wait for the one before. Because an operator has few. Full: refused.
pub const WISHES_MAX: usize = 4;

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

/// ICE-TCP connections, in all and from one address. Because each is two descriptors and, at worst, as much as
/// [`ICE_TCP_QUEUE_BYTES_MAX`]; and a school or a company that lets no UDP through is behind one address. Full: the newest is dropped.
pub const ICE_TCP_MAX: usize = 4_096;
pub const ICE_TCP_PER_ADDRESS_MAX: u32 = 512;
/// Of one leg. Because a browser makes one for each of its own addresses, and those of the network it has just left have yet to end. Full: the
/// newest is dropped.
pub const ICE_TCP_PER_LEG_MAX: u32 = 8;

/// Bytes of one frame. Because it stands for a datagram, and the relay's fit an Ethernet frame. Longer: the connection is dropped.
pub const ICE_TCP_FRAME_BYTES_MAX: usize = 1_500;
const _: () =
    assert!(ICE_TCP_FRAME_BYTES_MAX >> 8 < TLS_HANDSHAKE as usize, "frames and TLS begin differently");
/// The first byte of a TLS connection (RFC 8446 section 5.1).
const TLS_HANDSHAKE: u8 = 22;
const _: () = assert!(DTLS_MTU_BYTES <= ICE_TCP_FRAME_BYTES_MAX);

/// Frames a second that one connection may bring, and at once. Because the relay takes [`SENDER_PACKETS_PER_S_MAX`] of media, and checks and
/// reports come beside it; and TCP delivers at once what a loss held up. More: they are not read, and the client waits.
pub const ICE_TCP_FRAMES_PER_S: u32 = 600;
pub const ICE_TCP_BURST: u32 = 300;
const _: () = assert!(ICE_TCP_FRAMES_PER_S > SENDER_PACKETS_PER_S_MAX);

/// Bytes waiting for one connection that is slow. Because it is what a channel with twenty speakers is sent in [`ICE_TCP_WAIT_MAX`]. Full: the
/// oldest are dropped.
pub const ICE_TCP_QUEUE_BYTES_MAX: usize = 64 << 10;
/// How long media may wait to be written. Because a lost segment is repeated within this time, and what is later than that no
/// listener waits for. Exceeded: it is dropped.
pub const ICE_TCP_WAIT_MAX: Duration = Duration::from_millis(500);
/// Bytes that are written at a time, but for the last frame of them. Because what is being written cannot be dropped any more.
pub const ICE_TCP_WRITE_BYTES: usize = 2_048;
/// Bytes that the kernel takes before it can send them. Because they cannot be dropped either: on a path that carries 64 kbit/s it is a second.
pub const ICE_TCP_UNSENT_BYTES: usize = 8 << 10;
/// What the kernel keeps of one connection. Because a fifth of a second of a big channel is on its way at a time, and little comes back.
pub const ICE_TCP_SEND_BYTES: usize = 128 << 10;
pub const ICE_TCP_RECEIVE_BYTES: usize = 32 << 10;
/// How long neither side of a connection may be silent: a client checks every few seconds that it is still wanted, and the relay answers
/// (RFC 7675 section 5.1). Exceeded: the connection is dropped.
pub const ICE_TCP_SILENCE_MAX: Duration = Duration::from_secs(30);

/// How long the ports of a relay that was just ended may be taken still. Because the system closes them when it has got around to it.
pub const PORTS_FREE_WITHIN: Duration = Duration::from_secs(5);
