//! The numbers of RTP as types, and the extension of 16-bit sequence numbers.

use std::fmt;

/// A synchronisation source: which stream a packet belongs to (RFC 3550 section 3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Ssrc(pub u32);

/// A sequence number extended to 64 bits, so that it never wraps and can be compared and subtracted.
///
/// The low 16 bits are what stands on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct SeqNo(pub u64);

/// An RTP timestamp in units of the stream's clock; it wraps (RFC 3550 section 5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct RtpTime(pub u32);

/// A payload type; on the wire it has seven bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct PayloadType(pub u8);

impl fmt::Display for Ssrc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Display for SeqNo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl SeqNo {
    /// What is written into the header.
    #[must_use]
    pub fn wire(self) -> u16 {
        (self.0 & 0xFFFF) as u16
    }

    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// The extended number nearest to this one whose low 16 bits are `wire`; never below zero.
    #[must_use]
    pub fn nearest(self, wire: u16) -> Self {
        let forward = wire.wrapping_sub(self.wire());
        if forward < 0x8000 {
            return Self(self.0.saturating_add(u64::from(forward)));
        }
        let back = 0x1_0000 - u64::from(forward);
        // Below zero there is nothing, so a number from before the very first one can only be meant forwards.
        self.0.checked_sub(back).map_or(Self(self.0.saturating_add(u64::from(forward))), Self)
    }
}

impl RtpTime {
    #[must_use]
    pub fn wrapping_add(self, ticks: u32) -> Self {
        Self(self.0.wrapping_add(ticks))
    }

    /// How far this is after `earlier`; negative when it is before.
    #[must_use]
    pub fn since(self, earlier: Self) -> i32 {
        self.0.wrapping_sub(earlier.0).cast_signed()
    }
}

/// Turns the 16-bit numbers of one stream into extended ones (RFC 3550 appendix A.1).
///
/// The first number seen lands in the second cycle (65536 + n), so that a packet from just before it,
/// arriving late, still has a smaller number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SeqUnwrapper {
    highest: Option<SeqNo>,
}

impl SeqUnwrapper {
    /// Goes on where another one, whose highest number was `highest`, stopped.
    #[must_use]
    pub fn resume(highest: SeqNo) -> Self {
        Self { highest: Some(highest) }
    }

    #[must_use]
    pub fn highest(&self) -> Option<SeqNo> {
        self.highest
    }

    /// What `wire` would be extended to, remembering nothing.
    #[must_use]
    pub fn peek(&self, wire: u16) -> SeqNo {
        match self.highest {
            Some(highest) => highest.nearest(wire),
            None => SeqNo(0x1_0000 + u64::from(wire)),
        }
    }

    /// Extends `wire` and remembers it when it is the highest so far.
    pub fn unwrap(&mut self, wire: u16) -> SeqNo {
        let seq = self.peek(wire);
        if self.highest.is_none_or(|highest| seq > highest) {
            self.highest = Some(seq);
        }
        seq
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(wire: &[u16], expect: &[u64]) {
        let mut unwrapper = SeqUnwrapper::default();
        let got: Vec<u64> = wire.iter().map(|w| unwrapper.unwrap(*w).0).collect();
        assert_eq!(got, expect);
    }

    #[test]
    fn numbers_are_extended() {
        check(&[5, 6, 8, 7], &[65541, 65542, 65544, 65543]);
        check(&[65535, 0, 1], &[131_071, 131_072, 131_073]);
        check(&[0, 65535, 1], &[65536, 65535, 65537]);
        check(&[0, 0x7FFF, 0xFFFE, 0x7FFD], &[65536, 98303, 131_070, 163_837]);
        check(&[100, 0x8063], &[65636, 98403]);
        check(&[100, 0x8064], &[65636, 32868]);
    }

    #[test]
    fn nothing_is_below_zero() {
        assert_eq!(SeqNo(3).nearest(0xFFFF), SeqNo(0xFFFF));
        assert_eq!(SeqNo(u64::MAX).nearest(0), SeqNo(u64::MAX));
    }

    #[test]
    fn resumes() {
        let mut unwrapper = SeqUnwrapper::resume(SeqNo(0x3_FFFF));
        assert_eq!(unwrapper.unwrap(0), SeqNo(0x4_0000));
    }

    #[test]
    fn times_compare_across_the_wrap() {
        assert_eq!(RtpTime(10).since(RtpTime(u32::MAX - 9)), 20);
        assert_eq!(RtpTime(u32::MAX).since(RtpTime(0)), -1);
        assert_eq!(RtpTime(u32::MAX).wrapping_add(1), RtpTime(0));
    }
}
