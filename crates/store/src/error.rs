//! What can go wrong between this server and its database, told apart by what a caller can do about it.

use model::UserId;
use sqlx::error::ErrorKind;

pub type Result<T, E = StoreError> = std::result::Result<T, E>;

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The configuration names no database we can use. `url` never contains a password.
    #[error("cannot use the database {url}: {reason}")]
    Open { url: String, reason: String },
    /// The database could not be reached or gave up. The call may succeed later; whether it took effect is known
    /// only if it says so by its result, so repeat what is safe to repeat: every write here is.
    #[error("the database is unavailable: {0}")]
    Unavailable(#[source] sqlx::Error),
    /// The last calls were not answered, so this one was not made. Nothing of it took effect.
    #[error("the database has not answered lately")]
    Silent,
    /// The database refused these facts because they contradict others (a member of no guild, an author who does
    /// not exist). Nothing of the call took effect, and repeating it cannot help.
    #[error("the database refused a write: {0}")]
    Refused(#[source] sqlx::Error),
    /// Another node has begun to own the guild. Nothing of the call took effect.
    #[error("another node owns the guild")]
    Fenced,
    /// What was read cannot have been written by this version.
    #[error("the database holds something unreadable: {0}")]
    Unreadable(String),
}

/// Why an account was not made.
#[derive(Debug, thiserror::Error)]
pub enum CreateUserError {
    /// Names that differ in letter case only are the same name, whatever the alphabet.
    #[error("the name is taken")]
    NameTaken,
    #[error("there is an account {0} already")]
    IdTaken(UserId),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        use sqlx::Error as E;
        match &error {
            E::Database(e) if e.kind() != ErrorKind::Other => Self::Refused(error),
            E::ColumnNotFound(_) | E::ColumnDecode { .. } | E::Decode(_) | E::TypeNotFound { .. } => {
                Self::Unreadable(error.to_string())
            }
            _ => Self::Unavailable(error),
        }
    }
}
