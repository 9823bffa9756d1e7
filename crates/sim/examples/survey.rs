//! Goes through many seeds and says what is wrong with which: `cargo run -p sim --example survey -- 0 10000`.

use std::process::ExitCode;

fn main() -> ExitCode {
    // What panics in a world is told as its failure.
    std::panic::set_hook(Box::new(|_| {}));
    let mut bounds = std::env::args().skip(1).map(|bound| bound.parse::<u64>());
    let (Some(Ok(first)), Some(Ok(end))) = (bounds.next(), bounds.next()) else {
        eprintln!("survey FIRST END");
        return ExitCode::FAILURE;
    };
    let (mut failed, mut events, mut heard) = (0, 0, 0);
    for seed in first..end {
        match sim::run(seed) {
            Ok(summary) => (events, heard) = (events + summary.events, heard + summary.heard),
            Err(failure) => {
                failed += 1;
                println!(
                    "{seed}: {:?} {}",
                    sim::Settings::of(seed).kinds,
                    failure.message.lines().next().unwrap_or_default()
                );
            }
        }
    }
    println!("{} seeds, {failed} failed, {events} events, {heard} frames heard", end - first);
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
