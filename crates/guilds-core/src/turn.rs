//! What one input brings with it and what comes out of it.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use client_wire::error::ApiError;
use client_wire::gateway::Intents;
use cluster_wire::guilds::{Audience, CallResult, Dispatch, Json, Reply};
use cluster_wire::record::ServerRecord;
use cluster_wire::voice::Order;
use model::{ServerId, SessionId, UnixMs, UserId, Write};
use serde::Serialize;

use crate::Facts;

/// The voice servers that guilds can reach now.
pub type Servers = BTreeMap<ServerId, ServerRecord>;

/// The world at the moment of an input.
pub struct Moment<'a> {
    pub now: UnixMs,
    /// Makes a snowflake.
    pub next_id: &'a mut dyn FnMut() -> u64,
    /// Unguessable; for invite codes.
    pub random: u64,
    pub servers: &'a Servers,
}

/// What must take place because of an input, in this order.
#[derive(Debug, Clone)]
pub enum Effect {
    Dispatch(Dispatch),
    /// The user became a member.
    Joined(UserId),
    /// The user is no member any more.
    Left(UserId),
    Order {
        server: ServerId,
        order: Order,
    },
    /// So many of the guild's participants were placed on this server: it counts as busier until it says so itself.
    Placed {
        server: ServerId,
        participants: u32,
    },
    /// The user has entered voice here; a person is in one channel overall, so wherever else it was before that it leaves.
    EnteredVoice {
        user: UserId,
        bot: bool,
        since: UnixMs,
    },
    LeftVoice(UserId),
    /// The guild is deleted: this machine has nothing more to do.
    Deleted,
}

impl Effect {
    /// Voice states, what is said of voice channels, and attachments live in memory alone, so what happened to them stays true when the database refuses the
    /// rest.
    fn is_of_memory(&self) -> bool {
        match self {
            Self::Dispatch(dispatch) => match dispatch.t {
                "VOICE_STATE_UPDATE" | "VOICE_SERVER_UPDATE" => true,
                // Those that name their users show a channel to whom the database has just refused it.
                "VOICE_CHANNEL_STATUS_UPDATE"
                | "VOICE_CHANNEL_START_TIME_UPDATE"
                | "STAGE_INSTANCE_DELETE" => !matches!(dispatch.audience, Audience::Users(_)),
                _ => false,
            },
            Self::Order { .. } | Self::Placed { .. } | Self::EnteredVoice { .. } | Self::LeftVoice(_) => true,
            // Whoever was put out has lost its attachment here, and the gateways must know it; the reload lets it in again.
            Self::Left(_) => true,
            Self::Joined(_) | Self::Deleted => false,
        }
    }
}

#[derive(Debug)]
pub struct Outcome {
    pub reply: CallResult,
    /// One transaction. Nothing else of the outcome is let out before it is durable.
    pub writes: Vec<Write>,
    pub effects: Vec<Effect>,
}

impl Outcome {
    /// Whose membership this outcome ends. Should its writes fail, [`GuildCore::handle_reload`](crate::GuildCore::handle_reload)
    /// must hear of them.
    pub fn parted(&self) -> impl Iterator<Item = UserId> {
        self.effects.iter().filter_map(|effect| match effect {
            Effect::Left(user) => Some(*user),
            _ => None,
        })
    }

    /// What is left of this outcome when its writes failed. The guild must then be reloaded.
    pub fn after_failed_write(self) -> Self {
        let effects = self.effects.into_iter().filter(Effect::is_of_memory).collect();
        Self { reply: Err(ApiError::internal()), writes: Vec::new(), effects }
    }
}

/// One input being handled.
pub(crate) struct Turn<'a> {
    pub now: UnixMs,
    next_id: &'a mut dyn FnMut() -> u64,
    pub random: u64,
    draws: u64,
    pub servers: &'a Servers,
    pub facts: Facts,
    pub writes: Vec<Write>,
    pub effects: Vec<Effect>,
}

impl<'a> Turn<'a> {
    pub fn new(moment: Moment<'a>, facts: Facts) -> Self {
        let Moment { now, next_id, random, servers } = moment;
        Self { now, next_id, random, draws: 0, servers, facts, writes: Vec::new(), effects: Vec::new() }
    }

    pub fn finish(self, reply: CallResult) -> Outcome {
        debug_assert!(
            reply.is_ok() || (self.writes.is_empty() && self.effects.is_empty()),
            "a refused call changes nothing"
        );
        Outcome { reply, writes: self.writes, effects: self.effects }
    }

    pub fn next_id(&mut self) -> u64 {
        (self.next_id)()
    }

    /// A number for a choice: another one each time.
    pub fn draw(&mut self) -> u64 {
        self.draws += 1;
        let mixed = (self.random ^ self.draws).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        mixed ^ (mixed >> 32)
    }

    pub fn write(&mut self, write: Write) {
        self.writes.push(write);
    }

    pub fn effect(&mut self, effect: Effect) {
        self.effects.push(effect);
    }

    /// To everyone who follows the guild and has one of the intents.
    pub fn tell(&mut self, t: &'static str, intents: Intents, audience: Audience, d: &impl Serialize) {
        self.dispatch(Dispatch {
            t,
            d: json(d),
            without_content: None,
            intents: intents.bits(),
            audience,
            always: None,
            note: None,
        });
    }

    /// To one session, whatever its intents.
    pub fn tell_session(&mut self, t: &'static str, session: SessionId, d: &impl Serialize) {
        self.tell(t, Intents::empty(), Audience::Session(session), d);
    }

    /// To these users; to nobody, it is not even encoded.
    pub fn tell_users(
        &mut self,
        t: &'static str,
        intents: Intents,
        users: HashSet<UserId>,
        d: &impl Serialize,
    ) {
        if !users.is_empty() {
            self.tell(t, intents, Audience::Users(Arc::new(users)), d);
        }
    }

    pub fn dispatch(&mut self, dispatch: Dispatch) {
        self.effects.push(Effect::Dispatch(dispatch));
    }
}

/// Encodes once.
pub(crate) fn json(value: &impl Serialize) -> Json {
    serde_json::value::to_raw_value(value)
        .expect("our objects have string keys and no failing serialisers")
        .into()
}

pub(crate) fn ok(value: &impl Serialize) -> CallResult {
    Ok(Reply::Json(200, json(value)))
}

pub(crate) fn created(value: &impl Serialize) -> CallResult {
    Ok(Reply::Json(201, json(value)))
}
