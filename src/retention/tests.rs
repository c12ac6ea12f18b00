//! What happens between the decision on a part and its commit.

use super::enforce::Enforce;
use super::hold::{Hold, Holds};
use super::purge::Purge;
use super::rules::Rules;
use crate::auth::agent::Agent;
use crate::auth::grant::Grant;
use crate::auth::tenants::Tenants;
use crate::clock::{Clock, FixedClock, Micros};
use crate::config::{Auth, RetentionRule, Then, What};
use crate::fhir::parse::parse;
use crate::jobs::{Job, New, Part, Turn, Work};
use crate::key::Extractor;
use crate::store::body::Body;
use crate::store::contract::wait;
use crate::store::embedded::{Embedded, Options};
use crate::store::{Change, Commit, CommitError, Content, Expect, Method, Store};
use crate::tenant::TenantId;
use serde_json::{Value, json};
use std::sync::Arc;

const TENANT: TenantId = TenantId(5);

struct House {
    _folder: tempfile::TempDir,
    store: Store,
    grant: Grant,
}

impl House {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let options = Options { free_floor_mib: 0, ..Options::at(folder.path().join("store")) };
        let clock = FixedClock::at(Micros(1_000_000)) as Arc<dyn Clock>;
        let store = Store::new(Arc::new(Embedded::open(options, clock).unwrap()));
        Self { _folder: folder, store, grant: Grant::unrestricted(TENANT) }
    }

    fn commit(&self, commit: Commit) -> Result<(), CommitError> {
        wait(self.store.commit(&self.grant, commit)).map(drop)
    }

    fn put(&self, json: &Value) {
        let text = json.to_string();
        let tree = parse(text.as_bytes(), 64).unwrap();
        let resource = tree.as_object().unwrap();
        let content = Content { body: Body::pack(resource), keys: Extractor::new(None).keys(resource) };
        let (type_name, id) = (resource.resource_type().unwrap().into(), resource.id().unwrap().into());
        let change = Change { type_name, id, expect: Expect::Any, method: Method::Update, content: Some(content) };
        self.commit(Commit { changes: vec![change], ..Commit::of(TENANT) }).unwrap();
    }

    fn record(&self) {
        self.put(&json!({"resourceType": "Patient", "id": "p"}));
        self.put(&json!({"resourceType": "Flag", "id": "f", "subject": {"reference": "Patient/p"}}));
    }

    fn hold(&self, on: &str) {
        let holds = Holds { store: &self.store, grant: self.grant.clone(), is_recorded: true };
        let hold = Hold { on: on.into(), reason: "case 7".into(), by: Agent::operator(), since: 0 };
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(holds.set(&hold)).unwrap();
    }

    /// The next part of a job that stands at a position.
    fn part(&self, work: &dyn Work, parameters: Value, position: Value) -> crate::error::Result<Part> {
        let new = New { kind: work.kind(), owner: Agent::server(), parameters };
        let job = Job { position, ..Job::new("job".into(), new, Micros(0)) };
        let now = Micros(i64::MAX / 2);
        work.step(&Turn { job: &job, store: &self.store, grant: self.grant.clone(), now })
    }

    fn is_there(&self, type_name: &str, id: &str) -> bool {
        self.store.open(&self.grant).unwrap().view().find(type_name, id).unwrap().is_some()
    }
}

fn enforce(house: &House) -> Enforce {
    let (types, what, then) = (vec!["Flag".to_owned()], What::Current, Then::Purge);
    let rule = RetentionRule { tenant: None, types, what, keep_days: Some(0), then };
    let tenants = Tenants::new(house.store.keeper(), &Auth::default(), "https://pharos.example.org".into());
    Enforce { rules: Arc::new(Rules::new(vec![rule]).unwrap()), archive_folder: None, tenants: Arc::new(tenants) }
}

#[test]
fn a_hold_that_is_set_after_the_decision_is_respected() {
    for on in ["Patient/p", "Flag/f"] {
        let house = House::new();
        house.record();
        let part = house.part(&enforce(&house), json!({}), Value::Null).unwrap();
        assert_eq!(part.commit.erasures.len(), 1);
        house.hold(on);
        assert!(matches!(house.commit(part.commit), Err(CommitError::Stale { .. })), "{on}");
        assert!(house.is_there("Flag", "f"));
        let again = house.part(&enforce(&house), json!({}), Value::Null).unwrap();
        assert!(again.commit.erasures.is_empty() && again.is_last);
    }
}

#[test]
fn what_changed_after_the_decision_is_decided_on_anew() {
    let house = House::new();
    house.record();
    let part = house.part(&enforce(&house), json!({}), Value::Null).unwrap();
    house.put(&json!({"resourceType": "Flag", "id": "f", "subject": {"reference": "Patient/q"}}));
    assert!(matches!(house.commit(part.commit), Err(CommitError::Stale { .. })));
    assert!(house.is_there("Flag", "f"));
}

#[test]
fn a_patient_is_erased_last_and_only_if_nothing_came_meanwhile() {
    let (house, parameters) = (House::new(), json!({"patient": "p"}));
    house.record();
    let at_patient = || house.part(&Purge, parameters.clone(), json!({"at": "patient"})).unwrap();
    let back = at_patient();
    assert!(!back.is_last && back.commit.erasures.is_empty(), "the Flag is still there");
    assert_eq!(back.position["at"], "record");
    let part = house.part(&Purge, parameters.clone(), Value::Null).unwrap();
    house.commit(part.commit).unwrap();
    assert!(!house.is_there("Flag", "f") && house.is_there("Patient", "p"));

    let last = at_patient();
    assert!(last.is_last);
    house.put(&json!({"resourceType": "Flag", "id": "late", "subject": {"reference": "Patient/p"}}));
    assert!(matches!(house.commit(last.commit), Err(CommitError::Touched)));
    let part = house.part(&Purge, parameters.clone(), at_patient().position).unwrap();
    house.commit(part.commit).unwrap();
    house.commit(at_patient().commit).unwrap();
    assert!(!house.is_there("Flag", "late") && !house.is_there("Patient", "p"));
    house.hold("Patient/p");
    let error = house.part(&Purge, parameters.clone(), Value::Null).unwrap_err();
    assert!(error.to_string().contains("legal hold"), "{error}");
}
