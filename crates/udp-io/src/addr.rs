//! Socket addresses as the kernel lays them out.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

/// Big enough for both families and no bigger, so that a batch of addresses stays in few cache lines.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) union RawAddr {
    pub(crate) v4: libc::sockaddr_in,
    pub(crate) v6: libc::sockaddr_in6,
}

pub(crate) const RAW_ADDR_LEN: libc::socklen_t = size_of::<RawAddr>() as libc::socklen_t;

impl RawAddr {
    pub(crate) fn zeroed() -> Self {
        // SAFETY: both members are plain integers, for which all zeros is a value.
        unsafe { std::mem::zeroed() }
    }

    /// Lays out an address; on a socket of the newer family an older address is written in its mapped form.
    pub(crate) fn set(&mut self, addr: SocketAddr, v6_socket: bool) -> libc::socklen_t {
        match (addr.ip(), v6_socket) {
            (IpAddr::V4(ip), false) => self.set_v4(ip, addr.port()),
            (IpAddr::V4(ip), true) => self.set_v6(ip.to_ipv6_mapped(), addr.port(), 0),
            (IpAddr::V6(ip), _) => {
                let scope = if let SocketAddr::V6(v6) = addr { v6.scope_id() } else { 0 };
                self.set_v6(ip, addr.port(), scope)
            }
        }
    }

    fn set_v4(&mut self, ip: Ipv4Addr, port: u16) -> libc::socklen_t {
        self.v4 = libc::sockaddr_in {
            sin_family: libc::AF_INET as libc::sa_family_t,
            sin_port: port.to_be(),
            sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(ip.octets()) },
            sin_zero: [0; 8],
        };
        size_of::<libc::sockaddr_in>() as libc::socklen_t
    }

    fn set_v6(&mut self, ip: Ipv6Addr, port: u16, scope: u32) -> libc::socklen_t {
        self.v6 = libc::sockaddr_in6 {
            sin6_family: libc::AF_INET6 as libc::sa_family_t,
            sin6_port: port.to_be(),
            sin6_flowinfo: 0,
            sin6_addr: libc::in6_addr { s6_addr: ip.octets() },
            sin6_scope_id: scope,
        };
        size_of::<libc::sockaddr_in6>() as libc::socklen_t
    }

    /// Reads an address that the kernel wrote; a mapped one comes out in the older family, so that one client
    /// has one address.
    pub(crate) fn get(&self) -> Option<SocketAddr> {
        // SAFETY: every member begins with the family, and all bytes of the union were initialised.
        let family = unsafe { self.v4.sin_family };
        match i32::from(family) {
            libc::AF_INET => {
                // SAFETY: the family says that this is the member that was written; any bytes are a value of
                // it.
                let v4 = unsafe { self.v4 };
                let ip = Ipv4Addr::from(v4.sin_addr.s_addr.to_ne_bytes());
                Some(SocketAddr::V4(SocketAddrV4::new(ip, u16::from_be(v4.sin_port))))
            }
            libc::AF_INET6 => {
                // SAFETY: as above.
                let v6 = unsafe { self.v6 };
                let ip = Ipv6Addr::from(v6.sin6_addr.s6_addr);
                let port = u16::from_be(v6.sin6_port);
                Some(match ip.to_ipv4_mapped() {
                    Some(ip) => SocketAddr::V4(SocketAddrV4::new(ip, port)),
                    None => SocketAddr::V6(SocketAddrV6::new(ip, port, 0, v6.sin6_scope_id)),
                })
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(addr: &str, v6_socket: bool, family: i32, expect: Option<&str>) {
        let mut raw = RawAddr::zeroed();
        let addr: SocketAddr = addr.parse().unwrap();
        let len = raw.set(addr, v6_socket);
        // SAFETY: the family is the first field of both members.
        let written = unsafe { raw.v4.sin_family };
        assert_eq!(i32::from(written), family);
        assert_eq!(len, if family == libc::AF_INET { 16 } else { 28 });
        assert_eq!(raw.get(), expect.map(|text| text.parse().unwrap()));
    }

    #[test]
    fn addresses_round_trip() {
        check("127.0.0.1:80", false, libc::AF_INET, Some("127.0.0.1:80"));
        check("127.0.0.1:80", true, libc::AF_INET6, Some("127.0.0.1:80"));
        check("[::1]:65535", true, libc::AF_INET6, Some("[::1]:65535"));
        check("[fe80::1%3]:1", true, libc::AF_INET6, Some("[fe80::1%3]:1"));
        assert_eq!(RawAddr::zeroed().get(), None);
    }
}
