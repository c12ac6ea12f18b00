//! What a client tells of itself (RFC 7591, <https://www.rfc-editor.org/rfc/rfc7591>).
//!
//! The form of the metadata is checked by a JSON schema; what no schema can say is checked after. Members that are not known are
//! ignored, as the RFC wants.

use super::error::OAuthError;
use super::jwks::PublicKeys;
use super::keeper::{Expect, KeeperError};
use super::records::{Client, ClientProof};
use super::scope::{ADMIN, INTROSPECT, Level, MAKE_LAUNCH, Scope, Scopes};
use super::secret;
use super::server::Server;
use crate::config::Registration;
use crate::tenant::TenantId;
use jsonschema::Validator;
use serde_json::{Map, Value, json};
use std::sync::LazyLock;
use url::{Host, Url};

/// What a client can be granted that did not say.
const DEFAULT_SCOPE: &str = "openid fhirUser launch launch/patient patient/*.rs";

/// Members of a client's metadata that are kept for people to see.
const ABOUT: [&str; 7] =
    ["client_uri", "logo_uri", "tos_uri", "policy_uri", "contacts", "software_id", "software_version"];

/// The form of the metadata. `launch_url`, `origins`, `purpose_of_use` and `recipient` are this server's own; the last two are what
/// an administrator says of a client that acts for itself.
static SCHEMA: LazyLock<Option<Validator>> = LazyLock::new(|| {
    let web = json!({ "type": "string", "pattern": "^https?://[^\\s\"<>]+$", "maxLength": 2000 });
    let texts =
        |most: u32, each: Value| json!({ "type": "array", "items": each, "maxItems": most, "uniqueItems": true });
    let address = json!({ "type": "string", "minLength": 1, "maxLength": 2000 });
    let secrets = ["d", "p", "q", "dp", "dq", "qi", "k"].map(|member| json!({ "required": [member] }));
    let grant_types = json!({ "enum": ["authorization_code", "refresh_token", "client_credentials"] });
    jsonschema::validator_for(&json!({
        "type": "object",
        "properties": {
            "client_name": { "type": "string", "minLength": 1, "maxLength": 200, "pattern": "^[^\\u0000-\\u001f\\u007f]+$" },
            "redirect_uris": texts(50, address.clone()),
            "token_endpoint_auth_method": { "enum": ["none", "client_secret_basic", "client_secret_post", "private_key_jwt"] },
            "grant_types": { "type": "array", "items": grant_types, "minItems": 1, "uniqueItems": true },
            "response_types": texts(1, json!({ "const": "code" })),
            "scope": { "type": "string", "minLength": 1, "maxLength": 8000 },
            "jwks": { "type": "object", "required": ["keys"], "properties": { "keys": {
                "type": "array", "minItems": 1, "maxItems": 100, "items": {
                    "type": "object", "required": ["kty", "kid"],
                    "properties": { "kty": { "enum": ["RSA", "EC"] }, "kid": { "type": "string", "minLength": 1, "maxLength": 255 } },
                    "not": { "anyOf": secrets },
                },
            } } },
            "jwks_uri": address,
            "launch_url": web,
            "origins": texts(50, web.clone()),
            "client_uri": web, "logo_uri": web, "tos_uri": web, "policy_uri": web,
            "contacts": texts(20, json!({ "type": "string", "maxLength": 200 })),
            "software_id": { "type": "string", "maxLength": 200 },
            "software_version": { "type": "string", "maxLength": 200 },
            "purpose_of_use": texts(20, json!({ "type": "string", "pattern": "^[A-Za-z_]{1,40}$" })),
            "recipient": { "type": "string", "pattern": "^(Organization|Device|Practitioner|PractitionerRole|CareTeam)/[A-Za-z0-9.-]{1,64}$" },
        },
        "not": { "required": ["jwks", "jwks_uri"] },
    }))
    .ok()
});

/// Who registers a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Registrant {
    /// Somebody.
    Anyone,
    /// Who has shown an administrator's access token.
    Admin,
}

/// A client that was registered, with its secret where it got one: nobody can read that again.
#[derive(Debug)]
pub struct Registered {
    /// The client.
    pub client: Client,
    /// `client_secret`.
    pub secret: Option<String>,
}

impl Registered {
    /// The answer of RFC 7591 section 3.2.1.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let mut answer = metadata(&self.client);
        if let (Some(secret), Some(members)) = (&self.secret, answer.as_object_mut()) {
            members.insert("client_secret".into(), json!(secret));
            members.insert("client_secret_expires_at".into(), json!(0));
        }
        answer
    }
}

/// A client in the words of RFC 7591, without any secret.
#[must_use]
pub fn metadata(client: &Client) -> Value {
    let mut members = client.about.clone();
    let mut add = |name: &str, value: Value| drop(members.insert(name.to_owned(), value));
    add("client_id", json!(client.client_id));
    add("client_id_issued_at", json!(client.created));
    add("client_name", json!(client.name));
    add("redirect_uris", json!(client.redirect_uris));
    add("grant_types", json!(client.grant_types));
    add("response_types", if client.redirect_uris.is_empty() { json!([]) } else { json!(["code"]) });
    add("scope", json!(client.scopes.to_string()));
    add("origins", json!(client.origins));
    if let Some(launch_url) = &client.launch_url {
        add("launch_url", json!(launch_url));
    }
    if !client.purpose_of_use.is_empty() {
        add("purpose_of_use", json!(client.purpose_of_use));
    }
    if let Some(recipient) = &client.recipient {
        add("recipient", json!(recipient));
    }
    if client.disabled {
        add("disabled", json!(true));
    }
    let method = match &client.proof {
        ClientProof::None => "none",
        ClientProof::Secret { .. } => "client_secret_basic",
        ClientProof::Keys { jwks, jwks_uri } => {
            if let Some(jwks) = jwks {
                add("jwks", jwks.clone());
            }
            if let Some(address) = jwks_uri {
                add("jwks_uri", json!(address));
            }
            "private_key_jwt"
        }
    };
    add("token_endpoint_auth_method", json!(method));
    Value::Object(members)
}

fn bad(description: impl Into<std::borrow::Cow<'static, str>>) -> OAuthError {
    OAuthError::new("invalid_client_metadata", description)
}

/// Checks the form. A description names members, never their values.
fn check_form(given: &Value) -> Result<(), OAuthError> {
    let schema = SCHEMA.as_ref().ok_or_else(|| OAuthError::server("the schema of client metadata can't be read"))?;
    let Some(error) = schema.iter_errors(given).next() else { return Ok(()) };
    let path = error.instance_path().to_string();
    let code = if path.starts_with("/redirect_uris") { "invalid_redirect_uri" } else { "invalid_client_metadata" };
    Err(OAuthError::new(code, format!("{}: {}", if path.is_empty() { "/" } else { &path }, error.masked())))
}

/// Whether codes may be sent there: `https`, `http` on the own machine, or a private-use scheme of a native app that is made from a
/// domain (RFC 8252 section 7). Compared as text, so whatever can be read in two ways is refused.
fn may_redirect_to(address: &str) -> bool {
    let is_plain = address.bytes().all(|byte| byte.is_ascii_graphic() && !br#"*#\"<>"#.contains(&byte));
    let Some(url) = Url::parse(address).ok().filter(|_| is_plain) else { return false };
    if !url.username().is_empty() || url.password().is_some() {
        return false;
    }
    match (url.scheme(), url.host()) {
        ("https", Some(_)) => true,
        ("http", Some(Host::Domain(name))) => name == "localhost",
        ("http", Some(Host::Ipv4(address))) => address.is_loopback(),
        ("http", Some(Host::Ipv6(address))) => address.is_loopback(),
        (scheme, _) => scheme.contains('.'),
    }
}

/// The web origin of an address, where it has one.
fn origin(address: &str) -> Option<String> {
    let url = Url::parse(address).ok().filter(|url| matches!(url.scheme(), "https" | "http"))?;
    Some(url.origin().ascii_serialization())
}

fn texts(given: &Value, name: &str) -> Option<Vec<String>> {
    let all = given.get(name)?.as_array()?;
    Some(all.iter().filter_map(Value::as_str).map(str::to_owned).collect())
}

fn text<'g>(given: &'g Value, name: &str) -> Option<&'g str> {
    given.get(name)?.as_str()
}

/// Whether a client can have a scope that nobody vouches for: none that is for the administration or for itself.
fn is_for_anyone(scope: &Scope) -> bool {
    match scope {
        Scope::Named(name) => ![ADMIN, MAKE_LAUNCH, INTROSPECT].contains(name),
        Scope::Resource(scope) => scope.level != Level::System,
    }
}

/// Whether an id can be a client's.
pub(super) fn is_id(id: &str) -> bool {
    (1..=128).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte))
}

impl Server {
    /// Registers a client by its metadata, and answers as RFC 7591 section 3.2 says.
    ///
    /// # Errors
    /// `invalid_redirect_uri`, `invalid_client_metadata`; `access_denied` where the settings don't let this one register, or too many
    /// have that nobody looked at.
    pub async fn register(&self, tenant: TenantId, given: &Value, by: Registrant) -> Result<Registered, OAuthError> {
        match (self.config.registration, by) {
            (Registration::Open, _) | (Registration::Admin, Registrant::Admin) => {}
            (Registration::Admin, Registrant::Anyone) => {
                return Err(OAuthError::new("access_denied", "Only administrators register clients here."));
            }
            (Registration::Off, _) => {
                return Err(OAuthError::new("access_denied", "Clients are not registered by this endpoint."));
            }
        }
        if by == Registrant::Anyone {
            self.leave_room(tenant)?;
        }
        let registered = self.put_client(tenant, &self.clock.new_id(), given, by).await?;
        tracing::info!(client = registered.client.client_id, ?by, "client registered");
        Ok(registered)
    }

    /// Adds a client under an id, or replaces what is known of it: its secret stays, if it still has one.
    ///
    /// # Errors
    /// `invalid_redirect_uri`, `invalid_client_metadata`; `invalid_request` for an id that can't be one.
    pub async fn put_client(
        &self,
        tenant: TenantId,
        id: &str,
        given: &Value,
        by: Registrant,
    ) -> Result<Registered, OAuthError> {
        let old = self.client_by_id(tenant, id)?;
        let expect = old.as_ref().map_or(Expect::Absent, |(_, version)| Expect::Version(*version));
        let registered = self.client_like(id, given, old.map(|(client, _)| client), by)?;
        match self.keep_client(tenant, &registered.client, expect, by).await {
            Err(KeeperError::Stale(_)) => {
                Err(OAuthError::new("temporarily_unavailable", "The client was changed meanwhile."))
            }
            result => Ok(result.map(|()| registered)?),
        }
    }

    /// The client that is described, before it is kept. What was there before keeps its secret.
    ///
    /// # Errors
    /// As [`Self::put_client`] has them.
    pub(super) fn client_like(
        &self,
        id: &str,
        given: &Value,
        old: Option<Client>,
        by: Registrant,
    ) -> Result<Registered, OAuthError> {
        if !is_id(id) {
            return Err(OAuthError::request("A client_id has 1 to 128 letters, digits and -._~"));
        }
        check_form(given)?;
        let (proof, secret) = self.proof(given, old.as_ref().map(|client| &client.proof))?;
        let mut client = self.client_of(id, given, proof, by)?;
        if let Some(old) = old {
            (client.created, client.disabled) = (old.created, old.disabled);
        }
        Ok(Registered { client, secret })
    }

    /// How a client proves who it is, and its secret if it gets a new one.
    fn proof(&self, given: &Value, old: Option<&ClientProof>) -> Result<(ClientProof, Option<String>), OAuthError> {
        let method = text(given, "token_endpoint_auth_method").unwrap_or("client_secret_basic");
        let (jwks, jwks_uri) = (given.get("jwks").cloned(), text(given, "jwks_uri").map(str::to_owned));
        let has_keys = jwks.is_some() || jwks_uri.is_some();
        match (method, has_keys) {
            ("private_key_jwt", false) => Err(bad("private_key_jwt needs jwks or jwks_uri.")),
            ("private_key_jwt", true) => {
                if jwks.as_ref().is_some_and(|jwks| PublicKeys::read(jwks).is_none_or(|keys| keys.is_empty())) {
                    return Err(bad(
                        "jwks has no key that can be used: EC P-256, EC P-384, or RSA of at least 2048 bits, for signatures.",
                    ));
                }
                if let Some(address) = &jwks_uri {
                    self.fetcher.check(address).map_err(|error| bad(format!("jwks_uri: {error}")))?;
                }
                Ok((ClientProof::Keys { jwks, jwks_uri }, None))
            }
            (_, true) => Err(bad("jwks and jwks_uri are for private_key_jwt.")),
            ("none", false) => Ok((ClientProof::None, None)),
            (_, false) => match old {
                Some(kept @ ClientProof::Secret { .. }) => Ok((kept.clone(), None)),
                _ => new_proof().map(|(proof, secret)| (proof, Some(secret))),
            },
        }
    }

    fn client_of(&self, id: &str, given: &Value, proof: ClientProof, by: Registrant) -> Result<Client, OAuthError> {
        let asked = Scopes::parse(text(given, "scope").unwrap_or(DEFAULT_SCOPE));
        let scopes: Scopes =
            asked.iter().filter(|scope| by == Registrant::Admin || is_for_anyone(scope)).cloned().collect();
        if scopes.is_empty() {
            return Err(bad("scope has none that this client can have."));
        }
        let mut usual = vec!["authorization_code".to_owned()];
        if scopes.has("offline_access") || scopes.has("online_access") {
            usual.push("refresh_token".to_owned());
        }
        let grant_types = texts(given, "grant_types").unwrap_or(usual);
        let has = |name: &str| grant_types.iter().any(|own| own == name);
        if has("client_credentials") && !matches!(proof, ClientProof::Keys { .. }) {
            return Err(bad("client_credentials is for clients that use private_key_jwt."));
        }
        if has("client_credentials") && by == Registrant::Anyone {
            return Err(bad("Only administrators register clients that use client_credentials."));
        }
        let redirect_uris = texts(given, "redirect_uris").unwrap_or_default();
        if has("authorization_code") == redirect_uris.is_empty() {
            return Err(OAuthError::new(
                "invalid_redirect_uri",
                "redirect_uris belong to authorization_code, and only to it.",
            ));
        }
        if !redirect_uris.iter().all(|address| may_redirect_to(address)) {
            let rule = "redirect_uris are https, http on localhost, or a scheme like org.example.app; without a fragment, a user and wildcards.";
            return Err(OAuthError::new("invalid_redirect_uri", rule));
        }
        let mut origins: Vec<String> = redirect_uris.iter().filter_map(|address| origin(address)).collect();
        origins.extend(texts(given, "origins").unwrap_or_default().iter().filter_map(|address| origin(address)));
        origins.sort_unstable();
        origins.dedup();
        let about: Map<_, _> =
            ABOUT.iter().filter_map(|name| Some(((*name).to_owned(), given.get(name)?.clone()))).collect();
        Ok(Client {
            client_id: id.to_owned(),
            name: text(given, "client_name").unwrap_or(id).to_owned(),
            proof,
            redirect_uris,
            launch_url: text(given, "launch_url").map(str::to_owned),
            origins,
            grant_types,
            scopes,
            about,
            created: self.now_s(),
            disabled: false,
            purpose_of_use: texts(given, "purpose_of_use").filter(|_| by == Registrant::Admin).unwrap_or_default(),
            recipient: text(given, "recipient").filter(|_| by == Registrant::Admin).map(str::to_owned),
        })
    }
}

pub(super) fn new_proof() -> Result<(ClientProof, String), OAuthError> {
    let secret = secret::new_secret()?;
    Ok((ClientProof::Secret { sha256: secret::hash(&secret) }, secret))
}

#[cfg(test)]
#[path = "registration_tests.rs"]
mod tests;
