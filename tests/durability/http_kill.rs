//! The real program, killed or asked to end while 64 clients write over HTTP: what was answered is there, and nothing is half
//! there. Each client writes its own resources, one request after the other, so that at the end of a round it knows all
//! versions of each, but for one request that was not answered.

use crate::place::Place;
use crate::support::{Answer, Client};
use crate::workload::{Rng, first_seed};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

const CLIENTS: usize = 64;
const IDS: u64 = 4;
const SYSTEM: &str = "http://example.org/step";

/// What a request does to a resource. What a create makes is called after its content, as its id is the server's choice.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Op {
    Put(String),
    Delete(String),
    Create,
}

/// The contents of a client's resources, version by version; `None` where a version is a deletion.
type Contents = BTreeMap<String, Vec<Option<String>>>;

/// A client, over all rounds.
struct Writer {
    name: String,
    next: u64,
    known: Contents,
    unanswered: Option<(String, Vec<Op>)>,
}

impl Writer {
    /// One request: a change, or a transaction of two to four.
    fn step(&mut self, seed: u64) -> (String, Vec<Op>) {
        let text = format!("{}-{seed}-{}", self.name, self.next);
        self.next += 1;
        let mut rng = Rng(text.bytes().fold(seed, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(byte))));
        let first = rng.below(IDS);
        let id = |n: u64| format!("{}-{}", self.name, (first + n) % IDS);
        let ops = match rng.below(10) {
            0..4 => vec![Op::Put(id(0))],
            4 => vec![Op::Delete(id(0))],
            5 | 6 => vec![Op::Create],
            7 => vec![Op::Put(id(0)), Op::Create],
            8 => vec![Op::Create, Op::Put(id(0)), Op::Put(id(1))],
            _ => vec![Op::Put(id(0)), Op::Delete(id(1)), Op::Put(id(2)), Op::Create],
        };
        (text, ops)
    }

    /// Writes until a request is not answered.
    fn write(&mut self, base: &str, seed: u64, answered: &(dyn Fn() + Sync)) {
        let client = Client::new(base);
        loop {
            let (text, ops) = self.step(seed);
            let request = match &ops[..] {
                [Op::Put(id)] => client.put(&format!("/Basic/{id}")).json(resource(&text, Some(id))),
                [Op::Delete(id)] => client.delete(&format!("/Basic/{id}")),
                [Op::Create] => client.post("/Basic").json(resource(&text, None)),
                _ => client.post("").json(transaction(&text, &ops)),
            };
            let Ok(answer) = request.try_send() else {
                self.unanswered = Some((text, ops));
                return;
            };
            answered();
            let before = std::mem::take(&mut self.known);
            self.known = after(&before, &text, &ops);
            self.check_answer(&answer, &ops);
        }
    }

    /// The answer tells the version that was made.
    fn check_answer(&self, answer: &Answer, ops: &[Op]) {
        assert!(matches!(answer.status(), 200 | 201 | 204), "{answer}");
        for (n, op) in ops.iter().enumerate() {
            let Op::Put(id) = op else { continue };
            let version = json!(format!("W/\"{}\"", self.known[id].len()));
            let told = match ops {
                [_] => json!(answer.header("etag")),
                _ => answer.at(&format!("/entry/{n}/response/etag")),
            };
            assert_eq!(told, version, "{answer}");
        }
    }

    /// What is there is what was answered, or that and the unanswered request, whole.
    fn verify(&mut self, seen: Contents, may_hold_unanswered: bool) {
        let unanswered = self.unanswered.take().filter(|_| may_hold_unanswered);
        let with = unanswered.map(|(text, ops)| after(&self.known, &text, &ops));
        if with.as_ref() != Some(&seen) {
            assert_eq!(self.known, seen, "{} sees something else than it was told", self.name);
        }
        self.known = seen;
    }
}

fn resource(text: &str, id: Option<&str>) -> Value {
    let mut resource =
        json!({"resourceType": "Basic", "identifier": [{"system": SYSTEM, "value": text}], "code": {"text": text}});
    if let Some(id) = id {
        resource["id"] = json!(id);
    }
    resource
}

fn transaction(text: &str, ops: &[Op]) -> Value {
    let entry = |op: &Op| match op {
        Op::Put(id) => {
            json!({"request": {"method": "PUT", "url": format!("Basic/{id}")}, "resource": resource(text, Some(id))})
        }
        Op::Delete(id) => json!({"request": {"method": "DELETE", "url": format!("Basic/{id}")}}),
        Op::Create => json!({"request": {"method": "POST", "url": "Basic"}, "resource": resource(text, None)}),
    };
    json!({"resourceType": "Bundle", "type": "transaction", "entry": ops.iter().map(entry).collect::<Vec<_>>()})
}

fn after(before: &Contents, text: &str, ops: &[Op]) -> Contents {
    let mut contents = before.clone();
    for op in ops {
        match op {
            Op::Put(id) => contents.entry(id.clone()).or_default().push(Some(text.to_owned())),
            Op::Create => drop(contents.insert(text.to_owned(), vec![Some(text.to_owned())])),
            Op::Delete(id) => match contents.get_mut(id) {
                Some(versions) if versions.last().is_some_and(Option::is_some) => versions.push(None),
                _ => {}
            },
        }
    }
    contents
}

/// The resources of all clients, by the name of the client, as the history tells them; a search must tell the same.
fn observe(client: &Client) -> BTreeMap<String, Contents> {
    let mut versions: BTreeMap<String, Vec<Option<String>>> = BTreeMap::new();
    for entry in all_entries(client, "/Basic/_history?_count=1000") {
        let id = entry["fullUrl"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
        let text = entry.pointer("/resource/code/text").map(|text| text.as_str().unwrap().to_owned());
        assert_eq!(text.is_none(), entry["request"]["method"] == "DELETE", "{entry}");
        versions.entry(id).or_default().push(text);
    }
    let mut current = BTreeMap::new();
    for entry in all_entries(client, "/Basic?_count=1000") {
        let resource = &entry["resource"];
        let version = resource["meta"]["versionId"].as_str().unwrap().parse::<usize>().unwrap();
        let found = (version, resource["code"]["text"].as_str().unwrap().to_owned());
        assert!(current.insert(resource["id"].as_str().unwrap().to_owned(), found).is_none(), "{entry}");
    }
    let newest = |(id, versions): (&String, &Vec<Option<String>>)| {
        versions[0].clone().map(|text| (id.clone(), (versions.len(), text)))
    };
    assert_eq!(current, versions.iter().filter_map(newest).collect(), "search and history tell the same");

    let mut all: BTreeMap<String, Contents> = BTreeMap::new();
    for (id, mut versions) in versions {
        versions.reverse();
        let writer = |text: &str| text.split('-').next().unwrap().to_owned();
        let text = versions.iter().flatten().next().unwrap().clone();
        let key = if id.starts_with(&format!("{}-", writer(&text))) { id } else { text.clone() };
        let twice = all.entry(writer(&text)).or_default().insert(key, versions);
        assert_eq!(twice, None, "one create makes one resource");
    }
    all
}

/// The entries of all pages; each version in a history stands where it must for the versions to have no gap.
fn all_entries(client: &Client, path: &str) -> Vec<Value> {
    let (mut entries, mut next) = (Vec::new(), Some(path.to_owned()));
    while let Some(url) = next {
        let page = client.get(&url).expect(200);
        entries.extend(page.at("/entry").as_array().cloned().unwrap_or_default());
        next = page.link("next");
    }
    let mut expected: BTreeMap<String, u64> = BTreeMap::new();
    for entry in entries.iter().rev().filter(|entry| entry["response"]["etag"].is_string()) {
        let version = expected.entry(entry["fullUrl"].as_str().unwrap().to_owned()).or_default();
        *version += 1;
        assert_eq!(entry["response"]["etag"], format!("W/\"{version}\""), "versions have no gap: {entry}");
    }
    entries
}

/// Lets all clients write until each misses an answer; `end` ends the program at the given number of answers.
fn write_until(writers: &mut [Writer], base: &str, seed: u64, answers: u64, end: &(dyn Fn() + Sync)) {
    let heard = AtomicU64::new(0);
    let answered = || {
        if heard.fetch_add(1, Ordering::Relaxed) + 1 == answers {
            end();
        }
    };
    std::thread::scope(|scope| {
        for writer in writers {
            scope.spawn(|| writer.write(base, seed, &answered));
        }
    });
    assert!(heard.into_inner() >= answers, "the program ended too early");
}

fn verify(writers: &mut [Writer], client: &Client, may_hold_unanswered: bool) {
    let mut seen = observe(client);
    for writer in writers {
        writer.verify(seen.remove(&writer.name).unwrap_or_default(), may_hold_unanswered);
    }
    assert!(seen.is_empty(), "nobody wrote {:?}", seen.keys());
}

fn writers() -> Vec<Writer> {
    let writer = |n| Writer { name: format!("c{n}"), next: 0, known: Contents::new(), unanswered: None };
    (0..CLIENTS).map(writer).collect()
}

#[test]
fn what_was_answered_over_http_survives_a_kill() {
    survives_a_kill(&Place::embedded());
}

#[test]
fn what_was_answered_over_http_survives_a_kill_on_mongodb() {
    if let Some(place) = Place::on_mongodb() {
        survives_a_kill(&place);
    }
}

fn survives_a_kill(place: &Place) {
    let (first, mut writers) = (first_seed(500), writers());
    for seed in first..first + place.rounds(10, 3) {
        let answers = 1 + Rng(seed).below(place.rounds(800, 300));
        println!("seed {seed}: killed after {answers} answers");
        let (process, client) = place.serve("");
        write_until(&mut writers, client.base(), seed, answers, &|| process.kill());
        assert!(!process.wait().success());
        let (process, client) = place.serve("");
        verify(&mut writers, &client, true);
        process.kill();
        process.wait();
    }
    let versions: usize = writers.iter().flat_map(|writer| writer.known.values()).map(Vec::len).sum();
    println!("{versions} versions are there");
    place.check();
}

#[test]
fn a_program_that_is_asked_to_end_answers_what_it_commits() {
    answers_what_it_commits(&Place::embedded());
}

#[test]
fn a_program_that_is_asked_to_end_answers_what_it_commits_on_mongodb() {
    if let Some(place) = Place::on_mongodb() {
        answers_what_it_commits(&place);
    }
}

/// What the program has taken up when it is asked to end, it commits and answers: no client that got no answer finds that its
/// change was made.
fn answers_what_it_commits(place: &Place) {
    let (first, mut writers) = (first_seed(600), writers());
    for seed in first..first + place.rounds(5, 2) {
        let answers = 100 + Rng(seed).below(place.rounds(400, 100));
        println!("seed {seed}: asked to end after {answers} answers");
        let (process, client) = place.serve("");
        let asked = std::sync::OnceLock::new();
        write_until(&mut writers, client.base(), seed, answers, &|| {
            process.terminate();
            asked.set(std::time::Instant::now()).unwrap();
        });
        assert!(process.wait().success(), "{}", process.said());
        println!("it took {:?}", asked.get().unwrap().elapsed());
        let (process, client) = place.serve("");
        verify(&mut writers, &client, false);
        process.terminate();
        assert!(process.wait().success(), "{}", process.said());
    }
    place.check();
}
