//! Bots built on client libraries that others wrote, all driven alike. See `e2e/clients/README.md`.

use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::{Running, Server, User};

const WITHIN: Duration = Duration::from_secs(40);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Library {
    Songbird,
    DiscordJs,
    DiscordPy,
}

impl Library {
    pub const ALL: [Library; 3] = [Library::Songbird, Library::DiscordJs, Library::DiscordPy];
}

pub struct Bot {
    pub library: Library,
    pub user: User,
    pub process: Running,
}

impl Bot {
    /// Starts the bot and waits until the gateway has told it of the guild.
    pub fn start(library: Library, server: &Server, user: &User) -> Self {
        let mut command = Command::new(crate::root().join("e2e/clients/run"));
        command.arg(match library {
            Library::Songbird => "songbird",
            Library::DiscordJs => "discordjs",
            Library::DiscordPy => "discordpy",
        });
        command.args(["--api", &format!("{}/api", server.http()), "--gateway", server.gateway()]);
        command.args(["--token", &user.token, "--guild", server.guild()]);
        command.env("SSL_CERT_FILE", server.ca()).env("NODE_EXTRA_CA_CERTS", server.ca());
        let mut process = Running::start(&format!("{library:?}"), command);
        process.lines.event("guild", WITHIN);
        Self { library, user: user.clone(), process }
    }

    pub fn command(&mut self, value: Value) {
        self.process.send(&value);
    }

    pub fn expect(&mut self, event: &str) -> Value {
        self.process.lines.event(event, WITHIN)
    }

    pub fn join(&mut self, channel: &str) -> Value {
        self.command(json!({"do": "join", "channel": channel}));
        self.expect("joined")
    }

    pub fn tone(&mut self, hz: u32, on: bool) {
        self.command(json!({"do": "tone", "hz": hz, "on": on}));
    }

    /// Listens for a while and tells what each stream carried.
    pub fn hear(&mut self, seconds: f64) -> Heard {
        self.listen(seconds);
        self.heard()
    }

    /// Begins to listen; several bots can at once.
    pub fn listen(&mut self, seconds: f64) {
        self.command(json!({"do": "hear", "seconds": seconds}));
    }

    /// What came of the last `listen`.
    pub fn heard(&mut self) -> Heard {
        let event = self.expect("heard");
        Heard::of(&format!("{:?}", self.library), &event)
    }

    /// Waits until the gateway has told this bot of a voice state, its own or another's.
    pub fn sees(&mut self, what: &str, user: &User, mut wanted: impl FnMut(&Value) -> bool) -> Value {
        self.process.lines.until(what, WITHIN, |v| {
            v["event"] == "voice_state" && v["user"] == user.id.as_str() && wanted(v)
        })
    }

    /// Fails on anything that the library or the bot took for an error.
    pub fn had_no_errors(&mut self) {
        let errors: Vec<Value> =
            self.process.lines.all().iter().filter(|v| v["event"] == "error").cloned().collect();
        assert!(errors.is_empty(), "{:?}: {errors:?}\n{}", self.library, self.process.lines.story());
    }
}

/// What a bot heard over an interval.
#[derive(Debug)]
pub struct Heard {
    pub by: String,
    pub streams: Vec<Value>,
}

impl Heard {
    /// From the event of that name.
    pub fn of(by: &str, event: &Value) -> Self {
        Self { by: by.to_owned(), streams: event["streams"].as_array().cloned().unwrap_or_default() }
    }

    /// The stream of this user that brought something.
    pub fn from(&self, user: &User) -> Option<&Value> {
        self.streams.iter().find(|s| s["user"] == user.id.as_str() && s["packets"] != 0)
    }

    /// Is there sound, and not only packets, of this user?
    /// How many packets of a user's came, under whatever stream.
    pub fn packets_of(&self, user: &User) -> u64 {
        let of_user = self.streams.iter().filter(|s| s["user"] == user.id.as_str());
        of_user.filter_map(|s| s["packets"].as_u64()).sum()
    }

    pub fn has_sound_of(&self, user: &User) -> bool {
        self.from(user).is_some_and(|stream| stream["peaks_hz"].as_array().is_some_and(|p| !p.is_empty()))
    }

    /// Demands this tone, and nothing stronger, in the stream of this user.
    pub fn expect_tone(&self, user: &User, hz: u32, when: &str) -> &Value {
        let by = &self.by;
        let stream = self.from(user);
        let stream =
            stream.unwrap_or_else(|| panic!("{when}: {by} hears nothing of {user:?}: {:?}", self.streams));
        assert!(near(stream, hz), "{when}: {by} does not hear {hz} Hz from {user:?}: {stream}");
        stream
    }

    /// Demands that this tone is in no stream.
    pub fn expect_no_tone(&self, hz: u32, when: &str) {
        let stream = self.streams.iter().find(|s| near(s, hz));
        assert!(stream.is_none(), "{when}: {} hears {hz} Hz: {stream:?}", self.by);
    }
}

/// Is this the strongest tone of the stream? The bots measure in steps of 10 Hz.
fn near(stream: &Value, hz: u32) -> bool {
    stream["peaks_hz"][0].as_f64().is_some_and(|peak| (peak - f64::from(hz)).abs() <= 15.0)
}
