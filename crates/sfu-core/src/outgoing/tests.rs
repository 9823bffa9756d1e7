use super::*;
use crate::leg::LegIndex;
use crate::limits::{RED_LOSS, RED_REPORTS};
use std::collections::HashSet;
use std::time::Duration;

const A: Ssrc = Ssrc(7);
const LEG: LegKey = LegKey { index: LegIndex(3), generation: 1 };

fn source(seq: u64) -> Source {
    Source { leg: LEG, seq: SeqNo(seq) }
}

fn packet(seq: u64, source: Source) -> Outbound {
    Outbound { source, seq: SeqNo(seq), time: RtpTime(0), octets: 10, pair_octets: None }
}

/// As for a listener that was never away.
fn place(outgoing: &mut Outgoing, seq: u64) -> Option<u64> {
    let placed = outgoing.place(Instant::now(), A, &packet(seq, source(seq)), &mut Page::none());
    placed.map(|placed| placed.index.0)
}

#[track_caller]
fn check(steps: &[(u64, Option<u64>)]) {
    let mut outgoing = Outgoing::default();
    for (seq, expect) in steps {
        assert_eq!(place(&mut outgoing, *seq), *expect, "{seq}");
    }
}

#[test]
fn the_rollover_counter_begins_at_zero_wherever_the_stream_is() {
    check(&[
        (5 << 16 | 65_471, Some(65_471)),
        (5 << 16 | 65_534, Some(65_534)),
        (5 << 16 | 65_535, Some(65_535)),
        (6 << 16, Some(65_536)),
        (6 << 16 | 1, Some(65_537)),
    ]);
    check(&[(5 << 16 | 65_472, Some(0)), (6 << 16, Some(64)), (5 << 16 | 65_471, None)]);
}

#[test]
fn reordering_is_passed_on_but_not_from_before_the_beginning() {
    check(&[(0x1_0005, Some(5)), (0x1_0004, Some(4)), (0x1_0008, Some(8)), (0x1_0006, Some(6))]);
    check(&[(0x2_0001, Some(1)), (0x1_FFFF, None), (0x2_0002, Some(2))]);
}

#[test]
fn a_stream_that_begins_anew_goes_on_behind_what_was_sent() {
    check(&[
        (0x1_9000, Some(0x9000)),
        (0x1_9001, Some(0x9001)),
        (0x1_0001, Some(0x9002)),
        (0x1_0002, Some(0x9003)),
        (0x1_0003, Some(0x9004)),
    ]);
    check(&[(0x1_0001, Some(1)), (0x9_0000, Some(2)), (0x9_0001, Some(3))]);
}

#[test]
fn no_index_comes_twice() {
    let mut outgoing = Outgoing::default();
    let mut seen = HashSet::new();
    let mut seq = 70_000_u64;
    for n in 0..50_000_u64 {
        // Restarts at odd places, duplicates of the last, losses.
        seq = match n % 977 {
            0 => 65_536 + n * 7_919 % 300_000,
            5 => seq,
            n => seq + 1 + u64::from(n % 31 == 0) * 3,
        };
        if let Some(index) = place(&mut outgoing, seq) {
            assert!(seen.insert(index), "{index} at step {n}");
        }
    }
}

#[test]
fn a_report_says_where_the_stream_is_now_and_only_if_it_was_sent() {
    let start = Instant::now();
    let mut outgoing = Outgoing::default();
    for (seq, time, octets) in [(0x1_0001, 1_000, 100), (0x1_0002, 1_960, 50)] {
        let packet = Outbound { time: RtpTime(time), octets, ..packet(seq, source(seq)) };
        outgoing.place(start, A, &packet, &mut Page::none()).unwrap();
    }
    let (ssrc, info) = outgoing.reports(start + Duration::from_millis(500), 9).next().unwrap();
    assert_eq!((ssrc, info.ntp, info.time), (A, 9, RtpTime(1_960 + 24_000)));
    assert_eq!((info.packets, info.octets), (2, 150));
    assert_eq!(outgoing.reports(start, 9).count(), 0);
}

#[track_caller]
fn check_sent(outgoing: &Outgoing, wire: u16, expect: Option<u64>) {
    let got = outgoing.sent(A, LEG, wire);
    assert_eq!(got.map(|(source, _)| source.seq.0), expect, "{wire}");
    assert!(got.is_none_or(|(_, placed)| placed.index.wire() == wire));
}

#[test]
fn what_was_sent_is_known_again_and_nothing_else_is() {
    let mut outgoing = Outgoing::default();
    check_sent(&outgoing, 5, None);
    for seq in [0x5_FF00, 0x5_FFFE, 0x5_FFFF, 0x6_0001] {
        place(&mut outgoing, seq).unwrap();
    }
    check_sent(&outgoing, 0xFFFD, None);
    check_sent(&outgoing, 0xFFFE, Some(0x5_FFFE));
    check_sent(&outgoing, 0xFFFF, Some(0x5_FFFF));
    check_sent(&outgoing, 0, None);
    check_sent(&outgoing, 1, Some(0x6_0001));
    check_sent(&outgoing, 2, None);
    check_sent(&outgoing, 0x8000, None);
    assert_eq!(place(&mut outgoing, 0x6_0000), Some(0x1_0000));
    check_sent(&outgoing, 0, Some(0x6_0000));
    place(&mut outgoing, 0x6_0000 + 63).unwrap();
    check_sent(&outgoing, 0, Some(0x6_0000));
    check_sent(&outgoing, 0xFFFF, None);
    assert_eq!(outgoing.sent(Ssrc(8), LEG, 0), None);
}

#[test]
fn a_packet_comes_once() {
    check(&[
        (0x1_0005, Some(5)),
        (0x1_0007, Some(7)),
        (0x1_0005, None),
        (0x1_0006, Some(6)),
        (0x1_0006, None),
    ]);
    check(&[(0x1_0100, Some(256)), (0x1_0140, Some(320)), (0x1_0101, Some(257)), (0x1_0100, None)]);
}

#[test]
fn numbers_that_mean_other_packets_are_not_mixed_up() {
    let mut outgoing = Outgoing::default();
    let mut place = |seq: u64, source: Source| {
        let placed = outgoing.place(Instant::now(), A, &packet(seq, source), &mut Page::none());
        (placed.map(|placed| placed.index.0), outgoing.clone())
    };
    place(0x1_0100, source(0x1_0100));
    place(0x1_0101, source(0x1_0101));
    // It was away for ten numbers, and so 0x102 is the source's 0x10c.
    let (index, sent) = place(0x1_0102, source(0x1_010C));
    assert_eq!(index, Some(0x102));
    check_sent(&sent, 0x102, Some(0x1_010C));
    check_sent(&sent, 0x101, None);
    // Its absences are forgotten, as in another room: a jump, and nothing from before it.
    let (index, sent) = place(0x1_010E, source(0x1_010E));
    assert_eq!(index, Some(0x10E));
    check_sent(&sent, 0x10E, Some(0x1_010E));
    check_sent(&sent, 0x102, None);
    assert_eq!(place(0x1_0102, source(0x1_0102)).0, None);
    assert_eq!(place(0x1_010D, source(0x1_010D)).0, Some(0x10D), "a late one from behind the jump");
    // Another leg's stream under the same name, a little behind where this one was.
    let other = LegKey { generation: 2, ..LEG };
    let (index, sent) = place(0x1_0105, Source { leg: other, seq: SeqNo(0x1_0105) });
    assert_eq!(index, Some(0x10F));
    check_sent(&sent, 0x10F, None);
    check_sent(&sent, 0x10E, None);
    let again = sent.sent(A, other, 0x10F).map(|(source, _)| source.seq);
    assert_eq!(again, Some(SeqNo(0x1_0105)));
    let (index, _) = place(0x1_0107, Source { leg: other, seq: SeqNo(0x1_0107) });
    assert_eq!(index, Some(0x111));
}

#[test]
fn who_loses_much_is_sent_it_twice_where_that_may_be() {
    let mut outgoing = Outgoing::default();
    let place = |outgoing: &mut Outgoing, seq, may: bool| {
        let packet = Outbound { pair_octets: may.then_some(25), ..packet(seq, source(seq)) };
        outgoing.place(Instant::now(), A, &packet, &mut Page::none()).unwrap().redundant
    };
    assert!(!place(&mut outgoing, 0x1_0001, true));
    for _ in 0..RED_REPORTS {
        outgoing.lost(A, RED_LOSS);
    }
    outgoing.lost(Ssrc(99), RED_LOSS);
    assert!(place(&mut outgoing, 0x1_0002, true));
    assert!(!place(&mut outgoing, 0x1_0003, false));
    assert!(place(&mut outgoing, 0x1_0004, true));
    let how = |wire| outgoing.sent(A, LEG, wire).unwrap().1.redundant;
    assert_eq!([1, 2, 3, 4].map(how), [false, true, false, true]);
    let (_, info) = outgoing.reports(Instant::now(), 9).next().unwrap();
    assert_eq!((info.packets, info.octets), (4, 2 * 10 + 2 * 25));
}
