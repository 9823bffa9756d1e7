//! The media loop: speakers send on schedule, everyone's socket is drained each millisecond.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rtp_wire::{Kind as Datagram, Packet, RtpHeader, RtpTime, SeqNo, Ssrc, classify};
use udp_io::RecvBatch;

use crate::limits::{FRAME, FRAME_SAMPLES, KEEPALIVE, LEAD, OPEN_EVERY, PACKET_MAX, TAIL, TICK};
use crate::participant::{Frame, Kind, Media, Participant, Taken, sent_at};
use crate::processes::Processes;
use crate::tally::{Gap, Heard, Measured};
use crate::workload::Shape;

#[derive(Debug, Clone)]
pub struct Settings {
    pub shape: Shape,
    pub duration: Duration,
    pub processes: Processes,
}

/// Somebody who is on another server now.
pub struct Moved {
    pub number: usize,
    pub participant: Participant,
}

/// How the packets travel: through the server, sealed, or through the floor relay, as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Path {
    Server,
    Floor {
        relay: SocketAddr,
        /// How long a browser is busy with a packet.
        opening: Duration,
    },
}

struct Sender {
    participant: usize,
    next: SeqNo,
    time: RtpTime,
    due: Instant,
    /// When its turn ends and when its next one begins; for those who take turns.
    turn: Option<(Instant, Instant)>,
    /// Who hears it, of each kind.
    natives: u64,
    browsers: u64,
}

pub async fn run_on_thread(
    mut participants: Vec<Participant>,
    settings: Settings,
    moved: Receiver<Moved>,
) -> anyhow::Result<(Vec<Participant>, Measured)> {
    tokio::task::spawn_blocking(move || {
        let measured = run(&mut participants, &settings, Path::Server, Some(&moved))?;
        anyhow::Ok((participants, measured))
    })
    .await
    .context("the media loop broke")?
}

pub fn run(
    participants: &mut [Participant],
    settings: &Settings,
    path: Path,
    moved: Option<&Receiver<Moved>>,
) -> anyhow::Result<Measured> {
    let mut run = Run::new(participants, settings, path);
    let mut batch = RecvBatch::new();
    run.drain_for(LEAD, participants, &mut batch)?;
    let (before, own_cpu_before) = (settings.processes.cpu(), udp_io::thread_cpu());
    let started = Instant::now();
    let end = started + settings.duration;
    run.start(started, participants);
    while Instant::now() < end {
        let tick = Instant::now();
        for moved in moved.into_iter().flat_map(Receiver::try_iter) {
            run.replace(participants, &settings.shape, moved);
        }
        run.send_due(participants, tick.min(end))?;
        run.drain(participants, &mut batch)?;
        std::thread::sleep(TICK.saturating_sub(tick.elapsed()));
    }
    // Whoever was late still says everything, so that what is expected follows from the options alone.
    run.send_due(participants, end)?;
    run.measured.cpu = settings.processes.cpu().since(before);
    run.measured.generator_cpu = udp_io::thread_cpu().saturating_sub(own_cpu_before);
    run.measured.elapsed = started.elapsed();
    run.drain_for(TAIL, participants, &mut batch)?;
    for gap in run.heard.iter().map(|heard| &heard.gap).chain(&run.gaps).filter_map(|gap| gap.longest(end)) {
        run.measured.longest_gaps.record(gap);
    }
    Ok(run.measured)
}

struct Run {
    path: Path,
    epoch: Instant,
    senders: Vec<Sender>,
    turn: Option<Duration>,
    /// The speakers, by the stream of each on each server where it was; the relay keeps a speaker's SSRC towards everyone.
    speakers: HashMap<Ssrc, usize>,
    /// listener * speakers + speaker.
    heard: Vec<Heard>,
    /// By listener, where turns are taken: of who listens only.
    gaps: Vec<Gap>,
    /// Bytes of a packet on the way to the floor relay: what the longest on the way from it has.
    floor_len: usize,
    measured: Measured,
}

impl Run {
    fn new(participants: &[Participant], settings: &Settings, path: Path) -> Self {
        let shape = &settings.shape;
        let epoch = Instant::now();
        let sender = |(n, speaker): (usize, &usize)| {
            let hearing =
                |kind| shape.listeners(*speaker).filter(|l| participants[*l].kind() == kind).count() as u64;
            Sender {
                participant: *speaker,
                next: SeqNo(n as u64 * 1_000),
                time: RtpTime(n as u32),
                due: epoch,
                turn: None,
                natives: hearing(Kind::Native),
                browsers: hearing(Kind::Browser),
            }
        };
        let speakers = shape.speakers.iter().enumerate();
        Self {
            path,
            epoch,
            turn: shape.turn,
            senders: speakers.clone().map(sender).collect(),
            speakers: speakers.map(|(n, speaker)| (participants[*speaker].ssrc, n)).collect(),
            heard: (0..participants.len() * shape.speakers.len()).map(|_| Heard::default()).collect(),
            gaps: shape.turn.map(|_| vec![Gap::default(); participants.len()]).unwrap_or_default(),
            floor_len: participants.iter().map(Participant::packet_len).max().unwrap_or_default(),
            measured: Measured::default(),
        }
    }

    /// Speakers are spread over a frame, or take their turns; keepalives are spread over their interval.
    fn start(&mut self, now: Instant, participants: &mut [Participant]) {
        let speakers = self.senders.len().max(1) as u32;
        for (n, sender) in self.senders.iter_mut().enumerate() {
            sender.due = now + self.turn.unwrap_or(FRAME / speakers) * n as u32;
            sender.turn = self.turn.map(|turn| (sender.due + turn, sender.due + turn * speakers));
        }
        let everyone = participants.len() as u32;
        for (n, participant) in participants.iter_mut().enumerate() {
            if let Media::Native(native) = &mut participant.media {
                native.start(now + KEEPALIVE * n as u32 / everyone);
            }
        }
    }

    /// Streams are expected as soon as they are known, which those who are told of them do as well.
    fn replace(&mut self, participants: &mut [Participant], shape: &Shape, moved: Moved) {
        let Moved { number, mut participant } = moved;
        match &mut participant.media {
            Media::Native(native) => native.start(Instant::now() + KEEPALIVE),
            Media::Browser(browser) => {
                for speaker in shape.speakers_in_room_of(number).filter(|speaker| *speaker != number) {
                    browser.expect(participants[speaker].ssrc);
                }
            }
        }
        if let Some(speaker) = shape.speaker_of(number) {
            self.speakers.insert(participant.ssrc, speaker);
            for listener in shape.listeners(number) {
                if let Media::Browser(browser) = &mut participants[listener].media {
                    browser.expect(participant.ssrc);
                }
            }
        }
        participants[number] = participant;
    }

    /// Sends what is due before a time.
    fn send_due(&mut self, participants: &mut [Participant], before: Instant) -> anyhow::Result<()> {
        for (n, sender) in self.senders.iter_mut().enumerate() {
            while sender.due < before {
                let send_at = Instant::now();
                let late = send_at.saturating_duration_since(sender.due);
                self.measured.generator_late = self.measured.generator_late.max(late);
                let frame = Frame::new(sender.next, sender.time, send_at.duration_since(self.epoch), n);
                let participant = &mut participants[sender.participant];
                let sent = match self.path {
                    Path::Server => {
                        participant.speak(send_at, &frame).with_context(|| format!("speaker {n}"))?
                    }
                    Path::Floor { relay, .. } => {
                        let mut buffer = [0_u8; PACKET_MAX];
                        frame.write(participant.ssrc, &mut buffer)?;
                        participant.socket.send_to(&buffer[..self.floor_len], relay).is_ok()
                    }
                };
                if sent {
                    self.measured.native.expected += sender.natives;
                    self.measured.browser.expected += sender.browsers;
                } else {
                    self.measured.generator_dropped += 1;
                }
                sender.next.0 += 1;
                sender.time = RtpTime(sender.time.0.wrapping_add(FRAME_SAMPLES));
                sender.due += FRAME;
                if let Some((ends, next)) = sender.turn.filter(|(ends, _)| sender.due >= *ends) {
                    // Silence is not sent, and time goes on in it.
                    let silent =
                        (next - sender.due).as_nanos() / FRAME.as_nanos() * u128::from(FRAME_SAMPLES);
                    sender.time = RtpTime(sender.time.0.wrapping_add(silent as u32));
                    sender.due = next;
                    sender.turn = self.turn.map(|turn| (next + turn, next + (next - ends) + turn));
                }
            }
        }
        Ok(())
    }

    fn drain_for(
        &mut self,
        time: Duration,
        participants: &mut [Participant],
        batch: &mut RecvBatch,
    ) -> anyhow::Result<()> {
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.drain(participants, batch)?;
            std::thread::sleep(TICK);
        }
        Ok(())
    }

    fn drain(&mut self, participants: &mut [Participant], batch: &mut RecvBatch) -> anyhow::Result<()> {
        for (listener, participant) in participants.iter_mut().enumerate() {
            while batch.receive(&participant.socket)? > 0 {
                let now = Instant::now();
                for (datagram, from) in batch.datagrams() {
                    // A server that was behind still sends what it owes when the floor is measured.
                    if matches!(self.path, Path::Floor { relay, .. } if relay != from) {
                        continue;
                    }
                    self.take(listener, participant, datagram, now)
                        .with_context(|| format!("participant {listener}"))?;
                }
            }
            if self.path == Path::Server {
                participant.wake(Instant::now()).with_context(|| format!("participant {listener}"))?;
            }
        }
        Ok(())
    }

    fn take(
        &mut self,
        listener: usize,
        participant: &mut Participant,
        datagram: &mut [u8],
        now: Instant,
    ) -> anyhow::Result<()> {
        let Some((speaker, ssrc, wire)) = self.speaker_and_number(datagram) else {
            return match self.path {
                Path::Server => participant.take_other(now, datagram),
                Path::Floor { .. } => Ok(()),
            };
        };
        let heard = &mut self.heard[listener * self.senders.len() + speaker];
        let kind = participant.kind();
        if !heard.is_new(ssrc, wire) {
            self.measured.of_mut(kind).duplicates += 1;
            return Ok(());
        }
        let look = heard.received.is_multiple_of(OPEN_EVERY);
        let taken = match self.path {
            Path::Server if kind == Kind::Browser => {
                let began = Instant::now();
                let taken = participant.take_packet(now, datagram, ssrc, look)?;
                self.measured.opening += began.elapsed();
                taken
            }
            Path::Server => participant.take_packet(now, datagram, ssrc, look)?,
            Path::Floor { opening, .. } => {
                if kind == Kind::Browser {
                    be_busy(datagram, opening);
                }
                let packet = Packet::parse(datagram).ok();
                Taken::Received(packet.and_then(|packet| sent_at(packet.payload())).filter(|_| look))
            }
        };
        let Taken::Received(sent_at) = taken else {
            self.measured.unopened += 1;
            return Ok(());
        };
        heard.received += 1;
        match self.gaps.get_mut(listener) {
            None => heard.gap.take(now),
            Some(gap) if !self.senders.iter().any(|sender| sender.participant == listener) => gap.take(now),
            Some(_) => {}
        }
        let tally = self.measured.of_mut(kind);
        tally.received += 1;
        if let Some(sent_at) = sent_at {
            tally.delay.record(now.duration_since(self.epoch).saturating_sub(sent_at));
        }
        Ok(())
    }

    /// Both kinds of leg leave the header readable.
    fn speaker_and_number(&self, datagram: &[u8]) -> Option<(usize, Ssrc, u16)> {
        if classify(datagram) != Datagram::Rtp {
            return None;
        }
        let header = RtpHeader::parse(datagram).ok()?;
        Some((*self.speakers.get(&header.ssrc)?, header.ssrc, header.seq))
    }
}

/// As somebody who opens the packet: what shares a core, a cache or the power of the machine with that one is slowed in the same way.
fn be_busy(datagram: &[u8], time: Duration) {
    let began = Instant::now();
    let mut sum = 0_u64;
    for piece in datagram.chunks(16).cycle() {
        if began.elapsed() >= time {
            break;
        }
        sum = piece.iter().fold(sum, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
    }
    std::hint::black_box(sum);
}
