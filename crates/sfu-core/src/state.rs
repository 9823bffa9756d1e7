//! What of a leg must not be forgotten when another process takes over: the counters that nonces are made of, what the peer has sent already,
//! and where it is. Keys, rooms and rights come from signalling, as ever. How it is written down is [`crate::page`]'s.

use std::net::SocketAddr;

use rtp_wire::{SeqNo, Ssrc};
use transport::{SessionState, SrtpState, WindowState};

use crate::absence::Missed;
use crate::limits::BROWSER_STREAMS_MAX;
use crate::outgoing::OutgoingState;
use crate::page::RecordAt;
use crate::rewrite::RewriterState;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LegState {
    pub id: u64,
    pub ssrc: Ssrc,
    /// Tells one security of a leg from another, so that counters never go to keys that are not theirs.
    pub security_mark: u64,
    pub address: Option<SocketAddr>,
    /// Of the stream it sends: what was received, and what listeners were made of it.
    pub window: Option<WindowState>,
    pub rewriter: RewriterState,
    /// What it was away for.
    pub missed: Vec<Missed>,
    pub security: SecurityState,
}

// Most are native, and there is one a leg.
#[allow(clippy::large_enum_variant)]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecurityState {
    Native(SessionState),
    Browser(BrowserState),
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BrowserState {
    pub srtp: SrtpState,
    /// The stream it sends, and the ones it sent before.
    pub stream: Option<Ssrc>,
    pub streams_before: [Option<Ssrc>; BROWSER_STREAMS_MAX],
    /// The streams it was sent.
    pub outgoing: Vec<OutgoingState>,
}

impl LegState {
    /// As if the leg had been sent so many more packets of everything. The peer sees loss, and no number twice. More than 2^15 would be more
    /// than a receiver can follow (RFC 3711 section 3.3.1).
    pub fn move_on(&mut self, packets: u16) {
        let packets = packets.min(1 << 15);
        match &mut self.security {
            SecurityState::Native(session) => {
                session.nonces.move_on(u32::from(packets));
                session.long_used = session.long_used.saturating_add(u64::from(packets));
            }
            SecurityState::Browser(browser) => {
                browser.srtp.next_rtcp = browser.srtp.next_rtcp.saturating_add(u32::from(packets));
                for stream in &mut browser.outgoing {
                    stream.highest = SeqNo(stream.highest.0 + u64::from(packets));
                }
            }
        }
    }

    /// Where its streams are written.
    pub fn records(&self) -> impl Iterator<Item = RecordAt> {
        let outgoing = match &self.security {
            SecurityState::Native(_) => &[][..],
            SecurityState::Browser(browser) => &browser.outgoing,
        };
        let missed = self.missed.iter().filter_map(|missed| missed.record);
        outgoing.iter().filter_map(|stream| stream.record).chain(missed)
    }
}
