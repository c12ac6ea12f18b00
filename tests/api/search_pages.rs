//! Page links: <https://hl7.org/fhir/R4/http.html#paging>. Opaque, sealed, exact while others write, and valid for a stated time.

use crate::support::{Answer, Server};
use serde_json::json;

/// So many patients, with families and birth dates of which some are equal and some are missing.
fn with_patients(count: usize) -> Server {
    let server = Server::start();
    for number in 0..count {
        let mut patient = json!({"resourceType": "Patient", "id": format!("p{number:02}"), "name": [{"family": format!("Family{}", number % 7)}]});
        if !number.is_multiple_of(4) {
            patient["birthDate"] = json!(format!("19{:02}", number % 9 + 10));
        }
        server.put(&format!("/Patient/p{number:02}")).json(patient).expect(201);
    }
    server
}

fn follow(server: &Server, answer: &Answer, relation: &str) -> Option<Answer> {
    answer.link(relation).map(|url| server.get(&url).expect(200))
}

/// All pages, by their `next` links.
fn pages(server: &Server, first: &str) -> Vec<Answer> {
    let mut pages = vec![server.get(first).expect(200)];
    while let Some(next) = follow(server, pages.last().unwrap(), "next") {
        pages.push(next);
    }
    pages
}

#[test]
fn links_lead_forward_and_back_in_every_order() {
    let server = with_patients(23);
    for number in 0..5 {
        let practitioner =
            json!({"resourceType": "Practitioner", "id": format!("d{number}"), "name": [{"family": "Family2"}]});
        server.put(&format!("/Practitioner/d{number}")).json(practitioner).expect(201);
    }
    let cases = [
        ("/Patient?_count=5", 23),
        ("/Patient?_count=5&_sort=birthdate", 23),
        ("/Patient?_count=5&_sort=-birthdate,family", 23),
        ("/Patient?_count=5&_sort=family,-_id&birthdate:missing=false", 17),
        ("/?_type=Patient,Practitioner&_count=5", 28),
        ("/?_type=Patient,Practitioner&_count=5&_sort=-family", 28),
        ("/?_type=Patient,Practitioner&_count=5&_sort=_lastUpdated&_total=accurate", 28),
        ("/Patient?_count=5&_sort=-_lastUpdated&_elements=name", 23),
    ];
    for (first, count) in cases {
        let pages = pages(&server, first);
        let mut all: Vec<_> = pages.iter().flat_map(Answer::ids).collect();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count, "{first}");
        assert!(pages[0].link("prev").is_none(), "{first}");
        let mut at = follow(&server, pages.last().unwrap(), "prev");
        for page in pages.iter().rev().skip(1) {
            let back = at.expect("a prev link");
            assert_eq!(back.ids(), page.ids(), "{first}");
            let next = follow(&server, &back, "next").unwrap();
            assert_ne!(next.ids(), back.ids(), "{first}");
            assert_eq!(follow(&server, &back, "first").unwrap().ids(), pages[0].ids(), "{first}");
            assert_eq!(follow(&server, &back, "self").unwrap().ids(), back.ids(), "{first}");
            at = follow(&server, &back, "prev");
        }
        assert!(at.is_none(), "{first}");
        if first.contains("_total") {
            assert!(pages.iter().all(|page| page.at("/total") == count), "{first}");
        }
    }
}

#[test]
fn the_page_before_is_what_stands_before_now() {
    let server = with_patients(12);
    let pages = pages(&server, "/Patient?_count=4&_sort=_id");
    assert_eq!(pages[1].ids(), ["p04", "p05", "p06", "p07"]);
    server.put("/Patient/p02x").json(json!({"resourceType": "Patient", "id": "p02x"})).expect(201);
    server.delete("/Patient/p01").expect(204);
    server.delete("/Patient/p04").expect(204);
    let back = follow(&server, &pages[1], "prev").unwrap();
    assert_eq!(back.ids(), ["p00", "p02", "p02x", "p03"]);
    assert_eq!(follow(&server, &back, "next").unwrap().ids(), ["p05", "p06", "p07", "p08"]);
    assert!(back.link("prev").is_none());
    server.put("/Patient/a").json(json!({"resourceType": "Patient", "id": "a"})).expect(201);
    let back = follow(&server, &pages[1], "prev").unwrap();
    assert_eq!(follow(&server, &back, "prev").unwrap().ids(), ["a"]);
}

#[test]
fn a_cursor_is_of_one_search_and_one_server() {
    let server = with_patients(9);
    let next = server.get("/Patient?_count=3&_sort=family").expect(200).link("next").unwrap();
    let (_, cursor) = next.split_once("_cursor=").unwrap();
    assert!(!next.contains("Family") && !cursor.contains("Family"));
    for other in [
        "/Patient?_count=3&_sort=-family",
        "/Patient?_count=3",
        "/Patient?_count=3&_sort=family&birthdate=ge1910",
        "/Practitioner?_count=3&_sort=family",
        "/?_type=Patient&_count=3&_sort=family",
    ] {
        let joined = format!("{other}&_cursor={cursor}");
        server.get(&joined).expect(400).about("_cursor").says("page link");
    }
}

#[test]
fn links_are_valid_for_a_stated_time() {
    let server = Server::with(|config| config.limits.cursor_lifetime_s = 0);
    for id in ["a", "b"] {
        server.put(&format!("/Patient/{id}")).json(json!({"resourceType": "Patient", "id": id})).expect(201);
    }
    let first = server.get("/Patient?_count=1").expect(200);
    let next = first.link("next").unwrap();
    // The clock of a test moves a millisecond at each look.
    let entry = json!({"request": {"method": "GET", "url": "Patient?_summary=count"}});
    let bundle = json!({"resourceType": "Bundle", "type": "batch", "entry": vec![entry; 1_000]});
    server.post("").json(bundle).expect(200);
    server.get(&next).expect(400).about("_cursor").says("not valid");
    assert_eq!(server.get(&first.link("first").unwrap()).expect(200).ids(), ["a"]);
}
