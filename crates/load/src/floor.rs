//! The floor: a relay without protocol or cryptography that receives the same datagrams and sends the same number of bytes to the same
//! live receivers. What it costs is what the machine's sockets cost; everything above it is ours.
//!
//! Whoever listens as a browser is as long busy with a packet as it was in the run, because cores of one machine slow each other down.
//! To both kinds of listener a packet is as long as the server's would be. On the way to the relay it is as long as the longest of those.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use rtp_wire::Packet;
use udp_io::{Poller, RecvBatch, SendBatch};

use crate::limits::FLOOR_MAX;
use crate::media::{self, Path, Settings};
use crate::participant::{Participant, speaker_of};
use crate::processes::Processes;
use crate::tally::Measured;
use crate::workload::Shape;

/// Where a speaker's packets go, and how long they are there.
type Route = Vec<(SocketAddr, usize)>;

pub struct Floor {
    pub measured: Measured,
    pub relay_cpu: Duration,
}

/// Long enough to be known, short enough not to be waited for.
pub fn duration(run: Duration) -> Duration {
    run.min(FLOOR_MAX)
}

pub async fn measure(
    mut participants: Vec<Participant>,
    shape: &Shape,
    duration: Duration,
    core: Option<usize>,
    opening: Duration,
) -> anyhow::Result<Floor> {
    let settings = Settings { shape: shape.clone(), duration, processes: Processes::default() };
    tokio::task::spawn_blocking(move || {
        let mut routes = Vec::new();
        for speaker in &settings.shape.speakers {
            let listeners = settings.shape.listeners(*speaker).map(|l| &participants[l]);
            let to = |listener: &Participant| Ok((listener.socket.local_addr()?, listener.packet_len()));
            routes.push(listeners.map(to).collect::<std::io::Result<Route>>()?);
        }
        let here = participants.first().context("nobody takes part")?.socket.local_addr()?.ip();
        let socket = udp_io::bind(SocketAddr::from((here, 0)))?;
        udp_io::set_buffers(&socket, 4 << 20, 4 << 20)?;
        let relay = socket.local_addr()?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::Builder::new()
            .name("floor".to_owned())
            .spawn(move || {
                core.map_or(Ok(()), |core| udp_io::run_thread_on(&[core]))?;
                forward(&socket, &routes, &stopped)
            })
            .context("the floor relay's thread")?;
        let measured = media::run(&mut participants, &settings, Path::Floor { relay, opening }, None);
        stop.store(true, Ordering::Relaxed);
        let relay_cpu = thread.join().expect("the floor relay does not panic")?;
        Ok(Floor { measured: measured?, relay_cpu })
    })
    .await
    .context("the floor run broke")?
}

/// Returns the thread's CPU time.
fn forward(socket: &std::net::UdpSocket, routes: &[Route], stop: &AtomicBool) -> std::io::Result<Duration> {
    let mut poller = Poller::new()?;
    poller.add(socket, 0)?;
    let mut incoming = RecvBatch::new();
    let mut outgoing = SendBatch::for_socket(socket)?;
    let before = udp_io::thread_cpu();
    while !stop.load(Ordering::Relaxed) {
        // Wakes now and then to see whether it is over.
        let _ = poller.wait(Some(Duration::from_millis(50)))?.count();
        while incoming.receive(socket)? > 0 {
            for (datagram, _) in incoming.datagrams() {
                let speaker = Packet::parse(datagram).ok().and_then(|packet| speaker_of(packet.payload()));
                let Some(route) = speaker.and_then(|speaker| routes.get(speaker)) else { continue };
                for (to, len) in route {
                    if outgoing.is_full() {
                        outgoing.flush(socket)?;
                    }
                    let _taken = outgoing.push(&datagram[..*len], *to);
                }
            }
        }
        outgoing.flush(socket)?;
    }
    Ok(udp_io::thread_cpu().saturating_sub(before))
}
