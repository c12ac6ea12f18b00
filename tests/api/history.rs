use crate::support::Server;
use serde_json::json;

fn with_versions(count: usize) -> Server {
    let server = Server::start();
    for n in 1..=count {
        let status = if n == 1 { 201 } else { 200 };
        server
            .put("/Patient/p")
            .json(json!({"resourceType": "Patient", "id": "p", "active": n % 2 == 0}))
            .expect(status);
    }
    server
}

fn versions(resources: &[serde_json::Value]) -> Vec<&str> {
    resources.iter().map(|resource| resource["meta"]["versionId"].as_str().unwrap_or("deleted")).collect()
}

#[test]
fn the_newest_stands_first_with_how_it_came_to_be() {
    let server = with_versions(2);
    server.delete("/Patient/p").expect(204);
    for path in ["/Patient/p/_history", "/Patient/_history", "/_history"] {
        let answer = server.get(path).expect(200);
        assert_eq!((answer.at("/type"), versions(&answer.resources())), (json!("history"), vec!["deleted", "2", "1"]));
        let methods = [0, 1, 2].map(|n| answer.at(&format!("/entry/{n}/request/method")));
        assert_eq!(methods, ["DELETE", "PUT", "PUT"]);
        assert_eq!(answer.at("/entry/0/request/url"), "Patient/p");
        assert_eq!(answer.at("/entry/1/fullUrl"), format!("{}/Patient/p", server.base()));
    }
}

#[test]
fn pages_hold_each_version_once() {
    let server = with_versions(7);
    for path in ["/Patient/p/_history?_count=3", "/Patient/_history?_count=3", "/_history?_count=3"] {
        let mut seen = Vec::new();
        let mut next = Some(path.to_owned());
        while let Some(url) = next {
            let answer = server.get(&url).expect(200);
            let resources = answer.resources();
            assert!(resources.len() <= 3, "{answer}");
            seen.extend(versions(&resources).into_iter().map(String::from));
            next = answer.link("next");
        }
        assert_eq!(seen, ["7", "6", "5", "4", "3", "2", "1"], "{path}");
    }
}

#[test]
fn since_leaves_out_what_is_older() {
    let server = with_versions(3);
    let time = server.get("/Patient/p/_history/2").expect(200).at("/meta/lastUpdated");
    let path = format!("/Patient/p/_history?_since={}", time.as_str().unwrap());
    assert_eq!(versions(&server.get(&path).expect(200).resources()), ["3", "2"]);
}

#[test]
fn what_never_was_has_no_history_and_bad_parameters_are_named() {
    let server = with_versions(1);
    server.get("/Patient/q/_history").expect(404).issue("not-found");
    server.get("/Patient/p/_history?_since=yesterday").expect(400).outcome();
    server.get("/Patient/p/_history?_cursor=AAAA").expect(400).outcome();
}
