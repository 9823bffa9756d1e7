//! Prints nanoseconds a packet for every mode: sealing, and opening what was sealed, over a thousand keys in turn, the
//! minimum of many short rounds. Wall time means little on a busy machine, so only the best round counts.
//!
//! `cargo run -p transport --example bench`

use std::hint::black_box;
use std::time::Instant;

use rtp_wire::RtpHeader;
use transport::{Key, Mode, NonceCounter, ReplayWindow, Session};

const KEYS: usize = 1000;
const ROUNDS: usize = 200;
const HEADER_LEN: usize = 12;

struct Leg {
    sender: Session,
    receiver: Session,
    window: ReplayWindow,
    buf: [u8; 2048],
    len: usize,
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
    let (mut seal, mut open) = (f64::MAX, f64::MAX);
    for round in 0..ROUNDS {
        let begin = Instant::now();
        for leg in &mut legs {
            let header = RtpHeader { seq: round as u16, ..RtpHeader::default() };
            header.write(&[], &mut leg.buf).expect("it fits");
            leg.len = leg.sender.seal_rtp(&mut leg.buf, HEADER_LEN + payload).expect("it is sealed");
        }
        seal = seal.min(begin.elapsed().as_nanos() as f64 / KEYS as f64);
        let begin = Instant::now();
        for leg in &mut legs {
            let opened = leg.receiver.open_rtp(&mut leg.buf[..leg.len], &mut leg.window);
            black_box(opened.expect("it opens"));
        }
        open = open.min(begin.elapsed().as_nanos() as f64 / KEYS as f64);
    }
    (seal, open)
}

fn leg(mode: Mode, at: usize) -> Leg {
    let key = Key::new([at as u8; Key::LEN]);
    Leg {
        sender: Session::new(mode, &key, NonceCounter::client(0), [1; 16]),
        receiver: Session::new(mode, &key, NonceCounter::server(1 << 31), [2; 16]),
        window: ReplayWindow::new(),
        buf: [0; 2048],
        len: 0,
    }
}
