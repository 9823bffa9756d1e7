//! Bodies of REST requests. A field that may be absent, null or present is a [`Patch`].

use serde::{Deserialize, Deserializer, Serialize};

use model::{ChannelId, GuildId, Permissions, RoleId, UserId};

/// The three states of a field in a PATCH body: absent keeps, null clears, a value sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Patch<T> {
    #[default]
    Keep,
    Clear,
    Set(T),
}

impl<T> Patch<T> {
    pub fn is_keep(&self) -> bool {
        matches!(self, Self::Keep)
    }

    /// The new value given the old one.
    pub fn apply(self, old: Option<T>) -> Option<T> {
        match self {
            Self::Keep => old,
            Self::Clear => None,
            Self::Set(new) => Some(new),
        }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Patch<T> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        Ok(Option::<T>::deserialize(d)?.map_or(Self::Clear, Self::Set))
    }
}

impl<T: Serialize> Serialize for Patch<T> {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Set(value) => s.serialize_some(value),
            _ => s.serialize_none(),
        }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Register {
    pub username: String,
    pub password: String,
    #[serde(default)]
    pub global_name: Option<String>,
    /// An invite makes the new account a member of its guild at once.
    #[serde(default)]
    pub invite: Option<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Login {
    pub login: String,
    pub password: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CreateGuild {
    pub name: String,
    #[serde(default)]
    pub region: Option<String>,
}

/// The operator's.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ModifyServer {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub draining: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upgrade_relay: Option<UpgradeRelay>,
}

/// The operator's wish for another relay.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct UpgradeRelay {
    /// A program on the voice server's machine, by its whole path; the one that it is now if none is given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub program: Option<String>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ModifyGuild {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(skip_serializing_if = "Patch::is_keep")]
    pub region: Patch<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner_id: Option<UserId>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct OverwriteBody {
    #[serde(default)]
    pub id: Option<u64>,
    /// 0 role, 1 member.
    #[serde(rename = "type")]
    pub kind: u8,
    #[serde(default)]
    pub allow: Permissions,
    #[serde(default)]
    pub deny: Permissions,
}

/// POST of a guild's channels and PATCH of one. On creation `name` must be there.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ChannelBody {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<u8>,
    #[serde(skip_serializing_if = "Patch::is_keep")]
    pub topic: Patch<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub position: Option<u16>,
    #[serde(skip_serializing_if = "Patch::is_keep")]
    pub parent_id: Patch<ChannelId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bitrate: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_limit: Option<u16>,
    #[serde(skip_serializing_if = "Patch::is_keep")]
    pub rtc_region: Patch<String>,
    /// 1 auto, 2 720p; null is auto.
    #[serde(skip_serializing_if = "Patch::is_keep")]
    pub video_quality_mode: Patch<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub permission_overwrites: Option<Vec<OverwriteEntry>>,
}

/// An overwrite inside a channel body, where it names its own target.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct OverwriteEntry {
    /// A role's or a member's id, as `type` says.
    pub id: RoleId,
    #[serde(rename = "type")]
    pub kind: u8,
    #[serde(default)]
    pub allow: Permissions,
    #[serde(default)]
    pub deny: Permissions,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct RoleBody {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub permissions: Option<Permissions>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub color: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hoist: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mentionable: Option<bool>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ModifyMember {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mute: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deaf: Option<bool>,
    /// Set moves the member to that voice channel, Clear disconnects it.
    #[serde(skip_serializing_if = "Patch::is_keep")]
    pub channel_id: Patch<ChannelId>,
    #[serde(skip_serializing_if = "Patch::is_keep")]
    pub nick: Patch<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub roles: Option<Vec<RoleId>>,
    /// ISO 8601.
    #[serde(skip_serializing_if = "Patch::is_keep")]
    pub communication_disabled_until: Patch<String>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ModifyVoiceState {
    pub channel_id: Option<ChannelId>,
    pub suppress: Option<bool>,
    #[serde(skip_serializing_if = "Patch::is_keep")]
    pub request_to_speak_timestamp: Patch<String>,
}

/// POST of a stage instance and PATCH of one. On creation `channel_id` and `topic` must be there.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct StageInstanceBody {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub channel_id: Option<ChannelId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub privacy_level: Option<u64>,
}

/// PUT of a voice channel's status. Null and an empty text clear it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct VoiceStatusBody {
    #[serde(skip_serializing_if = "Patch::is_keep")]
    pub status: Patch<String>,
}

/// Where a role goes, in PATCH of a guild's roles.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RolePosition {
    pub id: RoleId,
    #[serde(default)]
    pub position: Option<u16>,
}

/// Where a channel goes, in PATCH of a guild's channels.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ChannelPosition {
    pub id: ChannelId,
    #[serde(default)]
    pub position: Option<u16>,
    #[serde(default, skip_serializing_if = "Patch::is_keep")]
    pub parent_id: Patch<ChannelId>,
    /// Gives the channel its category's overwrites.
    #[serde(default)]
    pub lock_permissions: Option<bool>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct MessageBody {
    pub content: Option<String>,
    pub nonce: Option<serde_json::Value>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct InviteBody {
    /// Seconds; 0 never expires; a day unless said.
    pub max_age: Option<u32>,
    pub max_uses: Option<u32>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct BanBody {
    pub reason: Option<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CreateBot {
    pub name: String,
    /// Added to this guild at once.
    #[serde(default)]
    pub guild_id: Option<GuildId>,
}
