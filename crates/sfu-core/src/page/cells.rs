//! Words that another process reads when this one has died.

use std::sync::atomic::Ordering::{Relaxed, Release};
use std::sync::atomic::fence;

use super::Memory;

#[derive(Clone, Copy)]
pub struct Cells(pub Memory);

impl Cells {
    #[inline]
    pub fn get(self, at: usize) -> u64 {
        self.0[at].load(Relaxed)
    }

    /// After everything that was written before.
    #[inline]
    pub fn set(self, at: usize, value: u64) {
        self.0[at].store(value, Release);
    }

    /// Writes the copy that is not the newest, then makes it so. `turn` counts twice for each writing, and is odd in the middle of one; the
    /// copies stand one behind the other.
    #[inline]
    pub fn write<const N: usize>(self, turn: usize, copies: usize, values: &[u64; N]) {
        let before = self.get(turn) & !1;
        self.0[turn].store(before | 1, Relaxed);
        fence(Release);
        let copy = &self.0[copies + newest(before + 2) * N..][..N];
        for (cell, value) in copy.iter().zip(values) {
            cell.store(*value, Relaxed);
        }
        self.set(turn, before + 2);
    }

    /// The newest whole copy, and whether its writer died while making a newer one.
    pub fn read<const N: usize>(self, turn: usize, copies: usize) -> ([u64; N], bool) {
        let now = self.get(turn);
        let from = copies + newest(now & !1) * N;
        (std::array::from_fn(|at| self.get(from + at)), now & 1 == 1)
    }
}

fn newest(turn: u64) -> usize {
    (turn >> 1 & 1) as usize
}
