//! The form in which all of this travels between processes.
//!
//! An envelope is Protocol Buffers (proto3): fields are only ever added, and unknown ones skipped. What is in it is JSON, in which the REST
//! bodies are at home anyway: names that are missing mean their default, names that are not known are skipped. A message whose kind is
//! not known is an error of its own ([`Unreadable`]), and the stream goes on. Only dispatches, of which there are many, have fields of their own.

use std::sync::Arc;

use client_wire::error::ApiError;
use model::{GuildId, UserId};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use crate::guilds::{Audience, Call, CallResult, Dispatch, Event, GatewayId, Json, Reply, TokenMark};
use crate::name;
use crate::voice::{Report, ToVoice};

/// Raised when a message gains a meaning that the other side must understand.
pub const PROTOCOL: u32 = 3;
/// The oldest that is spoken with: at least the version before, so that a cluster can be brought to the next node by node.
pub const PROTOCOL_OLDEST: u32 = 1;
/// A message longer than this is a broken peer. A guild of 50,000 members stays below it.
pub const MESSAGE_BYTES_MAX: usize = 64 << 20;

/// The first message in each direction of each stream.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Hello {
    #[prost(uint32, tag = "1")]
    pub protocol: u32,
    /// Of the node.
    #[prost(string, tag = "2")]
    pub name: String,
    /// Of its process: random.
    #[prost(fixed64, tag = "3")]
    pub instance: u64,
    /// It is to be told events.
    #[prost(bool, tag = "4")]
    pub listens: bool,
}

impl Hello {
    pub fn new(name: impl Into<String>, instance: u64) -> Self {
        Self { protocol: PROTOCOL, name: name.into(), instance, listens: false }
    }

    /// A newer one decides for itself whether it understands us.
    pub fn is_understood(&self) -> bool {
        self.protocol >= PROTOCOL_OLDEST
    }

    /// Why it is not.
    pub fn strangeness(&self) -> String {
        format!(
            "{} speaks version {} of the protocol; this node knows {PROTOCOL_OLDEST} to {PROTOCOL}",
            self.name, self.protocol
        )
    }

    /// Who it is, where it is a gateway.
    pub fn gateway(&self) -> GatewayId {
        GatewayId(self.instance)
    }
}

/// From whoever calls guilds.
#[derive(Clone, PartialEq, prost::Message)]
pub struct FromCaller {
    #[prost(message, optional, tag = "1")]
    pub hello: Option<Hello>,
    /// Unique on the stream; the reply carries it.
    #[prost(uint64, tag = "2")]
    pub call: u64,
    #[prost(string, tag = "3")]
    pub json: String,
}

/// From guilds to whoever calls it. One field is set.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ToCaller {
    #[prost(message, optional, tag = "1")]
    pub hello: Option<Hello>,
    #[prost(message, optional, tag = "2")]
    pub reply: Option<ReplyTo>,
    #[prost(message, optional, tag = "3")]
    pub dispatch: Option<DispatchOf>,
    /// An event that is no dispatch, or empty.
    #[prost(string, tag = "4")]
    pub event: String,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ReplyTo {
    #[prost(uint64, tag = "1")]
    pub call: u64,
    #[prost(string, tag = "2")]
    pub json: String,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct DispatchOf {
    #[prost(fixed64, tag = "1")]
    pub guild: u64,
    #[prost(string, tag = "2")]
    pub t: String,
    #[prost(string, tag = "3")]
    pub d: String,
    #[prost(string, optional, tag = "4")]
    pub without_content: Option<String>,
    #[prost(uint64, tag = "5")]
    pub intents: u64,
    /// JSON of the audience, or empty for everyone who follows the guild.
    #[prost(string, tag = "6")]
    pub audience: String,
    #[prost(fixed64, optional, tag = "7")]
    pub always: Option<u64>,
    /// JSON, or empty.
    #[prost(string, tag = "8")]
    pub note: String,
}

/// From guilds to a voice server, and back: a hello, or JSON of a [`ToVoice`] or a [`Report`].
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct VoiceMessage {
    #[prost(message, optional, tag = "1")]
    pub hello: Option<Hello>,
    #[prost(string, tag = "2")]
    pub json: String,
}

/// A message of a kind, or in a form, that this version does not know.
#[derive(Debug, thiserror::Error)]
#[error("a message is not understood: {0}")]
pub struct Unreadable(String);

impl From<serde_json::Error> for Unreadable {
    fn from(error: serde_json::Error) -> Self {
        Self(error.to_string())
    }
}

impl FromCaller {
    pub fn hello(hello: Hello) -> Self {
        Self { hello: Some(hello), ..Self::default() }
    }

    pub fn call(id: u64, call: &Call) -> Self {
        Self { call: id, json: text(call), ..Self::default() }
    }

    pub fn read(&self) -> Result<Call, Unreadable> {
        read(&self.json)
    }
}

/// What guilds says to whoever calls it.
#[derive(Debug)]
pub enum Said {
    Hello(Hello),
    Reply(u64, CallResult),
    Event(Event),
}

impl ToCaller {
    pub fn hello(hello: Hello) -> Self {
        Self { hello: Some(hello), ..Self::default() }
    }

    pub fn reply(call: u64, result: &CallResult) -> Self {
        // The status of an error is not part of its body.
        let status = result.as_ref().err().map_or(0, |error| error.status);
        let json = text(&(status, result));
        Self { reply: Some(ReplyTo { call, json }), ..Self::default() }
    }

    pub fn event(event: &Event) -> Self {
        match event {
            Event::Dispatch { guild, dispatch } => {
                Self { dispatch: Some(DispatchOf::new(*guild, dispatch)), ..Self::default() }
            }
            other => Self { event: text(&Rare::of(other)), ..Self::default() },
        }
    }

    pub fn read(self) -> Result<Said, Unreadable> {
        if let Some(hello) = self.hello {
            return Ok(Said::Hello(hello));
        }
        if let Some(dispatch) = self.dispatch {
            return dispatch.read().map(Said::Event);
        }
        if let Some(ReplyTo { call, json }) = self.reply {
            let (status, result): (u16, Result<Reply, ApiError>) = read(&json)?;
            return Ok(Said::Reply(call, result.map_err(|error| error.with_status(status))));
        }
        read::<Rare>(&self.event).map(|rare| Said::Event(rare.into()))
    }
}

impl VoiceMessage {
    pub fn hello(hello: Hello) -> Self {
        Self { hello: Some(hello), json: String::new() }
    }

    pub fn order(order: &ToVoice) -> Self {
        Self { hello: None, json: text(order) }
    }

    pub fn report(report: &Report) -> Self {
        Self { hello: None, json: text(report) }
    }

    pub fn read_order(&self) -> Result<ToVoice, Unreadable> {
        read(&self.json)
    }

    pub fn read_report(&self) -> Result<Report, Unreadable> {
        read(&self.json)
    }
}

impl DispatchOf {
    fn new(guild: GuildId, dispatch: &Dispatch) -> Self {
        let Dispatch { t, d, without_content, intents, audience, always, note } = dispatch;
        Self {
            guild: guild.0,
            t: (*t).to_owned(),
            d: d.get().to_owned(),
            without_content: without_content.as_ref().map(|d| d.get().to_owned()),
            intents: *intents,
            audience: match audience {
                Audience::Guild => String::new(),
                other => text(other),
            },
            always: always.map(|user| user.0),
            note: note.as_ref().map(text).unwrap_or_default(),
        }
    }

    fn read(self) -> Result<Event, Unreadable> {
        let Self { guild, t, d, without_content, intents, audience, always, note } = self;
        let dispatch = Dispatch {
            t: name::intern(&t).ok_or_else(|| Unreadable("too many different events".to_owned()))?,
            d: raw(d)?,
            without_content: without_content.map(raw).transpose()?,
            intents,
            audience: if audience.is_empty() { Audience::Guild } else { read(&audience)? },
            always: always.map(UserId),
            note: if note.is_empty() { None } else { Some(read(&note)?) },
        };
        Ok(Event::Dispatch { guild: GuildId(guild), dispatch })
    }
}

/// Events that are no dispatches.
#[derive(Serialize, serde::Deserialize)]
enum Rare {
    Joined { guild: GuildId, user: UserId },
    Left { guild: GuildId, user: UserId },
    TokensRevoked { user: UserId, token: Option<TokenMark> },
    OwnerLost { guild: GuildId },
}

impl Rare {
    fn of(event: &Event) -> Self {
        match *event {
            Event::Joined { guild, user } => Self::Joined { guild, user },
            Event::Left { guild, user } => Self::Left { guild, user },
            Event::TokensRevoked { user, token } => Self::TokensRevoked { user, token },
            Event::OwnerLost { guild } => Self::OwnerLost { guild },
            Event::Dispatch { .. } => unreachable!("dispatches have fields of their own"),
        }
    }
}

impl From<Rare> for Event {
    fn from(rare: Rare) -> Self {
        match rare {
            Rare::Joined { guild, user } => Self::Joined { guild, user },
            Rare::Left { guild, user } => Self::Left { guild, user },
            Rare::TokensRevoked { user, token } => Self::TokensRevoked { user, token },
            Rare::OwnerLost { guild } => Self::OwnerLost { guild },
        }
    }
}

fn text(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("our messages have string keys and no failing serialisers")
}

fn read<T: DeserializeOwned>(text: &str) -> Result<T, Unreadable> {
    Ok(serde_json::from_str(text)?)
}

fn raw(text: String) -> Result<Json, Unreadable> {
    Ok(Arc::from(RawValue::from_string(text)?))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use client_wire::error::code;
    use client_wire::rest;
    use model::{
        ChannelId, PresenceStatus, ServerId, SessionId, StageInstanceId, UnixMs, VoiceFlags, VoiceState,
    };

    use super::*;
    use crate::guilds::{Account, Note, Op, Seat, Terms};
    use crate::voice::{ChannelMemo, Held, Memo, Order, OrderKind, Participant, Rights, StageMemo};

    fn seat() -> Seat {
        let state = VoiceState {
            user: UserId(1 << 60),
            channel: ChannelId(2),
            session: SessionId(u128::MAX),
            flags: VoiceFlags { self_mute: true, ..VoiceFlags::default() },
            mute: false,
            deaf: true,
            suppress: false,
            request_to_speak: Some(UnixMs(7)),
            joined_at: UnixMs(8),
        };
        Seat { state, server: Some(ServerId("eu-0".to_owned())) }
    }

    fn same_call(call: &Call) {
        let read = FromCaller::call(7, call).read().unwrap();
        assert_eq!(format!("{read:?}"), format!("{call:?}"));
    }

    #[test]
    fn calls_arrive_as_they_were_made() {
        let (guild, user, session) = (GuildId(3), UserId(4), SessionId(5));
        let (gateway, terms) =
            (GatewayId(u64::MAX), Terms { intents: u64::MAX, shard: (0, 1), status: PresenceStatus::Idle });
        same_call(&Call::Attach {
            guild,
            user,
            session,
            gateway,
            is_live: true,
            terms,
            seat: Some(Box::new(seat())),
            knows_seat: true,
        });
        same_call(&Call::UpdateVoice { guild, user, session, channel: None, flags: VoiceFlags::default() });
        same_call(&Call::Authenticate { token: "a\"b".to_owned() });
        // The three states of a field stay three.
        for region in [rest::Patch::Keep, rest::Patch::Clear, rest::Patch::Set("eu".to_owned())] {
            let body = rest::ModifyGuild { region, ..rest::ModifyGuild::default() };
            let op = Op::ModifyGuild(guild, body);
            same_call(&Call::Rest { actor: Some(user), operator: false, reason: None, op });
        }
    }

    #[test]
    fn replies_and_events_arrive_as_they_were_made() {
        let json = |text: &str| raw(text.to_owned()).unwrap();
        let account = Account {
            user: UserId(1),
            bot: true,
            operator: false,
            token: TokenMark([9; 8]),
            json: json(r#"{"id":"1","big":18446744073709551615}"#),
            guilds: vec![GuildId(u64::MAX)],
        };
        let results: [CallResult; 7] = [
            Ok(Reply::Done),
            Ok(Reply::Account(account)),
            Ok(Reply::Json(201, json("[1, 2]"))),
            Ok(Reply::Refused("full")),
            Ok(Reply::NotHere { guild: GuildId(3), owner: Some("b".to_owned()) }),
            Ok(Reply::NotHere { guild: GuildId(3), owner: None }),
            Err(ApiError::new(404, code::UNKNOWN_GUILD, "Unknown Guild")),
        ];
        for result in results {
            let said = ToCaller::reply(11, &result).read().unwrap();
            assert_eq!(format!("{said:?}"), format!("{:?}", Said::Reply(11, result)));
        }
        let dispatch = Dispatch {
            t: "VOICE_STATE_UPDATE",
            d: json(r#"{"a":[1,null]}"#),
            without_content: Some(json("{}")),
            intents: 128,
            audience: Audience::Users(Arc::new(HashSet::from([UserId(5)]))),
            always: Some(UserId(0)),
            note: Some(Box::new(Note::In(seat().state))),
        };
        let events = [
            Event::Dispatch { guild: GuildId(1), dispatch },
            Event::TokensRevoked { user: UserId(1), token: Some(TokenMark([1; 8])) },
            Event::OwnerLost { guild: GuildId(9) },
        ];
        for event in events {
            let said = ToCaller::event(&event).read().unwrap();
            assert_eq!(format!("{said:?}"), format!("{:?}", Said::Event(event)));
        }
    }

    #[test]
    fn a_version_that_is_too_old_is_not_understood_and_a_newer_one_may_be() {
        for (protocol, is_understood) in [(0, false), (PROTOCOL_OLDEST, true), (PROTOCOL + 1, true)] {
            let hello = Hello { protocol, ..Hello::new("g1", 1) };
            assert_eq!(hello.is_understood(), is_understood, "{}", hello.strangeness());
        }
    }

    #[test]
    fn orders_arrive_as_they_were_given_and_unknown_ones_are_an_error() {
        let rights = Rights { speak: true, ..Rights::default() };
        let memo = Memo {
            flags: VoiceFlags { self_deaf: true, ..VoiceFlags::default() },
            suppress: true,
            request_to_speak: Some(UnixMs(1)),
            joined_at: UnixMs(2),
            terms: Some(Terms { intents: u64::MAX, shard: (1, 2), status: PresenceStatus::Idle }),
        };
        let (user, session, channel) = (UserId(1), SessionId(2), ChannelId(3));
        let person = Participant { user, session, channel, rights, memo: Some(memo) };
        let stage = StageMemo { id: StageInstanceId(u64::MAX), topic: "a \"topic\"".to_owned() };
        let channel = ChannelMemo { channel, since: Some(UnixMs(9)), status: None, stage: Some(stage) };
        let report = Report::Held(Box::new(Held {
            server: ServerId("eu-0".to_owned()),
            guild: GuildId(1),
            claim: u64::MAX,
            fencing: 7,
            participants: vec![person.clone()],
            live: [session].into(),
            channels: vec![channel],
        }));
        assert_eq!(VoiceMessage::report(&report).read_report().unwrap(), report);
        let order = Order { guild: GuildId(1), fencing: u64::MAX, kind: OrderKind::Push(vec![person]) };
        let order = ToVoice::Order(order);
        assert_eq!(VoiceMessage::order(&order).read_order().unwrap(), order);
        let kind = OrderKind::Release([(user, session)].into());
        let release = ToVoice::Order(Order { guild: GuildId(1), fencing: 1, kind });
        assert_eq!(VoiceMessage::order(&release).read_order().unwrap(), release);
        let strange = VoiceMessage { hello: None, json: r#"{"Dance":{}}"#.to_owned() };
        assert!(strange.read_order().is_err());
        assert!(strange.read_report().is_err());
        let before = VoiceMessage {
            hello: None,
            json: concat!(
                r#"{"Order":{"guild":"1","fencing":1,"kind":{"Put":{"user":"1","session":"00000000000000000000000000000002","#,
                r#""channel":"3","rights":{"speak":true,"hear":false,"video":false,"priority":false}}}}}"#
            )
            .to_owned(),
        };
        let Ok(ToVoice::Order(Order { kind: OrderKind::Put(person), .. })) = before.read_order() else {
            panic!("an order of the version before: {before:?}");
        };
        assert_eq!(person.memo, None);
        let later = FromCaller {
            json: r#"{"UpdatePresence":{"guild":"1","user":"2","status":"Idle","mood":1}}"#.to_owned(),
            ..FromCaller::default()
        };
        assert!(
            matches!(later.read(), Ok(Call::UpdatePresence { .. })),
            "fields that are not known are skipped"
        );
    }
}
