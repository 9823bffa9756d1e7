//! What attackers do who were let into a channel as browsers are: handshakes begun by the thousand and never finished, garbage in their place,
//! other certificates, floods. The server's memory stays bounded, engines end, and a call of others loses nothing.

use std::net::{Ipv4Addr, UdpSocket};
use std::time::{Duration, Instant};

use client_wire::fragment::Fingerprint;
use e2e::Server;
use e2e::call::{Call, Sums};
use e2e::page::{Link, Page};
use e2e::raw::Raw;
use e2e::wire::{self, WITHIN};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use rtp_wire::rtcp;
use socket2::SockRef;

/// Attackers come from here; the call goes on from 127.0.0.1.
const ATTACKER: Ipv4Addr = Ipv4Addr::new(127, 0, 5, 1);

/// Megabytes that the whole process, gateway and guilds included, may grow by in the course of an attack: some hundred kilobytes for each of
/// the attackers that are there at a time.
const GROWTH_MIB_MAX: u64 = 48;

/// What a process has of the machine's memory now.
fn resident_mib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the process lives");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("Linux says so");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") / 1_024
}

fn gauge(server: &Server, name: &str) -> u64 {
    let page = wire::http(server, Ipv4Addr::LOCALHOST, None, "GET /metrics", None).text;
    let lines = page.lines().filter(|line| line.starts_with(name));
    lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum::<f64>() as u64
}

fn attackers(call: &Call, accounts: std::ops::Range<usize>) -> Vec<(Raw, Page)> {
    accounts
        .map(|n| {
            let mut raw = Raw::connect(&call.server, &call.server.user(n), ATTACKER);
            let page = Page::join(&call.server, &mut raw, &call.channel);
            (raw, page)
        })
        .collect()
}

#[test]
fn handshakes_that_are_never_finished_cost_little_and_end() {
    const ATTACKERS: usize = 40;
    /// Fewer than the messages that a client may send at once.
    const ROUNDS: usize = 30;
    let call = Call::start(2 + ATTACKERS);
    let server = &call.server;
    let mut random = StdRng::seed_from_u64(11);
    let mut pages = attackers(&call, 2..2 + ATTACKERS);
    // One round, so that what everybody needs once is there.
    attack(&mut pages, &mut random);
    let before = resident_mib(server.process.pid());
    let mut most = 0;
    for _ in 1..ROUNDS {
        for (raw, page) in &mut pages {
            // Whose engine found that nothing can come of it was sent to join anew.
            if !page.select_again() {
                *page = Page::join(server, raw, &call.channel);
            }
        }
        attack(&mut pages, &mut random);
        most = most.max(gauge(server, "guildhall_voice_dtls_engines"));
    }
    let after = resident_mib(server.process.pid());
    println!(
        "{} handshakes: {most} engines at most, {before} MiB before, {after} MiB after",
        ATTACKERS * ROUNDS
    );
    assert!(most <= ATTACKERS as u64, "{most} engines of {ATTACKERS} legs");
    assert!(most >= ATTACKERS as u64 / 4, "the attack reaches its aim: {most}");
    assert!(after <= before + GROWTH_MIB_MAX, "{before} MiB before, {after} MiB after");
    // Half of them leave, the others stay and say nothing: the engines end either way.
    pages.truncate(ATTACKERS / 2);
    until_no_engine_is_left(server);
    call.end();
}

/// How long an engine waits for the rest of a handshake, with time for a busy machine.
const ENGINE_ENDS: Duration = Duration::from_secs(20 + 20);

fn until_no_engine_is_left(server: &Server) {
    let deadline = Instant::now() + ENGINE_ENDS;
    while gauge(server, "guildhall_voice_dtls_engines") > 0 {
        assert!(Instant::now() < deadline, "engines never end");
        // A number on a page announces nothing, so it is looked at again.
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// A check that is good, and then anything but a handshake.
fn attack(pages: &mut [(Raw, Page)], random: &mut StdRng) {
    for (n, (_, page)) in pages.iter_mut().enumerate() {
        page.establish();
        let hello = page.hello();
        match n % 4 {
            // The beginning, and then silence.
            0 => drop(page.link.send(&hello)),
            // The beginning again and again, each time a little different.
            1 => {
                for _ in 0..30 {
                    let mut changed = hello.clone();
                    let at = random.random_range(13..changed.len());
                    changed[at] ^= 1 << random.random_range(0..8);
                    page.link.send(&changed);
                }
            }
            // Records of every kind with garbage in them.
            2 => {
                for first in 20..50 {
                    let mut record = vec![0; random.random_range(13..1_200)];
                    random.fill(&mut record[..]);
                    record[..3].copy_from_slice(&[first, 0xFE, 0xFD]);
                    page.link.send(&record);
                }
            }
            // Parts of a message that is said to be enormous.
            _ => {
                for part in 0..30_u8 {
                    let header = [&[22, 0xFE, 0xFD, 0, 0, 0, 0, 0, 0, 0, part][..], &[4, 12]].concat();
                    let piece =
                        [&[1, 0xFF, 0xFF, 0xFF, 0, 0, 0, part * 4, 0, 0, 4, 0][..], &[7; 1_024]].concat();
                    page.link.send(&[header, piece].concat());
                }
            }
        }
    }
}

#[test]
fn who_shows_another_certificate_hears_nothing_and_is_sent_to_join_anew() {
    let call = Call::start(3);
    let mut raw = Raw::connect(&call.server, &call.server.user(2), ATTACKER);
    for _ in 0..3 {
        let ticket = raw.ticket(&call.channel);
        let mut page = Page::follow(&call.server, &raw, &ticket, Some(Fingerprint([7; 32])));
        page.establish();
        assert!(!page.try_hands(Duration::from_secs(1)), "keys for somebody else's certificate");
        assert_eq!(page.wire.close_code(), Some(4009));
        assert_eq!(page.heard.len(), 0);
    }
    assert_eq!(gauge(&call.server, "guildhall_voice_handshakes_failed_total"), 3);
    // With its own certificate it comes in as anybody.
    let ticket = raw.ticket(&call.channel);
    let mut page = Page::follow(&call.server, &raw, &ticket, None);
    page.connect();
    page.hear("the tone", |page| page.heard.len() >= 10);
    call.end();
}

#[test]
fn selecting_without_end_is_a_flood() {
    let call = Call::start(3);
    let (mut raw, mut page) = attackers(&call, 2..3).pop().expect("there is one");
    let select = serde_json::json!({"op": 1, "d": {
        "protocol": "webrtc", "data": e2e::page::fragment(Fingerprint([9; 32])),
    }});
    for _ in 0..200 {
        page.wire.send(&select);
    }
    assert_eq!(page.wire.close_code(), Some(4021));
    until_no_engine_is_left(&call.server);
    let mut page = Page::join(&call.server, &mut raw, &call.channel);
    page.connect();
    call.end();
}

#[test]
fn floods_of_checks_and_reports_are_borne() {
    const PORTS: usize = 200;
    let call = Call::start(4);
    let server = &call.server;
    let mut pages = attackers(&call, 2..4);
    let (_other_raw, mut other) = pages.pop().expect("two came");
    let (_raw, mut page) = pages.pop().expect("two came");
    page.connect();
    page.hear("the tone", |page| page.heard.len() >= 10);
    let before = Sums::read(server);
    let memory = resident_mib(server.process.pid());

    // Checks for a transport that exists, without its password, from many ports: not one is answered.
    let wrong = page.check_with("not the password");
    let mut changed = page.check();
    changed[40] ^= 1;
    let ports: Vec<UdpSocket> =
        (0..PORTS).map(|_| UdpSocket::bind((ATTACKER, 0)).expect("ports are to be had")).collect();
    for _ in 0..10 {
        for burst in ports.chunks(32) {
            for port in burst {
                port.send_to(&wrong, page.server.address).expect("loopback takes datagrams");
                port.send_to(&changed, page.server.address).expect("loopback takes datagrams");
            }
            // What the relay has answered to one, it has read of all.
            other.establish();
        }
    }
    for port in &ports {
        port.set_nonblocking(true).expect("a socket takes options");
        assert!(port.recv(&mut [0; 100]).is_err(), "an answer to a stranger");
    }

    // Reports over a session that lives: true ones, ones that lie, ones that are cut, and nonsense under a good seal.
    let mut random = StdRng::seed_from_u64(5);
    for n in 0..2_000_u32 {
        let mut plain = vec![0; 200];
        let mut len = rtcp::write_receiver_report(page.ssrc, &[], &mut plain).expect("it fits");
        match n % 4 {
            0 => {}
            1 => {
                // A count of blocks that are not there.
                plain[0] |= 31;
            }
            2 => {
                len = 100;
                random.fill(&mut plain[8..len]);
            }
            _ => {
                plain[1] = random.random_range(200..=207);
                plain[2..4].copy_from_slice(&random.random::<u16>().to_be_bytes());
            }
        }
        let report = page.report(&plain[..len]);
        page.link.send(&report);
        if n % 3 == 0 {
            // The same again: it was true once.
            page.link.send(&report);
        }
        if n % 64 == 0 {
            page.establish();
        }
    }
    page.heard.clear();
    page.hear("the tone after it all", |page| page.heard.len() >= 50);
    Sums::conserved_after(server, before.unwanted() + (PORTS * 20) as u64);
    let after = resident_mib(server.process.pid());
    assert!(after <= memory + GROWTH_MIB_MAX, "{memory} MiB before, {after} MiB after");
    call.end();
}

#[test]
fn a_flood_over_tcp_is_slowed_and_harms_nobody() {
    let call = Call::start(4);
    let server = &call.server;
    let mut pages = attackers(&call, 2..4);
    let (_raw, mut page) = pages.pop().expect("two came");
    let (_other_raw, mut other) = pages.pop().expect("two came");
    other.connect();
    page.connect_tcp();
    page.connect();
    let memory = resident_mib(server.process.pid());
    let Link::Tcp { stream, .. } = &page.link else { panic!("it came over TCP") };
    SockRef::from(stream).set_send_buffer_size(16 << 10).expect("a socket takes options");
    // As fast as it goes: the kernels take some, and then as many as the server reads.
    let garbage = vec![0x80; 1_000];
    let started = Instant::now();
    let mut sent = 0;
    while started.elapsed() < Duration::from_secs(4) {
        assert!(page.link.send(&garbage), "it is slowed, not dropped");
        sent += 1;
    }
    println!("{sent} packets in {:?}", started.elapsed());
    assert!(sent < 4 * 600 + 300 + 500, "{sent} packets were taken in {:?}", started.elapsed());
    other.heard.clear();
    other.hear("the tone beside it", |page| page.heard.len() >= 100);
    let heard = &other.heard;
    assert!(heard.iter().zip(heard.iter().skip(1)).all(|(a, b)| b.seq.0 == a.seq.0 + 1), "{heard:?}");
    // The flooder comes to an end of what it said, and is as welcome as before.
    let deadline = Instant::now() + WITHIN;
    page.heard.clear();
    while page.heard.len() < 50 {
        assert!(Instant::now() < deadline, "it hears nothing any more");
        page.take_in(Duration::from_millis(100));
    }
    let after = resident_mib(server.process.pid());
    assert!(after <= memory + GROWTH_MIB_MAX, "{memory} MiB before, {after} MiB after");
    call.end();
}
