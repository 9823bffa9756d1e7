//! Raids: many participants in one channel, a few of them speaking, with native clients, with browsers and with both.

use std::net::UdpSocket;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use e2e::call::{Sums, begin_raid, relay_of};
use e2e::{Server, signal_pid};
use serde_json::Value;

fn load(data: &Path, options: &[&str]) -> Output {
    Command::new(e2e::guildhall())
        .args(["load", "--json", "--data"])
        .arg(data)
        .args(options)
        .output()
        .expect("load starts")
}

/// Runs a raid of which not a packet may be lost, and returns the report.
fn raid(server: &Server, options: &[&str], expected: u64) -> Value {
    let out = load(server.data(), &[&["--workload", "raid"], options].concat());
    let words = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{words}\n{}", server.process.lines.story());
    let report: Value = serde_json::from_slice(&out.stdout).expect("load prints JSON");
    println!("{report}");
    assert_eq!(report["expected"], expected, "{report}");
    for name in ["lost", "duplicates", "unopened", "generator_dropped"] {
        assert_eq!(report[name], 0, "{name}: {report}");
    }
    assert!(report["delay_ms"]["p99"].as_f64() > Some(0.0), "{report}");
    report
}

/// Every packet that came was forwarded, consumed or dropped for a reason, and at least so many were forwarded.
fn assert_conserved(server: &Server, sent: u64) {
    let sums = Sums::conserved_after(server, 0);
    assert!(sums.forwarded_in >= sent, "{sums:?}");
}

#[test]
fn a_raid_of_two_hundred_loses_nothing_and_every_packet_is_accounted_for() {
    let server = Server::start(1);
    let report = raid(&server, &["--seconds", "60"], 5 * 50 * 60 * 199);
    assert_eq!((&report["transport"], &report["participants"]), (&"native".into(), &200.into()));
    assert_conserved(&server, 5 * 50 * 60);
}

const SMALL: [&str; 6] = ["--participants", "60", "--speakers", "3", "--seconds", "8"];

#[test]
fn a_raid_of_browsers_loses_nothing() {
    let server = Server::start(1);
    let report = raid(&server, &[&SMALL[..], &["--transport", "webrtc"]].concat(), 3 * 50 * 8 * 59);
    assert_eq!((&report["transport"], &report["mode"]), (&"webrtc".into(), &"srtp".into()));
    assert_conserved(&server, 3 * 50 * 8);
}

#[test]
fn browsers_and_native_clients_hear_each_other_without_loss() {
    let server = Server::start(1);
    let report = raid(&server, &[&SMALL[..], &["--transport", "mixed"]].concat(), 3 * 50 * 8 * 59);
    // Half of them each; of the three speakers, who do not hear themselves, two are native and one is a browser.
    for (kind, heard) in [("native", 29 + 29 + 30), ("webrtc", 30 + 30 + 29)] {
        let part = &report[kind];
        assert_eq!(part["expected"], 50 * 8 * heard, "{report}");
        assert_eq!(part["received"], part["expected"], "{report}");
        assert!(part["delay_ms"]["p99"].as_f64() > Some(0.0), "{report}");
    }
    assert_conserved(&server, 3 * 50 * 8);
}

/// The longest time that somebody hears nothing of a speaker when the relay dies. Far above what it takes on a machine with nothing else to do.
const GAP_MS_MAX: f64 = 400.0;

/// In the middle of what they say, and once more when all is well.
fn assert_deaths_are_hardly_heard(deaths: u64) {
    let server = Server::start(1);
    let seconds = (4 * (deaths + 1)).to_string();
    let mut load = begin_raid(&server, &["--transport", "mixed", "--seconds", &seconds]);
    for _ in 0..deaths {
        std::thread::sleep(Duration::from_secs(4));
        signal_pid(relay_of(server.process.pid()), "KILL");
    }
    let report = load.lines.until("the report", Duration::from_secs(60), |v| v.get("expected").is_some());
    println!("{report}");
    for name in ["duplicates", "unopened", "connections_lost"] {
        assert_eq!(report[name], 0, "{name}: {report}");
    }
    assert!(report["gap_ms"]["p99"].as_f64() <= Some(GAP_MS_MAX), "{report}");
    // Packets wait in the kernel while no relay runs; what one had read when it died is gone.
    let number = |name: &str| report[name].as_f64().expect("a number");
    assert!(number("lost") <= number("expected") / 200.0, "{report}");
}

#[test]
fn a_relay_that_dies_under_a_mixed_raid_is_hardly_heard() {
    assert_deaths_are_hardly_heard(1);
}

/// The third relay starts a tenth of a second later, for it may be that it dies of what it is given.
#[test]
fn a_relay_that_dies_twice_under_a_mixed_raid_is_hardly_heard() {
    assert_deaths_are_hardly_heard(2);
}

#[test]
fn a_server_that_does_not_answer_over_udp_is_named_in_time() {
    // Everyone is told to send to where nobody listens: media is taken at another address of this machine.
    let silent = UdpSocket::bind("127.0.0.1:0").expect("a port is free");
    let elsewhere = format!("127.0.0.9:{}", silent.local_addr().expect("it is bound").port());
    let server = Server::start_with(1, &["--shards", "1", "--announce", "127.0.0.1", "--media", &elsewhere]);
    let data = server.data();
    let check = |transport: &str, missed: &str| {
        let started = Instant::now();
        let out = load(data, &["--participants", "2", "--speakers", "1", "--transport", transport]);
        let (took, words) = (started.elapsed(), String::from_utf8_lossy(&out.stderr));
        assert!(!out.status.success(), "{}", String::from_utf8_lossy(&out.stdout));
        assert!(words.contains("does not answer over UDP") && words.contains(missed), "{words}");
        assert!(words.contains("participant 0"), "{words}");
        assert!(took.as_secs() < 30, "{transport} took {took:?}");
    };
    std::thread::scope(|scope| {
        scope.spawn(|| check("webrtc", "no ICE check"));
        scope.spawn(|| check("native", "no IP discovery"));
    });
}
