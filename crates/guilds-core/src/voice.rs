//! Who is in voice: joining, moving, leaving, and what clients and the voice server are told of it.
//!
//! Clients must see VOICE_STATE_UPDATE before VOICE_SERVER_UPDATE (discord.js and songbird hang otherwise), and their old voice
//! connection must end after both. A fresh participant's order goes first, so that it is known when it connects.

use std::collections::HashSet;
use std::sync::Arc;

use client_wire::gateway::Intents;
use client_wire::object;
use cluster_wire::guilds::{Audience, Dispatch, Note, Reply, Terms};
use cluster_wire::token::VoiceToken;
use cluster_wire::voice::{Memo, OrderKind, Participant, Report, Rights};
use model::{
    Channel, ChannelId, ChannelKind, Permissions, ServerId, SessionId, UnixMs, UserId, VoiceFlags, VoiceState,
};

use crate::GuildCore;
use crate::limits::{PENDING_GRACE_MS, VOICE_TOKEN_MS};
use crate::placement::{Placement, Zone};
use crate::turn::{Effect, Turn, json};
use crate::visibility::{Scope, except};

/// What entering a voice channel by oneself needs.
pub(crate) const TO_ENTER: Permissions = Permissions::VIEW_CHANNEL.union(Permissions::CONNECT);

#[derive(Debug, Clone)]
pub(crate) struct VoiceEntry {
    pub state: VoiceState,
    pub life: Life,
    /// Whose server it is on: its channel's, but while that is about to change.
    pub zone: Zone,
    /// As the voice server was told last.
    pub rights: Rights,
    /// Of what entering needs, what the participant has, or has had since it entered: losing any of it ends the stay. Whom a
    /// moderator moved in may lack some of it from the beginning.
    pub admitted_by: Permissions,
    /// On a stage: invited to speak.
    pub is_speaker: bool,
    /// Only a voice server has said so, of an earlier owner's time: its gateway has not been heard yet, or is dead.
    pub is_hearsay: bool,
    /// Of its session, so that the guild's next owner knows them.
    pub terms: Option<Terms>,
    /// The server that it was on before, which may still serve it.
    pub former: Option<ServerId>,
    /// Where it was told to connect last, until it is there.
    pub told: Option<Told>,
}

/// A VOICE_SERVER_UPDATE: to be said once more in the same words to a client that asks again on its way. discord.py takes another token for
/// another server, begins anew and asks again, as often as it is answered so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Told {
    at: UnixMs,
    server: ServerId,
    endpoint: String,
    token: String,
}

impl VoiceEntry {
    /// What it was told, where nothing has changed since and it has hardly had the time to come.
    fn told_now(&self, placement: &Placement, now: UnixMs) -> Option<&Told> {
        let told = self.told.as_ref()?;
        let Placement::On { server, endpoint } = placement else { return None };
        let is_same = told.server == *server && told.endpoint == *endpoint;
        let is_on_its_way = matches!(self.life, Life::Pending { .. });
        let is_new = now.0.saturating_sub(told.at.0) <= PENDING_GRACE_MS;
        (is_same && is_on_its_way && is_new).then_some(told)
    }

    /// As the voice server is to know it.
    pub fn participant(&self) -> Participant {
        let VoiceState { user, session, channel, flags, suppress, request_to_speak, joined_at, .. } =
            self.state;
        let memo = Memo { flags, suppress, request_to_speak, joined_at, terms: self.terms };
        Participant { user, session, channel, rights: self.rights, memo: Some(memo) }
    }
}

/// The participant's connection to the voice server.
///
/// | from      | told of a server | Report::Live | Report::Gone | nothing for too long     |
/// |-----------|------------------|--------------|--------------|--------------------------|
/// | Pending   | Pending          | Live         | Lost         | leaves                   |
/// | Live      | Pending          | Live         | Lost         | Live                     |
/// | Lost      | Pending          | Live         | Lost         | leaves                   |
///
/// While the guild awaits a server nobody leaves, for there is nowhere to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Life {
    /// Told where to connect, not seen there yet.
    Pending {
        since: UnixMs,
    },
    Live,
    Lost {
        since: UnixMs,
    },
}

impl Life {
    /// A client names the channel it is in: must it be told again where to connect?
    fn needs_server(self, flags_changed: bool, now: UnixMs) -> bool {
        match self {
            Self::Live => false,
            Self::Lost { .. } => true,
            Self::Pending { since } => !flags_changed || now.0.saturating_sub(since.0) > PENDING_GRACE_MS,
        }
    }

    /// When a participant whose client does not come is taken to have left.
    fn absent_at(self, absence_ms: u64) -> Option<UnixMs> {
        match self {
            Self::Live => None,
            Self::Pending { since } | Self::Lost { since } => Some(UnixMs(since.0 + absence_ms)),
        }
    }
}

/// Where a participant goes. That it may is decided.
pub(crate) struct Entrance {
    pub user: UserId,
    pub session: SessionId,
    pub channel: ChannelId,
    pub flags: VoiceFlags,
}

impl GuildCore {
    /// Gateway op 4.
    pub(crate) fn update_voice(
        &mut self,
        turn: &mut Turn<'_>,
        user: UserId,
        session: SessionId,
        channel: Option<ChannelId>,
        flags: VoiceFlags,
    ) -> Reply {
        if self.sessions.get(&session).is_none_or(|known| known.user != user) {
            return Reply::Refused("the session does not follow the guild");
        }
        let at = self.voice.get(&user).map(|entry| (entry.state.channel, entry.state.session));
        let Some(channel) = channel else {
            // Whoever began anew after its gateway and the guild's owner died is in voice with a session that is no more.
            let is_anothers = |held_by| held_by != session && self.sessions.contains_key(&held_by);
            if at.is_none_or(|(_, held_by)| is_anothers(held_by)) {
                return Reply::Refused("not in voice with this session");
            }
            self.leave_voice(turn, user);
            return Reply::Done;
        };
        if at == Some((channel, session)) {
            self.change_flags(turn, user, flags);
            return Reply::Done;
        }
        if let Err(why) = self.may_enter(user, channel, turn.now) {
            return Reply::Refused(why);
        }
        self.enter(turn, Entrance { user, session, channel, flags });
        Reply::Done
    }

    fn may_enter(&self, user: UserId, channel: ChannelId, now: UnixMs) -> Result<(), &'static str> {
        let found = self.guild.channel(channel).filter(|channel| channel.kind.is_voice());
        let found = found.ok_or("no such voice channel")?;
        let permissions = self.member_permissions_in(user, channel, now);
        if !permissions.contains(TO_ENTER) {
            return Err("may not connect to this channel");
        }
        if self.is_full(found, user) && !permissions.contains(Permissions::MOVE_MEMBERS) {
            return Err("the channel is full");
        }
        Ok(())
    }

    fn is_full(&self, channel: &Channel, but: UserId) -> bool {
        let others =
            self.voice.values().filter(|entry| entry.state.channel == channel.id && entry.state.user != but);
        channel.user_limit != 0 && others.count() >= usize::from(channel.user_limit)
    }

    /// Puts the user into the channel, from nowhere, from another channel or from another session. Whether it may is decided.
    pub(crate) fn enter(&mut self, turn: &mut Turn<'_>, entrance: Entrance) {
        let Entrance { user, session, channel, .. } = entrance;
        let old = self.voice.remove(&user);
        let entry = self.new_entry(turn.now, entrance, old.as_ref());
        let (put, zone) = (OrderKind::Put(entry.participant()), entry.zone.clone());
        self.voice.insert(user, entry);

        let was_placed = self.placements.server(&zone).is_some();
        self.try_place(turn, &zone);
        let server = self.placements.server(&zone).cloned();
        let left = old.as_ref().and_then(|old| self.placements.server(&old.zone)).cloned();
        let is_placed_now = !was_placed && server.is_some();
        let is_known_there = left.is_some() && left == server;
        if let Some(server) = &server {
            if is_placed_now {
                self.push(turn, server);
            } else if !is_known_there {
                self.order(turn, server, put.clone());
            }
        }
        if old.is_none() {
            turn.effect(Effect::EnteredVoice { user, bot: self.user(user).bot, since: turn.now });
        }
        self.tell_voice_state(turn, user, old.as_ref().map(|old| old.state.channel));
        if is_placed_now {
            self.tell_server_to_all(turn, &zone);
        } else {
            self.tell_server(turn, user);
        }
        if let Some(old) = &old {
            self.end_release(turn, old);
            if let Some(left) = &left {
                if old.state.session != session || !is_known_there {
                    self.order(turn, left, OrderKind::Remove { user, session: old.state.session });
                }
                if is_known_there {
                    self.order(turn, left, put);
                }
            }
            self.vacate(turn, &old.zone);
        }
        if old.as_ref().is_none_or(|old| old.state.channel != channel) {
            if let Some(old) = &old {
                self.note_departure(turn, &old.state);
            }
            self.note_arrival(turn, channel);
        }
    }

    fn new_entry(&self, now: UnixMs, entrance: Entrance, old: Option<&VoiceEntry>) -> VoiceEntry {
        let Entrance { user, session, channel, flags } = entrance;
        let stays = old.filter(|old| old.state.channel == channel);
        let member = self.guild.member(user).expect("only members enter");
        let mut entry = VoiceEntry {
            state: VoiceState {
                user,
                channel,
                session,
                flags,
                mute: member.mute,
                deaf: member.deaf,
                suppress: false,
                request_to_speak: stays.and_then(|old| old.state.request_to_speak),
                joined_at: stays.map_or(now, |old| old.state.joined_at),
            },
            life: Life::Pending { since: now },
            zone: self.zone_of(channel),
            rights: Rights::default(),
            admitted_by: self.member_permissions_in(user, channel, now) & TO_ENTER,
            is_speaker: stays.is_some_and(|old| old.is_speaker),
            is_hearsay: false,
            terms: self.sessions.get(&session).map(|session| session.terms),
            former: None,
            told: None,
        };
        self.judge(&mut entry, now);
        entry
    }

    /// Sets what permissions and moderators decide about a participant: mutes, suppression, rights.
    pub(crate) fn judge(&self, entry: &mut VoiceEntry, now: UnixMs) {
        let state = &mut entry.state;
        let permissions = self.member_permissions_in(state.user, state.channel, now);
        let is_stage =
            self.guild.channel(state.channel).is_some_and(|channel| channel.kind == ChannelKind::Stage);
        let may_speak = permissions.contains(Permissions::SPEAK);
        state.suppress = !may_speak || (is_stage && !entry.is_speaker);
        if let Some(member) = self.guild.member(state.user) {
            (state.mute, state.deaf) = (member.mute, member.deaf);
        }
        let video = permissions.contains(Permissions::STREAM);
        if !video {
            (state.flags.self_video, state.flags.self_stream) = (false, false);
        }
        entry.rights = Rights {
            speak: !state.mute && !state.suppress,
            hear: !state.deaf && !state.flags.self_deaf,
            video,
            priority: permissions.contains(Permissions::PRIORITY_SPEAKER),
        };
    }

    /// Op 4 for the channel one is in.
    fn change_flags(&mut self, turn: &mut Turn<'_>, user: UserId, flags: VoiceFlags) {
        let entry = self.voice.get_mut(&user).expect("the caller found the entry");
        let before = entry.clone();
        entry.state.flags = flags;
        let needs_server = entry.life.needs_server(before.state.flags != flags, turn.now);
        self.rejudge_since(turn, &before, needs_server);
        if needs_server {
            self.tell_server(turn, user);
        }
    }

    /// Brings a participant's state and rights up to date and tells whom it concerns.
    pub(crate) fn rejudge(&mut self, turn: &mut Turn<'_>, user: UserId, tell_anyway: bool) {
        if let Some(before) = self.voice.get(&user).cloned() {
            self.rejudge_since(turn, &before, tell_anyway);
        }
    }

    /// The same of one that is not any more as it was told last, which was this.
    pub(crate) fn rejudge_since(&mut self, turn: &mut Turn<'_>, before: &VoiceEntry, tell_anyway: bool) {
        let user = before.state.user;
        let mut entry = self.voice[&user].clone();
        self.judge(&mut entry, turn.now);
        let (state_changed, put) = (entry.state != before.state, entry.participant());
        let channel = entry.state.channel;
        let speaker_changed = entry.state.suppress != before.state.suppress;
        // Relays obey before anybody hears of it.
        if put.rights != before.rights {
            self.end_release(turn, before);
            entry.former = None;
        }
        self.voice.insert(user, entry);
        if speaker_changed {
            self.note_speakers(channel, turn.now);
        }
        if put != before.participant()
            && let Some(server) = self.server_of(user).cloned()
        {
            self.order(turn, &server, OrderKind::Put(put));
        }
        if state_changed || tell_anyway {
            self.tell_voice_state(turn, user, Some(channel));
        }
    }

    /// Nothing if the user is not in voice.
    pub(crate) fn leave_voice(&mut self, turn: &mut Turn<'_>, user: UserId) {
        let Some(entry) = self.voice.remove(&user) else { return };
        self.end_release(turn, &entry);
        let VoiceEntry { state, zone, .. } = entry;
        // Whatever a voice server says of it later is from before.
        self.sessions.entry(state.session).and_modify(|session| session.has_seat_known = true);
        self.note_departed(turn.now, state.session);
        let mut event = self.voice_state_event(&state);
        (event.channel_id, event.suppress, event.request_to_speak_timestamp) = (None, false, None);
        let audience = self.seers(state.channel, user, turn.now);
        let note = Note::Out(state.session);
        turn.dispatch(voice_state_dispatch(&event, audience, Some(user), Some(note)));
        turn.effect(Effect::LeftVoice(user));
        if let Some(server) = self.placements.server(&zone).cloned() {
            self.order(turn, &server, OrderKind::Remove { user, session: state.session });
        }
        self.vacate(turn, &zone);
        self.note_departure(turn, &state);
    }

    /// Permissions in this scope may have changed: whoever may not stay leaves, whoever stays gets its rights.
    pub(crate) fn reconcile_voice(&mut self, turn: &mut Turn<'_>, scope: Scope) {
        let concerned = |entry: &VoiceEntry| match scope {
            Scope::Everything => true,
            Scope::Channel(channel) => entry.state.channel == channel,
            Scope::Member(user) => entry.state.user == user,
        };
        let users: Vec<UserId> =
            self.voice.values().filter(|entry| concerned(entry)).map(|entry| entry.state.user).collect();
        for user in users {
            let entry = &self.voice[&user];
            let is_voice =
                self.guild.channel(entry.state.channel).is_some_and(|channel| channel.kind.is_voice());
            let permissions = self.member_permissions_in(user, entry.state.channel, turn.now);
            // Nobody stays through a time-out, be it without the permission to enter that a time-out takes away.
            let member = self.guild.member(user);
            let timed_out = member.and_then(|m| m.timed_out_until).is_some_and(|until| until > turn.now);
            let stays = permissions.contains(entry.admitted_by) && !timed_out;
            if is_voice && stays && member.is_some() {
                let gained = permissions & TO_ENTER;
                self.voice.entry(user).and_modify(|entry| entry.admitted_by |= gained);
                self.rejudge(turn, user, false);
            } else {
                self.leave_voice(turn, user);
            }
        }
    }

    /// Gateway op 5.
    pub(crate) fn voice_server_ping(
        &mut self,
        turn: &mut Turn<'_>,
        user: UserId,
        session: SessionId,
    ) -> Reply {
        if self.voice.get(&user).is_none_or(|entry| entry.state.session != session) {
            return Reply::Refused("not in voice with this session");
        }
        self.review_placement(turn, None);
        if turn.effects.is_empty() {
            let life = self.voice[&user].life;
            self.tell_server(turn, user);
            if life == Life::Live {
                // It is asked to look again, not to go, and may find that all is well where it is.
                self.set_life(user, life);
            }
        }
        Reply::Done
    }

    pub(crate) fn note_report(&mut self, now: UnixMs, report: &Report) {
        let (Report::Live { server, user, session, .. } | Report::Gone { server, user, session, .. }) =
            report
        else {
            return;
        };
        let is_here = self.server_of(*user) == Some(server);
        if is_here && self.voice[user].state.session == *session {
            let life = match report {
                Report::Live { .. } => Life::Live,
                _ => Life::Lost { since: now },
            };
            self.set_life(*user, life);
        }
    }

    pub(crate) fn set_life(&mut self, user: UserId, life: Life) {
        let entry = self.voice.get_mut(&user).expect("only a participant has a connection");
        entry.life = life;
        if life == Life::Live {
            entry.told = None;
        }
        if let Some(at) = life.absent_at(self.absence_ms) {
            self.absence_due = Some(self.absence_due.map_or(at, |due| due.min(at)));
        }
    }

    /// Whoever's client has been away for too long leaves.
    pub(crate) fn end_absences(&mut self, turn: &mut Turn<'_>) {
        if self.absence_due.is_none_or(|due| due > turn.now) {
            return;
        }
        // Where a server is awaited, everybody is told of it when it comes, and has all the time anew.
        let placed = self.voice.values().filter(|entry| self.placements.server(&entry.zone).is_some());
        let absences =
            placed.filter_map(|entry| Some((entry.life.absent_at(self.absence_ms)?, entry.state.user)));
        let (gone, away): (Vec<_>, Vec<_>) = absences.partition(|(at, _)| *at <= turn.now);
        self.absence_due = away.into_iter().map(|(at, _)| at).min();
        for (_, user) in gone {
            self.leave_voice(turn, user);
        }
    }

    /// VOICE_SERVER_UPDATE to the session that is in voice.
    pub(crate) fn tell_server(&mut self, turn: &mut Turn<'_>, user: UserId) {
        let placement = self.placements.of(&self.voice[&user].zone).clone();
        if self.voice[&user].told_now(&placement, turn.now).is_none() {
            let told = self.newly_told(turn.now, user, placement);
            self.voice.entry(user).and_modify(|entry| entry.told = told);
        }
        self.set_life(user, Life::Pending { since: turn.now });
        let entry = &self.voice[&user];
        let (token, endpoint) = match &entry.told {
            Some(told) => (told.token.clone(), Some(told.endpoint.clone())),
            None => (String::new(), None),
        };
        let event = object::VoiceServer { token, guild_id: self.guild.id, endpoint };
        let session = entry.state.session;
        let server = self.placements.server(&entry.zone).cloned();
        turn.dispatch(Dispatch {
            t: "VOICE_SERVER_UPDATE",
            d: json(&event),
            without_content: None,
            intents: Intents::empty().bits(),
            audience: Audience::Session(session),
            always: None,
            // A gateway that has yet to attach it knows what its client was told.
            note: self.sessions.contains_key(&session).then(|| Box::new(Note::Server(session, server))),
        });
    }

    /// With a token of its own.
    fn newly_told(&mut self, now: UnixMs, user: UserId, placement: Placement) -> Option<Told> {
        // Grows over restarts too, since a guild is not told where to connect a thousand times a millisecond.
        self.serial = (self.serial + 1).max(now.0 << 10);
        let Placement::On { server, endpoint } = placement else { return None };
        let VoiceState { session, channel, .. } = self.voice[&user].state;
        let token = VoiceToken {
            user,
            session,
            guild: self.guild.id,
            channel,
            server: server.clone(),
            expires_at: UnixMs(now.0 + VOICE_TOKEN_MS),
            serial: self.serial,
        };
        Some(Told { at: now, server, endpoint, token: token.sign(&self.token_key) })
    }

    /// VOICE_STATE_UPDATE to those who see the channel; those who saw only the old one see the user leave.
    pub(crate) fn tell_voice_state(
        &mut self,
        turn: &mut Turn<'_>,
        user: UserId,
        old_channel: Option<ChannelId>,
    ) {
        let state = self.voice[&user].state.clone();
        let mut event = self.voice_state_event(&state);
        let hidden = self.hidden_from(state.channel, turn.now);
        let audience = self.seers(state.channel, user, turn.now);
        // A gateway that has yet to attach it knows better.
        let note = self.sessions.contains_key(&state.session).then(|| Note::In(state.clone()));
        turn.dispatch(voice_state_dispatch(&event, audience, Some(user), note));
        let Some(old_channel) = old_channel.filter(|old| *old != state.channel) else { return };
        let hidden_old = self.hidden_from(old_channel, turn.now);
        let only_old: HashSet<UserId> =
            hidden.difference(&hidden_old).copied().filter(|other| *other != user).collect();
        if !only_old.is_empty() {
            event.channel_id = None;
            turn.dispatch(voice_state_dispatch(&event, Audience::Users(Arc::new(only_old)), None, None));
        }
    }

    /// Everyone who sees the channel, and the user itself.
    fn seers(&mut self, channel: ChannelId, user: UserId, now: UnixMs) -> Audience {
        let mut hidden = self.hidden_from(channel, now);
        if hidden.contains(&user) {
            Arc::make_mut(&mut hidden).remove(&user);
        }
        except(hidden)
    }
}

/// `always` is the user itself: without its own state a library never connects, whatever its intents.
fn voice_state_dispatch(
    event: &object::VoiceState,
    audience: Audience,
    always: Option<UserId>,
    note: Option<Note>,
) -> Dispatch {
    Dispatch {
        t: "VOICE_STATE_UPDATE",
        d: json(event),
        without_content: None,
        intents: Intents::GUILD_VOICE_STATES.bits(),
        audience,
        always,
        note: note.map(Box::new),
    }
}
