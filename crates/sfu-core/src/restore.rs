//! Going on with legs where another process stopped, once signalling has said which there are.

use std::time::Instant;

use rtp_wire::Ssrc;
use transport::ReplayWindow;

use crate::absence::Absence;
use crate::browser::Browser;
use crate::leg::{Leg, LegIndex};
use crate::page::{Found, Predecessor, RecordAt};
use crate::rewrite::Rewriter;
use crate::security::Security;
use crate::shard::Shard;
use crate::state::{BrowserState, LegState, SecurityState};

impl Shard {
    /// Goes on with the legs that the predecessor wrote of and signalling has put; the others begin anew. To be done with the first snapshot and
    /// before any datagram, because a leg that has been sent to has used its counters. All at once, because what one was away for is counted
    /// in others' numbers.
    pub(crate) fn take_over(&mut self, now: Instant, predecessor: Predecessor) {
        let Predecessor { legs: found, knew_more, .. } = predecessor;
        let (mut slots, mut gone_on) = (Vec::new(), Vec::new());
        let mut records: Vec<RecordAt> = self.retired.records().collect();
        for Found { slot, state, is_incomplete, .. } in &found {
            let Some(index) = self.restore(now, state) else { continue };
            let leg = self.legs.get_mut(index);
            (leg.slot, leg.numbers) = (Some(*slot), None);
            slots.push(*slot);
            // Its own even if it is spent, or others would write into what it gives back when it goes.
            records.extend(state.records());
            if *is_incomplete && leg.browser().is_some() {
                self.spend(index);
                continue;
            }
            gone_on.push((index, state.address));
        }
        records.extend(self.legs.iter().filter_map(|(_, leg)| leg.numbers));
        self.page.take_over(&slots, &records);
        self.retired.write(&mut self.page);
        let others: Vec<LegIndex> =
            self.legs.iter().filter(|(_, leg)| leg.slot.is_none()).map(|(index, _)| index).collect();
        for index in others {
            // Where not all is known that was, the keys of a browser that has them may have been used, and its numbers begin at zero.
            let is_spent = knew_more && self.legs.get(index).browser().is_some_and(|b| b.srtp.is_some());
            self.begin_written(index);
            if is_spent {
                self.spend(index);
            }
        }
        let has_place_for_all = self.legs.iter().all(|(_, leg)| leg.slot.is_some() || leg.security.is_none());
        self.page.complete(has_place_for_all);
        self.counters.restored = gone_on.len() as u64;
        for (index, address) in gone_on {
            self.write_all(index);
            if let Some(address) = address {
                self.take_address(now, index, address);
            }
            // Deafened, or lost, while no relay ran: it has heard all that the predecessor sent, and from here on it misses what is said.
            let leg = self.legs.get(index);
            if leg.route_at.is_none() && !leg.absence.is_away() {
                self.begin_absence(index);
            }
        }
    }

    /// Nothing more is sealed with a browser's keys; signalling sees to it that it gets others.
    fn spend(&mut self, index: LegIndex) {
        let leg = self.legs.get_mut(index);
        leg.key_spent = true;
        let slot = leg.slot;
        if let Some(browser) = leg.browser_mut() {
            browser.srtp = None;
        }
        if let Some(slot) = slot {
            self.page.cannot_go_on(slot);
        }
        self.tell(index);
    }

    /// Nothing when signalling does not know the leg, or gave it another stream or other keys since.
    fn restore(&mut self, now: Instant, state: &LegState) -> Option<LegIndex> {
        let index = *self.by_id.get(&state.id)?;
        let leg = self.legs.get_mut(index);
        let keys = leg.security.as_ref().filter(|_| leg.is_ready()).map(Security::mark);
        if leg.ssrc != state.ssrc || leg.connected || keys != Some(state.security_mark) {
            return None;
        }
        match (leg.security.as_mut()?, &state.security) {
            (Security::Native(native), SecurityState::Native(session)) => native.session.restore(session),
            (Security::Browser(browser), SecurityState::Browser(was)) => browser.restore(now, was),
            _ => return None,
        }
        leg.window = state.window.map(ReplayWindow::from_state).unwrap_or_default();
        leg.rewriter = Rewriter::from_state(now, &state.rewriter);
        leg.absence = Absence::from_state(&state.missed);
        Some(index)
    }
}

impl Leg {
    /// What must not be forgotten of it; nothing while it has no keys, and so nothing was sent.
    #[must_use]
    pub(crate) fn state(&self) -> Option<LegState> {
        let security = self.security.as_ref().filter(|_| self.is_ready())?;
        Some(LegState {
            id: self.id,
            ssrc: self.ssrc,
            security_mark: security.mark(),
            address: self.path.address(),
            window: self.window.state(),
            rewriter: self.rewriter.state(),
            missed: self.absence.state(),
            security: match security {
                Security::Native(native) => SecurityState::Native(native.session.state()),
                Security::Browser(browser) => SecurityState::Browser(browser.state()?),
            },
        })
    }
}

impl Browser {
    fn state(&self) -> Option<BrowserState> {
        let (stream, before) = self.streams();
        let mut streams_before: [Option<Ssrc>; _] = Default::default();
        streams_before.iter_mut().zip(before).for_each(|(place, ssrc)| *place = Some(*ssrc));
        let srtp = self.srtp.as_ref()?.state();
        Some(BrowserState { srtp, stream, streams_before, outgoing: self.outgoing.state() })
    }

    fn restore(&mut self, now: Instant, state: &BrowserState) {
        if let Some(srtp) = &mut self.srtp {
            srtp.restore(state.srtp);
        }
        self.put_streams(state.stream, state.streams_before.iter().flatten().copied().collect());
        self.outgoing.restore(now, &state.outgoing);
    }
}
