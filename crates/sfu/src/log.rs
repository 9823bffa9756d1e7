//! Lines for the operator on standard error, `key=value`. Signalling's process adds them to its own log.

use std::fmt::Arguments;

pub const INFO: &str = "info";
pub const WARN: &str = "warn";
pub const ERROR: &str = "error";

pub fn line(level: &str, event: &str, rest: Arguments<'_>) {
    let thread = std::thread::current();
    eprintln!("level={level} role=sfu thread={} event={event} {rest}", thread.name().unwrap_or("-"));
}
