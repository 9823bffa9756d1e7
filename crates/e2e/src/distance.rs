//! A way to a server that is as long as one likes.
//!
//! Owns: connections that are passed on, each byte after half a round trip. Deliberately does not: lose or change anything.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

pub struct Distance {
    address: SocketAddr,
    round_trip_ms: Arc<AtomicU64>,
}

impl Distance {
    /// None yet, at a port of this address of the machine's.
    pub fn to(server: SocketAddr, here: Ipv4Addr) -> Self {
        let listener = TcpListener::bind((here, 0)).expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        let round_trip_ms: Arc<AtomicU64> = Arc::default();
        let known = Arc::clone(&round_trip_ms);
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let Ok(server) = TcpStream::connect(server) else { continue };
                for (from, to) in [(&client, &server), (&server, &client)] {
                    // Either end may go at any time, which ends the other.
                    let _ = carry(from, to, &known);
                }
            }
        });
        Self { address, round_trip_ms }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn set(&self, round_trip: Duration) {
        self.round_trip_ms.store(round_trip.as_millis() as u64, Ordering::Relaxed);
    }
}

fn carry(from: &TcpStream, to: &TcpStream, round_trip_ms: &Arc<AtomicU64>) -> io::Result<()> {
    let (mut from, mut to) = (from.try_clone()?, to.try_clone()?);
    to.set_nodelay(true)?;
    let round_trip_ms = Arc::clone(round_trip_ms);
    let (sender, under_way) = channel::<(Instant, Vec<u8>)>();
    thread::spawn(move || {
        let mut buffer = [0; 16_384];
        while let Ok(len @ 1..) = from.read(&mut buffer) {
            let half = Duration::from_millis(round_trip_ms.load(Ordering::Relaxed) / 2);
            if sender.send((Instant::now() + half, buffer[..len].to_vec())).is_err() {
                break;
            }
        }
    });
    thread::spawn(move || {
        for (due, bytes) in under_way {
            thread::sleep(due.saturating_duration_since(Instant::now()));
            if to.write_all(&bytes).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Both);
    });
    Ok(())
}
