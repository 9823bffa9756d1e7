//! Every bound of this crate, each with its because.

use std::time::Duration;

/// What HELLO asks for. The value clients have always been given, so that their own tolerances fit.
pub const HEARTBEAT_INTERVAL: Duration = Duration::from_millis(41_250);

/// A connection that has been silent for this many quarters of the heartbeat interval is dead and closed with
/// 4009: one whole missed beat, and three quarters of an interval for a slow network.
pub const HEARTBEAT_PATIENCE_QUARTERS: u32 = 7;

/// A connection that has neither identified nor resumed after this long is closed with 4009. Libraries that
/// start many shards identify at once after HELLO, so only a forgotten connection takes longer.
pub const IDENTIFY_PATIENCE: Duration = Duration::from_secs(45);

/// How long a session waits for its client to resume, unless configured: longer than the slowest library's
/// back-off after a network change, short enough that nobody is seen in a channel long after they have gone.
pub const SESSION_KEEP: Duration = Duration::from_secs(150);

/// No session is sent so many dispatches; a session of another gateway goes on with whatever number below that its client says.
pub const SEQ_MAX: u64 = 1 << 53;

/// Dispatches a session keeps for a resume. Full: the oldest go, and a client that would need them gets
/// INVALID_SESSION. At ten events a second this outlasts a reconnect of a minute and a half.
pub const REPLAY_DISPATCHES_MAX: usize = 1_024;

/// Payload bytes a session keeps for a resume. Payloads are shared between sessions, so this is an upper
/// bound that only a session with large guilds of its own comes near. Full: the oldest go.
pub const REPLAY_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Messages a client may send at once, and how often it earns another: 120 in 60 s. More closes with 4008.
pub const MESSAGES_BURST: u32 = 120;
pub const MESSAGE_EVERY: Duration = Duration::from_millis(500);

/// Voice state updates that are acted upon at once, and how often another is. More are delayed, because
/// discord.js repeats them without pause after some voice closes and must not lose its session for it.
pub const VOICE_UPDATES_BURST: u32 = 10;
pub const VOICE_UPDATE_EVERY: Duration = Duration::from_millis(500);

/// Delayed voice state updates of one session. Full: the oldest is dropped, since the newest says what the
/// client wants.
pub const VOICE_UPDATES_DELAYED_MAX: usize = 32;

/// Voice state updates, delayed or not, that end a client's patience credit: no honest client sends ten a
/// second for a minute. More closes with 4008.
pub const VOICE_FLOOD_BURST: u32 = 600;
pub const VOICE_FLOOD_EVERY: Duration = Duration::from_millis(100);

/// Frames held between IDENTIFY and its answer. Full: 4008, since no library sends more than a heartbeat
/// there.
pub const EARLY_FRAMES_MAX: usize = 16;

/// Guilds one session may follow. More: 4011, the client must shard.
pub const GUILDS_PER_SESSION_MAX: usize = 2_500;

/// Guilds a session waits for at once after READY: enough to hide the way to guilds and back, few enough that
/// a bot in thousands of guilds does not fill its own queue. The next is attached when one has been written
/// to the socket.
pub const ATTACHES_AT_ONCE_MAX: usize = 16;

/// How long after guilds could not answer an attach, or could not be told of a session's end, it is tried again.
pub const ATTACH_RETRY: Duration = Duration::from_secs(5);

/// Sessions of one user: a large bot's shards, with room. Full: the user's longest detached session ends;
/// when all are connected, the new connection is closed with 4008.
pub const SESSIONS_PER_USER_MAX: usize = 256;

/// Sessions on one node; with what a session costs this is about two gigabytes. Full: the new connection is
/// closed with 1012 and its client tries another node.
pub const SESSIONS_MAX: usize = 250_000;

/// Memberships that changed and tokens that ended while somebody was being authenticated, kept so that an answer
/// made before the change is corrected. Full: the oldest are forgotten, and whoever asked before them asks again.
pub const CHANGES_MAX: usize = 4_096;

/// Longest token that is looked at; a longer one is wrong.
pub const TOKEN_CHARS_MAX: usize = 256;

/// Users one REQUEST GUILD MEMBERS may name, and the length of the nonce that is echoed. More are cut off, as
/// the protocol does.
pub const MEMBERS_REQUEST_USERS_MAX: usize = 100;
pub const MEMBERS_REQUEST_NONCE_BYTES_MAX: usize = 32;

/// While draining, this many clients are sent away every [`DRAIN_EVERY`], so that the other nodes meet them
/// one by one.
pub const DRAIN_AT_ONCE: usize = 200;
pub const DRAIN_EVERY: Duration = Duration::from_millis(100);

const _: () =
    assert!(VOICE_UPDATES_DELAYED_MAX < VOICE_FLOOD_BURST as usize, "a delay must come before a close");
const _: () =
    assert!(IDENTIFY_PATIENCE.as_millis() > HEARTBEAT_INTERVAL.as_millis(), "a first heartbeat fits");

/// How long a voice state update that found a guild without an owner is good for. Because a client that has waited longer has given up, and would be
/// put into a channel out of the blue.
pub const WISH_KEEP: Duration = Duration::from_secs(15);

/// Guilds that are asked for a session which this gateway does not know. Because whoever is in more is a bot, whose shards come back one by one, and
/// identifying anew costs it little.
pub const GUILDS_ASKED_MAX: usize = 200;
