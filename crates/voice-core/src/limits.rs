//! The bounds of everything that grows, and the times after which things end.

use std::time::Duration;

use client_wire::voice::HEARTBEAT_INTERVAL_MS;

/// Bytes of one message from a client. Because: the longest legitimate one carries an SDP fragment of a few kilobytes. Longer: 4002.
pub const MESSAGE_BYTES_MAX: usize = 16 << 10;

/// Messages a client may send at once, and for good in a second. Because: a library sends a handful while joining, a heartbeat each few
/// seconds and a SPEAKING when somebody starts to talk; and each SPEAKING may become a message to a thousand others. More: 4021.
pub const INBOUND_BURST: u32 = 60;
pub const INBOUND_PER_S: u32 = 10;

/// Messages kept for a resume. Because: clients acknowledge with every heartbeat, and in one interval even a big channel rarely sees more
/// changes; a message kept costs 32 bytes. Full: the oldest is dropped, and a resume that needs it is refused with 4006.
pub const OUTBOX_MESSAGES_MAX: usize = 256;

/// Because: every library identifies within its first round trip. Exceeded: 4009.
pub const IDENTIFY_TIMEOUT: Duration = Duration::from_secs(10);

/// Three missed heartbeats. Exceeded: 4009, and the session may still be resumed.
pub const HEARTBEAT_TIMEOUT: Duration = Duration::from_millis(3 * HEARTBEAT_INTERVAL_MS);

/// How long media goes on while the connection is away. Because: libraries reconnect within seconds and back off up to half a minute.
/// Exceeded: the session ends.
pub const MEDIA_GRACE: Duration = Duration::from_secs(60);

/// How long a client may be ahead of guilds' placement. Because: both leave guilds at the same moment. Exceeded: 4006.
pub const CONFIRM_TIMEOUT: Duration = Duration::from_secs(10);

/// Legs of one shard. Because: a snapshot of so many stays below the relay's longest frame, and no core forwards for more. Full: 4021.
pub const LEGS_PER_SHARD_MAX: usize = 20_000;
const _: () = assert!(LEGS_PER_SHARD_MAX * LEG_BYTES_MAX < sfu_wire::FRAME_BYTES_MAX);
/// A leg's encoding: ids, a mode's name, a key, an address; a browser's: ids, credentials, a profile's name, two keys with their salts.
const LEG_BYTES_MAX: usize = 320;
const _: () =
    assert!(UFRAG_BYTES + PWD_BYTES + client_wire::fragment::UFRAG_BYTES_MAX + 24 + 88 + 60 < LEG_BYTES_MAX);

/// Characters of a user name fragment of ours: 48 random bits, so that nobody guesses one whose password is asked for.
pub const UFRAG_BYTES: usize = 8;
/// Characters of a password of ours: 144 random bits, of the 128 that RFC 8445 section 5.3 asks for.
pub const PWD_BYTES: usize = 24;

/// Guilds whose fencing number is remembered. Because: a guild without participants costs its number only, and a server sees fewer in
/// its life. Full: guilds without participants are forgotten.
pub const GUILDS_MAX: usize = 1_000_000;

/// Channels of a guild of which something is kept. Because: a guild has no more. Full: nothing is kept of others.
pub const CHANNEL_MEMOS_MAX: usize = 500;

/// Within so long a leg that two relays died with is no chance. Because a crash is seldom, and a relay is busy with some leg a good part of
/// the time.
pub const BLAME_WINDOW: Duration = Duration::from_secs(600);
/// Legs that are remembered for it. Because relays that keep dying are started ever more slowly. Full: the oldest is forgotten.
pub const BLAMES_MAX: usize = 256;
