//! The authorization endpoint: what an app asks for, before anybody decides about it.
//!
//! RFC 6749 section 4.1.1, RFC 7636 (only S256), RFC 9207 (`iss` in every answer), and SMART's `aud` and `launch`:
//! <https://hl7.org/fhir/smart-app-launch/app-launch.html#obtain-authorization-code>.

use super::authorization::may;
use super::error::OAuthError;
use super::form::Form;
use super::keeper::{Expect, KeeperError};
use super::records::{self, Client, Launch, Pending};
use super::scope::{Level, Scope, Scopes};
use super::secret::hash;
use super::server::Server;
use super::witness::Deed;
use crate::tenant::TenantId;

/// How long a user may take to sign in and decide, in seconds.
pub const PENDING_S: u64 = 1_800;

/// The most bytes of `state` and of `nonce`.
const MOST_ECHOED: usize = 2_048;

/// Why a request is not taken up.
#[derive(Debug)]
pub enum Refused {
    /// It is not sure where it came from: an error is shown, and nothing is redirected.
    Here(OAuthError),
    /// The app hears of it: the address to go to, and what it says.
    There(String, OAuthError),
}

impl From<KeeperError> for Refused {
    fn from(error: KeeperError) -> Self {
        Self::Here(error.into())
    }
}

impl Server {
    /// Checks what an app asks and keeps it while the user decides. Returns the id of the [`Pending`] request.
    ///
    /// # Errors
    /// [`Refused::Here`] for a client that is not known and an address that is not registered; [`Refused::There`] for the rest.
    pub async fn authorize(&self, tenant: TenantId, form: &Form) -> Result<String, Refused> {
        let (client, redirect_uri) = self.asking(tenant, form)?;
        let pending = match self.pending(tenant, form, &client, redirect_uri) {
            Ok(pending) => pending,
            Err(error) if error.log.is_some() => return Err(Refused::Here(error)),
            Err(error) => {
                let state = form.get("state").filter(|state| state.len() <= MOST_ECHOED);
                return Err(Refused::There(self.refusal(tenant, redirect_uri, state, &error), error));
            }
        };
        let id = self.clock.new_id();
        let until = self.time_in(PENDING_S);
        self.keeper.keep(tenant, vec![records::put(&id, &pending, Expect::Absent, Some(until))?]).await?;
        Ok(id)
    }

    /// A request to authorize that waits for its user, with its version.
    ///
    /// # Errors
    /// When the store fails.
    pub fn waiting(&self, tenant: TenantId, id: &str) -> Result<Option<(Pending, u64)>, KeeperError> {
        if id.is_empty() || id.len() > 255 { Ok(None) } else { records::get(&*self.keeper, tenant, id) }
    }

    /// Notes what the user chose so far. The time to decide begins anew.
    ///
    /// # Errors
    /// [`KeeperError::Stale`] where it changed or ended since; when the store fails.
    pub async fn note(&self, tenant: TenantId, id: &str, pending: &Pending, version: u64) -> Result<(), KeeperError> {
        let until = Some(self.time_in(PENDING_S));
        self.keep(tenant, vec![records::put(id, pending, Expect::Version(version), until)?], Deed::Asked).await
    }

    /// Ends a request to authorize because the user said no. Returns the address to go to.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn deny(&self, tenant: TenantId, id: &str, pending: &Pending) -> Result<String, KeeperError> {
        self.keep(tenant, vec![records::remove::<Pending>(id, Expect::Any)], Deed::Asked).await?;
        let error = OAuthError::new("access_denied", "The user did not allow it.");
        Ok(self.refusal(tenant, &pending.redirect_uri, pending.state.as_deref(), &error))
    }

    /// The address to which a refusal goes.
    #[must_use]
    pub fn refusal(&self, tenant: TenantId, redirect_uri: &str, state: Option<&str>, error: &OAuthError) -> String {
        let answer = [("error", error.code), ("error_description", &*error.description)];
        self.answer_at(tenant, redirect_uri, state, &answer)
    }

    /// The address to which a code goes.
    #[must_use]
    pub fn success(&self, tenant: TenantId, pending: &Pending, code: &str) -> String {
        self.answer_at(tenant, &pending.redirect_uri, pending.state.as_deref(), &[("code", code)])
    }

    fn answer_at(&self, tenant: TenantId, uri: &str, state: Option<&str>, answer: &[(&str, &str)]) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(answer).extend_pairs(state.map(|state| ("state", state)));
        let query = query.append_pair("iss", &self.base(tenant)).finish();
        let separator = if uri.contains('?') { '&' } else { '?' };
        format!("{uri}{separator}{query}")
    }

    /// The client, and the one of its addresses to which the answer goes: only then is anything sent there.
    fn asking<'f>(&self, tenant: TenantId, form: &'f Form) -> Result<(Client, &'f str), Refused> {
        let id = form.required("client_id").map_err(Refused::Here)?;
        let found = if id.len() > 255 { None } else { records::get::<Client>(&*self.keeper, tenant, id)? };
        let client = found.map(|(client, _)| client).filter(|client| !client.disabled);
        let unknown = || Refused::Here(OAuthError::request("The app (client_id) is not known here."));
        let client = client.filter(|client| may(client, "authorization_code")).ok_or_else(unknown)?;
        let uri = form.required("redirect_uri").map_err(Refused::Here)?;
        if client.redirect_uris.iter().any(|own| own == uri) {
            return Ok((client, uri));
        }
        let text = "The address (redirect_uri) to which the app wants the answer is not registered for it.";
        Err(Refused::Here(OAuthError::request(text)))
    }

    fn pending(&self, tenant: TenantId, form: &Form, client: &Client, uri: &str) -> Result<Pending, OAuthError> {
        unsupported(form)?;
        let code_challenge = challenge(form)?;
        self.check_audience(tenant, form)?;
        let [state, nonce] = ["state", "nonce"].map(|name| form.get(name));
        if [state, nonce].into_iter().flatten().any(|text| text.len() > MOST_ECHOED) {
            return Err(OAuthError::request("state or nonce is too long."));
        }
        let launch = self.launch_of(tenant, form, client)?;
        let by_launch = launch.is_some();
        let Launch { user, context, .. } = launch.unwrap_or_default();
        let scopes = askable(form.get("scope").unwrap_or_default(), &client.scopes);
        let kept = |scope: &Scope| match scope {
            Scope::Named("launch") => by_launch,
            Scope::Named("launch/encounter") => context.encounter.is_some(),
            _ => true,
        };
        let scopes = scopes.iter().filter(|scope| kept(scope)).cloned().collect::<Scopes>();
        if scopes.is_empty() {
            return Err(OAuthError::new("invalid_scope", "None of the scopes can be granted to this client."));
        }
        Ok(Pending {
            client_id: client.client_id.clone(),
            redirect_uri: uri.to_owned(),
            scopes,
            state: state.map(str::to_owned),
            nonce: nonce.map(str::to_owned),
            code_challenge,
            context,
            by_launch,
            user,
            signed_in_since: self.signed_in_since(form)?,
            break_glass: None,
        })
    }

    /// `aud` names the FHIR server that the app will send its token to: this one. So no other can play its part.
    fn check_audience(&self, tenant: TenantId, form: &Form) -> Result<(), OAuthError> {
        let base = self.base(tenant);
        let is_own = |uri: &str| uri.strip_suffix('/').unwrap_or(uri) == base;
        if !is_own(form.required("aud")?) {
            return Err(OAuthError::request("aud is not the FHIR base of this server."));
        }
        if form.get("resource").is_some_and(|uri| !is_own(uri)) {
            return Err(OAuthError::new("invalid_target", "resource is not the FHIR base of this server."));
        }
        Ok(())
    }

    /// The launch that the request belongs to, where it names one.
    fn launch_of(&self, tenant: TenantId, form: &Form, client: &Client) -> Result<Option<Launch>, OAuthError> {
        let Some(handle) = form.get("launch") else { return Ok(None) };
        if !askable(form.get("scope").unwrap_or_default(), &client.scopes).has("launch") {
            return Err(OAuthError::request("launch is there without the scope launch."));
        }
        let launch = records::get::<Launch>(&*self.keeper, tenant, &hash(handle))?.map(|(launch, _)| launch);
        let for_client = |launch: &Launch| launch.client_id.as_ref().is_none_or(|id| *id == client.client_id);
        let over = || OAuthError::request("launch is not known, for another client, or too old.");
        launch.filter(for_client).map(Some).ok_or_else(over)
    }

    /// OpenID Connect Core section 3.1.2.1: `prompt` and `max_age`. The user is always asked, so `none` can't be had.
    fn signed_in_since(&self, form: &Form) -> Result<Option<i64>, OAuthError> {
        let prompts = form.get("prompt").unwrap_or_default().split_ascii_whitespace().collect::<Vec<_>>();
        if prompts.contains(&"none") {
            return Err(OAuthError::new("interaction_required", "The user is asked each time."));
        }
        if prompts.iter().any(|prompt| ["login", "select_account"].contains(prompt)) {
            return Ok(Some(self.now_s()));
        }
        let Some(age) = form.get("max_age") else { return Ok(None) };
        let age = age.parse::<u32>().map_err(|_| OAuthError::request("max_age is not a number of seconds."))?;
        Ok(Some(self.now_s() - i64::from(age)))
    }
}

/// What no request may have, or has to have.
fn unsupported(form: &Form) -> Result<(), OAuthError> {
    if form.required("response_type")? != "code" {
        return Err(OAuthError::new("unsupported_response_type", "response_type has to be code."));
    }
    if form.get("request").is_some() {
        return Err(OAuthError::new("request_not_supported", "request is not supported."));
    }
    if form.get("request_uri").is_some() {
        return Err(OAuthError::new("request_uri_not_supported", "request_uri is not supported."));
    }
    match form.get("response_mode") {
        None | Some("query") => Ok(()),
        Some(_) => Err(OAuthError::request("response_mode has to be query.")),
    }
}

/// `code_challenge`: the SHA-256 of the verifier in base64url. Without a method it would be `plain`, which is refused.
fn challenge(form: &Form) -> Result<String, OAuthError> {
    let challenge = form.required("code_challenge")?;
    if form.get("code_challenge_method") != Some("S256") {
        return Err(OAuthError::request("code_challenge_method has to be S256."));
    }
    let is_one = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    if challenge.len() != 43 || !challenge.bytes().all(is_one) {
        return Err(OAuthError::request("code_challenge is not a SHA-256 in base64url."));
    }
    Ok(challenge.to_owned())
}

/// What of the scopes that are asked can be granted to a client for a user: no `system/`.
fn askable(asked: &str, allowed: &Scopes) -> Scopes {
    let is_for_user = |scope: &&Scope| !matches!(scope, Scope::Resource(scope) if scope.level == Level::System);
    Scopes::parse(asked).within(allowed).iter().filter(is_for_user).cloned().collect()
}
