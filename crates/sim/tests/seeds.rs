//! Worlds by seed, in blocks, so that they are spread over the cores.
#![allow(clippy::unwrap_used)]

use sim::run;

fn block(number: u64) {
    for seed in number * 50..(number + 1) * 50 {
        if let Err(failure) = run(seed) {
            panic!("{failure}");
        }
    }
}

macro_rules! blocks {
    ($($name:ident: $number:literal,)*) => {
        $(
            #[test]
            fn $name() {
                block($number);
            }
        )*
    };
}

blocks! {
    seeds_0_to_49: 0,
    seeds_50_to_99: 1,
    seeds_100_to_149: 2,
    seeds_150_to_199: 3,
    seeds_200_to_249: 4,
    seeds_250_to_299: 5,
    seeds_300_to_349: 6,
    seeds_350_to_399: 7,
    seeds_400_to_449: 8,
    seeds_450_to_499: 9,
}

/// `SIM_SEED` names it; without one it is the first.
#[test]
fn one_seed() {
    let seed = std::env::var("SIM_SEED").map_or(0, |seed| seed.parse().unwrap());
    match run(seed) {
        Ok(summary) => println!("seed {seed}: {summary:?}"),
        Err(failure) => panic!("{failure}"),
    }
}

#[test]
fn a_seed_is_the_same_run_every_time() {
    for seed in 0..30 {
        assert_eq!(run(seed).map_err(|f| f.message), run(seed).map_err(|f| f.message), "seed {seed}");
    }
    assert_ne!(run(1).map_err(|f| f.message), run(2).map_err(|f| f.message));
}
