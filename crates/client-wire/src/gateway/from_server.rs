//! What the server sends.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use model::{GuildId, UserId};

use super::{FrameError, Opcode};

/// A frame as a client reads it. The server writes dispatches with [`encode_dispatch`] instead, from a
/// payload shared by many.
#[derive(Debug, Clone)]
pub enum FromServer {
    Dispatch {
        seq: u64,
        /// The event's name.
        t: String,
        d: Box<RawValue>,
    },
    /// The server wants a heartbeat at once.
    Heartbeat,
    Reconnect,
    InvalidSession {
        may_resume: bool,
    },
    Hello {
        heartbeat_interval_ms: u64,
    },
    HeartbeatAck,
}

#[derive(Deserialize)]
struct Envelope<'a> {
    op: u64,
    #[serde(default)]
    s: Option<u64>,
    #[serde(default)]
    t: Option<String>,
    #[serde(borrow, default)]
    d: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Hello {
    heartbeat_interval: u64,
}

impl FromServer {
    pub fn parse(frame: &[u8]) -> Result<Self, FrameError> {
        let Envelope { op, s, t, d } = serde_json::from_slice(frame).map_err(|_| FrameError::Decode)?;
        match Opcode::from_number(op).ok_or(FrameError::UnknownOpcode)? {
            Opcode::Dispatch => Ok(Self::Dispatch {
                seq: s.ok_or(FrameError::Decode)?,
                t: t.ok_or(FrameError::Decode)?,
                d: d.unwrap_or(RawValue::NULL).to_owned(),
            }),
            Opcode::Heartbeat => Ok(Self::Heartbeat),
            Opcode::Reconnect => Ok(Self::Reconnect),
            Opcode::InvalidSession => {
                Ok(Self::InvalidSession { may_resume: d.is_some_and(|d| d.get() == "true") })
            }
            Opcode::Hello => {
                let hello: Hello = serde_json::from_str(d.ok_or(FrameError::Decode)?.get())
                    .map_err(|_| FrameError::Decode)?;
                Ok(Self::Hello { heartbeat_interval_ms: hello.heartbeat_interval })
            }
            Opcode::HeartbeatAck => Ok(Self::HeartbeatAck),
            _ => Err(FrameError::UnknownOpcode),
        }
    }

    pub fn encode(&self) -> String {
        let (op, d) = match self {
            Self::Dispatch { seq, t, d } => return encode_dispatch(*seq, t, d),
            Self::Heartbeat => (Opcode::Heartbeat, "null".to_owned()),
            Self::Reconnect => (Opcode::Reconnect, "null".to_owned()),
            // Never null: discord.js calls a method of it.
            Self::InvalidSession { may_resume } => (Opcode::InvalidSession, may_resume.to_string()),
            Self::Hello { heartbeat_interval_ms } => {
                (Opcode::Hello, format!(r#"{{"heartbeat_interval":{heartbeat_interval_ms}}}"#))
            }
            Self::HeartbeatAck => (Opcode::HeartbeatAck, "null".to_owned()),
        };
        format!(r#"{{"op":{},"d":{d},"s":null,"t":null}}"#, op as u8)
    }
}

/// A dispatch around a payload that is copied as it is. `t` is a name of the protocol's and needs no
/// escaping.
pub fn encode_dispatch(seq: u64, t: &str, d: &RawValue) -> String {
    use std::fmt::Write as _;
    let d = d.get();
    let mut frame = String::with_capacity(d.len() + t.len() + 48);
    write!(frame, r#"{{"op":0,"s":{seq},"t":"{t}","d":"#).expect("a string takes everything");
    frame.push_str(d);
    frame.push('}');
    frame
}

/// The first dispatch of a session.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Ready {
    pub v: u8,
    /// The user object of the session's own account.
    pub user: Box<RawValue>,
    pub guilds: Vec<UnavailableGuild>,
    pub session_id: String,
    /// Scheme, host and port only: clients append their own path and query.
    pub resume_gateway_url: String,
    /// (id, count).
    #[serde(default)]
    pub shard: (u64, u64),
    pub application: Application,
    #[serde(default, skip_deserializing)]
    pub private_channels: [(); 0],
    #[serde(default, skip_deserializing)]
    pub relationships: [(); 0],
    #[serde(default, skip_deserializing)]
    pub presences: [(); 0],
    #[serde(default, skip_deserializing, rename = "_trace")]
    pub trace: [(); 0],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnavailableGuild {
    pub id: GuildId,
    pub unavailable: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Application {
    pub id: UserId,
    pub flags: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_exactly_what_clients_expect() {
        let check = |frame: FromServer, expect: &str| {
            let text = frame.encode();
            assert_eq!(text, expect);
            assert_eq!(FromServer::parse(text.as_bytes()).unwrap().encode(), expect);
        };
        check(
            FromServer::Hello { heartbeat_interval_ms: 41_250 },
            r#"{"op":10,"d":{"heartbeat_interval":41250},"s":null,"t":null}"#,
        );
        check(FromServer::InvalidSession { may_resume: false }, r#"{"op":9,"d":false,"s":null,"t":null}"#);
        check(FromServer::InvalidSession { may_resume: true }, r#"{"op":9,"d":true,"s":null,"t":null}"#);
        check(FromServer::HeartbeatAck, r#"{"op":11,"d":null,"s":null,"t":null}"#);
        check(FromServer::Reconnect, r#"{"op":7,"d":null,"s":null,"t":null}"#);
        check(FromServer::Heartbeat, r#"{"op":1,"d":null,"s":null,"t":null}"#);
        let d = RawValue::from_string(r#"{"_trace":[]}"#.to_owned()).unwrap();
        check(
            FromServer::Dispatch { seq: 3, t: "RESUMED".to_owned(), d },
            r#"{"op":0,"s":3,"t":"RESUMED","d":{"_trace":[]}}"#,
        );
    }

    #[test]
    fn ready_has_every_field_the_libraries_dereference() {
        let ready = Ready {
            v: 10,
            user: RawValue::from_string(r#"{"id":"1"}"#.to_owned()).unwrap(),
            guilds: vec![UnavailableGuild { id: GuildId(2), unavailable: true }],
            session_id: "ab".to_owned(),
            resume_gateway_url: "ws://localhost:1".to_owned(),
            shard: (0, 1),
            application: Application { id: UserId(1), flags: 0 },
            private_channels: [],
            relationships: [],
            presences: [],
            trace: [],
        };
        let text = serde_json::to_string(&ready).unwrap();
        assert_eq!(
            text,
            r#"{"v":10,"user":{"id":"1"},"guilds":[{"id":"2","unavailable":true}],"session_id":"ab","resume_gateway_url":"ws://localhost:1","shard":[0,1],"application":{"id":"1","flags":0},"private_channels":[],"relationships":[],"presences":[],"_trace":[]}"#
        );
        let read: Ready = serde_json::from_str(&text).unwrap();
        assert_eq!(read.guilds, ready.guilds);
    }

    #[test]
    fn frames_only_a_client_sends_are_refused() {
        for frame in ["", "{}", r#"{"op":2,"d":{}}"#, r#"{"op":0,"d":{}}"#, r#"{"op":10,"d":null}"#] {
            assert!(FromServer::parse(frame.as_bytes()).is_err(), "{frame}");
        }
    }
}
