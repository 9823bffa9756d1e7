//! Guilds <-> voice.
//!
//! Guilds pushes what must be true on a voice server ([`Order`]); the server reports what became of it ([`Report`]). Every order
//! carries the fencing number of the guild's ownership: a voice server refuses one lower than it has seen for that guild.

use std::collections::BTreeSet;
use std::time::Duration;

use model::{ChannelId, GuildId, ServerId, SessionId, StageInstanceId, UnixMs, UserId, VoiceFlags};
use serde::{Deserialize, Serialize};

use crate::guilds::Terms;

/// What the voice server must know of one participant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Participant {
    pub user: UserId,
    pub session: SessionId,
    pub channel: ChannelId,
    pub rights: Rights,
    /// None from an owner of the version before.
    #[serde(default)]
    pub memo: Option<Memo>,
}

/// What else the guild's owner knows of a participant. A voice server makes no use of it, and keeps it for the next owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memo {
    pub flags: VoiceFlags,
    pub suppress: bool,
    pub request_to_speak: Option<UnixMs>,
    pub joined_at: UnixMs,
    /// Those of its session, which is resumed on them.
    #[serde(default)]
    pub terms: Option<Terms>,
}

/// What the guild's owner knows of a voice channel; kept in the same way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChannelMemo {
    pub channel: ChannelId,
    /// When the first of those who are in it came.
    #[serde(default)]
    pub since: Option<UnixMs>,
    #[serde(default)]
    pub status: Option<String>,
    #[serde(default)]
    pub stage: Option<StageMemo>,
}

impl ChannelMemo {
    pub fn is_empty(&self) -> bool {
        self.since.is_none() && self.status.is_none() && self.stage.is_none()
    }
}

/// That something is on on a stage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageMemo {
    pub id: StageInstanceId,
    pub topic: String,
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
    /// The whole truth for this guild: participants not listed are gone, and so is what was kept of channels, which follows.
    Push(Vec<Participant>),
    /// One participant joined or changed (channel, rights, memo). A changed channel closes its old voice connection with 4014.
    Put(Participant),
    /// A participant left, was kicked, or its session ended: its voice connection is closed with 4014.
    Remove { user: UserId, session: SessionId },
    /// The guild moves to another server or is gone: everyone's connection is closed with 4014.
    Drop,
    /// These go to another server, and are to be heard until they are there: each is removed after [`RELEASE`], unless another order is about it first.
    Release(BTreeSet<(UserId, SessionId)>),
    /// What is to be kept of a channel from now on: nothing, if it says nothing.
    Channel(ChannelMemo),
    /// The guild has a new owner, which asks what there is of it. Answered by a [`Report::Held`].
    Claim,
}

/// How long whoever goes to another server is still served by the old one. Because our own clients are on the new one within a third of that, and a busy machine's within it.
pub const RELEASE: Duration = Duration::from_secs(1);

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
    /// What an earlier owner had placed here.
    Held(Box<Held>),
}

/// A voice server's answer to [`OrderKind::Claim`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    pub server: ServerId,
    pub guild: GuildId,
    /// The fencing number of the claim.
    pub claim: u64,
    /// That of the last order before it; 0 where there was none.
    pub fencing: u64,
    pub participants: Vec<Participant>,
    /// Those of them whose clients are connected.
    pub live: BTreeSet<SessionId>,
    pub channels: Vec<ChannelMemo>,
}

impl ToVoice {
    /// What comes closest to it in that version of the protocol; nothing, if nothing does.
    pub fn in_version(self, protocol: u32) -> Vec<Self> {
        match self {
            known if known.protocol() <= protocol => vec![known],
            // Without the time in between.
            Self::Order(Order { guild, fencing, kind: OrderKind::Release(released) }) => {
                let remove = |(user, session)| OrderKind::Remove { user, session };
                let removed = released.into_iter().map(remove);
                removed.map(|kind| Self::Order(Order { guild, fencing, kind })).collect()
            }
            _ => Vec::new(),
        }
    }

    /// The first version of the protocol that knows this message.
    pub fn protocol(&self) -> u32 {
        match self {
            Self::Order(Order { kind: OrderKind::Release(_), .. }) => 3,
            Self::Order(Order { kind: OrderKind::Channel(_) | OrderKind::Claim, .. }) => 2,
            Self::Order(_) | Self::SetDraining(_) | Self::UpgradeRelay { .. } => 1,
        }
    }
}

impl Report {
    pub fn guild(&self) -> GuildId {
        match self {
            Self::Live { guild, .. } | Self::Gone { guild, .. } => *guild,
            Self::Held(held) => held.guild,
        }
    }

    /// The first version of the protocol that knows this report.
    pub fn protocol(&self) -> u32 {
        match self {
            Self::Live { .. } | Self::Gone { .. } => 1,
            Self::Held(_) => 2,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_of_an_earlier_version_is_told_what_comes_closest() {
        let order = |kind| ToVoice::Order(Order { guild: GuildId(1), fencing: 7, kind });
        let people = [(UserId(1), SessionId(1)), (UserId(2), SessionId(2))];
        let release = order(OrderKind::Release(people.into()));
        assert_eq!(release.clone().in_version(3), std::slice::from_ref(&release));
        let removed = people.map(|(user, session)| order(OrderKind::Remove { user, session }));
        assert_eq!(release.in_version(2), removed);
        assert_eq!(order(OrderKind::Claim).in_version(1), []);
        assert_eq!(order(OrderKind::Drop).in_version(1), [order(OrderKind::Drop)]);
    }
}
