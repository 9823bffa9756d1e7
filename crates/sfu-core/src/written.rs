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
            return;
        }
        let slot = self.page.take_slot();
        let Self { legs, page, .. } = self;
        let leg = legs.get_mut(index);
        leg.slot = slot;
        let Some(slot) = slot else { return };
        page.begin(slot, leg);
        self.write_all(index);
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
