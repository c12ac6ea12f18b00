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

#[test]
fn a_page_is_the_same_whatever_is_written_meanwhile() {
    let server = with_versions(6);
    for path in ["/Patient/p/_history?_count=2", "/Patient/_history?_count=2", "/_history?_count=2"] {
        let mut seen = Vec::new();
        let mut next = Some(path.to_owned());
        let newest: u64 = server.get("/Patient/p").expect(200).version().parse().unwrap();
        while let Some(url) = next {
            let answer = server.get(&url).expect(200);
            seen.extend(versions(&answer.resources()).into_iter().map(|version| version.parse::<u64>().unwrap()));
            server.put("/Patient/p").json(json!({"resourceType": "Patient", "id": "p"})).expect(200);
            next = answer.link("next");
        }
        assert_eq!(seen, (1..=newest).rev().collect::<Vec<_>>(), "{path}");
    }
}

#[test]
fn a_point_in_time_shows_what_was_current_then() {
    let server = with_versions(3);
    let time = |version: u64| {
        let answer = server.get(&format!("/Patient/p/_history/{version}")).expect(200);
        answer.at("/meta/lastUpdated").as_str().unwrap().to_owned()
    };
    for path in ["/Patient/p/_history", "/Patient/_history", "/_history"] {
        for version in [1, 2, 3] {
            let answer = server.get(&format!("{path}?_at={}", time(version))).expect(200);
            assert_eq!(versions(&answer.resources()), [version.to_string()], "{path}");
        }
        let all = server.get(&format!("{path}?_at=2026")).expect(200);
        assert_eq!(versions(&all.resources()), ["3", "2", "1"]);
        assert!(server.get(&format!("{path}?_at=2025")).expect(200).resources().is_empty());
    }
}

#[test]
fn the_total_is_told_once_and_no_count_means_no_entries() {
    let server = with_versions(3);
    let answer = server.get("/Patient/p/_history?_format=json").expect(200);
    assert_eq!((answer.text().matches("\"total\":").count(), answer.at("/total")), (1, json!(3)));
    for path in ["/Patient/p/_history?_count=0", "/_history?_count=0"] {
        let none = server.get(path).expect(200);
        assert_eq!((none.resources().len(), none.link("next")), (0, None));
    }
}

#[test]
fn cursors_belong_to_their_query_and_can_not_be_altered() {
    let server = with_versions(4);
    let next = server.get("/Patient/p/_history?_count=2").expect(200).link("next").unwrap();
    server.get(&next).expect(200);
    let altered = format!("{}{}", &next[..next.len() - 1], if next.ends_with('A') { 'B' } else { 'A' });
    for url in [altered, next.replace("_count=2", "_count=3"), next.replace("/Patient/p/", "/Patient/")] {
        server.get(&url).expect(400).outcome();
    }
    server.get("/_history?nothing=1").expect(400).says("nothing");
    let lenient = server.get("/_history?nothing=1").header("Prefer", "handling=lenient").expect(200);
    assert!(!lenient.link("self").unwrap().contains("nothing"));
}
