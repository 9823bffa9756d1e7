//! A page that stays in a channel while people take turns, come and go: nothing grows on either side, and nothing is heard later.
//!
//! Half a minute as a test; `SOAK_MINUTES=30 cargo nextest run -p e2e --test soak` for as long as somebody may stay. The bounds are the
//! same: what grows without end shows in the longer run, what settles in neither.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use e2e::recital::{compare, turn};
use e2e::{Browser, Engine, Net, Server, Talk, call};

/// The first speaks, then the second, then a guest who has just come and goes.
const ROUND: Duration = Duration::from_secs(6);
/// Caches fill and pools find their size in this many rounds.
const WARM_UP_ROUNDS: usize = 2;
/// What was seen is told this often.
const TELL_ROUNDS: usize = 10;
/// The sound of one speaker is looked for in so much.
const RECORD: Duration = Duration::from_secs(13);
/// A browser waits longer for packets, for a while, after its machine was too busy to take them.
const DRIFT_MS_MAX: f64 = 150.0;
const WITHIN: Duration = Duration::from_secs(30);

/// What everything takes at one moment.
#[derive(Debug, Clone, Copy)]
struct Taken {
    heap_kb: f64,
    nodes: f64,
    renderer_kb: f64,
    server_kb: f64,
    relay_kb: f64,
    descriptors: f64,
}

/// A thing that may not grow.
struct Bound {
    what: &'static str,
    of: fn(&Taken) -> f64,
    /// How much more of it the last third may have than the first, for other reasons.
    more_max: f64,
}

const BOUNDS: [Bound; 6] = [
    Bound { what: "the page's heap in KB", of: |t| t.heap_kb, more_max: 2_000.0 },
    Bound { what: "the page's nodes", of: |t| t.nodes, more_max: 300.0 },
    Bound { what: "the browser's renderers in KB", of: |t| t.renderer_kb, more_max: 20_000.0 },
    Bound { what: "the server in KB", of: |t| t.server_kb, more_max: 8_000.0 },
    Bound { what: "the relay in KB", of: |t| t.relay_kb, more_max: 2_000.0 },
    Bound { what: "descriptors of both", of: |t| t.descriptors, more_max: 4.0 },
];

struct Soak {
    server: Server,
    channel: String,
    page: Browser,
    folder: tempfile::TempDir,
    began: Instant,
    /// Goes after everything that lives in it.
    _net: Net,
}

impl Soak {
    fn taken(&mut self) -> Taken {
        let page = self.page.memory();
        let number = |key: &str| page[key].as_f64().expect("a number");
        let server = self.server.process.pid();
        let relays = call::relays(server);
        assert_eq!(relays.len(), 1, "one voice server has one relay process");
        Taken {
            heap_kb: number("heap_bytes") / 1_024.0,
            nodes: number("nodes"),
            renderer_kb: number("renderer_kb"),
            server_kb: resident_kb(server),
            relay_kb: resident_kb(relays[0]),
            descriptors: descriptors(server) + descriptors(relays[0]),
        }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Somebody who stays and says this once a round.
    fn regular(&self, user: usize, name: &str, words: &str, starts: Duration) -> Talk {
        let file = self.file(name);
        turn(&file, "en", words, starts, ROUND);
        let options = ["--play", file.to_str().expect("UTF-8"), "--again"];
        let mut talk = Talk::start(&self.server, &self.server.user(user), &self.channel, &options);
        talk.connected();
        talk
    }

    /// One round in which a guest comes, speaks and goes. `n` tells which of two accounts it is.
    fn round(&self, n: usize, guest: &Path) {
        let ends = Instant::now() + ROUND;
        let options = ["--play", guest.to_str().expect("UTF-8")];
        let mut talk = Talk::start(&self.server, &self.server.user(3 + n % 2), &self.channel, &options);
        let report = talk.report(WITHIN);
        assert!(report["sent"].as_u64() > Some(20), "the guest spoke: {report}");
        // Rounds are as long as the regulars' files.
        std::thread::sleep(ends.saturating_duration_since(Instant::now()));
    }

    /// Where in the round the first speaker is heard, by the machine's clock.
    fn phase_ms(&mut self, words: &Path) -> f64 {
        self.page.record();
        std::thread::sleep(RECORD);
        let file = self.file("heard.wav");
        let began_ms = self.page.finish_recording(&self.server.user(1), &file);
        let found = compare(words, &file);
        assert!(found["fraction"].as_f64() >= Some(0.8), "the first speaker is heard in the page: {found}");
        (began_ms + found["lag_ms"].as_f64().expect("a number")).rem_euclid(ROUND.as_secs_f64() * 1_000.0)
    }
}

fn resident_kb(pid: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the process lives");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("Linux tells");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

fn descriptors(pid: u32) -> f64 {
    std::fs::read_dir(format!("/proc/{pid}/fd")).expect("the process lives").count() as f64
}

fn minutes() -> f64 {
    let asked = std::env::var("SOAK_MINUTES").ok();
    asked.map_or(0.5, |text| text.parse().expect("SOAK_MINUTES is a number"))
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// How much further on the circle of a round, at most half a round to either side.
fn drift_ms(from: f64, to: f64) -> f64 {
    let round = ROUND.as_secs_f64() * 1_000.0;
    (to - from + round / 2.0).rem_euclid(round) - round / 2.0
}

#[test]
fn a_page_stays_in_a_channel_and_nothing_grows_or_comes_later() {
    let net = Net::new();
    let server = Server::start_in(&net, 5, &[]);
    let channel = server.voice_channel(0);
    let mut page = Browser::start(Engine::Chromium, &net, &server, &server.user(0), 330);
    page.join(&channel);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut soak = Soak { server, channel, page, folder, began: Instant::now(), _net: net };
    let words = "Order in the hall, please.";
    let first = soak.regular(1, "first.wav", words, Duration::from_millis(200));
    let second = soak.regular(2, "second.wav", "The masons agree to it.", Duration::from_millis(2_600));
    let guest = soak.file("guest.wav");
    turn(&guest, "en", "And so do I.", Duration::from_millis(300), Duration::from_millis(2_000));
    let alone = soak.file("first-alone.wav");
    turn(&alone, "en", words, Duration::ZERO, Duration::from_millis(2_500));

    for n in 0..WARM_UP_ROUNDS {
        soak.round(n, &guest);
    }
    let phase = soak.phase_ms(&alone);
    soak.began = Instant::now();
    let mut all = Vec::new();
    while soak.began.elapsed().as_secs_f64() < minutes() * 60.0 {
        soak.round(all.len(), &guest);
        all.push(soak.taken());
        if all.len() % TELL_ROUNDS == 0 {
            let minute = soak.began.elapsed().as_secs_f64() / 60.0;
            println!("minute {minute:.1}: {:.0?}", all[all.len() - 1]);
        }
    }
    let drift = drift_ms(phase, soak.phase_ms(&alone));
    println!(
        "heard {drift:+.1} ms later than {:.1} minutes before",
        soak.began.elapsed().as_secs_f64() / 60.0
    );

    let third = all.len() / 3;
    for Bound { what, of, more_max } in BOUNDS {
        let (early, late) =
            (median(all[..third].iter().map(of)), median(all[all.len() - third..].iter().map(of)));
        println!("{what}: {early:.0}, then {late:.0}");
        assert!(late - early <= more_max, "{what} grew from {early} to {late}");
    }
    assert!(drift <= DRIFT_MS_MAX, "heard {drift} ms later than at the beginning");
    for talk in [first, second] {
        assert!(!talk.process.lines.story().contains("reconnecting"), "{}", talk.process.lines.story());
    }
    // Of the way in which the test records.
    let known = |trouble: &serde_json::Value| trouble.to_string().contains("ScriptProcessorNode");
    let troubles: Vec<_> = soak.page.troubles().into_iter().filter(|trouble| !known(trouble)).collect();
    assert!(troubles.is_empty(), "{troubles:?}");
}
