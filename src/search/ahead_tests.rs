//! Looking ahead: where the store is far away a search finds the same, fails where it would fail nearby, and gives each way its turn.

use super::ahead::Ahead;
use super::memory::Memory;
use super::results::Met;
use super::tests::query;
use super::*;
use crate::error::{Category, Error, Result};
use crate::store::Rid;

/// What each of so many calls gives: a number, nothing yet, the end, or a failure.
fn given(
    calls: usize,
    mut take: impl FnMut() -> Result<Met<Rid>>,
    foresee: impl Fn(&[Rid]) -> Result<()>,
) -> Vec<Option<u64>> {
    let (records, budget) = (Memory::default().far().records(), Budget::default());
    let run = engine::Run::new(records.view(), &budget, explain::Trace::default());
    let mut ahead = Ahead::default();
    let mut given = Vec::new();
    for _ in 0..calls {
        match ahead.next(&run, &mut take, &foresee) {
            Ok(Met::At(rid)) => given.push(Some(rid.0)),
            Ok(Met::Nothing) => {}
            Ok(Met::End) => return given,
            Err(_) => {
                given.push(None);
                return given;
            }
        }
    }
    given
}

#[test]
fn who_takes_in_vain_gives_others_their_turn() {
    let mut tried = 0;
    let take = || {
        tried += 1;
        Ok(if tried > 2000 { Met::End } else { Met::Nothing })
    };
    assert_eq!(given(10, take, |_| Ok(())), []);
    assert!((10..200).contains(&tried), "{tried} in ten calls");
}

#[test]
fn what_was_taken_stays_while_others_have_their_turn() {
    let mut tried = 0;
    // Every fifth of them is one.
    let take = || {
        tried += 1;
        Ok(if tried > 100 {
            Met::End
        } else if tried % 5 == 0 {
            Met::At(Rid(tried))
        } else {
            Met::Nothing
        })
    };
    let all: Vec<_> = (1..=20).map(|number| Some(number * 5)).collect();
    assert_eq!(given(1000, take, |_| Ok(())), all);
}

#[test]
fn a_failure_comes_behind_what_was_taken_before_it() {
    let mut numbers = 1..=11;
    let take = || numbers.next().map(|number| Met::At(Rid(number))).ok_or_else(|| Error::internal("damaged"));
    let expected: Vec<_> = (1..=11).map(Some).chain([None]).collect();
    assert_eq!(given(100, take, |_| Ok(())), expected);
}

#[test]
fn what_is_damaged_fails_only_where_the_search_comes_to_it() {
    let failing = |error: fn() -> Error| {
        let mut numbers = 1..=3;
        let take = move || Ok(numbers.next().map_or(Met::End, |number| Met::At(Rid(number))));
        given(100, take, move |_| Err(error()))
    };
    assert_eq!(failing(|| Error::internal("damaged")), [Some(1), Some(2), Some(3)]);
    assert_eq!(failing(|| Error::new(Category::Unavailable, "transient", "gone")), [None]);
}

/// Very many practitioners of the name, nothing refers to any but the last of them; what is wanted comes first by number.
fn crowd() -> Memory {
    let mut memory = Memory::default();
    memory.put(
        r#"{"resourceType":"Encounter","id":"e0","status":"finished","class":{"code":"AMB"},
            "participant":[{"individual":{"reference":"Practitioner/last"}}]}"#,
    );
    memory.put(
        r#"{"resourceType":"Encounter","id":"e1","status":"finished","class":{"code":"AMB"},
            "partOf":{"reference":"Encounter/e0"}}"#,
    );
    for number in 0..2000 {
        memory.put(&format!(r#"{{"resourceType":"Practitioner","id":"p{number}","name":[{{"family":"a{number}"}}]}}"#));
    }
    memory.put(r#"{"resourceType":"Practitioner","id":"last","name":[{"family":"az"}]}"#);
    memory
}

#[test]
fn a_long_way_does_not_keep_a_short_one_waiting() {
    let memory = crowd();
    let query = query("Encounter", "part-of.participant:Practitioner.name=a&_count=1");
    for (is_far, memory) in [(false, memory.clone()), (true, memory.far())] {
        let budget = Budget::default();
        let page = run(&memory.records(), &query, None, &budget).unwrap();
        assert_eq!(page.matches.iter().map(|found| &*found.version.id).collect::<Vec<_>>(), ["e1"]);
        assert!(budget.taken() < 500, "{} steps, far away: {is_far}", budget.taken());
    }
}

#[test]
fn what_is_met_early_is_given_out_though_more_takes_long() {
    let mut tried = 0;
    let take = || {
        tried += 1;
        Ok(if tried == 3 { Met::At(Rid(3)) } else { Met::Nothing })
    };
    assert_eq!(given(1, take, |_| Ok(())), [Some(3)]);
}
