//! Sender and receiver reports, source descriptions and goodbyes (RFC 3550 sections 6.4 to 6.6).

use crate::bytes::{u32_at, u64_at};
use crate::{RtpTime, Ssrc};

pub(super) const BLOCK_LEN: usize = 24;
const CNAME: u8 = 1;

/// The sender's half of a sender report: a wall clock, the same instant in RTP time, and what was sent so
/// far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SenderInfo {
    /// Seconds since 1900 in the upper half, their fraction in the lower.
    pub ntp: u64,
    pub time: RtpTime,
    pub packets: u32,
    pub octets: u32,
}

/// What a receiver says of one stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReportBlock {
    pub ssrc: Ssrc,
    /// Lost since the last report, in 256ths.
    pub fraction_lost: u8,
    /// Lost since the beginning; 24 bits on the wire, negative when duplicates came.
    pub lost: i32,
    pub highest_seq: u32,
    pub jitter: u32,
    /// The middle 32 bits of the last sender report's clock, 0 for none.
    pub last_sr: u32,
    /// Since then, in 65536ths of a second.
    pub delay_since_sr: u32,
}

impl ReportBlock {
    fn parse(bytes: &[u8; BLOCK_LEN]) -> Option<Self> {
        let lost = u32_at(bytes, 4)?;
        Some(Self {
            ssrc: Ssrc(u32_at(bytes, 0)?),
            fraction_lost: (lost >> 24) as u8,
            // Shifted up and down again as a signed number, which keeps the sign of the 24 bits.
            lost: (lost << 8).cast_signed() >> 8,
            highest_seq: u32_at(bytes, 8)?,
            jitter: u32_at(bytes, 12)?,
            last_sr: u32_at(bytes, 16)?,
            delay_since_sr: u32_at(bytes, 20)?,
        })
    }
}

fn parse_blocks(bytes: &[u8]) -> impl Iterator<Item = ReportBlock> {
    bytes.as_chunks::<BLOCK_LEN>().0.iter().filter_map(ReportBlock::parse)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SenderReport<'a> {
    pub sender: Ssrc,
    pub info: SenderInfo,
    blocks: &'a [u8],
}

impl<'a> SenderReport<'a> {
    pub(super) fn parse(count: u8, body: &'a [u8]) -> Option<Self> {
        let info = SenderInfo {
            ntp: u64_at(body, 4)?,
            time: RtpTime(u32_at(body, 12)?),
            packets: u32_at(body, 16)?,
            octets: u32_at(body, 20)?,
        };
        let blocks = body.get(24..24 + BLOCK_LEN * usize::from(count))?;
        Some(Self { sender: Ssrc(u32_at(body, 0)?), info, blocks })
    }

    pub fn blocks(&self) -> impl Iterator<Item = ReportBlock> + use<'a> {
        parse_blocks(self.blocks)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReceiverReport<'a> {
    pub sender: Ssrc,
    blocks: &'a [u8],
}

impl<'a> ReceiverReport<'a> {
    pub(super) fn parse(count: u8, body: &'a [u8]) -> Option<Self> {
        let blocks = body.get(4..4 + BLOCK_LEN * usize::from(count))?;
        Some(Self { sender: Ssrc(u32_at(body, 0)?), blocks })
    }

    pub fn blocks(&self) -> impl Iterator<Item = ReportBlock> + use<'a> {
        parse_blocks(self.blocks)
    }
}

/// A source description; of its items only the canonical name is of interest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sdes<'a> {
    pub(super) chunks: &'a [u8],
}

impl<'a> Sdes<'a> {
    /// The first canonical name and whose it is.
    #[must_use]
    pub fn cname(&self) -> Option<(Ssrc, &'a [u8])> {
        let mut rest = self.chunks;
        loop {
            let ssrc = Ssrc(u32_at(rest, 0)?);
            let mut items = rest.get(4..)?;
            // A chunk's items end with a zero, and the chunk is filled with zeros to a multiple of four.
            while let Some((&kind, tail)) = items.split_first()
                && kind != 0
            {
                let (&len, tail) = tail.split_first()?;
                let (text, tail) = tail.split_at_checked(usize::from(len))?;
                if kind == CNAME {
                    return Some((ssrc, text));
                }
                items = tail;
            }
            let used = rest.len() - items.len() + 1;
            rest = rest.get(used.next_multiple_of(4)..)?;
        }
    }
}

/// Sources that leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bye<'a> {
    sources: &'a [u8],
}

impl<'a> Bye<'a> {
    pub(super) fn parse(count: u8, body: &'a [u8]) -> Option<Self> {
        Some(Self { sources: body.get(..4 * usize::from(count))? })
    }

    pub fn sources(&self) -> impl Iterator<Item = Ssrc> + use<'a> {
        self.sources.as_chunks::<4>().0.iter().map(|bytes| Ssrc(u32::from_be_bytes(*bytes)))
    }
}
