//! Real browsers on the real page, driven like the bots. See `e2e/clients/README.md`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::{Heard, Net, Running, Server, User};

const WITHIN: Duration = Duration::from_secs(60);

/// What Firefox says of a WebSocket whose page is loaded anew, however the page ends it.
const OF_A_RELOAD: &str = "was interrupted while the page was loading";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    Chromium,
    Firefox,
}

/// One browser with one page.
pub struct Browser {
    pub engine: Engine,
    pub user: User,
    pub process: Running,
    /// What it told since the last thing that was done, and nobody has asked for yet.
    passed: Vec<Value>,
}

impl Browser {
    /// Opens the server's page as somebody who has been signed in before, with a microphone that plays a tone.
    pub fn start(engine: Engine, net: &Net, server: &Server, user: &User, hz: u32) -> Self {
        let options = ["--hz", &hz.to_string(), "--token", &user.token];
        Self::open(engine, net.among_clients(), server, user, &options)
    }

    /// The same on this machine itself, for a server that is there.
    pub fn start_here(engine: Engine, server: &Server, user: &User, hz: u32) -> Self {
        let options = ["--hz", &hz.to_string(), "--token", &user.token];
        Self::open(engine, Command::new("env"), server, user, &options)
    }

    /// The same with a microphone that plays a file once, from when it is opened (`microphone`).
    pub fn start_saying(engine: Engine, net: &Net, server: &Server, user: &User, file: &Path) -> Self {
        let file = file.to_str().expect("a temporary path is UTF-8");
        Self::open(engine, net.among_clients(), server, user, &["--wav", file, "--token", &user.token])
    }

    /// Opens the server's page as somebody who comes for the first time.
    pub fn start_signed_out(engine: Engine, net: &Net, server: &Server, user: &User, hz: u32) -> Self {
        Self::open(engine, net.among_clients(), server, user, &["--hz", &hz.to_string()])
    }

    /// `command` begins a command line where the browser is to be.
    fn open(engine: Engine, mut command: Command, server: &Server, user: &User, options: &[&str]) -> Self {
        command.arg("node").arg(crate::root().join("e2e/clients/browser/bot.js"));
        command.args(["--browser", &format!("{engine:?}").to_lowercase(), "--page", server.http()]);
        command.args(options);
        let mut process = Running::start(&format!("{engine:?}"), command);
        process.lines.event("ready", WITHIN);
        Self { engine, user: user.clone(), process, passed: Vec::new() }
    }

    pub fn command(&mut self, value: Value) {
        self.process.send(&value);
    }

    /// Waits for this event; an error that is told instead is the test's failure.
    pub fn expect(&mut self, event: &str) -> Value {
        let is_it = |v: &Value| v["event"] == event || v["event"] == "error";
        if let Some(at) = self.passed.iter().position(is_it) {
            return self.passed.remove(at);
        }
        let passed = &mut self.passed;
        let told = self.process.lines.until(event, WITHIN, |v| {
            let is_it = is_it(v);
            if !is_it {
                passed.push(v.clone());
            }
            is_it
        });
        assert_eq!(told["event"], event, "{:?}: {told}\n{}", self.engine, self.process.lines.story());
        told
    }

    fn done(&mut self, command: Value) {
        self.passed.clear();
        self.command(command);
        self.expect("done");
    }

    /// Clicks a voice channel and waits until sound can flow.
    pub fn join(&mut self, channel: &str) -> Value {
        self.passed.clear();
        self.command(json!({"do": "join", "channel": channel}));
        self.expect("joined")
    }

    /// Clicks a voice channel, and waits until the browser has the microphone and then until sound can flow. Returns when the
    /// microphone was opened.
    pub fn join_with_microphone(&mut self, channel: &str) -> Instant {
        self.command(json!({"do": "join", "channel": channel}));
        self.expect("microphone");
        let opened = Instant::now();
        self.expect("joined");
        opened
    }

    /// Begins to record everybody in the channel, those who come later included.
    pub fn record(&mut self) {
        self.command(json!({"do": "record"}));
        self.expect("recording");
    }

    /// Writes what was recorded of one of them and returns when that began, in milliseconds of the machine's clock.
    pub fn finish_recording(&mut self, of: &User, file: &Path) -> f64 {
        self.command(json!({"do": "finish_recording", "user": of.id, "path": file}));
        self.expect("recorded")["began_ms"].as_f64().expect("a number")
    }

    /// What the page takes of memory, and what became of the packets it was sent. Chromium only.
    pub fn memory(&mut self) -> Value {
        self.command(json!({"do": "memory"}));
        self.expect("memory")
    }

    pub fn leave(&mut self) {
        self.command(json!({"do": "leave"}));
        self.expect("disconnected");
    }

    /// What went over the last voice WebSocket so far, both ways: `way`, `op` and `bytes` of payload.
    pub fn voice_frames(&mut self) -> Vec<Value> {
        self.command(json!({"do": "voice_frames"}));
        self.expect("voice_frames")["frames"].as_array().cloned().expect("a list of frames")
    }

    /// Clicks what assistive programs call this; the name is a regular expression.
    pub fn click(&mut self, role: &str, name: &str) {
        self.done(json!({"do": "click", "role": role, "name": name}));
    }

    /// Presses keys such as `Tab` or `Control+Shift+KeyM`.
    pub fn press(&mut self, keys: &str) {
        self.done(json!({"do": "press", "keys": keys}));
    }

    pub fn press_times(&mut self, keys: &str, times: usize) {
        (0..times).for_each(|_| self.press(keys));
    }

    pub fn type_text(&mut self, text: &str) {
        self.done(json!({"do": "type", "text": text}));
    }

    /// Ends the TCP connection of the voice WebSocket as a network does.
    pub fn cut_voice_ws(&mut self) {
        self.passed.clear();
        self.command(json!({"do": "cut_voice_ws"}));
    }

    /// Bytes that Chromium loaded so far, as they came over the network.
    pub fn transferred(&mut self) -> u64 {
        self.command(json!({"do": "transferred"}));
        self.expect("transferred")["bytes"].as_u64().expect("a number of bytes")
    }

    pub fn reload(&mut self) {
        self.done(json!({"do": "reload"}));
    }

    /// Waits until the page shows this.
    pub fn sees(&mut self, role: &str, name: &str) -> Value {
        self.command(json!({"do": "see", "role": role, "name": name}));
        self.expect("seen")
    }

    /// Waits until the page no longer shows this.
    pub fn sees_no(&mut self, role: &str, name: &str) {
        self.command(json!({"do": "see", "role": role, "name": name, "gone": true}));
        self.expect("seen");
    }

    /// What has the focus.
    pub fn focused(&mut self) -> Value {
        self.command(json!({"do": "focused"}));
        self.expect("focused")
    }

    /// Listens for a while and tells what each person, and everybody together, sounded like.
    pub fn hear(&mut self, seconds: f64) -> Sound {
        self.listen(seconds);
        self.heard()
    }

    /// Begins to listen; other things can be done meanwhile.
    pub fn listen(&mut self, seconds: f64) {
        self.command(json!({"do": "hear", "seconds": seconds}));
    }

    pub fn heard(&mut self) -> Sound {
        let event = self.expect("heard");
        Sound { people: Heard::of(&format!("{:?}", self.engine), &event), out: event["out"].clone() }
    }

    /// Listens until these tones come out and none of those others.
    pub fn hears(&mut self, wanted: &[u32], not: &[u32], when: &str) -> Sound {
        let deadline = Instant::now() + WITHIN;
        loop {
            let sound = self.hear(0.4);
            let is_right = wanted.iter().all(|hz| sound.decibels_at(*hz).is_some())
                && not.iter().all(|hz| sound.decibels_at(*hz).is_none());
            if is_right || Instant::now() > deadline {
                sound.expect_out(wanted, not, when);
                return sound;
            }
        }
    }

    /// Presses a key until something that has such a name has the focus.
    pub fn press_until(&mut self, keys: &str, times_max: usize, names: &[&str]) {
        let mut passed = Vec::new();
        for _ in 0..times_max {
            let name = self.focused()["name"].as_str().unwrap_or_default().to_owned();
            if names.iter().any(|wanted| name.starts_with(wanted)) {
                return;
            }
            passed.push(name);
            self.press(keys);
        }
        panic!("{:?}: {keys} does not lead to {names:?}: {passed:?}", self.engine);
    }

    /// Keeps a picture of the page in `target/e2e-screenshots`.
    pub fn screenshot(&mut self, name: &str) {
        let folder = screenshots();
        let path = folder.join(format!("{}-{name}.png", format!("{:?}", self.engine).to_lowercase()));
        self.done(json!({"do": "screenshot", "path": path}));
    }

    pub fn state(&mut self) -> Value {
        self.command(json!({"do": "state"}));
        self.expect("state")
    }

    /// Until the page has told its voice server that it speaks, whose microphone plays a tone: for moments, when that begins anew, it may say that it does not.
    pub fn until_it_says_that_it_speaks(&mut self) {
        let began = Instant::now();
        loop {
            let state = self.state();
            if state["snapshot"]["voice"]["isSpeaking"] == true {
                return;
            }
            assert!(began.elapsed() < WITHIN, "{:?} does not say that it speaks: {state}", self.engine);
        }
    }

    /// What the browser complained of so far: errors and warnings of its console, refused by the content policy, not loaded.
    pub fn troubles(&mut self) -> Vec<Value> {
        let all = self.process.lines.all();
        let is_trouble = |v: &&Value| {
            let text = v["text"].as_str().unwrap_or_default();
            v["event"] == "error" || (v["event"] == "trouble" && !text.contains(OF_A_RELOAD))
        };
        all.iter().filter(is_trouble).cloned().collect()
    }

    pub fn had_no_troubles(&mut self) {
        let troubles = self.troubles();
        assert!(troubles.is_empty(), "{:?}: {troubles:?}\n{}", self.engine, self.process.lines.story());
    }
}

/// What a browser played.
#[derive(Debug)]
pub struct Sound {
    /// Each person as they arrive, before this listener's own volume for them.
    pub people: Heard,
    /// All together as it comes out.
    pub out: Value,
}

impl Sound {
    /// The loudness of this tone in what comes out, in decibels; none where it is not among what is heard.
    pub fn decibels_at(&self, hz: u32) -> Option<f64> {
        let peaks = self.out["peaks"].as_array()?;
        let near = |peak: &&Value| peak["hz"].as_f64().is_some_and(|at| (at - f64::from(hz)).abs() <= 15.0);
        peaks.iter().find(near)?["db"].as_f64()
    }

    /// Is there sound, and not only packets, of each of them?
    pub fn hears_something_of(&self, users: &[&User]) -> bool {
        users.iter().all(|user| self.people.has_sound_of(user))
    }

    /// Demands that these tones come out, and none of the others.
    pub fn expect_out(&self, wanted: &[u32], not: &[u32], when: &str) {
        let by = &self.people.by;
        for hz in wanted {
            assert!(
                self.decibels_at(*hz).is_some(),
                "{when}: {hz} Hz does not come out of {by}: {}",
                self.out
            );
        }
        for hz in not {
            assert!(self.decibels_at(*hz).is_none(), "{when}: {hz} Hz comes out of {by}: {}", self.out);
        }
    }

    /// How long a person was not heard at a stretch.
    pub fn longest_gap_ms(&self, user: &User) -> f64 {
        let stream = self.people.streams.iter().find(|s| s["user"] == user.id.as_str());
        stream.and_then(|s| s["longest_gap_ms"].as_f64()).unwrap_or(f64::INFINITY)
    }
}

fn screenshots() -> PathBuf {
    let folder = crate::root().join("target/e2e-screenshots");
    std::fs::create_dir_all(&folder).expect("the target folder can be written");
    folder
}
