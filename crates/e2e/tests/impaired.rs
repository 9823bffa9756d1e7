//! Speech over bad paths, both ways at once: one talker's path to and from the server loses and delays packets, the other's does not.

use std::path::Path;
use std::time::{Duration, Instant};

use e2e::impair::{Path as Wire, Towards};
use e2e::{Browser, Engine, Judged, Net, Recital, Server, Talk};

/// A browser on a busy machine has a longer playout delay and shortens it in its own time.
const BROWSER_PATIENCE_MS: f64 = 200.0;
const WITHIN: Duration = Duration::from_secs(30);

/// A path for a part of a recital, and what must arrive of the part.
struct Scene {
    name: &'static str,
    path: Wire,
    /// The share of its frames that must be as they were. Another sentence scores below 0.3.
    matched_min: f64,
    /// How much later than in the first scene it may be heard. Jitter is waited for; what is left of the wait must be gone when
    /// there has been none for some seconds and the speaker has breathed.
    later_ms_max: f64,
}

const SCENES: [Scene; 6] = {
    const fn scene(name: &'static str, path: Wire, matched_min: f64, later_ms_max: f64) -> Scene {
        Scene { name, path, matched_min, later_ms_max }
    }
    [
        scene("clean", Wire::GOOD, 0.9, 0.0),
        scene("1 % loss", Wire::losing(0.01), 0.9, 60.0),
        scene("10 % loss", Wire::losing(0.1), 0.85, 60.0),
        scene("100 ms jitter", Wire::jittering(Duration::from_millis(100)), 0.7, 240.0),
        scene("clean again", Wire::GOOD, 0.85, 160.0),
        scene("later", Wire::GOOD, 0.85, 60.0),
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
                // Of some 350 packets, in both directions.
                assert!(loss <= 2.0 * wanted + 0.01 && loss >= wanted * 0.4, "{loss} lost of {wanted}");
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

#[test]
fn a_native_clients_speech_stays_over_loss_and_jitter_both_ways() {
    let mut net = Net::impairable();
    let server = Server::start_in(&net, 2, &[]);
    let channel = server.voice_channel(0);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let lead = Duration::from_secs(1);
    let (near, far) = (server.user(0), server.user(1));
    let spoken_near = Recital::new(&folder.path().join("near"), "en", lead);
    let spoken_far = Recital::new(&folder.path().join("far"), "en", lead);
    let (heard_near, heard_far) = (folder.path().join("heard-near"), folder.path().join("heard-far"));
    let options = |recital, to| ["--seconds", "300", "--play", recital, "--record", to];
    let far_options = options(text(&spoken_far.file), text(&heard_far));
    let near_options = options(text(&spoken_near.file), text(&heard_near));
    let mut far_talk = Talk::start_in(&net, &server, &far, &channel, &far_options);
    let mut near_talk = Talk::start(&server, &near, &channel, &near_options);
    near_talk.connected();
    far_talk.connected();
    play(&mut net, &spoken_near, Instant::now());
    near_talk.process.signal("INT");
    far_talk.process.signal("INT");
    let (at_far, at_near) = (far_talk.report(WITHIN), near_talk.report(WITHIN));
    println!("far: {at_far}\nnear: {at_near}");
    let heard_far = heard_far.join(format!("{}.wav", near.id));
    let heard_near = heard_near.join(format!("{}.wav", far.id));
    let down = judge("heard over the client's path", &spoken_near, &heard_far);
    let up = judge("spoken over the client's path", &spoken_far, &heard_near);
    [down, up].iter().for_each(|judged| check(judged, 0.0));
    for (report, speaker) in [(&at_far, &near), (&at_near, &far)] {
        let stream = Talk::stream(report, speaker).expect("its recording was judged");
        // Most losses are of one packet, and the one after it brings it along.
        let number = |key: &str| stream[key].as_u64().expect("a number");
        assert!(number("fec_recovered") * 2 >= number("lost"), "{report}");
        assert!(stream["target_delay_ms"].as_f64() <= Some(80.0), "{report}");
    }
}

#[test]
fn a_browsers_speech_stays_over_loss_and_jitter_both_ways() {
    let mut net = Net::impairable();
    let server = Server::start_in(&net, 2, &[]);
    let channel = server.voice_channel(0);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (near, far) = (server.user(0), server.user(1));
    // The page's file begins when its microphone is opened, which is before it is in the channel.
    let lead = Duration::from_secs(6);
    let spoken_far = Recital::new(&folder.path().join("far"), "en", lead);
    let mut page = Browser::start_saying(Engine::Chromium, &net, &server, &far, &spoken_far.file);
    let opened = page.join_with_microphone(&channel);
    page.record();
    let starting = Duration::from_millis(500);
    let lead_near = (lead - starting).checked_sub(opened.elapsed()).expect("the page joins in time");
    let spoken_near = Recital::new(&folder.path().join("near"), "en", lead_near);
    let heard_near = folder.path().join("heard-near");
    let near_options = ["--seconds", "300", "--play", text(&spoken_near.file), "--record", text(&heard_near)];
    let mut near_talk = Talk::start(&server, &near, &channel, &near_options);
    near_talk.connected();
    println!(
        "the native speaker begins {:.3?} before the page",
        (opened + lead) - (Instant::now() + lead_near)
    );
    play(&mut net, &spoken_near, Instant::now());
    let heard_far = folder.path().join("heard-far.wav");
    page.finish_recording(&heard_far);
    println!("page: {}", page.memory());
    near_talk.process.signal("INT");
    println!("near: {}", near_talk.report(WITHIN));
    let down = judge("heard over the page's path", &spoken_near, &heard_far);
    let heard_near = heard_near.join(format!("{}.wav", far.id));
    let up = judge("spoken over the page's path", &spoken_far, &heard_near);
    check(&down, BROWSER_PATIENCE_MS);
    check(&up, 0.0);
}
