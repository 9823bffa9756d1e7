//! What signalling says must be true, made true.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::time::Instant;

use rtp_wire::Ssrc;
use sfu_wire::page::Work;
use sfu_wire::{Snapshot, ToSfu};
use transport::{NonceCounter, ReplayWindow, Srtp};

use crate::absence::Absence;
use crate::browser::Browser;
use crate::leg::{Leg, LegIndex, Silence, Told};
use crate::limits::{FRAME_INTERVAL, LEGS_MAX, PATH_KEEP_FIRST, SENDER_BURST_S, SILENCE_FRAMES};
use crate::pace::Pace;
use crate::path::Path;
use crate::security::{Native, Security, Wanted};
use crate::shard::Shard;
use crate::sink::Sink;
use crate::speech::Speech;
use crate::timers::Reason;
use crate::webrtc::forget_checks;

/// Why a leg is not as signalling wants it. Signalling is ours, so each is a defect or a limit, never a
/// client's doing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("leg {0}: the shard holds {LEGS_MAX} legs")]
    TooManyLegs(u64),
    #[error("leg {0}: a key has {1} bytes")]
    KeyLength(u64, usize),
    #[error("leg {0}: unknown encryption mode")]
    UnknownMode(u64),
    #[error("leg {0}: a browser's transport without credentials or with an impossible payload type")]
    Transport(u64),
}

impl Shard {
    /// Makes it so. Of a snapshot the good legs are taken even when others are refused; the first refusal is
    /// returned.
    pub fn handle_message(
        &mut self,
        now: Instant,
        message: ToSfu,
        sink: &mut impl Sink,
    ) -> Result<(), Refused> {
        // What was taken in before belongs to the rooms as they were.
        self.finish(now, sink);
        self.page.busy(0, Work::Message);
        let result = self.obey(now, message, sink);
        self.page.idle();
        result
    }

    fn obey(&mut self, now: Instant, message: ToSfu, sink: &mut impl Sink) -> Result<(), Refused> {
        match message {
            ToSfu::Start(start) => self.handle_start(&start),
            ToSfu::Snapshot(snapshot) => self.handle_snapshot(now, snapshot)?,
            ToSfu::PutLeg(leg) => self.put_leg(now, &leg)?,
            ToSfu::RemoveLeg(leg) => {
                if let Some(index) = self.by_id.get(&leg.id).copied() {
                    self.busy_with(index);
                    self.remove_leg(now, index);
                }
            }
            ToSfu::Dtls(dtls) => self.send_dtls(&dtls, sink),
            // That nothing more comes is the process's business. What has been counted is told once more.
            ToSfu::Retire(_) => self.report_due = true,
        }
        Ok(())
    }

    fn handle_snapshot(&mut self, now: Instant, snapshot: Snapshot) -> Result<(), Refused> {
        let wanted: HashSet<u64> = snapshot.legs.iter().map(|leg| leg.id).collect();
        let gone: Vec<LegIndex> =
            self.legs.iter().filter(|(_, leg)| !wanted.contains(&leg.id)).map(|(index, _)| index).collect();
        for index in gone {
            self.remove_leg(now, index);
        }
        if let Some(predecessor) = &self.predecessor {
            self.retired.restore(now, &predecessor.retired);
            self.retired.restore_legs(now, predecessor.legs.iter().map(|found| &found.state));
        }
        let mut result = Ok(());
        for leg in &snapshot.legs {
            result = result.and(self.put_leg(now, leg));
        }
        if let Some(predecessor) = self.predecessor.take() {
            // What goes wrong here is no one leg's doing.
            self.page.busy_with(0);
            self.take_over(now, predecessor);
        }
        result
    }

    fn put_leg(&mut self, now: Instant, wanted: &sfu_wire::Leg) -> Result<(), Refused> {
        self.page.busy_with(wanted.id);
        let security = Wanted::parse(wanted)?;
        let index = match self.by_id.get(&wanted.id).copied() {
            Some(index) if self.legs.get(index).ssrc == Ssrc(wanted.ssrc) => index,
            Some(index) => {
                self.remove_leg(now, index);
                self.add_leg(now, wanted)?
            }
            None => self.add_leg(now, wanted)?,
        };
        self.put_room(now, index, wanted.room);
        self.put_security(now, index, security);
        self.put_claim(now, index, wanted);
        self.put_rights(now, index, wanted.speak, wanted.hear);
        Ok(())
    }

    fn add_leg(&mut self, now: Instant, wanted: &sfu_wire::Leg) -> Result<LegIndex, Refused> {
        let ssrc = Ssrc(wanted.ssrc);
        // A stream has one sender: whoever comes back under its SSRC before the leg it left was removed,
        // takes over.
        if let Some(before) = self.by_ssrc.get(&ssrc).copied() {
            self.remove_leg(now, before);
        }
        if self.legs.len() >= LEGS_MAX {
            return Err(Refused::TooManyLegs(wanted.id));
        }
        let (mut rewriter, numbers) = self.retired.take(now, ssrc, &mut self.page).unwrap_or_default();
        rewriter.restart();
        let index = self.legs.reserve();
        let (room, member_at) = self.rooms.join(wanted.room, index);
        self.legs.insert(Leg {
            id: wanted.id,
            ssrc,
            speak: wanted.speak,
            hear: wanted.hear,
            security: None,
            path: Path::default(),
            room,
            member_at,
            route_at: None,
            window: ReplayWindow::new(),
            pace: Pace::new(now, self.sender_packets_per_s_max, SENDER_BURST_S),
            rewriter,
            speech: Speech::default(),
            silence: None,
            recent: None,
            absence: Absence::default(),
            connected: false,
            key_spent: false,
            told: Told::default(),
            speech_end_armed: false,
            path_keep_at: None,
            slot: None,
            numbers,
        });
        self.by_id.insert(wanted.id, index);
        self.by_ssrc.insert(ssrc, index);
        self.changes.stream(ssrc);
        Ok(index)
    }

    fn remove_leg(&mut self, now: Instant, index: LegIndex) {
        let room = self.rooms.get(self.legs.get(index).room).id();
        self.end_route(index);
        self.leave_room(index);
        self.end_written(index);
        let leg = self.legs.remove(index);
        self.by_id.remove(&leg.id);
        self.by_ssrc.remove(&leg.ssrc);
        self.changes.stream(leg.ssrc);
        if let Some(address) = leg.path.address() {
            self.by_address.remove(&address);
            self.changes.address(address);
        }
        if let Some(browser) = leg.browser() {
            self.by_ufrag.remove(browser.ufrag());
            self.changes.name(browser.ufrag());
            forget_checks(&mut self.by_check, &mut self.changes, index, browser.checked.addresses());
        }
        self.retired.put(now, leg.ssrc, room, leg.rewriter, &mut self.page);
        leg.numbers.into_iter().for_each(|record| self.page.free_record(record));
    }

    fn put_room(&mut self, now: Instant, index: LegIndex, room: u64) {
        if self.rooms.get(self.legs.get(index).room).id() == room {
            return;
        }
        self.end_route(index);
        self.leave_room(index);
        let (room, member_at) = self.rooms.join(room, index);
        let leg = self.legs.get_mut(index);
        leg.room = room;
        leg.member_at = member_at;
        // Clients drop everybody's streams when they change rooms, and who was cut off there is not heard
        // here.
        leg.absence.clear();
        leg.silence = None;
        leg.speech.cut_off(now);
        self.write_absence(index);
        self.tell(index);
        self.update_route(index);
    }

    fn leave_room(&mut self, index: LegIndex) {
        let leg = self.legs.get(index);
        let (room, at) = (leg.room, leg.member_at);
        if let Some(moved) = self.rooms.leave(room, at) {
            self.legs.get_mut(moved).member_at = at;
        }
    }

    /// The same key goes on; another one is a new session with a path still to be proven.
    fn put_security(&mut self, now: Instant, index: LegIndex, wanted: Wanted<'_>) {
        let leg = self.legs.get_mut(index);
        let is_spent = leg.key_spent;
        let present = leg.security.as_mut();
        match (&wanted, present) {
            (Wanted::Nothing, None) => return,
            (Wanted::Native(mode, key), Some(Security::Native(native))) if native.is(*mode, key) => return,
            (Wanted::Browser(webrtc, _), Some(Security::Browser(browser))) if browser.is(webrtc) => {
                if browser.srtp.is_none()
                    && !is_spent
                    && let Wanted::Browser(_, Some(srtp)) = wanted
                {
                    self.take_keys(now, index, srtp);
                }
                return;
            }
            _ => {}
        }
        self.lose_address(index);
        if let Some(browser) = self.legs.get(index).browser() {
            self.by_ufrag.remove(browser.ufrag());
            self.changes.name(browser.ufrag());
            forget_checks(&mut self.by_check, &mut self.changes, index, browser.checked.addresses());
        }
        self.end_written(index);
        let security = match wanted {
            Wanted::Nothing => None,
            Wanted::Native(mode, key) => {
                let mut salt = [0; 16];
                self.random.fill(&mut salt);
                let start = NonceCounter::server(self.random.next_u32());
                Some(Security::Native(Native::new(mode, key, start, salt)))
            }
            Wanted::Browser(webrtc, srtp) => {
                self.by_ufrag.insert(webrtc.ufrag.as_str().into(), index);
                self.changes.name(&webrtc.ufrag);
                Some(Security::Browser(Box::new(Browser::new(now, webrtc, srtp))))
            }
        };
        let leg = self.legs.get_mut(index);
        leg.security = security;
        leg.window = ReplayWindow::new();
        leg.pace = Pace::new(now, self.sender_packets_per_s_max, SENDER_BURST_S);
        leg.rewriter.restart();
        leg.connected = false;
        leg.key_spent = false;
        self.begin_written(index);
        self.tell(index);
    }

    /// A browser's handshake is done.
    fn take_keys(&mut self, now: Instant, index: LegIndex, srtp: Box<Srtp>) {
        let leg = self.legs.get_mut(index);
        if let Some(browser) = leg.browser_mut() {
            browser.srtp = Some(srtp);
        }
        if leg.path.address().is_some() {
            self.connect(now, index);
        }
    }

    fn put_claim(&mut self, now: Instant, index: LegIndex, wanted: &sfu_wire::Leg) {
        let Some(native) = &wanted.native else { return };
        // What a client claims may be anything; nonsense is no claim.
        let claimed: Option<SocketAddr> = native.claimed_address.parse().ok();
        if let Some(proven) = self.legs.get_mut(index).path.claim(claimed) {
            self.take_address(now, index, proven);
        }
    }

    fn put_rights(&mut self, now: Instant, index: LegIndex, speak: bool, hear: bool) {
        let leg = self.legs.get_mut(index);
        let silenced = leg.speak && !speak;
        leg.speak = speak;
        leg.hear = hear;
        if silenced {
            self.cut_off(now, index);
        }
        self.update_route(index);
    }

    /// Ends a muted sender's speech for everybody, with silence frames when that was in the middle of a word.
    fn cut_off(&mut self, now: Instant, index: LegIndex) {
        let next_at = now + FRAME_INTERVAL;
        let leg = self.legs.get_mut(index);
        if leg.speech.cut_off(now) {
            leg.silence = Some(Silence { left: SILENCE_FRAMES, next_at });
            self.arm(next_at, Reason::Silence, index);
        }
        self.tell(index);
    }

    /// Gives a leg the address, unless another leg is there now. Afterwards its transport is known to work.
    pub(crate) fn take_address(&mut self, now: Instant, index: LegIndex, address: SocketAddr) {
        if let Some(holder) = self.by_address.get(&address).copied()
            && holder != index
        {
            if self.legs.get(holder).path.is_held(now) {
                return;
            }
            self.lose_address(holder);
        }
        if let Some(before) = self.legs.get(index).path.address() {
            self.by_address.remove(&before);
            self.changes.address(before);
        }
        self.by_address.insert(address, index);
        self.changes.address(address);
        let leg = self.legs.get_mut(index);
        leg.path.set(now, address);
        self.write_leg(index);
        if self.legs.get(index).is_ready() {
            self.connect(now, index);
        }
    }

    /// Its address and its keys are known: it can be sent to.
    fn connect(&mut self, now: Instant, index: LegIndex) {
        let keep_at = now + PATH_KEEP_FIRST;
        let leg = self.legs.get_mut(index);
        leg.connected = true;
        leg.path_keep_at = Some(keep_at);
        self.arm(keep_at, Reason::PathKeep, index);
        self.tell(index);
        self.update_route(index);
    }

    pub(crate) fn lose_address(&mut self, index: LegIndex) {
        let path = &mut self.legs.get_mut(index).path;
        if let Some(address) = path.address() {
            path.lose();
            self.by_address.remove(&address);
            self.changes.address(address);
            self.write_leg(index);
        }
        self.update_route(index);
    }

    /// A leg is listened for exactly while it may hear, has a key and an address.
    pub(crate) fn update_route(&mut self, index: LegIndex) {
        let leg = self.legs.get(index);
        let wanted = leg.hear && leg.is_ready() && leg.path.address().is_some();
        match (wanted, leg.route_at) {
            (true, None) => self.begin_route(index),
            (false, Some(_)) => {
                self.end_route(index);
                self.begin_absence(index);
            }
            _ => {}
        }
    }

    fn begin_route(&mut self, index: LegIndex) {
        let mut absence = std::mem::take(&mut self.legs.get_mut(index).absence);
        let room = self.legs.get(index).room;
        absence.end(|ssrc| {
            let here =
                self.by_ssrc.get(&ssrc).map(|index| self.legs.get(*index)).filter(|leg| leg.room == room);
            here.map(|leg| &leg.rewriter).or_else(|| self.retired.get(ssrc))?.highest_out()
        });
        let route_at = self.rooms.get_mut(room).add_route(index);
        let leg = self.legs.get_mut(index);
        leg.absence = absence;
        leg.route_at = Some(route_at);
        self.write_absence(index);
    }

    fn end_route(&mut self, index: LegIndex) {
        let leg = self.legs.get_mut(index);
        let Some(at) = leg.route_at.take() else { return };
        let room = leg.room;
        if let Some(moved) = self.rooms.get_mut(room).remove_route(at) {
            self.legs.get_mut(moved).route_at = Some(at);
        }
    }

    pub(crate) fn begin_absence(&mut self, index: LegIndex) {
        let mut absence = std::mem::take(&mut self.legs.get_mut(index).absence);
        let room = self.rooms.get(self.legs.get(index).room);
        let others =
            room.members().iter().filter(|member| **member != index).map(|member| self.legs.get(*member));
        let here = others.map(|leg| (leg.ssrc, &leg.rewriter));
        let streams = here.chain(self.retired.of_room(room.id()));
        absence.begin(streams.filter_map(|(ssrc, rewriter)| Some((ssrc, rewriter.highest_out()?))));
        self.legs.get_mut(index).absence = absence;
        self.write_absence(index);
    }
}
