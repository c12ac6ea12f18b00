//! Records of patients that somebody else generated, as transactions through the API, and back.

use crate::support::server::rounds;
use crate::support::tree::{Links, difference, tree};
use crate::support::{Client, Server};
use flate2::read::GzDecoder;
use pharos::fhir::tree::{Object, Value};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Instant;

/// The files of `PHAROS_SYNTHEA`, sorted; none where the folder is absent.
fn bundles() -> Vec<PathBuf> {
    let folder = std::env::var_os("PHAROS_SYNTHEA").map_or_else(|| "../shared/data/synthea".into(), PathBuf::from);
    let Ok(files) = std::fs::read_dir(&folder) else { return Vec::new() };
    let mut files: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
    files.retain(|file| file.to_string_lossy().ends_with(".json.gz"));
    files.sort();
    files.truncate(rounds(files.len(), 5));
    files
}

#[test]
fn records_come_back_as_they_were_sent() {
    let files = bundles();
    if files.is_empty() {
        println!("skipped: PHAROS_SYNTHEA names no folder with Bundles (*.json.gz)");
        return;
    }
    let server = Server::with(|config| config.workers = 2);
    let started = Instant::now();
    let (count, bundles) = (files.len(), Mutex::new(files.into_iter()));
    let next = || bundles.lock().unwrap().next();
    // Two clients: one loads and compares while the server works for the other.
    let sums = std::thread::scope(|scope| {
        let client = || std::iter::from_fn(next).map(|file| load_and_compare(&server, &file)).collect::<Vec<_>>();
        let clients = [scope.spawn(client), scope.spawn(client)];
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect::<Vec<_>>()
    });
    let resources: usize = sums.iter().map(|sum| sum.0).sum();
    let links: usize = sums.iter().map(|sum| sum.1).sum();
    println!("{count} Bundles, {resources} resources, {links} references rewritten, in {:?}", started.elapsed());
    assert_eq!((sums.len(), resources > count, links > resources), (count, true, true));
}

/// Loads one Bundle, and holds each of its resources against what a read gives. Returns how many resources there were, and
/// how many references to others of the Bundle.
fn load_and_compare(server: &Client, file: &Path) -> (usize, usize) {
    let mut bytes = Vec::new();
    GzDecoder::new(File::open(file).unwrap()).read_to_end(&mut bytes).unwrap();
    let answer = server.post("").body("application/fhir+json", bytes.clone()).expect(200);
    let (sent, answer) = (tree(&bytes), answer.tree());
    let (sent, answered) = (sent.get("entry").unwrap().items(), answer.get("entry").unwrap().items());
    assert_eq!(sent.len(), answered.len(), "{}", file.display());

    let mut links = Links::new();
    for (sent, answered) in sent.iter().zip(answered) {
        let location = created_at(server.base(), answered);
        let full_url = sent.get("fullUrl").and_then(Value::as_str).unwrap();
        assert!(links.insert(full_url.to_owned(), location).is_none());
    }
    let mut rewritten = 0;
    for entry in sent {
        let sent = resource(entry);
        let path = &links[entry.get("fullUrl").and_then(Value::as_str).unwrap()];
        let answer = server.get(&format!("/{path}")).expect(200);
        let got = answer.tree();
        assert_eq!(difference(sent, &got, &links), None, "{path} of {}", file.display());
        let meta = got.get("meta").and_then(Value::as_object).unwrap();
        assert_eq!(
            (format!("{}/{}", got.resource_type().unwrap(), got.id().unwrap()).as_str(), meta.str("versionId")),
            (path.as_str(), Some("1"))
        );
        rewritten += references_in(sent, &links);
    }
    (sent.len(), rewritten)
}

fn resource<'v, 'a>(entry: &'v Value<'a>) -> &'v Object<'a> {
    entry.get("resource").and_then(Value::as_object).unwrap()
}

/// `Type/id` of an entry of the answer, which says 201.
fn created_at(base: &str, entry: &Value<'_>) -> String {
    let response = entry.get("response").and_then(Value::as_object).unwrap();
    assert_eq!(response.str("status"), Some("201 Created"));
    let path = response.str("location").unwrap();
    let path = path.strip_prefix(base).unwrap_or(path).trim_start_matches('/');
    path.strip_suffix("/_history/1").unwrap().to_owned()
}

/// How many references of a resource point into its Bundle.
fn references_in(resource: &Object<'_>, links: &Links) -> usize {
    resource.iter().map(|(name, value)| of_value(name, value, links)).sum()
}

fn of_value(name: &str, value: &Value<'_>, links: &Links) -> usize {
    match value {
        Value::String(text) => usize::from(name == "reference" && links.contains_key(text.as_ref())),
        Value::Array(items) => items.iter().map(|item| of_value(name, item, links)).sum(),
        Value::Object(object) => references_in(object, links),
        _ => 0,
    }
}
