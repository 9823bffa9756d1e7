//! Speech over bad paths, both ways at once: one talker's path to and from the server loses and delays packets, the other's does not.

use std::path::Path;
use std::time::{Duration, Instant};

use e2e::impair::{Path as Wire, Towards};
use e2e::{Browser, Engine, Judged, Net, Recital, Running, Server, Talk, User};
use serde_json::json;

/// A browser on a busy machine has a longer playout delay and shortens it in its own time.
const BROWSER_PATIENCE_MS: f64 = 300.0;
const WITHIN: Duration = Duration::from_secs(30);

/// A path for a part of a recital, and what must arrive of the part.
struct Scene {
    name: &'static str,
    path: Wire,
    /// The share of its frames that must be as they were. Another sentence scores below 0.3.
    matched_min: f64,
    /// How much later than in the first scene it may be heard. Jitter is waited for, and so is a machine that is busy for a
    /// moment; the wait must not stay. (`engine-core` holds the native client to exact bounds in virtual time.)
    later_ms_max: f64,
}

const SCENES: [Scene; 6] = {
    const fn scene(name: &'static str, path: Wire, matched_min: f64, later_ms_max: f64) -> Scene {
        Scene { name, path, matched_min, later_ms_max }
    }
    [
        scene("clean", Wire::GOOD, 0.85, 5.0),
        scene("1 % loss", Wire::losing(0.01), 0.85, 150.0),
        scene("10 % loss", Wire::losing(0.1), 0.85, 150.0),
        scene("100 ms jitter", Wire::jittering(Duration::from_millis(100)), 0.75, 240.0),
        scene("clean again", Wire::GOOD, 0.75, 240.0),
        scene("later", Wire::GOOD, 0.8, 150.0),
    ]
};

/// Makes the path of each part in the pause before it. The script is one of time: a speaker's file has no events to wait for.
fn play(net: &mut Net, recital: &Recital, began: Instant) {
    let wait_for = |pause: usize| {
        std::thread::sleep((began + recital.pause_before(pause)).saturating_duration_since(Instant::now()));
    };
    let mut before = BOTH.map(|towards| net.carried(towards));
    for (n, scene) in SCENES.iter().enumerate() {
        if n > 0 {
            wait_for(n);
        }
        BOTH.iter().for_each(|towards| net.impair(*towards, &scene.path));
        if n > 0 {
            let now = BOTH.map(|towards| net.carried(towards));
            let loss: Vec<f64> =
                now.iter().zip(&before).map(|(now, before)| now.loss_since(before)).collect();
            println!("{}: lost on the wire {loss:.3?}", SCENES[n - 1].name);
            for loss in loss {
                let wanted = SCENES[n - 1].path.loss;
                // Of some five hundred packets a direction chance takes a few more or fewer.
                assert!((loss - wanted).abs() <= wanted.min(0.05) + 0.02, "{loss} lost of {wanted}");
                assert!(loss == 0.0 || wanted > 0.0, "{loss} lost of nothing");
            }
            before = now;
        }
    }
    wait_for(SCENES.len());
}

const BOTH: [Towards; 2] = [Towards::Clients, Towards::Server];

/// Prints what came of each part.
fn judge(what: &'static str, recital: &Recital, recording: &Path) -> (&'static str, Vec<Judged>) {
    let judged = recital.judge(recording);

    for (scene, judged) in SCENES.iter().zip(&judged) {
        println!(
            "{what}, {}: {:.1} % of frames, correlation {:.3}, {:+.0} ms",
            scene.name,
            judged.fraction * 100.0,
            judged.correlation,
            judged.later_ms
        );
    }
    (what, judged)
}

/// Demands enough of each part, and that it came soon enough.
fn check((what, judged): &(&str, Vec<Judged>), patience_ms: f64) {
    for (scene, judged) in SCENES.iter().zip(judged) {
        let name = scene.name;
        assert!(judged.fraction >= scene.matched_min, "{what}, {name}: {judged:?}");
        assert!(judged.later_ms <= scene.later_ms_max + patience_ms, "{what}, {name}: {judged:?}");
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a temporary path is UTF-8")
}

/// What came of numbered packets: which, and how long each was on its way.
fn probe(net: &mut Net, receiver: &mut Running, path: &Wire) -> Vec<(u64, f64)> {
    net.impair(Towards::Clients, path);
    let mut command = net.beside_server();
    command.arg("python3").arg(e2e::root().join("e2e/net/probe.py"));
    let port = receiver.lines.all()[0]["port"].to_string();
    command.args(["send", &net.client_address(), &port, &PROBES.to_string(), "1"]);
    assert!(command.status().expect("Python is installed").success());
    // What the path still holds is let go before its end is seen.
    let longest = path.delay + path.jitter;
    std::thread::sleep(longest + Duration::from_millis(100));
    receiver.send(&json!({}));
    let received = receiver.lines.event("received", WITHIN);
    let packets = received["packets"].as_array().expect("a list");
    packets.iter().map(|p| (p[0].as_u64().expect("a number"), p[1].as_f64().expect("a number"))).collect()
}

const PROBES: usize = 1_000;

#[test]
fn the_wire_does_to_packets_what_it_is_told() {
    let mut net = Net::impairable();
    let mut command = net.among_clients();
    command.arg("python3").arg(e2e::root().join("e2e/net/probe.py")).args(["receive", &net.client_address()]);
    let mut receiver = Running::start("probe", command);
    receiver.lines.event("ready", WITHIN);
    let mut after = |path: Wire| probe(&mut net, &mut receiver, &path);
    let disorder = |packets: &[(u64, f64)]| packets.windows(2).filter(|two| two[0].0 > two[1].0).count();
    // How many losses in a row there are.
    let gaps = |packets: &[(u64, f64)]| packets.windows(2).filter(|two| two[1].0 > two[0].0 + 1).count();

    let good = after(Wire::GOOD);
    assert_eq!((good.len(), disorder(&good)), (PROBES, 0));
    let lossy = after(Wire::losing(0.2));
    let lost = PROBES - lossy.len();
    assert!((140..270).contains(&lost), "{lost} of {PROBES} lost");
    assert!(gaps(&lossy) * 3 >= lost * 2, "{} gaps of {lost} losses", gaps(&lossy));
    let bursty = after(Wire { burst: 5.0, ..Wire::losing(0.2) });
    let lost = PROBES - bursty.len();
    assert!((80..350).contains(&lost), "{lost} of {PROBES} lost");
    assert!(gaps(&bursty) * 3 <= lost, "{} gaps of {lost} losses", gaps(&bursty));

    let jitter = Wire { delay: Duration::from_millis(50), ..Wire::jittering(Duration::from_millis(40)) };
    let mixed = after(jitter);
    let slow = mixed.iter().filter(|(_, ms)| *ms > 75.0).count();
    assert!(mixed.iter().all(|(_, ms)| *ms >= 49.0) && (200..700).contains(&slow), "{slow} slow: {mixed:?}");
    assert!(mixed.len() == PROBES && disorder(&mixed) > 200, "{} in disorder", disorder(&mixed));
    let queued = after(Wire { keeps_order: true, ..jitter });
    assert!(queued.len() == PROBES && disorder(&queued) == 0, "{} in disorder", disorder(&queued));
    assert!(queued.iter().all(|(_, ms)| *ms >= 49.0), "{queued:?}");
}

#[test]
fn speech_stays_over_loss_and_jitter_both_ways() {
    let mut net = Net::impairable();
    let server = Server::start_in(&net, 3, &[]);
    let channel = server.voice_channel(0);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (near, far, page) = (server.user(0), server.user(1), server.user(2));

    // The page's file begins when its microphone is opened, which is before it is in the channel. The others' begin together with it.
    let lead = Duration::from_secs(7);
    let page_says = Recital::new(&folder.path().join("page"), "en", lead);
    let mut browser = Browser::start_saying(Engine::Chromium, &net, &server, &page, &page_says.file);
    let opened = browser.join_with_microphone(&channel);
    let starting = Duration::from_millis(500);
    let lead = (lead - starting).checked_sub(opened.elapsed()).expect("the page joins in time");
    let says = |who: &str| Recital::new(&folder.path().join(who), "en", lead);
    let (near_says, far_says) = (says("near"), says("far"));
    let (near_hears, far_hears) = (folder.path().join("near-hears"), folder.path().join("far-hears"));
    let options = |recital, to| ["--seconds", "300", "--play", recital, "--record", to];
    let far_options = options(text(&far_says.file), text(&far_hears));
    let near_options = options(text(&near_says.file), text(&near_hears));
    let mut far_talk = Talk::start_in(&net, &server, &far, &channel, &far_options);
    let mut near_talk = Talk::start(&server, &near, &channel, &near_options);
    near_talk.connected();
    far_talk.connected();
    let began = Instant::now();
    browser.record();

    play(&mut net, &near_says, began);
    let page_hears = folder.path().join("page-hears.wav");
    browser.finish_recording(&near, &page_hears);
    println!("page: {}", browser.memory());
    near_talk.process.signal("INT");
    far_talk.process.signal("INT");
    let (at_far, at_near) = (far_talk.report(WITHIN), near_talk.report(WITHIN));
    println!("far: {at_far}\nnear: {at_near}");

    let of = |hears: &Path, user: &User| hears.join(format!("{}.wav", user.id));
    let judged = [
        (judge("heard by the native client", &near_says, &of(&far_hears, &near)), 0.0),
        (judge("spoken by the native client", &far_says, &of(&near_hears, &far)), 0.0),
        (judge("heard by the page", &near_says, &page_hears), BROWSER_PATIENCE_MS),
        (judge("spoken by the page", &page_says, &of(&near_hears, &page)), 0.0),
    ];
    judged.iter().for_each(|(judged, patience_ms)| check(judged, *patience_ms));
    for (report, speaker) in [(&at_far, &near), (&at_near, &far)] {
        let stream = Talk::stream(report, speaker).expect("its recording was judged");
        // Most losses are of one packet, and the one after it brings it along.
        let number = |key: &str| stream[key].as_u64().expect("a number");
        assert!(number("fec_recovered") * 2 >= number("lost"), "{report}");
        assert!(stream["target_delay_ms"].as_f64() <= Some(80.0), "{report}");
    }
}
