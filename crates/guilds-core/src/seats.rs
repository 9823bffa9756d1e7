//! Voice states of an earlier owner: said again by the gateways of those who are in voice, and taken over without a word to their clients.
//!
//! Whoever is in voice goes on at the voice server where it is. That server is told of each participant as it is said, with the new fencing number, and
//! who is there beyond that when everybody had time to speak.

use std::collections::BTreeSet;

use cluster_wire::guilds::Seat;
use cluster_wire::voice::{OrderKind, Participant, Rights};
use model::{ChannelKind, Permissions, ServerId, SessionId, UnixMs, UserId, VoiceState};

use crate::GuildCore;
use crate::limits::SETTLE_MS;
use crate::placement::Placement;
use crate::turn::{Effect, Turn};
use crate::voice::{Life, TO_ENTER, VoiceEntry};

impl GuildCore {
    /// None where the user is in voice already, or cannot be there any more; else where the guild was before this.
    pub(crate) fn take_seat(&mut self, turn: &Turn<'_>, user: UserId, seat: &Seat) -> Option<Placement> {
        let now = turn.now;
        let VoiceState { channel, .. } = seat.state;
        let found = self.guild.channel(channel).filter(|channel| channel.kind.is_voice());
        let kind = found?.kind;
        let permissions = self.member_permissions_in(user, channel, now);
        let is_elsewhere = self.voice.contains_key(&user) || seat.state.user != user;
        if is_elsewhere
            || self.guild.member(user).is_none()
            || !permissions.contains(Permissions::VIEW_CHANNEL)
        {
            return None;
        }
        let mut entry = VoiceEntry {
            state: seat.state.clone(),
            life: Life::Pending { since: now },
            zone: self.zone_of(channel),
            rights: Rights::default(),
            admitted_by: permissions & TO_ENTER,
            is_speaker: kind == ChannelKind::Stage && !seat.state.suppress,
        };
        self.judge(&mut entry, now);
        let zone = entry.zone.clone();
        self.voice.insert(user, entry);
        let was = self.placements.of(&zone).clone();
        let there = seat.server.as_ref().and_then(|server| turn.servers.get(server));
        if let (Placement::Idle | Placement::Awaiting, Some(there)) = (&was, there) {
            let there = Placement::On { server: there.id.clone(), endpoint: there.endpoint.clone() };
            self.placements.set(&zone, there);
        }
        Some(was)
    }

    /// Whom the seat concerns, other than the session that brought it.
    pub(crate) fn announce_seat(
        &mut self,
        turn: &mut Turn<'_>,
        user: UserId,
        server: Option<&ServerId>,
        was: &Placement,
    ) {
        let entry = &self.voice[&user];
        let VoiceState { session, channel, joined_at: since, .. } = entry.state;
        let zone = entry.zone.clone();
        let put = OrderKind::Put(Participant { user, session, channel, rights: entry.rights });
        self.set_life(user, Life::Pending { since: turn.now });
        self.settled_at.get_or_insert(UnixMs(turn.now.0 + SETTLE_MS));
        turn.effect(Effect::EnteredVoice { user, bot: self.user(user).bot, since });
        self.tell_voice_state(turn, user, None);
        self.note_arrival(turn, channel);

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
                if let Some(here) = here {
                    self.order(turn, &here, put);
                }
                if !is_where_it_was {
                    self.tell_server(turn, user);
                }
            }
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
