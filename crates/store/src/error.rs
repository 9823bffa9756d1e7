//! What can go wrong between this server and its database, told apart by what a caller can do about it.

use model::UserId;

pub type Result<T, E = StoreError> = std::result::Result<T, E>;

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The configuration names no database we can open. `url` never contains a password.
    #[error("cannot use the database {url}: {reason}")]
    Open { url: String, reason: String },
    /// The database could not be reached or gave up; nothing of the call took effect, and it may succeed later.
    #[error("the database is unavailable: {0}")]
    Unavailable(#[source] sqlx::Error),
    /// The database refused these facts because they contradict others (a member of no guild, an author who does
    /// not exist). Repeating the call cannot help.
    #[error("the database refused a write: {0}")]
    Refused(String),
    /// What was read cannot have been written by this version.
    #[error("the database holds something unreadable: {0}")]
    Unreadable(String),
}

/// Why an account was not made.
#[derive(Debug, thiserror::Error)]
pub enum CreateUserError {
    /// Names differ in more than letter case, whatever the alphabet.
    #[error("the name is taken")]
    NameTaken,
    #[error("the account {0:?} exists already")]
    IdTaken(UserId),
    #[error(transparent)]
    Store(#[from] StoreError),
}
