//! Coming in.

use client_wire::gateway::FrameError;
use cluster_wire::guilds::{Call, Event};
use model::{GuildId, PresenceStatus, UserId};

use super::world::{World, identify_frame, mark, voice_update};
use crate::limits::{
    ATTACH_RETRY, ATTACHES_AT_ONCE_MAX, EARLY_FRAMES_MAX, GUILDS_PER_SESSION_MAX, SESSIONS_PER_USER_MAX,
};

#[test]
fn a_client_is_greeted_identified_and_shown_its_guilds() {
    let mut world = World::new();
    let conn = world.connect();
    world.identify(conn, "Bot bot", Some(1));
    let texts = world.texts[&conn].clone();
    world.expect(conn, &["op:10,d:heartbeat_interval:41250}", "1 READY", "2 GUILD_CREATE", "3 GUILD_CREATE"]);
    assert!(texts[1].contains(r#""resume_gateway_url":"ws://here""#), "{}", texts[1]);
    assert!(texts[1].contains(r#"{"id":"10","unavailable":true}"#), "{}", texts[1]);
    assert!(texts[1].contains(r#""user":{"id":"2"}"#), "{}", texts[1]);
    let calls = world.take_calls();
    assert!(matches!(&calls[0], Call::Authenticate { token } if token == "bot"), "{calls:?}");
    assert!(
        matches!(calls[1], Call::Attach { guild: GuildId(10), user: UserId(2), terms, .. } if terms.intents == 1),
        "{calls:?}"
    );
    assert_eq!((world.node.sessions(), world.node.live(), world.node.connections()), (1, 1, 1));
}

#[test]
fn what_a_stranger_may_not_do() {
    let check = |frames: &[&str], expect: &str| {
        let mut world = World::new();
        let conn = world.connect();
        for frame in frames {
            world.frame_text(conn, frame);
        }
        assert_eq!(world.take(conn).last().map(String::as_str), Some(expect), "{frames:?}");
        assert_eq!(world.node.sessions(), 0);
    };
    check(&[r#"{"op":2,"d":{"token":"nobody","intents":1}}"#], "close 4004");
    check(&[r#"{"op":2,"d":{"token":"operator","intents":1}}"#], "close 4004");
    check(&[r#"{"op":2,"d":{"token":"","intents":1}}"#], "close 4004");
    check(&[r#"{"op":2,"d":{"token":"outage","intents":1}}"#], "close 4000");
    check(&[r#"{"op":2,"d":{"token":"bot","intents":1,"shard":[1,1]}}"#], "close 4010");
    check(&[r#"{"op":2,"d":{"token":"bot","intents":1,"shard":[0,0]}}"#], "close 4010");
    check(&[r#"{"op":2,"d":{"token":"bot","intents":131072}}"#], "close 4013");
    check(&[r#"{"op":2,"d":{"token":"bot"}}"#], "close 4013");
    check(&[r#"{"op":4,"d":{"guild_id":"10","channel_id":"5"}}"#], "close 4003");
    check(&[r#"{"op":31,"d":{}}"#], "close 4003");
    check(&[r#"{"op":1,"d":null}"#], "op:11,d:null");
}

#[test]
fn a_person_need_not_name_intents() {
    let mut world = World::new();
    let conn = world.connect();
    world.identify(conn, "alice", None);
    assert_eq!(world.take(conn).last().unwrap(), "2 GUILD_CREATE");
}

#[test]
fn identifying_twice_closes() {
    let mut world = World::new();
    let (conn, _) = world.live("alice", 1);
    world.frame(conn, identify_frame("alice", None));
    world.expect(conn, &["close 4005"]);
    world.authenticates = false;
    let conn = world.connect();
    world.frame(conn, identify_frame("alice", None));
    world.frame(conn, identify_frame("alice", None));
    assert_eq!(world.take(conn).last().unwrap(), "close 4005");
    // The answer comes for nobody.
    world.answer_authentication();
    world.expect(conn, &[]);
}

#[test]
fn frames_that_cannot_be_read_close() {
    let check = |error, expect: &str| {
        let mut world = World::new();
        let (conn, _) = world.live("alice", 1);
        world.node.handle_malformed(world.now, conn, error);
        world.pump();
        world.expect(conn, &[expect]);
    };
    check(FrameError::Decode, "close 4002");
    check(FrameError::UnknownOpcode, "close 4001");
}

#[test]
fn what_is_sent_too_early_is_done_after_ready() {
    let mut world = World::new();
    world.authenticates = false;
    let conn = world.connect();
    world.frame(conn, identify_frame("alice", None));
    world.frame(conn, voice_update(10, Some(5)));
    world.take_calls();
    world.answer_authentication();
    let calls = world.take_calls();
    assert!(matches!(calls[0], Call::Attach { .. }), "{calls:?}");
    assert!(matches!(calls[1], Call::UpdateVoice { .. }), "{calls:?}");
    // There is room for a few frames only.
    let conn = world.connect();
    world.frame(conn, identify_frame("alice", None));
    for _ in 0..=EARLY_FRAMES_MAX {
        world.frame(conn, voice_update(10, Some(5)));
    }
    assert_eq!(world.take(conn).last().unwrap(), "close 4008");
}

#[test]
fn a_shard_sees_its_share_of_guilds() {
    let mut world = World::new();
    for (shard, expect) in [(0, GuildId(10)), (1, GuildId(11 << 22))] {
        let conn = world.connect();
        world.take_calls();
        world.frame(conn, identify_frame("bot", Some((shard, 2))));
        let calls = world.take_calls();
        let guilds =
            calls.iter().filter_map(|c| if let Call::Attach { guild, .. } = c { Some(*guild) } else { None });
        assert_eq!(guilds.collect::<Vec<_>>(), [expect]);
    }
}

#[test]
fn too_many_guilds_need_shards() {
    let mut world = World::new();
    world.accounts.insert("large", (3, true, (1..=GUILDS_PER_SESSION_MAX as u64 + 1).collect()));
    let conn = world.connect();
    world.frame(conn, identify_frame("large", None));
    assert_eq!(world.take(conn).last().unwrap(), "close 4011");
}

#[test]
fn guilds_are_attached_a_few_at_a_time() {
    let mut world = World::new();
    let guilds = ATTACHES_AT_ONCE_MAX as u64 * 2;
    world.accounts.insert("large", (3, true, (1..=guilds).collect()));
    world.writes_guilds = false;
    let conn = world.connect();
    world.frame(conn, identify_frame("large", None));
    let count = |calls: &[Call]| calls.iter().filter(|call| matches!(call, Call::Attach { .. })).count();
    assert_eq!(count(&world.take_calls()), ATTACHES_AT_ONCE_MAX);
    world.node.handle_guild_written(world.now, conn);
    world.pump();
    assert_eq!(count(&world.take_calls()), 1);
    for _ in 0..guilds {
        world.node.handle_guild_written(world.now, conn);
        world.pump();
    }
    assert_eq!(world.take(conn).last().unwrap(), &format!("{} GUILD_CREATE", guilds + 1));
}

#[test]
fn a_guild_that_cannot_answer_is_asked_again_and_one_that_refuses_is_gone() {
    let mut world = World::new();
    world.accounts.insert("bot", (2, true, vec![10, 11, 12]));
    world.broken.insert(11, 503);
    world.broken.insert(12, 403);
    let conn = world.connect();
    world.identify(conn, "bot", Some(1));
    world.take_calls();
    assert_eq!(world.take(conn)[1..], ["1 READY", "2 GUILD_CREATE", "3 GUILD_DELETE"]);
    world.broken.clear();
    world.wait(ATTACH_RETRY);
    assert!(matches!(world.take_calls()[..], [Call::Attach { guild: GuildId(11), .. }]));
    world.expect(conn, &["4 GUILD_CREATE"]);
}

#[test]
fn a_guild_joined_while_the_question_was_on_its_way_is_not_missed() {
    let mut world = World::new();
    world.authenticates = false;
    let conn = world.connect();
    world.frame(conn, identify_frame("alice", None));
    world.event(Event::Joined { guild: GuildId(12), user: UserId(1) });
    world.event(Event::Left { guild: GuildId(10), user: UserId(1) });
    world.take_calls();
    world.answer_authentication();
    assert!(matches!(world.take_calls()[..], [Call::Attach { guild: GuildId(12), .. }]));
}

#[test]
fn a_status_said_on_identifying_follows_the_attach() {
    let mut world = World::new();
    let conn = world.connect();
    world.frame_text(conn, r#"{"op":2,"d":{"token":"alice","presence":{"status":"dnd"}}}"#);
    let calls = world.take_calls();
    assert!(matches!(calls[1], Call::Attach { .. }), "{calls:?}");
    assert!(matches!(calls[2], Call::UpdatePresence { status: PresenceStatus::Dnd, .. }), "{calls:?}");
}

#[test]
fn one_user_has_so_many_sessions_and_a_waiting_one_gives_way() {
    let mut world = World::new();
    let conns: Vec<_> = (0..SESSIONS_PER_USER_MAX).map(|_| world.live("alice", 1).0).collect();
    let conn = world.connect();
    world.identify(conn, "alice", None);
    assert_eq!(world.take(conn).last().unwrap(), "close 4008");
    world.disconnect(conns[5], None);
    world.live("alice", 1);
    assert_eq!(world.node.sessions(), SESSIONS_PER_USER_MAX);
}

#[test]
fn a_token_that_ends_while_it_is_looked_at_is_looked_at_again() {
    for token in [None, Some(mark("alice"))] {
        let mut world = World::new();
        world.authenticates = false;
        let conn = world.connect();
        world.frame(conn, identify_frame("alice", None));
        world.event(Event::TokensRevoked { user: UserId(1), token });
        // The answer was on its way when the token ended.
        world.answer_authentication();
        assert_eq!(world.node.sessions(), 0);
        world.accounts.remove("alice");
        world.answer_authentication();
        assert_eq!(world.take(conn).last().unwrap(), "close 4004");
    }
}

#[test]
fn a_token_that_began_after_others_ended_is_good() {
    let mut world = World::new();
    world.authenticates = false;
    let conn = world.connect();
    world.frame(conn, identify_frame("alice", None));
    // The client already has its new token when the gateway hears that the old ones are no more.
    world.event(Event::TokensRevoked { user: UserId(1), token: None });
    world.answer_authentication();
    world.answer_authentication();
    assert_eq!(world.node.live(), 1);
    // Another's end, and another token's, are no reason to ask again.
    let conn = world.connect();
    world.frame(conn, identify_frame("bot", None));
    world.event(Event::TokensRevoked { user: UserId(1), token: None });
    world.event(Event::TokensRevoked { user: UserId(2), token: Some(mark("else")) });
    world.answer_authentication();
    assert_eq!(world.take(conn)[1], "1 READY");
}
