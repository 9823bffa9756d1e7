//! Bodies for fuzzers: whatever a browser writes into a fragment. None may panic, and what is taken is what the rest of the server relies on;
//! the committed corpora under `corpus/<body>/` are replayed by an ordinary test.

use crate::fragment::{ClientFragment, ServerFragment, UFRAG_BYTES_MAX};

pub type Body = fn(&[u8]);

/// Every body by the name of its corpus.
pub const ALL: [(&str, Body); 2] =
    [("client-fragment", fuzz_client_fragment), ("server-fragment", fuzz_server_fragment)];

/// What is taken of a browser's can be told to the relay as it stands.
pub fn fuzz_client_fragment(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    for opus in [None, Some(111), Some(0), Some(255)] {
        let Ok(fragment) = ClientFragment::parse(&text, opus) else { continue };
        assert!((4..=UFRAG_BYTES_MAX).contains(&fragment.ufrag.len()) && is_ice(&fragment.ufrag));
        assert!((22..=256).contains(&fragment.pwd.len()) && is_ice(&fragment.pwd));
        assert!(fragment.opus < 128 && !(64..96).contains(&fragment.opus), "a type of RTCP's");
        assert!(fragment.red.is_none_or(|red| red < 128 && !(64..96).contains(&red)));
        assert!(fragment.audio_level.is_none_or(|id| (1..=14).contains(&id)));
        assert!(!format!("{fragment:?}").contains(&fragment.pwd) || fragment.ufrag.contains(&fragment.pwd));
    }
}

/// What is taken of a server's is written as it was read.
pub fn fuzz_server_fragment(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Ok(fragment) = ServerFragment::parse(&text) {
        assert!(is_ice(&fragment.ufrag) && is_ice(&fragment.pwd));
        assert_eq!(ServerFragment::parse(&fragment.to_string()), Ok(fragment));
    }
}

fn is_ice(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/'))
}
