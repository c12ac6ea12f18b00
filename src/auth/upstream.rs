//! Signing in through an upstream OpenID provider (`auth.providers`): the authorization code flow of OpenID Connect Core section 3.1, with
//! this server as the client.
//!
//! An attempt is bound to the browser by a cookie. `state` finds it again, once; `nonce` and the PKCE verifier are made of the cookie
//! and `state`, so nothing that is kept could end it, and neither could what only one of browser and address bar knows. Each provider
//! has a redirect address of its own, which with `iss` (RFC 9207) guards against mix-up.

use super::claims::belong_to;
use super::error::OAuthError;
use super::fetch::FetchError;
use super::form::Form;
use super::jwt;
use super::keeper::{Expect, KeeperError};
use super::records::{self, Record};
use super::secret::{are_equal, hash, new_secret};
use super::server::Server;
use super::sign_in::SignedIn;
use crate::config::Provider;
use crate::error::Error;
use crate::tenant::{Tenant, TenantId};
use oauth2::basic::{
    BasicErrorResponse, BasicRevocationErrorResponse, BasicTokenIntrospectionResponse, BasicTokenType,
};
use oauth2::{
    AuthType, AuthUrl, AuthorizationCode, ClientId, ClientSecret, CsrfToken, EndpointNotSet, EndpointSet,
    ExtraTokenFields, PkceCodeChallenge, PkceCodeVerifier, RedirectUrl, RequestTokenError, Scope,
    StandardRevocableToken, StandardTokenResponse, TokenUrl,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use url::Url;

/// How long somebody may take at the provider, in seconds.
const ATTEMPT_S: u64 = 600;

/// An attempt to sign in. Its id is the hash of `state`.
#[derive(Debug, Serialize, Deserialize)]
struct Attempt {
    provider: String,
    /// The hash of the cookie.
    browser: String,
    /// The request to authorize that waits for it.
    pending: Option<String>,
}

impl Record for Attempt {
    const KIND: &'static str = "upstream-attempt";
}

/// Where the browser goes to sign in.
#[derive(Debug)]
pub struct Departure {
    /// The provider's page.
    pub address: Url,
    /// The secret of [`Server::upstream_cookie`].
    pub cookie: String,
}

/// Somebody who came back signed in.
#[derive(Debug)]
pub struct Arrival {
    /// The session.
    pub signed_in: SignedIn,
    /// The request to authorize that waited.
    pub pending: Option<String>,
}

/// Why nobody is signed in. The browser hears no more than the kind.
#[derive(Debug)]
pub enum UpstreamError {
    /// There is no such provider.
    Unknown,
    /// The answer belongs to no attempt of this browser, or comes too late or twice.
    Expired,
    /// The provider did not sign anybody in, or whom it did may not come in. The text is for the log.
    Refused(String),
    /// The provider can't be asked now. The text is for the log.
    Unreachable(String),
    /// A fault, or what [`Server::add_user`] and [`Server::change_user`] refuse.
    Failed(Error),
}

impl From<Error> for UpstreamError {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl From<KeeperError> for UpstreamError {
    fn from(error: KeeperError) -> Self {
        Self::Failed(error.into())
    }
}

impl From<OAuthError> for UpstreamError {
    fn from(error: OAuthError) -> Self {
        Self::Refused(error.description.into_owned())
    }
}

impl From<FetchError> for UpstreamError {
    fn from(error: FetchError) -> Self {
        Self::Unreachable(error.to_string())
    }
}

/// What a token endpoint answers beside RFC 6749: OpenID Connect Core section 3.1.3.3.
#[derive(Debug, Serialize, Deserialize)]
struct IdTokenField {
    id_token: String,
}

impl ExtraTokenFields for IdTokenField {}

type Client = oauth2::Client<
    BasicErrorResponse,
    StandardTokenResponse<IdTokenField, BasicTokenType>,
    BasicTokenIntrospectionResponse,
    StandardRevocableToken,
    BasicRevocationErrorResponse,
    EndpointSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointSet,
>;

/// What is used of a provider's discovery document.
#[derive(Deserialize)]
struct Metadata {
    authorization_endpoint: String,
    token_endpoint: String,
    jwks_uri: String,
    #[serde(default)]
    token_endpoint_auth_methods_supported: Option<Vec<String>>,
    #[serde(default)]
    authorization_response_iss_parameter_supported: bool,
}

impl Server {
    /// Begins to sign somebody in at a provider. `cookie` is what the browser has from another attempt.
    ///
    /// # Errors
    /// Why it can't begin.
    pub async fn start_upstream(
        &self,
        tenant: TenantId,
        name: &str,
        pending: Option<&str>,
        cookie: Option<&str>,
    ) -> Result<Departure, UpstreamError> {
        let provider = self.provider(tenant, name)?;
        let metadata = self.provider_metadata(provider).await?;
        let cookie = match cookie.filter(|cookie| cookie.len() == 43) {
            Some(cookie) => cookie.to_owned(),
            None => new_secret()?,
        };
        let state = new_secret()?;
        let attempt =
            Attempt { provider: name.to_owned(), browser: hash(&cookie), pending: pending.map(str::to_owned) };
        let keep = records::put(&hash(&state), &attempt, Expect::Absent, Some(self.time_in(ATTEMPT_S)))?;
        self.keeper.keep(tenant, vec![keep]).await?;
        let challenge = PkceCodeChallenge::from_code_verifier_sha256(&verifier(&cookie, &state));
        let client = self.client_at(tenant, provider, &metadata)?;
        let scopes =
            std::iter::once("openid").chain(provider.scopes.iter().map(String::as_str).filter(|own| *own != "openid"));
        let request = client
            .authorize_url(|| CsrfToken::new(state.clone()))
            .add_scopes(scopes.map(|scope| Scope::new(scope.to_owned())))
            .add_extra_param("nonce", nonce(&cookie, &state))
            .set_pkce_challenge(challenge);
        Ok(Departure { address: request.url().0, cookie })
    }

    /// Signs somebody in whom a provider sent back, with the parameters of its answer.
    ///
    /// # Errors
    /// Why not.
    pub async fn finish_upstream(
        &self,
        tenant: TenantId,
        name: &str,
        answer: &Form,
        cookie: Option<&str>,
    ) -> Result<Arrival, UpstreamError> {
        let provider = self.provider(tenant, name)?;
        let (state, cookie) = answer.get("state").zip(cookie).ok_or(UpstreamError::Expired)?;
        let attempt = self.take_attempt(tenant, provider, state, cookie).await?;
        let metadata = self.provider_metadata(provider).await?;
        let refused = |why: &str| UpstreamError::Refused(why.to_owned());
        match answer.get("iss") {
            Some(issuer) if issuer != provider.issuer => return Err(refused("the answer is another issuer's")),
            None if metadata.authorization_response_iss_parameter_supported => {
                return Err(refused("the answer does not name its issuer"));
            }
            _ => {}
        }
        if answer.get("error").is_some() {
            return Err(refused("the provider answered with an error"));
        }
        let code = answer.get("code").ok_or_else(|| refused("the answer has no code"))?;
        let token = self.exchange(tenant, provider, &metadata, code, verifier(cookie, state)).await?;
        let claims = self.id_claims(provider, &metadata, &token, &nonce(cookie, state)).await?;
        if !belong_to(&self.tenants.of(tenant).tenant.name, &provider.claims, &claims) {
            return Err(refused("the person belongs to another tenant"));
        }
        let user = self.upstream_user(tenant, provider, &claims).await?;
        let signed_in = self.start_session(tenant, &user, false).await?;
        Ok(Arrival { signed_in, pending: attempt.pending })
    }

    /// The name of the cookie that binds an attempt to a browser.
    #[must_use]
    pub fn upstream_cookie_name(&self, tenant: TenantId) -> String {
        self.cookie_named("pharos-upstream", tenant)
    }

    /// `Set-Cookie` for an attempt. `Lax`, because the way back starts at the provider.
    #[must_use]
    pub fn upstream_cookie(&self, tenant: TenantId, cookie: &str) -> String {
        let name = self.upstream_cookie_name(tenant);
        let secure = if name.starts_with("__Host-") { "; Secure" } else { "" };
        format!("{name}={cookie}; Path=/; HttpOnly; SameSite=Lax; Max-Age={ATTEMPT_S}{secure}")
    }

    /// The providers by which the users of a tenant may sign in.
    #[must_use]
    pub fn providers(&self, tenant: TenantId) -> Vec<&Provider> {
        let registered = self.tenants.of(tenant);
        let Tenant { identity_providers, .. } = &registered.tenant;
        let is_its = |provider: &&Provider| registered.tenant.takes(identity_providers.as_ref(), &provider.name);
        self.config.providers.iter().filter(is_its).collect()
    }

    fn provider(&self, tenant: TenantId, name: &str) -> Result<&Provider, UpstreamError> {
        let found = self.providers(tenant).into_iter().find(|provider| provider.name == name);
        found.ok_or(UpstreamError::Unknown)
    }

    async fn provider_metadata(&self, provider: &Provider) -> Result<Metadata, UpstreamError> {
        let document = self.discovered(&provider.issuer, self.now_s()).await?;
        let metadata = Metadata::deserialize(&*document);
        metadata.map_err(|error| UpstreamError::Unreachable(format!("the discovery document: {error}")))
    }

    /// The attempt that an answer belongs to, which ends with it.
    async fn take_attempt(
        &self,
        tenant: TenantId,
        provider: &Provider,
        state: &str,
        cookie: &str,
    ) -> Result<Attempt, UpstreamError> {
        let id = hash(state);
        let kept = records::get::<Attempt>(&*self.keeper, tenant, &id)?;
        let (attempt, version) = kept.ok_or(UpstreamError::Expired)?;
        if !are_equal(&attempt.browser, &hash(cookie)) || attempt.provider != provider.name {
            return Err(UpstreamError::Expired);
        }
        let end = records::remove::<Attempt>(&id, Expect::Version(version));
        match self.keeper.keep(tenant, vec![end]).await {
            Ok(()) => Ok(attempt),
            Err(KeeperError::Stale(_)) => Err(UpstreamError::Expired),
            Err(error) => Err(error.into()),
        }
    }

    fn client_at(&self, tenant: TenantId, provider: &Provider, metadata: &Metadata) -> Result<Client, UpstreamError> {
        let unfit = |error: url::ParseError| UpstreamError::Unreachable(format!("an address: {error}"));
        let redirect = self.endpoint(tenant, &format!("upstream/{}/callback", provider.name));
        let methods = metadata.token_endpoint_auth_methods_supported.as_deref();
        let has = |method: &str| methods.is_some_and(|methods| methods.iter().any(|own| own == method));
        let in_form = has("client_secret_post") && !has("client_secret_basic");
        let client = oauth2::Client::new(ClientId::new(provider.client_id.clone()))
            .set_auth_uri(AuthUrl::new(metadata.authorization_endpoint.clone()).map_err(unfit)?)
            .set_token_uri(TokenUrl::new(metadata.token_endpoint.clone()).map_err(unfit)?)
            .set_redirect_uri(RedirectUrl::new(redirect).map_err(unfit)?)
            .set_auth_type(if in_form { AuthType::RequestBody } else { AuthType::BasicAuth });
        Ok(match &provider.client_secret {
            Some(secret) => client.set_client_secret(ClientSecret::new(secret.clone())),
            None => client,
        })
    }

    /// The ID token that a code opens.
    async fn exchange(
        &self,
        tenant: TenantId,
        provider: &Provider,
        metadata: &Metadata,
        code: &str,
        verifier: PkceCodeVerifier,
    ) -> Result<String, UpstreamError> {
        let client = self.client_at(tenant, provider, metadata)?;
        let send = |request| self.fetcher.send(request);
        let request = client.exchange_code(AuthorizationCode::new(code.to_owned())).set_pkce_verifier(verifier);
        let answer = request.request_async(&send).await.map_err(|error| match error {
            RequestTokenError::Request(error) => UpstreamError::from(error),
            RequestTokenError::ServerResponse(_) => UpstreamError::Refused("the code is not taken".to_owned()),
            // What the answer was may hold tokens.
            _ => UpstreamError::Refused("the answer of the token endpoint can't be read".to_owned()),
        })?;
        Ok(answer.extra_fields().id_token.clone())
    }

    /// What an ID token says, after the checks of OpenID Connect Core section 3.1.3.7. The algorithm is that of the key.
    async fn id_claims(
        &self,
        provider: &Provider,
        metadata: &Metadata,
        token: &str,
        nonce: &str,
    ) -> Result<Map<String, Value>, UpstreamError> {
        let bad = |error: jwt::TokenError| UpstreamError::Refused(format!("the ID token: {error}"));
        let head = jwt::head(token).map_err(bad)?;
        if head.typ.as_deref().is_some_and(|typ| !typ.eq_ignore_ascii_case("jwt")) {
            return Err(bad(jwt::TokenError::Type));
        }
        let now = self.now_s();
        let keys = self.remote.keys(&metadata.jwks_uri, &head, now).await?;
        let key = keys.find(&head).ok_or_else(|| bad(jwt::TokenError::UnknownKey))?;
        let claims: Map<String, Value> = key.open(token, now, self.config.clock_skew_s).map_err(bad)?;
        let says = |name: &str, value: &str| claims.get(name).and_then(Value::as_str) == Some(value);
        if !says("iss", &provider.issuer) {
            return Err(bad(jwt::TokenError::Issuer));
        }
        // An audience beside this client is one that is not trusted.
        let client = &provider.client_id;
        let is_alone =
            matches!(claims.get("aud"), Some(Value::Array(all)) if matches!(&all[..], [one] if one == client));
        if !(says("aud", client) || is_alone) || (claims.contains_key("azp") && !says("azp", client)) {
            return Err(bad(jwt::TokenError::Audience));
        }
        if !claims.get("nonce").and_then(Value::as_str).is_some_and(|own| are_equal(own, nonce)) {
            return Err(UpstreamError::Refused("the ID token: its nonce is another".to_owned()));
        }
        Ok(claims)
    }
}

fn nonce(cookie: &str, state: &str) -> String {
    hash(&format!("nonce {cookie} {state}"))
}

/// 64 hexadecimal digits, of 256 random bits: RFC 7636 section 4.1.
fn verifier(cookie: &str, state: &str) -> PkceCodeVerifier {
    PkceCodeVerifier::new(hash(&format!("verifier {cookie} {state}")))
}
