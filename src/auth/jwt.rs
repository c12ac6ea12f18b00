//! JSON Web Tokens: how they are signed, and how they are looked at before a word of them is believed.
//!
//! RFC 7515 and 7519, with the advice of RFC 8725: the algorithms come from the key and never from the token, the type is checked, and
//! a token that names extensions that must be understood (`crit`) is refused.

use aws_lc_rs::rsa::KeyPair;
use aws_lc_rs::signature::{ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, PublicKeyUse, ThumbprintHash};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// A longer token is not even looked at, in bytes.
pub const LONGEST_TOKEN: usize = 16 << 10;

/// The shortest modulus of an RSA key that counts, in bytes: 2048 bits (RFC 7518 section 3.3).
const SHORTEST_MODULUS: usize = 256;

/// The longest modulus of an RSA key that counts, in bytes: the time to verify grows with it.
const LONGEST_MODULUS: usize = 1024;

/// What is wrong with a token: for the log. A client hears no more than the code of its endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Not of the form of a signed token, or too long.
    #[error("the token is malformed")]
    Malformed,
    /// An algorithm that the key is not for, or `none`.
    #[error("the token's algorithm is not one of its key")]
    Algorithm,
    /// Another kind of token.
    #[error("the token's type (typ) is another")]
    Type,
    /// No key has this `kid`.
    #[error("the token's key is not known")]
    UnknownKey,
    /// Altered, or signed with another key.
    #[error("the token's signature does not fit")]
    Signature,
    /// A claim is missing, or of the wrong form.
    #[error("the token's claims can't be read")]
    Claims,
    /// Past `exp`.
    #[error("the token has expired")]
    Expired,
    /// Before `nbf` or `iat`.
    #[error("the token is not valid yet")]
    TooEarly,
    /// `iss` is another.
    #[error("the token's issuer is another")]
    Issuer,
    /// `aud` is another.
    #[error("the token's audience is another")]
    Audience,
    /// It is of another tenant.
    #[error("the token's tenant is another")]
    Tenant,
}

/// What the head of a token says, before its signature is checked: only good for finding the key.
#[derive(Debug)]
pub struct Head {
    /// The algorithm.
    pub alg: Algorithm,
    /// The name of the key.
    pub kid: Option<String>,
    /// The kind of token.
    pub typ: Option<String>,
    /// `jku`: where the signer says that the key is. Never fetched.
    pub jku: Option<String>,
}

/// Reads the head of a token.
///
/// # Errors
/// [`TokenError::Malformed`], and [`TokenError::Algorithm`] for `none` and algorithms that nobody here has a key for.
pub fn head(token: &str) -> Result<Head, TokenError> {
    let (head, ..) = parts(token)?;
    // An algorithm that the crate does not know is told apart here, because it would make the whole head unreadable.
    let plain: serde_json::Value = serde_json::from_slice(&decode(head)?).map_err(|_| TokenError::Malformed)?;
    let alg = plain.get("alg").and_then(serde_json::Value::as_str).ok_or(TokenError::Malformed)?;
    let alg = alg.parse::<Algorithm>().map_err(|_| TokenError::Algorithm)?;
    if plain.get("crit").is_some() || plain.get("b64").is_some() {
        return Err(TokenError::Malformed);
    }
    let text = |name: &str| plain.get(name).and_then(serde_json::Value::as_str).map(str::to_owned);
    Ok(Head { alg, kid: text("kid"), typ: text("typ"), jku: text("jku") })
}

/// Head, payload and signature, each in base64url.
fn parts(token: &str) -> Result<(&str, &str, &str), TokenError> {
    if token.len() > LONGEST_TOKEN {
        return Err(TokenError::Malformed);
    }
    let mut parts = token.split('.');
    match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(head), Some(payload), Some(signature), None) => Ok((head, payload, signature)),
        _ => Err(TokenError::Malformed),
    }
}

/// What the payload of a token says, nothing of which is proved: only good for finding out whose keys prove it.
///
/// # Errors
/// [`TokenError::Malformed`].
pub fn unproved(token: &str) -> Result<serde_json::Value, TokenError> {
    let (_, payload, _) = parts(token)?;
    serde_json::from_slice(&decode(payload)?).map_err(|_| TokenError::Malformed)
}

fn decode(part: &str) -> Result<Vec<u8>, TokenError> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| TokenError::Malformed)
}

/// A public key, with what it may verify.
#[derive(Clone)]
pub struct VerifyingKey {
    key: DecodingKey,
    algorithms: Vec<Algorithm>,
}

impl VerifyingKey {
    /// The key of a JWK. What it verifies is `alg` where that is there, otherwise what the kind of key is for: ES256 for P-256, ES384
    /// for P-384, RS256 and RS384 for RSA.
    ///
    /// `None` for a key that is for encryption, is symmetric, too weak, or of a kind that is not taken here.
    #[must_use]
    pub fn of(jwk: &Jwk) -> Option<Self> {
        if jwk.common.public_key_use.as_ref().is_some_and(|purpose| *purpose != PublicKeyUse::Signature) {
            return None;
        }
        let mut algorithms = match &jwk.algorithm {
            AlgorithmParameters::EllipticCurve(key) => match key.curve {
                EllipticCurve::P256 => vec![Algorithm::ES256],
                EllipticCurve::P384 => vec![Algorithm::ES384],
                _ => return None,
            },
            AlgorithmParameters::RSA(key) => {
                let modulus = URL_SAFE_NO_PAD.decode(&key.n).ok()?;
                let bytes = modulus.iter().skip_while(|byte| **byte == 0).count();
                if !(SHORTEST_MODULUS..=LONGEST_MODULUS).contains(&bytes) {
                    return None;
                }
                vec![Algorithm::RS256, Algorithm::RS384]
            }
            _ => return None,
        };
        if let Some(only) = jwk.common.key_algorithm {
            algorithms.retain(|algorithm| KeyAlgorithm::from(*algorithm) == only);
        }
        let key = DecodingKey::from_jwk(jwk).ok()?;
        (!algorithms.is_empty()).then_some(Self { key, algorithms })
    }

    /// Whether it verifies this algorithm.
    #[must_use]
    pub fn is_for(&self, algorithm: Algorithm) -> bool {
        self.algorithms.contains(&algorithm)
    }

    /// What the payload of a token says, after its signature was found good and its times were found to hold: with `now` in seconds
    /// since 1970, and clocks that may be off by `skew_s` seconds.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn open<T: DeserializeOwned>(&self, token: &str, now: i64, skew_s: u64) -> Result<T, TokenError> {
        let head = head(token)?;
        if !self.is_for(head.alg) {
            return Err(TokenError::Algorithm);
        }
        let (_, payload, signature) = parts(token)?;
        let signed = token.rsplit_once('.').map_or("", |(signed, _)| signed);
        let is_good = jsonwebtoken::crypto::verify(signature, signed.as_bytes(), &self.key, head.alg);
        if !is_good.unwrap_or(false) {
            return Err(TokenError::Signature);
        }
        let payload = decode(payload)?;
        let times: Times = serde_json::from_slice(&payload).map_err(|_| TokenError::Claims)?;
        times.check(now, skew_s)?;
        serde_json::from_slice(&payload).map_err(|_| TokenError::Claims)
    }
}

/// The claims about time: seconds since 1970, which may have fractions (`NumericDate` of RFC 7519).
#[derive(Deserialize)]
struct Times {
    exp: f64,
    nbf: Option<f64>,
    iat: Option<f64>,
}

impl Times {
    #[allow(clippy::cast_precision_loss)] // Seconds of the next million years are exact in 53 bits.
    fn check(&self, now: i64, skew_s: u64) -> Result<(), TokenError> {
        let (now, skew) = (now as f64, skew_s as f64);
        if now >= self.exp + skew {
            return Err(TokenError::Expired);
        }
        if [self.nbf, self.iat].into_iter().flatten().any(|time| now + skew < time) {
            return Err(TokenError::TooEarly);
        }
        Ok(())
    }
}

/// A private key with its name.
pub struct SigningKey {
    /// `kid`.
    pub kid: String,
    /// What it signs with.
    pub alg: Algorithm,
    /// The key.
    pub key: EncodingKey,
}

/// How long an RSA key in PKCS #8 speaks of other things before its PKCS #1 part begins, in bytes: the same for all of 2048 bits and more.
pub const PKCS8_HEAD: usize = 26;

impl SigningKey {
    /// The private key in a file, in PEM (PKCS #8): EC on the curve P-384, which signs with ES384, or RSA, which signs with RS384. Its name
    /// is its thumbprint (RFC 7638) where none is given.
    ///
    /// # Errors
    /// What is wrong with it: for the log.
    pub fn from_pem_file(path: &Path, kid: Option<String>) -> Result<Self, String> {
        let der = PrivatePkcs8KeyDer::from_pem_file(path).map_err(|error| format!("{}: {error}", path.display()))?;
        let der = der.secret_pkcs8_der();
        let (key, alg) = if EcdsaKeyPair::from_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, der).is_ok() {
            (EncodingKey::from_ec_der(der), Algorithm::ES384)
        } else if KeyPair::from_pkcs8(der).is_ok() {
            (EncodingKey::from_rsa_der(der.get(PKCS8_HEAD..).unwrap_or_default()), Algorithm::RS384)
        } else {
            return Err(format!("{}: neither EC on the curve P-384 nor RSA of 2048 bits or more", path.display()));
        };
        let named = || Jwk::from_encoding_key(&key, alg).and_then(|jwk| jwk.thumbprint(ThumbprintHash::SHA256));
        let kid = kid.map_or_else(named, Ok).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Self { kid, alg, key })
    }

    /// A signed token of this type.
    ///
    /// # Errors
    /// When the claims can't be written, or the key does not fit its algorithm.
    pub fn sign<T: Serialize>(&self, typ: &str, claims: &T) -> Result<String, jsonwebtoken::errors::Error> {
        let mut head = Header::new(self.alg);
        head.typ = Some(typ.to_owned());
        head.kid = Some(self.kid.clone());
        jsonwebtoken::encode(&head, claims, &self.key)
    }
}
