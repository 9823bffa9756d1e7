//! Redundant audio data (RFC 2198): a packet that carries earlier packets' payloads in front of its own.
//!
//! Reading only: a relay passes on what it got, or the primary block of it.

use crate::PayloadType;

/// Set in the header of every block but the last.
const MORE: u8 = 0x80;
const REDUNDANT_HEADER_LEN: usize = 4;

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
}
