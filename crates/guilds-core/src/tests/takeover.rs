//! An owner's end, and the next one that goes on.

use super::*;
use crate::limits::{ABSENCE_MS, SETTLE_MS};

impl World {
    /// The owner is dead, and the next begins with what the database holds.
    pub fn succeed(&mut self) {
        let (guild, fencing) = (self.core.guild.clone(), self.core.fencing() + 1);
        let users = guild.members.keys().map(|id| user(*id)).collect();
        self.core = GuildCore::new(guild, users, fencing, self.key.clone());
    }

    pub fn attach_again(&mut self, user: UserId) -> Outcome {
        let seat = self.seats.get(&session(user)).cloned();
        self.attach_from(GATEWAY, user, session(user), ALL_INTENTS, seat)
    }
}

fn voice_states(outcome: &Outcome) -> usize {
    payloads(outcome, "GUILD_CREATE")[0]["voice_states"].as_array().unwrap().len()
}

#[test]
fn whoever_is_in_voice_stays_where_it_is_and_is_told_nothing() {
    let mut world = World::attached();
    world.join(ANN, LOBBY);
    world.update(BOB, session(BOB), Some(ROOM), VoiceFlags { self_mute: true, ..VoiceFlags::default() });
    world.live(ANN);
    world.live(BOB);
    let bob = world.core.voice[&BOB].state.clone();
    // By then there is a better server, for which nobody is torn away.
    world.add_server(ServerRecord { capacity: 1_000, ..server("b") });

    world.succeed();
    let first = world.attach_again(ANN);
    expect(
        &first,
        &[
            "GUILD_CREATE to session 2",
            "PRESENCE_UPDATE",
            "entered 2",
            "STATE 2 in 202",
            "order a: put 2 in 202 may shv",
        ],
    );
    assert_eq!(voice_states(&first), 1);
    assert_eq!(voice_states(&world.attach_again(CARL)), 1);
    let second = world.attach_again(BOB);
    assert_eq!(voice_states(&second), 2);
    assert!(!trace(&second).iter().any(|line| line.starts_with("SERVER")));
    assert_eq!(world.core.voice[&BOB].state, bob, "since when, how muted, with which session");

    // The voice server says again who is there.
    world.live(ANN);
    world.live(BOB);
    assert_eq!(world.pass_ms(SETTLE_MS), ["order a: push [2, 3]"]);
    assert_eq!(world.pass_ms(10 * ABSENCE_MS), [""; 0]);

    // An owner's successor may have one itself.
    let seats = world.seats.clone();
    world.succeed();
    let third = world.attach_again(BOB);
    assert!(!trace(&third).iter().any(|line| line.starts_with("SERVER") || line.starts_with("placed")));
    assert_eq!(world.seats, seats);
}

#[test]
fn whoever_left_meanwhile_is_gone_when_all_had_time_to_speak() {
    let mut world = World::attached();
    world.join(ANN, LOBBY);
    world.join(BOB, LOBBY);
    world.succeed();
    world.attach_again(ANN);
    world.live(ANN);
    assert_eq!(world.obeyed[&ServerId("a".to_owned())].len(), 2);
    assert_eq!(world.pass_ms(SETTLE_MS), ["order a: push [2]"]);
}

#[test]
fn where_the_voice_server_died_as_well_everybody_gets_another() {
    let mut world = World::attached();
    world.join(ANN, LOBBY);
    world.join(BOB, LOBBY);
    world.servers.clear();
    world.obeyed.clear();
    world.succeed();
    let told = trace(&world.attach_again(ANN));
    assert!(told.contains(&"SERVER null to session 2".to_owned()), "{told:?}");
    world.attach_again(BOB);
    let found = world.add_server(server("b"));
    expect(
        &found,
        &["placed b", "order b: push [2, 3]", "SERVER b:443 to session 2", "SERVER b:443 to session 3"],
    );
    world.check_invariants();
}

#[test]
fn a_seat_in_a_channel_that_is_no_more_is_void() {
    let mut world = World::attached();
    world.join(ANN, LOBBY);
    world.obeyed.clear();
    world.core.guild.channels.retain(|channel| channel.id != LOBBY);
    world.succeed();
    assert_eq!(voice_states(&world.attach_again(ANN)), 0);
    world.check_invariants();
}

#[test]
fn a_seat_does_not_displace_who_joined_since() {
    let mut world = World::attached();
    world.join(ANN, LOBBY);
    world.succeed();
    let other = SessionId(99);
    world.attach(ANN, other, ALL_INTENTS);
    world.update(ANN, other, Some(ROOM), VoiceFlags::default());
    world.attach_again(ANN);
    assert_eq!(world.core.voice[&ANN].state.session, other);
    assert_eq!(world.core.voice[&ANN].state.channel, ROOM);
}

#[test]
fn a_gateway_that_is_gone_takes_along_only_the_sessions_that_no_other_has_attached() {
    let mut world = World::attached();
    world.join(ANN, LOBBY);
    world.join(BOB, LOBBY);
    let other = GatewayId(2);
    let found = world.call(Call::FindSession { guild: GUILD, user: ANN, session: session(ANN) });
    let Ok(Reply::Terms(terms)) = found.reply else { panic!("{:?}", found.reply) };
    assert_eq!(terms, Terms { intents: ALL_INTENTS, shard: (0, 1), status: model::PresenceStatus::Online });
    let not_hers = world.call(Call::FindSession { guild: GUILD, user: ANN, session: session(BOB) });
    assert_eq!(not_hers.reply.unwrap_err().status, 404);

    world.attach_from(other, ANN, session(ANN), terms.intents, None);
    let gateway = GATEWAY;
    let late = world.call(Call::Detach { guild: GUILD, user: ANN, session: session(ANN), gateway });
    expect(&late, &[]);
    let gone = world.input(|core, moment| core.handle_gateway_gone(moment, GATEWAY));
    assert!(trace(&gone).contains(&"order a: remove 3/3".to_owned()));
    assert_eq!(world.core.voice.keys().collect::<Vec<_>>(), [&ANN]);
    assert_eq!(world.core.sessions.keys().collect::<Vec<_>>(), [&session(ANN)]);
    world.check_invariants();
}
