//! Every bound of the service, and why it is what it is.

use std::time::Duration;

/// Inputs waiting for one guild. Full: calls are refused with 503, but the end of a session and what voice servers and the
/// fleet say wait, since nobody would say them again.
pub const ACTOR_INPUTS_MAX: usize = 4_096;
/// Calls at work outside the guilds' actors at once. Full: refused with 503.
pub const GLOBAL_CALLS_MAX: usize = 1_024;
/// Channels whose guild is remembered. Full: all are forgotten; each costs one query to learn again.
pub const CHANNELS_KNOWN_MAX: usize = 100_000;
/// A guild that nobody has followed, called or been in voice in for this long leaves memory until it is asked for. Because: whoever lost its
/// connection is back by then, and reading a guild of thousands is a few queries.
pub const GUILD_REST: Duration = Duration::from_secs(600);
/// Guilds one user may be in, by the protocol.
pub const GUILDS_PER_USER_MAX: usize = 200;

/// Guilds a bot is in, unless the operator adds it to more: beyond, libraries want several shards, which is for the operator to
/// know of.
pub const GUILDS_PER_BOT_MAX: usize = 2_500;
/// Users one operator's listing shows.
pub const USERS_LISTED_MAX: u32 = 1_000;

pub const USERNAME_CHARS_MIN: usize = 2;
pub const USERNAME_CHARS_MAX: usize = 32;
pub const DISPLAY_NAME_CHARS_MAX: usize = 32;
/// NIST SP 800-63B asks for at least 8; length is the only rule.
pub const PASSWORD_CHARS_MIN: usize = 8;
/// Keeps hashing from being fed megabytes.
pub const PASSWORD_CHARS_MAX: usize = 256;
/// No token of ours is longer; anything longer is refused unread.
pub const TOKEN_CHARS_MAX: usize = 128;

/// A person's token ends when it has not been used for so long. Because: a device that is not switched on for half a year is
/// lost or sold. A bot's never does: nobody would be there to renew it.
pub const TOKEN_UNUSED_MAX: Duration = Duration::from_secs(180 * 86_400);
/// How long a token is used until that is written down again. Because: a write for every request is dear, and days are exact enough.
pub const TOKEN_USE_NOTED_EVERY: Duration = Duration::from_secs(86_400);
/// Tokens of one account: devices of one person. Full: the one that was not used for longest ends.
pub const TOKENS_PER_USER_MAX: u32 = 25;

/// Passwords waiting to be hashed, each about 50 ms of one core: beyond this a login would wait more than ten seconds.
/// Full: refused with 503.
pub const PASSWORDS_WAITING_MAX: usize = 256;

/// Wrong passwords for one name from one network before it must wait there. Because people mistype; who comes from elsewhere, such as
/// the account's owner while somebody guesses, does not wait with it.
pub const LOGIN_FAILURES_FREE: u32 = 5;
/// The first wait; it doubles with every further failure.
pub const LOGIN_WAIT_FIRST: Duration = Duration::from_secs(2);
pub const LOGIN_WAIT_MAX: Duration = Duration::from_secs(900);
/// Wrong passwords for one name from wherever before everybody must wait. Because whoever has many networks could guess on and on.
pub const LOGIN_FAILURES_FREE_ANYWHERE: u32 = 200;
/// Its longest wait. Because it is the owner's as well, and 1,440 guesses a day find no password.
pub const LOGIN_WAIT_MAX_ANYWHERE: Duration = Duration::from_secs(60);
/// Failures are forgotten after this time without another.
pub const LOGIN_MEMORY: Duration = Duration::from_secs(3_600);
/// Names with failures that are remembered, and as often names at networks. Full: the one whose last failure is oldest is forgotten.
pub const LOGIN_NAMES_MAX: usize = 10_000;

/// How long a guild's next owner waits for its voice servers to say what they hold of it. Because one that lives answers within a round trip, and somebody
/// waits to join; what is said later still counts.
pub const SERVERS_HEARD_WITHIN: Duration = Duration::from_secs(1);

/// How long to wait before asking an unreachable registry again.
pub const REGISTRY_RETRY: Duration = Duration::from_secs(1);
/// Reports of voice servers waiting to be routed. Full: the voice server keeps the newest of each session until there is room.
pub const REPORTS_MAX: usize = cluster_wire::link::ORDERS_MAX;

const _: () = assert!(LOGIN_WAIT_FIRST.as_secs() < LOGIN_WAIT_MAX.as_secs());
const _: () = assert!(LOGIN_WAIT_MAX.as_secs() < LOGIN_MEMORY.as_secs());
const _: () = assert!(LOGIN_FAILURES_FREE < LOGIN_FAILURES_FREE_ANYWHERE);
const _: () = assert!(LOGIN_WAIT_MAX_ANYWHERE.as_secs() < LOGIN_MEMORY.as_secs());

/// How often the registry is told that this node lives. Because its lease is of three seconds.
pub const RENEW_EVERY: Duration = Duration::from_secs(1);
/// How long the sessions of a gateway that is gone wait for their clients elsewhere. Because they would wait as long for them there.
pub const GATEWAY_KEEP: Duration = Duration::from_secs(150);
/// How often it is looked for gateways that are gone.
pub const GATEWAYS_SWEPT_EVERY: Duration = Duration::from_secs(5);
/// How long a node that starts waits for ways to the voice servers there are before it takes guilds. Because one that is there answers within a second, and
/// one that is dead must not keep anybody waiting for its lease to end.
pub const WAYS_WITHIN: Duration = Duration::from_secs(2);

/// A clock that is off by no more is followed at once: what daemons correct all the time.
pub const CLOCK_SLACK: Duration = Duration::from_millis(100);
/// One that is off by more is followed at one part in so many of the time that passes. Because a deadline of a minute may be six seconds early or late, and an hour is
/// made up for in ten.
pub const CLOCK_WALKS_OFF: u32 = 10;
/// One that is off by so much was not set at all before, or the machine did not run. Because voice servers go by clocks of their own, for which a voice token must be
/// good, and it is good for a day.
pub const CLOCK_FOLLOWS_AT_ONCE: Duration = Duration::from_secs(12 * 3_600);
