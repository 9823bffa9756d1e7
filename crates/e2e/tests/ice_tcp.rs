//! A browser whose network lets no UDP through, with the whole server: it is heard and hears, and when its network is slow it hears the present.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

use e2e::call::Call;
use e2e::impair::{Path, Towards};
use e2e::page::{Link, Page};
use e2e::raw::Raw;
use e2e::{Browser, Engine, Net, Server, Talk};
use socket2::{Domain, Socket, Type};

/// The page comes from here; the call goes on from 127.0.0.1.
const PAGE: Ipv4Addr = Ipv4Addr::new(127, 0, 4, 1);
const SPEECH: [u8; 40] = [0x78; 40];

fn joined(call: &Call) -> (Raw, Page) {
    let mut raw = Raw::connect(&call.server, &call.server.user(2), PAGE);
    let mut page = Page::join(&call.server, &mut raw, &call.channel);
    page.connect_tcp();
    (raw, page)
}

/// Says something at the pace of speech and takes in what comes meanwhile.
fn talk(page: &mut Page, packets: usize) {
    let mut next = Instant::now();
    for _ in 0..packets {
        page.say(&SPEECH);
        next += Duration::from_millis(20);
        while Instant::now() < next {
            page.take_in(next.saturating_duration_since(Instant::now()));
        }
    }
}

#[test]
fn a_page_without_udp_hears_every_packet_and_is_heard() {
    let call = Call::start(3);
    let (raw, mut page) = joined(&call);
    page.connect();
    page.hear("the tone", |page| page.heard.len() >= 10);
    talk(&mut page, 100);
    page.hear("a report", |page| page.reports > 0);
    let heard = &page.heard;
    assert!(heard.len() >= 100, "{} packets", heard.len());
    let in_order = heard.iter().zip(heard.iter().skip(1)).all(|(a, b)| b.seq.0 == a.seq.0 + 1);
    assert!(in_order && heard.iter().all(|frame| frame.ssrc == heard[0].ssrc), "{heard:?}");
    let report = call.end();
    let ours = Talk::stream(&report, &raw.user).expect("the listener heard the page");
    // The silence that the relay says at the end may come on top.
    assert!((100..=105).contains(&ours["received"].as_u64().expect("a number")), "{report}");
    assert_eq!(ours["lost"], 0, "{report}");
}

#[test]
fn a_page_goes_from_udp_to_tcp_and_back() {
    let call = Call::start(3);
    let mut raw = Raw::connect(&call.server, &call.server.user(2), PAGE);
    let mut page = Page::join(&call.server, &mut raw, &call.channel);
    page.connect();
    page.hear("the tone over UDP", |page| page.heard.len() >= 10);
    for what in ["TCP", "UDP", "TCP"] {
        match what {
            "TCP" => page.connect_tcp(),
            _ => page.link = Link::udp(PAGE, page.server.address.into()),
        }
        page.heard.clear();
        // A path is followed twice a second at most, and only where it was chosen.
        let deadline = Instant::now() + e2e::wire::WITHIN;
        while page.heard.len() < 10 {
            assert!(Instant::now() < deadline, "nothing comes over {what}");
            page.establish();
            page.take_in(Duration::from_millis(100));
        }
    }
    call.end();
}

#[test]
fn a_slow_page_hears_the_present() {
    /// How long it reads nothing.
    const STALL: Duration = Duration::from_secs(8);
    /// What may lie in the kernel's buffers meanwhile, in packets: old, but on their way.
    const UNDER_WAY_MAX: u64 = 250;
    let call = Call::start(3);
    let mut raw = Raw::connect(&call.server, &call.server.user(2), PAGE);
    let mut page = Page::join(&call.server, &mut raw, &call.channel);
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("sockets are to be had");
    socket.set_recv_buffer_size(2_048).expect("a socket takes options");
    socket.bind(&SocketAddrV4::new(PAGE, 0).into()).expect("every 127/8 address is this machine's");
    socket.connect(&page.tcp_address().into()).expect("the voice port listens");
    page.link = Link::Tcp { stream: socket.into(), unread: Vec::new() };
    page.connect();
    page.hear("the tone", |page| page.heard.len() >= 10);
    let before = page.heard.back().expect("it heard").seq.0;
    page.heard.clear();
    // Not a wait for something to happen: the time itself is what the test is about.
    std::thread::sleep(STALL);
    page.hear("the tone again", |page| {
        page.heard.iter().zip(page.heard.iter().skip(1)).any(|(a, b)| b.seq.0 > a.seq.0 + 1)
    });
    let old =
        page.heard.iter().zip(page.heard.iter().skip(1)).take_while(|(a, b)| b.seq.0 == a.seq.0 + 1).count();
    let present = page.heard.back().expect("it heard").seq.0;
    let missed = present - before;
    println!("{missed} packets in the stall, {old} of them came late");
    assert!(missed >= 350, "{missed}");
    assert!(old as u64 <= UNDER_WAY_MAX && missed > old as u64 + 100, "{old} of {missed}");
    // Nothing is missing afterwards.
    page.heard.clear();
    page.hear("the present", |page| page.heard.len() >= 50);
    let heard = &page.heard;
    assert!(heard.iter().zip(heard.iter().skip(1)).all(|(a, b)| b.seq.0 == a.seq.0 + 1), "{heard:?}");
    call.end();
}

const CHROMIUMS: u32 = 440;
const FIREFOXS: u32 = 620;
const TALKS: u32 = 830;

/// A company's network: what is not TCP is dropped.
#[test]
fn real_browsers_without_udp_hear_all_and_are_heard() {
    let mut net = Net::with_own_wire();
    let server = Server::start_in(&net, 3, &[]);
    let channel = server.voice_channel(0);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let record = folder.path().to_str().expect("UTF-8");
    let tone = TALKS.to_string();
    let options = ["--tone", &tone, "--seconds", "300", "--record", record];
    let mut talk = Talk::start(&server, &server.user(0), &channel, &options);
    talk.connected();
    for towards in [Towards::Clients, Towards::Server] {
        net.impair(towards, &Path::WITHOUT_UDP);
    }
    let mut pages = [(Engine::Chromium, 1, CHROMIUMS), (Engine::Firefox, 2, FIREFOXS)]
        .map(|(engine, n, hz)| Browser::start(engine, &net, &server, &server.user(n), hz));
    for page in &mut pages {
        page.join(&channel);
    }
    let [chromium, firefox] = &mut pages;
    chromium.hears(&[FIREFOXS, TALKS], &[CHROMIUMS], "over TCP");
    firefox.hears(&[CHROMIUMS, TALKS], &[FIREFOXS], "over TCP");
    pages.iter_mut().for_each(Browser::had_no_troubles);
    // Their checks over UDP: the wire did what it was told.
    assert!(net.carried(Towards::Server).lost > 0, "UDP went through");
    talk.process.signal("INT");
    let report = talk.report(Duration::from_secs(30));
    for n in [1, 2] {
        let stream = Talk::stream(&report, &server.user(n)).expect("the page was heard");
        assert_eq!(stream["lost"], 0, "{report}");
    }
}
