//! The settings of authorization.

use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Who may register clients by the endpoint of RFC 7591.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Registration {
    /// Nobody: administrators add clients.
    Off,
    /// Who shows an administrator's access token.
    Admin,
    /// Anybody. What is registered so can't act for itself (`client_credentials`).
    Open,
}

/// Lifetimes and rules of authorization.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Auth {
    /// How long an access token is good, in seconds. SMART advises at most an hour; 5 minutes for clients that act for themselves.
    pub access_token_lifetime_s: u64,
    /// How long a refresh token is good without being used, in seconds.
    pub refresh_token_lifetime_s: u64,
    /// How long an authorization code is good, in seconds.
    pub code_lifetime_s: u64,
    /// How long a launch made by an EHR waits for its app, in seconds.
    pub launch_lifetime_s: u64,
    /// How long a session at a browser lasts without being used, in seconds.
    pub session_inactivity_s: u64,
    /// How long a session at a browser lasts at most, in seconds.
    pub session_lifetime_s: u64,
    /// How old a signing key may become before another takes its place, in seconds.
    pub signing_key_age_s: u64,
    /// How far the clocks of others may be off, in seconds, when their tokens and assertions are looked at.
    pub clock_skew_s: u64,
    /// Who may register clients.
    pub registration: Registration,
    /// The clients that may be registered by anybody and that no administrator has looked at.
    pub open_clients: usize,
    /// The hosts from which key sets and discovery documents may be fetched: names, or `*.` and a domain. None when empty.
    pub fetch_hosts: Vec<String>,
    /// Whether such hosts may have private or loopback addresses, and plain `http`. For tests and closed networks.
    pub fetch_private: bool,
    /// The size of a fetched document, in bytes.
    pub fetch_bytes: usize,
    /// The time for fetching a document, in milliseconds.
    pub fetch_timeout_ms: u64,
    /// How long a fetched key set is used before it is fetched anew, in seconds. An unknown `kid` fetches sooner, but not more often
    /// than every ten seconds.
    pub fetch_cache_s: u64,
    /// Failed sign-ins in a row after which an account waits.
    pub lockout_failures: u32,
    /// Failed sign-ins from one address, within `lockout_s`, after which that address waits; never when 0.
    pub lockout_address_failures: u32,
    /// How long an account or an address waits, in seconds.
    pub lockout_s: u64,
    /// The least characters of a password. NIST SP 800-63B-4 demands 15 of one that is the only proof, and 8 beside a second factor.
    pub password_characters: u32,
    /// Whether every user who signs in with a password needs a second factor.
    pub second_factor: bool,
    /// Upstream OpenID providers by which users may sign in.
    pub providers: Vec<Provider>,
    /// Issuers whose access tokens are taken as they are.
    pub trusted_issuers: Vec<TrustedIssuer>,
}

impl Default for Auth {
    fn default() -> Self {
        Self {
            access_token_lifetime_s: 300,
            refresh_token_lifetime_s: 90 * 86_400,
            code_lifetime_s: 60,
            launch_lifetime_s: 300,
            session_inactivity_s: 900,
            session_lifetime_s: 12 * 3_600,
            signing_key_age_s: 90 * 86_400,
            clock_skew_s: 30,
            registration: Registration::Admin,
            open_clients: 1_000,
            fetch_hosts: Vec::new(),
            fetch_private: false,
            fetch_bytes: 256 << 10,
            fetch_timeout_ms: 5_000,
            fetch_cache_s: 300,
            lockout_failures: 10,
            lockout_address_failures: 100,
            lockout_s: 900,
            password_characters: 15,
            second_factor: false,
            providers: Vec::new(),
            trusted_issuers: Vec::new(),
        }
    }
}

impl Auth {
    /// The first setting that can't be used, and what would be right.
    pub(super) fn fault(&self) -> Option<(&'static str, &'static str)> {
        if self.lockout_failures == 0 {
            return Some(("auth.lockout_failures", "must be at least 1"));
        }
        if self.password_characters < 8 || self.password_characters > 64 {
            return Some(("auth.password_characters", "must be at least 8 and at most 64"));
        }
        // The time of the last use is kept to the minute.
        if self.session_inactivity_s < 120 {
            return Some(("auth.session_inactivity_s", "must be at least 120"));
        }
        let is_name = |name: &str| {
            !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
        };
        if self.providers.iter().any(|provider| !is_name(&provider.name)) {
            return Some(("auth.providers", "each name must be lower-case letters and digits"));
        }
        if has_twice(self.providers.iter().map(|provider| &provider.name)) {
            return Some(("auth.providers", "each must have a name of its own"));
        }
        if has_twice(self.trusted_issuers.iter().map(|entry| &entry.issuer)) {
            return Some(("auth.trusted_issuers", "each issuer must be there once"));
        }
        None
    }
}

fn has_twice<'a>(names: impl Iterator<Item = &'a String>) -> bool {
    let mut seen = BTreeSet::new();
    names.into_iter().any(|name| !seen.insert(name))
}

/// An upstream OpenID provider.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Provider {
    /// What it is called in addresses: lower-case letters and digits.
    pub name: String,
    /// What the button says.
    pub title: String,
    /// Its issuer.
    pub issuer: String,
    /// The id of this server there.
    pub client_id: String,
    /// The secret of this server there; a public client without one.
    #[serde(default)]
    pub client_secret: Option<String>,
    /// The scopes to ask for, beside `openid`.
    #[serde(default)]
    pub scopes: Vec<String>,
    /// How its claims are read.
    #[serde(default)]
    pub claims: Claims,
    /// Roles of everyone who comes from there.
    #[serde(default)]
    pub roles: Vec<String>,
}

/// An issuer whose access tokens are taken.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrustedIssuer {
    /// `iss`.
    pub issuer: String,
    /// `aud` that they must have; the FHIR base when not set.
    #[serde(default)]
    pub audience: Option<String>,
    /// Where its keys are; found by discovery when not set.
    #[serde(default)]
    pub jwks_uri: Option<String>,
    /// How its claims are read.
    #[serde(default)]
    pub claims: Claims,
    /// The most that its tokens give, as scopes; what they say when not set.
    #[serde(default)]
    pub scopes: Option<String>,
    /// Roles of everyone who comes from there.
    #[serde(default)]
    pub roles: Vec<String>,
}

/// Which claims mean what. A name that starts with `/` is a JSON Pointer (RFC 6901): `/realm_access/roles`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Claims {
    /// The tenant, such as `organizationId`. Where it is set, who comes without it is refused, and so is who belongs to another
    /// tenant. Without it, all who come from there belong to the tenant that they ask.
    pub tenant: Option<String>,
    /// From a tenant's name there to the name here; where there is no entry, they are the same. The tenant under `/fhir` is `default`.
    pub tenant_names: BTreeMap<String, String>,
    /// The person's resource: `Practitioner/1`, or its URL here.
    pub fhir_user: String,
    /// The names of roles: an array, or a text separated by spaces.
    pub roles: String,
    /// From a role there to a role here; those that are not named are dropped where there is any entry. A role that makes
    /// administrators is given only to those that are named here.
    pub role_names: BTreeMap<String, String>,
}

impl Default for Claims {
    fn default() -> Self {
        Self {
            tenant: None,
            tenant_names: BTreeMap::new(),
            fhir_user: "fhirUser".into(),
            roles: "roles".into(),
            role_names: BTreeMap::new(),
        }
    }
}
