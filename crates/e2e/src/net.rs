//! A network of our own on one machine: the server in one namespace, clients in another, a wire between them, and a second wire from the
//! server to the machine itself, where tests and bots run.
//!
//! Owns: the namespaces, their addresses and routes, and their end. Everything is named after this process, so that several tests may run.
//! Deliberately does not: know how a path is made bad (`impair`), start anything else. Needs root.

use std::process::Command;
use std::sync::atomic::{AtomicU8, Ordering};

use crate::impair::{Carried, Impairment, Path, Towards};

/// Tells apart what one process makes.
static MADE: AtomicU8 = AtomicU8::new(0);

pub struct Net {
    name: String,
    /// The two middle numbers of its addresses: 10.A.B.0/24 is ours.
    numbers: (u8, u8),
    /// Where the clients' wire can lose packets.
    impairment: Option<Impairment>,
}

impl Net {
    pub fn new() -> Self {
        let net = Self::named();
        net.make(&[format!(
            "link add wire netns {} type veth peer name wire netns {}",
            net.server_namespace(),
            net.clients_namespace()
        )]);
        net
    }

    /// The clients' wire can be made a bad one, which it is not to begin with.
    pub fn impairable() -> Self {
        Self::with_middle(true)
    }

    /// The same, and it is our own, which can also tell protocols apart.
    pub fn with_own_wire() -> Self {
        Self::with_middle(false)
    }

    fn with_middle(kernel_may: bool) -> Self {
        let mut net = Self::named();
        let (server, clients, middle) =
            (net.server_namespace(), net.clients_namespace(), net.middle_namespace());
        ip(&format!("netns add {middle}"));
        if kernel_may && Impairment::is_in_kernel(&middle) {
            net.make(&[format!("link add wire netns {server} type veth peer name wire netns {clients}")]);
            net.impairment = Some(Impairment::Netem { server, clients });
            return net;
        }
        net.make(&[
            format!("link add wire netns {server} type veth peer name left netns {middle}"),
            format!("link add wire netns {clients} type veth peer name right netns {middle}"),
            format!("-n {middle} link set left up"),
            format!("-n {middle} link set right up"),
            // One packet is lost at a time, not a buffer full of them.
            format!("-n {server} link set wire gso_max_segs 1"),
            format!("-n {clients} link set wire gso_max_segs 1"),
        ]);
        net.impairment = Some(Impairment::wire(&middle, 1));
        net
    }

    /// From now on packets that go this way fare like this.
    pub fn impair(&mut self, towards: Towards, path: &Path) {
        self.impairment.as_mut().expect("the net was made an impairable one").set(towards, path);
    }

    /// What has become of the packets of one direction since it was last impaired, or longer.
    pub fn carried(&mut self, towards: Towards) -> Carried {
        self.impairment.as_mut().expect("the net was made an impairable one").carried(towards)
    }

    fn named() -> Self {
        let nth = MADE.fetch_add(1, Ordering::Relaxed);
        let pid = std::process::id();
        // 10.64.0.0/10 has room for 16,384 of them.
        let number = (pid.wrapping_mul(31).wrapping_add(u32::from(nth))) % (64 * 256);
        Self {
            name: format!("gh{pid}n{nth}"),
            numbers: (64 + (number / 256) as u8, (number % 256) as u8),
            impairment: None,
        }
    }

    /// `wire` are the commands that lay the one between the server and the clients; both its ends have this name.
    fn make(&self, wire: &[String]) {
        let (server, clients) = (self.server_namespace(), self.clients_namespace());
        let (outer, inner) = (format!("{}o", self.name), format!("{}i", self.name));
        let mut commands = vec![format!("netns add {server}"), format!("netns add {clients}")];
        commands.extend_from_slice(wire);
        commands.extend([
            // The wire of the clients: .1 is the server, .2 they.
            format!("-n {server} addr add {}/30 dev wire", self.server_address()),
            format!("-n {clients} addr add {}/30 dev wire", self.client_address()),
            // The wire of the machine: .5 is the server, .6 the machine.
            format!("link add {outer} type veth peer name {inner} netns {server}"),
            format!("-n {server} addr add {}/30 dev {inner}", self.address(5)),
            format!("addr add {}/30 dev {outer}", self.address(6)),
            format!("-n {server} link set {inner} up"),
            format!("link set {outer} up"),
            format!("route add {}/32 via {}", self.server_address(), self.address(5)),
        ]);
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

    /// Where an impairable wire is impaired.
    fn middle_namespace(&self) -> String {
        format!("{}m", self.name)
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
        let middle = self.impairment.take().map(|_| self.middle_namespace());
        for namespace in [self.server_namespace(), self.clients_namespace()].into_iter().chain(middle) {
            let _ = Command::new("ip").args(["netns", "del", &namespace]).status();
        }
    }
}

pub(crate) fn inside(namespace: &str) -> Command {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", namespace]);
    command
}

pub(crate) fn ip(arguments: &str) {
    let out = Command::new("ip").args(arguments.split(' ')).output().expect("iproute2 is installed");
    assert!(
        out.status.success(),
        "`ip {arguments}` failed (making network namespaces needs root): {}",
        String::from_utf8_lossy(&out.stderr)
    );
}
