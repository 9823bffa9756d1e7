//! All remote speakers of a channel: whose stream is whose, how loud each is, and their sum.

use std::collections::BTreeMap;
use std::time::Instant;

use model::UserId;
use rtp_wire::{RtpTime, Ssrc};

use crate::limits::STREAMS_MAX;
use crate::mixer::Limiter;
use crate::stream::Stream;
use crate::{Frame, SILENCE, StreamStats};

/// Where a frame of sound comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Source {
    pub ssrc: Ssrc,
    /// Unknown until the server has said whose stream it is.
    pub user: Option<UserId>,
}

#[derive(Default)]
pub(crate) struct Receiver {
    streams: BTreeMap<Ssrc, Stream>,
    users: BTreeMap<Ssrc, UserId>,
    /// Of streams that come by another connection as well: the one that takes their place when it is heard.
    successors: BTreeMap<Ssrc, Ssrc>,
    volumes: BTreeMap<UserId, f32>,
    master: f32,
    limiter: Limiter,
}

/// There is no room for another stream.
#[derive(Debug)]
pub(crate) struct Full;

impl Receiver {
    pub(crate) fn new() -> Self {
        Self { master: 1.0, ..Self::default() }
    }

    pub(crate) fn set_speaker(&mut self, ssrc: Ssrc, user: UserId) {
        if self.users.len() >= STREAMS_MAX && !self.users.contains_key(&ssrc) {
            return;
        }
        self.users.insert(ssrc, user);
        if let Some(stream) = self.streams.get_mut(&ssrc) {
            stream.user = Some(user);
        }
    }

    /// 1.0 is as it was sent.
    pub(crate) fn set_volume(&mut self, user: UserId, volume: f32) {
        self.volumes.insert(user, volume.clamp(0.0, 4.0));
    }

    pub(crate) fn set_master_volume(&mut self, volume: f32) {
        self.master = volume.clamp(0.0, 4.0);
    }

    pub(crate) fn user(&self, ssrc: Ssrc) -> Option<UserId> {
        self.users.get(&ssrc).copied()
    }

    /// Sequence numbers will come from another server.
    pub(crate) fn restart(&mut self) {
        self.streams.values_mut().for_each(Stream::restart);
    }

    /// The same of one stream.
    pub(crate) fn end(&mut self, ssrc: Ssrc) {
        self.successors.remove(&ssrc);
        if let Some(stream) = self.streams.get_mut(&ssrc) {
            stream.restart();
        }
    }

    /// Both are the same person's.
    pub(crate) fn succeed(&mut self, old: Ssrc, new: Ssrc) {
        self.successors.insert(old, new);
    }

    /// Whether another stream is heard in this one's place.
    pub(crate) fn is_succeeded(&self, now: Instant, ssrc: Ssrc) -> bool {
        let successor = self.successors.get(&ssrc).and_then(|new| self.streams.get(new));
        successor.is_some_and(|stream| stream.has_begun(now))
    }

    pub(crate) fn handle_packet(
        &mut self,
        now: Instant,
        ssrc: Ssrc,
        seq: u16,
        time: RtpTime,
        payload: &[u8],
    ) -> Result<(), Full> {
        if !self.streams.contains_key(&ssrc) {
            if self.streams.len() >= STREAMS_MAX {
                return Err(Full);
            }
            self.streams.insert(ssrc, Stream::new(now, ssrc, self.users.get(&ssrc).copied()));
        }
        let stream = self.streams.get_mut(&ssrc).expect("it was put there if it was missing");
        stream.handle_packet(now, seq, time, payload);
        Ok(())
    }

    /// The next 20 ms of everybody together; `each` is shown every speaker's own, before any volume is applied.
    pub(crate) fn mix(&mut self, now: Instant, mix: &mut Frame, mut each: impl FnMut(Source, &Frame)) {
        *mix = SILENCE;
        let mut frame = SILENCE;
        let old = self.successors.keys().copied().filter(|old| self.is_succeeded(now, *old));
        for ssrc in old.collect::<Vec<_>>() {
            self.streams.entry(ssrc).and_modify(Stream::restart);
        }
        for (ssrc, stream) in &mut self.streams {
            if !stream.play(now, &mut frame) {
                continue;
            }
            each(Source { ssrc: *ssrc, user: stream.user }, &frame);
            let own = stream.user.and_then(|user| self.volumes.get(&user)).copied().unwrap_or(1.0);
            let volume = own * self.master;
            mix.iter_mut().zip(&frame).for_each(|(sum, sample)| *sum += sample * volume);
        }
        self.limiter.run(mix);
    }

    pub(crate) fn stats(&self) -> impl Iterator<Item = StreamStats> {
        self.streams.values().map(Stream::stats)
    }
}
