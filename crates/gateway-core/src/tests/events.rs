//! What guilds says, what clients ask, and who hears of it.

use std::collections::HashSet;
use std::sync::Arc;

use client_wire::gateway::{FromClient, Intents};
use cluster_wire::guilds::{Audience, Call, Event};
use model::{ChannelId, GuildId, PresenceStatus, UserId};

use super::world::{VOICE, World, dispatch, json, voice_update};
use crate::limits::{VOICE_UPDATE_EVERY, VOICE_UPDATES_BURST, VOICE_UPDATES_DELAYED_MAX};
use crate::{Body, Frame, Notice, Output};

#[test]
fn an_event_reaches_whom_it_is_for_in_the_variant_they_may_read() {
    let mut world = World::new();
    let messages = Intents::GUILD_MESSAGES.bits();
    let (alice, _) = world.live("alice", messages);
    let (bot, _) = world.live("bot", messages | Intents::MESSAGE_CONTENT.bits());
    let (deaf, _) = world.live("bot", VOICE);
    let mut event = dispatch("MESSAGE_CREATE", r#"{"content":"hi"}"#, Audience::Guild);
    event.intents = messages;
    event.without_content = Some(json(r#"{"content":""}"#));
    world.dispatch(10, event);
    assert_eq!(world.texts[&alice], [r#"{"op":0,"s":3,"t":"MESSAGE_CREATE","d":{"content":""}}"#]);
    assert_eq!(world.texts[&bot], [r#"{"op":0,"s":4,"t":"MESSAGE_CREATE","d":{"content":"hi"}}"#]);
    assert!(world.take(deaf).is_empty());
}

#[test]
fn an_event_is_one_for_all_who_get_it_and_for_what_they_keep() {
    let mut world = World::new();
    for token in ["alice", "bot", "bot"] {
        world.live(token, VOICE);
    }
    let dispatch = dispatch("VOICE_STATE_UPDATE", r#"{"channel_id":"7"}"#, Audience::Guild);
    world.node.handle_event(world.now, Event::Dispatch { guild: GuildId(10), dispatch });
    let transmits = std::iter::from_fn(|| world.node.poll_transmit());
    let bodies: Vec<Arc<Body>> = transmits
        .map(|transmit| match transmit.output {
            Output::Frame(Frame::Dispatch { body, .. }) => body,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(bodies.len(), 3);
    assert!(bodies.iter().all(|body| Arc::ptr_eq(body, &bodies[0])));
    // Three are on their way and three are kept for a resume.
    assert_eq!(Arc::strong_count(&bodies[0]), 6);
}

#[test]
fn nothing_of_a_guild_comes_before_the_guild() {
    let mut world = World::new();
    world.broken.insert(10, 503);
    let (alice, session) = world.live("alice", VOICE);
    world.dispatch(10, dispatch("CHANNEL_UPDATE", "{}", Audience::Guild));
    world.dispatch(10, dispatch("GUILD_MEMBERS_CHUNK", "{}", Audience::Session(session)));
    world.dispatch(
        10,
        dispatch("VOICE_STATE_UPDATE", "{}", Audience::Users(Arc::new(HashSet::from([UserId(1)])))),
    );
    world.expect(alice, &[]);
    world.broken.clear();
    world.wait(crate::limits::ATTACH_RETRY);
    world.dispatch(10, dispatch("CHANNEL_UPDATE", "{}", Audience::Guild));
    world.dispatch(10, dispatch("GUILD_MEMBERS_CHUNK", "{}", Audience::Session(session)));
    world.expect(alice, &["2 GUILD_CREATE", "3 CHANNEL_UPDATE", "4 GUILD_MEMBERS_CHUNK"]);
}

#[test]
fn joining_and_leaving_guilds_shows_and_hides_them() {
    let mut world = World::new();
    let (alice, _) = world.live("alice", 1);
    world.take_calls();
    world.event(Event::Joined { guild: GuildId(12), user: UserId(1) });
    world.event(Event::Joined { guild: GuildId(12), user: UserId(1) });
    world.event(Event::Joined { guild: GuildId(12), user: UserId(2) });
    assert!(matches!(world.take_calls()[..], [Call::Attach { guild: GuildId(12), user: UserId(1), .. }]));
    world.expect(alice, &["3 GUILD_CREATE"]);
    world.event(Event::Left { guild: GuildId(12), user: UserId(1) });
    world.event(Event::Left { guild: GuildId(12), user: UserId(1) });
    assert_eq!(world.texts[&alice], [r#"{"op":0,"s":4,"t":"GUILD_DELETE","d":{"id":"12"}}"#]);
    world.take(alice);
    world.dispatch(12, dispatch("CHANNEL_UPDATE", "{}", Audience::Guild));
    world.expect(alice, &[]);
    // Guilds knows already that the user has left.
    world.disconnect(alice, Some(1000));
    assert!(matches!(world.take_calls()[..], [Call::Detach { guild: GuildId(10), .. }]));
}

#[test]
fn voice_updates_go_to_the_guild_in_their_order() {
    let mut world = World::new();
    let (alice, session) = world.live("alice", 1);
    world.take_calls();
    world.frame(alice, voice_update(10, Some(5)));
    world.frame(alice, voice_update(10, None));
    world.frame(alice, voice_update(99, Some(5)));
    world.frame_text(alice, r#"{"op":4,"d":{"guild_id":null,"channel_id":"5"}}"#);
    let calls = world.take_calls();
    let channels = calls.iter().map(|call| match call {
        Call::UpdateVoice { guild: GuildId(10), user: UserId(1), session: whose, channel, .. }
            if *whose == session =>
        {
            *channel
        }
        other => panic!("{other:?}"),
    });
    assert_eq!(channels.collect::<Vec<_>>(), [Some(ChannelId(5)), None]);
}

#[test]
fn voice_updates_that_come_too_fast_are_delayed_and_then_lost_oldest_first() {
    let mut world = World::new();
    let (alice, _) = world.live("alice", 1);
    world.take_calls();
    let burst = VOICE_UPDATES_BURST as usize;
    let all = burst + VOICE_UPDATES_DELAYED_MAX + 1;
    for n in 0..all {
        world.frame(alice, voice_update(10, Some(n as u64 + 1)));
    }
    assert_eq!(world.take_calls().len(), burst);
    assert_eq!(world.notices.iter().filter(|n| matches!(n, Notice::VoiceDropped(_))).count(), 1);
    world.wait(VOICE_UPDATE_EVERY * all as u32);
    let calls = world.take_calls();
    assert_eq!(calls.len(), VOICE_UPDATES_DELAYED_MAX);
    let newest = ChannelId(all as u64);
    assert!(
        matches!(calls.last(), Some(Call::UpdateVoice { channel: Some(channel), .. }) if *channel == newest)
    );
    world.expect(alice, &[]);
}

#[test]
fn a_flood_of_voice_updates_closes() {
    let mut world = World::new();
    let (alice, _) = world.live("alice", 1);
    for _ in 0..=crate::limits::VOICE_FLOOD_BURST {
        world.frame(alice, voice_update(10, Some(5)));
    }
    world.expect(alice, &["close 4008"]);
}

#[test]
fn a_voice_server_ping_goes_where_the_client_has_asked_into_a_channel() {
    let mut world = World::new();
    let (bot, _) = world.live("bot", 1);
    world.take_calls();
    world.frame(bot, FromClient::VoiceServerPing(None));
    assert!(world.take_calls().is_empty());
    world.frame(bot, voice_update(10, Some(5)));
    world.frame(bot, voice_update(11 << 22, Some(6)));
    world.frame(bot, voice_update(10, None));
    world.take_calls();
    world.frame(bot, FromClient::VoiceServerPing(None));
    world.frame(bot, FromClient::VoiceServerPing(Some(GuildId(10))));
    assert!(matches!(world.take_calls()[..], [Call::VoiceServerPing { guild: GuildId(46_137_344), .. }]));
}

#[test]
fn a_status_goes_to_every_guild_once() {
    let mut world = World::new();
    let (bot, _) = world.live("bot", 1);
    world.take_calls();
    for _ in 0..2 {
        world.frame_text(bot, r#"{"op":3,"d":{"since":null,"activities":[],"status":"idle","afk":false}}"#);
    }
    let calls = world.take_calls();
    assert_eq!(calls.len(), 2, "{calls:?}");
    assert!(
        calls.iter().all(|c| matches!(c, Call::UpdatePresence { status: PresenceStatus::Idle, .. })),
        "{calls:?}"
    );
}

#[test]
fn member_requests_are_cut_to_size() {
    let mut world = World::new();
    let (alice, _) = world.live("alice", 1);
    world.take_calls();
    let users: Vec<String> = (0..150).map(|n| n.to_string()).collect();
    let nonce = "n".repeat(33);
    world.frame_text(
        alice,
        &format!(r#"{{"op":8,"d":{{"guild_id":"10","user_ids":[{}],"nonce":"{nonce}"}}}}"#, users.join(",")),
    );
    world.frame_text(alice, r#"{"op":8,"d":{"guild_id":"99","query":"","limit":0}}"#);
    let calls = world.take_calls();
    let [Call::RequestMembers { query, .. }] = &calls[..] else { panic!("{calls:?}") };
    assert_eq!((query.users.len(), query.nonce.as_deref()), (100, None));
}

#[test]
fn requests_for_channel_info_go_to_guilds_of_ones_own() {
    let mut world = World::new();
    let (alice, session) = world.live("alice", 1);
    world.take_calls();
    for guild in [10, 99] {
        let d = format!(r#"{{"guild_id":"{guild}","fields":["voice_start_time"]}}"#);
        world.frame_text(alice, &format!(r#"{{"op":43,"d":{d}}}"#));
    }
    let calls = world.take_calls();
    let [Call::RequestChannelInfo { guild: GuildId(10), user: UserId(1), session: whose, fields }] =
        &calls[..]
    else {
        panic!("{calls:?}")
    };
    assert_eq!((*whose, fields.status, fields.voice_start_time), (session, false, true));
    world.expect(alice, &[]);
}

#[test]
fn replaced_tokens_end_every_session_of_the_user() {
    let mut world = World::new();
    let (one, _) = world.live("alice", 1);
    let (two, _) = world.live("alice", 1);
    let (bot, _) = world.live("bot", 1);
    world.disconnect(two, None);
    world.event(Event::TokensRevoked { user: UserId(1), token: None });
    world.expect(one, &["close 4004"]);
    world.expect(bot, &[]);
    assert_eq!(world.node.sessions(), 1);
}
