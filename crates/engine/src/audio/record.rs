//! Recordings: one WAV file for each speaker and one for the mix, all beginning at the same moment. What was silent is
//! silent in the file, so that two files lie on the same time line.
//!
//! A thread of its own writes, because a disk may stall and the media thread must not.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

use engine_core::{FRAME_SAMPLES, Frame, Source};
use model::UserId;
use rtp_wire::Ssrc;

use super::AudioError;
use super::file::{WAV_SPEC, io_error, to_i16};
use crate::limits::RECORDER_QUEUE;

enum Message {
    Speaker(Source, u64, Box<Frame>),
    Mix(u64, Box<Frame>),
    /// How many frames long every file is.
    Finish(u64),
}

pub struct Recorder {
    queue: SyncSender<Message>,
    writer: JoinHandle<Result<(), AudioError>>,
    /// The frame that is recorded now.
    at: u64,
    dropped: u64,
}

impl Recorder {
    /// Records into `dir`, which is made if it is not there.
    pub fn create(dir: &Path) -> Result<Self, AudioError> {
        let unwritable = |source| AudioError::Unwritable { path: dir.display().to_string(), source };
        std::fs::create_dir_all(dir).map_err(unwritable)?;
        let mix = Track::create(dir.join("mix.wav"))?;
        let (queue, messages) = sync_channel(RECORDER_QUEUE);
        let files = Files { dir: dir.to_owned(), mix, tracks: BTreeMap::new() };
        let writer = std::thread::Builder::new()
            .name("recorder".to_owned())
            .spawn(move || files.run(&messages))
            .map_err(unwritable)?;
        Ok(Self { queue, writer, at: 0, dropped: 0 })
    }

    pub(crate) fn speaker(&mut self, source: Source, frame: &Frame) {
        self.push(Message::Speaker(source, self.at, Box::new(*frame)));
    }

    /// The mix of a frame comes last, and the next frame begins.
    pub(crate) fn mix(&mut self, frame: &Frame) {
        self.push(Message::Mix(self.at, Box::new(*frame)));
        self.at += 1;
    }

    /// Completes the files. Returns how many frames the disk was too slow for.
    pub(crate) fn finish(self) -> Result<u64, AudioError> {
        // A writer that failed is not there to receive this; its result says why.
        let _ = self.queue.send(Message::Finish(self.at));
        self.writer.join().expect("the writer returns its errors").map(|()| self.dropped)
    }

    fn push(&mut self, message: Message) {
        match self.queue.try_send(message) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => self.dropped += 1,
        }
    }
}

struct Files {
    dir: PathBuf,
    mix: Track,
    tracks: BTreeMap<Key, Track>,
}

/// A speaker who comes back under another stream id goes on in the same file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    User(UserId),
    Unknown(Ssrc),
}

impl Files {
    fn run(mut self, messages: &Receiver<Message>) -> Result<(), AudioError> {
        for message in messages {
            match message {
                Message::Speaker(source, at, frame) => self.track(source)?.write(at, &frame)?,
                Message::Mix(at, frame) => self.mix.write(at, &frame)?,
                Message::Finish(frames) => return self.finish(frames),
            }
        }
        // The media thread has vanished; what there is stays readable.
        let frames = self.mix.frames;
        self.finish(frames)
    }

    fn track(&mut self, source: Source) -> Result<&mut Track, AudioError> {
        let unknown = Key::Unknown(source.ssrc);
        let key = source.user.map_or(unknown, Key::User);
        if !self.tracks.contains_key(&key) {
            let track = match self.tracks.remove(&unknown) {
                // Now it is known who it was all along.
                Some(mut track) => {
                    track.rename(self.path(key))?;
                    track
                }
                None => Track::create(self.path(key))?,
            };
            self.tracks.insert(key, track);
        }
        Ok(self.tracks.get_mut(&key).expect("it was put there if it was missing"))
    }

    fn path(&self, key: Key) -> PathBuf {
        self.dir.join(match key {
            Key::User(user) => format!("{user}.wav"),
            Key::Unknown(ssrc) => format!("stream-{ssrc}.wav"),
        })
    }

    fn finish(self, frames: u64) -> Result<(), AudioError> {
        for track in self.tracks.into_values().chain([self.mix]) {
            track.finish(frames)?;
        }
        Ok(())
    }
}

struct Track {
    path: PathBuf,
    writer: hound::WavWriter<BufWriter<File>>,
    frames: u64,
}

impl Track {
    fn create(path: PathBuf) -> Result<Self, AudioError> {
        let writer = hound::WavWriter::create(&path, WAV_SPEC).map_err(|error| unwritable(&path, error))?;
        Ok(Self { path, writer, frames: 0 })
    }

    fn write(&mut self, at: u64, frame: &Frame) -> Result<(), AudioError> {
        // Two streams of one user at once: the first of them is recorded.
        if at < self.frames {
            return Ok(());
        }
        self.pad(at)?;
        for sample in frame {
            self.writer.write_sample(to_i16(*sample)).map_err(|error| unwritable(&self.path, error))?;
        }
        self.frames += 1;
        Ok(())
    }

    fn pad(&mut self, to: u64) -> Result<(), AudioError> {
        for _ in 0..to.saturating_sub(self.frames) * FRAME_SAMPLES as u64 {
            self.writer.write_sample(0_i16).map_err(|error| unwritable(&self.path, error))?;
        }
        self.frames = self.frames.max(to);
        Ok(())
    }

    fn rename(&mut self, to: PathBuf) -> Result<(), AudioError> {
        std::fs::rename(&self.path, &to).map_err(|error| unwritable(&to, hound::Error::IoError(error)))?;
        self.path = to;
        Ok(())
    }

    fn finish(mut self, frames: u64) -> Result<(), AudioError> {
        self.pad(frames)?;
        let path = self.path;
        self.writer.finalize().map_err(|error| unwritable(&path, error))
    }
}

fn unwritable(path: &Path, error: hound::Error) -> AudioError {
    AudioError::Unwritable { path: path.display().to_string(), source: io_error(error) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::load;
    use engine_core::SILENCE;

    #[test]
    fn every_file_lies_on_the_same_time_line() {
        let dir = tempfile::tempdir().unwrap();
        let mut recorder = Recorder::create(&dir.path().join("deep/er")).unwrap();
        let loud = [0.5; FRAME_SAMPLES];
        let source = |ssrc, user: Option<u64>| Source { ssrc: Ssrc(ssrc), user: user.map(UserId) };
        for at in 0..10 {
            match at {
                2 => recorder.speaker(source(1, None), &loud),
                3 => recorder.speaker(source(1, Some(42)), &loud),
                7 => recorder.speaker(source(9, Some(42)), &loud),
                8 => recorder.speaker(source(5, None), &loud),
                _ => {}
            }
            recorder.mix(if at == 5 { &loud } else { &SILENCE });
        }
        assert_eq!(recorder.finish().unwrap(), 0);
        let check = |name: &str, expect: &[usize]| {
            let samples = load(&dir.path().join("deep/er").join(name)).unwrap();
            assert_eq!(samples.len(), 10 * FRAME_SAMPLES, "{name}");
            let sounding: Vec<usize> = (0..10).filter(|i| samples[i * FRAME_SAMPLES] != 0.0).collect();
            assert_eq!(sounding, expect, "{name}");
        };
        check("mix.wav", &[5]);
        check("42.wav", &[2, 3, 7]);
        check("stream-5.wav", &[8]);
        assert!(!dir.path().join("deep/er/stream-1.wav").exists());
    }

    #[test]
    fn a_place_that_cannot_be_written_is_said_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert!(Recorder::create(&file).is_err());
    }
}
