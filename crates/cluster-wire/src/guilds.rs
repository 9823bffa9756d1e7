//! Gateway <-> guilds.
//!
//! A gateway node calls guilds ([`Call`] -> [`Reply`]) and reads one ordered stream of [`Event`]s from each guilds node.
//! Whatever must reach a client in order goes through the stream; a reply carries only what the caller alone needs.
//! Payloads are encoded once, by guilds; a gateway adds sequence numbers and chooses who gets them.

use std::collections::HashSet;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use client_wire::error::ApiError;
use client_wire::gateway::ChannelFields;
use client_wire::rest;
use model::{ChannelId, GuildId, MessageId, PresenceStatus, RoleId, ServerId, SessionId, UserId, VoiceFlags};
use serde_json::value::RawValue;

use crate::link::EventSender;

/// A JSON text, encoded once and shared by everyone who sends it.
pub type Json = Arc<RawValue>;

/// Tells one user's tokens apart without being one: the beginning of a token's hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TokenMark(pub [u8; 8]);

/// Who is asking.
#[derive(Debug, Clone)]
pub struct Account {
    pub user: UserId,
    pub bot: bool,
    /// The operator's key: may do everything `ctl` offers.
    pub operator: bool,
    /// Of the token it was asked with.
    pub token: TokenMark,
    /// The user object as READY and GET /users/@me carry it.
    pub json: Json,
    pub guilds: Vec<GuildId>,
}

/// A call from a gateway. Those that name a guild go to its owner.
#[derive(Debug, Clone)]
pub enum Call {
    /// A gateway whose stream of events was cut off is to be told every event from now on. Answers [`Reply::Done`].
    Listen { events: EventSender },
    /// Whose token is this? Answers [`Reply::Account`], or 401.
    Authenticate { token: String },
    /// A session of this gateway's begins to follow a guild it is a member of. Answers [`Reply::Done`]; the GUILD_CREATE comes
    /// through the stream, addressed to the session, before any other event of the guild reaches it.
    Attach { guild: GuildId, user: UserId, session: SessionId, intents: u64 },
    /// The session is over (not merely disconnected): its voice state and presence go.
    Detach { guild: GuildId, user: UserId, session: SessionId },
    /// Gateway op 4. Refusals are silent towards the client, by the protocol's custom; the reply says why, for logs and metrics.
    UpdateVoice {
        guild: GuildId,
        user: UserId,
        session: SessionId,
        channel: Option<ChannelId>,
        flags: VoiceFlags,
    },
    /// Gateway op 5: the client suspects its voice server.
    VoiceServerPing { guild: GuildId, user: UserId, session: SessionId },
    /// Gateway op 3.
    UpdatePresence { guild: GuildId, user: UserId, status: PresenceStatus },
    /// Gateway op 8; GUILD_MEMBERS_CHUNKs come through the stream, addressed to the session.
    RequestMembers { guild: GuildId, user: UserId, session: SessionId, query: MembersQuery },
    /// Gateway op 43; CHANNEL_INFO comes through the stream, addressed to the session.
    RequestChannelInfo { guild: GuildId, user: UserId, session: SessionId, fields: ChannelFields },
    /// A REST request.
    Rest { actor: Option<UserId>, operator: bool, reason: Option<String>, op: Op },
}

#[derive(Debug, Clone, Default)]
pub struct MembersQuery {
    pub query: Option<String>,
    pub users: Vec<UserId>,
    pub limit: u32,
    pub presences: bool,
    pub nonce: Option<String>,
}

/// Where somebody comes from, as far as it matters to whom guesses passwords: all addresses of one household or server are one.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Origin(u64);

impl Origin {
    /// The first 24 bits of an IPv4 address, the first 56 of an IPv6 one: what one customer of a network usually has.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self(u64::from(address.to_bits() >> 8)),
            IpAddr::V6(address) => Self((address.to_bits() >> 72) as u64),
        }
    }
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Origin(…)")
    }
}

/// REST operations, their forms already checked for shape; what they mean is for guilds to judge.
#[derive(Debug, Clone)]
pub enum Op {
    Register(rest::Register),
    Login(Origin, rest::Login),
    /// Ends the actor's token and the sessions that began with it.
    Logout(TokenMark),
    GetUser(UserId),
    /// A bot account, owned by the actor. Its token is in the reply, once.
    CreateBot(rest::CreateBot),
    /// A new token for a bot of the actor's (or, for an operator, for anybody); older ones end.
    ResetToken(UserId),
    ListGuilds,
    CreateGuild(rest::CreateGuild),
    GetGuild(GuildId),
    ModifyGuild(GuildId, rest::ModifyGuild),
    DeleteGuild(GuildId),
    ListChannels(GuildId),
    CreateChannel(GuildId, rest::ChannelBody),
    ReorderChannels(GuildId, Vec<rest::ChannelPosition>),
    /// Channel operations name no guild: guilds knows where a channel belongs.
    GetChannel(ChannelId),
    ModifyChannel(ChannelId, rest::ChannelBody),
    DeleteChannel(ChannelId),
    /// `id` is a role's or a member's, as the body's type says.
    PutOverwrite {
        channel: ChannelId,
        id: u64,
        body: rest::OverwriteBody,
    },
    DeleteOverwrite {
        channel: ChannelId,
        id: u64,
    },
    ListRoles(GuildId),
    GetRole(GuildId, RoleId),
    CreateRole(GuildId, rest::RoleBody),
    ReorderRoles(GuildId, Vec<rest::RolePosition>),
    ModifyRole(GuildId, RoleId, rest::RoleBody),
    DeleteRole(GuildId, RoleId),
    AddMemberRole(GuildId, UserId, RoleId),
    RemoveMemberRole(GuildId, UserId, RoleId),
    ListMembers {
        guild: GuildId,
        limit: u32,
        after: UserId,
    },
    SearchMembers {
        guild: GuildId,
        query: String,
        limit: u32,
    },
    GetMember(GuildId, UserId),
    ModifyMember(GuildId, UserId, rest::ModifyMember),
    /// Kick from the guild; of oneself: leave it.
    RemoveMember(GuildId, UserId),
    ListBans(GuildId),
    GetBan(GuildId, UserId),
    Ban(GuildId, UserId, rest::BanBody),
    Unban(GuildId, UserId),
    GetVoiceState(GuildId, UserId),
    ModifyVoiceState(GuildId, UserId, rest::ModifyVoiceState),
    /// The channel is the body's own.
    CreateStageInstance(ChannelId, rest::StageInstanceBody),
    GetStageInstance(ChannelId),
    ModifyStageInstance(ChannelId, rest::StageInstanceBody),
    DeleteStageInstance(ChannelId),
    SetVoiceStatus(ChannelId, rest::VoiceStatusBody),
    ListRegions,
    ListMessages {
        channel: ChannelId,
        limit: u32,
        before: Option<MessageId>,
        after: Option<MessageId>,
    },
    GetMessage(ChannelId, MessageId),
    CreateMessage(ChannelId, rest::MessageBody),
    EditMessage(ChannelId, MessageId, rest::MessageBody),
    DeleteMessage(ChannelId, MessageId),
    BulkDeleteMessages(ChannelId, Vec<MessageId>),
    Typing(ChannelId),
    CreateInvite(ChannelId, rest::InviteBody),
    ListInvites(GuildId),
    GetInvite(String),
    AcceptInvite(String),
    DeleteInvite(String),
    /// Operator only: an account, without registration.
    AdminCreateUser(rest::Register),
    AdminListUsers,
    /// Operator only: a member without an invite.
    AdminAddMember(GuildId, UserId),
    /// Operator only: voice servers with health and load.
    AdminServers,
    /// Operator only: a voice server takes no new guilds and gives up those it has, or takes some again.
    AdminModifyServer(ServerId, rest::ModifyServer),
}

#[derive(Debug, Clone)]
pub enum Reply {
    Done,
    Account(Account),
    /// A REST reply with a body: its HTTP status (200 or 201) and text.
    Json(u16, Json),
    /// 204.
    Empty,
    /// Op 4 or op 5 was not acted upon, and why.
    Refused(&'static str),
}

pub type CallResult = Result<Reply, ApiError>;

/// One dispatch, encoded, with everything a gateway must know to choose its receivers.
#[derive(Debug, Clone)]
pub struct Dispatch {
    /// The event's name.
    pub t: &'static str,
    pub d: Json,
    /// The variant for sessions without MESSAGE_CONTENT, where it differs.
    pub without_content: Option<Json>,
    /// A session needs one of these intents; 0 means everyone gets it.
    pub intents: u64,
    pub audience: Audience,
    /// Sessions of this user get it whatever their intents (own voice state, own message content).
    pub always: Option<UserId>,
}

#[derive(Debug, Clone)]
pub enum Audience {
    /// Every session that follows the guild.
    Guild,
    /// Every session that follows the guild, but these users, who may not see the channel it is about.
    GuildExcept(Arc<HashSet<UserId>>),
    /// Every session of these users that follows the guild.
    Users(Arc<HashSet<UserId>>),
    /// One session.
    Session(SessionId),
}

/// What a gateway reads from guilds. Order is kept.
#[derive(Debug, Clone)]
pub enum Event {
    Dispatch {
        guild: GuildId,
        dispatch: Dispatch,
    },
    /// The user became a member: sessions of the user attach to the guild.
    Joined {
        guild: GuildId,
        user: UserId,
    },
    /// The user is no member any more (or the guild is gone): sessions stop following after this, with a GUILD_DELETE.
    Left {
        guild: GuildId,
        user: UserId,
    },
    /// This token of the user's (or all, if none is named) is valid no more: sessions that began with it end with 4004.
    TokensRevoked {
        user: UserId,
        token: Option<TokenMark>,
    },
}
