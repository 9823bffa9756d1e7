//! Attaching, presence, and who is listed to whom.

use cluster_wire::guilds::MembersQuery;
use model::PresenceStatus;

use super::*;
use crate::limits::LARGE_GUILD_MEMBERS;

#[test]
fn a_session_gets_the_guild_before_anything_else() {
    let mut world = World::new(guild());
    world.deny(ROOM, OverwriteTarget::Role(EVERYONE), Permissions::VIEW_CHANNEL);
    world.attach(OWNER, session(OWNER), ALL_INTENTS);
    world.join(OWNER, ROOM);
    let attached = world.attach(ANN, session(ANN), ALL_INTENTS);
    expect(&attached, &["GUILD_CREATE to session 2", "PRESENCE_UPDATE"]);
    let create = &payloads(&attached, "GUILD_CREATE")[0];
    assert_eq!(create["unavailable"], false);
    assert_eq!(create["large"], false);
    assert_eq!(create["member_count"], 5);
    assert_eq!(create["members"].as_array().unwrap().len(), 5);
    let channels: Vec<&str> =
        create["channels"].as_array().unwrap().iter().map(|c| c["id"].as_str().unwrap()).collect();
    assert_eq!(channels, ["201", "202", "204"], "the hidden channel is not there");
    assert_eq!(create["voice_states"].as_array().unwrap().len(), 0, "nor is who is in it");
    assert_eq!(create["presences"].as_array().unwrap().len(), 2);
    // The same session again (a gateway that starts over) gets the guild again, and nobody else hears of it.
    expect(&world.attach(ANN, session(ANN), ALL_INTENTS), &["GUILD_CREATE to session 2"]);
    world.check_invariants();
}

#[test]
fn strangers_cannot_attach() {
    let mut world = World::new(guild());
    assert_eq!(error(&world.attach(UserId(99), SessionId(99), ALL_INTENTS)), (403, 50001));
    world.attach(ANN, session(ANN), ALL_INTENTS);
    assert_eq!(error(&world.attach(BOB, session(ANN), ALL_INTENTS)), (503, 0));
}

#[test]
fn presence_follows_the_sessions() {
    let mut world = World::attached();
    let status =
        |world: &mut World, status| world.call(Call::UpdatePresence { guild: GUILD, user: ANN, status });
    let idle = status(&mut world, PresenceStatus::Idle);
    expect(&idle, &["PRESENCE_UPDATE"]);
    let presence = &payloads(&idle, "PRESENCE_UPDATE")[0];
    assert_eq!((&presence["status"], &presence["user"]["id"]), (&"idle".into(), &"2".into()));
    expect(&status(&mut world, PresenceStatus::Idle), &[]);
    world.attach(ANN, SessionId(20), ALL_INTENTS);
    expect(
        &world.call(Call::Detach { guild: GUILD, user: ANN, session: session(ANN), gateway: GATEWAY }),
        &[],
    );
    let gone = world.call(Call::Detach { guild: GUILD, user: ANN, session: SessionId(20), gateway: GATEWAY });
    expect(&gone, &["PRESENCE_UPDATE"]);
    assert_eq!(payloads(&gone, "PRESENCE_UPDATE")[0]["status"], "offline");
    expect(
        &world.call(Call::Detach { guild: GUILD, user: ANN, session: SessionId(20), gateway: GATEWAY }),
        &[],
    );
    assert_eq!(error(&status(&mut world, PresenceStatus::Dnd)), (403, 50001));
    world.check_invariants();
}

fn large_guild() -> Guild {
    let mut guild = guild();
    for id in 1_000..1_000 + LARGE_GUILD_MEMBERS as u64 * 5 {
        guild.members.insert(UserId(id), Member::new(UserId(id), START));
    }
    guild
}

#[test]
fn a_large_guild_lists_oneself_voice_and_for_presences_the_online() {
    let mut world = World::new(large_guild());
    for user in [ANN, BOB] {
        world.attach(user, session(user), 0);
    }
    world.join(BOB, LOBBY);
    let check = |world: &mut World, intents: u64, expect: &[&str]| {
        let attached = world.attach(CARL, session(CARL), intents);
        let create = &payloads(&attached, "GUILD_CREATE")[0];
        assert_eq!(create["large"], true);
        let ids: Vec<&str> =
            create["members"].as_array().unwrap().iter().map(|m| m["user"]["id"].as_str().unwrap()).collect();
        assert_eq!(ids, expect);
    };
    check(&mut world, 0, &["3", "4"]);
    check(&mut world, ALL_INTENTS, &["2", "3", "4"]);
}

#[test]
fn members_come_in_chunks() {
    let mut world = World::new(large_guild());
    world.attach(ANN, session(ANN), ALL_INTENTS);
    world.attach(BOB, session(BOB), 0);
    let ask = |world: &mut World, user, query| {
        world.call(Call::RequestMembers { guild: GUILD, user, session: session(user), query })
    };
    let whole =
        MembersQuery { query: Some(String::new()), nonce: Some("n".to_owned()), ..MembersQuery::default() };
    let chunks = payloads(&ask(&mut world, ANN, whole.clone()), "GUILD_MEMBERS_CHUNK");
    let sizes: Vec<usize> = chunks.iter().map(|chunk| chunk["members"].as_array().unwrap().len()).collect();
    assert_eq!(sizes, [1_000, 255]);
    assert_eq!(
        (&chunks[1]["chunk_index"], &chunks[1]["chunk_count"], &chunks[1]["nonce"]),
        (&1.into(), &2.into(), &"n".into())
    );
    assert!(refusal(&ask(&mut world, BOB, whole)).is_some(), "the whole list needs its intent");

    let named = MembersQuery { users: vec![ANN, UserId(77)], presences: true, ..MembersQuery::default() };
    let chunk = &payloads(&ask(&mut world, BOB, named), "GUILD_MEMBERS_CHUNK")[0];
    assert_eq!(chunk["members"].as_array().unwrap().len(), 1);
    assert_eq!(chunk["not_found"], serde_json::json!(["77"]));
    assert_eq!(chunk["presences"][0]["status"], "online");

    let prefix = MembersQuery { query: Some("USER100".to_owned()), limit: 3, ..MembersQuery::default() };
    let chunk = &payloads(&ask(&mut world, BOB, prefix), "GUILD_MEMBERS_CHUNK")[0];
    assert_eq!(chunk["members"].as_array().unwrap().len(), 3);
    let none = MembersQuery { query: Some("zzz".to_owned()), ..MembersQuery::default() };
    assert_eq!(
        payloads(&ask(&mut world, BOB, none), "GUILD_MEMBERS_CHUNK").len(),
        1,
        "an empty answer is an answer"
    );
}

#[test]
fn after_a_failed_write_voice_goes_on_with_the_databases_truth() {
    let mut world = World::attached();
    world.join(ANN, LOBBY);
    world.join(BOB, LOBBY);
    let kicked = world.rest(OWNER, Op::RemoveMember(GUILD, ANN));
    let parted = kicked.parted().collect();
    let kicked = kicked.after_failed_write();
    assert!(kicked.writes.is_empty() && kicked.reply.is_err());
    let kept: Vec<String> = trace(&kicked);
    // Ann's gateway is told, or it would go on letting her see what nobody hides from her any more.
    assert_eq!(kept, ["STATE 2 in null", "left voice 2", "order a: remove 2/2", "left 2"]);
    // The database lost Bob meanwhile, and still has Ann.
    let mut truth = guild();
    truth.members.remove(&BOB);
    let users = truth.members.keys().map(|id| user(*id)).collect();
    let reloaded = world.input(|core, moment| core.handle_reload(moment, truth, users, &parted));
    expect(
        &reloaded,
        &["STATE 3 in null", "left voice 3", "order a: remove 3/3", "order a: drop", "joined 2"],
    );
    assert!(world.core.guild.member(ANN).is_some());
    world.check_invariants();
}

#[test]
fn a_guild_is_at_rest_when_memory_holds_nothing_of_its_own() {
    let mut world = World::new(guild());
    assert!(world.core.is_at_rest());
    world.attach(ANN, session(ANN), ALL_INTENTS);
    assert!(!world.core.is_at_rest(), "a session follows it");
    world.join(ANN, LOBBY);
    world.call(Call::Detach { guild: GUILD, user: ANN, session: session(ANN), gateway: GATEWAY });
    assert!(world.core.is_at_rest(), "with the session its voice state went");
    let status = |status| Op::SetVoiceStatus(LOBBY, rest::VoiceStatusBody { status });
    world.rest(OWNER, status(rest::Patch::Set("soon".to_owned())));
    assert!(!world.core.is_at_rest(), "a channel has a status");
    world.rest(OWNER, status(rest::Patch::Clear));
    let about = rest::StageInstanceBody { topic: Some("bees".to_owned()), ..Default::default() };
    world.rest(OWNER, Op::CreateStageInstance(STAGE, about));
    assert!(!world.core.is_at_rest(), "something is on");
    world.rest(OWNER, Op::DeleteStageInstance(STAGE));
    assert!(world.core.is_at_rest());
}
