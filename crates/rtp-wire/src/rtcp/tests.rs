use super::*;
use crate::{NoRoom, RtpTime};
use proptest::prelude::*;

#[track_caller]
fn one(bytes: &[u8]) -> Rtcp<'_> {
    let mut all = packets(bytes);
    let first = all.next().unwrap().unwrap();
    assert_eq!(all.next(), None);
    first
}

#[track_caller]
fn check_error(bytes: &[u8], expect: RtcpError) {
    let got: Vec<_> = packets(bytes).collect();
    assert_eq!(got.last(), Some(&Err(expect)), "{bytes:02x?}");
    assert_eq!(got.iter().filter(|item| item.is_err()).count(), 1);
}

#[test]
fn the_empty_receiver_report() {
    let mut buf = [0xAA; 8];
    assert_eq!(write_receiver_report(Ssrc(5), &[], &mut buf), Ok(8));
    assert_eq!(buf, [0x80, 0xC9, 0, 1, 0, 0, 0, 5]);
    assert_eq!(peek_ssrc(&buf), Some(Ssrc(5)));
    let Rtcp::ReceiverReport(report) = one(&buf) else { panic!("a receiver report") };
    assert_eq!((report.sender, report.blocks().count()), (Ssrc(5), 0));
}

#[test]
fn reports_round_trip() {
    let info = SenderInfo { ntp: 0x0102_0304_0506_0708, time: RtpTime(9), packets: 10, octets: 11 };
    let blocks = [-1, -0x80_0000, 0x7F_FFFF, 0].map(|lost| ReportBlock {
        ssrc: Ssrc(77),
        fraction_lost: 128,
        lost,
        highest_seq: 0x0001_0002,
        jitter: 3,
        last_sr: 4,
        delay_since_sr: 5,
    });
    let mut buf = [0; 256];
    let len = write_sender_report(Ssrc(1), &info, &blocks, &mut buf).unwrap();
    let Rtcp::SenderReport(report) = one(&buf[..len]) else { panic!("a sender report") };
    assert_eq!((report.sender, report.info), (Ssrc(1), info));
    assert_eq!(report.blocks().collect::<Vec<_>>(), blocks);
    let len = write_receiver_report(Ssrc(2), &blocks, &mut buf).unwrap();
    let Rtcp::ReceiverReport(report) = one(&buf[..len]) else { panic!("a receiver report") };
    assert_eq!(report.blocks().collect::<Vec<_>>(), blocks);
}

#[test]
fn losses_beyond_24_bits_are_clamped() {
    let mut buf = [0; 64];
    let block = ReportBlock { lost: i32::MAX, ..ReportBlock::default() };
    let len = write_receiver_report(Ssrc(2), &[block], &mut buf).unwrap();
    let Rtcp::ReceiverReport(report) = one(&buf[..len]) else { panic!("a receiver report") };
    assert_eq!(report.blocks().next().unwrap().lost, 0x7F_FFFF);
}

#[test]
fn compounds_are_read_in_order() {
    let mut buf = [0; 128];
    let mut len = write_receiver_report(Ssrc(1), &[], &mut buf).unwrap();
    len += write_sdes_cname(Ssrc(1), b"someone", &mut buf[len..]).unwrap();
    len += write_pli(Ssrc(1), Ssrc(2), &mut buf[len..]).unwrap();
    len += write_bye(&[Ssrc(1), Ssrc(3)], &mut buf[len..]).unwrap();
    let all: Vec<_> = packets(&buf[..len]).map(Result::unwrap).collect();
    assert_eq!(all.len(), 4);
    let Rtcp::Sdes(sdes) = all[1] else { panic!("a description") };
    assert_eq!(sdes.cname(), Some((Ssrc(1), &b"someone"[..])));
    assert_eq!(all[2], Rtcp::Pli { sender: Ssrc(1), media: Ssrc(2) });
    let Rtcp::Bye(bye) = all[3] else { panic!("a goodbye") };
    assert_eq!(bye.sources().collect::<Vec<_>>(), [Ssrc(1), Ssrc(3)]);
}

#[test]
fn the_canonical_name_is_found_behind_other_items() {
    // The first chunk has only a tool (6) and its end; the second has a note (7) and then the name.
    let chunks = [
        0, 0, 0, 1, 6, 1, b'x', 0, // chunk 1
        0, 0, 0, 2, 7, 0, 1, 2, b'm', b'e', 0, 0, // chunk 2
    ];
    assert_eq!(Sdes { chunks: &chunks }.cname(), Some((Ssrc(2), &b"me"[..])));
    assert_eq!(Sdes { chunks: &chunks[..10] }.cname(), None);
}

#[test]
fn full_intra_requests() {
    let mut buf = [0; 20];
    assert_eq!(write_fir(Ssrc(1), Ssrc(2), 9, &mut buf), Ok(20));
    let Rtcp::Fir(fir) = one(&buf) else { panic!("a request") };
    assert_eq!(fir.sender(), Ssrc(1));
    assert_eq!(fir.requests().collect::<Vec<_>>(), [(Ssrc(2), 9)]);
}

#[test]
fn estimates_are_rounded_down_to_18_bits() {
    let check = |rate: u64, expect: u64| {
        let mut buf = [0; 32];
        let len = write_remb(Ssrc(1), rate, &[Ssrc(2)], &mut buf).unwrap();
        let Rtcp::Remb(remb) = one(&buf[..len]) else { panic!("an estimate") };
        assert_eq!(remb.bits_per_second, expect);
        assert_eq!(remb.sources().collect::<Vec<_>>(), [Ssrc(2)]);
    };
    check(0, 0);
    check(0x3_FFFF, 0x3_FFFF);
    check(0x4_0001, 0x4_0000);
    check(2_500_000, 2_500_000);
    check(u64::MAX, 0x3_FFFF << 46);
}

#[test]
fn an_estimate_of_any_size_is_read() {
    let mut buf = [0; 20];
    write_remb(Ssrc(1), 0, &[], &mut buf).unwrap();
    buf[17] = 0xFF;
    buf[18] = 0xFF;
    buf[19] = 0xFF;
    let Rtcp::Remb(remb) = one(&buf) else { panic!("an estimate") };
    assert_eq!(remb.bits_per_second, u64::MAX);
    buf[17] = 0xFC;
    buf[18] = 0;
    buf[19] = 1;
    let Rtcp::Remb(remb) = one(&buf) else { panic!("an estimate") };
    assert_eq!(remb.bits_per_second, 1 << 63);
}

#[test]
fn transport_wide_feedback_is_kept_as_it_came() {
    let bytes = [0x8F, 205, 0, 3, 0, 0, 0, 1, 0, 0, 0, 2, 9, 9, 9, 9];
    let expect = Feedback { sender: Ssrc(1), media: Ssrc(2), body: &[9, 9, 9, 9] };
    assert_eq!(one(&bytes), Rtcp::TransportCc(expect));
}

#[test]
fn unknown_types_are_passed_over() {
    let bytes = [0x80, 204, 0, 1, 1, 2, 3, 4];
    assert_eq!(one(&bytes), Rtcp::Other { packet_type: 204, count: 0, body: &[1, 2, 3, 4] });
    let bytes = [0x8F, 206, 0, 3, 0, 0, 0, 1, 0, 0, 0, 2, b'A', b'B', b'C', b'D'];
    assert!(matches!(one(&bytes), Rtcp::Other { packet_type: 206, count: 15, .. }));
}

#[test]
fn what_is_no_rtcp_is_refused() {
    check_error(&[0x80, 201, 0], RtcpError::TooShort);
    check_error(&[0x80, 201, 0, 1, 0, 0, 0], RtcpError::TooShort);
    check_error(&[0x40, 201, 0, 1, 0, 0, 0, 1], RtcpError::Version);
    check_error(&[0x81, 201, 0, 1, 0, 0, 0, 1], RtcpError::Body);
    check_error(&[0x80, 200, 0, 1, 0, 0, 0, 1], RtcpError::Body);
    check_error(&[0x81, 206, 0, 1, 0, 0, 0, 1], RtcpError::Body);
    check_error(&[0x82, 203, 0, 1, 0, 0, 0, 1], RtcpError::Body);
    check_error(&[0xA0, 201, 0, 0], RtcpError::Padding);
    check_error(&[0xA0, 201, 0, 2, 0, 0, 0, 1, 0, 0, 0, 0], RtcpError::Padding);
    check_error(&[0xA0, 201, 0, 2, 0, 0, 0, 1, 0, 0, 0, 3], RtcpError::Padding);
    check_error(&[0xA0, 201, 0, 2, 0, 0, 0, 1, 0, 0, 0, 12], RtcpError::Padding);
    // One good packet, then nonsense: the good one counts.
    let bytes = [0x80, 201, 0, 1, 0, 0, 0, 1, 0xFF];
    assert!(packets(&bytes).next().unwrap().is_ok());
    check_error(&bytes, RtcpError::TooShort);
}

#[test]
fn padding_is_stripped() {
    let bytes = [0xA0, 201, 0, 2, 0, 0, 0, 1, 0, 0, 0, 4];
    assert!(matches!(one(&bytes), Rtcp::ReceiverReport(report) if report.sender == Ssrc(1)));
}

#[test]
fn builders_refuse_what_does_not_fit() {
    let mut buf = [0; 7];
    assert_eq!(write_receiver_report(Ssrc(1), &[], &mut buf), Err(NoRoom));
    let mut buf = [0; 1024];
    assert_eq!(write_receiver_report(Ssrc(1), &[ReportBlock::default(); 32], &mut buf), Err(NoRoom));
    assert_eq!(write_bye(&[Ssrc(1); 32], &mut buf), Err(NoRoom));
    assert_eq!(write_sdes_cname(Ssrc(1), &[0; 256], &mut buf), Err(NoRoom));
    assert_eq!(write_remb(Ssrc(1), 1, &[Ssrc(1); 256], &mut buf), Err(NoRoom));
}

proptest! {
    #[test]
    fn missing_packets_round_trip(start: u16, gaps in proptest::collection::vec(1u16..40, 0..40)) {
        let mut seq = start;
        let seqs: Vec<u16> = gaps.iter().map(|gap| { seq = seq.wrapping_add(*gap); seq }).collect();
        let mut buf = [0; 512];
        let len = write_nack(Ssrc(1), Ssrc(2), &seqs, &mut buf).unwrap();
        let Rtcp::Nack(nack) = one(&buf[..len]) else { panic!("a request") };
        prop_assert_eq!((nack.sender(), nack.media()), (Ssrc(1), Ssrc(2)));
        prop_assert_eq!(nack.seqs().collect::<Vec<_>>(), seqs);
    }
}
