//! The parameters of `$export`: <https://hl7.org/fhir/uv/bulkdata/export.html#query-parameters>.

use super::provenance::Associated;
use super::{Level, organize};
use crate::auth::access::Allowed;
use crate::auth::compartment::patient_codes;
use crate::auth::scope::Letters;
use crate::bulk::Note;
use crate::config::Handling;
use crate::error::{Category, Error, Issue, Result};
use crate::fhir::definitions;
use crate::fhir::reference::Reference;
use crate::fhir::subset::Elements;
use crate::interaction::call::Verb;
use crate::interaction::criteria::pairs;
use crate::interaction::{Context, LEDGER, Request, reach};
use crate::key::Expr;
use crate::key::date::Span;
use crate::operation::parameters;
use crate::search;
use std::collections::BTreeMap;

/// The types that are exported only where they are named: what is told of is no data of its own, and the content of a Binary is had
/// through the resource that has it.
const NAMED_ONLY: [&str; 2] = [LEDGER, "Binary"];

/// What is asked for.
pub struct Wanted {
    /// The resource types, in order.
    pub types: Vec<String>,
    /// `_since`, in microseconds since 1970.
    pub since: Option<i64>,
    /// `_until`.
    pub until: Option<i64>,
    /// `_typeFilter`, by type.
    pub filters: BTreeMap<String, Expr>,
    /// `_elements`.
    pub elements: Option<String>,
    /// The ids of `patient`.
    pub patients: Option<Vec<String>>,
    /// Which Provenance comes along.
    pub associated: Associated,
    /// `organizeOutputBy`: a resource type.
    pub organize: Option<String>,
    /// `allowPartialManifests`
    pub is_partial: bool,
    /// Whether what can't be done is left out, and told.
    pub is_lenient: bool,
    /// What the client is told.
    pub notes: Vec<Note>,
}

/// Reads them.
struct Reading<'r> {
    context: &'r Context,
    level: Level<'r>,
    is_lenient: bool,
    /// With values of lists split.
    pairs: Vec<(String, String)>,
    notes: Vec<Note>,
}

impl Wanted {
    /// Reads the parameters of a request.
    ///
    /// # Errors
    /// 400 naming the parameter; 403 for a type that no scope covers.
    pub fn read(context: &Context, request: &mut Request<'_>, level: Level<'_>) -> Result<Self> {
        if request.verb != Verb::Post && request.query.iter().any(|(name, _)| name == "patient") {
            return Err(refused("patient", "`patient` can be sent with POST only."));
        }
        let is_lenient = request.handling == Handling::Lenient;
        let pairs = parameters::pairs(request)?;
        // The ledger tells what was asked in a body, too.
        context.trail.add_inner(|| level.url(&pairs));
        let mut reading = Reading { context, level, is_lenient, pairs, notes: Vec::new() };
        reading.check()?;
        let (types, is_named) = reading.types()?;
        let (since, until) = reading.period()?;
        let filters = reading.filters(&types)?;
        let elements = reading.elements(&types)?;
        let patients = reading.patients()?;
        let associated = reading.associated(&types, is_named)?;
        let organize = reading.organize()?;
        let is_partial = reading.one("allowPartialManifests")? == Some("true");
        let notes = reading.notes;
        Ok(Self {
            types,
            since,
            until,
            filters,
            elements,
            patients,
            associated,
            organize,
            is_partial,
            is_lenient,
            notes,
        })
    }
}

impl Reading<'_> {
    /// Refuses what can't be done, or notes that it is not done.
    fn refuse(&mut self, name: &str, code: &'static str, text: String) -> Result<()> {
        if self.is_lenient {
            self.notes.push(Note { code: code.into(), text: text.into() });
            return Ok(());
        }
        let issue = Issue::error(code, text).at(name.to_owned());
        Err(Error::from_issues(Category::Invalid, vec![issue]))
    }

    /// The values of a parameter whose values are lists.
    fn list(&self, name: &str) -> Vec<String> {
        let values = self.pairs.iter().filter(|(own, _)| own == name);
        values
            .flat_map(|(_, value)| value.split(','))
            .map(str::trim)
            .filter(|one| !one.is_empty())
            .map(str::to_owned)
            .collect()
    }

    /// The value of a parameter that may be given once.
    fn one(&self, name: &'static str) -> Result<Option<&str>> {
        let mut values = self.pairs.iter().filter(|(own, _)| own == name).map(|(_, value)| value.as_str());
        match (values.next(), values.next()) {
            (first, None) => Ok(first),
            _ => Err(refused(name, format!("`{name}` may be given once only."))),
        }
    }

    /// Looks at the parameters whose value changes nothing, and for those that there are not.
    fn check(&mut self) -> Result<()> {
        const KNOWN: [&str; 10] = [
            "_outputFormat",
            "_since",
            "_until",
            "_type",
            "_elements",
            "_typeFilter",
            "patient",
            "includeAssociatedData",
            "organizeOutputBy",
            "allowPartialManifests",
        ];
        let unknown: Vec<_> =
            self.pairs.iter().map(|(name, _)| name.clone()).filter(|name| !KNOWN.contains(&&**name)).collect();
        for name in unknown {
            let error = parameters::unknown("$export", &name);
            let text = error.issues.first().map(|issue| issue.diagnostics.to_string()).unwrap_or_default();
            self.refuse(crate::interaction::shown(&name), "not-supported", text)?;
        }
        // A form makes a blank of a plus sign.
        let format = self.one("_outputFormat")?.map(|format| format.replace(' ', "+"));
        if !matches!(format.as_deref(), None | Some("application/fhir+ndjson" | "application/ndjson" | "ndjson")) {
            return Err(refused("_outputFormat", "`_outputFormat` must be application/fhir+ndjson."));
        }
        if !matches!(self.one("allowPartialManifests")?, None | Some("true" | "false")) {
            return Err(refused("allowPartialManifests", "`allowPartialManifests` must be true or false."));
        }
        Ok(())
    }

    /// The type by whose instances the files are organized.
    fn organize(&mut self) -> Result<Option<String>> {
        let Some(name) = self.one("organizeOutputBy")?.map(str::to_owned) else { return Ok(None) };
        if !definitions::r4().is_resource_type(&name) || name == LEDGER {
            let shown = crate::interaction::shown(&name);
            let text = format!("`organizeOutputBy` must be a resource type that others refer to, and {shown} is none.");
            self.refuse("organizeOutputBy", "not-supported", text)?;
            return Ok(None);
        }
        if organize::is_covered(self.context, &name) { Ok(Some(name)) } else { Err(reach::insufficient_scope()) }
    }

    /// Whether resources of a type are part of an export of this level.
    fn is_inside(&self, type_name: &str) -> bool {
        self.level == Level::System || type_name == "Patient" || !patient_codes(type_name).is_empty()
    }

    /// The types, and whether they are named.
    fn types(&mut self) -> Result<(Vec<String>, bool)> {
        let (definitions, named) = (definitions::r4(), self.list("_type"));
        let is_covered =
            |name: &str, context: &Context| context.grant.allowed_by_scopes(name, Letters::SEARCH) != Allowed::Nothing;
        if named.is_empty() {
            let all = definitions.resource_types().iter().filter(|name| !NAMED_ONLY.contains(name));
            let inside = all.filter(|name| self.is_inside(name) && is_covered(name, self.context));
            let types: Vec<_> = inside.map(|name| (*name).to_owned()).collect();
            return if types.is_empty() { Err(reach::insufficient_scope()) } else { Ok((types, false)) };
        }
        let mut types = Vec::new();
        for name in named {
            let shown = crate::interaction::shown(&name);
            if !definitions.is_resource_type(&name) {
                self.refuse("_type", "not-supported", format!("R4 has no resource type {shown}."))?;
            } else if !self.is_inside(&name) {
                let text = format!("`_type` names {shown}, which belongs to no patient.");
                self.refuse("_type", "not-supported", text)?;
            } else if is_covered(&name, self.context) {
                types.push(name);
            } else if self.is_lenient {
                let text = format!("The granted scopes do not cover {shown}: it is left out.");
                self.notes.push(Note { code: "forbidden".into(), text: text.into() });
            } else {
                return Err(reach::insufficient_scope());
            }
        }
        types.sort_unstable();
        types.dedup();
        Ok((types, true))
    }

    fn period(&self) -> Result<(Option<i64>, Option<i64>)> {
        let moment = |name: &'static str| {
            let Some(text) = self.one(name)? else { return Ok(None) };
            let text = text.replace(' ', "+");
            match Span::parse(&text).filter(|_| text.contains('T')) {
                Some(span) => Ok(Some(span.low)),
                None => Err(refused(name, format!("`{name}` must be an instant: 2026-01-31T12:00:00Z."))),
            }
        };
        let (since, until) = (moment("_since")?, moment("_until")?);
        if since.is_some_and(|since| since > self.context.clock.now().0) {
            return Err(refused("_since", "`_since` is in the future."));
        }
        if since.zip(until).is_some_and(|(since, until)| since >= until) {
            return Err(refused("_until", "`_until` must be after `_since`."));
        }
        Ok((since, until))
    }

    fn filters(&mut self, types: &[String]) -> Result<BTreeMap<String, Expr>> {
        let values: Vec<_> =
            self.pairs.iter().filter(|(name, _)| name == "_typeFilter").map(|(_, value)| value.clone()).collect();
        let mut filters: BTreeMap<String, Expr> = BTreeMap::new();
        for query in values.iter().flat_map(|value| queries(value)) {
            let Some((type_name, criteria)) = query.split_once('?') else {
                return Err(refused(
                    "_typeFilter",
                    "`_typeFilter` must be a search of one type: Observation?status=final.",
                ));
            };
            if !types.iter().any(|name| name == type_name) {
                let shown = crate::interaction::shown(type_name);
                let text = format!("`_typeFilter` is about {shown}, which is not among the exported types.");
                self.refuse("_typeFilter", "not-supported", text)?;
                continue;
            }
            let expr = self.filter(type_name, &pairs(criteria))?;
            let known = filters.remove(type_name);
            filters.insert(type_name.to_owned(), Expr::or(known.into_iter().chain([expr])));
        }
        Ok(filters)
    }

    fn filter(&mut self, type_name: &str, criteria: &[(String, String)]) -> Result<Expr> {
        if let Some((name, _)) = criteria.iter().find(|(name, _)| search::is_of_results(name)) {
            let shown = crate::interaction::shown(name);
            return Err(refused(
                "_typeFilter",
                format!("`_typeFilter` chooses resources only: `{shown}` can't be in it."),
            ));
        }
        let context = self.context;
        let handling = if self.is_lenient { Handling::Lenient } else { Handling::Strict };
        let options = context.search_options(handling);
        let query = search::parse(&context.conformance.registry(), Some(type_name), criteria, &options)
            .map_err(|error| error.at("_typeFilter"))?;
        for name in &query.dropped {
            let shown = crate::interaction::shown(name);
            let text = format!("The search parameter {shown} of {type_name} is not known and was left out.");
            self.notes.push(Note { code: "not-supported".into(), text: text.into() });
        }
        let expr = query.targets.into_iter().next().map_or(Expr::All, |target| target.expr);
        if search::is_uncovered(&context.grant, &expr) { Err(reach::insufficient_scope()) } else { Ok(expr) }
    }

    fn elements(&mut self, types: &[String]) -> Result<Option<String>> {
        let text = self.list("_elements").join(",");
        let Some(elements) = Elements::parse(&text) else { return Ok(None) };
        let types: Vec<_> = types.iter().map(String::as_str).collect();
        if elements.unknown_in(&types).is_some() {
            let text = "`_elements` names an element that the exported types do not have.";
            self.refuse("_elements", "not-supported", text.to_owned())?;
        }
        Ok(Some(text))
    }

    fn patients(&self) -> Result<Option<Vec<String>>> {
        let given: Vec<_> = self.list("patient");
        if given.is_empty() {
            return Ok(None);
        }
        if self.level == Level::System {
            return Err(refused("patient", "`patient` can't be given for an export of the whole system."));
        }
        let id = |text: &String| match Reference::parse(text).relative_to(&self.context.base).literal() {
            Some(literal) if literal.type_name == "Patient" => Ok(literal.id.to_owned()),
            _ => Err(refused("patient", "`patient` must be a reference to a Patient.")),
        };
        let mut ids = given.iter().map(id).collect::<Result<Vec<_>>>()?;
        ids.sort_unstable();
        ids.dedup();
        Ok(Some(ids))
    }

    fn associated(&mut self, types: &[String], is_named: bool) -> Result<Associated> {
        let mut wanted: Option<Associated> = None;
        for value in self.list("includeAssociatedData") {
            // A Coding is `system|code`.
            match value.rsplit('|').next().unwrap_or_default() {
                "RelevantProvenanceResources" => wanted = Some(Associated::Relevant),
                "LatestProvenanceResources" => wanted = wanted.or(Some(Associated::Latest)),
                _ => {
                    let text =
                        "`includeAssociatedData` must be LatestProvenanceResources or RelevantProvenanceResources.";
                    self.refuse("includeAssociatedData", "not-supported", text.to_owned())?;
                }
            }
        }
        let is_excluded = is_named && !types.iter().any(|name| name == "Provenance");
        let is_covered = self.context.grant.allowed_by_scopes("Provenance", Letters::SEARCH) != Allowed::Nothing;
        Ok(match wanted {
            Some(_) if !is_covered => return Err(reach::insufficient_scope()),
            Some(wanted) => wanted,
            None if is_excluded || !is_covered => Associated::None,
            None => Associated::Relevant,
        })
    }
}

fn refused(name: &'static str, text: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::from_issues(Category::Invalid, vec![Issue::error("value", text).at(name)])
}

/// The searches in one value: a comma ends one where another begins behind it.
fn queries(value: &str) -> Vec<&str> {
    let begins = |text: &str| text.split_once('?').is_some_and(|(name, _)| definitions::r4().is_resource_type(name));
    let mut ends: Vec<usize> =
        value.match_indices(',').map(|(at, _)| at).filter(|at| value.get(at + 1..).is_some_and(begins)).collect();
    ends.push(value.len());
    let mut from = 0;
    let part = |end: usize| {
        let part = value.get(from..end).unwrap_or_default();
        from = end + 1;
        part
    };
    ends.into_iter().map(part).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comma_parts_searches_only_before_another() {
        let cases: [(&str, &[&str]); 4] = [
            ("Observation?code=a,b", &["Observation?code=a,b"]),
            ("Observation?code=a,b,Patient?gender=male", &["Observation?code=a,b", "Patient?gender=male"]),
            ("Patient?name=x,Nothing?a", &["Patient?name=x,Nothing?a"]),
            ("Patient", &["Patient"]),
        ];
        for (value, expected) in cases {
            assert_eq!(queries(value), expected);
        }
    }
}
