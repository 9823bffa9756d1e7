//! Running one command as a named, timed stage.

use std::io::{self, BufRead as _, BufReader};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Instant;

/// What went wrong, in words for the person at the terminal.
#[derive(Debug)]
pub struct Failure(pub String);

pub fn cargo(args: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(args);
    command
}

/// Runs a command in the repository's root, showing its output.
pub fn run(stage: &str, command: Command) -> Result<(), Failure> {
    carry_out(stage, command, Command::status)
}

/// The same, showing of its standard output only what `read` makes of each line.
pub fn run_reading(
    stage: &str,
    mut command: Command,
    mut read: impl FnMut(&str) -> Option<String>,
) -> Result<(), Failure> {
    command.stdout(Stdio::piped());
    carry_out(stage, command, |command| {
        let mut child = command.spawn()?;
        let out = BufReader::new(child.stdout.take().expect("it is piped"));
        for line in out.lines().map_while(Result::ok) {
            if let Some(chosen) = read(&line) {
                println!("{chosen}");
            }
        }
        child.wait()
    })
}

fn carry_out(
    stage: &str,
    mut command: Command,
    carry_out: impl FnOnce(&mut Command) -> io::Result<ExitStatus>,
) -> Result<(), Failure> {
    let line = describe(&command);
    eprintln!("== {stage}: {line}");
    let started = Instant::now();
    let status = carry_out(command.current_dir(crate::root()))
        .map_err(|error| Failure(format!("{stage}: `{line}` cannot be started: {error}")))?;
    eprintln!(
        "== {stage}: {} after {:.0} s",
        if status.success() { "done" } else { "FAILED" },
        started.elapsed().as_secs_f64()
    );
    if status.success() {
        Ok(())
    } else {
        Err(Failure(format!("{stage} failed: `{line}` ended with {status}")))
    }
}

fn describe(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words: Vec<_> = words.map(|w| w.to_string_lossy().into_owned()).collect();
    match words.split_first() {
        Some((program, args)) => {
            let program = program.rsplit('/').next().unwrap_or(program);
            format!("{program} {}", args.join(" "))
        }
        None => String::new(),
    }
}
