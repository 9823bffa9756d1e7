//! Real browsers on the real page, in one channel with a bot and with our own native client.
#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use e2e::{Bot, Browser, Engine, Library, Net, Server, Sound, Talk, User, strongest_tone};

/// Frequencies far apart and free of each other's harmonics.
const CHROMIUMS: u32 = 440;
const FIREFOXS: u32 = 620;
const SONGBIRDS: u32 = 830;
const TALKS: u32 = 1130;
const TONES: [u32; 4] = [CHROMIUMS, FIREFOXS, SONGBIRDS, TALKS];
const JOIN_BYTES_MAX: u64 = 1_200;
const WITHIN: Duration = Duration::from_secs(40);

struct Call {
    server: Server,
    channel: String,
    chromium: Browser,
    firefox: Browser,
    bot: Bot,
    // Last, so that it is there until everybody has ended.
    _net: Net,
}

impl Call {
    /// The bot is in the first voice channel and plays; the browsers have only opened the page.
    fn start() -> Self {
        let net = Net::new();
        let server = Server::start_in(&net, 5, &[]);
        let channel = server.voice_channel(0);
        let mut bot = Bot::start(Library::Songbird, &server, &server.user(3));
        bot.join(&channel);
        bot.tone(SONGBIRDS, true);
        let chromium = Browser::start(Engine::Chromium, &net, &server, &server.user(1), CHROMIUMS);
        let firefox = Browser::start(Engine::Firefox, &net, &server, &server.user(2), FIREFOXS);
        Self { server, channel, chromium, firefox, bot, _net: net }
    }

    /// Listens with both browsers at once.
    fn hear(&mut self, seconds: f64) -> [Sound; 2] {
        self.chromium.listen(seconds);
        self.firefox.listen(seconds);
        [self.chromium.heard(), self.firefox.heard()]
    }

    /// Microphones and decoders take their time: from here on, everybody is there.
    fn wait_for_sound(&mut self, talk: &User) {
        let silent_since = Instant::now();
        let (chromium, firefox, bot) =
            (self.chromium.user.clone(), self.firefox.user.clone(), self.bot.user.clone());
        loop {
            let [by_chromium, by_firefox] = self.hear(0.3);
            let by_bot = self.bot.hear(0.3);
            let is_there = by_chromium.hears_something_of(&[&firefox, &bot, talk])
                && by_firefox.hears_something_of(&[&chromium, &bot, talk])
                && [&chromium, &firefox, talk].iter().all(|user| by_bot.has_sound_of(user));
            if is_there {
                return;
            }
            assert!(silent_since.elapsed() < WITHIN, "{by_chromium:?}\n{by_firefox:?}\n{by_bot:?}");
        }
    }
}

/// Bytes of a join: everything on the voice WebSocket, both ways, from HELLO until sound could flow. Whoever joins others is told of each of
/// them as well, which is printed apart.
fn join_bytes(browser: &mut Browser, channel: &str) -> u64 {
    const OF_OTHERS: [u64; 2] = [5, 11];
    browser.join(channel);
    let frames = browser.voice_frames();
    let (mut own, mut of_others, mut ops) = (0, 0, Vec::new());
    for frame in &frames {
        let op = frame["op"].as_u64().expect("every frame has a code");
        let bytes = frame["bytes"].as_u64().expect("a number");
        ops.push(op);
        let is_of_others = frame["way"] == "received" && OF_OTHERS.contains(&op);
        *(if is_of_others { &mut of_others } else { &mut own }) += bytes;
    }
    for expected in [8, 0, 2, 1, 4] {
        assert!(ops.contains(&expected), "{:?}: no code {expected} among {ops:?}", browser.engine);
    }
    println!("{:?} joins with {own} bytes, and is told of others in {of_others}: {frames:?}", browser.engine);
    own + of_others
}

#[test]
fn browsers_join_in_few_bytes_and_hear_a_library_our_own_client_and_each_other() {
    let mut call = Call::start();
    let channel = call.channel.clone();
    let empty = call.server.voice_channel(1);
    for browser in [&mut call.chromium, &mut call.firefox] {
        let bytes = join_bytes(browser, &empty);
        assert!(bytes < JOIN_BYTES_MAX, "{:?}: {bytes} bytes", browser.engine);
        browser.leave();
        // To the bot that is there already.
        join_bytes(browser, &channel);
        browser.leave();
    }
    call.chromium.join(&channel);
    call.firefox.join(&channel);
    let folder = tempfile::tempdir().unwrap();
    let options =
        ["--tone", &TALKS.to_string(), "--seconds", "120", "--record", folder.path().to_str().unwrap()];
    let ours = call.server.user(4);
    let mut talk = Talk::start(&call.server, &ours, &channel, &options);
    talk.connected();
    call.wait_for_sound(&ours);

    let (chromium, firefox, bot) =
        (call.chromium.user.clone(), call.firefox.user.clone(), call.bot.user.clone());
    call.bot.listen(1.5);
    let [by_chromium, by_firefox] = call.hear(1.5);
    let by_bot = call.bot.heard();
    for (sound, own, other, other_hz) in
        [(&by_chromium, CHROMIUMS, &firefox, FIREFOXS), (&by_firefox, FIREFOXS, &chromium, CHROMIUMS)]
    {
        for (user, hz) in [(other, other_hz), (&bot, SONGBIRDS), (&ours, TALKS)] {
            sound.people.expect_tone(user, hz, "in one channel");
        }
        sound.people.expect_no_tone(own, "its own");
        let others: Vec<u32> = TONES.into_iter().filter(|hz| *hz != own).collect();
        sound.expect_out(&others, &[own], "all together");
    }
    for (user, hz) in [(&chromium, CHROMIUMS), (&firefox, FIREFOXS), (&ours, TALKS)] {
        let stream = by_bot.expect_tone(user, hz, "in one channel");
        assert_eq!(stream["lost_ever"], 0, "{stream}");
    }
    by_bot.expect_no_tone(SONGBIRDS, "its own");

    call.chromium.click("button", "^Mute");
    call.firefox.sees("button", "^bo, muted$");
    call.bot.listen(0.7);
    let by_firefox = call.firefox.hear(0.7);
    by_firefox.expect_out(&[SONGBIRDS, TALKS], &[CHROMIUMS], "Chromium muted");
    call.bot.heard().expect_no_tone(CHROMIUMS, "Chromium muted");
    call.chromium.click("button", "^Unmute");
    call.firefox.click("button", "^Mute");
    call.chromium.sees("button", "^cleo, muted$");
    call.bot.listen(0.7);
    let by_chromium = call.chromium.hear(0.7);
    by_chromium.expect_out(&[SONGBIRDS, TALKS], &[FIREFOXS], "Firefox muted");
    call.bot.heard().expect_no_tone(FIREFOXS, "Firefox muted");
    call.firefox.click("button", "^Unmute");
    call.wait_for_sound(&ours);
    let by_bot = call.bot.hear(1.0);
    for (user, hz) in [(&chromium, CHROMIUMS), (&firefox, FIREFOXS)] {
        let stream = by_bot.expect_tone(user, hz, "after a mute");
        assert_eq!(stream["lost_ever"], 0, "{stream}");
    }

    talk.process.signal("INT");
    let report = talk.report(Duration::from_secs(20));
    talk.process.wait(Duration::from_secs(20));
    for (user, hz) in [(&chromium, CHROMIUMS), (&firefox, FIREFOXS), (&bot, SONGBIRDS)] {
        let stream =
            Talk::stream(&report, user).unwrap_or_else(|| panic!("talk did not hear {user:?}: {report}"));
        assert_eq!(stream["lost"], 0, "{report}");
        assert_eq!(
            strongest_tone(&folder.path().join(format!("{}.wav", user.id)), &TONES),
            hz,
            "talk's recording"
        );
    }
    call.chromium.had_no_troubles();
    call.firefox.had_no_troubles();
    call.bot.had_no_errors();
    let lines = &call.server.process.lines;
    assert!(!lines.stderr_contains("ERROR") && !lines.stderr_contains("panicked"), "{}", lines.story());
}
