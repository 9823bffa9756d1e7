//! The whole voice server over loopback TLS. The relay here is a shell that holds its sockets and says nothing: what a real one does
//! is tested with the real one.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeSet;

use client_wire::voice::{MODES, ServerFrame};
use cluster_wire::record::Health;
use cluster_wire::voice::{OrderKind, Participant, Report, Rights, ToVoice};
use futures_util::{SinkExt as _, StreamExt as _};
use model::{SessionId, UserId};
use sfu_wire::page::{HEAD, HEAD_AT, HEAD_WORDS, LEG_AT, WORK_AT, Work};
use support::{
    PATIENCE, REPORTS, ROOM, SESSION, close_code, frame, key, kill, send, shell, start, start_with,
    wait_for_marks,
};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use voice::{Voice, VoiceConfig, VoiceError};

#[tokio::test]
async fn a_client_joins_over_tls_and_is_removed_by_guilds() {
    let mut server = start().await;
    let rights = Rights { speak: true, hear: true, video: true, priority: false };
    let participant = Participant { user: UserId(7), session: SESSION, channel: ROOM, rights, memo: None };
    server.order(OrderKind::Put(participant)).await;
    let mut client = server.connect("?v=8").await.unwrap();
    assert!(matches!(frame(&mut client).await, ServerFrame::Hello(hello) if hello.v == 8));
    send(&mut client, server.identify()).await;
    let ServerFrame::Ready(ready) = frame(&mut client).await else { panic!("READY comes first") };
    assert_eq!(ready.modes, MODES);
    assert_ne!(ready.port, 0);
    send(&mut client, r#"{"op":1,"d":{"protocol":"udp","data":{"address":"127.0.0.1","port":9,"mode":"xsalsa20_poly1305"}}}"#).await;
    assert!(
        matches!(frame(&mut client).await, ServerFrame::SessionDescription(d) if d.mode == "xsalsa20_poly1305")
    );
    assert!(matches!(server.reports.recv().await, Some(Report::Live { user: UserId(7), .. })));
    server.order(OrderKind::Remove { user: UserId(7), session: SESSION }).await;
    assert_eq!(close_code(&mut client).await, 4014);
    assert!(matches!(server.reports.recv().await, Some(Report::Gone { user: UserId(7), .. })));
    server.handle.shutdown().await;
}

#[tokio::test]
async fn guilds_hears_of_everybody_however_late_it_listens() {
    /// More than may wait on the way to guilds.
    const CLIENTS: u64 = REPORTS as u64 + 5;
    let mut server = start().await;
    let mut clients = Vec::new();
    for n in 1..=CLIENTS {
        let mut client = server.connect("?v=8").await.unwrap();
        send(&mut client, server.identify_as(UserId(n), SessionId(u128::from(n)))).await;
        frame(&mut client).await;
        assert!(matches!(frame(&mut client).await, ServerFrame::Ready(_)));
        clients.push(client);
    }
    let mut last = clients.pop().expect("there are some");
    let goodbye = CloseFrame { code: 1000.into(), reason: "".into() };
    last.close(Some(goodbye)).await.unwrap();
    while let Some(Ok(_)) = timeout(PATIENCE, last.next()).await.expect("the server answers the close") {}
    let mut live = BTreeSet::new();
    loop {
        match timeout(PATIENCE, server.reports.recv()).await.expect("every report comes") {
            Some(Report::Live { user, .. }) => live.insert(user.0),
            Some(Report::Held(held)) => panic!("nobody asked: {held:?}"),
            Some(Report::Gone { user, .. }) => {
                assert_eq!(user.0, CLIENTS);
                break;
            }
            None => panic!("the voice server lives"),
        };
    }
    assert!((1..CLIENTS).all(|n| live.contains(&n)), "{live:?}");
    server.handle.shutdown().await;
}

#[tokio::test]
async fn a_lost_client_resumes() {
    let server = start().await;
    let mut client = server.connect("?v=8").await.unwrap();
    send(&mut client, server.identify()).await;
    frame(&mut client).await;
    frame(&mut client).await;
    drop(client);
    let mut client = server.connect("?v=8").await.unwrap();
    frame(&mut client).await;
    let token = server.token();
    send(
        &mut client,
        format!(
            r#"{{"op":7,"d":{{"server_id":"10","session_id":"{SESSION}","token":"{token}","seq_ack":-1}}}}"#
        ),
    )
    .await;
    assert_eq!(frame(&mut client).await, ServerFrame::Resumed);
    server.handle.shutdown().await;
}

#[tokio::test]
async fn bad_input_costs_its_sender_the_connection_and_says_why() {
    let server = start().await;
    let check = async |query: &str, message: Option<Message>, expect: u16| {
        let mut client = server.connect(query).await.unwrap();
        if let Some(message) = message {
            client.send(message).await.unwrap();
        }
        assert_eq!(close_code(&mut client).await, expect);
    };
    check("?v=3", None, 4020).await;
    check("", None, 4020).await;
    check("?v=8", Some(Message::text("nonsense")), 4002).await;
    check("?v=8", Some(Message::text("x".repeat(100_000))), 4002).await;
    check("?v=8", Some(Message::binary(vec![0; 100_000])), 4002).await;
    check("?v=4", Some(Message::text(r#"{"op":99,"d":0}"#)), 4001).await;
    check("?v=4", Some(Message::text(r#"{"op":5,"d":{"speaking":1}}"#)), 4003).await;
    server.handle.shutdown().await;
}

#[tokio::test]
async fn without_tls_or_a_websocket_there_is_nothing_here() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let server = start().await;
    let mut tcp = TcpStream::connect(server.handle.endpoint()).await.unwrap();
    tcp.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    // Refused with an alert or a reset, but not served.
    let _ = timeout(PATIENCE, tcp.read_to_end(&mut answer)).await.expect("the connection ends");
    assert!(!answer.starts_with(b"HTTP"));
    server.handle.shutdown().await;
}

#[tokio::test]
async fn a_planned_end_asks_clients_to_come_back_and_leaves_nothing_running() {
    let server = start().await;
    let mut client = server.connect("?v=4").await.unwrap();
    send(&mut client, server.identify()).await;
    frame(&mut client).await;
    frame(&mut client).await;
    let pid = server.handle.sfu_after(0).await.unwrap();
    let closed = tokio::spawn(async move { close_code(&mut client).await });
    server.handle.shutdown().await;
    assert_eq!(closed.await.unwrap(), 1001);
    assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists(), "the relay is gone and waited for");
    assert!(server.registry.watch().await.unwrap().snapshot().is_empty(), "and so is the record");
}

#[tokio::test]
async fn a_relay_that_dies_is_started_again_with_its_sockets() {
    // It ends at once unless all six descriptors are there, and leaves a mark each time it is started.
    let data = tempfile::tempdir().unwrap();
    let marks = data.path().join("marks");
    let script = format!(
        "for fd in 3 4 6 7; do [ -S /proc/self/fd/$fd ] || exit 9; done; for fd in 5 8; do [ -f /proc/self/fd/$fd ] || exit 9; done; echo \"$0 $*\" >> {}; exec sleep 1000",
        marks.display()
    );
    let server = start_with(&script, |config| config.shards = 2).await.unwrap();
    let first = wait_for_marks(&marks, 1).await;
    assert_eq!(first, "--shard 3,4,5 --shard 6,7,8\n");
    let pid = server.handle.sfu_after(0).await.unwrap();
    kill(pid);
    wait_for_marks(&marks, 2).await;
    let successor = timeout(PATIENCE, server.handle.sfu_after(pid)).await.expect("a successor starts");
    assert!(successor.is_some_and(|successor| successor != pid));
    assert_eq!(server.handle.record().health, Health::NoRelay, "a shell answers no Start");
    // Signalling went on meanwhile.
    let mut client = server.connect("?v=8").await.unwrap();
    assert!(matches!(frame(&mut client).await, ServerFrame::Hello(_)));
    server.handle.shutdown().await;
}

/// The relay is a shell that says, when it is told to, that it is busy with the first leg, and dies of it.
#[tokio::test]
async fn who_relays_die_with_is_left_out_the_second_time() {
    let data = tempfile::tempdir().unwrap();
    let (head, die) = (data.path().join("head"), data.path().join("die"));
    let mut words = [0; HEAD_WORDS];
    (words[HEAD_AT], words[LEG_AT], words[WORK_AT]) = (HEAD, 1, Work::Rtp as u64);
    std::fs::write(&head, words.map(u64::to_ne_bytes).concat()).unwrap();
    let script = format!(
        "until rm {die} 2>/dev/null; do sleep 0.01; done; dd if={head} of=/proc/self/fd/5 conv=notrunc 2>/dev/null; kill -$(cat {head}.signal) $$",
        die = die.display(),
        head = head.display(),
    );
    let server = start_with(&script, |_| {}).await.unwrap();
    let mut clients = Vec::new();
    for n in 1..=2 {
        let mut client = server.connect("?v=8").await.unwrap();
        send(&mut client, server.identify_as(UserId(n), SessionId(u128::from(n)))).await;
        frame(&mut client).await;
        assert!(matches!(frame(&mut client).await, ServerFrame::Ready(_)));
        clients.push(client);
    }
    // To be killed is nobody's doing.
    for signal in ["KILL", "ABRT", "KILL", "SEGV"] {
        let pid = server.handle.sfu_after(0).await.unwrap();
        std::fs::write(format!("{}.signal", head.display()), signal).unwrap();
        std::fs::write(&die, []).unwrap();
        timeout(PATIENCE, server.handle.sfu_after(pid)).await.expect("a successor starts");
        send(&mut clients[1], r#"{"op":3,"d":1}"#).await;
        let answer = loop {
            match frame(&mut clients[1]).await {
                ServerFrame::HeartbeatAck(_) => break true,
                ServerFrame::ClientDisconnect(gone) => {
                    assert_eq!((gone.user_id, signal), (UserId(1), "SEGV"))
                }
                other => panic!("{other:?}"),
            }
        };
        assert!(answer);
        if signal != "SEGV" {
            send(&mut clients[0], r#"{"op":3,"d":1}"#).await;
            assert!(matches!(frame(&mut clients[0]).await, ServerFrame::HeartbeatAck(_)), "after {signal}");
        }
    }
    assert_eq!(close_code(&mut clients[0]).await, 4014);
    server.handle.shutdown().await;
}

#[tokio::test]
async fn wrong_configuration_is_refused_by_name() {
    let check = async |edit: fn(&mut VoiceConfig), word: &str| {
        let error = start_with("exit 0", edit).await.map(|_| ()).unwrap_err().to_string();
        assert!(error.contains(word), "{error}");
    };
    check(|c| c.modes = Some(vec!["rot13".into()]), "rot13").await;
    check(|c| c.modes = Some(vec![]), "modes").await;
    check(|c| c.shards = 0, "shards").await;
    check(|c| c.relay = Some(vec!["/nowhere/sfu".into()]), "/nowhere/sfu").await;
    check(|c| c.listen = "192.0.2.1:1".parse().unwrap(), "192.0.2.1:1").await;
    check(
        |c| c.certificate = Some(("/nowhere/chain.pem".into(), "/nowhere/key.pem".into())),
        "/nowhere/chain.pem",
    )
    .await;
}

#[tokio::test]
async fn the_registry_knows_the_server_and_two_of_one_name_are_one_too_many() {
    let server = start().await;
    let records = server.registry.watch().await.unwrap().snapshot();
    assert_eq!(records.len(), 1);
    assert_eq!(
        (&records[0].id, records[0].endpoint.as_str()),
        (server.handle.id(), server.handle.endpoint())
    );
    let data = tempfile::tempdir().unwrap();
    let config =
        VoiceConfig { data: data.path().into(), relay: shell("exec sleep 1000"), ..VoiceConfig::default() };
    let (_orders, incoming) = mpsc::channel(1);
    let (reports, _reported) = mpsc::channel(1);
    let second = Voice::start(config, server.registry.clone(), key(), incoming, reports).await;
    assert!(matches!(second, Err(VoiceError::Registry(_))));
    server.orders.send(ToVoice::SetDraining(true)).await.unwrap();
    let mut watch = server.registry.watch().await.unwrap();
    let mut draining = watch.snapshot().iter().any(|record| record.draining);
    while !draining {
        let change = timeout(PATIENCE, watch.next()).await.expect("the registry is told").unwrap();
        draining = matches!(change, registry::Change::Put(record) if record.draining);
    }
    server.handle.shutdown().await;
}
