//! One connection and the local socket that it is carried over, from its first authentic check to its end.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use tokio::net::{TcpStream, UdpSocket};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::hub::sleep_until;
use crate::ice_tcp::frames::{Frames, TooLong};
use crate::ice_tcp::queue::{Dropped, SendQueue};
use crate::limits::{
    ICE_TCP_BURST, ICE_TCP_FRAME_BYTES_MAX, ICE_TCP_FRAMES_PER_S, ICE_TCP_RECEIVE_BYTES, ICE_TCP_SEND_BYTES,
    ICE_TCP_SILENCE_MAX, ICE_TCP_UNSENT_BYTES, INPUTS_PER_WAKE, WRITE_TIMEOUT,
};

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub enum End {
    #[error("the client left")]
    Left,
    #[error("the client was silent for too long")]
    ClientSilent,
    /// Its leg is gone, or is elsewhere by now.
    #[error("the relay had nothing for it for too long")]
    RelaySilent,
    #[error("the client took nothing for too long")]
    Stalled,
    #[error("the voice server ends")]
    Stopped,
    #[error(transparent)]
    TooLong(#[from] TooLong),
    #[error(transparent)]
    Io(#[from] io::Error),
}

pub struct Line {
    tcp: TcpStream,
    udp: UdpSocket,
    incoming: Frames,
    outgoing: SendQueue,
    pace: Pace,
    client_heard: Instant,
    relay_heard: Instant,
    /// The client took something then, or there was nothing for it.
    taken: Instant,
}

impl Line {
    /// The relay is at `relay`; `incoming` holds what has been read of the client.
    pub async fn open(tcp: TcpStream, relay: SocketAddr, incoming: Frames) -> io::Result<Self> {
        tcp.set_nodelay(true)?;
        udp_io::set_buffers(&tcp, ICE_TCP_RECEIVE_BYTES, ICE_TCP_SEND_BYTES)?;
        udp_io::set_unsent_max(&tcp, ICE_TCP_UNSENT_BYTES)?;
        let any = match relay {
            SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
            SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
        };
        let udp = UdpSocket::bind(any).await?;
        // From here on nobody but the relay is heard, and the kernel has given the socket the address by which the relay is reached.
        udp.connect(relay).await?;
        udp.writable().await?;
        let now = Instant::now();
        Ok(Self {
            tcp,
            udp,
            incoming,
            outgoing: SendQueue::default(),
            pace: Pace::new(now),
            client_heard: now,
            relay_heard: now,
            taken: now,
        })
    }

    /// To the relay, whose port is open as long as this process lives. What does not fit its queue is lost, as it is in a network.
    pub fn tell_relay(&self, packet: &[u8]) {
        if self.udp.try_send(packet).is_err() {
            count_dropped("relay_behind", 1);
        }
    }

    /// Carries packets both ways until one side ends it, and says why.
    pub async fn carry(mut self, stop: CancellationToken) -> End {
        let mut second = tokio::time::interval(Duration::from_secs(1));
        second.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // What came along with the first check.
        let mut result = self.take_frames(Instant::now());
        loop {
            if let Err(end) = result {
                return end;
            }
            let open_at = self.pace.closed_until(Instant::now());
            result = tokio::select! {
                ready = self.tcp.readable(), if open_at.is_none() => {
                    ready.map_err(End::from).and_then(|()| self.read(Instant::now()))
                }
                ready = self.tcp.writable(), if !self.outgoing.is_empty() => {
                    ready.map_err(End::from).and_then(|()| self.write(Instant::now()))
                }
                ready = self.udp.readable() => ready.map_err(End::from).and_then(|()| self.hear_relay(Instant::now())),
                () = sleep_until(open_at) => self.take_frames(Instant::now()),
                _ = second.tick() => self.look_at_clock(Instant::now()),
                () = stop.cancelled() => return End::Stopped,
            };
        }
    }

    fn read(&mut self, now: Instant) -> Result<(), End> {
        match self.tcp.try_read(self.incoming.space()) {
            Ok(0) => Err(End::Left),
            Ok(len) => {
                self.incoming.filled(len);
                self.take_frames(now)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// As many as its pace allows. The others wait, and before long the client with them.
    fn take_frames(&mut self, now: Instant) -> Result<(), End> {
        while self.pace.closed_until(now).is_none() {
            let Some(frame) = self.incoming.next()? else { break };
            self.pace.take(now);
            if frame.is_empty() {
                continue;
            }
            self.client_heard = now;
            if self.udp.try_send(frame).is_err() {
                count_dropped("relay_behind", 1);
            }
        }
        Ok(())
    }

    fn hear_relay(&mut self, now: Instant) -> Result<(), End> {
        let mut packet = [0; ICE_TCP_FRAME_BYTES_MAX];
        for _ in 0..INPUTS_PER_WAKE {
            let Ok(len) = self.udp.try_recv(&mut packet) else { break };
            self.relay_heard = now;
            if self.outgoing.is_empty() {
                self.taken = now;
            }
            self.outgoing.push(now, &packet[..len]);
        }
        self.write(now)
    }

    fn write(&mut self, now: Instant) -> Result<(), End> {
        loop {
            let next = self.outgoing.next(now);
            if next.is_empty() {
                break;
            }
            match self.tcp.try_write(next) {
                Ok(len) => {
                    self.outgoing.wrote(len);
                    self.taken = now;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error.into()),
            }
        }
        let Dropped { late, overflowed } = self.outgoing.take_dropped();
        count_dropped("late", late);
        count_dropped("overflowed", overflowed);
        Ok(())
    }

    fn look_at_clock(&self, now: Instant) -> Result<(), End> {
        let longer_than = |since: Instant, max: Duration| now.saturating_duration_since(since) > max;
        if longer_than(self.client_heard, ICE_TCP_SILENCE_MAX) {
            return Err(End::ClientSilent);
        }
        if longer_than(self.relay_heard, ICE_TCP_SILENCE_MAX) {
            return Err(End::RelaySilent);
        }
        if !self.outgoing.is_empty() && longer_than(self.taken, WRITE_TIMEOUT) {
            return Err(End::Stalled);
        }
        Ok(())
    }
}

/// What one connection may bring: a token bucket in units of time.
#[derive(Debug)]
struct Pace {
    /// The instant up to which its time is spent.
    spent_until: Instant,
}

const COST: Duration = Duration::from_nanos(1_000_000_000 / ICE_TCP_FRAMES_PER_S as u64);
const BURST: Duration = COST.saturating_mul(ICE_TCP_BURST);

impl Pace {
    fn new(now: Instant) -> Self {
        Self { spent_until: now.checked_sub(BURST).unwrap_or(now) }
    }

    /// When it may bring more, if not now.
    fn closed_until(&self, now: Instant) -> Option<Instant> {
        (self.spent_until > now).then_some(self.spent_until)
    }

    fn take(&mut self, now: Instant) {
        let floor = now.checked_sub(BURST).unwrap_or(self.spent_until);
        self.spent_until = self.spent_until.max(floor) + COST;
    }
}

fn count_dropped(reason: &'static str, packets: u64) {
    if packets > 0 {
        metrics::counter!("guildhall_voice_ice_tcp_packets_dropped_total", "reason" => reason)
            .increment(packets);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_taken_at_once_and_then_a_steady_rate() {
        let start = Instant::now() + Duration::from_secs(3_600);
        let mut pace = Pace::new(start);
        let taken = |pace: &mut Pace, from: Instant, period: Duration| {
            let (mut now, mut taken) = (from, 0);
            loop {
                match pace.closed_until(now) {
                    Some(at) if at > from + period => return taken,
                    Some(at) => now = at,
                    None => {
                        pace.take(now);
                        taken += 1;
                    }
                }
            }
        };
        let burst = taken(&mut pace, start, Duration::ZERO);
        assert!((ICE_TCP_BURST..=ICE_TCP_BURST + 1).contains(&burst), "{burst}");
        let steady = taken(&mut pace, start, Duration::from_secs(1));
        assert!(steady.abs_diff(ICE_TCP_FRAMES_PER_S) <= 1, "{steady}");
    }
}
