//! The records that authorization keeps, as JSON in the [`super::keeper::Keeper`].
//!
//! A secret is never kept, only what proves it: a hash. Ids that are secrets (codes, cookies, launch handles) are kept as the
//! SHA-256 of the secret, in hexadecimal.

use super::keeper::{Expect, Keep, Keeper, KeeperError};
use super::scope::Scopes;
use crate::clock::Micros;
use crate::tenant::TenantId;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// A kind of record.
pub trait Record: Serialize + DeserializeOwned {
    /// What the keeper calls the kind.
    const KIND: &'static str;
}

/// Reads a record: what it holds, and its version for a later change.
///
/// # Errors
/// When the store fails, or what is kept can't be read.
pub fn get<R: Record>(keeper: &dyn Keeper, tenant: TenantId, id: &str) -> Result<Option<(R, u64)>, KeeperError> {
    let Some(kept) = keeper.get(tenant, R::KIND, id)? else { return Ok(None) };
    Ok(Some((read(&kept.bytes)?, kept.version)))
}

/// Reads what a kept record holds.
///
/// # Errors
/// When it can't be read.
pub fn read<R: Record>(bytes: &[u8]) -> Result<R, KeeperError> {
    serde_json::from_slice(bytes).map_err(|error| KeeperError::Failed(format!("a kept {}: {error}", R::KIND)))
}

/// The change that keeps a record.
///
/// # Errors
/// When it can't be written.
pub fn put<R: Record>(id: &str, record: &R, expect: Expect, expires: Option<Micros>) -> Result<Keep, KeeperError> {
    let bytes = serde_json::to_vec(record).map_err(|error| KeeperError::Failed(error.to_string()))?;
    Ok(Keep { kind: R::KIND, id: id.into(), expect, bytes: Some(bytes), expires })
}

/// The change that removes a record.
#[must_use]
pub fn remove<R: Record>(id: &str, expect: Expect) -> Keep {
    Keep { kind: R::KIND, id: id.into(), expect, bytes: None, expires: None }
}

/// How a client proves who it is: `token_endpoint_auth_method` of RFC 7591.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "method", rename_all = "snake_case")]
pub enum ClientProof {
    /// It can't: a public client (`none`).
    None,
    /// A secret, by HTTP Basic or in the form. Only its SHA-256 in hexadecimal is kept: the server made it, at random and long.
    Secret {
        /// The hash.
        sha256: String,
    },
    /// `private_key_jwt`.
    Keys {
        /// A JWK Set by value.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        jwks: Option<serde_json::Value>,
        /// Where the JWK Set is fetched.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        jwks_uri: Option<String>,
    },
}

/// An app or a service that asks for tokens. Its id is the `client_id`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Client {
    /// `client_id`.
    pub client_id: String,
    /// `client_name`, for people.
    pub name: String,
    /// How it proves who it is.
    pub proof: ClientProof,
    /// Where codes may be sent: compared as whole texts.
    #[serde(default)]
    pub redirect_uris: Vec<String>,
    /// `launch_url`: where an EHR launch starts it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub launch_url: Option<String>,
    /// Web origins that may call (CORS): those of the redirect addresses, and more if given.
    #[serde(default)]
    pub origins: Vec<String>,
    /// `grant_types`: of `authorization_code`, `refresh_token`, `client_credentials`.
    pub grant_types: Vec<String>,
    /// The most that it can be granted.
    pub scopes: Scopes,
    /// `client_uri`, `logo_uri`, `tos_uri`, `policy_uri`, `contacts` as registered, for the consent page.
    #[serde(default)]
    pub about: serde_json::Map<String, serde_json::Value>,
    /// When it was registered.
    pub created: i64,
    /// Whether it is switched off.
    #[serde(default)]
    pub disabled: bool,
    /// What it sees records for when it acts for itself, by codes of v3-ActReason: what a patient's consent is held against.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub purpose_of_use: Vec<String>,
    /// Who it is to a patient's consent when it acts for itself: `Organization/1`, `Device/2`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipient: Option<String>,
}

impl Record for Client {
    const KIND: &'static str = "client";
}

/// A person who signs in. Its id is random; [`Username`] and [`Upstream`] lead to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// The id.
    pub id: String,
    /// The name to sign in with.
    pub username: String,
    /// The name for people.
    pub name: String,
    /// The person's resource: `Practitioner/123`, `Patient/4`, `RelatedPerson/5`; `fhirUser` is made of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fhir_user: Option<String>,
    /// argon2id in the PHC form; none for one who signs in elsewhere only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
    /// The secret of the second factor (RFC 6238), in base32.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub totp: Option<String>,
    /// The time step of the last one-time code that was taken: none is taken twice.
    #[serde(default)]
    pub totp_step: u64,
    /// The names of roles.
    pub roles: Vec<String>,
    /// Whether the account is switched off.
    #[serde(default)]
    pub disabled: bool,
    /// Whether the password has to be changed at the next sign-in.
    #[serde(default)]
    pub must_change_password: bool,
}

impl Record for User {
    const KIND: &'static str = "user";
}

/// Leads from a user name (folded to lower case, hashed) to the user's id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Username {
    /// The user's id.
    pub user: String,
}

impl Record for Username {
    const KIND: &'static str = "username";
}

/// Leads from an upstream identity (issuer and subject, hashed) to the user's id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upstream {
    /// The user's id.
    pub user: String,
}

impl Record for Upstream {
    const KIND: &'static str = "upstream";
}

/// A custom role; the built-in ones are in [`super::role`]. Its id is its name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Role {
    /// The name.
    pub name: String,
    /// What it may do: `user/` scopes of version 2, with search restrictions.
    pub scopes: Scopes,
    /// Whether only the data of the user's own patients counts.
    #[serde(default)]
    pub own_patients: bool,
    /// Whether the user may ask for emergency access beyond that.
    #[serde(default)]
    pub break_glass: bool,
    /// Whether it is an administrator: manages clients, users and roles, and sees operational pages.
    #[serde(default)]
    pub is_admin: bool,
    /// What those who have it see records for, by codes of v3-ActReason: what a patient's consent is held against.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub purpose_of_use: Vec<String>,
}

impl Record for Role {
    const KIND: &'static str = "role";
}

/// A user signed in at a browser. Its id is the hash of the cookie.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// The user.
    pub user: String,
    /// When the user signed in.
    pub created: i64,
    /// When the session was last used, to the minute.
    pub last_used: i64,
    /// `acr`-like: whether the second factor was given.
    pub second_factor: bool,
    /// The secret that forms carry (CSRF).
    pub csrf: String,
    /// What the user's account was like: the session ends when password, roles, second factor or resource change.
    pub stamp: String,
}

impl Record for Session {
    const KIND: &'static str = "session";
}

/// What an EHR opens an app with. Its id is the hash of the `launch` value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct Launch {
    /// The client that it is for; any where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// The user it was made by, who is the one that has to sign in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// What the token answer tells.
    #[serde(default)]
    pub context: LaunchContext,
}

impl Record for Launch {
    const KIND: &'static str = "launch";
}

/// Launch context, in the words of the token answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct LaunchContext {
    /// The id of the Patient.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patient: Option<String>,
    /// The id of the Encounter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encounter: Option<String>,
    /// `fhirContext`: an array of objects, given out as it is.
    #[serde(default, rename = "fhirContext", skip_serializing_if = "Option::is_none")]
    pub fhir_context: Option<serde_json::Value>,
    /// `intent`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub intent: Option<String>,
    /// `need_patient_banner`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub need_patient_banner: Option<bool>,
    /// `smart_style_url`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub smart_style_url: Option<String>,
}

/// A request to `authorize` that was found good, while the user signs in and decides. Its id is random and no secret: the
/// session decides who may go on with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    /// The client.
    pub client_id: String,
    /// Where the answer goes.
    pub redirect_uri: String,
    /// What the client asks, already within what it can be granted.
    pub scopes: Scopes,
    /// Given back as it came.
    #[serde(default)]
    pub state: Option<String>,
    /// For the ID token.
    #[serde(default)]
    pub nonce: Option<String>,
    /// `code_challenge`, of method S256.
    pub code_challenge: String,
    /// From the launch, or chosen by the user.
    #[serde(default)]
    pub context: LaunchContext,
    /// Whether it came by an EHR launch.
    #[serde(default)]
    pub by_launch: bool,
    /// The user that the launch binds it to, or who has begun to decide.
    #[serde(default)]
    pub user: Option<String>,
    /// The user has to have signed in at this time or later (`prompt=login`, `max_age`), in seconds since 1970.
    #[serde(default)]
    pub signed_in_since: Option<i64>,
    /// Why the user asked for emergency access, where they did.
    #[serde(default)]
    pub break_glass: Option<String>,
}

impl Record for Pending {
    const KIND: &'static str = "pending";
}

/// An authorization code. Its id is the hash of the code.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Code {
    /// What was asked.
    pub pending: Pending,
    /// The authorization that it opens: its id.
    pub authorization: String,
    /// Whether it was exchanged: another exchange revokes the authorization (RFC 6749 section 4.1.2).
    #[serde(default)]
    pub used: bool,
}

impl Record for Code {
    const KIND: &'static str = "code";
}

/// What a user granted to a client, from which access tokens and refresh tokens come. Its id is `{user}~{random}`.
/// Removing it revokes all of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Authorization {
    /// The id.
    pub id: String,
    /// The client.
    pub client_id: String,
    /// The user.
    pub user: String,
    /// What was granted.
    pub scopes: Scopes,
    /// The context.
    pub context: LaunchContext,
    /// When it was granted.
    pub created: i64,
    /// When the user signed in.
    pub auth_time: i64,
    /// For the ID tokens of the first answer.
    #[serde(default)]
    pub nonce: Option<String>,
    /// The session at the browser, on which `online_access` depends: the hash of its cookie.
    #[serde(default)]
    pub session: Option<String>,
    /// Which refresh token is the good one, counted from 1: an older one that is used again revokes the authorization.
    #[serde(default)]
    pub refresh: u64,
    /// From which the secrets of the refresh tokens are derived, in base64url; empty without refresh tokens.
    #[serde(default)]
    pub refresh_secret: String,
    /// Why emergency access was asked for, where it was.
    #[serde(default)]
    pub break_glass: Option<String>,
}

impl Record for Authorization {
    const KIND: &'static str = "authorization";
}

/// What an access token says, beside what RFC 9068 has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessClaims {
    /// The issuer: the FHIR base of the tenant.
    pub iss: String,
    /// Whom it is for: the FHIR base of the tenant.
    pub aud: String,
    /// The user's id, or the client's for a client that acts for itself.
    pub sub: String,
    /// The client.
    pub client_id: String,
    /// What is granted.
    pub scope: Scopes,
    /// Seconds since 1970.
    pub iat: i64,
    /// Seconds since 1970.
    pub exp: i64,
    /// Unique.
    pub jti: String,
    /// The [`Authorization`]; none for a client that acts for itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sid: Option<String>,
    /// The tenant's number.
    pub tenant: u32,
    /// The patient in context.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patient: Option<String>,
    /// The encounter in context.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encounter: Option<String>,
    /// The absolute URL of the user's resource.
    #[serde(default, rename = "fhirUser", skip_serializing_if = "Option::is_none")]
    pub fhir_user: Option<String>,
}
