//! How often a request waits for MongoDB.

use crate::support::Server;
use crate::support::mongodb::new_database;
use crate::support::server::{START, on_mongodb};
use pharos::clock::FixedClock;
use pharos::store::mongo::Mongo;
use serde_json::{Value, json};
use std::cell::RefCell;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

fn patient(id: &str, name: &str, born: &str) -> Value {
    json!({"resourceType": "Patient", "id": id, "name": [{"family": name}], "birthDate": born})
}

fn observation(id: &str, subject: usize, code: &str) -> Value {
    json!({
        "resourceType": "Observation", "id": id, "status": "final", "subject": {"reference": format!("Patient/p{subject}")},
        "code": {"coding": [{"system": "http://loinc.org", "code": code}]}, "valueQuantity": {"value": 70, "unit": "kg"}
    })
}

#[test]
fn requests_wait_for_the_database_as_seldom_as_is_promised() {
    let Some(address) = new_database() else { return };
    let slot = Arc::new(OnceLock::<Arc<Mongo>>::new());
    let kept = Arc::clone(&slot);
    let server = Server::on(
        |config| config.limits.request_timeout_ms = 110_000,
        FixedClock::at(START),
        move |folder, config, clock| {
            let mongo = Arc::new(on_mongodb(address, folder, config, clock));
            Arc::clone(kept.get_or_init(|| mongo)) as Arc<dyn pharos::store::Backend>
        },
    );
    let mongo = slot.get().unwrap();
    let entry = |method: &str, resource: &Value| {
        let (type_name, id) = (resource["resourceType"].as_str().unwrap(), resource["id"].as_str().unwrap());
        json!({"resource": resource, "request": {"method": method, "url": format!("{type_name}/{id}")}})
    };
    let mut entries: Vec<Value> =
        (0..60).map(|n| entry("PUT", &patient(&format!("p{n}"), &format!("Name{}", n % 7), "1970-01-01"))).collect();
    entries.extend(
        (0..240).map(|n| {
            entry("PUT", &observation(&format!("o{n}"), n % 3, if n % 2 == 0 { "29463-7" } else { "8302-2" }))
        }),
    );
    entries.extend((0..30).map(|n| entry("PUT", &observation(&format!("i{n}"), n, "3141-9"))));
    for n in 0..20 {
        let url = format!("http://example.org/q{n}");
        entries.push(entry(
            "PUT",
            &json!({"resourceType": "Questionnaire", "id": format!("q{n}"), "url": url, "status": "active"}),
        ));
        entries.push(entry("PUT", &json!({
            "resourceType": "QuestionnaireResponse", "id": format!("a{n}"), "questionnaire": url, "status": "completed"
        })));
    }
    server.post("").json(json!({"resourceType": "Bundle", "type": "transaction", "entry": entries})).expect(200);
    server.get("/Observation?code=29463-7").expect(200);
    // What waits for the first look at the ledger has ended then.
    std::thread::sleep(Duration::from_millis(1500));

    // The least of three: what the store does by itself, now and then, may fall into one of them.
    let too_many = RefCell::new(Vec::new());
    let counted = |most: u64, what: &str, request: &dyn Fn(usize)| {
        let count = (0..3).map(|n| {
            let before = mongo.round_trips();
            request(n);
            mongo.round_trips() - before
        });
        let count = count.min().unwrap();
        println!("{count} round trips: {what}");
        if count > most {
            too_many.borrow_mut().push(format!("{what}: {count} round trips, and {most} are promised"));
        }
    };
    let put =
        |id: &str, status| drop(server.put(&format!("/Patient/{id}")).json(patient(id, "N", "1980")).expect(status));
    counted(1, "read", &|_| drop(server.get("/Patient/p7").expect(200)));
    counted(1, "read of what is not there", &|_| drop(server.get("/Patient/never").expect(404)));
    counted(2, "vread", &|_| drop(server.get("/Patient/p7/_history/1").expect(200)));
    counted(4, "create", &|_| drop(server.post("/Patient").json(patient("x", "New", "1980-01-01")).expect(201)));
    counted(4, "create by update", &|n| put(&format!("new{n}"), 201));
    counted(4, "update", &|n| put(&format!("p{}", 20 + n), 200));
    counted(4, "delete", &|n| drop(server.delete(&format!("/Patient/p{}", 30 + n)).expect(204)));
    let page = |path: &str, matches: usize| {
        let path = path.to_owned();
        let server = &server;
        move |_| assert_eq!(server.get(&path).expect(200).resources().len(), matches, "{path}")
    };
    counted(4, "page of two tokens", &page("/Observation?patient=p1&code=29463-7&_count=20", 20));
    counted(4, "page of a name and a date", &page("/Patient?family=name3&birthdate=1970-01-01&_count=20", 8));
    counted(4, "page of one token", &page("/Observation?code=8302-2&_count=20", 20));
    counted(4, "page of a type", &page("/Patient?_count=20", 20));
    // What 30 resources refer to is read together: 30 more than one would be.
    counted(
        6,
        "page with what it includes",
        &page("/Observation?code=3141-9&_include=Observation:subject&_count=30", 60),
    );
    // Those of 30 targets, and of 20.
    counted(8, "chain, along its targets", &page("/Observation?patient.birthdate=1970-01-01&_count=20", 20));
    counted(10, "chain, checked", &page("/Observation?code=3141-9&patient.birthdate=1970-01-01&_count=20", 20));
    counted(8, "_has", &page("/Patient?_has:Observation:patient:code=3141-9&_count=20", 20));
    let checked = "/Patient?birthdate=1970-01-01&_has:Observation:patient:code=3141-9&_count=20";
    counted(10, "_has, checked", &page(checked, 20));
    let ids = (3..23).map(|n| format!("p{n}")).collect::<Vec<_>>().join(",");
    let referring = format!("/Patient?_id={ids}&_revinclude=Observation:patient&_count=20");
    counted(8, "_revinclude", &page(&referring, 40));
    let canonical = "/QuestionnaireResponse?_include=QuestionnaireResponse:questionnaire&_count=20";
    counted(8, "_include by canonical URL", &page(canonical, 40));
    assert_eq!(too_many.into_inner(), Vec::<String>::new());
}
