//! Where each person is in voice, as far as one node knows. A person is in one guild's voice at a time: where it went last.
//!
//! What an earlier owner of a guild knew is said again by gateways, perhaps after the person has gone elsewhere. So not who speaks last decides, but since when the person
//! is there.

use std::collections::BTreeMap;

use model::{GuildId, UnixMs, UserId};

#[derive(Debug, Default)]
pub struct Whereabouts {
    people: BTreeMap<UserId, Place>,
}

/// The later one is where the person is.
type Place = (UnixMs, GuildId);

/// What follows from a person's being in voice in a guild of this node's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entered {
    /// It leaves wherever else it was, which the other nodes are to hear, and the guild of this node's that is named.
    Here { leaves: Option<GuildId> },
    /// It has gone elsewhere since: it leaves this one.
    Late,
}

/// The same of a guild of another node's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Elsewhere {
    Unknown,
    /// It leaves this guild of this node's.
    Leaves(GuildId),
    /// It has been here since then, which is later: the other node is to hear it.
    Here {
        guild: GuildId,
        since: UnixMs,
    },
}

impl Whereabouts {
    pub fn entered(&mut self, user: UserId, guild: GuildId, since: UnixMs) -> Entered {
        match self.people.get(&user).copied() {
            Some(known) if known.1 != guild && known > (since, guild) => Entered::Late,
            known => {
                self.people.insert(user, (since, guild));
                Entered::Here { leaves: known.map(|(_, old)| old).filter(|old| *old != guild) }
            }
        }
    }

    pub fn entered_elsewhere(&mut self, user: UserId, guild: GuildId, since: UnixMs) -> Elsewhere {
        match self.people.get(&user).copied().filter(|(_, here)| *here != guild) {
            None => Elsewhere::Unknown,
            Some(known @ (here_since, here)) if known > (since, guild) => {
                Elsewhere::Here { guild: here, since: here_since }
            }
            Some((_, here)) => {
                self.people.remove(&user);
                Elsewhere::Leaves(here)
            }
        }
    }

    pub fn left(&mut self, user: UserId, guild: GuildId) {
        if self.is_at(user, guild) {
            self.people.remove(&user);
        }
    }

    /// The guild is another node's by now, and so are its voice states.
    pub fn forget_guild(&mut self, guild: GuildId) {
        self.people.retain(|_, (_, at)| *at != guild);
    }

    pub fn is_at(&self, user: UserId, guild: GuildId) -> bool {
        self.people.get(&user).is_some_and(|(_, at)| *at == guild)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANN: UserId = UserId(1);
    const A: GuildId = GuildId(10);
    const B: GuildId = GuildId(20);

    #[test]
    fn a_person_is_where_it_went_last_whoever_says_so_last() {
        let mut places = Whereabouts::default();
        assert_eq!(places.entered(ANN, A, UnixMs(1)), Entered::Here { leaves: None });
        assert_eq!(places.entered(ANN, B, UnixMs(2)), Entered::Here { leaves: Some(A) });
        assert_eq!(places.entered(ANN, A, UnixMs(1)), Entered::Late);
        assert!(places.is_at(ANN, B));

        let newer = Elsewhere::Here { guild: B, since: UnixMs(2) };
        assert_eq!(places.entered_elsewhere(ANN, A, UnixMs(1)), newer);
        assert_eq!(places.entered_elsewhere(ANN, B, UnixMs(1)), Elsewhere::Unknown, "it is the same");
        assert_eq!(places.entered_elsewhere(ANN, A, UnixMs(3)), Elsewhere::Leaves(B));
        assert_eq!(places.entered_elsewhere(ANN, A, UnixMs(3)), Elsewhere::Unknown);
    }

    #[test]
    fn two_nodes_agree_on_what_happened_in_the_same_moment() {
        let (mut first, mut second) = (Whereabouts::default(), Whereabouts::default());
        first.entered(ANN, A, UnixMs(1));
        second.entered(ANN, B, UnixMs(1));
        assert_eq!(first.entered_elsewhere(ANN, B, UnixMs(1)), Elsewhere::Leaves(A));
        assert_eq!(
            second.entered_elsewhere(ANN, A, UnixMs(1)),
            Elsewhere::Here { guild: B, since: UnixMs(1) }
        );
    }

    #[test]
    fn what_is_left_or_lost_is_forgotten() {
        let mut places = Whereabouts::default();
        places.entered(ANN, A, UnixMs(1));
        places.left(ANN, B);
        assert!(places.is_at(ANN, A));
        places.left(ANN, A);
        assert!(!places.is_at(ANN, A));
        places.entered(ANN, A, UnixMs(1));
        places.forget_guild(A);
        assert_eq!(places.entered(ANN, B, UnixMs(0)), Entered::Here { leaves: None });
    }
}
