//! The Provenance of what is exported: `includeAssociatedData`.
//!
//! <https://hl7.org/fhir/uv/bulkdata/CodeSystem-include-associated-data.html>

use super::gather::ByType;
use super::wanted::Wanted;
use crate::error::Result;
use crate::key::{Expr, prefix_of};
use crate::search::{self, Budget, Target};
use crate::store::{Records, Rid};
use rustc_hash::FxHashMap;

/// The type.
const PROVENANCE: &str = "Provenance";

/// Which Provenance comes along.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Associated {
    /// None.
    None,
    /// All that is about any of the exported resources.
    Relevant,
    /// Of each exported resource the most recent one, and no other.
    Latest,
}

/// Adds the Provenance that comes along, whenever it was made itself.
///
/// # Errors
/// When the store fails or the budget is spent.
pub fn add(records: &Records, wanted: &Wanted, resources: &mut ByType, budget: &Budget) -> Result<()> {
    if wanted.associated == Associated::None {
        return Ok(());
    }
    let own = resources.remove(PROVENANCE).unwrap_or_default();
    let mut found = About { records, resources, all: Vec::new(), latest: FxHashMap::default() };
    let target = Target { type_name: PROVENANCE.into(), expr: Expr::All };
    search::walk(records, &target, budget, &mut |rid| found.look_at(rid, wanted.associated))?;
    let About { mut all, latest, .. } = found;
    if wanted.associated == Associated::Latest {
        all.extend(latest.into_values().map(|(_, rid)| rid));
    } else {
        all.extend(own);
    }
    all.sort_unstable();
    all.dedup();
    if !all.is_empty() {
        resources.insert(PROVENANCE.into(), all);
    }
    Ok(())
}

struct About<'a> {
    records: &'a Records,
    resources: &'a ByType,
    all: Vec<Rid>,
    /// By what it is about: the key of `recorded`, and the number.
    latest: FxHashMap<Rid, (Box<[u8]>, Rid)>,
}

impl About<'_> {
    fn look_at(&mut self, rid: Rid, associated: Associated) -> Result<()> {
        let view = self.records.view();
        let keys = view.keys(rid)?.unwrap_or_default();
        let recorded = || {
            let prefix = [&prefix_of("recorded")[..], b"l"].concat();
            Box::from(keys.starting_with(&prefix).next_back().unwrap_or_default())
        };
        for (type_name, id) in search::references(&keys, "target") {
            let Some(exported) = self.resources.get(type_name) else { continue };
            let Some(target) = view.find(type_name, id)?.filter(|target| exported.binary_search(target).is_ok()) else {
                continue;
            };
            if associated == Associated::Relevant {
                self.all.push(rid);
                return Ok(());
            }
            let new = (recorded(), rid);
            let known = self.latest.entry(target).or_insert_with(|| new.clone());
            if *known < new {
                *known = new;
            }
        }
        Ok(())
    }
}
