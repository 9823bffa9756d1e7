//! The fuzz body on its committed corpus, and on whatever comes to mind.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use proptest::prelude::*;
use sfu_core::fuzz::{fuzz_dying_shard, fuzz_shard};

#[test]
fn the_corpus_is_replayed() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus/shard");
    let mut count = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        eprintln!("replaying {}", path.display());
        let data = std::fs::read(&path).unwrap();
        fuzz_shard(&data);
        (1..=7).for_each(|every| fuzz_dying_shard(&data, every));
        count += 1;
    }
    assert!(count > 10);
}

proptest! {
    #[test]
    fn any_programme_runs(data in proptest::collection::vec(any::<u8>(), 0..800)) {
        fuzz_shard(&data);
        fuzz_dying_shard(&data, 1 + data.len() % 5);
    }
}
