//! A call goes from one voice server to another: because the operator empties the one it is on, or because that is flooded. Everybody goes on
//! hearing, and nobody is told more than where to go.
#![allow(clippy::unwrap_used)]

use std::net::UdpSocket;
use std::sync::Arc;
use std::time::{Duration, Instant};

use e2e::wire::WITHIN;
use e2e::{Bot, Browser, Engine, Library, Net, Server, Talk, measured};
use serde_json::{Value, json};

const TONE: u32 = 440;
const CHROMIUMS: u32 = 620;
/// Ours leave the old server when the new one is heard; the bound is for machines that are busy.
const GAP_MS_MAX: f64 = 1_000.0;
/// Others connect as their libraries do, one after the other.
const LIBRARY_GAP_MS_MAX: f64 = 5_000.0;
const LISTEN_S: f64 = 10.0;

/// Two of our own clients on one of two voice servers, each with one port for media.
struct Scene {
    server: Server,
    speaker: Talk,
    listener: Talk,
    began: Instant,
    /// Goes after everything that lives in it.
    net: Net,
}

impl Scene {
    fn start(accounts: usize) -> Self {
        let net = Net::new();
        let server = Server::start_in(&net, accounts, &["--voice-servers", "2", "--shards", "1"]);
        let channel = server.voice_channel(0);
        let mut listener = Talk::start(&server, &server.user(1), &channel, &["--seconds", "300"]);
        listener.connected();
        let tone = TONE.to_string();
        let mut speaker =
            Talk::start(&server, &server.user(0), &channel, &["--tone", &tone, "--seconds", "300"]);
        speaker.connected();
        Self { server, speaker, listener, began: Instant::now(), net }
    }

    /// The server with everybody on it, and the other.
    fn one_and_other(&self, people: u32) -> [String; 2] {
        let servers = self.server.until_servers("everybody to be on one server", |servers| {
            servers.len() == 2 && servers.iter().any(|s| s["participants"] == people)
        });
        let id = |with: u32| {
            let server = servers.iter().find(|s| s["participants"] == with);
            server.unwrap_or_else(|| panic!("{servers:?}"))["id"].as_str().unwrap().to_owned()
        };
        [id(people), id(0)]
    }

    fn until_on(&self, id: &str, people: u32) {
        self.server.until_servers("everybody to be on the other server", |servers| {
            servers.iter().all(|s| s["participants"] == if s["id"] == id { people } else { 0 })
        });
    }

    /// Our own two: nothing of what was said is missing, in numbers as in time.
    fn end(mut self, moves: u32) {
        self.speaker.process.signal("INT");
        let spoke_for = self.began.elapsed();
        let said = self.speaker.report(WITHIN);
        self.listener.process.signal("INT");
        let heard = self.listener.report(WITHIN);
        let stream = Talk::stream(&heard, &self.server.user(0))
            .unwrap_or_else(|| panic!("nothing was heard: {heard}"));
        assert_eq!(
            (&said["reconnects"], &heard["reconnects"]),
            (&moves.into(), &moves.into()),
            "{said} {heard}"
        );
        let number = |value: &Value| value.as_f64().unwrap();
        // What came by both servers is thrown away once.
        let received = number(&stream["received"]) - number(&stream["discarded"]);
        let sent = number(&said["sent"]);
        let (unsaid, unheard) = (spoke_for.as_secs_f64() * 50.0 - sent, sent - received);
        let missing_max = f64::from(moves) * GAP_MS_MAX / 20.0;
        measured(
            format!("of {sent} frames over {moves} moves {unheard} were not heard, and {unsaid:.0} not said"),
            format!("{missing_max} each"),
        );
        assert!(unheard <= missing_max && unsaid <= missing_max, "{said} {heard}");
        assert!(number(&stream["longest_gap_ms"]) <= GAP_MS_MAX, "{heard}");
        assert_eq!(stream["lost"], 0, "{heard}");
    }
}

#[test]
fn everybody_goes_on_hearing_when_their_server_is_drained() {
    const PEOPLE: u32 = 6;
    let scene = Scene::start(PEOPLE as usize);
    let channel = scene.server.voice_channel(0);
    let speaker = scene.server.user(0);
    let mut bots: Vec<Bot> = [Library::Songbird, Library::DiscordJs, Library::DiscordPy]
        .into_iter()
        .enumerate()
        .map(|(n, library)| Bot::start(library, &scene.server, &scene.server.user(2 + n)))
        .collect();
    let mut page =
        Browser::start(Engine::Chromium, &scene.net, &scene.server, &scene.server.user(5), CHROMIUMS);
    bots.iter_mut().for_each(|bot| drop(bot.join(&channel)));
    page.join(&channel);
    page.hears(&[TONE], &[], "before the move");
    for bot in &mut bots {
        while !bot.hear(0.3).has_sound_of(&speaker) {
            assert!(scene.began.elapsed() < 4 * WITHIN, "{} hears nothing", bot.user.id);
        }
    }
    let [one, other] = scene.one_and_other(PEOPLE);

    page.listen(LISTEN_S);
    for bot in &mut bots {
        bot.listen(LISTEN_S);
        // Orders are carried out one after the other, so it listens when it answers this.
        bot.command(json!({"do": "state"}));
        bot.expect("state");
    }
    scene.server.ctl(&["drain", &one]);
    scene.until_on(&other, PEOPLE);
    for bot in &mut bots {
        let missing_ms = LISTEN_S * 1_000.0 - bot.heard().packets_of(&speaker) as f64 * 20.0;
        let what = format!("{:?}: {missing_ms} ms of {LISTEN_S} s were not heard", bot.library);
        measured(what, format!("{LIBRARY_GAP_MS_MAX} ms"));
        assert!(missing_ms < LIBRARY_GAP_MS_MAX, "{:?}: {missing_ms}", bot.library);
        bot.hear(1.0).expect_tone(&speaker, TONE, "after the move");
        bot.had_no_errors();
    }
    let gap = page.heard().longest_gap_ms(&speaker);
    measured(format!("Chromium: {gap:.0} ms without sound"), format!("{GAP_MS_MAX} ms"));
    assert!(gap < GAP_MS_MAX, "{gap}");
    page.hears(&[TONE], &[CHROMIUMS], "after the move");
    page.had_no_troubles();

    // It is as good as any when it is taken back.
    scene.server.ctl(&["restore", &one]);
    scene.server.ctl(&["drain", &other]);
    scene.until_on(&one, PEOPLE);
    scene.end(2);
}

#[test]
fn a_flooded_server_is_left_and_is_in_service_again_when_the_flood_is_over() {
    let scene = Scene::start(2);
    let [one, other] = scene.one_and_other(2);
    let port = 50_000 + one.rsplit('-').next().unwrap().parse::<u16>().unwrap();
    let target = format!("{}:{port}", scene.net.server_address());
    let goes_on = Arc::new(());
    std::thread::scope(|scope| {
        let until = Arc::downgrade(&goes_on);
        scope.spawn(move || {
            let stranger = UdpSocket::bind("0.0.0.0:0").unwrap();
            // Forty times what the call itself sends.
            while until.strong_count() > 0 {
                for n in 0..20 {
                    stranger.send_to(&[n; 120], &target).unwrap();
                }
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        let _until_here = goes_on;
        scene.server.until_servers("the flood to be seen", |servers| {
            servers.iter().any(|s| s["id"] == one.as_str() && s["health"] == "flooded")
        });
        scene.until_on(&other, 2);
    });
    scene.server.until_servers("the flood to be over", |servers| servers.iter().all(|s| s["health"] == "ok"));
    // It was seen to be over by the server that was flooded, and nobody had to move for that.
    scene.until_on(&other, 2);
    scene.end(1);
}

/// One death moves nobody, since the next relay goes on. Death after death does.
#[test]
fn everybody_moves_when_their_relay_keeps_dying_and_nobody_when_it_died_once() {
    let mut scene = Scene::start(2);
    let [one, other] = scene.one_and_other(2);
    let restarts = |servers: &[Value], id: &str| {
        let server = servers.iter().find(|server| server["id"] == id);
        server.map_or(0, |server| server["relay"]["restarts"].as_u64().unwrap())
    };
    let process = scene.server.process.pid();
    // Whose relay is whose is seen by who misses it.
    let both = e2e::call::relays(process);
    e2e::signal_pid(both[0], "KILL");
    let servers = scene.server.until_servers("a relay to be missed", |servers| {
        restarts(servers, &one) + restarts(servers, &other) == 1
            && servers.iter().all(|s| s["health"] == "ok")
    });
    assert!(servers.iter().all(|server| server["participants"] == if server["id"] == one { 2 } else { 0 }));
    let others = if restarts(&servers, &other) == 1 {
        e2e::call::relays(process).into_iter().find(|pid| *pid != both[1]).unwrap()
    } else {
        both[1]
    };
    let dies = Instant::now();
    loop {
        for pid in e2e::call::relays(process).into_iter().filter(|pid| *pid != others) {
            e2e::signal_pid(pid, "KILL");
        }
        let servers = scene.server.until_servers("an answer", |_| true);
        if servers.iter().any(|server| server["id"] == other && server["participants"] == 2) {
            break;
        }
        assert!(dies.elapsed() < 2 * WITHIN, "{servers:?}\n{}", scene.server.process.lines.story());
    }
    scene.until_on(&other, 2);
    let unheard_for = dies.elapsed();
    // They talk there for a while.
    std::thread::sleep(Duration::from_secs(3));
    scene.speaker.process.signal("INT");
    let said = scene.speaker.report(WITHIN);
    scene.listener.process.signal("INT");
    let heard = scene.listener.report(WITHIN);
    assert_eq!((&said["reconnects"], &heard["reconnects"]), (&1.into(), &1.into()), "{said} {heard}");
    let stream = Talk::stream(&heard, &scene.server.user(0)).unwrap_or_else(|| panic!("{heard}"));
    let (sent, received) = (said["sent"].as_f64().unwrap(), stream["received"].as_f64().unwrap());
    let missing_max = 50.0 * (unheard_for.as_secs_f64() + GAP_MS_MAX / 1_000.0);
    let what = format!("of {sent} frames {received} were heard; the relay kept dying for {unheard_for:.1?}");
    measured(what, format!("{missing_max:.0} missing"));
    assert!(sent - received <= missing_max, "{said} {heard}");
}
