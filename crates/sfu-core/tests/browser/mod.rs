//! A browser's end of a transport: ICE checks, SRTP as the DTLS client, its own names for streams and payload types.
#![allow(dead_code, clippy::unwrap_used)]

use std::collections::HashMap;
use std::net::SocketAddr;

use hmac::{Hmac, KeyInit, Mac};
use rtp_wire::rtcp::{self, ReportBlock, Rtcp, SenderInfo};
use rtp_wire::stun::{StunBuilder, StunMessage};
use rtp_wire::{
    AudioLevel, ExtensionForm, ExtensionWriter, Kind, Packet, PayloadType, RtpHeader, RtpTime, SeqNo, Ssrc,
    classify,
};
use sfu_wire::{Leg, ToSfu, WebRtc};
use sha1::Sha1;
use transport::{DtlsRole, ReplayWindow, Srtp, SrtpProfile};

use crate::net::World;

pub const OPUS: u32 = 111;
pub const RED: u32 = 63;
pub const LEVEL: u8 = 1;

pub struct Browser {
    pub leg: Leg,
    pub address: SocketAddr,
    pub profile: SrtpProfile,
    pub material: Vec<u8>,
    pub srtp: Srtp,
    pub ssrc: Ssrc,
    /// Extended as SRTP has it: the rollover counter begins at zero.
    pub seq: SeqNo,
    pub time: RtpTime,
    pub windows: HashMap<Ssrc, ReplayWindow>,
    /// What was heard: stream, extended number, payload type, payload.
    pub heard: Vec<(Ssrc, SeqNo, PayloadType, Vec<u8>)>,
    pub sender_reports: Vec<(Ssrc, SenderInfo)>,
    pub blocks: Vec<ReportBlock>,
    /// The latest packet under each number, as it came.
    pub sealed: HashMap<(Ssrc, u16), Vec<u8>>,
    /// Packets that came once more.
    pub again: usize,
    /// The numbers of its own stream that it was asked for.
    pub asked: Vec<u16>,
    pub answers: usize,
    pub dtls: Vec<Vec<u8>>,
}

impl Browser {
    /// Signalling has answered its SELECT PROTOCOL; nothing has been sent yet.
    pub fn arrive(world: &mut World, id: u64, room: u64) -> Self {
        let profile = SrtpProfile::AeadAes128Gcm;
        let material: Vec<u8> = (0..profile.keying_material_len()).map(|n| n as u8 ^ id as u8).collect();
        let webrtc = WebRtc {
            ufrag: format!("ours{id}"),
            pwd: format!("password-of-the-server-{id}"),
            remote_ufrag: format!("theirs{id}"),
            opus_payload_type: OPUS,
            red_payload_type: RED,
            ext_audio_level: u32::from(LEVEL),
            srtp: None,
        };
        let leg = Leg {
            id,
            room,
            ssrc: 1_000_000 + id as u32,
            speak: true,
            hear: true,
            webrtc: Some(webrtc),
            ..Leg::default()
        };
        let browser = Self {
            leg,
            address: SocketAddr::from(([10, 9, (id >> 8) as u8, id as u8], 40_000)),
            srtp: Srtp::new(profile, &material, DtlsRole::Client).unwrap(),
            profile,
            material,
            ssrc: Ssrc(0xABCD_0000 + id as u32),
            seq: SeqNo(65_000),
            time: RtpTime(id as u32 * 77),
            windows: HashMap::new(),
            heard: Vec::new(),
            sender_reports: Vec::new(),
            blocks: Vec::new(),
            sealed: HashMap::new(),
            again: 0,
            asked: Vec::new(),
            answers: 0,
            dtls: Vec::new(),
        };
        browser.put(world);
        browser
    }

    /// All the way to "voice connected".
    pub fn join(world: &mut World, id: u64, room: u64) -> Self {
        let mut browser = Self::arrive(world, id, room);
        browser.check(world, true);
        browser.take_keys(world);
        browser
    }

    pub fn put(&self, world: &mut World) {
        world.tell(ToSfu::PutLeg(self.leg.clone()));
    }

    /// The handshake is done.
    pub fn take_keys(&mut self, world: &mut World) {
        let srtp = sfu_wire::Srtp {
            profile: self.profile.name().to_owned(),
            keying_material: self.material.clone(),
        };
        self.leg.webrtc.as_mut().unwrap().srtp = Some(srtp);
        self.put(world);
    }

    pub fn check_with(&self, pwd: &str, nominate: bool) -> Vec<u8> {
        let webrtc = self.leg.webrtc.as_ref().unwrap();
        let mut buf = [0; 200];
        let mut request = StunBuilder::request([7; 12], &mut buf).unwrap();
        request.username(&format!("{}:{}", webrtc.ufrag, webrtc.remote_ufrag)).unwrap();
        request.priority(1).unwrap();
        request.controlling(5).unwrap();
        if nominate {
            request.use_candidate().unwrap();
        }
        request
            .integrity(|header, body| {
                let mut mac = Hmac::<Sha1>::new_from_slice(pwd.as_bytes()).unwrap();
                mac.update(header);
                mac.update(body);
                mac.finalize().into_bytes().into()
            })
            .unwrap();
        request.fingerprint().unwrap();
        let len = request.finish();
        buf[..len].to_vec()
    }

    pub fn check(&mut self, world: &mut World, nominate: bool) {
        let pwd = self.leg.webrtc.as_ref().unwrap().pwd.clone();
        let request = self.check_with(&pwd, nominate);
        world.send(self.address, &request);
        self.receive(world);
    }

    /// A sealed frame, numbered one on, 20 ms on, as loud as said.
    pub fn frame(&mut self, payload_type: u32, payload: &[u8], level: u8) -> Vec<u8> {
        let level = AudioLevel { voice: level < 60, level }.write();
        self.frame_with(ExtensionForm::OneByte, &[(LEVEL, &level)], payload_type, payload)
    }

    /// The same with extensions of one's choice.
    pub fn frame_with(
        &mut self,
        form: ExtensionForm,
        extensions: &[(u8, &[u8])],
        payload_type: u32,
        payload: &[u8],
    ) -> Vec<u8> {
        self.seq = self.seq.next();
        self.time = self.time.wrapping_add(960);
        let mut buf = vec![0; 2_000];
        let header = RtpHeader {
            payload_type: PayloadType(payload_type as u8),
            seq: self.seq.wire(),
            time: self.time,
            ssrc: self.ssrc,
            extension: !extensions.is_empty(),
            ..RtpHeader::default()
        };
        let mut at = header.write(&[], &mut buf).unwrap();
        if header.extension {
            let mut writer = ExtensionWriter::new(form, &mut buf[at..]).unwrap();
            extensions.iter().for_each(|(id, data)| writer.push(*id, data).unwrap());
            at += writer.finish().unwrap();
        }
        buf[at..at + payload.len()].copy_from_slice(payload);
        let len = self.srtp.seal_rtp(&mut buf, at + payload.len(), self.seq).unwrap();
        buf.truncate(len);
        buf
    }

    pub fn say(&mut self, world: &mut World, payload: &[u8]) {
        let frame = self.frame(OPUS, payload, 20);
        world.send(self.address, &frame);
    }

    pub fn sealed_rtcp(&mut self, plain: &[u8]) -> Vec<u8> {
        let mut buf = vec![0; 2_000];
        buf[..plain.len()].copy_from_slice(plain);
        let len = self.srtp.seal_rtcp(&mut buf, plain.len()).unwrap();
        buf.truncate(len);
        buf
    }

    pub fn send_rtcp(&mut self, world: &mut World, plain: &[u8]) {
        let sealed = self.sealed_rtcp(plain);
        world.send(self.address, &sealed);
    }

    /// Asks for packets of somebody's stream once more.
    pub fn nack(&mut self, world: &mut World, media: Ssrc, numbers: &[u16]) {
        let mut plain = [0; 1_300];
        let mut len = rtcp::write_receiver_report(self.ssrc, &[], &mut plain).unwrap();
        len += rtcp::write_nack(self.ssrc, media, numbers, &mut plain[len..]).unwrap();
        self.send_rtcp(world, &plain[..len]);
    }

    /// Says how many of 256 packets of somebody's stream it lost.
    pub fn report_loss(&mut self, world: &mut World, ssrc: Ssrc, fraction_lost: u8) {
        let mut plain = [0; 100];
        let block = ReportBlock { ssrc, fraction_lost, ..ReportBlock::default() };
        let len = rtcp::write_receiver_report(self.ssrc, &[block], &mut plain).unwrap();
        self.send_rtcp(world, &plain[..len]);
    }

    /// Takes what has come to its address.
    pub fn receive(&mut self, world: &mut World) {
        let (here, elsewhere): (Vec<_>, Vec<_>) =
            std::mem::take(&mut world.elsewhere).into_iter().partition(|(to, _)| *to == self.address);
        world.elsewhere = elsewhere;
        for (_, mut datagram) in here {
            match classify(&datagram) {
                Kind::Stun => {
                    let answer = StunMessage::parse(&datagram).unwrap();
                    assert!(answer.is_binding_success());
                    assert_eq!(answer.xor_mapped_address(), Some(self.address));
                    self.answers += 1;
                }
                Kind::Dtls => self.dtls.push(datagram),
                Kind::Rtp => {
                    let ssrc = RtpHeader::peek_ssrc(&datagram).unwrap();
                    let wire = RtpHeader::parse(&datagram).unwrap().seq;
                    let before = self.sealed.insert((ssrc, wire), datagram.clone());
                    if before.as_ref() == Some(&datagram) {
                        self.again += 1;
                        continue;
                    }
                    let window = self.windows.entry(ssrc).or_default();
                    let opened = self.srtp.open_rtp(&mut datagram, window).expect("sealed for this browser");
                    let packet = Packet::parse(&datagram[..opened.len]).unwrap();
                    assert_eq!(opened.header_len, 12, "the plainest header");
                    self.heard.push((
                        ssrc,
                        opened.seq,
                        opened.header.payload_type,
                        packet.payload().to_vec(),
                    ));
                }
                Kind::Rtcp => {
                    let len = self.srtp.open_rtcp(&mut datagram).expect("sealed for this browser");
                    for packet in rtcp::packets(&datagram[..len]) {
                        match packet.unwrap() {
                            Rtcp::SenderReport(report) => {
                                self.sender_reports.push((report.sender, report.info))
                            }
                            Rtcp::ReceiverReport(report) => self.blocks.extend(report.blocks()),
                            Rtcp::Nack(nack) if nack.media() == self.ssrc => self.asked.extend(nack.seqs()),
                            other => panic!("{other:?}"),
                        }
                    }
                }
                kind => panic!("{kind:?}"),
            }
        }
    }

    pub fn heard(&mut self, world: &mut World) -> Vec<(Ssrc, SeqNo, PayloadType, Vec<u8>)> {
        self.receive(world);
        std::mem::take(&mut self.heard)
    }
}
