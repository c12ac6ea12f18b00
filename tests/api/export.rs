//! `$export`: the protocol, what is in the files, and what is refused.

mod bucket;
mod files;
mod groups;
mod organized;
mod partial;
mod purged;
mod rules;
mod snapshot;

use crate::support::{Client, Server};
use serde_json::{Value, json};

pub fn put(client: &Client, resource: &Value) {
    let path = format!("/{}/{}", resource["resourceType"].as_str().unwrap(), resource["id"].as_str().unwrap());
    let answer = client.put(&path).json(resource).send();
    assert!([200, 201].contains(&answer.status()), "{answer}");
}

pub fn patient(id: &str) -> Value {
    json!({"resourceType": "Patient", "id": id, "gender": "female", "name": [{"family": format!("Family-{id}")}]})
}

pub fn observation(id: &str, patient: &str) -> Value {
    let subject = json!({"reference": format!("Patient/{patient}")});
    json!({"resourceType": "Observation", "id": id, "status": "final", "code": {"text": id}, "subject": subject})
}

pub fn group(id: &str, members: &[&str]) -> Value {
    let member = |reference: &&str| json!({"entity": {"reference": reference}});
    let members: Vec<_> = members.iter().map(member).collect();
    json!({"resourceType": "Group", "id": id, "type": "person", "actual": true, "member": members})
}

/// Three patients with an Observation each, and what belongs to none.
pub fn fill(client: &Client) {
    for id in ["a", "b", "c"] {
        put(client, &patient(id));
        put(client, &observation(&format!("of-{id}"), id));
    }
    put(client, &json!({"resourceType": "Organization", "id": "org", "name": "Org"}));
    put(client, &group("ab", &["Patient/a", "Patient/b"]));
}

#[test]
fn the_protocol_is_that_of_the_specification() {
    let server = Server::start();
    fill(&server);
    let begun = server.get("/$export?_type=Patient").header("Prefer", "respond-async").expect(202);
    assert_eq!(begun.outcome().severities(), ["information"]);
    let exported = server.exported(&begun);
    let base = server.base();
    assert_eq!(exported.answer.header("content-type"), Some("application/json"));
    assert!(exported.answer.header("expires").unwrap().ends_with("GMT"));
    let manifest = &exported.manifest;
    assert_eq!(manifest["request"], format!("{base}/$export?_type=Patient"));
    assert_eq!(manifest["requiresAccessToken"], true);
    assert_eq!((&manifest["deleted"], &manifest["error"]), (&json!([]), &json!([])));
    let url = format!("{base}{}/1.Patient.ndjson", exported.path);
    assert_eq!(manifest["output"], json!([{"type": "Patient", "url": url, "count": 3}]));
    let newest = server.get("/Group/ab").expect(200).at("/meta/lastUpdated");
    assert_eq!(manifest["transactionTime"], newest, "all that was committed until then is in it");

    let lines = exported.lines("output");
    for line in &lines {
        let stored = server.get(&format!("/Patient/{}", line["id"].as_str().unwrap())).expect(200).json();
        assert_eq!(*line, stored);
    }
    server.get(&exported.path).expect(200);
    server.delete(&exported.path).expect(202);
    server.get(&exported.path).expect(404).issue("not-found");
    server.get(&url).expect(404).issue("not-found");
    server.delete(&exported.path).expect(404).issue("not-found");
    assert!(!server.app().exports.folder_of(pharos::tenant::TenantId::DEFAULT, &exported.path[7..]).exists());
}

#[test]
fn the_whole_system_and_all_patients() {
    let server = Server::start();
    fill(&server);
    put(&server, &json!({"resourceType": "Binary", "id": "bin", "contentType": "text/plain", "data": "c2VjcmV0"}));
    let of_patients = ["Group/ab", "Observation/of-a", "Observation/of-b", "Observation/of-c"];
    let patients = ["Patient/a", "Patient/b", "Patient/c"];
    let all = server.export("/$export").names();
    assert_eq!(all, [&of_patients[..], &["Organization/org"], &patients].concat());
    assert_eq!(server.export("/Patient/$export").names(), [&of_patients[..], &patients].concat());
    let posted = server.post("/Patient/$export").json(json!({"resourceType": "Parameters"})).expect(202);
    assert_eq!(server.exported(&posted).names(), [&of_patients[..], &patients].concat());
    // What has a URL of its own, and is no data of its own, comes where it is named.
    assert_eq!(server.export("/$export?_type=Binary").names(), ["Binary/bin"]);
    let empty = Server::start();
    let nothing = empty.export("/$export");
    assert_eq!(nothing.manifest["output"], json!([]));
    assert_eq!(nothing.manifest["transactionTime"].as_str().map(str::len), Some(27));
}

#[test]
fn lists_may_be_repeated_or_have_commas() {
    let server = Server::start();
    fill(&server);
    let names = ["Organization/org", "Patient/a", "Patient/b", "Patient/c"];
    for query in
        ["_type=Patient,Organization", "_type=Patient&_type=Organization", "_type=Patient,%20Organization,Patient"]
    {
        assert_eq!(server.export(&format!("/$export?{query}")).names(), names, "{query}");
    }
    let parameter = |value: &str| json!({"name": "_type", "valueString": value});
    let both = json!([parameter("Patient"), parameter("Organization")]);
    for parameters in [both, json!([parameter("Organization,Patient")])] {
        let body = json!({"resourceType": "Parameters", "parameter": parameters});
        let begun = server.post("/$export").json(body).expect(202);
        assert_eq!(server.exported(&begun).names(), names);
    }
}

#[test]
fn filters_are_searches_and_several_of_a_type_are_alternatives() {
    let server = Server::start();
    fill(&server);
    let names = |query: &str| server.export(&format!("/$export?_type=Patient,Observation&{query}")).names();
    let all_patients = ["Patient/a", "Patient/b", "Patient/c"];
    let one = names("_typeFilter=Observation%3Fsubject%3DPatient%2Fa");
    assert_eq!(one, [&["Observation/of-a"][..], &all_patients].concat());
    let two = names("_typeFilter=Observation%3Fsubject%3DPatient%2Fa,Observation%3Fsubject%3DPatient%2Fb");
    assert_eq!(two, [&["Observation/of-a", "Observation/of-b"][..], &all_patients].concat());
    let chained =
        names("_typeFilter=Observation%3Fsubject%3APatient.family%3DFamily-c&_typeFilter=Patient%3F_id%3Da,b");
    assert_eq!(chained, ["Observation/of-c", "Patient/a", "Patient/b"]);
}

#[test]
fn only_the_elements_that_are_asked_for() {
    let server = Server::start();
    fill(&server);
    let exported = server.export("/$export?_type=Patient,Observation&_elements=Patient.gender,id");
    for line in exported.lines("output") {
        let tags = line["meta"]["tag"].to_string();
        assert!(tags.contains("SUBSETTED"), "{line}");
        assert_eq!((line.get("gender").is_some(), line.get("name")), (line["resourceType"] == "Patient", None));
        assert!(line["resourceType"] == "Patient" || line["status"] == "final", "what is mandatory stays: {line}");
    }
}

#[test]
fn what_changed_since_and_until_and_what_was_deleted() {
    let server = Server::start();
    fill(&server);
    put(&server, &observation("gone-before", "a"));
    server.delete("/Observation/gone-before").expect(204);
    let since = server.export("/$export").manifest["transactionTime"].as_str().unwrap().to_owned();
    let unchanged = server.export(&format!("/$export?_since={since}"));
    assert_eq!((&unchanged.manifest["output"], &unchanged.manifest["deleted"]), (&json!([]), &json!([])));

    put(&server, &observation("of-b", "c"));
    put(&server, &observation("new", "a"));
    let until = server.get("/Observation/new").expect(200).at("/meta/lastUpdated").as_str().unwrap().to_owned();
    put(&server, &observation("late", "a"));
    put(&server, &observation("brief", "a"));
    server.delete("/Observation/brief").expect(204);
    server.delete("/Observation/of-c").expect(204);
    server.delete("/Organization/org").expect(204);
    let changed = server.export(&format!("/$export?_since={since}"));
    assert_eq!(changed.names(), ["Observation/late", "Observation/new", "Observation/of-b"]);
    assert_eq!(changed.deleted(), ["Observation/brief", "Observation/of-c", "Organization/org"]);
    let of_patients = server.export(&format!("/Patient/$export?_since={since}"));
    assert_eq!(of_patients.deleted(), ["Observation/brief", "Observation/of-c"]);
    let between = server.export(&format!("/$export?_since={since}&_until={until}"));
    assert_eq!((between.names(), between.deleted()), (vec!["Observation/of-b".into()], vec![]));
    let filtered = server.export(&format!("/$export?_since={since}&_typeFilter=Observation%3Fsubject%3DPatient/c"));
    assert_eq!(
        (filtered.names(), filtered.deleted()),
        (vec!["Observation/of-b".into()], vec!["Observation/of-c".into(), "Organization/org".into()])
    );
    let of_type = server.export(&format!("/$export?_since={since}&_type=Organization"));
    assert_eq!((of_type.names(), of_type.deleted()), (Vec::new(), vec!["Organization/org".to_owned()]));
    // Without `_since`, nothing is told as deleted.
    assert_eq!(server.export("/$export").manifest["deleted"], json!([]));
}

#[test]
fn provenance_comes_along_unless_it_is_excluded() {
    let server = Server::start();
    fill(&server);
    let provenance = |id: &str, target: &str, recorded: &str| json!({"resourceType": "Provenance", "id": id, "target": [{"reference": target}], "recorded": recorded, "agent": [{"who": {"display": "x"}}]});
    put(&server, &provenance("new-of-a", "Observation/of-a", "2026-01-01T00:00:00Z"));
    put(&server, &provenance("old-of-a", "Observation/of-a", "2020-01-01T00:00:00Z"));
    put(&server, &provenance("of-b", "Patient/b", "2020-01-01T00:00:00Z"));
    put(&server, &provenance("of-org", "Organization/org", "2020-01-01T00:00:00Z"));
    let provenance = |path: &str| {
        let names = server.export(path).names();
        names.iter().filter_map(|name| name.strip_prefix("Provenance/")).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(provenance("/$export"), ["new-of-a", "of-b", "of-org", "old-of-a"]);
    assert_eq!(provenance("/Patient/$export"), ["new-of-a", "of-b", "old-of-a"]);
    assert_eq!(provenance("/Patient/$export?_type=Patient"), [""; 0]);
    assert_eq!(provenance("/Patient/$export?_type=Patient,Provenance"), ["of-b"]);
    let relevant = "includeAssociatedData=RelevantProvenanceResources";
    let latest = "includeAssociatedData=LatestProvenanceResources";
    assert_eq!(provenance(&format!("/Patient/$export?_type=Observation&{relevant}")), ["new-of-a", "old-of-a"]);
    assert_eq!(provenance(&format!("/Patient/$export?_type=Observation&{latest}")), ["new-of-a"]);
    assert_eq!(provenance(&format!("/$export?{latest}")), ["new-of-a", "of-b", "of-org"]);
    // Of values that contradict each other the least restrictive one counts.
    assert_eq!(
        provenance(&format!("/Patient/$export?_type=Observation&{latest}&{relevant}")),
        ["new-of-a", "old-of-a"]
    );
}

#[test]
fn attachments_are_had_with_the_same_token() {
    let server = Server::guarded();
    let client = server.as_system("system/*.cruds");
    fill(&client);
    put(&client, &json!({"resourceType": "Binary", "id": "letter", "contentType": "text/plain", "data": "aGVsbG8="}));
    put(
        &client,
        &json!({"resourceType": "DocumentReference", "id": "doc", "status": "current", "subject": {"reference": "Patient/a"},
            "content": [{"attachment": {"contentType": "text/plain", "url": "Binary/letter"}}]}),
    );
    let lines = client.export("/Patient/$export?_type=DocumentReference").lines("output");
    let url = lines[0]["content"][0]["attachment"]["url"].as_str().unwrap();
    assert_eq!(url, format!("{}/Binary/letter", server.base()));
    assert_eq!(client.get(url).expect(200).text(), "hello");
    server.get(url).expect(401);
}
