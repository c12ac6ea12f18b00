//! One moment: whatever is written, deleted, moved and erased while an export is under way.

use super::{fill, group, observation, put};
use crate::support::tokens::block_on;
use crate::support::{Server, job_path};
use pharos::config::{RetentionRule, Then, What};
use pharos::jobs::State;
use pharos::retention::enforce;
use pharos::tenant::TenantId;
use serde_json::{Value, json};

const TENANT: TenantId = TenantId::DEFAULT;

fn run(server: &Server, path: &str) {
    let job = block_on(server.app().jobs.run_to_end(TENANT, path.rsplit('/').next().unwrap())).unwrap().unwrap();
    assert_eq!(job.state, State::Done, "{job:?}");
}

/// All resources of some types as they are, by name.
fn state(server: &Server, types: &[&str]) -> Vec<Value> {
    let mut all: Vec<Value> =
        types.iter().flat_map(|name| server.get(&format!("/{name}?_count=1000")).expect(200).resources()).collect();
    all.sort_by_key(|one| (one["resourceType"].to_string(), one["id"].to_string()));
    all
}

#[test]
fn an_export_shows_the_moment_of_its_request() {
    let server = Server::start();
    fill(&server);
    for n in 0..300 {
        put(&server, &observation(&format!("n{n}"), ["a", "b", "c"][n % 3]));
    }
    server.app().jobs.stop();
    let before = state(&server, &["Group", "Observation", "Patient"]);
    let system = job_path(&server, &server.get("/$export?_type=Patient,Observation,Group").expect(202));
    let of_group = job_path(&server, &server.get("/Group/ab/$export?_type=Observation").expect(202));
    let of_members = before.iter().filter(|one| one["resourceType"] == "Observation");
    let of_members: Vec<_> =
        of_members.filter(|one| one["subject"]["reference"] != "Patient/c").map(|one| one["id"].to_string()).collect();

    for n in 0..300 {
        match n % 5 {
            0 => put(&server, &observation(&format!("n{n}"), "c")),
            1 => drop(server.delete(&format!("/Observation/n{n}")).expect(204)),
            2 => {
                server.delete(&format!("/Observation/n{n}")).expect(204);
                put(&server, &observation(&format!("n{n}"), "b"));
            }
            3 => put(&server, &observation(&format!("new{n}"), "a")),
            _ => {}
        }
    }
    put(&server, &group("ab", &["Patient/c"]));
    server.delete("/Patient/a").expect(204);

    run(&server, &system);
    let mut lines = server.export_at(&system).lines("output");
    lines.sort_by_key(|one| (one["resourceType"].to_string(), one["id"].to_string()));
    assert_eq!(lines, before);
    run(&server, &of_group);
    let exported = server.export_at(&of_group);
    let mut ids: Vec<_> = exported.lines("output").iter().map(|one| one["id"].to_string()).collect();
    ids.sort_unstable();
    assert_eq!(ids, of_members);
}

#[test]
fn rules_wait_for_an_export_and_a_purge_does_not() {
    let rule = |what| RetentionRule {
        tenant: None,
        types: vec!["Observation".into()],
        what,
        keep_days: Some(0),
        then: Then::Purge,
    };
    let server = Server::with(|config| {
        config.retention.interval_s = 0;
        config.retention.rules = vec![rule(What::OldVersions), rule(What::Deleted)];
    });
    fill(&server);
    server.app().jobs.stop();
    let before = state(&server, &["Observation", "Patient"]);
    let path = job_path(&server, &server.get("/$export?_type=Patient,Observation").expect(202));
    put(&server, &observation("of-a", "b"));
    server.delete("/Observation/of-b").expect(204);

    let jobs = &server.app().jobs;
    let enforce = |dry: bool| pharos::jobs::New {
        kind: enforce::KIND,
        owner: pharos::auth::agent::Agent::server(),
        parameters: json!({"is_dry_run": dry}),
    };
    let rules = block_on(jobs.submit(TENANT, enforce(false))).unwrap();
    let waits = block_on(jobs.run_to_end(TENANT, &rules.id)).unwrap().unwrap();
    assert_eq!(waits.state, State::Active);
    assert!(waits.failure.unwrap().contains("An export is under way"));
    server.get("/Observation/of-a/_history/1").expect(200);

    // What is told of before it is done needs not wait.
    let told = block_on(jobs.submit(TENANT, enforce(true))).unwrap();
    assert_eq!(block_on(jobs.run_to_end(TENANT, &told.id)).unwrap().unwrap().state, State::Done);

    let purge =
        server.post("/Patient/c/$purge").header("Prefer", "respond-async").json(json!({"resourceType": "Parameters"}));
    run(&server, &job_path(&server, &purge.expect(202)));
    run(&server, &path);
    let exported = server.export_at(&path);
    let mut lines = exported.lines("output");
    lines.sort_by_key(|one| (one["resourceType"].to_string(), one["id"].to_string()));
    let is_c = |one: &&Value| one["id"] == "c" || one["id"] == "of-c";
    assert_eq!(lines, before.iter().filter(|one| !is_c(one)).cloned().collect::<Vec<_>>());
    assert_eq!(
        exported.notes(),
        ["2 of the resources were erased for good before they were written: they are left out."]
    );

    run(&server, &format!("/{}", rules.id));
    server.get("/Observation/of-a/_history/1").expect(404);
    server.get("/Observation/of-b").expect(404);
}

#[test]
fn rules_that_were_decided_before_an_export_began_are_decided_again() {
    use pharos::retention::spare;
    let server = Server::start();
    let keeper = server.app().store().keeper();
    let quiet = spare::quiet(&*keeper, TENANT).unwrap().unwrap();
    let begin = spare::begin("job", pharos::clock::Micros(i64::MAX)).unwrap();
    block_on(keeper.keep(TENANT, begin)).unwrap();
    assert!(spare::quiet(&*keeper, TENANT).unwrap().is_none());
    assert!(block_on(keeper.keep(TENANT, vec![quiet])).is_err(), "what was expected has changed");
    block_on(keeper.keep(TENANT, vec![spare::end("job")])).unwrap();
    let quiet = spare::quiet(&*keeper, TENANT).unwrap().unwrap();
    block_on(keeper.keep(TENANT, vec![quiet.clone()])).unwrap();
    assert!(block_on(keeper.keep(TENANT, vec![quiet])).is_err(), "of two that erase at a time one decides again");
}
