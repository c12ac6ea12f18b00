//! What the resources of several sets refer to, page by page, in bounded memory.

use super::budget::Budget;
use super::engine::{Run, failed};
use super::explain::Trace;
use super::grant::restricted;
use super::inner::unfolded;
use super::page::Match;
use super::query::Target;
use super::results::after;
use crate::error::Result;
use crate::key::reference::Target as Reference;
use crate::store::body::Body;
use crate::store::{Records, Rid, Version};
use memchr::memchr;
use memchr::memmem::Finder;
use rustc_hash::FxHashSet;
use std::collections::BTreeSet;
use std::sync::LazyLock;

/// So many references are remembered so as not to be looked up again.
const REMEMBERED: usize = 10_000;

static REFERENCE: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(br#""reference":""#));
static URL: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(br#""url":""#));

/// A place in the order of what is referred to: the position of its set, and its number.
pub type ReferredPlace = (u16, Rid);

/// What refers.
#[derive(Debug, Clone, Copy)]
pub enum Sources<'s> {
    /// The resources in these sets.
    Sets(&'s [Target]),
    /// The resources of these matches, with opened bodies ([`crate::store::body::Body::opened`]).
    Opened(&'s [Match]),
}

/// The first resources, at most `count`, that are in one of the sets `wanted`, come after a place, and are referred to by one of
/// the sources. Their order is that of `wanted`, then by number; each comes once.
///
/// All References count, and the addresses of attachments that are a Binary of this server (`base` is its address). They are
/// read from the bodies, which costs less than the key lists and misses none. Every call walks all sources and keeps no more
/// than `count` resources: what is referred to need not fit into memory.
///
/// # Errors
/// When the store fails or the budget is spent.
pub fn referred(
    records: &Records,
    (sources, wanted): (Sources<'_>, &[Target]),
    base: Option<&str>,
    after_place: Option<ReferredPlace>,
    count: usize,
    budget: &Budget,
) -> Result<Vec<(ReferredPlace, Version)>> {
    let run = Run::new(records.view(), budget, Trace::default());
    let mut gathering = Gathering {
        run: &run,
        records,
        wanted,
        base,
        after_place,
        count,
        seen: FxHashSet::default(),
        found: BTreeSet::new(),
    };
    match sources {
        Sources::Opened(matches) => {
            for found in matches {
                gathering.read(found.version.body.as_ref().and_then(Body::plain).unwrap_or_default())?;
            }
        }
        Sources::Sets(sets) => sets.iter().try_for_each(|set| gathering.walk(set))?,
    }
    let mut versions = Vec::new();
    for place in &gathering.found {
        if let Some(version) = run.view.current(place.1).map_err(failed)? {
            versions.push((*place, version));
        }
    }
    Ok(versions)
}

/// The string values of a member in stored JSON, which has no white space between its parts and no quotation mark within a
/// string that is not escaped: so bytes are searched, and nothing is parsed. The members called `reference` that hold a
/// string are those of the type Reference.
fn texts<'b>(json: &'b [u8], member: &'b Finder<'static>) -> impl Iterator<Item = &'b str> {
    member.find_iter(json).filter_map(move |at| {
        let rest = json.get(at + member.needle().len()..)?;
        std::str::from_utf8(rest.get(..memchr(b'"', rest)?)?).ok()
    })
}

struct Gathering<'r> {
    run: &'r Run<'r>,
    records: &'r Records,
    wanted: &'r [Target],
    base: Option<&'r str>,
    after_place: Option<ReferredPlace>,
    count: usize,
    seen: FxHashSet<(Box<str>, Box<str>)>,
    /// The first ones so far.
    found: BTreeSet<ReferredPlace>,
}

impl Gathering<'_> {
    /// Takes in what the resources of a set refer to.
    fn walk(&mut self, set: &Target) -> Result<()> {
        let run = self.run;
        let expr = unfolded(run.view, &set.type_name, &restricted(self.records, set))?;
        let mut stream = run.stream(&set.type_name, &expr)?;
        let mut from = Rid(0);
        while let Some(rid) = stream.next_from(from)? {
            from = after(rid);
            run.budget.step()?;
            let Some(version) = run.view.current(rid).map_err(failed)? else { continue };
            let Some(body) = version.body else { continue };
            self.read(body.opened().map_err(failed)?.plain().unwrap_or_default())?;
        }
        Ok(())
    }

    /// Takes in what a resource refers to, from its JSON.
    fn read(&mut self, json: &[u8]) -> Result<()> {
        let base = self.base;
        for text in texts(json, &REFERENCE) {
            if let Reference::Local { type_name, id, .. } = Reference::read(text, base) {
                self.meet(type_name, id)?;
            }
        }
        for text in texts(json, &URL) {
            if let Reference::Local { type_name: "Binary", id, .. } = Reference::read(text, base) {
                self.meet("Binary", id)?;
            }
        }
        Ok(())
    }

    /// Takes a reference in, if what it points to is wanted and among the first.
    fn meet(&mut self, type_name: &str, id: &str) -> Result<()> {
        let Some(position) = self.wanted.iter().position(|target| &*target.type_name == type_name) else {
            return Ok(());
        };
        if !self.seen.insert((type_name.into(), id.into())) {
            return Ok(());
        }
        if self.seen.len() > REMEMBERED {
            self.seen.clear();
        }
        let Some(rid) = self.run.view.find(type_name, id).map_err(failed)? else { return Ok(()) };
        let place = (u16::try_from(position).unwrap_or(u16::MAX), rid);
        let is_late = self.found.len() >= self.count && self.found.last().is_none_or(|last| *last < place);
        if self.after_place.is_some_and(|after| place <= after) || is_late || self.found.contains(&place) {
            return Ok(());
        }
        let Some(target) = self.wanted.get(position) else { return Ok(()) };
        if self.run.contains(type_name, rid, &restricted(self.records, target))? {
            self.found.insert(place);
            if self.found.len() > self.count {
                self.found.pop_last();
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_found_in_bytes() {
        let json = br#"{"a":{"reference":"Patient/1"},"b":"\"reference\":\"Patient/2\"","reference":{"reference":"x"},"d":"reference"}"#;
        assert_eq!(texts(json, &REFERENCE).collect::<Vec<_>>(), ["Patient/1", "x"]);
    }
}
