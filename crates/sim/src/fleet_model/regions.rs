//! Where people are, and when.

use model::RegionId;

/// The thirteen of the published fleet. How they share its people is not published; these shares, of a hundred of all regions' busiest hours, are ours.
const REGIONS: [(&str, u32, f64); 13] = [
    // Its share, and its hours ahead of UTC.
    ("brazil", 10, -3.0),
    ("eu-central", 14, 1.0),
    ("eu-west", 12, 0.0),
    ("hongkong", 3, 8.0),
    ("japan", 3, 9.0),
    ("russia", 7, 3.0),
    ("singapore", 4, 8.0),
    ("southafrica", 1, 2.0),
    ("sydney", 2, 10.0),
    ("us-central", 10, -6.0),
    ("us-east", 18, -5.0),
    ("us-south", 6, -6.0),
    ("us-west", 10, -8.0),
];

/// The hour in which most people are in voice, and which share of those are at least.
const BUSIEST_HOUR: f64 = 20.5;
const QUIETEST_SHARE: f64 = 0.2;

pub fn id(region: usize) -> RegionId {
    RegionId(REGIONS[region].0.to_owned())
}

fn busy(hour: f64) -> f64 {
    let swing = (1.0 - QUIETEST_SHARE) / 2.0;
    1.0 - swing + swing * ((hour - BUSIEST_HOUR) / 24.0 * std::f64::consts::TAU).cos()
}

/// Of its busiest hour's people, at this hour of UTC.
fn share_at(region: usize, hour: f64) -> f64 {
    let (_, share, ahead) = REGIONS[region];
    f64::from(share) * busy(hour + ahead)
}

pub struct Regions {
    /// People for each hundredth.
    scale: f64,
    /// Hours of UTC at which the simulation begins: the fleet's busiest.
    begin: f64,
}

impl Regions {
    pub fn new(users: u32) -> Self {
        let total = |hour: f64| (0..REGIONS.len()).map(|region| share_at(region, hour)).sum::<f64>();
        let quarters = (0..96).map(|quarter| f64::from(quarter) / 4.0);
        let begin = quarters.max_by(|a, b| total(*a).total_cmp(&total(*b))).expect("a day has hours");
        Self { scale: f64::from(users) / total(begin), begin }
    }

    pub fn ids(&self) -> Vec<RegionId> {
        (0..REGIONS.len()).map(id).collect()
    }

    pub fn users(&self, region: usize, seconds: u64) -> u32 {
        (share_at(region, self.begin + seconds as f64 / 3_600.0) * self.scale) as u32
    }

    /// Each region has what its own busiest hour needs, and two at least.
    pub fn servers(&self, all: usize) -> Vec<usize> {
        let mut counts: Vec<usize> =
            REGIONS.iter().map(|(_, share, _)| (all * *share as usize / 100).max(2)).collect();
        // What rounding left over goes to the largest.
        let largest = Self::largest();
        counts[largest] = (counts[largest] + all).saturating_sub(counts.iter().sum()).max(2);
        counts
    }

    pub fn largest() -> usize {
        (0..REGIONS.len()).max_by_key(|region| REGIONS[*region].1).expect("there are regions")
    }
}
