//! A leg's state taken out of one shard and put into another, which has heard of the leg from signalling.

use std::time::Instant;

use rtp_wire::Ssrc;
use transport::ReplayWindow;

use crate::absence::Absence;
use crate::browser::Browser;
use crate::leg::LegIndex;
use crate::rewrite::Rewriter;
use crate::security::Security;
use crate::shard::Shard;
use crate::state::{BrowserState, LegState, SecurityState};

/// Why a leg does not go on where it stopped. It begins anew then, as if nothing had been known of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotRestored {
    #[error("leg {0}: signalling has not said that it exists, or its stream is another")]
    Unknown(u64),
    #[error("leg {0}: it has other keys, or none yet")]
    OtherKeys(u64),
    #[error("leg {0}: it has been sent to already, and so its counters are in use")]
    InUse(u64),
}

impl Shard {
    /// What must not be forgotten of a leg; nothing of one that does not exist or has no keys.
    #[must_use]
    pub fn export_leg(&self, id: u64) -> Option<LegState> {
        let leg = self.legs.get(*self.by_id.get(&id)?);
        let security = leg.security.as_ref().filter(|_| leg.is_ready())?;
        Some(LegState {
            id,
            ssrc: leg.ssrc,
            security_mark: security.mark(),
            address: leg.path.address(),
            window: leg.window.state(),
            rewriter: leg.rewriter.state(),
            missed: leg.absence.state(),
            security: match security {
                Security::Native(native) => SecurityState::Native(native.session.state()),
                Security::Browser(browser) => SecurityState::Browser(browser.state()?),
            },
        })
    }

    /// Goes on with legs where another shard stopped. To be called after the snapshot and before any datagram, because a leg that has been sent
    /// to has used its counters. All at once, because what one was away for is counted in others' numbers.
    ///
    /// The good ones are taken even when others are refused; those come back, and begin anew.
    pub fn restore_legs(&mut self, now: Instant, states: &[LegState]) -> Vec<NotRestored> {
        let mut refused = Vec::new();
        let mut restored: Vec<(LegIndex, &LegState)> = Vec::new();
        for state in states {
            match self.restore_counters(now, state) {
                Ok(index) => restored.push((index, state)),
                Err(reason) => refused.push(reason),
            }
        }
        for (index, state) in restored {
            if let Some(address) = state.address {
                self.take_address(now, index, address);
            }
        }
        refused
    }

    fn restore_counters(&mut self, now: Instant, state: &LegState) -> Result<LegIndex, NotRestored> {
        let index = *self.by_id.get(&state.id).ok_or(NotRestored::Unknown(state.id))?;
        let leg = self.legs.get_mut(index);
        if leg.ssrc != state.ssrc {
            return Err(NotRestored::Unknown(state.id));
        }
        if leg.connected {
            return Err(NotRestored::InUse(state.id));
        }
        let ready = leg.is_ready();
        match (&mut leg.security, &state.security) {
            (Some(security), _) if !ready || security.mark() != state.security_mark => {
                return Err(NotRestored::OtherKeys(state.id));
            }
            (Some(Security::Native(native)), SecurityState::Native(session)) => {
                native.session.restore(session)
            }
            (Some(Security::Browser(browser)), SecurityState::Browser(was)) => browser.restore(now, was),
            _ => return Err(NotRestored::OtherKeys(state.id)),
        }
        leg.window = state.window.map(ReplayWindow::from_state).unwrap_or_default();
        leg.rewriter = Rewriter::from_state(now, &state.rewriter);
        leg.absence = Absence::from_state(&state.missed);
        Ok(index)
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
