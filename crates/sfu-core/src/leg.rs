//! One participant's transport, and the table of them.

use std::time::Instant;

use rtp_wire::Ssrc;
use transport::ReplayWindow;

use crate::absence::Absence;
use crate::browser::Browser;
use crate::pace::Pace;
use crate::page::{Page, RecordAt, SlotAt};
use crate::path::Path;
use crate::recent::Recent;
use crate::rewrite::Rewriter;
use crate::room::RoomIndex;
use crate::security::Security;
use crate::speech::Speech;

/// Place of a leg in [`Legs`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct LegIndex(pub u32);

/// A leg and no other, even when its place is used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct LegKey {
    pub index: LegIndex,
    pub generation: u32,
}

pub struct Leg {
    pub id: u64,
    pub ssrc: Ssrc,
    pub speak: bool,
    pub hear: bool,

    pub security: Option<Security>,
    pub path: Path,
    /// Places in the room's lists; a route only while audio can be sent to this leg.
    pub room: RoomIndex,
    pub member_at: usize,
    pub route_at: Option<usize>,

    /// What it sends.
    pub window: ReplayWindow,
    pub pace: Pace,
    pub rewriter: Rewriter,
    pub speech: Speech,
    pub silence: Option<Silence>,
    /// What it sent last, once a browser listened to it.
    pub recent: Option<Box<Recent>>,
    /// What it missed.
    pub absence: Absence,

    /// Its transport works under the present key.
    pub connected: bool,
    /// Its key must be replaced before its nonces run out.
    pub key_spent: bool,
    pub told: Told,
    /// A timer for the end of its speech is running, so that none runs twice.
    pub speech_end_armed: bool,
    /// The one entry of its path timer that counts.
    pub path_keep_at: Option<Instant>,
    /// Its place in the page: from when it has keys, or could have.
    pub slot: Option<SlotAt>,
    /// Until then, where the numbers are that its stream has from an earlier leg.
    pub numbers: Option<RecordAt>,
}

impl Leg {
    /// Its keys are known.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.security.as_ref().is_some_and(Security::is_ready)
    }

    /// Reads what sending it a packet of a stream will read, so that it is at hand by then. The result means nothing.
    #[inline]
    #[must_use]
    pub fn touch(&self, ssrc: Ssrc, page: &Page) -> u64 {
        match &self.security {
            Some(Security::Browser(browser)) => {
                let here: u64 = self.path.address().map_or(0, |address| address.port().into());
                browser.touch(ssrc, page) ^ here ^ u64::from(self.absence.is_empty())
            }
            // What it needs is here, and behind a pointer of the cipher's that nobody else can follow.
            Some(Security::Native(_)) | None => 0,
        }
    }

    #[must_use]
    pub fn browser(&self) -> Option<&Browser> {
        match &self.security {
            Some(Security::Browser(browser)) => Some(browser),
            _ => None,
        }
    }

    pub fn browser_mut(&mut self) -> Option<&mut Browser> {
        match &mut self.security {
            Some(Security::Browser(browser)) => Some(browser),
            _ => None,
        }
    }
}

/// The silence frames still to be sent for someone who was cut off mid-word.
#[derive(Debug, Clone, Copy)]
pub struct Silence {
    pub left: u8,
    pub next_at: Instant,
}

/// What signalling has been told of a leg, and whether it stands in the queue to be told more.
#[derive(Debug, Clone, Copy, Default)]
pub struct Told {
    pub connected: bool,
    pub speaking: bool,
    pub key_spent: bool,
    pub queued: bool,
}

/// The legs of a shard, found by place.
#[derive(Default)]
pub struct Legs {
    slots: Vec<Slot>,
    free: Vec<LegIndex>,
}

#[derive(Default)]
struct Slot {
    generation: u32,
    leg: Option<Leg>,
}

impl Legs {
    #[must_use]
    pub fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// The place that the next inserted leg will have.
    pub fn reserve(&mut self) -> LegIndex {
        self.free.last().copied().unwrap_or_else(|| {
            let index = LegIndex(u32::try_from(self.slots.len()).expect("legs are bounded"));
            self.slots.push(Slot::default());
            self.free.push(index);
            index
        })
    }

    /// Fills the place that was reserved last.
    pub fn insert(&mut self, leg: Leg) -> LegIndex {
        let index = self.reserve();
        self.free.pop();
        self.slots[index.0 as usize].leg = Some(leg);
        index
    }

    pub fn remove(&mut self, index: LegIndex) -> Leg {
        let slot = &mut self.slots[index.0 as usize];
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(index);
        slot.leg.take().expect("an index names a leg until it is removed")
    }

    #[must_use]
    pub fn key(&self, index: LegIndex) -> LegKey {
        LegKey { index, generation: self.slots[index.0 as usize].generation }
    }

    /// The place of a leg that may be gone.
    #[must_use]
    pub fn find(&self, key: LegKey) -> Option<LegIndex> {
        let slot = self.slots.get(key.index.0 as usize)?;
        (slot.generation == key.generation && slot.leg.is_some()).then_some(key.index)
    }

    #[inline]
    #[must_use]
    pub fn get(&self, index: LegIndex) -> &Leg {
        self.slots[index.0 as usize].leg.as_ref().expect("an index names a leg until it is removed")
    }

    #[inline]
    pub fn get_mut(&mut self, index: LegIndex) -> &mut Leg {
        self.slots[index.0 as usize].leg.as_mut().expect("an index names a leg until it is removed")
    }

    pub fn iter(&self) -> impl Iterator<Item = (LegIndex, &Leg)> {
        self.slots
            .iter()
            .enumerate()
            .filter_map(|(index, slot)| slot.leg.as_ref().map(|leg| (LegIndex(index as u32), leg)))
    }
}
