//! Guilds <-> voice.
//!
//! Guilds pushes what must be true on a voice server ([`Order`]); the server reports what became of it ([`Report`]). Every order
//! carries the fencing number of the guild's ownership: a voice server refuses one lower than it has seen for that guild.

use model::{ChannelId, GuildId, ServerId, SessionId, UserId};
use serde::{Deserialize, Serialize};

/// What the voice server must know of one participant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Participant {
    pub user: UserId,
    pub session: SessionId,
    pub channel: ChannelId,
    pub rights: Rights,
}

/// What a participant may do to others' ears, decided by guilds and enforced by the relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Rights {
    /// Its audio is forwarded: not server-muted, not suppressed, has SPEAK.
    pub speak: bool,
    /// Audio is sent to it: neither server-deafened nor self-deafened.
    pub hear: bool,
    /// Its video is forwarded.
    pub video: bool,
    /// Its speaking flag may carry priority.
    pub priority: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    pub guild: GuildId,
    pub fencing: u64,
    pub kind: OrderKind,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum OrderKind {
    /// The whole truth for this guild: participants not listed are gone.
    Push(Vec<Participant>),
    /// One participant joined or changed (channel, rights). A changed channel closes its old voice connection with 4014.
    Put(Participant),
    /// A participant left, was kicked, or its session ended: its voice connection is closed with 4014.
    Remove { user: UserId, session: SessionId },
    /// The guild moves to another server or is gone: everyone's connection is closed with 4014.
    Drop,
}

/// What guilds sends to a voice server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToVoice {
    Order(Order),
    /// The operator's wish: take no new guilds, or take some again. The server says so in its record, and guilds moves its guilds elsewhere.
    SetDraining(bool),
    /// The operator's wish: the relay shall be this program on the server's machine, or a new process of the one that it is if none is named. What came of it stands in the
    /// server's record under this number, which is higher than those of earlier wishes.
    UpgradeRelay {
        number: u64,
        program: Option<String>,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Report {
    /// A client identified on its voice connection.
    Live { server: ServerId, guild: GuildId, user: UserId, session: SessionId },
    /// Its voice connection is gone for good (closed, or not resumed in time). Its voice state stays: the client may come again.
    Gone { server: ServerId, guild: GuildId, user: UserId, session: SessionId },
}
