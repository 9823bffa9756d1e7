//! The DTLS engines of browsers' legs, one each, in a task of their own: a handshake costs as much as thousands of packets, and neither the
//! relay's shards nor the hub wait for one.
//!
//! Owns: this server's certificate for media, the engines, the check that a browser shows the certificate whose fingerprint it named over
//! its authenticated connection (RFC 5763 section 5). Deliberately does not: touch sockets (the relay carries the datagrams), decide what
//! becomes of a leg (the core does).

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_lc_rs::digest;
use client_wire::fragment::Fingerprint;
use dimpl::{Config, Dtls, DtlsCertificate, Output};
use rcgen::{CertificateParams, KeyPair, SerialNumber};
use sfu_wire::Srtp;
use tokio::sync::mpsc;

use crate::hub::{Input, random_bytes};
use crate::limits::{DTLS_HANDSHAKE_TIMEOUT, DTLS_LINGER, DTLS_MTU_BYTES};

/// What the hub says.
#[derive(Debug)]
pub enum Order {
    Begin { shard: u32, leg: u64, ufrag: String, fingerprint: Fingerprint },
    Datagram { leg: u64, datagram: Vec<u8> },
    End { leg: u64 },
}

/// What is said to the hub, of a leg on a shard.
#[derive(Debug)]
pub enum Said {
    Datagram(Vec<u8>),
    Done { ufrag: String, srtp: Srtp },
    Failed { ufrag: String },
}

/// What browsers are shown.
pub struct Identity {
    certificate: DtlsCertificate,
    pub fingerprint: Fingerprint,
}

impl Identity {
    /// A fresh one at every start: browsers are told its fingerprint with each join.
    pub fn generate() -> Result<Self, rcgen::Error> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        // Firefox takes no two certificates of one issuer with the same number.
        params.serial_number = Some(SerialNumber::from(random_bytes::<16>().to_vec()));
        let certificate = params.self_signed(&key)?.der().to_vec();
        let fingerprint = fingerprint(&certificate);
        Ok(Self {
            certificate: DtlsCertificate { certificate, private_key: key.serialize_der() },
            fingerprint,
        })
    }
}

fn fingerprint(der: &[u8]) -> Fingerprint {
    let hash = digest::digest(&digest::SHA256, der);
    Fingerprint(hash.as_ref().try_into().expect("SHA-256 has 32 bytes"))
}

struct Engine {
    dtls: Dtls,
    shard: u32,
    ufrag: String,
    fingerprint: Fingerprint,
    /// It showed the right certificate.
    known: bool,
    /// When it wants to be woken.
    wake: Instant,
    /// When there is nothing more for it to do: lost last messages have been asked for again by then.
    ends: Instant,
}

/// Every engine there is.
pub struct Engines {
    config: Arc<Config>,
    identity: Identity,
    engines: HashMap<u64, Engine>,
    wakes: BTreeSet<(Instant, u64)>,
    buffer: Vec<u8>,
}

impl Engines {
    pub fn new(identity: Identity) -> Self {
        let config = Config::builder()
            .mtu(DTLS_MTU_BYTES)
            // The address has been proven by an ICE check before anything gets here.
            .use_server_cookie(false)
            .require_client_certificate(true)
            .flight_start_rto(Duration::from_millis(100))
            .handshake_timeout(DTLS_HANDSHAKE_TIMEOUT)
            .build()
            .expect("the settings do not contradict each other");
        let buffer = vec![0; 2 * DTLS_MTU_BYTES];
        Self { config: Arc::new(config), identity, engines: HashMap::new(), wakes: BTreeSet::new(), buffer }
    }

    /// Serves until the hub is gone.
    pub async fn run(mut self, mut orders: mpsc::Receiver<Order>, hub: mpsc::Sender<Input>) {
        let mut said = Vec::new();
        loop {
            let wake = self.wakes.first().map(|(at, _)| *at);
            tokio::select! {
                order = orders.recv() => match order {
                    Some(order) => self.handle_order(Instant::now(), order, &mut said),
                    None => return,
                },
                () = crate::hub::sleep_until(wake) => self.handle_timeout(Instant::now(), &mut said),
            }
            for (shard, leg, said) in said.drain(..) {
                if hub.send(Input::Dtls { shard, leg, said }).await.is_err() {
                    return;
                }
            }
            metrics::gauge!("guildhall_voice_dtls_engines").set(self.engines.len() as f64);
        }
    }

    fn handle_order(&mut self, now: Instant, order: Order, said: &mut Vec<(u32, u64, Said)>) {
        match order {
            Order::Begin { shard, leg, ufrag, fingerprint } => {
                self.remove(leg);
                let dtls = Dtls::new_auto(self.config.clone(), self.identity.certificate.clone(), now);
                let ends = now + DTLS_HANDSHAKE_TIMEOUT;
                let engine = Engine { dtls, shard, ufrag, fingerprint, known: false, wake: ends, ends };
                self.engines.insert(leg, engine);
                self.wakes.insert((ends, leg));
            }
            Order::Datagram { leg, datagram } => {
                self.turn(leg, now, said, |dtls| {
                    dtls.handle_timeout(now).and_then(|()| dtls.handle_packet(&datagram))
                });
            }
            Order::End { leg } => self.remove(leg),
        }
    }

    fn handle_timeout(&mut self, now: Instant, said: &mut Vec<(u32, u64, Said)>) {
        while let Some((at, leg)) = self.wakes.first().copied()
            && at <= now
        {
            self.wakes.remove(&(at, leg));
            if self.engines.get(&leg).is_some_and(|engine| engine.ends <= now) {
                // Whoever has not finished by now has long given up, or never began: its client finds out by itself.
                self.remove(leg);
            } else {
                self.turn(leg, now, said, |dtls| dtls.handle_timeout(now));
            }
        }
    }

    /// Lets an engine take something in, and takes what comes out of it.
    fn turn(
        &mut self,
        leg: u64,
        now: Instant,
        said: &mut Vec<(u32, u64, Said)>,
        input: impl FnOnce(&mut Dtls) -> Result<(), dimpl::Error>,
    ) {
        let Some(engine) = self.engines.get_mut(&leg) else { return };
        let shard = engine.shard;
        let result = input(&mut engine.dtls);
        let outcome = result
            .map_err(|error| error.to_string())
            .and_then(|()| engine.drain(now, &mut self.buffer, &mut |word| said.push((shard, leg, word))));
        let before = engine.wake;
        match outcome {
            Ok(wake) => {
                engine.wake = wake.min(engine.ends).max(now + Duration::from_millis(1));
                let wake = engine.wake;
                self.wakes.remove(&(before, leg));
                self.wakes.insert((wake, leg));
            }
            Err(error) => {
                tracing::info!(leg, error, "a browser's handshake failed");
                said.push((shard, leg, Said::Failed { ufrag: engine.ufrag.clone() }));
                self.remove(leg);
            }
        }
    }

    fn remove(&mut self, leg: u64) {
        if let Some(engine) = self.engines.remove(&leg) {
            self.wakes.remove(&(engine.wake, leg));
        }
    }
}

impl Engine {
    /// Everything that the engine has to say, and when it wants to be woken. The keys go first, so that the relay has them before the browser
    /// hears that it may send.
    fn drain(
        &mut self,
        now: Instant,
        buffer: &mut Vec<u8>,
        say: &mut impl FnMut(Said),
    ) -> Result<Instant, String> {
        let mut datagrams = Vec::new();
        let wake = loop {
            match self.dtls.poll_output(buffer) {
                Output::Packet(packet) => datagrams.push(packet.to_vec()),
                Output::BufferTooSmall { needed } => buffer.resize(needed, 0),
                Output::PeerCert(der) => {
                    self.known = fingerprint(der) == self.fingerprint;
                    if !self.known {
                        return Err("it shows another certificate than the one it named".to_owned());
                    }
                }
                Output::KeyingMaterial(material, profile) => {
                    if !self.known {
                        return Err("it shows no certificate".to_owned());
                    }
                    let srtp = Srtp { profile: profile.to_string(), keying_material: material.to_vec() };
                    say(Said::Done { ufrag: self.ufrag.clone(), srtp });
                    self.ends = now + DTLS_LINGER;
                }
                Output::CloseNotify => self.ends = now,
                Output::Timeout(at) => break at,
                _ => {}
            }
        };
        datagrams.into_iter().for_each(|datagram| say(Said::Datagram(datagram)));
        Ok(wake)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two ends and what is between them.
    fn shake_hands(named: Fingerprint, client: Dtls, seed: u64) -> Vec<Said> {
        let identity = Identity::generate().unwrap();
        let mut engines = Engines::new(identity);
        let mut now = Instant::now();
        let mut client = client;
        let mut said = Vec::new();
        let mut heard = Vec::new();
        let mut buffer = vec![0; 4096];
        let mut carried = 0_u64;
        // A quarter of the first datagrams, another one with every seed; with 0 none. Later ones arrive, or it could be the same one of a flight
        // each time that it is repeated.
        let mut is_lost = || {
            carried += 1;
            seed != 0 && carried <= 16 && (carried * seed).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 62 == 0
        };
        engines.handle_order(
            now,
            Order::Begin { shard: 0, leg: 1, ufrag: "u".into(), fingerprint: named },
            &mut said,
        );
        client.handle_timeout(now).unwrap();
        for _ in 0..1_000 {
            let mut wake = now + Duration::from_millis(50);
            loop {
                match client.poll_output(&mut buffer) {
                    Output::Packet(_) if is_lost() => {}
                    Output::Packet(packet) => {
                        let order = Order::Datagram { leg: 1, datagram: packet.to_vec() };
                        engines.handle_order(now, order, &mut said);
                    }
                    Output::KeyingMaterial(material, profile) => {
                        let srtp = Srtp { profile: profile.to_string(), keying_material: material.to_vec() };
                        heard.push(Said::Done { ufrag: "client".into(), srtp });
                    }
                    Output::Timeout(at) => {
                        wake = wake.min(at.max(now));
                        break;
                    }
                    _ => {}
                }
            }
            for (_, _, word) in std::mem::take(&mut said) {
                match word {
                    Said::Datagram(_) if is_lost() => {}
                    Said::Datagram(datagram) => client.handle_packet(&datagram).unwrap(),
                    other => heard.push(other),
                }
            }
            if heard.len() >= 2 {
                break;
            }
            now = wake.max(now + Duration::from_millis(1));
            engines.handle_timeout(now, &mut said);
            if client.handle_timeout(now).is_err() {
                break;
            }
        }
        heard.extend(
            said.into_iter().map(|(_, _, word)| word).filter(|word| !matches!(word, Said::Datagram(_))),
        );
        heard
    }

    fn client(new: fn(Arc<Config>, DtlsCertificate, Instant) -> Dtls) -> (Fingerprint, Dtls) {
        let identity = Identity::generate().unwrap();
        let mut dtls = new(Arc::new(Config::default()), identity.certificate, Instant::now());
        dtls.set_active(true);
        (identity.fingerprint, dtls)
    }

    #[test]
    fn both_ends_agree_in_either_version_whatever_is_lost() {
        for new in [Dtls::new_12, Dtls::new_13] {
            for seed in 0..12 {
                let (fingerprint, client) = client(new);
                let heard = shake_hands(fingerprint, client, seed);
                let keys: Vec<&Srtp> = heard
                    .iter()
                    .filter_map(|word| if let Said::Done { srtp, .. } = word { Some(srtp) } else { None })
                    .collect();
                assert_eq!(keys.len(), 2, "seed {seed}: {heard:?}");
                assert_eq!(keys[0], keys[1]);
                assert!(keys[0].profile.starts_with("SRTP_AEAD"), "{}", keys[0].profile);
            }
        }
    }

    #[test]
    fn who_shows_another_certificate_gets_no_keys() {
        for new in [Dtls::new_12, Dtls::new_13] {
            let (_, client) = client(new);
            let heard = shake_hands(Fingerprint([7; 32]), client, 0);
            let failed = heard.iter().any(|word| matches!(word, Said::Failed { ufrag } if ufrag == "u"));
            let ours = heard.iter().any(|word| matches!(word, Said::Done { ufrag, .. } if ufrag == "u"));
            assert!(failed && !ours, "{heard:?}");
        }
    }

    #[test]
    fn garbage_and_silence_leave_nothing_behind() {
        let mut engines = Engines::new(Identity::generate().unwrap());
        let now = Instant::now();
        let mut said = Vec::new();
        for leg in 0..1_000 {
            let fingerprint = Fingerprint([0; 32]);
            engines.handle_order(
                now,
                Order::Begin { shard: 0, leg, ufrag: "u".into(), fingerprint },
                &mut said,
            );
            for first in [20, 22, 23, 63] {
                let mut datagram = vec![first; 200];
                datagram[1..3].copy_from_slice(&[0xFE, 0xFD]);
                engines.handle_order(now, Order::Datagram { leg, datagram }, &mut said);
            }
        }
        for leg in 0..500 {
            engines.handle_order(now, Order::End { leg }, &mut said);
        }
        assert!(engines.engines.len() <= 500);
        let mut at = now;
        while let Some((wake, _)) = engines.wakes.first().copied() {
            assert!(wake > at && wake <= now + DTLS_HANDSHAKE_TIMEOUT, "it never ends");
            at = wake;
            engines.handle_timeout(at, &mut said);
        }
        assert!(engines.engines.is_empty());
        assert!(!said.iter().any(|(_, _, word)| matches!(word, Said::Done { .. })));
    }
}
