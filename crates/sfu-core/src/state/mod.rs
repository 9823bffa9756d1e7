//! What of a leg must not be forgotten when another process takes over: the counters that nonces are made of, what the peer has sent already,
//! and where it is. Keys, rooms and rights come from signalling, as ever.
//!
//! Plain data with one encoding: a head with magic, version, lengths and checksum, a body of fixed length, then records of fixed length. So a
//! page that two processes share can hold it later, a slot a leg and a slot a record.

mod code;

use std::net::SocketAddr;

use rtp_wire::{SeqNo, Ssrc};
use transport::{SessionState, SrtpState, WindowState};

use crate::absence::Missed;
use crate::limits::BROWSER_STREAMS_MAX;
use crate::outgoing::OutgoingState;
use crate::rewrite::RewriterState;

pub use code::{LEG_STATE_BYTES, LEG_STATE_VERSION, RECORD_BYTES, Unreadable};

/// See the module's head. Taken with [`crate::Shard::export_leg`], given back with [`crate::Shard::restore_legs`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LegState {
    pub id: u64,
    pub ssrc: Ssrc,
    /// Tells one security of a leg from another, so that counters never go to keys that are not theirs.
    pub(crate) security_mark: u64,
    pub(crate) address: Option<SocketAddr>,
    /// Of the stream it sends: what was received, and what listeners were made of it.
    pub(crate) window: Option<WindowState>,
    pub(crate) rewriter: RewriterState,
    /// What it was away for.
    pub(crate) missed: Vec<Missed>,
    pub(crate) security: SecurityState,
}

// Most are native, and there is one a leg.
#[allow(clippy::large_enum_variant)]
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SecurityState {
    Native(SessionState),
    Browser(BrowserState),
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct BrowserState {
    pub srtp: SrtpState,
    /// The stream it sends, and the ones it sent before.
    pub stream: Option<Ssrc>,
    pub streams_before: [Option<Ssrc>; BROWSER_STREAMS_MAX],
    /// The streams it was sent.
    pub outgoing: Vec<OutgoingState>,
}

impl LegState {
    /// As if the leg had been sent so many more packets of everything: for a state that was taken some time before its process ended. The peer
    /// sees loss, and no number twice. More than 2^15 would be more than a receiver can follow (RFC 3711 section 3.3.1).
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

    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        code::write(self)
    }

    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Unreadable> {
        code::read(bytes)
    }
}
