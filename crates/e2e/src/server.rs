//! One whole server: `guildhall up` on ports of its own in a folder of its own.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::disk::Disk;
use crate::wire::WITHIN;
use crate::{Net, Running};

/// Starting includes making certificates and accounts on a machine that is busy.
pub(crate) const READY_WITHIN: Duration = Duration::from_secs(60);

/// What the server's log says whenever a relay's numbers on the metrics page are others, once a second for each shard,
pub(crate) const RELAY_REPORTED: &str = "the relay reported";
/// and whenever a voice server's record is, as `ctl servers` shows it.
pub(crate) const SERVER_TOLD: &str = "a voice server told of itself";
/// The level of its log, and those two lines.
const LOG: &str = "info,voice::hub=debug,guilds::service=debug";

/// On ports that the system gives.
const LOCAL: [&str; 6] = ["--http", "127.0.0.1:0", "--voice", "127.0.0.1:0", "--media", "127.0.0.1:0"];

pub struct Server {
    pub process: Running,
    /// Where clients reach it.
    pub ready: Value,
    /// Where it is itself, should something stand before it.
    pub(crate) own: Value,
    pub demo: Value,
    folder: TempDir,
}

#[derive(Debug, Clone)]
pub struct User {
    pub id: String,
    pub token: String,
}

impl Server {
    /// A demonstration guild with this many accounts.
    pub fn start(accounts: usize) -> Self {
        Self::start_with(accounts, &[])
    }

    pub fn start_with(accounts: usize, options: &[&str]) -> Self {
        let local = [["--http", "127.0.0.1:0"], ["--voice", "127.0.0.1:0"], ["--media", "127.0.0.1:0"]];
        let local =
            local.into_iter().filter(|[name, _]| !options.contains(name)).collect::<Vec<_>>().concat();
        Self::start_command(accounts, Command::new(crate::guildhall()), &[&local, options].concat())
    }

    /// A process that serves clients, whatever stands behind it: its first line names what clients need, and the demonstration is in its folder.
    pub(crate) fn of(process: Running, ready: Value, folder: TempDir) -> Self {
        let text = std::fs::read_to_string(folder.path().join("demo.json")).expect("--demo leaves demo.json");
        let demo = serde_json::from_str(&text).expect("demo.json is JSON");
        Self { process, own: ready.clone(), ready, demo, folder }
    }

    /// Something stands before it; `own` is where it is itself.
    pub(crate) fn behind(mut self, own: Value) -> Self {
        self.own = own;
        self
    }

    /// At the server's place of a network of our own, where every address is the one that it announces.
    pub fn start_in(net: &Net, accounts: usize, options: &[&str]) -> Self {
        let mut command = net.beside_server();
        command.arg(crate::guildhall());
        let [http, voice, media] =
            [8090, 8443, 50_000].map(|port| format!("{}:{port}", net.server_address()));
        let listen = ["--http", &http, "--voice", &voice, "--media", &media];
        Self::start_command(accounts, command, &[&listen, options].concat())
    }

    /// Ends it and starts another one on this machine that knows what it had written down.
    pub fn start_again(self, options: &[&str]) -> Self {
        let Self { process, demo, folder, .. } = self;
        drop(process);
        let accounts = demo["users"].as_array().expect("demo.json lists accounts").len();
        Self::start_command_in(
            folder,
            accounts,
            Command::new(crate::guildhall()),
            &[&LOCAL, options].concat(),
        )
    }

    fn start_command(accounts: usize, command: Command, options: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        Self::start_command_in(folder, accounts, command, options)
    }

    /// With its data and its log on a disk of its own.
    pub fn start_on(disk: &Disk, accounts: usize) -> Self {
        let folder = tempfile::tempdir_in(disk.path()).expect("the disk is empty");
        let mut command = Command::new("sh");
        let log = Self::log_on(disk);
        command.args(["-c", "log=$1; shift; exec \"$@\" 2>>\"$log\"", "sh"]).arg(log).arg(crate::guildhall());
        Self::start_command_in(folder, accounts, command, &LOCAL)
    }

    pub fn log_on(disk: &Disk) -> PathBuf {
        disk.path().join("log")
    }

    fn start_command_in(folder: TempDir, accounts: usize, mut command: Command, options: &[&str]) -> Self {
        command.env("RUST_LOG", LOG).arg("up");
        command.arg("--data").arg(folder.path()).arg("--demo").arg(accounts.to_string()).args(options);
        let mut process = Running::start("guildhall up", command);
        let ready = process.lines.until("the ready line", READY_WITHIN, |v| v["ready"] == true);
        Self::of(process, ready, folder)
    }

    pub fn data(&self) -> &Path {
        self.folder.path()
    }

    /// `http://host:port`.
    pub fn http(&self) -> &str {
        self.ready["http"].as_str().expect("the ready line names the HTTP address")
    }

    /// `ws://host:port`.
    pub fn gateway(&self) -> &str {
        self.ready["gateway"].as_str().expect("the ready line names the gateway")
    }

    /// The certificate that clients must trust for the voice WebSocket.
    pub fn ca(&self) -> PathBuf {
        self.ready["ca"].as_str().expect("the ready line names the CA").into()
    }

    pub fn guild(&self) -> &str {
        self.demo["guild"].as_str().expect("demo.json names the guild")
    }

    /// The n-th voice channel.
    pub fn voice_channel(&self, n: usize) -> String {
        let channels = self.demo["channels"].as_array().expect("demo.json lists channels");
        let voice =
            channels.iter().filter(|c| c["type"] == 2).nth(n).expect("the demo has two voice channels");
        voice["id"].as_str().expect("a channel has an id").to_owned()
    }

    /// The n-th account; the first owns the guild.
    pub fn user(&self, n: usize) -> User {
        let user = &self.demo["users"][n];
        let text = |key: &str| {
            user[key].as_str().unwrap_or_else(|| panic!("demo account {n} has no {key}")).to_owned()
        };
        User { id: text("id"), token: text("token") }
    }

    /// Fetches a page over plain HTTP; it must be there.
    pub fn get(&self, path: &str) -> String {
        use std::io::{Read as _, Write as _};
        let host = self.http().trim_start_matches("http://");
        let mut stream = std::net::TcpStream::connect(host).expect("the server listens");
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout can be set");
        write!(stream, "GET {path} HTTP/1.0\r\nhost: {host}\r\n\r\n").expect("the server reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("the server answers in text");
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        assert!(head.starts_with("HTTP/1.0 200") || head.starts_with("HTTP/1.1 200"), "{path}: {head}");
        body.to_owned()
    }

    /// What the voice servers say of themselves, once it is as wanted.
    pub fn until_servers(&self, what: &str, wanted: impl Fn(&[Value]) -> bool) -> Vec<Value> {
        let deadline = Instant::now() + WITHIN;
        loop {
            let so_far = self.process.lines.said_so_far();
            let list = self.ctl(&["servers"]);
            let servers: Vec<Value> =
                list.lines().map(|line| serde_json::from_str(line).expect("ctl prints JSON")).collect();
            if wanted(&servers) {
                return servers;
            }
            // Of itself, or that it is gone.
            let is_news = self.process.lines.until_said(so_far, "a voice server", deadline);
            assert!(is_news, "waited for {what}: {servers:?}\n{}", self.process.lines.story());
        }
    }

    /// Runs `guildhall ctl` and returns what it printed; it must succeed.
    pub fn ctl(&self, args: &[&str]) -> String {
        let outcome = self.try_ctl(args);
        outcome.unwrap_or_else(|said| panic!("ctl {args:?} failed: {said}\n{}", self.process.lines.story()))
    }

    /// `guildhall ctl`, to be run.
    pub fn ctl_command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(crate::guildhall());
        command.arg("ctl").arg("--data").arg(self.data()).args(args);
        command
    }

    /// The same as [`Self::ctl`], which may fail: then with what it said.
    pub fn try_ctl(&self, args: &[&str]) -> Result<String, String> {
        let out = self.ctl_command(args).output().expect("ctl starts");
        let (stdout, stderr) = (String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
        if out.status.success() { Ok(stdout.into_owned()) } else { Err(format!("{stdout}{stderr}")) }
    }
}
