use super::super::client::Credentials;
use super::super::fixture::{START_S, client, server};
use super::super::records::ClientProof;
use super::*;
use crate::config::Auth;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair};
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::json;

const TENANT: TenantId = TenantId::DEFAULT;

/// A key of a client, and its public half under the name `k`.
fn new_key() -> (EncodingKey, Value) {
    let der = EcdsaKeyPair::generate_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, &SystemRandom::new()).unwrap();
    let key = EncodingKey::from_ec_der(der.as_ref());
    let mut jwk = Jwk::from_encoding_key(&key, Algorithm::ES384).unwrap();
    jwk.common.key_id = Some("k".into());
    (key, serde_json::to_value(jwk).unwrap())
}

fn head() -> Header {
    Header { kid: Some("k".into()), ..Header::new(Algorithm::ES384) }
}

fn claims() -> Value {
    json!({
        "iss": "service", "sub": "service", "aud": "https://pharos.example.org/auth/token", "exp": START_S + 300, "jti": "1",
    })
}

struct Setting {
    server: Arc<Server>,
    clock: Arc<super::super::fixture::StillClock>,
    key: EncodingKey,
}

impl Setting {
    async fn new() -> Self {
        let (server, clock) = server(Auth::default());
        let (key, public) = new_key();
        let proof = ClientProof::Keys { jwks: Some(json!({ "keys": [public] })), jwks_uri: None };
        for (id, proof) in [("service", proof.clone()), ("other", proof)] {
            let kept = records::put(id, &client(id, proof), Expect::Absent, None).unwrap();
            server.keeper.keep(TENANT, vec![kept]).await.unwrap();
        }
        Self { server, clock, key }
    }

    async fn send(&self, assertion: String) -> Result<String, OAuthError> {
        send(&self.server, assertion).await
    }

    /// Why an assertion with this head and these claims is refused.
    async fn refusal(&self, head: &Header, claims: &Value) -> String {
        let error = self.send(encode(head, claims, &self.key).unwrap()).await.expect_err("was taken");
        assert_eq!((error.code, error.description), ("invalid_client", OAuthError::client().description));
        error.log.expect("a reason for the log")
    }

    async fn refusal_with(&self, claim: &str, value: Value) -> String {
        let mut claims = claims();
        claims[claim] = value;
        self.refusal(&head(), &claims).await
    }
}

async fn send(server: &Server, assertion: String) -> Result<String, OAuthError> {
    let credentials = Credentials {
        client_assertion_type: Some("urn:ietf:params:oauth:client-assertion-type:jwt-bearer".into()),
        client_assertion: Some(assertion),
        ..Credentials::default()
    };
    server.authenticate(TENANT, &credentials).await.map(|client| client.client_id)
}

#[tokio::test]
async fn an_assertion_is_good_once() {
    let setting = Setting::new().await;
    let assertion = encode(&head(), &claims(), &setting.key).unwrap();
    assert_eq!(setting.send(assertion.clone()).await.unwrap(), "service");
    assert!(setting.send(assertion.clone()).await.unwrap_err().log.unwrap().contains("used before"));
    // Until the last moment in which it would be good otherwise.
    setting.clock.pass(329);
    assert!(setting.send(assertion.clone()).await.unwrap_err().log.unwrap().contains("used before"));
    setting.clock.pass(1);
    assert!(setting.send(assertion).await.unwrap_err().log.unwrap().contains("expired"));

    setting.clock.pass(-330);
    let of = async |sub: &str, jti: &str| {
        let claims = json!({ "iss": sub, "sub": sub, "aud": claims()["aud"], "exp": START_S + 60, "jti": jti });
        setting.send(encode(&head(), &claims, &setting.key).unwrap()).await
    };
    assert!(of("service", "2").await.is_ok(), "another jti");
    assert_eq!(of("other", "2").await.unwrap(), "other", "the same jti of another client");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_64_who_race_with_one_assertion_one_wins() {
    let setting = Setting::new().await;
    for round in 0..20 {
        let mut claims = claims();
        claims["jti"] = json!(format!("round {round}"));
        let assertion = encode(&head(), &claims, &setting.key).unwrap();
        let racing = (0..64).map(|_| {
            let (server, assertion) = (Arc::clone(&setting.server), assertion.clone());
            tokio::spawn(async move { send(&server, assertion).await.is_ok() })
        });
        let results = futures_util::future::join_all(racing).await;
        assert_eq!(results.into_iter().filter(|result| *result.as_ref().unwrap()).count(), 1);
    }
}

#[tokio::test]
async fn bad_assertions_are_refused() {
    let setting = Setting::new().await;
    assert!(setting.refusal_with("aud", json!("https://pharos.example.org/fhir")).await.contains("audience"));
    assert!(setting.refusal_with("aud", json!(["https://else.example.org/auth/token"])).await.contains("audience"));
    assert!(setting.refusal_with("iss", json!("other")).await.contains("issuer or subject"));
    assert!(setting.refusal_with("sub", json!("other")).await.contains("issuer or subject"));
    assert!(setting.refusal_with("exp", json!(START_S + 331)).await.contains("five minutes"));
    assert!(setting.refusal_with("exp", json!(1e300)).await.contains("five minutes"));
    assert!(setting.refusal_with("exp", json!(START_S - 30)).await.contains("expired"));
    assert!(setting.refusal_with("exp", json!("soon")).await.contains("claims"));
    assert!(setting.refusal_with("nbf", json!(START_S + 31)).await.contains("not valid yet"));
    assert!(setting.refusal_with("jti", json!("")).await.contains("jti"));
    for required in ["iss", "aud", "exp", "jti"] {
        let mut claims = claims();
        claims.as_object_mut().unwrap().remove(required);
        assert!(setting.refusal(&head(), &claims).await.contains("claims"), "{required}");
    }
    assert!(setting.refusal_with("sub", json!("nobody")).await.contains("not known"));

    assert!(setting.refusal(&Header { kid: None, ..head() }, &claims()).await.contains("kid"));
    assert!(setting.refusal(&Header { kid: Some("l".into()), ..head() }, &claims()).await.contains("not one of"));
    assert!(setting.refusal(&Header { typ: Some("at+jwt".into()), ..head() }, &claims()).await.contains("type"));

    let (foreign, _) = new_key();
    let forged = encode(&head(), &claims(), &foreign).unwrap();
    assert!(setting.send(forged).await.unwrap_err().log.unwrap().contains("signature"));
    let symmetric = Header { kid: Some("k".into()), ..Header::new(Algorithm::HS256) };
    let forged = encode(&symmetric, &claims(), &EncodingKey::from_secret(b"service")).unwrap();
    assert!(setting.send(forged).await.unwrap_err().log.unwrap().contains("algorithm"));
    // None of them used up the jti.
    assert!(setting.send(encode(&head(), &claims(), &setting.key).unwrap()).await.is_ok());
}
