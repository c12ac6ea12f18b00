//! `private_key_jwt`: a client proves who it is by a token that it signed (RFC 7523), with SMART's rules
//! (<https://hl7.org/fhir/smart-app-launch/client-confidential-asymmetric.html>).

use super::client::refusal;
use super::error::OAuthError;
use super::jwks::PublicKeys;
use super::jwt::{self, Head};
use super::keeper::{Expect, KeeperError};
use super::records::{self, Record};
use super::secret;
use super::server::Server;
use crate::clock::Micros;
use crate::tenant::TenantId;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::sync::Arc;

/// How far ahead `exp` may be, in seconds.
const LONGEST_LIFE_S: u64 = 300;

/// The claims that SMART requires.
#[derive(Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    aud: Audience,
    exp: f64,
    jti: String,
}

/// `aud`: one, or several.
#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Many(Vec<String>),
}

impl Audience {
    fn has(&self, address: &str) -> bool {
        match self {
            Self::One(own) => own == address,
            Self::Many(all) => all.iter().any(|own| own == address),
        }
    }
}

/// That an assertion was used. Its id is the hash of client and `jti`; it is kept until the assertion has expired.
#[derive(Serialize, Deserialize)]
struct Used {}

impl Record for Used {
    const KIND: &'static str = "jti";
}

/// The client that an assertion speaks of, before anything is proved: good for nothing but finding its keys.
pub(super) fn subject(assertion: &str) -> Option<String> {
    let claims: Value = jwt::unproved(assertion).ok()?;
    claims.get("sub")?.as_str().map(str::to_owned)
}

impl Server {
    /// Checks an assertion of a client, and uses it up.
    ///
    /// # Errors
    /// `invalid_client`; the log hears why.
    pub(super) async fn check_assertion(
        &self,
        tenant: TenantId,
        client_id: &str,
        jwks: Option<&Value>,
        jwks_uri: Option<&str>,
        assertion: &str,
    ) -> Result<(), OAuthError> {
        let head = jwt::head(assertion).map_err(refusal)?;
        if head.kid.is_none() {
            return Err(refusal("the assertion names no key (kid)"));
        }
        if head.typ.as_ref().is_some_and(|typ| !typ.eq_ignore_ascii_case("JWT")) {
            return Err(refusal("the assertion's type (typ) is another"));
        }
        if head.jku.as_deref().is_some_and(|jku| jwks_uri.is_some_and(|own| own != jku)) {
            return Err(refusal("the assertion names another address for its key (jku) than was registered"));
        }
        let keys = self.keys_of_client(jwks, jwks_uri, &head).await?;
        let key = keys.find(&head).ok_or_else(|| refusal("the assertion's key is not one of the client's"))?;
        let (now, skew_s) = (self.now_s(), self.config.clock_skew_s);
        let claims: Claims = key.open(assertion, now, skew_s).map_err(refusal)?;
        if claims.iss != client_id || claims.sub != client_id {
            return Err(refusal("the assertion's issuer or subject is not the client"));
        }
        if !claims.aud.has(&self.endpoint(tenant, "token")) {
            return Err(refusal("the assertion's audience is not the token endpoint"));
        }
        // Seconds, of which those past its longest life are refused anyway.
        #[allow(clippy::cast_possible_truncation)]
        let expires = claims.exp.ceil() as i64;
        if expires > now.saturating_add_unsigned(LONGEST_LIFE_S + skew_s) {
            return Err(refusal("the assertion's exp is more than five minutes ahead"));
        }
        self.use_up(tenant, client_id, &claims.jti, expires.saturating_add_unsigned(skew_s)).await
    }

    async fn keys_of_client(
        &self,
        jwks: Option<&Value>,
        jwks_uri: Option<&str>,
        head: &Head,
    ) -> Result<Arc<PublicKeys>, OAuthError> {
        match (jwks, jwks_uri) {
            (Some(set), _) => Ok(Arc::new(PublicKeys::read(set).unwrap_or_default())),
            (None, Some(address)) => {
                let keys = self.remote.keys(address, head, self.now_s()).await;
                keys.map_err(|error| refusal(format!("the client's keys can't be fetched: {error}")))
            }
            (None, None) => Err(refusal("the client has no keys")),
        }
    }

    /// Remembers a `jti` until its assertion has expired: of all who bring the same, one gets through.
    async fn use_up(&self, tenant: TenantId, client_id: &str, jti: &str, until_s: i64) -> Result<(), OAuthError> {
        if jti.is_empty() {
            return Err(refusal("the assertion's jti is empty"));
        }
        // Ids have no line break, so no two pairs of client and jti give the same text.
        let id = secret::hash(&format!("{client_id}\n{jti}"));
        let expires = Micros(until_s.saturating_mul(1_000_000));
        let used = records::put(&id, &Used {}, Expect::Absent, Some(expires))?;
        match self.keeper.keep(tenant, vec![used]).await {
            Err(KeeperError::Stale(_)) => Err(refusal("the assertion was used before (jti)")),
            result => Ok(result?),
        }
    }
}

#[cfg(test)]
#[path = "assertion_tests.rs"]
mod tests;
