//! Gateways beside this one, and owners of guilds that come and go.

use cluster_wire::guilds::{Audience, Call, Event, GatewayId, Note, Seat, Terms};
use model::{ChannelId, GuildId, ServerId, SessionId, UnixMs, UserId, VoiceFlags, VoiceState};

use super::world::{World, dispatch, voice_update};
use crate::limits::{ATTACH_RETRY, SEQ_MAX, WISH_KEEP};

const GUILD: GuildId = GuildId(10);

fn state(session: SessionId) -> VoiceState {
    VoiceState {
        user: UserId(1),
        channel: ChannelId(5),
        session,
        flags: VoiceFlags::default(),
        mute: false,
        deaf: false,
        suppress: false,
        request_to_speak: None,
        joined_at: UnixMs(1),
    }
}

/// As guilds says it to everybody who sees the channel.
fn says(world: &mut World, note: Note) {
    let event = dispatch("VOICE_STATE_UPDATE", "{}", Audience::Guild);
    world.dispatch(GUILD.0, cluster_wire::guilds::Dispatch { note: Some(Box::new(note)), ..event });
}

/// Whether its gateway says to know where a session is in voice, each time it attaches.
fn knows(calls: &[Call]) -> Vec<bool> {
    let knows = |call: &Call| match call {
        Call::Attach { knows_seat, .. } => Some(*knows_seat),
        _ => None,
    };
    calls.iter().filter_map(knows).collect()
}

fn attached(calls: &[Call]) -> Vec<(SessionId, Option<Seat>)> {
    let seat = |call: &Call| match call {
        Call::Attach { guild, session, seat, gateway, .. } => {
            assert_eq!((*guild, *gateway), (GUILD, GatewayId(5)));
            Some((*session, seat.as_deref().cloned()))
        }
        _ => None,
    };
    calls.iter().filter_map(seat).collect()
}

#[test]
fn a_guild_with_a_new_owner_is_shown_anew_and_told_who_is_in_voice() {
    let mut world = World::one_of_many();
    let (alice, session) = world.live("alice", 1);
    let (_, idle) = world.live("alice", 1);
    let server = Some(ServerId("eu-0".to_owned()));
    says(&mut world, Note::In(state(session)));
    says(&mut world, Note::Server(session, server.clone()));
    says(&mut world, Note::In(state(SessionId(77))));
    world.take(alice);
    world.take_calls();

    world.event(Event::OwnerLost { guild: GUILD });
    let seat = Seat { state: state(session), server };
    assert_eq!(attached(&world.take_calls()), [(session, Some(seat)), (idle, None)]);
    let texts = world.texts[&alice].clone();
    world.expect(alice, &["6 GUILD_DELETE", "7 GUILD_CREATE"]);
    let deleted = texts.iter().find(|text| text.contains("GUILD_DELETE")).unwrap();
    assert!(deleted.contains(r#""d":{"id":"10","unavailable":true}"#), "{deleted}");

    says(&mut world, Note::Out(session));
    world.event(Event::OwnerLost { guild: GUILD });
    assert_eq!(attached(&world.take_calls()), [(session, None), (idle, None)]);
}

#[test]
fn a_client_that_is_away_is_attached_anew_as_well() {
    let mut world = World::one_of_many();
    let (alice, session) = world.live("alice", 1);
    says(&mut world, Note::In(state(session)));
    world.disconnect(alice, None);
    world.take_calls();
    world.event(Event::OwnerLost { guild: GUILD });
    let attached = attached(&world.take_calls());
    assert_eq!(attached.len(), 1);
    assert!(attached[0].1.is_some());
    let conn = world.resume("alice", &session.to_string(), 3);
    world.expect(conn, &["4 GUILD_DELETE", "5 GUILD_CREATE", "6 RESUMED"]);
}

#[test]
fn a_wish_that_found_no_owner_is_said_to_the_next_one() {
    let mut world = World::one_of_many();
    let (alice, _) = world.live("alice", 1);
    let updates = |world: &mut World| {
        let calls = world.take_calls();
        calls.into_iter().filter(|call| matches!(call, Call::UpdateVoice { .. })).count()
    };
    world.has_owner = false;
    world.frame(alice, voice_update(GUILD.0, Some(5)));
    assert_eq!(updates(&mut world), 1);
    world.has_owner = true;
    world.event(Event::OwnerLost { guild: GUILD });
    assert_eq!(updates(&mut world), 1);
    world.event(Event::OwnerLost { guild: GUILD });
    assert_eq!(updates(&mut world), 0, "it is said once");

    world.has_owner = false;
    world.frame(alice, voice_update(GUILD.0, Some(5)));
    world.wait(WISH_KEEP + std::time::Duration::from_secs(1));
    world.has_owner = true;
    updates(&mut world);
    world.event(Event::OwnerLost { guild: GUILD });
    assert_eq!(updates(&mut world), 0, "nobody is put into a channel out of the blue");
}

#[test]
fn a_session_of_another_gateway_goes_on_here() {
    let mut world = World::one_of_many();
    let (session, terms) =
        (SessionId(9), Terms { intents: 1, shard: (0, 1), status: model::PresenceStatus::Online });
    world.elsewhere.insert(session, (UserId(1), terms));
    let conn = world.resume("alice", &session.to_string(), 41);
    world.expect(conn, &["42 RESUMED", "43 GUILD_DELETE", "44 GUILD_CREATE"]);
    let calls = world.take_calls();
    assert_eq!((attached(&calls), knows(&calls)), (vec![(session, None)], vec![false]));
    // The guild was shown to it, and it is not in voice there.
    world.event(Event::OwnerLost { guild: GUILD });
    let calls = world.take_calls();
    assert_eq!((attached(&calls), knows(&calls)), (vec![(session, None)], vec![true]));
    world.expect(conn, &["45 GUILD_DELETE", "46 GUILD_CREATE"]);
    world.dispatch(GUILD.0, dispatch("A", "{}", Audience::Guild));
    world.expect(conn, &["47 A"]);
    // From then on it is a session like any other.
    world.disconnect(conn, None);
    let conn = world.resume("alice", &session.to_string(), 46);
    world.expect(conn, &["47 A", "48 RESUMED"]);
}

#[test]
fn a_session_that_nobody_knows_or_that_is_not_the_users_own_is_refused() {
    let mut world = World::one_of_many();
    let (session, terms) =
        (SessionId(9), Terms { intents: 1, shard: (0, 1), status: model::PresenceStatus::Online });
    world.elsewhere.insert(session, (UserId(1), terms));
    for (token, session) in [("bot", session), ("alice", SessionId(8))] {
        let conn = world.resume(token, &session.to_string(), 41);
        world.expect(conn, &["op:9,d:false"]);
        world.identify(conn, token, Some(1));
        assert_eq!(world.take(conn)[0], "1 READY");
    }
    let conn = world.resume("nobody", &session.to_string(), 41);
    world.expect(conn, &["close 4004"]);
    let mut alone = World::new();
    alone.elsewhere.insert(session, (UserId(1), terms));
    let conn = alone.resume("alice", &session.to_string(), 41);
    alone.expect(conn, &["op:9,d:false"]);
    assert!(alone.take_calls().is_empty(), "a gateway that is alone asks nobody");
}

#[test]
fn a_number_that_no_session_reaches_is_refused_before_anybody_is_asked() {
    let mut world = World::one_of_many();
    for (seq, closed) in [(SEQ_MAX, false), (SEQ_MAX + 1, true), (u64::MAX, true)] {
        let conn = world.resume("alice", &SessionId(99).to_string(), seq);
        assert_eq!(world.take(conn).contains(&"close 4007".to_owned()), closed, "{seq}");
    }
}

#[test]
fn a_shutdown_beside_others_leaves_sessions_to_them() {
    let detaches = |mut world: World| {
        world.live("alice", 1);
        world.take_calls();
        world.node.handle_shutdown(world.now);
        world.pump();
        world.take_calls().iter().filter(|call| matches!(call, Call::Detach { .. })).count()
    };
    assert_eq!(detaches(World::new()), 1);
    assert_eq!(detaches(World::one_of_many()), 0);
}

#[test]
fn the_end_of_a_session_that_found_no_owner_is_said_again() {
    let mut world = World::one_of_many();
    let (alice, _) = world.live("alice", 1);
    let detaches = |world: &mut World| {
        world.take_calls().iter().filter(|call| matches!(call, Call::Detach { .. })).count()
    };
    world.take_calls();
    world.has_owner = false;
    world.disconnect(alice, Some(1000));
    assert_eq!(detaches(&mut world), 1);
    world.wait(ATTACH_RETRY);
    assert_eq!(detaches(&mut world), 1);
    world.has_owner = true;
    world.wait(ATTACH_RETRY);
    assert_eq!(detaches(&mut world), 1);
    world.wait(2 * ATTACH_RETRY);
    assert_eq!(detaches(&mut world), 0);
}

#[test]
fn a_person_that_wished_to_be_elsewhere_since_is_not_brought_back() {
    let joins = |token: &'static str| {
        let mut world = World::one_of_many();
        world.accounts.insert("both", (3, false, vec![10, 11 << 22]));
        let (conn, _) = world.live(token, 1);
        world.has_owner = false;
        world.frame(conn, voice_update(GUILD.0, Some(5)));
        world.frame(conn, voice_update(11 << 22, Some(6)));
        world.has_owner = true;
        world.take_calls();
        world.event(Event::OwnerLost { guild: GUILD });
        world.event(Event::OwnerLost { guild: GuildId(11 << 22) });
        let calls = world.take_calls().into_iter();
        calls
            .filter(|call| matches!(call, Call::UpdateVoice { .. }))
            .filter_map(|call| call.guild())
            .collect::<Vec<_>>()
    };
    assert_eq!(joins("both"), [GuildId(11 << 22)]);
    assert_eq!(joins("bot"), [GUILD, GuildId(11 << 22)], "bots may be in several");
}

/// Its stream was broken, and it is the owner still.
#[test]
fn the_end_of_a_session_is_said_to_an_owner_that_could_not_be_reached() {
    let mut world = World::one_of_many();
    let (alice, _) = world.live("alice", 1);
    world.broken.insert(GUILD.0, 503);
    world.event(Event::OwnerLost { guild: GUILD });
    world.take_calls();
    world.disconnect(alice, Some(1000));
    assert!(matches!(world.take_calls()[..], [Call::Detach { guild: GUILD, .. }]));
}
