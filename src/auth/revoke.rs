//! Revocation: RFC 7009.

use super::authorization::Revoked;
use super::error::OAuthError;
use super::form::Form;
use super::keeper::Expect;
use super::records::{Authorization, Client, get, put};
use super::refresh::RefreshToken;
use super::server::Server;
use super::token::Told;
use super::witness::Deed;
use crate::tenant::TenantId;

impl Server {
    /// Revokes a token at its client's wish: an access token alone, or with a refresh token, used before or not, the whole
    /// authorization. A token that is not known is no error. `token_type_hint` is not needed, and ignored.
    ///
    /// # Errors
    /// `invalid_request` without a `token`, `invalid_grant` where it is another client's.
    pub async fn revoke(
        &self,
        tenant: TenantId,
        client: &Client,
        form: &Form,
        told: &mut Told,
    ) -> Result<(), OAuthError> {
        let token = form.required("token")?;
        let check = |owner: &str| {
            let is_own = owner == client.client_id;
            if is_own { Ok(()) } else { Err(OAuthError::grant("The token is another client's.")) }
        };
        if let Some(authorization) = self.refreshed_by(tenant, token)? {
            self.tell(tenant, &authorization.id, told)?;
            check(&authorization.client_id)?;
            return Ok(self.revoke_authorization(tenant, &authorization.id, Deed::Revocation(told)).await?);
        }
        let claims = match self.verify_access(tenant, token) {
            Ok(claims) => claims,
            Err(error) if error.code == "invalid_token" => return Ok(()),
            Err(error) => return Err(error),
        };
        if let Some(sid) = &claims.sid {
            self.tell(tenant, sid, told)?;
        }
        told.agent.token = Some(claims.jti.as_str().into());
        check(&claims.client_id)?;
        let until = self.time_in(self.config.access_token_lifetime_s + self.config.clock_skew_s);
        let revoked = put(&claims.jti, &Revoked {}, Expect::Any, Some(until))?;
        Ok(self.keep(tenant, vec![revoked], Deed::Revocation(told)).await?)
    }

    /// The authorization that a refresh token is of, be it the good one or an older one.
    ///
    /// # Errors
    /// When the store fails.
    pub(super) fn refreshed_by(&self, tenant: TenantId, token: &str) -> Result<Option<Authorization>, OAuthError> {
        let Some(token) = RefreshToken::parse(token) else { return Ok(None) };
        let found = get::<Authorization>(&*self.keeper, tenant, token.authorization)?;
        Ok(found.map(|(authorization, _)| authorization).filter(|authorization| token.is_of(authorization)))
    }
}
