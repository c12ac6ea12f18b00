//! Sources that want an access token: one tenant imports what another exports, as two organisations would.

use super::{counts, import, lines, local, manifest, patient};
use crate::support::source::send;
use crate::support::tokens::block_on;
use crate::support::{Answer, Client, Exported, Server, Source};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jsonwebtoken::jwk::Jwk;
use pharos::auth::jwt::SigningKey;
use pharos::auth::records::{self, ClientProof};
use pharos::auth::scope::Scopes;
use pharos::config::ImportSource;
use pharos::tenant::TenantId;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

const A: TenantId = TenantId(1);
const B: TenantId = TenantId(2);

/// A key file, as `openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-384` makes one.
fn key_file(folder: &TempDir) -> PathBuf {
    let der = EcdsaKeyPair::generate_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, &SystemRandom::new()).unwrap();
    let path = folder.path().join("key.pem");
    let text = format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", STANDARD.encode(der.as_ref()));
    std::fs::write(&path, text).unwrap();
    path
}

fn source(url: String, tenant: TenantId, key_file: &Path) -> ImportSource {
    ImportSource {
        url,
        tenant: tenant.0,
        client_id: "importer".into(),
        scopes: vec!["system/*.rs".into()],
        key_file: key_file.to_owned(),
        key_id: None,
        token_endpoint: None,
    }
}

/// A server with the tenants a and b. The imports of b are the client `importer` of a.
struct House {
    server: Server,
    key: SigningKey,
    _folder: TempDir,
}

impl House {
    fn start() -> Self {
        let folder = TempDir::new().unwrap();
        let file = key_file(&folder);
        let server = Server::with(|config| {
            local(config);
            config.insecure_open = false;
            config.bulk.import_sources = vec![source(format!("http://{}/t/a/fhir", config.listen), B, &file)];
        });
        for name in ["a", "b", "c"] {
            block_on(server.app().create_tenant(&json!({ "name": name }), None)).unwrap();
        }
        let key = SigningKey::from_pem_file(&file, None).unwrap();
        let mut public = serde_json::to_value(Jwk::from_encoding_key(&key.key, key.alg).unwrap()).unwrap();
        public["kid"] = json!(key.kid);
        let client = records::Client {
            client_id: "importer".into(),
            name: "The imports of b".into(),
            proof: ClientProof::Keys { jwks: Some(json!({ "keys": [public] })), jwks_uri: None },
            redirect_uris: Vec::new(),
            launch_url: None,
            origins: Vec::new(),
            grant_types: vec!["client_credentials".into()],
            scopes: Scopes::parse("system/*.rs"),
            about: serde_json::Map::new(),
            created: 0,
            disabled: false,
            purpose_of_use: Vec::new(),
            recipient: None,
        };
        server.keep_in(A, "importer", &client);
        Self { server, key, _folder: folder }
    }

    fn root(&self) -> &str {
        self.server.base().trim_end_matches("/fhir")
    }

    fn client(&self, tenant: TenantId, name: &str) -> Client {
        let token = self.server.token_in(tenant, "system/*.cruds", None);
        Client::bearing(format!("{}/t/{name}/fhir", self.root()), &token)
    }

    /// The client that the imports of b are, at a.
    fn importer(&self) -> Client {
        let base = format!("{}/t/a", self.root());
        let endpoint = format!("{base}/auth/token");
        let now = self.server.app().auth.now_s();
        let claims =
            json!({"iss": "importer", "sub": "importer", "aud": endpoint, "exp": now + 200, "jti": "of the test"});
        let form = [
            ("grant_type", "client_credentials"),
            ("scope", "system/*.rs"),
            ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"),
            ("client_assertion", &self.key.sign("JWT", &claims).unwrap()),
        ];
        let form = form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        let authorization = Client::new(format!("{base}/auth"));
        let answer = authorization.post("/token").body("application/x-www-form-urlencoded", form);
        let token = answer.expect(200).at("/access_token");
        Client::bearing(format!("{base}/fhir"), token.as_str().unwrap())
    }
}

fn pull(url: &str) -> Value {
    json!({"resourceType": "Parameters", "parameter": [
        {"name": "exportUrl", "valueUrl": url}, {"name": "exportType", "valueCode": "static"}
    ]})
}

fn begin(client: &Client, wanted: &Value) -> Answer {
    client.post("/$import").header("Prefer", "respond-async").json(wanted).send()
}

fn plain(exported: &Exported) -> Vec<Value> {
    let mut lines = exported.lines("output");
    for line in &mut lines {
        line.as_object_mut().unwrap().remove("meta");
    }
    lines.sort_by_key(ToString::to_string);
    lines
}

#[test]
fn one_tenant_pulls_what_another_exports() {
    let house = House::start();
    let (a, b) = (house.client(A, "a"), house.client(B, "b"));
    for nth in 0..30 {
        a.put(&format!("/Patient/p{nth}")).json(patient(&format!("p{nth}"))).expect(201);
        let subject = json!({"reference": format!("Patient/p{nth}")});
        let observation = json!({"resourceType": "Observation", "id": format!("o{nth}"), "status": "final", "code": {"text": "x"}, "valueQuantity": {"value": 1.50}, "subject": subject});
        a.put(&format!("/Observation/o{nth}")).json(observation).expect(201);
    }
    let exported = house.importer().export("/$export");
    let url = format!("{}/t/a/fhir{}", house.root(), exported.path);
    let imported = b.exported(&begin(&b, &pull(&url)).status_is(202));
    assert_eq!(counts(&imported), [(30, 0), (30, 0)], "{:?}", imported.notes());
    assert_eq!(imported.manifest["output"][0]["inputUrl"], exported.manifest["output"][0]["url"]);
    assert_eq!(plain(&b.export("/$export")), plain(&exported));

    // Another tenant of this server has no such credentials.
    let c = house.client(TenantId(3), "c");
    let refused = begin(&c, &pull(&url)).status_is(400);
    refused.says("status 401");
    // Nor has the export of anybody else been asked for by this client.
    let others = a.export("/Patient/$export");
    begin(&b, &pull(&format!("{}/t/a/fhir{}", house.root(), others.path))).status_is(400).says("status 404");
}

#[test]
fn a_manifest_that_goes_on_and_one_that_is_none() {
    let server = Server::with(|config| {
        local(config);
        config.bulk.import_inputs = 5;
    });
    let source = Source::start(|path, _, connection| {
        let body = match path {
            "/one" => json!({
                "transactionTime": "2026-01-01T00:00:00Z", "requiresAccessToken": false, "error": [],
                "output": [{"type": "Patient", "url": "/p1"}],
                "deleted": [{"type": "Bundle", "url": "/gone"}],
                "link": [{"relation": "next", "url": "/two"}]
            }),
            "/two" => json!({"output": [{"type": "Patient", "url": "/p2"}]}),
            "/organized" => json!({"outputOrganizedBy": "Patient", "output": [{"url": "/p2"}]}),
            "/odd" => json!({"output": [{"type": "Pacient", "url": "/p2"}]}),
            "/away" => json!({"output": [{"type": "Patient", "url": "http://169.254.169.254/latest"}]}),
            "/round" => json!({"output": [], "link": [{"relation": "next", "url": "/round"}]}),
            "/p1" | "/p2" => {
                return send(connection, 200, "", lines(&[patient(path.trim_start_matches('/'))]).as_bytes());
            }
            _ => return send(connection, 202, "", b""),
        };
        send(connection, 200, "", body.to_string().as_bytes());
    });
    let begun = begin(&server, &pull(&source.url("/one"))).status_is(202);
    assert_eq!(begun.outcome().severities(), ["information", "warning"]);
    assert!(begun.outcome().diagnostics()[1].contains("an import deletes nothing"));
    assert_eq!(counts(&server.exported(&begun)), [(1, 0), (1, 0)]);
    server.get("/Patient/p2").expect(200);
    let refusals = [
        ("/odd", "no resource type"),
        ("/organized", "organizeOutputBy"),
        ("/away", "bulk.import_hosts"),
        ("/round", "more files"),
        ("/p1", "no manifest"),
        ("/unfinished", "status 202"),
    ];
    for (path, text) in refusals {
        begin(&server, &pull(&source.url(path))).status_is(400).says(text);
    }
    let dynamic = json!({"exportUrl": source.url("/one")});
    begin(&server, &dynamic).status_is(400).about("exportType");
    let both = json!({"exportUrl": source.url("/one"), "exportType": "static", "input": [{"type": "Patient", "url": source.url("/p1")}]});
    begin(&server, &both).status_is(400).about("exportUrl");
}

#[test]
fn a_manifest_that_never_ends_is_given_up() {
    let server = Server::with(|config| {
        local(config);
        config.bulk.import_manifest_timeout_ms = 300;
    });
    let source = Source::start(|path, _, connection| {
        std::thread::sleep(std::time::Duration::from_millis(100));
        let next = path.trim_start_matches('/').parse::<u32>().unwrap() + 1;
        let page = json!({"output": [], "link": [{"relation": "next", "url": format!("/{next}")}]});
        send(connection, 200, "", page.to_string().as_bytes());
    });
    begin(&server, &pull(&source.url("/1"))).status_is(503).says("bulk.import_manifest_timeout_ms");
    assert_eq!((source.asked("/2"), source.asked("/5")), (1, 0), "each page takes 100 ms, all of them have 300");
}

#[test]
fn a_source_names_no_token_endpoint_of_another_host() {
    let folder = TempDir::new().unwrap();
    let file = key_file(&folder);
    let token = json!({"access_token": "t", "token_type": "bearer", "expires_in": 300}).to_string();
    let other = Source::of([("/token", token.clone())]);
    let elsewhere = other.url("/token");
    let source_host = Source::start(move |path, nth, connection| {
        let body = match path {
            // The second time it is its own.
            "/fhir/.well-known/smart-configuration" if nth == 0 => json!({"token_endpoint": elsewhere}).to_string(),
            "/fhir/.well-known/smart-configuration" => {
                let own = connection.local_addr().unwrap();
                json!({"token_endpoint": format!("http://{own}/token")}).to_string()
            }
            "/token" => token.clone(),
            "/fhir/manifest" => json!({"output": [{"type": "Patient", "url": "p"}]}).to_string(),
            _ => lines(&[patient("a")]),
        };
        send(connection, 200, "Content-Type: application/json\r\n", body.as_bytes());
    });
    let server = Server::with(|config| {
        local(config);
        config.bulk.import_sources = vec![source(source_host.url("/fhir"), TenantId::DEFAULT, &file)];
    });
    let wanted = pull(&source_host.url("/fhir/manifest"));
    begin(&server, &wanted).status_is(400).says("token endpoint of another host");
    assert_eq!((other.asked("/token"), source_host.asked("/fhir/manifest")), (0, 0));
    let begun = begin(&server, &wanted).status_is(202);
    assert_eq!(counts(&server.exported(&begun)), [(1, 0)]);
    assert_eq!((other.asked("/token"), source_host.asked("/token")), (0, 1));
}

#[test]
fn a_refused_token_is_fetched_anew_once_and_goes_nowhere_else() {
    let folder = TempDir::new().unwrap();
    let file = key_file(&folder);
    // What each path was sent: kept by the source, told by its answers' count.
    let seen: std::sync::Arc<std::sync::Mutex<Vec<(String, String)>>> = std::sync::Arc::default();
    let kept = std::sync::Arc::clone(&seen);
    let source_host = Source::hearing(move |path, head, nth, connection| {
        let bearer =
            head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("authorization: ").map(str::to_owned));
        kept.lock().unwrap().push((path.to_owned(), bearer.clone().unwrap_or_default()));
        match (path, bearer.as_deref()) {
            ("/token", _) => {
                let token = json!({"access_token": format!("t{nth}"), "token_type": "bearer", "expires_in": 300});
                send(connection, 200, "Content-Type: application/json\r\n", token.to_string().as_bytes());
            }
            ("/in/p", Some("bearer t1")) => send(connection, 200, "", lines(&[patient("a")]).as_bytes()),
            ("/in/away", Some("bearer t1")) => send(connection, 302, "Location: /out/p\r\n", b""),
            ("/out/p", None) => send(connection, 200, "", lines(&[patient("b")]).as_bytes()),
            _ => send(connection, 401, "", b""),
        }
    });
    let server = Server::with(|config| {
        local(config);
        let mut entry = source(source_host.url("/in"), TenantId::DEFAULT, &file);
        entry.token_endpoint = Some(source_host.url("/token"));
        config.bulk.import_sources = vec![entry];
    });
    let urls = ["/in/p", "/in/away", "/in/never"].map(|path| source_host.url(path));
    let inputs: Vec<_> = urls.iter().map(|url| ("Patient", &**url)).collect();
    let imported = import(&server, &manifest(&inputs));
    assert_eq!(counts(&imported), [(1, 0), (1, 0), (0, 0)]);
    assert!(imported.notes()[0].contains("status 401"), "{:?}", imported.notes());
    let seen = seen.lock().unwrap();
    let of = |path: &str| seen.iter().filter(|(own, _)| own == path).map(|(_, bearer)| &**bearer).collect::<Vec<_>>();
    assert_eq!(of("/in/p"), ["bearer t0", "bearer t1"]);
    assert_eq!(of("/out/p"), [""], "no token leaves its address");
    assert_eq!(of("/in/never"), ["bearer t1", "bearer t2"]);
    let told = format!("{}{:?}", imported.manifest, imported.notes());
    assert!(!told.contains("bearer") && !told.contains("\"t1\""));
}
