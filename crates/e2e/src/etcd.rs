//! A real etcd, which may be killed and started again with what it knew.

use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use crate::Running;

const READY_WITHIN: Duration = Duration::from_secs(60);

pub struct Etcd {
    process: Option<Running>,
    host: String,
    data: TempDir,
}

impl Etcd {
    /// At an address of this process's own, so that its ports are nobody else's.
    pub fn start() -> Self {
        let pid = std::process::id();
        let host = format!("127.{}.{}.77", 1 + pid / 256 % 250, pid % 256);
        let mut etcd = Self { process: None, host, data: tempfile::tempdir().expect("a temporary folder") };
        etcd.start_again();
        etcd
    }

    /// As a server is told of it.
    pub fn url(&self) -> String {
        format!("etcd://{}:2379", self.host)
    }

    pub fn kill(&mut self) {
        let process = self.process.take().expect("it runs");
        process.signal("KILL");
    }

    pub fn start_again(&mut self) {
        let (client, peer) = (format!("http://{}:2379", self.host), format!("http://{}:2380", self.host));
        let mut command = Command::new("etcd");
        command.args(["--name", "one", "--logger", "zap", "--log-outputs", "stdout", "--data-dir"]);
        command.arg(self.data.path());
        command.args(["--listen-client-urls", &client, "--advertise-client-urls", &client]);
        command.args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer]);
        command.args(["--initial-cluster", &format!("one={peer}")]);
        let mut process = Running::start("etcd", command);
        let serves = |msg: &str| msg.contains("serving client traffic");
        process.lines.until("etcd to serve", READY_WITHIN, |v| v["msg"].as_str().is_some_and(serves));
        self.process = Some(process);
    }
}
