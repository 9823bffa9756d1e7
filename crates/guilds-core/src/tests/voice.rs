//! Joining, moving, muting, leaving.

use client_wire::rest::{ModifyMember, ModifyVoiceState, Patch};

use super::*;
use crate::limits::PENDING_GRACE_MS;

const MUTED: VoiceFlags =
    VoiceFlags { self_mute: true, self_deaf: false, self_video: false, self_stream: false };
const DEAFENED: VoiceFlags = VoiceFlags { self_deaf: true, ..MUTED };

#[test]
fn the_first_to_join_gets_the_guild_placed_and_is_told_state_before_server() {
    let mut world = World::attached();
    let joined = world.join(ANN, LOBBY);
    expect(
        &joined,
        &["placed a", "order a: push [2]", "entered 2", "STATE 2 in 202", "SERVER a:443 to session 2"],
    );
    let token = token(&world, &joined);
    let claimed = (token.user, token.session, token.guild, token.channel, token.server.0.as_str());
    assert_eq!(claimed, (ANN, session(ANN), GUILD, LOBBY, "a"));
    let state = &payloads(&joined, "VOICE_STATE_UPDATE")[0];
    assert_eq!(state["member"]["user"]["id"], "2");
    assert!(state["member"]["joined_at"].is_string());
    assert_eq!(state["session_id"], session(ANN).to_string());
    assert_eq!(state["suppress"], false);

    let second = world.join(BOB, ROOM);
    expect(
        &second,
        &["order a: put 3 in 203 may shv", "entered 3", "STATE 3 in 203", "SERVER a:443 to session 3"],
    );
    world.check_invariants();
}

#[test]
fn a_move_closes_the_old_connection_after_both_updates() {
    let mut world = World::attached();
    let first = world.join(ANN, LOBBY);
    world.live(ANN);
    let moved = world.join(ANN, ROOM);
    expect(&moved, &["STATE 2 in 203", "SERVER a:443 to session 2", "order a: put 2 in 203 may shv"]);
    assert!(token(&world, &moved).serial > token(&world, &first).serial);
    assert_eq!(token(&world, &moved).channel, ROOM);
    world.check_invariants();
}

#[test]
fn leaving_is_echoed_and_the_last_to_leave_releases_the_server() {
    let mut world = World::attached();
    world.join(ANN, LOBBY);
    world.join(BOB, LOBBY);
    expect(&world.leave(ANN), &["STATE 2 in null", "left voice 2", "order a: remove 2/2"]);
    expect(&world.leave(BOB), &["STATE 3 in null", "left voice 3", "order a: remove 3/3", "order a: drop"]);
    assert_eq!(refusal(&world.leave(BOB)), Some("not in voice with this session"));
    world.check_invariants();
}

#[test]
fn a_mute_toggle_tells_the_state_alone() {
    let mut world = World::attached();
    world.join(ANN, LOBBY);
    // Right after joining, before the voice server has seen the client.
    let muted = world.update(ANN, session(ANN), Some(LOBBY), MUTED);
    expect(&muted, &["order a: put 2 in 202 may shv", "STATE 2 in 202"]);
    world.live(ANN);
    let deafened = world.update(ANN, session(ANN), Some(LOBBY), DEAFENED);
    expect(&deafened, &["order a: put 2 in 202 may sv", "STATE 2 in 202"]);
    let again = world.update(ANN, session(ANN), Some(LOBBY), DEAFENED);
    expect(&again, &[]);
    world.check_invariants();
}

#[test]
fn the_same_channel_without_a_live_connection_is_answered_with_a_server() {
    let mut world = World::attached();
    world.join(ANN, LOBBY);
    let reissued = ["STATE 2 in 202", "SERVER a:443 to session 2"];
    expect(&world.join(ANN, LOBBY), &reissued);
    world.live(ANN);
    expect(&world.join(ANN, LOBBY), &[]);
    world.gone(ANN);
    expect(&world.join(ANN, LOBBY), &reissued);
    // Told, but never seen: after a while a change of flags asks again too.
    world.now.0 += PENDING_GRACE_MS + 1;
    let muted = trace(&world.update(ANN, session(ANN), Some(LOBBY), MUTED));
    assert_eq!(
        (&muted[0][..], &muted[1..]),
        ("order a: put 2 in 202 may shv", &reissued.map(str::to_owned)[..])
    );
}

/// discord.py begins anew at every token that it does not know, and asks again: it would never end.
#[test]
fn who_asks_again_on_its_way_is_told_the_same() {
    let mut world = World::attached();
    let first = world.join(ANN, LOBBY);
    let second = world.join(ANN, LOBBY);
    assert_eq!(token(&world, &second), token(&world, &first));
    // It has had its time to come.
    world.now.0 += PENDING_GRACE_MS + 1;
    let third = world.join(ANN, LOBBY);
    assert!(token(&world, &third).serial > token(&world, &first).serial);
    // It came and has gone.
    world.live(ANN);
    world.gone(ANN);
    let fourth = world.join(ANN, LOBBY);
    assert!(token(&world, &fourth).serial > token(&world, &third).serial);
    // It left.
    world.leave(ANN);
    let fifth = world.join(ANN, LOBBY);
    assert!(token(&world, &fifth).serial > token(&world, &fourth).serial);
    world.check_invariants();
}

#[test]
fn reports_of_another_server_or_session_change_nothing() {
    let mut world = World::attached();
    world.join(ANN, LOBBY);
    world.live(ANN);
    let gone = |server: &str, session| Report::Gone {
        server: ServerId(server.to_owned()),
        guild: GUILD,
        user: ANN,
        session,
    };
    world.core.handle_report(world.now, &gone("b", session(ANN)));
    world.core.handle_report(world.now, &gone("a", SessionId(99)));
    expect(&world.join(ANN, LOBBY), &[]);
}

#[test]
fn op_5_repeats_where_to_connect() {
    let mut world = World::attached();
    let ping = Call::VoiceServerPing { guild: GUILD, user: ANN, session: session(ANN) };
    assert_eq!(refusal(&world.call(ping.clone())), Some("not in voice with this session"));
    world.join(ANN, LOBBY);
    expect(&world.call(ping), &["SERVER a:443 to session 2"]);
}

#[test]
fn who_may_not_enter_is_refused_in_silence() {
    let check = |prepare: &dyn Fn(&mut World), channel: ChannelId, expect: Option<&str>| {
        let mut world = World::attached();
        prepare(&mut world);
        let outcome = world.join(ANN, channel);
        let got = match &outcome.reply {
            Ok(Reply::Refused(why)) => Some(*why),
            _ => None,
        };
        assert_eq!(got, expect);
        world.check_invariants();
    };
    let everyone = OverwriteTarget::Role(EVERYONE);
    check(&|_| {}, LOBBY, None);
    check(&|_| {}, TEXT, Some("no such voice channel"));
    check(&|_| {}, ChannelId(9), Some("no such voice channel"));
    let denied = Some("may not connect to this channel");
    check(&|w| w.deny(LOBBY, everyone, Permissions::CONNECT), LOBBY, denied);
    check(&|w| w.deny(LOBBY, everyone, Permissions::VIEW_CHANNEL), LOBBY, denied);
    check(&|w| w.deny(LOBBY, OverwriteTarget::Member(BOB), Permissions::CONNECT), LOBBY, None);
    let fill = |w: &mut World| {
        w.channel(LOBBY).user_limit = 1;
        w.join(BOB, LOBBY);
    };
    check(&fill, LOBBY, Some("the channel is full"));
    check(&fill, ROOM, None);
    let fill_and_grant = |w: &mut World| {
        fill(w);
        w.grant(EVERYONE, Permissions::MOVE_MEMBERS);
    };
    check(&fill_and_grant, LOBBY, None);
}

#[test]
fn a_session_that_does_not_follow_the_guild_is_refused() {
    let mut world = World::attached();
    let stranger = world.update(ANN, SessionId(77), Some(LOBBY), VoiceFlags::default());
    assert_eq!(refusal(&stranger), Some("the session does not follow the guild"));
    let borrowed = world.update(ANN, session(BOB), Some(LOBBY), VoiceFlags::default());
    assert_eq!(refusal(&borrowed), Some("the session does not follow the guild"));
}

#[test]
fn a_second_session_of_the_user_takes_over() {
    let mut world = World::attached();
    world.attach(ANN, SessionId(20), ALL_INTENTS);
    world.join(ANN, LOBBY);
    world.live(ANN);
    let taken = world.update(ANN, SessionId(20), Some(LOBBY), VoiceFlags::default());
    expect(
        &taken,
        &[
            "STATE 2 in 202",
            "SERVER a:443 to session 20",
            "order a: remove 2/2",
            "order a: put 2 in 202 may shv",
        ],
    );
    // The first session neither leaves for the second nor takes it along when it ends.
    assert_eq!(refusal(&world.leave(ANN)), Some("not in voice with this session"));
    expect(
        &world.call(Call::Detach { guild: GUILD, user: ANN, session: session(ANN), gateway: GATEWAY }),
        &[],
    );
    world.check_invariants();
    let ended =
        world.call(Call::Detach { guild: GUILD, user: ANN, session: SessionId(20), gateway: GATEWAY });
    expect(
        &ended,
        &["STATE 2 in null", "left voice 2", "order a: remove 2/20", "order a: drop", "PRESENCE_UPDATE"],
    );
    world.check_invariants();
}

#[test]
fn moderators_mute_deafen_move_and_disconnect() {
    let mut world = World::attached();
    world
        .grant(EVERYONE, Permissions::MUTE_MEMBERS | Permissions::DEAFEN_MEMBERS | Permissions::MOVE_MEMBERS);
    let mute = || ModifyMember { mute: Some(true), ..ModifyMember::default() };
    assert_eq!(error(&world.modify(BOB, ANN, mute())), (400, 40032));
    world.join(ANN, LOBBY);
    let muted = world.modify(BOB, ANN, mute());
    expect(&muted, &["GUILD_MEMBER_UPDATE", "order a: put 2 in 202 may hv", "STATE 2 in 202"]);
    assert_eq!(writes_of(&muted, |write| matches!(write, Write::PutMember(_, member) if member.mute)), 1);
    assert_eq!(body(&muted)["mute"], true);
    expect(&world.modify(BOB, ANN, mute()), &[]);
    let deafen = ModifyMember { deaf: Some(true), ..ModifyMember::default() };
    expect(
        &world.modify(BOB, ANN, deafen),
        &["GUILD_MEMBER_UPDATE", "order a: put 2 in 202 may v", "STATE 2 in 202"],
    );

    let move_to = |channel| ModifyMember { channel_id: Patch::Set(channel), ..ModifyMember::default() };
    let moved = world.modify(BOB, ANN, move_to(ROOM));
    expect(&moved, &["STATE 2 in 203", "SERVER a:443 to session 2", "order a: put 2 in 203 may v"]);
    assert_eq!(error(&world.modify(BOB, ANN, move_to(TEXT))), (400, 50024));
    assert_eq!(error(&world.modify(BOB, CARL, move_to(ROOM))), (400, 40032));
    // A mute outlives the stay.
    let kick = ModifyMember { channel_id: Patch::Clear, ..ModifyMember::default() };
    let kicked = world.modify(BOB, ANN, kick);
    expect(&kicked, &["STATE 2 in null", "left voice 2", "order a: remove 2/2", "order a: drop"]);
    assert_eq!(payloads(&world.join(ANN, LOBBY), "VOICE_STATE_UPDATE")[0]["mute"], true);
    world.check_invariants();
}

#[test]
fn moderating_voice_needs_its_permissions() {
    let check = |granted: Permissions, body: &dyn Fn() -> ModifyMember, allowed: bool| {
        let mut world = World::attached();
        world.grant(EVERYONE, granted);
        world.join(ANN, LOBBY);
        let outcome = world.modify(BOB, ANN, body());
        match allowed {
            true => assert!(outcome.reply.is_ok(), "{:?}", outcome.reply),
            false => assert_eq!(error(&outcome), (403, 50013)),
        }
    };
    let mute = || ModifyMember { mute: Some(true), ..ModifyMember::default() };
    let deafen = || ModifyMember { deaf: Some(true), ..ModifyMember::default() };
    let kick = || ModifyMember { channel_id: Patch::Clear, ..ModifyMember::default() };
    let all =
        [(Permissions::MUTE_MEMBERS, 0), (Permissions::DEAFEN_MEMBERS, 1), (Permissions::MOVE_MEMBERS, 2)];
    for (granted, which) in all {
        check(granted, &mute, which == 0);
        check(granted, &deafen, which == 1);
        check(granted, &kick, which == 2);
    }
}

#[test]
fn a_moderator_moves_into_full_and_closed_channels_but_only_where_it_may_connect_itself() {
    let mut world = World::attached();
    world.give_role(BOB, HIGH);
    world.grant(HIGH, Permissions::MOVE_MEMBERS);
    world.channel(ROOM).user_limit = 1;
    world.join(CARL, ROOM);
    world.join(ANN, LOBBY);
    world.deny(ROOM, OverwriteTarget::Member(ANN), Permissions::CONNECT);
    let to_room = || ModifyMember { channel_id: Patch::Set(ROOM), ..ModifyMember::default() };
    let moved = world.modify(BOB, ANN, to_room());
    // Who may not connect may not speak either.
    expect(&moved, &["STATE 2 in 203", "SERVER a:443 to session 2", "order a: put 2 in 203 may h"]);
    // What changes later does not throw out whom a moderator has let in.
    let renamed = rest::RoleBody {
        permissions: Some(Permissions::MOVE_MEMBERS | Permissions::SPEAK),
        ..Default::default()
    };
    world.rest(OWNER, Op::ModifyRole(GUILD, HIGH, renamed));
    assert_eq!(world.core.voice[&ANN].state.channel, ROOM);
    world.check_invariants();

    world.deny(LOBBY, OverwriteTarget::Member(BOB), Permissions::CONNECT);
    let to_lobby = ModifyMember { channel_id: Patch::Set(LOBBY), ..ModifyMember::default() };
    assert_eq!(error(&world.modify(BOB, ANN, to_lobby)), (403, 50013));

    // What it had when it came it must keep: who cannot see the channel any more is not told of it.
    let hide = rest::OverwriteBody {
        id: None,
        kind: 1,
        allow: Permissions::empty(),
        deny: Permissions::VIEW_CHANNEL,
    };
    world.rest(OWNER, Op::PutOverwrite { channel: ROOM, id: ANN.0, body: hide });
    assert!(!world.core.voice.contains_key(&ANN));
    world.check_invariants();
}

#[test]
fn losing_a_permission_acts_at_once() {
    let check = |denied: Permissions, expect_lines: &[&str]| {
        let mut world = World::attached();
        world.join(ANN, LOBBY);
        world.join(OWNER, LOBBY);
        let body = rest::OverwriteBody { id: None, kind: 0, allow: Permissions::empty(), deny: denied };
        let changed = world.rest(OWNER, Op::PutOverwrite { channel: LOBBY, id: EVERYONE.0, body });
        assert!(changed.reply.is_ok());
        let voice: Vec<String> = trace(&changed)
            .into_iter()
            .filter(|line| line.starts_with("order") || line.starts_with("STATE"))
            .collect();
        assert_eq!(voice, expect_lines, "{denied:?}");
        world.check_invariants();
    };
    check(Permissions::SPEAK, &["order a: put 2 in 202 may hv", "STATE 2 in 202"]);
    check(Permissions::STREAM, &["order a: put 2 in 202 may sh"]);
    check(Permissions::CONNECT, &["STATE 2 in null", "order a: remove 2/2"]);
    // The owner alone still sees the channel, and the one who is put out hears of it.
    check(Permissions::VIEW_CHANNEL, &["STATE 2 in null but {3, 4, 5}", "order a: remove 2/2"]);
}

#[test]
fn a_video_without_permission_is_not_announced() {
    let mut world = World::attached();
    world.deny(LOBBY, OverwriteTarget::Role(EVERYONE), Permissions::STREAM);
    let video = VoiceFlags { self_video: true, self_stream: true, ..VoiceFlags::default() };
    let joined = world.update(ANN, session(ANN), Some(LOBBY), video);
    let state = &payloads(&joined, "VOICE_STATE_UPDATE")[0];
    assert_eq!((&state["self_video"], &state["self_stream"]), (&false.into(), &false.into()));
}

#[test]
fn a_stage_begins_in_the_audience() {
    let mut world = World::attached();
    world.give_role(BOB, HIGH);
    world.grant(HIGH, Permissions::MUTE_MEMBERS);
    let joined = world.join(ANN, STAGE);
    assert_eq!(payloads(&joined, "VOICE_STATE_UPDATE")[0]["suppress"], true);
    let modify = |actor, target, body| rest_call(actor, Op::ModifyVoiceState(GUILD, target, body));
    let suppress = |suppress| ModifyVoiceState { suppress: Some(suppress), ..ModifyVoiceState::default() };
    let raise = ModifyVoiceState {
        request_to_speak_timestamp: Patch::Set("2026-11-22T21:06:47Z".to_owned()),
        ..ModifyVoiceState::default()
    };
    assert_eq!(error(&world.call(modify(ANN, ANN, suppress(false)))), (403, 50013));
    let raised = world.call(modify(ANN, ANN, raise.clone()));
    expect(&raised, &["order a: put 2 in 204 may hv", "STATE 2 in 204"]);
    let state = &payloads(&raised, "VOICE_STATE_UPDATE")[0];
    assert_eq!(state["request_to_speak_timestamp"], START.iso8601());
    assert_eq!(error(&world.call(modify(CARL, ANN, suppress(false)))), (403, 50013));
    let invited = world.call(modify(BOB, ANN, suppress(false)));
    expect(&invited, &["order a: put 2 in 204 may shv", "STATE 2 in 204"]);
    assert_eq!(
        payloads(&invited, "VOICE_STATE_UPDATE")[0]["request_to_speak_timestamp"],
        serde_json::Value::Null
    );
    let back = world.call(modify(ANN, ANN, suppress(true)));
    expect(&back, &["order a: put 2 in 204 may hv", "STATE 2 in 204"]);
    // A speaker who leaves comes back to the audience.
    world.call(modify(BOB, ANN, suppress(false)));
    world.leave(ANN);
    assert_eq!(payloads(&world.join(ANN, STAGE), "VOICE_STATE_UPDATE")[0]["suppress"], true);
    world.join(ANN, LOBBY);
    assert_eq!(error(&world.call(modify(ANN, ANN, raise))), (400, 50024));
    assert_eq!(error(&world.call(modify(ANN, CARL, suppress(true)))), (404, 10065));
}

#[test]
fn a_hidden_channel_swallows_whom_it_takes() {
    let mut world = World::attached();
    world.deny(ROOM, OverwriteTarget::Member(CARL), Permissions::VIEW_CHANNEL);
    world.join(ANN, LOBBY);
    let moved = world.join(ANN, ROOM);
    expect(
        &moved,
        &[
            "STATE 2 in 203 but {4}",
            "STATE 2 in null to {4}",
            "SERVER a:443 to session 2",
            "order a: put 2 in 203 may shv",
        ],
    );
    expect(
        &world.leave(ANN),
        &["STATE 2 in null but {4}", "left voice 2", "order a: remove 2/2", "order a: drop"],
    );
}

#[test]
fn a_voice_state_is_looked_up_by_who_sees_it() {
    let mut world = World::attached();
    let get = |actor, target| rest_call(actor, Op::GetVoiceState(GUILD, target));
    assert_eq!(error(&world.call(get(BOB, ANN))), (404, 10065));
    world.deny(ROOM, OverwriteTarget::Member(CARL), Permissions::VIEW_CHANNEL);
    world.join(ANN, ROOM);
    assert_eq!(body(&world.call(get(BOB, ANN)))["channel_id"], "203");
    assert_eq!(body(&world.call(get(ANN, ANN)))["guild_id"], "100");
    assert_eq!(error(&world.call(get(CARL, ANN))), (403, 50001));
}
