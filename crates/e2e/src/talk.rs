//! Our own native client as a process, and speech for it to say.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::{Net, Running, Server, User};

pub struct Talk {
    pub process: Running,
}

impl Talk {
    /// Joins a channel with the given further options of `guildhall talk`.
    pub fn start(server: &Server, user: &User, channel: &str, options: &[&str]) -> Self {
        Self::start_command(Command::new(crate::guildhall()), server, user, channel, options)
    }

    /// For whoever starts several of them, elsewhere than where the server is known.
    pub fn arguments(server: &Server, user: &User, channel: &str, options: &[&str]) -> Vec<OsString> {
        let talk = ["talk", "--json", "--server", server.http(), "--token", &user.token];
        let place = ["--guild", server.guild(), "--channel", channel, "--ca"];
        let words = talk.into_iter().chain(place).map(OsString::from);
        words.chain([server.ca().into()]).chain(options.iter().map(OsString::from)).collect()
    }

    pub fn start_with(name: &str, arguments: &[OsString]) -> Self {
        let mut command = Command::new(crate::guildhall());
        command.args(arguments);
        Self { process: Running::start(name, command) }
    }

    /// The same from where the clients of a network of our own are.
    pub fn start_in(net: &Net, server: &Server, user: &User, channel: &str, options: &[&str]) -> Self {
        let mut command = net.among_clients();
        command.arg(crate::guildhall());
        Self::start_command(command, server, user, channel, options)
    }

    fn start_command(
        mut command: Command,
        server: &Server,
        user: &User,
        channel: &str,
        options: &[&str],
    ) -> Self {
        command.args(Self::arguments(server, user, channel, options));
        Self { process: Running::start(&format!("talk {}", user.id), command) }
    }

    /// Waits until it is in the channel with its transport working.
    pub fn connected(&mut self) {
        self.process.lines.event("connected", Duration::from_secs(30));
    }

    /// Waits for its end and returns its report.
    pub fn report(&mut self, within: Duration) -> Value {
        self.process.lines.until("the report", within, |v| v.get("joined_ms").is_some())
    }

    /// What it heard of one speaker.
    pub fn stream<'a>(report: &'a Value, speaker: &User) -> Option<&'a Value> {
        report["streams"].as_array()?.iter().find(|s| s["user"] == speaker.id.as_str())
    }
}

/// About ten seconds of speech with a pause in the middle, made by espeak-ng.
pub fn speech(folder: &Path) -> PathBuf {
    let file = folder.join("speech.wav");
    let text = "The guild meets in the great hall tonight, and everybody may speak in turn. \
                <break time=\"1500ms\"/> When one falls silent, nothing is sent; when another begins, not a word of it is lost. \
                That is all we promise.";
    let out =
        Command::new("espeak-ng").args(["-m", "-v", "en", "-s", "150", "-w"]).arg(&file).arg(text).output();
    let out = out.expect("espeak-ng is installed: run `cargo x test`");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    file
}
