use crate::support::{Answer, Server};
use serde_json::{Value, json};

fn change(server: &Server, operation: &str, tag: &str) -> Answer {
    let meta = json!({"tag": [{"system": "http://example.org/tags", "code": tag}]});
    let body = json!({"resourceType": "Parameters", "parameter": [{"name": "meta", "valueMeta": meta}]});
    server.post(&format!("/Patient/p/${operation}")).json(body).expect(200)
}

fn tags(server: &Server) -> Vec<String> {
    let tags = server.get("/Patient/p").expect(200).at("/meta/tag");
    let code = |tag: &Value| tag["code"].as_str().unwrap_or_default().to_owned();
    tags.as_array().into_iter().flatten().map(code).collect()
}

#[test]
fn tags_are_added_and_deleted() {
    let server = Server::start();
    server.put("/Patient/p").json(json!({"resourceType": "Patient", "id": "p"})).expect(201);
    change(&server, "meta-add", "a");
    change(&server, "meta-add", "b");
    change(&server, "meta-add", "a");
    assert_eq!(tags(&server), ["a", "b"]);
    change(&server, "meta-delete", "a");
    assert_eq!(tags(&server), ["b"]);
    server.get("/Patient/p/$meta").expect(200);
    server.get("/Patient/q/$meta").expect(404).issue("not-found");
}

#[test]
fn tags_outlive_an_update() {
    let server = Server::start();
    server.put("/Patient/p").json(json!({"resourceType": "Patient", "id": "p"})).expect(201);
    change(&server, "meta-add", "a");
    server.put("/Patient/p").json(json!({"resourceType": "Patient", "id": "p", "active": true})).expect(200);
    assert_eq!(tags(&server), ["a"]);
}
