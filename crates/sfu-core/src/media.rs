//! What comes in on the socket: each datagram finds its leg, is opened, and meets one fate.

use std::net::SocketAddr;
use std::ops::Range;
use std::time::Instant;

use rtp_wire::{
    DiscoveryRequest, DiscoveryResponse, Kind, OPUS_PAYLOAD_TYPE, PING_LEN, Ping, RtpHeader, RtpTime, SeqNo,
    Ssrc, classify, is_silence, parse_ping, rtcp, write_pong,
};
use transport::{OpenError, Opened};

use crate::counters::{DropReason, Fate};
use crate::leg::{Leg, LegIndex};
use crate::limits::{PAYLOAD_BYTES_MAX, SPEECH_END};
use crate::shard::Shard;
use crate::sink::Sink;
use crate::timers::Reason;

/// A packet that may be forwarded: whose, its place in the sender's stream, its payload's place in the
/// datagram.
struct Accepted {
    leg: LegIndex,
    seq: SeqNo,
    time: RtpTime,
    payload: Range<usize>,
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
        let fate = match classify(datagram) {
            Kind::Rtp => self.handle_rtp(now, from, datagram, sink),
            Kind::Rtcp => self.handle_rtcp(now, from, datagram),
            Kind::Discovery => self.handle_discovery(now, from, datagram, sink),
            Kind::Ping => self.handle_ping(now, from, datagram, sink),
            Kind::Keepalive => self.known_address(now, from),
            Kind::Stun | Kind::Dtls => Err(DropReason::Unsupported),
            Kind::Unknown => Err(DropReason::Malformed),
        };
        self.counters.count(fate.unwrap_or_else(Fate::Dropped));
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
        let index = accepted.leg;
        let payload = &datagram[accepted.payload];
        let leg = self.legs.get_mut(index);
        let (seq, time) = leg.rewriter.forward(now, accepted.seq, accepted.time).ok_or(DropReason::Late)?;
        // Whoever speaks again needs no more silence of ours.
        leg.silence = None;
        leg.speech.handle_frame(now, is_silence(payload));
        let speaking = leg.speech.is_speaking();
        if speaking && !leg.speech_end_armed {
            leg.speech_end_armed = true;
            self.arm(now + SPEECH_END, Reason::SpeechEnd, index);
        }
        if speaking != self.legs.get(index).told.speaking {
            self.tell(index);
        }
        self.fan_out(index, seq, time, payload, sink);
        Ok(Fate::Forwarded)
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
        let leg = self.legs.get_mut(index);
        // Before opening, because both directions share one key: a packet of ours that somebody sends back
        // authenticates.
        if leg.ssrc != header.ssrc {
            return Err(DropReason::ForeignStream);
        }
        let session = &mut leg.security.as_mut().ok_or(DropReason::NoKey)?.session;
        let opened = session.open_rtp(datagram, &mut leg.window).map_err(reason)?;
        let newest = leg.window.highest() == Some(opened.seq);
        self.learn_address(now, index, from, newest);
        let leg = self.legs.get_mut(index);
        if let Err(reason) = permit(now, leg, &opened) {
            leg.rewriter.keep_back(opened.seq);
            return Err(reason);
        }
        Ok(Accepted { leg: index, seq: opened.seq, time: opened.header.time, payload: opened.body })
    }

    /// Receivers' reports and whatever else clients say about media: authentic or not, that is all that
    /// matters yet.
    fn handle_rtcp(
        &mut self,
        now: Instant,
        from: SocketAddr,
        datagram: &mut [u8],
    ) -> Result<Fate, DropReason> {
        let ssrc = rtcp::peek_ssrc(datagram).ok_or(DropReason::Malformed)?;
        let index = self.find_leg(from, ssrc)?;
        let leg = self.legs.get_mut(index);
        let session = &mut leg.security.as_mut().ok_or(DropReason::NoKey)?.session;
        session.open_rtcp(datagram).map_err(reason)?;
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

    fn known_address(&mut self, now: Instant, from: SocketAddr) -> Result<Fate, DropReason> {
        let index = self.by_address.get(&from).copied().ok_or(DropReason::UnknownSource)?;
        self.legs.get_mut(index).path.heard(now);
        Ok(Fate::Consumed)
    }

    /// By its SSRC if that is a leg's own, which also finds a client whose address has changed; else by its
    /// address.
    fn find_leg(&self, from: SocketAddr, ssrc: Ssrc) -> Result<LegIndex, DropReason> {
        let at_address = self.by_address.get(&from).copied();
        match at_address {
            Some(index) if self.legs.get(index).ssrc == ssrc => Ok(index),
            _ => self.by_ssrc.get(&ssrc).copied().or(at_address).ok_or(DropReason::UnknownSource),
        }
    }

    fn learn_address(&mut self, now: Instant, index: LegIndex, from: SocketAddr, newest: bool) {
        let path = &mut self.legs.get_mut(index).path;
        if path.address() == Some(from) {
            path.heard(now);
        } else if path.follows(now, from, newest) {
            self.take_address(now, index, from);
        }
    }
}

fn permit(now: Instant, leg: &mut Leg, opened: &Opened) -> Result<(), DropReason> {
    if opened.header.payload_type != OPUS_PAYLOAD_TYPE {
        return Err(DropReason::Unsupported);
    }
    if opened.body.is_empty() {
        return Err(DropReason::Malformed);
    }
    if opened.body.len() > PAYLOAD_BYTES_MAX {
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

fn reason(error: OpenError) -> DropReason {
    match error {
        OpenError::TooShort | OpenError::Version | OpenError::Malformed => DropReason::Malformed,
        OpenError::Replay => DropReason::Replayed,
        OpenError::Reflected => DropReason::Reflected,
        OpenError::Auth => DropReason::Unauthenticated,
    }
}
