//! Which legs relays died with.
//!
//! A relay that dies in the middle of a packet dies again when that packet, or the next of its kind, comes to its successor. Once may be
//! chance; who is blamed a second time is kept from the relay, so that all the others' calls go on.

use std::time::Instant;

use client_wire::voice::CloseCode;

use crate::limits::{BLAME_WINDOW, BLAMES_MAX};
use crate::{Event, Now, VoiceCore};

/// The legs that were blamed once, in order of time.
#[derive(Debug, Default)]
pub struct Blames(Vec<(u64, Instant)>);

impl Blames {
    /// Whether it is the second time.
    fn blame(&mut self, now: Instant, leg: u64) -> bool {
        self.0.retain(|(_, at)| now < *at + BLAME_WINDOW);
        if let Some(at) = self.0.iter().position(|(blamed, _)| *blamed == leg) {
            self.0.remove(at);
            return true;
        }
        if self.0.len() >= BLAMES_MAX {
            self.0.remove(0);
        }
        self.0.push((leg, now));
        false
    }
}

impl VoiceCore {
    /// A relay died while its shard was busy with a leg. The second time the leg ends, before the next relay hears of it; its client is not asked
    /// to come back, because it would bring along whatever it was. True when that is so.
    pub fn handle_relay_blames(&mut self, now: Now, shard: u32, leg: u64) -> bool {
        let Some(key) = self.legs.get(shard as usize).and_then(|legs| legs.get(&leg)).copied() else {
            return false;
        };
        self.event(Event::Blamed);
        if !self.blames.blame(now.instant, leg) {
            return false;
        }
        self.event(Event::LeftOut);
        self.end_presence(key, Some(CloseCode::Disconnected));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn twice_within_the_window() {
        let start = Instant::now();
        let mut blames = Blames::default();
        assert!(!blames.blame(start, 1) && !blames.blame(start, 2));
        assert!(blames.blame(start + BLAME_WINDOW - Duration::from_millis(1), 1));
        assert!(!blames.blame(start + BLAME_WINDOW - Duration::from_millis(1), 1), "that one was judged");
        assert!(!blames.blame(start + BLAME_WINDOW, 2), "too long ago");
    }

    #[test]
    fn the_oldest_is_forgotten() {
        let start = Instant::now();
        let mut blames = Blames::default();
        for leg in 0..=BLAMES_MAX as u64 {
            assert!(!blames.blame(start, leg));
        }
        assert!(!blames.blame(start, 0) && blames.blame(start, BLAMES_MAX as u64));
        assert_eq!(blames.0.len(), BLAMES_MAX - 1);
    }
}
