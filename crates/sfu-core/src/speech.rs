//! Who is speaking, as seen from the packets alone.
//!
//! | state \ input | frame of sound | silence frame | too long without | cut off |
//! |---|---|---|---|---|
//! | silent | speaking | silent | silent | silent |
//! | speaking | speaking | silent with the fifth in a row | silent | silent, perhaps mid-word |

use std::time::Instant;

use crate::limits::{MID_WORD, SILENCE_FRAMES, SPEECH_END};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Speech {
    #[default]
    Silent,
    Speaking {
        last_at: Instant,
        silence_frames: u8,
    },
}

impl Speech {
    #[must_use]
    pub fn is_speaking(self) -> bool {
        matches!(self, Self::Speaking { .. })
    }

    pub fn handle_frame(&mut self, now: Instant, silence: bool) {
        *self = match *self {
            Self::Silent if silence => Self::Silent,
            Self::Speaking { silence_frames, .. } if silence && silence_frames + 1 >= SILENCE_FRAMES => {
                Self::Silent
            }
            Self::Speaking { silence_frames, .. } if silence => {
                Self::Speaking { last_at: now, silence_frames: silence_frames + 1 }
            }
            _ => Self::Speaking { last_at: now, silence_frames: 0 },
        };
    }

    /// Ends speech that has not been heard for too long; otherwise says when to look again.
    pub fn handle_timeout(&mut self, now: Instant) -> Option<Instant> {
        let Self::Speaking { last_at, .. } = *self else { return None };
        let end = last_at + SPEECH_END;
        if end > now {
            return Some(end);
        }
        *self = Self::Silent;
        None
    }

    /// The sender's packets no longer go through. True when that was in the middle of a word.
    pub fn cut_off(&mut self, now: Instant) -> bool {
        let before = std::mem::take(self);
        matches!(before, Self::Speaking { last_at, silence_frames: 0 } if now <= last_at + MID_WORD)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    /// `s` sound, `.` silence frame, each 20 ms after the one before.
    #[track_caller]
    fn check(frames: &str, then_ms: u64, expect_speaking: bool, expect_mid_word: bool) {
        let mut now = Instant::now();
        let mut speech = Speech::default();
        for frame in frames.chars() {
            now += Duration::from_millis(20);
            speech.handle_frame(now, frame == '.');
        }
        now += Duration::from_millis(then_ms);
        speech.handle_timeout(now);
        assert_eq!(speech.is_speaking(), expect_speaking, "{frames}");
        assert_eq!(speech.cut_off(now), expect_mid_word, "{frames}");
        assert!(!speech.is_speaking());
    }

    #[test]
    fn states() {
        check("", 0, false, false);
        check(".", 0, false, false);
        check("s", 0, true, true);
        check("ss....", 0, true, false);
        check("ss.....", 0, false, false);
        check("ss....s....", 0, true, false);
        check("s..s", 0, true, true);
        check("s", 200, true, true);
        check("s", 201, true, false);
        check("s", 249, true, false);
        check("s", 250, false, false);
    }
}
