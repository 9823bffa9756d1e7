//! Numbers that look random, from the seed that signalling gave: the core itself has no randomness.
//!
//! xoshiro256++ (Blackman and Vigna, public domain). Good for starting points that should differ; secrets
//! come from signalling.

#[derive(Clone)]
pub struct Random {
    state: [u64; 4],
}

impl Random {
    /// Any seed will do; different ones give different numbers.
    #[must_use]
    pub fn new(seed: &[u8]) -> Self {
        let mut sponge = 0x9E37_79B9_7F4A_7C15_u64 ^ seed.len() as u64;
        for byte in seed {
            sponge = mix(sponge ^ u64::from(*byte));
        }
        let mut state = [0; 4];
        for (index, word) in state.iter_mut().enumerate() {
            let mut folded = mix(sponge.wrapping_add(index as u64 + 1));
            for byte in seed.iter().skip(8 * index).take(8) {
                folded = mix(folded ^ u64::from(*byte));
            }
            *word = folded;
        }
        // All zeros is the one state that never leaves itself.
        state[0] |= 1;
        Self { state }
    }

    pub fn next_u64(&mut self) -> u64 {
        let s = &mut self.state;
        let out = s[0].wrapping_add(s[3]).rotate_left(23).wrapping_add(s[0]);
        let t = s[1] << 17;
        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= t;
        s[3] = s[3].rotate_left(45);
        out
    }

    pub fn next_u32(&mut self) -> u32 {
        (self.next_u64() >> 32) as u32
    }

    pub fn next_u16(&mut self) -> u16 {
        (self.next_u64() >> 48) as u16
    }

    pub fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&self.next_u64().to_le_bytes()[..chunk.len()]);
        }
    }
}

/// The finaliser of SplitMix64.
fn mix(mut z: u64) -> u64 {
    z = z.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_decides_and_every_byte_of_it_counts() {
        let first = |seed: &[u8]| Random::new(seed).next_u64();
        assert_eq!(first(&[7; 32]), first(&[7; 32]));
        let mut seen = vec![first(&[]), first(&[0]), first(&[0; 32])];
        for index in 0..32 {
            let mut seed = [0; 32];
            seed[index] = 1;
            seen.push(first(&seed));
        }
        let all = seen.len();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), all);
    }

    #[test]
    fn odd_lengths_are_filled() {
        let mut bytes = [0; 29];
        Random::new(&[1]).fill(&mut bytes);
        assert!(bytes[24..].iter().any(|byte| *byte != 0));
    }
}
