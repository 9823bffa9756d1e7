//! Users, their passwords and tokens, and the installation's own facts.

use model::{UnixMs, User, UserId};
use sqlx::QueryBuilder;

use crate::backend::{execute, on, row, rows};
use crate::limits::{MAX_BINDS, MAX_PAGE_ROWS};
use crate::rows::{IdRow, PasswordRow, TextRow, TokenRow, UserRow, bits, clean, name_key};
use crate::{CreateUserError, Result, Store, StoreError};

impl Store {
    /// Those of `ids` that exist.
    pub async fn users(&self, ids: &[UserId]) -> Result<Vec<User>> {
        const SQL: &str = "SELECT id, name, display_name, bot FROM users WHERE id IN (";
        let mut users = Vec::with_capacity(ids.len());
        for ids in ids.chunks(MAX_BINDS) {
            let found: Vec<UserRow> = on!(self.backend.read(), connection => {
                let mut query = QueryBuilder::new(SQL);
                let mut list = query.separated(", ");
                for id in ids {
                    list.push_bind(bits(id.0));
                }
                Ok(query.push(")").build_query_as().persistent(false).fetch_all(connection).await?)
            })?;
            users.extend(found.into_iter().map(UserRow::user));
        }
        Ok(users)
    }

    pub async fn user(&self, id: UserId) -> Result<Option<User>> {
        const SQL: &str = "SELECT id, name, display_name, bot FROM users WHERE id = $1";
        Ok(row!(self.backend.read(), UserRow, SQL, bits(id.0))?.map(UserRow::user))
    }

    /// Letter case does not matter.
    pub async fn user_by_name(&self, name: &str) -> Result<Option<User>> {
        const SQL: &str = "SELECT id, name, display_name, bot FROM users WHERE name_key = $1";
        Ok(row!(self.backend.read(), UserRow, SQL, name_key(name))?.map(UserRow::user))
    }

    /// Up to `limit` users, oldest first, only those after `after`.
    pub async fn list_users(&self, after: Option<UserId>, limit: u32) -> Result<Vec<User>> {
        const SQL: &str = "SELECT id, name, display_name, bot FROM users WHERE id > $1 ORDER BY id LIMIT $2";
        // No id lies beyond the signed range, see `bits`.
        let after = after.map_or(-1, |id| i64::try_from(id.0).unwrap_or(i64::MAX));
        let found = rows!(self.backend.read(), UserRow, SQL, after, i64::from(limit.min(MAX_PAGE_ROWS)))?;
        Ok(found.into_iter().map(UserRow::user).collect())
    }

    /// `password_hash` is None for bots, `owner` is None for people.
    pub async fn create_user(
        &self,
        user: &User,
        password_hash: Option<&str>,
        owner: Option<UserId>,
    ) -> Result<(), CreateUserError> {
        const SQL: &str = "INSERT INTO users (id, name, name_key, display_name, bot, password_hash, owner_id) \
            VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (name_key) DO NOTHING";
        let inserted = execute!(
            self.backend.write(),
            SQL,
            bits(user.id.0),
            clean(&user.name).into_owned(),
            name_key(&user.name),
            user.display_name.as_deref().map(|name| clean(name).into_owned()),
            user.bot,
            password_hash,
            owner.map(|id| bits(id.0)),
        );
        match inserted {
            Ok(0) => Err(CreateUserError::NameTaken),
            Ok(_) => Ok(()),
            Err(StoreError::Refused(sqlx::Error::Database(e))) if e.is_unique_violation() => {
                Err(CreateUserError::IdTaken(user.id))
            }
            Err(error) => Err(CreateUserError::from(error)),
        }
    }

    /// Takes back an account that has just been made: it owns no guild, is nowhere a member and has written nothing.
    pub async fn delete_user(&self, user: UserId) -> Result<()> {
        execute!(self.backend.write(), "DELETE FROM users WHERE id = $1", bits(user.0))?;
        Ok(())
    }

    /// Of the account of that name in any letter case; None if there is none or it has no password.
    pub async fn password_hash(&self, name: &str) -> Result<Option<(UserId, String)>> {
        const SQL: &str =
            "SELECT id, password_hash FROM users WHERE name_key = $1 AND password_hash IS NOT NULL";
        let found = row!(self.backend.read(), PasswordRow, SQL, name_key(name))?;
        Ok(found.map(|row| (row.user(), row.password_hash)))
    }

    pub async fn bot_owner(&self, bot: UserId) -> Result<Option<UserId>> {
        const SQL: &str = "SELECT owner_id AS id FROM users WHERE id = $1 AND owner_id IS NOT NULL";
        Ok(row!(self.backend.read(), IdRow, SQL, bits(bot.0))?.map(IdRow::user))
    }

    /// `hash` is the SHA-256 of the token; the token itself is never stored. Putting it again changes nothing.
    pub async fn put_token(&self, hash: [u8; 32], user: UserId, created_at: UnixMs) -> Result<()> {
        const SQL: &str = "INSERT INTO tokens (hash, user_id, created_at, used_at) VALUES ($1, $2, $3, $3) \
            ON CONFLICT (hash) DO NOTHING";
        execute!(self.backend.write(), SQL, hex::encode(hash), bits(user.0), bits(created_at.0))?;
        Ok(())
    }

    /// Whose token it is, and when it was last said to be in use.
    pub async fn token(&self, hash: [u8; 32]) -> Result<Option<(UserId, UnixMs)>> {
        const SQL: &str = "SELECT user_id, used_at FROM tokens WHERE hash = $1";
        Ok(row!(self.backend.read(), TokenRow, SQL, hex::encode(hash))?.map(TokenRow::token))
    }

    pub async fn use_token(&self, hash: [u8; 32], now: UnixMs) -> Result<()> {
        const SQL: &str = "UPDATE tokens SET used_at = $2 WHERE hash = $1";
        execute!(self.backend.write(), SQL, hex::encode(hash), bits(now.0))?;
        Ok(())
    }

    /// Ends the user's tokens whose hash begins like this.
    pub async fn delete_token(&self, user: UserId, hash_begins: [u8; 8]) -> Result<()> {
        const SQL: &str = "DELETE FROM tokens WHERE user_id = $1 AND substr(hash, 1, 16) = $2";
        execute!(self.backend.write(), SQL, bits(user.0), hex::encode(hash_begins))?;
        Ok(())
    }

    /// The beginnings of the hashes of all the user's tokens but the `keep` last used.
    pub async fn tokens_beyond(&self, user: UserId, keep: u32) -> Result<Vec<[u8; 8]>> {
        const SQL: &str = "SELECT substr(hash, 1, 16) AS value FROM tokens WHERE user_id = $1 \
            ORDER BY used_at DESC, created_at DESC, hash LIMIT $2 OFFSET $3";
        let found = rows!(
            self.backend.read(),
            TextRow,
            SQL,
            bits(user.0),
            i64::from(MAX_PAGE_ROWS),
            i64::from(keep)
        )?;
        let begins = found.into_iter().map(|row| {
            let mut begins = [0; 8];
            hex::decode_to_slice(&row.value, &mut begins).expect("hashes are kept in hexadecimal");
            begins
        });
        Ok(begins.collect())
    }

    /// Signs a user out everywhere.
    pub async fn delete_tokens(&self, user: UserId) -> Result<()> {
        execute!(self.backend.write(), "DELETE FROM tokens WHERE user_id = $1", bits(user.0))?;
        Ok(())
    }

    /// A fact of the installation as a whole, such as the cluster's secret.
    pub async fn meta_get(&self, key: &str) -> Result<Option<String>> {
        const SQL: &str = "SELECT value FROM meta WHERE key = $1";
        Ok(row!(self.backend.read(), TextRow, SQL, key)?.map(|row| row.value))
    }

    /// The first writer wins, and everyone is given the winner's value.
    pub async fn meta_put_if_absent(&self, key: &str, value: &str) -> Result<String> {
        const PUT: &str = "INSERT INTO meta (key, value) VALUES ($1, $2) ON CONFLICT (key) DO NOTHING";
        const GET: &str = "SELECT value FROM meta WHERE key = $1";
        execute!(self.backend.write(), PUT, key, value)?;
        let kept = row!(self.backend.write(), TextRow, GET, key)?;
        Ok(kept.expect("no statement deletes from meta, so what was put or found is there").value)
    }
}
