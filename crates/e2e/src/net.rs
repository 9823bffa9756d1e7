//! A network of our own on one machine: the server in one namespace, clients in another, a wire between them, and a second wire from the
//! server to the machine itself, where tests and bots run.
//!
//! Owns: the namespaces, their addresses and routes, and their end. Everything is named after this process, so that several tests may run.
//! Deliberately does not: impair anything (`wire`), start anything. Needs root.

use std::process::Command;
use std::sync::atomic::{AtomicU8, Ordering};

/// Tells apart what one process makes.
static MADE: AtomicU8 = AtomicU8::new(0);

pub struct Net {
    name: String,
    /// The two middle numbers of its addresses: 10.A.B.0/24 is ours.
    numbers: (u8, u8),
}

impl Net {
    pub fn new() -> Self {
        let nth = MADE.fetch_add(1, Ordering::Relaxed);
        let pid = std::process::id();
        // 10.64.0.0/10 has room for 16,384 of them.
        let number = (pid.wrapping_mul(31).wrapping_add(u32::from(nth))) % (64 * 256);
        let net = Self {
            name: format!("gh{pid}n{nth}"),
            numbers: (64 + (number / 256) as u8, (number % 256) as u8),
        };
        net.make();
        net
    }

    fn make(&self) {
        let (server, clients) = (self.server_namespace(), self.clients_namespace());
        let (outer, inner) = (format!("{}o", self.name), format!("{}i", self.name));
        let mut commands = vec![
            format!("netns add {server}"),
            format!("netns add {clients}"),
            // The wire of the clients: .1 is the server, .2 they.
            format!("link add wire netns {server} type veth peer name wire netns {clients}"),
            format!("-n {server} addr add {}/30 dev wire", self.server_address()),
            format!("-n {clients} addr add {}/30 dev wire", self.client_address()),
            // The wire of the machine: .5 is the server, .6 the machine.
            format!("link add {outer} type veth peer name {inner} netns {server}"),
            format!("-n {server} addr add {}/30 dev {inner}", self.address(5)),
            format!("addr add {}/30 dev {outer}", self.address(6)),
            format!("-n {server} link set {inner} up"),
            format!("link set {outer} up"),
            format!("route add {}/32 via {}", self.server_address(), self.address(5)),
        ];
        for namespace in [&server, &clients] {
            commands.push(format!("-n {namespace} link set lo up"));
            commands.push(format!("-n {namespace} link set wire up"));
        }
        // Browsers look for a default route to learn which address is theirs.
        commands.push(format!("-n {clients} route add default via {}", self.server_address()));
        commands.iter().for_each(|command| ip(command));
    }

    /// Where the server is, for clients and for the machine alike.
    pub fn server_address(&self) -> String {
        self.address(1)
    }

    pub fn client_address(&self) -> String {
        self.address(2)
    }

    fn address(&self, last: u8) -> String {
        format!("10.{}.{}.{last}", self.numbers.0, self.numbers.1)
    }

    pub fn server_namespace(&self) -> String {
        format!("{}s", self.name)
    }

    pub fn clients_namespace(&self) -> String {
        format!("{}c", self.name)
    }

    /// The beginning of a command line that is to run where the clients are.
    pub fn among_clients(&self) -> Command {
        inside(&self.clients_namespace())
    }

    /// The same where the server is.
    pub fn beside_server(&self) -> Command {
        inside(&self.server_namespace())
    }

    /// The clients' machine gets another address, as when it goes from one network to the next; the old one is gone.
    pub fn move_clients(&self) -> String {
        let new = self.address(10);
        let (clients, server) = (self.clients_namespace(), self.server_namespace());
        ip(&format!("-n {server} addr add {}/30 dev wire", self.address(9)));
        ip(&format!("-n {clients} addr add {new}/30 dev wire"));
        ip(&format!("-n {clients} route replace default via {}", self.address(9)));
        ip(&format!("-n {clients} addr del {}/30 dev wire", self.client_address()));
        new
    }
}

impl Default for Net {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        // What lives in a namespace goes with it, the machine's end of the wire included.
        for namespace in [self.server_namespace(), self.clients_namespace()] {
            let _ = Command::new("ip").args(["netns", "del", &namespace]).status();
        }
    }
}

fn inside(namespace: &str) -> Command {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", namespace]);
    command
}

fn ip(arguments: &str) {
    let out = Command::new("ip").args(arguments.split(' ')).output().expect("iproute2 is installed");
    assert!(
        out.status.success(),
        "`ip {arguments}` failed (making network namespaces needs root): {}",
        String::from_utf8_lossy(&out.stderr)
    );
}
