//! The public keys of others: JWK Sets (RFC 7517) by value and by address.

use super::fetch::{FetchError, Fetcher};
use super::jwt::{Head, VerifyingKey};
use crate::config::Auth;
use jsonwebtoken::jwk::Jwk;
use quick_cache::sync::Cache;
use serde_json::Value;
use std::sync::Arc;
use tokio::sync::Mutex;

/// The keys of a set that are looked at; the rest is left out.
const MOST_KEYS: usize = 100;

/// The sets that are remembered.
const MOST_SETS: usize = 1_000;

/// How long an address is left alone after it was asked, in seconds.
const PAUSE_S: i64 = 10;

/// The keys of a JWK Set that can verify something here and have a `kid`.
#[derive(Clone, Default)]
pub struct PublicKeys(Vec<(String, VerifyingKey)>);

impl PublicKeys {
    /// Reads a JWK Set. Keys that are of no use here are left out. `None` where it is no JWK Set.
    #[must_use]
    pub fn read(set: &Value) -> Option<Self> {
        let keys = set.get("keys")?.as_array()?.iter().take(MOST_KEYS);
        let usable = keys.filter_map(|key| {
            let jwk: Jwk = serde::Deserialize::deserialize(key).ok()?;
            Some((jwk.common.key_id.clone()?, VerifyingKey::of(&jwk)?))
        });
        Some(Self(usable.collect()))
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The key that the head of a token names. Where several have the name, the one that is for the token's algorithm.
    #[must_use]
    pub fn find(&self, head: &Head) -> Option<&VerifyingKey> {
        let named = || self.0.iter().filter(|(kid, _)| Some(kid) == head.kid.as_ref()).map(|(_, key)| key);
        named().find(|key| key.is_for(head.alg)).or_else(|| named().next())
    }
}

/// Fetched sets, as they are remembered.
pub struct RemoteKeys {
    fetcher: Arc<Fetcher>,
    lifetime_s: i64,
    sets: Cache<String, Arc<Mutex<Remembered>>>,
}

/// One address: held locked while it is asked, so that it is asked once for all who wait.
#[derive(Default)]
struct Remembered {
    keys: Option<Arc<PublicKeys>>,
    fetched: i64,
    asked: Option<i64>,
}

impl RemoteKeys {
    /// Nothing is remembered yet.
    #[must_use]
    pub fn new(config: &Auth, fetcher: Arc<Fetcher>) -> Self {
        let lifetime_s = i64::try_from(config.fetch_cache_s).unwrap_or(i64::MAX);
        Self { fetcher, lifetime_s, sets: Cache::new(MOST_SETS) }
    }

    /// The keys at an address at `now`, in seconds since 1970. A key that is not known there makes the set be fetched anew, but not
    /// twice in ten seconds; so does one that could not be fetched. A set that is too old is not used, also when its host is down.
    ///
    /// # Errors
    /// Why there are none.
    pub async fn keys(&self, address: &str, head: &Head, now: i64) -> Result<Arc<PublicKeys>, FetchError> {
        let fresh = || Ok::<_, FetchError>(Arc::default());
        let remembered = self.sets.get_or_insert_with(address, fresh)?;
        let mut remembered = remembered.lock().await;
        let young = remembered.keys.clone().filter(|_| now.saturating_sub(remembered.fetched) < self.lifetime_s);
        if let Some(keys) = young.as_ref().filter(|keys| keys.find(head).is_some()) {
            return Ok(Arc::clone(keys));
        }
        if remembered.asked.is_some_and(|asked| now.saturating_sub(asked) < PAUSE_S) {
            return young.ok_or_else(|| FetchError::Failed("the host was asked a moment ago".to_owned()));
        }
        remembered.asked = Some(now);
        let set = self.fetcher.fetch(address).await?;
        let keys = Arc::new(PublicKeys::read(&set).ok_or(FetchError::NotJson)?);
        remembered.keys = Some(Arc::clone(&keys));
        remembered.fetched = now;
        Ok(keys)
    }
}

#[cfg(test)]
#[path = "jwks_tests.rs"]
mod tests;
