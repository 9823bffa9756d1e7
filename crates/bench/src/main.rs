//! What the server costs, beside the bars that it is held to: `cargo x bench`.
//!
//! Owns: which workloads there are bars for, the table, the history in `benches/` and its plot, the gate on instructions. Deliberately does
//! not: make load (`guildhall load` does), or know anything of the server but its program.
//!
//! A cost is a ratio to what the machine's bare system calls cost in the same run, because absolute times follow the machine's mood. Of several rounds
//! the middle one counts.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod cases;
mod gate;
mod history;
mod plot;
mod server;
mod soak;
mod table;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser as _;

/// Runs the workloads and prints what each costs beside its bar
#[derive(clap::Parser)]
#[command(name = "cargo x bench")]
struct Arguments {
    /// Only these (see --list)
    names: Vec<String>,
    /// Say which there are, and end
    #[arg(long)]
    list: bool,
    /// Seconds that a workload is measured for, in each round: 10, and of `soak` 3,600
    #[arg(long, value_name = "S")]
    seconds: Option<u64>,
    /// Rounds, of which the middle one counts
    #[arg(long, value_name = "N", default_value_t = 3)]
    rounds: usize,
    /// Write the figures to the history, and draw it
    #[arg(long)]
    save: bool,
    /// Count instructions instead, and fail if a packet takes more of them than it did when they were last accepted
    #[arg(long)]
    gate: bool,
    /// With --gate: accept what is counted now
    #[arg(long)]
    accept: bool,
    /// The repository
    #[arg(long, hide = true)]
    root: PathBuf,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("cargo x bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whether all bars are met.
fn run(arguments: &Arguments) -> anyhow::Result<bool> {
    if arguments.gate {
        return gate::run(&arguments.root, arguments.accept);
    }
    let chosen = cases::chosen(&arguments.names)?;
    if arguments.list {
        for case in chosen {
            println!("{:<14} {}", case.name, case.what);
        }
        return Ok(true);
    }
    let settings = cases::Settings {
        root: arguments.root.clone(),
        seconds: arguments.seconds,
        rounds: arguments.rounds.max(1),
    };
    let (mut rows, mut all_measured) = (Vec::new(), true);
    for case in chosen {
        eprintln!("== {}: {}", case.name, case.what);
        match case.measure(&settings) {
            Ok(measured) => {
                measured.iter().for_each(|row| eprintln!("   {row}"));
                rows.extend(measured);
            }
            // The others have figures all the same.
            Err(error) => {
                all_measured = false;
                eprintln!("   not measured: {error:#}");
            }
        }
    }
    print!("{}", table::Table(&rows));
    if arguments.save {
        history::add(&arguments.root, &rows)?;
        plot::draw(&arguments.root)?;
    }
    Ok(all_measured && rows.iter().all(|row| row.holds() != Some(false)))
}
