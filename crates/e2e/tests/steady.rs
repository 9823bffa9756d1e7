//! What the relay asks of the kernel while people talk: nothing but to receive, to send and to wait.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use e2e::call::{begin_raid, relay_of};
use e2e::{SaidSoFar, Server};

/// For each packet, as often as there are packets.
const FOR_PACKETS: [&str; 3] = ["epoll_pwait2", "recvmmsg", "sendmmsg"];
/// Once a second: the report to signalling, with the processor time and the kernel's counts of overflows and of what its shield has dropped in it. And whoever begins to speak is told of.
const FOR_REPORTS: [&str; 5] = ["write", "sendto", "getsockopt", "clock_gettime", "bpf"];

#[test]
fn while_people_talk_the_relay_receives_sends_and_waits() {
    let server = Server::start_with(1, &["--shards", "1"]);
    let mut load = begin_raid(&server, &["--participants", "20", "--speakers", "4", "--seconds", "6"]);
    // A second after it began it puts one up.
    let is_shielded = server.process.lines.until_said(
        SaidSoFar::NOTHING,
        "event=shield is=",
        Instant::now() + Duration::from_secs(20),
    );
    assert!(is_shielded, "{}", server.process.lines.story());
    let folder = tempfile::tempdir().expect("a temporary folder");
    let trace = folder.path().join("trace");
    // For three seconds.
    let watched = Command::new("timeout")
        .args(["--signal=INT", "3", "strace", "-f", "-q", "-o"])
        .arg(&trace)
        .args(["-p", &relay_of(server.process.pid()).to_string()])
        .stdin(Stdio::null())
        .status()
        .expect("timeout is there");
    assert_eq!(watched.code(), Some(124), "strace watched until its time was over");
    let report = load.lines.until("the report", Duration::from_secs(60), |v| v.get("expected").is_some());
    assert_eq!(report["lost"], 0, "{report}");

    let text = std::fs::read_to_string(&trace).expect("strace wrote what it saw");
    let mut calls: BTreeMap<&str, u64> = BTreeMap::new();
    for line in text.lines().filter(|line| !line.contains(" resumed>")) {
        // `PID name(arguments) = result`
        if let Some(name) = line.split_whitespace().nth(1).and_then(|call| call.split_once('(')) {
            *calls.entry(name.0).or_default() += 1;
        }
    }
    println!("{calls:?}");
    let of = |name: &str| calls.get(name).copied().unwrap_or_default();
    // 200 packets came in a second.
    assert!(of("recvmmsg") > 300 && of("sendmmsg") > 300, "{calls:?}");
    assert!(
        of("epoll_pwait2") <= of("recvmmsg") + 50,
        "one wait for what came, and some for timers: {calls:?}"
    );
    for (name, count) in calls.iter().filter(|(name, _)| !FOR_PACKETS.contains(*name)) {
        // Anything may happen once, such as a wait that strace interrupted.
        let at_most = if FOR_REPORTS.contains(name) { 25 } else { 2 };
        assert!(*count <= at_most, "{name} is called {count} times: {calls:?}");
    }
}
