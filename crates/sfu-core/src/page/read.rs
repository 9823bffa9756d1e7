//! From the words of a page to what its last writer knew.

use std::net::{Ipv6Addr, SocketAddr, SocketAddrV6};

use rtp_wire::{RtpTime, SeqNo, Ssrc};
use sfu_wire::page::{HEAD, HEAD_AT};
use transport::{NonceState, ReplayWindow, RtcpSource, SessionState, SrtpState, WindowState};

use super::cells::Cells;
use super::write::*;
use super::{FULL_AT, Page, RECORDS_AT, RecordAt, SLOTS_AT, SlotAt};
use crate::absence::Missed;
use crate::limits::{ABSENCES_MAX, BROWSER_STREAMS_MAX, OUTGOING_STREAMS_MAX, TORN_JUMP};
use crate::outgoing::OutgoingState;
use crate::retired::RetiredState;
use crate::rewrite::{Input, RewriterState};
use crate::state::{BrowserState, LegState, SecurityState};

/// No number gets here within the life of anything, and from here on numbers can still be added.
const NUMBER_END: u64 = 1 << 62;

/// What a page says of the relay that wrote it last.
#[derive(Debug, Default)]
pub(crate) struct Predecessor {
    pub legs: Vec<Found>,
    /// Streams whose legs were gone.
    pub retired: Vec<RetiredState>,
    /// There were legs that it says nothing of, because it is of another version or had no place for all of them.
    pub knew_more: bool,
}

#[derive(Debug, PartialEq)]
pub(crate) struct Found {
    pub slot: SlotAt,
    pub state: LegState,
    /// There were streams of the leg that nothing is written of.
    pub is_incomplete: bool,
    /// Its writer died while writing, and so it was moved on.
    pub is_torn: bool,
}

pub fn predecessor(page: &Page) -> Predecessor {
    if page.slots.end == 0 {
        return Predecessor::default();
    }
    match page.cells.get(HEAD_AT) {
        0 => Predecessor::default(),
        HEAD => read(page),
        _ => Predecessor { knew_more: true, ..Predecessor::default() },
    }
}

fn read(page: &Page) -> Predecessor {
    let used = |at, end: u32| (page.cells.get(at) as u32).min(end);
    let slots = used(SLOTS_AT, page.slots.end);
    let (mut legs, mut retired) = (Vec::new(), Vec::new());
    // Of which leg each slot is.
    let mut of_slot = vec![None; slots as usize];
    for slot in 0..slots {
        if let Some(found) = leg(page, SlotAt(slot)) {
            of_slot[slot as usize] = Some(legs.len());
            legs.push(found);
        }
    }
    for record in 0..used(RECORDS_AT, page.records.end) {
        let at = page.record(RecordAt(record));
        let ((owner, ssrc), record) = (halves(page.cells.get(at + OWNER_AT)), RecordAt(record));
        if owner == NOBODY {
            retired.extend(gone(page.cells, at, record, Ssrc(ssrc)));
        } else if let Some(leg) = owner.checked_sub(1).and_then(|slot| *of_slot.get(slot as usize)?) {
            take_record(page.cells, at, record, Ssrc(ssrc), &mut legs[leg]);
        }
    }
    for Found { state, is_torn, .. } in &mut legs {
        state.missed.sort_by_key(|missed| missed.ssrc);
        if let SecurityState::Browser(browser) = &mut state.security {
            browser.outgoing.sort_by_key(|stream| stream.ssrc);
        }
        if *is_torn {
            state.move_on(TORN_JUMP);
        }
    }
    Predecessor { legs, retired, knew_more: page.cells.get(FULL_AT) != 0 }
}

/// A record of nobody's.
fn gone(cells: Cells, at: usize, record: RecordAt, ssrc: Ssrc) -> Option<RetiredState> {
    let (room, highest_out) = (cells.get(at + OFFSET_AT), seq(cells.get(at + HIGHEST_AT))?);
    let last_time = RtpTime(cells.get(at + SUMS_AT) as u32);
    let is_retired = cells.get(at + KIND_AT) == RETIRED;
    is_retired.then_some(RetiredState { ssrc, room, highest_out, last_time, record })
}

/// Nothing of a slot that is free, or says what cannot be.
pub fn leg(page: &Page, slot: SlotAt) -> Option<Found> {
    let (cells, at) = (page.cells, page.slot(slot));
    let used = cells.get(at + USED_AT);
    let (body, is_body_torn) = cells.read::<BODY_WORDS>(at + BODY_TURN_AT, at + BODY_AT);
    let sent = cells.get(at + SENT_AT);
    let flags = body[0];
    let (security, is_peer_torn) = match used & !INCOMPLETE {
        NATIVE => {
            let salt = [cells.get(at + SALT_AT), cells.get(at + SALT_AT + 1)];
            (SecurityState::Native(session(&body, salt)?.later(sent)), false)
        }
        BROWSER => {
            let (peer, is_torn) = cells.read::<PEER_WORDS>(at + PEER_TURN_AT, at + PEER_AT);
            (SecurityState::Browser(browser(&peer, u32::try_from(sent).ok()?)), is_torn)
        }
        _ => return None,
    };
    let state = LegState {
        id: cells.get(at + ID_AT),
        ssrc: Ssrc(cells.get(at + SSRC_AT) as u32),
        security_mark: cells.get(at + MARK_AT),
        address: address(&body),
        window: window(&body[3..6], flags & HAS_WINDOW)?,
        rewriter: rewriter(&body)?,
        missed: Vec::new(),
        security,
    };
    let is_incomplete = used & INCOMPLETE != 0;
    Some(Found { slot, state, is_incomplete, is_torn: is_body_torn || is_peer_torn })
}

fn session(body: &[u64; BODY_WORDS], salt: [u64; 2]) -> Option<SessionState> {
    let flags = body[0];
    let (first, left) = halves(body[11]);
    let nonces = NonceState {
        first,
        next: first,
        left,
        early: (flags & HAS_EARLY != 0).then(|| halves(body[13])),
        peer: (flags & HAS_PEER != 0).then_some(body[12] as u32),
    };
    let counters_seen =
        [window(&body[14..17], flags & HAS_NEWEST)?, window(&body[17..20], flags & HAS_EARLIER)?];
    let salt = (u128::from(salt[0]) << 64 | u128::from(salt[1])).to_be_bytes();
    Some(SessionState { nonces, salt, long_used: 0, counters_seen })
}

fn browser(peer: &[u64; PEER_WORDS], next_rtcp: u32) -> BrowserState {
    let mut srtp = SrtpState { next_rtcp, ..SrtpState::default() };
    for (source, words) in srtp.rtcp_sources.iter_mut().zip(peer.chunks(SOURCE_WORDS)) {
        let highest = SeqNo((words[0] & !HAS_SOURCE) >> 32);
        let state = WindowState { highest, seen: seen(words) };
        let window = ReplayWindow::from_state(state);
        *source = (words[0] & HAS_SOURCE != 0).then_some(RtcpSource { ssrc: Ssrc(words[0] as u32), window });
    }
    let value = |at: usize| (peer[STREAMS_AT + at / 2] >> (32 * (at % 2))) as u32;
    let flags = value(0);
    let stream = |n: usize| (flags >> n & 1 == 1).then(|| Ssrc(value(n + 1)));
    let streams_before: [_; BROWSER_STREAMS_MAX] = std::array::from_fn(|n| stream(n + 1));
    BrowserState { srtp, stream: stream(0), streams_before, outgoing: Vec::new() }
}

fn address(body: &[u64; BODY_WORDS]) -> Option<SocketAddr> {
    let ip = Ipv6Addr::from(u128::from(body[1]) << 64 | u128::from(body[2]));
    let port = (body[0] >> PORT_SHIFT) as u16;
    let address = match body[0] & IS_IPV4 {
        0 => SocketAddrV6::new(ip, port, 0, (body[0] >> SCOPE_SHIFT) as u32).into(),
        _ => SocketAddr::from((ip.to_ipv4_mapped()?, port)),
    };
    (body[0] & HAS_ADDRESS != 0).then_some(address)
}

fn rewriter(body: &[u64; BODY_WORDS]) -> Option<RewriterState> {
    let input = match body[0] & INPUT_MASK {
        0 => Input::Fresh,
        1 => Input::Cut,
        2 => Input::Flowing,
        _ => return None,
    };
    let [anchor_in, anchor_out, highest_in, highest_out] = [body[6], body[7], body[8], body[9]].map(seq);
    let (time_offset, last_time) = halves(body[10]);
    let state = RewriterState {
        input,
        anchor_in: anchor_in?,
        anchor_out: anchor_out?,
        highest_in: highest_in?,
        highest_out: highest_out?,
        time_offset,
        last_time: (body[0] & HAS_TIME != 0).then_some(RtpTime(last_time)),
    };
    (state.anchor_in <= state.highest_in && state.anchor_out <= state.highest_out).then_some(state)
}

/// A record of a leg's; one that says what cannot be is none.
fn take_record(cells: Cells, at: usize, record: RecordAt, ssrc: Ssrc, of: &mut Found) {
    let (highest, offset) = (seq(cells.get(at + HIGHEST_AT)), cells.get(at + OFFSET_AT));
    let sums = cells.get(at + SUMS_AT);
    let record = Some(record);
    match (cells.get(at + KIND_AT), highest, &mut of.state.security) {
        (OUTGOING, Some(highest), SecurityState::Browser(browser))
            if browser.outgoing.len() < OUTGOING_STREAMS_MAX =>
        {
            let (packets, octets) = halves(sums);
            browser.outgoing.push(OutgoingState { ssrc, offset, highest, packets, octets, record });
        }
        (kind @ (MISSED | AWAY), Some(left_at), _) if of.state.missed.len() < ABSENCES_MAX => {
            let Some(floor) = seq(offset) else { return };
            let left_at = (kind == AWAY).then_some(left_at);
            of.state.missed.push(Missed { ssrc, left_at, count: sums, floor, record });
        }
        (OUTGOING, ..) => of.is_incomplete = true,
        _ => {}
    }
}

/// Nothing where there is none; nothing at all where it cannot be.
#[allow(clippy::option_option)]
fn window(words: &[u64], has: u64) -> Option<Option<WindowState>> {
    let highest = seq(words[0])?;
    Some((has != 0).then_some(WindowState { highest, seen: seen(words) }))
}

fn seen(words: &[u64]) -> u128 {
    u128::from(words[2]) << 64 | u128::from(words[1])
}

fn seq(word: u64) -> Option<SeqNo> {
    (word < NUMBER_END).then_some(SeqNo(word))
}

fn halves(word: u64) -> (u32, u32) {
    ((word >> 32) as u32, word as u32)
}
