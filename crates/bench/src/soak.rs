//! An hour in which one speaks after the other and others come and go: what has grown by its end.

use std::io;
use std::thread::{ScopedJoinHandle, scope, sleep};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::cases::Settings;
use crate::server::Server;
use crate::table::Row;

const SECONDS: u64 = 3_600;
/// In less not even everybody has come.
const SECONDS_MIN: u64 = 360;
/// The part of the time after which everything has been there once.
const WARM: u32 = 6;
/// Of its memory, what a process may hold more at the end than it did then.
const GROWTH_PERCENT: f64 = 2.0;

pub fn measure(case: &str, settings: &Settings) -> anyhow::Result<Vec<Row>> {
    let time = Duration::from_secs(settings.seconds.unwrap_or(SECONDS).max(SECONDS_MIN));
    let seconds = time.as_secs().to_string();
    let server = Server::start(&settings.root)?;
    let pids = server.processes()?;
    // What is opened with the first call stays open.
    server.load(&["--workload", "raid", "--participants", "20", "--seconds", "1", "--no-floor"])?;
    let opened = pids.map(descriptors);

    let (talk, visits, warm, end) = scope(|scope| {
        let load = |options: &'static [&'static str]| {
            let options = [options, &["--seconds", &seconds]].concat();
            let server = &server;
            scope.spawn(move || server.load(&options))
        };
        let talk = load(&["--workload", "turn-taking", "--no-floor"]);
        let visits = load(&["joins", "--per-second", "5", "--people", "50", "--stay-ms", "5000"]);
        let started = Instant::now();
        let held_after = |part: Duration| {
            sleep((started + part).saturating_duration_since(Instant::now()));
            pids.map(udp_io::resident_of)
        };
        let (warm, end) = (held_after(time / WARM), held_after(time));
        anyhow::Ok((joined(talk)?, joined(visits)?, warm, end))
    })?;

    let count = |report: &Value, name: &str| report[name].as_f64().unwrap_or(f64::NAN);
    let none_of = |what: &str, all: &Value, count: f64, unit: &str| {
        Row::new(case, &format!("{what}, of {all}"), count, unit).at_most("D7", 0.0)
    };
    let mut rows = vec![
        none_of("lost", &talk["expected"], count(&talk, "lost"), "packets"),
        none_of("failed", &visits["joins"], count(&visits, "failed"), "joins"),
    ];
    let minutes = time.as_secs() / u64::from(WARM) / 60;
    for (n, name) in ["server", "relay"].into_iter().enumerate() {
        let growth = (number(&end[n]) / number(&warm[n]) - 1.0) * 100.0;
        let figure = format!("{name}: memory, beside that after {minutes} min");
        rows.push(Row::new(case, &figure, growth, "% more").at_most("D7", GROWTH_PERCENT));
        let more = number(&descriptors(pids[n])) - number(&opened[n]);
        rows.push(Row::new(case, &format!("{name}: descriptors"), more, "more").at_most("D7", 0.0));
    }
    Ok(rows)
}

fn joined(load: ScopedJoinHandle<'_, anyhow::Result<Value>>) -> anyhow::Result<Value> {
    load.join().expect("a load does not panic")
}

/// No number if the process has ended.
fn number(value: &io::Result<u64>) -> f64 {
    value.as_ref().map_or(f64::NAN, |value| *value as f64)
}

fn descriptors(pid: u32) -> io::Result<u64> {
    Ok(std::fs::read_dir(format!("/proc/{pid}/fd"))?.count() as u64)
}
