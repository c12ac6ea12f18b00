//! Checkpoints: now and then it is signed how far the chains of all tenants have come, each checkpoint naming the hash of the one
//! before. Kept outside, they show that a ledger was cut short or made anew, which a chain alone can't.
//!
//! A checkpoint is a JWS (RFC 7515) with Ed25519 (RFC 8037), so that anybody can verify it who has the public key. That key comes of
//! the store's own key.

use super::chain::Known;
use crate::auth::keeper::{Expect, Keeper, KeeperError};
use crate::auth::records::{self, Record};
use crate::clock::Micros;
use crate::store::Store;
use crate::store::ledger::Head;
use crate::tenant::TenantId;
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};

/// `typ` of a checkpoint's JWS.
const TYPE: &str = "pharos-checkpoint+jwt";
/// Where checkpoints are kept: they are over the chains of all tenants.
const HOME: TenantId = TenantId::DEFAULT;
/// Checkpoints that are read at a time.
const PART: usize = 500;

/// How far one tenant's chain had come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lane {
    /// The tenant's number.
    pub tenant: u32,
    /// The entries of the chain.
    pub entries: u64,
    /// The hash over its last block, in hexadecimal.
    pub hash: String,
}

/// What a checkpoint says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// Counts the checkpoints, from 1.
    pub number: u64,
    /// When it was made: seconds since 1970.
    pub iat: i64,
    /// SHA-256, in hexadecimal, of the JWS of the one before; empty for the first.
    pub before: String,
    /// The chains that have an entry.
    pub lanes: Vec<Lane>,
}

/// A checkpoint as it is kept. Its id is its number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signed {
    /// The JWS.
    pub jws: String,
}

impl Record for Signed {
    const KIND: &'static str = "checkpoint";
}

/// Why there is no checkpoint, or one is not good.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The store failed.
    #[error(transparent)]
    Keeper(#[from] KeeperError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] crate::store::StoreError),
    /// The signature or the form is not good.
    #[error("checkpoint {number}: {what}")]
    Bad {
        /// Which, counted from 1.
        number: u64,
        /// What is wrong.
        what: String,
    },
    /// There is no key.
    #[error("the key that signs checkpoints can't be made")]
    Key,
}

/// Signs checkpoints, and verifies them.
pub struct Signer {
    private: EncodingKey,
    public: DecodingKey,
    /// The public key, in base64url: the member `x` of a JWK.
    x: String,
}

impl Signer {
    /// The one whose key comes of this seed.
    ///
    /// # Errors
    /// When no key can be made of it, which holds for no seed.
    pub fn new(seed: &[u8; 32]) -> Result<Self, CheckpointError> {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).map_err(|_| CheckpointError::Key)?;
        let der = pair.to_pkcs8v1().map_err(|_| CheckpointError::Key)?;
        let x = URL_SAFE_NO_PAD.encode(pair.public_key().as_ref());
        let public = DecodingKey::from_ed_components(&x).map_err(|_| CheckpointError::Key)?;
        Ok(Self { private: EncodingKey::from_ed_der(der.as_ref()), public, x })
    }

    /// The public key as a JWK (RFC 8037).
    #[must_use]
    pub fn jwk(&self) -> serde_json::Value {
        serde_json::json!({ "kty": "OKP", "crv": "Ed25519", "x": self.x, "use": "sig", "alg": "EdDSA" })
    }

    /// Makes and keeps a checkpoint over the chains of these tenants, if any has grown since the last one.
    ///
    /// # Errors
    /// When the store fails. Where another process was quicker, there is none to make.
    pub async fn make(
        &self,
        store: &Store,
        tenants: &[TenantId],
        now: Micros,
    ) -> Result<Option<(Checkpoint, String)>, CheckpointError> {
        let keeper = store.keeper();
        let last = last(&*keeper)?;
        let mut lanes = Vec::new();
        for tenant in tenants {
            let head = store.ledger_head(*tenant)?;
            if head.next > 0 {
                lanes.push(Lane { tenant: tenant.0, entries: head.next, hash: hex(&head.hash) });
            }
        }
        let (number, before, old) = match &last {
            Some(jws) => {
                let old = self.open(0, jws)?;
                (old.number + 1, hash_of(jws), old.lanes)
            }
            None => (1, String::new(), Vec::new()),
        };
        if lanes == old {
            return Ok(None);
        }
        let checkpoint = Checkpoint { number, iat: now.0.div_euclid(1_000_000), before, lanes };
        let header = Header { typ: Some(TYPE.to_owned()), ..Header::new(Algorithm::EdDSA) };
        let jws = jsonwebtoken::encode(&header, &checkpoint, &self.private).map_err(|_| CheckpointError::Key)?;
        let keep = records::put(&id_of(number), &Signed { jws: jws.clone() }, Expect::Absent, None)?;
        match keeper.keep(HOME, vec![keep]).await {
            Ok(()) => Ok(Some((checkpoint, jws))),
            Err(KeeperError::Stale(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// What a checkpoint says, if its signature is good. `number` is the one that it is taken for, for the error.
    ///
    /// # Errors
    /// [`CheckpointError::Bad`].
    pub fn open(&self, number: u64, jws: &str) -> Result<Checkpoint, CheckpointError> {
        let bad = |what: String| CheckpointError::Bad { number, what };
        let mut validation = Validation::new(Algorithm::EdDSA);
        validation.required_spec_claims.clear();
        (validation.validate_exp, validation.validate_aud) = (false, false);
        let opened = jsonwebtoken::decode::<Checkpoint>(jws, &self.public, &validation);
        let opened = opened.map_err(|error| bad(format!("its signature is not good ({error})")))?;
        if opened.header.typ.as_deref() == Some(TYPE) {
            Ok(opened.claims)
        } else {
            Err(bad("it is of another type".to_owned()))
        }
    }

    /// Verifies checkpoints, in order, that each follows from the one before; and gives what they know of one tenant's chain.
    ///
    /// # Errors
    /// [`CheckpointError::Bad`] for the first that does not.
    pub fn verify(
        &self,
        tenant: TenantId,
        checkpoints: impl IntoIterator<Item = String>,
    ) -> Result<Vec<Known>, CheckpointError> {
        let mut known = Vec::new();
        let mut before: Option<(u64, String)> = None;
        for jws in checkpoints {
            let expected = before.as_ref().map_or(1, |(number, _)| number + 1);
            let checkpoint = self.open(expected, &jws)?;
            let bad = |what: &str| CheckpointError::Bad { number: expected, what: what.to_owned() };
            // What was kept outside may begin later than with the first.
            let is_next = before
                .as_ref()
                .is_none_or(|(number, hash)| checkpoint.number == number + 1 && checkpoint.before == *hash);
            if !is_next {
                return Err(bad("it is missing, or does not follow from the one before"));
            }
            before = Some((checkpoint.number, hash_of(&jws)));
            for lane in checkpoint.lanes.iter().filter(|lane| lane.tenant == tenant.0) {
                let hash = unhex(&lane.hash).ok_or_else(|| bad("it has a hash that is none"))?;
                known.push(Known { checkpoint: checkpoint.number, head: Head { next: lane.entries, hash } });
            }
        }
        known.dedup_by_key(|known| known.head);
        Ok(known)
    }
}

/// All checkpoints that are kept, in order.
///
/// # Errors
/// When the store fails.
pub fn kept(keeper: &dyn Keeper) -> Result<Vec<String>, KeeperError> {
    let mut all = Vec::new();
    let mut after: Option<Box<str>> = None;
    loop {
        let part = keeper.list(HOME, Signed::KIND, "", after.as_deref(), PART)?;
        let Some(last) = part.last() else { return Ok(all) };
        after = Some(last.id.clone());
        for kept in &part {
            all.push(records::read::<Signed>(&kept.bytes)?.jws);
        }
    }
}

/// The JWS of the last checkpoint. Numbers have no gaps, so that it is found by halving.
///
/// # Errors
/// When the store fails.
pub fn last(keeper: &dyn Keeper) -> Result<Option<String>, KeeperError> {
    let get = |number: u64| records::get::<Signed>(keeper, HOME, &id_of(number));
    let mut there = 0;
    let mut absent = 1;
    while get(absent)?.is_some() {
        there = absent;
        absent = absent.saturating_mul(2);
    }
    while absent - there > 1 {
        let middle = there.midpoint(absent);
        if get(middle)?.is_some() { there = middle } else { absent = middle }
    }
    Ok(get(there)?.map(|(signed, _)| signed.jws))
}

fn id_of(number: u64) -> String {
    format!("{number:016}")
}

fn hash_of(jws: &str) -> String {
    hex(digest(&SHA256, jws.as_bytes()).as_ref())
}

/// Bytes in hexadecimal.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    let mut out = [0; 32];
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    for (byte, at) in out.iter_mut().zip((0..64).step_by(2)) {
        *byte = u8::from_str_radix(text.get(at..at + 2)?, 16).ok()?;
    }
    Some(out)
}
