//! Slows whoever fails again and again at the token endpoint.
//!
//! What is guessed there has 256 random bits, so this protects the server's time rather than its secrets. It is by client *and*
//! address: nobody can slow a client from elsewhere. A success ends it.

use super::error::OAuthError;
use crate::tenant::TenantId;
use quick_cache::sync::Cache;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;

/// The pairs of client and address that are remembered; others are forgotten over them.
const REMEMBERED: usize = 10_000;

/// So many failures in a row cost nothing.
const FREE: u32 = 10;

/// The longest wait, in seconds.
const LONGEST_S: u32 = 60;

/// After so many seconds without a failure all is forgotten.
const FORGOTTEN_S: i64 = 300;

/// The failures of late.
pub struct Slowing {
    failures: Cache<u64, Failures>,
    hasher: RandomState,
}

/// Failures in a row.
#[derive(Clone, Copy)]
struct Failures {
    count: u32,
    last_s: i64,
}

impl Failures {
    /// How long to wait after the last one: twice as long after each.
    fn wait_s(self) -> u32 {
        self.count.checked_sub(FREE).map_or(0, |over| 1_u32.checked_shl(over).unwrap_or(LONGEST_S).min(LONGEST_S))
    }
}

impl Default for Slowing {
    fn default() -> Self {
        Self { failures: Cache::new(REMEMBERED), hasher: RandomState::new() }
    }
}

impl Slowing {
    /// What requests of a tenant's client from an address are remembered by: of a fixed size, whatever the client says it is called.
    pub fn key(&self, tenant: TenantId, client_id: &str, address: IpAddr) -> u64 {
        self.hasher.hash_one((tenant, client_id, address))
    }

    /// Whether a request may be looked at now, in seconds since 1970.
    ///
    /// # Errors
    /// `slow_down`, with the time to wait.
    pub fn check(&self, key: u64, now_s: i64) -> Result<(), OAuthError> {
        let Some(failures) = self.failures.get(&key) else { return Ok(()) };
        let left = failures.last_s.saturating_add(failures.wait_s().into()).saturating_sub(now_s);
        if left <= 0 {
            return Ok(());
        }
        let wait_s = u32::try_from(left).unwrap_or(LONGEST_S).min(LONGEST_S);
        Err(OAuthError::slow_down("Too many failures. Try again later.", wait_s))
    }

    /// Remembers how a request ended: as a failure only what can be a guess.
    pub fn note<T>(&self, key: u64, now_s: i64, result: &Result<T, OAuthError>) {
        match result {
            Ok(_) => {
                self.failures.remove(&key);
            }
            Err(error) if ["invalid_client", "invalid_grant"].contains(&error.code) => {
                let before = self.failures.get(&key).filter(|before| now_s - before.last_s < FORGOTTEN_S);
                let count = before.map_or(0, |before| before.count).saturating_add(1);
                self.failures.insert(key, Failures { count, last_s: now_s });
            }
            Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    #[test]
    fn each_failure_doubles_the_wait_and_a_success_ends_it() {
        let slowing = Slowing::default();
        let key = slowing.key(TenantId::DEFAULT, "app", HERE);
        let fail = |now| slowing.note(key, now, &Err::<(), _>(OAuthError::client()));
        let wait = |now| slowing.check(key, now).err().and_then(|error| error.retry_after_s);
        (1..FREE).for_each(|_| fail(100));
        assert_eq!(wait(100), None);
        fail(100);
        assert_eq!((wait(100), wait(101)), (Some(1), None));
        fail(101);
        assert_eq!((wait(101), wait(102)), (Some(2), Some(1)));
        (0..100).for_each(|_| fail(110));
        assert_eq!((wait(110), wait(150), wait(170)), (Some(60), Some(20), None));
        assert_eq!(slowing.check(slowing.key(TenantId::DEFAULT, "other", HERE), 110).err(), None);
        slowing.note(key, 170, &Ok(()));
        fail(170);
        assert_eq!(wait(170), None);
    }

    #[test]
    fn only_what_can_be_a_guess_counts_and_old_failures_are_forgotten() {
        let slowing = Slowing::default();
        let key = slowing.key(TenantId::DEFAULT, "app", HERE);
        (0..100).for_each(|_| slowing.note(key, 100, &Err::<(), _>(OAuthError::request("x is missing."))));
        assert!(slowing.check(key, 100).is_ok());
        (0..FREE).for_each(|_| slowing.note(key, 100, &Err::<(), _>(OAuthError::grant("no"))));
        assert!(slowing.check(key, 100).is_err());
        slowing.note(key, 100 + FORGOTTEN_S, &Err::<(), _>(OAuthError::grant("no")));
        assert!(slowing.check(key, 100 + FORGOTTEN_S).is_ok());
    }
}
