//! The encoding of a [`LegState`]: little-endian, no gaps that depend on values, absent things as zeros behind a zero flag.

use std::net::{Ipv6Addr, SocketAddr};

use rtp_wire::{RtpTime, SeqNo, Ssrc};
use transport::{NonceState, ReplayWindow, RtcpSource, SessionState, SrtpState, WindowState};

use super::{BrowserState, LegState, SecurityState};
use crate::absence::Missed;
use crate::limits::{ABSENCES_MAX, BROWSER_STREAMS_MAX, OUTGOING_STREAMS_MAX};
use crate::outgoing::OutgoingState;
use crate::rewrite::{Input, RewriterState};

const MAGIC: [u8; 4] = *b"GLEG";
/// Raised with every change of the encoding. There is no reading of another version: whoever takes over from one begins anew.
pub const LEG_STATE_VERSION: u16 = 1;
/// Magic, version, kind, checksum, two numbers of records.
const HEAD_BYTES: usize = 4 + 2 + 2 + 4 + 4 + 4;
const CHECKSUM_AT: usize = 8;
/// Everything but the records.
pub const LEG_STATE_BYTES: usize = HEAD_BYTES + 531;
/// One of them: a stream that the leg was sent, or one that it was away for.
pub const RECORD_BYTES: usize = 32;

/// No number gets here within the life of anything, and from here on numbers can still be added.
const NUMBER_END: u64 = 1 << 62;

const NATIVE: u16 = 1;
const BROWSER: u16 = 2;

/// Why bytes are not the state of a leg.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    #[error("not the state of a leg")]
    Magic,
    #[error("version {0}, not {LEG_STATE_VERSION}")]
    Version(u16),
    #[error("not as long as it says")]
    Length,
    #[error("written in part, or damaged")]
    Checksum,
    #[error("says what cannot be")]
    Content,
}

pub fn write(state: &LegState) -> Vec<u8> {
    let (kind, outgoing): (u16, &[OutgoingState]) = match &state.security {
        SecurityState::Native(_) => (NATIVE, &[]),
        SecurityState::Browser(browser) => (BROWSER, &browser.outgoing),
    };
    let records = outgoing.len() + state.missed.len();
    let mut out = Out(Vec::with_capacity(LEG_STATE_BYTES + records * RECORD_BYTES));
    out.put(&MAGIC);
    out.put(&LEG_STATE_VERSION.to_le_bytes());
    out.put(&kind.to_le_bytes());
    out.u32(0);
    out.u32(outgoing.len() as u32);
    out.u32(state.missed.len() as u32);
    write_body(state, &mut out);
    debug_assert_eq!(out.0.len(), LEG_STATE_BYTES);
    outgoing.iter().for_each(|stream| write_outgoing(stream, &mut out));
    state.missed.iter().for_each(|missed| write_missed(missed, &mut out));
    let checksum = checksum(&out.0);
    out.0[CHECKSUM_AT..CHECKSUM_AT + 4].copy_from_slice(&checksum.to_le_bytes());
    out.0
}

pub fn read(bytes: &[u8]) -> Result<LegState, Unreadable> {
    if bytes.get(..4) != Some(&MAGIC) {
        return Err(Unreadable::Magic);
    }
    let mut head = In(&bytes[4..]);
    let version = u16::from_le_bytes(head.array().ok_or(Unreadable::Length)?);
    if version != LEG_STATE_VERSION {
        return Err(Unreadable::Version(version));
    }
    let (kind, written, outgoing, missed) = head.head().ok_or(Unreadable::Length)?;
    if outgoing > OUTGOING_STREAMS_MAX || missed > ABSENCES_MAX {
        return Err(Unreadable::Content);
    }
    if bytes.len() != LEG_STATE_BYTES + (outgoing + missed) * RECORD_BYTES {
        return Err(Unreadable::Length);
    }
    if written != checksum(bytes) {
        return Err(Unreadable::Checksum);
    }
    read_body(&mut In(&bytes[HEAD_BYTES..]), kind, outgoing, missed).ok_or(Unreadable::Content)
}

/// FNV-1a over everything but the checksum itself: against a write that was cut off, not against anybody.
fn checksum(bytes: &[u8]) -> u32 {
    let covered = bytes[..CHECKSUM_AT].iter().chain(&bytes[CHECKSUM_AT + 4..]);
    covered.fold(0x811C_9DC5, |sum, byte| (sum ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

/// Everything has its place for either kind; what the other kind has is zero.
fn write_body(state: &LegState, out: &mut Out) {
    let (mut session, mut browser) = (&SessionState::default(), &BrowserState::default());
    match &state.security {
        SecurityState::Native(state) => session = state,
        SecurityState::Browser(state) => browser = state,
    }
    out.u64(state.id);
    out.u32(state.ssrc.0);
    out.u64(state.security_mark);
    out.flag(state.address.is_some());
    let address = state.address.unwrap_or(SocketAddr::from(([0; 16], 0)));
    // IPv4 addresses and IPv6 ones that stand for them are different things to a socket.
    out.flag(address.is_ipv4());
    let ip = match address {
        SocketAddr::V4(address) => address.ip().to_ipv6_mapped(),
        SocketAddr::V6(address) => *address.ip(),
    };
    out.put(&ip.octets());
    out.put(&address.port().to_le_bytes());
    out.window(state.window);
    write_rewriter(&state.rewriter, out);
    write_session(session, out);
    out.u32(browser.srtp.next_rtcp);
    for source in browser.srtp.rtcp_sources {
        out.u32(source.map_or(0, |source| source.ssrc.0));
        out.window(source.and_then(|source| source.window.state()));
    }
    [browser.stream].iter().chain(&browser.streams_before).for_each(|stream| {
        out.flag(stream.is_some());
        out.u32(stream.map_or(0, |ssrc| ssrc.0));
    });
}

fn read_body(body: &mut In<'_>, kind: u16, outgoing: usize, missed: usize) -> Option<LegState> {
    let (id, ssrc, security_mark) = (body.u64()?, Ssrc(body.u32()?), body.u64()?);
    let (has_address, is_ipv4) = (body.flag()?, body.flag()?);
    let ip = Ipv6Addr::from(body.array::<16>()?);
    let port = u16::from_le_bytes(body.array()?);
    let address = match is_ipv4 {
        true => SocketAddr::from((ip.to_ipv4_mapped()?, port)),
        false => SocketAddr::from((ip, port)),
    };
    let window = body.window()?;
    let rewriter = read_rewriter(body)?;
    let session = read_session(body)?;
    let mut srtp = SrtpState { next_rtcp: body.u32()?, ..SrtpState::default() };
    for source in &mut srtp.rtcp_sources {
        let (ssrc, window) = (Ssrc(body.u32()?), body.window()?);
        *source = window.map(|window| RtcpSource { ssrc, window: ReplayWindow::from_state(window) });
    }
    let stream = body.stream()?;
    let mut streams_before = [None; BROWSER_STREAMS_MAX];
    for before in &mut streams_before {
        *before = body.stream()?;
    }
    let outgoing = (0..outgoing).map(|_| read_outgoing(body)).collect::<Option<Vec<_>>>()?;
    let missed = (0..missed).map(|_| read_missed(body)).collect::<Option<Vec<_>>>()?;
    let sorted = outgoing.is_sorted_by(|a, b| a.ssrc < b.ssrc) && missed.is_sorted_by(|a, b| a.ssrc < b.ssrc);
    let security = match kind {
        NATIVE => SecurityState::Native(session),
        BROWSER => SecurityState::Browser(BrowserState { srtp, stream, streams_before, outgoing }),
        _ => return None,
    };
    let address = has_address.then_some(address);
    sorted.then_some(LegState { id, ssrc, security_mark, address, window, rewriter, missed, security })
}

fn write_rewriter(state: &RewriterState, out: &mut Out) {
    let RewriterState { input, anchor_in, anchor_out, highest_in, highest_out, time_offset, last_time } =
        *state;
    out.u32(match input {
        Input::Fresh => 0,
        Input::Cut => 1,
        Input::Flowing => 2,
    });
    [anchor_in, anchor_out, highest_in, highest_out].iter().for_each(|seq| out.u64(seq.0));
    out.u32(time_offset);
    out.flag(last_time.is_some());
    out.u32(last_time.map_or(0, |time| time.0));
}

fn read_rewriter(body: &mut In<'_>) -> Option<RewriterState> {
    let input = match body.u32()? {
        0 => Input::Fresh,
        1 => Input::Cut,
        2 => Input::Flowing,
        _ => return None,
    };
    let (anchor_in, anchor_out, highest_in, highest_out) =
        (body.seq()?, body.seq()?, body.seq()?, body.seq()?);
    if anchor_in > highest_in || anchor_out > highest_out {
        return None;
    }
    let time_offset = body.u32()?;
    let (has_last, last_time) = (body.flag()?, RtpTime(body.u32()?));
    let last_time = has_last.then_some(last_time);
    Some(RewriterState { input, anchor_in, anchor_out, highest_in, highest_out, time_offset, last_time })
}

fn write_session(state: &SessionState, out: &mut Out) {
    let NonceState { first, next, left, early, peer } = state.nonces;
    [first, next, left].iter().for_each(|number| out.u32(*number));
    out.flag(early.is_some());
    let (early_first, early_end) = early.unwrap_or_default();
    out.u32(early_first);
    out.u32(early_end);
    out.flag(peer.is_some());
    out.u32(peer.unwrap_or_default());
    out.put(&state.salt);
    out.u64(state.long_used);
    state.counters_seen.iter().for_each(|window| out.window(*window));
}

fn read_session(body: &mut In<'_>) -> Option<SessionState> {
    let (first, next, left) = (body.u32()?, body.u32()?, body.u32()?);
    let (has_early, early) = (body.flag()?, (body.u32()?, body.u32()?));
    let (has_peer, peer) = (body.flag()?, body.u32()?);
    let nonces =
        NonceState { first, next, left, early: has_early.then_some(early), peer: has_peer.then_some(peer) };
    let (salt, long_used) = (body.array()?, body.u64()?);
    Some(SessionState { nonces, salt, long_used, counters_seen: [body.window()?, body.window()?] })
}

fn write_outgoing(stream: &OutgoingState, out: &mut Out) {
    out.u32(stream.ssrc.0);
    out.u32(stream.packets);
    out.u32(stream.octets);
    out.u32(0);
    out.u64(stream.offset);
    out.u64(stream.highest.0);
}

fn read_outgoing(body: &mut In<'_>) -> Option<OutgoingState> {
    let (ssrc, packets, octets, _) = (Ssrc(body.u32()?), body.u32()?, body.u32()?, body.u32()?);
    Some(OutgoingState { ssrc, packets, octets, offset: body.u64()?, highest: body.seq()? })
}

fn write_missed(missed: &Missed, out: &mut Out) {
    out.u32(missed.ssrc.0);
    out.u32(u32::from(missed.left_at.is_some()));
    out.u64(missed.left_at.unwrap_or_default().0);
    out.u64(missed.count);
    out.u64(missed.floor.0);
}

fn read_missed(body: &mut In<'_>) -> Option<Missed> {
    let (ssrc, away) = (Ssrc(body.u32()?), body.u32()? != 0);
    let (left_at, count, floor) = (body.seq()?, body.u64()?, body.seq()?);
    Some(Missed { ssrc, left_at: away.then_some(left_at), count, floor })
}

struct Out(Vec<u8>);

impl Out {
    fn put(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    fn flag(&mut self, value: bool) {
        self.put(&[u8::from(value)]);
    }

    fn u32(&mut self, value: u32) {
        self.put(&value.to_le_bytes());
    }

    fn u64(&mut self, value: u64) {
        self.put(&value.to_le_bytes());
    }

    fn window(&mut self, window: Option<WindowState>) {
        self.flag(window.is_some());
        self.u64(window.map_or(0, |window| window.highest.0));
        self.put(&window.map_or(0, |window| window.seen).to_le_bytes());
    }
}

struct In<'a>(&'a [u8]);

impl In<'_> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*array)
    }

    fn flag(&mut self) -> Option<bool> {
        self.array::<1>().map(|[byte]| byte != 0)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn seq(&mut self) -> Option<SeqNo> {
        self.u64().filter(|number| *number < NUMBER_END).map(SeqNo)
    }

    fn window(&mut self) -> Option<Option<WindowState>> {
        let (is, highest, seen) = (self.flag()?, self.seq()?, u128::from_le_bytes(self.array()?));
        Some(is.then_some(WindowState { highest, seen }))
    }

    fn stream(&mut self) -> Option<Option<Ssrc>> {
        let (is, ssrc) = (self.flag()?, Ssrc(self.u32()?));
        Some(is.then_some(ssrc))
    }

    /// Kind, checksum, numbers of records.
    fn head(&mut self) -> Option<(u16, u32, usize, usize)> {
        let (kind, checksum) = (u16::from_le_bytes(self.array()?), self.u32()?);
        Some((kind, checksum, self.u32()? as usize, self.u32()? as usize))
    }
}

#[cfg(test)]
mod tests;
