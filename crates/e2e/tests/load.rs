//! Two hundred participants, five of them speaking, for a minute.

use std::process::Command;

use e2e::Server;
use serde_json::Value;

/// Sums a counter over its labels.
fn metric(text: &str, name: &str) -> u64 {
    let lines = text
        .lines()
        .filter(|l| l.starts_with(name) && matches!(l.as_bytes().get(name.len()), Some(b'{' | b' ')));
    lines.filter_map(|l| l.rsplit(' ').next()?.parse::<f64>().ok()).sum::<f64>() as u64
}

#[test]
fn a_raid_of_two_hundred_loses_nothing_and_every_packet_is_accounted_for() {
    let server = Server::start(1);
    let out = Command::new(e2e::guildhall())
        .args(["load", "--workload", "raid", "--seconds", "60", "--json", "--data"])
        .arg(server.data())
        .output()
        .expect("load starts");
    let words = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{words}\n{}", server.process.lines.story());
    let report: Value = serde_json::from_slice(&out.stdout).expect("load prints JSON");
    println!("{report}");
    assert_eq!(report["participants"], 200, "{report}");
    assert_eq!(report["expected"], 5 * 50 * 60 * 199, "{report}");
    assert_eq!(report["lost"], 0, "{report}");
    assert_eq!(report["unopened"], 0, "{report}");
    assert_eq!(report["generator_dropped"], 0, "{report}");
    assert!(report["delay_ms"]["p99"].as_f64() > Some(0.0), "{report}");

    let page = server.get("/metrics");
    let count = |name: &str| metric(&page, &format!("guildhall_sfu_packets_{name}_total"));
    let (received, forwarded, consumed, dropped) =
        (count("received"), count("forwarded_in"), count("consumed"), count("dropped"));
    assert_eq!(received, forwarded + consumed + dropped, "conservation:\n{page}");
    assert!(forwarded >= 5 * 50 * 60, "{forwarded} packets were forwarded");
}
