//! The operator replaces the relay while people talk.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use e2e::call::{Sums, begin_raid, begin_raid_in, relay_of};
use e2e::{Net, SaidSoFar, Server, measured};
use serde_json::Value;

/// The longest time that a listener hears nothing of a speaker. Far above the 25 ms that it takes on a machine with nothing else to do.
const GAP_MS_MAX: f64 = 500.0;
const REPLACEMENTS: usize = 5;

fn upgrade(server: &Server, options: &[&str]) -> Output {
    let mut command = Command::new(e2e::guildhall());
    command.args(["ctl", "--data"]).arg(server.data()).args(["upgrade-sfu", "all"]).args(options);
    command.output().unwrap()
}

/// Half of them are browsers. Each packet that is opened twice, or cannot be opened because its number was used before, would be counted.
#[test]
fn the_relay_is_replaced_again_and_again_under_a_raid_and_not_a_packet_is_lost() {
    let server = Server::start(1);
    let mut load = begin_raid(
        &server,
        &["--transport", "mixed", "--participants", "40", "--speakers", "5", "--seconds", "20"],
    );
    let mut relay = relay_of(server.process.pid());
    for _ in 0..REPLACEMENTS {
        // In the middle of what they say.
        std::thread::sleep(Duration::from_millis(700));
        let out = upgrade(&server, &[]);
        assert!(
            out.status.success(),
            "{}{}",
            String::from_utf8_lossy(&out.stderr),
            server.process.lines.story()
        );
        let status: Value = serde_json::from_slice(&out.stdout).unwrap();
        assert_eq!((&status["health"], &status["relay"]["restarts"]), (&"ok".into(), &0.into()), "{status}");
        assert_eq!(status["relay"]["version"], status["version"], "{status}");
        let next = relay_of(server.process.pid());
        assert_ne!(next, relay);
        relay = next;
    }
    let report = load.lines.until("the report", Duration::from_secs(60), |v| v.get("expected").is_some());
    measured(format!("of {} packets {} were lost", report["expected"], report["lost"]), "0");
    let longest = &report["longest_gap_ms"];
    measured(format!("the longest gap was {longest} ms"), format!("{GAP_MS_MAX} ms"));
    for name in ["lost", "duplicates", "unopened", "connections_lost", "generator_dropped"] {
        assert_eq!(report[name], 0, "{name}: {report}\n{}", server.process.lines.story());
    }
    assert!(report["longest_gap_ms"].as_f64() <= Some(GAP_MS_MAX), "{report}");
    // What each of them took is told, to the last packet. The last one tells it within a second.
    let start = Instant::now();
    while Sums::conserved_after(&server, 0).forwarded_in < 5 * 50 * 20 {
        assert!(start.elapsed().as_secs() < 20, "{:?}", Sums::read(&server));
        std::thread::sleep(Duration::from_millis(100));
    }
    let page = server.get("/metrics");
    let retired = format!(r#"guildhall_voice_relay_ends_total{{reason="retired"}} {REPLACEMENTS}"#);
    assert!(page.contains(&retired), "{page}");
}

/// Across a wire. What arrives was sealed, numbered and checked as by the kernel's sockets, from the same port.
#[test]
fn past_the_kernel_a_raid_misses_nothing_and_the_next_relay_goes_on_that_way() {
    let net = Net::new();
    let server = Server::start_in(&net, 1, &["--egress", "xdp", "--shards", "2"]);
    let options = ["--transport", "mixed", "--participants", "20", "--speakers", "4", "--seconds", "4"];
    let mut load = begin_raid_in(&net, &server, &options);
    let said = |so_far, what: &str| {
        let deadline = Instant::now() + Duration::from_secs(30);
        let is_said = server.process.lines.until_said(so_far, what, deadline);
        assert!(is_said, "{what} is not said\n{}", server.process.lines.story());
    };
    let opened = "event=egress_device device=wire queue=0";
    said(SaidSoFar::NOTHING, opened);
    let so_far = server.process.lines.said_so_far();
    assert!(upgrade(&server, &[]).status.success(), "{}", server.process.lines.story());
    said(so_far, opened);
    let report = load.lines.until("the report", Duration::from_secs(60), |v| v.get("expected").is_some());
    for name in ["lost", "duplicates", "unopened", "connections_lost", "generator_dropped"] {
        assert_eq!(report[name], 0, "{name}: {report}\n{}", server.process.lines.story());
    }
    assert!(report["expected"].as_u64() >= Some(4 * 50 * 19), "{report}");
    let page = server.get("/metrics");
    let sum = |name: &str| {
        let lines =
            page.lines().filter(|line| line.starts_with(&format!("guildhall_sfu_packets_{name}_total")));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum::<f64>()
    };
    let (sent, direct) = (sum("sent"), sum("sent_directly"));
    measured(format!("{direct} of {sent} packets went past the kernel"), "80 %");
    // The first to everybody, and one a second, go by its sockets.
    assert!(direct >= 0.8 * sent, "{page}");
}

#[test]
fn a_program_that_is_no_relay_changes_nothing_and_the_operator_reads_why() {
    let server = Server::start(1);
    let mut load = begin_raid(
        &server,
        &["--transport", "mixed", "--participants", "10", "--speakers", "2", "--seconds", "12"],
    );
    let relay = relay_of(server.process.pid());
    let check = |options: &[&str], why: &str| {
        let out = upgrade(&server, options);
        let said = String::from_utf8_lossy(&out.stderr);
        assert!(!out.status.success() && said.contains(why), "{options:?}: {said}");
        assert_eq!(relay_of(server.process.pid()), relay);
    };
    check(&["--binary", "/nowhere/guildhall"], "cannot be started: No such file");
    check(&["--binary", "/bin/false"], "ended before it said what it is: exit status: 1");
    // It neither ends nor says anything.
    let hanging = server.data().join("hanging");
    std::fs::write(&hanging, "#!/bin/sh\nexec sleep 1000\n").unwrap();
    make_executable(&hanging);
    check(&["--binary", hanging.to_str().unwrap()], "said nothing for 5 s");
    let report = load.lines.until("the report", Duration::from_secs(60), |v| v.get("expected").is_some());
    for name in ["lost", "duplicates", "unopened", "connections_lost"] {
        assert_eq!(report[name], 0, "{name}: {report}");
    }
    let status: Value = serde_json::from_str(&server.ctl(&["servers"])).unwrap();
    assert_eq!(status["relay"]["upgrade"]["state"], "failed", "{status}");
    assert!(status["relay"]["upgrade"]["error"].as_str().unwrap().contains("said nothing"), "{status}");
}

fn make_executable(path: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}
