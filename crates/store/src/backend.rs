//! Which database this is and how it is opened; and the one place where the two differ.

use std::path::Path;
use std::str::FromStr;

use sqlx::Connection as _;
use sqlx::SqlStr;
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};

use crate::limits::{PATIENCE, SQLITE_READERS};
use crate::remote::Remote;
use crate::{Result, StoreError};

/// By version, with what sqlx writes down of each: one that was released stays as it is. (sqlx has a macro for this, see `rows.rs`.)
const MIGRATIONS: [(i64, &str, &str); 4] = [
    (1, "initial", include_str!("../migrations/0001_initial.sql")),
    (2, "tokens in use", include_str!("../migrations/0002_tokens_in_use.sql")),
    (3, "video quality", include_str!("../migrations/0003_video_quality.sql")),
    (4, "guild fencing", include_str!("../migrations/0004_guild_fencing.sql")),
];

pub(crate) fn migrations() -> Migrator {
    let migration = |(version, description, sql): (i64, &'static str, &'static str)| {
        Migration::new(version, description.into(), MigrationType::Simple, SqlStr::from_static(sql), false)
    };
    Migrator::with_migrations(MIGRATIONS.map(migration).to_vec())
}

#[derive(Debug, Clone)]
pub enum Backend {
    /// SQLite takes one writer at a time. Writers queue for the only connection that writes, in order of arrival,
    /// instead of spinning on the file's lock. In memory both are the same connection.
    Sqlite {
        read: SqlitePool,
        write: SqlitePool,
    },
    Postgres(Remote),
}

/// Connections to run a statement on, see [`on!`].
#[derive(Debug, Clone, Copy)]
pub enum Pool<'a> {
    Sqlite(&'a SqlitePool),
    Postgres(&'a Remote),
}

/// Compiles `$body` once for each database, with `$connection` bound to one of its connections. Statements number their parameters `$1`,
/// which both understand. SQLite answers sooner or later, being this process; for PostgreSQL there is a time.
macro_rules! on {
    ($which:expr, $connection:ident => $body:expr) => {
        match $which {
            $crate::backend::Pool::Sqlite(pool) => {
                let call = async {
                    let mut lent = pool.acquire().await?;
                    let $connection = &mut *lent;
                    $body
                };
                $crate::backend::failing(call).await
            }
            $crate::backend::Pool::Postgres(remote) => {
                let call = async {
                    let mut lent = remote.lend().await?;
                    let $connection = lent.connection();
                    let call = $crate::backend::failing(async { $body });
                    let outcome = tokio::time::timeout($crate::limits::ANSWER_WITHIN, call).await;
                    lent.end(outcome)
                };
                $crate::backend::failing(call).await
            }
        }
    };
}

/// Says with what a call may fail.
pub(crate) fn failing<T>(call: impl Future<Output = Result<T>>) -> impl Future<Output = Result<T>> {
    call
}

/// Rows of one statement: `rows!(pool, RowType, sql, bind…)`.
macro_rules! rows {
    ($which:expr, $row:ty, $sql:expr $(, $bind:expr)* $(,)?) => {
        $crate::backend::on!($which, connection => {
            Ok(sqlx::query_as::<_, $row>($sql)$(.bind($bind))*.fetch_all(connection).await?)
        })
    };
}

/// The row of one statement, if there is one.
macro_rules! row {
    ($which:expr, $row:ty, $sql:expr $(, $bind:expr)* $(,)?) => {
        $crate::backend::on!($which, connection => {
            Ok(sqlx::query_as::<_, $row>($sql)$(.bind($bind))*.fetch_optional(connection).await?)
        })
    };
}

/// Runs one statement and returns the number of rows it changed.
macro_rules! execute {
    ($which:expr, $sql:expr $(, $bind:expr)* $(,)?) => {
        $crate::backend::on!($which, connection => {
            Ok(sqlx::query($sql)$(.bind($bind))*.execute(connection).await?.rows_affected())
        })
    };
}

pub(crate) use {execute, on, row, rows};

impl Backend {
    pub async fn open(url: &str) -> Result<Self> {
        let opened = match scheme(url) {
            Scheme::SqliteMemory => open_sqlite_memory().await,
            Scheme::SqliteFile(path) => open_sqlite_file(Path::new(path)).await,
            Scheme::Postgres => Remote::open(url).await.map(Self::Postgres),
            Scheme::Unknown => Err("it begins with neither sqlite: nor postgres://".to_owned()),
        };
        opened.map_err(|reason| StoreError::Open { url: without_password(url), reason })
    }

    pub fn read(&self) -> Pool<'_> {
        match self {
            Self::Sqlite { read, .. } => Pool::Sqlite(read),
            Self::Postgres(remote) => Pool::Postgres(remote),
        }
    }

    pub fn write(&self) -> Pool<'_> {
        match self {
            Self::Sqlite { write, .. } => Pool::Sqlite(write),
            Self::Postgres(remote) => Pool::Postgres(remote),
        }
    }

    pub fn is_silent(&self) -> bool {
        matches!(self, Self::Postgres(remote) if remote.is_silent())
    }

    pub async fn close(&self) {
        match self {
            // The writer last: the last connection to close folds the log into the file.
            Self::Sqlite { read, write } => {
                read.close().await;
                write.close().await;
            }
            Self::Postgres(remote) => remote.close().await,
        }
    }
}

impl Pool<'_> {
    /// Begins a transaction that sees one moment of the database.
    pub fn begin_snapshot(self) -> &'static str {
        match self {
            Pool::Sqlite(_) => "BEGIN",
            Pool::Postgres(_) => "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
        }
    }

    /// Begins a transaction that writes.
    pub fn begin_write(self) -> &'static str {
        match self {
            // A transaction that first reads and then wants to write can find itself too late to do so.
            Pool::Sqlite(_) => "BEGIN IMMEDIATE",
            Pool::Postgres(_) => "BEGIN",
        }
    }

    /// Of a transaction that writes: the guild's row stays as it was found until the transaction has ended.
    pub fn guild_is_owned(self) -> &'static str {
        match self {
            // It is the only one that writes.
            Pool::Sqlite(_) => "SELECT fencing FROM guilds WHERE id = $1 AND fencing = $2",
            Pool::Postgres(_) => {
                "SELECT fencing FROM guilds WHERE id = $1 AND fencing = $2 FOR NO KEY UPDATE"
            }
        }
    }
}

enum Scheme<'a> {
    SqliteMemory,
    SqliteFile(&'a str),
    Postgres,
    Unknown,
}

fn scheme(url: &str) -> Scheme<'_> {
    if let Some(rest) = url.strip_prefix("sqlite:") {
        match rest.strip_prefix("//").unwrap_or(rest) {
            ":memory:" => Scheme::SqliteMemory,
            path => Scheme::SqliteFile(path),
        }
    } else if url.starts_with("postgres://") || url.starts_with("postgresql://") {
        Scheme::Postgres
    } else {
        Scheme::Unknown
    }
}

/// Fit for logs: neither the password before the host nor one among the options.
fn without_password(url: &str) -> String {
    let url = url.split('?').next().expect("split yields at least one part");
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let Some((credentials, host)) = rest.rsplit_once('@') else { return url.to_owned() };
    match credentials.split_once(':') {
        Some((user, _)) => format!("{scheme}://{user}:…@{host}"),
        None => url.to_owned(),
    }
}

async fn open_sqlite_memory() -> Result<Backend, String> {
    let options =
        SqliteConnectOptions::from_str("sqlite::memory:").map_err(|e| e.to_string())?.foreign_keys(true);
    let only = sqlite_pool(1).connect_with(options).await.map_err(|e| e.to_string())?;
    migrations().run(&only).await.map_err(|e| e.to_string())?;
    Ok(Backend::Sqlite { read: only.clone(), write: only })
}

async fn open_sqlite_file(path: &Path) -> Result<Backend, String> {
    if path.as_os_str().is_empty() {
        return Err("it names no file".to_owned());
    }
    create_private(path).map_err(|e| e.to_string())?;
    let options = SqliteConnectOptions::new()
        .filename(path)
        .foreign_keys(true)
        .journal_mode(SqliteJournalMode::Wal)
        // What was answered with success survives a power cut, as it does with PostgreSQL.
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(PATIENCE);
    let write = file_pool(1).connect_with(options.clone()).await.map_err(|e| e.to_string())?;
    migrations().run(&write).await.map_err(|e| e.to_string())?;
    let readers = file_pool(SQLITE_READERS).connect_with(options.read_only(true));
    Ok(Backend::Sqlite { read: readers.await.map_err(|e| e.to_string())?, write })
}

/// Connections are never given up: one in memory is the database itself, and one to a file costs nothing while idle.
fn sqlite_pool(connections: u32) -> SqlitePoolOptions {
    SqlitePoolOptions::new()
        .max_connections(connections)
        .idle_timeout(None)
        .max_lifetime(None)
        .acquire_timeout(PATIENCE)
}

/// On a full disk SQLite itself takes a transaction back, and our side of the connection waits in vain for its end: another one takes its place.
fn file_pool(connections: u32) -> SqlitePoolOptions {
    sqlite_pool(connections).after_release(|connection, _| {
        Box::pin(async move {
            // What was begun to be taken back is, by then.
            connection.ping().await?;
            Ok(!connection.is_in_transaction())
        })
    })
}

/// Makes the file readable by its owner alone: it holds password hashes. SQLite's log takes over the file's mode.
fn create_private(path: &Path) -> std::io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.append(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_password_is_shown() {
        let check = |url, expect: &str| assert_eq!(without_password(url), expect);
        check("sqlite:data/guildhall.db", "sqlite:data/guildhall.db");
        check("postgres://db.example/guildhall", "postgres://db.example/guildhall");
        check("postgres://ann@db.example/guildhall", "postgres://ann@db.example/guildhall");
        check("postgres://ann:s3cret@db.example:5432/g", "postgres://ann:…@db.example:5432/g");
        check("postgres://ann:s3:cr@et@db.example/g", "postgres://ann:…@db.example/g");
        check("postgres://db.example/g?user=ann&password=s3cret", "postgres://db.example/g");
    }

    /// sqlx compares numbers, and what was in the files, with what it finds in a database.
    #[test]
    fn every_migration_is_there_as_it_was() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations");
        let names = std::fs::read_dir(folder).expect("it is in the repository").flatten();
        let mut files: Vec<String> =
            names.map(|file| file.file_name().into_string().expect("names are text")).collect();
        files.sort_unstable();
        let ours = migrations();
        let named = |one: &Migration| format!("{:04}_{}.sql", one.version, one.description.replace(' ', "_"));
        assert_eq!(ours.iter().map(named).collect::<Vec<_>>(), files);
    }
}
