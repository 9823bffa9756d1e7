//! Rows as the database returns them, and what they mean.

use std::borrow::Cow;

use model::{
    Ban, Channel, ChannelId, ChannelKind, GuildId, Invite, Member, Message, MessageId, Overwrite,
    OverwriteTarget, Permissions, RegionId, Role, RoleId, UnixMs, User, UserId, VideoQuality,
};
use sqlx::{ColumnIndex, Decode, FromRow, Row, Type};

use crate::plan::{TARGET_MEMBER, TARGET_ROLE};
use crate::{Result, StoreError};

/// Ids, permissions and times are kept bit for bit in the database's signed numbers. Ids sort as they should until
/// 2084, when snowflakes reach the sign bit.
pub fn bits(n: u64) -> i64 {
    n as i64
}

fn unbits(n: i64) -> u64 {
    n as u64
}

/// PostgreSQL cannot hold U+0000, so neither database is given it: one message with it must not fail a whole batch.
pub fn clean(s: &str) -> Cow<'_, str> {
    if s.contains('\0') { Cow::Owned(s.replace('\0', "\u{fffd}")) } else { Cow::Borrowed(s) }
}

/// The form of a name under which it is unique.
pub fn name_key(name: &str) -> String {
    clean(name).to_lowercase()
}

fn narrow<T: TryFrom<i64>>(what: &str, n: i64) -> Result<T> {
    T::try_from(n).map_err(|_| StoreError::Unreadable(format!("{what} is {n}")))
}

/// A row is read by the names of its columns. sqlx has a derive for that; but its macros have sqlx itself, with both databases and TLS, compiled a
/// second time for the compiler's own use.
macro_rules! by_column {
    (pub struct $name:ident { $($seen:vis $column:ident: $type:ty,)* }) => {
        pub struct $name {
            $($seen $column: $type,)*
        }

        impl<'r, R: Row> FromRow<'r, R> for $name
        where
            &'static str: ColumnIndex<R>,
            $($type: Decode<'r, R::Database> + Type<R::Database>,)*
        {
            fn from_row(row: &'r R) -> sqlx::Result<Self> {
                Ok(Self { $($column: row.try_get(stringify!($column))?,)* })
            }
        }
    };
}

by_column! {
    pub struct UserRow {
        id: i64,
        name: String,
        display_name: Option<String>,
        bot: bool,
    }
}

impl UserRow {
    pub fn user(self) -> User {
        User { id: UserId(unbits(self.id)), name: self.name, display_name: self.display_name, bot: self.bot }
    }
}

by_column! {
    pub struct IdRow {
        id: i64,
    }
}

impl IdRow {
    pub fn guild(self) -> GuildId {
        GuildId(unbits(self.id))
    }

    pub fn user(self) -> UserId {
        UserId(unbits(self.id))
    }
}

by_column! {
    pub struct PasswordRow {
        id: i64,
        pub password_hash: String,
    }
}

impl PasswordRow {
    pub fn user(&self) -> UserId {
        UserId(unbits(self.id))
    }
}

by_column! {
    pub struct TokenRow {
        user_id: i64,
        used_at: i64,
    }
}

impl TokenRow {
    pub fn token(self) -> (UserId, UnixMs) {
        (UserId(unbits(self.user_id)), UnixMs(unbits(self.used_at)))
    }
}

by_column! {
    pub struct TextRow {
        pub value: String,
    }
}

by_column! {
    pub struct GuildRow {
        pub name: String,
        owner_id: i64,
        region: Option<String>,
    }
}

impl GuildRow {
    pub fn owner(&self) -> UserId {
        UserId(unbits(self.owner_id))
    }

    pub fn region(&self) -> Option<RegionId> {
        self.region.clone().map(RegionId)
    }
}

by_column! {
    pub struct RoleRow {
        id: i64,
        name: String,
        permissions: i64,
        position: i64,
        color: i64,
        hoist: bool,
        mentionable: bool,
    }
}

impl RoleRow {
    pub fn role(self) -> Result<Role> {
        Ok(Role {
            id: RoleId(unbits(self.id)),
            name: self.name,
            permissions: Permissions::from_bits_retain(unbits(self.permissions)),
            position: narrow("a role's position", self.position)?,
            color: narrow("a role's color", self.color)?,
            hoist: self.hoist,
            mentionable: self.mentionable,
        })
    }
}

by_column! {
    pub struct ChannelRow {
        id: i64,
        kind: i64,
        name: String,
        topic: Option<String>,
        position: i64,
        parent_id: Option<i64>,
        bitrate: i64,
        user_limit: i64,
        region: Option<String>,
        video_quality: i64,
        last_message_id: Option<i64>,
    }
}

impl ChannelRow {
    /// Without its overwrites, which have rows of their own.
    pub fn channel(self) -> Result<Channel> {
        let kind = u8::try_from(self.kind).ok().and_then(ChannelKind::from_number);
        let quality = u8::try_from(self.video_quality).ok().and_then(VideoQuality::from_number);
        Ok(Channel {
            id: ChannelId(unbits(self.id)),
            kind: kind.ok_or_else(|| StoreError::Unreadable(format!("a channel's kind is {}", self.kind)))?,
            name: self.name,
            topic: self.topic,
            position: narrow("a channel's position", self.position)?,
            parent: self.parent_id.map(|id| ChannelId(unbits(id))),
            overwrites: Vec::new(),
            bitrate: narrow("a channel's bitrate", self.bitrate)?,
            user_limit: narrow("a channel's user limit", self.user_limit)?,
            region: self.region.map(RegionId),
            video_quality: quality.ok_or_else(|| {
                StoreError::Unreadable(format!("a channel's video quality is {}", self.video_quality))
            })?,
            last_message: self.last_message_id.map(|id| MessageId(unbits(id))),
        })
    }
}

by_column! {
    pub struct OverwriteRow {
        channel_id: i64,
        target_kind: i64,
        target_id: i64,
        allow_bits: i64,
        deny_bits: i64,
    }
}

impl OverwriteRow {
    pub fn channel(&self) -> ChannelId {
        ChannelId(unbits(self.channel_id))
    }

    pub fn overwrite(&self) -> Result<Overwrite> {
        let id = unbits(self.target_id);
        let target = match self.target_kind {
            TARGET_ROLE => OverwriteTarget::Role(RoleId(id)),
            TARGET_MEMBER => OverwriteTarget::Member(UserId(id)),
            other => return Err(StoreError::Unreadable(format!("an overwrite's kind of target is {other}"))),
        };
        let [allow, deny] =
            [self.allow_bits, self.deny_bits].map(|n| Permissions::from_bits_retain(unbits(n)));
        Ok(Overwrite { target, allow, deny })
    }
}

by_column! {
    pub struct MemberRow {
        user_id: i64,
        nick: Option<String>,
        joined_at: i64,
        mute: bool,
        deaf: bool,
        timed_out_until: Option<i64>,
    }
}

impl MemberRow {
    /// Without the roles, which have rows of their own.
    pub fn member(self) -> Member {
        Member {
            user: UserId(unbits(self.user_id)),
            nick: self.nick,
            roles: Vec::new(),
            joined_at: UnixMs(unbits(self.joined_at)),
            mute: self.mute,
            deaf: self.deaf,
            timed_out_until: self.timed_out_until.map(|t| UnixMs(unbits(t))),
        }
    }
}

by_column! {
    pub struct MemberRoleRow {
        user_id: i64,
        role_id: i64,
    }
}

impl MemberRoleRow {
    pub fn user(&self) -> UserId {
        UserId(unbits(self.user_id))
    }

    pub fn role(&self) -> RoleId {
        RoleId(unbits(self.role_id))
    }
}

by_column! {
    pub struct MessageRow {
        id: i64,
        channel_id: i64,
        author_id: i64,
        content: String,
        edited_at: Option<i64>,
    }
}

impl MessageRow {
    pub fn message(self) -> Message {
        Message {
            id: MessageId(unbits(self.id)),
            channel: ChannelId(unbits(self.channel_id)),
            author: UserId(unbits(self.author_id)),
            content: self.content,
            edited_at: self.edited_at.map(|t| UnixMs(unbits(t))),
        }
    }
}

by_column! {
    pub struct NewestRow {
        channel_id: i64,
        newest_id: Option<i64>,
    }
}

impl NewestRow {
    pub fn newest(self) -> Option<(ChannelId, MessageId)> {
        Some((ChannelId(unbits(self.channel_id)), MessageId(unbits(self.newest_id?))))
    }
}

by_column! {
    pub struct InviteRow {
        code: String,
        guild_id: i64,
        channel_id: i64,
        inviter_id: i64,
        created_at: i64,
        expires_at: Option<i64>,
        uses: i64,
        max_uses: i64,
    }
}

impl InviteRow {
    pub fn invite(self) -> Result<Invite> {
        Ok(Invite {
            code: self.code,
            guild: GuildId(unbits(self.guild_id)),
            channel: ChannelId(unbits(self.channel_id)),
            inviter: UserId(unbits(self.inviter_id)),
            created_at: UnixMs(unbits(self.created_at)),
            expires_at: self.expires_at.map(|t| UnixMs(unbits(t))),
            uses: narrow("an invite's number of uses", self.uses)?,
            max_uses: narrow("an invite's limit of uses", self.max_uses)?,
        })
    }
}

by_column! {
    pub struct BanRow {
        user_id: i64,
        reason: Option<String>,
    }
}

impl BanRow {
    pub fn ban(self) -> Ban {
        Ban { user: UserId(unbits(self.user_id)), reason: self.reason }
    }
}
