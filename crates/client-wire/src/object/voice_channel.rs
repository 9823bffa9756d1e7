//! What is true of a voice or stage channel while people are in it.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use model::{ChannelId, GuildId, StageInstanceId, UnixMs};

/// What is on on a stage: an entry of GUILD_CREATE's `stage_instances`, the STAGE_INSTANCE events, and what REST carries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageInstance {
    pub id: StageInstanceId,
    pub guild_id: GuildId,
    pub channel_id: ChannelId,
    pub topic: String,
    pub privacy_level: u8,
    #[serde(default)]
    pub discoverable_disabled: bool,
    #[serde(default)]
    pub guild_scheduled_event_id: Option<String>,
}

impl StageInstance {
    /// The guild's members alone; the protocol has had another, and no longer lets one choose it.
    pub const GUILD_ONLY: u8 = 2;

    pub fn new(id: StageInstanceId, guild: GuildId, channel: ChannelId, topic: &str) -> Self {
        Self {
            id,
            guild_id: guild,
            channel_id: channel,
            topic: topic.to_owned(),
            privacy_level: Self::GUILD_ONLY,
            discoverable_disabled: true,
            guild_scheduled_event_id: None,
        }
    }
}

/// VOICE_CHANNEL_STATUS_UPDATE.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VoiceChannelStatus {
    pub id: ChannelId,
    pub guild_id: GuildId,
    pub status: Option<String>,
}

/// VOICE_CHANNEL_START_TIME_UPDATE.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VoiceChannelStartTime {
    pub id: ChannelId,
    pub guild_id: GuildId,
    /// Seconds since the epoch; none when the last person has left.
    pub voice_start_time: Option<u64>,
}

impl VoiceChannelStartTime {
    pub fn new(guild: GuildId, channel: ChannelId, since: Option<UnixMs>) -> Self {
        Self { id: channel, guild_id: guild, voice_start_time: since.map(unix_seconds) }
    }
}

/// CHANNEL_INFO.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChannelInfo {
    pub guild_id: GuildId,
    pub channels: Vec<ChannelInfoEntry>,
}

/// A field that was not asked for is not there; one that was and has no value is null.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChannelInfoEntry {
    pub id: ChannelId,
    #[serde(default, skip_serializing_if = "Asked::is_not")]
    pub status: Asked<String>,
    #[serde(default, skip_serializing_if = "Asked::is_not")]
    pub voice_start_time: Asked<u64>,
}

/// A fact that a client has asked for, or not.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Asked<T> {
    #[default]
    Not,
    For(Option<T>),
}

impl<T> Asked<T> {
    pub fn when(is_asked: bool, fact: Option<T>) -> Self {
        if is_asked { Self::For(fact) } else { Self::Not }
    }

    fn is_not(&self) -> bool {
        matches!(self, Self::Not)
    }
}

impl<T: Serialize> Serialize for Asked<T> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::For(fact) => fact.serialize(s),
            Self::Not => s.serialize_none(),
        }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Asked<T> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        Option::deserialize(d).map(Self::For)
    }
}

/// As the protocol counts the time at which a channel's first person came.
pub fn unix_seconds(at: UnixMs) -> u64 {
    at.0 / 1_000
}
