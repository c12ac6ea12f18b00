//! The keys that the ledger makes for its entries are those that any AuditEvent would have.

use super::form::AuditEvents;
use super::record::{Changed, Event, Record};
use crate::auth::agent::Agent;
use crate::clock::Micros;
use crate::fhir::write;
use crate::key::Extractor;
use crate::key::id_key;
use crate::store::ledger::Form;
use crate::store::ledger::id_of;
use crate::validate;
use proptest::prelude::*;
use std::borrow::Cow;

const BASE: &str = "http://localhost/fhir";

fn events() -> impl Strategy<Value = Event> {
    const CODES: &[&str] =
        &["read", "vread", "search-type", "history-instance", "create", "update", "patch", "delete", "transaction"];
    prop_oneof![
        proptest::sample::select(CODES).prop_map(|code| Event::Interaction(code.into())),
        Just(Event::Operation("everything".into())),
        Just(Event::SignIn),
        Just(Event::SignOut),
        Just(Event::Token),
        Just(Event::Revocation),
        Just(Event::Authorization),
        Just(Event::Emergency),
        Just(Event::Account),
        Just(Event::Administration("client".into())),
        Just(Event::Export),
        Just(Event::Erasure),
        Just(Event::Archival),
        Just(Event::Start),
        Just(Event::Stop),
        Just(Event::Verification),
        Just(Event::Unwrapping),
    ]
}

fn agents() -> impl Strategy<Value = Agent> {
    let text = || proptest::option::of("[A-Za-z][A-Za-z ]{0,8}[a-z]").prop_map(|text| text.map(String::into_boxed_str));
    let id = || proptest::option::of("[a-z0-9]{1,6}").prop_map(|text| text.map(String::into_boxed_str));
    let reference = proptest::option::of("(Practitioner|Patient|RelatedPerson)/[a-z0-9]{1,4}")
        .prop_map(|text| text.map(String::into_boxed_str));
    let roles = proptest::collection::vec("[a-z]{1,6}".prop_map(String::into_boxed_str), 0..3);
    (id(), text(), reference, roles, id(), id(), id(), any::<bool>(), text()).prop_map(
        |(user, name, fhir_user, roles, client, authorization, token, is_treatment, emergency)| Agent {
            user,
            name,
            fhir_user,
            roles,
            client,
            issuer: None,
            authorization,
            token,
            purpose: if is_treatment { vec!["TREAT".into()] } else { Vec::new() },
            emergency,
        },
    )
}

fn records() -> impl Strategy<Value = Record<'static>> {
    let id = || "[a-zA-Z0-9.-]{1,8}";
    let patients = proptest::collection::btree_set(id().prop_map(String::into_boxed_str), 0..4);
    let target = proptest::option::of((proptest::sample::select(&["Patient", "Observation", "Group"][..]), id()));
    let changed = proptest::collection::vec(
        (proptest::sample::select(&['C', 'U', 'D'][..]), id(), proptest::collection::vec(0_u32..4, 0..2)),
        0..3,
    );
    let status = proptest::sample::select(&[200_u16, 401, 403, 404, 503][..]);
    let about = (proptest::option::of("[ -~]{1,20}"), proptest::option::of("[a-z]{1,5}"), any::<[u8; 4]>());
    (events(), agents(), status, patients, target, changed, about).prop_map(
        |(event, agent, status, patients, target, changed, (query, name, from))| {
            let mut record = Record::of(event, Cow::Owned(agent));
            record.shape.status = status;
            record.shape.from = Some(from.into());
            record.shape.name = name.map(Cow::Owned);
            record.content.patients = patients.into_iter().collect();
            record.content.target = target.map(|(type_name, id)| format!("{type_name}/{id}").into());
            let of = |(action, id, of)| Changed { action, what: format!("Encounter/{id}").into(), of };
            record.content.changed = changed.into_iter().map(of).collect();
            record.content.query = query.map(Cow::Owned);
            record
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn keys_are_those_of_the_resource(record in records(), time in 0_i64..2_000_000_000_000_000) {
        let form = AuditEvents::new(BASE);
        let patients = record.content.patients.clone();
        let entry = record.entry(Micros(time)).unwrap();
        let all = form.all_keys(&entry).unwrap();
        prop_assert_eq!(all.len(), form.parts(&entry).unwrap() as usize);
        prop_assert_eq!(all.len(), if patients.len() > 1 { patients.len() + 1 } else { 1 });
        for (part, keys) in (0_u32..).zip(all) {
            prop_assert!(!keys.own.iter().any(|key| keys.shared.iter().any(|shared| *shared == **key)));
            let number = 7 + u64::from(part);
            let added = [vec![id_key(&id_of(number)).into()], form.time_keys(entry.time)].concat();
            prop_assert!(!added.iter().any(|added| keys.shared.iter().chain(keys.own.iter().map(|key| &**key)).any(|key| *key == **added)));
            let keys = keys.joined().with(added);
            let resource = form.resource(number, &entry, part).unwrap();
            let issues = validate::structure(&resource);
            let json = String::from_utf8(write::to_vec(&resource.clone().into())).unwrap();
            prop_assert!(issues.is_empty(), "{:?} in {}", issues, json);
            let expected = Extractor::new(Some(BASE)).keys(&resource);
            prop_assert_eq!(&keys, &expected, "{}", json);
            prop_assert_eq!(form.keys(number, &entry, part).unwrap(), keys);
            let others = patients.iter().filter(|id| json.contains(&format!("Patient/{id}\""))).count();
            prop_assert!(part == 0 || others <= 1 + usize::from(json.contains("\"who\":{\"reference\":\"Patient/")), "{}", json);
        }
    }
}
