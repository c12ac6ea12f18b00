//! Files that hold data of a patient whose record was purged since.

use super::fill;
use crate::support::Server;
use crate::support::tokens::block_on;
use pharos::tenant::TenantId;
use serde_json::json;

#[test]
fn nobody_gets_the_data_of_a_purged_patient_from_a_file() {
    let server = Server::start();
    fill(&server);
    let all = server.export("/$export?_type=Patient,Organization");
    let of_b = server.export("/Patient/$export?_type=Observation&_typeFilter=Observation%3Fsubject%3DPatient%2Fb");
    let file = |exported: &crate::support::Exported, name| exported.urls("output", Some(name)).remove(0);
    let (patients, organizations, observation) =
        (file(&all, "Patient"), file(&all, "Organization"), file(&of_b, "Observation"));
    let dry = json!({"resourceType": "Parameters", "parameter": [{"name": "dryRun", "valueBoolean": true}]});
    server.post("/Patient/a/$purge").json(dry).expect(200);
    server.get(&patients).expect(200);
    server.post("/Patient/a/$purge").json(json!({"resourceType": "Parameters"})).expect(200);
    server.get(&patients).expect(410).issue("deleted");
    for url in [&organizations, &observation] {
        server.get(url).expect(200);
    }
    let sweep = || block_on(server.app().sweep_exports(TenantId::DEFAULT)).unwrap();
    assert_eq!((sweep(), sweep()), (1, 0));
    server.get(&all.path).expect(404);
    server.get(&organizations).expect(404);
    assert!(!server.app().exports.folder_of(TenantId::DEFAULT, &all.path[7..]).exists());
    server.get(&observation).expect(200);
    let later = server.export("/$export?_type=Patient");
    assert_eq!(later.names(), ["Patient/b", "Patient/c"]);
    assert_eq!(sweep(), 0);
}

#[test]
fn a_purge_is_not_forgotten_before_the_files() {
    let server = Server::start();
    fill(&server);
    let all = server.export("/$export?_type=Patient");
    let purge = server.post("/Patient/a/$purge").header("Prefer", "respond-async");
    let purge = crate::support::job_path(&server, &purge.json(json!({"resourceType": "Parameters"})).expect(202));
    while server.get(&purge).send().status() == 202 {
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    server.delete(&purge).expect(202);
    server.get(&all.path).expect(404);
    server.get(&all.urls("output", None)[0]).expect(404);
}

#[test]
fn a_purge_is_not_forgotten_while_an_export_from_before_is_at_work() {
    let server = Server::start();
    fill(&server);
    server.app().jobs.stop();
    let begun = |answer| crate::support::job_path(&server, &answer);
    let export = begun(server.get("/$export?_type=Patient").header("Prefer", "respond-async").expect(202));
    let purge = server.post("/Patient/a/$purge").header("Prefer", "respond-async");
    let purge = begun(purge.json(json!({"resourceType": "Parameters"})).expect(202));
    let run = |path: &str| block_on(server.app().jobs.run_to_end(TenantId::DEFAULT, &path[7..])).unwrap().unwrap();
    run(&purge);
    server.delete(&purge).expect(409).issue("business-rule");
    run(&export);
    server.delete(&purge).expect(202);
    server.get(&purge).expect(404);
}
