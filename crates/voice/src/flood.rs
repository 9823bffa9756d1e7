//! When a shard is flooded, and when it no longer is.

use sfu_wire::DropCount;

use crate::limits::{FLOOD_OVER_S, FLOOD_PACKETS_PER_S, FLOOD_S, FLOOD_SHARE};

/// Dropped by the rules of the call: their senders are in it and do nothing wrong.
const HARMLESS: [&str; 2] = ["muted", "late"];

/// One second of a shard, looked at for what does not belong there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Second {
    /// Packets that were of use.
    pub wanted: u64,
    /// Packets that were not: from strangers, forged, replayed, too many, or never read because the socket overflowed.
    pub unwanted: u64,
}

/// Of these drops, the ones that are unwanted.
pub fn unwanted(drops: &[DropCount]) -> u64 {
    drops.iter().filter(|drop| !HARMLESS.contains(&drop.reason.as_str())).map(|drop| drop.packets).sum()
}

/// Flooded from [`FLOOD_S`] bad seconds on, until [`FLOOD_OVER_S`] good ones have passed: whoever is moved away should not come back into
/// the next wave.
#[derive(Debug, Default)]
pub struct FloodWatch {
    is_flooded: bool,
    /// Seconds in a row that speak for the other state.
    against: u32,
}

impl FloodWatch {
    pub fn is_flooded(&self) -> bool {
        self.is_flooded
    }

    pub fn look(&mut self, second: Second) {
        let bound = FLOOD_PACKETS_PER_S.max(second.wanted.saturating_mul(FLOOD_SHARE));
        let (speaks_against, enough) = match self.is_flooded {
            false => (second.unwanted >= bound, FLOOD_S),
            true => (second.unwanted < bound / 2, FLOOD_OVER_S),
        };
        self.against = if speaks_against { self.against + 1 } else { 0 };
        if self.against >= enough {
            (self.is_flooded, self.against) = (!self.is_flooded, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALM: Second = Second { wanted: 1_000, unwanted: 10 };
    const BAD: Second = Second { wanted: 1_000, unwanted: FLOOD_PACKETS_PER_S };
    /// Fewer than make a flood, more than end one.
    const RESTLESS: Second = Second { wanted: 1_000, unwanted: FLOOD_PACKETS_PER_S - 1 };

    fn after(watch: &mut FloodWatch, seconds: impl IntoIterator<Item = Second>) -> bool {
        seconds.into_iter().for_each(|second| watch.look(second));
        watch.is_flooded()
    }

    #[test]
    fn a_flood_begins_after_bad_seconds_in_a_row_and_ends_after_many_good_ones() {
        let mut watch = FloodWatch::default();
        let (few, many) = (FLOOD_S as usize, FLOOD_OVER_S as usize);
        assert!(!after(&mut watch, [CALM, BAD, CALM, BAD, RESTLESS]));
        assert!(!after(&mut watch, std::iter::repeat_n(BAD, few - 1)));
        assert!(after(&mut watch, [BAD]));
        assert!(after(&mut watch, std::iter::repeat_n(CALM, many - 1)));
        assert!(after(&mut watch, [RESTLESS]));
        assert!(after(&mut watch, std::iter::repeat_n(CALM, many - 1)));
        assert!(!after(&mut watch, [CALM]));
    }

    #[test]
    fn a_busy_server_bears_more() {
        let busy = Second { wanted: 1_000_000, unwanted: 1_000_000 };
        assert!(!after(&mut FloodWatch::default(), [busy; 10]));
        assert!(after(&mut FloodWatch::default(), [Second { unwanted: 4_000_000, ..busy }; 10]));
        assert!(!after(&mut FloodWatch::default(), [Second { wanted: u64::MAX, unwanted: 1 }; 10]));
    }

    #[test]
    fn the_rules_of_a_call_are_no_flood() {
        let drops = ["unknown_source", "muted", "late", "replayed"]
            .map(|reason| DropCount { reason: reason.to_owned(), packets: 5 });
        assert_eq!(unwanted(&drops), 10);
    }
}
