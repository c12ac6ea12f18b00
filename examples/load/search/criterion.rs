//! A criterion of a search: its text in a query, and whether a resource meets it.

use super::parameter::Parameter;
use super::value::{Amount, Span, codes, folded, reference, texts};
use super::world::Tree;
use pharos::fhir::definitions::ParamType;
use std::rc::Rc;

/// What is asked of a value.
#[derive(Clone)]
pub enum Test {
    /// Some text starts with this one.
    Starts(String),
    /// Some text is this one.
    Exactly(String),
    /// Some text contains this one.
    Contains(String),
    /// Some code is one of these: system (where it is named) and code (where it is named).
    AnyCode(Vec<(Option<String>, Option<String>)>),
    /// No code is any of these.
    NoCode(Vec<(Option<String>, Option<String>)>),
    /// Nothing is there, or something is.
    Missing(bool),
    Date(&'static str, String),
    Amount(&'static str, String, Option<(String, String)>),
    /// `Type/id`.
    Refers(String),
    /// One test for each component, of the same element.
    Composite(Vec<Test>),
}

/// A parameter of a query with its test.
#[derive(Clone)]
pub struct Criterion {
    pub parameter: Rc<Parameter>,
    pub test: Test,
}

/// What a match must meet.
#[derive(Clone)]
pub enum Condition {
    Own(Criterion),
    /// What the resource refers to meets it.
    Chain {
        through: Rc<Parameter>,
        target: String,
        inner: Box<Condition>,
    },
    /// What refers to the resource meets it.
    Has {
        source: String,
        through: Rc<Parameter>,
        inner: Box<Condition>,
    },
}

/// Characters that separate values.
fn escaped(text: &str) -> String {
    text.chars().fold(String::new(), |mut escaped, char| {
        if matches!(char, '\\' | ',' | '|' | '$') {
            escaped.push('\\');
        }
        escaped.push(char);
        escaped
    })
}

impl Test {
    fn modifier(&self) -> &'static str {
        match self {
            Self::Exactly(_) => ":exact",
            Self::Contains(_) => ":contains",
            Self::NoCode(_) => ":not",
            Self::Missing(_) => ":missing",
            _ => "",
        }
    }

    fn value(&self) -> String {
        match self {
            Self::Starts(text) | Self::Exactly(text) | Self::Contains(text) => escaped(text),
            Self::AnyCode(codes) | Self::NoCode(codes) => {
                let code = |(system, code): &(Option<String>, Option<String>)| {
                    let system = system.as_deref().map_or_else(String::new, |system| format!("{}|", escaped(system)));
                    system + &code.as_deref().map_or_else(String::new, escaped)
                };
                codes.iter().map(code).collect::<Vec<_>>().join(",")
            }
            Self::Missing(missing) => missing.to_string(),
            Self::Date(prefix, text) => format!("{prefix}{text}"),
            Self::Amount(prefix, number, unit) => {
                let unit = unit.as_ref().map(|(system, code)| format!("|{}|{}", escaped(system), escaped(code)));
                format!("{prefix}{number}{}", unit.unwrap_or_default())
            }
            Self::Refers(address) => address.clone(),
            Self::Composite(parts) => parts.iter().map(Self::value).collect::<Vec<_>>().join("$"),
        }
    }

    /// What of the value may be shown: its prefix.
    fn shape(&self) -> String {
        match self {
            Self::Date(prefix, _) => format!("{prefix}…"),
            Self::Amount(prefix, _, unit) => format!("{prefix}…{}", if unit.is_some() { "|…" } else { "" }),
            Self::Missing(missing) => missing.to_string(),
            Self::Composite(parts) => parts.iter().map(Self::shape).collect::<Vec<_>>().join("$"),
            Self::AnyCode(codes) | Self::NoCode(codes) => format!("…({})", codes.len()),
            _ => "…".to_owned(),
        }
    }

    /// Whether one of the elements passes; `None` where that can't be told.
    fn holds(&self, elements: &[&Tree], parameter: &Parameter) -> Option<bool> {
        match self {
            Self::Missing(missing) if elements.is_empty() => Some(*missing),
            Self::Missing(missing) => {
                let is_read = elements.iter().any(|element| has_value(element, parameter.param_type));
                is_read.then_some(!missing)
            }
            Self::NoCode(wanted) => Self::AnyCode(wanted.clone()).holds(elements, parameter).map(|is_in| !is_in),
            test => any(elements.iter().map(|element| test.passes(element, parameter))),
        }
    }

    fn passes(&self, element: &Tree, parameter: &Parameter) -> Option<bool> {
        match self {
            Self::Starts(wanted) => {
                let wanted = folded(wanted);
                Some(texts(element).iter().any(|text| folded(text).starts_with(&wanted)))
            }
            Self::Contains(wanted) => {
                let wanted = folded(wanted);
                Some(texts(element).iter().any(|text| folded(text).contains(&wanted)))
            }
            Self::Exactly(wanted) => Some(texts(element).contains(&wanted.as_str())),
            Self::AnyCode(wanted) | Self::NoCode(wanted) => {
                any(codes(element).iter().flat_map(|found| wanted.iter().map(move |wanted| is_code(wanted, found))))
            }
            Self::Date(prefix, text) => {
                let now = jiff::Timestamp::now().as_microsecond();
                Span::parse(text)?.compare(prefix, Span::of(element)?, now)
            }
            Self::Amount(prefix, number, unit) => {
                let unit = unit.as_ref().map(|(system, code)| (system.as_str(), code.as_str()));
                Amount::parse(number, unit)?.compare(prefix, &Amount::of(element)?)
            }
            Self::Refers(address) => Some(reference(element)? == address),
            Self::Composite(tests) => {
                let parts = parameter.components.iter().zip(tests);
                all(parts.map(|(part, test)| test.holds(&part.elements(element), parameter)))
            }
            Self::Missing(_) => None,
        }
    }
}

fn is_code((system, code): &(Option<String>, Option<String>), found: &super::value::Code<'_>) -> Option<bool> {
    match code.as_deref() {
        Some(code) if !code.eq_ignore_ascii_case(found.text) => return Some(false),
        // Whether case matters is the code system's.
        Some(code) if code != found.text => return None,
        _ => {}
    }
    match system {
        Some(_) if !found.has_system => None,
        Some(system) => Some(found.system.unwrap_or_default() == system),
        None => Some(true),
    }
}

fn has_value(element: &Tree, param_type: ParamType) -> bool {
    match param_type {
        ParamType::Token => !codes(element).is_empty(),
        ParamType::String => !texts(element).is_empty(),
        ParamType::Date => Span::of(element).is_some(),
        ParamType::Number | ParamType::Quantity => Amount::of(element).is_some(),
        ParamType::Reference => reference(element).is_some(),
        _ => false,
    }
}

/// Whether any holds; `None` where none does for certain and one may.
pub fn any(answers: impl Iterator<Item = Option<bool>>) -> Option<bool> {
    let mut result = Some(false);
    for answer in answers {
        match answer {
            Some(true) => return answer,
            None => result = None,
            Some(false) => {}
        }
    }
    result
}

/// Whether all hold; `None` where none fails for certain and one may.
pub fn all(answers: impl Iterator<Item = Option<bool>>) -> Option<bool> {
    any(answers.map(|answer| answer.map(|holds| !holds))).map(|fails| !fails)
}

impl Criterion {
    /// Whether a resource meets it; `None` where that can't be told.
    pub fn holds(&self, resource: &Tree) -> Option<bool> {
        self.test.holds(&self.parameter.elements(resource), &self.parameter)
    }

    fn pair(&self) -> (String, String) {
        (format!("{}{}", self.parameter.code, self.test.modifier()), self.test.value())
    }
}

impl Condition {
    /// Whether a resource meets it by what it holds itself; `None` where that can't be told.
    pub fn holds_in(&self, resource: &Tree) -> Option<bool> {
        match self {
            Self::Own(criterion) => criterion.holds(resource),
            _ => None,
        }
    }

    /// The name and the value in a query.
    pub fn pair(&self) -> (String, String) {
        match self {
            Self::Own(criterion) => criterion.pair(),
            Self::Chain { through, target, inner } => {
                let (name, value) = inner.pair();
                let of_type = if through.targets.len() == 1 { String::new() } else { format!(":{target}") };
                (format!("{}{of_type}.{name}", through.code), value)
            }
            Self::Has { source, through, inner } => {
                let (name, value) = inner.pair();
                (format!("_has:{source}:{}:{name}", through.code), value)
            }
        }
    }

    /// The same for people, without the value.
    pub fn shape(&self) -> String {
        format!("{}={}", self.pair().0, self.innermost().test.shape())
    }

    fn innermost(&self) -> &Criterion {
        match self {
            Self::Own(criterion) => criterion,
            Self::Chain { inner, .. } | Self::Has { inner, .. } => inner.innermost(),
        }
    }
}
