//! Who asks at the token endpoint and its kin: client authentication by RFC 6749 section 2.3 and RFC 7521, as SMART App Launch
//! narrows it (<https://hl7.org/fhir/smart-app-launch/client-authentication.html>).

use super::error::OAuthError;
use super::form::Form;
use super::records::{self, Client, ClientProof};
use super::secret;
use super::server::Server;
use crate::tenant::TenantId;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// `client_assertion_type` of `private_key_jwt`.
const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// More bytes of a `client_id` are no client's: its id is one of a record.
const LONGEST_ID: usize = 255;

/// What a request brings to prove who its client is. A parameter without a value counts as absent (RFC 6749 section 3.1).
#[derive(Default)]
pub struct Credentials {
    /// The header `Authorization`.
    pub authorization: Option<String>,
    /// `client_id` of the form.
    pub client_id: Option<String>,
    /// `client_secret` of the form.
    pub client_secret: Option<String>,
    /// `client_assertion_type` of the form.
    pub client_assertion_type: Option<String>,
    /// `client_assertion` of the form.
    pub client_assertion: Option<String>,
}

impl Credentials {
    /// From the header `Authorization` and the parameters of the form.
    pub fn of(authorization: Option<&str>, parameter: impl Fn(&str) -> Option<String>) -> Self {
        let parameter = |name| parameter(name).filter(|value| !value.is_empty());
        Self {
            authorization: authorization.map(str::to_owned),
            client_id: parameter("client_id"),
            client_secret: parameter("client_secret"),
            client_assertion_type: parameter("client_assertion_type"),
            client_assertion: parameter("client_assertion"),
        }
    }

    /// The client that they name, whether they prove it or not.
    #[must_use]
    pub fn named(&self) -> Option<String> {
        self.method().ok().map(|(client_id, _)| client_id)
    }

    /// Whether they say nothing of a client at all.
    const fn are_absent(&self) -> bool {
        let Self { authorization, client_id, client_secret, client_assertion_type, client_assertion } = self;
        let absent = authorization.is_none() && client_id.is_none() && client_secret.is_none();
        absent && client_assertion_type.is_none() && client_assertion.is_none()
    }

    /// The one method that is used, with the client that it names.
    fn method(&self) -> Result<(String, Method<'_>), OAuthError> {
        let used = [self.authorization.is_some(), self.client_secret.is_some(), self.client_assertion.is_some()];
        if used.into_iter().filter(|used| *used).count() > 1 {
            return Err(OAuthError::request("A client proves who it is by one method, not by several."));
        }
        if self.client_assertion.is_some() != self.client_assertion_type.is_some() {
            return Err(OAuthError::request("client_assertion and client_assertion_type belong together."));
        }
        let (named, method) = if let Some(header) = &self.authorization {
            let (client_id, secret) = basic(header).ok_or_else(|| refusal("the Authorization header can't be read"))?;
            (Some(client_id), Method::Secret(secret))
        } else if let Some(secret) = &self.client_secret {
            (None, Method::Secret(secret.clone()))
        } else if let Some(assertion) = &self.client_assertion {
            if self.client_assertion_type.as_deref() != Some(JWT_BEARER) {
                return Err(OAuthError::request("client_assertion_type is not supported."));
            }
            let subject =
                super::assertion::subject(assertion).ok_or_else(|| refusal("the assertion names no client"))?;
            (Some(subject), Method::Assertion(assertion))
        } else {
            (None, Method::None)
        };
        match (named, &self.client_id) {
            (Some(named), Some(client_id)) if named != *client_id => Err(refusal("two clients are named")),
            (Some(named), _) => Ok((named, method)),
            (None, Some(client_id)) => Ok((client_id.clone(), method)),
            (None, None) => Err(refusal("no client is named")),
        }
    }
}

/// How a client proves who it is.
enum Method<'c> {
    None,
    Secret(String),
    Assertion(&'c str),
}

/// Client and secret of HTTP Basic: each is form-urlencoded before they are joined (RFC 6749 section 2.3.1).
fn basic(header: &str) -> Option<(String, String)> {
    let (scheme, encoded) = header.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("Basic") {
        return None;
    }
    let both = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (client_id, secret) = both.split_once(':')?;
    Some((unescape(client_id)?, unescape(secret)?))
}

fn unescape(part: &str) -> Option<String> {
    let spaced = part.replace('+', " ");
    percent_encoding::percent_decode_str(&spaced).decode_utf8().ok().map(std::borrow::Cow::into_owned)
}

/// `invalid_client`: the log hears why.
pub(super) fn refusal(why: impl std::fmt::Display) -> OAuthError {
    let mut refusal = OAuthError::client();
    refusal.log = Some(why.to_string());
    refusal
}

impl Server {
    /// Completes what a refresh brings that says nothing of its client. RFC 6749 section 6 asks for no `client_id`, and SMART
    /// apps in browsers send none: the client is the one to which the refresh token was issued. It still has to be one
    /// without a proof.
    ///
    /// # Errors
    /// `invalid_grant` where the refresh token of such a request is nobody's.
    pub fn named_by_refresh(
        &self,
        tenant: TenantId,
        credentials: Credentials,
        form: &Form,
    ) -> Result<Credentials, OAuthError> {
        if !credentials.are_absent() || form.get("grant_type") != Some("refresh_token") {
            return Ok(credentials);
        }
        let Some(token) = form.get("refresh_token") else { return Ok(credentials) };
        let authorization = self.refreshed_by(tenant, token)?;
        let authorization = authorization.ok_or_else(|| OAuthError::grant("The refresh token is not good."))?;
        Ok(Credentials { client_id: Some(authorization.client_id), ..credentials })
    }

    /// The client of a request, by its one proof.
    ///
    /// # Errors
    /// `invalid_client`: the same for a client that is not known, one that is switched off, and a proof that is not good.
    /// `invalid_request` where the request uses several methods at once.
    pub async fn authenticate(&self, tenant: TenantId, credentials: &Credentials) -> Result<Client, OAuthError> {
        let (client_id, method) = credentials.method()?;
        let client = self.enabled_client(tenant, &client_id)?;
        // A secret is hashed and compared also where there is no client, so that the time does not tell it.
        let is_good = match (client.as_ref().map(|client| &client.proof), &method) {
            (Some(ClientProof::None), Method::None) => true,
            (Some(ClientProof::Secret { sha256 }), Method::Secret(secret)) => {
                secret::are_equal(&secret::hash(secret), sha256)
            }
            (_, Method::Secret(secret)) => {
                let _ = secret::are_equal(&secret::hash(secret), NOBODY);
                false
            }
            (Some(ClientProof::Keys { jwks, jwks_uri }), Method::Assertion(assertion)) => {
                self.check_assertion(tenant, &client_id, jwks.as_ref(), jwks_uri.as_deref(), assertion).await?;
                true
            }
            _ => false,
        };
        client
            .filter(|_| is_good)
            .ok_or_else(|| refusal("the client is not known, or uses another method, or its secret is wrong"))
    }

    /// A client that is not switched off.
    ///
    /// # Errors
    /// When the store fails.
    pub fn enabled_client(&self, tenant: TenantId, client_id: &str) -> Result<Option<Client>, OAuthError> {
        if client_id.is_empty() || client_id.len() > LONGEST_ID {
            return Ok(None);
        }
        let client = records::get::<Client>(&*self.keeper, tenant, client_id)?;
        Ok(client.map(|(client, _)| client).filter(|client| !client.disabled))
    }
}

/// What the secret of no client is compared with.
const NOBODY: &str = "0000000000000000000000000000000000000000000000000000000000000000";

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;
