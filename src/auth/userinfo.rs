//! Who the user is: OpenID Connect Core section 5.3.

use super::agent::Agent;
use super::error::OAuthError;
use super::server::Server;
use crate::tenant::TenantId;
use serde::Serialize;

/// What the userinfo endpoint answers.
#[derive(Debug, Serialize)]
pub struct UserInfo {
    /// The user's id, as in the ID token.
    pub sub: String,
    /// The name for people, with `profile`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The absolute URL of the user's resource, with `fhirUser` or `profile`.
    #[serde(rename = "fhirUser", skip_serializing_if = "Option::is_none")]
    pub fhir_user: Option<String>,
}

impl Server {
    /// Whom an access token stands for. `agent` hears who asks.
    ///
    /// # Errors
    /// `invalid_token`; `insufficient_scope` for a token without `openid`, or of a client that acts for itself.
    pub fn userinfo(&self, tenant: TenantId, token: &str, agent: &mut Agent) -> Result<UserInfo, OAuthError> {
        let (claims, live) = self.active(tenant, token)?;
        *agent = live.agent(&claims);
        let user = live.user.map(|(user, _)| user).filter(|_| claims.scope.has("openid"));
        let user = user.ok_or_else(|| OAuthError::new("insufficient_scope", "The token does not have openid."))?;
        let fhir_user = self.fhir_user(tenant, &user, &claims.scope);
        Ok(UserInfo { sub: user.id, name: claims.scope.has("profile").then_some(user.name), fhir_user })
    }
}
