//! Roles as processes of their own, killed one after the other while people talk. Whoever dies, those who are in a call go on hearing each
//! other, and whoever wants to join can do so again within seconds.
#![allow(clippy::unwrap_used)]

use std::net::Ipv4Addr;
use std::time::Instant;

use e2e::call::relays;
use e2e::people::{
    JOINS_WITHIN, MOVED_MS, Pair, States, TONE, UNDISTURBED_MS, Watch, joins, until_on, until_on_one,
};
use e2e::wire::{Wire, http};
use e2e::{Bot, Browser, Cluster, Engine, Library, Role, Server, Talk, measured, signal_pid};
use serde_json::{Value, json};

const HERE: Ipv4Addr = Ipv4Addr::LOCALHOST;
const CHROMIUMS: u32 = 620;
/// How much may be missing at the ear where the voice server died with its relay: noticed, confirmed, everybody told, everybody connected anew.
const DIED_MS: f64 = 8_000.0;

/// Somebody else joins and leaves, in time.
fn assert_joins(server: &Server, what: &str) {
    let took = joins(server);
    measured(format!("{what}: somebody else was in after {took:.1?}"), format!("{JOINS_WITHIN:?}"));
}

fn voice_states(server: &Server) -> States {
    Watch::states(server, &server.user(3))
}

/// The two of the pair, in their channel.
fn expected_states(server: &Server) -> States {
    [0, 1].map(|n| (server.user(n).id, (server.voice_channel(0), false))).into()
}

/// The voice server with everybody on it, and the other one.
fn busy_and_other(server: &Server, people: u64) -> [&'static str; 2] {
    if until_on_one(server, people) == "v1" { ["v1", "v2"] } else { ["v2", "v1"] }
}

#[test]
fn calls_go_on_when_owners_of_guilds_and_etcd_die() {
    let (mut cluster, server) = Cluster::start(4);
    let pair = Pair::start(&server);
    // One of them owns the guild; the other takes over, and then the first one again.
    for name in ["g1", "g2"] {
        cluster.kill(Role::Guilds, name);
        assert_joins(&server, &format!("{name} was killed"));
        assert_eq!(voice_states(&server), expected_states(&server), "{name} was killed");
        cluster.start_again(Role::Guilds, name);
    }

    cluster.etcd.kill();
    assert_joins(&server, "etcd was killed");
    assert_eq!(voice_states(&server), expected_states(&server), "without etcd");
    cluster.etcd.start_again();
    assert_joins(&server, "etcd is back");

    let missed = pair.end();
    missed.assert_at_most(UNDISTURBED_MS, || cluster.story());
    assert_eq!(missed.reconnects, 0, "{}", cluster.story());
}

/// It does not know that its lease has ended and another owns its guilds.
#[test]
fn an_owner_that_was_stopped_does_no_harm_when_it_goes_on() {
    let (mut cluster, server) = Cluster::start(4);
    let pair = Pair::start(&server);
    for name in ["g1", "g2"] {
        cluster.process(Role::Guilds, name).signal("STOP");
        assert_joins(&server, &format!("{name} was stopped"));
        cluster.process(Role::Guilds, name).signal("CONT");
        assert_joins(&server, &format!("{name} goes on"));
        assert_eq!(voice_states(&server), expected_states(&server), "{name} was stopped");
    }
    let missed = pair.end();
    missed.assert_at_most(UNDISTURBED_MS, || cluster.story());
    assert_eq!(missed.reconnects, 0, "{}", cluster.story());
}

#[test]
fn a_session_goes_on_at_another_gateway_when_its_own_dies() {
    let (mut cluster, server) = Cluster::start(4);
    cluster.add(Role::Gateway, "w1", &[]);
    cluster.leave_out("w0");
    let pair = Pair::start(&server);
    let mut bot = Bot::start(Library::DiscordJs, &server, &server.user(3));
    bot.join(&server.voice_channel(0));
    cluster.let_in("w0", &server);
    cluster.kill(Role::Gateway, "w1");
    bot.expect("resumed");
    // It is told what happens from then on, and is where it was.
    joins(&server);
    let third = server.user(2);
    bot.sees("somebody to join", &third, |state| !state["channel"].is_null());
    bot.sees("somebody to leave", &third, |state| state["channel"].is_null());
    bot.hear(1.0).expect_tone(&server.user(0), TONE, "after its gateway died");
    bot.had_no_errors();
    let missed = pair.end();
    missed.assert_at_most(UNDISTURBED_MS, || cluster.story());
    assert_eq!(missed.reconnects, 0, "{}", cluster.story());
}

/// What a client that comes in is told of who is in voice, since when, and what is on.
fn whole_truth(server: &Server, stage: &str) -> [Value; 3] {
    let mut gateway = Wire::open(&format!("{}/?v=10&encoding=json", server.gateway()), HERE, None);
    gateway.op(10);
    gateway.send(&e2e::raw::identify(&server.user(3).token));
    gateway.dispatch("READY");
    let mut states = gateway.dispatch("GUILD_CREATE")["voice_states"].take();
    states.as_array_mut().unwrap().sort_by_key(|state| state["user_id"].as_str().unwrap().to_owned());
    let fields = ["status", "voice_start_time"];
    gateway.send(&json!({"op": 43, "d": {"guild_id": server.guild(), "fields": fields}}));
    let channels = gateway.dispatch("CHANNEL_INFO")["channels"].take();
    let asked = format!("GET /api/v10/stage-instances/{stage}");
    [states, channels, http(server, HERE, Some(&server.user(0).token), &asked, None).body]
}

#[test]
fn a_call_goes_on_when_the_owner_of_its_guild_and_its_gateway_die_in_one_moment() {
    let mut cluster = Cluster::new();
    cluster.add(Role::Guilds, "g1", &[]);
    for name in ["v1", "v2"] {
        cluster.add(Role::Voice, name, &["--region", "here"]);
    }
    let server = cluster.serve(4);
    cluster.add(Role::Gateway, "w1", &[]);
    cluster.leave_out("w0");
    let pair = Pair::start(&server);
    let ask = |request: &str, body: Value| {
        let request = request.replace("{room}", &server.voice_channel(0)).replace("{guild}", server.guild());
        let answer =
            http(&server, HERE, Some(&server.user(0).token), &request, Some(body.to_string().as_bytes()));
        assert!((200..300).contains(&answer.status), "{request}: {}", answer.text);
        answer.body
    };
    ask("PUT /api/v10/channels/{room}/voice-status", json!({"status": "tea"}));
    let stage = ask("POST /api/v10/guilds/{guild}/channels", json!({"name": "stage", "type": 13}));
    let stage = stage["id"].as_str().unwrap().to_owned();
    ask("POST /api/v10/stage-instances", json!({"channel_id": stage, "topic": "bees"}));
    let before = whole_truth(&server, &stage);
    assert_eq!(before[0].as_array().unwrap().len(), 2, "{before:?}");

    cluster.let_in("w0", &server);
    cluster.add(Role::Guilds, "g2", &[]);
    cluster.kill(Role::Guilds, "g1");
    cluster.kill(Role::Gateway, "w1");
    let began = Instant::now();
    let after = whole_truth(&server, &stage);
    measured(
        format!("g1 and w1 were killed: the voice states were told after {:.1?}", began.elapsed()),
        format!("{JOINS_WITHIN:?}"),
    );
    assert!(began.elapsed() < JOINS_WITHIN, "{}", cluster.story());
    assert_eq!(after, before, "{}", cluster.story());
    // Whoever comes now goes where they are, and hears them.
    let mut bot = Bot::start(Library::DiscordPy, &server, &server.user(2));
    bot.join(&server.voice_channel(0));
    bot.hear(1.0).expect_tone(&server.user(0), TONE, "after both died");
    assert_eq!(whole_truth(&server, &stage)[0].as_array().unwrap().len(), 3, "{}", cluster.story());
    let missed = pair.end();
    missed.assert_at_most(UNDISTURBED_MS, || cluster.story());
    assert_eq!(missed.reconnects, 0, "{}", cluster.story());
}

#[test]
fn everybody_talks_on_elsewhere_when_their_voice_server_dies() {
    const LISTEN_S: f64 = 12.0;
    let (mut cluster, server) = Cluster::start(5);
    let pair = Pair::start(&server);
    let channel = server.voice_channel(0);
    let mut bots: Vec<Bot> = Library::ALL
        .into_iter()
        .enumerate()
        .map(|(n, library)| Bot::start(library, &server, &server.user(2 + n)))
        .collect();
    for bot in &mut bots {
        bot.join(&channel);
        bot.hear(1.0).expect_tone(&server.user(0), TONE, "before");
    }
    let [busy, other] = busy_and_other(&server, 5);
    for bot in &mut bots {
        bot.listen(LISTEN_S);
        // Orders are carried out one after the other, so it listens when it answers this.
        bot.command(json!({"do": "state"}));
        bot.expect("state");
    }
    // The whole machine: a relay alone would go on for a while.
    let relays = relays(cluster.process(Role::Voice, busy).pid());
    cluster.kill(Role::Voice, busy);
    relays.into_iter().for_each(|relay| signal_pid(relay, "KILL"));
    until_on(&server, "everybody to be on the other server", |on| on(other) == 5);
    for bot in &mut bots {
        let missing_ms = LISTEN_S * 1_000.0 - bot.heard().packets_of(&server.user(0)) as f64 * 20.0;
        let what = format!("{:?}: {missing_ms} ms of {LISTEN_S} s were not heard", bot.library);
        measured(what, format!("{DIED_MS} ms"));
        assert!(missing_ms <= DIED_MS, "{:?}", bot.library);
        bot.hear(1.0).expect_tone(&server.user(0), TONE, "after its voice server died");
    }
    let missed = pair.end();
    missed.assert_at_most(DIED_MS, || cluster.story());
    // It comes back under its name, and takes calls again.
    cluster.start_again(Role::Voice, busy);
    joins(&server);
}

/// The page hears the pair's speaker again soon after something is done by which it has to move.
fn assert_page_misses(server: &Server, page: &mut Browser, when: &str, at_most_ms: f64, does: impl FnOnce()) {
    // Until it should be over, and a little of what comes after.
    page.listen(at_most_ms / 1_000.0 + 2.0);
    // It listens when it answers this.
    page.state();
    does();
    let gap = page.heard().longest_gap_ms(&server.user(0));
    measured(format!("{when}: {:?} heard nothing for {gap:.0} ms", page.engine), format!("{at_most_ms} ms"));
    assert!(gap <= at_most_ms, "{}", page.process.lines.story());
    page.hears(&[TONE], &[CHROMIUMS], when);
}

/// Its voice WebSocket goes by the gateway as well, and the next gateway has to let it through.
#[test]
fn a_page_goes_on_at_another_gateway_when_its_own_dies() {
    let (mut cluster, server) = Cluster::start(3);
    cluster.add(Role::Gateway, "w1", &[]);
    let pair = Pair::start(&server);
    cluster.leave_out("w0");
    let mut page = Browser::start_here(Engine::Chromium, &server, &server.user(2), CHROMIUMS);
    page.join(&server.voice_channel(0));
    page.hears(&[TONE], &[CHROMIUMS], "at the start");
    cluster.let_in("w0", &server);
    assert_page_misses(&server, &mut page, "its gateway dies", MOVED_MS, || {
        cluster.kill(Role::Gateway, "w1")
    });
    page.sees("status", "^Voice connected$");
    drop(pair);
}

/// By region, by drain, and by death.
#[test]
fn a_page_follows_its_call_from_one_voice_server_to_the_next() {
    const PEOPLE: u64 = 3;
    let (mut cluster, server) = Cluster::start(PEOPLE as usize);
    let pair = Pair::start(&server);
    let mut page = Browser::start_here(Engine::Chromium, &server, &server.user(2), CHROMIUMS);
    page.join(&server.voice_channel(0));
    page.hears(&[TONE], &[CHROMIUMS], "at the start");

    // Only now, so that the call is not there yet.
    cluster.add(Role::Voice, "v3", &["--region", "there"]);
    let region = |name: &str| drop(server.ctl(&["region", server.guild(), name]));
    assert_page_misses(&server, &mut page, "to another region", MOVED_MS, || region("there"));
    until_on(&server, "everybody to be there", |on| on("v3") == PEOPLE);
    assert_page_misses(&server, &mut page, "and back", MOVED_MS, || region("here"));

    let [busy, other] = busy_and_other(&server, PEOPLE);
    assert_page_misses(&server, &mut page, "its voice server is drained", MOVED_MS, || {
        server.ctl(&["drain", busy]);
    });
    until_on(&server, "everybody to be on the other server", |on| on(other) == PEOPLE);
    server.ctl(&["restore", busy]);

    // The whole machine: a relay alone would go on for a while.
    let relays = relays(cluster.process(Role::Voice, other).pid());
    assert_page_misses(&server, &mut page, "its voice server dies", DIED_MS, || {
        cluster.kill(Role::Voice, other);
        relays.into_iter().for_each(|relay| signal_pid(relay, "KILL"));
    });
    until_on(&server, "everybody to be on the one that lives", |on| on(busy) == PEOPLE);
    page.until_it_says_that_it_speaks();
    drop(pair);
}

#[test]
fn a_guild_whose_owner_names_another_region_moves_there() {
    let mut cluster = Cluster::new();
    cluster.add(Role::Guilds, "g1", &[]);
    cluster.add(Role::Voice, "v1", &["--region", "here"]);
    cluster.add(Role::Voice, "v2", &["--region", "there"]);
    let server = cluster.serve(4);
    let pair = Pair::start(&server);
    let [busy, other] = busy_and_other(&server, 2);
    let region = if other == "v1" { "here" } else { "there" };
    let refused = server.try_ctl(&["region", server.guild(), "nowhere"]).unwrap_err();
    assert!(refused.contains("No voice server is in this region"), "{refused}");
    server.ctl(&["region", server.guild(), region]);
    until_on(&server, "everybody to be in the other region", |on| on(other) == 2);
    // Their channel names the first one, and the guild's others stay where they are.
    let first = if other == "v1" { "there" } else { "here" };
    let channel = server.voice_channel(0);
    server.ctl(&["region", server.guild(), first, "--channel", &channel]);
    until_on(&server, "the channel to be in its own region", |on| on(busy) == 2 && on(other) == 0);
    let mut third = Talk::start(&server, &server.user(2), &server.voice_channel(1), &["--seconds", "60"]);
    third.connected();
    until_on(&server, "another channel to be in the guild's", |on| on(busy) == 2 && on(other) == 1);
    let missed = pair.end();
    missed.assert_at_most(2.0 * MOVED_MS, || cluster.story());
    assert_eq!(missed.reconnects, 2, "{}", cluster.story());
}

#[test]
fn every_role_is_restarted_one_by_one_and_no_call_ends() {
    let (mut cluster, server) = Cluster::start(4);
    cluster.add(Role::Gateway, "w1", &[]);
    cluster.leave_out("w0");
    let pair = Pair::start(&server);
    cluster.let_in("w0", &server);
    for (role, name) in [
        (Role::Guilds, "g1"),
        (Role::Guilds, "g2"),
        (Role::Gateway, "w1"),
        (Role::Voice, "v1"),
        (Role::Voice, "v2"),
    ] {
        cluster.stop(role, name);
        cluster.start_again(role, name);
        assert_joins(&server, &format!("{name} was restarted"));
        assert_eq!(voice_states(&server), expected_states(&server), "{name} was restarted");
    }
    let missed = pair.end();
    missed.assert_at_most(MOVED_MS, || cluster.story());
}
