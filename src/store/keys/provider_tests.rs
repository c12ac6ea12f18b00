//! Vault and AWS KMS, played by a small server that looks at each request.

use super::aws_kms::AwsKms;
use super::sigv4::{Credentials, Scope, Unsigned, authorization};
use super::*;
use crate::config::{AwsKmsKey, VaultKey};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

const ABOUT: About = About { owner: TenantId(7), generation: 2 };
const OTHER: About = About { owner: TenantId(8), generation: 2 };

/// A request as it came.
struct Heard {
    path: String,
    headers: HashMap<String, String>,
    body: Vec<u8>,
}

impl Heard {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// Serves on a port of its own, and gives the address.
fn serve(answer: impl Fn(&Heard) -> (u16, Value) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let mut connection = connection.unwrap();
            let mut reader = BufReader::new(connection.try_clone().unwrap());
            let lines = reader.by_ref().lines().map_while(Result::ok).take_while(|line| !line.is_empty());
            let lines = lines.collect::<Vec<_>>();
            let Some(path) = lines.first().and_then(|line| line.split(' ').nth(1)) else { continue };
            let headers = lines.iter().filter_map(|line| line.split_once(": "));
            let headers: HashMap<_, _> = headers.map(|(name, value)| (name.to_lowercase(), value.to_owned())).collect();
            let mut body = vec![0; headers["content-length"].parse().unwrap()];
            reader.read_exact(&mut body).unwrap();
            let (status, text) = answer(&Heard { path: path.to_owned(), headers, body });
            let text = text.to_string();
            let head = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", text.len());
            // Who asked may have gone.
            let _gone = connection.write_all(head.as_bytes()).and_then(|()| connection.write_all(text.as_bytes()));
        }
    });
    address
}

/// Keys of Vault's form, by what it answered.
#[derive(Default)]
struct FakeVault {
    known: HashMap<String, (Value, Value)>,
    version: u32,
}

impl FakeVault {
    fn answer(&mut self, heard: &Heard) -> (u16, Value) {
        let body = heard.json();
        if heard.header("x-vault-token") != "s.secret" || heard.header("x-vault-namespace") != "clinic" {
            return (403, json!({ "errors": ["permission denied"] }));
        }
        match heard.path.as_str() {
            "/v1/engines/transit/encrypt/pharos" => {
                let text = format!("vault:v{}:{}", self.version, self.known.len());
                self.known.insert(text.clone(), (body["plaintext"].clone(), body["associated_data"].clone()));
                (200, json!({ "data": { "ciphertext": text, "key_version": self.version } }))
            }
            "/v1/engines/transit/decrypt/pharos" => match self.known.get(body["ciphertext"].as_str().unwrap()) {
                Some((plain, about)) if *about == body["associated_data"] => {
                    (200, json!({ "data": { "plaintext": plain } }))
                }
                _ => (400, json!({ "errors": ["cipher: message authentication failed"] })),
            },
            path => (404, json!({ "errors": [path] })),
        }
    }
}

fn vault_at(address: String, folder: &tempfile::TempDir) -> Keys {
    let token_file = folder.path().join("token");
    let vault = VaultKey {
        address,
        mount: "engines/transit".into(),
        token_file: Some(token_file),
        namespace: Some("clinic".into()),
        ..VaultKey::default()
    };
    Keys { provider: KeyProvider::Vault, vault, timeout_ms: 300, ..Keys::default() }
}

fn master(keys: &Keys) -> Arc<dyn Master> {
    Masters::of(keys, Path::new("none"), false).unwrap().current
}

#[test]
fn vault_wraps_and_unwraps() {
    let folder = tempfile::tempdir().unwrap();
    let vault = Arc::new(Mutex::new(FakeVault { version: 1, ..FakeVault::default() }));
    let playing = Arc::clone(&vault);
    let keys = vault_at(serve(move |heard| playing.lock().unwrap().answer(heard)), &folder);
    let vault_key = master(&keys);
    assert_eq!(vault_key.id(), "vault:engines/transit/pharos");
    let secret = Zeroizing::new([5; 32]);
    assert!(vault_key.wrap(ABOUT, &secret).unwrap_err().to_string().contains("token"), "there is no token");
    std::fs::write(folder.path().join("token"), "s.secret\n").unwrap();
    let wrapped = vault_key.wrap(ABOUT, &secret).unwrap();
    assert_eq!((wrapped.version, &wrapped.bytes[..]), (1, &b"vault:v1:0"[..]));
    assert_eq!(vault_key.unwrap(ABOUT, &wrapped).unwrap(), secret);
    let refused = vault_key.unwrap(OTHER, &wrapped).unwrap_err().to_string();
    assert_eq!(refused, "it refused: status 400: cipher: message authentication failed");
    assert!(vault_key.secret().is_none());

    // Its key was rotated there: here all is wrapped anew by the newest version.
    let table = || Box::new(Folder::new(folder.path().join("keys")));
    let open = || Keyring::open(Masters { current: master(&keys), older: Vec::new() }, table());
    let ring = open().unwrap();
    ring.ensure(TenantId(7)).unwrap();
    vault.lock().unwrap().version = 2;
    assert_eq!(ring.rotate_master().unwrap(), 1);
    assert_eq!(ring.facts(TenantId(7))[0].version, 2);
    assert!(ring.escrow(b"").unwrap_err().to_string().contains("never leaves its provider"));
    open().unwrap();
    // The token ends: what is unwrapped goes on, and the next start says why not.
    std::fs::write(folder.path().join("token"), "s.ended").unwrap();
    assert!(ring.ensure(TenantId(7)).is_ok() && ring.ensure(TenantId(9)).is_err());
    let told = open().err().unwrap().to_string();
    assert!(told.contains("vault:engines/transit/pharos") && told.contains("403: permission denied"), "{told}");
    // It answers with another key.
    std::fs::write(folder.path().join("token"), "s.secret").unwrap();
    for (plain, _) in vault.lock().unwrap().known.values_mut() {
        *plain = STANDARD.encode([6; 32]).into();
    }
    assert!(open().err().unwrap().to_string().contains("answered with another key"));
    for (plain, _) in vault.lock().unwrap().known.values_mut() {
        *plain = STANDARD.encode([6; 31]).into();
    }
    assert!(open().err().unwrap().to_string().contains("not a key of 32 bytes"));
}

fn credentials() -> Credentials {
    let (secret_key, token) = ("secret key".to_owned(), "session".to_owned());
    Credentials {
        access_key: "AKIDEXAMPLE".into(),
        secret_key: Zeroizing::new(secret_key),
        session_token: Some(Zeroizing::new(token)),
    }
}

/// Whether a request says what was signed, and its signature is good.
fn is_signed(heard: &Heard) -> bool {
    let names = heard.header("authorization").split("SignedHeaders=").nth(1).unwrap().split(',').next().unwrap();
    let headers: Vec<_> = names.split(';').map(|name| (name, heard.header(name))).collect();
    let expected = ["content-type", "host", "x-amz-date", "x-amz-security-token", "x-amz-target"];
    let request = Unsigned { method: "POST", path: &heard.path, query: "", headers: &headers, body: &heard.body };
    let scope = Scope { region: "eu-central-1", service: "kms" };
    let signed = authorization(&credentials(), &scope, heard.header("x-amz-date"), &request);
    names.split(';').eq(expected) && heard.header("authorization") == signed
}

#[test]
fn aws_kms_wraps_and_unwraps_by_signed_requests() {
    let known = Mutex::new(HashMap::<String, (Value, Value)>::new());
    let endpoint = serve(move |heard| {
        if !is_signed(heard) || heard.header("content-type") != "application/x-amz-json-1.1" {
            return (400, json!({ "__type": "InvalidSignatureException", "message": "not signed so" }));
        }
        let body = heard.json();
        assert_eq!(body["KeyId"], "alias/pharos");
        let context = body["EncryptionContext"].clone();
        let mut known = known.lock().unwrap();
        match heard.header("x-amz-target") {
            "TrentService.Encrypt" => {
                let blob = STANDARD.encode(format!("blob {}", known.len()));
                known.insert(blob.clone(), (body["Plaintext"].clone(), context));
                (200, json!({ "CiphertextBlob": blob, "KeyId": "arn:aws:kms:…" }))
            }
            "TrentService.Decrypt" => match known.get(body["CiphertextBlob"].as_str().unwrap()) {
                Some((plain, own)) if *own == context => (200, json!({ "Plaintext": plain })),
                _ => (400, json!({ "__type": "InvalidCiphertextException" })),
            },
            other => (400, json!({ "message": other })),
        }
    });
    let settings = AwsKmsKey { region: "eu-central-1".into(), key: "alias/pharos".into(), endpoint: Some(endpoint) };
    let with = |credentials: fn() -> Result<Credentials, MasterError>| {
        AwsKms::with(&settings, Duration::from_secs(5), Box::new(credentials)).unwrap()
    };
    let kms = with(|| Ok(credentials()));
    let secret = Zeroizing::new([5; 32]);
    let wrapped = kms.wrap(ABOUT, &secret).unwrap();
    assert_eq!(kms.unwrap(ABOUT, &wrapped).unwrap(), secret);
    assert_eq!(
        kms.unwrap(OTHER, &wrapped).unwrap_err().to_string(),
        "it refused: status 400: InvalidCiphertextException"
    );
    let forger = with(|| Ok(Credentials { secret_key: Zeroizing::new("another".into()), ..credentials() }));
    assert!(forger.wrap(ABOUT, &secret).unwrap_err().to_string().contains("InvalidSignatureException"));
    let without = with(|| Err(MasterError::Refused("the variable AWS_ACCESS_KEY_ID is not set".into())));
    assert!(without.wrap(ABOUT, &secret).unwrap_err().to_string().contains("AWS_ACCESS_KEY_ID"));
}

#[test]
fn a_provider_that_is_slow_away_or_not_well_is_asked_again_and_told() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("token"), "s.secret").unwrap();
    let secret = Zeroizing::new([5; 32]);
    let ask = |address: String| {
        let began = Instant::now();
        let answered = master(&vault_at(address, &folder)).wrap(ABOUT, &secret);
        (answered.map_err(|error| error.to_string()), began.elapsed())
    };
    let (answered, took) = ask("http://127.0.0.1:1".into());
    assert!(answered.unwrap_err().starts_with("it can't be reached") && took < Duration::from_secs(5));
    let (answered, took) = ask(serve(|_| {
        std::thread::sleep(Duration::from_secs(2));
        (200, Value::Null)
    }));
    assert!(answered.unwrap_err().starts_with("it can't be reached") && took < Duration::from_secs(10));
    let count = Arc::new(AtomicUsize::new(0));
    let counting = Arc::clone(&count);
    let (answered, _) = ask(serve(move |_| match counting.fetch_add(1, Ordering::SeqCst) {
        0 | 1 => (503, json!({ "errors": ["Vault is sealed"] })),
        _ => (200, json!({ "data": { "ciphertext": "vault:v1:x" } })),
    }));
    assert_eq!((answered.unwrap().bytes, count.load(Ordering::SeqCst)), (b"vault:v1:x".to_vec(), 3));
    let (answered, _) = ask(serve(|_| (503, json!({ "errors": ["Vault is sealed"] }))));
    assert_eq!(answered.unwrap_err(), "it can't be reached: status 503: Vault is sealed");
    let (answered, _) = ask(serve(|_| (200, json!({ "data": {} }))));
    assert_eq!(answered.unwrap_err(), "its answer has no data.ciphertext");
}
