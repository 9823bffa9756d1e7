//! Rooms: who is in a channel's call, and which shard forwards for it.

use std::collections::{BTreeMap, BTreeSet};

use model::ChannelId;

use crate::SessionKey;

#[derive(Debug)]
struct Room {
    shard: u32,
    legs: usize,
    /// Placed by guilds and identified: those who are told of each other.
    members: BTreeSet<SessionKey>,
}

#[derive(Debug)]
pub struct Rooms {
    rooms: BTreeMap<ChannelId, Room>,
    /// Legs on each shard.
    load: Vec<usize>,
}

impl Rooms {
    pub fn new(shards: usize) -> Self {
        Self { rooms: BTreeMap::new(), load: vec![0; shards] }
    }

    pub fn len(&self) -> usize {
        self.rooms.len()
    }

    pub fn load(&self, shard: u32) -> usize {
        self.load[shard as usize]
    }

    /// The shard a new leg of this channel would go to: the room's own, or for a new room the one with the fewest legs.
    pub fn shard_for(&self, channel: ChannelId) -> u32 {
        if let Some(room) = self.rooms.get(&channel) {
            return room.shard;
        }
        let least = self.load.iter().enumerate().min_by_key(|(_, legs)| **legs);
        let (shard, _) = least.expect("a server has at least one shard");
        u32::try_from(shard).expect("shards are few")
    }

    /// A leg comes to the channel; the room stays on its shard until the last one has gone.
    pub fn add_leg(&mut self, channel: ChannelId) -> u32 {
        let shard = self.shard_for(channel);
        let empty = || Room { shard, legs: 0, members: BTreeSet::new() };
        self.rooms.entry(channel).or_insert_with(empty).legs += 1;
        self.load[shard as usize] += 1;
        shard
    }

    pub fn remove_leg(&mut self, channel: ChannelId, key: SessionKey) {
        let room = self.rooms.get_mut(&channel).expect("a leg's room exists as long as the leg");
        room.members.remove(&key);
        room.legs -= 1;
        self.load[room.shard as usize] -= 1;
        if room.legs == 0 {
            self.rooms.remove(&channel);
        }
    }

    pub fn add_member(&mut self, channel: ChannelId, key: SessionKey) {
        self.rooms.get_mut(&channel).expect("a member has a leg in the room").members.insert(key);
    }

    /// The members but one, in a stable order.
    pub fn others(&self, channel: ChannelId, key: SessionKey) -> Vec<SessionKey> {
        let members = self.rooms.get(&channel).map(|room| &room.members);
        members.into_iter().flatten().copied().filter(|other| *other != key).collect()
    }
}

#[cfg(test)]
mod tests {
    use model::{GuildId, SessionId};

    use super::*;

    #[test]
    fn a_room_goes_to_the_least_loaded_shard_and_stays_there() {
        let key = |n| SessionKey { guild: GuildId(1), session: SessionId(n) };
        let mut rooms = Rooms::new(2);
        assert_eq!(rooms.add_leg(ChannelId(1)), 0);
        assert_eq!(rooms.add_leg(ChannelId(1)), 0);
        assert_eq!(rooms.add_leg(ChannelId(2)), 1);
        assert_eq!(rooms.add_leg(ChannelId(3)), 1, "one leg there, two on the first");
        rooms.remove_leg(ChannelId(1), key(1));
        rooms.remove_leg(ChannelId(2), key(2));
        rooms.remove_leg(ChannelId(3), key(3));
        assert_eq!((rooms.len(), rooms.load(0), rooms.load(1)), (1, 1, 0));
        assert_eq!(rooms.add_leg(ChannelId(1)), 0, "a room with a leg stays");
        rooms.remove_leg(ChannelId(1), key(1));
        rooms.remove_leg(ChannelId(1), key(4));
        assert_eq!(rooms.len(), 0);
        rooms.add_leg(ChannelId(9));
        assert_eq!(rooms.add_leg(ChannelId(1)), 1, "an empty room is placed anew");
    }
}
