//! What can be heard of a job, by whom, and its end.

use crate::support::{Answer, Client, Person, Server};
use serde_json::{Value, json};

fn begin(server: &Client, id: &str) -> Answer {
    server.put(&format!("/Patient/{id}")).json(json!({"resourceType": "Patient", "id": id})).expect(201);
    ask(server, id).expect(202)
}

fn ask<'c>(server: &'c Client, id: &str) -> crate::support::Request<'c> {
    let parameters = json!({"resourceType": "Parameters"});
    server.post(&format!("/Patient/{id}/$purge")).header("Prefer", "respond-async").json(parameters)
}

/// The path of the job that an answer tells of.
fn path(server: &Client, answer: &Answer) -> String {
    let location = answer.header("content-location").unwrap();
    location.strip_prefix(server.base()).unwrap().to_owned()
}

/// Asks until the job has ended.
fn ended(server: &Client, path: &str) -> Value {
    for _ in 0..10_000 {
        let answer = server.get(path).send();
        if answer.status() != 202 {
            return answer.status_is(200).json();
        }
        assert!(answer.header("x-progress").is_some() && answer.header("retry-after").is_some(), "{answer}");
    }
    panic!("it does not end");
}

#[test]
fn the_outcome_can_be_asked_for_later() {
    let server = Server::start();
    let begun = begin(&server, "p").issue("incomplete");
    let path = path(&server, &begun);
    let bundle = ended(&server, &path);
    assert_eq!(
        (&bundle["type"], &bundle["entry"][0]["response"]["status"]),
        (&json!("batch-response"), &json!("200 OK"))
    );
    let outcome = &bundle["entry"][0]["response"]["outcome"];
    assert_eq!(outcome["issue"][0]["diagnostics"], "Erased: Patient 1 (1 versions).");
    server.get("/Patient/p").expect(404);

    server.delete(&path).expect(202);
    server.get(&path).expect(404).issue("not-found");
    server.delete(&path).expect(404);
    server.get("/_jobs/none").expect(404);
    server.put(&path).json(json!({})).expect(405).header_is("allow", "GET, HEAD, DELETE");
}

#[test]
fn a_cancelled_job_is_gone_for_who_asked() {
    let server = Server::start();
    // Nothing runs from here on.
    server.app().jobs.stop();
    let path = path(&server, &begin(&server, "p"));
    server.get(&path).expect(202).header_is("x-progress", "waiting");
    let again = ask(&server, "p").expect(202);
    assert_eq!(super::job::path(&server, &again), path, "asked twice, it is the same");
    server.delete(&path).expect(202);
    server.get(&path).expect(404);
    server.get("/Patient/p").expect(200);
}

#[test]
fn a_tenant_has_only_so_many() {
    let server = Server::with(|config| config.limits.jobs_per_tenant = 1);
    server.app().jobs.stop();
    begin(&server, "p");
    server.put("/Patient/q").json(json!({"resourceType": "Patient", "id": "q"})).expect(201);
    let refused = ask(&server, "q").expect(429).says("limits.jobs_per_tenant");
    assert!(refused.header("retry-after").is_some());
}

#[test]
fn nobody_else_hears_of_it() {
    let server = Server::guarded();
    server
        .as_system("system/*.cruds")
        .put("/Patient/p")
        .json(json!({"resourceType": "Patient", "id": "p"}))
        .expect(201);
    let person = Person { roles: &["Admin"], ..Person::default() };
    let admin = server.as_user("admin", &person);
    let path = path(&admin, &ask(&admin, "p").expect(202));
    server.as_system("system/*.cruds").get(&path).expect(404);
    server.get(&path).expect(401);
    server.as_user("admin", &person).get(&path).send();
    let bundle = ended(&admin, &path);
    assert_eq!(bundle["entry"][0]["response"]["status"], "200 OK");
}
