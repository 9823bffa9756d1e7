//! Two sessions and a network between them, in virtual time. Every run is the same: the network draws from a seed.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rtp_wire::{Kind, Ssrc};
use transport::{Key, Mode, NonceCounter};

use crate::analysis::{Likeness, compare, strongest_tones};
use crate::limits::{CLOSING_FRAMES, DELAY_INITIAL, DELAY_MAX};
use crate::speech::{self, Random};
use crate::{
    CaptureMode, Event, FRAME, FRAME_SAMPLES, Frame, Keys, SAMPLE_RATE_HZ, SILENCE, SenderConfig, Session,
    SessionConfig, StreamStats,
};
use model::UserId;

/// How a path treats what is sent over it.
#[derive(Debug, Clone, Copy, Default)]
struct Path {
    loss: f32,
    /// Each packet is delayed by a random time up to this, so that packets overtake each other.
    jitter: Duration,
    duplicates: f32,
}

struct Network {
    path: Path,
    random: Random,
    on_the_way: BTreeMap<(Instant, u64), Vec<u8>>,
    sent: u64,
    lost: u64,
    duplicated: u64,
}

impl Network {
    fn new(path: Path, seed: u64) -> Self {
        Self { path, random: Random::new(seed), on_the_way: BTreeMap::new(), sent: 0, lost: 0, duplicated: 0 }
    }

    fn send(&mut self, now: Instant, datagram: Vec<u8>) {
        self.sent += 1;
        if self.random.unit() < self.path.loss {
            self.lost += 1;
            return;
        }
        if self.random.unit() < self.path.duplicates {
            self.duplicated += 1;
            self.put(now, datagram.clone());
        }
        self.put(now, datagram);
    }

    fn put(&mut self, now: Instant, datagram: Vec<u8>) {
        let delay = Duration::from_millis(15) + self.path.jitter.mul_f32(self.random.unit());
        self.on_the_way.insert((now + delay, self.on_the_way.len() as u64 + self.sent * 1_000), datagram);
    }

    fn arrive(&mut self, until: Instant) -> Option<(Instant, Vec<u8>)> {
        let entry = self.on_the_way.first_entry().filter(|entry| entry.key().0 <= until)?;
        let at = entry.key().0;
        Some((at, entry.remove()))
    }
}

fn session(now: Instant, ssrc: u32, mode: CaptureMode) -> Session {
    let sender = SenderConfig {
        mode,
        first_seq: u16::MAX - 20,
        first_time: u32::MAX - 9_999,
        ..SenderConfig::default()
    };
    Session::new(now, &SessionConfig { sender }, keys(ssrc))
}

fn keys(ssrc: u32) -> Keys {
    let nonces = NonceCounter::client(ssrc << 24);
    let security = transport::Session::new(Mode::Aes256GcmRtpsize, &Key::new([7; 32]), nonces, [0; 16]);
    Keys { ssrc: Ssrc(ssrc), security }
}

struct Outcome {
    heard: Vec<f32>,
    stats: StreamStats,
    likeness: Likeness,
    network: Network,
    replayed: u64,
}

fn talk(said: &[f32], path: Path, seed: u64) -> Outcome {
    talk_over(said, |_| path, seed)
}

/// One speaks, one listens, over a path that may be another one later. The listener's beat lies 7 ms beside the speaker's.
fn talk_over(said: &[f32], path: impl Fn(Duration) -> Path, seed: u64) -> Outcome {
    let start = Instant::now();
    let mut speaker = session(start, 1, CaptureMode::PushToTalk);
    let mut listener = session(start, 2, CaptureMode::PushToTalk);
    let mut network = Network::new(path(Duration::ZERO), seed);
    let mut heard = Vec::new();
    let frames = said.len() / FRAME_SAMPLES + 50;
    for i in 0..frames {
        let now = start + FRAME * i as u32;
        network.path = path(now - start);
        let mut frame = SILENCE;
        speaker.set_push_to_talk(i * FRAME_SAMPLES < said.len());
        if let Some(samples) = said.get(i * FRAME_SAMPLES..(i + 1) * FRAME_SAMPLES) {
            frame.copy_from_slice(samples);
        }
        speaker.handle_capture(&frame);
        while let Some(datagram) = speaker.poll_transmit() {
            network.send(now, datagram);
        }
        let beat = now + Duration::from_millis(7);
        while let Some((at, mut datagram)) = network.arrive(beat) {
            listener.handle_datagram(at, &mut datagram);
        }
        let mut mix = SILENCE;
        listener.mix(beat, &mut mix, |_, _| {});
        heard.extend_from_slice(&mix);
    }
    let stats = listener.stream_stats().next().unwrap();
    let likeness = compare(said, &heard);
    Outcome { heard, stats, likeness, network, replayed: listener.dropped().replayed }
}

fn lag(outcome: &Outcome) -> Duration {
    Duration::from_micros(outcome.likeness.lag_samples.max(0).cast_unsigned() * 1_000 / 48)
}

#[test]
fn over_a_perfect_path_everything_is_heard_after_a_bounded_delay() {
    let outcome = talk(&speech::sentence(11, 8.0), Path::default(), 1);
    let stats = outcome.stats;
    assert_eq!((stats.lost, stats.late, stats.concealed, stats.fec_recovered), (0, 0, 0, 0));
    assert!(stats.discarded < u64::from(CLOSING_FRAMES), "only silence is left out: {stats:?}");
    assert_eq!(stats.received, outcome.network.sent);
    assert!(stats.longest_gap <= FRAME && stats.jitter < Duration::from_millis(1), "{stats:?}");
    assert!(outcome.likeness.fraction >= 0.95, "{:?}", outcome.likeness);
    // The path, the jitter buffer, two beats, and what Opus looks ahead.
    assert!(lag(&outcome) <= Duration::from_millis(15) + DELAY_INITIAL + 2 * FRAME, "{:?}", lag(&outcome));
}

#[test]
fn losses_are_counted_exactly_and_speech_stays_like_itself() {
    let outcome = talk(&speech::sentence(12, 10.0), Path { loss: 0.05, ..Path::default() }, 2);
    let stats = outcome.stats;
    assert!(outcome.network.lost > 10);
    assert_eq!(stats.lost, outcome.network.lost);
    assert_eq!(stats.received + stats.lost, outcome.network.sent);
    assert!(stats.fec_recovered > 0, "{stats:?}");
    assert!(stats.fec_recovered + stats.concealed <= stats.lost + 2, "{stats:?}");
    assert!(outcome.likeness.fraction >= 0.88, "{:?}", outcome.likeness);
}

#[test]
fn jitter_costs_delay_and_not_packets() {
    let path = Path { jitter: Duration::from_millis(60), ..Path::default() };
    let outcome = talk(&speech::sentence(13, 10.0), path, 3);
    let stats = outcome.stats;
    assert_eq!(stats.lost, 0);
    assert!(stats.late * 50 <= stats.received, "{stats:?}");
    assert!(
        stats.target_delay >= Duration::from_millis(55) && stats.target_delay <= Duration::from_millis(90)
    );
    assert!(lag(&outcome) <= Duration::from_millis(190), "{:?}", lag(&outcome));
    assert!(outcome.likeness.fraction >= 0.9, "{:?}", outcome.likeness);
}

#[test]
fn speech_is_whole_with_one_loss_in_a_hundred_and_nearly_so_with_one_in_ten() {
    let check = |loss: f32, matched_min: f32, seed: u64| {
        let outcome = talk(&speech::sentence(17, 12.0), Path { loss, ..Path::default() }, seed);
        let (stats, fraction) = (outcome.stats, outcome.likeness.fraction);
        assert!(fraction >= matched_min, "{loss}: {fraction} {stats:?}");
        // Wherever one packet alone is lost, the one after it brings it along.
        assert!(stats.fec_recovered * 2 > stats.lost, "{loss}: {stats:?}");
    };
    for seed in 6..9 {
        check(0.01, 0.97, seed);
        check(0.1, 0.93, seed);
    }
}

#[test]
fn what_jitter_added_to_the_delay_goes_with_it_without_a_pause() {
    let said = speech::sentence(18, 24.0);
    let second = SAMPLE_RATE_HZ as usize;
    let jitter = |at: Duration| {
        let is_bad = (8..16).contains(&at.as_secs());
        Path { jitter: Duration::from_millis(if is_bad { 100 } else { 0 }), ..Path::default() }
    };
    for seed in 7..10 {
        let outcome = talk_over(&said, jitter, seed);
        // The speaker holds the key all the time, so there is no silence in which to catch up.
        let lag_ms = |from: usize| {
            let from = from * second;
            let likeness = compare(&said[from..from + 2 * second], &outcome.heard[from..from + 3 * second]);
            likeness.lag_samples / 48
        };
        let (before, during, after) = (lag_ms(6), lag_ms(14), lag_ms(22));
        assert!((before..=before + 120).contains(&during), "{before} ms, with jitter {during} ms");
        assert!((before..=before + 5).contains(&after), "{before} ms, long after the jitter {after} ms");
        assert!(outcome.likeness.fraction >= 0.95, "{:?}", outcome.likeness);
    }
}

#[test]
fn a_hopeless_path_never_delays_more_than_the_bound() {
    let path = Path { loss: 0.2, jitter: Duration::from_millis(700), duplicates: 0.1 };
    let outcome = talk(&speech::sentence(14, 10.0), path, 4);
    assert!(outcome.stats.target_delay <= DELAY_MAX);
    assert!(outcome.stats.late > 0 && outcome.heard.iter().all(|s| s.is_finite()));
}

#[test]
fn duplicates_are_not_received_twice() {
    let path = Path { duplicates: 0.2, ..Path::default() };
    let outcome = talk(&speech::sentence(15, 4.0), path, 5);
    assert!(outcome.network.duplicated > 10);
    assert_eq!(
        (outcome.replayed, outcome.stats.received),
        (outcome.network.duplicated, outcome.network.sent)
    );
}

#[test]
fn in_silence_nothing_is_sent_but_the_keepalive() {
    let start = Instant::now();
    let mut session = session(start, 1, CaptureMode::VoiceActivity);
    let mut datagrams = Vec::new();
    for i in 0..3_001 {
        session.handle_timeout(start + FRAME * i);
        session.handle_capture(&SILENCE);
        datagrams.extend(std::iter::from_fn(|| session.poll_transmit()));
    }
    assert_eq!(datagrams.len(), 13, "one at the beginning of each five seconds in a minute");
    assert!(datagrams.iter().all(|d| rtp_wire::classify(d) == Kind::Rtcp && d.len() == 28));
    assert_eq!(session.poll_event(), None);
}

fn tone(hz: f32, frame: usize) -> Frame {
    std::array::from_fn(|i| {
        0.3 * (std::f32::consts::TAU * hz * (frame * FRAME_SAMPLES + i) as f32 / 48_000.0).sin()
    })
}

#[test]
fn volumes_are_each_listeners_own() {
    let start = Instant::now();
    let mut speakers =
        [(session(start, 1, CaptureMode::Always), 440.0), (session(start, 3, CaptureMode::Always), 1_000.0)];
    let mut listener = session(start, 2, CaptureMode::Always);
    listener.set_speaker(Ssrc(1), UserId(10));
    listener.set_speaker(Ssrc(3), UserId(30));
    listener.set_volume(UserId(10), 0.0);
    let (mut mixed, mut alone) = (Vec::new(), Vec::new());
    for i in 0..100 {
        let now = start + FRAME * i;
        for (speaker, hz) in &mut speakers {
            speaker.handle_capture(&tone(*hz, i as usize));
            while let Some(mut datagram) = speaker.poll_transmit() {
                listener.handle_datagram(now, &mut datagram);
            }
        }
        let mut mix = SILENCE;
        listener.mix(now, &mut mix, |source, frame| {
            if source.user == Some(UserId(10)) {
                alone.extend_from_slice(frame);
            }
        });
        mixed.extend_from_slice(&mix);
    }
    let loudest = |samples: &[f32]| strongest_tones(&samples[9_600..], 2);
    assert!((loudest(&alone)[0].hz - 440.0).abs() < 1.0);
    let tones = loudest(&mixed);
    assert!((tones[0].hz - 1_000.0).abs() < 1.0 && tones[1].level_db < tones[0].level_db - 30.0, "{tones:?}");
}

#[test]
fn a_new_connection_continues_the_numbers_and_says_again_who_speaks() {
    let start = Instant::now();
    let mut speaker = session(start, 1, CaptureMode::Always);
    let mut listener = session(start, 2, CaptureMode::Always);
    listener.set_speaker(Ssrc(1), UserId(10));
    listener.set_speaker(Ssrc(5), UserId(10));
    for i in 0..100_u32 {
        let now = start + FRAME * i;
        if i == 50 {
            speaker.replace_keys(now, keys(5));
            listener.replace_keys(now, keys(6));
        }
        speaker.handle_capture(&tone(440.0, i as usize));
        while let Some(mut datagram) = speaker.poll_transmit() {
            listener.handle_datagram(now, &mut datagram);
        }
        let mut mix = SILENCE;
        listener.mix(now, &mut mix, |_, _| {});
    }
    let said: Vec<Event> = std::iter::from_fn(|| speaker.poll_event()).collect();
    assert_eq!(said, [Event::Speaking(true), Event::Speaking(true)]);
    let heard: Vec<Event> = std::iter::from_fn(|| listener.poll_event()).collect();
    assert_eq!(heard, [Event::Connected, Event::Connected]);
    let stats: Vec<StreamStats> = listener.stream_stats().collect();
    assert_eq!(stats.iter().map(|s| (s.received, s.lost)).collect::<Vec<_>>(), [(50, 0), (50, 0)]);
    assert!(stats.iter().all(|s| s.user == Some(UserId(10))));
}

/// Both go to another server, one 200 ms after the other, and are heard by the one before until then.
#[test]
fn a_connection_that_takes_over_leaves_no_gap_and_no_echo() {
    for (speaker_at, listener_at) in [(50, 60), (60, 50)] {
        let start = Instant::now();
        let mut speaker = session(start, 1, CaptureMode::Always);
        let mut listener = session(start, 2, CaptureMode::Always);
        listener.set_speaker(Ssrc(1), UserId(10));
        listener.set_speaker(Ssrc(5), UserId(10));
        let mut levels = Vec::new();
        for i in 0..150 {
            let now = start + FRAME * i;
            if i == speaker_at {
                speaker.take_over(now, keys(5));
            }
            if i == listener_at {
                listener.take_over(now, keys(6));
            }
            if i == 100 {
                speaker.end_former();
                listener.end_former();
            }
            speaker.handle_capture(&tone(440.0, i as usize));
            let (speaker_moved, listener_moved) = (i >= speaker_at, i >= listener_at);
            while let Some(mut datagram) = speaker.poll_transmit() {
                match (speaker_moved, listener_moved) {
                    (false, true) => listener.handle_former_datagram(now, &mut datagram),
                    // At the server where nobody is yet.
                    (true, false) => {}
                    _ => listener.handle_datagram(now, &mut datagram),
                }
            }
            while let Some(mut datagram) = speaker.poll_former_transmit() {
                if listener_moved {
                    listener.handle_former_datagram(now, &mut datagram);
                } else {
                    listener.handle_datagram(now, &mut datagram);
                }
            }
            let mut mix = SILENCE;
            listener.mix(now, &mut mix, |_, _| {});
            levels.push((mix.iter().map(|sample| sample * sample).sum::<f32>() / mix.len() as f32).sqrt());
        }
        let usual = levels[30];
        // A tone that begins anew at another place of its wave rises for a frame.
        let odd: Vec<_> = (20..150).filter(|i| !(0.5..1.5).contains(&(levels[*i] / usual))).collect();
        assert!(usual > 0.05 && odd.len() <= 2, "{speaker_at}: {odd:?} of {levels:?}");
        let streams: Vec<StreamStats> = listener.stream_stats().collect();
        let played: u64 = streams.iter().map(|s| s.received - s.discarded).sum();
        assert!((149..=151).contains(&played) && streams.iter().all(|s| s.lost == 0), "{streams:?}");
        assert_eq!(listener.dropped(), crate::Dropped::default());
    }
}

#[test]
fn a_new_key_interrupts_nothing() {
    let start = Instant::now();
    let mut speaker = session(start, 1, CaptureMode::Always);
    let mut listener = session(start, 2, CaptureMode::Always);
    let fresh = |ssrc: u32| {
        transport::Session::new(
            Mode::XChaCha20Poly1305Rtpsize,
            &Key::new([9; 32]),
            NonceCounter::client(ssrc << 24),
            [1; 16],
        )
    };
    for i in 0..100_u32 {
        let now = start + FRAME * i;
        if i == 50 {
            speaker.rekey(now, fresh(1));
            listener.rekey(now, fresh(2));
        }
        speaker.handle_capture(&tone(440.0, i as usize));
        while let Some(mut datagram) = speaker.poll_transmit() {
            listener.handle_datagram(now, &mut datagram);
        }
        let mut mix = SILENCE;
        listener.mix(now, &mut mix, |_, _| {});
    }
    let stats = listener.stream_stats().next().unwrap();
    assert_eq!((stats.received, stats.lost, stats.concealed), (100, 0, 0));
    assert_eq!(listener.dropped(), Default::default());
}

#[test]
fn what_is_not_ours_is_dropped_for_a_counted_reason() {
    let start = Instant::now();
    let mut speaker = session(start, 1, CaptureMode::Always);
    let mut listener = session(start, 2, CaptureMode::Always);
    speaker.handle_capture(&tone(440.0, 0));
    let datagram = speaker.poll_transmit().unwrap();
    let mut give = |bytes: &[u8]| listener.handle_datagram(start, &mut bytes.to_vec());
    give(&datagram);
    give(&datagram);
    let mut forged = datagram.clone();
    forged[40] ^= 1;
    forged[3] ^= 1;
    give(&forged);
    give(&forged[..20]);
    give(b"\x16\xfe\xfd a datagram of DTLS");
    let mut ours = datagram.clone();
    ours[8..12].copy_from_slice(&2_u32.to_be_bytes());
    give(&ours);
    let dropped = listener.dropped();
    assert_eq!((dropped.replayed, dropped.not_authentic, dropped.too_short), (1, 1, 1));
    assert_eq!((dropped.not_media, dropped.reflected), (1, 1));
    assert_eq!(listener.stream_stats().next().unwrap().received, 1);
}
