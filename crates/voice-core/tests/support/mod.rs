//! A voice core with a clock, a random source that repeats, tokens at hand, and everything it said in order.
#![allow(dead_code)]

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use client_wire::fragment::Fingerprint;
use client_wire::voice::{
    ClientFrame, CloseCode, Identify, MODES, SelectProtocol, ServerFrame, UdpData, Version,
};
use cluster_wire::token::{TokenKey, VoiceToken};
use cluster_wire::voice::{Order, OrderKind, Participant, Report, Rights};
use model::{ChannelId, GuildId, ServerId, SessionId, UnixMs, UserId};
use sfu_wire::{FromSfu, Leg, LegConnected, LegSpeaking, ToSfu};
use voice_core::{Config, ConnId, Event, Now, Output, VoiceCore};

pub const GUILD: GuildId = GuildId(1_441_201_907_345_293_312);
pub const ROOM: ChannelId = ChannelId(1_441_201_907_345_297_409);
pub const OTHER_ROOM: ChannelId = ChannelId(1_441_201_907_345_297_410);
pub const ALL: Rights = Rights { speak: true, hear: true, video: true, priority: true };
pub const DAY: u64 = 86_400_000;
pub const EPOCH: UnixMs = UnixMs(1_795_381_607_123);

pub fn session_of(user: UserId) -> SessionId {
    SessionId(0x1000_0000_0000_0000_0000_0000_0000_0000 + u128::from(user.0))
}

pub fn key() -> TokenKey {
    TokenKey::new(b"the secret of this cluster")
}

/// SplitMix64: the same bytes in every run.
pub fn repeatable(mut state: u64) -> voice_core::Random {
    Box::new(move |bytes| {
        for chunk in bytes.chunks_mut(8) {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = state;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            chunk.copy_from_slice(&(z ^ (z >> 31)).to_le_bytes()[..chunk.len()]);
        }
    })
}

pub struct World {
    pub core: VoiceCore,
    pub now: Now,
    /// Texts each connection received.
    pub texts: BTreeMap<ConnId, Vec<String>>,
    pub closes: BTreeMap<ConnId, CloseCode>,
    pub ssrcs: BTreeMap<ConnId, u32>,
    pub authenticated: BTreeSet<ConnId>,
    pub reports: Vec<Report>,
    pub events: Vec<Event>,
    /// The relay's view: what it was told, applied.
    pub shards: Vec<BTreeMap<u64, Leg>>,
    /// The DTLS engines that are wanted, by leg: its shard, our user name fragment, the certificate to expect.
    pub engines: BTreeMap<u64, (u32, String, Fingerprint)>,
    pub serial: u64,
    pub fencing: u64,
    next_conn: u64,
}

impl World {
    pub fn new() -> Self {
        Self::with_shards(1)
    }

    pub fn with_shards(shards: u16) -> Self {
        let config = Config {
            server: ServerId("voice-1".into()),
            token_key: key(),
            media_ip: Ipv4Addr::LOCALHOST,
            media_ports: (0..shards).map(|n| 50_001 + n).collect(),
            ice_tcp_port: Some(8_443),
            modes: MODES.iter().map(ToString::to_string).collect(),
            fingerprint: Fingerprint([1; 32]),
            version: "0.1.0".into(),
        };
        Self {
            core: VoiceCore::new(config, repeatable(7)),
            now: Now { instant: Instant::now() + Duration::from_secs(3_600), wall: EPOCH },
            texts: BTreeMap::new(),
            closes: BTreeMap::new(),
            ssrcs: BTreeMap::new(),
            authenticated: BTreeSet::new(),
            reports: Vec::new(),
            events: Vec::new(),
            shards: vec![BTreeMap::new(); usize::from(shards)],
            engines: BTreeMap::new(),
            serial: 0,
            fencing: 1,
            next_conn: 0,
        }
    }

    /// Takes everything the core has to say.
    pub fn drain(&mut self) {
        while let Some(output) = self.core.poll_output() {
            match output {
                Output::Send { conn, text } => {
                    assert!(!self.closes.contains_key(&conn), "a text after the close of {conn:?}: {text}");
                    if let Ok((ServerFrame::Ready(ready), _)) = ServerFrame::read(&text) {
                        self.ssrcs.insert(conn, ready.ssrc);
                    }
                    self.texts.entry(conn).or_default().push(text);
                }
                Output::Close { conn, code } => {
                    assert_eq!(self.closes.insert(conn, code), None, "{conn:?} was closed twice");
                }
                Output::ToSfu { shard, message } => {
                    let legs = &mut self.shards[shard as usize];
                    match message {
                        ToSfu::PutLeg(leg) => drop(legs.insert(leg.id, leg)),
                        ToSfu::RemoveLeg(leg) => {
                            assert!(legs.remove(&leg.id).is_some(), "an unknown leg was removed")
                        }
                        other => panic!("a core sends changes only: {other:?}"),
                    }
                }
                Output::BeginDtls { shard, leg, ufrag, fingerprint } => {
                    self.engines.insert(leg, (shard, ufrag, fingerprint));
                }
                Output::EndDtls { leg } => {
                    assert!(self.engines.remove(&leg).is_some(), "an unknown engine was ended")
                }
                Output::Authenticated { conn } => assert!(self.authenticated.insert(conn)),
                Output::Report(report) => self.reports.push(report),
                Output::Event(event) => self.events.push(event),
            }
        }
        let browsers = self.shards.iter().flat_map(|legs| legs.values()).filter(|leg| leg.webrtc.is_some());
        assert!(
            browsers.clone().map(|leg| leg.id).eq(self.engines.keys().copied()),
            "an engine for every browser's leg"
        );
        for leg in browsers {
            let webrtc = leg.webrtc.as_ref().unwrap();
            let ice = self.core.ice(&webrtc.ufrag).expect("every browser's transport is found");
            assert_eq!((ice.leg, &ice.pwd), (leg.id, &webrtc.pwd));
        }
        for (shard, legs) in self.shards.iter().enumerate() {
            let snapshot = self.core.snapshot(shard as u32).legs;
            assert_eq!(
                snapshot,
                legs.values().cloned().collect::<Vec<_>>(),
                "shard {shard} and its snapshot differ"
            );
        }
    }

    pub fn advance(&mut self, by: Duration) {
        let target = self.now.instant + by;
        while let Some((at, _)) = self.core.poll_timeout().filter(|(at, _)| *at <= target) {
            self.set_clock(at.max(self.now.instant));
            self.core.handle_timeout(self.now);
            self.drain();
        }
        self.set_clock(target);
    }

    fn set_clock(&mut self, to: Instant) {
        self.now.wall.0 += (to - self.now.instant).as_millis() as u64;
        self.now.instant = to;
    }

    pub fn open(&mut self, version: Version) -> ConnId {
        self.open_raw(Some(version))
    }

    pub fn open_raw(&mut self, version: Option<Version>) -> ConnId {
        self.next_conn += 1;
        let conn = ConnId(self.next_conn);
        self.core.handle_open(self.now, conn, version);
        self.drain();
        conn
    }

    pub fn send(&mut self, conn: ConnId, text: &str) {
        self.core.handle_text(self.now, conn, text);
        self.drain();
    }

    pub fn send_frame(&mut self, conn: ConnId, frame: &ClientFrame) {
        self.send(conn, &frame.text(Version::V8));
    }

    pub fn lose(&mut self, conn: ConnId, code: Option<u16>) {
        self.core.handle_close(self.now, conn, code);
        self.drain();
    }

    pub fn order(&mut self, kind: OrderKind) {
        self.core.handle_order(self.now, Order { guild: GUILD, fencing: self.fencing, kind });
        self.drain();
    }

    pub fn put(&mut self, user: UserId, channel: ChannelId, rights: Rights) {
        self.order(OrderKind::Put(Participant {
            user,
            session: session_of(user),
            channel,
            rights,
            memo: None,
        }));
    }

    pub fn remove(&mut self, user: UserId) {
        self.order(OrderKind::Remove { user, session: session_of(user) });
    }

    pub fn claims(&mut self, user: UserId, channel: ChannelId) -> VoiceToken {
        self.serial += 1;
        VoiceToken {
            user,
            session: session_of(user),
            guild: GUILD,
            channel,
            server: ServerId("voice-1".into()),
            expires_at: UnixMs(self.now.wall.0 + DAY),
            serial: self.serial,
        }
    }

    pub fn token(&mut self, user: UserId, channel: ChannelId) -> String {
        self.claims(user, channel).sign(&key())
    }

    pub fn identify_with(&mut self, conn: ConnId, user: UserId, token: String) {
        let identify = Identify {
            server_id: GUILD,
            user_id: user,
            session_id: session_of(user).to_string(),
            token,
            channel_id: None,
            max_dave_protocol_version: Some(1),
        };
        self.send_frame(conn, &ClientFrame::Identify(identify));
    }

    pub fn select(&mut self, conn: ConnId, mode: &str) {
        let data = UdpData { address: "127.0.0.1".into(), port: 60_000, mode: mode.into() };
        let select = SelectProtocol { protocol: "udp".into(), data: Some(data), sdp: None, codecs: None };
        self.send_frame(conn, &ClientFrame::SelectProtocol(select));
    }

    /// Placed, identified.
    pub fn identified(&mut self, user: UserId, version: Version) -> ConnId {
        let token = self.token(user, ROOM);
        self.put(user, ROOM, ALL);
        let conn = self.open(version);
        self.identify_with(conn, user, token);
        conn
    }

    /// Placed, identified, described.
    pub fn joined(&mut self, user: UserId, version: Version) -> ConnId {
        let conn = self.identified(user, version);
        self.select(conn, MODES[0]);
        conn
    }

    /// The relay's leg of the client on this connection, found by the stream id its READY told.
    pub fn leg(&self, conn: ConnId) -> Option<Leg> {
        let ssrc = self.ssrcs.get(&conn)?;
        self.shards.iter().flat_map(|legs| legs.values()).find(|leg| leg.ssrc == *ssrc).cloned()
    }

    pub fn relay_says(&mut self, shard: u32, message: FromSfu) {
        self.core.handle_sfu(self.now, shard, &message);
        self.drain();
    }

    pub fn frames(&self, conn: ConnId) -> Vec<ServerFrame> {
        let texts = self.texts.get(&conn).into_iter().flatten();
        texts.map(|text| ServerFrame::read(text).unwrap().0).collect()
    }

    /// Forgets what was received so far, so that a test reads only what follows.
    pub fn clear(&mut self) {
        self.texts.clear();
        self.reports.clear();
        self.events.clear();
    }

    pub fn take(&mut self, conn: ConnId) -> Vec<String> {
        self.texts.remove(&conn).unwrap_or_default()
    }

    pub fn close_of(&self, conn: ConnId) -> Option<u16> {
        self.closes.get(&conn).map(|code| code.number())
    }
}

pub fn connected(id: u64) -> FromSfu {
    FromSfu::LegConnected(LegConnected { id })
}

pub fn speaking(id: u64) -> FromSfu {
    FromSfu::LegSpeaking(LegSpeaking { id, speaking: true })
}

pub fn user(n: u64) -> UserId {
    UserId(1_375_928_847_299_117_000 + n)
}
