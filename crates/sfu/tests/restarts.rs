//! The relay's process is killed in the middle of a call, again and again, and started anew with the same sockets and the same memory.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::HashMap;
use std::fs::File;
use std::net::{SocketAddr, UdpSocket};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, ExitCode, Stdio};

use rtp_wire::{SeqNo, Ssrc};
use sfu_wire::page::BYTES;
use sfu_wire::{FromSfu, Leg, Retire, Snapshot, Start, ToSfu};
use support::page::Page;
use support::{Client, Signalling, relay};

const RELAY: &str = "RELAY_OF_ITS_OWN";

/// The child of the next tests.
#[test]
fn a_relay_in_a_process_of_its_own() {
    let Some(arguments) = std::env::var_os(RELAY) else { return };
    let arguments = arguments.into_string().unwrap();
    assert_eq!(sfu::run(arguments.split(' ').map(str::to_owned)), ExitCode::SUCCESS);
}

struct Relay {
    child: Child,
    signalling: Signalling,
}

impl Relay {
    fn start(udp: &UdpSocket, memory: &File, legs: Vec<Leg>, seed: u8) -> Self {
        let mut relay = Self::spawn(udp, memory);
        relay.tell(legs, seed);
        relay
    }

    /// It says hello, and waits to be told.
    fn spawn(udp: &UdpSocket, memory: &File) -> Self {
        let (signalling, control) = Signalling::pair();
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "a_relay_in_a_process_of_its_own", "--nocapture"]);
        command.env(RELAY, "--shard 3,4,5").stdin(Stdio::null()).stdout(Stdio::null());
        let control: UnixStream = control;
        let fds = vec![
            (udp.try_clone().unwrap().into(), 3),
            (control.into(), 4),
            (memory.try_clone().unwrap().into(), 5),
        ];
        udp_io::inherit_fds(&mut command, fds).unwrap();
        let child = command.spawn().unwrap();
        Self { child, signalling }
    }

    fn tell(&mut self, legs: Vec<Leg>, seed: u8) {
        self.signalling.tell(ToSfu::Start(Start {
            protocol: 1,
            shard: 0,
            seed: vec![seed; 32],
            // Everything that waited in the kernel goes out.
            sender_packets_per_s_max: 1_000_000,
            ..Start::default()
        }));
        self.signalling.tell(ToSfu::Snapshot(Snapshot { legs }));
    }

    /// Its work is another's from now on.
    fn retire(mut self) {
        self.signalling.tell(ToSfu::Retire(Retire {}));
        while !matches!(self.signalling.hear(), FromSfu::Retired(_)) {}
        assert!(self.child.wait().unwrap().success());
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// What one listener heard of each stream: how far the number of a packet is from what is said in it.
#[derive(Default)]
struct Offsets {
    of: HashMap<Ssrc, u64>,
    heard: u64,
}

impl Offsets {
    /// Returns what was said.
    fn check(&mut self, (ssrc, seq, payload): (Ssrc, SeqNo, Vec<u8>)) -> (Ssrc, u32) {
        let said = u32::from_be_bytes(*payload.last_chunk().unwrap());
        let offset = seq.0.wrapping_sub(u64::from(said));
        self.heard += 1;
        let before = *self.of.entry(ssrc).or_insert(offset);
        assert_eq!(offset, before, "the numbers of {ssrc:?} do not go on with what is said in {said}");
        (ssrc, said)
    }
}

fn words(said: u32) -> Vec<u8> {
    [&b"\x78 words"[..], &said.to_be_bytes()].concat()
}

struct Call {
    natives: [Client; 2],
    pages: [Page; 2],
    offsets: [Offsets; 4],
    said: u32,
}

impl Call {
    /// With a first relay, which has found everybody.
    fn begin(udp: &UdpSocket, address: SocketAddr, memory: &File) -> (Self, Relay) {
        let call = Self {
            natives: [Client::new(1, address), Client::new(2, address)],
            pages: [Page::new(3, address), Page::new(4, address)],
            offsets: Default::default(),
            said: 0,
        };
        let mut relay = Relay::start(udp, memory, call.legs(), 0);
        call.natives.iter().for_each(Client::discover);
        for (page, id) in call.pages.iter().zip([3, 4]) {
            page.check();
            relay.signalling.await_connected(id);
        }
        (call, relay)
    }

    fn legs(&self) -> Vec<Leg> {
        self.natives.iter().map(Client::leg).chain(self.pages.iter().map(Page::leg)).collect()
    }

    fn say(&mut self) {
        self.said += 1;
        let words = words(self.said);
        self.natives.iter_mut().for_each(|client| client.say(&words));
        self.pages.iter_mut().for_each(|page| page.say(&words));
    }

    /// Until everybody has heard what everybody else said last, and the browsers a report.
    fn hear(&mut self) {
        let speakers = self.natives.iter().map(Client::ssrc).chain(self.pages.iter().map(Page::ssrc));
        let speakers: Vec<Ssrc> = speakers.collect();
        for (n, client) in self.natives.iter_mut().enumerate() {
            let mut last = HashMap::new();
            while !speakers.iter().all(|s| *s == client.ssrc() || last.get(s) == Some(&self.said)) {
                last.extend(client.receive().map(|heard| self.offsets[n].check(heard)));
            }
        }
        for (n, page) in self.pages.iter_mut().enumerate() {
            let (mut last, mut reports) = (HashMap::new(), 0);
            while reports == 0
                || !speakers.iter().all(|s| *s == page.ssrc() || last.get(s) == Some(&self.said))
            {
                match page.receive() {
                    Some(heard) => last.extend([self.offsets[2 + n].check(heard)]),
                    None => reports += 1,
                }
            }
        }
    }
}

/// Nobody does anything but go on: no discovery, no check, no handshake. Each end looks whether a nonce or an index came twice.
#[test]
fn a_call_goes_on_over_many_relays_with_no_nonce_used_twice_and_no_number_out_of_place() {
    let (udp, address) = relay();
    let memory = udp_io::make_memory(c"test", BYTES).unwrap();
    let (mut call, mut relay) = Call::begin(&udp, address, &memory);
    for life in 1..=5_u8 {
        // No more than the sockets of the listeners hold.
        (0..30).for_each(|_| call.say());
        call.hear();
        // Some of this it reads and forwards to some, some of it waits for its successor.
        (0..6 * life).for_each(|_| call.say());
        relay.kill();
        call.say();
        relay = Relay::start(&udp, &memory, call.legs(), life);
        for id in 1..=4 {
            relay.signalling.await_connected(id);
        }
        call.hear();
    }
    let report = relay.signalling.hear_report();
    assert_eq!((report.unwritten, report.restored), (0, 4));
    relay.kill();
}

/// The same with relays that are asked to go, while another waits: here not a word is missed.
#[test]
fn a_call_goes_on_over_many_relays_that_retire_and_every_word_is_heard() {
    let (udp, address) = relay();
    let memory = udp_io::make_memory(c"test", BYTES).unwrap();
    let (mut call, mut relay) = Call::begin(&udp, address, &memory);
    call.say();
    call.hear();
    let heard = |call: &Call| -> Vec<u64> { call.offsets.iter().map(|offsets| offsets.heard).collect() };
    let before = heard(&call);
    for life in 1..=10_u8 {
        let mut next = Relay::spawn(&udp, &memory);
        next.signalling.hear_hello();
        (0..6).for_each(|_| call.say());
        relay.retire();
        (0..6).for_each(|_| call.say());
        next.tell(call.legs(), life);
        call.say();
        call.hear();
        relay = next;
    }
    let words = heard(&call).iter().zip(before).map(|(now, before)| now - before).collect::<Vec<_>>();
    // Of three others each.
    assert_eq!(words, [10 * 13 * 3; 4]);
    let report = relay.signalling.hear_report();
    assert_eq!((report.unwritten, report.restored), (0, 4));
    relay.kill();
}

/// Signalling would send them to join anew.
#[test]
fn memory_that_is_not_understood_is_begun_anew() {
    let (udp, address) = relay();
    let memory = udp_io::make_memory(c"test", BYTES).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&memory, b"another version of everything...", 0).unwrap();
    let page = Page::new(3, address);
    let mut relay = Relay::start(&udp, &memory, vec![page.leg()], 0);
    page.check();
    while !matches!(relay.signalling.hear(), FromSfu::KeySpent(spent) if spent.id == 3) {}
    relay.kill();
    // From here on it is.
    let mut anew = Page::new(4, address);
    let mut relay = Relay::start(&udp, &memory, vec![anew.leg()], 1);
    let mut native = Client::new(1, address);
    relay.signalling.tell(ToSfu::PutLeg(native.leg()));
    native.discover();
    anew.check();
    relay.signalling.await_connected(4);
    native.talk();
    while anew.receive().is_none() {}
    relay.kill();
}
