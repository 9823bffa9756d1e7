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
    pub fn hear(&mut self, seconds: f64) -> Vec<Value> {
        self.command(json!({"do": "hear", "seconds": seconds}));
        self.expect("heard")["streams"].as_array().cloned().unwrap_or_default()
    }
}

/// Is this frequency among the strongest of some stream?
pub fn hears(streams: &[Value], hz: u32) -> bool {
    let near = |peak: &Value| peak.as_f64().is_some_and(|p| (p - f64::from(hz)).abs() <= 15.0);
    streams.iter().any(|s| s["peaks_hz"].as_array().is_some_and(|peaks| peaks.first().is_some_and(near)))
}
