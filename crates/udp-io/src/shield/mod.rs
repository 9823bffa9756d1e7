//! A program in the kernel that looks at what comes for a socket before anybody is woken for it (`docs/adr/0021-shield.md`).
//!
//! It lets through what comes from addresses that are known, and of what names somebody who is known, from elsewhere, so much a second each. Of the rest it drops
//! what is none of what an [`RFC 7983`] demultiplexer and the native clients' own packets allow, and lets through so much a second of what could be somebody's who is not known yet. So in a flood the process is woken for a
//! bounded number of strangers, and as long as there is none it drops nothing that the process would not drop as well.
//!
//! Knows forms and names of packets, and nothing of keys. Who is known is said from outside.
//!
//! [`RFC 7983`]: https://www.rfc-editor.org/rfc/rfc7983#section-7
mod assembler;
mod bpf;
mod program;
#[cfg(test)]
mod tests;

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::ops::Add;
use std::os::fd::{AsRawFd, OwnedFd};

use bpf::{Kind, Map};

use crate::limits::{SHIELD_ADDRESSES, SHIELD_NAMES, SHIELD_STREAMS};
use crate::socket::set_option;

/// An IPv6 address, or an IPv4 one as it is mapped there, a port, and two bytes of nothing.
const ADDRESS_BYTES: usize = 20;
/// Of a name by which browsers call us in their checks (RFC 8445 section 5.3). One of another length is not known to a shield.
const NAME_BYTES: usize = 8;
/// The number of a stretch of time, and how many came in it.
const BUCKET_BYTES: usize = 16;

/// Why the kernel has dropped datagrams, and how many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Shielded {
    /// Nothing that anybody sends us.
    pub malformed: u64,
    /// Media from nobody who is known, more than might be somebody's who just came.
    pub strangers: u64,
    /// Requests that name nobody who is known, more than may be somebody's who just came.
    pub introductions: u64,
    /// In the name of somebody who is known, from elsewhere, more than come from one whose address has just changed.
    pub elsewhere: u64,
}

impl Add for Shielded {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            malformed: self.malformed + other.malformed,
            strangers: self.strangers + other.strangers,
            introductions: self.introductions + other.introductions,
            elsewhere: self.elsewhere + other.elsewhere,
        }
    }
}

impl Shielded {
    #[must_use]
    pub fn total(&self) -> u64 {
        let Self { malformed, strangers, introductions, elsewhere } = *self;
        malformed + strangers + introductions + elsewhere
    }
}

/// The maps of one socket's program.
struct Maps {
    addresses: Map<ADDRESS_BYTES, 1>,
    /// By SSRC, in network order.
    streams: Map<4, BUCKET_BYTES>,
    names: Map<NAME_BYTES, BUCKET_BYTES>,
    budgets: Map<4, BUCKET_BYTES>,
    /// One value, of a count for each reason.
    drops: Map<4, { 8 * program::REASONS }>,
}

/// Once it is attached it works until the socket has another or is closed, whoever made it.
pub struct Shield {
    maps: Maps,
    program: OwnedFd,
}

impl Shield {
    /// An error where the process may not, or the kernel does not know enough (5.11 does).
    pub fn new() -> io::Result<Self> {
        if cfg!(target_endian = "big") {
            return Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "it is written for little-endian machines",
            ));
        }
        let maps = Maps::new()?;
        let program = bpf::load(&program::assemble(&maps), None)?;
        Ok(Self { maps, program })
    }

    pub fn attach(&self, socket: &UdpSocket) -> io::Result<()> {
        set_option(socket, libc::SOL_SOCKET, libc::SO_ATTACH_BPF, self.program.as_raw_fd())
    }

    /// Whether what comes from there is let through unseen.
    pub fn set_address(&self, address: SocketAddr, is_known: bool) -> io::Result<()> {
        // Two links may have the same one, and it would go with the first of them.
        if !is_known && matches!(address, SocketAddr::V6(address) if address.scope_id() != 0) {
            return Ok(());
        }
        let mut key = [0; ADDRESS_BYTES];
        let ip = match address.ip() {
            IpAddr::V4(ip) => ip.to_ipv6_mapped(),
            IpAddr::V6(ip) => ip,
        };
        key[..16].copy_from_slice(&ip.octets());
        key[16..18].copy_from_slice(&address.port().to_be_bytes());
        if is_known { self.maps.addresses.put(&key, &[1]) } else { self.maps.addresses.remove(&key) }
    }

    /// Whether a stream is that of a client that may turn up at another address.
    pub fn set_stream(&self, ssrc: u32, is_known: bool) -> io::Result<()> {
        set(&self.maps.streams, &ssrc.to_be_bytes(), is_known)
    }

    /// Whether a browser's checks may call us so, from wherever they come.
    pub fn set_name(&self, ufrag: &str, is_known: bool) -> io::Result<()> {
        match ufrag.as_bytes().try_into() {
            Ok(key) => set(&self.maps.names, key, is_known),
            Err(_) => Ok(()),
        }
    }

    /// Since it was made.
    pub fn shielded(&self) -> io::Result<Shielded> {
        let counts = self.maps.drops.get(&[0; 4])?;
        let count = |reason: program::Reason| {
            counts[8 * reason as usize..].first_chunk().map_or(0, |count| u64::from_ne_bytes(*count))
        };
        Ok(Shielded {
            malformed: count(program::Reason::Malformed),
            strangers: count(program::Reason::Stranger),
            introductions: count(program::Reason::Introduction),
            elsewhere: count(program::Reason::Elsewhere),
        })
    }
}

impl Maps {
    fn new() -> io::Result<Self> {
        Ok(Self {
            addresses: Map::new(Kind::Hash, SHIELD_ADDRESSES)?,
            streams: Map::new(Kind::Hash, SHIELD_STREAMS)?,
            names: Map::new(Kind::Hash, SHIELD_NAMES)?,
            budgets: Map::new(Kind::Array, program::BUDGETS)?,
            drops: Map::new(Kind::Array, 1)?,
        })
    }
}

/// With an empty bucket.
fn set<const K: usize>(map: &Map<K, BUCKET_BYTES>, key: &[u8; K], is_known: bool) -> io::Result<()> {
    if is_known { map.put(key, &[0; BUCKET_BYTES]) } else { map.remove(key) }
}

/// Takes off what another process has left at a socket.
pub fn unshield(socket: &UdpSocket) -> io::Result<()> {
    match set_option(socket, libc::SOL_SOCKET, libc::SO_DETACH_FILTER, 0) {
        // There was none.
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
        other => other,
    }
}
