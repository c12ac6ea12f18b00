//! The expression of a search parameter, cut down to what concerns one resource type.

use crate::fhir::definitions::{self, SearchParameter};
use crate::fhir::tree::Object;
use crate::fhirpath::{Collection, Context, Expression, Item};
use std::borrow::Cow;

/// One alternative of an expression (`Patient.birthDate | Person.birthDate` has two).
#[derive(Debug)]
pub struct Branch {
    expression: Expression,
    text: Box<str>,
    /// The element of the resource that it starts with; without that there is nothing to evaluate.
    head: Option<Box<str>>,
    /// The code systems behind an element of type `code`.
    systems: Vec<&'static str>,
}

impl PartialEq for Branch {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Branch {
    /// The alternatives that concern a resource type.
    #[must_use]
    pub fn all_of(expression: &str, type_name: &str) -> Vec<Self> {
        let texts = alternatives(expression).into_iter().map(without_parentheses);
        texts.filter(|text| concerns(text, type_name)).filter_map(|text| Self::compile(text, type_name)).collect()
    }

    fn compile(text: &str, type_name: &str) -> Option<Self> {
        let expression = match Expression::compile(&mended(text)) {
            Ok(expression) => expression,
            Err(error) => {
                tracing::error!(%type_name, %text, %error, "a search parameter's expression can't be compiled");
                return None;
            }
        };
        let names: Vec<_> = text.split('.').collect();
        let root = names.first().copied().unwrap_or_default().trim_start_matches('(');
        let is_rooted = root == type_name || root == "Resource" || root == "DomainResource";
        let speaks_of_absence = ["exists(", "empty(", "not(", "count(", "all("].iter().any(|name| text.contains(name));
        let head = names.get(1).map(|name| identifier(name));
        let head = head.filter(|name| is_rooted && !speaks_of_absence && !name.is_empty());
        Some(Self { expression, text: text.into(), head: head.map(Into::into), systems: systems(&names, type_name) })
    }

    /// Whether the resource has the element that the expression starts with.
    #[must_use]
    pub fn may_apply(&self, resource: &Object<'_>) -> bool {
        let Some(head) = self.head.as_deref() else { return true };
        resource.iter().any(|(name, _)| {
            let rest = name.strip_prefix('_').unwrap_or(name).strip_prefix(head);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(|next: char| next.is_ascii_uppercase()))
        })
    }

    /// What the expression gives for a resource; nothing where it fails.
    pub fn evaluate<'t>(&'t self, context: &Context<'t>, root: &Item<'t>) -> Collection<'t> {
        self.expression.evaluate(context, root.clone()).unwrap_or_else(|error| {
            tracing::warn!(expression = %self.text, %error, "a search parameter could not be evaluated");
            Vec::new()
        })
    }

    /// The code systems that the codes of this element are of.
    #[must_use]
    pub fn implied_systems(&self) -> &[&'static str] {
        &self.systems
    }
}

/// The expression of a parameter. Two are published without the condition that their descriptions state.
#[must_use]
pub fn meant(parameter: &SearchParameter) -> Cow<'_, str> {
    let (kind, first) = match parameter.url.rsplit('/').next() {
        Some("Bundle-composition") => ("document", "Composition"),
        Some("Bundle-message") => ("message", "MessageHeader"),
        _ => return Cow::Borrowed(&parameter.expression),
    };
    Cow::Owned(format!("Bundle.entry[0].resource.ofType({first}).where(%resource.type = '{kind}')"))
}

/// Whether a resource of a type has one value of a parameter at most: where its path leads over elements that do not repeat.
#[must_use]
pub fn is_single(parameter: &SearchParameter, type_name: &str) -> bool {
    let expression = meant(parameter);
    let texts = alternatives(&expression).into_iter().map(without_parentheses);
    let mut texts = texts.filter(|text| concerns(text, type_name));
    let (Some(path), None) = (texts.next(), texts.next()) else { return false };
    let definitions = definitions::r4();
    let mut of = definitions.type_named(type_name);
    path.split('.').skip(1).all(|name| {
        let element = of.and_then(|of| of.element_named(name)).filter(|element| element.max == Some(1));
        of = element.and_then(|element| element.types.first()?.definition());
        element.is_some()
    })
}

/// The URL of an extension in an official expression, which no extension has, and the one that is meant.
const MISNAMED: (&str, &str) = ("patient-extensions-Patient-mothersMaidenName", "patient-mothersMaidenName");

/// What published expressions mean, where it is not what they say: there is no `hasExtension()` in R4, and no type `DateTime`, a
/// choice has no type in its name (`valueDateTime`), and the extension for a mother's maiden name has another URL.
pub(super) fn mended(text: &str) -> Cow<'_, str> {
    if text.contains(MISNAMED.0) {
        return Cow::Owned(text.replace(MISNAMED.0, MISNAMED.1));
    }
    if let Some((before, rest)) = text.split_once(".value")
        && rest.starts_with(|next: char| next.is_ascii_uppercase())
        && let name = identifier(rest)
        && let Some(of) = type_in_name(name)
    {
        let after = mended(rest.get(name.len()..).unwrap_or_default()).into_owned();
        return Cow::Owned(format!("{before}.value.ofType({of}){after}"));
    }
    if let Some((before, rest)) = text.split_once("hasExtension(")
        && let Some((url, after)) = rest.split_once(')')
    {
        return Cow::Owned(format!("{before}extension({url}).exists(){after}"));
    }
    if text.contains("as(DateTime)") {
        Cow::Owned(text.replace("as(DateTime)", "as(dateTime)"))
    } else {
        Cow::Borrowed(text)
    }
}

/// The type that the name of a choice's JSON member ends in.
fn type_in_name(name: &str) -> Option<&'static str> {
    let definitions = definitions::r4();
    let lower = || name.get(..1).map(|first| first.to_ascii_lowercase() + name.get(1..).unwrap_or_default());
    let found = definitions.type_named(name).or_else(|| definitions.type_named(&lower()?))?;
    Some(found.name)
}

/// The identifier that a text starts with.
fn identifier(text: &str) -> &str {
    let end = text.find(|next: char| !(next.is_ascii_alphanumeric() || next == '_')).unwrap_or(text.len());
    text.get(..end).unwrap_or_default()
}

/// Splits at each `|` that stands outside of parentheses and quotes.
fn alternatives(expression: &str) -> Vec<&str> {
    let (mut depth, mut quoted, mut start, mut found) = (0_usize, false, 0, Vec::new());
    for (at, byte) in expression.bytes().enumerate() {
        match byte {
            b'\'' => quoted = !quoted,
            b'(' if !quoted => depth += 1,
            b')' if !quoted => depth = depth.saturating_sub(1),
            b'|' if !quoted && depth == 0 => {
                found.extend(expression.get(start..at));
                start = at + 1;
            }
            _ => {}
        }
    }
    found.extend(expression.get(start..));
    found
}

/// Takes off parentheses around the whole, and what is no FHIRPath but blanks.
fn without_parentheses(text: &str) -> &str {
    let text = text.trim();
    let inner = text.strip_prefix('(').and_then(|text| text.strip_suffix(')'));
    match inner {
        Some(inner) if !inner.contains(['(', ')']) => inner.trim(),
        _ => text,
    }
}

/// Whether an alternative does not start at another resource type.
fn concerns(text: &str, type_name: &str) -> bool {
    let root = identifier(text.trim_start_matches(['(', ' ']));
    root == type_name || !definitions::r4().is_resource_type(root)
}

/// The code systems of the required binding of a plain path to an element of type `code`.
fn systems(names: &[&str], type_name: &str) -> Vec<&'static str> {
    let definitions = definitions::r4();
    let mut found = definitions.type_named(type_name);
    let mut binding = None;
    for name in names.iter().skip(1) {
        let Some(element) = found.and_then(|found| found.element_named(name)) else { return Vec::new() };
        let is_code = element.types.iter().any(|of| of.name == "code");
        binding = element.required_binding.filter(|_| is_code);
        found = element.types.first().and_then(|of| definitions.type_named(of.name));
    }
    let codes =
        binding.and_then(|url| definitions.value_set(url)).and_then(definitions::ValueSet::codes).unwrap_or_default();
    let mut systems: Vec<_> = codes.iter().map(|(system, _)| *system).collect();
    systems.sort_unstable();
    systems.dedup();
    systems
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_alternatives_of_the_type_count() {
        let texts = |expression: &str, type_name: &str| {
            Branch::all_of(expression, type_name).into_iter().map(|branch| branch.text.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(texts("Patient.birthDate | Person.birthDate", "Person"), ["Person.birthDate"]);
        assert_eq!(
            texts("(Observation.value as Quantity) | (Observation.value as SampledData)", "Observation").len(),
            2
        );
        assert_eq!(texts("Resource.meta.tag", "Patient"), ["Resource.meta.tag"]);
        assert_eq!(texts("Patient.telecom.where(system='a|b)')", "Patient").len(), 1);
    }

    #[test]
    fn some_parameters_have_one_value() {
        let has_one = |type_name: &str, code: &str| {
            is_single(definitions::r4().search_parameter(type_name, code).unwrap(), type_name)
        };
        let single =
            [("Patient", "birthdate"), ("Observation", "date"), ("Encounter", "date"), ("Claim", "_lastUpdated")];
        assert!(single.iter().all(|(type_name, code)| has_one(type_name, code)));
        let many =
            [("Encounter", "location-period"), ("Goal", "target-date"), ("Patient", "name"), ("Patient", "death-date")];
        assert!(!many.iter().any(|(type_name, code)| has_one(type_name, code)));
    }

    #[test]
    fn codes_know_their_systems() {
        let branches = Branch::all_of("Patient.gender", "Patient");
        assert_eq!(branches[0].implied_systems(), ["http://hl7.org/fhir/administrative-gender"]);
    }
}
