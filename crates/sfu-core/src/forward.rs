//! What goes out: copies of audio to listeners, silence for those cut off, packets that keep paths open.

use std::net::SocketAddr;
use std::time::Instant;

use rtp_wire::{FIXED_HEADER_LEN, OPUS_PAYLOAD_TYPE, RtpHeader, RtpTime, SILENCE_FRAME, SeqNo, Ssrc, rtcp};
use sfu_wire::page::Work;

use crate::leg::{LegIndex, Legs, Silence};
use crate::limits::{
    BROWSER_REPORT_INTERVAL, FRAME_INTERVAL, NONCES_SPENT, PATH_KEEP_INTERVAL, PATH_KEEP_SPREAD,
    PEERS_NONCES_SPENT,
};
use crate::outgoing::Source;
use crate::page::Page;
use crate::pending::{Lot, Pending, Waiting};
use crate::security::Security;
use crate::shard::Shard;
use crate::sink::Sink;
use crate::timers::Reason;

/// The SSRC under which the relay itself reports: no stream's, so that a report sent back is nobody's.
pub(crate) const RELAY_SSRC: Ssrc = Ssrc(1);

/// Listeners whose state is read together before any of them is sent to. Because what one packet needs lies in some fifteen cache lines that the kernel has
/// displaced since the last one, each found by the one before: one listener after the other each of them would be waited for; of several the processor fetches them at
/// once. More than these would displace each other.
const AT_ONCE: usize = 16;

impl Shard {
    /// Takes a frame that everybody in the sender's room is to get, at the end of the batch at the latest.
    ///
    /// The header is the plainest there is, because some clients misread any other: no CSRC, no extension, no padding, no marker.
    pub(crate) fn put(
        &mut self,
        now: Instant,
        sender: LegIndex,
        (seq, time): (SeqNo, RtpTime),
        payload: &[u8],
        sink: &mut impl Sink,
    ) {
        if self.pending.is_full() {
            self.fan_out(now, sink);
            self.page.busy(self.legs.get(sender).id, Work::Rtp);
        }
        let leg = self.legs.get(sender);
        let mut header = [0; FIXED_HEADER_LEN];
        RtpHeader { payload_type: OPUS_PAYLOAD_TYPE, time, ssrc: leg.ssrc, ..RtpHeader::default() }
            .write(&[], &mut header)
            .expect("a header without CSRCs fits");
        let source = Source { leg: self.legs.key(sender), seq };
        let frame = Waiting { sender, id: leg.id, room: leg.room, ssrc: leg.ssrc, source, time, header };
        self.pending.push(frame, payload);
    }

    /// The batch has ended: whatever was taken in goes out.
    #[inline]
    pub fn finish(&mut self, now: Instant, sink: &mut impl Sink) {
        if !self.pending.is_empty() {
            self.fan_out(now, sink);
            self.page.idle();
        }
    }

    fn fan_out(&mut self, now: Instant, sink: &mut impl Sink) {
        let mut pending = std::mem::replace(&mut self.pending, Pending::none());
        for lot in pending.by_room() {
            self.fan_out_lot(now, lot, sink);
        }
        pending.clear();
        self.pending = pending;
    }

    /// Copies frames of one room to every listener: own header, own number, own seal.
    fn fan_out_lot(&mut self, now: Instant, mut lot: Lot<'_>, sink: &mut impl Sink) {
        let Self { legs, rooms, counters, page, .. } = self;
        let mut kept = false;
        page.busy(lot.get(0).0.id, Work::Rtp);
        for group in rooms.get(lot.room()).routes().chunks(AT_ONCE) {
            if group.len() > 1 {
                touch(legs, group, lot.get(0).0.ssrc, page);
            }
            for &listener in group {
                if !kept && legs.get(listener).browser().is_some() {
                    kept = true;
                    // Taken out for the while, because listeners are changed beside it.
                    lot.keep(|sender, id| {
                        page.busy_with(id);
                        legs.get_mut(sender).recent.take()
                    });
                    page.busy_with(lot.get(0).0.id);
                }
                let leg = legs.get_mut(listener);
                let (Some(security), Some(address)) = (&mut leg.security, leg.path.address()) else {
                    unreachable!("a route ends with the key and the address it needs");
                };
                for n in 0..lot.len() {
                    let (frame, payload) = lot.get(n);
                    if listener == frame.sender {
                        continue;
                    }
                    let Some(seq) = leg.absence.place(frame.ssrc, frame.source.seq) else { continue };
                    if lot.len() > 1 {
                        page.busy_with(frame.id);
                    }
                    let slot = sink.slot();
                    let sealed = match security {
                        Security::Native(native) => {
                            let plain_len = FIXED_HEADER_LEN + payload.len();
                            slot[..FIXED_HEADER_LEN].copy_from_slice(&frame.header);
                            slot[2..4].copy_from_slice(&seq.wire().to_be_bytes());
                            slot[FIXED_HEADER_LEN..plain_len].copy_from_slice(payload);
                            let sealed = native.session.seal_plain_rtp(slot, plain_len);
                            if let Some(slot) = leg.slot {
                                page.sent(slot, native.session.progress());
                            }
                            sealed
                        }
                        Security::Browser(browser) => {
                            let (frame, recent) = lot.for_browser(n);
                            match browser.send(now, &frame, seq, (recent, page), slot) {
                                Some(sealed) => sealed,
                                None => continue,
                            }
                        }
                    };
                    match sealed {
                        Ok(len) => {
                            sink.commit(address, len);
                            counters.sent += 1;
                        }
                        Err(_) => counters.unsealed += 1,
                    }
                }
            }
        }
        lot.put_back(|sender, recent| legs.get_mut(sender).recent = Some(recent));
    }

    /// The next silence frame for someone who was cut off.
    pub(crate) fn send_silence(&mut self, now: Instant, index: LegIndex, sink: &mut impl Sink) {
        let leg = self.legs.get_mut(index);
        let Some(Silence { left, next_at }) = leg.silence else { return };
        if next_at > now {
            return;
        }
        let next_at = next_at + FRAME_INTERVAL;
        leg.silence = (left > 1).then_some(Silence { left: left - 1, next_at });
        let again = leg.silence.is_some();
        let Some((seq, time)) = leg.rewriter.inject(now) else { return };
        self.write_leg(index);
        if again {
            self.arm(next_at, Reason::Silence, index);
        }
        self.put(now, index, (seq, time), &SILENCE_FRAME, sink);
    }

    /// What is sent now and then to every leg that can be sent to: to a native one an empty receiver report, which every client takes and ignores,
    /// to a browser the reports that it expects.
    pub(crate) fn keep_path(&mut self, now: Instant, at: Instant, index: LegIndex, sink: &mut impl Sink) {
        let leg = self.legs.get_mut(index);
        if leg.path_keep_at != Some(at) {
            return;
        }
        leg.path_keep_at = None;
        let interval = match &leg.security {
            None => return,
            Some(Security::Native(_)) => {
                self.keep_native_path(index, sink);
                PATH_KEEP_INTERVAL
            }
            Some(Security::Browser(_)) => {
                self.report_to_browser(now, index, sink);
                BROWSER_REPORT_INTERVAL
            }
        };
        if self.legs.get(index).path.address().is_none() {
            return;
        }
        // Shortened a little at random every time, so that legs that came together drift apart.
        let shortened = PATH_KEEP_SPREAD.mul_f64(f64::from(self.random.next_u16()) / f64::from(u16::MAX));
        let next_at = at + interval - shortened;
        self.legs.get_mut(index).path_keep_at = Some(next_at);
        self.arm(next_at, Reason::PathKeep, index);
    }

    fn keep_native_path(&mut self, index: LegIndex, sink: &mut impl Sink) {
        let leg = self.legs.get_mut(index);
        let (Some(Security::Native(native)), Some(address)) = (&mut leg.security, leg.path.address()) else {
            return;
        };
        let slot = sink.slot();
        let plain_len =
            rtcp::write_receiver_report(RELAY_SSRC, &[], slot).expect("a slot holds any datagram");
        let sealed = native.session.seal_rtcp(slot, plain_len);
        let left = native.session.nonces().headroom();
        leg.key_spent = left.ours < NONCES_SPENT || left.peers < PEERS_NONCES_SPENT;
        self.write_sent(index);
        match sealed {
            Ok(len) => self.send(address, len, sink),
            Err(_) => self.counters.unsealed += 1,
        }
        self.tell(index);
    }

    pub(crate) fn send(&mut self, to: SocketAddr, len: usize, sink: &mut impl Sink) {
        sink.commit(to, len);
        self.counters.sent += 1;
    }
}

/// Reads what these listeners' packets will need.
#[inline(never)]
fn touch(legs: &Legs, listeners: &[LegIndex], ssrc: Ssrc, page: &Page) {
    let read = listeners.iter().fold(0, |read, listener| read ^ legs.get(*listener).touch(ssrc, page));
    std::hint::black_box(read);
}
