//! What became of every datagram. Owns the reasons and the sums; does not decide.

/// Why a datagram was not taken further. A closed set; each datagram counts under at most one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(usize)]
pub enum DropReason {
    /// Neither its address nor its SSRC belongs to a leg.
    UnknownSource,
    /// Not a packet of any kind we know, or one that contradicts itself.
    Malformed,
    /// A kind that its leg does not speak: DTLS of a native one, STUN that is no check, a payload that is not Opus.
    Unsupported,
    /// From a leg's address, but under an SSRC that is not the leg's; of a browser, one of its former ones.
    ForeignStream,
    /// Its leg has selected no encryption yet, or its handshake is not done.
    NoKey,
    /// The authentication tag does not match.
    Unauthenticated,
    /// Its number has been seen, or is too old to tell.
    Replayed,
    /// One of our own packets, sent back.
    Reflected,
    /// From before a cut in the numbering (a mute, a restart), so that its number is taken.
    Late,
    /// Its sender may not speak: server mute, suppression, no permission.
    Muted,
    /// Above its sender's packet rate.
    TooFast,
    /// Longer than any Opus packet.
    TooLong,
}

impl DropReason {
    pub const ALL: [Self; 12] = [
        Self::UnknownSource,
        Self::Malformed,
        Self::Unsupported,
        Self::ForeignStream,
        Self::NoKey,
        Self::Unauthenticated,
        Self::Replayed,
        Self::Reflected,
        Self::Late,
        Self::Muted,
        Self::TooFast,
        Self::TooLong,
    ];

    /// The name in reports and metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::UnknownSource => "unknown_source",
            Self::Malformed => "malformed",
            Self::Unsupported => "unsupported",
            Self::ForeignStream => "foreign_stream",
            Self::NoKey => "no_key",
            Self::Unauthenticated => "unauthenticated",
            Self::Replayed => "replayed",
            Self::Reflected => "reflected",
            Self::Late => "late",
            Self::Muted => "muted",
            Self::TooFast => "too_fast",
            Self::TooLong => "too_long",
        }
    }
}

/// What became of one datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Audio, copied to every listener of its room (perhaps none).
    Forwarded,
    /// Meant for the relay itself: discovery, keepalives, pings, RTCP.
    Consumed,
    Dropped(DropReason),
}

/// Sums since the shard started.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counters {
    pub received: u64,
    pub forwarded_in: u64,
    pub consumed: u64,
    drops: [u64; DropReason::ALL.len()],
    /// Datagrams written into the sink.
    pub sent: u64,
    /// Copies that could not be sealed: the key's nonces are used up.
    pub unsealed: u64,
    /// Legs that another process began, gone on with by this one.
    pub restored: u64,
    /// Frames that were lost on their way to us and found in a later packet: forwarded without having been received.
    pub recovered: u64,
    /// Packets that browsers were asked to send once more.
    pub asked: u64,
    /// Of those sent, the ones that a browser was sent once more,
    pub resent: u64,
    /// and how many it asked for in vain: never sent, no longer known, or above its bound.
    pub not_resent: u64,
}

impl Counters {
    pub(crate) fn count(&mut self, fate: Fate) {
        self.received += 1;
        match fate {
            Fate::Forwarded => self.forwarded_in += 1,
            Fate::Consumed => self.consumed += 1,
            Fate::Dropped(reason) => self.drops[reason as usize] += 1,
        }
        debug_assert!(self.conserved(), "{self:?}");
    }

    #[must_use]
    pub fn dropped(&self, reason: DropReason) -> u64 {
        self.drops[reason as usize]
    }

    /// received = forwarded in + consumed + dropped.
    #[must_use]
    pub fn conserved(&self) -> bool {
        self.received == self.forwarded_in + self.consumed + self.drops.iter().sum::<u64>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_own_place_and_name() {
        for (index, reason) in DropReason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, index);
            let same_name = DropReason::ALL.into_iter().filter(|other| other.name() == reason.name());
            assert_eq!(same_name.count(), 1, "{reason:?}");
        }
    }

    #[test]
    fn each_fate_counts_once() {
        let mut counters = Counters::default();
        counters.count(Fate::Forwarded);
        counters.count(Fate::Consumed);
        counters.count(Fate::Dropped(DropReason::Late));
        assert_eq!((counters.received, counters.forwarded_in, counters.consumed), (3, 1, 1));
        assert_eq!(counters.dropped(DropReason::Late), 1);
        assert!(counters.conserved());
        counters.received += 1;
        assert!(!counters.conserved());
    }
}
