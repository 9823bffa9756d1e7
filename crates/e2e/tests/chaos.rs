//! A cluster whose nodes are hosts of their own, while the network between them, or two parts at once, fail. Whatever happens, those who are in a
//! call go on hearing each other, others can join again within seconds, and who is in voice is what it should be.
//!
//! `CHAOS_ETCD_GONE_S`, `CHAOS_DATABASE_GONE_S`, `CHAOS_FLOODS` and `CHAOS_PARTICIPANTS` make it longer and larger, as `cargo x chaos` does.
#![allow(clippy::unwrap_used)]

#[path = "chaos/conditions.rs"]
mod conditions;

use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use e2e::call::{begin_raid, relays};
use e2e::hosts::Way;
use e2e::people::{
    Company, Guest, JOINS_WITHIN, MOVED_MS, Missed, Pair, UNDISTURBED_MS, joins, until_on_one, until_servers,
};
use e2e::wire::{self, Heard, WITHIN, Wire};
use e2e::{Cluster, MEDIA_PORT, Role, Running, Server, measured, signal_pid};
use serde_json::{Value, json};

const ACCOUNTS: usize = 8;
/// Accounts: who asks who is in voice; who is there and muted; two of whom one is there at a time; who comes and goes.
const WATCHER: usize = 3;
const MUTED: usize = 4;
const ONE: usize = 5;
const OTHER: usize = 6;
const GUEST: usize = 7;
/// Longer than the lease of a guilds node, which is three seconds.
const CUT: Duration = Duration::from_secs(5);
/// After so long an etcd that has died is started again.
const SUPERVISED: Duration = Duration::from_millis(1_500);
const VOICE: [&str; 3] = ["v1", "v2", "v3"];

fn from_environment(name: &str, otherwise: u64) -> u64 {
    std::env::var(name)
        .map_or(otherwise, |text| text.parse().unwrap_or_else(|_| panic!("{name} is no number")))
}

/// Two guilds nodes, three voice servers in two regions and two gateways; one more gateway is the operator's alone. Two are in a call, and
/// others come and go.
struct Scene {
    guest: Guest,
    company: Company,
    pair: Pair,
    server: Server,
    /// Where all sessions are.
    gateway: &'static str,
    /// Goes after everything that lives in it.
    cluster: Cluster,
}

impl Scene {
    fn start() -> Self {
        Self::start_after(|_| {})
    }

    /// `prepare` is for before anybody is in voice.
    fn start_after(prepare: impl FnOnce(&Server)) -> Self {
        Self::start_in(Cluster::on_hosts(), prepare)
    }

    fn start_in(mut cluster: Cluster, prepare: impl FnOnce(&Server)) -> Self {
        let [here, there] = [["--region", "here"], ["--region", "there"]];
        cluster.add_all(&[
            (Role::Guilds, "g1", &[]),
            (Role::Guilds, "g2", &[]),
            (Role::Voice, "v1", &here),
            (Role::Voice, "v2", &here),
            (Role::Voice, "v3", &there),
        ]);
        let server = cluster.serve(ACCOUNTS);
        cluster.add(Role::Gateway, "w1", &[]);
        cluster.leave_out("w0");
        prepare(&server);
        let pair = Pair::start(&server);
        let mut company = Company::beside(server.user(GUEST));
        company.join(&server, MUTED, &server.voice_channel(0));
        company.mute(&server, MUTED);
        company.join(&server, ONE, &server.voice_channel(1));
        // Only now, so that everybody's session is at the first.
        cluster.add(Role::Gateway, "w2", &[]);
        let guest = Guest::start(&server, GUEST);
        Self { guest, company, pair, server, gateway: "w1", cluster }
    }

    fn owner(&self) -> String {
        self.cluster.owner_of(self.server.guild()).expect("somebody owns the guild")
    }

    /// One leaves and another comes, and those who are there by turns next time.
    fn change_company(&mut self) {
        let (goes, comes) = if self.company.has(ONE) { (ONE, OTHER) } else { (OTHER, ONE) };
        self.company.leave(goes);
        self.company.join(&self.server, comes, &self.server.voice_channel(1));
    }

    /// Somebody else can join again, since when it should be possible.
    fn joins_again(&self, what: &str, since: Instant) {
        joins(&self.server);
        let took = since.elapsed();
        measured(
            format!("{what}: somebody else was in after {:.1} s", took.as_secs_f64()),
            format!("{JOINS_WITHIN:?}"),
        );
        assert!(took <= JOINS_WITHIN, "{what}: {took:?}\n{}", self.cluster.story());
    }

    fn until_etcd_says(&self, what: &str, wanted: impl Fn(&Cluster) -> bool) {
        let began = Instant::now();
        while !wanted(&self.cluster) {
            assert!(began.elapsed() < WITHIN, "waited until {what}\n{}", self.cluster.story());
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn assert_states(&self, what: &str) {
        self.company.assert_is_all(&self.server, WATCHER, what);
    }

    /// Nobody had to connect anew more often than so, and the pair missed no more than so many milliseconds of each other.
    fn end(self, moves: u64, missed_ms: f64) -> Missed {
        let Self { guest, company, pair, server, cluster, .. } = self;
        let joined = guest.end();
        let longest = joined.iter().max().expect("it joined");
        println!("a guest joined {} times, at the longest within {longest:?}", joined.len());
        let staying = company.headcount() as u64;
        let reconnects = company.end();
        assert!(
            reconnects <= staying * moves,
            "the company connected anew {reconnects} times\n{}",
            cluster.story()
        );
        let missed = pair.end();
        missed.assert_at_most(missed_ms, || cluster.story());
        assert_eq!(missed.reconnects, moves, "{}", cluster.story());
        // Nobody is left whom it would have to send away.
        server.process.signal("KILL");
        missed
    }
}

#[test]
fn an_owner_that_was_cut_off_for_longer_than_its_lease_does_no_harm_when_it_is_healed() {
    let mut scene = Scene::start();
    let others: [(&str, &[&str]); 3] = [("everything", &[]), ("etcd", &["etcd"]), ("voice servers", &VOICE)];
    for (from, others) in others {
        let owner = scene.owner();
        let what = format!("{owner} was cut off from {from}");
        let lan = scene.cluster.lan();
        let cut = Instant::now();
        match others {
            [] => lan.cut_off(&owner),
            others => lan.cut(&owner, others, Way::Both),
        }
        // Without a way to voice servers an owner is still the owner.
        let is_replaced = from != "voice servers";
        if is_replaced {
            scene.until_etcd_says(&format!("another owns what {owner} did"), |etcd| {
                etcd.owner_of(scene.server.guild()).is_some_and(|now| now != owner)
            });
            scene.joins_again(&what, cut);
            scene.change_company();
            scene.assert_states(&what);
        }
        std::thread::sleep(CUT.saturating_sub(cut.elapsed()));
        scene.cluster.lan().heal();
        let healed = Instant::now();
        let what = format!("{owner} is connected with {from} again");
        scene.joins_again(&what, healed);
        if is_replaced {
            scene.until_etcd_says("it is a member again", |etcd| etcd.is_member(&owner));
            let process = scene.cluster.process(Role::Guilds, &owner);
            assert!(
                process.lines.stderr_contains("this node's lease has ended"),
                "{}",
                process.lines.story()
            );
        }
        scene.change_company();
        scene.assert_states(&what);
    }
    scene.end(0, UNDISTURBED_MS);
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Owner,
    Gateway,
    Etcd,
}

impl Scene {
    /// Both die in one moment; etcd is started again soon, the others when all is well. Somebody else can join and who is in voice is known.
    fn kill(&mut self, parts: [Part; 2]) {
        let owner = self.owner();
        let gateway = self.gateway;
        let names = parts.map(|part| match part {
            Part::Owner => owner.as_str(),
            Part::Gateway => gateway,
            Part::Etcd => "etcd",
        });
        let what = format!("{} were killed", names.join(" and "));
        for part in parts {
            match part {
                Part::Owner => self.cluster.kill(Role::Guilds, &owner),
                Part::Gateway => self.cluster.kill(Role::Gateway, gateway),
                Part::Etcd => self.cluster.etcd.kill(),
            }
        }
        let mut back = Instant::now();
        if parts.contains(&Part::Etcd) {
            std::thread::sleep(SUPERVISED);
            self.cluster.etcd.start_again();
            back = Instant::now();
        }
        self.joins_again(&what, back);
        self.change_company();
        self.assert_states(&what);
        if parts.contains(&Part::Owner) {
            self.cluster.start_again(Role::Guilds, &owner);
        }
        if parts.contains(&Part::Gateway) {
            self.cluster.start_again(Role::Gateway, gateway);
            self.gateway = if gateway == "w1" { "w2" } else { "w1" };
        }
        self.assert_states(&format!("{what}, and are back"));
    }
}

#[test]
fn etcd_and_another_part_that_are_killed_in_one_moment_disturb_no_call() {
    let mut scene = Scene::start();
    scene.kill([Part::Owner, Part::Etcd]);
    scene.kill([Part::Gateway, Part::Etcd]);
    scene.end(0, UNDISTURBED_MS);
}

/// The sessions of that gateway begin anew, because nobody is left who knows them: their calls are interrupted.
#[test]
fn an_owner_and_a_gateway_that_are_killed_in_one_moment_are_replaced() {
    let mut scene = Scene::start();
    scene.kill([Part::Owner, Part::Gateway]);
    scene.end(0, UNDISTURBED_MS);
}

/// Of a guild that no guilds node owns.
struct Unowned {
    guild: String,
    token: String,
}

impl Unowned {
    fn make(scene: &mut Scene) -> Self {
        let json = |text: String| serde_json::from_str::<Value>(&text).unwrap();
        let text = |value: &Value, key: &str| value[key].as_str().unwrap().to_owned();
        let user = json(scene.server.ctl(&["user", "create", "solitary"]));
        let guild = json(scene.server.ctl(&["guild", "create", "Quiet", "--owner", &text(&user, "id")]));
        let (guild, token) = (text(&guild, "id"), text(&user, "token"));
        // None of its members is here, so that nobody asks for it when its owner is gone.
        if let Some(owner) = scene.cluster.owner_of(&guild) {
            scene.cluster.stop(Role::Guilds, &owner);
            scene.cluster.start_again(Role::Guilds, &owner);
        }
        assert_eq!(scene.cluster.owner_of(&guild), None);
        Self { guild, token }
    }

    fn ask(&self, server: &Server) -> wire::Response {
        let request = format!("GET /api/v10/guilds/{}", self.guild);
        wire::http(server, Ipv4Addr::LOCALHOST, Some(&self.token), &request, None)
    }
}

#[test]
fn without_etcd_all_goes_on_but_what_needs_a_new_fact_and_that_by_itself_when_it_is_back() {
    let gone_for = Duration::from_secs(from_environment("CHAOS_ETCD_GONE_S", 12));
    let mut scene = Scene::start();
    let unowned = Unowned::make(&mut scene);
    joins(&scene.server);
    scene.cluster.etcd.kill();
    let gone = Instant::now();
    // Who comes for a guild without an owner is told that the guild is not to be had at the moment.
    let mut waiting =
        Wire::open(&format!("{}/?v=10&encoding=json", scene.server.gateway()), Ipv4Addr::LOCALHOST, None);
    waiting.op(10);
    waiting.send(&e2e::raw::identify(&unowned.token));
    let ready = waiting.dispatch("READY");
    assert_eq!(ready["guilds"], json!([{"id": unowned.guild, "unavailable": true}]), "{ready}");
    let refused = unowned.ask(&scene.server);
    assert_eq!(refused.status, 503, "{refused:?}");
    assert!(refused.body["message"].as_str().unwrap().contains("the registry is away"), "{refused:?}");
    let mut joined = Vec::new();
    while gone.elapsed() < gone_for {
        let began = Instant::now();
        joined.push(joins(&scene.server));
        scene.change_company();
        waiting.send(&json!({"op": 1, "d": null}));
        while let Some(heard) = waiting.next(Duration::from_secs(4).saturating_sub(began.elapsed())) {
            assert!(matches!(&heard, Heard::Text(told) if told["op"] == 11), "{heard:?}");
        }
    }
    scene.assert_states("without etcd");
    let longest = joined.iter().max().unwrap();
    measured(
        format!(
            "without etcd for {gone_for:?}: somebody else was in after {:.1} s each time",
            longest.as_secs_f64()
        ),
        "12 s",
    );
    scene.cluster.etcd.start_again();
    let back = Instant::now();
    waiting.dispatch("GUILD_CREATE");
    measured(
        format!("etcd is back: who waited had its guild after {:.1} s", back.elapsed().as_secs_f64()),
        "20 s",
    );
    let found = unowned.ask(&scene.server);
    assert_eq!(found.status, 200, "{found:?}");
    scene.joins_again("etcd is back", back);
    scene.change_company();
    scene.assert_states("etcd is back");
    scene.end(0, UNDISTURBED_MS);
}

/// A process of `flood.py` on a host, which ends with it.
fn flood(cluster: &mut Cluster, host: &str, what: &str, target: &str, number: u32, file: &Path) -> Running {
    let mut command = Command::new("python3");
    command.arg(e2e::root().join("e2e/net/flood.py")).arg(what);
    let address = cluster.lan().address(target).to_string();
    command.args([address, MEDIA_PORT.to_string(), number.to_string()]).arg(file);
    Running::start(what, cluster.lan().host(host).run(command))
}

/// First with packets that were part of the call, then, where there is time for both, with bytes of no meaning.
#[test]
fn a_flooded_voice_server_is_left_and_used_again_when_the_flood_is_over() {
    /// What the server gets otherwise are some 60.
    const PACKETS_PER_S: u32 = 10_000;
    let floods = ["replay", "random"];
    let floods = &floods[..from_environment("CHAOS_FLOODS", 1) as usize];
    let mut scene = Scene::start_after(|server| drop(server.ctl(&["region", server.guild(), "here"])));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("packets");
    let has = |servers: &[Value], name: &str, wanted: &dyn Fn(&Value) -> bool| {
        servers.iter().any(|one| one["id"] == name && wanted(one))
    };
    let everybody = |one: &Value| one["participants"].as_u64() >= Some(4);
    let used = until_on_one(&scene.server, 4);
    let other = if used == "v1" { "v2" } else { "v1" };
    let mut tap = flood(&mut scene.cluster, &used, "capture", &used, 100, &file);
    tap.lines.event("captured", WITHIN);
    for what in floods {
        let began = Instant::now();
        let mut attack = flood(&mut scene.cluster, "attacker", what, &used, PACKETS_PER_S, &file);
        attack.lines.event("flooding", WITHIN);
        until_servers(&scene.server, "everybody to be elsewhere", |servers| {
            has(servers, &used, &|one| one["health"] == "flooded") && has(servers, other, &everybody)
        });
        measured(format!("{what}: everybody was elsewhere after {:.1?}", began.elapsed()), "40 s");
        scene.joins_again(&format!("{what}: elsewhere"), Instant::now());
        drop(attack);
        until_servers(&scene.server, "the flood to be over", |servers| {
            has(servers, &used, &|one| one["health"] == "ok")
        });
        // It takes calls as any other.
        scene.server.ctl(&["drain", other]);
        until_servers(&scene.server, "everybody to be back", |servers| has(servers, &used, &everybody));
        scene.server.ctl(&["restore", other]);
        scene.joins_again(&format!("{what}: back again"), Instant::now());
    }
    scene.assert_states("after floods");
    let moves = 2 * floods.len() as u64;
    let missed = scene.end(moves, moves as f64 * MOVED_MS);
    measured(format!("of the packets to the call {:.2} % were lost", missed.lost * 100.0), "1 %");
    assert!(missed.lost <= 0.01, "{missed:?}");
}

#[test]
fn packets_lost_between_hosts_move_nobody() {
    const LOSS: f64 = 0.05;
    const LOSSY: Duration = Duration::from_secs(6);
    let mut scene = Scene::start();
    let owner = scene.owner();
    scene.cluster.lan().lose(LOSS);
    let began = Instant::now();
    while began.elapsed() < LOSSY {
        scene.joins_again("5 % are lost on every link", Instant::now());
        scene.change_company();
    }
    scene.assert_states("while packets are lost");
    let lossy = began.elapsed();
    assert!(scene.cluster.lan().lost() > 0);
    scene.cluster.lan().lose(0.0);
    assert_eq!(scene.owner(), owner);
    let story = scene.cluster.story();
    for trouble in ["is interrupted", "is lost", "lease has ended"] {
        assert!(!story.contains(trouble), "{trouble}\n{story}");
    }
    // Up and down the voice server's link.
    let missed = scene.end(0, 0.15 * lossy.as_secs_f64() * 1_000.0 + UNDISTURBED_MS);
    println!("of the packets to the call {:.1} % were lost", missed.lost * 100.0);
}

/// Nobody of them has to join anew: what is killed is on nobody's way.
#[test]
fn a_crowd_hears_on_while_owners_gateway_and_etcd_die() {
    const GAP_MS_MAX: f64 = 400.0;
    let participants = from_environment("CHAOS_PARTICIPANTS", 24);
    let mut scene = Scene::start();
    let key = std::fs::read_to_string(scene.server.data().join("operator.key")).unwrap();
    let (participants, seconds) = (participants.to_string(), (13 + participants / 10).to_string());
    let at = ["--server", scene.server.http(), "--token", key.trim(), "--transport", "mixed"];
    let crowd = ["--participants", &participants, "--speakers", "3", "--seconds", &seconds];
    let mut load = begin_raid(&scene.server, &[at, crowd].concat());
    for name in ["g1", "g2"] {
        scene.cluster.kill(Role::Guilds, name);
        scene.joins_again(&format!("{name} was killed beside {participants}"), Instant::now());
        scene.cluster.start_again(Role::Guilds, name);
    }
    scene.cluster.kill(Role::Gateway, scene.gateway);
    scene.cluster.etcd.kill();
    scene.joins_again(&format!("gateway and etcd were killed beside {participants}"), Instant::now());
    scene.cluster.etcd.start_again();
    let is_report = |line: &Value| line.get("expected").is_some();
    assert!(!load.lines.all().iter().any(is_report), "the crowd has left before all was done");
    let report = load.lines.until("the report", 6 * WITHIN, is_report);
    println!("{report}");
    let number = |name: &str| report[name].as_f64().unwrap();
    let gap_ms = report["gap_ms"]["p99"].as_f64().unwrap();
    let lost = number("lost") / number("expected");
    measured(format!("of the packets to {participants} {:.3} % were lost", lost * 100.0), "0.1 %");
    measured(format!("the longest gap of 99 in 100 of them was {gap_ms:.0} ms"), format!("{GAP_MS_MAX} ms"));
    for name in ["duplicates", "unopened", "connections_lost"] {
        assert_eq!(report[name], 0, "{name}: {report}");
    }
    assert!(lost <= 0.001 && gap_ms <= GAP_MS_MAX, "{report}");
    scene.assert_states("after the crowd");
    scene.end(0, UNDISTURBED_MS);
}

/// The process of a voice server and its relays end in one moment, under everybody who talks there.
#[test]
fn a_crowd_whose_voice_server_dies_talks_on_at_another() {
    const SILENT_MS_MAX: f64 = 8_000.0;
    let participants = from_environment("CHAOS_PARTICIPANTS", 20);
    let mut cluster = Cluster::on_hosts();
    cluster.add_all(&[(Role::Guilds, "g1", &[]), (Role::Voice, "v1", &[]), (Role::Voice, "v2", &[])]);
    let server = cluster.serve(1);
    let key = std::fs::read_to_string(server.data().join("operator.key")).unwrap();
    let (count, seconds) = (participants.to_string(), (6 + participants / 10).to_string());
    let at = ["--server", server.http(), "--token", key.trim(), "--transport", "mixed"];
    let crowd = ["--participants", &count, "--speakers", "3", "--seconds", &seconds];
    let mut load = begin_raid(&server, &[at, crowd].concat());
    let used = until_on_one(&server, participants);
    let relays = relays(cluster.process(Role::Voice, &used).pid());
    assert!(!relays.is_empty());
    cluster.kill(Role::Voice, &used);
    relays.into_iter().for_each(|relay| signal_pid(relay, "KILL"));
    let report = load.lines.until("the report", 6 * WITHIN, |line| line.get("expected").is_some());
    println!("{report}");
    let number = |value: &Value| value.as_f64().unwrap();
    let (median, longest) = (number(&report["gap_ms"]["p50"]), number(&report["longest_gap_ms"]));
    measured(
        format!(
            "of {participants} half heard nothing for at most {median:.0} ms, all for at most {longest:.0} ms"
        ),
        format!("{SILENT_MS_MAX} ms"),
    );
    assert!(longest <= SILENT_MS_MAX, "{report}\n{}", cluster.story());
    for (name, expected) in
        [("duplicates", 0), ("unopened", 0), ("connections_lost", 0), ("rejoins", participants)]
    {
        assert_eq!(report[name], expected, "{name}: {report}\n{}", load.lines.story());
    }
    server.process.signal("KILL");
}
