//! Messages of rtnetlink (rtnetlink(7)), as far as routes, neighbours and links go.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::headers::Mac;

/// Kinds of messages.
const ERROR: u16 = 2;
const NEW_LINK: u16 = 16;
const DEL_LINK: u16 = 17;
const GET_LINK: u16 = 18;
const NEW_ADDRESS: u16 = 20;
const DEL_ADDRESS: u16 = 21;
const NEW_ROUTE: u16 = 24;
const DEL_ROUTE: u16 = 25;
const GET_ROUTE: u16 = 26;
const NEW_NEIGHBOUR: u16 = 28;
const DEL_NEIGHBOUR: u16 = 29;
const GET_NEIGHBOUR: u16 = 30;
const NEW_RULE: u16 = 32;
const DEL_RULE: u16 = 33;
const NEW_NEXT_HOP: u16 = 104;
const DEL_NEXT_HOP: u16 = 105;

const REQUEST: u16 = 1;
const HEADER: usize = 16;
/// The two upper bits of an attribute's kind say how it is made up.
const KIND: u16 = 0x3FFF;

/// Groups of what is told unasked, as bits: links, neighbours, addresses, routes, rules, next hops.
pub(super) const GROUPS: u32 = 1 | 1 << 2 | 1 << 4 | 1 << 6 | 1 << 7 | 1 << 8 | 1 << 10 | 1 << 18 | 1 << 31;

/// Attributes of a route.
mod route {
    pub const TO: u16 = 1;
    pub const FROM: u16 = 2;
    pub const DEVICE: u16 = 4;
    pub const GATEWAY: u16 = 5;
    pub const SOURCE: u16 = 7;
    pub const METRICS: u16 = 8;
    pub const MULTIPATH: u16 = 9;
    pub const VIA: u16 = 18;
    pub const ENCAP_TYPE: u16 = 21;
    pub const ENCAP: u16 = 22;
    pub const PROTOCOL: u16 = 27;
    pub const FROM_PORT: u16 = 28;
    pub const TO_PORT: u16 = 29;
    pub const HOP_LIMIT_METRIC: u16 = 10;
    /// To one host, and not to this machine.
    pub const UNICAST: u8 = 1;
}

/// Of a link.
mod link {
    pub const ADDRESS: u16 = 1;
    pub const NAME: u16 = 3;
    pub const MTU: u16 = 4;
    pub const MASTER: u16 = 10;
    pub const INFO: u16 = 18;
    pub const INFO_KIND: u16 = 1;
    pub const QUERY: u16 = 29;
    pub const SKIP_STATISTICS: u32 = 8;
    pub const ETHERNET: u16 = 1;
    pub const UP: u32 = 1;
    pub const LOOPBACK: u32 = 8;
}

/// Of a neighbour.
mod neighbour {
    pub const ADDRESS: u16 = 1;
    pub const MAC: u16 = 2;
    /// Reachable, stale, to be confirmed, being confirmed, permanent: the kernel sends to all of these.
    pub const USABLE: u16 = 0x02 | 0x04 | 0x08 | 0x10 | 0x80;
    pub const IS_PROXY: u8 = 8;
}

/// Which way datagrams of one flow leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RouteInfo {
    pub device: u32,
    pub gateway: Option<IpAddr>,
    pub source: Option<IpAddr>,
    /// A host that is reached through one device without tunnel, and nothing about it that we do not know.
    pub is_plain: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LinkInfo {
    pub device: u32,
    pub name: String,
    pub mac: Option<Mac>,
    pub mtu: usize,
    /// An Ethernet device of its own that is up: a card, or one end of a veth.
    pub is_plain: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NeighbourInfo {
    pub device: u32,
    pub address: IpAddr,
    /// None: it cannot be sent to now.
    pub mac: Option<Mac>,
}

/// What a message says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Said {
    Route(RouteInfo),
    Link(LinkInfo),
    Neighbour(NeighbourInfo),
    LinkGone(u32),
    /// Of routes, addresses, rules or next hops.
    Changed,
    /// The number of the error.
    Refused(i32),
    Other,
}

/// Asks which way datagrams from `from` to `to` go; an unspecified source address is for the kernel to choose.
pub(super) fn ask_route(request: &mut Vec<u8>, from: SocketAddr, to: SocketAddr) {
    let (family, bits) = family(to.ip());
    let from_bits = if from.ip().is_unspecified() { 0 } else { bits };
    begin(request, GET_ROUTE);
    request.extend_from_slice(&[family, bits, from_bits, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    address(request, route::TO, to.ip());
    if from_bits > 0 {
        address(request, route::FROM, from.ip());
    }
    attribute(request, route::PROTOCOL, &[libc::IPPROTO_UDP as u8]);
    attribute(request, route::FROM_PORT, &from.port().to_be_bytes());
    attribute(request, route::TO_PORT, &to.port().to_be_bytes());
    end(request);
}

pub(super) fn ask_link(request: &mut Vec<u8>, device: u32) {
    begin(request, GET_LINK);
    request.extend_from_slice(&[0; 4]);
    request.extend_from_slice(&device.to_ne_bytes());
    request.extend_from_slice(&[0; 8]);
    attribute(request, link::QUERY, &link::SKIP_STATISTICS.to_ne_bytes());
    end(request);
}

pub(super) fn ask_neighbour(request: &mut Vec<u8>, device: u32, ip: IpAddr) {
    begin(request, GET_NEIGHBOUR);
    request.extend_from_slice(&[family(ip).0, 0, 0, 0]);
    request.extend_from_slice(&device.to_ne_bytes());
    request.extend_from_slice(&[0; 4]);
    address(request, neighbour::ADDRESS, ip);
    end(request);
}

fn family(ip: IpAddr) -> (u8, u8) {
    match ip {
        IpAddr::V4(_) => (libc::AF_INET as u8, 32),
        IpAddr::V6(_) => (libc::AF_INET6 as u8, 128),
    }
}

fn begin(request: &mut Vec<u8>, kind: u16) {
    request.clear();
    request.extend_from_slice(&[0; 4]);
    request.extend_from_slice(&kind.to_ne_bytes());
    request.extend_from_slice(&REQUEST.to_ne_bytes());
    // The sequence is filled in by who sends it; the port is the kernel's.
    request.extend_from_slice(&[0; 8]);
}

fn end(request: &mut [u8]) {
    let length = request.len() as u32;
    request[..4].copy_from_slice(&length.to_ne_bytes());
}

/// Numbers a request, so that its answer is known.
pub(super) fn number(request: &mut [u8], number: u32) {
    request[8..12].copy_from_slice(&number.to_ne_bytes());
}

fn address(request: &mut Vec<u8>, kind: u16, ip: IpAddr) {
    match ip {
        IpAddr::V4(ip) => attribute(request, kind, &ip.octets()),
        IpAddr::V6(ip) => attribute(request, kind, &ip.octets()),
    }
}

fn attribute(request: &mut Vec<u8>, kind: u16, value: &[u8]) {
    request.extend_from_slice(&((4 + value.len()) as u16).to_ne_bytes());
    request.extend_from_slice(&kind.to_ne_bytes());
    request.extend_from_slice(value);
    request.resize(request.len().next_multiple_of(4), 0);
}

/// The messages of one datagram of the kernel's, with their numbers.
pub(super) fn messages(mut datagram: &[u8]) -> impl Iterator<Item = (u32, Said)> {
    std::iter::from_fn(move || {
        let length = u32_at(datagram, 0)? as usize;
        let (kind, number) = (u16_at(datagram, 4)?, u32_at(datagram, 8)?);
        let body = datagram.get(HEADER..length)?;
        datagram = datagram.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((number, said(kind, body).unwrap_or(Said::Other)))
    })
}

fn said(kind: u16, body: &[u8]) -> Option<Said> {
    Some(match kind {
        NEW_ROUTE => Said::Route(route_info(body)?),
        NEW_LINK => Said::Link(link_info(body)?),
        DEL_LINK => Said::LinkGone(u32_at(body, 4)?),
        NEW_NEIGHBOUR => Said::Neighbour(neighbour_info(body)?),
        DEL_NEIGHBOUR => Said::Neighbour(NeighbourInfo { mac: None, ..neighbour_info(body)? }),
        DEL_ROUTE | NEW_ADDRESS | DEL_ADDRESS | NEW_RULE | DEL_RULE | NEW_NEXT_HOP | DEL_NEXT_HOP => {
            Said::Changed
        }
        ERROR => Said::Refused(u32_at(body, 0)?.cast_signed().saturating_neg()),
        _ => Said::Other,
    })
}

fn route_info(body: &[u8]) -> Option<RouteInfo> {
    let mut info =
        RouteInfo { device: 0, gateway: None, source: None, is_plain: *body.get(7)? == route::UNICAST };
    for (kind, value) in attributes(body.get(12..)?) {
        match kind {
            route::DEVICE => info.device = u32_at(value, 0)?,
            route::GATEWAY => info.gateway = Some(ip(value)?),
            route::SOURCE => info.source = Some(ip(value)?),
            route::MULTIPATH | route::VIA | route::ENCAP_TYPE | route::ENCAP => info.is_plain = false,
            // IPv6 has one for every route; what it is the socket says as well.
            route::METRICS if body[0] == libc::AF_INET as u8 => {
                info.is_plain &= attributes(value).all(|(metric, _)| metric != route::HOP_LIMIT_METRIC);
            }
            _ => {}
        }
    }
    info.is_plain &= info.device != 0;
    Some(info)
}

fn link_info(body: &[u8]) -> Option<LinkInfo> {
    // Bridges tell of their ports in the same words.
    (*body.first()? == libc::AF_UNSPEC as u8).then_some(())?;
    let (hardware, device, flags) = (u16_at(body, 2)?, u32_at(body, 4)?, u32_at(body, 8)?);
    let mut info = LinkInfo { device, name: String::new(), mac: None, mtu: 0, is_plain: true };
    for (kind, value) in attributes(body.get(16..)?) {
        match kind {
            link::ADDRESS => info.mac = value.try_into().ok(),
            link::NAME => {
                info.name = String::from_utf8_lossy(value.strip_suffix(&[0]).unwrap_or(value)).into_owned();
            }
            link::MTU => info.mtu = u32_at(value, 0)? as usize,
            link::MASTER => info.is_plain = false,
            link::INFO => {
                let kind = attributes(value).find(|(kind, _)| *kind == link::INFO_KIND);
                // A card says no kind.
                info.is_plain &= kind.is_none_or(|(_, kind)| kind.starts_with(b"veth"));
            }
            _ => {}
        }
    }
    info.is_plain &= hardware == link::ETHERNET && flags & (link::UP | link::LOOPBACK) == link::UP;
    Some(info)
}

fn neighbour_info(body: &[u8]) -> Option<NeighbourInfo> {
    // And of addresses that they have learned.
    [libc::AF_INET as u8, libc::AF_INET6 as u8].contains(body.first()?).then_some(())?;
    let (device, state) = (u32_at(body, 4)?, u16_at(body, 8)?);
    let is_usable = state & neighbour::USABLE != 0 && *body.get(10)? & neighbour::IS_PROXY == 0;
    let (mut address, mut mac) = (None, None);
    for (kind, value) in attributes(body.get(12..)?) {
        match kind {
            neighbour::ADDRESS => address = ip(value),
            neighbour::MAC => mac = value.try_into().ok(),
            _ => {}
        }
    }
    Some(NeighbourInfo { device, address: address?, mac: mac.filter(|_| is_usable) })
}

fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let (length, kind) = (usize::from(u16_at(bytes, 0)?), u16_at(bytes, 2)?);
        let value = bytes.get(4..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind & KIND, value))
    })
}

fn ip(value: &[u8]) -> Option<IpAddr> {
    match value.len() {
        4 => Some(Ipv4Addr::from(<[u8; 4]>::try_from(value).ok()?).into()),
        16 => Some(Ipv6Addr::from(<[u8; 16]>::try_from(value).ok()?).into()),
        _ => None,
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(hex: &str) -> Vec<u8> {
        let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
        digits
            .chunks(2)
            .map(|two| u8::from_str_radix(std::str::from_utf8(two).unwrap(), 16).unwrap())
            .collect()
    }

    /// A message of kind and body, as a machine of either order has it.
    fn message(kind: u16, number: u32, body: &[u8]) -> Vec<u8> {
        let mut message = ((HEADER + body.len()) as u32).to_ne_bytes().to_vec();
        message.extend_from_slice(&kind.to_ne_bytes());
        message.extend_from_slice(&[0; 2]);
        message.extend_from_slice(&number.to_ne_bytes());
        message.extend_from_slice(&[0; 4]);
        message.extend_from_slice(body);
        message.resize(message.len().next_multiple_of(4), 0);
        message
    }

    fn with(head: &[u8], attributes: &[(u16, &[u8])]) -> Vec<u8> {
        let mut body = head.to_vec();
        attributes.iter().for_each(|(kind, value)| attribute(&mut body, *kind, value));
        body
    }

    fn route(kind: u8, attributes: &[(u16, &[u8])]) -> Said {
        let body = with(&[libc::AF_INET as u8, 32, 0, 0, 254, 0, 0, kind, 0, 0, 0, 0], attributes);
        messages(&message(NEW_ROUTE, 1, &body)).next().unwrap().1
    }

    #[test]
    fn questions_are_as_the_kernel_reads_them() {
        if cfg!(target_endian = "big") {
            return;
        }
        let mut asked = Vec::new();
        let check = |asked: &[u8], expect: &str| assert_eq!(asked, bytes(expect));
        ask_route(&mut asked, "0.0.0.0:50000".parse().unwrap(), "192.0.2.9:4242".parse().unwrap());
        number(&mut asked, 7);
        check(
            &asked,
            "3c000000 1a00 0100 07000000 00000000 02 20 00 00 00 00 00 00 00000000 08000100 c0000209
             05001b00 11000000 06001c00 c3500000 06001d00 10920000",
        );
        ask_route(&mut asked, "[fd00::1]:1".parse().unwrap(), "[fd00::2]:2".parse().unwrap());
        check(
            &asked,
            "5c000000 1a00 0100 00000000 00000000 0a 80 80 00 00 00 00 00 00000000
             14000100 fd000000000000000000000000000002 14000200 fd000000000000000000000000000001
             05001b00 11000000 06001c00 00010000 06001d00 00020000",
        );
        ask_neighbour(&mut asked, 3, "192.0.2.1".parse().unwrap());
        check(&asked, "24000000 1e00 0100 00000000 00000000 02000000 03000000 00000000 08000100 c0000201");
        ask_link(&mut asked, 3);
        check(
            &asked,
            "28000000 1200 0100 00000000 00000000 00000000 03000000 00000000 00000000 08001d00 08000000",
        );
    }

    #[test]
    fn routes_that_are_plain_and_routes_that_are_not() {
        let device: (u16, &[u8]) = (route::DEVICE, &3_u32.to_ne_bytes());
        let plain = RouteInfo { device: 3, gateway: None, source: None, is_plain: true };
        let odd = RouteInfo { is_plain: false, ..plain };
        assert_eq!(route(1, &[device]), Said::Route(plain));
        let gateway = RouteInfo { gateway: Some("192.0.2.1".parse().unwrap()), ..plain };
        assert_eq!(route(1, &[device, (route::GATEWAY, &[192, 0, 2, 1])]), Said::Route(gateway));
        let source = RouteInfo { source: Some("192.0.2.2".parse().unwrap()), ..plain };
        assert_eq!(route(1, &[(route::SOURCE, &[192, 0, 2, 2]), device]), Said::Route(source));
        // To this machine, to everybody, to nobody.
        for kind in [2, 3, 5, 6, 7] {
            assert_eq!(route(kind, &[device]), Said::Route(odd));
        }
        for kind in [route::MULTIPATH, route::VIA, route::ENCAP, route::ENCAP_TYPE] {
            assert_eq!(route(1, &[device, (kind, &[0; 8])]), Said::Route(odd), "{kind}");
        }
        let metrics = |metric: u16| with(&[], &[(metric, &9_u32.to_ne_bytes())]);
        assert_eq!(route(1, &[device, (route::METRICS, &metrics(2))]), Said::Route(plain));
        let hop_limit = metrics(route::HOP_LIMIT_METRIC);
        assert_eq!(route(1, &[device, (route::METRICS, &hop_limit)]), Said::Route(odd));
        assert_eq!(route(1, &[]), Said::Route(RouteInfo { device: 0, ..odd }));
    }

    #[test]
    fn links_that_are_plain_and_links_that_are_not() {
        let link = |family: u8, hardware: u16, flags: u32, attributes: &[(u16, &[u8])]| {
            let mut head = vec![family, 0];
            head.extend_from_slice(&hardware.to_ne_bytes());
            head.extend_from_slice(&3_u32.to_ne_bytes());
            head.extend_from_slice(&flags.to_ne_bytes());
            head.extend_from_slice(&[0; 4]);
            let mtu = 1_500_u32.to_ne_bytes();
            let mut all: Vec<(u16, &[u8])> =
                vec![(link::NAME, b"eth0\0"), (link::MTU, &mtu), (link::ADDRESS, &[2, 0, 0, 0, 0, 1])];
            all.extend_from_slice(attributes);
            match messages(&message(NEW_LINK, 1, &with(&head, &all))).next().unwrap().1 {
                Said::Link(info) => {
                    assert_eq!((info.device, info.name.as_str(), info.mtu), (3, "eth0", 1_500));
                    assert_eq!(info.mac, Some([2, 0, 0, 0, 0, 1]));
                    Some(info.is_plain)
                }
                _ => None,
            }
        };
        let kind = |kind: &[u8]| with(&[], &[(link::INFO_KIND, kind)]);
        let (ethernet, up) = (link::ETHERNET, link::UP | 0x1_0002);
        assert_eq!(link(0, ethernet, up, &[]), Some(true));
        assert_eq!(link(0, ethernet, up, &[(link::INFO | 0x8000, &kind(b"veth\0"))]), Some(true));
        assert_eq!(link(0, ethernet, 0x1_0002, &[]), Some(false));
        assert_eq!(link(0, 772, up | link::LOOPBACK, &[]), Some(false));
        assert_eq!(link(0, 0xFFFE, up, &[]), Some(false));
        for other in [&b"vlan\0"[..], b"bridge\0", b"bond\0", b"wireguard\0"] {
            assert_eq!(link(0, ethernet, up, &[(link::INFO, &kind(other))]), Some(false));
        }
        assert_eq!(link(0, ethernet, up, &[(link::MASTER, &9_u32.to_ne_bytes())]), Some(false));
        assert_eq!(link(libc::AF_BRIDGE as u8, ethernet, up, &[]), None);
    }

    #[test]
    fn neighbours_that_can_be_sent_to() {
        let neighbour = |kind: u16, family: u8, state: u16, flags: u8| {
            let mut head = vec![family, 0, 0, 0];
            head.extend_from_slice(&3_u32.to_ne_bytes());
            head.extend_from_slice(&state.to_ne_bytes());
            head.extend_from_slice(&[flags, 1]);
            let attributes: [(u16, &[u8]); 2] =
                [(neighbour::ADDRESS, &[192, 0, 2, 1]), (neighbour::MAC, &[2, 0, 0, 0, 0, 9])];
            match messages(&message(kind, 1, &with(&head, &attributes))).next().unwrap().1 {
                Said::Neighbour(NeighbourInfo { device: 3, mac, .. }) => Some(mac.is_some()),
                _ => None,
            }
        };
        // Reachable, stale, delay, probe, permanent.
        for state in [2, 4, 8, 16, 128] {
            assert_eq!(neighbour(NEW_NEIGHBOUR, 2, state, 0), Some(true), "{state}");
        }
        // Nothing yet, being asked for, in vain, needs none.
        for state in [0, 1, 32, 64] {
            assert_eq!(neighbour(NEW_NEIGHBOUR, 2, state, 0), Some(false), "{state}");
        }
        assert_eq!(neighbour(DEL_NEIGHBOUR, 2, 2, 0), Some(false));
        assert_eq!(neighbour(NEW_NEIGHBOUR, 2, 2, neighbour::IS_PROXY), Some(false));
        assert_eq!(neighbour(NEW_NEIGHBOUR, libc::AF_BRIDGE as u8, 2, 0), None);
    }

    #[test]
    fn what_is_cut_short_is_nothing() {
        let body = with(&[2, 32, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0], &[(route::DEVICE, &3_u32.to_ne_bytes())]);
        let mut two = message(NEW_ROUTE, 1, &body);
        two.extend_from_slice(&message(ERROR, 2, &(-101_i32).to_ne_bytes()));
        let all: Vec<_> = messages(&two).collect();
        assert_eq!((all.len(), &all[1]), (2, &(2, Said::Refused(101))));
        for len in 0..two.len() {
            assert!(messages(&two[..len]).count() < 2, "{len}");
        }
        for len in 0..body.len() {
            // Whatever is left of it, nothing breaks.
            let _ = messages(&message(NEW_ROUTE, 1, &body[..len])).count();
            let _ = messages(&message(NEW_LINK, 1, &body[..len])).count();
            let _ = messages(&message(NEW_NEIGHBOUR, 1, &body[..len])).count();
        }
    }
}
