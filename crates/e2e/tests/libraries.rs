//! Clients that we did not write, unmodified, in one channel with our own.
#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use e2e::{Bot, Library, Server, Talk, User, strongest_tone};
use serde_json::{Value, json};

/// Frequencies far apart and free of each other's harmonics within a bot's resolution.
const TONES: [u32; 3] = [440, 620, 830];
const OURS: u32 = 1130;
const WITHIN: Duration = Duration::from_secs(40);
/// From the moment a listener's client knows of a mute, by that client's clock.
const MUTE_TAKES_MS_MAX: f64 = 200.0;

/// One bot of each library, each playing its tone; the account with index 0 is nobody's.
struct Call {
    server: Server,
    bots: Vec<Bot>,
    /// Modes of encryption, by bot.
    modes: Vec<Value>,
}

impl Call {
    /// All in the first voice channel.
    fn start() -> Self {
        // So many that the guild is a long message.
        let server = Server::start(40);
        let channel = server.voice_channel(0);
        let (mut bots, mut modes) = (Vec::new(), Vec::new());
        for (i, library) in Library::ALL.into_iter().enumerate() {
            let mut bot = Bot::start(library, &server, &server.user(i + 1));
            modes.push(bot.join(&channel)["mode"].clone());
            bot.tone(TONES[i], true);
            bots.push(bot);
        }
        let mut call = Self { server, bots, modes };
        call.wait_for_sound();
        call
    }

    /// The libraries take their time before they play.
    fn wait_for_sound(&mut self) {
        let silent_since = Instant::now();
        for i in 0..3 {
            let expected: Vec<User> = others(i).map(|o| self.user(o)).collect();
            loop {
                let heard = self.bots[i].hear(0.2);
                if expected.iter().all(|user| heard.from(user).is_some()) {
                    break;
                }
                assert!(silent_since.elapsed() < WITHIN, "{heard:?} lacks one of {expected:?}");
            }
        }
        self.everybody_hears_everybody("at the start");
    }

    /// Our own client with its tone.
    fn talk(&self, channel: &str, options: &[&str]) -> Talk {
        let hz = OURS.to_string();
        let options = [&["--tone", &hz], options].concat();
        let mut talk = Talk::start(&self.server, &self.server.user(4), channel, &options);
        talk.connected();
        talk
    }

    fn user(&self, i: usize) -> User {
        self.bots[i].user.clone()
    }

    fn moderate(&self, i: usize, verb: &str, more: &[&str]) {
        let user = self.user(i);
        self.server.ctl(&[&[verb, self.server.guild(), &user.id], more].concat());
    }

    /// Lets these bots listen at the same time.
    fn hear(&mut self, who: &[usize], seconds: f64) -> Vec<e2e::Heard> {
        for i in who {
            self.bots[*i].listen(seconds);
        }
        who.iter().map(|i| self.bots[*i].heard()).collect()
    }

    fn everybody_hears_everybody(&mut self, when: &str) {
        for (i, heard) in self.hear(&[0, 1, 2], 1.0).into_iter().enumerate() {
            for other in others(i) {
                heard.expect_tone(&self.user(other), TONES[other], when);
            }
            heard.expect_no_tone(TONES[i], when);
        }
    }

    /// What none of these tests may cause.
    fn end(mut self) {
        for bot in &mut self.bots {
            bot.had_no_errors();
        }
        let lines = &self.server.process.lines;
        assert!(!lines.stderr_contains("ERROR") && !lines.stderr_contains("panicked"), "{}", lines.story());
    }
}

fn tone_of(i: usize) -> u32 {
    TONES[i]
}

fn others(i: usize) -> impl Iterator<Item = usize> {
    (0..3).filter(move |other| *other != i)
}

#[test]
fn three_libraries_and_talk_hear_each_other() {
    let mut call = Call::start();
    // What each prefers of what is offered; xchacha is all that discord.py knows.
    let gcm = "aead_aes256_gcm_rtpsize";
    assert_eq!(call.modes, [gcm, gcm, "aead_xchacha20_poly1305_rtpsize"]);
    let folder = tempfile::tempdir().unwrap();
    let record = folder.path().to_str().unwrap();
    let mut talk = call.talk(&call.server.voice_channel(0), &["--record", record, "--seconds", "120"]);
    let ours = call.server.user(4);
    for (i, heard) in call.hear(&[0, 1, 2], 2.0).into_iter().enumerate() {
        for (user, tone) in others(i).map(|o| (call.user(o), tone_of(o))).chain([(ours.clone(), OURS)]) {
            let stream = heard.expect_tone(&user, tone, "with talk");
            assert_eq!(stream["lost_ever"], 0, "{:?}: {stream}", heard.by);
        }
        heard.expect_no_tone(tone_of(i), "its own");
    }
    talk.process.signal("INT");
    let report = talk.report(Duration::from_secs(20));
    talk.process.wait(Duration::from_secs(20));
    for (bot, hz) in call.bots.iter().zip(TONES) {
        let stream = Talk::stream(&report, &bot.user);
        let stream = stream.unwrap_or_else(|| panic!("talk did not hear {:?}: {report}", bot.library));
        assert_eq!(stream["lost"], 0, "{:?}: {report}", bot.library);
        let recording = folder.path().join(format!("{}.wav", bot.user.id));
        let tones = [&TONES[..], &[OURS]].concat();
        assert_eq!(strongest_tone(&recording, &tones), hz, "talk's recording of {:?}", bot.library);
    }
    call.end();
}

#[test]
fn a_server_mute_stops_a_stream_within_200_ms_and_leaves_no_gap_in_its_numbers() {
    let mut call = Call::start();
    for muted in 0..3 {
        let (user, library) = (call.user(muted), call.bots[muted].library);
        let listeners: Vec<usize> = others(muted).collect();
        call.moderate(muted, "mute", &[]);
        let told: Vec<f64> = listeners
            .iter()
            .map(|i| call.bots[*i].sees("the mute", &user, |v| v["mute"] == true)["at_ms"].as_f64().unwrap())
            .collect();
        for (heard, told) in call.hear(&listeners, 1.0).into_iter().zip(told) {
            let stream = heard.streams.iter().find(|s| s["user"] == user.id.as_str());
            let stream = stream.unwrap_or_else(|| panic!("{heard:?} forgot {library:?}"));
            let after = stream["last_packet_at_ms"].as_f64().unwrap() - told;
            println!("{:?} hears {library:?} last {after:.1} ms after knowing of its mute", heard.by);
            assert!(after <= MUTE_TAKES_MS_MAX, "{:?} hears {library:?} for {after} ms: {stream}", heard.by);
        }
        call.moderate(muted, "unmute", &[]);
        for i in &listeners {
            call.bots[*i].sees("the unmute", &user, |v| v["mute"] == false);
        }
        for heard in call.hear(&listeners, 1.0) {
            let stream = heard.expect_tone(&user, tone_of(muted), "after the mute");
            assert_eq!(stream["lost_ever"], 0, "{:?} of {library:?}: {stream}", heard.by);
        }
    }
    call.end();
}

#[test]
fn each_library_moves_is_moved_and_is_kicked() {
    let mut call = Call::start();
    let (first, second) = (call.server.voice_channel(0), call.server.voice_channel(1));
    let ours = call.server.user(4);
    let _talk = call.talk(&second, &["--seconds", "300"]);
    for i in 0..3 {
        call.bots[i].join(&second);
        let heard = call.bots[i].hear(1.0);
        heard.expect_tone(&ours, OURS, "after its move");
        for behind in i + 1..3 {
            heard.expect_no_tone(tone_of(behind), "from the channel it left");
        }
    }
    call.everybody_hears_everybody("in the second channel");
    for i in 0..3 {
        call.moderate(i, "move", &[&first]);
        let moved = call.bots[i].expect("moved");
        assert_eq!(moved["channel"], first.as_str(), "{:?}", call.bots[i].library);
        let heard = call.bots[i].hear(1.0);
        for (tone, when) in [(OURS, "talk's channel, left"), (tone_of((i + 1) % 3), "not yet moved")] {
            if tone == OURS || i < 2 {
                heard.expect_no_tone(tone, when);
            }
        }
    }
    call.everybody_hears_everybody("back in the first channel");
    for i in 0..3 {
        let (user, listener) = (call.user(i), (i + 1) % 3);
        call.moderate(i, "disconnect", &[]);
        // The voice connection's end and the voice state come over two sockets, so either can be first.
        let (mut ended, mut left) = (false, false);
        call.bots[i].process.lines.until("its own end", WITHIN, |v| {
            ended |= v["event"] == "disconnected";
            left |= v["event"] == "voice_state" && v["user"] == user.id.as_str() && v["channel"].is_null();
            ended && left
        });
        call.bots[i].command(json!({"do": "state"}));
        let state = call.bots[i].expect("state");
        assert_eq!(state["connected"], false, "{:?} after its kick: {state}", call.bots[i].library);
        if i < 2 {
            call.bots[listener].sees("the end", &user, |v| v["channel"].is_null());
            call.bots[listener].hear(0.5).expect_no_tone(tone_of(i), "from one who was kicked");
        }
    }
    call.end();
}

#[test]
fn each_library_recovers_from_a_cut_voice_socket_and_a_cut_gateway_socket() {
    let mut call = Call::start();
    for i in 0..3 {
        let library = call.bots[i].library;
        // Numbers go on through a resumption, since nothing of it touches the media. discord.py has no resumption.
        let resumes = library != Library::DiscordPy;
        call.bots[i].command(json!({"do": "cut_voice_ws"}));
        call.bots[i].process.lines.until("its voice connection again", WITHIN, |v| {
            v["event"] == if resumes { "voice_resumed" } else { "voice_reconnected" }
        });
        for heard in call.hear(&others(i).collect::<Vec<_>>(), 1.0) {
            let stream = heard.expect_tone(&call.user(i), tone_of(i), "after its voice socket was cut");
            if resumes {
                assert_eq!(stream["lost_ever"], 0, "{:?} of {library:?}: {stream}", heard.by);
            }
        }
        let heard = call.bots[i].hear(1.0);
        for other in others(i) {
            heard.expect_tone(&call.user(other), tone_of(other), "with a new voice socket");
        }
        call.bots[i].command(json!({"do": "cut_gateway_ws"}));
        call.bots[i].expect("resumed");
        // What happens after the resumption arrives, so the session is whole.
        let other = (i + 1) % 3;
        let user = call.user(other);
        call.moderate(other, "deafen", &[]);
        call.bots[i].sees("another's deafness", &user, |v| v["deaf"] == true);
        call.moderate(other, "undeafen", &[]);
        call.bots[i].sees("the end of it", &user, |v| v["deaf"] == false);
        call.everybody_hears_everybody("after its gateway socket was cut");
    }
    call.end();
}
