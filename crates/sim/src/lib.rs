//! The whole system in one thread: the cores of gateway, guilds, voice signalling, relay and router of calls, and clients, over time, a network and faults
//! that are drawn from a seed, beside a model of what must be so.
//!
//! Owns: the world and its clock, what the shells do between the cores, the registry and the database, clients, the reference model, and the checks. Deliberately does
//! not: decide anything that a core decides, or touch sockets, clocks and threads.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod capacity;
mod checks;
mod client;
mod database;
mod event;
mod faults;
mod fleet;
pub mod fleet_model;
mod gateway;
mod host;
pub mod limits;
mod media;
mod net;
mod node;
mod random;
mod reference;
mod registry;
mod relay;
mod router;
mod session;
mod settings;
mod time;
mod trace;
mod voice;
mod world;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

pub use settings::{Kind, Settings};
use trace::Lines;
pub use world::Summary;
use world::World;

/// What went wrong in the world of a seed, and all that happened before.
pub struct Failure {
    pub seed: u64,
    pub message: String,
    pub trace: Vec<String>,
}

/// So many lines of a trace are shown unless `SIM_LINES` asks for another number.
const LINES_SHOWN: usize = 150;

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown =
            std::env::var("SIM_LINES").ok().and_then(|lines| lines.parse().ok()).unwrap_or(LINES_SHOWN);
        let skipped = self.trace.len().saturating_sub(shown);
        if skipped > 0 {
            writeln!(f, "({skipped} lines before these; SIM_LINES=n shows more)")?;
        }
        for line in &self.trace[skipped..] {
            writeln!(f, "{line}")?;
        }
        writeln!(f, "\nseed {}: {}", self.seed, self.message)?;
        write!(
            f,
            "replay: cargo x sim --seed {0}    or: SIM_SEED={0} cargo nextest run -p sim one_seed --no-capture",
            self.seed
        )
    }
}

/// Runs the world of a seed. One that fails is run again to write down what happens in it.
pub fn run(seed: u64) -> Result<Summary, Box<Failure>> {
    run_in(seed, &Settings::of(seed))
}

/// The same in a world of other settings.
pub fn run_in(seed: u64, settings: &Settings) -> Result<Summary, Box<Failure>> {
    match attempt(seed, settings, None) {
        Ok(summary) => Ok(summary),
        Err(message) => {
            let lines = Lines::default();
            let again = attempt(seed, settings, Some(lines.clone()));
            let message = match again {
                Err(again) if again == message => message,
                other => format!("{message}\nthe second time it was otherwise: {other:?}"),
            };
            Err(Box::new(Failure { seed, message, trace: lines.take() }))
        }
    }
}

fn attempt(seed: u64, settings: &Settings, lines: Option<Lines>) -> Result<Summary, String> {
    let run = || World::new(seed, settings.clone(), lines).run();
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
        Err(format!("a panic: {}", text.unwrap_or_default()))
    })
}
