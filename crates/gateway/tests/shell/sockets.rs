//! The WebSocket, from upgrade to close.

use std::time::Duration;

use client_wire::gateway::{CLIENT_FRAME_BYTES_MAX, FromServer};
use cluster_wire::guilds::Call;
use futures_util::SinkExt as _;
use gateway::GatewayConfig;
use model::{ChannelId, UserId};
use tokio_tungstenite::tungstenite::Message;
use zlib_rs::{Inflate, InflateFlush};
use zstd::stream::raw::{Decoder, InBuffer, Operation as _, OutBuffer};

use super::http;
use super::server::{Client, GUILD, Server};

#[tokio::test]
async fn a_client_comes_in_beats_and_is_told_events() {
    let server = Server::start().await;
    let (mut client, ready) = server.live().await;
    assert_eq!(ready.resume_gateway_url, format!("ws://{}", server.addr));
    assert_eq!(ready.guilds[0].id, GUILD);
    client.send(r#"{"d":2,"op":1}"#).await;
    assert!(matches!(client.frame().await, FromServer::HeartbeatAck));
    server.dispatch("VOICE_STATE_UPDATE", r#"{"channel_id":"5"}"#).await;
    let (seq, d) = client.dispatch("VOICE_STATE_UPDATE").await;
    assert_eq!((seq, d.get()), (3, r#"{"channel_id":"5"}"#));
    // Binary frames carry JSON too.
    client.socket.send(Message::binary(r#"{"op":1,"d":null}"#.as_bytes().to_vec())).await.unwrap();
    assert!(matches!(client.frame().await, FromServer::HeartbeatAck));
    server.handle.shutdown().await;
}

#[tokio::test]
async fn a_voice_state_update_reaches_guilds_with_its_ids_whole() {
    let server = Server::start().await;
    let (mut client, _) = server.live().await;
    client.send(r#"{"d":{"guild_id":10,"channel_id":18446744073709551615,"self_mute":true,"self_deaf":false},"op":4}"#).await;
    let (user, channel, muted) = server
        .asked
        .find(|call| match call {
            Call::UpdateVoice { guild, user, channel, flags, .. } if *guild == GUILD => {
                Some((*user, *channel, flags.self_mute))
            }
            _ => None,
        })
        .await;
    assert_eq!((user, channel, muted), (UserId(1), Some(ChannelId(u64::MAX)), true));
    server.handle.shutdown().await;
}

#[tokio::test]
async fn a_client_whose_socket_is_cut_resumes_where_it_was() {
    let server = Server::start().await;
    let (client, ready) = server.live().await;
    drop(client);
    for n in 0..3 {
        server.dispatch("EVENT", &n.to_string()).await;
    }
    let mut client = server.connect().await;
    client.hello().await;
    client
        .send(&format!(r#"{{"op":6,"d":{{"token":"alice","session_id":"{}","seq":2}}}}"#, ready.session_id))
        .await;
    for n in 0..3 {
        let (seq, d) = client.dispatch("EVENT").await;
        assert_eq!((seq, d.get()), (n + 3, n.to_string().as_str()));
    }
    let (seq, d) = client.dispatch("RESUMED").await;
    assert_eq!((seq, d.get()), (6, r#"{"_trace":[]}"#));

    let mut client = server.connect().await;
    client.hello().await;
    client.send(r#"{"op":6,"d":{"token":"alice","session_id":"gone","seq":2}}"#).await;
    assert!(matches!(client.frame().await, FromServer::InvalidSession { may_resume: false }));
    server.handle.shutdown().await;
}

#[tokio::test]
async fn a_goodbye_ends_the_session_for_guilds_too() {
    let server = Server::start().await;
    let (mut client, _) = server.live().await;
    client.socket.close(Some(close_frame(1000))).await.unwrap();
    server
        .asked
        .find(|call| matches!(call, Call::Detach { guild, .. } if *guild == GUILD).then_some(()))
        .await;
    server.handle.shutdown().await;
}

fn close_frame(code: u16) -> tokio_tungstenite::tungstenite::protocol::CloseFrame {
    tokio_tungstenite::tungstenite::protocol::CloseFrame { code: code.into(), reason: "".into() }
}

#[tokio::test]
async fn what_a_client_may_not_send_closes_with_the_documented_code() {
    let server = Server::start().await;
    let padded = |bytes: usize| {
        let frame = r#"{"op":1,"d":null,"pad":""}"#;
        frame.replace("\"\"", &format!("\"{}\"", "x".repeat(bytes - frame.len())))
    };
    let check = async |frame: Message, expect: u16| {
        let shown = format!("{frame:.60?}");
        let (mut client, _) = server.live().await;
        // A frame that is never read whole can break the connection while it is still being written.
        let _ = client.socket.send(frame).await;
        assert_eq!(client.close_code().await, Some(expect), "{shown}");
    };
    check(Message::text("{"), 4002).await;
    check(Message::text(""), 4002).await;
    check(Message::text(r#"{"op":2,"d":[]}"#), 4002).await;
    check(Message::binary(vec![0xff; 40]), 4002).await;
    check(Message::text(r#"{"op":99}"#), 4001).await;
    check(Message::text(r#"{"op":0,"d":null}"#), 4001).await;
    check(Message::text(r#"{"op":2,"d":{"token":"alice"}}"#), 4005).await;
    check(Message::text(padded(CLIENT_FRAME_BYTES_MAX + 1)), 4002).await;
    check(Message::text(padded(100_000)), 4002).await;
    // The longest frame that is allowed is only a heartbeat.
    let (mut client, _) = server.live().await;
    client.send(&padded(CLIENT_FRAME_BYTES_MAX)).await;
    assert!(matches!(client.frame().await, FromServer::HeartbeatAck));
    server.handle.shutdown().await;
}

#[tokio::test]
async fn strangers_are_told_why_they_may_not_come_in() {
    let server = Server::start().await;
    let check = async |path: &str, frame: &str, expect: u16| {
        let mut client = Client::connect(&format!("ws://{}{path}", server.addr)).await;
        if !frame.is_empty() {
            client.send(frame).await;
        }
        assert_eq!(client.close_code().await, Some(expect), "{path} {frame}");
    };
    check("/?v=10&encoding=json", r#"{"op":2,"d":{"token":"wrong","intents":1}}"#, 4004).await;
    check("/?v=10&encoding=json", r#"{"op":2,"d":{"token":"alice","intents":131072}}"#, 4013).await;
    check("/?v=10&encoding=json", r#"{"op":2,"d":{"token":"alice","intents":1,"shard":[3,2]}}"#, 4010).await;
    check("/?v=10&encoding=json", r#"{"op":4,"d":{"guild_id":"1"}}"#, 4003).await;
    check("/gateway?v=6", "", 4012).await;
    check("/?v=10&encoding=etf", "", 4002).await;
    // A client that names no version and no encoding is taken at its best.
    check("/", r#"{"op":2,"d":{"token":"wrong","intents":1}}"#, 4004).await;
    server.handle.shutdown().await;
}

#[tokio::test]
async fn a_flood_is_closed_and_others_do_not_notice() {
    let server = Server::start().await;
    let (mut other, _) = server.live().await;
    let (mut client, _) = server.live().await;
    for _ in 0..200 {
        if client.socket.send(Message::text(r#"{"op":1,"d":null}"#)).await.is_err() {
            break;
        }
    }
    assert_eq!(client.close_code().await, Some(4008));
    server.dispatch("EVENT", "1").await;
    other.dispatch("EVENT").await;
    server.handle.shutdown().await;
}

#[tokio::test]
async fn a_client_that_does_not_read_is_disconnected_and_others_do_not_notice() {
    let server = Server::start().await;
    let (mut slow, _) = server.live().await;
    let (mut other, _) = server.live().await;
    let large = format!("\"{}\"", "x".repeat(256 * 1024));
    // More than its queue and the kernel's buffers together take.
    for _ in 0..200 {
        server.dispatch("EVENT", &large).await;
        other.dispatch("EVENT").await;
    }
    let mut seen = 0;
    while let Some(message) = slow.message().await {
        match message {
            Message::Close(_) => break,
            _ => seen += 1,
        }
    }
    assert!(seen < 200, "it was cut off before everything was sent");
    server.dispatch("EVENT", "1").await;
    other.dispatch("EVENT").await;
    server.handle.shutdown().await;
}

#[tokio::test]
async fn a_connection_that_falls_silent_is_closed() {
    let config = GatewayConfig { heartbeat_interval: Duration::from_millis(200), ..GatewayConfig::default() };
    let server = Server::with(config).await;
    let mut client = server.connect().await;
    assert!(matches!(client.frame().await, FromServer::Hello { heartbeat_interval_ms: 200 }));
    client.send(r#"{"op":2,"d":{"token":"alice","intents":1}}"#).await;
    client.dispatch("READY").await;
    assert_eq!(client.close_code().await, Some(4009));
    server.handle.shutdown().await;
}

#[tokio::test]
async fn zlib_stream_is_one_context_for_the_connection() {
    let server = Server::start().await;
    let url = format!("ws://{}/?v=10&encoding=json&compress=zlib-stream", server.addr);
    let mut client = Client::connect(&url).await;
    let mut inflate = Inflate::new(true, 15);
    let mut next = async |client: &mut Client| {
        let Some(Message::Binary(bytes)) = client.message().await else {
            panic!("compressed frames are binary")
        };
        assert!(bytes.ends_with(&[0, 0, 0xff, 0xff]));
        let mut out = vec![0; 64 * 1024];
        let before = inflate.total_out();
        inflate.decompress(&bytes, &mut out, InflateFlush::SyncFlush).unwrap();
        out.truncate(usize::try_from(inflate.total_out() - before).unwrap());
        FromServer::parse(&out).unwrap()
    };
    assert!(matches!(next(&mut client).await, FromServer::Hello { .. }));
    client.send(r#"{"op":2,"d":{"token":"alice","intents":1,"compress":true}}"#).await;
    assert!(matches!(next(&mut client).await, FromServer::Dispatch { seq: 1, t, .. } if t == "READY"));
    assert!(matches!(next(&mut client).await, FromServer::Dispatch { seq: 2, t, .. } if t == "GUILD_CREATE"));
    server.dispatch("EVENT", &format!("\"{}\"", "abc".repeat(10_000))).await;
    assert!(matches!(next(&mut client).await, FromServer::Dispatch { d, .. } if d.get().len() == 30_002));
    server.handle.shutdown().await;
}

#[tokio::test]
async fn zstd_stream_is_one_frame_for_the_connection() {
    let server = Server::start().await;
    let url = format!("ws://{}/?v=10&encoding=json&compress=zstd-stream", server.addr);
    let mut client = Client::connect(&url).await;
    let mut decoder = Decoder::new().unwrap();
    let mut next = async |client: &mut Client| {
        let Some(Message::Binary(bytes)) = client.message().await else {
            panic!("compressed frames are binary")
        };
        let mut out = vec![0; 64 * 1024];
        let mut input = InBuffer::around(&bytes);
        let mut output = OutBuffer::around(&mut out[..]);
        while input.pos() < bytes.len() {
            decoder.run(&mut input, &mut output).unwrap();
        }
        decoder.flush(&mut output).unwrap();
        FromServer::parse(output.as_slice()).unwrap()
    };
    assert!(matches!(next(&mut client).await, FromServer::Hello { .. }));
    client.send(r#"{"op":2,"d":{"token":"alice","intents":1}}"#).await;
    assert!(matches!(next(&mut client).await, FromServer::Dispatch { seq: 1, t, .. } if t == "READY"));
    assert!(matches!(next(&mut client).await, FromServer::Dispatch { seq: 2, t, .. } if t == "GUILD_CREATE"));
    server.handle.shutdown().await;
}

#[tokio::test]
async fn draining_asks_clients_to_go_and_says_so_to_whoever_checks() {
    let server = Server::start().await;
    let (mut client, _) = server.live().await;
    assert_eq!(http::get(server.addr, "/healthz", "").await.status, 200);
    server.handle.drain().await;
    assert!(matches!(client.frame().await, FromServer::Reconnect));
    assert_eq!(http::get(server.addr, "/healthz", "").await.status, 503);
    let refusal = tokio_tungstenite::connect_async(format!("ws://{}/", server.addr)).await.unwrap_err();
    assert!(refusal.to_string().contains("503"), "{refusal}");
    server.handle.shutdown().await;
}

#[tokio::test]
async fn shutting_down_tells_clients_and_guilds() {
    let server = Server::start().await;
    let (mut client, _) = server.live().await;
    let Server { handle, asked, .. } = server;
    let (code, ()) = tokio::join!(client.close_code(), handle.shutdown());
    assert_eq!(code, Some(1012));
    asked.find(|call| matches!(call, Call::Detach { .. }).then_some(())).await;
}

#[tokio::test]
async fn without_an_upgrade_there_is_a_page() {
    let server = Server::start().await;
    let page = http::get(server.addr, "/", "").await;
    assert_eq!((page.status, page.header("content-type")), (200, Some("text/html; charset=utf-8")));
    assert!(page.body.to_ascii_lowercase().starts_with("<!doctype html>"), "{}", page.body);
    server.handle.shutdown().await;
}

#[tokio::test]
async fn a_gateway_that_was_cut_off_comes_back_and_begins_anew() {
    let server = Server::start().await;
    let (mut client, ready) = server.live().await;
    server.cut_off();
    assert_eq!(client.close_code().await, Some(1012), "libraries come back");
    server.asked.find(|call| matches!(call, Call::Detach { .. }).then_some(())).await;

    let mut back = server.connect().await;
    back.hello().await;
    let session = ready.session_id;
    back.send(&format!(r#"{{"op":6,"d":{{"token":"alice","session_id":"{session}","seq":2}}}}"#)).await;
    assert!(matches!(back.frame().await, FromServer::InvalidSession { .. }), "what it missed is not known");
    let (mut anew, _) = server.live().await;
    server.dispatch("TYPING_START", "{}").await;
    anew.dispatch("TYPING_START").await;
    assert_eq!(http::get(server.addr, "/healthz", "").await.status, 200);
    server.handle.shutdown().await;
}
