//! The shapes of load, by name.

use std::str::FromStr;

use anyhow::bail;

use crate::participant::Kind;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Workload {
    /// One channel, 200 participants, 5 speak.
    Raid,
    /// One channel, 1,000 participants, 5 speak.
    TownHall,
    /// 5,000 connected and silent, in channels of 50.
    Idle,
}

impl Workload {
    pub const NAMES: &[&str] = &["raid", "town-hall", "idle"];
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
    /// The first so many participants speak, all the time.
    pub speakers: usize,
    /// Participants a channel.
    pub room: usize,
}

impl FromStr for Workload {
    type Err = anyhow::Error;

    fn from_str(name: &str) -> Result<Self, anyhow::Error> {
        Ok(match name {
            "raid" => Self::Raid,
            "town-hall" => Self::TownHall,
            "idle" => Self::Idle,
            _ => bail!("there is no workload {name:?}; there are {}", Self::NAMES.join(", ")),
        })
    }
}

impl Workload {
    pub fn shape(self, participants: Option<usize>, speakers: Option<usize>) -> anyhow::Result<Shape> {
        let (name, all, speaking, room) = match self {
            Self::Raid => ("raid", 200, 5, usize::MAX),
            Self::TownHall => ("town-hall", 1_000, 5, usize::MAX),
            Self::Idle => ("idle", 5_000, 0, 50),
        };
        let participants = participants.unwrap_or(all);
        let speakers = speakers.unwrap_or(speaking.min(participants));
        if participants == 0 || speakers > participants {
            bail!("{speakers} of {participants} participants cannot speak");
        }
        Ok(Shape { name, participants, speakers, room: room.min(participants) })
    }
}

impl Shape {
    pub fn rooms(&self) -> usize {
        self.participants.div_ceil(self.room)
    }

    pub fn room_of(&self, participant: usize) -> usize {
        participant / self.room
    }

    /// Who speaks in a participant's room.
    pub fn speakers_in_room_of(&self, participant: usize) -> impl Iterator<Item = usize> + '_ {
        (0..self.speakers).filter(move |speaker| self.room_of(*speaker) == self.room_of(participant))
    }

    /// Who hears this participant.
    pub fn listeners(&self, speaker: usize) -> impl Iterator<Item = usize> + '_ {
        let start = self.room_of(speaker) * self.room;
        (start..(start + self.room).min(self.participants)).filter(move |p| *p != speaker)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rooms_and_listeners_cover_everyone_once() {
        let shape = Workload::Idle.shape(Some(120), Some(60)).unwrap();
        assert_eq!((shape.rooms(), shape.room_of(49), shape.room_of(50)), (3, 0, 1));
        assert_eq!(shape.listeners(0).count(), 49);
        assert_eq!(shape.listeners(119).count(), 19);
        assert!(shape.listeners(50).all(|p| shape.room_of(p) == 1 && p != 50));
        assert_eq!(shape.speakers_in_room_of(3).count(), 50);
        assert_eq!(shape.speakers_in_room_of(70).collect::<Vec<_>>(), (50..60).collect::<Vec<_>>());
        assert_eq!(shape.speakers_in_room_of(119).count(), 0);
        let raid = Workload::Raid.shape(None, None).unwrap();
        assert_eq!((raid.rooms(), raid.listeners(3).count()), (1, 199));
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
        assert!(Workload::Raid.shape(Some(0), None).is_err());
        assert!(Workload::Raid.shape(Some(2), Some(3)).is_err());
        assert_eq!(Workload::Raid.shape(Some(3), None).unwrap().speakers, 3);
    }
}
