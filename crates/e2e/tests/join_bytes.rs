//! A join beside one other participant costs at most a thousand bytes of voice WebSocket payload, both ways together, whichever
//! client joins: from HELLO to the first heartbeat's acknowledgement.
//!
//! Each client's messages are written here as it writes them.

use std::net::Ipv4Addr;

use e2e::raw::{Raw, Ticket, voice_wire};
use e2e::{Server, Talk, User};
use serde_json::json;

const BYTES_MAX: usize = 1_000;
const HERE: Ipv4Addr = Ipv4Addr::LOCALHOST;

/// What a client says in the course of a join.
struct Manner {
    name: &'static str,
    version: u8,
    identify: String,
    /// `PORT` stands for the port that discovery found.
    select: String,
    heartbeat: &'static str,
}

fn manners(server: &Server, client: &Raw, ticket: &Ticket) -> [Manner; 3] {
    let (guild, user, session, token) = (server.guild(), &client.user.id, &client.session, &ticket.token);
    [
        Manner {
            name: "songbird",
            version: 4,
            identify: format!(
                r#"{{"d":{{"max_dave_protocol_version":1,"server_id":"{guild}","session_id":"{session}","token":"{token}","user_id":"{user}"}},"op":0}}"#
            ),
            select: r#"{"d":{"data":{"address":"127.0.0.1","mode":"aead_aes256_gcm_rtpsize","port":PORT},"protocol":"udp"},"op":1}"#
                .to_owned(),
            heartbeat: r#"{"d":1795381607123,"op":3}"#,
        },
        Manner {
            name: "@discordjs/voice",
            version: 8,
            identify: format!(
                r#"{{"op":0,"d":{{"server_id":"{guild}","user_id":"{user}","session_id":"{session}","token":"{token}","max_dave_protocol_version":1}}}}"#
            ),
            select: r#"{"op":1,"d":{"protocol":"udp","data":{"address":"127.0.0.1","port":PORT,"mode":"aead_aes256_gcm_rtpsize"}}}"#
                .to_owned(),
            heartbeat: r#"{"op":3,"d":{"t":1795381607123,"seq_ack":3}}"#,
        },
        Manner {
            name: "discord.py",
            version: 8,
            identify: format!(
                r#"{{"op":0,"d":{{"server_id":"{guild}","user_id":"{user}","session_id":"{session}","token":"{token}","max_dave_protocol_version":1}}}}"#
            ),
            select: r#"{"op":1,"d":{"protocol":"udp","data":{"address":"127.0.0.1","port":PORT,"mode":"aead_aes256_gcm_rtpsize"}}}"#
                .to_owned(),
            heartbeat: r#"{"op":3,"d":{"t":1795381607123,"seq_ack":3}}"#,
        },
    ]
}

/// A participant who has said that they speak, so that the newcomer is told whose stream theirs is.
fn somebody(server: &Server, user: &User, channel: &str) -> (Raw, e2e::raw::Voice) {
    let mut first = Raw::connect(server, user, HERE);
    let mut voice = first.join(server, channel);
    voice.speaking();
    (first, voice)
}

#[test]
fn a_join_of_each_library_stays_within_a_thousand_bytes() {
    let server = Server::start(2);
    let channel = server.voice_channel(0);
    let (_first, _voice) = somebody(&server, &server.user(0), &channel);
    let mut client = Raw::connect(&server, &server.user(1), HERE);
    for n in 0..3 {
        let ticket = client.ticket(&channel);
        let manner = &manners(&server, &client, &ticket)[n];
        let mut wire = voice_wire(&server, &ticket, HERE, manner.version);
        wire.send_text(&manner.identify);
        let port = wire.op(2)["port"].as_u64().expect("READY names a port");
        // The client's own port has as many digits as the relay's.
        wire.send_text(&manner.select.replace("PORT", &port.to_string()));
        wire.op(4);
        wire.op(5);
        wire.send_text(manner.heartbeat);
        wire.op(6);
        let story = || [wire.sent.join("\n"), wire.received.join("\n")].join("\n--- received:\n");
        assert!(wire.bytes() <= BYTES_MAX, "{}: {} bytes\n{}", manner.name, wire.bytes(), story());
        // HELLO, READY, CLIENTS CONNECT, SESSION DESCRIPTION, SPEAKING, the acknowledgement: no more, and no less.
        assert_eq!(wire.received.len(), 6, "{}: {}", manner.name, story());
        let code = |text: &str| json!(serde_json::from_str::<serde_json::Value>(text).expect("JSON")["op"]);
        let ops: Vec<_> = wire.received.iter().map(|text| code(text)).collect();
        assert_eq!(ops, [8, 2, 11, 4, 5, 6].map(|op| json!(op)), "{}: {}", manner.name, story());
        wire.close(1000);
        client.state(None, false);
        let me = client.user.clone();
        client.until_state(&me, "its own leaving", |d| d["channel_id"].is_null());
    }
}

#[test]
fn our_own_client_joins_within_a_thousand_bytes() {
    /// `{"op":3,"d":{"t":4294967295,"seq_ack":65535}}` and its acknowledgement, which come a quarter of a minute later.
    const HEARTBEAT_BYTES: u64 = 47 + 29;
    let server = Server::start(2);
    let channel = server.voice_channel(0);
    let (_first, _voice) = somebody(&server, &server.user(0), &channel);
    let mut talk = Talk::start(&server, &server.user(1), &channel, &["--seconds", "1"]);
    talk.connected();
    let report = talk.report(e2e::wire::WITHIN);
    let bytes = report["join_bytes"].as_u64().expect("the report tells the join's bytes");
    assert!(bytes > 400, "a join takes some words: {report}");
    assert!(bytes + HEARTBEAT_BYTES <= BYTES_MAX as u64, "{bytes} bytes without a heartbeat: {report}");
}
