//! What of the shard's legs is written into the page, and when: always before anything leaves that follows from it.

use crate::leg::LegIndex;
use crate::shard::Shard;

impl Shard {
    /// What a packet of a leg's own changed of it, or where it is.
    #[inline]
    pub(crate) fn write_leg(&self, index: LegIndex) {
        let leg = self.legs.get(index);
        if let Some(slot) = leg.slot {
            self.page.leg(slot, leg);
        }
    }

    /// What a report that a leg is sent changed of it.
    pub(crate) fn write_sent(&self, index: LegIndex) {
        let leg = self.legs.get(index);
        if let (Some(slot), Some(security)) = (leg.slot, &leg.security) {
            self.page.sent(slot, security.progress());
        }
    }

    /// What a browser sends, and its reports that were seen.
    pub(crate) fn write_peer(&self, index: LegIndex) {
        let leg = self.legs.get(index);
        if let (Some(slot), Some(browser)) = (leg.slot, leg.browser()) {
            self.page.peer(slot, browser);
        }
    }

    /// What a leg was away for.
    pub(crate) fn write_absence(&mut self, index: LegIndex) {
        let Self { legs, page, .. } = self;
        let leg = legs.get_mut(index);
        if let Some(slot) = leg.slot {
            leg.absence.write(page, slot);
        }
    }

    /// All of a leg that has been given its place.
    pub(crate) fn write_all(&mut self, index: LegIndex) {
        self.write_leg(index);
        self.write_peer(index);
        self.write_absence(index);
        let Self { legs, page, .. } = self;
        let leg = legs.get_mut(index);
        if let (Some(slot), Some(browser)) = (leg.slot, leg.browser_mut()) {
            browser.outgoing.write(page, slot);
        }
    }

    /// A leg has keys, or will have, or other ones: everything of it is written into a place of its own.
    pub(crate) fn begin_written(&mut self, index: LegIndex) {
        self.end_written(index);
        if self.legs.get(index).security.is_none() {
            return self.write_numbers(index);
        }
        let Some(slot) = self.page.take_slot() else { return self.write_numbers(index) };
        let Self { legs, page, .. } = self;
        let leg = legs.get_mut(index);
        leg.slot = Some(slot);
        page.begin(slot, leg);
        leg.numbers.take().into_iter().for_each(|record| page.free_record(record));
        self.write_all(index);
    }

    /// The numbers of a leg's stream that has them from an earlier leg, and no place of its own yet.
    fn write_numbers(&mut self, index: LegIndex) {
        let room = self.rooms.get(self.legs.get(index).room).id();
        let Self { legs, page, .. } = self;
        let leg = legs.get_mut(index);
        if leg.slot.is_none()
            && leg.numbers.is_none()
            && let Some((highest_out, last_time)) = leg.rewriter.last_out()
        {
            leg.numbers = page.retired(leg.ssrc, room, highest_out, last_time);
        }
    }

    pub(crate) fn end_written(&mut self, index: LegIndex) {
        let Self { legs, page, .. } = self;
        let leg = legs.get_mut(index);
        let Some(slot) = leg.slot.take() else { return };
        page.free_slot(slot);
        leg.absence.unwrite(page);
        if let Some(browser) = leg.browser_mut() {
            browser.outgoing.unwrite(page);
        }
    }

    /// The leg that whatever is done now is done for, should it be the last thing that is done.
    #[inline]
    pub(crate) fn busy_with(&self, index: LegIndex) {
        self.page.busy_with(self.legs.get(index).id);
    }
}
