//! Builders. Each writes one packet at the start of the buffer and says its length; a compound is made by
//! writing one behind the other.

use super::report::{ReportBlock, SenderInfo};
use super::{BYE, FMT_ALFB, FMT_FIR, FMT_NACK, FMT_PLI, PAYLOAD_FEEDBACK, RR, SDES, SR, TRANSPORT_FEEDBACK};
use crate::bytes::Writer;
use crate::{NoRoom, Ssrc};

/// The count field has five bits.
pub const MAX_REPORT_BLOCKS: usize = 31;

pub fn write_sender_report(
    sender: Ssrc,
    info: &SenderInfo,
    blocks: &[ReportBlock],
    buf: &mut [u8],
) -> Result<usize, NoRoom> {
    packet(SR, count(blocks.len())?, buf, |w| {
        w.u32(sender.0)?;
        w.u64(info.ntp)?;
        w.u32(info.time.0)?;
        w.u32(info.packets)?;
        w.u32(info.octets)?;
        blocks.iter().try_for_each(|block| put_block(w, block))
    })
}

/// Without blocks this is the eight-byte report that keeps a path open.
pub fn write_receiver_report(sender: Ssrc, blocks: &[ReportBlock], buf: &mut [u8]) -> Result<usize, NoRoom> {
    packet(RR, count(blocks.len())?, buf, |w| {
        w.u32(sender.0)?;
        blocks.iter().try_for_each(|block| put_block(w, block))
    })
}

pub fn write_sdes_cname(source: Ssrc, cname: &[u8], buf: &mut [u8]) -> Result<usize, NoRoom> {
    packet(SDES, 1, buf, |w| {
        w.u32(source.0)?;
        w.put(&[1, u8::try_from(cname.len()).map_err(|_| NoRoom)?])?;
        w.put(cname)?;
        w.u8(0)
    })
}

pub fn write_bye(sources: &[Ssrc], buf: &mut [u8]) -> Result<usize, NoRoom> {
    packet(BYE, count(sources.len())?, buf, |w| sources.iter().try_for_each(|source| w.u32(source.0)))
}

/// Asks again for the packets `seqs`, which must be in order; neighbours share an entry.
pub fn write_nack(sender: Ssrc, media: Ssrc, seqs: &[u16], buf: &mut [u8]) -> Result<usize, NoRoom> {
    packet(TRANSPORT_FEEDBACK, FMT_NACK, buf, |w| {
        w.u32(sender.0)?;
        w.u32(media.0)?;
        let mut rest = seqs;
        while let Some((&first, mut tail)) = rest.split_first() {
            let mut mask = 0u16;
            while let Some((&seq, after)) = tail.split_first()
                && (1..=16).contains(&seq.wrapping_sub(first))
            {
                mask |= 1 << (seq.wrapping_sub(first) - 1);
                tail = after;
            }
            w.u16(first)?;
            w.u16(mask)?;
            rest = tail;
        }
        Ok(())
    })
}

pub fn write_pli(sender: Ssrc, media: Ssrc, buf: &mut [u8]) -> Result<usize, NoRoom> {
    packet(PAYLOAD_FEEDBACK, FMT_PLI, buf, |w| {
        w.u32(sender.0)?;
        w.u32(media.0)
    })
}

pub fn write_fir(sender: Ssrc, media: Ssrc, request: u8, buf: &mut [u8]) -> Result<usize, NoRoom> {
    packet(PAYLOAD_FEEDBACK, FMT_FIR, buf, |w| {
        w.u32(sender.0)?;
        // RFC 5104 section 4.3.1.2: the media source of the header is not used and is zero.
        w.u32(0)?;
        w.u32(media.0)?;
        w.put(&[request, 0, 0, 0])
    })
}

pub fn write_remb(
    sender: Ssrc,
    bits_per_second: u64,
    sources: &[Ssrc],
    buf: &mut [u8],
) -> Result<usize, NoRoom> {
    packet(PAYLOAD_FEEDBACK, FMT_ALFB, buf, |w| {
        w.u32(sender.0)?;
        w.u32(0)?;
        w.put(b"REMB")?;
        // The mantissa has 18 bits; what it cannot hold is shifted out, so the rate is rounded down.
        let exponent = (64 - bits_per_second.leading_zeros()).saturating_sub(18);
        let mantissa = (bits_per_second >> exponent) as u32;
        w.u8(u8::try_from(sources.len()).map_err(|_| NoRoom)?)?;
        w.u8((exponent << 2) as u8 | (mantissa >> 16) as u8)?;
        w.u16((mantissa & 0xFFFF) as u16)?;
        sources.iter().try_for_each(|source| w.u32(source.0))
    })
}

fn count(len: usize) -> Result<u8, NoRoom> {
    if len > MAX_REPORT_BLOCKS { Err(NoRoom) } else { Ok(len as u8) }
}

fn packet(
    packet_type: u8,
    count: u8,
    buf: &mut [u8],
    body: impl FnOnce(&mut Writer<'_>) -> Result<(), NoRoom>,
) -> Result<usize, NoRoom> {
    let mut w = Writer::new(buf);
    w.put(&[2 << 6 | count, packet_type, 0, 0])?;
    body(&mut w)?;
    w.align()?;
    let words = u16::try_from(w.len() / 4 - 1).map_err(|_| NoRoom)?;
    w.patch_u16(2, words)?;
    Ok(w.len())
}

fn put_block(w: &mut Writer<'_>, block: &ReportBlock) -> Result<(), NoRoom> {
    w.u32(block.ssrc.0)?;
    // RFC 3550 section 6.4.1: the count is clamped, not wrapped.
    let lost = block.lost.clamp(-0x80_0000, 0x7F_FFFF).cast_unsigned() & 0xFF_FFFF;
    w.u32(u32::from(block.fraction_lost) << 24 | lost)?;
    w.u32(block.highest_seq)?;
    w.u32(block.jitter)?;
    w.u32(block.last_sr)?;
    w.u32(block.delay_since_sr)
}
