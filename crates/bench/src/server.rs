//! The server that is measured: `guildhall up` on free ports of the loopback, in a folder of its own.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use anyhow::{Context as _, bail};
use serde_json::Value;
use tempfile::TempDir;

pub struct Server {
    process: Child,
    /// Held open, or the server could not write to it.
    _out: BufReader<ChildStdout>,
    folder: TempDir,
    program: PathBuf,
}

impl Server {
    /// With one shard, as everything that is compared must have as many.
    pub fn start(root: &Path) -> anyhow::Result<Self> {
        let program = program(root);
        let folder = tempfile::tempdir()?;
        let log = std::fs::File::create(folder.path().join("log"))?;
        let mut process = Command::new(&program)
            .arg("up")
            .arg("--data")
            .arg(folder.path())
            .args(["--http", "127.0.0.1:0", "--voice", "127.0.0.1:0", "--media", "127.0.0.1:0"])
            .args(["--shards", "1", "--demo", "1"])
            .env("RUST_LOG", "warn")
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .with_context(|| format!("{} does not start", program.display()))?;
        let mut out = BufReader::new(process.stdout.take().expect("it is piped"));
        let mut line = String::new();
        loop {
            line.clear();
            if out.read_line(&mut line)? == 0 {
                let log = std::fs::read_to_string(folder.path().join("log")).unwrap_or_default();
                bail!("the server ended before it was ready:\n{log}");
            }
            if serde_json::from_str(&line).is_ok_and(|line: Value| line["ready"] == true) {
                return Ok(Self { process, _out: out, folder, program });
            }
        }
    }

    /// The process of gateway, guilds and signalling, and that of the relay.
    pub fn processes(&self) -> anyhow::Result<[u32; 2]> {
        let server = self.process.id();
        // Each thread has children of its own.
        let threads = std::fs::read_dir(format!("/proc/{server}/task"))?.flatten();
        let children: String = threads
            .filter_map(|thread| std::fs::read_to_string(thread.path().join("children")).ok())
            .collect();
        let is_relay = |pid: &u32| {
            let line = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            line.split('\0').nth(1) == Some("sfu")
        };
        let mut pids = children.split_whitespace().filter_map(|pid| pid.parse().ok());
        Ok([server, pids.find(is_relay).context("the server has no relay")?])
    }

    /// What `guildhall load` with these options reports.
    pub fn load(&self, options: &[&str]) -> anyhow::Result<Value> {
        let mut command = Command::new(&self.program);
        command.arg("load").args(options).arg("--data").arg(self.folder.path());
        let line = format!("guildhall load {}", options.join(" "));
        let out = command.stdin(Stdio::null()).output().with_context(|| line.clone())?;
        if !out.status.success() {
            bail!("`{line}` failed: {}", String::from_utf8_lossy(&out.stderr).trim());
        }
        serde_json::from_slice(&out.stdout).with_context(|| format!("`{line}` prints no report"))
    }
}

pub fn program(root: &Path) -> PathBuf {
    root.join("target/debug/guildhall")
}

impl Drop for Server {
    fn drop(&mut self) {
        // Nobody waits for what it would still say.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
