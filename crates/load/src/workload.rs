//! The shapes of load, by name.

use std::str::FromStr;
use std::time::Duration;

use anyhow::bail;

use crate::limits::TURN;
use crate::participant::Kind;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Workload {
    /// One channel, 200 participants, 5 speak.
    Raid,
    /// One channel, 1,000 participants, 5 speak.
    TownHall,
    /// 200 channels of 5, in each of which one speaks.
    GuildNight,
    /// One channel, 1,000 participants; one speaks at a time, every second another of sixty.
    TurnTaking,
    /// 5,000 connected and silent, in channels of 50.
    Idle,
}

impl Workload {
    pub const NAMES: &[&str] = &["raid", "town-hall", "guild-night", "turn-taking", "idle"];
}

/// How the participants' media travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    Native,
    WebRtc,
    /// Half of them one way, half the other: speakers and listeners by turns.
    Mixed,
}

impl Transport {
    pub const NAMES: &[&str] = &["native", "webrtc", "mixed"];

    pub fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::WebRtc => "webrtc",
            Self::Mixed => "mixed",
        }
    }

    pub(crate) fn kind_of(self, participant: usize) -> Kind {
        match self {
            Self::Native => Kind::Native,
            Self::WebRtc => Kind::Browser,
            Self::Mixed if participant.is_multiple_of(2) => Kind::Native,
            Self::Mixed => Kind::Browser,
        }
    }
}

impl FromStr for Transport {
    type Err = anyhow::Error;

    fn from_str(name: &str) -> Result<Self, anyhow::Error> {
        Ok(match name {
            "native" => Self::Native,
            "webrtc" => Self::WebRtc,
            "mixed" => Self::Mixed,
            _ => bail!("there is no transport {name:?}; there are {}", Self::NAMES.join(", ")),
        })
    }
}

/// A workload with its numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shape {
    pub name: &'static str,
    pub participants: usize,
    /// Participants who speak: the first of each channel, then the second of each, and so on.
    pub speakers: Vec<usize>,
    /// Participants a channel.
    pub room: usize,
    /// Channels of one guild. Everybody of a guild is told of everybody who joins, which is not what an idle crowd is about.
    pub rooms_a_guild: usize,
    /// How long one speaks before the next does; all the time, everybody who does, if nothing.
    pub turn: Option<Duration>,
}

/// Numbers instead of a workload's own.
#[derive(Debug, Clone, Copy, Default)]
pub struct Numbers {
    pub participants: Option<usize>,
    pub speakers: Option<usize>,
    /// Participants a channel.
    pub room: Option<usize>,
}

impl FromStr for Workload {
    type Err = anyhow::Error;

    fn from_str(name: &str) -> Result<Self, anyhow::Error> {
        Ok(match name {
            "raid" => Self::Raid,
            "town-hall" => Self::TownHall,
            "guild-night" => Self::GuildNight,
            "turn-taking" => Self::TurnTaking,
            "idle" => Self::Idle,
            _ => bail!("there is no workload {name:?}; there are {}", Self::NAMES.join(", ")),
        })
    }
}

impl Workload {
    pub fn shape(self, numbers: Numbers) -> anyhow::Result<Shape> {
        let (name, all, speaking, room, turn) = match self {
            Self::Raid => ("raid", 200, 5, usize::MAX, None),
            Self::TownHall => ("town-hall", 1_000, 5, usize::MAX, None),
            Self::GuildNight => ("guild-night", 1_000, usize::MAX, 5, None),
            Self::TurnTaking => ("turn-taking", 1_000, 60, usize::MAX, Some(TURN)),
            Self::Idle => ("idle", 5_000, 0, 50, None),
        };
        let participants = numbers.participants.unwrap_or(all);
        let room = numbers.room.unwrap_or(room).min(participants);
        if room == 0 {
            bail!("nobody takes part");
        }
        let rooms = participants.div_ceil(room);
        // Of as many as there are channels, one speaks in each.
        let speaking = if speaking == usize::MAX { rooms } else { speaking.min(participants) };
        let speaking = numbers.speakers.unwrap_or(speaking);
        if speaking > participants {
            bail!("{speaking} of {participants} participants cannot speak");
        }
        let by_place = (0..room).flat_map(|place| (0..rooms).map(move |n| n * room + place));
        let speakers = by_place.filter(|participant| *participant < participants).take(speaking).collect();
        let rooms_a_guild = if matches!(self, Self::Idle) { 1 } else { rooms };
        Ok(Shape { name, participants, speakers, room, rooms_a_guild, turn })
    }
}

impl Shape {
    #[must_use]
    pub fn rooms(&self) -> usize {
        self.participants.div_ceil(self.room)
    }

    #[must_use]
    pub fn room_of(&self, participant: usize) -> usize {
        participant / self.room
    }

    /// Which of the speakers a participant is.
    #[must_use]
    pub fn speaker_of(&self, participant: usize) -> Option<usize> {
        self.speakers.iter().position(|speaker| *speaker == participant)
    }

    /// The participants who speak in a participant's room.
    pub fn speakers_in_room_of(&self, participant: usize) -> impl Iterator<Item = usize> + '_ {
        let room = self.room_of(participant);
        self.speakers.iter().copied().filter(move |speaker| self.room_of(*speaker) == room)
    }

    /// The participants who hear this one.
    pub fn listeners(&self, participant: usize) -> impl Iterator<Item = usize> + '_ {
        let start = self.room_of(participant) * self.room;
        (start..(start + self.room).min(self.participants)).filter(move |p| *p != participant)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rooms_and_listeners_cover_everyone_once() {
        let shape = Workload::Idle.shape(numbers(Some(120), Some(60))).unwrap();
        assert_eq!((shape.rooms(), shape.room_of(49), shape.room_of(50)), (3, 0, 1));
        assert_eq!(shape.listeners(0).count(), 49);
        assert_eq!(shape.listeners(119).count(), 19);
        assert!(shape.listeners(50).all(|p| shape.room_of(p) == 1 && p != 50));
        // Of 60 speakers each room has 20, also the one of 20.
        assert_eq!(shape.speakers_in_room_of(70).collect::<Vec<_>>(), (50..70).collect::<Vec<_>>());
        assert_eq!(shape.speakers_in_room_of(119).count(), 20);
        assert_eq!(
            (shape.speaker_of(50), shape.speaker_of(119), shape.speaker_of(49)),
            (Some(1), Some(59), None)
        );
        let raid = Workload::Raid.shape(Numbers::default()).unwrap();
        assert_eq!((raid.rooms(), raid.listeners(3).count()), (1, 199));
        assert_eq!(raid.speakers, [0, 1, 2, 3, 4]);
        let night = Workload::GuildNight.shape(Numbers::default()).unwrap();
        assert_eq!((night.rooms(), night.speakers.len(), night.speakers[199]), (200, 200, 995));
        assert!((0..1_000).all(|p| night.speakers_in_room_of(p).count() == 1));
        assert_eq!((raid.rooms_a_guild, night.rooms_a_guild, shape.rooms_a_guild), (1, 200, 1));
        let few = Workload::GuildNight.shape(Numbers { room: Some(11), ..numbers(Some(12), None) }).unwrap();
        assert_eq!((few.rooms(), few.speakers), (2, vec![0, 11]));
    }

    fn numbers(participants: Option<usize>, speakers: Option<usize>) -> Numbers {
        Numbers { participants, speakers, room: None }
    }

    #[test]
    fn of_a_mixed_crowd_half_are_browsers_among_the_speakers_too() {
        let browsers =
            |among: usize| (0..among).filter(|n| Transport::Mixed.kind_of(*n) == Kind::Browser).count();
        assert_eq!((browsers(200), browsers(5)), (100, 2));
        for name in Transport::NAMES {
            assert_eq!(name.parse::<Transport>().unwrap().name(), *name);
        }
    }

    #[test]
    fn nonsense_is_refused() {
        assert!("pigeon".parse::<Transport>().is_err());
        assert!("stampede".parse::<Workload>().is_err());
        assert!(Workload::Raid.shape(numbers(Some(0), None)).is_err());
        assert!(Workload::Raid.shape(numbers(Some(2), Some(3))).is_err());
        assert!(Workload::Raid.shape(Numbers { room: Some(0), ..Numbers::default() }).is_err());
        assert_eq!(Workload::Raid.shape(numbers(Some(3), None)).unwrap().speakers, [0, 1, 2]);
    }
}
