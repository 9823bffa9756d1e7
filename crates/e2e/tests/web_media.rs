//! The web client's media layer in real browsers, without a server: against a page's own peer connection, and against one that loses packets.

use std::process::Command;

fn run(script: &str) {
    let out = Command::new("node").arg(script).current_dir(e2e::root().join("web/browser")).output();
    let out = out.expect("Node is there");
    let (said, complained) = (String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    println!("{said}");
    assert!(out.status.success(), "{said}\n{complained}");
}

#[test]
fn streams_come_and_go_through_one_connection() {
    run("loopback.mjs");
}

#[test]
fn what_is_lost_is_asked_for_and_redundancy_is_read() {
    run("loss.mjs");
}
