//! `pharos package install`.

use crate::support::{Client, Server};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A package with these resources right in its folder, and an example below it.
fn package(folder: &Path, resources: &[Value]) -> PathBuf {
    let path = folder.join("package.tgz");
    let mut archive = tar::Builder::new(GzEncoder::new(std::fs::File::create(&path).unwrap(), Compression::fast()));
    let mut add = |name: &str, resource: &Value| {
        let text = resource.to_string();
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o644);
        archive.append_data(&mut header, format!("package/{name}.json"), text.as_bytes()).unwrap();
    };
    for (number, resource) in resources.iter().enumerate() {
        add(&format!("{number}"), resource);
    }
    add("example/patient", &json!({"resourceType": "Patient", "id": "example"}));
    archive.into_inner().unwrap().finish().unwrap();
    path
}

fn install(package: &Path, server: &Client) -> Output {
    let arguments = ["package", "install", package.to_str().unwrap(), "--url", server.base()];
    Command::new(env!("CARGO_BIN_EXE_pharos")).args(arguments).output().unwrap()
}

fn colour(code: &str) -> Value {
    json!({
        "resourceType": "SearchParameter", "id": "colour", "url": "http://example.org/SearchParameter/colour",
        "name": "Colour", "status": "active", "description": "By colour.", "code": code, "base": ["Patient"],
        "type": "token", "expression": "Patient.extension.where(url = 'http://example.org/colour').value"
    })
}

fn value_set(id: &str) -> Value {
    json!({"resourceType": "ValueSet", "id": id, "meta": {"profile": ["http://example.org/p"]}, "status": "draft"})
}

#[test]
fn a_running_server_takes_a_package_and_only_what_is_new_of_it() {
    let (server, folder) = (Server::start(), tempfile::tempdir().unwrap());
    let resources = [colour("colour"), value_set("a"), json!({"resourceType": "Patient", "id": "no"})];
    let output = install(&package(folder.path(), &resources), &server);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && said.contains("2 resources installed, 0 were there"), "{output:?}");
    server.get("/Patient/no").expect(404);
    server.get("/Patient/example").expect(404);

    let extension = json!([{"url": "http://example.org/colour", "valueCode": "red"}]);
    server
        .put("/Patient/red")
        .json(json!({"resourceType": "Patient", "id": "red", "extension": extension}))
        .expect(201);
    assert_eq!(server.get("/Patient?colour=red").expect(200).ids(), ["red"]);

    // One is new, one is other than before, one can't take effect, and one is as it was.
    let odd = json!({"resourceType": "SearchParameter", "id": "odd", "status": "active", "code": "odd", "base": ["Patient"],
        "url": "http://example.org/SearchParameter/odd", "name": "Odd", "description": "Odd.", "type": "special"});
    let resources = [colour("paint"), value_set("a"), value_set("b"), odd];
    let output = install(&package(folder.path(), &resources), &server);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(!output.status.success() && said.contains("2 resources installed, 1 were there"), "{output:?}");
    assert!(said.contains("Refused: SearchParameter/odd: 422") && said.contains("resource.type"), "{said}");
    assert_eq!(server.get("/ValueSet/a").expect(200).version(), "1");
    server.get("/Patient?colour=red").expect(400).says("colour");
    server.get("/Patient?paint=red").expect(200);
}

#[test]
fn a_server_that_does_not_answer_is_named_as_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let nobody = Client::new(format!("http://{}/fhir", crate::support::free_address()));
    let output = install(&package(folder.path(), &[value_set("a")]), &nobody);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("no answer"), "{output:?}");
}
