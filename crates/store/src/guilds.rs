//! Reading guilds and what belongs to them: parts, invites, bans.

use std::collections::{BTreeMap, HashMap};

use model::{Ban, Channel, ChannelId, Guild, GuildId, Invite, Member, Role, UserId};

use sqlx::Connection as _;

use crate::backend::{on, row, rows};
use crate::rows::{
    BanRow, ChannelRow, GuildRow, IdRow, InviteRow, MemberRoleRow, MemberRow, OverwriteRow, RoleRow, bits,
    clean,
};
use crate::{Result, Store};

const GUILD: &str = "SELECT name, owner_id, region FROM guilds WHERE id = $1";
const ROLES: &str = "SELECT id, name, permissions, position, color, hoist, mentionable FROM roles \
    WHERE guild_id = $1 ORDER BY id";
const CHANNELS: &str = "SELECT id, kind, name, topic, position, parent_id, bitrate, user_limit, region, video_quality, \
    last_message_id \
    FROM channels WHERE guild_id = $1 ORDER BY id";
const OVERWRITES: &str = "SELECT o.channel_id, o.target_kind, o.target_id, o.allow_bits, o.deny_bits \
    FROM overwrites o JOIN channels c ON c.id = o.channel_id WHERE c.guild_id = $1 ORDER BY o.channel_id, o.ordinal";
const MEMBERS: &str =
    "SELECT user_id, nick, joined_at, mute, deaf, timed_out_until FROM members WHERE guild_id = $1";
const MEMBER_ROLES: &str =
    "SELECT user_id, role_id FROM member_roles WHERE guild_id = $1 ORDER BY user_id, ordinal";

/// The rows of one guild, all of one moment.
struct Parts {
    guild: GuildRow,
    roles: Vec<RoleRow>,
    channels: Vec<ChannelRow>,
    overwrites: Vec<OverwriteRow>,
    members: Vec<MemberRow>,
    member_roles: Vec<MemberRoleRow>,
}

impl Store {
    /// Everything but messages, invites and bans. Roles: everyone first, then oldest first; channels: oldest first.
    pub async fn load_guild(&self, id: GuildId) -> Result<Option<Guild>> {
        let Some(parts) = self.guild_parts(bits(id.0)).await? else { return Ok(None) };
        Ok(Some(Guild {
            id,
            owner: parts.guild.owner(),
            region: parts.guild.region(),
            name: parts.guild.name,
            roles: assemble_roles(id, parts.roles)?,
            channels: assemble_channels(parts.channels, parts.overwrites)?,
            members: assemble_members(parts.members, parts.member_roles),
        }))
    }

    async fn guild_parts(&self, id: i64) -> Result<Option<Parts>> {
        let pool = self.backend.read();
        let begin = pool.begin_snapshot();
        on!(pool, connection => {
            let mut moment = connection.begin_with(begin).await?;
            let guild = sqlx::query_as::<_, GuildRow>(GUILD).bind(id).fetch_optional(&mut *moment).await?;
            let Some(guild) = guild else { return Ok(None) };
            let parts = Parts {
                guild,
                roles: sqlx::query_as(ROLES).bind(id).fetch_all(&mut *moment).await?,
                channels: sqlx::query_as(CHANNELS).bind(id).fetch_all(&mut *moment).await?,
                overwrites: sqlx::query_as(OVERWRITES).bind(id).fetch_all(&mut *moment).await?,
                members: sqlx::query_as(MEMBERS).bind(id).fetch_all(&mut *moment).await?,
                member_roles: sqlx::query_as(MEMBER_ROLES).bind(id).fetch_all(&mut *moment).await?,
            };
            moment.commit().await?;
            Ok(Some(parts))
        })
    }

    /// Every guild, oldest first.
    pub async fn guild_ids(&self) -> Result<Vec<GuildId>> {
        let found = rows!(self.backend.read(), IdRow, "SELECT id FROM guilds ORDER BY id")?;
        Ok(found.into_iter().map(IdRow::guild).collect())
    }

    /// The guilds a user is a member of, oldest first.
    pub async fn guilds_of(&self, user: UserId) -> Result<Vec<GuildId>> {
        const SQL: &str = "SELECT guild_id AS id FROM members WHERE user_id = $1 ORDER BY guild_id";
        let found = rows!(self.backend.read(), IdRow, SQL, bits(user.0))?;
        Ok(found.into_iter().map(IdRow::guild).collect())
    }

    pub async fn channel_guild(&self, channel: ChannelId) -> Result<Option<GuildId>> {
        const SQL: &str = "SELECT guild_id AS id FROM channels WHERE id = $1";
        Ok(row!(self.backend.read(), IdRow, SQL, bits(channel.0))?.map(IdRow::guild))
    }

    pub async fn invite(&self, code: &str) -> Result<Option<Invite>> {
        const SQL: &str = "SELECT code, guild_id, channel_id, inviter_id, created_at, expires_at, uses, max_uses \
            FROM invites WHERE code = $1";
        row!(self.backend.read(), InviteRow, SQL, clean(code).into_owned())?
            .map(InviteRow::invite)
            .transpose()
    }

    /// Newest first.
    pub async fn invites(&self, guild: GuildId) -> Result<Vec<Invite>> {
        const SQL: &str = "SELECT code, guild_id, channel_id, inviter_id, created_at, expires_at, uses, max_uses \
            FROM invites WHERE guild_id = $1 ORDER BY created_at DESC, code";
        let found = rows!(self.backend.read(), InviteRow, SQL, bits(guild.0))?;
        found.into_iter().map(InviteRow::invite).collect()
    }

    /// By user id.
    pub async fn bans(&self, guild: GuildId) -> Result<Vec<Ban>> {
        const SQL: &str = "SELECT user_id, reason FROM bans WHERE guild_id = $1 ORDER BY user_id";
        let found = rows!(self.backend.read(), BanRow, SQL, bits(guild.0))?;
        Ok(found.into_iter().map(BanRow::ban).collect())
    }

    pub async fn ban(&self, guild: GuildId, user: UserId) -> Result<Option<Ban>> {
        const SQL: &str = "SELECT user_id, reason FROM bans WHERE guild_id = $1 AND user_id = $2";
        Ok(row!(self.backend.read(), BanRow, SQL, bits(guild.0), bits(user.0))?.map(BanRow::ban))
    }
}

fn assemble_roles(guild: GuildId, found: Vec<RoleRow>) -> Result<Vec<Role>> {
    let mut roles = found.into_iter().map(RoleRow::role).collect::<Result<Vec<_>>>()?;
    roles.sort_by_key(|role| role.id != guild.everyone());
    Ok(roles)
}

fn assemble_channels(found: Vec<ChannelRow>, overwrites: Vec<OverwriteRow>) -> Result<Vec<Channel>> {
    let mut channels = found.into_iter().map(ChannelRow::channel).collect::<Result<Vec<_>>>()?;
    let mut of_channel: HashMap<ChannelId, Vec<_>> = HashMap::new();
    for overwrite in overwrites {
        of_channel.entry(overwrite.channel()).or_default().push(overwrite.overwrite()?);
    }
    for channel in &mut channels {
        channel.overwrites = of_channel.remove(&channel.id).unwrap_or_default();
    }
    Ok(channels)
}

fn assemble_members(found: Vec<MemberRow>, roles: Vec<MemberRoleRow>) -> BTreeMap<UserId, Member> {
    let mut members: BTreeMap<_, _> =
        found.into_iter().map(MemberRow::member).map(|member| (member.user, member)).collect();
    for role in roles {
        let member = members.get_mut(&role.user()).expect("the schema lets nobody but members have roles");
        member.roles.push(role.role());
    }
    members
}
