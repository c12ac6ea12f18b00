//! Introspection: RFC 7662, with the fields of SMART.
//!
//! <https://hl7.org/fhir/smart-app-launch/token-introspection.html>
//!
//! Who sees what: a confidential client sees the tokens that were issued to it. One that is registered with the scope
//! [`INTROSPECT`], such as a resource server beside this one, sees all tokens of this server. So does an administrator. To all others a
//! token is not active, whatever it is.

use super::authorization::Live;
use super::error::OAuthError;
use super::form::Form;
use super::records::{AccessClaims, Authorization, Client, ClientProof, LaunchContext, get};
use super::refresh::RefreshToken;
use super::scope::{INTROSPECT, Scopes};
use super::server::Server;
use crate::tenant::TenantId;
use serde::Serialize;

/// Who asks about a token.
#[derive(Debug, Clone)]
pub enum Asker {
    /// An authenticated client.
    Client(Box<Client>),
    /// An administrator.
    Admin,
}

impl Asker {
    /// An authenticated client that may ask.
    ///
    /// # Errors
    /// `invalid_client` for a public one: anybody can say that it is one.
    pub fn client(client: Client) -> Result<Self, OAuthError> {
        if client.proof == ClientProof::None { Err(OAuthError::client()) } else { Ok(Self::Client(Box::new(client))) }
    }

    fn sees(&self, owner: &str) -> bool {
        match self {
            Self::Client(client) => client.client_id == owner || client.scopes.has(INTROSPECT),
            Self::Admin => true,
        }
    }
}

/// What the introspection endpoint answers.
#[derive(Debug, Default, Serialize)]
pub struct Introspection {
    /// Whether the token is good now.
    pub active: bool,
    /// What else is said of it, where it is.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub about: Option<About>,
}

/// What is said of an active token.
#[derive(Debug, Serialize)]
pub struct About {
    /// What is granted.
    pub scope: Scopes,
    /// The client.
    pub client_id: String,
    /// `Bearer`, of an access token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_type: Option<&'static str>,
    /// The user's id, or the client's.
    pub sub: String,
    /// The FHIR base.
    pub iss: String,
    /// The FHIR base.
    pub aud: String,
    /// Seconds since 1970.
    pub iat: i64,
    /// Seconds since 1970; not of a refresh token, which is prolonged with every use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exp: Option<i64>,
    /// The id of the token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jti: Option<String>,
    /// The absolute URL of the user's resource, where `fhirUser` or `profile` is granted.
    #[serde(rename = "fhirUser", skip_serializing_if = "Option::is_none")]
    pub fhir_user: Option<String>,
    /// The launch context.
    #[serde(flatten)]
    pub context: LaunchContext,
}

impl Server {
    /// Says what is known of a token.
    ///
    /// # Errors
    /// `invalid_request` without a `token`; when the store fails.
    pub fn introspect(&self, tenant: TenantId, asker: &Asker, form: &Form) -> Result<Introspection, OAuthError> {
        let token = form.required("token")?;
        let about = match self.about_refresh_token(tenant, token)? {
            None => self.about_access_token(tenant, token)?,
            about => about,
        };
        let about = about.filter(|about| asker.sees(&about.client_id));
        Ok(Introspection { active: about.is_some(), about })
    }

    fn about_access_token(&self, tenant: TenantId, token: &str) -> Result<Option<About>, OAuthError> {
        match self.active(tenant, token) {
            Ok((claims, live)) => Ok(Some(About::access_token(claims, live))),
            Err(error) if error.code == "invalid_token" => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn about_refresh_token(&self, tenant: TenantId, token: &str) -> Result<Option<About>, OAuthError> {
        let Some(token) = RefreshToken::parse(token) else { return Ok(None) };
        let Some((authorization, _)) = get::<Authorization>(&*self.keeper, tenant, token.authorization)? else {
            return Ok(None);
        };
        let is_good = token.is_of(&authorization)
            && token.generation == authorization.refresh
            && (authorization.scopes.has("offline_access") || self.is_online(tenant, &authorization)?);
        let Some(user) = self.active_user(tenant, &authorization.user)?.filter(|_| is_good) else { return Ok(None) };
        let base = self.base(tenant);
        Ok(Some(About {
            fhir_user: self.fhir_user(tenant, &user, &authorization.scopes),
            scope: authorization.scopes,
            client_id: authorization.client_id,
            token_type: None,
            sub: authorization.user,
            iss: base.clone(),
            aud: base,
            iat: authorization.created,
            exp: None,
            jti: None,
            context: authorization.context,
        }))
    }
}

impl About {
    fn access_token(claims: AccessClaims, live: Live) -> Self {
        Self {
            scope: claims.scope,
            client_id: claims.client_id,
            token_type: Some("Bearer"),
            sub: claims.sub,
            iss: claims.iss,
            aud: claims.aud,
            iat: claims.iat,
            exp: Some(claims.exp),
            jti: Some(claims.jti),
            fhir_user: claims.fhir_user,
            context: live.user.map(|(_, authorization)| authorization.context).unwrap_or_default(),
        }
    }
}
