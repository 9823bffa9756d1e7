//! What happens to a call when a part of the server dies.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::time::{Duration, Instant};

use e2e::{Bot, Library, Server, Talk, signal_pid};
use serde_json::json;

const OURS: u32 = 440;
const THEIRS: u32 = 620;
/// From the last packet of the relay that died to the first of its successor, for a listener. Far above what it takes: the machine may
/// be busy with other things.
const GAP_MS_MAX: f64 = 3_000.0;
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
    println!("discord.js heard talk again after {gap} ms");
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
    println!("talk heard discord.js again after {} ms", stream["longest_gap_ms"]);
    assert!(stream["longest_gap_ms"].as_f64().unwrap() <= GAP_MS_MAX, "{report}");
    // Some seconds after the relay's death were heard too, at 50 packets a second.
    assert!(stream["received"].as_f64().unwrap() >= 50.0 * (LISTEN_S - GAP_MS_MAX / 1_000.0), "{report}");
    assert_eq!(report["reconnects"], 0, "{report}");
}

/// The relay's process: the only child of a server with one voice server.
fn relay_of(server: u32) -> u32 {
    let children = Path::new("/proc").join(format!("{server}/task"));
    let mut found = Vec::new();
    for thread in std::fs::read_dir(children).unwrap().flatten() {
        let listed = std::fs::read_to_string(thread.path().join("children")).unwrap_or_default();
        found.extend(listed.split_whitespace().map(|pid| pid.parse::<u32>().unwrap()));
    }
    let [relay] = found[..] else { panic!("the server's children are {found:?}") };
    relay
}
