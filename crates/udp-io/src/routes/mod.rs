//! Which way datagrams leave this machine: asked of the kernel once for each destination, and kept true by what it tells of changes.
//!
//! Owns: what was found out, for how long it is believed, and who must be sent to by the kernel for now. Whatever is not plain goes by the
//! kernel's socket. Deliberately does not: send anything.

mod netlink;
mod socket;
mod table;

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Instant;

use netlink::{LinkInfo, NeighbourInfo, RouteInfo, Said};
use socket::{Netlink, Probed, Probes, option};
use table::{Destinations, Way};

use crate::headers::{Ends, HEADROOM, Headers, Mac};
use crate::limits::{
    CONFIRM_S, DATAGRAMS_A_QUESTION, DEVICES, KNOWN_S, NEWS_A_TURN, NEXT_HOPS, QUESTIONS_A_TURN, RENEW_AFTER,
};

/// How one datagram leaves.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Exit<'a> {
    Kernel,
    /// By the kernel this once, which then makes sure that the next hop is still there. What goes to it otherwise must not be overtaken.
    KernelInOrder,
    Direct {
        headers: &'a Headers,
        next_hop: Mac,
        device: usize,
    },
}

pub(crate) struct Routes {
    questions: Netlink,
    news: Netlink,
    probes: Probes,
    socket: Facts,
    destinations: Destinations,
    hops: Vec<Hop>,
    hops_by_address: HashMap<(usize, IpAddr), u16>,
    /// They keep their places.
    links: Vec<Link>,
    /// Of all routes: with it everything that was found out is out of date.
    generation: u32,
    renewed_at: Option<Instant>,
    /// Something has changed since.
    has_changed: bool,
    /// How many of each there were in this turn.
    asked: usize,
    datagrams: usize,
    began_at: Instant,
    now: Instant,
    now_s: u32,
    confirmed_s: u32,
}

/// What the kernel would write into packets of our socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Facts {
    bound: SocketAddr,
    ttl: u8,
    type_of_service: u8,
    traffic_class: u8,
    has_flow_labels: bool,
}

struct Link {
    info: LinkInfo,
    is_known: bool,
}

struct Hop {
    device: usize,
    /// None: the kernel does not know it, or not any more.
    mac: Option<Mac>,
    must_be_confirmed: bool,
}

impl Routes {
    /// For the datagrams of one socket. An error says why they must all go by the kernel.
    pub fn new(socket: &UdpSocket) -> io::Result<Self> {
        let facts = Facts::of(socket)?;
        let now = Instant::now();
        Ok(Self {
            questions: Netlink::new(0)?,
            news: Netlink::new(netlink::GROUPS)?,
            probes: Probes::new(facts.bound)?,
            socket: facts,
            destinations: Destinations::new(),
            hops: Vec::with_capacity(NEXT_HOPS),
            hops_by_address: HashMap::with_capacity(NEXT_HOPS),
            links: Vec::with_capacity(DEVICES),
            generation: 0,
            renewed_at: None,
            has_changed: false,
            asked: 0,
            datagrams: 0,
            began_at: now,
            now,
            now_s: 0,
            confirmed_s: 0,
        })
    }

    /// Time goes on: to be called now and then while there is something to send.
    pub fn turn(&mut self, now: Instant) {
        self.now = now;
        self.now_s = now.saturating_duration_since(self.began_at).as_secs() as u32;
        (self.asked, self.datagrams) = (0, 0);
        if self.now_s >= self.confirmed_s + CONFIRM_S {
            self.confirmed_s = self.now_s;
            self.hops.iter_mut().for_each(|hop| hop.must_be_confirmed = true);
        }
        let is_soon = |at: Instant| now.saturating_duration_since(at) < RENEW_AFTER;
        if self.has_changed && !self.renewed_at.is_some_and(is_soon) {
            self.renew();
        }
    }

    /// Takes in what the kernel has told.
    pub fn hear(&mut self) {
        let (hops, by_address) = (&mut self.hops, &self.hops_by_address);
        for _ in 0..NEWS_A_TURN {
            let heard =
                self.news.hear(|said| take(said, &mut self.links, hops, by_address, &mut self.has_changed));
            match heard {
                Ok(true) => {}
                Ok(false) => return,
                // It had more to tell than the socket holds.
                Err(_) => return self.forget(),
            }
        }
    }

    /// Something about the ways there is not as it was known to be.
    pub fn doubt(&mut self) {
        self.has_changed = true;
    }

    pub fn exit(&mut self, to: SocketAddr, len: usize) -> Exit<'_> {
        let mut at = self.destinations.find(to);
        let is_known = at.is_some_and(|at| {
            let known = self.destinations.at(at);
            known.generation == self.generation && known.until_s > self.now_s
        });
        self.datagrams += 1;
        if !is_known && self.asked < QUESTIONS_A_TURN + self.datagrams / DATAGRAMS_A_QUESTION {
            self.asked += 1;
            self.find_out(to);
            at = self.destinations.find(to);
        }
        let Some(known) = at.map(|at| self.destinations.at(at)) else { return Exit::Kernel };
        // What is merely old is believed until somebody had time to ask.
        let Way::Direct { hop, max } = known.way else { return Exit::Kernel };
        if known.generation != self.generation || len > usize::from(max) {
            return Exit::Kernel;
        }
        let hop = &mut self.hops[usize::from(hop)];
        let Some(next_hop) = hop.mac else { return Exit::Kernel };
        if std::mem::take(&mut hop.must_be_confirmed) {
            return Exit::KernelInOrder;
        }
        Exit::Direct { headers: &known.headers, next_hop, device: hop.device }
    }

    /// The number of a device, by which the kernel knows it, and its name.
    pub fn device(&self, device: usize) -> (u32, &str) {
        let info = &self.links[device].info;
        (info.device, &info.name)
    }

    fn find_out(&mut self, to: SocketAddr) {
        let (headers, way) = self.explore(to).unwrap_or((Headers::NONE, Way::Kernel));
        self.destinations.put(to, headers, way, self.generation, self.now_s + KNOWN_S);
    }

    /// None: it goes by the kernel, which may know why it cannot.
    fn explore(&mut self, to: SocketAddr) -> Option<(Headers, Way)> {
        let from = self.socket.from(to)?;
        let Ok(Said::Route(route)) = self.questions.ask(|request| netlink::ask_route(request, from, to))
        else {
            return None;
        };
        let device = self.link(route.device)?;
        let probed = self.probes.probe(to).ok()?;
        let (mac, ends) = decide(&self.socket, from, to, &route, &self.links[device].info, &probed)?;
        let flow_label = if self.socket.has_flow_labels { self.destinations.flow_label(to) } else { 0 };
        let headers = Headers::new(&Ends { mac, flow_label, ..ends })?;
        let hop = self.hop(device, route.gateway.unwrap_or(to.ip()))?;
        let max = u16::try_from(headers.datagram_max(probed.mtu)).ok()?;
        Some((headers, Way::Direct { hop, max }))
    }

    /// The place of a device.
    fn link(&mut self, number: u32) -> Option<usize> {
        let at = self.links.iter().position(|link| link.info.device == number);
        if let Some(at) = at.filter(|at| self.links[*at].is_known) {
            return Some(at);
        }
        let Ok(Said::Link(info)) = self.questions.ask(|request| netlink::ask_link(request, number)) else {
            return None;
        };
        match at {
            Some(at) => self.links[at] = Link { info, is_known: true },
            None if self.links.len() == DEVICES => return None,
            None => self.links.push(Link { info, is_known: true }),
        }
        at.or(Some(self.links.len() - 1))
    }

    fn hop(&mut self, device: usize, address: IpAddr) -> Option<u16> {
        if let Some(hop) = self.hops_by_address.get(&(device, address)) {
            return Some(*hop);
        }
        if self.hops.len() == NEXT_HOPS {
            self.forget();
            return None;
        }
        let number = self.links[device].info.device;
        // There is none, or it is not known yet; the kernel will tell.
        let said = self.questions.ask(|request| netlink::ask_neighbour(request, number, address));
        let mac = match said {
            Ok(Said::Neighbour(NeighbourInfo { mac, .. })) => mac,
            _ => None,
        };
        let hop = u16::try_from(self.hops.len()).ok()?;
        self.hops.push(Hop { device, mac, must_be_confirmed: true });
        self.hops_by_address.insert((device, address), hop);
        Some(hop)
    }

    fn renew(&mut self) {
        self.has_changed = false;
        self.renewed_at = Some(self.now);
        self.generation = self.generation.wrapping_add(1);
    }

    fn forget(&mut self) {
        self.hops.clear();
        self.hops_by_address.clear();
        self.links.iter_mut().for_each(|link| link.is_known = false);
        self.renew();
    }
}

impl AsFd for Routes {
    /// Readable when there is something to [`hear`](Routes::hear).
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.news.as_fd()
    }
}

/// Takes in one thing that the kernel has told.
fn take(
    said: Said,
    links: &mut [Link],
    hops: &mut [Hop],
    hops_by_address: &HashMap<(usize, IpAddr), u16>,
    has_changed: &mut bool,
) {
    let place = |links: &[Link], number: u32| links.iter().position(|link| link.info.device == number);
    match said {
        Said::Neighbour(NeighbourInfo { device, address, mac }) => {
            let hop = place(links, device).and_then(|device| hops_by_address.get(&(device, address)));
            if let Some(hop) = hop {
                hops[usize::from(*hop)].mac = mac;
            }
        }
        Said::Link(info) => {
            // It tells of much that is no matter here.
            if let Some(at) = place(links, info.device)
                && links[at].info != info
            {
                // Some of what is told of a link is only a part.
                links[at].is_known = false;
                *has_changed = true;
            }
        }
        Said::LinkGone(number) => {
            if let Some(at) = place(links, number) {
                links[at].is_known = false;
                *has_changed = true;
            }
        }
        Said::Route(_) | Said::Changed => *has_changed = true,
        Said::Refused(_) | Said::Other => {}
    }
}

impl Facts {
    fn of(socket: &UdpSocket) -> io::Result<Self> {
        let bound = socket.local_addr()?;
        let is_v6 = bound.is_ipv6();
        let number = |level, name| option(socket, level, name);
        let small = |level, name| io::Result::Ok(u8::try_from(number(level, name)?).unwrap_or_default());
        // Something else decides on routes, or packets may be cut into pieces.
        if number(libc::SOL_SOCKET, libc::SO_MARK)? != 0 {
            return Err(io::Error::other("the socket has a mark"));
        }
        if number(libc::SOL_SOCKET, libc::SO_BINDTOIFINDEX)? != 0 {
            return Err(io::Error::other("the socket is bound to a device"));
        }
        let discovers = [libc::IP_PMTUDISC_WANT, libc::IP_PMTUDISC_DO, libc::IP_PMTUDISC_PROBE];
        if !discovers.contains(&number(libc::IPPROTO_IP, libc::IP_MTU_DISCOVER)?) {
            return Err(io::Error::other("the system does not discover paths' MTUs"));
        }
        Ok(Self {
            bound,
            ttl: small(libc::IPPROTO_IP, libc::IP_TTL)?,
            type_of_service: small(libc::IPPROTO_IP, libc::IP_TOS)?,
            traffic_class: if is_v6 { small(libc::IPPROTO_IPV6, libc::IPV6_TCLASS)? } else { 0 },
            has_flow_labels: is_v6 && number(libc::IPPROTO_IPV6, libc::IPV6_AUTOFLOWLABEL)? != 0,
        })
    }

    /// The address that datagrams to `to` are from, unspecified where the route decides; none if we do not send there ourselves.
    fn from(&self, to: SocketAddr) -> Option<SocketAddr> {
        let ip = match (self.bound.ip(), to) {
            (IpAddr::V6(bound), SocketAddr::V4(_)) if bound.is_unspecified() => Ipv4Addr::UNSPECIFIED.into(),
            (bound, to) if bound.is_ipv4() == to.is_ipv4() => bound,
            _ => return None,
        };
        let is_far = match to {
            SocketAddr::V4(to) => {
                !(to.ip().is_loopback() || to.ip().is_multicast() || to.ip().is_broadcast())
            }
            SocketAddr::V6(to) => {
                let ip = to.ip();
                // What a scope says is not part of the address that is asked about.
                let is_scoped = ip.is_unicast_link_local() || to.scope_id() != 0;
                !(ip.is_loopback() || ip.is_multicast() || is_scoped || ip.to_ipv4_mapped().is_some())
            }
        };
        (is_far && !to.ip().is_unspecified() && to.port() != 0)
            .then_some(SocketAddr::new(ip, self.bound.port()))
    }
}

/// What a packet begins with, unless something about the way is not plain.
fn decide(
    socket: &Facts,
    from: SocketAddr,
    to: SocketAddr,
    route: &RouteInfo,
    link: &LinkInfo,
    probed: &Probed,
) -> Option<(Mac, Ends)> {
    let source = if from.ip().is_unspecified() { route.source? } else { from.ip() };
    // A smaller MTU is that of a path with something on it: a tunnel, IPsec of our own, a narrow link; the kernel knows what to do about it.
    let is_plain = route.is_plain && link.is_plain && probed.source == source && probed.mtu == link.mtu;
    let fits = route.gateway.is_none_or(|gateway| gateway.is_ipv4() == to.is_ipv4());
    if !is_plain || !fits {
        return None;
    }
    let (hop_limit, traffic_class) = match to {
        SocketAddr::V4(_) => (socket.ttl, socket.type_of_service),
        SocketAddr::V6(_) => (probed.hop_limit, socket.traffic_class),
    };
    let mac = link.mac?;
    let from = SocketAddr::new(source, from.port());
    Some((mac, Ends { mac, from, to, hop_limit, traffic_class, flow_label: 0 }))
}

const _: () = assert!(HEADROOM >= 62, "the longest headers fit");
const _: () = assert!(NEXT_HOPS <= u16::MAX as usize, "they are numbered so");

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(bound: &str) -> Facts {
        let bound = bound.parse().unwrap();
        Facts { bound, ttl: 64, type_of_service: 0xB8, traffic_class: 0x20, has_flow_labels: true }
    }

    #[test]
    fn who_is_sent_to_directly_and_from_where() {
        let check = |bound: &str, to: &str, expect: Option<&str>| {
            let expect = expect.map(|from| from.parse().unwrap());
            assert_eq!(facts(bound).from(to.parse().unwrap()), expect, "{bound} to {to}");
        };
        check("0.0.0.0:5", "192.0.2.1:9", Some("0.0.0.0:5"));
        check("192.0.2.7:5", "192.0.2.1:9", Some("192.0.2.7:5"));
        check("[::]:5", "192.0.2.1:9", Some("0.0.0.0:5"));
        check("[::]:5", "[2001:db8::1]:9", Some("[::]:5"));
        check("[2001:db8::7]:5", "[2001:db8::1]:9", Some("[2001:db8::7]:5"));
        check("[2001:db8::7]:5", "192.0.2.1:9", None);
        check("0.0.0.0:5", "[2001:db8::1]:9", None);
        for near in [
            "127.0.0.1:9",
            "0.0.0.0:9",
            "224.0.0.1:9",
            "255.255.255.255:9",
            "192.0.2.1:0",
            "[::1]:9",
            "[::]:9",
            "[ff02::1]:9",
            "[fe80::1%3]:9",
            "[fe80::1]:9",
            "[2001:db8::1%3]:9",
            "[::ffff:192.0.2.1]:9",
        ] {
            check("[::]:5", near, None);
        }
    }

    #[test]
    fn only_plain_ways_are_gone_directly() {
        let to: SocketAddr = "192.0.2.1:9".parse().unwrap();
        let any: SocketAddr = "0.0.0.0:5".parse().unwrap();
        let source = "192.0.2.7".parse().unwrap();
        let mac = [2, 0, 0, 0, 0, 1];
        let route = RouteInfo { device: 3, gateway: None, source: Some(source), is_plain: true };
        let link = LinkInfo { device: 3, name: String::new(), mac: Some(mac), mtu: 1_500, is_plain: true };
        let probed = Probed { source, mtu: 1_500, hop_limit: 61 };
        let decide = |from, route, link: &LinkInfo, probed| {
            decide(&facts("0.0.0.0:5"), from, to, &route, link, &probed).map(|(_, ends)| ends)
        };
        let from = SocketAddr::new(source, 5);
        let ends = Ends { mac, from, to, hop_limit: 64, traffic_class: 0xB8, flow_label: 0 };
        assert_eq!(decide(any, route, &link, probed), Some(ends));
        assert_eq!(decide(from, RouteInfo { source: None, ..route }, &link, probed), Some(ends));
        let gateway = RouteInfo { gateway: Some("192.0.2.254".parse().unwrap()), ..route };
        assert_eq!(decide(any, gateway, &link, probed), Some(ends));

        let none = |route, link: &LinkInfo, probed| assert_eq!(decide(any, route, link, probed), None);
        none(RouteInfo { is_plain: false, ..route }, &link, probed);
        none(RouteInfo { source: None, ..route }, &link, probed);
        none(RouteInfo { gateway: Some("fe80::1".parse().unwrap()), ..route }, &link, probed);
        none(route, &LinkInfo { is_plain: false, ..link.clone() }, probed);
        none(route, &LinkInfo { mac: None, ..link.clone() }, probed);
        none(route, &LinkInfo { mtu: 9_000, ..link.clone() }, probed);
        // A path that is narrower, as by IPsec; a socket that would send from elsewhere.
        none(route, &link, Probed { mtu: 1_438, ..probed });
        none(route, &link, Probed { source: "192.0.2.8".parse().unwrap(), ..probed });

        let to = "[2001:db8::1]:9".parse().unwrap();
        let source = "2001:db8::7".parse().unwrap();
        let (route, probed) = (RouteInfo { source: Some(source), ..route }, Probed { source, ..probed });
        let any = "[::]:5".parse().unwrap();
        let ends = super::decide(&facts("[::]:5"), any, to, &route, &link, &probed).map(|(_, ends)| ends);
        let expect = Ends {
            mac,
            from: SocketAddr::new(source, 5),
            to,
            hop_limit: 61,
            traffic_class: 0x20,
            flow_label: 0,
        };
        assert_eq!(ends, Some(expect));
    }
}
