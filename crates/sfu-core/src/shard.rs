//! The shard: its state, its clockwork, and what it tells signalling.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::Instant;

use rtp_wire::Ssrc;
use sfu_wire::page::Work;
use sfu_wire::{DropCount, Dtls, FromSfu, KeySpent, LegConnected, LegSpeaking, Report, Start, Started};

use crate::counters::{Counters, DropReason};
use crate::known::Changes;
use crate::leg::{LegIndex, LegKey, Legs};
use crate::limits::{NEWS_MAX, REPORT_INTERVAL, SENDER_PACKETS_PER_S_DEFAULT};
use crate::page::{Memory, Page, Predecessor};
use crate::pending::Pending;
use crate::retired::Retired;
use crate::room::Rooms;
use crate::seed::Random;
use crate::sink::Sink;
use crate::timers::{Due, Reason, Timers};

/// One shard of the relay. The grammar: `handle_*` for what comes in, `poll_*` for what is to be done; see
/// the crate's head.
pub struct Shard {
    pub(crate) random: Random,
    pub(crate) sender_packets_per_s_max: u32,

    pub(crate) legs: Legs,
    pub(crate) rooms: Rooms,
    pub(crate) by_id: HashMap<u64, LegIndex>,
    pub(crate) by_ssrc: HashMap<Ssrc, LegIndex>,
    /// The legs whose address is known; an address is one leg's at most.
    pub(crate) by_address: HashMap<SocketAddr, LegIndex>,
    /// The browsers' legs, by the user name fragment that is ours in their checks.
    pub(crate) by_ufrag: HashMap<Box<str>, LegIndex>,
    /// The same by the addresses of their latest checks. What two have checked is whose it was first, while that goes on.
    pub(crate) by_check: HashMap<SocketAddr, LegIndex>,
    /// What browsers send to signalling's DTLS engines.
    pub(crate) dtls: VecDeque<Dtls>,
    /// In who is known, if anybody asks.
    pub(crate) changes: Changes,
    pub(crate) retired: Retired,
    /// Empty whenever nobody is at work.
    pub(crate) pending: Pending,
    /// What is written down for a successor,
    pub(crate) page: Page,
    /// and what a predecessor wrote, until the snapshot says which legs there are.
    pub(crate) predecessor: Option<Predecessor>,

    pub(crate) counters: Counters,
    timers: Timers,
    /// Where the clock of the reports to browsers begins.
    pub(crate) started_at: Instant,
    started: Option<Started>,
    /// Legs of which signalling has not heard everything; each at most once.
    news: VecDeque<LegKey>,
    pub(crate) report_due: bool,
}

impl Shard {
    /// A shard that nobody can go on with.
    #[must_use]
    pub fn new(now: Instant, start: &Start) -> Self {
        Self::with(now, start, (Page::none(), Predecessor::default()))
    }

    /// A shard that writes into `memory` what its successor must know, and goes on, with the snapshot, with what its predecessor wrote there. The
    /// memory is nobody else's for as long as the shard lives.
    #[must_use]
    pub fn with_memory(now: Instant, start: &Start, memory: Memory) -> Self {
        Self::with(now, start, Page::open(memory))
    }

    fn with(now: Instant, start: &Start, (page, predecessor): (Page, Predecessor)) -> Self {
        let mut timers = Timers::default();
        timers.arm(now + REPORT_INTERVAL, Reason::Report, None);
        let mut shard = Self {
            random: Random::new(&start.seed),
            sender_packets_per_s_max: SENDER_PACKETS_PER_S_DEFAULT,
            legs: Legs::default(),
            rooms: Rooms::default(),
            by_id: HashMap::new(),
            by_ssrc: HashMap::new(),
            by_address: HashMap::new(),
            by_ufrag: HashMap::new(),
            by_check: HashMap::new(),
            dtls: VecDeque::new(),
            started_at: now,
            changes: Changes::default(),
            retired: Retired::default(),
            pending: Pending::new(),
            page,
            predecessor: Some(predecessor),
            counters: Counters::default(),
            timers,
            started: Some(Started {
                protocol: start.protocol,
                shard: start.shard,
                version: env!("CARGO_PKG_VERSION").to_owned(),
            }),
            news: VecDeque::new(),
            report_due: false,
        };
        shard.handle_start(start);
        shard
    }

    pub(crate) fn handle_start(&mut self, start: &Start) {
        if start.sender_packets_per_s_max > 0 {
            self.sender_packets_per_s_max = start.sender_packets_per_s_max;
        }
    }

    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    #[must_use]
    pub fn legs(&self) -> usize {
        self.legs.len()
    }

    /// When [`Self::handle_timeout`] is due, and what for.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<(Instant, Reason)> {
        self.timers.next()
    }

    pub fn handle_timeout(&mut self, now: Instant, sink: &mut impl Sink) {
        let mut in_company = false;
        while let Some(due) = self.timers.pop(now, in_company) {
            self.handle_due(now, due, sink);
            in_company = true;
        }
        self.finish(now, sink);
    }

    fn handle_due(&mut self, now: Instant, due: Due, sink: &mut impl Sink) {
        self.page.busy(
            due.leg.and_then(|key| self.legs.find(key)).map_or(0, |leg| self.legs.get(leg).id),
            Work::Timer,
        );
        match (due.reason, due.leg.and_then(|key| self.legs.find(key))) {
            (Reason::Report, _) => {
                self.report_due = true;
                // Counted from now, so that a process that slept does not catch up on reports.
                self.timers.arm(now + REPORT_INTERVAL, Reason::Report, None);
            }
            (Reason::Silence, Some(leg)) => self.send_silence(now, leg, sink),
            (Reason::SpeechEnd, Some(leg)) => self.look_for_speech_end(now, leg),
            (Reason::PathKeep, Some(leg)) => self.keep_path(now, due.at, leg, sink),
            (Reason::Silence | Reason::SpeechEnd | Reason::PathKeep, None) => {}
        }
        self.page.idle();
    }

    pub(crate) fn arm(&mut self, at: Instant, reason: Reason, leg: LegIndex) {
        self.timers.arm(at, reason, Some(self.legs.key(leg)));
    }

    fn look_for_speech_end(&mut self, now: Instant, index: LegIndex) {
        let leg = self.legs.get_mut(index);
        let again = leg.speech.handle_timeout(now);
        leg.speech_end_armed = again.is_some();
        match again {
            Some(at) => self.arm(at, Reason::SpeechEnd, index),
            None => self.tell(index),
        }
    }

    /// Puts a leg into the queue of those that signalling has not heard everything of, if so it is.
    pub(crate) fn tell(&mut self, index: LegIndex) {
        let key = self.legs.key(index);
        let leg = self.legs.get_mut(index);
        let told = leg.told;
        let news = told.connected != leg.connected
            || told.speaking != leg.speech.is_speaking()
            || told.key_spent != leg.key_spent;
        if news && !told.queued {
            leg.told.queued = true;
            self.news.push_back(key);
            if self.news.len() > NEWS_MAX {
                self.news.retain(|key| self.legs.find(*key).is_some());
            }
        }
    }

    /// The next thing that signalling should know. The report's last fields are the process's to fill in.
    pub fn poll_event(&mut self) -> Option<FromSfu> {
        if let Some(started) = self.started.take() {
            return Some(FromSfu::Started(started));
        }
        if let Some(dtls) = self.dtls.pop_front() {
            return Some(FromSfu::Dtls(dtls));
        }
        while let Some(key) = self.news.front().copied() {
            if let Some(event) = self.legs.find(key).and_then(|index| self.next_of(index)) {
                return Some(event);
            }
            self.news.pop_front();
        }
        std::mem::take(&mut self.report_due).then(|| FromSfu::Report(self.report()))
    }

    /// What is still to be told of a leg, one thing at a time.
    fn next_of(&mut self, index: LegIndex) -> Option<FromSfu> {
        let leg = self.legs.get_mut(index);
        let speaking = leg.speech.is_speaking();
        if leg.told.connected != leg.connected {
            leg.told.connected = leg.connected;
            // A leg that waits to be connected anew is nothing to tell; that it is again, is.
            if leg.connected {
                return Some(FromSfu::LegConnected(LegConnected { id: leg.id }));
            }
        }
        if leg.told.speaking != speaking {
            leg.told.speaking = speaking;
            return Some(FromSfu::LegSpeaking(LegSpeaking { id: leg.id, speaking }));
        }
        if leg.told.key_spent != leg.key_spent {
            leg.told.key_spent = leg.key_spent;
            if leg.key_spent {
                return Some(FromSfu::KeySpent(KeySpent { id: leg.id }));
            }
        }
        leg.told.queued = false;
        None
    }

    fn report(&self) -> Report {
        let drop = |reason: DropReason| DropCount {
            reason: reason.name().to_owned(),
            packets: self.counters.dropped(reason),
        };
        Report {
            received: self.counters.received,
            forwarded_in: self.counters.forwarded_in,
            consumed: self.counters.consumed,
            drops: DropReason::ALL.into_iter().map(drop).collect(),
            sent: self.counters.sent,
            recovered: self.counters.recovered,
            asked: self.counters.asked,
            resent: self.counters.resent,
            not_resent: self.counters.not_resent,
            unwritten: self.page.unwritten,
            restored: self.counters.restored,
            legs: u32::try_from(self.legs.len()).unwrap_or(u32::MAX),
            rooms: u32::try_from(self.rooms.len()).unwrap_or(u32::MAX),
            ..Report::default()
        }
    }
}
