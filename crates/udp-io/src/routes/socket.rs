//! Sockets by which the kernel is asked about routes, and tells of changes.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::net::{RecvFlags, SendFlags, recv, send};

use super::netlink::{self, Said};
use crate::limits::NETLINK_BYTES;

/// A socket of rtnetlink.
pub(super) struct Netlink {
    socket: OwnedFd,
    number: u32,
    request: Vec<u8>,
    answer: Box<[u8]>,
}

impl Netlink {
    /// Told of changes in these groups, which are bits.
    pub fn new(groups: u32) -> io::Result<Self> {
        // SAFETY: plain numbers; what comes back is a descriptor of our own, or none.
        let fd = unsafe {
            libc::socket(libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_CLOEXEC, libc::NETLINK_ROUTE)
        };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: it was just opened, and nobody else knows it.
        let socket = unsafe { OwnedFd::from_raw_fd(fd) };
        // SAFETY: an address is integers, for which all zeros is a value.
        let mut address: libc::sockaddr_nl = unsafe { std::mem::zeroed() };
        address.nl_family = libc::AF_NETLINK as libc::sa_family_t;
        address.nl_groups = groups;
        // SAFETY: the descriptor is open, and the kernel reads an address of this length.
        let code = unsafe {
            let length = size_of_val(&address) as libc::socklen_t;
            libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length)
        };
        if code < 0 {
            return Err(io::Error::last_os_error());
        }
        let answer = vec![0; NETLINK_BYTES].into_boxed_slice();
        Ok(Self { socket, number: 0, request: Vec::with_capacity(256), answer })
    }

    /// The kernel answers within the call that asks, so that nothing is waited for.
    pub fn ask(&mut self, question: impl FnOnce(&mut Vec<u8>)) -> io::Result<Said> {
        question(&mut self.request);
        self.number = self.number.wrapping_add(1);
        netlink::number(&mut self.request, self.number);
        send(&self.socket, &self.request, SendFlags::DONTWAIT)?;
        loop {
            let (length, _) = recv(&self.socket, &mut *self.answer, RecvFlags::DONTWAIT)?;
            let ours = netlink::messages(&self.answer[..length]).find(|(number, _)| *number == self.number);
            match ours {
                Some((_, Said::Refused(code))) => return Err(io::Error::from_raw_os_error(code)),
                Some((_, said)) => return Ok(said),
                // Left over from a question that was given up.
                None => {}
            }
        }
    }

    /// What else has been said, one datagram of it; false when there is nothing. An error means that something was missed.
    pub fn hear(&mut self, mut take: impl FnMut(Said)) -> io::Result<bool> {
        match recv(&self.socket, &mut *self.answer, RecvFlags::DONTWAIT) {
            Ok((length, _)) => netlink::messages(&self.answer[..length]).for_each(|(_, said)| take(said)),
            Err(rustix::io::Errno::AGAIN) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
        Ok(true)
    }
}

impl AsFd for Netlink {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// What a UDP socket that is connected says of the way there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Probed {
    pub source: std::net::IpAddr,
    /// With what is known of the path, and less what IPsec or a tunnel would add.
    pub mtu: usize,
    pub hop_limit: u8,
}

/// Sockets that are connected to find out, and never send.
pub(super) struct Probes {
    v4: UdpSocket,
    /// None where there is no IPv6.
    v6: Option<UdpSocket>,
}

impl Probes {
    /// For datagrams of a socket that is bound so.
    pub fn new(bound: SocketAddr) -> io::Result<Self> {
        let any = |ip: SocketAddr| UdpSocket::bind(ip);
        Ok(match bound {
            SocketAddr::V4(bound) => Self { v4: any((*bound.ip(), 0).into())?, v6: None },
            SocketAddr::V6(bound) => Self {
                v4: any((std::net::Ipv4Addr::UNSPECIFIED, 0).into())?,
                v6: any((*bound.ip(), 0).into()).ok(),
            },
        })
    }

    pub fn probe(&self, to: SocketAddr) -> io::Result<Probed> {
        let (socket, level, mtu, hops) = match (to, &self.v6) {
            (SocketAddr::V4(_), _) => (&self.v4, libc::IPPROTO_IP, libc::IP_MTU, libc::IP_TTL),
            (SocketAddr::V6(_), Some(v6)) => {
                (v6, libc::IPPROTO_IPV6, libc::IPV6_MTU, libc::IPV6_UNICAST_HOPS)
            }
            _ => return Err(io::ErrorKind::Unsupported.into()),
        };
        // What it was connected to before would decide its source address.
        rustix::net::connect_unspec(socket)?;
        rustix::net::connect(socket, &to)?;
        let wrong = |_| io::Error::from(io::ErrorKind::InvalidData);
        Ok(Probed {
            source: socket.local_addr()?.ip(),
            mtu: usize::try_from(option(socket, level, mtu)?).map_err(wrong)?,
            hop_limit: u8::try_from(option(socket, level, hops)?).map_err(wrong)?,
        })
    }
}

/// Reads an option of a socket that is a number.
pub(crate) fn option(socket: &impl AsFd, level: i32, name: i32) -> io::Result<i32> {
    let mut value = 0_i32;
    let mut length = size_of::<i32>() as libc::socklen_t;
    // SAFETY: the descriptor is borrowed and so open; the kernel writes at most four bytes to a local.
    let code = unsafe {
        let fd = socket.as_fd().as_raw_fd();
        libc::getsockopt(fd, level, name, (&raw mut value).cast(), &raw mut length)
    };
    if code == 0 { Ok(value) } else { Err(io::Error::last_os_error()) }
}
