//! Random filters against the naive reading of <https://hl7.org/fhir/R4/search_filter.html>.

use super::*;

#[derive(Debug, Clone)]
enum Leaf {
    Family(&'static str, usize),
    Gender(&'static str, &'static str),
    Born(&'static str, When),
    Present(&'static str, bool),
    /// Of an observation: its status, its time, and a leaf of its subject.
    Status(&'static str),
    Time(&'static str, When),
    Subject(Box<Leaf>),
    /// `subject[leaf].leaf`.
    SubjectWith(Box<Leaf>, Box<Leaf>),
}

#[derive(Debug, Clone)]
enum Tree {
    Leaf(Leaf),
    Not(Box<Tree>),
    And(Box<Tree>, Box<Tree>),
    Or(Box<Tree>, Box<Tree>),
}

/// Texts of filters, and what they are when folded.
const TEXTS: [(&str, &str); 5] =
    [("bri", "bri"), ("O'BRIEN", "obrien"), ("ler", "ler"), ("Müll", "mull"), ("van der", "van der")];

fn compare_dates(operator: &str, wanted: (i64, i64), found: (i64, i64)) -> bool {
    match operator {
        "po" => wanted.0 < found.1 && found.0 < wanted.1,
        prefix => compare(prefix, wanted, found),
    }
}

impl Leaf {
    fn text(&self) -> String {
        match self {
            Self::Family(operator, at) => format!("family {operator} \"{}\"", TEXTS[*at].0),
            Self::Gender(operator, code) => format!("gender {operator} {code}"),
            Self::Born(operator, when) => format!("birthdate {operator} {}", when.text()),
            Self::Present(code, is_present) => format!("{code} pr {is_present}"),
            Self::Status(code) => format!("status eq {code}"),
            Self::Time(operator, when) => format!("date {operator} {}", when.text()),
            Self::Subject(inner) => format!("subject:Patient.{}", inner.text()),
            Self::SubjectWith(one, other) => format!("subject:Patient[{}].{}", one.text(), other.text()),
        }
    }

    fn holds_of_patient(&self, patient: &Patient) -> bool {
        match self {
            Self::Family(operator, at) => patient.family.map(folded).is_some_and(|name| match *operator {
                "co" => name.contains(TEXTS[*at].1),
                "sw" => name.starts_with(TEXTS[*at].1),
                "ew" => name.ends_with(TEXTS[*at].1),
                "ne" => name != TEXTS[*at].1,
                _ => name == TEXTS[*at].1,
            }),
            Self::Gender(operator, code) => patient.gender.is_some_and(|own| (own == *code) == (*operator == "eq")),
            Self::Born(operator, when) => {
                patient.born.is_some_and(|born| compare_dates(operator, when.range(), born.range()))
            }
            Self::Present(code, is_present) => match *code {
                "gender" => patient.gender.is_some() == *is_present,
                _ => patient.born.is_some() == *is_present,
            },
            _ => false,
        }
    }

    fn holds_of_observation(&self, world: &World, observation: &Observation) -> bool {
        let subject = observation.subject.map(|id| &world.patients[id]);
        match self {
            Self::Status(code) => observation.status == *code,
            Self::Time(operator, when) => {
                observation.range().is_some_and(|range| compare_dates(operator, when.range(), range))
            }
            Self::Subject(inner) => subject.is_some_and(|patient| inner.holds_of_patient(patient)),
            Self::SubjectWith(one, other) => {
                subject.is_some_and(|patient| one.holds_of_patient(patient) && other.holds_of_patient(patient))
            }
            _ => false,
        }
    }
}

impl Tree {
    fn text(&self) -> String {
        match self {
            Self::Leaf(leaf) => leaf.text(),
            Self::Not(inner) => format!("not ({})", inner.text()),
            Self::And(left, right) => format!("({}) and ({})", left.text(), right.text()),
            Self::Or(left, right) => format!("({} or ({}))", left.text(), right.text()),
        }
    }

    fn holds(&self, of: &dyn Fn(&Leaf) -> bool) -> bool {
        match self {
            Self::Leaf(leaf) => of(leaf),
            Self::Not(inner) => !inner.holds(of),
            Self::And(left, right) => left.holds(of) && right.holds(of),
            Self::Or(left, right) => left.holds(of) || right.holds(of),
        }
    }
}

fn date_operator() -> impl Strategy<Value = &'static str> {
    one_of(&["eq", "ne", "gt", "lt", "ge", "le", "sa", "eb", "po"])
}

fn of_patient() -> impl Strategy<Value = Leaf> {
    prop_oneof![
        (one_of(&["co", "sw", "ew", "eq", "ne"]), 0..TEXTS.len()).prop_map(|(operator, at)| Leaf::Family(operator, at)),
        (one_of(&["eq", "ne"]), one_of(&["male", "female", "other"]))
            .prop_map(|(operator, code)| Leaf::Gender(operator, code)),
        (date_operator(), date()).prop_map(|(operator, when)| Leaf::Born(operator, when)),
        (one_of(&["gender", "birthdate"]), any::<bool>())
            .prop_map(|(code, is_present)| Leaf::Present(code, is_present)),
    ]
}

fn of_observation() -> impl Strategy<Value = Leaf> {
    prop_oneof![
        one_of(&["final", "amended", "unknown"]).prop_map(Leaf::Status),
        (date_operator(), time()).prop_map(|(operator, when)| Leaf::Time(operator, when)),
        of_patient().prop_map(|inner| Leaf::Subject(Box::new(inner))),
        (of_patient(), of_patient()).prop_map(|(one, other)| Leaf::SubjectWith(Box::new(one), Box::new(other))),
    ]
}

fn tree(leaf: impl Strategy<Value = Leaf> + 'static) -> impl Strategy<Value = Tree> {
    leaf.prop_map(Tree::Leaf).prop_recursive(3, 12, 2, |inner| {
        let pair = (inner.clone(), inner.clone()).prop_map(|(left, right)| (Box::new(left), Box::new(right)));
        prop_oneof![
            inner.prop_map(|inner| Tree::Not(Box::new(inner))),
            pair.clone().prop_map(|(left, right)| Tree::And(left, right)),
            pair.prop_map(|(left, right)| Tree::Or(left, right)),
        ]
    })
}

proptest! {
    #[test]
    fn filters_of_patients(world in world(), tree in tree(of_patient()), count in 1_usize..30) {
        let holds = |id: &usize| tree.holds(&|leaf| leaf.holds_of_patient(&world.patients[*id]));
        let expected = (0..PATIENTS).filter(holds).collect();
        let text = format!("_filter={}&_count={count}", tree.text());
        prop_assert_eq!(answer(&world.stored(), "Patient", &text), named('p', expected), "Patient?{}", text);
    }

    #[test]
    fn filters_of_observations(world in world(), tree in tree(of_observation()), count in 1_usize..40) {
        let holds = |id: &usize| tree.holds(&|leaf| leaf.holds_of_observation(&world, &world.observations[*id]));
        let expected = (0..world.observations.len()).filter(holds).collect();
        let text = format!("_filter={}&_count={count}", tree.text());
        prop_assert_eq!(answer(&world.stored(), "Observation", &text), named('o', expected), "Observation?{}", text);
    }
}
