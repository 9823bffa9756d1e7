//! The numbers of the main gateway: opcodes, close codes, intents.

use bitflags::bitflags;

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Opcode {
    Dispatch = 0,
    Heartbeat = 1,
    Identify = 2,
    PresenceUpdate = 3,
    VoiceStateUpdate = 4,
    VoiceServerPing = 5,
    Resume = 6,
    Reconnect = 7,
    RequestGuildMembers = 8,
    InvalidSession = 9,
    Hello = 10,
    HeartbeatAck = 11,
    StreamCreate = 18,
    StreamDelete = 19,
    StreamWatch = 20,
    StreamPing = 21,
    StreamSetPaused = 22,
    RequestSoundboardSounds = 31,
    QosHeartbeat = 40,
    RequestChannelInfo = 43,
}

impl Opcode {
    pub const ALL: [Self; 20] = [
        Self::Dispatch,
        Self::Heartbeat,
        Self::Identify,
        Self::PresenceUpdate,
        Self::VoiceStateUpdate,
        Self::VoiceServerPing,
        Self::Resume,
        Self::Reconnect,
        Self::RequestGuildMembers,
        Self::InvalidSession,
        Self::Hello,
        Self::HeartbeatAck,
        Self::StreamCreate,
        Self::StreamDelete,
        Self::StreamWatch,
        Self::StreamPing,
        Self::StreamSetPaused,
        Self::RequestSoundboardSounds,
        Self::QosHeartbeat,
        Self::RequestChannelInfo,
    ];

    pub fn from_number(n: u64) -> Option<Self> {
        Self::ALL.into_iter().find(|op| *op as u64 == n)
    }

    /// Whether a client may send it.
    pub fn is_from_client(self) -> bool {
        !matches!(
            self,
            Self::Dispatch | Self::Reconnect | Self::InvalidSession | Self::Hello | Self::HeartbeatAck
        )
    }
}

/// Why a connection was closed, as its WebSocket close frame says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u16)]
pub enum CloseCode {
    Normal = 1000,
    GoingAway = 1001,
    ServiceRestart = 1012,
    UnknownError = 4000,
    UnknownOpcode = 4001,
    DecodeError = 4002,
    NotAuthenticated = 4003,
    AuthenticationFailed = 4004,
    AlreadyAuthenticated = 4005,
    InvalidSeq = 4007,
    RateLimited = 4008,
    SessionTimedOut = 4009,
    InvalidShard = 4010,
    ShardingRequired = 4011,
    InvalidVersion = 4012,
    InvalidIntents = 4013,
    DisallowedIntents = 4014,
}

impl CloseCode {
    pub const ALL: [Self; 17] = [
        Self::Normal,
        Self::GoingAway,
        Self::ServiceRestart,
        Self::UnknownError,
        Self::UnknownOpcode,
        Self::DecodeError,
        Self::NotAuthenticated,
        Self::AuthenticationFailed,
        Self::AlreadyAuthenticated,
        Self::InvalidSeq,
        Self::RateLimited,
        Self::SessionTimedOut,
        Self::InvalidShard,
        Self::ShardingRequired,
        Self::InvalidVersion,
        Self::InvalidIntents,
        Self::DisallowedIntents,
    ];

    pub fn number(self) -> u16 {
        self as u16
    }

    pub fn from_number(n: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|code| code.number() == n)
    }

    /// The sentence sent with the code.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Normal => "",
            Self::GoingAway => "Going away.",
            Self::ServiceRestart => "The server is restarting.",
            Self::UnknownError => "Unknown error.",
            Self::UnknownOpcode => "Unknown opcode.",
            Self::DecodeError => "Error while decoding payload.",
            Self::NotAuthenticated => "Not authenticated.",
            Self::AuthenticationFailed => "Authentication failed.",
            Self::AlreadyAuthenticated => "Already authenticated.",
            Self::InvalidSeq => "Invalid seq.",
            Self::RateLimited => "Rate limited.",
            Self::SessionTimedOut => "Session timed out.",
            Self::InvalidShard => "Invalid shard.",
            Self::ShardingRequired => "Sharding required.",
            Self::InvalidVersion => "Invalid API version.",
            Self::InvalidIntents => "Invalid intent(s).",
            Self::DisallowedIntents => "Disallowed intent(s).",
        }
    }

    /// Whether a client that is told this stops instead of connecting again.
    pub fn is_fatal(self) -> bool {
        matches!(
            self,
            Self::AuthenticationFailed
                | Self::InvalidShard
                | Self::ShardingRequired
                | Self::InvalidVersion
                | Self::InvalidIntents
                | Self::DisallowedIntents
        )
    }

    /// Whether a client that closes with this number means to end its session rather than to resume it.
    pub fn ends_session(number: Option<u16>) -> bool {
        matches!(number, Some(1000 | 1001))
    }
}

bitflags! {
    /// The groups of events a session asks for.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
    pub struct Intents: u64 {
        const GUILDS = 1 << 0;
        const GUILD_MEMBERS = 1 << 1;
        const GUILD_MODERATION = 1 << 2;
        const GUILD_EXPRESSIONS = 1 << 3;
        const GUILD_INTEGRATIONS = 1 << 4;
        const GUILD_WEBHOOKS = 1 << 5;
        const GUILD_INVITES = 1 << 6;
        const GUILD_VOICE_STATES = 1 << 7;
        const GUILD_PRESENCES = 1 << 8;
        const GUILD_MESSAGES = 1 << 9;
        const GUILD_MESSAGE_REACTIONS = 1 << 10;
        const GUILD_MESSAGE_TYPING = 1 << 11;
        const DIRECT_MESSAGES = 1 << 12;
        const DIRECT_MESSAGE_REACTIONS = 1 << 13;
        const DIRECT_MESSAGE_TYPING = 1 << 14;
        const MESSAGE_CONTENT = 1 << 15;
        const GUILD_SCHEDULED_EVENTS = 1 << 16;
        const AUTO_MODERATION_CONFIGURATION = 1 << 20;
        const AUTO_MODERATION_EXECUTION = 1 << 21;
        const GUILD_MESSAGE_POLLS = 1 << 24;
        const DIRECT_MESSAGE_POLLS = 1 << 25;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_survive_the_way_there_and_back() {
        for op in Opcode::ALL {
            assert_eq!(Opcode::from_number(op as u64), Some(op));
        }
        for code in CloseCode::ALL {
            assert_eq!(CloseCode::from_number(code.number()), Some(code));
        }
        assert_eq!(Opcode::from_number(12), None);
        assert_eq!(Opcode::from_number(u64::MAX), None);
        assert_eq!(CloseCode::from_number(4006), None);
    }

    #[test]
    fn only_a_deliberate_goodbye_ends_a_session() {
        let check = |number, expect| assert_eq!(CloseCode::ends_session(number), expect, "{number:?}");
        check(Some(1000), true);
        check(Some(1001), true);
        check(Some(1005), false);
        check(Some(4000), false);
        check(Some(4200), false);
        check(None, false);
    }
}
