//! One voice session: where guilds has placed it, and its client's presence.
//!
//! A presence goes Identified -> Described -> Connected; beside that its link is attached or away. The crate's tests hold
//! the whole table of states and inputs as a snapshot.

use std::time::Instant;

use cluster_wire::voice::{Memo, Rights};
use model::{ChannelId, UserId};
use sfu_wire::{Leg, Native, WebRtc};

use crate::ConnId;
use crate::outbox::Outbox;

#[derive(Debug)]
pub struct Session {
    pub user: UserId,
    /// What guilds says. `None`: only a token has spoken for it so far.
    pub placed: Option<Placed>,
    /// The newest token seen, so that an older one cannot undo a move.
    pub serial: u64,
    /// The audio stream's id, kept for the session's life once it has one.
    pub ssrc: Option<u32>,
    pub presence: Option<Presence>,
    /// Guilds has been told that the client is here.
    pub reported_live: bool,
    /// Guilds has placed it on another server: it is removed at this instant.
    pub released: Option<Instant>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placed {
    pub channel: ChannelId,
    pub rights: Rights,
    /// For the guild's next owner.
    pub memo: Option<Memo>,
}

impl Session {
    pub fn new(user: UserId) -> Self {
        Self {
            user,
            placed: None,
            serial: 0,
            ssrc: None,
            presence: None,
            reported_live: false,
            released: None,
        }
    }

    /// The rights in force: none where the client is not where guilds has placed it.
    pub fn rights(&self) -> Rights {
        if self.is_confirmed() {
            self.placed.map(|p| p.rights).unwrap_or_default()
        } else {
            Rights::default()
        }
    }

    /// Guilds has placed this session in the very channel its client is in.
    pub fn is_confirmed(&self) -> bool {
        let channel = self.presence.as_ref().map(|p| p.channel);
        channel.is_some() && channel == self.placed.map(|p| p.channel)
    }

    /// Others in the room know of it.
    pub fn is_visible(&self) -> bool {
        self.is_confirmed() && self.presence.as_ref().is_some_and(|p| p.stage != Stage::Identified)
    }

    /// What the relay must know of this session.
    pub fn leg(&self) -> Option<Leg> {
        let presence = self.presence.as_ref()?;
        let rights = self.rights();
        Some(Leg {
            id: presence.leg,
            room: presence.channel.0,
            ssrc: self.ssrc.expect("a session that has been present has a stream id"),
            speak: rights.speak,
            hear: rights.hear,
            priority: rights.priority,
            native: presence.native.clone(),
            webrtc: presence.webrtc.clone(),
        })
    }
}

/// A client's stay, from IDENTIFY until it leaves.
#[derive(Debug)]
pub struct Presence {
    pub channel: ChannelId,
    pub shard: u32,
    pub leg: u64,
    pub stage: Stage,
    pub link: Link,
    pub native: Option<Native>,
    /// Instead of `native` for a browser.
    pub webrtc: Option<WebRtc>,
    pub identified_at: Instant,
    pub outbox: Outbox,
    pub speaking: Speaking,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// READY was sent.
    Identified,
    /// SESSION DESCRIPTION was sent.
    Described,
    /// The relay has authenticated media of the client's.
    Connected,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    Attached(ConnId),
    /// The connection was lost; the session ends at this instant unless it is resumed.
    Away {
        until: Instant,
    },
}

/// What others are told of a presence's speaking.
#[derive(Debug, Clone, Copy, Default)]
pub struct Speaking {
    /// The client's own flags.
    pub flags: u8,
    /// The client has said something of its speaking, or has sent audio.
    pub heard: bool,
    /// What the others were told last.
    pub told: Option<u8>,
}
