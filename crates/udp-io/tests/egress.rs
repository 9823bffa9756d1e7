//! Datagrams past the kernel's IP stack, over a wire between two namespaces. Needs root.
#![allow(unsafe_code)]

mod support;

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Instant;

use support::{CLIENTS_V4, CLIENTS_V6, Net, PATIENCE, SERVER_V4, SERVER_V6, ip};
use udp_io::limits::DATAGRAM;
use udp_io::{Backend, Egress, Frames, Notice, Poller};

fn xdp() -> Backend {
    Backend::Xdp(Frames::for_shards(1).expect("there is memory"))
}

fn of<'a>(socket: &'a UdpSocket, backend: &Backend) -> Egress<'a> {
    let (egress, refused) = Egress::new(socket, backend).expect("the socket works");
    assert!(refused.is_none(), "sending past the kernel needs root: {refused:?}");
    egress
}

fn send(egress: &mut Egress, datagram: &[u8], to: SocketAddr) {
    egress.slot()[..datagram.len()].copy_from_slice(datagram);
    egress.commit(datagram.len(), to);
    egress.flush().expect("the socket works");
}

fn receive(client: &UdpSocket) -> (Vec<u8>, SocketAddr) {
    let mut buffer = [0; 4 * DATAGRAM];
    let (len, from) = client.recv_from(&mut buffer).expect("it arrives");
    (buffer[..len].to_vec(), from)
}

/// Waits until the kernel tells of something.
fn hear(egress: &mut Egress) {
    let mut poller = Poller::new().expect("epoll is there");
    poller.add(&egress.news().expect("it listens"), 0).expect("it is added");
    assert_eq!(poller.wait(Some(PATIENCE)).expect("epoll waits").count(), 1, "nothing is told");
    egress.hear();
}

/// Sends to a client, where each datagram arrives, until one of them is as wanted: whether it went directly, and where it came from. The kernel must know
/// who is there, which it tells, and changes are followed once a second at most.
fn until(egress: &mut Egress, client: &UdpSocket, wanted: impl Fn(bool, &str) -> bool) {
    let (began, to) = (Instant::now(), client.local_addr().expect("it is bound"));
    for nth in 0_u32.. {
        let before = egress.sent_directly();
        send(egress, &nth.to_be_bytes(), to);
        let (datagram, from) = receive(client);
        assert_eq!(datagram, nth.to_be_bytes());
        let (is_direct, from) = (egress.sent_directly() > before, from.ip().to_string());
        if wanted(is_direct, &from) {
            return;
        }
        assert!(began.elapsed() < PATIENCE, "to {to}, directly: {is_direct}, from {from}");
        egress.hear();
    }
}

fn until_direct(egress: &mut Egress, client: &UdpSocket) {
    until(egress, client, |is_direct, _| is_direct);
}

/// Sends until the kernel says that there is no way.
fn until_refused(egress: &mut Egress, to: SocketAddr) {
    let (began, refused) = (Instant::now(), egress.counters().refused);
    while egress.counters().refused == refused {
        assert!(began.elapsed() < PATIENCE, "there is still a way to {to}");
        egress.hear();
        send(egress, b"in vain", to);
    }
}

#[test]
fn datagrams_of_every_length_arrive_from_where_they_would_by_the_kernel() {
    let net = Net::enter();
    for (bound, client, from, max) in [
        ("0.0.0.0", CLIENTS_V4, SERVER_V4, 1_472),
        (SERVER_V4, CLIENTS_V4, SERVER_V4, 1_472),
        ("[::]", CLIENTS_V4, SERVER_V4, 1_472),
        ("[::]", CLIENTS_V6, SERVER_V6, 1_452),
    ] {
        let socket = udp_io::bind(format!("{bound}:0").parse().expect("an address")).expect("it is free");
        let mut egress = of(&socket, &xdp());
        let client = net.client(client);
        until_direct(&mut egress, &client);
        let to = client.local_addr().expect("it is bound");
        let from =
            SocketAddr::new(from.parse().expect("an address"), socket.local_addr().expect("bound").port());
        let lengths = (0..200).chain([max - 1, max]);
        let before = egress.sent_directly();
        for len in lengths.clone() {
            let datagram: Vec<u8> = (0..len).map(|at: usize| (at * at + len) as u8).collect();
            send(&mut egress, &datagram, to);
            assert_eq!(receive(&client), (datagram, from), "{len} bytes to {to}");
        }
        let direct = egress.sent_directly() - before;
        // One a second makes sure that the next hop is there.
        assert!(direct as usize > lengths.count() - 10, "{direct} to {to}");
        // What does not fit into one packet the kernel cuts into pieces.
        let before = egress.sent_directly();
        for len in [max + 1, DATAGRAM - 64] {
            send(&mut egress, &vec![7; len], to);
            assert_eq!(receive(&client), (vec![7; len], from));
        }
        assert_eq!(egress.sent_directly(), before);
        assert_eq!((egress.counters().full, egress.counters().refused), (0, 0));
    }
}

/// Apart from numbers that need not be the same, and checksums, which the kernel leaves to a wire like this one.
#[test]
fn packets_are_as_the_kernel_would_make_them() {
    let net = Net::enter();
    for (bound, client, differ) in [
        ("0.0.0.0:0", CLIENTS_V4, &[18, 19, 24, 25, 40, 41][..]),
        ("[::]:0", CLIENTS_V4, &[18, 19, 24, 25, 40, 41]),
        ("[::]:0", CLIENTS_V6, &[15, 16, 17, 60, 61]),
    ] {
        let socket = udp_io::bind(bound.parse().expect("an address")).expect("it is free");
        let mut direct = of(&socket, &xdp());
        let mut kernel = Egress::by_kernel(&socket).expect("the socket works");
        let client = net.client(client);
        until_direct(&mut direct, &client);
        let (tap, to) = (net.tap(), client.local_addr().expect("it is bound"));
        let mut packets = [&mut kernel, &mut direct].map(|egress| {
            let is_direct = egress.news().is_some();
            loop {
                let before = egress.sent_directly();
                send(egress, b"the same in both", to);
                let packet = captured(&tap, b"the same in both");
                // Now and then one goes by the kernel.
                if (egress.sent_directly() > before) == is_direct {
                    return packet;
                }
            }
        });
        for packet in &mut packets {
            for at in differ {
                packet[*at] = 0;
            }
        }
        assert_eq!(packets[0], packets[1], "{bound} to {to}");
    }
}

fn captured(tap: &std::os::fd::OwnedFd, end: &[u8]) -> Vec<u8> {
    loop {
        let mut packet = vec![0; 2_048];
        let (len, _) =
            rustix::net::recv(tap, &mut packet[..], rustix::net::RecvFlags::empty()).expect("it works");
        packet.truncate(len);
        if packet.ends_with(end) {
            return packet;
        }
    }
}

#[test]
fn a_neighbour_with_another_address_is_followed() {
    let net = Net::enter();
    for (bound, client) in [("0.0.0.0:0", CLIENTS_V4), ("[::]:0", CLIENTS_V6)] {
        let socket = udp_io::bind(bound.parse().expect("an address")).expect("it is free");
        let mut egress = of(&socket, &xdp());
        let client = net.client(client);
        until_direct(&mut egress, &client);
        for nth in 1..4 {
            let clients = net.clients();
            ip(&format!("-n {clients} link set dev wire address 02:00:00:00:00:0{nth}"));
            // Whoever has to ask for the server's address tells its own.
            ip(&format!("-n {clients} neigh flush dev wire"));
            let mut server = socket.local_addr().expect("it is bound");
            server.set_ip(
                if client.local_addr().expect("bound").is_ipv4() { SERVER_V4 } else { SERVER_V6 }
                    .parse()
                    .expect("an address"),
            );
            client.send_to(b"here I am", server).expect("there is a way");
            hear(&mut egress);
            until_direct(&mut egress, &client);
        }
    }
}

#[test]
fn what_has_no_plain_way_goes_by_the_kernel() {
    let net = Net::enter();
    let socket = udp_io::bind("[::]:0".parse().expect("an address")).expect("it is free");
    let mut egress = of(&socket, &xdp());
    for here in ["127.0.0.1", "[::1]", SERVER_V4, "[fd09::1]"] {
        let client = UdpSocket::bind(format!("{here}:0")).expect("it is free");
        client.set_read_timeout(Some(PATIENCE)).expect("sockets take timeouts");
        let to = client.local_addr().expect("it is bound");
        for nth in 0..10 {
            send(&mut egress, &[nth], to);
            assert_eq!(receive(&client).0, [nth], "to {to}");
        }
    }
    assert_eq!(egress.sent_directly(), 0);
    // There is nobody, and no way.
    for nowhere in ["10.9.0.77:9", "[fd09::77]:9", "192.0.2.1:9", "[2001:db8::1]:9"] {
        send(&mut egress, b"x", nowhere.parse().expect("an address"));
    }
    assert_eq!((egress.sent_directly(), egress.counters().refused), (0, 2));
    // A narrow way, and a tunnel's.
    let client = net.client(CLIENTS_V4);
    until_direct(&mut egress, &client);
    ip(&format!("-n {} route replace 10.9.0.0/24 dev wire mtu 1400", net.server()));
    // More in a row than go by the kernel for another reason.
    for _ in 0..3 {
        until(&mut egress, &client, |is_direct, _| !is_direct);
    }
    let before = egress.sent_directly();
    for len in [10, 1_380] {
        send(&mut egress, &vec![1; len], client.local_addr().expect("it is bound"));
        assert_eq!(receive(&client).0, vec![1; len]);
    }
    assert_eq!(egress.sent_directly(), before);
}

#[test]
fn routes_and_links_that_change_are_followed() {
    let net = Net::enter();
    let socket = udp_io::bind("0.0.0.0:0".parse().expect("an address")).expect("it is free");
    let mut egress = of(&socket, &xdp());
    let (server, clients) = (net.server(), net.clients());
    let client = net.client(CLIENTS_V4);
    until_direct(&mut egress, &client);
    // It cannot be reached, and then by another source address.
    let to = client.local_addr().expect("it is bound");
    ip(&format!("-n {server} route add unreachable {CLIENTS_V4}/32"));
    until_refused(&mut egress, to);
    ip(&format!("-n {server} addr add 10.9.0.3/24 dev wire"));
    ip(&format!("-n {server} route replace {CLIENTS_V4}/32 dev wire src 10.9.0.3"));
    until(&mut egress, &client, |is_direct, from| is_direct && from == "10.9.0.3");
    // Behind a router.
    ip(&format!("-n {clients} addr add 10.77.0.1/32 dev lo"));
    ip(&format!("-n {server} route add 10.77.0.0/16 via {CLIENTS_V4}"));
    until_direct(&mut egress, &net.client("10.77.0.1"));
    // The device rests for a while.
    ip(&format!("-n {server} link set wire down"));
    until_refused(&mut egress, to);
    ip(&format!("-n {server} link set wire up"));
    until(&mut egress, &client, |is_direct, from| is_direct && from == SERVER_V4);
}

/// Several in a row to one destination go by the kernel. More are made in a turn than there are frames.
#[test]
fn nothing_is_overtaken_whichever_way_it_goes() {
    const TURNS: u32 = 100;
    const RUNS: [usize; 8] = [1, 1, 3, 1, 2, 7, 1, 1];
    let net = Net::enter();
    let socket = udp_io::bind("0.0.0.0:0".parse().expect("an address")).expect("it is free");
    let mut egress = of(&socket, &xdp());
    let clients = [(); 2].map(|()| net.client(CLIENTS_V4));
    for client in &clients {
        udp_io::set_buffers(client, 8 << 20, 1 << 16).expect("sockets take buffers");
        until_direct(&mut egress, client);
    }
    let (before, total) = (egress.sent_directly(), egress.counters().sent);
    let mut sent = [0_u32; 2];
    for turn in 0..TURNS {
        for (nth, run) in RUNS.iter().enumerate() {
            let whom = nth % 2;
            for _ in 0..*run {
                egress.slot()[..4].copy_from_slice(&sent[whom].to_be_bytes());
                egress.commit(4, clients[whom].local_addr().expect("it is bound"));
                sent[whom] += 1;
            }
        }
        // Some turns are long.
        if turn % 60 >= 50 {
            egress.flush().expect("the socket works");
        }
    }
    egress.flush().expect("the socket works");
    for (client, sent) in clients.iter().zip(sent) {
        for nth in 0..sent {
            assert_eq!(receive(client).0, nth.to_be_bytes());
        }
    }
    let (direct, total) = (egress.sent_directly() - before, egress.counters().sent - total);
    assert_eq!(total, u64::from(sent[0] + sent[1]));
    // Seven of the seventeen of a turn, unless one makes sure that the next hop is there, and a frame is free.
    assert!((u64::from(TURNS) * 6..=u64::from(TURNS) * 7).contains(&direct), "{direct} of {total}");
}

/// As the relay's shards do, on a device that has one queue only. Another process gets none.
#[test]
fn shards_share_a_queue_and_processes_do_not() {
    let net = Net::enter();
    let frames = Frames::for_shards(2).expect("there is memory");
    let backend = Backend::Xdp(Arc::clone(&frames));
    let sockets =
        [(); 3].map(|()| udp_io::bind("0.0.0.0:0".parse().expect("an address")).expect("it is free"));
    let mut shards = [of(&sockets[0], &backend), of(&sockets[1], &backend)];
    let client = net.client(CLIENTS_V4);
    shards.iter_mut().for_each(|shard| until_direct(shard, &client));
    let to = client.local_addr().expect("it is bound");
    // More than there are frames.
    for nth in 0..3_000_u32 {
        let shard = &mut shards[nth as usize % 2];
        send(shard, &nth.to_be_bytes(), to);
        assert_eq!(receive(&client).0, nth.to_be_bytes());
    }
    let direct: u64 = shards.iter().map(Egress::sent_directly).sum();
    assert!(direct >= 2_900, "{direct}");
    let opened =
        shards.each_mut().map(|shard| matches!(shard.poll_notice(), Some(Notice::Opened { queue: 0, .. })));
    assert_eq!(opened, [true; 2]);
    assert!(Egress::new(&sockets[2], &backend).expect("it works").1.is_some(), "there is memory for two");

    let mut other = of(&sockets[2], &xdp());
    let began = Instant::now();
    let refused = loop {
        send(&mut other, b"by the kernel", to);
        assert_eq!(receive(&client).0, b"by the kernel");
        other.hear();
        if let Some(notice) = other.poll_notice() {
            break matches!(notice, Notice::Refused { .. });
        }
        assert!(began.elapsed() < PATIENCE, "nothing is said");
    };
    assert!(refused && other.sent_directly() == 0);
    // When the first shard is gone the other goes on with the queue, and a successor gets it when both are.
    let [first, mut second] = shards;
    drop(first);
    until_direct(&mut second, &client);
    drop(second);
    until_direct(&mut other, &client);
    assert!(matches!(other.poll_notice(), Some(Notice::Opened { .. })));
}

#[test]
fn whoever_may_not_sends_by_the_kernel() {
    let net = Net::enter();
    let client = net.client(CLIENTS_V4);
    let socket = udp_io::bind("0.0.0.0:0".parse().expect("an address")).expect("it is free");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // SAFETY: plain numbers; it changes this thread's user only, which may do nothing from now on.
            assert_eq!(unsafe { libc::syscall(libc::SYS_setresuid, 65_534, 65_534, 65_534) }, 0);
            let (mut egress, refused) = Egress::new(&socket, &xdp()).expect("the socket works");
            assert_eq!(refused.map(|error| error.raw_os_error()), Some(Some(libc::EPERM)));
            send(&mut egress, b"all the same", client.local_addr().expect("it is bound"));
            assert_eq!(receive(&client).0, b"all the same");
        });
    });
}
