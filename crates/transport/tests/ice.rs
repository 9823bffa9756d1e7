//! An end of ICE against the messages of RFC 5769 and against a peer made of a builder.

use std::net::SocketAddr;

use hmac::{Hmac, KeyInit, Mac};
use rtp_wire::NoRoom;
use rtp_wire::stun::{StunBuilder, StunMessage};
use sha1::Sha1;
use transport::ice::{ANSWER_MAX_LEN, local_ufrag};
use transport::{IceAgent, IceCheck, IceCredentials, IceReject};

/// RFC 5769 sections 2.1 to 2.3.
const REQUEST: &[u8] = include_bytes!("../../rtp-wire/corpus/stun/rfc5769-request");
const RESPONSES: [&[u8]; 2] = [
    include_bytes!("../../rtp-wire/corpus/stun/rfc5769-response-v4"),
    include_bytes!("../../rtp-wire/corpus/stun/rfc5769-response-v6"),
];
const STANDARD_PASSWORD: &str = "VOkJxbRl1RmTxUk/WvJxBt";

const PASSWORD: &str = "ours, twenty-two letters";
const TRANSACTION: [u8; 12] = [7; 12];

fn agent(ufrag: &str, pwd: &str, remote: &str) -> IceAgent {
    IceAgent::new(&IceCredentials { ufrag: ufrag.to_owned(), pwd: pwd.to_owned() }, remote)
}

fn ours() -> IceAgent {
    agent("ours", PASSWORD, "theirs")
}

fn mac(password: &str, parts: [&[u8]; 2]) -> [u8; 20] {
    let mac = Hmac::<Sha1>::new_from_slice(password.as_bytes()).expect("any length");
    mac.chain_update(parts[0]).chain_update(parts[1]).finalize().into_bytes().into()
}

/// A check as browsers send it, with what `more` adds to it.
fn check(
    user: &str,
    password: &str,
    more: impl FnOnce(&mut StunBuilder<'_>) -> Result<(), NoRoom>,
) -> Vec<u8> {
    let mut buf = vec![0; 256];
    let mut builder = StunBuilder::request(TRANSACTION, &mut buf).expect("it fits");
    builder.username(user).expect("it fits");
    builder.priority(1).expect("it fits");
    more(&mut builder).expect("it fits");
    builder.integrity(|header, body| mac(password, [header, body])).expect("it fits");
    builder.fingerprint().expect("it fits");
    let len = builder.finish();
    buf.truncate(len);
    buf
}

fn verify(agent: &IceAgent, bytes: &[u8]) -> Result<IceCheck, IceReject> {
    agent.verify(&StunMessage::parse(bytes).expect("it is STUN"))
}

fn is_authentic(message: &StunMessage<'_>, password: &str) -> bool {
    message.integrity().is_some_and(|code| code.mac == mac(password, [&code.header, code.body]))
}

#[test]
fn the_request_of_the_standard() {
    // It comes from somebody who wants to be controlled, which shows only after everything else was right.
    assert_eq!(verify(&agent("evtj", STANDARD_PASSWORD, "h6vY"), REQUEST), Err(IceReject::RoleConflict));
    let wrong = agent("evtj", "VOkJxbRl1RmTxUk/WvJxBT", "h6vY");
    assert_eq!(verify(&wrong, REQUEST), Err(IceReject::WrongIntegrity));
    let wrong = agent("evtj", STANDARD_PASSWORD, "h6vy");
    assert_eq!(verify(&wrong, REQUEST), Err(IceReject::WrongUser));
    assert_eq!(local_ufrag(&StunMessage::parse(REQUEST).expect("it is STUN")), Some("evtj"));
}

#[test]
fn the_responses_of_the_standard() {
    for response in RESPONSES {
        let message = StunMessage::parse(response).expect("it is STUN");
        assert!(is_authentic(&message, STANDARD_PASSWORD));
        let agent = agent("evtj", STANDARD_PASSWORD, "h6vY");
        assert_eq!(agent.verify(&message), Err(IceReject::NotABindingRequest));
    }
}

#[test]
fn a_check_is_taken_and_answered() {
    for nominated in [false, true] {
        let bytes = check("ours:theirs", PASSWORD, |builder| {
            builder.controlling(99)?;
            if nominated { builder.use_candidate() } else { Ok(()) }
        });
        let taken = verify(&ours(), &bytes).expect("it is right");
        assert_eq!(taken, IceCheck { nominated, transaction: TRANSACTION });
        for mapped in ["192.0.2.1:1234", "[2001:db8::1]:65535", "[::ffff:192.0.2.1]:1"] {
            let mapped: SocketAddr = mapped.parse().expect("an address");
            let mut out = [0; ANSWER_MAX_LEN];
            let len = ours().write_success(&taken, mapped, &mut out).expect("it fits");
            let answer = StunMessage::parse(&out[..len]).expect("it is STUN");
            assert!(answer.is_binding_success() && is_authentic(&answer, PASSWORD));
            assert_eq!((answer.transaction_id(), answer.fingerprint_ok()), (TRANSACTION, Some(true)));
            let seen = SocketAddr::new(mapped.ip().to_canonical(), mapped.port());
            assert_eq!(answer.xor_mapped_address(), Some(seen));
            assert!(ours().write_success(&taken, mapped, &mut out[..len - 1]).is_err());
        }
    }
}

#[test]
fn a_wrong_check_is_met_with_silence() {
    let right = check("ours:theirs", PASSWORD, |_| Ok(()));
    assert!(verify(&ours(), &right).is_ok(), "neither role nor priority is insisted on");
    let refused = |bytes: &[u8], expect| {
        assert_eq!(verify(&ours(), bytes), Err(expect));
        assert_eq!(ours().write_error(TRANSACTION, &expect, &mut []), Ok(None), "{expect}");
    };
    refused(&check("ours:theirs", "another", |_| Ok(())), IceReject::WrongIntegrity);
    refused(&check("ours:theirs", "", |_| Ok(())), IceReject::WrongIntegrity);
    for user in ["theirs:ours", "ours:", ":", "ours", "ours:theirs:", "ours:theirsx", ""] {
        refused(&check(user, PASSWORD, |_| Ok(())), IceReject::WrongUser);
    }
    let mut wrong = right.clone();
    *wrong.last_mut().expect("it is not empty") ^= 1;
    refused(&wrong, IceReject::WrongFingerprint);
    for (kind, bytes) in
        [("indication", [0x00, 0x11]), ("success", [0x01, 0x01]), ("another method", [0x00, 0x03])]
    {
        let mut other = right.clone();
        other[..2].copy_from_slice(&bytes);
        assert_eq!(verify(&ours(), &other), Err(IceReject::NotABindingRequest), "{kind}");
    }
    let mut buf = [0; 64];
    let mut bare = StunBuilder::request(TRANSACTION, &mut buf).expect("it fits");
    bare.username("ours:theirs").expect("it fits");
    let len = bare.finish();
    refused(&buf[..len], IceReject::NoIntegrity);
}

/// Also of a check whose fingerprint was made to fit, as anybody can.
#[test]
fn any_changed_bit_is_noticed() {
    let right = check("ours:theirs", PASSWORD, |builder| builder.use_candidate());
    let body_end = right.len() - 8;
    let len = u16::from_be_bytes([right[2], right[3]]) - 8;
    for at in 0..body_end * 8 {
        let mut bytes = right[..body_end].to_vec();
        bytes[2..4].copy_from_slice(&len.to_be_bytes());
        bytes[at / 8] ^= 1 << (at % 8);
        let Ok(message) = StunMessage::parse(&bytes) else { continue };
        assert!(ours().verify(&message).is_err(), "bit {at}");
    }
    for len in 0..right.len() {
        assert!(StunMessage::parse(&right[..len]).is_err(), "cut to {len}");
    }
}

#[test]
fn what_is_not_authenticated_does_not_nominate() {
    let mut bytes = check("ours:theirs", PASSWORD, |_| Ok(()));
    bytes.truncate(bytes.len() - 8);
    bytes.extend([0, 0x25, 0, 0]);
    let len = (bytes.len() - 20) as u16;
    bytes[2..4].copy_from_slice(&len.to_be_bytes());
    assert_eq!(verify(&ours(), &bytes), Ok(IceCheck { nominated: false, transaction: TRANSACTION }));
}

#[track_caller]
fn refusal(reject: IceReject, expect: (u16, usize)) {
    let mut out = [0; ANSWER_MAX_LEN];
    let len = ours().write_error(TRANSACTION, &reject, &mut out).expect("it fits").expect("an answer");
    let answer = StunMessage::parse(&out[..len]).expect("it is STUN");
    assert!(answer.is_binding_error() && is_authentic(&answer, PASSWORD));
    assert_eq!((answer.transaction_id(), answer.fingerprint_ok()), (TRANSACTION, Some(true)));
    assert_eq!((answer.error_code(), len), (Some(expect.0), expect.1));
    assert!(ours().write_error(TRANSACTION, &reject, &mut out[..len - 1]).is_err());
}

#[test]
fn an_authentic_check_is_told_why_not() {
    let bytes = check("ours:theirs", PASSWORD, |builder| builder.controlled(5));
    assert_eq!(verify(&ours(), &bytes), Err(IceReject::RoleConflict));
    refusal(IceReject::RoleConflict, (487, 76));

    // Types that no builder writes, in front of the user name.
    let mut buf = [0; 256];
    let mut builder = StunBuilder::request(TRANSACTION, &mut buf).expect("it fits");
    for _ in 0..6 {
        builder.priority(0).expect("it fits");
    }
    builder.username("ours:theirs").expect("it fits");
    let len = builder.finish() + 24;
    for at in 0..6 {
        buf[20 + 8 * at] = 0x7F;
    }
    buf[2..4].copy_from_slice(&(len as u16 - 20).to_be_bytes());
    let code = mac(PASSWORD, [&buf[..20], &buf[20..len - 24]]);
    buf[len - 24..len - 20].copy_from_slice(&[0, 8, 0, 20]);
    buf[len - 20..len].copy_from_slice(&code);
    let reject = verify(&ours(), &buf[..len]).expect_err("nobody knows these");
    let IceReject::UnknownAttribute(unknown) = reject else { panic!("{reject}") };
    assert_eq!(unknown.types(), [0x7F24; 4]);
    refusal(reject, (420, ANSWER_MAX_LEN));
}

#[test]
fn a_password_is_not_printed() {
    let shown = format!("{:?}", IceCredentials { ufrag: "ours".to_owned(), pwd: PASSWORD.to_owned() });
    assert_eq!(shown, "IceCredentials { ufrag: \"ours\", .. }");
}

#[test]
fn hostile_bytes_hold() {
    for bytes in RESPONSES.into_iter().chain([REQUEST, &check("ours:theirs", PASSWORD, |_| Ok(()))]) {
        for len in 0..=bytes.len() {
            transport::fuzz::fuzz_ice(&bytes[..len]);
        }
    }
}

proptest::proptest! {
    /// Random attributes behind a right header.
    #[test]
    fn random_messages_hold(mut body in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200)) {
        body.truncate(body.len() / 4 * 4);
        let mut bytes = vec![0, 1, 0, body.len() as u8, 0x21, 0x12, 0xA4, 0x42];
        bytes.extend(TRANSACTION);
        bytes.extend(body);
        transport::fuzz::fuzz_ice(&bytes);
    }
}
