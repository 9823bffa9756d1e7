//! What comes in on the socket: each datagram finds its leg, is opened, and meets one fate.

use std::net::SocketAddr;
use std::ops::Range;
use std::time::Instant;

use rtp_wire::{
    DiscoveryRequest, DiscoveryResponse, Kind, OPUS_PAYLOAD_TYPE, PING_LEN, Ping, RtpHeader, RtpTime, SeqNo,
    Ssrc, classify, is_silence, parse_ping, rtcp, write_pong,
};
use sfu_wire::page::Work;
use transport::OpenError;

use crate::counters::{DropReason, Fate};
use crate::leg::{Leg, LegIndex};
use crate::limits::{PAYLOAD_BYTES_MAX, SPEECH_END};
use crate::security::Security;
use crate::shard::Shard;
use crate::sink::Sink;
use crate::timers::Reason;

/// A packet that may be forwarded: whose, its place in the sender's stream, its payload's place in the
/// datagram.
pub(crate) struct Accepted {
    pub leg: LegIndex,
    pub seq: SeqNo,
    pub time: RtpTime,
    pub payload: Range<usize>,
    /// Nobody speaks in it.
    pub quiet: bool,
    /// The place of frames that were sent before, if it carries such.
    pub redundancy: Option<Range<usize>>,
}

impl Shard {
    /// Takes one datagram from the shard's socket. Its bytes are changed: it is decrypted where it lies.
    pub fn handle_datagram(
        &mut self,
        now: Instant,
        from: SocketAddr,
        datagram: &mut [u8],
        sink: &mut impl Sink,
    ) {
        self.take_datagram(now, from, datagram, sink);
        self.finish(now, sink);
    }

    /// Takes one of a batch of datagrams. What is to be copied to others may wait until [`Self::finish`], which must follow the last one.
    pub fn take_datagram(
        &mut self,
        now: Instant,
        from: SocketAddr,
        datagram: &mut [u8],
        sink: &mut impl Sink,
    ) {
        let kind = classify(datagram);
        self.page.busy(0, work(kind));
        let fate = match kind {
            Kind::Rtp => self.handle_rtp(now, from, datagram, sink),
            Kind::Rtcp => self.handle_rtcp(now, from, datagram, sink),
            Kind::Discovery => self.handle_discovery(now, from, datagram, sink),
            Kind::Ping => self.handle_ping(now, from, datagram, sink),
            Kind::Keepalive => self.known_address(now, from),
            Kind::Stun => self.handle_stun(now, from, datagram, sink),
            Kind::Dtls => self.handle_dtls(now, from, datagram),
            Kind::Unknown => Err(DropReason::Malformed),
        };
        self.counters.count(fate.unwrap_or_else(Fate::Dropped));
        self.page.idle();
    }

    /// Whether what comes from there is a known leg's whose keys are known. What comes from elsewhere may be somebody's of whom signalling has told the
    /// relay this very moment.
    #[inline]
    #[must_use]
    pub fn knows(&self, from: SocketAddr) -> bool {
        self.by_address.get(&from).is_some_and(|index| self.legs.get(*index).is_ready())
    }

    /// Datagrams that came but were too long to be taken in.
    pub fn handle_oversized(&mut self, count: u64) {
        for _ in 0..count {
            self.counters.count(Fate::Dropped(DropReason::TooLong));
        }
    }

    fn handle_rtp(
        &mut self,
        now: Instant,
        from: SocketAddr,
        datagram: &mut [u8],
        sink: &mut impl Sink,
    ) -> Result<Fate, DropReason> {
        let accepted = self.accept(now, from, datagram)?;
        if accepted.redundancy.is_some() {
            self.recover(now, &accepted, datagram, sink);
        }
        let Accepted { leg, seq, time, payload, quiet, .. } = accepted;
        let forwarded = self.forward(now, leg, seq, time, quiet, &datagram[payload], sink);
        self.ask_for_missing(now, leg, sink);
        forwarded.then_some(Fate::Forwarded).ok_or(DropReason::Late)
    }

    /// Gives a frame its place in the stream and copies it to everybody; not if its number is spent.
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn forward(
        &mut self,
        now: Instant,
        index: LegIndex,
        seq: SeqNo,
        time: RtpTime,
        quiet: bool,
        payload: &[u8],
        sink: &mut impl Sink,
    ) -> bool {
        let leg = self.legs.get_mut(index);
        let placed = leg.rewriter.forward(now, seq, time);
        self.write_leg(index);
        let Some((seq, time)) = placed else { return false };
        let leg = self.legs.get_mut(index);
        // Whoever speaks again needs no more silence of ours.
        leg.silence = None;
        leg.speech.handle_frame(now, quiet);
        let speaking = leg.speech.is_speaking();
        if speaking && !leg.speech_end_armed {
            leg.speech_end_armed = true;
            self.arm(now + SPEECH_END, Reason::SpeechEnd, index);
        }
        if speaking != self.legs.get(index).told.speaking {
            self.tell(index);
        }
        self.put(now, index, (seq, time), payload, sink);
        true
    }

    /// Opens an RTP packet and asks whether its sender may have it forwarded. Whatever of its own a leg may
    /// not send is kept back without leaving a gap in its numbers.
    fn accept(
        &mut self,
        now: Instant,
        from: SocketAddr,
        datagram: &mut [u8],
    ) -> Result<Accepted, DropReason> {
        let header = RtpHeader::parse(datagram).map_err(|_| DropReason::Malformed)?;
        let index = self.find_leg(from, header.ssrc)?;
        self.busy_with(index);
        let accepted = self.open(now, from, index, header.ssrc, datagram);
        if accepted.is_err() {
            // What is forwarded is written down with its place in the stream.
            self.write_leg(index);
        }
        accepted
    }

    fn open(
        &mut self,
        now: Instant,
        from: SocketAddr,
        index: LegIndex,
        ssrc: Ssrc,
        datagram: &mut [u8],
    ) -> Result<Accepted, DropReason> {
        let accepted = match &self.legs.get(index).security {
            None => return Err(DropReason::NoKey),
            Some(Security::Native(_)) => self.open_native(now, from, index, ssrc, datagram)?,
            Some(Security::Browser(_)) => self.open_browser(now, from, index, ssrc, datagram)?,
        };
        let leg = self.legs.get_mut(index);
        if let Err(reason) = permit(now, leg, &accepted.payload) {
            leg.rewriter.keep_back(accepted.seq);
            return Err(reason);
        }
        Ok(accepted)
    }

    fn open_native(
        &mut self,
        now: Instant,
        from: SocketAddr,
        index: LegIndex,
        ssrc: Ssrc,
        datagram: &mut [u8],
    ) -> Result<Accepted, DropReason> {
        let leg = self.legs.get_mut(index);
        // Before opening, because both directions share one key: a packet of ours that somebody sends back
        // authenticates.
        if leg.ssrc != ssrc {
            return Err(DropReason::ForeignStream);
        }
        let Some(Security::Native(native)) = &mut leg.security else { return Err(DropReason::NoKey) };
        let opened = native.session.open_rtp(datagram, &mut leg.window).map_err(reason)?;
        let newest = leg.window.highest() == Some(opened.seq);
        self.learn_address(now, index, from, newest);
        if opened.header.payload_type != OPUS_PAYLOAD_TYPE {
            self.legs.get_mut(index).rewriter.keep_back(opened.seq);
            return Err(DropReason::Unsupported);
        }
        let quiet = is_silence(&datagram[opened.body.clone()]);
        Ok(Accepted {
            leg: index,
            seq: opened.seq,
            time: opened.header.time,
            payload: opened.body,
            quiet,
            redundancy: None,
        })
    }

    /// Receivers' reports and whatever else clients say about media. What native ones say is authentic or not, and that is all that matters.
    fn handle_rtcp(
        &mut self,
        now: Instant,
        from: SocketAddr,
        datagram: &mut [u8],
        sink: &mut impl Sink,
    ) -> Result<Fate, DropReason> {
        let ssrc = rtcp::peek_ssrc(datagram).ok_or(DropReason::Malformed)?;
        let index = self.find_leg(from, ssrc)?;
        self.busy_with(index);
        let leg = self.legs.get_mut(index);
        match leg.security.as_mut().ok_or(DropReason::NoKey)? {
            Security::Native(native) => native.session.open_rtcp(datagram).map_err(reason)?,
            Security::Browser(browser) => {
                let srtp = browser.srtp.as_mut().ok_or(DropReason::NoKey)?;
                let len = srtp.open_rtcp(datagram).map_err(reason)?;
                // No report is taken twice, and a browser sends it over the path that it has chosen.
                self.learn_address(now, index, from, true);
                self.write_peer(index);
                self.browser_says(now, index, &datagram[..len], sink);
                return Ok(Fate::Consumed);
            }
        };
        self.write_leg(index);
        // RTCP has no number that would tell which packet is the newest, so it never moves a leg.
        self.learn_address(now, index, from, false);
        Ok(Fate::Consumed)
    }

    /// Answers every request for a leg that exists, because clients ask only once and a duplicate may be the
    /// one that arrives. The answer is as long as the question.
    fn handle_discovery(
        &mut self,
        now: Instant,
        from: SocketAddr,
        datagram: &[u8],
        sink: &mut impl Sink,
    ) -> Result<Fate, DropReason> {
        let request = DiscoveryRequest::parse(datagram).ok_or(DropReason::Malformed)?;
        let index = self.by_ssrc.get(&request.ssrc).copied().ok_or(DropReason::UnknownSource)?;
        self.busy_with(index);
        let response = DiscoveryResponse { ssrc: request.ssrc, ip: from.ip(), port: from.port() };
        let len = response.write(sink.slot()).expect("a slot holds any datagram");
        self.send(from, len, sink);
        let leg = self.legs.get_mut(index);
        if leg.path.answered(from) && leg.security.is_some() {
            self.take_address(now, index, from);
        }
        Ok(Fate::Consumed)
    }

    fn handle_ping(
        &mut self,
        now: Instant,
        from: SocketAddr,
        datagram: &[u8],
        sink: &mut impl Sink,
    ) -> Result<Fate, DropReason> {
        let fate = self.known_address(now, from)?;
        if let Some(Ping::Ping(number)) = parse_ping(datagram) {
            write_pong(number, sink.slot()).expect("a slot holds any datagram");
            self.send(from, PING_LEN, sink);
        }
        Ok(fate)
    }

    pub(crate) fn known_address(&mut self, now: Instant, from: SocketAddr) -> Result<Fate, DropReason> {
        let index = self.by_address.get(&from).copied().ok_or(DropReason::UnknownSource)?;
        self.busy_with(index);
        self.legs.get_mut(index).path.heard(now);
        Ok(Fate::Consumed)
    }

    /// A browser's by its address alone, or by one that it has checked and may have chosen since. A native one by its SSRC if that is a
    /// leg's own, which also finds a client whose address has changed; else by its address.
    fn find_leg(&self, from: SocketAddr, ssrc: Ssrc) -> Result<LegIndex, DropReason> {
        let at_address = self.by_address.get(&from).copied();
        if let Some(index) = at_address {
            let leg = self.legs.get(index);
            if leg.ssrc == ssrc || leg.browser().is_some() {
                return Ok(index);
            }
        }
        let of_ssrc =
            self.by_ssrc.get(&ssrc).copied().filter(|index| self.legs.get(*index).browser().is_none());
        let checked = || self.by_check.get(&from).copied();
        of_ssrc.or(at_address).or_else(checked).ok_or(DropReason::UnknownSource)
    }

    pub(crate) fn learn_address(&mut self, now: Instant, index: LegIndex, from: SocketAddr, newest: bool) {
        let path = &mut self.legs.get_mut(index).path;
        if path.address() == Some(from) {
            path.heard(now);
        } else if path.follows(now, from, newest) {
            self.take_address(now, index, from);
        }
    }
}

fn work(kind: Kind) -> Work {
    match kind {
        Kind::Rtp => Work::Rtp,
        Kind::Rtcp => Work::Rtcp,
        Kind::Discovery => Work::Discovery,
        Kind::Ping => Work::Ping,
        Kind::Keepalive => Work::Keepalive,
        Kind::Stun => Work::Stun,
        Kind::Dtls => Work::Dtls,
        Kind::Unknown => Work::Unknown,
    }
}

fn permit(now: Instant, leg: &mut Leg, payload: &Range<usize>) -> Result<(), DropReason> {
    if payload.is_empty() {
        return Err(DropReason::Malformed);
    }
    if payload.len() > PAYLOAD_BYTES_MAX {
        return Err(DropReason::TooLong);
    }
    if !leg.speak {
        return Err(DropReason::Muted);
    }
    if !leg.pace.admit(now) {
        return Err(DropReason::TooFast);
    }
    Ok(())
}

pub(crate) fn reason(error: OpenError) -> DropReason {
    match error {
        OpenError::TooShort | OpenError::Version | OpenError::Malformed => DropReason::Malformed,
        OpenError::Replay => DropReason::Replayed,
        OpenError::Reflected => DropReason::Reflected,
        OpenError::Auth => DropReason::Unauthenticated,
    }
}
