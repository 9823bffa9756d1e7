//! Hashing of passwords: Argon2id, on threads that may block, a few at a time.

use std::sync::Arc;

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};
use argon2::{Algorithm, Argon2, Params, Version};
use client_wire::error::ApiError;
use tokio::sync::Semaphore;

use crate::limits::PASSWORDS_WAITING_MAX;

/// What one hash costs. A hash names its own cost, so a change of these concerns new passwords only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PasswordCost {
    pub memory_kib: u32,
    pub passes: u32,
}

impl Default for PasswordCost {
    /// OWASP's recommendation for Argon2id: 19 MiB, 2 passes, 1 lane.
    fn default() -> Self {
        Self { memory_kib: 19_456, passes: 2 }
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Passwords {
    cost: PasswordCost,
    /// Hashes at work.
    working: Arc<Semaphore>,
    /// Hashes at work or waiting.
    waiting: Arc<Semaphore>,
}

impl Passwords {
    /// `parallel` hashes run at once.
    pub fn new(cost: PasswordCost, parallel: usize) -> Self {
        let waiting = Arc::new(Semaphore::new(PASSWORDS_WAITING_MAX));
        Self { cost, working: Arc::new(Semaphore::new(parallel.max(1))), waiting }
    }

    pub async fn hash(&self, password: String) -> Result<String, ApiError> {
        let argon2 = self.argon2();
        let hashed =
            self.run(move || argon2.hash_password(password.as_bytes()).map(|hash| hash.to_string())).await?;
        hashed.map_err(|error| {
            tracing::error!(%error, "a password could not be hashed");
            ApiError::internal()
        })
    }

    /// Against no hash at all it costs the same and fails, so that the time taken does not tell which names exist.
    pub async fn verify(&self, password: String, hash: Option<String>) -> Result<bool, ApiError> {
        let argon2 = self.argon2();
        self.run(move || {
            let Some(hash) = hash else {
                let _same_work = argon2.hash_password(password.as_bytes());
                return false;
            };
            PasswordHash::new(&hash)
                .is_ok_and(|hash| argon2.verify_password(password.as_bytes(), &hash).is_ok())
        })
        .await
    }

    async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, ApiError> {
        let busy = || ApiError::new(503, 0, "Too many people are signing in. Try again soon.");
        let _place = self.waiting.try_acquire().map_err(|_| busy())?;
        metrics::gauge!("guildhall_guilds_passwords_waiting")
            .set((PASSWORDS_WAITING_MAX - self.waiting.available_permits()) as f64);
        let turn = Arc::clone(&self.working).acquire_owned().await.expect("the semaphore is never closed");
        let done = tokio::task::spawn_blocking(move || {
            let result = work();
            drop(turn);
            result
        });
        done.await.map_err(|_| ApiError::internal())
    }

    fn argon2(&self) -> Argon2<'static> {
        let params = Params::new(self.cost.memory_kib, self.cost.passes, 1, None);
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params.expect("the configuration checked the cost"))
    }
}

impl PasswordCost {
    /// Argon2 has its own bounds; asked once, at start.
    pub fn is_valid(self) -> bool {
        Params::new(self.memory_kib, self.passes, 1, None).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_password_is_verified_by_its_hash_alone() {
        let passwords = Passwords::new(PasswordCost { memory_kib: 64, passes: 1 }, 1);
        let hash = passwords.hash("correct horse".to_owned()).await.unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=64,t=1,p=1$"), "{hash}");
        let check = async |password: &str, hash: Option<&str>, expect: bool| {
            let verified = passwords.verify(password.to_owned(), hash.map(str::to_owned)).await.unwrap();
            assert_eq!(verified, expect, "{password} {hash:?}");
        };
        check("correct horse", Some(&hash), true).await;
        check("Correct horse", Some(&hash), false).await;
        check("correct horse", None, false).await;
        check("correct horse", Some("rubbish"), false).await;
    }

    #[tokio::test]
    async fn too_many_waiting_are_refused() {
        let passwords = Passwords::new(PasswordCost { memory_kib: 64, passes: 1 }, 1);
        let _all = passwords.waiting.try_acquire_many(PASSWORDS_WAITING_MAX as u32).unwrap();
        assert_eq!(passwords.hash("correct horse".to_owned()).await.unwrap_err().status, 503);
    }
}
