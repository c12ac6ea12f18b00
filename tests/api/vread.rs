use crate::support::Server;
use serde_json::json;

#[test]
fn each_version_stays_readable() {
    let server = Server::start();
    let patient = |active: bool| json!({"resourceType": "Patient", "id": "p", "active": active});
    server.put("/Patient/p").json(patient(true)).expect(201);
    server.put("/Patient/p").json(patient(false)).expect(200);
    server.delete("/Patient/p").expect(204);

    let first = server.get("/Patient/p/_history/1").expect(200).header_is("etag", "W/\"1\"");
    assert_eq!((first.version(), first.at("/active")), ("1".into(), json!(true)));
    let second = server.get("/Patient/p/_history/2").expect(200);
    assert_eq!((second.version(), second.at("/active")), ("2".into(), json!(false)));
    server.get("/Patient/p/_history/3").expect(410).issue("deleted");
    for absent in ["/Patient/p/_history/4", "/Patient/p/_history/0", "/Patient/p/_history/x", "/Patient/q/_history/1"] {
        server.get(absent).expect(404).issue("not-found");
    }
}
