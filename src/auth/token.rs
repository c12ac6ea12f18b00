//! The token endpoint: RFC 6749 sections 4.1.3, 4.4 and 6, with PKCE (RFC 7636).
//!
//! <https://hl7.org/fhir/smart-app-launch/app-launch.html#obtain-access-token>,
//! <https://hl7.org/fhir/smart-app-launch/backend-services.html>
//!
//! What is used once (a code, a refresh token) is changed in one commit that expects the record as it was read: of two requests
//! that race with the same one, the second finds it used, and that is a reuse.

use super::agent::Agent;
use super::authorization::{may, wants_refresh};
use super::error::OAuthError;
use super::form::Form;
use super::keeper::{Expect, Keep, KeeperError};
use super::records::{AccessClaims, Authorization, Client, ClientProof, Code, LaunchContext, User, get, put};
use super::refresh::{self, RefreshToken};
use super::scope::{Level, MAKE_LAUNCH, Scope, Scopes};
use super::secret::{are_equal, hash};
use super::server::Server;
use super::witness::Deed;
use crate::tenant::TenantId;
use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;

/// How often a change is tried anew that another one overtook. The second time it is found used, so this is never reached.
const TRIES: usize = 3;

/// What a request of a client turns out to be about, for the audit ledger: as far as it was understood, however it ends.
#[derive(Debug, Default)]
pub struct Told {
    /// The client, and the user for whom it acts.
    pub agent: Agent,
    /// What a token was asked with.
    pub grant_type: Option<&'static str>,
    /// Whether a code or refresh token was used a second time.
    pub is_reuse: bool,
}

/// The ways to get a token.
const GRANT_TYPES: [&str; 3] = ["authorization_code", "refresh_token", "client_credentials"];

/// What the token endpoint answers.
#[derive(Debug, Serialize)]
pub struct TokenAnswer {
    /// `jti` of the access token.
    #[serde(skip)]
    pub jti: String,
    /// The access token.
    pub access_token: String,
    /// `Bearer`.
    pub token_type: &'static str,
    /// In seconds.
    pub expires_in: u64,
    /// What is granted, which may be less than what was asked.
    pub scope: Scopes,
    /// The refresh token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refresh_token: Option<String>,
    /// The ID token, with `openid`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id_token: Option<String>,
    /// The launch context.
    #[serde(flatten)]
    pub context: LaunchContext,
}

/// What an ID token says: OpenID Connect Core section 2.
#[derive(Debug, Serialize)]
struct IdClaims<'a> {
    iss: &'a str,
    sub: &'a str,
    aud: &'a str,
    exp: i64,
    iat: i64,
    auth_time: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    nonce: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", rename = "fhirUser")]
    fhir_user: Option<&'a str>,
}

impl Server {
    /// Answers a request of an authenticated client to the token endpoint.
    ///
    /// # Errors
    /// `unauthorized_client`, `unsupported_grant_type`, `invalid_request`, `invalid_grant`, `invalid_scope`.
    pub async fn token(
        &self,
        tenant: TenantId,
        client: &Client,
        form: &Form,
        told: &mut Told,
    ) -> Result<TokenAnswer, OAuthError> {
        let grant_type = form.required("grant_type")?;
        let Some(grant_type) = GRANT_TYPES.into_iter().find(|known| *known == grant_type) else {
            return Err(OAuthError::new("unsupported_grant_type", "This grant_type is not known here."));
        };
        told.grant_type = Some(grant_type);
        if !may(client, grant_type) {
            return Err(OAuthError::new("unauthorized_client", "The client is not registered for this grant_type."));
        }
        for _ in 0..TRIES {
            let tried = match grant_type {
                "authorization_code" => self.by_code(tenant, client, form, told).await,
                "refresh_token" => self.by_refresh(tenant, client, form, told).await,
                _ => self.by_itself(tenant, client, form).await.map(Some),
            };
            if let Some(answer) = tried? {
                return Ok(answer);
            }
        }
        Err(OAuthError::server("a code or refresh token was overtaken again and again"))
    }

    /// `authorization_code`. `None` where another request overtook this one.
    async fn by_code(
        &self,
        tenant: TenantId,
        client: &Client,
        form: &Form,
        told: &mut Told,
    ) -> Result<Option<TokenAnswer>, OAuthError> {
        let bad = || OAuthError::grant("The code is not good, or not for this client, redirect_uri and code_verifier.");
        let (code, redirect_uri) = (form.required("code")?, form.required("redirect_uri")?);
        let verifier = form.required("code_verifier")?;
        let id = hash(code);
        let (mut code, version) = get::<Code>(&*self.keeper, tenant, &id)?.ok_or_else(bad)?;
        if code.pending.client_id != client.client_id {
            return Err(bad());
        }
        self.tell(tenant, &code.authorization, told)?;
        if code.used {
            told.is_reuse = true;
            let error = OAuthError::grant("The code was used before. All that came from it is revoked.");
            self.revoke_authorization(tenant, &code.authorization, Deed::Reuse(told, &error)).await?;
            return Err(error);
        }
        if code.pending.redirect_uri != redirect_uri || !is_proof_of(verifier, &code.pending.code_challenge) {
            return Err(bad());
        }
        let (mut authorization, read) =
            get::<Authorization>(&*self.keeper, tenant, &code.authorization)?.ok_or_else(bad)?;
        let user = self.active_user(tenant, &authorization.user)?.ok_or_else(bad)?;

        code.used = true;
        let nonce = authorization.nonce.take();
        authorization.refresh = u64::from(wants_refresh(&authorization.scopes));
        let scopes = authorization.scopes.within(&client.scopes);
        let answer = self.answer(tenant, &authorization, &user, scopes, nonce).await?;
        // A spent code is remembered as long as what it opened, so that its reuse is noticed.
        let until = Some(self.time_in(self.lifetime_s(&authorization)));
        let changes = vec![
            put(&id, &code, Expect::Version(version), until)?,
            put(&authorization.id, &authorization, Expect::Version(read), until)?,
        ];
        Ok(self.is_kept(tenant, changes, Deed::Token(told, &answer)).await?.then_some(answer))
    }

    /// `refresh_token`. `None` where another request overtook this one.
    async fn by_refresh(
        &self,
        tenant: TenantId,
        client: &Client,
        form: &Form,
        told: &mut Told,
    ) -> Result<Option<TokenAnswer>, OAuthError> {
        let bad = || OAuthError::grant("The refresh token is not good, or not for this client.");
        let token = RefreshToken::parse(form.required("refresh_token")?).ok_or_else(bad)?;
        let (mut authorization, version) =
            get::<Authorization>(&*self.keeper, tenant, token.authorization)?.ok_or_else(bad)?;
        if !token.is_of(&authorization) || authorization.client_id != client.client_id {
            return Err(bad());
        }
        self.tell(tenant, &authorization.id, told)?;
        if token.generation < authorization.refresh {
            told.is_reuse = true;
            let error = OAuthError::grant("The refresh token was used before. All that came from it is revoked.");
            self.revoke_authorization(tenant, &authorization.id, Deed::Reuse(told, &error)).await?;
            return Err(error);
        }
        if !authorization.scopes.has("offline_access") && !self.is_online(tenant, &authorization)? {
            return Err(OAuthError::grant("The session of the user has ended."));
        }
        let user = self.active_user(tenant, &authorization.user)?.ok_or_else(bad)?;
        let scopes = match form.get("scope") {
            None => authorization.scopes.clone(),
            Some(text) => {
                Scopes::parse_all(text).filter(|asked| asked.are_within(&authorization.scopes)).ok_or_else(|| {
                    OAuthError::new("invalid_scope", "A refresh may ask for less than was granted, not for more.")
                })?
            }
        };

        authorization.refresh += 1;
        let scopes = scopes.within(&client.scopes);
        let answer = self.answer(tenant, &authorization, &user, scopes, None).await?;
        let until = Some(self.time_in(self.lifetime_s(&authorization)));
        let changes = vec![put(&authorization.id, &authorization, Expect::Version(version), until)?];
        Ok(self.is_kept(tenant, changes, Deed::Token(told, &answer)).await?.then_some(answer))
    }

    /// `client_credentials`: for clients that can prove who they are, and only what is `system/…` or [`MAKE_LAUNCH`].
    async fn by_itself(&self, tenant: TenantId, client: &Client, form: &Form) -> Result<TokenAnswer, OAuthError> {
        if client.proof == ClientProof::None {
            return Err(OAuthError::new("unauthorized_client", "A public client can't act for itself."));
        }
        let is_for_itself = |scope: &&Scope| match scope {
            Scope::Resource(scope) => scope.level == Level::System,
            Scope::Named(name) => *name == MAKE_LAUNCH,
        };
        let asked = Scopes::parse(form.get("scope").unwrap_or_default());
        let scope: Scopes = asked.within(&client.scopes).iter().filter(is_for_itself).cloned().collect();
        if scope.is_empty() {
            return Err(OAuthError::new("invalid_scope", "No scope was asked that this client can have for itself."));
        }
        let claims = self.claims(tenant, client.client_id.clone(), client.client_id.clone(), scope.clone());
        Ok(TokenAnswer {
            access_token: self.sign_access(tenant, &claims).await?,
            jti: claims.jti,
            token_type: "Bearer",
            expires_in: self.config.access_token_lifetime_s,
            scope,
            refresh_token: None,
            id_token: None,
            context: LaunchContext::default(),
        })
    }

    /// Tells whose an authorization is, be it there still or not: its id says so.
    pub(super) fn tell(&self, tenant: TenantId, authorization: &str, told: &mut Told) -> Result<(), KeeperError> {
        let kept = get::<Authorization>(&*self.keeper, tenant, authorization)?;
        let user = authorization.rsplit_once('~').map(|(user, _)| self.user(tenant, user)).transpose()?.flatten();
        told.agent = Agent {
            client: told.agent.client.take(),
            authorization: Some(authorization.into()),
            emergency: kept.and_then(|(kept, _)| kept.break_glass).map(Into::into),
            ..user.map_or_else(Agent::default, |(user, _)| Agent::user(&user))
        };
        Ok(())
    }

    async fn answer(
        &self,
        tenant: TenantId,
        authorization: &Authorization,
        user: &User,
        scope: Scopes,
        nonce: Option<String>,
    ) -> Result<TokenAnswer, OAuthError> {
        if scope.is_empty() {
            return Err(OAuthError::new("invalid_scope", "Nothing is left of what was granted."));
        }
        let context = authorization.context.clone();
        let mut claims =
            self.claims(tenant, authorization.user.clone(), authorization.client_id.clone(), scope.clone());
        claims.sid = Some(authorization.id.clone());
        claims.patient.clone_from(&context.patient);
        claims.encounter.clone_from(&context.encounter);
        claims.fhir_user = self.fhir_user(tenant, user, &scope);
        let id_claims = IdClaims {
            iss: &claims.iss,
            sub: &claims.sub,
            aud: &claims.client_id,
            exp: claims.exp,
            iat: claims.iat,
            auth_time: authorization.auth_time,
            nonce,
            fhir_user: claims.fhir_user.as_deref(),
        };
        let id_token = if scope.has("openid") { Some(self.sign_id(tenant, &id_claims).await?) } else { None };
        Ok(TokenAnswer {
            access_token: self.sign_access(tenant, &claims).await?,
            jti: claims.jti,
            token_type: "Bearer",
            expires_in: self.config.access_token_lifetime_s,
            refresh_token: refresh::current(authorization),
            id_token,
            scope,
            context,
        })
    }

    /// What every access token says.
    fn claims(&self, tenant: TenantId, sub: String, client_id: String, scope: Scopes) -> AccessClaims {
        let (base, iat) = (self.base(tenant), self.now_s());
        AccessClaims {
            iss: base.clone(),
            aud: base,
            sub,
            client_id,
            scope,
            iat,
            exp: iat.saturating_add_unsigned(self.config.access_token_lifetime_s),
            jti: self.clock.new_id(),
            sid: None,
            tenant: tenant.0,
            patient: None,
            encounter: None,
            fhir_user: None,
        }
    }

    /// The absolute URL of a user's resource, for those who were granted to know it.
    pub(super) fn fhir_user(&self, tenant: TenantId, user: &User, scopes: &Scopes) -> Option<String> {
        let may_know = scopes.has("fhirUser") || scopes.has("profile");
        let reference = user.fhir_user.as_deref().filter(|_| may_know)?;
        Some(format!("{}/{reference}", self.base(tenant)))
    }

    /// How long an authorization lasts without being used.
    fn lifetime_s(&self, authorization: &Authorization) -> u64 {
        if authorization.refresh > 0 {
            self.config.refresh_token_lifetime_s
        } else {
            self.config.access_token_lifetime_s
        }
    }

    /// Keeps changes; `false` where another request came first.
    async fn is_kept(&self, tenant: TenantId, changes: Vec<Keep>, deed: Deed<'_>) -> Result<bool, OAuthError> {
        match self.keep(tenant, changes, deed).await {
            Ok(()) => Ok(true),
            Err(KeeperError::Stale(_)) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

/// Whether a `code_verifier` is what a challenge of the method S256 was made of: RFC 7636 section 4.6.
fn is_proof_of(verifier: &str, challenge: &str) -> bool {
    let unreserved = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    (43..=128).contains(&verifier.len())
        && verifier.bytes().all(unreserved)
        && are_equal(&URL_SAFE_NO_PAD.encode(digest(&SHA256, verifier.as_bytes())), challenge)
}
