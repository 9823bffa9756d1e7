//! Feedback messages: who says it, about which stream, and what (RFC 4585 section 6.1, RFC 5104, REMB).

use crate::Ssrc;
use crate::bytes::{u16_at, u32_at};

/// What all feedback begins with, and the rest as it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Feedback<'a> {
    pub sender: Ssrc,
    pub media: Ssrc,
    pub body: &'a [u8],
}

impl<'a> Feedback<'a> {
    pub(super) fn parse(body: &'a [u8]) -> Option<Self> {
        Some(Self { sender: Ssrc(u32_at(body, 0)?), media: Ssrc(u32_at(body, 4)?), body: &body[8..] })
    }
}

/// Packets that are missing (RFC 4585 section 6.2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Nack<'a> {
    pub(super) feedback: Feedback<'a>,
}

impl<'a> Nack<'a> {
    #[must_use]
    pub fn sender(&self) -> Ssrc {
        self.feedback.sender
    }

    #[must_use]
    pub fn media(&self) -> Ssrc {
        self.feedback.media
    }

    /// The sequence numbers asked for. Each pair of words asks for up to 17, so a datagram asks for a bounded
    /// number; whoever answers has a tighter bound of its own.
    pub fn seqs(&self) -> impl Iterator<Item = u16> + use<'a> {
        self.feedback.body.as_chunks::<4>().0.iter().flat_map(|pair| {
            let first = u16::from_be_bytes([pair[0], pair[1]]);
            let mask = u16::from_be_bytes([pair[2], pair[3]]);
            let following = (0..16u16).filter(move |bit| mask >> bit & 1 == 1);
            std::iter::once(first).chain(following.map(move |bit| first.wrapping_add(bit + 1)))
        })
    }
}

/// Full intra requests: whose picture, and a number that tells a repetition from a new request (RFC 5104
/// section 4.3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fir<'a> {
    pub(super) feedback: Feedback<'a>,
}

impl<'a> Fir<'a> {
    #[must_use]
    pub fn sender(&self) -> Ssrc {
        self.feedback.sender
    }

    pub fn requests(&self) -> impl Iterator<Item = (Ssrc, u8)> + use<'a> {
        self.feedback
            .body
            .as_chunks::<8>()
            .0
            .iter()
            .map(|entry| (Ssrc(u32::from_be_bytes([entry[0], entry[1], entry[2], entry[3]])), entry[4]))
    }
}

/// Receiver estimated maximum bitrate (draft-alvestrand-rmcat-remb-03).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Remb<'a> {
    pub sender: Ssrc,
    /// Saturated: the wire can say more than 64 bits hold.
    pub bits_per_second: u64,
    sources: &'a [u8],
}

impl<'a> Remb<'a> {
    /// `body` begins with the feedback header and the letters REMB.
    pub(super) fn parse(body: &'a [u8]) -> Option<Self> {
        let count = usize::from(*body.get(12)?);
        let exponent = *body.get(13)? >> 2;
        let mantissa = u64::from(*body.get(13)? & 3) << 16 | u64::from(u16_at(body, 14)?);
        let bits_per_second = if u32::from(exponent) <= mantissa.leading_zeros() {
            mantissa << exponent.min(63)
        } else {
            u64::MAX
        };
        let sources = body.get(16..16 + 4 * count)?;
        Some(Self { sender: Ssrc(u32_at(body, 0)?), bits_per_second, sources })
    }

    pub fn sources(&self) -> impl Iterator<Item = Ssrc> + use<'a> {
        self.sources.as_chunks::<4>().0.iter().map(|bytes| Ssrc(u32::from_be_bytes(*bytes)))
    }
}
