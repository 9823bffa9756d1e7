//! Real browsers on the real page, driven like the bots. See `e2e/clients/README.md`.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::{Heard, Net, Running, Server, User};

const WITHIN: Duration = Duration::from_secs(60);

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
}

impl Browser {
    /// Opens the server's page as somebody who has been signed in before, with a microphone that plays a tone.
    pub fn start(engine: Engine, net: &Net, server: &Server, user: &User, hz: u32) -> Self {
        Self::open(engine, net, server, user, &["--hz", &hz.to_string(), "--token", &user.token])
    }

    /// The same with a microphone that plays a file once, from when it is opened (`microphone`).
    pub fn start_saying(engine: Engine, net: &Net, server: &Server, user: &User, file: &Path) -> Self {
        let file = file.to_str().expect("a temporary path is UTF-8");
        Self::open(engine, net, server, user, &["--wav", file, "--token", &user.token])
    }

    /// Opens the server's page as somebody who comes for the first time.
    pub fn start_signed_out(engine: Engine, net: &Net, server: &Server, user: &User, hz: u32) -> Self {
        Self::open(engine, net, server, user, &["--hz", &hz.to_string()])
    }

    fn open(engine: Engine, net: &Net, server: &Server, user: &User, options: &[&str]) -> Self {
        let mut command = net.among_clients();
        command.arg("node").arg(crate::root().join("e2e/clients/browser/bot.js"));
        command.args(["--browser", &format!("{engine:?}").to_lowercase(), "--page", server.http()]);
        command.args(options);
        let mut process = Running::start(&format!("{engine:?}"), command);
        process.lines.event("ready", WITHIN);
        Self { engine, user: user.clone(), process }
    }

    pub fn command(&mut self, value: Value) {
        self.process.send(&value);
    }

    /// Waits for this event; an error that is told instead is the test's failure.
    pub fn expect(&mut self, event: &str) -> Value {
        let told = self.process.lines.until(event, WITHIN, |v| v["event"] == event || v["event"] == "error");
        assert_eq!(told["event"], event, "{:?}: {told}\n{}", self.engine, self.process.lines.story());
        told
    }

    fn done(&mut self, command: Value) {
        self.command(command);
        self.expect("done");
    }

    /// Clicks a voice channel and waits until sound can flow.
    pub fn join(&mut self, channel: &str) -> Value {
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

    /// Clicks what assistive programs call this; the name is a regular expression.
    pub fn click(&mut self, role: &str, name: &str) {
        self.done(json!({"do": "click", "role": role, "name": name}));
    }

    /// Presses keys such as `Tab` or `Control+Shift+KeyM`.
    pub fn press(&mut self, keys: &str) {
        self.done(json!({"do": "press", "keys": keys}));
    }

    pub fn type_text(&mut self, text: &str) {
        self.done(json!({"do": "type", "text": text}));
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

    /// What the browser complained of so far: errors and warnings of its console, refused by the content policy, not loaded.
    pub fn troubles(&mut self) -> Vec<Value> {
        let all = self.process.lines.all();
        all.iter().filter(|v| v["event"] == "trouble" || v["event"] == "error").cloned().collect()
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
