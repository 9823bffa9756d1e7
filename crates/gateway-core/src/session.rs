//! A session: what a client has been promised, whether or not it is connected at the moment.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use client_wire::gateway::VoiceStateUpdate;
use cluster_wire::guilds::{Note, Seat, Terms, TokenMark};
use model::{ChannelId, GuildId, PresenceStatus, SessionId, UserId, VoiceFlags};

use crate::body::Body;
use crate::connection::ConnId;
use crate::limits::{
    ATTACHES_AT_ONCE_MAX, VOICE_FLOOD_BURST, VOICE_FLOOD_EVERY, VOICE_UPDATE_EVERY, VOICE_UPDATES_BURST,
    VOICE_UPDATES_DELAYED_MAX,
};
use crate::rate::Rate;
use crate::replay::{Kept, Replay};

/// Where a session is in its life. It begins live; an ended one is forgotten at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    Live {
        conn: ConnId,
    },
    /// Its connection is lost; it waits for a resume until then. `sent` is the last number that may have
    /// arrived.
    Detached {
        until: Instant,
        sent: u64,
    },
}

/// How far a session is with one of its guilds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Follow {
    /// Its turn has not come.
    Waiting,
    /// Guilds has been told; GUILD_CREATE is on its way.
    Attaching,
    /// GUILD_CREATE has been sent.
    Following,
    /// Guilds could not answer; it is asked again after a while.
    Unavailable,
}

impl Follow {
    /// Whether guilds knows of the session in this guild, and must be told when it changes or ends.
    pub fn is_attached(self) -> bool {
        matches!(self, Self::Attaching | Self::Following)
    }
}

/// A share of a user's guilds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    pub id: u64,
    pub count: u64,
}

impl Shard {
    pub const WHOLE: Self = Self { id: 0, count: 1 };

    pub fn new(id: u64, count: u64) -> Option<Self> {
        (id < count).then_some(Self { id, count })
    }

    pub fn holds(self, guild: GuildId) -> bool {
        (guild.0 >> 22) % self.count == self.id
    }
}

#[derive(Debug)]
pub struct Session {
    pub id: SessionId,
    pub user: UserId,
    /// May be in the voice of several guilds at a time.
    pub is_bot: bool,
    /// With which it began, or was last resumed.
    pub token: TokenMark,
    pub intents: u64,
    pub shard: Shard,
    pub phase: Phase,
    pub replay: Replay,
    pub guilds: BTreeMap<GuildId, Follow>,
    /// GUILD_CREATEs that are not yet on the wire: what paces attaching.
    pub on_the_way: usize,
    pub status: PresenceStatus,
    /// Guilds whose voice channels this session has asked into, for a ping that names none.
    pub voice_guilds: BTreeSet<GuildId>,
    pub voice: VoiceGate,
    /// Where it is in voice, as guilds said last.
    pub seats: BTreeMap<GuildId, Seat>,
    /// Guilds of which guilds has not said so yet: it began at another gateway.
    pub unsure: BTreeSet<GuildId>,
    /// Guilds that the client knows, but perhaps not as they are now.
    pub stale: BTreeSet<GuildId>,
    /// Where it wished to be when its guild had no owner.
    pub wishes: BTreeMap<GuildId, Wish>,
}

/// A voice state update that guilds could not take.
#[derive(Debug, Clone, Copy)]
pub struct Wish {
    pub channel: Option<ChannelId>,
    pub flags: VoiceFlags,
    pub at: Instant,
}

impl Session {
    pub fn new(
        id: SessionId,
        (user, token): (UserId, TokenMark),
        intents: u64,
        shard: Shard,
        conn: ConnId,
    ) -> Self {
        Self {
            id,
            user,
            is_bot: false,
            token,
            intents,
            shard,
            phase: Phase::Live { conn },
            replay: Replay::default(),
            guilds: BTreeMap::new(),
            on_the_way: 0,
            status: PresenceStatus::Online,
            voice_guilds: BTreeSet::new(),
            voice: VoiceGate::default(),
            seats: BTreeMap::new(),
            unsure: BTreeSet::new(),
            stale: BTreeSet::new(),
            wishes: BTreeMap::new(),
        }
    }

    pub fn terms(&self) -> Terms {
        Terms { intents: self.intents, shard: (self.shard.id, self.shard.count), status: self.status }
    }

    /// Nothing of the guild is the session's any more.
    pub fn forget_guild(&mut self, guild: GuildId) {
        self.voice_guilds.remove(&guild);
        self.seats.remove(&guild);
        self.unsure.remove(&guild);
        self.stale.remove(&guild);
        self.wishes.remove(&guild);
    }

    /// Guilds has said where it is in voice.
    pub fn note(&mut self, guild: GuildId, note: Note) {
        self.unsure.remove(&guild);
        match note {
            Note::In(state) => {
                self.voice_guilds.insert(guild);
                let server = self.seats.remove(&guild).and_then(|seat| seat.server);
                self.seats.insert(guild, Seat { state, server });
            }
            Note::Out(_) => drop(self.seats.remove(&guild)),
            Note::Server(_, server) => {
                if let Some(seat) = self.seats.get_mut(&guild) {
                    seat.server = server;
                }
            }
            Note::Seated(seat) => {
                self.voice_guilds.insert(guild);
                self.seats.insert(guild, seat);
            }
        }
    }

    pub fn conn(&self) -> Option<ConnId> {
        match self.phase {
            Phase::Live { conn } => Some(conn),
            Phase::Detached { .. } => None,
        }
    }

    /// Numbers and keeps a dispatch; the connection it goes to now, if there is one, is answered too.
    pub fn dispatch(&mut self, body: Arc<Body>) -> (Option<ConnId>, Kept) {
        let kept = self.replay.push(body);
        (self.conn(), kept)
    }

    /// The next guild to attach to, if one waits and not too many are on the way.
    pub fn next_attach(&mut self) -> Option<GuildId> {
        if self.on_the_way >= ATTACHES_AT_ONCE_MAX || self.conn().is_none() {
            return None;
        }
        let (&guild, follow) = self.guilds.iter_mut().find(|(_, follow)| **follow == Follow::Waiting)?;
        *follow = Follow::Attaching;
        self.on_the_way += 1;
        Some(guild)
    }

    /// Guilds that know of this session.
    pub fn attached(&self) -> Vec<GuildId> {
        self.guilds.iter().filter(|(_, follow)| follow.is_attached()).map(|(guild, _)| *guild).collect()
    }

    /// Whether what it has missed is still kept. If not, no resume can succeed any more.
    pub fn is_resumable(&self) -> bool {
        match self.phase {
            Phase::Live { .. } => true,
            Phase::Detached { sent, .. } => self.replay.after(sent).is_ok(),
        }
    }
}

/// Delays voice state updates that come too fast, instead of punishing them.
#[derive(Debug)]
pub struct VoiceGate {
    acted_upon: Rate,
    seen: Rate,
    delayed: VecDeque<VoiceStateUpdate>,
}

/// What becomes of a voice state update.
#[derive(Debug, PartialEq)]
pub enum Gate {
    Pass(VoiceStateUpdate),
    /// Later; `dropped` says that the oldest delayed one had to go for it. The time is set when no timer runs
    /// yet.
    Delayed {
        wake: Option<Instant>,
        dropped: bool,
    },
    /// Beyond all patience.
    Flood,
}

impl Default for VoiceGate {
    fn default() -> Self {
        Self {
            acted_upon: Rate::new(VOICE_UPDATES_BURST, VOICE_UPDATE_EVERY),
            seen: Rate::new(VOICE_FLOOD_BURST, VOICE_FLOOD_EVERY),
            delayed: VecDeque::new(),
        }
    }
}

impl VoiceGate {
    pub fn admit(&mut self, now: Instant, update: VoiceStateUpdate) -> Gate {
        if self.seen.take(now).is_err() {
            return Gate::Flood;
        }
        if !self.delayed.is_empty() {
            let dropped = self.delayed.len() == VOICE_UPDATES_DELAYED_MAX;
            if dropped {
                self.delayed.pop_front();
            }
            self.delayed.push_back(update);
            return Gate::Delayed { wake: None, dropped };
        }
        match self.acted_upon.take(now) {
            Ok(()) => Gate::Pass(update),
            Err(at) => {
                self.delayed.push_back(update);
                Gate::Delayed { wake: Some(at), dropped: false }
            }
        }
    }

    /// The next delayed update whose time has come, or when it will.
    pub fn release(&mut self, now: Instant) -> Option<Result<VoiceStateUpdate, Instant>> {
        self.delayed.front()?;
        Some(match self.acted_upon.take(now) {
            Ok(()) => Ok(self.delayed.pop_front().expect("it was just seen at the front")),
            Err(at) => Err(at),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_holds_its_share_of_the_guilds() {
        let check = |guild: u64, id, count, expect| {
            assert_eq!(
                Shard::new(id, count).unwrap().holds(GuildId(guild << 22 | 77)),
                expect,
                "{guild} {id}/{count}"
            );
        };
        check(5, 0, 1, true);
        check(5, 1, 2, true);
        check(5, 0, 2, false);
        check(6, 0, 3, true);
        assert_eq!(Shard::new(2, 2), None);
        assert_eq!(Shard::new(0, 0), None);
    }

    #[test]
    fn voice_updates_pass_in_a_burst_then_one_at_a_time_then_the_oldest_give_way() {
        let t0 = Instant::now();
        let mut gate = VoiceGate::default();
        let update = |n| VoiceStateUpdate {
            guild_id: Some(GuildId(1)),
            channel_id: Some(ChannelId(n)),
            self_mute: false,
            self_deaf: false,
            self_video: false,
        };
        let burst = u64::from(VOICE_UPDATES_BURST);
        for n in 0..burst {
            assert_eq!(gate.admit(t0, update(n)), Gate::Pass(update(n)));
        }
        let due = t0 + VOICE_UPDATE_EVERY;
        assert_eq!(gate.admit(t0, update(burst)), Gate::Delayed { wake: Some(due), dropped: false });
        assert_eq!(gate.release(t0), Some(Err(due)));
        for n in 1..VOICE_UPDATES_DELAYED_MAX as u64 {
            assert_eq!(gate.admit(t0, update(burst + n)), Gate::Delayed { wake: None, dropped: false });
        }
        assert_eq!(gate.admit(t0, update(999)), Gate::Delayed { wake: None, dropped: true });
        assert_eq!(gate.release(due), Some(Ok(update(burst + 1))), "the oldest of all was dropped");
        assert_eq!(gate.release(due), Some(Err(due + VOICE_UPDATE_EVERY)));
        for _ in 0..VOICE_FLOOD_BURST {
            gate.admit(t0, update(1));
        }
        assert_eq!(gate.admit(t0, update(1)), Gate::Flood);
    }
}
