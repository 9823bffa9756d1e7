//! Signalling under load, with small numbers: the programs that measure it come to their end, and what they say of a server that is well is well.

use std::path::Path;
use std::process::Command;

use e2e::Server;
use serde_json::Value;

/// The report of one of `guildhall load`'s programs.
fn load(data: &Path, arguments: &[&str]) -> Value {
    let mut command = Command::new(e2e::guildhall());
    let [program, options @ ..] = arguments else { panic!("a program is named") };
    command.args(["load", program, "--data"]).arg(data).args(options);
    let out = command.output().expect("load starts");
    let words = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{words}");
    let report: Value = serde_json::from_slice(&out.stdout).expect("load prints one JSON object");
    println!("{report}");
    report
}

/// Everybody who came heard somebody, in the order of things, and those who were in before missed nothing.
fn assert_all_heard(report: &Value, joins: u64, expected: u64) {
    for (name, value) in [
        ("joins", joins),
        ("failed", 0),
        ("left_out", 0),
        ("expected", expected),
        ("lost", 0),
        ("duplicates", 0),
    ] {
        assert_eq!(report[name], value, "{name}: {report}");
    }
    let steps = ["server_named_ms", "voice_open_ms", "voice_ready_ms", "described_ms", "audible_ms"];
    let p50 = steps.map(|step| report[step]["p50"].as_f64().expect("a number"));
    assert!(p50[0] > 0.0 && p50.is_sorted(), "{report}");
    assert!(report["server_cpu_ms_per_join"].as_f64() > Some(0.0), "{report}");
}

#[test]
fn whoever_joins_hears_somebody_and_those_who_are_in_miss_nothing() {
    let server = Server::start(1);
    let options = ["--per-second", "10", "--seconds", "2", "--people", "15", "--stay-ms", "500"];
    let report = load(server.data(), &[&["joins", "--speakers", "2"], &options[..]].concat());
    // Two speakers, who hear each other, for half a second, two and two more.
    assert_all_heard(&report, 20, 2 * 225);

    let options = ["--people", "30", "--seconds", "1", "--after-seconds", "2", "--transport", "mixed"];
    let report =
        load(server.data(), &[&["storm", "--speakers", "2", "--listeners", "4"], &options[..]].concat());
    assert_all_heard(&report, 30, 2 * 175 * 5);
    assert!(report["everybody_in_s"].as_f64() > Some(0.9), "{report}");
}

#[test]
fn a_change_reaches_every_session_of_a_guild() {
    let server = Server::start(1);
    let data = server.data();
    std::thread::scope(|scope| {
        for compression in ["none", "zstd-stream"] {
            scope.spawn(move || {
                let options = ["--sessions", "150", "--changes", "2", "--compress", compression];
                let report = load(data, &[&["crowd"], &options[..]].concat());
                let whole = ["sessions", "changes"].map(|name| report[name].as_u64());
                assert_eq!((whole, &report["compression"]), ([Some(150), Some(2)], &compression.into()));
                let number = |part: &Value| part.as_f64().expect("a number");
                assert!(number(&report["receipt_ms"]["p50"]) > 0.0, "{report}");
                assert!(
                    number(&report["last_ms"]["worst"]) >= number(&report["receipt_ms"]["p99"]),
                    "{report}"
                );
                assert!(number(&report["rss_per_session_bytes"]) > 0.0, "{report}");
            });
        }
    });
}
