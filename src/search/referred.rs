//! What the resources of several sets refer to, page by page, in bounded memory.

use super::budget::Budget;
use super::engine::{Run, failed, references};
use super::page::restricted;
use super::query::Target;
use super::registry::Registry;
use super::results::after;
use crate::error::Result;
use crate::key::reference::{Target as Reference, url_in};
use crate::key::{KeyList, prefix_of};
use crate::store::{Records, Rid, Version};
use rustc_hash::FxHashSet;
use std::collections::BTreeSet;

/// So many references are remembered so as not to be looked up again.
const REMEMBERED: usize = 10_000;

/// A place in the order of what is referred to: the position of its set, and its number.
pub type ReferredPlace = (u16, Rid);

/// The first resources, at most `count`, that are in one of the sets `wanted`, come after a place, and are referred to by a
/// resource in one of the sets `sources`. Their order is that of `wanted`, then by number; each comes once.
///
/// References are those that have a search parameter, and the addresses of a document's attachments (`base` is the address of
/// this server). Every call walks the key lists of all sources, and keeps no more than `count` resources: the sources may be
/// many, but those that are referred to need not fit into memory.
///
/// # Errors
/// When the store fails or the budget is spent.
pub fn referred(
    records: &Records,
    (sources, wanted): (&[Target], &[Target]),
    base: Option<&str>,
    after_place: Option<ReferredPlace>,
    count: usize,
    budget: &Budget,
) -> Result<Vec<(ReferredPlace, Version)>> {
    let run = Run { view: records.view(), budget };
    let mut gathering = Gathering {
        run: &run,
        records,
        wanted,
        after_place,
        count,
        seen: FxHashSet::default(),
        found: BTreeSet::new(),
    };
    for source in sources {
        let expr = restricted(records, source);
        let codes: Vec<_> = Registry.references(&source.type_name).map(|parameter| parameter.code).collect();
        let mut stream = run.stream(&source.type_name, &expr)?;
        let mut from = Rid(0);
        while let Some(rid) = stream.next_from(from)? {
            from = after(rid);
            let Some(keys) = run.keys(rid)? else { continue };
            for (type_name, id) in codes.iter().flat_map(|code| references(&keys, code)) {
                gathering.meet(type_name, id)?;
            }
            for url in attachments(&source.type_name, &keys) {
                if let Reference::Local { type_name, id, .. } = Reference::read(url, base) {
                    gathering.meet(type_name, id)?;
                }
            }
        }
    }
    let mut versions = Vec::new();
    for place in &gathering.found {
        if let Some(version) = run.view.current(place.1).map_err(failed)? {
            versions.push((*place, version));
        }
    }
    Ok(versions)
}

/// Where the content of a document is.
fn attachments<'k>(type_name: &str, keys: &'k KeyList) -> impl Iterator<Item = &'k str> + use<'k> {
    const CODE: &str = "location";
    let prefix = (type_name == "DocumentReference").then(|| prefix_of(CODE));
    let found = prefix.into_iter().flat_map(|prefix| keys.starting_with(&prefix));
    found.filter_map(|key| url_in(key, CODE.len()))
}

struct Gathering<'r> {
    run: &'r Run<'r>,
    records: &'r Records,
    wanted: &'r [Target],
    after_place: Option<ReferredPlace>,
    count: usize,
    seen: FxHashSet<(Box<str>, Box<str>)>,
    /// The first ones so far.
    found: BTreeSet<ReferredPlace>,
}

impl Gathering<'_> {
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
