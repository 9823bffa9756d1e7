//! The real page in real browsers: what a person does with it, what is heard then, and what it shows.
//!
//! Pictures of the steps are left in `target/e2e-screenshots`.
#![allow(clippy::unwrap_used)]

use std::net::Ipv4Addr;
use std::time::Instant;

use e2e::raw::Raw;
use e2e::{Browser, Engine, Net, Server, Talk, User};

const CHROMIUMS: u32 = 440;
const FIREFOXS: u32 = 620;
const TALKS: u32 = 830;
/// Everything that the page loads until somebody is in voice, compressed as it comes.
const FIRST_LOAD_BYTES_MAX: u64 = 300_000;
/// Signalling carries no sound, so its end should not be heard at all; a busy machine plays a little late.
const CUT_GAP_MS_MAX: f64 = 400.0;
/// Browsers take about five seconds to find a path dead, and the page gives that three more to come back. It does not wait for either where
/// it sees that its address is gone, which it looks for after a second of silence.
const MOVE_GAP_MS_MAX: f64 = 5_000.0;
const MANY: usize = 30;

struct Scene {
    server: Server,
    /// A member, in Chromium.
    bo: Browser,
    /// The guild's owner, in Firefox.
    ada: Browser,
    net: Net,
}

impl Scene {
    fn start() -> Self {
        let net = Net::new();
        let server = Server::start_in(&net, MANY + 2, &[]);
        let bo = Browser::start_signed_out(Engine::Chromium, &net, &server, &server.user(1), CHROMIUMS);
        let ada = Browser::start(Engine::Firefox, &net, &server, &server.user(0), FIREFOXS);
        Self { server, bo, ada, net }
    }

    fn talks_user(&self) -> User {
        self.server.user(2)
    }

    fn name_of(&self, channel: &str) -> String {
        let channels = self.server.demo["channels"].as_array().unwrap();
        let channel = channels.iter().find(|c| c["id"] == channel).unwrap();
        channel["name"].as_str().unwrap().to_owned()
    }

    fn all_hear_all(&mut self, when: &str) {
        self.bo.hears(&[FIREFOXS, TALKS], &[CHROMIUMS], when);
        self.ada.hears(&[CHROMIUMS, TALKS], &[FIREFOXS], when);
    }

    /// The owner chooses something from the menu of the member.
    fn ada_does_to_bo(&mut self, item: &str) {
        self.ada.click("button", "^bo\\b");
        self.ada.click("menuitem", item);
    }
}

#[test]
fn a_stay_in_voice_by_page_is_heard_and_shown_as_it_is() {
    let mut scene = Scene::start();
    let (first, second) = (scene.server.voice_channel(0), scene.server.voice_channel(1));
    by_keyboard_alone(&mut scene, &first);
    scene.bo.join(&first);
    scene.ada.join(&first);
    let options = ["--tone", &TALKS.to_string(), "--seconds", "600"];
    let mut talk = Talk::start(&scene.server, &scene.talks_user(), &first, &options);
    talk.connected();
    scene.all_hear_all("at the start");
    scene.bo.screenshot("in-voice");
    scene.ada.screenshot("in-voice");

    mutes_and_deafens(&mut scene);
    sets_a_volume(&mut scene.bo, TALKS, FIREFOXS);
    sets_a_volume(&mut scene.ada, TALKS, CHROMIUMS);
    is_moderated(&mut scene, &first, &second);
    outlives_its_voice_socket(&mut scene);
    is_loaded_anew(&mut scene, &first);
    with_many_others(&mut scene, &first);
    scene.bo.had_no_troubles();
    scene.ada.had_no_troubles();
    moves_to_another_network(&mut scene);

    let lines = &scene.server.process.lines;
    assert!(!lines.stderr_contains("ERROR") && !lines.stderr_contains("panicked"), "{}", lines.story());
}

/// Signs in, joins, mutes and leaves without a pointer.
fn by_keyboard_alone(scene: &mut Scene, channel: &str) {
    let name = scene.name_of(channel);
    let bo = &mut scene.bo;
    bo.sees("heading", "^Guildhall$");
    bo.press_until("Tab", 5, &["Name"]);
    bo.type_text("bo");
    bo.press("Tab");
    bo.type_text("bo-demo-password");
    bo.screenshot("signing-in");
    bo.press("Enter");
    let voice = format!("{name}, voice");
    bo.sees("button", &format!("^{voice}, 0 connected$"));
    // Into the list of channels, and along it.
    bo.press_until("Tab", 30, &["general", "General", &voice]);
    bo.press("Home");
    bo.press_until("ArrowDown", 10, &[&voice]);
    bo.press("Enter");
    bo.expect("joined");
    bo.sees("status", "^Voice connected$");
    bo.press("Control+Shift+KeyM");
    assert_eq!(bo.sees("button", "^Unmute")["pressed"], "true");
    bo.sees("button", "^bo, muted$");
    bo.press("Control+Shift+KeyM");
    assert_eq!(bo.sees("button", "^Mute")["pressed"], "false");
    bo.press_until("Tab", 60, &["Leave the voice channel"]);
    bo.screenshot("by-keyboard");
    bo.press("Enter");
    bo.expect("disconnected");
    bo.sees("button", &format!("^{voice}, 0 connected$"));
    let bytes = bo.transferred();
    println!("until it was in voice, Chromium loaded {bytes} bytes");
    assert!((10_000..FIRST_LOAD_BYTES_MAX).contains(&bytes), "{bytes} bytes");
    bo.had_no_troubles();
}

fn mutes_and_deafens(scene: &mut Scene) {
    scene.bo.click("button", "^Mute");
    assert_eq!(scene.bo.sees("button", "^Unmute")["pressed"], "true");
    scene.ada.sees("button", "^bo, muted$");
    scene.ada.hears(&[TALKS], &[CHROMIUMS], "bo is muted");
    scene.bo.hears(&[FIREFOXS, TALKS], &[], "muted, but not deaf");
    scene.bo.click("button", "^Unmute");
    scene.all_hear_all("after the mute");

    scene.bo.click("button", "^Deafen");
    assert_eq!(scene.bo.sees("button", "^Undeafen")["pressed"], "true");
    scene.ada.sees("button", "^bo, muted, deafened$");
    scene.bo.hears(&[], &[CHROMIUMS, FIREFOXS, TALKS], "deafened");
    scene.ada.hears(&[TALKS], &[CHROMIUMS], "bo is deafened, and muted with that");
    scene.bo.click("button", "^Undeafen");
    scene.all_hear_all("after the deafening");
}

/// Turns `quieter`, who is cleo, down while `same` stays as it is.
fn sets_a_volume(browser: &mut Browser, quieter: u32, same: u32) {
    let before = browser.hears(&[quieter, same], &[], "before");
    browser.click("button", "^cleo\\b");
    browser.sees("slider", "^Volume for me 100%$");
    browser.press_times("ArrowLeft", 20);
    browser.sees("slider", "^Volume for me 0%$");
    browser.hears(&[same], &[quieter], "turned off");
    // Five percent each.
    browser.press_times("ArrowRight", 4);
    browser.sees("slider", "^Volume for me 20%$");
    browser.screenshot("volume");
    let after = browser.hears(&[same, quieter], &[], "turned down");
    let fell = |hz: u32| before.decibels_at(hz).unwrap() - after.decibels_at(hz).unwrap();
    println!("{:?}: at 20 percent {quieter} Hz falls by {:.1} dB", browser.engine, fell(quieter));
    // A fifth is 14 dB less.
    assert!((fell(quieter) - 14.0).abs() < 3.0, "it fell by {} dB", fell(quieter));
    assert!(fell(same).abs() < 3.0, "somebody else fell by {} dB", fell(same));
    browser.press_times("ArrowRight", 16);
    browser.sees("slider", "^Volume for me 100%$");
    browser.press("Escape");
    browser.sees_no("menu", "^cleo");
}

fn is_moderated(scene: &mut Scene, first: &str, second: &str) {
    let (first_name, second_name) = (scene.name_of(first), scene.name_of(second));
    scene.ada_does_to_bo(&format!("^Move to {second_name}"));
    assert_eq!(scene.bo.expect("moved")["channel"], second);
    scene.bo.sees("button", &format!("^{second_name}, voice, 1 connected$"));
    scene.bo.hears(&[], &[CHROMIUMS, FIREFOXS, TALKS], "alone in the other channel");
    scene.ada.hears(&[TALKS], &[CHROMIUMS], "bo is in the other channel");
    scene.bo.screenshot("moved");
    scene.ada_does_to_bo(&format!("^Move to {first_name}"));
    assert_eq!(scene.bo.expect("moved")["channel"], first);
    scene.all_hear_all("after the move back");

    scene.ada_does_to_bo("^Mute for everybody$");
    for browser in [&mut scene.bo, &mut scene.ada] {
        browser.sees("button", "^bo, muted by a moderator");
    }
    scene.ada.hears(&[TALKS], &[CHROMIUMS], "muted by a moderator");
    scene.bo.screenshot("muted-by-a-moderator");
    scene.ada_does_to_bo("^Let speak again$");
    scene.all_hear_all("after the moderator's mute");

    scene.ada_does_to_bo("^Disconnect from voice$");
    assert_eq!(scene.bo.expect("disconnected")["end"], "put out");
    scene.bo.sees("text", "You were disconnected from the voice channel");
    scene.bo.sees_no("button", "^Leave the voice channel$");
    scene.bo.screenshot("put-out");
    scene.ada.sees("button", &format!("^{first_name}, voice, 2 connected$"));
    scene.ada.hears(&[TALKS], &[CHROMIUMS], "bo was put out");
    scene.bo.join(first);
    scene.all_hear_all("after coming back");
}

fn outlives_its_voice_socket(scene: &mut Scene) {
    let talker = scene.talks_user();
    for browser in [&mut scene.bo, &mut scene.ada] {
        browser.listen(4.0);
        browser.cut_voice_ws();
        browser.expect("voice_resumed");
        let gap = browser.heard().longest_gap_ms(&talker);
        println!("{:?}: {gap:.0} ms without sound when the voice WebSocket was cut", browser.engine);
        assert!(gap < CUT_GAP_MS_MAX, "{gap} ms");
        browser.sees("status", "^Voice connected$");
    }
    scene.all_hear_all("after the cuts");
}

/// A reload ends the stay, at once for everybody, and the page says so.
fn is_loaded_anew(scene: &mut Scene, channel: &str) {
    let name = scene.name_of(channel);
    let browsers = [(Engine::Chromium, CHROMIUMS), (Engine::Firefox, FIREFOXS)];
    for (engine, own) in browsers {
        let (loaded, other) = match engine {
            Engine::Chromium => (&mut scene.bo, &mut scene.ada),
            Engine::Firefox => (&mut scene.ada, &mut scene.bo),
        };
        loaded.reload();
        loaded.sees("text", "You left the voice channel when this page was loaded anew");
        loaded.sees("button", &format!("^{name}, voice, 2 connected$"));
        loaded.sees_no("button", "^Leave the voice channel$");
        loaded.screenshot("loaded-anew");
        other.sees("button", &format!("^{name}, voice, 2 connected$"));
        other.hears(&[TALKS], &[own], "the other page was loaded anew");
        loaded.join(channel);
    }
    scene.all_hear_all("after both were loaded anew");
}

/// The address of the browsers' machine changes under them, and both come back by themselves.
fn moves_to_another_network(scene: &mut Scene) {
    let talker = scene.talks_user();
    let seconds = MOVE_GAP_MS_MAX / 1_000.0 + 3.0;
    scene.bo.listen(seconds);
    scene.ada.listen(seconds);
    scene.net.move_clients();
    for browser in [&mut scene.bo, &mut scene.ada] {
        let gap = browser.heard().longest_gap_ms(&talker);
        println!("{:?}: {gap:.0} ms without sound when its address changed", browser.engine);
        assert!(gap < MOVE_GAP_MS_MAX, "{gap} ms\n{}", browser.process.lines.story());
        browser.sees("status", "^Voice connected$");
        // It spoke before, and has to say so again.
        browser.until_it_says_that_it_speaks();
    }
    scene.all_hear_all("in another network");
}

/// Thirty people in one channel; the page shows all of them.
fn with_many_others(scene: &mut Scene, channel: &str) {
    let name = scene.name_of(channel);
    let began = Instant::now();
    // Three are there already.
    let mut others = Vec::new();
    for n in 3..MANY {
        let mut client = Raw::connect(&scene.server, &scene.server.user(n), Ipv4Addr::UNSPECIFIED);
        let voice = client.join(&scene.server, channel);
        others.push((client, voice));
    }
    println!("{} others came within {:?}", others.len(), began.elapsed());
    for browser in [&mut scene.bo, &mut scene.ada] {
        browser.sees("button", &format!("^{name}, voice, {MANY} connected$"));
        browser.screenshot("thirty");
    }
    scene.all_hear_all("among thirty");
    drop(others);
}
