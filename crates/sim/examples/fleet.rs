//! A fleet on paper and in simulation: `cargo run -p sim --example fleet -- [--seed N] [--users N] …`. See `docs/capacity.md`.

use std::hint::black_box;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use guilds_core::{Servers, Urgency, place};
use model::RegionId;
use sim::capacity::{Inputs, tables};
use sim::fleet_model::{Fleet, Settings, run};

const HELP: &str = "\
sim fleet [--tables] [--seed N] [--users N] [--servers N] [--nodes N] [--capacity N] [--anywhere PER_MILLE] [--settle SECONDS] [--steady SECONDS]
  --tables: what follows from measured costs, without the simulation";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args == ["--tables"] {
        print!("{}", tables(&Inputs::default()));
        return ExitCode::SUCCESS;
    }
    let Some(settings) = settings(&args) else {
        eprintln!("{HELP}");
        return ExitCode::FAILURE;
    };
    println!("{}", tables(&Inputs::default()));
    let began = Instant::now();
    let mut fleet = Fleet::new(settings.clone());
    let calls = fleet.fill();
    println!("{calls} guilds placed from nothing, the model's own work included, in {:.1?}", began.elapsed());
    let region = fleet.as_seen().values().next().map(|server| server.region.clone());
    println!(
        "one of them, {} servers known: {:.1?} in its region, {:.1?} anywhere; a servers' map is copied in {:.1?}",
        settings.servers,
        placing(fleet.as_seen(), region.as_ref()),
        placing(fleet.as_seen(), None),
        timed(|| drop(black_box(fleet.as_seen().clone()))),
    );
    println!("\n{}", run(settings));
    println!("in {:.0?}", began.elapsed());
    ExitCode::SUCCESS
}

fn settings(args: &[String]) -> Option<Settings> {
    let mut settings = Settings::default();
    for pair in args.chunks(2) {
        let [name, value] = pair else { return None };
        let number: u64 = value.parse().ok()?;
        match name.as_str() {
            "--seed" => settings.seed = number,
            "--users" => settings.users = u32::try_from(number).ok()?,
            "--servers" => settings.servers = usize::try_from(number).ok()?,
            "--nodes" => settings.nodes = usize::try_from(number).ok()?,
            "--capacity" => settings.capacity = u32::try_from(number).ok()?,
            "--anywhere" => settings.anywhere = number,
            "--settle" => settings.settle_s = number,
            "--steady" => settings.steady_s = number,
            _ => return None,
        }
    }
    Some(settings)
}

fn placing(servers: &Servers, region: Option<&RegionId>) -> Duration {
    timed(|| drop(black_box(place(black_box(servers).values(), region, Urgency::Waiting, black_box(12_345)))))
}

/// The least of some rounds.
fn timed(work: impl Fn()) -> Duration {
    const TIMES: u32 = 200;
    let round = || {
        let began = Instant::now();
        (0..TIMES).for_each(|_| work());
        began.elapsed() / TIMES
    };
    (0..7).map(|_| round()).min().expect("there were rounds")
}
