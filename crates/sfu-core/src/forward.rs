//! What goes out: copies of audio to listeners, silence for those cut off, packets that keep paths open.

use std::net::SocketAddr;
use std::time::Instant;

use rtp_wire::{FIXED_HEADER_LEN, OPUS_PAYLOAD_TYPE, RtpHeader, RtpTime, SILENCE_FRAME, SeqNo, Ssrc, rtcp};

use crate::browser::Frame;
use crate::leg::{LegIndex, Silence};
use crate::limits::{
    BROWSER_REPORT_INTERVAL, FRAME_INTERVAL, NONCES_SPENT, PATH_KEEP_INTERVAL, PATH_KEEP_SPREAD,
    PEERS_NONCES_SPENT,
};
use crate::outgoing::Source;
use crate::recent::Recent;
use crate::security::Security;
use crate::shard::Shard;
use crate::sink::Sink;
use crate::timers::Reason;

/// The SSRC under which the relay itself reports: no stream's, so that a report sent back is nobody's.
pub(crate) const RELAY_SSRC: Ssrc = Ssrc(1);

impl Shard {
    /// Copies one frame to every listener of the sender's room: own header, own number, own seal.
    ///
    /// The header is the plainest there is, because some clients misread any other: no CSRC, no extension, no
    /// padding, no marker. What browsers are sent is kept for a while, because they ask for what they lost.
    pub(crate) fn fan_out(
        &mut self,
        now: Instant,
        sender: LegIndex,
        seq: SeqNo,
        time: RtpTime,
        payload: &[u8],
        sink: &mut impl Sink,
    ) {
        // Taken out for the while, because listeners are changed beside it.
        let mut recent = self.legs.get_mut(sender).recent.take();
        let mut kept = false;
        let Self { legs, rooms, counters, page, .. } = self;
        let from = legs.get(sender);
        let (ssrc, room) = (from.ssrc, from.room);
        let mut header = [0; FIXED_HEADER_LEN];
        RtpHeader { payload_type: OPUS_PAYLOAD_TYPE, seq: seq.wire(), time, ssrc, ..RtpHeader::default() }
            .write(&[], &mut header)
            .expect("a header without CSRCs fits");
        let plain_len = FIXED_HEADER_LEN + payload.len();
        let source = Source { leg: legs.key(sender), seq };
        let mut frame = Frame { ssrc, source, time, payload, pair_octets: None };
        for &listener in rooms.get(room).routes() {
            if listener == sender {
                continue;
            }
            let leg = legs.get_mut(listener);
            let (Some(security), Some(address)) = (&mut leg.security, leg.path.address()) else {
                unreachable!("a route ends with the key and the address it needs");
            };
            let Some(seq) = leg.absence.place(ssrc, seq) else { continue };
            let slot = sink.slot();
            let sealed = match security {
                Security::Native(native) => {
                    header[2..4].copy_from_slice(&seq.wire().to_be_bytes());
                    slot[..FIXED_HEADER_LEN].copy_from_slice(&header);
                    slot[FIXED_HEADER_LEN..plain_len].copy_from_slice(payload);
                    let sealed = native.session.seal_rtp(slot, plain_len);
                    if let Some(slot) = leg.slot {
                        page.sent(slot, native.session.progress());
                    }
                    sealed
                }
                Security::Browser(browser) => {
                    let recent = recent.get_or_insert_with(|| Box::new(Recent::new()));
                    if !std::mem::replace(&mut kept, true) {
                        frame.pair_octets = recent.put(source.seq, time, payload);
                    }
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
        self.legs.get_mut(sender).recent = recent;
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
        self.fan_out(now, index, seq, time, &SILENCE_FRAME, sink);
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
