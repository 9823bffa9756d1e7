//! Voice states of an earlier owner: said again by the gateways of those who are in voice, and taken over without a word to their clients.
//!
//! Whoever is in voice goes on at the voice server where it is. That server is told of each participant as it is said, with the new fencing number, and
//! who is there beyond that when everybody had time to speak. What gateways say of their sessions goes before what voice servers say (see `takeover`).

use std::collections::BTreeSet;

use cluster_wire::guilds::Seat;
use cluster_wire::voice::{OrderKind, Rights};
use model::{ChannelKind, Permissions, ServerId, SessionId, UnixMs, UserId, VoiceState};

use crate::GuildCore;
use crate::limits::SETTLE_MS;
use crate::placement::{Placement, Zone};
use crate::turn::{Effect, Turn};
use crate::voice::{Life, TO_ENTER, VoiceEntry};

/// A seat that was taken, and what was before.
pub(crate) struct Taken {
    placement: Placement,
    entry: Option<VoiceEntry>,
}

impl GuildCore {
    /// None where the user is in voice already, or cannot be there any more.
    pub(crate) fn take_seat(&mut self, turn: &Turn<'_>, user: UserId, seat: &Seat) -> Option<Taken> {
        let before = self.voice.get(&user);
        if before.is_some_and(|entry| !entry.is_hearsay) || seat.state.user != user {
            return None;
        }
        let mut entry = self.seated(&seat.state, turn.now)?;
        if let Some(before) = before.filter(|before| before.state.session == seat.state.session) {
            entry.life = before.life;
        }
        let zone = entry.zone.clone();
        let entry = self.voice.insert(user, entry);
        let placement = self.placements.of(&zone).clone();
        self.stay_at(turn, &zone, seat.server.as_ref());
        Some(Taken { placement, entry })
    }

    /// The state as it may be now, if there is anything of it.
    pub(crate) fn seated(&self, state: &VoiceState, now: UnixMs) -> Option<VoiceEntry> {
        let kind = self.guild.channel(state.channel).filter(|channel| channel.kind.is_voice())?.kind;
        self.guild.member(state.user)?;
        let permissions = self.member_permissions_in(state.user, state.channel, now);
        if !permissions.contains(Permissions::VIEW_CHANNEL) {
            return None;
        }
        let mut entry = VoiceEntry {
            state: state.clone(),
            life: Life::Pending { since: now },
            zone: self.zone_of(state.channel),
            rights: Rights::default(),
            admitted_by: permissions & TO_ENTER,
            is_speaker: kind == ChannelKind::Stage && !state.suppress,
            is_hearsay: false,
            terms: self.sessions.get(&state.session).map(|session| session.terms),
            former: None,
            told: None,
        };
        self.judge(&mut entry, now);
        Some(entry)
    }

    /// A zone that is nowhere yet is where its people are.
    pub(crate) fn stay_at(&mut self, turn: &Turn<'_>, zone: &Zone, server: Option<&ServerId>) {
        let there = server.and_then(|server| turn.servers.get(server));
        if let (Placement::Idle | Placement::Awaiting, Some(there)) = (self.placements.of(zone), there) {
            let there = Placement::On { server: there.id.clone(), endpoint: there.endpoint.clone() };
            self.placements.set(zone, there);
        }
    }

    /// Whom the seat concerns, other than the session that brought it.
    pub(crate) fn announce_seat(
        &mut self,
        turn: &mut Turn<'_>,
        user: UserId,
        server: Option<&ServerId>,
        taken: &Taken,
    ) {
        let Taken { placement: was, entry: before } = taken;
        let entry = &self.voice[&user];
        let VoiceState { session, channel, joined_at, .. } = entry.state;
        let zone = entry.zone.clone();
        let (put, life) = (OrderKind::Put(entry.participant()), entry.life);
        let is_told = before.as_ref().is_some_and(|before| before.state == entry.state);
        self.set_life(user, life);
        self.settled_at.get_or_insert(UnixMs(turn.now.0 + SETTLE_MS));
        if let Some(before) = before {
            self.end_release(turn, before);
        } else {
            turn.effect(Effect::EnteredVoice { user, bot: self.user(user).bot, since: joined_at });
        }
        if !is_told {
            self.tell_voice_state(turn, user, before.as_ref().map(|before| before.state.channel));
        }

        self.try_place(turn, &zone);
        let here = self.placements.server(&zone).cloned();
        let is_where_it_was = here.is_some() && here.as_ref() == server;
        match (was, here) {
            // Whoever was said before was told that there is no server.
            (Placement::Awaiting, Some(here)) => {
                self.push(turn, &here);
                self.tell_server_to_all(turn, &zone);
            }
            (_, here) => {
                let before = before
                    .as_ref()
                    .map(|old| (old.state.session, self.placements.server(&old.zone).cloned()));
                if let Some((old, Some(left))) = before.filter(|(old, left)| *old != session || *left != here)
                {
                    self.order(turn, &left, OrderKind::Remove { user, session: old });
                }
                if let Some(here) = here {
                    self.order(turn, &here, put);
                }
                if !is_where_it_was {
                    self.tell_server(turn, user);
                }
            }
        }
        if before.as_ref().is_none_or(|before| before.state.channel != channel) {
            if let Some(before) = before {
                self.note_departure(turn, &before.state);
            }
            self.note_arrival(turn, channel);
            self.note_start(turn, channel, joined_at);
        }
        if let Some(before) = before {
            self.vacate(turn, &before.zone);
        }
    }

    /// What the session's gateway is to keep.
    pub(crate) fn seat_of(&self, user: UserId, session: SessionId) -> Option<Seat> {
        let entry = self.voice.get(&user).filter(|entry| entry.state.session == session)?;
        Some(Seat { state: entry.state.clone(), server: self.server_of(user).cloned() })
    }

    /// Who has not been said by now is in voice no more.
    pub(crate) fn settle(&mut self, turn: &mut Turn<'_>) {
        if self.settled_at.is_some_and(|at| at <= turn.now) {
            self.settled_at = None;
            for server in self.placements.servers().cloned().collect::<BTreeSet<_>>() {
                self.push(turn, &server);
            }
        }
    }
}
