//! Prints nanoseconds a packet for every mode and every SRTP profile: sealing, and opening what was sealed, over a thousand keys in
//! turn, the minimum of many short rounds. Wall time means little on a busy machine, so only the best round
//! counts.
//!
//! `cargo run -p transport --example bench`

use std::hint::black_box;
use std::time::Instant;

use rtp_wire::{RtpHeader, SeqNo};
use transport::{DtlsRole, Key, Mode, NonceCounter, ReplayWindow, Session, Srtp, SrtpProfile};

const KEYS: usize = 1000;
const ROUNDS: usize = 200;
const HEADER_LEN: usize = 12;

/// As many as one system call takes, so that buffers stay in the cache and keys do not.
const BATCH: usize = 64;

/// Two ends and what the second one has seen.
struct Leg<S> {
    sender: S,
    receiver: S,
    window: ReplayWindow,
}

fn main() {
    println!("{:34} {:>6} {:>9} {:>9}", "mode", "bytes", "seal ns", "open ns");
    for payload in [120, 1160] {
        for mode in Mode::ALL {
            let seal =
                |end: &mut Session, buf: &mut [u8], len, _| end.seal_rtp(buf, len).expect("it is sealed");
            let times = measure(
                payload,
                |at| native(mode, at),
                seal,
                |end, buf, window| {
                    black_box(end.open_rtp(buf, window).expect("it opens"));
                },
            );
            print(mode.name(), payload, times);
        }
        for profile in SrtpProfile::ALL {
            let seal = |end: &mut Srtp, buf: &mut [u8], len, index| {
                end.seal_rtp(buf, len, index).expect("it is sealed")
            };
            let times = measure(
                payload,
                |at| browser(profile, at),
                seal,
                |end, buf, window| {
                    black_box(end.open_rtp(buf, window).expect("it opens"));
                },
            );
            print(profile.name(), payload, times);
        }
    }
}

fn print(name: &str, payload: usize, (seal, open): (f64, f64)) {
    println!("{name:34} {payload:6} {seal:9.0} {open:9.0}");
}

fn measure<S>(
    payload: usize,
    leg: impl FnMut(usize) -> Leg<S>,
    seal_one: impl Fn(&mut S, &mut [u8], usize, SeqNo) -> usize,
    open_one: impl Fn(&mut S, &mut [u8], &mut ReplayWindow),
) -> (f64, f64) {
    let mut legs: Vec<Leg<S>> = (0..KEYS).map(leg).collect();
    let mut slots = vec![([0u8; 2048], 0); BATCH];
    let (mut seal, mut open) = (f64::MAX, f64::MAX);
    for round in 0..ROUNDS {
        for legs in legs.chunks_mut(BATCH) {
            let count = legs.len() as f64;
            let begin = Instant::now();
            for (leg, (buf, len)) in legs.iter_mut().zip(&mut slots) {
                let index = SeqNo(round as u64);
                let header = RtpHeader { seq: index.wire(), ..RtpHeader::default() };
                header.write(&[], buf).expect("it fits");
                *len = seal_one(&mut leg.sender, buf, HEADER_LEN + payload, index);
            }
            let sealed = Instant::now();
            for (leg, (buf, len)) in legs.iter_mut().zip(&mut slots) {
                open_one(&mut leg.receiver, &mut buf[..*len], &mut leg.window);
            }
            open = open.min(sealed.elapsed().as_nanos() as f64 / count);
            seal = seal.min((sealed - begin).as_nanos() as f64 / count);
        }
    }
    (seal, open)
}

fn native(mode: Mode, at: usize) -> Leg<Session> {
    let key = Key::new([at as u8; Key::LEN]);
    Leg {
        sender: Session::new(mode, &key, NonceCounter::client(0), [1; 16]),
        receiver: Session::new(mode, &key, NonceCounter::server(1 << 31), [2; 16]),
        window: ReplayWindow::new(),
    }
}

fn browser(profile: SrtpProfile, at: usize) -> Leg<Srtp> {
    let material = vec![at as u8; profile.keying_material_len()];
    let end = |role| Srtp::new(profile, &material, role).expect("it has the profile's length");
    Leg { sender: end(DtlsRole::Client), receiver: end(DtlsRole::Server), window: ReplayWindow::new() }
}
