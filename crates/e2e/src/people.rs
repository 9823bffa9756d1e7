//! People of our own client while parts of a cluster die: what one of them hears of another, who comes and goes meanwhile, and who ought to be in
//! voice.
//!
//! Owns: what is measured at the ear, and the model of the voice states. Deliberately does not: know what is done to the cluster.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::Ipv4Addr;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::wire::{Heard, WITHIN, Wire};
use crate::{Server, Talk, User};

pub const TONE: u32 = 440;
/// How much may be missing at the ear where nobody has to move: nothing at all, but for the ends of what is measured and a busy machine.
pub const UNDISTURBED_MS: f64 = 400.0;
/// The same where clients of ours move from one living voice server to another.
pub const MOVED_MS: f64 = 1_000.0;
/// How soon somebody else can join again after an owner of guilds died, whose lease is of three seconds.
pub const JOINS_WITHIN: Duration = Duration::from_secs(12);
/// How long it may take a guest to get in while several things fail one after the other.
const GUEST_WITHIN: Duration = Duration::from_secs(60);
const GUEST_PAUSE: Duration = Duration::from_millis(500);
/// Longer than any test.
const LONG: [&str; 2] = ["--seconds", "3600"];
const HERE: Ipv4Addr = Ipv4Addr::LOCALHOST;

/// One who speaks and one who listens.
pub struct Pair {
    speaker: Talk,
    listener: Talk,
    user: User,
    began: Instant,
}

/// What the listener of a pair missed.
#[derive(Debug, Clone, Copy)]
pub struct Missed {
    of_ms: f64,
    /// Of all that could have been heard, in milliseconds: what was not said while its speaker was on the way counts as well.
    pub ms: f64,
    /// The share of what was said that was lost, by the numbers of the packets.
    pub lost: f64,
    /// How often the listener connected anew.
    pub reconnects: u64,
}

impl Pair {
    pub fn start(server: &Server) -> Self {
        let channel = server.voice_channel(0);
        let mut listener = Talk::start(server, &server.user(1), &channel, &LONG);
        listener.connected();
        let tone = TONE.to_string();
        let options = [&["--tone", &tone], &LONG[..]].concat();
        let mut speaker = Talk::start(server, &server.user(0), &channel, &options);
        speaker.connected();
        Self { speaker, listener, user: server.user(0), began: Instant::now() }
    }

    pub fn end(mut self) -> Missed {
        self.listener.process.signal("INT");
        let listened_ms = self.began.elapsed().as_secs_f64() * 1_000.0;
        let heard = self.listener.report(WITHIN);
        self.speaker.process.signal("INT");
        let said = self.speaker.report(WITHIN);
        let stream =
            Talk::stream(&heard, &self.user).unwrap_or_else(|| panic!("nothing was heard: {heard} {said}"));
        let number = |value: &Value| value.as_f64().expect("a report has numbers");
        // What came by two voice servers is thrown away once.
        let received = number(&stream["received"]) - number(&stream["discarded"]);
        let lost = number(&stream["lost"]);
        let ms = listened_ms - received * 20.0;
        let reconnects = heard["reconnects"].as_u64().expect("a report has numbers");
        Missed { of_ms: listened_ms, ms, lost: lost / (received + lost), reconnects }
    }
}

impl Missed {
    pub fn assert_at_most(self, ms: f64, story: impl FnOnce() -> String) {
        let Self { of_ms, ms: missed_ms, reconnects, .. } = self;
        let what = format!("of {of_ms:.0} ms {missed_ms:.0} ms were not heard, over {reconnects} reconnects");
        crate::measured(what, format!("{ms} ms"));
        assert!(missed_ms <= ms, "{self:?}\n{}", story());
    }
}

/// Somebody else joins and leaves; how long it took to get in.
pub fn joins(server: &Server) -> Duration {
    let began = Instant::now();
    let mut third = Talk::start(server, &server.user(2), &server.voice_channel(0), &["--seconds", "60"]);
    third.process.lines.event("connected", JOINS_WITHIN);
    let took = began.elapsed();
    third.process.signal("INT");
    third.report(WITHIN);
    took
}

/// The same, which may fail: our own client gives up after ten seconds without an answer.
pub fn try_join(server: &Server) -> Option<Duration> {
    let began = Instant::now();
    let mut third = Talk::start(server, &server.user(2), &server.voice_channel(0), &["--seconds", "60"]);
    third.process.lines.until_or_end("it to be in", WITHIN, |v| v["event"] == "connected")?;
    let took = began.elapsed();
    third.process.signal("INT");
    third.report(WITHIN);
    Some(took)
}

/// Until the voice servers are as wanted, by what guilds knows of them. They tell of their load every few seconds.
pub fn until_servers(server: &Server, what: &str, wanted: impl Fn(&[Value]) -> bool) -> Vec<Value> {
    let began = Instant::now();
    loop {
        let list = server.ctl(&["servers"]);
        let servers: Vec<Value> =
            list.lines().map(|line| serde_json::from_str(line).expect("ctl prints JSON")).collect();
        if wanted(&servers) {
            return servers;
        }
        assert!(began.elapsed() < 2 * WITHIN, "waited for {what}: {servers:?}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// The same, by how many participants each has.
pub fn until_on(server: &Server, what: &str, wanted: impl Fn(&dyn Fn(&str) -> u64) -> bool) {
    until_servers(server, what, |servers| {
        wanted(&|name| {
            servers.iter().find(|s| s["id"] == name).map_or(0, |s| s["participants"].as_u64().unwrap_or(0))
        })
    });
}

/// The voice server with everybody on it, who are at least so many.
pub fn until_on_one(server: &Server, people: u64) -> String {
    let has = |one: &Value| one["participants"].as_u64() >= Some(people);
    let servers = until_servers(server, "everybody to be on one server", |servers| servers.iter().any(&has));
    let busy = servers.iter().find(|one| has(one)).expect("it was waited for");
    busy["id"].as_str().expect("a server has an id").to_owned()
}

/// Who is in voice, where, and muted by the server or not.
pub type States = BTreeMap<String, (String, bool)>;

fn note(states: &mut States, state: &Value) {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let user = text(&state["user_id"]).unwrap_or_else(|| panic!("a voice state without a user: {state}"));
    match text(&state["channel_id"]) {
        Some(channel) => states.insert(user, (channel, state["mute"] == true)),
        None => states.remove(&user),
    };
}

/// A session that watches who is in voice, by the last account of a demonstration of so many.
pub struct Watch {
    gateway: Wire,
    guild: String,
    states: States,
}

impl Watch {
    pub fn start(server: &Server, user: &User) -> Self {
        let mut gateway = Wire::open(&format!("{}/?v=10&encoding=json", server.gateway()), HERE, None);
        gateway.op(10);
        gateway.send(&crate::raw::identify(&user.token));
        gateway.dispatch("READY");
        let mut watch = Self { gateway, guild: server.guild().to_owned(), states: States::new() };
        let guild = server.guild();
        let shown = watch.gateway.until("the guild", |v| v["t"] == "GUILD_CREATE" && v["d"]["id"] == guild);
        watch.take(&shown);
        watch
    }

    fn take(&mut self, told: &Value) {
        let (what, d) = (told["t"].as_str(), &told["d"]);
        match what {
            Some("GUILD_CREATE") if d["id"] == *self.guild => {
                self.states.clear();
                let all = d["voice_states"].as_array().unwrap_or_else(|| panic!("{d}"));
                all.iter().for_each(|state| note(&mut self.states, state));
            }
            Some("VOICE_STATE_UPDATE") => note(&mut self.states, d),
            _ => {}
        }
    }

    /// As they are told to one who comes in now.
    pub fn states(server: &Server, user: &User) -> States {
        Self::start(server, user).states
    }

    /// Waits until those who are there, but for one who may be or not, are as expected.
    fn until(mut self, expected: &States, but: &User, what: &str) {
        let deadline = Instant::now() + WITHIN;
        loop {
            self.states.remove(&but.id);
            if self.states == *expected {
                return;
            }
            match self.gateway.next(deadline.saturating_duration_since(Instant::now())) {
                Some(Heard::Text(told)) => self.take(&told),
                _ => panic!("{what}: in voice are {:?}, and not {expected:?}", self.states),
            }
        }
    }
}

/// Those who stay in voice, each a process of our own client; with the pair they are the model of the voice states.
pub struct Company {
    there: BTreeMap<usize, (Talk, String)>,
    muted: Vec<usize>,
    /// Who may be in voice or not.
    guest: User,
}

impl Company {
    pub fn beside(guest: User) -> Self {
        Self { there: BTreeMap::new(), muted: Vec::new(), guest }
    }

    pub fn join(&mut self, server: &Server, account: usize, channel: &str) {
        let mut talk = Talk::start(server, &server.user(account), channel, &LONG);
        talk.process.lines.event("connected", 2 * WITHIN);
        self.there.insert(account, (talk, channel.to_owned()));
    }

    pub fn leave(&mut self, account: usize) {
        let (mut talk, _) = self.there.remove(&account).expect("it is there");
        talk.process.signal("INT");
        talk.report(WITHIN);
    }

    /// By the server.
    pub fn mute(&mut self, server: &Server, account: usize) {
        server.ctl(&["mute", server.guild(), &server.user(account).id]);
        self.muted.push(account);
    }

    fn expected(&self, server: &Server) -> States {
        let pair = [0, 1].map(|account| (account, server.voice_channel(0)));
        let all = self.there.iter().map(|(account, (_, channel))| (*account, channel.clone())).chain(pair);
        all.map(|(account, channel)| (server.user(account).id, (channel, self.muted.contains(&account))))
            .collect()
    }

    /// The pair and those of the company are in voice, and nobody else is: soon, and then for whoever asks.
    pub fn assert_is_all(&self, server: &Server, watcher: usize, what: &str) {
        let (expected, watcher) = (self.expected(server), server.user(watcher));
        Watch::start(server, &watcher).until(&expected, &self.guest, what);
        let mut told = Watch::states(server, &watcher);
        told.remove(&self.guest.id);
        assert_eq!(told, expected, "{what}");
    }

    pub fn has(&self, account: usize) -> bool {
        self.there.contains_key(&account)
    }

    pub fn headcount(&self) -> usize {
        self.there.len()
    }

    /// How often they had to connect anew, all together.
    pub fn end(self) -> u64 {
        let reconnects = self.there.into_values().map(|(mut talk, _)| {
            talk.process.signal("INT");
            talk.report(WITHIN)["reconnects"].as_u64().expect("a report has numbers")
        });
        reconnects.sum()
    }
}

/// One who joins and leaves again and again, beside whatever else happens, until dropped.
pub struct Guest {
    until: Option<Sender<()>>,
    thread: Option<JoinHandle<Vec<Duration>>>,
}

impl Guest {
    pub fn start(server: &Server, account: usize) -> Self {
        let arguments = Talk::arguments(server, &server.user(account), &server.voice_channel(1), &LONG);
        let (until, ended) = channel();
        let thread = std::thread::spawn(move || come_and_go(&arguments, &ended));
        Self { until: Some(until), thread: Some(thread) }
    }

    /// How long it took each time to get in; the last time it did as well.
    pub fn end(mut self) -> Vec<Duration> {
        self.until = None;
        let thread = self.thread.take().expect("it is taken at the end");
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.until = None;
        // Whatever it says, the test is over.
        self.thread.take().map(JoinHandle::join);
    }
}

fn come_and_go(arguments: &[OsString], ended: &Receiver<()>) -> Vec<Duration> {
    let mut took = Vec::new();
    while ended.try_recv() != Err(TryRecvError::Disconnected) {
        let began = Instant::now();
        // Our own client gives up after ten seconds without an answer, and then another one begins.
        let mut talk = loop {
            let mut talk = Talk::start_with("a guest", arguments);
            if talk
                .process
                .lines
                .until_or_end("it to be in", GUEST_WITHIN, |v| v["event"] == "connected")
                .is_some()
            {
                break talk;
            }
            let story = talk.process.lines.story();
            assert!(began.elapsed() < GUEST_WITHIN, "a guest does not get in\n{story}");
            println!("a guest tried in vain, for {:.1?} by now:\n{story}", began.elapsed());
            let _: Result<(), RecvTimeoutError> = ended.recv_timeout(GUEST_PAUSE);
        };
        took.push(began.elapsed());
        let _: Result<(), RecvTimeoutError> = ended.recv_timeout(GUEST_PAUSE);
        talk.process.signal("INT");
        talk.report(GUEST_WITHIN);
    }
    took
}
