//! Stream ids: a block of five for each session (audio, then two video layers with a retransmission stream each).

use std::collections::HashSet;

/// Ids in a block: audio n, video n+1 with its retransmission n+2, second layer n+3 and n+4.
const BLOCK: u32 = 5;
/// STUN's cookie stands where IP discovery has the stream id, so that id must never be given out.
const STUN_COOKIE: u32 = 0x2112_A442;

#[derive(Debug, Default)]
pub struct Ssrcs {
    taken: HashSet<u32>,
}

impl Ssrcs {
    /// A block nobody has. `random` is asked again on a collision, which a server's population makes rare.
    pub fn allocate(&mut self, random: &mut dyn FnMut(&mut [u8])) -> u32 {
        loop {
            let mut bytes = [0; 4];
            random(&mut bytes);
            let block = u32::from_le_bytes(bytes) % (u32::MAX / BLOCK);
            let first = block * BLOCK;
            let usable = block > 0 && !(first..first + BLOCK).contains(&STUN_COOKIE);
            if usable && self.taken.insert(first) {
                return first;
            }
        }
    }

    pub fn release(&mut self, ssrc: u32) {
        let was = self.taken.remove(&ssrc);
        debug_assert!(was, "only an allocated id is released");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_do_not_overlap_and_avoid_the_cookie_and_zero() {
        let mut ssrcs = Ssrcs::default();
        // A source that first offers zero, then the cookie's own block, then the same block twice, then others.
        let mut offers = vec![0, STUN_COOKIE / BLOCK, 7, 7, 8].into_iter();
        let mut random = |bytes: &mut [u8]| bytes.copy_from_slice(&u32::to_le_bytes(offers.next().unwrap()));
        assert_eq!(ssrcs.allocate(&mut random), 35);
        assert_eq!(ssrcs.allocate(&mut random), 40);
        ssrcs.release(35);
        let mut again = |bytes: &mut [u8]| bytes.copy_from_slice(&7_u32.to_le_bytes());
        assert_eq!(ssrcs.allocate(&mut again), 35);
    }
}
