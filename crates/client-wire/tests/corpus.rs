//! The fuzzers' bodies on their corpora, on mutations of them, and on nonsense.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;

use client_wire::fuzz::ALL;
use proptest::prelude::*;

fn corpus(name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name);
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 3, "{name} has a corpus");
    files.into_iter().map(|file| fs::read(file).unwrap()).collect()
}

#[test]
fn the_corpora_hold() {
    for (name, body) in ALL {
        for data in corpus(name) {
            (0..=data.len()).for_each(|len| body(&data[..len]));
        }
    }
}

#[test]
fn every_corpus_has_a_body() {
    for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(ALL.iter().any(|(body, _)| *body == name), "{name} has no body");
    }
}

proptest! {
    #[test]
    fn mutations_hold(
        which in any::<prop::sample::Index>(),
        cuts in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0_u8..3), 1..8),
    ) {
        for (name, body) in ALL {
            let corpus = corpus(name);
            let mut data = which.get(&corpus).clone();
            for (at, byte, how) in &cuts {
                let at = at.index(data.len() + 1);
                match how {
                    0 if at < data.len() => data[at] = *byte,
                    1 if at < data.len() => drop(data.remove(at)),
                    _ => data.insert(at, *byte),
                }
            }
            body(&data);
        }
    }

    #[test]
    fn nonsense_holds(data in prop::collection::vec(any::<u8>(), 0..400)) {
        ALL.iter().for_each(|(_, body)| body(&data));
    }
}
