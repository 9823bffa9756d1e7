//! How a client comes in: IDENTIFY, RESUME, and what guilds says to them.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use client_wire::gateway::{
    Application, CloseCode, FromServer, Identify, Intents, Ready, Resume, UnavailableGuild,
};
use cluster_wire::guilds::{Account, Call, CallResult, Reply, TokenMark};
use model::{GuildId, SessionId, UserId};
use rand::RngExt as _;
use serde_json::value::RawValue;

use crate::body::Body;
use crate::connection::{ConnId, Step};
use crate::fanout::Key;
use crate::limits::{
    ATTACH_RETRY, CHANGES_MAX, GUILDS_PER_SESSION_MAX, SEQ_MAX, SESSIONS_MAX, SESSIONS_PER_USER_MAX,
    TOKEN_CHARS_MAX,
};
use crate::node::{Frame, Node, Notice, SessionEnd};
use crate::replay::ReplayError;
use crate::session::{Follow, Phase, Session, Shard, Wish};
use crate::timers::Reason;

/// What a call's reply is for.
#[derive(Debug)]
pub enum Waiting {
    Identify {
        conn: ConnId,
        identify: Box<Identify>,
        shard: Shard,
        changes_since: u64,
    },
    Resume {
        conn: ConnId,
        token: String,
        session: SessionId,
        seq: u64,
        changes_since: u64,
    },
    Attach {
        session: SessionId,
        guild: GuildId,
    },
    Voice {
        session: SessionId,
        /// Of a voice state update.
        wish: Option<(GuildId, Wish)>,
    },
    /// The same as [`Self::Resume`], for a session that is not here.
    Adopt {
        conn: ConnId,
        token: String,
        session: SessionId,
        seq: u64,
        changes_since: u64,
    },
    Find {
        conn: ConnId,
        session: SessionId,
    },
    Detach {
        session: SessionId,
        guild: GuildId,
        user: UserId,
    },
    /// Nothing follows from it.
    Told,
}

/// What may contradict the answer to a question that was asked before.
#[derive(Debug, Clone, Copy)]
pub enum Change {
    Membership(GuildId, UserId, /* is a member */ bool),
    Revoked(UserId, Option<TokenMark>),
}

/// Who joined and left guilds, and whose tokens ended, while somebody was being authenticated.
///
/// A reply may be older than an event that came before it. The list of guilds in it is corrected by the events since the
/// question; doing so twice does no harm. Where a token ended, the question is asked again.
#[derive(Debug, Default)]
pub struct Changes {
    log: VecDeque<Change>,
    /// How many changes have been dropped from the front of the log.
    dropped: u64,
    askers: usize,
}

impl Changes {
    /// A question was asked: remember what follows. Answers what to give to [`Self::correct`].
    fn watch(&mut self) -> u64 {
        self.askers += 1;
        self.dropped + self.log.len() as u64
    }

    fn unwatch(&mut self) {
        self.askers -= 1;
        if self.askers == 0 {
            self.dropped += self.log.len() as u64;
            self.log.clear();
        }
    }

    pub fn record(&mut self, change: Change) {
        if self.askers == 0 {
            return;
        }
        if self.log.len() == CHANGES_MAX {
            self.log.pop_front();
            self.dropped += 1;
        }
        self.log.push_back(change);
    }

    fn correct(&self, since: u64, user: UserId, guilds: &mut Vec<GuildId>) {
        for change in self.since(since) {
            if let Change::Membership(guild, whose, is_member) = *change
                && whose == user
            {
                guilds.retain(|listed| *listed != guild);
                if is_member {
                    guilds.push(guild);
                }
            }
        }
    }

    /// Whether the token may have ended since the question. What is forgotten may have been its end.
    fn may_be_revoked(&self, since: u64, user: UserId, token: TokenMark) -> bool {
        let ends_it = |change: &Change| match *change {
            Change::Revoked(whose, which) => whose == user && which.is_none_or(|which| which == token),
            Change::Membership(..) => false,
        };
        since < self.dropped || self.since(since).any(ends_it)
    }

    fn since(&self, since: u64) -> impl Iterator<Item = &Change> {
        let skip = usize::try_from(since.saturating_sub(self.dropped)).expect("the log fits in memory");
        self.log.iter().skip(skip)
    }
}

/// What became of the question whose token it is.
enum Asked {
    Answered(Account),
    /// The token may have ended since: the answer is worth nothing.
    TooEarly,
}

impl Node {
    pub(crate) fn identify(&mut self, now: Instant, id: ConnId, identify: Identify) {
        if self.is_draining() {
            return self.close(now, id, CloseCode::ServiceRestart);
        }
        let shard = match identify.shard {
            None => Some(Shard::WHOLE),
            Some((shard, count)) => Shard::new(shard, count),
        };
        let Some(shard) = shard else { return self.close(now, id, CloseCode::InvalidShard) };
        if identify.intents.is_some_and(|bits| Intents::from_bits(bits).is_none()) {
            return self.close(now, id, CloseCode::InvalidIntents);
        }
        if bare(&identify.token).is_none() {
            return self.close(now, id, CloseCode::AuthenticationFailed);
        }
        self.connection_step(id, Step::Identify);
        self.ask_to_identify(id, Box::new(identify), shard);
    }

    fn ask_to_identify(&mut self, conn: ConnId, identify: Box<Identify>, shard: Shard) {
        let token = bare(&identify.token).expect("it was looked at when it came").to_owned();
        let changes_since = self.changes.watch();
        self.call(Call::Authenticate { token }, Waiting::Identify { conn, identify, shard, changes_since });
    }

    pub(crate) fn resume(&mut self, now: Instant, id: ConnId, resume: Resume) {
        let Some(token) = bare(&resume.token) else {
            return self.close(now, id, CloseCode::AuthenticationFailed);
        };
        let session: Option<SessionId> = resume.session_id.parse().ok();
        let here = session.is_some_and(|session| self.by_id.contains_key(&session));
        let is_elsewhere = !here && self.config.is_one_of_many && !self.is_draining();
        let Some(session) = session.filter(|_| here || is_elsewhere) else {
            return self.refuse_resume(id, "unknown");
        };
        if resume.seq > SEQ_MAX {
            return self.close(now, id, CloseCode::InvalidSeq);
        }
        self.connection_step(id, Step::Resume);
        match here {
            true => self.ask_to_resume(id, token.to_owned(), session, resume.seq),
            false => self.ask_to_adopt(id, token.to_owned(), session, resume.seq),
        }
    }

    fn ask_to_adopt(&mut self, conn: ConnId, token: String, session: SessionId, seq: u64) {
        let call = Call::Authenticate { token: token.clone() };
        let changes_since = self.changes.watch();
        self.call(call, Waiting::Adopt { conn, token, session, seq, changes_since });
    }

    fn ask_to_resume(&mut self, conn: ConnId, token: String, session: SessionId, seq: u64) {
        let call = Call::Authenticate { token: token.clone() };
        let changes_since = self.changes.watch();
        self.call(call, Waiting::Resume { conn, token, session, seq, changes_since });
    }

    pub(crate) fn answered(&mut self, now: Instant, waiting: Waiting, reply: CallResult) {
        if let Err(error) = &reply
            && error.status >= 500
        {
            self.notice(Notice::CallFailed(error.status));
        }
        match waiting {
            Waiting::Identify { conn, identify, shard, changes_since } => {
                match self.account(now, conn, changes_since, reply) {
                    Some(Asked::Answered(account)) => self.identified(now, conn, &identify, shard, account),
                    Some(Asked::TooEarly) => self.ask_to_identify(conn, identify, shard),
                    None => {}
                }
            }
            Waiting::Resume { conn, token, session, seq, changes_since } => {
                match self.account(now, conn, changes_since, reply) {
                    Some(Asked::Answered(account)) => self.resumed(now, conn, &account, session, seq),
                    Some(Asked::TooEarly) => self.ask_to_resume(conn, token, session, seq),
                    None => {}
                }
            }
            Waiting::Adopt { conn, token, session, seq, changes_since } => {
                match self.account(now, conn, changes_since, reply) {
                    Some(Asked::Answered(account)) => self.search(now, conn, account, session, seq),
                    Some(Asked::TooEarly) => self.ask_to_adopt(conn, token, session, seq),
                    None => {}
                }
            }
            Waiting::Find { conn, session } => self.found(now, conn, session, reply),
            Waiting::Attach { session, guild } => self.attach_answered(now, session, guild, reply),
            Waiting::Voice { session, wish } => match reply {
                Ok(Reply::Refused(why)) => self.notice(Notice::VoiceRefused(session, why)),
                Err(error) => {
                    self.notice(Notice::VoiceRefused(session, "error"));
                    if let Some((guild, wish)) = wish.filter(|_| error.status >= 500)
                        && let Some(key) = self.by_id.get(&session)
                    {
                        self.sessions[*key].wishes.insert(guild, wish);
                    }
                }
                Ok(_) => {}
            },
            Waiting::Detach { session, guild, user } => {
                if reply.is_err_and(|error| error.status >= 500) {
                    self.timers.set(now + ATTACH_RETRY, Reason::DetachAgain(session, guild, user));
                }
            }
            Waiting::Told => {}
        }
    }

    /// Whose token a connection has shown. None when that connection is gone or closed for it.
    fn account(
        &mut self,
        now: Instant,
        conn: ConnId,
        changes_since: u64,
        reply: CallResult,
    ) -> Option<Asked> {
        let asked = match &reply {
            Ok(Reply::Account(account))
                if self.changes.may_be_revoked(changes_since, account.user, account.token) =>
            {
                Some(Asked::TooEarly)
            }
            Ok(Reply::Account(account)) => {
                let mut account = account.clone();
                self.changes.correct(changes_since, account.user, &mut account.guilds);
                Some(Asked::Answered(account))
            }
            _ => None,
        };
        self.changes.unwatch();
        if !self.connections.contains_key(&conn) {
            return None;
        }
        match reply {
            // The operator's key names nobody who could be online.
            Ok(Reply::Account(account)) if account.user != UserId(0) => return asked,
            Err(error) if error.status >= 500 => self.close(now, conn, CloseCode::UnknownError),
            _ => self.close(now, conn, CloseCode::AuthenticationFailed),
        }
        None
    }

    fn identified(
        &mut self,
        now: Instant,
        conn: ConnId,
        identify: &Identify,
        shard: Shard,
        account: Account,
    ) {
        let intents = match identify.intents {
            Some(bits) => bits,
            // Only bots must say what they want to hear of; people's clients do not.
            None if account.bot => return self.close(now, conn, CloseCode::InvalidIntents),
            None => Intents::all().bits(),
        };
        let guilds: Vec<GuildId> =
            account.guilds.iter().copied().filter(|guild| shard.holds(*guild)).collect();
        if guilds.len() > GUILDS_PER_SESSION_MAX {
            return self.close(now, conn, CloseCode::ShardingRequired);
        }
        if self.sessions.len() >= SESSIONS_MAX {
            return self.close(now, conn, CloseCode::ServiceRestart);
        }
        if !self.make_room(account.user) {
            return self.close(now, conn, CloseCode::RateLimited);
        }
        let mut session =
            Session::new(SessionId(self.rng.random()), (account.user, account.token), intents, shard, conn);
        session.guilds = guilds.iter().map(|guild| (*guild, Follow::Waiting)).collect();
        session.is_bot = account.bot;
        session.status =
            identify.presence.as_ref().map_or(model::PresenceStatus::Online, |presence| presence.status());
        let ready = self.ready(conn, &session, &account);
        let key = self.insert(session);
        let _ = self.deliver(key, ready);
        self.go_live(now, conn, key);
    }

    pub(crate) fn insert(&mut self, session: Session) -> Key {
        let (id, user) = (session.id, session.user);
        let key = self.sessions.insert(session);
        self.by_id.insert(id, key);
        self.by_user.entry(user).or_default().push(key);
        self.notice(Notice::SessionStarted(id));
        key
    }

    fn ready(&self, conn: ConnId, session: &Session, account: &Account) -> Arc<Body> {
        let ready = Ready {
            v: *client_wire::gateway::VERSIONS.end(),
            user: (*account.json).to_owned(),
            guilds: session.guilds.keys().map(|id| UnavailableGuild { id: *id, unavailable: true }).collect(),
            session_id: session.id.to_string(),
            resume_gateway_url: self.connections[&conn].resume_url.clone(),
            shard: (session.shard.id, session.shard.count),
            application: Application { id: account.user, flags: 0 },
            private_channels: [],
            relationships: [],
            presences: [],
            trace: [],
        };
        let ready = serde_json::value::to_raw_value(&ready)
            .expect("READY has string keys and no failing serialisers");
        Body::new("READY", ready)
    }

    /// Whether the user may have one more session, if need be in place of one that waits in vain.
    pub(crate) fn make_room(&mut self, user: UserId) -> bool {
        let Some(siblings) = self.by_user.get(&user) else { return true };
        if siblings.len() < SESSIONS_PER_USER_MAX {
            return true;
        }
        let longest_detached = siblings
            .iter()
            .filter_map(|key| match self.sessions[*key].phase {
                Phase::Detached { until, .. } => Some((until, *key)),
                Phase::Live { .. } => None,
            })
            .min();
        let Some((_, key)) = longest_detached else { return false };
        self.end_session(key, SessionEnd::Crowded);
        true
    }

    fn resumed(&mut self, now: Instant, conn: ConnId, account: &Account, id: SessionId, seq: u64) {
        // It may have ended while guilds was asked.
        let key = self.by_id.get(&id).copied().filter(|key| self.sessions[*key].user == account.user);
        let Some(key) = key else { return self.refuse_pending_resume(conn, "unknown") };
        let missed = self.sessions[key].replay.after(seq).map(Iterator::collect::<Vec<_>>);
        let missed = match missed {
            Ok(missed) => missed,
            Err(ReplayError::Ahead) => {
                self.notice(Notice::ResumeRefused("ahead"));
                return self.close(now, conn, CloseCode::InvalidSeq);
            }
            Err(ReplayError::Forgotten) => {
                self.drop_connection_of(key, CloseCode::SessionTimedOut, now);
                self.end_session(key, SessionEnd::Forgotten);
                return self.refuse_pending_resume(conn, "forgotten");
            }
        };
        // A connection that the client has given up may still look alive from here.
        self.drop_connection_of(key, CloseCode::SessionTimedOut, now);
        let session = &mut self.sessions[key];
        session.phase = Phase::Live { conn };
        session.token = account.token;
        session.on_the_way = 0;
        session.replay.resumed_from(seq);
        self.notice(Notice::Resumed(id, missed.len()));
        for kept in missed {
            self.send(conn, kept.into());
        }
        self.tell_resumed(now, conn, key);
    }

    pub(crate) fn tell_resumed(&mut self, now: Instant, conn: ConnId, key: Key) {
        // An object, never null: discord.py writes into it.
        let trace = RawValue::from_string(r#"{"_trace":[]}"#.to_owned()).expect("the text is JSON");
        let _ = self.deliver(key, Body::new("RESUMED", trace));
        self.go_live(now, conn, key);
    }

    /// Closes the connection a session has, which waits again as if it had been lost.
    fn drop_connection_of(&mut self, key: Key, code: CloseCode, now: Instant) {
        if let Some(old) = self.sessions[key].conn() {
            self.close(now, old, code);
        }
    }

    /// Binds a connection to its session, and acts upon what the client has sent in the meantime.
    fn go_live(&mut self, now: Instant, conn: ConnId, key: Key) {
        let patience = self.config.patience();
        let id = self.sessions[key].id;
        let connection = self.connections.get_mut(&conn).expect("the caller has looked");
        connection.step(Step::Accept);
        connection.session = Some(id);
        connection.heard(now, patience);
        let early = std::mem::take(&mut connection.early);
        self.live += 1;
        self.attach_more(key);
        for frame in early {
            self.request(now, conn, frame);
        }
    }

    fn refuse_resume(&mut self, conn: ConnId, why: &'static str) {
        self.notice(Notice::ResumeRefused(why));
        self.send(conn, Frame::control(FromServer::InvalidSession { may_resume: false }));
    }

    pub(crate) fn refuse_pending_resume(&mut self, conn: ConnId, why: &'static str) {
        self.connection_step(conn, Step::Refuse);
        let connection = self.connections.get_mut(&conn).expect("the caller has looked");
        // What it asked of that session is void with it.
        connection.early.clear();
        self.refuse_resume(conn, why);
    }

    fn connection_step(&mut self, id: ConnId, step: Step) {
        self.connections.get_mut(&id).expect("the caller has looked").step(step);
    }

    fn attach_answered(&mut self, now: Instant, id: SessionId, guild: GuildId, reply: CallResult) {
        let Some(&key) = self.by_id.get(&id) else { return };
        let Err(error) = reply else { return self.wish_again(now, key, guild) };
        let session = &mut self.sessions[key];
        if session.guilds.get(&guild) != Some(&Follow::Attaching) {
            return;
        }
        self.attaching.remove(&(guild, key));
        if error.status >= 500 {
            session.guilds.insert(guild, Follow::Unavailable);
            self.timers.set(now + ATTACH_RETRY, Reason::AttachAgain(id, guild));
        } else {
            // No member any more; READY may have promised the guild.
            session.guilds.remove(&guild);
            session.forget_guild(guild);
            self.guild_removed(key, guild);
        }
        if self.sessions.contains(key) {
            self.guild_arrived(key);
        }
    }

    pub(crate) fn attach_again(&mut self, id: SessionId, guild: GuildId) {
        let Some(&key) = self.by_id.get(&id) else { return };
        if let Some(follow @ Follow::Unavailable) = self.sessions[key].guilds.get_mut(&guild) {
            *follow = Follow::Waiting;
            self.attach_more(key);
        }
    }
}

/// The token without the scheme some libraries put before it; None where it cannot be one.
fn bare(token: &str) -> Option<&str> {
    let token = token.strip_prefix("Bot ").or_else(|| token.strip_prefix("Bearer ")).unwrap_or(token).trim();
    (!token.is_empty() && token.len() <= TOKEN_CHARS_MAX).then_some(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_lose_their_scheme_and_impossible_ones_are_refused() {
        let check = |token: &str, expect: Option<&str>| assert_eq!(bare(token), expect, "{token}");
        check("abc", Some("abc"));
        check("Bot abc", Some("abc"));
        check("Bearer abc", Some("abc"));
        check("Bot ", None);
        check("", None);
        check(&"x".repeat(TOKEN_CHARS_MAX), Some(&"x".repeat(TOKEN_CHARS_MAX)));
        check(&"x".repeat(TOKEN_CHARS_MAX + 1), None);
    }

    #[test]
    fn a_list_of_guilds_is_corrected_by_what_happened_since_the_question() {
        let (me, other) = (UserId(1), UserId(2));
        let mut changes = Changes::default();
        changes.record(Change::Membership(GuildId(9), me, true));
        let first = changes.watch();
        changes.record(Change::Membership(GuildId(1), me, true));
        let second = changes.watch();
        changes.record(Change::Membership(GuildId(2), me, false));
        changes.record(Change::Membership(GuildId(3), other, true));
        let corrected = |since| {
            let mut guilds = vec![GuildId(2), GuildId(5)];
            changes.correct(since, me, &mut guilds);
            guilds
        };
        assert_eq!(corrected(first), [GuildId(5), GuildId(1)]);
        assert_eq!(corrected(second), [GuildId(5)]);
        changes.unwatch();
        changes.unwatch();
        assert!(changes.log.is_empty(), "nobody asks, nothing is kept");
        for _ in 0..2 * CHANGES_MAX {
            changes.record(Change::Membership(GuildId(1), me, true));
        }
        let since = changes.watch();
        for guild in 0..=CHANGES_MAX as u64 {
            changes.record(Change::Membership(GuildId(guild), me, true));
        }
        let mut guilds = Vec::new();
        changes.correct(since, me, &mut guilds);
        assert_eq!(guilds.len(), CHANGES_MAX, "the oldest is forgotten");
        assert!(!guilds.contains(&GuildId(0)));
    }
}
