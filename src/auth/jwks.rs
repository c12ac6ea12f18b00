//! The public keys of others: JWK Sets (RFC 7517) by value and by address.

use super::fetch::{FetchError, Fetcher};
use super::jwt::{Head, VerifyingKey};
use super::remote::Remote;
use crate::config::Auth;
use jsonwebtoken::jwk::Jwk;
use serde_json::Value;
use std::sync::Arc;

/// The keys of a set that are looked at; the rest is left out.
const MOST_KEYS: usize = 100;

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
pub struct RemoteKeys(Remote<PublicKeys>);

impl RemoteKeys {
    /// Nothing is remembered yet.
    #[must_use]
    pub fn new(config: &Auth, fetcher: Arc<Fetcher>) -> Self {
        Self(Remote::new(config, fetcher))
    }

    /// The keys at an address at `now`, in seconds since 1970. A key that is not known there makes the set be fetched anew.
    ///
    /// # Errors
    /// Why there are none.
    pub async fn keys(&self, address: &str, head: &Head, now: i64) -> Result<Arc<PublicKeys>, FetchError> {
        self.0.get(address, now, |set| PublicKeys::read(&set), |keys| keys.find(head).is_some()).await
    }
}

#[cfg(test)]
#[path = "jwks_tests.rs"]
mod tests;
