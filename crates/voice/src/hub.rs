//! The loop around the core: everything that happens to a voice server comes in here, in order, and what the core answers goes out.

use std::collections::HashMap;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use client_wire::voice::{CloseCode, Version};
use cluster_wire::link::ReportSender;
use cluster_wire::record::{Health, ServerLoad, ServerRecord, Upgrade, UpgradeOutcome};
use cluster_wire::voice::ToVoice;
use model::UnixMs;
use sfu_wire::{Dtls, FromSfu, PROTOCOLS, Start, ToSfu};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_tungstenite::tungstenite::{Bytes, Utf8Bytes};
use voice_core::{ConnId, Event, Ice, Now, Output, VoiceCore};

use crate::connection::Outgoing;
use crate::dtls;
use crate::limits::{INPUTS_PER_WAKE, SENDER_PACKETS_PER_S_MAX};
use crate::link::Link;
use crate::measure::Meter;
use crate::memories::Blamed;
use crate::relay::{Hung, Wish};
use crate::reports::Reports;
use crate::shards::{Outage, Shards};

/// Everything that can happen.
#[derive(Debug)]
pub enum Input {
    Opened {
        conn: ConnId,
        version: Option<Version>,
        out: mpsc::Sender<Outgoing>,
    },
    Text {
        conn: ConnId,
        text: Utf8Bytes,
    },
    Binary {
        conn: ConnId,
        bytes: Bytes,
    },
    /// A message longer than any legitimate one began.
    Oversize {
        conn: ConnId,
    },
    Closed {
        conn: ConnId,
        code: Option<u16>,
    },
    RelayUp {
        generation: u64,
        links: Vec<Link>,
        /// The number of the wish for it, if it was tried out and is to replace one that was well.
        wish: Option<u64>,
    },
    /// This process is to go, and its successor waits.
    RelayRetires {
        generation: u64,
    },
    RelayDown {
        generation: u64,
        /// The legs that its shards were busy with when it crashed.
        blamed: Vec<Blamed>,
    },
    Relay {
        generation: u64,
        shard: u32,
        message: FromSfu,
    },
    /// From the DTLS engine of a browser's leg.
    Dtls {
        shard: u32,
        leg: u64,
        said: dtls::Said,
    },
    /// Whose transport does this user name fragment of ours name?
    FindTransport {
        ufrag: String,
        answer: oneshot::Sender<Option<Ice>>,
    },
    Shutdown,
}

pub struct Hub {
    core: VoiceCore,
    inputs: mpsc::Receiver<Input>,
    orders: mpsc::Receiver<ToVoice>,
    has_orders: bool,
    ways: Ways,
    reports: Reports,
    meters: Vec<Meter>,
    relay: Option<Shards>,
    outage: Outage,
    conns: HashMap<ConnId, mpsc::Sender<Outgoing>>,
}

/// Where the hub's word goes besides clients and relay.
pub struct Ways {
    pub reports: ReportSender,
    /// What the registry is told of this server.
    pub record: watch::Sender<ServerRecord>,
    /// The relay's process that must be replaced.
    pub hung: watch::Sender<Option<Hung>>,
    /// The program that shall be the relay.
    pub wishes: mpsc::Sender<Wish>,
    /// To the DTLS engines.
    pub dtls: mpsc::Sender<dtls::Order>,
}

impl Hub {
    pub fn new(
        core: VoiceCore,
        shards: usize,
        inputs: mpsc::Receiver<Input>,
        orders: mpsc::Receiver<ToVoice>,
        ways: Ways,
    ) -> Self {
        let meters = (0..shards).map(|_| Meter::default()).collect();
        Self {
            core,
            inputs,
            orders,
            has_orders: true,
            ways,
            reports: Reports::default(),
            meters,
            relay: None,
            outage: Outage::default(),
            conns: HashMap::new(),
        }
    }

    pub async fn run(mut self) {
        let guilds = self.ways.reports.clone();
        let mut second = tokio::time::interval(Duration::from_secs(1));
        second.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let wake = self.core.poll_timeout().map(|(at, _)| at);
            tokio::select! {
                input = self.inputs.recv() => {
                    let Some(input) = input else { return };
                    if !self.handle_burst(input) {
                        return;
                    }
                }
                order = self.orders.recv(), if self.has_orders => match order {
                    Some(order) => self.handle_orders(order),
                    None => {
                        self.has_orders = false;
                        tracing::warn!("guilds is gone; calls go on without it");
                    }
                },
                permit = guilds.reserve(), if !self.reports.is_empty() => {
                    match (permit, self.reports.next()) {
                        (Ok(permit), Some(report)) => permit.send(report),
                        // Nobody is left who would want to know.
                        _ => self.reports = Reports::default(),
                    }
                    continue;
                }
                () = sleep_until(wake) => self.core.handle_timeout(now()),
                _ = second.tick() => {
                    self.look_at_relay();
                    self.measure();
                    continue;
                }
            }
            self.flush();
        }
    }

    fn handle_orders(&mut self, first: ToVoice) {
        self.handle_order(first);
        for _ in 0..INPUTS_PER_WAKE {
            match self.orders.try_recv() {
                Ok(order) => self.handle_order(order),
                Err(_) => break,
            }
        }
    }

    fn handle_order(&mut self, order: ToVoice) {
        match order {
            ToVoice::Order(order) => self.core.handle_order(now(), order),
            ToVoice::SetDraining(draining) => {
                let was_other =
                    |record: &mut ServerRecord| std::mem::replace(&mut record.draining, draining) != draining;
                self.ways.record.send_if_modified(was_other);
            }
            ToVoice::UpgradeRelay { number, program } => self.upgrade_relay(number, program),
        }
    }

    /// What comes of it is in the record.
    fn upgrade_relay(&mut self, number: u64, program: Option<String>) {
        let wish = Wish { number, program: program.map(Into::into) };
        let outcome = match self.ways.wishes.try_send(wish) {
            Ok(()) => UpgradeOutcome::Underway,
            Err(_) => UpgradeOutcome::Failed("too many are under way".to_owned()),
        };
        self.ways.record.send_modify(|record| record.relay.upgrade = Some(Upgrade { number, outcome }));
    }

    /// One input and those waiting behind it. False when the server is to end.
    fn handle_burst(&mut self, first: Input) -> bool {
        let now = now();
        let mut input = first;
        for _ in 0..INPUTS_PER_WAKE {
            if matches!(input, Input::Shutdown) {
                self.core.handle_shutdown();
                self.flush();
                return false;
            }
            self.handle(now, input);
            match self.inputs.try_recv() {
                Ok(next) => input = next,
                Err(_) => break,
            }
        }
        true
    }

    fn handle(&mut self, now: Now, input: Input) {
        match input {
            Input::Opened { conn, version, out } => {
                self.conns.insert(conn, out);
                self.core.handle_open(now, conn, version);
            }
            Input::Text { conn, text } => self.core.handle_text(now, conn, &text),
            Input::Binary { conn, bytes } => self.core.handle_binary(now, conn, &bytes),
            Input::Oversize { conn } => self.core.handle_oversize(conn),
            Input::Closed { conn, code } => {
                self.conns.remove(&conn);
                self.core.handle_close(now, conn, code);
            }
            Input::RelayUp { generation, links, wish } => self.relay_up(generation, links, wish),
            Input::RelayRetires { generation } => {
                // What was decided before is still said to it; what comes later is in what its successor hears first.
                self.flush();
                if let Some(relay) = self.relay.as_mut().filter(|relay| relay.generation == generation) {
                    relay.retire();
                }
            }
            Input::RelayDown { generation, blamed } => {
                if self.relay.as_ref().is_some_and(|relay| relay.generation == generation) {
                    self.relay = None;
                    self.publish();
                }
                for Blamed { shard, leg, work } in blamed {
                    let left_out = self.core.handle_relay_blames(now, shard, leg);
                    tracing::warn!(shard, leg, %work, left_out, "the media relay died with this leg");
                    if left_out {
                        self.ways.record.send_modify(|record| record.relay.legs_left_out += 1);
                    }
                }
            }
            Input::Relay { generation, shard, message } => self.relay_says(now, generation, shard, message),
            Input::Dtls { shard, leg, said } => match said {
                dtls::Said::Datagram(datagram) => {
                    self.tell_relay(shard, ToSfu::Dtls(Dtls { id: leg, datagram }));
                }
                dtls::Said::Done { ufrag, srtp } => self.core.handle_dtls_done(shard, leg, &ufrag, srtp),
                dtls::Said::Failed { ufrag } => self.core.handle_dtls_failed(shard, leg, &ufrag),
            },
            // Who asked may be gone by now.
            Input::FindTransport { ufrag, answer } => drop(answer.send(self.core.ice(&ufrag))),
            Input::Shutdown => unreachable!("handled by the caller"),
        }
    }

    /// A new relay process is told everything before anything else.
    fn relay_up(&mut self, generation: u64, links: Vec<Link>, wish: Option<u64>) {
        // What came of earlier inputs is in the snapshot already; sent after it, it would be said twice.
        self.flush();
        self.meters.iter_mut().for_each(Meter::restart);
        for (shard, link) in (0..).zip(&links) {
            let start = Start {
                protocol: PROTOCOLS.newest,
                protocol_oldest: PROTOCOLS.oldest,
                shard,
                seed: random_bytes::<32>().to_vec(),
                sender_packets_per_s_max: SENDER_PACKETS_PER_S_MAX,
            };
            for message in [ToSfu::Start(start), ToSfu::Snapshot(self.core.snapshot(shard))] {
                // A fresh link has room.
                let _ = link.tell(message);
            }
        }
        self.relay = Some(Shards::new(generation, links, wish));
    }

    fn relay_says(&mut self, now: Now, generation: u64, shard: u32, message: FromSfu) {
        let Some(relay) = self.relay.as_mut().filter(|relay| relay.generation == generation) else { return };
        relay.heard(shard);
        match message {
            FromSfu::Started(started) => {
                let fulfilled = relay.started(shard);
                self.ways.record.send_modify(|record| {
                    record.relay.version = started.version;
                    if let Some(wish) = fulfilled {
                        record.relay.answer(wish, UpgradeOutcome::Done);
                    }
                });
                self.publish();
            }
            FromSfu::Report(report) => {
                if let Some(meter) = self.meters.get_mut(shard as usize) {
                    meter.take(shard, report);
                    tracing::debug!(shard, "the relay reported");
                }
            }
            // It may be lost, as in the network: the browser repeats itself.
            FromSfu::Dtls(Dtls { id: leg, datagram }) => {
                let _ = self.ways.dtls.try_send(dtls::Order::Datagram { leg, datagram });
            }
            message => self.core.handle_sfu(now, shard, &message),
        }
    }

    fn flush(&mut self) {
        while let Some(output) = self.core.poll_output() {
            match output {
                Output::Send { conn, text } => self.send(conn, Outgoing::Text(text)),
                Output::Authenticated { conn } => self.send(conn, Outgoing::Authenticated),
                Output::Close { conn, code } => {
                    count_close(code);
                    self.send(conn, Outgoing::Close(code));
                    self.conns.remove(&conn);
                }
                Output::ToSfu { shard, message } => self.tell_relay(shard, message),
                Output::BeginDtls { shard, leg, ufrag, fingerprint } => {
                    let order = dtls::Order::Begin { shard, leg, ufrag: ufrag.clone(), fingerprint };
                    if self.ways.dtls.try_send(order).is_err() {
                        self.core.handle_dtls_failed(shard, leg, &ufrag);
                    }
                }
                // An engine that is not told ends by itself.
                Output::EndDtls { leg } => drop(self.ways.dtls.try_send(dtls::Order::End { leg })),
                Output::Report(report) => self.reports.put(report),
                Output::Event(event) => count(event),
            }
        }
    }

    fn send(&mut self, conn: ConnId, out: Outgoing) {
        let Some(sender) = self.conns.get(&conn) else { return };
        if sender.try_send(out).is_err() {
            // The client reads too slowly, or is gone. It may resume.
            metrics::counter!("guildhall_voice_slow_clients_total").increment(1);
            self.conns.remove(&conn);
            self.core.handle_close(now(), conn, None);
        }
    }

    /// Without a relay nothing is lost: its successor is told all of it.
    fn tell_relay(&mut self, shard: u32, message: ToSfu) {
        let Some(relay) = &self.relay else { return };
        if relay.tell(shard, message).is_err() {
            self.replace_relay(vec![shard]);
        }
    }

    fn replace_relay(&mut self, shards: Vec<u32>) {
        if let Some(Shards { generation, .. }) = self.relay.take() {
            self.outage.hung();
            self.ways.hung.send_replace(Some(Hung { generation, shards }));
        }
    }

    /// Once a second.
    fn look_at_relay(&mut self) {
        let hang = self.relay.as_mut().map(Shards::second).unwrap_or_default();
        if !hang.is_empty() {
            self.replace_relay(hang);
        }
        self.outage.second(self.is_running());
    }

    fn is_running(&self) -> bool {
        self.relay.as_ref().is_some_and(Shards::are_there)
    }

    fn measure(&mut self) {
        let stats = self.core.stats();
        let set = |name: &'static str, n: usize| metrics::gauge!(name).set(n as f64);
        set("guildhall_voice_connections", stats.connections);
        set("guildhall_voice_sessions", stats.sessions);
        set("guildhall_voice_participants", stats.participants);
        set("guildhall_voice_guilds", stats.guilds);
        set("guildhall_voice_rooms", stats.rooms);
        self.publish();
    }

    fn publish(&self) {
        let stats = self.core.stats();
        let whole = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let load = ServerLoad {
            guilds: whole(stats.guilds),
            participants: whole(stats.participants),
            packets_in_per_s: self.meters.iter().map(|m| m.packets_in_per_s).sum(),
            packets_out_per_s: self.meters.iter().map(|m| m.packets_out_per_s).sum(),
            busiest_shard: self.meters.iter().map(|m| m.busy).fold(0.0, f32::max),
        };
        let health = match self.is_running() {
            _ if self.outage.lasts() => Health::RelayLost,
            false => Health::NoRelay,
            true if self.meters.iter().any(Meter::is_flooded) => Health::Flooded,
            true => Health::Ok,
        };
        self.ways.record.send_if_modified(|record| {
            let changed = record.load != load || record.health != health;
            if record.health != health {
                let (id, before) = (&record.id, record.health);
                match health {
                    Health::Ok => tracing::info!(%id, ?before, "the voice server is well"),
                    _ => tracing::warn!(%id, ?before, now = ?health, "the voice server is not well"),
                }
            }
            (record.load, record.health) = (load, health);
            changed
        });
    }
}

fn count(event: Event) {
    match event {
        Event::Described { after } => {
            metrics::histogram!("guildhall_voice_join_described_seconds").record(after)
        }
        Event::Connected { after } => {
            metrics::histogram!("guildhall_voice_join_connected_seconds").record(after)
        }
        Event::Resumed => metrics::counter!("guildhall_voice_resumes_total").increment(1),
        Event::ResumeRefused => metrics::counter!("guildhall_voice_resumes_refused_total").increment(1),
        Event::StaleOrder => metrics::counter!("guildhall_voice_stale_orders_total").increment(1),
        Event::KeySpent => metrics::counter!("guildhall_voice_keys_spent_total").increment(1),
        Event::HandshakeFailed => metrics::counter!("guildhall_voice_handshakes_failed_total").increment(1),
        Event::Blamed => metrics::counter!("guildhall_voice_relay_blames_total").increment(1),
        Event::LeftOut => metrics::counter!("guildhall_voice_legs_left_out_total").increment(1),
        Event::Unconfirmed => metrics::counter!("guildhall_voice_unconfirmed_total").increment(1),
    }
}

fn count_close(code: CloseCode) {
    metrics::counter!("guildhall_voice_closes_total", "code" => code.number().to_string()).increment(1);
}

pub async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

pub fn now() -> Now {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64);
    Now { instant: Instant::now(), wall: UnixMs(wall) }
}

pub fn random_bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    fill_random(&mut bytes);
    bytes
}

pub fn fill_random(bytes: &mut [u8]) {
    aws_lc_rs::rand::fill(bytes).expect("the system has randomness, or nothing is safe");
}
