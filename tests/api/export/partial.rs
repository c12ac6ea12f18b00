//! `allowPartialManifests`: pages of the manifest, and files before all are there.

use super::{fill, observation};
use crate::support::tokens::block_on;
use crate::support::{Answer, Client, Server, job_path};
use pharos::jobs::State;
use pharos::tenant::TenantId;
use serde_json::{Value, json};
use std::collections::BTreeSet;

const KICK_OFF: &str = "/$export?allowPartialManifests=true&_type=Group,Observation,Organization,Patient";

/// A page without the link to the next one, and that link.
fn page(answer: &Answer) -> (Value, Option<String>) {
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let mut page = answer.json();
    let link = page.as_object_mut().unwrap().remove("link");
    let url = link.map(|link| {
        assert_eq!((&link[0]["relation"], link.as_array().unwrap().len()), (&json!("next"), 1));
        link[0]["url"].as_str().unwrap().to_owned()
    });
    (page, url)
}

fn pages(client: &Client, path: &str) -> Vec<Value> {
    let (first, mut next) = page(&client.get(path).expect(200));
    let mut all = vec![first];
    while let Some(url) = next {
        let (one, then) = page(&client.get(&url).expect(200));
        next = then;
        all.push(one);
    }
    all
}

fn urls(pages: &[Value]) -> Vec<String> {
    let files = pages.iter().flat_map(|page| page["output"].as_array().unwrap());
    files.map(|file| file["url"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_manifest_has_pages_with_links() {
    let server = Server::with(|config| config.bulk.manifest_files = 3);
    fill(&server);
    let prefer = "respond-async, handling=lenient";
    let begun = server.get(&format!("{KICK_OFF}&unheard=of")).header("Prefer", prefer).expect(202);
    let done = server.exported(&begun);
    let pages = pages(&server, &done.path);
    assert_eq!(pages.iter().map(|page| page["output"].as_array().unwrap().len()).collect::<Vec<_>>(), [3, 1]);
    for member in ["transactionTime", "request", "requiresAccessToken", "error"] {
        assert_eq!(pages[0][member], pages[1][member]);
    }
    assert_eq!(pages[0]["error"].as_array().unwrap().len(), 1);
    let types: BTreeSet<_> = urls(&pages).iter().map(|url| server.get(url).expect(200).text().to_owned()).collect();
    assert_eq!(types.len(), 4);
    for name in ["manifest-3.json", "manifest-1.json", "manifest-02.json"] {
        server.get(&format!("{}/{name}", done.path)).expect(404);
    }
    // Who does not ask for pages has one.
    let whole = server.export("/$export?_type=Group,Observation,Organization,Patient");
    assert_eq!((whole.urls("output", None).len(), whole.manifest.get("link")), (4, None));
    server.get(&format!("{}/manifest-2.json", whole.path)).expect(404);
    let empty = server.export("/$export?allowPartialManifests=true&_type=Encounter");
    assert_eq!((&empty.manifest["output"], empty.manifest.get("link")), (&json!([]), None));
}

#[test]
fn files_can_be_had_before_all_are_there_and_a_page_never_changes() {
    let server = Server::with(|config| (config.bulk.manifest_files, config.bulk.file_bytes) = (3, 50_000));
    fill(&server);
    for part in 0..5 {
        let entry = |n: u64| json!({"resource": observation(&format!("n{n}"), "a"), "request": {"method": "PUT", "url": format!("Observation/n{n}")}});
        let entries: Vec<_> = (part * 900..(part + 1) * 900).map(entry).collect();
        server.post("/").json(json!({"resourceType": "Bundle", "type": "transaction", "entry": entries})).expect(200);
    }
    let jobs = &server.app().jobs;
    jobs.stop();
    let run =
        |path: &str| block_on(jobs.run_to_end(TenantId::DEFAULT, path.rsplit('/').next().unwrap())).unwrap().unwrap();
    let path = job_path(&server, &server.get(KICK_OFF).expect(202));
    server.get(&path).expect(202).header_is("x-progress", "waiting");
    // What stands where files of the last type should be holds up the export in the middle.
    let folder = server.app().exports.folder_of(TenantId::DEFAULT, &path[7..]);
    let in_the_way: Vec<_> = (1..100).map(|n| folder.join(format!("{n}.Patient.ndjson"))).collect();
    for file in &in_the_way {
        std::fs::create_dir_all(file).unwrap();
    }
    assert_eq!(run(&path).state, State::Active);

    let (mut seen, mut next) = (Vec::new(), Some(path.clone()));
    while let Some(url) = next {
        let answer = server.get(&url).send();
        let (one, then) = page(&answer);
        let may_go_on = seen.is_empty() || then.is_none();
        assert_eq!(answer.status(), if may_go_on { 202 } else { 200 }, "{answer}");
        assert_eq!(answer.header("retry-after").is_some(), may_go_on);
        next = then;
        seen.push(one);
    }
    assert!(seen.len() > 2 && seen.iter().all(|page| page["output"].as_array().unwrap().len() == 3), "{seen:#?}");
    let texts: Vec<_> = urls(&seen).iter().map(|url| server.get(url).expect(200).text().to_owned()).collect();
    server.get(&format!("{path}/manifest-{}.json", seen.len() + 1)).expect(404);

    for file in &in_the_way {
        std::fs::remove_dir(file).unwrap();
    }
    assert_eq!(run(&path).state, State::Done);
    let all = pages(&server, &path);
    assert!(all.len() > seen.len() && all.starts_with(&seen));
    let now: Vec<_> = urls(&all).iter().map(|url| server.get(url).expect(200).text().to_owned()).collect();
    assert!(now.starts_with(&texts));
    assert_eq!(now.iter().map(|text| text.lines().count()).sum::<usize>(), 4500 + 8);

    // Who does not ask for it hears nothing before it is done.
    let whole = job_path(&server, &server.get("/$export").expect(202));
    assert_eq!(server.get(&whole).expect(202).text(), "");
}
