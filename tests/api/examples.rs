//! The example resources of HL7, stored and read back.

use crate::support::server::{is_on_mongodb, rounds};
use crate::support::tree::{Links, difference, tree};
use crate::support::{Answer, Client, Server};
use pharos::fhir::reference::is_id;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::sync::Mutex;
use std::time::Instant;

/// All resources of the package that `PHAROS_R4_PACKAGE` names, by the name of their file, definitions included.
fn package() -> Option<BTreeMap<String, Vec<u8>>> {
    let Some(path) = std::env::var_os("PHAROS_R4_PACKAGE") else {
        println!("skipped: PHAROS_R4_PACKAGE does not name the package of HL7's examples");
        return None;
    };
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(std::fs::File::open(path).unwrap()));
    let mut resources = BTreeMap::new();
    for file in archive.entries().unwrap() {
        let mut file = file.unwrap();
        let path = file.path().unwrap().into_owned();
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        if path.extension().is_some_and(|extension| extension == "json") && name != "package" {
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes).unwrap();
            resources.insert(name, bytes);
        }
    }
    Some(resources.into_iter().step_by(rounds(1, 25)).collect())
}

/// A row of a table of refused examples, without what it says about the reason.
type Refusal = (String, String, String);

/// The tables: what the structural checks refuse, and the SearchParameters that could not take effect.
fn documented() -> BTreeSet<Refusal> {
    let pages = [include_str!("../../docs/validation.md"), include_str!("../../docs/search-parameters.md")];
    pages.into_iter().flat_map(documented_on).collect()
}

fn documented_on(page: &str) -> BTreeSet<Refusal> {
    let rows = page.lines().skip_while(|line| !line.starts_with("| example | element | issue |"));
    let cells = |row: &str| {
        let mut cells = row.trim_matches('|').split(" | ").map(|cell| cell.trim().to_owned());
        (cells.next().unwrap(), cells.next().unwrap(), cells.next().unwrap())
    };
    rows.skip(2).take_while(|line| line.starts_with('|')).map(cells).collect()
}

#[test]
fn examples_come_back_as_they_were_sent_and_the_refused_ones_are_documented() {
    let Some(package) = package() else { return };
    let started = Instant::now();
    let server = Server::with(|config| config.workers = 2);
    // On MongoDB only some are stored.
    let is_stored = |refusal: &Refusal| !is_on_mongodb() || package.contains_key(&refusal.0);
    let expected: BTreeSet<Refusal> = documented().into_iter().filter(is_stored).collect();
    let (count, resources) = (package.len(), Mutex::new(package.into_iter()));
    let next = || resources.lock().unwrap().next();
    let client =
        || std::iter::from_fn(next).flat_map(|(name, bytes)| store(&server, &name, &bytes)).collect::<Vec<_>>();
    let refused: BTreeSet<Refusal> = std::thread::scope(|scope| {
        let clients = [scope.spawn(client), scope.spawn(client)];
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
    });
    println!("{count} resources, of which {} are refused, in {:?}", names(&refused).len(), started.elapsed());
    assert_eq!(refused, expected);
}

fn names(refused: &BTreeSet<Refusal>) -> BTreeSet<&String> {
    refused.iter().map(|refusal| &refusal.0).collect()
}

/// Stores a resource under its own id, where it has a good one, and holds what a read gives against it. Returns why it was
/// refused: element and issue, the positions in lists left out.
fn store(server: &Client, name: &str, bytes: &[u8]) -> Vec<Refusal> {
    let sent = tree(bytes);
    let sent = sent.as_object().unwrap();
    let kind = sent.resource_type().unwrap();
    let request = match sent.id() {
        Some(id) if is_id(id) => server.put(&format!("/{kind}/{id}")),
        _ => server.post(&format!("/{kind}")),
    };
    let answer = request.body("application/fhir+json", bytes).send();
    if answer.status() == 400 || (answer.status() == 422 && kind == "SearchParameter") {
        return refusals(name, &answer);
    }
    if kind == "AuditEvent" {
        assert_eq!(answer.status(), 405, "{name}: only the ledger makes them");
        return Vec::new();
    }
    assert!(matches!(answer.status(), 200 | 201), "{name}: {answer}");
    let location = answer.location(server.base());
    // Without this, a Binary comes back as what it holds.
    let read = server.get(&location).header("Accept", "application/fhir+json").expect(200);
    let got = read.tree();
    assert_eq!(difference(sent, &got, &Links::new()), None, "{name}");
    assert_eq!(id_in(&location), got.id(), "{name}");
    let made = (got.id(), answer.header("etag"));
    if sent.id().is_some() && answer.status() == 201 {
        assert_eq!(made, (sent.id(), Some("W/\"1\"")), "{name}");
    }
    Vec::new()
}

fn id_in(location: &str) -> Option<&str> {
    location.split('/').nth(2)
}

fn refusals(name: &str, answer: &Answer) -> Vec<Refusal> {
    let outcome = answer.outcome();
    let without_positions = |path: &String| {
        path.split('[').map(|part| part.split_once(']').map_or(part, |(_, rest)| rest)).collect::<String>()
    };
    let elements = outcome.expressions();
    let issues = elements.iter().map(without_positions).zip(outcome.diagnostics());
    issues.map(|(element, issue)| (name.to_owned(), element, issue)).collect()
}
