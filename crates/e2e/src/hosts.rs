//! A LAN of hosts on one machine: a switch in a namespace of its own, a namespace with an address for each host, and the test machine at a port
//! like any other.
//!
//! Owns: the namespaces, their addresses, what the switch cuts and loses, and the end of all that. Deliberately does not: know what runs on a
//! host. Needs root and nftables.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};

use serde_json::Value;

use crate::net::{inside, ip};

/// Tells apart what one process makes.
static MADE: AtomicU8 = AtomicU8::new(0);

/// Where tests, bots and our own clients run.
pub const MACHINE: &str = "machine";

/// Before any host's packets go on: pairs of ports between which nothing does, and what is lost by chance.
const RULES: &str = "table bridge lan {
    set cut { type ifname . ifname; }
    chain lossy { }
    chain forward {
        type filter hook forward priority 0; policy accept;
        iifname . oifname @cut drop
        jump lossy
    }
}";

/// Which packets between a host and others do not get through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    Both,
    FromHost,
    ToHost,
}

pub struct Lan {
    name: String,
    /// The two middle numbers of its addresses: 10.A.B.0/24 is ours.
    numbers: (u8, u8),
    /// Each with the number of its port at the switch; the machine has 0.
    hosts: BTreeMap<String, u8>,
}

/// Where a process runs, and the address that is its own there.
#[derive(Debug, Clone)]
pub struct Place {
    pub address: Ipv4Addr,
    /// None: beside the tests.
    namespace: Option<String>,
}

impl Place {
    pub fn here(address: Ipv4Addr) -> Self {
        Self { address, namespace: None }
    }

    /// Whether all ports of the address are free.
    pub fn is_a_host(&self) -> bool {
        self.namespace.is_some()
    }

    /// The same command, there.
    pub fn run(&self, command: Command) -> Command {
        let Some(namespace) = &self.namespace else { return command };
        let mut there = inside(namespace);
        there.arg(command.get_program()).args(command.get_args());
        for (key, value) in command.get_envs() {
            match value {
                Some(value) => there.env(key, value),
                None => there.env_remove(key),
            };
        }
        if let Some(folder) = command.get_current_dir() {
            there.current_dir(folder);
        }
        there
    }
}

impl Lan {
    pub fn new() -> Self {
        let nth = MADE.fetch_add(1, Ordering::Relaxed);
        let pid = std::process::id();
        // 10.128.0.0/10 has room for 16,384 of them.
        let number = (pid.wrapping_mul(31).wrapping_add(u32::from(nth))) % (64 * 256);
        let name = format!("gl{pid}n{nth}");
        let numbers = (128 + (number / 256) as u8, (number % 256) as u8);
        let lan = Self { name, numbers, hosts: BTreeMap::from([(MACHINE.to_owned(), 0)]) };
        let (switch, machine) = (lan.switch(), lan.machine());
        ip(&format!("netns add {switch}"));
        ip(&format!("-n {switch} link add name sw type bridge"));
        ip(&format!("-n {switch} link set sw up"));
        ip(&format!("link add {machine} type veth peer name p0 netns {switch}"));
        ip(&format!("addr add {}/24 dev {machine}", lan.address(MACHINE)));
        ip(&format!("link set {machine} up"));
        lan.plug_in("p0");
        lan.rules(RULES);
        lan
    }

    /// A host of this name, which is made if there is none yet.
    pub fn host(&mut self, name: &str) -> Place {
        if !self.hosts.contains_key(name) {
            let number = u8::try_from(self.hosts.len()).expect("a handful of hosts");
            self.hosts.insert(name.to_owned(), number);
            let (host, switch, port) = (self.namespace(name), self.switch(), port(number));
            ip(&format!("netns add {host}"));
            ip(&format!("link add eth netns {host} type veth peer name {port} netns {switch}"));
            ip(&format!("-n {host} addr add {}/24 dev eth", self.address(name)));
            // One packet is lost at a time, not a buffer full of them.
            ip(&format!("-n {host} link set eth gso_max_segs 1"));
            ip(&format!("-n {host} link set eth up"));
            ip(&format!("-n {host} link set lo up"));
            self.plug_in(&port);
        }
        Place { address: self.address(name), namespace: Some(self.namespace(name)) }
    }

    fn plug_in(&self, port: &str) {
        let switch = self.switch();
        ip(&format!("-n {switch} link set {port} master sw"));
        ip(&format!("-n {switch} link set {port} up"));
    }

    /// From everybody, the machine included.
    pub fn cut_off(&self, host: &str) {
        let others: Vec<&str> = self.hosts.keys().map(String::as_str).filter(|name| *name != host).collect();
        self.cut(host, &others, Way::Both);
    }

    /// Nothing is said of it to either end, as when a cable is cut somewhere.
    pub fn cut(&self, host: &str, others: &[&str], way: Way) {
        let one = port(self.number(host));
        for other in others {
            let other = port(self.number(other));
            let (from, to) = (format!("\"{one}\" . \"{other}\""), format!("\"{other}\" . \"{one}\""));
            let pairs = match way {
                Way::Both => format!("{from}, {to}"),
                Way::FromHost => from,
                Way::ToHost => to,
            };
            self.rules(&format!("add element bridge lan cut {{ {pairs} }}"));
        }
    }

    /// Whatever was cut is whole again.
    pub fn heal(&self) {
        self.rules("flush set bridge lan cut");
    }

    /// From now on this share of the packets is lost on every host's link, each way, by chance; the machine's own link loses none.
    pub fn lose(&self, share: f64) {
        let per_mille = (share * 1_000.0) as u32;
        let mut rules = "flush chain bridge lan lossy\n".to_owned();
        for number in self.hosts.values().filter(|number| per_mille > 0 && **number > 0) {
            for direction in ["iifname", "oifname"] {
                // A lost address resolution would stop a path for a second.
                let chance = format!("ether type ip numgen random mod 1000 < {per_mille}");
                let port = port(*number);
                rules += &format!("add rule bridge lan lossy {direction} \"{port}\" {chance} counter drop\n");
            }
        }
        self.rules(&rules);
    }

    /// How many packets were lost by chance since [`Self::lose`].
    pub fn lost(&self) -> u64 {
        let mut command = inside(&self.switch());
        let out = command.args(["nft", "-j", "list", "chain", "bridge", "lan", "lossy"]).output();
        let list: Value =
            serde_json::from_slice(&out.expect("nftables is installed").stdout).expect("nft prints JSON");
        let rules = list["nftables"]
            .as_array()
            .expect("a list")
            .iter()
            .filter_map(|entry| entry["rule"]["expr"].as_array());
        rules.flatten().filter_map(|part| part["counter"]["packets"].as_u64()).sum()
    }

    pub fn address(&self, host: &str) -> Ipv4Addr {
        Ipv4Addr::new(10, self.numbers.0, self.numbers.1, 1 + self.number(host))
    }

    fn number(&self, host: &str) -> u8 {
        *self.hosts.get(host).unwrap_or_else(|| panic!("there is no host {host}"))
    }

    fn namespace(&self, host: &str) -> String {
        format!("{}h{}", self.name, self.number(host))
    }

    fn switch(&self) -> String {
        format!("{}s", self.name)
    }

    /// The machine's end of its wire, which carries the name of this process because it lies among everybody's.
    fn machine(&self) -> String {
        format!("{}o", self.name)
    }

    /// All or none of them come into force.
    fn rules(&self, text: &str) {
        let mut command = inside(&self.switch());
        command.args(["nft", "-f", "-"]).stdin(Stdio::piped()).stderr(Stdio::piped());
        let mut nft = command.spawn().expect("iproute2 is installed");
        let written = nft.stdin.take().expect("it is piped").write_all(text.as_bytes());
        let out = nft.wait_with_output().expect("it was started");
        let said = String::from_utf8_lossy(&out.stderr);
        assert!(
            written.is_ok() && out.status.success(),
            "`nft` failed (is nftables installed?): {said}\n{text}"
        );
    }
}

fn port(number: u8) -> String {
    format!("p{number}")
}

impl Default for Lan {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Lan {
    fn drop(&mut self) {
        // What lives in a namespace goes with it, the machine's end of the wire included.
        let hosts = self.hosts.keys().filter(|name| *name != MACHINE).map(|name| self.namespace(name));
        for namespace in hosts.chain([self.switch()]) {
            let _ = Command::new("ip").args(["netns", "del", &namespace]).status();
        }
    }
}
