//! What a run says at its end.

use serde::Serialize;

use crate::Options;
use crate::floor::Floor;
use crate::histogram::Histogram;
use crate::participant::Kind;
use crate::processes::Held;
use crate::tally::{Measured, Tally};
use crate::workload::{Shape, Transport};

#[derive(Debug, Clone, Serialize)]
pub struct Delay {
    pub p50: f64,
    pub p99: f64,
}

/// What listeners of one kind got, where there are two.
#[derive(Debug, Clone, Serialize)]
pub struct Part {
    pub expected: u64,
    pub received: u64,
    pub lost: u64,
    pub duplicates: u64,
    pub delay_ms: Delay,
    pub floor_delay_ms: Option<Delay>,
    pub join_ms: Delay,
}

#[derive(Debug, Clone, Serialize)]
pub struct Report {
    pub workload: &'static str,
    pub transport: &'static str,
    /// How native packets are encrypted; `srtp` where there are none.
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
    /// The longest time without a packet of a speaker, over all who hear one: of half of them and of 99 in 100 it is no longer.
    pub gap_ms: Delay,
    pub longest_gap_ms: f64,
    pub join_ms: Delay,
    /// CPU time of the relay processes, user and system, by packet that arrived; none without their process ids, or if one ended.
    pub sfu_cpu_ns_per_packet: Option<f64>,
    /// The relay's share of one core during the run.
    pub sfu_cpu_share: Option<f64>,
    /// The same of the rest of the server.
    pub signalling_cpu_share: Option<f64>,
    /// What the relay and the rest of the server have grown by since before the first joined, by participant.
    pub sfu_bytes_per_participant: Option<u64>,
    pub signalling_bytes_per_participant: Option<u64>,
    pub floor_ns_per_packet: Option<f64>,
    pub ratio_to_floor: Option<f64>,
    pub generator_dropped: u64,
    /// The share of one core that the generator's media loop took; near 1 it is what is being measured.
    pub generator_cpu_share: f64,
    pub generator_late_ms: f64,
    pub unopened: u64,
    /// Voice connections that broke or were ended by the server during the run, and had not been mended by its end.
    pub connections_lost: u64,
    /// How often somebody joined on another server, or on the same one anew, when told to. What was missed meanwhile is a gap, and lost.
    pub rejoins: u64,
    /// Of a mixed crowd.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub native: Option<Part>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub webrtc: Option<Part>,
}

impl Delay {
    fn of(delays: &Histogram) -> Self {
        Self { p50: delays.quantile_ms(0.5), p99: delays.quantile_ms(0.99) }
    }

    fn of_joins(joins: &[(Kind, f64)], wanted: impl Fn(Kind) -> bool) -> Self {
        let mut sorted: Vec<f64> =
            joins.iter().filter(|(kind, _)| wanted(*kind)).map(|(_, ms)| *ms).collect();
        sorted.sort_by(f64::total_cmp);
        let at = |share: f64| sorted.get((share * sorted.len() as f64) as usize).copied().unwrap_or_default();
        Self { p50: at(0.5), p99: at(0.99) }
    }
}

impl Part {
    fn of(run: &Tally, floor: Option<&Tally>, join_ms: Delay) -> Self {
        Self {
            expected: run.expected,
            received: run.received,
            lost: run.expected.saturating_sub(run.received),
            duplicates: run.duplicates,
            delay_ms: Delay::of(&run.delay),
            floor_delay_ms: floor.map(|floor| Delay::of(&floor.delay)),
            join_ms,
        }
    }
}

pub fn make(
    options: &Options,
    shape: &Shape,
    join_ms: &[(Kind, f64)],
    run: &Measured,
    floor: Option<&Floor>,
    memory: Held,
    (connections_lost, rejoins): (u64, u64),
) -> Report {
    let per_packet = |cpu: std::time::Duration, packets: u64| {
        (packets > 0).then(|| cpu.as_nanos() as f64 / packets as f64)
    };
    let share = |cpu: std::time::Duration| cpu.as_secs_f64() / run.elapsed.as_secs_f64().max(f64::EPSILON);
    let floor_tally = floor.map(|floor| floor.measured.all());
    let all = Part::of(&run.all(), floor_tally.as_ref(), Delay::of_joins(join_ms, |_| true));
    let part = |kind: Kind| {
        let tally = floor.map(|floor| floor.measured.of(kind));
        let joins = Delay::of_joins(join_ms, |of| of == kind);
        (options.transport == Transport::Mixed).then(|| Part::of(run.of(kind), tally, joins))
    };
    let sfu = run.cpu.relays.and_then(|cpu| per_packet(cpu, all.received));
    let floor_cost = floor.and_then(|floor| per_packet(floor.relay_cpu, floor_tally.as_ref()?.received));
    Report {
        workload: shape.name,
        transport: options.transport.name(),
        mode: if options.transport == Transport::WebRtc { "srtp" } else { options.mode.name() },
        participants: shape.participants,
        speakers: shape.speakers.len(),
        seconds: run.elapsed.as_secs_f64(),
        expected: all.expected,
        received: all.received,
        lost: all.lost,
        duplicates: all.duplicates,
        delay_ms: all.delay_ms,
        floor_delay_ms: all.floor_delay_ms,
        gap_ms: Delay::of(&run.longest_gaps),
        longest_gap_ms: run.longest_gaps.quantile_ms(1.0),
        join_ms: all.join_ms,
        sfu_cpu_ns_per_packet: sfu,
        sfu_cpu_share: run.cpu.relays.map(share),
        signalling_cpu_share: run.cpu.signalling.map(share),
        sfu_bytes_per_participant: memory.relays,
        signalling_bytes_per_participant: memory.signalling,
        floor_ns_per_packet: floor_cost,
        ratio_to_floor: sfu.zip(floor_cost).map(|(sfu, floor)| sfu / floor),
        generator_dropped: run.generator_dropped,
        generator_cpu_share: share(run.generator_cpu),
        generator_late_ms: run.generator_late.as_secs_f64() * 1_000.0,
        unopened: run.unopened,
        connections_lost,
        rejoins,
        native: part(Kind::Native),
        webrtc: part(Kind::Browser),
    }
}
