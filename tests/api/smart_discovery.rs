//! What clients find out by themselves, without a token.

use crate::support::Client;
use crate::support::Server;
use crate::support::smart::Smart;
use serde_json::{Value, json};

fn list(document: &Value, name: &str) -> Vec<String> {
    let list = document[name].as_array().unwrap_or_else(|| panic!("no {name}"));
    list.iter().map(|item| item.as_str().unwrap().to_owned()).collect()
}

#[test]
fn smart_configuration_lists_endpoints_and_capabilities() {
    let smart = Smart::start();
    let answer = smart.server.get("/.well-known/smart-configuration").expect(200);
    assert!(answer.header("content-type").unwrap().starts_with("application/json"));
    let document = answer.json();
    let root = smart.base().trim_end_matches("/fhir");
    assert_eq!(document["issuer"], smart.base());
    for (name, path) in [
        ("jwks_uri", "keys"),
        ("authorization_endpoint", "authorize"),
        ("token_endpoint", "token"),
        ("introspection_endpoint", "introspect"),
        ("revocation_endpoint", "revoke"),
        ("registration_endpoint", "register"),
        ("management_endpoint", "apps"),
    ] {
        assert_eq!(document[name], format!("{root}/auth/{path}"), "{name}");
    }
    assert_eq!(document["code_challenge_methods_supported"], json!(["S256"]));
    assert_eq!(document["response_types_supported"], json!(["code"]));
    assert_eq!(document["token_endpoint_auth_signing_alg_values_supported"], json!(["RS384", "ES384"]));
    let grants = ["authorization_code", "refresh_token", "client_credentials"];
    assert_eq!(list(&document, "grant_types_supported"), grants);
    let methods = list(&document, "token_endpoint_auth_methods_supported");
    assert!(
        ["client_secret_basic", "client_secret_post", "private_key_jwt"]
            .iter()
            .all(|it| methods.contains(&(*it).into()))
    );
    let scopes = list(&document, "scopes_supported");
    for scope in ["openid", "fhirUser", "launch", "launch/patient", "offline_access", "patient/*.rs", "user/*.read"] {
        assert!(scopes.contains(&scope.to_owned()), "{scope}");
    }
    let mut capabilities = list(&document, "capabilities");
    capabilities.sort_unstable();
    let all = "authorize-post client-confidential-asymmetric client-confidential-symmetric client-public context-banner \
               context-ehr-encounter context-ehr-patient context-standalone-patient context-style launch-ehr \
               launch-standalone permission-offline permission-online permission-patient permission-user permission-v1 \
               permission-v2 sso-openid-connect";
    assert_eq!(capabilities, all.split_whitespace().collect::<Vec<_>>());

    smart.server.head("/.well-known/smart-configuration").expect(200);
    smart.server.post("/.well-known/smart-configuration").expect(405).header_is("allow", "GET, HEAD");
    smart.server.get("/.well-known/other").expect(404);
}

#[test]
fn openid_configuration_says_what_id_tokens_are_like() {
    let smart = Smart::start();
    let document = smart.server.get("/.well-known/openid-configuration").expect(200).json();
    let root = smart.base().trim_end_matches("/fhir");
    assert_eq!(document["issuer"], smart.base());
    assert_eq!(document["userinfo_endpoint"], format!("{root}/auth/userinfo"));
    assert_eq!(document["id_token_signing_alg_values_supported"], json!(["RS256"]));
    assert_eq!(document["subject_types_supported"], json!(["public"]));
    // Without this a client could send a request object, which would be passed over.
    assert_eq!(document["request_uri_parameter_supported"], false);
}

#[test]
fn the_keys_are_public_and_only_public() {
    let smart = Smart::start();
    let keys = smart.get("/auth/keys").expect(200).at("/keys");
    let keys = keys.as_array().unwrap();
    let mut kinds = keys.iter().map(|key| key["alg"].as_str().unwrap()).collect::<Vec<_>>();
    kinds.sort_unstable();
    assert_eq!(kinds, ["ES256", "RS256"]);
    for key in keys {
        assert!(key["kid"].is_string() && key["use"] == "sig", "{key}");
        assert!(["d", "p", "q", "dp", "dq", "qi", "k"].iter().all(|secret| key.get(secret).is_none()));
    }
    smart.post("/auth/keys").expect(405).header_is("allow", "GET, HEAD");
}

#[test]
fn the_capability_statement_names_the_endpoints() {
    let smart = Smart::start();
    let statement = smart.server.get("/metadata").expect(200);
    let security = statement.at("/rest/0/security");
    assert_eq!(security["cors"], true);
    assert_eq!(security["service"][0]["coding"][0]["code"], "SMART-on-FHIR");
    let extension = &security["extension"][0];
    assert_eq!(extension["url"], "http://fhir-registry.smarthealthit.org/StructureDefinition/oauth-uris");
    let uris = extension["extension"].as_array().unwrap();
    let configuration = smart.server.get("/.well-known/smart-configuration").expect(200).json();
    for (name, same) in [
        ("authorize", "authorization_endpoint"),
        ("token", "token_endpoint"),
        ("introspect", "introspection_endpoint"),
        ("revoke", "revocation_endpoint"),
        ("register", "registration_endpoint"),
        ("manage", "management_endpoint"),
    ] {
        let uri = uris.iter().find(|uri| uri["url"] == name).unwrap_or_else(|| panic!("no {name}"));
        assert_eq!(uri["valueUri"], configuration[same], "{name}");
    }
    // An open server asks for no token, and says so by saying nothing.
    assert_eq!(Server::start().get("/metadata").expect(200).at("/rest/0/security"), Value::Null);
}

#[test]
fn the_public_address_is_what_documents_name() {
    let server = Server::with(|config| config.public_url = Some("https://fhir.example.org/".into()));
    let document = server.get("/.well-known/smart-configuration").expect(200).json();
    assert_eq!(document["issuer"], "https://fhir.example.org/fhir");
    assert_eq!(document["token_endpoint"], "https://fhir.example.org/auth/token");
    let off = Server::with(|config| config.auth.registration = pharos::config::Registration::Off);
    assert_eq!(off.get("/.well-known/smart-configuration").expect(200).at("/registration_endpoint"), Value::Null);
    Client::new(off.base().trim_end_matches("/fhir")).get("/.well-known/smart-configuration").expect(404);
}
