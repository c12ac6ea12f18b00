//! Files outside of the store, when the keys are dropped under which they were sealed.

use crate::support::{Client, Person, Server};
use pharos::auth::grant::Grant;
use pharos::config::{RetentionRule, Then, What};
use pharos::retention::archive;
use pharos::tenant::TenantId;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A server whose rules archive all Flags into this folder, and its administration.
fn archiving(folder: &Path) -> (Server, Client) {
    let types = vec!["Flag".to_owned()];
    let server = Server::with(|config| {
        config.insecure_open = false;
        config.retention.interval_s = 0;
        config.retention.rules =
            vec![RetentionRule { tenant: None, types, what: What::Current, keep_days: Some(0), then: Then::Archive }];
        config.retention.archive_folder = Some(folder.to_path_buf());
    });
    let person = Person { roles: &["Admin"], ..Person::default() };
    let root = server.base().trim_end_matches("/fhir").to_owned();
    let admin = Client::bearing(root, &server.token("admin", Some(&person)));
    (server, admin)
}

/// The path of the job that is asked for.
fn ask(admin: &Client, path: &str, body: Value) -> String {
    admin.post(path).json(body).expect(202).location(admin.base())
}

fn until(admin: &Client, job: &str, holds: impl Fn(&Value) -> bool) -> Value {
    let deadline = Instant::now() + Duration::from_mins(2);
    loop {
        let job = admin.get(job).expect(200).json();
        if holds(&job) {
            return job;
        }
        assert!(Instant::now() < deadline, "{job}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn ended(admin: &Client, job: &str) -> Value {
    until(admin, job, |job| job["ended"].is_string())
}

fn flag(id: &str) -> Value {
    json!({
        "resourceType": "Flag", "id": id, "status": "active", "code": {"text": "x"},
        "subject": {"reference": "Patient/p"},
    })
}

/// Archives a Flag, and gives the archive's file.
fn archived(admin: &Client, data: &Client, folder: &Path, id: &str) -> PathBuf {
    let before = files(folder);
    data.put(&format!("/Flag/{id}")).json(flag(id)).expect(201);
    let job = ended(admin, &ask(admin, "/auth/admin/retention", json!({})));
    assert_eq!(job["report"]["archived"]["Flag"]["resources"], 1, "{job}");
    files(folder).into_iter().find(|file| !before.contains(file)).unwrap()
}

fn files(folder: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(folder).map(|all| all.map(|file| file.unwrap().path()).collect()).unwrap_or_default()
}

fn read(server: &Server, file: &Path) -> Value {
    let grant = Grant::unrestricted(TenantId::DEFAULT);
    serde_json::from_slice(&archive::read(server.app().store(), &grant, file).unwrap()).unwrap()
}

fn states(admin: &Client) -> Vec<Value> {
    let keys = admin.get("/auth/admin/keys").expect(200).at("/keys");
    keys.as_array().unwrap().iter().map(|key| key["state"].clone()).collect()
}

#[test]
fn archives_outlive_the_keys_that_they_were_sealed_under() {
    let folder = tempfile::tempdir().unwrap();
    let (server, admin) = archiving(folder.path());
    let data = server.as_system("system/*.cruds");
    data.put("/Patient/p").json(json!({"resourceType": "Patient", "id": "p"})).expect(201);
    let all = ["a", "b", "c"].map(|id| (id, archived(&admin, &data, folder.path(), id)));
    let others = folder.path().join("1-of-another-tenant.ndjson.gz.sealed");
    std::fs::write(&others, b"not to be touched").unwrap();
    let sealed = all.clone().map(|(_, file)| std::fs::read(file).unwrap());

    let job = ended(&admin, &ask(&admin, "/auth/admin/keys/rotate", json!({"what": "data", "drop_old": true})));
    assert_eq!(
        (&job["state"], &job["report"]["files"], &job["report"]["dropped"]),
        (&json!("done"), &json!(3), &json!(1))
    );
    assert_eq!(states(&admin), ["newest"]);
    for ((id, file), before) in all.iter().zip(&sealed) {
        assert_eq!(read(&server, file)["id"], **id);
        let now = std::fs::read(file).unwrap();
        assert_ne!(now[..4], before[..4], "it is under another key");
    }
    assert_eq!(std::fs::read(&others).unwrap(), b"not to be touched");
    let job = ended(&admin, &ask(&admin, "/auth/admin/keys/reseal", json!({})));
    assert_eq!(job["report"]["files"], 0, "all are under the newest key: {job}");
}

#[test]
fn a_key_is_not_dropped_while_an_archive_under_it_does_not_open() {
    let folder = tempfile::tempdir().unwrap();
    let (server, admin) = archiving(folder.path());
    let data = server.as_system("system/*.cruds");
    data.put("/Patient/p").json(json!({"resourceType": "Patient", "id": "p"})).expect(201);
    let good = archived(&admin, &data, folder.path(), "a");
    let bad = archived(&admin, &data, folder.path(), "b");
    let mut bytes = std::fs::read(&bad).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&bad, bytes).unwrap();

    let job = ended(&admin, &ask(&admin, "/auth/admin/keys/rotate", json!({"what": "data", "drop_old": true})));
    let name = bad.file_name().unwrap().to_str().unwrap();
    assert_eq!(job["state"], "failed", "{job}");
    assert!(job["failure"].as_str().unwrap().contains(name), "{job}");
    assert_eq!(states(&admin), ["retired", "newest"], "nothing is lost");

    std::fs::rename(&bad, folder.path().join("moved")).unwrap();
    let job = ended(&admin, &ask(&admin, "/auth/admin/keys/reseal", json!({"drop_old": true})));
    assert_eq!((&job["state"], &job["report"]["dropped"]), (&json!("done"), &json!(1)), "{job}");
    assert_eq!(read(&server, &good)["id"], "a");
}

#[test]
fn a_key_is_dropped_when_the_files_of_exports_under_it_are_gone() {
    let folder = tempfile::tempdir().unwrap();
    let (server, admin) = archiving(folder.path());
    let data = server.as_system("system/*.cruds");
    data.put("/Patient/p").json(json!({"resourceType": "Patient", "id": "p"})).expect(201);
    let exported = data.export("/$export");
    assert_eq!(exported.names(), ["Patient/p"]);

    let path = ask(&admin, "/auth/admin/keys/rotate", json!({"what": "data", "drop_old": true}));
    let job = until(&admin, &path, |job| job["failure"].is_string());
    assert!(job["failure"].as_str().unwrap().contains("1 exports, imports or deferred requests"), "{job}");
    assert_eq!(states(&admin), ["retired", "newest"]);
    assert_eq!(exported.names(), ["Patient/p"], "its files can still be had");
    let later = data.export("/$export");

    data.delete(&exported.path).expect(202);
    let job = ended(&admin, &path);
    assert_eq!((&job["state"], &job["report"]["dropped"]), (&json!("done"), &json!(1)), "{job}");
    assert_eq!(states(&admin), ["newest"]);
    assert_eq!(later.names(), ["Patient/p"], "what was exported since is under the newest key");
}
