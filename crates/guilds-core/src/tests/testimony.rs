//! What voice servers say of a dead owner's guild to the next one, beside what gateways say.

use super::*;
use crate::limits::{ABSENCE_MS, SETTLE_MS, STAGE_SPEAKERLESS_MS, TESTIMONY_MS};

const A: &str = "a";

impl World {
    /// The next owner is there, and has asked.
    fn claimed(&mut self) {
        self.succeed();
        let asked = self.input(GuildCore::handle_claimed);
        let servers: Vec<String> = self.servers.keys().map(|id| format!("order {id}: claim")).collect();
        assert_eq!(trace(&asked), servers);
        assert_eq!(self.core.awaits_servers(), !servers.is_empty());
    }

    /// What a voice server would say of what it was ordered.
    fn held(&self, server: &str, live: &[UserId]) -> Held {
        let server = ServerId(server.to_owned());
        let of =
            |user: &UserId| self.obeyed.get(&server)?.keys().find(|(of, _)| of == user).map(|(_, id)| *id);
        Held {
            guild: GUILD,
            claim: self.core.fencing(),
            fencing: self.core.fencing() - 1,
            participants: self.obeyed.get(&server).into_iter().flatten().map(|(_, p)| p.clone()).collect(),
            live: live.iter().filter_map(of).collect(),
            channels: self.kept.get(&server).into_iter().flatten().map(|(_, memo)| memo.clone()).collect(),
            server,
        }
    }

    fn hear(&mut self, held: &Held) -> Outcome {
        self.input(|core, moment| core.handle_held(moment, held))
    }

    /// By user: the channel, the session, whether self-muted.
    fn states(&self) -> Vec<(u64, u64, u128, bool)> {
        let state = |entry: &crate::voice::VoiceEntry| {
            let state = &entry.state;
            (state.user.0, state.channel.0, state.session.0, state.flags.self_mute)
        };
        self.core.voice.values().map(state).collect()
    }
}

fn muted() -> VoiceFlags {
    VoiceFlags { self_mute: true, ..VoiceFlags::default() }
}

/// Ann's gateway lives. Bob's is dead. Carl has left, and moved before that, which his gateway knows and the voice server was not told
/// any more. Dot's says that it is in another room than the voice server knows.
#[test]
fn whatever_is_heard_first_the_voice_states_are_the_same() {
    let orders = [[0, 1, 2, 3], [1, 0, 2, 3], [1, 2, 0, 3], [1, 2, 3, 0], [3, 0, 2, 1], [2, 0, 3, 1]];
    for order in orders {
        let mut world = World::attached();
        for user in [ANN, CARL, DOT] {
            world.join(user, LOBBY);
        }
        world.update(BOB, session(BOB), Some(ROOM), muted());
        let known = (world.obeyed.clone(), world.kept.clone());
        world.leave(CARL);
        world.join(DOT, ROOM);
        (world.obeyed, world.kept) = known;
        world.claimed();
        let held = world.held(A, &[ANN, BOB, CARL, DOT]);
        for turn in order {
            match turn {
                0 => drop(world.hear(&held)),
                1 => drop(world.attach_again(ANN)),
                2 => drop(world.attach_again(CARL)),
                _ => drop(world.attach_again(DOT)),
            }
        }
        let expected = [(2, 202, 2, false), (3, 203, 3, true), (5, 203, 5, false)];
        assert_eq!(world.states(), expected, "{order:?}");
        assert!(world.core.voice[&BOB].is_hearsay && !world.core.awaits_servers());
        assert_eq!(world.core.voice[&BOB].life, crate::voice::Life::Live, "{order:?}");
        world.live(ANN);
        world.live(DOT);
        let settled = world.pass_ms(SETTLE_MS);
        assert_eq!(settled, ["order a: push [2, 3, 5]"], "{order:?}");
        assert_eq!(world.pass_ms(10 * ABSENCE_MS), [""; 0]);
    }
}

#[test]
fn who_joins_before_the_others_are_known_again_goes_where_they_are() {
    let mut world = World::attached();
    world.join(ANN, LOBBY);
    world.add_server(ServerRecord { capacity: 1_000, ..server("b") });
    world.claimed();
    let held = world.held(A, &[ANN]);
    expect(&world.hear(&held), &["entered 2", "STATE 2 in 202"]);
    let nothing = Held { fencing: 0, participants: Vec::new(), channels: Vec::new(), ..world.held("b", &[]) };
    expect(&world.hear(&nothing), &[]);
    world.attach(BOB, session(BOB), ALL_INTENTS);
    expect(
        &world.join(BOB, LOBBY),
        &["order a: put 3 in 202 may shv", "entered 3", "STATE 3 in 202", "SERVER a:443 to session 3"],
    );
    let again = world.attach_again(ANN);
    assert_eq!(payloads(&again, "GUILD_CREATE")[0]["voice_states"].as_array().unwrap().len(), 2);
    assert!(!trace(&again).iter().any(|line| line.starts_with("SERVER") || line.starts_with("STATE")));
    world.check_invariants();
}

#[test]
fn nobody_is_brought_back_for_good_whose_client_is_gone() {
    let mut world = World::attached();
    world.join(ANN, LOBBY);
    world.join(BOB, LOBBY);
    world.claimed();
    let held = world.held(A, &[BOB]);
    world.hear(&held);
    world.pass_ms(SETTLE_MS);
    assert_eq!(world.states().len(), 2);
    let ends = world.pass_ms(ABSENCE_MS);
    assert!(ends.contains(&"left voice 2".to_owned()), "{ends:?}");
    // And the other when its connection ends, for no session of its is left to say so.
    world.gone(BOB);
    let ends = world.pass_ms(ABSENCE_MS);
    assert!(
        ends.contains(&"left voice 3".to_owned()) && ends.contains(&"order a: drop".to_owned()),
        "{ends:?}"
    );
    world.check_invariants();
}

#[test]
fn what_a_gateway_says_of_an_end_is_true_of_whom_only_a_voice_server_knows() {
    let mut world = World::attached();
    world.join(ANN, LOBBY);
    world.claimed();
    let held = world.held(A, &[ANN]);
    world.hear(&held);
    let (user, session, gateway) = (ANN, session(ANN), GATEWAY);
    let ended = world.call(Call::Detach { guild: GUILD, user, session, gateway });
    assert!(trace(&ended).contains(&"left voice 2".to_owned()));
    world.check_invariants();
}

#[test]
fn a_session_from_another_gateway_that_does_not_know_takes_what_the_voice_server_says() {
    let mut world = World::attached();
    world.join(ANN, LOBBY);
    let seat = world.seats[&session(ANN)].clone();
    world.claimed();
    let held = world.held(A, &[ANN]);
    let attach = |world: &mut World| {
        let terms = Terms { intents: ALL_INTENTS, shard: (0, 1), status: model::PresenceStatus::Online };
        let (user, session, gateway) = (ANN, session(ANN), GatewayId(2));
        let (guild, is_live, seat, knows_seat) = (GUILD, true, None, false);
        world.call(Call::Attach { guild, user, session, gateway, is_live, terms, seat, knows_seat })
    };
    world.seats.clear();
    world.hear(&held);
    let find = |user, session| Call::FindSession { guild: GUILD, user, session };
    let Ok(Reply::Terms(terms)) = world.call(find(ANN, session(ANN))).reply else { panic!("she may resume") };
    assert_eq!((terms.intents, terms.shard), (ALL_INTENTS, (0, 1)));
    assert_eq!(world.call(find(BOB, session(ANN))).reply.unwrap_err().status, 404);
    attach(&mut world);
    assert_eq!(world.seats[&session(ANN)], seat, "and knows it from then on");
    world.check_invariants();

    world.obeyed.clear();
    world.succeed();
    world.input(GuildCore::handle_claimed);
    world.seats.clear();
    attach(&mut world);
    world.hear(&Held { claim: world.core.fencing(), ..held });
    assert_eq!(world.states().len(), 1, "in whichever order");

    // One that has left here since does not come back by what is said late.
    let late =
        Held { server: ServerId("b".to_owned()), claim: world.core.fencing(), ..world.held(A, &[ANN]) };
    world.leave(ANN);
    world.add_server(server("b"));
    expect(&world.hear(&late), &["order b: drop"]);
    assert!(world.states().is_empty());
}

#[test]
fn whoever_began_anew_leaves_or_joins_with_its_new_session() {
    for joins in [false, true] {
        let mut world = World::attached();
        world.join(ANN, LOBBY);
        world.claimed();
        let held = world.held(A, &[ANN]);
        world.hear(&held);
        let new = SessionId(77);
        world.attach(ANN, new, ALL_INTENTS);
        assert_eq!(world.states(), [(2, 202, 2, false)], "it stays where its voice connection is");
        if joins {
            world.update(ANN, new, Some(ROOM), VoiceFlags::default());
            assert_eq!(world.states(), [(2, 203, 77, false)]);
        } else {
            let left = world.update(ANN, new, None, VoiceFlags::default());
            assert!(trace(&left).contains(&"order a: remove 2/2".to_owned()));
        }
        world.check_invariants();
    }
}

#[test]
fn a_living_gateway_is_believed_about_whom_the_voice_server_knows_with_another_session() {
    let mut world = World::attached();
    world.attach(ANN, SessionId(77), ALL_INTENTS);
    world.join(ANN, LOBBY);
    let known = (world.obeyed.clone(), world.kept.clone());
    world.update(ANN, SessionId(77), Some(ROOM), VoiceFlags::default());
    (world.obeyed, world.kept) = known;
    world.claimed();
    let held = world.held(A, &[ANN]);
    world.hear(&held);
    let seat = world.seats[&SessionId(77)].clone();
    let taken = world.attach_from(GATEWAY, ANN, SessionId(77), ALL_INTENTS, Some(seat));
    assert_eq!(world.states(), [(2, 203, 77, false)]);
    let lines = trace(&taken);
    assert!(
        lines.contains(&"order a: remove 2/2".to_owned()) && lines.contains(&"STATE 2 in 203".to_owned())
    );
    world.check_invariants();
}

#[test]
fn a_server_that_the_last_owner_had_given_up_is_not_believed() {
    let mut world = World::attached();
    world.join(ANN, LOBBY);
    world.claimed();
    let current = world.held(A, &[ANN]);
    world.servers.insert(ServerId("b".to_owned()), server("b"));
    expect(&world.add_server(server("b")), &["order b: claim"]);
    let bob = Participant { user: BOB, session: session(BOB), ..current.participants[0].clone() };
    let past = |fencing| Held {
        server: ServerId("b".to_owned()),
        fencing,
        participants: vec![bob.clone()],
        live: [session(BOB)].into(),
        ..current.clone()
    };
    world.hear(&current);
    expect(&world.hear(&past(current.fencing - 1)), &["order b: drop"]);
    assert_eq!(world.states().len(), 1);
    expect(&world.hear(&past(current.fencing - 1)), &[]);
    // An answer to somebody else's question.
    let strange = Held { claim: 1, ..current.clone() };
    expect(&world.hear(&strange), &[]);

    // One that was given up without a change of owners: its people come along.
    expect(&world.lose_server("b"), &[]);
    expect(&world.add_server(server("b")), &["order b: claim"]);
    let moved = trace(&world.hear(&past(current.fencing)));
    assert!(moved.contains(&"SERVER a:443 to session 3".to_owned()), "{moved:?}");
    assert_eq!(moved.last().unwrap(), "order b: drop");
    world.check_invariants();
}

#[test]
fn a_server_that_was_not_asked_is_asked_again() {
    let mut world = World::attached();
    world.join(ANN, LOBBY);
    world.claimed();
    let id = ServerId(A.to_owned());
    let again = world.input(|core, moment| core.handle_missed_orders(moment, &id));
    expect(&again, &["order a: claim"]);
    let again = world.input(|core, moment| core.handle_reconnected(moment, &id));
    expect(&again, &["order a: claim"]);
    world.lose_server(A);
    assert!(!world.core.awaits_servers(), "a dead one is not waited for");
    expect(&world.add_server(server(A)), &["order a: claim"]);
}

#[test]
fn what_is_on_in_channels_goes_on() {
    let mut world = World::attached();
    world.grant(EVERYONE, Permissions::all());
    world.join(ANN, LOBBY);
    world.join(BOB, STAGE);
    let tea = |channel| {
        Op::SetVoiceStatus(channel, rest::VoiceStatusBody { status: rest::Patch::Set("tea".to_owned()) })
    };
    world.rest(ANN, tea(LOBBY));
    world.rest(ANN, tea(ROOM));
    let body = rest::StageInstanceBody { topic: Some("bees".to_owned()), ..Default::default() };
    let stage = self::body(&world.rest(BOB, Op::CreateStageInstance(STAGE, body)));
    let speaks = rest::ModifyVoiceState { suppress: Some(false), ..Default::default() };
    world.rest(BOB, Op::ModifyVoiceState(GUILD, BOB, speaks));
    world.now.0 += 60_000;
    world.join(CARL, LOBBY);
    world.leave(ANN);
    world.now.0 += 60_000;

    world.claimed();
    let held = world.held(A, &[BOB, CARL]);
    world.hear(&held);
    let since = |world: &World, channel| world.core.gatherings.get(&channel).and_then(|found| found.since);
    assert_eq!(since(&world, LOBBY), Some(START), "since the first came, who has left");
    for channel in [LOBBY, ROOM] {
        assert_eq!(world.core.gatherings[&channel].status.as_deref(), Some("tea"));
    }
    let found = world.rest(CARL, Op::GetStageInstance(STAGE));
    assert_eq!(self::body(&found), stage);
    assert_eq!(world.core.stages[&STAGE].speakerless_since, None, "whoever spoke still does");
    world.check_invariants();
    let lines = world.pass_ms(STAGE_SPEAKERLESS_MS);
    assert!(!lines.iter().any(|line| line.starts_with("STAGE")), "{lines:?}");
    // Nobody is left of another: then it is over.
    let mut next = World::attached();
    next.claimed();
    let nobody = Held { claim: next.core.fencing(), participants: Vec::new(), ..held };
    next.hear(&nobody);
    let statuses: Vec<_> = next.core.gatherings.keys().copied().collect();
    assert_eq!(statuses, [ROOM], "where somebody is still to come");
    assert!(next.core.stages[&STAGE].speakerless_since.is_some(), "and the stage ends in time");
}

#[test]
fn an_owner_of_the_version_before_has_said_what_a_participant_may() {
    let mut world = World::attached();
    world.update(ANN, session(ANN), Some(LOBBY), VoiceFlags { self_deaf: true, ..muted() });
    world.claimed();
    let mut held = world.held(A, &[ANN]);
    held.participants[0].memo = None;
    expect(&world.hear(&held), &["order a: put 2 in 202 may sv", "entered 2", "STATE 2 in 202"]);
    let state = &world.core.voice[&ANN].state;
    assert!(state.flags.self_deaf && !state.deaf && !state.suppress);
    assert_eq!(state.joined_at, world.now);
    world.check_invariants();
}

#[test]
fn whoever_may_not_be_there_any_more_is_not_and_where_the_server_is_lost_too_all_get_another() {
    let mut world = World::attached();
    world.join(ANN, LOBBY);
    world.join(BOB, LOBBY);
    world.core.guild.members.remove(&BOB);
    world.claimed();
    let held = world.held(A, &[ANN, BOB]);
    world.hear(&held);
    assert_eq!(world.states().len(), 1);
    assert_eq!(world.pass_ms(SETTLE_MS), ["order a: push [2]"]);

    let mut world = World::attached();
    world.join(ANN, LOBBY);
    world.claimed();
    let held = world.held(A, &[ANN]);
    world.core.guild.members.remove(&ANN);
    expect(&world.hear(&held), &["order a: drop"]);
}

#[test]
fn who_has_left_for_good_does_not_come_back_by_an_answer_that_is_late() {
    for is_asked_later in [false, true] {
        let mut world = World::attached();
        world.join(ANN, LOBBY);
        let known = world.servers.clone();
        if is_asked_later {
            world.servers.clear();
        }
        world.claimed();
        let late = world.held(A, &[ANN]);
        world.attach_again(ANN);
        let (user, gateway) = (ANN, GatewayId(1));
        world.call(Call::Detach { guild: GUILD, user, session: session(ANN), gateway }).reply.unwrap();
        assert!(world.states().is_empty());
        if is_asked_later {
            world.servers = known;
            let asked = world.input(|core, moment| core.handle_servers(moment, None));
            expect(&asked, &["order a: claim"]);
        }
        assert!(world.core.awaits_servers());
        expect(&world.hear(&late), &["order a: drop"]);
        assert!(world.states().is_empty());
        world.check_invariants();

        // They are not remembered for ever.
        assert!(!world.core.departed.is_empty());
        world.pass_ms(TESTIMONY_MS);
        world.attach(BOB, session(BOB), ALL_INTENTS);
        world.join(BOB, LOBBY);
        world.leave(BOB);
        assert!(world.core.departed.is_empty());
    }
}
