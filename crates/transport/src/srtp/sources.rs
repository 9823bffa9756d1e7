//! Which RTCP packets of the peer have been seen.
//!
//! Each of the peer's SSRCs counts its RTCP packets by itself (RFC 3711 section 3.2.3 has a context for every SSRC, and
//! browsers do so), so one window for all of them would take a quiet source's reports for replays of a busy one's.

use rtp_wire::{SeqNo, Ssrc};

use crate::replay::{ReplayWindow, Replayed};

/// So many sources of RTCP are told apart at a time: a microphone, a camera and a screen in three sizes each, and one
/// more. When another one is heard, the one that was silent for longest is forgotten, and its old packets would count
/// once more; a bound that refused instead would make a long call deaf.
pub const RTCP_SOURCES_MAX: usize = 8;

/// A source of RTCP and which of its packets were seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RtcpSource {
    pub ssrc: Ssrc,
    pub window: ReplayWindow,
}

/// The source heard last stands first, and no hole is between two of them.
#[derive(Debug, Default)]
pub(super) struct RtcpSources(pub [Option<RtcpSource>; RTCP_SOURCES_MAX]);

impl RtcpSources {
    pub fn check(&self, ssrc: Ssrc, index: u32) -> Result<(), Replayed> {
        match self.0.iter().flatten().find(|source| source.ssrc == ssrc) {
            Some(source) => source.window.check(SeqNo(u64::from(index))),
            None => Ok(()),
        }
    }

    /// Only for a packet that authenticated.
    pub fn commit(&mut self, ssrc: Ssrc, index: u32) {
        let known = |source: &Option<RtcpSource>| source.is_none_or(|source| source.ssrc == ssrc);
        let at = self.0.iter().position(known).unwrap_or(RTCP_SOURCES_MAX - 1);
        self.0[..=at].rotate_right(1);
        let known = self.0[0].filter(|source| source.ssrc == ssrc);
        let mut source = known.unwrap_or(RtcpSource { ssrc, window: ReplayWindow::new() });
        source.window.commit(SeqNo(u64::from(index)));
        self.0[0] = Some(source);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(sources: &mut RtcpSources, ssrc: u32, index: u32) -> bool {
        let fresh = sources.check(Ssrc(ssrc), index).is_ok();
        if fresh {
            sources.commit(Ssrc(ssrc), index);
        }
        fresh
    }

    #[test]
    fn every_source_counts_by_itself() {
        let mut sources = RtcpSources::default();
        assert!(take(&mut sources, 1, 1000) && take(&mut sources, 2, 0) && take(&mut sources, 1, 1001));
        assert!(take(&mut sources, 2, 1) && take(&mut sources, 2, 5) && take(&mut sources, 2, 4));
        assert!(!take(&mut sources, 1, 1000) && !take(&mut sources, 2, 0) && !take(&mut sources, 2, 4));
        assert!(!take(&mut sources, 1, 1001 - 128), "too old to tell");
    }

    #[test]
    fn the_source_silent_for_longest_is_forgotten() {
        let mut sources = RtcpSources::default();
        let max = RTCP_SOURCES_MAX as u32;
        for ssrc in 0..max {
            assert!(take(&mut sources, ssrc, 7));
        }
        assert!(take(&mut sources, 0, 8), "and so 1 is the one silent for longest");
        assert!(take(&mut sources, max, 7));
        for ssrc in (0..=max).filter(|ssrc| *ssrc != 1) {
            assert!(!take(&mut sources, ssrc, 7), "{ssrc} is remembered");
        }
        assert!(take(&mut sources, 1, 7));
    }
}
