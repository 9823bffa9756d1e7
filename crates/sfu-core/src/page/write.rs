//! From a leg to its words.

use std::net::SocketAddr;

use rtp_wire::{RtpTime, SeqNo, Ssrc};
use transport::{NonceState, RTCP_SOURCES_MAX, WindowState};

use super::{Page, RecordAt, SlotAt};
use crate::absence::Missed;
use crate::browser::Browser;
use crate::leg::Leg;
use crate::limits::BROWSER_STREAMS_MAX;
use crate::outgoing::OutgoingState;
use crate::rewrite::Input;
use crate::security::Security;

// A slot: what it is, what changes with each packet that is sent, and two parts in two copies.
pub const USED_AT: usize = 0;
pub const ID_AT: usize = 1;
pub const MARK_AT: usize = 2;
pub const SENT_AT: usize = 3;
pub const SSRC_AT: usize = 4;
pub const SALT_AT: usize = 5;
pub const BODY_TURN_AT: usize = 8;
pub const PEER_TURN_AT: usize = 9;
pub const BODY_AT: usize = 16;
pub const BODY_WORDS: usize = 24;
pub const PEER_AT: usize = BODY_AT + 2 * BODY_WORDS;
pub const PEER_WORDS: usize = 40;
const _: () = assert!(PEER_AT + 2 * PEER_WORDS <= super::SLOT_WORDS);

pub const NATIVE: u64 = 1;
pub const BROWSER: u64 = 2;
/// Beside them: a stream that it is sent has no record, so nobody can go on with it.
pub const INCOMPLETE: u64 = 1 << 8;

// The body's first word: what there is of it.
pub const INPUT_MASK: u64 = 3;
pub const HAS_WINDOW: u64 = 1 << 2;
pub const HAS_TIME: u64 = 1 << 3;
pub const HAS_EARLY: u64 = 1 << 4;
pub const HAS_PEER: u64 = 1 << 5;
pub const HAS_NEWEST: u64 = 1 << 6;
pub const HAS_EARLIER: u64 = 1 << 7;
pub const HAS_ADDRESS: u64 = 1 << 8;
pub const IS_IPV4: u64 = 1 << 9;
pub const PORT_SHIFT: u32 = 16;
/// The link that an IPv6 address is of, where it is one's own. Relays that knew nothing of it wrote zero, which is none.
pub const SCOPE_SHIFT: u32 = 32;

/// Beside an index of RTCP: there is such a source.
pub const HAS_SOURCE: u64 = 1 << 63;
/// Words of a source.
pub const SOURCE_WORDS: usize = 3;
/// Where the streams stand behind the sources.
pub const STREAMS_AT: usize = RTCP_SOURCES_MAX * SOURCE_WORDS;
const _: () = assert!(STREAMS_AT + (BROWSER_STREAMS_MAX + 2).div_ceil(2) <= PEER_WORDS);
const _: () = assert!(BROWSER_STREAMS_MAX < 32, "each has its bit");

// A record: whose, of which stream, and what.
pub const OWNER_AT: usize = 0;
pub const KIND_AT: usize = 1;
pub const HIGHEST_AT: usize = 2;
pub const OFFSET_AT: usize = 3;
pub const SUMS_AT: usize = 4;
pub const OUTGOING: u64 = 1;
pub const MISSED: u64 = 2;
/// Missed, and still away.
pub const AWAY: u64 = 3;
/// Of a leg that is gone: nobody's, whose owner is this.
pub const RETIRED: u64 = 4;
pub const NOBODY: u32 = u32::MAX;

impl Page {
    /// Writes a leg into a place of which nothing is to be kept.
    pub fn begin(&self, slot: SlotAt, leg: &Leg) {
        let at = self.slot(slot);
        self.cells.set(at + USED_AT, 0);
        let Some(security) = &leg.security else { return };
        self.cells.set(at + ID_AT, leg.id);
        self.cells.set(at + MARK_AT, security.mark());
        self.cells.set(at + SSRC_AT, leg.ssrc.0.into());
        let kind = match security {
            Security::Native(native) => {
                let [first, second] = halves(&native.session.state().salt);
                self.cells.set(at + SALT_AT, first);
                self.cells.set(at + SALT_AT + 1, second);
                NATIVE
            }
            Security::Browser(browser) => {
                self.peer(slot, browser);
                BROWSER
            }
        };
        self.leg(slot, leg);
        self.cells.set(at + USED_AT, kind);
    }

    /// Everything of a leg that a packet of its own changes, before anybody is sent anything that follows from it.
    #[inline]
    pub fn leg(&self, slot: SlotAt, leg: &Leg) {
        let at = self.slot(slot);
        self.cells.write(at + BODY_TURN_AT, at + BODY_AT, &body(leg));
        // What the peer's first packet does to our counter stands in the body, so that comes first.
        if let Some(security) = &leg.security {
            self.sent(slot, security.progress());
        }
    }

    /// Reads what [`Self::outgoing`] will write, so that it is at hand by then. The result means nothing.
    #[inline]
    pub fn touch_record(&self, record: RecordAt) -> u64 {
        self.cells.get(self.record(record) + HIGHEST_AT)
    }

    /// What a packet that a leg is sent changes of it.
    #[inline]
    pub fn sent(&self, slot: SlotAt, progress: u64) {
        self.cells.set(self.slot(slot) + SENT_AT, progress);
    }

    /// What a browser sends: its streams, and its reports that were seen.
    pub fn peer(&self, slot: SlotAt, browser: &Browser) {
        let mut words = [0; PEER_WORDS];
        let sources = browser.srtp.as_ref().map(|srtp| srtp.state().rtcp_sources).unwrap_or_default();
        for (words, source) in words.chunks_mut(SOURCE_WORDS).zip(sources.iter().flatten()) {
            let Some(WindowState { highest, seen }) = source.window.state() else { continue };
            words[0] = HAS_SOURCE | highest.0 << 32 | u64::from(source.ssrc.0);
            words[1..3].copy_from_slice(&[seen as u64, (seen >> 64) as u64]);
        }
        let (stream, before) = browser.streams();
        let streams = [stream].into_iter().chain(before.iter().copied().map(Some)).enumerate();
        let mut put =
            |at: usize, value: u32| words[STREAMS_AT + at / 2] |= u64::from(value) << (32 * (at % 2));
        let mut flags = 0;
        for (n, Ssrc(ssrc)) in streams.filter_map(|(n, stream)| Some((n, stream?))) {
            put(n + 1, ssrc);
            flags |= 1 << n;
        }
        put(0, flags);
        let at = self.slot(slot);
        self.cells.write(at + PEER_TURN_AT, at + PEER_AT, &words);
    }

    /// A place for a stream that a browser is sent. Without one the leg cannot be gone on with.
    pub fn begin_outgoing(&mut self, slot: SlotAt, stream: &OutgoingState) -> Option<RecordAt> {
        let record = self.take_record();
        match record {
            Some(record) => {
                let at = self.record(record);
                self.cells.set(at + KIND_AT, OUTGOING);
                self.outgoing(record, stream);
                self.cells.set(at + OWNER_AT, owner(slot, stream.ssrc));
            }
            None => self.cannot_go_on(slot),
        }
        record
    }

    /// What is written of a leg is not all that its keys were used for, or nobody knows.
    pub fn cannot_go_on(&self, slot: SlotAt) {
        let at = self.slot(slot) + USED_AT;
        self.cells.set(at, self.cells.get(at) | INCOMPLETE);
    }

    /// Each word by itself, the one first that no packet may fall behind.
    #[inline]
    pub fn outgoing(&self, record: RecordAt, stream: &OutgoingState) {
        let at = self.record(record);
        self.cells.set(at + HIGHEST_AT, stream.highest.0);
        self.cells.set(at + OFFSET_AT, stream.offset);
        self.cells.set(at + SUMS_AT, pair(stream.packets, stream.octets));
    }

    /// A stream whose leg is gone.
    pub fn retired(&mut self, ssrc: Ssrc, room: u64, highest: SeqNo, last_time: RtpTime) -> Option<RecordAt> {
        let record = self.is_open.then(|| self.take_record()).flatten()?;
        let at = self.record(record);
        self.cells.set(at + KIND_AT, RETIRED);
        self.cells.set(at + HIGHEST_AT, highest.0);
        self.cells.set(at + OFFSET_AT, room);
        self.cells.set(at + SUMS_AT, last_time.0.into());
        self.cells.set(at + OWNER_AT, pair(NOBODY, ssrc.0));
        Some(record)
    }

    /// What a leg was away for, in its old place or in one that is looked for.
    pub fn missed(&mut self, slot: SlotAt, missed: &Missed) -> Option<RecordAt> {
        let record = missed.record.or_else(|| self.take_record())?;
        let at = self.record(record);
        // It belongs to nobody until it is whole: what is lost of it costs a jump forwards.
        self.cells.set(at + OWNER_AT, 0);
        self.cells.set(at + KIND_AT, if missed.left_at.is_some() { AWAY } else { MISSED });
        self.cells.set(at + HIGHEST_AT, missed.left_at.map_or(0, |seq| seq.0));
        self.cells.set(at + OFFSET_AT, missed.floor.0);
        self.cells.set(at + SUMS_AT, missed.count);
        self.cells.set(at + OWNER_AT, owner(slot, missed.ssrc));
        Some(record)
    }
}

#[inline]
fn body(leg: &Leg) -> [u64; BODY_WORDS] {
    let mut words = [0; BODY_WORDS];
    let rewriter = leg.rewriter.state();
    let mut flags = match rewriter.input {
        Input::Fresh => 0,
        Input::Cut => 1,
        Input::Flowing => 2,
    };
    if let Some(address) = leg.path.address() {
        // IPv4 addresses and IPv6 ones that stand for them are different things to a socket.
        let (ip, scope) = match address {
            SocketAddr::V4(address) => (address.ip().to_ipv6_mapped(), 0),
            SocketAddr::V6(address) => (*address.ip(), address.scope_id()),
        };
        flags |= HAS_ADDRESS | u64::from(address.port()) << PORT_SHIFT | u64::from(scope) << SCOPE_SHIFT;
        flags |= if address.is_ipv4() { IS_IPV4 } else { 0 };
        words[1..3].copy_from_slice(&halves(&ip.octets()));
    }
    flags |= window(&mut words[3..6], leg.window.state(), HAS_WINDOW);
    words[6] = rewriter.anchor_in.0;
    words[7] = rewriter.anchor_out.0;
    words[8] = rewriter.highest_in.0;
    words[9] = rewriter.highest_out.0;
    words[10] = pair(rewriter.time_offset, rewriter.last_time.map_or(0, |time| time.0));
    flags |= if rewriter.last_time.is_some() { HAS_TIME } else { 0 };
    if let Some(Security::Native(native)) = &leg.security {
        let state = native.session.state();
        let NonceState { first, next, left, early, peer } = state.nonces;
        // How many there are in this run, whatever was used of them: that is in the progress.
        words[11] = pair(first, left.wrapping_add(next.wrapping_sub(first)));
        words[12] = u64::from(peer.unwrap_or_default());
        let (early_first, early_end) = early.unwrap_or_default();
        words[13] = pair(early_first, early_end);
        flags |= if early.is_some() { HAS_EARLY } else { 0 };
        flags |= if peer.is_some() { HAS_PEER } else { 0 };
        let [newest, earlier] = state.counters_seen;
        flags |= window(&mut words[14..17], newest, HAS_NEWEST);
        flags |= window(&mut words[17..20], earlier, HAS_EARLIER);
    }
    words[0] = flags;
    words
}

#[inline]
fn window(words: &mut [u64], window: Option<WindowState>, flag: u64) -> u64 {
    let Some(WindowState { highest, seen }) = window else { return 0 };
    words.copy_from_slice(&[highest.0, seen as u64, (seen >> 64) as u64]);
    flag
}

fn owner(slot: SlotAt, ssrc: Ssrc) -> u64 {
    pair(slot.0 + 1, ssrc.0)
}

#[inline]
fn pair(high: u32, low: u32) -> u64 {
    u64::from(high) << 32 | u64::from(low)
}

fn halves(bytes: &[u8; 16]) -> [u64; 2] {
    let all = u128::from_be_bytes(*bytes);
    [(all >> 64) as u64, all as u64]
}
