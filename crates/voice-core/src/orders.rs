//! What guilds orders, and what the next owner of a guild is told of it.

use std::collections::BTreeSet;

use client_wire::voice::CloseCode;
use cluster_wire::voice::{ChannelMemo, Held, Order, OrderKind, Participant, RELEASE, Report};
use model::{GuildId, SessionId};

use crate::core::{Guild, VoiceCore};
use crate::limits::{CHANNEL_MEMOS_MAX, GUILDS_MAX};
use crate::session::{Placed, Session};
use crate::timers::Reason;
use crate::{Event, Now, Output, SessionKey};

impl VoiceCore {
    pub fn handle_order(&mut self, now: Now, order: Order) {
        let guild = order.guild;
        if order.kind == OrderKind::Claim {
            return self.claimed(guild, order.fencing);
        }
        let state = self.guild(guild);
        if order.fencing < state.fencing {
            return self.event(Event::StaleOrder);
        }
        let has_new_owner = state.ordered != 0 && order.fencing > state.ordered;
        (state.fencing, state.ordered) = (order.fencing, order.fencing);
        let is_whole = matches!(order.kind, OrderKind::Push(_));
        self.carry_out(now, guild, order.kind);
        if has_new_owner || is_whole {
            // It does not know who is here, or may have missed it.
            for session in self.sessions_of(guild) {
                self.report_again(SessionKey { guild, session });
            }
        }
    }

    fn guild(&mut self, guild: GuildId) -> &mut Guild {
        if !self.guilds.contains_key(&guild) && self.guilds.len() >= GUILDS_MAX {
            self.guilds.retain(|_, guild| !guild.sessions.is_empty());
        }
        self.guilds.entry(guild).or_default()
    }

    fn carry_out(&mut self, now: Now, guild: GuildId, kind: OrderKind) {
        match kind {
            OrderKind::Push(participants) => self.push(guild, participants),
            OrderKind::Put(participant) => self.put(guild, participant),
            OrderKind::Remove { session, .. } => self.remove(SessionKey { guild, session }),
            OrderKind::Drop => {
                self.guilds.entry(guild).or_default().channels.clear();
                for session in self.sessions_of(guild) {
                    self.remove(SessionKey { guild, session });
                }
            }
            OrderKind::Release(released) => {
                for (_, session) in released {
                    self.release(now, SessionKey { guild, session });
                }
            }
            OrderKind::Channel(memo) => self.keep(guild, memo),
            OrderKind::Claim => unreachable!("answered by the caller"),
        }
    }

    fn keep(&mut self, guild: GuildId, memo: ChannelMemo) {
        let kept = &mut self.guilds.entry(guild).or_default().channels;
        if memo.is_empty() {
            kept.remove(&memo.channel);
        } else if kept.len() < CHANNEL_MEMOS_MAX || kept.contains_key(&memo.channel) {
            kept.insert(memo.channel, memo);
        }
    }

    /// From now on no earlier owner's orders are obeyed, also where nobody of the guild is here: one that hung may wake up and place it here.
    fn claimed(&mut self, guild: GuildId, claim: u64) {
        if claim < self.guild(guild).fencing {
            return self.event(Event::StaleOrder);
        }
        // They are another server's, of which the next owner has yet to hear.
        for session in self.sessions_of(guild) {
            let key = SessionKey { guild, session };
            if self.session(key).is_some_and(|session| session.released.is_some()) {
                self.remove(key);
            }
        }
        let server = self.config.server.clone();
        let state = self.guild(guild);
        state.fencing = claim;
        let mut held = Held {
            server,
            guild,
            claim,
            fencing: state.ordered,
            participants: Vec::new(),
            live: BTreeSet::new(),
            channels: state.channels.values().cloned().collect(),
        };
        for (&session, known) in &state.sessions {
            let Some(Placed { channel, rights, memo }) = known.placed else { continue };
            held.participants.push(Participant { user: known.user, session, channel, rights, memo });
            held.live.extend(known.reported_live.then_some(session));
        }
        self.outputs.push_back(Output::Report(Report::Held(Box::new(held))));
    }

    /// Whoever guilds had placed and does not list any more is gone. A client that guilds has yet to place is left to its deadline:
    /// its token may be newer than this list.
    fn push(&mut self, guild: GuildId, participants: Vec<Participant>) {
        self.guilds.entry(guild).or_default().channels.clear();
        let listed: BTreeSet<SessionId> = participants.iter().map(|p| p.session).collect();
        for session in self.sessions_of(guild) {
            let key = SessionKey { guild, session };
            let placed = self.session(key).is_some_and(|s| s.placed.is_some());
            if placed && !listed.contains(&session) {
                self.remove(key);
            }
        }
        for participant in participants {
            self.put(guild, participant);
        }
    }

    fn put(&mut self, guild: GuildId, participant: Participant) {
        let key = SessionKey { guild, session: participant.session };
        let state = self.guilds.entry(guild).or_default();
        // A user has one voice state in a guild: a second session takes the first one's place.
        if let Some(before) = state.placed.insert(participant.user, participant.session)
            && before != participant.session
        {
            self.remove(SessionKey { guild, session: before });
        }
        let sessions = &mut self.guilds.entry(guild).or_default().sessions;
        let session = sessions.entry(key.session).or_insert_with(|| Session::new(participant.user));
        let placed =
            Placed { channel: participant.channel, rights: participant.rights, memo: participant.memo };
        let was_confirmed = session.is_confirmed();
        let moved = was_confirmed && session.placed.is_some_and(|before| before.channel != placed.channel);
        if moved {
            self.end_presence(key, Some(CloseCode::Disconnected));
        }
        let Some(session) = self.session_mut(key) else { return };
        let before = session.rights();
        (session.placed, session.released) = (Some(placed), None);
        // A client that is elsewhere with a newer token stays as it is: the order that confirms it is on its way.
        let confirmed = session.is_confirmed();
        if confirmed && (!was_confirmed || before != placed.rights) {
            self.put_leg(key);
        }
        if confirmed && was_confirmed {
            self.relay_speaking(key);
        } else if confirmed {
            self.enter_room(key);
            self.appear(key);
        }
    }

    pub(crate) fn remove(&mut self, key: SessionKey) {
        let Some(session) = self.session(key) else { return };
        let user = session.user;
        // The others learn of it while it is still placed among them.
        self.end_presence(key, Some(CloseCode::Disconnected));
        if let Some(guild) = self.guilds.get_mut(&key.guild)
            && guild.placed.get(&user) == Some(&key.session)
        {
            guild.placed.remove(&user);
        }
        if let Some(session) = self.session_mut(key) {
            (session.placed, session.released) = (None, None);
        }
        self.forget_if_idle(key);
    }

    /// Whoever is not here has nobody to be heard by.
    fn release(&mut self, now: Now, key: SessionKey) {
        let Some(session) = self.session_mut(key).filter(|session| session.placed.is_some()) else { return };
        if session.presence.is_none() {
            return self.remove(key);
        }
        let until = now.instant + RELEASE;
        session.released = Some(until);
        self.timers.arm(until, Reason::Release { key });
    }

    fn sessions_of(&self, guild: GuildId) -> Vec<SessionId> {
        self.guilds.get(&guild).map(|guild| guild.sessions.keys().copied().collect()).unwrap_or_default()
    }
}
