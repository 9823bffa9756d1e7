//! On which voice server each voice channel's people are, and what that server is told.
//!
//! A channel that names no region, or the guild's, shares a server with all others like it; those that name another region share one of that region. Two of these
//! may be one server, which is told of all its participants together.

use std::collections::{BTreeMap, BTreeSet};

use cluster_wire::voice::{Order, OrderKind};
use model::{ChannelId, ServerId, UserId, VoiceState};

use crate::GuildCore;
use crate::placement::{Placement, Urgency, Zone, is_placeable, is_to_be_left, place};
use crate::turn::{Effect, Turn};
use crate::voice::VoiceEntry;

impl GuildCore {
    pub(crate) fn zone_of(&self, channel: ChannelId) -> Zone {
        let named = self.guild.channel(channel).and_then(|channel| channel.region.clone());
        named.filter(|region| self.guild.region.as_ref() != Some(region))
    }

    /// None also for who is not in voice.
    pub(crate) fn server_of(&self, user: UserId) -> Option<&ServerId> {
        self.placements.server(&self.voice.get(&user)?.zone)
    }

    pub(crate) fn on_server<'a>(&'a self, server: &'a ServerId) -> impl Iterator<Item = &'a VoiceEntry> {
        self.voice.values().filter(move |entry| self.placements.server(&entry.zone) == Some(server))
    }

    /// Is everybody where they should be? Finds a server for those who await one, moves them off a server that is gone, off one
    /// that should be left as soon as there is another, and to where their channel belongs now.
    pub(crate) fn review_placement(&mut self, turn: &mut Turn<'_>, lost: Option<&ServerId>) {
        for zone in self.placements.zones() {
            self.review_zone(turn, &zone, lost);
        }
        self.rezone(turn);
    }

    fn review_zone(&mut self, turn: &mut Turn<'_>, zone: &Zone, lost: Option<&ServerId>) {
        match self.placements.of(zone) {
            Placement::Idle => {}
            Placement::Awaiting => {
                self.try_place(turn, zone);
                if let Some(server) = self.placements.server(zone).cloned() {
                    self.push(turn, &server);
                    self.tell_server_to_all(turn, zone);
                }
            }
            Placement::On { server, endpoint } => {
                let region = zone.as_ref().or(self.guild.region.as_ref());
                let found = turn.servers.get(server).filter(|found| found.endpoint == *endpoint);
                let stays = found.filter(|_| lost != Some(server)).is_some_and(|found| {
                    !is_to_be_left(found, region) || !is_placeable(turn.servers.values(), region)
                });
                if !stays {
                    let is_lost = found.is_none() || lost == Some(server);
                    self.relocate(turn, zone, is_lost);
                }
            }
        }
    }

    /// To another server, or to awaiting one: pick, push, tell, release. The old one serves them until they are on the new one. Where there is none, or where the old one
    /// is lost, it is told to close at once: it may be that only the registry lost sight of it, and then it would serve whoever has not heard of the move by rules that are old.
    fn relocate(&mut self, turn: &mut Turn<'_>, zone: &Zone, is_lost: bool) {
        let old = self.placements.set(zone, Placement::Awaiting);
        self.try_place(turn, zone);
        let server = self.placements.server(zone).cloned();
        if let Some(server) = &server {
            self.push(turn, server);
        }
        self.tell_server_to_all(turn, zone);
        let Some(old) = old.server().filter(|old| server.as_ref() != Some(old)) else { return };
        if server.is_none() || is_lost {
            self.repeat_orders(turn, old);
        } else {
            let moved = self.voice.values().filter(|entry| entry.zone == *zone);
            self.release(turn, old, moved.map(|entry| entry.state.user).collect());
        }
    }

    /// They have been told of another server than this one.
    fn release(&mut self, turn: &mut Turn<'_>, server: &ServerId, users: Vec<UserId>) {
        let mut released = BTreeSet::new();
        for user in users {
            // From one server to the next and on to a third: two at a time are enough.
            let before = &self.voice[&user];
            if before.former.as_ref() != Some(server) {
                self.end_release(turn, before);
            }
            let entry = self.voice.get_mut(&user).expect("it is in voice");
            entry.former = Some(server.clone());
            released.insert((user, entry.state.session));
        }
        self.order(turn, server, OrderKind::Release(released));
    }

    /// What a participant may do has changed, or it is one no more, which was this. The server that it may still be served by does not hear of changes.
    pub(crate) fn end_release(&self, turn: &mut Turn<'_>, before: &VoiceEntry) {
        let Some(former) = &before.former else { return };
        // It may be back.
        let is_back = [self.placements.server(&before.zone), self.server_of(before.state.user)];
        if !is_back.contains(&Some(former)) {
            let VoiceState { user, session, .. } = before.state;
            self.order(turn, former, OrderKind::Remove { user, session });
        }
    }

    /// The region of a channel or of the guild may have changed: whoever is in a channel that belongs to another zone now goes to that one's server.
    fn rezone(&mut self, turn: &mut Turn<'_>) {
        let mut moved: BTreeMap<UserId, Option<ServerId>> = BTreeMap::new();
        let mut left = BTreeSet::new();
        for (user, VoiceEntry { state, zone, .. }) in &self.voice {
            // Of a channel that is gone its people are about to leave.
            if self.guild.channel(state.channel).is_some() && self.zone_of(state.channel) != *zone {
                moved.insert(*user, self.placements.server(zone).cloned());
                left.insert(zone.clone());
            }
        }
        let mut entered = BTreeSet::new();
        for user in moved.keys() {
            let zone = self.zone_of(self.voice[user].state.channel);
            self.voice.get_mut(user).expect("it is in voice").zone = zone.clone();
            entered.insert(zone);
        }
        // With everybody in them, who count.
        for zone in &entered {
            self.try_place(turn, zone);
        }
        // Nothing changes for who finds the same server there.
        moved.retain(|user, before| self.server_of(*user) != before.as_ref());
        let servers: BTreeSet<ServerId> =
            moved.keys().filter_map(|user| self.server_of(*user)).cloned().collect();
        for server in &servers {
            self.push(turn, server);
        }
        for user in moved.keys() {
            self.tell_server(turn, *user);
        }
        let mut released: BTreeMap<ServerId, Vec<UserId>> = BTreeMap::new();
        for (user, before) in moved {
            let Some(before) = before else { continue };
            if self.server_of(user).is_some() {
                released.entry(before).or_default().push(user);
            } else {
                let session = self.voice[&user].state.session;
                self.order(turn, &before, OrderKind::Remove { user, session });
            }
        }
        for (server, users) in released {
            self.release(turn, &server, users);
        }
        for zone in left {
            if self.is_empty(&zone) {
                self.placements.set(&zone, Placement::Idle);
            }
        }
        self.keep_where_it_belongs(turn);
    }

    /// Gives up the server of a zone that nobody is in any more.
    pub(crate) fn vacate(&mut self, turn: &mut Turn<'_>, zone: &Zone) {
        if !self.is_empty(zone) {
            return;
        }
        let old = self.placements.set(zone, Placement::Idle);
        if let Some(server) = old.server().filter(|server| self.on_server(server).next().is_none()) {
            self.drop_all(turn, server);
        }
        self.keep_where_it_belongs(turn);
    }

    fn is_empty(&self, zone: &Zone) -> bool {
        self.voice.values().all(|entry| entry.zone != *zone)
    }

    /// Chooses a server for a zone that has none, if there is one; rather one that the guild is on already.
    pub(crate) fn try_place(&mut self, turn: &mut Turn<'_>, zone: &Zone) {
        if self.placements.server(zone).is_some() {
            return;
        }
        let region = zone.as_ref().or(self.guild.region.as_ref());
        let ours = self.placements.servers().filter_map(|server| turn.servers.get(server));
        let mut fit = ours.filter(|server| server.is_eligible() && !is_to_be_left(server, region));
        let ours = fit.next().map(|server| server.id.clone());
        drop(fit);
        let is_new = ours.is_none();
        let urgency = match self.placements.of(zone) {
            Placement::Idle => Urgency::Joining,
            Placement::Awaiting | Placement::On { .. } => Urgency::Waiting,
        };
        let chosen = ours.or_else(|| place(turn.servers.values(), region, urgency, turn.draw()));
        let placement = match chosen {
            Some(server) => {
                let endpoint = turn.servers[&server].endpoint.clone();
                if is_new {
                    let participants = self.voice.values().filter(|entry| entry.zone == *zone).count();
                    let participants = u32::try_from(participants).unwrap_or(u32::MAX);
                    turn.effect(Effect::Placed { server: server.clone(), participants });
                }
                Placement::On { server, endpoint }
            }
            None => Placement::Awaiting,
        };
        self.placements.set(zone, placement);
    }

    pub(crate) fn order(&self, turn: &mut Turn<'_>, server: &ServerId, kind: OrderKind) {
        let order = Order { guild: self.guild.id, fencing: self.fencing, kind };
        turn.effect(Effect::Order { server: server.clone(), order });
    }

    /// The whole truth.
    pub(crate) fn push(&mut self, turn: &mut Turn<'_>, server: &ServerId) {
        let participants = self.on_server(server).map(VoiceEntry::participant).collect();
        self.order(turn, server, OrderKind::Push(participants));
        self.kept_at.retain(|_, at| at != server);
        self.keep_where_it_belongs(turn);
    }

    /// That nobody is there.
    fn drop_all(&mut self, turn: &mut Turn<'_>, server: &ServerId) {
        self.order(turn, server, OrderKind::Drop);
        self.kept_at.retain(|_, at| at != server);
    }

    /// All that earlier orders would have led to: the participants that are there, or that nobody is.
    pub(crate) fn repeat_orders(&mut self, turn: &mut Turn<'_>, server: &ServerId) {
        if self.on_server(server).next().is_some() {
            self.push(turn, server);
        } else {
            self.drop_all(turn, server);
        }
    }

    pub(crate) fn tell_server_to_all(&mut self, turn: &mut Turn<'_>, zone: &Zone) {
        let there = self.voice.values().filter(|entry| entry.zone == *zone);
        for user in there.map(|entry| entry.state.user).collect::<Vec<_>>() {
            self.tell_server(turn, user);
        }
    }
}
