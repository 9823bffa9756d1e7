//! What must not be forgotten, written into memory that outlives the process.
//!
//! Owns the layout of that memory, who has which place in it, and how it is read after its writer has died at any instant. Does not know when
//! there is something to write; keys never get here.
//!
//! A leg has a slot, a stream that a browser is sent or a leg was away for has a record. What changes with every packet that is sent is one
//! word, or words of which each may be older or newer than the others; everything else has two copies, of which the one that is not being
//! written is whole. The system keeps the order in which a thread wrote, whenever that thread ends, so only the compiler has to be told.

mod cells;
mod read;
mod write;

use std::sync::atomic::AtomicU64;

use sfu_wire::page::{FAILED_AT, HEAD, HEAD_AT, HEAD_WORDS, LEG_AT, WORDS, WORK_AT, Work};

use crate::limits::{LEGS_MAX, STREAMS_PER_LEG};
use cells::Cells;
pub(crate) use read::{Found, Predecessor};

/// Zeros at first, and shared by nobody who writes.
pub type Memory = &'static [AtomicU64];

/// How far slots and records have ever been used.
const SLOTS_AT: usize = 2;
const RECORDS_AT: usize = 3;
/// There was once no place for a leg.
const FULL_AT: usize = 4;

const SLOT_WORDS: usize = 144;
const RECORD_WORDS: usize = 8;
const UNIT_WORDS: usize = SLOT_WORDS + STREAMS_PER_LEG * RECORD_WORDS;
const _: () = assert!(HEAD_WORDS + LEGS_MAX * UNIT_WORDS <= WORDS, "every leg has its place");

/// Place of a leg.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SlotAt(u32);

/// Place of a stream of a leg.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct RecordAt(u32);

pub struct Page {
    cells: Cells,
    slots: Places,
    records: Places,
    /// What the predecessor left is taken over, so that it may be written over.
    is_open: bool,
    /// Legs and streams that there was no place for.
    pub unwritten: u64,
}

impl Page {
    /// No memory, and so nothing is written.
    #[must_use]
    pub fn none() -> Self {
        Self::with(&[])
    }

    /// What is in the memory, and the memory to go on in once that was taken over.
    #[must_use]
    pub fn open(memory: Memory) -> (Self, Predecessor) {
        let page = Self::with(memory);
        if page.slots.end > 0 {
            page.cells.set(FAILED_AT, 0);
            page.idle();
        }
        let predecessor = page.read();
        (page, predecessor)
    }

    /// What a successor would find.
    pub fn read(&self) -> Predecessor {
        read::predecessor(self)
    }

    fn with(memory: Memory) -> Self {
        let legs = (memory.len().saturating_sub(HEAD_WORDS) / UNIT_WORDS).min(LEGS_MAX);
        Self {
            cells: Cells(memory),
            slots: Places::new(legs),
            records: Places::new(legs * STREAMS_PER_LEG),
            is_open: false,
            unwritten: 0,
        }
    }

    /// Only these places keep what is in them; from now on there is room for others. Whose memory it is, and whether there was no place for somebody,
    /// stays as it was found until [`Self::complete`]: should this process end before that, its successor knows as little as it did.
    pub fn take_over(&mut self, slots: &[SlotAt], records: &[RecordAt]) {
        self.is_open = true;
        if self.slots.end == 0 {
            return;
        }
        let is_ours = self.cells.get(HEAD_AT) == HEAD;
        let used = |at| if is_ours { self.cells.get(at) as u32 } else { 0 };
        let (slots_used, records_used) = (used(SLOTS_AT), used(RECORDS_AT));
        self.slots.take_over(slots_used, slots.iter().map(|slot| slot.0));
        self.records.take_over(records_used, records.iter().map(|record| record.0));
        for slot in &self.slots.free {
            self.cells.set(self.slot(SlotAt(*slot)), 0);
        }
        for record in &self.records.free {
            self.cells.set(self.record(RecordAt(*record)), 0);
        }
        self.cells.set(SLOTS_AT, self.slots.next.into());
        self.cells.set(RECORDS_AT, self.records.next.into());
    }

    /// All legs that there are have been written, but for those that there was no place for.
    pub fn complete(&mut self, has_place_for_all: bool) {
        if self.slots.end > 0 {
            self.cells.set(FULL_AT, (!has_place_for_all).into());
            self.cells.set(HEAD_AT, HEAD);
        }
    }

    /// The shard is busy with a leg, or with one that it does not know yet.
    #[inline]
    pub fn busy(&self, leg: u64, work: Work) {
        if self.slots.end > 0 {
            self.cells.set(LEG_AT, leg);
            self.cells.set(WORK_AT, work as u64);
        }
    }

    /// It is this leg's.
    #[inline]
    pub fn busy_with(&self, leg: u64) {
        if self.slots.end > 0 {
            self.cells.set(LEG_AT, leg);
        }
    }

    #[inline]
    pub fn idle(&self) {
        if self.slots.end > 0 {
            self.cells.set(WORK_AT, 0);
        }
    }

    /// A place for a leg; none before the predecessor's were taken over.
    pub fn take_slot(&mut self) -> Option<SlotAt> {
        if !self.is_open || self.slots.end == 0 {
            return None;
        }
        let Some(at) = self.slots.take() else {
            self.unwritten += 1;
            self.cells.set(FULL_AT, 1);
            return None;
        };
        // Another version may have left something there.
        self.cells.set(self.slot(SlotAt(at)), 0);
        self.cells.set(SLOTS_AT, self.slots.next.into());
        Some(SlotAt(at))
    }

    pub fn free_slot(&mut self, slot: SlotAt) {
        self.cells.set(self.slot(slot), 0);
        self.slots.free.push(slot.0);
    }

    fn take_record(&mut self) -> Option<RecordAt> {
        if self.records.end == 0 {
            return None;
        }
        let Some(at) = self.records.take() else {
            self.unwritten += 1;
            return None;
        };
        self.cells.set(self.record(RecordAt(at)), 0);
        self.cells.set(RECORDS_AT, self.records.next.into());
        Some(RecordAt(at))
    }

    pub fn free_record(&mut self, record: RecordAt) {
        self.cells.set(self.record(record), 0);
        self.records.free.push(record.0);
    }

    /// Where a slot's words begin.
    fn slot(&self, slot: SlotAt) -> usize {
        HEAD_WORDS + slot.0 as usize * SLOT_WORDS
    }

    fn record(&self, record: RecordAt) -> usize {
        HEAD_WORDS + self.slots.end as usize * SLOT_WORDS + record.0 as usize * RECORD_WORDS
    }
}

/// Which places of a kind are taken: none from `next` on, and below it all but the free ones.
#[derive(Debug)]
struct Places {
    free: Vec<u32>,
    next: u32,
    end: u32,
}

impl Places {
    fn new(count: usize) -> Self {
        Self { free: Vec::new(), next: 0, end: u32::try_from(count).expect("a page has fewer words") }
    }

    fn take(&mut self) -> Option<u32> {
        if let Some(free) = self.free.pop() {
            return Some(free);
        }
        let next = self.next;
        self.next += u32::from(next < self.end);
        (next < self.end).then_some(next)
    }

    fn take_over(&mut self, used: u32, kept: impl Iterator<Item = u32>) {
        self.next = used.min(self.end);
        let mut is_kept = vec![false; self.next as usize];
        kept.for_each(|at| is_kept[at as usize] = true);
        // The lowest are taken first, so that what is used lies close together.
        self.free = (0..self.next).rev().filter(|at| !is_kept[*at as usize]).collect();
    }
}

#[cfg(test)]
mod tests;
