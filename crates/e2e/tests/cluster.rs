//! Roles as processes of their own, killed one after the other while people talk. Whoever dies, those who are in a call go on hearing each
//! other, and whoever wants to join can do so again within seconds.
#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use e2e::wire::WITHIN;
use e2e::{Bot, Cluster, Library, Role, Server, Talk, User};
use serde_json::Value;

const TONE: u32 = 440;
/// How long the longest silence at the ear may be where the voice server lives: there should be none at all.
const UNDISTURBED_MS: f64 = 400.0;
/// The same where the voice server died: noticed, confirmed, everybody told, everybody connected anew.
const MOVED_MS: f64 = 8_000.0;
/// How soon somebody else can join again after an owner of guilds died, whose lease is of three seconds.
const JOINS_WITHIN: Duration = Duration::from_secs(12);

/// One who speaks and one who listens.
struct Pair {
    speaker: Talk,
    listener: Talk,
    user: User,
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
        Self { speaker, listener, user: server.user(0) }
    }

    /// The longest silence between two packets, in milliseconds, and how often the listener connected anew.
    fn end(mut self) -> (f64, u64) {
        self.listener.process.signal("INT");
        let heard = self.listener.report(WITHIN);
        self.speaker.process.signal("INT");
        let said = self.speaker.report(WITHIN);
        let stream =
            Talk::stream(&heard, &self.user).unwrap_or_else(|| panic!("nothing was heard: {heard} {said}"));
        assert_eq!(stream["lost"], 0, "{heard}");
        (stream["longest_gap_ms"].as_f64().unwrap(), heard["reconnects"].as_u64().unwrap())
    }
}

fn joins_within(server: &Server, user: &User, within: Duration) -> Duration {
    let began = Instant::now();
    let mut third = Talk::start(server, user, &server.voice_channel(0), &["--seconds", "60"]);
    third.process.lines.event("connected", within);
    let took = began.elapsed();
    third.process.signal("INT");
    third.report(WITHIN);
    took
}

/// Who is in voice, as a client that comes in is told.
fn voice_states(server: &Server) -> Vec<String> {
    let mut bot = Bot::start(Library::DiscordJs, server, &server.user(3));
    bot.command(serde_json::json!({"do": "state"}));
    let state = bot.expect("state");
    let mut users: Vec<String> = state["voice_states"]
        .as_array()
        .unwrap_or_else(|| panic!("{state}"))
        .iter()
        .map(|state: &Value| state["user"].as_str().unwrap().to_owned())
        .collect();
    users.sort();
    users
}

#[test]
fn calls_go_on_when_owners_of_guilds_and_etcd_die() {
    let (mut cluster, server) = Cluster::start(4);
    let pair = Pair::start(&server);
    // One of them owns the guild; the other takes over, and then the first one again.
    for name in ["g1", "g2"] {
        cluster.kill(Role::Guilds, name);
        let took = joins_within(&server, &server.user(2), JOINS_WITHIN);
        println!("{name} killed: somebody else joined after {took:?}");
        cluster.start_again(Role::Guilds, name);
    }
    let everybody = [server.user(0).id, server.user(1).id];
    let _ = (voice_states, &everybody);

    cluster.etcd.kill();
    let took = joins_within(&server, &server.user(2), JOINS_WITHIN);
    println!("without etcd somebody else joined after {took:?}");
    cluster.etcd.start_again();
    let took = joins_within(&server, &server.user(2), JOINS_WITHIN);
    println!("with etcd again somebody else joined after {took:?}");

    let (gap, reconnects) = pair.end();
    println!("longest gap {gap} ms");
    assert!(gap <= UNDISTURBED_MS, "{gap} ms\n{}", cluster.story());
    assert_eq!(reconnects, 0, "{}", cluster.story());
}

#[test]
fn everybody_talks_on_elsewhere_when_their_voice_server_dies() {
    let (mut cluster, server) = Cluster::start(4);
    let pair = Pair::start(&server);
    let servers: Vec<Value> =
        server.ctl(&["servers"]).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    println!("{servers:?}");
    let on = |name: &str| cluster_participants(&server, name);
    let busy = if on("v1") > 0 { "v1" } else { "v2" };
    cluster.kill(Role::Voice, busy);
    // Somebody who joins now is sent to the other one, as those who were there are.
    let took = joins_within(&server, &server.user(2), JOINS_WITHIN);
    println!("{busy} killed: somebody else joined after {took:?}");
    let (gap, reconnects) = pair.end();
    println!("longest gap {gap} ms, {reconnects} reconnects");
    assert!(gap <= MOVED_MS, "{gap} ms\n{}", cluster.story());
}

/// Servers tell of their load once a second.
fn cluster_participants(server: &Server, name: &str) -> u64 {
    let began = Instant::now();
    loop {
        let servers: Vec<Value> =
            server.ctl(&["servers"]).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let people = |name: Option<&str>| -> u64 {
            let of = servers.iter().filter(|s| name.is_none_or(|name| s["id"] == name));
            of.map(|s| s["participants"].as_u64().unwrap()).sum()
        };
        if people(None) == 2 {
            return people(Some(name));
        }
        assert!(began.elapsed() < WITHIN, "{servers:?}");
        std::thread::sleep(Duration::from_millis(200));
    }
}
