//! Resources inside of others: `_contained` and `_containedType`, and chains into them.
//!
//! <https://hl7.org/fhir/R4/search.html#contained>. An inner resource is searched by the keys that its outer resource has for it
//! ([`crate::key::inner`]): a criterion of the inner one is a criterion of the outer one.

use super::blind::{check_sort, covered};
use super::cursor::Cursor;
use super::engine::{Run, failed};
use super::grant::restricted;
use super::order::Place;
use super::query::{Contained, ContainedType, Query, Sort, Target, refuse};
use crate::error::Result;
use crate::fhir::definitions;
use crate::key::inner::{Inner, SLOTS_MAX, Slot, all, of_key, referred_by, referred_in};
use crate::key::range::after_prefix;
use crate::key::{Expr, KeyList, KeyRange, prefix_of};
use crate::store::{Records, Rid, View};

/// More types than these are not searched without a look which there are.
const MANY_TYPES: usize = 4;

/// One of the sets that a search reads, one after the other or merged. The numbers of the sets rise, and stay the same however
/// the data changes.
pub struct Source {
    pub number: u32,
    pub type_name: Box<str>,
    pub expr: Expr,
    /// What matches, where it is not the resource itself but one inside of it.
    pub inner: Option<Inner>,
    /// The order, by the keys that the matches have in this set.
    pub sort: Vec<Sort>,
}

/// What a query reads, as the grant allows. Of a type of which there is no resource that is nothing; to look which those are pays
/// where many types are searched.
pub fn sources(records: &Records, query: &Query) -> Result<Vec<Source>> {
    let mut sources = Vec::new();
    let is_broad = query.contained != Contained::No || query.targets.len() > MANY_TYPES;
    let present = if is_broad { Some(records.view().types().map_err(failed)?) } else { None };
    let is_present = |name: &str| present.as_ref().is_none_or(|present| present.contains(name));
    if query.contained == Contained::No {
        for (number, target) in query.targets.iter().enumerate().filter(|(_, target)| is_present(&target.type_name)) {
            sources.push(source(records, query, (number, None), target)?);
        }
        return Ok(sources);
    }
    let types = definitions::r4().resource_types();
    for (outer_number, outer) in types.iter().enumerate().filter(|(_, outer)| is_present(outer)) {
        let plain = query.targets.iter().find(|target| *target.type_name == **outer);
        let plain = plain.filter(|_| query.contained == Contained::Both);
        let target = |expr| Target { type_name: (*outer).into(), expr };
        let mut inside = Vec::new();
        for inner in inner_of(records.view(), outer)? {
            if let Some(wanted) = query.targets.iter().find(|target| target.type_name == inner.type_name) {
                inside.push((wanted.expr.within(outer, &inner), inner));
            }
        }
        if query.contained_type == ContainedType::Container {
            let any = inside.into_iter().map(|(expr, _)| expr).chain(plain.map(|target| target.expr.clone()));
            sources.push(source(records, query, (outer_number, None), &target(Expr::or(any)))?);
            continue;
        }
        let first = outer_number * (types.len() + 1) * usize::from(SLOTS_MAX);
        if let Some(plain) = plain {
            sources.push(source(records, query, (first, None), plain)?);
        }
        for (expr, inner) in inside {
            let of_type = types.iter().position(|name| **name == *inner.type_name).unwrap_or_default() + 1;
            let Slot::Contained(slot) = inner.slot else { continue };
            let number = first + of_type * usize::from(SLOTS_MAX) + usize::from(slot);
            sources.push(source(records, query, (number, Some(inner)), &target(expr))?);
        }
    }
    sources.sort_unstable_by_key(|source| source.number);
    Ok(sources)
}

fn source(records: &Records, query: &Query, place: (usize, Option<Inner>), target: &Target) -> Result<Source> {
    let (number, inner) = place;
    let own = |sort: &Sort| match &inner {
        Some(inner) if !sort.prefix.starts_with(b"_lastUpdated\0") => {
            Sort { prefix: [inner.prefix().as_bytes(), &sort.prefix].concat(), ..*sort }
        }
        _ => sort.clone(),
    };
    let sort: Vec<_> = query.sort.iter().map(own).collect();
    check_sort(records.view(), &target.type_name, &sort)?;
    Ok(Source {
        number: u32::try_from(number).unwrap_or(u32::MAX),
        type_name: target.type_name.clone(),
        expr: unfolded(records.view(), &target.type_name, &restricted(records, target))?,
        sort,
        inner,
    })
}

/// Where to begin in a set.
pub enum Begin {
    /// With its first place, or its last.
    AtTheEdge,
    /// Behind a place.
    Beyond(Place),
    /// Nowhere: all of it lies on the other side.
    Nowhere,
}

impl Source {
    /// Where to begin in this set after (or before) the place of a cursor.
    pub fn begin(&self, cursor: &Cursor, sort: &[Sort]) -> Begin {
        let order = self.number.cmp(&cursor.source);
        let is_behind = if cursor.is_back { order.is_lt() } else { order.is_gt() };
        if sort.is_empty() && is_behind {
            return Begin::AtTheEdge;
        }
        if sort.is_empty() && order.is_ne() {
            return Begin::Nowhere;
        }
        if sort.is_empty() {
            return Begin::Beyond(cursor.place());
        }
        let mut place = rekeyed(&cursor.place(), sort, &self.sort);
        if is_behind {
            // Equal places are in the order of their sets: here one still counts.
            place.rid = Rid(if cursor.is_back { place.rid.0.saturating_add(1) } else { place.rid.0.saturating_sub(1) });
        }
        Begin::Beyond(place)
    }

    /// A place in this set as one among those of all.
    pub fn shared(&self, place: &Place, sort: &[Sort]) -> Place {
        if sort.is_empty() { place.clone() } else { rekeyed(place, &self.sort, sort) }
    }
}

/// The same place by the same keys behind other prefixes.
fn rekeyed(place: &Place, from: &[Sort], to: &[Sort]) -> Place {
    let rekey = |(key, (from, to)): (&Option<Box<[u8]>>, (&Sort, &Sort))| {
        let rest = key.as_deref()?.strip_prefix(from.prefix.as_slice())?;
        Some([&to.prefix, rest].concat().into())
    };
    Place { keys: place.keys.iter().zip(from.iter().zip(to)).map(rekey).collect(), rid: place.rid }
}

/// What has to hold of a query that asks for contained resources.
pub fn check(query: &Query) -> Result<()> {
    if query.contained == Contained::No || query.contained_type == ContainedType::Contained {
        return Ok(());
    }
    for sort in &query.sort {
        let code = sort.prefix.split(|byte| *byte == 0).next().map(String::from_utf8_lossy).unwrap_or_default();
        let is_common = |target: &Target| {
            query.registry.parameter(&target.type_name, &code).is_some_and(|found| found.base.contains(&"Resource"))
        };
        if !query.targets.iter().all(is_common) {
            let text = "`_sort` can only name parameters of all resources where containers of different types are returned (`_contained`).";
            return Err(refuse("not-supported", text.into()));
        }
    }
    Ok(())
}

/// The contained resources, by type and slot, that any resource of a type has.
fn inner_of(view: &dyn View, type_name: &str) -> Result<Vec<Inner>> {
    let found = distinct(view, type_name, all(), of_key)?;
    Ok(found.into_iter().filter(|inner| inner.slot != Slot::FirstEntry).collect())
}

/// The distinct inner resources that the keys in a range name: a seek for each.
fn distinct(
    view: &dyn View,
    type_name: &str,
    mut rest: KeyRange,
    read: impl Fn(&[u8]) -> Option<Inner>,
) -> Result<Vec<Inner>> {
    let mut found = Vec::new();
    while let Some(posting) = view.scan(type_name, &rest).next() {
        let key = posting.map_err(failed)?.key;
        let Some(inner) = read(&key) else { break };
        let prefix = inner.prefix();
        let Some(at) = memchr::memmem::find(&key, prefix.as_bytes()) else { break };
        rest.from = after_prefix(key.get(..at + prefix.len()).unwrap_or_default()).into();
        found.push(inner);
    }
    Ok(found)
}

/// The same set as it can be streamed: its chains into inner resources written out, as far as there are any, and its ranges covered
/// where the index is blind.
pub fn unfolded(view: &dyn View, type_name: &str, expr: &Expr) -> Result<Expr> {
    let all = |parts: &[Expr]| parts.iter().map(|part| unfolded(view, type_name, part)).collect::<Result<Vec<_>>>();
    Ok(match expr {
        Expr::All | Expr::InPatients(_) => expr.clone(),
        Expr::Keys(range) | Expr::Covered(range, _) => covered(view, type_name, range)?,
        Expr::And(parts) => Expr::And(all(parts)?),
        Expr::Or(parts) => Expr::Or(all(parts)?),
        Expr::Not(inner) => unfolded(view, type_name, inner)?.negate(),
        Expr::ReferredBy { source, code, expr } => {
            let expr = Box::new(unfolded(view, source, expr)?);
            Expr::ReferredBy { source: source.clone(), code: code.clone(), expr }
        }
        Expr::Refers { code, target, expr } => {
            let outside = Box::new(unfolded(view, target, expr)?);
            let outside = Expr::Refers { code: code.clone(), target: target.clone(), expr: outside };
            let mut any = vec![outside];
            for inner in distinct(view, type_name, referred_by(code, target), |key| referred_in(key, code.len()))? {
                let inside = unfolded(view, type_name, &expr.within(type_name, &inner))?;
                any.push(Expr::and([Expr::Keys(inner.referred_by(code)), inside]));
            }
            Expr::or(any)
        }
    })
}

impl Run<'_> {
    /// Whether a resource with these keys refers by `code` to one inside of itself that is in a set.
    pub fn refers_inside(
        &self,
        type_name: &str,
        keys: &KeyList,
        code: &str,
        target: &str,
        expr: &Expr,
    ) -> Result<bool> {
        let references = referred_by(code, target);
        for inner in keys.in_range(&references).filter_map(|key| referred_in(key, code.len())) {
            if self.holds(type_name, keys, &expr.within(type_name, &inner))? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// The keys of an inner resource in those of its outer one.
pub fn keys_of(keys: &KeyList, inner: &Inner) -> KeyList {
    keys.behind(inner.prefix().as_bytes())
}

/// The range of the keys of all inner resources of a type.
pub fn of_type(type_name: &str) -> KeyRange {
    KeyRange::prefix(&[b"#", prefix_of(type_name).as_slice()].concat())
}
