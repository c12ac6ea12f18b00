use super::super::client::Credentials;
use super::super::fixture::{StillClock, server};
use super::*;
use crate::auth::records::{self, Authorization, Record};
use crate::config::Auth;
use crate::error::Category;
use std::sync::Arc;

const TENANT: TenantId = TenantId::DEFAULT;

fn open() -> (Arc<Server>, Arc<StillClock>) {
    server(Auth { registration: Registration::Open, fetch_hosts: vec!["keys.example.org".into()], ..Auth::default() })
}

fn ec_key(kid: &str) -> Value {
    json!({
        "kty": "EC", "crv": "P-256", "kid": kid,
        "x": "axfR8uEsQkf4vOblY6RA8ncDfYEt6zOg9KE5RdiYwpY", "y": "T-NC4v4af5uO5-tKfA-eFivOM1drMV7Oy7ZAaDe_UfU",
    })
}

#[tokio::test]
async fn a_client_registers_and_uses_its_secret() {
    let (server, _) = open();
    let given = json!({
        "client_name": "Growth Chart", "redirect_uris": ["https://app.example.org/back"], "logo_uri": "https://app.example.org/logo.png",
        "scope": "launch/patient patient/*.rs offline_access nonsense", "unknown_member": 1,
    });
    let registered = server.register(TENANT, &given, Registrant::Anyone).await.unwrap();
    let secret = registered.secret.clone().unwrap();
    assert_eq!(
        registered.to_json(),
        json!({
            "client_id": "id-1", "client_id_issued_at": super::super::fixture::START_S, "client_name": "Growth Chart",
            "client_secret": secret, "client_secret_expires_at": 0, "token_endpoint_auth_method": "client_secret_basic",
            "redirect_uris": ["https://app.example.org/back"], "grant_types": ["authorization_code", "refresh_token"],
            "response_types": ["code"], "scope": "launch/patient patient/*.rs offline_access",
            "origins": ["https://app.example.org"], "logo_uri": "https://app.example.org/logo.png",
        })
    );
    let with = |secret: &str| Credentials {
        client_id: Some("id-1".into()),
        client_secret: Some(secret.into()),
        ..Credentials::default()
    };
    assert!(server.authenticate(TENANT, &with(&secret)).await.is_ok());
    assert!(!metadata(&server.client_by_id(TENANT, "id-1").unwrap().unwrap().0).to_string().contains(&secret));

    // Replacing keeps the secret; another secret makes the old one bad; a client that is off or gone is unknown.
    let replaced = server.put_client(TENANT, "id-1", &given, Registrant::Admin).await.unwrap();
    assert!(replaced.secret.is_none() && server.authenticate(TENANT, &with(&secret)).await.is_ok());
    let next = server.rotate_secret(TENANT, "id-1", None).await.unwrap();
    assert!(server.authenticate(TENANT, &with(&secret)).await.is_err());
    assert!(server.authenticate(TENANT, &with(&next)).await.is_ok());
    server.disable_client(TENANT, "id-1", None, true).await.unwrap();
    assert_eq!(server.authenticate(TENANT, &with(&next)).await.unwrap_err().code, "invalid_client");
    server.disable_client(TENANT, "id-1", None, false).await.unwrap();
    assert!(server.authenticate(TENANT, &with(&next)).await.is_ok());
    assert_eq!(server.clients(TENANT, None, 10).unwrap().len(), 1);
    server.remove_client(TENANT, "id-1", None).await.unwrap();
    assert_eq!(server.remove_client(TENANT, "id-1", None).await.unwrap_err().category, Category::NotFound);
    assert_eq!(server.authenticate(TENANT, &with(&next)).await.unwrap_err().code, "invalid_client");
}

#[tokio::test]
async fn what_was_granted_goes_with_its_client() {
    let (server, _) = open();
    let of = |id: &str, client: &str| {
        let record = Authorization {
            id: id.into(),
            client_id: client.into(),
            user: "u".into(),
            scopes: Scopes::default(),
            context: records::LaunchContext::default(),
            created: 0,
            auth_time: 0,
            nonce: None,
            session: None,
            refresh: 0,
            refresh_secret: String::new(),
            break_glass: None,
        };
        records::put(id, &record, Expect::Absent, None).unwrap()
    };
    let given = json!({ "redirect_uris": ["https://app.example.org/"], "token_endpoint_auth_method": "none" });
    server.put_client(TENANT, "app", &given, Registrant::Admin).await.unwrap();
    server.keeper.keep(TENANT, vec![of("u~1", "app"), of("u~2", "other"), of("v~1", "app")]).await.unwrap();
    server.remove_client(TENANT, "app", None).await.unwrap();
    let left = server.keeper.list(TENANT, Authorization::KIND, "", None, 10).unwrap();
    assert_eq!(left.iter().map(|kept| &*kept.id).collect::<Vec<_>>(), ["u~2"]);
}

#[test]
fn where_codes_may_be_sent() {
    for good in [
        "https://app.example.org/back?x=y",
        "http://localhost:3000/",
        "http://127.0.0.1:1234/cb",
        "http://[::1]/cb",
        "org.example.app:/back",
        "org.example.app://back",
    ] {
        assert!(may_redirect_to(good), "{good}");
    }
    for bad in [
        "http://app.example.org/",
        "http://localhost.evil.org/",
        "http://127.0.0.1.evil.org/",
        "https://app.example.org/#x",
        "https://*.example.org/",
        "https://app.example.org/*",
        "https://me@app.example.org/",
        "https://good.org@evil.org/",
        "javascript:alert(1)",
        "data:text/html,x",
        "file:///etc/passwd",
        "myapp://back",
        "//app.example.org/",
        "/back",
        "",
        "https://",
        "https://app.example.org\\@evil.org/",
        "https://app.example.org/ x",
        "https://app.example.org/\n",
        "https://äpp.example.org/",
        "urn:ietf:wg:oauth:2.0:oob",
    ] {
        assert!(!may_redirect_to(bad), "{bad}");
    }
}

#[tokio::test]
async fn bad_metadata_is_refused() {
    let (server, _) = open();
    let code = async |mut given: Value, by| {
        let defaults = json!({ "redirect_uris": ["https://app.example.org/"] });
        for (name, value) in defaults.as_object().unwrap() {
            given.as_object_mut().unwrap().entry(name).or_insert(value.clone());
        }
        server.register(TENANT, &given, by).await.map_or_else(|error| error.code, |_| "good")
    };
    let keys = |key: Value| json!({ "token_endpoint_auth_method": "private_key_jwt", "jwks": { "keys": [key] } });
    let mut private = ec_key("k");
    private["d"] = json!("AAAA");
    let mut unnamed = ec_key("k");
    unnamed.as_object_mut().unwrap().remove("kid");
    let backend = json!({
        "token_endpoint_auth_method": "private_key_jwt", "jwks_uri": "https://keys.example.org/jwks", "grant_types": ["client_credentials"],
        "redirect_uris": [], "scope": "system/*.rs",
    });
    for good in [
        json!({}),
        json!({ "token_endpoint_auth_method": "none" }),
        keys(ec_key("k")),
        json!({ "response_types": ["code"] }),
    ] {
        assert_eq!(code(good.clone(), Registrant::Anyone).await, "good", "{good}");
    }
    assert_eq!(code(backend.clone(), Registrant::Admin).await, "good");
    assert_eq!(code(backend, Registrant::Anyone).await, "invalid_client_metadata");
    for bad in [
        json!({ "redirect_uris": [] }),
        json!({ "redirect_uris": ["http://app.example.org/"] }),
        json!({ "redirect_uris": "https://a.org/" }),
        json!({ "redirect_uris": [7] }),
        json!({ "redirect_uris": ["https://a.org/", "https://a.org/#x"] }),
    ] {
        assert_eq!(code(bad.clone(), Registrant::Admin).await, "invalid_redirect_uri", "{bad}");
    }
    let mut both = keys(ec_key("k"));
    both["jwks_uri"] = json!("https://keys.example.org/jwks");
    for bad in [
        both,
        keys(private),
        keys(unnamed),
        keys(json!({ "kty": "oct", "kid": "k", "k": "AAAA" })),
        keys(json!({ "kty": "RSA", "kid": "k", "n": "AQAB", "e": "AQAB" })),
        json!({ "token_endpoint_auth_method": "private_key_jwt" }),
        json!({ "token_endpoint_auth_method": "tls_client_auth" }),
        json!({ "token_endpoint_auth_method": "none", "jwks_uri": "https://keys.example.org/jwks" }),
        json!({ "token_endpoint_auth_method": "private_key_jwt", "jwks_uri": "https://evil.example.org/jwks" }),
        json!({ "token_endpoint_auth_method": "private_key_jwt", "jwks_uri": "http://169.254.169.254/" }),
        json!({ "grant_types": ["client_credentials", "authorization_code"] }),
        json!({ "grant_types": ["password"] }),
        json!({ "grant_types": [] }),
        json!({ "response_types": ["token"] }),
        json!({ "scope": "nonsense" }),
        json!({ "scope": 7 }),
        json!({ "client_name": "" }),
        json!({ "client_name": "a\u{0}b" }),
        json!({ "logo_uri": "javascript:alert(1)" }),
        json!({ "client_uri": "https://a.org/\"><script>" }),
    ] {
        assert_eq!(code(bad.clone(), Registrant::Admin).await, "invalid_client_metadata", "{bad}");
    }
    assert_eq!(
        server.register(TENANT, &json!([]), Registrant::Admin).await.unwrap_err().code,
        "invalid_client_metadata"
    );
    let secret = json!({ "client_name": 7, "scope": "Eve's secret" });
    assert!(!server.register(TENANT, &secret, Registrant::Admin).await.unwrap_err().description.contains("Eve"));
    for id in ["", "a b", "a~b/c", &"x".repeat(129)] {
        assert_eq!(
            server.put_client(TENANT, id, &json!({}), Registrant::Admin).await.unwrap_err().code,
            "invalid_request"
        );
    }
}

#[tokio::test]
async fn nobody_vouches_for_who_registers_openly() {
    let (server, _) = server(Auth { registration: Registration::Open, open_clients: 2, ..Auth::default() });
    let wide = "openid admin make_launch introspect system/*.rs user/*.rs patient/*.rs";
    let given = json!({ "redirect_uris": ["https://app.example.org/"], "scope": wide });
    let register = async |by| server.register(TENANT, &given, by).await.map(|registered| registered.client);
    let nothing = json!({ "redirect_uris": ["https://app.example.org/"], "scope": "admin system/*.rs" });
    let refused = server.register(TENANT, &nothing, Registrant::Anyone).await.unwrap_err();
    assert_eq!(refused.code, "invalid_client_metadata");
    let first = register(Registrant::Anyone).await.unwrap();
    assert_eq!(first.scopes.to_string(), "openid user/*.rs patient/*.rs");
    assert_eq!(register(Registrant::Admin).await.unwrap().scopes.to_string(), wide);
    register(Registrant::Anyone).await.unwrap();
    assert_eq!(register(Registrant::Anyone).await.unwrap_err().code, "access_denied");
    // One that an administrator looked at, and one that is removed, make room.
    server.replace_client(TENANT, &first.client_id, None, &given).await.unwrap();
    let third = register(Registrant::Anyone).await.unwrap();
    assert!(register(Registrant::Anyone).await.is_err());
    server.remove_client(TENANT, &third.client_id, None).await.unwrap();
    assert!(register(Registrant::Anyone).await.is_ok());
}

#[tokio::test]
async fn who_may_register_is_a_setting() {
    let given = json!({ "redirect_uris": ["https://app.example.org/"] });
    let code = async |registration, by| {
        let (server, _) = server(Auth { registration, ..Auth::default() });
        server.register(TENANT, &given, by).await.map_or_else(|error| error.code, |_| "good")
    };
    assert_eq!(code(Registration::Off, Registrant::Admin).await, "access_denied");
    assert_eq!(code(Registration::Admin, Registrant::Anyone).await, "access_denied");
    assert_eq!(code(Registration::Admin, Registrant::Admin).await, "good");
    assert_eq!(code(Registration::Open, Registrant::Anyone).await, "good");
}
