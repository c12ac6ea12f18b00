use super::files::find;
use super::inside::Inside;
use super::items::{Content, Item, Place, split};
use super::remote::Remote;
use super::resume::Journal;
use super::target::Target;
use super::work::{Summary, load};
use crate::cli::demo::population::Population;
use crate::fhir::parse::parse;
use crate::fhir::tree::Value;
use crate::fhir::write::to_vec;
use flate2::Compression;
use flate2::write::GzEncoder;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use tempfile::TempDir;

/// A server that answers each POST as `answer` says, and remembers the bodies.
struct Stub {
    url: String,
    bodies: Arc<Mutex<Vec<String>>>,
}

impl Stub {
    fn start(answer: impl Fn(usize, &str) -> (u16, String) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let url = format!("http://{}/fhir", listener.local_addr().unwrap());
        let bodies = Arc::new(Mutex::new(Vec::new()));
        let (seen, answer) = (Arc::clone(&bodies), Arc::new(answer));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (seen, answer) = (Arc::clone(&seen), Arc::clone(&answer));
                std::thread::spawn(move || serve(stream.unwrap(), &seen, &*answer));
            }
        });
        Self { url, bodies }
    }

    fn bodies(&self) -> Vec<String> {
        self.bodies.lock().unwrap().clone()
    }
}

fn serve(stream: TcpStream, seen: &Mutex<Vec<String>>, answer: &dyn Fn(usize, &str) -> (u16, String)) {
    let mut out = stream.try_clone().unwrap();
    let mut input = BufReader::new(stream);
    loop {
        let (mut length, mut line) = (0, String::new());
        while input.read_line(&mut line).unwrap_or(0) > 0 && line != "\r\n" {
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            line.clear();
        }
        if line.is_empty() {
            return;
        }
        let mut body = vec![0; length];
        input.read_exact(&mut body).unwrap();
        let body = String::from_utf8(body).unwrap();
        let number = {
            let mut seen = seen.lock().unwrap();
            seen.push(body.clone());
            seen.len()
        };
        let (status, text) = answer(number, &body);
        let head = format!("HTTP/1.1 {status} X\r\nretry-after: 0\r\ncontent-length: {}\r\n\r\n", text.len());
        out.write_all(format!("{head}{text}").as_bytes()).unwrap();
    }
}

fn entries(bundle: &str) -> Vec<Value<'_>> {
    parse(bundle.as_bytes(), 64).unwrap().get("entry").unwrap().items().to_vec()
}

/// Takes everything.
fn take_all(_: usize, body: &str) -> (u16, String) {
    let entry = r#"{"response":{"status":"201 Created"}}"#;
    let entries = vec![entry; entries(body).len()].join(",");
    (200, format!(r#"{{"resourceType":"Bundle","type":"batch-response","entry":[{entries}]}}"#))
}

/// Refuses what says `"bad"`: a transaction as a whole, of a batch the entry.
fn refuse_bad(_: usize, body: &str) -> (u16, String) {
    const OUTCOME: &str = r#"{"resourceType":"OperationOutcome","issue":[{"severity":"error","code":"value","diagnostics":"not a gender","expression":["Patient.gender"]}]}"#;
    if body.contains("transaction") && body.contains("\"bad\"") {
        return (422, OUTCOME.to_owned());
    }
    let one = |entry: &Value<'_>| {
        let bad = String::from_utf8(to_vec(entry)).unwrap().contains("\"bad\"");
        if bad {
            format!(r#"{{"response":{{"status":"422","outcome":{OUTCOME}}}}}"#)
        } else {
            r#"{"response":{"status":"200"}}"#.to_owned()
        }
    };
    let entries: Vec<String> = entries(body).iter().map(one).collect();
    (200, format!(r#"{{"resourceType":"Bundle","entry":[{}]}}"#, entries.join(",")))
}

fn write(folder: &TempDir, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
    let path = folder.path().join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, text).unwrap();
    path
}

fn gz(text: &str) -> Vec<u8> {
    let mut out = GzEncoder::new(Vec::new(), Compression::fast());
    out.write_all(text.as_bytes()).unwrap();
    out.finish().unwrap()
}

fn patients(genders: &[&str]) -> String {
    let line = |(n, gender): (usize, &&str)| format!(r#"{{"resourceType":"Patient","id":"p{n}","gender":"{gender}"}}"#);
    genders.iter().enumerate().map(line).collect::<Vec<_>>().join("\n")
}

fn run(path: &Path, stub: &Stub, resume: Option<&Path>) -> Summary {
    let journal = resume.map(|path| Journal::open(path, "there").unwrap());
    load(&find(&[path.to_owned()]).unwrap(), &Remote::new(&stub.url, None).unwrap(), journal, 2).unwrap()
}

fn items(path: &Path) -> Vec<Item> {
    let inputs = find(&[path.to_owned()]).unwrap();
    let mut items = Vec::new();
    for (number, input) in inputs.iter().enumerate() {
        split(
            number,
            input,
            |_| false,
            |item| {
                items.push(item);
                true
            },
        )
        .unwrap();
    }
    items
}

#[test]
fn folders_are_searched_in_the_order_of_names_and_other_forms_passed_over() {
    let folder = TempDir::new().unwrap();
    for name in ["b.ndjson.gz", "a/z.json", "a/notes.txt", "c.json.gz", "d.csv.gz"] {
        write(&folder, name, "{}");
    }
    let root = folder.path().canonicalize().unwrap();
    let found: Vec<PathBuf> = find(&[folder.path().to_owned()]).unwrap().into_iter().map(|input| input.path).collect();
    assert_eq!(found, ["a/z.json", "b.ndjson.gz", "c.json.gz"].map(|name| root.join(name)));
    let named = find(&[folder.path().join("a/notes.txt")]).unwrap_err().to_string();
    assert!(named.contains("neither .json nor .ndjson"), "{named}");
    assert!(find(&[folder.path().join("missing.json")]).is_err());
}

#[test]
fn a_transaction_is_sent_as_it_is() {
    let folder = TempDir::new().unwrap();
    let text =
        r#"{"resourceType":"Bundle", "type":"transaction","entry":[{"resource":{"resourceType":"Basic","x":1.00}}]}"#;
    let item = items(&write(&folder, "t.json.gz", gz(text))).remove(0);
    assert!(matches!(item.content, Content::Bundle(sent, 1) if sent == text.as_bytes()));
}

#[test]
fn a_collection_becomes_a_transaction_that_puts_what_has_an_id() {
    let folder = TempDir::new().unwrap();
    let text = r#"{"resourceType":"Bundle","type":"collection","entry":[
        {"fullUrl":"urn:uuid:1","resource":{"resourceType":"Patient","id":"p","birthDate":"1990"}},
        {"fullUrl":"urn:uuid:2","resource":{"resourceType":"Basic"}}]}"#;
    let item = items(&write(&folder, "c.json", text)).remove(0);
    let Content::Bundle(sent, 2) = item.content else { panic!("{:?}", item.content) };
    assert_eq!(
        String::from_utf8(sent).unwrap(),
        concat!(
            r#"{"resourceType":"Bundle","type":"transaction","entry":["#,
            r#"{"fullUrl":"urn:uuid:1","resource":{"resourceType":"Patient","id":"p","birthDate":"1990"},"#,
            r#""request":{"method":"PUT","url":"Patient/p"}},"#,
            r#"{"fullUrl":"urn:uuid:2","resource":{"resourceType":"Basic"},"request":{"method":"POST","url":"Basic"}}]}"#
        )
    );
}

#[test]
fn what_is_no_resource_is_not_sent() {
    let folder = TempDir::new().unwrap();
    for text in ["{", "[]", r#"{"resourceType":"Bundle","type":"history"}"#] {
        let item = items(&write(&folder, "x.json", text)).remove(0);
        assert!(matches!(item.content, Content::Unusable(_)), "{text}");
    }
    let stub = Stub::start(take_all);
    let text = "{\"resourceType\":\"Basic\"}\n\n{broken\n{}\n{\"resourceType\":\"Basic\"}";
    let summary = run(&write(&folder, "x.ndjson", text), &stub, None);
    assert_eq!((summary.written, summary.failed), (2, 2));
    assert_eq!(entries(&stub.bodies()[0]).len(), 2);
    let summary = run(&write(&folder, "y.json", "{}"), &stub, None);
    assert_eq!((summary.written, summary.failed, stub.bodies().len()), (0, 1, 1));
}

#[test]
fn lines_go_in_groups_and_account_for_all_bytes() {
    let folder = TempDir::new().unwrap();
    let text = patients(&["male"; 450]);
    let path = write(&folder, "p.ndjson", &text);
    let groups = items(&path);
    let lines: Vec<&Place> = groups.iter().map(|item| &item.place).collect();
    assert_eq!(lines, [&Place::Lines(1..=200), &Place::Lines(201..=400), &Place::Lines(401..=450)]);
    assert_eq!(groups.iter().map(|item| item.bytes).sum::<u64>(), text.len() as u64);
    let stub = Stub::start(take_all);
    let summary = run(&path, &stub, None);
    assert_eq!((summary.written, summary.failed), (450, 0));
    assert_eq!(stub.bodies().len(), 3);
}

#[test]
fn a_refused_line_is_named_and_the_others_are_written() {
    let folder = TempDir::new().unwrap();
    let path = write(&folder, "p.ndjson", patients(&["male", "bad", "female"]));
    let stub = Stub::start(refuse_bad);
    let summary = run(&path, &stub, None);
    assert_eq!((summary.written, summary.failed), (2, 1));
    let bodies = stub.bodies();
    assert!(bodies[0].contains(r#""type":"transaction""#) && bodies[1].contains(r#""type":"batch""#));
}

#[test]
fn resuming_sends_only_what_is_not_done() {
    let folder = TempDir::new().unwrap();
    write(&folder, "data/a.json", r#"{"resourceType":"Patient","id":"a"}"#);
    write(&folder, "data/b.ndjson", patients(&["male", "bad", "female"]));
    let (data, resume) = (folder.path().join("data"), folder.path().join("done"));
    let first = run(&data, &Stub::start(refuse_bad), Some(&resume));
    assert_eq!((first.written, first.failed, first.skipped), (3, 1, 0));

    // A crash in the middle of a line must not spoil what is noted after it.
    std::fs::OpenOptions::new().append(true).open(&resume).unwrap().write_all(b"{\"path\":\"/half").unwrap();
    let stub = Stub::start(take_all);
    let second = run(&data, &stub, Some(&resume));
    assert_eq!((second.written, second.failed, second.skipped), (1, 0, 1));
    assert!(stub.bodies()[0].contains("\"bad\"") && !stub.bodies()[0].contains("\"male\""));
    let third = run(&data, &Stub::start(take_all), Some(&resume));
    assert_eq!((third.written, third.failed), (0, 0));

    write(&folder, "data/a.json", r#"{"resourceType":"Patient","id":"a","active":true}"#);
    let fourth = run(&data, &Stub::start(take_all), Some(&resume));
    assert_eq!((fourth.written, fourth.skipped), (1, 0), "a changed file is loaded again");
    assert!(Journal::open(&resume, "elsewhere").is_err(), "what is done there is not done here");
}

#[test]
fn a_server_with_too_much_to_do_is_asked_again() {
    let folder = TempDir::new().unwrap();
    let path = write(&folder, "a.json", r#"{"resourceType":"Patient","id":"a"}"#);
    let stub = Stub::start(|number, body| if number < 3 { (503, String::new()) } else { take_all(number, body) });
    let summary = run(&path, &stub, None);
    assert_eq!((summary.written, summary.failed, stub.bodies().len()), (1, 0, 3));
}

#[test]
fn a_server_that_is_gone_ends_the_load() {
    let folder = TempDir::new().unwrap();
    for number in 0..60 {
        write(&folder, &format!("{number}.json"), r#"{"resourceType":"Patient","id":"a"}"#);
    }
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let url = format!("http://{}/fhir", listener.local_addr().unwrap());
    drop(listener);
    let target = Remote::new(&url, None).unwrap();
    let summary = load(&find(&[folder.path().to_owned()]).unwrap(), &target, None, 2).unwrap();
    assert!(summary.stopped && summary.failed < 60, "{summary}");
}

#[test]
fn the_reason_names_status_text_and_element() {
    let stub = Stub::start(refuse_bad);
    let target = Remote::new(&stub.url, None).unwrap();
    let bundle =
        |kind| format!(r#"{{"resourceType":"Bundle","type":"{kind}","entry":[{{"x":"bad"}},{{"x":"good"}}]}}"#);
    let refused = target.send(bundle("transaction").as_bytes()).unwrap_err();
    assert_eq!(refused.to_string(), "422: not a gender (Patient.gender)");
    let outcomes = target.send(bundle("batch").as_bytes()).unwrap();
    assert_eq!(outcomes[0], Some(refused));
    assert_eq!(outcomes[1], None);
    assert!(Remote::new("ftp://x", None).is_err());
}

/// An empty store in a folder.
fn store(folder: &TempDir) -> Inside {
    let settings = crate::cli::Settings {
        store: Some(format!("file:{}", folder.path().join("store").display())),
        ..crate::cli::Settings::default()
    };
    Inside::open(settings, None).unwrap()
}

#[test]
fn lines_are_stored_as_by_an_import() {
    let folder = TempDir::new().unwrap();
    let other = r#"{"resourceType":"Patient","id":"p0","identifier":[{"system":"urn:mrn","value":"1"}]}"#;
    let observation = r#"{"resourceType":"Observation","id":"o","status":"final","code":{"text":"x"},"subject":{"reference":"Patient?identifier=urn:mrn|1"}}"#;
    let nobody = observation.replace("mrn|1", "mrn|2");
    let lines = [&patients(&["male", "bad", "female"]), "{", other, observation, &nobody].join("\n");
    let inputs = find(&[write(&folder, "a.ndjson", lines)]).unwrap();
    let target = store(&folder);
    let load = || load(&inputs, &target, None, 1).unwrap();
    let first = load();
    assert_eq!((first.written, first.unchanged, first.failed), (4, 0, 3), "the last line of an id counts");
    let second = load();
    assert_eq!((second.written, second.unchanged, second.failed), (2, 2, 3), "{second}");
    let read =
        r#"{"resourceType":"Bundle","type":"batch","entry":[{"request":{"method":"GET","url":"Observation/o"}}]}"#;
    let answer = String::from_utf8(target.answer(read.as_bytes()).unwrap()).unwrap();
    assert!(answer.contains(r#""reference":"Patient/p0""#), "{answer}");
    let whole =
        find(&[write(&folder, "b.json", "{\n  \"resourceType\": \"Basic\",\n  \"code\": {\"text\": \"x\"}\n}")]);
    let third = super::work::load(&whole.unwrap(), &target, None, 1).unwrap();
    assert_eq!((third.written, third.failed), (1, 0));
    target.close().unwrap();
}

#[test]
fn the_sample_population_loads_into_a_store() {
    let folder = TempDir::new().unwrap();
    let mut resources = 0;
    for (number, bundle) in Population::new(1, 3, jiff::civil::date(2025, 11, 20)).enumerate() {
        resources += bundle.get("entry").unwrap().items().len();
        write(&folder, &format!("data/{number}.json"), to_vec(&bundle));
    }
    let target = store(&folder);
    let summary = load(&find(&[folder.path().join("data")]).unwrap(), &target, None, 3).unwrap();
    assert_eq!((summary.written, summary.failed), (resources, 0));
    target.close().unwrap();
}
