//! A PostgreSQL that does not answer: calls fail in time, then at once, and when it goes on everything is as it was.

use std::time::{Duration, Instant};

use model::UserId;
use store::limits::{ANSWER_WITHIN, PATIENCE, PROBE_EVERY, PROBE_WITHIN};
use store::{Fence, Store, StoreError};

use crate::postgres::Server;
use crate::suite::{GUILD, add_guild, person};

/// For what should be done at once, on a busy machine.
const AT_ONCE: Duration = Duration::from_secs(2);

async fn until_it_answers(store: &Store) {
    let began = Instant::now();
    while store.is_silent() {
        assert!(began.elapsed() < PROBE_EVERY + PROBE_WITHIN + PATIENCE, "it is still taken for silent");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_server_that_hangs_is_waited_for_once_and_found_when_it_goes_on() {
    let server = Server::start();
    let store = Store::open(&server.create_database("hangs")).await.unwrap();
    add_guild(&store).await;
    let carol = person(UserId(77), "carol");
    server.freeze();
    let began = Instant::now();
    let (read, write) = tokio::join!(store.guild_ids(), store.create_user(&carol, None, None));
    let waited = began.elapsed();
    assert!(matches!(read, Err(StoreError::Unavailable(_))), "{read:?}");
    assert!(write.is_err());
    assert!(waited <= PATIENCE + ANSWER_WITHIN + AT_ONCE, "{waited:?}");
    assert!(store.is_silent());
    let began = Instant::now();
    for _ in 0..10 {
        assert!(matches!(store.guild_ids().await, Err(StoreError::Silent)));
    }
    assert!(began.elapsed() <= AT_ONCE, "{:?}", began.elapsed());
    server.go_on();
    until_it_answers(&store).await;
    assert_eq!(store.guild_ids().await.unwrap().len(), 1);
    store.create_user(&person(UserId(78), "dave"), None, None).await.unwrap();
    store.close().await;
}

/// Such as one whose answer is lost, while all is well with the others.
#[tokio::test]
async fn a_call_that_is_not_answered_costs_nobody_else_anything() {
    let server = Server::start();
    let url = server.create_database("locked");
    let store = Store::open(&url).await.unwrap();
    add_guild(&store).await;
    let (_, mut other) = tokio::join!(store.guild_ids(), async {
        sqlx::PgPool::connect(&url).await.unwrap().acquire().await.unwrap()
    });
    sqlx::query("BEGIN").execute(&mut *other).await.unwrap();
    sqlx::query("LOCK TABLE guilds").execute(&mut *other).await.unwrap();
    let began = Instant::now();
    let fence = Fence { guild: GUILD, fencing: 7 };
    let (owned, users) = tokio::join!(store.own(fence), store.list_users(None, 10));
    assert!(matches!(owned, Err(StoreError::Unavailable(_))), "{owned:?}");
    assert_eq!(users.unwrap().len(), 2);
    let waited = began.elapsed();
    assert!(waited <= ANSWER_WITHIN + AT_ONCE, "{waited:?}");
    until_it_answers(&store).await;
    assert_eq!(store.list_users(None, 10).await.unwrap().len(), 2);
    sqlx::query("ROLLBACK").execute(&mut *other).await.unwrap();
    store.own(fence).await.unwrap();
    store.close().await;
}
