//! Gateway sessions that follow the guild: coming, going, presence, and lists of members.

use client_wire::error::{ApiError, code};
use client_wire::gateway::Intents;
use client_wire::object;
use cluster_wire::guilds::{
    Audience, CallResult, Dispatch, GatewayId, MembersQuery, Note, Reply, Seat, Terms,
};
use model::{Member, PresenceStatus, SessionId, UserId};

use crate::GuildCore;
use crate::guild::Session;
use crate::limits::{CHUNK_MEMBERS, CHUNK_USERS_MAX, CHUNKS_MAX, NONCE_BYTES_MAX, SESSIONS_MAX};
use crate::turn::{Turn, json};

impl GuildCore {
    /// A session that is attached already gets the guild again.
    pub(crate) fn attach(
        &mut self,
        turn: &mut Turn<'_>,
        session: SessionId,
        mut following: Session,
        is_live: bool,
        seat: Option<Seat>,
    ) -> CallResult {
        let user = following.user;
        if self.guild.member(user).is_none() {
            return Err(ApiError::missing_access());
        }
        let taken = self.sessions.get(&session).is_some_and(|known| known.user != user);
        if taken || self.sessions.len() >= SESSIONS_MAX {
            return Err(ApiError::new(503, 0, "the guild can take no more sessions"));
        }
        let before = self.sessions.get(&session);
        // One gateway may not know, and the other that has it still does.
        let is_known = before.is_some_and(|before| before.has_seat_known);
        following.has_seat_known |= before.is_some_and(|before| before.has_seat_known);
        // A gateway whose client is away may have lost it to this one.
        if let Some(before) = before.filter(|_| !is_live) {
            following.gateway = before.gateway;
        }
        self.sessions.insert(session, following);
        let sessions = self.attached.entry(user).or_default();
        sessions.insert(session);
        let first = sessions.len() == 1 && !self.presences.contains_key(&user);
        if first {
            self.note_attached(user, turn.now);
            self.presences.insert(user, PresenceStatus::Online);
        }
        // What it was told last says nothing to who told it.
        let seat = seat.filter(|seat| seat.state.session == session && !is_known);
        let is_silent = seat.is_none() && following.has_seat_known && !is_known;
        let taken = seat.and_then(|seat| Some((self.take_seat(turn, user, &seat)?, seat.server)));
        if is_silent {
            self.forget_hearsay(turn, user, session);
        }
        if let Some(entry) = self.voice.get_mut(&user).filter(|entry| entry.state.session == session) {
            entry.is_hearsay = false;
        }
        turn.dispatch(Dispatch {
            t: "GUILD_CREATE",
            d: json(&self.guild_create(turn, following)),
            without_content: None,
            intents: Intents::empty().bits(),
            audience: Audience::Session(session),
            always: None,
            note: self.seat_of(user, session).map(|seat| Box::new(Note::Seated(seat))),
        });
        if first {
            self.tell_presence(turn, user);
        }
        if let Some((was, server)) = taken {
            self.announce_seat(turn, user, server.as_ref(), &was);
        }
        Ok(Reply::Done)
    }

    /// Nothing if another gateway has attached it since.
    pub(crate) fn detach(&mut self, turn: &mut Turn<'_>, session: SessionId, gateway: GatewayId) {
        let attached = self.sessions.get(&session).filter(|known| known.gateway == gateway);
        let Some(&Session { user, .. }) = attached else { return };
        self.sessions.remove(&session);
        if self.voice.get(&user).is_some_and(|entry| entry.state.session == session) {
            self.leave_voice(turn, user);
        }
        let sessions = self.attached.get_mut(&user).expect("`sessions` and `attached` hold the same");
        sessions.remove(&session);
        if sessions.is_empty() {
            self.attached.remove(&user);
            let status = self.presences.remove(&user).unwrap_or_default();
            if status != PresenceStatus::Offline {
                self.tell_presence(turn, user);
            }
        }
    }

    pub(crate) fn find_session(&self, user: UserId, session: SessionId) -> CallResult {
        let unknown = || ApiError::new(404, code::GENERAL, "Unknown session");
        if let Some(found) = self.sessions.get(&session).filter(|known| known.user == user) {
            let status = self.presences.get(&user).copied().unwrap_or_default();
            return Ok(Reply::Terms(Terms { status, ..found.terms }));
        }
        // Its gateway died with the guild's owner; while it is in voice, its voice server knows.
        let hearsay = self.voice.get(&user).filter(|entry| entry.state.session == session);
        hearsay.and_then(|entry| entry.terms).map(Reply::Terms).ok_or_else(unknown)
    }

    /// The user is no member any more: its sessions, presence and voice state go.
    pub(crate) fn drop_stranger(&mut self, turn: &mut Turn<'_>, user: UserId) {
        self.leave_voice(turn, user);
        for session in self.attached.remove(&user).unwrap_or_default() {
            self.sessions.remove(&session);
        }
        self.presences.remove(&user);
    }

    pub(crate) fn update_presence(
        &mut self,
        turn: &mut Turn<'_>,
        user: UserId,
        status: PresenceStatus,
    ) -> CallResult {
        if !self.attached.contains_key(&user) {
            return Err(ApiError::missing_access());
        }
        if self.presences.insert(user, status) != Some(status) {
            self.tell_presence(turn, user);
        }
        Ok(Reply::Done)
    }

    fn tell_presence(&self, turn: &mut Turn<'_>, user: UserId) {
        turn.tell("PRESENCE_UPDATE", Intents::GUILD_PRESENCES, Audience::Guild, &self.presence_object(user));
    }

    /// The whole list needs the GUILD_MEMBERS intent; a name's beginning or named users need none.
    pub(crate) fn request_members(
        &mut self,
        turn: &mut Turn<'_>,
        user: UserId,
        session: SessionId,
        query: MembersQuery,
    ) -> CallResult {
        let Some(asking) = self.sessions.get(&session).filter(|known| known.user == user) else {
            return Err(ApiError::missing_access());
        };
        let prefix = query.query.as_deref().unwrap_or_default();
        let whole = query.users.is_empty() && prefix.is_empty();
        if whole && !asking.intents().contains(Intents::GUILD_MEMBERS) {
            return Ok(Reply::Refused("the list of all members needs the intent GUILD_MEMBERS"));
        }
        let mut not_found = Vec::new();
        let found: Vec<&Member> = if query.users.is_empty() {
            let limit = match query.limit as usize {
                0 if whole => usize::MAX,
                0 => CHUNK_USERS_MAX,
                limit if whole => limit,
                limit => limit.min(CHUNK_USERS_MAX),
            };
            self.members_beginning(prefix).take(limit).collect()
        } else {
            let asked = query.users.iter().take(CHUNK_USERS_MAX);
            asked
                .filter_map(|id| self.guild.member(*id).or_else(|| note_missing(&mut not_found, *id)))
                .collect()
        };
        let nonce = query.nonce.filter(|nonce| nonce.len() <= NONCE_BYTES_MAX);
        let chunk_count = found.len().div_ceil(CHUNK_MEMBERS).clamp(1, CHUNKS_MAX);
        for index in 0..chunk_count {
            let members = found.iter().skip(index * CHUNK_MEMBERS).take(CHUNK_MEMBERS);
            let presences =
                members.clone().filter(|m| query.presences && self.presences.contains_key(&m.user));
            let chunk = object::MembersChunk {
                guild_id: self.guild.id,
                members: members.clone().map(|member| self.member_object(member)).collect(),
                chunk_index: index as u32,
                chunk_count: chunk_count as u32,
                not_found: std::mem::take(&mut not_found),
                presences: presences.map(|member| self.presence_object(member.user)).collect(),
                nonce: nonce.clone(),
            };
            turn.tell_session("GUILD_MEMBERS_CHUNK", session, &chunk);
        }
        Ok(Reply::Done)
    }

    /// Members whose name or nick begins like this, whatever the case.
    pub(crate) fn members_beginning<'a>(&'a self, prefix: &str) -> impl Iterator<Item = &'a Member> + 'a {
        let prefix = prefix.to_lowercase();
        self.guild.members.values().filter(move |member| {
            let user = self.user(member.user);
            let names = [Some(&user.name), user.display_name.as_ref(), member.nick.as_ref()];
            prefix.is_empty()
                || names.into_iter().flatten().any(|name| name.to_lowercase().starts_with(&prefix))
        })
    }
}

fn note_missing<'a>(missing: &mut Vec<UserId>, user: UserId) -> Option<&'a Member> {
    missing.push(user);
    None
}
