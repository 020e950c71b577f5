//! How often a login may fail before nobody looks at the next one: guessing passwords has to be slow. Callers with a
//! token, or with a password that matched lately, are never asked to wait.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use moka::future::Cache;
use moka::policy::EvictionPolicy;

use crate::error::{Error, Result};

/// How long failures count.
const WINDOW: Duration = Duration::from_secs(60);
/// Failures of one user from one address in a window.
const LOGIN_FAILURES_MAX: u32 = 10;
/// Failures from one address, which may be a proxy with many users behind it.
const ADDRESS_FAILURES_MAX: u32 = 100;
/// Failures of one user from wherever.
const USER_FAILURES_MAX: u32 = 100;
/// Counters that are kept; more addresses and users than that push the oldest out.
const COUNTERS_MAX: u64 = 50_000;
/// A longer name is counted by its beginning.
const NAME_CHARS_MAX: usize = 64;

/// What failures are counted for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Subject {
    Login(Option<IpAddr>, String),
    Address(Option<IpAddr>),
    User(String),
}

/// Counts failed logins.
pub(super) struct Failures {
    counters: Cache<Subject, Arc<AtomicU32>>,
}

/// A login that may be tried. Counts as failed until [`Attempt::succeeded`].
pub(super) struct Attempt(Vec<Arc<AtomicU32>>);

impl Failures {
    pub(super) fn new() -> Self {
        let counters = Cache::builder()
            .max_capacity(COUNTERS_MAX)
            .eviction_policy(EvictionPolicy::lru())
            .time_to_live(WINDOW)
            .build();
        Self { counters }
    }

    /// Counts a login of `user` from `address` before it is looked at, so that tries side by side count too.
    pub(super) async fn attempt(&self, address: Option<IpAddr>, user: &str) -> Result<Attempt> {
        let address = address.map(network);
        let user: String = user.chars().take(NAME_CHARS_MAX).collect();
        let subjects = [
            (Subject::Login(address, user.clone()), LOGIN_FAILURES_MAX),
            (Subject::Address(address), ADDRESS_FAILURES_MAX),
            (Subject::User(user), USER_FAILURES_MAX),
        ];
        let mut attempt = Attempt(Vec::new());
        for (subject, failures_max) in subjects {
            let counter = self.counters.get_with(subject, async { Arc::default() }).await;
            if counter.fetch_add(1, Ordering::Relaxed) >= failures_max {
                counter.fetch_sub(1, Ordering::Relaxed);
                attempt.succeeded();
                return Err(Error::unauthenticated("too many logins failed: wait a minute"));
            }
            attempt.0.push(counter);
        }
        Ok(attempt)
    }
}

impl Attempt {
    /// Takes the count back.
    pub(super) fn succeeded(self) {
        for counter in self.0 {
            counter.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// One customer of a provider has a whole network of IPv6 addresses.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    async fn fail(failures: &Failures, address: &str, user: &str, times: u32) -> u32 {
        let mut refused = 0;
        for _ in 0..times {
            match failures.attempt(Some(address.parse().unwrap()), user).await {
                Ok(attempt) => drop(attempt),
                Err(_) => refused += 1,
            }
        }
        refused
    }

    #[tokio::test]
    async fn guessing_is_stopped_for_this_login_only() {
        let failures = Failures::new();
        assert_eq!(fail(&failures, "10.0.0.1", "alice", LOGIN_FAILURES_MAX + 5).await, 5);
        assert_eq!(fail(&failures, "10.0.0.1", "bob", 1).await, 0);
        assert_eq!(fail(&failures, "10.0.0.2", "alice", 1).await, 0);
        assert_eq!(
            fail(&failures, "::ffff:10.0.0.1", "alice", 1).await,
            1,
            "the same address"
        );
    }

    #[tokio::test]
    async fn an_address_cannot_try_many_users_nor_many_addresses_one_user() {
        let failures = Failures::new();
        for guess in 0..ADDRESS_FAILURES_MAX {
            let address = format!("2001:db8::{guess:x}");
            assert_eq!(
                fail(&failures, &address, &format!("user{guess}"), 1).await,
                0,
                "{guess}"
            );
        }
        assert_eq!(fail(&failures, "2001:db8::ffff", "bob", 1).await, 1, "one network");
        for guess in 0..USER_FAILURES_MAX {
            assert_eq!(fail(&failures, &format!("10.0.0.{guess}"), "alice", 1).await, 0);
        }
        assert_eq!(fail(&failures, "10.0.1.1", "alice", 1).await, 1);
    }

    #[tokio::test]
    async fn success_does_not_count_and_refusals_do_not_add_up() {
        let failures = Failures::new();
        let address = Some("10.0.0.1".parse().unwrap());
        for _ in 0..3 * ADDRESS_FAILURES_MAX {
            failures.attempt(address, "alice").await.unwrap().succeeded();
        }
        assert_eq!(
            fail(&failures, "10.0.0.1", "alice", 500).await,
            500 - LOGIN_FAILURES_MAX
        );
        assert_eq!(
            fail(&failures, "10.0.0.1", "bob", ADDRESS_FAILURES_MAX).await,
            ADDRESS_FAILURES_MAX - LOGIN_FAILURES_MAX
        );
    }
}
