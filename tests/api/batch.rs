use crate::support::Server;
use serde_json::json;

#[test]
fn each_entry_stands_for_itself() {
    let server = Server::start();
    let bundle = json!({"resourceType": "Bundle", "type": "batch", "entry": [
        {"request": {"method": "PUT", "url": "Patient/a"}, "resource": {"resourceType": "Patient", "id": "a"}},
        {"request": {"method": "PUT", "url": "Patient/b"}, "resource": {"resourceType": "Patient", "id": "other"}},
        {"request": {"method": "GET", "url": "Patient/nobody"}},
        {"request": {"method": "POST", "url": "Patient"}, "resource": {"resourceType": "Patient"}},
    ]});
    let answer = server.post("").json(bundle).expect(200);
    assert_eq!(answer.at("/type"), "batch-response");
    let status = |n: usize| answer.at(&format!("/entry/{n}/response/status")).as_str().unwrap_or_default().to_owned();
    let starts = [0, 1, 2, 3].map(|n| status(n).chars().take(3).collect::<String>());
    assert_eq!(starts, ["201", "400", "404", "201"], "{answer}");
    assert_eq!(answer.at("/entry/1/response/outcome/resourceType"), "OperationOutcome");
    server.get("/Patient/a").expect(200);
    server.get("/Patient/b").expect(404);
}
