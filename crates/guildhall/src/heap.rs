//! Gives memory back that a burst has left behind. When a thousand people have joined, what each was told lies freed between what is still used; the C library's heap keeps it.

use std::thread;
use std::time::Duration;

/// Because nobody needs it back sooner, and it is a look at two numbers.
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
                && watch.is_due(resident(), used)
            {
                udp_io::trim_heap();
                watch.trimmed_to = resident();
            }
        }
    };
    thread::Builder::new().name("heap".to_owned()).spawn(look).map(drop)
}

#[derive(Debug, Default)]
struct Watch {
    /// What was resident once all had been given that could be.
    trimmed_to: u64,
}

impl Watch {
    /// A quarter of it holds nothing, and it is more than the last time left.
    fn is_due(&self, resident: u64, used: u64) -> bool {
        resident > used + used / 4 + FREE_BYTES && resident > self.trimmed_to + self.trimmed_to / 8
    }
}
