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
use model::{
    ChannelId, GuildId, MessageId, PresenceStatus, RoleId, ServerId, SessionId, UnixMs, UserId, VoiceFlags,
    VoiceState,
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::name::{self, Name};

/// A JSON text, encoded once and shared by everyone who sends it.
pub type Json = Arc<RawValue>;

/// Tells one user's tokens apart without being one: the beginning of a token's hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TokenMark(pub [u8; 8]);

/// One life of a gateway's process: random, so that a gateway that begins anew is another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct GatewayId(pub u64);

/// What a session is in voice with: as its gateway was last told, to be said again to a guild's next owner.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seat {
    pub state: VoiceState,
    /// Where the session was told to connect; None while it awaits an endpoint.
    pub server: Option<ServerId>,
}

/// What a session asked for when it began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    pub intents: u64,
    /// Which shard of how many.
    pub shard: (u64, u64),
    /// As its user was seen last.
    #[serde(default)]
    pub status: PresenceStatus,
}

/// Who is asking.
#[derive(Debug, Clone, Serialize, Deserialize)]
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

/// A call from a gateway, or from another guilds node. Those that name a guild go to its owner; where another node owns it, the answer is
/// [`Reply::NotHere`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Call {
    /// Whose token is this? Answers [`Reply::Account`], or 401.
    Authenticate { token: String },
    /// A session of this gateway's begins to follow a guild it is a member of. Answers [`Reply::Done`]; the GUILD_CREATE comes
    /// through the stream, addressed to the session, before any other event of the guild reaches it. `seat`: where it is in voice already,
    /// should the guild not know it.
    Attach {
        guild: GuildId,
        user: UserId,
        session: SessionId,
        gateway: GatewayId,
        /// Its client is connected there at the moment.
        is_live: bool,
        terms: Terms,
        seat: Option<Box<Seat>>,
        /// Without a seat it is not in voice there, as far as its gateway was told. False of one that has just come from another gateway.
        #[serde(default)]
        knows_seat: bool,
    },
    /// The session is over (not merely disconnected): its voice state and presence go, unless another gateway has attached it since.
    Detach { guild: GuildId, user: UserId, session: SessionId, gateway: GatewayId },
    /// A client wants to resume a session that its gateway does not know. Answers [`Reply::Terms`], or 404.
    FindSession { guild: GuildId, user: UserId, session: SessionId },
    /// From another guilds node: the person entered voice in a guild there, and is in voice nowhere else, unless it entered that one later.
    LeaveElsewhere {
        user: UserId,
        guild: GuildId,
        /// A node of the version before says what is so now.
        #[serde(default = "now")]
        since: UnixMs,
    },
    /// From another guilds node: the guild as an entry of the user's list. Answers [`Reply::Json`], or [`Reply::Empty`] if there is none.
    DescribeTo { guild: GuildId, user: UserId },
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

fn now() -> UnixMs {
    UnixMs(u64::MAX)
}

impl Call {
    /// The guild that it names, if it names one.
    pub fn guild(&self) -> Option<GuildId> {
        match self {
            Self::Authenticate { .. } | Self::LeaveElsewhere { .. } => None,
            Self::Attach { guild, .. }
            | Self::Detach { guild, .. }
            | Self::FindSession { guild, .. }
            | Self::DescribeTo { guild, .. }
            | Self::UpdateVoice { guild, .. }
            | Self::VoiceServerPing { guild, .. }
            | Self::UpdatePresence { guild, .. }
            | Self::RequestMembers { guild, .. }
            | Self::RequestChannelInfo { guild, .. } => Some(*guild),
            Self::Rest { op, .. } => op.guild(),
        }
    }
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct MembersQuery {
    pub query: Option<String>,
    pub users: Vec<UserId>,
    pub limit: u32,
    pub presences: bool,
    pub nonce: Option<String>,
}

/// Where somebody comes from, as far as it matters to whom guesses passwords: all addresses of one household or server are one.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
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
#[derive(Debug, Clone, Serialize, Deserialize)]
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

impl Op {
    /// The guild whose own business it is, if it names it.
    pub fn guild(&self) -> Option<GuildId> {
        match self {
            Self::GetGuild(guild)
            | Self::ModifyGuild(guild, _)
            | Self::DeleteGuild(guild)
            | Self::ListChannels(guild)
            | Self::CreateChannel(guild, _)
            | Self::ReorderChannels(guild, _)
            | Self::ListRoles(guild)
            | Self::GetRole(guild, _)
            | Self::CreateRole(guild, _)
            | Self::ReorderRoles(guild, _)
            | Self::ModifyRole(guild, ..)
            | Self::DeleteRole(guild, _)
            | Self::AddMemberRole(guild, ..)
            | Self::RemoveMemberRole(guild, ..)
            | Self::ListMembers { guild, .. }
            | Self::SearchMembers { guild, .. }
            | Self::GetMember(guild, _)
            | Self::ModifyMember(guild, ..)
            | Self::RemoveMember(guild, _)
            | Self::ListBans(guild)
            | Self::GetBan(guild, _)
            | Self::Ban(guild, ..)
            | Self::Unban(guild, _)
            | Self::GetVoiceState(guild, _)
            | Self::ModifyVoiceState(guild, ..)
            | Self::ListInvites(guild) => Some(*guild),
            _ => None,
        }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Reply {
    Done,
    Account(Account),
    /// A REST reply with a body: its HTTP status (200 or 201) and text.
    Json(u16, Json),
    /// 204.
    Empty,
    /// Op 4 or op 5 was not acted upon, and why.
    Refused(#[serde(deserialize_with = "name::read")] Name),
    /// On what terms a session began.
    Terms(Terms),
    /// Another node owns the guild, or, without a name, the node could not find out whose it is. Whoever carries calls asks that one or the others; no
    /// caller sees this.
    NotHere {
        guild: GuildId,
        owner: Option<String>,
    },
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
    /// What the gateway of the session concerned must keep, whether or not the session is told.
    pub note: Option<Box<Note>>,
}

/// What a dispatch says of one session's voice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Note {
    In(VoiceState),
    Out(SessionId),
    Server(SessionId, Option<ServerId>),
    /// All of it, with the guild itself.
    Seated(Seat),
}

impl Note {
    /// Whose.
    pub fn session(&self) -> SessionId {
        match self {
            Self::In(state) | Self::Seated(Seat { state, .. }) => state.session,
            Self::Out(session) | Self::Server(session, _) => *session,
        }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
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
    /// Whoever owned the guild owns it no more: sessions that follow it attach anew, each with its seat.
    OwnerLost {
        guild: GuildId,
    },
}
