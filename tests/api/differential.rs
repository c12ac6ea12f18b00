//! Both stores give the same answers: the same random history and queries, with the same times and ids, and every answer compared byte
//! for byte. `PHAROS_TEST_SEED=n` plays another history.

use crate::support::mongodb::new_database;
use crate::support::server::{START, embedded, on_mongodb};
use crate::support::{Answer, Server};
use pharos::clock::{Clock, Micros};
use pharos::config::Config;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

/// Requests of one history.
const REQUESTS: u64 = 150;
/// The address that both servers believe to have.
const PUBLIC: &str = "http://pharos.example";
const BASE: &str = "http://pharos.example/fhir";

/// A clock that stands still until it is set; ids count up.
#[derive(Default)]
struct SetByHand {
    now: AtomicI64,
    ids: AtomicU64,
}

impl SetByHand {
    /// The time and the ids of the n-th request.
    fn set(&self, n: u64) {
        self.now.store(START.0 + n.cast_signed() * 1_000_000, Ordering::SeqCst);
        self.ids.store(n * 10_000, Ordering::SeqCst);
    }
}

impl Clock for SetByHand {
    fn now(&self) -> Micros {
        Micros(self.now.load(Ordering::SeqCst))
    }

    fn new_id(&self) -> String {
        format!("id-{}", self.ids.fetch_add(1, Ordering::SeqCst))
    }
}

/// Numbers from a seed (xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }

    fn of<'t>(&mut self, all: &[&'t str]) -> &'t str {
        all[usize::try_from(self.below(all.len() as u64)).unwrap()]
    }
}

const NAMES: [&str; 6] = ["Ada", "Adam", "Eve", "Zoë", "O'Neil", "van der Berg"];
const CODES: [&str; 3] = ["29463-7", "8302-2", "85354-9"];
const DATES: [&str; 5] = ["2020", "2020-02-03", "2021-05-05T10:00:00Z", "1999-12", "2020-02-03T23:59:59+05:00"];

fn patient(random: &mut Random, id: &str) -> Value {
    json!({
        "resourceType": "Patient", "id": id, "active": random.below(2) == 0,
        "identifier": [{"system": "urn:s", "value": format!("v{}", random.below(6))}],
        "name": [{"family": random.of(&NAMES), "given": [random.of(&NAMES)]}],
        "gender": random.of(&["male", "female", "other"]), "birthDate": random.of(&["1970-01-01", "1980", "1990-05"]),
    })
}

fn observation(random: &mut Random, id: &str) -> Value {
    json!({
        "resourceType": "Observation", "id": id, "status": random.of(&["final", "preliminary"]),
        "subject": {"reference": format!("Patient/p{}", random.below(6))},
        "code": {"coding": [{"system": "http://loinc.org", "code": random.of(&CODES)}]},
        "effectiveDateTime": random.of(&DATES),
        "valueQuantity": {"value": random.below(200), "unit": "kg", "system": "http://unitsofmeasure.org", "code": "kg"},
    })
}

fn resource(random: &mut Random) -> (&'static str, String, Value) {
    if random.below(2) == 0 {
        let id = format!("p{}", random.below(6));
        let body = patient(random, &id);
        ("Patient", id, body)
    } else {
        let id = format!("o{}", random.below(12));
        let body = observation(random, &id);
        ("Observation", id, body)
    }
}

const QUERIES: [&str; 34] = [
    "/Patient",
    "/Patient?name=ad",
    "/Patient?name:exact=Ada&active=true",
    "/Patient?family:contains=er&_sort=family,-birthdate",
    "/Patient?identifier=urn:s|v3",
    "/Patient?identifier=v1,v2&_sort=-_lastUpdated",
    "/Patient?gender:not=male&_total=accurate",
    "/Patient?birthdate=lt1985&_count=2",
    "/Patient?_has:Observation:patient:code=29463-7",
    "/Patient?_id=p1,p2,p3&_summary=count",
    "/Patient?gender:missing=false&_sort=gender&_count=3",
    "/Patient?_lastUpdated=gt2026-01-02T03:05:00Z&_elements=name",
    "/Patient?_revinclude=Observation:subject&name=eve",
    "/Observation?code=29463-7&_count=3",
    "/Observation?code=http://loinc.org|8302-2&patient=Patient/p1",
    "/Observation?patient.name=ada&_include=Observation:subject",
    "/Observation?date=2020&_sort=date",
    "/Observation?date=ge2020-02-03&_sort=-date&_count=4",
    "/Observation?value-quantity=gt50&_sort=-value-quantity",
    "/Observation?value-quantity=le120||kg&status=final",
    "/Observation?subject:Patient.birthdate=1980",
    "/Observation?code:below=29463-7",
    "/Observation?_filter=status eq final and code eq 8302-2",
    "/Observation?status=final,preliminary&_summary=true",
    "/Patient/p1/_history",
    "/Patient/p1/_history/1",
    "/Patient/_history?_count=5",
    "/Observation/_history?_since=2026-01-02T03:05:30Z",
    "/_history?_count=7",
    "/Patient/p2",
    "/Observation/o3",
    "/Patient/p1/$everything",
    "/?_type=Patient,Observation&_lastUpdated=gt2026-01-02T03:04:50Z&_count=6",
    "/Observation/$lastn?code=29463-7,8302-2&patient=p1",
];

/// What is sent: method, path, headers, and body.
type Sent = (&'static str, String, Vec<(&'static str, String)>, Option<Value>);

fn next(random: &mut Random) -> Sent {
    let plain = |method, path, body| (method, path, Vec::new(), body);
    match random.below(20) {
        0..=3 => {
            let (type_name, id, body) = resource(random);
            plain("PUT", format!("/{type_name}/{id}"), Some(body))
        }
        4 => {
            let (type_name, id, body) = resource(random);
            let version = format!("W/\"{}\"", 1 + random.below(4));
            ("PUT", format!("/{type_name}/{id}"), vec![("If-Match", version)], Some(body))
        }
        5 => {
            let (type_name, _, body) = resource(random);
            plain("POST", format!("/{type_name}"), Some(body))
        }
        6 => {
            let criteria = format!("identifier=urn:s|v{}", random.below(6));
            ("POST", "/Patient".into(), vec![("If-None-Exist", criteria)], Some(patient(random, "x")))
        }
        7 => {
            let mut body = patient(random, "x");
            body.as_object_mut().unwrap().remove("id");
            plain("PUT", format!("/Patient?identifier=urn:s|v{}", random.below(6)), Some(body))
        }
        8 => {
            let (type_name, id, _) = resource(random);
            plain("DELETE", format!("/{type_name}/{id}"), None)
        }
        9 => plain("DELETE", format!("/Observation?code={}&status=final", random.of(&CODES)), None),
        10 => {
            let entries = (0..=random.below(5)).map(|_| {
                let (type_name, id, body) = resource(random);
                json!({"resource": body, "request": {"method": "PUT", "url": format!("{type_name}/{id}")}})
            });
            let entries: Vec<Value> = entries.collect();
            // The entries of a batch are done side by side, so that their times may come in any order.
            let kind = if entries.len() == 1 { "batch" } else { "transaction" };
            plain("POST", String::new(), Some(json!({"resourceType": "Bundle", "type": kind, "entry": entries})))
        }
        _ => plain("GET", random.of(&QUERIES).replace(' ', "%20").replace('|', "%7C"), None),
    }
}

fn send(server: &Server, (method, path, headers, body): &Sent) -> Answer {
    let mut request = server.request(method, path);
    for (name, value) in headers {
        request = request.header(name, value);
    }
    match body {
        Some(body) => request.json(body),
        None => request,
    }
    .send()
}

/// An answer as it is compared: page links are sealed with randomness, and so named only.
fn compared(answer: &Answer) -> (u16, Vec<Option<String>>, String) {
    let headers = ["etag", "last-modified", "location", "content-type"];
    let cursor = regex::Regex::new(r#"_cursor=[^"&]+"#).unwrap();
    let headers = headers.iter().map(|name| answer.header(name).map(str::to_owned)).collect();
    (answer.status(), headers, cursor.replace_all(answer.text(), "_cursor=…").into_owned())
}

#[test]
fn both_stores_answer_the_same() {
    let first = std::env::var("PHAROS_TEST_SEED").map_or(1_u64, |seed| seed.parse().unwrap());
    for seed in first..first + 2 {
        let Some(address) = new_database() else { return };
        let clocks = [Arc::new(SetByHand::default()), Arc::new(SetByHand::default())];
        let settings = |config: &mut Config| {
            config.public_url = Some(PUBLIC.into());
            config.limits.request_timeout_ms = 110_000;
        };
        for clock in &clocks {
            clock.set(0);
        }
        let servers = [
            Server::on(settings, clocks[0].clone(), embedded),
            Server::on(settings, clocks[1].clone(), |folder, config, clock| {
                Arc::new(on_mongodb(address, folder, config, clock))
            }),
        ];
        let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        let mut pages = 0;
        for n in 1..=REQUESTS {
            let sent = next(&mut random);
            for clock in &clocks {
                clock.set(n);
            }
            let mut answers = servers.each_ref().map(|server| send(server, &sent));
            loop {
                let [one, other] = answers.each_ref().map(compared);
                assert_eq!(one, other, "seed {seed}, request {n}, page {pages}: {} {}", sent.0, sent.1);
                // Each server's own link leads on.
                let next = |answer: &Answer| if answer.status() == 200 { answer.link("next") } else { None };
                let [Some(one), Some(other)] = answers.each_ref().map(next) else { break };
                let page = |server: &Server, link: String| server.get(link.strip_prefix(BASE).unwrap()).send();
                answers = [page(&servers[0], one), page(&servers[1], other)];
                pages += 1;
            }
        }
        println!("seed {seed}: {REQUESTS} requests and {pages} further pages, all the same");
    }
}
