//! Lines for the operator on standard error, `key=value`. Signalling's process adds them to its own log.

use std::fmt::Arguments;
use std::io::Write as _;

pub const INFO: &str = "info";
pub const WARN: &str = "warn";
pub const ERROR: &str = "error";

pub fn line(level: &str, event: &str, rest: Arguments<'_>) {
    let thread = std::thread::current();
    let name = thread.name().unwrap_or("-");
    // A log that cannot be written, such as on a full disk, is no reason to end.
    let _ = writeln!(std::io::stderr(), "level={level} role=sfu thread={name} event={event} {rest}");
}
