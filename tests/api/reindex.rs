use crate::support::{Client, Process, Server, free_address, job_path};
use pharos::jobs::State;
use pharos::tenant::TenantId;
use serde_json::{Value, json};
use std::process::Command;
use std::time::{Duration, Instant};

const TENANT: TenantId = TenantId::DEFAULT;

/// `$reindex` answers this parameter so.
fn parameter(answer: &Value, name: &str) -> Value {
    let parameters = answer["parameter"].as_array().unwrap();
    let found = parameters.iter().find(|parameter| parameter["name"] == name).unwrap();
    found.as_object().unwrap().iter().find(|(key, _)| key.starts_with("value")).unwrap().1.clone()
}

fn colour(expression: &str) -> Value {
    json!({
        "resourceType": "SearchParameter", "id": "colour", "url": "http://example.org/SearchParameter/colour", "name": "Colour",
        "status": "active", "description": "By colour.", "code": "colour", "base": ["Patient"], "type": "token",
        "expression": expression
    })
}

fn patients(server: &Client, ids: std::ops::Range<usize>) {
    let entry = |n: usize| {
        let extension = json!([{"url": "http://example.org/colour", "valueCode": if n.is_multiple_of(2) { "red" } else { "blue" }},
            {"url": "http://example.org/hat", "valueCode": "red"}]);
        let patient = json!({"resourceType": "Patient", "id": format!("p{n}"), "extension": extension});
        json!({"resource": patient, "request": {"method": "PUT", "url": format!("Patient/p{n}")}})
    };
    let bundle = json!({"resourceType": "Bundle", "type": "transaction", "entry": ids.map(entry).collect::<Vec<_>>()});
    server.post("").json(bundle).expect(200);
}

fn total(server: &Client, query: &str) -> u64 {
    server.get(&format!("/Patient?{query}&_summary=count")).expect(200).at("/total").as_u64().unwrap()
}

/// Starts the work and asks how far it is until it has ended.
fn reindexed(server: &Client) -> Value {
    let mut answer = server.post("/$reindex").json(json!({"resourceType": "Parameters"})).expect(200).json();
    let mut asked = 0;
    while parameter(&answer, "state") == "running" {
        asked += 1;
        assert!(asked < 10_000, "it does not end: {answer}");
        answer = server.get("/$reindex").expect(200).json();
    }
    answer
}

#[test]
fn older_resources_are_found_afterwards_without_new_versions() {
    let server = Server::start();
    patients(&server, 0..450);
    let by_extension = |name: &str| format!("Patient.extension.where(url = 'http://example.org/{name}').value");
    server.put("/SearchParameter/colour").json(colour(&by_extension("colour"))).expect(201);
    assert_eq!(parameter(&server.get("/$reindex").expect(200).json(), "left"), json!(450));
    assert_eq!(parameter(&server.get("/$reindex").expect(200).json(), "state"), "waiting");
    assert_eq!(total(&server, "colour=red"), 0);

    let answer = reindexed(&server);
    assert_eq!((parameter(&answer, "state"), parameter(&answer, "left")), (json!("done"), json!(0)), "{answer}");
    assert_eq!(parameter(&answer, "done"), json!(450));
    assert_eq!((total(&server, "colour=red"), total(&server, "colour=blue")), (225, 225));
    assert!(!server.get("/Patient?colour=red").expect(200).text().contains("$reindex"));
    assert_eq!(server.get("/Patient/p7").expect(200).version(), "1");
    assert_eq!(server.get("/Patient/_history?_count=1000").expect(200).resources().len(), 450);

    // Another meaning of the same code needs the work anew.
    server.put("/SearchParameter/colour").json(colour(&by_extension("hat"))).expect(200);
    assert!(server.get("/Patient?colour=red").expect(200).text().contains("$reindex"));
    assert_eq!(parameter(&reindexed(&server), "done"), json!(450));
    assert_eq!((total(&server, "colour=red"), total(&server, "colour=blue")), (450, 0));
}

#[test]
fn writes_go_on_while_it_works() {
    let server = Server::start();
    patients(&server, 0..600);
    let expression = "Patient.extension.where(url = 'http://example.org/colour').value";
    server.put("/SearchParameter/colour").json(colour(expression)).expect(201);
    std::thread::scope(|scope| {
        scope.spawn(|| assert_eq!(parameter(&reindexed(&server), "state"), "done"));
        for n in 0..40 {
            let extension = json!([{"url": "http://example.org/colour", "valueCode": "green"}]);
            let patient = json!({"resourceType": "Patient", "id": format!("p{n}"), "extension": extension});
            server.put(&format!("/Patient/p{n}")).json(patient).expect(200);
            server.delete(&format!("/Patient/p{}", 300 + n)).expect(204);
        }
    });
    assert_eq!((total(&server, "colour=green"), total(&server, "colour=red,blue")), (40, 520));
}

#[test]
fn it_is_a_job_one_at_a_time_that_can_be_cancelled() {
    let server = Server::with(|config| config.limits.jobs_per_tenant = 1);
    patients(&server, 0..300);
    let nothing_left = server.post("/$reindex").json(json!({"resourceType": "Parameters"})).expect(200).json();
    assert_eq!((parameter(&nothing_left, "state"), server.app().jobs.list(TENANT).unwrap().len()), (json!("done"), 0));
    let expression = "Patient.extension.where(url = 'http://example.org/colour').value";
    server.put("/SearchParameter/colour").json(colour(expression)).expect(201);
    server.app().jobs.stop();
    let begin = || {
        let request = server.post("/$reindex").header("Prefer", "respond-async");
        job_path(&server, &request.json(json!({"resourceType": "Parameters"})).expect(202))
    };
    let path = begin();
    assert_eq!(begin(), path, "who asks again hears of the same job");
    assert_eq!(server.get(&path).expect(202).header("x-progress"), Some("waiting"));
    assert_eq!(parameter(&server.get("/$reindex").expect(200).json(), "state"), "running");
    let import = server.post("/$import").body("application/fhir+ndjson", "");
    assert!(import.expect(429).header("retry-after").is_some(), "it counts among the jobs of the tenant");
    server.delete(&path).expect(202);
    server.get(&path).expect(404);
    let cancelled = server.get("/$reindex").expect(200).json();
    assert_eq!((parameter(&cancelled, "state"), parameter(&cancelled, "left")), (json!("waiting"), json!(300)));

    let path = begin();
    let id = path.rsplit('/').next().unwrap();
    let ended = crate::support::tokens::block_on(server.app().jobs.run_to_end(TENANT, id)).unwrap().unwrap();
    assert_eq!((ended.state, ended.done, ended.total), (State::Done, 300, Some(300)));
    let outcome = server.get(&path).expect(200);
    assert_eq!(outcome.at("/entry/0/response/status"), "200 OK");
    assert!(outcome.text().contains("The search keys of 300 resources were made."), "{outcome}");
    assert_eq!(total(&server, "colour=red"), 150);
}

/// The real program on a store.
fn serve(address: &str, store: &str) -> (Process, Client) {
    let process = Process::start(["serve", "--insecure-open", "--listen", address, "--store", store]);
    process.lines_until("serving FHIR");
    (process, Client::new(format!("http://{address}/fhir")))
}

#[test]
fn what_was_killed_goes_on_and_does_nothing_twice() {
    let folder = tempfile::tempdir().unwrap();
    let store = format!("file:{}", folder.path().join("store").display());
    let address = free_address().to_string();
    let serve = || serve(&address, &store);
    let (process, server) = serve();
    for start in [0, 2000, 4000] {
        patients(&server, start..start + 2000);
    }
    let expression = "Patient.extension.where(url = 'http://example.org/colour').value";
    server.put("/SearchParameter/colour").json(colour(expression)).expect(201);
    let begun = server.post("/$reindex").json(json!({"resourceType": "Parameters"})).expect(200).json();
    assert_eq!(parameter(&begun, "state"), "running");
    process.kill();
    let (_process, server) = serve();
    let begin = Instant::now();
    let ended = loop {
        let answer = server.get("/$reindex").expect(200).json();
        if parameter(&answer, "state") != "running" {
            break answer;
        }
        assert!(begin.elapsed() < Duration::from_mins(2), "{answer}");
        std::thread::sleep(Duration::from_millis(100));
    };
    assert_eq!((parameter(&ended, "state"), parameter(&ended, "done")), (json!("done"), json!(6000)), "{ended}");
    assert_eq!((total(&server, "colour=red"), total(&server, "colour=blue")), (3000, 3000));
    assert_eq!(server.get("/Patient/p7").expect(200).version(), "1");
}

#[test]
fn a_rebuild_makes_the_keys_of_stored_parameters_too() {
    let folder = tempfile::tempdir().unwrap();
    let store = format!("file:{}", folder.path().join("store").display());
    let address = free_address().to_string();
    let serve = || serve(&address, &store);
    let (process, server) = serve();
    patients(&server, 0..10);
    let expression = "Patient.extension.where(url = 'http://example.org/colour').value";
    server.put("/SearchParameter/colour").json(colour(expression)).expect(201);
    assert_eq!(total(&server, "colour=red"), 0);
    process.terminate();
    assert!(process.wait().success());

    let arguments = ["check", "--rebuild", "--store", &store];
    let output = Command::new(env!("CARGO_BIN_EXE_pharos")).args(arguments).output().unwrap();
    assert!(output.status.success(), "{output:?}");

    let (_process, server) = serve();
    assert_eq!(total(&server, "colour=red"), 5);
    assert!(!server.get("/Patient?colour=red").expect(200).text().contains("$reindex"));
    assert_eq!(parameter(&server.get("/$reindex").expect(200).json(), "left"), json!(0));
}

/// Its steps grow with the third power of the number of extensions.
const EXPENSIVE: &str =
    "Patient.extension.where(%resource.descendants().where(%resource.descendants().count() > 5).exists()).value";

#[test]
fn an_expensive_expression_stalls_no_write_and_what_lacks_keys_is_told() {
    let server = Server::start();
    let of_name = |id: &str, expression: &str| {
        let mut parameter = colour(expression);
        parameter["id"] = json!(id);
        parameter["code"] = json!(id);
        parameter["url"] = json!(format!("http://example.org/SearchParameter/{id}"));
        server.put(&format!("/SearchParameter/{id}")).json(parameter).expect(201);
    };
    of_name("cheap", "Patient.extension.where(url = 'http://example.org/colour').value");
    of_name("costly", EXPENSIVE);
    let extension = |n: usize| json!({"url": "http://example.org/colour", "valueCode": format!("c{n}")});
    let patient = |id: &str, count: usize| {
        let extensions: Vec<Value> = (0..count).map(extension).collect();
        json!({"resourceType": "Patient", "id": id, "extension": extensions})
    };
    server.put("/Patient/small").json(patient("small", 3)).expect(201);
    let begin = Instant::now();
    server.put("/Patient/large").json(patient("large", 2_000)).expect(201);
    println!("the write took {:?}", begin.elapsed());
    assert!(begin.elapsed() < Duration::from_secs(30));

    assert_eq!((total(&server, "costly=c1"), total(&server, "cheap=c1")), (1, 2));
    let warns = |query: &str| server.get(&format!("/Patient?{query}")).expect(200).text().contains("$reindex");
    assert!(warns("costly=c1") && !warns("cheap=c1"));
    let answer = reindexed(&server);
    assert_eq!((parameter(&answer, "state"), parameter(&answer, "left")), (json!("failed"), json!(1)), "{answer}");
    assert!(parameter(&answer, "failure").as_str().unwrap().contains("too large for the expression"), "{answer}");
}
