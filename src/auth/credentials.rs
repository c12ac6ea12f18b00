//! How a client proves who it is at an endpoint: RFC 6749 section 2.3.

use super::error::OAuthError;
use super::form::Form;
use super::records::{Client, ClientProof, get};
use super::secret::{are_equal, hash};
use super::server::Server;
use crate::tenant::TenantId;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use std::borrow::Cow;

/// What a request says of its client. None of it is checked.
#[derive(Default)]
pub struct Credentials {
    /// HTTP Basic: the id and the secret.
    pub basic: Option<(String, String)>,
    /// `client_id`.
    pub client_id: Option<String>,
    /// `client_secret`.
    pub client_secret: Option<String>,
    /// `client_assertion_type`.
    pub client_assertion_type: Option<String>,
    /// `client_assertion`.
    pub client_assertion: Option<String>,
}

impl Credentials {
    /// Reads them from a form and the header `Authorization`.
    ///
    /// # Errors
    /// `invalid_client` for HTTP Basic that can't be read.
    pub fn read(form: &Form, authorization: Option<&str>) -> Result<Self, OAuthError> {
        let field = |name| form.get(name).map(str::to_owned);
        let basic = authorization.and_then(|value| value.split_once(' '));
        let basic = basic.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("Basic"));
        Ok(Self {
            basic: basic.map(|(_, value)| read_basic(value.trim()).ok_or_else(OAuthError::client)).transpose()?,
            client_id: field("client_id"),
            client_secret: field("client_secret"),
            client_assertion_type: field("client_assertion_type"),
            client_assertion: field("client_assertion"),
        })
    }

    /// Which client the request says it comes from; empty where it does not say.
    #[must_use]
    pub fn claimed(&self) -> Cow<'_, str> {
        let named = self.basic.as_ref().map(|(id, _)| id).or(self.client_id.as_ref());
        match (named, &self.client_assertion) {
            (Some(id), _) => Cow::Borrowed(id),
            (None, Some(assertion)) => Cow::Owned(subject(assertion).unwrap_or_default()),
            (None, None) => Cow::Borrowed(""),
        }
    }
}

/// The id and the secret of HTTP Basic, each encoded as in a form before they were joined.
fn read_basic(value: &str) -> Option<(String, String)> {
    let bytes = STANDARD.decode(value).ok()?;
    let (id, secret) = str::from_utf8(&bytes).ok()?.split_once(':')?;
    let decode = |text: &str| {
        let text = text.replace('+', " ");
        percent_encoding::percent_decode_str(&text).decode_utf8().ok().map(Cow::into_owned)
    };
    Some((decode(id)?, decode(secret)?))
}

/// The `sub` that an assertion claims.
fn subject(assertion: &str) -> Option<String> {
    let payload = URL_SAFE_NO_PAD.decode(assertion.split('.').nth(1)?).ok()?;
    let claims: serde_json::Value = serde_json::from_slice(&payload).ok()?;
    claims.get("sub")?.as_str().map(str::to_owned)
}

impl Server {
    /// The client that credentials prove.
    ///
    /// # Errors
    /// `invalid_client`.
    pub async fn authenticate(&self, tenant: TenantId, credentials: &Credentials) -> Result<Client, OAuthError> {
        let id = credentials.claimed();
        let client = get::<Client>(&*self.keeper, tenant, &id)?.map(|(client, _)| client);
        let client = client.filter(|client| !client.disabled).ok_or_else(OAuthError::client)?;
        let basic = credentials.basic.as_ref().map(|(_, secret)| secret);
        let secret = basic.or(credentials.client_secret.as_ref());
        let is_proven = match (&client.proof, secret) {
            (ClientProof::None, None) => true,
            (ClientProof::Secret { sha256 }, Some(secret)) => are_equal(&hash(secret), sha256),
            _ => false,
        };
        is_proven.then_some(client).ok_or_else(OAuthError::client)
    }
}
