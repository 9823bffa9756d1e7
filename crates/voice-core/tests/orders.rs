//! Guilds' orders against clients' tokens: who is where, with which rights, and who learns of it.
#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use client_wire::voice::{MODES, ServerFrame, Version};
use cluster_wire::voice::{Order, OrderKind, Participant, RELEASE, Report, Rights};
use model::{ServerId, SessionId};
use support::{ALL, GUILD, OTHER_ROOM, ROOM, World, session_of, user};
use voice_core::Event;
use voice_core::limits::CONFIRM_TIMEOUT;

#[test]
fn a_token_ahead_of_its_placement_begins_but_neither_speaks_nor_hears_nor_sees() {
    let mut world = World::new();
    let first = world.joined(user(1), Version::V8);
    world.clear();
    let token = world.token(user(2), ROOM);
    let second = world.open(Version::V8);
    world.identify_with(second, user(2), token);
    world.select(second, MODES[0]);
    let leg = world.leg(second).unwrap();
    assert_eq!((leg.speak, leg.hear, leg.native.is_some()), (false, false, true));
    assert_eq!(world.frames(first), []);
    let frames = world.frames(second);
    assert!(
        matches!(
            &frames[..],
            [ServerFrame::Hello(_), ServerFrame::Ready(_), ServerFrame::SessionDescription(_)]
        ),
        "{frames:?}"
    );

    world.clear();
    world.put(user(2), ROOM, ALL);
    let leg = world.leg(second).unwrap();
    assert_eq!((leg.speak, leg.hear), (true, true));
    assert!(matches!(&world.frames(first)[..], [ServerFrame::ClientsConnect(c)] if c.user_ids == [user(2)]));
    let frames = world.frames(second);
    assert!(
        matches!(&frames[..], [ServerFrame::ClientsConnect(c), ServerFrame::Speaking(s)]
            if c.user_ids == [user(1)] && s.user_id == user(1) && s.speaking == 0),
        "{frames:?}"
    );
    world.advance(CONFIRM_TIMEOUT);
    assert_eq!(world.close_of(second), None);
}

#[test]
fn a_token_that_is_never_confirmed_ends_with_4006() {
    let mut world = World::new();
    let token = world.token(user(1), ROOM);
    let conn = world.open(Version::V8);
    world.identify_with(conn, user(1), token);
    world.advance(CONFIRM_TIMEOUT);
    assert_eq!(world.close_of(conn), Some(4006));
    assert_eq!(world.events, [Event::Unconfirmed]);
    assert_eq!(world.leg(conn), None);
}

#[test]
fn a_removed_participants_token_brings_it_nothing() {
    let mut world = World::new();
    let token = world.token(user(1), ROOM);
    world.put(user(1), ROOM, ALL);
    world.remove(user(1));
    let conn = world.open(Version::V8);
    world.identify_with(conn, user(1), token);
    assert!(world.leg(conn).is_some_and(|leg| !leg.hear && !leg.speak));
    world.advance(CONFIRM_TIMEOUT);
    assert_eq!(world.close_of(conn), Some(4006));
}

#[test]
fn a_move_closes_the_old_connection_and_the_new_token_brings_it_to_the_new_room() {
    let mut world = World::new();
    let stays = world.joined(user(1), Version::V8);
    let old = world.joined(user(2), Version::V8);
    let ssrc = world.leg(old).unwrap().ssrc;
    let token = world.token(user(2), OTHER_ROOM);
    world.clear();
    world.put(user(2), OTHER_ROOM, ALL);
    assert_eq!(world.close_of(old), Some(4014));
    assert!(matches!(&world.frames(stays)[..], [ServerFrame::ClientDisconnect(d)] if d.user_id == user(2)));
    let new = world.open(Version::V8);
    world.identify_with(new, user(2), token);
    let leg = world.leg(new).unwrap();
    assert_eq!(
        (leg.room, leg.ssrc, leg.hear),
        (OTHER_ROOM.0, ssrc, true),
        "the stream id is the session's for life"
    );
}

#[test]
fn a_client_that_moves_faster_than_its_order_is_not_thrown_out() {
    let mut world = World::new();
    let old = world.joined(user(1), Version::V8);
    let token = world.token(user(1), OTHER_ROOM);
    let new = world.open(Version::V8);
    world.identify_with(new, user(1), token);
    assert_eq!(world.close_of(old), Some(4014), "one library waits for its old connection to be closed so");
    // A change of rights in the old channel was on its way before the move.
    world.put(user(1), ROOM, Rights { speak: false, ..ALL });
    assert_eq!(world.close_of(new), None);
    assert!(world.leg(new).is_some_and(|leg| leg.room == OTHER_ROOM.0 && !leg.hear));
    world.put(user(1), OTHER_ROOM, ALL);
    assert_eq!(world.close_of(new), None);
    assert!(world.leg(new).is_some_and(|leg| leg.hear && leg.speak));
    world.advance(CONFIRM_TIMEOUT);
    assert_eq!(world.close_of(new), None);
}

#[test]
fn an_old_token_leads_to_where_guilds_has_placed_its_session() {
    let mut world = World::new();
    let token = world.token(user(1), ROOM);
    world.put(user(1), ROOM, ALL);
    let conn = world.open(Version::V8);
    world.identify_with(conn, user(1), token.clone());
    world.put(user(1), OTHER_ROOM, ALL);
    let again = world.open(Version::V8);
    world.identify_with(again, user(1), token);
    assert_eq!(world.leg(again).unwrap().room, OTHER_ROOM.0);
}

#[test]
fn identifying_again_replaces_the_connection_and_keeps_the_stream_id() {
    let mut world = World::new();
    let token = world.token(user(1), ROOM);
    world.put(user(1), ROOM, ALL);
    let first = world.open(Version::V8);
    world.identify_with(first, user(1), token.clone());
    world.select(first, MODES[0]);
    let before = world.leg(first).unwrap();
    world.clear();
    let second = world.open(Version::V8);
    world.identify_with(second, user(1), token);
    let after = world.leg(second).unwrap();
    assert!(world.close_of(first).is_some());
    assert_eq!(before.ssrc, after.ssrc);
    assert_ne!(before.id, after.id, "a new transport is a new leg");
    assert_eq!(after.native, None);
    // It may have been told where to go anew, and guilds waits to hear that it came.
    assert!(matches!(world.reports[..], [Report::Live { .. }]), "{:?}", world.reports);
    world.lose(first, Some(1000));
    assert!(world.leg(second).is_some(), "the old connection's end means nothing any more");
}

#[test]
fn rights_reach_the_relay_at_once_and_others_see_who_was_silenced() {
    let mut world = World::new();
    let first = world.joined(user(1), Version::V8);
    let second = world.joined(user(2), Version::V8);
    world.send(second, r#"{"op":5,"d":{"speaking":5,"delay":0,"ssrc":0}}"#);
    let flags = |world: &mut World| -> Vec<u8> {
        let frames = world.frames(first);
        world.clear();
        frames
            .iter()
            .filter_map(|f| if let ServerFrame::Speaking(s) = f { Some(s.speaking) } else { None })
            .collect()
    };
    assert_eq!(flags(&mut world), [5]);
    world.put(user(2), ROOM, Rights { priority: false, ..ALL });
    assert_eq!(flags(&mut world), [1]);
    world.put(user(2), ROOM, Rights { speak: false, ..ALL });
    assert!(world.leg(second).is_some_and(|leg| !leg.speak && leg.hear));
    assert_eq!(flags(&mut world), [0]);
    world.put(user(2), ROOM, Rights { speak: true, hear: false, video: false, priority: false });
    assert!(world.leg(second).is_some_and(|leg| leg.speak && !leg.hear));
    assert_eq!(flags(&mut world), [1]);
}

#[test]
fn who_goes_to_another_server_is_served_until_it_is_there_and_no_longer() {
    let mut world = World::new();
    let conns = [1, 2, 3].map(|n| world.joined(user(n), Version::V8));
    let everybody = || [1, 2, 3].map(|n| (user(n), session_of(user(n)))).into();
    world.order(OrderKind::Release(everybody()));
    // A mute would not be heard of: guilds removes whom it concerns.
    world.remove(user(2));
    assert_eq!(world.close_of(conns[1]), Some(4014));
    // This one is back before it has left.
    world.put(user(3), ROOM, ALL);
    world.advance(RELEASE - Duration::from_millis(1));
    assert_eq!(world.close_of(conns[0]), None);
    assert!(world.leg(conns[0]).is_some_and(|leg| leg.speak && leg.hear));
    world.advance(Duration::from_millis(1));
    assert_eq!(world.close_of(conns[0]), Some(4014));
    assert_eq!((world.leg(conns[0]), world.close_of(conns[2])), (None, None));
    assert_eq!(world.core.stats().participants, 1);
}

#[test]
fn the_next_owner_does_not_hear_of_those_who_go() {
    let mut world = World::new();
    let goes = world.joined(user(1), Version::V8);
    world.put(user(2), ROOM, ALL);
    world.order(OrderKind::Release([(user(1), session_of(user(1))), (user(2), session_of(user(2)))].into()));
    assert_eq!(world.core.stats().participants, 1, "nobody waits for who is not here");
    world.fencing += 1;
    world.order(OrderKind::Claim);
    assert_eq!(world.close_of(goes), Some(4014));
    let held = world.reports.iter().find_map(|report| match report {
        Report::Held(held) => Some(held),
        _ => None,
    });
    assert_eq!(held.map(|held| held.participants.len()), Some(0));
}

#[test]
fn orders_of_a_former_owner_are_refused() {
    let mut world = World::new();
    world.fencing = 7;
    let conn = world.joined(user(1), Version::V8);
    world.core.handle_order(world.now, Order { guild: GUILD, fencing: 6, kind: OrderKind::Drop });
    world.drain();
    assert_eq!(world.close_of(conn), None);
    assert_eq!(world.events.last(), Some(&Event::StaleOrder));
    world.core.handle_order(world.now, Order { guild: GUILD, fencing: 8, kind: OrderKind::Drop });
    world.drain();
    assert_eq!(world.close_of(conn), Some(4014));
}

#[test]
fn a_push_is_the_whole_truth() {
    let mut world = World::new();
    let stays = world.joined(user(1), Version::V8);
    let goes = world.joined(user(2), Version::V8);
    let token = world.token(user(3), ROOM);
    let early = world.open(Version::V8);
    world.identify_with(early, user(3), token);
    let participant = |n, rights| Participant {
        user: user(n),
        session: session_of(user(n)),
        channel: ROOM,
        rights,
        memo: None,
    };
    world.order(OrderKind::Push(vec![participant(1, Rights { speak: false, ..ALL }), participant(4, ALL)]));
    assert_eq!(world.close_of(stays), None);
    assert!(world.leg(stays).is_some_and(|leg| !leg.speak));
    assert_eq!(world.close_of(goes), Some(4014));
    assert_eq!(world.close_of(early), None, "its token may be newer than the list");
    assert_eq!(world.core.stats().participants, 3);
}

#[test]
fn a_users_second_session_takes_the_firsts_place() {
    let mut world = World::new();
    let first = world.joined(user(1), Version::V8);
    let participant =
        Participant { user: user(1), session: SessionId(77), channel: ROOM, rights: ALL, memo: None };
    world.order(OrderKind::Put(participant));
    assert_eq!(world.close_of(first), Some(4014));
    // The first session's removal comes late and takes nothing from the second.
    world.remove(user(1));
    assert_eq!(world.core.stats().participants, 1);
}

#[test]
fn guilds_is_told_of_coming_and_going() {
    let mut world = World::new();
    let server = ServerId("voice-1".into());
    let session = session_of(user(1));
    let live = Report::Live { server: server.clone(), guild: GUILD, user: user(1), session };
    let gone = Report::Gone { server, guild: GUILD, user: user(1), session };
    let conn = world.joined(user(1), Version::V8);
    assert_eq!(world.reports, std::slice::from_ref(&live));
    world.lose(conn, Some(1000));
    assert_eq!(world.reports, [live.clone(), gone.clone()], "a client that says goodbye is gone");
    world.clear();

    let conn = world.joined(user(1), Version::V8);
    world.lose(conn, None);
    assert_eq!(world.reports, std::slice::from_ref(&live), "a lost one may resume");
    world.advance(Duration::from_secs(60));
    assert_eq!(world.reports, [live, gone]);
    assert_eq!(world.leg(conn), None);
}

#[test]
fn nothing_is_left_of_those_who_left() {
    let mut world = World::with_shards(3);
    for n in 1..=20 {
        let conn = world.joined(user(n), Version::V8);
        if n % 2 == 0 {
            world.lose(conn, None);
        }
    }
    for n in 1..=20 {
        world.remove(user(n));
    }
    world.advance(Duration::from_secs(120));
    assert_eq!(world.core.stats(), voice_core::Stats::default());
    assert!(world.shards.iter().all(|legs| legs.is_empty()));
    assert_eq!(world.core.poll_timeout(), None);
}
