//! A real etcd, which may be killed and started again with what it knew.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::process::Command;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::Running;
use crate::hosts::Place;
use crate::wire::WITHIN;

const READY_WITHIN: Duration = Duration::from_secs(60);

pub struct Etcd {
    process: Option<Running>,
    place: Place,
    data: TempDir,
}

impl Etcd {
    /// At an address of this process's own, so that its ports are nobody else's.
    pub fn start() -> Self {
        let pid = std::process::id();
        let [_, _, high, low] = pid.to_be_bytes();
        Self::start_at(Place::here(Ipv4Addr::new(127, 1 + high % 250, low, 77)))
    }

    pub fn start_at(place: Place) -> Self {
        let mut etcd = Self { process: None, place, data: tempfile::tempdir().expect("a temporary folder") };
        etcd.start_again();
        etcd
    }

    /// As a server is told of it.
    pub fn url(&self) -> String {
        format!("etcd://{}:2379", self.place.address)
    }

    pub fn kill(&mut self) {
        let process = self.process.take().expect("it runs");
        process.signal("KILL");
    }

    pub fn start_again(&mut self) {
        let host = self.place.address;
        let (client, peer) = (format!("http://{host}:2379"), format!("http://{host}:2380"));
        let mut command = Command::new("etcd");
        command.args(["--name", "one", "--logger", "zap", "--log-outputs", "stdout", "--data-dir"]);
        command.arg(self.data.path());
        command.args(["--listen-client-urls", &client, "--advertise-client-urls", &client]);
        command.args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer]);
        command.args(["--initial-cluster", &format!("one={peer}")]);
        let mut process = Running::start("etcd", self.place.run(command));
        let serves = |msg: &str| msg.contains("serving client traffic");
        process.lines.until("etcd to serve", READY_WITHIN, |v| v["msg"].as_str().is_some_and(serves));
        self.process = Some(process);
    }

    /// The value of a key, by etcd's own interface for JSON.
    pub fn get(&self, key: &str) -> Option<String> {
        let body = json!({"key": STANDARD.encode(key)}).to_string();
        let mut stream = TcpStream::connect((self.place.address, 2379)).expect("etcd listens");
        stream.set_read_timeout(Some(WITHIN)).expect("a connected socket takes options");
        let head = format!("POST /v3/kv/range HTTP/1.0\r\nContent-Length: {}\r\n\r\n", body.len());
        stream.write_all((head + &body).as_bytes()).expect("etcd reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("etcd answers in text");
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        assert!(head.contains(" 200 "), "{answer}");
        let found: Value = serde_json::from_str(body).expect("etcd answers in JSON");
        let value = STANDARD.decode(found["kvs"][0]["value"].as_str()?).expect("etcd writes base64");
        Some(String::from_utf8(value).expect("our values are text"))
    }
}
