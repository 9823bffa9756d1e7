//! Guilds and what they consist of, as the owner of a guild keeps them.

use std::collections::BTreeMap;

use crate::{ChannelId, GuildId, MessageId, Permissions, RegionId, RoleId, UnixMs, UserId};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    pub id: UserId,
    pub name: String,
    pub display_name: Option<String>,
    pub bot: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Role {
    pub id: RoleId,
    pub name: String,
    pub permissions: Permissions,
    /// Height in the hierarchy; everyone's role is 0.
    pub position: u16,
    /// 0xRRGGBB; 0 is none.
    pub color: u32,
    pub hoist: bool,
    pub mentionable: bool,
}

impl Role {
    pub fn new(id: RoleId, name: &str, permissions: Permissions) -> Self {
        Self {
            id,
            name: name.to_owned(),
            permissions,
            position: 1,
            color: 0,
            hoist: false,
            mentionable: false,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OverwriteTarget {
    Role(RoleId),
    Member(UserId),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overwrite {
    pub target: OverwriteTarget,
    pub allow: Permissions,
    pub deny: Permissions,
}

/// The kinds of channel this server knows, with the protocol's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ChannelKind {
    Text = 0,
    Voice = 2,
    Category = 4,
    Stage = 13,
}

impl ChannelKind {
    pub fn from_number(n: u8) -> Option<Self> {
        [Self::Text, Self::Voice, Self::Category, Self::Stage].into_iter().find(|kind| *kind as u8 == n)
    }

    pub fn is_voice(self) -> bool {
        matches!(self, Self::Voice | Self::Stage)
    }
}

/// How clients are to send their cameras, with the protocol's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[repr(u8)]
pub enum VideoQuality {
    /// As each of them sees fit.
    #[default]
    Auto = 1,
    /// 1280 by 720.
    Full = 2,
}

impl VideoQuality {
    pub fn from_number(n: u8) -> Option<Self> {
        [Self::Auto, Self::Full].into_iter().find(|quality| *quality as u8 == n)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Channel {
    pub id: ChannelId,
    pub kind: ChannelKind,
    pub name: String,
    pub topic: Option<String>,
    pub position: u16,
    pub parent: Option<ChannelId>,
    pub overwrites: Vec<Overwrite>,
    /// Bits per second asked of speakers; voice and stage only.
    pub bitrate: u32,
    /// 0 means no limit.
    pub user_limit: u16,
    /// None lets the guild's region decide.
    pub region: Option<RegionId>,
    /// Voice and stage only.
    pub video_quality: VideoQuality,
    pub last_message: Option<MessageId>,
}

impl Channel {
    pub const DEFAULT_BITRATE: u32 = 64_000;

    pub fn new(id: ChannelId, kind: ChannelKind, name: &str) -> Self {
        Self {
            id,
            kind,
            name: name.to_owned(),
            topic: None,
            position: 0,
            parent: None,
            overwrites: Vec::new(),
            bitrate: Self::DEFAULT_BITRATE,
            user_limit: 0,
            region: None,
            video_quality: VideoQuality::default(),
            last_message: None,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    pub user: UserId,
    pub nick: Option<String>,
    pub roles: Vec<RoleId>,
    pub joined_at: UnixMs,
    /// Muted by a moderator; outlives the stay in a channel.
    pub mute: bool,
    /// Deafened by a moderator; outlives the stay in a channel.
    pub deaf: bool,
    pub timed_out_until: Option<UnixMs>,
}

impl Member {
    pub fn new(user: UserId, joined_at: UnixMs) -> Self {
        Self {
            user,
            nick: None,
            roles: Vec::new(),
            joined_at,
            mute: false,
            deaf: false,
            timed_out_until: None,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guild {
    pub id: GuildId,
    pub name: String,
    pub owner: UserId,
    /// None lets placement choose.
    pub region: Option<RegionId>,
    /// Contains the role of everyone, first.
    pub roles: Vec<Role>,
    pub channels: Vec<Channel>,
    pub members: BTreeMap<UserId, Member>,
}

impl Guild {
    /// An empty guild: its role of everyone and its owner as the one member are for the caller to add to.
    pub fn new(id: GuildId, name: &str, owner: UserId) -> Self {
        let mut everyone = Role::new(id.everyone(), "@everyone", Permissions::DEFAULT_EVERYONE);
        everyone.position = 0;
        Self {
            id,
            name: name.to_owned(),
            owner,
            region: None,
            roles: vec![everyone],
            channels: Vec::new(),
            members: BTreeMap::new(),
        }
    }

    pub fn member(&self, user: UserId) -> Option<&Member> {
        self.members.get(&user)
    }

    pub fn channel(&self, id: ChannelId) -> Option<&Channel> {
        self.channels.iter().find(|c| c.id == id)
    }

    pub fn role(&self, id: RoleId) -> Option<&Role> {
        self.roles.iter().find(|r| r.id == id)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    pub id: MessageId,
    pub channel: ChannelId,
    pub author: UserId,
    pub content: String,
    pub edited_at: Option<UnixMs>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invite {
    pub code: String,
    pub guild: GuildId,
    pub channel: ChannelId,
    pub inviter: UserId,
    pub created_at: UnixMs,
    /// None never expires.
    pub expires_at: Option<UnixMs>,
    pub uses: u32,
    /// 0 means unlimited.
    pub max_uses: u32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ban {
    pub user: UserId,
    pub reason: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub enum PresenceStatus {
    Online,
    Idle,
    Dnd,
    #[default]
    Offline,
}

impl PresenceStatus {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Online => "online",
            Self::Idle => "idle",
            Self::Dnd => "dnd",
            Self::Offline => "offline",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Presence {
    pub user: UserId,
    pub status: PresenceStatus,
}
