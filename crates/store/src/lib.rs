//! The facts that outlive every process: accounts, guilds and what is in them, messages, tokens.
//!
//! Owns: the schema, its migrations and every query, for SQLite (one file, the default) and PostgreSQL (shared by many
//! nodes). The same statements run on both.
//! Deliberately does not: cache, check permissions, decide who may write (the guild's owner does), know voice states.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod error;

pub use error::{CreateUserError, Result, StoreError};

use model::{Ban, ChannelId, Guild, GuildId, Invite, Message, MessageId, UnixMs, User, UserId, Write};

/// A handle on the database. Clones share its connections.
#[derive(Debug, Clone)]
pub struct Store {}

impl Store {
    /// Opens `sqlite:PATH` (made if missing), `sqlite::memory:` or `postgres://…` and brings its schema up to date.
    pub async fn open(_url: &str) -> Result<Store> {
        todo!()
    }

    /// Waits for calls in progress and closes every connection.
    pub async fn close(&self) {
        todo!()
    }

    /// All of `writes`, in order, or none of them. References between them may point forward.
    pub async fn apply(&self, _writes: &[Write]) -> Result<()> {
        todo!()
    }

    /// Everything but messages, invites and bans. Roles: everyone first, then oldest first; channels: oldest first.
    pub async fn load_guild(&self, _id: GuildId) -> Result<Option<Guild>> {
        todo!()
    }
    /// Every guild, oldest first.
    pub async fn guild_ids(&self) -> Result<Vec<GuildId>> {
        todo!()
    }
    /// The guilds a user is a member of, oldest first.
    pub async fn guilds_of(&self, _user: UserId) -> Result<Vec<GuildId>> {
        todo!()
    }
    pub async fn channel_guild(&self, _channel: ChannelId) -> Result<Option<GuildId>> {
        todo!()
    }

    /// Those of `ids` that exist, by id.
    pub async fn users(&self, _ids: &[UserId]) -> Result<Vec<User>> {
        todo!()
    }
    pub async fn user(&self, _id: UserId) -> Result<Option<User>> {
        todo!()
    }
    /// Letter case does not matter.
    pub async fn user_by_name(&self, _name: &str) -> Result<Option<User>> {
        todo!()
    }
    /// Up to `limit` users by id, those after `after` only.
    pub async fn list_users(&self, _after: Option<UserId>, _limit: u32) -> Result<Vec<User>> {
        todo!()
    }

    /// `password_hash` is None for bots, `owner` None for people.
    pub async fn create_user(
        &self,
        _user: &User,
        _password_hash: Option<&str>,
        _owner: Option<UserId>,
    ) -> Result<(), CreateUserError> {
        todo!()
    }
    /// Of the account of that name in any letter case; None if there is none or it has no password.
    pub async fn password_hash(&self, _name: &str) -> Result<Option<(UserId, String)>> {
        todo!()
    }
    pub async fn bot_owner(&self, _bot: UserId) -> Result<Option<UserId>> {
        todo!()
    }

    /// `hash` is the SHA-256 of the token; the token itself is never stored.
    pub async fn put_token(&self, _hash: [u8; 32], _user: UserId, _created_at: UnixMs) -> Result<()> {
        todo!()
    }
    pub async fn token_user(&self, _hash: [u8; 32]) -> Result<Option<UserId>> {
        todo!()
    }
    /// Signs a user out everywhere.
    pub async fn delete_tokens(&self, _user: UserId) -> Result<()> {
        todo!()
    }

    /// Newest first. With `after` alone: the `limit` messages that follow it; otherwise the newest `limit` that fit.
    pub async fn messages(
        &self,
        _channel: ChannelId,
        _limit: u32,
        _before: Option<MessageId>,
        _after: Option<MessageId>,
    ) -> Result<Vec<Message>> {
        todo!()
    }
    pub async fn message(&self, _id: MessageId) -> Result<Option<Message>> {
        todo!()
    }

    pub async fn invite(&self, _code: &str) -> Result<Option<Invite>> {
        todo!()
    }
    /// Newest first.
    pub async fn invites(&self, _guild: GuildId) -> Result<Vec<Invite>> {
        todo!()
    }
    /// By user id.
    pub async fn bans(&self, _guild: GuildId) -> Result<Vec<Ban>> {
        todo!()
    }
    pub async fn ban(&self, _guild: GuildId, _user: UserId) -> Result<Option<Ban>> {
        todo!()
    }

    /// Facts of the installation as a whole, such as the cluster's secret.
    pub async fn meta_get(&self, _key: &str) -> Result<Option<String>> {
        todo!()
    }
    /// The first writer wins; everyone gets the winner's value.
    pub async fn meta_put_if_absent(&self, _key: &str, _value: &str) -> Result<String> {
        todo!()
    }
}
