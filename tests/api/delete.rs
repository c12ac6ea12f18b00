use crate::support::Server;
use serde_json::json;

#[test]
fn a_deleted_resource_is_gone_and_its_history_stays() {
    let server = Server::start();
    server.put("/Patient/eve").json(json!({"resourceType": "Patient", "id": "eve"})).expect(201);
    server.delete("/Patient/eve").expect(204);
    server.get("/Patient/eve").expect(410).issue("deleted");
    server.get("/Patient/eve/_history/1").expect(200);
    assert_eq!(server.get("/Patient/eve/_history").expect(200).resources().len(), 2);
}

#[test]
fn deleting_again_or_what_never_was_is_no_error() {
    let server = Server::start();
    server.put("/Patient/eve").json(json!({"resourceType": "Patient", "id": "eve"})).expect(201);
    for _ in 0..2 {
        server.delete("/Patient/eve").expect(204);
    }
    server.delete("/Patient/nobody").expect(204);
    server.get("/Patient/eve").expect(410).says("version 2");
    server.get("/Patient/nobody").expect(404);
}
