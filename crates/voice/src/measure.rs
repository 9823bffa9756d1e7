//! What the shards report, as rates for the registry and counters for whoever scrapes them.

use std::collections::BTreeMap;

use sfu_wire::Report;

use crate::flood::{FloodWatch, Second, unwanted};

/// The newest report of one shard, and what changed since the one before.
#[derive(Debug, Default)]
pub struct Meter {
    last: Option<Report>,
    pub packets_in_per_s: u64,
    pub packets_out_per_s: u64,
    /// Share of one core.
    pub busy: f32,
    flood: FloodWatch,
}

impl Meter {
    /// The shard is a new process: it counts from nothing. A flood does not end with that.
    pub fn restart(&mut self) {
        *self = Self { flood: std::mem::take(&mut self.flood), ..Self::default() };
    }

    pub fn is_flooded(&self) -> bool {
        self.flood.is_flooded()
    }

    pub fn take(&mut self, shard: u32, report: Report) {
        let before = self.last.take().unwrap_or_default();
        let since = |now: u64, before: u64| now.saturating_sub(before);
        let wall_ns = since(report.uptime_ns, before.uptime_ns).max(1);
        let per_s = |packets: u64| (u128::from(packets) * 1_000_000_000 / u128::from(wall_ns)) as u64;
        let (received, sent) = (since(report.received, before.received), since(report.sent, before.sent));
        self.packets_in_per_s = per_s(received);
        self.packets_out_per_s = per_s(sent);
        self.busy = since(report.cpu_ns, before.cpu_ns) as f32 / wall_ns as f32;
        let wanted = |report: &Report| report.forwarded_in + report.consumed;
        let bad =
            |report: &Report| unwanted(&report.drops) + unwanted(&report.shielded) + report.receive_overflow;
        self.flood.look(Second {
            wanted: per_s(since(wanted(&report), wanted(&before))),
            unwanted: per_s(since(bad(&report), bad(&before))),
        });

        let shard = shard.to_string();
        let count =
            |name: &'static str, n: u64| metrics::counter!(name, "shard" => shard.clone()).increment(n);
        count("guildhall_sfu_packets_received_total", received);
        count("guildhall_sfu_packets_sent_total", sent);
        count("guildhall_sfu_packets_sent_directly_total", since(report.sent_directly, before.sent_directly));
        count("guildhall_sfu_packets_forwarded_in_total", since(report.forwarded_in, before.forwarded_in));
        count("guildhall_sfu_packets_consumed_total", since(report.consumed, before.consumed));
        count("guildhall_sfu_packets_resent_total", since(report.resent, before.resent));
        count("guildhall_sfu_packets_not_resent_total", since(report.not_resent, before.not_resent));
        count("guildhall_sfu_packets_asked_total", since(report.asked, before.asked));
        count("guildhall_sfu_frames_recovered_total", since(report.recovered, before.recovered));
        count("guildhall_sfu_unwritten_total", since(report.unwritten, before.unwritten));
        count("guildhall_sfu_legs_restored_total", since(report.restored, before.restored));
        count("guildhall_sfu_send_failed_total", since(report.send_failed, before.send_failed));
        count(
            "guildhall_sfu_receive_overflow_total",
            since(report.receive_overflow, before.receive_overflow),
        );
        for (name, now, before) in [
            ("guildhall_sfu_packets_dropped_total", &report.drops, &before.drops),
            ("guildhall_sfu_packets_shielded_total", &report.shielded, &before.shielded),
        ] {
            let before: BTreeMap<&str, u64> = before.iter().map(|d| (d.reason.as_str(), d.packets)).collect();
            for drop in now {
                let n = since(drop.packets, before.get(drop.reason.as_str()).copied().unwrap_or(0));
                let labels = [("shard", shard.clone()), ("reason", drop.reason.clone())];
                metrics::counter!(name, &labels).increment(n);
            }
        }
        metrics::gauge!("guildhall_sfu_legs", "shard" => shard.clone()).set(report.legs);
        metrics::gauge!("guildhall_sfu_rooms", "shard" => shard.clone()).set(report.rooms);
        metrics::gauge!("guildhall_sfu_shielded", "shard" => shard.clone())
            .set(u32::from(report.is_shielded));
        metrics::gauge!("guildhall_sfu_flooded", "shard" => shard.clone()).set(u32::from(self.is_flooded()));
        metrics::gauge!("guildhall_sfu_busy", "shard" => shard).set(self.busy);
        self.last = Some(report);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sfu_wire::DropCount;

    #[test]
    fn rates_are_of_the_time_between_two_reports() {
        let report = |s: u64| Report {
            received: 100 * s,
            sent: 900 * s,
            cpu_ns: 250_000_000 * s,
            uptime_ns: 1_000_000_000 * s,
            ..Report::default()
        };
        let mut meter = Meter::default();
        meter.take(0, report(1));
        meter.take(0, report(3));
        assert_eq!((meter.packets_in_per_s, meter.packets_out_per_s, meter.busy), (100, 900, 0.25));
        // A successor counts from nothing; a forgotten restart must not become a huge number either.
        meter.take(0, report(1));
        assert_eq!(meter.packets_in_per_s, 0);
        meter.restart();
        meter.take(0, report(1));
        assert_eq!(meter.packets_in_per_s, 100);
    }

    #[test]
    fn a_flood_is_seen_in_what_was_dropped_or_overflowed_and_outlives_a_relay() {
        let report = |s: u64| Report {
            received: 6_100 * s,
            forwarded_in: 100 * s,
            drops: vec![DropCount { reason: "unknown_source".to_owned(), packets: 2_000 * s }],
            shielded: vec![DropCount { reason: "strangers".to_owned(), packets: 2_000 * s }],
            receive_overflow: 2_000 * s,
            uptime_ns: 1_000_000_000 * s,
            ..Report::default()
        };
        let mut meter = Meter::default();
        (1..=5).for_each(|s| meter.take(0, report(s)));
        assert!(meter.is_flooded());
        meter.restart();
        meter.take(0, report(1));
        assert!(meter.is_flooded());
    }
}
