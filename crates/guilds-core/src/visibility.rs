//! Who sees which channel, and what those are told who begin or cease to.
//!
//! Events about a channel go to everyone but the attached users who cannot see it. These sets are kept for each channel and
//! thrown away when something they depend on changes; VIEW_CHANNEL does not depend on time, so nothing else does.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use client_wire::gateway::Intents;
use client_wire::object;
use cluster_wire::guilds::Audience;
use model::{Channel, ChannelId, UnixMs, UserId};

use crate::GuildCore;
use crate::turn::Turn;

/// How far a change of permissions can reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Roles, owner.
    Everything,
    /// Overwrites of one channel.
    Channel(ChannelId),
    /// Roles or time-out of one member.
    Member(UserId),
}

/// For each channel in scope, the attached users in scope who cannot see it.
pub(crate) type Sight = BTreeMap<ChannelId, Arc<HashSet<UserId>>>;

impl GuildCore {
    /// The attached users who cannot see the channel.
    pub(crate) fn hidden_from(&mut self, channel: ChannelId, now: UnixMs) -> Arc<HashSet<UserId>> {
        if let Some(hidden) = self.hidden.get(&channel) {
            return Arc::clone(hidden);
        }
        let Some(found) = self.guild.channel(channel) else { return Arc::default() };
        let hidden: HashSet<UserId> =
            self.attached.keys().copied().filter(|user| !self.can_see(*user, found, now)).collect();
        let hidden = Arc::new(hidden);
        self.hidden.insert(channel, Arc::clone(&hidden));
        hidden
    }

    /// Everyone who sees the channel.
    pub(crate) fn audience_of(&mut self, channel: ChannelId, now: UnixMs) -> Audience {
        except(self.hidden_from(channel, now))
    }

    /// A user's first session came: it belongs into the sets that are kept.
    pub(crate) fn note_attached(&mut self, user: UserId, now: UnixMs) {
        let mut hidden = std::mem::take(&mut self.hidden);
        for (channel, users) in &mut hidden {
            let sees = self.guild.channel(*channel).is_some_and(|channel| self.can_see(user, channel, now));
            set(users, user, !sees);
        }
        self.hidden = hidden;
    }

    /// To be taken before a change, and given to [`Self::after_change`].
    pub(crate) fn sight(&mut self, scope: Scope, now: UnixMs) -> Sight {
        match scope {
            Scope::Everything => {
                let channels: Vec<ChannelId> = self.guild.channels.iter().map(|channel| channel.id).collect();
                channels.into_iter().map(|channel| (channel, self.hidden_from(channel, now))).collect()
            }
            Scope::Channel(channel) => BTreeMap::from([(channel, self.hidden_from(channel, now))]),
            Scope::Member(user) if !self.attached.contains_key(&user) => BTreeMap::new(),
            Scope::Member(user) => {
                let hidden = |channel: &Channel| match self.can_see(user, channel, now) {
                    true => Arc::default(),
                    false => Arc::new(HashSet::from([user])),
                };
                self.guild.channels.iter().map(|channel| (channel.id, hidden(channel))).collect()
            }
        }
    }

    /// Permissions in this scope may have changed: whoever gained or lost sight of a channel is told, and whoever is in
    /// voice gets what is now right.
    pub(crate) fn after_change(&mut self, turn: &mut Turn<'_>, scope: Scope, before: Sight) {
        match scope {
            Scope::Everything => self.hidden.clear(),
            Scope::Channel(channel) => drop(self.hidden.remove(&channel)),
            Scope::Member(user) if self.attached.contains_key(&user) => self.note_attached(user, turn.now),
            Scope::Member(_) => {}
        }
        let after = self.sight(scope, turn.now);
        for (channel, hidden_before) in before {
            let Some(hidden_after) = after.get(&channel) else { continue };
            if hidden_before != *hidden_after {
                let gained = hidden_before.difference(hidden_after).copied().collect();
                let lost = hidden_after.difference(&hidden_before).copied().collect();
                self.tell_sight(turn, channel, gained, lost);
            }
        }
        self.reconcile_voice(turn, scope);
    }

    fn tell_sight(
        &self,
        turn: &mut Turn<'_>,
        channel: ChannelId,
        gained: HashSet<UserId>,
        lost: HashSet<UserId>,
    ) {
        let Some(found) = self.guild.channel(channel) else { return };
        let object = object::Channel::new(self.guild.id, found);
        turn.tell_users("CHANNEL_DELETE", Intents::GUILDS, lost, &object);
        turn.tell_users("CHANNEL_CREATE", Intents::GUILDS, gained.clone(), &object);
        for entry in self.voice.values().filter(|entry| entry.state.channel == channel) {
            let event = self.voice_state_event(&entry.state);
            turn.tell_users("VOICE_STATE_UPDATE", Intents::GUILD_VOICE_STATES, gained.clone(), &event);
        }
        self.show_gathering(turn, channel, &gained);
        if let Some(stage) = self.stage_object(channel) {
            turn.tell_users("STAGE_INSTANCE_CREATE", Intents::GUILDS, gained, &stage);
        }
    }
}

/// The whole guild, but these.
pub(crate) fn except(users: Arc<HashSet<UserId>>) -> Audience {
    match users.is_empty() {
        true => Audience::Guild,
        false => Audience::GuildExcept(users),
    }
}

fn set(users: &mut Arc<HashSet<UserId>>, user: UserId, present: bool) {
    if users.contains(&user) == present {
        return;
    }
    let users = Arc::make_mut(users);
    if present {
        users.insert(user);
    } else {
        users.remove(&user);
    }
}
