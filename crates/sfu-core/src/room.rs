//! Who is in which room, and who listens there.

use std::collections::HashMap;

use crate::leg::LegIndex;

/// Place of a room in [`Rooms`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct RoomIndex(u32);

#[cfg(test)]
impl RoomIndex {
    pub fn test(index: u32) -> Self {
        Self(index)
    }
}

#[derive(Debug, Default)]
pub struct Room {
    id: u64,
    /// Everyone in it.
    members: Vec<LegIndex>,
    /// Those that audio can be sent to now: they may hear, have keys and an address.
    routes: Vec<LegIndex>,
}

impl Room {
    #[must_use]
    pub fn id(&self) -> u64 {
        self.id
    }

    #[must_use]
    pub fn members(&self) -> &[LegIndex] {
        &self.members
    }

    #[inline]
    #[must_use]
    pub fn routes(&self) -> &[LegIndex] {
        &self.routes
    }

    /// Adds a route and says its place, which [`Self::remove_route`] needs.
    pub fn add_route(&mut self, leg: LegIndex) -> usize {
        self.routes.push(leg);
        self.routes.len() - 1
    }

    /// Removes the route at a place, and says which leg's route has moved there.
    pub fn remove_route(&mut self, at: usize) -> Option<LegIndex> {
        self.routes.swap_remove(at);
        self.routes.get(at).copied()
    }
}

/// The rooms of a shard. A room exists while it has members.
#[derive(Debug, Default)]
pub struct Rooms {
    rooms: Vec<Room>,
    free: Vec<RoomIndex>,
    by_id: HashMap<u64, RoomIndex>,
}

impl Rooms {
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Joins the room `id`, and says the place in it, which [`Self::leave`] needs.
    pub fn join(&mut self, id: u64, leg: LegIndex) -> (RoomIndex, usize) {
        let index = *self.by_id.entry(id).or_insert_with(|| {
            let index = self.free.pop().unwrap_or_else(|| {
                self.rooms.push(Room::default());
                RoomIndex(u32::try_from(self.rooms.len() - 1).expect("rooms are bounded by legs"))
            });
            self.rooms[index.0 as usize].id = id;
            index
        });
        let room = self.get_mut(index);
        room.members.push(leg);
        (index, room.members.len() - 1)
    }

    /// Removes the member at a place, and says which leg has moved there.
    pub fn leave(&mut self, index: RoomIndex, at: usize) -> Option<LegIndex> {
        let room = &mut self.rooms[index.0 as usize];
        room.members.swap_remove(at);
        let moved = room.members.get(at).copied();
        if room.members.is_empty() {
            debug_assert!(room.routes.is_empty(), "only members listen");
            self.by_id.remove(&room.id);
            self.free.push(index);
        }
        moved
    }

    #[must_use]
    pub fn get(&self, index: RoomIndex) -> &Room {
        &self.rooms[index.0 as usize]
    }

    pub fn get_mut(&mut self, index: RoomIndex) -> &mut Room {
        &mut self.rooms[index.0 as usize]
    }
}
