//! Replays the committed corpora through the fuzz bodies, each input also cut short at every length.

use std::fs;
use std::path::Path;

#[test]
fn the_corpora_hold() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    for (name, body) in rtp_wire::fuzz::ALL {
        let folder = root.join(name);
        let mut replayed = 0;
        for entry in fs::read_dir(&folder).expect("every body has a corpus") {
            let data = fs::read(entry.expect("the folder is readable").path()).expect("a readable file");
            for len in 0..=data.len() {
                body(&data[..len]);
            }
            replayed += 1;
        }
        assert!(replayed >= 3, "{name} has {replayed} inputs");
    }
}

#[test]
fn every_corpus_has_a_body() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    for entry in fs::read_dir(root).expect("the corpora are committed") {
        let name = entry.expect("the folder is readable").file_name().into_string().expect("plain names");
        assert!(rtp_wire::fuzz::ALL.iter().any(|(body, _)| *body == name), "{name} has no body");
    }
}

proptest::proptest! {
    #[test]
    fn random_bytes_hold(data in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200)) {
        for (_, body) in rtp_wire::fuzz::ALL {
            body(&data);
        }
    }

    /// Random bytes rarely begin like a packet, so here the first byte is made to.
    #[test]
    fn random_packets_hold(
        mut data in proptest::collection::vec(proptest::prelude::any::<u8>(), 4..200),
        kind in 192u8..=223,
        rtcp: bool,
    ) {
        data[0] = 0x80 | data[0] & 0x3F;
        if rtcp {
            data[1] = kind;
            data[2] = 0;
            data[3] %= 50;
        }
        for (_, body) in rtp_wire::fuzz::ALL {
            body(&data);
        }
    }
}
