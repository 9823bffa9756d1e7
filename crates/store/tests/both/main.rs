//! One suite for every kind of database: SQLite in memory, SQLite in a file, PostgreSQL.
#![allow(clippy::unwrap_used)]

mod postgres;
mod property;
mod reopen;
mod silence;
mod suite;
mod tls;

use store::Store;

/// For each test of the suite one test on each kind of SQLite, and one that runs them all on PostgreSQL, where starting
/// the server costs more than the tests.
macro_rules! on_every_database {
    ($($module:ident :: $test:ident),+ $(,)?) => {
        mod sqlite_memory {
            $(#[tokio::test]
            async fn $test() {
                let store = store::Store::open("sqlite::memory:").await.unwrap();
                crate::$module::$test(&store).await;
            })+
        }
        mod sqlite_file {
            $(#[tokio::test]
            async fn $test() {
                let dir = tempfile::tempdir().unwrap();
                let url = format!("sqlite:{}", dir.path().join("store.db").display());
                let store = store::Store::open(&url).await.unwrap();
                crate::$module::$test(&store).await;
                store.close().await;
            })+
        }
        #[tokio::test]
        async fn postgres_passes_the_same_tests() {
            let server = crate::postgres::Server::start();
            $({
                println!("{}", stringify!($test));
                let store = Store::open(&server.create_database(stringify!($test))).await.unwrap();
                crate::$module::$test(&store).await;
                store.close().await;
            })+
            crate::reopen::postgres_keeps_its_facts_and_refuses_newer_schemas(&server).await;
        }
    };
}

on_every_database! {
    suite::a_guild_comes_back_as_it_was_written,
    suite::writes_change_what_is_there,
    suite::deleting_takes_along_what_belongs_to_it,
    suite::a_batch_that_contradicts_itself_changes_nothing,
    suite::an_earlier_owner_writes_nothing_more,
    suite::an_earlier_owners_last_write_is_there_when_the_next_begins,
    suite::references_may_point_forward,
    suite::a_large_batch_is_one_transaction,
    suite::extreme_values_survive,
    suite::text_loses_only_the_null_character,
    suite::members_know_their_guilds_and_channels_theirs,
    suite::pages_of_messages,
    suite::invites_and_bans,
    suite::accounts,
    suite::names_are_unique_whatever_their_case,
    suite::pages_of_users,
    suite::tokens,
    suite::tokens_end_one_by_one_and_the_longest_unused_first,
    suite::the_first_meta_value_wins,
    suite::calls_may_run_at_once,
    property::random_writes_equal_the_reference,
}
