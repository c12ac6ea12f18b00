//! What a user granted to a client: made by consent, opened by a code, ended by its removal.

use super::agent::Agent;
use super::error::OAuthError;
use super::keeper::{Expect, KeeperError};
use super::records::{
    AccessClaims, Authorization, Client, Code, LaunchContext, Pending, Record, User, get, put, remove,
};
use super::scope::Scopes;
use super::secret::{hash, new_secret};
use super::server::Server;
use super::witness::Deed;
use crate::clock::Micros;
use crate::tenant::TenantId;
use serde::{Deserialize, Serialize};

/// What a user decided about a request to `authorize`.
#[derive(Debug, Clone)]
pub struct Consent<'a> {
    /// The id of the [`Pending`] request. It is used up: a second consent to it is refused.
    pub pending: &'a str,
    /// The id of the user.
    pub user: &'a str,
    /// The id of the session at the browser: the hash of its cookie.
    pub session: &'a str,
    /// When the user signed in, in seconds since 1970.
    pub auth_time: i64,
    /// What is granted: within what was asked.
    pub scopes: Scopes,
    /// The context: from the launch, or as the user chose.
    pub context: LaunchContext,
    /// Why emergency access is asked for, where it is.
    pub break_glass: Option<String>,
}

/// An access token that was revoked before it expired. Its id is the token's `jti`; kept until the token expires.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Revoked {}

impl Record for Revoked {
    const KIND: &'static str = "revoked";
}

/// Whom an access token that is still good stands for.
#[derive(Debug, Clone)]
pub struct Live {
    /// The client.
    pub client: Client,
    /// The user, and what the user granted; none for a client that acts for itself.
    pub user: Option<(User, Authorization)>,
}

impl Live {
    /// Who that is, for the ledger.
    #[must_use]
    pub fn agent(&self, claims: &AccessClaims) -> Agent {
        Agent {
            client: Some(claims.client_id.as_str().into()),
            authorization: claims.sid.as_deref().map(Into::into),
            token: Some(claims.jti.as_str().into()),
            ..self.user.as_ref().map_or_else(Agent::default, |(user, _)| Agent::user(user))
        }
    }
}

impl Server {
    /// Makes the authorization that a user consented to, and the code that opens it, once, for `code_lifetime_s`.
    ///
    /// `offline_access` and `online_access` are granted only to clients that may refresh.
    ///
    /// # Errors
    /// `invalid_request` where the request to `authorize` is over or was answered already, `unauthorized_client` where the
    /// client may no longer ask, `access_denied` where nothing is granted or a launch is for another user, `invalid_scope`
    /// where more is granted than was asked.
    pub async fn issue_code(&self, tenant: TenantId, consent: Consent<'_>) -> Result<String, OAuthError> {
        let keeper = &*self.keeper;
        let over = || OAuthError::request("The request to authorize has expired or was answered already.");
        let (mut pending, version) = get::<Pending>(keeper, tenant, consent.pending)?.ok_or_else(over)?;
        let client = get::<Client>(keeper, tenant, &pending.client_id)?.map(|(client, _)| client);
        let client = client.filter(|client| !client.disabled && may(client, "authorization_code"));
        let client =
            client.ok_or_else(|| OAuthError::new("unauthorized_client", "The client may not ask for codes."))?;
        if pending.user.as_deref().is_some_and(|user| user != consent.user) {
            return Err(OAuthError::new("access_denied", "The launch is for another user."));
        }
        if !consent.scopes.are_within(&pending.scopes) {
            return Err(OAuthError::new("invalid_scope", "More was granted than was asked."));
        }
        let scopes = without_refresh_unless(may(&client, "refresh_token"), &consent.scopes);
        if scopes.is_empty() {
            return Err(OAuthError::new("access_denied", "Nothing was granted."));
        }
        let refresh_secret = if wants_refresh(&scopes) { new_secret()? } else { String::new() };
        let authorization = Authorization {
            id: format!("{}~{}", consent.user, self.clock.new_id()),
            client_id: client.client_id,
            user: consent.user.to_owned(),
            scopes,
            context: consent.context,
            created: self.now_s(),
            auth_time: consent.auth_time,
            nonce: pending.nonce.take(),
            session: Some(consent.session.to_owned()),
            refresh: 0,
            refresh_secret,
            break_glass: consent.break_glass,
        };
        let code = new_secret()?;
        let until = self.time_in(self.config.code_lifetime_s);
        let kept = Code { pending, authorization: authorization.id.clone(), used: false };
        let changes = vec![
            remove::<Pending>(consent.pending, Expect::Version(version)),
            put(&authorization.id, &authorization, Expect::Absent, Some(until))?,
            put(&hash(&code), &kept, Expect::Absent, Some(until))?,
        ];
        match self.keep(tenant, changes, Deed::Asked).await {
            Err(KeeperError::Stale(0)) => Err(over()),
            kept => Ok(kept.map(|()| code)?),
        }
    }

    /// Ends an authorization: its refresh tokens and access tokens are good no more.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn revoke_authorization(&self, tenant: TenantId, id: &str, deed: Deed<'_>) -> Result<(), KeeperError> {
        self.keep(tenant, vec![remove::<Authorization>(id, Expect::Any)], deed).await
    }

    /// Whom an access token stands for, whose signature and times were found good: `None` where it was revoked, its
    /// authorization is over, or its client or user is gone or switched off.
    ///
    /// # Errors
    /// When the store fails.
    pub fn live(&self, tenant: TenantId, claims: &AccessClaims) -> Result<Option<Live>, KeeperError> {
        let of_user = claims.sid.as_deref().map(|sid| (sid, claims.sub.as_str()));
        self.live_by(tenant, &claims.client_id, Some(&claims.jti), of_user)
    }

    /// Whether what somebody's token rested on is still so, as far as it is kept here: for what they asked for then.
    ///
    /// # Errors
    /// When the store fails.
    pub fn is_in_force(&self, tenant: TenantId, agent: &Agent) -> Result<bool, KeeperError> {
        let Some(client) = agent.client.as_deref().filter(|_| agent.issuer.is_none()) else { return Ok(true) };
        let of_user = agent.authorization.as_deref().zip(agent.user.as_deref());
        Ok(self.live_by(tenant, client, agent.token.as_deref(), of_user)?.is_some())
    }

    /// By the ids of a client and a token, and of an authorization and its user.
    fn live_by(
        &self,
        tenant: TenantId,
        client_id: &str,
        token: Option<&str>,
        of_user: Option<(&str, &str)>,
    ) -> Result<Option<Live>, KeeperError> {
        let keeper = &*self.keeper;
        let client = get::<Client>(keeper, tenant, client_id)?.map(|(client, _)| client);
        let Some(client) = client.filter(|client| !client.disabled) else { return Ok(None) };
        if let Some(token) = token
            && keeper.get(tenant, Revoked::KIND, token)?.is_some()
        {
            return Ok(None);
        }
        let Some((sid, user_id)) = of_user else { return Ok(Some(Live { client, user: None })) };
        let Some((authorization, _)) = get::<Authorization>(keeper, tenant, sid)? else { return Ok(None) };
        let Some(user) = self.active_user(tenant, &authorization.user)? else { return Ok(None) };
        let is_its = authorization.client_id == client_id && authorization.user == user_id;
        Ok(is_its.then_some(Live { client, user: Some((user, authorization)) }))
    }

    /// What an access token says, and whom it stands for: one of this server that is good now.
    ///
    /// # Errors
    /// `invalid_token`; when the store fails.
    pub fn active(&self, tenant: TenantId, token: &str) -> Result<(AccessClaims, Live), OAuthError> {
        let claims = self.verify_access(tenant, token)?;
        let live = self.live(tenant, &claims)?;
        let live = live.ok_or_else(|| OAuthError::new("invalid_token", "The token was revoked."))?;
        Ok((claims, live))
    }

    /// A user who is not switched off.
    ///
    /// # Errors
    /// When the store fails.
    pub(super) fn active_user(&self, tenant: TenantId, id: &str) -> Result<Option<User>, KeeperError> {
        let user = get::<User>(&*self.keeper, tenant, id)?;
        Ok(user.map(|(user, _)| user).filter(|user| !user.disabled))
    }

    /// Whether the session in which an authorization was granted goes on.
    ///
    /// # Errors
    /// When the store fails.
    pub(super) fn is_online(&self, tenant: TenantId, authorization: &Authorization) -> Result<bool, KeeperError> {
        let Some(id) = &authorization.session else { return Ok(false) };
        Ok(self.session_by_id(tenant, id)?.is_some_and(|(user, _)| user.id == authorization.user))
    }

    /// The time so many seconds from now.
    pub(super) fn time_in(&self, seconds: u64) -> Micros {
        Micros(self.clock.now().0.saturating_add_unsigned(seconds.saturating_mul(1_000_000)))
    }
}

/// Whether a client is registered for a grant type.
pub(super) fn may(client: &Client, grant_type: &str) -> bool {
    client.grant_types.iter().any(|own| own == grant_type)
}

/// Whether scopes ask for a refresh token.
pub(super) fn wants_refresh(scopes: &Scopes) -> bool {
    scopes.has("offline_access") || scopes.has("online_access")
}

/// What is answered is what is true: no `offline_access` without a refresh token.
fn without_refresh_unless(may_refresh: bool, scopes: &Scopes) -> Scopes {
    let kept = |scope: &&super::scope::Scope| {
        may_refresh || !["offline_access", "online_access"].contains(&scope.to_string().as_str())
    };
    scopes.iter().filter(kept).cloned().collect()
}
