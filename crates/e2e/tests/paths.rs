//! Paths of browsers that fail for a while, or in one direction only.

use std::time::{Duration, Instant};

use e2e::impair::{Path, Towards};
use e2e::{Browser, Engine, Net, Server, Talk};

const CHROMIUMS: u32 = 440;
const FIREFOXS: u32 = 620;
const TALKS: u32 = 830;
/// A busy machine plays a little late.
const GAP_MS_MAX: f64 = 400.0;

/// A native client that speaks, and a server that browsers reach over a wire of ours.
struct Scene {
    talk: Talk,
    channel: String,
    server: Server,
    net: Net,
}

impl Scene {
    fn start() -> Self {
        let net = Net::with_own_wire();
        let server = Server::start_in(&net, 3, &[]);
        let channel = server.voice_channel(0);
        let tone = TALKS.to_string();
        let mut talk =
            Talk::start(&server, &server.user(0), &channel, &["--tone", &tone, "--seconds", "300"]);
        talk.connected();
        Self { talk, channel, server, net }
    }

    fn all_hear_all(&self, [chromium, firefox]: &mut [Browser; 2], when: &str) {
        chromium.hears(&[FIREFOXS, TALKS], &[CHROMIUMS], when);
        firefox.hears(&[CHROMIUMS, TALKS], &[FIREFOXS], when);
    }

    fn browsers(&self) -> [Browser; 2] {
        [(Engine::Chromium, 1, CHROMIUMS), (Engine::Firefox, 2, FIREFOXS)]
            .map(|(engine, n, hz)| Browser::start(engine, &self.net, &self.server, &self.server.user(n), hz))
    }
}

/// The states that the page's peer connections went through, all of them.
fn peer_states(page: &mut Browser) -> Vec<String> {
    let told = page.process.lines.all().iter().filter(|told| told["event"] == "peer");
    told.map(|peer| peer["state"].as_str().expect("a state").to_owned()).collect()
}

/// What the browsers send over UDP arrives, and nothing comes back that way: the server cannot know it, they can.
#[test]
fn browsers_to_which_no_udp_comes_back_join_over_tcp() {
    /// Without UDP either way it takes the same.
    const JOIN_MAX: Duration = Duration::from_secs(8);
    let mut scene = Scene::start();
    scene.net.impair(Towards::Clients, &Path::WITHOUT_UDP);
    let mut pages = scene.browsers();
    for page in &mut pages {
        let began = Instant::now();
        page.join(&scene.channel);
        println!("{:?} joined within {:?}", page.engine, began.elapsed());
        assert!(began.elapsed() < JOIN_MAX, "{:?}", began.elapsed());
    }
    scene.all_hear_all(&mut pages, "over TCP");
    // Nothing of it changes while they say the same again.
    for page in &mut pages {
        page.listen(12.0);
    }
    for page in &mut pages {
        let gap = page.heard().longest_gap_ms(&scene.server.user(0));
        println!("{:?}: {gap:.0} ms without sound", page.engine);
        assert!(gap < GAP_MS_MAX, "{gap} ms");
        page.had_no_troubles();
    }
    assert!(scene.net.carried(Towards::Clients).lost > 0, "UDP came back");
    scene.net.impair(Towards::Clients, &Path::GOOD);
    scene.all_hear_all(&mut pages, "at the end");
}

/// A lift, a tunnel, a cable: UDP is gone for some seconds, and nothing but the silence shows it.
#[test]
fn a_page_keeps_its_connection_when_udp_is_gone_for_some_seconds() {
    /// Longer than browsers take to call a path dead, and shorter than they and the page together take to give it up.
    const GONE: Duration = Duration::from_secs(6);
    /// What a browser and its page may take to hear again once there is a path.
    const BACK: Duration = Duration::from_secs(5);
    let mut scene = Scene::start();
    let talker = scene.server.user(0);
    let mut pages = scene.browsers();
    pages.iter_mut().for_each(|page| drop(page.join(&scene.channel)));
    scene.all_hear_all(&mut pages, "at the start");
    for page in &mut pages {
        page.listen((GONE + BACK).as_secs_f64() + 3.0);
        // It listens when it answers this.
        page.state();
    }
    for towards in [Towards::Clients, Towards::Server] {
        scene.net.impair(towards, &Path::WITHOUT_UDP);
    }
    // The time itself is what the test is about.
    std::thread::sleep(GONE);
    for towards in [Towards::Clients, Towards::Server] {
        scene.net.impair(towards, &Path::GOOD);
    }
    for page in &mut pages {
        let gap = page.heard().longest_gap_ms(&talker);
        let states = peer_states(page);
        println!("{:?}: {gap:.0} ms without sound, by way of {states:?}", page.engine);
        assert!(gap < (GONE + BACK).as_secs_f64() * 1_000.0, "{gap} ms");
        let made = states.iter().filter(|state| *state == "connecting").count();
        assert_eq!(made, 1, "{:?} made a new connection: {states:?}", page.engine);
        page.sees("status", "^Voice connected$");
        page.had_no_troubles();
    }
    scene.all_hear_all(&mut pages, "at the end");
    scene.talk.process.signal("INT");
    let report = scene.talk.report(Duration::from_secs(30));
    assert_eq!(report["reconnects"], 0, "{report}");
}

/// What is gone for longer than they wait: they join anew, over TCP, each under the number that it had.
#[test]
fn pages_that_had_to_join_anew_hear_each_other_again() {
    let mut scene = Scene::start();
    let mut pages = scene.browsers();
    pages.iter_mut().for_each(|page| drop(page.join(&scene.channel)));
    scene.all_hear_all(&mut pages, "at the start");
    scene.net.impair(Towards::Clients, &Path::WITHOUT_UDP);
    for page in &mut pages {
        page.expect("voice_back");
    }
    scene.net.impair(Towards::Clients, &Path::GOOD);
    scene.all_hear_all(&mut pages, "after they had joined anew");
    for page in &mut pages {
        let states = peer_states(page);
        let made = states.iter().filter(|state| *state == "connecting").count();
        assert!(made > 1, "{:?} did not join anew: {states:?}", page.engine);
        // They spoke before, and have to say so again.
        page.until_it_says_that_it_speaks();
        page.had_no_troubles();
    }
}
