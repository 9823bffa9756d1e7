//! A server whose parts are all well while what they stand on is not: a database that hangs or is far away, a full disk, a clock that jumps.

use std::net::Ipv4Addr;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use e2e::call::{relay_of, relays};
use e2e::disk::Disk;
use e2e::people::{JOINS_WITHIN, Pair, UNDISTURBED_MS};
use e2e::raw::Raw;
use e2e::wire::{self, Response, WITHIN};
use e2e::{Cluster, Role, Server, measured, signal_pid};
use serde_json::json;

use crate::{MUTED, ONE, Scene, from_environment};

/// The machine, wherever it is seen from.
const HERE: Ipv4Addr = Ipv4Addr::UNSPECIFIED;
/// How long a call to a guild may take while the database does not answer: it is waited for once to give a connection and once to answer.
const REFUSED_WITHIN: Duration = Duration::from_secs(18);
/// The same once it is known not to answer.
const REFUSED_AT_ONCE: Duration = Duration::from_secs(2);

/// A guild's next owner reads it from a database that is far away.
const FAR_WITHIN: Duration = Duration::from_secs(20);

fn text_channel(server: &Server) -> String {
    let channels = server.demo["channels"].as_array().unwrap();
    let text = channels.iter().find(|channel| channel["type"] == 0).expect("the demonstration has one");
    text["id"].as_str().unwrap().to_owned()
}

fn write(server: &Server) -> Response {
    let request = format!("POST /api/v10/channels/{}/messages", text_channel(server));
    let body = json!({"content": "a".repeat(1_000)}).to_string();
    wire::http(server, HERE, Some(&server.user(0).token), &request, Some(body.as_bytes()))
}

/// By the operator, whom the database need not know. What was said where it was refused, and how long that took.
fn try_mute(mut command: Command) -> Result<(), (String, Duration)> {
    let began = Instant::now();
    let out = command.output().expect("ctl starts");
    match out.status.success() {
        true => Ok(()),
        false => Err((String::from_utf8_lossy(&out.stderr).into_owned(), began.elapsed())),
    }
}

fn assert_refused_with_words(said: &str) {
    assert!(said.contains("The database cannot be used at the moment"), "{said}");
}

/// Who is here comes into voice and goes again.
fn comes_and_goes(here: &mut Raw, server: &Server) -> Duration {
    let began = Instant::now();
    drop(here.join(server, &server.voice_channel(1)));
    let took = began.elapsed();
    let user = here.user.clone();
    here.state(None, false);
    here.until_state(&user, "to have left", |state| state["channel_id"].is_null());
    took
}

#[test]
fn while_its_database_hangs_calls_go_on_and_who_is_here_comes_and_goes() {
    let hangs_for = Duration::from_secs(from_environment("CHAOS_DATABASE_GONE_S", 8));
    let mut scene = Scene::start();
    let mut here = Raw::connect(&scene.server, &scene.server.user(2), HERE);
    comes_and_goes(&mut here, &scene.server);
    scene.cluster.postgres.freeze();
    let hangs = Instant::now();
    let server = &scene.server;
    let mute = |account: usize| server.ctl_command(&["mute", server.guild(), &server.user(account).id]);
    // The guild's owner waits for this one's write.
    let command = mute(ONE);
    let first = thread::spawn(|| try_mute(command));
    let joined = comes_and_goes(&mut here, server);
    let (said, took) = first.join().unwrap().expect_err("nothing can be written");
    assert_refused_with_words(&said);
    measured(
        format!(
            "the first to write was refused after {:.1} s, and a join beside it took {:.1} s",
            took.as_secs_f64(),
            joined.as_secs_f64()
        ),
        format!("{REFUSED_WITHIN:?}"),
    );
    assert!(took.max(joined) <= REFUSED_WITHIN, "{took:?} {joined:?}\n{}", scene.cluster.story());
    let (mut joins, mut refusals) = (Vec::new(), Vec::new());
    while joins.is_empty() || hangs.elapsed() < hangs_for {
        joins.push(comes_and_goes(&mut here, server));
        let (said, took) = try_mute(mute(ONE)).expect_err("nothing can be written");
        assert_refused_with_words(&said);
        refusals.push(took);
    }
    let (join, refusal) = (joins.iter().max().unwrap(), refusals.iter().max().unwrap());
    measured(
        format!("from then on each of {} joins took at most {:.1} s", joins.len(), join.as_secs_f64()),
        format!("{REFUSED_AT_ONCE:?}"),
    );
    assert!(*join.max(refusal) <= REFUSED_AT_ONCE, "{join:?} {refusal:?}\n{}", scene.cluster.story());
    scene.cluster.postgres.go_on();
    let back = Instant::now();
    while let Err((said, _)) = try_mute(mute(MUTED)) {
        assert_refused_with_words(&said);
        assert!(back.elapsed() < WITHIN, "it is not written to\n{}", scene.cluster.story());
    }
    measured(format!("the first write after it went on took {:.1?}", back.elapsed()), format!("{WITHIN:?}"));
    scene.joins_again("the database goes on", back);
    scene.change_company();
    // Nobody is muted whose muting was refused.
    scene.assert_states("the database goes on");
    scene.end(0, UNDISTURBED_MS);
}

/// Who gives up while there is no owner begins again.
fn until_joins(server: &Server, since: Instant) {
    while e2e::people::try_join(server).is_none() {
        assert!(since.elapsed() <= FAR_WITHIN, "nobody joins");
    }
}

#[test]
fn a_database_far_away_makes_nobody_wait_long() {
    const ROUND_TRIP: Duration = Duration::from_millis(300);
    let mut scene = Scene::start_in(Cluster::on_hosts().with_distant_database(), |_| {});
    let mut here = Raw::connect(&scene.server, &scene.server.user(2), HERE);
    scene.cluster.set_distance(ROUND_TRIP);
    scene.joins_again("the database is 300 ms away", Instant::now());
    let joined = comes_and_goes(&mut here, &scene.server);
    measured(
        format!("who is here already was in voice after {:.1} s", joined.as_secs_f64()),
        format!("{REFUSED_AT_ONCE:?}"),
    );
    assert!(joined <= REFUSED_AT_ONCE, "{joined:?}");
    let began = Instant::now();
    assert_eq!(write(&scene.server).status, 200);
    measured(
        format!("a message was written after {:.1} s", began.elapsed().as_secs_f64()),
        format!("{JOINS_WITHIN:?}"),
    );
    scene.change_company();
    let owner = scene.owner();
    scene.cluster.kill(Role::Guilds, &owner);
    let killed = Instant::now();
    until_joins(&scene.server, killed);
    measured(
        format!(
            "the owner was killed too: somebody else was in after {:.1} s",
            killed.elapsed().as_secs_f64()
        ),
        format!("{FAR_WITHIN:?}"),
    );
    scene.change_company();
    scene.assert_states("far from the database");
    scene.cluster.set_distance(Duration::ZERO);
    scene.end(0, UNDISTURBED_MS);
}

/// The database, by SQLite itself.
fn is_sound(server: &Server) -> bool {
    const CHECK: &str = "import sqlite3, sys; print(sqlite3.connect(sys.argv[1]).execute('pragma integrity_check').fetchone()[0])";
    let mut command = Command::new("python3");
    command.args(["-c", CHECK]).arg(server.data().join("guildhall.db"));
    let out = command.output().expect("python3 is installed");
    String::from_utf8_lossy(&out.stdout).trim() == "ok"
}

#[test]
fn on_a_full_disk_calls_go_on_and_what_cannot_be_written_is_refused() {
    let disk = Disk::new(64);
    let server = Server::start_on(&disk, 4);
    let pair = Pair::start(&server);
    assert_eq!(write(&server).status, 200);
    let log = Server::log_on(&disk);
    disk.fill(&[&log]);
    // The last page of a file may have room for one.
    let refused = (0..20).map(|_| write(&server)).find(|response| response.status != 200);
    let refused = refused.expect("the disk is full");
    assert_eq!(refused.status, 503, "{refused:?}");
    assert_refused_with_words(&refused.text);
    e2e::people::joins(&server);
    // Whoever starts now finds the disk as full.
    let before = relays(server.process.pid());
    signal_pid(relay_of(server.process.pid()), "KILL");
    let died = Instant::now();
    while relays(server.process.pid()).len() != 1 || relays(server.process.pid()) == before {
        assert!(died.elapsed() < WITHIN, "there is no relay");
        thread::sleep(Duration::from_millis(50));
    }
    e2e::people::joins(&server);
    assert_eq!(write(&server).status, 503);
    let len = std::fs::metadata(&log).unwrap().len();
    disk.make_room();
    let room = Instant::now();
    let story = || std::fs::read_to_string(&log).unwrap_or_default();
    let written = write(&server);
    assert_eq!(written.status, 200, "{written:?}\n{}", story());
    measured(
        format!("the first write when there was room took {:.1?}", room.elapsed()),
        format!("{WITHIN:?}"),
    );
    while std::fs::metadata(&log).unwrap().len() == len {
        assert!(room.elapsed() < WITHIN, "the log goes on");
        thread::sleep(Duration::from_millis(50));
    }
    pair.end().assert_at_most(UNDISTURBED_MS, story);
    assert!(is_sound(&server));
    let server = server.start_again(&[]);
    let request = format!("GET /api/v10/channels/{}/messages", text_channel(&server));
    let found = wire::http(&server, HERE, Some(&server.user(0).token), &request, None);
    assert!(found.body.as_array().unwrap().len() >= 2, "{found:?}");
}

/// When the message's id was made, by the node that made it.
fn id_of(message: &Response) -> u64 {
    assert_eq!(message.status, 200, "{message:?}");
    message.body["id"].as_str().unwrap().parse().unwrap()
}

#[test]
fn a_clock_that_jumps_disturbs_nobody() {
    const HOUR_S: i64 = 3_600;
    let mut scene = Scene::start_in(Cluster::on_hosts().with_clocks(), |_| {});
    let used = e2e::people::until_on_one(&scene.server, 4);
    let (owner, gateway) = (scene.owner(), scene.gateway);
    let mut last = id_of(&write(&scene.server));
    let mut here = Raw::connect(&scene.server, &scene.server.user(2), HERE);
    for (role, node) in
        [(Role::Guilds, owner.as_str()), (Role::Gateway, gateway), (Role::Voice, used.as_str())]
    {
        for seconds in [HOUR_S, -HOUR_S] {
            let what = format!("the clock of {node} is off by {seconds} s");
            scene.cluster.set_clock(node, seconds);
            let jumped = Instant::now();
            scene.joins_again(&what, jumped);
            let took = comes_and_goes(&mut here, &scene.server);
            assert!(took <= JOINS_WITHIN, "{what}: {took:?}");
            scene.change_company();
            for _ in 0..3 {
                let id = id_of(&write(&scene.server));
                assert!(id > last, "{what}: {id} comes after {last}");
                last = id;
            }
            scene.assert_states(&what);
        }
        scene.cluster.set_clock(node, 0);
        let process = scene.cluster.process(role, node);
        for trouble in ["lease has ended", "is lost", "ERROR"] {
            assert!(!process.lines.stderr_contains(trouble), "{trouble}\n{}", process.lines.story());
        }
    }
    assert_eq!(scene.owner(), owner);
    let process = scene.cluster.process(Role::Guilds, &owner);
    assert!(process.lines.stderr_contains("clock was set"), "{}", process.lines.story());
    let missed = scene.end(0, UNDISTURBED_MS);
    measured(format!("after six jumps of an hour or two {:.0} ms were missed", missed.ms), UNDISTURBED_MS);
}
