//! Lines of NDJSON, and what becomes of each: the one way in which `$import` and `pharos load` store them.
//!
//! A resource is stored as an update stores it: under the rights of who asked, as far as patients consent at that moment, checked, with its
//! labels kept, and recorded in the ledger. One that is there just so already is left as it is.

use crate::auth::access::Allowed;
use crate::auth::scope::Letters;
use crate::bulk::import::{Matching, Validation};
use crate::error::{Category, Error, Result};
use crate::fhir::definitions;
use crate::fhir::parse::parse;
use crate::fhir::reference::is_id;
use crate::fhir::rewrite::{self, Links};
use crate::fhir::tree::{Object, Value};
use crate::interaction::condition::{Conditions, expect};
use crate::interaction::criteria::{self, Matched};
use crate::interaction::resolve::Pending;
use crate::interaction::update::{keep_labels, target};
use crate::interaction::writing::{self, Decision};
use crate::interaction::{Context, LEDGER, body_of, conformance, reach, shown};
use crate::operation::parameters::escaped;
use crate::store::{Change, Expect, Guard, Method, Records, Version};
use rustc_hash::{FxHashMap, FxHashSet};

/// By what lines are judged.
#[derive(Debug, Clone, Copy)]
pub struct Rules<'r> {
    /// The type of all resources, where one is named.
    pub type_name: Option<&'r str>,
    /// What a resource has to be.
    pub validation: Validation,
    /// By what it is found whether a resource is there.
    pub matching: Matching,
}

/// What came of a line.
#[derive(Debug)]
pub enum Outcome {
    /// Its resource has a new version.
    Stored,
    /// Its resource was there just so.
    Unchanged,
    /// It is bad.
    Refused(Error),
}

/// Fewer lines are not worth a second thread.
const HALVED: usize = 64;

/// Stores lines for who waits for it, in as few commits as can be; answers what came of each. One that is refused does not hold up the others.
/// When the store fails, or others keep winning, the outcomes end where that was, and the error comes with them: what they tell is stored.
pub async fn store(context: &Context, rules: Rules<'_>, lines: &[&[u8]]) -> (Vec<Outcome>, Result<()>) {
    let mut outcomes = Vec::with_capacity(lines.len());
    while let Some(rest) = lines.get(outcomes.len()..).filter(|rest| !rest.is_empty()) {
        let decided = writing::decide(context, |records| {
            let Batch { changes, guards, outcomes, .. } = Batch::of(context, records, rules, rest)?;
            Ok(Decision { changes, guards, then: outcomes })
        });
        match decided.await {
            Ok((of_batch, _)) => outcomes.extend(of_batch),
            Err(error) => return (outcomes, Err(error)),
        }
    }
    (outcomes, Ok(()))
}

/// Decides on lines that one commit may store, in two threads: most of the time goes into checking resources and making their keys.
///
/// # Errors
/// When the store fails.
pub(super) fn halved<'b>(
    context: &'b Context,
    records: &'b Records,
    rules: Rules<'b>,
    lines: &[&[u8]],
) -> Result<Batch<'b>> {
    // Where references are checked, each line has to know those before it.
    if lines.len() < HALVED || context.check_references {
        return Batch::of(context, records, rules, lines);
    }
    let (first, second) = lines.split_at(lines.len() / 2);
    let (one, other) = std::thread::scope(|scope| {
        let other = scope.spawn(|| Batch::of(context, records, rules, second));
        (Batch::of(context, records, rules, first), other.join())
    });
    let (mut one, other) = (one?, other.map_err(|_| Error::internal("a thread of an import panicked"))??);
    if one.outcomes.len() == first.len() && one.is_apart_from(&other) {
        one.changes.extend(other.changes);
        one.guards.extend(other.guards);
        one.outcomes.extend(other.outcomes);
    }
    Ok(one)
}

/// What some lines come to on a snapshot, for one commit. The first line always has a place in it.
pub(super) struct Batch<'b> {
    context: &'b Context,
    records: &'b Records,
    rules: Rules<'b>,
    pub(super) changes: Vec<Change>,
    pub(super) guards: Vec<Guard>,
    /// What comes of the lines, in their order; those behind them have to wait for the next batch.
    pub(super) outcomes: Vec<Outcome>,
    /// The resources, and the identifiers where these count, that are in it: each once.
    taken: FxHashSet<String>,
    /// What the conditional references of the lines so far mean.
    resolved: FxHashMap<String, String>,
}

/// What becomes of a line.
enum Decided {
    Change(Change),
    /// The resource is there just so.
    Unchanged,
    /// What it is about is in the batch already: it has to wait for the next.
    Later,
}

impl<'b> Batch<'b> {
    fn of(context: &'b Context, records: &'b Records, rules: Rules<'b>, lines: &[&[u8]]) -> Result<Self> {
        let (changes, guards, outcomes) = (Vec::new(), Vec::new(), Vec::with_capacity(lines.len()));
        let (taken, resolved) = (FxHashSet::default(), FxHashMap::default());
        let mut batch = Self { context, records, rules, changes, guards, outcomes, taken, resolved };
        for line in lines {
            let outcome = match batch.decide(line) {
                Ok(Decided::Change(change)) => {
                    batch.changes.push(change);
                    Outcome::Stored
                }
                Ok(Decided::Unchanged) => Outcome::Unchanged,
                Ok(Decided::Later) => break,
                Err(error) if matches!(error.category, Category::Internal | Category::Unavailable) => {
                    return Err(error);
                }
                Err(error) => Outcome::Refused(error),
            };
            batch.outcomes.push(outcome);
        }
        Ok(batch)
    }

    /// Whether the lines of another batch come to the same after those of this one.
    fn is_apart_from(&self, other: &Self) -> bool {
        let is_changed = |reference: &String| self.changes.iter().any(|change| is_about(reference, change));
        self.taken.is_disjoint(&other.taken)
            && !other.resolved.keys().any(is_changed)
            && !other.changes.iter().any(|change| &*change.type_name == "SearchParameter")
    }

    fn decide(&mut self, text: &[u8]) -> Result<Decided> {
        let depth = self.context.limits.json_depth;
        let value = parse(text, depth).map_err(|error| {
            let text = format!("It is not JSON: {}, column {}.", error.reason, error.column);
            Error::new(Category::Invalid, "structure", text)
        })?;
        let Value::Object(mut resource) = value else { return Err(Error::invalid("It is no resource.")) };
        let type_name = self.check(&resource)?;
        if !self.resolve(&mut resource)? {
            return Ok(Decided::Later);
        }
        let identifiers = self.identifiers(&type_name, &resource);
        let own_id = resource.id().map(|id| format!("{type_name}/{id}"));
        let about: Vec<_> = identifiers.iter().cloned().chain(own_id).collect();
        if about.iter().any(|one| self.taken.contains(one)) {
            return Ok(Decided::Later);
        }
        let (id, current, expect, method) = if identifiers.is_empty() {
            self.by_id(&type_name, &resource)?
        } else {
            self.by_identifiers(&type_name, &resource, &identifiers)?
        };
        let this = format!("{type_name}/{id}");
        if self.taken.contains(&this) {
            return Ok(Decided::Later);
        }
        if resource.id().is_none() {
            writing::set_id(&mut resource, &id);
        }
        let also = |type_name: &str, id: &str| self.taken.contains(&format!("{type_name}/{id}"));
        writing::check_references(self.context, self.records, &resource, &also)?;
        keep_labels(&mut resource, current.as_ref())?;
        let content = writing::content(self.context, &resource);
        let old = current.as_ref().filter(|version| version.body.is_some());
        if let Some(old) = old
            && content.body.unpack(old.version, old.time)? == body_of(old)?
        {
            self.taken.extend(about);
            return Ok(Decided::Unchanged);
        }
        let mut change = writing::put(&type_name, &id, expect, method, content);
        reach::permit(self.context, self.records, std::slice::from_mut(&mut change))?;
        if type_name == "SearchParameter" {
            self.changes.push(change.clone());
            let guards = conformance::refuse_same_codes(self.records, &self.changes);
            self.changes.pop();
            self.guards.extend(guards?);
        }
        self.taken.extend(about);
        self.taken.insert(this);
        Ok(Decided::Change(change))
    }

    /// Refuses what is no resource that could be imported; answers its type.
    fn check(&self, resource: &Object<'_>) -> Result<String> {
        let Some(type_name) = resource.resource_type() else {
            return Err(Error::new(Category::Invalid, "structure", "It has no resourceType.").at("resourceType"));
        };
        let wrong = |text: String| Err(Error::new(Category::Invalid, "invalid", text).at("resourceType"));
        if !definitions::r4().is_resource_type(type_name) {
            return wrong(format!("R4 has no resource type {}.", shown(type_name)));
        }
        if self.rules.type_name.is_some_and(|wanted| wanted != type_name) {
            return wrong(format!("It is of type {type_name}, and the input is of another."));
        }
        if type_name == LEDGER {
            return wrong("AuditEvents are the server's own record: nobody imports them.".into());
        }
        match self.rules.validation {
            Validation::Structure => writing::check_in_transaction(resource, type_name)?,
            Validation::None => writing::check_without_structure(resource, type_name)?,
        }
        if resource.get("id").is_some_and(|id| !id.as_str().is_some_and(is_id)) {
            let text = "An id has 1 to 64 characters out of A-Z, a-z, 0-9, minus and dot.";
            return Err(Error::new(Category::Invalid, "value", text).at(format!("{type_name}.id")));
        }
        Ok(type_name.to_owned())
    }

    /// Conditional references (`Patient?identifier=…`) become the one match, as in a transaction. Answers false where they have to wait,
    /// because what they are about may be in the batch.
    fn resolve(&mut self, resource: &mut Object<'_>) -> Result<bool> {
        let mut links = Links::default();
        for reference in rewrite::conditional_references(resource) {
            if self.changes.iter().any(|change| is_about(reference, change)) {
                return Ok(false);
            }
            if !self.resolved.contains_key(reference) {
                let (found, guards) = Pending::default().resolve(self.context, self.records, reference)?;
                self.guards.extend(guards);
                self.resolved.insert(reference.to_owned(), found);
            }
            if let Some(found) = self.resolved.get(reference) {
                links.insert_conditional(reference, found);
            }
        }
        rewrite::rewrite(resource, &links, None);
        Ok(true)
    }

    /// The identifiers by which it is found whether a resource is there, as search values.
    fn identifiers(&self, type_name: &str, resource: &Object<'_>) -> Vec<String> {
        let has = self.context.conformance.parameters().parameter(type_name, "identifier").is_some();
        if self.rules.matching == Matching::Id || !has {
            return Vec::new();
        }
        let all = match resource.get("identifier") {
            Some(Value::Array(all)) => all.as_slice(),
            Some(one) => std::slice::from_ref(one),
            None => &[],
        };
        let value = |one: &Value<'_>| {
            let (system, value) = (one.get("system")?.as_str()?, one.get("value")?.as_str()?);
            Some(format!("{}|{}", escaped(system), escaped(value)))
        };
        all.iter().filter_map(value).collect()
    }

    fn by_id(&self, type_name: &str, resource: &Object<'_>) -> Result<(String, Option<Version>, Expect, Method)> {
        let Some(id) = resource.id() else {
            return Ok((self.context.clock.new_id(), None, Expect::Absent, Method::Create));
        };
        let current = reach::current(self.context, self.records, Letters::UPDATE, type_name, id)?;
        let expected = expect(current.as_ref());
        Ok((id.to_owned(), current, expected, Method::Update))
    }

    /// As a conditional update: <https://hl7.org/fhir/R4/http.html#cond-update>.
    fn by_identifiers(
        &mut self,
        type_name: &str,
        resource: &Object<'_>,
        identifiers: &[String],
    ) -> Result<(String, Option<Version>, Expect, Method)> {
        let (context, records) = (self.context, self.records);
        let letters = [Letters::CREATE, Letters::UPDATE, Letters::SEARCH];
        if letters.iter().any(|letter| records.grant().allowed(type_name, *letter) != Allowed::Everything) {
            return Err(reach::insufficient_scope());
        }
        let criteria = [("identifier".to_owned(), identifiers.join(","))];
        let (matched, guards) = criteria::find(context, records, type_name, &criteria)?;
        let current = if let Matched::One(version) = &matched { Some(version.clone()) } else { None };
        let new_id = context.clock.new_id();
        let found = (context, records);
        let (id, expected) = target(found, matched, type_name, resource.id(), &new_id, &Conditions::default())?;
        self.guards.extend(guards);
        Ok((id, current, expected, Method::Update))
    }
}

/// Whether a change may change what a conditional reference means. Criteria that look at other resources rest on any.
fn is_about(reference: &str, change: &Change) -> bool {
    let (type_name, criteria) = reference.split_once('?').unwrap_or((reference, ""));
    let looks_further = |name: &str| name.contains(['.', ':']) || ["_has", "_filter", "_list"].contains(&name);
    let names = criteria.split('&').filter_map(|pair| pair.split('=').next());
    type_name == &*change.type_name || names.into_iter().any(looks_further)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::contract::put;

    #[test]
    fn criteria_that_look_further_rest_on_any_change() {
        let change = put("Organization", "o", "", &[]);
        for (reference, expected) in [
            ("Organization?identifier=x", true),
            ("Patient?identifier=a.b:c", false),
            ("Patient?organization.identifier=x", true),
            ("Patient?organization:Organization.identifier=x", true),
            ("Patient?active=true&_has:Observation:subject:code=x", true),
            ("Patient?_filter=organization.identifier eq x", true),
        ] {
            assert_eq!(is_about(reference, &change), expected, "{reference}");
        }
    }
}
