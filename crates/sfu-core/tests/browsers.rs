//! Browsers and native clients in one room.
#![allow(clippy::unwrap_used)]

mod browser;
mod net;

use std::net::SocketAddr;

use browser::{Browser, LEVEL, OPUS, RED};
use net::World;
use rtp_wire::rtcp::{self, SenderInfo};
use rtp_wire::{ExtensionForm, PayloadType, RtpTime, Ssrc};
use sfu_core::DropReason;
use sfu_wire::{Dtls, FromSfu, LegConnected, Snapshot, ToSfu};

const WORDS: &[u8] = &[0x78, 1, 2, 3, 4, 5, 6];

#[test]
fn a_browser_and_a_native_client_hear_each_other() {
    let mut world = World::default();
    let native = world.join(1);
    let mut browser = Browser::arrive(&mut world, 70, 1);
    world.events();

    // From a check to the handshake, whose parts go to signalling and back.
    browser.check(&mut world, true);
    assert_eq!(browser.answers, 1);
    let hello = [&[22, 0xFE, 0xFD][..], &[9; 100]].concat();
    world.send(browser.address, &hello);
    assert_eq!(world.events(), [FromSfu::Dtls(Dtls { id: 70, datagram: hello })]);
    let reply = [&[22, 0xFE, 0xFD][..], &[8; 50]].concat();
    world.tell(ToSfu::Dtls(Dtls { id: 70, datagram: reply.clone() }));
    browser.receive(&mut world);
    assert_eq!(browser.dtls, [reply]);
    // Nothing is sent to it and nothing taken from it until there are keys.
    world.talk(native);
    browser.say(&mut world, WORDS);
    assert!(browser.heard(&mut world).is_empty());
    assert_eq!(world.dropped(DropReason::NoKey), 1);
    browser.take_keys(&mut world);
    assert!(world.events().contains(&FromSfu::LegConnected(LegConnected { id: 70 })));

    world.talk(native);
    world.talk(native);
    let heard = browser.heard(&mut world);
    assert_eq!(heard.len(), 2);
    assert_eq!((heard[0].0, heard[0].2), (Ssrc(world.clients[native].leg.ssrc), PayloadType(OPUS as u8)));
    assert_eq!(heard[0].1.next(), heard[1].1);

    world.heard(native);
    browser.say(&mut world, WORDS);
    browser.say(&mut world, WORDS);
    let heard = world.heard(native);
    assert_eq!(heard.len(), 2);
    assert!(heard.iter().all(|frame| frame.ssrc == Ssrc(browser.leg.ssrc) && frame.payload == WORDS));
}

#[test]
fn rollover_is_each_listeners_own() {
    let mut world = World::default();
    let native = world.join(1);
    world.clients[native].seq = 65_460;
    let mut early = Browser::join(&mut world, 1, 1);
    world.talk_for(native, 80);
    let mut late = Browser::join(&mut world, 2, 1);
    world.talk_for(native, 10);
    // A browser's numbers roll over as well.
    let mut talker = Browser::join(&mut world, 3, 1);
    talker.seq = rtp_wire::SeqNo(65_533);
    world.heard(native);
    for _ in 0..6 {
        talker.say(&mut world, WORDS);
    }
    assert_eq!(world.heard(native).len(), 6);
    let of_native = |heard: Vec<(Ssrc, rtp_wire::SeqNo, _, _)>| {
        heard
            .into_iter()
            .filter(|(ssrc, ..)| *ssrc == Ssrc(1000))
            .map(|(_, seq, ..)| seq.0)
            .collect::<Vec<_>>()
    };
    let (early, late) = (of_native(early.heard(&mut world)), of_native(late.heard(&mut world)));
    assert_eq!((early.len(), late.len()), (90, 10));
    assert!(early.windows(2).all(|pair| pair[1] == pair[0] + 1), "{early:?}");
    assert!(late.windows(2).all(|pair| pair[1] == pair[0] + 1), "{late:?}");
    // The one has seen the counter move, for the other it is at its beginning.
    assert_eq!(early[89] >> 16, late[9] >> 16 | 1);
}

#[test]
fn nobody_is_answered_who_does_not_know_the_password() {
    let mut world = World::default();
    let browser = Browser::arrive(&mut world, 1, 1);
    let stranger: SocketAddr = "10.66.0.1:6".parse().unwrap();
    let wrong = browser.check_with("not the password", true);
    let mut other_name = browser.leg.webrtc.clone().unwrap();
    other_name.remote_ufrag = "nobody".into();
    let cut = &wrong[..wrong.len() - 4];
    for datagram in [&wrong[..], cut, &[&[22, 0xFE, 0xFD][..], &[0; 60]].concat(), &[0x80; 60]] {
        world.send(stranger, datagram);
    }
    assert_eq!(world.elsewhere, []);
    assert_eq!(world.dropped(DropReason::Unauthenticated), 1);
    assert_eq!(world.dropped(DropReason::Malformed), 1);
    assert_eq!(world.dropped(DropReason::UnknownSource), 2);
    assert!(!world.events().iter().any(|event| matches!(event, FromSfu::Dtls(_))));
}

#[test]
fn handshakes_are_carried_for_one_leg_only_so_often() {
    let mut world = World::default();
    let mut browser = Browser::arrive(&mut world, 1, 1);
    browser.check(&mut world, true);
    let hello = [&[22, 0xFE, 0xFD][..], &[9; 100]].concat();
    for _ in 0..1_000 {
        world.send(browser.address, &hello);
    }
    let carried = world.events().iter().filter(|event| matches!(event, FromSfu::Dtls(_))).count();
    assert_eq!(carried, 40);
    assert_eq!(world.dropped(DropReason::TooFast), 960);
    // A native client has no handshake.
    let native = world.join(1);
    world.send(world.clients[native].address, &hello);
    assert_eq!(world.dropped(DropReason::Unsupported), 1);
}

#[test]
fn two_browsers_may_choose_one_name_and_none_can_take_anothers() {
    let mut world = World::default();
    let native = world.join(1);
    let mut a = Browser::join(&mut world, 1, 1);
    let mut b = Browser::join(&mut world, 2, 1);
    b.ssrc = a.ssrc;
    a.say(&mut world, b"aaaa");
    b.say(&mut world, b"bbbb");
    let heard = world.heard(native);
    assert_eq!(heard.len(), 2);
    assert_eq!((heard[0].ssrc, heard[1].ssrc), (Ssrc(a.leg.ssrc), Ssrc(b.leg.ssrc)));
    // The name of a native client's stream, of a browser's as others see it, and somebody else's address.
    a.ssrc = Ssrc(world.clients[native].leg.ssrc);
    a.say(&mut world, b"aaaa");
    assert_eq!(world.heard(native)[0].ssrc, Ssrc(a.leg.ssrc));
    let frame = a.frame(OPUS, b"aaaa", 20);
    world.send("10.66.0.1:6".parse().unwrap(), &frame);
    world.send(b.address, &frame);
    world.send(world.clients[native].address, &frame);
    assert!(world.heard(native).is_empty());
    assert_eq!(world.dropped(DropReason::Unauthenticated), 3);
}

#[test]
fn a_stream_that_was_left_does_not_come_back_and_a_packet_comes_once() {
    let mut world = World::default();
    let native = world.join(1);
    let mut browser = Browser::join(&mut world, 1, 1);
    let first = browser.frame(OPUS, WORDS, 20);
    world.send(browser.address, &first);
    world.send(browser.address, &first);
    assert_eq!(world.dropped(DropReason::Replayed), 1);
    browser.ssrc = Ssrc(5);
    browser.say(&mut world, WORDS);
    world.send(browser.address, &first);
    assert_eq!(world.dropped(DropReason::ForeignStream), 1);
    let heard = world.heard(native);
    assert_eq!(heard.len(), 2);
    assert_eq!(heard[0].seq.next(), heard[1].seq, "listeners see one stream");
    for n in 6..40 {
        browser.ssrc = Ssrc(n);
        browser.say(&mut world, WORDS);
    }
    assert_eq!(world.heard(native).len(), 15, "it begins anew only so often");
}

#[test]
fn mute_and_silence_leave_no_gap() {
    let mut world = World::default();
    let native = world.join(1);
    let mut browser = Browser::join(&mut world, 1, 1);
    let mut listener = Browser::join(&mut world, 2, 1);
    browser.say(&mut world, WORDS);
    browser.leg.speak = false;
    browser.put(&mut world);
    world.wait(150);
    for _ in 0..5 {
        browser.say(&mut world, WORDS);
    }
    assert_eq!(world.dropped(DropReason::Muted), 5);
    browser.leg.speak = true;
    browser.put(&mut world);
    browser.say(&mut world, WORDS);
    let native = world.heard(native);
    let listener = listener.heard(&mut world);
    for numbers in
        [native.iter().map(|f| f.seq.0).collect::<Vec<_>>(), listener.iter().map(|f| f.1.0).collect()]
    {
        assert_eq!(numbers.len(), 7, "a frame, five of silence, a frame");
        assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1), "{numbers:?}");
    }
}

#[test]
fn redundant_frames_are_taken_off_and_other_payloads_are_not_passed_on() {
    let mut world = World::default();
    let native = world.join(1);
    let mut browser = Browser::join(&mut world, 1, 1);
    // RFC 2198: one redundant block of two bytes, 960 samples older, then the newest.
    let red = [&[0x80 | 111, 0x0F, 0, 2, 111][..], &[0xEE; 2], WORDS].concat();
    let frame = browser.frame(RED, &red, 20);
    world.send(browser.address, &frame);
    let broken = browser.frame(RED, &[0x80 | 111, 0x0F, 0xFF, 0xFF, 111, 1], 20);
    world.send(browser.address, &broken);
    let other = browser.frame(96, WORDS, 20);
    world.send(browser.address, &other);
    browser.say(&mut world, WORDS);
    let heard = world.heard(native);
    assert_eq!(heard.len(), 2);
    assert!(heard.iter().all(|frame| frame.payload == WORDS));
    assert_eq!(heard[0].seq.next(), heard[1].seq);
    assert_eq!(world.dropped(DropReason::Unsupported), 2);
}

#[test]
fn who_speaks_is_seen_from_how_loud_it_is() {
    let mut world = World::default();
    world.join(1);
    let mut browser = Browser::join(&mut world, 1, 1);
    world.events();
    let speaking = |world: &mut World| -> Vec<bool> {
        let events = world.events();
        events
            .iter()
            .filter_map(|e| if let FromSfu::LegSpeaking(s) = e { Some(s.speaking) } else { None })
            .collect()
    };
    for _ in 0..10 {
        let quiet = browser.frame(OPUS, WORDS, 90);
        world.send(browser.address, &quiet);
        world.wait(20);
    }
    assert_eq!(speaking(&mut world), []);
    browser.say(&mut world, WORDS);
    assert_eq!(speaking(&mut world), [true]);
    for _ in 0..10 {
        let quiet = browser.frame(OPUS, WORDS, 90);
        world.send(browser.address, &quiet);
        world.wait(20);
    }
    assert_eq!(speaking(&mut world), [false]);
}

/// What listeners get has the plainest header: both kinds of them look for that in every packet they open.
#[test]
fn whatever_extensions_come_none_is_passed_on() {
    let mut world = World::default();
    let native = world.join(1);
    let mut listener = Browser::join(&mut world, 2, 1);
    let mut browser = Browser::join(&mut world, 1, 1);
    world.events();
    const QUIET: &[u8] = &[90];
    const LOUD: &[u8] = &[0x80 | 20];
    // Identifiers as browsers number them: send time, transport-wide number, section, stream.
    let others: [(u8, &[u8]); 4] = [(2, &[1, 2, 3]), (3, &[0, 9]), (4, b"0"), (10, b"stream")];
    let with_level = |level| [&others[..2], &[(LEVEL, level)], &others[2..]].concat();
    let long = [0x55; 200];
    let foreign = [0xEE; 16];
    for (form, extensions, speaks) in [
        (ExtensionForm::OneByte, with_level(QUIET), None),
        (ExtensionForm::TwoByte, with_level(QUIET), None),
        (ExtensionForm::OneByte, with_level(LOUD), Some(true)),
        (ExtensionForm::TwoByte, with_level(LOUD), None),
        (ExtensionForm::TwoByte, vec![(200, &long[..]), (LEVEL, LOUD), (201, &[])], None),
        (ExtensionForm::OneByte, vec![(14, &foreign[..])], None),
        // A level of two bytes is none.
        (ExtensionForm::TwoByte, vec![(LEVEL, &[90, 90])], None),
        (ExtensionForm::OneByte, vec![], None),
    ] {
        let frame = browser.frame_with(form, &extensions, OPUS, WORDS);
        world.send(browser.address, &frame);
        let heard = world.heard(native);
        assert_eq!((heard.len(), &heard[0].payload[..]), (1, WORDS), "{extensions:?}");
        assert_eq!(listener.heard(&mut world)[0].3, WORDS);
        let spoke = world.events().iter().find_map(|event| match event {
            FromSfu::LegSpeaking(leg) => Some(leg.speaking),
            _ => None,
        });
        assert_eq!(spoke, speaks, "{form:?} {extensions:?}");
    }
}

#[test]
fn a_browser_is_told_of_every_stream_and_of_its_own() {
    let mut world = World::default();
    let native = world.join(1);
    let mut other = Browser::join(&mut world, 2, 1);
    let mut browser = Browser::join(&mut world, 1, 1);
    let mut report = [0; 100];
    for n in 0..100 {
        world.talk(native);
        other.say(&mut world, WORDS);
        if n % 10 == 5 {
            browser.frame(OPUS, WORDS, 20);
        }
        browser.say(&mut world, WORDS);
        if n == 50 {
            let info = SenderInfo { ntp: 0x1111_2222_3333_4444, time: RtpTime(5), packets: 1, octets: 1 };
            let len = rtcp::write_sender_report(browser.ssrc, &info, &[], &mut report).unwrap();
            browser.send_rtcp(&mut world, &report[..len]);
        }
        world.wait(20);
    }
    browser.receive(&mut world);
    let of = |ssrc: u32| {
        browser.sender_reports.iter().filter(move |(sender, _)| sender.0 == ssrc).collect::<Vec<_>>()
    };
    for ssrc in [world.clients[native].leg.ssrc, other.leg.ssrc] {
        let reports = of(ssrc);
        assert!(!reports.is_empty(), "of {ssrc}");
        assert!(reports.iter().all(|(_, info)| info.ntp != 0 && info.packets > 0), "{reports:?}");
    }
    assert!(of(browser.leg.ssrc).is_empty(), "its own is not sent to it");
    let block = browser.blocks.last().expect("it was told of its own");
    assert_eq!(block.ssrc, browser.ssrc);
    assert!(block.lost > 0 && block.fraction_lost > 10, "{block:?}");
    let asked = browser.blocks.iter().any(|block| block.last_sr == 0x2222_3333);
    assert!(asked, "{:?}", browser.blocks);
    // Nobody who was sent nothing is told anything of it.
    browser.sender_reports.clear();
    world.wait(2_500);
    browser.receive(&mut world);
    browser.sender_reports.clear();
    world.wait(5_000);
    browser.receive(&mut world);
    assert_eq!(browser.sender_reports, []);
    assert!(!browser.blocks.is_empty());
}

#[test]
fn who_no_longer_consents_is_sent_nothing_until_it_does_again() {
    let mut world = World::default();
    let native = world.join(1);
    let mut browser = Browser::join(&mut world, 1, 1);
    for _ in 0..20 {
        world.wait(5_000);
        browser.check(&mut world, false);
    }
    world.talk(native);
    assert_eq!(browser.heard(&mut world).len(), 1);
    world.wait(33_000);
    browser.receive(&mut world);
    world.talk(native);
    world.wait(10_000);
    assert_eq!(world.elsewhere, []);
    browser.check(&mut world, false);
    world.talk(native);
    let heard = browser.heard(&mut world);
    assert_eq!(heard.len(), 1);
}

#[test]
fn a_browser_whose_network_changed_is_followed_once_it_says_so() {
    let mut world = World::default();
    let native = world.join(1);
    let mut browser = Browser::join(&mut world, 1, 1);
    world.wait(1_000);
    let before = browser.address;
    browser.address = "10.9.9.9:9".parse().unwrap();
    browser.check(&mut world, false);
    world.talk(native);
    assert!(browser.heard(&mut world).is_empty(), "only tried so far");
    assert!(world.elsewhere.drain(..).all(|(to, _)| to == before));
    browser.check(&mut world, true);
    world.talk(native);
    assert_eq!(browser.heard(&mut world).len(), 1);
    assert_eq!(world.elsewhere, []);
    browser.say(&mut world, WORDS);
    assert_eq!(world.heard(native).len(), 1);
}

/// Over one path everything arrives here and nothing there; over the other all goes both ways. Such a browser says with every check that its
/// path is chosen.
#[test]
fn a_browser_is_where_its_handshake_comes_from() {
    let mut world = World::default();
    let native = world.join(1);
    let mut browser = Browser::arrive(&mut world, 70, 1);
    let (dead, good): (SocketAddr, SocketAddr) = (browser.address, "10.9.9.9:9".parse().unwrap());
    let dtls = |filling: u8| [&[22, 0xFE, 0xFD][..], &[filling; 100]].concat();
    browser.check(&mut world, true);
    world.wait(20);
    browser.address = good;
    browser.check(&mut world, true);
    world.events();
    world.send(good, &dtls(9));
    assert_eq!(world.events(), [FromSfu::Dtls(Dtls { id: 70, datagram: dtls(9) })]);
    let checked_again = |world: &mut World, browser: &mut Browser| {
        world.wait(500);
        browser.address = dead;
        browser.check(world, true);
        browser.address = good;
        world.elsewhere.clear();
    };
    for answer in 0..10 {
        world.tell(ToSfu::Dtls(Dtls { id: 70, datagram: dtls(answer) }));
        browser.receive(&mut world);
        assert_eq!(browser.dtls.pop(), Some(dtls(answer)));
        checked_again(&mut world, &mut browser);
    }
    browser.take_keys(&mut world);
    for _ in 0..10 {
        browser.say(&mut world, WORDS);
        assert_eq!(world.heard(native).len(), 1);
        checked_again(&mut world, &mut browser);
        world.talk(native);
        assert_eq!(browser.heard(&mut world).len(), 1);
    }
    // With keys a handshake says nothing, and without a check it never did.
    for from in [dead, "10.9.9.9:10".parse().unwrap()] {
        world.send(from, &dtls(9));
    }
    assert_eq!(world.dropped(DropReason::UnknownSource), 2);
    // The chosen path is silent, so what else there is will do.
    world.wait(7_000);
    browser.address = dead;
    browser.check(&mut world, true);
    world.talk(native);
    assert_eq!(browser.heard(&mut world).len(), 1);
}

#[test]
fn a_browser_is_followed_by_what_it_sends_from_an_address_that_it_has_checked() {
    let mut world = World::default();
    let native = world.join(1);
    let mut browser = Browser::join(&mut world, 1, 1);
    let (first, second): (SocketAddr, SocketAddr) = (browser.address, "10.9.9.9:9".parse().unwrap());
    browser.address = second;
    browser.check(&mut world, false);
    let mut plain = [0; 100];
    let len = rtcp::write_receiver_report(browser.ssrc, &[], &mut plain).unwrap();
    for (n, address) in [second, first, second, first].into_iter().enumerate() {
        world.wait(600);
        world.elsewhere.clear();
        browser.address = address;
        // By its voice, and if it has none by its reports.
        if n < 2 {
            browser.say(&mut world, WORDS);
            assert_eq!(world.heard(native).len(), 1);
        } else {
            browser.send_rtcp(&mut world, &plain[..len]);
        }
        world.talk(native);
        assert_eq!(browser.heard(&mut world).len(), 1, "at {address}");
        assert_eq!(world.elsewhere, []);
    }
    // Too soon after the last time: it is heard, and not yet followed.
    browser.address = second;
    browser.say(&mut world, WORDS);
    assert_eq!(world.heard(native).len(), 1);
    world.talk(native);
    assert!(browser.heard(&mut world).is_empty());
    // Whose address it is stays so whoever else says to be there.
    let mut other = Browser::join(&mut world, 2, 1);
    other.address = second;
    other.check(&mut world, true);
    world.wait(600);
    browser.say(&mut world, WORDS);
    assert_eq!(world.heard(native).len(), 1);
    // What was checked for the transport before counts no more.
    world.elsewhere.clear();
    let webrtc = browser.leg.webrtc.as_mut().unwrap();
    (webrtc.ufrag, webrtc.srtp) = ("other".into(), None);
    browser.put(&mut world);
    let hello = [&[22, 0xFE, 0xFD][..], &[9; 100]].concat();
    for from in [first, second] {
        world.send(from, &hello);
    }
    assert_eq!(world.dropped(DropReason::UnknownSource), 2);
}

#[test]
fn what_is_said_again_changes_nothing_and_a_new_transport_begins_anew() {
    let mut world = World::default();
    let native = world.join(1);
    let native_leg = world.clients[native].leg.clone();
    let mut browser = Browser::join(&mut world, 1, 1);
    browser.say(&mut world, WORDS);
    world.heard(native);
    world.tell(ToSfu::Snapshot(Snapshot { legs: vec![browser.leg.clone(), native_leg] }));
    browser.say(&mut world, WORDS);
    world.talk(native);
    assert_eq!((world.heard(native).len(), browser.heard(&mut world).len()), (1, 1));

    let before = browser.check_with(&browser.leg.webrtc.as_ref().unwrap().pwd.clone(), true);
    let webrtc = browser.leg.webrtc.as_mut().unwrap();
    (webrtc.ufrag, webrtc.srtp) = ("other".into(), None);
    browser.put(&mut world);
    world.send(browser.address, &before);
    assert_eq!(world.elsewhere, []);
    browser.check(&mut world, true);
    assert_eq!(browser.answers, 2);
    browser.material.iter_mut().for_each(|byte| *byte ^= 0x55);
    browser.srtp =
        transport::Srtp::new(browser.profile, &browser.material, transport::DtlsRole::Client).unwrap();
    browser.windows.clear();
    browser.take_keys(&mut world);
    browser.say(&mut world, WORDS);
    world.talk(native);
    assert_eq!((world.heard(native).len(), browser.heard(&mut world).len()), (1, 1));
}
