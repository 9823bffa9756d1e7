//! A browser's end for [`super::fuzz_shard`]: seals what it is told to, opens what comes, and fails when that does not open or when a number is
//! used for a second packet.

use std::collections::HashMap;
use std::net::SocketAddr;

use rtp_wire::{Kind, PayloadType, RtpHeader, RtpTime, SeqNo, Ssrc, classify};
use sfu_wire::{Leg, WebRtc};
use transport::{DtlsRole, ReplayWindow, Srtp, SrtpProfile};

use super::LEGS;

/// Nobody else's.
pub const PORT: u16 = 2000;

/// Flags of [`End::wanted`] beside the two rights.
const HAS_KEYS: u8 = 4;
pub const NEW_TRANSPORT: u8 = 8;
pub const ARRIVED: u8 = 16;

const OPUS: u32 = 111;
const RED: u32 = 63;
const PROFILE: SrtpProfile = SrtpProfile::AeadAes128Gcm;

pub struct End {
    number: u8,
    /// How many transports it has had; keys come once.
    version: u32,
    srtp: Srtp,
    windows: HashMap<Ssrc, ReplayWindow>,
    seen: HashMap<(Ssrc, u16), Vec<u8>>,
    /// What signalling said of it last.
    said: Leg,
}

fn material(number: u8, version: u32) -> Vec<u8> {
    let mut material = vec![number + 1; PROFILE.keying_material_len()];
    for part in material.chunks_exact_mut(4) {
        part.copy_from_slice(&(version << 8 | u32::from(number)).to_be_bytes());
    }
    material
}

impl End {
    pub fn new(number: u8) -> Self {
        Self::with_version(number, 0)
    }

    fn with_version(number: u8, version: u32) -> Self {
        let srtp = Srtp::new(PROFILE, &material(number, version), DtlsRole::Client);
        Self {
            number,
            version,
            srtp: srtp.expect("it has the profile's length"),
            windows: HashMap::new(),
            seen: HashMap::new(),
            said: Leg::default(),
        }
    }

    pub fn id(&self) -> u64 {
        u64::from(LEGS + self.number)
    }

    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([10, 0, 1, self.number], PORT))
    }

    /// What signalling says of it. A transport that has had its keys keeps them.
    pub fn wanted(&mut self, room: u8, flags: u8) -> Leg {
        if flags & NEW_TRANSPORT != 0 {
            *self = Self::with_version(self.number, self.version + 1);
        }
        let srtp = sfu_wire::Srtp {
            profile: PROFILE.name().to_owned(),
            keying_material: material(self.number, self.version),
        };
        let webrtc = WebRtc {
            ufrag: format!("ours-{}-{}", self.number, self.version),
            pwd: "a password that no corpus holds".to_owned(),
            remote_ufrag: "theirs".to_owned(),
            opus_payload_type: OPUS,
            red_payload_type: RED,
            ext_audio_level: 1,
            srtp: (flags & HAS_KEYS != 0).then_some(srtp),
        };
        self.said = Leg {
            id: self.id(),
            room: u64::from(room),
            ssrc: 2000 + u32::from(self.number),
            speak: flags & 1 != 0,
            hear: flags & 2 != 0,
            webrtc: Some(webrtc),
            ..Leg::default()
        };
        self.leg()
    }

    pub fn leg(&self) -> Leg {
        self.said.clone()
    }

    pub fn frame(&mut self, payload_type: u8, seq: u16, payload: &[u8]) -> Vec<u8> {
        let header = RtpHeader {
            payload_type: PayloadType([OPUS, RED, 96][usize::from(payload_type % 3)] as u8),
            seq,
            time: RtpTime(u32::from(seq) * 960),
            // It may choose the name of another's stream.
            ssrc: Ssrc(2000 + u32::from(payload_type / 3 % 3)),
            ..RtpHeader::default()
        };
        let mut buf = vec![0; 400];
        let at = header.write(&[], &mut buf).expect("there is room");
        buf[at..at + payload.len()].copy_from_slice(payload);
        let index = SeqNo(u64::from(seq));
        let len = self.srtp.seal_rtp(&mut buf, at + payload.len(), index).expect("there is room");
        buf.truncate(len);
        buf
    }

    /// Nothing for what is too short to be sealed.
    pub fn rtcp(&mut self, plain: &[u8]) -> Option<Vec<u8>> {
        let mut buf = vec![0; 400];
        buf[..plain.len()].copy_from_slice(plain);
        // So that it is told from RTP.
        (buf[0], buf[1]) = (0x80 | buf[0] & 0x3F, 192 + buf[1] % 32);
        let len = self.srtp.seal_rtcp(&mut buf, plain.len()).ok()?;
        buf.truncate(len);
        Some(buf)
    }

    pub fn receive(&mut self, mut datagram: Vec<u8>) {
        match classify(&datagram) {
            Kind::Rtp => {
                let header = RtpHeader::parse(&datagram).expect("it was sent to a browser");
                let key = (header.ssrc, header.seq);
                if self.seen.insert(key, datagram.clone()).as_ref() == Some(&datagram) {
                    return;
                }
                let window = self.windows.entry(header.ssrc).or_default();
                self.srtp.open_rtp(&mut datagram, window).expect("each number is one packet");
            }
            Kind::Rtcp => {
                self.srtp.open_rtcp(&mut datagram).expect("each report is new");
            }
            // Pongs and answers to discovery, which are no longer than what asked for them.
            _ => {}
        }
    }
}
