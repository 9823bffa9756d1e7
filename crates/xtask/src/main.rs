//! `cargo x`: everything one does with this repository, from a fresh machine on.
//!
//! Owns: installing what is missing, building, running, checking, testing. Deliberately does not: anything a plain `cargo`
//! command does as well.

mod figures;
mod setup;
mod stage;

use std::path::PathBuf;
use std::process::ExitCode;

use stage::{Failure, cargo, run};

const HELP: &str = "\
cargo x <command>

  up [options]   build and run the whole server on this machine (options: see `guildhall up --help`)
  test           everything CI runs: install what is missing, check, unit tests, end-to-end tests with real clients
  check          formatting and lints only
  chaos          every part of the server dies, hangs, is cut off, flooded, drained or replaced while people talk; ends with a table of what was measured
  bench [NAMES]  what the server costs, beside the bars that it is held to (--list; --gate: only count instructions; --save: add to the history)
  sim --seed N   the simulated world of one seed, and what happens in it if something is wrong there
  sim --seeds A B   those from A to before B, quickly
  setup          install what building and testing need, and nothing else
";

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let command = args.next();
    let rest: Vec<String> = args.collect();
    let result = match command.as_deref() {
        Some("up") => up(&rest),
        Some("test" | "ci") => test(&rest),
        Some("check") => check(),
        Some("chaos") => chaos(),
        Some("bench") => bench(&rest),
        Some("sim") => sim(&rest),
        Some("setup") => setup::build_packages()
            .and_then(|()| setup::test_packages())
            .and_then(|()| setup::npm_packages("web"))
            .and_then(|()| setup::npm_packages("web/browser"))
            .and_then(|()| setup::clients()),
        None | Some("help" | "--help" | "-h") => {
            print!("{HELP}");
            Ok(())
        }
        Some(other) => Err(Failure(format!("there is no `cargo x {other}`\n\n{HELP}"))),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure(message)) => {
            eprintln!("cargo x: {message}");
            ExitCode::FAILURE
        }
    }
}

/// The repository's root, wherever the command was typed.
fn root() -> PathBuf {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).expect("this crate lives two folders below the root").to_owned()
}

fn up(args: &[String]) -> Result<(), Failure> {
    setup::build_packages()?;
    build_web()?;
    build_guildhall()?;
    let binary = root().join("target/debug/guildhall");
    let mut command = std::process::Command::new(&binary);
    command.arg("up").args(args);
    // The server takes this process's place, so that signals and the exit code are its own.
    let error = std::os::unix::process::CommandExt::exec(&mut command);
    Err(Failure(format!("{} does not start: {error}", binary.display())))
}

/// The crate's own test shows one seed; its example goes through many.
fn sim(args: &[String]) -> Result<(), Failure> {
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["--seed", seed] => {
            let mut command =
                cargo(&["test", "--quiet", "--package", "sim", "one_seed", "--", "--nocapture"]);
            command.env("SIM_SEED", seed);
            run("seed", command)
        }
        ["--seeds", first, end] => {
            run("seeds", cargo(&["run", "--quiet", "--package", "sim", "--example", "survey", first, end]))
        }
        _ => Err(Failure("sim --seed N, or sim --seeds FIRST END".to_owned())),
    }
}

fn bench(args: &[String]) -> Result<(), Failure> {
    setup::build_packages()?;
    if args.iter().any(|arg| arg == "--gate") {
        setup::count_packages()?;
    }
    build_web()?;
    // With the features that everything else is built with.
    run(
        "build",
        cargo(&["build", "--workspace", "--bin", "guildhall", "--bin", "bench", "--example", "forward_cost"]),
    )?;
    let mut command = std::process::Command::new(root().join("target/debug/bench"));
    command.arg("--root").arg(root()).args(args);
    run("bench", command)
}

/// The tests in which something ends, and of what they print the figures, at the end in one table.
fn chaos() -> Result<(), Failure> {
    setup::build_packages()?;
    setup::test_packages()?;
    build_web()?;
    setup::clients()?;
    setup::npm_packages("web/browser")?;
    let mut table = figures::Table::default();
    let mut failed = Ok(());
    for test in ["recovery", "replacement", "poison", "moves", "cluster", "chaos"] {
        let mut command = cargo(&["test", "--workspace", "--test", test]);
        // Whole servers and real clients run one at a time.
        command.args(["--", "--nocapture", "--test-threads=1"]);
        command
            .env("CHAOS_ETCD_GONE_S", "600")
            .env("CHAOS_DATABASE_GONE_S", "20")
            .env("CHAOS_FLOODS", "2")
            .env("CHAOS_PARTICIPANTS", "200");
        // The others have figures all the same.
        failed = failed.and(stage::run_reading(test, command, |line| table.read(line)));
    }
    print!("{table}");
    failed
}

fn build_guildhall() -> Result<(), Failure> {
    run("build", cargo(&["build", "--package", "guildhall"]))
}

/// The web client, which the gateway embeds when it is built.
fn build_web() -> Result<(), Failure> {
    setup::npm_packages("web")?;
    run("web client", setup::npm("web", &["run", "--silent", "build", "--", "--logLevel", "warn"]))
}

fn check_web() -> Result<(), Failure> {
    run("web types", setup::npm("web", &["run", "--silent", "check"]))?;
    run("web tests", setup::npm("web", &["test", "--silent"]))
}

fn check() -> Result<(), Failure> {
    run("formatting", cargo(&["fmt", "--all", "--check"]))?;
    run("lints", cargo(&["clippy", "--workspace", "--all-targets", "--", "--deny", "warnings"]))
}

fn test(args: &[String]) -> Result<(), Failure> {
    setup::build_packages()?;
    setup::test_packages()?;
    build_web()?;
    check_web()?;
    check()?;
    setup::clients()?;
    setup::npm_packages("web/browser")?;
    // The program is built with them, for tests of its command line; built alone, most of it would be built twice, with other features.
    let extra: Vec<&str> = args.iter().map(String::as_str).collect();
    if setup::has("cargo-nextest") {
        run("tests", cargo(&[&["nextest", "run", "--workspace"], extra.as_slice()].concat()))
    } else {
        run("tests", cargo(&[&["test", "--workspace"], extra.as_slice()].concat()))
    }
}
