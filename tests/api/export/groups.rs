//! Exports of Groups: who is a member, and who came into it.

use super::{fill, group, observation, patient, put};
use crate::support::Server;
use serde_json::json;

#[test]
fn a_group_is_its_members_now() {
    let server = Server::start();
    fill(&server);
    assert_eq!(
        server.export("/Group/ab/$export").names(),
        ["Group/ab", "Observation/of-a", "Observation/of-b", "Patient/a", "Patient/b"]
    );
    let mut changed = group("ab", &["Patient/b", "Patient/c", "Practitioner/x", "Group/inner", "Group/ab"]);
    changed["member"][0]["inactive"] = json!(true);
    changed["member"].as_array_mut().unwrap().extend([
        json!({"entity": {"reference": "Patient/a"}, "period": {"end": "2020-01-01"}}),
        json!({"entity": {"reference": format!("{}/Patient/e", server.base())}}),
    ]);
    put(&server, &changed);
    for id in ["d", "e"] {
        put(&server, &patient(id));
    }
    put(&server, &group("inner", &["Patient/d", "Group/ab"]));
    let exported = server.export("/Group/ab/$export?_type=Patient,Observation");
    assert_eq!(exported.names(), ["Observation/of-c", "Patient/c", "Patient/d", "Patient/e"]);
    put(&server, &json!({"resourceType": "Group", "id": "nobody", "type": "person", "actual": true}));
    assert_eq!(server.export("/Group/nobody/$export").manifest["output"], json!([]));
    server.delete("/Group/nobody").expect(204);
    server.get("/Group/nobody/$export").expect(410);
}

#[test]
fn who_came_into_a_group_is_exported_whole() {
    let server = Server::start();
    fill(&server);
    let since = server.export("/$export").manifest["transactionTime"].as_str().unwrap().to_owned();
    put(&server, &observation("new-of-a", "a"));
    put(&server, &observation("gone-of-a", "a"));
    put(&server, &observation("gone-of-c", "c"));
    server.delete("/Observation/gone-of-a").expect(204);
    server.delete("/Observation/gone-of-c").expect(204);
    let changed = || server.export(&format!("/Group/ab/$export?_since={since}&_type=Patient,Observation"));
    assert_eq!(
        (changed().names(), changed().deleted()),
        (vec!["Observation/new-of-a".to_owned()], vec!["Observation/gone-of-a".to_owned()])
    );
    put(&server, &group("ab", &["Patient/a", "Patient/c"]));
    assert_eq!(changed().names(), ["Observation/new-of-a", "Observation/of-c", "Patient/c"]);
    assert_eq!(changed().deleted(), ["Observation/gone-of-a", "Observation/gone-of-c"]);
}

#[test]
fn what_belongs_to_two_members_comes_once() {
    let server = Server::start();
    fill(&server);
    let participant = |id: &str| json!({"actor": {"reference": format!("Patient/{id}")}, "status": "accepted"});
    put(
        &server,
        &json!({"resourceType": "Appointment", "id": "both", "status": "booked", "participant": [participant("a"), participant("b")]}),
    );
    let names = server.export("/Group/ab/$export?_type=Appointment").names();
    assert_eq!(names, ["Appointment/both"]);
}
