//! What the database holds: guilds, as the cores' writes make them.

use std::collections::BTreeMap;

use model::{ChannelId, Guild, GuildId, UserId, Write};

#[derive(Default)]
pub struct Database {
    guilds: BTreeMap<GuildId, Guild>,
    /// The number of each guild's ownership: who has an earlier one writes nothing.
    owners: BTreeMap<GuildId, u64>,
}

impl Database {
    pub fn new(guilds: Vec<Guild>) -> Self {
        Self { guilds: guilds.into_iter().map(|guild| (guild.id, guild)).collect(), ..Self::default() }
    }

    pub fn guild(&self, id: GuildId) -> &Guild {
        &self.guilds[&id]
    }

    pub fn guild_of(&self, channel: ChannelId) -> Option<GuildId> {
        self.guilds.values().find(|guild| guild.channel(channel).is_some()).map(|guild| guild.id)
    }

    pub fn guilds_of(&self, user: UserId) -> Vec<GuildId> {
        self.guilds.values().filter(|guild| guild.members.contains_key(&user)).map(|guild| guild.id).collect()
    }

    /// False when there has been a later one.
    pub fn own(&mut self, guild: GuildId, fencing: u64) -> bool {
        let owner = self.owners.entry(guild).or_default();
        let is_newest = fencing >= *owner;
        *owner = fencing.max(*owner);
        is_newest
    }

    /// Of writes, those that concern voice. False when another owns the guild by now.
    pub fn apply_as(&mut self, guild: GuildId, fencing: u64, writes: Vec<Write>) -> bool {
        let is_owner = self.owners.get(&guild) == Some(&fencing);
        if is_owner {
            self.apply(writes);
        }
        is_owner
    }

    fn apply(&mut self, writes: Vec<Write>) {
        for write in writes {
            match write {
                Write::PutGuild { id, name, owner, region } => {
                    let guild = self.of(id);
                    (guild.name, guild.owner, guild.region) = (name, owner, region);
                }
                Write::PutChannel(id, channel) => {
                    let guild = self.of(id);
                    match guild.channels.iter_mut().find(|known| known.id == channel.id) {
                        Some(known) => *known = channel,
                        None => guild.channels.push(channel),
                    }
                }
                Write::DeleteChannel(channel) => {
                    for guild in self.guilds.values_mut() {
                        guild.channels.retain(|known| known.id != channel);
                    }
                }
                Write::PutMember(id, member) => drop(self.of(id).members.insert(member.user, member)),
                Write::DeleteMember(id, user) => drop(self.of(id).members.remove(&user)),
                _ => {}
            }
        }
    }

    fn of(&mut self, id: GuildId) -> &mut Guild {
        self.guilds.get_mut(&id).expect("no guild is ever made here")
    }
}
