//! Two ends of SRTP talking to each other: rollovers, replays, restarts, limits.

use proptest::prelude::*;
use rtp_wire::{ExtensionForm, ExtensionWriter, Packet, RtpHeader, SeqNo, Ssrc, rtcp};
use transport::srtp::{RTCP_SOURCES_MAX, SrtpState};
use transport::{DtlsRole, OpenError, ReplayWindow, SealError, Srtp, SrtpProfile};

const SSRC: u32 = 7;

fn material(profile: SrtpProfile) -> Vec<u8> {
    (0..profile.keying_material_len()).map(|at| at as u8 ^ 0x42).collect()
}

fn end(profile: SrtpProfile, role: DtlsRole) -> Srtp {
    Srtp::new(profile, &material(profile), role).expect("it has the profile's length")
}

fn pair(profile: SrtpProfile) -> (Srtp, Srtp) {
    (end(profile, DtlsRole::Client), end(profile, DtlsRole::Server))
}

fn sealed(srtp: &mut Srtp, index: u64) -> Vec<u8> {
    let mut buf = vec![0; 12 + 50 + SrtpProfile::OVERHEAD_MAX];
    let header = RtpHeader { seq: SeqNo(index).wire(), ssrc: Ssrc(SSRC), ..Default::default() };
    header.write(&[], &mut buf).expect("it fits");
    let len = srtp.seal_rtp(&mut buf, 62, SeqNo(index)).expect("it is sealed");
    buf.truncate(len);
    buf
}

fn sealed_report(srtp: &mut Srtp, ssrc: u32) -> Vec<u8> {
    let mut buf = vec![0; 8 + SrtpProfile::OVERHEAD_MAX];
    rtcp::write_receiver_report(Ssrc(ssrc), &[], &mut buf).expect("it fits");
    let len = srtp.seal_rtcp(&mut buf, 8).expect("it is sealed");
    buf.truncate(len);
    buf
}

fn open(srtp: &mut Srtp, packet: &[u8], window: &mut ReplayWindow) -> Result<u64, OpenError> {
    srtp.open_rtp(&mut packet.to_vec(), window).map(|opened| opened.seq.0)
}

#[test]
fn each_packet_opens_once_in_both_directions() {
    for profile in SrtpProfile::ALL {
        let (mut client, mut server) = pair(profile);
        for (from, to) in [(0, 1), (1, 0)] {
            let mut ends = [&mut client, &mut server];
            let mut window = ReplayWindow::new();
            let numbers = [65534, 65535, 0x1_0000, 0x1_0001, 0x1_7FFF, 0x1_FFFE, 0x2_0000, 0x1_FFFF];
            let packets = numbers.map(|index| sealed(ends[from], index));
            for (index, packet) in numbers.iter().zip(&packets) {
                assert_eq!(open(ends[to], packet, &mut window), Ok(*index), "{profile}");
            }
            for packet in &packets {
                // What is half a cycle old looks like one of the next cycle, and fails for that.
                assert!(open(ends[to], packet, &mut window).is_err(), "{profile}");
            }
            assert_eq!(open(ends[to], &packets[7], &mut window), Err(OpenError::Replay), "{profile}");
            assert_eq!(
                open(ends[from], &packets[7], &mut ReplayWindow::new()),
                Err(OpenError::Auth),
                "{profile}"
            );
        }
    }
}

#[test]
fn packets_around_a_rollover_may_come_late() {
    for profile in SrtpProfile::ALL {
        let (mut client, mut server) = pair(profile);
        let mut window = ReplayWindow::new();
        for index in [65530, 65535, 0x1_0002, 65534, 0x1_0000, 0x1_0001, 65533] {
            assert_eq!(open(&mut server, &sealed(&mut client, index), &mut window), Ok(index), "{profile}");
        }
        assert_eq!(open(&mut server, &sealed(&mut client, 65535), &mut window), Err(OpenError::Replay));
    }
}

/// The same header after another rollover is another packet, and one from before it does not pass as one.
#[test]
fn the_count_of_rollovers_is_authenticated() {
    for profile in SrtpProfile::ALL {
        let (mut client, mut server) = pair(profile);
        let early = sealed(&mut client, 100);
        let mut window = ReplayWindow::resume(SeqNo(0x1_0000));
        assert_eq!(open(&mut server, &early, &mut window), Err(OpenError::Auth), "{profile}");
        assert_eq!(window, ReplayWindow::resume(SeqNo(0x1_0000)));
        assert_ne!(sealed(&mut client, 0x1_0064), early);
        assert_eq!(open(&mut server, &sealed(&mut client, 0x1_0064), &mut window), Ok(0x1_0064));
    }
}

#[test]
fn a_forgery_changes_nothing() {
    for profile in SrtpProfile::ALL {
        let (mut client, mut server) = pair(profile);
        let mut window = ReplayWindow::new();
        open(&mut server, &sealed(&mut client, 10), &mut window).expect("it opens");
        server.open_rtcp(&mut sealed_report(&mut client, SSRC)).expect("it opens");
        let (window_before, before) = (window, server.state());
        let (packet, report) = (sealed(&mut client, 9000), sealed_report(&mut client, SSRC));
        for at in [3, 8, 11, 12, packet.len() - 1] {
            let mut forged = packet.clone();
            forged[at] ^= 1;
            assert_eq!(open(&mut server, &forged, &mut window), Err(OpenError::Auth), "{profile}: byte {at}");
        }
        for at in [1, 4, 7, 8, report.len() - 1] {
            let mut forged = report.clone();
            forged[at] ^= 4;
            assert_eq!(server.open_rtcp(&mut forged), Err(OpenError::Auth), "{profile}: byte {at}");
        }
        assert_eq!((window, server.state()), (window_before, before));
        assert_eq!(open(&mut server, &packet, &mut window), Ok(9000));
        assert_eq!(server.open_rtcp(&mut report.clone()), Ok(8));
    }
}

/// A browser counts the reports of its microphone and of its camera apart.
#[test]
fn each_source_of_reports_counts_by_itself() {
    for profile in SrtpProfile::ALL {
        let (mut busy, mut server) = pair(profile);
        let mut quiet = end(profile, DtlsRole::Client);
        for _ in 0..500 {
            let report = sealed_report(&mut busy, 1);
            assert_eq!(server.open_rtcp(&mut report.clone()), Ok(8));
            assert_eq!(server.open_rtcp(&mut report.clone()), Err(OpenError::Replay), "{profile}");
        }
        let report = sealed_report(&mut quiet, 2);
        assert_eq!(server.open_rtcp(&mut report.clone()), Ok(8), "{profile}");
        assert_eq!(server.open_rtcp(&mut report.clone()), Err(OpenError::Replay), "{profile}");
    }
}

#[test]
fn a_restart_repeats_no_index_and_takes_nothing_twice() {
    for profile in SrtpProfile::ALL {
        let (mut client, mut server) = pair(profile);
        let mut window = ReplayWindow::new();
        let heard = [65530, 65533, 0x1_0001].map(|index| sealed(&mut client, index));
        let missed = sealed(&mut client, 65532);
        for packet in &heard {
            open(&mut server, packet, &mut window).expect("it opens");
        }
        let reports: Vec<_> = (1..4).map(|ssrc| sealed_report(&mut client, ssrc)).collect();
        for report in &reports {
            server.open_rtcp(&mut report.clone()).expect("it opens");
        }
        let sent = sealed_report(&mut server, 9);

        let (state, window_state) = (server.state(), window.state().expect("packets were taken"));
        let mut server = end(profile, DtlsRole::Server);
        server.restore(state);
        let mut window = ReplayWindow::from_state(window_state);
        assert_eq!(server.state(), state);
        for packet in &heard {
            assert_eq!(open(&mut server, packet, &mut window), Err(OpenError::Replay), "{profile}");
        }
        for report in &reports {
            assert_eq!(server.open_rtcp(&mut report.clone()), Err(OpenError::Replay), "{profile}");
        }
        assert_eq!(open(&mut server, &missed, &mut window), Ok(65532), "{profile}");
        assert_eq!(open(&mut server, &sealed(&mut client, 0x1_0002), &mut window), Ok(0x1_0002), "{profile}");
        assert_eq!(server.open_rtcp(&mut sealed_report(&mut client, 1)), Ok(8));
        let next = sealed_report(&mut server, 9);
        assert_ne!(next, sent, "{profile}: an index was used twice");
        assert_eq!(client.open_rtcp(&mut sent.clone()), Ok(8));
        assert_eq!(client.open_rtcp(&mut next.clone()), Ok(8));
        server.restore(SrtpState::default());
        assert_eq!(server.state().next_rtcp, state.next_rtcp + 1, "our index never goes back");
    }
}

#[test]
fn more_sources_than_are_remembered_are_heard() {
    let (mut client, mut server) = pair(SrtpProfile::AeadAes256Gcm);
    for ssrc in 0..3 * RTCP_SOURCES_MAX as u32 {
        assert_eq!(server.open_rtcp(&mut sealed_report(&mut client, ssrc)), Ok(8));
    }
    assert!(server.state().rtcp_sources.iter().all(Option::is_some));
}

#[test]
fn what_cannot_be_sealed_is_refused() {
    for profile in SrtpProfile::ALL {
        let (mut client, _) = pair(profile);
        let mut buf = [0; 100];
        RtpHeader { seq: 5, ..Default::default() }.write(&[], &mut buf).expect("it fits");
        let full = 100 - profile.rtp_overhead();
        assert_eq!(client.seal_rtp(&mut buf, full + 1, SeqNo(5)), Err(SealError::NoRoom));
        assert_eq!(client.seal_rtp(&mut buf, 101, SeqNo(5)), Err(SealError::NoRoom));
        assert_eq!(client.seal_rtp(&mut buf, 11, SeqNo(5)), Err(SealError::Malformed));
        assert_eq!(client.seal_rtp(&mut buf, 50, SeqNo(6)), Err(SealError::Malformed), "not its number");
        assert_eq!(client.seal_rtp(&mut buf, 50, SeqNo(1 << 48 | 5)), Err(SealError::NoncesUsedUp));
        let mut extended = buf;
        extended[0] |= 0x10;
        extended[12..16].copy_from_slice(&[0xBE, 0xDE, 0, 9]);
        assert_eq!(
            client.seal_rtp(&mut extended, 51, SeqNo(5)),
            Err(SealError::Malformed),
            "no room for 9 words"
        );
        assert_eq!(client.seal_rtp(&mut extended, 52, SeqNo(5)), Ok(52 + profile.rtp_overhead()));
        assert_eq!(client.seal_rtp(&mut buf, full, SeqNo((1 << 48) - 0x1_0000 + 5)), Ok(100));

        assert_eq!(client.seal_rtcp(&mut buf, 7), Err(SealError::Malformed));
        assert_eq!(client.seal_rtcp(&mut buf, 100 - profile.rtcp_overhead() + 1), Err(SealError::NoRoom));
        assert_eq!(client.state().next_rtcp, 0, "a refusal uses no index");
        client.restore(SrtpState { next_rtcp: (1 << 31) - 1, ..SrtpState::default() });
        assert_eq!(client.seal_rtcp(&mut buf, 8), Ok(8 + profile.rtcp_overhead()));
        assert_eq!(client.seal_rtcp(&mut buf, 8), Err(SealError::NoncesUsedUp));
    }
}

#[test]
fn keying_material_of_another_length_is_refused() {
    for profile in SrtpProfile::ALL {
        let material = [material(profile), vec![0]].concat();
        for len in [0, material.len() - 2, material.len()] {
            assert!(Srtp::new(profile, &material[..len], DtlsRole::Server).is_err());
        }
    }
}

#[test]
fn what_is_authentic_may_still_be_broken() {
    for profile in SrtpProfile::ALL {
        let (mut client, mut server) = pair(profile);
        let mut buf = [0; 100];
        RtpHeader { padding: true, ..Default::default() }.write(&[], &mut buf).expect("it fits");
        buf[19] = 200;
        let len = client.seal_rtp(&mut buf, 20, SeqNo(0)).expect("sealing does not look inside");
        let mut window = ReplayWindow::new();
        assert_eq!(server.open_rtp(&mut buf[..len], &mut window), Err(OpenError::Malformed), "{profile}");
        assert!(window.highest().is_some(), "its number is used up");
    }
}

proptest! {
    #[test]
    fn packets_round_trip(
        index in 0u64..1 << 48,
        ssrc: u32,
        csrcs in proptest::collection::vec(any::<u32>(), 0..=15),
        exts in proptest::collection::vec((1u8..=14, proptest::collection::vec(any::<u8>(), 1..=16)), 0..4),
        payload in proptest::collection::vec(any::<u8>(), 0..300),
    ) {
        for profile in SrtpProfile::ALL {
            let (mut client, mut server) = pair(profile);
            let csrcs: Vec<Ssrc> = csrcs.iter().copied().map(Ssrc).collect();
            let header =
                RtpHeader { seq: SeqNo(index).wire(), ssrc: Ssrc(ssrc), extension: !exts.is_empty(), ..Default::default() };
            let mut buf = [0xAA; 1024];
            let mut header_len = header.write(&csrcs, &mut buf).expect("it fits");
            if header.extension {
                let mut writer = ExtensionWriter::new(ExtensionForm::OneByte, &mut buf[header_len..]).expect("it fits");
                for (id, data) in &exts {
                    writer.push(*id, data).expect("it fits");
                }
                header_len += writer.finish().expect("it fits");
            }
            let plain_len = header_len + payload.len();
            buf[header_len..plain_len].copy_from_slice(&payload);
            let plain = buf[..plain_len].to_vec();
            let len = client.seal_rtp(&mut buf, plain_len, SeqNo(index)).expect("it is sealed");
            prop_assert_eq!(len, plain_len + profile.rtp_overhead());
            prop_assert_eq!(&buf[..header_len], &plain[..header_len], "the header stays readable");
            prop_assert!(payload.len() < 8 || buf[header_len..plain_len] != payload[..], "the payload does not");
            let mut window = match index.checked_sub(1) {
                Some(before) => ReplayWindow::resume(SeqNo(before)),
                None => ReplayWindow::new(),
            };
            let opened = server.open_rtp(&mut buf[..len], &mut window).expect("it opens");
            prop_assert_eq!((opened.seq, opened.len, opened.header_len), (SeqNo(index), plain_len, header_len));
            prop_assert_eq!(&buf[..plain_len], &plain[..]);
            prop_assert_eq!(Packet::parse(&plain).expect("it is RTP").payload(), &buf[opened.body]);
        }
    }

    #[test]
    fn compounds_round_trip(words in proptest::collection::vec(any::<[u8; 4]>(), 0..60), ssrc: u32) {
        for profile in SrtpProfile::ALL {
            let (mut client, mut server) = pair(profile);
            let mut buf = [0; 300];
            rtcp::write_receiver_report(Ssrc(ssrc), &[], &mut buf).expect("it fits");
            let plain_len = 8 + 4 * words.len();
            buf[8..plain_len].copy_from_slice(words.as_flattened());
            let plain = buf[..plain_len].to_vec();
            let len = client.seal_rtcp(&mut buf, plain_len).expect("it is sealed");
            prop_assert_eq!(len, plain_len + profile.rtcp_overhead());
            prop_assert_eq!(server.open_rtcp(&mut buf[..len]), Ok(plain_len));
            prop_assert_eq!(&buf[..plain_len], &plain[..]);
        }
    }
}
