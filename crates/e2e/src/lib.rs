//! Real processes, real sound, real clients: the harness of the end-to-end tests.
//!
//! Owns: starting `guildhall` and the client bots, speaking to them line by line, ending them. Deliberately does not: know how
//! anything inside works. Every wait has a deadline and ends with what was seen until then.
#![forbid(unsafe_code)]

mod bot;
mod browser;
pub mod call;
mod cluster;
pub mod disk;
mod distance;
pub mod etcd;
pub mod hosts;
pub mod impair;
mod net;
pub mod page;
pub mod people;
#[allow(clippy::unwrap_used)]
#[path = "../../store/tests/both/postgres.rs"]
pub mod postgres;
mod process;
pub mod raw;
pub mod recital;
mod server;
mod sound;
mod talk;
pub mod wire;

pub use bot::{Bot, Heard, Library};
pub use browser::{Browser, Engine, Sound};
pub use cluster::{Cluster, MEDIA_PORT, Role};
pub use net::Net;
pub use process::{Lines, Running, SaidSoFar, signal_pid};
pub use recital::{Judged, Recital};
pub use server::{Server, User};
pub use sound::strongest_tone;
pub use talk::{Talk, speech};

use std::path::PathBuf;

/// Says what a case showed and what is borne, for `cargo x chaos` to print.
pub fn measured(what: impl std::fmt::Display, bound: impl std::fmt::Display) {
    println!("measured: {what}; bound: {bound}");
}

/// The repository's root.
pub fn root() -> PathBuf {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).expect("this crate lives two folders below the root").to_owned()
}

/// The program under test, built beside the tests.
pub fn guildhall() -> PathBuf {
    let test = std::env::current_exe().expect("a running test has a path");
    let folder = test.ancestors().nth(2).expect("tests lie in target/<profile>/deps");
    let binary = folder.join("guildhall");
    assert!(
        binary.is_file(),
        "{} is not built: run `cargo x test`, or `cargo build` first",
        binary.display()
    );
    binary
}
