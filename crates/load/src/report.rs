//! What a run says at its end.

use serde::Serialize;

use crate::Options;
use crate::floor::Floor;
use crate::media::Measured;
use crate::workload::Shape;

#[derive(Debug, Clone, Serialize)]
pub struct Delay {
    pub p50: f64,
    pub p99: f64,
}

#[derive(Debug, Clone, Serialize)]
pub struct Report {
    pub workload: &'static str,
    pub transport: &'static str,
    pub mode: &'static str,
    pub participants: usize,
    pub speakers: usize,
    pub seconds: f64,
    /// Packets the listeners should have got, and did.
    pub expected: u64,
    pub received: u64,
    pub lost: u64,
    pub duplicates: u64,
    /// From the generator's send to its receive, its own waiting included.
    pub delay_ms: Delay,
    /// The same through the floor relay: what the generator and the machine's sockets add by themselves.
    pub floor_delay_ms: Option<Delay>,
    pub longest_gap_ms: f64,
    pub join_ms: Delay,
    /// CPU time of the relay processes, user and system, by packet that arrived; none without their process ids.
    pub sfu_cpu_ns_per_packet: Option<f64>,
    /// The relay's share of one core during the run.
    pub sfu_cpu_share: Option<f64>,
    pub floor_ns_per_packet: Option<f64>,
    pub ratio_to_floor: Option<f64>,
    pub generator_dropped: u64,
    pub generator_late_ms: f64,
    pub unopened: u64,
}

pub fn make(
    options: &Options,
    shape: &Shape,
    join_ms: Vec<f64>,
    run: Measured,
    floor: Option<Floor>,
) -> Report {
    let counted = !options.sfu_pids.is_empty();
    let per_packet = |cpu: std::time::Duration, packets: u64| {
        (packets > 0).then(|| cpu.as_nanos() as f64 / packets as f64)
    };
    let sfu = counted.then(|| per_packet(run.sfu_cpu, run.received)).flatten();
    let floor_cost = floor.as_ref().and_then(|f| per_packet(f.relay_cpu, f.measured.received));
    let delay = |m: &Measured| Delay { p50: m.delay.quantile_ms(0.5), p99: m.delay.quantile_ms(0.99) };
    let mut joins = join_ms;
    joins.sort_by(f64::total_cmp);
    let join = |share: f64| joins.get((share * joins.len() as f64) as usize).copied().unwrap_or_default();
    Report {
        workload: shape.name,
        transport: "native",
        mode: options.mode.name(),
        participants: shape.participants,
        speakers: shape.speakers,
        seconds: run.elapsed.as_secs_f64(),
        expected: run.expected,
        received: run.received,
        lost: run.expected.saturating_sub(run.received),
        duplicates: run.duplicates,
        delay_ms: delay(&run),
        floor_delay_ms: floor.as_ref().map(|f| delay(&f.measured)),
        longest_gap_ms: run.longest_gap.as_secs_f64() * 1_000.0,
        join_ms: Delay { p50: join(0.5), p99: join(0.99) },
        sfu_cpu_ns_per_packet: sfu,
        sfu_cpu_share: counted
            .then(|| run.sfu_cpu.as_secs_f64() / run.elapsed.as_secs_f64().max(f64::EPSILON)),
        floor_ns_per_packet: floor_cost,
        ratio_to_floor: sfu.zip(floor_cost).map(|(sfu, floor)| sfu / floor),
        generator_dropped: run.generator_dropped,
        generator_late_ms: run.generator_late.as_secs_f64() * 1_000.0,
        unopened: run.unopened,
    }
}
