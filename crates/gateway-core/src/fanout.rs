//! Which sessions follow which guild, and which of them an event is for.

use std::collections::HashMap;

use client_wire::gateway::Intents;
use cluster_wire::guilds::{Audience, Dispatch};
use model::{GuildId, UserId};

/// A session's place in the node's table.
pub type Key = usize;

/// What must be known of a follower to choose it, kept together so that an event to many touches one array.
#[derive(Debug, Clone, Copy)]
struct Follower {
    key: Key,
    user: UserId,
    intents: u64,
}

/// One list for each guild, however many of its members are here.
#[derive(Debug, Default)]
pub struct Fanout {
    guilds: HashMap<GuildId, Vec<Follower>>,
}

/// Whether a session with these intents gets the event, and whether it gets the variant without content.
pub fn wants(dispatch: &Dispatch, user: UserId, intents: u64) -> Option<Variant> {
    if dispatch.always == Some(user) {
        return Some(Variant::Full);
    }
    if dispatch.intents != 0 && dispatch.intents & intents == 0 {
        return None;
    }
    Some(if intents & Intents::MESSAGE_CONTENT.bits() == 0 { Variant::WithoutContent } else { Variant::Full })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Variant {
    Full,
    /// The full one where the event has no such variant.
    WithoutContent,
}

impl Fanout {
    pub fn follow(&mut self, guild: GuildId, key: Key, user: UserId, intents: u64) {
        self.guilds.entry(guild).or_default().push(Follower { key, user, intents });
    }

    pub fn unfollow(&mut self, guild: GuildId, key: Key) {
        let Some(followers) = self.guilds.get_mut(&guild) else { return };
        if let Some(at) = followers.iter().position(|follower| follower.key == key) {
            followers.swap_remove(at);
        }
        if followers.is_empty() {
            self.guilds.remove(&guild);
        }
    }

    /// Nobody follows the guild any more; those who did, in order.
    pub fn unfollow_all(&mut self, guild: GuildId) -> Vec<Key> {
        let followers = self.guilds.remove(&guild).unwrap_or_default();
        let mut keys: Vec<Key> = followers.into_iter().map(|follower| follower.key).collect();
        keys.sort_unstable();
        keys
    }

    /// Adds those the event is for to `receivers`. An event for one session is not for this list to choose.
    pub fn select(&self, guild: GuildId, dispatch: &Dispatch, receivers: &mut Vec<(Key, Variant)>) {
        let Some(followers) = self.guilds.get(&guild) else { return };
        let is_meant = |user: UserId| match &dispatch.audience {
            Audience::Guild => true,
            Audience::GuildExcept(users) => !users.contains(&user),
            Audience::Users(users) => users.contains(&user),
            Audience::Session(_) => false,
        };
        receivers.extend(
            followers
                .iter()
                .filter(|follower| is_meant(follower.user))
                .filter_map(|f| wants(dispatch, f.user, f.intents).map(|variant| (f.key, variant))),
        );
    }

    #[cfg(test)]
    fn is_empty(&self) -> bool {
        self.guilds.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::sync::Arc;

    use model::SessionId;
    use serde_json::value::RawValue;

    use super::*;

    const GUILD: GuildId = GuildId(1);
    const VOICE: u64 = 1 << 7;
    const CONTENT: u64 = 1 << 15;

    /// Three sessions: 0 of user 10 with voice states, 1 of user 11 without any intent, 2 of user 12 with
    /// everything.
    fn check(audience: Audience, intents: u64, always: Option<u64>, expect: &[(Key, Variant)]) {
        let mut fanout = Fanout::default();
        fanout.follow(GUILD, 0, UserId(10), VOICE);
        fanout.follow(GUILD, 1, UserId(11), 0);
        fanout.follow(GUILD, 2, UserId(12), VOICE | CONTENT);
        fanout.follow(GuildId(2), 3, UserId(10), u64::MAX);
        let dispatch = Dispatch {
            t: "X",
            d: RawValue::from_string("{}".to_owned()).unwrap().into(),
            without_content: None,
            intents,
            audience,
            always: always.map(UserId),
            note: None,
        };
        let mut receivers = Vec::new();
        fanout.select(GUILD, &dispatch, &mut receivers);
        assert_eq!(receivers, expect, "{dispatch:?}");
        for (guild, key) in [(GUILD, 0), (GUILD, 1), (GUILD, 2), (GuildId(2), 3)] {
            fanout.unfollow(guild, key);
        }
        assert!(fanout.is_empty());
    }

    #[test]
    fn audience_intents_and_exceptions_choose_the_receivers() {
        use Variant::{Full, WithoutContent};
        let users = |ids: &[u64]| Arc::new(ids.iter().copied().map(UserId).collect::<HashSet<_>>());
        check(Audience::Guild, 0, None, &[(0, WithoutContent), (1, WithoutContent), (2, Full)]);
        check(Audience::Guild, VOICE, None, &[(0, WithoutContent), (2, Full)]);
        check(Audience::Guild, VOICE, Some(11), &[(0, WithoutContent), (1, Full), (2, Full)]);
        check(Audience::Guild, 1, None, &[]);
        check(Audience::GuildExcept(users(&[12])), VOICE, None, &[(0, WithoutContent)]);
        check(Audience::GuildExcept(users(&[11])), VOICE, Some(11), &[(0, WithoutContent), (2, Full)]);
        check(Audience::Users(users(&[12, 99])), VOICE, None, &[(2, Full)]);
        check(Audience::Users(users(&[11])), VOICE, None, &[]);
        check(Audience::Session(SessionId(1)), 0, None, &[]);
    }
}
