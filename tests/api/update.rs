use crate::support::Server;
use serde_json::{Value, json};

fn patient(active: bool) -> Value {
    json!({"resourceType": "Patient", "id": "p", "active": active})
}

#[test]
fn each_update_makes_a_version() {
    let server = Server::start();
    let first = server.put("/Patient/p").json(patient(true)).expect(201).header_is("etag", "W/\"1\"");
    assert_eq!(first.location(server.base()), "/Patient/p/_history/1");
    server.put("/Patient/p").json(patient(false)).expect(200).header_is("etag", "W/\"2\"");
    assert_eq!(server.get("/Patient/p").expect(200).at("/active"), false);
}

#[test]
fn a_deleted_resource_comes_back_as_created() {
    let server = Server::start();
    server.put("/Patient/p").json(patient(true)).expect(201);
    server.delete("/Patient/p").expect(204);
    server.put("/Patient/p").json(patient(true)).expect(201).header_is("etag", "W/\"3\"");
    server.get("/Patient/p").expect(200);
}

#[test]
fn if_match_guards_against_lost_updates() {
    let server = Server::start();
    server.put("/Patient/p").json(patient(true)).expect(201);
    let put = |tag: &str| server.put("/Patient/p").header("If-Match", tag).json(patient(false));
    put("W/\"7\"").expect(412).outcome();
    put("W/\"1\"").expect(200).header_is("etag", "W/\"2\"");
    put("W/\"1\"").expect(412).outcome();
    assert_eq!(server.get("/Patient/p").expect(200).version(), "2");
}

#[test]
fn of_many_at_once_exactly_one_wins_each_version() {
    let server = Server::start();
    server.put("/Patient/p").json(patient(true)).expect(201);
    let put = || server.put("/Patient/p").header("If-Match", "W/\"1\"").json(patient(false)).send().status();
    let statuses = std::thread::scope(|scope| {
        let threads = (0..8).map(|_| scope.spawn(put)).collect::<Vec<_>>();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
    });
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 1, "{statuses:?}");
    assert_eq!(statuses.iter().filter(|status| **status == 412).count(), 7, "{statuses:?}");
}

#[test]
fn the_ids_of_url_and_body_must_agree() {
    let server = Server::start();
    server.put("/Patient/q").json(patient(true)).expect(400).about("Patient.id");
    server.put("/Patient/q").json(json!({"resourceType": "Patient"})).expect(400).about("Patient.id");
    server.put("/Patient/a_b").json(json!({"resourceType": "Patient", "id": "a_b"})).expect(400).outcome();
    server.get("/Patient/q").expect(404);
}
