//! Several processes share one database: nothing answered is lost, nothing is made twice, and what one changes the others see.

use crate::support::mongodb::new_database;
use crate::support::{Answer, Client, Process, free_address};
use pharos::auth::keeper::Keeper;
use pharos::clock::{Micros, SystemClock};
use pharos::key::KeyRange;
use pharos::store::contract::keeper::{keep, put as keep_put};
use pharos::store::contract::{put, wait};
use pharos::store::mongo::{Mongo, Options};
use pharos::store::{Backend, Commit, CommitError, Guard, Rid};
use pharos::tenant::TenantId;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const TENANT: TenantId = TenantId(3);

/// Three stores on one database.
fn three(address: &str, folder: &std::path::Path) -> [Mongo; 3] {
    std::array::from_fn(|_| Mongo::open(Options::at(address, folder.join("key")), Arc::new(SystemClock)).unwrap())
}

/// Creates a resource with a key if none has it, as a conditional create does. Answers how often it was decided anew.
fn create_once(store: &Mongo, key: &str, id: &str) -> usize {
    for tries in 0.. {
        let view = store.view(TENANT).unwrap();
        if view.rids("Basic", key.as_bytes(), Rid(0)).next().is_some() {
            return tries;
        }
        let guards = vec![Guard { type_name: "Basic".into(), range: KeyRange::exactly(key.as_bytes()) }];
        let changes = vec![put("Basic", id, "", &[key])];
        let commit = Commit { changes, guards, read_at: view.position(), ..Commit::of(TENANT) };
        match wait(store.commit(commit)) {
            Ok(_) => return tries,
            Err(CommitError::Touched) => {}
            Err(error) => panic!("{error}"),
        }
    }
    unreachable!()
}

#[test]
fn what_is_decided_on_a_range_holds_across_processes() {
    let Some(address) = new_database() else { return };
    let folder = tempfile::tempdir().unwrap();
    let stores = three(&address, folder.path());
    let again = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for (n, store) in (0..6).map(|n| (n, &stores[n % 3])) {
            let again = &again;
            scope.spawn(move || {
                for key in 0..10 {
                    again
                        .fetch_add(create_once(store, &format!("k\0{key}"), &format!("r{n}-{key}")), Ordering::Relaxed);
                }
            });
        }
    });
    let view = stores[0].view(TENANT).unwrap();
    for key in 0..10 {
        assert_eq!(view.rids("Basic", format!("k\0{key}").as_bytes(), Rid(0)).count(), 1, "key {key}");
    }
    let times: Vec<Micros> = view.log_back(None, (Micros(i64::MAX), 0)).map(|entry| entry.unwrap().time).collect();
    assert!(times.len() == 10 && times.windows(2).all(|pair| pair[0] > pair[1]), "each commit has a time of its own");
    println!("60 conditional creates of 10 keys by three stores were decided anew {again:?} times");
}

#[test]
fn others_are_told_of_records_that_change() {
    let Some(address) = new_database() else { return };
    let folder = tempfile::tempdir().unwrap();
    let [one, other, _] = three(&address, folder.path());
    let until = |what: &str, holds: &dyn Fn() -> bool| {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !holds() {
            assert!(Instant::now() < deadline, "{what}");
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    for round in 0..3 {
        let (mine, theirs) = (one.epoch(TENANT), other.epoch(TENANT));
        keep(&one, TENANT, vec![keep_put("client", "a", &format!("text {round}"))]).unwrap();
        assert!(one.epoch(TENANT) > mine, "its own process knows at once");
        until("the other process hears of it", &|| other.epoch(TENANT) > theirs);
        assert_eq!(other.get(TENANT, "client", "a").unwrap().unwrap().bytes, format!("text {round}").into_bytes());
    }
}

fn patient(number: usize) -> Value {
    json!({"resourceType": "Patient", "identifier": [{"system": "urn:n", "value": number.to_string()}]})
}

const CLIENTS: usize = 64;
const EACH: usize = 3;
/// How long all may be without an answer. Nobody is waited for by the clock alone: on a busy machine the stand-in, which reads all of a
/// collection for each search, takes minutes for what takes seconds otherwise. And a transaction of the process that was killed may hold
/// the head of the tenant until the database gives it up, after a minute.
const PATIENCE: Duration = Duration::from_mins(4);

/// How the writes go.
struct Course {
    answered: AtomicUsize,
    refused: AtomicUsize,
    /// When somebody last had an answer.
    last: Mutex<Instant>,
}

#[test]
fn three_processes_serve_one_database_and_one_is_killed() {
    let Some(address) = new_database() else { return };
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("key").to_str().unwrap().to_owned();
    let start = || {
        let listen = free_address().to_string();
        let arguments = ["serve", "--insecure-open", "--listen", &listen, "--store", &address, "--key-file", &key];
        let process = Process::start(arguments);
        process.lines_until("serving FHIR");
        (process, format!("http://{listen}/fhir"))
    };
    let servers: [(Process, String); 3] = std::array::from_fn(|_| start());
    let began = Instant::now();
    let course = Course { answered: AtomicUsize::new(0), refused: AtomicUsize::new(0), last: Mutex::new(began) };
    let told = Mutex::new(BTreeMap::<String, String>::new());
    std::thread::scope(|scope| {
        for client in 0..CLIENTS {
            let (servers, course, told) = (&servers, &course, &told);
            scope.spawn(move || {
                for n in 0..EACH {
                    let number = client * EACH + n;
                    let (id, found) = create(servers, number, course);
                    assert!(told.lock().unwrap().insert(number.to_string(), id).is_none(), "{found}");
                    if course.answered.fetch_add(1, Ordering::SeqCst) == CLIENTS * EACH / 3 {
                        servers[1].0.kill();
                    }
                }
            });
        }
    });
    let (told, refused) = (told.into_inner().unwrap(), course.refused.into_inner());
    println!("{} creates by {CLIENTS} clients took {:?}; {refused} tries were refused", told.len(), began.elapsed());
    assert_eq!(told.len(), CLIENTS * EACH);
    let restarted = start();
    for (_, base) in [&servers[2], &restarted] {
        assert_eq!(all(base), told, "what was answered is there, once");
    }
}

/// All patients that a process finds: the id of each number. Each number is there once.
fn all(base: &str) -> BTreeMap<String, String> {
    let client = Client::new(base);
    let (mut found, mut next) = (BTreeMap::new(), Some("/Patient?_count=500".to_owned()));
    while let Some(path) = next {
        let page = answered(&client, &path);
        for patient in page.resources() {
            let text = |pointer| patient.pointer(pointer).and_then(Value::as_str).unwrap().to_owned();
            assert_eq!(found.insert(text("/identifier/0/value"), text("/id")), None, "{patient}");
        }
        next = page.link("next");
    }
    found
}

/// What is answered to a read, as soon as the database answers in time.
fn answered(client: &Client, path: &str) -> Answer {
    let began = Instant::now();
    loop {
        let answer = client.get(path).send();
        if answer.status() != 503 || began.elapsed() > PATIENCE {
            return answer.status_is(200);
        }
    }
}

/// Creates a patient unless there is one, by one process after the other until one answers.
fn create(servers: &[(Process, String); 3], number: usize, course: &Course) -> (String, u16) {
    for (_, base) in servers.iter().cycle().skip(number) {
        assert!(course.last.lock().unwrap().elapsed() < PATIENCE, "nobody answers");
        let client = Client::new(base.as_str());
        let request = client.post("/Patient").header("If-None-Exist", &format!("identifier=urn:n|{number}"));
        let Ok(answer) = request.json(patient(number)).try_send() else { continue };
        match answer.status() {
            status @ (200 | 201) => {
                *course.last.lock().unwrap() = Instant::now();
                return (answer.id(), status);
            }
            503 | 409 => drop(course.refused.fetch_add(1, Ordering::Relaxed)),
            status => panic!("{status}: {answer}"),
        }
    }
    unreachable!()
}
