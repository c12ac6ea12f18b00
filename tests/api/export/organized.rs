//! `organizeOutputBy`: files of blocks.

use super::{fill, group, observation, patient, put};
use crate::support::{Exported, Server, job_path};
use pharos::jobs::State;
use pharos::tenant::TenantId;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The resources of each block by what its header names. A header comes once, or again at the beginning of a file in which its block
/// goes on, as the manifest says.
fn blocks(exported: &Exported) -> Vec<(String, Vec<String>)> {
    let mut blocks: Vec<(String, Vec<String>)> = Vec::new();
    let mut goes_on_in = None;
    for file in exported.manifest["output"].as_array().unwrap() {
        let mut is_begin = true;
        for line in exported.file(file) {
            let kind = line["resourceType"].as_str().unwrap();
            if kind == "Parameters" {
                let parameter = &line["parameter"][0];
                assert_eq!((&parameter["name"], line["parameter"].as_array().unwrap().len()), (&json!("header"), 1));
                let of = parameter["valueReference"]["reference"].as_str().unwrap().to_owned();
                let goes_on = is_begin && goes_on_in.as_ref() == Some(&file["url"]);
                assert_eq!(goes_on, blocks.iter().any(|(known, _)| *known == of), "{of} in {file}");
                if !goes_on {
                    blocks.push((of, Vec::new()));
                }
            } else {
                assert!(!is_begin, "a file begins with a header");
                blocks.last_mut().unwrap().1.push(format!("{kind}/{}", line["id"].as_str().unwrap()));
            }
            is_begin = false;
        }
        assert!(!is_begin, "no file is empty");
        goes_on_in = file.get("continuesInFile").cloned();
    }
    assert_eq!(goes_on_in, None, "the last file is the last");
    blocks
}

fn of<'b>(blocks: &'b [(String, Vec<String>)], name: &str) -> Vec<&'b str> {
    let (_, all) = blocks.iter().find(|(of, _)| of == name).unwrap_or_else(|| panic!("no {name} in {blocks:?}"));
    all.iter().map(String::as_str).collect()
}

#[test]
fn by_patient_each_has_a_block_with_what_belongs_to_it() {
    let server = Server::start();
    fill(&server);
    let mut shared = observation("shared", "a");
    shared["performer"] = json!([{"reference": "Patient/b"}]);
    put(&server, &shared);
    let about = |id: &str, target: &str| {
        json!({"resourceType": "Provenance", "id": id, "target": [{"reference": target}], "recorded": "2026-01-01T00:00:00Z",
            "agent": [{"who": {"display": "x"}}]})
    };
    put(&server, &about("of-of-c", "Observation/of-c"));
    put(&server, &about("of-org", "Organization/org"));
    let exported = server.export("/$export?organizeOutputBy=Patient");
    assert_eq!(exported.manifest["outputOrganizedBy"], "Patient");
    let found = blocks(&exported);
    assert_eq!(found.len(), 3);
    assert_eq!(of(&found, "Patient/a"), ["Patient/a", "Group/ab", "Observation/of-a", "Observation/shared"]);
    assert_eq!(of(&found, "Patient/b"), ["Patient/b", "Group/ab", "Observation/of-b", "Observation/shared"]);
    assert_eq!(of(&found, "Patient/c"), ["Patient/c", "Observation/of-c", "Provenance/of-of-c"]);
    // The Organization, and what is about it.
    assert_eq!(
        exported.notes(),
        ["2 of the resources belong to no Patient, and refer to none that does: they are left out."]
    );
    for line in exported.lines("output") {
        if line["resourceType"] != "Parameters" {
            let path = format!("/{}/{}", line["resourceType"].as_str().unwrap(), line["id"].as_str().unwrap());
            assert_eq!(line, server.get(&path).expect(200).json());
        }
    }
    let of_group = blocks(&server.export("/Group/ab/$export?organizeOutputBy=Patient&_type=Observation"));
    assert_eq!(
        of(&of_group, "Patient/a"),
        ["Observation/of-a", "Observation/shared"],
        "the type decides what is in it"
    );
    assert_eq!(of(&of_group, "Patient/b"), ["Observation/of-b", "Observation/shared"]);
    assert_eq!(of_group.len(), 2);
    put(&server, &group("c", &["Patient/b"]));
    let only_b = blocks(&server.export("/Group/c/$export?organizeOutputBy=Patient&_type=Observation"));
    assert_eq!(only_b.len(), 1, "who is no member has no block: {only_b:?}");
}

#[test]
fn by_any_other_type_what_refers_to_it() {
    let server = Server::start();
    fill(&server);
    let mut child = json!({"resourceType": "Organization", "id": "child", "partOf": {"reference": "Organization/org"}});
    put(&server, &child);
    child["id"] = json!("lone");
    child.as_object_mut().unwrap().remove("partOf");
    put(&server, &child);
    let mut managed = patient("a");
    managed["managingOrganization"] = json!({"reference": "Organization/org"});
    put(&server, &managed);
    let exported = server.export("/$export?organizeOutputBy=Organization");
    let found = blocks(&exported);
    // What refers to the patient comes along; it refers to no Organization itself.
    let of_org = ["Organization/org", "Group/ab", "Observation/of-a", "Organization/child", "Patient/a"];
    assert_eq!(of(&found, "Organization/org"), of_org);
    assert_eq!(
        (of(&found, "Organization/child"), of(&found, "Organization/lone")),
        (vec!["Organization/child"], vec!["Organization/lone"])
    );
    assert!(exported.notes()[0].starts_with("4 of the resources belong to no Organization"), "{:?}", exported.notes());
    let nothing = server.export("/$export?organizeOutputBy=Practitioner");
    assert_eq!(
        (&nothing.manifest["output"], &nothing.manifest["outputOrganizedBy"]),
        (&json!([]), &json!("Practitioner"))
    );
}

#[test]
fn a_long_block_goes_on_in_another_file_below_the_same_header() {
    let server = Server::with(|config| config.bulk.file_bytes = 20_000);
    fill(&server);
    let entry = |n: usize| {
        let (id, of) = (format!("n{n}"), if n.is_multiple_of(4) { "b" } else { "a" });
        json!({"resource": observation(&id, of), "request": {"method": "PUT", "url": format!("Observation/{id}")}})
    };
    let entries: Vec<_> = (0..800).map(entry).collect();
    server.post("/").json(json!({"resourceType": "Bundle", "type": "transaction", "entry": entries})).expect(200);
    let exported = server.export("/Patient/$export?organizeOutputBy=Patient&_type=Patient,Observation");
    let found = blocks(&exported);
    let sizes: BTreeMap<_, _> = found.iter().map(|(of, all)| (of.as_str(), all.len())).collect();
    assert_eq!(sizes, BTreeMap::from([("Patient/a", 602), ("Patient/b", 202), ("Patient/c", 2)]));
    let files = exported.manifest["output"].as_array().unwrap();
    let split = files.iter().filter(|file| file.get("continuesInFile").is_some()).count();
    assert!(split >= 2 && files.len() > split, "{files:#?}");
    assert!(files.iter().all(|file| file["url"].as_str().unwrap().ends_with(".output.ndjson")));
}

#[test]
fn what_is_erased_before_it_is_written_is_in_no_block_and_shifts_none() {
    let server = Server::start();
    fill(&server);
    let jobs = &server.app().jobs;
    jobs.stop();
    let run = |path: &str| {
        let id = path.rsplit('/').next().unwrap();
        let job = crate::support::tokens::block_on(jobs.run_to_end(TenantId::DEFAULT, id)).unwrap().unwrap();
        assert_eq!(job.state, State::Done, "{job:?}");
    };
    let kick_off = "/Patient/$export?organizeOutputBy=Patient&_type=Patient,Observation";
    let export = job_path(&server, &server.get(kick_off).expect(202));
    let purge = server.post("/Patient/b/$purge").header("Prefer", "respond-async");
    run(&job_path(&server, &purge.json(json!({"resourceType": "Parameters"})).expect(202)));
    server.delete("/Patient/a").expect(204);
    run(&export);
    let found = blocks(&server.export_at(&export));
    assert_eq!(found.iter().map(|(of, _)| of.as_str()).collect::<Vec<_>>(), ["Patient/a", "Patient/c"]);
    assert_eq!(of(&found, "Patient/a"), ["Patient/a", "Observation/of-a"], "as it was");
    let of_c: Vec<Value> = of(&found, "Patient/c").into_iter().map(Value::from).collect();
    assert!(of_c.contains(&json!("Patient/c")) && !of_c.contains(&json!("Observation/of-b")), "{of_c:?}");
}
