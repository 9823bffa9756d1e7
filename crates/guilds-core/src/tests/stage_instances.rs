//! What is on on stages.

use client_wire::rest::{ModifyVoiceState, StageInstanceBody};

use super::*;
use crate::limits::STAGE_SPEAKERLESS_MS;

const MODERATE: Permissions =
    Permissions::MANAGE_CHANNELS.union(Permissions::MUTE_MEMBERS).union(Permissions::MOVE_MEMBERS);

fn about(topic: &str) -> StageInstanceBody {
    StageInstanceBody { topic: Some(topic.to_owned()), ..StageInstanceBody::default() }
}

fn open(world: &mut World, actor: UserId) -> Outcome {
    world.rest(actor, Op::CreateStageInstance(STAGE, about("bees")))
}

fn let_speak(world: &mut World, user: UserId, may: bool) {
    let body = ModifyVoiceState { suppress: Some(!may), ..ModifyVoiceState::default() };
    assert!(world.rest(OWNER, Op::ModifyVoiceState(GUILD, user, body)).reply.is_ok());
}

/// Is something on?
fn is_on(world: &mut World) -> bool {
    world.rest(OWNER, Op::GetStageInstance(STAGE)).reply.is_ok()
}

#[test]
fn a_stage_is_opened_changed_looked_up_and_closed() {
    let mut world = World::attached();
    assert_eq!(error(&world.rest(OWNER, Op::GetStageInstance(STAGE))), (404, 10067));
    let opened = open(&mut world, OWNER);
    expect(&opened, &["STAGE_INSTANCE_CREATE"]);
    let Effect::Dispatch(dispatch) = &opened.effects[0] else { panic!("{opened:?}") };
    assert_eq!(dispatch.intents, 1, "with the intent GUILDS");
    let object = body(&opened);
    assert_eq!(
        object,
        serde_json::json!({
            "id": "10001", "guild_id": "100", "channel_id": "204", "topic": "bees", "privacy_level": 2,
            "discoverable_disabled": true, "guild_scheduled_event_id": null,
        })
    );
    assert_eq!(payloads(&opened, "STAGE_INSTANCE_CREATE")[0], object);
    assert_eq!(body(&world.rest(ANN, Op::GetStageInstance(STAGE))), object);
    assert_eq!(error(&open(&mut world, OWNER)), (400, 150_006));

    let changed = world.rest(OWNER, Op::ModifyStageInstance(STAGE, about(" wasps ")));
    expect(&changed, &["STAGE_INSTANCE_UPDATE"]);
    assert_eq!((&body(&changed)["topic"], &body(&changed)["id"]), (&"wasps".into(), &object["id"]));
    expect(&world.rest(OWNER, Op::ModifyStageInstance(STAGE, about("wasps"))), &[]);

    let create = payloads(&world.attach(ANN, SessionId(20), ALL_INTENTS), "GUILD_CREATE").remove(0);
    assert_eq!(create["stage_instances"], serde_json::json!([body(&changed)]));

    let closed = world.rest(OWNER, Op::DeleteStageInstance(STAGE));
    expect(&closed, &["STAGE_INSTANCE_DELETE"]);
    assert!(matches!(closed.reply, Ok(Reply::Empty)));
    assert_eq!(payloads(&closed, "STAGE_INSTANCE_DELETE")[0], body(&changed));
    for op in [Op::DeleteStageInstance(STAGE), Op::ModifyStageInstance(STAGE, about("x"))] {
        assert_eq!(error(&world.rest(OWNER, op)), (404, 10067));
    }
    assert!(opened.writes.is_empty() && closed.writes.is_empty(), "it is of memory");
    expect(&open(&mut world, OWNER), &["STAGE_INSTANCE_CREATE"]);
    world.check_invariants();
}

#[test]
fn forms_of_stages_are_checked() {
    let check = |channel, body: StageInstanceBody, expect: Result<(), (u16, u32)>| {
        let mut world = World::attached();
        let shown = format!("{body:?}");
        let outcome = world.rest(OWNER, Op::CreateStageInstance(channel, body.clone()));
        match expect {
            Ok(()) => assert!(outcome.reply.is_ok(), "{shown}"),
            Err(expect) => assert_eq!(error(&outcome), expect, "{shown}"),
        }
        // What a new one may not be, an old one may not become.
        if channel == STAGE && body.topic.is_some() {
            world.rest(OWNER, Op::CreateStageInstance(STAGE, about("first")));
            let outcome = world.rest(OWNER, Op::ModifyStageInstance(STAGE, body));
            assert_eq!(outcome.reply.is_ok(), expect.is_ok(), "{shown}");
        }
    };
    let form = Err((400, 50035));
    let level = |level| StageInstanceBody { privacy_level: Some(level), ..about("bees") };
    check(STAGE, about("x"), Ok(()));
    check(STAGE, about(&"x".repeat(120)), Ok(()));
    check(STAGE, about(&"x".repeat(121)), form);
    check(STAGE, about(" "), form);
    check(STAGE, StageInstanceBody::default(), form);
    check(STAGE, level(2), Ok(()));
    check(STAGE, level(1), form);
    check(STAGE, level(3), form);
    check(LOBBY, about("x"), Err((400, 50024)));
    check(TEXT, about("x"), Err((400, 50024)));
    check(ChannelId(9), about("x"), Err((404, 10003)));
}

#[test]
fn a_stage_is_for_its_moderators_to_open_and_for_whoever_sees_it_to_hear_of() {
    let ops = || {
        [
            Op::CreateStageInstance(STAGE, about("bees")),
            Op::ModifyStageInstance(STAGE, about("wasps")),
            Op::DeleteStageInstance(STAGE),
        ]
    };
    for lacking in [Permissions::MANAGE_CHANNELS, Permissions::MUTE_MEMBERS, Permissions::MOVE_MEMBERS] {
        let mut world = World::attached();
        world.grant(EVERYONE, MODERATE.difference(lacking));
        for op in ops() {
            assert_eq!(error(&world.rest(ANN, op)), (403, 50013), "without {lacking:?}");
        }
    }
    let mut world = World::attached();
    world.grant(EVERYONE, MODERATE);
    world.deny(STAGE, OverwriteTarget::Member(CARL), Permissions::VIEW_CHANNEL);
    expect(&open(&mut world, ANN), &["STAGE_INSTANCE_CREATE but {4}"]);
    assert_eq!(error(&world.rest(CARL, Op::GetStageInstance(STAGE))), (403, 50001));
    let create = payloads(&world.attach(CARL, SessionId(40), ALL_INTENTS), "GUILD_CREATE").remove(0);
    assert_eq!(create["stage_instances"], serde_json::json!([]));
    let shown = world.rest(OWNER, Op::DeleteOverwrite { channel: STAGE, id: CARL.0 });
    expect(&shown, &["CHANNEL_UPDATE", "CHANNEL_CREATE to {4}", "STAGE_INSTANCE_CREATE to {4}"]);
    expect(&world.rest(ANN, Op::DeleteStageInstance(STAGE)), &["STAGE_INSTANCE_DELETE"]);
}

#[test]
fn a_stage_ends_with_its_channel() {
    let mut world = World::attached();
    open(&mut world, OWNER);
    let deleted = world.rest(OWNER, Op::DeleteChannel(STAGE));
    expect(&deleted, &["STAGE_INSTANCE_DELETE", "CHANNEL_DELETE"]);
    world.check_invariants();
    assert_eq!(world.core.poll_timeout(), None, "and with it its patience");
}

#[test]
fn a_stage_ends_when_it_has_had_no_speaker_for_a_while() {
    let mut world = World::attached();
    open(&mut world, OWNER);
    // Nobody has come yet, and then somebody comes to listen.
    world.pass_ms(STAGE_SPEAKERLESS_MS - 1);
    world.join(ANN, STAGE);
    world.live(ANN);
    assert!(is_on(&mut world));
    assert_eq!(world.pass_ms(1), ["STAGE_INSTANCE_DELETE"]);
    assert!(!is_on(&mut world));

    open(&mut world, OWNER);
    let_speak(&mut world, ANN, true);
    assert_eq!(world.pass_ms(10 * STAGE_SPEAKERLESS_MS), Vec::<String>::new(), "somebody may speak");
    let_speak(&mut world, ANN, false);
    world.pass_ms(STAGE_SPEAKERLESS_MS - 1);
    let_speak(&mut world, ANN, true);
    assert_eq!(world.pass_ms(STAGE_SPEAKERLESS_MS), Vec::<String>::new(), "again in time");
    world.leave(ANN);
    assert_eq!(world.pass_ms(STAGE_SPEAKERLESS_MS - 1), Vec::<String>::new());
    assert_eq!(world.pass_ms(1), ["STAGE_INSTANCE_DELETE"]);
    world.check_invariants();
}

#[test]
fn a_speaker_who_moves_away_or_loses_the_word_speaks_no_more() {
    let check = |end: &dyn Fn(&mut World)| {
        let mut world = World::attached();
        world.join(ANN, STAGE);
        world.live(ANN);
        let_speak(&mut world, ANN, true);
        open(&mut world, OWNER);
        assert_eq!(world.core.speakerless_stage_due(), None);
        end(&mut world);
        world.check_invariants();
        let due = UnixMs(world.now.0 + STAGE_SPEAKERLESS_MS);
        assert_eq!(world.core.speakerless_stage_due(), Some(due));
    };
    check(&|world| drop(world.join(ANN, LOBBY)));
    check(&|world| {
        let deny = Permissions::SPEAK;
        let body = rest::OverwriteBody { id: None, kind: 0, allow: Permissions::empty(), deny };
        world.rest(OWNER, Op::PutOverwrite { channel: STAGE, id: EVERYONE.0, body });
    });
    check(&|world| {
        world.rest(OWNER, Op::RemoveMember(GUILD, ANN));
    });
}

#[test]
fn a_channel_that_the_database_has_lost_takes_its_stage_along() {
    let mut world = World::attached();
    open(&mut world, OWNER);
    let mut truth = guild();
    truth.channels.retain(|channel| channel.id != STAGE);
    let users = truth.members.keys().map(|id| user(*id)).collect();
    let reloaded = world.input(|core, moment| core.handle_reload(moment, truth, users, &BTreeSet::new()));
    expect(&reloaded, &["STAGE_INSTANCE_DELETE"]);
    world.check_invariants();
}
