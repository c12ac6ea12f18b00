//! Random resources and queries, answered by the engine and by a naive evaluator that is written from the text of
//! <https://hl7.org/fhir/R4/search.html> and looks at each resource in turn. The evaluator works on the model that the
//! resources are made from, and shares no code with the engine. A failure prints the query and proptest's seed.

mod filter;

use super::memory::Memory;
use super::tests::{all_pages, is_found_blind};
use super::{Budget, Options, Registry, parse, run};
use crate::clock::Micros;
use proptest::prelude::*;
use std::cmp::Reverse;

/// A date as precise as it has parts, in UTC: year, month, day, hour.
#[derive(Debug, Clone, Copy, PartialEq)]
struct When(i64, Option<i64>, Option<i64>, Option<i64>);

impl When {
    fn text(self) -> String {
        let Self(year, month, day, hour) = self;
        let part = |sign: &str, part: Option<i64>| part.map_or(String::new(), |part| format!("{sign}{part:02}"));
        let time = hour.map_or(String::new(), |hour| format!("T{hour:02}:00:00Z"));
        format!("{year}{}{}{time}", part("-", month), part("-", day))
    }

    /// The first second and the first one after it.
    fn range(self) -> (i64, i64) {
        let Self(year, month, day, hour) = self;
        let start = |year, month, day| days(year, month, day) * 86_400;
        match (month, day, hour) {
            (Some(month), Some(day), Some(hour)) => {
                let second = start(year, month, day) + hour * 3600;
                (second, second + 1)
            }
            (Some(month), Some(day), None) => (start(year, month, day), start(year, month, day) + 86_400),
            (Some(12), None, _) => (start(year, 12, 1), start(year + 1, 1, 1)),
            (Some(month), None, _) => (start(year, month, 1), start(year, month + 1, 1)),
            (None, ..) => (start(year, 1, 1), start(year + 1, 1, 1)),
        }
    }
}

/// Days since 1970, counted the plain way.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let is_leap = |year: i64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let whole: i64 = (1970..year).map(|year| if is_leap(year) { 366 } else { 365 }).sum();
    let lengths = [31, if is_leap(year) { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    whole + lengths.iter().take(usize::try_from(month - 1).unwrap()).sum::<i64>() + day - 1
}

/// A number as written: digits and how many of them stand behind the point.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Number(i64, u32);

impl Number {
    fn text(self) -> String {
        let Self(digits, scale) = self;
        let unit = 10_i64.pow(scale);
        if scale == 0 {
            return digits.to_string();
        }
        format!("{}.{:0width$}", digits / unit, digits % unit, width = usize::try_from(scale).unwrap())
    }

    /// The value and the ends of its implied range, in millionths.
    fn range(self) -> (i64, i64, i64) {
        let unit = 10_i64.pow(6 - self.1);
        (self.0 * unit - unit / 2, self.0 * unit, self.0 * unit + unit / 2)
    }
}

#[derive(Debug, Clone)]
struct Patient {
    family: Option<&'static str>,
    gender: Option<&'static str>,
    born: Option<When>,
}

#[derive(Debug, Clone)]
struct Observation {
    status: &'static str,
    codes: Vec<(Option<&'static str>, &'static str)>,
    subject: Option<usize>,
    time: Option<(Option<When>, Option<When>, bool)>,
    value: Option<(Number, &'static str)>,
}

const FAMILIES: [(&str, &str); 6] = [
    ("O'Brien", "obrien"),
    ("Obrador", "obrador"),
    ("MÜLLER", "muller"),
    ("muller", "muller"),
    ("Mull", "mull"),
    ("van  der Zoë", "van der zoe"),
];
const STARTS: [(&str, &str); 6] =
    [("ob", "ob"), ("O-B", "ob"), ("Müll", "mull"), ("mulle", "mulle"), ("VAN der", "van der"), ("zoe", "zoe")];
const SYSTEMS: [Option<&str>; 3] = [None, Some("urn:s"), Some("urn:t")];

fn folded(family: &str) -> &'static str {
    FAMILIES.iter().find(|(name, _)| *name == family).unwrap().1
}

impl Patient {
    fn json(&self, id: usize) -> String {
        let parts = [
            Some(format!(r#"{{"resourceType":"Patient","id":"p{id}""#)),
            self.family.map(|name| format!(r#","name":[{{"family":"{name}"}}]"#)),
            self.gender.map(|gender| format!(r#","gender":"{gender}""#)),
            self.born.map(|born| format!(r#","birthDate":"{}""#, born.text())),
            Some("}".into()),
        ];
        parts.into_iter().flatten().collect()
    }
}

impl Observation {
    fn json(&self, id: usize) -> String {
        let codings = self.codes.iter().map(|(system, code)| match system {
            Some(system) => format!(r#"{{"system":"{system}","code":"{code}"}}"#),
            None => format!(r#"{{"code":"{code}"}}"#),
        });
        let (status, codings) = (self.status, codings.collect::<Vec<_>>().join(","));
        let parts = [
            Some(format!(r#"{{"resourceType":"Observation","id":"o{id}","status":"{status}","#)),
            Some(format!(r#""code":{{"coding":[{codings}]}}"#)),
            self.subject.map(|id| format!(r#","subject":{{"reference":"Patient/p{id}"}}"#)),
            self.time_json(),
            self.value.map(|(value, unit)| {
                let (value, system) = (value.text(), "http://unitsofmeasure.org");
                format!(r#","valueQuantity":{{"value":{value},"unit":"{unit}","system":"{system}","code":"{unit}"}}"#)
            }),
            Some("}".into()),
        ];
        parts.into_iter().flatten().collect()
    }

    fn time_json(&self) -> Option<String> {
        let (start, end, is_period) = self.time?;
        if !is_period {
            return start.map(|start| format!(r#","effectiveDateTime":"{}""#, start.text()));
        }
        let bound = |name: &str, bound: Option<When>| bound.map(|at| format!(r#""{name}":"{}""#, at.text()));
        let bounds: Vec<_> = [bound("start", start), bound("end", end)].into_iter().flatten().collect();
        Some(format!(r#","effectivePeriod":{{{}}}"#, bounds.join(",")))
    }

    fn range(&self) -> Option<(i64, i64)> {
        let (start, end, is_period) = self.time?;
        Some(match (start, end) {
            (Some(start), None) if !is_period => start.range(),
            (start, end) => (start.map_or(i64::MIN, |at| at.range().0), end.map_or(i64::MAX, |at| at.range().1)),
        })
    }
}

/// The table of prefixes: the value searched for as `low..high`, that of the resource likewise.
fn compare(prefix: &str, (low, high): (i64, i64), (from, to): (i64, i64)) -> bool {
    let within = low <= from && to <= high;
    match prefix {
        "ne" => !within,
        "gt" => to > high,
        "lt" => from < low,
        "ge" => to > high || within,
        "le" => from < low || within,
        "sa" => from >= high,
        "eb" => to <= low,
        _ => within,
    }
}

fn compare_numbers(prefix: &str, wanted: (i64, i64, i64), found: (i64, i64, i64)) -> bool {
    let within = wanted.0 <= found.0 && found.2 <= wanted.2;
    match prefix {
        "ne" => !within,
        "gt" | "sa" => found.1 > wanted.1,
        "lt" | "eb" => found.1 < wanted.1,
        "ge" => found.1 >= wanted.1,
        "le" => found.1 <= wanted.1,
        _ => within,
    }
}

#[derive(Debug, Clone)]
enum OfPatient {
    Family(usize, bool),
    FamilyExact(&'static str),
    FamilyContains(usize),
    Gender(Vec<&'static str>, bool),
    Born(&'static str, When),
    Missing(&'static str, bool),
    Has(Box<OfObservation>),
}

#[derive(Debug, Clone)]
enum OfObservation {
    Status(&'static str),
    Code(Option<&'static str>, &'static str, bool),
    System(&'static str),
    Time(&'static str, When),
    Value(&'static str, Number, Option<&'static str>),
    CodeValue(&'static str, &'static str, Number),
    Subject(usize),
    Chain(Box<OfPatient>),
    Missing(&'static str, bool),
}

struct World {
    patients: Vec<Patient>,
    observations: Vec<Observation>,
}

impl OfPatient {
    fn text(&self) -> String {
        match self {
            Self::Family(at, true) => format!("family={},nobody", STARTS[*at].0),
            Self::Family(at, false) => format!("family={}", STARTS[*at].0),
            Self::FamilyExact(name) => format!("family:exact={name}"),
            Self::FamilyContains(at) => format!("name:contains={}", STARTS[*at].0),
            Self::Gender(codes, negated) => format!("gender{}={}", if *negated { ":not" } else { "" }, codes.join(",")),
            Self::Born(prefix, when) => format!("birthdate={prefix}{}", when.text()),
            Self::Missing(code, missing) => format!("{code}:missing={missing}"),
            Self::Has(inner) => format!("_has:Observation:subject:{}", inner.text()),
        }
    }

    fn holds(&self, world: &World, id: usize) -> bool {
        let patient = &world.patients[id];
        match self {
            Self::Family(at, _) => patient.family.is_some_and(|name| folded(name).starts_with(STARTS[*at].1)),
            Self::FamilyExact(exact) => patient.family == Some(exact),
            Self::FamilyContains(at) => patient.family.is_some_and(|name| folded(name).contains(STARTS[*at].1)),
            Self::Gender(codes, negated) => patient.gender.is_some_and(|gender| codes.contains(&gender)) != *negated,
            Self::Born(prefix, when) => patient.born.is_some_and(|born| compare(prefix, when.range(), born.range())),
            Self::Missing(code, missing) => match *code {
                "gender" => patient.gender.is_none() == *missing,
                _ => patient.born.is_none() == *missing,
            },
            Self::Has(inner) => (0..world.observations.len())
                .any(|other| world.observations[other].subject == Some(id) && inner.holds(world, other)),
        }
    }
}

impl OfObservation {
    fn text(&self) -> String {
        match self {
            Self::Status(code) => format!("status={code}"),
            Self::Code(system, code, negated) => {
                let system = system.map_or(String::new(), |system| format!("{system}|"));
                format!("code{}={system}{code}", if *negated { ":not" } else { "" })
            }
            Self::System(system) => format!("code={system}|"),
            Self::Time(prefix, when) => format!("date={prefix}{}", when.text()),
            Self::Value(prefix, number, Some(unit)) => {
                format!("value-quantity={prefix}{}|http://unitsofmeasure.org|{unit}", number.text())
            }
            Self::Value(prefix, number, None) => format!("value-quantity={prefix}{}", number.text()),
            Self::CodeValue(code, prefix, number) => format!("code-value-quantity={code}${prefix}{}", number.text()),
            Self::Subject(id) => format!("subject=Patient/p{id}"),
            Self::Chain(inner) => format!("subject:Patient.{}", inner.text()),
            Self::Missing(code, missing) => format!("{code}:missing={missing}"),
        }
    }

    fn holds(&self, world: &World, id: usize) -> bool {
        let observation = &world.observations[id];
        let value = |prefix: &str, wanted: Number, unit: Option<&str>| {
            observation.value.is_some_and(|(found, own)| {
                // One unit is a thousand of the other.
                let scale = |(low, value, high): (i64, i64, i64), unit: &str| {
                    let factor = if unit == "g" { 1000 } else { 1 };
                    (low * factor, value * factor, high * factor)
                };
                match unit {
                    None => compare_numbers(prefix, wanted.range(), found.range()),
                    Some(unit) => compare_numbers(prefix, scale(wanted.range(), unit), scale(found.range(), own)),
                }
            })
        };
        match self {
            Self::Status(code) => observation.status == *code,
            Self::Code(system, code, negated) => {
                let is_it = |(own, found): &(Option<&str>, &str)| {
                    system.is_none_or(|system| system == own.unwrap_or_default()) && found.eq_ignore_ascii_case(code)
                };
                observation.codes.iter().any(is_it) != *negated
            }
            Self::System(system) => observation.codes.iter().any(|(own, _)| *own == Some(system)),
            Self::Time(prefix, when) => observation.range().is_some_and(|range| compare(prefix, when.range(), range)),
            Self::Value(prefix, wanted, unit) => value(prefix, *wanted, *unit),
            Self::CodeValue(code, prefix, wanted) => {
                observation.codes.iter().any(|(_, own)| own.eq_ignore_ascii_case(code)) && value(prefix, *wanted, None)
            }
            Self::Subject(id) => observation.subject == Some(*id),
            Self::Chain(inner) => observation.subject.is_some_and(|id| inner.holds(world, id)),
            Self::Missing(code, missing) => match *code {
                "subject" => observation.subject.is_none() == *missing,
                "date" => observation.time.is_none() == *missing,
                _ => observation.value.is_none() == *missing,
            },
        }
    }
}

fn one_of<T: Clone + std::fmt::Debug + 'static>(values: &'static [T]) -> impl Strategy<Value = T> {
    prop::sample::select(values)
}

fn prefix() -> impl Strategy<Value = &'static str> {
    one_of(&["", "eq", "ne", "gt", "lt", "ge", "le", "sa", "eb"])
}

fn date() -> impl Strategy<Value = When> {
    (2019_i64..2021, 1_i64..4, 1_i64..4).prop_flat_map(|(year, month, day)| {
        prop_oneof![
            Just(When(year, None, None, None)),
            Just(When(year, Some(month), None, None)),
            Just(When(year, Some(month), Some(day), None)),
        ]
    })
}

fn time() -> impl Strategy<Value = When> {
    let hour = |When(year, month, day, _): When, hour| When(year, month.or(Some(12)), day.or(Some(28)), Some(hour));
    prop_oneof![date(), (date(), 0_i64..24).prop_map(move |(date, at)| hour(date, at))]
}

fn number() -> impl Strategy<Value = Number> {
    prop_oneof![
        (0_i64..12).prop_map(|n| Number(n, 0)),
        (0_i64..120).prop_map(|n| Number(n, 1)),
        (0_i64..1200).prop_map(|n| Number(n, 2))
    ]
}

fn patient() -> impl Strategy<Value = Patient> {
    let family = prop::option::of(one_of(&FAMILIES).prop_map(|(name, _)| name));
    let parts = (family, prop::option::of(one_of(&["male", "female", "other"])), prop::option::of(date()));
    parts.prop_map(|(family, gender, born)| Patient { family, gender, born })
}

fn observation(patients: usize) -> impl Strategy<Value = Observation> {
    let period = (prop::option::of(time()), prop::option::of(time())).prop_filter_map("a period", |(start, end)| {
        let in_order = start.zip(end).is_none_or(|(start, end)| start.range().0 < end.range().1);
        (in_order && (start.is_some() || end.is_some())).then_some((start, end, true))
    });
    let when = prop_oneof![time().prop_map(|at| (Some(at), None, false)), period];
    let codes = prop::collection::vec((one_of(&SYSTEMS), one_of(&["a", "b", "C"])), 1..3);
    (
        one_of(&["final", "amended"]),
        codes,
        prop::option::of(0..patients),
        prop::option::of(when),
        prop::option::of((number(), one_of(&["mg", "g"]))),
    )
        .prop_map(|(status, codes, subject, time, value)| Observation { status, codes, subject, time, value })
}

fn of_patient() -> impl Strategy<Value = OfPatient> {
    prop_oneof![
        (0..STARTS.len(), any::<bool>()).prop_map(|(at, or)| OfPatient::Family(at, or)),
        one_of(&FAMILIES).prop_map(|(name, _)| OfPatient::FamilyExact(name)),
        (0..STARTS.len()).prop_map(OfPatient::FamilyContains),
        (prop::collection::vec(one_of(&["male", "female", "other", "none"]), 1..3), any::<bool>())
            .prop_map(|(codes, negated)| OfPatient::Gender(codes, negated)),
        (prefix(), date()).prop_map(|(prefix, when)| OfPatient::Born(prefix, when)),
        (one_of(&["gender", "birthdate"]), any::<bool>()).prop_map(|(code, missing)| OfPatient::Missing(code, missing)),
    ]
}

fn of_observation(patients: usize) -> impl Strategy<Value = OfObservation> {
    prop_oneof![
        one_of(&["final", "amended", "unknown"]).prop_map(OfObservation::Status),
        (prop::option::of(one_of(&["", "urn:s", "urn:t"])), one_of(&["a", "B", "c", "d"]), any::<bool>())
            .prop_map(|(system, code, negated)| OfObservation::Code(system, code, negated)),
        one_of(&["urn:s", "urn:t"]).prop_map(OfObservation::System),
        (prefix(), time()).prop_map(|(prefix, when)| OfObservation::Time(prefix, when)),
        (prefix(), number(), prop::option::of(one_of(&["mg", "g"])))
            .prop_map(|(prefix, number, unit)| OfObservation::Value(prefix, number, unit)),
        (one_of(&["a", "b", "c"]), prefix(), number())
            .prop_map(|(code, prefix, number)| OfObservation::CodeValue(code, prefix, number)),
        (0..patients).prop_map(OfObservation::Subject),
        of_patient().prop_map(|inner| OfObservation::Chain(Box::new(inner))),
        (one_of(&["subject", "date", "value-quantity"]), any::<bool>())
            .prop_map(|(code, missing)| OfObservation::Missing(code, missing)),
    ]
}

/// All pages of a query, joined, once they were walked backward too. Without `_sort` they are put in the order of the numbers.
fn answer(memory: &Memory, type_name: &str, text: &str) -> Vec<String> {
    let pairs = text.split('&').filter_map(|pair| pair.split_once('='));
    let pairs: Vec<_> = pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let options = Options { now: Micros(1_600_000_000_000_000), ..Options::default() };
    let query = parse(&Registry::default(), Some(type_name), &pairs, &options).unwrap();
    let mut counting = query.clone();
    counting.count = 0;
    let counted = run(&memory.records(), &counting, None, &Budget::default()).unwrap().total;
    let mut found = all_pages(memory, &query).concat();
    is_found_blind(memory, &query, &found);
    let mut far = all_pages(&memory.far(), &query).concat();
    assert_eq!(counted, Some(found.len() as u64), "the total of {type_name}?{text}");
    if query.sort.is_empty() {
        for ids in [&mut found, &mut far] {
            ids.sort_by_key(|id| id[1..].parse::<usize>().unwrap());
        }
    }
    assert_eq!(far, found, "from far away, {type_name}?{text}");
    found
}

const PATIENTS: usize = 24;

fn world() -> impl Strategy<Value = World> {
    let parts = (prop::collection::vec(patient(), PATIENTS), prop::collection::vec(observation(PATIENTS), 0..60));
    parts.prop_map(|(patients, observations)| World { patients, observations })
}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let patients = self.patients.iter().enumerate().map(|(id, patient)| patient.json(id));
        let observations = self.observations.iter().enumerate().map(|(id, observation)| observation.json(id));
        f.debug_list().entries(patients.chain(observations)).finish()
    }
}

impl World {
    fn stored(&self) -> Memory {
        let mut memory = Memory::default();
        self.patients.iter().enumerate().for_each(|(id, patient)| memory.put(&patient.json(id)));
        self.observations.iter().enumerate().for_each(|(id, observation)| memory.put(&observation.json(id)));
        memory
    }
}

fn named(letter: char, ids: Vec<usize>) -> Vec<String> {
    ids.into_iter().map(|id| format!("{letter}{id}")).collect()
}

proptest! {
    #[test]
    fn patients_are_found(
        world in world(),
        criteria in prop::collection::vec(
            prop_oneof![3 => of_patient(), 1 => of_observation(PATIENTS).prop_map(|inner| OfPatient::Has(Box::new(inner)))], 0..4),
        sort in one_of(&["", "birthdate", "-birthdate", "gender,-birthdate"]),
        count in 1_usize..30,
    ) {
        let mut expected: Vec<usize> = (0..PATIENTS).filter(|id| criteria.iter().all(|one| one.holds(&world, *id))).collect();
        let born = |id: usize| world.patients[id].born.map(When::range);
        match sort {
            "birthdate" => expected.sort_by_key(|id| (born(*id).is_none(), born(*id), *id)),
            "-birthdate" => expected.sort_by_key(|id| (born(*id).is_none(), Reverse(born(*id)), *id)),
            "gender,-birthdate" => expected.sort_by_key(|id| {
                let gender = world.patients[*id].gender;
                (gender.is_none(), gender, born(*id).is_none(), Reverse(born(*id)), *id)
            }),
            _ => {}
        }
        let texts: Vec<_> = criteria.iter().map(OfPatient::text).collect();
        let text = format!("{}&_sort={sort}&_count={count}", texts.join("&"));
        prop_assert_eq!(answer(&world.stored(), "Patient", &text), named('p', expected), "Patient?{}", text);
    }

    #[test]
    fn observations_are_found(
        world in world(),
        criteria in prop::collection::vec(of_observation(PATIENTS), 0..4),
        sort in one_of(&["", "date", "-date", "status,-date", "-status,date"]),
        count in 1_usize..40,
    ) {
        let holds = |id: &usize| criteria.iter().all(|one| one.holds(&world, *id));
        let mut expected: Vec<usize> = (0..world.observations.len()).filter(holds).collect();
        let range = |id: usize| world.observations[id].range();
        let status = |id: usize| world.observations[id].status;
        match sort {
            "date" => expected.sort_by_key(|id| (range(*id).is_none(), range(*id), *id)),
            "-date" => expected.sort_by_key(|id| (range(*id).is_none(), Reverse(range(*id)), *id)),
            "status,-date" => expected.sort_by_key(|id| (status(*id), range(*id).is_none(), Reverse(range(*id)), *id)),
            "-status,date" => expected.sort_by_key(|id| (Reverse(status(*id)), range(*id).is_none(), range(*id), *id)),
            _ => {}
        }
        let texts: Vec<_> = criteria.iter().map(OfObservation::text).collect();
        let text = format!("{}&_sort={sort}&_count={count}", texts.join("&"));
        prop_assert_eq!(answer(&world.stored(), "Observation", &text), named('o', expected), "Observation?{}", text);
    }
}
