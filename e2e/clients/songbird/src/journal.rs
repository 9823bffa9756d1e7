//! The library's log: to standard error, and watched for two facts that songbird tells nowhere else, namely which
//! encryption mode it chose and whether a reconnection resumed the session or made a new one.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use log::{Level, LevelFilter, Log, Metadata, Record};
use songbird::driver::CryptoMode;

static MODE: Mutex<Option<CryptoMode>> = Mutex::new(None);
static RESUMED: AtomicBool = AtomicBool::new(false);

pub fn install() {
    log::set_logger(&Journal).expect("nothing else sets a logger");
    log::set_max_level(LevelFilter::Debug);
}

/// The mode of the last voice connection, as it is named in the protocol.
pub fn mode() -> Option<&'static str> {
    MODE.lock().expect("no holder of this lock panics").map(CryptoMode::to_request_str)
}

/// Whether the last voice connection that came up was a resumed one.
pub fn was_resumed() -> bool {
    RESUMED.load(Ordering::Relaxed)
}

struct Journal;

impl Log for Journal {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let message = record.args().to_string();
        if record.target() == "songbird::driver::connection" {
            observe(&message);
        }
        // serenity logs each of its spans at this level, which tells nothing and drowns the rest.
        let telling = record.level() <= Level::Info && record.target().starts_with("songbird");
        if record.level() <= Level::Warn || telling || std::env::var_os("BOT_DEBUG").is_some() {
            eprintln!("{} {}: {message}", record.level(), record.target());
        }
    }

    fn flush(&self) {}
}

fn observe(message: &str) {
    if message.starts_with("Reconnected to") {
        RESUMED.store(true, Ordering::Relaxed);
    } else if message.starts_with("Connected to") {
        RESUMED.store(false, Ordering::Relaxed);
    } else if let Some((_, chosen)) = message.split_once("Chose ") {
        let modes = [CryptoMode::Aes256Gcm, CryptoMode::XChaCha20Poly1305];
        let mode = modes.into_iter().find(|mode| chosen.starts_with(&format!("{mode:?} ")));
        *MODE.lock().expect("no holder of this lock panics") = mode;
    }
}
