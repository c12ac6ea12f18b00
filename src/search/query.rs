//! Query text to [`Query`]: criteria become the algebra, the rest result parameters. Strict: what is not understood is refused.

use super::Limits;
use super::criteria::{Criteria, is_joined};
use super::inner;
use super::registry::Registry;
use super::stored::Stored;
use crate::clock::Micros;
use crate::error::{Category, Error, Result};
use crate::fhir::definitions::{self, ParamType};
pub use crate::fhir::subset::Summary;
use crate::key::{Expr, prefix_of};
use aws_lc_rs::digest::{SHA256, digest};
use std::cell::Cell;

/// What becomes of parameters that are not known.
/// <https://hl7.org/fhir/R4/search.html#errors>
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Handling {
    /// They are refused.
    #[default]
    Strict,
    /// They are dropped, and named in [`Query::dropped`].
    Lenient,
}

/// What a query is read with.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// What becomes of unknown parameters.
    pub handling: Handling,
    /// How much a query may ask for.
    pub limits: Limits,
    /// The time that `ap` is reckoned from.
    pub now: Micros,
    /// The address of this server without a slash at the end: references that start with it are its own.
    pub base: Option<Box<str>>,
    /// Whether `_content` is answered.
    pub has_content: bool,
    /// The stored value sets, code systems and hierarchies that values may name.
    pub stored: Option<Stored>,
}

/// A query that is understood.
#[derive(Debug, Clone)]
pub struct Query {
    /// What is searched for, type by type: more than one for a search over the whole system.
    pub targets: Vec<Target>,
    /// The order, most significant first; without any, any order that stays the same from page to page.
    pub sort: Vec<Sort>,
    /// Matches of a page.
    pub count: usize,
    /// `_total`.
    pub total: Total,
    /// `_summary`.
    pub summary: Option<Summary>,
    /// `_elements`.
    pub elements: Vec<String>,
    /// `_include` and `_revinclude`.
    pub includes: Vec<Include>,
    /// `_contained`.
    pub contained: Contained,
    /// `_containedType`.
    pub contained_type: ContainedType,
    /// `_explain`: whether the page says how it was found.
    pub explain: bool,
    /// The names of the parameters that were not known and are left out.
    pub dropped: Vec<String>,
    /// How much it may read.
    pub limits: Limits,
    /// The search parameters that there are.
    pub(super) registry: Registry,
    /// The parameters that were used, in order.
    pairs: Vec<(String, String)>,
    /// A hash of what decides on matches and their order: a cursor belongs to one.
    pub(super) fingerprint: [u8; 8],
}

/// The resources of one type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The type.
    pub type_name: Box<str>,
    /// Which of them.
    pub expr: Expr,
}

/// One part of `_sort`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sort {
    /// What the keys that decide start with.
    pub prefix: Vec<u8>,
    /// Whether the greatest comes first.
    pub descending: bool,
}

/// `_contained`: which resources can match.
/// <https://hl7.org/fhir/R4/search.html#contained>
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Contained {
    /// Those that are not contained in another.
    #[default]
    No,
    /// Those that are.
    Only,
    /// Both.
    Both,
}

/// `_containedType`: what is answered for a contained resource that matches.
/// <https://hl7.org/fhir/R4/search.html#contained>
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ContainedType {
    /// What it is contained in.
    #[default]
    Container,
    /// Itself.
    Contained,
}

/// `_total`.
/// <https://hl7.org/fhir/R4/search.html#total>
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Total {
    /// Only where it costs nothing.
    #[default]
    None,
    /// The same as accurate.
    Estimate,
    /// Counted.
    Accurate,
}

/// `_include` or `_revinclude`.
/// <https://hl7.org/fhir/R4/search.html#include>
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Include {
    /// The type that refers; `None` for any.
    pub source: Option<Box<str>>,
    /// The parameter that refers; `None` for any.
    pub code: Option<Box<str>>,
    /// The type that is referred to; `None` for any.
    pub target: Option<Box<str>>,
    /// Whether it is applied to what was included, too.
    pub iterate: bool,
    /// Whether it is `_revinclude`.
    pub reverse: bool,
}

impl Include {
    /// Whether what this type refers to is meant.
    #[must_use]
    pub fn comes_from(&self, type_name: &str) -> bool {
        self.source.as_deref().is_none_or(|source| source == type_name)
    }

    /// Whether what refers to this type is meant.
    #[must_use]
    pub fn leads_to(&self, type_name: &str) -> bool {
        self.target.as_deref().is_none_or(|target| target == type_name)
    }
}

impl Query {
    /// Refuses contained resources as matches, where nothing but whole resources can be meant.
    ///
    /// # Errors
    /// [`Category::Invalid`] naming the parameter.
    pub fn forbid_contained(&self) -> Result<()> {
        if self.contained == Contained::No {
            return Ok(());
        }
        let text =
            "The search parameter `_contained` is for searches only: nothing but whole resources can be meant here.";
        Err(refuse("not-supported", text.into()))
    }
}

/// An error that the client can mend, with an issue code.
pub(super) fn refuse(code: &'static str, diagnostics: String) -> Error {
    Error::new(Category::Invalid, code, diagnostics)
}

/// Reads a query. `type_name` is `None` for a search over the whole system, which `_type` can narrow. The pairs are decoded
/// already; those of the URL and of a form stand one after the other.
///
/// # Errors
/// [`Category::Invalid`] with the name of the parameter that is not known, malformed, not supported, or over a limit.
pub fn parse(
    registry: &Registry,
    type_name: Option<&str>,
    pairs: &[(String, String)],
    options: &Options,
) -> Result<Query> {
    let types = types_of(type_name, pairs)?;
    let limits = &options.limits;
    if pairs.len() > limits.clauses {
        return Err(refuse(
            "too-costly",
            format!("More than {} search parameters (limits.search_clauses).", limits.clauses),
        ));
    }
    let mut query = Query {
        targets: types.iter().map(|name| Target { type_name: (*name).into(), expr: Expr::All }).collect(),
        sort: Vec::new(),
        count: limits.page_default,
        total: Total::None,
        summary: None,
        elements: Vec::new(),
        includes: Vec::new(),
        contained: Contained::No,
        contained_type: ContainedType::Container,
        explain: false,
        dropped: Vec::new(),
        limits: limits.clone(),
        registry: registry.clone(),
        pairs: Vec::new(),
        fingerprint: [0; 8],
    };
    // Contained resources have no keys of further parameters.
    let official = Registry::default();
    let asks_inside = pairs.iter().any(|(name, value)| name == "_contained" && value != "false");
    let known = if asks_inside { &official } else { registry };
    for (at, (name, value)) in pairs.iter().enumerate().filter(|(_, (_, value))| !value.is_empty()) {
        let reader = Reader { registry: known, options, name, value, pairs, at };
        let is_used = match reader.apply(&mut query) {
            Ok(is_used) => is_used,
            Err(Refusal::Unknown(_)) if options.handling == Handling::Lenient => {
                query.dropped.push(name.clone());
                false
            }
            Err(Refusal::Unknown(error) | Refusal::Bad(error)) => return Err(error),
        };
        if is_used {
            query.pairs.push((name.clone(), value.clone()));
        }
    }
    inner::check(&query)?;
    query.fingerprint = fingerprint(&types, &query.pairs);
    Ok(query)
}

/// The parameters that a query used, for the `self` link.
#[must_use]
pub fn self_pairs(query: &Query) -> &[(String, String)] {
    &query.pairs
}

/// What decides on matches and their order, hashed.
fn fingerprint(types: &[&str], pairs: &[(String, String)]) -> [u8; 8] {
    let mut text = types.join(",");
    for (name, value) in pairs {
        if !matches!(
            name.as_str(),
            "_count" | "_total" | "_summary" | "_elements" | "_include" | "_revinclude" | "_explain"
        ) {
            text.extend(["&", name, &format!("={}:", value.len()), value]);
        }
    }
    let mut hash = [0; 8];
    hash.iter_mut().zip(digest(&SHA256, text.as_bytes()).as_ref()).for_each(|(byte, hashed)| *byte = *hashed);
    hash
}

fn types_of<'q>(type_name: Option<&'q str>, pairs: &'q [(String, String)]) -> Result<Vec<&'q str>> {
    let definitions = definitions::r4();
    let named = pairs.iter().find(|(name, value)| name == "_type" && !value.is_empty());
    let mut types: Vec<_> = match (type_name, named) {
        (Some(name), None) => vec![name],
        (None, None) => definitions.resource_types().to_vec(),
        (None, Some((_, value))) => value.split(',').collect(),
        (Some(_), Some(_)) => {
            let text = "The search parameter `_type` is for searches over all types only.";
            return Err(refuse("not-supported", text.into()));
        }
    };
    types.sort_unstable();
    types.dedup();
    if types.iter().all(|name| definitions.is_resource_type(name)) {
        Ok(types)
    } else {
        Err(refuse("value", "The search names a resource type that does not exist.".into()))
    }
}

/// Why a parameter is not taken.
pub(super) enum Refusal {
    /// There is no such parameter: lenient handling drops it.
    Unknown(Error),
    /// It is malformed or not supported.
    Bad(Error),
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::Bad(error)
    }
}

/// Reads one parameter.
struct Reader<'q> {
    registry: &'q Registry,
    options: &'q Options,
    name: &'q str,
    value: &'q str,
    /// All parameters of the query, and the position of this one.
    pairs: &'q [(String, String)],
    at: usize,
}

impl Reader<'_> {
    /// Takes the parameter into the query; says whether it belongs into the `self` link.
    fn apply(&self, query: &mut Query) -> Result<bool, Refusal> {
        let base = self.name.split([':', '.']).next().unwrap_or_default();
        match base {
            "_format" | "_pretty" => return Ok(false),
            "_type" => return Ok(true),
            "_count" => self.count(query)?,
            "_sort" => query.sort = self.sort(query)?,
            "_total" => query.total = self.one_of(&TOTALS)?,
            "_summary" => query.summary = Some(self.one_of(&SUMMARIES)?),
            "_elements" => query.elements = self.value.split(',').map(|name| name.trim().to_owned()).collect(),
            "_explain" => query.explain = self.one_of(&[("true", true), ("false", false)])?,
            "_contained" => query.contained = self.one_of(&CONTAINED)?,
            "_containedType" => query.contained_type = self.one_of(&CONTAINED_TYPES)?,
            "_include" | "_revinclude" => query.includes.push(self.include()?),
            _ => self.criterion(query)?,
        }
        Ok(true)
    }

    fn bad(&self, expected: &str) -> Refusal {
        Refusal::Bad(refuse("value", format!("The search parameter `{}` is not {expected}.", self.name)))
    }

    fn count(&self, query: &mut Query) -> Result<(), Refusal> {
        let digits = self.value.bytes().all(|byte| byte.is_ascii_digit());
        let count: u64 = self.value.parse().ok().filter(|_| digits).ok_or_else(|| self.bad("a number"))?;
        query.count = usize::try_from(count).unwrap_or(usize::MAX).min(self.options.limits.page_max);
        Ok(())
    }

    fn one_of<T: Copy>(&self, values: &[(&str, T)]) -> Result<T, Refusal> {
        let found = values.iter().find(|(name, _)| *name == self.value).map(|(_, value)| *value);
        found.ok_or_else(|| self.bad("one of the codes that are defined for it"))
    }

    fn sort(&self, query: &Query) -> Result<Vec<Sort>, Refusal> {
        let rules = self.value.split(',').map(|rule| {
            let (descending, code) = rule.strip_prefix('-').map_or((false, rule), |code| (true, code));
            let kinds = query.targets.iter().map(|target| self.sort_kind(&target.type_name, code));
            let mut kinds = kinds.collect::<Result<Vec<_>, _>>()?;
            kinds.dedup();
            match kinds.as_slice() {
                [kind] => Ok(Sort { prefix: [&prefix_of(code)[..], &[*kind]].concat(), descending }),
                _ => Err(self.bad("of the same type for all types that are searched")),
            }
        });
        rules.collect()
    }

    /// The kind of keys by which a parameter sorts.
    fn sort_kind(&self, type_name: &str, code: &str) -> Result<u8, Refusal> {
        let Some(parameter) = self.registry.parameter(type_name, code) else {
            let text = format!("`_sort` names a search parameter that is not known for {type_name}.");
            return Err(Refusal::Unknown(refuse("not-supported", text)));
        };
        if code == "_id" {
            return Ok(b'i');
        }
        Ok(match parameter.param_type {
            ParamType::String => b'n',
            ParamType::Date => b'l',
            ParamType::Token => b'c',
            ParamType::Number => b'x',
            ParamType::Quantity => b'q',
            ParamType::Reference => b'r',
            ParamType::Uri => b'u',
            ParamType::Composite | ParamType::Special => {
                return Err(self.bad("supported with a composite or special parameter"));
            }
        })
    }

    fn include(&self) -> Result<Include, Refusal> {
        let mut name = self.name.split(':');
        let reverse = name.next() == Some("_revinclude");
        let iterate = match (name.next(), name.next()) {
            (None, _) => false,
            (Some("iterate" | "recurse"), None) => true,
            _ => return Err(self.bad("supported with this modifier")),
        };
        let own = |text: &str| Some(Box::from(text)).filter(|_| text != "*");
        let mut parts = self.value.split(':');
        let (source, code, target) = (parts.next().unwrap_or_default(), parts.next(), parts.next());
        if source == "*" && code.is_none() {
            return Ok(Include { source: None, code: None, target: None, iterate, reverse });
        }
        let (Some(code), None) = (code, parts.next()) else {
            return Err(self.bad("of the form Type:parameter or Type:parameter:Type"));
        };
        let definitions = definitions::r4();
        if target.is_some_and(|name| !definitions.is_resource_type(name)) || !definitions.is_resource_type(source) {
            return Err(self.bad("of types that exist"));
        }
        let is_reference = |found: &definitions::SearchParameter| found.param_type == ParamType::Reference;
        if code != "*" && !self.registry.parameter(source, code).is_some_and(is_reference) {
            let text = format!("`{}` names a reference parameter that is not known for {source}.", self.name);
            return Err(Refusal::Unknown(refuse("not-supported", text)));
        }
        Ok(Include { source: Some(source.into()), code: own(code), target: target.map(Into::into), iterate, reverse })
    }

    fn criterion(&self, query: &mut Query) -> Result<(), Refusal> {
        let of_this_name = |(name, value): &&(String, String)| name == self.name && !value.is_empty();
        let before = self.pairs.iter().take(self.at).find(of_this_name);
        let others: Vec<_> =
            self.pairs.iter().skip(self.at + 1).filter(of_this_name).map(|(_, value)| &**value).collect();
        let read = |target: &Target| {
            let (registry, options) = (self.registry, self.options);
            let is_joined = is_joined(registry, &target.type_name, self.name);
            if is_joined && before.is_some() {
                return Ok(Expr::All);
            }
            let also = if is_joined { others.as_slice() } else { &[] };
            let branches = &Cell::new(0);
            let criteria = Criteria { registry, options, whole: self.name, value: self.value, also, branches };
            criteria.read(&target.type_name, self.name, 0)
        };
        // All before any is applied: one that a type does not know is dropped for the others, too.
        let parts = query.targets.iter().map(read).collect::<Result<Vec<_>, _>>()?;
        for (target, part) in query.targets.iter_mut().zip(parts) {
            target.expr = Expr::and([std::mem::replace(&mut target.expr, Expr::All), part]);
        }
        Ok(())
    }
}

const CONTAINED: [(&str, Contained); 3] =
    [("false", Contained::No), ("true", Contained::Only), ("both", Contained::Both)];
const CONTAINED_TYPES: [(&str, ContainedType); 2] =
    [("container", ContainedType::Container), ("contained", ContainedType::Contained)];
const TOTALS: [(&str, Total); 3] =
    [("none", Total::None), ("estimate", Total::Estimate), ("accurate", Total::Accurate)];
const SUMMARIES: [(&str, Summary); 5] = [
    ("true", Summary::True),
    ("text", Summary::Text),
    ("data", Summary::Data),
    ("count", Summary::Count),
    ("false", Summary::False),
];
