//! What is measured, and the bars.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, bail};
use serde_json::Value;

use crate::server::Server;
use crate::soak;
use crate::table::Row;

pub struct Settings {
    pub root: PathBuf,
    /// Instead of what is usual.
    pub seconds: Option<u64>,
    pub rounds: usize,
}

pub struct Case {
    pub name: &'static str,
    pub what: &'static str,
    kind: Kind,
}

enum Kind {
    /// Of the options of `guildhall load`, to what is asked of it.
    Load(&'static [&'static str], &'static [Asked]),
    /// The same load in several shapes, which must cost the same.
    Flat,
    /// Of the arguments of `guildhall load`, one of its programs first, to what stands in its report.
    Program(&'static [&'static str], &'static [Figure]),
    /// Past the kernel's IP stack, over a wire between two namespaces.
    Egress,
    /// For as long as it takes to see what grows.
    Soak,
}

/// Of a report: what it is, where it stands, in how many of the unit, and its bar.
struct Figure {
    what: &'static str,
    at: &'static str,
    unit: &'static str,
    in_unit: f64,
    bar: Option<(&'static str, f64)>,
}

impl Figure {
    const fn new(what: &'static str, at: &'static str, unit: &'static str) -> Self {
        Self { what, at, unit, in_unit: 1.0, bar: None }
    }

    const fn kilobytes(what: &'static str, at: &'static str) -> Self {
        Self { in_unit: 1_000.0, ..Self::new(what, at, "KB") }
    }

    const fn at_most(self, id: &'static str, at_most: f64) -> Self {
        Self { bar: Some((id, at_most)), ..self }
    }
}

/// A figure of a report.
#[derive(Clone, Copy)]
enum Asked {
    /// Processor time of the relay a packet that arrived, in floors.
    Ratio(Option<(&'static str, f64)>),
    /// Of the packets that should have come.
    Lost(&'static str),
    /// What the relay adds to the floor's delay, 99 in 100.
    AddedDelay(Option<(&'static str, f64)>),
    /// The relay's share of a core.
    Share(&'static str, f64),
    /// Of relay and signalling together, a participant.
    Memory(&'static str, f64),
}

/// The core that the relay has for itself.
const RELAY_CORE: &str = "0";

const P1: Asked = Asked::Ratio(Some(("P1", 1.15)));
const P2: Asked = Asked::Ratio(Some(("P2", 1.20)));
const P3: Asked = Asked::AddedDelay(Some(("P3", 2.0)));
const UNBOUND: Asked = Asked::Ratio(None);

const CASES: &[Case] = &[
    Case {
        name: "raid",
        what: "W1: one channel, 200 native participants, 5 speak",
        kind: Kind::Load(&["--workload", "raid"], &[P1, Asked::Lost("P1"), Asked::AddedDelay(None)]),
    },
    Case {
        name: "town-hall",
        what: "W2: one channel, 1,000 native participants, 5 speak, the relay on one core",
        kind: Kind::Load(&["--workload", "town-hall"], &[P1, Asked::Lost("P3"), P3]),
    },
    Case {
        name: "guild-night",
        what: "W3: 200 channels of 5, one speaks in each",
        kind: Kind::Load(
            &["--workload", "guild-night"],
            &[UNBOUND, Asked::Lost("W3"), Asked::AddedDelay(None)],
        ),
    },
    Case {
        name: "web-raid",
        what: "W4: the raid with browsers' transport",
        kind: Kind::Load(
            &["--workload", "raid", "--transport", "webrtc"],
            &[P2, Asked::Lost("P2"), Asked::AddedDelay(None)],
        ),
    },
    Case {
        name: "mixed-raid",
        what: "W5: the raid, half of each transport",
        kind: Kind::Load(
            &["--workload", "raid", "--transport", "mixed"],
            &[UNBOUND, Asked::Lost("W5"), Asked::AddedDelay(None)],
        ),
    },
    Case {
        name: "turn-taking",
        what: "W6: one channel of 1,000, every second another one speaks",
        kind: Kind::Load(
            &["--workload", "turn-taking"],
            &[UNBOUND, Asked::Lost("W6"), Asked::AddedDelay(None)],
        ),
    },
    Case {
        name: "idle",
        what: "W7: 5,000 connected and silent",
        kind: Kind::Load(&["--workload", "idle"], &[Asked::Share("P6", 2.0), Asked::Memory("P5", 20.0)]),
    },
    Case {
        name: "joins",
        what: "a hundred people a second join where five talk",
        kind: Kind::Program(
            &["joins"],
            &[
                Figure::new("click to first packet heard, p50", "/audible_ms/p50", "ms").at_most("P8", 50.0),
                Figure::new("click to first packet heard, p99", "/audible_ms/p99", "ms").at_most("P8", 250.0),
                Figure::new("failed", "/failed", "joins").at_most("P8", 0.0),
                Figure::new("all of the server's processor time", "/server_cpu_ms_per_join", "ms a join"),
            ],
        ),
    },
    Case {
        name: "storm",
        what: "a thousand people join one channel within five seconds while five talk",
        kind: Kind::Program(
            &["storm"],
            &[
                Figure::new("lost by those who were in", "/lost", "packets").at_most("P9", 0.0),
                Figure::new("longest gap of those who were in", "/longest_gap_ms", "ms"),
                Figure::new("everybody in", "/everybody_in_s", "s"),
            ],
        ),
    },
    Case {
        name: "crowd",
        what: "10,000 gateway sessions of one guild, of which one member joins and leaves voice",
        kind: Kind::Program(
            &["crowd"],
            &[
                Figure::kilobytes("memory a session", "/rss_per_session_bytes").at_most("P10", 20.0),
                Figure::new("a change, until the last has it", "/last_ms/p50", "ms").at_most("P10", 100.0),
            ],
        ),
    },
    Case {
        name: "crowd-zstd",
        what: "the same with zstd-stream",
        kind: Kind::Program(
            &["crowd", "--compress", "zstd-stream"],
            &[
                Figure::kilobytes("memory a session", "/rss_per_session_bytes").at_most("P10", 150.0),
                Figure::new("a change, until the last has it", "/last_ms/p50", "ms").at_most("P10", 100.0),
            ],
        ),
    },
    Case {
        name: "egress",
        what: "datagrams past the kernel's IP stack (AF_XDP), to live receivers behind a veth pair; needs root",
        kind: Kind::Egress,
    },
    Case {
        name: "soak",
        what: "an hour of turn-taking while others come and go; only when it is named",
        kind: Kind::Soak,
    },
    Case { name: "flat", what: "the same number of packets in rooms of 11, 101 and 1,001", kind: Kind::Flat },
];

/// Each with as many packets a second, to as many listeners, from one speaker a room.
const SHAPES: &[[&str; 6]] = &[
    ["--participants", "1100", "--room", "11", "--speakers", "100"],
    ["--participants", "1010", "--room", "101", "--speakers", "10"],
    ["--participants", "1001", "--room", "1001", "--speakers", "1"],
];
/// How much more the dearest of them may cost than the cheapest.
const FLAT: f64 = 1.10;

pub fn chosen(names: &[String]) -> anyhow::Result<Vec<&'static Case>> {
    if names.is_empty() {
        return Ok(CASES.iter().filter(|case| !matches!(case.kind, Kind::Soak)).collect());
    }
    let find = |name: &String| {
        let known: Vec<&str> = CASES.iter().map(|case| case.name).collect();
        CASES
            .iter()
            .find(|case| case.name == name)
            .with_context(|| format!("there is no benchmark {name:?}; there are {}", known.join(", ")))
    };
    names.iter().map(find).collect()
}

impl Case {
    pub fn measure(&self, settings: &Settings) -> anyhow::Result<Vec<Row>> {
        match self.kind {
            Kind::Load(options, asked) => {
                let reports = rounds(settings, options)?;
                Ok(asked.iter().map(|asked| asked.row(self.name, &reports)).collect())
            }
            Kind::Flat => self.flat(settings),
            Kind::Egress => self.egress(settings),
            Kind::Soak => soak::measure(self.name, settings),
            Kind::Program(arguments, figures) => {
                let report = |_| Server::start(&settings.root)?.load(arguments);
                let reports: Vec<Value> = (0..settings.rounds).map(report).collect::<anyhow::Result<_>>()?;
                Ok(figures.iter().map(|figure| figure.row(self.name, &reports)).collect())
            }
        }
    }

    fn egress(&self, settings: &Settings) -> anyhow::Result<Vec<Row>> {
        let program = settings.root.join("target/debug/examples/egress_cost");
        let out = Command::new(&program).output().with_context(|| program.display().to_string())?;
        if !out.status.success() {
            bail!("egress_cost failed: {}", String::from_utf8_lossy(&out.stderr).trim());
        }
        let report: Value = serde_json::from_slice(&out.stdout).context("egress_cost prints no report")?;
        let row = |run: &Value| {
            let whose = if run["elsewhere"] == true {
                "the receivers' work elsewhere"
            } else {
                "the receivers' work included"
            };
            let figure = format!("past the stack / through it, to {}, {whose}", run["destinations"]);
            Row::new(self.name, &figure, run["ratio"].as_f64().unwrap_or(f64::NAN), "").at_most("P4", 0.5)
        };
        Ok(report["runs"].as_array().into_iter().flatten().map(row).collect())
    }

    fn flat(&self, settings: &Settings) -> anyhow::Result<Vec<Row>> {
        let mut rows = Vec::new();
        for shape in SHAPES {
            let reports = rounds(settings, &[&["--workload", "guild-night"], &shape[..]].concat())?;
            let [_, _, _, room, ..] = shape;
            let ratio = middle(&reports, |report| report["ratio_to_floor"].as_f64());
            rows.push(Row::new(self.name, &format!("relay / floor, rooms of {room}"), ratio, ""));
        }
        let (least, most) = rows
            .iter()
            .fold((f64::INFINITY, 0.0_f64), |(least, most), row| (least.min(row.value), most.max(row.value)));
        rows.push(Row::new(self.name, "dearest / cheapest", most / least, "").at_most("D6", FLAT));
        Ok(rows)
    }
}

/// What a workload is measured for.
const SECONDS: u64 = 10;
/// What is idle has acknowledged all that it was told after two heartbeats, and what was freed by that is given back half a minute later.
const IDLE_SECONDS: u64 = 120;

/// A server and a run for each round, so that none inherits anything.
fn rounds(settings: &Settings, options: &[&str]) -> anyhow::Result<Vec<Value>> {
    let is_idle = options.contains(&"idle");
    let seconds = if is_idle { IDLE_SECONDS } else { SECONDS };
    let seconds = settings.seconds.unwrap_or(seconds).max(1).to_string();
    let options = [options, &["--seconds", &seconds, "--relay-core", RELAY_CORE]].concat();
    let round = |_| {
        let report = Server::start(&settings.root)?.load(&options)?;
        honest(&report)?;
        anyhow::Ok(report)
    };
    (0..settings.rounds).map(round).collect()
}

/// A generator that was too slow measured itself.
fn honest(report: &Value) -> anyhow::Result<()> {
    for name in ["generator_dropped", "unopened", "connections_lost", "rejoins"] {
        if report[name].as_u64() != Some(0) {
            bail!("the run counts for nothing: {name} is {}", report[name]);
        }
    }
    let share = report["generator_cpu_share"].as_f64().unwrap_or(1.0);
    if share > GENERATOR_SHARE {
        eprintln!(
            "   the generator was busy {:.0} % of the time, so that delays are partly its own",
            share * 100.0
        );
    }
    Ok(())
}

const GENERATOR_SHARE: f64 = 0.8;

/// The middle one of the rounds; no number if one of them has none.
fn middle(reports: &[Value], of: impl Fn(&Value) -> Option<f64>) -> f64 {
    let values: Option<Vec<f64>> = reports.iter().map(of).collect();
    let mut values = values.unwrap_or_default();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

impl Figure {
    fn row(&self, case: &str, reports: &[Value]) -> Row {
        let value = middle(reports, |report| Some(report.pointer(self.at)?.as_f64()? / self.in_unit));
        let row = Row::new(case, self.what, value, self.unit);
        match self.bar {
            Some((id, at_most)) => row.at_most(id, at_most),
            None => row,
        }
    }
}

impl Asked {
    fn row(self, case: &str, reports: &[Value]) -> Row {
        let number = |name: &'static str| move |report: &Value| report[name].as_f64();
        let bound = |row: Row, bar: Option<(&str, f64)>| match bar {
            Some((id, at_most)) => row.at_most(id, at_most),
            None => row,
        };
        match self {
            Self::Ratio(bar) => {
                bound(Row::new(case, "relay / floor", middle(reports, number("ratio_to_floor")), ""), bar)
            }
            Self::Lost(id) => {
                let (lost, all) = reports.iter().fold((0, 0), |(lost, all), report| {
                    let count = |name: &str| report[name].as_u64().unwrap_or(u64::MAX / 1_000);
                    (lost + count("lost"), all + count("expected"))
                });
                Row::new(case, &format!("lost, of {all}"), lost as f64, "packets").at_most(id, 0.0)
            }
            Self::AddedDelay(bar) => {
                let p99 = |report: &Value, name: &str| report[name]["p99"].as_f64();
                let added = |report: &Value| Some(p99(report, "delay_ms")? - p99(report, "floor_delay_ms")?);
                bound(Row::new(case, "delay beyond the floor's, p99", middle(reports, added), "ms"), bar)
            }
            Self::Share(id, at_most) => {
                let share = middle(reports, |report| Some(report["sfu_cpu_share"].as_f64()? * 100.0));
                Row::new(case, "relay", share, "% of a core").at_most(id, at_most)
            }
            Self::Memory(id, at_most) => {
                let bytes = |report: &Value| {
                    Some(
                        report["sfu_bytes_per_participant"].as_f64()?
                            + report["signalling_bytes_per_participant"].as_f64()?,
                    )
                };
                let kilobytes = middle(reports, |report| Some(bytes(report)? / 1_000.0));
                Row::new(case, "memory, relay and all signalling", kilobytes, "KB a participant")
                    .at_most(id, at_most)
            }
        }
    }
}

/// The commit that is measured, with a mark if it is not all that there is.
pub fn commit(root: &std::path::Path) -> Option<String> {
    let out = Command::new("git")
        .args(["describe", "--always", "--dirty", "--abbrev=10"])
        .current_dir(root)
        .output()
        .ok()?;
    out.status.success().then(|| String::from_utf8_lossy(&out.stdout).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_middle_round_counts_and_losses_add_up() {
        let report = |ratio: f64, lost: u64| {
            json!({
                "ratio_to_floor": ratio, "lost": lost, "expected": 100,
                "delay_ms": {"p99": ratio + 1.0}, "floor_delay_ms": {"p99": 1.0},
            })
        };
        let reports = [report(1.3, 0), report(1.1, 2), report(1.2, 1)];
        assert_eq!(P1.row("raid", &reports).value, 1.2);
        let lost = Asked::Lost("P3").row("raid", &reports);
        assert_eq!((lost.value, lost.figure.as_str(), lost.holds()), (3.0, "lost, of 300", Some(false)));
        assert!((P3.row("raid", &reports).value - 1.2).abs() < 1e-9);
        assert!(Asked::Share("P6", 2.0).row("idle", &reports).value.is_nan());
        let delay = Figure::kilobytes("delay", "/delay_ms/p99").at_most("P8", 0.002).row("raid", &reports);
        assert_eq!((delay.value, delay.holds()), (0.0022, Some(false)));
        assert!(Figure::new("delay", "/delay_ms/p98", "ms").row("raid", &reports).value.is_nan());
    }

    #[test]
    fn a_run_that_measured_itself_is_refused() {
        let mut report = json!({"generator_dropped": 0, "unopened": 0, "connections_lost": 0, "rejoins": 0});
        assert!(honest(&report).is_ok());
        report["generator_dropped"] = json!(1);
        assert!(honest(&report).unwrap_err().to_string().contains("generator_dropped"));
    }

    #[test]
    fn an_unknown_name_is_told_the_known_ones() {
        assert_eq!(chosen(&[]).unwrap().len(), CASES.len() - 1, "all but the hour");
        assert_eq!(chosen(&["flat".to_owned()]).unwrap()[0].name, "flat");
        assert!(chosen(&["flar".to_owned()]).err().unwrap().to_string().contains("town-hall"));
    }
}
