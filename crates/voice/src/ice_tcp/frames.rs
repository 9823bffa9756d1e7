//! Packets in a stream of bytes (RFC 4571 section 2): each with its length before it, in two bytes.

use crate::limits::ICE_TCP_FRAME_BYTES_MAX;

pub const PREFIX_LEN: usize = 2;

/// Whether a connection that begins with this byte carries frames. Their lengths are short, so the first byte is small; that of TLS is 22.
pub fn begins_a_frame(first: u8) -> bool {
    usize::from(first) <= ICE_TCP_FRAME_BYTES_MAX >> 8
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a frame longer than any packet")]
pub struct TooLong;

/// Takes frames out of what was read.
pub struct Frames {
    /// Room for one whole frame and the beginning of the next.
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

impl Default for Frames {
    fn default() -> Self {
        Self { buffer: vec![0; 2 * (PREFIX_LEN + ICE_TCP_FRAME_BYTES_MAX)], start: 0, end: 0 }
    }
}

impl Frames {
    /// Where to read to. There is room once every whole frame has been taken.
    pub fn space(&mut self) -> &mut [u8] {
        self.buffer.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, self.end - self.start);
        &mut self.buffer[self.end..]
    }

    pub fn filled(&mut self, len: usize) {
        self.end += len;
    }

    /// The next whole frame; an empty one means nothing.
    pub fn next(&mut self) -> Result<Option<&[u8]>, TooLong> {
        let unread = &self.buffer[self.start..self.end];
        let Some((prefix, rest)) = unread.split_first_chunk::<PREFIX_LEN>() else { return Ok(None) };
        let len = usize::from(u16::from_be_bytes(*prefix));
        if len > ICE_TCP_FRAME_BYTES_MAX {
            return Err(TooLong);
        }
        let Some(frame) = rest.get(..len) else { return Ok(None) };
        self.start += PREFIX_LEN + len;
        Ok(Some(frame))
    }
}

/// Appends one frame. No packet of ours is longer than a frame may be.
pub fn append(packet: &[u8], to: &mut Vec<u8>) {
    let len = u16::try_from(packet.len()).expect("a datagram is no longer than its length can say");
    to.extend_from_slice(&len.to_be_bytes());
    to.extend_from_slice(packet);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The frames in `stream` when it arrives in pieces of `piece` bytes.
    fn taken(stream: &[u8], piece: usize) -> Result<Vec<Vec<u8>>, TooLong> {
        let (mut frames, mut found) = (Frames::default(), Vec::new());
        let mut left = stream;
        while !left.is_empty() {
            let space = frames.space();
            let len = piece.min(space.len()).min(left.len());
            assert!(len > 0, "there is always room for more");
            space[..len].copy_from_slice(&left[..len]);
            frames.filled(len);
            left = &left[len..];
            while let Some(frame) = frames.next()? {
                found.push(frame.to_vec());
            }
        }
        Ok(found)
    }

    #[test]
    fn frames_come_out_as_they_went_in_however_they_are_cut() {
        let packets: Vec<Vec<u8>> =
            [1, 0, 100, ICE_TCP_FRAME_BYTES_MAX, ICE_TCP_FRAME_BYTES_MAX, 7, 1_200, 0, 2]
                .iter()
                .enumerate()
                .map(|(n, len)| vec![n as u8; *len])
                .collect();
        let mut stream = Vec::new();
        packets.iter().for_each(|packet| append(packet, &mut stream));
        for piece in [1, 2, 3, 100, 1_499, 1_501, 1_502, 2_000, 10_000] {
            assert_eq!(taken(&stream, piece).as_ref(), Ok(&packets), "in pieces of {piece}");
        }
    }

    #[test]
    fn no_length_makes_it_wait_for_more_than_a_packet() {
        let longest = u16::try_from(ICE_TCP_FRAME_BYTES_MAX).unwrap();
        assert_eq!(taken(&(longest + 1).to_be_bytes(), 2), Err(TooLong));
        assert_eq!(taken(&[0xFF; 4_000], 10), Err(TooLong));
        assert_eq!(taken(&longest.to_be_bytes(), 2), Ok(vec![]));
    }

    #[test]
    fn the_first_byte_tells_frames_from_tls_and_from_text() {
        assert!((0..=5).all(begins_a_frame));
        assert!(!(6..=255).any(begins_a_frame));
    }
}
