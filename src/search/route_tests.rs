//! Unsorted searches on each kind of route: every match once, forward and backward, and while others write.

use super::memory::Memory;
use super::order::Order;
use super::route::Route;
use super::tests::{all_pages, query};
use super::*;
use proptest::prelude::*;

/// What each route is asked: the type, and criteria.
const QUERIES: [(&str, &str); 12] = [
    ("Encounter", "location-period=ge2021"),
    ("Encounter", "location-period=lt2022&date=ge2020"),
    ("Encounter", "date=ge2020-02&date=lt2022"),
    ("Encounter", "date=ap2021"),
    ("Encounter", "participant:Practitioner.name=a"),
    ("Encounter", "participant.birthdate=ge1970"),
    ("Encounter", "participant:Practitioner.name:contains=a,b"),
    ("Encounter", "participant.birthdate=ge1970&location-period=ge2021"),
    ("Practitioner", "_has:Encounter:participant:status=finished"),
    ("Practitioner", "_has:Encounter:participant:status=finished&name=a"),
    ("Practitioner", "_has:Encounter:participant:date=ge2021"),
    ("Encounter", "part-of.participant.name=a"),
];

const PRACTITIONERS: usize = 6;

#[derive(Debug, Clone)]
struct Encounter {
    is_finished: bool,
    period: (i64, i64),
    stays: Vec<(i64, i64)>,
    participants: Vec<usize>,
    part_of: Option<usize>,
}

fn period((start, months): (i64, i64)) -> String {
    let date = |month: i64| format!("{}-{:02}-01", 2019 + month / 12, 1 + month % 12);
    format!(r#"{{"start":"{}","end":"{}"}}"#, date(start), date(start + months))
}

impl Encounter {
    fn json(&self, id: usize) -> String {
        let list = |items: Vec<String>| items.join(",");
        let stays =
            self.stays.iter().map(|stay| format!(r#"{{"location":{{"display":"x"}},"period":{}}}"#, period(*stay)));
        let participants =
            self.participants.iter().map(|id| format!(r#"{{"individual":{{"reference":"Practitioner/p{id}"}}}}"#));
        let part_of = self.part_of.map(|id| format!(r#","partOf":{{"reference":"Encounter/e{id}"}}"#));
        format!(
            r#"{{"resourceType":"Encounter","id":"e{id}","status":"{}","class":{{"code":"AMB"}},"period":{},"location":[{}],"participant":[{}]{}}}"#,
            if self.is_finished { "finished" } else { "planned" },
            period(self.period),
            list(stays.collect()),
            list(participants.collect()),
            part_of.unwrap_or_default()
        )
    }
}

fn practitioner(id: usize, name: &str, born: i64) -> String {
    format!(
        r#"{{"resourceType":"Practitioner","id":"p{id}","name":[{{"family":"{name}"}},{{"family":"b{name}"}}],"birthDate":"{born}"}}"#
    )
}

fn span() -> impl Strategy<Value = (i64, i64)> {
    (0_i64..40, 0_i64..9)
}

fn encounter() -> impl Strategy<Value = Encounter> {
    let stays = prop::collection::vec(span(), 0..4);
    let participants = prop::collection::vec(0..PRACTITIONERS, 0..4);
    (any::<bool>(), span(), stays, participants, prop::option::of(0_usize..12)).prop_map(
        |(is_finished, period, stays, participants, part_of)| Encounter {
            is_finished,
            period,
            stays,
            participants,
            part_of,
        },
    )
}

fn world() -> impl Strategy<Value = Memory> {
    let practitioners =
        prop::collection::vec((prop::sample::select(vec!["a", "c", "ax"]), 1960_i64..1980), PRACTITIONERS);
    (practitioners, prop::collection::vec(encounter(), 0..30)).prop_map(|(practitioners, encounters)| {
        let mut memory = Memory::default();
        for (id, (name, born)) in practitioners.iter().enumerate() {
            memory.put(&practitioner(id, name, *born));
        }
        encounters.iter().enumerate().for_each(|(id, encounter)| memory.put(&encounter.json(id)));
        memory
    })
}

/// The ids of what is in a set, by a look at each key list.
fn by_looking(memory: &Memory, type_name: &str, query: &Query) -> Vec<String> {
    let (records, budget) = (memory.records(), Budget::default());
    let run = engine::Run::new(records.view(), &budget, explain::Trace::default());
    let all = run.stream(type_name, &crate::key::Expr::All).unwrap();
    let mut all = all;
    let (mut found, mut from) = (Vec::new(), crate::store::Rid(0));
    while let Some(rid) = all.next_from(from).unwrap() {
        if run.contains(type_name, rid, &query.targets[0].expr).unwrap() {
            found.push(memory.name_of(rid).to_owned());
        }
        from = results::after(rid);
    }
    found
}

proptest! {
    #[test]
    fn every_match_is_met_once(memory in world(), is_blind in any::<bool>(), asked in prop::sample::select(&QUERIES[..]), count in 1_usize..8) {
        let (type_name, text) = asked;
        let query = query(type_name, &format!("{text}&_count={count}"));
        let memory = if is_blind && !text.contains(":contains") { memory.blinded() } else { memory };
        let mut found = all_pages(&memory, &query).concat();
        let mut expected = by_looking(&memory, type_name, &query);
        found.sort();
        expected.sort();
        prop_assert_eq!(found, expected, "{}?{}", type_name, text);
    }

    #[test]
    fn what_does_not_change_is_met_once_while_others_write(
        memory in world(),
        is_blind in any::<bool>(),
        asked in prop::sample::select(&QUERIES[..8]),
        writes in prop::collection::vec((0_usize..40, encounter()), 20),
        count in 1_usize..6,
    ) {
        let (type_name, text) = asked;
        let query = query(type_name, &format!("{text}&_count={count}"));
        let mut memory = if is_blind && !text.contains(":contains") { memory.blinded() } else { memory };
        let mut writes = writes.into_iter();
        let mut expected = by_looking(&memory, type_name, &query);
        let (mut found, mut next) = (Vec::new(), None);
        loop {
            let page = run(&memory.records(), &query, next.as_ref(), &Budget::default()).unwrap();
            found.extend(page.matches.iter().map(|found| found.version.id.to_string()));
            next = page.next;
            if next.is_none() {
                break;
            }
            if let Some((id, encounter)) = writes.next() {
                memory.put(&encounter.json(id));
                let is_other = |name: &String| *name != format!("e{id}");
                expected.retain(is_other);
                found.retain(is_other);
            }
        }
        for name in &expected {
            prop_assert_eq!(found.iter().filter(|other| *other == name).count(), 1, "{} in {}?{}", name, type_name, text);
        }
    }

    #[test]
    fn places_are_told_from_key_lists(memory in world(), asked in prop::sample::select(&QUERIES[..])) {
        let (type_name, text) = asked;
        let query = query(type_name, &format!("{text}&_count=1000"));
        let (records, budget) = (memory.records(), Budget::default());
        let run = engine::Run::new(records.view(), &budget, explain::Trace::default());
        let Some(route) = Route::of(&query.targets[0].expr) else { return Ok(()) };
        let start = back::Start { place: None, is_back: false };
        let mut follow = follow::Follow::new(&run, type_name, &route, start);
        let mut last: Option<order::Place> = None;
        loop {
            match order::Way::step(&mut follow).unwrap() {
                order::Step::Match(place) => {
                    let keys = run.keys(place.rid).unwrap().unwrap();
                    let told = Order::Along(&route).place(&run, type_name, place.rid, &keys).unwrap();
                    prop_assert_eq!(told.as_ref(), Some(&place));
                    let rises = last.is_none_or(|last| last.compare(&place, Order::Along(&route).parts()).is_lt());
                    prop_assert!(rises, "{}?{}", type_name, text);
                    last = Some(place);
                }
                order::Step::End => break,
                _ => {}
            }
        }
    }
}
