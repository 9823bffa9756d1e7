//! What attackers do, against a server on which two people are in a call: each wrong move is answered by the documented close code or
//! by silence, the server and its relay live on, and the call loses nothing.

use std::io::Write as _;
use std::net::{Ipv4Addr, UdpSocket};

use e2e::Server;
use e2e::call::{Call, Sums};
use e2e::raw::{Raw, Ticket, count, identify, voice_wire};
use e2e::wire::{self, Heard, Wire, authority, connect, exchange, http};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use rtp_wire::{DISCOVERY_LEN, DiscoveryRequest, Kind, PING_LEN, Ssrc};
use serde_json::{Value, json};

/// Attackers come from here; the call goes on from 127.0.0.1.
const ATTACKER: Ipv4Addr = Ipv4Addr::new(127, 0, 2, 1);
/// One who does no wrong.
const BYSTANDER: Ipv4Addr = Ipv4Addr::new(127, 0, 3, 1);

/// Deeper than any parser should follow.
fn deep() -> String {
    format!(r#"{{"op":1,"d":{}{}}}"#, "[".repeat(5_000), "]".repeat(5_000))
}

fn gateway(server: &Server) -> Wire {
    let mut wire = Wire::open(&format!("{}/?v=10&encoding=json", server.gateway()), ATTACKER, None);
    wire.op(10);
    wire
}

fn identified(server: &Server, account: usize) -> Wire {
    let mut wire = gateway(server);
    wire.send(&identify(&server.user(account).token));
    wire.dispatch("READY");
    wire
}

#[test]
fn the_gateway_closes_with_the_documented_code() {
    let call = Call::start(3);
    let server = &call.server;
    let check = |what: &str, mut wire: Wire, text: &str, code: u16| {
        wire.send_text(text);
        assert_eq!(wire.close_code(), Some(code), "{what}");
    };
    check("a wrong token", gateway(server), &identify("wrong").to_string(), 4004);
    check("an empty token", gateway(server), &identify("").to_string(), 4004);
    check("a long token", gateway(server), &identify(&"x".repeat(10_000)).to_string(), 4004);
    check("no JSON", gateway(server), "{\"op\":", 4002);
    check("no object", gateway(server), "[1,2,3]", 4002);
    check("no opcode", gateway(server), "{}", 4002);
    check("an opcode of the wrong type", gateway(server), r#"{"op":"two"}"#, 4002);
    check("nesting without end", gateway(server), &deep(), 4002);
    check("a frame too long", gateway(server), &json!({"op": 1, "d": "x".repeat(20_000)}).to_string(), 4002);
    check("a frame far too long", gateway(server), &"x".repeat(1_000_000), 4002);
    check("an unknown opcode", gateway(server), r#"{"op":77,"d":null}"#, 4001);
    check("a server's opcode", gateway(server), r#"{"op":10,"d":{}}"#, 4001);
    check(
        "an update before IDENTIFY",
        gateway(server),
        r#"{"op":4,"d":{"guild_id":"1","channel_id":null}}"#,
        4003,
    );
    check("a request before IDENTIFY", gateway(server), r#"{"op":8,"d":{"guild_id":"1"}}"#, 4003);
    let second = identify(&server.user(2).token).to_string();
    check("a second IDENTIFY", identified(server, 2), &second, 4005);
    check("an unknown opcode, identified", identified(server, 2), r#"{"op":77,"d":null}"#, 4001);
    check("no JSON, identified", identified(server, 2), "\u{0}", 4002);

    for bytes in [&b"\xff\xfe\xfd\x00"[..], &[0; 3_000], b"\x78\x9c\x03\x00\x00\x00\x00\x01"] {
        let mut wire = gateway(server);
        wire.send_binary(bytes);
        assert_eq!(wire.close_code(), Some(4002), "{bytes:?}");
    }
    for query in ["v=3", "v=ten", "v=10&encoding=etf"] {
        let mut wire = Wire::open(&format!("{}/?{query}", server.gateway()), ATTACKER, None);
        let code = wire.close_code();
        assert!(matches!(code, Some(4012 | 4002)), "{query}: {code:?}");
    }

    let mut flood = identified(server, 2);
    for _ in 0..300 {
        flood.send(&json!({"op": 1, "d": null}));
    }
    assert_eq!(flood.close_code(), Some(4008), "a flood");

    let mut unknown = gateway(server);
    unknown.send(&json!({"op": 6, "d": {
        "token": server.user(2).token, "session_id": "0".repeat(32), "seq": 5,
    }}));
    assert_eq!(unknown.op(9), json!(false), "resuming a session that never was");

    // Broken framing and broken HTTP end the connection, and nothing else.
    let mut broken = identified(server, 2);
    broken.send_raw(&[0xff; 512]);
    broken.close_code();
    for bytes in [&b"\x00\x01\x02garbage\r\n\r\n"[..], b"GET / HTTP/9.9\r\n\r\n", &[0x16; 600]] {
        let answer = exchange(server, ATTACKER, bytes);
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400"), "{answer}");
    }
    let endless = [b"GET / HTTP/1.1\r\nX: ".as_slice(), &[b'x'; 1_000_000]].concat();
    let answer = exchange(server, ATTACKER, &endless);
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    call.end();
}

#[test]
fn rest_refuses_with_the_documented_status() {
    let call = Call::start(3);
    let server = &call.server;
    let token = server.user(2).token;
    let (right, long) = (Some(token.as_str()), "x".repeat(5_000));
    let ask = |token, request: &str, body: Option<&[u8]>| http(server, ATTACKER, token, request, body);
    let check = |token, request: &str, body: Option<&[u8]>, status: u16, code: u64| {
        let response = ask(token, request, body);
        assert_eq!(
            (response.status, &response.body["code"]),
            (status, &json!(code)),
            "{request}: {response:?}"
        );
        assert_eq!(response.header("content-type"), Some("application/json"), "{request}");
    };
    let messages = "POST /api/v10/channels/1/messages";
    check(Some("wrong"), "GET /api/v10/users/@me", None, 401, 0);
    check(Some(&long), "GET /api/v10/users/@me", None, 401, 0);
    check(None, "GET /api/v10/users/@me", None, 401, 0);
    check(Some("Bot wrong"), messages, Some(b"{}"), 401, 0);
    check(right, "GET /api/v10/nowhere", None, 404, 0);
    check(right, "GET /../../etc/passwd", None, 404, 0);
    check(right, "DELETE /api/v10/gateway", None, 405, 0);
    check(right, "GET /api/v10/channels/1", None, 404, 10003);
    check(right, "GET /api/v10/guilds/99999999999999999999999", None, 400, 50035);
    let guild = format!("PATCH /api/v10/guilds/{}/members/@me", server.guild());
    check(right, &guild, Some(b"{\"nick\":"), 400, 50109);
    check(right, &guild, Some("[".repeat(100_000).as_bytes()), 400, 50035);
    check(right, &guild, Some(&[0xff; 100]), 400, 50109);
    check(right, &guild, Some(&vec![b' '; 300_000]), 413, 40005);

    // More than an account may ask for in a while, on one connection.
    let head = format!("GET /api/v10/users/@me HTTP/1.1\r\nHost: guildhall\r\nAuthorization: {token}\r\n");
    let last = format!("{head}Connection: close\r\n\r\n");
    let answers = exchange(server, ATTACKER, (format!("{head}\r\n").repeat(399) + &last).as_bytes());
    let answers = answers.to_ascii_lowercase();
    let statuses = |status: &str| answers.matches(&format!("http/1.1 {status} ")).count();
    assert_eq!(statuses("200") + statuses("429"), 400, "every request is answered");
    assert!(statuses("200") >= 100 && statuses("429") >= 100, "{} were served", statuses("200"));
    let refusal = &answers[answers.find("http/1.1 429").expect("there is one")..];
    let refusal = &refusal[..refusal.find('}').expect("a body of JSON") + 1];
    for part in ["retry-after: ", "via: ", "x-ratelimit-scope: ", "\"retry_after\":", "\"global\":"] {
        assert!(refusal.contains(part), "{part}: {refusal}");
    }
    // Passwords are guessed slowly.
    let login = json!({"login": "nobody", "password": "wrong"}).to_string();
    let guess = || ask(None, "POST /api/v10/auth/login", Some(login.as_bytes())).status;
    let guesses: Vec<u16> = (0..80).map(|_| guess()).collect();
    assert!(guesses.contains(&429) && !guesses.contains(&200), "{guesses:?}");
    call.end();
}

/// A way to the voice server for an account that does no wrong on the gateway.
fn ticket(call: &Call, account: usize) -> (Raw, Ticket) {
    let mut raw = Raw::connect(&call.server, &call.server.user(account), ATTACKER);
    let ticket = raw.ticket(&call.channel);
    (raw, ticket)
}

#[test]
fn the_voice_gateway_closes_with_the_documented_code() {
    let call = Call::start(5);
    let server = &call.server;
    let (raw, ticket) = ticket(&call, 2);
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
    let check = |what: &str, mut wire: Wire, text: &str, code: u16| {
        wire.send_text(text);
        assert_eq!(wire.close_code(), Some(code), "{what}");
    };
    let with = |key: &str, value: &str| {
        let mut changed = right.clone();
        changed["d"][key] = value.into();
        changed.to_string()
    };
    let mut forged = ticket.token.clone().into_bytes();
    forged[3] = if forged[3] == b'A' { b'B' } else { b'A' };
    let forged = String::from_utf8(forged).expect("letters remain letters");
    check("a forged token", open(), &with("token", &forged), 4004);
    check("no token", open(), &with("token", ""), 4004);
    check("a long token", open(), &with("token", &"A".repeat(10_000)), 4004);
    check("another's user", open(), &with("user_id", &call.speaking_user().id), 4004);
    check("another guild", open(), &with("server_id", "5"), 4004);
    check("another session", open(), &with("session_id", &"0".repeat(32)), 4004);
    check("a session of nonsense", open(), &with("session_id", "x"), 4004);
    check("no JSON", open(), "{\"op\":0,", 4002);
    check("no object", open(), "[]", 4002);
    check("half an IDENTIFY", open(), r#"{"op":0,"d":{"server_id":"1"}}"#, 4002);
    check("nesting without end", open(), &deep(), 4002);
    check("a message too long", open(), &"x".repeat(20_000), 4002);
    check("a message far too long", open(), &"x".repeat(1_000_000), 4002);
    check("an unknown opcode", open(), r#"{"op":99,"d":{}}"#, 4001);
    check("a server's opcode", open(), r#"{"op":2,"d":{}}"#, 4001);
    let select = |protocol: &str, mode: &str| {
        let data = json!({"address": "127.0.0.1", "port": 5, "mode": mode});
        json!({"op": 1, "d": {"protocol": protocol, "data": data}}).to_string()
    };
    let speaking = r#"{"op":5,"d":{"speaking":1,"delay":0,"ssrc":1}}"#;
    check("SELECT PROTOCOL before IDENTIFY", open(), &select("udp", "aead_aes256_gcm_rtpsize"), 4003);
    check("SPEAKING before IDENTIFY", open(), speaking, 4003);
    let resume = |token: &str| {
        let d = json!({"server_id": raw.guild, "session_id": raw.session, "token": token, "seq_ack": 1});
        json!({"op": 7, "d": d}).to_string()
    };
    check("RESUME with a forged token", open(), &resume(&forged), 4004);
    check("RESUME of what never was", open(), &resume(&ticket.token), 4006);
    check("a second IDENTIFY", identified(), &right.to_string(), 4005);
    check("RESUME after IDENTIFY", identified(), &resume(&ticket.token), 4005);
    check("an unknown protocol", identified(), &select("carrier pigeon", "aead_aes256_gcm_rtpsize"), 4012);
    check("an unknown mode", identified(), &select("udp", "rot13"), 4016);
    check("no data", identified(), r#"{"op":1,"d":{"protocol":"udp"}}"#, 4002);
    check("no JSON, identified", identified(), "}", 4002);
    check("an unknown opcode, identified", identified(), r#"{"op":99,"d":{}}"#, 4001);

    let mut flood = identified();
    for _ in 0..200 {
        flood.send_text(speaking);
    }
    assert_eq!(flood.close_code(), Some(4021), "a flood");
    for (bytes, code) in [(&b""[..], 4002), (b"\xff\xff", 4001), (b"\x1a\x00", 4003), (&[7; 20_000], 4002)] {
        let mut wire = open();
        wire.send_binary(bytes);
        assert_eq!(wire.close_code(), Some(code), "{} bytes", bytes.len());
    }
    for version in [0, 3, 255] {
        let mut wire = voice_wire(server, &ticket, ATTACKER, version);
        assert_eq!(wire.close_code(), Some(4020), "version {version}");
    }
    call.end();
}

#[test]
fn connections_that_say_nothing_keep_nobody_out() {
    /// More than the voice server bears of strangers from one address.
    const IDLE: usize = 600;
    let call = Call::start(3);
    let server = &call.server;
    let mut raw = Raw::connect(server, &server.user(2), BYSTANDER);
    let ticket = raw.ticket(&call.channel);
    let voice = authority(&ticket.endpoint);
    let idle: Vec<_> = (0..IDLE).map(|_| connect(ATTACKER, voice)).collect();
    let chatty: Vec<_> = (0..100).map(|_| connect(ATTACKER, authority(server.http()))).collect();
    for mut tcp in idle.iter().take(100).chain(&chatty) {
        // Half a TLS record, half a request: more is to come, for all that anybody knows. A refused connection may be gone already.
        let _ = tcp.write_all(b"\x16\x03\x01\x02\x00\x01");
    }
    let mut joined = raw.follow(server, &ticket);
    joined.fence();
    drop((idle, chatty));
    call.end();
}

/// Sends datagrams a few at a time: the relay's socket must not overflow, for what the kernel drops then may be anyone's.
fn send_all(socket: &UdpSocket, to: std::net::SocketAddr, datagrams: &[Vec<u8>], mut pause: impl FnMut()) {
    for burst in datagrams.chunks(64) {
        for datagram in burst {
            socket.send_to(datagram, to).expect("loopback takes datagrams");
        }
        pause();
    }
}

fn garbage(random: &mut StdRng) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for n in 0..2_000 {
        let len = random.random_range(0..1_400);
        let mut bytes = vec![0; len];
        random.fill(&mut bytes[..]);
        // Half of it begins like something.
        let starts: [&[u8]; 8] = [
            &[0x80, 0x78],
            &[0x90, 0x78, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0xbe, 0xde, 0xff, 0xff],
            &[0xbf, 0xf8],
            &[0x80, 0xc8],
            &[0x81, 0xc9, 0xff, 0xff],
            &[0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42],
            &[22, 0xfe, 0xfd, 0, 0],
            &[0x13, 0x37, 0xca, 0xfe],
        ];
        if let Some(start) = starts.get(n % 16) {
            let len = start.len().min(bytes.len());
            bytes[..len].copy_from_slice(&start[..len]);
        }
        all.push(bytes);
    }
    all.extend([1_500, 2_049, 9_000, 65_507].map(|len| vec![0x80; len]));
    all
}

#[test]
fn the_relay_takes_nothing_that_is_not_authentic_and_new() {
    const PACKETS: u16 = 20;
    const SPEECH: [u8; 40] = [0x78; 40];
    let call = Call::start(4);
    let server = &call.server;
    let mut random = StdRng::seed_from_u64(7);
    let mut raw = Raw::connect(server, &server.user(2), ATTACKER);
    let mut inside = raw.join(server, &call.channel);
    // A listener made by hand, so that what the room is sent can be counted.
    let mut honest = Raw::connect(server, &server.user(3), BYSTANDER);
    let mut ear = honest.join(server, &call.channel);
    let tone = ear.wire.until("the speaker's stream", |v| {
        v["op"] == 5 && v["d"]["user_id"] == call.speaking_user().id.as_str()
    });
    let tone = Ssrc(u32::try_from(tone["d"]["ssrc"].as_u64().expect("a number")).expect("32 bits"));
    inside.hear("the tone", |heard| count(heard, tone) > 0);
    let captured = inside.datagrams.clone();
    let before = Sums::read(server);
    let media = inside.media;

    // A stranger, and one who is inside, send the same garbage.
    let stranger = UdpSocket::bind((ATTACKER, 0)).expect("every 127/8 address is this machine's");
    let all = garbage(&mut random);
    send_all(&stranger, media, &all, || inside.fence());
    let own = inside.socket.try_clone().expect("a socket can be cloned");
    send_all(&own, media, &all, || inside.fence());

    // Our own packets: each is true once. Cut short, changed, or sent again, by us or by a stranger, it is nothing.
    inside.speaking();
    let real: Vec<Vec<u8>> = (0..PACKETS).map(|_| inside.packet(&SPEECH)).collect();
    for packet in &real {
        let cut: Vec<Vec<u8>> = (0..packet.len()).map(|len| packet[..len].to_vec()).collect();
        let changed: Vec<Vec<u8>> = (0..packet.len())
            .map(|at| {
                let mut changed = packet.clone();
                changed[at] ^= 1;
                changed
            })
            .collect();
        send_all(&stranger, media, &[&cut[..], &changed[..]].concat(), || inside.fence());
    }
    send_all(&own, media, &real, || inside.fence());
    let again: Vec<Vec<u8>> = (0..20).flat_map(|_| real.clone()).collect();
    send_all(&own, media, &again, || inside.fence());
    send_all(&stranger, media, &again, || inside.fence());

    // Other people's streams: named by us with our key, by a stranger with none, and what the relay sent us, sent back.
    let forged: Vec<Vec<u8>> = (0..200).map(|n| inside.packet_of(tone, n, &SPEECH)).collect();
    let reflected: Vec<Vec<u8>> = captured.iter().map(|d| d.raw.clone()).filter(|d| d.len() > 16).collect();
    for socket in [&own, &stranger] {
        send_all(socket, media, &forged, || inside.fence());
        send_all(socket, media, &reflected, || inside.fence());
    }

    ear.hear("what was said once", |heard| count(heard, inside.ssrc) >= usize::from(PACKETS));
    ear.fence();
    assert_eq!(ear.heard_of(inside.ssrc), usize::from(PACKETS), "each packet is heard once");
    let unopened = |d: &&e2e::raw::Datagram| matches!(d.kind, Kind::Rtp | Kind::Rtcp) && d.opened.is_none();
    assert_eq!(
        ear.datagrams.iter().filter(unopened).count(),
        0,
        "everything sent to a listener is authentic"
    );

    // To a stranger not a word was said: the first thing to arrive is the answer to a question about a stream that exists. It is as
    // long as the question.
    let mut heard = Vec::new();
    let answer = e2e::raw::discover_in_a_flood(&stranger, media, inside.ssrc, &mut heard);
    assert_eq!((heard.len(), heard[0].raw.len()), (1, DISCOVERY_LEN), "{heard:?}");
    assert_eq!(answer.ip, std::net::IpAddr::V4(ATTACKER));

    // Far fewer than were sent: an overflow of the kernel's would have lost the call's packets too, and that is checked below.
    let sums = Sums::conserved_after(server, before.unwanted() + 2_000);
    assert!(
        sums.forwarded_in > before.forwarded_in && sums.consumed > before.consumed,
        "{before:?} {sums:?}"
    );
    let report = call.end();
    let ours = e2e::Talk::stream(&report, &raw.user).expect("the listener heard us too");
    assert_eq!((&ours["received"], &ours["lost"]), (&json!(PACKETS), &json!(0)), "{report}");
}

#[test]
fn nothing_is_amplified_before_authentication() {
    let call = Call::start(3);
    let server = &call.server;
    let (mut raw, ticket) = ticket(&call, 2);
    let inside = raw.follow(server, &ticket);
    let media = inside.media;
    let stranger = UdpSocket::bind((ATTACKER, 0)).expect("every 127/8 address is this machine's");
    let request = |ssrc: Ssrc| {
        let mut bytes = vec![0; DISCOVERY_LEN];
        DiscoveryRequest { ssrc }.write(&mut bytes).expect("the buffer is long enough");
        bytes
    };
    let fence = |heard: &mut Vec<e2e::raw::Datagram>| {
        e2e::raw::discover(&stranger, media, inside.ssrc, heard);
    };

    // Streams that do not exist, pings and keepalives from nowhere, STUN and DTLS: silence. Only the fences are answered.
    let ping = [0x13, 0x37, 0xca, 0xfe, 0, 0, 0, 1];
    assert_eq!(ping.len(), PING_LEN);
    let binding = [&[0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42][..], &[5; 12]].concat();
    let hello = [&[22, 0xfe, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 50][..], &[1; 50]].concat();
    let unknown = (1..=500_u32).map(|n| request(Ssrc(inside.ssrc.0.wrapping_add(n << 8))));
    let mut silent: Vec<Vec<u8>> = unknown.collect();
    for bytes in [&ping[..], &[0, 0, 0, 1], &binding, &hello] {
        silent.extend(std::iter::repeat_n(bytes.to_vec(), 100));
    }
    let (mut heard, mut fences) = (Vec::new(), 0);
    send_all(&stranger, media, &silent, || {
        fence(&mut heard);
        fences += 1;
    });
    assert_eq!(heard.len(), fences, "only what was asked of a known stream is answered");

    // A known stream: every question is answered, none with more than it brought.
    let known = vec![request(inside.ssrc); 640];
    send_all(&stranger, media, &known, || fence(&mut heard));
    fence(&mut heard);
    assert!(heard.iter().all(|d| d.raw.len() == DISCOVERY_LEN), "an answer is as long as its question");
    assert!(heard.len() <= fences + known.len() + known.len().div_ceil(64) + 1, "one answer a question");

    // Over TCP the address is known to be true, but a stranger hears nothing beyond the greeting there either.
    let mut wire = voice_wire(server, &ticket, ATTACKER, 8);
    assert!(matches!(wire.next(wire::WITHIN), Some(Heard::Text(Value::Object(_)))));
    call.end();
}
