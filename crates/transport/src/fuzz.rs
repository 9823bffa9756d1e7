//! Bodies for fuzzers: hostile bytes to an open session and to an end of ICE. None of them may panic or succeed.

use rtp_wire::{RtpHeader, SeqNo, stun::StunMessage};

use crate::{
    DtlsRole, IceAgent, IceCredentials, Key, Mode, NonceCounter, ReplayWindow, Session, Srtp, SrtpProfile,
    ice,
};

/// The longest datagram that the relay receives.
const DATAGRAM_MAX_LEN: usize = 2048;

/// Offers `data` as RTP and as RTCP in every mode, under a key that whoever made it does not know.
pub fn fuzz_open(data: &[u8]) {
    let mut buf = [0; DATAGRAM_MAX_LEN];
    let Some(buf) = buf.get_mut(..data.len()) else { return };
    for mode in Mode::ALL.into_iter().chain([Mode::Aes256Gcm]) {
        let key = Key::new([0x5A; Key::LEN]);
        let mut session = Session::new(mode, &key, NonceCounter::server(0), [0; 16]);
        buf.copy_from_slice(data);
        let mut window = ReplayWindow::new();
        assert!(session.open_rtp(buf, &mut window).is_err(), "a forgery was accepted");
        assert_eq!(window, ReplayWindow::new(), "a forgery changed the window");
        buf.copy_from_slice(data);
        assert!(session.open_rtcp(buf).is_err(), "a forgery was accepted");
    }
}

/// Seals whatever RTP or RTCP `data` is and opens it again: the same comes out.
pub fn fuzz_round_trip(data: &[u8]) {
    let mut buf = [0; DATAGRAM_MAX_LEN];
    if data.len() + Mode::OVERHEAD_MAX > buf.len() {
        return;
    }
    for mode in Mode::ALL.into_iter().chain([Mode::Aes256Gcm]) {
        let key = Key::new([0x5A; Key::LEN]);
        let mut sender = Session::new(mode, &key, NonceCounter::client(7), [1; 16]);
        let mut receiver = Session::new(mode, &key, NonceCounter::server(1 << 31), [2; 16]);
        buf[..data.len()].copy_from_slice(data);
        if let Ok(len) = sender.seal_rtp(&mut buf, data.len()) {
            assert_eq!(len, data.len() + mode.overhead());
            // What is authentic may still contradict its own header; then nothing more is claimed.
            if let Ok(opened) = receiver.open_rtp(&mut buf[..len], &mut ReplayWindow::new()) {
                assert_eq!(&buf[..opened.len], data);
            }
        }
        buf[..data.len()].copy_from_slice(data);
        if let Ok(len) = sender.seal_rtcp(&mut buf, data.len()) {
            let opened = receiver.open_rtcp(&mut buf[..len]).expect("what we seal opens");
            assert_eq!(&buf[..opened], data);
        }
    }
}

/// Two ends of one handshake.
fn srtp_pair(profile: SrtpProfile) -> (Srtp, Srtp) {
    let material = [0x5A; SrtpProfile::KEYING_MATERIAL_MAX_LEN];
    let material = &material[..profile.keying_material_len()];
    let end = |role| Srtp::new(profile, material, role).expect("it has the profile's length");
    (end(DtlsRole::Client), end(DtlsRole::Server))
}

/// Offers `data` as RTP and as RTCP in every profile.
pub fn fuzz_srtp_open(data: &[u8]) {
    let mut buf = [0; DATAGRAM_MAX_LEN];
    let Some(buf) = buf.get_mut(..data.len()) else { return };
    for profile in SrtpProfile::ALL {
        let (mut srtp, _) = srtp_pair(profile);
        buf.copy_from_slice(data);
        let mut window = ReplayWindow::new();
        assert!(srtp.open_rtp(buf, &mut window).is_err(), "a forgery was accepted");
        assert_eq!(window, ReplayWindow::new(), "a forgery changed the window");
        let before = srtp.state();
        buf.copy_from_slice(data);
        assert!(srtp.open_rtcp(buf).is_err(), "a forgery was accepted");
        assert_eq!(srtp.state(), before, "a forgery changed what was seen");
    }
}

/// Seals whatever RTP or RTCP `data` is and opens it again: the same comes out.
pub fn fuzz_srtp_round_trip(data: &[u8]) {
    let mut buf = [0; DATAGRAM_MAX_LEN];
    if data.len() + SrtpProfile::OVERHEAD_MAX > buf.len() {
        return;
    }
    for profile in SrtpProfile::ALL {
        let (mut sender, mut receiver) = srtp_pair(profile);
        buf[..data.len()].copy_from_slice(data);
        let seq = RtpHeader::parse(data).map_or(0, |header| header.seq);
        if let Ok(len) = sender.seal_rtp(&mut buf, data.len(), SeqNo(u64::from(seq))) {
            assert_eq!(len, data.len() + profile.rtp_overhead());
            // What is authentic may still contradict its own header; then nothing more is claimed.
            if let Ok(opened) = receiver.open_rtp(&mut buf[..len], &mut ReplayWindow::new()) {
                assert_eq!(&buf[..opened.len], data);
            }
        }
        buf[..data.len()].copy_from_slice(data);
        if let Ok(len) = sender.seal_rtcp(&mut buf, data.len()) {
            let opened = receiver.open_rtcp(&mut buf[..len]).expect("what we seal opens");
            assert_eq!(&buf[..opened], data);
        }
    }
}

/// Offers `data` as a check to a leg whose password nobody knows: it is refused, and nothing is answered.
pub fn fuzz_ice(data: &[u8]) {
    let Ok(message) = StunMessage::parse(data) else { return };
    let (ours, theirs) =
        message.username().and_then(|name| name.split_once(':')).unwrap_or(("ours", "theirs"));
    assert!(message.username().is_none() || ice::local_ufrag(&message).is_none_or(|ufrag| ufrag == ours));
    let local = IceCredentials { ufrag: ours.to_owned(), pwd: "a password that no corpus holds".to_owned() };
    let agent = IceAgent::new(&local, theirs);
    let reject = agent.verify(&message).expect_err("a forgery was accepted");
    let written = agent.write_error(message.transaction_id(), &reject, &mut [0; ice::ANSWER_MAX_LEN]);
    assert_eq!(written, Ok(None), "a forgery was answered");
}
