//! Floods of every kind at every door, silence at the voice server's, and an end by an operator, on a server on which two people are in a
//! call: what is legal beyond measure is answered by the documented close code, what is wrong is refused each time anew, and the call loses
//! nothing.

use std::net::{Ipv4Addr, UdpSocket};
use std::time::Duration;

use e2e::call::{Call, Sums};
use e2e::raw::{Raw, Ticket, discover_in_a_flood, identify, voice_wire};
use e2e::wire::{Heard, WITHIN, Wire, exchange};
use rtp_wire::{DISCOVERY_LEN, DiscoveryRequest, Ssrc};
use serde_json::{Value, json};

/// The floods come from here; the call goes on from 127.0.0.1.
const ATTACKER: Ipv4Addr = Ipv4Addr::new(127, 0, 4, 1);
/// One who does no wrong.
const BYSTANDER: Ipv4Addr = Ipv4Addr::new(127, 0, 5, 1);
/// Connections of one kind, one after another.
const CONNECTIONS: usize = 60;
/// Messages of one kind on one connection: more than either door bears of any.
const MESSAGES: usize = 1_000;
/// Datagrams of one kind.
const DATAGRAMS: usize = 4_000;

/// The same wrong first message again and again, each time on a new connection.
fn repeat(what: &str, open: impl Fn() -> Wire, text: &str, code: u16) {
    for n in 0..CONNECTIONS {
        let mut wire = open();
        wire.send_text(text);
        assert_eq!(wire.close_code(), Some(code), "{what}, time {n}");
    }
}

/// The same legal message again and again, on one connection.
fn pour(what: &str, mut wire: Wire, message: &Value, code: u16) {
    let text = message.to_string();
    for _ in 0..MESSAGES {
        wire.send_text(&text);
    }
    assert_eq!(wire.close_code(), Some(code), "{what}");
}

#[test]
fn the_gateway_bears_floods_of_every_kind() {
    let call = Call::start(4);
    let server = &call.server;
    let token = server.user(2).token;
    let open = || {
        let mut wire = Wire::open(&format!("{}/?v=10&encoding=json", server.gateway()), ATTACKER, None);
        wire.op(10);
        wire
    };
    let identified = || {
        let mut wire = open();
        wire.send(&identify(&token));
        wire.dispatch("READY");
        wire
    };
    repeat("wrong tokens", open, &identify("wrong").to_string(), 4004);
    repeat("no JSON", open, "{\"op\":", 4002);
    repeat("frames too long", open, &json!({"op": 1, "d": "x".repeat(20_000)}).to_string(), 4002);
    repeat("unknown opcodes", open, r#"{"op":77,"d":null}"#, 4001);
    repeat("requests before IDENTIFY", open, r#"{"op":8,"d":{"guild_id":"1"}}"#, 4003);

    let guild = server.guild();
    let state = json!({"guild_id": guild, "channel_id": server.voice_channel(1), "self_mute": false, "self_deaf": false});
    let presence = json!({"since": null, "activities": [], "status": "idle", "afk": false});
    pour("heartbeats", identified(), &json!({"op": 1, "d": null}), 4008);
    pour("presences", identified(), &json!({"op": 3, "d": presence}), 4008);
    pour("voice states", identified(), &json!({"op": 4, "d": state}), 4008);
    pour("pings of the voice server", identified(), &json!({"op": 5, "d": null}), 4008);
    pour(
        "requests for members",
        identified(),
        &json!({"op": 8, "d": {"guild_id": guild, "query": "", "limit": 0}}),
        4008,
    );
    pour("heartbeats of strangers", open(), &json!({"op": 1, "d": null}), 4008);

    // Sessions that never were are refused one by one, and the account can still come in.
    for _ in 0..CONNECTIONS {
        let mut wire = open();
        wire.send(&json!({"op": 6, "d": {"token": token, "session_id": "0".repeat(32), "seq": 5}}));
        assert_eq!(wire.op(9), json!(false));
    }
    for _ in 0..CONNECTIONS {
        identified();
    }
    let mut bystander = Raw::connect(server, &server.user(3), BYSTANDER);
    bystander.join(server, &call.channel);
    call.end();
}

#[test]
fn rest_bears_floods_of_every_kind() {
    /// Of one kind, one behind the other on one connection.
    const REQUESTS: usize = 500;
    // Each flood is another account's, for what an account may ask for in a second is counted over all kinds.
    let call = Call::start(7);
    let server = &call.server;
    let token = |account: usize| server.user(account).token;
    let check = |what: &str, token: &str, request: &str, body: &[u8], statuses: [u16; 2]| {
        let one = |connection: &str| {
            let head = format!(
                "{request} HTTP/1.1\r\nHost: guildhall\r\nAuthorization: {token}\r\nContent-Type: application/json\r\n\
                 Content-Length: {}\r\n{connection}\r\n",
                body.len()
            );
            [head.as_bytes(), body].concat()
        };
        let all = [one("").repeat(REQUESTS - 1), one("Connection: close\r\n")].concat();
        let answers = exchange(server, ATTACKER, &all).to_ascii_lowercase();
        let of = |status: u16| answers.matches(&format!("http/1.1 {status} ")).count();
        let counts = statuses.map(of);
        assert_eq!(counts.iter().sum::<usize>(), REQUESTS, "{what}: {statuses:?} came {counts:?} times");
        assert!(counts[0] > 0, "{what}: {statuses:?} came {counts:?} times");
    };
    let member = format!("PATCH /api/v10/guilds/{}/members/@me", server.guild());
    let channel = server.voice_channel(0);
    check("unknown routes", &token(2), "GET /api/v10/nowhere", b"", [404, 429]);
    check("no JSON", &token(3), &member, b"{\"nick\":", [400, 429]);
    check(
        "requests that are granted",
        &token(4),
        &format!("GET /api/v10/channels/{channel}"),
        b"",
        [200, 429],
    );
    check(
        "messages",
        &token(5),
        &format!("POST /api/v10/channels/{channel}/messages"),
        br#"{"content":"flood"}"#,
        [200, 429],
    );
    // Last, because an address that guesses tokens is not listened to for a while.
    check("wrong tokens", "wrong", "GET /api/v10/users/@me", b"", [401, 429]);
    for _ in 0..CONNECTIONS {
        let head = format!(
            "{member} HTTP/1.1\r\nHost: guildhall\r\nAuthorization: {}\r\nConnection: close\r\nContent-Length: 300000\r\n\r\n",
            token(6)
        );
        let answer = exchange(server, ATTACKER, &[head.as_bytes(), &[b' '; 300_000]].concat());
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    }
    call.end();
}

fn ticket(call: &Call) -> (Raw, Ticket) {
    let mut raw = Raw::connect(&call.server, &call.server.user(2), ATTACKER);
    let ticket = raw.ticket(&call.channel);
    (raw, ticket)
}

#[test]
fn the_voice_gateway_bears_floods_of_every_kind() {
    let call = Call::start(3);
    let server = &call.server;
    let (raw, ticket) = ticket(&call);
    let right = raw.voice_identify(&ticket);
    let open = || {
        let mut wire = voice_wire(server, &ticket, ATTACKER, 8);
        wire.op(8);
        wire
    };
    let identified = || {
        let mut wire = open();
        wire.send(&right);
        wire.op(2);
        wire
    };
    let mut wrong = right.clone();
    wrong["d"]["token"] = "wrong".into();
    repeat("wrong tokens", open, &wrong.to_string(), 4004);
    repeat("no JSON", open, "{\"op\":", 4002);
    repeat("messages too long", open, &"x".repeat(20_000), 4002);
    repeat("unknown opcodes", open, r#"{"op":99,"d":{}}"#, 4001);
    repeat("SPEAKING before IDENTIFY", open, r#"{"op":5,"d":{"speaking":1,"delay":0,"ssrc":1}}"#, 4003);
    let d = json!({"server_id": raw.guild, "session_id": raw.session, "token": ticket.token, "seq_ack": 1});
    repeat("resumes of what never was", open, &json!({"op": 7, "d": d}).to_string(), 4006);

    let data = json!({"address": "127.0.0.1", "port": 5, "mode": "aead_aes256_gcm_rtpsize"});
    pour("heartbeats", identified(), &json!({"op": 3, "d": {"t": 1, "seq_ack": -1}}), 4021);
    pour("heartbeats of strangers", open(), &json!({"op": 3, "d": {"t": 1, "seq_ack": -1}}), 4021);
    pour("SPEAKING", identified(), &json!({"op": 5, "d": {"speaking": 1, "delay": 0, "ssrc": 1}}), 4021);
    pour("SELECT PROTOCOL", identified(), &json!({"op": 1, "d": {"protocol": "udp", "data": data}}), 4021);
    pour("questions about the version", identified(), &json!({"op": 16, "d": {}}), 4021);
    let mut binary = identified();
    for _ in 0..MESSAGES {
        binary.send_binary(b"\x1a\x00");
    }
    assert_eq!(binary.close_code(), Some(4021), "binary messages");
    call.end();
}

#[test]
fn the_relay_bears_floods_of_every_kind() {
    let call = Call::start(4);
    let server = &call.server;
    let (mut raw, ticket) = ticket(&call);
    let mut inside = raw.follow(server, &ticket);
    // Its answers are told apart from those that the fences wait for.
    let other = Raw::connect(server, &server.user(3), BYSTANDER).join(server, &call.channel);
    inside.speaking();
    let media = inside.media;
    let before = Sums::read(server);
    let stranger = UdpSocket::bind((ATTACKER, 0)).expect("every 127/8 address is this machine's");
    let own = inside.socket.try_clone().expect("a socket can be cloned");
    let request = |ssrc: Ssrc| {
        let mut bytes = vec![0; DISCOVERY_LEN];
        DiscoveryRequest { ssrc }.write(&mut bytes).expect("the buffer is long enough");
        bytes
    };
    let real = inside.packet(&[0x78; 40]);
    let mut forged = real.clone();
    *forged.last_mut().expect("it has bytes") ^= 1;
    let mut rtcp = vec![0x80, 201, 0, 1];
    rtcp.extend_from_slice(&inside.ssrc.0.to_be_bytes());
    rtcp.resize(40, 7);
    let kinds: [(&str, Vec<u8>); 11] = [
        ("questions about streams that are not", request(Ssrc(inside.ssrc.0 ^ 0x5555_5555))),
        ("questions about a stream that is", request(other.ssrc)),
        ("pings", vec![0x13, 0x37, 0xca, 0xfe, 0, 0, 0, 1]),
        ("keepalives", vec![0, 0, 0, 1]),
        ("RTP cut short", real[..real.len() / 2].to_vec()),
        ("RTP without a body", real[..24].to_vec()),
        ("the same packet", real.clone()),
        ("forged RTP", forged),
        ("forged RTCP", rtcp),
        ("STUN", [&[0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42][..], &[5; 12]].concat()),
        ("datagrams far too long", vec![0x80; 9_000]),
    ];
    let mut answers = Vec::new();
    for (what, datagram) in &kinds {
        for socket in [&stranger, &own] {
            // The kernel's buffer is shared with the call, and what overflows there may be anybody's: no more at once than it holds.
            let at_once = if datagram.len() > 2_000 { 20 } else { 200 };
            for _ in 0..DATAGRAMS / at_once {
                for _ in 0..at_once {
                    socket.send_to(datagram, media).unwrap_or_else(|e| panic!("{what}: {e}"));
                }
                inside.fence();
            }
        }
        discover_in_a_flood(&stranger, media, inside.ssrc, &mut answers);
        answers.clear();
    }
    // All but the questions about a stream that is, of one's own the pings and keepalives, and one of the same packets were dropped.
    let dropped = (kinds.len() * 2 - 4) * DATAGRAMS;
    let sums = Sums::conserved_after(server, before.unwanted() + dropped as u64 - 1);
    assert_eq!(sums.received, sums.forwarded_in + sums.consumed + sums.dropped);
    call.end();
}

#[test]
fn who_says_nothing_to_the_voice_server_is_sent_away() {
    let call = Call::start(3);
    let server = &call.server;
    let (raw, ticket) = ticket(&call);
    let mut stranger = voice_wire(server, &ticket, ATTACKER, 8);
    let mut mute = voice_wire(server, &ticket, ATTACKER, 8);
    let beat_ms = mute.op(8)["heartbeat_interval"].as_u64().expect("HELLO names the interval");
    mute.send(&raw.voice_identify(&ticket));
    mute.op(2);
    let three_beats = Duration::from_millis(3 * beat_ms);
    // One who names itself has more time than one who does not.
    assert_eq!(stranger.close_code(), Some(4009));
    let code = loop {
        match mute.next(three_beats + WITHIN) {
            Some(Heard::Text(_)) => {}
            Some(Heard::Closed(code)) => break code,
            None => panic!("nobody minds the silence"),
        }
    };
    assert_eq!(code, Some(4009));
    call.end();
}

#[test]
fn who_is_kicked_from_the_guild_while_in_voice_is_gone_from_both() {
    let call = Call::start(4);
    let server = &call.server;
    let mut witness = Raw::connect(server, &server.user(3), BYSTANDER);
    let (mut raw, ticket) = ticket(&call);
    let mut inside = raw.follow(server, &ticket);
    let user = raw.user.clone();
    witness.until_state(&user, "the other to be in voice", |d| d["channel_id"] == call.channel.as_str());
    server.ctl(&["kick", server.guild(), &user.id]);
    assert_eq!(inside.wire.close_code(), Some(4014));
    witness.until_state(&user, "the other to leave", |d| d["channel_id"].is_null());
    assert_eq!(raw.gateway.dispatch("GUILD_DELETE")["id"], server.guild());
    // The relay has forgotten the stream: a question about another's is answered, one about this is not.
    let mut other = witness.join(server, &call.channel);
    let mut request = [0; DISCOVERY_LEN];
    DiscoveryRequest { ssrc: inside.ssrc }.write(&mut request).expect("the buffer is long enough");
    other.send(&request);
    other.fence();
    let answered = |ssrc: Ssrc| {
        let answers = other.datagrams.iter().filter_map(|d| rtp_wire::DiscoveryResponse::parse(&d.raw));
        answers.filter(|answer| answer.ssrc == ssrc).count()
    };
    assert_eq!((answered(inside.ssrc), answered(other.ssrc)), (0, 2));
    // Its token opens nothing that lasts, and its asking is not heard.
    let mut again = voice_wire(server, &ticket, ATTACKER, 8);
    again.send(&raw.voice_identify(&ticket));
    assert_eq!(again.close_code(), Some(4006));
    raw.state(Some(&call.channel), false);
    raw.gateway.send(&json!({"op": 1, "d": null}));
    raw.gateway.until("an answer to the beat and nothing before it", |v| {
        assert_ne!(v["t"], "VOICE_SERVER_UPDATE");
        v["op"] == 11
    });
    call.end();
}
