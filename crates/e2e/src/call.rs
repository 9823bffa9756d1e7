//! Two of our own clients in a call that must not notice what happens around it.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::server::RELAY_REPORTED;
use crate::wire::{self, WITHIN};
use crate::{Net, Running, SaidSoFar, Server, Talk, User, postgres};

/// Making accounts by the hundred takes its time.
const RAID_WITHIN: Duration = Duration::from_secs(120);

/// The first account speaks a tone, the second listens.
pub struct Call {
    pub server: Server,
    pub channel: String,
    speaker: Talk,
    listener: Talk,
    relays: Vec<u32>,
}

impl Call {
    pub fn start(accounts: usize) -> Self {
        let server = Server::start(accounts);
        let channel = server.voice_channel(0);
        let mut listener = Talk::start(&server, &server.user(1), &channel, &["--seconds", "300"]);
        listener.connected();
        let options = ["--tone", "440", "--seconds", "300"];
        let mut speaker = Talk::start(&server, &server.user(0), &channel, &options);
        speaker.connected();
        let relays = relays(server.process.pid());
        assert_eq!(relays.len(), 1, "one voice server has one relay process");
        Self { server, channel, speaker, listener, relays }
    }

    pub fn speaking_user(&self) -> User {
        self.server.user(0)
    }

    /// Ends the call: both processes of the server are those that were started, and not a packet of the tone was lost. Returns what
    /// the listener reports.
    pub fn end(mut self) -> Value {
        assert_eq!(relays(self.server.process.pid()), self.relays, "the relay was replaced");
        let health = wire::http(&self.server, std::net::Ipv4Addr::LOCALHOST, None, "GET /healthz", None);
        assert_eq!(health.status, 200, "{health:?}");
        self.speaker.process.signal("INT");
        let said = self.speaker.report(WITHIN);
        self.listener.process.signal("INT");
        let heard = self.listener.report(WITHIN);
        let user = self.speaking_user();
        let stream = Talk::stream(&heard, &user).unwrap_or_else(|| panic!("nothing was heard: {heard}"));
        assert_eq!(stream["lost"], 0, "{heard}");
        assert_eq!((&said["reconnects"], &heard["reconnects"]), (&0.into(), &0.into()), "{said} {heard}");
        let sent = said["sent"].as_u64().expect("a number");
        let received = stream["received"].as_u64().expect("a number");
        // What the relay says at the end of a stream, five frames of silence, comes on top; and the first or last packets may fall
        // outside of the time the two were both there.
        assert!(received.abs_diff(sent) <= 10, "{said} {heard}");
        heard
    }
}

/// Synthetic participants, once all of them are in.
pub fn begin_raid(server: &Server, options: &[&str]) -> Running {
    begin_raid_by(Command::new(crate::guildhall()), server, options)
}

/// The same from where the clients of a network of our own are.
pub fn begin_raid_in(net: &Net, server: &Server, options: &[&str]) -> Running {
    let mut command = net.among_clients();
    command.arg(crate::guildhall());
    begin_raid_by(command, server, options)
}

fn begin_raid_by(mut command: Command, server: &Server, options: &[&str]) -> Running {
    command.env("RUST_LOG", "info").args(["load", "--json", "--no-floor", "--data"]);
    command.arg(server.data()).args(options);
    let load = Running::start("load", command);
    let deadline = Instant::now() + RAID_WITHIN;
    assert!(load.lines.until_said(SaidSoFar::NOTHING, "everyone is in", deadline), "{}", load.lines.story());
    load
}

/// The relay of a process that has one.
pub fn relay_of(server: u32) -> u32 {
    let [relay] = relays(server)[..] else { panic!("the server has the relays {:?}", relays(server)) };
    relay
}

/// The relay that was started since then.
pub fn relay_since(server: &Server, so_far: SaidSoFar) -> u32 {
    let lines = &server.process.lines;
    let is_said = lines.until_said(so_far, "the media relay was started", Instant::now() + 2 * WITHIN);
    assert!(is_said, "no relay was started\n{}", lines.story());
    relay_of(server.process.pid())
}

/// The relay processes that this server has started.
pub fn relays(server: u32) -> Vec<u32> {
    let processes = Path::new("/proc").read_dir().expect("Linux has it").flatten();
    let numbers = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let mut found: Vec<u32> = numbers.filter(|pid| postgres::parent_of(*pid) == Some(server)).collect();
    found.sort_unstable();
    found
}

/// The relay's sums, from the metrics page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sums {
    pub received: u64,
    pub forwarded_in: u64,
    pub consumed: u64,
    pub dropped: u64,
    /// Not received, because the kernel dropped them.
    pub shielded: u64,
}

impl Sums {
    pub fn read(server: &Server) -> Self {
        let page = wire::http(server, std::net::Ipv4Addr::LOCALHOST, None, "GET /metrics", None).text;
        let sum = |name: &str| {
            let lines = page.lines().filter(|line| line.starts_with(name));
            lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum::<f64>() as u64
        };
        Self {
            received: sum("guildhall_sfu_packets_received_total"),
            forwarded_in: sum("guildhall_sfu_packets_forwarded_in_total"),
            consumed: sum("guildhall_sfu_packets_consumed_total"),
            dropped: sum("guildhall_sfu_packets_dropped_total"),
            shielded: sum("guildhall_sfu_packets_shielded_total"),
        }
    }

    /// What was of no use, by whomever it was dropped.
    pub fn unwanted(&self) -> u64 {
        self.dropped + self.shielded
    }

    /// Waits for a report of the relay that tells of so many unwanted packets, and checks that it accounts for every packet.
    pub fn conserved_after(server: &Server, unwanted: u64) -> Self {
        let deadline = std::time::Instant::now() + WITHIN;
        loop {
            let so_far = server.process.lines.said_so_far();
            let sums = Self::read(server);
            let whole = sums.received == sums.forwarded_in + sums.consumed + sums.dropped;
            if sums.unwanted() >= unwanted && whole {
                return sums;
            }
            // The page may have been read while a report was being taken in, or one shard's is still to come.
            let is_news = server.process.lines.until_said(so_far, RELAY_REPORTED, deadline);
            assert!(is_news, "waited for {unwanted} drops: {sums:?}");
        }
    }
}
