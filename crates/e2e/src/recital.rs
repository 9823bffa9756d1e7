//! Speech in parts with pauses between them, and what of each part is found in a recording.
//!
//! Owns: the texts, where in the file each part lies, the measure of a recording against them. Deliberately does not: know what
//! happens to the parts on their way.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

const RATE_HZ: u32 = 48_000;
/// Of 16 bits: nothing of a word is below.
const QUIET: u16 = 30;
/// In each of these something else can be done to the path, and several speakers need not begin at the same moment.
const PAUSE: Duration = Duration::from_secs(3);
/// A recording may begin so much before the first part ends.
const FIRST_WITHIN: Duration = Duration::from_secs(25);
/// A part is looked for this far around where it should be: more than any delay may be.
const AROUND_S: f64 = 1.5;

/// What each part says, some six seconds of words that come nowhere else.
const TEXTS: [&str; 6] = [
    "The guild meets in the great hall tonight, and everybody may speak in turn, masons first and carpenters after them.",
    "Seven barges came down the river before noon, loaded with timber, salted fish and two very quiet passengers.",
    "Bring the lantern closer, please: this page was copied by a clerk who saved his ink and wrote every word small.",
    "Whoever climbs the northern tower counts a hundred and twelve steps, unless the snow has covered the lowest of them.",
    "After the rain had stopped, children ran across the market square and looked for coins between the wet stones.",
    "Nobody remembers why the bell rings twice at dusk.",
];

/// One turn of somebody who speaks again and again: a sentence somewhere in a round that is otherwise silent, of 48,000 samples a
/// second, so that rounds are exactly as long as they are told to be.
pub fn turn(file: &Path, voice: &str, text: &str, starts: Duration, round: Duration) {
    say(voice, text, file);
    let (rate_hz, mut said) = read(file);
    // The synthesiser ends with a pause.
    said.truncate(said.iter().rposition(|sample| sample.unsigned_abs() > QUIET).map_or(0, |last| last + 1));
    let step = f64::from(rate_hz) / f64::from(RATE_HZ);
    let mut all = vec![0; samples_in(RATE_HZ, round)];
    let start = samples_in(RATE_HZ, starts);
    let len = (said.len().saturating_sub(1) as f64 / step) as usize;
    assert!(start + len <= all.len(), "{text:?} is longer than its turn");
    for (n, sample) in all[start..start + len].iter_mut().enumerate() {
        // A straight line between two samples is enough: what is said is compared with this file.
        let at = n as f64 * step;
        let (left, right) = (f64::from(said[at as usize]), f64::from(said[at as usize + 1]));
        *sample = (left + (right - left) * at.fract()) as i16;
    }
    write(file, RATE_HZ, &all);
}

/// One speech as a file.
pub struct Recital {
    folder: PathBuf,
    pub file: PathBuf,
    parts: Vec<Part>,
}

struct Part {
    file: PathBuf,
    starts_s: f64,
    ends_s: f64,
}

/// What a recording holds of one part.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Judged {
    /// The share of its frames that are as they were.
    pub fraction: f64,
    pub correlation: f64,
    /// How much later it is heard than the first part, in comparison with when it was said.
    pub later_ms: f64,
}

impl Recital {
    /// Parts begin after `lead`.
    pub fn new(folder: &Path, voice: &str, lead: Duration) -> Self {
        std::fs::create_dir_all(folder).expect("a temporary folder can be written");
        let mut all: Vec<i16> = Vec::new();
        let mut rate_hz = 0;
        let mut parts = Vec::new();
        for (n, text) in TEXTS.iter().enumerate() {
            let file = folder.join(format!("part{n}.wav"));
            say(voice, text, &file);
            let (rate, samples) = read(&file);
            rate_hz = rate;
            let pause = if n == 0 { lead } else { PAUSE };
            all.resize(all.len() + samples_in(rate, pause), 0);
            let seconds = |samples: usize| samples as f64 / f64::from(rate);
            parts.push(Part {
                file,
                starts_s: seconds(all.len()),
                ends_s: seconds(all.len() + samples.len()),
            });
            all.extend(samples);
        }
        all.resize(all.len() + samples_in(rate_hz, PAUSE), 0);
        let file = folder.join("speech.wav");
        write(&file, rate_hz, &all);
        Self { folder: folder.to_owned(), file, parts }
    }

    /// The middle of the pause before a part, from the beginning of the file; after the last part, of the one behind it.
    pub fn pause_before(&self, part: usize) -> Duration {
        Duration::from_secs_f64(self.parts[part - 1].ends_s) + PAUSE / 2
    }

    /// What a recording, which may have begun at any time, holds of each part.
    pub fn judge(&self, recording: &Path) -> Vec<Judged> {
        let (rate_hz, heard) = read(recording);
        let first = &self.parts[0];
        let beginning = self.folder.join("heard.wav");
        write(&beginning, rate_hz, &heard[..heard.len().min(samples_in(rate_hz, FIRST_WITHIN))]);
        // Where the file begins on the recording's time line.
        let origin_s =
            compare(&first.file, &beginning)["lag_ms"].as_f64().expect("a number") / 1_000.0 - first.starts_s;
        let mut judged: Vec<Judged> = Vec::new();
        for (n, part) in self.parts.iter().enumerate() {
            let from = ((origin_s + part.starts_s - AROUND_S).max(0.0) * f64::from(rate_hz)) as usize;
            let to = ((origin_s + part.ends_s + AROUND_S).max(0.0) * f64::from(rate_hz)) as usize;
            let piece = heard.get(from.min(heard.len())..to.min(heard.len())).unwrap_or_default();
            let file = self.folder.join(format!("heard{n}.wav"));
            write(&file, rate_hz, piece);
            let result = compare(&part.file, &file);
            let number = |key: &str| result[key].as_f64().expect("compare prints numbers");
            let heard_s = from as f64 / f64::from(rate_hz) + number("lag_ms") / 1_000.0;
            judged.push(Judged {
                fraction: number("fraction"),
                correlation: number("mean_correlation"),
                later_ms: (heard_s - origin_s - part.starts_s) * 1_000.0,
            });
        }
        judged
    }
}

fn say(voice: &str, text: &str, file: &Path) {
    let out = Command::new("espeak-ng").args(["-v", voice, "-s", "150", "-w"]).arg(file).arg(text).output();
    let out = out.expect("espeak-ng is installed: run `cargo x test`");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
}

/// Runs `guildhall compare`.
pub fn compare(original: &Path, heard: &Path) -> Value {
    let out = Command::new(crate::guildhall()).arg("compare").arg(original).arg(heard).output();
    let out = out.expect("compare starts");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    serde_json::from_slice(&out.stdout).expect("compare prints JSON")
}

fn samples_in(rate_hz: u32, time: Duration) -> usize {
    (time.as_secs_f64() * f64::from(rate_hz)) as usize
}

fn read(file: &Path) -> (u32, Vec<i16>) {
    let reader = hound::WavReader::open(file);
    let mut reader = reader.unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let rate = reader.spec().sample_rate;
    (rate, reader.samples().map(|sample| sample.expect("a WAV file of 16 bits")).collect())
}

fn write(file: &Path, sample_rate: u32, samples: &[i16]) {
    let spec = hound::WavSpec {
        channels: 1,
        sample_rate,
        bits_per_sample: 16,
        sample_format: hound::SampleFormat::Int,
    };
    let mut writer = hound::WavWriter::create(file, spec).expect("a temporary folder can be written");
    samples.iter().for_each(|sample| writer.write_sample(*sample).expect("there is room on the disk"));
    writer.finalize().expect("there is room on the disk");
}
