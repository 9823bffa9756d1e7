//! A relay that a server which was killed has left behind: it forwards on for a while, and holds the ports that the next server of this name needs.
//!
//! Owns: the note of which process that would be. Deliberately does not: end any process that is not a relay.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use tokio::sync::watch;

/// The note of one voice server, in its data folder.
pub struct Leftover(PathBuf);

impl Leftover {
    pub fn of(data: &Path, id: &str) -> Self {
        Self(data.join(format!("{id}.relay")))
    }

    /// Ends the process of the note, if it is a relay still. Answers whether it was.
    pub fn end(&self) -> bool {
        let pid = fs::read_to_string(&self.0).ok().and_then(|text| text.trim().parse::<u32>().ok());
        let Some(pid) = pid.filter(|pid| is_relay(*pid)) else { return false };
        tracing::warn!(pid, "a relay that a killed server left behind holds the ports, and is ended");
        udp_io::kill(pid).inspect_err(|error| tracing::warn!(pid, %error, "it cannot be ended")).is_ok()
    }

    /// Keeps the note true until the server ends.
    pub async fn keep(self, mut pid: watch::Receiver<Option<u32>>) {
        loop {
            let now = *pid.borrow_and_update();
            let noted = match now {
                Some(pid) => fs::write(&self.0, format!("{pid}\n")),
                None => fs::remove_file(&self.0).or_else(|error| match error.kind() {
                    io::ErrorKind::NotFound => Ok(()),
                    _ => Err(error),
                }),
            };
            if let Err(error) = noted {
                tracing::warn!(file = %self.0.display(), %error, "the relay's process cannot be noted");
            }
            if pid.changed().await.is_err() {
                return;
            }
        }
    }
}

/// By its command line: numbers of processes are used again.
fn is_relay(pid: u32) -> bool {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let mut words = line.split(|byte| *byte == 0);
    words.any(|word| word == b"sfu") && words.any(|word| word == b"--shard")
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::os::unix::process::ExitStatusExt as _;
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn only_a_relay_is_ended() {
        let folder = tempfile::tempdir().unwrap();
        let leftover = Leftover::of(folder.path(), "v1");
        assert!(!leftover.end(), "nothing is noted");
        let mut other = Command::new("sleep").arg("600").spawn().unwrap();
        // A shell that waits for a child keeps the words of a relay's command line for as long.
        let script = ["-c", "echo; read line; exit", "sfu", "--shard", "3,4,5"];
        let mut relay = Command::new("sh");
        relay.args(script).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut relay = relay.spawn().unwrap();
        // Until it speaks, its words may not be there yet.
        relay.stdout.take().unwrap().read_exact(&mut [0]).unwrap();
        fs::write(&leftover.0, other.id().to_string()).unwrap();
        assert!(!leftover.end());
        fs::write(&leftover.0, relay.id().to_string()).unwrap();
        assert!(leftover.end());
        assert_eq!(relay.wait().unwrap().signal(), Some(9));
        assert!(!leftover.end(), "it is gone");
        assert!(other.try_wait().unwrap().is_none());
        other.kill().unwrap();
        other.wait().unwrap();
    }
}
