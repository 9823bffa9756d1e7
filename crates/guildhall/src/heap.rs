//! Gives memory back that a burst has left behind. When a thousand people have joined, what each was told lies freed between what is still used; the C library's heap keeps it.

use std::thread;
use std::time::Duration;

/// Because nobody needs it back sooner, and the library counts what is free by walking over it.
const LOOKS_EVERY: Duration = Duration::from_secs(30);
/// What lies free and is not worth a look: a heap has room for what comes next.
const FREE_BYTES: u64 = 16 << 20;

/// For as long as the process runs.
pub fn watch() -> std::io::Result<()> {
    let mut watch = Watch::default();
    let me = std::process::id();
    let look = move || {
        loop {
            thread::sleep(LOOKS_EVERY);
            let resident = || udp_io::resident_of(me).unwrap_or(0);
            if let Some(used) = udp_io::heap_in_use()
                && watch.is_due(resident().saturating_sub(used), used)
            {
                udp_io::trim_heap();
                watch.left = resident().saturating_sub(used);
            }
        }
    };
    thread::Builder::new().name("heap".to_owned()).spawn(look).map(drop)
}

#[derive(Debug, Default)]
struct Watch {
    /// What was resident beyond what was used once all had been given that could be.
    left: u64,
}

impl Watch {
    /// It is a good part of what is used, and more than can never be given.
    fn is_due(&self, unused: u64, used: u64) -> bool {
        unused > used / 4 + FREE_BYTES && unused > self.left + self.left / 8 + FREE_BYTES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MB: u64 = 1 << 20;

    #[test]
    fn memory_is_given_back_when_a_good_part_is_unused_and_not_again_for_nothing() {
        let mut watch = Watch::default();
        assert!(!watch.is_due(15 * MB, 4 * MB), "room for what comes next");
        assert!(!watch.is_due(140 * MB, 500 * MB), "a quarter");
        assert!(watch.is_due(200 * MB, 500 * MB));
        // So much lies within pages that something is used of.
        watch.left = 150 * MB;
        assert!(!watch.is_due(180 * MB, 500 * MB));
        assert!(watch.is_due(440 * MB, 60 * MB), "the crowd has left");
    }
}
