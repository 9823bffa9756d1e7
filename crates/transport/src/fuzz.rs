//! Bodies for fuzzers: hostile bytes to an open session. None of them may panic or succeed.

use crate::{Key, Mode, NonceCounter, ReplayWindow, Session};

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
