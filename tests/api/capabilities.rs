use crate::support::Server;

#[test]
fn the_statement_says_what_is_built() {
    let server = Server::start();
    let answer = server.get("/metadata").expect(200);
    assert_eq!(answer.at("/resourceType"), "CapabilityStatement");
    assert_eq!((answer.at("/fhirVersion"), answer.at("/kind")), ("4.0.1".into(), "instance".into()));
    assert_eq!(answer.at("/implementation/url"), server.base());
    let resources = answer.at("/rest/0/resource").as_array().cloned().unwrap_or_default();
    assert!(resources.iter().any(|resource| resource["type"] == "Patient"), "{answer}");
}

#[test]
fn the_mode_chooses_and_an_unknown_one_is_named() {
    let server = Server::start();
    assert_eq!(server.get("/metadata?mode=terminology").expect(200).at("/resourceType"), "TerminologyCapabilities");
    assert_eq!(server.get("/metadata?mode=normative").expect(200).at("/resourceType"), "CapabilityStatement");
    server.get("/metadata?mode=secret").expect(400).outcome();
}

#[test]
fn it_is_answered_without_permission_and_nothing_else_is() {
    let server = Server::with(|config| config.insecure_open = false);
    server.get("/metadata").expect(200);
    server.get("/Patient/p").expect(401).issue("login");
    server.delete("/Patient/p").expect(401).issue("login");
}
