//! What stored resources say about the meaning of a value: value sets, code systems, hierarchies of resources.
//!
//! They are looked up while a query is read, and become ranges of keys like any other value.
//!
//! <https://hl7.org/fhir/R4/search.html#token>, <https://hl7.org/fhir/R4/search.html#reference>,
//! <https://hl7.org/fhir/R4/valueset.html#compositions>

use super::budget::Budget;
use super::engine::{failed, reference_key, references};
use super::grant::holds;
use crate::auth::access::Allowed;
use crate::auth::grant::Grant;
use crate::auth::scope::Letters;
use crate::error::{Error, Result};
use crate::fhir::definitions::{self, ParamType};
use crate::fhir::parse::parse;
use crate::fhir::tree::{Object, Value};
use crate::key::reference::{Target, matching_uri};
use crate::key::{KeyList, id_in, prefix_of};
use crate::store::{Records, Rid, Store};
use rustc_hash::FxHashSet;
use std::collections::BTreeSet;

/// Value sets may import others, this many deep.
const IMPORT_DEPTH: usize = 8;
/// A value set with more codes is not searched with, and a hierarchy of more resources.
const CODES_MAX: usize = 10_000;
const RESOURCES_MAX: usize = 1000;
/// Reference parameters that make a hierarchy where they point to their own type.
const PARENTS: [&str; 3] = ["partof", "part-of", "parent"];

/// The stored resources that a query may rest on. Value sets and code systems are read whatever the grant reaches, like those that
/// are built in: they tell of no patient.
#[derive(Debug, Clone)]
pub struct Stored {
    store: Store,
    grant: Grant,
}

/// A code with its system.
pub type Code = (String, String);

/// What was found out.
#[derive(Debug, PartialEq, Eq)]
pub enum Known<T> {
    /// All of it.
    All(T),
    /// It does not exist here.
    Missing,
    /// It exists, and what it consists of can't be told.
    Unclear,
    /// There is too much of it.
    TooMany,
}

impl<T> Known<T> {
    fn and_then<U>(self, next: impl FnOnce(T) -> Result<Known<U>>) -> Result<Known<U>> {
        Ok(match self {
            Self::All(found) => next(found)?,
            Self::Missing => Known::Missing,
            Self::Unclear => Known::Unclear,
            Self::TooMany => Known::TooMany,
        })
    }
}

impl Stored {
    /// What the grant reaches in a store.
    #[must_use]
    pub const fn new(store: Store, grant: Grant) -> Self {
        Self { store, grant }
    }

    fn open(&self) -> Result<Records> {
        self.store.open(&self.grant).map_err(failed)
    }
}

/// A resource that is named by its canonical URL, perhaps with a version, or by a reference.
fn find(stored: Option<&Stored>, type_name: &str, name: &str, base: Option<&str>) -> Result<Option<Object<'static>>> {
    let Some(stored) = stored else { return Ok(None) };
    let records = stored.open()?;
    let read = |rid| -> Result<Option<Object<'static>>> {
        let Some(version) = records.view().current(rid).map_err(failed)? else { return Ok(None) };
        let Some(body) = &version.body else { return Ok(None) };
        let bytes = body.unpack(version.version, version.time).map_err(failed)?;
        let tree = parse(&bytes, usize::MAX).map_err(Error::internal)?;
        Ok(match tree.into_owned() {
            Value::Object(resource) => Some(resource),
            _ => None,
        })
    };
    if let Target::Local { type_name: named, id, .. } = Target::read(name, base) {
        let rid = if named == type_name { records.view().find(named, id).map_err(failed)? } else { None };
        return rid.map_or(Ok(None), read);
    }
    let (url, version) = name.split_once('|').map_or((name, None), |(url, version)| (url, Some(version)));
    let mut found: Option<Object<'static>> = None;
    let key = matching_uri(url).under(&prefix_of("url")).from;
    for rid in records.view().rids(type_name, &key, Rid(0)) {
        let Some(resource) = read(rid.map_err(failed)?)? else { continue };
        let is_meant = version.is_none_or(|version| resource.str("version") == Some(version));
        // Without a version the newest is meant, as far as versions tell.
        if is_meant && found.as_ref().is_none_or(|found| found.str("version") < resource.str("version")) {
            found = Some(resource);
        }
    }
    Ok(found)
}

/// The codes of a value set that is built in or stored.
pub fn value_set(stored: Option<&Stored>, name: &str, base: Option<&str>) -> Result<Known<BTreeSet<Code>>> {
    set_of(stored, name, base, IMPORT_DEPTH)
}

fn set_of(stored: Option<&Stored>, name: &str, base: Option<&str>, depth: usize) -> Result<Known<BTreeSet<Code>>> {
    let embedded = definitions::r4().value_set(name.split('|').next().unwrap_or_default());
    if let Some(codes) = embedded.and_then(definitions::ValueSet::codes) {
        let codes = codes.iter().map(|(system, code)| ((*system).to_owned(), (*code).to_owned()));
        return Ok(limited(codes.collect()));
    }
    let missing = if embedded.is_some() { Known::Unclear } else { Known::Missing };
    let Some(resource) = find(stored, "ValueSet", name, base)? else { return Ok(missing) };
    let Some(depth) = depth.checked_sub(1) else { return Ok(Known::Unclear) };
    let Some(compose) = resource.get("compose") else {
        return Ok(resource.get("expansion").map_or(Known::Unclear, expanded));
    };
    let parts = |name: &str| compose.get(name).map(Value::items).unwrap_or_default().to_vec();
    let mut codes = BTreeSet::new();
    for part in parts("include") {
        match included(stored, &part, base, depth)? {
            Known::All(found) => codes.extend(found),
            other => return Ok(other),
        }
    }
    for part in parts("exclude") {
        match included(stored, &part, base, depth)? {
            Known::All(found) => codes.retain(|code| !found.contains(code)),
            other => return Ok(other),
        }
    }
    Ok(limited(codes))
}

fn limited(codes: BTreeSet<Code>) -> Known<BTreeSet<Code>> {
    if codes.len() > CODES_MAX { Known::TooMany } else { Known::All(codes) }
}

/// The codes of an expansion that came with a value set; those of a part of it tell nothing.
fn expanded(expansion: &Value<'_>) -> Known<BTreeSet<Code>> {
    fn gather(entries: &[Value<'_>], codes: &mut BTreeSet<Code>) {
        for entry in entries {
            let text = |name| entry.get(name).and_then(Value::as_str);
            if let Some(code) = text("code").filter(|_| !matches!(entry.get("abstract"), Some(Value::Bool(true)))) {
                codes.insert((text("system").unwrap_or_default().to_owned(), code.to_owned()));
            }
            gather(entry.get("contains").map(Value::items).unwrap_or_default(), codes);
        }
    }
    let mut codes = BTreeSet::new();
    gather(expansion.get("contains").map(Value::items).unwrap_or_default(), &mut codes);
    let total = match expansion.get("total") {
        Some(Value::Number(total)) => total.parse().ok(),
        _ => None,
    };
    if total.is_some_and(|total: usize| total > codes.len()) { Known::Unclear } else { limited(codes) }
}

/// What one part of a composition means: what is in all that it names.
fn included(
    stored: Option<&Stored>,
    part: &Value<'_>,
    base: Option<&str>,
    depth: usize,
) -> Result<Known<BTreeSet<Code>>> {
    let mut codes: Option<BTreeSet<Code>> = None;
    if let Some(system) = part.get("system").and_then(Value::as_str) {
        match of_system(stored, system, part, base)? {
            Known::All(found) => codes = Some(found),
            other => return Ok(other),
        }
    }
    for set in part.get("valueSet").map(Value::items).unwrap_or_default().iter().filter_map(Value::as_str) {
        match set_of(stored, set, base, depth)? {
            Known::All(found) => {
                codes = Some(match codes {
                    Some(codes) => codes.intersection(&found).cloned().collect(),
                    None => found,
                });
            }
            other => return Ok(other),
        }
    }
    Ok(codes.map_or(Known::Unclear, Known::All))
}

fn of_system(
    stored: Option<&Stored>,
    system: &str,
    part: &Value<'_>,
    base: Option<&str>,
) -> Result<Known<BTreeSet<Code>>> {
    let items = |name| part.get(name).map(Value::items).unwrap_or_default();
    let text = |item: &Value<'_>, name| item.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let named: BTreeSet<Code> =
        items("concept").iter().map(|concept| (system.to_owned(), text(concept, "code"))).collect();
    if !named.is_empty() {
        return Ok(if items("filter").is_empty() { Known::All(named) } else { Known::Unclear });
    }
    code_system(stored, system, base)?.and_then(|concepts| {
        if items("filter").is_empty() && !concepts.is_complete {
            return Ok(Known::Unclear);
        }
        let mut codes: BTreeSet<&str> = concepts.codes().collect();
        for filter in items("filter") {
            let (property, value) = (text(filter, "property"), text(filter, "value"));
            let listed: FxHashSet<&str> = value.split(',').map(str::trim).collect();
            let below = concepts.below(&value);
            match (property.as_str(), text(filter, "op").as_str()) {
                ("concept" | "code", "is-a") => codes.retain(|code| below.contains(code)),
                ("concept" | "code", "descendent-of") => codes.retain(|code| *code != value && below.contains(code)),
                ("concept" | "code", "is-not-a") => codes.retain(|code| !below.contains(code)),
                ("concept" | "code", "in") => codes.retain(|code| listed.contains(code)),
                ("concept" | "code", "not-in") => codes.retain(|code| !listed.contains(code)),
                ("concept" | "code", "=") => codes.retain(|code| *code == value),
                _ => return Ok(Known::Unclear),
            }
        }
        Ok(limited(codes.into_iter().map(|code| (system.to_owned(), code.to_owned())).collect()))
    })
}

/// The concepts of a code system and which stands below which.
#[derive(Debug, PartialEq, Eq)]
pub struct Concepts {
    /// Code, and the position of its parent.
    concepts: Vec<(String, Option<usize>)>,
    is_complete: bool,
}

impl Concepts {
    /// The codes.
    pub fn codes(&self) -> impl Iterator<Item = &str> {
        self.concepts.iter().map(|(code, _)| code.as_str())
    }

    /// A code and all below it; none where it is not known.
    pub fn below(&self, ancestor: &str) -> FxHashSet<&str> {
        // Each stands after its parent.
        let mut is_in: Vec<bool> = Vec::with_capacity(self.concepts.len());
        for (code, parent) in &self.concepts {
            is_in.push(code == ancestor || parent.and_then(|parent| is_in.get(parent)).is_some_and(|is_in| *is_in));
        }
        self.codes().zip(is_in).filter(|(_, is_in)| *is_in).map(|(code, _)| code).collect()
    }

    /// A code and all above it; none where it is not known.
    pub fn above(&self, code: &str) -> FxHashSet<&str> {
        let own = self.concepts.iter().find(|(own, _)| own == code);
        let parent = |concept: &&(String, Option<usize>)| self.concepts.get(concept.1?);
        std::iter::successors(own, parent).map(|(code, _)| code.as_str()).collect()
    }

    fn add(&mut self, concepts: &[Value<'_>], parent: Option<usize>) {
        for concept in concepts {
            let code = concept.get("code").and_then(Value::as_str).unwrap_or_default();
            let position = self.concepts.len();
            self.concepts.push((code.to_owned(), parent));
            self.add(concept.get("concept").map(Value::items).unwrap_or_default(), Some(position));
        }
    }
}

/// A code system that is built in or stored.
pub fn code_system(stored: Option<&Stored>, name: &str, base: Option<&str>) -> Result<Known<Concepts>> {
    if let Some(embedded) = definitions::r4().code_system(name.split('|').next().unwrap_or_default())
        && embedded.is_complete
    {
        let concepts = embedded.concepts.iter().map(|concept| (concept.code.to_owned(), concept.parent)).collect();
        return Ok(Known::All(Concepts { concepts, is_complete: true }));
    }
    let Some(resource) = find(stored, "CodeSystem", name, base)? else { return Ok(Known::Missing) };
    let is_complete = resource.str("content") == Some("complete");
    let mut found = Concepts { concepts: Vec::new(), is_complete };
    found.add(resource.get("concept").map(Value::items).unwrap_or_default(), None);
    Ok(Known::All(found))
}

/// A resource, and all that stand below it (or above), in the hierarchy that the resources of its type make: their ids. Others
/// are seen as far as they could be searched for.
pub fn hierarchy(stored: Option<&Stored>, type_name: &str, id: &str, is_below: bool) -> Result<Known<Vec<String>>> {
    let is_parent = |code: &&&str| {
        let found = definitions::r4().search_parameter(type_name, code);
        found.is_some_and(|found| found.param_type == ParamType::Reference && found.targets.contains(&type_name))
    };
    let (Some(code), Some(stored)) = (PARENTS.iter().find(is_parent), stored) else { return Ok(Known::Missing) };
    let records = stored.open()?;
    let (view, budget) = (records.view(), Budget::default());
    let allowed = stored.grant.allowed(type_name, Letters::SEARCH);
    let is_reached = |keys: &KeyList| match &allowed {
        Allowed::Nothing => Ok(false),
        Allowed::Everything => Ok(true),
        Allowed::Part(expr) => holds(&records, type_name, keys, expr, &budget),
    };
    let (mut found, mut next) = (vec![id.to_owned()], 0);
    while let Some(id) = found.get(next).cloned() {
        next += 1;
        let mut related = Vec::new();
        if is_below {
            for rid in view.rids(type_name, &reference_key(code, type_name, &id), Rid(0)) {
                let keys = view.keys(rid.map_err(failed)?).map_err(failed)?.unwrap_or_default();
                if is_reached(&keys)? {
                    related.extend(id_in(&keys).map(str::to_owned));
                }
                if related.len() > RESOURCES_MAX {
                    return Ok(Known::TooMany);
                }
            }
        } else if let Some(rid) = view.find(type_name, &id).map_err(failed)? {
            let keys = view.keys(rid).map_err(failed)?.unwrap_or_default();
            if is_reached(&keys)? {
                let parents = references(&keys, code).filter(|(name, _)| *name == type_name);
                related.extend(parents.map(|(_, id)| id.to_owned()));
            }
        }
        related.retain(|id| !found.contains(id));
        found.extend(related);
        if found.len() > RESOURCES_MAX {
            return Ok(Known::TooMany);
        }
    }
    Ok(Known::All(found))
}
