use super::*;
use crate::auth::jwt::{self, VerifyingKey};
use crate::clock::FixedClock;
use crate::config::Auth;
use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jsonwebtoken::jwk::Jwk;
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use tempfile::TempDir;

const TENANT: TenantId = TenantId(7);

fn pem(folder: &TempDir, der: &[u8]) -> PathBuf {
    let path = folder.path().join(format!("{}.pem", std::fs::read_dir(folder).unwrap().count()));
    let text = format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", STANDARD.encode(der));
    std::fs::write(&path, text).unwrap();
    path
}

fn source(url: &str, key_file: &Path) -> ImportSource {
    ImportSource {
        url: url.to_owned(),
        tenant: TENANT.0,
        client_id: "me".into(),
        scopes: vec!["system/Patient.rs".into(), "system/Group.rs".into()],
        key_file: key_file.to_owned(),
        key_id: None,
        token_endpoint: None,
    }
}

fn credentials(sources: Vec<ImportSource>) -> Credentials {
    let auth = Auth { fetch_hosts: vec!["127.0.0.1".into()], fetch_private: true, ..Auth::default() };
    Credentials::new(sources, Fetcher::new(&auth), FixedClock::at(Micros(1_767_323_045_000_000)))
}

/// A host with a SMART configuration and a token endpoint, which answers the n-th request for a token so. What it was sent is kept.
struct Host {
    port: u16,
    asked: Arc<AtomicUsize>,
    sent: Arc<Mutex<Vec<String>>>,
}

impl Host {
    fn start(answer: impl Fn(usize) -> (u16, String) + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let host = Self { port, asked: Arc::default(), sent: Arc::default() };
        let (asked, sent) = (Arc::clone(&host.asked), Arc::clone(&host.sent));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                let (mut first, mut length, mut line) = (String::new(), 0, String::new());
                reader.read_line(&mut first).unwrap();
                while reader.read_line(&mut line).unwrap() > 2 {
                    if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                        length = value.trim().parse().unwrap();
                    }
                    line.clear();
                }
                let mut body = vec![0; length];
                reader.read_exact(&mut body).unwrap();
                let (status, text) = if first.starts_with("GET /base/.well-known/smart-configuration ") {
                    (200, format!(r#"{{"token_endpoint":"http://127.0.0.1:{port}/token"}}"#))
                } else {
                    sent.lock().unwrap().push(String::from_utf8(body).unwrap());
                    answer(asked.fetch_add(1, Ordering::SeqCst))
                };
                let head = format!(
                    "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                    text.len()
                );
                stream.write_all(format!("{head}{text}").as_bytes()).unwrap();
            }
        });
        host
    }

    fn base(&self) -> String {
        format!("http://127.0.0.1:{}/base", self.port)
    }
}

fn gives(nth: usize, life_s: u64) -> (u16, String) {
    (200, format!(r#"{{"access_token":"secret-{nth}","token_type":"bearer","expires_in":{life_s}}}"#))
}

fn ec(folder: &TempDir) -> PathBuf {
    let der = EcdsaKeyPair::generate_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, &SystemRandom::new()).unwrap();
    pem(folder, der.as_ref())
}

#[test]
fn a_token_is_kept_until_it_expires_or_is_refused() {
    let folder = TempDir::new().unwrap();
    let host = Host::start(|nth| gives(nth, if nth == 0 { 300 } else { 10 }));
    let credentials = credentials(vec![source(&host.base(), &ec(&folder))]);
    let file = format!("{}/files/1", host.base());
    let token = || credentials.token(TENANT, &file).unwrap().map(|token| token.to_string());
    assert_eq!((token(), token()), (Some("secret-0".into()), Some("secret-0".into())));
    credentials.forget(TENANT, &file);
    // Within ten seconds of its end, a token is not used any more.
    assert_eq!((token(), token()), (Some("secret-1".into()), Some("secret-2".into())));
    assert_eq!(host.asked.load(Ordering::SeqCst), 3);
}

#[test]
fn only_imports_of_the_tenant_use_it_and_only_below_the_address() {
    let folder = TempDir::new().unwrap();
    let host = Host::start(|nth| gives(nth, 300));
    let credentials = credentials(vec![source(&host.base(), &ec(&folder))]);
    let (base, port) = (host.base(), host.port);
    let others = [
        format!("{base}x/file"),
        format!("{base}/../file"),
        format!("http://127.0.0.1:{port}/"),
        format!("http://127.0.0.2:{port}/base/file"),
        format!("https://127.0.0.1:{port}/base/file"),
        "http://127.0.0.1/base/file".to_owned(),
    ];
    for other in &others {
        assert_eq!(credentials.token(TENANT, other).unwrap(), None, "{other}");
    }
    assert_eq!(credentials.token(TenantId::DEFAULT, &base).unwrap(), None);
    assert_eq!(host.asked.load(Ordering::SeqCst), 0);
    assert!(credentials.token(TENANT, &base).unwrap().is_some());
}

#[test]
fn the_assertion_is_as_smart_wants_it_for_either_kind_of_key() {
    let folder = TempDir::new().unwrap();
    let rsa = KeyPair::generate(KeySize::Rsa3072).unwrap();
    let rsa: aws_lc_rs::encoding::Pkcs8V1Der<'_> = rsa.as_der().unwrap();
    for (file, alg) in [(ec(&folder), "ES384"), (pem(&folder, rsa.as_ref()), "RS384")] {
        let key = SigningKey::from_pem_file(&file, None).unwrap();
        let host = Host::start(|nth| gives(nth, 300));
        let credentials = credentials(vec![source(&host.base(), &file)]);
        credentials.token(TENANT, &host.base()).unwrap().unwrap();
        let sent = host.sent.lock().unwrap().concat();
        let form: FxHashMap<String, String> = form_urlencoded::parse(sent.as_bytes()).into_owned().collect();
        let is = |name: &str, value: &str| assert_eq!(form.get(name).map(String::as_str), Some(value), "{name}");
        is("grant_type", "client_credentials");
        is("scope", "system/Patient.rs system/Group.rs");
        is("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer");
        let assertion = &form["client_assertion"];
        let head = jwt::head(assertion).unwrap();
        assert_eq!((format!("{:?}", head.alg).as_str(), head.kid.as_ref()), (alg, Some(&key.kid)));
        let public = VerifyingKey::of(&Jwk::from_encoding_key(&key.key, key.alg).unwrap()).unwrap();
        let claims: Value = public.open(assertion, 1_767_323_045, 1).unwrap();
        let endpoint = format!("http://127.0.0.1:{}/token", host.port);
        assert_eq!((&claims["iss"], &claims["sub"], &claims["aud"]), (&json!("me"), &json!("me"), &json!(endpoint)));
        assert_eq!(claims["exp"], 1_767_323_045 + ASSERTION_S);
        assert!(claims["jti"].as_str().is_some_and(|id| !id.is_empty()));
    }
}

#[test]
fn why_there_is_no_token_is_told_without_what_was_answered() {
    let folder = TempDir::new().unwrap();
    let key = ec(&folder);
    let refusal = |answer: (u16, &'static str)| {
        let host = Host::start(move |_| (answer.0, answer.1.to_owned()));
        credentials(vec![source(&host.base(), &key)]).token(TENANT, &host.base()).unwrap_err()
    };
    let refused = refusal((401, r#"{"error":"invalid_client","error_description":"secret-0"}"#));
    assert_eq!(refused.text, "Its token endpoint gives this server no token: invalid_client.");
    assert!(!refused.is_passing);
    let odd = refusal((200, r#"{"access_token":"secret-0"}"#));
    assert!(odd.text.contains("can't be read") && !odd.text.contains("secret"), "{odd:?}");

    let host = Host::start(|nth| gives(nth, 300));
    let with = |change: &dyn Fn(&mut ImportSource)| {
        let mut source = source(&host.base(), &key);
        change(&mut source);
        credentials(vec![source]).token(TENANT, &host.base()).unwrap_err()
    };
    let elsewhere = with(&|source| source.token_endpoint = Some("https://169.254.169.254/token".into()));
    assert!(elsewhere.text.contains("bulk.import_hosts"), "{elsewhere:?}");
    let missing = with(&|source| source.key_file = folder.path().join("none.pem"));
    assert!(missing.text.contains("the log says why") && !missing.is_passing, "{missing:?}");
    let weak = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new()).unwrap();
    let weak = pem(&folder, weak.as_ref());
    assert!(SigningKey::from_pem_file(&weak, None).is_err(), "SMART knows no such key");
    assert_eq!(host.asked.load(Ordering::SeqCst), 0);
}
