//! A browser's end of a transport.

use std::collections::{HashMap, HashSet};
use std::net::{SocketAddr, UdpSocket};

use hmac::{Hmac, KeyInit as _, Mac as _};
use rtp_wire::stun::{StunBuilder, StunMessage};
use rtp_wire::{Kind, PayloadType, RtpHeader, SeqNo, Ssrc, classify};
use sfu_wire::{Leg, WebRtc};
use sha1::Sha1;
use transport::{DtlsRole, ReplayWindow, Srtp, SrtpProfile};

use super::PATIENCE;

const OPUS: u8 = 111;
const PROFILE: SrtpProfile = SrtpProfile::AeadAes128Gcm;

pub struct Page {
    pub id: u64,
    socket: UdpSocket,
    relay: SocketAddr,
    srtp: Srtp,
    seq: SeqNo,
    windows: HashMap<Ssrc, ReplayWindow>,
    /// Every index that we were sent, of packets and of reports. The keys are of that direction alone.
    indices: HashSet<(Ssrc, u64)>,
    rtcp_indices: HashSet<u32>,
}

impl Page {
    pub fn new(id: u64, relay: SocketAddr) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self {
            id,
            socket,
            relay,
            srtp: Srtp::new(PROFILE, &material(id), DtlsRole::Client).unwrap(),
            // Soon there is a rollover.
            seq: SeqNo(65_300),
            windows: HashMap::new(),
            indices: HashSet::new(),
            rtcp_indices: HashSet::new(),
        }
    }

    pub fn ssrc(&self) -> Ssrc {
        Ssrc(100 + self.id as u32)
    }

    pub fn leg(&self) -> Leg {
        let srtp = sfu_wire::Srtp { profile: PROFILE.name().into(), keying_material: material(self.id) };
        let webrtc = WebRtc {
            ufrag: format!("ours{}", self.id),
            pwd: "the password of the server".into(),
            remote_ufrag: "theirs".into(),
            opus_payload_type: OPUS.into(),
            srtp: Some(srtp),
            ..WebRtc::default()
        };
        let ssrc = self.ssrc().0;
        Leg { id: self.id, room: 1, ssrc, speak: true, hear: true, webrtc: Some(webrtc), ..Leg::default() }
    }

    /// The one check that it ever makes: afterwards it must be known where it is.
    pub fn check(&self) {
        let mut buf = [0; 200];
        let mut request = StunBuilder::request([7; 12], &mut buf).unwrap();
        request.username(&format!("ours{}:theirs", self.id)).unwrap();
        request.priority(1).unwrap();
        request.controlling(5).unwrap();
        request.use_candidate().unwrap();
        let integrity = request.integrity(|header, body| {
            let mac = Hmac::<Sha1>::new_from_slice(b"the password of the server").unwrap();
            mac.chain_update(header).chain_update(body).finalize().into_bytes().into()
        });
        integrity.unwrap();
        request.fingerprint().unwrap();
        let len = request.finish();
        self.socket.send_to(&buf[..len], self.relay).unwrap();
        let len = self.socket.recv(&mut buf).unwrap();
        assert!(StunMessage::parse(&buf[..len]).unwrap().is_binding_success());
    }

    pub fn say(&mut self, payload: &[u8]) {
        self.seq = self.seq.next();
        let (payload_type, seq) = (PayloadType(OPUS), self.seq.wire());
        // A name of its own choosing.
        let header = RtpHeader { payload_type, seq, ssrc: Ssrc(5), ..RtpHeader::default() };
        let mut buf = [0; 200];
        let at = header.write(&[], &mut buf).unwrap();
        buf[at..at + payload.len()].copy_from_slice(payload);
        let len = self.srtp.seal_rtp(&mut buf, at + payload.len(), self.seq).unwrap();
        self.socket.send_to(&buf[..len], self.relay).unwrap();
    }

    /// The next packet: its stream, its index and what is in it; nothing of a report.
    pub fn receive(&mut self) -> Option<(Ssrc, SeqNo, Vec<u8>)> {
        let mut buf = [0; 2048];
        let len = self.socket.recv(&mut buf).unwrap();
        let packet = &mut buf[..len];
        if classify(packet) == Kind::Rtcp {
            let index = u32::from_be_bytes(*packet.last_chunk().unwrap());
            assert!(self.rtcp_indices.insert(index), "an index of RTCP was used twice: {index:x}");
            self.srtp.open_rtcp(packet).unwrap();
            return None;
        }
        let ssrc = RtpHeader::peek_ssrc(packet).unwrap();
        let opened = self.srtp.open_rtp(packet, self.windows.entry(ssrc).or_default()).unwrap();
        assert!(self.indices.insert((ssrc, opened.seq.0)), "an index was used twice: {:?}", opened.seq);
        Some((ssrc, opened.seq, buf[opened.body].to_vec()))
    }
}

fn material(id: u64) -> Vec<u8> {
    (0..PROFILE.keying_material_len()).map(|n| n as u8 ^ id as u8).collect()
}
