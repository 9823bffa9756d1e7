//! What happens to a call when a part of the server dies.
#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use e2e::call::{relay_of, relay_since};
use e2e::{Bot, Browser, Engine, Library, Net, Server, Talk, User, measured, signal_pid};
use serde_json::{Value, json};

const OURS: u32 = 440;
const THEIRS: u32 = 620;
const CHROMIUMS: u32 = 830;
const SONGBIRDS: u32 = 1130;
/// From the last packet of the relay that died to the first of its successor, for a listener. Some times what it takes: the machine may
/// be busy with other things.
const GAP_MS_MAX: f64 = 400.0;
/// How long to listen around the relay's death.
const LISTEN_S: f64 = 6.0;

#[test]
fn a_relay_that_is_killed_is_replaced_and_everybody_is_heard_again() {
    let server = Server::start(3);
    let channel = server.voice_channel(0);
    let (speaker, bot) = (server.user(1), server.user(2));
    let mut listener = Bot::start(Library::DiscordJs, &server, &bot);
    listener.join(&channel);
    listener.tone(THEIRS, true);
    let hz = OURS.to_string();
    let mut talk = Talk::start(&server, &speaker, &channel, &["--tone", &hz, "--seconds", "120"]);
    talk.connected();
    let start = Instant::now();
    while listener.hear(0.2).from(&speaker).is_none() {
        assert!(start.elapsed() < Duration::from_secs(30), "talk is never heard");
    }

    let killed = relay_of(server.process.pid());
    listener.listen(LISTEN_S);
    // The bot carries out its orders one after the other, so it listens when it answers this.
    listener.command(json!({"do": "state"}));
    listener.expect("state");
    signal_pid(killed, "KILL");
    let heard = listener.expect("heard");
    let told = heard["at_ms"].as_f64().unwrap();
    let streams = heard["streams"].as_array().unwrap();
    let stream = streams.iter().find(|s| s["user"] == speaker.id.as_str());
    let stream = stream.unwrap_or_else(|| panic!("talk is not heard: {streams:?}"));
    let gap = stream["longest_gap_ms"].as_f64().unwrap();
    measured(format!("discord.js heard talk again after {gap} ms"), format!("{GAP_MS_MAX} ms"));
    assert!(gap <= GAP_MS_MAX, "{stream}");
    assert!(told - stream["last_packet_at_ms"].as_f64().unwrap() < GAP_MS_MAX, "silent at the end: {stream}");
    assert_ne!(relay_of(server.process.pid()), killed);
    listener.hear(1.0).expect_tone(&speaker, OURS, "after the relay's death");

    // Signalling has kept everything, so nobody had to connect again.
    let again = listener.process.lines.all().iter().find(|v| {
        matches!(v["event"].as_str(), Some("disconnected" | "voice_reconnected" | "voice_resumed" | "error"))
    });
    assert!(again.is_none(), "{again:?}");
    talk.process.signal("INT");
    let report = talk.report(Duration::from_secs(20));
    let stream = Talk::stream(&report, &bot).unwrap_or_else(|| panic!("talk did not hear the bot: {report}"));
    let what = format!("talk heard discord.js again after {} ms", stream["longest_gap_ms"]);
    measured(what, format!("{GAP_MS_MAX} ms"));
    assert!(stream["longest_gap_ms"].as_f64().unwrap() <= GAP_MS_MAX, "{report}");
    // Some seconds after the relay's death were heard too, at 50 packets a second.
    assert!(stream["received"].as_f64().unwrap() >= 50.0 * (LISTEN_S - GAP_MS_MAX / 1_000.0), "{report}");
    assert_eq!(report["reconnects"], 0, "{report}");
}

/// A relay that hangs is missed after some seconds in which it did not report: until then nobody is heard.
const SILENCE_MS_MAX: f64 = 10_000.0;

#[test]
fn a_relay_that_hangs_is_replaced_and_people_go_on_talking() {
    let server = Server::start(2);
    let channel = server.voice_channel(0);
    let mut listener = Talk::start(&server, &server.user(1), &channel, &["--seconds", "300"]);
    listener.connected();
    let options = ["--tone", &OURS.to_string(), "--seconds", "300"];
    let mut speaker = Talk::start(&server, &server.user(0), &channel, &options);
    speaker.connected();
    let so_far = server.process.lines.said_so_far();
    signal_pid(relay_of(server.process.pid()), "STOP");
    let start = Instant::now();
    relay_since(&server, so_far);
    // People go on talking for a while.
    let heard_after = start.elapsed() + Duration::from_secs(3);
    std::thread::sleep(Duration::from_secs(3));
    listener.process.signal("INT");
    let report = listener.report(Duration::from_secs(20));
    let stream = Talk::stream(&report, &server.user(0)).unwrap_or_else(|| panic!("nothing heard: {report}"));
    let gap = stream["longest_gap_ms"].as_f64().unwrap();
    measured(format!("nothing was heard for {gap} ms, of {heard_after:.1?}"), format!("{SILENCE_MS_MAX} ms"));
    // Who had heard nothing before has nothing to measure a silence from, so that there is no least one.
    assert!(gap < SILENCE_MS_MAX, "{report}");
    // Three seconds afterwards were heard, at 50 packets a second, whatever of the silence the kernel had kept.
    assert!(stream["received"].as_u64().unwrap() >= 140, "{report}");
    assert_eq!(report["reconnects"], 0, "{report}");
    let page = server.get("/metrics");
    assert!(page.contains(r#"guildhall_voice_relay_ends_total{reason="hung"} 1"#), "{page}");
}

/// Native clients, a bot and a real page in one call; the relay is killed twice. Nobody connects again, nobody's keys or paths are made
/// anew, and everybody hears everybody after less than a syllable.
#[test]
fn nobody_in_a_call_notices_that_the_relay_died() {
    let net = Net::new();
    let server = Server::start_in(&net, 5, &[]);
    let channel = server.voice_channel(0);
    let mut bot = Bot::start(Library::Songbird, &server, &server.user(3));
    bot.join(&channel);
    bot.tone(SONGBIRDS, true);
    let mut page = Browser::start(Engine::Chromium, &net, &server, &server.user(1), CHROMIUMS);
    page.join(&channel);
    let [mut speaker, mut other] = [(2, OURS), (4, THEIRS)].map(|(n, hz)| {
        let options = ["--tone", &hz.to_string(), "--seconds", "300"];
        let mut talk = Talk::start(&server, &server.user(n), &channel, &options);
        talk.connected();
        talk
    });
    page.hears(&[SONGBIRDS, OURS, THEIRS], &[CHROMIUMS], "at the start");
    let start = Instant::now();
    while !bot.hear(0.3).has_sound_of(&server.user(1)) {
        assert!(start.elapsed() < Duration::from_secs(30), "the page is never heard");
    }
    let (before, told_before) = (closed_sockets(&mut page), bot.process.lines.all().len());
    assert_eq!(peer_states(&mut page).last().map(String::as_str), Some("connected"));
    let states_before = peer_states(&mut page).len();

    for death in ["first", "second"] {
        let killed = relay_of(server.process.pid());
        page.listen(LISTEN_S);
        bot.listen(LISTEN_S);
        // They answer when they have begun to listen.
        page.state();
        bot.command(json!({"do": "state"}));
        bot.expect("state");
        signal_pid(killed, "KILL");
        let (by_page, by_bot) = (page.heard(), bot.heard());
        // Whether one is missed by one, or by all, or all by one.
        println!("{death} death: the page {:?}, songbird {:?}", by_page.people.streams, by_bot.streams);
        for (user, hz) in [(2, OURS), (4, THEIRS), (3, SONGBIRDS)] {
            let user = server.user(user);
            by_page.people.expect_tone(&user, hz, death);
            at_most(&format!("{death} death: the page"), &user, by_page.longest_gap_ms(&user));
        }
        for (user, hz) in [(2, OURS), (4, THEIRS), (1, CHROMIUMS)] {
            let user = server.user(user);
            let stream = by_bot.expect_tone(&user, hz, death);
            at_most(&format!("{death} death: songbird"), &user, stream["longest_gap_ms"].as_f64().unwrap());
        }
        assert_ne!(relay_of(server.process.pid()), killed);
    }

    assert_eq!(closed_sockets(&mut page), before, "the page's sockets stay");
    let states = peer_states(&mut page);
    assert_eq!(states.len(), states_before, "the peer connection stays connected: {states:?}");
    let told = bot.process.lines.all()[told_before..].to_vec();
    let again = told.iter().find(|v| {
        matches!(v["event"].as_str(), Some("disconnected" | "voice_reconnected" | "voice_resumed" | "error"))
    });
    assert!(again.is_none(), "{again:?}");
    for (talk, users) in [(&mut speaker, [4, 1, 3]), (&mut other, [2, 1, 3])] {
        talk.process.signal("INT");
        let report = talk.report(Duration::from_secs(20));
        assert_eq!(report["reconnects"], 0, "{report}");
        for user in users.map(|n| server.user(n)) {
            let stream = Talk::stream(&report, &user).unwrap_or_else(|| panic!("{user:?}: {report}"));
            at_most("a native client, ever", &user, stream["longest_gap_ms"].as_f64().unwrap());
            // A jump in the numbers would count as loss, too.
            println!("lost {} of {}", stream["lost"], stream["received"]);
            assert!(stream["lost"].as_u64().unwrap() < 40, "{report}");
        }
    }
    page.had_no_troubles();
    let lines = &server.process.lines;
    assert!(!lines.stderr_contains("ERROR") && !lines.stderr_contains("panicked"), "{}", lines.story());
}

fn at_most(who: &str, of: &User, gap_ms: f64) {
    measured(format!("{who} did not hear another for {gap_ms:.0} ms"), format!("{GAP_MS_MAX} ms"));
    assert!(gap_ms < GAP_MS_MAX, "{who} did not hear {of:?} for {gap_ms} ms");
}

fn told(page: &mut Browser, event: &str) -> Vec<Value> {
    page.process.lines.all().iter().filter(|v| v["event"] == event).cloned().collect()
}

fn closed_sockets(page: &mut Browser) -> usize {
    told(page, "socket").iter().filter(|socket| socket["is"] == "closed").count()
}

fn peer_states(page: &mut Browser) -> Vec<String> {
    told(page, "peer").iter().map(|peer| peer["state"].as_str().unwrap().to_owned()).collect()
}
