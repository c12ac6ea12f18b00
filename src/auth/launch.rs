//! EHR launch: how a front end makes the context in which it opens an app.
//!
//! <https://hl7.org/fhir/smart-app-launch/app-launch.html#launch-app-ehr-launch>. The standard leaves open how the two come to
//! know each other; this endpoint is ours. It takes the scope [`MAKE_LAUNCH`], from a user who works with the front end, and then
//! the launch is for that user alone, or from a confidential client for itself, and then it is for whoever signs in. A launch
//! says what an app starts with, and never lets anybody see what they may not.

use super::agent::Agent;
use super::error::OAuthError;
use super::keeper::Expect;
use super::records::{Client, Launch, LaunchContext, get, put};
use super::scope::MAKE_LAUNCH;
use super::secret::{hash, new_secret};
use super::server::Server;
use super::witness::Deed;
use crate::tenant::TenantId;
use jsonschema::Validator;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::sync::LazyLock;

static SCHEMA: LazyLock<Result<Validator, String>> = LazyLock::new(|| {
    let schema: Value = serde_json::from_str(include_str!("launch.schema.json")).map_err(|error| error.to_string())?;
    jsonschema::validator_for(&schema).map_err(|error| error.to_string())
});

/// What the endpoint takes: `launch.schema.json` says the rest.
#[derive(Deserialize)]
struct Asked {
    client_id: Option<String>,
    #[serde(flatten)]
    context: LaunchContext,
}

/// What the endpoint answers.
#[derive(Debug, Serialize)]
pub struct Made {
    /// The value of `launch`.
    pub launch: String,
    /// How long the app may take to come back with it, in seconds.
    pub expires_in: u64,
    /// Where to send the browser: the app's `launch_url` with `iss` and `launch`. Only where a client with one is named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
}

impl Server {
    /// Makes a launch context from a document in JSON, for the holder of an access token. `agent` hears who that is.
    ///
    /// # Errors
    /// `invalid_token`, `insufficient_scope`; `invalid_request` that names what is wrong with the document.
    pub async fn make_launch(
        &self,
        tenant: TenantId,
        token: &str,
        document: &[u8],
        agent: &mut Agent,
    ) -> Result<Made, OAuthError> {
        let (claims, live) = self.active(tenant, token)?;
        *agent = live.agent(&claims);
        if !claims.scope.has(MAKE_LAUNCH) {
            return Err(OAuthError::new("insufficient_scope", "The token does not have make_launch."));
        }
        let Asked { client_id, context } = check(document)?;
        let client = client_id.as_deref().map(|id| self.launched(tenant, id)).transpose()?;
        let launch = new_secret()?;
        let launch_url = client.and_then(|client| client.launch_url);
        let url = launch_url.map(|url| started_at(&url, &self.base(tenant), &launch));
        let record = Launch { client_id, user: live.user.map(|(user, _)| user.id), context };
        let until = self.time_in(self.config.launch_lifetime_s);
        let kept = put(&hash(&launch), &record, Expect::Absent, Some(until))?;
        self.keep(tenant, vec![kept], Deed::Launch(agent)).await?;
        Ok(Made { launch, expires_in: self.config.launch_lifetime_s, url })
    }

    /// A client that can be launched.
    fn launched(&self, tenant: TenantId, id: &str) -> Result<Client, OAuthError> {
        let found = get::<Client>(&*self.keeper, tenant, &id.chars().take(255).collect::<String>())?;
        let found = found.map(|(client, _)| client).filter(|client| !client.disabled && client.scopes.has("launch"));
        found.ok_or_else(|| OAuthError::request("client_id: there is no such client with the scope launch."))
    }
}

/// Reads and checks the document. What is wrong is named by its place, never by its value.
fn check(document: &[u8]) -> Result<Asked, OAuthError> {
    let document: Value =
        serde_json::from_slice(document).map_err(|error| OAuthError::request(format!("Not JSON: {error}.")))?;
    let schema = SCHEMA.as_ref().map_err(OAuthError::server)?;
    if let Some(error) = schema.iter_errors(&document).next() {
        let place = error.instance_path().to_string();
        let place = if place.is_empty() { "the document".to_owned() } else { place };
        return Err(OAuthError::request(format!("{place} is not as the endpoint takes it; see docs/smart.md.")));
    }
    serde_json::from_value(document).map_err(|error| OAuthError::request(format!("Not a launch: {error}.")))
}

/// The app's address with `iss` and `launch`.
fn started_at(launch_url: &str, base: &str, launch: &str) -> String {
    let (url, fragment) = launch_url.split_once('#').unwrap_or((launch_url, ""));
    let query =
        form_urlencoded::Serializer::new(String::new()).append_pair("iss", base).append_pair("launch", launch).finish();
    let separator = if url.contains('?') { '&' } else { '?' };
    let fragment = if fragment.is_empty() { String::new() } else { format!("#{fragment}") };
    format!("{url}{separator}{query}{fragment}")
}
