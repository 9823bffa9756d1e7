//! Every bound of this crate, each with its because.

use std::time::Duration;

/// WebSockets one node holds: with what a compressed one costs (ninety kilobytes) nine
/// gigabytes, and room under the usual limit of open files. Full: the upgrade is answered 503 and the client
/// tries another node.
pub const SOCKETS_MAX: usize = 100_000;

/// Bytes read from a socket at once, which each connection holds. Clients' frames are short; the library's own default would cost 128 KiB
/// a connection.
pub const SOCKET_READ_BYTES: usize = 512;

/// Bytes gathered for one write when several frames wait. What was once gathered a connection holds for good, so that longer messages are not gathered.
pub const SOCKET_WRITE_BYTES: usize = 4 * 1024;

/// Bytes of a long message for which a client has all of [`WRITE_PATIENCE`].
pub const LONG_WRITE_BYTES: usize = 64 * 1024;

/// A message longer than a client's frame may be is read up to this length, so that the close frame that
/// answers it is not lost in a connection reset. A longer one is not read at all.
pub const SOCKET_MESSAGE_BYTES_MAX: usize = 64 * 1024;

/// Frames that wait for one socket: READY, a whole replay, and what happens meanwhile. Full: the client is
/// too slow; it is disconnected and may resume.
pub const SOCKET_FRAMES_MAX: usize = 4_096;

/// Bytes of payload that wait for one socket; one frame may always wait, however large. Full: as above.
pub const SOCKET_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Frames taken from a socket's queue, or inputs of the node, before anything else is looked at.
pub const BATCH_MAX: usize = 64;

/// A write that takes longer means that the client does not read. It is disconnected and may resume.
pub const WRITE_PATIENCE: Duration = Duration::from_secs(20);

/// How long a closed connection is kept open for the client to answer the close frame.
pub const CLOSE_PATIENCE: Duration = Duration::from_secs(2);

/// Frames from all sockets that wait for the node. Full: the sockets are not read until there is room.
pub const INPUTS_MAX: usize = 8_192;

/// Calls to guilds without an answer. Full: the node reads no more frames from clients until some are
/// answered. Attachments do not count, of which a session has a few at a time: they wait until a guild has an owner, for which nobody else's frames
/// should.
pub const CALLS_IN_FLIGHT_MAX: usize = 8_192;

/// How long shutting down waits for guilds and for clients to take note.
pub const SHUTDOWN_PATIENCE: Duration = Duration::from_secs(3);

/// Voice servers that pages may be carried to: more than one deployment has. Full: the one of which sessions were told
/// longest ago is forgotten, until one is told of it again.
pub const VOICE_SERVERS_MAX: usize = 1_024;

/// Pages whose voice WebSocket is carried, in all and from one address. Because: to the voice server they all come from
/// here, and it lets no more than half a thousand strangers of one address in at once; a household or an office has
/// room. Full: 503.
pub const VOICE_WAYS_MAX: usize = 20_000;
pub const VOICE_WAYS_PER_ADDRESS_MAX: usize = 128;

/// A message of a voice server: what a room of thousands is told at once fits.
pub const VOICE_MESSAGE_BYTES_MAX: usize = 1024 * 1024;

/// How long the gateway tries to reach a voice server in a page's place. Exceeded: 502.
pub const VOICE_CONNECT_PATIENCE: Duration = Duration::from_secs(10);

/// Body of a REST request: a message with a nonce and a hundred overwrites fit many times over. Larger: 413.
pub const BODY_BYTES_MAX: usize = 128 * 1024;

/// Length of a reason for the audit log. Longer ones are cut, as the protocol has it.
pub const REASON_CHARS_MAX: usize = 512;

/// REST requests of one user to one route with one channel or guild, by class: what a person or a busy bot
/// does, with much room.
pub const READS: Quota = Quota { requests: 200, window: Duration::from_secs(10) };
pub const WRITES: Quota = Quota { requests: 60, window: Duration::from_secs(10) };

/// REST requests of one user (or, without a token, of one address) to all routes together.
pub const ALL_ROUTES: Quota = Quota { requests: 200, window: Duration::from_secs(1) };

/// Registrations and logins from one address. Each costs a slow password hash; guilds limits them by name
/// and network too.
pub const SIGN_INS: Quota = Quota { requests: 60, window: Duration::from_secs(60) };

/// Requests with a wrong token from one address. Beyond, they are answered 429, and guilds is asked about the address's
/// tokens a few at a time only. It is asked nonetheless: many may share the address, and whoever has a valid token shall
/// not be refused for what others do.
pub const WRONG_TOKENS: Quota = Quota { requests: 300, window: Duration::from_secs(60) };

/// Tokens from such addresses that guilds is asked about at once. Full: the request waits its turn.
pub const SUSPECTS_AT_ONCE: usize = 16;

/// TLS handshakes at once: each holds some tens of kilobytes. Full: nobody is accepted until one is done, which
/// the patience bounds.
pub const HANDSHAKES_MAX: usize = 4_096;

/// How long a TLS handshake may take. Exceeded: the connection is dropped.
pub const HANDSHAKE_PATIENCE: Duration = Duration::from_secs(10);

/// Quotas that are being counted. Full: finished windows go, and if none has finished all are forgotten: a
/// flood from so many sources is not what this limit can stop, and refusing everybody else would complete it.
pub const QUOTAS_MAX: usize = 100_000;

/// So many in so long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    pub requests: u32,
    pub window: Duration,
}

const _: () = assert!(
    SOCKET_FRAMES_MAX
        > gateway_core::limits::REPLAY_DISPATCHES_MAX
            + gateway_core::limits::ATTACHES_AT_ONCE_MAX
            + BATCH_MAX,
    "a whole replay must fit a socket's queue"
);
const _: () = assert!(
    SOCKET_BYTES_MAX > gateway_core::limits::REPLAY_BYTES_MAX * 2,
    "a whole replay must fit a socket's queue"
);
const _: () =
    assert!(SOCKET_MESSAGE_BYTES_MAX > client_wire::gateway::CLIENT_FRAME_BYTES_MAX, "long frames are read");
