//! `AuditEvent/$verify`: the chain of the ledger.

use crate::support::{Answer, Server};
use pharos::tenant::TenantId;
use serde_json::{Value, json};

fn value(answer: &Answer, name: &str) -> Value {
    let parameters = answer.json()["parameter"].as_array().unwrap().clone();
    parameters.iter().find(|one| one["name"] == name).cloned().unwrap_or_default()
}

#[test]
fn the_chain_is_verified_up_to_the_request_before() {
    let server = Server::guarded();
    let all = server.as_system("system/*.cruds");
    for id in ["a", "b"] {
        all.put(&format!("/Patient/{id}")).json(json!({"resourceType": "Patient", "id": id, "name": [{"family": "F"}]})).expect(201);
    }
    let first = all.get("/AuditEvent/$verify").expect(200);
    assert_eq!(value(&first, "sound")["valueBoolean"], true);
    assert_eq!(value(&first, "entries")["valueDecimal"], 2);
    assert_eq!(value(&first, "checkpoints")["valueDecimal"], 0);
    all.get("/Patient?name=f").expect(200);
    let made = crate::support::tokens::block_on(server.app().ledger.checkpoint(&[TenantId::DEFAULT])).unwrap().unwrap();
    assert_eq!((made.number, made.lanes[0].entries), (1, 2 + 1 + 3), "the verification, and the search with its two patients");
    let second = all.get("/AuditEvent/$verify").expect(200);
    assert_eq!(value(&second, "entries")["valueDecimal"], 6);
    assert_eq!(value(&second, "checkpoints")["valueDecimal"], 1);
    assert_eq!(value(&second, "hash")["valueString"], made.lanes[0].hash);
    assert_ne!(value(&first, "hash"), value(&second, "hash"));
}

#[test]
fn it_is_for_those_who_see_all_of_it() {
    let server = Server::guarded();
    server.as_system("system/AuditEvent.rs").get("/AuditEvent/$verify").expect(200);
    server.as_system("system/AuditEvent.rs?action=R").get("/AuditEvent/$verify").expect(403);
    server.as_system("system/AuditEvent.r").get("/AuditEvent/$verify").expect(403);
    server.as_system("system/Patient.rs").get("/AuditEvent/$verify").expect(403);
    server.get("/AuditEvent/$verify").expect(401);
}
