//! What clients find out by themselves.
//!
//! <https://hl7.org/fhir/smart-app-launch/conformance.html#using-well-known>,
//! <https://openid.net/specs/openid-connect-discovery-1_0.html>

use super::scope::{Level, NAMED};
use super::server::Server;
use crate::config::Registration;
use crate::tenant::TenantId;
use serde_json::{Map, Value, json};

/// SMART's capabilities, all of which are built.
const CAPABILITIES: [&str; 18] = [
    "launch-ehr",
    "launch-standalone",
    "authorize-post",
    "client-public",
    "client-confidential-symmetric",
    "client-confidential-asymmetric",
    "sso-openid-connect",
    "context-banner",
    "context-style",
    "context-ehr-patient",
    "context-ehr-encounter",
    "context-standalone-patient",
    "permission-offline",
    "permission-online",
    "permission-patient",
    "permission-user",
    "permission-v1",
    "permission-v2",
];

impl Server {
    /// What stands at `{base}/.well-known/smart-configuration`.
    #[must_use]
    pub fn smart_configuration(&self, tenant: TenantId) -> Value {
        let mut document = self.metadata(tenant);
        document.insert("management_endpoint".into(), self.endpoint(tenant, "apps").into());
        document.insert("capabilities".into(), json!(CAPABILITIES));
        document.into()
    }

    /// What stands at `{base}/.well-known/openid-configuration`.
    #[must_use]
    pub fn openid_configuration(&self, tenant: TenantId) -> Value {
        let further = json!({
            "userinfo_endpoint": self.endpoint(tenant, "userinfo"),
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "response_modes_supported": ["query"],
            "claims_supported":
                ["iss", "sub", "aud", "exp", "iat", "auth_time", "nonce", "name", "fhirUser"],
            "claims_parameter_supported": false,
            "request_parameter_supported": false,
            "request_uri_parameter_supported": false,
        });
        let mut document = self.metadata(tenant);
        if let Value::Object(further) = further {
            document.extend(further);
        }
        document.into()
    }

    /// The addresses that `/metadata` names, by the names in SMART's extension of `rest.security`.
    #[must_use]
    pub fn oauth_uris(&self, tenant: TenantId) -> Vec<(&'static str, String)> {
        let mut names = vec!["authorize", "token", "introspect", "revoke"];
        if self.config.registration != Registration::Off {
            names.push("register");
        }
        let mut uris: Vec<_> = names.into_iter().map(|name| (name, self.endpoint(tenant, name))).collect();
        uris.push(("manage", self.endpoint(tenant, "apps")));
        uris
    }

    /// What both documents say: RFC 8414 section 2.
    fn metadata(&self, tenant: TenantId) -> Map<String, Value> {
        let levels = [Level::Patient, Level::User, Level::System].map(Level::name);
        let wildcards = |ending: &str| levels.map(|level| format!("{level}/*.{ending}"));
        let scopes = NAMED.map(str::to_owned).into_iter().chain(wildcards("cruds")).chain(wildcards("rs"));
        let scopes = scopes.chain(["read", "write", "*"].into_iter().flat_map(wildcards));
        let mut document = Map::new();
        let mut set = |name: &str, value: Value| {
            document.insert(name.to_owned(), value);
        };
        set("issuer", self.base(tenant).into());
        set("jwks_uri", self.endpoint(tenant, "keys").into());
        set("authorization_endpoint", self.endpoint(tenant, "authorize").into());
        set("token_endpoint", self.endpoint(tenant, "token").into());
        set("introspection_endpoint", self.endpoint(tenant, "introspect").into());
        set("revocation_endpoint", self.endpoint(tenant, "revoke").into());
        if self.config.registration != Registration::Off {
            set("registration_endpoint", self.endpoint(tenant, "register").into());
        }
        set("grant_types_supported", json!(["authorization_code", "refresh_token", "client_credentials"]));
        set("response_types_supported", json!(["code"]));
        set("authorization_response_iss_parameter_supported", true.into());
        set("code_challenge_methods_supported", json!(["S256"]));
        set("scopes_supported", scopes.collect::<Vec<_>>().into());
        let methods = json!(["client_secret_basic", "client_secret_post", "private_key_jwt", "none"]);
        set("token_endpoint_auth_methods_supported", methods);
        set("token_endpoint_auth_signing_alg_values_supported", json!(["RS384", "ES384"]));
        document
    }
}
