//! What is measured.

use cluster_wire::record::ServerRecord;

use super::TICKS_PER_S;

/// How evenly the servers of a region are used, each figure as a multiple of the mean.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Balance {
    pub max: f64,
    pub p99: f64,
    pub deviation: f64,
}

impl Balance {
    pub fn of(mut participants: Vec<u32>) -> Self {
        participants.sort_unstable();
        let count = participants.len() as f64;
        let mean = participants.iter().map(|n| f64::from(*n)).sum::<f64>() / count;
        if mean == 0.0 {
            return Self::default();
        }
        let square = participants.iter().map(|n| (f64::from(*n) - mean).powi(2)).sum::<f64>() / count;
        let at = |share: f64| f64::from(participants[((count * share).ceil() as usize).max(1) - 1]) / mean;
        Self { max: at(1.0), p99: at(0.99), deviation: square.sqrt() / mean }
    }

    pub fn mean(all: &[Self]) -> Self {
        let count = all.len() as f64;
        let mean = |of: fn(&Self) -> f64| all.iter().map(of).sum::<f64>() / count;
        Self { max: mean(|b| b.max), p99: mean(|b| b.p99), deviation: mean(|b| b.deviation) }
    }
}

/// The worst that any server met since the last look.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Watched {
    /// Placed on it between two of its reports, and the people in them.
    pub guilds_between_reports: u32,
    pub people_between_reports: u32,
    /// Clients that connected within a second.
    pub arrivals_per_s: u32,
    /// Its participants as a share of its capacity.
    pub fullest: f64,
}

impl Watched {
    pub fn placed(&mut self, guilds: u32, people: u32) {
        self.guilds_between_reports = self.guilds_between_reports.max(guilds);
        self.people_between_reports = self.people_between_reports.max(people);
    }

    pub fn arrived(&mut self, per_second: u32, record: &ServerRecord) {
        self.arrivals_per_s = self.arrivals_per_s.max(per_second);
        self.fullest = self.fullest.max(f64::from(record.load.participants) / f64::from(record.capacity));
    }
}

/// Clients that connected in each of the last ticks.
#[derive(Default)]
pub struct Arrivals {
    ticks: [u32; TICKS_PER_S as usize],
    last: u64,
}

impl Arrivals {
    /// How many there were within the second.
    pub fn one_at(&mut self, tick: u64) -> u32 {
        for passed in (self.last + 1..=tick).rev().take(self.ticks.len()) {
            self.ticks[(passed % TICKS_PER_S) as usize] = 0;
        }
        self.last = tick;
        self.ticks[(tick % TICKS_PER_S) as usize] += 1;
        self.ticks.iter().sum()
    }
}
