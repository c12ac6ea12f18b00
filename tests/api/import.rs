//! `$import`: the protocol, what becomes of lines, what sources may do, and who may ask.

mod lines;
mod oauth;
mod rights;
mod sources;

use crate::support::{Answer, Client, Exported, Server, Source, job_path};
use pharos::config::Config;
use pharos::tenant::TenantId;
use serde_json::{Value, json};

pub const TENANT: TenantId = TenantId::DEFAULT;

/// The settings under which the sources of these tests may be read.
pub fn local(config: &mut Config) {
    config.bulk.import_hosts = vec!["127.0.0.1".into()];
    config.bulk.import_private = true;
}

pub fn server() -> Server {
    Server::with(local)
}

pub fn patient(id: &str) -> Value {
    json!({"resourceType": "Patient", "id": id, "name": [{"family": format!("Family-{id}")}]})
}

pub fn lines(resources: &[Value]) -> String {
    resources.iter().flat_map(|resource| [resource.to_string(), "\n".to_owned()]).collect()
}

/// A manifest of these inputs: type and URL.
pub fn manifest(inputs: &[(&str, &str)]) -> Value {
    let input = |(type_name, url): &(&str, &str)| json!({"type": type_name, "url": url});
    let inputs: Vec<_> = inputs.iter().map(input).collect();
    json!({
        "inputFormat": "application/fhir+ndjson", "inputSource": "https://example.org/other",
        "storageDetail": {"type": "https"}, "input": inputs
    })
}

pub fn begin(client: &Client, manifest: &Value) -> Answer {
    let request = client.post("/$import").header("Prefer", "respond-async");
    request.body("application/json", manifest.to_string()).expect(202)
}

/// Imports what a manifest names, to the end.
pub fn import(client: &Client, manifest: &Value) -> Exported {
    client.exported(&begin(client, manifest))
}

/// Imports what is sent with the request, to the end.
pub fn upload(client: &Client, query: &str, text: &str) -> Exported {
    let begun = client.post(&format!("/$import{query}")).body("application/fhir+ndjson", text).expect(202);
    client.exported(&begun)
}

/// `count` and `unchanged` of each input.
pub fn counts(imported: &Exported) -> Vec<(u64, u64)> {
    let output = imported.manifest["output"].as_array().unwrap();
    output.iter().map(|told| (told["count"].as_u64().unwrap(), told["unchanged"].as_u64().unwrap())).collect()
}

#[test]
fn the_protocol_is_that_of_exports() {
    let server = server();
    let observation = json!({"resourceType": "Observation", "id": "o", "status": "final", "code": {"text": "x"}, "subject": {"reference": "Patient/a"}});
    let patients = lines(&[patient("a"), json!({"resourceType": "Patient"}), patient("b")]);
    let source = Source::of([("/p", patients), ("/o", lines(&[observation]).trim_end().to_owned())]);
    let (p, o) = (source.url("/p"), source.url("/o"));
    let wanted = manifest(&[("Patient", &p), ("Observation", &o)]);
    let begun = begin(&server, &wanted);
    assert_eq!(begun.outcome().severities(), ["information"]);
    let imported = server.exported(&begun);
    assert_eq!(imported.answer.header("content-type"), Some("application/json"));
    assert!(imported.answer.header("expires").unwrap().ends_with("GMT"));
    let told = &imported.manifest;
    assert_eq!(told["request"], format!("{}/$import", server.base()));
    assert_eq!((&told["requiresAccessToken"], &told["error"]), (&json!(true), &json!([])));
    let output = json!([
        {"type": "Patient", "inputUrl": p, "count": 3, "unchanged": 0},
        {"type": "Observation", "inputUrl": o, "count": 1, "unchanged": 0}
    ]);
    assert_eq!(told["output"], output);
    assert_eq!(told["transactionTime"].as_str().map(str::len), Some(27));
    let mut stored = server.get("/Patient/a").expect(200).json();
    stored.as_object_mut().unwrap().remove("meta");
    assert_eq!(stored, patient("a"));
    assert_eq!(server.get("/Patient?_summary=count").expect(200).at("/total"), 3);
    assert_eq!(server.get("/Observation?subject=Patient/a&status=final").expect(200).ids(), ["o"]);
    assert_eq!((source.asked("/p"), source.asked("/o")), (1, 1));
    let folder = server.app().exports.folder_of(TENANT, &imported.path[7..]);
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0, "what was read is not needed any more");
    server.get(&imported.path).expect(200);
    server.delete(&imported.path).expect(202);
    server.get(&imported.path).expect(404).issue("not-found");
    assert!(!folder.exists());
}

#[test]
fn parameters_mean_the_same_as_a_manifest() {
    let server = server();
    let source = Source::of([("/p", lines(&[patient("a")]))]);
    let part = |name: &str, key: &str, value: &str| json!({"name": name, key: value});
    let body = json!({"resourceType": "Parameters", "parameter": [
        part("inputFormat", "valueCode", "application/fhir+ndjson"), part("inputSource", "valueUri", "https://example.org"),
        {"name": "storageDetail", "part": [part("type", "valueCode", "https")]},
        part("validation", "valueCode", "none"),
        {"name": "input", "part": [part("type", "valueCode", "Patient"), part("url", "valueUri", &source.url("/p"))]}
    ]});
    let begun = server.post("/$import").header("Prefer", "respond-async").json(body).expect(202);
    assert_eq!(counts(&server.exported(&begun)), [(1, 0)]);
    server.get("/Patient/a").expect(200);
}

#[test]
fn what_is_sent_with_the_request_is_sealed_until_it_is_stored() {
    let server = server();
    server.app().jobs.stop();
    let text = lines(&[patient("a"), json!({"resourceType": "Organization", "id": "o", "name": "Family-o"})]);
    let begun = server.post("/$import").body("application/fhir+ndjson; charset=utf-8", text).expect(202);
    let path = job_path(&server, &begun);
    let folder = server.app().exports.folder_of(TENANT, &path[7..]);
    let kept: Vec<_> =
        std::fs::read_dir(&folder).unwrap().map(|file| std::fs::read(file.unwrap().path()).unwrap()).collect();
    assert!(kept.len() == 1 && !kept[0].windows(6).any(|window| window == b"Family"));
    let swept = crate::support::tokens::block_on(server.app().sweep_exports(TENANT)).unwrap();
    assert_eq!((swept, folder.exists()), (0, true));
    server.delete(&path).expect(202);
    server.get(&path).expect(404);
    assert_eq!(crate::support::tokens::block_on(server.app().sweep_exports(TENANT)).unwrap(), 1);
    assert!(!folder.exists());
    server.get("/Patient/a").expect(404);

    let other = self::server();
    let text = lines(&[patient("a"), json!({"resourceType": "Organization", "id": "o", "name": "O"})]);
    assert_eq!(counts(&upload(&other, "", &text)), [(2, 0)]);
    let typed = upload(&other, "?type=Patient", &text);
    assert_eq!((counts(&typed), typed.notes().len()), (vec![(1, 1)], 1));
    assert_eq!(counts(&upload(&other, "", "")), [(0, 0)]);
    other.get("/Organization/o").expect(200);
}

#[test]
fn an_export_of_one_server_makes_another_the_same() {
    let (one, other) = (server(), server());
    for nth in 0..1200 {
        let reference = json!({"reference": format!("Patient/p{}", nth % 10)});
        let made = json!({"resourceType": "Observation", "id": format!("o{nth}"), "status": "final", "code": {"text": "é"}, "valueQuantity": {"value": 1.50, "unit": "mg"}, "subject": reference});
        if nth < 10 {
            one.put(&format!("/Patient/p{nth}")).json(patient(&format!("p{nth}"))).expect(201);
        }
        if nth % 200 == 0 {
            one.put(&format!("/Observation/o{nth}")).json(&made).expect(201);
        }
    }
    let entries: Vec<_> = (0..900)
        .map(|nth| json!({"resource": {"resourceType": "Basic", "id": format!("b{nth}"), "code": {"text": "x"}}, "request": {"method": "PUT", "url": format!("Basic/b{nth}")}}))
        .collect();
    one.post("/").json(json!({"resourceType": "Bundle", "type": "transaction", "entry": entries})).expect(200);
    let exported = one.export("/$export");
    let urls: Vec<(String, String)> = exported.manifest["output"]
        .as_array()
        .unwrap()
        .iter()
        .map(|file| (file["type"].as_str().unwrap().to_owned(), file["url"].as_str().unwrap().to_owned()))
        .collect();
    let inputs: Vec<_> = urls.iter().map(|(type_name, url)| (&**type_name, &**url)).collect();
    let imported = import(&other, &manifest(&inputs));
    assert_eq!(counts(&imported).iter().map(|(count, _)| count).sum::<u64>(), 916);
    let plain = |exported: &Exported| {
        let mut lines = exported.lines("output");
        for line in &mut lines {
            line.as_object_mut().unwrap().remove("meta");
        }
        lines.sort_by_key(ToString::to_string);
        lines
    };
    assert_eq!(plain(&other.export("/$export")), plain(&exported));
    // Again: nothing new.
    let again = import(&other, &manifest(&inputs));
    assert!(counts(&again).iter().all(|(count, unchanged)| count == unchanged), "{:?}", counts(&again));
    assert_eq!(other.get("/Basic/b7").expect(200).version(), "1");
}
