//! Redundant audio data (RFC 2198): a packet that carries earlier packets' payloads in front of its own.
//!
//! Whatever number of blocks is read; written is the one form that helps against single losses, a packet with its predecessor.

use crate::bytes::Writer;
use crate::{NoRoom, PayloadType};

/// Set in the header of every block but the last.
const MORE: u8 = 0x80;
const REDUNDANT_HEADER_LEN: usize = 4;
/// What [`write_pair`] puts in front of the two payloads.
pub const PAIR_HEADERS_LEN: usize = REDUNDANT_HEADER_LEN + 1;
/// A redundant block's age has 14 bits,
pub const TIME_OFFSET_MAX: u32 = (1 << 14) - 1;
/// and its length ten.
pub const REDUNDANT_BYTES_MAX: usize = (1 << 10) - 1;

/// One block; the last one of a packet is its own, the primary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Block<'a> {
    pub payload_type: PayloadType,
    /// By how much this is older than the packet, in units of its clock; zero for the primary block.
    pub time_offset: u16,
    pub data: &'a [u8],
}

/// The blocks in order, oldest first as senders have it. Of a payload that breaks the rules there are none.
#[must_use]
pub fn blocks(payload: &[u8]) -> Blocks<'_> {
    match data_at(payload) {
        Some(at) => Blocks { headers: &payload[..at], data: &payload[at..] },
        None => Blocks { headers: &[], data: &[] },
    }
}

/// The packet's own payload and its type. What has no headers that fit has none.
#[must_use]
pub fn primary(payload: &[u8]) -> Option<(PayloadType, &[u8])> {
    blocks(payload).last().map(|block| (block.payload_type, block.data))
}

/// Writes the payload of a packet that carries an earlier one, `time_offset` older, in front of its own. One that the form cannot express is
/// refused as if there were no room for it.
pub fn write_pair(
    payload_type: PayloadType,
    time_offset: u32,
    earlier: &[u8],
    own: &[u8],
    buf: &mut [u8],
) -> Result<usize, NoRoom> {
    if time_offset > TIME_OFFSET_MAX || earlier.len() > REDUNDANT_BYTES_MAX {
        return Err(NoRoom);
    }
    let mut w = Writer::new(buf);
    w.u32(u32::from(MORE | payload_type.0) << 24 | time_offset << 10 | earlier.len() as u32)?;
    w.u8(payload_type.0 & !MORE)?;
    w.put(earlier)?;
    w.put(own)?;
    Ok(w.len())
}

/// Where the headers end and the data begins, once the lengths are known to fit.
fn data_at(payload: &[u8]) -> Option<usize> {
    let (mut at, mut redundant_len) = (0, 0);
    while payload.get(at)? & MORE != 0 {
        let header = payload.get(at..)?.first_chunk::<REDUNDANT_HEADER_LEN>()?;
        redundant_len += usize::from(block_len(header));
        at += REDUNDANT_HEADER_LEN;
    }
    let data_at = at + 1;
    (data_at + redundant_len <= payload.len()).then_some(data_at)
}

/// The lower ten bits.
fn block_len(header: &[u8; REDUNDANT_HEADER_LEN]) -> u16 {
    u16::from_be_bytes([header[2], header[3]]) & 0x3FF
}

#[derive(Debug, Clone)]
pub struct Blocks<'a> {
    headers: &'a [u8],
    data: &'a [u8],
}

impl<'a> Iterator for Blocks<'a> {
    type Item = Block<'a>;

    fn next(&mut self) -> Option<Block<'a>> {
        let payload_type = PayloadType(self.headers.first()? & !MORE);
        let Some((header, headers)) = self.headers.split_first_chunk::<REDUNDANT_HEADER_LEN>() else {
            self.headers = &[];
            return Some(Block { payload_type, time_offset: 0, data: self.data });
        };
        let (data, rest) = self.data.split_at_checked(usize::from(block_len(header)))?;
        (self.headers, self.data) = (headers, rest);
        let time_offset = u16::from_be_bytes([header[1], header[2]]) >> 2;
        Some(Block { payload_type, time_offset, data })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(payload: &[u8], expect: &[(u8, u16, &[u8])]) {
        let got: Vec<_> = blocks(payload).map(|b| (b.payload_type.0, b.time_offset, b.data)).collect();
        assert_eq!(got, expect);
        let last = expect.last().map(|(payload_type, _, data)| (PayloadType(*payload_type), *data));
        assert_eq!(primary(payload), last);
    }

    #[test]
    fn payloads() {
        check(&[111, 1, 2, 3], &[(111, 0, &[1, 2, 3])]);
        check(&[111], &[(111, 0, &[])]);
        // 960 ticks ago, two bytes.
        check(&[0xEF, 0x0F, 0x00, 2, 111, 8, 9, 1], &[(111, 960, &[8, 9]), (111, 0, &[1])]);
        let two = [0xEF, 0x1E, 0x00, 1, 0x8D, 0x0F, 0x00, 0, 111, 7, 1, 2];
        check(&two, &[(111, 1920, &[7]), (13, 960, &[]), (111, 0, &[1, 2])]);
        // The primary block may be empty.
        check(&[0xEF, 0x0F, 0x00, 1, 111, 8], &[(111, 960, &[8]), (111, 0, &[])]);
        let mut long = vec![0xEF, 0xFF, 0xFF, 0xFF, 111];
        long.extend([5; 1024]);
        check(&long, &[(111, 0x3FFF, &[5; 1023]), (111, 0, &[5])]);
    }

    #[test]
    fn what_breaks_the_rules_has_no_blocks() {
        check(&[], &[]);
        check(&[0xEF], &[]);
        check(&[0xEF, 0x0F, 0x00], &[]);
        check(&[0xEF, 0x0F, 0x00, 0], &[]);
        check(&[0xEF, 0x0F, 0x00, 2, 111, 8], &[]);
        check(&[0xEF, 0x0F, 0x03, 0xFF, 111, 8, 9, 1], &[]);
        check(&[0xFF; 40], &[]);
        // Not even the block that would fit.
        check(&[0xEF, 0, 0, 1, 0xEF, 0, 0, 9, 111, 7], &[]);
    }

    #[test]
    fn a_pair_is_read_as_it_is_written() {
        let mut buf = [0; 40];
        let len = write_pair(PayloadType(111), 960, &[8, 9], &[1], &mut buf).unwrap();
        assert_eq!(len, PAIR_HEADERS_LEN + 3);
        check(&buf[..len], &[(111, 960, &[8, 9]), (111, 0, &[1])]);
        let len = write_pair(PayloadType(63), TIME_OFFSET_MAX, &[], &[], &mut buf).unwrap();
        check(&buf[..len], &[(63, 0x3FFF, &[]), (63, 0, &[])]);
    }

    #[test]
    fn what_a_pair_cannot_say_is_refused() {
        let check = |time_offset, earlier, room, expect: bool| {
            let mut buf = [0; 1100];
            let written =
                write_pair(PayloadType(111), time_offset, &[7; 1024][..earlier], &[1], &mut buf[..room]);
            assert_eq!(written.is_ok(), expect, "{time_offset} {earlier} {room}");
        };
        check(TIME_OFFSET_MAX, REDUNDANT_BYTES_MAX, 1100, true);
        check(TIME_OFFSET_MAX + 1, 1, 1100, false);
        check(0, REDUNDANT_BYTES_MAX + 1, 1100, false);
        check(0, 10, 16, true);
        check(0, 10, 15, false);
    }
}
