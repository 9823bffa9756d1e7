//! What was received, by SSRC: the packets as they came off the network, and the sound which songbird decoded from them.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use crate::control::{Event, HeardStream, at_ms};
use crate::spectrum;

/// A stream that has been silent for longer than this belongs to an earlier scene of the test.
const STREAM_REMEMBERED: Duration = Duration::from_secs(10);

#[derive(Default)]
pub struct Ears {
    users: HashMap<u32, String>,
    streams: HashMap<u32, Stream>,
    listening: bool,
}

/// One stream over one interval of listening.
struct Stream {
    user: Option<String>,
    /// All its numbers since it was first heard.
    ever: BTreeSet<i64>,
    /// Sequence numbers, extended over the wrap at 2^16.
    numbers: BTreeSet<i64>,
    highest: i64,
    last_packet: Instant,
    longest_gap: Duration,
    mono: Vec<i16>,
}

impl Ears {
    pub fn introduce(&mut self, ssrc: u32, user: String) {
        self.users.insert(ssrc, user);
    }

    pub fn packet(&mut self, now: Instant, ssrc: u32, sequence: u16) {
        let stream = self.streams.entry(ssrc).or_insert_with(|| Stream::new(now, sequence));
        if self.listening {
            stream.packet(now, sequence);
        } else {
            stream.advance(sequence);
        }
        stream.last_packet = now;
    }

    pub fn sound(&mut self, ssrc: u32, stereo: &[i16]) {
        if self.listening
            && let Some(stream) = self.streams.get_mut(&ssrc)
        {
            stream.mono.extend(stereo.chunks_exact(2).map(|both| both[0].midpoint(both[1])));
        }
    }

    pub fn listen(&mut self) {
        self.listening = true;
        self.streams.retain(|_, stream| stream.last_packet.elapsed() < STREAM_REMEMBERED);
        for stream in self.streams.values_mut() {
            stream.reset();
        }
    }

    pub fn take_window(&mut self) -> Vec<HeardWindow> {
        self.listening = false;
        let mut windows: Vec<_> = self
            .streams
            .iter_mut()
            .map(|(ssrc, stream)| {
                stream.user = self.users.get(ssrc).cloned();
                stream.window(*ssrc)
            })
            .collect();
        windows.sort_by_key(|window| window.heard.ssrc);
        windows
    }

    /// Slow: looks for the tones in everything that was heard.
    pub fn report(windows: Vec<HeardWindow>) -> Event {
        let streams = windows.into_iter().map(HeardWindow::finish).collect();
        Event::Heard { streams }
    }
}

/// A finished interval whose sound has not been looked at yet.
pub struct HeardWindow {
    heard: HeardStream,
    mono: Vec<i16>,
}

impl HeardWindow {
    fn finish(mut self) -> HeardStream {
        self.heard.rms = spectrum::rms(&self.mono);
        self.heard.peaks_hz = spectrum::peaks_hz(&self.mono);
        self.heard
    }
}

impl Stream {
    fn new(now: Instant, sequence: u16) -> Self {
        Self {
            user: None,
            ever: BTreeSet::new(),
            numbers: BTreeSet::new(),
            highest: i64::from(sequence),
            last_packet: now,
            longest_gap: Duration::ZERO,
            mono: Vec::new(),
        }
    }

    fn packet(&mut self, now: Instant, sequence: u16) {
        let number = self.advance(sequence);
        if !self.numbers.is_empty() {
            self.longest_gap = self.longest_gap.max(now - self.last_packet);
        }
        self.numbers.insert(number);
    }

    /// Extends a sequence number by its distance, at most half a circle, from the highest one so far.
    fn advance(&mut self, sequence: u16) -> i64 {
        let distance = sequence.wrapping_sub(self.highest as u16).cast_signed();
        let number = self.highest + i64::from(distance);
        self.highest = self.highest.max(number);
        self.ever.insert(number);
        number
    }

    fn reset(&mut self) {
        self.numbers.clear();
        self.longest_gap = Duration::ZERO;
        self.mono.clear();
    }

    fn window(&mut self, ssrc: u32) -> HeardWindow {
        let (first, last) = (self.numbers.first().copied(), self.numbers.last().copied());
        HeardWindow {
            heard: HeardStream {
                ssrc,
                user: self.user.clone(),
                packets: self.numbers.len(),
                lost: missing(&self.numbers),
                seq_first: first.map(|number| number as u16),
                seq_last: last.map(|number| number as u16),
                peaks_hz: Vec::new(),
                rms: 0.0,
                longest_gap_ms: self.longest_gap.as_millis() as u64,
                last_packet_at_ms: at_ms(self.last_packet),
                lost_ever: missing(&self.ever),
            },
            mono: std::mem::take(&mut self.mono),
        }
    }
}

/// How many numbers between the first and the last are not there.
fn missing(numbers: &BTreeSet<i64>) -> u64 {
    let spanned = numbers.first().zip(numbers.last()).map_or(0, |(first, last)| (last - first + 1).cast_unsigned());
    spanned - numbers.len() as u64
}
