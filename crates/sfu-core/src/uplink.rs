//! A browser's stream on its way in: opened, its frames found, what was lost of it found in later packets or asked for.

use std::net::SocketAddr;
use std::ops::Range;
use std::time::Instant;

use rtp_wire::{AudioLevel, Packet, PayloadType, SILENCE_FRAME, SeqNo, Ssrc, red, rtcp};
use transport::{Opened, ReplayWindow};

use crate::counters::DropReason;
use crate::forward::RELAY_SSRC;
use crate::leg::LegIndex;
use crate::limits::{RED_FRAMES_MAX, SOUND_DBOV};
use crate::media::{Accepted, reason};
use crate::security::Security;
use crate::shard::Shard;
use crate::sink::Sink;

/// SRTP counts from the first cycle, a stream here from the second, so that there is something before its first number.
const FIRST_CYCLE: u64 = 0x1_0000;

impl Shard {
    pub(crate) fn open_browser(
        &mut self,
        now: Instant,
        from: SocketAddr,
        index: LegIndex,
        ssrc: Ssrc,
        datagram: &mut [u8],
    ) -> Result<Accepted, DropReason> {
        let leg = self.legs.get_mut(index);
        let Some(Security::Browser(browser)) = &mut leg.security else { return Err(DropReason::NoKey) };
        let (known, allowed) = (browser.sends(ssrc), browser.may_send(ssrc));
        let srtp = browser.srtp.as_mut().ok_or(DropReason::NoKey)?;
        if known {
            let opened = srtp.open_rtp(datagram, &mut leg.window).map_err(reason)?;
            return self.take_browsers(now, from, index, opened, datagram);
        }
        if !allowed {
            return Err(DropReason::ForeignStream);
        }
        // The number of a stream that is not known yet cannot be checked, so an authentic packet of another kind leaves no trace.
        let mut window = ReplayWindow::new();
        let opened = srtp.open_rtp(datagram, &mut window).map_err(reason)?;
        let payload_type = opened.header.payload_type;
        if payload_type != browser.opus && Some(payload_type) != browser.red {
            return Err(DropReason::Unsupported);
        }
        browser.begin_stream(ssrc);
        leg.window = window;
        leg.rewriter.restart();
        // In this order: an old stream with a new window heals with its next packet, a new one with the old one's takes them for replayed.
        self.write_leg(index);
        self.write_peer(index);
        self.take_browsers(now, from, index, opened, datagram)
    }

    /// An opened packet of a browser's stream.
    fn take_browsers(
        &mut self,
        now: Instant,
        from: SocketAddr,
        index: LegIndex,
        opened: Opened,
        datagram: &[u8],
    ) -> Result<Accepted, DropReason> {
        let newest = self.legs.get(index).window.highest() == Some(opened.seq);
        self.learn_address(now, index, from, newest);
        let leg = self.legs.get_mut(index);
        let Some(Security::Browser(browser)) = &mut leg.security else { return Err(DropReason::NoKey) };
        browser.received(now, &opened);
        let seq = SeqNo(opened.seq.0 + FIRST_CYCLE);
        let is_red = Some(opened.header.payload_type) == browser.red;
        let payload = match opened.header.payload_type {
            payload_type if payload_type == browser.opus => Some(opened.body.clone()),
            _ if is_red => primary(datagram, &opened, browser.opus),
            _ => None,
        };
        let Some(payload) = payload else {
            leg.rewriter.keep_back(seq);
            return Err(DropReason::Unsupported);
        };
        let level = browser.audio_level.and_then(|id| level(&datagram[..opened.len], id));
        let quiet = match level {
            Some(level) => level > SOUND_DBOV,
            // Discontinuous transmission sends frames of up to two bytes now and then.
            None => payload.len() <= SILENCE_FRAME.len(),
        };
        let redundancy = is_red.then_some(opened.body);
        Ok(Accepted { leg: index, seq, time: opened.header.time, payload, quiet, redundancy })
    }

    /// Forwards what was lost before a packet and is carried in it, in front of it and under its own numbers.
    ///
    /// A block says how much older it is but not which packet it was. Senders put predecessors in without a gap, so the last block is taken
    /// for the packet before, and so on; the times of the neighbours that arrived must agree.
    pub(crate) fn recover(
        &mut self,
        now: Instant,
        accepted: &Accepted,
        datagram: &[u8],
        sink: &mut impl Sink,
    ) {
        let Some(body) = accepted.redundancy.clone() else { return };
        let blocks = red::blocks(&datagram[body]);
        let count = blocks.clone().count();
        let mut younger_than = u16::MAX;
        for (at, block) in blocks.enumerate().skip(count.saturating_sub(RED_FRAMES_MAX + 1)) {
            let before = (count - 1 - at) as u64;
            let in_order = before > 0 && block.time_offset > 0 && block.time_offset < younger_than;
            younger_than = block.time_offset;
            let time = accepted.time.wrapping_add(u32::from(block.time_offset).wrapping_neg());
            let seq = SeqNo(accepted.seq.0 - before.min(accepted.seq.0));
            let leg = self.legs.get_mut(accepted.leg);
            let Some(browser) = leg.browser() else { return };
            let index = SeqNo(seq.0.saturating_sub(FIRST_CYCLE));
            if !in_order
                || block.payload_type != browser.opus
                || block.data.is_empty()
                || !browser.fits(index, time)
                || leg.window.check(index).is_err()
                || seq.0 < FIRST_CYCLE
                || !leg.pace.admit(now)
            {
                continue;
            }
            leg.window.commit(index);
            if let Some(browser) = leg.browser_mut() {
                browser.missing.found(now, index);
            }
            if self.forward(now, accepted.leg, seq, time, accepted.quiet, block.data, sink) {
                self.counters.recovered += 1;
            }
        }
    }

    /// Asks a browser for packets that were passed over, in a compound as RFC 4585 section 3.1 has it.
    pub(crate) fn ask_for_missing(&mut self, now: Instant, index: LegIndex, sink: &mut impl Sink) {
        let leg = self.legs.get_mut(index);
        let (Some(Security::Browser(browser)), Some(address)) = (&mut leg.security, leg.path.address())
        else {
            return;
        };
        let asks = browser.asks(now);
        let (Some(stream), Some(srtp)) = (browser.stream(), &mut browser.srtp) else { return };
        if asks.numbers().is_empty() {
            return;
        }
        let slot = sink.slot();
        let mut len = rtcp::write_receiver_report(RELAY_SSRC, &[], slot).expect("a slot holds any datagram");
        len += rtcp::write_nack(RELAY_SSRC, stream, asks.numbers(), &mut slot[len..])
            .expect("a slot holds more numbers than are asked for");
        let sealed = srtp.seal_rtcp(slot, len);
        self.write_sent(index);
        match sealed {
            Ok(len) => {
                self.counters.asked += asks.numbers().len() as u64;
                self.send(address, len, sink);
            }
            Err(_) => self.counters.unsealed += 1,
        }
    }
}

/// How far below the loudest a packet's sound is, as its sender says (RFC 6464).
fn level(packet: &[u8], id: u8) -> Option<u8> {
    let data = Packet::parse(packet).ok()?.extensions()?.get(id)?;
    AudioLevel::parse(data).map(|level| level.level)
}

/// The newest frame in a packet of redundant ones.
fn primary(datagram: &[u8], opened: &Opened, opus: PayloadType) -> Option<Range<usize>> {
    let (payload_type, frame) = red::primary(&datagram[opened.body.clone()])?;
    // It stands last.
    (payload_type == opus).then(|| opened.body.end - frame.len()..opened.body.end)
}
