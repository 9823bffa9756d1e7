//! A body for fuzzers: arbitrary text from two clients, one of them a participant. It may not panic, whatever the bytes; the committed
//! corpus under `corpus/clients/` is replayed by an ordinary test.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use client_wire::voice::{MODES, Version};
use cluster_wire::token::{TokenKey, VoiceToken};
use cluster_wire::voice::{Order, OrderKind, Participant, Rights};
use model::{ChannelId, GuildId, ServerId, SessionId, UnixMs, UserId};

use crate::{Config, ConnId, Now, Output, VoiceCore};

pub type Body = fn(&[u8]);

/// Every body with the name of its corpus.
pub const ALL: [(&str, Body); 1] = [("clients", fuzz_clients)];

const SESSION: SessionId = SessionId(5);
const USER: UserId = UserId(3);
const GUILD: GuildId = GuildId(1);
const CHANNEL: ChannelId = ChannelId(2);

/// Each line of `data` is a message: of the stranger if it begins with a space, binary if with a tab, else of the participant.
pub fn fuzz_clients(data: &[u8]) {
    let (mut core, token) = core_with_participant();
    let mut now = Now { instant: Instant::now(), wall: UnixMs(1) };
    let (participant, stranger) = (ConnId(1), ConnId(2));
    core.handle_open(now, participant, Some(Version::V8));
    core.handle_open(now, stranger, Some(Version::V4));
    let identify = format!(
        r#"{{"op":0,"d":{{"server_id":"1","user_id":"3","session_id":"{SESSION}","token":"{token}"}}}}"#
    );
    core.handle_text(now, participant, &identify);
    for line in data.split(|byte| *byte == b'\n') {
        now.instant += Duration::from_millis(500);
        match line.split_first() {
            Some((b'\t', bytes)) => core.handle_binary(now, participant, bytes),
            Some((b' ', text)) => core.handle_text(now, stranger, &String::from_utf8_lossy(text)),
            _ => core.handle_text(now, participant, &String::from_utf8_lossy(line)),
        }
        core.handle_timeout(now);
        check(&mut core);
    }
    core.handle_close(now, participant, None);
    core.handle_close(now, stranger, Some(1_000));
    now.instant += Duration::from_secs(600);
    core.handle_timeout(now);
    check(&mut core);
    assert_eq!(core.snapshot(0).legs.len(), 0, "no leg outlives its client's grace");
}

/// What is sent stays small whatever provoked it, and the snapshot can always be made.
fn check(core: &mut VoiceCore) {
    while let Some(output) = core.poll_output() {
        if let Output::Send { text, .. } = output {
            assert!(text.len() < 1_000 && text.starts_with("{\"op\":"), "{text}");
        }
    }
    assert!(core.snapshot(0).legs.len() <= 1 && core.ufrags.len() <= 1);
}

fn core_with_participant() -> (VoiceCore, String) {
    let token_key = TokenKey::new(b"k");
    let server = ServerId("v".into());
    let claims = VoiceToken {
        user: USER,
        session: SESSION,
        guild: GUILD,
        channel: CHANNEL,
        server: server.clone(),
        expires_at: UnixMs(u64::MAX),
        serial: 1,
    };
    let token = claims.sign(&token_key);
    let config = Config {
        server,
        token_key,
        media_ip: Ipv4Addr::LOCALHOST,
        media_ports: vec![5],
        ice_tcp_port: Some(8_443),
        modes: MODES.map(str::to_owned).to_vec(),
        fingerprint: client_wire::fragment::Fingerprint([1; 32]),
        version: "1".into(),
    };
    let mut next = 0_u8;
    let mut core = VoiceCore::new(
        config,
        Box::new(move |bytes| {
            for byte in bytes {
                next = next.wrapping_mul(5).wrapping_add(77);
                *byte = next;
            }
        }),
    );
    let rights = Rights { speak: true, hear: true, video: true, priority: true };
    let kind =
        OrderKind::Put(Participant { user: USER, session: SESSION, channel: CHANNEL, rights, memo: None });
    let now = Now { instant: Instant::now(), wall: UnixMs(0) };
    core.handle_order(now, Order { guild: GUILD, fencing: 1, kind });
    (core, token)
}
