//! Objects inside events and REST replies: users, guilds, roles, channels, members, voice states, messages, invites.
//!
//! Every field that some client library dereferences is written, also where this server gives it no meaning: a
//! missing key makes serenity drop the whole event and discord.js leave the guild unavailable. What is read back by our
//! own clients is read leniently: a field that only libraries want may be absent.

mod message;
mod voice_channel;

pub use message::{
    Invite, InviteChannel, InviteCreate, InviteDelete, InviteGuild, Message, MessageDelete,
    MessageDeleteBulk, TypingStart,
};
pub use voice_channel::{
    Asked, ChannelInfo, ChannelInfoEntry, StageInstance, VoiceChannelStartTime, VoiceChannelStatus,
    unix_seconds,
};

use serde::{Deserialize, Serialize};

use model::{
    ChannelId, GuildId, MessageId, OverwriteTarget, Permissions, PresenceStatus, RoleId, UnixMs, UserId,
};

/// A list this server always leaves empty, but which must be there.
pub type Nothing = Vec<serde_json::Value>;

/// A user as others see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    pub id: UserId,
    pub username: String,
    #[serde(default = "no_discriminator")]
    pub discriminator: String,
    #[serde(default)]
    pub avatar: Option<String>,
    #[serde(default)]
    pub global_name: Option<String>,
    #[serde(default)]
    pub bot: bool,
    #[serde(default)]
    pub public_flags: u64,
}

impl From<&model::User> for User {
    fn from(user: &model::User) -> Self {
        Self {
            id: user.id,
            username: user.name.clone(),
            discriminator: no_discriminator(),
            avatar: None,
            global_name: user.display_name.clone(),
            bot: user.bot,
            public_flags: 0,
        }
    }
}

/// "0" says: names are unique by themselves.
fn no_discriminator() -> String {
    "0".to_owned()
}

/// A user as it sees itself, in READY and GET /users/@me.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CurrentUser {
    #[serde(flatten)]
    pub user: User,
    #[serde(default)]
    pub mfa_enabled: bool,
    #[serde(default)]
    pub verified: bool,
    #[serde(default)]
    pub email: Option<String>,
    #[serde(default)]
    pub flags: u64,
    #[serde(default)]
    pub locale: Option<String>,
}

impl From<&model::User> for CurrentUser {
    fn from(user: &model::User) -> Self {
        Self {
            user: user.into(),
            mfa_enabled: false,
            verified: true,
            email: None,
            flags: 0,
            locale: Some(LOCALE.to_owned()),
        }
    }
}

const LOCALE: &str = "en-US";

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoleColors {
    pub primary_color: u32,
    #[serde(default)]
    pub secondary_color: Option<u32>,
    #[serde(default)]
    pub tertiary_color: Option<u32>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Role {
    pub id: RoleId,
    pub name: String,
    #[serde(default)]
    pub color: u32,
    #[serde(default = "RoleColors::none")]
    pub colors: RoleColors,
    #[serde(default)]
    pub hoist: bool,
    #[serde(default)]
    pub position: u16,
    pub permissions: Permissions,
    #[serde(default)]
    pub managed: bool,
    #[serde(default)]
    pub mentionable: bool,
    #[serde(default)]
    pub flags: u32,
    #[serde(default)]
    pub icon: Option<String>,
    #[serde(default)]
    pub unicode_emoji: Option<String>,
}

impl RoleColors {
    fn none() -> Self {
        Self { primary_color: 0, secondary_color: None, tertiary_color: None }
    }
}

impl From<&model::Role> for Role {
    fn from(role: &model::Role) -> Self {
        Self {
            id: role.id,
            name: role.name.clone(),
            color: role.color,
            colors: RoleColors { primary_color: role.color, ..RoleColors::none() },
            hoist: role.hoist,
            position: role.position,
            permissions: role.permissions,
            managed: false,
            mentionable: role.mentionable,
            flags: 0,
            icon: None,
            unicode_emoji: None,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Overwrite {
    /// A role's or a member's id, as `type` says.
    pub id: RoleId,
    /// 0 role, 1 member.
    #[serde(rename = "type")]
    pub kind: u8,
    pub allow: Permissions,
    pub deny: Permissions,
}

impl From<&model::Overwrite> for Overwrite {
    fn from(overwrite: &model::Overwrite) -> Self {
        let (id, kind) = match overwrite.target {
            OverwriteTarget::Role(id) => (id, 0),
            OverwriteTarget::Member(id) => (RoleId(id.0), 1),
        };
        Self { id, kind, allow: overwrite.allow, deny: overwrite.deny }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Channel {
    pub id: ChannelId,
    #[serde(rename = "type")]
    pub kind: u8,
    pub guild_id: GuildId,
    pub name: String,
    #[serde(default)]
    pub position: u16,
    #[serde(default)]
    pub permission_overwrites: Vec<Overwrite>,
    #[serde(default)]
    pub parent_id: Option<ChannelId>,
    #[serde(default)]
    pub topic: Option<String>,
    #[serde(default)]
    pub nsfw: bool,
    #[serde(default)]
    pub flags: u32,
    #[serde(default)]
    pub last_message_id: Option<MessageId>,
    #[serde(default)]
    pub rate_limit_per_user: u32,
    /// What only voice and stage channels have.
    #[serde(flatten)]
    pub voice: Option<ChannelVoice>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChannelVoice {
    pub bitrate: u32,
    pub user_limit: u16,
    #[serde(default)]
    pub rtc_region: Option<String>,
    /// 1 lets the client choose, 2 is 720p.
    #[serde(default)]
    pub video_quality_mode: u8,
}

impl Channel {
    pub fn new(guild: GuildId, channel: &model::Channel) -> Self {
        Self {
            id: channel.id,
            kind: channel.kind as u8,
            guild_id: guild,
            name: channel.name.clone(),
            position: channel.position,
            permission_overwrites: channel.overwrites.iter().map(Overwrite::from).collect(),
            parent_id: channel.parent,
            topic: channel.topic.clone(),
            nsfw: false,
            flags: 0,
            last_message_id: channel.last_message,
            rate_limit_per_user: 0,
            voice: channel.kind.is_voice().then(|| ChannelVoice {
                bitrate: channel.bitrate,
                user_limit: channel.user_limit,
                rtc_region: channel.region.as_ref().map(|region| region.0.clone()),
                video_quality_mode: channel.video_quality as u8,
            }),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Absent inside a message, whose author is the user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<User>,
    #[serde(default)]
    pub nick: Option<String>,
    #[serde(default)]
    pub avatar: Option<String>,
    pub roles: Vec<RoleId>,
    pub joined_at: String,
    #[serde(default)]
    pub premium_since: Option<String>,
    #[serde(default)]
    pub deaf: bool,
    #[serde(default)]
    pub mute: bool,
    #[serde(default)]
    pub flags: u32,
    #[serde(default)]
    pub pending: bool,
    #[serde(default)]
    pub communication_disabled_until: Option<String>,
}

impl Member {
    pub fn new(member: &model::Member, user: &model::User) -> Self {
        Self { user: Some(user.into()), ..Self::without_user(member) }
    }

    pub fn without_user(member: &model::Member) -> Self {
        Self {
            user: None,
            nick: member.nick.clone(),
            avatar: None,
            roles: member.roles.clone(),
            joined_at: member.joined_at.iso8601(),
            premium_since: None,
            deaf: member.deaf,
            mute: member.mute,
            flags: 0,
            pending: false,
            communication_disabled_until: member.timed_out_until.map(UnixMs::iso8601),
        }
    }
}

/// GUILD_MEMBER_ADD and GUILD_MEMBER_UPDATE.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberEvent {
    pub guild_id: GuildId,
    #[serde(flatten)]
    pub member: Member,
}

/// GUILD_MEMBER_REMOVE, GUILD_BAN_ADD and GUILD_BAN_REMOVE.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserEvent {
    pub guild_id: GuildId,
    pub user: User,
}

/// An entry of GUILD_CREATE's `voice_states`, or with `guild_id` and `member` a VOICE_STATE_UPDATE.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VoiceState {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guild_id: Option<GuildId>,
    pub channel_id: Option<ChannelId>,
    pub user_id: UserId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member: Option<Member>,
    pub session_id: String,
    pub deaf: bool,
    pub mute: bool,
    pub self_deaf: bool,
    pub self_mute: bool,
    #[serde(default)]
    pub self_video: bool,
    #[serde(default)]
    pub self_stream: bool,
    #[serde(default)]
    pub suppress: bool,
    #[serde(default)]
    pub request_to_speak_timestamp: Option<String>,
}

impl From<&model::VoiceState> for VoiceState {
    fn from(state: &model::VoiceState) -> Self {
        Self {
            guild_id: None,
            channel_id: Some(state.channel),
            user_id: state.user,
            member: None,
            session_id: state.session.to_string(),
            deaf: state.deaf,
            mute: state.mute,
            self_deaf: state.flags.self_deaf,
            self_mute: state.flags.self_mute,
            self_video: state.flags.self_video,
            self_stream: state.flags.self_stream,
            suppress: state.suppress,
            request_to_speak_timestamp: state.request_to_speak.map(UnixMs::iso8601),
        }
    }
}

/// VOICE_SERVER_UPDATE. Without an endpoint: no voice server yet, wait for the next of these.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VoiceServer {
    pub token: String,
    pub guild_id: GuildId,
    pub endpoint: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserRef {
    pub id: UserId,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Presence {
    pub user: UserRef,
    pub guild_id: GuildId,
    pub status: String,
    pub activities: Nothing,
    pub client_status: ClientStatus,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientStatus {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub desktop: Option<String>,
}

impl Presence {
    pub fn new(guild: GuildId, user: UserId, status: PresenceStatus) -> Self {
        let online = status != PresenceStatus::Offline;
        Self {
            user: UserRef { id: user },
            guild_id: guild,
            status: status.as_str().to_owned(),
            activities: Vec::new(),
            client_status: ClientStatus { desktop: online.then(|| status.as_str().to_owned()) },
        }
    }
}

/// A guild as GUILD_UPDATE and REST carry it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Guild {
    pub id: GuildId,
    pub name: String,
    pub owner_id: UserId,
    /// Null lets placement choose.
    #[serde(default)]
    pub region: Option<String>,
    #[serde(default)]
    pub icon: Option<String>,
    #[serde(default)]
    pub splash: Option<String>,
    #[serde(default)]
    pub discovery_splash: Option<String>,
    #[serde(default)]
    pub banner: Option<String>,
    #[serde(default)]
    pub description: Option<String>,
    #[serde(default)]
    pub afk_channel_id: Option<ChannelId>,
    #[serde(default)]
    pub afk_timeout: u32,
    #[serde(default)]
    pub verification_level: u8,
    #[serde(default)]
    pub default_message_notifications: u8,
    #[serde(default)]
    pub explicit_content_filter: u8,
    pub roles: Vec<Role>,
    #[serde(default)]
    pub emojis: Nothing,
    #[serde(default)]
    pub stickers: Nothing,
    #[serde(default)]
    pub features: Nothing,
    #[serde(default)]
    pub mfa_level: u8,
    #[serde(default)]
    pub application_id: Option<UserId>,
    #[serde(default)]
    pub system_channel_id: Option<ChannelId>,
    #[serde(default)]
    pub system_channel_flags: u32,
    #[serde(default)]
    pub rules_channel_id: Option<ChannelId>,
    #[serde(default)]
    pub public_updates_channel_id: Option<ChannelId>,
    #[serde(default)]
    pub safety_alerts_channel_id: Option<ChannelId>,
    #[serde(default)]
    pub vanity_url_code: Option<String>,
    #[serde(default)]
    pub widget_enabled: bool,
    #[serde(default)]
    pub premium_tier: u8,
    #[serde(default)]
    pub premium_subscription_count: u32,
    #[serde(default)]
    pub premium_progress_bar_enabled: bool,
    #[serde(default)]
    pub preferred_locale: String,
    #[serde(default)]
    pub nsfw_level: u8,
    #[serde(default)]
    pub max_members: u32,
    #[serde(default)]
    pub max_video_channel_users: u32,
    #[serde(default)]
    pub max_stage_video_channel_users: u32,
}

impl Guild {
    pub fn new(guild: &model::Guild, limits: GuildLimits) -> Self {
        Self {
            id: guild.id,
            name: guild.name.clone(),
            owner_id: guild.owner,
            region: guild.region.as_ref().map(|region| region.0.clone()),
            icon: None,
            splash: None,
            discovery_splash: None,
            banner: None,
            description: None,
            afk_channel_id: None,
            afk_timeout: 300,
            verification_level: 0,
            default_message_notifications: 0,
            explicit_content_filter: 0,
            roles: guild.roles.iter().map(Role::from).collect(),
            emojis: Vec::new(),
            stickers: Vec::new(),
            features: Vec::new(),
            mfa_level: 0,
            application_id: None,
            system_channel_id: None,
            system_channel_flags: 0,
            rules_channel_id: None,
            public_updates_channel_id: None,
            safety_alerts_channel_id: None,
            vanity_url_code: None,
            widget_enabled: false,
            premium_tier: 0,
            premium_subscription_count: 0,
            premium_progress_bar_enabled: false,
            preferred_locale: LOCALE.to_owned(),
            nsfw_level: 0,
            max_members: limits.members,
            max_video_channel_users: limits.video_users,
            max_stage_video_channel_users: limits.video_users,
        }
    }
}

/// What a guild object says of the limits its owner enforces.
#[derive(Debug, Clone, Copy)]
pub struct GuildLimits {
    pub members: u32,
    pub video_users: u32,
}

/// GUILD_CREATE: the guild with everything a session needs to begin with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuildCreate {
    #[serde(flatten)]
    pub guild: Guild,
    /// Literally false: discord.js keeps a guild without it unavailable.
    pub unavailable: bool,
    /// When the receiving user joined.
    pub joined_at: String,
    pub large: bool,
    pub member_count: u32,
    pub voice_states: Vec<VoiceState>,
    pub members: Vec<Member>,
    pub channels: Vec<Channel>,
    #[serde(default)]
    pub threads: Nothing,
    pub presences: Vec<Presence>,
    #[serde(default)]
    pub stage_instances: Vec<StageInstance>,
    #[serde(default)]
    pub guild_scheduled_events: Nothing,
    #[serde(default)]
    pub soundboard_sounds: Nothing,
}

/// An entry of GET /users/@me/guilds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuildEntry {
    pub id: GuildId,
    pub name: String,
    #[serde(default)]
    pub icon: Option<String>,
    #[serde(default)]
    pub owner: bool,
    pub permissions: Permissions,
    #[serde(default)]
    pub features: Nothing,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoleEvent {
    pub guild_id: GuildId,
    pub role: Role,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoleDelete {
    pub guild_id: GuildId,
    pub role_id: RoleId,
}

/// GUILD_MEMBERS_CHUNK.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MembersChunk {
    pub guild_id: GuildId,
    pub members: Vec<Member>,
    pub chunk_index: u32,
    pub chunk_count: u32,
    #[serde(default)]
    pub not_found: Vec<UserId>,
    #[serde(default)]
    pub presences: Vec<Presence>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nonce: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ban {
    pub reason: Option<String>,
    pub user: User,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Region {
    pub id: String,
    pub name: String,
    pub optimal: bool,
    pub deprecated: bool,
    pub custom: bool,
}

impl Region {
    pub fn new(id: &model::RegionId) -> Self {
        Self { id: id.0.clone(), name: id.0.clone(), optimal: false, deprecated: false, custom: false }
    }
}

/// The reply to a registration, a login, or the making of a bot: the one time the token is shown.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credentials {
    pub user_id: UserId,
    pub token: String,
    pub user: User,
    pub user_settings: UserSettings,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Credentials({:?}, …)", self.user_id)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserSettings {
    pub locale: String,
    pub theme: String,
}

impl Credentials {
    pub fn new(user: &model::User, token: String) -> Self {
        let user_settings = UserSettings { locale: LOCALE.to_owned(), theme: "dark".to_owned() };
        Self { user_id: user.id, token, user: user.into(), user_settings }
    }
}

/// A voice server as the operator sees it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VoiceServerStatus {
    pub id: String,
    pub region: String,
    pub endpoint: String,
    pub health: String,
    pub draining: bool,
    pub version: String,
    pub capacity: u32,
    pub guilds: u32,
    pub participants: u32,
    pub packets_in_per_s: u64,
    pub packets_out_per_s: u64,
    pub busiest_shard: f32,
    pub relay: RelayStatus,
}

/// A voice server's relay as the operator sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelayStatus {
    pub version: String,
    pub restarts: u32,
    pub last_end: Option<String>,
    pub next_start_in_ms: Option<u64>,
    pub legs_left_out: u32,
    pub upgrade: Option<UpgradeStatus>,
}

/// What came of the last wish for another program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpgradeStatus {
    /// By which whoever wished knows it.
    pub number: String,
    /// `underway`, `done` or `failed`.
    pub state: String,
    pub error: Option<String>,
}

#[cfg(test)]
mod tests;
