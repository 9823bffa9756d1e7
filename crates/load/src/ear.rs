//! Whoever has just joined, listening: when the first packet of a speaker was opened, and everything after it thrown away.
//!
//! One thread for all, which visits their sockets on a tick as the media loop does, so that nobody sleeps on them.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread::JoinHandle;
use std::time::Instant;

use anyhow::Context as _;
use rtp_wire::{Kind as Datagram, RtpHeader, Ssrc, classify};
use tokio::sync::oneshot;
use udp_io::RecvBatch;

use crate::limits::{HEARD_TICKS, KEEPALIVE, TICK};
use crate::participant::{Media, Participant, Taken};

/// A participant that begins to listen.
struct Listener {
    participant: Participant,
    /// Told once.
    heard: Option<oneshot::Sender<Instant>>,
}

enum Order {
    Listen(usize, Box<Listener>),
    Forget(usize),
}

/// The thread ends with the last of these.
#[derive(Clone)]
pub struct Ear {
    orders: Sender<Order>,
    speakers: std::sync::Arc<[Ssrc]>,
}

impl Ear {
    pub fn new(speakers: Vec<Ssrc>) -> anyhow::Result<(Self, JoinHandle<anyhow::Result<()>>)> {
        let (orders, received) = channel();
        let speakers: std::sync::Arc<[Ssrc]> = speakers.into();
        let known = std::sync::Arc::clone(&speakers);
        let thread = std::thread::Builder::new()
            .name("ear".to_owned())
            .spawn(move || Listening { known, listeners: BTreeMap::new() }.run(&received))
            .context("the ear's thread")?;
        Ok((Self { orders, speakers }, thread))
    }

    /// When the first packet of a speaker is opened; an error where the ear is no more.
    pub fn listen(&self, number: usize, mut participant: Participant) -> oneshot::Receiver<Instant> {
        match &mut participant.media {
            Media::Native(native) => native.start(Instant::now() + KEEPALIVE),
            Media::Browser(browser) => self.speakers.iter().for_each(|ssrc| browser.expect(*ssrc)),
        }
        let (heard, when) = oneshot::channel();
        let listener = Listener { participant, heard: Some(heard) };
        let _ = self.orders.send(Order::Listen(number, Box::new(listener)));
        when
    }

    pub fn forget(&self, number: usize) {
        let _ = self.orders.send(Order::Forget(number));
    }
}

struct Listening {
    known: std::sync::Arc<[Ssrc]>,
    listeners: BTreeMap<usize, Box<Listener>>,
}

impl Listening {
    fn run(mut self, orders: &Receiver<Order>) -> anyhow::Result<()> {
        let mut batch = RecvBatch::new();
        for tick in 0_u32.. {
            let began = Instant::now();
            loop {
                match orders.try_recv() {
                    Ok(Order::Listen(number, listener)) => drop(self.listeners.insert(number, listener)),
                    Ok(Order::Forget(number)) => drop(self.listeners.remove(&number)),
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Disconnected) => return Ok(()),
                }
            }
            for (number, listener) in &mut self.listeners {
                let is_due = listener.heard.is_some() || (tick + *number as u32).is_multiple_of(HEARD_TICKS);
                if is_due {
                    listener.visit(&self.known, &mut batch).with_context(|| format!("listener {number}"))?;
                }
            }
            std::thread::sleep(TICK.saturating_sub(began.elapsed()));
        }
        Ok(())
    }
}

impl Listener {
    fn visit(&mut self, speakers: &[Ssrc], batch: &mut RecvBatch) -> anyhow::Result<()> {
        let Self { participant, heard } = self;
        while batch.receive(&participant.socket)? > 0 {
            let now = Instant::now();
            for (datagram, _) in batch.datagrams() {
                let speaker = (classify(datagram) == Datagram::Rtp)
                    .then(|| RtpHeader::parse(datagram).ok())
                    .flatten()
                    .filter(|header| speakers.contains(&header.ssrc));
                let Some(header) = speaker else {
                    participant.take_other(now, datagram)?;
                    continue;
                };
                let taken = participant.take_packet(now, datagram, header.ssrc, heard.is_some())?;
                if matches!(taken, Taken::Received(_))
                    && let Some(heard) = heard.take()
                {
                    let _ = heard.send(now);
                }
            }
        }
        participant.wake(Instant::now())
    }
}
