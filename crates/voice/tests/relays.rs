//! Relays that hang, and relays that shall replace others. They are shells here, which say what is written for them and do nothing: what a real one does is
//! tested with the real one.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use client_wire::voice::ServerFrame;
use cluster_wire::record::{Health, UpgradeOutcome};
use cluster_wire::voice::ToVoice;
use model::{SessionId, UserId};
use sfu_wire::page::{HEAD, HEAD_AT, HEAD_WORDS, LEG_AT, VERSION, WORK_AT, Work};
use sfu_wire::{Framed as _, FromSfu, Hello, PROTOCOL, Report, Started};
use support::{PATIENCE, Server, close_code, frame, kill, send, start, start_with, wait_for_marks};
use tokio::time::timeout;

/// A line of a shell by which it says this on its control stream, the first shard's.
fn say(message: FromSfu) -> String {
    let mut bytes = Vec::new();
    message.append_to(&mut bytes);
    let octal: String = bytes.iter().map(|byte| format!("\\{byte:03o}")).collect();
    format!("printf '{octal}' >&4;")
}

fn started() -> FromSfu {
    FromSfu::Started(Started { protocol: PROTOCOL, shard: 0, version: "0.0.7".to_owned() })
}

/// A program that says hello, waits for what a relay is told first, and says that it has started. It leaves a mark each time it is told, and none when it is only ended.
fn relay_saying(hello: Hello, marks: &Path) -> String {
    let marks = marks.display();
    // The socket does not block, and is at its end for who is only ended.
    let told = format!("until head -c 4 <&4 >{marks}.$$ 2>/dev/null; do sleep 0.02; done;");
    let mark = format!("{told} if [ -s {marks}.$$ ]; then echo $$ >> {marks}; fi;");
    format!("{} {mark} {} exec sleep 1000", say(FromSfu::Hello(hello)), say(started()))
}

/// Programs are made before anything is started, or a child that is just being started might still hold one open for writing.
fn program(folder: &Path, name: &str, script: &str) -> String {
    let path = folder.join(name);
    std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
    path.to_str().unwrap().to_owned()
}

/// What the server's record says of a wish.
async fn wish(server: &Server, number: u64, program: Option<&str>) -> UpgradeOutcome {
    let program = program.map(str::to_owned);
    server.orders.send(ToVoice::UpgradeRelay { number, program }).await.unwrap();
    let known = server.handle.record_when(|record| {
        let upgrade = record.relay.upgrade.as_ref();
        upgrade.is_some_and(|upgrade| upgrade.number == number && upgrade.outcome != UpgradeOutcome::Underway)
    });
    let record = timeout(PATIENCE, known).await.expect("an outcome is told").expect("the server lives");
    record.relay.upgrade.unwrap().outcome
}

async fn successor(server: &Server, of: u32) -> u32 {
    let next = timeout(PATIENCE, server.handle.sfu_after(of)).await;
    next.expect("a successor starts").expect("the server lives")
}

/// The shell is busy with the first leg, and says nothing any more.
#[tokio::test]
async fn a_relay_that_falls_silent_is_replaced_and_whose_packet_it_was_is_left_out_the_second_time() {
    let data = tempfile::tempdir().unwrap();
    let head = data.path().join("head");
    let mut words = [0; HEAD_WORDS];
    (words[HEAD_AT], words[LEG_AT], words[WORK_AT]) = (HEAD, 1, Work::Rtp as u64);
    std::fs::write(&head, words.map(u64::to_ne_bytes).concat()).unwrap();
    let busy = format!("dd if={} of=/proc/self/fd/5 conv=notrunc 2>/dev/null;", head.display());
    // Stopped, it hears no signal but one.
    let script = format!("{busy} {} kill -STOP $$", say(started()));
    let server = start_with(&script, |_| {}).await.unwrap();
    let first = server.handle.sfu_after(0).await.unwrap();
    timeout(PATIENCE, server.handle.ready()).await.expect("it said that it had started");
    let mut client = server.connect("?v=8").await.unwrap();
    send(&mut client, server.identify_as(UserId(1), SessionId(1))).await;
    frame(&mut client).await;
    assert!(matches!(frame(&mut client).await, ServerFrame::Ready(_)));
    let second = successor(&server, first).await;
    send(&mut client, r#"{"op":3,"d":1}"#).await;
    assert!(matches!(frame(&mut client).await, ServerFrame::HeartbeatAck(_)), "once may be chance");
    successor(&server, second).await;
    assert_eq!(close_code(&mut client).await, 4014);
    server.handle.shutdown().await;
}

#[tokio::test]
async fn a_relay_that_never_starts_is_replaced() {
    let server = start().await;
    let first = server.handle.sfu_after(0).await.unwrap();
    successor(&server, first).await;
    server.handle.shutdown().await;
}

#[tokio::test]
async fn a_program_that_cannot_be_the_relay_changes_nothing_and_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let ours = Hello::of_this_version();
    let marks = folder.path().join("marks");
    let saying = |name, hello| program(folder.path(), name, &relay_saying(hello, &marks));
    let later =
        saying("later", Hello { protocol: PROTOCOL + 2, protocol_oldest: PROTOCOL + 1, ..ours.clone() });
    let page = u32::from(VERSION) + 1;
    let other_page = saying("page", Hello { page, page_oldest: page, ..ours });
    let silent = program(folder.path(), "silent", "exec sleep 1000");
    let ending = program(folder.path(), "ending", "exit 7");
    let dying = program(folder.path(), "dying", "kill -ABRT $$");
    let babbling = program(folder.path(), "babbling", "printf 'what is this' >&4; exec sleep 1000");
    // The one that runs has written that its memory is of this version.
    let head = folder.path().join("head");
    std::fs::write(&head, HEAD.to_ne_bytes()).unwrap();
    let write = format!("dd if={} of=/proc/self/fd/5 conv=notrunc 2>/dev/null;", head.display());
    let report = say(FromSfu::Report(Report::default()));
    let script = format!("{write} {} while sleep 1 2>/dev/null; do {report} done", say(started()));
    let server = start_with(&script, |_| {}).await.unwrap();
    timeout(PATIENCE, server.handle.ready()).await.expect("it has started");
    let running = server.handle.sfu_pids();
    let refusals = [
        ("/nowhere/relay", "cannot be started: No such file"),
        ("/bin/false", "ended before it said what it is: exit status: 1"),
        (ending.as_str(), "exit status: 7"),
        (&dying, "signal: 6"),
        (&silent, "said nothing for 5 s"),
        (&babbling, "not what a relay says"),
        (&later, "speaks version 3 to 4 of the control protocol, and this voice server 1 to 2"),
        (&other_page, "cannot go on from the memory of the one that runs, which is of version 1, but of 2"),
    ];
    for (number, (program, why)) in (1..).zip(refusals) {
        let UpgradeOutcome::Failed(said) = wish(&server, number, Some(program)).await else {
            panic!("{program} has become the relay")
        };
        assert!(said.starts_with(program) && said.contains(why), "{said}");
        assert_eq!(server.handle.sfu_pids(), running);
    }
    assert!(!marks.exists(), "none of them was told to start");
    assert_eq!((server.handle.record().health, server.handle.record().relay.restarts), (Health::Ok, 0));
    server.handle.shutdown().await;
}

/// The one that runs is of before relays could be replaced: it passes over what it does not know.
#[tokio::test]
async fn a_relay_that_does_not_go_is_killed_and_the_program_that_replaced_it_stays() {
    let folder = tempfile::tempdir().unwrap();
    let marks = folder.path().join("marks");
    let next = program(folder.path(), "next", &relay_saying(Hello::of_this_version(), &marks));
    let script = format!("{} exec sleep 1000", say(started()));
    let server = start_with(&script, |_| {}).await.unwrap();
    timeout(PATIENCE, server.handle.ready()).await.expect("it has started");
    let first = server.handle.sfu_after(0).await.unwrap();
    assert_eq!(wish(&server, 1, Some(&next)).await, UpgradeOutcome::Done);
    let second = server.handle.sfu_pids()[0];
    let gone = |pid: u32| !Path::new(&format!("/proc/{pid}")).exists();
    assert!(first != second && gone(first));
    let relay = server.handle.record().relay;
    assert_eq!((relay.version.as_str(), relay.restarts), ("0.0.7", 0));
    assert_eq!(relay.last_end.as_deref(), Some("overdue, when it was replaced"));
    // A new process of the same, and then one because that died.
    assert_eq!(wish(&server, 2, None).await, UpgradeOutcome::Done);
    let third = server.handle.sfu_pids()[0];
    kill(third);
    let fourth = successor(&server, third).await;
    let restarted = server.handle.record_when(|record| record.relay.restarts == 1);
    timeout(PATIENCE, restarted).await.expect("it is counted").unwrap();
    assert_eq!(server.handle.record().relay.last_end.as_deref(), Some("killed"));
    let marks = wait_for_marks(&marks, 3).await;
    assert_eq!(marks, format!("{second}\n{third}\n{fourth}\n"), "each was told, and told once");
    server.handle.shutdown().await;
}

/// A relay that dies all the time is when another program is needed most.
#[tokio::test]
async fn a_relay_that_keeps_dying_can_be_replaced_and_says_how_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let marks = folder.path().join("marks");
    let next = program(folder.path(), "next", &relay_saying(Hello::of_this_version(), &marks));
    let server = start_with("kill -ABRT $$", |_| {}).await.unwrap();
    let slowed = server.handle.record_when(|record| record.relay.next_start_in_ms == Some(1_600));
    let relay = timeout(PATIENCE, slowed).await.expect("it is slowed").unwrap().relay;
    assert_eq!((relay.restarts, relay.last_end.as_deref()), (6, Some("aborted, 6 times in a row")));
    assert_eq!(wish(&server, 1, Some(&next)).await, UpgradeOutcome::Done);
    assert_eq!(server.handle.record().relay.next_start_in_ms, None);
    server.handle.shutdown().await;
}

/// What it is told first is too much for it, which nobody could know before.
#[tokio::test]
async fn a_program_that_takes_over_and_dies_of_it_gives_way_to_the_one_before() {
    let folder = tempfile::tempdir().unwrap();
    let marks = folder.path().join("marks");
    let hello = say(FromSfu::Hello(Hello::of_this_version()));
    let next = program(folder.path(), "next", &format!("{hello} head -c 4 <&4 >/dev/null; kill -ABRT $$"));
    let script = format!("echo $$ >> {}; {} exec sleep 1000", marks.display(), say(started()));
    let server = start_with(&script, |_| {}).await.unwrap();
    timeout(PATIENCE, server.handle.ready()).await.expect("it has started");
    let UpgradeOutcome::Failed(said) = wish(&server, 1, Some(&next)).await else {
        panic!("it never started")
    };
    assert!(said.contains("aborted before it had started; the one before is started again"), "{said}");
    wait_for_marks(&marks, 2).await;
    let well = server.handle.record_when(|record| record.health == Health::Ok && record.relay.restarts == 1);
    timeout(PATIENCE, well).await.expect("the one before runs").unwrap();
    server.handle.shutdown().await;
}
