//! Every mode against packets made by OpenSSL and libsodium (see scripts/make_vectors.py), both ways.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use transport::{Key, Mode, NonceCounter, OpenError, ReplayWindow, Session};

struct Vector {
    name: String,
    rtcp: bool,
    key: Key,
    plain: Vec<u8>,
    sealed: Vec<u8>,
    counter: Option<u32>,
    salt: [u8; 16],
}

fn vectors(mode: Mode) -> Vec<Vector> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("vectors/{mode}.txt"));
    let text = fs::read_to_string(path).expect("every mode has vectors");
    text.split("\n\n").skip(1).map(vector).collect()
}

fn vector(text: &str) -> Vector {
    let fields: HashMap<&str, Vec<u8>> = text
        .lines()
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (name, hex::decode(value).expect("hexadecimal")))
        .collect();
    let array = |name: &str| fields.get(name).map(|bytes| bytes[..].try_into().expect("its length"));
    Vector {
        name: String::from_utf8(fields["name"].clone()).expect("text"),
        rtcp: fields["kind"] == b"rtcp",
        key: Key::new(fields["key"][..].try_into().expect("32 bytes")),
        plain: fields["plain"].clone(),
        sealed: fields["sealed"].clone(),
        counter: fields.get("counter").map(|b| u32::from_be_bytes(b[..].try_into().expect("4 bytes"))),
        salt: array("salt").unwrap_or_default(),
    }
}

/// A session that is about to make the very nonce of the vector.
fn sender(mode: Mode, vector: &Vector) -> Session {
    Session::new(mode, &vector.key, NonceCounter::client(vector.counter.unwrap_or(0)), vector.salt)
}

fn receiver(mode: Mode, vector: &Vector) -> Session {
    Session::new(mode, &vector.key, NonceCounter::server(99), [0xEE; 16])
}

fn open(session: &mut Session, rtcp: bool, buf: &mut [u8]) -> Result<usize, OpenError> {
    if rtcp {
        return session.open_rtcp(buf);
    }
    let mut window = ReplayWindow::new();
    let opened = session.open_rtp(buf, &mut window);
    assert_eq!(window.highest().is_some(), opened.is_ok(), "only what authenticates changes the window");
    opened.map(|opened| opened.len)
}

fn modes() -> impl Iterator<Item = Mode> {
    Mode::ALL.into_iter().chain([Mode::Aes256Gcm])
}

#[test]
fn sealing_makes_the_same_bytes() {
    for mode in modes() {
        for vector in vectors(mode) {
            let mut buf = vec![0xAA; vector.plain.len() + Mode::OVERHEAD_MAX];
            buf[..vector.plain.len()].copy_from_slice(&vector.plain);
            let mut session = sender(mode, &vector);
            let seal = if vector.rtcp { Session::seal_rtcp } else { Session::seal_rtp };
            let len = seal(&mut session, &mut buf, vector.plain.len()).expect("it is sealed");
            assert_eq!(buf[..len], vector.sealed, "{mode}: {}", vector.name);
            assert!(buf[len..].iter().all(|byte| *byte == 0xAA), "{mode}: written past the end");
        }
    }
}

#[test]
fn opening_gives_the_plain_packet() {
    for mode in modes() {
        let all = vectors(mode);
        assert!(all.len() >= 8, "{mode} has only {} vectors", all.len());
        for vector in all {
            let mut buf = vector.sealed.clone();
            let len = open(&mut receiver(mode, &vector), vector.rtcp, &mut buf).expect("it opens");
            assert_eq!(buf[..len], vector.plain, "{mode}: {}", vector.name);
        }
    }
}

#[test]
fn the_parts_of_an_opened_packet() {
    for mode in modes() {
        let vector = vectors(mode).into_iter().find(|v| v.name == "csrcs-extension-padding").expect("there");
        let mut buf = vector.sealed.clone();
        let opened = receiver(mode, &vector).open_rtp(&mut buf, &mut ReplayWindow::new()).expect("it opens");
        assert_eq!((opened.header_len, opened.body.clone()), (32, 32..49));
        assert_eq!(opened.seq.wire(), 65535);
        assert_eq!(opened.nonce, vector.counter);
        let packet = rtp_wire::Packet::parse(&buf[..opened.len]).expect("it is RTP");
        assert_eq!(packet.extensions().and_then(|all| all.get(1)), Some(&[0x7F][..]));
        assert_eq!(packet.padding_len(), 4);
    }
}

/// From where on a packet is authenticated. Secretbox leaves the readable header out, which is how these
/// modes were defined; only where the header is the nonce itself does a change to it show.
fn authenticated_from(mode: Mode, vector: &Vector) -> usize {
    let header = rtp_wire::RtpHeader::parse(&vector.plain);
    match mode {
        Mode::XSalsa20Poly1305LiteRtpsize | Mode::XSalsa20Poly1305Lite | Mode::XSalsa20Poly1305Suffix
            if vector.rtcp =>
        {
            8
        }
        Mode::XSalsa20Poly1305LiteRtpsize => header.expect("it is RTP").rtpsize_len(),
        Mode::XSalsa20Poly1305Lite | Mode::XSalsa20Poly1305Suffix => 12,
        Mode::Aes256GcmRtpsize
        | Mode::XChaCha20Poly1305Rtpsize
        | Mode::XSalsa20Poly1305
        | Mode::Aes256Gcm => 0,
    }
}

#[test]
fn any_changed_byte_is_noticed() {
    for mode in modes() {
        for vector in vectors(mode) {
            for at in authenticated_from(mode, &vector)..vector.sealed.len() {
                for flip in [0x01, 0x80] {
                    let mut buf = vector.sealed.clone();
                    buf[at] ^= flip;
                    let result = open(&mut receiver(mode, &vector), vector.rtcp, &mut buf);
                    assert!(result.is_err(), "{mode}: {} opened with byte {at} changed", vector.name);
                }
            }
        }
    }
}

#[test]
fn any_cut_is_noticed() {
    for mode in modes() {
        for vector in vectors(mode) {
            for len in 0..vector.sealed.len() {
                let mut buf = vector.sealed[..len].to_vec();
                let result = open(&mut receiver(mode, &vector), vector.rtcp, &mut buf);
                assert!(result.is_err(), "{mode}: {} opened with {len} bytes", vector.name);
            }
            let mut longer = vector.sealed.clone();
            longer.push(0);
            assert!(open(&mut receiver(mode, &vector), vector.rtcp, &mut longer).is_err());
        }
    }
}

#[test]
fn another_key_opens_nothing() {
    for mode in modes() {
        for vector in vectors(mode) {
            let mut other = *vector.key.expose();
            other[31] ^= 1;
            let mut session = Session::new(mode, &Key::new(other), NonceCounter::server(99), [0; 16]);
            let mut buf = vector.sealed.clone();
            assert_eq!(open(&mut session, vector.rtcp, &mut buf), Err(OpenError::Auth));
        }
    }
}

#[test]
fn hostile_bytes_hold() {
    for mode in modes() {
        for vector in vectors(mode) {
            transport::fuzz::fuzz_open(&vector.sealed);
            transport::fuzz::fuzz_round_trip(&vector.plain);
        }
    }
}

proptest::proptest! {
    #[test]
    fn random_bytes_hold(mut data in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300), rtp: bool) {
        if rtp && !data.is_empty() {
            data[0] = 0x80 | data[0] & 0x3F;
        }
        transport::fuzz::fuzz_open(&data);
        transport::fuzz::fuzz_round_trip(&data);
    }
}
