//! Files in a bucket: `PHAROS_TEST_S3` names a server that understands Amazon S3. What is done with the bucket goes through a door that can
//! be shut, or that lets nobody out.

use super::{fill, observation};
use crate::support::tokens::block_on;
use crate::support::{Server, job_path};
use pharos::bulk::s3::S3;
use pharos::config;
use pharos::jobs::{Job, State};
use pharos::tenant::TenantId;
use serde_json::json;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const TENANT: TenantId = TenantId::DEFAULT;
const VARIABLE: &str = "PHAROS_TEST_S3";

const OPEN: u8 = 0;
const SHUT: u8 = 1;
const SILENT: u8 = 2;

/// A way to the server that can be shut.
struct Door {
    address: SocketAddr,
    state: Arc<AtomicU8>,
}

impl Door {
    fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, state) = (listener.local_addr().unwrap(), Arc::new(AtomicU8::new(OPEN)));
        let of_door = Arc::clone(&state);
        let held = Mutex::new(Vec::new());
        std::thread::spawn(move || {
            for coming in listener.incoming().map_while(Result::ok) {
                match of_door.load(Ordering::SeqCst) {
                    SHUT => drop(coming),
                    SILENT => held.lock().unwrap().push(coming),
                    _ => Self::connect(&coming, server, &of_door),
                }
            }
        });
        Self { address, state }
    }

    fn connect(client: &TcpStream, server: SocketAddr, state: &Arc<AtomicU8>) {
        let Ok(server) = TcpStream::connect(server) else { return };
        for (mut from, mut to) in [
            (client.try_clone().unwrap(), server.try_clone().unwrap()),
            (server.try_clone().unwrap(), client.try_clone().unwrap()),
        ] {
            let state = Arc::clone(state);
            std::thread::spawn(move || {
                let mut buffer = [0; 16_384];
                while let Ok(length @ 1..) = from.read(&mut buffer) {
                    match state.load(Ordering::SeqCst) {
                        SILENT => {}
                        OPEN if to.write_all(&buffer[..length]).is_ok() => {}
                        _ => break,
                    }
                }
                let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
            });
        }
    }

    fn is(&self, state: u8) {
        self.state.store(state, Ordering::SeqCst);
    }
}

/// A server whose files are in a bucket of its own.
struct InBucket {
    server: Server,
    door: Door,
    s3: S3,
    _credentials: tempfile::TempDir,
}

fn start(change: impl FnOnce(&mut config::Config)) -> Option<InBucket> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let Ok(address) = std::env::var(VARIABLE) else {
        println!("skipped: {VARIABLE} names no server for buckets");
        return None;
    };
    let door = Door::to(address.parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let credentials = folder.path().join("credentials");
    std::fs::write(&credentials, "[default]\naws_access_key_id = pharos\naws_secret_access_key=topsecret\n").unwrap();
    let (endpoint, credentials) = (Some(format!("http://{}", door.address)), Some(credentials));
    let settings = config::S3 { endpoint, credentials, timeout_ms: 5_000, ..config::S3::default() };
    let bucket = format!("pharos-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let s3 = S3::new(&settings, &bucket);
    s3.put("", b"").unwrap();
    let server = Server::with(|config| {
        config.bulk.s3 = config::S3 { timeout_ms: 500, ..settings };
        config.bulk.files = Some(format!("s3://{bucket}/a/prefix"));
        change(config);
        config.check().unwrap();
    });
    Some(InBucket { server, door, s3, _credentials: folder })
}

impl InBucket {
    fn objects(&self) -> Vec<String> {
        self.s3.list("", false).unwrap().objects.into_iter().map(|object| object.key).collect()
    }

    fn run(&self, path: &str) -> Job {
        block_on(self.server.app().jobs.run_to_end(TENANT, &path[7..])).unwrap().unwrap()
    }
}

/// Asks until it is so: a bucket that said nothing is left alone for some seconds.
fn in_time(mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_mins(1), "the bucket is left alone for too long");
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn files_are_sealed_in_the_bucket_and_go_when_they_are_over() {
    let Some(bucket) = start(|config| config.bulk.lifetime_s = 100) else { return };
    let server = &bucket.server;
    fill(server);
    for part in 0..5 {
        let entry = |n: u64| json!({"resource": observation(&format!("n{n}"), "a"), "request": {"method": "PUT", "url": format!("Observation/n{n}")}});
        let entries: Vec<_> = (part * 900..(part + 1) * 900).map(entry).collect();
        server.post("/").json(json!({"resourceType": "Bundle", "type": "transaction", "entry": entries})).expect(200);
    }
    let exported = server.export("/$export?_type=Observation,Patient");
    assert_eq!(exported.names().len(), 4506);
    let objects = bucket.objects();
    let of = |name: &str| objects.iter().filter(|key| key.contains(name)).count();
    assert!(objects.iter().all(|key| key.starts_with("a/prefix/")), "{objects:?}");
    assert!(of("/1.Observation.ndjson/") > 1 && of("/2.Patient.ndjson.who/") == 1, "{objects:?}");
    for key in &objects {
        let bytes = bucket.s3.get(key).unwrap();
        assert!(!bytes.windows(6).any(|some| some == b"Family" || some == b"Patien"), "{key}");
    }

    let url = exported.urls("output", Some("Observation")).remove(0);
    let text = server.get(&url).expect(200).text().to_owned();
    for (from, to) in [(0, 9), (text.len() / 2, text.len() - 1), (text.len() - 7, text.len() - 1), (10, text.len() - 2)]
    {
        let part = server.get(&url).header("Range", &format!("bytes={from}-{to}")).expect(206);
        assert_eq!(part.text(), &text[from..=to]);
    }

    let other = server.export("/$export?_type=Patient");
    server.delete(&other.path).expect(202);
    assert_eq!(bucket.objects(), objects);
    // The clock of the test moves a millisecond at each look.
    for _ in 0..100_000 {
        assert!(server.app().now().0 > 0);
    }
    assert_eq!(block_on(server.app().sweep_exports(TENANT)).unwrap(), 1);
    assert_eq!(bucket.objects(), [""; 0]);

    server.export("/$export");
    assert!(!bucket.objects().is_empty());
    block_on(server.app().exports.remove_all(TENANT)).unwrap();
    assert_eq!(bucket.objects(), [""; 0], "with a deleted tenant they go, too");
}

#[test]
fn a_bucket_that_is_not_there_or_says_nothing_is_waited_for() {
    let Some(bucket) = start(|_| ()) else { return };
    let (server, door) = (&bucket.server, &bucket.door);
    server.app().jobs.stop();
    fill(server);
    let path = job_path(server, &server.get("/$export?_type=Patient").expect(202));
    for state in [SHUT, SILENT] {
        door.is(state);
        let begun = Instant::now();
        let job = bucket.run(&path);
        assert!(begun.elapsed() < Duration::from_secs(10));
        let failure = job.failure.unwrap();
        assert!(job.state == State::Active && failure.contains("can't be written"), "{failure}");
        server.get(&path).expect(202);
    }
    door.is(OPEN);
    in_time(|| bucket.run(&path).state == State::Done);
    let exported = server.export_at(&path);
    let url = exported.urls("output", None).remove(0);
    for state in [SHUT, SILENT] {
        door.is(state);
        let begun = Instant::now();
        server.get(&url).expect(503).issue("transient");
        server.delete(&path).expect(503);
        assert!(begun.elapsed() < Duration::from_secs(10));
        assert!(block_on(server.app().sweep_exports(TENANT)).is_err());
    }
    door.is(OPEN);
    in_time(|| server.get(&url).send().status() == 200);
    server.delete(&path).expect(202);
    assert_eq!(bucket.objects(), [""; 0]);
    server.get(&url).expect(404);
}
