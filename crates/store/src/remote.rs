//! The connections to PostgreSQL, and what becomes of calls when it is silent: a call waits for so long and no longer, and the next ones
//! are refused at once until the database is found to answer again.

use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool, PgPoolOptions, Postgres};
use sqlx::{Connection as _, Executor as _};
use tokio::time::error::Elapsed;
use tokio::time::{sleep, timeout};

use crate::backend::migrations;
use crate::limits::{ANSWER_WITHIN, PATIENCE, POSTGRES_CONNECTIONS, PROBE_EVERY, PROBE_WITHIN};
use crate::{Result, StoreError};

#[derive(Debug, Clone)]
pub struct Remote {
    pool: PgPool,
    /// A call was not answered in time, and it is not yet known to answer again.
    is_silent: Arc<AtomicBool>,
}

/// A connection for one call.
pub struct Lent<'a> {
    remote: &'a Remote,
    connection: Option<PoolConnection<Postgres>>,
}

impl Remote {
    pub async fn open(url: &str) -> Result<Self, String> {
        let options =
            PgConnectOptions::from_str(url).map_err(|e| e.to_string())?.application_name("guildhall");
        let first = timeout(PATIENCE, PgConnection::connect_with(&options)).await;
        let mut first = first.map_err(|_| unanswered(PATIENCE).to_string())?.map_err(|e| e.to_string())?;
        // A change of the schema takes the time it takes.
        migrations().run(&mut first).await.map_err(|e| e.to_string())?;
        let _ = first.close().await;
        let pool = PgPoolOptions::new()
            .max_connections(POSTGRES_CONNECTIONS)
            .acquire_timeout(PATIENCE)
            .after_connect(|connection, _| Box::pin(bound_session(connection)))
            .connect_lazy_with(options);
        Ok(Self { pool, is_silent: Arc::default() })
    }

    pub async fn close(&self) {
        self.pool.close().await;
    }

    pub fn is_silent(&self) -> bool {
        self.is_silent.load(Ordering::Acquire)
    }

    pub async fn lend(&self) -> Result<Lent<'_>> {
        if self.is_silent() {
            return Err(StoreError::Silent);
        }
        let acquired = self.pool.acquire().await;
        if matches!(acquired, Err(sqlx::Error::PoolTimedOut)) {
            self.suspect();
        }
        Ok(Lent { remote: self, connection: Some(acquired?) })
    }

    /// Asks the database by a connection of its own whether it is there. If it was only busy, calls are refused for a moment.
    fn suspect(&self) {
        if self.is_silent.swap(true, Ordering::AcqRel) || self.pool.is_closed() {
            return;
        }
        tracing::error!("the database does not answer: calls are refused until it does");
        let this = self.clone();
        tokio::spawn(async move {
            while !this.pool.is_closed() && !this.answers().await {
                sleep(PROBE_EVERY).await;
            }
            // What was idle all the while may lead nowhere.
            while let Some(idle) = this.pool.try_acquire() {
                drop(idle.detach());
            }
            this.is_silent.store(false, Ordering::Release);
            tracing::info!("the database answers again");
        });
    }

    async fn answers(&self) -> bool {
        let asked = async {
            let mut connection = PgConnection::connect_with(&self.pool.connect_options()).await?;
            connection.ping().await
        };
        // One that has no room for another connection answers too.
        matches!(timeout(PROBE_WITHIN, asked).await, Ok(Ok(()) | Err(sqlx::Error::Database(_))))
    }
}

impl Lent<'_> {
    pub fn connection(&mut self) -> &mut PgConnection {
        self.connection.as_mut().expect("it is there until the call has ended")
    }

    /// The call's outcome, unless it has none: then nobody uses the connection again, whose next answer would be this call's.
    pub fn end<T>(mut self, outcome: Result<Result<T>, Elapsed>) -> Result<T> {
        let Ok(outcome) = outcome else {
            self.connection.take().map(PoolConnection::detach);
            self.remote.suspect();
            return Err(unanswered(ANSWER_WITHIN).into());
        };
        outcome
    }
}

fn unanswered(within: Duration) -> sqlx::Error {
    std::io::Error::new(std::io::ErrorKind::TimedOut, format!("no answer within {within:?}")).into()
}

/// So that the server, too, gives up what we have given up; and the locks of a node that is no more, for which the guild's next owner waits.
async fn bound_session(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    let (ms, idle_ms) = (ANSWER_WITHIN.as_millis(), PATIENCE.as_millis());
    let settings = format!(
        "SET statement_timeout = {ms}; SET idle_in_transaction_session_timeout = {idle_ms}; SET tcp_user_timeout = {ms}; \
         SET tcp_keepalives_idle = 5; SET tcp_keepalives_interval = 1; SET tcp_keepalives_count = 5"
    );
    connection.execute(sqlx::raw_sql(sqlx::AssertSqlSafe(settings))).await.map(drop)
}
