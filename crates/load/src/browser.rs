//! A browser's media, by a WebRTC implementation that is not ours: ICE in full, DTLS as the client, SRTP, reports.
//!
//! Owns: what a page and its browser do for one peer connection. Deliberately does not: own a socket or wait; whoever drives it hands in
//! datagrams and the time, and sends what comes out.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, ensure};
use client_wire::fragment::{ClientFragment, Fingerprint, ServerFragment};
use rtp_wire::Ssrc;
use str0m::config::DtlsVersion;
use str0m::media::{MediaKind, Mid, Pt};
use str0m::net::{Protocol, Receive};
use str0m::rtp::{Extension, ExtensionValues, RtpWrite};
use str0m::{Candidate, Event, IceConnectionState, IceCreds, Input, Output, Rtc, RtcConfig};

use crate::participant::Frame;

/// What Chromium calls things.
const OPUS: u8 = 111;
const AUDIO_LEVEL: u8 = 1;
const MID: u8 = 4;

pub struct Browser {
    rtc: Rtc,
    local: SocketAddr,
    remote: SocketAddr,
    /// The name that it gives its own stream.
    ssrc: Ssrc,
    /// When it wants to be woken.
    due: Instant,
    /// A check of ours was answered.
    reached: bool,
    /// Packets can be sent and opened.
    connected: bool,
}

impl Browser {
    /// What SRTP adds to a packet: the tag of AES-GCM (RFC 7714 section 5.1).
    pub const OVERHEAD: usize = 16;

    /// `local` is where its datagrams come from.
    pub fn new(now: Instant, local: SocketAddr) -> anyhow::Result<Self> {
        let mut rtc = RtcConfig::new()
            .set_crypto_provider(Arc::new(str0m::crypto::from_feature_flags()))
            .set_dtls_version(DtlsVersion::Auto)
            .clear_codecs()
            .enable_opus(true, false)
            .clear_extension_map()
            .set_extension(AUDIO_LEVEL, Extension::AudioLevel)
            .set_extension(MID, Extension::RtpMid)
            .set_rtp_mode(true)
            .build(now);
        rtc.add_local_candidate(Candidate::host(local, "udp")?).context("its own address was refused")?;
        let ssrc = Ssrc(rand::random());
        let mut api = rtc.direct_api();
        api.set_ice_controlling(true);
        let microphone = Mid::from("0");
        api.declare_media(microphone, MediaKind::Audio);
        api.declare_stream_tx(ssrc.0.into(), None, microphone, None);
        Ok(Self { rtc, local, remote: local, ssrc, due: now, reached: false, connected: false })
    }

    /// What the server is told in SELECT PROTOCOL.
    pub fn fragment(&mut self) -> anyhow::Result<ClientFragment> {
        let api = self.rtc.direct_api();
        let IceCreds { ufrag, pass } = api.local_ice_credentials();
        let fingerprint = api.local_dtls_fingerprint();
        ensure!(fingerprint.hash_func == "sha-256", "a fingerprint by {}", fingerprint.hash_func);
        let hash = fingerprint.bytes.as_slice().try_into().context("SHA-256 has 32 bytes")?;
        Ok(ClientFragment {
            ufrag,
            pwd: pass,
            fingerprint: Fingerprint(hash),
            opus: OPUS,
            red: None,
            audio_level: Some(AUDIO_LEVEL),
        })
    }

    /// The server's answer: from here on it checks the path and shakes hands.
    pub fn describe(&mut self, server: &ServerFragment) -> anyhow::Result<()> {
        self.remote = server.address.into();
        let mut api = self.rtc.direct_api();
        api.set_remote_ice_credentials(IceCreds { ufrag: server.ufrag.clone(), pass: server.pwd.clone() });
        api.set_remote_fingerprint(str0m::config::Fingerprint {
            hash_func: "sha-256".to_owned(),
            bytes: server.fingerprint.0.to_vec(),
        });
        api.start_dtls(true)?;
        self.rtc.add_remote_candidate(Candidate::host(self.remote, "udp")?);
        Ok(())
    }

    /// A stream that was announced: a section of its own, as a page makes it. Packets of others are ignored, as by a browser.
    pub fn expect(&mut self, ssrc: Ssrc) {
        let mid = Mid::from(ssrc.0.to_string().as_str());
        let mut api = self.rtc.direct_api();
        api.declare_media(mid, MediaKind::Audio);
        // A page asks for no resending of sound.
        api.expect_stream_rx(ssrc.0.into(), None, mid, None).suppress_nack(true);
    }

    pub fn due(&self) -> Instant {
        self.due
    }

    pub fn ssrc(&self) -> Ssrc {
        self.ssrc
    }

    pub fn is_reached(&self) -> bool {
        self.reached
    }

    pub fn is_connected(&self) -> bool {
        self.connected
    }

    /// Whether the frame went out.
    pub fn speak(
        &mut self,
        now: Instant,
        frame: &Frame,
        send: &mut impl FnMut(&[u8]) -> bool,
    ) -> anyhow::Result<bool> {
        let level =
            ExtensionValues { audio_level: Some(-20), voice_activity: Some(true), ..Default::default() };
        let opus = Pt::new_with_value(OPUS);
        let packet = RtpWrite::new(opus, frame.seq.0.into(), frame.time.0, now, &frame.payload[..]);
        let mut api = self.rtc.direct_api();
        let stream = api.stream_tx(&self.ssrc.0.into()).context("the microphone's stream is declared")?;
        stream.write_rtp(packet.ext_vals(level));
        self.rtc.handle_input(Input::Timeout(now))?;
        let mut sent = false;
        self.turn(&mut |datagram| {
            let taken = send(datagram);
            sent |= taken && rtp_wire::classify(datagram) == rtp_wire::Kind::Rtp;
            taken
        })?;
        Ok(sent)
    }

    /// Takes a datagram in, and returns the payload if it was a packet that opened.
    pub fn receive(
        &mut self,
        now: Instant,
        datagram: &[u8],
        send: &mut impl FnMut(&[u8]) -> bool,
    ) -> anyhow::Result<Option<Arc<[u8]>>> {
        let Ok(receive) = Receive::new(Protocol::Udp, self.remote, self.local, datagram) else {
            return Ok(None);
        };
        self.rtc.handle_input(Input::Receive(now, receive))?;
        self.turn(send)
    }

    pub fn wake(&mut self, now: Instant, send: &mut impl FnMut(&[u8]) -> bool) -> anyhow::Result<()> {
        if self.due <= now {
            self.rtc.handle_input(Input::Timeout(now))?;
            self.turn(send)?;
        }
        Ok(())
    }

    /// Takes everything that there is to come out.
    fn turn(&mut self, send: &mut impl FnMut(&[u8]) -> bool) -> anyhow::Result<Option<Arc<[u8]>>> {
        let mut payload = None;
        loop {
            match self.rtc.poll_output()? {
                Output::Timeout(at) => {
                    self.due = at;
                    return Ok(payload);
                }
                // What is lost of checks, handshake and reports is sent again.
                Output::Transmit(transmit) => _ = send(&transmit.contents),
                Output::Event(Event::RtpPacket(packet)) => payload = Some(packet.payload),
                Output::Event(Event::Connected) => self.connected = true,
                Output::Event(Event::IceConnectionStateChange(state)) => {
                    self.reached |=
                        matches!(state, IceConnectionState::Connected | IceConnectionState::Completed);
                }
                Output::Event(_) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_fragment_is_one_that_a_server_can_read() {
        let mut browser = Browser::new(Instant::now(), "127.0.0.1:5000".parse().unwrap()).unwrap();
        let fragment = browser.fragment().unwrap();
        assert_eq!(ClientFragment::parse(&fragment.to_string(), None), Ok(fragment));
    }

    #[test]
    fn it_checks_the_path_at_once_and_nothing_is_sent_before_it_is_connected() {
        let now = Instant::now();
        let mut browser = Browser::new(now, "127.0.0.1:5000".parse().unwrap()).unwrap();
        let server = ServerFragment {
            address: "127.0.0.1:6000".parse().unwrap(),
            ufrag: "abcd".into(),
            pwd: "0123456789012345678901".into(),
            fingerprint: Fingerprint([1; 32]),
            tcp_port: None,
        };
        browser.describe(&server).unwrap();
        let mut sent = Vec::new();
        let mut send = |datagram: &[u8]| {
            sent.push(rtp_wire::classify(datagram));
            true
        };
        for ms in [0, 100] {
            browser.wake(now + std::time::Duration::from_millis(ms), &mut send).unwrap();
        }
        let frame =
            Frame::new(rtp_wire::SeqNo(1), rtp_wire::RtpTime(1), std::time::Duration::from_millis(1), 0);
        let spoken = browser.speak(now + std::time::Duration::from_millis(200), &frame, &mut send).unwrap();
        assert!(!spoken && !browser.is_reached() && !browser.is_connected());
        assert!(sent.contains(&rtp_wire::Kind::Stun) && !sent.contains(&rtp_wire::Kind::Rtp), "{sent:?}");
    }
}
