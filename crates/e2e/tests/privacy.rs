//! No packet and no message to a client carries another's IP address.
//!
//! Three clients, each at an address of its own, do everything that makes a server speak of them to each other, and write down all
//! that they receive. Then each record is searched for the other two's addresses in every form in which one could be written.

use std::net::{Ipv4Addr, SocketAddr};

use e2e::raw::{Raw, Voice};
use e2e::wire::{authority, http};
use e2e::{Server, User};
use rtp_wire::Kind;

const ADDRESSES: [Ipv4Addr; 3] =
    [Ipv4Addr::new(127, 0, 1, 1), Ipv4Addr::new(127, 0, 1, 2), Ipv4Addr::new(127, 0, 1, 3)];
const PACKETS: usize = 30;

struct Client {
    raw: Raw,
    voice: Voice,
    endpoint: String,
    /// What earlier voice connections received.
    before: Vec<Record>,
    /// Where its media comes from.
    media_from: Vec<SocketAddr>,
}

/// Something that a client received, with a word about what it is.
struct Record {
    what: String,
    bytes: Vec<u8>,
}

impl Client {
    fn join(server: &Server, user: &User, address: Ipv4Addr, channel: &str) -> Self {
        let mut raw = Raw::connect(server, user, address);
        let ticket = raw.ticket(channel);
        let voice = raw.follow(server, &ticket);
        let media_from = vec![voice.socket.local_addr().expect("a bound socket has an address")];
        Self { raw, voice, endpoint: ticket.endpoint, before: Vec::new(), media_from }
    }

    /// Goes on with another voice connection, which has to be asked for already.
    fn follow(&mut self, server: &Server) {
        let ticket = self.raw.next_ticket();
        // What the old connection is told last belongs to the record too.
        assert_eq!(self.voice.wire.close_code(), Some(4014), "a move closes the old connection");
        self.voice.drain();
        let old = std::mem::replace(&mut self.voice, self.raw.follow(server, &ticket));
        self.before.extend(of_voice(&old));
        self.media_from.push(self.voice.socket.local_addr().expect("a bound socket has an address"));
    }

    fn talk(&mut self) {
        self.voice.speaking();
        for n in 0..PACKETS {
            let packet = self.voice.packet(&[n as u8 | 0x80; 60]);
            self.voice.send(&packet);
        }
    }

    fn record(&self) -> Vec<Record> {
        let gateway = self.raw.gateway.received.iter();
        let gateway =
            gateway.map(|text| Record { what: "gateway".to_owned(), bytes: text.clone().into_bytes() });
        let mut all: Vec<Record> = gateway.collect();
        all.extend(of_voice(&self.voice));
        all.extend(self.before.iter().map(|r| Record { what: r.what.clone(), bytes: r.bytes.clone() }));
        all
    }
}

fn of_voice(voice: &Voice) -> Vec<Record> {
    let texts = voice.wire.received.iter();
    let texts = texts.map(|text| Record { what: "voice".to_owned(), bytes: text.clone().into_bytes() });
    let datagrams = voice.datagrams.iter().flat_map(|datagram| {
        // An answer to discovery is opened as it is.
        let opened = datagram.opened.clone();
        let opened = opened.map(|bytes| Record { what: format!("opened {:?}", datagram.kind), bytes });
        let what = if rtp_wire::DiscoveryResponse::parse(&datagram.raw).is_some() {
            "discovery".to_owned()
        } else {
            format!("raw {:?}", datagram.kind)
        };
        [Some(Record { what, bytes: datagram.raw.clone() }), opened].into_iter().flatten()
    });
    texts.chain(datagrams).collect()
}

/// The forms in which an address could be told: as text, as a number, as bytes in either order.
fn forms(address: Ipv4Addr) -> Vec<Vec<u8>> {
    let number = u32::from(address);
    let octets = address.octets().map(|octet| format!("{octet:02x}"));
    let texts = [
        address.to_string(),
        number.to_string(),
        number.swap_bytes().to_string(),
        format!("{number:08x}"),
        format!("{number:08X}"),
        octets.join(":"),
        address.octets().map(|octet| octet.to_string()).join("-"),
        address.octets().map(|octet| octet.to_string()).join(","),
    ];
    let mut forms: Vec<Vec<u8>> = texts.into_iter().map(String::into_bytes).collect();
    forms.push(number.to_be_bytes().to_vec());
    forms.push(number.to_le_bytes().to_vec());
    forms
}

/// How a port would stand beside an address.
fn port_forms(port: u16) -> Vec<Vec<u8>> {
    [format!(":{port}\""), format!("\"port\":{port},"), format!("\"port\":{port}}}"), format!("\"{port}\"")]
        .map(String::into_bytes)
        .to_vec()
}

fn contains(bytes: &[u8], form: &[u8]) -> bool {
    bytes.windows(form.len()).any(|window| window == form)
}

/// What in this record tells the address.
fn tells(record: &[Record], address: Ipv4Addr) -> Vec<String> {
    let forms = forms(address);
    let telling = |r: &&Record| forms.iter().any(|form| contains(&r.bytes, form));
    record
        .iter()
        .filter(telling)
        .map(|r| format!("{}: {:?}", r.what, String::from_utf8_lossy(&r.bytes)))
        .collect()
}

fn replies(server: &Server, client: &Client, channels: &[String], users: &[User]) -> Vec<Record> {
    let guild = server.guild();
    let mut paths = vec![
        "/users/@me".to_owned(),
        "/users/@me/guilds".to_owned(),
        "/gateway".to_owned(),
        "/gateway/bot".to_owned(),
        "/voice/regions".to_owned(),
        format!("/guilds/{guild}"),
        format!("/guilds/{guild}/channels"),
        format!("/guilds/{guild}/members?limit=100"),
        format!("/guilds/{guild}/regions"),
    ];
    for user in users {
        paths.push(format!("/users/{}", user.id));
        paths.push(format!("/guilds/{guild}/members/{}", user.id));
        paths.push(format!("/guilds/{guild}/voice-states/{}", user.id));
    }
    paths.extend(channels.iter().map(|channel| format!("/channels/{channel}")));
    let ask = |path: String| {
        let request = format!("GET /api/v10{path}");
        let response = http(server, client.raw.from, Some(&client.raw.user.token), &request, None);
        Record { what: format!("{request}: {}", response.status), bytes: response.text.into_bytes() }
    };
    paths.into_iter().map(ask).collect()
}

#[test]
fn nobody_is_told_where_another_is() {
    let server = Server::start(3);
    let channels = [server.voice_channel(0), server.voice_channel(1)];
    let users = [server.user(0), server.user(1), server.user(2)];
    let mut clients: Vec<Client> =
        (0..3).map(|n| Client::join(&server, &users[n], ADDRESSES[n], &channels[0])).collect();

    // All talk at once, and each hears both others.
    clients.iter_mut().for_each(Client::talk);
    let streams: Vec<_> = clients.iter().map(|client| client.voice.ssrc).collect();
    for (n, client) in clients.iter_mut().enumerate() {
        // They are named in the order in which they began, whichever that was.
        let mut unnamed = Vec::new();
        for other in streams.iter().enumerate().filter(|(m, _)| *m != n).map(|(_, ssrc)| *ssrc) {
            client.voice.hear("the others' speech", |heard| e2e::raw::count(heard, other) >= PACKETS);
            unnamed.push(other.0);
        }
        client.voice.wire.until("whose streams they are", |v| {
            unnamed.retain(|ssrc| v["op"] != 5 || v["d"]["ssrc"] != *ssrc);
            unnamed.is_empty()
        });
    }
    // One mutes itself, one is muted in the middle of a word, one is moved and comes back by itself.
    clients[1].raw.state(Some(&channels[0]), true);
    clients[0].raw.until_state(&users[1], "a mute", |d| d["self_mute"] == true);
    server.ctl(&["mute", server.guild(), &users[2].id]);
    clients[0].raw.until_state(&users[2], "a moderator's mute", |d| d["mute"] == true);
    server.ctl(&["unmute", server.guild(), &users[2].id]);
    server.ctl(&["move", server.guild(), &users[2].id, &channels[1]]);
    clients[2].follow(&server);
    clients[2].raw.state(Some(&channels[0]), false);
    clients[2].follow(&server);
    clients.iter_mut().for_each(Client::talk);
    // One loses its connections and comes back to both.
    clients[0].raw.gateway.cut();
    clients[0].voice.wire.cut();
    let again = Client::join(&server, &users[0], ADDRESSES[0], &channels[0]);
    let lost = std::mem::replace(&mut clients[0], again);
    let earlier = lost.record();
    clients[0].before.extend(earlier);
    clients[0].media_from.extend(lost.media_from);
    clients[0].talk();
    let newest = clients[0].voice.ssrc;
    for n in [1, 2] {
        clients[n].voice.hear("who came back", |heard| e2e::raw::count(heard, newest) >= PACKETS);
    }
    let rest: Vec<Vec<Record>> =
        clients.iter().map(|client| replies(&server, client, &channels, &users)).collect();
    clients.iter_mut().for_each(|client| client.voice.fence());
    // All leave, one after the other; the last sees the others go.
    for n in [0, 1] {
        clients[n].raw.state(None, false);
        clients[2].raw.until_state(&users[n], "a leaving", |d| d["channel_id"].is_null());
        clients[2]
            .voice
            .wire
            .until("a leaving", |v| v["op"] == 13 && v["d"]["user_id"] == users[n].id.as_str());
    }
    for client in &mut clients {
        client.voice.drain();
        client.voice.wire.close(1000);
        client.raw.gateway.close(1000);
    }

    for (n, client) in clients.iter().enumerate() {
        let mut record = client.record();
        record.extend(rest[n].iter().map(|r| Record { what: r.what.clone(), bytes: r.bytes.clone() }));
        // The search finds what is there: each client is told its own address, by discovery and by nothing else.
        let own = tells(&record, client.raw.from);
        assert!(!own.is_empty() && own.iter().all(|told| told.starts_with("discovery")), "{own:#?}");
        assert!(rest[n].iter().all(|reply| reply.what.ends_with(": 200")), "{}", statuses(&rest[n]));
        let opened = record.iter().filter(|r| r.what == format!("opened {:?}", Kind::Rtp)).count();
        assert!(opened >= 2 * PACKETS, "only {opened} packets were heard");

        for other in (0..3).filter(|m| *m != n) {
            let told = tells(&record, ADDRESSES[other]);
            assert!(told.is_empty(), "client {n} is told where client {other} is:\n{}", told.join("\n"));
            // A port that is also one of the server's own, at another address, tells nothing.
            let servers = [client.voice.media, authority(&client.endpoint), authority(server.http())];
            let ports = clients[other].media_from.iter().map(SocketAddr::port);
            for port in ports.filter(|port| servers.iter().all(|server| server.port() != *port)) {
                let telling = |r: &&Record| port_forms(port).iter().any(|form| contains(&r.bytes, form));
                let told: Vec<&str> = record.iter().filter(telling).map(|r| r.what.as_str()).collect();
                assert!(told.is_empty(), "client {n} is told client {other}'s port {port}: {told:?}");
            }
        }
    }
}

fn statuses(replies: &[Record]) -> String {
    replies.iter().map(|reply| reply.what.as_str()).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_search_finds_an_address_in_every_form() {
    let address = ADDRESSES[1];
    let check = |bytes: &[u8], expect: bool| {
        let record = [Record { what: "it".to_owned(), bytes: bytes.to_vec() }];
        assert_eq!(!tells(&record, address).is_empty(), expect, "{bytes:?}");
    };
    check(br#"{"ip":"127.0.1.2","port":5}"#, true);
    check(br#"{"ip":2130706690}"#, true);
    check(b"7f000102", true);
    check(b"7f:00:01:02", true);
    check(&[1, 2, 127, 0, 1, 2, 3], true);
    check(&[1, 2, 1, 0, 127, 3], true);
    check(br#"{"ip":"127.0.1.1"}"#, false);
    check(&[127, 0, 1, 1], false);
}
