//! Every SRTP profile against packets sealed by libsrtp (see scripts/make_srtp_vectors.py), both ways.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use rtp_wire::SeqNo;
use transport::srtp::SrtpState;
use transport::{DtlsRole, OpenError, ReplayWindow, Srtp, SrtpProfile};

struct Vector {
    name: String,
    rtcp: bool,
    from: DtlsRole,
    material: Vec<u8>,
    index: u64,
    plain: Vec<u8>,
    sealed: Vec<u8>,
}

fn vectors(profile: SrtpProfile) -> Vec<Vector> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("vectors/srtp/{profile}.txt"));
    let text = fs::read_to_string(path).expect("every profile has vectors");
    let all: Vec<_> = text.split("\n\n").skip(1).map(vector).collect();
    assert!(all.len() >= 32, "{profile} has only {} vectors", all.len());
    all
}

fn vector(text: &str) -> Vector {
    let fields: HashMap<&str, Vec<u8>> = text
        .lines()
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (name, hex::decode(value).expect("hexadecimal")))
        .collect();
    Vector {
        name: String::from_utf8(fields["name"].clone()).expect("text"),
        rtcp: fields["kind"] == b"rtcp",
        from: if fields["from"] == b"client" { DtlsRole::Client } else { DtlsRole::Server },
        material: fields["material"].clone(),
        index: u64::from_be_bytes(fields["index"][..].try_into().expect("8 bytes")),
        plain: fields["plain"].clone(),
        sealed: fields["sealed"].clone(),
    }
}

fn other(role: DtlsRole) -> DtlsRole {
    match role {
        DtlsRole::Client => DtlsRole::Server,
        DtlsRole::Server => DtlsRole::Client,
    }
}

fn receiver(profile: SrtpProfile, vector: &Vector) -> Srtp {
    Srtp::new(profile, &vector.material, other(vector.from)).expect("it has the profile's length")
}

/// A window that expects the vector's number.
fn window(vector: &Vector) -> ReplayWindow {
    match vector.index.checked_sub(100) {
        Some(before) => ReplayWindow::resume(SeqNo(before)),
        None => ReplayWindow::new(),
    }
}

fn open(srtp: &mut Srtp, vector: &Vector, buf: &mut [u8]) -> Result<usize, OpenError> {
    if vector.rtcp {
        let before = srtp.state();
        let opened = srtp.open_rtcp(buf);
        assert_eq!(srtp.state() != before, opened.is_ok(), "only what authenticates is remembered");
        return opened;
    }
    let mut window = window(vector);
    let before = window;
    let opened = srtp.open_rtp(buf, &mut window);
    assert_eq!(window != before, opened.is_ok(), "only what authenticates changes the window");
    opened.map(|opened| {
        assert_eq!(opened.seq, SeqNo(vector.index), "{}", vector.name);
        opened.len
    })
}

#[test]
fn sealing_makes_the_same_bytes() {
    for profile in SrtpProfile::ALL {
        for vector in vectors(profile) {
            let mut buf = vec![0xAA; vector.plain.len() + SrtpProfile::OVERHEAD_MAX];
            buf[..vector.plain.len()].copy_from_slice(&vector.plain);
            let mut srtp = Srtp::new(profile, &vector.material, vector.from).expect("its length");
            let len = if vector.rtcp {
                srtp.restore(SrtpState { next_rtcp: vector.index as u32, ..SrtpState::default() });
                srtp.seal_rtcp(&mut buf, vector.plain.len())
            } else {
                srtp.seal_rtp(&mut buf, vector.plain.len(), SeqNo(vector.index))
            };
            let len = len.expect("it is sealed");
            assert_eq!(buf[..len], vector.sealed, "{profile}: {}", vector.name);
            assert!(buf[len..].iter().all(|byte| *byte == 0xAA), "{profile}: written past the end");
        }
    }
}

#[test]
fn opening_gives_the_plain_packet() {
    for profile in SrtpProfile::ALL {
        for vector in vectors(profile) {
            let mut buf = vector.sealed.clone();
            let len = open(&mut receiver(profile, &vector), &vector, &mut buf);
            assert_eq!(&buf[..len.expect("it opens")], vector.plain, "{profile}: {}", vector.name);
        }
    }
}

/// As one call, in libsrtp's order: windows grow with the packets, and the rollovers are found out.
#[test]
fn a_whole_call_opens() {
    for profile in SrtpProfile::ALL {
        for side in [DtlsRole::Client, DtlsRole::Server] {
            let all: Vec<_> = vectors(profile).into_iter().filter(|vector| vector.from == side).collect();
            let mut srtp = receiver(profile, &all[0]);
            let mut windows = HashMap::new();
            for vector in &all {
                let mut buf = vector.sealed.clone();
                if vector.rtcp {
                    assert!(srtp.open_rtcp(&mut buf).is_ok(), "{profile}: {}", vector.name);
                    assert_eq!(srtp.open_rtcp(&mut vector.sealed.clone()), Err(OpenError::Replay));
                    continue;
                }
                let window = windows.entry(buf[8..12].to_vec()).or_insert_with(ReplayWindow::new);
                let opened = srtp.open_rtp(&mut buf, window);
                assert_eq!(opened.map(|opened| opened.seq.0), Ok(vector.index), "{profile}: {}", vector.name);
                let again = srtp.open_rtp(&mut vector.sealed.clone(), window);
                assert_eq!(again, Err(OpenError::Replay), "{profile}: {}", vector.name);
            }
        }
    }
}

#[test]
fn the_parts_of_an_opened_packet() {
    for profile in SrtpProfile::ALL {
        let vector =
            vectors(profile).into_iter().find(|v| v.name == "csrcs-extension-padding").expect("there");
        let mut buf = vector.sealed.clone();
        let opened = receiver(profile, &vector).open_rtp(&mut buf, &mut window(&vector)).expect("it opens");
        assert_eq!((opened.header_len, opened.body.clone()), (32, 32..49));
        assert_eq!((opened.seq.wire(), opened.nonce), (32000, None));
        let packet = rtp_wire::Packet::parse(&buf[..opened.len]).expect("it is RTP");
        assert_eq!(packet.extensions().and_then(|all| all.get(1)), Some(&[0x7F][..]));
        assert_eq!(packet.padding_len(), 4);
    }
}

#[test]
fn any_changed_byte_is_noticed() {
    for profile in SrtpProfile::ALL {
        for vector in vectors(profile) {
            let mut srtp = receiver(profile, &vector);
            for at in 0..vector.sealed.len() {
                for flip in [0x01, 0x80] {
                    let mut buf = vector.sealed.clone();
                    buf[at] ^= flip;
                    let result = open(&mut srtp, &vector, &mut buf);
                    assert!(result.is_err(), "{profile}: {} opened with byte {at} changed", vector.name);
                }
            }
        }
    }
}

#[test]
fn any_cut_is_noticed() {
    for profile in SrtpProfile::ALL {
        for vector in vectors(profile) {
            let mut srtp = receiver(profile, &vector);
            for len in 0..vector.sealed.len() {
                let result = open(&mut srtp, &vector, &mut vector.sealed[..len].to_vec());
                assert!(result.is_err(), "{profile}: {} opened with {len} bytes", vector.name);
            }
            let mut longer = vector.sealed.clone();
            longer.push(0);
            assert!(open(&mut srtp, &vector, &mut longer).is_err());
        }
    }
}

/// Whose part of the keying material this byte is: first the keys, the client's before the server's, then the salts.
fn owner(profile: SrtpProfile, at: usize) -> DtlsRole {
    let (key_len, salt_len) = match profile {
        SrtpProfile::AeadAes256Gcm => (32, 12),
        SrtpProfile::AeadAes128Gcm => (16, 12),
        SrtpProfile::Aes128CmSha1_80 => (16, 14),
    };
    let part = if at < 2 * key_len { at / key_len } else { (at - 2 * key_len) / salt_len };
    if part == 0 { DtlsRole::Client } else { DtlsRole::Server }
}

#[test]
fn every_byte_of_the_senders_keys_matters_and_none_of_the_others() {
    for profile in SrtpProfile::ALL {
        for vector in vectors(profile) {
            for at in 0..vector.material.len() {
                let mut material = vector.material.clone();
                material[at] ^= 1;
                let mut srtp = Srtp::new(profile, &material, other(vector.from)).expect("its length");
                let opened = open(&mut srtp, &vector, &mut vector.sealed.clone());
                if owner(profile, at) == vector.from {
                    assert_eq!(opened, Err(OpenError::Auth), "{profile}: byte {at}");
                } else {
                    assert_eq!(opened, Ok(vector.plain.len()), "{profile}: byte {at}");
                }
            }
            let mut same = Srtp::new(profile, &vector.material, vector.from).expect("its length");
            let sent_back = open(&mut same, &vector, &mut vector.sealed.clone());
            assert_eq!(sent_back, Err(OpenError::Auth), "{profile}");
        }
    }
}

#[test]
fn hostile_bytes_hold() {
    for profile in SrtpProfile::ALL {
        for vector in vectors(profile) {
            transport::fuzz::fuzz_srtp_open(&vector.sealed);
            transport::fuzz::fuzz_srtp_round_trip(&vector.plain);
        }
    }
}

proptest::proptest! {
    #[test]
    fn random_bytes_hold(mut data in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300), rtp: bool) {
        if rtp && !data.is_empty() {
            data[0] = 0x80 | data[0] & 0x3F;
        }
        transport::fuzz::fuzz_srtp_open(&data);
        transport::fuzz::fuzz_srtp_round_trip(&data);
    }
}
