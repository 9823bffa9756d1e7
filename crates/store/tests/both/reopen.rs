//! What opening a database promises: facts are kept, secrets are not shown, newer schemas are left alone.

use std::os::unix::fs::PermissionsExt;

use store::{Store, StoreError};

use crate::postgres::Server;

async fn check_refused(url: &str, shown: &str, why: &str) {
    let error = Store::open(url).await.unwrap_err();
    let StoreError::Open { url, reason } = &error else { panic!("{error:?}") };
    assert_eq!(url, shown);
    assert!(reason.contains(why), "{reason:?} says {why:?}");
    assert!(!error.to_string().contains("secret"), "{error}");
}

#[tokio::test]
async fn a_file_keeps_its_facts_and_is_its_owners_alone() {
    let dir = tempfile::tempdir().unwrap();
    // Characters with a meaning in URLs have none in a path.
    let path = dir.path().join("a 100%? #1.db");
    let url = format!("sqlite:{}", path.display());
    let store = Store::open(&url).await.unwrap();
    assert_eq!(store.meta_put_if_absent("k", "v").await.unwrap(), "v");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    store.close().await;

    let left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(left, [path], "closing folds the log into the file");
    let store = Store::open(&url.replace("sqlite:", "sqlite://")).await.unwrap();
    assert_eq!(store.meta_get("k").await.unwrap().as_deref(), Some("v"));
    store.close().await;
}

#[tokio::test]
async fn two_processes_may_open_one_file() {
    let dir = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", dir.path().join("store.db").display());
    let (a, b) = (Store::open(&url).await.unwrap(), Store::open(&url).await.unwrap());
    assert_eq!(a.meta_put_if_absent("k", "a").await.unwrap(), "a");
    assert_eq!(b.meta_put_if_absent("k", "b").await.unwrap(), "a");
    a.close().await;
    b.close().await;
}

#[tokio::test]
async fn what_cannot_be_opened_is_named_with_the_reason() {
    check_refused(
        "mysql://ann:secret@db.example/g",
        "mysql://ann:…@db.example/g",
        "neither sqlite: nor postgres:",
    )
    .await;
    check_refused("", "", "neither sqlite: nor postgres:").await;
    check_refused("sqlite:", "sqlite:", "names no file").await;
    check_refused("sqlite:/no/such/folder/g.db", "sqlite:/no/such/folder/g.db", "No such file").await;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("notes.txt");
    std::fs::write(&path, "this is no database, however long one reads it".repeat(40)).unwrap();
    let url = format!("sqlite:{}", path.display());
    check_refused(&url, &url, "not a database").await;
}

#[tokio::test]
async fn a_file_of_a_newer_version_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.db");
    let url = format!("sqlite:{}", path.display());
    Store::open(&url).await.unwrap().close().await;
    let pool = sqlx::SqlitePool::connect_with(sqlx::sqlite::SqliteConnectOptions::new().filename(&path))
        .await
        .unwrap();
    sqlx::query(FROM_THE_FUTURE).execute(&pool).await.unwrap();
    pool.close().await;
    check_refused(&url, &url, "9999").await;
}

const FROM_THE_FUTURE: &str = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
    SELECT 9999, description, success, checksum, execution_time FROM _sqlx_migrations WHERE version = 1";

pub async fn postgres_keeps_its_facts_and_refuses_newer_schemas(server: &Server) {
    let url = server.create_database("reopen");
    // Nodes that start together on an empty database make its schema once.
    let (a, b) = tokio::join!(Store::open(&url), Store::open(&url));
    let (a, b) = (a.unwrap(), b.unwrap());
    assert_eq!(a.meta_put_if_absent("k", "a").await.unwrap(), "a");
    assert_eq!(b.meta_put_if_absent("k", "b").await.unwrap(), "a");
    a.close().await;
    b.close().await;

    let pool = sqlx::PgPool::connect(&url).await.unwrap();
    sqlx::query(FROM_THE_FUTURE).execute(&pool).await.unwrap();
    pool.close().await;
    check_refused(&url, "postgres://postgres:…@localhost/reopen", "9999").await;
    check_refused(&server.url("nowhere"), "postgres://postgres:…@localhost/nowhere", "does not exist").await;
}
