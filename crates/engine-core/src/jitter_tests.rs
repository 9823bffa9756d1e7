use super::*;

/// One burst of packets as a table: for each tick of 20 ms, what arrives and what is played.
struct Bench {
    buffer: JitterBuffer,
    start: Instant,
    tick: u32,
}

const VOICE: [u8; 4] = [0xF8, 1, 2, 3];

impl Bench {
    fn new() -> Self {
        let start = Instant::now();
        Self { buffer: JitterBuffer::new(start), start, tick: 0 }
    }

    fn now(&self) -> Instant {
        self.start + FRAME * self.tick
    }

    /// A packet arrives now whose timestamp is that of tick `at`.
    fn packet(&mut self, seq: u16, at: u32, payload: &[u8]) {
        let now = self.now();
        self.buffer.handle_packet(now, seq, RtpTime(at.wrapping_mul(960)), payload);
    }

    /// Plays one tick: `-` nothing, `p` a packet, `s` a silence frame, `b` two blended, `r` recovered, `c` concealed.
    fn play(&mut self) -> char {
        let now = self.now();
        self.tick += 1;
        match self.buffer.pull(now) {
            Pull::Nothing => '-',
            Pull::Play(packet) => {
                if packet.silence {
                    's'
                } else {
                    'p'
                }
            }
            Pull::Blend(_) => {
                assert!(matches!(self.buffer.pull(now), Pull::Play(_)), "what is blended has a follower");
                'b'
            }
            Pull::Recover { .. } => 'r',
            Pull::Conceal { .. } => 'c',
        }
    }

    /// What each character of `arrivals` does in its tick: `v` a voice packet with the next number, `s` a silence
    /// frame, `x` one that is lost on the way, `.` nothing.
    fn run(&mut self, seq: &mut u16, arrivals: &str) -> String {
        let mut played = String::new();
        for arrival in arrivals.chars() {
            let payload: &[u8] = if arrival == 's' { &rtp_wire::SILENCE_FRAME } else { &VOICE };
            if matches!(arrival, 'v' | 's') {
                self.packet(*seq, self.tick, payload);
            }
            if arrival != '.' {
                *seq = seq.wrapping_add(1);
            }
            played.push(self.play());
        }
        played
    }
}

#[track_caller]
fn check(arrivals: &str, expect: &str) -> JitterBuffer {
    let mut bench = Bench::new();
    let mut seq = u16::MAX - 2;
    assert_eq!(bench.run(&mut seq, arrivals), expect, "{arrivals}");
    let counts = *bench.buffer.counts();
    assert_eq!(
        counts.received,
        counts.played + counts.late + counts.discarded + bench.buffer.packets.len() as u64,
        "every packet received is accounted for"
    );
    bench.buffer
}

#[test]
fn bursts_wait_play_and_end() {
    let buffer = check("vvvvsssss.....vvsssss......", "---ppppsssss-----ppsssss---");
    assert_eq!((buffer.lost(), buffer.counts().concealed, buffer.counts().silence), (0, 0, 10));
    assert_eq!(buffer.counts().longest_gap, FRAME);
}

#[test]
fn a_lost_packet_is_concealed_in_its_place() {
    let buffer = check("vvvxvvvsssss....", "---pppcpppsssss-");
    assert_eq!((buffer.lost(), buffer.counts().concealed), (1, 1));
    assert_eq!(buffer.counts().longest_gap, FRAME * 2);
}

#[test]
fn lost_silence_frames_cost_nothing() {
    let buffer = check("vvvvssxxs.......vvs......", "---ppppss--s-------pps---");
    assert_eq!((buffer.lost(), buffer.counts().concealed), (2, 0));
}

#[test]
fn a_speaker_who_vanishes_is_concealed_for_a_while_and_that_is_no_loss() {
    let buffer =
        check(&format!("vvvv{}", ".".repeat(20)), &format!("---pppp{}{}", "c".repeat(10), "-".repeat(7)));
    assert_eq!((buffer.lost(), buffer.counts().concealed), (0, 0));
}

#[test]
fn disorder_within_the_delay_is_put_right_and_late_packets_are_counted() {
    let mut bench = Bench::new();
    for (seq, at) in [(1, 0), (3, 2), (2, 1)] {
        bench.packet(seq, at, &VOICE);
    }
    bench.packet(3, 2, &VOICE);
    let played: String = (0..8).map(|_| bench.play()).collect();
    assert!(played.trim_matches('-').starts_with("ppp"), "{played}");
    bench.packet(2, 1, &VOICE);
    bench.packet(6, 10, &VOICE);
    bench.packet(1, 0, &VOICE);
    let counts = bench.buffer.counts();
    assert_eq!((counts.duplicates, counts.late), (1, 2));
}

#[test]
fn a_stream_that_begins_anew_loses_nothing() {
    let mut bench = Bench::new();
    let mut seq = 100;
    bench.run(&mut seq, "vvvvsssss.......");
    let mut seq = 40_000;
    bench.run(&mut seq, "vvvvsssss.......");
    bench.buffer.restart();
    let mut seq = 7;
    bench.run(&mut seq, "vvvvsssss.......");
    assert_eq!((bench.buffer.lost(), bench.buffer.counts().played), (0, 27));
}

#[test]
fn the_buffer_is_bounded_and_drops_the_oldest() {
    let mut bench = Bench::new();
    for i in 0..(JITTER_PACKETS_MAX as u16 + 10) {
        bench.packet(i, u32::from(i), &VOICE);
    }
    assert_eq!(bench.buffer.packets.len(), JITTER_PACKETS_MAX);
    assert_eq!(bench.buffer.counts().discarded, 10);
    assert_eq!(bench.buffer.front_seq().wire(), 10);
}

#[test]
fn a_burst_of_held_up_packets_is_caught_up_with() {
    let mut bench = Bench::new();
    let mut seq = 0;
    bench.run(&mut seq, &"v".repeat(60));
    // 300 ms in which nothing comes, then all of it at once.
    bench.run(&mut seq, &".".repeat(15));
    for i in 0..15 {
        bench.packet(seq, 60 + i, &VOICE);
        seq += 1;
    }
    // The target stays long while the hold-up is remembered, then the playout shortens bit by bit.
    let played = bench.run(&mut seq, &"v".repeat(300));
    let first = played.find("bppb").expect("frames are blended");
    assert!(first > 150 && !played[first + 80..].contains('b'), "{played}");
    assert!(played[..first].matches('b').count() <= 2, "{played}");
    let waiting = bench.buffer.packets.len();
    assert!(waiting <= 5, "{waiting} packets wait");
}
