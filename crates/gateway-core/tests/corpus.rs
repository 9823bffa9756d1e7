//! The fuzzer's body on its corpus, and on mutations of it.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use gateway_core::fuzz::fuzz_clients;
use proptest::prelude::*;

fn corpus() -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus/clients");
    let mut files: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty(), "the corpus is there");
    files.into_iter().map(|file| std::fs::read(file).unwrap()).collect()
}

#[test]
fn the_corpus_is_survived() {
    for data in corpus() {
        fuzz_clients(&data);
    }
}

proptest! {
    #[test]
    fn mutations_of_the_corpus_are_survived(
        which in any::<prop::sample::Index>(),
        cuts in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0_u8..3), 1..12),
    ) {
        let corpus = corpus();
        let mut data = which.get(&corpus).clone();
        for (at, byte, how) in cuts {
            let at = at.index(data.len() + 1);
            match how {
                0 if at < data.len() => data[at] = byte,
                1 if at < data.len() => drop(data.remove(at)),
                _ => data.insert(at, byte),
            }
        }
        fuzz_clients(&data);
    }

    #[test]
    fn nonsense_is_survived(data in prop::collection::vec(any::<u8>(), 0..400)) {
        fuzz_clients(&data);
    }
}
