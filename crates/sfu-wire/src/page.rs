//! The memory that outlives a relay's process, as far as both sides must agree on it: how much there is, and its first words.
//!
//! Signalling makes it, one for each shard, keeps it for as long as it lives and gives it to every relay process it starts. The relay writes
//! into it what a successor must know, in a layout of its own; signalling reads nothing but which leg a relay was busy with when it
//! ended. Words are of 64 bits, in the machine's own order: both processes are on one machine.

use std::fmt;

/// Bytes of it, of which the system gives only what is used. Because it holds as many legs as a shard does, and for each of them more streams
/// than are usual.
pub const BYTES: usize = 40 << 20;
pub const WORDS: usize = BYTES / size_of::<u64>();

/// Raised with every change of the layout, the relay's own included, but for a meaning given to bits that were always zero and still mean what they
/// did when they are. Nobody reads another version: whoever finds one begins anew.
pub const VERSION: u16 = 1;
/// The first word: a mark, and the version in its lowest 16 bits. Zero before the first relay.
pub const HEAD_AT: usize = 0;
pub const HEAD: u64 = MARK | VERSION as u64;
const MARK: u64 = u64::from_be_bytes(*b"GHPAGE\0\0");
/// The leg that the shard is busy with, 0 for none that is known, and with what: a [`Work`], 0 for nothing.
pub const LEG_AT: usize = 8;
pub const WORK_AT: usize = 9;
/// Not zero when it was this shard that ended the process, and not another one beside it.
pub const FAILED_AT: usize = 10;
/// So many words are the head.
pub const HEAD_WORDS: usize = 16;

/// What a shard does for one leg.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
pub enum Work {
    Rtp = 1,
    Rtcp = 2,
    Discovery = 3,
    Ping = 4,
    Keepalive = 5,
    Stun = 6,
    Dtls = 7,
    /// A datagram of no kind that is known.
    Unknown = 8,
    /// Something that signalling said.
    Message = 9,
    /// Something that was due.
    Timer = 10,
}

impl Work {
    const ALL: [Self; 10] = [
        Self::Rtp,
        Self::Rtcp,
        Self::Discovery,
        Self::Ping,
        Self::Keepalive,
        Self::Stun,
        Self::Dtls,
        Self::Unknown,
        Self::Message,
        Self::Timer,
    ];

    #[must_use]
    pub fn from_word(word: u64) -> Option<Self> {
        Self::ALL.into_iter().find(|work| *work as u64 == word)
    }
}

/// The name in logs.
impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rtp => "rtp",
            Self::Rtcp => "rtcp",
            Self::Discovery => "discovery",
            Self::Ping => "ping",
            Self::Keepalive => "keepalive",
            Self::Stun => "stun",
            Self::Dtls => "dtls",
            Self::Unknown => "unknown",
            Self::Message => "message",
            Self::Timer => "timer",
        })
    }
}

/// The version in which the memory was written, from its first word; nothing while no relay has.
#[must_use]
pub fn version(head: u64) -> Option<u16> {
    (head & !0xffff == MARK).then_some(head as u16)
}

/// Whether the words are of a shard that says of itself that it ended the process.
#[must_use]
pub fn has_failed(head: &[u64; HEAD_WORDS]) -> bool {
    head[HEAD_AT] == HEAD && head[FAILED_AT] != 0
}

/// What a shard was busy with, from the words of its head; nothing when it was idle, or the words are of another version.
#[must_use]
pub fn busy_with(head: &[u64; HEAD_WORDS]) -> Option<(u64, Work)> {
    let work = Work::from_word(head[WORK_AT]).filter(|_| head[HEAD_AT] == HEAD)?;
    Some((head[LEG_AT], work))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_says_its_version() {
        assert_eq!(version(HEAD), Some(VERSION));
        assert_eq!(version(HEAD + 1), Some(VERSION + 1));
        assert_eq!(version(0), None);
    }

    #[test]
    fn a_head_says_what_its_shard_was_busy_with() {
        let mut head = [0; HEAD_WORDS];
        head[HEAD_AT] = HEAD;
        head[LEG_AT] = 77;
        assert_eq!(busy_with(&head), None, "idle");
        for (n, work) in (1..).zip(Work::ALL) {
            head[WORK_AT] = n;
            assert_eq!(busy_with(&head), Some((77, work)));
        }
        head[WORK_AT] = 11;
        assert_eq!(busy_with(&head), None, "nothing that is known");
        head[WORK_AT] = 1;
        head[HEAD_AT] = HEAD + 1;
        assert_eq!(busy_with(&head), None, "of another version");
    }
}
