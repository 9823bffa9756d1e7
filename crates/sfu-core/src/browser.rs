//! A browser's transport: ICE-lite, SRTP, and what it calls things.
//!
//! Owns the keys, the numbers that each stream has for this listener, and what is reported about the stream it sends. A browser chooses the
//! SSRC of what it sends by itself, and two may choose the same one; so its leg is found by address, and others never see that SSRC.

use std::time::{Duration, Instant};

use rtp_wire::rtcp::ReportBlock;
use rtp_wire::{FIXED_HEADER_LEN, PayloadType, RtpHeader, RtpTime, SeqNo, Ssrc, red};
use sfu_wire::WebRtc;
use transport::{IceAgent, IceCredentials, Opened, ReplayWindow, SealError, Srtp};

use crate::checked::Checked;
use crate::leg::LegKey;
use crate::limits::{BROWSER_STREAMS_MAX, DTLS_BURST_S, DTLS_PER_S, ROUND_TRIP_GUESS, ROUND_TRIP_MAX};
use crate::missing::{Asks, Missing};
use crate::outgoing::{Outbound, Outgoing, Placed, Source};
use crate::pace::Pace;
use crate::page::Page;
use crate::recent::{Earlier, Kept, Recent};
use crate::reception::Reception;
use crate::resend::Resends;
use crate::security::payload_type;

pub struct Browser {
    /// As signalling said it, but for the keys.
    told: WebRtc,
    pub agent: IceAgent,
    pub srtp: Option<Box<Srtp>>,
    pub opus: PayloadType,
    pub red: Option<PayloadType>,
    /// The identifier of the audio level extension.
    pub audio_level: Option<u8>,
    /// The stream it sends, by its own name for it, once there was a packet.
    stream: Option<Ssrc>,
    /// Streams it sent before. None comes back, because what was seen of it is forgotten and could be played again.
    streams_before: Vec<Ssrc>,
    pub dtls: Pace,
    /// From where its checks come.
    pub checked: Checked,
    /// What it is sent.
    pub outgoing: Outgoing,
    /// What of that it asked for again.
    resends: Resends,
    /// What arrives of what it sends.
    pub reception: Reception,
    /// What does not.
    pub missing: Missing,
    /// The newest packet of its stream before the latest one that arrived, and that one.
    newest_before: Option<(SeqNo, RtpTime)>,
    newest: Option<(SeqNo, RtpTime)>,
    /// How long an answer of its takes, once it was measured.
    round_trip: Option<Duration>,
}

/// A frame that is copied to everybody.
#[derive(Debug, Clone, Copy)]
pub struct Frame<'a> {
    pub ssrc: Ssrc,
    pub source: Source,
    pub time: RtpTime,
    pub payload: &'a [u8],
    /// Bytes of its payload together with its predecessor's, if they go together.
    pub pair_octets: Option<usize>,
}

impl Browser {
    #[must_use]
    pub fn new(now: Instant, wanted: &WebRtc, srtp: Option<Box<Srtp>>) -> Self {
        let local = IceCredentials { ufrag: wanted.ufrag.clone(), pwd: wanted.pwd.clone() };
        Self {
            told: WebRtc { srtp: None, ..wanted.clone() },
            agent: IceAgent::new(&local, &wanted.remote_ufrag),
            srtp,
            opus: payload_type(wanted.opus_payload_type).expect("looked at before"),
            red: payload_type(wanted.red_payload_type).filter(|number| number.0 != 0),
            audio_level: u8::try_from(wanted.ext_audio_level).ok().filter(|id| *id != 0),
            stream: None,
            streams_before: Vec::new(),
            dtls: Pace::new(now, DTLS_PER_S, DTLS_BURST_S),
            checked: Checked::default(),
            outgoing: Outgoing::default(),
            resends: Resends::new(now),
            reception: Reception::default(),
            missing: Missing::default(),
            newest_before: None,
            newest: None,
            round_trip: None,
        }
    }

    #[must_use]
    pub fn ufrag(&self) -> &str {
        &self.told.ufrag
    }

    /// The same transport, whether or not its keys are known by now.
    #[must_use]
    pub fn is(&self, wanted: &WebRtc) -> bool {
        let WebRtc {
            ufrag,
            pwd,
            remote_ufrag,
            opus_payload_type,
            red_payload_type,
            ext_audio_level,
            srtp: _,
        } = wanted;
        let told = &self.told;
        (ufrag, pwd, remote_ufrag) == (&told.ufrag, &told.pwd, &told.remote_ufrag)
            && (opus_payload_type, red_payload_type, ext_audio_level)
                == (&told.opus_payload_type, &told.red_payload_type, &told.ext_audio_level)
    }

    /// Whether a packet under this SSRC may be the one audio stream that it sends.
    #[must_use]
    pub fn may_send(&self, ssrc: Ssrc) -> bool {
        self.stream == Some(ssrc)
            || (self.streams_before.len() < BROWSER_STREAMS_MAX && !self.streams_before.contains(&ssrc))
    }

    #[must_use]
    pub fn sends(&self, ssrc: Ssrc) -> bool {
        self.stream == Some(ssrc)
    }

    /// The stream it sends, and the ones it sent before.
    #[must_use]
    pub fn streams(&self) -> (Option<Ssrc>, &[Ssrc]) {
        (self.stream, &self.streams_before)
    }

    /// Goes on with a stream of which another relay has heard.
    pub fn put_streams(&mut self, stream: Option<Ssrc>, before: Vec<Ssrc>) {
        (self.stream, self.streams_before) = (stream, before);
    }

    #[must_use]
    pub fn stream(&self) -> Option<Ssrc> {
        self.stream
    }

    /// An authenticated packet of audio came under a new SSRC, which is its stream from now on.
    pub fn begin_stream(&mut self, ssrc: Ssrc) {
        self.streams_before.extend(self.stream.replace(ssrc));
        self.reception = Reception::default();
        self.missing = Missing::default();
        (self.newest_before, self.newest) = (None, None);
    }

    /// An opened packet of its stream.
    pub fn received(&mut self, now: Instant, opened: &Opened) {
        let (seq, time) = (opened.seq, opened.header.time);
        self.reception.received(now, seq, time);
        self.missing.found(now, seq);
        self.newest_before = self.newest;
        if self.newest.is_none_or(|(newest, _)| seq > newest) {
            self.newest = Some((seq, time));
        }
    }

    /// Whether a packet with this number and time can stand beside the newest one that came before the latest.
    #[must_use]
    pub fn fits(&self, seq: SeqNo, time: RtpTime) -> bool {
        self.newest_before
            .is_some_and(|(before, its_time)| seq != before && (seq > before) == (time.since(its_time) > 0))
    }

    /// Which packets of its stream to ask for.
    pub fn asks(&mut self, now: Instant) -> Asks {
        self.missing.asks(now, self.round_trip.unwrap_or(ROUND_TRIP_GUESS))
    }

    /// What it says of a stream that it was sent; `middle` is what now is in the terms of the reports.
    pub fn reported(&mut self, block: &ReportBlock, middle: u32) {
        self.outgoing.lost(block.ssrc, block.fraction_lost);
        if block.last_sr != 0 {
            let taken = middle.wrapping_sub(block.last_sr).wrapping_sub(block.delay_since_sr);
            let taken = Duration::from_secs(1) * taken.min(u32::from(u16::MAX) * 64) / 65_536;
            self.round_trip = (taken <= ROUND_TRIP_MAX).then_some(taken).or(self.round_trip);
        }
    }

    /// Reads what [`Self::send`] will read, so that it is at hand by then. The result means nothing.
    #[inline]
    #[must_use]
    pub fn touch(&self, ssrc: Ssrc, page: &Page) -> u64 {
        let srtp = self.srtp.as_ref().map_or(0, |srtp| srtp.touch());
        srtp ^ self.outgoing.touch(ssrc, page) ^ u64::from(self.opus.0)
    }

    /// Writes and seals a frame's packet for this listener, whose number for it is `seq`; nothing if it must not see it.
    #[inline]
    pub fn send(
        &mut self,
        now: Instant,
        frame: &Frame<'_>,
        seq: SeqNo,
        (recent, page): (&Recent, &mut Page),
        slot: &mut [u8],
    ) -> Option<Result<usize, SealError>> {
        let packet = Outbound {
            source: frame.source,
            seq,
            time: frame.time,
            octets: frame.payload.len(),
            pair_octets: frame.pair_octets.filter(|_| self.red.is_some()),
        };
        let placed = self.outgoing.place(now, frame.ssrc, &packet, page)?;
        let kept = Kept { time: frame.time, payload: frame.payload };
        let earlier = if placed.redundant { recent.earlier(frame.source.seq) } else { None };
        Some(self.seal(frame.ssrc, placed, kept, earlier, slot))
    }

    /// The very same packet that it was sent under the number `wire`; nothing if there was none, it is no longer known, or it asks too often.
    pub fn send_again(
        &mut self,
        now: Instant,
        (ssrc, leg): (Ssrc, LegKey),
        wire: u16,
        recent: &Recent,
        slot: &mut [u8],
    ) -> Option<Result<usize, SealError>> {
        let (source, placed) = self.outgoing.sent(ssrc, leg, wire)?;
        let kept = recent.get(source.seq)?;
        let earlier = if placed.redundant { Some(recent.earlier(source.seq)?) } else { None };
        if !self.resends.admit(now, ssrc, placed.index) {
            return None;
        }
        Some(self.seal(ssrc, placed, kept, earlier, slot))
    }

    fn seal(
        &mut self,
        ssrc: Ssrc,
        placed: Placed,
        kept: Kept<'_>,
        earlier: Option<Earlier<'_>>,
        slot: &mut [u8],
    ) -> Result<usize, SealError> {
        let payload_type = if earlier.is_some() { self.red.unwrap_or(self.opus) } else { self.opus };
        let seq = placed.index.wire();
        let header = RtpHeader { payload_type, seq, time: kept.time, ssrc, ..RtpHeader::default() };
        header.write(&[], slot).expect("a slot holds any datagram");
        let body = &mut slot[FIXED_HEADER_LEN..];
        let len = match earlier {
            Some(earlier) => {
                red::write_pair(self.opus, earlier.time_offset, earlier.payload, kept.payload, body)
                    .expect("it was looked at when it was kept")
            }
            None => {
                body[..kept.payload.len()].copy_from_slice(kept.payload);
                kept.payload.len()
            }
        };
        let srtp = self.srtp.as_mut().expect("a route ends with the keys it needs");
        srtp.seal_plain_rtp(slot, FIXED_HEADER_LEN + len, (ssrc, placed.index))
    }

    /// What is to be said about its stream.
    pub fn report(&mut self, now: Instant, window: &ReplayWindow) -> Option<ReportBlock> {
        let highest: SeqNo = window.highest()?;
        Some(self.reception.report(now, self.stream?, highest))
    }
}
