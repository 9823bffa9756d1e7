//! What clients send. Reading is lenient: keys in any order, unknown keys, nulls for absent values, ids as
//! integers.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

use model::{ChannelId, GuildId, PresenceStatus, UserId};

use super::{FrameError, Opcode};

#[derive(Debug, Clone, PartialEq)]
pub enum FromClient {
    /// Carries the last sequence number the client has seen. The QoS heartbeat of user clients is read as
    /// this too.
    Heartbeat(Option<u64>),
    Identify(Box<Identify>),
    PresenceUpdate(PresenceUpdate),
    VoiceStateUpdate(VoiceStateUpdate),
    /// The client suspects its voice server; which guild's, it usually does not say.
    VoiceServerPing(Option<GuildId>),
    Resume(Resume),
    RequestGuildMembers(RequestGuildMembers),
    RequestChannelInfo(RequestChannelInfo),
    /// An opcode of the protocol whose service this server does not offer. Tolerated without an answer.
    NotOffered(Opcode),
}

#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct Identify {
    /// Some libraries put `Bot ` before it.
    pub token: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub intents: Option<u64>,
    /// (id, count).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shard: Option<(u64, u64)>,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "or_none")]
    pub presence: Option<PresenceUpdate>,
    #[serde(default, skip_deserializing)]
    pub properties: Properties,
}

/// What a client says of itself. The server has no use for it and does not read it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Properties {
    pub os: &'static str,
    pub browser: &'static str,
    pub device: &'static str,
}

impl Default for Properties {
    fn default() -> Self {
        Self { os: std::env::consts::OS, browser: "guildhall", device: "guildhall" }
    }
}

impl std::fmt::Debug for Identify {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The token is a secret and stays out of logs.
        f.debug_struct("Identify")
            .field("intents", &self.intents)
            .field("shard", &self.shard)
            .finish_non_exhaustive()
    }
}

/// Of a presence only the status is read: activities come in too many shapes and this server shows none.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PresenceUpdate {
    #[serde(default, deserialize_with = "or_none")]
    pub status: Option<String>,
    /// Written because other servers ask for it.
    #[serde(default, skip_deserializing)]
    pub activities: [(); 0],
    #[serde(default, skip_deserializing)]
    pub afk: bool,
    #[serde(default, skip_deserializing)]
    pub since: Option<u64>,
}

impl PresenceUpdate {
    pub fn new(status: PresenceStatus) -> Self {
        Self { status: Some(status.as_str().to_owned()), activities: [], afk: false, since: None }
    }

    /// An unknown or missing status counts as online; an invisible user is offline to everyone.
    pub fn status(&self) -> PresenceStatus {
        match self.status.as_deref() {
            Some("idle") => PresenceStatus::Idle,
            Some("dnd") => PresenceStatus::Dnd,
            Some("invisible" | "offline") => PresenceStatus::Offline,
            _ => PresenceStatus::Online,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VoiceStateUpdate {
    /// Null in calls outside guilds.
    #[serde(default)]
    pub guild_id: Option<GuildId>,
    /// None leaves.
    #[serde(default)]
    pub channel_id: Option<ChannelId>,
    #[serde(default, deserialize_with = "or_default")]
    pub self_mute: bool,
    #[serde(default, deserialize_with = "or_default")]
    pub self_deaf: bool,
    #[serde(default, deserialize_with = "or_default")]
    pub self_video: bool,
}

#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct Resume {
    pub token: String,
    pub session_id: String,
    /// The last sequence number the client has seen.
    #[serde(default, deserialize_with = "or_default")]
    pub seq: u64,
}

impl std::fmt::Debug for Resume {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Resume").field("seq", &self.seq).finish_non_exhaustive()
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RequestGuildMembers {
    /// Old libraries send a list of one.
    #[serde(deserialize_with = "first")]
    pub guild_id: GuildId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "one_or_many")]
    pub user_ids: Vec<UserId>,
    /// 0 asks for all that match.
    #[serde(default, deserialize_with = "or_default")]
    pub limit: u32,
    #[serde(default, deserialize_with = "or_default")]
    pub presences: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nonce: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RequestChannelInfo {
    pub guild_id: GuildId,
    #[serde(default)]
    pub fields: ChannelFields,
}

/// What a client asks to know of voice channels. A list of names on the wire, of which unknown ones are passed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ChannelFields {
    pub status: bool,
    pub voice_start_time: bool,
}

impl Serialize for ChannelFields {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let names = [(self.status, "status"), (self.voice_start_time, "voice_start_time")];
        s.collect_seq(names.into_iter().filter(|(asked, _)| *asked).map(|(_, name)| name))
    }
}

impl<'de> Deserialize<'de> for ChannelFields {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let names = serde_json::Value::deserialize(d)?;
        let asks = |name| names.as_array().is_some_and(|names| names.iter().any(|asked| asked == name));
        Ok(Self { status: asks("status"), voice_start_time: asks("voice_start_time") })
    }
}

/// Null reads as the type's default.
fn or_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(d: D) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(d)?.unwrap_or_default())
}

/// A value of the wrong shape reads as an absent one: it is not worth a connection.
fn or_none<'de, D: Deserializer<'de>, T: serde::de::DeserializeOwned>(d: D) -> Result<Option<T>, D::Error> {
    let value = serde_json::Value::deserialize(d)?;
    Ok(serde_json::from_value(value).ok())
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany<T> {
    One(T),
    Many(Vec<T>),
}

fn one_or_many<'de, D: Deserializer<'de>, T: Deserialize<'de>>(d: D) -> Result<Vec<T>, D::Error> {
    Ok(match Option::<OneOrMany<T>>::deserialize(d)? {
        None => Vec::new(),
        Some(OneOrMany::One(one)) => vec![one],
        Some(OneOrMany::Many(many)) => many,
    })
}

fn first<'de, D: Deserializer<'de>, T: Deserialize<'de>>(d: D) -> Result<T, D::Error> {
    one_or_many(d)?.into_iter().next().ok_or_else(|| serde::de::Error::custom("an empty list of guilds"))
}

#[derive(Deserialize)]
struct Envelope<'a> {
    op: u64,
    #[serde(borrow, default)]
    d: Option<&'a RawValue>,
}

/// What older and newer clients put into a heartbeat: the number alone, or an object that has it.
#[derive(Deserialize)]
#[serde(untagged)]
enum Beat {
    Seq(u64),
    Qos {
        #[serde(default)]
        seq: Option<u64>,
    },
}

#[derive(Deserialize)]
struct Ping {
    #[serde(default)]
    guild_id: Option<GuildId>,
}

impl FromClient {
    pub fn parse(frame: &[u8]) -> Result<Self, FrameError> {
        let envelope: Envelope<'_> = serde_json::from_slice(frame).map_err(|_| FrameError::Decode)?;
        let op = Opcode::from_number(envelope.op).ok_or(FrameError::UnknownOpcode)?;
        let d = envelope.d;
        Ok(match op {
            Opcode::Heartbeat | Opcode::QosHeartbeat => {
                Self::Heartbeat(optional::<Beat>(d)?.and_then(|beat| match beat {
                    Beat::Seq(seq) => Some(seq),
                    Beat::Qos { seq } => seq,
                }))
            }
            Opcode::Identify => Self::Identify(Box::new(required(d)?)),
            Opcode::PresenceUpdate => Self::PresenceUpdate(required(d)?),
            Opcode::VoiceStateUpdate => Self::VoiceStateUpdate(required(d)?),
            Opcode::VoiceServerPing => {
                Self::VoiceServerPing(optional::<Ping>(d).ok().flatten().and_then(|p| p.guild_id))
            }
            Opcode::Resume => Self::Resume(required(d)?),
            Opcode::RequestGuildMembers => Self::RequestGuildMembers(required(d)?),
            Opcode::RequestChannelInfo => Self::RequestChannelInfo(required(d)?),
            op if op.is_from_client() => Self::NotOffered(op),
            _ => return Err(FrameError::UnknownOpcode),
        })
    }

    pub fn opcode(&self) -> Opcode {
        match self {
            Self::Heartbeat(_) => Opcode::Heartbeat,
            Self::Identify(_) => Opcode::Identify,
            Self::PresenceUpdate(_) => Opcode::PresenceUpdate,
            Self::VoiceStateUpdate(_) => Opcode::VoiceStateUpdate,
            Self::VoiceServerPing(_) => Opcode::VoiceServerPing,
            Self::Resume(_) => Opcode::Resume,
            Self::RequestGuildMembers(_) => Opcode::RequestGuildMembers,
            Self::RequestChannelInfo(_) => Opcode::RequestChannelInfo,
            Self::NotOffered(op) => *op,
        }
    }

    /// The frame's text, for a client to send.
    pub fn encode(&self) -> String {
        let d = match self {
            Self::Heartbeat(seq) => serde_json::to_string(seq),
            Self::Identify(identify) => serde_json::to_string(identify),
            Self::PresenceUpdate(update) => serde_json::to_string(update),
            Self::VoiceStateUpdate(update) => serde_json::to_string(update),
            Self::Resume(resume) => serde_json::to_string(resume),
            Self::RequestGuildMembers(request) => serde_json::to_string(request),
            Self::RequestChannelInfo(request) => serde_json::to_string(request),
            Self::VoiceServerPing(Some(guild)) => Ok(format!(r#"{{"guild_id":"{guild}"}}"#)),
            Self::VoiceServerPing(None) | Self::NotOffered(_) => Ok("null".to_owned()),
        };
        let d = d.expect("these types have string keys and no failing serialisers");
        format!(r#"{{"op":{},"d":{d}}}"#, self.opcode() as u8)
    }
}

fn required<'a, T: Deserialize<'a>>(d: Option<&'a RawValue>) -> Result<T, FrameError> {
    serde_json::from_str(d.ok_or(FrameError::Decode)?.get()).map_err(|_| FrameError::Decode)
}

fn optional<'a, T: Deserialize<'a>>(d: Option<&'a RawValue>) -> Result<Option<T>, FrameError> {
    d.map(|d| serde_json::from_str(d.get()).map_err(|_| FrameError::Decode)).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(frame: &str, expect: Result<FromClient, FrameError>) {
        assert_eq!(FromClient::parse(frame.as_bytes()), expect, "{frame}");
    }

    fn identify(token: &str) -> Identify {
        Identify {
            token: token.into(),
            intents: None,
            shard: None,
            presence: None,
            properties: Properties::default(),
        }
    }

    #[test]
    fn heartbeats_come_in_every_shape() {
        check(r#"{"op":1,"d":null}"#, Ok(FromClient::Heartbeat(None)));
        check(r#"{"op":1}"#, Ok(FromClient::Heartbeat(None)));
        check(r#"{"d":7,"op":1}"#, Ok(FromClient::Heartbeat(Some(7))));
        check(r#"{"op":40,"d":{"seq":9,"qos":{"ver":26}}}"#, Ok(FromClient::Heartbeat(Some(9))));
        check(r#"{"op":40,"d":{"seq":null}}"#, Ok(FromClient::Heartbeat(None)));
        check(r#"{"op":1,"d":"x"}"#, Err(FrameError::Decode));
    }

    #[test]
    fn identify_is_read_as_libraries_write_it() {
        // serenity: a presence whose `since` is an object.
        let presence = Some(PresenceUpdate::new(PresenceStatus::Idle));
        check(
            r#"{"op":2,"d":{"token":"Bot t","intents":129,"shard":[0,1],"compress":true,"large_threshold":250,"properties":
               {"os":"linux","browser":"serenity","device":"serenity"},"presence":{"since":{"secs_since_epoch":1,
               "nanos_since_epoch":2},"afk":false,"status":"idle","activities":[]}}}"#,
            Ok(FromClient::Identify(Box::new(Identify {
                intents: Some(129),
                shard: Some((0, 1)),
                presence,
                ..identify("Bot t")
            }))),
        );
        // discord.py: `game` instead of activities.
        check(
            r#"{"op":2,"d":{"token":"t","properties":{},"compress":true,"large_threshold":250,"intents":null,
               "presence":{"status":"online","game":{"name":"x"},"since":0,"afk":false}}}"#,
            Ok(FromClient::Identify(Box::new(Identify {
                presence: Some(PresenceUpdate::new(PresenceStatus::Online)),
                ..identify("t")
            }))),
        );
        check(
            r#"{"op":2,"d":{"token":"t","presence":5}}"#,
            Ok(FromClient::Identify(Box::new(identify("t")))),
        );
        check(r#"{"op":2,"d":{"intents":1}}"#, Err(FrameError::Decode));
        check(r#"{"op":2,"d":{"token":"t","intents":-1}}"#, Err(FrameError::Decode));
        check(r#"{"op":2}"#, Err(FrameError::Decode));
    }

    #[test]
    fn voice_state_updates_carry_ids_as_strings_or_integers() {
        let update = VoiceStateUpdate {
            guild_id: Some(GuildId(175_928_847_299_117_063)),
            channel_id: Some(ChannelId(u64::MAX)),
            self_mute: false,
            self_deaf: true,
            self_video: false,
        };
        check(
            r#"{"d":{"guild_id":175928847299117063,"channel_id":18446744073709551615,"self_deaf":true,"self_mute":null},"op":4}"#,
            Ok(FromClient::VoiceStateUpdate(update.clone())),
        );
        check(
            &FromClient::VoiceStateUpdate(update.clone()).encode(),
            Ok(FromClient::VoiceStateUpdate(update.clone())),
        );
        check(
            r#"{"op":4,"d":{"guild_id":"1","channel_id":null,"self_mute":false,"self_deaf":false,"flags":2}}"#,
            Ok(FromClient::VoiceStateUpdate(VoiceStateUpdate {
                guild_id: Some(GuildId(1)),
                channel_id: None,
                self_deaf: false,
                ..update
            })),
        );
    }

    #[test]
    fn member_requests_take_one_or_many() {
        let request = |guild, user_ids: &[u64]| {
            FromClient::RequestGuildMembers(RequestGuildMembers {
                guild_id: GuildId(guild),
                query: None,
                user_ids: user_ids.iter().copied().map(UserId).collect(),
                limit: 0,
                presences: false,
                nonce: None,
            })
        };
        check(r#"{"op":8,"d":{"guild_id":"5","limit":0,"user_ids":"6"}}"#, Ok(request(5, &[6])));
        check(r#"{"op":8,"d":{"guild_id":["5"],"user_ids":[6,"7"],"limit":null}}"#, Ok(request(5, &[6, 7])));
        check(r#"{"op":8,"d":{"guild_id":[]}}"#, Err(FrameError::Decode));
        check(r#"{"op":8,"d":{"guild_id":"5","limit":-1}}"#, Err(FrameError::Decode));
    }

    #[test]
    fn of_the_fields_asked_for_only_known_ones_are_read() {
        let request = |status, voice_start_time| {
            let fields = ChannelFields { status, voice_start_time };
            FromClient::RequestChannelInfo(RequestChannelInfo { guild_id: GuildId(5), fields })
        };
        let both = r#"{"op":43,"d":{"guild_id":"5","fields":["status","voice_start_time"]}}"#;
        check(both, Ok(request(true, true)));
        check(&request(false, true).encode(), Ok(request(false, true)));
        check(r#"{"op":43,"d":{"guild_id":5,"fields":["age",7,null,"status"]}}"#, Ok(request(true, false)));
        check(r#"{"op":43,"d":{"guild_id":"5","fields":"status"}}"#, Ok(request(false, false)));
        check(r#"{"op":43,"d":{"guild_id":"5"}}"#, Ok(request(false, false)));
        check(r#"{"op":43,"d":{"fields":["status"]}}"#, Err(FrameError::Decode));
    }

    #[test]
    fn what_is_unknown_or_malformed_is_refused_and_what_is_not_offered_is_tolerated() {
        check(r#"{"op":5,"d":null}"#, Ok(FromClient::VoiceServerPing(None)));
        check(r#"{"op":5,"d":{"guild_id":"3"}}"#, Ok(FromClient::VoiceServerPing(Some(GuildId(3)))));
        check(
            r#"{"op":31,"d":{"guild_ids":["1"]}}"#,
            Ok(FromClient::NotOffered(Opcode::RequestSoundboardSounds)),
        );
        check(r#"{"op":18,"d":{"type":"guild"}}"#, Ok(FromClient::NotOffered(Opcode::StreamCreate)));
        check(r#"{"op":0,"d":{}}"#, Err(FrameError::UnknownOpcode));
        check(r#"{"op":10,"d":{}}"#, Err(FrameError::UnknownOpcode));
        check(r#"{"op":99,"d":{}}"#, Err(FrameError::UnknownOpcode));
        check(r#"{"op":"1"}"#, Err(FrameError::Decode));
        check(r#"{"op":-1}"#, Err(FrameError::Decode));
        check("{", Err(FrameError::Decode));
        check("", Err(FrameError::Decode));
        check("[]", Err(FrameError::Decode));
        check("\u{0}", Err(FrameError::Decode));
    }

    #[test]
    fn what_we_write_we_read() {
        let all = [
            FromClient::Heartbeat(Some(4)),
            FromClient::Identify(Box::new(Identify {
                intents: Some(1),
                shard: Some((1, 2)),
                ..identify("t\"")
            })),
            FromClient::PresenceUpdate(PresenceUpdate::new(PresenceStatus::Dnd)),
            FromClient::VoiceServerPing(Some(GuildId(1))),
            FromClient::Resume(Resume { token: "t".into(), session_id: "s".into(), seq: 3 }),
        ];
        for frame in all {
            check(&frame.encode(), Ok(frame));
        }
    }
}
