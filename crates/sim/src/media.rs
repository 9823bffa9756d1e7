//! A client's packets: discovery, sealed audio that says whose it is, and what it hears.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use model::UserId;
use rtp_wire::{
    DISCOVERY_LEN, DiscoveryRequest, DiscoveryResponse, Kind, OPUS_PAYLOAD_TYPE, RtpHeader, RtpTime, Ssrc,
    classify, is_silence, rtcp,
};
use transport::{Key, Mode, NonceCounter, OpenError, ReplayWindow, Session};

use crate::event::{Event, Timer};
use crate::time::{At, ms, secs};
use crate::world::World;

const DISCOVER_EVERY: u64 = ms(400);
const KEEPALIVE_EVERY: u64 = secs(5);

pub struct Media {
    /// Numbers the ways of all clients to relays: one key each.
    pub path: u64,
    pub address: SocketAddr,
    server: SocketAddr,
    ssrc: Ssrc,
    pub mode: Mode,
    /// The relay has answered, or nobody wants to know any more.
    pub has_selected: bool,
    session: Option<Session>,
    windows: BTreeMap<Ssrc, ReplayWindow>,
    seq: u16,
    time: u32,
}

/// One frame as it is said: whose, and when.
const WORDS: usize = 17;

fn words(user: UserId, now: At) -> [u8; WORDS] {
    let mut words = [0x78; WORDS];
    words[1..9].copy_from_slice(&user.0.to_be_bytes());
    words[9..].copy_from_slice(&now.0.to_be_bytes());
    words
}

fn whose(words: &[u8]) -> Option<(UserId, At)> {
    let words: &[u8; WORDS] = words.try_into().ok()?;
    let number = |at: usize| u64::from_be_bytes(words[at..at + 8].try_into().expect("eight bytes"));
    Some((UserId(number(1)), At(number(9))))
}

impl World {
    pub fn client_at(&self, address: SocketAddr) -> Option<usize> {
        let at = |client: &crate::client::Client| {
            client.media.as_ref().is_some_and(|media| media.address == address)
        };
        self.clients.iter().position(|client| !client.has_vanished && at(client))
    }

    /// An address that nobody has had before.
    pub fn new_address(&mut self, client: usize) -> SocketAddr {
        self.addresses_made += 1;
        let port = 1_024 + u16::try_from(self.addresses_made % 60_000).expect("it fits a port");
        SocketAddr::from(([10, 2, (self.addresses_made / 60_000) as u8, client as u8], port))
    }

    pub fn begin_media(&mut self, client: usize, server: SocketAddr, ssrc: Ssrc, mode: Mode) {
        let address = self.new_address(client);
        self.paths_made += 1;
        let path = self.paths_made;
        let random = &mut self.clients[client].random;
        let (seq, time) = (random.next() as u16, random.next() as u32);
        self.paths.insert(address, (path, mode));
        self.clients[client].media = Some(Media {
            path,
            address,
            server,
            ssrc,
            mode,
            has_selected: false,
            session: None,
            windows: BTreeMap::new(),
            seq,
            time,
        });
        self.discover(client);
    }

    /// Asks until it is answered, because datagrams get lost.
    pub fn discover(&mut self, client: usize) {
        let Some(media) = self.clients[client].media.as_ref().filter(|media| !media.has_selected) else {
            return;
        };
        let mut datagram = [0; DISCOVERY_LEN];
        DiscoveryRequest { ssrc: media.ssrc }.write(&mut datagram).expect("it has the length");
        let (from, to) = (media.address, media.server);
        self.send_media(client, from, to, datagram.to_vec());
        self.arm(client, Timer::Discover, DISCOVER_EVERY);
    }

    pub fn take_key(&mut self, client: usize, key: &Key) {
        let this = &mut self.clients[client];
        let start = match this.random.below(3) {
            0 => 0,
            1 => 1,
            _ => this.random.next() as u32,
        };
        let mut salt = [0; 16];
        this.random.fill(&mut salt);
        if let Some(media) = &mut this.media {
            media.session = Some(Session::new(media.mode, key, NonceCounter::client(start), salt));
        }
        self.keep_alive(client);
    }

    fn send_media(&mut self, client: usize, from: SocketAddr, to: SocketAddr, bytes: Vec<u8>) {
        self.datagram(client, || Event::UdpUp { from, to, bytes: bytes.clone() });
    }

    pub fn talk(&mut self, client: usize) {
        let every = self.settings.talk_every;
        let wait = self.clients[client].random.between(every / 2, every + every / 2);
        self.arm(client, Timer::Talk, wait);
        let this = &mut self.clients[client];
        if this.mute || this.voice.is_none() {
            return;
        }
        let words = words(this.user, self.now);
        let Some(media) = &mut this.media else { return };
        let Some(session) = &mut media.session else { return };
        media.seq = media.seq.wrapping_add(1);
        media.time = media.time.wrapping_add(960);
        let header = RtpHeader {
            payload_type: OPUS_PAYLOAD_TYPE,
            seq: media.seq,
            time: RtpTime(media.time),
            ssrc: media.ssrc,
            ..RtpHeader::default()
        };
        let mut buf = vec![0; 100];
        let at = header.write(&[], &mut buf).expect("there is room");
        buf[at..at + WORDS].copy_from_slice(&words);
        let len = session.seal_rtp(&mut buf, at + WORDS).expect("there is room");
        buf.truncate(len);
        let (from, to) = (media.address, media.server);
        self.tap(from, &buf);
        self.send_media(client, from, to, buf);
    }

    pub fn keep_alive(&mut self, client: usize) {
        self.arm(client, Timer::Keepalive, KEEPALIVE_EVERY);
        let Some(media) = &mut self.clients[client].media else { return };
        let Some(session) = &mut media.session else { return };
        let mut buf = vec![0; 60];
        let len = rtcp::write_receiver_report(media.ssrc, &[], &mut buf).expect("there is room");
        let len = session.seal_rtcp(&mut buf, len).expect("an empty report can be sealed");
        buf.truncate(len);
        let (from, to) = (media.address, media.server);
        self.tap(from, &buf);
        self.send_media(client, from, to, buf);
    }

    pub fn media_arrives(&mut self, host: usize, to: SocketAddr, mut bytes: Vec<u8>) {
        let Some(client) = self.client_at(to) else { return };
        let media = self.clients[client].media.as_mut().expect("it was found by its address");
        match classify(&bytes) {
            Kind::Rtp => {
                let Some(session) = &mut media.session else { return };
                let ssrc = RtpHeader::peek_ssrc(&bytes).expect("it is RTP");
                let mut window = media.windows.get(&ssrc).copied().unwrap_or_default();
                match session.open_rtp(&mut bytes, &mut window) {
                    Ok(opened) => {
                        media.windows.insert(ssrc, window);
                        let body = &bytes[opened.body];
                        if is_silence(body) {
                            return;
                        }
                        match whose(body) {
                            Some((speaker, said_at)) => self.hear_voice(host, client, speaker, said_at),
                            None => self.fail(format!("client {client} hears what nobody said")),
                        }
                    }
                    // The network doubles packets, and holds some back for so long that they are too old.
                    Err(OpenError::Replay) => {}
                    Err(error) => {
                        self.fail(format!("client {client} cannot open what voice-{host} sent: {error}"))
                    }
                }
            }
            _ => {
                let Some(answer) = DiscoveryResponse::parse(&bytes) else { return };
                if answer.ssrc == media.ssrc && !media.has_selected {
                    media.has_selected = true;
                    let mode = media.mode;
                    self.select(client, SocketAddr::new(answer.ip, answer.port), mode);
                }
            }
        }
    }

    /// From now on its packets come from elsewhere, as when a router forgets.
    pub fn rebind(&mut self, client: usize) {
        let address = self.new_address(client);
        let Some(media) = &mut self.clients[client].media else { return };
        media.address = address;
        self.paths.insert(address, (media.path, media.mode));
        self.trace.note(self.now, || format!("client {client} is at {address} now"));
    }
}
