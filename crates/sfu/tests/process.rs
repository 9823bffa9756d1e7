//! The relay's process over real sockets on loopback, its thread started as the process starts it.
#![allow(clippy::unwrap_used)]

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::IntoRawFd as _;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use rtp_wire::{DiscoveryRequest, DiscoveryResponse, Kind, OPUS_PAYLOAD_TYPE, RtpHeader, Ssrc, classify};
use sfu::{Failure, serve};
use sfu_wire::{Deframer, Framed as _, FromSfu, Leg, Native, Report, Snapshot, Start, ToSfu};
use transport::{Key, Mode, NonceCounter, ReplayWindow, Session};

/// Nothing here takes long; a test that waits longer for something has failed.
const PATIENCE: Duration = Duration::from_secs(20);
const VOICE: &[u8] = b"\x78 twenty milliseconds of somebody's voice";

/// What signalling holds of a shard.
struct Signalling {
    stream: UnixStream,
    deframer: Deframer,
}

impl Signalling {
    fn pair() -> (Self, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_read_timeout(Some(PATIENCE)).unwrap();
        (Self { stream: ours, deframer: Deframer::default() }, theirs)
    }

    fn tell(&mut self, message: ToSfu) {
        let mut bytes = Vec::new();
        message.append_to(&mut bytes);
        self.stream.write_all(&bytes).unwrap();
    }

    fn start(&mut self) {
        self.tell(ToSfu::Start(Start {
            protocol: 1,
            shard: 2,
            seed: vec![9; 32],
            sender_packets_per_s_max: 0,
        }));
    }

    fn hear(&mut self) -> FromSfu {
        loop {
            if let Some(event) = self.deframer.next_message().unwrap() {
                return event;
            }
            let mut chunk = [0; 4096];
            let len = self.stream.read(&mut chunk).unwrap();
            assert!(len > 0, "the relay is gone");
            self.deframer.push(&chunk[..len]);
        }
    }

    fn hear_report(&mut self) -> Report {
        loop {
            if let FromSfu::Report(report) = self.hear() {
                return report;
            }
        }
    }

    fn await_connected(&mut self, expect: u64) {
        while !matches!(self.hear(), FromSfu::LegConnected(connected) if connected.id == expect) {}
    }
}

struct Client {
    id: u64,
    socket: UdpSocket,
    relay: SocketAddr,
    session: Session,
    seq: u16,
    window: ReplayWindow,
}

impl Client {
    fn new(id: u64, relay: SocketAddr) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let session =
            Session::new(Mode::Aes256GcmRtpsize, &Key::new([id as u8; 32]), NonceCounter::client(1), [0; 16]);
        Self { id, socket, relay, session, seq: 7, window: ReplayWindow::new() }
    }

    fn ssrc(&self) -> Ssrc {
        Ssrc(100 + self.id as u32)
    }

    fn leg(&self) -> Leg {
        let native = Native {
            mode: Mode::Aes256GcmRtpsize.name().into(),
            key: vec![self.id as u8; 32],
            claimed_address: self.socket.local_addr().unwrap().to_string(),
        };
        Leg {
            id: self.id,
            room: 1,
            ssrc: self.ssrc().0,
            speak: true,
            hear: true,
            native: Some(native),
            ..Leg::default()
        }
    }

    fn discover(&self) {
        let mut request = [0; 74];
        DiscoveryRequest { ssrc: self.ssrc() }.write(&mut request).unwrap();
        self.socket.send_to(&request, self.relay).unwrap();
        let mut answer = [0; 100];
        let (len, _) = self.socket.recv_from(&mut answer).unwrap();
        let seen = DiscoveryResponse::parse(&answer[..len]).unwrap();
        assert_eq!(SocketAddr::new(seen.ip, seen.port), self.socket.local_addr().unwrap());
    }

    fn talk(&mut self) {
        self.seq += 1;
        let header = RtpHeader {
            payload_type: OPUS_PAYLOAD_TYPE,
            seq: self.seq,
            ssrc: self.ssrc(),
            ..RtpHeader::default()
        };
        let mut buf = [0; 200];
        let at = header.write(&[], &mut buf).unwrap();
        buf[at..at + VOICE.len()].copy_from_slice(VOICE);
        let len = self.session.seal_rtp(&mut buf, at + VOICE.len()).unwrap();
        self.socket.send_to(&buf[..len], self.relay).unwrap();
    }

    fn hear(&mut self) -> (Ssrc, Vec<u8>) {
        let mut buf = [0; 2048];
        loop {
            let (len, from) = self.socket.recv_from(&mut buf).unwrap();
            assert_eq!(from, self.relay);
            if classify(&buf[..len]) == Kind::Rtp {
                let opened = self.session.open_rtp(&mut buf[..len], &mut self.window).unwrap();
                return (opened.header.ssrc, buf[opened.body].to_vec());
            }
        }
    }
}

fn start(udp: &UdpSocket, grace: Duration) -> (Signalling, JoinHandle<Result<(), Failure>>) {
    let (signalling, control) = Signalling::pair();
    let udp = udp.try_clone().unwrap();
    (signalling, std::thread::spawn(move || serve(udp, control, None, grace)))
}

fn relay() -> (UdpSocket, SocketAddr) {
    let udp = udp_io::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = udp.local_addr().unwrap();
    (udp, address)
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
    let (mut signalling, thread) = start(&udp, Duration::ZERO);
    signalling.start();
    signalling.tell(ToSfu::Snapshot(Snapshot { legs: legs.clone() }));
    b.talk();
    a.talk();
    assert_eq!(b.hear().0, a.ssrc());
    drop(signalling);
    thread.join().unwrap().unwrap();

    b.talk();
    a.talk();
    let (mut signalling, thread) = start(&udp, Duration::ZERO);
    signalling.start();
    signalling.tell(ToSfu::Snapshot(Snapshot { legs }));
    // The new process numbers streams from elsewhere; that is for the restored state to mend.
    b.window = ReplayWindow::new();
    assert_eq!(b.hear(), (a.ssrc(), VOICE.to_vec()));
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
