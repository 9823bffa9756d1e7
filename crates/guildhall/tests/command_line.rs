//! What the program says of itself, and to who calls it wrongly. That it is tested here also has it built anew whenever tests are: those of
//! the whole system run it.
#![allow(clippy::unwrap_used)]

// For the tests that they hold.
#[allow(dead_code)]
#[path = "../src/config.rs"]
mod config;
#[allow(dead_code)]
#[path = "../src/descriptors.rs"]
mod descriptors;
#[allow(dead_code)]
#[path = "../src/health.rs"]
mod health;
#[allow(dead_code)]
#[path = "../src/heap.rs"]
mod heap;

use std::process::{Command, Output};

fn guildhall(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_guildhall")).args(args).output().unwrap()
}

#[track_caller]
fn refuses(args: &[&str], words: &[&str]) {
    let out = guildhall(args);
    let said = String::from_utf8(out.stderr).unwrap();
    assert_eq!(out.status.code(), Some(2), "{said}");
    assert!(out.stdout.is_empty());
    for word in words {
        assert!(said.contains(word), "{word:?} is not in: {said}");
    }
}

#[test]
fn every_command_explains_itself() {
    let help = String::from_utf8(guildhall(&["--help"]).stdout).unwrap();
    for command in ["up", "talk", "load", "ctl", "compare"] {
        assert!(help.contains(&format!("\n  {command} ")), "{help}");
        let out = guildhall(&[command, "--help"]);
        assert!(out.status.success());
        assert!(String::from_utf8(out.stdout).unwrap().contains(&format!("Usage: guildhall {command}")));
    }
    let version = String::from_utf8(guildhall(&["--version"]).stdout).unwrap();
    assert_eq!(version.trim(), concat!("guildhall ", env!("CARGO_PKG_VERSION")));
}

#[test]
fn wrong_calls_are_refused_in_words() {
    refuses(&[], &["Usage: guildhall"]);
    refuses(&["serve"], &["unrecognized subcommand 'serve'"]);
    refuses(&["up", "--nonsense"], &["unexpected argument '--nonsense'", "Usage: guildhall up"]);
    refuses(&["up", "--http", "here"], &["'here'", "--http <ADDR>", "invalid socket address"]);
    refuses(&["talk"], &["--server <URL>", "--token <T>", "--guild <G>", "--channel <C>"]);
    refuses(&["load", "--workload", "mob"], &["'mob'", "raid, town-hall, guild-night, turn-taking, idle"]);
}
