//! Access tokens of trusted issuers: this server as their resource server (`auth.trusted_issuers`).
//!
//! <https://www.rfc-editor.org/rfc/rfc9068#section-4>. Such a token rests on nothing that is kept here but the definitions of roles:
//! it is good until it expires, or until its key is no longer in the issuer's set.

use super::bearer::{Origin, Proven, invalid_token};
use super::claims::{belong_to, texts};
use super::fetch::FetchError;
use super::jwt::{self, Head, TokenError};
use super::keys::ACCESS_TOKEN;
use super::records::{AccessClaims, User};
use super::scope::{Level, Scope, Scopes};
use super::server::Server;
use crate::config::TrustedIssuer;
use crate::error::{Error, Result};
use crate::tenant::TenantId;
use serde_json::{Map, Value};

type Payload = Map<String, Value>;

/// What claims call the code system of purposes of use.
const OF_USE: [&str; 2] = ["http://terminology.hl7.org/CodeSystem/v3-ActReason", "2.16.840.1.113883.5.8"];

impl Server {
    /// The settings for the issuer that a token names, where it is another than this server. Nothing of the token is proved.
    pub(super) fn trusted_issuer(&self, tenant: TenantId, token: &str) -> Option<&TrustedIssuer> {
        if self.config.trusted_issuers.is_empty() {
            return None;
        }
        let claims = jwt::unproved(token).ok()?;
        let issuer = claims.get("iss")?.as_str()?;
        let entry = self.config.trusted_issuers.iter().find(|entry| entry.issuer == issuer)?;
        let registered = self.tenants.of(tenant);
        let is_trusted = registered.tenant.takes(registered.tenant.trusted_issuers.as_ref(), issuer);
        (is_trusted && issuer != &*registered.base).then_some(entry)
    }

    /// What an access token of a trusted issuer says. May fetch the issuer's keys.
    ///
    /// # Errors
    /// 401 for a token that is not good; 503 where that can't be told, because the issuer's keys can't be fetched now.
    pub(super) async fn prove_trusted(&self, tenant: TenantId, entry: &TrustedIssuer, token: &str) -> Result<Proven> {
        let bad = |error: TokenError| invalid_token(&format!("{error} (of {})", entry.issuer));
        let head = jwt::head(token).map_err(bad)?;
        let now = self.now_s();
        let keys = match self.jwks_uri(entry, now).await {
            Ok(address) => self.remote.keys(&address, &head, now).await,
            Err(error) => Err(error),
        };
        let keys = keys.map_err(|error| unreachable_keys(&entry.issuer, &error))?;
        let key = keys.find(&head).ok_or_else(|| bad(TokenError::UnknownKey))?;
        let claims: Payload = key.open(token, now, self.config.clock_skew_s).map_err(bad)?;
        self.check_trusted(tenant, entry, &head, &claims).map_err(bad)?;
        self.proven(tenant, entry, &claims, now)
    }

    async fn jwks_uri(&self, entry: &TrustedIssuer, now: i64) -> Result<String, FetchError> {
        if let Some(address) = &entry.jwks_uri {
            return Ok(address.clone());
        }
        let document = self.discovered(&entry.issuer, now).await?;
        document.get("jwks_uri").and_then(Value::as_str).map(str::to_owned).ok_or(FetchError::NotJson)
    }

    /// The discovery document of an issuer: OpenID Connect Discovery section 4. It has to name the issuer.
    ///
    /// # Errors
    /// Why there is none.
    pub(super) async fn discovered(&self, issuer: &str, now: i64) -> Result<std::sync::Arc<Value>, FetchError> {
        let address = format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'));
        let is_its = |document: &Value| document.get("issuer").and_then(Value::as_str) == Some(issuer);
        let document = self.documents.get(&address, now, Some, |_| true).await?;
        if is_its(&document) {
            return Ok(document);
        }
        Err(FetchError::Failed("the discovery document is another issuer's".to_owned()))
    }

    fn check_trusted(
        &self,
        tenant: TenantId,
        entry: &TrustedIssuer,
        head: &Head,
        claims: &Payload,
    ) -> Result<(), TokenError> {
        if !is_access_token(head, claims) {
            return Err(TokenError::Type);
        }
        if text(claims, "iss") != Some(&entry.issuer) {
            return Err(TokenError::Issuer);
        }
        let base = self.base(tenant);
        let audience = entry.audience.as_deref().unwrap_or(&base);
        let is_for = match claims.get("aud") {
            Some(Value::String(one)) => one == audience,
            Some(Value::Array(several)) => several.iter().any(|one| one == audience),
            _ => false,
        };
        if !is_for {
            return Err(TokenError::Audience);
        }
        let name = &self.tenants.of(tenant).tenant.name;
        if belong_to(name, &entry.claims, claims) { Ok(()) } else { Err(TokenError::Tenant) }
    }

    fn proven(&self, tenant: TenantId, entry: &TrustedIssuer, claims: &Payload, now: i64) -> Result<Proven> {
        let subject = text(claims, "sub").ok_or_else(|| invalid_token("the token has no sub"))?;
        let client = ["client_id", "azp", "cid"].into_iter().find_map(|name| text(claims, name)).unwrap_or_default();
        let person = self.described(tenant, &entry.claims, &entry.roles, claims)?;
        let user = (person.is_person || subject != client).then(|| visitor(subject, person.roles, person.fhir_user));
        let context = |name| text(claims, name).map(str::to_owned);
        let number = |name| claims.get(name).and_then(Value::as_i64).unwrap_or(now);
        let purposes = purposes(claims);
        let claims = AccessClaims {
            iss: entry.issuer.clone(),
            aud: text(claims, "aud").unwrap_or_default().to_owned(),
            sub: subject.to_owned(),
            client_id: client.to_owned(),
            scope: scopes(entry, claims, user.is_some()),
            iat: number("iat"),
            exp: number("exp"),
            jti: context("jti").unwrap_or_default(),
            sid: None,
            tenant: tenant.0,
            patient: context("patient"),
            encounter: context("encounter"),
            fhir_user: user.as_ref().and_then(|user| user.fhir_user.clone()),
        };
        // As long as its keys would be: one that the issuer takes back is good no longer than that.
        let until = now.saturating_add_unsigned(self.config.fetch_cache_s);
        Ok(Proven { claims, until, origin: Origin::Trusted(user), purposes })
    }
}

fn text<'c>(claims: &'c Payload, name: &str) -> Option<&'c str> {
    claims.get(name).and_then(Value::as_str).filter(|text| !text.is_empty())
}

/// What for: the codes of `extensions.ihe_iua.purpose_of_use`
/// (<https://profiles.ihe.net/ITI/IUA/index.html>, JSON Web Token option), of v3-ActReason or of no named system.
fn purposes(claims: &Payload) -> Vec<String> {
    let said = claims.get("extensions").and_then(|own| own.pointer("/ihe_iua/purpose_of_use"));
    let codings = match said {
        Some(Value::Array(codings)) => codings.as_slice(),
        Some(coding) => std::slice::from_ref(coding),
        None => &[],
    };
    let is_of_use = |coding: &&Value| match coding.get("system").and_then(Value::as_str) {
        Some(system) => OF_USE.contains(&system.trim_start_matches("urn:oid:")),
        None => true,
    };
    let code = |coding: &Value| coding.get("code").or(Some(coding)).and_then(Value::as_str).map(str::to_owned);
    codings.iter().filter(is_of_use).filter_map(code).collect()
}

/// Whether a token is an access token that whoever bears it may use.
///
/// `at+jwt` (RFC 9068) says so. Many issuers don't write it yet: there a token of type `JWT`, or of none, is one if it has scopes and none of
/// the claims that mark an ID token. A token that is bound to a key (`cnf`: RFC 8705, RFC 9449) is no bearer token.
fn is_access_token(head: &Head, claims: &Payload) -> bool {
    let is_typed = |name: &str| {
        let typ = head.typ.as_deref().map(str::to_ascii_lowercase);
        typ.as_deref().map(|typ| typ.strip_prefix("application/").unwrap_or(typ)) == Some(name)
    };
    let has = |name: &&str| claims.contains_key(*name);
    let is_untyped = (head.typ.is_none() || is_typed("jwt"))
        && ["scope", "scp"].iter().any(has)
        && !["nonce", "at_hash", "c_hash", "events"].iter().any(has);
    (is_typed(ACCESS_TOKEN) || is_untyped) && !has(&"cnf")
}

/// The scopes for resources that a token gives: of a client that acts for itself those of `system/`, else the others. What the server
/// has of other scopes (administration, launches) is for its own tokens.
fn scopes(entry: &TrustedIssuer, claims: &Payload, has_user: bool) -> Scopes {
    let said = ["scope", "scp"].into_iter().find_map(|name| claims.get(name)).map(texts).unwrap_or_default();
    let said = Scopes::parse(&said.join(" "));
    let within = entry.scopes.as_deref().map_or_else(|| said.clone(), |most| said.within(&Scopes::parse(most)));
    let is_its = |scope: &&Scope| match scope {
        Scope::Resource(scope) => (scope.level == Level::System) != has_user,
        Scope::Named(_) => false,
    };
    within.iter().filter(is_its).cloned().collect()
}

/// A person who has no account here.
fn visitor(subject: &str, roles: Vec<String>, fhir_user: Option<String>) -> User {
    User {
        id: subject.to_owned(),
        username: String::new(),
        name: String::new(),
        fhir_user,
        password: None,
        totp: None,
        totp_step: 0,
        roles,
        disabled: false,
        must_change_password: false,
    }
}

fn unreachable_keys(issuer: &str, error: &FetchError) -> Error {
    let log = format!("the keys of {issuer}: {error}");
    match error {
        FetchError::Address | FetchError::Host(_) => invalid_token(&log),
        _ => Error::unavailable("The token's issuer can't be asked now whether the token is good.", log),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jsonwebtoken::Algorithm;
    use serde_json::json;

    fn is_taken(typ: Option<&str>, claims: &Value) -> bool {
        let head = Head { alg: Algorithm::ES256, kid: None, typ: typ.map(str::to_owned), jku: None };
        is_access_token(&head, claims.as_object().unwrap())
    }

    #[test]
    fn only_access_tokens_of_bearers_are_taken() {
        for typ in [Some("at+jwt"), Some("application/at+JWT"), Some("JWT"), None] {
            assert!(is_taken(typ, &json!({"scope": ""})), "{typ:?}");
            assert!(!is_taken(typ, &json!({"scope": "", "cnf": {"jkt": "x"}})), "{typ:?}");
        }
        assert!(is_taken(Some("at+jwt"), &json!({})) && !is_taken(Some("JWT"), &json!({})));
        assert!(
            !is_taken(None, &json!({"scope": "", "nonce": "n"}))
                && !is_taken(None, &json!({"scp": [], "at_hash": "n"}))
        );
        for typ in ["logout+jwt", "secevent+jwt", "", "x/at+jwt"] {
            assert!(!is_taken(Some(typ), &json!({"scope": ""})), "{typ:?}");
        }
    }

    #[test]
    fn a_client_has_system_scopes_and_a_user_has_the_others() {
        let mut entry: TrustedIssuer = serde_json::from_value(json!({"issuer": "https://i.example"})).unwrap();
        let said = json!({"scope": "system/*.rs user/Observation.cruds patient/*.rs admin openid"});
        let scopes = |entry: &TrustedIssuer, has_user| scopes(entry, said.as_object().unwrap(), has_user).to_string();
        assert_eq!(
            (scopes(&entry, false), scopes(&entry, true)),
            ("system/*.rs".into(), "user/Observation.cruds patient/*.rs".into())
        );
        entry.scopes = Some("user/*.r system/Patient.r admin".into());
        assert_eq!(
            (scopes(&entry, false), scopes(&entry, true)),
            ("system/Patient.r".into(), "user/Observation.r".into())
        );
    }
}
