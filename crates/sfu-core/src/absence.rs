//! A listener that was away: deafened, or without an address, while others' streams went on.
//!
//! Owns the corrections that let it find each stream's numbers continued where it left them. Who has never
//! been away, which is nearly everyone, has none.

use rtp_wire::{SeqNo, Ssrc};

use crate::limits::ABSENCES_MAX;
use crate::page::{Page, RecordAt, SlotAt};

#[derive(Debug, Clone, Default)]
pub struct Absence {
    /// In order of SSRC. At most one for each stream that its room had at some time of leaving; streams that
    /// are gone are forgotten at every return.
    streams: Vec<Missed>,
    /// Places in the page that are of no use any more.
    unused: Vec<RecordAt>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Missed {
    pub ssrc: Ssrc,
    /// The highest number before leaving, while away.
    pub left_at: Option<SeqNo>,
    /// Numbers missed in all absences so far.
    pub count: u64,
    /// The highest number at the last return. What comes late from before it would repeat a number.
    pub floor: SeqNo,
    /// Where it is written down.
    pub record: Option<RecordAt>,
}

impl Absence {
    /// What must be written down of it: nothing of streams beyond [`ABSENCES_MAX`], whose numbers then jump.
    #[must_use]
    pub fn state(&self) -> Vec<Missed> {
        self.streams.iter().take(ABSENCES_MAX).copied().collect()
    }

    #[must_use]
    pub fn from_state(streams: &[Missed]) -> Self {
        Self { streams: streams.to_vec(), unused: Vec::new() }
    }

    pub fn clear(&mut self) {
        self.unused.extend(self.streams.drain(..).filter_map(|missed| missed.record));
    }

    /// Writes all of it into the page, and what is gone out of it.
    pub fn write(&mut self, page: &mut Page, slot: SlotAt) {
        self.unused.drain(..).for_each(|record| page.free_record(record));
        for missed in self.streams.iter_mut().take(ABSENCES_MAX) {
            missed.record = page.missed(slot, missed);
        }
    }

    /// The leg's place in the page goes, and everything of it.
    pub fn unwrite(&mut self, page: &mut Page) {
        let records = self.streams.iter_mut().filter_map(|missed| missed.record.take());
        self.unused.drain(..).chain(records).for_each(|record| page.free_record(record));
    }

    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.streams.is_empty()
    }

    #[must_use]
    pub fn is_away(&self) -> bool {
        self.streams.iter().any(|missed| missed.left_at.is_some())
    }

    /// Leaves the streams `at`, each with the highest number it has sent.
    pub fn begin(&mut self, at: impl Iterator<Item = (Ssrc, SeqNo)>) {
        for (ssrc, highest) in at {
            match self.streams.binary_search_by_key(&ssrc, |missed| missed.ssrc) {
                Ok(index) => self.streams[index].left_at = Some(highest),
                Err(index) => {
                    let missed =
                        Missed { ssrc, left_at: Some(highest), count: 0, floor: SeqNo(0), record: None };
                    self.streams.insert(index, missed);
                }
            }
        }
    }

    /// Comes back. `highest` says where a stream is now, and nothing of one that is gone.
    pub fn end(&mut self, highest: impl Fn(Ssrc) -> Option<SeqNo>) {
        self.streams.retain_mut(|missed| {
            let now_at = highest(missed.ssrc);
            if let (Some(now_at), Some(left_at)) = (now_at, missed.left_at.take()) {
                missed.count = missed.count.saturating_add(now_at.0.saturating_sub(left_at.0));
                missed.floor = now_at;
            }
            let is_kept = now_at.is_some() && missed.count > 0;
            if !is_kept {
                self.unused.extend(missed.record);
            }
            is_kept
        });
    }

    /// What this listener reads for a stream's number; nothing for one that it must not see any more.
    #[inline]
    #[must_use]
    pub fn place(&self, ssrc: Ssrc, seq: SeqNo) -> Option<SeqNo> {
        let Ok(index) = self.streams.binary_search_by_key(&ssrc, |missed| missed.ssrc) else {
            return Some(seq);
        };
        let missed = &self.streams[index];
        if seq <= missed.floor {
            return None;
        }
        seq.0.checked_sub(missed.count).map(SeqNo)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Ssrc = Ssrc(5);
    const B: Ssrc = Ssrc(3);

    #[test]
    fn numbers_go_on_where_they_were_left() {
        let mut absence = Absence::default();
        absence.begin([(A, SeqNo(1000)), (B, SeqNo(50))].into_iter());
        absence.end(|ssrc| Some(SeqNo(if ssrc == A { 1010 } else { 50 })));
        assert_eq!(absence.place(A, SeqNo(1011)), Some(SeqNo(1001)));
        assert_eq!(absence.place(A, SeqNo(1010)), None, "late from before the return");
        assert_eq!(absence.place(B, SeqNo(51)), Some(SeqNo(51)), "nothing missed");
        assert_eq!(absence.place(Ssrc(9), SeqNo(7)), Some(SeqNo(7)), "began while away");

        absence.begin([(A, SeqNo(1012))].into_iter());
        absence.end(|_| Some(SeqNo(1020)));
        assert_eq!(absence.place(A, SeqNo(1021)), Some(SeqNo(1003)));

        absence.begin([(A, SeqNo(1021))].into_iter());
        absence.end(|_| None);
        assert!(absence.streams.is_empty(), "a stream that is gone is forgotten");
    }
}
