use super::*;
use proptest::prelude::*;

fn window(highest: u64) -> Option<WindowState> {
    Some(WindowState { highest: SeqNo(highest), seen: u128::from(highest) << 7 | 1 })
}

fn rewriter() -> RewriterState {
    RewriterState {
        input: Input::Cut,
        anchor_in: SeqNo(1),
        anchor_out: SeqNo(2),
        highest_in: SeqNo(3),
        highest_out: SeqNo(4),
        time_offset: 5,
        last_time: Some(RtpTime(6)),
    }
}

fn native(address: &str) -> LegState {
    let nonces = NonceState { first: 1, next: 2, left: 3, early: Some((4, 5)), peer: Some(6) };
    let session =
        SessionState { nonces, salt: [7; 16], long_used: 8, counters_seen: [window(9), window(10)] };
    let missed = [(3, None), (9, Some(SeqNo(70_000)))].map(|(ssrc, left_at)| Missed {
        ssrc: Ssrc(ssrc),
        left_at,
        count: 12,
        floor: SeqNo(13),
    });
    LegState {
        id: u64::MAX - 1,
        ssrc: Ssrc(0xAABB_CCDD),
        security_mark: 14,
        address: address.parse().ok(),
        window: window(70_000),
        rewriter: rewriter(),
        missed: missed.to_vec(),
        security: SecurityState::Native(session),
    }
}

fn browser() -> LegState {
    let source = |ssrc: u32| {
        window(u64::from(ssrc))
            .map(|window| RtcpSource { ssrc: Ssrc(ssrc), window: ReplayWindow::from_state(window) })
    };
    let mut srtp = SrtpState { next_rtcp: 77, ..SrtpState::default() };
    (srtp.rtcp_sources[0], srtp.rtcp_sources[1]) = (source(5), source(6));
    let outgoing = [1, 2, 3].map(|ssrc| OutgoingState {
        ssrc: Ssrc(ssrc),
        offset: u64::MAX - 3,
        highest: SeqNo(1 << 40),
        packets: 7,
        octets: 8,
    });
    let mut streams_before = [None; BROWSER_STREAMS_MAX];
    streams_before[0] = Some(Ssrc(9));
    let (stream, outgoing) = (Some(Ssrc(8)), outgoing.to_vec());
    let security = SecurityState::Browser(BrowserState { srtp, stream, streams_before, outgoing });
    LegState { security, ..native("[::ffff:10.0.0.1]:5") }
}

fn all() -> Vec<LegState> {
    let bare = LegState {
        address: None,
        window: None,
        rewriter: RewriterState { last_time: None, input: Input::Fresh, ..rewriter() },
        missed: Vec::new(),
        security: SecurityState::Browser(BrowserState::default()),
        ..browser()
    };
    vec![native("10.0.0.1:5"), native("[2001:db8::1]:65535"), browser(), bare]
}

#[test]
fn what_is_written_is_read() {
    for state in all() {
        let bytes = state.to_bytes();
        let records = state.missed.len()
            + match &state.security {
                SecurityState::Native(_) => 0,
                SecurityState::Browser(browser) => browser.outgoing.len(),
            };
        assert_eq!(bytes.len(), LEG_STATE_BYTES + records * RECORD_BYTES);
        assert_eq!(LegState::from_bytes(&bytes), Ok(state));
    }
}

#[test]
fn a_change_anywhere_is_noticed() {
    for state in all() {
        let bytes = state.to_bytes();
        for at in 0..bytes.len() {
            let mut broken = bytes.clone();
            broken[at] ^= 0x40;
            assert!(LegState::from_bytes(&broken).is_err(), "byte {at}");
            assert!(LegState::from_bytes(&bytes[..at]).is_err(), "cut at {at}");
        }
        assert_eq!(LegState::from_bytes(&[&bytes[..], &[0]].concat()), Err(Unreadable::Length));
    }
    let mut later = browser().to_bytes();
    later[4] = 2;
    assert_eq!(LegState::from_bytes(&later), Err(Unreadable::Version(2)));
    assert_eq!(LegState::from_bytes(b"something else"), Err(Unreadable::Magic));
}

proptest! {
    /// With a right checksum, too, nothing but what is meant is read.
    #[test]
    fn any_bytes_are_read_or_refused(mut bytes in proptest::collection::vec(any::<u8>(), LEG_STATE_BYTES + RECORD_BYTES), kind in 0u8..3, mask in prop_oneof![Just(0xFF_u8), Just(0x3), Just(0)]) {
        bytes[..8].copy_from_slice(&[b'G', b'L', b'E', b'G', LEG_STATE_VERSION as u8, 0, kind, 0]);
        bytes[12..20].copy_from_slice(&[1, 0, 0, 0, 0, 0, 0, 0]);
        // Otherwise hardly any would be read.
        bytes.iter_mut().skip(HEAD_BYTES + 12).for_each(|byte| *byte &= mask);
        let sum = checksum(&bytes);
        bytes[CHECKSUM_AT..CHECKSUM_AT + 4].copy_from_slice(&sum.to_le_bytes());
        if let Ok(state) = LegState::from_bytes(&bytes) {
            // Records of the other kind are gone, and flags are one or zero from then on.
            let again = state.to_bytes();
            prop_assert_eq!(LegState::from_bytes(&again), Ok(state));
        }
    }
}
