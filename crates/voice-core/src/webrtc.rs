//! Browsers: SELECT PROTOCOL `webrtc`, and what becomes of the handshake.

use client_wire::fragment::{ClientFragment, ServerFragment};
use client_wire::voice::{CloseCode, SelectProtocol, ServerFrame, WebRtcDescription};
use sfu_wire::{Srtp, WebRtc};
use std::net::SocketAddrV4;

use crate::core::VoiceCore;
use crate::limits::{PWD_BYTES, UFRAG_BYTES};
use crate::{ConnId, Event, Ice, Now, Output, SessionKey};

impl VoiceCore {
    /// Each selection is a new transport: the page has made a new peer connection.
    pub(crate) fn select_webrtc(&mut self, now: Now, conn: ConnId, key: SessionKey, select: &SelectProtocol) {
        let fragment = select.sdp.as_deref().map(|text| ClientFragment::parse(text, select.opus()));
        let Some(Ok(fragment)) = fragment else { return self.fault(conn, CloseCode::DecodeError) };
        let (ufrag, pwd) = (self.ice_chars(UFRAG_BYTES), self.ice_chars(PWD_BYTES));
        let webrtc = WebRtc {
            ufrag: ufrag.clone(),
            pwd: pwd.clone(),
            remote_ufrag: fragment.ufrag,
            opus_payload_type: u32::from(fragment.opus),
            red_payload_type: u32::from(fragment.red.unwrap_or(0)),
            ext_audio_level: u32::from(fragment.audio_level.unwrap_or(0)),
            srtp: None,
        };
        let video = select.codecs.is_some();
        let media_session_id = video.then(|| self.media_session_id());
        let Some(presence) = self.presence_mut(key) else { return };
        presence.native = None;
        let before = presence.webrtc.replace(webrtc);
        let (shard, leg) = (presence.shard, presence.leg);
        if let Some(before) = before {
            self.ufrags.remove(&before.ufrag);
        }
        self.ufrags.insert(ufrag.clone(), key);
        let port = self.config.media_ports[shard as usize];
        let ours = ServerFragment {
            address: SocketAddrV4::new(self.config.media_ip, port),
            tcp_port: self.config.ice_tcp_port,
            ufrag: ufrag.clone(),
            pwd,
            fingerprint: self.config.fingerprint,
        };
        let fingerprint = fragment.fingerprint;
        self.outputs.push_back(Output::BeginDtls { shard, leg, ufrag, fingerprint });
        let description = WebRtcDescription {
            audio_codec: video.then(|| "opus".to_owned()),
            video_codec: video.then(|| "H264".to_owned()),
            media_session_id,
            dave_protocol_version: video.then_some(0),
            sdp: ours.to_string(),
        };
        self.describe(now, key, &ServerFrame::WebRtcDescription(description));
    }

    /// The handshake of a leg's transport is done, and the certificate was the right one.
    pub fn handle_dtls_done(&mut self, shard: u32, leg: u64, ufrag: &str, srtp: Srtp) {
        let Some((key, webrtc)) = self.transport(shard, leg, ufrag) else { return };
        webrtc.srtp = Some(srtp);
        self.put_leg(key);
    }

    /// The handshake of a leg's transport cannot succeed any more. The client is sent to join anew.
    pub fn handle_dtls_failed(&mut self, shard: u32, leg: u64, ufrag: &str) {
        let Some((key, _)) = self.transport(shard, leg, ufrag) else { return };
        self.event(Event::HandshakeFailed);
        self.end_presence(key, Some(CloseCode::SessionTimeout));
    }

    /// The transport that this user name fragment of ours names, for whoever came over TCP to check it.
    pub fn ice(&self, ufrag: &str) -> Option<Ice> {
        let presence = self.presence(*self.ufrags.get(ufrag)?)?;
        let webrtc = presence.webrtc.as_ref()?;
        Some(Ice {
            shard: presence.shard,
            leg: presence.leg,
            ufrag: webrtc.ufrag.clone(),
            pwd: webrtc.pwd.clone(),
            remote_ufrag: webrtc.remote_ufrag.clone(),
        })
    }

    /// A leg's transport, if it is still this one.
    fn transport(&mut self, shard: u32, leg: u64, ufrag: &str) -> Option<(SessionKey, &mut WebRtc)> {
        let key = *self.legs.get(shard as usize)?.get(&leg)?;
        let webrtc = self.presence_mut(key)?.webrtc.as_mut()?;
        (webrtc.ufrag == ufrag && webrtc.srtp.is_none()).then_some((key, webrtc))
    }

    /// Random text of the 64 characters that ICE allows (RFC 8839 section 5.4).
    fn ice_chars(&mut self, len: usize) -> String {
        const CHARS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let mut bytes = vec![0; len];
        (self.random)(&mut bytes);
        bytes.iter().map(|byte| char::from(CHARS[usize::from(byte & 63)])).collect()
    }
}
