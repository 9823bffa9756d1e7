//! Roles as processes of their own, killed one after the other while people talk. Whoever dies, those who are in a call go on hearing each
//! other, and whoever wants to join can do so again within seconds.
#![allow(clippy::unwrap_used)]

use std::cell::Cell;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use e2e::call::relays;
use e2e::wire::{WITHIN, Wire};
use e2e::{Bot, Browser, Cluster, Engine, Library, Role, Server, Talk, User, signal_pid};
use serde_json::{Value, json};

const TONE: u32 = 440;
const CHROMIUMS: u32 = 620;
/// How much may be missing at the ear where nobody has to move: nothing at all, but for the ends of what is measured and a busy machine.
const UNDISTURBED_MS: f64 = 400.0;
/// The same where clients of ours move from one living voice server to another.
const MOVED_MS: f64 = 1_000.0;
/// The same where the voice server died with its relay: noticed, confirmed, everybody told, everybody connected anew.
const DIED_MS: f64 = 8_000.0;
/// How soon somebody else can join again after an owner of guilds died, whose lease is of three seconds.
const JOINS_WITHIN: Duration = Duration::from_secs(12);
const HERE: Ipv4Addr = Ipv4Addr::LOCALHOST;

/// One who speaks and one who listens.
struct Pair {
    speaker: Talk,
    listener: Talk,
    user: User,
    began: Instant,
}

/// What the listener of a pair missed.
struct Missed {
    /// Of all that could have been heard, in milliseconds: what was not said while its speaker was on the way counts as well.
    ms: f64,
    /// How often the listener connected anew.
    reconnects: u64,
}

impl Pair {
    fn start(server: &Server) -> Self {
        let channel = server.voice_channel(0);
        let mut listener = Talk::start(server, &server.user(1), &channel, &["--seconds", "600"]);
        listener.connected();
        let tone = TONE.to_string();
        let mut speaker =
            Talk::start(server, &server.user(0), &channel, &["--tone", &tone, "--seconds", "600"]);
        speaker.connected();
        Self { speaker, listener, user: server.user(0), began: Instant::now() }
    }

    fn end(mut self) -> Missed {
        self.listener.process.signal("INT");
        let listened_ms = self.began.elapsed().as_secs_f64() * 1_000.0;
        let heard = self.listener.report(WITHIN);
        self.speaker.process.signal("INT");
        let said = self.speaker.report(WITHIN);
        let stream =
            Talk::stream(&heard, &self.user).unwrap_or_else(|| panic!("nothing was heard: {heard} {said}"));
        let ms = listened_ms - stream["received"].as_f64().unwrap() * 20.0;
        let reconnects = heard["reconnects"].as_u64().unwrap();
        println!("measured: of {listened_ms:.0} ms {ms:.0} ms were not heard, over {reconnects} reconnects");
        Missed { ms, reconnects }
    }
}

/// Somebody else joins and leaves; how long it took to get in.
fn joins(server: &Server) -> Duration {
    let began = Instant::now();
    let mut third = Talk::start(server, &server.user(2), &server.voice_channel(0), &["--seconds", "60"]);
    third.process.lines.event("connected", JOINS_WITHIN);
    let took = began.elapsed();
    third.process.signal("INT");
    third.report(WITHIN);
    took
}

/// Who is in voice and where, as a client that comes in is told.
fn voice_states(server: &Server) -> Vec<(String, String)> {
    let mut gateway = Wire::open(&format!("{}/?v=10&encoding=json", server.gateway()), HERE, None);
    gateway.op(10);
    gateway.send(&e2e::raw::identify(&server.user(3).token));
    gateway.dispatch("READY");
    let guild = gateway.dispatch("GUILD_CREATE");
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let states = guild["voice_states"].as_array().unwrap_or_else(|| panic!("{guild}"));
    let mut states: Vec<_> =
        states.iter().map(|state| (text(&state["user_id"]), text(&state["channel_id"]))).collect();
    states.sort();
    states
}

/// The two of the pair, in their channel.
fn expected_states(server: &Server) -> Vec<(String, String)> {
    let mut states = [0, 1].map(|n| (server.user(n).id, server.voice_channel(0)));
    states.sort();
    states.to_vec()
}

/// Until the voice servers say that they have as many participants as wanted. They tell of their load every few seconds.
fn until_on(server: &Server, what: &str, wanted: impl Fn(&dyn Fn(&str) -> u64) -> bool) {
    let began = Instant::now();
    loop {
        let servers: Vec<Value> =
            server.ctl(&["servers"]).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let people = |name: &str| {
            servers.iter().find(|s| s["id"] == name).map_or(0, |s| s["participants"].as_u64().unwrap())
        };
        if wanted(&people) {
            return;
        }
        assert!(began.elapsed() < 2 * WITHIN, "waited for {what}: {servers:?}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// The voice server with everybody on it, and the other one.
fn busy_and_other(server: &Server, people: u64) -> [&'static str; 2] {
    let busy = Cell::new("v1");
    until_on(server, "everybody to be on one server", |on| {
        let there = ["v1", "v2"].into_iter().find(|name| on(name) == people);
        there.inspect(|name| busy.set(name)).is_some()
    });
    if busy.get() == "v1" { ["v1", "v2"] } else { ["v2", "v1"] }
}

#[test]
fn calls_go_on_when_owners_of_guilds_and_etcd_die() {
    let (mut cluster, server) = Cluster::start(4);
    let pair = Pair::start(&server);
    // One of them owns the guild; the other takes over, and then the first one again.
    for name in ["g1", "g2"] {
        cluster.kill(Role::Guilds, name);
        println!("measured: {name} was killed: somebody else joined after {:?}", joins(&server));
        assert_eq!(voice_states(&server), expected_states(&server), "{name} was killed");
        cluster.start_again(Role::Guilds, name);
    }

    cluster.etcd.kill();
    println!("measured: etcd was killed: somebody else joined after {:?}", joins(&server));
    assert_eq!(voice_states(&server), expected_states(&server), "without etcd");
    cluster.etcd.start_again();
    println!("measured: etcd is back: somebody else joined after {:?}", joins(&server));

    let missed = pair.end();
    assert!(missed.ms <= UNDISTURBED_MS, "{}", cluster.story());
    assert_eq!(missed.reconnects, 0, "{}", cluster.story());
}

/// It does not know that its lease has ended and another owns its guilds.
#[test]
fn an_owner_that_was_stopped_does_no_harm_when_it_goes_on() {
    let (mut cluster, server) = Cluster::start(4);
    let pair = Pair::start(&server);
    for name in ["g1", "g2"] {
        cluster.process(Role::Guilds, name).signal("STOP");
        println!("measured: {name} was stopped: somebody else joined after {:?}", joins(&server));
        cluster.process(Role::Guilds, name).signal("CONT");
        println!("measured: {name} goes on: somebody else joined after {:?}", joins(&server));
        assert_eq!(voice_states(&server), expected_states(&server), "{name} was stopped");
    }
    let missed = pair.end();
    assert!(missed.ms <= UNDISTURBED_MS, "{}", cluster.story());
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
    assert!(missed.ms <= UNDISTURBED_MS, "{}", cluster.story());
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
        println!("measured: {:?}: {missing_ms} ms of {LISTEN_S} s were not heard", bot.library);
        assert!(missing_ms <= DIED_MS, "{:?}", bot.library);
        bot.hear(1.0).expect_tone(&server.user(0), TONE, "after its voice server died");
    }
    let missed = pair.end();
    assert!(missed.ms <= DIED_MS, "{}", cluster.story());
    // It comes back under its name, and takes calls again.
    cluster.start_again(Role::Voice, busy);
    joins(&server);
}

/// What the page does not hear of the pair's speaker while something is done by which everybody has to move.
fn page_misses(server: &Server, page: &mut Browser, when: &str, does: impl FnOnce()) -> f64 {
    const LISTEN_S: f64 = 10.0;
    page.listen(LISTEN_S);
    // It listens when it answers this.
    page.state();
    does();
    let gap = page.heard().longest_gap_ms(&server.user(0));
    println!("measured: {when}: {:?} heard nothing for {gap:.0} ms", page.engine);
    page.hears(&[TONE], &[CHROMIUMS], when);
    gap
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
    let gap = page_misses(&server, &mut page, "its gateway dies", || cluster.kill(Role::Gateway, "w1"));
    assert!(gap <= MOVED_MS, "{}", page.process.lines.story());
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
    let gap = page_misses(&server, &mut page, "to another region", || region("there"));
    assert!(gap <= MOVED_MS, "{}", page.process.lines.story());
    until_on(&server, "everybody to be there", |on| on("v3") == PEOPLE);
    let gap = page_misses(&server, &mut page, "and back", || region("here"));
    assert!(gap <= MOVED_MS, "{}", page.process.lines.story());

    let [busy, other] = busy_and_other(&server, PEOPLE);
    let gap = page_misses(&server, &mut page, "its voice server is drained", || {
        server.ctl(&["drain", busy]);
    });
    assert!(gap <= MOVED_MS, "{}", page.process.lines.story());
    until_on(&server, "everybody to be on the other server", |on| on(other) == PEOPLE);
    server.ctl(&["restore", busy]);

    // The whole machine: a relay alone would go on for a while.
    let relays = relays(cluster.process(Role::Voice, other).pid());
    let gap = page_misses(&server, &mut page, "its voice server dies", || {
        cluster.kill(Role::Voice, other);
        relays.into_iter().for_each(|relay| signal_pid(relay, "KILL"));
    });
    assert!(gap <= DIED_MS, "{}", page.process.lines.story());
    until_on(&server, "everybody to be on the one that lives", |on| on(busy) == PEOPLE);
    assert_eq!(page.state()["snapshot"]["voice"]["isSpeaking"], true, "it has to say so again");
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
    let [_, other] = busy_and_other(&server, 2);
    let region = if other == "v1" { "here" } else { "there" };
    let refused = server.try_ctl(&["region", server.guild(), "nowhere"]).unwrap_err();
    assert!(refused.contains("No voice server is in this region"), "{refused}");
    server.ctl(&["region", server.guild(), region]);
    until_on(&server, "everybody to be in the other region", |on| on(other) == 2);
    let missed = pair.end();
    assert!(missed.ms <= MOVED_MS, "{}", cluster.story());
    assert_eq!(missed.reconnects, 1, "{}", cluster.story());
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
        println!("measured: {name} was restarted: somebody else joined after {:?}", joins(&server));
        assert_eq!(voice_states(&server), expected_states(&server), "{name} was restarted");
    }
    let missed = pair.end();
    assert!(missed.ms <= MOVED_MS, "{}", cluster.story());
}
