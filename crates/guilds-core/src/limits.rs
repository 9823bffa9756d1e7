//! Every bound of one guild, and why it is what it is. Whatever exceeds one is refused with the protocol's error.

/// The public protocol's own bound; clients size their lists for it.
pub const CHANNELS_MAX: usize = 500;
/// The public protocol's own bound, and what keeps a permission computation short.
pub const ROLES_MAX: usize = 250;
/// A guild lives in one actor's memory: about 300 bytes a member, so at most 150 MB.
pub const MEMBERS_MAX: usize = 500_000;
/// Sessions that follow one guild: a few for each member who is online.
pub const SESSIONS_MAX: usize = 1_000_000;
/// A camera for everybody in a channel is beyond any screen; clients read this from the guild object.
pub const VIDEO_USERS_MAX: u32 = 25;
/// Overwrites of one channel: a role or a member each. Bounds what one permission computation walks.
pub const OVERWRITES_MAX: usize = 500;
/// Invites of one guild that are alive at once; the public protocol's own bound.
pub const INVITES_MAX: usize = 1_000;

/// From this many members on GUILD_CREATE lists only oneself, those in voice and those online.
pub const LARGE_GUILD_MEMBERS: usize = 250;
/// Members listed as online in a large guild's GUILD_CREATE; the rest is asked for by op 8. Keeps the event under 1 MB.
pub const ONLINE_LISTED_MAX: usize = 1_000;
/// Members of one GUILD_MEMBERS_CHUNK, by the protocol.
pub const CHUNK_MEMBERS: usize = 1_000;
/// User ids one op 8 may name, by the protocol.
pub const CHUNK_USERS_MAX: usize = 100;
/// Members one op 8 answers; a guild of `MEMBERS_MAX` asked whole would be 500 chunks, and that is allowed.
pub const CHUNKS_MAX: usize = MEMBERS_MAX / CHUNK_MEMBERS;
/// Bytes of a nonce that is echoed.
pub const NONCE_BYTES_MAX: usize = 32;
/// Members of one REST page, by the protocol.
pub const MEMBERS_PAGE_MAX: u32 = 1_000;

pub const NAME_CHARS_MAX: usize = 100;
pub const GUILD_NAME_CHARS_MIN: usize = 2;
pub const NICK_CHARS_MAX: usize = 32;
pub const TOPIC_CHARS_MAX: usize = 1_024;
pub const MESSAGE_CHARS_MAX: usize = 2_000;
/// Of a message's nonce, as JSON.
pub const MESSAGE_NONCE_BYTES_MAX: usize = 64;
pub const REASON_CHARS_MAX: usize = 512;
/// Messages of one REST page, by the protocol.
pub const MESSAGES_PAGE_MAX: u32 = 100;
pub const MESSAGES_PAGE_DEFAULT: u32 = 50;
/// Messages one bulk deletion names, by the protocol.
pub const BULK_DELETE_MAX: usize = 100;
/// Users one message can mention; more are shown but not notified.
pub const MENTIONS_MAX: usize = 100;

/// Below this Opus speech is not worth sending.
pub const BITRATE_MIN: u32 = 8_000;
/// The best a stereo Opus encoder is worth.
pub const BITRATE_MAX: u32 = 384_000;
pub const USER_LIMIT_VOICE_MAX: u16 = 99;
pub const USER_LIMIT_STAGE_MAX: u16 = 10_000;

/// Of a voice channel's status, by the protocol.
pub const STATUS_CHARS_MAX: usize = 500;
/// Of what a stage is about, by the protocol.
pub const STAGE_TOPIC_CHARS_MAX: usize = 120;
/// A stage that has had no speaker for this long is over. Because: a speaker whose client begins anew comes back as one of the audience
/// and has to be invited again, and one who opens a stage from outside has to get there.
pub const STAGE_SPEAKERLESS_MS: u64 = 120_000;

pub const INVITE_AGE_MAX_S: u32 = 604_800;
pub const INVITE_AGE_DEFAULT_S: u32 = 86_400;
pub const INVITE_USES_MAX: u32 = 100;
/// 28 days, by the protocol.
pub const TIME_OUT_MAX_MS: u64 = 28 * 86_400_000;

/// A voice token is good for this long; a client that returns later asks for another by joining again.
pub const VOICE_TOKEN_MS: u64 = 24 * 3_600_000;
/// A client that was told its voice server has this long to appear there before a mere change of its flags makes guilds
/// tell it again: libraries send a mute right after a join, and telling them twice would make them connect twice.
pub const PENDING_GRACE_MS: u64 = 10_000;
/// A participant whose client is not at its voice server for this long has left. Because: libraries take up to half a minute to connect
/// and back off as long again before the next attempt, and the voice server itself waits a minute for a lost client to resume.
pub const ABSENCE_MS: u64 = 90_000;

const _: () = assert!(PENDING_GRACE_MS < ABSENCE_MS);
const _: () = assert!(ABSENCE_MS < STAGE_SPEAKERLESS_MS);
const _: () = assert!(LARGE_GUILD_MEMBERS <= ONLINE_LISTED_MAX && ONLINE_LISTED_MAX <= CHUNK_MEMBERS);
const _: () = assert!(MEMBERS_MAX.is_multiple_of(CHUNK_MEMBERS));
const _: () = assert!(MESSAGES_PAGE_DEFAULT <= MESSAGES_PAGE_MAX);
const _: () = assert!(INVITE_AGE_DEFAULT_S <= INVITE_AGE_MAX_S);

/// How long after the first voice state of an earlier owner's the voice server is told who is not in voice any more. Because gateways notice within a second
/// that an owner is gone, and attach a few sessions at a time.
pub const SETTLE_MS: u64 = 15_000;
/// How long after it was claimed a guild remembers who has left, lest a voice server that is first asked then says that they are there. Because
/// ways to voice servers are open within seconds. One that was asked is waited for longer.
pub const TESTIMONY_MS: u64 = 60_000;
