//! The media loop: speakers send on schedule, everyone's socket is drained each millisecond.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rtp_wire::rtcp;
use rtp_wire::{Kind, OPUS_PAYLOAD_TYPE, Packet, RtpHeader, RtpTime, SeqNo, SeqUnwrapper, Ssrc, classify};
use transport::{Mode, ReplayWindow, Session};
use udp_io::RecvBatch;

use crate::histogram::Histogram;
use crate::join::Participant;
use crate::limits::{FRAME, FRAME_SAMPLES, KEEPALIVE, OPEN_EVERY, PAYLOAD, TAIL, TICK};
use crate::workload::Shape;

#[derive(Debug, Clone)]
pub struct Settings {
    pub shape: Shape,
    pub duration: Duration,
    pub sfu_pids: Vec<u32>,
}

/// What a run showed.
#[derive(Debug, Clone, Default)]
pub struct Measured {
    pub sent: u64,
    pub expected: u64,
    pub received: u64,
    pub duplicates: u64,
    pub delay: Histogram,
    pub longest_gap: Duration,
    /// Packets the generator's own socket refused.
    pub generator_dropped: u64,
    /// How late a packet was sent at the worst.
    pub generator_late: Duration,
    pub sfu_cpu: Duration,
    pub elapsed: Duration,
    /// Packets that did not open: must be none.
    pub unopened: u64,
}

/// How the packets travel: through the server, sealed, or through the floor relay, as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Path {
    Server,
    Floor(SocketAddr),
}

struct Sender {
    next: SeqNo,
    time: RtpTime,
    due: Instant,
}

/// One listener's view of one speaker.
#[derive(Default)]
struct Heard {
    unwrapper: SeqUnwrapper,
    received: u64,
    last: Option<Instant>,
    window: Option<ReplayWindow>,
    highest: Option<SeqNo>,
}

pub async fn run_on_thread(
    mut participants: Vec<Participant>,
    settings: Settings,
) -> anyhow::Result<(Vec<Participant>, Measured)> {
    tokio::task::spawn_blocking(move || {
        let measured = run(&mut participants, &settings, Path::Server)?;
        anyhow::Ok((participants, measured))
    })
    .await
    .context("the media loop broke")?
}

pub fn run(participants: &mut [Participant], settings: &Settings, path: Path) -> anyhow::Result<Measured> {
    let mut run = Run::new(participants, settings, path);
    let mut batch = RecvBatch::new();
    let cpu_before = cpu(&settings.sfu_pids)?;
    let started = Instant::now();
    let end = started + settings.duration;
    run.start(started);
    while Instant::now() < end {
        let tick = Instant::now();
        run.send_due(participants, tick.min(end))?;
        run.drain(participants, &mut batch)?;
        std::thread::sleep(TICK.saturating_sub(tick.elapsed()));
    }
    run.measured.sfu_cpu = cpu(&settings.sfu_pids)?.saturating_sub(cpu_before);
    run.measured.elapsed = started.elapsed();
    let tail = Instant::now() + TAIL;
    while Instant::now() < tail {
        run.drain(participants, &mut batch)?;
        std::thread::sleep(TICK);
    }
    Ok(run.finish())
}

fn cpu(pids: &[u32]) -> anyhow::Result<Duration> {
    pids.iter()
        .map(|pid| udp_io::process_cpu_of(*pid).with_context(|| format!("CPU time of process {pid}")))
        .sum()
}

struct Run<'a> {
    settings: &'a Settings,
    path: Path,
    epoch: Instant,
    senders: Vec<Sender>,
    /// By speaker; the relay keeps a speaker's SSRC towards everyone.
    ssrcs: Vec<Ssrc>,
    /// listener * speakers + speaker.
    heard: Vec<Heard>,
    keepalive_due: Vec<Instant>,
    measured: Measured,
}

impl<'a> Run<'a> {
    fn new(participants: &[Participant], settings: &'a Settings, path: Path) -> Self {
        let speakers = settings.shape.speakers;
        let epoch = Instant::now();
        let sender = |n: usize| Sender { next: SeqNo(n as u64 * 1_000), time: RtpTime(n as u32), due: epoch };
        Self {
            settings,
            path,
            epoch,
            senders: (0..speakers).map(sender).collect(),
            ssrcs: participants[..speakers].iter().map(|p| p.ssrc).collect(),
            heard: (0..participants.len() * speakers).map(|_| Heard::default()).collect(),
            keepalive_due: vec![epoch; participants.len()],
            measured: Measured::default(),
        }
    }

    /// Speakers are spread over a frame, keepalives over their interval.
    fn start(&mut self, now: Instant) {
        let speakers = self.senders.len().max(1) as u32;
        for (n, sender) in self.senders.iter_mut().enumerate() {
            sender.due = now + FRAME * n as u32 / speakers;
        }
        let everyone = self.keepalive_due.len() as u32;
        for (n, due) in self.keepalive_due.iter_mut().enumerate() {
            *due = now + KEEPALIVE * n as u32 / everyone;
        }
    }

    fn send_due(&mut self, participants: &mut [Participant], now: Instant) -> anyhow::Result<()> {
        for (n, sender) in self.senders.iter_mut().enumerate() {
            while sender.due <= now {
                let late = Instant::now().saturating_duration_since(sender.due);
                self.measured.generator_late = self.measured.generator_late.max(late);
                let participant = &mut participants[n];
                let mut buffer = [0_u8; 12 + PAYLOAD + Mode::OVERHEAD_MAX];
                let sent_at = Instant::now().duration_since(self.epoch);
                let length = build(&mut buffer, sender, n, participant, sent_at, self.path)?;
                let to = if let Path::Floor(relay) = self.path { relay } else { participant.relay };
                match participant.socket.send_to(&buffer[..length], to) {
                    Ok(_) => {
                        self.measured.sent += 1;
                        self.measured.expected += self.settings.shape.listeners(n).count() as u64;
                    }
                    Err(_) => self.measured.generator_dropped += 1,
                }
                sender.next.0 += 1;
                sender.time = RtpTime(sender.time.0.wrapping_add(FRAME_SAMPLES));
                sender.due += FRAME;
            }
        }
        if self.path != Path::Server {
            return Ok(());
        }
        for (n, due) in self.keepalive_due.iter_mut().enumerate() {
            if *due <= now {
                *due += KEEPALIVE;
                let Participant { socket, relay, ssrc, session } = &mut participants[n];
                let mut buffer = [0_u8; 64];
                let length = rtcp::write_receiver_report(*ssrc, &[], &mut buffer)?;
                let length = session.seal_rtcp(&mut buffer, length)?;
                // A keepalive that is lost is followed by another.
                let _ = socket.send_to(&buffer[..length], *relay);
            }
        }
        Ok(())
    }

    fn drain(&mut self, participants: &mut [Participant], batch: &mut RecvBatch) -> anyhow::Result<()> {
        for (listener, participant) in participants.iter_mut().enumerate() {
            let Participant { socket, session, .. } = participant;
            while batch.receive(&*socket)? > 0 {
                let now = Instant::now();
                for (datagram, _) in batch.datagrams() {
                    self.take(listener, session, datagram, now);
                }
            }
        }
        Ok(())
    }

    fn take(&mut self, listener: usize, session: &mut Session, datagram: &mut [u8], now: Instant) {
        if classify(datagram) != Kind::Rtp {
            return;
        }
        let Ok(header) = RtpHeader::parse(datagram) else { return };
        let Some(speaker) = self.ssrcs.iter().position(|ssrc| *ssrc == header.ssrc) else { return };
        let heard = &mut self.heard[listener * self.senders.len() + speaker];
        let seq = heard.unwrapper.unwrap(header.seq);
        if heard.highest.is_some_and(|highest| seq <= highest) {
            self.measured.duplicates += 1;
            return;
        }
        heard.highest = Some(seq);
        heard.received += 1;
        self.measured.received += 1;
        if let Some(last) = heard.last.replace(now) {
            self.measured.longest_gap = self.measured.longest_gap.max(now.duration_since(last));
        }
        if heard.received % OPEN_EVERY != 1 {
            return;
        }
        let sent_at = match self.path {
            Path::Floor(_) => sent_at(datagram),
            Path::Server => {
                let window = heard.window.get_or_insert_with(ReplayWindow::new);
                match session.open_rtp(datagram, window) {
                    Ok(opened) => sent_at(&datagram[..opened.len]),
                    Err(_) => {
                        self.measured.unopened += 1;
                        return;
                    }
                }
            }
        };
        if let Some(sent_at) = sent_at {
            self.measured.delay.record(now.duration_since(self.epoch).saturating_sub(sent_at));
        }
    }

    fn finish(self) -> Measured {
        self.measured
    }
}

/// The payload begins with the time it was sent, so that whoever opens it knows its delay.
fn build(
    buffer: &mut [u8],
    sender: &Sender,
    speaker: usize,
    participant: &mut Participant,
    sent_at: Duration,
    path: Path,
) -> anyhow::Result<usize> {
    let header = RtpHeader {
        payload_type: OPUS_PAYLOAD_TYPE,
        seq: sender.next.wire(),
        time: sender.time,
        ssrc: participant.ssrc,
        ..RtpHeader::default()
    };
    let at = header.write(&[], buffer)?;
    buffer[at..at + 8].copy_from_slice(&(sent_at.as_nanos() as u64).to_be_bytes());
    buffer[at + 8..at + 10].copy_from_slice(&(speaker as u16).to_be_bytes());
    let plain = at + PAYLOAD;
    match path {
        Path::Server => Ok(participant.session.seal_rtp(buffer, plain)?),
        Path::Floor(_) => Ok(plain + participant.session.mode().overhead()),
    }
}

fn sent_at(packet: &[u8]) -> Option<Duration> {
    let payload = Packet::parse(packet).ok()?.payload();
    let nanos = payload.first_chunk::<8>()?;
    Some(Duration::from_nanos(u64::from_be_bytes(*nanos)))
}

/// Which speaker a packet of the floor run is from.
pub fn speaker_of(packet: &[u8]) -> Option<usize> {
    let payload = Packet::parse(packet).ok()?.payload();
    Some(usize::from(u16::from_be_bytes(*payload.get(8..10)?.first_chunk::<2>()?)))
}
