//! Relays that hang. They are shells here, which say what is written for them and do nothing: what a real one does is tested with the real one.
#![allow(clippy::unwrap_used)]

mod support;

use client_wire::voice::ServerFrame;
use model::{SessionId, UserId};
use sfu_wire::page::{HEAD, HEAD_AT, HEAD_WORDS, LEG_AT, WORK_AT, Work};
use sfu_wire::{Framed as _, FromSfu, PROTOCOL, Started};
use support::{PATIENCE, Server, close_code, frame, send, start, start_with};
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
