//! `organizeOutputBy`: the exported resources in blocks, one for each instance of a type.
//!
//! <https://hl7.org/fhir/uv/bulkdata/export.html#bulk-data-output-file-organization>
//!
//! For Patient a block holds what [belongs](crate::auth::compartment) to the patient; for any other type what refers to the instance by
//! a search parameter. What belongs to no block comes into those of the resources that it refers to, and is left out where there are none.

use super::gather::ByType;
use crate::auth::access::Allowed;
use crate::auth::compartment::patient_codes;
use crate::auth::scope::Letters;
use crate::bulk::pins::BLOCK;
use crate::error::Result;
use crate::interaction::{Context, reach};
use crate::key::KeyList;
use crate::search::{self, Budget, Registry};
use crate::store::{Records, Rid};
use rustc_hash::FxHashMap;
use std::collections::BTreeMap;

const PATIENT: &str = "Patient";

/// The resources in blocks.
#[derive(Debug, Default)]
pub struct Organized {
    /// The numbers of each block: [`BLOCK`], the instance, then what is in the block, the instance itself included if it is exported.
    pub numbers: Vec<Rid>,
    /// How many resources that are, each counted in each of its blocks.
    pub count: u64,
    /// How many are in no block.
    pub left_out: u64,
}

/// Where a resource stands: its block, whether it is another than the instance, its type in order, its number.
type Place = (Rid, bool, usize, Rid);

/// Puts what is exported into blocks.
///
/// # Errors
/// When the store fails or the budget is spent.
pub fn organize(
    context: &Context,
    records: &Records,
    (by, patients): (&str, Option<&BTreeMap<String, bool>>),
    resources: &ByType,
    budget: &Budget,
) -> Result<Organized> {
    let registry = context.conformance.registry();
    let own = resources.get(by).map(Vec::as_slice).unwrap_or_default();
    let known = FxHashMap::default();
    let patients = patients.filter(|_| by == PATIENT);
    let mut sorting = Sorting { context, records, registry, by, own, patients, known, places: Vec::new() };
    let mut homeless = Vec::new();
    for (nth, (type_name, rids)) in resources.iter().enumerate() {
        let codes = sorting.codes(type_name);
        for rid in rids {
            budget.step()?;
            if !sorting.place(type_name, (nth, *rid), &codes)? {
                homeless.push((type_name, nth, *rid));
            }
        }
    }
    let mut blocks: Vec<(Rid, Rid)> = sorting.places.iter().map(|(block, _, _, rid)| (*rid, *block)).collect();
    blocks.sort_unstable();
    let mut left_out = 0;
    for (type_name, nth, rid) in homeless {
        budget.step()?;
        let found = sorting.blocks_of_targets(type_name, rid, resources, &blocks)?;
        left_out += u64::from(found.is_empty());
        sorting.places.extend(found.into_iter().map(|block| (block, true, nth, rid)));
    }
    Ok(in_order(sorting.places, left_out))
}

fn in_order(mut places: Vec<Place>, left_out: u64) -> Organized {
    places.sort_unstable();
    places.dedup();
    let mut organized = Organized { count: places.len() as u64, left_out, ..Organized::default() };
    let mut last = None;
    for (block, _, _, rid) in places {
        if last != Some(block) {
            organized.numbers.extend([BLOCK, block]);
            last = Some(block);
        }
        organized.numbers.push(rid);
    }
    organized
}

struct Sorting<'s> {
    context: &'s Context,
    records: &'s Records,
    registry: Registry,
    /// The type that has blocks.
    by: &'s str,
    /// The exported resources of that type.
    own: &'s [Rid],
    /// Whom the export is about, where that matters.
    patients: Option<&'s BTreeMap<String, bool>>,
    /// The instances that were asked for, by id: nothing for one that has no block.
    known: FxHashMap<Box<str>, Option<Rid>>,
    places: Vec<Place>,
}

impl Sorting<'_> {
    /// The parameters by which resources of a type refer to whose block they are in.
    fn codes(&self, type_name: &str) -> Vec<Box<str>> {
        match (self.by, type_name) {
            (PATIENT, PATIENT) => Vec::new(),
            (PATIENT, _) => patient_codes(type_name).iter().map(|code| Box::from(*code)).collect(),
            _ => self.registry.references(type_name).map(|parameter| Box::from(&*parameter.code)).collect(),
        }
    }

    fn keys(&self, rid: Rid) -> Result<KeyList> {
        Ok(self.records.view().keys(rid)?.unwrap_or_default())
    }

    /// Places a resource into its blocks. Answers whether there is any.
    fn place(&mut self, type_name: &str, (nth, rid): (usize, Rid), codes: &[Box<str>]) -> Result<bool> {
        let mut is_placed = type_name == self.by;
        if is_placed {
            self.places.push((rid, false, nth, rid));
        }
        if codes.is_empty() {
            return Ok(is_placed);
        }
        let keys = self.keys(rid)?;
        for code in codes {
            for (target, id) in search::references(&keys, code) {
                if target == self.by
                    && let Some(block) = self.instance(id)?.filter(|block| *block != rid)
                {
                    self.places.push((block, true, nth, rid));
                    is_placed = true;
                }
            }
        }
        Ok(is_placed)
    }

    /// An instance that has a block: one that is exported, or that is at least to be seen.
    fn instance(&mut self, id: &str) -> Result<Option<Rid>> {
        if let Some(known) = self.known.get(id) {
            return Ok(*known);
        }
        let is_about = self.patients.is_none_or(|patients| patients.contains_key(id));
        let found = if is_about { self.records.view().find(self.by, id)? } else { None };
        let found = match found {
            Some(rid) if self.own.binary_search(&rid).is_ok() => Some(rid),
            Some(_) => reach::current(self.context, self.records, Letters::SEARCH, self.by, id)?
                .filter(|version| version.body.is_some())
                .map(|version| version.rid),
            None => None,
        };
        self.known.insert(id.into(), found);
        Ok(found)
    }

    /// The blocks of the exported resources that a resource refers to.
    fn blocks_of_targets(
        &self,
        type_name: &str,
        rid: Rid,
        resources: &ByType,
        blocks: &[(Rid, Rid)],
    ) -> Result<Vec<Rid>> {
        let (keys, mut found) = (self.keys(rid)?, Vec::new());
        for parameter in self.registry.references(type_name) {
            for (target, id) in search::references(&keys, &parameter.code) {
                if !resources.contains_key(target) {
                    continue;
                }
                let Some(target) = self.records.view().find(target, id)? else { continue };
                let from = blocks.partition_point(|(rid, _)| *rid < target);
                let own = blocks.get(from..).unwrap_or_default().iter();
                found.extend(own.take_while(|(rid, _)| *rid == target).map(|(_, block)| *block));
            }
        }
        Ok(found)
    }
}

/// Whether the instances of a type may be told of at all.
pub fn is_covered(context: &Context, by: &str) -> bool {
    context.grant.allowed_by_scopes(by, Letters::SEARCH) != Allowed::Nothing
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_begin_with_their_instance_and_hold_each_resource_once() {
        let (a, b) = (Rid(7), Rid(3));
        let places = vec![(a, true, 0, Rid(1)), (a, false, 2, a), (b, true, 0, Rid(9)), (b, true, 0, Rid(9))];
        let organized = in_order(places, 4);
        assert_eq!(organized.numbers, [BLOCK, b, Rid(9), BLOCK, a, a, Rid(1)]);
        assert_eq!((organized.count, organized.left_out), (3, 4));
    }
}
