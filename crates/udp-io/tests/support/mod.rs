//! A wire between two namespaces that the test makes: the server's and the clients'. Needs root.
#![allow(dead_code)]

use std::fs::File;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::Command;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

/// Nothing here takes long; a test that waits longer for something has failed.
pub const PATIENCE: Duration = Duration::from_secs(10);

pub const SERVER_V4: &str = "10.9.0.1";
pub const SERVER_V6: &str = "fd09::1";
pub const CLIENTS_V4: &str = "10.9.0.2";
pub const CLIENTS_V6: &str = "fd09::2";

/// Tells apart what one process makes.
static MADE: AtomicU8 = AtomicU8::new(0);

pub struct Net {
    name: String,
}

impl Net {
    /// Both ends are called `wire`. The calling thread is the server from now on: the sockets that it makes are there.
    pub fn enter() -> Self {
        let net = Self { name: format!("gx{}n{}", std::process::id(), MADE.fetch_add(1, Ordering::Relaxed)) };
        let (server, clients) = (net.server(), net.clients());
        ip(&format!("netns add {server}"));
        ip(&format!("netns add {clients}"));
        ip(&format!("link add wire netns {server} type veth peer name wire netns {clients}"));
        for (namespace, v4, v6) in [(&server, SERVER_V4, SERVER_V6), (&clients, CLIENTS_V4, CLIENTS_V6)] {
            ip(&format!("-n {namespace} addr add {v4}/24 dev wire"));
            ip(&format!("-n {namespace} addr add {v6}/64 dev wire nodad"));
            ip(&format!("-n {namespace} link set lo up"));
            ip(&format!("-n {namespace} link set wire up"));
        }
        enter(&server);
        net
    }

    pub fn server(&self) -> String {
        format!("{}s", self.name)
    }

    pub fn clients(&self) -> String {
        format!("{}c", self.name)
    }

    /// Does something where the clients are.
    pub fn among_clients<T: Send>(&self, act: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let there = scope.spawn(|| {
                enter(&self.clients());
                act()
            });
            there.join().expect("it does not panic")
        })
    }

    /// A socket of a client at an address, which waits for what it is asked to receive.
    pub fn client(&self, address: &str) -> UdpSocket {
        self.among_clients(|| {
            let address: std::net::IpAddr = address.parse().expect("an address");
            let socket = UdpSocket::bind(SocketAddr::new(address, 0)).expect("the address is there");
            socket.set_read_timeout(Some(PATIENCE)).expect("sockets take timeouts");
            socket
        })
    }

    /// A socket that receives whatever comes to the clients' end of the wire, as it is.
    pub fn tap(&self) -> OwnedFd {
        self.among_clients(|| {
            let everything = i32::from((libc::ETH_P_ALL as u16).to_be());
            // SAFETY: plain numbers; what comes back is a descriptor of our own, or none.
            let fd = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW, everything) };
            assert!(fd >= 0, "{}", std::io::Error::last_os_error());
            // SAFETY: it was just opened, and nobody else knows it.
            unsafe { std::os::fd::FromRawFd::from_raw_fd(fd) }
        })
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        for namespace in [self.server(), self.clients()] {
            let _ = Command::new("ip").args(["netns", "del", &namespace]).status();
        }
    }
}

/// Moves the calling thread.
fn enter(namespace: &str) {
    let file = File::open(format!("/run/netns/{namespace}")).expect("it was made");
    // SAFETY: the descriptor is open, and only this thread's network is another one afterwards.
    let code = unsafe { libc::setns(file.as_raw_fd(), libc::CLONE_NEWNET) };
    assert_eq!(code, 0, "{}", std::io::Error::last_os_error());
}

pub fn ip(arguments: &str) {
    let out = Command::new("ip").args(arguments.split(' ')).output().expect("iproute2 is installed");
    assert!(
        out.status.success(),
        "`ip {arguments}` failed (making network namespaces needs root): {}",
        String::from_utf8_lossy(&out.stderr)
    );
}
