//! One shard's thread: wait, take in, forward, tell.

use std::io;
use std::net::UdpSocket;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use sfu_core::{Memory, Shard};
use sfu_wire::{FromSfu, Hello, PROTOCOLS, Report, Retired, Start, ToSfu, Versions, WireError};
use udp_io::{Backend, Poller, RecvBatch};

use crate::control::Control;
use crate::egress::Egress;
use crate::limits::{LAST_WORDS, RECEIVE_BATCHES_A_WAKE, SOCKET_BUFFER_BYTES};
use crate::log;
use crate::nap::Naps;
use crate::shield::{Shield, counts};

const MEDIA: u64 = 0;
const CONTROL: u64 = 1;
/// Of routes and neighbours.
const NEWS: u64 = 2;

/// What the environment did to a shard. Each ends the process, which is started again.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error("media socket: {0}")]
    Socket(io::Error),
    #[error("control stream: {0}")]
    Control(io::Error),
    #[error("memory: {0}")]
    Memory(io::Error),
    #[error("waiting: {0}")]
    Wait(io::Error),
    #[error("control stream: {0}")]
    Wire(#[from] WireError),
    #[error("control stream: it does not begin with a start message")]
    NotStarted,
    #[error("signalling speaks version {0} of the protocol, and this relay {PROTOCOLS}")]
    Version(Versions),
}

/// Serves one shard until it is told to retire, or signalling has been gone for `grace`, or at once if it has no calls by then. It goes on with what its
/// predecessor left in `memory`, which from the start message on is nobody else's. What it sends leaves by `backend`; what comes is looked at in the kernel first
/// if it is shielded and this process may.
pub fn serve(
    udp: UdpSocket,
    control: UnixStream,
    memory: Option<Memory>,
    grace: Duration,
    backend: &Backend,
    is_shielded: bool,
) -> Result<(), Failure> {
    let mut poller = Poller::new().map_err(Failure::Wait)?;
    let mut control = Control::new(control).map_err(Failure::Control)?;
    poller.add(&control, CONTROL).map_err(Failure::Wait)?;
    let Some(start) = await_start(&mut poller, &mut control)? else { return Ok(()) };
    crate::owns(memory);
    udp.set_nonblocking(true).map_err(Failure::Socket)?;
    // Signalling, which made it, may have given it more, and what waits in it for us is not to be thrown away.
    if udp_io::buffers(&udp).map_err(Failure::Socket)?.recv_bytes < SOCKET_BUFFER_BYTES {
        udp_io::set_buffers(&udp, SOCKET_BUFFER_BYTES, SOCKET_BUFFER_BYTES).map_err(Failure::Socket)?;
    }
    // What another process has put there knows nobody who comes from now on.
    udp_io::unshield(&udp).map_err(Failure::Socket)?;
    let now = Instant::now();
    log::line(log::INFO, "started", format_args!("shard={} protocol={}", start.shard, start.protocol));
    let mut worker = Worker {
        shard: match memory {
            Some(memory) => Shard::with_memory(now, &start, memory),
            None => Shard::new(now, &start),
        },
        started_at: now,
        orders: Orders { control, obeyed: 0, retires: false },
        egress: Egress::new(&udp, backend).map_err(Failure::Socket)?,
        received: RecvBatch::new(),
        oversized: 0,
        overflow: Overflow::since(udp_io::kernel_drops(&udp).map_err(Failure::Socket)?),
        shield: Shield::new(is_shielded),
        unsealed: 0,
        watches_writable: false,
        is_busy: false,
    };
    if let Some(news) = worker.egress.news() {
        poller.add(&news, NEWS).map_err(Failure::Wait)?;
    }
    let mut orphaned_at = None;
    let mut naps = Naps::new(now);
    // Until it is known what to do with packets, they wait in the kernel.
    let mut takes_media = false;
    // The start message may have brought company.
    let mut ready = Woken { media: false, control: true, news: false };
    loop {
        worker.turn(&udp, &ready)?;
        if worker.orders.retires {
            return worker.retire(&udp);
        }
        if !takes_media && worker.orders.obeyed > 0 {
            takes_media = true;
            let (legs, restored) = (worker.shard.legs(), worker.shard.counters().restored);
            log::line(log::INFO, "told", format_args!("legs={legs} gone_on_with={restored}"));
            poller.add(&udp, MEDIA).map_err(Failure::Wait)?;
        }
        if !worker.orders.control.is_open() && orphaned_at.is_none() {
            poller.remove(&worker.orders.control).map_err(Failure::Wait)?;
            orphaned_at = Some(Instant::now());
            log::line(log::WARN, "signalling_gone", format_args!("legs={}", worker.shard.legs()));
        }
        let ends_at = orphaned_at.map(|at| at + grace);
        if ends_at.is_some_and(|at| Instant::now() >= at || worker.shard.legs() == 0) {
            log::line(log::INFO, "ended", format_args!("legs={}", worker.shard.legs()));
            return Ok(());
        }
        let waiting = worker.tell(&udp)?;
        worker.watch_writable(&poller, waiting)?;
        if ready.media
            && !worker.is_busy
            && let Some(nap) = naps.after(Instant::now(), worker.shard.counters().forwarded_in)
        {
            std::thread::sleep(nap);
        }
        ready = wait(&mut poller, worker.shard.poll_timeout().map(|(at, _)| at), ends_at)?;
    }
}

/// Says who it is, and waits for its turn: another relay may be at work meanwhile, with this socket and this memory.
fn await_start(poller: &mut Poller, control: &mut Control) -> Result<Option<Start>, Failure> {
    control.push(FromSfu::Hello(Hello::of_this_version()));
    control.write();
    loop {
        wait(poller, None, None)?;
        control.read();
        match control.next()? {
            Some(ToSfu::Start(start)) => {
                let theirs = start.protocols();
                let protocol = theirs.agree(PROTOCOLS).ok_or(Failure::Version(theirs))?;
                return Ok(Some(Start { protocol, ..start }));
            }
            Some(_) => return Err(Failure::NotStarted),
            None if !control.is_open() => return Ok(None),
            None => {}
        }
    }
}

/// What a wait ended with. Timers are looked at in every turn.
struct Woken {
    media: bool,
    control: bool,
    news: bool,
}

fn wait(poller: &mut Poller, timer: Option<Instant>, end: Option<Instant>) -> Result<Woken, Failure> {
    let now = Instant::now();
    let timeout = timer.into_iter().chain(end).min().map(|at| at.saturating_duration_since(now));
    let mut woken = Woken { media: false, control: false, news: false };
    for ready in poller.wait(timeout).map_err(Failure::Wait)? {
        match ready.token {
            MEDIA => woken.media = true,
            NEWS => woken.news = true,
            _ => woken.control = true,
        }
    }
    Ok(woken)
}

struct Worker<'a> {
    shard: Shard,
    started_at: Instant,
    orders: Orders,
    egress: Egress<'a>,
    received: RecvBatch,
    /// Datagrams too long for a buffer that the shard has been told of.
    oversized: u64,
    overflow: Overflow,
    shield: Shield,
    unsealed: u64,
    watches_writable: bool,
    /// So many datagrams came that more may be there by now.
    is_busy: bool,
}

/// What signalling says.
struct Orders {
    control: Control,
    /// Messages that were obeyed.
    obeyed: u64,
    /// Another process is to go on.
    retires: bool,
}

impl Orders {
    fn obey(&mut self, shard: &mut Shard, egress: &mut Egress<'_>) -> Result<(), Failure> {
        self.control.read();
        let now = Instant::now();
        while let Some(message) = self.control.next()? {
            self.obeyed += 1;
            self.retires |= matches!(message, ToSfu::Retire(_));
            if let Err(refused) = shard.handle_message(now, message, egress) {
                log::line(log::WARN, "refused", format_args!("reason={:?}", refused.to_string()));
            }
        }
        Ok(())
    }
}

impl Worker<'_> {
    /// Control first, because a mute must act within one round trip; then packets; then timers.
    fn turn(&mut self, udp: &UdpSocket, ready: &Woken) -> Result<(), Failure> {
        if ready.control {
            self.orders.obey(&mut self.shard, &mut self.egress)?;
        }
        if ready.news {
            self.egress.hear();
        }
        if ready.media && !self.orders.retires {
            self.receive(udp)?;
        }
        self.shard.handle_timeout(Instant::now(), &mut self.egress);
        self.shield.follow(udp, &mut self.shard);
        self.egress.flush().map_err(Failure::Socket)
    }

    fn receive(&mut self, udp: &UdpSocket) -> Result<(), Failure> {
        for _ in 0..RECEIVE_BATCHES_A_WAKE {
            let count = self.received.receive(udp).map_err(Failure::Socket)?;
            let now = Instant::now();
            let mut is_told = false;
            for (datagram, from) in self.received.datagrams() {
                // Whoever was told of the relay by signalling may have sent at once, and this may be the only datagram of its kind. What it
                // was told the control stream said before, so that whatever is there now is taken in first. What is usual costs no call.
                if !is_told && !self.shard.knows(from, datagram) {
                    is_told = true;
                    self.shard.finish(now, &mut self.egress);
                    self.orders.obey(&mut self.shard, &mut self.egress)?;
                }
                self.shard.take_datagram(now, from, datagram, &mut self.egress);
            }
            self.shard.finish(now, &mut self.egress);
            self.shield.follow(udp, &mut self.shard);
            self.egress.flush().map_err(Failure::Socket)?;
            // What else waits there is for the next process.
            self.is_busy = count == udp_io::limits::BATCH;
            if !self.is_busy || self.orders.retires {
                break;
            }
        }
        self.shard.handle_oversized(self.received.oversized() - self.oversized);
        self.oversized = self.received.oversized();
        Ok(())
    }

    /// Writes what signalling should know, and says whether more is waiting to be written.
    fn tell(&mut self, udp: &UdpSocket) -> Result<bool, Failure> {
        self.egress.tell();
        while self.orders.control.has_room()
            && let Some(event) = self.next_event(udp)?
        {
            self.orders.control.push(event);
        }
        Ok(self.orders.control.write())
    }

    fn next_event(&mut self, udp: &UdpSocket) -> Result<Option<FromSfu>, Failure> {
        Ok(match self.shard.poll_event() {
            Some(FromSfu::Report(report)) => {
                self.shield.raise(Instant::now(), udp, &mut self.shard);
                Some(FromSfu::Report(self.complete(udp, report)?))
            }
            event => event,
        })
    }

    /// Everything that was taken has been sent, and what a successor must know is written. Tells the rest of what there is to be told.
    fn retire(&mut self, udp: &UdpSocket) -> Result<(), Failure> {
        self.shield.retire(udp, &mut self.shard);
        while let Some(event) = self.next_event(udp)? {
            self.orders.control.push(event);
        }
        self.orders.control.push(FromSfu::Retired(Retired {}));
        log::line(log::INFO, "retired", format_args!("legs={}", self.shard.legs()));
        self.orders.control.finish(LAST_WORDS).map_err(Failure::Control)
    }

    /// Adds what only the process knows.
    fn complete(&mut self, udp: &UdpSocket, report: Report) -> Result<Report, Failure> {
        let unsealed = self.shard.counters().unsealed;
        if unsealed > self.unsealed {
            log::line(log::WARN, "unsealed", format_args!("packets={}", unsealed - self.unsealed));
            self.unsealed = unsealed;
        }
        let (sent, send_failed) = self.egress.sent_and_failed();
        // In this order, so that the difference is what has overflowed at least: the kernel counts what it turns away first there and then here.
        let kernel_drops = self.overflow.update(udp_io::kernel_drops(udp).map_err(Failure::Socket)?);
        let shielded = self.shield.shielded();
        Ok(Report {
            sent,
            send_failed,
            sent_directly: self.egress.sent_directly(),
            receive_overflow: self.overflow.beside(shielded.total(), kernel_drops),
            shielded: counts(shielded),
            is_shielded: self.shield.is_up(),
            cpu_ns: nanos(udp_io::thread_cpu()),
            uptime_ns: nanos(self.started_at.elapsed()),
            ..report
        })
    }

    /// Asks to be woken when the control stream takes more, while something is waiting for that.
    fn watch_writable(&mut self, poller: &Poller, waiting: bool) -> Result<(), Failure> {
        if waiting == self.watches_writable || !self.orders.control.is_open() {
            return Ok(());
        }
        self.watches_writable = waiting;
        poller.set_writable(&self.orders.control, CONTROL, waiting).map_err(Failure::Wait)
    }
}

/// The kernel's count of what it has dropped is of 32 bits and began when the socket was made.
struct Overflow {
    last: u32,
    total: u64,
    told: u64,
}

impl Overflow {
    fn since(count: u32) -> Self {
        Self { last: count, total: 0, told: 0 }
    }

    /// What the kernel has dropped since the shard started.
    fn update(&mut self, count: u32) -> u64 {
        self.total += u64::from(count.wrapping_sub(self.last));
        self.last = count;
        self.total
    }

    /// What of it was not turned away but overflowed. It never becomes less, whatever was counted between the two counts.
    fn beside(&mut self, shielded: u64, dropped: u64) -> u64 {
        self.told = self.told.max(dropped.saturating_sub(shielded));
        self.told
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::Overflow;

    #[test]
    fn overflows_are_counted_across_the_wrap() {
        let mut overflow = Overflow::since(u32::MAX - 1);
        assert_eq!(overflow.update(u32::MAX - 1), 0);
        assert_eq!(overflow.update(2), 4);
        assert_eq!(overflow.update(2), 4);
    }

    #[test]
    fn what_was_turned_away_is_no_overflow() {
        let mut overflow = Overflow::since(0);
        assert_eq!(overflow.beside(10, 15), 5);
        assert_eq!(overflow.beside(20, 22), 5, "three were turned away between the counts");
        assert_eq!(overflow.beside(20, 26), 6);
    }
}
