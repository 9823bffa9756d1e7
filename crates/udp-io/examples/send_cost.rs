//! What sending a packet costs, by the way it is sent: CPU time of the sending thread a packet, to live receivers on the loopback.
//!
//! `cargo run -p udp-io --example send_cost`. Sender and receivers have a core each. Some packets go out each millisecond, as a relay's do; the ways take turns,
//! and of several rounds the least counts.
#![allow(clippy::unwrap_used)]

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};
use udp_io::{RecvBatch, SendBatch, set_buffers};

const RECEIVERS: usize = 200;
const BYTES: usize = 148;
const A_MILLISECOND: usize = 40;
const LASTS: Duration = Duration::from_millis(1_500);
const ROUNDS: usize = 4;

#[derive(Clone, Copy)]
enum Way {
    /// One socket for all, an address a packet.
    Unconnected,
    /// A socket for each receiver.
    Connected,
    /// So many to each receiver in one train.
    Train(usize),
}

fn main() {
    let receivers: Vec<UdpSocket> = (0..RECEIVERS)
        .map(|_| {
            let socket = udp_io::bind("127.0.0.1:0".parse().unwrap()).unwrap();
            set_buffers(&socket, 1 << 20, 1 << 20).unwrap();
            socket
        })
        .collect();
    let to: Vec<SocketAddr> = receivers.iter().map(|socket| socket.local_addr().unwrap()).collect();
    let cores = udp_io::cores().unwrap();
    let (stop, got) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let drain = {
        let (stop, got, core) = (stop.clone(), got.clone(), cores[1 % cores.len()]);
        std::thread::spawn(move || {
            udp_io::run_thread_on(&[core]).unwrap();
            let mut batch = RecvBatch::new();
            while !stop.load(Ordering::Relaxed) {
                for socket in &receivers {
                    loop {
                        let count = batch.receive(socket).unwrap();
                        if count == 0 {
                            break;
                        }
                        got.fetch_add(count as u64, Ordering::Relaxed);
                    }
                }
                std::thread::sleep(Duration::from_millis(1));
            }
        })
    };
    udp_io::run_thread_on(&cores[..1]).unwrap();

    let ours = shared(None);
    let connected: Vec<UdpSocket> =
        to.iter().map(|to| shared(Some((ours.local_addr().unwrap(), *to)))).collect();
    let ways = [
        ("unconnected", Way::Unconnected),
        ("connected", Way::Connected),
        ("trains of 2", Way::Train(2)),
        ("trains of 3", Way::Train(3)),
        ("trains of 5", Way::Train(5)),
        ("trains of 16", Way::Train(16)),
    ];
    let mut least = [f64::INFINITY; 6];
    for _ in 0..ROUNDS {
        for (n, (_, way)) in ways.iter().enumerate() {
            least[n] = least[n].min(measure(*way, &ours, &connected, &to));
        }
    }
    stop.store(true, Ordering::Relaxed);
    drain.join().unwrap();
    println!("{:<14} {:>10} {:>8}", "way", "ns/packet", "ratio");
    for ((name, _), cost) in ways.iter().zip(least) {
        println!("{name:<14} {cost:>10.0} {:>8.2}", cost / least[0]);
    }
    println!("{} packets arrived", got.load(Ordering::Relaxed));
}

/// A socket whose address others have as well.
fn shared(connected: Option<(SocketAddr, SocketAddr)>) -> UdpSocket {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, None).unwrap();
    socket.set_reuse_port(true).unwrap();
    let from = connected.map_or("127.0.0.1:0".parse().unwrap(), |(from, _): (SocketAddr, _)| from);
    socket.bind(&from.into()).unwrap();
    if let Some((_, to)) = connected {
        socket.connect(&to.into()).unwrap();
    }
    socket.set_nonblocking(true).unwrap();
    socket.into()
}

fn measure(way: Way, ours: &UdpSocket, connected: &[UdpSocket], to: &[SocketAddr]) -> f64 {
    let mut batch = SendBatch::for_socket(ours).unwrap();
    let packet = [0x80; BYTES];
    let (mut sent, mut next) = (0_u64, 0);
    let end = Instant::now() + LASTS;
    let before = udp_io::thread_cpu();
    while Instant::now() < end {
        let mut left = A_MILLISECOND;
        while left > 0 {
            next = (next + 1) % to.len();
            let together = if let Way::Train(len) = way { len.min(left) } else { 1 };
            match way {
                Way::Connected => sent += u64::from(connected[next].send(&packet).is_ok()),
                Way::Unconnected | Way::Train(_) => {
                    for _ in 0..together {
                        if !batch.push(&packet, to[next]) {
                            sent += batch.flush(ours).unwrap().sent as u64;
                            assert!(batch.push(&packet, to[next]));
                        }
                    }
                }
            }
            left -= together;
        }
        sent += batch.flush(ours).unwrap().sent as u64;
        std::thread::sleep(Duration::from_millis(1));
    }
    (udp_io::thread_cpu() - before).as_nanos() as f64 / sent as f64
}
