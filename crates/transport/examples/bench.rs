//! Prints nanoseconds a packet for every mode: sealing, and opening what was sealed, over a thousand keys in
//! turn, the minimum of many short rounds. Wall time means little on a busy machine, so only the best round
//! counts.
//!
//! `cargo run -p transport --example bench`

use std::hint::black_box;
use std::time::Instant;

use rtp_wire::RtpHeader;
use transport::{Key, Mode, NonceCounter, ReplayWindow, Session};

const KEYS: usize = 1000;
const ROUNDS: usize = 200;
const HEADER_LEN: usize = 12;

/// As many as one system call takes, so that buffers stay in the cache and keys do not.
const BATCH: usize = 64;

struct Leg {
    sender: Session,
    receiver: Session,
    window: ReplayWindow,
}

fn main() {
    println!("{:34} {:>6} {:>9} {:>9}", "mode", "bytes", "seal ns", "open ns");
    for mode in Mode::ALL {
        for payload in [120, 1160] {
            let (seal, open) = measure(mode, payload);
            println!("{:34} {payload:6} {seal:9.0} {open:9.0}", mode.name());
        }
    }
}

fn measure(mode: Mode, payload: usize) -> (f64, f64) {
    let mut legs: Vec<Leg> = (0..KEYS).map(|at| leg(mode, at)).collect();
    let mut slots = vec![([0u8; 2048], 0); BATCH];
    let (mut seal, mut open) = (f64::MAX, f64::MAX);
    for round in 0..ROUNDS {
        for legs in legs.chunks_mut(BATCH) {
            let count = legs.len() as f64;
            let begin = Instant::now();
            for (leg, (buf, len)) in legs.iter_mut().zip(&mut slots) {
                let header = RtpHeader { seq: round as u16, ..RtpHeader::default() };
                header.write(&[], buf).expect("it fits");
                *len = leg.sender.seal_rtp(buf, HEADER_LEN + payload).expect("it is sealed");
            }
            let sealed = Instant::now();
            for (leg, (buf, len)) in legs.iter_mut().zip(&mut slots) {
                let opened = leg.receiver.open_rtp(&mut buf[..*len], &mut leg.window);
                black_box(opened.expect("it opens"));
            }
            open = open.min(sealed.elapsed().as_nanos() as f64 / count);
            seal = seal.min((sealed - begin).as_nanos() as f64 / count);
        }
    }
    (seal, open)
}

fn leg(mode: Mode, at: usize) -> Leg {
    let key = Key::new([at as u8; Key::LEN]);
    Leg {
        sender: Session::new(mode, &key, NonceCounter::client(0), [1; 16]),
        receiver: Session::new(mode, &key, NonceCounter::server(1 << 31), [2; 16]),
        window: ReplayWindow::new(),
    }
}
