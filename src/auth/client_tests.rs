use super::super::fixture::{client, server};
use super::super::keeper::Expect;
use super::*;
use crate::config::Auth;
use serde_json::json;

const TENANT: TenantId = TenantId::DEFAULT;

async fn with_clients() -> std::sync::Arc<Server> {
    let (server, _) = server(Auth::default());
    let secret = |text: &str| ClientProof::Secret { sha256: secret::hash(text) };
    let keys = ClientProof::Keys { jwks: Some(json!({ "keys": [] })), jwks_uri: None };
    let disabled = Client { disabled: true, ..client("gone", secret("open sesame")) };
    let clients =
        [client("public", ClientProof::None), client("a b:c", secret("p+ö s%:")), client("service", keys), disabled];
    let kept = clients.map(|client| records::put(&client.client_id.clone(), &client, Expect::Absent, None).unwrap());
    server.keeper.keep(TENANT, kept.into()).await.unwrap();
    server
}

fn form(parameters: &[(&str, &str)], authorization: Option<&str>) -> Credentials {
    let value = |name: &str| parameters.iter().find(|(own, _)| *own == name).map(|(_, value)| (*value).to_owned());
    Credentials::of(authorization, value)
}

fn basic_header(both: &str) -> String {
    format!("Basic {}", STANDARD.encode(both))
}

#[tokio::test]
async fn each_by_its_own_method() {
    let server = with_clients().await;
    let who =
        async |credentials: Credentials| server.authenticate(TENANT, &credentials).await.map(|client| client.client_id);
    assert_eq!(who(form(&[("client_id", "public")], None)).await.unwrap(), "public");
    assert_eq!(who(form(&[("client_id", "public"), ("client_secret", "")], None)).await.unwrap(), "public");
    assert_eq!(who(form(&[("client_id", "a b:c"), ("client_secret", "p+ö s%:")], None)).await.unwrap(), "a b:c");
    let header = basic_header("a+b%3Ac:p%2B%C3%B6%20s%25%3A");
    assert_eq!(who(form(&[], Some(&header))).await.unwrap(), "a b:c");
    assert_eq!(who(form(&[("client_id", "a b:c")], Some(&header.replace("Basic", "basic")))).await.unwrap(), "a b:c");
}

/// An unknown client, one that is switched off, a wrong secret and a wrong method: none can be told from another.
#[tokio::test]
async fn all_that_is_not_good_is_the_same() {
    let server = with_clients().await;
    let basic = basic_header;
    let cases = [
        form(&[("client_id", "nobody")], None),
        form(&[("client_id", "nobody"), ("client_secret", "x")], None),
        form(&[("client_id", "gone"), ("client_secret", "open sesame")], None),
        form(&[("client_id", "a b:c"), ("client_secret", "wrong")], None),
        form(&[("client_id", "a b:c"), ("client_secret", &secret::hash("p+ö s%:"))], None),
        form(&[("client_id", "a b:c")], None),
        form(&[("client_id", "service")], None),
        form(&[("client_id", "service"), ("client_secret", "x")], None),
        form(&[("client_id", "public"), ("client_secret", "x")], None),
        form(&[("client_id", "public"), ("client_assertion_type", JWT_BEARER), ("client_assertion", "a.b.c")], None),
        form(&[("client_id", &"x".repeat(100_000))], None),
        form(&[], None),
        form(&[], Some(&basic("a+b%3Ac:wrong"))),
        form(&[], Some(&basic("public:"))),
        form(&[], Some(&basic("no colon"))),
        form(&[], Some("Basic ?")),
        form(&[], Some("Bearer abc")),
        form(&[("client_id", "public")], Some(&basic("a+b%3Ac:p%2B%C3%B6%20s%25%3A"))),
    ];
    for (n, credentials) in cases.iter().enumerate() {
        let error = server.authenticate(TENANT, credentials).await.expect_err(&n.to_string());
        assert_eq!((error.code, error.description), ("invalid_client", OAuthError::client().description), "case {n}");
        assert_eq!(OAuthError::client().status(), 401);
    }
    let elsewhere = server.authenticate(TenantId(7), &form(&[("client_id", "public")], None)).await;
    assert_eq!(elsewhere.unwrap_err().code, "invalid_client", "another tenant");
}

#[tokio::test]
async fn two_methods_at_once_are_refused() {
    let server = with_clients().await;
    let header = basic_header("a+b%3Ac:p%2B%C3%B6%20s%25%3A");
    let both = [
        form(&[("client_secret", "p+ö s%:")], Some(&header)),
        form(&[("client_assertion", "a.b.c"), ("client_assertion_type", JWT_BEARER)], Some(&header)),
        form(&[("client_secret", "x"), ("client_assertion", "a.b.c"), ("client_assertion_type", JWT_BEARER)], None),
        form(&[("client_id", "service"), ("client_assertion", "a.b.c")], None),
        form(&[("client_id", "service"), ("client_assertion", "a.b.c"), ("client_assertion_type", "saml")], None),
    ];
    for credentials in &both {
        assert_eq!(server.authenticate(TENANT, credentials).await.unwrap_err().code, "invalid_request");
    }
}
