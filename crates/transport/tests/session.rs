//! Sessions talking to each other: replays, reflections, restarts, counters.

use transport::{Headroom, Key, Mode, NonceCounter, OpenError, ReplayWindow, SealError, Session};

const SSRC: u32 = 7;

fn pair(mode: Mode) -> (Session, Session) {
    let key = Key::new([0x42; Key::LEN]);
    let client = Session::new(mode, &key, NonceCounter::client(1), [1; 16]);
    let server = Session::new(mode, &key, NonceCounter::server(5), [2; 16]);
    (client, server)
}

fn sealed_from(session: &mut Session, seq: u16, ssrc: u32) -> Vec<u8> {
    let mut buf = vec![0; 12 + 50 + Mode::OVERHEAD_MAX];
    let header = rtp_wire::RtpHeader { seq, ssrc: rtp_wire::Ssrc(ssrc), ..Default::default() };
    header.write(&[], &mut buf).expect("it fits");
    let len = session.seal_rtp(&mut buf, 62).expect("it is sealed");
    buf.truncate(len);
    buf
}

fn sealed(session: &mut Session, seq: u16) -> Vec<u8> {
    sealed_from(session, seq, SSRC)
}

fn sealed_report(session: &mut Session) -> Vec<u8> {
    let mut buf = vec![0; 8 + Mode::OVERHEAD_MAX];
    rtp_wire::rtcp::write_receiver_report(rtp_wire::Ssrc(SSRC), &[], &mut buf).expect("it fits");
    let len = session.seal_rtcp(&mut buf, 8).expect("it is sealed");
    buf.truncate(len);
    buf
}

fn open(session: &mut Session, packet: &[u8], window: &mut ReplayWindow) -> Result<u64, OpenError> {
    session.open_rtp(&mut packet.to_vec(), window).map(|opened| opened.seq.0)
}

fn has_counter(mode: Mode) -> bool {
    !matches!(mode, Mode::XSalsa20Poly1305 | Mode::XSalsa20Poly1305Suffix)
}

#[test]
fn each_packet_opens_once() {
    for mode in Mode::ALL {
        let (mut client, mut server) = pair(mode);
        let mut window = ReplayWindow::new();
        let packets: Vec<_> = [65534, 65535, 0, 1].map(|seq| sealed(&mut client, seq)).into();
        for (at, expect) in [(0, 131_070), (2, 131_072), (1, 131_071), (3, 131_073)] {
            assert_eq!(open(&mut server, &packets[at], &mut window), Ok(expect), "{mode}");
        }
        for packet in &packets {
            assert_eq!(open(&mut server, packet, &mut window), Err(OpenError::Replay), "{mode}");
        }
    }
}

#[test]
fn a_forgery_does_not_move_the_window() {
    for mode in Mode::ALL {
        let (mut client, mut server) = pair(mode);
        let mut window = ReplayWindow::new();
        open(&mut server, &sealed(&mut client, 10), &mut window).expect("it opens");
        let mut forged = sealed(&mut client, 9000);
        *forged.last_mut().expect("it is not empty") ^= 1;
        let before = window;
        assert!(open(&mut server, &forged, &mut window).is_err());
        assert_eq!(window, before);
        assert_eq!(open(&mut server, &sealed(&mut client, 11), &mut window), Ok(65547));
    }
}

/// The header of these modes is not authenticated, so the number in it protects nothing: the counter must.
#[test]
fn a_renumbered_replay_is_noticed_where_the_header_is_not_authenticated() {
    for mode in [Mode::XSalsa20Poly1305Lite, Mode::XSalsa20Poly1305LiteRtpsize] {
        let (mut client, mut server) = pair(mode);
        let mut window = ReplayWindow::new();
        let mut packet = sealed(&mut client, 10);
        open(&mut server, &packet, &mut window).expect("it opens");
        packet[3] = 11;
        assert_eq!(open(&mut server, &packet, &mut window), Err(OpenError::Replay), "{mode}");
        assert_eq!(open(&mut server, &sealed(&mut client, 11), &mut window), Ok(65547));
    }
}

#[test]
fn reports_open_once_where_there_is_a_counter() {
    for mode in Mode::ALL {
        let (mut client, mut server) = pair(mode);
        let report = sealed_report(&mut client);
        assert_eq!(server.open_rtcp(&mut report.clone()), Ok(8), "{mode}");
        let again = server.open_rtcp(&mut report.clone());
        assert_eq!(again, if has_counter(mode) { Err(OpenError::Replay) } else { Ok(8) }, "{mode}");
    }
}

#[test]
fn what_we_sent_does_not_come_back() {
    for mode in Mode::ALL.into_iter().filter(|mode| has_counter(*mode)) {
        let (mut client, mut server) = pair(mode);
        let early = sealed(&mut server, 1);
        open(&mut server, &sealed(&mut client, 1), &mut ReplayWindow::new()).expect("it opens");
        let late = sealed(&mut server, 2);
        let report = sealed_report(&mut server);
        for packet in [early, late] {
            let result = open(&mut server, &packet, &mut ReplayWindow::new());
            assert_eq!(result, Err(OpenError::Reflected), "{mode}");
            // To the other side they are ordinary packets.
            assert!(open(&mut client, &packet, &mut ReplayWindow::new()).is_ok());
        }
        assert_eq!(server.open_rtcp(&mut report.clone()), Err(OpenError::Reflected), "{mode}");
    }
}

#[test]
fn the_server_counts_far_from_the_client() {
    let (mut client, mut server) = pair(Mode::Aes256GcmRtpsize);
    assert_eq!(server.nonces().state().next, 5);
    let mut forged = sealed(&mut client, 1);
    forged[20] ^= 1;
    let _ = open(&mut server, &forged, &mut ReplayWindow::new());
    assert_eq!(server.nonces().state().next, 5, "only what authenticates counts");
    open(&mut server, &sealed(&mut client, 1), &mut ReplayWindow::new()).expect("it opens");
    assert_eq!(server.nonces().state().next, 5 + (1 << 31));
    let Headroom { ours, peers } = server.nonces().headroom();
    assert!(ours.min(peers) > 1 << 30);
}

#[test]
fn a_session_goes_on_after_a_restart() {
    let key = Key::new([0x42; Key::LEN]);
    for mode in Mode::ALL {
        let (mut client, mut server) = pair(mode);
        let (mut to_server, mut to_client) = (ReplayWindow::new(), ReplayWindow::new());
        let old = sealed(&mut client, 100);
        open(&mut server, &old, &mut to_server).expect("it opens");
        let from_server = sealed(&mut server, 1);
        open(&mut client, &from_server, &mut to_client).expect("it opens");

        let counter = NonceCounter::server(server.nonces().state().next);
        let mut window = ReplayWindow::resume(to_server.highest().expect("one was taken"));
        let mut server = Session::new(mode, &key, counter, [3; 16]);
        assert_eq!(open(&mut server, &old, &mut window), Err(OpenError::Replay), "{mode}");
        assert_eq!(open(&mut server, &sealed(&mut client, 101), &mut window), Ok(65536 + 101), "{mode}");
        let next = sealed(&mut server, 2);
        assert_eq!(open(&mut client, &next, &mut to_client), Ok(65538), "{mode}");
        if mode != Mode::XSalsa20Poly1305 {
            let nonce_len = mode.overhead() - 16;
            let nonce = |packet: &[u8]| packet[packet.len() - nonce_len..].to_vec();
            assert_ne!(nonce(&next), nonce(&from_server), "{mode}: a nonce was used twice");
        }
    }
}

#[test]
fn no_nonce_is_used_twice() {
    for mode in Mode::ALL.into_iter().filter(|mode| *mode != Mode::XSalsa20Poly1305) {
        let (mut client, _) = pair(mode);
        let nonce_len = mode.overhead() - 16;
        let mut seen = std::collections::HashSet::new();
        for seq in 0..1000 {
            // The same packet each time, so that only the nonce can differ.
            let packet = if seq % 7 == 0 { sealed_report(&mut client) } else { sealed(&mut client, 1) };
            assert!(seen.insert(packet[packet.len() - nonce_len..].to_vec()), "{mode}");
        }
    }
}

#[test]
fn what_cannot_be_sealed_is_refused() {
    for mode in Mode::ALL {
        let (mut client, _) = pair(mode);
        let mut buf = [0x80; 100];
        buf[0] = 0x80;
        assert_eq!(client.seal_rtp(&mut buf, 100 - mode.overhead() + 1), Err(SealError::NoRoom));
        assert_eq!(client.seal_rtp(&mut buf, 101), Err(SealError::NoRoom));
        assert_eq!(client.seal_rtp(&mut buf, 11), Err(SealError::Malformed));
        assert_eq!(client.seal_rtcp(&mut buf, 7), Err(SealError::Malformed));
        assert_eq!(client.nonces().state().next, 1, "a refusal uses no nonce");
        assert_eq!(client.seal_rtp(&mut buf, 100 - mode.overhead()), Ok(100));
        buf[0] = 0;
        assert_eq!(client.seal_rtp(&mut buf, 50), Err(SealError::Malformed));
        let full = client.seal_rtcp(&mut buf, 12);
        let repeats = mode == Mode::XSalsa20Poly1305;
        assert_eq!(full.err(), repeats.then_some(SealError::NonceWouldRepeat), "{mode}");
    }
}

#[test]
fn what_is_authentic_may_still_be_broken() {
    for mode in Mode::ALL {
        let (mut client, mut server) = pair(mode);
        let mut buf = [0; 100];
        let header = rtp_wire::RtpHeader { padding: true, ..Default::default() };
        header.write(&[], &mut buf).expect("it fits");
        buf[19] = 200;
        let len = client.seal_rtp(&mut buf, 20).expect("sealing does not look inside");
        let mut window = ReplayWindow::new();
        assert_eq!(server.open_rtp(&mut buf[..len], &mut window), Err(OpenError::Malformed), "{mode}");
        assert!(window.highest().is_some(), "its number is used up");
    }
}
