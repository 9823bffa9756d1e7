//! A browser's leg on the wire: ICE checks answered, DTLS carried to signalling and back, reports sent.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rtp_wire::Ssrc;
use rtp_wire::rtcp::{self, Rtcp};
use rtp_wire::stun::StunMessage;
use sfu_wire::Dtls;
use transport::{IceReject, ice};

use crate::counters::{DropReason, Fate};
use crate::forward::RELAY_SSRC;
use crate::known::Changes;
use crate::leg::LegIndex;
use crate::limits::{BROWSER_REPORTS_MAX, CONSENT, DTLS_BYTES_MAX, DTLS_WAITING_MAX, NACK_NUMBERS_MAX};
use crate::shard::Shard;
use crate::sink::Sink;

impl Shard {
    /// An ICE check (RFC 8445 section 7.3) of a browser, which is also how it keeps consenting (RFC 7675). Until its password has been seen
    /// to be known there is no answer.
    pub(crate) fn handle_stun(
        &mut self,
        now: Instant,
        from: SocketAddr,
        datagram: &[u8],
        sink: &mut impl Sink,
    ) -> Result<Fate, DropReason> {
        let message = StunMessage::parse(datagram).map_err(|_| DropReason::Malformed)?;
        if message.is_binding_indication() {
            return self.known_address(now, from);
        }
        let ufrag = ice::local_ufrag(&message).ok_or(DropReason::Unsupported)?;
        let index = *self.by_ufrag.get(ufrag).ok_or(DropReason::UnknownSource)?;
        self.busy_with(index);
        let browser = self.legs.get(index).browser().expect("only browsers have a user name fragment");
        let check = match browser.agent.verify(&message) {
            Ok(check) => check,
            Err(reject) => {
                let answer = browser.agent.write_error(message.transaction_id(), &reject, sink.slot());
                if let Some(len) = answer.expect("a slot holds any datagram") {
                    self.send(from, len, sink);
                }
                return Err(match reject {
                    IceReject::NotABindingRequest => DropReason::Unsupported,
                    IceReject::UnknownAttribute(_) | IceReject::RoleConflict => DropReason::Malformed,
                    _ => DropReason::Unauthenticated,
                });
            }
        };
        let seen = SocketAddr::new(from.ip().to_canonical(), from.port());
        let len = browser.agent.write_success(&check, seen, sink.slot()).expect("a slot holds any datagram");
        self.send(from, len, sink);
        let first_at = self.note_check(now, index, from);
        let path = &mut self.legs.get_mut(index).path;
        match path.address() {
            Some(address) if address == from => path.heard(now),
            None => self.take_address(now, index, from),
            Some(_) if check.nominated && path.is_choice(now, from, first_at) => {
                self.take_address(now, index, from)
            }
            Some(_) => {}
        }
        Ok(Fate::Consumed)
    }

    /// Remembers where a browser's check came from; says when the first one did.
    fn note_check(&mut self, now: Instant, index: LegIndex, from: SocketAddr) -> Instant {
        let browser = self.legs.get_mut(index).browser_mut().expect("only browsers have checks answered");
        let (first_at, forgotten) = browser.checked.note(now, from);
        forget_checks(&mut self.by_check, &mut self.changes, index, forgotten.into_iter());
        let holder = self.by_check.get(&from).and_then(|holder| self.legs.get(*holder).browser());
        if holder.is_none_or(|holder| !holder.checked.is_held(now, from))
            && self.by_check.insert(from, index).is_none()
        {
            self.changes.address(from);
        }
        first_at
    }

    /// A part of a handshake, for signalling. Only from where a check was answered, so that nobody who was not given our password can make
    /// signalling work, and only so many.
    ///
    /// A browser begins its handshake where our answers arrived, which no check can tell: a path may carry them to us and nothing back. So until
    /// there are keys, where it comes from is where the browser is.
    pub(crate) fn handle_dtls(
        &mut self,
        now: Instant,
        from: SocketAddr,
        datagram: &[u8],
    ) -> Result<Fate, DropReason> {
        let index = self.by_address.get(&from).or_else(|| self.by_check.get(&from)).copied();
        let index = index.ok_or(DropReason::UnknownSource)?;
        self.busy_with(index);
        let leg = self.legs.get_mut(index);
        let (id, address) = (leg.id, leg.path.address());
        let browser = leg.browser_mut().ok_or(DropReason::Unsupported)?;
        let decides = browser.srtp.is_none();
        if !decides && address != Some(from) {
            return Err(DropReason::UnknownSource);
        }
        if datagram.len() > DTLS_BYTES_MAX {
            return Err(DropReason::TooLong);
        }
        if !browser.dtls.admit(now) || self.dtls.len() >= DTLS_WAITING_MAX {
            return Err(DropReason::TooFast);
        }
        self.dtls.push_back(Dtls { id, datagram: datagram.to_vec() });
        if decides {
            self.take_address(now, index, from);
        }
        Ok(Fate::Consumed)
    }

    /// A part of a handshake, from signalling. Nobody waits for one that cannot be sent.
    pub(crate) fn send_dtls(&mut self, dtls: &Dtls, sink: &mut impl Sink) {
        let Some(index) = self.by_id.get(&dtls.id).copied() else { return };
        let leg = self.legs.get(index);
        let (Some(_), Some(address)) = (leg.browser(), leg.path.address()) else { return };
        let slot = sink.slot();
        let Some(slot) = slot.get_mut(..dtls.datagram.len()) else { return };
        slot.copy_from_slice(&dtls.datagram);
        self.send(address, dtls.datagram.len(), sink);
    }

    /// What a browser says about media: when its clock was what, for the reports about its stream; what it loses of others', and what of that
    /// it wants once more.
    pub(crate) fn browser_says(
        &mut self,
        now: Instant,
        index: LegIndex,
        compound: &[u8],
        sink: &mut impl Sink,
    ) {
        let middle = (ntp(now.saturating_duration_since(self.started_at)) >> 16) as u32;
        let mut numbers_left = NACK_NUMBERS_MAX;
        for packet in rtcp::packets(compound).map_while(Result::ok) {
            let Some(browser) = self.legs.get_mut(index).browser_mut() else { return };
            match packet {
                Rtcp::SenderReport(report) => {
                    if browser.sends(report.sender) {
                        browser.reception.sender_report(now, report.info.ntp);
                    }
                    report.blocks().for_each(|block| browser.reported(&block, middle));
                }
                Rtcp::ReceiverReport(report) => {
                    report.blocks().for_each(|block| browser.reported(&block, middle));
                }
                Rtcp::Nack(nack) => {
                    let numbers = nack.seqs().take(numbers_left).inspect(|_| numbers_left -= 1);
                    self.send_again(now, index, nack.media(), numbers, sink);
                }
                _ => {}
            }
        }
    }

    /// Sends a browser once more what it lost of a stream in its room.
    fn send_again(
        &mut self,
        now: Instant,
        index: LegIndex,
        ssrc: Ssrc,
        numbers: impl Iterator<Item = u16>,
        sink: &mut impl Sink,
    ) {
        let leg = self.legs.get(index);
        let (listens, room, address) = (leg.route_at.is_some(), leg.room, leg.path.address());
        let sender = self.by_ssrc.get(&ssrc).copied();
        let sender =
            sender.filter(|sender| listens && *sender != index && self.legs.get(*sender).room == room);
        let key = sender.map(|sender| self.legs.key(sender));
        let recent = sender.and_then(|sender| self.legs.get_mut(sender).recent.take());
        let Self { legs, counters, .. } = self;
        let browser = legs.get_mut(index).browser_mut();
        if let (Some(browser), Some(recent), Some(key), Some(address)) = (browser, &recent, key, address) {
            for wire in numbers {
                match browser.send_again(now, (ssrc, key), wire, recent, sink.slot()) {
                    Some(Ok(len)) => {
                        sink.commit(address, len);
                        counters.sent += 1;
                        counters.resent += 1;
                    }
                    Some(Err(_)) => counters.unsealed += 1,
                    None => counters.not_resent += 1,
                }
            }
        } else {
            counters.not_resent += numbers.count() as u64;
        }
        if let Some(sender) = sender {
            self.legs.get_mut(sender).recent = recent;
        }
    }

    /// A sender report for every stream it was sent, so that it can put them on one clock, and what arrives of its own.
    pub(crate) fn report_to_browser(&mut self, now: Instant, index: LegIndex, sink: &mut impl Sink) {
        if !self.legs.get(index).path.heard_within(now, CONSENT) {
            self.lose_address(index);
            return;
        }
        let ntp = ntp(now.saturating_duration_since(self.started_at));
        let leg = self.legs.get_mut(index);
        let window = leg.window;
        let Some(address) = leg.path.address() else { return };
        let Some(browser) = leg.browser_mut() else { return };
        let block = browser.report(now, &window);
        let slot = sink.slot();
        let mut len = rtcp::write_receiver_report(RELAY_SSRC, block.as_slice(), slot)
            .expect("a slot holds any datagram");
        for (ssrc, info) in browser.outgoing.reports(now, ntp).take(BROWSER_REPORTS_MAX) {
            len += rtcp::write_sender_report(ssrc, &info, &[], &mut slot[len..]).expect("so many fit");
        }
        let Some(srtp) = &mut browser.srtp else { return };
        let sealed = srtp.seal_rtcp(slot, len);
        self.write_sent(index);
        match sealed {
            Ok(len) => self.send(address, len, sink),
            Err(_) => self.counters.unsealed += 1,
        }
    }
}

/// Nothing from these addresses is the leg's any more that it only checked.
pub(crate) fn forget_checks(
    by_check: &mut HashMap<SocketAddr, LegIndex>,
    changes: &mut Changes,
    index: LegIndex,
    addresses: impl Iterator<Item = SocketAddr>,
) {
    for address in addresses {
        if by_check.get(&address) == Some(&index) {
            by_check.remove(&address);
            changes.address(address);
        }
    }
}

/// The time of the reports: seconds in the upper half, their fraction in the lower. It begins with the shard, a while after zero, which
/// stands for no time at all.
fn ntp(since_start: Duration) -> u64 {
    let nanos = since_start.as_nanos() + 1_000_000_000;
    u64::try_from((nanos << 32) / 1_000_000_000).unwrap_or(u64::MAX)
}
