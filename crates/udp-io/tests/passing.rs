//! Descriptors between processes.
#![allow(unsafe_code)]

use std::io::{Read as _, Write as _};
use std::net::UdpSocket;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, IntoRawFd, OwnedFd};
use std::os::unix::fs::FileExt as _;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::sync::atomic::Ordering;

use udp_io::{
    Poller, adopt_fd, adopt_udp, bind, inherit_fds, make_memory, map_memory, recv_fds, send_fds,
    set_inheritable,
};

#[test]
fn sockets_travel_with_a_message() {
    let (ours, theirs) = UnixStream::pair().expect("a pair");
    let sockets: Vec<UdpSocket> =
        (0..3).map(|_| bind("127.0.0.1:0".parse().expect("an address")).expect("a socket")).collect();
    let borrowed: Vec<_> = sockets.iter().map(AsFd::as_fd).collect();
    assert_eq!(send_fds(&ours, b"three", &borrowed).expect("it is sent"), 5);
    let ports: Vec<_> = sockets.iter().map(|s| s.local_addr().expect("it is bound")).collect();
    drop(sockets);
    let mut data = [0; 16];
    let mut fds = Vec::new();
    assert_eq!(recv_fds(&theirs, &mut data, &mut fds).expect("it is received"), 5);
    assert_eq!(&data[..5], b"three");
    // They are the same sockets, still bound although the sender closed its own.
    let got: Vec<_> =
        fds.into_iter().map(|fd| UdpSocket::from(fd).local_addr().expect("it is bound")).collect();
    assert_eq!(got, ports);
}

#[test]
fn messages_without_descriptors_and_the_end() {
    let (ours, theirs) = UnixStream::pair().expect("a pair");
    send_fds(&ours, b"x", &[]).expect("it is sent");
    drop(ours);
    let mut fds = Vec::new();
    assert_eq!(recv_fds(&theirs, &mut [0; 4], &mut fds).expect("it is received"), 1);
    assert_eq!(recv_fds(&theirs, &mut [0; 4], &mut fds).expect("the end is no error"), 0);
    assert!(fds.is_empty());
}

#[test]
fn what_cannot_be_sent_is_refused() {
    let (ours, _theirs) = UnixStream::pair().expect("a pair");
    assert!(send_fds(&ours, b"", &[]).is_err(), "descriptors need a byte to travel with");
    let many = vec![ours.as_fd(); udp_io::limits::PASSED_FDS + 1];
    assert!(send_fds(&ours, b"x", &many).is_err());
    assert_eq!(send_fds(&ours, b"x", &many[1..]).expect("the limit itself is allowed"), 1);
}

#[test]
fn a_child_gets_each_descriptor_under_its_number() {
    let pairs: Vec<_> = (0..3).map(|_| UnixStream::pair().expect("a pair")).collect();
    let (mut ours, theirs): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
    let mut command = Command::new("sh");
    command.args(["-c", "echo three >&3; echo four >&4; echo five >&5"]).stdin(Stdio::null());
    // In falling order, so that the numbers wanted are very likely those that the others have now.
    let numbers = [5, 4, 3];
    let fds = theirs.into_iter().map(OwnedFd::from).zip(numbers).collect();
    inherit_fds(&mut command, fds).expect("they are taken");
    assert!(command.status().expect("there is a shell").success());
    drop(command);
    let said: Vec<String> = ours
        .iter_mut()
        .map(|stream| {
            let mut text = String::new();
            stream.read_to_string(&mut text).expect("the child wrote and closed");
            text
        })
        .collect();
    assert_eq!(said, ["five\n", "four\n", "three\n"]);
}

#[test]
fn a_descriptor_is_adopted_once() {
    let socket = bind("127.0.0.1:0".parse().expect("an address")).expect("a socket");
    let addr = socket.local_addr().expect("it is bound");
    set_inheritable(&socket, true).expect("it is changed");
    let number = socket.into_raw_fd();
    let adopted = adopt_udp(number).expect("it is a socket");
    assert_eq!(adopted.local_addr().expect("it is bound"), addr);
    assert_eq!(adopted.as_raw_fd(), number);
    assert!(adopt_fd(number).is_err(), "a second owner");
    assert!(adopt_fd(1).is_err(), "the standard streams are not ours");
    assert!(adopt_fd(1 << 20).is_err(), "not open");
}

#[test]
fn only_datagram_sockets_are_adopted_as_such() {
    let (stream, _other) = UnixStream::pair().expect("a pair");
    assert!(adopt_udp(stream.into_raw_fd()).is_err());
    let file = tempfile::tempfile().expect("a file");
    assert!(adopt_udp(file.into_raw_fd()).is_err());
}

#[test]
fn the_end_of_a_peer_is_seen() {
    let (ours, mut theirs) = UnixStream::pair().expect("a pair");
    let mut poller = Poller::new().expect("epoll is there");
    poller.add(&ours, 9).expect("it is added");
    theirs.write_all(b"x").expect("it is written");
    let ready: Vec<_> = poller.wait(None).expect("it waits").collect();
    assert!(ready[0].readable && !ready[0].closed);
    drop(theirs);
    let ready: Vec<_> = poller.wait(None).expect("it waits").collect();
    assert!(ready[0].closed && ready[0].token == 9);
}

/// The numbers that `dup` gives must be inheritable or not as asked, because a leaked socket keeps its port
/// taken.
#[test]
fn inheritance_is_off_unless_asked_for() {
    let socket = bind("127.0.0.1:0".parse().expect("an address")).expect("a socket");
    let visible = |fd: i32| {
        let path = format!("/proc/self/fd/{fd}");
        Command::new("test").args(["-e", &path]).status().expect("there is test").success()
    };
    // A high number, which the shell does not use for itself.
    let number = 200;
    let raw = socket.as_raw_fd();
    let high = duplicate(raw, number);
    assert!(!visible(high.as_raw_fd()));
    set_inheritable(&high, true).expect("it is changed");
    assert!(visible(high.as_raw_fd()));
    set_inheritable(&high, false).expect("it is changed");
    assert!(!visible(high.as_raw_fd()));
}

fn duplicate(fd: i32, lowest: i32) -> OwnedFd {
    // SAFETY: the number is that of an open socket, and the new one belongs to nobody yet.
    unsafe { OwnedFd::from_raw_fd(libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, lowest)) }
}

#[test]
fn memory_is_one_in_all_its_mappings_and_as_a_file() {
    let memory = make_memory(c"test", 64 << 10).expect("memory");
    let (one, other) = (map_memory(&memory).expect("it is mapped"), map_memory(&memory).expect("and again"));
    assert_eq!((one.len(), one[8_191].load(Ordering::Relaxed)), (8_192, 0));
    one[3].store(77, Ordering::Relaxed);
    assert_eq!(other[3].load(Ordering::Relaxed), 77);
    let mut word = [0; 8];
    memory.read_exact_at(&mut word, 24).expect("it is read");
    assert_eq!(u64::from_ne_bytes(word), 77);
    memory.write_all_at(&5_u64.to_ne_bytes(), 24).expect("it is written");
    assert_eq!(one[3].load(Ordering::Relaxed), 5);
    assert!(
        memory.set_len(4 << 10).is_err() && memory.set_len(1 << 20).is_err(),
        "it stays as long as it is"
    );
}

#[test]
fn nothing_but_such_memory_is_mapped() {
    let file = tempfile::tempfile().expect("a file");
    file.set_len(4 << 10).expect("it is longer");
    assert!(map_memory(&file).is_err(), "it may shrink");
    assert!(map_memory(&make_memory(c"test", 0).expect("memory")).is_err(), "there is none of it");
    assert!(map_memory(&UnixStream::pair().expect("a pair").0).is_err());
}

/// What a process wrote is there when it has been killed.
#[test]
fn memory_outlives_who_wrote_it() {
    let memory = make_memory(c"test", 4 << 10).expect("memory");
    let mut command = Command::new("sh");
    command.args(["-c", "printf XXXXXXXX >&3; kill -KILL $$"]);
    inherit_fds(&mut command, vec![(memory.try_clone().expect("a copy").into(), 3)]).expect("it is taken");
    assert!(!command.status().expect("it runs").success());
    let word = map_memory(&memory).expect("it is mapped")[0].load(Ordering::Relaxed);
    assert_eq!(word.to_ne_bytes(), *b"XXXXXXXX");
}
