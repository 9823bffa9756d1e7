//! Counting requests: fixed windows, because that is how client libraries read the headers.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::http::{HeaderMap, HeaderValue};
use model::UserId;

use super::epoch_seconds;
use crate::limits::{QUOTAS_MAX, Quota};

/// Who is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Subject {
    User(UserId),
    /// Of an IPv6 address the first half: whoever has one has all of the second.
    Address(IpAddr),
}

/// Who, what, with which channel, guild or webhook.
pub type Bucket = (Subject, What, u64);

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum What {
    /// Requests to one path by one method: what is read uses up nothing of what may be written.
    Route(&'static str, &'static str),
    Everything,
    WrongTokens,
}

#[derive(Debug, Clone, Copy)]
struct Window {
    used: u32,
    ends_at: Instant,
}

#[derive(Debug, Default)]
pub struct Quotas(Mutex<HashMap<Bucket, Window>>);

/// Where a bucket stands after a request.
#[derive(Debug, Clone, Copy)]
pub struct Count {
    limit: u32,
    remaining: u32,
    ends_at: Instant,
    name: u64,
}

impl Quotas {
    /// Counts one; the error is a refusal.
    pub fn take(&self, now: Instant, bucket: Bucket, quota: Quota) -> Result<Count, Count> {
        self.with(now, bucket, quota, 1)
    }

    /// Whether one more would be counted, without counting it.
    pub fn look(&self, now: Instant, bucket: Bucket, quota: Quota) -> Result<Count, Count> {
        self.with(now, bucket, quota, 0)
    }

    fn with(
        &self,
        now: Instant,
        (subject, what, major): Bucket,
        quota: Quota,
        cost: u32,
    ) -> Result<Count, Count> {
        let bucket = (subject.masked(), what, major);
        // A counter is right whatever the panic of another request left behind.
        let mut windows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if windows.len() >= QUOTAS_MAX && !windows.contains_key(&bucket) {
            windows.retain(|_, window| window.ends_at > now);
            if windows.len() >= QUOTAS_MAX {
                windows.clear();
            }
        }
        let window = windows.entry(bucket).or_insert(Window { used: 0, ends_at: now + quota.window });
        if window.ends_at <= now {
            *window = Window { used: 0, ends_at: now + quota.window };
        }
        let is_refused = window.used >= quota.requests;
        if !is_refused {
            window.used += cost;
        }
        let count = Count {
            limit: quota.requests,
            remaining: quota.requests.saturating_sub(window.used),
            ends_at: window.ends_at,
            name: what.name(major),
        };
        if is_refused { Err(count) } else { Ok(count) }
    }
}

impl Subject {
    fn masked(self) -> Self {
        match self {
            Self::Address(IpAddr::V6(address)) => {
                Self::Address(IpAddr::V6((address.to_bits() & (u128::MAX << 64)).into()))
            }
            other => other,
        }
    }
}

impl Count {
    pub fn resets_after(&self, now: Instant) -> Duration {
        self.ends_at.saturating_duration_since(now)
    }

    /// Writes the headers by which libraries pace themselves.
    pub fn describe(&self, headers: &mut HeaderMap) {
        let after = self.resets_after(Instant::now()).as_secs_f64();
        let texts = [
            ("x-ratelimit-limit", self.limit.to_string()),
            ("x-ratelimit-remaining", self.remaining.to_string()),
            ("x-ratelimit-reset", format!("{:.3}", epoch_seconds() + after)),
            ("x-ratelimit-reset-after", format!("{after:.3}")),
            ("x-ratelimit-bucket", format!("{:016x}", self.name)),
        ];
        for (name, text) in texts {
            headers.insert(
                name,
                HeaderValue::try_from(text).expect("digits and a point are a header's characters"),
            );
        }
    }
}

impl What {
    /// A name for a bucket that says nothing and is the same on every node: FNV-1a.
    fn name(self, major: u64) -> u64 {
        let (method, path) = match self {
            Self::Route(method, path) => (method, path),
            Self::Everything => ("", "all routes"),
            Self::WrongTokens => ("", "wrong token"),
        };
        let bytes = method.bytes().chain(path.bytes()).chain(major.to_be_bytes());
        bytes
            .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUOTA: Quota = Quota { requests: 2, window: Duration::from_secs(10) };

    fn bucket(user: u64) -> Bucket {
        (Subject::User(UserId(user)), What::Route("GET", "/x"), 1)
    }

    #[test]
    fn a_window_refuses_what_is_too_much_and_then_begins_anew() {
        let (quotas, t0) = (Quotas::default(), Instant::now());
        assert_eq!(quotas.take(t0, bucket(1), QUOTA).map(|c| c.remaining).ok(), Some(1));
        assert_eq!(quotas.look(t0, bucket(1), QUOTA).map(|c| c.remaining).ok(), Some(1));
        assert_eq!(quotas.take(t0, bucket(1), QUOTA).map(|c| c.remaining).ok(), Some(0));
        let refusal = quotas.take(t0 + Duration::from_secs(4), bucket(1), QUOTA).unwrap_err();
        assert_eq!(refusal.resets_after(t0 + Duration::from_secs(4)), Duration::from_secs(6));
        assert!(quotas.look(t0, bucket(1), QUOTA).is_err());
        assert!(quotas.take(t0, bucket(2), QUOTA).is_ok(), "others are not touched");
        assert!(quotas.take(t0 + QUOTA.window, bucket(1), QUOTA).is_ok());
    }

    #[test]
    fn an_ipv6_network_is_one_subject() {
        let (quotas, t0) = (Quotas::default(), Instant::now());
        let bucket = |address: &str| (Subject::Address(address.parse().unwrap()), What::Everything, 0);
        quotas.take(t0, bucket("2001:db8::1"), QUOTA).unwrap();
        quotas.take(t0, bucket("2001:db8::2"), QUOTA).unwrap();
        assert!(quotas.take(t0, bucket("2001:db8::3"), QUOTA).is_err());
        assert!(quotas.take(t0, bucket("2001:db8:0:1::1"), QUOTA).is_ok());
    }

    #[test]
    fn a_full_table_lets_finished_windows_go_and_then_all() {
        let (quotas, t0) = (Quotas::default(), Instant::now());
        for user in 0..QUOTAS_MAX as u64 {
            quotas.take(t0, bucket(user), QUOTA).unwrap();
        }
        let later = t0 + QUOTA.window;
        quotas.take(later, bucket(0), QUOTA).unwrap();
        quotas.take(later, bucket(u64::MAX), QUOTA).unwrap();
        assert_eq!(quotas.0.lock().unwrap().len(), 2, "what had not finished is kept");
        for user in 0..QUOTAS_MAX as u64 {
            quotas.take(later, bucket(user), QUOTA).unwrap();
        }
        assert!(quotas.0.lock().unwrap().len() < QUOTAS_MAX);
    }
}
