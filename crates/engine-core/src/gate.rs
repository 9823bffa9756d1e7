//! When a burst of speech begins and ends. The life cycle is a table: state and input give the next state and what is
//! to be done with the frame.

use crate::limits::{CLOSING_FRAMES, HANGOVER_FRAMES};

/// What is known of one captured frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Heard {
    Voice,
    /// Something, perhaps the beginning of a voice.
    Sound,
    /// A pause, which may still be within a sentence.
    Pause,
    /// Muted, the key was released, or the source has ended: no waiting.
    Stop,
}

/// What is to be done with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Do {
    Nothing,
    /// Say that speech begins, then send what was held back and this frame.
    Begin,
    Send,
    /// Send a silence frame instead.
    Close,
    /// Send the last silence frame and say that speech has ended.
    End,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Gate {
    #[default]
    Shut,
    Open,
    /// Within a pause; frames are still sent.
    Hanging {
        left: u32,
    },
    /// Sending the silence frames that end a burst.
    Closing {
        left: u32,
    },
}

impl Gate {
    pub(crate) fn handle(&mut self, heard: Heard) -> Do {
        let (next, action) = match (*self, heard) {
            (Self::Shut, Heard::Voice) => (Self::Open, Do::Begin),
            (Self::Shut, Heard::Sound | Heard::Pause | Heard::Stop) => (Self::Shut, Do::Nothing),

            (Self::Open | Self::Hanging { .. }, Heard::Voice) => (Self::Open, Do::Send),
            (Self::Open, Heard::Sound | Heard::Pause) => {
                (Self::Hanging { left: HANGOVER_FRAMES - 1 }, Do::Send)
            }
            (Self::Hanging { left: 0 }, Heard::Sound | Heard::Pause) => Self::close(CLOSING_FRAMES),
            (Self::Hanging { left }, Heard::Sound | Heard::Pause) => {
                (Self::Hanging { left: left - 1 }, Do::Send)
            }
            (Self::Open | Self::Hanging { .. }, Heard::Stop) => Self::close(CLOSING_FRAMES),

            // Receivers have not yet been told that it ended, so it simply goes on. At the first sound already: what the
            // silence frames have replaced cannot be sent later.
            (Self::Closing { .. }, Heard::Voice | Heard::Sound) => (Self::Open, Do::Send),
            (Self::Closing { left }, Heard::Pause | Heard::Stop) => Self::close(left),
        };
        *self = next;
        action
    }

    pub(crate) fn is_shut(self) -> bool {
        self == Self::Shut
    }

    fn close(left: u32) -> (Self, Do) {
        match left {
            0 | 1 => (Self::Shut, Do::End),
            _ => (Self::Closing { left: left - 1 }, Do::Close),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Inputs: `v` voice, `o` sound, `.` pause, `x` stop. Outputs: `-` nothing, `B` begin, `s` send, `c` close, `E` end.
    #[track_caller]
    fn check(inputs: &str, expect: &str) {
        let mut gate = Gate::default();
        let got: String = inputs
            .chars()
            .map(|c| {
                match gate.handle(match c {
                    'v' => Heard::Voice,
                    'o' => Heard::Sound,
                    '.' => Heard::Pause,
                    _ => Heard::Stop,
                }) {
                    Do::Nothing => '-',
                    Do::Begin => 'B',
                    Do::Send => 's',
                    Do::Close => 'c',
                    Do::End => 'E',
                }
            })
            .collect();
        assert_eq!(got, expect, "{inputs}");
    }

    #[test]
    fn bursts_begin_hang_and_close() {
        check("..x.oo", "------");
        check("vo.o", "Bsss");
        check("vxxo.", "Bccss");
        check("vv", "Bs");
        check("v.v.", "Bsss");
        check("vx.....", "BccccE-");
        let hang = HANGOVER_FRAMES as usize;
        check(&format!("v{}", ".".repeat(hang + 6)), &format!("B{}ccccE-", "s".repeat(hang)));
        check("vxxvxxxxxx", "BccsccccE-");
        check("vx...x.v", "BccccE-B");
    }
}
