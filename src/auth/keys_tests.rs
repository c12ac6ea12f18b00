use super::super::fixture::{START_S, server};
use super::super::keeper::{Entry, Keeper, SharedKeeper};
use super::super::memory::Memory;
use super::super::scope::Scopes;
use super::*;
use crate::clock::SystemClock;
use crate::config::Auth;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::future::{BoxFuture, ready};
use jsonwebtoken::{Header, encode};
use serde_json::{Value, json};

const TENANT: TenantId = TenantId::DEFAULT;

fn claims(tenant: TenantId) -> AccessClaims {
    AccessClaims {
        iss: "https://pharos.example.org/fhir".into(),
        aud: "https://pharos.example.org/fhir".into(),
        sub: "user-1".into(),
        client_id: "app".into(),
        scope: Scopes::parse("patient/*.rs"),
        iat: START_S,
        exp: START_S + 300,
        jti: "t-1".into(),
        sid: None,
        tenant: tenant.0,
        patient: Some("eve".into()),
        encounter: None,
        fhir_user: None,
    }
}

/// Why the server refuses a token; the client hears the same of all.
fn refusal(server: &Server, token: &str) -> String {
    let error = server.verify_access(TENANT, token).expect_err("a bad token was taken");
    assert_eq!((error.code, &*error.description), ("invalid_token", "The access token is not good."));
    error.log.expect("a reason for the log")
}

fn with_part(token: &str, index: usize, change: impl FnOnce(&mut Value)) -> String {
    let mut parts: Vec<String> = token.split('.').map(str::to_owned).collect();
    let mut json: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(&parts[index]).unwrap()).unwrap();
    change(&mut json);
    parts[index] = URL_SAFE_NO_PAD.encode(json.to_string());
    parts.join(".")
}

#[tokio::test]
async fn a_token_says_what_was_signed() {
    let (server, _) = server(Auth::default());
    let token = server.sign_access(TENANT, &claims(TENANT)).await.unwrap();
    assert_eq!(server.verify_access(TENANT, &token).unwrap(), claims(TENANT));
    let head = jwt::head(&token).unwrap();
    assert_eq!((head.alg, head.typ.as_deref()), (Algorithm::ES256, Some("at+jwt")));
    let jwks = server.jwks(TENANT).await.unwrap();
    let algorithms: Vec<_> = jwks["keys"].as_array().unwrap().iter().map(|key| key["alg"].clone()).collect();
    assert_eq!(algorithms, ["ES256", "RS256"]);
    assert_eq!(jwks["keys"][0]["kid"], head.kid.unwrap());
    assert!(jwks["keys"].as_array().unwrap().iter().all(|key| key.get("d").is_none() && key["use"] == "sig"));

    let id_token = server.sign_id(TENANT, &json!({ "sub": "user-1", "exp": START_S + 1 })).await.unwrap();
    let jwk: Jwk = serde_json::from_value(jwks["keys"][1].clone()).unwrap();
    let opened: Value = VerifyingKey::of(&jwk).unwrap().open(&id_token, START_S, 0).unwrap();
    assert_eq!(opened["sub"], "user-1");
    assert!(refusal(&server, &id_token).contains("type"), "an ID token is no access token");
}

#[tokio::test]
async fn bad_tokens_are_refused() {
    let (server, clock) = server(Auth::default());
    let token = server.sign_access(TENANT, &claims(TENANT)).await.unwrap();
    let (signed, signature) = token.rsplit_once('.').unwrap();

    assert!(refusal(&server, &with_part(&token, 1, |claims| claims["patient"] = json!("adam"))).contains("signature"));
    assert!(refusal(&server, &with_part(&token, 0, |head| head["alg"] = json!("none"))).contains("algorithm"));
    assert!(
        refusal(&server, &format!("{}.", with_part(signed, 0, |head| head["alg"] = json!("none"))))
            .contains("algorithm")
    );
    assert!(refusal(&server, &with_part(&token, 0, |head| head["alg"] = json!("ES384"))).contains("algorithm"));
    assert!(refusal(&server, &with_part(&token, 0, |head| head["typ"] = json!("JWT"))).contains("type"));
    assert!(
        refusal(&server, &with_part(&token, 0, |head| drop(head.as_object_mut().unwrap().remove("typ"))))
            .contains("type")
    );
    assert!(refusal(&server, &with_part(&token, 0, |head| head["kid"] = json!("another"))).contains("not known"));
    assert!(
        refusal(&server, &with_part(&token, 0, |head| drop(head.as_object_mut().unwrap().remove("kid"))))
            .contains("not known")
    );
    assert!(refusal(&server, &with_part(&token, 0, |head| head["crit"] = json!(["exp"]))).contains("malformed"));
    assert!(refusal(&server, &format!("{token}=")).contains("signature"));
    for malformed in ["", ".", "..", "a.b.c", signed, &format!("{token}.{signature}"), &"a".repeat(1 << 20)] {
        assert!(refusal(&server, malformed).contains("malformed"), "{malformed}");
    }

    clock.pass(300 + 29);
    assert!(server.verify_access(TENANT, &token).is_ok(), "clocks may be off by 30 s");
    clock.pass(1);
    assert!(refusal(&server, &token).contains("expired"));
    clock.pass(-1_000);
    assert!(refusal(&server, &token).contains("not valid yet"));
}

#[tokio::test]
async fn tokens_for_others_are_refused() {
    let (server, _) = server(Auth::default());
    let signed = async |change: fn(&mut AccessClaims)| {
        let mut claims = claims(TENANT);
        change(&mut claims);
        server.sign_access(TENANT, &claims).await.unwrap()
    };
    assert!(
        refusal(&server, &signed(|claims| claims.aud = "https://else.example.org/fhir".into()).await)
            .contains("audience")
    );
    assert!(
        refusal(&server, &signed(|claims| claims.iss = "https://else.example.org/fhir".into()).await)
            .contains("issuer")
    );
    assert!(refusal(&server, &signed(|claims| claims.tenant = 7).await).contains("tenant"));

    let foreign = TenantId(7);
    let base = server.base(foreign);
    let of_foreign = AccessClaims { iss: base.clone(), aud: base, ..claims(foreign) };
    let token = server.sign_access(foreign, &of_foreign).await.unwrap();
    assert!(server.verify_access(foreign, &token).is_ok());
    assert!(refusal(&server, &token).contains("not known"), "a key of another tenant");
}

/// Keys that an attacker has, under the name of the server's: the public key as the secret of HS256, another key of the right
/// kind, and the server's own RSA key, which is for ID tokens.
#[tokio::test]
async fn tokens_of_other_keys_are_refused() {
    let (server, _) = server(Auth::default());
    let jwks = server.jwks(TENANT).await.unwrap();
    let sign = |alg, kid: &Value, key: &EncodingKey| {
        let mut head = Header::new(alg);
        head.typ = Some(ACCESS_TOKEN.into());
        head.kid = Some(kid.as_str().unwrap().to_owned());
        encode(&head, &claims(TENANT), key).unwrap()
    };
    let [ec, rsa] = [&jwks["keys"][0], &jwks["keys"][1]];
    let public = URL_SAFE_NO_PAD.decode(ec["x"].as_str().unwrap()).unwrap();
    for secret in [public, ec.to_string().into_bytes(), ec["x"].as_str().unwrap().into()] {
        let token = sign(Algorithm::HS256, &ec["kid"], &EncodingKey::from_secret(&secret));
        assert!(refusal(&server, &token).contains("algorithm"));
    }

    let (other, _) = Key::make(Purpose::Access, 1, START_S).unwrap().load().unwrap();
    assert!(refusal(&server, &sign(Algorithm::ES256, &ec["kid"], &other.key)).contains("signature"));

    let set = server.key_set(TENANT).unwrap();
    let own = &set.newest(Purpose::Id).unwrap().signing.key;
    assert!(refusal(&server, &sign(Algorithm::RS256, &rsa["kid"], own)).contains("not known"));
    assert!(refusal(&server, &sign(Algorithm::RS256, &ec["kid"], own)).contains("algorithm"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_who_need_the_first_key_all_use_one() {
    let (server, _) = server(Auth::default());
    // Servers of other processes over the same store, so that no lock in memory helps.
    let others = (0..16).map(|_| {
        Arc::new(Server::new(
            Arc::clone(&server.keeper),
            Arc::clone(&server.clock),
            Auth::default(),
            &server.public_url,
        ))
    });
    let signing =
        others.map(|other| tokio::spawn(async move { other.sign_access(TENANT, &claims(TENANT)).await.unwrap() }));
    let tokens = futures_util::future::join_all(signing).await;
    let kids: std::collections::HashSet<_> =
        tokens.iter().map(|token| jwt::head(token.as_ref().unwrap()).unwrap().kid).collect();
    assert_eq!(kids.len(), 1);
    assert_eq!(server.key_set(TENANT).unwrap().keys.len(), 1);
}

#[tokio::test]
async fn a_replaced_key_verifies_until_its_tokens_are_over() {
    let (server, clock) = server(Auth { access_token_lifetime_s: 2 * 86_400, ..Auth::default() });
    let long = AccessClaims { exp: START_S + 2 * 86_400, ..claims(TENANT) };
    let old = server.sign_access(TENANT, &long).await.unwrap();
    server.rotate_keys(TENANT, false).await.unwrap();
    let new = server.sign_access(TENANT, &long).await.unwrap();
    assert_ne!(jwt::head(&old).unwrap().kid, jwt::head(&new).unwrap().kid);
    assert!(server.verify_access(TENANT, &old).is_ok() && server.verify_access(TENANT, &new).is_ok());
    assert_eq!(server.jwks(TENANT).await.unwrap()["keys"].as_array().unwrap().len(), 3, "two of ES256, one of RS256");

    clock.pass(2 * 86_400 + 29);
    assert!(server.verify_access(TENANT, &old).is_ok());
    clock.pass(1);
    assert!(
        refusal(&server, &old).contains("not known"),
        "nothing else changed, so the keys in memory are those of before"
    );
    let keys = server.jwks(TENANT).await.unwrap();
    assert_eq!(keys["keys"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn keys_are_replaced_when_they_are_old_and_at_once_when_they_are_known() {
    let (server, clock) = server(Auth::default());
    let kid = async |exp| {
        let token = server.sign_access(TENANT, &AccessClaims { exp, ..claims(TENANT) }).await.unwrap();
        (jwt::head(&token).unwrap().kid, token)
    };
    let (first, token) = kid(i64::MAX).await;
    clock.pass(90 * 86_400 - 1);
    assert_eq!(kid(i64::MAX).await.0, first);
    clock.pass(1);
    let (second, _) = kid(i64::MAX).await;
    assert_ne!(second, first);
    assert!(server.verify_access(TENANT, &token).is_ok());
    server.rotate_keys(TENANT, true).await.unwrap();
    assert!(refusal(&server, &token).contains("not known"));
    assert_ne!(kid(i64::MAX).await.0, second);
}

/// A keeper that finds the first changes stale, and counts the entries of those that were kept.
struct Overtaken {
    inner: Arc<Memory>,
    /// How often it was asked for changes.
    asked: Mutex<usize>,
    told: Mutex<Vec<usize>>,
    /// How many of the first are stale.
    stale: usize,
}

impl Keeper for Overtaken {
    fn get(&self, tenant: TenantId, kind: &'static str, id: &str) -> Result<Option<Kept>, KeeperError> {
        self.inner.get(tenant, kind, id)
    }

    fn list(
        &self,
        tenant: TenantId,
        kind: &'static str,
        prefix: &str,
        after: Option<&str>,
        count: usize,
    ) -> Result<Vec<Kept>, KeeperError> {
        self.inner.list(tenant, kind, prefix, after, count)
    }

    fn keep_told(
        &self,
        tenant: TenantId,
        changes: Vec<Keep>,
        told: Vec<(TenantId, Entry)>,
    ) -> BoxFuture<'static, Result<(), KeeperError>> {
        let mut asked = self.asked.lock().unwrap();
        *asked += 1;
        if *asked <= self.stale {
            return Box::pin(ready(Err(KeeperError::Stale(0))));
        }
        self.told.lock().unwrap().push(told.len());
        self.inner.keep_told(tenant, changes, told)
    }

    fn epoch(&self, tenant: TenantId) -> u64 {
        self.inner.epoch(tenant)
    }
}

#[tokio::test]
async fn the_first_change_that_is_kept_tells_of_all() {
    for (stale, expected) in [(0, [1_usize, 0, 0].as_slice()), (1, &[1, 0]), (2, &[1])] {
        let clock: Arc<dyn crate::clock::Clock> = Arc::new(SystemClock);
        let (inner, asked, told) = (Memory::new(Arc::clone(&clock)), Mutex::default(), Mutex::default());
        let keeper = Arc::new(Overtaken { inner, asked, told, stale });
        let shared = Arc::clone(&keeper) as SharedKeeper;
        let server = Server::new(shared, clock, Auth::default(), "https://pharos.example.org");
        let entry = Entry { time: Micros(1), bytes: Box::from([]) };
        let witness = Arc::new(Witness::new(move |_| Ok(vec![(TENANT, entry.clone())])));
        server.recording(&witness).rotate_keys(TENANT, true).await.unwrap();
        assert_eq!(*keeper.told.lock().unwrap(), expected, "{stale}");
        assert!(witness.has_told());
    }
}
