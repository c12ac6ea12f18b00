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

#[test]
fn what_is_in_use_on_a_type_and_on_the_system() {
    let server = Server::start();
    let empty = server.get("/$meta").expect(200);
    assert_eq!(empty.json(), json!({"resourceType": "Parameters"}));
    let tag = |code: &str| json!({"system": "http://example.org/tags", "code": code});
    for (id, tags) in [("a", vec![tag("One")]), ("b", vec![tag("One"), tag("two")])] {
        let meta = json!({"tag": tags, "profile": ["http://example.org/p"]});
        server
            .put(&format!("/Patient/{id}"))
            .json(json!({"resourceType": "Patient", "id": id, "meta": meta}))
            .expect(201);
    }
    let meta = json!({"security": [{"system": "http://example.org/labels", "code": "R"}], "profile": ["http://example.org/g"]});
    let group = json!({"resourceType": "Group", "id": "g", "meta": meta, "type": "person", "actual": true});
    server.put("/Group/g").json(group).expect(201);
    let codes = |answer: &Answer, set: &str| {
        let found = answer.at(&format!("/parameter/0/valueMeta/{set}"));
        let mut codes: Vec<_> =
            found.as_array().into_iter().flatten().map(|it| it["code"].as_str().unwrap().to_owned()).collect();
        codes.sort_unstable();
        codes
    };
    let patients = server.get("/Patient/$meta").expect(200);
    assert_eq!(codes(&patients, "tag"), ["One", "two"], "{patients}");
    assert!(codes(&patients, "security").is_empty());
    assert_eq!(patients.at("/parameter/0/valueMeta/profile"), json!(["http://example.org/p"]));
    let all = server.get("/$meta").expect(200);
    assert_eq!((codes(&all, "tag").len(), codes(&all, "security")), (2, vec!["R".to_owned()]), "{all}");
    assert_eq!(all.at("/parameter/0/valueMeta/profile").as_array().unwrap().len(), 2);
    server.delete("/Group/g").expect(204);
    assert!(codes(&server.get("/$meta").expect(200), "security").is_empty());
}
