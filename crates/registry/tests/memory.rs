//! The memory registry as its users see it. Time is tokio's, paused: it moves only when everyone waits for it.
#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use registry::{Change, Registry, RegistryError, limits};
use support::{draining, id, server};
use tokio::time::{Instant, timeout};

const TTL: Duration = Duration::from_secs(10);

#[tokio::test(start_paused = true)]
async fn a_watch_sees_what_is_there_and_then_every_change_in_order() {
    let registry = Registry::memory(TTL);
    let mut a = registry.publish(server("a")).await.unwrap();
    let mut watch = registry.watch().await.unwrap();
    a.update(draining("a")).await.unwrap();
    let b = registry.publish(server("b")).await.unwrap();
    drop(a);
    drop(b);

    assert_eq!(watch.snapshot(), [server("a")]);
    assert_eq!(watch.snapshot(), []);
    assert_eq!(watch.next().await, Ok(Change::Put(draining("a"))));
    assert_eq!(watch.next().await, Ok(Change::Put(server("b"))));
    assert_eq!(watch.next().await, Ok(Change::Gone(id("a"))));
    assert_eq!(watch.next().await, Ok(Change::Gone(id("b"))));
    assert_eq!(registry.watch().await.unwrap().snapshot(), []);
}

#[tokio::test(start_paused = true)]
async fn a_watch_waits_for_changes_and_outlives_every_other_handle() {
    let registry = Registry::memory(TTL);
    let mut watch = registry.watch().await.unwrap();
    let waiting = tokio::spawn(async move {
        let change = watch.next().await;
        (change, watch)
    });
    let a = registry.publish(server("a")).await.unwrap();
    let (change, mut watch) = waiting.await.unwrap();
    assert_eq!(change, Ok(Change::Put(server("a"))));
    drop((a, registry));
    assert_eq!(watch.next().await, Ok(Change::Gone(id("a"))));
    assert!(timeout(TTL, watch.next()).await.is_err(), "nothing more happens, but the watch goes on");
}

#[tokio::test(start_paused = true)]
async fn a_silent_server_is_gone_after_its_ttl_and_must_publish_again() {
    let registry = Registry::memory(TTL);
    let mut watch = registry.watch().await.unwrap();
    let start = Instant::now();
    let mut a = registry.publish(server("a")).await.unwrap();
    assert_eq!(watch.next().await, Ok(Change::Put(server("a"))));
    assert_eq!(watch.next().await, Ok(Change::Gone(id("a"))));
    assert_eq!(start.elapsed(), TTL);

    assert_eq!(a.update(server("a")).await, Err(RegistryError::Lapsed(id("a"))));
    let _again = registry.publish(server("a")).await.unwrap();
    assert_eq!(watch.next().await, Ok(Change::Put(server("a"))));
    // What is left of the old registration cannot touch the new one.
    assert_eq!(a.update(draining("a")).await, Err(RegistryError::Lapsed(id("a"))));
    drop(a);
    assert_eq!(registry.watch().await.unwrap().snapshot(), [server("a")]);
}

#[tokio::test(start_paused = true)]
async fn updates_renew_the_lease_and_are_silent_when_nothing_changed() {
    let registry = Registry::memory(TTL);
    let start = Instant::now();
    let mut a = registry.publish(server("a")).await.unwrap();
    let mut watch = registry.watch().await.unwrap();
    for _ in 0..5 {
        tokio::time::advance(TTL - Duration::from_millis(1)).await;
        a.update(server("a")).await.unwrap();
    }
    assert_eq!(watch.next().await, Ok(Change::Gone(id("a"))));
    assert_eq!(start.elapsed(), 6 * TTL - Duration::from_millis(5));
}

#[tokio::test(start_paused = true)]
async fn an_id_has_one_server_at_a_time() {
    let registry = Registry::memory(TTL);
    let a = registry.publish(server("a")).await.unwrap();
    assert_eq!(registry.publish(server("a")).await.unwrap_err(), RegistryError::IdInUse(id("a")));
    drop(a);
    registry.publish(server("a")).await.unwrap();
}

#[tokio::test(start_paused = true)]
#[should_panic(expected = "a registration is one server's")]
async fn a_registration_cannot_speak_for_another_server() {
    let mut a = Registry::memory(TTL).publish(server("a")).await.unwrap();
    let _ = a.update(server("b")).await;
}

#[tokio::test(start_paused = true)]
async fn a_full_registry_refuses_newcomers_until_one_leaves() {
    let registry = Registry::memory(TTL);
    let mut all = Vec::new();
    for n in 0..limits::MAX_SERVERS {
        all.push(registry.publish(server(&format!("s{n}"))).await.unwrap());
    }
    assert_eq!(registry.publish(server("late")).await.unwrap_err(), RegistryError::Full);
    all.pop();
    registry.publish(server("late")).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_is_not_read_ends_instead_of_growing() {
    let registry = Registry::memory(TTL);
    let mut a = registry.publish(server("a")).await.unwrap();
    let mut watch = registry.watch().await.unwrap();
    for n in 0..=limits::MAX_WATCH_BACKLOG {
        a.update(if n % 2 == 0 { draining("a") } else { server("a") }).await.unwrap();
    }
    assert_eq!(watch.next().await, Err(RegistryError::Lagged));
}
