//! What voice servers know of a guild whose owner is dead, and the next owner cannot know: they are asked when it claims the guild.
//!
//! From their answers come the voice states of those whose gateway is dead as well, the server that the guild is on, and what is on in its channels. Each
//! says how things were by the last orders that arrived; a gateway that lives knows better what became of its own sessions, and is believed
//! whether it speaks before or after.

use std::collections::{BTreeMap, BTreeSet};

use cluster_wire::voice::{ChannelMemo, Held, Memo, Order, OrderKind, Participant, StageMemo};
use model::{ChannelId, Member, ServerId, SessionId, UnixMs, UserId, VoiceFlags, VoiceState};

use crate::gatherings::Gathering;
use crate::limits::{SETTLE_MS, TESTIMONY_MS};
use crate::placement::Zone;
use crate::stage_instances::Stage;
use crate::turn::{Effect, Moment, Outcome, Turn};
use crate::voice::Life;
use crate::{Facts, GuildCore};

/// Whether a voice server has said what it holds of the guild.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    Awaited,
    Heard,
}

impl GuildCore {
    /// The guild has just been claimed, and may have had an owner before. Its voice servers are asked, now and as they appear.
    pub fn handle_claimed(&mut self, moment: Moment<'_>) -> Outcome {
        let mut turn = Turn::new(moment, Facts::default());
        self.asked.get_or_insert_default();
        self.claimed_at = Some(turn.now);
        self.ask_servers(&mut turn, None);
        turn.finish(Ok(cluster_wire::guilds::Reply::Done))
    }

    /// Some voice server that was asked has not answered. Whoever enters voice before it has may be put elsewhere than its people are.
    pub fn awaits_servers(&self) -> bool {
        self.asked.as_ref().is_some_and(|asked| asked.values().any(|answer| *answer == Answer::Awaited))
    }

    /// An answer of this one is heard.
    pub fn awaits(&self, server: &ServerId) -> bool {
        self.asked.as_ref().and_then(|asked| asked.get(server)) == Some(&Answer::Awaited)
    }

    /// A voice server has answered.
    pub fn handle_held(&mut self, moment: Moment<'_>, held: &Held) -> Outcome {
        let mut turn = Turn::new(moment, Facts::default());
        if held.claim == self.fencing && self.awaits(&held.server) {
            self.asked.get_or_insert_default().insert(held.server.clone(), Answer::Heard);
            self.take_over(&mut turn, held);
        }
        if !self.may_be_told_of_before(turn.now) {
            self.departed.clear();
        }
        turn.finish(Ok(cluster_wire::guilds::Reply::Done))
    }

    /// Those that have appeared since others were asked. `lost` is another than it was, if it is there.
    pub(crate) fn ask_servers(&mut self, turn: &mut Turn<'_>, lost: Option<&ServerId>) {
        let Some(asked) = &mut self.asked else { return };
        asked.retain(|id, _| turn.servers.contains_key(id) && Some(id) != lost);
        for id in turn.servers.keys() {
            if !asked.contains_key(id) {
                asked.insert(id.clone(), Answer::Awaited);
                let order = Order { guild: self.guild.id, fencing: self.fencing, kind: OrderKind::Claim };
                turn.effects.push(Effect::Order { server: id.clone(), order });
            }
        }
    }

    pub(crate) fn note_departed(&mut self, now: UnixMs, session: SessionId) {
        if self.may_be_told_of_before(now) {
            self.departed.insert(session);
        } else {
            self.departed.clear();
        }
    }

    fn may_be_told_of_before(&self, now: UnixMs) -> bool {
        self.claimed_at.is_some_and(|at| now.0 < at.0 + TESTIMONY_MS) || self.awaits_servers()
    }

    /// One that has not answered may not have been asked. False if it has.
    pub(crate) fn ask_again(&mut self, turn: &mut Turn<'_>, server: &ServerId) -> bool {
        if !self.awaits(server) {
            return false;
        }
        self.asked.get_or_insert_default().remove(server);
        self.ask_servers(turn, None);
        // What else it was not told.
        self.settled_at.get_or_insert(UnixMs(turn.now.0 + SETTLE_MS));
        true
    }

    fn take_over(&mut self, turn: &mut Turn<'_>, held: &Held) {
        if held.participants.is_empty() && held.channels.is_empty() {
            return;
        }
        // One that the owner before this one had given up, or could not reach any more.
        let is_truth = held.fencing >= self.predecessor;
        let mut seated = Vec::new();
        if is_truth {
            // One that was asked again may have had orders of ours.
            if held.fencing < self.fencing {
                self.predecessor = held.fencing;
            }
            for participant in &held.participants {
                let is_live = held.live.contains(&participant.session);
                seated.extend(self.take_held(turn.now, &held.server, participant, is_live));
            }
        }
        let mut by_zone: BTreeMap<Zone, Vec<UserId>> = BTreeMap::new();
        for user in seated {
            by_zone.entry(self.voice[&user].zone.clone()).or_default().push(user);
        }
        for (zone, seated) in &by_zone {
            let is_first = self.voice.values().filter(|entry| entry.zone == *zone).count() == seated.len();
            if is_first {
                self.stay_at(turn, zone, Some(&held.server));
            }
            self.announce_held(turn, held, zone, seated);
        }
        if is_truth {
            held.channels.iter().for_each(|memo| self.take_memo(turn, memo));
        }
        if self.placements.servers().all(|server| *server != held.server) {
            self.repeat_orders(turn, &held.server);
        }
    }

    /// The user, if it is in voice by this.
    fn take_held(
        &mut self,
        now: UnixMs,
        server: &ServerId,
        participant: &Participant,
        is_live: bool,
    ) -> Option<UserId> {
        let Participant { user, session, .. } = *participant;
        let life = if is_live { Life::Live } else { Life::Lost { since: now } };
        if let Some(entry) = self.voice.get(&user) {
            let is_here = entry.state.session == session && self.server_of(user) == Some(server);
            if is_here && (is_live || entry.life == Life::Live) {
                self.set_life(user, life);
            }
            return None;
        }
        // Its gateway has said that it is not, or it has left since.
        if self.departed.contains(&session) {
            return None;
        }
        if self.sessions.get(&session).is_some_and(|known| known.has_seat_known) {
            return None;
        }
        let state = self.state_of(participant, now)?;
        let mut entry = self.seated(&state, now)?;
        entry.is_hearsay = !self.sessions.contains_key(&session);
        entry.terms = entry.terms.or(participant.memo.and_then(|memo| memo.terms));
        self.voice.insert(user, entry);
        self.set_life(user, life);
        Some(user)
    }

    fn state_of(&self, participant: &Participant, now: UnixMs) -> Option<VoiceState> {
        let Participant { user, session, channel, rights, memo } = *participant;
        let Member { mute, deaf, .. } = *self.guild.member(user)?;
        // What an owner of the version before did not say follows from what the participant may do, as far as it does.
        let memo = memo.unwrap_or(Memo {
            flags: VoiceFlags { self_deaf: !rights.hear && !deaf, ..VoiceFlags::default() },
            suppress: !rights.speak && !mute,
            request_to_speak: None,
            joined_at: now,
            terms: None,
        });
        let Memo { flags, suppress, request_to_speak, joined_at, .. } = memo;
        Some(VoiceState { user, channel, session, flags, mute, deaf, suppress, request_to_speak, joined_at })
    }

    /// All of them are in channels of one zone.
    fn announce_held(&mut self, turn: &mut Turn<'_>, held: &Held, zone: &Zone, seated: &[UserId]) {
        self.settled_at.get_or_insert(UnixMs(turn.now.0 + SETTLE_MS));
        let was_placed = self.placements.server(zone).is_some();
        self.try_place(turn, zone);
        let server = self.placements.server(zone).cloned();
        let is_placed_now = !was_placed && server.is_some();
        if let Some(server) = server.as_ref().filter(|_| is_placed_now) {
            self.push(turn, server);
        }
        let is_here = server.as_ref() == Some(&held.server);
        for &user in seated {
            let (participant, state) = (self.voice[&user].participant(), self.voice[&user].state.clone());
            let is_known = is_placed_now || (is_here && held.participants.contains(&participant));
            if let Some(server) = server.as_ref().filter(|_| !is_known) {
                self.order(turn, server, OrderKind::Put(participant));
            }
            // Since when is not known where an owner of the version before has placed it: it is not to be torn away from elsewhere.
            let memo = held.participants.iter().find(|one| one.user == user).and_then(|one| one.memo);
            let since = memo.map_or(UnixMs(0), |memo| memo.joined_at);
            turn.effect(Effect::EnteredVoice { user, bot: self.user(user).bot, since });
            self.tell_voice_state(turn, user, None);
            self.note_arrival(turn, state.channel);
            self.note_start(turn, state.channel, state.joined_at);
        }
        if is_placed_now {
            self.tell_server_to_all(turn, zone);
        } else if !is_here {
            seated.iter().for_each(|user| self.tell_server(turn, *user));
        }
    }

    /// What is known here already is newer.
    fn take_memo(&mut self, turn: &mut Turn<'_>, memo: &ChannelMemo) {
        let ChannelMemo { channel, since, status, stage } = memo;
        if self.guild.channel(*channel).is_none_or(|channel| !channel.kind.is_voice()) {
            return;
        }
        let people = self.gatherings.get(channel).map_or(0, |gathering| gathering.people);
        if let (Some(since), true) = (since, people > 0) {
            self.note_start(turn, *channel, *since);
        }
        // With the last who was there, what they said of it has gone.
        let is_over = people == 0 && since.is_some();
        let is_said = self.gatherings.get(channel).is_some_and(|gathering| gathering.status.is_some());
        if status.is_some() && !is_over && !is_said {
            self.gatherings.entry(*channel).or_default().status.clone_from(status);
            self.tell_memo(turn, *channel);
            self.tell_status(turn, *channel, status.clone());
        }
        if let (Some(StageMemo { id, topic }), false) = (stage, self.stages.contains_key(channel)) {
            let stage = Stage { id: *id, topic: topic.clone(), speakerless_since: None };
            self.stages.insert(*channel, stage);
            self.note_speakers(*channel, turn.now);
            self.tell_memo(turn, *channel);
            self.tell_stage(turn, "STAGE_INSTANCE_CREATE", *channel);
        }
    }

    /// Its gateway says that the session is not in voice.
    pub(crate) fn forget_hearsay(&mut self, turn: &mut Turn<'_>, user: UserId, session: SessionId) {
        if self.voice.get(&user).is_some_and(|entry| entry.is_hearsay && entry.state.session == session) {
            self.leave_voice(turn, user);
        }
    }

    /// The channel's voice server is to keep what is on there now, and no other.
    pub(crate) fn tell_memo(&mut self, turn: &mut Turn<'_>, channel: ChannelId) {
        let server = self.keeper_of(channel);
        if let Some(old) = self.kept_at.remove(&channel).filter(|old| server.as_ref() != Some(old)) {
            let nothing = ChannelMemo { channel, since: None, status: None, stage: None };
            self.order_memo(turn, &old, nothing);
        }
        if let Some(server) = server {
            self.order_memo(turn, &server, self.memo_of(channel));
            self.kept_at.insert(channel, server);
        }
    }

    /// In the place of what was to be said of the channel in this turn before.
    fn order_memo(&self, turn: &mut Turn<'_>, to: &ServerId, memo: ChannelMemo) {
        turn.effects.retain(|effect| {
            !matches!(effect, Effect::Order { server, order: Order { kind: OrderKind::Channel(before), .. } }
                if server == to && before.channel == memo.channel)
        });
        self.order(turn, to, OrderKind::Channel(memo));
    }

    /// None where there is nothing to keep, or nobody to keep it.
    fn keeper_of(&self, channel: ChannelId) -> Option<ServerId> {
        let server = self.placements.server(&self.zone_of(channel));
        server.filter(|_| !self.memo_of(channel).is_empty()).cloned()
    }

    fn memo_of(&self, channel: ChannelId) -> ChannelMemo {
        let Gathering { since, status, .. } = self.gatherings.get(&channel).cloned().unwrap_or_default();
        let stage = self.stages.get(&channel);
        let stage = stage.map(|stage| StageMemo { id: stage.id, topic: stage.topic.clone() });
        ChannelMemo { channel, since, status, stage }
    }

    /// Whatever a server should keep of channels and does not, or keeps though their people are elsewhere now.
    pub(crate) fn keep_where_it_belongs(&mut self, turn: &mut Turn<'_>) {
        let channels = self.gatherings.keys().chain(self.stages.keys()).chain(self.kept_at.keys());
        let channels: BTreeSet<ChannelId> = channels.copied().collect();
        for channel in channels {
            if self.kept_at.get(&channel) != self.keeper_of(channel).as_ref() {
                self.tell_memo(turn, channel);
            }
        }
    }
}
