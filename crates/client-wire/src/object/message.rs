//! Messages, typing, invites.

use serde::{Deserialize, Serialize};

use model::{ChannelId, GuildId, MessageId, RoleId, UnixMs, UserId};

use super::{Member, Nothing, User};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    pub id: MessageId,
    pub channel_id: ChannelId,
    /// Events only, as is `member`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guild_id: Option<GuildId>,
    pub author: User,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member: Option<Member>,
    pub content: String,
    pub timestamp: String,
    #[serde(default)]
    pub edited_timestamp: Option<String>,
    #[serde(default)]
    pub tts: bool,
    #[serde(default)]
    pub mention_everyone: bool,
    #[serde(default)]
    pub mentions: Vec<User>,
    #[serde(default)]
    pub mention_roles: Vec<RoleId>,
    #[serde(default)]
    pub attachments: Nothing,
    #[serde(default)]
    pub embeds: Nothing,
    #[serde(default)]
    pub pinned: bool,
    #[serde(rename = "type", default)]
    pub kind: u8,
    #[serde(default)]
    pub flags: u32,
    #[serde(default)]
    pub components: Nothing,
    /// What the sender gave to recognise its own message by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nonce: Option<serde_json::Value>,
}

impl Message {
    /// The message alone; mentions, guild and member are for the caller to add.
    pub fn new(message: &model::Message, author: &model::User) -> Self {
        Self {
            id: message.id,
            channel_id: message.channel,
            guild_id: None,
            author: author.into(),
            member: None,
            content: message.content.clone(),
            timestamp: message.id.created_at().iso8601(),
            edited_timestamp: message.edited_at.map(UnixMs::iso8601),
            tts: false,
            mention_everyone: false,
            mentions: Vec::new(),
            mention_roles: Vec::new(),
            attachments: Vec::new(),
            embeds: Vec::new(),
            pinned: false,
            kind: 0,
            flags: 0,
            components: Vec::new(),
            nonce: None,
        }
    }
}

/// MESSAGE_DELETE.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageDelete {
    pub id: MessageId,
    pub channel_id: ChannelId,
    pub guild_id: GuildId,
}

/// MESSAGE_DELETE_BULK.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageDeleteBulk {
    pub ids: Vec<MessageId>,
    pub channel_id: ChannelId,
    pub guild_id: GuildId,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TypingStart {
    pub channel_id: ChannelId,
    pub guild_id: GuildId,
    pub user_id: UserId,
    /// Unix seconds.
    pub timestamp: u64,
    pub member: Member,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InviteGuild {
    pub id: GuildId,
    pub name: String,
    #[serde(default)]
    pub icon: Option<String>,
    #[serde(default)]
    pub splash: Option<String>,
    #[serde(default)]
    pub banner: Option<String>,
    #[serde(default)]
    pub description: Option<String>,
    #[serde(default)]
    pub features: Nothing,
    #[serde(default)]
    pub verification_level: u8,
    #[serde(default)]
    pub vanity_url_code: Option<String>,
    #[serde(default)]
    pub nsfw_level: u8,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InviteChannel {
    pub id: ChannelId,
    pub name: String,
    #[serde(rename = "type")]
    pub kind: u8,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invite {
    pub code: String,
    #[serde(rename = "type", default)]
    pub kind: u8,
    pub guild: InviteGuild,
    pub channel: InviteChannel,
    #[serde(default)]
    pub inviter: Option<User>,
    pub uses: u32,
    pub max_uses: u32,
    /// Seconds; 0 never expires.
    pub max_age: u64,
    pub temporary: bool,
    pub created_at: String,
    pub expires_at: Option<String>,
    #[serde(default)]
    pub approximate_member_count: u32,
    #[serde(default)]
    pub approximate_presence_count: u32,
}

impl Invite {
    pub fn new(
        invite: &model::Invite,
        guild: &model::Guild,
        channel: &model::Channel,
        inviter: Option<&model::User>,
    ) -> Self {
        let max_age_ms = invite.expires_at.map_or(0, |at| at.0.saturating_sub(invite.created_at.0));
        Self {
            code: invite.code.clone(),
            kind: 0,
            guild: InviteGuild {
                id: guild.id,
                name: guild.name.clone(),
                icon: None,
                splash: None,
                banner: None,
                description: None,
                features: Vec::new(),
                verification_level: 0,
                vanity_url_code: None,
                nsfw_level: 0,
            },
            channel: InviteChannel { id: channel.id, name: channel.name.clone(), kind: channel.kind as u8 },
            inviter: inviter.map(User::from),
            uses: invite.uses,
            max_uses: invite.max_uses,
            max_age: max_age_ms / 1000,
            temporary: false,
            created_at: invite.created_at.iso8601(),
            expires_at: invite.expires_at.map(UnixMs::iso8601),
            approximate_member_count: guild.members.len() as u32,
            approximate_presence_count: 0,
        }
    }
}

/// INVITE_CREATE.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InviteCreate {
    pub guild_id: GuildId,
    pub channel_id: ChannelId,
    pub code: String,
    #[serde(default)]
    pub inviter: Option<User>,
    pub created_at: String,
    pub expires_at: Option<String>,
    pub max_age: u64,
    pub max_uses: u32,
    pub temporary: bool,
    pub uses: u32,
    #[serde(rename = "type", default)]
    pub kind: u8,
}

/// INVITE_DELETE.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InviteDelete {
    pub guild_id: GuildId,
    pub channel_id: ChannelId,
    pub code: String,
}
