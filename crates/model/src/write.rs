//! What the owner of a guild asks the database to remember. A list of these is one transaction.

use crate::{
    Ban, Channel, ChannelId, GuildId, Invite, Member, Message, MessageId, RegionId, Role, RoleId, UserId,
};

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Write {
    /// Creates the guild or changes its own columns; its parts have their own writes.
    PutGuild {
        id: GuildId,
        name: String,
        owner: UserId,
        region: Option<RegionId>,
    },
    /// With everything in it.
    DeleteGuild(GuildId),
    PutChannel(GuildId, Channel),
    /// With its messages, overwrites and invites.
    DeleteChannel(ChannelId),
    PutRole(GuildId, Role),
    DeleteRole(RoleId),
    PutMember(GuildId, Member),
    DeleteMember(GuildId, UserId),
    PutMessage(Message),
    DeleteMessage(MessageId),
    PutInvite(Invite),
    DeleteInvite(String),
    PutBan(GuildId, Ban),
    DeleteBan(GuildId, UserId),
}
