//! The facts that outlive every process: accounts, guilds and what is in them, messages, tokens.
//!
//! Owns: the schema, its migrations and every query, for SQLite (one file, the default) and PostgreSQL (shared by many
//! nodes). The same statements run on both.
//! Deliberately does not: cache, check permissions, decide who may write (the guild's owner does; it only tells an owner from an earlier one), know voice states.
//!
//! Text loses U+0000 to U+FFFD on its way in. Ids and times below 2^63 sort as numbers.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod accounts;
mod apply;
mod backend;
mod error;
mod guilds;
pub mod limits;
mod messages;
mod plan;
mod remote;
mod rows;

pub use apply::Fence;
pub use error::{CreateUserError, Result, StoreError};

/// A handle on the database. Clones share its connections.
#[derive(Debug, Clone)]
pub struct Store {
    backend: backend::Backend,
}

impl Store {
    /// Opens `sqlite:PATH` (made if missing), `sqlite::memory:` or `postgres://…` and brings its schema up to date.
    pub async fn open(url: &str) -> Result<Store> {
        Ok(Store { backend: backend::Backend::open(url).await? })
    }

    /// Calls are refused because the last ones were not answered; this ends by itself.
    pub fn is_silent(&self) -> bool {
        self.backend.is_silent()
    }

    /// Waits for calls in progress and closes every connection.
    pub async fn close(&self) {
        self.backend.close().await;
    }
}
