use std::net::{SocketAddr, UdpSocket};
use std::time::Instant;

use super::{Maps, Shield, Shielded, bpf, program, unshield};
use crate::limits::{SHIELD_ELSEWHERE_PER_S, SHIELD_INTRODUCTIONS_PER_S, SHIELD_STRANGERS_PER_S};

const SSRC: u32 = 0x0102_0304;

struct Wire {
    shield: Shield,
    socket: UdpSocket,
    client: UdpSocket,
}

impl Wire {
    /// A socket with a shield, and a client of which it knows nothing.
    fn new(addr: &str, client: &str) -> Self {
        let socket = crate::bind(addr.parse().unwrap()).unwrap();
        crate::set_buffers(&socket, 8 << 20, 1 << 20).unwrap();
        let shield = Shield::new().unwrap();
        shield.attach(&socket).unwrap();
        Self { shield, socket, client: UdpSocket::bind(client).unwrap() }
    }

    fn to(&self) -> SocketAddr {
        let at = self.client.local_addr().unwrap();
        SocketAddr::new(at.ip(), self.socket.local_addr().unwrap().port())
    }

    /// How many of `count` such datagrams came. On the loopback a datagram has come, or not, when it has been sent.
    fn pass(&self, datagram: &[u8], count: usize) -> usize {
        (0..count).filter(|_| self.passes(datagram)).count()
    }

    fn passes(&self, datagram: &[u8]) -> bool {
        self.client.send_to(datagram, self.to()).unwrap();
        let mut came = [0; 256];
        match self.socket.recv_from(&mut came) {
            Ok((len, _)) => {
                assert_eq!(&came[..len], datagram);
                true
            }
            Err(error) => {
                assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
                false
            }
        }
    }
}

fn padded(head: &[u8], len: usize) -> Vec<u8> {
    let mut datagram = head.to_vec();
    datagram.resize(len, 0);
    datagram
}

fn rtp(ssrc: u32) -> Vec<u8> {
    let mut datagram = padded(&[0x90, 0x78, 0, 1, 0, 0, 3, 192], 60);
    datagram[8..12].copy_from_slice(&ssrc.to_be_bytes());
    datagram
}

fn rtcp(ssrc: u32) -> Vec<u8> {
    let mut datagram = padded(&[0x80, 201, 0, 1], 60);
    datagram[4..8].copy_from_slice(&ssrc.to_be_bytes());
    datagram
}

fn discovery(ssrc: u32) -> Vec<u8> {
    let mut datagram = padded(&[0, 1, 0, 70], 74);
    datagram[4..8].copy_from_slice(&ssrc.to_be_bytes());
    datagram
}

/// A browser's check, which calls us so.
fn check(name: &str) -> Vec<u8> {
    let mut datagram = padded(&[0, 1, 0, 80, 0x21, 0x12, 0xA4, 0x42], 20);
    datagram.extend_from_slice(&[0, 6, 0, 13]);
    datagram.extend_from_slice(format!("{name}:abcd").as_bytes());
    datagram.resize(100, 0);
    datagram
}

#[test]
fn the_kernel_takes_the_program() {
    let maps = Maps::new().unwrap();
    let mut log = Vec::new();
    let loaded = bpf::load(&program::assemble(&maps), Some(&mut log));
    let log = String::from_utf8_lossy(&log);
    assert!(loaded.is_ok(), "{:?}: {}", loaded.err(), log.trim_end_matches('\0'));
}

#[test]
fn what_nobody_sends_is_dropped_and_counted() {
    let wire = Wire::new("127.0.0.1:0", "127.0.0.1:0");
    let malformed: &[(&str, Vec<u8>)] = &[
        ("nothing", vec![]),
        ("a stranger's keepalive", vec![1; 8]),
        ("short", padded(&[0x80, 0x78], 16)),
        ("neither STUN nor discovery", padded(&[0, 1, 0, 70], 73)),
        ("an answer of discovery", padded(&[0, 2, 0, 70], 74)),
        ("half a STUN header", padded(&[0, 1, 0, 0, 0x21, 0x12, 0xA4, 0x42], 19)),
        ("another cookie", padded(&[0, 1, 0, 0, 0x21, 0x12, 0xA4, 0x43], 40)),
        ("ZRTP", padded(&[16], 40)),
        ("TURN", padded(&[64], 40)),
        ("a later version of RTP", padded(&[192], 40)),
    ];
    for (what, datagram) in malformed {
        assert_eq!(wire.pass(datagram, 1), 0, "{what}");
    }
    let drops = Shielded { malformed: malformed.len() as u64, ..Shielded::default() };
    assert_eq!(wire.shield.shielded().unwrap(), drops);
    assert_eq!(crate::kernel_drops(&wire.socket).unwrap(), malformed.len() as u32);
    for (what, datagram) in [
        ("STUN", padded(&[0, 1, 0, 0, 0x21, 0x12, 0xA4, 0x42], 20)),
        ("discovery", padded(&[0, 1, 0, 70], 74)),
        ("DTLS", padded(&[22, 0xFE, 0xFD], 17)),
        ("DTLS", padded(&[63], 17)),
        ("RTP", rtp(SSRC)),
        ("RTCP", rtcp(SSRC)),
    ] {
        assert_eq!(wire.pass(&datagram, 1), 1, "{what} of somebody who may be known in a moment");
    }
    assert_eq!(wire.shield.shielded().unwrap(), drops);
}

/// In a stretch of 2^27 ns as many are let through as the rate says, and the rest is dropped.
fn is_bounded(wire: &Wire, datagram: &[u8], per_s: u64, is_shared: bool) -> u64 {
    const STRETCH_S: f64 = (1u64 << 27) as f64 / 1e9;
    let in_a_stretch = (per_s as f64 * STRETCH_S) as usize;
    let count = 8 * in_a_stretch;
    let start = Instant::now();
    let passed = wire.pass(datagram, count);
    let stretches = 2 + (start.elapsed().as_secs_f64() / STRETCH_S) as usize;
    // A bucket that others share may have been used up before.
    assert!(is_shared || passed >= in_a_stretch, "{passed} of {count}");
    assert!(passed <= stretches * in_a_stretch, "{passed} of {count}");
    assert!(passed < count, "the test is too slow to see a bound");
    (count - passed) as u64
}

#[test]
fn so_many_strangers_are_let_through_and_whoever_is_known() {
    for (addr, client) in [
        ("127.0.0.1:0", "127.0.0.1:0"),
        ("[::]:0", "127.0.0.1:0"),
        ("[::]:0", "[::1]:0"),
        ("[::1]:0", "[::1]:0"),
    ] {
        let wire = Wire::new(addr, client);
        let stun = padded(&[0, 1, 0, 0, 0x21, 0x12, 0xA4, 0x42], 100);
        let expect = Shielded {
            malformed: 0,
            strangers: is_bounded(&wire, &rtp(SSRC + 1), SHIELD_STRANGERS_PER_S, false),
            introductions: [&stun, &check("Nobody00"), &discovery(SSRC + 1)]
                .map(|datagram| is_bounded(&wire, datagram, SHIELD_INTRODUCTIONS_PER_S, true))
                .iter()
                .sum(),
            elsewhere: {
                (0..3).for_each(|n| wire.shield.set_stream(SSRC + 2 * n, true).unwrap());
                wire.shield.set_name("+Alice/0", true).unwrap();
                [&rtp(SSRC), &rtcp(SSRC + 2), &discovery(SSRC + 4), &check("+Alice/0")]
                    .map(|datagram| is_bounded(&wire, datagram, SHIELD_ELSEWHERE_PER_S, false))
                    .iter()
                    .sum()
            },
        };
        assert_eq!(wire.shield.shielded().unwrap(), expect, "{addr} {client}");

        // As the process sees it: a socket of both families shows IPv4 addresses as IPv6 ones.
        wire.socket.set_nonblocking(false).unwrap();
        wire.shield.set_address(wire.client.local_addr().unwrap(), true).unwrap();
        wire.client.send_to(&[7; 9], wire.to()).unwrap();
        let (_, from) = wire.socket.recv_from(&mut [0; 64]).unwrap();
        wire.socket.set_nonblocking(true).unwrap();
        wire.shield.set_address(wire.client.local_addr().unwrap(), false).unwrap();
        assert!(!wire.passes(&[7; 9]));
        wire.shield.set_address(from, true).unwrap();
        for datagram in [rtp(SSRC), rtp(SSRC + 1), stun, vec![], vec![7; 9]] {
            assert_eq!(wire.pass(&datagram, 1_000), 1_000, "{addr} {client}");
        }
        wire.shield.set_address(from, false).unwrap();
        wire.shield.set_address(from, false).unwrap();
        assert!(!wire.passes(&[7; 9]));
        unshield(&wire.socket).unwrap();
        unshield(&wire.socket).unwrap();
        assert!(wire.passes(&[7; 9]));
    }
}
