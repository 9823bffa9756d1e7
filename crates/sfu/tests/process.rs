//! The relay's process over real sockets on loopback, its thread started as the process starts it.
#![allow(clippy::unwrap_used)]

mod support;

use std::io::Write as _;
use std::net::UdpSocket;
use std::os::fd::IntoRawFd as _;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rtp_wire::OPUS_PAYLOAD_TYPE;
use sfu::{Failure, serve};
use sfu_core::Memory;
use sfu_wire::page::BYTES;
use sfu_wire::{
    DropCount, FromSfu, Hello, PROTOCOL, RemoveLeg, Report, Retire, Retired, Snapshot, Start, ToSfu,
};
use support::{Client, Signalling, VOICE, relay};
use udp_io::Backend;
use udp_io::limits::{SHIELD_INTRODUCTIONS_PER_S, SHIELD_STRANGERS_PER_S};

/// From signalling of before there was memory.
fn start(udp: &UdpSocket, grace: Duration) -> (Signalling, JoinHandle<Result<(), Failure>>) {
    start_with(udp, None, grace)
}

fn start_with(
    udp: &UdpSocket,
    memory: Option<Memory>,
    grace: Duration,
) -> (Signalling, JoinHandle<Result<(), Failure>>) {
    let (signalling, control) = Signalling::pair();
    let udp = udp.try_clone().unwrap();
    (signalling, std::thread::spawn(move || serve(udp, control, memory, grace, &Backend::Kernel, true)))
}

#[test]
fn two_clients_talk_and_the_numbers_add_up() {
    let (udp, address) = relay();
    let (mut signalling, thread) = start(&udp, Duration::ZERO);
    signalling.start();
    assert!(matches!(signalling.hear(), FromSfu::Started(started) if started.shard == 2));
    let (mut a, mut b) = (Client::new(1, address), Client::new(2, address));
    signalling.tell(ToSfu::Snapshot(Snapshot { legs: vec![a.leg(), b.leg()] }));
    b.discover();
    signalling.await_connected(2);
    for _ in 0..100 {
        a.talk();
        assert_eq!(b.hear(), (a.ssrc(), VOICE.to_vec()));
    }
    let report = signalling.hear_report();
    let dropped: u64 = report.drops.iter().map(|drop| drop.packets).sum();
    assert_eq!(report.received, report.forwarded_in + report.consumed + dropped);
    assert_eq!((report.forwarded_in, report.consumed, dropped), (100, 1, 0));
    // Discovery's answer, and at least the frames; packets that keep paths open may have joined them.
    assert!(report.sent > 100);
    assert_eq!((report.send_failed, report.receive_overflow), (0, 0));
    assert!(report.cpu_ns > 0 && report.uptime_ns > report.cpu_ns);
    drop(signalling);
    thread.join().unwrap().unwrap();
}

/// The kernel keeps a flood from the shard, and nobody who is in the call, comes, or comes back from elsewhere.
#[test]
fn strangers_are_kept_away_and_nobody_else_is() {
    const FLOOD: u64 = 20_000;
    /// Of those who are not known, in stretches of 2^27 ns that may have begun before: packets, and requests.
    fn let_through(took: Duration) -> u64 {
        let stretches = 2 + took.as_nanos() as u64 / (1 << 27);
        let in_a_stretch = (SHIELD_STRANGERS_PER_S + SHIELD_INTRODUCTIONS_PER_S) * (1 << 27) / 1_000_000_000;
        stretches * in_a_stretch
    }
    let (udp, address) = relay();
    let (mut signalling, thread) = start(&udp, Duration::ZERO);
    signalling.start();
    let (mut a, mut b, mut c) = (Client::new(1, address), Client::new(2, address), Client::new(3, address));
    signalling.tell(ToSfu::Snapshot(Snapshot { legs: vec![a.leg(), b.leg()] }));
    b.discover();
    signalling.await_connected(2);
    // Before it says so for the first time, it has put up its shield.
    signalling.hear_report();
    let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
    let (mut packet, mut request, mut check) = ([0x55; 150], [0x55; 74], [0x55; 100]);
    packet[..2].copy_from_slice(&[0x80, OPUS_PAYLOAD_TYPE.0]);
    request[..4].copy_from_slice(&[0, 1, 0, 70]);
    check[..8].copy_from_slice(&[0, 1, 0, 80, 0x21, 0x12, 0xA4, 0x42]);
    // Held, because what still comes there is not for whoever would be given the port next.
    let mut before = None;
    let began = Instant::now();
    for n in 0..FLOOD {
        let datagrams: [&[u8]; 3] = [&packet, &request, &check];
        stranger.send_to(datagrams[n as usize % 3], address).unwrap();
        match n {
            5_000 => {
                signalling.tell(ToSfu::PutLeg(c.leg()));
                c.discover();
            }
            10_000 => {
                before = Some(std::mem::replace(&mut a.socket, UdpSocket::bind("127.0.0.1:0").unwrap()))
            }
            15_000 => signalling.tell(ToSfu::RemoveLeg(RemoveLeg { id: 3 })),
            _ => {}
        }
        // From elsewhere no more than somebody says in a moment.
        if n % 1_000 == 0 {
            a.talk();
            assert_eq!(b.hear(), (a.ssrc(), VOICE.to_vec()));
        }
    }
    let took = began.elapsed();
    let [mut turned_away, mut seen] = [0; 2];
    while turned_away + seen < FLOOD {
        let report = signalling.hear_report();
        let of = |drops: &[DropCount]| drops.iter().map(|drop| drop.packets).sum::<u64>();
        (turned_away, seen) = (of(&report.shielded), of(&report.drops));
        assert_eq!((report.receive_overflow, report.is_shielded), (0, true), "{report:?}");
    }
    assert_eq!(turned_away + seen, FLOOD);
    assert!(seen <= let_through(took), "the shard has seen {seen} of {FLOOD} in {took:?}");
    // Who has left is a stranger: of a rush of its packets the kernel drops most.
    let began = Instant::now();
    (0..2_001).for_each(|_| c.talk());
    let took = began.elapsed();
    let more = loop {
        let report = signalling.hear_report();
        let all: u64 = report.shielded.iter().chain(&report.drops).map(|drop| drop.packets).sum();
        if all >= FLOOD + 2_001 {
            break report;
        }
    };
    let all: u64 = more.drops.iter().map(|drop| drop.packets).sum();
    assert!(all - seen <= let_through(took), "{more:?} after {took:?}");
    a.talk();
    assert_eq!(b.hear(), (a.ssrc(), VOICE.to_vec()));
    drop((signalling, before));
    thread.join().unwrap().unwrap();
}

/// Versions differ by what was added, and what was added is passed over.
#[test]
fn signalling_of_the_version_before_or_after_is_obeyed() {
    let older = (PROTOCOL - 1, 0, PROTOCOL - 1);
    let newer = (PROTOCOL + 1, PROTOCOL, PROTOCOL);
    for (protocol, protocol_oldest, expect) in [older, newer] {
        let (udp, address) = relay();
        let (mut signalling, thread) = start(&udp, Duration::ZERO);
        let start = Start { protocol, protocol_oldest, shard: 2, seed: vec![9; 32], ..Start::default() };
        signalling.tell(ToSfu::Start(start));
        assert!(matches!(signalling.hear(), FromSfu::Started(started) if started.protocol == expect));
        // Field 15, which no version knows yet.
        signalling.stream.write_all(&[4, 0, 0, 0, 0x7a, 2, 8, 1]).unwrap();
        let a = Client::new(1, address);
        signalling.tell(ToSfu::Snapshot(Snapshot { legs: vec![a.leg()] }));
        a.discover();
        signalling.await_connected(1);
        drop(signalling);
        thread.join().unwrap().unwrap();
    }
}

#[test]
fn signalling_of_a_version_that_is_not_understood_is_refused() {
    let (udp, _) = relay();
    let (mut signalling, thread) = start(&udp, Duration::ZERO);
    let protocol = PROTOCOL + 1;
    signalling.tell(ToSfu::Start(Start { protocol, protocol_oldest: protocol, ..Start::default() }));
    assert!(matches!(thread.join().unwrap(), Err(Failure::Version(theirs)) if theirs.newest == protocol));
}

/// The second relay is there before the first has gone, and touches nothing until it is told to.
#[test]
fn a_relay_that_retires_leaves_the_rest_to_its_successor() {
    let (udp, address) = relay();
    let (mut a, mut b) = (Client::new(1, address), Client::new(2, address));
    let legs = vec![a.leg(), b.leg()];
    let memory = udp_io::map_memory(&udp_io::make_memory(c"test", BYTES).unwrap()).unwrap();
    let (mut signalling, mut thread) = start_with(&udp, Some(memory), Duration::ZERO);
    signalling.start();
    signalling.tell(ToSfu::Snapshot(Snapshot { legs: legs.clone() }));
    b.discover();
    signalling.await_connected(2);
    let mut taken = 0;
    for round in 0..10 {
        let (mut next, next_thread) = start_with(&udp, Some(memory), Duration::ZERO);
        assert_eq!(next.hear_hello(), Hello::of_this_version());
        (0..20).for_each(|_| a.talk());
        (0..20).for_each(|_| {
            assert_eq!(b.hear(), (a.ssrc(), VOICE.to_vec()), "the first one's, in round {round}")
        });
        // Some of these it takes before it hears that it is to go, and all of those it forwards.
        (0..10).for_each(|_| a.talk());
        signalling.tell(ToSfu::Retire(Retire {}));
        (0..10).for_each(|_| a.talk());
        taken += last_report(&mut signalling).forwarded_in;
        thread.join().unwrap().unwrap();
        // Nobody looks after them now.
        (0..10).for_each(|_| a.talk());
        (signalling, thread) = (next, next_thread);
        signalling.start();
        signalling.tell(ToSfu::Snapshot(Snapshot { legs: legs.clone() }));
        (0..30).for_each(|_| assert_eq!(b.hear(), (a.ssrc(), VOICE.to_vec()), "in round {round}"));
    }
    signalling.tell(ToSfu::Retire(Retire {}));
    taken += last_report(&mut signalling).forwarded_in;
    assert_eq!(taken, 10 * 50, "each by one of them");
    thread.join().unwrap().unwrap();
}

/// Until the relay has retired.
fn last_report(signalling: &mut Signalling) -> Report {
    let mut last = None;
    loop {
        match signalling.hear() {
            FromSfu::Report(report) => last = Some(report),
            FromSfu::Retired(Retired {}) => return last.expect("it says what it counted"),
            _ => {}
        }
    }
}

/// Some clients ask once, at once, and the relay may be in the middle of other datagrams then.
#[test]
fn a_question_that_comes_right_after_its_leg_is_answered() {
    let (udp, address) = relay();
    let (mut signalling, thread) = start(&udp, Duration::ZERO);
    signalling.start();
    signalling.hear();
    let open = Arc::new(());
    std::thread::scope(|scope| {
        // Until everyone has asked, or failed to.
        let asking = Arc::downgrade(&open);
        scope.spawn(move || {
            let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
            while asking.strong_count() > 0 {
                stranger.send_to(&[0; 8], address).unwrap();
            }
        });
        let _open = open;
        for id in 0..3_000 {
            let client = Client::new(id, address);
            signalling.tell(ToSfu::PutLeg(client.leg()));
            client.discover();
        }
    });
    drop(signalling);
    thread.join().unwrap().unwrap();
}

#[test]
fn what_was_sent_while_no_relay_ran_is_not_lost() {
    let (udp, address) = relay();
    let (mut a, mut b) = (Client::new(1, address), Client::new(2, address));
    let legs = vec![a.leg(), b.leg()];
    let memory = udp_io::map_memory(&udp_io::make_memory(c"test", BYTES).unwrap()).unwrap();
    let (mut signalling, thread) = start_with(&udp, Some(memory), Duration::ZERO);
    signalling.start();
    signalling.tell(ToSfu::Snapshot(Snapshot { legs: legs.clone() }));
    b.talk();
    a.talk();
    assert_eq!(b.hear().0, a.ssrc());
    drop(signalling);
    thread.join().unwrap().unwrap();

    b.talk();
    a.talk();
    let (mut signalling, thread) = start_with(&udp, Some(memory), Duration::ZERO);
    signalling.start();
    signalling.tell(ToSfu::Snapshot(Snapshot { legs }));
    assert_eq!(b.hear(), (a.ssrc(), VOICE.to_vec()));
    drop(signalling);
    thread.join().unwrap().unwrap();
}

#[test]
fn a_relay_takes_no_room_from_a_socket() {
    let (udp, _) = relay();
    udp_io::set_buffers(&udp, 16 << 20, 8 << 20).unwrap();
    let before = udp_io::buffers(&udp).unwrap();
    let (mut signalling, thread) = start(&udp, Duration::ZERO);
    signalling.start();
    signalling.hear();
    assert_eq!(udp_io::buffers(&udp).unwrap(), before);
    drop(signalling);
    thread.join().unwrap().unwrap();
}

#[test]
fn calls_go_on_for_a_while_without_signalling() {
    let (udp, address) = relay();
    let (mut a, mut b) = (Client::new(1, address), Client::new(2, address));
    let grace = Duration::from_millis(300);
    let (mut signalling, thread) = start(&udp, grace);
    signalling.start();
    signalling.tell(ToSfu::Snapshot(Snapshot { legs: vec![a.leg(), b.leg()] }));
    b.talk();
    signalling.await_connected(2);
    drop(signalling);
    a.talk();
    assert_eq!(b.hear(), (a.ssrc(), VOICE.to_vec()));
    thread.join().unwrap().unwrap();
}

#[test]
fn a_relay_without_calls_ends_with_its_signalling() {
    let (udp, _) = relay();
    let (mut signalling, thread) = start(&udp, Duration::from_secs(3600));
    signalling.start();
    signalling.hear();
    drop(signalling);
    thread.join().unwrap().unwrap();

    let (signalling, thread) = start(&udp, Duration::from_secs(3600));
    drop(signalling);
    thread.join().unwrap().unwrap();
}

#[test]
fn a_control_stream_of_nonsense_ends_the_relay() {
    let (udp, _) = relay();
    let (mut signalling, thread) = start(&udp, Duration::from_secs(3600));
    signalling.stream.write_all(&[0xff; 64]).unwrap();
    assert!(matches!(thread.join().unwrap(), Err(Failure::Wire(_))));

    let (mut signalling, thread) = start(&udp, Duration::from_secs(3600));
    signalling.tell(ToSfu::Snapshot(Snapshot::default()));
    assert!(matches!(thread.join().unwrap(), Err(Failure::NotStarted)));
}

#[test]
fn run_takes_its_sockets_by_number() {
    let (udp, address) = relay();
    let (mut signalling, control) = Signalling::pair();
    let shard = format!("{},{}", udp.into_raw_fd(), control.into_raw_fd());
    let thread = std::thread::spawn(|| sfu::run(["--shard".to_owned(), shard]));
    signalling.start();
    assert!(matches!(signalling.hear(), FromSfu::Started(_)));
    let a = Client::new(1, address);
    signalling.tell(ToSfu::PutLeg(a.leg()));
    a.discover();
    signalling.await_connected(1);
    signalling.tell(ToSfu::Snapshot(Snapshot::default()));
    drop(signalling);
    assert_eq!(thread.join().unwrap(), std::process::ExitCode::SUCCESS);
    assert_eq!(sfu::run([]), std::process::ExitCode::from(2));
    assert_eq!(sfu::run(["--shard=900,901".to_owned()]), std::process::ExitCode::FAILURE);
}
