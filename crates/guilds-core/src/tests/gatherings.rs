//! Since when people are in a voice channel, and what they say they are at.

use client_wire::gateway::ChannelFields;
use client_wire::rest::{Patch, VoiceStatusBody};

use super::*;
use crate::limits::STATUS_CHARS_MAX;

/// `START` in the protocol's seconds.
const START_S: u64 = START.0 / 1_000;

fn status(text: &str) -> VoiceStatusBody {
    VoiceStatusBody { status: Patch::Set(text.to_owned()) }
}

fn set(world: &mut World, actor: UserId, channel: ChannelId, body: VoiceStatusBody) -> Outcome {
    world.rest(actor, Op::SetVoiceStatus(channel, body))
}

#[test]
fn a_channel_begins_with_its_first_and_ends_with_its_last_person() {
    let mut world = World::attached();
    let joined = whole_trace(&world.join(ANN, LOBBY));
    assert_eq!(joined.last().unwrap(), &format!("START {START_S} of 202"), "after all that a join is");
    world.now.0 += 5_000;
    assert!(!whole_trace(&world.join(BOB, LOBBY)).iter().any(|line| line.starts_with("START")));
    // The first may leave: people were there all the time.
    assert!(!whole_trace(&world.leave(ANN)).iter().any(|line| line.starts_with("START")));
    let moved = whole_trace(&world.join(BOB, ROOM));
    assert_eq!(moved[moved.len() - 2..], ["START null of 202", &format!("START {} of 203", START_S + 5)]);
    // Another session of the same person is the same person.
    world.attach(BOB, SessionId(30), ALL_INTENTS);
    let taken = world.update(BOB, SessionId(30), Some(ROOM), VoiceFlags::default());
    assert!(!whole_trace(&taken).iter().any(|line| line.starts_with("START")));
    let detached =
        world.call(Call::Detach { guild: GUILD, user: BOB, session: SessionId(30), gateway: GATEWAY });
    assert!(whole_trace(&detached).contains(&"START null of 203".to_owned()));
    world.check_invariants();
}

#[test]
fn who_does_not_see_a_channel_is_not_told_of_it_and_who_begins_to_is() {
    let mut world = World::attached();
    world.deny(ROOM, OverwriteTarget::Member(CARL), Permissions::VIEW_CHANNEL);
    let joined = whole_trace(&world.join(ANN, ROOM));
    assert_eq!(joined.last().unwrap(), &format!("START {START_S} of 203 but {{4}}"));
    expect(&set(&mut world, OWNER, ROOM, status("tea")), &["STATUS tea of 203 but {4}"]);
    let dispatch = set(&mut world, OWNER, ROOM, status("cake"));
    let Effect::Dispatch(dispatch) = &dispatch.effects[1] else { panic!("{dispatch:?}") };
    assert_eq!(dispatch.intents, 1, "with the intent GUILDS");
    let shown = world.rest(OWNER, Op::DeleteOverwrite { channel: ROOM, id: CARL.0 });
    let shown = whole_trace(&shown);
    assert_eq!(
        shown[1..],
        [
            "CHANNEL_CREATE to {4}",
            "STATE 2 in 203 to {4}",
            "STATUS cake of 203 to {4}",
            &format!("START {START_S} of 203 to {{4}}"),
        ]
    );
}

#[test]
fn a_status_is_told_when_it_changes_and_goes_with_the_last_person() {
    let mut world = World::attached();
    world.join(ANN, LOBBY);
    let changed = set(&mut world, ANN, LOBBY, status("  tea "));
    expect(&changed, &["STATUS tea of 202"]);
    assert!(matches!(changed.reply, Ok(Reply::Empty)));
    expect(&set(&mut world, ANN, LOBBY, status("tea")), &[]);
    expect(&set(&mut world, ANN, LOBBY, status("")), &["STATUS null of 202"]);
    expect(&set(&mut world, ANN, LOBBY, status("cake")), &["STATUS cake of 202"]);
    expect(&set(&mut world, ANN, LOBBY, VoiceStatusBody { status: Patch::Clear }), &["STATUS null of 202"]);
    expect(&set(&mut world, ANN, LOBBY, status("more tea")), &["STATUS more tea of 202"]);
    let left = whole_trace(&world.leave(ANN));
    assert_eq!(left[left.len() - 2..], ["STATUS null of 202", "START null of 202"]);
    // One that was set before anybody came is there for them.
    expect(&set(&mut world, OWNER, ROOM, status("soon")), &["STATUS soon of 203"]);
    world.join(ANN, ROOM);
    assert!(trace(&world.leave(ANN)).contains(&"STATUS null of 203".to_owned()));
    expect(&set(&mut world, OWNER, ROOM, status("")), &[]);
    world.check_invariants();
}

#[test]
fn a_status_is_for_those_inside_and_for_who_manages_the_channel() {
    let check =
        |granted: Permissions, inside: bool, channel: ChannelId, body, refused: Option<(u16, u32)>| {
            let mut guild = guild();
            guild.roles[0].permissions.remove(Permissions::SET_VOICE_CHANNEL_STATUS);
            let mut world = World::attached_to(guild);
            world.grant(EVERYONE, granted);
            if inside {
                world.join(ANN, channel);
            }
            let outcome = set(&mut world, ANN, channel, body);
            match refused {
                None => assert!(outcome.reply.is_ok(), "{:?}", outcome.reply),
                Some(refused) => assert_eq!(error(&outcome), refused, "{granted:?} {inside} {channel:?}"),
            }
            world.check_invariants();
        };
    let (set, manage) = (Permissions::SET_VOICE_CHANNEL_STATUS, Permissions::MANAGE_CHANNELS);
    let tea = || status("tea");
    check(set, true, LOBBY, tea(), None);
    check(set, false, LOBBY, tea(), Some((403, 50013)));
    check(set | manage, false, LOBBY, tea(), None);
    check(manage, true, LOBBY, tea(), Some((403, 50013)));
    check(set | manage, false, TEXT, tea(), Some((400, 50024)));
    check(set | manage, true, STAGE, tea(), Some((400, 50024)));
    check(set, false, ChannelId(9), tea(), Some((404, 10003)));
    check(set, true, LOBBY, status(&"x".repeat(STATUS_CHARS_MAX)), None);
    check(set, true, LOBBY, status(&"x".repeat(STATUS_CHARS_MAX + 1)), Some((400, 50035)));
    check(set, true, LOBBY, VoiceStatusBody::default(), Some((400, 50035)));
}

#[test]
fn op_43_tells_of_the_channels_one_sees_what_was_asked() {
    let mut world = World::attached();
    let ask = |world: &mut World, user, status, voice_start_time| {
        let fields = ChannelFields { status, voice_start_time };
        let asked =
            world.call(Call::RequestChannelInfo { guild: GUILD, user, session: session(user), fields });
        assert_eq!(trace(&asked), [format!("CHANNEL_INFO to session {}", user.0)]);
        let info = payloads(&asked, "CHANNEL_INFO").remove(0);
        assert_eq!(info["guild_id"], "100");
        info["channels"].clone()
    };
    assert_eq!(ask(&mut world, ANN, true, true), serde_json::json!([]));
    world.deny(ROOM, OverwriteTarget::Member(CARL), Permissions::VIEW_CHANNEL);
    world.join(ANN, LOBBY);
    set(&mut world, OWNER, ROOM, status("soon"));
    assert_eq!(
        ask(&mut world, BOB, true, true),
        serde_json::json!([
            {"id": "202", "status": null, "voice_start_time": START_S},
            {"id": "203", "status": "soon", "voice_start_time": null},
        ])
    );
    assert_eq!(
        ask(&mut world, CARL, false, true),
        serde_json::json!([{"id": "202", "voice_start_time": START_S}]),
        "nothing of what it does not see, nothing that it did not ask for"
    );
    let borrowed = Call::RequestChannelInfo {
        guild: GUILD,
        user: CARL,
        session: session(ANN),
        fields: ChannelFields::default(),
    };
    assert_eq!(error(&world.call(borrowed)), (403, 50001));
}

#[test]
fn what_ended_in_memory_is_told_even_if_the_write_fails() {
    let mut world = World::attached();
    world.join(ANN, LOBBY);
    set(&mut world, OWNER, LOBBY, status("tea"));
    let deleted = world.rest(OWNER, Op::DeleteChannel(LOBBY)).after_failed_write();
    assert_eq!(
        whole_trace(&deleted),
        [
            "STATE 2 in null",
            "left voice 2",
            "order a: remove 2/2",
            "order a: drop",
            "STATUS null of 202",
            "START null of 202",
        ]
    );
    world.deny(ROOM, OverwriteTarget::Member(CARL), Permissions::VIEW_CHANNEL);
    set(&mut world, OWNER, ROOM, status("secret"));
    let shown = world.rest(OWNER, Op::DeleteOverwrite { channel: ROOM, id: CARL.0 }).after_failed_write();
    assert_eq!(whole_trace(&shown), Vec::<String>::new(), "what is hidden again was not shown");
}
