use super::*;
use crate::NoRoom;

/// RFC 5769 sections 2.1 to 2.3, which are seeds of the corpus as well.
const REQUEST: &[u8] = include_bytes!("../../corpus/stun/rfc5769-request");
const RESPONSE_V4: &[u8] = include_bytes!("../../corpus/stun/rfc5769-response-v4");
const RESPONSE_V6: &[u8] = include_bytes!("../../corpus/stun/rfc5769-response-v6");
const TRANSACTION: [u8; 12] = [0xB7, 0xE7, 0xA7, 0x01, 0xBC, 0x34, 0xD6, 0x86, 0xFA, 0x87, 0xDF, 0xAE];

fn built(buf: &mut [u8], write: impl FnOnce(&mut StunBuilder<'_>) -> Result<(), NoRoom>) -> StunMessage<'_> {
    let mut builder = StunBuilder::request([7; 12], buf).unwrap();
    write(&mut builder).unwrap();
    let len = builder.finish();
    StunMessage::parse(&buf[..len]).unwrap()
}

#[track_caller]
fn check_error(bytes: &[u8], expect: StunError) {
    assert_eq!(StunMessage::parse(bytes), Err(expect), "{bytes:02x?}");
}

/// A message of any type with these attributes, nothing computed.
fn raw(attributes: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 1, 0, attributes.len() as u8, 0x21, 0x12, 0xA4, 0x42];
    bytes.extend([7; 12]);
    bytes.extend_from_slice(attributes);
    bytes
}

#[test]
fn the_request_of_the_standard() {
    let message = StunMessage::parse(REQUEST).unwrap();
    assert!(
        message.is_binding_request() && !message.is_binding_indication() && !message.is_binding_success()
    );
    assert_eq!(message.transaction_id(), TRANSACTION);
    assert_eq!(message.username(), Some("evtj:h6vY"));
    assert_eq!(message.priority(), Some(0x6E00_01FF));
    assert_eq!((message.controlled(), message.controlling()), (Some(0x932F_F9B1_5126_3B36), None));
    assert!(!message.use_candidate());
    assert_eq!(message.fingerprint_ok(), Some(true));
    assert!(message.unknown_required().is_empty());
    let integrity = message.integrity().unwrap();
    assert_eq!(integrity.header[2..4], [0, 0x50], "without the eight bytes of the fingerprint");
    assert_eq!(integrity.body, &REQUEST[20..REQUEST.len() - 32]);
    assert_eq!(integrity.mac[..4], [0x9A, 0xEA, 0xA7, 0x0C]);
}

#[test]
fn the_responses_of_the_standard() {
    for (bytes, expect) in
        [(RESPONSE_V4, "192.0.2.1:32853"), (RESPONSE_V6, "[2001:db8:1234:5678:11:2233:4455:6677]:32853")]
    {
        let message = StunMessage::parse(bytes).unwrap();
        assert!(message.is_binding_success());
        assert_eq!(message.xor_mapped_address(), Some(expect.parse().unwrap()));
        assert_eq!(message.fingerprint_ok(), Some(true));
        let mut buf = [0; 100];
        let mut builder = StunBuilder::success(TRANSACTION, &mut buf).unwrap();
        builder.xor_mapped_address(expect.parse().unwrap()).unwrap();
        let len = builder.finish();
        let theirs = attribute_at(bytes, 36).unwrap();
        assert_eq!(
            attribute_at(&buf[..len], 20).map(|(kind, value, _)| (kind, value)),
            Some((theirs.0, theirs.1))
        );
    }
}

#[test]
fn any_changed_bit_breaks_the_fingerprint() {
    for at in 0..REQUEST.len() * 8 {
        let mut bytes = REQUEST.to_vec();
        bytes[at / 8] ^= 1 << (at % 8);
        if let Ok(message) = StunMessage::parse(&bytes) {
            assert_ne!(message.fingerprint_ok(), Some(true), "bit {at}");
        }
    }
}

#[test]
fn what_is_built_is_read() {
    let mut buf = [0xAA; 256];
    let message = built(&mut buf, |builder| {
        builder.username("ours:theirs")?;
        builder.priority(99)?;
        builder.controlling(5)?;
        builder.use_candidate()?;
        builder.integrity(|header, body| {
            assert_eq!(usize::from(header[3]), body.len() + 24);
            [9; 20]
        })?;
        builder.fingerprint()
    });
    assert_eq!(message.username(), Some("ours:theirs"));
    assert_eq!((message.priority(), message.controlling(), message.controlled()), (Some(99), Some(5), None));
    assert!(message.use_candidate());
    assert_eq!(message.fingerprint_ok(), Some(true));
    let integrity = message.integrity().unwrap();
    assert_eq!((integrity.mac, usize::from(integrity.header[3])), ([9; 20], integrity.body.len() + 24));
}

#[test]
fn refusals() {
    let mut buf = [0; 128];
    let mut builder = StunBuilder::refusal([7; 12], &mut buf).unwrap();
    assert_eq!(builder.error(299, ""), Err(NoRoom));
    assert_eq!(builder.error(700, ""), Err(NoRoom));
    builder.error(420, "Unknown Attribute").unwrap();
    builder.unknown_attributes(&[0x7F01, 0x7F02, 0x7F03]).unwrap();
    let len = builder.finish();
    let message = StunMessage::parse(&buf[..len]).unwrap();
    assert!(message.is_binding_error());
    assert_eq!(message.error_code(), Some(420));
    assert_eq!(message.get(UNKNOWN_ATTRIBUTES), Some(&[0x7F, 1, 0x7F, 2, 0x7F, 3][..]));
    assert_eq!(message.get(ERROR_CODE), Some(&b"\0\0\x04\x14Unknown Attribute"[..]));
}

#[test]
fn an_address_that_is_ipv4_in_ipv6_is_written_as_ipv4() {
    let mut buf = [0; 64];
    let ip = Ipv4Addr::new(10, 0, 0, 1);
    let mapped = SocketAddr::new(ip.to_ipv6_mapped().into(), 9);
    let message = built(&mut buf, |builder| builder.xor_mapped_address(mapped));
    assert_eq!(message.xor_mapped_address(), Some(SocketAddr::new(ip.into(), 9)));
}

#[test]
fn what_is_not_authenticated_counts_for_nothing() {
    let integrity = [&[0, 8, 0, 20][..], &[0; 20]].concat();
    let message = raw(&[&integrity[..], &[0, 0x25, 0, 0]].concat());
    let message = StunMessage::parse(&message).unwrap();
    assert!(message.integrity().is_some() && !message.use_candidate());
    // Nor does a second code replace the first, nor an attribute that is there twice.
    let twice =
        raw(&[&[0, 0x24, 0, 4, 0, 0, 0, 1, 0, 0x24, 0, 4, 0, 0, 0, 2], &integrity[..], &integrity].concat());
    let twice = StunMessage::parse(&twice).unwrap();
    assert_eq!(twice.priority(), Some(1));
    assert_eq!(twice.integrity().map(|integrity| integrity.body.len()), Some(16));
}

#[test]
fn unknown_attributes_are_named_if_they_are_required() {
    let attributes: Vec<u8> =
        (1..=6).flat_map(|number| [0x7F, number, 0, 0]).chain([0xC0, 0x57, 0, 0]).collect();
    let message = raw(&attributes);
    let message = StunMessage::parse(&message).unwrap();
    assert_eq!(message.unknown_required().types(), [0x7F01, 0x7F02, 0x7F03, 0x7F04]);
    let optional = raw(&[0xC0, 0x57, 0, 0, 0x80, 0x22, 0, 0]);
    assert!(StunMessage::parse(&optional).unwrap().unknown_required().is_empty());
}

#[test]
fn what_is_no_stun_is_refused() {
    check_error(&[], StunError::TooShort);
    check_error(&REQUEST[..19], StunError::TooShort);
    check_error(&REQUEST[..REQUEST.len() - 4], StunError::Length);
    check_error(&[REQUEST, &[0; 4]].concat(), StunError::Length);
    let mut bytes = REQUEST.to_vec();
    bytes[0] |= 0x80;
    check_error(&bytes, StunError::Cookie);
    let mut bytes = REQUEST.to_vec();
    bytes[5] ^= 1;
    check_error(&bytes, StunError::Cookie);
    check_error(&raw(&[0, 6, 0]), StunError::Length);
    check_error(&raw(&[0, 6, 0, 1]), StunError::Attribute);
    check_error(&raw(&[0, 6, 0, 5, 1, 2, 3, 4]), StunError::Attribute);
    check_error(&raw(&[0, 6, 0xFF, 0xFF, 1, 2, 3, 4]), StunError::Attribute);
    check_error(&raw(&[0, 8, 0, 4, 1, 2, 3, 4]), StunError::Attribute);
    check_error(&raw(&[0x80, 0x28, 0, 0]), StunError::Attribute);
    check_error(&raw(&[0x80, 0x28, 0, 4, 1, 2, 3, 4, 0, 0x25, 0, 0]), StunError::Attribute);
}

#[test]
fn attributes_of_a_wrong_length_are_not_there() {
    let message =
        raw(&[0, 0x24, 0, 2, 1, 2, 0, 0, 0x80, 0x2A, 0, 4, 1, 2, 3, 4, 0, 6, 0, 2, 0xFF, 0xFE, 0, 0]);
    let message = StunMessage::parse(&message).unwrap();
    assert_eq!((message.priority(), message.controlling(), message.username()), (None, None, None));
    for value in [&[0, 1, 0, 0][..], &[0, 2, 0, 0, 1, 2, 3, 4], &[0, 3, 0, 0, 1, 2, 3, 4]] {
        let message = raw(&[&[0, 0x20, 0, value.len() as u8][..], value].concat());
        assert_eq!(StunMessage::parse(&message).unwrap().xor_mapped_address(), None);
    }
}

#[test]
fn builders_refuse_what_does_not_fit() {
    assert!(StunBuilder::request([0; 12], &mut [0; 19]).is_err());
    let mut buf = [0; 31];
    let mut builder = StunBuilder::request([0; 12], &mut buf).unwrap();
    assert_eq!(builder.username("12345"), Err(NoRoom));
    let mut buf = [0; 43];
    let mut builder = StunBuilder::request([0; 12], &mut buf).unwrap();
    assert_eq!(builder.integrity(|_, _| [0; 20]), Err(NoRoom));
    let mut buf = vec![0; 1 << 17];
    let mut builder = StunBuilder::request([0; 12], &mut buf).unwrap();
    assert_eq!(builder.username(&"x".repeat(1 << 16)), Err(NoRoom));
}
