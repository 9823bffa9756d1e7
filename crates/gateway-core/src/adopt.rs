//! A session that began at another gateway, which is gone, or which the client cannot reach.
//!
//! Guilds knows on what terms the session follows each of its guilds. What the client has missed is not kept there, so it is shown every guild
//! anew, as after an outage; its numbers go on, its voice states stay.

use std::time::Instant;

use client_wire::gateway::CloseCode;
use cluster_wire::guilds::{Account, Call, CallResult, Reply, Terms};
use model::{GuildId, SessionId};

use crate::connection::ConnId;
use crate::identify::Waiting;
use crate::limits::{GUILDS_ASKED_MAX, GUILDS_PER_SESSION_MAX, SESSIONS_MAX};
use crate::node::{Node, Notice};
use crate::replay::Replay;
use crate::session::{Follow, Session, Shard};

/// A session that is asked for.
#[derive(Debug)]
pub struct Search {
    account: Account,
    session: SessionId,
    seq: u64,
    /// Guilds that have not answered.
    left: usize,
}

impl Node {
    pub(crate) fn search(
        &mut self,
        now: Instant,
        conn: ConnId,
        account: Account,
        session: SessionId,
        seq: u64,
    ) {
        if self.sessions.len() >= SESSIONS_MAX {
            return self.close(now, conn, CloseCode::ServiceRestart);
        }
        let user = account.user;
        let guilds: Vec<GuildId> = account.guilds.iter().copied().take(GUILDS_ASKED_MAX).collect();
        if guilds.is_empty() {
            return self.refuse_pending_resume(conn, "unknown");
        }
        self.searches.insert(conn, Search { account, session, seq, left: guilds.len() });
        for guild in guilds {
            self.call(Call::FindSession { guild, user, session }, Waiting::Find { conn, session });
        }
    }

    /// The first guild that knows the session decides.
    pub(crate) fn found(&mut self, now: Instant, conn: ConnId, session: SessionId, reply: CallResult) {
        // An answer may be late, and the client ask for another session by then.
        let Some(search) = self.searches.get_mut(&conn).filter(|search| search.session == session) else {
            return;
        };
        if let Ok(Reply::Terms(terms)) = reply {
            let search = self.searches.remove(&conn).expect("it was just there");
            return self.adopt(now, conn, search, terms);
        }
        search.left -= 1;
        if search.left == 0 {
            self.searches.remove(&conn);
            self.refuse_pending_resume(conn, "unknown");
        }
    }

    fn adopt(&mut self, now: Instant, conn: ConnId, search: Search, terms: Terms) {
        let Search { account, session: id, seq, .. } = search;
        let (shard, count) = terms.shard;
        let Some(shard) = Shard::new(shard, count) else {
            return self.refuse_pending_resume(conn, "unknown");
        };
        // It may have been found by another connection meanwhile.
        if self.by_id.contains_key(&id) || !self.make_room(account.user) {
            return self.refuse_pending_resume(conn, "taken");
        }
        let guilds = account.guilds.iter().copied().filter(|guild| shard.holds(*guild));
        let guilds: Vec<GuildId> = guilds.take(GUILDS_PER_SESSION_MAX).collect();
        let mut session = Session::new(id, (account.user, account.token), terms.intents, shard, conn);
        session.replay = Replay::after_another(seq);
        session.guilds = guilds.iter().map(|guild| (*guild, Follow::Waiting)).collect();
        session.status = terms.status;
        session.unsure = guilds.iter().copied().collect();
        session.is_bot = account.bot;
        session.stale = guilds.into_iter().collect();
        let key = self.insert(session);
        self.notice(Notice::Adopted(id));
        self.tell_resumed(now, conn, key);
    }
}
