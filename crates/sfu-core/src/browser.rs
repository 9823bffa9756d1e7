//! A browser's transport: ICE-lite, SRTP, and what it calls things.
//!
//! Owns the keys, the numbers that each stream has for this listener, and what is reported about the stream it sends. A browser chooses the
//! SSRC of what it sends by itself, and two may choose the same one; so its leg is found by address, and others never see that SSRC.

use std::time::Instant;

use rtp_wire::rtcp::ReportBlock;
use rtp_wire::{PayloadType, SeqNo, Ssrc};
use sfu_wire::WebRtc;
use transport::{IceAgent, IceCredentials, Opened, ReplayWindow, Srtp};

use crate::limits::{BROWSER_STREAMS_MAX, DTLS_BURST_S, DTLS_PER_S};
use crate::outgoing::Outgoing;
use crate::pace::Pace;
use crate::reception::Reception;
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
    /// What it is sent.
    pub outgoing: Outgoing,
    /// What arrives of what it sends.
    pub reception: Reception,
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
            outgoing: Outgoing::default(),
            reception: Reception::default(),
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

    /// An authenticated packet of audio came under a new SSRC, which is its stream from now on.
    pub fn begin_stream(&mut self, ssrc: Ssrc) {
        self.streams_before.extend(self.stream.replace(ssrc));
        self.reception = Reception::default();
    }

    /// An opened packet of its stream, for the reports about it.
    pub fn received(&mut self, now: Instant, opened: &Opened) {
        self.reception.received(now, opened.seq, opened.header.time);
    }

    /// What is to be said about its stream.
    pub fn report(&mut self, now: Instant, window: &ReplayWindow) -> Option<ReportBlock> {
        let highest: SeqNo = window.highest()?;
        Some(self.reception.report(now, self.stream?, highest))
    }
}
