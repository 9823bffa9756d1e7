//! Batches over real sockets on the loopback.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use udp_io::limits::{BATCH, DATAGRAM};
use udp_io::{Poller, RecvBatch, SendBatch, bind, kernel_drops, set_buffers};

fn local(family: &str) -> UdpSocket {
    bind(format!("{family}:0").parse().expect("an address")).expect("the loopback is there")
}

/// What is readable now; loopback delivery is complete when the sender's call returns.
fn drain(socket: &UdpSocket, batch: &mut RecvBatch) -> Vec<(Vec<u8>, SocketAddr)> {
    let mut all = Vec::new();
    while batch.receive(socket).expect("the socket works") > 0 {
        all.extend(batch.datagrams().map(|(data, from)| (data.to_vec(), from)));
    }
    all
}

#[track_caller]
fn check(listen: &str, speak: &str, expect_from: &str) {
    let receiver = local(listen);
    let sender = local(speak);
    let mut to = receiver.local_addr().expect("it is bound");
    if listen == "[::]" {
        to.set_ip(expect_from.parse().expect("an address"));
    }
    let mut out = SendBatch::for_socket(&sender).expect("it is bound");
    let mut batch = RecvBatch::new();
    // More rounds than one, so that the arrays are used again; more datagrams than one system call takes.
    for round in 0..3u8 {
        for at in 0..BATCH as u8 {
            let slot = out.slot().expect("there is room");
            slot[0] = round;
            slot[1] = at;
            out.commit(2 + usize::from(at), to);
        }
        assert!(out.slot().is_none() && !out.push(&[1], to), "a full batch takes nothing");
        let flushed = out.flush(&sender).expect("the socket works");
        assert_eq!((flushed.sent, flushed.dropped), (BATCH, 0));
        assert!(out.push(&[round, 0xFF], to));
        out.flush(&sender).expect("the socket works");
        let got = drain(&receiver, &mut batch);
        assert_eq!(got.len(), BATCH + 1);
        for (at, (data, from)) in got.iter().enumerate() {
            assert_eq!(from.ip().to_string(), expect_from);
            assert_eq!(from.port(), sender.local_addr().expect("it is bound").port());
            let expect = if at < BATCH { (at as u8, 2 + at) } else { (0xFF, 2) };
            assert_eq!((data[0], data[1], data.len()), (round, expect.0, expect.1));
        }
    }
    assert_eq!(out.counters().sent, 3 * (BATCH as u64 + 1));
    assert_eq!(batch.oversized(), 0);
}

#[test]
fn batches_in_every_family() {
    check("127.0.0.1", "127.0.0.1", "127.0.0.1");
    check("[::1]", "[::1]", "::1");
    check("[::]", "127.0.0.1", "127.0.0.1");
    check("[::]", "[::]", "127.0.0.1");
}

#[test]
fn nothing_there_is_no_error() {
    let socket = local("127.0.0.1");
    let mut batch = RecvBatch::new();
    assert_eq!(batch.receive(&socket).expect("the socket works"), 0);
    assert!(batch.is_empty() && batch.datagrams().next().is_none());
}

#[test]
fn received_datagrams_are_changed_in_place() {
    let (receiver, sender) = (local("127.0.0.1"), local("127.0.0.1"));
    sender.send_to(b"abc", receiver.local_addr().expect("it is bound")).expect("it is sent");
    let mut batch = RecvBatch::new();
    batch.receive(&receiver).expect("the socket works");
    for (data, _) in batch.datagrams() {
        data.reverse();
    }
    assert_eq!(batch.datagrams().map(|(data, _)| data.to_vec()).collect::<Vec<_>>(), [b"cba"]);
}

#[test]
fn oversized_datagrams_are_left_out_and_counted() {
    let (receiver, sender) = (local("127.0.0.1"), local("127.0.0.1"));
    let to = receiver.local_addr().expect("it is bound");
    for len in [DATAGRAM + 1, DATAGRAM, 0] {
        sender.send_to(&vec![7; len], to).expect("it is sent");
    }
    let mut batch = RecvBatch::new();
    let got = drain(&receiver, &mut batch);
    assert_eq!(got.iter().map(|(data, _)| data.len()).collect::<Vec<_>>(), [DATAGRAM, 0]);
    assert_eq!(batch.oversized(), 1);
}

#[test]
fn a_closed_port_hurts_nobody_else() {
    let (receiver, sender) = (local("127.0.0.1"), local("127.0.0.1"));
    let gone = local("127.0.0.1").local_addr().expect("it was bound");
    sender.connect(gone).expect("connecting sends nothing");
    let mut out = SendBatch::for_socket(&sender).expect("it is bound");
    // On a connected socket the refusal of the first datagram is reported to a later call.
    for _ in 0..4 {
        assert!(out.push(b"x", gone));
        out.flush(&sender).expect("a refusal is no error");
    }
    assert_eq!(out.counters().sent, 4);
    assert!(RecvBatch::new().receive(&sender).is_ok());
    drop(receiver);
}

#[test]
fn a_datagram_that_cannot_go_does_not_hold_up_the_rest() {
    let (receiver, sender) = (local("127.0.0.1"), local("127.0.0.1"));
    let to = receiver.local_addr().expect("it is bound");
    let mut out = SendBatch::for_socket(&sender).expect("it is bound");
    let nowhere = "[2001:db8::1]:9".parse().expect("an address");
    assert!(out.push(b"a", to) && out.push(b"b", nowhere) && out.push(b"c", to));
    let flushed = out.flush(&sender).expect("the socket works");
    assert_eq!((flushed.sent, flushed.dropped), (2, 1));
    assert_eq!((out.counters().sent, out.counters().refused), (2, 1));
    assert_eq!(drain(&receiver, &mut RecvBatch::new()).len(), 2);
}

#[test]
fn a_full_receiver_is_counted_by_the_kernel() {
    let (receiver, sender) = (local("127.0.0.1"), local("127.0.0.1"));
    let sizes = set_buffers(&receiver, 1 << 12, 1 << 20).expect("buffers are settable");
    assert!(sizes.recv_bytes < 1 << 15 && sizes.send_bytes > sizes.recv_bytes);
    assert_eq!(kernel_drops(&receiver).expect("the kernel counts"), 0);
    let to = receiver.local_addr().expect("it is bound");
    let mut out = SendBatch::for_socket(&sender).expect("it is bound");
    while out.push(&[0; 1000], to) {}
    let sent = out.flush(&sender).expect("the socket works").sent;
    let got = drain(&receiver, &mut RecvBatch::new()).len();
    let dropped = kernel_drops(&receiver).expect("the kernel counts") as usize;
    assert!(dropped > 0);
    assert_eq!(got + dropped, sent);
}

#[test]
fn the_poller_wakes_for_what_is_there_and_keeps_time() {
    let (a, b) = (local("127.0.0.1"), local("127.0.0.1"));
    let mut poller = Poller::new().expect("epoll is there");
    poller.add(&a, 1).expect("it is added");
    poller.add(&b, 2).expect("it is added");
    let begin = std::time::Instant::now();
    assert_eq!(poller.wait(Some(Duration::from_micros(1500))).expect("it waits").count(), 0);
    assert!(begin.elapsed() >= Duration::from_micros(1500));
    a.send_to(b"x", b.local_addr().expect("it is bound")).expect("it is sent");
    let ready: Vec<_> = poller.wait(None).expect("it waits").collect();
    assert_eq!(ready.iter().map(|r| (r.token, r.readable, r.closed)).collect::<Vec<_>>(), [(2, true, false)]);
    poller.set_writable(&a, 1, true).expect("it is changed");
    poller.remove(&b).expect("it is removed");
    let ready: Vec<_> = poller.wait(None).expect("it waits").collect();
    assert_eq!(
        ready.iter().map(|r| (r.token, r.readable, r.writable)).collect::<Vec<_>>(),
        [(1, false, true)]
    );
}

#[test]
fn processor_time_is_counted() {
    // In this order, so that all that the thread uses from here on is the process's too.
    let process = udp_io::process_cpu();
    let thread = udp_io::thread_cpu();
    let mut state = 1u64;
    while udp_io::thread_cpu() - thread < Duration::from_millis(2) {
        state = std::hint::black_box(state.wrapping_mul(3));
    }
    assert!(udp_io::process_cpu() - process >= Duration::from_millis(2));
    let seen = udp_io::process_cpu_of(std::process::id()).expect("this process lives");
    assert!(seen >= process);
    assert!(udp_io::process_cpu_of(u32::MAX).is_err());
}

/// The datagrams of these lengths, to one address unless `others` says which go elsewhere, all arrive as they are and in order.
#[track_caller]
fn check_trains(lens: &[usize], others: &[usize], expect_in_trains: u64) {
    let (receiver, other, sender) = (local("127.0.0.1"), local("127.0.0.1"), local("127.0.0.1"));
    set_buffers(&receiver, 4 << 20, 4 << 20).expect("buffers are set");
    let mut out = SendBatch::for_socket(&sender).expect("it is bound");
    for (at, len) in lens.iter().enumerate() {
        let to = if others.contains(&at) { &other } else { &receiver };
        assert!(out.push(&vec![at as u8; *len], to.local_addr().expect("it is bound")));
    }
    let flushed = out.flush(&sender).expect("the socket works");
    assert_eq!((flushed.sent, flushed.dropped), (lens.len(), 0));
    assert_eq!((out.counters().sent, out.counters().in_trains), (lens.len() as u64, expect_in_trains));
    for (socket, is_other) in [(&receiver, false), (&other, true)] {
        let got: Vec<Vec<u8>> =
            drain(socket, &mut RecvBatch::new()).into_iter().map(|(data, _)| data).collect();
        let expect: Vec<Vec<u8>> = (0..lens.len())
            .filter(|at| others.contains(at) == is_other)
            .map(|at| vec![at as u8; lens[at]])
            .collect();
        assert_eq!(got, expect, "{lens:?}");
    }
}

#[test]
fn those_to_one_address_go_together_and_arrive_apart() {
    check_trains(&[100, 100, 100], &[], 3);
    check_trains(&[100, 100, 60], &[], 3);
    // What is shorter ends a train, and what is longer begins another one.
    check_trains(&[100, 60, 100, 100], &[], 4);
    check_trains(&[60, 100], &[], 0);
    check_trains(&[100, 100, 100], &[1], 0);
    check_trains(&[100, 100, 100], &[0], 2);
    check_trains(&[100, 0, 0], &[], 0);
    check_trains(&[1; BATCH], &[], BATCH as u64);
    check_trains(&[1_400; BATCH], &[], BATCH as u64);
    check_trains(&[DATAGRAM; BATCH], &[], BATCH as u64);
}

#[test]
fn who_wants_none_has_no_trains() {
    let (receiver, sender) = (local("127.0.0.1"), local("127.0.0.1"));
    let mut out = SendBatch::for_socket(&sender).expect("it is bound").without_trains();
    for _ in 0..3 {
        assert!(out.push(&[7; 100], receiver.local_addr().expect("it is bound")));
    }
    out.flush(&sender).expect("the socket works");
    assert_eq!((out.counters().sent, out.counters().in_trains), (3, 0));
    assert_eq!(drain(&receiver, &mut RecvBatch::new()).len(), 3);
}
