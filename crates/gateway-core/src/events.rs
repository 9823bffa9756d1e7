//! What guilds tells the node, and who of its sessions is told in turn.

use std::sync::Arc;
use std::time::Instant;

use client_wire::gateway::CloseCode;
use cluster_wire::guilds::{Audience, Dispatch, TokenMark};
use model::{GuildId, SessionId, UserId};
use serde_json::value::RawValue;

use crate::body::Body;
use crate::fanout::{Key, Variant, wants};
use crate::identify::Change;
use crate::limits::GUILDS_PER_SESSION_MAX;
use crate::node::{Node, SessionEnd};
use crate::session::Follow;

impl Node {
    pub(crate) fn dispatched(&mut self, guild: GuildId, mut dispatch: Dispatch) {
        match (dispatch.note.take(), &dispatch.audience) {
            (Some(note), _) => {
                if let Some(key) = self.by_id.get(&note.session()) {
                    self.sessions[*key].note(guild, *note);
                }
            }
            // The guild is shown, and the session is not in voice there.
            (None, Audience::Session(session)) if dispatch.t == "GUILD_CREATE" => {
                if let Some(key) = self.by_id.get(session) {
                    let session = &mut self.sessions[*key];
                    session.seats.remove(&guild);
                    session.unsure.remove(&guild);
                }
            }
            (None, _) => {}
        }
        let mut receivers = std::mem::take(&mut self.receivers);
        match dispatch.audience {
            Audience::Session(session) => receivers.extend(self.addressed(guild, session, &dispatch)),
            _ => self.fanout.select(guild, &dispatch, &mut receivers),
        }
        let (mut full, mut without_content) = (None, None);
        for (key, variant) in receivers.drain(..) {
            if dispatch.t == "GUILD_CREATE" && self.sessions[key].stale.remove(&guild) {
                self.guild_unavailable(key, guild);
                if !self.sessions.contains(key) {
                    continue;
                }
            }
            let body = match (variant, &dispatch.without_content) {
                (Variant::WithoutContent, Some(d)) => {
                    without_content.get_or_insert_with(|| Body::new(dispatch.t, Arc::clone(d)))
                }
                _ => full.get_or_insert_with(|| Body::new(dispatch.t, Arc::clone(&dispatch.d))),
            };
            if !self.deliver(key, Arc::clone(body)) {
                self.end_session(key, SessionEnd::Forgotten);
            }
        }
        self.receivers = receivers;
    }

    /// The one session an event is addressed to, if it is here, may have it and wants it.
    fn addressed(&mut self, guild: GuildId, id: SessionId, dispatch: &Dispatch) -> Option<(Key, Variant)> {
        let key = *self.by_id.get(&id)?;
        let session = &mut self.sessions[key];
        let variant = wants(dispatch, session.user, session.intents);
        let (user, intents) = (session.user, session.intents);
        let follow = session.guilds.get_mut(&guild)?;
        match (*follow, dispatch.t) {
            (Follow::Attaching, "GUILD_CREATE") => {
                *follow = Follow::Following;
                self.attaching.remove(&(guild, key));
                self.fanout.follow(guild, key, user, intents);
                if variant.is_none() || session.conn().is_none() {
                    // It will not be written to a socket now, so the next must not wait for that.
                    self.guild_arrived(key);
                }
            }
            (Follow::Following, _) => {}
            // Of a guild it has not been shown, a session is told nothing.
            _ => return None,
        }
        variant.map(|variant| (key, variant))
    }

    pub(crate) fn joined(&mut self, guild: GuildId, user: UserId) {
        self.changes.record(Change::Membership(guild, user, true));
        for key in self.by_user.get(&user).cloned().unwrap_or_default() {
            let session = &mut self.sessions[key];
            let is_new = session.shard.holds(guild) && !session.guilds.contains_key(&guild);
            if is_new && session.guilds.len() < GUILDS_PER_SESSION_MAX {
                session.guilds.insert(guild, Follow::Waiting);
                self.attach_more(key);
            }
        }
    }

    pub(crate) fn left(&mut self, guild: GuildId, user: UserId) {
        self.changes.record(Change::Membership(guild, user, false));
        for key in self.by_user.get(&user).cloned().unwrap_or_default() {
            let session = &mut self.sessions[key];
            let Some(follow) = session.guilds.remove(&guild) else { continue };
            session.forget_guild(guild);
            if follow == Follow::Following {
                self.fanout.unfollow(guild, key);
            }
            if follow == Follow::Attaching {
                self.attaching.remove(&(guild, key));
                self.guild_arrived(key);
            }
            self.guild_removed(key, guild);
        }
    }

    /// The guild's next owner knows none of its sessions: all attach anew. Those in voice first, or they would be missed there.
    pub(crate) fn owner_lost(&mut self, guild: GuildId) {
        let attaching = self.attaching.range((guild, Key::MIN)..=(guild, Key::MAX)).map(|(_, key)| *key);
        // What was on its way to them may have been lost; what was not comes twice, which does no harm.
        for key in attaching.collect::<Vec<_>>() {
            self.attach(key, guild);
        }
        let following = self.fanout.unfollow_all(guild);
        for key in &following {
            let session = &mut self.sessions[*key];
            session.stale.insert(guild);
            session.guilds.insert(guild, Follow::Waiting);
            if session.seats.contains_key(&guild) || session.conn().is_none() {
                session.guilds.insert(guild, Follow::Attaching);
                session.on_the_way += 1;
                self.attach(*key, guild);
            }
        }
        for key in following {
            self.attach_more(key);
        }
    }

    /// The protocol's word for an outage, before the guild is shown anew: clients then take nothing that they knew for granted.
    fn guild_unavailable(&mut self, key: Key, guild: GuildId) {
        let text = format!(r#"{{"id":"{guild}","unavailable":true}}"#);
        let d = RawValue::from_string(text).expect("the text is JSON");
        if !self.deliver(key, Body::new("GUILD_DELETE", d)) {
            self.end_session(key, SessionEnd::Forgotten);
        }
    }

    /// Tells a session that a guild is none of its any more. Without `unavailable`, which would mean an
    /// outage.
    pub(crate) fn guild_removed(&mut self, key: Key, guild: GuildId) {
        let d = RawValue::from_string(format!(r#"{{"id":"{guild}"}}"#)).expect("the text is JSON");
        if !self.deliver(key, Body::new("GUILD_DELETE", d)) {
            self.end_session(key, SessionEnd::Forgotten);
        }
    }

    /// One token of the user's, or all.
    pub(crate) fn tokens_revoked(&mut self, now: Instant, user: UserId, token: Option<TokenMark>) {
        self.changes.record(Change::Revoked(user, token));
        for key in self.by_user.get(&user).cloned().unwrap_or_default() {
            if token.is_some_and(|token| token != self.sessions[key].token) {
                continue;
            }
            if let Some(conn) = self.sessions[key].conn() {
                self.close(now, conn, CloseCode::AuthenticationFailed);
            }
            self.end_session(key, SessionEnd::TokensRevoked);
        }
    }
}
