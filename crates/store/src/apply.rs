//! Runs planned statements in one transaction.

use model::{GuildId, Write};
use sqlx::query_builder::Separated;
use sqlx::{Connection as _, Database, Encode, QueryBuilder, Type};

use crate::backend::{execute, on, row};
use crate::limits::MAX_BINDS;
use crate::plan::{Statement, Table, Value, plan};
use crate::rows::bits;
use crate::{Result, Store, StoreError};

/// Whose writes these are: good for as long as nobody has begun to own the guild with a higher number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fence {
    pub guild: GuildId,
    pub fencing: u64,
}

/// As the database can compare it.
fn ordered(fencing: u64) -> i64 {
    bits(fencing ^ (1 << 63))
}

impl Store {
    /// From now on [`StoreError::Fenced`] answers whoever writes under a lower number, and what such a one has written is there to be read. A guild that does not exist has no owner.
    pub async fn own(&self, fence: Fence) -> Result<()> {
        let (guild, fencing) = (bits(fence.guild.0), ordered(fence.fencing));
        let sql = "UPDATE guilds SET fencing = $2 WHERE id = $1 AND fencing <= $2";
        if execute!(self.backend.write(), sql, guild, fencing)? > 0 {
            return Ok(());
        }
        let there = row!(self.backend.write(), (i64,), "SELECT fencing FROM guilds WHERE id = $1", guild)?;
        there.map_or(Ok(()), |_| Err(StoreError::Fenced))
    }

    /// All of `writes`, in order, or none of them. What one refers to may come later in the list.
    pub async fn apply(&self, writes: &[Write]) -> Result<()> {
        self.write(None, writes).await
    }

    /// The same for a guild's owner.
    pub async fn apply_as(&self, fence: Fence, writes: &[Write]) -> Result<()> {
        self.write(Some(fence), writes).await
    }

    async fn write(&self, fence: Option<Fence>, writes: &[Write]) -> Result<()> {
        let statements = plan(writes);
        if statements.is_empty() {
            return Ok(());
        }
        tracing::debug!(writes = writes.len(), statements = statements.len(), "applying writes");
        let pool = self.backend.write();
        let (begin, owned) = (pool.begin_write(), pool.guild_is_owned());
        on!(pool, connection => {
            let mut transaction = connection.begin_with(begin).await?;
            if let Some(fence) = fence {
                let (guild, fencing) = (bits(fence.guild.0), ordered(fence.fencing));
                let ours = sqlx::query_as::<_, (i64,)>(owned).bind(guild).bind(fencing);
                if ours.fetch_optional(&mut *transaction).await?.is_none() {
                    return Err(StoreError::Fenced);
                }
            }
            for statement in statements {
                for (mut query, rows) in queries(statement) {
                    // Statements of one row come again and again; the many shapes of longer ones are not kept.
                    query.build().persistent(rows == 1).execute(&mut *transaction).await?;
                }
            }
            Ok(transaction.commit().await?)
        })
    }
}

/// A statement as SQL, cut so that none binds too many values; with the number of rows of each.
fn queries<DB: Database>(statement: Statement) -> Vec<(QueryBuilder<DB>, usize)>
where
    Option<i64>: for<'q> Encode<'q, DB> + Type<DB>,
    Option<String>: for<'q> Encode<'q, DB> + Type<DB>,
    bool: for<'q> Encode<'q, DB> + Type<DB>,
{
    match statement {
        Statement::Upsert { table, rows } => chunks(rows, |rows| upsert(table, rows)),
        Statement::Delete { table, by, keys } => chunks(keys, |keys| delete(table, by, keys)),
    }
}

fn chunks<Q>(rows: Vec<Vec<Value>>, query: impl Fn(&[Vec<Value>]) -> Q) -> Vec<(Q, usize)> {
    let columns = rows.first().expect("a planned statement has a row").len();
    rows.chunks(MAX_BINDS / columns).map(|rows| (query(rows), rows.len())).collect()
}

fn upsert<DB: Database>(table: &Table, rows: &[Vec<Value>]) -> QueryBuilder<DB>
where
    Option<i64>: for<'q> Encode<'q, DB> + Type<DB>,
    Option<String>: for<'q> Encode<'q, DB> + Type<DB>,
    bool: for<'q> Encode<'q, DB> + Type<DB>,
{
    let (keys, rest) = (table.keys.join(", "), table.rest.join(", "));
    let mut query = QueryBuilder::new(format!("INSERT INTO {} ({keys}, {rest}) ", table.name));
    query.push_values(rows, |mut to, row| row.iter().for_each(|value| bind(&mut to, value)));
    let assignments: Vec<_> =
        table.rest.iter().map(|column| format!("{column} = excluded.{column}")).collect();
    query.push(format!(" ON CONFLICT ({keys}) DO UPDATE SET {}", assignments.join(", ")));
    query
}

fn delete<DB: Database>(table: &str, by: &[&str], keys: &[Vec<Value>]) -> QueryBuilder<DB>
where
    Option<i64>: for<'q> Encode<'q, DB> + Type<DB>,
    Option<String>: for<'q> Encode<'q, DB> + Type<DB>,
    bool: for<'q> Encode<'q, DB> + Type<DB>,
{
    let mut query = QueryBuilder::new(format!("DELETE FROM {table} WHERE ({}) IN (", by.join(", ")));
    query.push_values(keys, |mut to, key| key.iter().for_each(|value| bind(&mut to, value)));
    query.push(")");
    query
}

fn bind<DB: Database>(to: &mut Separated<'_, DB, &'static str>, value: &Value)
where
    Option<i64>: for<'q> Encode<'q, DB> + Type<DB>,
    Option<String>: for<'q> Encode<'q, DB> + Type<DB>,
    bool: for<'q> Encode<'q, DB> + Type<DB>,
{
    match value {
        Value::Int(n) => to.push_bind(*n),
        Value::Text(s) => to.push_bind(s.clone()),
        Value::Bool(b) => to.push_bind(*b),
    };
}
