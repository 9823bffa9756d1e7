//! What happened: a hash always, words only when they are asked for.

use std::cell::RefCell;
use std::rc::Rc;

use crate::time::At;

/// Lines that survive the world they tell of, even if that ends in a panic.
pub type Lines = Rc<RefCell<Vec<String>>>;

#[derive(Debug)]
pub struct Trace {
    hash: u64,
    lines: Option<Lines>,
}

impl Trace {
    pub fn new(lines: Option<Lines>) -> Self {
        Self { hash: 0xCBF2_9CE4_8422_2325, lines }
    }

    /// Something for a reader.
    pub fn note(&self, now: At, what: impl FnOnce() -> String) {
        if let Some(lines) = &self.lines {
            lines.borrow_mut().push(format!("{now}  {}", what()));
        }
    }

    /// Something that must be the same in every run of the seed.
    pub fn mix(&mut self, now: At, kind: u64, bytes: &[u8]) {
        self.word(now.0);
        self.word(kind << 32 | bytes.len() as u64);
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.word(u64::from_le_bytes(*word));
        }
        for byte in rest {
            self.word(u64::from(*byte));
        }
    }

    fn word(&mut self, word: u64) {
        self.hash = (self.hash.rotate_left(5) ^ word).wrapping_mul(0x517C_C1B7_2722_0A95);
    }

    pub fn hash(&self) -> u64 {
        self.hash
    }
}
