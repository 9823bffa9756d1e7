//! An hour in which one speaks after the other and others come and go: what has grown by its end.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde_json::Value;

use crate::cases::Settings;
use crate::server::Server;
use crate::table::Row;

const SECONDS: u64 = 3_600;
/// Of its memory, what a process may hold more at the end than it did when everything had been there once.
const GROWTH_PERCENT: f64 = 2.0;
/// The part of the time after which everything has been there once.
const WARM: u32 = 6;

pub fn measure(case: &str, settings: &Settings) -> anyhow::Result<Vec<Row>> {
    let time = Duration::from_secs(settings.seconds.unwrap_or(SECONDS).max(30));
    let seconds = time.as_secs().to_string();
    let server = Server::start(&settings.root)?;
    let pids = server.processes()?;
    let descriptors = pids.map(descriptors);
    let [talk, visits, warm, end] = std::thread::scope(|scope| {
        let talk =
            scope.spawn(|| server.load(&["--workload", "turn-taking", "--no-floor", "--seconds", &seconds]));
        let visits = scope.spawn(|| {
            server.load(&[
                "joins",
                "--per-second",
                "5",
                "--people",
                "50",
                "--stay-ms",
                "5000",
                "--seconds",
                &seconds,
            ])
        });
        let started = Instant::now();
        let at = |part: Duration| {
            std::thread::sleep((started + part).saturating_duration_since(Instant::now()));
            Value::from(pids.map(resident).map(|bytes| bytes.ok()).map(|bytes| bytes.unwrap_or(0)).to_vec())
        };
        let warm = at(time / WARM);
        let end = at(time);
        let joined = |load: std::thread::ScopedJoinHandle<'_, anyhow::Result<Value>>| {
            load.join().expect("a load does not panic")
        };
        anyhow::Ok([joined(talk)?, joined(visits)?, warm, end])
    })?;
    let count = |report: &Value, name: &str| report[name].as_f64().unwrap_or(f64::NAN);
    let mut rows = vec![
        Row::new(case, &format!("lost, of {}", talk["expected"]), count(&talk, "lost"), "packets")
            .at_most("D7", 0.0),
        Row::new(case, &format!("failed, of {}", visits["joins"]), count(&visits, "failed"), "joins")
            .at_most("D7", 0.0),
    ];
    for (n, name) in ["server", "relay"].into_iter().enumerate() {
        let bytes = |sample: &Value| sample[n].as_f64().unwrap_or(f64::NAN);
        let growth = (bytes(&end) / bytes(&warm) - 1.0) * 100.0;
        let figure = format!("{name}: memory more than after {} min", time.as_secs() / u64::from(WARM) / 60);
        rows.push(Row::new(case, &figure, growth, "%").at_most("D7", GROWTH_PERCENT));
        let now = self::descriptors(pids[n]).context("the server ended")?;
        let more = descriptors[n].as_ref().map_or(f64::NAN, |before| now as f64 - *before as f64);
        rows.push(
            Row::new(case, &format!("{name}: descriptors more than before"), more, "").at_most("D7", 0.0),
        );
    }
    Ok(rows)
}

fn descriptors(pid: u32) -> std::io::Result<usize> {
    Ok(std::fs::read_dir(format!("/proc/{pid}/fd"))?.count())
}

fn resident(pid: u32) -> std::io::Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    Ok(kilobytes.ok_or(std::io::ErrorKind::InvalidData)? * 1_024)
}
