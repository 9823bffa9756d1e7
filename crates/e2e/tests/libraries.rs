//! Clients that we did not write, unmodified, in one channel with our own.

use std::time::Duration;

use e2e::{Bot, Library, Server, Talk, hears};
use serde_json::{Value, json};

/// Frequencies far apart and free of each other's harmonics within a bot's resolution.
const TONES: [u32; 3] = [440, 620, 830];
const OURS: u32 = 1130;

struct Call {
    server: Server,
    bots: Vec<Bot>,
}

impl Call {
    /// One bot of each library in the first voice channel, each playing its tone. The account with index 0 moderates.
    fn start() -> Self {
        let server = Server::start(6);
        let channel = server.voice_channel(0);
        let bots = Library::ALL.iter().enumerate().map(|(i, library)| {
            let mut bot = Bot::start(*library, &server, &server.user(i + 1));
            bot.join(&channel);
            bot.tone(TONES[i], true);
            bot
        });
        let bots = bots.collect();
        Self { server, bots }
    }

    fn user(&self, i: usize) -> String {
        self.bots[i].user.id.clone()
    }

    fn moderate(&self, i: usize, args: &[&str]) {
        let user = self.user(i);
        let mut words = vec![args[0], self.server.guild(), &user];
        words.extend(&args[1..]);
        self.server.ctl(&words);
    }
}

/// The stream of this user among what a bot heard.
fn stream_of<'a>(streams: &'a [Value], user: &str) -> Option<&'a Value> {
    streams.iter().find(|s| s["user"] == user)
}

#[test]
fn three_libraries_and_talk_hear_each_other() {
    let mut call = Call::start();
    let channel = call.server.voice_channel(0);
    let ours = call.server.user(4);
    let hz = OURS.to_string();
    let mut talk = Talk::start(&call.server, &ours, &channel, &["--tone", &hz, "--seconds", "60"]);
    talk.connected();
    for i in 0..3 {
        let streams = call.bots[i].hear(2.0);
        let library = call.bots[i].library;
        for (other, tone) in TONES.iter().enumerate().filter(|(other, _)| *other != i) {
            assert!(
                hears(&streams, *tone),
                "{library:?} does not hear {:?}'s {tone} Hz: {streams:?}",
                Library::ALL[other]
            );
        }
        assert!(hears(&streams, OURS), "{library:?} does not hear talk's {OURS} Hz: {streams:?}");
        assert!(!hears(&streams, TONES[i]), "{library:?} hears itself: {streams:?}");
        for stream in &streams {
            assert_eq!(stream["lost"], 0, "{library:?}: {stream}");
        }
    }
    talk.process.signal("INT");
    let report = talk.report(Duration::from_secs(20));
    for bot in &call.bots {
        let stream = Talk::stream(&report, &bot.user);
        let stream = stream.unwrap_or_else(|| panic!("talk did not hear {:?}: {report}", bot.library));
        assert_eq!(stream["lost"], 0, "{:?}: {report}", bot.library);
    }
}

#[test]
fn a_server_mute_stops_a_stream_and_leaves_no_gap_in_its_numbers() {
    let mut call = Call::start();
    for muted in 0..3 {
        let listener = (muted + 1) % 3;
        let before = call.bots[listener].hear(1.0);
        let library = call.bots[muted].library;
        let user = call.user(muted);
        let heard = stream_of(&before, &user)
            .unwrap_or_else(|| panic!("{library:?} is not heard: {before:?}"))
            .clone();
        call.moderate(muted, &["mute"]);
        // The listener's own event says that the mute has taken effect everywhere.
        call.bots[listener].process.lines.until("the mute", Duration::from_secs(10), |v| {
            v["event"] == "voice_state" && v["user"] == user.as_str() && v["mute"] == true
        });
        let silent = call.bots[listener].hear(1.2);
        if let Some(stream) = stream_of(&silent, &user) {
            let ago = stream["last_packet_ms_ago"].as_f64().expect("a number");
            assert!(
                ago >= 1000.0,
                "{library:?} is heard {ago} ms before the end of 1200 ms after its mute: {stream}"
            );
        }
        call.moderate(muted, &["unmute"]);
        call.bots[listener].process.lines.until("the unmute", Duration::from_secs(10), |v| {
            v["event"] == "voice_state" && v["user"] == user.as_str() && v["mute"] == false
        });
        let after = call.bots[listener].hear(1.5);
        let stream =
            stream_of(&after, &user).unwrap_or_else(|| panic!("{library:?} is not heard again: {after:?}"));
        assert_eq!(stream["lost"], 0, "{library:?}: {stream}");
        // From the last number before the mute to the last one now: all of them were heard (wrapping at 2^16).
        let number = |s: &Value, key: &str| s[key].as_u64().expect("a sequence number");
        let gap = number(stream, "seq_first").wrapping_sub(number(&heard, "seq_last")) & 0xffff;
        assert!(gap < 400, "{library:?}: numbers jump by {gap} over a mute of about two seconds");
    }
}

#[test]
fn each_library_follows_a_move_and_a_kick() {
    let mut call = Call::start();
    let second = call.server.voice_channel(1);
    let ours = call.server.user(4);
    let hz = OURS.to_string();
    let mut talk = Talk::start(&call.server, &ours, &second, &["--tone", &hz, "--seconds", "120"]);
    talk.connected();
    for i in 0..3 {
        call.moderate(i, &["move", &second]);
        let user = call.user(i);
        call.bots[i].process.lines.until("its own move", Duration::from_secs(10), |v| {
            v["event"] == "voice_state" && v["user"] == user.as_str() && v["channel"] == second.as_str()
        });
        call.bots[i].expect("moved");
        let streams = call.bots[i].hear(2.0);
        let library = call.bots[i].library;
        assert!(hears(&streams, OURS), "{library:?} does not hear talk after the move: {streams:?}");
        let behind = (i + 1) % 3;
        if behind > i {
            assert!(
                !hears(&streams, TONES[behind]),
                "{library:?} still hears the channel it left: {streams:?}"
            );
        }
    }
    for i in 0..3 {
        call.moderate(i, &["disconnect"]);
        let user = call.user(i);
        call.bots[i].process.lines.until("its own end", Duration::from_secs(10), |v| {
            v["event"] == "voice_state" && v["user"] == user.as_str() && v["channel"].is_null()
        });
        call.bots[i].command(json!({"do": "state"}));
        let state = call.bots[i].expect("state");
        assert_eq!(state["connected"], false, "{:?} after its kick: {state}", call.bots[i].library);
    }
}

#[test]
fn each_library_recovers_from_a_cut_voice_socket_and_a_cut_gateway_socket() {
    let mut call = Call::start();
    for i in 0..3 {
        let listener = (i + 1) % 3;
        let library = call.bots[i].library;
        call.bots[i].command(json!({"do": "cut_voice_ws"}));
        call.bots[i].process.lines.until("its voice connection again", Duration::from_secs(40), |v| {
            matches!(v["event"].as_str(), Some("voice_resumed" | "voice_reconnected" | "joined"))
        });
        let streams = call.bots[listener].hear(2.0);
        assert!(
            hears(&streams, TONES[i]),
            "{library:?} is not heard after its voice socket was cut: {streams:?}"
        );

        call.bots[i].command(json!({"do": "cut_gateway_ws"}));
        call.bots[i]
            .process
            .lines
            .until("its gateway session again", Duration::from_secs(40), |v| v["event"] == "resumed");
        let streams = call.bots[listener].hear(1.0);
        assert!(
            hears(&streams, TONES[i]),
            "{library:?} is not heard after its gateway socket was cut: {streams:?}"
        );
    }
}
