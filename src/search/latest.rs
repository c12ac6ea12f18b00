//! The newest matches of each group: for each subject and each code, so many.

use super::budget::Budget;
use super::engine::{Run, failed};
use super::explain::Trace;
use super::grant::restricted;
use super::include;
use super::inner::unfolded;
use super::page::{Match, Page, current};
use super::query::{Query, Summary, refuse};
use super::results::after;
use crate::error::{Error, Result};
use crate::fhir::parse::parse;
use crate::fhir::tree::Value;
use crate::key::{KeyList, prefix_of};
use crate::store::{Records, Rid};
use rustc_hash::FxHashMap;
use std::collections::BTreeSet;

/// So many resources are kept for one answer.
const KEPT_MAX: usize = 100_000;

/// How matches are grouped and which of a group are wanted.
#[derive(Debug, Clone, Copy)]
pub struct Grouping<'a> {
    /// The token parameter whose codings group, named as the element it is of. Resources that share a coding are of one
    /// group, and so are those that such resources link; without a coding, the very text decides.
    pub code: &'a str,
    /// The date parameters that tell which is newer; the first that a resource has a value for counts.
    pub dates: &'a [&'a str],
    /// How many of each group.
    pub max: usize,
}

/// A resource by its age: the start of its date, as bytes that sort so and are empty without one, and its number.
type Aged = (Box<[u8]>, Rid);

/// Where a resource stands in the answer: group by group, the newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LatestPlace {
    /// The least label of the group.
    group: Box<[u8]>,
    /// The resource in it.
    aged: Aged,
}

/// The newest matches of each group, from a place on; and where the next page starts. The query's own order does not count.
///
/// # Errors
/// When the store fails, the budget is spent, or there are too many groups.
pub fn latest(
    records: &Records,
    query: &Query,
    grouping: Grouping<'_>,
    after_place: Option<&LatestPlace>,
    budget: &Budget,
) -> Result<(Page, Option<LatestPlace>)> {
    let run = Run::new(records.view(), budget, Trace::default());
    let mut groups = Groups::default();
    for target in &query.targets {
        let expr = unfolded(run.view, &target.type_name, &restricted(records, target))?;
        let mut stream = run.stream(&target.type_name, &expr)?;
        let mut from = Rid(0);
        while let Some(rid) = stream.next_from(from)? {
            from = after(rid);
            if let Some(keys) = run.keys(rid)? {
                let labels = labels(&run, rid, &keys, grouping.code)?;
                groups.add(labels, (date_of(&keys, grouping.dates), rid), grouping.max)?;
            }
        }
    }
    let places = groups.places();
    let total = Some(u64::try_from(places.len()).unwrap_or(u64::MAX));
    let start = after_place.map_or(0, |after| places.partition_point(|place| !place.is_after(after)));
    let wanted = if query.summary == Some(Summary::Count) { 0 } else { query.count };
    let shown = places.iter().skip(start).take(wanted).collect::<Vec<_>>();
    let next = shown.last().filter(|_| start + shown.len() < places.len()).map(|last| (*last).clone());
    let mut matches = Vec::with_capacity(shown.len());
    for place in shown {
        matches.extend(current(&run, place.aged.1)?.map(|version| Match { version, inner: None }));
    }
    let (included, is_cut) = include::included(&run, records, query, &matches)?;
    Ok((Page { matches, included, is_cut, total, steps: budget.taken(), ..Page::default() }, next))
}

impl LatestPlace {
    fn is_after(&self, other: &Self) -> bool {
        self.group.cmp(&other.group).then_with(|| other.aged.cmp(&self.aged)).is_gt()
    }

    /// The bytes of a place. They hold parts of search keys: seal them before they leave the server.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let group_len = u32::try_from(self.group.len()).unwrap_or(u32::MAX).to_be_bytes();
        [&group_len[..], &self.group, &self.aged.1.0.to_be_bytes(), &self.aged.0].concat()
    }

    /// Reads a place back.
    ///
    /// # Errors
    /// [`crate::error::Category::Invalid`] for bytes that are none.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        Self::read(bytes)
            .ok_or_else(|| refuse("invalid", "The page link is not one of this search.".into()).at("_cursor"))
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let (group_len, rest) = bytes.split_first_chunk()?;
        let (group, rest) = rest.split_at_checked(usize::try_from(u32::from_be_bytes(*group_len)).ok()?)?;
        let (rid, date) = rest.split_first_chunk()?;
        Some(Self { group: group.into(), aged: (date.into(), Rid(u64::from_be_bytes(*rid))) })
    }
}

/// Groups that grow together where a resource has labels of several.
#[derive(Default)]
struct Groups {
    by_label: FxHashMap<Box<[u8]>, usize>,
    /// For each group the one that it went into, itself if none.
    parents: Vec<usize>,
    newest: Vec<BTreeSet<Aged>>,
    kept: usize,
}

impl Groups {
    fn add(&mut self, labels: Vec<Box<[u8]>>, aged: Aged, max: usize) -> Result<()> {
        let mut group = None;
        for label in labels {
            let next = self.parents.len();
            let own = *self.by_label.entry(label).or_insert(next);
            if own == next {
                self.parents.push(own);
                self.newest.push(BTreeSet::new());
            }
            let own = self.root(own);
            group = Some(group.map_or(own, |group| self.join(group, own)));
        }
        let Some(members) = group.and_then(|group| self.newest.get_mut(group)) else { return Ok(()) };
        let before = members.len();
        members.insert(aged);
        trim(members, max);
        self.kept += members.len() - before.min(members.len());
        if self.kept > KEPT_MAX || self.parents.len() > KEPT_MAX {
            return Err(refuse(
                "too-costly",
                "There are too many groups. Add criteria that fewer resources meet.".into(),
            ));
        }
        Ok(())
    }

    fn root(&self, mut group: usize) -> usize {
        while let Some(parent) = self.parents.get(group).filter(|parent| **parent != group) {
            group = *parent;
        }
        group
    }

    /// Makes one group of two, and gives it.
    fn join(&mut self, one: usize, other: usize) -> usize {
        if one == other {
            return one;
        }
        let moved = self.newest.get_mut(other).map(std::mem::take).unwrap_or_default();
        if let Some(members) = self.newest.get_mut(one) {
            members.extend(moved);
        }
        if let Some(parent) = self.parents.get_mut(other) {
            *parent = one;
        }
        one
    }

    /// All that is kept, in order.
    fn places(&self) -> Vec<LatestPlace> {
        let mut least: FxHashMap<usize, &Box<[u8]>> = FxHashMap::default();
        for (label, group) in &self.by_label {
            let least = least.entry(self.root(*group)).or_insert(label);
            *least = label.min(least);
        }
        let members = least.into_iter().flat_map(|(group, label)| {
            let members = self.newest.get(group).into_iter().flatten();
            members.map(|aged| LatestPlace { group: label.clone(), aged: aged.clone() })
        });
        let mut places: Vec<_> = members.collect();
        places.sort_unstable_by(|a, b| a.group.cmp(&b.group).then_with(|| b.aged.cmp(&a.aged)));
        places
    }
}

/// Keeps the newest.
fn trim(members: &mut BTreeSet<Aged>, max: usize) {
    while members.len() > max {
        members.pop_first();
    }
}

/// What puts a resource into a group: its subject with each of its codings, with its text, or with its number.
fn labels(run: &Run<'_>, rid: Rid, keys: &KeyList, code: &str) -> Result<Vec<Box<[u8]>>> {
    let subject = [&prefix_of("subject")[..], b"r"].concat();
    let subject =
        keys.starting_with(&subject).chain(keys.starting_with(&prefix_of("subject"))).next().unwrap_or_default();
    let label = |own: &[u8]| [subject, &[0][..], own].concat().into();
    let codings = [&prefix_of(code)[..], b"c"].concat();
    let labels: Vec<_> = keys.starting_with(&codings).map(label).collect();
    if !labels.is_empty() {
        return Ok(labels);
    }
    let text = text_of(run, rid, code)?;
    let own = text.map_or_else(|| [b"r", &rid.0.to_be_bytes()[..]].concat(), |text| [b"t", text.as_bytes()].concat());
    Ok(vec![label(&own)])
}

/// The text of a concept. The keys have it folded only, so it is read from the resource: this is for the few without a coding.
fn text_of(run: &Run<'_>, rid: Rid, code: &str) -> Result<Option<String>> {
    let Some(version) = run.view.current(rid).map_err(failed)? else { return Ok(None) };
    let Some(body) = &version.body else { return Ok(None) };
    let bytes = body.unpack(version.version, version.time).map_err(failed)?;
    let resource = parse(&bytes, usize::MAX).map_err(Error::internal)?;
    let text = resource.get(code).and_then(|concept| concept.get("text")).and_then(Value::as_str);
    Ok(text.map(str::to_owned))
}

/// The start of the newest value of the first date parameter that has one.
fn date_of(keys: &KeyList, codes: &[&str]) -> Box<[u8]> {
    let date = codes.iter().find_map(|code| {
        let prefix = [&prefix_of(code)[..], b"l"].concat();
        keys.starting_with(&prefix).next_back().and_then(|key| key.get(prefix.len()..))
    });
    date.unwrap_or_default().into()
}
