//! Worlds by seed, in blocks, so that they are spread over the cores.
#![allow(clippy::unwrap_used)]

use sim::run;

fn block(number: u64) {
    for seed in number * 20..(number + 1) * 20 {
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
    seeds_0_to_19: 0,
    seeds_20_to_39: 1,
    seeds_40_to_59: 2,
    seeds_60_to_79: 3,
    seeds_80_to_99: 4,
    seeds_100_to_119: 5,
    seeds_120_to_139: 6,
    seeds_140_to_159: 7,
    seeds_160_to_179: 8,
    seeds_180_to_199: 9,
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
    for seed in [1, 2, 3] {
        assert_eq!(run(seed).map_err(|f| f.message), run(seed).map_err(|f| f.message), "seed {seed}");
    }
    assert_ne!(run(1).map_err(|f| f.message), run(2).map_err(|f| f.message));
}
