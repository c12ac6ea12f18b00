//! The server as a client of the sources of imports: it asks for access tokens by SMART Backend Services,
//! <https://hl7.org/fhir/smart-app-launch/backend-services.html>, and proves who it is by what it signs
//! (<https://hl7.org/fhir/smart-app-launch/client-confidential-asymmetric.html>).
//!
//! A token belongs to one entry of `bulk.import_sources`: only imports of its tenant use it, and it is only sent to addresses below that of
//! the entry, redirects included. It is kept in memory until it is about to expire, and never logged.

use crate::auth::fetch::{FetchError, Fetcher};
use crate::auth::jwt::SigningKey;
use crate::clock::{Clock, Micros};
use crate::config::ImportSource;
use crate::tenant::TenantId;
use oauth2::basic::BasicClient;
use oauth2::{AuthType, ClientId, RequestTokenError, Scope, TokenResponse, TokenUrl};
use rustc_hash::FxHashMap;
use serde::Deserialize;
use serde_json::json;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use ureq::http::{Request, header};
use url::Url;
use zeroize::Zeroizing;

/// For how long an assertion is good, in seconds: SMART allows five minutes.
const ASSERTION_S: i64 = 240;
/// So long before it expires a token is not used any more, in microseconds.
const MARGIN: i64 = 10_000_000;
/// How long a token is good of which its issuer does not say so.
const UNSAID: Duration = Duration::from_mins(1);
/// What `client_assertion_type` says: RFC 7523 section 2.2.
const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// Why there is no token: a sentence, and whether it may go better.
#[derive(Debug, PartialEq, Eq)]
pub struct NoToken {
    /// For the person who asked for the import.
    pub text: String,
    /// Whether the token endpoint could not be asked.
    pub is_passing: bool,
}

/// A token in memory.
#[derive(Clone)]
struct Token {
    secret: Arc<Zeroizing<String>>,
    /// Until when it is used.
    until: Micros,
}

/// The tokens of all sources.
pub struct Credentials {
    sources: Vec<ImportSource>,
    fetcher: Fetcher,
    clock: Arc<dyn Clock>,
    /// By the entry in the settings.
    kept: Mutex<FxHashMap<usize, Token>>,
}

/// What is used of a SMART configuration.
#[derive(Deserialize)]
struct Discovered {
    token_endpoint: String,
}

impl Credentials {
    /// For these sources. Their token endpoints are asked by `fetcher`, so they have to be at hosts that it asks.
    #[must_use]
    pub fn new(sources: Vec<ImportSource>, fetcher: Fetcher, clock: Arc<dyn Clock>) -> Self {
        Self { sources, fetcher, clock, kept: Mutex::default() }
    }

    /// The token to send to an address, if one belongs there. It may have to be fetched, and that blocks.
    ///
    /// # Errors
    /// Why there is none.
    pub fn token(&self, tenant: TenantId, url: &str) -> Result<Option<Arc<Zeroizing<String>>>, NoToken> {
        let Some((nth, source)) = self.source(tenant, url) else { return Ok(None) };
        let now = self.clock.now();
        if let Some(token) = self.kept().get(&nth).filter(|token| now < token.until) {
            return Ok(Some(Arc::clone(&token.secret)));
        }
        let token = self.fetch(source)?;
        let secret = Arc::clone(&token.secret);
        self.kept().insert(nth, token);
        Ok(Some(secret))
    }

    /// Forgets the token for an address: it was refused.
    pub fn forget(&self, tenant: TenantId, url: &str) {
        if let Some((nth, _)) = self.source(tenant, url) {
            self.kept().remove(&nth);
        }
    }

    fn kept(&self) -> MutexGuard<'_, FxHashMap<usize, Token>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The entry that an address belongs to: the one with the longest address above it.
    fn source(&self, tenant: TenantId, url: &str) -> Option<(usize, &ImportSource)> {
        let url = Url::parse(url).ok()?;
        let is_below = |source: &ImportSource| {
            Url::parse(&source.url).is_ok_and(|above| {
                let path = above.path().trim_end_matches('/');
                let rest = url.path().strip_prefix(path);
                above.origin() == url.origin() && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            })
        };
        let its = |(_, source): &(usize, &ImportSource)| source.tenant == tenant.0 && is_below(source);
        self.sources.iter().enumerate().filter(its).max_by_key(|(_, source)| source.url.len())
    }

    fn fetch(&self, source: &ImportSource) -> Result<Token, NoToken> {
        let endpoint = match &source.token_endpoint {
            Some(endpoint) => endpoint.clone(),
            None => self.discover(source)?,
        };
        let lasting = |text: &str| NoToken { text: text.to_owned(), is_passing: false };
        let assertion = self.assertion(source, &endpoint)?;
        let url = TokenUrl::new(endpoint).map_err(|_| lasting("The address of its token endpoint is none."))?;
        let client = BasicClient::new(ClientId::new(source.client_id.clone()))
            .set_token_uri(url)
            .set_auth_type(AuthType::RequestBody);
        let send = |request| self.fetcher.send_and_wait(request);
        let answer = client
            .exchange_client_credentials()
            .add_scopes(source.scopes.iter().cloned().map(Scope::new))
            .add_extra_param("client_assertion_type", ASSERTION_TYPE)
            .add_extra_param("client_assertion", assertion.as_str())
            .request(&send);
        let answer = answer.map_err(|error| match error {
            RequestTokenError::Request(error) => unasked(&error),
            RequestTokenError::ServerResponse(refusal) => {
                lasting(&format!("Its token endpoint gives this server no token: {}.", refusal.error()))
            }
            // What the answer was may hold tokens.
            _ => lasting("The answer of its token endpoint can't be read."),
        })?;
        let life = answer.expires_in().unwrap_or(UNSAID);
        let life = i64::try_from(life.as_micros()).unwrap_or(i64::MAX);
        let until = Micros(self.clock.now().0.saturating_add(life).saturating_sub(MARGIN));
        let secret = Arc::new(Zeroizing::new(answer.access_token().secret().clone()));
        Ok(Token { secret, until })
    }

    /// The token endpoint that the source itself names.
    fn discover(&self, source: &ImportSource) -> Result<String, NoToken> {
        let address = format!("{}/.well-known/smart-configuration", source.url.trim_end_matches('/'));
        let lasting = |why: &str| NoToken { text: format!("Its SMART configuration {why}."), is_passing: false };
        let request = Request::get(address).header(header::ACCEPT, "application/json").body(Vec::new());
        let answer = self.fetcher.send_and_wait(request.map_err(|_| lasting("has no address"))?);
        let answer = answer.map_err(|error| unasked(&error))?;
        if answer.status() != 200 {
            let is_passing = answer.status().is_server_error();
            let status = answer.status().as_u16();
            return Err(NoToken { is_passing, ..lasting(&format!("is answered with status {status}")) });
        }
        let found: Discovered =
            serde_json::from_slice(answer.body()).map_err(|_| lasting("names no token endpoint"))?;
        // Else a source could have a token made for it at another one where this server is known by the same key.
        let origin = |url: &str| Url::parse(url).map(|url| url.origin());
        if origin(&found.token_endpoint).ok() != origin(&source.url).ok() {
            return Err(lasting("names a token endpoint of another host: set token_endpoint to use that one"));
        }
        Ok(found.token_endpoint)
    }

    /// What proves to a token endpoint who this server is.
    fn assertion(&self, source: &ImportSource, endpoint: &str) -> Result<Zeroizing<String>, NoToken> {
        let unusable = |why: &str| {
            tracing::warn!(source = source.url, "the key_file of an entry in bulk.import_sources: {why}");
            NoToken {
                text: "The key for its token endpoint can't be used: the log says why.".into(),
                is_passing: false,
            }
        };
        // Read each time, so that it may be replaced while the server runs.
        let key = SigningKey::from_pem_file(&source.key_file, source.key_id.clone()).map_err(|why| unusable(&why))?;
        let now = self.clock.now().0.div_euclid(1_000_000);
        let claims = json!({
            "iss": source.client_id, "sub": source.client_id, "aud": endpoint,
            "iat": now, "exp": now + ASSERTION_S, "jti": self.clock.new_id(),
        });
        key.sign("JWT", &claims).map(Zeroizing::new).map_err(|error| unusable(&error.to_string()))
    }
}

fn unasked(error: &FetchError) -> NoToken {
    let is_passing = matches!(error, FetchError::Failed(_));
    let text = match error {
        FetchError::Address => "Its token endpoint must have an https address.".to_owned(),
        FetchError::Host(_) => "The host of its token endpoint is not one of bulk.import_hosts.".to_owned(),
        other => format!("Its token endpoint can't be asked: {other}."),
    };
    NoToken { text, is_passing }
}

#[cfg(test)]
#[path = "credentials_tests.rs"]
mod tests;
