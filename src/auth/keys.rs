//! The signing keys of a tenant: ES256 for access tokens, RS256 for ID tokens (which SMART App Launch requires of servers).
//!
//! A key is made when it is first needed and signs until it is `auth.signing_key_age_s` old, or until it is replaced on command. After
//! that it stays in the key set for as long as a token that it signed may be good.

use super::error::OAuthError;
use super::jwt::{self, PKCS8_HEAD, SigningKey, TokenError, VerifyingKey};
use super::keeper::{Expect, Keep, KeeperError, Kept};
use super::records::{self, AccessClaims, Record};
use super::server::Server;
use super::witness::{Deed, Witness, keep};
use crate::clock::Micros;
use crate::error::Error;
use crate::tenant::TenantId;
use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use jsonwebtoken::jwk::{Jwk, PublicKeyUse, ThumbprintHash};
use jsonwebtoken::{Algorithm, EncodingKey};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use zeroize::Zeroizing;

/// `typ` of access tokens (RFC 9068).
pub const ACCESS_TOKEN: &str = "at+jwt";

/// `typ` of ID tokens.
pub const ID_TOKEN: &str = "JWT";

/// What the keys of a tenant are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Purpose {
    /// Access tokens.
    #[serde(rename = "ES256")]
    Access,
    /// ID tokens.
    #[serde(rename = "RS256")]
    Id,
}

impl Purpose {
    const ALL: [Self; 2] = [Self::Access, Self::Id];

    const fn algorithm(self) -> Algorithm {
        match self {
            Self::Access => Algorithm::ES256,
            Self::Id => Algorithm::RS256,
        }
    }

    /// The id of a key's record. Who makes the next key takes the next number, so that two can't both do it.
    fn id(self, generation: u32) -> String {
        format!("{}~{generation:08}", if self == Self::Access { "ES256" } else { "RS256" })
    }
}

/// A signing key as it is kept.
#[derive(Clone, Serialize, Deserialize)]
struct Key {
    /// What it is for.
    alg: Purpose,
    /// Counts the keys of this purpose.
    generation: u32,
    /// DER in base64: PKCS#8 of an EC key, PKCS#1 of an RSA key.
    private: Zeroizing<String>,
    /// When it was made.
    created: i64,
}

impl Record for Key {
    const KIND: &'static str = "key";
}

impl Key {
    /// Makes a key; takes up to a second of computing for RSA.
    fn make(alg: Purpose, generation: u32, created: i64) -> Result<Self, Error> {
        let failed = |_| Error::internal("a signing key could not be made");
        let private = match alg {
            Purpose::Access => {
                let der = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new());
                STANDARD_NO_PAD.encode(der.map_err(failed)?.as_ref())
            }
            Purpose::Id => {
                let pair = KeyPair::generate(KeySize::Rsa2048).map_err(failed)?;
                let der: Pkcs8V1Der<'_> = pair.as_der().map_err(failed)?;
                let inner = der.as_ref().get(PKCS8_HEAD..).unwrap_or_default();
                STANDARD_NO_PAD.encode(inner)
            }
        };
        Ok(Self { alg, generation, private: Zeroizing::new(private), created })
    }

    fn load(&self) -> Result<(SigningKey, Jwk), Error> {
        let failed = |error: &dyn std::fmt::Display| Error::internal(format!("a signing key can't be used: {error}"));
        let der = Zeroizing::new(STANDARD_NO_PAD.decode(self.private.as_bytes()).map_err(|error| failed(&error))?);
        let key = match self.alg {
            Purpose::Access => EncodingKey::from_ec_der(&der),
            Purpose::Id => EncodingKey::from_rsa_der(&der),
        };
        let alg = self.alg.algorithm();
        let mut jwk = Jwk::from_encoding_key(&key, alg).map_err(|error| failed(&error))?;
        let kid = jwk.thumbprint(ThumbprintHash::SHA256).map_err(|error| failed(&error))?;
        jwk.common.key_id = Some(kid.clone());
        jwk.common.public_key_use = Some(PublicKeyUse::Signature);
        Ok((SigningKey { kid, alg, key }, jwk))
    }
}

/// A key, ready to use.
struct Loaded {
    id: Box<str>,
    alg: Purpose,
    generation: u32,
    version: u64,
    created: i64,
    expires: Option<Micros>,
    signing: SigningKey,
    verifying: VerifyingKey,
    jwk: Jwk,
}

impl Loaded {
    fn of(kept: Kept) -> Result<Self, OAuthError> {
        let key: Key = records::read(&kept.bytes)?;
        let (signing, jwk) = key.load()?;
        let verifying = VerifyingKey::of(&jwk).ok_or_else(|| OAuthError::server("a signing key can't verify"))?;
        let Key { alg, generation, created, .. } = key;
        let Kept { id, version, expires, .. } = kept;
        Ok(Self { id, alg, generation, version, created, expires, signing, verifying, jwk })
    }

    /// Whether its time is not over: what is in memory may be older.
    fn is_there(&self, now: Micros) -> bool {
        self.expires.is_none_or(|expires| now < expires)
    }
}

/// All keys of a tenant as they were at one epoch of the keeper.
struct KeySet {
    epoch: u64,
    keys: Vec<Arc<Loaded>>,
}

impl KeySet {
    /// The key that signs: the newest.
    fn newest(&self, alg: Purpose) -> Option<&Loaded> {
        self.keys.iter().map(|key| &**key).filter(|key| key.alg == alg).max_by_key(|key| key.generation)
    }
}

/// The key sets in memory.
#[derive(Default)]
pub struct KeyCache {
    sets: Mutex<HashMap<TenantId, Arc<KeySet>>>,
    /// Held while a key is made, so that a process makes one and not one for each request that waits.
    making: tokio::sync::Mutex<()>,
}

impl Server {
    /// An access token.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn sign_access(&self, tenant: TenantId, claims: &AccessClaims) -> Result<String, OAuthError> {
        self.sign(tenant, Purpose::Access, ACCESS_TOKEN, claims).await
    }

    /// An ID token.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn sign_id(&self, tenant: TenantId, claims: &impl Serialize) -> Result<String, OAuthError> {
        self.sign(tenant, Purpose::Id, ID_TOKEN, claims).await
    }

    async fn sign(
        &self,
        tenant: TenantId,
        purpose: Purpose,
        typ: &str,
        claims: &impl Serialize,
    ) -> Result<String, OAuthError> {
        let set = self.signing_set(tenant, purpose).await?;
        let key = set.newest(purpose).ok_or_else(|| OAuthError::server("there is no signing key"))?;
        key.signing.sign(typ, claims).map_err(OAuthError::server)
    }

    /// What an access token says that this server made for this tenant, and that is good now. Whether what it stands for was
    /// revoked is another question.
    ///
    /// # Errors
    /// `invalid_token`; the log hears what is wrong with it.
    pub fn verify_access(&self, tenant: TenantId, token: &str) -> Result<AccessClaims, OAuthError> {
        let claims: AccessClaims = self.verify(tenant, token, Purpose::Access, ACCESS_TOKEN)?;
        if claims.tenant != tenant.0 {
            return Err(TokenError::Tenant.into());
        }
        let base = self.base(tenant);
        if claims.iss != base {
            return Err(TokenError::Issuer.into());
        }
        if claims.aud != base {
            return Err(TokenError::Audience.into());
        }
        Ok(claims)
    }

    /// Whether the key that a token names is there: one that was removed is good for nothing it signed, whenever that was looked at.
    pub(super) fn knows_key(&self, tenant: TenantId, token: &str) -> bool {
        let (Ok(head), Ok(set)) = (jwt::head(token), self.key_set(tenant)) else { return false };
        set.keys.iter().any(|key| Some(&key.signing.kid) == head.kid.as_ref() && key.is_there(self.clock.now()))
    }

    fn verify<T: serde::de::DeserializeOwned>(
        &self,
        tenant: TenantId,
        token: &str,
        purpose: Purpose,
        typ: &str,
    ) -> Result<T, OAuthError> {
        let head = jwt::head(token)?;
        if !head.typ.is_some_and(|own| own.eq_ignore_ascii_case(typ)) {
            return Err(TokenError::Type.into());
        }
        let now = self.clock.now();
        let set = self.key_set(tenant)?;
        let known = |key: &&Arc<Loaded>| Some(&key.signing.kid) == head.kid.as_ref() && key.alg == purpose;
        let key = set.keys.iter().find(known).filter(|key| key.is_there(now)).ok_or(TokenError::UnknownKey)?;
        Ok(key.verifying.open(token, now.0.div_euclid(1_000_000), self.config.clock_skew_s)?)
    }

    /// The public keys of a tenant, as a JWK Set (RFC 7517). Makes those that are missing.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn jwks(&self, tenant: TenantId) -> Result<serde_json::Value, OAuthError> {
        for purpose in Purpose::ALL {
            self.signing_set(tenant, purpose).await?;
        }
        let (set, now) = (self.key_set(tenant)?, self.clock.now());
        let good = set.keys.iter().filter(|key| key.is_there(now));
        let keys: Vec<&Jwk> = good.map(|key| &key.jwk).collect();
        Ok(serde_json::json!({ "keys": keys }))
    }

    /// Replaces the signing keys of a tenant. What the old ones signed stays good until it expires, or with `drop_old`, after a key
    /// became known, nothing of it.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn rotate_keys(&self, tenant: TenantId, drop_old: bool) -> Result<(), OAuthError> {
        // The first of the changes tells of all.
        let witness = || self.witness().filter(|witness| !witness.has_told());
        for purpose in Purpose::ALL {
            self.make_key(tenant, purpose, |_| false, witness()).await?;
        }
        if drop_old {
            let set = self.key_set(tenant)?;
            let is_newest = |key: &Loaded| set.newest(key.alg).is_some_and(|own| own.generation == key.generation);
            let old = set.keys.iter().filter(|key| !is_newest(key));
            let old = old.map(|key| records::remove::<Key>(&key.id, Expect::Any)).collect();
            keep(&*self.keeper, tenant, old, (witness(), &Deed::Asked)).await?;
        }
        Ok(())
    }

    /// A key set whose newest key of this purpose is young enough to sign.
    async fn signing_set(&self, tenant: TenantId, purpose: Purpose) -> Result<Arc<KeySet>, OAuthError> {
        let set = self.key_set(tenant)?;
        let oldest = self.now_s().saturating_sub_unsigned(self.config.signing_key_age_s);
        let is_young = move |key: &Loaded| key.created > oldest;
        if set.newest(purpose).is_some_and(is_young) {
            return Ok(set);
        }
        self.make_key(tenant, purpose, is_young, None).await
    }

    /// Makes the next key of this purpose, unless meanwhile the newest one is good enough.
    async fn make_key(
        &self,
        tenant: TenantId,
        purpose: Purpose,
        is_good: impl Fn(&Loaded) -> bool,
        witness: Option<&Witness>,
    ) -> Result<Arc<KeySet>, OAuthError> {
        let _alone = self.keys.making.lock().await;
        let set = self.key_set(tenant)?;
        let newest = set.newest(purpose);
        if newest.is_some_and(is_good) {
            return Ok(set);
        }
        let generation = newest.map_or(1, |key| key.generation.saturating_add(1));
        let (now, now_s) = (self.clock.now(), self.now_s());
        let key = tokio::task::spawn_blocking(move || Key::make(purpose, generation, now_s)).await;
        let key = key.map_err(OAuthError::server)??;
        let mut changes = vec![records::put(&purpose.id(generation), &key, Expect::Absent, None)?];
        if let Some(old) = newest {
            changes.push(self.retire(tenant, old, now)?);
        }
        match keep(&*self.keeper, tenant, changes, (witness, &Deed::Asked)).await {
            // Another process was faster: what it made is as good.
            Ok(()) | Err(KeeperError::Stale(_)) => Ok(self.key_set(tenant)?),
            Err(error) => Err(error.into()),
        }
    }

    /// The change that lets a key go when the last token that it signed has.
    fn retire(&self, tenant: TenantId, key: &Loaded, now: Micros) -> Result<Keep, OAuthError> {
        let (record, _) = records::get::<Key>(&*self.keeper, tenant, &key.id)?
            .ok_or_else(|| OAuthError::server("a signing key is gone"))?;
        let lifetime_s =
            self.config.access_token_lifetime_s.saturating_add(self.config.clock_skew_s).max(SHORTEST_OVERLAP_S);
        let expires = Micros(now.0.saturating_add_unsigned(lifetime_s.saturating_mul(1_000_000)));
        Ok(records::put(&key.id, &record, Expect::Version(key.version), Some(expires))?)
    }

    /// The keys as they are now.
    fn key_set(&self, tenant: TenantId) -> Result<Arc<KeySet>, OAuthError> {
        let epoch = self.keeper.epoch(tenant);
        let cached = self.keys.sets.lock().unwrap_or_else(PoisonError::into_inner).get(&tenant).cloned();
        if let Some(set) = cached.as_ref().filter(|set| set.epoch == epoch) {
            return Ok(Arc::clone(set));
        }
        let before = cached.as_ref().map_or(&[][..], |set| &set.keys);
        let mut keys = Vec::new();
        for kept in self.keeper.list(tenant, Key::KIND, "", None, MOST_KEYS)? {
            // The epoch counts other changes too. What it takes to load an RSA key is not spent on those.
            match before.iter().find(|key| key.id == kept.id && key.version == kept.version) {
                Some(key) => keys.push(Arc::clone(key)),
                None => keys.push(Arc::new(Loaded::of(kept)?)),
            }
        }
        let set = Arc::new(KeySet { epoch, keys });
        self.keys.sets.lock().unwrap_or_else(PoisonError::into_inner).insert(tenant, Arc::clone(&set));
        Ok(set)
    }
}

/// A key that was replaced stays at least so long, so that lowering a token's lifetime does not make those given before it bad.
const SHORTEST_OVERLAP_S: u64 = 86_400;

/// More keys than a tenant can have at a time.
const MOST_KEYS: usize = 10_000;

#[cfg(test)]
#[path = "keys_tests.rs"]
mod tests;
