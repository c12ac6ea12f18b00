//! What the embedded code systems and value sets of R4 tell about codes, where the surroundings of an evaluation know no better.

use super::item::{Content, Item, Node};
use crate::fhir::definitions;
use crate::fhir::tree::{Object, Value};

/// Whether a code, Coding or CodeableConcept is in a value set; `None` where that can't be told.
///
/// A Coding without a system is in no value set. <https://hl7.org/fhir/R4/fhirpath.html#functions>, `memberOf`.
pub fn member_of(coded: &Item<'_>, value_set: &str) -> Option<bool> {
    let url = value_set.split('|').next().unwrap_or(value_set);
    let value_set = definitions::r4().value_set(url)?;
    let Some(codings) = codings(coded) else { return value_set.contains_code(coded.as_str()?) };
    let mut answer = Some(false);
    for (system, code) in codings {
        match value_set.contains(system, code) {
            Some(true) => return Some(true),
            Some(false) => {}
            None => answer = None,
        }
    }
    answer
}

/// How a code stands to another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relation {
    /// The first is the second, or stands above it.
    Subsumes,
    /// It does not.
    Apart,
    /// They share no code system, so that nothing relates them.
    Unrelated,
    /// They share a code system that is not embedded, or not wholly.
    Unknown,
}

impl From<bool> for Relation {
    fn from(subsumes: bool) -> Self {
        if subsumes { Self::Subsumes } else { Self::Apart }
    }
}

/// Whether a Coding or CodeableConcept subsumes another: any of its codings any of the other's.
/// <https://hl7.org/fhir/R4/fhirpath.html#functions>, `subsumes`.
pub fn subsumes(general: &Item<'_>, specific: &Item<'_>) -> Relation {
    let (Some(general), Some(specific)) = (codings(general), codings(specific)) else { return Relation::Unknown };
    let mut relation = Relation::Unrelated;
    for (system, ancestor) in &general {
        for (_, code) in specific.iter().filter(|(other, _)| other == system) {
            match is_a(system, code, ancestor) {
                Some(true) => return Relation::Subsumes,
                Some(false) if relation == Relation::Unrelated => relation = Relation::Apart,
                Some(false) => {}
                None => relation = Relation::Unknown,
            }
        }
    }
    relation
}

fn is_a(system: &str, code: &str, ancestor: &str) -> Option<bool> {
    if code == ancestor {
        return Some(true);
    }
    let system = definitions::r4().code_system(system)?;
    let is_a = system.is_a(code, ancestor);
    (is_a || system.is_complete).then_some(is_a)
}

/// System and code of each coding that has both; `None` for what is neither a Coding nor a CodeableConcept.
fn codings<'i>(item: &'i Item<'_>) -> Option<Vec<(&'i str, &'i str)>> {
    let Item::Node(Node { content: Content::Object(object), .. }) = item else { return None };
    let pair = |coding: &'i Object<'_>| coding.str("system").zip(coding.str("code"));
    match item.type_name()? {
        "Coding" => Some(pair(object).into_iter().collect()),
        "CodeableConcept" => {
            let codings = object.get("coding").map(Value::items).unwrap_or_default();
            Some(codings.iter().filter_map(Value::as_object).filter_map(pair).collect())
        }
        _ => None,
    }
}
